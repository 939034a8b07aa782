/*
 * shrink: gives back space.
 *
 * Sparse images: entries of sectors that hold only zeros are cleared. Then n sectors are left in a
 * segment; those in slots >= n move to the free slots below n, of which there are just as many, and
 * the file is cut to n slots. A group of sectors moves at a time: copy, sync the segment, write the
 * entries, sync the table, free the old places. Since only slots are filled that were free from the
 * start, each instant shows a whole image; what an interruption leaves is lost space at most.
 *
 * Raw and split images: blocks of zeros become holes.
 */
#include "img/check.h"
#include "img/progress.h"

#include "block/iov.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#define BUFFER (1 * MiB)

struct shrink {
	struct img_ctx *c;
	struct spimage *img;
	struct progress progress;
	u8 *buf;    /* BUFFER, at least a sector */
	u32 *chunk; /* SP_CHUNK */
	u32 *old;   /* SP_CHUNK: entries before a group was changed */
	struct slot_map map;
	u64 map_end; /* slots below it may be filled */
	u64 cursor;  /* next one to look at */
	u64 before, after, zeroed, moved;
};

static int segment_error(const struct shrink *s, const struct sp_segment *seg, int r, struct err *e)
{
	return err_errno(e, r, "segment %u of %s", seg->index, s->img->path);
}

/* Table pieces of a segment: 0 in *n at its end. */
static int load(struct shrink *s, const struct sp_segment *seg, u64 at, u32 *n, struct err *e)
{
	int r = img_stopped(s->c, e);

	*n = at < s->img->g.per_segment ? (u32)MIN(s->img->g.per_segment - at, SP_CHUNK) : 0;
	if (r || !*n)
		return r;
	return spimage_read(s->img, seg->index * s->img->g.per_segment + at, *n, s->chunk, e);
}

/* Writes the part of the chunk that differs from old. */
static int store(struct shrink *s, const struct sp_segment *seg, u64 at, u32 n, struct err *e)
{
	u32 low = 0, high = n;

	while (low < high && s->chunk[low] == s->old[low])
		low++;
	while (high > low && s->chunk[high - 1] == s->old[high - 1])
		high--;
	if (low == high)
		return 0;
	return spimage_write(
	        s->img, seg->index * s->img->g.per_segment + at + low, high - low, s->chunk + low, e);
}

/* Sectors from i on that lie in consecutive slots, as many as the buffer holds. */
static u32 run_length(const struct shrink *s, u32 i, u32 n)
{
	u32 most = (u32)MAX(BUFFER / s->img->g.sector, 1), len = 1;

	while (i + len < n && len < most && s->chunk[i + len] != SP_ABSENT &&
	        s->chunk[i + len] == s->chunk[i] + len)
		len++;
	return len;
}

static int drop_run(struct shrink *s, struct sp_segment *seg, u32 i, u32 len, struct err *e)
{
	u32 sector = s->img->g.sector;
	int r = hostio_read(s->img->io, seg->fd, s->buf, (u64)len * sector, (u64)s->chunk[i] * sector);

	if (r)
		return segment_error(s, seg, r, e);
	for (u32 k = 0; k < len; k++) {
		if (!buf_is_zero(s->buf + (size_t)k * sector, sector))
			continue;
		s->chunk[i + k] = SP_ABSENT;
		s->zeroed++;
	}
	return 0;
}

/* Clears entries of sectors that are all zeros. Counts what is left. */
static int drop_zeroes(struct shrink *s, struct sp_segment *seg, u64 *left, struct err *e)
{
	u32 n;
	int r = 0;

	*left = 0;
	for (u64 at = 0; !r; at += n) {
		r = load(s, seg, at, &n, e);
		if (r || !n)
			break;
		memcpy(s->old, s->chunk, n * sizeof(u32));
		for (u32 i = 0, len; !r && i < n; i += len) {
			len = 1;
			if (s->chunk[i] == SP_ABSENT)
				continue;
			len = run_length(s, i, n);
			r = drop_run(s, seg, i, len, e);
		}
		for (u32 i = 0; i < n; i++)
			*left += s->chunk[i] != SP_ABSENT;
		if (!r)
			r = store(s, seg, at, n, e);
		progress_set(&s->progress, seg->index * s->img->g.per_segment + at);
	}
	return r ? r : spimage_sync(s->img, e);
}

