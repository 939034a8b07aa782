/*
 * For tests of xhyve-img: a directory of its own, commands run in this process with their output
 * caught, and a host that dies at the n-th change and watches the order of changes: no table is
 * written while a segment has unsynced data, no storage is freed while the table has unsynced entries.
 */
#pragma once

#include "img/img.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define FD_MAX 1024

struct rig_host {
	struct host_io io;
	u64 left;    /* changes until the host dies; UINT64_MAX: never */
	u64 changes; /* so far */
	bool dead;
	char kind[FD_MAX]; /* 't' table, 's' anything else */
	bool dirty[FD_MAX];
	unsigned disorder; /* times that the order was wrong */
};

struct rig {
	char dir[64];
	struct rig_host host;
	char *out, *err; /* of the last command */
};

static inline struct rig_host *rig_of(const struct host_io *io)
{
	return io->opaque;
}

static inline bool rig_die(struct rig_host *h)
{
	if (h->dead || h->changes >= h->left)
		h->dead = true;
	else
		h->changes++;
	return h->dead;
}

static inline bool rig_dirty(const struct rig_host *h, char kind)
{
	for (int i = 0; i < FD_MAX; i++) {
		if (h->dirty[i] && h->kind[i] == kind)
			return true;
	}
	return false;
}

static int rig_open(const struct host_io *io, const char *path, int flags, unsigned mode)
{
	size_t len = strlen(path);
	int fd;

	if (flags & O_CREAT && rig_die(rig_of(io)))
		return -EIO;
	fd = host_io.ops->open(&host_io, path, flags, mode);
	if (fd >= 0 && fd < FD_MAX) {
		rig_of(io)->kind[fd] = len > 4 && strcmp(path + len - 4, ".lut") == 0 ? 't' : 's';
		rig_of(io)->dirty[fd] = false;
	}
	return fd;
}

static int rig_close(const struct host_io *io, int fd)
{
	return host_io.ops->close(&host_io, fd);
}

static ssize_t rig_preadv(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	return host_io.ops->preadv(&host_io, fd, iov, n, off);
}

static ssize_t rig_pwritev(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	struct rig_host *h = rig_of(io);

	if (rig_die(h))
		return -EIO;
	h->disorder += h->kind[fd] == 't' && rig_dirty(h, 's');
	h->dirty[fd] = true;
	return host_io.ops->pwritev(&host_io, fd, iov, n, off);
}

static int rig_datasync(const struct host_io *io, int fd)
{
	if (rig_die(rig_of(io)))
		return -EIO;
	rig_of(io)->dirty[fd] = false;
	return host_io.ops->datasync(&host_io, fd);
}

static int rig_truncate(const struct host_io *io, int fd, u64 size)
{
	struct rig_host *h = rig_of(io);

	if (rig_die(h))
		return -EIO;
	h->disorder += h->kind[fd] == 's' && rig_dirty(h, 't');
	return host_io.ops->truncate(&host_io, fd, size);
}

static int rig_punch(const struct host_io *io, int fd, u64 off, u64 len)
{
	struct rig_host *h = rig_of(io);

	if (rig_die(h))
		return -EIO;
	h->disorder += h->kind[fd] == 's' && rig_dirty(h, 't');
	return host_io.ops->punch(&host_io, fd, off, len);
}

static int rig_zero(const struct host_io *io, int fd, u64 off, u64 len)
{
	return rig_die(rig_of(io)) ? -EIO : host_io.ops->zero(&host_io, fd, off, len);
}

static int rig_reserve(const struct host_io *io, int fd, u64 size)
{
	return rig_die(rig_of(io)) ? -EIO : host_io.ops->reserve(&host_io, fd, size);
}

static int rig_ahead(const struct host_io *io, int fd, u64 off, u64 len)
{
	return rig_die(rig_of(io)) ? -EIO : host_io.ops->ahead(&host_io, fd, off, len);
}

static int rig_stat(const struct host_io *io, int fd, struct host_stat *st)
{
	return host_io.ops->stat(&host_io, fd, st);
}

static int rig_extent(const struct host_io *io, int fd, u64 off, u64 *len, bool *data)
{
	return host_io.ops->extent(&host_io, fd, off, len, data);
}

static int rig_rename(const struct host_io *io, const char *from, const char *to)
{
	return rig_die(rig_of(io)) ? -EIO : host_io.ops->rename(&host_io, from, to);
}

static int rig_unlink(const struct host_io *io, const char *path)
{
	return rig_die(rig_of(io)) ? -EIO : host_io.ops->unlink(&host_io, path);
}

static int rig_sync_dir(const struct host_io *io, const char *path)
{
	return rig_die(rig_of(io)) ? -EIO : host_io.ops->sync_dir(&host_io, path);
}

