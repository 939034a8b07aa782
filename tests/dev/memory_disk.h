/*
 * A disk in memory for the tests of disk controllers: it counts what it is asked for, fails on
 * demand, and has a gate at which requests wait.
 */
#pragma once

#include "bench.h"
#include "block/block.h"

#include <pthread.h>

#define SECTORS 64u

struct disk {
	struct block b;
	u8 data[SECTORS * 512 * 2];
	pthread_mutex_t lock;
	pthread_cond_t opened;
	bool closed; /* requests wait at the gate */
	bool hold;   /* so do flushes */
	unsigned at_gate, most, reads, flushes, writes, discards, zeroes, unmaps;
	int fail;
	u64 grown;
};

static inline int enter(struct disk *d, unsigned *count)
{
	int rc;

	pthread_mutex_lock(&d->lock);
	(*count)++;
	d->at_gate++;
	d->most = MAX(d->most, d->at_gate);
	while (d->closed || (d->hold && count == &d->flushes))
		pthread_cond_wait(&d->opened, &d->lock);
	d->at_gate--;
	rc = d->fail;
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static inline void gate(struct disk *d, bool closed)
{
	pthread_mutex_lock(&d->lock);
	d->closed = closed;
	pthread_cond_broadcast(&d->opened);
	pthread_mutex_unlock(&d->lock);
}

static inline void hold_flushes(struct disk *d, bool hold)
{
	pthread_mutex_lock(&d->lock);
	d->hold = hold;
	pthread_cond_broadcast(&d->opened);
	pthread_mutex_unlock(&d->lock);
}

static inline unsigned count(struct disk *d, const unsigned *what)
{
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = *what;
	pthread_mutex_unlock(&d->lock);
	return n;
}

static inline int disk_read(struct block *b, const struct iovec *iov, int n, u64 off)
{
	struct disk *d = container_of(b, struct disk, b);
	int rc = enter(d, &d->reads);

	for (int i = 0; i < n && rc == 0; off += iov[i++].iov_len) {
		assert_true(off + iov[i].iov_len <= b->size);
		memcpy(iov[i].iov_base, d->data + off, iov[i].iov_len);
	}
	return rc;
}

static inline int disk_write(struct block *b, const struct iovec *iov, int n, u64 off)
{
	struct disk *d = container_of(b, struct disk, b);
	int rc = enter(d, &d->writes);

	for (int i = 0; i < n && rc == 0; off += iov[i++].iov_len) {
		assert_true(off + iov[i].iov_len <= b->size);
		memcpy(d->data + off, iov[i].iov_base, iov[i].iov_len);
	}
	return rc;
}

static inline int disk_flush(struct block *b)
{
	struct disk *d = container_of(b, struct disk, b);

	return enter(d, &d->flushes);
}

static inline int disk_discard(struct block *b, u64 off, u64 len)
{
	struct disk *d = container_of(b, struct disk, b);
	int rc = enter(d, &d->discards);

	if (rc == 0)
		memset(d->data + off, 0, len);
	return rc;
}

static inline int disk_zeroes(struct block *b, u64 off, u64 len, bool unmap)
{
	struct disk *d = container_of(b, struct disk, b);
	int rc = enter(d, unmap ? &d->unmaps : &d->zeroes);

	if (rc == 0)
		memset(d->data + off, 0, len);
	return rc;
}

static inline int disk_refresh(struct block *b)
{
	struct disk *d = container_of(b, struct disk, b);

	if (d->fail)
		return d->fail;
	if (d->grown)
		__atomic_store_n(&b->size, d->grown, __ATOMIC_RELEASE);
	return 0;
}

static const struct block_ops disk_ops = {.preadv = disk_read,
        .pwritev = disk_write,
        .flush = disk_flush,
        .discard = disk_discard,
        .write_zeroes = disk_zeroes,
        .refresh = disk_refresh};
