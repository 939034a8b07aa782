/*
 * Making images. The order lets every interruption be seen: segments (empty, or as long as the disk
 * and all holes), their directory synced, the sidecar, and last the table under a temporary name,
 * synced and renamed. A sparse image whose table exists is complete.
 */
#include "block/image_int.h"

#include "block/lut.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define FILL_LEN (1 * MiB)

/* A file without data may be there, of a growth that was cut off. */
static int open_empty(const char *name, const struct host_io *io)
{
	struct host_stat st;
	int fd = io->ops->open(io, name, O_RDWR, 0);
	if (fd < 0)
		return fd;
	int r = io->ops->stat(io, fd, &st);
	if (r == 0 && (!st.regular || (st.size && st.allocated)))
		r = -EEXIST;
	if (r < 0)
		io->ops->close(io, fd);
	return r < 0 ? r : fd;
}

static int make_segment(const char *name, u64 size, const struct host_io *io)
{
	int fd = io->ops->open(io, name, O_RDWR | O_CREAT | O_EXCL, 0660);
	if (fd == -EEXIST)
		fd = open_empty(name, io);
	if (fd < 0)
		return fd;
	int r = size ? io->ops->truncate(io, fd, size) : 0;
	if (r == 0 && size)
		r = io->ops->datasync(io, fd);
	io->ops->close(io, fd);
	if (r < 0)
		io->ops->unlink(io, name);
	return r;
}

void image_remove_segments(
        const struct image_geometry *g, const char *path, u32 first, u32 end, const struct host_io *io)
{
	char name[IMAGE_NAME_MAX];
	for (u32 i = first; i < end; i++) {
		image_segment_name(name, sizeof(name), path, g->is_split, i);
		io->ops->unlink(io, name);
	}
}

int image_add_segments(
        const struct image_geometry *g, const char *path, u32 first, const struct host_io *io, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	u32 i;
	int r = 0;
	for (i = first; i < g->nseg && r == 0; i++) {
		image_segment_name(name, sizeof(name), path, g->is_split, i);
		r = make_segment(name, g->sparse ? 0 : g->segment, io);
	}
	if (r < 0) {
		err_errno(e, r, "%s: cannot be created", name);
		image_remove_segments(g, path, first, i - 1, io);
		return r;
	}
	r = io->ops->sync_dir(io, path);
	if (r < 0) {
		err_errno(e, r, "%s: cannot sync its directory", path);
		image_remove_segments(g, path, first, g->nseg, io);
	}
	return r;
}

static int fill_absent(int fd, u64 from, u64 to, const struct host_io *io)
{
	u8 *buf = malloc(FILL_LEN);
	if (!buf)
		return -ENOMEM;
	memset(buf, 0xff, FILL_LEN);
	int r = 0;
	while (from < to && r == 0) {
		u64 here = MIN(FILL_LEN, to - from);
		r = hostio_write(io, fd, buf, here, from);
		from += here;
	}
	free(buf);
	return r;
}

static int write_table_file(const char *name, u64 len, const struct host_io *io)
{
	int fd = io->ops->open(io, name, O_RDWR | O_CREAT | O_TRUNC, 0660);
	if (fd < 0)
		return fd;
	int r = fill_absent(fd, 0, len, io);
	if (r == 0)
		r = io->ops->datasync(io, fd);
	io->ops->close(io, fd);
	return r;
}

static int write_table(
        const struct image_geometry *g, const char *path, const struct host_io *io, struct err *e)
{
	char name[IMAGE_NAME_MAX], temp[IMAGE_NAME_MAX + 8];
	image_lut_name(name, sizeof(name), path);
	snprintf(temp, sizeof(temp), "%s.new", name);
	int r = write_table_file(temp, g->entries * sizeof(u32), io);
	if (r == 0)
		r = io->ops->rename(io, temp, name);
	if (r < 0)
		io->ops->unlink(io, temp);
	else
		r = io->ops->sync_dir(io, path);
	return r < 0 ? err_errno(e, r, "%s: cannot be created", name) : 0;
}

int image_extend_table(const struct image_geometry *g, const char *path, int fd, u64 have,
        const struct host_io *io, struct err *e)
{
	int r = fill_absent(fd, have, g->entries * sizeof(u32), io);
	if (r == 0)
		r = io->ops->datasync(io, fd);
	return r < 0 ? err_errno(e, r, "%s.lut: cannot be extended", path) : 0;
}

static u64 random_id(void)
{
	u64 id = 0;
	if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != sizeof(id))
		id = (uintptr_t)&id;
	return (id & (BIT64(56) - 1)) | 1;
}

/* Empty segments may be left from a creation that was cut off: they are nobody's data. */
static u32 count_leftovers(const struct image_geometry *g, const char *path, const struct host_io *io)
{
	char name[IMAGE_NAME_MAX];
	u32 i;
	for (i = 0; i < g->nseg; i++) {
		image_segment_name(name, sizeof(name), path, g->is_split, i);
		if (hostio_exists(io, name) <= 0)
			break;
	}
	return i;
}

static void unmake(const struct image_geometry *g, const char *path, u32 first, const struct host_io *io)
{
	char name[IMAGE_NAME_MAX];
	image_lut_name(name, sizeof(name), path);
	if (g->sparse)
		io->ops->unlink(io, name);
	image_meta_name(name, sizeof(name), path);
	io->ops->unlink(io, name);
	image_remove_segments(g, path, first, g->nseg, io);
}

int image_make(struct image_geometry *g, const char *path, const struct host_io *io, struct err *e)
{
	char journal[IMAGE_NAME_MAX];
	u32 first = count_leftovers(g, path, io);
	image_journal_name(journal, sizeof(journal), path);
	io->ops->unlink(io, journal); /* of an image that is gone */
	bool described = g->is_split || g->sparse;
	g->id = described ? random_id() : 0;
	int r = image_add_segments(g, path, first, io, e);
	if (r < 0)
		return r;
	if (described)
		r = meta_store(g, path, io, e);
	if (r == 0 && g->sparse)
		r = write_table(g, path, io, e);
	if (r < 0)
		unmake(g, path, first, io);
	return r;
}

static int refuse_existing(const char *name, const struct host_io *io, struct err *e)
{
	int r = hostio_exists(io, name);
	if (r > 0)
		return err_set(e, -EEXIST, "%s exists already", name);
	return r < 0 ? err_errno(e, r, "%s", name) : 0;
}

int image_create(const struct image_spec *s, const struct host_io *io, struct err *e)
{
	struct image_geometry g;
	char name[IMAGE_NAME_MAX];
	if (s->size == 0)
		return err_usage(e, "%s: a new image needs size=", s->path);
	int r = image_geometry_make(&g, s, e);
	for (u32 i = 0; i < g.nseg && r == 0; i++) {
		image_segment_name(name, sizeof(name), s->path, g.is_split, i);
		r = refuse_existing(name, io, e);
	}
	void (*const sidecar[])(char *, size_t, const char *) = {
	        image_lut_name, image_meta_name, image_journal_name};
	for (u32 i = 0; i < ARRAY_SIZE(sidecar) && r == 0; i++) {
		sidecar[i](name, sizeof(name), s->path);
		r = refuse_existing(name, io, e);
	}
	return r < 0 ? r : image_make(&g, s->path, io, e);
}
