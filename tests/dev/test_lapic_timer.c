/*
 * The LAPIC's timer on a clock moved by hand: one-shot, periodic, divider, TSC deadline, mode changes,
 * and how often a hostile guest can wake the host.
 */
#include "apics.h"

#define START 1000000 /* of the bench's clock; the guest TSC counts the same here */
#define US 1000ull
#define MS 1000000ull

static void init(struct apics *a)
{
	apics_init(a, 1, false);
	wr(a, 0, TDCR, 0xb); /* divide by 1 */
}

static bool took(struct apics *a, u8 vector)
{
	return takers(a, vector) == 1;
}

static void one_shot(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x40);
	assert_int_equal(rd(&a, 0, TCCR), 0);
	wr(&a, 0, TICR, 5000);
	assert_int_equal(rd(&a, 0, TICR), 5000);
	assert_int_equal(rd(&a, 0, TCCR), 5000);
	assert_int_equal(bench_advance(&a.b, 4999), 0);
	assert_int_equal(rd(&a, 0, TCCR), 1);
	assert_false(pending(&a, 0));
	assert_int_equal(bench_advance(&a.b, 1), 1);
	assert_int_equal(rd(&a, 0, TCCR), 0);
	assert_true(took(&a, 0x40));
	assert_true(bench_idle(&a.b));
	bench_advance(&a.b, 100 * MS);
	assert_false(pending(&a, 0));
	/* TCCR is read-only; 0 stops */
	wr(&a, 0, TICR, 1000);
	wr(&a, 0, TCCR, 5);
	assert_int_equal(rd(&a, 0, TCCR), 1000);
	wr(&a, 0, TICR, 0);
	assert_true(bench_idle(&a.b));
	assert_int_equal(rd(&a, 0, TCCR), 0);
	apics_fini(&a);
}

static void restart(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x40);
	wr(&a, 0, TICR, 5000);
	bench_advance(&a.b, 3000);
	wr(&a, 0, TICR, 10000);
	bench_advance(&a.b, 9999);
	assert_false(pending(&a, 0));
	bench_advance(&a.b, 1);
	assert_true(took(&a, 0x40));
	apics_fini(&a);
}

static void periodic(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x20040);
	wr(&a, 0, TICR, MS);
	for (unsigned n = 0; n < 5; n++) {
		bench_advance(&a.b, MS - 1);
		assert_int_equal(rd(&a, 0, TCCR), 1);
		assert_false(pending(&a, 0));
		bench_advance(&a.b, 1);
		assert_true(took(&a, 0x40));
		assert_int_equal(rd(&a, 0, TCCR), MS);
	}
	/* A late host: one interrupt for all that was missed, and the phase is kept. */
	a.b.clock.ns += 7 * MS + 300 * US;
	timerq_run(&a.b.timers);
	assert_true(took(&a, 0x40));
	assert_false(pending(&a, 0));
	assert_int_equal(rd(&a, 0, TCCR), 700 * US);
	assert_true(timerq_next(&a.b.timers) == START + 13 * MS);
	/* masked: it counts without interrupts */
	wr(&a, 0, LVT(0), 0x30040);
	bench_advance(&a.b, 3 * MS);
	assert_false(pending(&a, 0));
	wr(&a, 0, LVT(0), 0x20040);
	bench_advance(&a.b, MS);
	assert_true(took(&a, 0x40));
	apics_fini(&a);
}

/* Between one-shot and periodic the count goes on. */
static void mode_change(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x40);
	wr(&a, 0, TICR, MS);
	bench_advance(&a.b, 400 * US);
	wr(&a, 0, LVT(0), 0x20041);
	assert_int_equal(rd(&a, 0, TCCR), 600 * US);
	bench_advance(&a.b, 600 * US);
	assert_true(took(&a, 0x41));
	bench_advance(&a.b, MS);
	assert_true(took(&a, 0x41));
	wr(&a, 0, LVT(0), 0x42);
	bench_advance(&a.b, MS);
	assert_true(took(&a, 0x42));
	assert_true(bench_idle(&a.b));
	/* an ended count does not come back by a change of mode */
	wr(&a, 0, LVT(0), 0x20042);
	assert_int_equal(rd(&a, 0, TCCR), 0);
	assert_true(bench_idle(&a.b));
	apics_fini(&a);
}

