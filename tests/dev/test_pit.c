/* The 8254 and port 61h on a bus. Time is moved in ticks of the chip. */
#include "bench.h"
#include "dev/i8254.h"

struct fix {
	struct bench b;
	struct i8254 pit;
	struct probe irq0;
};

/* Moves the clock to the first ns of the n-th tick from the present one. */
static unsigned ticks(struct fix *f, u64 n)
{
	u64 now = bench_now(&f->b), tick = mul_div(now, I8254_HZ, NS_PER_SEC) + n;
	u64 ns = (u64)(((u128)tick * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ);

	return bench_advance(&f->b, ns - now);
}

static int setup(void **state)
{
	static struct fix f;

	memset(&f, 0, sizeof(f));
	bench_init(&f.b, 12345678);
	assert_int_equal(i8254_init(&f.pit, &(struct i8254_config){.ports = &f.b.ports,
	                                            .timers = &f.b.timers,
	                                            .irq0 = probe_wire(&f.irq0)}),
	        0);
	ticks(&f, 1);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	i8254_fini(&f->pit);
	bench_fini(&f->b);
	return 0;
}

static void program(struct fix *f, unsigned ch, unsigned mode, u16 count)
{
	out8(&f->b, 0x43, (u8)(ch << 6 | 0x30 | mode << 1));
	out8(&f->b, (u16)(0x40 + ch), (u8)count);
	out8(&f->b, (u16)(0x40 + ch), (u8)(count >> 8));
}

static u16 latched(struct fix *f, unsigned ch)
{
	u8 low;

	out8(&f->b, 0x43, (u8)(ch << 6));
	low = in8(&f->b, (u16)(0x40 + ch));
	return (u16)(low | in8(&f->b, (u16)(0x40 + ch)) << 8);
}

static u8 status(struct fix *f, unsigned ch)
{
	out8(&f->b, 0x43, (u8)(0xe0 | 2 << ch));
	return in8(&f->b, (u16)(0x40 + ch));
}

static bool out2(struct fix *f)
{
	return in8(&f->b, 0x61) & 0x20;
}

static void mode0(void **state)
{
	struct fix *f = *state;

	program(f, 0, 0, 1000);
	assert_false(f->irq0.level);
	ticks(f, 1); /* loaded */
	assert_int_equal(latched(f, 0), 1000);
	ticks(f, 999);
	assert_int_equal(latched(f, 0), 1);
	assert_false(f->irq0.level);
	assert_int_equal(ticks(f, 1), 1);
	assert_true(f->irq0.level);
	assert_int_equal(latched(f, 0), 0);
	ticks(f, 1);
	assert_int_equal(latched(f, 0), 0xffff);
	assert_true(bench_idle(&f->b)); /* once */
	/* The first byte of a new count lowers OUT and stops. */
	out8(&f->b, 0x40, 0);
	assert_false(f->irq0.level);
	out8(&f->b, 0x40, 0); /* 65536 */
	ticks(f, 65536);
	assert_false(f->irq0.level);
	ticks(f, 1);
	assert_true(f->irq0.level);
	assert_int_equal(f->irq0.rises, 2);
}

static void mode2_rate(void **state)
{
	struct fix *f = *state;
	unsigned wakes;

	program(f, 0, 2, 11932); /* 100 Hz */
	assert_true(f->irq0.level);
	f->irq0.rises = 0;
	wakes = bench_advance(&f->b, NS_PER_SEC + NS_PER_MS);
	assert_int_equal(f->irq0.rises, 100);
	assert_int_equal(wakes, 100);
	/* The host was away for 50 periods: one interrupt, and the phase is kept. */
	__atomic_store_n(&f->b.clock.ns, bench_now(&f->b) + 500 * NS_PER_MS, __ATOMIC_SEQ_CST);
	timerq_run(&f->b.timers);
	assert_int_equal(f->irq0.rises, 101);
	bench_advance(&f->b, 500 * NS_PER_MS);
	assert_int_equal(f->irq0.rises, 151);
}

static void mode2_count_and_out(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x61, 1);
	program(f, 2, 2, 5);
	ticks(f, 1);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(latched(f, 2), 5 - i % 5);
		assert_int_equal(out2(f), i % 5 != 4);
		ticks(f, 1);
	}
	/* At 2 of the third period: a new count waits for the end of the period. */
	assert_int_equal(latched(f, 2), 3);
	out8(&f->b, 0x42, 10);
	out8(&f->b, 0x42, 0);
	assert_true(status(f, 2) & 0x40); /* null count */
	ticks(f, 2);
	assert_int_equal(latched(f, 2), 1);
	ticks(f, 1);
	assert_int_equal(latched(f, 2), 10);
	assert_false(status(f, 2) & 0x40);
	/* Gate low: OUT high, stops; gate high: from the start. */
	ticks(f, 9);
	assert_false(out2(f));
	out8(&f->b, 0x61, 0);
	assert_true(out2(f));
	ticks(f, 100);
	out8(&f->b, 0x61, 1);
	ticks(f, 1);
	assert_int_equal(latched(f, 2), 10);
}

