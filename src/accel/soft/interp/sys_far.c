/*
 * Far JMP, CALL and RET: directly, through call gates, and to other tasks (SDM vol. 3, 5.8; vol. 2).
 */
#include "accel/soft/frame.h"
#include "accel/soft/interp/sys.h"
#include "accel/soft/task.h"

struct target {
	u16 sel;
	u64 off;
};

static struct target read_target(struct cpu *c, const struct insn *i)
{
	struct target t = {.sel = (u16)i->disp, .off = i->imm};

	if (i->flags & INSN_MEM) {
		u64 lin = insn_lin(c, i, i->osize + 2u, false);
		t.off = mem_ld(c, lin, i->osize);
		t.sel = mem_ld16(c, lin + i->osize);
	}
	t.off &= ones(i->osize);
	return t;
}

static NORETURN void fault_sel(struct cpu *c, unsigned vector, u16 sel)
{
	cpu_raise_err(c, vector, sel & 0xfffc);
}

void check_target(struct cpu *c, const struct desc *d, u64 rip)
{
	struct x86_seg s;

	if (cpu_long(c) && desc_l(d)) {
		if (!mmu_canonical(rip))
			cpu_raise_err(c, EXC_GP, 0);
		return;
	}
	seg_from_desc(&s, 0, d);
	if (rip > s.limit)
		cpu_raise_err(c, EXC_GP, 0);
}

static void commit_cs(struct cpu *c, u16 sel, struct desc *d, unsigned cpl, u64 rip)
{
	c->gpr[REG_RIP] = rip;
	seg_set_cs(c, sel, d, cpl);
}

/* --- real mode and VM86 --- */

static void jump_real(struct cpu *c, struct target t)
{
	if (t.off > c->seg[SEG_CS].limit)
		cpu_raise_err(c, EXC_GP, 0);
	if (c->eflags & FL_VM)
		seg_vm86(&c->seg[SEG_CS], t.sel);
	else
		seg_real(&c->seg[SEG_CS], t.sel);
	c->gpr[REG_RIP] = t.off;
	cpu_update_mode(c);
	cpu_end_block(c);
}

/* Two pushes that change ESP only when both are done. */
static void push_return(struct cpu *c, unsigned size)
{
	struct frame f = {.ss = c->seg[SEG_SS], .sp = c->gpr[RSP], .width = size, .idx = mmu_idx_of(c->cpl)};
	u64 old = c->gpr[RSP];

	if (c->hf & HF_CS64) {
		/* A 64-bit stack whatever the width of the operands. */
		u64 sp = old - 2 * size;
		if (!mmu_canonical(sp) || !mmu_canonical(old - 1))
			cpu_raise_err(c, EXC_SS, 0);
		mmu_probe(c, sp, 2 * size, ACC_WRITE);
		mem_st(c, sp + size, size, c->seg[SEG_CS].sel);
		mem_st(c, sp, size, c->gpr[REG_RIP]);
		c->gpr[RSP] = sp;
		return;
	}
	frame_push(c, &f, c->seg[SEG_CS].sel);
	frame_push(c, &f, c->gpr[REG_RIP]);
	c->gpr[RSP] = f.sp;
}

/* --- protected mode: a code segment named directly --- */

/* CALL and JMP to a code segment do not change the CPL. */
static void check_direct(struct cpu *c, u16 sel, const struct desc *d)
{
	if (desc_conforming(d) ? desc_dpl(d) > c->cpl : (sel & 3u) > c->cpl || desc_dpl(d) != c->cpl)
		fault_sel(c, EXC_GP, sel);
	if (!desc_present(d))
		fault_sel(c, EXC_NP, sel);
	if (cpu_long(c) && desc_l(d) && desc_db(d))
		fault_sel(c, EXC_GP, sel);
}

/* --- gates and tasks --- */

static void check_gate(struct cpu *c, u16 sel, const struct desc *gate)
{
	if (desc_dpl(gate) < c->cpl || desc_dpl(gate) < (sel & 3u))
		fault_sel(c, EXC_GP, sel);
	if (!desc_present(gate))
		fault_sel(c, EXC_NP, sel);
}

static void far_task(struct cpu *c, u16 sel, struct desc *d, enum task_cause cause)
{
	struct desc tss = *d;

	check_gate(c, sel, d); /* the same rules hold for a task gate and a TSS */
	if (desc_type(d) == DT_TASK) {
		sel = gate_sel(d->lo);
		task_gate_target(c, sel, &tss, 0);
	}
	task_switch(c, sel, &tss, cause, c->gpr[REG_RIP], false, 0, 0);
}

