/*
 * Multiboot headers, good and broken; kernels and modules as they end up in memory, and what the kernel is
 * told. Whole kernels run in tests/system/test_multiboot.py.
 */
#include "boot/multiboot.h"

#include "multiboot_kernels.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define LIMIT (16 * MiB)

static u8 file[3 * MB_SEARCH];
static struct boot_image img;
static struct err e;

static int parse(size_t len)
{
	/* An exact heap block, so that a sanitizer sees a read beyond it. */
	u8 *copy = malloc(len ? len : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, file, len);
	memset(&img, 0, sizeof(img));
	memset(&e, 0, sizeof(e));
	rc = mb_parse(copy, len, LIMIT, "k", &img, &e);
	assert_true(rc == 0 || e.text[0]);
	if (rc == 0 && img.nsegments)
		img.segment[0].data = file + (img.segment[0].data - copy);
	free(copy);
	return rc;
}

static void header(void **state)
{
	struct mb_header h;

	memset(file, 0, sizeof(file));
	assert_false(mb_find(file, sizeof(file), &h));
	for (u32 at = 0; at < MB_SEARCH + 8; at += at < 64 ? 1 : 61) {
		memset(file, 0, sizeof(file));
		put_header(file + at, 2);
		assert_int_equal(mb_find(file, sizeof(file), &h), at % 4 == 0 && at + 12 <= MB_SEARCH);
		if (at % 4 == 0 && at + 12 <= MB_SEARCH) {
			assert_int_equal(h.at, at);
			assert_true(mb_find(file, at + 12, &h));
			assert_false(mb_find(file, at + 11, &h));
		}
	}
	/* A wrong sum is no header, but one may follow. With addresses all of them must be there. */
	memset(file, 0, sizeof(file));
	put_header(file, 2);
	file[8]++;
	put_header(file + 64, 0x10000);
	assert_false(mb_find(file, 64 + 31, &h));
	assert_true(mb_find(file, 64 + 32, &h));
	assert_int_equal(h.at, 64);
	put_header(file + MB_SEARCH - 28, 0x10000);
	file[64 + 8]++;
	assert_false(mb_find(file, sizeof(file), &h));
}

static void flags(void **state)
{
	size_t len = make_elf_mb(file, sizeof(file), false);

	for (unsigned bit = 0; bit < 32; bit++) {
		if (bit == 16)
			continue;
		put_header(file + MB_AT, BIT(bit));
		assert_int_equal(parse(len), bit < 3 || bit > 16 ? 0 : -ENOEXEC);
	}
}

static void flat(void **state)
{
	size_t len = make_flat(file, sizeof(file));

	assert_int_equal(parse(len), 0);
	assert_int_equal(img.nsegments, 1);
	assert_int_equal(img.segment[0].gpa, MB_LOAD);
	assert_ptr_equal(img.segment[0].data, file + 0x100);
	assert_int_equal(img.segment[0].filesz, 0x800);
	assert_int_equal(img.segment[0].memsz, MB_BSS);
	assert_int_equal(img.entry, MB_LOAD + MB_ENTRY);
	assert_int_equal(img.kernel_end, MB_LOAD + MB_BSS);
	assert_false(img.entry64);
	/* No ends: the whole file, nothing behind it. */
	put_le32(file + MB_AT + 20, 0);
	put_le32(file + MB_AT + 24, 0);
	assert_int_equal(parse(len), 0);
	assert_int_equal(img.segment[0].filesz, MB_LEN - 0x100);
	assert_int_equal(img.segment[0].memsz, MB_LEN - 0x100);
}

/*
 * Every address of the header from a set of values that break arithmetic: what is accepted lies in the file
 * and in memory (load_end beyond bss_end is one of CVE-2017-14167 and its relatives).
 */
