/*
 * What the block layer asks of the host's file system, as a table, so that tests can record, delay,
 * fail and replay it. Files are small integers as the host numbers them (descriptors).
 *
 * All return a result >= 0 or -errno; pread and pwrite may be short or -EINTR as the system calls
 * are, the callers (hostio_read, hostio_write) complete them. Any thread.
 */
#pragma once

#include "base/types.h"
#include <sys/uio.h>

struct host_io;

struct host_stat {
	u64 size;      /* bytes; of a block device its capacity */
	u64 allocated; /* bytes of storage in use */
	u32 sector;    /* block device: logical sector size, else 0 */
	u32 physical;  /* block device: physical sector size, else 0 */
	u32 align;     /* what direct I/O needs of addresses, lengths and offsets */
	u64 dev, ino;
	bool device;  /* a block device */
	bool regular; /* a regular file */
	bool ahead;   /* storage behind the end costs nothing but itself (see ahead below) */
};

struct host_io_ops {
	/* flags as open(2) (O_CLOEXEC is added), mode for O_CREAT. */
	int (*open)(const struct host_io *io, const char *path, int flags, unsigned mode);
	int (*close)(const struct host_io *io, int fd);
	ssize_t (*preadv)(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off);
	ssize_t (*pwritev)(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off);
	int (*datasync)(const struct host_io *io, int fd);
	/* Also gives back what is reserved behind the new end, when the size stays as it is, too. */
	int (*truncate)(const struct host_io *io, int fd, u64 size);
	/* Frees the storage of a range, which reads as zeros then; the size stays. */
	int (*punch)(const struct host_io *io, int fd, u64 off, u64 len);
	/* The range reads as zeros; storage may stay. */
	int (*zero)(const struct host_io *io, int fd, u64 off, u64 len);
	/* Storage for [0, size) is there; the size becomes at least size. */
	int (*reserve)(const struct host_io *io, int fd, u64 size);
	/* Storage for [off, off + len) is there, or for a part of it (-ENOSPC); the size stays. */
	int (*ahead)(const struct host_io *io, int fd, u64 off, u64 len);
	int (*stat)(const struct host_io *io, int fd, struct host_stat *st);
	/* As block_ops.extent: data or hole at off (off < size). */
	int (*extent)(const struct host_io *io, int fd, u64 off, u64 *len, bool *data);
	int (*rename)(const struct host_io *io, const char *from, const char *to);
	int (*unlink)(const struct host_io *io, const char *path);
	/* Makes the entries of the directory that holds path durable. */
	int (*sync_dir)(const struct host_io *io, const char *path);
	/* Lock on the whole file that belongs to the open file: shared or exclusive, or -EAGAIN at once. */
	int (*lock)(const struct host_io *io, int fd, bool exclusive);
	/* 16 bytes that change with every start of the host's kernel. */
	int (*boot_id)(const struct host_io *io, u8 id[16]);
};

struct host_io {
	const struct host_io_ops *ops;
	void *opaque; /* of a test's table */
};

/* The real one. */
extern const struct host_io host_io;

/*
 * Whole transfers: they go on after short ones and EINTR. A read past the end of the file gives
 * zeros. 0 or -errno; a write that makes no progress is -EIO.
 */
int hostio_readv(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off);
int hostio_writev(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off);
int hostio_read(const struct host_io *io, int fd, void *buf, u64 len, u64 off);
int hostio_write(const struct host_io *io, int fd, const void *buf, u64 len, u64 off);

/* Is there a file of this name that can be read? 1, 0, -errno. */
int hostio_exists(const struct host_io *io, const char *name);
