/*
 * Decompression of a kernel's payload on the host. Pure but for memory: output goes into a buffer of
 * the caller's and never beyond it, whatever the input says.
 */
#pragma once

#include "base/types.h"

enum unpack_format {
	UNPACK_NONE, /* not known */
	UNPACK_GZIP,
	UNPACK_XZ,
	UNPACK_LZMA,
	UNPACK_LZ4, /* the legacy frame that `lz4 -l` writes */
	UNPACK_ZSTD,
	UNPACK_BZIP2,
};

enum unpack_format unpack_probe(const u8 *in, u64 len);

/* Is the library for this format part of the build? */
bool unpack_have(enum unpack_format f);

/*
 * Bytes written, -ENOTSUP (format not built in), -EFBIG (more than max) or -EINVAL (damaged). Bytes
 * after the end of the compressed stream are ignored: the kernel's build appends the size.
 */
s64 unpack(enum unpack_format f, const u8 *in, u64 len, u8 *out, u64 max);

const char *unpack_name(enum unpack_format f);

/* Names of what is built in, separated by blanks. */
const char *unpack_features(void);
