/*
 * What the system instructions share.
 */
#pragma once

#include "accel/soft/interp/insn.h"
#include "accel/soft/seg.h"

#define SYS(mnemonic, handler) insn_fn handler;
#include "accel/soft/interp/sys_list.h"
#undef SYS

/* sys_cr.c */
insn_fn op_mov_from_cr, op_mov_to_cr, op_mov_from_dr, op_mov_to_dr;
void cr0_write(struct cpu *c, u64 val);
/* sys_seg.c */
insn_fn op_mov_from_seg, op_mov_to_seg, op_push_seg, op_pop_seg;
/* sys_far.c */
insn_fn op_jmp_far, op_call_far, op_ret_far;

/* MOV, PUSH, POP, JMP, CALL, RET in their system forms: the binder, or NULL. */
bind_fn *sys_form(const struct dec *d);

static inline void need_cpl0(struct cpu *c)
{
	if (unlikely(c->cpl))
		cpu_raise_err(c, EXC_GP, 0);
}

/* Instructions that exist in protected mode only. */
static inline void need_protected(struct cpu *c)
{
	if (cpu_real_or_vm86(c))
		cpu_raise(c, EXC_UD);
}

/* SGDT, SIDT, SLDT, SMSW, STR outside of CPL 0. */
static inline void check_umip(struct cpu *c)
{
	if ((c->cr4 & CR4_UMIP) && c->cpl)
		cpu_raise_err(c, EXC_GP, 0);
}

/* The 16-bit r/m operand of LLDT, VERR, LMSW, ...; reg is the number if it is a register. */
static inline u16 rm16(struct cpu *c, const struct insn *i, unsigned reg)
{
	if (i->flags & INSN_MEM)
		return mem_ld16(c, insn_lin(c, i, 2, false));
	return (u16)c->gpr[reg];
}

static inline void set_zf(struct cpu *c, bool on)
{
	cpu_set_arith(c, (cpu_arith_flags(c) & ~FL_ZF) | (on ? FL_ZF : 0));
}

/* RFLAGS after POPF or IRET with operand size size: what CPL and IOPL allow of val. */
void flags_load(struct cpu *c, u32 val, unsigned size, u32 extra);

/* The code segment of a far transfer must be able to hold rip: #GP(0). */
void check_target(struct cpu *c, const struct desc *d, u64 rip);

/* --- returns (sys_far.c), shared by RET and IRET --- */

/* The code segment to return to, at the CPL or outer. */
void check_return_cs(struct cpu *c, u16 sel, struct desc *d);
/* The stack segment to return to at privilege rpl; null is allowed into 64-bit code of levels 0 to 2. */
void return_stack(struct cpu *c, u16 ss, unsigned rpl, bool to64, struct desc *d);
void load_outer_stack(struct cpu *c, u16 ss, unsigned rpl, struct desc *d);
void set_outer_sp(struct cpu *c, u64 sp, unsigned size);
