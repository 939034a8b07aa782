/*
 * A sparse image as it lies on the host: the table and the segment files themselves, for the commands
 * that look for damage or move sectors. Damaged images open too. The table is read in pieces, so
 * memory does not grow with the image.
 *
 * The locks are those of block/image.h: on the table and on the first segment, exclusive to change
 * the image, shared to read it.
 */
#pragma once

#include "img/img.h"

#define SP_ABSENT UINT32_MAX
#define SP_CHUNK 16384u /* entries that are read and written at a time */

struct sp_segment {
	u32 index;
	int fd;        /* -1: the file is missing */
	u64 size;      /* bytes */
	u64 allocated; /* bytes of storage */
};

struct spimage {
	const struct host_io *io;
	struct image_geometry g;
	char path[IMAGE_PATH_MAX];
	bool writable;
	int table;               /* fd */
	u64 table_bytes;         /* length of its file */
	struct sp_segment first; /* open always: it holds the lock */
	struct sp_segment cur;   /* another one; fd may be -1 */
};

/* g: what the image is. -EBUSY (named) when it is in use. */
int spimage_open(struct spimage **out, const char *path, const struct image_geometry *g, bool writable,
        const struct host_io *io, struct err *e);
void spimage_close(struct spimage *img);

/* Opens segment i; valid until the next call. A missing file is no error, but has fd -1 and size 0. */
int spimage_segment(struct spimage *img, u32 i, struct sp_segment **seg, struct err *e);
/* Creates the missing file of segment i, empty. */
int spimage_create_segment(struct spimage *img, u32 i, struct err *e);

/* Entries past the end of a short table are SP_ABSENT. */
int spimage_read(struct spimage *img, u64 first, u32 n, u32 *entries, struct err *e);
int spimage_write(struct spimage *img, u64 first, u32 n, const u32 *entries, struct err *e);
int spimage_sync(struct spimage *img, struct err *e);
int spimage_sync_segment(struct spimage *img, const struct sp_segment *seg, struct err *e);

/* Slots of a segment with any byte inside the file; never more than a table can name. */
u64 spimage_slots(const struct spimage *img, const struct sp_segment *seg);

/*
 * Which slots of a segment are named, for a window of slots at a time: bit i is slot base + i.
 */
#define SP_WINDOW BIT64(28)

struct slot_map {
	u64 base, n; /* the window */
	u64 *bits;   /* room for MIN(SP_WINDOW, slots) bits */
};

int slot_map_init(struct slot_map *m, u64 slots, struct err *e);
void slot_map_free(struct slot_map *m);
void slot_map_window(struct slot_map *m, u64 base, u64 n); /* clears; n <= SP_WINDOW */

static inline bool slot_map_get(const struct slot_map *m, u64 slot)
{
	return m->bits[(slot - m->base) / 64] >> ((slot - m->base) % 64) & 1;
}

static inline void slot_map_set(struct slot_map *m, u64 slot)
{
	m->bits[(slot - m->base) / 64] |= BIT64((slot - m->base) % 64);
}

static inline bool slot_map_has(const struct slot_map *m, u64 slot)
{
	return slot >= m->base && slot - m->base < m->n;
}

/* First slot >= from of the window that is (not) named; base + n if there is none. */
u64 slot_map_next(const struct slot_map *m, u64 from, bool named);

/* Is what follows the first need bytes of the table absent entries only (or nothing)? */
int spimage_tail_absent(const struct spimage *img, u64 need, bool *absent, struct err *e);

/* Makes entries [from, to) absent, also where the table is not that long yet, and syncs the table. */
int spimage_blank(struct spimage *img, u64 from, u64 to, struct err *e);
