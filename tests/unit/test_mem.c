/*
 * Guest memory: bounds around both RAM ranges and the hole, copies that refuse as a whole, and the
 * code map's promise that a block decoded before a write is never taken for valid after it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>

#include "mem/mem.h"

static struct mem *fresh(u64 size)
{
	static struct mem m;
	struct err e;

	assert_int_equal(mem_create(&m, size, false, true, &e), 0);
	return &m;
}

static void bounds_low(void **state)
{
	struct mem *m = fresh(2 * MiB);

	assert_true(mem_is_ram(m, 0, 1));
	assert_true(mem_is_ram(m, 0, 2 * MiB));
	assert_false(mem_is_ram(m, 0, 2 * MiB + 1));
	assert_false(mem_is_ram(m, 0, 0));
	assert_true(mem_is_ram(m, 2 * MiB - 1, 1));
	assert_false(mem_is_ram(m, 2 * MiB - 1, 2));
	assert_false(mem_is_ram(m, 2 * MiB, 1));
	assert_false(mem_is_ram(m, UINT64_MAX, 1));
	assert_false(mem_is_ram(m, 1, UINT64_MAX));
	assert_false(mem_is_ram(m, 4 * GiB, 1));
	mem_destroy(m);
}

static void bounds_high(void **state)
{
	struct mem *m = fresh(3 * GiB + 4 * MiB);

	assert_int_equal(m->low, 3 * GiB);
	assert_int_equal(m->high, 4 * MiB);
	assert_true(mem_is_ram(m, 3 * GiB - 8, 8));
	assert_false(mem_is_ram(m, 3 * GiB - 8, 9));
	assert_false(mem_is_ram(m, 3 * GiB, 1));
	assert_false(mem_is_ram(m, 4 * GiB - 1, 1));
	assert_false(mem_is_ram(m, 4 * GiB - 1, 2));
	assert_true(mem_is_ram(m, 4 * GiB, 4 * MiB));
	assert_false(mem_is_ram(m, 4 * GiB + 4 * MiB - 1, 2));
	assert_false(mem_is_ram(m, 1 * GiB, 4 * GiB)); /* would span the hole */
	mem_destroy(m);
}

static void copies(void **state)
{
	struct mem *m = fresh(MiB);
	char buf[8] = "abcdefg", back[8] = "";

	assert_int_equal(mem_write(m, MiB - 8, buf, 8), 0);
	assert_int_equal(mem_read(m, MiB - 8, back, 8), 0);
	assert_memory_equal(buf, back, 8);
	memset(back, 'x', 8);
	assert_int_equal(mem_read(m, MiB - 7, back, 8), -EFAULT);
	assert_memory_equal(back, "xxxxxxxx", 8);
	assert_int_equal(mem_write(m, MiB - 4, buf, 8), -EFAULT);
	assert_int_equal(mem_read(m, MiB - 8, back, 8), 0);
	assert_memory_equal(buf, back, 8);
	assert_int_equal(mem_zero(m, MiB - 8, 8), 0);
	assert_int_equal(*(u64 *)mem_ptr(m, MiB - 8, 8), 0);
	assert_int_equal(mem_write(m, UINT64_MAX, buf, 0), 0);
	mem_destroy(m);
}

static void refused_sizes(void **state)
{
	struct mem m;
	struct err e;

	assert_int_equal(mem_create(&m, MiB - 1, false, false, &e), -EINVAL);
	assert_int_equal(mem_create(&m, MiB + 1, false, false, &e), -EINVAL);
	assert_int_equal(mem_create(&m, 1ull << 50, false, false, &e), -ENOMEM);
	assert_non_null(strstr(e.text, "-m"));
}

