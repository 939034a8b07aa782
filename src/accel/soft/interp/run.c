/*
 * The reference engine's run loop: blocks of decoded instructions, with faults, interrupts, traps
 * and idling between them.
 */
#include "accel/soft/debug.h"
#include "accel/soft/engine.h"
#include "accel/soft/idle.h"
#include "accel/soft/interp/cache.h"

/* Runs b, at most max instructions of it. Faults leave by longjmp. */
static inline void run_block(struct cpu *c, const struct block *b, unsigned max)
{
	const struct insn *i = b->insns;

	c->end = i + MIN(b->n, max);
	c->block = b;
	do {
		c->insn = i;
		c->gpr[REG_RIP] += i->len;
		i->fn(c, i);
		i++;
	} while (i != c->end);
	c->stat[STAT_INSNS] += (u64)(i - b->insns);
	c->insn = &cpu_no_insn;
}

/*
 * Outside of 64-bit mode code must lie inside the segment limit: how many instructions of b do? The
 * block is not cut when it is decoded, because limits are not part of its key.
 */
static unsigned within_limit(struct cpu *c, const struct block *b)
{
	u64 rip = c->gpr[REG_RIP];
	u64 limit = c->seg[SEG_CS].limit;
	unsigned n;

	if (likely(rip + b->bytes - 1 <= limit))
		return b->n;
	for (n = 0; n < b->n; n++) {
		rip += b->insns[n].len;
		if (rip - 1 > limit)
			break;
	}
	if (n == 0)
		cpu_raise_err(c, EXC_GP, 0);
	return n;
}

/* A shadow, single step or a breakpoint: one instruction. */
static void run_one(struct cpu *c)
{
	bool stepped = c->eflags & FL_TF;
	const struct block *b;

	if (c->slow & SLOW_BREAK)
		debug_check_exec(c, c->gpr[REG_RIP] + c->code_base);
	b = cache_get(c);
	if (!(c->hf & HF_CS64))
		within_limit(c, b);
	c->shadow = c->shadow_ss = false;
	c->slow &= ~(SLOW_SHADOW | SLOW_RF);
	c->eflags &= ~FL_RF; /* before, because IRET may set it anew */
	run_block(c, b, 1);
	if (stepped || (c->slow & SLOW_STEP))
		debug_after(c, stepped);
}

static void run_next(struct cpu *c)
{
	const struct block *b = cache_get(c);

	c->stat[STAT_BLOCKS]++;
	if (likely(c->hf & HF_CS64))
		run_block(c, b, BLOCK_MAX);
	else
		run_block(c, b, within_limit(c, b));
	/* Data breakpoints met by the block's last instruction. */
	if (unlikely(c->db_hit))
		debug_after(c, false);
}

/* Before 2^32 in legacy modes: EIP wraps in a segment of 4 GiB. */
static void wrap_rip(struct cpu *c)
{
	if (!(c->hf & HF_CS64) && unlikely(c->gpr[REG_RIP] >> 32))
		c->gpr[REG_RIP] = (u32)c->gpr[REG_RIP];
}

void interp_block(struct cpu *c)
{
	wrap_rip(c);
	if (unlikely(c->slow))
		run_one(c);
	else
		run_next(c);
}

void interp_exec(struct cpu *c, const struct insn *i)
{
	c->end = i + 1;
	c->block = NULL;
	c->insn = i;
	c->gpr[REG_RIP] += i->len;
	i->fn(c, i);
	c->insn = &cpu_no_insn;
	c->stat[STAT_INSNS]++;
	if (unlikely(c->db_hit))
		debug_after(c, false);
}

void interp_insn(struct cpu *c)
{
	run_block(c, cache_get(c), 1);
	if (unlikely(c->db_hit))
		debug_after(c, false);
}

/* Apart from setjmp's frame, so that the compiler keeps c in a register. */
static __attribute__((noinline)) enum run_exit run_loop(struct cpu *c)
{
	enum run_exit why;

	for (;;) {
		if (unlikely(c->slow & SLOW_EVENT)) {
			if (c->shutdown)
				return RUN_TRIPLE_FAULT;
			cpu_deliver(c);
		}
		if (unlikely(cpu_asked(c) || (c->slow & SLOW_IDLE))) {
			if (cpu_attend(c, &why))
				return why;
			if (c->slow & SLOW_EVENT)
				continue;
		}
		interp_block(c);
	}
}

enum run_exit interp_run(struct cpu *c)
{
	if (setjmp(c->fault_jmp))
		cpu_fault_taken(c);
	return run_loop(c);
}

void step_fault(struct cpu *c, struct step_result *r)
{
	r->faulted = true;
	r->vector = c->fault.vector;
	r->has_error = c->fault.has_error;
	r->error = c->fault.error;
	r->addr = c->fault.vector == EXC_PF ? c->fault.addr : 0;
	c->event.active = false;
	c->slow &= ~SLOW_EVENT;
}

void interp_step(struct cpu *c, struct step_result *r)
{
	const struct block *b;

	memset(r, 0, sizeof(*r));
	if (setjmp(c->fault_jmp)) {
		cpu_fault_taken(c);
		step_fault(c, r);
		return;
	}
	wrap_rip(c);
	b = cache_get(c);
	if (!(c->hf & HF_CS64))
		within_limit(c, b);
	run_block(c, b, 1);
}
