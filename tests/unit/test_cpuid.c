/*
 * CPUID of the software CPU: what must hold whatever the host is, and instructions of features that are not
 * advertised.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "accel/soft/interp/decode.h"

static bool nothing(u32 feature)
{
	return false;
}

static void get(const struct cpuid_table *t, u32 leaf, u32 sub, struct cpuid_regs *r)
{
	cpuid_leaf(t, leaf, sub, 7, false, r);
}

static void test_identity(void **state)
{
	struct cpuid_table t;
	struct cpuid_regs r;
	char text[49] = {0};

	cpuid_init(&t, 3, 2, 2600000000u, "test", NULL);
	get(&t, 0, 0, &r);
	memcpy(text, &r.ebx, 4);
	memcpy(text + 4, &r.edx, 4);
	memcpy(text + 8, &r.ecx, 4);
	assert_string_equal(text, "GenuineIntel");
	for (u32 n = 0; n < 3; n++) {
		get(&t, 0x80000002 + n, 0, &r);
		memcpy(text + n * 16, &r, 16);
	}
	assert_string_equal(text, "xhyve software CPU (test)");
	get(&t, 1, 0, &r);
	assert_int_equal(r.ebx >> 24, 2);
	assert_int_equal(r.ebx >> 16 & 0xff, 4); /* ids in the package: a power of two */
	assert_int_equal(r.eax, cpuid_signature(&t));
	get(&t, 0xb, 1, &r);
	assert_int_equal(r.eax, 2);
	assert_int_equal(r.ebx, 3);
	assert_int_equal(r.edx, 2);
}

/* The fraction in leaf 15 gives the TSC's frequency to a millionth, by the 32-bit arithmetic of Linux. */
static void test_tsc(void **state)
{
	static const u64 hz[] = {
	        1000000000u, 1896000123u, 2596098765u, 2599999999u, 3299123456u, 4294967296u, 5700000321u};

	for (unsigned n = 0; n < ARRAY_SIZE(hz); n++) {
		struct cpuid_table t;
		struct cpuid_regs r;

		cpuid_init(&t, 1, 0, hz[n], "test", NULL);
		get(&t, 0x15, 0, &r);
		assert_int_not_equal(r.eax, 0);
		assert_true((u64)r.ecx / 1000 * r.ebx <= UINT32_MAX);
		u64 khz = r.ecx / 1000 * r.ebx / r.eax;
		u64 want = hz[n] / 1000;
		assert_in_range(khz, want - want / 1000000 - 1, want + want / 1000000 + 1);
	}
}

static void test_same_on_all(void **state)
{
	struct cpuid_table a, b;

	cpuid_init(&a, 4, 0, 2000000000u, "x", NULL);
	cpuid_init(&b, 4, 3, 2000000000u, "x", NULL);
	assert_memory_equal(a.words, b.words, sizeof(a.words));
	for (u32 leaf = 0; leaf <= 0x16; leaf++) {
		for (u32 sub = 0; sub < 4; sub++) {
			struct cpuid_regs r, s;

			get(&a, leaf, sub, &r);
			get(&b, leaf, sub, &s);
			if (leaf == 1)
				s.ebx = (s.ebx & 0xffffff) | (r.ebx & 0xff000000);
			if (leaf == 0xb)
				s.edx = r.edx;
			assert_memory_equal(&r, &s, sizeof(r));
		}
	}
}

/* Sizes of leaf 0xD follow XCR0; the hypervisor's leaves end where they say. */
static void test_leaves(void **state)
{
	struct cpuid_table t;
	struct cpuid_regs r;

	cpuid_init(&t, 1, 0, 2000000000u, "x", NULL);
	if (cpuid_has(&t, CF_AVX)) {
		cpuid_leaf(&t, 0xd, 0, 3, true, &r);
		assert_int_equal(r.ebx, 576);
		assert_int_equal(r.ecx, 832);
		cpuid_leaf(&t, 0xd, 0, 7, true, &r);
		assert_int_equal(r.ebx, 832);
		get(&t, 0xd, 2, &r);
		assert_int_equal(r.ebx + r.eax, 832);
	}
	cpuid_leaf(&t, 1, 0, 1, true, &r);
	assert_true(r.ecx >> 27 & 1);
	cpuid_leaf(&t, 1, 0, 1, false, &r);
	assert_false(r.ecx >> 27 & 1);
	get(&t, 0x40000000, 0, &r);
	assert_int_equal(r.eax, 0x40000001);
	get(&t, 0x40000001, 0, &r);
	assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	get(&t, 0x12345, 0, &r); /* beyond the last: as the last */
	assert_int_equal(r.eax, 2000);
}