/* Nothing of what was there can be read or run any more. */
static void clearing(void **state)
{
	struct mem *m = fresh(3 * GiB + 4 * MiB);
	const u64 high = 4 * GiB + 0x5000;
	u8 buf[16] = {1, 2, 3}, zero[16] = {0};
	u32 low_gen, high_gen;
	bool first;

	assert_int_equal(mem_write(m, 0x5000, buf, sizeof(buf)), 0);
	assert_int_equal(mem_write(m, high, buf, sizeof(buf)), 0);
	low_gen = mem_code_mark(m, 0x5000, 16, &first);
	high_gen = mem_code_mark(m, high, 16, &first);
	assert_int_equal(mem_clear(m), 0);
	assert_int_equal(mem_read(m, 0x5000, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, zero, sizeof(buf));
	assert_int_equal(mem_read(m, high, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, zero, sizeof(buf));
	assert_int_not_equal(mem_code_gen(m, 0x5000), low_gen);
	assert_int_not_equal(mem_code_gen(m, high), high_gen);
	mem_destroy(m);
}

static void code_lines(void **state)
{
	struct mem *m = fresh(MiB);
	bool first = false;
	u32 gen = mem_code_mark(m, 0x5040, 16, &first);

	assert_true(first);
	assert_int_equal(mem_code_mark(m, 0x5048, 8, &first), gen);
	assert_false(first);
	assert_int_equal(mem_code_mark(m, 0x5040, 4, &first), gen);
	assert_int_equal(mem_code_gen(m, 0x5040), gen);
	mem_wrote(m, 0x5000, 64); /* the line before */
	mem_wrote(m, 0x5080, 64); /* the line after */
	mem_wrote(m, 0x4fff, 1);  /* another page */
	assert_int_equal(mem_code_gen(m, 0x5040), gen);
	mem_wrote(m, 0x507f, 1);
	assert_int_not_equal(mem_code_gen(m, 0x5040), gen);
	gen = mem_code_gen(m, 0x5000);
	mem_wrote(m, 0x5040, 64); /* nothing is marked any more */
	assert_int_equal(mem_code_gen(m, 0x5000), gen);
	gen = mem_code_mark(m, 0x503c, 8, &first); /* two lines */
	assert_true(first);
	mem_wrote(m, 0x5000, 1);
	assert_int_not_equal(mem_code_gen(m, 0x5000), gen);
	gen = mem_code_mark(m, 0x6000, 4096, &first);
	mem_wrote(m, 0x5ff0, 32); /* a write that straddles pages */
	assert_int_not_equal(mem_code_gen(m, 0x6000), gen);
	mem_destroy(m);
}

struct race {
	struct mem *m;
	u32 stop;
};

static void *writer(void *arg)
{
	struct race *r = arg;

	for (u32 v = 1; !__atomic_load_n(&r->stop, __ATOMIC_RELAXED); v++) {
		__atomic_store_n((u32 *)mem_ptr(r->m, 0x8000, 4), v, __ATOMIC_RELAXED);
		mem_wrote(r->m, 0x8000, 4);
	}
	return NULL;
}

/* A copy taken under a generation that still holds must equal memory once the writer has stopped. */
static void code_race(void **state)
{
	struct race r = {.m = fresh(MiB)};
	pthread_t t;
	u32 gen = 0, seen = 0;
	bool first;

	assert_int_equal(pthread_create(&t, NULL, writer, &r), 0);
	for (unsigned n = 0; n < 20000; n++) {
		gen = mem_code_mark(r.m, 0x8000, 4, &first);
		seen = __atomic_load_n((u32 *)mem_ptr(r.m, 0x8000, 4), __ATOMIC_RELAXED);
	}
	__atomic_store_n(&r.stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	if (mem_code_gen(r.m, 0x8000) == gen)
		assert_int_equal(seen, *(u32 *)mem_ptr(r.m, 0x8000, 4));
	mem_destroy(r.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(bounds_low),
	        cmocka_unit_test(bounds_high),
	        cmocka_unit_test(copies),
	        cmocka_unit_test(refused_sizes),
	        cmocka_unit_test(clearing),
	        cmocka_unit_test(code_lines),
	        cmocka_unit_test(code_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
