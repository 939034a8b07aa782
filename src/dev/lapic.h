/*
 * Local APICs: xAPIC and x2APIC, timer with TSC deadline, and the message fabric between them.
 *
 * Threads. A LAPIC has no lock. IRR and TMR are atomic bitmaps that any thread sets (lapic_set_send);
 * LDR, DFR, SVR, TPR, the LVTs and the mode are atomics that senders and wires read; all other
 * registers are touched on the LAPIC's own vCPU thread, through lapic_intc_ops. The timer has a small
 * lock of its own because its callback runs on the loop thread.
 *
 * Files: lapic.c registers and CPU interface, lapic_timer.c, apic_bus.c messages, MSI and wires.
 */
#pragma once

#include "base/loop.h"
#include "bus/intc.h"
#include "bus/wire.h"

#define LAPIC_MAX 16
#define LAPIC_BUS_HZ 1000000000ull /* input of the timer's divider */

struct lapic;

/* A message on the APIC bus: an IPI, an I/O APIC's, or an MSI. */
struct apic_message {
	u32 dest; /* 0xff, from an x2APIC 0xffffffff: everybody */
	bool logical;
	bool wide; /* dest has 32 bits (sent by an x2APIC) */
	u8 mode;   /* delivery mode 0..7 */
	u8 vector;
	bool level, assert;
	/* IPIs only */
	const struct lapic *from;
	u8 shorthand; /* 0 none, 1 self, 2 all, 3 all but self */
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_N };

struct lapic_set;

struct lapic {
	struct lapic_set *set;
	struct cpu_line cpu;
	u32 id;
	u64 base;           /* IA32_APIC_BASE; atomic */
	u32 irr[8], tmr[8]; /* atomic */
	u32 isr[8];
	u32 tpr, ldr, dfr, svr; /* atomic */
	u32 esr;                /* atomic: errors since the last write of ESR */
	u32 esr_latched;        /* what ESR reads */
	u64 icr;
	u32 lvt[LVT_N]; /* atomic */
	bool lint[2];   /* atomic: levels of the LINT pins */
	bool extint;    /* atomic: an ExtINT message waits */
	u32 tdcr, ticr;
	/* under timer_lock */
	pthread_mutex_t timer_lock;
	struct timer timer;
	u64 start_ns, period_ns; /* of the running count; 0: it does not run */
	u64 deadline;            /* IA32_TSC_DEADLINE, 0: not armed */
	u64 tsc_offset;          /* guest TSC = clock's TSC + this */
};

struct lapic_set_config {
	unsigned count;
	struct timerq *timers;
	const struct clock_tsc *clock; /* guest TSC base; NULL: TSC counts ns of timers->clock (tests) */
	bool x2apic;                   /* start in x2APIC mode */
	int (*pic_ack)(void *opaque);  /* INTA cycle of the 8259 pair: vector */
	void (*eoi)(void *opaque, u8 vector); /* broadcast to I/O APICs */
	void *opaque;
};

struct lapic_set {
	struct lapic_set_config cfg;
	struct lapic lapic[LAPIC_MAX];
	u32 next; /* atomic: where the search for the lowest priority starts */
};

extern const struct intc_ops lapic_intc_ops; /* opaque: struct lapic * */

int lapic_set_init(struct lapic_set *s, const struct lapic_set_config *cfg);
void lapic_set_fini(struct lapic_set *s);
/*
 * Power-on state, then what firmware does: the boot CPU takes the 8259s through LINT0 (virtual wire
 * mode) and NMI through LINT1. No CPU may run.
 */
void lapic_set_reset(struct lapic_set *s);
void lapic_connect(struct lapic_set *s, unsigned n, const struct cpu_line *cpu);

/* Any thread. False: no LAPIC accepted it. */
bool lapic_set_send(struct lapic_set *s, const struct apic_message *m);
struct msi_sink lapic_set_msi(struct lapic_set *s);
/* The wires for INTR of the 8259 pair and for NMI: LINT0 and LINT1 of every CPU, as its LVT says. */
struct wire lapic_set_lint0(struct lapic_set *s);
struct wire lapic_set_lint1(struct lapic_set *s);
