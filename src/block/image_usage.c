/*
 * What an image takes on the host: the storage of its files, and how much of its table is in use.
 */
#include "block/image_int.h"

#include "block/lut.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define CHUNK 16384u /* entries that are read at a time */

struct count {
	const struct image_spec *s;
	const struct image_geometry *g;
	const struct host_io *io;
	const volatile sig_atomic_t *stop;
	struct image_usage *u;
	struct err *e;
};

/* Size and storage of one file; 0, also when it is missing. */
static int add_file(struct count *c, const char *name, bool lock, struct host_stat *st, bool *there)
{
	int fd = c->io->ops->open(c->io, name, O_RDONLY | O_NONBLOCK, 0), r;

	*there = fd >= 0;
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_errno(c->e, fd, "%s", name);
	r = c->io->ops->stat(c->io, fd, st);
	if (r >= 0)
		c->u->stored += st->allocated;
	/* The lock is taken and dropped with the descriptor; one that writes has it exclusively. */
	if (lock && c->io->ops->lock(c->io, fd, false) == -EAGAIN)
		c->u->in_use = true;
	c->io->ops->close(c->io, fd);
	return r < 0 ? err_errno(c->e, r, "%s", name) : 0;
}

static int count_entries(struct count *c, const char *name, u64 bytes)
{
	u32 *chunk = malloc(CHUNK * sizeof(*chunk));
	int r = chunk ? 0 : -ENOMEM, fd = r ? r : c->io->ops->open(c->io, name, O_RDONLY, 0);

	if (!r && fd < 0)
		r = fd;
	for (u64 at = 0; !r && at < bytes / 4; at += CHUNK) {
		u64 n = MIN(bytes / 4 - at, CHUNK);

		r = hostio_read(c->io, fd, chunk, n * 4, at * 4);
		for (u64 i = 0; !r && i < n; i++)
			c->u->allocated += chunk[i] != LUT_ABSENT;
		if (!r && c->stop && *c->stop)
			r = err_set(c->e, -EINTR, "interrupted");
	}
	if (fd >= 0)
		c->io->ops->close(c->io, fd);
	free(chunk);
	return r && r != -EINTR ? err_errno(c->e, r, "%s", name) : r;
}

static int count_table(struct count *c)
{
	char name[IMAGE_NAME_MAX];
	struct host_stat st;
	bool there;
	int r;

	image_lut_name(name, sizeof(name), c->s->path);
	r = add_file(c, name, true, &st, &there);
	if (!r && there) {
		c->u->table_bytes = st.size;
		r = count_entries(c, name, MIN(st.size, 4 * c->g->entries));
	}
	image_journal_name(name, sizeof(name), c->s->path);
	c->u->journal = hostio_exists(c->io, name) > 0;
	return r;
}

int image_usage(struct image_usage *u, const struct image_spec *s, const struct image_geometry *g,
        const struct host_io *io, const volatile sig_atomic_t *stop, struct err *e)
{
	struct count c = {.s = s, .g = g, .io = io, .stop = stop, .u = u, .e = e};
	char name[IMAGE_NAME_MAX];
	struct host_stat st;
	bool there;
	int r = 0;

	*u = (struct image_usage){0};
	for (u32 k = 0; !r && k < g->nseg; k++) {
		image_segment_name(name, sizeof(name), s->path, g->is_split, k);
		r = add_file(&c, name, k == 0, &st, &there);
		u->missing += !r && !there;
	}
	return r || !g->sparse ? r : count_table(&c);
}
