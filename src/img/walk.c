/*
 * The search for damage.
 *
 * First the entries are counted. Then, for each window of slots, the table of the segment is read
 * once: an entry whose slot is already in the map shares it. Slots without entry are looked up in the
 * file's extents, since a hole costs nothing. The windows end at the highest entry, so a segment file
 * of absurd length costs one look at its extents.
 */
#include "img/walk.h"

#include <errno.h>
#include <stdlib.h>

#define SHARED_GROUP 65536u
#define HOST_BLOCK 4096u /* what file systems give storage in */

struct walk_state {
	struct walk *w;
	struct sp_segment *seg;
	struct slot_map map;
	struct sp_shared *shared;
	size_t nshared;
	u32 *chunk;
};

static u64 first_entry(const struct walk *w, const struct sp_segment *seg)
{
	return seg->index * w->img->g.per_segment;
}

/* Reads piece by piece: entries of the segment from at; n of them, 0 at the end. */
static int next_chunk(struct walk *w, struct sp_segment *seg, u64 at, u32 *chunk, u32 *n, struct err *e)
{
	int r = img_stopped(w->ctx, e);

	*n = at < w->img->g.per_segment ? (u32)MIN(w->img->g.per_segment - at, SP_CHUNK) : 0;
	if (r || !*n)
		return r;
	return spimage_read(w->img, first_entry(w, seg) + at, *n, chunk, e);
}

static int count_chunk(
        struct walk *w, struct sp_segment *seg, u64 first, const u32 *chunk, u32 n, u64 slots, struct err *e)
{
	for (u32 i = 0; i < n; i++) {
		int r = 0;

		if (chunk[i] == SP_ABSENT)
			continue;
		w->count.named++;
		if (chunk[i] < slots) {
			w->count.top = MAX(w->count.top, (u64)chunk[i] + 1);
			continue;
		}
		w->count.past_end++;
		if (w->past_end)
			r = w->past_end(w, seg, first + i, chunk[i], e);
		if (r)
			return r;
	}
	return 0;
}

int walk_count(struct walk *w, struct sp_segment *seg, struct err *e)
{
	u32 *chunk = malloc(SP_CHUNK * sizeof(*chunk)), n = 0;
	u64 at = 0, slots = spimage_slots(w->img, seg);
	int r = chunk ? 0 : err_errno(e, -ENOMEM, "table");

	w->count = (struct sp_count){0};
	while (!r) {
		r = next_chunk(w, seg, at, chunk, &n, e);
		if (r || !n)
			break;
		r = count_chunk(w, seg, first_entry(w, seg) + at, chunk, n, slots, e);
		at += n;
	}
	free(chunk);
	return r;
}

static int by_slot(const void *a, const void *b)
{
	const struct sp_shared *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return x->sector < y->sector ? -1 : x->sector > y->sector;
}

static int by_sector(const void *a, const void *b)
{
	const struct sp_shared *x = a, *y = b;

	return x->sector < y->sector ? -1 : x->sector > y->sector;
}

/* Entries are looked at in ascending order: the first one that names a slot counts. Returns how many it
 * settles. */
static size_t note_first(struct walk_state *s, u32 slot, u64 sector)
{
	size_t low = 0, high = s->nshared, settled = 0;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->shared[mid].slot < slot)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < s->nshared && s->shared[low].slot == slot && s->shared[low].first == UINT64_MAX; low++) {
		s->shared[low].first = sector;
		settled++;
	}
	return settled;
}

/* Finds the first entry of every slot in the group, and hands the group over. */
static int flush_shared(struct walk_state *s, struct err *e)
{
	size_t settled = 0;
	u32 *chunk, n = 0;
	int r = 0;

	if (!s->nshared)
		return 0;
	chunk = malloc(SP_CHUNK * sizeof(*chunk));
	if (!chunk)
		return err_errno(e, -ENOMEM, "table");
	qsort(s->shared, s->nshared, sizeof(*s->shared), by_slot);
	for (u64 at = 0; settled < s->nshared; at += n) {
		r = next_chunk(s->w, s->seg, at, chunk, &n, e);
		if (r || !n)
			break;
		for (u32 i = 0; i < n; i++) {
			if (slot_map_has(&s->map, chunk[i]))
				settled += note_first(s, chunk[i], first_entry(s->w, s->seg) + at + i);
		}
	}
	free(chunk);
	qsort(s->shared, s->nshared, sizeof(*s->shared), by_sector);
	if (!r && s->w->shared)
		r = s->w->shared(s->w, s->seg, s->shared, s->nshared, e);
	s->nshared = 0;
	return r;
}

