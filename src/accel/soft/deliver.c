/*
 * Delivery of exceptions and interrupts through the interrupt table of the current mode (SDM vol. 3,
 * ch. 6; 20.1 for real mode, 20.3 for VM86).
 *
 * Everything is read, checked and pushed first; registers change only when nothing can fault any
 * more. So a fault on the way leaves the CPU as it was and combines with the event (fault.c).
 */
#include "accel/soft/debug.h"
#include "accel/soft/engine.h"
#include "accel/soft/interp/insn.h"
#include "accel/soft/frame.h"
#include "accel/soft/task.h"

/* RFLAGS as saved: RF tells that the instruction is to be restarted. */
static u32 saved_flags(const struct cpu *c, const struct cpu_event *e)
{
	u32 fl = cpu_flags(c);

	if (e->kind == EV_FAULT && e->vector != EXC_DB && e->vector != EXC_DF)
		fl |= FL_RF;
	return fl;
}

static u32 ext_of(const struct cpu_event *e)
{
	return e->kind == EV_INT_N || e->kind == EV_INT_3 ? 0 : 1;
}

static u32 idt_error(const struct cpu_event *e)
{
	return (u32)e->vector * 8 + 2 + ext_of(e);
}

static bool checks_dpl(const struct cpu_event *e)
{
	return e->kind == EV_INT_N || e->kind == EV_INT_3;
}

/* Registers after entry: handler's address and flags, and the stack. */
static void enter(struct cpu *c, const struct frame *f, u64 rip, u32 clear)
{
	c->gpr[RSP] = f->sp;
	c->gpr[REG_RIP] = rip;
	c->eflags &= ~clear;
}

/* --- real mode --- */

static void deliver_real(struct cpu *c, const struct cpu_event *e)
{
	struct frame f = {.ss = c->seg[SEG_SS], .sp = c->gpr[RSP], .width = 2, .idx = MMU_KERNEL};
	u32 entry = e->vector * 4u;

	if (entry + 3 > c->idt.limit)
		cpu_raise_err(c, EXC_GP, idt_error(e));
	u32 target = (u32)mem_ld_sys(c, c->idt.base + entry, 4);
	frame_push(c, &f, saved_flags(c, e) & ~(u32)FL_RF);
	frame_push(c, &f, c->seg[SEG_CS].sel);
	frame_push(c, &f, c->gpr[REG_RIP] + e->advance);
	enter(c, &f, target & 0xffff, FL_IF | FL_TF | FL_AC | FL_RF);
	seg_real(&c->seg[SEG_CS], (u16)(target >> 16));
}

/* --- 16- and 32-bit protected mode, VM86 --- */

static u64 read_gate(struct cpu *c, const struct cpu_event *e)
{
	u64 gate;

	if (e->vector * 8u + 7 > c->idt.limit)
		cpu_raise_err(c, EXC_GP, idt_error(e));
	gate = mem_ld_sys(c, c->idt.base + e->vector * 8u, 8);
	switch (gate >> 40 & 0x1f) {
	case DT_TASK:
	case DT_INT16:
	case DT_TRAP16:
	case DT_INT32:
	case DT_TRAP32: break;
	default: cpu_raise_err(c, EXC_GP, idt_error(e));
	}
	if (checks_dpl(e) && (gate >> 45 & 3) < c->cpl)
		cpu_raise_err(c, EXC_GP, idt_error(e));
	if (!(gate >> 47 & 1))
		cpu_raise_err(c, EXC_NP, idt_error(e));
	return gate;
}

/* The handler's code segment; returns the privilege it runs at. */
static unsigned read_handler_cs(struct cpu *c, u16 sel, u32 ext, struct desc *d)
{
	desc_read(c, sel, d, EXC_GP, ext);
	if (!desc_code(d) || desc_dpl(d) > c->cpl)
		cpu_raise_err(c, EXC_GP, (sel & 0xfffc) | ext);
	if (!desc_present(d))
		cpu_raise_err(c, EXC_NP, (sel & 0xfffc) | ext);
	return desc_conforming(d) ? c->cpl : desc_dpl(d);
}

static void push_vm86_segments(struct cpu *c, struct frame *f)
{
	frame_push(c, f, c->seg[SEG_GS].sel);
	frame_push(c, f, c->seg[SEG_FS].sel);
	frame_push(c, f, c->seg[SEG_DS].sel);
	frame_push(c, f, c->seg[SEG_ES].sel);
}

static void null_data_segments(struct cpu *c)
{
	seg_null(&c->seg[SEG_GS], 0);
	seg_null(&c->seg[SEG_FS], 0);
	seg_null(&c->seg[SEG_DS], 0);
	seg_null(&c->seg[SEG_ES], 0);
}

static void through_task_gate(struct cpu *c, const struct cpu_event *e, u64 gate)
{
	struct desc d;
	u16 sel = gate_sel(gate);
	struct cpu_event ev = *e;

	task_gate_target(c, sel, &d, ext_of(e));
	task_switch(c, sel, &d, TASK_GATE, c->gpr[REG_RIP] + ev.advance, ev.has_error, ev.error, ext_of(&ev));
}

