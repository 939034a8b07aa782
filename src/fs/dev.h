/*
 * A part of a disk as a source of bytes, and readers of numbers and names in it. Private to the fs room.
 *
 * Everything read here is hostile. fs_dev_read fails with -EUCLEAN for a range that is not inside the
 * part, so a reader may follow a place that it found on the disk without checking it first.
 */
#pragma once

#include "base/types.h"
#include "block/block.h"

struct fs_dev {
	struct block *block;
	u64 off, len;
};

int fs_dev_read(const struct fs_dev *d, void *buf, u64 len, u64 off);

static inline u16 get_be16(const u8 *p)
{
	return (u16)(p[0] << 8 | p[1]);
}

static inline u32 get_be32(const u8 *p)
{
	return (u32)get_be16(p) << 16 | get_be16(p + 2);
}

static inline bool is_power_of_two(u64 v)
{
	return v && !(v & (v - 1));
}

/*
 * UTF-16 (n units, big or little endian, ended early by 0) to UTF-8, always terminated, cut to fit. What is
 * no text becomes '?'.
 */
void utf16_text(char *out, size_t cap, const u8 *in, size_t n, bool big);

/* A field of fixed length: copies up to its first 0, without blanks at the end. */
void field_text(char *out, size_t cap, const u8 *in, size_t n);

/* Lower-case 8-4-4-4-12. mixed: the first three groups are little endian, as in a GPT. */
#define UUID_TEXT 37
void uuid_text(char out[UUID_TEXT], const u8 in[16], bool mixed);
