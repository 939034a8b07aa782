/*
 * Local APICs and the I/O APIC under a stream of random register accesses, MSRs, messages, wires and
 * steps of time. It holds that an accepted vector is legal and had the highest priority, that a CPU with
 * something deliverable was told so, and that no programming of the timers keeps the host awake.
 */
#include "input.h"

#include "base/loop.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "x86/x86.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

#define CPUS 3

struct board {
	struct clock_manual clock;
	struct timerq timers;
	struct space memory;
	struct lapic_set set;
	struct ioapic io;
	bool told[CPUS]; /* CPU_SIG_INTR since the last look */
};

static void on_signal(void *opaque, enum cpu_signal sig, u8 arg)
{
	if (sig == CPU_SIG_INTR)
		*(bool *)opaque = true;
}

static int pic_ack(void *opaque)
{
	return 0x30;
}

static void on_eoi(void *opaque, u8 vector)
{
	struct board *b = opaque;

	ioapic_eoi(&b->io, vector);
}

static void board_init(struct board *b, bool x2apic)
{
	const struct lapic_set_config c = {.count = CPUS,
	        .timers = &b->timers,
	        .x2apic = x2apic,
	        .pic_ack = pic_ack,
	        .eoi = on_eoi,
	        .opaque = b};
	const struct ioapic_config io = {.memory = &b->memory, .lapics = &b->set};

	memset(b, 0, sizeof(*b));
	clock_manual_init(&b->clock, 0);
	check(!timerq_init(&b->timers, &b->clock.clock));
	check(!space_init(&b->memory, UINT64_MAX));
	check(!lapic_set_init(&b->set, &c));
	check(!ioapic_init(&b->io, &io));
	for (unsigned n = 0; n < CPUS; n++) {
		const struct cpu_line line = {.signal = on_signal, .opaque = &b->told[n]};

		lapic_connect(&b->set, n, &line);
	}
}

static void board_fini(struct board *b)
{
	ioapic_fini(&b->io);
	lapic_set_fini(&b->set);
	space_fini(&b->memory);
	timerq_fini(&b->timers);
}

static void mmio(struct lapic *l, struct input *in)
{
	u64 how = take(in, 2);
	u32 off = how & 0x4000 ? how & 0xfff : (how & 0x3f) << 4;
	unsigned size = how & 0x8000 ? 1 + (how >> 12 & 3) : 4;

	if (how & 0x800 && size == 4)
		lapic_intc_ops.mmio_write(l, off, size, (u32)take(in, 4));
	else if (how & 0x400)
		lapic_intc_ops.mmio_write(l, off, size, (u32)take(in, 2));
	else
		check(lapic_intc_ops.mmio_read(l, off, size) <= ones(size));
}

static void msr(struct lapic *l, struct input *in)
{
	u64 how = take(in, 2), val;
	u32 reg = MSR_X2APIC_FIRST + (how & 0xff);

	if ((how & 0xff) >= 0xfe)
		reg = how & 1 ? MSR_APIC_BASE : MSR_TSC_DEADLINE;
	if (how & 0x100) {
		val = take(in, how & 0x200 ? 8 : 2);
		if (reg == MSR_APIC_BASE && (how & 0x400))
			val = 0xfee00000 | (val << 8 & 0xd00);
		lapic_intc_ops.msr_write(l, reg, val);
	} else {
		lapic_intc_ops.msr_read(l, reg, &val);
	}
}

static int top(const u32 bits[8])
{
	for (int n = 255; n >= 0; n--)
		if (bits[n / 32] >> (n % 32) & 1)
			return n;
	return -1;
}

/* What a CPU does that was told: look and take. */
static void cpu_turn(struct board *b, unsigned n)
{
	struct lapic *l = &b->set.lapic[n];
	bool pending = lapic_intc_ops.pending(l), ext = l->extint || l->lint[0];
	int irr = top(l->irr), isr = top(l->isr), vector;

	check(!pending || b->told[n]);
	vector = lapic_intc_ops.accept(l);
	check(pending == (vector >= 0));
	if (vector < 0) {
		b->told[n] = false;
		return;
	}
	if (!ext) {
		check(vector == irr && vector >= 16);
		check((vector & 0xf0) > (isr < 0 ? 0 : isr & 0xf0));
		check((u32)(vector & 0xf0) > (l->tpr & 0xf0));
		check(top(l->isr) == vector);
	}
}