static void mode3_square(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x61, 1);
	program(f, 2, 3, 6);
	ticks(f, 1);
	for (unsigned i = 0; i < 14; i++) {
		static const u8 count[6] = {6, 4, 2, 6, 4, 2};

		assert_int_equal(latched(f, 2), count[i % 6]);
		assert_int_equal(out2(f), i % 6 < 3);
		ticks(f, 1);
	}
	program(f, 2, 3, 5);
	ticks(f, 1);
	for (unsigned i = 0; i < 11; i++) {
		static const u8 count[5] = {4, 2, 0, 4, 2};

		assert_int_equal(latched(f, 2), count[i % 5]);
		assert_int_equal(out2(f), i % 5 < 3);
		ticks(f, 1);
	}
	/* A new count comes with the next half. */
	program(f, 2, 3, 100);
	ticks(f, 1 + 10);
	out8(&f->b, 0x42, 20);
	out8(&f->b, 0x42, 0);
	ticks(f, 39);
	assert_true(out2(f));
	ticks(f, 1);
	assert_false(out2(f)); /* low half of 20 */
	ticks(f, 9);
	assert_false(out2(f));
	ticks(f, 1);
	assert_true(out2(f));
	ticks(f, 10);
	assert_false(out2(f));
}

static void mode3_irq_reload(void **state)
{
	struct fix *f = *state;

	program(f, 0, 3, 1000);
	ticks(f, 1 + 100);
	f->irq0.rises = 0;
	out8(&f->b, 0x40, 200);
	out8(&f->b, 0x40, 0);
	ticks(f, 400 + 99); /* half of 1000 ends at 500, then 100 low */
	assert_int_equal(f->irq0.rises, 0);
	ticks(f, 1);
	assert_int_equal(f->irq0.rises, 1);
	ticks(f, 2000);
	assert_int_equal(f->irq0.rises, 11);
}

static void mode1_and_5(void **state)
{
	struct fix *f = *state;

	program(f, 2, 1, 4);
	assert_true(out2(f));
	ticks(f, 100);
	assert_true(out2(f));
	out8(&f->b, 0x61, 1); /* trigger */
	ticks(f, 1);
	assert_false(out2(f));
	ticks(f, 3);
	assert_false(out2(f));
	out8(&f->b, 0x61, 0); /* the gate's fall does nothing, its rise starts anew */
	out8(&f->b, 0x61, 1);
	ticks(f, 4);
	assert_false(out2(f));
	ticks(f, 1);
	assert_true(out2(f));

	out8(&f->b, 0x61, 0);
	program(f, 2, 5, 3);
	out8(&f->b, 0x61, 1);
	ticks(f, 1);
	assert_true(out2(f));
	ticks(f, 3);
	assert_false(out2(f));
	ticks(f, 1);
	assert_true(out2(f));
}

static void mode4_strobe(void **state)
{
	struct fix *f = *state;

	program(f, 0, 4, 50);
	assert_true(f->irq0.level);
	f->irq0.rises = 0;
	ticks(f, 51);
	assert_int_equal(f->irq0.rises, 0);
	assert_false(status(f, 0) & 0x80);
	ticks(f, 1);
	assert_int_equal(f->irq0.rises, 1);
	assert_true(status(f, 0) & 0x80);
	assert_true(bench_idle(&f->b));
}

static void gate_pauses_mode0(void **state)
{
	struct fix *f = *state;

	/* As kernels calibrate: gate off, program, gate on, wait for OUT. */
	out8(&f->b, 0x61, 0);
	program(f, 2, 0, 1000);
	ticks(f, 5000);
	assert_false(out2(f));
	assert_int_equal(latched(f, 2), 1000);
	out8(&f->b, 0x61, 1);
	ticks(f, 400);
	assert_int_equal(latched(f, 2), 600);
	out8(&f->b, 0x61, 0);
	ticks(f, 400);
	assert_int_equal(latched(f, 2), 600);
	out8(&f->b, 0x61, 1);
	ticks(f, 599);
	assert_false(out2(f));
	ticks(f, 1);
	assert_true(out2(f));
	assert_true(bench_idle(&f->b)); /* nobody waits for channel 2 but the guest */
}

static void bcd(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x43, 0x31); /* channel 0, mode 0, BCD */
	out8(&f->b, 0x40, 0x34);
	out8(&f->b, 0x40, 0x12);
	ticks(f, 1);
	assert_int_equal(latched(f, 0), 0x1234);
	ticks(f, 35);
	assert_int_equal(latched(f, 0), 0x1199);
	ticks(f, 1199);
	assert_true(f->irq0.level);
	ticks(f, 1);
	assert_int_equal(latched(f, 0), 0x9999);
}

