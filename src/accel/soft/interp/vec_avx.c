/*
 * VEX-encoded instructions at 128 and 256 bits: the rows of vec_list.h. In the templates %x names an
 * xmm register, %t a ymm register. A 128-bit result clears the upper half.
 */
#include "accel/soft/interp/vec_avx.h"

/* dst = src1 op src2 */
#define V128_3(mn, op, n)                                                                                    \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src_vex(c, i, i->r3, n), d;                                                         \
		asm("v" op " %2, %1, %0" : "=x"(d) : "x"(xmm(c, i->r2)), "x"(s));                            \
		set_xmmz(c, i->r1, d);                                                                       \
	}
#define V256_3T(mn, op, n, second)                                                                           \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src_y(c, i, i->r3, n), d;                                                           \
		asm("v" op " " second ", %t1, %t0" : "=x"(d) : "x"(ymm(c, i->r2)), "x"(s));                  \
		set_ymm(c, i->r1, d);                                                                        \
	}
#define V256_3(mn, op) V256_3T(mn, op, 32, "%t2")
/* dst = op src */
#define V128_2(mn, op, n)                                                                                    \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src_vex(c, i, i->r2, n), d;                                                         \
		asm("v" op " %1, %0" : "=x"(d) : "x"(s));                                                    \
		set_xmmz(c, i->r1, d);                                                                       \
	}
#define V256_2(mn, op, n, src)                                                                               \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src_y(c, i, i->r2, n), d;                                                           \
		asm("v" op " " src ", %t0" : "=x"(d) : "x"(s));                                              \
		set_ymm(c, i->r1, d);                                                                        \
	}

#define MS3(mn, op) V128_3(mn, op, 16) V256_3(mn, op)
#define MS3N(mn, op, n) MS3(mn, op)
#define S3(mn, op) MS3(mn, op)
#define V3(mn, op) MS3(mn, op)
#define S3X(mn, op) V128_3(mn, op, 16)
#define MS2(mn, op) V128_2(mn, op, 16) V256_2(mn, op, 32, "%t1")
#define S2(mn, op, n, n256) V128_2(mn, op, n) V256_2(mn, op, n256, "%t1")
#define S2X(mn, op, n) V128_2(mn, op, n)
#define S2W(mn, op, n, n256) V128_2(mn, op, n) V256_2(mn, op, n256, "%x1")

/* Shifts: the count is 128 bits wide in both forms. With an immediate (aux) the operands are r1, r2. */
#define SHIFT(mn, op)                                                                                        \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = i->aux ? (v2di){(u8)i->imm, 0} : src_vex(c, i, i->r3, 16), d;                       \
		asm("v" op " %2, %1, %0" : "=x"(d) : "x"(xmm(c, i->r2)), "x"(s));                            \
		set_xmmz(c, i->r1, d);                                                                       \
	}                                                                                                    \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = i->aux ? (v2di){(u8)i->imm, 0} : src_vex(c, i, i->r3, 16);                          \
		v4di d;                                                                                      \
		asm("v" op " %x2, %t1, %t0" : "=x"(d) : "x"(ymm(c, i->r2)), "x"(s));                         \
		set_ymm(c, i->r1, d);                                                                        \
	}

/* --- floating point with exceptions --- */

#define FP128(mn, asm_op, src_expr)                                                                          \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src_expr, a = xmm(c, i->r2), d;                                                     \
		u32 st = fp_begin(c);                                                                        \
		do                                                                                           \
			asm volatile(asm_op : "=x"(d) : "x"(a), "x"(s));                                     \
		while (fp_again(c, &st));                                                                    \
		set_xmmz(c, i->r1, d);                                                                       \
	}
#define FP256(mn, asm_op, src_expr, set)                                                                     \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src_expr, a = ymm(c, i->r2), d;                                                     \
		u32 st = fp_begin(c);                                                                        \
		do                                                                                           \
			asm volatile(asm_op : "=x"(d) : "x"(a), "x"(s));                                     \
		while (fp_again(c, &st));                                                                    \
		set;                                                                                         \
	}
