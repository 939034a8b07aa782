/* IPv4 fragments: every order, what makes no sense, what never ends. */
#include "net/reass.h"

#include "net/csum.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define ETH 14u
#define PAYLOAD 3000u

static struct reass r;
static u32 whole; /* length of what came back */
static u8 payload[65536];

static int setup(void **state)
{
	for (size_t n = 0; n < sizeof(payload); n++)
		payload[n] = (u8)(n * 7 + (n >> 8));
	memset(&r, 0, sizeof(r));
	return 0;
}

static int teardown(void **state)
{
	reass_clear(&r);
	return 0;
}

static void put_be16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

/* A fragment of payload[off, off + len) in an exact heap block, with options in the header if head says so.
 */
static u8 *fragment(u32 id, u32 head, u32 off, u32 len, bool more)
{
	const struct net_meta meta = {.csum_start = ETH, .csum_offset = 10};
	u8 *frame = calloc(1, ETH + head + len), *ip = frame + ETH;

	assert_non_null(frame);
	put_be16(frame + 12, 0x0800);
	ip[0] = (u8)(0x40 | head / 4);
	put_be16(ip + 2, head + len);
	put_be16(ip + 4, id);
	put_be16(ip + 6, off / 8 | (more ? 0x2000 : 0));
	ip[8] = 64;
	ip[9] = 17;
	memset(ip + 12, 10, 8);
	assert_true(net_finish_csum(frame, ETH + head, &meta));
	memcpy(ip + head, payload + off, len);
	return frame;
}

static const u8 *give(u32 id, u32 head, u32 off, u32 len, bool more, u64 now)
{
	u8 *frame = fragment(id, head, off, len, more);
	const u8 *out;

	whole = ETH + head + len;
	out = reass_frame(&r, frame, &whole, now);
	assert_ptr_not_equal(out, frame);
	free(frame);
	return out;
}

static bool lost(u32 id, u32 off, u32 len, bool more)
{
	return give(id, 20, off, len, more, 0) == NULL;
}

static void expect_whole(const u8 *out, u32 head, u32 total)
{
	u8 *same = fragment(0, head, 0, total, false);

	assert_non_null(out);
	assert_int_equal(whole, ETH + head + total);
	memcpy(same + ETH + 4, out + ETH + 4, 2); /* the identity */
	memcpy(same + ETH + 10, out + ETH + 10, 2);
	assert_memory_equal(out, same, whole);
	free(same);
}

static void not_fragments(void **state)
{
	u8 *frame = fragment(1, 20, 0, 100, false);
	u32 len = ETH + 120;

	assert_ptr_equal(reass_frame(&r, frame, &len, 0), frame);
	assert_int_equal(len, ETH + 120);
	frame[ETH + 6] = 0x40; /* must not be fragmented */
	assert_ptr_equal(reass_frame(&r, frame, &len, 0), frame);
	frame[ETH + 6] = 0x20;
	put_be16(frame + 12, 0x86dd);
	assert_ptr_equal(reass_frame(&r, frame, &len, 0), frame);
	put_be16(frame + 12, 0x0800);
	len = ETH + 19; /* too short to tell */
	assert_ptr_equal(reass_frame(&r, frame, &len, 0), frame);
	free(frame);
}

/* Three fragments in every order; the last one first is what libslirp cannot stand. */
static void orders(void **state)
{
	static const u8 order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	for (unsigned n = 0; n < 6; n++) {
		for (u32 head = 20; head <= 60; head += 40) {
			const u8 *out = NULL;

			for (unsigned k = 0; k < 3; k++) {
				u32 off = order[n][k] * 1024u;

				assert_null(out);
				out = give(n, head, off, MIN(1024u, PAYLOAD - off), off < 2048, 0);
			}
			expect_whole(out, head, PAYLOAD);
		}
	}
}

static void largest(void **state)
{
	assert_true(lost(1, 0, 65472, true));
	expect_whole(give(1, 20, 65472, 3, false, 0), 20, 65475);
	/* One byte more is more than the largest packet with the largest header. */
	assert_true(lost(2, 0, 65472, true));
	assert_true(lost(2, 65472, 4, false));
	assert_true(lost(3, 65528, 8, true));
}

static void nonsense(void **state)
{
	u32 len = ETH + 120;
	u8 *frame = fragment(1, 20, 8, 100, false);

	frame[ETH + 10] ^= 1; /* the sum */
	assert_null(reass_frame(&r, frame, &len, 0));
	frame[ETH + 10] ^= 1;
	frame[ETH] = 0x44; /* a header of 16 bytes */
	assert_null(reass_frame(&r, frame, &len, 0));
	frame[ETH] = 0x4f; /* one that is longer than the frame */
	len = ETH + 40;
	assert_null(reass_frame(&r, frame, &len, 0));
	frame[ETH] = 0x45; /* a packet that is */
	assert_null(reass_frame(&r, frame, &len, 0));
	free(frame);
	assert_true(lost(2, 8, 0, false)); /* nothing in it */
	assert_true(lost(2, 0, 7, true));  /* not a multiple of 8 */
	for (unsigned n = 0; n < REASS_DATAGRAMS; n++)
		assert_null(r.open[n]);
}

static void overlaps(void **state)
{
	assert_true(lost(1, 0, 64, true));
	assert_true(lost(1, 56, 64, false)); /* both are forgotten */
	assert_true(lost(1, 64, 64, false));
	expect_whole(give(1, 20, 0, 64, true, 0), 20, 128);
	/* Behind the end, and another end */
	assert_true(lost(2, 128, 64, true));
	assert_true(lost(2, 64, 64, false));
	assert_true(lost(2, 0, 64, true));
	assert_true(lost(3, 64, 64, false));
	assert_true(lost(3, 128, 64, false));
	assert_true(lost(3, 0, 64, true));
}

static void endless(void **state)
{
	/* As many as there is room for, then the oldest goes. */
	for (u32 id = 0; id <= REASS_DATAGRAMS; id++)
		assert_null(give(id, 20, 0, 8, true, id));
	assert_null(give(0, 20, 8, 8, false, 100));
	expect_whole(give(REASS_DATAGRAMS, 20, 8, 8, false, 100), 20, 16);
	/* And what takes too long. */
	assert_null(give(50, 20, 0, 8, true, 200));
	assert_null(give(50, 20, 8, 8, false, 201 + REASS_NS));
	assert_null(give(51, 20, 0, 8, true, 300 + REASS_NS));
	expect_whole(give(51, 20, 8, 8, false, 300 + 2 * REASS_NS), 20, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(not_fragments, setup, teardown),
	        cmocka_unit_test_setup_teardown(orders, setup, teardown),
	        cmocka_unit_test_setup_teardown(largest, setup, teardown),
	        cmocka_unit_test_setup_teardown(nonsense, setup, teardown),
	        cmocka_unit_test_setup_teardown(overlaps, setup, teardown),
	        cmocka_unit_test_setup_teardown(endless, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
