/*
 * Synthetic kernels for tests and fuzz seeds: the smallest files that are a correct bzImage or ELF
 * kernel. Callers then break single fields.
 */
#pragma once

#include "base/types.h"
#include "boot/bzimage.h"
#include <elf.h>

#define TEST_SETUP_SECTS 2
#define TEST_SETUP_LEN ((TEST_SETUP_SECTS + 1) * 512u)
#define TEST_LOAD 0x200000u
#define TEST_INIT_SIZE 0x100000u
#define TEST_PAYLOAD_OFF 0x300u

/* A bzImage of protocol 2.15 whose protected-mode part has image_len bytes (multiple of 16) 0x5a. */
static inline size_t make_bzimage(u8 *buf, size_t cap, u32 image_len)
{
	size_t len = TEST_SETUP_LEN + image_len;

	assert(len <= cap);
	memset(buf, 0, TEST_SETUP_LEN);
	memset(buf + TEST_SETUP_LEN, 0x5a, image_len);
	buf[HDR_SETUP_SECTS] = TEST_SETUP_SECTS;
	put_le32(buf + HDR_SYSSIZE, image_len / 16);
	put_le16(buf + HDR_BOOT_FLAG, 0xaa55);
	buf[HDR_JUMP] = 0xeb;
	buf[HDR_JUMP + 1] = 0x6a;
	memcpy(buf + HDR_MAGIC, "HdrS", 4);
	put_le16(buf + HDR_VERSION, 0x020f);
	buf[HDR_LOADFLAGS] = 0x01;
	put_le32(buf + HDR_CODE32_START, 0x100000);
	put_le32(buf + HDR_INITRD_ADDR_MAX, 0x7fffffff);
	put_le32(buf + HDR_KERNEL_ALIGNMENT, 0x200000);
	buf[HDR_RELOCATABLE] = 1;
	put_le16(buf + HDR_XLOADFLAGS, 0x7f);
	put_le32(buf + HDR_CMDLINE_SIZE, 2047);
	put_le64(buf + HDR_PREF_ADDRESS, TEST_LOAD);
	put_le32(buf + HDR_INIT_SIZE, TEST_INIT_SIZE);
	return len;
}

/* The same around a compressed kernel. */
static inline size_t make_bzimage_payload(u8 *buf, size_t cap, const u8 *payload, u32 payload_len)
{
	size_t len = make_bzimage(buf, cap, ALIGN_UP(TEST_PAYLOAD_OFF + payload_len, 16u));

	memcpy(buf + TEST_SETUP_LEN + TEST_PAYLOAD_OFF, payload, payload_len);
	put_le32(buf + HDR_PAYLOAD_OFFSET, TEST_PAYLOAD_OFF);
	put_le32(buf + HDR_PAYLOAD_LENGTH, payload_len);
	return len;
}

#define TEST_ELF_TEXT 0x200000u
#define TEST_ELF_DATA 0x208000u
#define TEST_ELF_OFF 0x100u
#define TEST_ELF_TEXT_LEN 0x300u
#define TEST_ELF_DATA_LEN 0x80u
#define TEST_ELF_DATA_MEM 0x4000u
#define TEST_ELF_LEN (TEST_ELF_OFF + TEST_ELF_TEXT_LEN + TEST_ELF_DATA_LEN)

/* Text and data with bss; text is 0xa5, data 0x3c. */
static inline size_t make_elf(u8 *buf, size_t cap)
{
	Elf64_Ehdr h = {
	        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	        .e_type = ET_EXEC,
	        .e_machine = EM_X86_64,
	        .e_version = EV_CURRENT,
	        .e_entry = TEST_ELF_TEXT + 0x10,
	        .e_phoff = sizeof(Elf64_Ehdr),
	        .e_ehsize = sizeof(Elf64_Ehdr),
	        .e_phentsize = sizeof(Elf64_Phdr),
	        .e_phnum = 3,
	};
	const Elf64_Phdr p[3] = {
	        {.p_type = PT_LOAD,
	                .p_offset = TEST_ELF_OFF,
	                .p_vaddr = 0xffffffff80200000,
	                .p_paddr = TEST_ELF_TEXT,
	                .p_filesz = TEST_ELF_TEXT_LEN,
	                .p_memsz = TEST_ELF_TEXT_LEN},
	        {.p_type = PT_LOAD,
	                .p_offset = TEST_ELF_OFF + TEST_ELF_TEXT_LEN,
	                .p_vaddr = 0xffffffff80208000,
	                .p_paddr = TEST_ELF_DATA,
	                .p_filesz = TEST_ELF_DATA_LEN,
	                .p_memsz = TEST_ELF_DATA_MEM},
	        {.p_type = PT_NOTE},
	};

	assert(cap >= TEST_ELF_LEN);
	memset(buf, 0, TEST_ELF_LEN);
	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), p, sizeof(p));
	static_assert(sizeof(h) + sizeof(p) <= TEST_ELF_OFF, "headers before data");
	memset(buf + TEST_ELF_OFF, 0xa5, TEST_ELF_TEXT_LEN);
	memset(buf + TEST_ELF_OFF + TEST_ELF_TEXT_LEN, 0x3c, TEST_ELF_DATA_LEN);
	return TEST_ELF_LEN;
}
