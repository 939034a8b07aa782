/*
 * Asynchronous requests on a disk: a pool of threads that run the blocking calls of block/block.h.
 *
 * Up to BLOCK_WORKERS requests of a disk run at the same time and finish in any order. The one
 * ordering rule: a flush covers exactly the requests whose done was called before the flush was
 * submitted; whoever needs more waits. With write-through on (block_queue_set_through, or the disk's
 * own option), a write is done only after a flush that followed it.
 *
 * done runs on a worker (never inside block_submit) and may submit again. Any thread may submit.
 */
#pragma once

#include "block/block.h"

#define BLOCK_WORKERS 24

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

/* The submitter owns the request and its buffers; both stay untouched until done was called. */
struct block_req {
	enum block_op op;
	const struct iovec *iov; /* READ, WRITE */
	int niov;
	u64 off, len; /* len: DISCARD, WRITE_ZEROES */
	bool unmap;   /* WRITE_ZEROES */
	int result;   /* 0 or -errno when done is called */
	void (*done)(struct block_req *r);
	void *opaque;
	struct block_req *next; /* private */
};

struct block_queue;

/* The queue does not own b: close it after block_queue_destroy. */
int block_queue_create(struct block_queue **out, struct block *b, unsigned workers);
/* Waits for everything submitted, joins the threads. No submit runs or follows. */
void block_queue_destroy(struct block_queue *q);

void block_submit(struct block_queue *q, struct block_req *r);
/* Waits until nothing submitted before the call is unfinished. Not from a done callback. */
void block_queue_drain(struct block_queue *q);
void block_queue_set_through(struct block_queue *q, bool on);

/* Highest number of requests that were being run at one time, for --stats and tests. */
unsigned block_queue_peak(struct block_queue *q);
