/*
 * Images that are only looked at (see dry.h).
 */
#include "vm/dry.h"

#include <errno.h>
#include <stdlib.h>

struct stand_in {
	struct block b;
	enum dry_state state;
};

static int read_zeros(struct block *b, const struct iovec *iov, int n, u64 off)
{
	for (int i = 0; i < n; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return 0;
}

static int close_stand_in(struct block *b)
{
	free(container_of(b, struct stand_in, b));
	return 0;
}

static const struct block_ops stand_in_ops = {.preadv = read_zeros, .close = close_stand_in};

static int make_stand_in(
        struct block **out, const struct image_geometry *g, enum dry_state state, struct err *e)
{
	struct stand_in *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->b = (struct block){.ops = &stand_in_ops,
	        .size = g->size,
	        .logical = g->logical,
	        .physical = g->physical,
	        .ro = true};
	s->state = state;
	*out = &s->b;
	return 0;
}

int dry_image_open(struct block **out, const struct image_spec *spec, unsigned flags, struct err *e)
{
	enum dry_state state = DRY_NEW;
	struct image_geometry g;
	struct err none;
	int rc = image_open(out, spec, flags | IMAGE_LOOK | IMAGE_QUIET, &host_io, e);

	if (rc == -EBUSY)
		state = DRY_BUSY;
	else if (rc != -ENODATA)
		return rc;
	rc = image_probe(&g, spec, &host_io, state == DRY_BUSY ? e : &none);
	if (rc == -ENOENT)
		rc = image_geometry_make(&g, spec, e);
	return rc < 0 ? rc : make_stand_in(out, &g, state, e);
}

enum dry_state dry_image_state(const struct block *b)
{
	return b->ops == &stand_in_ops ? container_of(b, const struct stand_in, b)->state : DRY_THERE;
}
