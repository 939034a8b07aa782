/*
 * Flags, identification, time, MSRs, caches and waiting.
 */
#include "accel/soft/engine.h"
#include "accel/soft/interp/sys.h"
#include "accel/soft/msr.h"

#include <sched.h>

static NORETURN void gp(struct cpu *c)
{
	cpu_raise_err(c, EXC_GP, 0);
}

/* --- flags --- */

static bool iopl_ok(const struct cpu *c)
{
	return c->cpl <= cpu_iopl(c); /* VM86 has CPL 3 */
}

void op_cli(struct cpu *c, const struct insn *i)
{
	if (!iopl_ok(c))
		gp(c);
	c->eflags &= ~(u32)FL_IF;
}

void op_sti(struct cpu *c, const struct insn *i)
{
	if (!iopl_ok(c))
		gp(c);
	if (c->eflags & FL_IF)
		return;
	c->eflags |= FL_IF;
	c->shadow = true;
	c->slow |= SLOW_SHADOW;
	cpu_end_block(c);
}

void op_pushf(struct cpu *c, const struct insn *i)
{
	if ((c->eflags & FL_VM) && cpu_iopl(c) < 3)
		gp(c);
	cpu_push(c, i->osize, cpu_flags(c) & ~(u32)(FL_VM | FL_RF));
}

void op_popf(struct cpu *c, const struct insn *i)
{
	u32 before = c->eflags, changed;

	if ((c->eflags & FL_VM) && cpu_iopl(c) < 3)
		gp(c);
	flags_load(c, (u32)cpu_pop(c, i->osize), i->osize, 0);
	c->eflags &= ~(u32)FL_RF;
	changed = before ^ c->eflags;
	if (changed & (FL_TF | FL_AC))
		cpu_update_mode(c);
	if (changed & (FL_TF | FL_AC | FL_IF))
		cpu_end_block(c);
}

/* --- identification, time, MSRs --- */

void op_cpuid(struct cpu *c, const struct insn *i)
{
	struct cpuid_regs r;

	cpuid_leaf(&c->cpuid, (u32)c->gpr[RAX], (u32)c->gpr[RCX], c->xcr0, c->cr4 & CR4_OSXSAVE, &r);
	c->gpr[RAX] = r.eax;
	c->gpr[RBX] = r.ebx;
	c->gpr[RCX] = r.ecx;
	c->gpr[RDX] = r.edx;
}

void op_rdtsc(struct cpu *c, const struct insn *i)
{
	u64 t;

	if ((c->cr4 & CR4_TSD) && c->cpl)
		gp(c);
	t = cpu_tsc(c);
	c->gpr[RAX] = (u32)t;
	c->gpr[RDX] = t >> 32;
}

void op_rdtscp(struct cpu *c, const struct insn *i)
{
	op_rdtsc(c, i);
	c->gpr[RCX] = (u32)c->tsc_aux;
}

void op_rdpid(struct cpu *c, const struct insn *i)
{
	c->gpr[i->r1] = (u32)c->tsc_aux;
}

void op_rdpmc(struct cpu *c, const struct insn *i)
{
	gp(c); /* no counters (CPUID leaf 0xA) */
}

void op_rdmsr(struct cpu *c, const struct insn *i)
{
	u64 val;

	need_cpl0(c);
	val = msr_read(c, (u32)c->gpr[RCX]);
	c->gpr[RAX] = (u32)val;
	c->gpr[RDX] = val >> 32;
}

void op_wrmsr(struct cpu *c, const struct insn *i)
{
	need_cpl0(c);
	msr_write(c, (u32)c->gpr[RCX], (u32)c->gpr[RAX] | c->gpr[RDX] << 32);
}

/* --- caches and order --- */

void op_wbinvd(struct cpu *c, const struct insn *i)
{
	need_cpl0(c); /* the host's caches are coherent: nothing else to do */
}

void op_clflush(struct cpu *c, const struct insn *i)
{
	mmu_probe(c, insn_lin(c, i, 1, false), 1, ACC_READ);
}

void op_mfence(struct cpu *c, const struct insn *i)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* --- waiting --- */

void op_hlt(struct cpu *c, const struct insn *i)
{
	need_cpl0(c);
	c->halted = true;
	c->slow |= SLOW_IDLE;
	c->stat[STAT_HLT]++;
	cpu_end_block(c);
}

/* A spinning CPU may wait for one whose thread the host does not run: let it. */
#define PAUSES_PER_YIELD 64u

void op_pause(struct cpu *c, const struct insn *i)
{
	if (c->cfg->exit_on_pause || ++c->pauses % PAUSES_PER_YIELD == 0)
		sched_yield();
}
