/*
 * Bounded reads, and text as file systems and partition tables store it.
 */
#include "fs/dev.h"

#include <errno.h>
#include <stdio.h>

int fs_dev_read(const struct fs_dev *d, void *buf, u64 len, u64 off)
{
	if (off > d->len || len > d->len - off)
		return -EUCLEAN;
	return block_pread(d->block, buf, len, d->off + off);
}

static size_t put_utf8(char *out, u32 c)
{
	size_t n = 0;

	if (c < 0x80) {
		out[n++] = (char)c;
		return n;
	}
	if (c < 0x800) {
		out[n++] = (char)(0xc0 | c >> 6);
	} else if (c < 0x10000) {
		out[n++] = (char)(0xe0 | c >> 12);
		out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
	} else {
		out[n++] = (char)(0xf0 | c >> 18);
		out[n++] = (char)(0x80 | (c >> 12 & 0x3f));
		out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
	}
	out[n++] = (char)(0x80 | (c & 0x3f));
	return n;
}

void utf16_text(char *out, size_t cap, const u8 *in, size_t n, bool big)
{
	size_t len = 0;

	for (size_t i = 0; i < n && len + 5 <= cap; i++) {
		u32 c = big ? get_be16(in + 2 * i) : get_le16(in + 2 * i);

		if (c == 0)
			break;
		if (c >= 0xd800 && c < 0xe000) {
			u32 low = i + 1 < n ? big ? get_be16(in + 2 * i + 2) : get_le16(in + 2 * i + 2) : 0;

			if (c < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				i++;
			} else {
				c = '?';
			}
		}
		len += put_utf8(out + len, c);
	}
	out[len] = 0;
}

void field_text(char *out, size_t cap, const u8 *in, size_t n)
{
	size_t len = 0;

	while (len < n && len + 1 < cap && in[len]) {
		out[len] = (char)in[len];
		len++;
	}
	while (len && out[len - 1] == ' ')
		len--;
	out[len] = 0;
}

void uuid_text(char out[UUID_TEXT], const u8 in[16], bool mixed)
{
	static const u8 swapped[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	char *p = out;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", in[mixed ? swapped[i] : i]);
	}
}
