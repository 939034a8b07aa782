/* The MC146818A on a bus. */
#include "bench.h"
#include "dev/mc146818.h"

#include <stdlib.h>
#include <time.h>

struct fix {
	struct bench b;
	struct mc146818 rtc;
	struct probe irq8;
};

/* 2024-02-28 (a Wednesday) 23:59:50.25 UTC */
#define START_SEC 1709164790ull

static u64 start_wall(void)
{
	return START_SEC * NS_PER_SEC + 250 * NS_PER_MS;
}

static void init(struct fix *f, u64 low, u64 high)
{
	memset(f, 0, sizeof(*f));
	bench_init(&f->b, 77 * NS_PER_MS); /* earlier than the second's start: base_ns wraps */
	assert_int_equal(mc146818_init(&f->rtc, &(struct mc146818_config){.ports = &f->b.ports,
	                                                .timers = &f->b.timers,
	                                                .irq8 = probe_wire(&f->irq8),
	                                                .wall_ns = start_wall,
	                                                .utc = true,
	                                                .low_mem = low,
	                                                .high_mem = high}),
	        0);
}

static int setup(void **state)
{
	static struct fix f;

	init(&f, 3 * GiB, 5 * GiB);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	mc146818_fini(&f->rtc);
	bench_fini(&f->b);
	return 0;
}

static u8 rd(struct fix *f, u8 index)
{
	out8(&f->b, 0x70, index);
	return in8(&f->b, 0x71);
}

static void wr(struct fix *f, u8 index, u8 val)
{
	out8(&f->b, 0x70, index);
	out8(&f->b, 0x71, val);
}

static void assert_time(struct fix *f, const u8 *want)
{
	static const u8 index[] = {0x32, 9, 8, 7, 4, 2, 0};

	for (unsigned i = 0; i < ARRAY_SIZE(index); i++)
		assert_int_equal(rd(f, index[i]), want[i]);
}

#define TIME(...) ((const u8[7]){__VA_ARGS__})

static void runs_in_bcd(void **state)
{
	struct fix *f = *state;

	assert_time(f, TIME(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x50));
	assert_int_equal(rd(f, 6), 4);
	bench_advance(&f->b, 749 * NS_PER_MS);
	assert_int_equal(rd(f, 0), 0x50);
	bench_advance(&f->b, NS_PER_MS);
	assert_int_equal(rd(f, 0), 0x51);
	bench_advance(&f->b, 9 * NS_PER_SEC);
	assert_time(f, TIME(0x20, 0x24, 0x02, 0x29, 0, 0, 0)); /* leap year */
	assert_int_equal(rd(f, 6), 5);
	bench_advance(&f->b, 86400 * NS_PER_SEC);
	assert_time(f, TIME(0x20, 0x24, 0x03, 0x01, 0, 0, 0));
	assert_int_equal(rd(f, 13), 0x80);
	assert_true(bench_idle(&f->b));
}

/* The machine stood still for two days, this chip did not: time, and the alarm that fell into them. */
static void goes_on_alone(void **state)
{
	struct fix *f = *state;

	wr(f, 5, 0x23);
	wr(f, 3, 0x30);
	wr(f, 1, 0x00);
	mc146818_skip(&f->rtc, (2 * 86400 + 10) * NS_PER_SEC);
	assert_time(f, TIME(0x20, 0x24, 0x03, 0x02, 0, 0, 0));
	assert_int_equal(rd(f, 12) & 0x30, 0x30);
	bench_advance(&f->b, 750 * NS_PER_MS);
	assert_int_equal(rd(f, 0), 0x01);
	wr(f, 11, 0x82); /* it is being set: it stands */
	mc146818_skip(&f->rtc, 100 * NS_PER_SEC);
	assert_int_equal(rd(f, 0), 0x01);
}

static void formats(void **state)
{
	struct fix *f = *state;

	wr(f, 11, 0x06); /* binary, 24 h */
	assert_time(f, TIME(20, 24, 2, 28, 23, 59, 50));
	wr(f, 11, 0x04); /* binary, 12 h */
	assert_int_equal(rd(f, 4), 0x80 | 11);
	wr(f, 11, 0x00); /* BCD, 12 h */
	assert_int_equal(rd(f, 4), 0x91);
	bench_advance(&f->b, 10 * NS_PER_SEC); /* midnight */
	assert_int_equal(rd(f, 4), 0x12);
	bench_advance(&f->b, 12 * 3600 * NS_PER_SEC);
	assert_int_equal(rd(f, 4), 0x92); /* noon */
}

static void set_time(struct fix *f, const u8 *t)
{
	static const u8 index[] = {0x32, 9, 8, 7, 4, 2, 0};

	for (unsigned i = 0; i < ARRAY_SIZE(index); i++)
		wr(f, index[i], t[i]);
}

