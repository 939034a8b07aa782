/*
 * Synthetic Multiboot kernels for tests and fuzz seeds: the smallest correct files. Callers then break single
 * fields.
 */
#pragma once

#include "base/types.h"
#include "boot/multiboot.h"
#include <assert.h>
#include <elf.h>

#define MB_AT 0x200u /* of the header, in every file */
#define MB_LOAD 0x200000u
#define MB_LEN 0x1000u
#define MB_BSS 0x3000u
#define MB_ENTRY 0x40u      /* in what is loaded */
#define MB_LINKED 0xc00000u /* virtual addresses of ELF kernels */

static inline void put_header(u8 *at, u32 flags)
{
	put_le32(at, MB_HEADER_MAGIC);
	put_le32(at + 4, flags);
	put_le32(at + 8, 0u - MB_HEADER_MAGIC - flags);
}

/* A file that is loaded from its byte 0x100 on. */
static inline size_t make_flat(u8 *buf, size_t cap)
{
	assert(cap >= MB_LEN);
	memset(buf, 0x5a, MB_LEN);
	put_header(buf + MB_AT, MB_ADDRESSES | MB_PAGE_ALIGN);
	put_le32(buf + MB_AT + 12, MB_LOAD + MB_AT - 0x100);
	put_le32(buf + MB_AT + 16, MB_LOAD);
	put_le32(buf + MB_AT + 20, MB_LOAD + 0x800);
	put_le32(buf + MB_AT + 24, MB_LOAD + MB_BSS);
	put_le32(buf + MB_AT + 28, MB_LOAD + MB_ENTRY);
	return MB_LEN;
}

/* One segment: bytes 0x100..0x900 of the file. */
static inline size_t make_elf_mb(u8 *buf, size_t cap, bool wide)
{
	Elf32_Ehdr h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
	        .e_type = ET_EXEC,
	        .e_machine = EM_386,
	        .e_version = EV_CURRENT,
	        .e_entry = MB_LINKED + MB_ENTRY,
	        .e_phoff = sizeof(Elf64_Ehdr),
	        .e_phentsize = sizeof(Elf32_Phdr),
	        .e_phnum = 1};
	Elf64_Ehdr h64 = {.e_type = ET_EXEC,
	        .e_machine = EM_X86_64,
	        .e_version = EV_CURRENT,
	        .e_entry = MB_LINKED + MB_ENTRY,
	        .e_phoff = sizeof(Elf64_Ehdr),
	        .e_phentsize = sizeof(Elf64_Phdr),
	        .e_phnum = 1};
	const Elf32_Phdr p = {.p_type = PT_LOAD,
	        .p_offset = 0x100,
	        .p_vaddr = MB_LINKED,
	        .p_paddr = MB_LOAD,
	        .p_filesz = 0x800,
	        .p_memsz = MB_BSS};
	const Elf64_Phdr p64 = {.p_type = PT_LOAD,
	        .p_offset = 0x100,
	        .p_vaddr = MB_LINKED,
	        .p_paddr = MB_LOAD,
	        .p_filesz = 0x800,
	        .p_memsz = MB_BSS};

	assert(cap >= MB_LEN);
	memset(buf, 0x5a, MB_LEN);
	memcpy(h64.e_ident, h.e_ident, EI_NIDENT);
	h64.e_ident[EI_CLASS] = ELFCLASS64;
	if (wide) {
		memcpy(buf, &h64, sizeof(h64));
		memcpy(buf + sizeof(h64), &p64, sizeof(p64));
	} else {
		memcpy(buf, &h, sizeof(h));
		memcpy(buf + sizeof(h64), &p, sizeof(p));
	}
	put_header(buf + MB_AT, MB_MEMORY_INFO);
	return MB_LEN;
}
