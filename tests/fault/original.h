/*
 * The format seen from outside: an independent check of an image's files, and the read rule of the
 * original program restated (entry v of segment s: byte v * sectorsize of that segment's file; marker or
 * beyond the end: zeros). They look at the bytes in memfs and know nothing of src/block.
 */
#pragma once

#include "memfs.h"

struct original {
	const char *path;
	bool is_split;
	u32 nseg, sector;
	u64 per_segment; /* sectors */
};

u64 original_size(const struct original *g);
bool original_exists(const struct memfs *fs, const struct original *g); /* has a table */
/* I1, I2, I5: NULL or what is wrong, in words. */
const char *original_check(const struct memfs *fs, const struct original *g);
/* Bytes of storage behind the ends of the segments. */
u64 original_ahead(const struct memfs *fs, const struct original *g);
/* Reads the whole disk. */
void original_read(const struct memfs *fs, const struct original *g, u8 *buf);
