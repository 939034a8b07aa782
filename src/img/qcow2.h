/*
 * qcow2 images (version 2 and 3) as a read-only layer, for convert. Compressed and zero clusters are
 * read; images with a backing file, an external data file, encryption or features that are not known
 * are refused. Names that an image stores are never followed. Snapshots are not looked at.
 */
#pragma once

#include "img/img.h"

/* 1: the file starts like a qcow2 image, 0: it does not, -errno. */
int qcow2_probe(const struct host_io *io, const char *path);
/* Locks the file (shared). */
int qcow2_open(struct block **out, const char *path, const struct host_io *io, struct err *e);
