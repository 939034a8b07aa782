/*
 * The board: every chip with its address and its wires, in order (machine.c).
 */
#pragma once

#include "accel/accel.h"
#include "base/err.h"

struct vm;
struct machine;

/* Needs vm's spaces, memory, loop, clock, accelerator. Opens consoles. */
int machine_create(struct vm *vm, struct machine **out, struct err *e);

/* The interrupt controller of CPU n; false when the accelerator has its own. */
bool machine_intc(struct machine *m, unsigned n, struct intc *out);
void machine_set_cpu(struct machine *m, unsigned n, struct vcpu *v);

/* Puts kernel, tables and CPU state in place. */
int machine_boot(struct machine *m, struct x86_state *bsp, struct err *e);

struct board_info;
struct slots;

/* What was built; the board's description is complete after machine_boot. */
const struct board_info *machine_board(const struct machine *m);
const struct slots *machine_slots(const struct machine *m);

/* Presses the power button; false if the guest does not listen to it. */
bool machine_power_button(struct machine *m);

/* The files and devices behind disks may have grown: those that have are announced to the guest. */
void machine_disks_changed(struct machine *m);

/* The terminal that this process runs in has another size. */
void machine_terminal_resized(struct machine *m);

/* The machine's clock stood still for ns nanoseconds. */
void machine_time_skipped(struct machine *m, u64 ns);

void machine_stats(struct machine *m, struct stats_sink *out);

/*
 * The reset line. CPUs have stopped; when it returns no device touches guest memory or raises an interrupt
 * because of what the guest did before. What is plugged in stays.
 */
void machine_reset(struct machine *m);
/* Where the accelerator has the interrupt controllers: until they are there again, who raises an interrupt
 * waits. */
void machine_hold_interrupts(struct machine *m, bool hold);

/* CPUs have stopped: devices finish what they have and drain. */
void machine_stop(struct machine *m);
void machine_destroy(struct machine *m);
