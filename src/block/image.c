/*
 * The opener. It finds the geometry (PATH.meta, completed by the options; what is given twice must
 * agree), looks at which files are there, creates what may be created, locks, and builds the layers.
 */
#include "block/image_int.h"

#include "base/log.h"
#include "base/text.h"
#include "block/layers.h"
#include "block/lut.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define SPARE_DESCRIPTORS 64
#define LARGE_TABLE (64 * MiB)

/* One image being opened. */
struct opening {
	const struct image_spec *s;
	const struct host_io *io;
	unsigned flags;
	struct err *e;
	struct image_geometry g;
	bool has_meta;
	int *fd; /* of segments; -1: not open */
	int lut_fd;
	u32 align;
};

/* --- geometry --- */

static int differs(struct opening *o, const char *name, u64 given, u64 is)
{
	char a[32], b[32];
	return err_usage(o->e, "%s: %s=%s was given, but the image has %s=%s (%s.meta)", o->s->path, name,
	        format_size(given, a, sizeof(a)), name, format_size(is, b, sizeof(b)), o->s->path);
}

static int compare_with_meta(struct opening *o)
{
	const struct image_spec *s = o->s;
	const struct image_geometry *g = &o->g;
	if (s->size && s->size != g->size)
		return differs(o, "size", s->size, g->size);
	if (s->split && s->split != (g->is_split ? g->segment : 0))
		return differs(o, "split", s->split, g->is_split ? g->segment : 0);
	if (s->logical && s->logical != g->logical)
		return differs(o, "sectorsize", s->logical, g->logical);
	if (s->sparse && !g->sparse)
		return err_usage(o->e, "%s: sparse was given, but the image is not sparse (%s.meta)", s->path,
		        s->path);
	return 0;
}

static int find_geometry(struct opening *o)
{
	const struct image_spec *s = o->s;
	int r = meta_load(&o->g, s->path, o->io, o->e);
	if (r == 0) {
		o->has_meta = true;
		r = compare_with_meta(o);
		if (r == 0 && s->physical)
			o->g.physical = MAX(s->physical, o->g.logical);
		return r;
	}
	if (r != -ENOENT)
		return r;
	if (!s->split && !s->sparse) {
		o->g = (struct image_geometry){.nseg = 1, .size = s->size, .logical = s->logical};
		return 0;
	}
	if (s->size == 0)
		return err_usage(o->e, "%s: %s needs size= (there is no %s.meta that tells it)", s->path,
		        s->split ? "split=" : "sparse", s->path);
	return image_geometry_make(&o->g, s, o->e);
}

static bool described(const struct opening *o)
{
	return o->g.is_split || o->g.sparse;
}

/* --- files --- */

static int open_flags(const struct opening *o)
{
	return (o->s->ro ? O_RDONLY : O_RDWR) | (o->s->nocache ? O_DIRECT : 0);
}

static bool reads_only(const struct opening *o)
{
	return o->s->ro || o->flags & IMAGE_LOOK;
}

static int open_failed(struct opening *o, const char *name, int r)
{
	if (r == -EINVAL && o->s->nocache)
		return err_set(o->e, r, "%s: its file system has no direct I/O (option nocache)", name);
	if ((r == -EACCES || r == -EROFS || r == -EPERM) && !o->s->ro)
		return err_errno(o->e, r, "%s: cannot be opened for writing (option ro only reads)", name);
	return err_errno(o->e, r, "%s", name);
}

static int lock_file(struct opening *o, int fd, const char *name)
{
	int r = o->io->ops->lock(o->io, fd, !o->s->ro);
	if (r == -EAGAIN)
		return err_set(o->e, -EBUSY, "%s is in use by another process", name);
	if (r < 0 && !(o->flags & IMAGE_QUIET))
		log_warn("%s: cannot be locked: %s", name, strerror(-r));
	return 0;
}

/* 0, also when it is not there (fd -1). */
static int open_segment(struct opening *o, u32 i)
{
	char name[IMAGE_NAME_MAX];
	image_segment_name(name, sizeof(name), o->s->path, o->g.is_split, i);
	int fd = o->io->ops->open(o->io, name, open_flags(o), 0);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return open_failed(o, name, fd);
	o->fd[i] = fd;
	return i == 0 ? lock_file(o, fd, name) : 0;
}

static int open_table(struct opening *o)
{
	char name[IMAGE_NAME_MAX];
	image_lut_name(name, sizeof(name), o->s->path);
	int fd = o->io->ops->open(o->io, name, o->s->ro ? O_RDONLY : O_RDWR, 0);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return open_failed(o, name, fd);
	o->lut_fd = fd;
	return lock_file(o, fd, name);
}

