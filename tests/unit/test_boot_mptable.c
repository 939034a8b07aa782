/*
 * MP table and SMBIOS: found by scanning as a guest does, checksums, every entry against the board.
 */
#include "boot/boot.h"

#include "boot_board.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct mem m;
static struct board_info board;
static struct boot_tables_out out;
static struct err e;

static void with_ram(u64 ram)
{
	if (m.base)
		mem_destroy(&m);
	assert_int_equal(mem_create(&m, ram, false, false, &e), 0);
	test_board(&board, &m);
}

static int stop(void **state)
{
	mem_destroy(&m);
	return 0;
}

static u8 sum(const u8 *p, size_t len)
{
	u8 s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* In steps of 16 through the BIOS area: the only match. */
static const u8 *scan(const char *anchor, size_t len)
{
	const u8 *found = NULL;

	for (u64 gpa = 0xf0000; gpa < 0x100000; gpa += 16) {
		if (memcmp(m.base + gpa, anchor, strlen(anchor)) != 0 || sum(m.base + gpa, len) != 0)
			continue;
		assert_null(found);
		found = m.base + gpa;
	}
	return found;
}

static void write_tables(void)
{
	assert_int_equal(boot_tables(&m, &board, &out, &e), 0);
}

/* --- MP table --- */

static const u8 entry_len[] = {20, 8, 8, 8, 8};

struct mp_seen {
	unsigned count[5];
	unsigned isa, pci;
};

static void check_io_int(const u8 *p, struct mp_seen *s)
{
	assert_int_equal(p[1], 0); /* INT */
	assert_int_equal(get_le16(p + 2), 0);
	assert_int_equal(p[6], board.ioapic_id);
	if (p[4] == 1) {
		s->isa++;
		assert_int_equal(p[7], p[5] == 0 ? 2 : p[5]);
		return;
	}
	assert_int_equal(p[4], 0);
	s->pci++;
	for (unsigned n = 0; n < board.nfn; n++) {
		const struct board_pci_fn *f = &board.fn[n];

		if (f->pin && f->slot == p[5] >> 2 && f->pin == (p[5] & 3) + 1) {
			assert_int_equal(p[7], f->gsi);
			return;
		}
	}
	fail_msg("PCI interrupt %x belongs to nobody", p[5]);
}

static struct mp_seen check_mptable(void)
{
	const u8 *fps = scan("_MP_", 16), *t, *p;
	struct mp_seen s = {.isa = 0};
	u16 len;

	assert_non_null(fps);
	assert_int_equal(fps[9], 4);
	t = m.base + get_le32(fps + 4);
	len = get_le16(t + 4);
	assert_memory_equal(t, "PCMP", 4);
	assert_int_equal(sum(t, len), 0);
	assert_true(t + len <= m.base + BOOT_SMBIOS_GPA);
	assert_int_equal(get_le32(t + 36), 0xfee00000);
	for (p = t + 44; p < t + len; p += entry_len[p[0]]) {
		assert_in_range(p[0], 0, 4);
		if (p[0] == 0) {
			assert_int_equal(p[1], s.count[0]);
			assert_int_equal(p[3], s.count[0] ? 1 : 3);
		} else if (p[0] == 1) {
			assert_memory_equal(p + 2, p[1] ? "ISA   " : "PCI   ", 6);
		} else if (p[0] == 2) {
			assert_int_equal(get_le32(p + 4), 0xfec00000);
		} else if (p[0] == 3) {
			check_io_int(p, &s);
		} else {
			assert_int_equal(p[1], p[7] ? 1 : 3); /* LINT0 ExtINT, LINT1 NMI */
			assert_int_equal(p[6], 0xff);
		}
		s.count[p[0]]++;
	}
	assert_ptr_equal(p, t + len);
	assert_int_equal(get_le16(t + 34), s.count[0] + s.count[1] + s.count[2] + s.count[3] + s.count[4]);
	return s;
}

static void mptable(void **state)
{
	struct mp_seen s;

	with_ram(64 * MiB);
	write_tables();
	s = check_mptable();
	assert_int_equal(s.count[0], 2);
	assert_int_equal(s.count[1], 2);
	assert_int_equal(s.count[2], 1);
	assert_int_equal(s.isa, 15);
	assert_int_equal(s.pci, 3); /* 2 INTA, 2 INTB, 17 INTA */
	assert_int_equal(s.count[4], 2);
}

static void mptable_of_the_largest_board(void **state)
{
	struct mp_seen s;

	with_ram(64 * MiB);
	board.ncpus = 16;
	board.nfn = 0;
	for (unsigned n = 0; n < 32 * 8; n++)
		board.fn[board.nfn++] = (struct board_pci_fn){.slot = n / 8,
		        .func = n % 8,
		        .pin = n % 4 + 1,
		        .gsi = 16 + (n / 8 + n % 4) % 8,
		        .link = (n / 8 + n % 4) % 8};
	write_tables();
	s = check_mptable();
	assert_int_equal(s.count[0], 16);
	assert_int_equal(s.pci, 128);
	board.ncpus = 250;
	assert_int_equal(boot_tables(&m, &board, &out, &e), -ENOSPC);
}

static void no_mptable(void **state)
{
	with_ram(64 * MiB);
	board.mptable = false;
	write_tables();
	assert_null(scan("_MP_", 16));
}

/* --- SMBIOS --- */

/* The n-th structure of a type, or NULL; checks the list as it goes. */
static const u8 *structure(u8 type, unsigned index)
{
	const u8 *ep = scan("_SM_", 31), *p, *found = NULL;
	u16 seen[64], count = 0, left = get_le16(ep + 0x1c), largest = 0;

	assert_non_null(ep);
	assert_int_equal(sum(ep + 16, 15), 0);
	assert_memory_equal(ep + 16, "_DMI_", 5);
	p = m.base + get_le32(ep + 0x18);
	while (left--) {
		const u8 *s = p + p[1];

		assert_true(count < ARRAY_SIZE(seen));
		seen[count] = get_le16(p + 2);
		for (unsigned n = 0; n < count; n++)
			assert_int_not_equal(seen[n], seen[count]);
		count++;
		if (p[0] == type && index-- == 0)
			found = p;
		while (s[0] || s[1])
			s++;
		s += 2;
		largest = MAX(largest, s - p);
		if (left == 0)
			assert_int_equal(p[0], 127);
		p = s;
	}
	assert_int_equal(p - (m.base + get_le32(ep + 0x18)), get_le16(ep + 0x16));
	assert_int_equal(largest, get_le16(ep + 8));
	assert_true(p <= m.base + BOOT_RSDP_GPA);
	return found;
}

static const char *string_of(const u8 *p, u8 number)
{
	const char *s = (const char *)p + p[1];

	assert_true(number > 0);
	while (--number) {
		s += strlen(s) + 1;
		assert_true(*s);
	}
	return s;
}

static void smbios(void **state)
{
	static const u8 types[] = {0, 1, 3, 4, 16, 17, 19, 32, 127};
	const u8 *p;

	with_ram(64 * MiB);
	parse_uuid("00112233-4455-6677-8899-aabbccddeeff", board.uuid);
	board.ncpus = 16;
	write_tables();
	for (unsigned n = 0; n < ARRAY_SIZE(types); n++)
		assert_non_null(structure(types[n], 0));
	assert_null(structure(19, 1)); /* no RAM above 4 GiB */
	p = structure(1, 0);
	assert_memory_equal(p + 8, "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
	assert_string_equal(string_of(p, p[7]), "00112233-4455-6677-8899-aabbccddeeff");
	assert_string_equal(string_of(structure(4, 15), structure(4, 15)[4]), "CPU #15");
	assert_null(structure(4, 16));
	p = structure(19, 0);
	assert_int_equal(get_le32(p + 4), 0);
	assert_int_equal(get_le32(p + 8), 64 * 1024 - 1);
}

static void smbios_memory_sizes(void **state)
{
	static const struct {
		u64 ram;
		u16 size;
		u32 extended;
	} cases[] = {
	        {2 * MiB, 2, 0},
	        {2 * MiB + 4096, 0x8000 | 2052, 0},
	        {64 * MiB + 4096, 64, 0},
	        {4 * GiB, 4096, 0},
	        {32 * GiB - 2 * MiB, 0x7ffe, 0},
	        {32 * GiB - MiB, 0x7fff, 0x7fff},
	        {32 * GiB, 0x7fff, 0x8000},
	        {512 * GiB, 0x7fff, 0x80000},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		/* Only the numbers matter here, not the memory. */
		struct mem large;
		const u8 *p;

		with_ram(2 * MiB);
		large = m;
		large.low = MIN(cases[n].ram, MEM_LOW_MAX);
		large.high = cases[n].ram - large.low;
		board.mem = &large;
		write_tables();
		p = structure(17, 0);
		assert_int_equal(get_le16(p + 0x0c), cases[n].size);
		assert_int_equal(get_le32(p + 0x1c), cases[n].extended);
		assert_int_equal(get_le32(structure(16, 0) + 7), cases[n].ram / KiB);
		if (large.high) {
			p = structure(19, 1);
			assert_int_equal(get_le32(p + 4), 4 * MiB);
			assert_int_equal(get_le32(p + 8), (4 * GiB + large.high) / KiB - 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(mptable),
	        cmocka_unit_test(mptable_of_the_largest_board),
	        cmocka_unit_test(no_mptable),
	        cmocka_unit_test(smbios),
	        cmocka_unit_test(smbios_memory_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, stop);
}
