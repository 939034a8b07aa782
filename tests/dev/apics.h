/*
 * Local APICs on a bench, with CPUs that only remember what they were told.
 */
#pragma once

#include "bench.h"
#include "dev/lapic.h"
#include "x86/x86.h"

#define SVR 0x0f0
#define TPR 0x080
#define EOI 0x0b0
#define ICR_LOW 0x300
#define ICR_HIGH 0x310
#define LVT(n) (0x320 + 0x10 * (n))
#define TICR 0x380
#define TCCR 0x390
#define TDCR 0x3e0
#define X2(off) (0x800 + (off) / 0x10)

struct cpu_probe {
	unsigned signals[CPU_SIG_SMI + 1];
	u8 sipi;
};

struct apics {
	struct bench b;
	struct lapic_set set;
	struct cpu_probe cpu[LAPIC_MAX];
	int pic_vector;
	unsigned pic_acks;
	u8 eoi[64];
	unsigned eois;
};

static inline void on_signal(void *opaque, enum cpu_signal sig, u8 arg)
{
	struct cpu_probe *p = opaque;

	__atomic_fetch_add(&p->signals[sig], 1, __ATOMIC_RELAXED);
	if (sig == CPU_SIG_SIPI)
		p->sipi = arg;
}

static inline int on_pic_ack(void *opaque)
{
	struct apics *a = opaque;

	a->pic_acks++;
	return a->pic_vector;
}

static inline void on_eoi(void *opaque, u8 vector)
{
	struct apics *a = opaque;

	a->eoi[a->eois++ % ARRAY_SIZE(a->eoi)] = vector;
}

static inline struct lapic *lapic_of(struct apics *a, unsigned n)
{
	return &a->set.lapic[n];
}

static inline u32 rd(struct apics *a, unsigned n, u32 off)
{
	return lapic_intc_ops.mmio_read(lapic_of(a, n), off, 4);
}

static inline void wr(struct apics *a, unsigned n, u32 off, u32 val)
{
	lapic_intc_ops.mmio_write(lapic_of(a, n), off, 4, val);
}

static inline int rdmsr(struct apics *a, unsigned n, u32 msr, u64 *val)
{
	return lapic_intc_ops.msr_read(lapic_of(a, n), msr, val);
}

static inline int wrmsr(struct apics *a, unsigned n, u32 msr, u64 val)
{
	return lapic_intc_ops.msr_write(lapic_of(a, n), msr, val);
}

static inline bool pending(struct apics *a, unsigned n)
{
	return lapic_intc_ops.pending(lapic_of(a, n));
}

static inline int accept(struct apics *a, unsigned n)
{
	return lapic_intc_ops.accept(lapic_of(a, n));
}

/* Every CPU's LAPIC on, as an operating system does. */
static inline void apics_enable(struct apics *a)
{
	for (unsigned n = 0; n < a->set.cfg.count; n++) {
		if (lapic_of(a, n)->base & APIC_BASE_X2APIC)
			assert_int_equal(wrmsr(a, n, X2(SVR), 0x1ff), 0);
		else
			wr(a, n, SVR, 0x1ff);
	}
}

static inline void apics_init(struct apics *a, unsigned count, bool x2apic)
{
	struct lapic_set_config c = {.count = count, .x2apic = x2apic, .pic_ack = on_pic_ack, .eoi = on_eoi};

	memset(a, 0, sizeof(*a));
	bench_init(&a->b, 1000000);
	c.timers = &a->b.timers;
	c.opaque = a;
	assert_int_equal(lapic_set_init(&a->set, &c), 0);
	for (unsigned n = 0; n < count; n++) {
		const struct cpu_line line = {.signal = on_signal, .opaque = &a->cpu[n]};

		lapic_connect(&a->set, n, &line);
	}
}

static inline void apics_fini(struct apics *a)
{
	lapic_set_fini(&a->set);
	bench_fini(&a->b);
}

static inline void msi(struct apics *a, u64 addr, u32 data)
{
	struct msi_sink sink = lapic_set_msi(&a->set);

	msi_send(&sink, addr, data);
}

/* CPUs that have vector pending, as a mask; they take it and end it. */
static inline u32 takers(struct apics *a, u8 vector)
{
	u32 mask = 0;

	for (unsigned n = 0; n < a->set.cfg.count; n++) {
		int v = pending(a, n) ? accept(a, n) : -1;

		if (v < 0)
			continue;
		assert_int_equal(v, vector);
		mask |= BIT(n);
		if (a->set.lapic[n].base & APIC_BASE_X2APIC)
			assert_int_equal(wrmsr(a, n, X2(EOI), 0), 0);
		else
			wr(a, n, EOI, 0);
	}
	return mask;
}
