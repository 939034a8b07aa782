/*
 * Checksums, and what is left to do with frames (see csum.h, net.h). The sum of 16-bit words in one's
 * complement does not depend on the byte order they are read in, nor on how many are added at once (RFC 1071,
 * 2): eight bytes at a time with the carry.
 */
#include "net/csum.h"

static u64 add(u64 sum, u64 v)
{
	sum += v;
	return sum + (sum < v);
}

static u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

static u16 sum_of(const u8 *p, size_t len)
{
	u64 a = 0, b = 0, tail = 0;

	/* Two sums that do not wait for each other. */
	for (; len >= 16; p += 16, len -= 16) {
		a = add(a, get_le64(p));
		b = add(b, get_le64(p + 8));
	}
	a = add(a, b);
	if (len >= 8) {
		a = add(a, get_le64(p));
		p += 8;
		len -= 8;
	}
	memcpy(&tail, p, len);
	return fold(add(a, tail));
}

bool net_finish_csum(u8 *frame, u32 len, const struct net_meta *meta)
{
	u32 at = (u32)meta->csum_start + meta->csum_offset;
	u16 sum;

	if (meta->csum_start > len || at + 2 > len)
		return false;
	sum = (u16)~sum_of(frame + meta->csum_start, len - meta->csum_start);
	/* 0 would mean "no checksum" in UDP; for TCP both are the same number. */
	put_le16(frame + at, sum ? sum : 0xffff);
	return true;
}

bool net_meta_fits(const struct net_frame *f, u32 offloads)
{
	const struct net_meta *m = &f->meta;
	u32 need = m->gso & NET_GSO_ECN ? NET_OFF_ECN : 0;

	if (m->flags & NET_NEEDS_CSUM) {
		need |= NET_OFF_CSUM;
		if ((u32)m->csum_start + m->csum_offset + 2 > f->len)
			return false;
	}
	switch (m->gso & ~NET_GSO_ECN) {
	case NET_GSO_NONE: return (need & ~offloads) == 0;
	case NET_GSO_TCP4: need |= NET_OFF_TSO4; break;
	case NET_GSO_TCP6: need |= NET_OFF_TSO6; break;
	case NET_GSO_UDP: need |= NET_OFF_UFO; break;
	default: return false;
	}
	return m->gso_size && (m->flags & (NET_NEEDS_CSUM | NET_DATA_VALID)) && (need & ~offloads) == 0;
}
