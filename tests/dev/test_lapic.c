/*
 * Local APIC without a CPU: priorities, registers in both modes, messages to every kind of destination,
 * pins, mode changes, illegal accesses. The timer has its own test.
 */
#include "apics.h"

#include <errno.h>

/* --- one LAPIC --- */

static void power_on(void **state)
{
	struct apics a;

	apics_init(&a, 3, false);
	assert_int_equal(rd(&a, 2, 0x20), 2u << 24);
	assert_int_equal(rd(&a, 0, 0x30), 0x50014);
	assert_int_equal(rd(&a, 1, SVR), 0xff);
	assert_int_equal(rd(&a, 1, 0xe0), 0xffffffff);
	for (unsigned n = 0; n < 6; n++)
		assert_int_equal(rd(&a, 1, LVT(n)), 0x10000);
	/* What firmware does on the boot CPU: virtual wire mode, NMI on LINT1. */
	assert_int_equal(rd(&a, 0, SVR), 0x1ff);
	assert_int_equal(rd(&a, 0, LVT(3)), 0x700);
	assert_int_equal(rd(&a, 0, LVT(4)), 0x400);
	for (unsigned n = 0; n < 3; n++)
		assert_false(pending(&a, n));
	assert_int_equal(accept(&a, 0), -1);
	apics_fini(&a);
}

static void config_limits(void **state)
{
	static struct lapic_set s;
	struct lapic_set_config c = {.count = 0};

	assert_int_equal(lapic_set_init(&s, &c), -EINVAL);
	c.count = LAPIC_MAX + 1;
	assert_int_equal(lapic_set_init(&s, &c), -EINVAL);
}

static void self(struct apics *a, u8 vector)
{
	wr(a, 0, ICR_LOW, 0x40000u | vector);
}

static void priorities(void **state)
{
	struct apics a;

	apics_init(&a, 1, false);
	self(&a, 0x31);
	self(&a, 0x45);
	self(&a, 0x41);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_INTR], 3);
	assert_int_equal(rd(&a, 0, 0x210), 0x00020000);
	assert_int_equal(rd(&a, 0, 0x220), 0x00000022);
	assert_int_equal(accept(&a, 0), 0x45);
	assert_int_equal(rd(&a, 0, 0x220), 0x00000002);
	assert_int_equal(rd(&a, 0, 0x120), 0x00000020);
	assert_int_equal(rd(&a, 0, 0xa0), 0x40); /* PPR */
	assert_false(pending(&a, 0));            /* same class */
	assert_int_equal(accept(&a, 0), -1);
	self(&a, 0x52);
	assert_int_equal(accept(&a, 0), 0x52); /* nests */
	wr(&a, 0, EOI, 0);
	assert_false(pending(&a, 0));
	a.cpu[0].signals[CPU_SIG_INTR] = 0;
	wr(&a, 0, EOI, 0);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_INTR], 1); /* the CPU is told to look again */
	assert_int_equal(accept(&a, 0), 0x41);
	wr(&a, 0, EOI, 0);
	assert_int_equal(accept(&a, 0), 0x31);
	wr(&a, 0, EOI, 0);
	wr(&a, 0, EOI, 0); /* one too many */
	assert_false(pending(&a, 0));
	assert_int_equal(a.eois, 0); /* all were edges */
	apics_fini(&a);
}

static void task_priority(void **state)
{
	struct apics a;

	apics_init(&a, 1, false);
	wr(&a, 0, TPR, 0xffffff45);
	assert_int_equal(rd(&a, 0, TPR), 0x45);
	assert_int_equal(rd(&a, 0, 0xa0), 0x45);
	assert_int_equal(lapic_intc_ops.cr8_read(lapic_of(&a, 0)), 4);
	self(&a, 0x4f);
	assert_false(pending(&a, 0));
	a.cpu[0].signals[CPU_SIG_INTR] = 0;
	lapic_intc_ops.cr8_write(lapic_of(&a, 0), 3);
	assert_int_equal(rd(&a, 0, TPR), 0x30);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_INTR], 1);
	assert_int_equal(accept(&a, 0), 0x4f);
	assert_int_equal(rd(&a, 0, 0xa0), 0x40);
	apics_fini(&a);
}

