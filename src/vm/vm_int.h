/*
 * Private to the vm room: one running machine.
 */
#pragma once

#include "accel/accel.h"
#include "base/clock.h"
#include "base/loop.h"
#include "boot/boot.h"
#include "bus/space.h"
#include "mem/mem.h"
#include "vm/boot_source.h"
#include "vm/config.h"
#include <pthread.h>
#include <signal.h>

#define VM_RUNNING (-1)
#define VM_RESET 0x100 /* with an exit status: the machine is to be reset, not ended */

struct control;
struct machine;
struct vm;

struct vm_cpu {
	struct vm *vm;
	struct vcpu *vcpu;
	pthread_t thread;
	bool started;
};

struct vm {
	const struct vm_config *config;
	struct clock_tsc clock;
	struct loop *loop;
	struct mem mem;
	struct space ports, memory;
	const struct accel_ops *accel;
	struct accel_host host;
	struct accel_vm *accel_vm;
	struct boot_source source;
	struct boot_image image;
	struct machine *machine;
	struct vm_cpu cpu[MAX_VCPUS];
	int status;   /* atomic: VM_RUNNING or the first reason to stop (enum exit_status) */
	bool joining; /* atomic: vCPU threads leave at their next kick */
	pthread_mutex_t park_lock;
	pthread_cond_t park_cond;
	bool paused;     /* changed by the loop's thread, under park_lock */
	unsigned parked; /* park_lock: threads of CPUs that are not inside the accelerator */
	pthread_mutex_t idle_lock;
	enum cpu_idle idle[MAX_VCPUS];
	struct control *control;
	struct loop_fd signal_fd;
	unsigned stop_requests; /* signals that asked for an end */
};

/*
 * -x without -A has no table that would tell a guest of x2APIC mode, and kernels without MP table support
 * touch the xAPIC page then: their CPUs start in xAPIC mode and may switch.
 */
static inline bool starts_in_x2apic(const struct vm_config *c)
{
	return c->x2apic && c->acpi;
}

/* What a CPU does when it does not execute (struct accel_host). */
void vm_cpu_idle(void *opaque, unsigned id, enum cpu_idle state);

/* All counters of the machine. The loop's thread. */
void vm_stats(struct vm *vm, struct stats_sink *out);

/* Finds, reads and checks kernel and initrd (load.c); when the machine starts again, anew. */
int vm_load(struct vm *vm, struct err *e);

/* Ends the machine with this exit status unless something ended it before. Any thread. */
void vm_stop(struct vm *vm, int status);
/* Somebody outside wants it to end now, with EXIT_OTHER: also goes before a reset. */
void vm_quit(struct vm *vm);
/* The reset line: starts the machine again, or ends it with this status without --on-reboot=restart. */
void vm_reset(struct vm *vm, int status);
