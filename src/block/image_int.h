/*
 * Private to image.c and image_create.c.
 */
#pragma once

#include "block/image.h"
#include "block/meta.h"

#define IMAGE_NAME_MAX (IMAGE_PATH_MAX + 32)

/* Makes the missing trailing segments [first, g->nseg); on failure removes them again. */
int image_add_segments(
        const struct image_geometry *g, const char *path, u32 first, const struct host_io *io, struct err *e);
/* Appends absent entries up to g->entries. */
int image_extend_table(const struct image_geometry *g, const char *path, int fd, u64 have,
        const struct host_io *io, struct err *e);
/* A new image, of which at most empty segments are there. */
int image_make(struct image_geometry *g, const char *path, const struct host_io *io, struct err *e);
