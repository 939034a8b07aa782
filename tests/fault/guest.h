/*
 * A guest that uses a disk at random and tells an oracle what it did.
 */
#pragma once

#include "block/image.h"
#include "memfs.h"
#include "oracle.h"
#include "original.h"

#define DISK "d"

struct guest {
	struct memfs *fs;
	struct block *b;
	struct oracle *o; /* or NULL */
	u64 rng;
	u8 *cur; /* what the disk reads as; NULL: not known (threads, failures), aligned operations only */
	u64 size;
	u32 sector;
	bool flushes;   /* does flushes too */
	bool eager;     /* opens with IMAGE_EAGER */
	char fail[200]; /* a read gave something else than cur */
};

/* A random small sparse image: how to open it, how to look at it. */
void guest_geometry(struct image_spec *s, struct original *g, u64 *rng);
/* One random operation. 0 or the disk's -errno. */
int guest_step(struct guest *g);
int guest_flush(struct guest *g);
/* Closes g->b; what a successful close covers is flushed. */
int guest_close(struct guest *g);
/* Opens with default flags. -errno with the message in g->fail. */
int guest_open(struct guest *g, const struct image_spec *s, unsigned flags);
