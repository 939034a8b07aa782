/*
 * ACPI tables of several boards: found the way a guest finds them, checksums, fields, interrupt
 * routing decoded from the AML, and a round trip through iasl's disassembler and compiler.
 */
#include "boot/boot.h"

#include "boot_board.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define RAM (64 * MiB)

static struct mem m;
static struct board_info board;
static struct boot_tables_out out;
static struct err e;

static int start(void **state)
{
	return mem_create(&m, RAM, false, false, &e);
}

static int stop(void **state)
{
	mem_destroy(&m);
	return 0;
}

static int fresh(void **state)
{
	memset(m.base, 0xdb, m.low);
	test_board(&board, &m);
	return 0;
}

static u8 sum(const u8 *p, size_t len)
{
	u8 s = 0;

	while (len--)
		s += *p++;
	return s;
}

static const u8 *at(u64 gpa, u64 len)
{
	const u8 *p = mem_ptr(&m, gpa, len);

	assert_non_null(p);
	return p;
}

/* Every table lies in a region that the guest is told about. */
static void check_region(u64 gpa, u64 len, enum boot_region_type type)
{
	for (unsigned n = 0; n < out.nregions; n++) {
		const struct boot_region *r = &out.region[n];

		if (r->type == type && gpa >= r->gpa && gpa + len <= r->gpa + r->len)
			return;
	}
	fail_msg("%llx+%llx is in no region of type %u", (unsigned long long)gpa, (unsigned long long)len,
	        type);
}

static const u8 *checked_table(u64 gpa)
{
	u32 len = get_le32(at(gpa, 36) + 4);

	assert_in_range(len, 36, BOOT_TABLES_SIZE);
	assert_int_equal(sum(at(gpa, len), len), 0);
	check_region(gpa, len, REGION_ACPI);
	assert_int_equal(gpa % 16, 0);
	return at(gpa, len);
}

/* The table with this signature by way of the XSDT, or NULL. The RSDT must say the same. */
static const u8 *find(const char *sig)
{
	const u8 *rsdp = at(out.rsdp, 36), *xsdt, *rsdt, *found = NULL;
	u32 n;

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, get_le32(rsdp + 20)), 0);
	rsdt = checked_table(get_le32(rsdp + 16));
	xsdt = checked_table(get_le64(rsdp + 24));
	assert_memory_equal(rsdt, "RSDT", 4);
	assert_memory_equal(xsdt, "XSDT", 4);
	n = (get_le32(xsdt + 4) - 36) / 8;
	assert_int_equal(n, (get_le32(rsdt + 4) - 36) / 4);
	for (u32 k = 0; k < n; k++) {
		u64 gpa = get_le64(xsdt + 36 + k * 8);
		const u8 *t = checked_table(gpa);

		assert_int_equal(gpa, get_le32(rsdt + 36 + k * 4));
		if (memcmp(t, sig, 4) == 0) {
			assert_null(found);
			found = t;
		}
	}
	return found;
}

static void write_tables(void)
{
	assert_int_equal(boot_tables(&m, &board, &out, &e), 0);
}

/* --- fixed tables --- */

