/*
 * The files of a sparse image.
 */
#include "img/spimage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static int open_part(
        const struct spimage *img, const char *name, int *fd, struct host_stat *st, struct err *e)
{
	int r, f = img->io->ops->open(img->io, name, img->writable ? O_RDWR : O_RDONLY, 0);

	if (f < 0)
		return err_errno(e, f, "%s", name);
	r = img->io->ops->stat(img->io, f, st);
	if (r == 0 && !st->regular && !st->device)
		r = -EINVAL;
	if (r < 0) {
		img->io->ops->close(img->io, f);
		return err_errno(e, r, "%s", name);
	}
	*fd = f;
	return 0;
}

static int lock_part(const struct spimage *img, int fd, const char *name, struct err *e)
{
	int r = img->io->ops->lock(img->io, fd, img->writable);

	if (r == -EAGAIN || r == -EACCES)
		return err_set(e, -EBUSY, "%s is in use by another process", name);
	return r < 0 ? err_errno(e, r, "%s: lock", name) : 0;
}

static int open_segment(struct spimage *img, u32 i, struct sp_segment *seg, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	struct host_stat st;
	int r;

	*seg = (struct sp_segment){.index = i, .fd = -1};
	image_segment_name(name, sizeof(name), img->path, img->g.is_split, i);
	r = open_part(img, name, &seg->fd, &st, e);
	if (r == -ENOENT)
		return 0;
	if (r == 0) {
		seg->size = st.size;
		seg->allocated = st.allocated;
	}
	return r;
}

static int open_files(struct spimage *img, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	struct host_stat st;
	int r;

	image_lut_name(name, sizeof(name), img->path);
	r = open_part(img, name, &img->table, &st, e);
	if (r)
		return r;
	img->table_bytes = st.size;
	r = lock_part(img, img->table, name, e);
	if (r)
		return r;
	r = open_segment(img, 0, &img->first, e);
	if (r || img->first.fd < 0)
		return r;
	image_segment_name(name, sizeof(name), img->path, img->g.is_split, 0);
	return lock_part(img, img->first.fd, name, e);
}

int spimage_open(struct spimage **out, const char *path, const struct image_geometry *g, bool writable,
        const struct host_io *io, struct err *e)
{
	struct spimage *img = calloc(1, sizeof(*img));
	int r;

	if (!img)
		return err_errno(e, -ENOMEM, "%s", path);
	img->io = io;
	img->g = *g;
	img->writable = writable;
	img->table = img->first.fd = img->cur.fd = -1;
	if (strlen(path) >= sizeof(img->path))
		r = err_errno(e, -ENAMETOOLONG, "%.80s...", path);
	else {
		memcpy(img->path, path, strlen(path) + 1);
		r = open_files(img, e);
	}
	if (r) {
		spimage_close(img);
		return r;
	}
	*out = img;
	return 0;
}

static void close_segment(struct spimage *img, struct sp_segment *seg)
{
	if (seg->fd >= 0)
		img->io->ops->close(img->io, seg->fd);
	seg->fd = -1;
}

void spimage_close(struct spimage *img)
{
	if (!img)
		return;
	close_segment(img, &img->cur);
	close_segment(img, &img->first);
	if (img->table >= 0)
		img->io->ops->close(img->io, img->table);
	free(img);
}

int spimage_segment(struct spimage *img, u32 i, struct sp_segment **seg, struct err *e)
{
	*seg = i ? &img->cur : &img->first;
	if (i == 0 || (img->cur.fd >= 0 && img->cur.index == i))
		return 0;
	close_segment(img, &img->cur);
	return open_segment(img, i, &img->cur, e);
}

int spimage_create_segment(struct spimage *img, u32 i, struct err *e)
{
	struct sp_segment *seg = i ? &img->cur : &img->first;
	char name[IMAGE_PATH_MAX + 16];
	int r;

	image_segment_name(name, sizeof(name), img->path, img->g.is_split, i);
	close_segment(img, seg);
	r = img->io->ops->open(img->io, name, O_RDWR | O_CREAT | O_EXCL, 0660);
	if (r < 0)
		return err_errno(e, r, "%s", name);
	*seg = (struct sp_segment){.index = i, .fd = r};
	r = img->io->ops->sync_dir(img->io, name);
	if (r < 0)
		return err_errno(e, r, "%s: its directory", name);
	return i ? 0 : lock_part(img, seg->fd, name, e);
}

