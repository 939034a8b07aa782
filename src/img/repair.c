/*
 * repair: makes a damaged sparse image one that can be used.
 *
 * The order is always data, sync, table, sync, and only then are places freed that nobody names any
 * more; so an interruption leaves damage that was there before, and nothing else.
 */
#include "img/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct repair {
	struct img_ctx *c;
	struct spimage *img;
	u8 *sector;
	u64 cleared, parted, freed;
};

static int write_one(struct repair *rp, u64 index, u32 slot, struct err *e)
{
	return spimage_write(rp->img, index, 1, &slot, e);
}

/* An entry that names nothing reads as zeros, and so does an absent one. */
static int clear_one(struct walk *w, struct sp_segment *seg, u64 sector, u32 slot, struct err *e)
{
	struct repair *rp = w->opaque;

	fprintf(rp->c->out,
	        "sector %" PRIu64 ": had slot %u behind the end of segment %u, now reads as zeros\n", sector,
	        slot, seg->index);
	rp->cleared++;
	return write_one(rp, sector, SP_ABSENT, e);
}

static int copy_slot(struct repair *rp, struct sp_segment *seg, u64 from, u64 to, struct err *e)
{
	u32 size = rp->img->g.sector;
	int r = hostio_read(rp->img->io, seg->fd, rp->sector, size, from * size);

	if (!r)
		r = hostio_write(rp->img->io, seg->fd, rp->sector, size, to * size);
	return r ? err_errno(e, r, "segment %u of %s", seg->index, rp->img->path) : 0;
}

/* Each of the group gets a slot of its own, behind all that are there. */
static int part(struct walk *w, struct sp_segment *seg, const struct sp_shared *s, size_t n, struct err *e)
{
	struct repair *rp = w->opaque;
	u64 next = spimage_slots(rp->img, seg);
	int r = 0;

	if (next + n >= SP_ABSENT)
		return err_set(e, -EFBIG, "segment %u of %s has no free slots", seg->index, rp->img->path);
	for (size_t i = 0; !r && i < n; i++) {
		r = img_stopped(rp->c, e);
		if (!r)
			r = copy_slot(rp, seg, s[i].slot, next + i, e);
	}
	if (!r)
		r = spimage_sync_segment(rp->img, seg, e);
	if (r)
		return r;
	seg->size = (next + n) * rp->img->g.sector;
	for (size_t i = 0; !r && i < n; i++) {
		r = write_one(rp, s[i].sector, (u32)(next + i), e);
		fprintf(rp->c->out,
		        "sectors %" PRIu64 " and %" PRIu64
		        " shared slot %u of segment %u, now each has its own: "
		        "check what they hold\n",
		        s[i].first, s[i].sector, s[i].slot, seg->index);
		rp->parted++;
	}
	return r ? r : spimage_sync(rp->img, e);
}

static int free_leak(struct walk *w, struct sp_segment *seg, u64 off, u64 len, struct err *e)
{
	struct repair *rp = w->opaque;
	int r = rp->img->io->ops->punch(rp->img->io, seg->fd, off, len);

	if (r == -EOPNOTSUPP)
		return 0; /* stays lost; shrink gets it back */
	if (r < 0)
		return err_errno(e, r, "segment %u of %s", seg->index, rp->img->path);
	rp->freed += len;
	return 0;
}

/* A segment that ends within a slot: the rest of the slot reads as zeros already. */
static int complete_slot(struct repair *rp, struct sp_segment *seg, struct err *e)
{
	u64 size = ALIGN_UP(seg->size, (u64)rp->img->g.sector);
	int r;

	if (size == seg->size)
		return 0;
	r = rp->img->io->ops->truncate(rp->img->io, seg->fd, size);
	if (r < 0)
		return err_errno(e, r, "segment %u of %s", seg->index, rp->img->path);
	seg->size = size;
	return 0;
}

