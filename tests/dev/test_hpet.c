/* The HPET on a bus. A tick is 100 ns. */
#include "bench.h"
#include "dev/hpet.h"

#define TICK 100ull
#define CONF 0x010
#define STS 0x020
#define CNT 0x0f0
#define TN(n) (0x100u + 0x20u * (n))
#define CMP(n) (TN(n) + 8)
#define FSB(n) (TN(n) + 16)

#define LEVEL 0x02u
#define ENB 0x04u
#define PER 0x08u
#define VAL 0x40u
#define W32 0x100u
#define ROUTE(r) ((u32)(r) << 9)
#define FSB_EN 0x4000u

struct fix {
	struct bench b;
	struct hpet hpet;
	struct probe pin[32], legacy0, legacy8;
	unsigned legacy_calls;
	bool legacy, low_at_switch;
	unsigned msis;
	u64 msi_addr;
	u32 msi_data;
};

static void on_legacy(void *opaque, bool on)
{
	struct fix *f = opaque;

	f->legacy_calls++;
	f->legacy = on;
	f->low_at_switch = !f->legacy0.level && !f->legacy8.level;
}

static void on_msi(void *opaque, u64 addr, u32 data)
{
	struct fix *f = opaque;

	f->msis++;
	f->msi_addr = addr;
	f->msi_data = data;
}

