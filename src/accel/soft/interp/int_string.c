/*
 * MOVS, STOS, LODS, CMPS, SCAS with their REP forms, address sizes and directions.
 *
 * A REP instruction does a bounded batch of iterations; registers are exact after each, so a fault or an
 * interrupt between two finds them right. If work is left, RIP is stepped back to the instruction
 * and the block ends: the run loop looks for interrupts and comes again. MOVS and STOS that go forward
 * through plain RAM do a page at a time.
 */
#include "accel/soft/interp/int.h"
#include "accel/soft/interp/vec.h"

bind_fn bind_string;

#define BATCH 4096 /* iterations per look at the outside world */

enum string_op { STR_MOVS, STR_STOS, STR_LODS, STR_CMPS, STR_SCAS };

/* An index register moved by n bytes, within the address size. */
static void advance(struct cpu *c, const struct insn *i, unsigned reg, s64 n)
{
	reg_write(c, reg, i->asize, reg_read(c, reg, i->asize) + (u64)n);
}

/* [E]SI in the instruction's segment. */
static u64 src_lin(struct cpu *c, const struct insn *i, unsigned len)
{
	return lin_of(c, i, reg_read(c, RSI, i->asize), len, false);
}

/* [E]DI, always in ES, whose base is 0 in 64-bit mode. */
static u64 dst_lin(struct cpu *c, const struct insn *i, unsigned len, bool write)
{
	u64 off = reg_read(c, RDI, i->asize);

	return insn_is64(c) ? off : mmu_linear(c, SEG_ES, off, len, write);
}

/* One iteration; registers change after the last access that can fault. */
ALWAYS void once(struct cpu *c, const struct insn *i, enum string_op op, unsigned size)
{
	s64 step = c->eflags & FL_DF ? -(s64)size : (s64)size;
	u64 a, b, lin;

	switch (op) {
	case STR_MOVS:
		a = mem_ld(c, src_lin(c, i, size), size);
		lin = dst_lin(c, i, size, true);
		mem_st(c, lin, size, a);
		advance(c, i, RSI, step);
		advance(c, i, RDI, step);
		break;
	case STR_STOS:
		mem_st(c, dst_lin(c, i, size, true), size, reg_read(c, RAX, size));
		advance(c, i, RDI, step);
		break;
	case STR_LODS:
		reg_write(c, RAX, size, mem_ld(c, src_lin(c, i, size), size));
		advance(c, i, RSI, step);
		break;
	case STR_CMPS:
		a = mem_ld(c, src_lin(c, i, size), size);
		b = mem_ld(c, dst_lin(c, i, size, false), size);
		cc_lazy(c, CC_SUB, size, (a - b) & ones(size), a, b);
		advance(c, i, RSI, step);
		advance(c, i, RDI, step);
		break;
	case STR_SCAS:
		a = reg_read(c, RAX, size);
		b = mem_ld(c, dst_lin(c, i, size, false), size);
		cc_lazy(c, CC_SUB, size, (a - b) & ones(size), a, b);
		advance(c, i, RDI, step);
		break;
	}
}

/* --- pages at a time --- */

/* The whole elements from lin to the end of its page. */
static u64 in_page(u64 lin, unsigned size)
{
	return (PAGE_SIZE - (lin & (PAGE_SIZE - 1))) / size;
}

/* Would [off, off + len) wrap at the address size? */
static bool wraps(const struct insn *i, u64 off, u64 len)
{
	return i->asize != 8 && off + len > ones(i->asize);
}

static void fill(u8 *p, u64 val, unsigned size, u64 n)
{
	if (size == 1) {
		memset(p, (u8)val, n);
		return;
	}
	for (; n; n--, p += size)
		host_store(p, size, val);
}

/* REP STOS: elements done, 0 if this place needs the slow way. */
static u64 stos_run(struct cpu *c, const struct insn *i, unsigned size, u64 count)
{
	u64 off = reg_read(c, RDI, i->asize), lin, n;
	u8 *p;

	lin = dst_lin(c, i, size, true);
	n = MIN(count, in_page(lin, size));
	if (n < 2 || wraps(i, off, n * size) || (!insn_is64(c) && off + n * size - 1 > c->seg[SEG_ES].limit))
		return 0;
	p = mmu_ptr(c, lin, (unsigned)(n * size), ACC_WRITE);
	if (!p)
		return 0;
	fill(p, reg_read(c, RAX, size), size, n);
	mmu_wrote(c, p, (unsigned)(n * size));
	advance(c, i, RDI, (s64)(n * size));
	return n;
}

/* Copies as the element loop would: a destination shortly after the source repeats it. */
static void copy_run(u8 *dst, const u8 *src, unsigned size, u64 n)
{
	if (dst + n * size <= src || src + n * size <= dst || dst <= src) {
		memmove(dst, src, n * size);
		return;
	}
	for (; n; n--, dst += size, src += size)
		host_store(dst, size, host_load(src, size));
}

