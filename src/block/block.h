/*
 * The block layer's front door: a disk as an array of bytes.
 *
 * A struct block is one layer of a stack: raw (a file or a device), split (children one after the
 * other), sparse (sectors found through a table). Every call is positional and complete: it
 * transfers all of the request or fails; a failed write may have changed any part of its own range
 * and nothing else. All calls but close may run at the same time on any number of threads, and block
 * (a pool of threads above makes them asynchronous, see block/queue.h).
 *
 * Durability. A write that returned survives the death of the process. It survives a power cut once
 * a flush that was called after the write's return has returned 0. A flush that failed never turns
 * into success: the layer stays failed and every later flush fails too.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"
#include <sys/uio.h>

struct block;

struct block_ops {
	/* off and len lie inside the disk and need no alignment. 0 or -errno. */
	int (*preadv)(struct block *b, const struct iovec *iov, int n, u64 off);
	int (*pwritev)(struct block *b, const struct iovec *iov, int n, u64 off);
	int (*flush)(struct block *b);
	/*
	 * Whole grains of the range read as zeros from now on and give their space back; what is not
	 * a whole grain may keep its content. NULL: the layer cannot free space.
	 */
	int (*discard)(struct block *b, u64 off, u64 len);
	/* The range reads as zeros; with unmap space is freed where that is possible. */
	int (*write_zeroes)(struct block *b, u64 off, u64 len, bool unmap);
	/*
	 * [off, off + *len) is data or reads as zeros: sets *data and cuts *len to the part for which
	 * that holds, at least one byte. NULL: all is data.
	 */
	int (*extent)(struct block *b, u64 off, u64 *len, bool *data);
	/* Looks at the host again: b->size follows a file or device that has grown. NULL: fixed size. */
	int (*refresh)(struct block *b);
	/* Makes the disk larger, a multiple of logical; what is new reads as zeros. NULL: it cannot. */
	int (*grow)(struct block *b, u64 size);
	/* Nobody has asked for anything for a while: what is held to be faster may go. NULL: nothing is. */
	void (*idle)(struct block *b);
	/* Flushes and frees b (also when it fails). No other call is running. */
	int (*close)(struct block *b);
};

/* What went through the front door; atomic. */
struct block_stats {
	u64 reads, read_bytes, writes, written_bytes, flushes, discards, failed;
};

struct block {
	const struct block_ops *ops;
	u64 size;        /* bytes, a multiple of logical; atomic (refresh) */
	u32 logical;     /* sector size that a guest should see, power of two >= 512 */
	u32 physical;    /* >= logical */
	u32 grain;       /* discards of this many bytes, aligned, free space; 0: discard does nothing */
	bool ro;         /* writes fail with -EROFS */
	bool through;    /* writes should be followed by a flush before they are acknowledged (sync) */
	char serial[21]; /* identifies the disk to a guest; printable, stable when its files move */
	struct block_stats stats;
};

static inline u64 block_size(const struct block *b)
{
	return __atomic_load_n(&b->size, __ATOMIC_ACQUIRE);
}

/*
 * Checked front of the table: -EINVAL for a range that is not inside the disk, -EROFS for writes to a
 * read-only one, -EOPNOTSUPP for what the layer cannot do; an empty range is 0.
 */
int block_preadv(struct block *b, const struct iovec *iov, int n, u64 off);
int block_pwritev(struct block *b, const struct iovec *iov, int n, u64 off);
int block_pread(struct block *b, void *buf, u64 len, u64 off);
int block_pwrite(struct block *b, const void *buf, u64 len, u64 off);
int block_flush(struct block *b);
int block_discard(struct block *b, u64 off, u64 len);
int block_write_zeroes(struct block *b, u64 off, u64 len, bool unmap);
int block_extent(struct block *b, u64 off, u64 *len, bool *data);
int block_refresh(struct block *b);
/* The disk gets at least this size: -EINVAL for one that is smaller or no multiple of its sectors. */
int block_grow(struct block *b, u64 size);
void block_idle(struct block *b);
int block_close(struct block *b); /* NULL is fine */
