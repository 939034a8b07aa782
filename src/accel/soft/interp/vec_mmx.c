/*
 * MMX. The operation runs on the host's MMX registers inside one assembly statement that leaves the
 * host's x87 stack empty again.
 */
#include "accel/soft/interp/vec.h"
#include "accel/soft/interp/vec_proto.h"

#define MMX_DO(op, d, s)                                                                                     \
	asm volatile("movq %0, %%mm0\n"                                                                      \
	             "movq %1, %%mm1\n" op " %%mm1, %%mm0\n"                                                 \
	             "movq %%mm0, %0\n"                                                                      \
	             "emms"                                                                                  \
	             : "+m"(d)                                                                               \
	             : "m"(s)                                                                                \
	             : "mm0", "mm1")

#define MMX(mn, op, n)                                                                                       \
	void mmx_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		u64 s, d;                                                                                    \
		mmx_check(c);                                                                                \
		s = src_mmx(c, i, i->r2, n);                                                                 \
		d = mm(c, i->r1);                                                                            \
		MMX_DO(op, d, s);                                                                            \
		mmx_enter(c);                                                                                \
		set_mm(c, i->r1, d);                                                                         \
	}
#define MS3(mn, op) MMX(mn, op, 8)
#define MS3N(mn, op, n) MMX(mn, op, n)
#define MS2(mn, op) MMX(mn, op, 8)
#define SHIFT(mn, op)                                                                                        \
	void mmx_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		u64 s, d;                                                                                    \
		mmx_check(c);                                                                                \
		s = i->aux ? (u8)i->imm : src_mmx(c, i, i->r2, 8);                                           \
		d = mm(c, i->r1);                                                                            \
		MMX_DO(op, d, s);                                                                            \
		mmx_enter(c);                                                                                \
		set_mm(c, i->r1, d);                                                                         \
	}
#include "accel/soft/interp/vec_list.h"

void mmx_PSHUFW(struct cpu *c, const struct insn *i)
{
	u64 s, d = 0;

	mmx_check(c);
	s = src_mmx(c, i, i->r2, 8);
	for (unsigned n = 0; n < 4; n++)
		d |= (s >> (i->imm >> 2 * n & 3) * 16 & 0xffff) << 16 * n;
	mmx_enter(c);
	set_mm(c, i->r1, d);
}

void mmx_PALIGNR(struct cpu *c, const struct insn *i)
{
	u8 t[24] = {0};
	unsigned n = MIN((u8)i->imm, 16);
	u64 s;

	mmx_check(c);
	s = src_mmx(c, i, i->r2, 8);
	put_le64(t, s);
	put_le64(t + 8, mm(c, i->r1));
	mmx_enter(c);
	set_mm(c, i->r1, get_le64(t + n));
}

/* --- moves --- */

void mmx_MOVQ(struct cpu *c, const struct insn *i)
{
	u64 v;

	mmx_check(c);
	if (i->aux & 1) {
		mmx_enter(c);
		c->gpr[i->r1] = mm(c, i->r2);
		return;
	}
	v = i->aux & 2 ? c->gpr[i->r2] : src_mmx(c, i, i->r2, 8);
	mmx_enter(c);
	set_mm(c, i->r1, v);
}

/* MOVD mm, r/m32 and r32, mm. aux: 1 the destination is a general register, 2 the source is. */
void mmx_MOVD(struct cpu *c, const struct insn *i)
{
	u64 v;

	mmx_check(c);
	if (i->aux & 1) {
		mmx_enter(c);
		c->gpr[i->r1] = (u32)mm(c, i->r2);
		return;
	}
	v = i->flags & INSN_MEM ? mem_ld32(c, insn_lin(c, i, 4, false)) : (u32)c->gpr[i->r2];
	mmx_enter(c);
	set_mm(c, i->r1, v);
}

/* MOVD, MOVQ, MOVNTQ m, mm: aux2 is the size */
void mmx_store(struct cpu *c, const struct insn *i)
{
	mmx_check(c);
	mem_st(c, insn_lin(c, i, i->aux2, true), i->aux2, mm(c, i->r1));
	mmx_enter(c);
}

