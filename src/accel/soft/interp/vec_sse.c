/*
 * Legacy-encoded SSE to SSE4.2, AES and SHA: the rows of vec_list.h on xmm registers.
 */
#include "accel/soft/interp/vec.h"
#include "accel/soft/interp/vec_proto.h"

/* dst = dst op src. One-source instructions fit too: the host's operation ignores dst. */
#define SSE(mn, op, n)                                                                                       \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, n);                                                            \
		v2di d = xmm(c, i->r1);                                                                      \
		asm(op " %1, %0" : "+x"(d) : "x"(s));                                                        \
		set_xmm(c, i->r1, d);                                                                        \
	}
#define SSE_FP(mn, op, n)                                                                                    \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, n);                                                            \
		v2di d;                                                                                      \
		u32 st = fp_begin(c);                                                                        \
		do {                                                                                         \
			d = xmm(c, i->r1);                                                                   \
			asm volatile(op " %1, %0" : "+x"(d) : "x"(s));                                       \
		} while (fp_again(c, &st));                                                                  \
		set_xmm(c, i->r1, d);                                                                        \
	}

#define MS3(mn, op) SSE(mn, op, 16)
#define MS3N(mn, op, n) SSE(mn, op, 16)
#define S3(mn, op) SSE(mn, op, 16)
#define S3X(mn, op) SSE(mn, op, 16)
#define S3L(mn, op) SSE(mn, op, 16)
#define MS2(mn, op) SSE(mn, op, 16)
#define S2(mn, op, n, n256) SSE(mn, op, n)
#define S2X(mn, op, n) SSE(mn, op, n)
#define S2W(mn, op, n, n256) SSE(mn, op, n)
#define F3(mn, op) SSE_FP(mn, op, 16)
#define F3S(mn, op, n) SSE_FP(mn, op, n)
#define F2(mn, op) SSE_FP(mn, op, 16)
#define F2W(mn, op, n, n256) SSE_FP(mn, op, n)
#define F2N(mn, op) SSE_FP(mn, op, 16)

/* --- with an immediate --- */

/* The operands reach their fixed registers only after everything else has been computed. */
#define CALL_STUB(dst, src, stub)                                                                            \
	({                                                                                                   \
		v2di src_ = (src), dst_ = (dst);                                                             \
		const void *stub_ = (stub);                                                                  \
		register v2di x1 asm("xmm1") = src_;                                                         \
		register v2di x0 asm("xmm0") = dst_;                                                         \
		asm volatile("call *%2" : "+x"(x0) : "x"(x1), "r"(stub_));                                   \
		x0;                                                                                          \
	})
#define SSE_IMM(mn, op, k)                                                                                   \
	STUBS(mn, op " $imm, %xmm1, %xmm0", k)                                                               \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, 16);                                                           \
		set_xmm(c, i->r1, CALL_STUB(xmm(c, i->r1), s, STUB(mn, i->imm, k)));                         \
	}
#define SSE_FP_IMM(mn, op, k, n)                                                                             \
	STUBS(mn, op " $imm, %xmm1, %xmm0", k)                                                               \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, n);                                                            \
		v2di d;                                                                                      \
		u32 st = fp_begin(c);                                                                        \
		do                                                                                           \
			d = CALL_STUB(xmm(c, i->r1), s, STUB(mn, i->imm, k));                                \
		while (fp_again(c, &st));                                                                    \
		set_xmm(c, i->r1, d);                                                                        \
	}

#define FDP(mn, op, k, mul, n)                                                                               \
	STUBS(mn, op " $imm, %xmm1, %xmm0", k)                                                               \
	static void products_##mn(struct cpu *c, v2di d, v2di s, u64 imm)                                    \
	{                                                                                                    \
		v2di a = dp_select(d, imm, n), b = dp_select(s, imm, n), p;                                  \
		u32 st = fp_begin(c);                                                                        \
		do {                                                                                         \
			p = a;                                                                               \
			asm volatile(mul " %1, %0" : "+x"(p) : "x"(b));                                      \
		} while (fp_again(c, &st));                                                                  \
	}                                                                                                    \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, 16);                                                           \
		v2di d;                                                                                      \
		u32 st;                                                                                      \
		if (fp_steps_matter(c))                                                                      \
			products_##mn(c, xmm(c, i->r1), s, i->imm);                                          \
		st = fp_begin(c);                                                                            \
		do                                                                                           \
			d = CALL_STUB(xmm(c, i->r1), s, STUB(mn, i->imm, k));                                \
		while (fp_again(c, &st));                                                                    \
		set_xmm(c, i->r1, d);                                                                        \
	}