int image_need_descriptors(const char *path, u32 n, const struct host_io *io, struct err *e)
{
	struct rlimit l;
	if (io != &host_io || getrlimit(RLIMIT_NOFILE, &l) < 0)
		return 0;
	rlim_t need = (rlim_t)n + SPARE_DESCRIPTORS;
	if (l.rlim_cur >= need)
		return 0;
	if (l.rlim_max < need)
		return err_set(e, -EMFILE,
		        "%s: %u segments need as many file descriptors, but the limit is %llu (ulimit -Hn)",
		        path, n, (unsigned long long)l.rlim_max);
	l.rlim_cur = MIN(l.rlim_max, need * 2);
	setrlimit(RLIMIT_NOFILE, &l);
	return 0;
}

static void close_files(struct opening *o)
{
	for (u32 i = 0; o->fd && i < o->g.nseg; i++) {
		if (o->fd[i] >= 0)
			o->io->ops->close(o->io, o->fd[i]);
		o->fd[i] = -1;
	}
	if (o->lut_fd >= 0)
		o->io->ops->close(o->io, o->lut_fd);
	o->lut_fd = -1;
}

static int open_files(struct opening *o)
{
	int r = image_need_descriptors(o->s->path, o->g.nseg, o->io, o->e);
	for (u32 i = 0; i < o->g.nseg && r == 0; i++)
		r = open_segment(o, i);
	if (r == 0 && o->g.sparse)
		r = open_table(o);
	return r;
}

/* --- what is there --- */

struct census {
	u32 present; /* segments */
	u32 leading; /* those before the first that is missing */
	bool data;   /* one of them is not empty */
};

static int take_census(struct opening *o, struct census *c)
{
	*c = (struct census){0};
	for (u32 i = 0; i < o->g.nseg; i++) {
		struct host_stat st;
		if (o->fd[i] < 0)
			continue;
		int r = o->io->ops->stat(o->io, o->fd[i], &st);
		if (r < 0)
			return err_errno(o->e, r, "%s", o->s->path);
		if (!st.regular && (described(o) || !st.device))
			return err_set(o->e, -EINVAL, "%s: neither a file nor a block device", o->s->path);
		c->data |= st.size > 0;
		c->present++;
		c->leading += c->leading == i;
	}
	return 0;
}

static int missing_segment(struct opening *o, u32 i)
{
	char name[IMAGE_NAME_MAX];
	image_segment_name(name, sizeof(name), o->s->path, o->g.is_split, i);
	return err_set(o->e, -ENOENT, "%s is missing, other parts of the image are there", name);
}

/* The original's default of 512 bytes makes tables that nobody expects. */
static void hint_table(const struct opening *o)
{
	u64 table = o->g.entries * sizeof(u32);
	if (table > LARGE_TABLE && o->g.sector < 4096 && !(o->flags & IMAGE_QUIET))
		log_warn("%s.lut takes %llu MiB; sectorsize=4096 would make it %llu MiB", o->s->path,
		        (unsigned long long)(table / MiB),
		        (unsigned long long)(table / (4096 / o->g.sector) / MiB));
}

/* Nothing usable is there: creates the image if that was asked for, and opens it. */
static int create_now(struct opening *o)
{
	const struct image_spec *s = o->s;
	if (o->has_meta)
		return err_set(o->e, -ENOENT, "%s: %s.meta describes an image, but its files are missing",
		        s->path, s->path);
	if (s->ro || !(o->flags & IMAGE_CREATE) || s->size == 0)
		return err_set(o->e, -ENOENT, "%s: no such image%s", s->path,
		        s->ro || s->size ? "" : " (with size= it is created)");
	int r = image_geometry_make(&o->g, s, o->e);
	if (r == 0 && o->flags & IMAGE_LOOK)
		return err_set(o->e, -ENODATA, "%s would be created", s->path);
	close_files(o);
	if (r == 0)
		hint_table(o);
	if (r == 0)
		r = image_make(&o->g, s->path, o->io, o->e);
	return r < 0 ? r : open_files(o);
}

/* Segments and tables for what is described but not yet there, as after size= of a split disk was raised. */
static int grow_now(struct opening *o, u32 have)
{
	if (o->s->ro || o->has_meta)
		return missing_segment(o, have);
	if (o->flags & IMAGE_LOOK)
		return err_set(o->e, -ENODATA, "%s would grow", o->s->path);
	int r = image_add_segments(&o->g, o->s->path, have, o->io, o->e);
	for (u32 i = have; i < o->g.nseg && r == 0; i++)
		r = open_segment(o, i);
	return r;
}

