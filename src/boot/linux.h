/*
 * Private to the boot room: the map of low memory at kernel entry, shared by loading and placing.
 */
#pragma once

#include "boot/boot.h"

#define GDT_GPA 0x2000u
#define ZERO_PAGE_GPA 0x3000u
#define CMDLINE_GPA 0x4000u
#define CMDLINE_ROOM 0x10000u /* with its terminating 0 */
#define EBDA_GPA 0x9fc00u     /* end of conventional memory */

/* The first byte of low RAM that firmware tables may take. */
static inline u64 tables_base(const struct mem *m)
{
	return m->low - BOOT_TABLES_SIZE;
}

/* What both kinds of kernel get: the map of memory, the kernel's segments, a GDT with selectors 0x10 and
 * 0x18. */
unsigned boot_map(struct boot_region *map, unsigned max, const struct mem *m, const struct board_info *b,
        const struct boot_tables_out *tables);
int boot_write_segments(const struct boot_image *img, struct mem *m, struct err *e);
void boot_write_gdt(struct mem *m, bool code64);

/* Bytes of page tables that map [0, m->span) (4 GiB at least) one to one with 2 MiB pages. */
u64 page_tables_size(const struct mem *m);

/* Writes them; returns the value of CR3. */
u64 page_tables_write(struct mem *m, u64 gpa);
