/*
 * Linux loader on synthetic kernels: where things go, what the guest finds, and every file or header
 * that must be refused with a message.
 */
#include "boot/boot.h"
#include "x86/x86.h"

#include "boot_board.h"
#include "boot_kernels.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define IMAGE_LEN 0x400u

static u8 file[1 << 20];

/* --- fixture: a directory for files, memory, one load --- */

struct bench {
	char dir[32];
	char kernel[64], initrd[64];
	struct mem m;
	struct board_info board;
	struct boot_tables_out tables;
	struct boot_image img;
	struct x86_state cpu;
	struct err e;
};

static struct bench bench;

static void bench_start(u64 ram)
{
	struct bench *t = &bench;

	memset(t, 0, sizeof(*t));
	strcpy(t->dir, "/tmp/xhyve-boot-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->kernel, sizeof(t->kernel), "%.40s/kernel", t->dir);
	snprintf(t->initrd, sizeof(t->initrd), "%.40s/initrd", t->dir);
	assert_int_equal(mem_create(&t->m, ram, false, false, &t->e), 0);
	test_board(&t->board, &t->m);
}

static void bench_stop(void)
{
	boot_linux_free(&bench.img);
	mem_destroy(&bench.m);
	unlink(bench.kernel);
	unlink(bench.initrd);
	rmdir(bench.dir);
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

static int load(const char *initrd, const char *cmdline)
{
	const struct boot_linux_args args = {.kernel = bench.kernel, .initrd = initrd, .cmdline = cmdline};

	boot_linux_free(&bench.img);
	bench.e.text[0] = 0;
	return boot_linux_load(&args, &bench.m, &bench.img, &bench.e);
}

static int load_bytes(size_t len)
{
	write_file(bench.kernel, file, len);
	return load(NULL, "");
}

static void place(void)
{
	assert_int_equal(boot_tables(&bench.m, &bench.board, &bench.tables, &bench.e), 0);
	assert_int_equal(
	        boot_linux_place(&bench.img, &bench.m, &bench.board, &bench.tables, &bench.cpu, &bench.e), 0);
}

static void assert_message(const char *part)
{
	if (!strstr(bench.e.text, part))
		fail_msg("message \"%s\" lacks \"%s\"", bench.e.text, part);
}

static void refused(size_t len, const char *part)
{
	assert_true(load_bytes(len) < 0);
	assert_message(part);
	assert_message(bench.kernel);
	assert_null(bench.img.file);
}

static bool all_bytes(const u8 *p, size_t len, u8 value)
{
	for (size_t n = 0; n < len; n++)
		if (p[n] != value)
			return false;
	return true;
}

/* --- what the guest finds --- */

/* Walks four-level tables; the physical address or ~0. */
static u64 walk(u64 cr3, u64 va)
{
	u64 table = cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		const u8 *p = mem_ptr(&bench.m, table + (va >> shift & 511) * 8, 8);
		u64 entry;

		assert_non_null(p);
		entry = get_le64(p);
		if (!(entry & PTE_P))
			return ~0ull;
		table = entry & PTE_ADDR;
		if (entry & PTE_PS)
			return shift == 21 ? table + (va & (2 * MiB - 1)) : ~0ull;
	}
	return ~0ull;
}

static void check_identity(u64 cr3)
{
	for (u64 va = 0; va < MAX(bench.m.span, 4 * GiB); va += 37 * MiB + 4321)
		assert_int_equal(walk(cr3, va), va);
	assert_int_equal(walk(cr3, bench.m.span - 1), bench.m.span - 1);
}

struct e820_expect {
	u64 from, to;
	u32 type;
};

static void check_e820(const struct e820_expect *x, unsigned count)
{
	const u8 *zp = bench.m.base + bench.cpu.gpr[RSI];

	assert_int_equal(zp[0x1e8], count);
	for (unsigned n = 0; n < count; n++) {
		const u8 *p = zp + 0x2d0 + n * 20;

		assert_int_equal(get_le64(p), x[n].from);
		assert_int_equal(get_le64(p + 8), x[n].to - x[n].from);
		assert_int_equal(get_le32(p + 16), x[n].type);
	}
}

static void entry_64(void **state)
{
	const u64 ram = 64 * MiB, acpi = ram - BOOT_TABLES_SIZE;
	const struct e820_expect map[] = {{0, 0x9fc00, 1}, {0x9fc00, 0x100000, 2}, {MiB, acpi, 1},
	        {acpi, acpi + 4096, 4}, {acpi + 4096, ram, 3}, {0xe0000000, 0xf0000000, 2}};
	const u8 *zp;

	bench_start(ram);
	assert_int_equal(load_bytes(make_bzimage(file, sizeof(file), IMAGE_LEN)), 0);
	place();
	zp = bench.m.base + bench.cpu.gpr[RSI];
	assert_int_equal(bench.cpu.rip, TEST_LOAD + 0x200);
	assert_int_equal(bench.cpu.cr0, CR0_PE | CR0_PG | CR0_ET);
	assert_int_equal(bench.cpu.cr4, CR4_PAE);
	assert_int_equal(bench.cpu.efer, EFER_LME | EFER_LMA);
	assert_int_equal(bench.cpu.rflags, FL_1);
	assert_int_equal(bench.cpu.seg[SEG_CS].sel, 0x10);
	assert_true(bench.cpu.seg[SEG_CS].attr & SEG_ATTR_L);
	assert_int_equal(bench.cpu.seg[SEG_SS].sel, 0x18);
	assert_int_equal(bench.cpu.gdt.limit, 0x1f);
	assert_int_equal(get_le64(bench.m.base + bench.cpu.gdt.base + 0x10) >> 53 & 1, 1); /* L */
	check_identity(bench.cpu.cr3);
	assert_true(all_bytes(bench.m.base + TEST_LOAD, IMAGE_LEN, 0x5a));
	assert_memory_equal(zp + 0x202, "HdrS", 4);
	assert_int_equal(zp[HDR_TYPE_OF_LOADER], 0xff);
	assert_int_equal(get_le16(zp + HDR_VID_MODE), 0xffff);
	assert_int_equal(get_le64(zp + 0x70), bench.tables.rsdp);
	assert_int_equal(get_le32(zp + HDR_CODE32_START), TEST_LOAD);
	assert_true(all_bytes(zp, 0x70, 0)); /* no screen */
	check_e820(map, ARRAY_SIZE(map));
	bench_stop();
}

static void entry_32(void **state)
{
	bench_start(64 * MiB);
	make_bzimage(file, sizeof(file), IMAGE_LEN);
	put_le16(file + HDR_XLOADFLAGS, 0);
	assert_int_equal(load_bytes(TEST_SETUP_LEN + IMAGE_LEN), 0);
	place();
	assert_int_equal(bench.cpu.rip, TEST_LOAD);
	assert_int_equal(bench.cpu.cr0, CR0_PE | CR0_ET);
	assert_int_equal(bench.cpu.efer, 0);
	assert_true(bench.cpu.seg[SEG_CS].attr & SEG_ATTR_DB);
	assert_int_equal(bench.cpu.seg[SEG_DS].limit, 0xffffffff);
	assert_int_equal(bench.cpu.apic_base, 0xfee00900);
	bench.board.x2apic = true;
	place();
	assert_int_equal(bench.cpu.apic_base, 0xfee00d00);
	bench_stop();
}

static void high_ram(void **state)
{
	const u64 low = 3 * GiB, acpi = low - BOOT_TABLES_SIZE;
	const struct e820_expect map[] = {{0, 0x9fc00, 1}, {0x9fc00, 0x100000, 2}, {MiB, acpi, 1},
	        {acpi, acpi + 4096, 4}, {acpi + 4096, low, 3}, {0xe0000000, 0xf0000000, 2},
	        {4 * GiB, 6 * GiB, 1}};

	bench_start(5 * GiB);
	assert_int_equal(load_bytes(make_bzimage(file, sizeof(file), IMAGE_LEN)), 0);
	place();
	check_identity(bench.cpu.cr3);
	check_e820(map, ARRAY_SIZE(map));
	bench_stop();
}

static void without_acpi(void **state)
{
	const struct e820_expect map[] = {
	        {0, 0x9fc00, 1}, {0x9fc00, 0x100000, 2}, {MiB, 64 * MiB, 1}, {0xe0000000, 0xf0000000, 2}};

	bench_start(64 * MiB);
	bench.board.acpi = false;
	assert_int_equal(load_bytes(make_bzimage(file, sizeof(file), IMAGE_LEN)), 0);
	place();
	check_e820(map, ARRAY_SIZE(map));
	assert_int_equal(get_le64(bench.m.base + bench.cpu.gpr[RSI] + 0x70), 0);
	bench_stop();
}

static void oldest_protocol(void **state)
{
	bench_start(64 * MiB);
	make_bzimage(file, sizeof(file), IMAGE_LEN);
	put_le16(file + HDR_VERSION, 0x0206);
	put_le64(file + HDR_PREF_ADDRESS, ~0ull); /* not a field yet */
	file[HDR_JUMP + 1] = HDR_CMDLINE_SIZE + 4 - 0x202;
	assert_int_equal(load_bytes(TEST_SETUP_LEN + IMAGE_LEN), 0);
	assert_int_equal(bench.img.entry, MiB);
	assert_false(bench.img.entry64);
	put_le16(file + HDR_VERSION, 0x0205);
	refused(TEST_SETUP_LEN + IMAGE_LEN, "2.05");
	bench_stop();
}

/* --- initrd and command line --- */

static void initrd_high(void **state)
{
	static u8 rd[10000];
	u64 top;

	memset(rd, 0x77, sizeof(rd));
	bench_start(64 * MiB);
	write_file(bench.initrd, rd, sizeof(rd));
	write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
	assert_int_equal(load(bench.initrd, ""), 0);
	place();
	top = bench.img.page_tables;
	assert_int_equal(bench.img.initrd, ALIGN_DOWN(top - sizeof(rd), 4096ull));
	assert_true(all_bytes(bench.m.base + bench.img.initrd, sizeof(rd), 0x77));
	assert_int_equal(get_le32(bench.m.base + bench.cpu.gpr[RSI] + HDR_RAMDISK_IMAGE), bench.img.initrd);
	assert_int_equal(get_le32(bench.m.base + bench.cpu.gpr[RSI] + HDR_RAMDISK_SIZE), sizeof(rd));
	bench_stop();
}

static void initrd_limit_of_kernel(void **state)
{
	static u8 rd[10000];

	bench_start(64 * MiB);
	write_file(bench.initrd, rd, sizeof(rd));
	make_bzimage(file, sizeof(file), IMAGE_LEN);
	put_le32(file + HDR_INITRD_ADDR_MAX, 0xffffff);
	write_file(bench.kernel, file, TEST_SETUP_LEN + IMAGE_LEN);
	assert_int_equal(load(bench.initrd, ""), 0);
	assert_int_equal(bench.img.initrd, 0x1000000 - 3 * 4096);
	/* The kernel's own memory comes first. */
	put_le32(file + HDR_INITRD_ADDR_MAX, TEST_LOAD + TEST_INIT_SIZE + 0x1fff);
	write_file(bench.kernel, file, TEST_SETUP_LEN + IMAGE_LEN);
	assert_int_equal(load(bench.initrd, ""), -ENOMEM);
	assert_message(bench.initrd);
	assert_message("8K of memory left");
	bench_stop();
}

static void initrd_too_large(void **state)
{
	bench_start(64 * MiB);
	write_file(bench.initrd, "", 0);
	assert_int_equal(truncate(bench.initrd, 70 * MiB), 0);
	write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
	assert_int_equal(load(bench.initrd, ""), -ENOMEM);
	assert_message("70M");
	bench_stop();
}

static void initrd_strange(void **state)
{
	bench_start(64 * MiB);
	write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
	assert_true(load("/dev/null", "") < 0);
	assert_message("initrd /dev/null is a device");
	assert_int_equal(load(bench.initrd, ""), -ENOENT);
	assert_message(bench.initrd);
	write_file(bench.initrd, "", 0);
	assert_true(load(bench.initrd, "") < 0);
	assert_message("is empty");
	bench_stop();
}

static void command_line(void **state)
{
	char text[2050];
	const u8 *zp;

	memset(text, 'x', sizeof(text));
	bench_start(64 * MiB);
	write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
	text[2047] = 0;
	assert_int_equal(load(NULL, text), 0);
	place();
	zp = bench.m.base + bench.cpu.gpr[RSI];
	assert_string_equal((char *)bench.m.base + get_le32(zp + HDR_CMD_LINE_PTR), text);
	text[2047] = 'x';
	text[2048] = 0;
	assert_int_equal(load(NULL, text), -E2BIG);
	assert_message("2048");
	assert_message("2047");
	bench_stop();
}

static void command_line_of_4_gib(void **state)
{
	char *text = malloc(70000);

	memset(text, 'x', 70000);
	bench_start(64 * MiB);
	make_bzimage(file, sizeof(file), IMAGE_LEN);
	put_le32(file + HDR_CMDLINE_SIZE, 0xffffffff);
	write_file(bench.kernel, file, TEST_SETUP_LEN + IMAGE_LEN);
	text[65535] = 0;
	assert_int_equal(load(NULL, text), 0);
	place();
	text[65535] = 'x';
	text[69999] = 0;
	assert_int_equal(load(NULL, text), -E2BIG);
	bench_stop();
	free(text);
}

/* --- files that are not kernels --- */

static void strange_files(void **state)
{
	bench_start(64 * MiB);
	assert_int_equal(load(NULL, ""), -ENOENT);
	assert_message(bench.kernel);
	assert_int_equal(mkdir(bench.kernel, 0700), 0);
	assert_true(load(NULL, "") < 0);
	assert_message("is a directory");
	rmdir(bench.kernel);
	assert_int_equal(mkfifo(bench.kernel, 0600), 0);
	assert_true(load(NULL, "") < 0);
	assert_message("is a FIFO");
	unlink(bench.kernel);
	refused(0, "is empty");
	memset(file, 'x', 1000);
	refused(1000, "neither");
	refused(1, "neither");
	assert_int_equal(truncate(bench.kernel, 5 * GiB), 0);
	assert_int_equal(load(NULL, ""), -EFBIG);
	assert_message("5G");
	write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
	assert_int_equal(truncate(bench.kernel, 65 * MiB), 0);
	assert_int_equal(load(NULL, ""), -ENOMEM);
	assert_message("65M");
	assert_message("64M");
	bench_stop();
}

static void too_little_ram(void **state)
{
	bench_start(MiB);
	write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
	assert_int_equal(load(NULL, ""), -ENOMEM);
	assert_message("1024 KiB");
	bench_stop();
	bench_start(3 * MiB);
	write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
	assert_int_equal(load(NULL, ""), -ENOMEM);
	assert_message("3072 KiB");
	bench_stop();
}

/* --- header fields --- */

static void broken_headers(void **state)
{
	const struct {
		unsigned off, width;
		u64 value;
		const char *message;
	} cases[] = {
	        {HDR_BOOT_FLAG, 2, 0, "neither"},
	        {HDR_MAGIC, 4, 0, "neither"},
	        {HDR_LOADFLAGS, 1, 0, "zImage"},
	        {HDR_JUMP + 1, 1, 0, "header is shorter"},
	        {HDR_SETUP_SECTS, 1, 255, "256 sectors"},
	        {HDR_SETUP_SECTS, 1, 4, "truncated"},
	        {HDR_SYSSIZE, 4, 0, "empty"},
	        {HDR_SYSSIZE, 4, IMAGE_LEN / 16 + 1, "truncated"},
	        {HDR_SYSSIZE, 4, 0x80000000, "truncated"},
	        {HDR_SYSSIZE, 4, 0xffffffff, "truncated"},
	        {HDR_KERNEL_ALIGNMENT, 4, 0, "power of two"},
	        {HDR_KERNEL_ALIGNMENT, 4, 3, "power of two"},
	        {HDR_KERNEL_ALIGNMENT, 4, 0xffffffff, "power of two"},
	        {HDR_KERNEL_ALIGNMENT, 4, 0x80000000, "aligned"},
	        {HDR_PREF_ADDRESS, 8, 0, "pref_address"},
	        {HDR_PREF_ADDRESS, 8, MiB - 1, "pref_address"},
	        {HDR_PREF_ADDRESS, 8, 0x80000000, "RAM"},
	        {HDR_PREF_ADDRESS, 8, 0xffffffffffe00000ull, "pref_address"},
	        {HDR_PREF_ADDRESS, 8, 0x100200000ull, "pref_address"},
	        {HDR_PREF_ADDRESS, 8, 0x300001, "aligned"},
	        {HDR_INIT_SIZE, 4, 0, "init_size"},
	        {HDR_INIT_SIZE, 4, IMAGE_LEN - 1, "init_size"},
	        {HDR_INIT_SIZE, 4, 0x80000000, "RAM"},
	        {HDR_INIT_SIZE, 4, 0xffffffff, "RAM"},
	        {HDR_INIT_SIZE, 4, 64 * MiB, "RAM"},
	};

	bench_start(64 * MiB);
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		size_t len = make_bzimage(file, sizeof(file), IMAGE_LEN);

		memcpy(file + cases[n].off, &cases[n].value, cases[n].width);
		refused(len, cases[n].message);
	}
	bench_stop();
}

