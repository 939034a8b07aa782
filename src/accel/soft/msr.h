/*
 * Model-specific registers of the software CPU.
 */
#pragma once

#include "accel/soft/cpu.h"

void msr_init(struct cpu *c);
/* Raise #GP(0) for what does not exist (unless lax_msr) and for values that are not allowed. */
u64 msr_read(struct cpu *c, u32 msr);
void msr_write(struct cpu *c, u32 msr, u64 val);