static int setup(void **state)
{
	static struct fix f;
	struct hpet_config c = {.timers = &f.b.timers,
	        .memory = &f.b.memory,
	        .count = 3,
	        .route_cap = 0x00f00000,
	        .opaque = &f};

	memset(&f, 0, sizeof(f));
	bench_init(&f.b, 1234567);
	for (unsigned i = 0; i < 32; i++)
		c.route[i] = probe_wire(&f.pin[i]);
	c.legacy0 = probe_wire(&f.legacy0);
	c.legacy8 = probe_wire(&f.legacy8);
	c.legacy_mode = on_legacy;
	c.msi = (struct msi_sink){.send = on_msi, .opaque = &f};
	assert_int_equal(hpet_init(&f.hpet, &c), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	hpet_fini(&f->hpet);
	bench_fini(&f->b);
	return 0;
}

static u32 r32(struct fix *f, unsigned reg)
{
	return (u32)space_read(&f->b.memory, HPET_BASE + reg, 4);
}

static u64 r64(struct fix *f, unsigned reg)
{
	return space_read(&f->b.memory, HPET_BASE + reg, 8);
}

static void w32(struct fix *f, unsigned reg, u32 val)
{
	space_write(&f->b.memory, HPET_BASE + reg, 4, val);
}

static void w64(struct fix *f, unsigned reg, u64 val)
{
	space_write(&f->b.memory, HPET_BASE + reg, 8, val);
}

static unsigned ticks(struct fix *f, u64 n)
{
	return bench_advance(&f->b, n * TICK);
}

static void capabilities(void **state)
{
	struct fix *f = *state;

	assert_int_equal(r32(f, 4), 100000000);
	assert_int_equal(r32(f, 0), hpet_id(&f->hpet));
	assert_int_equal(r32(f, 0), 0x8086a201);
	assert_int_equal(r64(f, 0), 100000000ull << 32 | 0x8086a201);
	w64(f, 0, 0);
	assert_int_equal(r32(f, 0), 0x8086a201);
	assert_int_equal(r32(f, TN(0) + 4), 0x00f00000);
	assert_int_equal(r32(f, TN(2)), 0x8030); /* FSB, 64 bits, periodic */
	assert_int_equal(r64(f, CMP(1)), UINT64_MAX);
	assert_int_equal(r64(f, TN(3)), 0); /* not there */
}

static void main_counter(void **state)
{
	struct fix *f = *state;

	ticks(f, 100);
	assert_int_equal(r64(f, CNT), 0);
	w64(f, CNT, 0xfffffff0);
	w32(f, CONF, 1);
	ticks(f, 20);
	assert_int_equal(r64(f, CNT), 0x100000004);
	assert_int_equal(r32(f, CNT), 4);
	assert_int_equal(r32(f, CNT + 4), 1);
	w32(f, CONF, 0);
	ticks(f, 1000);
	assert_int_equal(r64(f, CNT), 0x100000004);
	w32(f, CNT + 4, 7);
	assert_int_equal(r64(f, CNT), 0x700000004);
	assert_true(bench_idle(&f->b));
}

static void one_shot(void **state)
{
	struct fix *f = *state;

	w32(f, CONF, 1);
	w32(f, TN(2), ENB | ROUTE(21));
	w64(f, CMP(2), r64(f, CNT) + 500);
	ticks(f, 499);
	assert_int_equal(f->pin[21].rises, 0);
	assert_int_equal(ticks(f, 1), 1);
	assert_int_equal(f->pin[21].rises, 1);
	assert_false(f->pin[21].level); /* an edge */
	assert_int_equal(r32(f, STS), 0);
	assert_true(bench_idle(&f->b));
	/* In the past: never with 64 bits. */
	w64(f, CMP(2), 3);
	assert_true(bench_idle(&f->b));
	/* A disabled one wakes nobody, and does not fire late. */
	w32(f, TN(2), ROUTE(21));
	w64(f, CMP(2), r64(f, CNT) + 10);
	assert_true(bench_idle(&f->b));
	ticks(f, 20);
	w32(f, TN(2), ENB | ROUTE(21));
	ticks(f, 1000);
	assert_int_equal(f->pin[21].rises, 1);
}

static void one_shot_32_wraps(void **state)
{
	struct fix *f = *state;

	w32(f, TN(0), ENB | W32 | ROUTE(20));
	w64(f, CNT, 0x1fffffff0);
	w32(f, CONF, 1);
	w32(f, CMP(0), 0x10);
	ticks(f, 0x1f);
	assert_int_equal(f->pin[20].rises, 0);
	ticks(f, 1);
	assert_int_equal(f->pin[20].rises, 1);
	ticks(f, 1ull << 32); /* each wrap */
	assert_int_equal(f->pin[20].rises, 2);
}

static void periodic_linux(void **state)
{
	struct fix *f = *state;

	/* First match with VAL_SET, then the period. */
	w32(f, CONF, 1);
	ticks(f, 12345);
	w32(f, TN(0), ENB | PER | VAL | W32 | ROUTE(20));
	w32(f, CMP(0), r32(f, CNT) + 1000);
	assert_false(r32(f, TN(0)) & VAL);
	w32(f, CMP(0), 10000);
	ticks(f, 999);
	assert_int_equal(f->pin[20].rises, 0);
	ticks(f, 1);
	assert_int_equal(f->pin[20].rises, 1);
	assert_int_equal(ticks(f, 100000), 10);
	assert_int_equal(f->pin[20].rises, 11);
	assert_int_equal(r32(f, CMP(0)), 12345 + 1000 + 110000);
	/* The host was away: one, and in phase. */
	__atomic_store_n(&f->b.clock.ns, bench_now(&f->b) + 55000 * TICK, __ATOMIC_SEQ_CST);
	timerq_run(&f->b.timers);
	assert_int_equal(f->pin[20].rises, 12);
	ticks(f, 5000);
	assert_int_equal(f->pin[20].rises, 13);
}

static void periodic_one_write(void **state)
{
	struct fix *f = *state;

	/* As in the specification: one write with VAL_SET gives match and period. */
	w32(f, TN(1), ENB | PER | VAL | ROUTE(22));
	w64(f, CMP(1), 3000);
	w32(f, CONF, 1);
	ticks(f, 9000);
	assert_int_equal(f->pin[22].rises, 3);
	/* A new period alone takes effect after the next match. */
	w64(f, CMP(1), 1000);
	ticks(f, 3000);
	assert_int_equal(f->pin[22].rises, 4);
	ticks(f, 4000);
	assert_int_equal(f->pin[22].rises, 8);
	assert_int_equal(r64(f, CMP(1)), 17000);
}

static void periodic_unwatched(void **state)
{
	struct fix *f = *state;

	/* With its interrupt off the comparator moves all the same, without wake-ups. */
	w32(f, TN(1), PER | VAL);
	w64(f, CMP(1), 3000);
	w32(f, CONF, 1);
	assert_true(bench_idle(&f->b));
	ticks(f, 10000);
	assert_int_equal(r64(f, CMP(1)), 12000);
}

static void no_flood(void **state)
{
	struct fix *f = *state;

	w32(f, TN(0), ENB | PER | VAL | ROUTE(20));
	w64(f, CMP(0), 1);
	w32(f, CONF, 1);
	assert_true(bench_advance(&f->b, 10 * NS_PER_MS) <= 502);
	assert_true(f->pin[20].rises >= 400);
	w32(f, TN(0), ENB | PER | VAL | ROUTE(20));
	w64(f, CMP(0), 0); /* no period: at most once */
	f->pin[20].rises = 0;
	ticks(f, 100000);
	assert_true(f->pin[20].rises <= 1);
}

static void level(void **state)
{
	struct fix *f = *state;

	w32(f, CONF, 1);
	w32(f, TN(0), ENB | LEVEL | ROUTE(20));
	w32(f, TN(1), LEVEL);
	w64(f, CMP(0), 100);
	w64(f, CMP(1), 150);
	ticks(f, 200);
	assert_true(f->pin[20].level);
	assert_int_equal(r32(f, STS), 3); /* also of the one that may not interrupt */
	w32(f, STS, 2);
	assert_true(f->pin[20].level);
	w32(f, TN(0), ENB | LEVEL | ROUTE(23)); /* follows its route */
	assert_false(f->pin[20].level);
	assert_true(f->pin[23].level);
	w32(f, TN(0), LEVEL | ROUTE(23));
	assert_false(f->pin[23].level);
	w32(f, TN(0), ENB | LEVEL | ROUTE(23));
	assert_true(f->pin[23].level);
	w32(f, CONF, 0);
	assert_false(f->pin[23].level);
	w32(f, CONF, 1);
	assert_true(f->pin[23].level);
	w32(f, STS, 1);
	assert_false(f->pin[23].level);
	assert_int_equal(r32(f, STS), 0);
}

static void routes(void **state)
{
	struct fix *f = *state;

	w32(f, TN(0), ROUTE(21));
	assert_int_equal(r32(f, TN(0)) & ROUTE(31), ROUTE(21));
	w32(f, TN(0), ROUTE(5)); /* not offered */
	assert_int_equal(r32(f, TN(0)) & ROUTE(31), ROUTE(21));
	/* Never routed: the interrupt goes nowhere. */
	w32(f, TN(1), ENB);
	w32(f, CONF, 1);
	w64(f, CMP(1), 10);
	ticks(f, 20);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(f->pin[i].rises, 0);
}

static void legacy(void **state)
{
	struct fix *f = *state;

	w32(f, TN(0), ENB | PER | VAL);
	w64(f, CMP(0), 1000);
	w32(f, TN(1), ENB | LEVEL);
	w64(f, CMP(1), 1500);
	w32(f, CONF, 3);
	assert_int_equal(f->legacy_calls, 1);
	assert_true(f->legacy);
	ticks(f, 2000);
	assert_int_equal(f->legacy0.rises, 2);
	assert_true(f->legacy8.level);
	w32(f, CONF, 1);
	assert_int_equal(f->legacy_calls, 2);
	assert_false(f->legacy);
	assert_true(f->low_at_switch);
	assert_false(f->legacy8.level);
	ticks(f, 2000);
	assert_int_equal(f->legacy0.rises, 2);
	w32(f, CONF, 3);
	hpet_reset(&f->hpet);
	assert_false(f->legacy);
	assert_true(bench_idle(&f->b));
	assert_int_equal(r64(f, CNT), 0);
}

static void message(void **state)
{
	struct fix *f = *state;

	w32(f, TN(2), ENB | FSB_EN | ROUTE(20));
	w32(f, FSB(2), 0x4321);
	w32(f, FSB(2) + 4, 0xfee01000);
	assert_int_equal(r64(f, FSB(2)), 0xfee0100000004321);
	w64(f, CMP(2), 77);
	w32(f, CONF, 1);
	ticks(f, 77);
	assert_int_equal(f->msis, 1);
	assert_int_equal(f->msi_addr, 0xfee01000);
	assert_int_equal(f->msi_data, 0x4321);
	assert_int_equal(f->pin[20].rises, 0);
}

static void without_messages(void **state)
{
	static struct fix g;

	memset(&g, 0, sizeof(g));
	bench_init(&g.b, 0);
	assert_int_equal(
	        hpet_init(&g.hpet,
	                &(struct hpet_config){.timers = &g.b.timers, .memory = &g.b.memory, .count = 99}),
	        0);
	assert_int_equal(r32(&g, 0) >> 8 & 31, 7);
	w32(&g, TN(7), FSB_EN | ENB | ROUTE(31));
	assert_int_equal(r32(&g, TN(7)), 0x34);
	assert_int_equal(r64(&g, 0x200), 0);
	hpet_fini(&g.hpet);
	bench_fini(&g.b);
}

static void counter_write_while_running(void **state)
{
	struct fix *f = *state;

	w32(f, TN(0), ENB | ROUTE(20));
	w64(f, CMP(0), 1000000);
	w32(f, CONF, 1);
	ticks(f, 10);
	w64(f, CNT, 999990);
	ticks(f, 9);
	assert_int_equal(f->pin[20].rises, 0);
	ticks(f, 1);
	assert_int_equal(f->pin[20].rises, 1);
}

static void sweep(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < 3; i++) {
		bench_sweep(&f->b.memory, HPET_BASE, HPET_SIZE);
		bench_advance(&f->b, NS_PER_MS);
	}
	hpet_reset(&f->hpet);
	w32(f, CONF, 1);
	ticks(f, 5);
	assert_int_equal(r64(f, CNT), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(capabilities, setup, teardown),
	        cmocka_unit_test_setup_teardown(main_counter, setup, teardown),
	        cmocka_unit_test_setup_teardown(one_shot, setup, teardown),
	        cmocka_unit_test_setup_teardown(one_shot_32_wraps, setup, teardown),
	        cmocka_unit_test_setup_teardown(periodic_linux, setup, teardown),
	        cmocka_unit_test_setup_teardown(periodic_one_write, setup, teardown),
	        cmocka_unit_test_setup_teardown(periodic_unwatched, setup, teardown),
	        cmocka_unit_test_setup_teardown(no_flood, setup, teardown),
	        cmocka_unit_test_setup_teardown(level, setup, teardown),
	        cmocka_unit_test_setup_teardown(routes, setup, teardown),
	        cmocka_unit_test_setup_teardown(legacy, setup, teardown),
	        cmocka_unit_test_setup_teardown(message, setup, teardown),
	        cmocka_unit_test_setup_teardown(without_messages, setup, teardown),
	        cmocka_unit_test_setup_teardown(counter_write_while_running, setup, teardown),
	        cmocka_unit_test_setup_teardown(sweep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
