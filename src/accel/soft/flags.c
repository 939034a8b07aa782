/*
 * Arithmetic flags from the last flag-writing instruction (cpu.h, enum cc_kind). Carry out of bit
 * i of a sum is the majority of a, b and not-sum there; borrow likewise. So CF, AF and OF all come
 * from one vector of carries, whatever the carry-in was.
 */
#include "accel/soft/cpu.h"

static u32 parity(u64 res)
{
	return __builtin_parity((unsigned)(res & 0xff)) ? 0 : FL_PF;
}

static u32 result_flags(u64 res, u64 sign)
{
	return parity(res) | (res == 0 ? FL_ZF : 0) | (res & sign ? FL_SF : 0);
}

/* carries: bit i set if a carry (borrow) left bit i. */
static u32 carry_flags(u64 carries, u64 sign)
{
	u32 fl = 0;

	if (carries & sign)
		fl |= FL_CF;
	if (carries & 8)
		fl |= FL_AF;
	/* OF: carry into the sign bit differs from the carry out of it. */
	if ((carries ^ (carries << 1)) & sign)
		fl |= FL_OF;
	return fl;
}

u32 cpu_arith_flags(const struct cpu *c)
{
	u64 sign = 1ull << ((8u << (c->cc_op & 3)) - 1);
	u64 res = c->cc_res, a = c->cc_a, b = c->cc_b;
	u64 carries;

	switch (c->cc_op >> 2) {
	case CC_ADD:
		carries = (a & b) | ((a | b) & ~res);
		return result_flags(res, sign) | carry_flags(carries, sign);
	case CC_SUB:
		carries = (~a & b) | ((~a | b) & res);
		return result_flags(res, sign) | carry_flags(carries, sign);
	case CC_LOGIC: return result_flags(res, sign);
	case CC_INC:
		return result_flags(res, sign) | (b ? FL_CF : 0) | ((res & 15) == 0 ? FL_AF : 0) |
		       (res == sign ? FL_OF : 0);
	case CC_DEC:
		return result_flags(res, sign) | (b ? FL_CF : 0) | ((res & 15) == 15 ? FL_AF : 0) |
		       (res == sign - 1 ? FL_OF : 0);
	default: return (u32)c->cc_res;
	}
}

/* Conditions after CMP and SUB without building the flags: most of what Jcc asks. */
static int cond_sub(const struct cpu *c, unsigned cc)
{
	unsigned shift = 64 - (8u << (c->cc_op & 3));
	u64 a = c->cc_a, b = c->cc_b;

	switch (cc) {
	case 2: return a < b;
	case 6: return a <= b;
	case 12: return (s64)(a << shift) < (s64)(b << shift);
	case 14: return (s64)(a << shift) <= (s64)(b << shift);
	default: return -1;
	}
}

static bool cond_flags(u32 fl, unsigned cc)
{
	bool lt = !(fl & FL_SF) != !(fl & FL_OF);

	switch (cc) {
	case 0: return fl & FL_OF;
	case 2: return fl & FL_CF;
	case 4: return fl & FL_ZF;
	case 6: return fl & (FL_CF | FL_ZF);
	case 8: return fl & FL_SF;
	case 10: return fl & FL_PF;
	case 12: return lt;
	default: return lt || (fl & FL_ZF);
	}
}

bool cpu_cond(const struct cpu *c, unsigned cc)
{
	unsigned pos = cc & 14;
	bool neg = cc & 1;
	u32 kind = c->cc_op >> 2;

	if (kind != CC_EAGER) {
		if (pos == 4)
			return (c->cc_res == 0) != neg;
		if (pos == 8)
			return ((c->cc_res >> ((8u << (c->cc_op & 3)) - 1)) & 1) != neg;
	}
	/* A subtraction with borrow does not compare a with b: only trust res == a - b. */
	if (kind == CC_SUB && ((c->cc_a - c->cc_b - c->cc_res) << (64 - (8u << (c->cc_op & 3)))) == 0) {
		int r = cond_sub(c, pos);
		if (r >= 0)
			return (bool)r != neg;
	}
	return cond_flags(cpu_arith_flags(c), pos) != neg;
}