static bool beyond_limits(struct cpu *c, const struct insn *i, u64 len)
{
	u64 s = reg_read(c, RSI, i->asize), d = reg_read(c, RDI, i->asize);

	if (wraps(i, s, len) || wraps(i, d, len))
		return true;
	/* Expand-down and other odd segments: only ordinary ones take the fast way. */
	return !insn_is64(c) && (s + len - 1 > c->seg[i->seg].limit || d + len - 1 > c->seg[SEG_ES].limit ||
	                                (c->seg[i->seg].attr & 0xc) == 4 || (c->seg[SEG_ES].attr & 0xc) == 4);
}

static u64 movs_run(struct cpu *c, const struct insn *i, unsigned size, u64 count)
{
	u64 src = src_lin(c, i, size), dst = dst_lin(c, i, size, true);
	u64 n = MIN(count, MIN(in_page(src, size), in_page(dst, size)));
	const u8 *from;
	u8 *to;

	if (n < 2 || beyond_limits(c, i, n * size))
		return 0;
	from = mmu_ptr(c, src, (unsigned)(n * size), ACC_READ);
	if (!from)
		return 0;
	to = mmu_ptr(c, dst, (unsigned)(n * size), ACC_WRITE);
	if (!to)
		return 0;
	copy_run(to, from, size, n);
	mmu_wrote(c, to, (unsigned)(n * size));
	advance(c, i, RSI, (s64)(n * size));
	advance(c, i, RDI, (s64)(n * size));
	return n;
}

/* How many iterations the fast way did; 0: do one the slow way. */
static u64 run(struct cpu *c, const struct insn *i, enum string_op op, unsigned size, u64 count)
{
	if ((c->eflags & FL_DF) || (c->eflags & FL_TF))
		return 0;
	if (op == STR_STOS && !(!insn_is64(c) && (c->seg[SEG_ES].attr & 0xc) == 4))
		return stos_run(c, i, size, count);
	return op == STR_MOVS ? movs_run(c, i, size, count) : 0;
}

/* REPE and REPNE end CMPS and SCAS by ZF. */
static bool keep_going(struct cpu *c, const struct insn *i, enum string_op op)
{
	bool zf;

	if (op != STR_CMPS && op != STR_SCAS)
		return true;
	zf = c->cc_res == 0;
	return i->flags & INSN_REPNE ? !zf : zf;
}

ALWAYS void repeat(struct cpu *c, const struct insn *i, enum string_op op, unsigned size)
{
	u64 count = reg_read(c, RCX, i->asize);
	u64 budget = c->eflags & FL_TF ? 1 : BATCH;

	while (count && budget) {
		u64 n = run(c, i, op, size, count);

		if (n == 0) {
			once(c, i, op, size);
			n = 1;
		}
		count -= n;
		budget -= MIN(n, budget);
		reg_write(c, RCX, i->asize, count);
		if (!keep_going(c, i, op))
			return;
	}
	if (count == 0) {
		/* A 32-bit count that was 0 from the start still leaves RCX zero-extended only if written. */
		return;
	}
	c->gpr[REG_RIP] -= i->len;
	cpu_end_block(c);
}

#define STRING_HANDLERS(S, OP)                                                                               \
	static void OP##_one##S(struct cpu *c, const struct insn *i)                                         \
	{                                                                                                    \
		once(c, i, STR_##OP, S);                                                                     \
	}                                                                                                    \
	static void OP##_rep##S(struct cpu *c, const struct insn *i)                                         \
	{                                                                                                    \
		repeat(c, i, STR_##OP, S);                                                                   \
	}
#define STRING_OPS(F) F(MOVS) F(STOS) F(LODS) F(CMPS) F(SCAS)
#define MAKE(OP) FOR_SIZES(STRING_HANDLERS, OP)
STRING_OPS(MAKE)
#undef MAKE

#define ROW(OP, F)                                                                                           \
	{                                                                                                    \
		OP##_##F##1, OP##_##F##2, OP##_##F##4, OP##_##F##8                                           \
	}
#define TABLE(OP) [STR_##OP] = {ROW(OP, one), ROW(OP, rep)},
static insn_fn *const string_handlers[][2][4] = {STRING_OPS(TABLE)};

#define STRING_CASES(OP)                                                                                     \
	case ZYDIS_MNEMONIC_##OP##B: *size = 1; return STR_##OP;                                             \
	case ZYDIS_MNEMONIC_##OP##W: *size = 2; return STR_##OP;                                             \
	case ZYDIS_MNEMONIC_##OP##D: *size = 4; return STR_##OP;                                             \
	case ZYDIS_MNEMONIC_##OP##Q: *size = 8; return STR_##OP;

static enum string_op string_of(ZydisMnemonic m, unsigned *size)
{
	switch (m) {
		STRING_OPS(STRING_CASES)
	default: *size = 1; return STR_LODS;
	}
}

/* MOVSD and CMPSD are also SSE2 instructions. */
static bool is_vector(const struct dec *d)
{
	return d->zi.meta.category != ZYDIS_CATEGORY_STRINGOP;
}

bool bind_string(const struct dec *d, struct insn *i)
{
	bool rep = i->flags & (INSN_REP | INSN_REPNE);
	unsigned size;
	enum string_op op;

	if (is_vector(d))
		return vec_bind(d, i);
	op = string_of(d->zi.mnemonic, &size);
	i->osize = (u8)size;
	i->fn = string_handlers[op][rep][lg2(size)];
	return true;
}
