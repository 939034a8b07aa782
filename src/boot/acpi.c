/*
 * ACPI tables with fixed layout (ACPI 6.5, chapter 5.2), revision 5.0 of the FADT. The namespace is
 * the DSDT compiled from dsdt.asl and an SSDT from acpi_ssdt.c.
 *
 * Tables are written one behind the other, each at a multiple of 16; pointers are filled in the order
 * in which addresses become known, checksums when a table is complete.
 */
#include "boot/tables.h"

#include "generated/dsdt.h"
#include <errno.h>

#define HEADER_SIZE 36
#define TABLE_ALIGN 16
#define FACS_SIZE 64
#define ROOT_ENTRIES_MAX 8

/* 5.2.6, table 5.4: offsets in the common header */
#define H_LENGTH 4
#define H_REVISION 8
#define H_CHECKSUM 9
#define H_OEM_ID 10
#define H_OEM_TABLE_ID 16
#define H_OEM_REVISION 24
#define H_CREATOR_ID 28
#define H_CREATOR_REVISION 32

/* 5.2.3.2: generic address structure */
enum gas_space { GAS_MEMORY = 0, GAS_IO = 1 };
enum gas_access { GAS_BYTE = 1, GAS_WORD = 2, GAS_DWORD = 3 };
#define GAS_SIZE 12

struct acpi {
	const struct board_info *b;
	struct table_buf buf;
	u64 gpa; /* of buf.base */
	u64 entry[ROOT_ENTRIES_MAX];
	unsigned entries;
};

static u64 gpa_of(const struct acpi *a, const u8 *p)
{
	return a->gpa + (p - a->buf.base);
}

static void put_gas(u8 *p, enum gas_space space, u8 bits, enum gas_access access, u64 addr)
{
	p[0] = space;
	p[1] = bits;
	p[2] = 0;
	p[3] = access;
	put_le64(p + 4, addr);
}

static void put_header(u8 *p, const char *sig, u32 len, u8 revision)
{
	table_text(p, 4, sig);
	put_le32(p + H_LENGTH, len);
	p[H_REVISION] = revision;
	table_text(p + H_OEM_ID, 6, "XHYVE");
	table_text(p + H_OEM_TABLE_ID, 8, "XHYVE");
	table_text(p + H_OEM_TABLE_ID + 5, 3, sig);
	put_le32(p + H_OEM_REVISION, 1);
	table_text(p + H_CREATOR_ID, 4, "XHYV");
	put_le32(p + H_CREATOR_REVISION, 1);
}

static void finish(u8 *p)
{
	p[H_CHECKSUM] = 0;
	p[H_CHECKSUM] = table_checksum(p, get_le32(p + H_LENGTH));
}

/* Room for a table with its header; NULL when the region is full. */
static u8 *new_table(struct acpi *a, const char *sig, u32 len, u8 revision)
{
	u8 *p;

	a->buf.len = ALIGN_UP(a->buf.len, (size_t)TABLE_ALIGN);
	p = table_room(&a->buf, len);
	if (p)
		put_header(p, sig, len, revision);
	return p;
}

/* The table is complete and the root tables shall point to it. */
static void add_root_entry(struct acpi *a, u8 *p)
{
	finish(p);
	a->entry[a->entries++] = gpa_of(a, p);
}

/* --- FACS (5.2.10) --- */

static void write_facs(struct acpi *a)
{
	u8 *p = table_room(&a->buf, PAGE_SIZE); /* a page of its own: NVS, the rest is not */

	table_text(p, 4, "FACS");
	put_le32(p + 4, FACS_SIZE);
	p[32] = 2; /* version */
}

/* --- FADT (5.2.9) --- */

#define FADT_SIZE 268 /* revision 5.0 */
#define FADT_REVISION 5

/* IAPC_BOOT_ARCH, table 5.10 */
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_8042 BIT(1)
#define BOOT_NO_VGA BIT(2)
#define BOOT_NO_ASPM BIT(4)

/* Flags, table 5.9 */
#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* not a fixed feature: there is none; PWR_BUTTON (4) clear: there is */
#define FADT_FIX_RTC BIT(6)    /* RTC wake-up has no bit in the fixed registers */
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_REG_SUP BIT(10)