static int fill_map(struct shrink *s, struct sp_segment *seg, u64 base, struct err *e)
{
	u32 *entries = malloc(SP_CHUNK * sizeof(*entries));
	u64 first = seg->index * s->img->g.per_segment;
	int r = entries ? 0 : err_errno(e, -ENOMEM, "table");

	slot_map_window(&s->map, base, MIN(s->map_end - base, SP_WINDOW));
	for (u64 at = 0; !r && at < s->img->g.per_segment; at += SP_CHUNK) {
		u32 n = (u32)MIN(s->img->g.per_segment - at, SP_CHUNK);

		r = spimage_read(s->img, first + at, n, entries, e);
		for (u32 i = 0; !r && i < n; i++) {
			if (slot_map_has(&s->map, entries[i]))
				slot_map_set(&s->map, entries[i]);
		}
	}
	free(entries);
	return r;
}

/* The next free slot below map_end. There is one for each sector that must move. */
static int take_slot(struct shrink *s, struct sp_segment *seg, u32 *slot, struct err *e)
{
	for (;;) {
		u64 end = s->map.base + s->map.n, found = slot_map_next(&s->map, s->cursor, false);
		int r;

		s->cursor = found;
		if (found < end) {
			*slot = (u32)found;
			s->cursor++;
			return 0;
		}
		if (end >= s->map_end)
			return err_set(e, -EUCLEAN, "segment %u of %s changed while it was shrunk",
			        seg->index, s->img->path);
		r = fill_map(s, seg, end, e);
		if (r)
			return r;
	}
}

/* Copies the sectors of the loaded chunk that lie too high, and changes the chunk. */
static int copy_high(struct shrink *s, struct sp_segment *seg, u32 n, u32 *copied, struct err *e)
{
	u32 sector = s->img->g.sector;

	*copied = 0;
	for (u32 i = 0; i < n; i++) {
		u32 to = 0;
		int r;

		if (s->chunk[i] == SP_ABSENT || s->chunk[i] < s->map_end)
			continue;
		r = take_slot(s, seg, &to, e);
		if (r)
			return r;
		r = hostio_read(s->img->io, seg->fd, s->buf, sector, (u64)s->chunk[i] * sector);
		if (!r)
			r = hostio_write(s->img->io, seg->fd, s->buf, sector, (u64)to * sector);
		if (r)
			return segment_error(s, seg, r, e);
		s->chunk[i] = to;
		++*copied;
	}
	return 0;
}

static void free_old(struct shrink *s, struct sp_segment *seg, u32 n)
{
	u64 sector = s->img->g.sector;

	/* The space comes back now, so that the image never needs more than it had; cutting ends it anyway.
	 */
	for (u32 i = 0; i < n; i++) {
		if (s->old[i] != s->chunk[i] &&
		        s->img->io->ops->punch(s->img->io, seg->fd, s->old[i] * sector, sector) < 0)
			return;
	}
}

static int move_down(struct shrink *s, struct sp_segment *seg, struct err *e)
{
	u32 n, copied;
	int r = 0;

	for (u64 at = 0; !r; at += n) {
		r = load(s, seg, at, &n, e);
		if (r || !n)
			break;
		memcpy(s->old, s->chunk, n * sizeof(u32));
		r = copy_high(s, seg, n, &copied, e);
		if (r || !copied)
			continue;
		r = spimage_sync_segment(s->img, seg, e);
		if (!r)
			r = store(s, seg, at, n, e);
		if (!r)
			r = spimage_sync(s->img, e);
		if (!r)
			free_old(s, seg, n);
		s->moved += copied;
	}
	return r;
}

static int shrink_segment(struct shrink *s, u32 i, struct err *e)
{
	struct sp_segment *seg;
	struct host_stat st;
	u64 left;
	int r = spimage_segment(s->img, i, &seg, e);

	if (!r)
		r = drop_zeroes(s, seg, &left, e);
	if (r)
		return r;
	s->before += seg->allocated;
	if (left * s->img->g.sector < seg->size) {
		s->map_end = left;
		s->cursor = 0;
		r = slot_map_init(&s->map, left, e);
		if (!r)
			r = fill_map(s, seg, 0, e);
		if (!r)
			r = move_down(s, seg, e);
		slot_map_free(&s->map);
		if (r)
			return r;
		r = s->img->io->ops->truncate(s->img->io, seg->fd, left * s->img->g.sector);
		if (r >= 0)
			r = s->img->io->ops->datasync(s->img->io, seg->fd);
	}
	if (r >= 0)
		r = s->img->io->ops->stat(s->img->io, seg->fd, &st);
	if (r < 0)
		return segment_error(s, seg, r, e);
	s->after += st.allocated;
	return 0;
}