static int repair_segment(struct repair *rp, u32 i, bool force, struct err *e)
{
	struct walk w = {.img = rp->img, .ctx = rp->c, .opaque = rp};
	struct sp_segment *seg;
	u64 before = rp->cleared;
	int r = spimage_segment(rp->img, i, &seg, e);

	if (!r && seg->fd < 0) {
		if (!force)
			return err_set(e, -ENOENT,
			        "segment %u of %s is missing: bring it back, or let --force make it empty", i,
			        rp->img->path);
		r = spimage_create_segment(rp->img, i, e);
		fprintf(rp->c->out, "segment %u was missing, now it is empty\n", i);
	}
	if (!r)
		r = complete_slot(rp, seg, e);
	w.past_end = clear_one;
	if (!r)
		r = walk_count(&w, seg, e);
	if (!r && rp->cleared != before)
		r = spimage_sync(rp->img, e);
	w.past_end = NULL;
	w.shared = part;
	w.leak = free_leak;
	return r ? r : walk_segment(&w, seg, e);
}

/* Only what says nothing may be cut off: else the geometry that was given is wrong, and not the table. */
static int cut_table(struct repair *rp, u64 need, struct err *e)
{
	bool absent;
	int r = spimage_tail_absent(rp->img, need, &absent, e);

	if (r)
		return r;
	if (!absent)
		return err_set(e, -EINVAL,
		        "%s.lut is too long, and what is too much has data: size=, split= or "
		        "sectorsize= is not what the image was made with",
		        rp->img->path);
	r = rp->img->io->ops->truncate(rp->img->io, rp->img->table, need);
	if (r < 0)
		return err_errno(e, r, "%s.lut", rp->img->path);
	rp->img->table_bytes = need;
	return spimage_sync(rp->img, e);
}

static int repair_table(struct repair *rp, struct err *e)
{
	u64 need = 4 * rp->img->g.entries, have = rp->img->table_bytes;
	int r;

	if (have == need)
		return 0;
	/* what is left of an entry that was cut through means nothing: it becomes absent, too */
	r = have < need ? spimage_blank(rp->img, have / 4, need / 4, e) : cut_table(rp, need, e);
	if (!r)
		fprintf(rp->c->out, "the table had %" PRIu64 " bytes, now it has %" PRIu64 "\n", have, need);
	return r;
}

static int repair_image(struct repair *rp, bool force, struct err *e)
{
	int r = repair_table(rp, e);

	for (u32 i = 0; !r && i < rp->img->g.nseg; i++) {
		r = img_stopped(rp->c, e);
		if (!r)
			r = repair_segment(rp, i, force, e);
	}
	return r;
}

int img_repair(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct image_spec s;
	struct image_geometry g;
	struct repair rp = {.c = c};
	struct err own = {0};
	bool replayed;
	int r = img_target(c, o->arg[0], &s, &g, e);

	if (r)
		return r;
	if (!g.sparse) {
		fprintf(c->out, "%s: not sparse, there is no table to repair\n", s.path);
		return IMG_OK;
	}
	/* A damaged image may not open; then the damage goes first, and the journal with the next start. */
	r = img_replay(c, &s, &replayed, &own);
	if (r == -EBUSY) {
		*e = own;
		return r;
	}
	if (r < 0)
		img_note(c, "the journal was not replayed: %s", own.text);
	r = spimage_open(&rp.img, s.path, &g, true, c->io, e);
	if (!r && !(rp.sector = malloc(g.sector)))
		r = err_errno(e, -ENOMEM, "%s", s.path);
	if (!r)
		r = repair_image(&rp, o->force, e);
	if (!r)
		fprintf(c->out,
		        "%s: %" PRIu64 " entries cleared, %" PRIu64 " sectors parted, %" PRIu64
		        " bytes freed\n",
		        s.path, rp.cleared, rp.parted, rp.freed);
	free(rp.sector);
	spimage_close(rp.img);
	return r;
}