static void broken_payload_fields(void **state)
{
	const struct {
		u32 off, len;
	} cases[] = {{0, IMAGE_LEN + 1}, {IMAGE_LEN, 1}, {IMAGE_LEN + 1, 1}, {0xffffffff, 1}, {1, 0xffffffff},
	        {0x80000000, 0x80000000}, {0xffffffff, 0xffffffff}};

	bench_start(64 * MiB);
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		size_t len = make_bzimage(file, sizeof(file), IMAGE_LEN);

		put_le32(file + HDR_PAYLOAD_OFFSET, cases[n].off);
		put_le32(file + HDR_PAYLOAD_LENGTH, cases[n].len);
		refused(len, "payload");
	}
	bench_stop();
}

/* The text that the header points to, up to the first blank, wherever the pointer leads. */
static void version_text(void **state)
{
	static const struct {
		u16 pointer;
		const char *text, *version;
	} cases[] = {
	        {0x100, "6.1.0-1-amd64 (me@here) #1", "6.1.0-1-amd64"}, {0x100, "\x1b[2J", ""},
	        {0, "6.1", ""}, {0xffff, "6.1", ""},
	        {TEST_SETUP_LEN + IMAGE_LEN - 0x200 - 3, "6.1", "6.1"}, /* the file ends with it */
	};

	bench_start(64 * MiB);
	for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
		size_t len = make_bzimage(file, sizeof(file), IMAGE_LEN), at = cases[n].pointer + 0x200u;

		put_le16(file + 0x20e, cases[n].pointer);
		if (cases[n].pointer && at < len)
			memcpy(file + at, cases[n].text, MIN(strlen(cases[n].text) + 1, len - at));
		assert_int_equal(load_bytes(len), 0);
		assert_string_equal(bench.img.facts.version, cases[n].version);
		assert_int_equal(bench.img.facts.protocol, 0x020f);
		assert_int_equal(bench.img.facts.file_len, len);
		assert_null(bench.img.facts.packed);
	}
	bench_stop();
}