static void software_disabled(void **state)
{
	struct apics a;

	apics_init(&a, 1, false);
	wr(&a, 0, LVT(5), 0x33);
	self(&a, 0x61);
	wr(&a, 0, SVR, 0xff);
	assert_int_equal(rd(&a, 0, LVT(3)), 0x10700); /* every LVT is masked, and stays so */
	wr(&a, 0, LVT(5), 0x33);
	assert_int_equal(rd(&a, 0, LVT(5)), 0x10033);
	msi(&a, 0xfee00000, 0x62);
	assert_int_equal(accept(&a, 0), 0x61); /* what was there is kept */
	wr(&a, 0, EOI, 0);
	assert_false(pending(&a, 0));
	msi(&a, 0xfee00000, 0x400); /* NMI still goes through */
	assert_int_equal(a.cpu[0].signals[CPU_SIG_NMI], 1);
	wr(&a, 0, SVR, 0xfffff5ff);
	assert_int_equal(rd(&a, 0, SVR), 0x1ff);
	wr(&a, 0, LVT(5), 0xffffffff);
	assert_int_equal(rd(&a, 0, LVT(5)), 0x100ff);
	apics_fini(&a);
}

static void errors(void **state)
{
	struct apics a;

	apics_init(&a, 1, false);
	wr(&a, 0, LVT(5), 0x77);
	self(&a, 0x0f);
	assert_int_equal(rd(&a, 0, 0x280), 0); /* ESR shows errors after a write */
	assert_int_equal(accept(&a, 0), 0x77);
	wr(&a, 0, EOI, 0);
	self(&a, 0x0e); /* the same error again before ESR was looked at */
	assert_false(pending(&a, 0));
	wr(&a, 0, 0x280, 0);
	assert_int_equal(rd(&a, 0, 0x280), 0x20);
	wr(&a, 0, 0x280, 0);
	assert_int_equal(rd(&a, 0, 0x280), 0);
	msi(&a, 0xfee00000, 0x05);
	rd(&a, 0, 0x3f0);
	wr(&a, 0, 0x40, 1);
	assert_int_equal(accept(&a, 0), 0x77);
	wr(&a, 0, 0x280, 0);
	assert_int_equal(rd(&a, 0, 0x280), 0xc0);
	wr(&a, 0, LVT(5), 0x07); /* an illegal vector for the errors themselves */
	wr(&a, 0, 0x280, 0);
	self(&a, 1);
	wr(&a, 0, 0x280, 0);
	assert_int_equal(rd(&a, 0, 0x280), 0x20);
	apics_fini(&a);
}

/* All that is not an aligned dword: bytes of a register read, nothing is written, nothing crashes. */
static void odd_accesses(void **state)
{
	struct apics a;

	apics_init(&a, 2, false);
	wr(&a, 0, 0xd0, 0xab000000);
	assert_int_equal(lapic_intc_ops.mmio_read(lapic_of(&a, 0), 0xd3, 1), 0xab);
	assert_int_equal(lapic_intc_ops.mmio_read(lapic_of(&a, 0), 0xd2, 2), 0xab00);
	assert_int_equal(lapic_intc_ops.mmio_read(lapic_of(&a, 0), 0xd3, 2), 0);
	lapic_intc_ops.mmio_write(lapic_of(&a, 0), 0xd0, 2, 0);
	lapic_intc_ops.mmio_write(lapic_of(&a, 0), 0xd4, 4, 0);
	assert_int_equal(rd(&a, 0, 0xd0), 0xab000000);
	for (u32 off = 0; off < 0x1000; off++) {
		for (unsigned size = 1; size <= 4; size++) {
			lapic_intc_ops.mmio_write(lapic_of(&a, 1), off, size, 0xffffffff);
			assert_true(lapic_intc_ops.mmio_read(lapic_of(&a, 1), off, size) <= ones(size));
		}
	}
	apics_fini(&a);
}

