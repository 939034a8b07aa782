/*
 * convert of xhyve-img between all formats, and its qcow2 reader on images made by hand.
 */
#include "img/qcow2.h"
#include "img_rig.h"
#include "qcow2_image.h"

#include <zlib.h>
#if HAVE_ZSTD
#include <zstd.h>
#endif

static void make_source(void)
{
	rig_fill("src", 5000, 0x11, 70000);
	rig_fill("src", 300000, 0x22, 1);
	rig_fill("src", (1 << 20) - 512, 0x33, 512);
}

static void test_all_formats(void **state)
{
	static const char *const chain[][2] = {
	        {"convert src a,split=256k", "a"},
	        {"convert a b,split=256k,sectorsize=4096,sparse", "b"},
	        {"convert b c,sparse", "c"},
	        {"convert c d,split=64k,sparse,sectorsize=512", "d"},
	        {"convert d e", "e"},
	};
	struct rig *g = *state;

	make_source();
	for (size_t i = 0; i < ARRAY_SIZE(chain); i++) {
		rig_expect(g, chain[i][0], IMG_OK);
		rig_same(chain[i][1], "src");
		rig_expect(g, "check b", i ? IMG_OK : IMG_FAILED);
	}
	rig_run_shell("test -z \"$(ls | grep partial)\"");
	/* 18 sectors of 4096 for the run at 5000, and one each for the others */
	rig_expect(g, "info b --json", IMG_OK);
	rig_says(g, "\"allocated-sectors\": 20");
	rig_expect(g, "convert src e", IMG_FAILED);
	rig_says(g, "e exists already");
	rig_expect(g, "convert src f,size=4k", IMG_BADUSE);
	rig_expect(g, "convert src f,split=768k,sparse", IMG_OK);
	rig_expect(g, "info f", IMG_OK);
	rig_says(g, "virtual size: 1536K");
}

/* Dies at every change: there is no image of the final name, or a whole one. */
static void test_kill(void **state)
{
	struct rig *g = *state;
	u64 n;

	make_source();
	for (n = 0; n < 300; n++) {
		int status;

		rig_run_shell("rm -f k.*");
		rig_arm(g, n);
		status = rig_img(g, "convert src k,split=256k,sectorsize=4096,sparse");
		rig_arm(g, UINT64_MAX);
		if (rig_size("k.lut") != UINT64_MAX) {
			rig_expect(g, "check k", IMG_OK);
			rig_same("k", "src");
		}
		if (status == IMG_OK)
			break;
	}
	assert_in_range(n, 20, 299);
}

/* An error (not a kill) leaves nothing behind. */
static void test_error_cleans_up(void **state)
{
	struct rig *g = *state;
	volatile sig_atomic_t stop = 1;
	struct img_ctx c = {.io = &host_io, .out = fopen("/dev/null", "w"), .stop = &stop};
	const char *argv[] = {"xhyve-img", "convert", "src", "k,split=256k,sparse"};

	c.err = c.out;
	make_source();
	assert_int_equal(img_main(4, argv, &c), IMG_STOPPED);
	fclose(c.out);
	rig_run_shell("test \"$(ls)\" = src");
	rig_expect(g, "check src", IMG_OK);
}

/* --- qcow2 --- */

static size_t deflate_cluster(u8 *out, size_t cap)
{
	u8 plain[QI_CLUSTER];
	z_stream z = {.next_in = plain, .avail_in = sizeof(plain), .next_out = out, .avail_out = (uInt)cap};

	memset(plain, 0xa3, sizeof(plain));
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return cap - z.avail_out;
}

static void make_qcow2(u8 *buf, u32 version)
{
	u8 stream[256];

	qi_make(buf, version, 0, stream, deflate_cluster(stream, sizeof(stream)));
}

