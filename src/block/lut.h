/*
 * The table of a sparse image, PATH.lut: an array of 32-bit little-endian entries, one for each
 * sector of the disk; LUT_ABSENT = never written, else the sector's slot in its segment's file.
 *
 * There are two views. The file is the committed one. In memory is the live one, which guests see:
 * pages of the file that were touched, read when they are first needed, so a disk of a terabyte costs
 * no more memory than the part of its table in use. Pages are never written back as a whole: commit
 * writes only the entries of a generation over the committed content. Private to the block room.
 */
#pragma once

#include "block/hostio.h"
#include <pthread.h>

#define LUT_ABSENT 0xffffffffu
#define LUT_PAGE 1024u /* entries */

struct lut {
	const struct host_io *io;
	int fd;
	u64 entries;
	u32 *live; /* anonymous reservation; entries are atomic */
	u64 map_len;
	u64 *loaded;          /* one bit a page; atomic */
	pthread_mutex_t lock; /* loading */
};

/* Takes over fd. entries > 0. 0 or -errno (fd is the caller's then). */
int lut_init(struct lut *l, const struct host_io *io, int fd, u64 entries);
void lut_fini(struct lut *l);

/* Entries behind the old end are those of the file, which has them. No other thread is inside. 0 or -errno,
 * nothing changed. */
int lut_grow(struct lut *l, u64 entries);

/* Makes [first, first + n) readable by lut_get. 0 or -errno. Any thread. */
int lut_load(struct lut *l, u64 first, u64 n);
/* Forgets the live view. No other thread is inside. */
void lut_forget(struct lut *l);

static inline u32 lut_get(const struct lut *l, u64 i)
{
	return __atomic_load_n(&l->live[i], __ATOMIC_ACQUIRE);
}

static inline void lut_set(struct lut *l, u64 i, u32 v)
{
	__atomic_store_n(&l->live[i], v, __ATOMIC_RELEASE);
}

/* Copies live entries without keeping pages that nobody touched yet. */
int lut_peek(struct lut *l, u64 first, u64 n, u32 *out);

/* The i-th entry of a run: absent for all of it, or slots that follow each other. */
static inline u32 lut_run(u32 first, u32 i)
{
	return first == LUT_ABSENT ? first : first + i;
}

/* One change of the table: n entries from index on, inside one page, hold the run that value begins. */
struct lut_change {
	u64 index;
	u32 value, n;
	u32 seq; /* order of changes of one index */
};
/*
 * Writes changes to the file: sorts them, the last one of an index counts. One thread at a time. Nothing is
 * synced. 0 or -errno, after which any part of the changes may be in the file.
 */
int lut_write(struct lut *l, struct lut_change *c, u32 n);
/* Writes live pages [first, first + n) to the file as they are. No other thread is inside. */
int lut_store(struct lut *l, u64 first, u64 n);

static inline u64 lut_pages(const struct lut *l)
{
	return (l->entries + LUT_PAGE - 1) / LUT_PAGE;
}
