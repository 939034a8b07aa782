/*
 * The host's file system behind the table of block/hostio.h: thin wraps of system calls, and the
 * whole transfers that everything else uses.
 */
#include "block/hostio.h"

#include "block/iov.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define DIRECT_ALIGN 4096u /* enough for every file system and device that we know */

static int host_open(const struct host_io *io, const char *path, int flags, unsigned mode)
{
	int fd = open(path, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

static int host_close(const struct host_io *io, int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

static ssize_t host_preadv(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	ssize_t r =
	        n == 1 ? pread(fd, iov->iov_base, iov->iov_len, (off_t)off) : preadv(fd, iov, n, (off_t)off);
	return r < 0 ? -errno : r;
}

static ssize_t host_pwritev(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	ssize_t r = n == 1 ? pwrite(fd, iov->iov_base, iov->iov_len, (off_t)off)
	                   : pwritev(fd, iov, n, (off_t)off);
	return r < 0 ? -errno : r;
}

static int host_datasync(const struct host_io *io, int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int host_truncate(const struct host_io *io, int fd, u64 size)
{
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

static int host_fallocate(int fd, int mode, u64 off, u64 len)
{
	int r;
	do
		r = fallocate(fd, mode, (off_t)off, (off_t)len);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int host_punch(const struct host_io *io, int fd, u64 off, u64 len)
{
	return host_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static int host_zero(const struct host_io *io, int fd, u64 off, u64 len)
{
	return host_fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len);
}

static int host_reserve(const struct host_io *io, int fd, u64 size)
{
	return host_fallocate(fd, 0, 0, size);
}

static int host_ahead(const struct host_io *io, int fd, u64 off, u64 len)
{
	return host_fallocate(fd, FALLOC_FL_KEEP_SIZE, off, len);
}

static int stat_device(int fd, struct host_stat *st)
{
	int logical = 512;
	unsigned physical = 512;
	if (ioctl(fd, BLKGETSIZE64, &st->size) < 0)
		return -errno;
	if (ioctl(fd, BLKSSZGET, &logical) < 0 || logical < 512)
		logical = 512;
	if (ioctl(fd, BLKPBSZGET, &physical) < 0 || physical < (unsigned)logical)
		physical = (unsigned)logical;
	st->device = true;
	st->sector = (u32)logical;
	st->physical = physical;
	st->align = MAX(st->sector, 512u);
	return 0;
}

/* btrfs does not compress what is written into reserved storage, nor anything else in that file then. */
static bool takes_ahead(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && fs.f_type != BTRFS_SUPER_MAGIC;
}

static int host_stat(const struct host_io *io, int fd, struct host_stat *out)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	*out = (struct host_stat){.size = (u64)st.st_size,
	        .allocated = (u64)st.st_blocks * 512,
	        .align = DIRECT_ALIGN,
	        .dev = st.st_dev,
	        .ino = st.st_ino,
	        .regular = S_ISREG(st.st_mode)};
	out->ahead = out->regular && takes_ahead(fd);
	return S_ISBLK(st.st_mode) ? stat_device(fd, out) : 0;
}

static int host_extent(const struct host_io *io, int fd, u64 off, u64 *len, bool *data)
{
	off_t next = lseek(fd, (off_t)off, SEEK_DATA);
	if (next < 0 && errno == ENXIO) { /* a hole up to the end */
		*data = false;
		return 0;
	}
	if (next < 0) { /* cannot tell */
		*data = true;
		return 0;
	}
	*data = (u64)next == off;
	if (*data)
		next = lseek(fd, (off_t)off, SEEK_HOLE);
	if (next > 0 && (u64)next > off)
		*len = MIN(*len, (u64)next - off);
	return 0;
}

static int host_rename(const struct host_io *io, const char *from, const char *to)
{
	return rename(from, to) < 0 ? -errno : 0;
}

static int host_unlink(const struct host_io *io, const char *path)
{
	return unlink(path) < 0 ? -errno : 0;
}

static int host_sync_dir(const struct host_io *io, const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int n = slash == path ? 1 : slash ? (int)(slash - path) : 0;
	if (snprintf(dir, sizeof(dir), "%.*s", n ? n : 1, n ? path : ".") >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* file systems that have nothing to sync in a directory say EINVAL */
	int r = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
	close(fd);
	return r;
}

static int host_lock(const struct host_io *io, int fd, bool exclusive)
{
	struct flock fl = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int host_boot_id(const struct host_io *io, u8 id[16])
{
	char text[40] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	unsigned k = 0;
	for (const char *p = text; n > 0 && *p && k < 32; p++) {
		if (*p == '-')
			continue;
		const char *hex = "0123456789abcdef";
		const char *at = strchr(hex, *p);
		if (!at)
			break;
		id[k / 2] = (u8)(k % 2 ? id[k / 2] | (at - hex) : (at - hex) << 4);
		k++;
	}
	return k == 32 ? 0 : -EIO;
}

static const struct host_io_ops host_ops = {
        .open = host_open,
        .close = host_close,
        .preadv = host_preadv,
        .pwritev = host_pwritev,
        .datasync = host_datasync,
        .truncate = host_truncate,
        .punch = host_punch,
        .zero = host_zero,
        .reserve = host_reserve,
        .ahead = host_ahead,
        .stat = host_stat,
        .extent = host_extent,
        .rename = host_rename,
        .unlink = host_unlink,
        .sync_dir = host_sync_dir,
        .lock = host_lock,
        .boot_id = host_boot_id,
};

const struct host_io host_io = {&host_ops, NULL};

typedef ssize_t (*transfer)(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off);

/* Transfers up to the end of the buffers or until fn makes no progress; returns what was done or -errno. */
static s64 transfer_all(
        transfer fn, const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	struct iovec part[IOV_PIECE];
	u64 total = iov_length(iov, n), pos = 0;
	while (pos < total) {
		u64 len = total - pos;
		ssize_t r;
		if (pos == 0 && n <= IOV_PIECE) {
			r = fn(io, fd, iov, n, off);
		} else {
			int k = iov_slice(part, IOV_PIECE, iov, n, pos, &len);
			r = fn(io, fd, part, k, off + pos);
		}
		if (r == -EINTR)
			continue;
		if (r < 0)
			return r;
		if (r == 0)
			break;
		pos += (u64)r;
	}
	return (s64)pos;
}

int hostio_readv(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	s64 got = transfer_all(io->ops->preadv, io, fd, iov, n, off);
	if (got < 0)
		return (int)got;
	u64 total = iov_length(iov, n);
	if ((u64)got < total)
		iov_zero(iov, n, (u64)got, total - (u64)got);
	return 0;
}

int hostio_writev(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	s64 done = transfer_all(io->ops->pwritev, io, fd, iov, n, off);
	if (done < 0)
		return (int)done;
	return (u64)done == iov_length(iov, n) ? 0 : -EIO;
}

int hostio_read(const struct host_io *io, int fd, void *buf, u64 len, u64 off)
{
	struct iovec v = {buf, len};
	return hostio_readv(io, fd, &v, 1, off);
}

int hostio_exists(const struct host_io *io, const char *name)
{
	int fd = io->ops->open(io, name, O_RDONLY | O_NONBLOCK, 0);
	if (fd >= 0)
		io->ops->close(io, fd);
	return fd >= 0 ? 1 : fd == -ENOENT ? 0 : fd;
}

int hostio_write(const struct host_io *io, int fd, const void *buf, u64 len, u64 off)
{
	struct iovec v = {(void *)(uintptr_t)buf, len};
	return hostio_writev(io, fd, &v, 1, off);
}