static int check_table(struct opening *o, u32 present)
{
	struct host_stat st;
	u64 need = o->g.entries * sizeof(u32), part = o->g.per_segment * sizeof(u32);
	int r = o->io->ops->stat(o->io, o->lut_fd, &st);
	if (r < 0)
		return err_errno(o->e, r, "%s.lut", o->s->path);
	bool grown = !o->has_meta && st.size < need && st.size % part == 0 && st.size / part >= 1;
	if (present < o->g.nseg && !(grown && st.size / part <= present))
		return missing_segment(o, present);
	/* longer: what follows is of a resize that was cut off (all absent), or of a size that was rounded
	 * down */
	if (st.size >= need)
		return 0;
	if (!grown || o->s->ro)
		return err_set(o->e, -EINVAL,
		        "%s.lut has %llu bytes, but size=%llu,sectorsize=%u needs %llu: other values were "
		        "used, or "
		        "it was cut off",
		        o->s->path, (unsigned long long)st.size, (unsigned long long)o->g.size, o->g.sector,
		        (unsigned long long)need);
	if (o->flags & IMAGE_LOOK)
		return err_set(o->e, -ENODATA, "%s would grow", o->s->path);
	return image_extend_table(&o->g, o->s->path, o->lut_fd, st.size, o->io, o->e);
}

static int complete_sparse(struct opening *o, const struct census *c)
{
	if (o->lut_fd < 0) {
		if (c->data)
			return err_set(
			        o->e, -ENOENT, "%s.lut is missing, segments with data are there", o->s->path);
		o->has_meta = o->has_meta && o->s->size == 0; /* left by a creation that was cut off */
		return create_now(o);
	}
	if (c->leading != c->present)
		return missing_segment(o, c->leading);
	int r = check_table(o, c->present);
	return r == 0 && c->present < o->g.nseg ? grow_now(o, c->present) : r;
}

static int complete_split(struct opening *o, const struct census *c)
{
	if (c->present == 0)
		return create_now(o);
	if (c->leading != c->present)
		return missing_segment(o, c->leading);
	return c->present < o->g.nseg ? grow_now(o, c->present) : 0;
}

/* Both PATH and a split image of that name: which one is meant? */
static int check_ambiguous(struct opening *o)
{
	if (!o->has_meta || !o->g.is_split || o->s->split || hostio_exists(o->io, o->s->path) <= 0)
		return 0;
	return err_usage(o->e, "%s: there is a file of this name and a split image; split= chooses the image",
	        o->s->path);
}

static int hint_split(struct opening *o)
{
	char name[IMAGE_NAME_MAX];
	image_segment_name(name, sizeof(name), o->s->path, true, 0);
	if (hostio_exists(o->io, name) > 0)
		return err_usage(o->e,
		        "%s is not there, but %s is: a split image without %s.meta needs size= and split=",
		        o->s->path, name, o->s->path);
	return 0;
}

static int complete(struct opening *o)
{
	struct census c;
	int r = take_census(o, &c);
	if (r < 0)
		return r;
	if (o->g.sparse)
		return complete_sparse(o, &c);
	if (o->g.is_split)
		return complete_split(o, &c);
	if (c.present)
		return 0;
	r = hint_split(o);
	return r < 0 ? r : create_now(o);
}

/* --- layers --- */

static int raw_size(struct opening *o, struct host_stat *st)
{
	const struct image_spec *s = o->s;
	char a[32], b[32];
	int r = o->io->ops->stat(o->io, o->fd[0], st);
	if (r < 0)
		return err_errno(o->e, r, "%s", s->path);
	if (!o->g.logical)
		o->g.logical = MAX(st->sector, 512u);
	o->g.physical = MAX(s->physical ? s->physical : st->physical, o->g.logical);
	if (st->sector > o->g.logical)
		return err_usage(o->e, "%s: sectorsize=%u is smaller than the device's %u", s->path,
		        o->g.logical, st->sector);
	if (s->size && s->size != st->size)
		return err_usage(o->e,
		        "%s: size=%s was given, but the %s has %s (xhyve-img resize changes it)", s->path,
		        format_size(s->size, a, sizeof(a)), st->device ? "device" : "file",
		        format_size(st->size, b, sizeof(b)));
	o->g.size = o->g.segment = ALIGN_DOWN(st->size, (u64)o->g.logical);
	if (o->g.size == 0)
		return err_set(o->e, -EINVAL, "%s is empty: not a disk (size= creates one where no file is)",
		        s->path);
	return 0;
}

static int build_raw(struct opening *o, struct block **out)
{
	struct host_stat st;
	int r = raw_size(o, &st);
	if (r < 0)
		return r;
	struct raw_config c = {.io = o->io,
	        .fd = o->fd[0],
	        .size = o->g.size,
	        .align = o->align,
	        .logical = o->g.logical,
	        .physical = o->g.physical,
	        .ro = reads_only(o),
	        .follow = true};
	r = raw_create(out, &c);
	if (r < 0)
		return err_errno(o->e, r, "%s", o->s->path);
	o->fd[0] = -1;
	return 0;
}

