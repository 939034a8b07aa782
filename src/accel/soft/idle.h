/*
 * What a CPU does between instructions when somebody asked for its attention, and how it sleeps.
 */
#pragma once

#include "accel/soft/cpu.h"

/* Handles c->request and idleness. True if run must return *why. May raise (interrupt delivery is
 * left to the run loop through c->event). */
bool cpu_attend(struct cpu *c, enum run_exit *why);

/* From any thread. */
void cpu_signal(struct cpu *c, enum cpu_signal sig, u8 arg);
void cpu_kick(struct cpu *c);
