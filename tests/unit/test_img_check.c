/*
 * check, repair, shrink and resize of xhyve-img on sparse images with damage made by hand, and each
 * of them killed at every change it makes.
 */
#include "img_rig.h"

#include <sys/wait.h>

#define MAKE "create v 64k --split 16k --sectorsize 4096 --sparse"

/* As the original writes it: bytes 41, 42, 43 in sectors 0, 3 and 4 (shared/sparse-image.md). */
static void make_vector(struct rig *g)
{
	rig_arm(g, UINT64_MAX);
	rig_run_shell("rm -f v.* v");
	rig_expect(g, MAKE, IMG_OK);
	rig_fill("v.0000", 0, 0x41, 4096);
	rig_fill("v.0000", 4096, 0x42, 4096);
	rig_fill("v.0001", 0, 0x43, 4096);
	rig_entry("v", 0, 0);
	rig_entry("v", 3, 1);
	rig_entry("v", 4, 0);
}

static void expect_vector(const u8 *buf, const char *what)
{
	static const u8 byte[16] = {[0] = 0x41, [3] = 0x42, [4] = 0x43};

	for (u32 i = 0; i < 16; i++) {
		for (u32 k = 0; k < 4096; k++) {
			if (buf[i * 4096 + k] != byte[i])
				fail_msg("%s: sector %u holds %02x", what, i, buf[i * 4096 + k]);
		}
	}
}

static void expect_vector_image(const char *what)
{
	u64 len;
	u8 *buf = rig_read("v", &len);

	assert_true(len >= 65536);
	expect_vector(buf, what);
	free(buf);
}

static void test_clean(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	rig_expect(g, "check v", IMG_OK);
	rig_says(g, "3 of 16 sectors are allocated");
	rig_says(g, "no damage");
	rig_expect(g, "info v --json", IMG_OK);
	rig_says(g, "\"allocated-sectors\": 3");
	rig_expect(g, "map v", IMG_OK);
	rig_says(g, "0x3000           0x1000 data         0x1000 v.0000");
	expect_vector_image("clean");
	/* The original wrote no sidecar. */
	unlink("v.meta");
	rig_expect(g, "check v,size=64k,split=16k,sectorsize=4096,sparse", IMG_OK);
	rig_expect(g, "check v,size=128k,split=16k,sectorsize=4096,sparse", IMG_CORRUPT);
	rig_says(g, "64 bytes instead of 128");
}

static void test_leak(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	rig_fill("v.0001", 4096, 0x99, 8192);
	rig_expect(g, "check v", IMG_LEAKS);
	rig_says(g, "8192 bytes at 4096 of segment 1");
	rig_expect(g, "check v --json", IMG_LEAKS);
	rig_says(g, "\"leaked-bytes\": 8192");
	rig_expect(g, "repair v", IMG_OK);
	rig_says(g, "8192 bytes freed");
	rig_expect(g, "check v", IMG_OK);
	expect_vector_image("leak");
}

/* What the original's first run leaves: terabytes of hole, and data that only later runs named. */
static void test_huge_hole(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	rig_fill("v.0001", 12ull << 40, 0x55, 4096);
	rig_entry("v", 5, (u32)((12ull << 40) / 4096));
	rig_fill("v.0002", 7ull << 40, 0x77, 4096);
	rig_expect(g, "check v", IMG_LEAKS);
	rig_says(g, "4096 bytes at 7696581394432 of segment 2");
	rig_expect(g, "shrink v", IMG_OK);
	assert_int_equal(rig_size("v.0001"), 8192);
	assert_int_equal(rig_size("v.0002"), 0);
	rig_expect(g, "check v", IMG_OK);
}

static void test_past_end(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	rig_entry("v", 1, 2);
	rig_entry("v", 9, 0xfffffffe);
	rig_expect(g, "check v", IMG_CORRUPT);
	rig_says(g, "sector 1: slot 2 lies behind the end of segment 0");
	rig_says(g, "sector 9: slot 4294967294 lies behind the end of segment 2");
	rig_expect(g, "repair v", IMG_OK);
	rig_says(g, "sector 9: had slot");
	rig_expect(g, "check v", IMG_OK);
	expect_vector_image("past end");
}

