/*
 * The checked front of the block layer: every range is tested here, once, so that no layer sees one
 * that leaves the disk.
 */
#include "block/block.h"

#include "block/iov.h"
#include <errno.h>

static int check_range(struct block *b, u64 off, u64 len)
{
	u64 size = block_size(b);
	return off > size || len > size - off ? -EINVAL : 0;
}

/* Counts a request that was made, returns its result. */
static int counted(struct block *b, u64 *requests, int r)
{
	__atomic_fetch_add(requests, 1, __ATOMIC_RELAXED);
	if (r < 0)
		__atomic_fetch_add(&b->stats.failed, 1, __ATOMIC_RELAXED);
	return r;
}

int block_preadv(struct block *b, const struct iovec *iov, int n, u64 off)
{
	u64 len = iov_length(iov, n);
	int r = check_range(b, off, len);
	if (r < 0 || len == 0)
		return r;
	__atomic_fetch_add(&b->stats.read_bytes, len, __ATOMIC_RELAXED);
	return counted(b, &b->stats.reads, b->ops->preadv(b, iov, n, off));
}

static int check_write(struct block *b, u64 off, u64 len)
{
	return b->ro ? -EROFS : check_range(b, off, len);
}

int block_pwritev(struct block *b, const struct iovec *iov, int n, u64 off)
{
	u64 len = iov_length(iov, n);
	int r = check_write(b, off, len);
	if (r < 0 || len == 0)
		return r;
	__atomic_fetch_add(&b->stats.written_bytes, len, __ATOMIC_RELAXED);
	return counted(b, &b->stats.writes, b->ops->pwritev(b, iov, n, off));
}

int block_pread(struct block *b, void *buf, u64 len, u64 off)
{
	struct iovec v = {buf, len};
	return block_preadv(b, &v, 1, off);
}

int block_pwrite(struct block *b, const void *buf, u64 len, u64 off)
{
	struct iovec v = {(void *)(uintptr_t)buf, len};
	return block_pwritev(b, &v, 1, off);
}

int block_flush(struct block *b)
{
	return b->ro ? 0 : counted(b, &b->stats.flushes, b->ops->flush(b));
}

int block_discard(struct block *b, u64 off, u64 len)
{
	int r = check_write(b, off, len);
	if (r < 0 || len == 0)
		return r;
	return b->ops->discard ? counted(b, &b->stats.discards, b->ops->discard(b, off, len)) : -EOPNOTSUPP;
}

int block_write_zeroes(struct block *b, u64 off, u64 len, bool unmap)
{
	int r = check_write(b, off, len);
	return r < 0 || len == 0 ? r : b->ops->write_zeroes(b, off, len, unmap);
}

int block_extent(struct block *b, u64 off, u64 *len, bool *data)
{
	int r = check_range(b, off, *len);
	if (r < 0)
		return r;
	if (*len == 0)
		return -EINVAL;
	*data = true;
	return b->ops->extent ? b->ops->extent(b, off, len, data) : 0;
}

void block_idle(struct block *b)
{
	if (b->ops->idle)
		b->ops->idle(b);
}

int block_refresh(struct block *b)
{
	return b->ops->refresh ? b->ops->refresh(b) : 0;
}

int block_grow(struct block *b, u64 size)
{
	if (b->ro)
		return -EROFS;
	if (size < block_size(b) || size % b->logical || size > INT64_MAX)
		return -EINVAL;
	if (size == block_size(b))
		return 0;
	return b->ops->grow ? b->ops->grow(b, size) : -EOPNOTSUPP;
}

int block_close(struct block *b)
{
	return b ? b->ops->close(b) : 0;
}
