/*
 * resize: changes the size of a disk.
 *
 * To grow, files are added first, then the table is extended, then the sidecar names the new size. To get
 * smaller, the entries behind the new end become absent, the sidecar changes, and then the table is cut and
 * files that are not needed go. An interruption leaves at worst a table with absent entries behind its
 * end and files that nobody needs: the image works, with its old or its new size.
 */
#include "img/spimage.h"

#include "base/text.h"
#include "block/iov.h"
#include "block/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

struct resize {
	struct img_ctx *c;
	struct image_spec spec;
	struct image_geometry old, new;
	bool force;
	u64 size;
};

static int parse_change(struct resize *z, const char *word, struct err *e)
{
	char sign = *word == '+' || *word == '-' ? *word++ : 0;
	u64 v;
	int r = parse_size(word, &v);

	if (r)
		return err_usage(e, "resize: \"%s\" is not a size (such as 20G, +1G or -512M)", word);
	if ((sign == '-' && v >= z->old.size) || (sign == '+' && v > INT64_MAX - z->old.size))
		return err_usage(
		        e, "resize: %c%s does not fit the image's size %" PRIu64, sign, word, z->old.size);
	z->size = sign == '-' ? z->old.size - v : sign == '+' ? z->old.size + v : v;
	if (!z->size || z->size > INT64_MAX)
		return err_usage(e, "resize: \"%s\" is not a possible size", word);
	return 0;
}

static int new_geometry(struct resize *z, struct err *e)
{
	struct image_spec s = {.size = z->size,
	        .split = z->old.is_split ? z->old.segment : 0,
	        .logical = z->old.logical,
	        .physical = z->old.physical,
	        .sparse = z->old.sparse};
	int r = image_geometry_make(&z->new, &s, e);

	z->new.id = z->old.id;
	if (r)
		e->status = EXIT_BADUSE;
	return r;
}

/* -ENOTEMPTY when there is data from the new end on. */
static int tail_is_empty(struct resize *z, struct err *e)
{
	struct image_spec own = z->spec;
	struct block *b;
	u8 *buf;
	int r;

	if (z->size >= z->old.size || z->force)
		return 0;
	own.ro = true;
	r = image_open(&b, &own, IMAGE_QUIET, z->c->io, e);
	if (r)
		return r;
	buf = malloc(MiB);
	r = buf ? 0 : err_errno(e, -ENOMEM, "%s", z->spec.path);
	for (u64 at = z->size, len; !r && at < block_size(b); at += len) {
		bool data = true;

		len = block_size(b) - at;
		r = img_stopped(z->c, e);
		if (r)
			break;
		r = block_extent(b, at, &len, &data);
		if (!r && data) {
			len = MIN(len, MiB);
			r = block_pread(b, buf, len, at);
		}
		if (r)
			err_errno(e, r, "%s", z->spec.path);
		else if (data && !buf_is_zero(buf, len))
			r = err_set(e, -ENOTEMPTY,
			        "%s: there is data behind the new end (at %" PRIu64 "), --force cuts it off",
			        z->spec.path, at);
	}
	free(buf);
	block_close(b);
	return r;
}

/* --- parts --- */

static int open_locked(struct resize *z, const char *name, int *fd, struct err *e)
{
	int r;

	*fd = z->c->io->ops->open(z->c->io, name, O_RDWR, 0);
	if (*fd < 0)
		return err_errno(e, *fd, "%s", name);
	r = z->c->io->ops->lock(z->c->io, *fd, true);
	if (r >= 0)
		return 0;
	z->c->io->ops->close(z->c->io, *fd);
	*fd = -1;
	return r == -EAGAIN ? err_set(e, -EBUSY, "%s is in use by another process", name)
	                    : err_errno(e, r, "%s: lock", name);
}

/* A file without data may be there: from a resize that was cut off, or from the original's later versions. */
static int empty_file(const struct host_io *io, int fd)
{
	struct host_stat st;
	int r = io->ops->stat(io, fd, &st);

	if (r < 0)
		return r;
	return !st.regular || (st.size && st.allocated) ? -EEXIST : 0;
}

static int add_segments(struct resize *z, struct err *e)
{
	const struct host_io *io = z->c->io;
	char name[IMAGE_PATH_MAX + 16];

	for (u32 i = z->old.nseg; i < z->new.nseg; i++) {
		int r, fd;

		image_segment_name(name, sizeof(name), z->spec.path, true, i);
		fd = io->ops->open(io, name, O_RDWR | O_CREAT, 0660);
		if (fd < 0)
			return err_errno(e, fd, "%s", name);
		r = empty_file(io, fd);
		if (r < 0) {
			io->ops->close(io, fd);
			return err_errno(e, r, "%s", name);
		}
		r = io->ops->truncate(io, fd, z->new.sparse ? 0 : z->new.segment);
		if (r >= 0)
			r = io->ops->datasync(io, fd);
		io->ops->close(io, fd);
		if (r < 0) {
			io->ops->unlink(io, name);
			return err_errno(e, r, "%s", name);
		}
	}
	return 0;
}