static void test_shared(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	rig_entry("v", 1, 1);
	rig_entry("v", 2, 1);
	rig_expect(g, "check v", IMG_CORRUPT);
	rig_says(g, "sector 2 shares slot 1 of segment 0 with sector 1");
	rig_says(g, "sector 3 shares slot 1 of segment 0 with sector 1");
	rig_expect(g, "check v --json", IMG_CORRUPT);
	rig_says(g, "\"shared\": 2");
	rig_expect(g, "shrink v", IMG_FAILED);
	rig_says(g, "repair first");
	rig_expect(g, "repair v", IMG_OK);
	rig_says(g, "sectors 1 and 3 shared slot 1");
	rig_expect(g, "check v", IMG_OK);
	assert_int_equal(rig_size("v.0000"), 4 * 4096);
	assert_int_equal(g->host.disorder, 0);
}

static void test_table_length(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	assert_int_equal(truncate("v.lut", 21), 0);
	rig_expect(g, "check v", IMG_CORRUPT);
	rig_says(g, "21 bytes instead of 64");
	rig_expect(g, "repair v", IMG_OK);
	rig_expect(g, "check v", IMG_OK);
	expect_vector_image("short table");
	/* absent entries behind the end: a resize was cut off, nothing is wrong */
	rig_fill("v.lut", 64, 0xff, 32);
	rig_expect(g, "check v", IMG_OK);
	rig_expect(g, "repair v", IMG_OK);
	assert_int_equal(rig_size("v.lut"), 64);
	rig_entry("v", 16, 0);
	rig_expect(g, "check v", IMG_CORRUPT);
	rig_expect(g, "repair v", IMG_FAILED);
	rig_says(g, "too long");
}

static void test_missing_segment(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	unlink("v.0001");
	rig_expect(g, "check v", IMG_CORRUPT);
	rig_says(g, "segment 1 is missing");
	rig_says(g, "sector 4: slot 0");
	rig_expect(g, "repair v", IMG_FAILED);
	rig_says(g, "--force");
	rig_expect(g, "repair v --force", IMG_OK);
	rig_expect(g, "check v", IMG_OK);
}

/* A table of zeros: everything is shared. All is counted, a part is listed. */
static void test_all_shared(void **state)
{
	struct rig *g = *state;

	rig_expect(g, "create z 64M --split 32M --sectorsize 512 --sparse", IMG_OK);
	rig_fill("z.lut", 0, 0, 131072 * 4);
	rig_fill("z.0000", 0, 1, 512);
	rig_fill("z.0001", 0, 1, 512);
	rig_expect(g, "check z", IMG_CORRUPT);
	rig_says(g, "131070 damaged places");
	rig_expect(g, "repair z", IMG_OK);
	rig_expect(g, "check z", IMG_OK);
}

static void test_in_use(void **state)
{
	static const char *const cmd[] = {"check v", "repair v", "shrink v", "resize v 128k", "map v"};
	struct rig *g = *state;
	struct image_spec s;
	struct block *b;
	struct err e;

	make_vector(g);
	assert_int_equal(image_parse(&s, "v", &e), 0);
	assert_int_equal(image_open(&b, &s, IMAGE_QUIET, &host_io, &e), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cmd); i++) {
		rig_expect(g, cmd[i], IMG_FAILED);
		rig_says(g, "is in use by another process");
	}
	rig_expect(g, "info v", IMG_OK);
	rig_says(g, "in use: yes");
	block_close(b);
	rig_expect(g, "info v", IMG_OK);
	rig_says(g, "in use: no");
}

/* A process that dies with a table that is not written yet: its journal knows. */
static void leave_journal(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct image_spec s;
		struct block *b;
		struct err e;
		u8 buf[4096];

		memset(buf, 0x44, sizeof(buf));
		if (image_parse(&s, "v", &e) || image_open(&b, &s, IMAGE_QUIET, &host_io, &e) ||
		        block_pwrite(b, buf, sizeof(buf), 10 * 4096))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_journal(void **state)
{
	static const char *const cmd[] = {"check v", "repair v", "shrink v", "resize v 96k"};
	struct rig *g = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cmd); i++) {
		u64 len;
		u8 *buf;

		make_vector(g);
		leave_journal();
		rig_expect(g, "info v", IMG_OK);
		rig_says(g, "left by a killed xhyve");
		rig_expect(g, cmd[i], IMG_OK);
		rig_expect(g, "check v", IMG_OK);
		rig_says(g, "4 of");
		buf = rig_read("v", &len);
		assert_int_equal(buf[10 * 4096], 0x44);
		free(buf);
		assert_int_equal(rig_size("v.journal"), UINT64_MAX);
	}
}

