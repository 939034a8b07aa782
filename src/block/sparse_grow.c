/*
 * Sparse layer: growing while it is in use. Files and the table's file are made longer beside running
 * requests, which know nothing of what is new; then no request begins until those that run have ended, and
 * the layer takes the new geometry. Commits may run all the time: they know the table's file only, and
 * segments by number.
 */
#include "block/sparse_int.h"

#include "base/log.h"
#include "block/image_int.h"
#include <errno.h>
#include <stdlib.h>

void sparse_add_segments(struct sparse *s, u32 first, u32 end, const int *fd)
{
	for (u32 i = first; i < end; i++) {
		rawfile_init(&s->seg[i].file, s->io, fd[i - first], s->align);
		s->seg[i].dirty = true; /* by a process that was killed before it could sync, perhaps */
	}
}

static void begin_growing(struct sparse *s)
{
	pthread_mutex_lock(&s->lock);
	s->growing = true;
	while (s->active[0] || s->active[1])
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void end_growing(struct sparse *s)
{
	pthread_mutex_lock(&s->lock);
	s->growing = false;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* No request is inside; a commit may be, and looks at all segments. */
static void take_geometry(struct sparse *s, const struct image_geometry *to, const int *fd)
{
	pthread_mutex_lock(&s->lock);
	while (s->committing)
		pthread_cond_wait(&s->changed, &s->lock);
	sparse_add_segments(s, s->g.nseg, to->nseg, fd);
	if (!to->is_split && s->seg[0].state == SEGMENT_READY)
		s->seg[0].slots.soft_end = to->per_segment;
	s->g.size = to->size;
	s->g.segment = to->segment;
	s->g.per_segment = to->per_segment;
	s->g.nseg = to->nseg;
	s->g.entries = to->entries;
	pthread_mutex_unlock(&s->lock);
	__atomic_store_n(&s->b.size, to->size, __ATOMIC_RELEASE);
}

static int extend_table(struct sparse *s, const struct image_geometry *to)
{
	struct err e = {0};
	int r = image_extend_table(to, s->path, s->lut.fd, s->g.entries * sizeof(u32), s->io, &e);
	if (r < 0)
		log_error("%s: cannot grow: %s", s->path, e.text);
	return r;
}

static int switch_over(struct sparse *s, const struct image_geometry *to, const int *fd)
{
	begin_growing(s);
	int r = lut_grow(&s->lut, to->entries);
	if (r == 0)
		r = image_grown(to, s->path, s->io);
	if (r == 0)
		take_geometry(s, to, fd);
	else
		s->lut.entries = s->g.entries;
	end_growing(s);
	return r;
}

int sparse_grow(struct block *b, u64 size)
{
	struct sparse *s = container_of(b, struct sparse, b);
	struct image_geometry to;
	int *fd;
	int r = image_grow(&to, &s->g, size, s->path, s->io, s->align != 0, &fd);
	if (r < 0 || to.entries == s->g.entries)
		return r;
	r = extend_table(s, &to);
	if (r == 0)
		r = switch_over(s, &to, fd);
	if (r < 0) {
		s->io->ops->truncate(s->io, s->lut.fd, s->g.entries * sizeof(u32));
		image_not_grown(&to, &s->g, s->path, s->io, fd);
	} else {
		free(fd);
	}
	return r;
}
