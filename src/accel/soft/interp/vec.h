/*
 * Vector instructions, shared by vec_*.c: operands, floating point under the guest's MXCSR, tables.
 *
 * The host is x86-64 too, so an operation is the host's own instruction in inline assembly on copies
 * of the operands: bit-exact by construction, NaN payloads and flags included. vec_list.h names each
 * instruction once; every file that includes it generates its part (SSE, MMX, AVX handlers, the
 * binder's table) from the same rows. Handlers are sse_X, mmx_X, v128_X, v256_X.
 *
 * An immediate must be known to the assembler, so instructions with one get a table of stubs, one per
 * value ("insn $imm, %xmm1, %xmm0; ret" in 8 bytes each), and the handler calls stub + imm * 8. The
 * call uses the stack below the frame: these files are compiled with -mno-red-zone.
 *
 * Files with AVX code (vec_avx*.c) are compiled with -mavx and entered only on hosts that have it: the
 * CPUID the guest sees is checked before an instruction is bound.
 */
#pragma once

#include "accel/soft/interp/insn.h"

typedef long long v2di __attribute__((vector_size(16), may_alias));
typedef long long v2di_any __attribute__((vector_size(16), may_alias, aligned(1)));

#define MXCSR_FLAGS 0x003fu
#define MXCSR_PRE 0x0007u /* IE, DE, ZE: found before the operation */
#define MXCSR_UE 0x0010u
#define MXCSR_DAZ 0x0040u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_RC 0x6000u
#define MXCSR_FTZ 0x8000u
#define MXCSR_ALL 0xffffu /* the bits that exist: MXCSR_MASK of the FXSAVE image */
#define MXCSR_RESET 0x1f80u

/* --- registers --- */

static inline v2di xmm(const struct cpu *c, unsigned r)
{
	return *(const v2di *)c->vec[r].q;
}

/* Legacy SSE: the upper half stays. */
static inline void set_xmm(struct cpu *c, unsigned r, v2di v)
{
	*(v2di *)c->vec[r].q = v;
}

/* VEX.128: the upper half becomes zero. */
static inline void set_xmmz(struct cpu *c, unsigned r, v2di v)
{
	((v2di *)c->vec[r].q)[0] = v;
	((v2di *)c->vec[r].q)[1] = (v2di){0, 0};
}

/* --- memory (vec_mem.c) --- */

v2di vec_ld16(struct cpu *c, const struct insn *i);            /* the memory operand */
v2di vec_ld16a(struct cpu *c, const struct insn *i);           /* must be aligned, else #GP(0) */
v2di vec_ldn(struct cpu *c, const struct insn *i, unsigned n); /* n = 1, 2, 4, 8 bytes, zero-extended */
void vec_st16(struct cpu *c, const struct insn *i, v2di v);
void vec_st16a(struct cpu *c, const struct insn *i, v2di v);
void vec_stn(struct cpu *c, const struct insn *i, unsigned n, u64 v);

/* Alignment check of accesses that mmu.c does not see as one: #AC if CR0.AM, EFLAGS.AC and CPL 3. */
static inline void vec_align(struct cpu *c, u64 lin, unsigned n)
{
	if (unlikely(c->mmu_idx == MMU_USER_ALIGN) && (lin & (n - 1)) &&
	        (mmu_canonical(lin) || !insn_is64(c)))
		cpu_raise_err(c, EXC_AC, 0);
}

/* Operands that must be aligned in any case. */
static inline void vec_aligned(struct cpu *c, u64 lin, unsigned n)
{
	if (unlikely(lin & (n - 1)))
		cpu_raise_err(c, EXC_GP, 0);
}

/* [DS:rDI] of MASKMOVQ and MASKMOVDQU; stores bytes whose mask byte has its top bit
 * set, after checking all. */
u64 vec_di(struct cpu *c, const struct insn *i, unsigned n);
void vec_mask_store(struct cpu *c, u64 lin, const void *val, const void *mask, unsigned n);

/* Source operand that is register r or memory of n bytes: legacy encoding (aligned if 16), VEX. */
static inline v2di src_sse(struct cpu *c, const struct insn *i, unsigned r, unsigned n)
{
	if (likely(!(i->flags & INSN_MEM)))
		return xmm(c, r);
	return n == 16 ? vec_ld16a(c, i) : vec_ldn(c, i, n);
}

static inline v2di src_vex(struct cpu *c, const struct insn *i, unsigned r, unsigned n)
{
	if (likely(!(i->flags & INSN_MEM)))
		return xmm(c, r);
	return n == 16 ? vec_ld16(c, i) : vec_ldn(c, i, n);
}

/* --- MMX (x87_state.c) --- */

/* Before an MMX instruction does anything: pending x87 exceptions. */
void mmx_check(struct cpu *c);