/* The code segment that a call gate names. */
static void gate_code(struct cpu *c, u16 sel, struct desc *code, bool call)
{
	desc_read(c, sel, code, EXC_GP, 0);
	if (!desc_code(code) || desc_dpl(code) > c->cpl)
		fault_sel(c, EXC_GP, sel);
	if (!call && !desc_conforming(code) && desc_dpl(code) != c->cpl)
		fault_sel(c, EXC_GP, sel);
	if (cpu_long(c) && (!desc_l(code) || desc_db(code)))
		fault_sel(c, EXC_GP, sel);
	if (!desc_present(code))
		fault_sel(c, EXC_NP, sel);
}

static void copy_params(struct cpu *c, struct frame *f, unsigned count)
{
	u32 param[31];

	for (unsigned n = 0; n < count; n++)
		param[n] = (u32)cpu_peek(c, f->width, n * f->width);
	while (count--)
		frame_push(c, f, param[count]);
}

/* Call to an inner level: a new stack with the old one's address and the parameters. */
static void gate_inner(struct cpu *c, const struct desc *gate, struct desc *code, u64 rip)
{
	unsigned cpl = desc_dpl(code);
	struct frame f = {.width = desc_type(gate) == DT_CALL16 ? 2 : cpu_long(c) ? 8 : 4};

	if (f.width == 8) {
		f.sp = tss_stack64(c, cpl, 0);
		f.idx = mmu_idx_of(cpl);
	} else {
		frame_inner(c, &f, cpl);
	}
	check_target(c, code, rip);
	frame_push(c, &f, c->seg[SEG_SS].sel);
	frame_push(c, &f, c->gpr[RSP]);
	if (f.width != 8)
		copy_params(c, &f, gate->lo >> 32 & 31);
	frame_push(c, &f, c->seg[SEG_CS].sel);
	frame_push(c, &f, c->gpr[REG_RIP]);
	if (f.width == 8)
		seg_null_ss(c, cpl);
	else
		c->seg[SEG_SS] = f.ss;
	c->gpr[RSP] = f.sp;
	commit_cs(c, gate_sel(gate->lo), code, cpl, rip);
}

static void through_gate(struct cpu *c, u16 sel, struct desc *gate, bool call)
{
	bool wide = desc_type(gate) == DT_CALL32;
	struct desc code;
	u64 rip = wide ? gate_off32(gate->lo) : gate->lo & 0xffff;

	check_gate(c, sel, gate);
	if (cpu_long(c)) {
		desc_read_upper(c, sel, gate, EXC_GP, 0);
		rip |= gate->hi2 << 32;
	}
	gate_code(c, gate_sel(gate->lo), &code, call);
	if (call && !desc_conforming(&code) && desc_dpl(&code) < c->cpl) {
		gate_inner(c, gate, &code, rip);
		return;
	}
	check_target(c, &code, rip);
	if (call) {
		struct frame f = {.ss = c->seg[SEG_SS],
		        .sp = c->gpr[RSP],
		        .idx = mmu_idx_of(c->cpl),
		        .width = cpu_long(c) ? 8
		                 : wide      ? 4
		                             : 2};
		frame_push(c, &f, c->seg[SEG_CS].sel);
		frame_push(c, &f, c->gpr[REG_RIP]);
		c->gpr[RSP] = f.sp;
	}
	commit_cs(c, gate_sel(gate->lo), &code, c->cpl, rip);
}

/* The selector does not name code: what else may it be? */
static void far_system(struct cpu *c, u16 sel, struct desc *d, bool call)
{
	unsigned type = desc_type(d);

	if (desc_s(d))
		fault_sel(c, EXC_GP, sel);
	if (type == DT_CALL32 || (type == DT_CALL16 && !cpu_long(c)))
		through_gate(c, sel, d, call);
	else if (!cpu_long(c) && (type == DT_TASK || type == DT_TSS16 || type == DT_TSS32))
		far_task(c, sel, d, call ? TASK_CALL : TASK_JUMP);
	else
		fault_sel(c, EXC_GP, sel);
}