static int refuse_damage(struct shrink *s, struct err *e)
{
	struct findings f = {0};
	int r = check_sparse(s->img, s->c, &f, e);

	if (!r && findings_damage(&f))
		r = err_set(e, -EUCLEAN, "%s is damaged: use xhyve-img repair first", s->img->path);
	findings_free(&f);
	return r;
}

static int shrink_sparse(struct shrink *s, struct err *e)
{
	int r = refuse_damage(s, e);

	s->buf = malloc(MAX(BUFFER, s->img->g.sector));
	s->chunk = malloc(SP_CHUNK * sizeof(u32));
	s->old = malloc(SP_CHUNK * sizeof(u32));
	if (!r && (!s->buf || !s->chunk || !s->old))
		r = err_errno(e, -ENOMEM, "%s", s->img->path);
	progress_begin(&s->progress, s->c, "shrink", s->img->g.entries);
	for (u32 i = 0; !r && i < s->img->g.nseg; i++)
		r = shrink_segment(s, i, e);
	progress_end(&s->progress);
	free(s->buf);
	free(s->chunk);
	free(s->old);
	if (!r)
		fprintf(s->c->out,
		        "%s: %" PRIu64 " sectors of zeros dropped, %" PRIu64 " moved, %" PRIu64
		        " bytes of storage before, %" PRIu64 " now\n",
		        s->img->path, s->zeroed, s->moved, s->before, s->after);
	return r;
}

/* --- raw and split --- */

static int punch_zeroes(struct img_ctx *c, struct block *b, u64 *freed, struct err *e)
{
	u32 grain = b->grain ? b->grain : 4096;
	u64 size = block_size(b), len;
	struct progress p;
	u8 *buf = malloc(BUFFER);
	int r = buf ? 0 : -ENOMEM;

	progress_begin(&p, c, "shrink", size);
	for (u64 at = 0; !r && at < size; at += len) {
		bool data = true;

		r = img_stopped(c, e);
		if (r)
			break;
		len = size - at;
		r = block_extent(b, at, &len, &data);
		if (r || !data)
			continue;
		len = MIN(len, BUFFER - at % BUFFER);
		r = block_pread(b, buf, len, at);
		for (u64 k = 0, n; !r && k < len; k += n) {
			n = MIN(len - k, grain - (at + k) % grain);
			if (n < grain || !buf_is_zero(buf + k, n))
				continue;
			while (k + n + grain <= len && buf_is_zero(buf + k + n, grain))
				n += grain;
			r = block_discard(b, at + k, n);
			*freed += n;
		}
		progress_set(&p, at);
	}
	progress_end(&p);
	free(buf);
	if (r == -EINTR)
		return r;
	return r ? err_errno(e, r, "shrink") : 0;
}

static int shrink_plain(struct img_ctx *c, struct image_spec *s, struct err *e)
{
	struct block *b;
	u64 freed = 0;
	int r, closed;

	s->ro = false;
	r = image_open(&b, s, IMAGE_QUIET, c->io, e);
	if (r)
		return r;
	r = punch_zeroes(c, b, &freed, e);
	closed = block_close(b);
	if (!r && closed)
		r = err_errno(e, closed, "%s", s->path);
	if (!r)
		fprintf(c->out, "%s: %" PRIu64 " bytes of zeros made holes\n", s->path, freed);
	return r;
}

int img_shrink(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct image_spec spec;
	struct image_geometry g;
	struct shrink s = {.c = c};
	bool replayed;
	int r = img_target(c, o->arg[0], &spec, &g, e);

	if (r)
		return r;
	if (!g.sparse)
		return shrink_plain(c, &spec, e);
	r = img_replay(c, &spec, &replayed, e);
	if (!r)
		r = spimage_open(&s.img, spec.path, &g, true, c->io, e);
	if (!r)
		r = shrink_sparse(&s, e);
	spimage_close(s.img);
	return r;
}
