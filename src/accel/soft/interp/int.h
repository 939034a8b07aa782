/*
 * What the integer handlers share: operand access by constant size, lazy flag writers, read-modify-
 * write of memory, and the shapes of binders. Handlers are made by macros per size; every size argument
 * below is a constant there, so the inline functions fold to a few host instructions.
 */
#pragma once

#include "accel/soft/interp/insn.h"

#define ALWAYS static inline __attribute__((always_inline))

/* Sizes as macro lists: F(...) is expanded for each. */
#define FOR_SIZES(F, ...) F(1, ##__VA_ARGS__) F(2, ##__VA_ARGS__) F(4, ##__VA_ARGS__) F(8, ##__VA_ARGS__)

/* Index of a size in handler tables. */
ALWAYS unsigned lg2(unsigned size)
{
	return (unsigned)__builtin_ctz(size);
}

ALWAYS u64 sign_bit(unsigned size)
{
	return 1ull << (size * 8 - 1);
}

ALWAYS s64 sext(u64 v, unsigned size)
{
	unsigned shift = 64 - size * 8;

	return (s64)(v << shift) >> shift;
}

/* --- flags --- */

ALWAYS void cc_lazy(struct cpu *c, enum cc_kind kind, unsigned size, u64 res, u64 a, u64 b)
{
	c->cc_op = CC_OP(kind, (u32)__builtin_ctz(size));
	c->cc_res = res;
	c->cc_a = a;
	c->cc_b = b;
}

ALWAYS bool get_cf(const struct cpu *c)
{
	u64 top = 1ull << ((8u << (c->cc_op & 3)) - 1);
	u64 a = c->cc_a, b = c->cc_b, r = c->cc_res;

	switch (c->cc_op >> 2) {
	case CC_ADD: return ((a & b) | ((a | b) & ~r)) & top;
	case CC_SUB: return ((~a & b) | ((~a | b) & r)) & top;
	case CC_LOGIC: return false;
	case CC_INC:
	case CC_DEC: return b;
	default: return r & FL_CF;
	}
}

/* SF, ZF, PF of a result. */
ALWAYS u32 szp(u64 res, unsigned size)
{
	return (__builtin_parity((unsigned)res & 0xff) ? 0 : FL_PF) | (res == 0 ? FL_ZF : 0) |
	       (res & sign_bit(size) ? FL_SF : 0);
}

/* Replaces the flags in mask, keeps the other arithmetic ones. */
ALWAYS void set_flags(struct cpu *c, u32 mask, u32 val)
{
	cpu_set_arith(c, (cpu_arith_flags(c) & ~mask) | (val & mask));
}

/* --- memory operands --- */

/* Linear address for an offset that is not the operand's own (bit strings, POP, XLAT). */
ALWAYS u64 lin_of(struct cpu *c, const struct insn *i, u64 off, unsigned size, bool write)
{
	if (likely(i->seg_mode == SEGM_FLAT))
		return off;
	if (i->seg_mode == SEGM_BASE)
		return off + c->seg[i->seg].base;
	return mmu_linear(c, i->seg, off, size, write);
}

ALWAYS u64 load(struct cpu *c, u64 lin, unsigned size)
{
	switch (size) {
	case 1: return mem_ld8(c, lin);
	case 2: return mem_ld16(c, lin);
	case 4: return mem_ld32(c, lin);
	default: return mem_ld64(c, lin);
	}
}

ALWAYS void store(struct cpu *c, u64 lin, unsigned size, u64 v)
{
	switch (size) {
	case 1: mem_st8(c, lin, (u8)v); break;
	case 2: mem_st16(c, lin, (u16)v); break;
	case 4: mem_st32(c, lin, (u32)v); break;
	default: mem_st64(c, lin, v); break;
	}
}

ALWAYS u64 load_mem(struct cpu *c, const struct insn *i, unsigned size)
{
	return load(c, insn_lin(c, i, size, false), size);
}

ALWAYS void store_mem(struct cpu *c, const struct insn *i, unsigned size, u64 v)
{
	store(c, insn_lin(c, i, size, true), size, v);
}

/* The r/m operand, register r or memory. */
ALWAYS u64 load_rm(struct cpu *c, const struct insn *i, unsigned r, unsigned size)
{
	return i->flags & INSN_MEM ? load_mem(c, i, size) : reg_read(c, r, size);
}

/* A memory operand that is read and then written; host is NULL for device memory and page crossings. */
struct rmw {
	u64 lin;
	void *host;
};

ALWAYS struct rmw rmw_begin(struct cpu *c, const struct insn *i, unsigned size)
{
	u64 lin = insn_lin(c, i, size, true);
	void *p = tlb_write_ptr(c, c->mmu_idx, lin, size);

	return (struct rmw){lin, likely(p) ? p : mmu_rmw(c, lin, size)};
}

ALWAYS u64 host_load(const void *p, unsigned size)
{
	switch (size) {
	case 1: return *(const volatile u8 *)p;
	case 2: return *(const volatile u16_any *)p;
	case 4: return *(const volatile u32_any *)p;
	default: return *(const volatile u64_any *)p;
	}
}

ALWAYS void host_store(void *p, unsigned size, u64 v)
{
	switch (size) {
	case 1: *(volatile u8 *)p = (u8)v; break;
	case 2: *(volatile u16_any *)p = (u16)v; break;
	case 4: *(volatile u32_any *)p = (u32)v; break;
	default: *(volatile u64_any *)p = v; break;
	}
}

ALWAYS u64 rmw_load(struct cpu *c, const struct rmw *m, unsigned size)
{
	return likely(m->host) ? host_load(m->host, size) : mem_ld(c, m->lin, size);
}

ALWAYS void rmw_store(struct cpu *c, const struct rmw *m, unsigned size, u64 v)
{
	if (likely(m->host)) {
		host_store(m->host, size, v);
		mmu_wrote(c, m->host, size);
	} else {
		mem_st(c, m->lin, size, v);
	}
}

/*
 * One attempt of a LOCKed update: if memory still holds old it becomes val and the result is true. Without
 * a host pointer the caller holds the bus lock. Any alignment.
 */
bool locked_cas(struct cpu *c, const struct rmw *m, unsigned size, u64 *old, u64 val);
void locked_begin(struct cpu *c, const struct rmw *m); /* the bus lock where one is needed */
void locked_end(struct cpu *c, const struct rmw *m, unsigned size);

/* --- binders --- */

ALWAYS bool op_is_reg(const struct dec *d, unsigned n)
{
	return d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

ALWAYS bool op_is_mem(const struct dec *d, unsigned n)
{
	return d->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

ALWAYS bool op_is_imm(const struct dec *d, unsigned n)
{
	return d->op[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

ALWAYS unsigned op_size(const struct dec *d, unsigned n)
{
	return d->op[n].size / 8;
}

/* Register operand n as handlers want it: byte offset for bytes, number otherwise. */
u8 op_reg(const struct dec *d, unsigned n);

/* Condition code 0..15 of a Jcc, SETcc or CMOVcc mnemonic by its place in an alphabetical family. */
u8 op_cond(const struct dec *d);