static void hostile_addresses(void **state)
{
	size_t len = make_flat(file, sizeof(file));
	const u32 base[5] = {
	        MB_LOAD + MB_AT - 0x100, MB_LOAD, MB_LOAD + 0x800, MB_LOAD + MB_BSS, MB_LOAD + MB_ENTRY};
	const u32 other[] = {0, 1, 0xfffff, 0x100000, MB_LOAD - 1, MB_LOAD, MB_LOAD + 1, MB_LOAD + 0x7ff,
	        MB_LOAD + MB_LEN - 0x100, MB_LOAD + MB_LEN - 0xff, 0x7fffffff, 0x80000000, 0xfffffffe,
	        0xffffffff};
	const unsigned n = ARRAY_SIZE(other);
	unsigned good = 0;

	for (unsigned pair = 0; pair < 25; pair++) {
		for (unsigned k = 0; k < n * n; k++) {
			u32 v[5];

			memcpy(v, base, sizeof(v));
			v[pair / 5] = other[k / n];
			v[pair % 5] = other[k % n];
			for (unsigned i = 0; i < 5; i++)
				put_le32(file + MB_AT + 12 + 4 * i, v[i]);
			if (parse(len) < 0)
				continue;
			good++;
			assert_true(img.segment[0].data >= file);
			assert_true(img.segment[0].filesz <= len - (size_t)(img.segment[0].data - file));
			assert_true(img.segment[0].filesz <= img.segment[0].memsz);
			assert_in_range(img.segment[0].gpa, MiB, LIMIT);
			assert_true(img.segment[0].memsz <= LIMIT - img.segment[0].gpa);
			assert_in_range(img.entry, img.segment[0].gpa,
			        img.segment[0].gpa + img.segment[0].filesz - 1);
		}
	}
	assert_true(good > 100);
}

static void elf(void **state)
{
	for (unsigned wide = 0; wide < 2; wide++) {
		size_t len = make_elf_mb(file, sizeof(file), wide);

		assert_int_equal(parse(len), 0);
		assert_int_equal(img.nsegments, 1);
		assert_int_equal(img.segment[0].gpa, MB_LOAD);
		assert_int_equal(img.segment[0].memsz, MB_BSS);
		assert_int_equal(img.entry, MB_LOAD + MB_ENTRY); /* where the linked address is loaded */
		assert_int_equal(img.kernel_end, MB_LOAD + MB_BSS);
		assert_false(img.entry64);
		for (size_t cut = 0; cut < 0x900; cut++)
			assert_true(parse(cut) < 0);
		assert_int_equal(parse(0x900), 0);
	}
}

static void hostile_elf(void **state)
{
	static const u64 values[] = {0, 1, 0x7f, 0x80, 0xfff, 0xfffff, 0x100000, 0x7fffffff, 0x80000000,
	        0xffffffff, 0x100000000, 0x7fffffffffffffff, 0xffffffffffffffff};

	for (unsigned wide = 0; wide < 2; wide++) {
		for (unsigned at = 16; at < 128; at++) {
			for (unsigned n = 0; n < ARRAY_SIZE(values); n++) {
				size_t len = make_elf_mb(file, sizeof(file), wide);

				memcpy(file + at, &values[n], wide ? 8 : 4);
				if (parse(len) < 0)
					continue;
				for (unsigned i = 0; i < img.nsegments; i++)
					assert_true(img.segment[i].gpa >= MiB &&
					            img.segment[i].memsz <= LIMIT - img.segment[i].gpa);
			}
		}
	}
}

/* --- whole images --- */

static char dir[] = "/tmp/xhyve-multiboot-XXXXXX";