#define F3(mn, op)                                                                                           \
	FP128(mn, "v" op " %2, %1, %0", src_vex(c, i, i->r3, 16))                                            \
	FP256(mn, "v" op " %t2, %t1, %t0", src_y(c, i, i->r3, 32), set_ymm(c, i->r1, d))
#define F3S(mn, op, n) FP128(mn, "v" op " %2, %1, %0", src_vex(c, i, i->r3, n))
#define F2(mn, op)                                                                                           \
	FP128(mn, "v" op " %2, %0", src_vex(c, i, i->r2, 16))                                                \
	FP256(mn, "v" op " %t2, %t0", src_y(c, i, i->r2, 32), set_ymm(c, i->r1, d))
#define F2W(mn, op, n, n256)                                                                                 \
	FP128(mn, "v" op " %2, %0", src_vex(c, i, i->r2, n))                                                 \
	FP256(mn, "v" op " %x2, %t0", src_y(c, i, i->r2, n256), set_ymm(c, i->r1, d))
#define F2N(mn, op)                                                                                          \
	FP128(mn, "v" op " %2, %0", src_vex(c, i, i->r2, 16))                                                \
	FP256(mn, "v" op " %t2, %x0", src_y(c, i, i->r2, 32), set_xmmz(c, i->r1, (v2di){d[0], d[1]}))

/* --- with an immediate: sources in register 1 (the last) and 2, result in 0 --- */

#define CALL(type, w, a, s, stub)                                                                            \
	({                                                                                                   \
		type s_ = (s), a_ = (a);                                                                     \
		const void *stub_ = (stub);                                                                  \
		register type y1 asm(w "mm1") = s_;                                                          \
		register type y2 asm(w "mm2") = a_;                                                          \
		register type y0 asm(w "mm0");                                                               \
		asm volatile("call *%3" : "=x"(y0) : "x"(y1), "x"(y2), "r"(stub_));                          \
		y0;                                                                                          \
	})

#define VI128(mn, op, k, opn, src)                                                                           \
	STUBS(v128_##mn, "v" op " $imm, %xmm1, " opn "%xmm0", k)                                             \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src, d = CALL(v2di, "x", xmm(c, i->r2), s, STUB(v128_##mn, i->imm, k));             \
		set_xmmz(c, i->r1, d);                                                                       \
	}
#define VI256(mn, op, k, opn, src)                                                                           \
	STUBS(v256_##mn, "v" op " $imm, %ymm1, " opn "%ymm0", k)                                             \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src, d = CALL(v4di, "y", ymm(c, i->r2), s, STUB(v256_##mn, i->imm, k));             \
		set_ymm(c, i->r1, d);                                                                        \
	}
#define SI2X(mn, op, k) VI128(mn, op, k, "", src_vex(c, i, i->r2, 16))
#define VI2Y(mn, op, k) VI256(mn, op, k, "", src_y(c, i, i->r2, 32))
#define SI2(mn, op, k) SI2X(mn, op, k) VI2Y(mn, op, k)
#define MSI3(mn, op, k) SI3(mn, op, k)
#define SI3X(mn, op, k) VI128(mn, op, k, "%xmm2, ", src_vex(c, i, i->r3, 16))
#define VI3Y(mn, op, k) VI256(mn, op, k, "%ymm2, ", src_y(c, i, i->r3, 32))
#define SI3(mn, op, k) SI3X(mn, op, k) VI3Y(mn, op, k)
#define SI3V(mn, op, k) SI3(mn, op, k)