static void divider(void **state)
{
	static const struct {
		u8 code, by;
	} codes[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};

	for (unsigned n = 0; n < ARRAY_SIZE(codes); n++) {
		struct apics a;

		init(&a);
		wr(&a, 0, TDCR, 0xfffffff4u | codes[n].code);
		assert_int_equal(rd(&a, 0, TDCR), codes[n].code);
		wr(&a, 0, LVT(0), 0x40);
		wr(&a, 0, TICR, 1000);
		bench_advance(&a.b, 1000ull * codes[n].by - 1);
		assert_int_equal(rd(&a, 0, TCCR), 1);
		assert_false(pending(&a, 0));
		bench_advance(&a.b, 1);
		assert_true(took(&a, 0x40));
		apics_fini(&a);
	}
}

static void divider_on_the_way(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x20040);
	wr(&a, 0, TICR, MS);
	bench_advance(&a.b, 250 * US);
	wr(&a, 0, TDCR, 0); /* by 2 */
	assert_int_equal(rd(&a, 0, TCCR), 750 * US);
	bench_advance(&a.b, 1500 * US - 1);
	assert_false(pending(&a, 0));
	bench_advance(&a.b, 1);
	assert_true(took(&a, 0x40));
	bench_advance(&a.b, 2 * MS);
	assert_true(took(&a, 0x40));
	assert_int_equal(rd(&a, 0, TCCR), MS);
	/* the longest count, at the beginning of time */
	wr(&a, 0, LVT(0), 0x40);
	wr(&a, 0, TICR, 0xffffffff);
	wr(&a, 0, TDCR, 10);
	assert_int_equal(rd(&a, 0, TCCR), 0xffffffff);
	assert_true(timerq_next(&a.b.timers) == bench_now(&a.b) + 0xffffffffull * 128);
	apics_fini(&a);
}

static void illegal_vector(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x05);
	wr(&a, 0, TICR, 1000);
	bench_advance(&a.b, 2000);
	assert_false(pending(&a, 0));
	wr(&a, 0, 0x280, 0);
	assert_int_equal(rd(&a, 0, 0x280), 0x40);
	apics_fini(&a);
}

/* --- TSC deadline --- */

static u64 deadline(struct apics *a)
{
	u64 val;

	assert_int_equal(rdmsr(a, 0, MSR_TSC_DEADLINE, &val), 0);
	return val;
}

static void set_deadline(struct apics *a, u64 tsc)
{
	assert_int_equal(wrmsr(a, 0, MSR_TSC_DEADLINE, tsc), 0);
}

static void tsc_deadline(void **state)
{
	struct apics a;

	init(&a);
	set_deadline(&a, START + 1000); /* not this mode: ignored */
	assert_true(deadline(&a) == 0 && bench_idle(&a.b));
	wr(&a, 0, LVT(0), 0x40050);
	wr(&a, 0, TICR, 1000); /* ignored too */
	assert_int_equal(rd(&a, 0, TCCR), 0);
	assert_true(bench_idle(&a.b));
	set_deadline(&a, START + 5000);
	assert_true(deadline(&a) == START + 5000);
	bench_advance(&a.b, 4999);
	assert_false(pending(&a, 0));
	bench_advance(&a.b, 2);
	assert_true(took(&a, 0x50));
	assert_true(deadline(&a) == 0 && bench_idle(&a.b));
	/* passed already: at once, without the host's timers */
	set_deadline(&a, 17);
	assert_true(took(&a, 0x50));
	assert_true(deadline(&a) == 0 && bench_idle(&a.b));
	/* 0 disarms */
	set_deadline(&a, START + MS);
	set_deadline(&a, 0);
	assert_true(bench_idle(&a.b));
	/* the end of time does not wrap */
	set_deadline(&a, UINT64_MAX);
	bench_advance(&a.b, MS);
	assert_false(pending(&a, 0));
	/* leaving the mode disarms */
	set_deadline(&a, START + 10 * MS);
	wr(&a, 0, LVT(0), 0x50);
	assert_true(deadline(&a) == 0 && bench_idle(&a.b));
	apics_fini(&a);
}

