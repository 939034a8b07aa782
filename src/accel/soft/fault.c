/*
 * Raising: from the handler that finds a fault to the run loop, and how faults combine (SDM vol. 3,
 * 6.15, interrupt 8, tables 6-4 and 6-5).
 */
#include "accel/soft/cpu.h"
#include "accel/soft/engine.h"
#include "accel/soft/interp/cache.h"

const struct insn cpu_no_insn = {.fn = op_nop};

static NORETURN void raise_kind(struct cpu *c, unsigned vector, u8 kind, bool has_error, u32 error)
{
	c->fault.vector = (u8)vector;
	c->fault.kind = kind;
	c->fault.has_error = has_error;
	c->fault.error = error;
	longjmp(c->fault_jmp, 1);
}

void cpu_raise(struct cpu *c, unsigned vector)
{
	raise_kind(c, vector, EV_FAULT, false, 0);
}

void cpu_raise_err(struct cpu *c, unsigned vector, u32 error)
{
	raise_kind(c, vector, EV_FAULT, true, error);
}

void cpu_raise_pf(struct cpu *c, u64 addr, u32 error)
{
	c->fault.addr = addr;
	raise_kind(c, EXC_PF, EV_FAULT, true, error);
}

void cpu_raise_soft(struct cpu *c, unsigned vector, enum event_kind kind)
{
	raise_kind(c, vector, (u8)kind, false, 0);
}

void cpu_set_event(struct cpu *c, unsigned vector, enum event_kind kind)
{
	c->event = (struct cpu_event){.active = true, .vector = (u8)vector, .kind = (u8)kind};
	c->slow |= SLOW_EVENT;
}

static bool is_contributory(unsigned vector)
{
	return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

/* What a fault during the delivery of ev makes of it. */
static void combine(struct cpu *c, struct cpu_event *ev)
{
	unsigned first = ev->vector, second = c->fault.vector;
	bool exception = ev->kind == EV_FAULT || ev->kind == EV_TRAP;

	if (exception && first == EXC_DF) {
		c->shutdown = true;
		ev->active = false;
		return;
	}
	if (exception && ((is_contributory(first) && is_contributory(second)) ||
	                         (first == EXC_PF && (second == EXC_PF || is_contributory(second))))) {
		*ev = (struct cpu_event){
		        .active = true, .vector = EXC_DF, .kind = EV_FAULT, .has_error = true};
		return;
	}
	*ev = (struct cpu_event){.active = true,
	        .vector = c->fault.vector,
	        .kind = EV_FAULT,
	        .has_error = c->fault.has_error,
	        .error = c->fault.error};
}

void cpu_fault_taken(struct cpu *c)
{
	if (c->bus_locked)
		mmu_unlock(c);
	if (c->fault.vector == EXC_PF && c->fault.kind == EV_FAULT)
		c->cr2 = c->fault.addr;
	c->slow |= SLOW_EVENT;
	c->db_hit = 0;
	if (c->event.active) {
		combine(c, &c->event);
		return;
	}
	if (c->insn != &cpu_no_insn && c->block) /* what the block did before the fault */
		c->stat[STAT_INSNS] += (u64)(c->insn - c->block->insns);
	c->gpr[REG_RIP] -= c->insn->len;
	c->stat[STAT_FAULT]++;
	c->event = (struct cpu_event){.active = true,
	        .vector = c->fault.vector,
	        .kind = c->fault.kind,
	        .has_error = c->fault.has_error,
	        .error = c->fault.error};
	if (c->fault.kind >= EV_INT_N)
		c->event.advance = c->insn->len;
	c->insn = &cpu_no_insn;
}
