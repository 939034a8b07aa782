/*
 * Shifts and rotates. Flags are made at once: count 0 leaves them, and what the manual calls undefined
 * (OF for counts above 1, AF) is what the formula for count 1 gives.
 */
#include "accel/soft/interp/int.h"

bind_fn bind_shift, bind_shift_double, bind_shift_bmi;

enum { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAR };

static u32 flag_of(bool cf)
{
	return cf ? FL_CF : 0;
}

static u64 rotate_left(u64 v, unsigned n, unsigned bits)
{
	n %= bits;
	return n ? ((v << n) | (v >> (bits - n))) & ones(bits / 8) : v;
}

/* Rotates change CF and OF only. */
static u64 rol(struct cpu *c, u64 v, unsigned n, unsigned size)
{
	u64 r = rotate_left(v, n, size * 8);
	bool cf = r & 1, msb = r & sign_bit(size);

	set_flags(c, FL_CF | FL_OF, flag_of(cf) | (cf != msb ? FL_OF : 0));
	return r;
}

static u64 ror(struct cpu *c, u64 v, unsigned n, unsigned size)
{
	unsigned bits = size * 8;
	u64 r = rotate_left(v, bits - n % bits, bits);
	bool msb = r & sign_bit(size), next = r & (sign_bit(size) >> 1);

	set_flags(c, FL_CF | FL_OF, flag_of(msb) | (msb != next ? FL_OF : 0));
	return r;
}

/* Through carry: a rotation of bits + 1 places, one at a time (at most 63). */
static u64 rcl(struct cpu *c, u64 v, unsigned n, unsigned size)
{
	bool cf = get_cf(c);

	for (n %= size * 8 + 1; n; n--) {
		bool out = v & sign_bit(size);

		v = ((v << 1) | cf) & ones(size);
		cf = out;
	}
	set_flags(c, FL_CF | FL_OF, flag_of(cf) | (cf != !!(v & sign_bit(size)) ? FL_OF : 0));
	return v;
}

static u64 rcr(struct cpu *c, u64 v, unsigned n, unsigned size)
{
	bool cf = get_cf(c), msb, next;

	for (n %= size * 8 + 1; n; n--) {
		bool out = v & 1;

		v = v >> 1 | (cf ? sign_bit(size) : 0);
		cf = out;
	}
	msb = v & sign_bit(size);
	next = v & (sign_bit(size) >> 1);
	set_flags(c, FL_CF | FL_OF, flag_of(cf) | (msb != next ? FL_OF : 0));
	return v;
}

ALWAYS u64 shl(struct cpu *c, u64 v, unsigned n, unsigned size)
{
	unsigned bits = size * 8;
	u64 r = n < bits ? (v << n) & ones(size) : 0;
	bool cf = n <= bits && (v >> (bits - n) & 1);
	bool msb = r & sign_bit(size);

	cpu_set_arith(c, szp(r, size) | flag_of(cf) | (cf != msb ? FL_OF : 0));
	return r;
}

ALWAYS u64 shr(struct cpu *c, u64 v, unsigned n, unsigned size)
{
	u64 r = n < size * 8 ? v >> n : 0;
	bool cf = n <= size * 8 && (v >> (n - 1) & 1);
	bool of = ((r << 1) ^ r) & sign_bit(size);

	cpu_set_arith(c, szp(r, size) | flag_of(cf) | (of ? FL_OF : 0));
	return r;
}

ALWAYS u64 sar(struct cpu *c, u64 v, unsigned n, unsigned size)
{
	s64 s = sext(v, size);
	u64 r = (u64)(s >> MIN(n, 63u)) & ones(size);
	bool cf = s >> MIN(n - 1, 63u) & 1;

	cpu_set_arith(c, szp(r, size) | flag_of(cf));
	return r;
}

/* n is masked and not 0. */
ALWAYS u64 shift(struct cpu *c, unsigned op, u64 v, unsigned n, unsigned size)
{
	switch (op) {
	case SH_ROL: return rol(c, v, n, size);
	case SH_ROR: return ror(c, v, n, size);
	case SH_RCL: return rcl(c, v, n, size);
	case SH_RCR: return rcr(c, v, n, size);
	case SH_SHL: return shl(c, v, n, size);
	case SH_SHR: return shr(c, v, n, size);
	default: return sar(c, v, n, size);
	}
}

ALWAYS void shift_reg(struct cpu *c, const struct insn *i, unsigned op, unsigned size, unsigned n)
{
	u64 v = reg_read(c, i->r1, size);

	n &= size == 8 ? 63 : 31;
	reg_write(c, i->r1, size, n ? shift(c, op, v, n, size) : v);
}

ALWAYS void shift_mem(struct cpu *c, const struct insn *i, unsigned op, unsigned size, unsigned n)
{
	struct rmw m = rmw_begin(c, i, size);
	u64 v = rmw_load(c, &m, size);

	n &= size == 8 ? 63 : 31;
	rmw_store(c, &m, size, n ? shift(c, op, v, n, size) : v);
}