static int table_error(const struct spimage *img, int r, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];

	image_lut_name(name, sizeof(name), img->path);
	return err_errno(e, r, "%s", name);
}

int spimage_read(struct spimage *img, u64 first, u32 n, u32 *entries, struct err *e)
{
	u64 whole = img->table_bytes / 4;
	u32 there = first >= whole ? 0 : (u32)MIN(n, whole - first);
	int r = there ? hostio_read(img->io, img->table, entries, 4ull * there, 4 * first) : 0;

	memset(entries + there, 0xff, 4ull * (n - there));
	return r ? table_error(img, r, e) : 0;
}

int spimage_write(struct spimage *img, u64 first, u32 n, const u32 *entries, struct err *e)
{
	int r = hostio_write(img->io, img->table, entries, 4ull * n, 4 * first);

	if (r)
		return table_error(img, r, e);
	img->table_bytes = MAX(img->table_bytes, 4 * (first + n));
	return 0;
}

int spimage_sync(struct spimage *img, struct err *e)
{
	int r = img->io->ops->datasync(img->io, img->table);

	return r < 0 ? table_error(img, r, e) : 0;
}

int spimage_sync_segment(struct spimage *img, const struct sp_segment *seg, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	int r = img->io->ops->datasync(img->io, seg->fd);

	if (r >= 0)
		return 0;
	image_segment_name(name, sizeof(name), img->path, img->g.is_split, seg->index);
	return err_errno(e, r, "%s", name);
}

u64 spimage_slots(const struct spimage *img, const struct sp_segment *seg)
{
	u64 n = seg->size / img->g.sector + (seg->size % img->g.sector != 0);

	return MIN(n, (u64)SP_ABSENT);
}

int slot_map_init(struct slot_map *m, u64 slots, struct err *e)
{
	*m = (struct slot_map){0};
	m->bits = calloc(MIN(slots, SP_WINDOW) / 64 + 1, sizeof(u64));
	return m->bits ? 0 : err_errno(e, -ENOMEM, "map of %llu sectors", (unsigned long long)slots);
}

void slot_map_free(struct slot_map *m)
{
	free(m->bits);
	m->bits = NULL;
}

void slot_map_window(struct slot_map *m, u64 base, u64 n)
{
	m->base = base;
	m->n = n;
	memset(m->bits, 0, (n / 64 + 1) * sizeof(u64));
}

u64 slot_map_next(const struct slot_map *m, u64 from, bool named)
{
	u64 i = from - m->base;

	while (i < m->n) {
		u64 word = m->bits[i / 64];

		word = (named ? word : ~word) >> (i % 64);
		if (word) {
			i += (u64)__builtin_ctzll(word);
			break;
		}
		i = (i / 64 + 1) * 64;
	}
	return m->base + MIN(i, m->n);
}

int spimage_tail_absent(const struct spimage *img, u64 need, bool *absent, struct err *e)
{
	u8 buf[4096];

	*absent = true;
	for (u64 at = need; *absent && at < img->table_bytes; at += sizeof(buf)) {
		u64 n = MIN(img->table_bytes - at, sizeof(buf));
		int r = hostio_read(img->io, img->table, buf, n, at);

		if (r)
			return err_errno(e, r, "%s.lut", img->path);
		*absent = buf[0] == 0xff && memcmp(buf, buf + 1, n - 1) == 0;
	}
	return 0;
}

int spimage_blank(struct spimage *img, u64 from, u64 to, struct err *e)
{
	u32 *blank = malloc(SP_CHUNK * sizeof(*blank));
	int r = 0;

	if (!blank)
		return err_errno(e, -ENOMEM, "%s", img->path);
	memset(blank, 0xff, SP_CHUNK * sizeof(*blank));
	for (u64 at = from; !r && at < to; at += SP_CHUNK)
		r = spimage_write(img, at, (u32)MIN(to - at, SP_CHUNK), blank, e);
	free(blank);
	return r ? r : spimage_sync(img, e);
}
