/*
 * Private to the boot room: kernels with a Multiboot header (Multiboot specification 0.6.96). Pure: checks
 * the bytes and fills segments that point into them.
 */
#pragma once

#include "boot/boot.h"

#define MB_SEARCH 8192u /* 3.1: the header lies in the first so many bytes */
#define MB_HEADER_MAGIC 0x1badb002u
#define MB_LOADER_MAGIC 0x2badb002u /* 3.2: EAX at entry */

/* 3.1.2: what the kernel wants; the lower half must be understood, the upper half may be ignored */
#define MB_PAGE_ALIGN 0x00000001u
#define MB_MEMORY_INFO 0x00000002u
#define MB_VIDEO_MODE 0x00000004u
#define MB_MUST_KNOW 0x0000ffffu
#define MB_ADDRESSES 0x00010000u

struct mb_header {
	u64 at; /* in the file */
	u32 flags;
	u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* with MB_ADDRESSES */
};

/* Finds the header in the first bytes of a file. False: there is none. */
bool mb_find(const u8 *file, u64 len, struct mb_header *h);

/*
 * Fills segments, entry and kernel_end from the header's addresses or from the ELF headers (32 or 64 bits).
 * Everything must be in [1 MiB, limit) of guest memory.
 */
int mb_parse(const u8 *file, u64 len, u64 limit, const char *name, struct boot_image *img, struct err *e);