#define FPI128(mn, op, kv, opn, src)                                                                         \
	STUBS(v128_##mn, "v" op " $imm, %xmm1, " opn "%xmm0", kv)                                            \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src, d;                                                                             \
		u32 st = fp_begin(c);                                                                        \
		do                                                                                           \
			d = CALL(v2di, "x", xmm(c, i->r2), s, STUB(v128_##mn, i->imm, kv));                  \
		while (fp_again(c, &st));                                                                    \
		set_xmmz(c, i->r1, d);                                                                       \
	}
#define FPI256(mn, op, kv, opn, src)                                                                         \
	STUBS(v256_##mn, "v" op " $imm, %ymm1, " opn "%ymm0", kv)                                            \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src, d;                                                                             \
		u32 st = fp_begin(c);                                                                        \
		do                                                                                           \
			d = CALL(v4di, "y", ymm(c, i->r2), s, STUB(v256_##mn, i->imm, kv));                  \
		while (fp_again(c, &st));                                                                    \
		set_ymm(c, i->r1, d);                                                                        \
	}
#define FI2(mn, op, k, kv)                                                                                   \
	FPI128(mn, op, kv, "", src_vex(c, i, i->r2, 16)) FPI256(mn, op, kv, "", src_y(c, i, i->r2, 32))
#define FI3(mn, op, k, kv)                                                                                   \
	FPI128(mn, op, kv, "%xmm2, ", src_vex(c, i, i->r3, 16))                                              \
	FPI256(mn, op, kv, "%ymm2, ", src_y(c, i, i->r3, 32))

static v4di dp_select2(v4di v, u64 imm, unsigned n)
{
	v2di lo = dp_select((v2di){v[0], v[1]}, imm, n), hi = dp_select((v2di){v[2], v[3]}, imm, n);

	return (v4di){lo[0], lo[1], hi[0], hi[1]};
}

/* The 128-bit form multiplies zeros above. */
#define PRODUCTS(mn, mul, n)                                                                                 \
	static void products_##mn(struct cpu *c, v4di d, v4di s, u64 imm)                                    \
	{                                                                                                    \
		v4di a = dp_select2(d, imm, n), b = dp_select2(s, imm, n), p;                                \
		u32 st = fp_begin(c);                                                                        \
		do                                                                                           \
			asm volatile("v" mul " %t2, %t1, %t0" : "=x"(p) : "x"(a), "x"(b));                   \
		while (fp_again(c, &st));                                                                    \
	}
#define FDPX(mn, op, k, mul, n)                                                                              \
	PRODUCTS(mn, mul, n)                                                                                 \
	FPI128(mn, op, k, "%xmm2, ", ({                                                                      \
		v2di src_ = src_vex(c, i, i->r3, 16);                                                        \
		if (fp_steps_matter(c))                                                                      \
			products_##mn(c, widen(xmm(c, i->r2)), widen(src_), i->imm);                         \
		src_;                                                                                        \
	}))
#define FDP(mn, op, k, mul, n)                                                                               \
	FDPX(mn, op, k, mul, n)                                                                              \
	FPI256(mn, op, k, "%ymm2, ", ({                                                                      \
		v4di src_ = src_y(c, i, i->r3, 32);                                                          \
		if (fp_steps_matter(c))                                                                      \
			products_##mn(c, ymm(c, i->r2), src_, i->imm);                                       \
		src_;                                                                                        \
	}))
#define FI3S(mn, op, k, kv, n) FPI128(mn, op, kv, "%xmm2, ", src_vex(c, i, i->r3, n))

/* --- FMA: the destination is the first source --- */

#define FMA3(mn, op)                                                                                         \
	void v128_##mn(struct cpu *c, const struct insn *i) FMA_BODY(v2di, xmm, set_xmmz, src_vex, 16, op,   \
	        "") void v256_##mn(struct cpu *c, const struct insn *i)                                      \
	        FMA_BODY(v4di, ymm, set_ymm, src_y, 32, op, "t")
#define FMA3S(mn, op, n)                                                                                     \
	void v128_##mn(struct cpu *c, const struct insn *i) FMA_BODY(v2di, xmm, set_xmmz, src_vex, n, op, "")
#define FMA_BODY(type, get, set, src, n, op, w)                                                              \
	{                                                                                                    \
		type s = src(c, i, i->r3, n), a = get(c, i->r2), d;                                          \
		u32 st = fp_begin(c);                                                                        \
		do {                                                                                         \
			d = get(c, i->r1);                                                                   \
			asm volatile("v" op " %" w "2, %" w "1, %" w "0" : "+x"(d) : "x"(a), "x"(s));        \
		} while (fp_again(c, &st));                                                                  \
		set(c, i->r1, d);                                                                            \
	}

#include "accel/soft/interp/vec_list.h"

/* --- irregular ones --- */

/* The mask is the fourth register. */
#define BLENDV(mn, op)                                                                                       \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src_vex(c, i, i->r3, 16), d;                                                        \
		asm("v" op " %3, %2, %1, %0" : "=x"(d) : "x"(xmm(c, i->r2)), "x"(s), "x"(xmm(c, i->aux)));   \
		set_xmmz(c, i->r1, d);                                                                       \
	}                                                                                                    \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src_y(c, i, i->r3, 32), d;                                                          \
		asm("v" op " %t3, %t2, %t1, %t0"                                                             \
		        : "=x"(d)                                                                            \
		        : "x"(ymm(c, i->r2)), "x"(s), "x"(ymm(c, i->aux)));                                  \
		set_ymm(c, i->r1, d);                                                                        \
	}
BLENDV(BLENDVPS, "blendvps")
BLENDV(BLENDVPD, "blendvpd")
BLENDV(PBLENDVB, "pblendvb")

STUBS(VINSERTPS, "vinsertps $imm, %xmm1, %xmm2, %xmm0", 256)
void v128_INSERTPS(struct cpu *c, const struct insn *i)
{
	u64 imm = i->flags & INSN_MEM ? i->imm & 0x3f : i->imm;
	v2di s = src_vex(c, i, i->r3, 4);
	v2di d = CALL(v2di, "x", xmm(c, i->r2), s, STUB(VINSERTPS, imm, 256));

	set_xmmz(c, i->r1, d);
}

#define TEST(mn, op)                                                                                         \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src_vex(c, i, i->r2, 16);                                                           \
		bool z, cf;                                                                                  \
		asm("v" op " %3, %2" : "=@ccz"(z), "=@ccc"(cf) : "x"(xmm(c, i->r1)), "x"(s));                \
		cpu_set_arith(c, (z ? FL_ZF : 0) | (cf ? FL_CF : 0));                                        \
	}                                                                                                    \
	TEST256(mn, op)
