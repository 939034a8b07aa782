/*
 * What a kernel says about itself: the version text that a bzImage's header points to
 * (Documentation/arch/x86/boot.rst, kernel_version), or the banner inside an ELF file.
 */
#include "boot/facts.h"

#include <stdio.h>

#define HDR_KERNEL_VERSION 0x20e /* offset of the text less 0x200, 0: none */
#define BANNER "Linux version "

/* The printable beginning of a text that may have no end, its first word: the release. */
static void copy_text(char *to, size_t room, const u8 *text, u64 len)
{
	size_t n = 0;

	while (n < len && n < room - 1 && text[n] > ' ' && text[n] < 0x7f) {
		to[n] = (char)text[n];
		n++;
	}
	to[n] = 0;
}

void boot_facts_bzimage(struct boot_facts *f, const u8 *file, u64 len, u16 protocol)
{
	u64 at = get_le16(file + HDR_KERNEL_VERSION);

	f->file_len = len;
	f->protocol = protocol;
	if (at && at + 0x200 < len)
		copy_text(f->version, sizeof(f->version), file + at + 0x200, len - at - 0x200);
}

void boot_facts_elf(struct boot_facts *f, const u8 *file, u64 len)
{
	const u8 *found = memmem(file, len, BANNER, sizeof(BANNER) - 1);
	u64 at = found ? (u64)(found - file) + sizeof(BANNER) - 1 : len;

	f->file_len = len;
	copy_text(f->version, sizeof(f->version), file + at, len - at);
}
