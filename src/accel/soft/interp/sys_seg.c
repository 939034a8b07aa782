/*
 * Segment registers as operands, far pointers, and FS/GS bases.
 */
#include "accel/soft/interp/sys.h"

/* After a load of SS the next instruction runs without interrupts and traps. */
static void shadow_ss(struct cpu *c)
{
	c->shadow = c->shadow_ss = true;
	c->slow |= SLOW_SHADOW;
	cpu_end_block(c);
}

void op_mov_to_seg(struct cpu *c, const struct insn *i)
{
	seg_load(c, i->aux, rm16(c, i, i->r1));
	if (i->aux == SEG_SS)
		shadow_ss(c);
}

void op_mov_from_seg(struct cpu *c, const struct insn *i)
{
	u16 sel = c->seg[i->aux].sel;

	if (i->flags & INSN_MEM)
		mem_st16(c, insn_lin(c, i, 2, true), sel);
	else
		reg_write(c, i->r1, i->osize, sel);
}

void op_push_seg(struct cpu *c, const struct insn *i)
{
	cpu_push(c, i->osize, c->seg[i->aux].sel);
}

void op_pop_seg(struct cpu *c, const struct insn *i)
{
	u16 sel = (u16)cpu_peek(c, i->osize, 0);
	u64 old = c->gpr[RSP], new;

	/* The new stack pointer has the width of the old stack; it is kept only if the load succeeds. */
	cpu_sp_add(c, i->osize);
	new = c->gpr[RSP];
	c->gpr[RSP] = old;
	seg_load(c, i->aux, sel);
	c->gpr[RSP] = new;
	if (i->aux == SEG_SS)
		shadow_ss(c);
}

void op_load_far(struct cpu *c, const struct insn *i)
{
	u64 lin = insn_lin(c, i, i->osize + 2u, false);
	u64 off = mem_ld(c, lin, i->osize);
	u16 sel = mem_ld16(c, lin + i->osize);

	seg_load(c, i->aux, sel);
	reg_write(c, i->r1, i->osize, off);
}

/* --- bases --- */

void op_swapgs(struct cpu *c, const struct insn *i)
{
	u64 gs = c->seg[SEG_GS].base;

	if (!(c->hf & HF_CS64))
		cpu_raise(c, EXC_UD);
	need_cpl0(c);
	c->seg[SEG_GS].base = c->kernel_gs_base;
	c->kernel_gs_base = gs;
}

static void need_fsgsbase(struct cpu *c)
{
	if (!(c->cr4 & CR4_FSGSBASE) || !(c->hf & HF_CS64))
		cpu_raise(c, EXC_UD);
}

/* 4 or 8 bytes: an operand size prefix changes nothing. */
static unsigned base_size(const struct insn *i)
{
	return i->osize == 8 ? 8 : 4;
}

static void read_base(struct cpu *c, const struct insn *i, unsigned seg)
{
	need_fsgsbase(c);
	reg_write(c, i->r1, base_size(i), c->seg[seg].base);
}

static void write_base(struct cpu *c, const struct insn *i, unsigned seg)
{
	u64 base = reg_read(c, i->r1, base_size(i));

	need_fsgsbase(c);
	if (!mmu_canonical(base))
		cpu_raise_err(c, EXC_GP, 0);
	c->seg[seg].base = base;
}

void op_rdfsbase(struct cpu *c, const struct insn *i)
{
	read_base(c, i, SEG_FS);
}

void op_rdgsbase(struct cpu *c, const struct insn *i)
{
	read_base(c, i, SEG_GS);
}

void op_wrfsbase(struct cpu *c, const struct insn *i)
{
	write_base(c, i, SEG_FS);
}

void op_wrgsbase(struct cpu *c, const struct insn *i)
{
	write_base(c, i, SEG_GS);
}