#define CMOS_CENTURY 0x32
#define NO_C2_LATENCY 101  /* more than 100 us: no C2 */
#define NO_C3_LATENCY 1001 /* more than 1000 us: no C3 */

static void fadt_ports(u8 *p, const struct board_info *b)
{
	put_le16(p + 46, b->sci_irq);
	put_le32(p + 48, b->smi_cmd);
	p[52] = b->smi_cmd ? b->acpi_enable : 0;
	p[53] = b->smi_cmd ? b->acpi_disable : 0;
	put_le32(p + 56, b->pm1a_evt);
	put_le32(p + 64, b->pm1a_cnt);
	put_le32(p + 76, b->pm_tmr);
	p[88] = 4; /* PM1_EVT_LEN, PM1_CNT_LEN, PM_TMR_LEN */
	p[89] = 2;
	p[91] = 4;
	put_gas(p + 148, GAS_IO, 32, GAS_WORD, b->pm1a_evt);
	put_gas(p + 172, GAS_IO, 16, GAS_WORD, b->pm1a_cnt);
	put_gas(p + 208, GAS_IO, 32, GAS_DWORD, b->pm_tmr);
	put_gas(p + 116, GAS_IO, 8, GAS_BYTE, b->reset_port);
	p[128] = b->reset_value;
}

static void write_fadt(struct acpi *a, u64 facs, u64 dsdt)
{
	const struct board_info *b = a->b;
	u8 *p = new_table(a, "FACP", FADT_SIZE, FADT_REVISION);

	if (!p)
		return;
	put_le32(p + 36, facs);
	put_le32(p + 40, dsdt);
	put_le64(p + 140, dsdt); /* X_FIRMWARE_CTRL stays 0: only one of the two may be set */
	fadt_ports(p, b);
	put_le16(p + 96, NO_C2_LATENCY);
	put_le16(p + 98, NO_C3_LATENCY);
	p[108] = CMOS_CENTURY;
	put_le16(p + 109, BOOT_LEGACY_DEVICES | (b->i8042 ? BOOT_8042 : 0) | BOOT_NO_VGA | BOOT_NO_ASPM);
	put_le32(p + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT |
	                          (b->reset_port ? FADT_RESET_REG_SUP : 0));
	add_root_entry(a, p);
}

/* --- MADT (5.2.12) --- */

#define MADT_SIZE 44
#define MADT_PCAT_COMPAT 1 /* there are 8259s too */
#define MADT_LAPIC 0
#define MADT_IOAPIC 1
#define MADT_OVERRIDE 2
#define MADT_LAPIC_NMI 4
#define MPS_LEVEL_LOW 0x0f /* 5.2.12.5: trigger level, active low */
#define ALL_PROCESSORS 0xff

static void madt_override(u8 *p, u8 irq, u32 gsi, u16 flags)
{
	p[0] = MADT_OVERRIDE;
	p[1] = 10;
	p[3] = irq; /* bus 0: ISA */
	put_le32(p + 4, gsi);
	put_le16(p + 8, flags);
}

static void write_madt(struct acpi *a)
{
	const struct board_info *b = a->b;
	u8 *p = new_table(a, "APIC", MADT_SIZE + b->ncpus * 8 + 12 + 2 * 10 + 6, 3), *q = p;

	if (!p)
		return;
	put_le32(p + 36, b->lapic_base);
	put_le32(p + 40, MADT_PCAT_COMPAT);
	q += MADT_SIZE;
	for (unsigned n = 0; n < b->ncpus; n++, q += 8) {
		q[0] = MADT_LAPIC;
		q[1] = 8;
		q[2] = n; /* _UID of the CPU's device */
		q[3] = n; /* APIC id */
		q[4] = 1; /* enabled */
	}
	q[0] = MADT_IOAPIC;
	q[1] = 12;
	q[2] = b->ioapic_id;
	put_le32(q + 4, b->ioapic_base);
	q += 12;
	madt_override(q, 0, BOARD_PIT_GSI, 0);
	madt_override(q + 10, b->sci_irq, b->sci_irq, MPS_LEVEL_LOW);
	q += 20;
	q[0] = MADT_LAPIC_NMI;
	q[1] = 6;
	q[2] = ALL_PROCESSORS;
	q[5] = 1; /* LINT1 */
	add_root_entry(a, p);
}