static int build_split(struct opening *o, struct block **out)
{
	struct block **child = calloc(o->g.nseg, sizeof(*child));
	struct raw_config c = {.io = o->io,
	        .size = o->g.segment,
	        .align = o->align,
	        .logical = o->g.logical,
	        .physical = o->g.physical,
	        .ro = reads_only(o)};
	int r = child ? 0 : -ENOMEM;
	u32 n = 0;
	for (; n < o->g.nseg && r == 0; n += r == 0) {
		c.fd = o->fd[n];
		r = raw_create(&child[n], &c);
		if (r == 0)
			o->fd[n] = -1;
	}
	if (r == 0)
		r = split_create(out, child, o->s->path, &o->g, &c);
	for (u32 i = 0; r < 0 && i < n; i++)
		block_close(child[i]);
	free(child);
	return r < 0 ? err_errno(o->e, r, "%s", o->s->path) : 0;
}

static int build_sparse(struct opening *o, struct block **out)
{
	struct sparse_config c = {.io = o->io,
	        .path = o->s->path,
	        .g = &o->g,
	        .fd = o->fd,
	        .lut_fd = o->lut_fd,
	        .align = o->align,
	        .ro = reads_only(o),
	        .eager = o->flags & IMAGE_EAGER};
	int r = sparse_create(out, &c, o->e);
	/* the layer's in any case */
	for (u32 i = 0; i < o->g.nseg; i++)
		o->fd[i] = -1;
	o->lut_fd = -1;
	return r;
}

/* Stable when an image that has an id moves; else a hash of the path. */
static void set_serial(struct opening *o, struct block *b)
{
	u64 h = 0xcbf29ce484222325ull;
	char *full = realpath(o->s->path, NULL);
	for (const char *p = full ? full : o->s->path; *p; p++)
		h = (h ^ (u8)*p) * 0x100000001b3ull;
	free(full);
	if (o->g.id)
		h = o->g.id;
	if (o->s->serial[0])
		memcpy(b->serial, o->s->serial, sizeof(b->serial));
	else
		snprintf(b->serial, sizeof(b->serial), "XHYVE-%014llx",
		        (unsigned long long)(h & (BIT64(56) - 1)));
}

static int build(struct opening *o, struct block **out)
{
	struct host_stat st;
	if (o->s->nocache) {
		int r = o->io->ops->stat(o->io, o->fd[0], &st);
		if (r < 0)
			return err_errno(o->e, r, "%s", o->s->path);
		o->align = st.align;
	}
	int r = o->g.sparse ? build_sparse(o, out) : o->g.is_split ? build_split(o, out) : build_raw(o, out);
	if (r < 0)
		return r;
	(*out)->through = o->s->sync;
	set_serial(o, *out);
	return 0;
}

static int note_geometry(struct opening *o)
{
	if (o->has_meta || reads_only(o) || !described(o) || o->g.id)
		return 0;
	/* an image of the original program: next time the options need not be repeated */
	struct err ignored;
	if (meta_store(&o->g, o->s->path, o->io, &ignored) < 0 && !(o->flags & IMAGE_QUIET))
		log_warn("%s", ignored.text);
	return 0;
}

static int open_image(struct opening *o, struct block **out)
{
	int r = find_geometry(o);
	if (r == 0)
		r = check_ambiguous(o);
	if (r < 0)
		return r;
	o->fd = malloc(o->g.nseg * sizeof(int));
	if (!o->fd)
		return err_set(o->e, -ENOMEM, "out of memory");
	memset(o->fd, 0xff, o->g.nseg * sizeof(int));
	r = open_files(o);
	if (r == 0)
		r = complete(o);
	if (r == 0)
		r = build(o, out);
	if (r == 0)
		r = note_geometry(o);
	close_files(o);
	free(o->fd);
	return r;
}

int image_open(struct block **out, const struct image_spec *s, unsigned flags, const struct host_io *io,
        struct err *e)
{
	struct opening o = {.s = s, .io = io, .flags = flags, .e = e, .lut_fd = -1};
	return open_image(&o, out);
}

int image_probe(struct image_geometry *g, const struct image_spec *s, const struct host_io *io, struct err *e)
{
	struct opening o = {.s = s, .io = io, .e = e, .lut_fd = -1};
	int r = find_geometry(&o);
	if (r == 0)
		r = check_ambiguous(&o);
	if (r == 0 && !described(&o)) {
		struct host_stat st;
		int fd = io->ops->open(io, s->path, O_RDONLY | O_NONBLOCK, 0);
		o.fd = &fd;
		if (fd == -ENOENT && (r = hint_split(&o)) == 0)
			r = err_set(e, -ENOENT, "%s: no such image", s->path);
		else if (fd < 0 && r == 0)
			r = err_errno(e, fd, "%s", s->path);
		if (fd >= 0) {
			r = raw_size(&o, &st);
			io->ops->close(io, fd);
		}
	}
	*g = o.g;
	return r;
}