static void masked_deadline(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x50050);
	set_deadline(&a, START + 5000);
	bench_advance(&a.b, 6000);
	assert_false(pending(&a, 0));
	assert_true(deadline(&a) == 0);
	apics_fini(&a);
}

static void deadline_and_moved_tsc(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x40050);
	set_deadline(&a, START + MS);
	lapic_intc_ops.tsc_moved(lapic_of(&a, 0), -(u64)(500 * US)); /* the guest set its TSC back */
	bench_advance(&a.b, MS + 1);
	assert_false(pending(&a, 0));
	bench_advance(&a.b, 500 * US);
	assert_true(took(&a, 0x50));
	set_deadline(&a, START + 10 * MS);
	lapic_intc_ops.tsc_moved(lapic_of(&a, 0), 20 * MS); /* and beyond the deadline */
	assert_true(took(&a, 0x50));
	apics_fini(&a);
}

/* A real host TSC: the deadline is reached neither early by the guest's TSC nor much too late. */
static void real_tsc(void **state)
{
	struct clock_tsc host;
	struct timerq q;
	struct lapic_set set;
	struct lapic_set_config c = {.count = 1, .clock = &host, .timers = &q};
	struct lapic *l = &set.lapic[0];
	u64 when;

	clock_tsc_init(&host);
	assert_int_equal(timerq_init(&q, &host.clock), 0);
	assert_int_equal(lapic_set_init(&set, &c), 0);
	lapic_intc_ops.mmio_write(l, LVT(0), 4, 0x40050);
	for (unsigned n = 0; n < 50; n++) {
		when = __builtin_ia32_rdtsc() - host.tsc0 + host.tsc_hz / 20000;
		assert_int_equal(lapic_intc_ops.msr_write(l, MSR_TSC_DEADLINE, when), 0);
		while (!lapic_intc_ops.pending(l))
			timerq_run(&q);
		assert_true(__builtin_ia32_rdtsc() - host.tsc0 >= when);
		assert_int_equal(lapic_intc_ops.accept(l), 0x50);
		lapic_intc_ops.mmio_write(l, EOI, 4, 0);
	}
	lapic_set_fini(&set);
	timerq_fini(&q);
}

/* --- hostile programming --- */

static void wake_up_limit(void **state)
{
	struct apics a;

	init(&a);
	wr(&a, 0, LVT(0), 0x20040);
	wr(&a, 0, TICR, 1);
	assert_true(bench_advance(&a.b, 10 * MS) <= 101);
	/* a one-shot count made periodic on its way */
	wr(&a, 0, TICR, 0);
	wr(&a, 0, LVT(0), 0x40);
	wr(&a, 0, TICR, 1);
	wr(&a, 0, LVT(0), 0x20040);
	assert_true(bench_advance(&a.b, 10 * MS) <= 102);
	wr(&a, 0, TDCR, 0);
	wr(&a, 0, TDCR, 0xb);
	assert_true(bench_advance(&a.b, 10 * MS) <= 102);
	apics_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(one_shot),
	        cmocka_unit_test(restart),
	        cmocka_unit_test(periodic),
	        cmocka_unit_test(mode_change),
	        cmocka_unit_test(divider),
	        cmocka_unit_test(divider_on_the_way),
	        cmocka_unit_test(illegal_vector),
	        cmocka_unit_test(tsc_deadline),
	        cmocka_unit_test(masked_deadline),
	        cmocka_unit_test(deadline_and_moved_tsc),
	        cmocka_unit_test(real_tsc),
	        cmocka_unit_test(wake_up_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