void mmx_MOVQ2DQ(struct cpu *c, const struct insn *i)
{
	mmx_check(c);
	mmx_enter(c);
	set_xmm(c, i->r1, (v2di){(long long)mm(c, i->r2), 0});
}

void mmx_MOVDQ2Q(struct cpu *c, const struct insn *i)
{
	mmx_check(c);
	mmx_enter(c);
	set_mm(c, i->r1, c->vec[i->r2].q[0]);
}

void mmx_PMOVMSKB(struct cpu *c, const struct insn *i)
{
	u64 m;

	mmx_check(c);
	m = mm(c, i->r2) & 0x8080808080808080ull;
	mmx_enter(c);
	c->gpr[i->r1] = m * 0x0002040810204081ull >> 56;
}

void mmx_PINSRW(struct cpu *c, const struct insn *i)
{
	unsigned sh = (i->imm & 3) * 16;
	u64 v;

	mmx_check(c);
	v = i->flags & INSN_MEM ? mem_ld16(c, insn_lin(c, i, 2, false)) : (u16)c->gpr[i->r2];
	mmx_enter(c);
	set_mm(c, i->r1, (mm(c, i->r1) & ~(0xffffull << sh)) | v << sh);
}

void mmx_PEXTRW(struct cpu *c, const struct insn *i)
{
	mmx_check(c);
	mmx_enter(c);
	c->gpr[i->r1] = mm(c, i->r2) >> (i->imm & 3) * 16 & 0xffff;
}

/* Byte stores under the mask of the second register's sign bits. */
void mmx_MASKMOVQ(struct cpu *c, const struct insn *i)
{
	u64 m, v, lin;

	mmx_check(c);
	lin = vec_di(c, i, 8);
	m = mm(c, i->r2);
	v = mm(c, i->r1);
	vec_mask_store(c, lin, &v, &m, 8);
	mmx_enter(c);
}

/* --- conversions between MMX and XMM --- */

#define TO_MMX(mn, op, n)                                                                                    \
	void mmx_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		u64 d;                                                                                       \
		u32 st;                                                                                      \
		v2di s;                                                                                      \
		mmx_check(c);                                                                                \
		s = src_sse(c, i, i->r2, n);                                                                 \
		mmx_enter(c); /* even if #XM follows */                                                      \
		st = fp_begin(c);                                                                            \
		do                                                                                           \
			asm volatile(op " %1, %%mm0\n"                                                       \
			                "movq %%mm0, %0\n"                                                   \
			                "emms"                                                               \
			             : "=m"(d)                                                               \
			             : "x"(s)                                                                \
			             : "mm0");                                                               \
		while (fp_again(c, &st));                                                                    \
		set_mm(c, i->r1, d);                                                                         \
	}
TO_MMX(CVTPS2PI, "cvtps2pi", 8)
TO_MMX(CVTTPS2PI, "cvttps2pi", 8)
TO_MMX(CVTPD2PI, "cvtpd2pi", 16)
TO_MMX(CVTTPD2PI, "cvttpd2pi", 16)

/* A memory source leaves the MMX state alone (SDM vol. 2 says so for CVTPI2PD). */
static u64 src_int(struct cpu *c, const struct insn *i)
{
	u64 s;

	if (i->flags & INSN_MEM)
		return src_mmx(c, i, i->r2, 8);
	mmx_check(c);
	s = mm(c, i->r2);
	mmx_enter(c);
	return s;
}

void mmx_CVTPI2PS(struct cpu *c, const struct insn *i)
{
	v2di d;
	u32 st;
	u64 s = src_int(c, i);

	st = fp_begin(c);
	do {
		d = xmm(c, i->r1);
		asm volatile("movq %1, %%mm0\n"
		             "cvtpi2ps %%mm0, %0\n"
		             "emms"
		             : "+x"(d)
		             : "m"(s)
		             : "mm0");
	} while (fp_again(c, &st));
	set_xmm(c, i->r1, d);
}

/* Exact. */
void mmx_CVTPI2PD(struct cpu *c, const struct insn *i)
{
	v2di d;
	u64 s = src_int(c, i);

	asm("movq %1, %0\n"
	    "cvtdq2pd %0, %0"
	        : "=x"(d)
	        : "m"(s));
	set_xmm(c, i->r1, d);
}
