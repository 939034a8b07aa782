/*
 * ELF kernels: an executable whose program headers say which bytes go to which physical address; Linux for
 * x86-64, Multiboot kernels also with 32 bits. Pure: checks the bytes and fills segments that point into
 * them.
 */
#pragma once

#include "base/err.h"
#include "boot/boot.h"

#include <elf.h>

bool elf_probe(const u8 *file, u64 len);

/* What is of interest in a header of 32 or 64 bits. */
struct elf {
	bool wide;
	bool known; /* for one of our processors */
	u16 type, machine;
	unsigned phnum, phentsize;
	u64 entry, phoff;
};

/* The header of an executable for x86 (64 bits, or also 32: narrow), whose program headers are in the file.
 */
int elf_read(const u8 *file, u64 len, bool narrow, const char *name, struct elf *x, struct err *e);
/* The n-th of them. */
Elf64_Phdr elf_phdr(const u8 *file, const struct elf *x, unsigned n);

/*
 * How many bytes of the file matter (program headers and loaded parts; debug sections do not), judged
 * from its first bytes. size is the file's. Never more than size.
 */
u64 elf_extent(const u8 *head, u64 len, u64 size);

/*
 * The one check of what is to be copied into memory: the bytes of the program header are in the file, and
 * their place in [1 MiB, limit) and in no other segment's. Then they are the image's next segment.
 */
int elf_add_segment(const Elf64_Phdr *p, const u8 *file, u64 len, u64 limit, const char *name,
        struct boot_image *img, struct err *e);

/*
 * Fills segments, entry and end (first byte after the last segment). Everything must be in
 * [1 MiB, limit) of guest memory, without overlaps, and the entry inside a segment.
 */
int elf_parse(const u8 *file, u64 len, u64 limit, const char *name, struct boot_image *img, u64 *end,
        struct err *e);
