/*
 * Two-operand arithmetic and logic, INC, DEC, NEG, NOT, TEST, CMP, and their LOCKed forms.
 *
 * Each operation has one inline function from operands to result and flags; macros make handlers of
 * it for every size and operand form: rr (register, register), rm (register, memory), mr (memory,
 * register), ri, mi (immediates).
 */
#include "accel/soft/interp/int.h"

bind_fn bind_alu, bind_unary, bind_test;

enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_N };

ALWAYS u64 alu(struct cpu *c, enum alu op, unsigned size, u64 a, u64 b)
{
	u64 r, carry;

	b &= ones(size);
	switch (op) {
	case ALU_ADD:
		r = (a + b) & ones(size);
		cc_lazy(c, CC_ADD, size, r, a, b);
		return r;
	case ALU_ADC:
		carry = get_cf(c);
		r = (a + b + carry) & ones(size);
		cc_lazy(c, CC_ADD, size, r, a, b);
		return r;
	case ALU_SUB:
	case ALU_CMP:
		r = (a - b) & ones(size);
		cc_lazy(c, CC_SUB, size, r, a, b);
		return r;
	case ALU_SBB:
		carry = get_cf(c);
		r = (a - b - carry) & ones(size);
		cc_lazy(c, CC_SUB, size, r, a, b);
		return r;
	case ALU_OR: r = a | b; break;
	case ALU_AND: r = a & b; break;
	case ALU_XOR:
	default: r = a ^ b; break;
	}
	cc_lazy(c, CC_LOGIC, size, r, 0, 0);
	return r;
}

ALWAYS void alu_reg(struct cpu *c, const struct insn *i, enum alu op, unsigned size, u64 b)
{
	u64 r = alu(c, op, size, reg_read(c, i->r1, size), b);

	if (op != ALU_CMP)
		reg_write(c, i->r1, size, r);
}

ALWAYS void alu_mem(struct cpu *c, const struct insn *i, enum alu op, unsigned size, u64 b)
{
	struct rmw m;

	if (op == ALU_CMP) {
		alu(c, op, size, load_mem(c, i, size), b);
		return;
	}
	m = rmw_begin(c, i, size);
	rmw_store(c, &m, size, alu(c, op, size, rmw_load(c, &m, size), b));
}

#define ALU_HANDLERS(S, OP)                                                                                  \
	static void OP##_rr##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu_reg(c, i, ALU_##OP, S, reg_read(c, i->r2, S));                                           \
	}                                                                                                    \
	static void OP##_rm##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu_reg(c, i, ALU_##OP, S, load_mem(c, i, S));                                               \
	}                                                                                                    \
	static void OP##_mr##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu_mem(c, i, ALU_##OP, S, reg_read(c, i->r2, S));                                           \
	}                                                                                                    \
	static void OP##_ri##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu_reg(c, i, ALU_##OP, S, i->imm);                                                          \
	}                                                                                                    \
	static void OP##_mi##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu_mem(c, i, ALU_##OP, S, i->imm);                                                          \
	}
#define ALU_OPS(F) F(ADD) F(OR) F(ADC) F(SBB) F(AND) F(SUB) F(XOR) F(CMP)
#define MAKE(OP) FOR_SIZES(ALU_HANDLERS, OP)
ALU_OPS(MAKE)
#undef MAKE

enum form { FORM_RR, FORM_RM, FORM_MR, FORM_RI, FORM_MI, FORM_N };

#define ROW(OP, F)                                                                                           \
	{                                                                                                    \
		OP##_##F##1, OP##_##F##2, OP##_##F##4, OP##_##F##8                                           \
	}
#define TABLE(OP) [ALU_##OP] = {ROW(OP, rr), ROW(OP, rm), ROW(OP, mr), ROW(OP, ri), ROW(OP, mi)},
static insn_fn *const alu_handlers[ALU_N][FORM_N][4] = {ALU_OPS(TABLE)};

/* LOCK forms: rare enough for one handler; aux is the operation, aux2 says that the source is imm. */
static void alu_locked(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 b = i->aux2 ? i->imm : reg_read(c, i->r2, size);
	struct rmw m = rmw_begin(c, i, size);
	u64 cf = get_cf(c), old, val;

	locked_begin(c, &m);
	old = rmw_load(c, &m, size);
	do {
		cpu_set_arith(c, cf ? FL_CF : 0); /* ADC and SBB again after a lost race */
		val = alu(c, (enum alu)i->aux, size, old, b);
	} while (!locked_cas(c, &m, size, &old, val));
	locked_end(c, &m, size);
}

static int alu_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ADD: return ALU_ADD;
	case ZYDIS_MNEMONIC_OR: return ALU_OR;
	case ZYDIS_MNEMONIC_ADC: return ALU_ADC;
	case ZYDIS_MNEMONIC_SBB: return ALU_SBB;
	case ZYDIS_MNEMONIC_AND: return ALU_AND;
	case ZYDIS_MNEMONIC_SUB: return ALU_SUB;
	case ZYDIS_MNEMONIC_XOR: return ALU_XOR;
	default: return ALU_CMP;
	}
}