void op_jmp_far(struct cpu *c, const struct insn *i)
{
	struct target t = read_target(c, i);
	struct desc d;

	if (cpu_real_or_vm86(c)) {
		jump_real(c, t);
		return;
	}
	desc_read(c, t.sel, &d, EXC_GP, 0);
	if (!desc_code(&d)) {
		far_system(c, t.sel, &d, false);
		return;
	}
	check_direct(c, t.sel, &d);
	check_target(c, &d, t.off);
	commit_cs(c, t.sel, &d, c->cpl, t.off);
}

void op_call_far(struct cpu *c, const struct insn *i)
{
	struct target t = read_target(c, i);
	struct desc d;

	if (cpu_real_or_vm86(c)) {
		if (t.off > c->seg[SEG_CS].limit)
			cpu_raise_err(c, EXC_GP, 0);
		push_return(c, i->osize);
		jump_real(c, t);
		return;
	}
	desc_read(c, t.sel, &d, EXC_GP, 0);
	if (!desc_code(&d)) {
		far_system(c, t.sel, &d, true);
		return;
	}
	check_direct(c, t.sel, &d);
	check_target(c, &d, t.off);
	push_return(c, i->osize);
	commit_cs(c, t.sel, &d, c->cpl, t.off);
}

/* --- RET --- */

void check_return_cs(struct cpu *c, u16 sel, struct desc *d)
{
	unsigned rpl = sel & 3;

	desc_read(c, sel, d, EXC_GP, 0);
	if (!desc_code(d) || rpl < c->cpl || (desc_conforming(d) ? desc_dpl(d) > rpl : desc_dpl(d) != rpl))
		fault_sel(c, EXC_GP, sel);
	if (!desc_present(d))
		fault_sel(c, EXC_NP, sel);
	if (cpu_long(c) && desc_l(d) && desc_db(d))
		fault_sel(c, EXC_GP, sel);
}

void return_stack(struct cpu *c, u16 ss, unsigned rpl, bool to64, struct desc *d)
{
	if (sel_null(ss)) {
		if (!to64 || rpl == 3)
			cpu_raise_err(c, EXC_GP, 0);
		d->lo = 0;
		return;
	}
	seg_check_stack(c, ss, rpl, EXC_GP, 0, d);
}

void load_outer_stack(struct cpu *c, u16 ss, unsigned rpl, struct desc *d)
{
	if (sel_null(ss)) {
		seg_null_ss(c, rpl);
		c->seg[SEG_SS].sel = ss;
		return;
	}
	desc_set_accessed(c, d);
	seg_from_desc(&c->seg[SEG_SS], ss, d);
}

/* In the mode that is now in force: the stack's width decides how much of RSP is replaced. */
void set_outer_sp(struct cpu *c, u64 sp, unsigned size)
{
	if (c->hf & HF_CS64)
		c->gpr[RSP] = sp;
	else if ((c->hf & HF_SS32) || size == 8)
		c->gpr[RSP] = (u32)sp;
	else
		c->gpr[RSP] = (c->gpr[RSP] & ~0xffffull) | (sp & 0xffff);
}

static void ret_outer(struct cpu *c, const struct insn *i, u16 cs, struct desc *d, u64 rip)
{
	unsigned size = i->osize, rpl = cs & 3;
	u64 sp = cpu_peek(c, size, 2 * size + i->imm);
	u16 ss = (u16)cpu_peek(c, size, 3 * size + i->imm);
	struct desc sd;

	return_stack(c, ss, rpl, cpu_long(c) && desc_l(d), &sd);
	check_target(c, d, rip);
	load_outer_stack(c, ss, rpl, &sd);
	commit_cs(c, cs, d, rpl, rip);
	set_outer_sp(c, sp, size);
	cpu_sp_add(c, (s64)i->imm);
	seg_drop_inner(c, rpl);
}

void op_ret_far(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 rip = cpu_peek(c, size, 0);
	u16 cs = (u16)cpu_peek(c, size, size);
	struct desc d;

	if (cpu_real_or_vm86(c)) {
		if (rip > c->seg[SEG_CS].limit)
			cpu_raise_err(c, EXC_GP, 0);
		cpu_sp_add(c, 2 * size + (s64)i->imm);
		jump_real(c, (struct target){.sel = cs, .off = rip});
		return;
	}
	check_return_cs(c, cs, &d);
	if ((cs & 3u) > c->cpl) {
		ret_outer(c, i, cs, &d, rip);
		return;
	}
	check_target(c, &d, rip);
	cpu_sp_add(c, 2 * size + (s64)i->imm);
	commit_cs(c, cs, &d, c->cpl, rip);
}