/* What --explain shows is what the kernel will read. */
static void map_of_memory(void **state)
{
	struct boot_region map[16];
	unsigned n;

	bench_start(64 * MiB);
	assert_int_equal(load_bytes(make_bzimage(file, sizeof(file), IMAGE_LEN)), 0);
	place();
	n = boot_linux_map(&bench.m, map, ARRAY_SIZE(map));
	assert_true(n >= 3);
	assert_int_equal(map[0].gpa, 0);
	assert_int_equal(map[0].type, REGION_RAM);
	for (unsigned i = 1; i < n; i++)
		assert_true(map[i].gpa >= map[i - 1].gpa + map[i - 1].len);
	assert_int_equal(boot_linux_map(&bench.m, map, 2), 2);
	bench_stop();
}

/* Whatever a field says: either an error with words, or an image that can be placed. */
static void sweep_every_field(void **state)
{
	static const struct {
		u16 off;
		u8 width;
	} fields[] = {{HDR_SETUP_SECTS, 1}, {HDR_SYSSIZE, 4}, {HDR_VERSION, 2}, {HDR_LOADFLAGS, 1},
	        {HDR_JUMP, 2}, {HDR_CODE32_START, 4}, {HDR_RAMDISK_IMAGE, 4}, {HDR_INITRD_ADDR_MAX, 4},
	        {HDR_KERNEL_ALIGNMENT, 4}, {HDR_RELOCATABLE, 1}, {HDR_XLOADFLAGS, 2}, {HDR_CMDLINE_SIZE, 4},
	        {HDR_PAYLOAD_OFFSET, 4}, {HDR_PAYLOAD_LENGTH, 4}, {HDR_SETUP_DATA, 8}, {HDR_PREF_ADDRESS, 8},
	        {HDR_INIT_SIZE, 4}};
	static const u64 values[] = {0, 1, IMAGE_LEN - 1, IMAGE_LEN, IMAGE_LEN + 1, 0x7fffffff, 0x80000000,
	        0xffffffff, 0xfffffffffffffff0ull, ~0ull, 64 * MiB - 1, 64 * MiB, 64 * MiB + 1};
	unsigned loaded = 0;

	bench_start(64 * MiB);
	write_file(bench.initrd, "rd", 2);
	for (unsigned f = 0; f < ARRAY_SIZE(fields); f++) {
		for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
			write_file(bench.kernel, file, make_bzimage(file, sizeof(file), IMAGE_LEN));
			memcpy(file + fields[f].off, &values[v], fields[f].width);
			write_file(bench.kernel, file, TEST_SETUP_LEN + IMAGE_LEN);
			if (load(bench.initrd, "a") < 0) {
				assert_true(bench.e.text[0]);
				continue;
			}
			loaded++;
			place();
			assert_true(bench.img.initrd >= bench.img.kernel_end);
		}
	}
	assert_in_range(loaded, 50, ARRAY_SIZE(fields) * ARRAY_SIZE(values) - 50);
	bench_stop();
}

