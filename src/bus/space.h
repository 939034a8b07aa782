/*
 * Address spaces as values: ports and memory are two instances of one type.
 *
 * A region is a range with an owner. The space finds the region, splits or widens an access to
 * the widths that the region takes (min..max, powers of two, little endian), takes the owner's
 * lock, and calls it with an *offset*, never an absolute address. Holes read as all ones and
 * swallow writes. Accesses may have any address and any size 1..8 and may straddle regions.
 *
 * Regions are added at set-up and moved by PCI (BARs); they stay valid until the space is gone.
 * Calls from any thread; the table is under a rwlock that is not held during a region's handler, so
 * a handler may move regions (its own included).
 */
#pragma once

#include "base/types.h"
#include <pthread.h>

struct region_ops {
	/* off < len; size is 1, 2, 4 or 8 within [min,max]; off is size-aligned unless unaligned is set */
	u64 (*read)(void *opaque, u64 off, unsigned size);
	void (*write)(void *opaque, u64 off, unsigned size, u64 val);
	u8 min, max;    /* widths the handlers take; 0 means 1 and 8 */
	bool unaligned; /* handlers take any alignment within [min,max] */
};

struct region {
	u64 base, len; /* len > 0 */
	const struct region_ops *ops;
	void *opaque;
	pthread_mutex_t *lock; /* taken around the handlers; NULL for none */
	const char *name;
	/* private */
	bool mapped;
};

struct space {
	pthread_rwlock_t lock;
	struct region **sorted; /* by base, without overlaps */
	u32 count, cap;
	u64 limit; /* highest valid address, 0xffff for ports */
	/* called for each access that hits no region (bytes of a straddling one apart); may be NULL */
	void (*hole)(void *opaque, u64 addr, unsigned size, bool write);
	void *hole_opaque;
};

int space_init(struct space *s, u64 limit);
void space_fini(struct space *s);

/* -EEXIST when it would overlap, -ERANGE when it leaves the space. */
int space_add(struct space *s, struct region *r);
void space_remove(struct space *s, struct region *r); /* no-op if not mapped */

u64 space_read(struct space *s, u64 addr, unsigned size);
void space_write(struct space *s, u64 addr, unsigned size, u64 val);
