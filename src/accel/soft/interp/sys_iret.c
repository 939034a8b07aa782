/*
 * IRET in all modes (SDM vol. 2, IRET; vol. 3, 6.12, 6.14.3, 8.3, 20.2.1).
 */
#include "accel/soft/interp/sys.h"
#include "accel/soft/task.h"

void flags_load(struct cpu *c, u32 val, unsigned size, u32 extra)
{
	u32 mask = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID | extra;

	if (c->cpl <= cpu_iopl(c))
		mask |= FL_IF;
	if (c->cpl == 0)
		mask |= FL_IOPL;
	if (size == 2)
		mask &= 0xffff;
	val = (cpu_flags(c) & ~mask) | (val & mask);
	cpu_set_arith(c, val);
	c->eflags = (val & ~FL_ARITH) | FL_1;
}

static void iret_real(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 rip = cpu_peek(c, size, 0);
	u16 cs = (u16)cpu_peek(c, size, size);
	u32 fl = (u32)cpu_peek(c, size, 2 * size);
	bool vm86 = c->eflags & FL_VM;

	if (rip > c->seg[SEG_CS].limit)
		cpu_raise_err(c, EXC_GP, 0);
	cpu_sp_add(c, 3 * size);
	if (vm86)
		seg_vm86(&c->seg[SEG_CS], cs);
	else
		seg_real(&c->seg[SEG_CS], cs);
	c->gpr[REG_RIP] = rip;
	flags_load(c, fl, size, FL_RF);
}

/* The frame of a VM86 task: nine words of 32 bits. */
static void iret_to_vm86(struct cpu *c, u32 rip, u16 cs, u32 fl)
{
	static const u8 order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	u32 esp = (u32)cpu_peek(c, 4, 12);
	u16 sel[5];

	for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
		sel[n] = (u16)cpu_peek(c, 4, 16 + n * 4);
	flags_load(c, fl, 4, FL_RF | FL_VM | FL_VIF | FL_VIP);
	for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
		seg_vm86(&c->seg[order[n]], sel[n]);
	seg_vm86(&c->seg[SEG_CS], cs);
	c->gpr[RSP] = esp;
	c->gpr[REG_RIP] = rip & 0xffff;
}

static void iret_task(struct cpu *c)
{
	u16 sel = (u16)mem_ld_sys(c, c->tr.base, 2);
	struct desc d;

	if (sel & 4)
		cpu_raise_err(c, EXC_TS, sel & 0xfffc);
	desc_read(c, sel, &d, EXC_TS, 0);
	if (desc_s(&d) || (desc_type(&d) != DT_TSS16_BUSY && desc_type(&d) != DT_TSS32_BUSY))
		cpu_raise_err(c, EXC_TS, sel & 0xfffc);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, sel & 0xfffc);
	task_switch(c, sel, &d, TASK_IRET, c->gpr[REG_RIP], false, 0, 0);
}

/* Null selectors lose their RPL on the way out (SDM vol. 2, "IRET"); bases stay. */
static void plain_nulls(struct cpu *c)
{
	static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned n = 0; n < ARRAY_SIZE(data); n++)
		if (sel_null(c->seg[data[n]].sel))
			c->seg[data[n]].sel = 0;
}

static void iret_protected(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 rip = cpu_peek(c, size, 0);
	u16 cs = (u16)cpu_peek(c, size, size);
	u32 fl = (u32)cpu_peek(c, size, 2 * size);
	unsigned rpl = cs & 3;
	bool stack = rpl > c->cpl || (c->hf & HF_CS64); /* SS:RSP are in the frame */
	struct desc d, sd;
	u16 ss = 0;
	u64 sp = 0;

	if ((fl & FL_VM) && size == 4 && c->cpl == 0 && !cpu_long(c)) {
		iret_to_vm86(c, (u32)rip, cs, fl);
		return;
	}
	check_return_cs(c, cs, &d);
	if (stack) {
		sp = cpu_peek(c, size, 3 * size);
		ss = (u16)cpu_peek(c, size, 4 * size);
		return_stack(c, ss, rpl, cpu_long(c) && desc_l(&d), &sd);
	}
	check_target(c, &d, rip);
	desc_set_accessed(c, &d);
	flags_load(c, fl, size, FL_RF | (c->cpl == 0 ? FL_VIF | FL_VIP : 0));
	if (stack)
		load_outer_stack(c, ss, rpl, &sd);
	else
		cpu_sp_add(c, 3 * size);
	unsigned old = c->cpl;
	c->gpr[REG_RIP] = rip;
	seg_set_cs(c, cs, &d, rpl);
	if (stack)
		set_outer_sp(c, sp, size);
	if (rpl > old) {
		seg_drop_inner(c, rpl);
		plain_nulls(c);
	}
}

void op_iret(struct cpu *c, const struct insn *i)
{
	if ((c->eflags & FL_VM) && cpu_iopl(c) < 3)
		cpu_raise_err(c, EXC_GP, 0);
	if (!cpu_real_or_vm86(c) && (c->eflags & FL_NT)) {
		if (cpu_long(c))
			cpu_raise_err(c, EXC_GP, 0);
		c->nmi_blocked = false;
		iret_task(c);
		return;
	}
	c->nmi_blocked = false;
	if (cpu_real_or_vm86(c))
		iret_real(c, i);
	else
		iret_protected(c, i);
	cpu_update_mode(c);
	cpu_end_block(c);
}
