/*
 * The fuzz target of the chips fed with random numbers from fixed seeds: some 10^5 steps. It aborts
 * when one of its checks fails; print the seed to find it again.
 */
#include "base/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ROUNDS 16
#define LEN 30000

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

static void random_steps(void **state)
{
	static u8 buf[LEN];
	u64 x = 0x9e3779b97f4a7c15;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < LEN; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			buf[i] = (u8)(x >> 32);
		}
		print_message("round %u ends at %#lx\n", round, (unsigned long)x);
		assert_int_equal(LLVMFuzzerTestOneInput(buf, LEN), 0);
	}
}

static void short_inputs(void **state)
{
	u8 two[2] = {0};

	assert_int_equal(LLVMFuzzerTestOneInput(two, 0), 0);
	for (unsigned i = 0; i < 65536; i += 257) {
		two[0] = (u8)i;
		two[1] = (u8)(i >> 8);
		assert_int_equal(LLVMFuzzerTestOneInput(two, 2), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_steps), cmocka_unit_test(short_inputs)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
