/*
 * Slot allocation: the first free run that is long enough, of the next few; else the end of the
 * file. Once the file is longer than the segment could ever need, holes are taken as they come.
 */
#include "block/slots.h"

#include <errno.h>
#include <stdlib.h>

#define RUNS_TRIED 32

void slots_init(struct slots *s, u64 soft_end)
{
	*s = (struct slots){.soft_end = soft_end};
}

void slots_fini(struct slots *s)
{
	for (u32 i = 0; i < s->nchunk; i++)
		free(s->chunk[i]);
	free(s->chunk);
}

static int grow(struct slots *s, u64 chunk)
{
	if (chunk >= s->nchunk) {
		u32 n = (u32)MAX(chunk + 1, (u64)s->nchunk * 2);
		struct slots_chunk **p = realloc(s->chunk, n * sizeof(*p));
		if (!p)
			return -ENOMEM;
		memset(p + s->nchunk, 0, (n - s->nchunk) * sizeof(*p));
		s->chunk = p;
		s->nchunk = n;
	}
	if (!s->chunk[chunk])
		s->chunk[chunk] = calloc(1, sizeof(struct slots_chunk));
	return s->chunk[chunk] ? 0 : -ENOMEM;
}

static struct slots_chunk *chunk_of(const struct slots *s, u64 slot)
{
	return slot / SLOTS_CHUNK < s->nchunk ? s->chunk[slot / SLOTS_CHUNK] : NULL;
}

static bool is_taken(const struct slots *s, u64 slot)
{
	const struct slots_chunk *c = chunk_of(s, slot);
	u32 bit = slot % SLOTS_CHUNK;
	return c && c->bits[bit / 64] >> (bit % 64) & 1;
}

int slots_take(struct slots *s, u64 slot)
{
	if (is_taken(s, slot))
		return -EEXIST;
	int r = grow(s, slot / SLOTS_CHUNK);
	if (r < 0)
		return r;
	struct slots_chunk *c = s->chunk[slot / SLOTS_CHUNK];
	u32 bit = slot % SLOTS_CHUNK;
	c->bits[bit / 64] |= BIT64(bit % 64);
	c->used++;
	s->end = MAX(s->end, slot + 1);
	return 0;
}

void slots_give(struct slots *s, u64 slot)
{
	struct slots_chunk *c = chunk_of(s, slot);
	u32 bit = slot % SLOTS_CHUNK;
	c->bits[bit / 64] &= ~BIT64(bit % 64);
	c->used--;
	s->hint = MIN(s->hint, slot);
}

/* The first slot from at on that is free (or, with taken set, taken), end if there is none below end. */
static u64 next_slot(const struct slots *s, u64 at, u64 end, bool taken)
{
	while (at < end) {
		const struct slots_chunk *c = chunk_of(s, at);
		u64 chunk_end = (at / SLOTS_CHUNK + 1) * SLOTS_CHUNK;
		if (!c || c->used == SLOTS_CHUNK) { /* all free, all taken */
			if (!c != taken)
				return at;
			at = chunk_end;
			continue;
		}
		u32 bit = at % SLOTS_CHUNK;
		u64 word = c->bits[bit / 64];
		word = (taken ? word : ~word) >> (bit % 64);
		if (word)
			return MIN(at + (u32)__builtin_ctzll(word), end);
		at = ALIGN_DOWN(at, 64ull) + 64;
	}
	return end;
}

/* Looks for a run of want slots before the end of the file; false: append. */
static bool find_hole(struct slots *s, u32 want, u64 *first, u32 *got)
{
	u64 at = s->hint;
	for (int i = 0; i < RUNS_TRIED; i++) {
		u64 start = next_slot(s, at, s->end, false);
		if (i == 0)
			s->hint = start;
		if (start >= s->end)
			return false;
		u64 stop = next_slot(s, start, MIN(s->end, start + want), true);
		if (stop - start == want || s->end >= s->soft_end) {
			*first = start;
			*got = (u32)(stop - start);
			return true;
		}
		at = stop;
	}
	return false;
}

u64 slots_free_run(const struct slots *s, u64 *at)
{
	*at = next_slot(s, *at, s->end, false);
	return next_slot(s, *at, s->end, true) - *at;
}

int slots_alloc(struct slots *s, u32 want, u64 *first, u32 *got)
{
	if (!find_hole(s, want, first, got)) {
		if (s->end >= SLOTS_LIMIT)
			return -ENOSPC;
		*first = s->end;
		*got = (u32)MIN(want, SLOTS_LIMIT - s->end);
	}
	for (u32 i = 0; i < *got; i++) {
		int r = slots_take(s, *first + i);
		if (r < 0) {
			while (i-- > 0)
				slots_give(s, *first + i);
			return r;
		}
	}
	return 0;
}