static void fadt(void **state)
{
	const u8 *p, *facs;

	write_tables();
	p = find("FACP");
	assert_non_null(p);
	assert_int_equal(get_le32(p + 4), 268);
	assert_int_equal(p[8], 5);
	assert_int_equal(get_le16(p + 46), 9);    /* SCI */
	assert_int_equal(get_le32(p + 48), 0xb2); /* SMI_CMD */
	assert_int_equal(p[52], 0xa0);
	assert_int_equal(p[53], 0xa1);
	assert_int_equal(get_le32(p + 56), 0x400);
	assert_int_equal(get_le32(p + 64), 0x404);
	assert_int_equal(get_le32(p + 76), 0x408);
	assert_int_equal(p[88], 4);
	assert_int_equal(p[89], 2);
	assert_int_equal(p[91], 4);
	assert_int_equal(p[108], 0x32);                         /* century */
	assert_int_equal(get_le16(p + 109), 0x15);              /* legacy devices, no VGA, no ASPM, no 8042 */
	assert_int_equal(get_le32(p + 112) & BIT(4), 0);        /* there is a power button */
	assert_int_equal(get_le32(p + 112) & BIT(10), BIT(10)); /* and a reset register */
	assert_int_equal(get_le32(p + 112) & BIT(8), BIT(8));   /* 32-bit timer */
	assert_int_equal(get_le32(p + 112) & BIT(20), 0);       /* not hardware-reduced */
	assert_int_equal(get_le64(p + 120), 0xcf9);
	assert_int_equal(p[128], 6);
	assert_int_equal(get_le64(p + 148 + 4), 0x400);
	assert_int_equal(get_le64(p + 172 + 4), 0x404);
	assert_int_equal(get_le64(p + 208 + 4), 0x408);
	assert_int_equal(get_le64(p + 140), get_le32(p + 40));
	assert_memory_equal(checked_table(get_le32(p + 40)), "DSDT", 4);
	assert_int_equal(get_le64(p + 132), 0);
	facs = at(get_le32(p + 36), 64);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get_le32(p + 36) % 64, 0);
	assert_int_equal(get_le32(facs + 4), 64);
	check_region(get_le32(p + 36), 64, REGION_NVS);
	board.i8042 = true;
	board.smi_cmd = 0;
	write_tables();
	p = find("FACP");
	assert_int_equal(get_le16(p + 109), 0x17);
	assert_int_equal(p[52], 0);
}

static void madt(void **state)
{
	for (unsigned ncpus = 1; ncpus <= 16; ncpus++) {
		unsigned lapics = 0, ioapics = 0, overrides = 0, nmis = 0;
		const u8 *p, *q;

		board.ncpus = ncpus;
		board.ioapic_id = 3;
		write_tables();
		p = find("APIC");
		assert_int_equal(get_le32(p + 36), 0xfee00000);
		assert_int_equal(get_le32(p + 40), 1);
		for (q = p + 44; q < p + get_le32(p + 4); q += q[1]) {
			assert_true(q[1] >= 6);
			switch (q[0]) {
			case 0:
				assert_int_equal(q[2], lapics);
				assert_int_equal(q[3], lapics++);
				assert_int_equal(get_le32(q + 4), 1);
				break;
			case 1:
				ioapics++;
				assert_int_equal(q[2], 3);
				assert_int_equal(get_le32(q + 4), 0xfec00000);
				assert_int_equal(get_le32(q + 8), 0);
				break;
			case 2:
				overrides++;
				assert_int_equal(get_le32(q + 4), q[3] ? 9 : 2);
				assert_int_equal(get_le16(q + 8), q[3] ? 0xf : 0);
				break;
			case 4:
				nmis++;
				assert_int_equal(q[2], 0xff);
				assert_int_equal(q[5], 1);
				break;
			default: fail();
			}
		}
		assert_ptr_equal(q, p + get_le32(p + 4));
		assert_int_equal(lapics, ncpus);
		assert_int_equal(ioapics * 100 + overrides * 10 + nmis, 121);
	}
}

static void hpet_and_mcfg(void **state)
{
	const u8 *p;

	write_tables();
	p = find("HPET");
	assert_int_equal(get_le32(p + 36), 0x8086a701);
	assert_int_equal(get_le64(p + 44), 0xfed00000);
	assert_int_equal(get_le16(p + 53), 0x80);
	p = find("MCFG");
	assert_int_equal(get_le64(p + 44), 0xe0000000);
	assert_int_equal(p[54], 0);
	assert_int_equal(p[55], 255);
	board.hpet_base = 0;
	board.ecam.len = 0;
	write_tables();
	assert_null(find("HPET"));
	assert_null(find("MCFG"));
}

/* --- routing, decoded from the AML --- */

static const u8 *aml_pkg(const u8 *p, const u8 **end)
{
	unsigned more = p[0] >> 6;
	size_t len = more ? p[0] & 15 : p[0] & 63;

	for (unsigned n = 0; n < more; n++)
		len |= (size_t)p[1 + n] << (4 + 8 * n);
	*end = p + len;
	return p + 1 + more;
}

static const u8 *aml_int(const u8 *p, u64 *v)
{
	static const u8 width[] = {[0x0a] = 1, [0x0b] = 2, [0x0c] = 4, [0x0e] = 8};

	if (*p <= 1) {
		*v = *p;
		return p + 1;
	}
	assert_true(*p < sizeof(width) && width[*p]);
	*v = 0;
	memcpy(v, p + 1, width[*p]);
	return p + 1 + width[*p];
}