#define SHIFT_HANDLERS(S, OP)                                                                                \
	static void OP##_ri##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		shift_reg(c, i, SH_##OP, S, (unsigned)i->imm);                                               \
	}                                                                                                    \
	static void OP##_mi##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		shift_mem(c, i, SH_##OP, S, (unsigned)i->imm);                                               \
	}                                                                                                    \
	static void OP##_rc##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		shift_reg(c, i, SH_##OP, S, (u8)c->gpr[RCX]);                                                \
	}                                                                                                    \
	static void OP##_mc##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		shift_mem(c, i, SH_##OP, S, (u8)c->gpr[RCX]);                                                \
	}
#define SHIFT_OPS(F) F(ROL) F(ROR) F(RCL) F(RCR) F(SHL) F(SHR) F(SAR)
#define MAKE(OP) FOR_SIZES(SHIFT_HANDLERS, OP)
SHIFT_OPS(MAKE)
#undef MAKE

#define ROW(OP, F)                                                                                           \
	{                                                                                                    \
		OP##_##F##1, OP##_##F##2, OP##_##F##4, OP##_##F##8                                           \
	}
#define TABLE(OP) [SH_##OP] = {ROW(OP, ri), ROW(OP, mi), ROW(OP, rc), ROW(OP, mc)},
static insn_fn *const shift_handlers[][4][4] = {SHIFT_OPS(TABLE)};

static unsigned shift_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ROL: return SH_ROL;
	case ZYDIS_MNEMONIC_ROR: return SH_ROR;
	case ZYDIS_MNEMONIC_RCL: return SH_RCL;
	case ZYDIS_MNEMONIC_RCR: return SH_RCR;
	case ZYDIS_MNEMONIC_SHL: return SH_SHL;
	case ZYDIS_MNEMONIC_SHR: return SH_SHR;
	default: return SH_SAR;
	}
}

bool bind_shift(const struct dec *d, struct insn *i)
{
	unsigned form = (op_is_mem(d, 0) ? 1 : 0) + (op_is_reg(d, 1) ? 2 : 0);

	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->imm = op_is_imm(d, 1) ? d->op[1].imm.value.u : 1;
	i->fn = shift_handlers[shift_of(d->zi.mnemonic)][form][lg2(i->osize)];
	return true;
}

/* --- SHLD, SHRD: aux2 = count in CL, aux = right --- */

/* n masked, not 0. Counts above the width (16 bits only) are undefined: as if a second copy followed. */
static u64 shift_double(struct cpu *c, bool right, u64 v, u64 src, unsigned n, unsigned size)
{
	unsigned bits = size * 8;
	u128 wide;
	u64 r;
	bool cf;

	if (right) {
		wide = (u128)v | (u128)src << bits;
		if (size == 2)
			wide |= (u128)v << 32;
		r = (u64)(wide >> n) & ones(size);
		cf = (u64)(wide >> (n - 1)) & 1;
	} else {
		wide = ((u128)v << bits | src) << (128 - 2 * bits);
		if (size == 2)
			wide |= (u128)v << (128 - 48);
		r = (u64)((wide << n) >> (128 - bits)) & ones(size);
		cf = (u64)(wide >> (128 - n)) & 1;
	}
	cpu_set_arith(c, szp(r, size) | flag_of(cf) | ((r ^ v) & sign_bit(size) ? FL_OF : 0));
	return r;
}

static void shiftd(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	unsigned n = (i->aux2 ? (u8)c->gpr[RCX] : (unsigned)i->imm) & (size == 8 ? 63 : 31);
	u64 src = reg_read(c, i->r2, size), v;
	struct rmw m = {0};

	if (i->flags & INSN_MEM) {
		m = rmw_begin(c, i, size);
		v = rmw_load(c, &m, size);
		rmw_store(c, &m, size, n ? shift_double(c, i->aux, v, src, n, size) : v);
	} else {
		v = reg_read(c, i->r1, size);
		reg_write(c, i->r1, size, n ? shift_double(c, i->aux, v, src, n, size) : v);
	}
}

bool bind_shift_double(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->r2 = op_reg(d, 1);
	i->aux = d->zi.mnemonic == ZYDIS_MNEMONIC_SHRD;
	i->aux2 = op_is_reg(d, 2);
	if (op_is_imm(d, 2))
		i->imm = d->op[2].imm.value.u;
	i->fn = shiftd;
	return true;
}

/* --- BMI2: RORX (imm), SARX, SHLX, SHRX (register); no flags --- */

static void shift_bmi(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize, bits = size * 8;
	u64 v = load_rm(c, i, i->r2, size);
	unsigned n = (unsigned)(i->aux == SH_ROR ? i->imm : c->gpr[i->r3]) & (bits - 1);

	switch (i->aux) {
	case SH_ROR: v = rotate_left(v, bits - n, bits); break;
	case SH_SHL: v <<= n; break;
	case SH_SHR: v >>= n; break;
	default: v = (u64)(sext(v, size) >> n); break;
	}
	reg_write(c, i->r1, size, v);
}

bool bind_shift_bmi(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	if (op_is_reg(d, 2))
		i->r3 = op_reg(d, 2);
	else
		i->imm = d->op[2].imm.value.u;
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_RORX: i->aux = SH_ROR; break;
	case ZYDIS_MNEMONIC_SHLX: i->aux = SH_SHL; break;
	case ZYDIS_MNEMONIC_SHRX: i->aux = SH_SHR; break;
	default: i->aux = SH_SAR; break;
	}
	i->fn = shift_bmi;
	return true;
}