static const char *write_file(const char *name, const void *data, size_t len)
{
	static char path[4][64];
	static unsigned turn;
	char *p = path[turn++ % 4];
	int fd;

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	fd = open(p, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
	return p;
}

static void placed(void **state)
{
	static const u8 bytes[5000] = {7, 8, 9};
	const char *kernel = write_file("k", file, make_flat(file, sizeof(file)));
	const struct boot_module_args module[] = {
	        {.path = write_file("m", bytes, sizeof(bytes)), .args = "x y"},
	        {.path = write_file("n", "abc", 3)}};
	struct boot_multiboot_args args = {
	        .kernel = kernel, .cmdline = "a b", .module = module, .nmodules = 2};
	struct board_info board = {.ncpus = 1, .ecam = {0xe0000000, 256 * MiB}};
	struct boot_tables_out tables = {0};
	struct boot_region map[8];
	struct x86_state s;
	struct mem m;
	const u8 *info;
	char text[128];

	assert_int_equal(mem_create(&m, 32 * MiB, false, false, &e), 0);
	assert_int_equal(boot_multiboot_load(&args, &m, &img, &e), 0);
	assert_int_equal(boot_multiboot_place(&img, &m, &board, &tables, &s, &e), 0);
	assert_int_equal(s.rip, MB_LOAD + MB_ENTRY);
	assert_int_equal(s.gpr[RAX], 0x2badb002);
	assert_int_equal(s.cr0 & 0x80000001, 1);
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.seg[SEG_CS].attr, 0xc09b);
	info = m.base + s.gpr[RBX];
	assert_int_equal(get_le32(info), 0x24d);
	assert_int_equal(get_le32(info + 4), 639);
	assert_int_equal(get_le32(info + 8), 31 * 1024);
	assert_int_equal(get_le32(info + 20), 2);
	snprintf(text, sizeof(text), "%s a b", kernel);
	assert_string_equal((const char *)m.base + get_le32(info + 16), text);
	info = m.base + get_le32(info + 24);
	assert_int_equal(get_le32(info), MB_LOAD + MB_BSS);
	assert_int_equal(get_le32(info + 4), MB_LOAD + MB_BSS + 5000);
	assert_memory_equal(m.base + get_le32(info), bytes, sizeof(bytes));
	snprintf(text, sizeof(text), "%s x y", module[0].path);
	assert_string_equal((const char *)m.base + get_le32(info + 8), text);
	assert_int_equal(get_le32(info + 16), MB_LOAD + MB_BSS + 8192);
	assert_memory_equal(m.base + get_le32(info + 16), "abc", 3);
	assert_string_equal((const char *)m.base + get_le32(info + 24), module[1].path);
	assert_memory_equal(m.base + MB_LOAD, file + 0x100, 0x800);
	for (u32 n = 0x800; n < MB_BSS; n++)
		assert_int_equal(m.base[MB_LOAD + n], 0);
	assert_int_equal(boot_multiboot_map(&m, map, ARRAY_SIZE(map)), 4);
	assert_int_equal(map[2].gpa, MiB);
	assert_int_equal(map[2].len, 31 * MiB);
	boot_linux_free(&img);
	mem_destroy(&m);
}

static void refused(void **state)
{
	const char *kernel = write_file("k", file, make_flat(file, sizeof(file)));
	struct boot_module_args module[BOOT_MODULES_MAX + 1];
	struct boot_multiboot_args args = {
	        .kernel = kernel, .module = module, .nmodules = ARRAY_SIZE(module)};
	char *longer = malloc(70000);
	struct mem m;

	assert_non_null(longer);
	memset(longer, 'x', 70000);
	longer[69999] = 0;
	for (unsigned n = 0; n < ARRAY_SIZE(module); n++)
		module[n] = (struct boot_module_args){.path = kernel};
	assert_int_equal(mem_create(&m, 8 * MiB, false, false, &e), 0);
	assert_true(boot_multiboot_load(&args, &m, &img, &e) < 0);
	assert_non_null(strstr(e.text, "more than 64 modules"));
	args.nmodules = BOOT_MODULES_MAX;
	assert_int_equal(boot_multiboot_load(&args, &m, &img, &e), 0);
	boot_linux_free(&img);
	args.nmodules = 0;
	args.cmdline = longer;
	assert_int_equal(boot_multiboot_load(&args, &m, &img, &e), -E2BIG);
	args.cmdline = NULL;
	args.nmodules = 1;
	module[0].path = write_file("large", file, sizeof(file));
	assert_int_equal(truncate(module[0].path, 7 * MiB), 0);
	assert_int_equal(boot_multiboot_load(&args, &m, &img, &e), -ENOMEM);
	assert_non_null(strstr(e.text, "does not fit"));
	module[0].path = dir;
	assert_true(boot_multiboot_load(&args, &m, &img, &e) < 0);
	mem_destroy(&m);
	free(longer);
}

static int group_setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int group_teardown(void **state)
{
	static const char *const names[] = {"k", "m", "n", "large"};
	char path[64];

	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[n]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(header),
	        cmocka_unit_test(flags),
	        cmocka_unit_test(flat),
	        cmocka_unit_test(hostile_addresses),
	        cmocka_unit_test(elf),
	        cmocka_unit_test(hostile_elf),
	        cmocka_unit_test(placed),
	        cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
