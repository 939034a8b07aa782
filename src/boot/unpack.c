/*
 * One function for each compression that the kernel's build knows (all but LZO), each with a library
 * that Meson may or may not find. The signatures are those of scripts/extract-vmlinux's world: the
 * first bytes of a stream. Memory of the libraries is bounded by XZ_MEM_MAX where a stream could ask
 * for more.
 */
#include "boot/unpack.h"

#include <errno.h>
#include <limits.h>
#if HAVE_ZLIB
#include <zlib.h>
#endif
#if HAVE_LZMA
#include <lzma.h>
#endif
#if HAVE_LZ4
#include <lz4.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif
#if HAVE_BZIP2
#include <bzlib.h>
#endif

static const struct {
	u8 len;
	u8 bytes[6];
	enum unpack_format format;
} magics[] = {
        {3, {0x1f, 0x8b, 0x08}, UNPACK_GZIP},
        {6, {0xfd, '7', 'z', 'X', 'Z', 0x00}, UNPACK_XZ},
        {3, {0x5d, 0x00, 0x00}, UNPACK_LZMA},
        {4, {0x02, 0x21, 0x4c, 0x18}, UNPACK_LZ4},
        {4, {0x28, 0xb5, 0x2f, 0xfd}, UNPACK_ZSTD},
        {3, {'B', 'Z', 'h'}, UNPACK_BZIP2},
};

enum unpack_format unpack_probe(const u8 *in, u64 len)
{
	for (unsigned n = 0; n < ARRAY_SIZE(magics); n++)
		if (len >= magics[n].len && memcmp(in, magics[n].bytes, magics[n].len) == 0)
			return magics[n].format;
	return UNPACK_NONE;
}

#if HAVE_ZLIB
static s64 unpack_gzip(const u8 *in, u64 len, u8 *out, u64 max)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)in, .avail_in = len, .next_out = out, .avail_out = max};
	int rc = inflateInit2(&z, 15 + 16); /* largest window, gzip wrapper */
	u64 got;

	if (rc != Z_OK)
		return -ENOMEM;
	rc = inflate(&z, Z_FINISH);
	got = z.total_out;
	inflateEnd(&z);
	if (rc == Z_STREAM_END)
		return got;
	return got == max ? -EFBIG : -EINVAL;
}
#endif

#if HAVE_LZMA
#define XZ_MEM_MAX (256 * MiB)

static s64 unpack_lzma(const u8 *in, u64 len, u8 *out, u64 max, bool alone)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_ret rc = alone ? lzma_alone_decoder(&s, XZ_MEM_MAX) : lzma_stream_decoder(&s, XZ_MEM_MAX, 0);
	u64 got;

	if (rc != LZMA_OK)
		return -ENOMEM;
	s.next_in = in;
	s.avail_in = len;
	s.next_out = out;
	s.avail_out = max;
	do
		rc = lzma_code(&s, LZMA_FINISH);
	while (rc == LZMA_OK && s.avail_out);
	got = s.total_out;
	lzma_end(&s);
	if (rc == LZMA_STREAM_END)
		return got;
	return got == max ? -EFBIG : -EINVAL;
}
#endif

#if HAVE_LZ4
#define LZ4_CHUNK (8 * MiB) /* most that one block of the legacy frame decompresses to */

/* Blocks of u32 length and data follow the signature, up to the 4 bytes of size that the build appends. */
static s64 unpack_lz4(const u8 *in, u64 len, u8 *out, u64 max)
{
	u64 pos = 4, got = 0;

	while (len - pos > 4) {
		u32 n = get_le32(in + pos);
		u64 room = MIN(max - got, LZ4_CHUNK);
		int rc;

		if (n > len - pos - 4 || n > INT_MAX)
			return -EINVAL;
		rc = LZ4_decompress_safe((const char *)in + pos + 4, (char *)out + got, n, room);
		if (rc < 0)
			return room < LZ4_CHUNK ? -EFBIG : -EINVAL;
		got += rc;
		pos += 4 + (u64)n;
	}
	return got;
}
#endif

