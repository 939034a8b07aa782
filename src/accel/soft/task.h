/*
 * Stacks in the TSS, and hardware task switches (SDM vol. 3, ch. 8).
 */
#pragma once

#include "accel/soft/seg.h"

enum task_cause { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_GATE /* interrupt or exception */ };

/*
 * Switches to the task of TSS selector sel with descriptor d (already checked by the caller to be a
 * present TSS of the right busyness). ret_rip: RIP to save in the old task. has_error: push error on
 * the new stack.
 */
void task_switch(struct cpu *c, u16 sel, struct desc *d, enum task_cause cause, u64 ret_rip, bool has_error,
        u32 error, u32 ext);

/* Selector of a task gate -> TSS descriptor, checked as the target of an event, CALL or JMP. */
void task_gate_target(struct cpu *c, u16 sel, struct desc *d, u32 ext);

/* Stack of privilege level cpl from a 16- or 32-bit TSS. */
void tss_stack(struct cpu *c, unsigned cpl, u32 ext, u16 *ss, u32 *esp);
/* RSPn (slot = cpl) or ISTn (slot = 3 + n) from a 64-bit TSS. */
u64 tss_stack64(struct cpu *c, unsigned slot, u32 ext);
