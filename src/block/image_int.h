/*
 * Private to image.c and image_create.c.
 */
#pragma once

#include "block/image.h"
#include "block/meta.h"

#define IMAGE_NAME_MAX (IMAGE_PATH_MAX + 32)

/* Is there a file of this name? 1, 0, -errno. */
int image_exists(const char *name, const struct host_io *io);

/*
 * Segments and table as files, open. Missing ones are -1.
 */
struct image_files {
	const struct host_io *io;
	int *fd;
	u32 nseg;
	int lut_fd;
};

/* Makes the missing trailing segments [first, g->nseg); on failure removes them again. */
int image_add_segments(
        const struct image_geometry *g, const char *path, u32 first, const struct host_io *io, struct err *e);
/* The table of a new image, and its sidecar. */
int image_write_table(
        const struct image_geometry *g, const char *path, const struct host_io *io, struct err *e);
/* Appends absent entries up to g->entries. */
int image_extend_table(const struct image_geometry *g, const char *path, int fd, u64 have,
        const struct host_io *io, struct err *e);
/* A new image, of which at most empty segments are there. */
int image_make(struct image_geometry *g, const char *path, const struct host_io *io, struct err *e);