struct route {
	u64 addr, pin, gsi;
	char link; /* 0: gsi counts */
};

/* A package of routing entries behind its PackageOp. */
static unsigned decode_routes(const u8 *p, struct route *r, const u8 **end)
{
	unsigned count;

	assert_int_equal(*p, 0x12);
	p = aml_pkg(p + 1, end);
	count = *p++;
	for (unsigned n = 0; n < count; n++, r++) {
		const u8 *stop;
		u64 zero;

		assert_int_equal(*p, 0x12);
		p = aml_pkg(p + 1, &stop);
		assert_int_equal(*p++, 4);
		p = aml_int(p, &r->addr);
		p = aml_int(p, &r->pin);
		r->link = 0;
		if (*p == '\\') {
			assert_memory_equal(p, "\\\x2e_SB_LNK", 9);
			r->link = p[9];
			p += 10;
			p = aml_int(p, &zero);
		} else {
			p = aml_int(p, &zero);
			p = aml_int(p, &r->gsi);
		}
		assert_int_equal(zero, 0);
		assert_ptr_equal(p, stop);
	}
	assert_ptr_equal(p, *end);
	return count;
}

static const u8 *find_bytes(const u8 *p, size_t len, const char *bytes, size_t n)
{
	const u8 *found = memmem(p, len, bytes, n);

	assert_non_null(found);
	assert_null(memmem(found + 1, p + len - found - 1, bytes, n));
	return found;
}

static void check_route(
        const struct route *r, unsigned count, unsigned slot, unsigned pin, u64 gsi, char link)
{
	unsigned found = 0;

	for (unsigned n = 0; n < count; n++) {
		if (r[n].addr != ((u64)slot << 16 | 0xffff) || r[n].pin != pin - 1)
			continue;
		found++;
		assert_int_equal(r[n].link, link);
		if (!link)
			assert_int_equal(r[n].gsi, gsi);
	}
	assert_int_equal(found, 1);
}

/* Both lists must have each pin that a function of the board uses exactly once, and nothing else. */
static void check_prt(void)
{
	static struct route apic[256], pic[256];
	const u8 *ssdt = find("SSDT"), *p, *end;
	bool used[32][4] = {{false}};
	unsigned napic, npic, expect = 0;

	p = find_bytes(ssdt, get_le32(ssdt + 4), "_PRT\0\xa0", 6) + 6; /* method without arguments, If */
	p = aml_pkg(p, &end);
	assert_memory_equal(p, "\\PICM\xa4", 6);
	napic = decode_routes(p + 6, apic, &end);
	assert_int_equal(*end, 0xa4);
	npic = decode_routes(end + 1, pic, &end);
	for (unsigned n = 0; n < board.nfn; n++) {
		const struct board_pci_fn *f = &board.fn[n];

		if (!f->pin)
			continue;
		expect += !used[f->slot][f->pin - 1];
		used[f->slot][f->pin - 1] = true;
		check_route(apic, napic, f->slot, f->pin, f->gsi, 0);
		if (board.lpc)
			check_route(pic, npic, f->slot, f->pin, 0, 'A' + f->link);
	}
	assert_int_equal(napic, expect);
	assert_int_equal(npic, board.lpc ? expect : 0);
}

/* All slots, all functions, all pins: the largest board there can be. */
static void full_board(void)
{
	board.ncpus = 16;
	board.nfn = 0;
	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned func = 0; func < 8; func++) {
			unsigned line = slot * 3 + func % 4;

			board.fn[board.nfn++] = (struct board_pci_fn){.slot = slot,
			        .func = func,
			        .pin = func % 4 + 1,
			        .gsi = 16 + line % 8,
			        .link = line % 8};
		}
	}
}

static void routing(void **state)
{
	write_tables();
	check_prt();
	board.lpc = false;
	write_tables();
	check_prt();
	board.lpc = true;
	full_board();
	write_tables();
	check_prt();
	board.nfn = 0;
	write_tables();
	check_prt();
}

/* --- boards that cannot be described --- */

static void refused(const char *part)
{
	assert_true(boot_tables(&m, &board, &out, &e) < 0);
	if (!strstr(e.text, part))
		fail_msg("message \"%s\" lacks \"%s\"", e.text, part);
	fresh(NULL);
}