static void guest_sets_time(void **state)
{
	struct fix *f = *state;

	/* The phase of the second stays: 250 ms are gone, 750 to come. */
	wr(f, 11, 0x82);
	bench_advance(&f->b, 5 * NS_PER_SEC);
	assert_int_equal(rd(f, 0), 0x50); /* frozen */
	set_time(f, TIME(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59));
	wr(f, 6, 6);
	wr(f, 11, 0x02);
	assert_time(f, TIME(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59));
	bench_advance(&f->b, 750 * NS_PER_MS);
	assert_time(f, TIME(0x20, 0x00, 0x01, 0x01, 0, 0, 0));
	assert_int_equal(rd(f, 6), 7);
	/* Without SET, byte by byte. */
	wr(f, 2, 0x30);
	assert_time(f, TIME(0x20, 0x00, 0x01, 0x01, 0, 0x30, 0));
	mc146818_reset(&f->rtc);
	assert_time(f, TIME(0x20, 0x00, 0x01, 0x01, 0, 0x30, 0));
}

static void weekday_is_the_guests(void **state)
{
	struct fix *f = *state;

	wr(f, 6, 1);
	assert_int_equal(rd(f, 6), 1);
	bench_advance(&f->b, 86400 * NS_PER_SEC);
	assert_int_equal(rd(f, 6), 2);
}

static void divider_reset(void **state)
{
	struct fix *f = *state;

	/* As Linux sets the clock: after the divider's release the first update takes 500 ms. */
	wr(f, 11, 0x82);
	wr(f, 10, 0x76);
	set_time(f, TIME(0x20, 0x30, 0x06, 0x15, 0x12, 0x34, 0x56));
	wr(f, 11, 0x02);
	bench_advance(&f->b, 3 * NS_PER_SEC);
	assert_int_equal(rd(f, 0), 0x56);
	wr(f, 10, 0x26);
	bench_advance(&f->b, 499 * NS_PER_MS);
	assert_int_equal(rd(f, 0), 0x56);
	bench_advance(&f->b, NS_PER_MS);
	assert_time(f, TIME(0x20, 0x30, 0x06, 0x15, 0x12, 0x34, 0x57));
}

static void update_in_progress(void **state)
{
	struct fix *f = *state;
	u64 until = 750 * NS_PER_MS;

	assert_int_equal(rd(f, 10), 0x26);
	bench_advance(&f->b, until - 2229 * NS_PER_US);
	assert_int_equal(rd(f, 10), 0x26);
	bench_advance(&f->b, NS_PER_US);
	assert_int_equal(rd(f, 10), 0xa6);
	bench_advance(&f->b, 2227 * NS_PER_US);
	assert_int_equal(rd(f, 10), 0xa6);
	assert_int_equal(rd(f, 0), 0x50);
	bench_advance(&f->b, NS_PER_US);
	assert_int_equal(rd(f, 10), 0x26);
	assert_int_equal(rd(f, 0), 0x51);
	wr(f, 11, 0x82); /* never while frozen */
	bench_advance(&f->b, 999 * NS_PER_MS);
	assert_int_equal(rd(f, 10), 0x26);
}

static void update_ended(void **state)
{
	struct fix *f = *state;

	wr(f, 10, 0x20); /* no periodic flag */
	wr(f, 1, 0x77);  /* and no alarm at midnight */
	bench_advance(&f->b, 2 * NS_PER_SEC);
	assert_int_equal(rd(f, 12), 0x10); /* the flag rises without its enable, IRQF does not */
	assert_int_equal(rd(f, 12), 0);
	wr(f, 11, 0x12);
	assert_int_equal(bench_advance(&f->b, 5 * NS_PER_SEC), 1); /* one wake-up until register C is read */
	assert_true(f->irq8.level);
	assert_int_equal(rd(f, 12), 0x90);
	assert_false(f->irq8.level);
	f->irq8.rises = 0;
	for (unsigned i = 0; i < 10; i++) {
		bench_advance(&f->b, NS_PER_SEC);
		assert_int_equal(rd(f, 12), 0x90);
	}
	assert_int_equal(f->irq8.rises, 10);
	wr(f, 11, 0x92); /* SET takes UIE back */
	assert_int_equal(rd(f, 11), 0x82);
	assert_true(bench_idle(&f->b));
}

