/*
 * The header of a Linux bzImage (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"),
 * checked against the bytes of the file. Pure.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"

/* Offsets of header fields, the same in the file's first sector and in the zero page. */
#define HDR_SETUP_SECTS 0x1f1
#define HDR_SYSSIZE 0x1f4
#define HDR_VID_MODE 0x1fa
#define HDR_BOOT_FLAG 0x1fe
#define HDR_JUMP 0x200 /* its second byte, plus 0x202, is the end of the header */
#define HDR_MAGIC 0x202
#define HDR_VERSION 0x206
#define HDR_TYPE_OF_LOADER 0x210
#define HDR_LOADFLAGS 0x211
#define HDR_CODE32_START 0x214
#define HDR_RAMDISK_IMAGE 0x218
#define HDR_RAMDISK_SIZE 0x21c
#define HDR_CMD_LINE_PTR 0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_KERNEL_ALIGNMENT 0x230
#define HDR_RELOCATABLE 0x234
#define HDR_XLOADFLAGS 0x236
#define HDR_CMDLINE_SIZE 0x238
#define HDR_PAYLOAD_OFFSET 0x248
#define HDR_PAYLOAD_LENGTH 0x24c
#define HDR_SETUP_DATA 0x250
#define HDR_PREF_ADDRESS 0x258
#define HDR_INIT_SIZE 0x260
#define HDR_END_MAX 0x290 /* the zero page has other things from here on */

#define HDR_BOOT_FLAG_VALUE 0xaa55
#define HDR_MAGIC_VALUE 0x53726448u /* "HdrS" */
#define LOADFLAG_LOADED_HIGH 0x01
#define LOADFLAG_KASLR 0x02
#define LOADFLAG_CAN_USE_HEAP 0x80
#define XLF_KERNEL_64 0x0001
#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL 0xffff

struct bzimage {
	u16 version;
	u32 header_end; /* offset of the first byte after the header fields */
	u64 image_off;  /* protected-mode part in the file */
	u64 image_len;
	u64 payload_off; /* compressed kernel in the file; length 0: not told */
	u64 payload_len;
	u64 load;      /* where the protected-mode part must go */
	u64 init_size; /* memory it needs from there on */
	u32 initrd_addr_max;
	u32 cmdline_max; /* without the terminating 0 */
	bool entry64;
};

/* Are these the first bytes of a bzImage at all? */
bool bzimage_probe(const u8 *file, u64 len);

/* name is for messages. The whole file must be there. */
int bzimage_parse(const u8 *file, u64 len, const char *name, struct bzimage *out, struct err *e);
