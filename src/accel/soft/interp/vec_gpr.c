/*
 * SSE instructions that read or write general registers or flags: conversions, extracts, inserts,
 * masks, compares. Scalar VEX forms are here too: they differ in their first source and clear the
 * upper half.
 */
#include "accel/soft/interp/vec.h"
#include "accel/soft/interp/vec_proto.h"

/* --- integer -> floating point --- */

#define FROM_INT(name, op, set, first, gprsrc)                                                               \
	void name(struct cpu *c, const struct insn *i)                                                       \
	{                                                                                                    \
		u64 s = i->flags & INSN_MEM ? mem_ld(c, insn_lin(c, i, i->aux2, false), i->aux2)             \
		                            : c->gpr[gprsrc];                                                \
		v2di d;                                                                                      \
		u32 st = fp_begin(c);                                                                        \
		do {                                                                                         \
			d = xmm(c, first);                                                                   \
			if (i->aux2 == 8)                                                                    \
				asm volatile(op "q %1, %0" : "+x"(d) : "r"(s));                              \
			else                                                                                 \
				asm volatile(op "l %1, %0" : "+x"(d) : "r"((u32)s));                         \
		} while (fp_again(c, &st));                                                                  \
		set(c, i->r1, d);                                                                            \
	}
FROM_INT(sse_CVTSI2SS, "cvtsi2ss", set_xmm, i->r1, i->r2)
FROM_INT(sse_CVTSI2SD, "cvtsi2sd", set_xmm, i->r1, i->r2)
FROM_INT(v128_CVTSI2SS, "cvtsi2ss", set_xmmz, i->r2, i->r3)
FROM_INT(v128_CVTSI2SD, "cvtsi2sd", set_xmmz, i->r2, i->r3)

/* --- floating point -> integer --- */

#define TO_INT(mn, op, n)                                                                                    \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, n);                                                            \
		u64 d;                                                                                       \
		u32 st = fp_begin(c);                                                                        \
		do {                                                                                         \
			u32 d32;                                                                             \
			if (i->aux2 == 8) {                                                                  \
				asm volatile(op " %1, %0" : "=r"(d) : "x"(s));                               \
			} else {                                                                             \
				asm volatile(op " %1, %0" : "=r"(d32) : "x"(s));                             \
				d = d32;                                                                     \
			}                                                                                    \
		} while (fp_again(c, &st));                                                                  \
		c->gpr[i->r1] = d;                                                                           \
	}
TO_INT(CVTSS2SI, "cvtss2si", 4)
TO_INT(CVTTSS2SI, "cvttss2si", 4)
TO_INT(CVTSD2SI, "cvtsd2si", 8)
TO_INT(CVTTSD2SI, "cvttsd2si", 8)

/* --- compares into flags --- */

static void set_zpc(struct cpu *c, bool z, bool p, bool cf)
{
	cpu_set_arith(c, (z ? FL_ZF : 0) | (p ? FL_PF : 0) | (cf ? FL_CF : 0));
}

#define COMPARE(mn, op, n)                                                                                   \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, n);                                                            \
		bool z, p, cf;                                                                               \
		u32 st = fp_begin(c);                                                                        \
		do                                                                                           \
			asm volatile(op " %4, %3"                                                            \
			             : "=@ccz"(z), "=@ccp"(p), "=@ccc"(cf)                                   \
			             : "x"(xmm(c, i->r1)), "x"(s));                                          \
		while (fp_again(c, &st));                                                                    \
		set_zpc(c, z, p, cf);                                                                        \
	}
COMPARE(COMISS, "comiss", 4)
COMPARE(COMISD, "comisd", 8)
COMPARE(UCOMISS, "ucomiss", 4)
COMPARE(UCOMISD, "ucomisd", 8)

static void ptest(struct cpu *c, const struct insn *i, v2di s)
{
	bool z, cf;

	asm("ptest %3, %2" : "=@ccz"(z), "=@ccc"(cf) : "x"(xmm(c, i->r1)), "x"(s));
	set_zpc(c, z, false, cf);
}

void sse_PTEST(struct cpu *c, const struct insn *i)
{
	ptest(c, i, src_sse(c, i, i->r2, 16));
}

void v128_PTEST(struct cpu *c, const struct insn *i)
{
	ptest(c, i, src_vex(c, i, i->r2, 16));
}

/* --- sign masks --- */

#define MASK(mn, op)                                                                                         \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		u32 m;                                                                                       \
		asm(op " %1, %0" : "=r"(m) : "x"(xmm(c, i->r2)));                                            \
		c->gpr[i->r1] = m;                                                                           \
	}