static void expect_disk(const char *name, u32 version)
{
	u8 byte[9] = {[0] = 0xa1, [3] = 0xa3, [8] = 0xa8};
	u64 len;
	u8 *buf = rig_read(name, &len);

	assert_int_equal(len, 9 * 512);
	for (u32 i = 0; i < QI_DISK; i++)
		assert_int_equal(buf[i], byte[i / QI_CLUSTER]);
	for (u32 i = QI_DISK; i < len; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

static void test_qcow2(void **state)
{
	struct rig *g = *state;
	u8 buf[QI_LEN];

	for (u32 version = 2; version <= 3; version++) {
		make_qcow2(buf, version);
		rig_run_shell("rm -f q r s.*");
		rig_put("q", 0, buf, sizeof(buf));
		rig_expect(g, "info q", IMG_OK);
		rig_says(g, "format: qcow2");
		rig_expect(g, "convert q r", IMG_OK);
		expect_disk("r", version);
		rig_expect(g, "convert q s,split=512,sparse", IMG_OK);
		expect_disk("s", version);
	}
	/* As raw it is just bytes. */
	rig_expect(g, "convert --from raw q t", IMG_OK);
	rig_run_shell("cmp q t");
}

#if HAVE_ZSTD
static void test_qcow2_zstd(void **state)
{
	struct rig *g = *state;
	u8 buf[QI_LEN], plain[QI_CLUSTER], stream[256];
	size_t len;

	memset(plain, 0xa3, sizeof(plain));
	len = ZSTD_compress(stream, sizeof(stream), plain, sizeof(plain), 1);
	assert_false(ZSTD_isError(len));
	qi_make(buf, 3, 1, stream, len);
	rig_put("q", 0, buf, sizeof(buf));
	rig_expect(g, "convert q r", IMG_OK);
	expect_disk("r", 3);
}
#endif

/* One thing wrong at a time; whatever is refused says why. */
static void test_qcow2_refused(void **state)
{
	static const struct {
		u32 off;
		u64 value;
		bool wide;
		const char *says;
	} bad[] = {
	        {4, 4, false, "version 4"},
	        {20, 8, false, "2^8"},
	        {20, 40, false, "2^40"},
	        {24, 0, true, "disk size"},
	        {24, UINT64_MAX, true, "disk size"},
	        {24, BIT64(60), true, "L1 table"},
	        {32, 1, false, "encrypted"},
	        {36, 0, false, "L1 table"},
	        {40, 513, true, "L1 table"},
	        {40, QI_LEN, true, "L1 table"},
	        {72, 2, true, "marked as damaged"},
	        {72, 4, true, "external data file"},
	        {72, 16, true, "extended L2"},
	        {72, BIT64(40), true, "not supported"},
	        {100, 80, false, "length 80"},
	        {QI_CLUSTER, BIT64(50), true, "Input/output error"},
	        {2 * QI_CLUSTER, BIT64(50), true, "Input/output error"},
	        {2 * QI_CLUSTER + 24, BIT64(62) | BIT64(40), true, "Input/output error"},
	        {4 * QI_CLUSTER + 7, UINT64_MAX, true, "Input/output error"},
	};
	struct rig *g = *state;
	u8 buf[QI_LEN];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		make_qcow2(buf, 3);
		if (bad[i].wide)
			qi_64(buf + bad[i].off, bad[i].value);
		else
			qi_32(buf + bad[i].off, (u32)bad[i].value);
		rig_put("q", 0, buf, sizeof(buf));
		rig_expect(g, "convert q r", IMG_FAILED);
		rig_says(g, bad[i].says);
		assert_int_equal(rig_size("r"), UINT64_MAX);
		assert_int_equal(rig_size("r.partial"), UINT64_MAX);
	}
	make_qcow2(buf, 3);
	qi_64(buf + 8, 200);
	qi_32(buf + 16, 11);
	memcpy(buf + 200, "/etc/passwd", 11);
	rig_put("q", 0, buf, sizeof(buf));
	rig_expect(g, "convert q r", IMG_FAILED);
	rig_says(g, "backing file \"/etc/passwd\"");
}

int main(void)
{
#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_all_formats),
		RIG_TEST(test_kill),
		RIG_TEST(test_error_cleans_up),
		RIG_TEST(test_qcow2),
#if HAVE_ZSTD
		RIG_TEST(test_qcow2_zstd),
#endif
		RIG_TEST(test_qcow2_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