static void end_interrupt(struct lapic *l)
{
	lapic_intc_ops.mmio_write(l, 0xb0, 4, 0);
	lapic_intc_ops.msr_write(l, 0x80b, 0);
}

static void ioapic_access(struct board *b, struct input *in)
{
	u64 how = take(in, 2);

	if (how & 0x8000) {
		u64 addr = IOAPIC_BASE + (how & 0xff);
		unsigned size = 1u << (how >> 8 & 3);

		if (how & 0x4000)
			space_write(&b->memory, addr, size, take(in, size));
		else
			check(space_read(&b->memory, addr, size) <= ones(size));
		return;
	}
	space_write(&b->memory, IOAPIC_BASE, 4, how & 0x3f);
	if (how & 0x4000)
		space_write(&b->memory, IOAPIC_BASE + 0x10, 4, take(in, 4));
	else
		space_read(&b->memory, IOAPIC_BASE + 0x10, 4);
}

static void outside(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	struct msi_sink sink = lapic_set_msi(&b->set);
	struct wire w;

	switch (how & 3) {
	case 0:
		msi_send(&sink, 0xfee00000 | (how >> 2 & 3) << 12 | (how >> 4 & 3) << 2, (u32)take(in, 2));
		return;
	case 1: w = ioapic_input(&b->io, (how >> 2) % IOAPIC_NPINS); break;
	case 2: w = lapic_set_lint0(&b->set); break;
	default: w = lapic_set_lint1(&b->set); break;
	}
	wire_set(&w, take(in, 1) & 1);
}

/* A CPU's timer fires at most every 100 us, and once more for what was armed before. */
static void advance(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	u64 ns = how & 0x80 ? (how & 0x7f) * 100 : 1ull << (how % 48);
	u64 end = b->clock.ns + ns, next, wakes = 0;

	if (ns > 20 * NS_PER_MS) { /* at once, as after a suspend */
		b->clock.ns = end;
		timerq_run(&b->timers);
		return;
	}
	while ((next = timerq_next(&b->timers)) <= end) {
		b->clock.ns = MAX(next, b->clock.ns);
		timerq_run(&b->timers);
		check(++wakes <= CPUS * (ns / (100 * NS_PER_US) + 2));
	}
	b->clock.ns = end;
}

/* As an operating system leaves it: without this a random stream keeps LAPICs off most of the time. */
static void make_sane(struct lapic *l)
{
	lapic_intc_ops.msr_write(l, MSR_APIC_BASE, l->base | APIC_BASE_ENABLE);
	lapic_intc_ops.mmio_write(l, 0xf0, 4, 0x1ff);
	lapic_intc_ops.msr_write(l, 0x80f, 0x1ff);
	lapic_intc_ops.cr8_write(l, 0);
}

static void special(struct board *b, struct lapic *l, unsigned what, struct input *in)
{
	const struct apic_message m = {
	        .dest = l->id, .vector = (u8)take(in, 1), .level = what & 1, .assert = true};

	switch (what) {
	case 0 ... 9: lapic_set_send(&b->set, &m); break;
	case 10 ... 13: make_sane(l); break;
	case 14: lapic_intc_ops.init(l); break;
	default: lapic_intc_ops.tsc_moved(l, take(in, 8)); break;
	}
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);
	unsigned n = (op >> 4) % CPUS;
	struct lapic *l = &b->set.lapic[n];

	switch (op & 15) {
	case 0 ... 3: mmio(l, in); break;
	case 4 ... 5: msr(l, in); break;
	case 6 ... 7: cpu_turn(b, n); break;
	case 8: end_interrupt(l); break;
	case 9 ... 10: ioapic_access(b, in); break;
	case 11 ... 12: outside(b, in); break;
	case 13: advance(b, in); break;
	case 14:
		if (op & 0x80)
			lapic_intc_ops.cr8_write(l, (u8)take(in, 1));
		else
			check(lapic_intc_ops.cr8_read(l) < 16);
		break;
	default: special(b, l, op >> 4, in); break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));

	check(b != NULL);
	board_init(b, take(&in, 1) & 1);
	while (in.left)
		step(b, &in);
	lapic_set_reset(&b->set);
	ioapic_reset(&b->io);
	check(timerq_next(&b->timers) == TIMER_OFF);
	board_fini(b);
	free(b);
	return 0;
}
