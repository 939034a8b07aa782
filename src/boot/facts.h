/*
 * Facts about a kernel file for the user, see struct boot_facts. Pure; the file is hostile.
 */
#pragma once

#include "boot/boot.h"

/* The header has been checked (bzimage_parse). */
void boot_facts_bzimage(struct boot_facts *f, const u8 *file, u64 len, u16 protocol);
void boot_facts_elf(struct boot_facts *f, const u8 *file, u64 len);
