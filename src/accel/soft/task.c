/*
 * The TSS: inner stacks, and task switches in 16- and 32-bit protected mode.
 *
 * A switch saves the old context in the old TSS, reads the whole new one before it changes
 * anything, then commits; faults after that point belong to the new task, as on hardware (SDM
 * vol. 3, 8.3).
 */
#include "accel/soft/task.h"
#include "accel/soft/debug.h"
#include "accel/soft/interp/insn.h"
#include "accel/soft/walk.h"

/* 32-bit TSS offsets (SDM vol. 3, figure 8-2) and 16-bit ones (figure 8-10) */
enum {
	T32_CR3 = 28,
	T32_EIP = 32,
	T32_EFLAGS = 36,
	T32_GPR = 40,
	T32_SEG = 72,
	T32_LDT = 96,
	T32_TRAP = 100
};
enum { T16_IP = 14, T16_FLAGS = 16, T16_GPR = 18, T16_SEG = 34, T16_LDT = 42 };
#define TSS32_MIN 103u
#define TSS16_MIN 43u

static bool tr_is_32(const struct cpu *c)
{
	return c->tr.attr & 8;
}

void tss_stack(struct cpu *c, unsigned cpl, u32 ext, u16 *ss, u32 *esp)
{
	bool wide = tr_is_32(c);
	u32 off = wide ? 4 + cpl * 8 : 2 + cpl * 4;

	if (off + (wide ? 5 : 3) > c->tr.limit)
		cpu_raise_err(c, EXC_TS, (c->tr.sel & 0xfffc) | ext);
	*esp = (u32)mem_ld_sys(c, c->tr.base + off, wide ? 4 : 2);
	*ss = (u16)mem_ld_sys(c, c->tr.base + off + (wide ? 4 : 2), 2);
}

u64 tss_stack64(struct cpu *c, unsigned slot, u32 ext)
{
	/* RSP0..2 at 4, IST1..7 at 36: one array with a hole after RSP2 */
	u32 off = 4 + slot * 8;

	if (off + 7 > c->tr.limit)
		cpu_raise_err(c, EXC_TS, (c->tr.sel & 0xfffc) | ext);
	return mem_ld_sys(c, c->tr.base + off, 8);
}

void task_gate_target(struct cpu *c, u16 sel, struct desc *d, u32 ext)
{
	u32 error = (sel & 0xfffc) | ext;

	if (sel_null(sel) || (sel & 4))
		cpu_raise_err(c, EXC_GP, error);
	desc_read(c, sel, d, EXC_GP, ext);
	if (desc_s(d) || (desc_type(d) != DT_TSS16 && desc_type(d) != DT_TSS32))
		cpu_raise_err(c, EXC_GP, error);
	if (!desc_present(d))
		cpu_raise_err(c, EXC_NP, error);
}

struct context {
	u32 cr3, eip, eflags, gpr[8];
	u16 seg[X86_NSEG], ldt;
	bool trap;
};

static void save_context(struct cpu *c, u32 eflags, u32 eip)
{
	bool wide = tr_is_32(c);
	u64 base = c->tr.base;
	unsigned w = wide ? 4 : 2;

	mem_st_sys(c, base + (wide ? T32_EIP : T16_IP), w, eip & ones(w));
	mem_st_sys(c, base + (wide ? T32_EFLAGS : T16_FLAGS), w, eflags & ones(w));
	for (unsigned n = 0; n < 8; n++)
		mem_st_sys(c, base + (wide ? T32_GPR : T16_GPR) + n * w, w, c->gpr[n] & ones(w));
	for (unsigned n = 0; n < (wide ? 6u : 4u); n++)
		mem_st_sys(c, base + (wide ? T32_SEG : T16_SEG) + n * w, 2, c->seg[n].sel);
}

static void load_context(struct cpu *c, u64 base, bool wide, struct context *x)
{
	unsigned w = wide ? 4 : 2;

	memset(x, 0, sizeof(*x));
	x->cr3 = wide ? (u32)mem_ld_sys(c, base + T32_CR3, 4) : (u32)c->cr3;
	x->eip = (u32)mem_ld_sys(c, base + (wide ? T32_EIP : T16_IP), w);
	x->eflags = (u32)mem_ld_sys(c, base + (wide ? T32_EFLAGS : T16_FLAGS), w);
	for (unsigned n = 0; n < 8; n++)
		x->gpr[n] = (u32)mem_ld_sys(c, base + (wide ? T32_GPR : T16_GPR) + n * w, w);
	for (unsigned n = 0; n < (wide ? 6u : 4u); n++)
		x->seg[n] = (u16)mem_ld_sys(c, base + (wide ? T32_SEG : T16_SEG) + n * w, 2);
	x->ldt = (u16)mem_ld_sys(c, base + (wide ? T32_LDT : T16_LDT), 2);
	if (!wide) /* upper halves are undefined: keep ones, as the 386 does */
		for (unsigned n = 0; n < 8; n++)
			x->gpr[n] |= 0xffff0000u;
	x->trap = wide && (mem_ld_sys(c, base + T32_TRAP, 2) & 1);
}

/* --- the new task's segments; faults are #TS in the new task --- */

