/*
 * Constructors of the layers, for the opener. Private to the block room. On failure the caller keeps
 * what it passed in (but see sparse_create); on success the layer owns it until close.
 */
#pragma once

#include "block/block.h"
#include "block/hostio.h"
#include "block/image.h"

struct raw_config {
	const struct host_io *io;
	int fd;
	u64 size;
	u32 align; /* direct I/O, or 0 */
	u32 logical, physical;
	bool ro, follow; /* follow: refresh takes the file's size */
};
int raw_create(struct block **out, const struct raw_config *c);

/* n children of segment bytes each. The array is copied. */
int split_create(struct block **out, struct block *const *child, u32 n, u64 segment);

struct sparse_config {
	const struct host_io *io;
	const char *path; /* for messages and the journal's name */
	const struct image_geometry *g;
	const int *fd; /* g->nseg segments; the array is copied */
	int lut_fd;
	u32 align; /* direct I/O on segments, or 0 */
	bool ro;
	bool eager; /* reserves storage ahead from the first sector on */
};
/*
 * Replays and starts the journal (unless ro), checks tables of up to 64 MiB for damage: -EUCLEAN with the
 * first damaged sector's number. Descriptors are the layer's in any case: they are closed on failure too.
 */
int sparse_create(struct block **out, const struct sparse_config *c, struct err *e);