static void deliver_legacy(struct cpu *c, const struct cpu_event *e)
{
	bool vm86 = c->eflags & FL_VM;
	u64 gate;
	struct desc cs;
	unsigned cpl;
	struct frame f = {.ss = c->seg[SEG_SS], .sp = c->gpr[RSP], .ext = ext_of(e)};

	if (vm86 && e->kind == EV_INT_N && cpu_iopl(c) < 3)
		cpu_raise_err(c, EXC_GP, 0);
	gate = read_gate(c, e);
	if ((gate >> 40 & 0x1f) == DT_TASK) {
		through_task_gate(c, e, gate);
		return;
	}
	f.width = gate >> 43 & 1 ? 4 : 2;
	f.idx = mmu_idx_of(c->cpl);
	cpl = read_handler_cs(c, gate_sel(gate), f.ext, &cs);
	if (vm86 && cpl != 0)
		cpu_raise_err(c, EXC_GP, (gate_sel(gate) & 0xfffc) | f.ext);
	if (cpl < c->cpl) {
		frame_inner(c, &f, cpl);
		if (vm86)
			push_vm86_segments(c, &f);
		frame_push(c, &f, c->seg[SEG_SS].sel);
		frame_push(c, &f, c->gpr[RSP]);
	}
	frame_push(c, &f, saved_flags(c, e));
	frame_push(c, &f, c->seg[SEG_CS].sel);
	frame_push(c, &f, c->gpr[REG_RIP] + e->advance);
	if (e->has_error)
		frame_push(c, &f, e->error);
	u64 rip = f.width == 4 ? gate_off32(gate) : gate & 0xffff;
	struct x86_seg seg;
	seg_from_desc(&seg, gate_sel(gate), &cs);
	if (rip > seg.limit)
		cpu_raise_err(c, EXC_GP, f.ext);
	if (vm86)
		null_data_segments(c);
	c->seg[SEG_SS] = f.ss;
	enter(c, &f, rip, FL_TF | FL_NT | FL_RF | FL_VM | (gate >> 40 & 1 ? 0 : FL_IF));
	seg_set_cs(c, gate_sel(gate), &cs, cpl);
}

/* --- IA-32e mode --- */

static void read_gate64(struct cpu *c, const struct cpu_event *e, u64 *lo, u64 *hi)
{
	u64 lin = c->idt.base + e->vector * 16u;

	if (e->vector * 16u + 15 > c->idt.limit)
		cpu_raise_err(c, EXC_GP, idt_error(e));
	*lo = mem_ld_sys(c, lin, 8);
	*hi = mem_ld_sys(c, lin + 8, 8);
	if ((*lo >> 41 & 0xf) != 7) /* 64-bit interrupt or trap gate */
		cpu_raise_err(c, EXC_GP, idt_error(e));
	if (checks_dpl(e) && (*lo >> 45 & 3) < c->cpl)
		cpu_raise_err(c, EXC_GP, idt_error(e));
	if (!(*lo >> 47 & 1))
		cpu_raise_err(c, EXC_NP, idt_error(e));
}

static void deliver_long(struct cpu *c, const struct cpu_event *e)
{
	struct frame f = {.sp = c->gpr[RSP], .width = 8, .ext = ext_of(e)};
	struct desc cs;
	unsigned cpl, ist;
	u64 lo, hi, rip;

	read_gate64(c, e, &lo, &hi);
	cpl = read_handler_cs(c, gate_sel(lo), f.ext, &cs);
	if (!desc_l(&cs) || desc_db(&cs))
		cpu_raise_err(c, EXC_GP, (gate_sel(lo) & 0xfffc) | f.ext);
	ist = lo >> 32 & 7;
	if (ist)
		f.sp = tss_stack64(c, 3 + ist, f.ext);
	else if (cpl < c->cpl)
		f.sp = tss_stack64(c, cpl, f.ext);
	f.sp &= ~15ull;
	f.idx = mmu_idx_of(cpl);
	frame_push(c, &f, c->seg[SEG_SS].sel);
	frame_push(c, &f, c->gpr[RSP]);
	frame_push(c, &f, saved_flags(c, e));
	frame_push(c, &f, c->seg[SEG_CS].sel);
	frame_push(c, &f, c->gpr[REG_RIP] + e->advance);
	if (e->has_error)
		frame_push(c, &f, e->error);
	rip = gate_off32(lo) | hi << 32;
	if (!mmu_canonical(rip))
		cpu_raise_err(c, EXC_GP, f.ext);
	if (cpl < c->cpl)
		seg_null_ss(c, cpl);
	enter(c, &f, rip, FL_TF | FL_NT | FL_RF | FL_VM | (lo >> 40 & 1 ? 0 : FL_IF));
	seg_set_cs(c, gate_sel(lo), &cs, cpl);
}

void cpu_deliver(struct cpu *c)
{
	/* A copy: a task switch may fault in the new task after it changed the event. */
	struct cpu_event e = c->event;

	c->insn = &cpu_no_insn;
	if (e.vector == EXC_DB && e.kind != EV_INT_N)
		c->dr[7] &= ~(u64)DR7_GD;
	if (c->efer & EFER_LMA)
		deliver_long(c, &e);
	else if (c->cr0 & CR0_PE)
		deliver_legacy(c, &e);
	else
		deliver_real(c, &e);
	if (e.kind == EV_NMI)
		c->nmi_blocked = true;
	if (e.kind == EV_EXT)
		c->stat[STAT_INTR]++;
	c->event.active = false;
	c->slow &= ~(SLOW_EVENT | SLOW_SHADOW | SLOW_STEP);
	c->shadow = c->shadow_ss = c->no_step = false;
	cpu_update_mode(c);
	if (c->db_hit) /* the new task's T bit */
		c->slow |= SLOW_STEP;
}