/* The vector with a leak, zeros in sector 1, and slots in the wrong order. */
static void make_loose(struct rig *g)
{
	make_vector(g);
	rig_fill("v.0000", 8192, 0, 4096);
	rig_entry("v", 1, 2);
	rig_fill("v.0000", 5 * 4096, 0x42, 4096);
	rig_entry("v", 3, 5);
	rig_fill("v.0001", 3 * 4096, 0x43, 4096);
	rig_entry("v", 4, 3);
}

static void test_shrink(void **state)
{
	struct rig *g = *state;

	make_loose(g);
	rig_expect(g, "shrink v", IMG_OK);
	rig_says(g, "1 sectors of zeros dropped, 2 moved");
	assert_int_equal(rig_size("v.0000"), 8192);
	assert_int_equal(rig_size("v.0001"), 4096);
	assert_int_equal(g->host.disorder, 0);
	rig_expect(g, "check v", IMG_OK);
	rig_says(g, "3 of 16");
	expect_vector_image("shrink");
}

static void test_shrink_raw(void **state)
{
	struct rig *g = *state;

	rig_fill("r", 0, 0, 1 << 20);
	rig_fill("r", 8192, 7, 100);
	rig_run_shell("cp --sparse=never r copy");
	rig_expect(g, "shrink r", IMG_OK);
	rig_says(g, "1044480 bytes of zeros made holes");
	rig_same("r", "copy");
}

/* Dies at every change; what it left must be clean or only leak, hold its data, and finish later. */
static void test_kill_shrink(void **state)
{
	struct rig *g = *state;
	u64 n;

	for (n = 0; n < 200; n++) {
		char what[32];
		int status;

		make_loose(g);
		rig_arm(g, n);
		status = rig_img(g, "shrink v");
		assert_int_equal(g->host.disorder, 0);
		snprintf(what, sizeof(what), "shrink died at %d", (int)n);
		rig_arm(g, UINT64_MAX);
		expect_vector_image(what);
		assert_true(rig_img(g, "check v") != IMG_CORRUPT);
		rig_expect(g, "shrink v", IMG_OK);
		assert_int_equal(rig_size("v.0000"), 8192);
		expect_vector_image(what);
		if (status == IMG_OK)
			break;
	}
	assert_in_range(n, 6, 199);
}

static void test_kill_repair(void **state)
{
	struct rig *g = *state;
	u64 n;

	for (n = 0; n < 200; n++) {
		int status;

		make_vector(g);
		rig_entry("v", 2, 1);
		rig_entry("v", 15, 9);
		rig_fill("v.0001", 4096, 0x99, 8192);
		assert_int_equal(truncate("v.lut", 63), 0);
		rig_arm(g, n);
		status = rig_img(g, "repair v");
		assert_int_equal(g->host.disorder, 0);
		rig_arm(g, UINT64_MAX);
		rig_expect(g, "repair v", IMG_OK);
		rig_expect(g, "check v", IMG_OK);
		rig_entry("v", 2, 0xffffffff);
		expect_vector_image("repair died");
		if (status == IMG_OK)
			break;
	}
	assert_in_range(n, 6, 199);
}

static void test_resize(void **state)
{
	struct rig *g = *state;
	u64 len;

	make_vector(g);
	rig_expect(g, "resize v +16k", IMG_OK);
	assert_int_equal(rig_size("v.lut"), 80);
	assert_int_equal(rig_size("v.0004"), 0);
	rig_expect(g, "check v", IMG_OK);
	rig_expect(g, "resize v 100k", IMG_BADUSE);
	rig_expect(g, "resize v 16k", IMG_FAILED);
	rig_says(g, "data behind the new end");
	rig_expect(g, "resize v -48k", IMG_OK);
	assert_int_equal(rig_size("v.lut"), 32);
	assert_int_equal(rig_size("v.0002"), UINT64_MAX);
	free(rig_read("v", &len));
	assert_int_equal(len, 32768);
	rig_expect(g, "resize v 16k --force", IMG_OK);
	rig_expect(g, "check v", IMG_OK);

	rig_fill("r", 0, 7, 4096);
	rig_expect(g, "resize r 1M", IMG_OK);
	assert_int_equal(rig_size("r"), 1 << 20);
	rig_expect(g, "resize r 2k", IMG_FAILED);
	rig_expect(g, "resize r 4k", IMG_OK);
	rig_expect(g, "create s 64k --split 32k", IMG_OK);
	rig_expect(g, "resize s 128k", IMG_OK);
	assert_int_equal(rig_size("s.0003"), 32768);
	free(rig_read("s", &len));
	assert_int_equal(len, 131072);
}

