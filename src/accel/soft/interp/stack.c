/*
 * Stack accesses of instructions and near control transfers. The stack's width is 8 bytes in 64-bit mode,
 * else SS.B's; operands may be narrower or wider than it.
 */
#include "accel/soft/interp/insn.h"
#include "accel/soft/seg.h"

static u64 sp_mask(const struct cpu *c)
{
	return c->hf & HF_CS64 ? ~0ull : c->hf & HF_SS32 ? 0xffffffffull : 0xffffull;
}

static void sp_set(struct cpu *c, u64 v)
{
	if (c->hf & HF_CS64)
		c->gpr[RSP] = v;
	else if (c->hf & HF_SS32)
		c->gpr[RSP] = (u32)v;
	else
		c->gpr[RSP] = (c->gpr[RSP] & ~0xffffull) | (v & 0xffff);
}

static u64 stack_lin(struct cpu *c, u64 off, unsigned size, bool write)
{
	if (likely(c->hf & HF_CS64)) {
		if (unlikely(!mmu_canonical(off)))
			cpu_raise_err(c, EXC_SS, 0);
		return off;
	}
	return mmu_linear(c, SEG_SS, off, size, write);
}

void cpu_push(struct cpu *c, unsigned size, u64 v)
{
	u64 sp = (c->gpr[RSP] - size) & sp_mask(c);

	mem_st(c, stack_lin(c, sp, size, true), size, v);
	sp_set(c, sp);
}

u64 cpu_peek(struct cpu *c, unsigned size, u64 off)
{
	u64 sp = (c->gpr[RSP] + off) & sp_mask(c);

	return mem_ld(c, stack_lin(c, sp, size, false), size);
}

u64 cpu_pop(struct cpu *c, unsigned size)
{
	u64 v = cpu_peek(c, size, 0);

	sp_set(c, c->gpr[RSP] + size);
	return v;
}

void cpu_sp_add(struct cpu *c, s64 delta)
{
	sp_set(c, c->gpr[RSP] + (u64)delta);
}

void cpu_branch(struct cpu *c, u64 target, unsigned osize)
{
	if (likely(c->hf & HF_CS64)) {
		if (unlikely(!mmu_canonical(target)))
			cpu_raise_err(c, EXC_GP, 0);
	} else {
		target &= ones(MIN(osize, 4u));
		if (target > c->seg[SEG_CS].limit)
			cpu_raise_err(c, EXC_GP, 0);
	}
	c->gpr[REG_RIP] = target;
	cpu_end_block(c);
}