static void periodic(void **state)
{
	static const u16 hz[16] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
	struct fix *f = *state;

	for (u8 rs = 0; rs < 16; rs++) {
		unsigned n = 0;
		u64 end;

		wr(f, 10, 0x20 | rs);
		wr(f, 11, 0x42);
		rd(f, 12);
		if (!rs) {
			assert_true(bench_idle(&f->b));
			continue;
		}
		end = bench_now(&f->b) + NS_PER_SEC;
		while (timerq_next(&f->b.timers) <= end) {
			bench_advance(&f->b, timerq_next(&f->b.timers) - bench_now(&f->b));
			assert_true(f->irq8.level);
			assert_int_equal(rd(f, 12) & 0xc0, 0xc0);
			n++;
		}
		assert_in_range(n, hz[rs] - 1, hz[rs] + 1);
		bench_advance(&f->b, end - bench_now(&f->b));
	}
	wr(f, 11, 0x02);
	rd(f, 12);
	assert_true(bench_idle(&f->b));
	/* Polling works without the enable. */
	bench_advance(&f->b, NS_PER_SEC);
	assert_true(rd(f, 12) & 0x40);
}

static void alarm_24h(void **state)
{
	struct fix *f = *state;

	wr(f, 1, 0x05);
	wr(f, 3, 0x00);
	wr(f, 5, 0x00);
	wr(f, 11, 0x22);
	rd(f, 12);
	bench_advance(&f->b, 14 * NS_PER_SEC);
	assert_false(f->irq8.level);
	assert_int_equal(bench_advance(&f->b, NS_PER_SEC), 1);
	assert_true(f->irq8.level); /* 00:00:05 */
	assert_int_equal(rd(f, 12) & 0xa0, 0xa0);
	/* Once a day. */
	bench_advance(&f->b, 86399 * NS_PER_SEC);
	assert_false(f->irq8.level);
	bench_advance(&f->b, NS_PER_SEC);
	assert_true(f->irq8.level);
	rd(f, 12);
	/* Every hour at xx:00:05, every minute at xx:xx:05, each second. */
	wr(f, 5, 0xff);
	bench_advance(&f->b, 3599 * NS_PER_SEC);
	assert_false(f->irq8.level);
	bench_advance(&f->b, NS_PER_SEC);
	assert_true(f->irq8.level);
	rd(f, 12);
	wr(f, 3, 0xc0);
	bench_advance(&f->b, 60 * NS_PER_SEC);
	assert_true(f->irq8.level);
	rd(f, 12);
	wr(f, 1, 0xff);
	bench_advance(&f->b, NS_PER_SEC);
	assert_true(f->irq8.level);
	rd(f, 12);
	/* Never. */
	wr(f, 1, 0x77);
	assert_true(bench_idle(&f->b));
	wr(f, 1, 0x00);
	wr(f, 5, 0x30);
	assert_true(bench_idle(&f->b));
}

static void alarm_12h(void **state)
{
	struct fix *f = *state;

	wr(f, 11, 0x00);
	wr(f, 1, 0);
	wr(f, 3, 0);
	wr(f, 5, 0x81); /* 1 pm */
	wr(f, 11, 0x20);
	rd(f, 12);
	bench_advance(&f->b, (10 + 13 * 3600 - 1) * NS_PER_SEC);
	assert_false(f->irq8.level);
	bench_advance(&f->b, NS_PER_SEC);
	assert_true(f->irq8.level);
}

static unsigned word(struct fix *f, u8 index)
{
	return rd(f, index) | (unsigned)rd(f, index + 1) << 8;
}

static void memory_sizes(void **state)
{
	static struct fix g;
	struct fix *f = *state;

	assert_int_equal(word(f, 0x15), 640);
	assert_int_equal(word(f, 0x17), 0xffff);
	assert_int_equal(word(f, 0x30), 0xffff);
	assert_int_equal(word(f, 0x34), (3 * GiB - 16 * MiB) / 65536);
	assert_int_equal(word(f, 0x5b) | (unsigned)rd(f, 0x5d) << 16, 5 * GiB / 65536);

	init(&g, 8 * MiB, 0); /* below 16 MiB: no underflow */
	assert_int_equal(word(&g, 0x17), 7 * 1024);
	assert_int_equal(word(&g, 0x34), 0);
	assert_int_equal(word(&g, 0x5b), 0);
	mc146818_fini(&g.rtc);
	bench_fini(&g.b);

	init(&g, 512 * KiB, 1ull << 60); /* tiny below, beyond three bytes above */
	assert_int_equal(word(&g, 0x15), 512);
	assert_int_equal(word(&g, 0x17), 0);
	assert_int_equal(word(&g, 0x5b), 0xffff);
	assert_int_equal(rd(&g, 0x5d), 0xff);
	mc146818_fini(&g.rtc);
	bench_fini(&g.b);
}

