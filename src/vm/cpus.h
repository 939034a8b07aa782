/*
 * The CPUs of a machine and their threads. All functions but those of vm_int.h: the loop's thread, or
 * before and after it runs.
 */
#pragma once

#include "base/err.h"
#include "x86/state.h"

struct vm;

int cpus_init(struct vm *vm);
void cpus_fini(struct vm *vm);

int cpus_create(struct vm *vm, struct err *e);
void cpus_destroy(struct vm *vm);

/* The first CPU begins with this state, the others wait for their start-up IPI. */
int cpus_set_states(struct vm *vm, const struct x86_state *bsp, struct err *e);

/* All CPUs as after power-on; for back ends without interrupt controllers of their own. */
int cpus_power_on(struct vm *vm, struct err *e);

/* One thread each. cpus_stop ends them, whatever they do, and also when only some have started. */
int cpus_start(struct vm *vm, struct err *e);
void cpus_stop(struct vm *vm);

/*
 * When cpus_pause returns no CPU is inside the accelerator and the machine's clock stands still. Both are
 * idempotent.
 */
void cpus_pause(struct vm *vm);
void cpus_resume(struct vm *vm);
