/*
 * Raw layer: the disk's bytes are the file's, one to one. Also each segment of a split image without
 * table: such a file may be shorter than its part of the disk (the rest reads as zeros), and grows
 * when it is written.
 */
#include "block/layers.h"

#include "block/rawfile.h"
#include <errno.h>
#include <stdlib.h>

struct raw {
	struct block b;
	struct rawfile file;
	bool follow; /* follow: the size is the file's */
	bool dirty;  /* atomic: written since the last flush began, maybe by a process that was killed */
	pthread_mutex_t flushing; /* a flush that has nothing to do waits for the one that does it */
	int failed;               /* a sync failed; under flushing */
};

static struct raw *raw_of(struct block *b)
{
	return container_of(b, struct raw, b);
}

static void mark_dirty(struct raw *w)
{
	__atomic_store_n(&w->dirty, true, __ATOMIC_RELEASE);
}

static int raw_preadv(struct block *b, const struct iovec *iov, int n, u64 off)
{
	return rawfile_readv(&raw_of(b)->file, iov, n, off);
}

/* Dirty after the write: a flush that ran meanwhile has not covered it. */
static int raw_pwritev(struct block *b, const struct iovec *iov, int n, u64 off)
{
	int r = rawfile_writev(&raw_of(b)->file, iov, n, off);
	mark_dirty(raw_of(b));
	return r;
}

static int flush_locked(struct raw *w)
{
	if (w->failed)
		return w->failed;
	if (!__atomic_exchange_n(&w->dirty, false, __ATOMIC_ACQ_REL))
		return 0;
	w->failed = w->file.io->ops->datasync(w->file.io, w->file.fd);
	return w->failed;
}

static int raw_flush(struct block *b)
{
	struct raw *w = raw_of(b);
	pthread_mutex_lock(&w->flushing);
	int r = flush_locked(w);
	pthread_mutex_unlock(&w->flushing);
	return r;
}

/* The part of [off, off+len) that the file has; what lies behind its end is zeros already. */
static int part_in_file(struct raw *w, u64 off, u64 *len)
{
	struct host_stat st;
	int r = w->file.io->ops->stat(w->file.io, w->file.fd, &st);
	if (r < 0)
		return r;
	*len = off >= st.size ? 0 : MIN(*len, st.size - off);
	return 0;
}

static int raw_write_zeroes(struct block *b, u64 off, u64 len, bool unmap)
{
	struct raw *w = raw_of(b);
	int r = part_in_file(w, off, &len);
	if (r == 0 && len)
		r = rawfile_zero(&w->file, off, len, unmap);
	mark_dirty(w);
	return r;
}

static int raw_discard(struct block *b, u64 off, u64 len)
{
	u64 end = ALIGN_DOWN(off + len, (u64)b->grain);
	off = ALIGN_UP(off, (u64)b->grain);
	return off < end ? raw_write_zeroes(b, off, end - off, true) : 0;
}

static int raw_extent(struct block *b, u64 off, u64 *len, bool *data)
{
	struct raw *w = raw_of(b);
	u64 inside = *len;
	int r = part_in_file(w, off, &inside);
	if (r < 0)
		return r;
	if (inside == 0) {
		*data = false;
		return 0;
	}
	*len = inside;
	return w->file.io->ops->extent(w->file.io, w->file.fd, off, len, data);
}

static int raw_refresh(struct block *b)
{
	struct raw *w = raw_of(b);
	struct host_stat st;
	if (!w->follow)
		return 0;
	int r = w->file.io->ops->stat(w->file.io, w->file.fd, &st);
	if (r == 0)
		__atomic_store_n(&b->size, ALIGN_DOWN(st.size, (u64)b->logical), __ATOMIC_RELEASE);
	return r;
}

/* Truncation extends a file with zeros. The file may have grown already, by somebody else's hand. */
static int raw_grow(struct block *b, u64 size)
{
	struct raw *w = raw_of(b);
	struct host_stat st;
	int r = w->file.io->ops->stat(w->file.io, w->file.fd, &st);
	if (r < 0)
		return r;
	if (!w->follow || (st.device && st.size < size))
		return -EOPNOTSUPP;
	if (st.size < size)
		r = w->file.io->ops->truncate(w->file.io, w->file.fd, size);
	mark_dirty(w);
	return r < 0 ? r : raw_refresh(b);
}

static int raw_close(struct block *b)
{
	struct raw *w = raw_of(b);
	int r = b->ro ? 0 : raw_flush(b);
	rawfile_fini(&w->file);
	pthread_mutex_destroy(&w->flushing);
	free(w);
	return r;
}

static const struct block_ops raw_ops = {
        .preadv = raw_preadv,
        .pwritev = raw_pwritev,
        .flush = raw_flush,
        .discard = raw_discard,
        .write_zeroes = raw_write_zeroes,
        .extent = raw_extent,
        .refresh = raw_refresh,
        .grow = raw_grow,
        .close = raw_close,
};

int raw_create(struct block **out, const struct raw_config *c)
{
	struct raw *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	int r = rawfile_init(&w->file, c->io, c->fd, c->align);
	if (r < 0) {
		free(w);
		return r;
	}
	pthread_mutex_init(&w->flushing, NULL);
	w->follow = c->follow;
	w->dirty = true;
	w->b = (struct block){.ops = &raw_ops,
	        .size = c->size,
	        .logical = c->logical,
	        .physical = c->physical,
	        .grain = MAX(c->physical, 4096u),
	        .ro = c->ro};
	*out = &w->b;
	return 0;
}