static int rig_lock(const struct host_io *io, int fd, bool exclusive)
{
	return host_io.ops->lock(&host_io, fd, exclusive);
}

static int rig_boot_id(const struct host_io *io, u8 id[16])
{
	return host_io.ops->boot_id(&host_io, id);
}

static const struct host_io_ops rig_ops = {.open = rig_open,
        .close = rig_close,
        .preadv = rig_preadv,
        .pwritev = rig_pwritev,
        .datasync = rig_datasync,
        .truncate = rig_truncate,
        .punch = rig_punch,
        .zero = rig_zero,
        .reserve = rig_reserve,
        .ahead = rig_ahead,
        .stat = rig_stat,
        .extent = rig_extent,
        .rename = rig_rename,
        .unlink = rig_unlink,
        .sync_dir = rig_sync_dir,
        .lock = rig_lock,
        .boot_id = rig_boot_id};

static inline void rig_arm(struct rig *g, u64 changes)
{
	g->host = (struct rig_host){.io = {.ops = &rig_ops, .opaque = &g->host}, .left = changes};
}

static inline void rig_run_shell(const char *fmt, ...) PRINTF_LIKE(1, 2);
static inline void rig_run_shell(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	assert_int_equal(system(cmd), 0);
}

/* Images are made in the working directory, which is the rig's own. */
static inline int rig_setup(void **state)
{
	struct rig *g = calloc(1, sizeof(*g));

	strcpy(g->dir, "/tmp/xhyve-img-XXXXXX");
	if (!mkdtemp(g->dir) || chdir(g->dir))
		return -1;
	rig_arm(g, UINT64_MAX);
	*state = g;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *g = *state;

	if (chdir("/"))
		return -1;
	rig_run_shell("rm -rf %s", g->dir);
	free(g->out);
	free(g->err);
	free(g);
	return 0;
}

/* Runs "xhyve-img WORDS", split at blanks, and returns its exit status. */
static inline int rig_img(struct rig *g, const char *words)
{
	const char *argv[16] = {"xhyve-img"};
	char *copy = strdup(words), *rest = copy, *word;
	size_t out_len, err_len;
	int argc = 1, status;
	struct img_ctx c = {.io = &g->host.io};

	while ((word = strsep(&rest, " ")) && argc < 16)
		argv[argc++] = word;
	free(g->out);
	free(g->err);
	c.out = open_memstream(&g->out, &out_len);
	c.err = open_memstream(&g->err, &err_len);
	status = img_main(argc, argv, &c);
	fclose(c.out);
	fclose(c.err);
	free(copy);
	return status;
}

static inline void rig_expect(struct rig *g, const char *words, int status)
{
	int got = rig_img(g, words);

	if (got != status)
		fail_msg("xhyve-img %s: status %d, not %d\n%s%s", words, got, status, g->out, g->err);
}

static inline void rig_says(const struct rig *g, const char *text)
{
	if (!strstr(g->out, text) && !strstr(g->err, text))
		fail_msg("\"%s\" is not in:\n%s%s", text, g->out, g->err);
}

/* --- files --- */

static inline void rig_put(const char *name, u64 off, const void *data, size_t len)
{
	int fd = open(name, O_RDWR | O_CREAT, 0660);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static inline void rig_fill(const char *name, u64 off, int byte, size_t len)
{
	u8 *buf = malloc(len);

	memset(buf, byte, len);
	rig_put(name, off, buf, len);
	free(buf);
}

static inline u64 rig_size(const char *name)
{
	int fd = open(name, O_RDONLY);
	off_t n = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (fd >= 0)
		close(fd);
	return (u64)n;
}

static inline void rig_entry(const char *image, u32 index, u32 slot)
{
	char name[256];

	snprintf(name, sizeof(name), "%s.lut", image);
	rig_put(name, 4ull * index, &slot, 4);
}

/* Reads a whole image through the block layer. */
static inline u8 *rig_read(const char *image, u64 *len)
{
	struct image_spec s;
	struct block *b;
	struct err e = {0};
	u8 *buf;

	assert_int_equal(image_parse(&s, image, &e), 0);
	s.ro = true;
	if (image_open(&b, &s, IMAGE_QUIET, &host_io, &e))
		fail_msg("%s: %s", image, e.text);
	*len = block_size(b);
	buf = malloc(*len);
	assert_int_equal(block_pread(b, buf, *len, 0), 0);
	assert_int_equal(block_close(b), 0);
	return buf;
}

static inline void rig_same(const char *a, const char *b)
{
	u64 la, lb;
	u8 *x = rig_read(a, &la), *y = rig_read(b, &lb);

	assert_int_equal(la, lb);
	assert_memory_equal(x, y, la);
	free(x);
	free(y);
}