/* --- HPET (IA-PC HPET 1.0a, 3.2.4), MCFG (PCI Firmware 3.0, 4.1.2) --- */

static void write_hpet(struct acpi *a)
{
	u8 *p = new_table(a, "HPET", 56, 1);

	if (!p)
		return;
	put_le32(p + 36, a->b->hpet_id);
	put_gas(p + 40, GAS_MEMORY, 64, 0, a->b->hpet_base);
	put_le16(p + 53, a->b->hpet_min_tick);
	add_root_entry(a, p);
}

static void write_mcfg(struct acpi *a)
{
	u8 *p = new_table(a, "MCFG", 60, 1);

	if (!p)
		return;
	put_le64(p + 44, a->b->ecam.base);
	p[54] = a->b->bus_first;
	p[55] = a->b->bus_last;
	add_root_entry(a, p);
}

/* --- namespace --- */

static u64 write_dsdt(struct acpi *a)
{
	u8 *p = new_table(a, "DSDT", sizeof(dsdt_aml), 2);

	if (!p)
		return 0;
	memcpy(p, dsdt_aml, sizeof(dsdt_aml));
	return gpa_of(a, p);
}

/* Its length is known only afterwards: it takes what is left and gives back what it did not need. */
static void write_ssdt(struct acpi *a)
{
	size_t room = a->buf.cap - ALIGN_UP(a->buf.len, (size_t)TABLE_ALIGN);
	u8 *p = a->buf.overflow ? NULL : new_table(a, "SSDT", room, 2);
	struct aml aml;

	if (!p || room < HEADER_SIZE)
		return;
	aml_init(&aml, p + HEADER_SIZE, room - HEADER_SIZE);
	acpi_ssdt_body(&aml, a->b);
	a->buf.overflow |= aml.overflow;
	a->buf.len -= room - HEADER_SIZE - aml.len;
	put_le32(p + H_LENGTH, HEADER_SIZE + aml.len);
	add_root_entry(a, p);
}

/* --- root --- */

static u64 write_root(struct acpi *a, const char *sig, unsigned width)
{
	u8 *p = new_table(a, sig, HEADER_SIZE + a->entries * width, 1);

	if (!p)
		return 0;
	for (unsigned n = 0; n < a->entries; n++)
		memcpy(p + HEADER_SIZE + (size_t)n * width, &a->entry[n], width);
	finish(p);
	return gpa_of(a, p);
}

/* 5.2.5.3 */
static void write_rsdp(u8 *p, u64 rsdt, u64 xsdt)
{
	memset(p, 0, ACPI_RSDP_SIZE);
	table_text(p, 8, "RSD PTR");
	table_text(p + 9, 6, "XHYVE");
	p[15] = 2;
	put_le32(p + 16, rsdt);
	put_le32(p + 20, ACPI_RSDP_SIZE);
	put_le64(p + 24, xsdt);
	p[8] = table_checksum(p, 20);
	p[32] = table_checksum(p, ACPI_RSDP_SIZE);
}

int acpi_write(const struct board_info *b, u8 *region, u64 region_gpa, u8 *rsdp, struct err *e)
{
	struct acpi a = {.b = b, .buf = {.base = region, .cap = BOOT_TABLES_SIZE}, .gpa = region_gpa};
	u64 dsdt, rsdt, xsdt;

	memset(region, 0, BOOT_TABLES_SIZE);
	write_facs(&a);
	dsdt = write_dsdt(&a);
	write_fadt(&a, region_gpa, dsdt);
	write_madt(&a);
	if (b->hpet_base)
		write_hpet(&a);
	if (b->pci && b->ecam.len)
		write_mcfg(&a);
	write_ssdt(&a);
	rsdt = write_root(&a, "RSDT", 4);
	xsdt = write_root(&a, "XSDT", 8);
	if (a.buf.overflow)
		return err_set(e, -ENOSPC, "the ACPI tables of this board need more than %llu KiB",
		        (unsigned long long)(BOOT_TABLES_SIZE / KiB));
	write_rsdp(rsdp, rsdt, xsdt);
	return 0;
}