static void level_eoi(void **state)
{
	struct apics a;
	struct apic_message m = {.dest = 0, .vector = 0x51, .level = true, .assert = true};

	apics_init(&a, 1, false);
	assert_true(lapic_set_send(&a.set, &m));
	assert_int_equal(rd(&a, 0, 0x1a0), 0x00020000);
	assert_int_equal(accept(&a, 0), 0x51);
	assert_int_equal(a.eois, 0);
	wr(&a, 0, EOI, 0);
	assert_int_equal(a.eois, 1);
	assert_int_equal(a.eoi[0], 0x51);
	m.level = false; /* the same vector as an edge clears TMR */
	assert_true(lapic_set_send(&a.set, &m));
	assert_int_equal(rd(&a, 0, 0x1a0), 0);
	assert_int_equal(accept(&a, 0), 0x51);
	wr(&a, 0, EOI, 0);
	assert_int_equal(a.eois, 1);
	apics_fini(&a);
}

/* --- messages --- */

static void ipi(struct apics *a, unsigned from, u32 dest, u32 low)
{
	wr(a, from, ICR_HIGH, dest << 24);
	wr(a, from, ICR_LOW, low);
}

static void physical(void **state)
{
	struct apics a;

	apics_init(&a, 4, false);
	apics_enable(&a);
	ipi(&a, 0, 2, 0x40);
	assert_int_equal(takers(&a, 0x40), 0x4);
	assert_int_equal(rd(&a, 0, ICR_LOW), 0x40);
	assert_int_equal(rd(&a, 0, ICR_HIGH), 2u << 24);
	ipi(&a, 0, 0xff, 0x41);
	assert_int_equal(takers(&a, 0x41), 0xf);
	ipi(&a, 0, 9, 0x42);
	assert_int_equal(takers(&a, 0x42), 0);
	ipi(&a, 1, 0, 0x40043);
	assert_int_equal(takers(&a, 0x43), 0x2); /* self */
	ipi(&a, 1, 0, 0x80044);
	assert_int_equal(takers(&a, 0x44), 0xf); /* all */
	ipi(&a, 1, 0, 0xc0045);
	assert_int_equal(takers(&a, 0x45), 0xd); /* all but self */
	/* reserved and ExtINT modes are no IPIs */
	ipi(&a, 1, 0, 0xc0346);
	ipi(&a, 1, 0, 0xc0746);
	assert_int_equal(takers(&a, 0x46), 0);
	apics_fini(&a);
}

static void logical_flat(void **state)
{
	struct apics a;

	apics_init(&a, 4, false);
	apics_enable(&a);
	for (unsigned n = 0; n < 4; n++)
		wr(&a, n, 0xd0, 0x01000000u << n);
	ipi(&a, 0, 0x06, 0x850);
	assert_int_equal(takers(&a, 0x50), 0x6);
	ipi(&a, 0, 0xf0, 0x851);
	assert_int_equal(takers(&a, 0x51), 0);
	ipi(&a, 0, 0xff, 0x852);
	assert_int_equal(takers(&a, 0x52), 0xf);
	apics_fini(&a);
}

static void logical_cluster(void **state)
{
	static const u8 ldr[4] = {0x11, 0x12, 0x21, 0x24};
	struct apics a;

	apics_init(&a, 4, false);
	apics_enable(&a);
	for (unsigned n = 0; n < 4; n++) {
		wr(&a, n, 0xe0, 0);
		assert_int_equal(rd(&a, n, 0xe0), 0x0fffffff);
		wr(&a, n, 0xd0, (u32)ldr[n] << 24);
	}
	ipi(&a, 0, 0x13, 0x850);
	assert_int_equal(takers(&a, 0x50), 0x3);
	ipi(&a, 0, 0x24, 0x851);
	assert_int_equal(takers(&a, 0x51), 0x8);
	ipi(&a, 0, 0xf1, 0x852);
	assert_int_equal(takers(&a, 0x52), 0x5);
	ipi(&a, 0, 0x3f, 0x853);
	assert_int_equal(takers(&a, 0x53), 0);
	apics_fini(&a);
}

