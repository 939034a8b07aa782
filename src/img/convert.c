/*
 * convert: copies any image into a new one.
 *
 * The new image is made under a temporary name beside the final one and renamed when it is complete
 * and durable: segments, then the sidecar, and last the file without which there is no image (the
 * table, or the first segment). Holes and zeros are not written.
 */
#include "img/img.h"
#include "img/progress.h"
#include "img/qcow2.h"

#include "base/text.h"
#include "block/iov.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BUFFER (1 * MiB)
#define ZERO_GRAIN 4096u

static int open_source(
        struct block **src, const struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct image_spec s;
	bool qcow2 = o->from && strcmp(o->from, "qcow2") == 0;
	int r = image_parse(&s, o->arg[0], e);

	if (r)
		return r;
	if (o->from && !qcow2 && strcmp(o->from, "raw") != 0)
		return err_usage(e, "convert: --from %s: must be raw or qcow2", o->from);
	if (!o->from && !s.split && !s.sparse && !s.size)
		qcow2 = qcow2_probe(c->io, s.path) > 0;
	if (qcow2)
		return qcow2_open(src, s.path, c->io, e);
	s.ro = true;
	return image_open(src, &s, IMAGE_QUIET, c->io, e);
}

/* --- copy --- */

/* Writes what is not zeros in [0, len) of buf. */
static int write_data(struct block *dst, const u8 *buf, u64 len, u64 off)
{
	u64 grain = MAX(ZERO_GRAIN, dst->logical);

	for (u64 at = 0, n; at < len; at += n) {
		int r;

		n = MIN(len - at, grain);
		if (buf_is_zero(buf + at, n))
			continue;
		while (at + n < len && !buf_is_zero(buf + at + n, MIN(len - at - n, grain)))
			n += MIN(len - at - n, grain);
		r = block_pwrite(dst, buf + at, n, off + at);
		if (r)
			return r;
	}
	return 0;
}

static int copy_blocks(struct img_ctx *c, struct block *src, struct block *dst, struct err *e)
{
	u64 size = block_size(src), len;
	struct progress p;
	u8 *buf = malloc(BUFFER);
	int r = buf ? 0 : err_errno(e, -ENOMEM, "convert");

	progress_begin(&p, c, "convert", size);
	for (u64 at = 0; !r && at < size; at += len) {
		bool data = true;

		len = size - at;
		r = img_stopped(c, e);
		if (r)
			break;
		r = block_extent(src, at, &len, &data);
		if (!r && data) {
			len = MIN(len, BUFFER - at % BUFFER);
			r = block_pread(src, buf, len, at);
		}
		if (r)
			err_errno(e, r, "source, at byte %" PRIu64, at);
		else if (data) {
			r = write_data(dst, buf, len, at);
			if (r)
				err_errno(e, r, "destination, at byte %" PRIu64, at);
		}
		progress_set(&p, at);
	}
	progress_end(&p);
	free(buf);
	return r;
}

/* --- destination --- */

static void (*const side_names[])(char *, size_t, const char *) = {
        image_meta_name, image_journal_name, image_lut_name};

static int refuse_existing(
        const struct img_ctx *c, const char *path, const struct image_geometry *g, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	int r = 0;

	for (u32 i = 0; !r && i < g->nseg; i++) {
		image_segment_name(name, sizeof(name), path, g->is_split, i);
		r = hostio_exists(c->io, name);
	}
	for (size_t i = 0; !r && i < ARRAY_SIZE(side_names); i++) {
		side_names[i](name, sizeof(name), path);
		r = hostio_exists(c->io, name);
	}
	if (r < 0)
		return err_errno(e, r, "%s", name);
	return r ? err_set(e, -EEXIST, "%s exists already", name) : 0;
}

static int rename_one(const struct img_ctx *c, const char *from, const char *to, bool optional, struct err *e)
{
	int r = c->io->ops->rename(c->io, from, to);

	if (r == -ENOENT && optional)
		return 0;
	return r < 0 ? err_errno(e, r, "%s", to) : 0;
}

static int rename_segment(
        const struct img_ctx *c, const char *temp, const char *path, bool split, u32 i, struct err *e)
{
	char from[IMAGE_PATH_MAX + 16], to[IMAGE_PATH_MAX + 16];

	image_segment_name(from, sizeof(from), temp, split, i);
	image_segment_name(to, sizeof(to), path, split, i);
	return rename_one(c, from, to, false, e);
}

/* What makes it an image comes last: the table, or segment 0. */
static int rename_parts(const struct img_ctx *c, const char *temp, const char *path,
        const struct image_geometry *g, struct err *e)
{
	char from[IMAGE_PATH_MAX + 16], to[IMAGE_PATH_MAX + 16];
	int r = 0;

	for (u32 i = 1; !r && i < g->nseg; i++)
		r = rename_segment(c, temp, path, g->is_split, i, e);
	image_meta_name(from, sizeof(from), temp);
	image_meta_name(to, sizeof(to), path);
	if (!r)
		r = rename_one(c, from, to, true, e);
	if (!r)
		r = rename_segment(c, temp, path, g->is_split, 0, e);
	image_lut_name(from, sizeof(from), temp);
	image_lut_name(to, sizeof(to), path);
	if (!r && g->sparse) {
		r = c->io->ops->sync_dir(c->io, path);
		r = r < 0 ? err_errno(e, r, "%s: its directory", path) : rename_one(c, from, to, false, e);
	}
	if (!r) {
		r = c->io->ops->sync_dir(c->io, path);
		if (r < 0)
			err_errno(e, r, "%s: its directory", path);
	}
	return r < 0 ? r : 0;
}