static enum form form_of(const struct dec *d)
{
	if (op_is_mem(d, 0))
		return op_is_imm(d, 1) ? FORM_MI : FORM_MR;
	if (op_is_imm(d, 1))
		return FORM_RI;
	return op_is_mem(d, 1) ? FORM_RM : FORM_RR;
}

bool bind_alu(const struct dec *d, struct insn *i)
{
	int op = alu_of(d->zi.mnemonic);
	unsigned size = op_size(d, 0);

	i->osize = (u8)size;
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	if (op_is_imm(d, 1))
		i->imm = d->op[1].imm.value.u;
	if (i->flags & INSN_LOCK) {
		i->fn = alu_locked;
		i->aux = (u8)op;
		i->aux2 = op_is_imm(d, 1);
		return true;
	}
	i->fn = alu_handlers[op][form_of(d)][lg2(size)];
	return true;
}

/* --- TEST --- */

#define TEST_HANDLERS(S)                                                                                     \
	static void test_rr##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu(c, ALU_AND, S, reg_read(c, i->r1, S), reg_read(c, i->r2, S));                            \
	}                                                                                                    \
	static void test_mr##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu(c, ALU_AND, S, load_mem(c, i, S), reg_read(c, i->r2, S));                                \
	}                                                                                                    \
	static void test_ri##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu(c, ALU_AND, S, reg_read(c, i->r1, S), i->imm);                                           \
	}                                                                                                    \
	static void test_mi##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		alu(c, ALU_AND, S, load_mem(c, i, S), i->imm);                                               \
	}
FOR_SIZES(TEST_HANDLERS)

#define TEST_ROW(F)                                                                                          \
	{                                                                                                    \
		test_##F##1, test_##F##2, test_##F##4, test_##F##8                                           \
	}

bool bind_test(const struct dec *d, struct insn *i)
{
	static insn_fn *const handlers[FORM_N][4] = {[FORM_RR] = TEST_ROW(rr),
	        [FORM_MR] = TEST_ROW(mr),
	        [FORM_RI] = TEST_ROW(ri),
	        [FORM_MI] = TEST_ROW(mi)};
	enum form f = form_of(d);

	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	if (op_is_imm(d, 1))
		i->imm = d->op[1].imm.value.u;
	i->fn = handlers[f][lg2(op_size(d, 0))];
	return i->fn;
}

/* --- INC, DEC, NEG, NOT --- */

enum unary { UN_INC, UN_DEC, UN_NEG, UN_NOT };

ALWAYS u64 unary(struct cpu *c, enum unary op, unsigned size, u64 a)
{
	u64 r;

	switch (op) {
	case UN_INC:
		r = (a + 1) & ones(size);
		cc_lazy(c, CC_INC, size, r, a, get_cf(c));
		return r;
	case UN_DEC:
		r = (a - 1) & ones(size);
		cc_lazy(c, CC_DEC, size, r, a, get_cf(c));
		return r;
	case UN_NEG:
		r = (0 - a) & ones(size);
		cc_lazy(c, CC_SUB, size, r, 0, a);
		return r;
	default: return ~a & ones(size);
	}
}

#define UNARY_HANDLERS(S, OP)                                                                                \
	static void OP##_r##S(struct cpu *c, const struct insn *i)                                           \
	{                                                                                                    \
		reg_write(c, i->r1, S, unary(c, UN_##OP, S, reg_read(c, i->r1, S)));                         \
	}                                                                                                    \
	static void OP##_m##S(struct cpu *c, const struct insn *i)                                           \
	{                                                                                                    \
		struct rmw m = rmw_begin(c, i, S);                                                           \
		rmw_store(c, &m, S, unary(c, UN_##OP, S, rmw_load(c, &m, S)));                               \
	}
#define UNARY_OPS(F) F(INC) F(DEC) F(NEG) F(NOT)
#define MAKE(OP) FOR_SIZES(UNARY_HANDLERS, OP)
UNARY_OPS(MAKE)
#undef MAKE

#define UNARY_TABLE(OP) [UN_##OP] = {ROW(OP, r), ROW(OP, m)},
static insn_fn *const unary_handlers[4][2][4] = {UNARY_OPS(UNARY_TABLE)};

static void unary_locked(struct cpu *c, const struct insn *i)
{
	struct rmw m = rmw_begin(c, i, i->osize);
	u32 before = cpu_arith_flags(c);
	u64 old, val;

	locked_begin(c, &m);
	old = rmw_load(c, &m, i->osize);
	do {
		cpu_set_arith(c, before);
		val = unary(c, (enum unary)i->aux, i->osize, old);
	} while (!locked_cas(c, &m, i->osize, &old, val));
	locked_end(c, &m, i->osize);
}

bool bind_unary(const struct dec *d, struct insn *i)
{
	enum unary op = d->zi.mnemonic == ZYDIS_MNEMONIC_INC   ? UN_INC
	                : d->zi.mnemonic == ZYDIS_MNEMONIC_DEC ? UN_DEC
	                : d->zi.mnemonic == ZYDIS_MNEMONIC_NEG ? UN_NEG
	                                                       : UN_NOT;

	i->osize = (u8)op_size(d, 0);
	i->aux = (u8)op;
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->fn = i->flags & INSN_LOCK ? unary_locked : unary_handlers[op][op_is_mem(d, 0)][lg2(i->osize)];
	return true;
}