static void access_and_latches(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x43, 0x14); /* low byte only, mode 2 */
	out8(&f->b, 0x40, 200);
	ticks(f, 1 + 50);
	assert_int_equal(in8(&f->b, 0x40), 150);
	assert_int_equal(in8(&f->b, 0x40), 150);
	out8(&f->b, 0x43, 0x24); /* high byte only */
	out8(&f->b, 0x40, 2);
	ticks(f, 1);
	assert_int_equal(in8(&f->b, 0x40), 2);
	ticks(f, 1);
	assert_int_equal(in8(&f->b, 0x40), 1);

	/* Latched status comes before the latched count; a second latch is ignored. */
	program(f, 0, 2, 0x1234);
	ticks(f, 1);
	out8(&f->b, 0x43, 0xc2);
	ticks(f, 16);
	out8(&f->b, 0x43, 0xc2);
	assert_int_equal(in8(&f->b, 0x40), 0xb4);
	assert_int_equal(in8(&f->b, 0x40), 0x34);
	assert_int_equal(in8(&f->b, 0x40), 0x12);
	assert_int_equal(in8(&f->b, 0x40), 0x24); /* live again */
}

static void port61(void **state)
{
	struct fix *f = *state;
	unsigned toggles = 0;
	u8 last;

	out8(&f->b, 0x61, 0xff);
	assert_int_equal(in8(&f->b, 0x61) & 0xcf, 0x0f);
	out8(&f->b, 0x61, 0);
	assert_int_equal(in8(&f->b, 0x61) & 0xcf, 0);
	last = in8(&f->b, 0x61) & 0x10;
	for (unsigned i = 0; i < 1000; i++) {
		u8 now;

		bench_advance(&f->b, NS_PER_US);
		now = in8(&f->b, 0x61) & 0x10;
		toggles += now != last;
		last = now;
	}
	assert_in_range(toggles, 65, 67); /* each 15.085 us */
}

static void no_flood(void **state)
{
	struct fix *f = *state;

	for (u16 count = 1; count < 24; count++) {
		for (unsigned mode = 2; mode <= 3; mode++) {
			program(f, 0, mode, count);
			f->irq0.rises = 0;
			assert_true(bench_advance(&f->b, 10 * NS_PER_MS) <= 501);
			assert_true(f->irq0.rises >= 230); /* yet it does tick */
		}
	}
}

static void legacy_replacement(void **state)
{
	struct fix *f = *state;

	program(f, 0, 2, 1000);
	i8254_connect_irq(&f->pit, false);
	assert_false(f->irq0.level);
	f->irq0.rises = 0;
	assert_true(bench_idle(&f->b));
	program(f, 0, 2, 1000);
	ticks(f, 100000);
	assert_int_equal(f->irq0.rises, 0);
	i8254_connect_irq(&f->pit, true);
	f->irq0.rises = 0;
	ticks(f, 10000);
	assert_int_equal(f->irq0.rises, 10);
}

static void reset_is_idle(void **state)
{
	struct fix *f = *state;

	program(f, 0, 3, 100);
	out8(&f->b, 0x61, 3);
	i8254_reset(&f->pit);
	assert_true(bench_idle(&f->b));
	assert_false(f->irq0.level);
	assert_int_equal(in8(&f->b, 0x61) & 0x0f, 0);
}

static void sweep(void **state)
{
	struct fix *f = *state;

	for (unsigned word = 0; word < 256; word++) {
		out8(&f->b, 0x43, (u8)word);
		bench_sweep(&f->b.ports, 0x40, 3);
		bench_sweep(&f->b.ports, 0x61, 1);
		bench_advance(&f->b, word * NS_PER_US);
	}
	program(f, 0, 0, 100);
	f->irq0.rises = 0;
	ticks(f, 101);
	assert_int_equal(f->irq0.rises, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(mode0, setup, teardown),
	        cmocka_unit_test_setup_teardown(mode2_rate, setup, teardown),
	        cmocka_unit_test_setup_teardown(mode2_count_and_out, setup, teardown),
	        cmocka_unit_test_setup_teardown(mode3_square, setup, teardown),
	        cmocka_unit_test_setup_teardown(mode3_irq_reload, setup, teardown),
	        cmocka_unit_test_setup_teardown(mode1_and_5, setup, teardown),
	        cmocka_unit_test_setup_teardown(mode4_strobe, setup, teardown),
	        cmocka_unit_test_setup_teardown(gate_pauses_mode0, setup, teardown),
	        cmocka_unit_test_setup_teardown(bcd, setup, teardown),
	        cmocka_unit_test_setup_teardown(access_and_latches, setup, teardown),
	        cmocka_unit_test_setup_teardown(port61, setup, teardown),
	        cmocka_unit_test_setup_teardown(no_flood, setup, teardown),
	        cmocka_unit_test_setup_teardown(legacy_replacement, setup, teardown),
	        cmocka_unit_test_setup_teardown(reset_is_idle, setup, teardown),
	        cmocka_unit_test_setup_teardown(sweep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
