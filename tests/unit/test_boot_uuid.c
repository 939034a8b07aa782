/*
 * SHA-1 with the vectors of RFC 3174 and at lengths where the padding changes shape (values from
 * Python's hashlib), UUID text, UUIDs from names (value from Python's uuid5).
 */
#include "boot/boot.h"
#include "boot/sha1.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void check_sha1(const char *text, size_t len, const char *hex)
{
	u8 out[SHA1_SIZE];
	char got[2 * SHA1_SIZE + 1];

	sha1(text, len, out);
	for (unsigned n = 0; n < SHA1_SIZE; n++)
		sprintf(got + 2 * n, "%02x", out[n]);
	assert_string_equal(got, hex);
}

static void sha1_vectors(void **state)
{
	const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	char *million = malloc(1000000), eighty[641];

	check_sha1("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
	check_sha1("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	check_sha1(two, strlen(two), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
	memset(million, 'a', 1000000);
	check_sha1(million, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
	free(million);
	for (unsigned n = 0; n < 80; n++)
		memcpy(eighty + n * 8, "01234567", 8);
	check_sha1(eighty, 640, "dea356a2cddd90c7a7ecedc5ebb563934f460452");
}

/* Lengths around the block size, where padding takes one block or two. */
static void sha1_padding(void **state)
{
	static const struct {
		size_t len;
		const char *hex;
	} cases[] = {
	        {54, "b05d71c64979cb95fa74a33cdb31a40d258ae02e"},
	        {55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
	        {56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
	        {63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"},
	        {64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
	        {65, "11655326c708d70319be2610e8a57d9a5b959d3b"},
	        {119, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56"},
	        {120, "f34c1488385346a55709ba056ddd08280dd4c6d6"},
	};
	char text[128];

	memset(text, 'a', sizeof(text));
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++)
		check_sha1(text, cases[n].len, cases[n].hex);
}

static void text_form(void **state)
{
	static const char good[] = "00112233-4455-6677-8899-aabbccddeeff";
	static const char *const bad[] = {"", "0", "00112233-4455-6677-8899-aabbccddeef",
	        "00112233-4455-6677-8899-aabbccddeeff0", "00112233445566778899aabbccddeeff",
	        "{0112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeefg",
	        "0011223-34455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddee-f",
	        " 0112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff ",
	        "00112233_4455-6677-8899-aabbccddeeff"};
	u8 uuid[16];
	char buf[37];

	assert_int_equal(parse_uuid(good, uuid), 0);
	for (unsigned n = 0; n < 16; n++)
		assert_int_equal(uuid[n], n * 0x11);
	format_uuid(uuid, buf);
	assert_string_equal(buf, good);
	assert_int_equal(parse_uuid("FFFFFFFF-ABCD-EF01-2345-67890ABCDEF0", uuid), 0);
	assert_int_equal(uuid[4], 0xab);
	for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
		u8 before[16];

		memcpy(before, uuid, 16);
		assert_int_equal(parse_uuid(bad[n], uuid), -EINVAL);
		assert_memory_equal(before, uuid, 16);
	}
}

static void from_names(void **state)
{
	u8 a[16], b[16];
	char text[37], *large = malloc(5000);

	uuid_derive("vm", a);
	uuid_derive("vm", b);
	assert_memory_equal(a, b, 16);
	format_uuid(a, text);
	assert_string_equal(
	        text, "e2ec3ebe-49a9-53bb-bac9-88c2e32d3880"); /* written in stone: guests are known by it */
	assert_int_equal(a[6] >> 4, 5);
	assert_int_equal(a[8] >> 6, 2);
	uuid_derive("vn", b);
	assert_memory_not_equal(a, b, 16);
	uuid_derive("", b);
	assert_memory_not_equal(a, b, 16);
	memset(large, 'x', 4999);
	large[4999] = 0;
	uuid_derive(large, b);
	free(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(sha1_vectors),
	        cmocka_unit_test(sha1_padding),
	        cmocka_unit_test(text_form),
	        cmocka_unit_test(from_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
