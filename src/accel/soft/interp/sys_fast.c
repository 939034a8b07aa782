/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT as Intel does them (SDM vol. 2): SYSCALL exists in 64-bit mode
 * only, SYSRET checks its target before it changes anything.
 */
#include "accel/soft/interp/sys.h"

#define ATTR_CODE64 0xa09b /* G, L, P, code, accessed; DPL is or-ed in */
#define ATTR_CODE32 0xc09b
#define ATTR_DATA 0xc093

static void flat(struct x86_seg *s, u64 sel, u16 attr, unsigned dpl)
{
	s->sel = (u16)((sel & 0xfffc) | dpl);
	s->attr = (u16)(attr | dpl << SEG_ATTR_DPL_SHIFT);
	s->limit = 0xffffffff;
	s->base = 0;
}

static void enter(struct cpu *c, unsigned cpl)
{
	c->cpl = cpl;
	cpu_update_mode(c);
	cpu_end_block(c);
}

static void need_syscall(struct cpu *c)
{
	if (!(c->efer & EFER_SCE) || !(c->hf & HF_CS64))
		cpu_raise(c, EXC_UD);
}

void op_syscall(struct cpu *c, const struct insn *i)
{
	u64 sel = c->star >> 32 & 0xffff;
	u32 fl;

	need_syscall(c);
	fl = cpu_flags(c) & ~(u32)FL_RF;
	c->gpr[RCX] = c->gpr[REG_RIP];
	c->gpr[R11] = fl;
	c->gpr[REG_RIP] = c->lstar;
	fl = (fl & ~(u32)c->sfmask) | FL_1;
	cpu_set_arith(c, fl);
	c->eflags = fl & ~FL_ARITH;
	flat(&c->seg[SEG_CS], sel, ATTR_CODE64, 0);
	flat(&c->seg[SEG_SS], sel + 8, ATTR_DATA, 0);
	c->seg[SEG_SS].sel = (u16)(sel + 8);
	c->no_step = !(fl & FL_TF);
	enter(c, 0);
}

void op_sysret(struct cpu *c, const struct insn *i)
{
	u64 sel = c->star >> 48;
	bool to64 = i->osize == 8;
	u32 fl;

	need_syscall(c);
	need_cpl0(c);
	if (to64 && !mmu_canonical(c->gpr[RCX]))
		cpu_raise_err(c, EXC_GP, 0);
	c->gpr[REG_RIP] = to64 ? c->gpr[RCX] : (u32)c->gpr[RCX];
	fl = ((u32)c->gpr[R11] & 0x3c7fd7) | FL_1;
	cpu_set_arith(c, fl);
	c->eflags = fl & ~FL_ARITH;
	flat(&c->seg[SEG_CS], to64 ? sel + 16 : sel, to64 ? ATTR_CODE64 : ATTR_CODE32, 3);
	flat(&c->seg[SEG_SS], sel + 8, ATTR_DATA, 3);
	enter(c, 3);
}

void op_sysenter(struct cpu *c, const struct insn *i)
{
	bool wide = cpu_long(c);

	if (!(c->cr0 & CR0_PE) || sel_null((u16)c->sysenter_cs))
		cpu_raise_err(c, EXC_GP, 0);
	c->eflags &= ~(u32)(FL_VM | FL_IF | FL_RF);
	flat(&c->seg[SEG_CS], c->sysenter_cs, wide ? ATTR_CODE64 : ATTR_CODE32, 0);
	flat(&c->seg[SEG_SS], (c->sysenter_cs & 0xfffc) + 8, ATTR_DATA, 0);
	c->gpr[RSP] = wide ? c->sysenter_esp : (u32)c->sysenter_esp;
	c->gpr[REG_RIP] = wide ? c->sysenter_eip : (u32)c->sysenter_eip;
	enter(c, 0);
}

void op_sysexit(struct cpu *c, const struct insn *i)
{
	u64 sel = c->sysenter_cs & 0xfffc;
	bool to64 = i->osize == 8;

	if (!(c->cr0 & CR0_PE) || !sel || c->cpl)
		cpu_raise_err(c, EXC_GP, 0);
	if (to64 && (!mmu_canonical(c->gpr[RCX]) || !mmu_canonical(c->gpr[RDX])))
		cpu_raise_err(c, EXC_GP, 0);
	c->gpr[REG_RIP] = to64 ? c->gpr[RDX] : (u32)c->gpr[RDX];
	c->gpr[RSP] = to64 ? c->gpr[RCX] : (u32)c->gpr[RCX];
	flat(&c->seg[SEG_CS], sel + (to64 ? 32 : 16), to64 ? ATTR_CODE64 : ATTR_CODE32, 3);
	flat(&c->seg[SEG_SS], sel + (to64 ? 40 : 24), ATTR_DATA, 3);
	enter(c, 3);
}
