/* Numbers, suffixes and suggestions of base/text.h. */
#include "base/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_size(void **state)
{
	static const struct {
		const char *text;
		int result;
		u64 value;
	} cases[] = {
	        {"0", 0, 0},
	        {"512", 0, 512},
	        {"20G", 0, 20 * GiB},
	        {"20g", 0, 20 * GiB},
	        {"7b", 0, 7},
	        {"7B", 0, 7},
	        {"1k", 0, KiB},
	        {"3M", 0, 3 * MiB},
	        {"2t", 0, 2048 * GiB},
	        {"1P", 0, 1ull << 50},
	        {"15e", 0, 15ull << 60},
	        {"0x400", 0, 1024},
	        {"0X10k", 0, 16384},
	        {"010", 0, 8},
	        {"00", 0, 0},
	        {"18446744073709551615", 0, UINT64_MAX},
	        {"0xffffffffffffffff", 0, UINT64_MAX},
	        {"18446744073709551616", -ERANGE, 0},
	        {"16e", -ERANGE, 0},
	        {"18446744073709551615k", -ERANGE, 0},
	        {"", -EINVAL, 0},
	        {"k", -EINVAL, 0},
	        {"0x", -EINVAL, 0},
	        {"0xk", -EINVAL, 0},
	        {"08", -EINVAL, 0},
	        {"-1", -EINVAL, 0},
	        {"-1k", -EINVAL, 0},
	        {"+1", -EINVAL, 0},
	        {" 1", -EINVAL, 0},
	        {"1 ", -EINVAL, 0},
	        {"1.5k", -EINVAL, 0},
	        {"1KB", -EINVAL, 0},
	        {"1KiB", -EINVAL, 0},
	        {"20Gfoo", -EINVAL, 0},
	        {"1z", -EINVAL, 0},
	        {"1@", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		u64 v = 0;
		int r = parse_size(cases[i].text, &v);

		if (r != cases[i].result || v != cases[i].value)
			fail_msg("parse_size(\"%s\"): %d, %llu", cases[i].text, r, (unsigned long long)v);
	}
}

static void test_uint(void **state)
{
	u64 v = 77;

	assert_int_equal(parse_uint("1", 1, 16, &v), 0);
	assert_int_equal(v, 1);
	assert_int_equal(parse_uint("16", 1, 16, &v), 0);
	assert_int_equal(v, 16);
	assert_int_equal(parse_uint("08", 0, 31, &v), 0);
	assert_int_equal(v, 8);
	assert_int_equal(parse_uint("0x1f", 0, 31, &v), 0);
	assert_int_equal(v, 31);
	v = 77;
	assert_int_equal(parse_uint("0", 1, 16, &v), -ERANGE);
	assert_int_equal(parse_uint("17", 1, 16, &v), -ERANGE);
	assert_int_equal(parse_uint("99999999999999999999", 1, 16, &v), -ERANGE);
	assert_int_equal(parse_uint("2x", 1, 16, &v), -EINVAL);
	assert_int_equal(parse_uint("2k", 1, 16, &v), -EINVAL);
	assert_int_equal(parse_uint("-1", 1, 16, &v), -EINVAL);
	assert_int_equal(parse_uint("", 0, 16, &v), -EINVAL);
	assert_int_equal(v, 77);
}

static void test_suggest(void **state)
{
	static const char *const names[] = {
	        "hostbridge", "amd_hostbridge", "lpc", "uart", "virtio-net", "virtio-blk"};
	const size_t n = ARRAY_SIZE(names);
	char word[200];

	assert_string_equal(suggest("virito-net", names, n), "virtio-net");
	assert_string_equal(suggest("virtio-nett", names, n), "virtio-net");
	assert_string_equal(suggest("VIRTIO-BLK", names, n), "virtio-blk");
	assert_string_equal(suggest("hostbrige", names, n), "hostbridge");
	assert_string_equal(suggest("lcp", names, n), "lpc");
	assert_string_equal(suggest("lpcc", names, n), "lpc");
	assert_null(suggest("passthru", names, n));
	assert_null(suggest("", names, n));
	assert_null(suggest("xyz", names, n));
	assert_null(suggest("lpc", names, 0));
	memset(word, 'a', sizeof(word) - 1);
	word[sizeof(word) - 1] = 0;
	assert_null(suggest(word, names, n));
}

static void test_format(void **state)
{
	static const struct {
		u64 bytes;
		const char *text;
	} cases[] = {
	        {0, "0"},
	        {1, "1"},
	        {1023, "1023"},
	        {1024, "1K"},
	        {1536 * MiB, "1536M"},
	        {20 * GiB, "20G"},
	        {GiB + 1, "1073741825"},
	        {1ull << 60, "1E"},
	        {UINT64_MAX, "18446744073709551615"},
	};
	char buf[32];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(format_size(cases[i].bytes, buf, sizeof(buf)), cases[i].text);
	assert_string_equal(format_size(12345, buf, 4), "123");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_size),
	        cmocka_unit_test(test_uint),
	        cmocka_unit_test(test_suggest),
	        cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
