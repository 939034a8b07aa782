/*
 * Checks a bzImage header, field by field, before anything is derived from it. All sums are made in
 * 64 bits from fields of at most 32 bits, except pref_address, which is bounded first.
 *
 * The protected-mode part is syssize paragraphs long. The file may be longer (a Secure Boot signature
 * follows) and up to 15 bytes shorter, because syssize is rounded up.
 */
#include "boot/bzimage.h"

#include <errno.h>

#define SECTOR 512
#define VERSION_MIN 0x0206 /* first with cmdline_size */
#define ENTRY64_OFFSET 0x200

bool bzimage_probe(const u8 *file, u64 len)
{
	return len >= HDR_VERSION + 2 && get_le16(file + HDR_BOOT_FLAG) == HDR_BOOT_FLAG_VALUE &&
	       get_le32(file + HDR_MAGIC) == HDR_MAGIC_VALUE;
}

/* Where the parts of the file are. */
static int parse_extent(const u8 *file, u64 len, const char *name, struct bzimage *z, struct err *e)
{
	unsigned sects = file[HDR_SETUP_SECTS] ? file[HDR_SETUP_SECTS] : 4; /* 0 means 4 */
	u64 paragraphs = get_le32(file + HDR_SYSSIZE), promised;

	z->image_off = (sects + 1ull) * SECTOR;
	promised = z->image_off + paragraphs * 16;
	if (z->image_off >= len)
		return err_set(e, -EINVAL, "kernel %s is truncated: its set-up part alone has %u sectors",
		        name, sects + 1);
	if (paragraphs == 0)
		return err_set(e, -EINVAL, "kernel %s: its header says that it is empty (syssize 0)", name);
	if (paragraphs > (len - z->image_off + 15) / 16)
		return err_set(e, -EINVAL,
		        "kernel %s is truncated: its header promises %llu bytes, the file has %llu", name,
		        (unsigned long long)promised, (unsigned long long)len);
	z->image_len = MIN(paragraphs * 16, len - z->image_off);
	return 0;
}

static int parse_payload(const u8 *file, const char *name, struct bzimage *z, struct err *e)
{
	u64 off, n;

	if (z->version < 0x0208)
		return 0;
	off = get_le32(file + HDR_PAYLOAD_OFFSET);
	n = get_le32(file + HDR_PAYLOAD_LENGTH);
	if (n == 0)
		return 0;
	if (off > z->image_len || n > z->image_len - off)
		return err_set(e, -EINVAL,
		        "kernel %s: payload (%llu bytes at %llu) reaches beyond the image (%llu bytes)", name,
		        (unsigned long long)n, (unsigned long long)off, (unsigned long long)z->image_len);
	z->payload_off = z->image_off + off;
	z->payload_len = n;
	return 0;
}

/* Where it goes: the preferred address, or 1 MiB for protocols that cannot tell. */
static int parse_address(const u8 *file, const char *name, struct bzimage *z, struct err *e)
{
	u32 align = get_le32(file + HDR_KERNEL_ALIGNMENT);

	z->load = MiB;
	z->init_size = z->image_len;
	if (z->version < 0x020a)
		return 0;
	z->load = get_le64(file + HDR_PREF_ADDRESS);
	z->init_size = get_le32(file + HDR_INIT_SIZE);
	if (align == 0 || (align & (align - 1)))
		return err_set(
		        e, -EINVAL, "kernel %s: kernel_alignment 0x%x is not a power of two", name, align);
	if (z->load < MiB || z->load > UINT32_MAX)
		return err_set(e, -EINVAL, "kernel %s: pref_address 0x%llx is not between 1 MiB and 4 GiB",
		        name, (unsigned long long)z->load);
	if (file[HDR_RELOCATABLE] && (z->load & (align - 1)))
		return err_set(e, -EINVAL,
		        "kernel %s: pref_address 0x%llx is not aligned to kernel_alignment 0x%x", name,
		        (unsigned long long)z->load, align);
	if (z->init_size < z->image_len)
		return err_set(e, -EINVAL,
		        "kernel %s: init_size 0x%llx is smaller than the image (0x%llx bytes)", name,
		        (unsigned long long)z->init_size, (unsigned long long)z->image_len);
	return 0;
}

static int parse_entry(const u8 *file, const char *name, struct bzimage *z, struct err *e)
{
	z->entry64 = z->version >= 0x020c && (get_le16(file + HDR_XLOADFLAGS) & XLF_KERNEL_64);
	if (z->entry64 && z->image_len <= ENTRY64_OFFSET)
		return err_set(e, -EINVAL, "kernel %s is too short to have a 64-bit entry", name);
	return 0;
}

int bzimage_parse(const u8 *file, u64 len, const char *name, struct bzimage *out, struct err *e)
{
	struct bzimage z = {0};
	int rc;

	if (!bzimage_probe(file, len))
		return err_set(e, -ENOEXEC, "kernel %s is not a Linux bzImage", name);
	z.version = get_le16(file + HDR_VERSION);
	if (z.version < VERSION_MIN)
		return err_set(e, -ENOEXEC,
		        "kernel %s has boot protocol %u.%02u; 2.06 is the oldest that works", name,
		        z.version >> 8, z.version & 0xff);
	z.header_end = HDR_MAGIC + file[HDR_JUMP + 1];
	if (z.header_end < HDR_CMDLINE_SIZE + 4 || len < HDR_END_MAX)
		return err_set(e, -EINVAL, "kernel %s: the header is shorter than its version allows", name);
	z.header_end = MIN(z.header_end, HDR_END_MAX);
	if (!(file[HDR_LOADFLAGS] & LOADFLAG_LOADED_HIGH))
		return err_set(e, -ENOEXEC, "kernel %s is a zImage (loaded low); only bzImages work", name);
	rc = parse_extent(file, len, name, &z, e);
	if (rc == 0)
		rc = parse_payload(file, name, &z, e);
	if (rc == 0)
		rc = parse_address(file, name, &z, e);
	if (rc == 0)
		rc = parse_entry(file, name, &z, e);
	if (rc < 0)
		return rc;
	z.initrd_addr_max = get_le32(file + HDR_INITRD_ADDR_MAX);
	z.cmdline_max = get_le32(file + HDR_CMDLINE_SIZE);
	*out = z;
	return 0;
}