/* Which handler do these bytes get? */
static insn_fn *handler(const struct cpuid_table *t, const char *bytes, unsigned len, u8 *got)
{
	static struct decoders ds;
	struct insn i;
	u8 buf[INSN_MAX] = {0};

	memcpy(buf, bytes, len);
	decoders_init(&ds, t);
	decode_insn(&ds, t, HF_PE | HF_LMA | HF_CS64 | HF_OSFXSR | HF_OSXSAVE | HF_AVX, buf, INSN_MAX, &i);
	if (got)
		*got = i.len;
	return i.fn;
}

static void test_not_advertised(void **state)
{
	struct cpuid_table none, all;
	u8 len = 0;

	cpuid_init(&none, 1, 0, 0, "x", nothing);
	cpuid_init(&all, 1, 0, 0, "x", feature_bound);
	assert_false(cpuid_has(&none, CF_AVX2));
	assert_false(cpuid_has(&none, CF_XGETBV1));                           /* needs XSAVE */
	assert_ptr_equal(handler(&none, "\xf3\x0f\xb8\xc0", 4, NULL), op_ud); /* POPCNT */
	assert_ptr_not_equal(handler(&all, "\xf3\x0f\xb8\xc0", 4, NULL), op_ud);
	assert_ptr_equal(handler(&none, "\xc5\xf8\x58\xc0", 4, NULL), op_ud);        /* VADDPS */
	assert_ptr_equal(handler(&all, "\x62\xf1\x7c\x48\x58\xc0", 6, NULL), op_ud); /* EVEX */
	assert_ptr_equal(handler(&all, "\x0f\x01\xc1", 3, NULL), op_ud);             /* VMCALL */
	assert_ptr_equal(handler(&all, "\x0f\x01\xc8", 3, NULL), op_ud);             /* MONITOR */
	/* LZCNT without its bit is BSR */
	assert_ptr_not_equal(handler(&none, "\xf3\x0f\xbd\xc0", 4, NULL), op_ud);
	assert_ptr_not_equal(
	        handler(&none, "\xf3\x0f\xbd\xc0", 4, NULL), handler(&all, "\xf3\x0f\xbd\xc0", 4, NULL));
	/* ENDBR64, RDSSP, CLDEMOTE, PREFETCHW, hints: no-operations of the right length */
	assert_ptr_not_equal(handler(&all, "\xf3\x0f\x1e\xfa", 4, &len), op_ud);
	assert_int_equal(len, 4);
	assert_ptr_not_equal(handler(&all, "\xf3\x48\x0f\x1e\xc8", 5, &len), op_ud);
	assert_int_equal(len, 5);
	assert_ptr_not_equal(handler(&all, "\x0f\x1c\x00", 3, NULL), op_ud);
	assert_ptr_not_equal(handler(&all, "\x0f\x0d\x08", 3, NULL), op_ud);
	assert_ptr_not_equal(handler(&all, "\x0f\x1f\x84\x00\x00\x00\x00\x00", 8, &len), op_ud);
	assert_int_equal(len, 8);
	/* LOCK where it is not allowed */
	assert_ptr_equal(handler(&all, "\xf0\x89\xc0", 3, NULL), op_ud);
	assert_ptr_equal(handler(&all, "\xf0\x0f\x20\xc0", 4, NULL), op_ud);
	/* MOV to CS, CR1, CR5 */
	assert_ptr_equal(handler(&all, "\x8e\xc8", 2, NULL), op_ud);
	assert_ptr_equal(handler(&all, "\x0f\x20\xc8", 3, NULL), op_ud);
	assert_ptr_equal(handler(&all, "\x0f\x22\xe8", 3, NULL), op_ud);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_identity),
	        cmocka_unit_test(test_tsc),
	        cmocka_unit_test(test_same_on_all),
	        cmocka_unit_test(test_leaves),
	        cmocka_unit_test(test_not_advertised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
