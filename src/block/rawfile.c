/*
 * Transfers on one host file. Through the page cache they are plain calls. With direct I/O a request
 * that is aligned in every way goes straight to the host; any other goes through an aligned bounce
 * buffer, and a write that covers a block only in part reads that block first. Such a
 * read-modify-write must not run beside another write to the same block, or it would put old bytes
 * back: the lock sees to it.
 */
#include "block/rawfile.h"

#include "block/iov.h"
#include <errno.h>
#include <stdlib.h>

#define BOUNCE_MAX (1 * MiB)

const u8 zero_page[65536] __attribute__((aligned(4096)));

int rawfile_init(struct rawfile *f, const struct host_io *io, int fd, u32 align)
{
	*f = (struct rawfile){.io = io, .fd = fd, .align = align};
	return -pthread_rwlock_init(&f->rmw, NULL);
}

void rawfile_fini(struct rawfile *f)
{
	pthread_rwlock_destroy(&f->rmw);
	f->io->ops->close(f->io, f->fd);
}

static bool aligned_for(const struct rawfile *f, const struct iovec *iov, int n, u64 off)
{
	u64 bits = off;
	for (int i = 0; i < n; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return (bits & (f->align - 1)) == 0;
}

static void *bounce_buffer(const struct rawfile *f, u64 len)
{
	void *p;
	return posix_memalign(&p, MAX(f->align, 4096u), len) == 0 ? p : NULL;
}

static int read_bounced(struct rawfile *f, const struct iovec *iov, int n, u64 off, u64 len)
{
	u64 start = ALIGN_DOWN(off, f->align), end = ALIGN_UP(off + len, f->align);
	u64 room = MIN(end - start, BOUNCE_MAX);
	u8 *buf = bounce_buffer(f, room);
	if (!buf)
		return -ENOMEM;
	int r = 0;
	for (u64 at = start; at < end && r == 0; at += room) {
		u64 chunk = MIN(room, end - at);
		r = hostio_read(f->io, f->fd, buf, chunk, at);
		u64 from = MAX(at, off), to = MIN(at + chunk, off + len);
		if (r == 0)
			iov_from_buf(iov, n, from - off, buf + (from - at), to - from);
	}
	free(buf);
	return r;
}

/* One bounce buffer's worth: [at, at+chunk) is aligned; the request covers [from, to) of it. */
static int write_chunk(struct rawfile *f, u8 *buf, u64 at, u64 chunk, u64 from, u64 to)
{
	u64 last = at + chunk - f->align;
	int r = 0;
	if (from > at)
		r = hostio_read(f->io, f->fd, buf, f->align, at);
	if (r == 0 && to < at + chunk && (last != at || from == at))
		r = hostio_read(f->io, f->fd, buf + (last - at), f->align, last);
	return r;
}

static int write_bounced(struct rawfile *f, const struct iovec *iov, int n, u64 off, u64 len)
{
	u64 start = ALIGN_DOWN(off, f->align), end = ALIGN_UP(off + len, f->align);
	u64 room = MIN(end - start, BOUNCE_MAX);
	u8 *buf = bounce_buffer(f, room);
	if (!buf)
		return -ENOMEM;
	bool partial = start != off || end != off + len;
	if (partial)
		pthread_rwlock_wrlock(&f->rmw);
	else
		pthread_rwlock_rdlock(&f->rmw);
	int r = 0;
	for (u64 at = start; at < end && r == 0; at += room) {
		u64 chunk = MIN(room, end - at);
		u64 from = MAX(at, off), to = MIN(at + chunk, off + len);
		r = write_chunk(f, buf, at, chunk, from, to);
		if (r < 0)
			break;
		iov_to_buf(buf + (from - at), iov, n, from - off, to - from);
		r = hostio_write(f->io, f->fd, buf, chunk, at);
	}
	pthread_rwlock_unlock(&f->rmw);
	free(buf);
	return r;
}

int rawfile_readv(struct rawfile *f, const struct iovec *iov, int n, u64 off)
{
	if (f->align == 0 || aligned_for(f, iov, n, off))
		return hostio_readv(f->io, f->fd, iov, n, off);
	return read_bounced(f, iov, n, off, iov_length(iov, n));
}

int rawfile_writev(struct rawfile *f, const struct iovec *iov, int n, u64 off)
{
	if (f->align == 0)
		return hostio_writev(f->io, f->fd, iov, n, off);
	if (!aligned_for(f, iov, n, off))
		return write_bounced(f, iov, n, off, iov_length(iov, n));
	pthread_rwlock_rdlock(&f->rmw);
	int r = hostio_writev(f->io, f->fd, iov, n, off);
	pthread_rwlock_unlock(&f->rmw);
	return r;
}

static bool unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL;
}

static int write_zero_bytes(struct rawfile *f, u64 off, u64 len)
{
	int r = 0;
	while (len && r == 0) {
		u64 here = MIN(len, sizeof(zero_page));
		struct iovec v = {(void *)(uintptr_t)zero_page, here};
		r = rawfile_writev(f, &v, 1, off);
		off += here;
		len -= here;
	}
	return r;
}

/* The host zeroes the edges of a range byte by byte: with direct I/O that is one more read-modify-write. */
static int zero_by_host(struct rawfile *f, u64 off, u64 len, bool punch)
{
	if (f->align)
		pthread_rwlock_wrlock(&f->rmw);
	int r = punch ? f->io->ops->punch(f->io, f->fd, off, len) : f->io->ops->zero(f->io, f->fd, off, len);
	if (f->align)
		pthread_rwlock_unlock(&f->rmw);
	return r;
}

int rawfile_zero(struct rawfile *f, u64 off, u64 len, bool punch)
{
	if (punch && !__atomic_load_n(&f->no_punch, __ATOMIC_RELAXED)) {
		int r = zero_by_host(f, off, len, true);
		if (!unsupported(r))
			return r;
		__atomic_store_n(&f->no_punch, true, __ATOMIC_RELAXED);
	}
	if (!punch && !__atomic_load_n(&f->no_zero, __ATOMIC_RELAXED)) {
		int r = zero_by_host(f, off, len, false);
		if (!unsupported(r))
			return r;
		__atomic_store_n(&f->no_zero, true, __ATOMIC_RELAXED);
	}
	return write_zero_bytes(f, off, len);
}

void rawfile_free(struct rawfile *f, u64 off, u64 len)
{
	if (__atomic_load_n(&f->no_punch, __ATOMIC_RELAXED))
		return;
	if (unsupported(f->io->ops->punch(f->io, f->fd, off, len)))
		__atomic_store_n(&f->no_punch, true, __ATOMIC_RELAXED);
}