static void lowest_priority(void **state)
{
	struct apics a;
	u32 seen = 0;

	apics_init(&a, 4, false);
	apics_enable(&a);
	wr(&a, 0, TPR, 0x20);
	wr(&a, 1, TPR, 0x30);
	wr(&a, 2, TPR, 0x10);
	wr(&a, 3, SVR, 0xff);
	for (unsigned n = 0; n < 8; n++) {
		ipi(&a, 0, 0xff, 0x150);
		assert_int_equal(takers(&a, 0x50), 0x4);
	}
	ipi(&a, 2, 0, 0xc0151); /* all but self */
	assert_int_equal(takers(&a, 0x51), 0x1);
	wr(&a, 0, TPR, 0);
	wr(&a, 1, TPR, 0);
	wr(&a, 2, TPR, 0);
	for (unsigned n = 0; n < 8; n++) {
		u32 one;

		ipi(&a, 0, 0xff, 0x152);
		one = takers(&a, 0x52);
		assert_int_equal(__builtin_popcount(one), 1);
		seen |= one;
	}
	assert_int_equal(seen, 0x7); /* equals take turns */
	ipi(&a, 0, 3, 0x153);        /* the only one is off */
	assert_int_equal(takers(&a, 0x53), 0);
	apics_fini(&a);
}

static void start_up(void **state)
{
	struct apics a;

	apics_init(&a, 3, false);
	ipi(&a, 0, 0, 0xcc500); /* INIT to all others: asserted level */
	ipi(&a, 0, 0, 0xc8500); /* de-assert means nothing */
	for (unsigned n = 0; n < 3; n++)
		assert_int_equal(a.cpu[n].signals[CPU_SIG_INIT], n != 0);
	ipi(&a, 0, 1, 0x4699);
	ipi(&a, 0, 2, 0x0412);
	ipi(&a, 0, 2, 0x0212);
	assert_int_equal(a.cpu[1].signals[CPU_SIG_SIPI], 1);
	assert_int_equal(a.cpu[1].sipi, 0x99);
	assert_int_equal(a.cpu[2].signals[CPU_SIG_SIPI], 0);
	assert_int_equal(a.cpu[2].signals[CPU_SIG_NMI], 1);
	assert_int_equal(a.cpu[2].signals[CPU_SIG_SMI], 1);
	apics_fini(&a);
}

static void init_state(void **state)
{
	struct apics a;

	apics_init(&a, 2, false);
	apics_enable(&a);
	wr(&a, 1, TPR, 0x40);
	wr(&a, 1, 0xd0, 0x02000000);
	wr(&a, 1, LVT(0), 0x20030);
	wr(&a, 1, TICR, 1000000);
	msi(&a, 0xfee01000, 0x80);
	assert_int_equal(accept(&a, 1), 0x80);
	msi(&a, 0xfee01000, 0x90);
	lapic_intc_ops.init(lapic_of(&a, 1));
	assert_false(pending(&a, 1));
	for (u32 off = 0x100; off < 0x280; off += 0x10)
		assert_int_equal(rd(&a, 1, off), 0);
	assert_int_equal(rd(&a, 1, SVR), 0xff);
	assert_int_equal(rd(&a, 1, 0xd0), 0);
	assert_int_equal(rd(&a, 1, TPR), 0);
	assert_int_equal(rd(&a, 1, TCCR), 0);
	assert_int_equal(rd(&a, 1, 0x20), 0x01000000);
	assert_true(bench_idle(&a.b));
	apics_fini(&a);
}