#define TEST256(mn, op)                                                                                      \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src_y(c, i, i->r2, 32);                                                             \
		bool z, cf;                                                                                  \
		asm("v" op " %t3, %t2" : "=@ccz"(z), "=@ccc"(cf) : "x"(ymm(c, i->r1)), "x"(s));              \
		cpu_set_arith(c, (z ? FL_ZF : 0) | (cf ? FL_CF : 0));                                        \
	}
TEST(TESTPS, "testps")
TEST(TESTPD, "testpd")
TEST256(PTEST, "ptest")

#define MASK256(mn, op)                                                                                      \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		u32 m;                                                                                       \
		asm("v" op " %t1, %0" : "=r"(m) : "x"(ymm(c, i->r2)));                                       \
		c->gpr[i->r1] = m;                                                                           \
	}
MASK256(MOVMSKPS, "movmskps")
MASK256(MOVMSKPD, "movmskpd")
MASK256(PMOVMSKB, "pmovmskb")

/* VPERMILPS/PD: selectors from a register or memory, or from the immediate (aux), one for all. */
STUBS(ilps128, "vpermilps $imm, %xmm1, %xmm0", 256)
STUBS(ilps256, "vpermilps $imm, %ymm1, %ymm0", 256)
STUBS(ilpd128, "vpermilpd $imm, %xmm1, %xmm0", 16)
STUBS(ilpd256, "vpermilpd $imm, %ymm1, %ymm0", 16)
#define PERMIL(mn, op, st, k)                                                                                \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v2di s = src_vex(c, i, i->aux ? i->r2 : i->r3, 16), d;                                       \
		if (i->aux)                                                                                  \
			d = CALL(v2di, "x", s, s, STUB(st##128, i->imm, k));                                 \
		else                                                                                         \
			asm("v" op " %2, %1, %0" : "=x"(d) : "x"(xmm(c, i->r2)), "x"(s));                    \
		set_xmmz(c, i->r1, d);                                                                       \
	}                                                                                                    \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		v4di s = src_y(c, i, i->aux ? i->r2 : i->r3, 32), d;                                         \
		if (i->aux)                                                                                  \
			d = CALL(v4di, "y", s, s, STUB(st##256, i->imm, k));                                 \
		else                                                                                         \
			asm("v" op " %t2, %t1, %t0" : "=x"(d) : "x"(ymm(c, i->r2)), "x"(s));                 \
		set_ymm(c, i->r1, d);                                                                        \
	}
PERMIL(PERMILPS, "permilps", ilps, 256)
PERMIL(PERMILPD, "permilpd", ilpd, 16)
V256_3(PERMD, "permd")

/* --- F16C --- */

void v128_CVTPH2PS(struct cpu *c, const struct insn *i)
{
	v2di s = src_vex(c, i, i->r2, 8), d;
	u32 st = fp_begin(c);

	do
		asm volatile("vcvtph2ps %1, %0" : "=x"(d) : "x"(s));
	while (fp_again(c, &st));
	set_xmmz(c, i->r1, d);
}

void v256_CVTPH2PS(struct cpu *c, const struct insn *i)
{
	v2di s = src_vex(c, i, i->r2, 16);
	v4di d;
	u32 st = fp_begin(c);

	do
		asm volatile("vcvtph2ps %1, %t0" : "=x"(d) : "x"(s));
	while (fp_again(c, &st));
	set_ymm(c, i->r1, d);
}

STUBS(ps2ph128, "vcvtps2ph $imm, %xmm1, %xmm0", 8)
STUBS(ps2ph256, "vcvtps2ph $imm, %ymm1, %xmm0", 8)

static bool any_denormal16(v2di v)
{
	u16 h[8];

	memcpy(h, &v, sizeof(h));
	for (unsigned n = 0; n < ARRAY_SIZE(h); n++)
		if (!(h[n] & 0x7c00) && (h[n] & 0x3ff))
			return true;
	return false;
}

static v2di ps2ph(struct cpu *c, const struct insn *i, unsigned r, bool wide)
{
	v4di d;
	v2di low;
	u32 st = fp_begin(c);

	do {
		d = CALL(v4di, "y", ymm(c, r), ymm(c, r),
		        wide ? STUB(ps2ph256, i->imm, 8) : STUB(ps2ph128, i->imm, 8));
		low = (v2di){d[0], d[1]};
		if (unlikely(st != MXCSR_RESET) && any_denormal16(low))
			st |= FP_TINY; /* the instruction ignores FTZ */
	} while (fp_again(c, &st));
	return low;
}

void v128_CVTPS2PH(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, ps2ph(c, i, i->r2, false));
}

void v256_CVTPS2PH(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, ps2ph(c, i, i->r2, true));
}

/* The destination is probed first: a fault comes before the flags change. */
void v128_CVTPS2PH_st(struct cpu *c, const struct insn *i)
{
	u64 lin = insn_lin(c, i, 8, true);

	vec_align(c, lin, 8);
	mmu_probe(c, lin, 8, ACC_WRITE);
	mem_st64(c, lin, (u64)ps2ph(c, i, i->r1, false)[0]);
}

void v256_CVTPS2PH_st(struct cpu *c, const struct insn *i)
{
	u64 lin = insn_lin(c, i, 16, true);
	v2di v;

	vec_align(c, lin, 16);
	mmu_probe(c, lin, 16, ACC_WRITE);
	v = ps2ph(c, i, i->r1, true);
	mem_st_bytes(c, lin, &v, 16);
}
