/*
 * SMBIOS 2.8 (DMTF DSP0134): the entry point and right behind it the structures. Each structure is a
 * fixed part followed by its strings, which the fixed part refers to by number, and an empty string.
 */
#include "boot/tables.h"

#include <errno.h>
#include <stdio.h>

#define ENTRY_SIZE 32 /* 31 bytes, aligned */
#define ENTRY_LENGTH 0x1f
#define VERSION_MAJOR 2
#define VERSION_MINOR 8

enum smbios_type {
	SMBIOS_BIOS = 0,
	SMBIOS_SYSTEM = 1,
	SMBIOS_CHASSIS = 3,
	SMBIOS_PROCESSOR = 4,
	SMBIOS_MEMORY_ARRAY = 16,
	SMBIOS_MEMORY_DEVICE = 17,
	SMBIOS_MEMORY_MAPPED = 19,
	SMBIOS_BOOT_INFO = 32,
	SMBIOS_END = 127,
};

/* Handles: type in the high byte. */
#define HANDLE(type, n) ((u16)((type) << 8 | (n)))
#define NO_HANDLE 0xffff
#define HANDLE_NOT_PROVIDED 0xfffe

struct smbios {
	const struct board_info *b;
	struct table_buf buf;
	unsigned count;
	size_t largest;
	size_t start; /* of the structure that is being written */
	u8 strings;   /* of this structure */
};

static u64 ram_size(const struct board_info *b)
{
	return b->mem->low + b->mem->high;
}

/* The fixed part; the strings follow with add_string, then end_structure. */
static u8 *begin_structure(struct smbios *t, enum smbios_type type, unsigned index, u8 len)
{
	u8 *p;

	t->start = t->buf.len;
	t->strings = 0;
	p = table_room(&t->buf, len);
	if (!p)
		return NULL;
	p[0] = type;
	p[1] = len;
	put_le16(p + 2, HANDLE(type, index));
	return p;
}

static u8 add_string(struct smbios *t, const char *s)
{
	u8 *p = table_room(&t->buf, strlen(s) + 1);

	if (!p)
		return 0;
	memcpy(p, s, strlen(s) + 1);
	return ++t->strings;
}

static void end_structure(struct smbios *t)
{
	table_room(&t->buf, t->strings ? 1 : 2); /* without strings two zero bytes end it */
	t->largest = MAX(t->largest, t->buf.len - t->start);
	t->count++;
}

/* --- structures, in the order of their types (chapter 7) --- */

static void put_bios(struct smbios *t)
{
	u8 *p = begin_structure(t, SMBIOS_BIOS, 0, 24);

	if (!p)
		return;
	p[0x04] = add_string(t, "xhyve");
	p[0x05] = add_string(t, XHYVE_VERSION);
	put_le16(p + 0x06, BOOT_MPTABLE_GPA >> 4); /* segment */
	p[0x08] = add_string(t, "01/01/2026");
	put_le64(p + 0x0a, BIT64(3)); /* characteristics are not told */
	p[0x12] = t->b->acpi;         /* extension 1, bit 0: ACPI is supported */
	p[0x13] = BIT(4);             /* extension 2: this is a virtual machine */
	p[0x14] = p[0x15] = 0xff;     /* system BIOS and embedded controller releases: not told */
	p[0x16] = p[0x17] = 0xff;
	end_structure(t);
}

/* 7.2.1: the first three fields of the UUID are little-endian. */
static void put_uuid(u8 *p, const u8 uuid[16])
{
	static const u8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	for (unsigned n = 0; n < 16; n++)
		p[n] = uuid[order[n]];
}

static void put_system(struct smbios *t)
{
	u8 *p = begin_structure(t, SMBIOS_SYSTEM, 0, 27);
	char text[37];

	if (!p)
		return;
	format_uuid(t->b->uuid, text);
	p[0x04] = add_string(t, "xhyve");
	p[0x05] = add_string(t, "xhyve");
	p[0x06] = add_string(t, XHYVE_VERSION);
	p[0x07] = add_string(t, text); /* serial number */
	put_uuid(p + 0x08, t->b->uuid);
	p[0x18] = 6; /* woken up by the power switch */
	end_structure(t);
}

static void put_chassis(struct smbios *t)
{
	u8 *p = begin_structure(t, SMBIOS_CHASSIS, 0, 21);

	if (!p)
		return;
	p[0x04] = add_string(t, "xhyve");
	p[0x05] = 1;           /* type: other */
	p[0x09] = p[0x0a] = 3; /* boot-up and power supply state: safe */
	p[0x0b] = 3;           /* thermal state: safe */
	p[0x0c] = 3;           /* security: none */
	end_structure(t);
}

static void put_processor(struct smbios *t, unsigned n)
{
	u8 *p = begin_structure(t, SMBIOS_PROCESSOR, n, 42);
	char text[16];

	if (!p)
		return;
	snprintf(text, sizeof(text), "CPU #%u", n);
	p[0x04] = add_string(t, text);
	p[0x05] = 3; /* central processor */
	p[0x06] = 2; /* family: unknown */
	p[0x07] = add_string(t, "xhyve");
	p[0x18] = 0x41;                /* socket populated, enabled */
	p[0x19] = 1;                   /* upgrade: other */
	put_le16(p + 0x1a, NO_HANDLE); /* caches */
	put_le16(p + 0x1c, NO_HANDLE);
	put_le16(p + 0x1e, NO_HANDLE);
	p[0x23] = p[0x24] = p[0x25] = 1; /* cores, enabled cores, threads */
	put_le16(p + 0x26, BIT(2));      /* 64-bit capable */
	put_le16(p + 0x28, 2);           /* family 2: unknown */
	end_structure(t);
}

