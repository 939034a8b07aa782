/* The debug exit: every width and port, and nothing but writes. */
#include "bench.h"
#include "dev/debugexit.h"

#include <errno.h>

#define PORT 0xf4

static unsigned events;
static u32 last;

static void event(void *opaque, u32 value)
{
	events++;
	last = value;
}

static void writes(void **state)
{
	struct bench b;
	struct debugexit d;
	struct debugexit_config c = {.port = PORT, .event = event};

	bench_init(&b, 0);
	c.ports = &b.ports;
	assert_int_equal(debugexit_init(&d, &c), 0);
	out8(&b, PORT, 0x21);
	assert_int_equal(last, 0x21);
	out16(&b, PORT, 0x1234);
	assert_int_equal(last, 0x1234);
	out32(&b, PORT, 0x89abcdef);
	assert_int_equal(last, 0x89abcdef);
	out8(&b, PORT + 3, 7);
	assert_int_equal(last, 7);
	out16(&b, PORT + 1, 0x4321);
	assert_int_equal(last, 0x4321);
	assert_int_equal(events, 5);
	assert_int_equal(in8(&b, PORT), 0);
	assert_int_equal(in32(&b, PORT), 0);
	out8(&b, PORT + 4, 1);
	out8(&b, PORT - 1, 1);
	assert_int_equal(events, 5);
	bench_sweep(&b.ports, PORT, DEBUGEXIT_PORTS);
	debugexit_fini(&d);
	bench_fini(&b);
}

static void taken(void **state)
{
	struct bench b;
	struct debugexit d, other;
	struct debugexit_config c = {.port = PORT, .event = event};

	bench_init(&b, 0);
	c.ports = &b.ports;
	assert_int_equal(debugexit_init(&d, &c), 0);
	c.port = PORT + 3;
	assert_int_equal(debugexit_init(&other, &c), -EEXIST);
	c.port = PORT + 4;
	assert_int_equal(debugexit_init(&other, &c), 0);
	debugexit_fini(&other);
	debugexit_fini(&d);
	assert_int_equal(b.ports.count, 0);
	bench_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(writes), cmocka_unit_test(taken)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