#define FDPX(mn, op, k, mul, n) FDP(mn, op, k, mul, n)
#define SI2(mn, op, k) SSE_IMM(mn, op, k)
#define SI2X(mn, op, k) SSE_IMM(mn, op, k)
#define SI3(mn, op, k) SSE_IMM(mn, op, k)
#define MSI3(mn, op, k) SSE_IMM(mn, op, k)
#define SI3X(mn, op, k) SSE_IMM(mn, op, k)
#define FI2(mn, op, k, kv) SSE_FP_IMM(mn, op, k, 16)
#define FI3(mn, op, k, kv) SSE_FP_IMM(mn, op, k, 16)
#define FI3S(mn, op, k, kv, n) SSE_FP_IMM(mn, op, k, n)

/* A shift by an immediate is a shift by a register that holds it; the binder says so in aux. */
#define SHIFT(mn, op)                                                                                        \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = i->aux ? (v2di){(u8)i->imm, 0} : src_sse(c, i, i->r2, 16);                          \
		v2di d = xmm(c, i->r1);                                                                      \
		asm(op " %1, %0" : "+x"(d) : "x"(s));                                                        \
		set_xmm(c, i->r1, d);                                                                        \
	}

#include "accel/soft/interp/vec_list.h"

/* --- irregular ones --- */

/* The mask is in XMM0. */
#define SSE_XMM0(mn, op)                                                                                     \
	void sse_##mn(struct cpu *c, const struct insn *i)                                                   \
	{                                                                                                    \
		v2di s = src_sse(c, i, i->r2, 16);                                                           \
		v2di d = xmm(c, i->r1);                                                                      \
		v2di mask = xmm(c, 0);                                                                       \
		register v2di x0 asm("xmm0") = mask;                                                         \
		asm(op " %2, %1, %0" : "+x"(d) : "x"(s), "x"(x0));                                           \
		set_xmm(c, i->r1, d);                                                                        \
	}
SSE_XMM0(BLENDVPS, "blendvps")
SSE_XMM0(BLENDVPD, "blendvpd")
SSE_XMM0(PBLENDVB, "pblendvb")
SSE_XMM0(SHA256RNDS2, "sha256rnds2")

SSE_IMM(SHA1RNDS4, "sha1rnds4", 4)

/* From memory the element is the one read, whatever the immediate's source field says. */
STUBS(INSERTPS, "insertps $imm, %xmm1, %xmm0", 256)
void sse_INSERTPS(struct cpu *c, const struct insn *i)
{
	u64 imm = i->flags & INSN_MEM ? i->imm & 0x3f : i->imm;
	v2di s = src_sse(c, i, i->r2, 4);

	set_xmm(c, i->r1, CALL_STUB(xmm(c, i->r1), s, STUB(INSERTPS, imm, 256)));
}

/* Shifts of the whole register by bytes: 0 beyond 15. */
void sse_PSLLDQ(struct cpu *c, const struct insn *i)
{
	u8 t[32] = {0};
	unsigned n = MIN((u8)i->imm, 16);

	memcpy(t + 16, c->vec[i->r1].b, 16);
	memcpy(c->vec[i->r1].b, t + 16 - n, 16);
}

void sse_PSRLDQ(struct cpu *c, const struct insn *i)
{
	u8 t[32] = {0};
	unsigned n = MIN((u8)i->imm, 16);

	memcpy(t, c->vec[i->r1].b, 16);
	memcpy(c->vec[i->r1].b, t + n, 16);
}
