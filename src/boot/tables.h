/*
 * Private to the boot room: the writers of firmware tables and what they share. Each writer puts its
 * table into a buffer that the caller points at guest RAM, and says how much it used.
 */
#pragma once

#include "boot/aml.h"
#include "boot/boot.h"

/* The byte that makes the sum of all bytes 0, when the byte itself is counted as 0. */
u8 table_checksum(const void *p, size_t len);

/* Text into a field that is padded with blanks, without terminator. */
void table_text(u8 *field, size_t len, const char *text);

/*
 * A buffer of fixed size that a table grows in. What does not fit sets overflow; nothing is written
 * then and table_room returns NULL.
 */
struct table_buf {
	u8 *base;
	size_t len, cap;
	bool overflow;
};
u8 *table_room(struct table_buf *t, size_t len); /* zeroed */

/*
 * ACPI tables into region (BOOT_TABLES_SIZE bytes at region_gpa), the FACS in its first page, the root
 * pointer into rsdp (36 bytes).
 */
#define ACPI_RSDP_SIZE 36
int acpi_write(const struct board_info *b, u8 *region, u64 region_gpa, u8 *rsdp, struct err *e);

/* The SSDT's AML without header. */
void acpi_ssdt_body(struct aml *a, const struct board_info *b);

int mptable_write(const struct board_info *b, u8 *buf, size_t cap, u32 gpa, struct err *e);
int smbios_write(const struct board_info *b, u8 *buf, size_t cap, u32 gpa, struct err *e);

#define BOARD_ISA_IRQS 16
#define BOARD_PIT_GSI 2 /* ISA interrupt 0 reaches this IOAPIC pin */
#define BOARD_PINS 4

/* One INTx pin of a slot on bus 0, without duplicates. */
struct board_route {
	u8 slot, pin; /* 1..4 */
	u8 gsi, link;
};
#define BOARD_ROUTES_MAX (32 * BOARD_PINS)
unsigned board_routes(const struct board_info *b, struct board_route out[BOARD_ROUTES_MAX]);