static void test_kill_resize(void **state)
{
	static const char *const cmd[] = {"resize v 96k", "resize v 32k"};
	struct rig *g = *state;

	for (size_t k = 0; k < ARRAY_SIZE(cmd); k++) {
		u64 n;

		for (n = 0; n < 100; n++) {
			int status;

			make_vector(g);
			rig_arm(g, n);
			status = rig_img(g, cmd[k]);
			rig_arm(g, UINT64_MAX);
			rig_expect(g, "check v", IMG_OK);
			rig_img(g, "repair v");
			rig_expect(g, "check v", IMG_OK);
			rig_says(g, "3 of");
			if (status == IMG_OK)
				break;
		}
		assert_in_range(n, 4, 99);
	}
}

static void test_usage(void **state)
{
	static const struct {
		const char *words, *says;
	} bad[] = {
	        {"chekc v", "did you mean \"check\""},
	        {"frobnicate", "unknown command"},
	        {"check", "usage: xhyve-img check"},
	        {"check a b", "one word too much"},
	        {"check --jsno v", "did you mean --json"},
	        {"check --json=1 v", "takes no value"},
	        {"bench v --depth", "needs a value"},
	        {"bench v --depth 0", "--depth 0: must be 1 to 1024"},
	        {"bench v -t rread", "must be read, write"},
	        {"bench v -s 100", "--bufsize 100"},
	        {"create x", "needs a size"},
	        {"create x 1Q", "size=1Q"},
	        {"create x,spares 1M", "did you mean \"sparse\""},
	        {"create x 100k --split 64k", "not a multiple"},
	        {"resize v 1Q", "not a size"},
	        {"resize v -1G", "does not fit"},
	        {"convert v w --from vmdk", "must be raw or qcow2"},
	};
	struct rig *g = *state;

	make_vector(g);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		rig_expect(g, bad[i].words, IMG_BADUSE);
		rig_says(g, bad[i].says);
		assert_int_equal(g->out[0], 0);
	}
	rig_expect(g, "check nothing", IMG_FAILED);
	rig_says(g, "nothing: no such image");
	rig_expect(g, "create v 64k --split 16k", IMG_FAILED);
	rig_says(g, "v.0000 exists already");
	rig_expect(g, "resize --help", IMG_OK);
	rig_says(g, "--force");
	rig_expect(g, "--help", IMG_OK);
	rig_says(g, "shrink");
}

static void test_bench(void **state)
{
	struct rig *g = *state;

	make_vector(g);
	rig_expect(g, "bench v -c 100 -d 1 --json", IMG_OK);
	rig_says(g, "\"requests\": 100");
	expect_vector_image("reading changes nothing");
	rig_expect(g, "bench v -c 200 -d 8 -t randwrite --flush-interval 10 --json", IMG_OK);
	rig_says(g, "\"flushes\": 20");
	rig_expect(g, "check v", IMG_OK);
}

int main(void)
{
#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
	        RIG_TEST(test_clean),
	        RIG_TEST(test_leak),
	        RIG_TEST(test_huge_hole),
	        RIG_TEST(test_past_end),
	        RIG_TEST(test_shared),
	        RIG_TEST(test_table_length),
	        RIG_TEST(test_missing_segment),
	        RIG_TEST(test_all_shared),
	        RIG_TEST(test_in_use),
	        RIG_TEST(test_journal),
	        RIG_TEST(test_shrink),
	        RIG_TEST(test_shrink_raw),
	        RIG_TEST(test_kill_shrink),
	        RIG_TEST(test_kill_repair),
	        RIG_TEST(test_resize),
	        RIG_TEST(test_kill_resize),
	        RIG_TEST(test_usage),
	        RIG_TEST(test_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