static void remove_parts(const struct img_ctx *c, const char *path, const struct image_geometry *g)
{
	char name[IMAGE_PATH_MAX + 16];

	for (size_t i = ARRAY_SIZE(side_names); i-- > 0;) {
		side_names[i](name, sizeof(name), path);
		c->io->ops->unlink(c->io, name);
	}
	for (u32 i = 0; i < g->nseg; i++) {
		image_segment_name(name, sizeof(name), path, g->is_split, i);
		c->io->ops->unlink(c->io, name);
	}
}

/* The new image's geometry: the source's size, rounded up to what the destination needs. */
static int plan(struct image_spec *s, const struct block *src, struct image_geometry *g, struct err *e)
{
	u64 size = block_size(src), unit = s->split ? s->split : s->logical ? s->logical : 512;
	char a[32], b[32];

	if (!s->logical && s->sparse)
		s->logical = s->physical = MAX(src->logical, 512u);
	unit = MAX(unit, (u64)s->logical);
	if (!s->size) {
		if (size > INT64_MAX - unit)
			return err_set(e, -EFBIG, "%s: the source is too large", s->path);
		s->size = (size + unit - 1) / unit * unit;
	}
	if (s->size < size)
		return err_usage(e, "%s: size=%s is smaller than the source's %s", s->path,
		        format_size(s->size, a, sizeof(a)), format_size(size, b, sizeof(b)));
	return image_geometry_make(g, s, e);
}

static int fill(struct img_ctx *c, struct block *src, struct image_spec *temp, struct err *e)
{
	struct block *dst;
	int r = image_create(temp, c->io, e), closed;

	if (r)
		return r;
	r = image_open(&dst, temp, IMAGE_QUIET, c->io, e);
	if (r)
		return r;
	r = copy_blocks(c, src, dst, e);
	if (!r) {
		r = block_flush(dst);
		if (r)
			err_errno(e, r, "%s", temp->path);
	}
	closed = block_close(dst);
	if (!r && closed)
		r = err_errno(e, closed, "%s", temp->path);
	return r;
}

static int make_image(struct img_ctx *c, struct block *src, const struct image_spec *s,
        const struct image_geometry *g, struct err *e)
{
	struct image_spec temp = *s;
	int r = refuse_existing(c, s->path, g, e);

	if (r)
		return r;
	if (strlen(s->path) + sizeof(".partial") > sizeof(temp.path))
		return err_errno(e, -ENAMETOOLONG, "%s", s->path);
	strcat(temp.path, ".partial");
	r = refuse_existing(c, temp.path, g, e);
	if (r == -EEXIST) {
		struct err found = *e;

		return err_set(
		        e, r, "%s (left by a killed convert? remove the .partial files then)", found.text);
	}
	if (r)
		return r;
	r = fill(c, src, &temp, e);
	if (!r) {
		r = rename_parts(c, temp.path, s->path, g, e);
		if (r)
			remove_parts(c, s->path, g);
	}
	if (r)
		remove_parts(c, temp.path, g);
	return r;
}

/* Onto a block device: in place, and its old content must go. */
static int fill_device(struct img_ctx *c, struct block *src, const struct image_spec *s, struct err *e)
{
	struct image_spec own = *s;
	struct block *dst;
	int r, closed;

	own.size = 0;
	r = image_open(&dst, &own, IMAGE_QUIET, c->io, e);
	if (r)
		return r;
	if (block_size(dst) < block_size(src))
		r = err_set(e, -ENOSPC, "%s: the device is smaller than the source", s->path);
	if (!r) {
		r = block_write_zeroes(dst, 0, block_size(dst), true);
		if (r)
			err_errno(e, r, "%s: cannot be cleared", s->path);
	}
	if (!r)
		r = copy_blocks(c, src, dst, e);
	closed = block_close(dst);
	if (!r && closed)
		r = err_errno(e, closed, "%s", s->path);
	return r;
}

static bool is_device(const struct img_ctx *c, const struct image_spec *s)
{
	struct image_geometry g;
	struct host_stat st = {0};
	struct err ignored;
	struct image_spec own = *s;
	int fd;

	own.size = 0;
	if (s->split || s->sparse || image_probe(&g, &own, c->io, &ignored) < 0)
		return false;
	fd = c->io->ops->open(c->io, s->path, 0, 0);
	if (fd < 0)
		return false;
	c->io->ops->stat(c->io, fd, &st);
	c->io->ops->close(c->io, fd);
	return st.device;
}

int img_convert(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct image_geometry g;
	struct image_spec s;
	struct block *src;
	char size[32];
	int r = image_parse(&s, o->arg[1], e);

	if (r)
		return r;
	if (s.ro)
		return err_usage(e, "convert: the destination %s cannot be ro", s.path);
	r = open_source(&src, c, o, e);
	if (r)
		return r;
	if (is_device(c, &s))
		r = fill_device(c, src, &s, e);
	else {
		r = plan(&s, src, &g, e);
		if (!r)
			r = make_image(c, src, &s, &g, e);
	}
	if (!r)
		fprintf(c->out, "%s: written, %s\n", s.path,
		        format_size(block_size(src), size, sizeof(size)));
	block_close(src);
	return r;
}