static void message_signalled(void **state)
{
	struct apics a;

	apics_init(&a, 4, false);
	apics_enable(&a);
	for (unsigned n = 0; n < 4; n++)
		wr(&a, n, 0xd0, 0x01000000u << n);
	msi(&a, 0xfee03000, 0x60);
	assert_int_equal(takers(&a, 0x60), 0x8);
	msi(&a, 0xfee06004, 0x61); /* logical */
	assert_int_equal(takers(&a, 0x61), 0x6);
	msi(&a, 0xfee0600c, 0x62); /* with redirection hint: one of them */
	assert_int_equal(__builtin_popcount(takers(&a, 0x62)), 1);
	msi(&a, 0xfee06004, 0x163);
	assert_int_equal(__builtin_popcount(takers(&a, 0x63)), 1);
	msi(&a, 0xfef03000, 0x64); /* no MSI address */
	msi(&a, 0x1fee03000, 0x64);
	msi(&a, 0xfee03000, 0x8064); /* level de-assert */
	msi(&a, 0xfee03000, 0x0364); /* reserved mode */
	msi(&a, 0xfee03000, 0x0664); /* no start-up messages from devices */
	assert_int_equal(takers(&a, 0x64), 0);
	assert_int_equal(a.cpu[3].signals[CPU_SIG_SIPI], 0);
	msi(&a, 0xfee03000, 0xc064); /* level assert */
	assert_int_equal(takers(&a, 0x64), 0x8);
	assert_int_equal(a.eois, 1);
	msi(&a, 0xfee03000, 0x0500);
	assert_int_equal(a.cpu[3].signals[CPU_SIG_INIT], 1);
	apics_fini(&a);
}

/* --- pins --- */

static void virtual_wire(void **state)
{
	struct apics a;
	struct wire intr;

	apics_init(&a, 2, false);
	intr = lapic_set_lint0(&a.set);
	a.pic_vector = 8;
	wire_set(&intr, true);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_INTR], 1);
	assert_int_equal(a.cpu[1].signals[CPU_SIG_INTR], 0);
	assert_true(pending(&a, 0));
	assert_false(pending(&a, 1));
	wire_set(&intr, false); /* withdrawn */
	assert_false(pending(&a, 0));
	assert_int_equal(accept(&a, 0), -1);
	assert_int_equal(a.pic_acks, 0);
	wr(&a, 0, TPR, 0xff); /* ExtINT knows no priority */
	wire_set(&intr, true);
	assert_int_equal(accept(&a, 0), 8);
	assert_int_equal(a.pic_acks, 1);
	wr(&a, 0, LVT(3), 0x10700);
	assert_false(pending(&a, 0));
	a.cpu[0].signals[CPU_SIG_INTR] = 0;
	wr(&a, 0, LVT(3), 0x700);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_INTR], 1);
	assert_true(pending(&a, 0));
	apics_fini(&a);
}

static void extint_message(void **state)
{
	struct apics a;
	struct apic_message m = {.dest = 1, .mode = 7, .assert = true};

	apics_init(&a, 2, false);
	a.pic_vector = 0x20;
	assert_false(lapic_set_send(&a.set, &m)); /* software-disabled */
	apics_enable(&a);
	assert_true(lapic_set_send(&a.set, &m));
	assert_true(pending(&a, 1));
	assert_int_equal(accept(&a, 1), 0x20);
	assert_false(pending(&a, 1));
	apics_fini(&a);
}

static void pins(void **state)
{
	struct apics a;
	struct wire lint0, lint1;

	apics_init(&a, 2, false);
	lint0 = lapic_set_lint0(&a.set);
	lint1 = lapic_set_lint1(&a.set);
	wire_pulse(&lint1);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_NMI], 1);
	assert_int_equal(a.cpu[1].signals[CPU_SIG_NMI], 0); /* masked there */
	/* edge */
	wr(&a, 0, LVT(3), 0x35);
	wire_set(&lint0, true);
	wire_set(&lint0, true);
	assert_int_equal(accept(&a, 0), 0x35);
	wr(&a, 0, EOI, 0);
	assert_false(pending(&a, 0));
	wire_set(&lint0, false);
	/* level: delivered once, again after EOI while it lasts */
	wr(&a, 0, LVT(3), 0x18036);
	wire_set(&lint0, true);
	assert_false(pending(&a, 0));
	wr(&a, 0, LVT(3), 0x8036);
	assert_int_equal(rd(&a, 0, LVT(3)), 0xc036);
	assert_int_equal(accept(&a, 0), 0x36);
	wr(&a, 0, LVT(3), 0x8036);
	assert_false(pending(&a, 0));
	wr(&a, 0, EOI, 0);
	assert_int_equal(accept(&a, 0), 0x36);
	wire_set(&lint0, false);
	wr(&a, 0, EOI, 0);
	assert_int_equal(rd(&a, 0, LVT(3)), 0x8036);
	assert_false(pending(&a, 0));
	/* other modes */
	wr(&a, 0, LVT(3), 0x400);
	wire_pulse(&lint0);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_NMI], 2);
	wr(&a, 0, LVT(3), 0x500);
	wire_pulse(&lint0);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_INIT], 1);
	apics_fini(&a);
}

