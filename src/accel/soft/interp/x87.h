/*
 * x87, shared by x87_*.c.
 *
 * An operation runs on the host's x87 with the guest's control word: precision, rounding and masks. An
 * unmasked exception is not taken by the host, because the status is read and cleared by non-waiting
 * instructions before another x87 instruction executes; so results under unmasked overflow and underflow
 * are the hardware's too. Kernels load their operands from struct x86_st, run one instruction, and
 * leave the host's stack empty. They return the status word. Stack faults never reach the host: tags are
 * checked here first.
 *
 * #MF is raised whatever CR0.NE says; with NE = 0 real machines signal FERR# and IRQ 13 instead, which
 * no operating system in 32- or 64-bit mode uses.
 */
#pragma once

#include "accel/soft/interp/vec.h"

#define FSW_IE 0x0001u
#define FSW_DE 0x0002u
#define FSW_ZE 0x0004u
#define FSW_OE 0x0008u
#define FSW_UE 0x0010u
#define FSW_PE 0x0020u
#define FSW_EX 0x003fu
#define FSW_PRE 0x0007u     /* found before the operation: unmasked, it does not happen */
#define FSW_NOSTORE 0x001fu /* unmasked, nothing is stored to memory */
#define FSW_SF 0x0040u
#define FSW_ES 0x0080u
#define FSW_C0 0x0100u
#define FSW_C1 0x0200u
#define FSW_C2 0x0400u
#define FSW_TOP 0x3800u
#define FSW_TOP_SHIFT 11
#define FSW_C3 0x4000u
#define FSW_CC (FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3)
#define FSW_B 0x8000u

#define FCW_RESET 0x037fu
#define FCW_BITS 0x1f3fu /* can be written */
#define FCW_ONE 0x0040u  /* always set */

#define X87_CLOBBERS "st", "st(1)", "st(2)", "memory"

static inline unsigned x87_top(const struct cpu *c)
{
	return (c->fpu.fsw & FSW_TOP) >> FSW_TOP_SHIFT;
}

static inline void x87_set_top(struct cpu *c, unsigned top)
{
	c->fpu.fsw = (u16)((c->fpu.fsw & ~FSW_TOP) | (top & 7) << FSW_TOP_SHIFT);
}

static inline unsigned x87_phys(const struct cpu *c, unsigned n)
{
	return (x87_top(c) + n) & 7;
}

static inline struct x86_st *x87_st(struct cpu *c, unsigned n)
{
	return &c->fpu.r[x87_phys(c, n)];
}

static inline bool x87_empty(const struct cpu *c, unsigned n)
{
	return !(c->fpu.ftw & BIT(x87_phys(c, n)));
}

static inline void x87_write(struct cpu *c, unsigned n, const struct x86_st *v)
{
	unsigned p = x87_phys(c, n);

	c->fpu.r[p].mant = v->mant;
	c->fpu.r[p].exp = v->exp;
	c->fpu.ftw |= (u8)BIT(p);
}

static inline void x87_pop(struct cpu *c)
{
	unsigned top = x87_top(c);

	c->fpu.ftw &= (u8)~BIT(top);
	x87_set_top(c, top + 1);
}

/* The caller has checked that ST(7) is empty, or means to overwrite it. */
static inline void x87_push(struct cpu *c, const struct x86_st *v)
{
	x87_set_top(c, x87_top(c) - 1);
	x87_write(c, 0, v);
}

extern const struct x86_st x87_indefinite; /* the quiet NaN of masked invalid operations */

/* Every x87 instruction that is not a control instruction: pending exceptions, then FIP and FOP. */
void x87_check(struct cpu *c);
void x87_enter(struct cpu *c, const struct insn *i);

/* With a memory operand: its linear address, checked for size bytes; also sets FDP. */
u64 x87_mem(struct cpu *c, const struct insn *i, unsigned size, bool write);

/*
 * Adds a kernel's exceptions and C1 to the guest's status. True if the operation happened, i.e. no
 * exception of `stops` is unmasked: then the caller writes the result and pops.
 */
bool x87_commit(struct cpu *c, u16 sw, unsigned stops);

/* Stack underflow or overflow (C1 = 1). True if masked: then the caller writes the indefinite value. */
bool x87_stack_fault(struct cpu *c, bool overflow);

/* Condition codes C0, C2, C3 from a kernel's status. */
static inline void x87_cc(struct cpu *c, u16 sw, unsigned bits)
{
	c->fpu.fsw = (u16)((c->fpu.fsw & ~bits) | (sw & bits));
}

static inline void x87_host_begin(const struct cpu *c)
{
	u16 cw = c->fpu.fcw;

	if (unlikely(cw != FCW_RESET))
		asm volatile("fldcw %0" : : "m"(cw));
}

static inline void x87_host_end(const struct cpu *c)
{
	u16 cw = FCW_RESET;

	if (unlikely(c->fpu.fcw != FCW_RESET))
		asm volatile("fldcw %0" : : "m"(cw));
}

/* ES and B follow from the flags and the masks. */
void x87_update_es(struct cpu *c);

/* Binder and handlers, for the table in x87_bind.c. */
bind_fn x87_bind;
insn_fn x87_arith, x87_compare, x87_compare_flags, x87_FTST, x87_FXAM;
insn_fn x87_fld_reg, x87_fld_mem, x87_fst_reg, x87_fst_mem, x87_fxch, x87_fcmov, x87_const, x87_ffree;
insn_fn x87_unary, x87_binary, x87_two, x87_FINCSTP, x87_FDECSTP, x87_FNOP, x87_fchs_fabs, x87_FSTPNCE;
insn_fn x87_FNINIT, x87_FNCLEX, x87_FNSTCW, x87_FLDCW, x87_FNSTSW, x87_FNSTENV, x87_FLDENV, x87_FNSAVE,
        x87_FRSTOR, x87_FWAIT, x87_EMMS;
insn_fn x87_FXSAVE, x87_FXRSTOR, x87_XSAVE, x87_XSAVEOPT, x87_XSAVEC, x87_XRSTOR;

/* i->aux of x87_arith */
enum { ARITH_ADD, ARITH_MUL, ARITH_SUB, ARITH_SUBR, ARITH_DIV, ARITH_DIVR, ARITH_N };
/* i->aux2: what a memory operand, if any, is */
enum { SRC_REG, SRC_F32, SRC_F64, SRC_I16, SRC_I32, SRC_I64, SRC_F80, SRC_BCD, SRC_N };
/* i->aux of x87_unary, x87_binary, x87_two, x87_const: ORDER UNARY ... with the kernel tables */
enum { UN_SQRT, UN_RNDINT, UN_2XM1, UN_SIN, UN_COS, UN_N };
enum { BIN_SCALE, BIN_PREM, BIN_PREM1, BIN_YL2X, BIN_YL2XP1, BIN_PATAN, BIN_N };
enum { TWO_SINCOS, TWO_PTAN, TWO_XTRACT, TWO_N };
enum { CONST_1, CONST_L2T, CONST_L2E, CONST_PI, CONST_LG2, CONST_LN2, CONST_Z, CONST_N };
/* i->r3: flags */
#define X87_POP 1u
#define X87_POP2 2u
#define X87_UNORDERED 4u /* compares: quiet NaNs are no invalid operands */
#define X87_TRUNC 8u     /* FISTTP */
#define X87_WIDE 16u     /* 64-bit pointers in the image: FXSAVE64 and the like */
/* i->r1: destination ST(r1), i->r2: source ST(r2); i->imm: FOP */