MASK(MOVMSKPS, "movmskps")
MASK(MOVMSKPD, "movmskpd")
MASK(PMOVMSKB, "pmovmskb")

/* --- extract --- */

#define EXTRACT(mn, lane, n, mask)                                                                           \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		c->gpr[i->r1] = c->vec[i->r2].lane[i->imm & (mask)];                                         \
	}                                                                                                    \
	void sse_##mn##_st(struct cpu *c, const struct insn *i)                                              \
	{                                                                                                    \
		vec_stn(c, i, n, c->vec[i->r1].lane[i->imm & (mask)]);                                       \
	}
EXTRACT(PEXTRB, b, 1, 15)
EXTRACT(PEXTRW, w, 2, 7)
EXTRACT(PEXTRD, d, 4, 3)
EXTRACT(PEXTRQ, q, 8, 1)

/* --- insert --- */

#define INSERT(mn, lane, n, mask)                                                                            \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		u64 s = i->flags & INSN_MEM ? mem_ld(c, insn_lin(c, i, n, false), n) : c->gpr[i->r2];        \
		c->vec[i->r1].lane[i->imm & (mask)] = (__typeof__(c->vec[0].lane[0]))s;                      \
	}                                                                                                    \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		u64 s = i->flags & INSN_MEM ? mem_ld(c, insn_lin(c, i, n, false), n) : c->gpr[i->r3];        \
		union x86_vec v = c->vec[i->r2];                                                             \
		v.lane[i->imm & (mask)] = (__typeof__(v.lane[0]))s;                                          \
		set_xmmz(c, i->r1, *(v2di *)v.q);                                                            \
	}
INSERT(PINSRB, b, 1, 15)
INSERT(PINSRW, w, 2, 7)
INSERT(PINSRD, d, 4, 3)
INSERT(PINSRQ, q, 8, 1)

/* --- string compares: XMM0 gets the mask or ECX the index; CF, ZF, SF and OF say more --- */

STUBS(ESTRI, "pcmpestri $imm, %xmm1, %xmm0", 128)
STUBS(ESTRM, "pcmpestrm $imm, %xmm1, %xmm0", 128)
STUBS(ISTRI, "pcmpistri $imm, %xmm1, %xmm0", 128)
STUBS(ISTRM, "pcmpistrm $imm, %xmm1, %xmm0", 128)

struct str_result {
	v2di mask;
	u32 index;
	bool cf, zf, sf, of;
};

/* Lengths saturate at the number of elements, so 16 stands for everything above. */
static u32 str_len(struct cpu *c, const struct insn *i, unsigned r)
{
	s64 n = i->aux2 == 8 ? (s64)c->gpr[r] : (s32)c->gpr[r];

	if (n < -16 || n > 16)
		return 16;
	return (u32)(n < 0 ? -n : n);
}

static void str_run(struct cpu *c, const struct insn *i, const void *stub, struct str_result *res)
{
	v2di a = xmm(c, i->r1);
	v2di b = src_vex(c, i, i->r2, 16);
	u32 la = str_len(c, i, RAX), lb = str_len(c, i, RDX), idx;
	register v2di x1 asm("xmm1") = b;
	register v2di x0 asm("xmm0") = a;

	asm volatile(
	        "call *%6"
	        : "+x"(x0), "=c"(idx), "=@ccc"(res->cf), "=@ccz"(res->zf), "=@ccs"(res->sf), "=@cco"(res->of)
	        : "r"(stub), "x"(x1), "a"(la), "d"(lb));
	res->mask = x0;
	res->index = idx;
}

static void str_flags(struct cpu *c, const struct str_result *r)
{
	cpu_set_arith(
	        c, (r->cf ? FL_CF : 0) | (r->zf ? FL_ZF : 0) | (r->sf ? FL_SF : 0) | (r->of ? FL_OF : 0));
}

#define STR(mn, stub, write)                                                                                 \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		struct str_result r;                                                                         \
		str_run(c, i, STUB(stub, i->imm, 128), &r);                                                  \
		write;                                                                                       \
		str_flags(c, &r);                                                                            \
	}
STR(PCMPESTRI, ESTRI, c->gpr[RCX] = r.index)
STR(PCMPISTRI, ISTRI, c->gpr[RCX] = r.index)
STR(PCMPESTRM, ESTRM, set_xmm(c, 0, r.mask))
STR(PCMPISTRM, ISTRM, set_xmm(c, 0, r.mask))
STR(VPCMPESTRM, ESTRM, set_xmmz(c, 0, r.mask))
STR(VPCMPISTRM, ISTRM, set_xmmz(c, 0, r.mask))