/* With the LAPIC switched off the pins are INTR and NMI of the boot CPU. */
static void hardware_disabled(void **state)
{
	struct apics a;
	struct wire lint0, lint1;

	apics_init(&a, 2, false);
	apics_enable(&a);
	lint0 = lapic_set_lint0(&a.set);
	lint1 = lapic_set_lint1(&a.set);
	a.pic_vector = 0x66;
	wr(&a, 0, TICR, 1000);
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(wrmsr(&a, n, MSR_APIC_BASE, 0xfee00000), 0);
	msi(&a, 0xfee00000, 0x70);
	msi(&a, 0xfee00000, 0x400);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_NMI], 0);
	assert_false(pending(&a, 0));
	wire_set(&lint0, true);
	wire_set(&lint1, true);
	assert_true(pending(&a, 0));
	assert_false(pending(&a, 1));
	assert_int_equal(accept(&a, 0), 0x66);
	assert_int_equal(a.cpu[0].signals[CPU_SIG_NMI], 1);
	assert_int_equal(rd(&a, 0, 0x30), 0); /* no registers there */
	wr(&a, 0, SVR, 0x1ff);
	assert_int_equal(wrmsr(&a, 0, MSR_APIC_BASE, 0xfee00900), 0);
	assert_int_equal(rd(&a, 0, SVR), 0xff);
	assert_int_equal(rd(&a, 0, LVT(3)), 0x10000);
	assert_false(pending(&a, 0));
	apics_fini(&a);
}

/* --- modes and MSRs --- */

static void base_msr(void **state)
{
	static const u64 off = 0xfee00000, on = 0xfee00800, x2 = 0xfee00c00;
	const struct {
		u64 from, to;
		int rc;
	} moves[] = {
	        {on, on, 0},
	        {on, off, 0},
	        {on, x2, 0},
	        {on, 0xfee00400, -1},
	        {off, off, 0},
	        {off, on, 0},
	        {off, x2, -1},
	        {off, 0xfee00400, -1},
	        {x2, x2, 0},
	        {x2, on, -1},
	        {x2, off, 0},
	        {x2, 0xfee00400, -1},
	};
	u64 val;

	for (unsigned n = 0; n < ARRAY_SIZE(moves); n++) {
		struct apics a;

		apics_init(&a, 2, moves[n].from == x2);
		assert_int_equal(wrmsr(&a, 1, MSR_APIC_BASE, moves[n].from), 0);
		assert_int_equal(wrmsr(&a, 1, MSR_APIC_BASE, moves[n].to), moves[n].rc);
		assert_int_equal(rdmsr(&a, 1, MSR_APIC_BASE, &val), 0);
		assert_true(val == (moves[n].rc ? moves[n].from : moves[n].to));
		/* reserved bits, also above the 40 of an address */
		assert_int_equal(wrmsr(&a, 1, MSR_APIC_BASE, val | 1), -1);
		assert_int_equal(wrmsr(&a, 1, MSR_APIC_BASE, val | 0x200), -1);
		assert_int_equal(wrmsr(&a, 1, MSR_APIC_BASE, val | 1ull << 40), -1);
		assert_int_equal(wrmsr(&a, 1, MSR_APIC_BASE, (val & 0xfff) | 0xab12345000), 0);
		apics_fini(&a);
	}
}