/* The side effect of every MMX instruction but EMMS: TOP = 0, all tags valid. */
static inline void mmx_enter(struct cpu *c)
{
	c->fpu.fsw &= (u16)~0x3800u;
	c->fpu.ftw = 0xff;
}

static inline u64 mm(const struct cpu *c, unsigned r)
{
	return c->fpu.r[r].mant;
}

static inline void set_mm(struct cpu *c, unsigned r, u64 v)
{
	c->fpu.r[r].mant = v;
	c->fpu.r[r].exp = 0xffff;
}

static inline u64 src_mmx(struct cpu *c, const struct insn *i, unsigned r, unsigned n)
{
	if (likely(!(i->flags & INSN_MEM)))
		return mm(c, r);
	return mem_ld(c, insn_lin(c, i, n, false), n);
}

/* --- floating point (vec_fp.c) --- */

/*
 * A floating-point operation is written
 *
 *	u32 st = fp_begin(c);
 *	do
 *		asm volatile(operation, on copies);
 *	while (fp_again(c, &st));
 *	(write the result)
 *
 * It runs with the guest's rounding, DAZ and FTZ and all exceptions masked; fp_again collects the
 * flags and raises #XM if the guest has one of them unmasked. Usually nothing needs to be loaded into the
 * host's MXCSR: a stale host flag that the guest's MXCSR has too does no harm. An operation that FTZ
 * does not concern says itself, by FP_TINY in st, that a result is tiny (vec_fp.c).
 */
#define FP_TINY 0x40000u
static inline u32 host_mxcsr(void)
{
	u32 v;

	asm volatile("stmxcsr %0" : "=m"(v));
	return v;
}

static inline void host_set_mxcsr(u32 v)
{
	asm volatile("ldmxcsr %0" : : "m"(v) : "memory");
}

u32 fp_begin_slow(struct cpu *c);
bool fp_again_slow(struct cpu *c, u32 *st, u32 host);

static inline u32 fp_begin(struct cpu *c)
{
	u32 h = host_mxcsr();

	if (unlikely((c->mxcsr & ~MXCSR_FLAGS) != MXCSR_RESET ||
	             (h & ~(MXCSR_RESET | (c->mxcsr & MXCSR_FLAGS)))))
		return fp_begin_slow(c);
	return MXCSR_RESET;
}

static inline bool fp_again(struct cpu *c, u32 *st)
{
	u32 h = host_mxcsr();

	if (likely(*st == MXCSR_RESET)) {
		c->mxcsr |= h & MXCSR_FLAGS;
		return false;
	}
	return fp_again_slow(c, st, h);
}

/*
 * A dot product is done in steps, and an unmasked exception in the products keeps the sums from adding
 * theirs. So if anything is unmasked, first multiply alone: the elements that the immediate selects.
 */
static inline bool fp_steps_matter(const struct cpu *c)
{
	return unlikely((c->mxcsr & MXCSR_MASKS) != MXCSR_MASKS);
}

static inline v2di dp_select(v2di v, u64 imm, unsigned n)
{
	u8 b[16];

	memcpy(b, &v, 16);
	for (unsigned k = 0; k < 16 / n; k++)
		if (!(imm >> (4 + k) & 1))
			memset(b + k * n, 0, n);
	memcpy(&v, b, 16);
	return v;
}

/* --- binding (vec_bind.c) --- */

/*
 * By custom of these files the binder puts the registers of the explicit operands in order into r1, r2,
 * r3, aux (the latter for is4 operands), the immediate byte into imm, and into aux2 the size in bytes of
 * the general register operand, if any, else of the memory operand.
 */
struct vec_def {
	/* Legacy: [0] with an MMX register, [1] without. VEX: [0] 128 bits, [1] 256 bits. The second
	 * pair is for a memory destination. */
	insn_fn *fn[2], *store[2];
};
extern const struct vec_def vec_defs[ZYDIS_MNEMONIC_MAX_VALUE + 1];
bind_fn vec_bind;

/* --- state helpers for the rest of the CPU --- */

void fpu_init(struct cpu *c);  /* FNINIT: control and status, not the registers */
void fpu_reset(struct cpu *c); /* power-on: FNINIT, registers zero, MXCSR 0x1f80 */

/* --- stubs --- */

#define STUBS(mn, insn, n)                                                                                   \
	__attribute__((naked, aligned(64))) static void st_##mn(void)                                        \
	{                                                                                                    \
		asm volatile(".set imm, 0\n"                                                                 \
		             ".rept " #n "\n" insn "\n"                                                      \
		             "ret\n"                                                                         \
		             ".p2align 3\n"                                                                  \
		             ".set imm, imm + 1\n"                                                           \
		             ".endr");                                                                       \
	}
#define STUB(mn, imm, n) ((const void *)((const u8 *)st_##mn + (((imm) & ((n)-1)) << 3)))