static int map_chunk(struct walk_state *s, u64 first, u32 n, struct err *e)
{
	for (u32 i = 0; i < n; i++) {
		u32 slot = s->chunk[i];

		if (slot == SP_ABSENT || !slot_map_has(&s->map, slot))
			continue;
		if (!slot_map_get(&s->map, slot)) {
			slot_map_set(&s->map, slot);
			continue;
		}
		if (s->w->tally) {
			s->w->tallied++;
			continue;
		}
		s->shared[s->nshared++] = (struct sp_shared){slot, first + i, UINT64_MAX};
		if (s->nshared == SHARED_GROUP) {
			int r = flush_shared(s, e);

			if (r)
				return r;
		}
	}
	return 0;
}

/* Only zeros, in a range of less than a block of the host? Then it was given back as far as possible. */
static bool is_given_back(struct walk_state *s, u64 from, u64 to)
{
	u8 buf[HOST_BLOCK];

	if (from >= to || hostio_read(s->w->img->io, s->seg->fd, buf, to - from, from) < 0)
		return false;
	for (u64 n = 0; n < to - from; n++)
		if (buf[n])
			return false;
	return true;
}

/*
 * Cuts off what shares a block of the host with other sectors and holds zeros: the host cannot take it
 * back, the next sector that is written may.
 */
static void cut_parts_of_blocks(struct walk_state *s, u64 *from, u64 *to)
{
	u64 first = MIN(ALIGN_UP(*from, HOST_BLOCK), *to), last;

	if (is_given_back(s, *from, first))
		*from = first;
	last = MAX(ALIGN_DOWN(*to, HOST_BLOCK), *from);
	if (last < *to && is_given_back(s, last, *to))
		*to = last;
}

/* Storage between two offsets that no entry names. */
static int report_leak(struct walk_state *s, u64 from, u64 to, struct err *e)
{
	const struct host_io *io = s->w->img->io;

	if (s->w->leak)
		cut_parts_of_blocks(s, &from, &to);
	while (from < to && s->w->leak) {
		u64 len = to - from;
		bool data = true;
		int r = img_stopped(s->w->ctx, e);

		if (!r && io->ops->extent(io, s->seg->fd, from, &len, &data) < 0) {
			data = true; /* a file system without extents: everything may be storage */
			len = to - from;
		}
		len = len ? MIN(len, to - from) : to - from;
		if (!r && data)
			r = s->w->leak(s->w, s->seg, from, len, e);
		if (r)
			return r;
		from += len;
	}
	return 0;
}

static int window_leaks(struct walk_state *s, struct err *e)
{
	u64 end = s->map.base + s->map.n, slot = s->map.base, sector = s->w->img->g.sector;

	while (slot < end) {
		u64 from = slot_map_next(&s->map, slot, false), to;
		int r;

		if (from >= end)
			break;
		to = slot_map_next(&s->map, from, true);
		r = report_leak(s, from * sector, MIN(to * sector, s->seg->size), e);
		if (r)
			return r;
		slot = to;
	}
	return 0;
}

static int walk_window(struct walk_state *s, u64 base, u64 n, struct err *e)
{
	u32 got = 0;
	int r;

	slot_map_window(&s->map, base, n);
	for (u64 at = 0;; at += got) {
		r = next_chunk(s->w, s->seg, at, s->chunk, &got, e);
		if (r || !got)
			break;
		r = map_chunk(s, first_entry(s->w, s->seg) + at, got, e);
		if (r)
			break;
	}
	if (!r)
		r = flush_shared(s, e);
	return r ? r : window_leaks(s, e);
}

int walk_segment(struct walk *w, struct sp_segment *seg, struct err *e)
{
	struct walk_state s = {.w = w, .seg = seg};
	u64 top, old_size = seg->size;
	int r = walk_count(w, seg, e);

	if (r || seg->fd < 0)
		return r;
	top = w->count.top;
	r = slot_map_init(&s.map, top, e);
	s.shared = malloc(SHARED_GROUP * sizeof(*s.shared));
	s.chunk = malloc(SP_CHUNK * sizeof(*s.chunk));
	if (!r && (!s.shared || !s.chunk))
		r = err_errno(e, -ENOMEM, "table");
	for (u64 base = 0; !r && base < top; base += s.map.n)
		r = walk_window(&s, base, MIN(top - base, SP_WINDOW), e);
	/* Behind the highest entry; what shared() has appended meanwhile is named. */
	if (!r)
		r = report_leak(&s, top * w->img->g.sector, old_size, e);
	free(s.shared);
	free(s.chunk);
	slot_map_free(&s.map);
	return r;
}
