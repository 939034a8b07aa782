/*
 * x87 functions: roots, rounding, remainders, scaling, logarithms, trigonometry. The host computes them,
 * so their last bits are those of the host CPU.
 */
#include "accel/soft/interp/x87.h"

/* --- one operand, one result --- */

typedef u16 unary_fn(struct x86_st *d);

#define UNARY(name, ins)                                                                                     \
	static u16 name(struct x86_st *d)                                                                    \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile("fldt %1\n" ins "\n"                                                            \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "fstpt %1"                                                                      \
		             : "=&a"(sw), "+m"(*d)                                                           \
		             :                                                                               \
		             : X87_CLOBBERS);                                                                \
		return sw;                                                                                   \
	}
UNARY(k_sqrt, "fsqrt")
UNARY(k_rndint, "frndint")
UNARY(k_2xm1, "f2xm1")
UNARY(k_sin, "fsin")
UNARY(k_cos, "fcos")
static unary_fn *const unary[UN_N] = {k_sqrt, k_rndint, k_2xm1, k_sin, k_cos};

void x87_unary(struct cpu *c, const struct insn *i)
{
	struct x86_st d = x87_indefinite;
	u16 sw;

	x87_enter(c, i);
	if (i->aux == UN_SIN || i->aux == UN_COS)
		c->fpu.fsw &= (u16)~FSW_C2; /* complete, unless the operand is out of range */
	if (unlikely(x87_empty(c, 0))) {
		if (x87_stack_fault(c, false))
			x87_write(c, 0, &d);
		return;
	}
	d = *x87_st(c, 0);
	x87_host_begin(c);
	sw = unary[i->aux](&d);
	x87_host_end(c);
	if (!x87_commit(c, sw, FSW_PRE))
		return;
	if (i->aux == UN_SIN || i->aux == UN_COS)
		x87_cc(c, sw, FSW_C2);
	x87_write(c, 0, &d);
}

/* --- ST(0) and ST(1): the result replaces ST(0), or both --- */

typedef u16 binary_fn(struct x86_st *st0, const struct x86_st *st1);

/*
 * clean takes the second operand off the host's stack. Those that pop leave it there only if an unmasked
 * exception stopped them: FFREE fits both cases.
 */
#define BINARY(name, ins, clean)                                                                             \
	static u16 name(struct x86_st *st0, const struct x86_st *st1)                                        \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile("fldt %2\n"                                                                     \
		             "fldt %1\n" ins "\n"                                                            \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "fstpt %1\n" clean " %%st(0)"                                                   \
		             : "=&a"(sw), "+m"(*st0)                                                         \
		             : "m"(*st1)                                                                     \
		             : X87_CLOBBERS);                                                                \
		return sw;                                                                                   \
	}
BINARY(k_scale, "fscale", "fstp")
BINARY(k_prem, "fprem", "fstp")
BINARY(k_prem1, "fprem1", "fstp")
BINARY(k_yl2x, "fyl2x", "ffree")
BINARY(k_yl2xp1, "fyl2xp1", "ffree")
BINARY(k_patan, "fpatan", "ffree")
static binary_fn *const binary[BIN_N] = {k_scale, k_prem, k_prem1, k_yl2x, k_yl2xp1, k_patan};

void x87_binary(struct cpu *c, const struct insn *i)
{
	struct x86_st d = x87_indefinite;
	u16 sw;

	x87_enter(c, i);
	if (i->aux == BIN_PREM || i->aux == BIN_PREM1)
		c->fpu.fsw &= (u16)~FSW_C2;
	if (unlikely(x87_empty(c, 0) || x87_empty(c, 1))) {
		if (!x87_stack_fault(c, false))
			return;
	} else {
		d = *x87_st(c, 0);
		x87_host_begin(c);
		sw = binary[i->aux](&d, x87_st(c, 1));
		x87_host_end(c);
		if (!x87_commit(c, sw, FSW_PRE))
			return;
		/* Without a quotient (the result is a NaN) C0, C1 and C3 stay. */
		if ((i->aux == BIN_PREM || i->aux == BIN_PREM1) && (d.exp & 0x7fff) != 0x7fff)
			x87_cc(c, sw, FSW_CC);
	}
	if (i->aux >= BIN_YL2X)
		x87_pop(c);
	x87_write(c, 0, &d);
}

/* --- one operand, two results: ST(0) is replaced, then the second is pushed --- */

struct two {
	u16 sw;
	bool pushed;
	struct x86_st st0, st1;
};

/*
 * Nothing is pushed if the operand is out of range or on an unmasked exception; TOP before and after
 * tells, and how many registers are to be taken off.
 */
#define TWO(name, ins)                                                                                       \
	static void name(const struct x86_st *s, struct two *r)                                              \
	{                                                                                                    \
		u16 before, after;                                                                           \
		asm volatile("fldt %2\n"                                                                     \
		             "fnstsw %0\n" ins "\n"                                                          \
		             "fnstsw %1\n"                                                                   \
		             "fnclex"                                                                        \
		             : "=m"(before), "=m"(after)                                                     \
		             : "m"(*s)                                                                       \
		             : X87_CLOBBERS);                                                                \
		r->sw = after;                                                                               \
		r->pushed = (before ^ after) & FSW_TOP;                                                      \
		asm volatile("fstpt %0" : "+m"(r->st0) : : X87_CLOBBERS);                                    \
		if (r->pushed)                                                                               \
			asm volatile("fstpt %0" : "+m"(r->st1) : : X87_CLOBBERS);                            \
	}
TWO(k_sincos, "fsincos")
TWO(k_ptan, "fptan")
TWO(k_xtract, "fxtract")

void x87_two(struct cpu *c, const struct insn *i)
{
	static void (*const two[TWO_N])(const struct x86_st *, struct two *) = {k_sincos, k_ptan, k_xtract};
	struct two r = {.st0 = x87_indefinite, .st1 = x87_indefinite};

	x87_enter(c, i);
	if (i->aux != TWO_XTRACT)
		c->fpu.fsw &= (u16)~FSW_C2;
	if (unlikely(x87_empty(c, 0) || !x87_empty(c, 7))) {
		if (!x87_stack_fault(c, !x87_empty(c, 0)))
			return;
		r.pushed = true;
	} else {
		x87_host_begin(c);
		two[i->aux](x87_st(c, 0), &r);
		x87_host_end(c);
		if (!x87_commit(c, r.sw, FSW_PRE))
			return;
		if (i->aux != TWO_XTRACT)
			x87_cc(c, r.sw, FSW_C2);
	}
	if (!r.pushed)
		return; /* out of range: ST(0) stays, C2 says so */
	x87_write(c, 0, &r.st1);
	x87_push(c, &r.st0);
}