/* On a heap block of exactly this length, so that a sanitizer sees a read beyond it. */
static void truncated_everywhere(void **state)
{
	size_t len = make_bzimage(file, sizeof(file), IMAGE_LEN);
	struct bzimage z;
	struct err e;

	for (size_t n = 0; n <= len; n++) {
		u8 *copy = malloc(n ? n : 1);
		int rc;

		memcpy(copy, file, n);
		rc = bzimage_parse(copy, n, "short", &z, &e);
		assert_int_equal(rc == 0, n > len - 16); /* the last paragraph may be incomplete */
		free(copy);
	}
}

/* A Secure Boot signature may follow; it is not loaded. */
static void longer_than_promised(void **state)
{
	bench_start(64 * MiB);
	make_bzimage(file, sizeof(file), IMAGE_LEN);
	memset(file + TEST_SETUP_LEN + IMAGE_LEN, 0x99, 500);
	assert_int_equal(load_bytes(TEST_SETUP_LEN + IMAGE_LEN + 500), 0);
	place();
	assert_true(all_bytes(bench.m.base + TEST_LOAD, IMAGE_LEN, 0x5a));
	assert_true(all_bytes(bench.m.base + TEST_LOAD + IMAGE_LEN, 500, 0));
	bench_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(entry_64),
	        cmocka_unit_test(entry_32),
	        cmocka_unit_test(high_ram),
	        cmocka_unit_test(without_acpi),
	        cmocka_unit_test(oldest_protocol),
	        cmocka_unit_test(initrd_high),
	        cmocka_unit_test(initrd_limit_of_kernel),
	        cmocka_unit_test(initrd_too_large),
	        cmocka_unit_test(initrd_strange),
	        cmocka_unit_test(command_line),
	        cmocka_unit_test(command_line_of_4_gib),
	        cmocka_unit_test(strange_files),
	        cmocka_unit_test(too_little_ram),
	        cmocka_unit_test(broken_headers),
	        cmocka_unit_test(broken_payload_fields),
	        cmocka_unit_test(version_text),
	        cmocka_unit_test(map_of_memory),
	        cmocka_unit_test(sweep_every_field),
	        cmocka_unit_test(truncated_everywhere),
	        cmocka_unit_test(longer_than_promised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