static void put_memory_array(struct smbios *t)
{
	u8 *p = begin_structure(t, SMBIOS_MEMORY_ARRAY, 0, 23);
	u64 kib = ram_size(t->b) / KiB;

	if (!p)
		return;
	p[0x04] = 3; /* on the motherboard */
	p[0x05] = 3; /* system memory */
	p[0x06] = 3; /* no error correction */
	put_le32(p + 0x07, kib < 0x80000000u ? kib : 0x80000000u);
	put_le16(p + 0x0b, HANDLE_NOT_PROVIDED); /* error information */
	put_le16(p + 0x0d, 1);                   /* devices */
	put_le64(p + 0x0f, kib < 0x80000000u ? 0 : ram_size(t->b));
	end_structure(t);
}

/* 7.18.1: in MiB, or in KiB with bit 15; from 32 GiB - 1 MiB on in the extended field. */
static void put_memory_size(u8 *p, u64 bytes)
{
	u64 mib = bytes / MiB;

	if (bytes % MiB && bytes / KiB < 0x8000) {
		put_le16(p + 0x0c, 0x8000 | bytes / KiB);
	} else if (mib < 0x7fff) {
		put_le16(p + 0x0c, mib);
	} else {
		put_le16(p + 0x0c, 0x7fff);
		put_le32(p + 0x1c, mib);
	}
}

static void put_memory_device(struct smbios *t)
{
	u8 *p = begin_structure(t, SMBIOS_MEMORY_DEVICE, 0, 40);

	if (!p)
		return;
	put_le16(p + 0x04, HANDLE(SMBIOS_MEMORY_ARRAY, 0));
	put_le16(p + 0x06, HANDLE_NOT_PROVIDED);
	put_le16(p + 0x08, 64); /* total and data width */
	put_le16(p + 0x0a, 64);
	put_memory_size(p, ram_size(t->b));
	p[0x0e] = 1; /* form factor: other */
	p[0x10] = add_string(t, "DIMM 0");
	p[0x12] = 7;                /* RAM */
	put_le16(p + 0x13, BIT(1)); /* type detail: other */
	end_structure(t);
}

static void put_memory_mapped(struct smbios *t, unsigned index, u64 base, u64 len)
{
	u8 *p;

	if (!len)
		return;
	p = begin_structure(t, SMBIOS_MEMORY_MAPPED, index, 31);
	if (!p)
		return;
	if ((base + len - 1) / KiB < UINT32_MAX) {
		put_le32(p + 0x04, base / KiB);
		put_le32(p + 0x08, (base + len - 1) / KiB);
	} else {
		put_le32(p + 0x04, UINT32_MAX); /* look at the extended addresses */
		put_le32(p + 0x08, UINT32_MAX);
		put_le64(p + 0x0f, base);
		put_le64(p + 0x17, base + len - 1);
	}
	put_le16(p + 0x0c, HANDLE(SMBIOS_MEMORY_ARRAY, 0));
	p[0x0e] = 1; /* partition width */
	end_structure(t);
}

static void put_structures(struct smbios *t)
{
	put_bios(t);
	put_system(t);
	put_chassis(t);
	for (unsigned n = 0; n < t->b->ncpus; n++)
		put_processor(t, n);
	put_memory_array(t);
	put_memory_device(t);
	put_memory_mapped(t, 0, 0, t->b->mem->low);
	put_memory_mapped(t, 1, MEM_HIGH_BASE, t->b->mem->high);
	if (begin_structure(t, SMBIOS_BOOT_INFO, 0, 11)) /* boot status 0: no errors */
		end_structure(t);
	if (begin_structure(t, SMBIOS_END, 0, 4))
		end_structure(t);
}

/* 5.2.1 */
static void put_entry(const struct smbios *t, u8 *p, u32 gpa)
{
	table_text(p, 4, "_SM_");
	p[0x05] = ENTRY_LENGTH;
	p[0x06] = VERSION_MAJOR;
	p[0x07] = VERSION_MINOR;
	put_le16(p + 0x08, t->largest);
	table_text(p + 0x10, 5, "_DMI_");
	put_le16(p + 0x16, t->buf.len - ENTRY_SIZE);
	put_le32(p + 0x18, gpa + ENTRY_SIZE);
	put_le16(p + 0x1c, t->count);
	p[0x1e] = VERSION_MAJOR << 4 | VERSION_MINOR;
	p[0x15] = table_checksum(p + 0x10, ENTRY_LENGTH - 0x10);
	p[0x04] = table_checksum(p, ENTRY_LENGTH);
}

int smbios_write(const struct board_info *b, u8 *buf, size_t cap, u32 gpa, struct err *e)
{
	struct smbios t = {.b = b, .buf = {.base = buf, .cap = cap}};
	u8 *entry = table_room(&t.buf, ENTRY_SIZE);

	put_structures(&t);
	if (!entry || t.buf.overflow)
		return err_set(
		        e, -ENOSPC, "the SMBIOS structures of this board need more than %zu bytes", cap);
	put_entry(&t, entry, gpa);
	return 0;
}
