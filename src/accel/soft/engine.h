/*
 * The reference engine's entry points for the back end's table (soft.c) and for tests.
 */
#pragma once

#include "accel/soft/cpu.h"

enum cpu_stat {
	STAT_INSNS,
	STAT_BLOCKS,
	STAT_DECODES,
	STAT_TLB_MISS,
	STAT_SMC,
	STAT_INTR,
	STAT_FAULT,
	STAT_HLT,
	STAT_LINK,    /* exits of translated code: to a block without a link, */
	STAT_LOOKUP,  /* to an address unknown to the CPU's table, */
	STAT_CALLOUT, /* for an instruction of interp's, */
	STAT_ACCESS,  /* for a memory access that the TLB does not grant */
	STAT_N
};
static_assert(STAT_N <= 16, "fits cpu.stat");

/* What one step did. */
struct step_result {
	bool faulted;
	u8 vector;
	bool has_error;
	u32 error;
	u64 addr; /* #PF */
};

/* Executes exactly one instruction at RIP (all iterations of a REP) without delivering a fault. */
void interp_step(struct cpu *c, struct step_result *r);
void step_fault(struct cpu *c, struct step_result *r); /* the fault just taken is told, not delivered */

/*
 * The run loop's pieces, for the translator: one block, or one instruction if there are reasons to look
 * closer (cpu.slow); one instruction without such reasons. Faults leave by longjmp to fault_jmp.
 */
void interp_block(struct cpu *c);
void interp_insn(struct cpu *c);
void interp_exec(struct cpu *c, const struct insn *i); /* i is what is at RIP; it outlives a fault */

/* Runs until the machine must decide. */
enum run_exit interp_run(struct cpu *c);

/* A CPU outside a machine, for tests: state must be given with cpu_set_state. host->ports etc. may be
 * NULL-safe empty spaces. */
struct cpu *cpu_create(const struct accel_config *cfg, const struct accel_host *host, unsigned id);
void cpu_destroy(struct cpu *c);
void cpu_get_state(struct cpu *c, struct x86_state *s);
void cpu_set_state(struct cpu *c, const struct x86_state *s);
