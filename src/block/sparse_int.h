/*
 * Private to the sparse layer (sparse.c, sparse_alloc.c, sparse_ahead.c, sparse_commit.c): its state and
 * the rules that hold it together.
 *
 * Order of locks: prepare, then lock; the table's loading lock is innermost. No host call is made
 * under lock.
 *
 * A slot's life: free -> taken by one write, which fills it and then publishes it in the live table
 * (change of generation g; from then on readers find it) -> commit g writes it to the table's file ->
 * cleared by a discard (change of generation h) -> quarantine: until commit h is done, and until every
 * request that began before then has ended, because such a request may still read or write the slot ->
 * its storage is freed, free again.
 */
#pragma once

#include "block/iov.h"
#include "block/journal.h"
#include "block/layers.h"
#include "block/lut.h"
#include "block/rawfile.h"
#include "block/slots.h"
#include <pthread.h>

#define CHANGE_MAX 1024u /* sectors that one call publishes or clears at most */

enum segment_state { SEGMENT_NEW, SEGMENT_READY, SEGMENT_BAD };

struct segment {
	struct rawfile file;
	struct slots slots; /* under lock; filled when READY */
	u32 state;          /* atomic, enum segment_state */
	bool dirty;         /* atomic: written since its last sync began; set after the write */
	/* under lock, for sparse_ahead.c */
	u64 appended;             /* bytes, since storage was last given back */
	u64 reserved;             /* there may be storage up to this offset; 0: none behind the end */
	u32 filling;              /* writes that have slots and have not filled them yet */
	bool reserving, trimming; /* a thread is at it; trimming: no new slots for now */
};

struct slot_ref {
	u32 segment, slot;
};

struct slot_list {
	struct slot_ref *ref;
	u32 n, cap;
};

/*
 * Changes of the live table that are not in the journal yet, of sectors in [first, end). Requests see them at
 * once, and what they make of them must not be acknowledged before the changes themselves would survive: so
 * every writing request ends by waiting for those among its own sectors that were pending then.
 */
struct pending {
	struct pending *next;
	u64 ticket;
	u64 first, end;
};

/* Changes of the live table that one commit takes to the file. */
struct generation {
	struct lut_change *change; /* JOURNAL_RECORDS of them */
	u32 count;
	u32 appending; /* journal writes under way */
	struct slot_list freed;
};

struct sparse {
	struct block b;
	u32 align;
	const struct host_io *io;
	struct image_geometry g;
	char path[IMAGE_PATH_MAX];
	struct segment *seg;
	struct lut lut;
	struct journal journal;
	bool journaled; /* atomic: there is a journal that can be relied on */
	bool journal_open;
	bool unclean;            /* a journal was left: storage of free slots may be left too */
	pthread_mutex_t prepare; /* one segment is scanned at a time */
	pthread_mutex_t lock;    /* everything below */
	pthread_cond_t changed;
	u64 collecting, done; /* generations: taking changes; last in the file */
	bool committing, reaping;
	int failed; /* a commit failed: none will follow */
	struct pending *pending;
	u64 tickets;              /* given out */
	struct generation gen[2]; /* by the lowest bit of the number */
	struct slot_list wait;    /* committed, waits for its turn in grace */
	struct slot_list grace;   /* waits for requests of the epoch before */
	bool growing;             /* no request begins */
	u32 active[2];            /* requests by epoch */
	u32 epoch;
	bool ahead; /* storage is reserved behind the end of segments */
	u32 ahead_part, ahead_unit;
	u64 given_back; /* atomic, changed under lock: how many times that storage was given back */
};

/* --- sparse_alloc.c --- */

/* A request's time inside. The geometry, the table's memory and the array of segments stay as they are then.
 */
u32 sparse_begin(struct sparse *s);
void sparse_end(struct sparse *s, u32 epoch);
/* Before a request that wrote sectors [first, end) ends: everything that it can have seen survives the
 * process now. */
void sparse_settle(struct sparse *s, u64 first, u64 end);

/* Before a segment is first written: reads its part of the table, finds the free slots. -EUCLEAN: damage. */
int sparse_prepare(struct sparse *s, u32 segment);
/* Only looks: -EUCLEAN and the sector's number. Fills slots when it is not NULL; largest: highest slot + 1.
 */
int sparse_scan(struct sparse *s, u32 segment, struct slots *slots, u64 *largest, u64 *sector);

/* The segment's file holds every slot below largest, so that zeros are read there and nothing else is put
 * there. */
int sparse_cover(struct sparse *s, u32 segment, u64 largest);

/*
 * Takes up to want neighbouring slots of the segment, to be filled. due: sparse_reserve should be called at
 * the end. Some may be given back before the others are filled; they all are when filling them failed.
 */
int sparse_alloc(struct sparse *s, u32 segment, u32 want, u64 *slot, u32 *got, bool *due);
void sparse_unalloc(struct sparse *s, u32 segment, u64 slot, u32 n);
void sparse_unalloc_all(struct sparse *s, u32 segment, u64 slot, u32 n);

/*
 * Names filled slots in the live table, where entries are still absent; *leading counts those before the
 * first that another write was faster for. The slots that lost are free again.
 */
int sparse_publish(struct sparse *s, u32 segment, u64 index, u64 slot, u32 n, u32 *leading);
/* Makes entries absent; their slots go into quarantine. n <= CHANGE_MAX. */
int sparse_clear(struct sparse *s, u32 segment, u64 index, u32 n);

/* Room for n more; -ENOMEM leaves the list as it is. */
int slot_list_room(struct slot_list *l, u32 n);

/* Under lock: moves quarantined slots on as far as possible. Lets go of the lock meanwhile. */
void sparse_reap(struct sparse *s);

/* --- sparse_ahead.c --- */

/* eager (for tests): a disk of a few sectors reserves, too. */
void sparse_ahead_init(struct sparse *s, bool eager);
/* Under lock. */
bool sparse_ahead_due(const struct sparse *s, const struct segment *seg);
/* Reserves what is due. */
void sparse_reserve(struct sparse *s, u32 segment);
void sparse_ahead_give_back(struct sparse *s);
/*
 * A part of a request failed with r: true when it may be tried again, since storage was given back after the
 * counter given_back was before.
 */
bool sparse_make_space(struct sparse *s, int r, u64 before);

/* --- sparse_grow.c --- */

int sparse_grow(struct block *b, u64 size);
/* Takes over the descriptors of segments [first, end). */
void sparse_add_segments(struct sparse *s, u32 first, u32 end, const int *fd);

/* --- sparse_commit.c --- */

int sparse_commit(struct sparse *s);
/* Under lock, which it lets go of; for a caller that needs room in the collecting generation. */
int sparse_commit_locked(struct sparse *s);
/* Takes a dead process's journal into the table; notes in unclean that there was one. */
int sparse_recover(struct sparse *s, struct err *e);