static void ram_and_index(void **state)
{
	struct fix *f = *state;

	wr(f, 0x0f, 0x0a); /* shutdown status */
	mc146818_reset(&f->rtc);
	assert_int_equal(rd(f, 0x0f), 0x0a);
	wr(f, 0x80 | 0x40, 0x77); /* bit 7 masks NMIs */
	assert_int_equal(rd(f, 0x40), 0x77);
	mc146818_store(&f->rtc, 0x41, 3);
	assert_int_equal(rd(f, 0x41), 3);
	mc146818_store(&f->rtc, 0x0b, 0xff); /* not for registers */
	assert_int_equal(rd(f, 0x0b), 0x02);
	assert_int_equal(in8(&f->b, 0x70), 0xff);
	wr(f, 13, 0);
	assert_int_equal(rd(f, 13), 0x80);
}

static void local_time(void **state)
{
	static struct fix g;

	setenv("TZ", "XYZ-3:30", 1); /* three and a half hours east */
	tzset();
	memset(&g, 0, sizeof(g));
	bench_init(&g.b, 0);
	assert_int_equal(mc146818_init(&g.rtc,
	                         &(struct mc146818_config){
	                                 .ports = &g.b.ports, .timers = &g.b.timers, .wall_ns = start_wall}),
	        0);
	assert_time(&g, TIME(0x20, 0x24, 0x02, 0x29, 0x03, 0x29, 0x50));
	mc146818_fini(&g.rtc);
	bench_fini(&g.b);
}

static void legacy_replacement(void **state)
{
	struct fix *f = *state;

	wr(f, 10, 0x20);
	wr(f, 11, 0x12);
	mc146818_connect_irq(&f->rtc, false);
	assert_true(bench_idle(&f->b));
	bench_advance(&f->b, 3 * NS_PER_SEC);
	assert_int_equal(f->irq8.rises, 0);
	assert_int_equal(rd(f, 12), 0x90);
	mc146818_connect_irq(&f->rtc, true);
	bench_advance(&f->b, NS_PER_SEC);
	assert_int_equal(f->irq8.rises, 1);
}

/* Every value in every time byte, in every format: read back unharmed, and the clock goes on. */
static void nonsense_dates(void **state)
{
	static const u8 index[] = {0, 2, 4, 6, 7, 8, 9, 0x32, 1, 3, 5};
	struct fix *f = *state;

	for (unsigned b = 0; b < 8; b += 2) {
		for (unsigned i = 0; i < ARRAY_SIZE(index); i++) {
			for (unsigned v = 0; v < 256; v++) {
				wr(f, 11, (u8)(0x80 | b));
				wr(f, index[i], (u8)v);
				assert_int_equal(rd(f, index[i]), v);
				wr(f, 11, (u8)(0x20 | b));
				bench_advance(&f->b, NS_PER_SEC);
				rd(f, 12);
			}
		}
	}
	wr(f, 11, 0x82);
	set_time(f, TIME(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x50));
	wr(f, 11, 0x02);
	assert_time(f, TIME(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x50));
}

static void sweep(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < 256; i++) {
		out8(&f->b, 0x70, (u8)i);
		bench_sweep(&f->b.ports, 0x71, 1);
		bench_sweep(&f->b.ports, 0x70, 2);
		bench_advance(&f->b, i * NS_PER_MS);
	}
	wr(f, 10, 0x26);
	wr(f, 11, 0x82);
	set_time(f, TIME(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x50));
	wr(f, 11, 0x02);
	bench_advance(&f->b, 2 * NS_PER_SEC);
	assert_int_equal(rd(f, 0), 0x52);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(runs_in_bcd, setup, teardown),
	        cmocka_unit_test_setup_teardown(goes_on_alone, setup, teardown),
	        cmocka_unit_test_setup_teardown(formats, setup, teardown),
	        cmocka_unit_test_setup_teardown(guest_sets_time, setup, teardown),
	        cmocka_unit_test_setup_teardown(weekday_is_the_guests, setup, teardown),
	        cmocka_unit_test_setup_teardown(divider_reset, setup, teardown),
	        cmocka_unit_test_setup_teardown(update_in_progress, setup, teardown),
	        cmocka_unit_test_setup_teardown(update_ended, setup, teardown),
	        cmocka_unit_test_setup_teardown(periodic, setup, teardown),
	        cmocka_unit_test_setup_teardown(alarm_24h, setup, teardown),
	        cmocka_unit_test_setup_teardown(alarm_12h, setup, teardown),
	        cmocka_unit_test_setup_teardown(memory_sizes, setup, teardown),
	        cmocka_unit_test_setup_teardown(ram_and_index, setup, teardown),
	        cmocka_unit_test_setup_teardown(local_time, setup, teardown),
	        cmocka_unit_test_setup_teardown(legacy_replacement, setup, teardown),
	        cmocka_unit_test_setup_teardown(nonsense_dates, setup, teardown),
	        cmocka_unit_test_setup_teardown(sweep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