static void load_ldt(struct cpu *c, u16 sel)
{
	struct desc d;

	c->ldt = (struct x86_seg){.sel = sel, .attr = SEG_ATTR_UNUSABLE};
	if (sel_null(sel))
		return;
	if ((sel & 4) || !desc_try(c, sel, &d) || desc_s(&d) || desc_type(&d) != DT_LDT || !desc_present(&d))
		cpu_raise_err(c, EXC_TS, sel & 0xfffc);
	seg_from_desc(&c->ldt, sel, &d);
}

static void load_cs(struct cpu *c, u16 sel)
{
	struct desc d;
	unsigned rpl = sel & 3;

	desc_read(c, sel, &d, EXC_TS, 0);
	if (!desc_code(&d) || (desc_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
		cpu_raise_err(c, EXC_TS, sel & 0xfffc);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, sel & 0xfffc);
	seg_set_cs(c, sel, &d, rpl);
}

static void load_data(struct cpu *c, unsigned seg, u16 sel)
{
	struct desc d;

	if (sel_null(sel))
		return;
	desc_read(c, sel, &d, EXC_TS, 0);
	if (!desc_s(&d) || (desc_code(&d) && !(d.lo >> 41 & 1)) ||
	        (!desc_conforming(&d) && (desc_dpl(&d) < c->cpl || desc_dpl(&d) < (sel & 3u))))
		cpu_raise_err(c, EXC_TS, sel & 0xfffc);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, sel & 0xfffc);
	desc_set_accessed(c, &d);
	seg_from_desc(&c->seg[seg], sel, &d);
}

static void load_segments(struct cpu *c, const struct context *x)
{
	static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	struct desc d;

	for (unsigned n = 0; n < X86_NSEG; n++)
		seg_null(&c->seg[n], x->seg[n]);
	load_ldt(c, x->ldt);
	if (c->eflags & FL_VM) {
		for (unsigned n = 0; n < X86_NSEG; n++)
			seg_vm86(&c->seg[n], x->seg[n]);
		cpu_update_mode(c);
		return;
	}
	c->cpl = x->seg[SEG_CS] & 3;
	load_cs(c, x->seg[SEG_CS]);
	seg_check_stack(c, x->seg[SEG_SS], c->cpl, EXC_TS, 0, &d);
	desc_set_accessed(c, &d);
	seg_from_desc(&c->seg[SEG_SS], x->seg[SEG_SS], &d);
	cpu_update_mode(c);
	for (unsigned n = 0; n < ARRAY_SIZE(data); n++)
		load_data(c, data[n], x->seg[data[n]]);
}

/* Registers of the new task: from here on faults happen in it. */
static void commit(struct cpu *c, u16 sel, struct desc *d, enum task_cause cause, const struct context *x)
{
	seg_from_desc(&c->tr, sel, d);
	c->tr.attr |= 2;
	if ((c->cr0 & CR0_PG) && x->cr3 != (u32)c->cr3) {
		c->cr3 = x->cr3;
		if (c->cr4 & CR4_PAE)
			mmu_load_pdptes(c, c->cr3);
		mmu_flush(c, false);
	}
	for (unsigned n = 0; n < 8; n++)
		c->gpr[n] = x->gpr[n];
	c->gpr[REG_RIP] = x->eip;
	c->eflags = (x->eflags & 0x3f7fd7u & ~FL_ARITH) | FL_1;
	if (cause == TASK_CALL || cause == TASK_GATE)
		c->eflags |= FL_NT;
	cpu_set_arith(c, x->eflags);
	c->cr0 |= CR0_TS;
	c->dr[7] &= ~0x155ull; /* local breakpoints */
	debug_update(c);
	c->event.advance = 0;
}

void task_switch(struct cpu *c, u16 sel, struct desc *d, enum task_cause cause, u64 ret_rip, bool has_error,
        u32 error, u32 ext)
{
	bool wide = desc_type(d) & 8;
	struct x86_seg tss;
	struct context x;
	u32 fl = cpu_flags(c);

	seg_from_desc(&tss, sel, d);
	if (tss.limit < (wide ? TSS32_MIN : TSS16_MIN))
		cpu_raise_err(c, EXC_TS, (sel & 0xfffc) | ext);
	load_context(c, tss.base, wide, &x);
	if (cause == TASK_IRET)
		fl &= ~FL_NT;
	save_context(c, fl, (u32)ret_rip);
	if (cause == TASK_JUMP || cause == TASK_IRET)
		desc_set_busy(c, c->tr.sel, false);
	if (cause == TASK_CALL || cause == TASK_GATE)
		mem_st_sys(c, tss.base, 2, c->tr.sel);
	if (cause != TASK_IRET)
		desc_set_busy(c, sel, true);
	commit(c, sel, d, cause, &x);
	load_segments(c, &x);
	if (has_error)
		cpu_push(c, wide ? 4 : 2, error);
	if (x.eip > c->seg[SEG_CS].limit)
		cpu_raise_err(c, EXC_GP, 0);
	if (x.trap) {
		c->db_hit |= DR6_BT;
		c->slow |= SLOW_STEP;
	}
	c->no_step = true;
	cpu_end_block(c);
}
