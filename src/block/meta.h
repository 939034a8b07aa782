/*
 * PATH.meta: the geometry of a split or sparse image, so that nobody has to repeat it. A few lines of
 * text, "key value"; the original program does not know the file and does not touch it.
 */
#pragma once

#include "block/hostio.h"
#include "block/image.h"

/* 0; -ENOENT without message; else a message that names the file and the line. */
int meta_load(struct image_geometry *g, const char *path, const struct host_io *io, struct err *e);
/* Written under a temporary name and renamed. */
int meta_store(const struct image_geometry *g, const char *path, const struct host_io *io, struct err *e);
