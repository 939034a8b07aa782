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

/* The children are g's segments; the array is copied. path, c: how those are made that come when it grows. */
int split_create(struct block **out, struct block *const *child, const char *path,
        const struct image_geometry *g, const struct raw_config *c);

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
 * What an image that is open needs to become size bytes long: segments up to to->nseg are made and opened (fd
 * of the first new one in *fd, an array to free; NULL when there are none). Says why not (in the log). To be
 * followed by image_grown, which records the new geometry, or image_not_grown, which closes what is >= 0 in
 * fd, frees it, and removes the files.
 */
int image_grow(struct image_geometry *to, const struct image_geometry *from, u64 size, const char *path,
        const struct host_io *io, bool direct, int **fd);
int image_grown(const struct image_geometry *to, const char *path, const struct host_io *io);
void image_not_grown(const struct image_geometry *to, const struct image_geometry *from, const char *path,
        const struct host_io *io, int *fd);

/*
 * Replays and starts the journal (unless ro), checks tables of up to 64 MiB for damage: -EUCLEAN with the
 * first damaged sector's number. Descriptors are the layer's in any case: they are closed on failure too.
 */
int sparse_create(struct block **out, const struct sparse_config *c, struct err *e);
