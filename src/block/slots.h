/*
 * Which slots of one segment's file are taken: a bitmap in chunks that exist only where something is
 * taken, so that a file with a huge hole costs nothing. Not thread-safe: the sparse layer's lock guards
 * it. Private to the block room.
 */
#pragma once

#include "base/types.h"

#define SLOTS_CHUNK 32768u
#define SLOTS_LIMIT 0xffffffffull /* slots are below: the marker of absent entries is no slot */

struct slots_chunk {
	u32 used;
	u64 bits[SLOTS_CHUNK / 64];
};

struct slots {
	struct slots_chunk **chunk;
	u32 nchunk;
	u64 end;      /* every slot at or above is free */
	u64 hint;     /* every slot below is taken */
	u64 soft_end; /* as long as the segment can be in full: behind it holes are filled first */
};

void slots_init(struct slots *s, u64 soft_end);
void slots_fini(struct slots *s);

/* 0, -EEXIST when it is taken already, -ENOMEM. */
int slots_take(struct slots *s, u64 slot);
void slots_give(struct slots *s, u64 slot);

/* Takes a run of up to want neighbouring slots, *got of them (at least 1). -ENOSPC, -ENOMEM. */
int slots_alloc(struct slots *s, u32 want, u64 *first, u32 *got);

/* The first run of free slots at or after *at and below end: *at and its length, 0 when there is none. */
u64 slots_free_run(const struct slots *s, u64 *at);
