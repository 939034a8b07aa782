/*
 * Putting IPv4 fragments together (RFC 791, 3.2; see reass.h). A datagram whose fragments overlap, which only
 * attacks do, or do not agree about its end, is dropped.
 */
#include "net/reass.h"

#include "net/csum.h"
#include <stdlib.h>

#define ETH 14u
#define ETHERTYPE_AT 12u
#define ETHERTYPE_IP4 0x0800u
/* IPv4 header */
#define IP_TOTAL 2u
#define IP_ID 4u
#define IP_FRAGMENT 6u
#define IP_PROTOCOL 9u
#define IP_SUM 10u
#define IP_ADDRESSES 12u
#define IP_LEN 20u
#define IP_LEN_MAX 60u
#define MORE_FRAGMENTS 0x2000u
#define OFFSET 0x1fffu
#define PAYLOAD_MAX (65535u - IP_LEN_MAX)
#define UNIT 8u /* of offsets */

/* What fragments of one datagram have in common. */
struct key {
	u8 addresses[8], id[2], protocol;
};

struct datagram {
	struct key key;
	u64 since_ns;
	u32 have, highest;
	u32 total; /* 0: the last one has not come */
	u32 head_len;
	u8 head[ETH + IP_LEN_MAX];
	u8 seen[65536 / UNIT / 8]; /* a bit for each unit */
	u8 data[65536];
};

/* A fragment, checked. */
struct fragment {
	struct key key;
	const u8 *frame, *data;
	u32 head_len; /* with Ethernet header */
	u32 off, len;
	bool more;
};

static u32 get_be16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static void put_be16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

/* --- one fragment --- */

static bool is_fragment(const u8 *frame, u32 len)
{
	return len >= ETH + IP_LEN && get_be16(frame + ETHERTYPE_AT) == ETHERTYPE_IP4 &&
	       (get_be16(frame + ETH + IP_FRAGMENT) & (MORE_FRAGMENTS | OFFSET));
}

static void sum_header(u8 *frame, u32 head_len)
{
	const struct net_meta meta = {.csum_start = ETH, .csum_offset = IP_SUM};

	put_be16(frame + ETH + IP_SUM, 0);
	net_finish_csum(frame, head_len, &meta);
}

/* 0 and 0xffff are the same number. */
static bool sum_is_right(const u8 *frame, u32 head_len)
{
	u32 got = get_be16(frame + ETH + IP_SUM), want;
	u8 copy[ETH + IP_LEN_MAX];

	memcpy(copy, frame, head_len);
	sum_header(copy, head_len);
	want = get_be16(copy + ETH + IP_SUM);
	return got == want || (got == 0 && want == 0xffff);
}

static bool parse(struct fragment *f, const u8 *frame, u32 len)
{
	const u8 *ip = frame + ETH;
	u32 field = get_be16(ip + IP_FRAGMENT), total = get_be16(ip + IP_TOTAL), head = (ip[0] & 15) * 4u;

	if (ip[0] >> 4 != 4 || head < IP_LEN || ETH + head > len || total <= head || ETH + total > len)
		return false;
	*f = (struct fragment){.frame = frame,
	        .data = ip + head,
	        .head_len = ETH + head,
	        .off = (field & OFFSET) * UNIT,
	        .len = total - head,
	        .more = field & MORE_FRAGMENTS};
	memcpy(f->key.addresses, ip + IP_ADDRESSES, sizeof(f->key.addresses));
	memcpy(f->key.id, ip + IP_ID, sizeof(f->key.id));
	f->key.protocol = ip[IP_PROTOCOL];
	return f->off + f->len <= PAYLOAD_MAX && !(f->more && f->len % UNIT) &&
	       sum_is_right(frame, f->head_len);
}

/* --- datagrams --- */

static void drop(struct datagram **d)
{
	free(*d);
	*d = NULL;
}

static struct datagram **oldest(struct reass *r)
{
	struct datagram **found = &r->open[0];

	for (unsigned n = 0; n < REASS_DATAGRAMS; n++) {
		if (!r->open[n])
			return &r->open[n];
		if (r->open[n]->since_ns < (*found)->since_ns)
			found = &r->open[n];
	}
	return found;
}

/* The one that the fragment belongs to, maybe a new one; NULL: no memory. */
static struct datagram **find(struct reass *r, const struct fragment *f, u64 now_ns)
{
	struct datagram **d;

	for (unsigned n = 0; n < REASS_DATAGRAMS; n++) {
		d = &r->open[n];
		if (*d && now_ns - (*d)->since_ns > REASS_NS)
			drop(d);
		if (*d && memcmp(&(*d)->key, &f->key, sizeof(f->key)) == 0)
			return d;
	}
	d = oldest(r);
	drop(d);
	*d = calloc(1, sizeof(**d));
	if (!*d)
		return NULL;
	(*d)->key = f->key;
	(*d)->since_ns = now_ns;
	return d;
}

/* False: it overlaps with one that is there. */
static bool mark(struct datagram *d, const struct fragment *f)
{
	for (u32 n = f->off / UNIT; n < (f->off + f->len + UNIT - 1) / UNIT; n++) {
		if (d->seen[n / 8] >> (n % 8) & 1)
			return false;
		d->seen[n / 8] |= (u8)BIT(n % 8);
	}
	return true;
}

static bool add(struct datagram *d, const struct fragment *f)
{
	u32 end = f->off + f->len;

	if (!mark(d, f) || (!f->more && d->total))
		return false;
	if (f->off == 0) {
		d->head_len = f->head_len;
		memcpy(d->head, f->frame, f->head_len);
	}
	if (!f->more)
		d->total = end;
	memcpy(d->data + f->off, f->data, f->len);
	d->have += f->len;
	d->highest = MAX(d->highest, end);
	return !d->total || d->highest <= d->total;
}

static const u8 *put_together(struct reass *r, const struct datagram *d, u32 *len)
{
	u8 *ip = r->out + ETH;

	*len = d->head_len + d->total;
	memcpy(r->out, d->head, d->head_len);
	memcpy(r->out + d->head_len, d->data, d->total);
	put_be16(ip + IP_TOTAL, *len - ETH);
	put_be16(ip + IP_FRAGMENT, 0);
	sum_header(r->out, d->head_len);
	return r->out;
}

const u8 *reass_frame(struct reass *r, const u8 *frame, u32 *len, u64 now_ns)
{
	const u8 *whole = NULL;
	struct datagram **d;
	struct fragment f;

	if (!is_fragment(frame, *len))
		return frame;
	if (!parse(&f, frame, *len))
		return NULL;
	d = find(r, &f, now_ns);
	if (!d)
		return NULL;
	if (!add(*d, &f)) {
		drop(d);
		return NULL;
	}
	/* Without overlaps, and with nothing behind the end, so many bytes are all of them. */
	if ((*d)->total && (*d)->have == (*d)->total) {
		whole = put_together(r, *d, len);
		drop(d);
	}
	return whole;
}

void reass_clear(struct reass *r)
{
	for (unsigned n = 0; n < REASS_DATAGRAMS; n++)
		drop(&r->open[n]);
}
