/*
 * Sparse layer: storage that is reserved behind the end of a segment's file. Most hosts copy faster into a
 * file where they need not look for storage page by page, and lay it out in one piece. The file's length
 * says nothing of it, so to every reader of the format the image is the same.
 *
 * How much: a small part of what was lately appended, so that an image never takes much more than what
 * is in it. It is given back when the disk is idle or closed, as soon as a write finds the host full (which
 * then tries again, and nothing is reserved any more), and, after a kill, by who opens the image next.
 *
 * Giving back truncates the file to the length that it has. Meanwhile no slot may be filled: those who want
 * one wait, those who fill one are waited for.
 */
#include "block/sparse_int.h"

#include <errno.h>

#define AHEAD_PART 32u /* of what was appended */
#define AHEAD_MIN (64 * KiB)
#define AHEAD_MAX (16 * MiB)

void sparse_ahead_init(struct sparse *s, bool eager)
{
	struct host_stat st;
	s->ahead_part = eager ? 1 : AHEAD_PART;
	s->ahead_unit = eager ? s->g.sector : (u32)AHEAD_MIN;
	s->ahead = !s->b.ro && s->io->ops->stat(s->io, s->seg[0].file.fd, &st) == 0 && st.ahead;
}

/* Bytes behind the last slot that shall be reserved now, when less than half of that is; else 0. */
static u64 ahead_wanted(const struct sparse *s, const struct segment *seg)
{
	u64 end = seg->slots.end * s->g.sector;
	u64 n = ALIGN_DOWN(MIN(seg->appended / s->ahead_part, AHEAD_MAX), (u64)s->ahead_unit);
	if (end >= s->g.segment || end + n / 2 <= seg->reserved)
		return 0;
	return MIN(n, s->g.segment - end);
}

bool sparse_ahead_due(const struct sparse *s, const struct segment *seg)
{
	return s->ahead && !seg->reserving && ahead_wanted(s, seg);
}

/* Under lock, which it lets go of meanwhile. */
static void give_back(struct sparse *s, struct segment *seg)
{
	struct host_stat st;
	seg->trimming = true;
	while (seg->filling || seg->reserving)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (s->io->ops->stat(s->io, seg->file.fd, &st) == 0)
		s->io->ops->truncate(s->io, seg->file.fd, st.size);
	pthread_mutex_lock(&s->lock);
	__atomic_store_n(&seg->dirty, true, __ATOMIC_RELEASE);
	seg->reserved = seg->appended = 0;
	seg->trimming = false;
	__atomic_fetch_add(&s->given_back, 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&s->changed);
}

/* Under lock: all that is reserved now is given back at the end, also by others who are at it. */
static void give_all_back(struct sparse *s)
{
	for (u32 i = 0; i < s->g.nseg; i++) {
		struct segment *seg = &s->seg[i];
		while (seg->trimming)
			pthread_cond_wait(&s->changed, &s->lock);
		if (seg->reserved)
			give_back(s, seg);
		seg->appended = 0;
	}
}

void sparse_ahead_give_back(struct sparse *s)
{
	pthread_mutex_lock(&s->lock);
	give_all_back(s);
	pthread_mutex_unlock(&s->lock);
}

void sparse_reserve(struct sparse *s, u32 segment)
{
	struct segment *seg = &s->seg[segment];
	pthread_mutex_lock(&s->lock);
	if (!seg->trimming && sparse_ahead_due(s, seg)) {
		u64 from = MAX(seg->slots.end * s->g.sector, seg->reserved);
		u64 to = seg->slots.end * s->g.sector + ahead_wanted(s, seg);
		seg->reserving = true;
		seg->reserved = to; /* some of it is there even if not all can be had */
		pthread_mutex_unlock(&s->lock);
		int r = s->io->ops->ahead(s->io, seg->file.fd, from, to - from);
		pthread_mutex_lock(&s->lock);
		seg->reserving = false;
		pthread_cond_broadcast(&s->changed);
		if (r < 0) {
			s->ahead = false;
			give_all_back(s);
		}
	}
	pthread_mutex_unlock(&s->lock);
}

bool sparse_make_space(struct sparse *s, int r, u64 before)
{
	if (r != -ENOSPC && r != -EDQUOT)
		return false;
	pthread_mutex_lock(&s->lock);
	s->ahead = false;
	give_all_back(s);
	bool some = s->given_back != before;
	pthread_mutex_unlock(&s->lock);
	return some;
}
