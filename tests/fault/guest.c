/*
 * See guest.h.
 */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER (32 * 1024)

void guest_geometry(struct image_spec *s, struct original *g, u64 *rng)
{
	*g = (struct original){.path = DISK, .sector = rng_below(rng, 10) < 7 ? 512 : 4096};
	g->nseg = 1 + rng_below(rng, 4);
	g->is_split = g->nseg > 1 || rng_below(rng, 2);
	g->per_segment = g->sector == 512 ? 2 + rng_below(rng, 7) : 1 + rng_below(rng, 3);
	*s = (struct image_spec){.path = DISK, .sparse = true};
	s->logical = g->sector;
	s->physical = g->sector;
	s->size = original_size(g);
	s->split = g->is_split ? g->per_segment * g->sector : 0;
}

/* Scatters the buffer over a few pieces of any length. */
static int scatter(struct guest *g, struct iovec *iov, u8 *buf, u64 len)
{
	int n = 0;
	while (len && n < 7 && rng_below(&g->rng, 3)) {
		u64 here = 1 + rng_next(&g->rng) % len;
		if (!g->cur)
			here = MIN(len, ALIGN_UP(here, (u64)OR_PIECE));
		iov[n++] = (struct iovec){buf, here};
		buf += here;
		len -= here;
	}
	if (len)
		iov[n++] = (struct iovec){buf, len};
	return n;
}

static void fill(struct guest *g, u8 *buf, u64 len)
{
	for (u64 i = 0; i < len; i += OR_PIECE) {
		u64 v = rng_next(&g->rng);
		u64 here = MIN(len - i, OR_PIECE);
		if (v % 6 == 0) {
			memset(buf + i, 0, here);
			continue;
		}
		for (u64 k = 0; k < here; k++)
			buf[i + k] = (u8)((v >> (k % 8 * 8)) + k / 8);
	}
}

static u32 pos_of(struct guest *g)
{
	return g->o ? memfs_pos(g->fs) : 0;
}

/* The operation changes [off, off + len) to data (NULL: zeros): cur follows, the oracle hears of it. */
static u32 issue(struct guest *g, u64 off, u64 len, const u8 *data)
{
	u64 first = off / OR_PIECE, end = (off + len + OR_PIECE - 1) / OR_PIECE;
	if (g->cur && data)
		memcpy(g->cur + off, data, len);
	else if (g->cur)
		memset(g->cur + off, 0, len);
	if (!g->o)
		return 0;
	if (g->cur)
		data = g->cur + first * OR_PIECE;
	return oracle_issue(g->o, (u32)first, (u32)(end - first), data, pos_of(g));
}

static int finish(struct guest *g, u32 op, int r)
{
	if (r == 0 && g->o)
		oracle_ack(g->o, op, pos_of(g));
	return r;
}

static int do_write(struct guest *g, u64 off, u64 len)
{
	u8 buf[BUFFER];
	struct iovec iov[8];
	len = MIN(len, sizeof(buf));
	fill(g, buf, len);
	int n = scatter(g, iov, buf, len);
	u32 op = issue(g, off, len, buf);
	return finish(g, op, block_pwritev(g->b, iov, n, off));
}

/* Several guests: whatever is read was once written there. */
static void check_known(struct guest *g, u64 off, const u8 *buf, u64 len)
{
	pthread_mutex_lock(&g->o->lock);
	for (u64 i = 0; i < len; i += OR_PIECE) {
		if (!oracle_knows(g->o, (u32)((off + i) / OR_PIECE), buf + i))
			snprintf(g->fail, sizeof(g->fail), "a read at %llu gives what never was there",
			        (unsigned long long)(off + i));
	}
	pthread_mutex_unlock(&g->o->lock);
}

static int do_read(struct guest *g, u64 off, u64 len)
{
	u8 buf[BUFFER];
	struct iovec iov[8];
	len = MIN(len, sizeof(buf));
	memset(buf, 0x5a, len);
	int n = scatter(g, iov, buf, len);
	int r = block_preadv(g->b, iov, n, off);
	if (r == 0 && g->cur && memcmp(buf, g->cur + off, len))
		snprintf(g->fail, sizeof(g->fail), "read of %llu bytes at %llu is wrong",
		        (unsigned long long)len, (unsigned long long)off);
	if (r == 0 && !g->cur && g->o)
		check_known(g, off, buf, len);
	return r;
}

int guest_flush(struct guest *g)
{
	u64 tick = g->o ? oracle_flush_issue(g->o) : 0;
	int r = block_flush(g->b);
	if (r == 0 && g->o)
		oracle_flush_ack(g->o, tick, pos_of(g));
	return r;
}

int guest_close(struct guest *g)
{
	u64 tick = g->o ? oracle_flush_issue(g->o) : 0;
	int r = block_close(g->b);
	g->b = NULL;
	if (r == 0 && g->o)
		oracle_flush_ack(g->o, tick, pos_of(g));
	return r;
}

int guest_open(struct guest *g, const struct image_spec *s, unsigned flags)
{
	struct err e = {0};
	int r = image_open(&g->b, s, flags | IMAGE_QUIET | (g->eager ? IMAGE_EAGER : 0), &g->fs->io, &e);
	if (r < 0) {
		g->b = NULL;
		snprintf(g->fail, sizeof(g->fail), "open: %d, %.180s", r, e.text);
	}
	return r;
}

int guest_step(struct guest *g)
{
	u64 sectors = g->size / g->sector, pieces = g->size / OR_PIECE;
	u64 s = rng_below(&g->rng, sectors), ns = 1 + rng_below(&g->rng, MIN(4, sectors - s));
	u64 p = rng_below(&g->rng, pieces), np = 1 + rng_below(&g->rng, MIN(6, pieces - p));
	u64 b = g->cur ? rng_below(&g->rng, g->size) : p * OR_PIECE;
	u64 nb = g->cur ? 1 + rng_below(&g->rng, MIN(1500, g->size - b)) : OR_PIECE;
	u64 off = s * g->sector, len = ns * g->sector;
	u32 what = rng_below(&g->rng, 100), op;

	if (what < 25)
		return do_write(g, off, len);
	if (what < 42)
		return do_write(g, p * OR_PIECE, np * OR_PIECE);
	if (what < 50)
		return do_write(g, b, nb);
	/* a raw file may leave sectors alone that are smaller than what it can free */
	if (what < 66 && g->b->grain <= g->sector) {
		op = issue(g, off, len, NULL);
		return finish(g, op, block_discard(g->b, off, len));
	}
	if (what < 74) {
		bool unmap = rng_below(&g->rng, 2);
		op = issue(g, p * OR_PIECE, np * OR_PIECE, NULL);
		return finish(g, op, block_write_zeroes(g->b, p * OR_PIECE, np * OR_PIECE, unmap));
	}
	if (what < 82)
		return do_read(g, b, nb);
	if (what < 84) {
		block_idle(g->b);
		return 0;
	}
	return g->flushes ? guest_flush(g) : do_read(g, off, len);
}
