/*
 * Images by name: the option string of -s N,virtio-blk,PATH[,opt...], how the parts of an image are
 * called on the host, and the opener that builds the stack of layers.
 *
 *   PATH                 a file or block device: raw
 *   PATH.0000 ...        split: bytes [i * split, (i + 1) * split) each, decimal, at least 4 digits
 *   PATH.lut             sparse: the table (block/lut.h); its sectors live in the split files, or,
 *                        without split, in PATH itself as the only segment
 *   PATH.meta            the geometry (block/meta.h), which the original program ignores
 *   PATH.journal         sparse, while it is open: see block/journal.h
 */
#pragma once

#include "block/block.h"
#include "block/hostio.h"
#include <signal.h>

#define IMAGE_SEGMENTS_MAX 10000 /* names of the original end at .9999 */
#define IMAGE_PATH_MAX 3072

struct image_spec {
	char path[IMAGE_PATH_MAX];
	u64 size;     /* size=, 0: not given */
	u64 split;    /* split=, 0: not given */
	u32 logical;  /* sectorsize=L[/P], 0: not given */
	u32 physical; /* 0: not given */
	bool sparse, ro, nocache, sync;
	char serial[21]; /* serial=, empty: derived */
};

/*
 * Pure: parses PATH[,nocache][,sync|direct][,ro][,sectorsize=L[/P]][,size=N][,split=N][,sparse]. The
 * message needs no prefix. What can be wrong without looking at files is refused: numbers, sizes that
 * do not divide, split without size (unless geometry may come from PATH.meta), too many segments.
 */
int image_parse(struct image_spec *s, const char *config, struct err *e);

/* Geometry that is complete: what an image is. */
struct image_geometry {
	bool is_split, sparse;
	u64 size;    /* virtual bytes */
	u64 segment; /* bytes of a segment; size when not split */
	u32 nseg;
	u32 sector; /* sparse: bytes of a table entry's sector = logical */
	u32 logical, physical;
	u64 entries; /* sparse: entries of the table = nseg * per_segment */
	u64 per_segment;
	u64 id; /* random, kept in PATH.meta: the disk's serial number; 0: none */
};

/*
 * Completes and checks a geometry from what was given. Rounds nothing: size must be a multiple of split and
 * of the sector, split a multiple of the sector. -EINVAL with message.
 */
int image_geometry_make(struct image_geometry *g, const struct image_spec *s, struct err *e);

/* Name of segment i ("PATH.0003", or PATH when not split), of the table, the sidecar, the journal. */
void image_segment_name(char *buf, size_t len, const char *path, bool is_split, u32 i);
void image_lut_name(char *buf, size_t len, const char *path);
void image_meta_name(char *buf, size_t len, const char *path);
void image_journal_name(char *buf, size_t len, const char *path);

enum image_open_flags {
	IMAGE_CREATE = BIT(0), /* a missing image is created when size= is given */
	IMAGE_QUIET = BIT(1),  /* no progress, no warnings */
	IMAGE_LOOK = BIT(2),   /* changes nothing: a read-only layer, -ENODATA for what would be created */
	IMAGE_EAGER = BIT(3),  /* for tests: reserves storage ahead from the first sector on */
};

/*
 * Opens the image (creates it first with IMAGE_CREATE and size=): geometry from PATH.meta completed by
 * and compared with s, locks (-EBUSY names the file), replays a journal that a killed process left,
 * refuses damage. Whatever fails: nothing is left behind that was not there before.
 */
int image_open(struct block **out, const struct image_spec *s, unsigned flags, const struct host_io *io,
        struct err *e);

/*
 * Creates an image; -EEXIST (named) when any part of it is there. Table written under a temporary name and
 * renamed last: an image whose table exists is complete.
 */
int image_create(const struct image_spec *s, const struct host_io *io, struct err *e);

/* Finds out what is at s->path (files, meta) without opening for use; -ENOENT when nothing is. */
int image_probe(
        struct image_geometry *g, const struct image_spec *s, const struct host_io *io, struct err *e);

/* What an image takes on the host. */
struct image_usage {
	u64 stored;      /* bytes */
	u64 table_bytes; /* sparse */
	u64 allocated;   /* sparse: sectors that have storage */
	u32 missing;     /* segments */
	bool journal;    /* there is one: in use, or left by a process that was killed */
	bool in_use;     /* somebody has the image open for writing */
};

/* Counts; ends with -EINTR once *stop is set (NULL: never). */
int image_usage(struct image_usage *u, const struct image_spec *s, const struct image_geometry *g,
        const struct host_io *io, const volatile sig_atomic_t *stop, struct err *e);