static void bad_boards(void **state)
{
	board.fn[3].bus = 1;
	refused("use -Y");
	board.fn[3].bus = 1;
	board.mptable = false;
	refused("-A describes PCI bus 0 only");
	board.fn[3].gsi = 19; /* slot 2 INTA is at 16 */
	refused("route INTA differently");
	board.fn[3].pin = 5;
	refused("pin 5");
	board.fn[3].slot = 32;
	refused("32");
	board.fn[4].gsi = 24;
	refused("24 pins");
	board.fn[4].link = 8;
	refused("link 8");
	board.link[2].reg = 0x70;
	refused("0x62");
	board.ncpus = 0;
	refused("0 CPUs");
	board.com[0].irq = 16;
	refused("COM1");
	board.mmio32.len = 4 * GiB;
	refused("4 GiB");
	board.io[1].len = 0x10000;
	refused("I/O window 1");
	board.io[1].base = 0x10000;
	refused("I/O window 1");
}

static void nothing_wanted(void **state)
{
	board.acpi = board.mptable = false;
	write_tables();
	assert_int_equal(out.rsdp, 0);
	assert_int_equal(out.nregions, 0);
	assert_int_equal(m.base[BOOT_RSDP_GPA], 0xdb); /* untouched */
	assert_int_equal(m.base[BOOT_MPTABLE_GPA], 0xdb);
	assert_memory_equal(m.base + BOOT_SMBIOS_GPA, "_SM_", 4);
}

/* --- round trip through iasl --- */

static char dir[] = "/tmp/xhyve-acpi-XXXXXX";

static void dump(const char *name, const u8 *table)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, table, get_le32(table + 4)), get_le32(table + 4));
	close(fd);
}

/* Runs iasl in dir; its output must not speak of errors or warnings. */
static void run_iasl(const char *args)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd),
	        "cd %s && %s %s >log 2>&1 && ! grep -Eq '^(Error|Warning)|[1-9][0-9]* (Errors|Warnings)' log",
	        dir, IASL, args);
	if (system(cmd) != 0) {
		snprintf(cmd, sizeof(cmd), "cat %s/log", dir);
		(void)!system(cmd);
		fail_msg("iasl %s", args);
	}
}

static void compare_data_table(const char *name, const u8 *table)
{
	char path[64];
	static u8 again[4096];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	len = read(fd, again, sizeof(again));
	close(fd);
	assert_int_equal(len, get_le32(table + 4));
	again[9] = table[9];               /* checksum, for the compiler put */
	memcpy(again + 28, table + 28, 8); /* its own name here */
	assert_memory_equal(again, table, len);
}

static void round_trip(void)
{
	static const char *const data[] = {"FACP", "APIC", "HPET", "MCFG"};
	char args[64];

	write_tables();
	dump("dsdt", checked_table(get_le32(find("FACP") + 40)));
	dump("ssdt", find("SSDT"));
	run_iasl("-e ssdt.dat -d dsdt.dat");
	run_iasl("-e dsdt.dat -d ssdt.dat");
	run_iasl("-we dsdt.dsl");
	run_iasl("-we ssdt.dsl");
	for (unsigned n = 0; n < ARRAY_SIZE(data); n++) {
		dump(data[n], find(data[n]));
		snprintf(args, sizeof(args), "-d %s.dat", data[n]);
		run_iasl(args);
		snprintf(args, sizeof(args), "-we %s.dsl", data[n]);
		run_iasl(args);
		compare_data_table(data[n], find(data[n]));
	}
}

static void iasl_agrees(void **state)
{
	char cmd[64];

	if (access(IASL, X_OK) < 0)
		skip();
	assert_non_null(mkdtemp(dir));
	round_trip();
	full_board();
	round_trip();
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(fadt, fresh),
	        cmocka_unit_test_setup(madt, fresh),
	        cmocka_unit_test_setup(hpet_and_mcfg, fresh),
	        cmocka_unit_test_setup(routing, fresh),
	        cmocka_unit_test_setup(bad_boards, fresh),
	        cmocka_unit_test_setup(nothing_wanted, fresh),
	        cmocka_unit_test_setup(iasl_agrees, fresh),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
