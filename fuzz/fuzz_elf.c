/*
 * The pure parsers behind the kernel loader on bytes of exact length: ELF headers, and every
 * decompressor by its signature, with an output buffer of exact size.
 */
#include "boot/elf_kernel.h"
#include "boot/unpack.h"

#include "../tests/unit/boot_kernels.h"
#include "standalone.h"

#include <stdlib.h>

#define LIMIT (64 * MiB)
#define OUT_MAX 4000

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void try_elf(const u8 *data, size_t len)
{
	struct boot_image img = {0};
	struct err e = {0};
	u64 end;

	check(elf_extent(data, len, len) <= len);
	if (elf_parse(data, len, LIMIT, "fuzz", &img, &end, &e) < 0) {
		check(e.text[0]);
		return;
	}
	check(img.nsegments >= 1 && img.nsegments <= BOOT_MAX_SEGMENTS && end <= LIMIT);
	for (unsigned n = 0; n < img.nsegments; n++) {
		const struct boot_segment *s = &img.segment[n];

		check(s->data >= data && s->filesz <= len && s->data + s->filesz <= data + len);
		check(s->filesz <= s->memsz && s->gpa >= MiB && s->gpa + s->memsz <= end);
	}
}

/* The last byte changes how much room the output has. */
static void try_unpack(const u8 *data, size_t len)
{
	enum unpack_format f = unpack_probe(data, len);
	size_t max = len ? OUT_MAX - data[len - 1] : OUT_MAX;
	u8 *out;
	s64 n;

	if (f == UNPACK_NONE)
		return;
	out = malloc(max);
	check(out != NULL);
	n = unpack(f, data, len, out, max);
	check(n <= (s64)max);
	free(out);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	try_elf(data, len);
	try_unpack(data, len);
	return 0;
}

/* --- seeds: an ELF kernel, and "xhyve" 20 times through each program --- */

static const u8 seed_gzip[] = {
        0x1f,
        0x8b,
        0x08,
        0x00,
        0x00,
        0x00,
        0x00,
        0x00,
        0x02,
        0x03,
        0xab,
        0xc8,
        0xa8,
        0x2c,
        0x4b,
        0x55,
        0xa8,
        0xa0,
        0x3b,
        0x09,
        0x00,
        0x1b,
        0xd7,
        0x30,
        0x01,
        0x78,
        0x00,
        0x00,
        0x00,
};
static const u8 seed_xz[] = {
        0xfd,
        0x37,
        0x7a,
        0x58,
        0x5a,
        0x00,
        0x00,
        0x01,
        0x69,
        0x22,
        0xde,
        0x36,
        0x02,
        0x00,
        0x21,
        0x01,
        0x16,
        0x00,
        0x00,
        0x00,
        0x74,
        0x2f,
        0xe5,
        0xa3,
        0xe0,
        0x00,
        0x77,
        0x00,
        0x0d,
        0x5d,
        0x00,
        0x3c,
        0x1a,
        0x0b,
        0x9a,
        0x39,
        0x84,
        0x19,
        0xd3,
        0x13,
        0x1b,
        0xfc,
        0x00,
        0x00,
        0x00,
        0x00,
        0x00,
        0x00,
        0x1b,
        0xd7,
        0x30,
        0x01,
        0x00,
        0x01,
        0x25,
        0x78,
        0xc2,
        0x9c,
        0xab,
        0x96,
        0x90,
        0x42,
        0x99,
        0x0d,
        0x01,
        0x00,
        0x00,
        0x00,
        0x00,
        0x01,
        0x59,
        0x5a,
        0x78,
        0x00,
        0x00,
        0x00,
};
static const u8 seed_lzma[] = {
        0x5d,
        0x00,
        0x00,
        0x80,
        0x00,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0x00,
        0x3c,
        0x1a,
        0x0b,
        0x9a,
        0x39,
        0x84,
        0x19,
        0xd3,
        0x13,
        0x80,
        0x7e,
        0x0b,
        0xff,
        0xff,
        0xd0,
        0xbf,
        0x00,
        0x00,
        0x78,
        0x00,
        0x00,
        0x00,
};
static const u8 seed_lz4[] = {
        0x02,
        0x21,
        0x4c,
        0x18,
        0x10,
        0x00,
        0x00,
        0x00,
        0x6f,
        0x78,
        0x68,
        0x79,
        0x76,
        0x65,
        0x20,
        0x06,
        0x00,
        0x5a,
        0x50,
        0x68,
        0x79,
        0x76,
        0x65,
        0x20,
        0x78,
        0x00,
        0x00,
        0x00,
};
static const u8 seed_zstd[] = {
        0x28,
        0xb5,
        0x2f,
        0xfd,
        0x04,
        0x68,
        0x6d,
        0x00,
        0x00,
        0x30,
        0x78,
        0x68,
        0x79,
        0x76,
        0x65,
        0x20,
        0x01,
        0x00,
        0x2f,
        0x69,
        0x29,
        0x02,
        0x8e,
        0x1c,
        0xe5,
        0x1d,
        0x78,
        0x00,
        0x00,
        0x00,
};
static const u8 seed_bzip2[] = {
        0x42,
        0x5a,
        0x68,
        0x39,
        0x31,
        0x41,
        0x59,
        0x26,
        0x53,
        0x59,
        0xad,
        0x4a,
        0xcf,
        0x38,
        0x00,
        0x00,
        0x31,
        0x91,
        0x80,
        0x40,
        0x00,
        0x02,
        0x40,
        0x01,
        0x60,
        0x20,
        0x00,
        0x30,
        0xc0,
        0x02,
        0x95,
        0x0c,
        0x9c,
        0x27,
        0x89,
        0x84,
        0xd2,
        0x61,
        0x34,
        0x9f,
        0x17,
        0x72,
        0x45,
        0x38,
        0x50,
        0x90,
        0xad,
        0x4a,
        0xcf,
        0x38,
        0x78,
        0x00,
        0x00,
        0x00,
};

static const struct {
	const u8 *bytes;
	size_t len;
} seeds[] = {
        {seed_gzip, sizeof(seed_gzip)},
        {seed_xz, sizeof(seed_xz)},
        {seed_lzma, sizeof(seed_lzma)},
        {seed_lz4, sizeof(seed_lz4)},
        {seed_zstd, sizeof(seed_zstd)},
        {seed_bzip2, sizeof(seed_bzip2)},
};

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	if (n == 0)
		return make_elf(buf, cap);
	if (n > ARRAY_SIZE(seeds) || seeds[n - 1].len > cap)
		return 0;
	memcpy(buf, seeds[n - 1].bytes, seeds[n - 1].len);
	return seeds[n - 1].len;
}