static int drop_segments(struct resize *z, u32 from, u32 to, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];

	/* From the end, so that no gap is ever there. */
	for (u32 i = to; i-- > from;) {
		int r;

		image_segment_name(name, sizeof(name), z->spec.path, true, i);
		r = z->c->io->ops->unlink(z->c->io, name);
		if (r < 0 && r != -ENOENT)
			return err_errno(e, r, "%s", name);
	}
	return 0;
}

static int cut_table(struct resize *z, struct spimage *img, u64 entries, struct err *e)
{
	int r = img->io->ops->truncate(img->io, img->table, 4 * entries);

	return r < 0 ? err_errno(e, r, "%s.lut", z->spec.path) : spimage_sync(img, e);
}

static int store_meta(struct resize *z, struct err *e)
{
	return meta_store(&z->new, z->spec.path, z->c->io, e);
}

static int sync_names(struct resize *z, struct err *e)
{
	int r = z->c->io->ops->sync_dir(z->c->io, z->spec.path);

	return r < 0 ? err_errno(e, r, "%s: its directory", z->spec.path) : 0;
}

static int grow(struct resize *z, struct spimage *img, struct err *e)
{
	int r = add_segments(z, e);

	if (!r)
		r = sync_names(z, e);
	if (!r && img)
		r = spimage_blank(img, z->old.entries, z->new.entries, e);
	if (!r)
		r = store_meta(z, e);
	if (r) {
		struct err ignored;

		if (img)
			cut_table(z, img, z->old.entries, &ignored);
		drop_segments(z, z->old.nseg, z->new.nseg, &ignored);
	}
	return r;
}

static int cut(struct resize *z, struct spimage *img, struct err *e)
{
	int r = img ? spimage_blank(img, z->new.entries, z->old.entries, e) : 0;

	if (!r)
		r = store_meta(z, e);
	if (!r && img)
		r = cut_table(z, img, z->new.entries, e);
	if (!r)
		r = drop_segments(z, z->new.nseg, z->old.nseg, e);
	return r ? r : sync_names(z, e);
}

/* --- kinds --- */

static int resize_sparse(struct resize *z, struct err *e)
{
	struct spimage *img;
	int r = spimage_open(&img, z->spec.path, &z->old, true, z->c->io, e);

	if (r)
		return r;
	if (img->table_bytes < 4 * z->old.entries)
		r = err_set(e, -EUCLEAN, "%s.lut is too short: use xhyve-img repair first", z->spec.path);
	else if (img->table_bytes > 4 * z->old.entries) /* another resize was cut off */
		r = cut_table(z, img, z->old.entries, e);
	if (!r)
		r = z->size > z->old.size ? grow(z, img, e) : cut(z, img, e);
	spimage_close(img);
	return r;
}

static int resize_split(struct resize *z, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	int fd, r;

	image_segment_name(name, sizeof(name), z->spec.path, true, 0);
	r = open_locked(z, name, &fd, e);
	if (r)
		return r;
	r = z->size > z->old.size ? grow(z, NULL, e) : cut(z, NULL, e);
	z->c->io->ops->close(z->c->io, fd);
	return r;
}

static int resize_raw(struct resize *z, struct err *e)
{
	const struct host_io *io = z->c->io;
	struct host_stat st;
	int fd, r = open_locked(z, z->spec.path, &fd, e);

	if (r)
		return r;
	r = io->ops->stat(io, fd, &st);
	if (r >= 0 && !st.regular)
		r = err_set(e, -EINVAL, "%s is a device: it has the size that it has", z->spec.path);
	else {
		if (r >= 0)
			r = io->ops->truncate(io, fd, z->size);
		if (r >= 0)
			r = io->ops->datasync(io, fd);
		if (r < 0)
			err_errno(e, r, "%s", z->spec.path);
	}
	io->ops->close(io, fd);
	return r < 0 ? r : 0;
}

int img_resize(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct resize z = {.c = c, .force = o->force};
	bool replayed;
	char size[32];
	int r = img_target(c, o->arg[0], &z.spec, &z.old, e);

	if (!r)
		r = parse_change(&z, o->arg[1], e);
	if (!r)
		r = new_geometry(&z, e);
	if (!r && z.old.sparse)
		r = img_replay(c, &z.spec, &replayed, e);
	if (!r)
		r = tail_is_empty(&z, e);
	if (!r && z.size != z.old.size)
		r = z.old.sparse     ? resize_sparse(&z, e)
		    : z.old.is_split ? resize_split(&z, e)
		                     : resize_raw(&z, e);
	if (!r)
		fprintf(c->out, "%s: %s\n", z.spec.path, format_size(z.size, size, sizeof(size)));
	return r;
}
