/*
 * Split layer: children of equal size, one after the other. A request is cut at their borders; the
 * pieces are done in order, and the first failure ends it. The array of children has room for all that an
 * image can ever have, so that requests may use it while it grows.
 */
#include "block/layers.h"

#include "block/iov.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct split {
	struct block b;
	struct image_geometry g;
	struct raw_config config; /* of one more */
	char path[IMAGE_PATH_MAX];
	u64 segment;
	u32 n; /* atomic: grows */
	struct block *child[IMAGE_SEGMENTS_MAX];
};

static struct split *split_of(struct block *b)
{
	return container_of(b, struct split, b);
}

/* The child at off, where in it that is, and how much of len it holds. */
static struct block *child_at(struct split *s, u64 off, u64 *in, u64 *len)
{
	*in = off % s->segment;
	*len = MIN(*len, s->segment - *in);
	return s->child[off / s->segment];
}

typedef int (*vector_fn)(struct block *b, const struct iovec *iov, int n, u64 off);

static int each_piece(struct split *s, const struct iovec *iov, int n, u64 off, vector_fn fn)
{
	struct iovec part[IOV_PIECE];
	u64 total = iov_length(iov, n);
	if (off % s->segment + total <= s->segment)
		return fn(s->child[off / s->segment], iov, n, off % s->segment);
	int r = 0;
	for (u64 pos = 0; pos < total && r == 0;) {
		u64 in, len = total - pos;
		struct block *c = child_at(s, off + pos, &in, &len);
		int k = iov_slice(part, IOV_PIECE, iov, n, pos, &len);
		r = fn(c, part, k, in);
		pos += len;
	}
	return r;
}

static int split_preadv(struct block *b, const struct iovec *iov, int n, u64 off)
{
	return each_piece(split_of(b), iov, n, off, block_preadv);
}

static int split_pwritev(struct block *b, const struct iovec *iov, int n, u64 off)
{
	return each_piece(split_of(b), iov, n, off, block_pwritev);
}

/* Every child is flushed also after one failed; the first error is the result. */
static int split_flush(struct block *b)
{
	struct split *s = split_of(b);
	int first = 0;
	u32 n = __atomic_load_n(&s->n, __ATOMIC_ACQUIRE);
	for (u32 i = 0; i < n; i++) {
		int r = block_flush(s->child[i]);
		first = first ? first : r;
	}
	return first;
}

static int split_discard(struct block *b, u64 off, u64 len)
{
	struct split *s = split_of(b);
	int r = 0;
	for (u64 in, here; len && r == 0; off += here, len -= here) {
		here = len;
		struct block *c = child_at(s, off, &in, &here);
		r = block_discard(c, in, here);
	}
	return r;
}

static int split_write_zeroes(struct block *b, u64 off, u64 len, bool unmap)
{
	struct split *s = split_of(b);
	int r = 0;
	for (u64 in, here; len && r == 0; off += here, len -= here) {
		here = len;
		struct block *c = child_at(s, off, &in, &here);
		r = block_write_zeroes(c, in, here, unmap);
	}
	return r;
}

static int split_extent(struct block *b, u64 off, u64 *len, bool *data)
{
	u64 in;
	struct block *c = child_at(split_of(b), off, &in, len);
	return block_extent(c, in, len, data);
}

/* Children for the new files; they own the descriptors then. */
static int add_children(struct split *s, const struct image_geometry *to, int *fd)
{
	int r = 0;
	for (u32 i = s->n; i < to->nseg && r == 0; i++) {
		struct raw_config c = s->config;
		c.fd = fd[i - s->n];
		r = raw_create(&s->child[i], &c);
		if (r == 0)
			fd[i - s->n] = -1;
	}
	return r;
}

static void drop_children(struct split *s, const struct image_geometry *to, const int *fd)
{
	for (u32 i = s->n; i < to->nseg && fd[i - s->n] < 0; i++)
		block_close(s->child[i]);
}

/* Requests see the new children once they see the new size. */
static int split_grow(struct block *b, u64 size)
{
	struct split *s = split_of(b);
	struct image_geometry to;
	int *fd;
	int r = image_grow(&to, &s->g, size, s->path, s->config.io, s->config.align != 0, &fd);
	if (r < 0 || to.nseg == s->n)
		return r;
	r = add_children(s, &to, fd);
	if (r == 0)
		r = image_grown(&to, s->path, s->config.io);
	if (r < 0) {
		drop_children(s, &to, fd);
		image_not_grown(&to, &s->g, s->path, s->config.io, fd);
		return r;
	}
	free(fd);
	s->g = to;
	__atomic_store_n(&s->n, to.nseg, __ATOMIC_RELEASE);
	__atomic_store_n(&b->size, to.size, __ATOMIC_RELEASE);
	return 0;
}

static int split_close(struct block *b)
{
	struct split *s = split_of(b);
	int first = 0;
	for (u32 i = 0; i < s->n; i++) {
		int r = block_close(s->child[i]);
		first = first ? first : r;
	}
	free(s);
	return first;
}

static const struct block_ops split_ops = {
        .preadv = split_preadv,
        .pwritev = split_pwritev,
        .flush = split_flush,
        .discard = split_discard,
        .write_zeroes = split_write_zeroes,
        .extent = split_extent,
        .grow = split_grow,
        .close = split_close,
};

int split_create(struct block **out, struct block *const *child, const char *path,
        const struct image_geometry *g, const struct raw_config *c)
{
	struct split *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->g = *g;
	s->config = *c;
	snprintf(s->path, sizeof(s->path), "%s", path);
	s->segment = g->segment;
	s->n = g->nseg;
	memcpy(s->child, child, g->nseg * sizeof(struct block *));
	s->b = (struct block){.ops = &split_ops,
	        .size = g->size,
	        .logical = child[0]->logical,
	        .physical = child[0]->physical,
	        .grain = child[0]->grain,
	        .ro = child[0]->ro};
	*out = &s->b;
	return 0;
}
