/*
 * The BVM relays: signature, input in order, all ones when empty, back-pressure, every width safe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dev/bvmport.h"

static u8 sent[16];
static size_t nsent;
static unsigned rooms;

static size_t tx(void *opaque, const u8 *buf, size_t len)
{
	if (nsent < sizeof(sent))
		sent[nsent++] = buf[0];
	return len;
}

static void rx_ready(void *opaque)
{
	rooms++;
}

static void relay(void **state)
{
	struct space ports;
	struct bvmport b;
	const struct bvmport_config cfg = {.ports = &ports,
	        .port = BVMCONS_PORT,
	        .signature = BVMCONS_SIG,
	        .name = "bvmcons",
	        .tx = tx,
	        .rx_ready = rx_ready};
	u8 burst[300];

	assert_int_equal(space_init(&ports, 0xffff), 0);
	assert_int_equal(bvmport_init(&b, &cfg), 0);
	assert_int_equal(space_read(&ports, BVMCONS_PORT, 2), 0x6276);
	assert_int_equal(space_read(&ports, BVMCONS_PORT, 4), 0xffffffff);
	space_write(&ports, BVMCONS_PORT, 4, 'x');
	space_write(&ports, BVMCONS_PORT, 1, 'y'); /* only 32-bit writes send */
	assert_int_equal(nsent, 1);
	assert_int_equal(sent[0], 'x');
	for (size_t n = 0; n < sizeof(burst); n++)
		burst[n] = (u8)n;
	assert_int_equal(bvmport_receive(&b, burst, sizeof(burst)), 256);
	assert_int_equal(bvmport_receive(&b, burst, 1), 0);
	for (unsigned n = 0; n < 256; n++)
		assert_int_equal(space_read(&ports, BVMCONS_PORT, 4), n);
	assert_int_equal(rooms, 1);
	assert_int_equal(space_read(&ports, BVMCONS_PORT, 4), 0xffffffff);
	for (unsigned off = 0; off < 4; off++)
		for (unsigned size = 1; size <= 8; size *= 2)
			space_read(&ports, BVMCONS_PORT + off, size);
	bvmport_fini(&b);
	assert_int_equal(space_read(&ports, BVMCONS_PORT, 2), 0xffff);
	space_fini(&ports);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(relay)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