/* Which MSRs of 800..8ff may be read, and written with 0. */
static void x2_registers(void **state)
{
	struct apics a;
	u64 val;

	apics_init(&a, 1, true);
	for (u32 n = 0; n < 0x100; n++) {
		bool lvt = n >= 0x32 && n <= 0x37;
		bool readable = n == 2 || n == 3 || n == 8 || n == 0xa || n == 0xd || n == 0xf || lvt ||
		                (n >= 0x10 && n <= 0x28) || n == 0x30 || n == 0x38 || n == 0x39 || n == 0x3e;
		bool writable = n == 8 || n == 0xb || n == 0xf || n == 0x28 || n == 0x30 || lvt ||
		                n == 0x38 || n == 0x3e || n == 0x3f;

		if (rdmsr(&a, 0, 0x800 + n, &val) != (readable ? 0 : -1) ||
		        wrmsr(&a, 0, 0x800 + n, 0) != (writable ? 0 : -1))
			fail_msg("MSR %#x", 0x800 + n);
	}
	assert_int_equal(wrmsr(&a, 0, MSR_APIC_BASE, 0xfee00000), 0);
	assert_int_equal(rdmsr(&a, 0, 0x802, &val), -1); /* not in this mode */
	assert_int_equal(wrmsr(&a, 0, 0x808, 0), -1);
	assert_int_equal(rdmsr(&a, 0, 0x10, &val), -1); /* no business of ours */
	apics_fini(&a);
}

static void x2_reserved_bits(void **state)
{
	static const struct {
		u32 off;
		u64 legal;
	} regs[] = {
	        {TPR, 0xff},
	        {EOI, 0},
	        {SVR, 0x3ff},
	        {0x280, 0},
	        {LVT(0), 0x710ff},
	        {LVT(1), 0x117ff},
	        {LVT(2), 0x117ff},
	        {LVT(3), 0x1f7ff},
	        {LVT(4), 0x1f7ff},
	        {LVT(5), 0x110ff},
	        {TICR, 0xffffffff},
	        {TDCR, 0xb},
	        {0x3f0, 0xff},
	        {ICR_LOW, 0xffffffff000cdfff},
	};
	struct apics a;

	apics_init(&a, 1, true);
	for (unsigned n = 0; n < ARRAY_SIZE(regs); n++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			u64 val = 1ull << bit;

			if (wrmsr(&a, 0, X2(regs[n].off), val) != (regs[n].legal & val ? 0 : -1))
				fail_msg("register %#x bit %u", regs[n].off, bit);
		}
	}
	apics_fini(&a);
}

static void x2_mode(void **state)
{
	struct apics a;
	u64 val;

	apics_init(&a, 16, false);
	for (unsigned n = 0; n < 16; n++)
		assert_int_equal(wrmsr(&a, n, MSR_APIC_BASE, 0xfee00c00 | (n ? 0 : 0x100)), 0);
	apics_enable(&a);
	assert_int_equal(rd(&a, 3, 0x20), 0); /* the page is gone */
	assert_int_equal(rdmsr(&a, 15, 0x802, &val), 0);
	assert_int_equal(val, 15);
	assert_int_equal(rdmsr(&a, 15, 0x80d, &val), 0);
	assert_int_equal(val, 0x8000);
	assert_int_equal(wrmsr(&a, 0, 0x830, 15ull << 32 | 0x40), 0);
	assert_int_equal(takers(&a, 0x40), 0x8000);
	assert_int_equal(wrmsr(&a, 0, 0x830, 0xffull << 32 | 0x41), 0); /* nobody: broadcast is wider here */
	assert_int_equal(takers(&a, 0x41), 0);
	assert_int_equal(wrmsr(&a, 0, 0x830, 0xffffffffull << 32 | 0x42), 0);
	assert_int_equal(takers(&a, 0x42), 0xffff);
	assert_int_equal(wrmsr(&a, 0, 0x830, 0x0000a001ull << 32 | 0x843), 0);
	assert_int_equal(takers(&a, 0x43), 0xa001);
	assert_int_equal(wrmsr(&a, 0, 0x830, 0x0001ffffull << 32 | 0x844), 0); /* another cluster */
	assert_int_equal(takers(&a, 0x44), 0);
	assert_int_equal(rdmsr(&a, 0, 0x830, &val), 0);
	assert_true(val == (0x0001ffffull << 32 | 0x844));
	assert_int_equal(wrmsr(&a, 7, 0x83f, 0x45), 0);
	assert_int_equal(takers(&a, 0x45), 0x80);
	msi(&a, 0xfee05000, 0x46);
	assert_int_equal(takers(&a, 0x46), 0x20);
	msi(&a, 0xfee05004, 0x47); /* logical, cluster 0 */
	assert_int_equal(takers(&a, 0x47), 0x05);
	msi(&a, 0xfeeff000, 0x48);
	assert_int_equal(takers(&a, 0x48), 0xffff);
	/* INIT keeps the mode and the logical id */
	lapic_intc_ops.init(lapic_of(&a, 2));
	assert_int_equal(rdmsr(&a, 2, 0x80d, &val), 0);
	assert_int_equal(val, 4);
	apics_fini(&a);
}