#if HAVE_ZSTD
static s64 unpack_zstd(const u8 *in, u64 len, u8 *out, u64 max)
{
	size_t frame = ZSTD_findFrameCompressedSize(in, len);
	size_t got;

	if (ZSTD_isError(frame))
		return -EINVAL;
	got = ZSTD_decompress(out, max, in, frame);
	if (!ZSTD_isError(got))
		return got;
	return ZSTD_getFrameContentSize(in, frame) > max ? -EFBIG : -EINVAL;
}
#endif

#if HAVE_BZIP2
static s64 unpack_bzip2(const u8 *in, u64 len, u8 *out, u64 max)
{
	bz_stream z = {
	        .next_in = (char *)(uintptr_t)in, .avail_in = len, .next_out = (char *)out, .avail_out = max};
	u64 got;
	int rc = BZ2_bzDecompressInit(&z, 0, 0);

	if (rc != BZ_OK)
		return -ENOMEM;
	rc = BZ2_bzDecompress(&z);
	got = max - z.avail_out;
	BZ2_bzDecompressEnd(&z);
	if (rc == BZ_STREAM_END)
		return got;
	return got == max ? -EFBIG : -EINVAL;
}
#endif

bool unpack_have(enum unpack_format f)
{
	switch (f) {
	case UNPACK_NONE: return false;
	case UNPACK_GZIP: return HAVE_ZLIB;
	case UNPACK_XZ:
	case UNPACK_LZMA: return HAVE_LZMA;
	case UNPACK_LZ4: return HAVE_LZ4;
	case UNPACK_ZSTD: return HAVE_ZSTD;
	case UNPACK_BZIP2: return HAVE_BZIP2;
	}
	return false;
}

s64 unpack(enum unpack_format f, const u8 *in, u64 len, u8 *out, u64 max)
{
	/* zlib and bzip2 count in 32 bits; no kernel is that large. */
	if (len > INT_MAX || max > INT_MAX)
		return -EFBIG;
	if (len < 8 || max == 0)
		return -EINVAL;
	switch (f) {
#if HAVE_ZLIB
	case UNPACK_GZIP: return unpack_gzip(in, len, out, max);
#endif
#if HAVE_LZMA
	case UNPACK_XZ: return unpack_lzma(in, len, out, max, false);
	case UNPACK_LZMA: return unpack_lzma(in, len, out, max, true);
#endif
#if HAVE_LZ4
	case UNPACK_LZ4: return unpack_lz4(in, len, out, max);
#endif
#if HAVE_ZSTD
	case UNPACK_ZSTD: return unpack_zstd(in, len, out, max);
#endif
#if HAVE_BZIP2
	case UNPACK_BZIP2: return unpack_bzip2(in, len, out, max);
#endif
	default: return -ENOTSUP;
	}
}

const char *unpack_name(enum unpack_format f)
{
	static const char *const names[] = {[UNPACK_NONE] = "nothing",
	        [UNPACK_GZIP] = "gzip",
	        [UNPACK_XZ] = "xz",
	        [UNPACK_LZMA] = "lzma",
	        [UNPACK_LZ4] = "lz4",
	        [UNPACK_ZSTD] = "zstd",
	        [UNPACK_BZIP2] = "bzip2"};

	return names[f];
}

const char *unpack_features(void)
{
	static const char names[] = ""
#if HAVE_ZLIB
	                            " gzip"
#endif
#if HAVE_LZMA
	                            " xz lzma"
#endif
#if HAVE_LZ4
	                            " lz4"
#endif
#if HAVE_ZSTD
	                            " zstd"
#endif
#if HAVE_BZIP2
	                            " bzip2"
#endif
	        ;

	return names[0] ? names + 1 : names;
}
