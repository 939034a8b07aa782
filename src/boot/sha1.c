/*
 * SHA-1 over a message that is in memory as a whole. The last one or two blocks, with the padding and
 * the length, are made in a buffer of their own.
 */
#include "boot/sha1.h"

#define BLOCK 64

static u32 rotl(u32 v, unsigned n)
{
	return v << n | v >> (32 - n);
}

static u32 get_be32(const u8 *p)
{
	return __builtin_bswap32(get_le32(p));
}

/* 6.1.2: functions and constants change every 20 rounds. */
static u32 round_fk(unsigned t, u32 b, u32 c, u32 d)
{
	switch (t / 20) {
	case 0: return ((b & c) | (~b & d)) + 0x5a827999;
	case 1: return (b ^ c ^ d) + 0x6ed9eba1;
	case 2: return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
	default: return (b ^ c ^ d) + 0xca62c1d6;
	}
}

static void add_block(u32 h[5], const u8 *p)
{
	u32 w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (unsigned t = 0; t < 16; t++)
		w[t] = get_be32(p + (size_t)t * 4);
	for (unsigned t = 16; t < 80; t++)
		w[t] = rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
	for (unsigned t = 0; t < 80; t++) {
		u32 tmp = rotl(a, 5) + round_fk(t, b, c, d) + e + w[t];

		e = d;
		d = c;
		c = rotl(b, 30);
		b = a;
		a = tmp;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

void sha1(const void *data, size_t len, u8 out[SHA1_SIZE])
{
	u32 h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	u8 tail[2 * BLOCK] = {0};
	size_t full = len / BLOCK * BLOCK, rest = len - full;
	size_t end = rest + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
	u64 bits = __builtin_bswap64((u64)len * 8);

	for (size_t n = 0; n < full; n += BLOCK)
		add_block(h, (const u8 *)data + n);
	if (rest)
		memcpy(tail, (const u8 *)data + full, rest);
	tail[rest] = 0x80;
	put_le64(tail + end - 8, bits);
	for (size_t n = 0; n < end; n += BLOCK)
		add_block(h, tail + n);
	for (unsigned n = 0; n < 5; n++)
		put_le32(out + (size_t)n * 4, __builtin_bswap32(h[n]));
}
