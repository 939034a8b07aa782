/*
 * The one CPU interface. An accelerator is a const table; kvm/ and soft/ fill it in, the machine
 * (vm/) uses nothing else. Devices never see it.
 *
 * Life: probe -> vm_create -> mem_map* -> vcpu_create* -> set_state (BSP) -> run on one thread per
 * vCPU -> kick -> threads joined -> vcpu_destroy* -> vm_destroy.
 *
 * Port and memory accesses to devices happen inside run, by calling the bus. run returns only when
 * the machine must decide.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/stats.h"
#include "base/types.h"
#include "bus/intc.h"
#include "bus/space.h"
#include "bus/wire.h"
#include "mem/mem.h"
#include "x86/state.h"

#define MAX_VCPUS 16

enum run_exit {
	RUN_KICKED,       /* accel_kick was called */
	RUN_TRIPLE_FAULT, /* shutdown cycle */
	RUN_ERROR,        /* the accelerator failed; it has logged why */
};

/* What a vCPU does when it does not execute; reported through accel_host.idle. */
enum cpu_idle {
	CPU_RUNNING,
	CPU_HALTED_IF,   /* HLT, interrupts on */
	CPU_HALTED_DEAD, /* HLT with IF=0: only NMI, INIT or reset can wake it */
	CPU_WAIT_SIPI,   /* an application processor before its start-up IPI */
};

/* What the machine gives to the CPUs. Must stay valid until vm_destroy. */
struct accel_host {
	struct space *ports;
	struct space *memory; /* device memory; RAM is mapped by mem_map and looked up first */
	struct mem *mem;
	/* soft: guest TSC = clock_tsc_ticks + per-CPU offset. It may stand still while no CPU is in run. */
	const struct clock_tsc *clock;
	/* A vCPU's idleness changed. Called on its thread; may call kick on others. May be NULL. */
	void (*idle)(void *opaque, unsigned vcpu, enum cpu_idle state);
	void *opaque;
};

struct accel_config {
	unsigned ncpus;     /* 1..MAX_VCPUS */
	bool x2apic;        /* -x: CPUs start in x2APIC mode */
	bool lax_msr;       /* -w: unknown MSRs read 0 and ignore writes instead of #GP */
	bool exit_on_hlt;   /* -H (kept for compatibility; HLT always idles) */
	bool exit_on_pause; /* -P */
	const int *pin;     /* host CPU per vCPU or -1; NULL for none */
	bool stats;
	bool perf_map;  /* jit: name translated code for perf(1) */
	u64 code_cache; /* limit of the memory for translated code in bytes, 0 = default */
	unsigned hot;   /* jit: how often code runs before it is translated, 0 = default */
	unsigned check; /* jit: --jit-check, how often each block is compared with interp, 0 = never */
	u8 leave_out; /* jit, tests of --jit-check: instructions with this opcode are translated to nothing */
};

#define JIT_CHECKS 16 /* accel_config.check of --jit-check */

struct accel_vm;
struct vcpu;

struct accel_ops {
	const char *name;   /* "kvm", "jit", "interp" */
	bool owns_irqchips; /* PIC, IOAPIC, LAPIC and PIT live in the back end */
	/*
	 * Can this host run stock guests with it? Runs a real snippet within a second. 0, or -errno
	 * with the reason in e. A back end may work for small guests though probe fails.
	 */
	int (*probe)(struct err *e);
	int (*vm_create)(const struct accel_config *c, const struct accel_host *h, struct accel_vm **out,
	        struct err *e);
	void (*vm_destroy)(struct accel_vm *vm);
	/* RAM at gpa backed by hva; page multiples. len 0 at a known gpa unmaps. */
	int (*mem_map)(struct accel_vm *vm, u64 gpa, void *hva, u64 len, bool readonly);
	/* intc is NULL when owns_irqchips. Call from any thread before run. */
	int (*vcpu_create)(
	        struct accel_vm *vm, unsigned id, const struct intc *intc, struct vcpu **out, struct err *e);
	void (*vcpu_destroy)(struct vcpu *v);
	/*
	 * Whole architectural state; only while the vCPU does not run. set_state with NULL, where the
	 * interrupt controllers are not the back end's: power-on, also of what struct x86_state does not
	 * hold. Back ends that own them are made anew instead.
	 */
	int (*get_state)(struct vcpu *v, struct x86_state *s);
	int (*set_state)(struct vcpu *v, const struct x86_state *s);
	enum run_exit (*run)(struct vcpu *v);
	/* Make run return RUN_KICKED soon, now or at its next call. Any thread, async-signal-safe. */
	void (*kick)(struct vcpu *v);
	/* Not owns_irqchips: the LAPIC's signals reach the vCPU here (struct cpu_line). */
	void (*signal)(struct vcpu *v, enum cpu_signal sig, u8 arg);
	/* owns_irqchips: interrupt injection. NULL otherwise. */
	void (*irq_line)(struct accel_vm *vm, unsigned gsi, bool level);
	void (*msi)(struct accel_vm *vm, u64 addr, u32 data);
	/* Counters, while the CPUs run or after. */
	void (*stats)(struct accel_vm *vm, struct stats_sink *out);
	/*
	 * The clock has stood still for so many ticks of the TSC, while no CPU was running: what counts the
	 * host's time on its own must leave them out. NULL: everything counts from accel_host.clock.
	 * -errno: it cannot, and has changed nothing.
	 */
	int (*time_skipped)(struct accel_vm *vm, u64 ticks);
};

extern const struct accel_ops accel_kvm;    /* accel/kvm */
extern const struct accel_ops accel_interp; /* accel/soft */
extern const struct accel_ops accel_jit;