/* An x2APIC's wide logical address does not hit a CPU in the old mode by its low bits. */
static void mixed_modes(void **state)
{
	struct apics a;

	apics_init(&a, 2, false);
	assert_int_equal(wrmsr(&a, 0, MSR_APIC_BASE, 0xfee00d00), 0);
	apics_enable(&a);
	wr(&a, 1, 0xd0, 0x01000000);
	assert_int_equal(wrmsr(&a, 0, 0x830, 0x00010001ull << 32 | 0x850), 0);
	assert_int_equal(takers(&a, 0x50), 0);
	assert_int_equal(wrmsr(&a, 0, 0x830, 1ull << 32 | 0x51), 0);
	assert_int_equal(takers(&a, 0x51), 0x2);
	apics_fini(&a);
}

/* --- threads --- */

#define SENDS 20000

static void *keep_sending(void *opaque)
{
	struct apics *a = opaque;

	for (unsigned n = 0; n < SENDS; n++)
		msi(a, 0xfee00000, 0x20 + n % 0xc0);
	return NULL;
}

/* Nothing that was sent is lost while the CPU takes and ends interrupts. */
static void sending_beside_taking(void **state)
{
	struct apics a;
	pthread_t thread;
	unsigned taken[256] = {0};
	bool done = false;

	apics_init(&a, 1, false);
	assert_int_equal(pthread_create(&thread, NULL, keep_sending, &a), 0);
	for (;;) {
		int v = accept(&a, 0);

		if (v >= 0) {
			taken[v]++;
			wr(&a, 0, EOI, 0);
		} else if (done) {
			break;
		} else if (rd(&a, 0, 0xa0) == 0 && pthread_tryjoin_np(thread, NULL) == 0) {
			done = true;
		}
	}
	for (unsigned n = 0; n < 256; n++)
		assert_true(
		        n >= 0x20 && n < 0xe0 ? taken[n] > 0 && taken[n] <= SENDS / 0xc0 + 1 : taken[n] == 0);
	apics_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(power_on),
	        cmocka_unit_test(config_limits),
	        cmocka_unit_test(priorities),
	        cmocka_unit_test(task_priority),
	        cmocka_unit_test(software_disabled),
	        cmocka_unit_test(errors),
	        cmocka_unit_test(odd_accesses),
	        cmocka_unit_test(level_eoi),
	        cmocka_unit_test(physical),
	        cmocka_unit_test(logical_flat),
	        cmocka_unit_test(logical_cluster),
	        cmocka_unit_test(lowest_priority),
	        cmocka_unit_test(start_up),
	        cmocka_unit_test(init_state),
	        cmocka_unit_test(message_signalled),
	        cmocka_unit_test(virtual_wire),
	        cmocka_unit_test(extint_message),
	        cmocka_unit_test(pins),
	        cmocka_unit_test(hardware_disabled),
	        cmocka_unit_test(base_msr),
	        cmocka_unit_test(x2_registers),
	        cmocka_unit_test(x2_reserved_bits),
	        cmocka_unit_test(x2_mode),
	        cmocka_unit_test(mixed_modes),
	        cmocka_unit_test(sending_beside_taking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
