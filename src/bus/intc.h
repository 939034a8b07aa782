/*
 * The cut between a CPU core and its interrupt controller. dev/lapic provides intc_ops to the
 * software CPU; the CPU provides cpu_line to the LAPIC. Neither includes the other. An accelerator
 * that owns its interrupt chips (KVM) uses neither.
 *
 * intc_ops are called on the vCPU's own thread, without locks held.
 */
#pragma once

#include "base/types.h"

struct intc_ops {
	/* Is there an interrupt that the CPU could take if RFLAGS.IF allows (priority above PPR)? Cheap. */
	bool (*pending)(void *opaque);
	/* INTA: moves the highest to in-service and returns its vector (0..255), or runs the 8259's
	 * acknowledge cycle for ExtINT. -1 when nothing is deliverable any more. */
	int (*accept)(void *opaque);
	/* xAPIC register page, off 0..0xfff. Any size and alignment is legal; what is undefined reads 0. */
	u32 (*mmio_read)(void *opaque, u32 off, unsigned size);
	void (*mmio_write)(void *opaque, u32 off, unsigned size, u32 val);
	/* x2APIC range 0x800..0x8ff, IA32_APIC_BASE, IA32_TSC_DEADLINE: 0, or -1 for #GP. */
	int (*msr_read)(void *opaque, u32 msr, u64 *val);
	int (*msr_write)(void *opaque, u32 msr, u64 val);
	/* CR8 = TPR bits 7:4. */
	u8 (*cr8_read)(void *opaque);
	void (*cr8_write)(void *opaque, u8 val);
	/* The guest moved its TSC: guest TSC = the machine clock's TSC + offset. May be NULL. */
	void (*tsc_moved)(void *opaque, u64 offset);
	/* INIT reached this CPU: LAPIC registers to their INIT values (the APIC id and mode stay). */
	void (*init)(void *opaque);
};

struct intc {
	const struct intc_ops *ops;
	void *opaque;
};

enum cpu_signal {
	CPU_SIG_INTR, /* something became pending: look at intc.pending */
	CPU_SIG_NMI,
	CPU_SIG_INIT,
	CPU_SIG_SIPI, /* arg: start page number */
	CPU_SIG_SMI,  /* ignored by CPUs without SMM */
};

/* A LAPIC's way to its CPU. Any thread, any locks held; must only set flags and wake. */
struct cpu_line {
	void (*signal)(void *opaque, enum cpu_signal sig, u8 arg);
	void *opaque;
};
