/*
 * Private to image.c, image_create.c, image_grow.c and the layers that grow.
 */
#pragma once

#include "block/image.h"
#include "block/meta.h"

#define IMAGE_NAME_MAX (IMAGE_PATH_MAX + 32)

/* Makes the missing trailing segments [first, g->nseg); on failure removes them again. */
int image_add_segments(
        const struct image_geometry *g, const char *path, u32 first, const struct host_io *io, struct err *e);
/* Removes the files of [first, end). */
void image_remove_segments(
        const struct image_geometry *g, const char *path, u32 first, u32 end, const struct host_io *io);
/* Each of n segments is a descriptor for as long as the image is open. */
int image_need_descriptors(const char *path, u32 n, const struct host_io *io, struct err *e);
/* Appends absent entries up to g->entries. */
int image_extend_table(const struct image_geometry *g, const char *path, int fd, u64 have,
        const struct host_io *io, struct err *e);
/* A new image, of which at most empty segments are there. */
int image_make(struct image_geometry *g, const char *path, const struct host_io *io, struct err *e);
