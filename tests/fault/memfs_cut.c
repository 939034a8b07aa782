/*
 * What a power cut leaves: the durable state, and of everything that changed since any part. Each
 * piece may have any of the versions that were in the page cache, each file any size that it had, or
 * one between; changes of the directory are there or not one by one. Where all combinations are too
 * many, the telling ones are made (all, none, each alone, each missing, only the table's, only the
 * others') and then random ones.
 */
#include "memfs.h"
#include "memfs_int.h"

#include <stdlib.h>
#include <string.h>

/* A journal is never synced: its changes do not count as a reason for more states, they vary at random. */
static bool node_named(const struct memfs *fs, u32 node, const char *suffix)
{
	const struct mf_dir *dirs[2] = {&fs->now, &fs->durable};
	size_t len = strlen(suffix);
	for (u32 d = 0; d < 2; d++) {
		for (u32 i = 0; i < dirs[d]->n; i++) {
			const struct mf_entry *e = &dirs[d]->v[i];
			size_t n = strlen(e->name);
			if (e->node == node && n >= len && strcmp(e->name + n - len, suffix) == 0)
				return true;
		}
	}
	return false;
}

static struct mf_choice *add_choice(struct memfs_cut *c, u32 node, int what, u64 idx)
{
	c->c = realloc(c->c, (c->n + 1) * sizeof(*c->c));
	struct mf_choice *x = &c->c[c->n++];
	*x = (struct mf_choice){.node = node, .what = what, .idx = idx, .n = 1};
	return x;
}

static void add_page(struct mf_choice *x, struct mf_page *page)
{
	if (x->n >= x->cap) {
		x->cap = x->cap ? x->cap * 2 : 4;
		x->page = realloc(x->page, x->cap * sizeof(*x->page));
	}
	x->page[x->n++] = page;
}

static struct mf_choice *piece_choice(struct memfs_cut *c, u32 first, u32 node, u64 idx)
{
	for (u32 i = first; i < c->n; i++) {
		if (c->c[i].what == CHOOSE_PIECE && c->c[i].idx == idx)
			return &c->c[i];
	}
	struct mf_choice *x = add_choice(c, node, CHOOSE_PIECE, idx);
	x->n = 0;
	add_page(x, mf_content_get(&c->fs->node[node].durable, idx));
	return x;
}

static void choose_size(struct memfs_cut *c, u32 node)
{
	const struct mf_node *n = &c->fs->node[node];
	u64 lo = n->durable.size, hi = lo, last = lo;
	for (u32 i = 0; i < n->nhist; i++) {
		if (!n->hist[i].is_size)
			continue;
		last = n->hist[i].idx;
		lo = MIN(lo, last);
		hi = MAX(hi, last);
	}
	if (lo == hi)
		return;
	struct mf_choice *x = add_choice(c, node, CHOOSE_SIZE, 0);
	x->size[0] = n->durable.size;
	x->size[1] = last;
	x->n = 2;
	if (hi <= n->durable.size)
		return; /* cutting off is one step, growing many */
	lo = n->durable.size;
	x->size[2] = lo + rng_next(c->rng) % (hi - lo + 1);
	if (rng_below(c->rng, 2))
		x->size[2] = MAX(lo, ALIGN_DOWN(x->size[2], (u64)MF_PIECE));
	x->n = 3;
}

/* No reason for more states. */
static void choose_ahead(struct memfs_cut *c, u32 node)
{
	const struct mf_node *n = &c->fs->node[node];
	for (u32 i = n->nhist; i-- > 0;) {
		if (!n->hist[i].is_ahead)
			continue;
		struct mf_choice *x = add_choice(c, node, CHOOSE_AHEAD, 0);
		x->size[0] = n->durable.ahead;
		x->size[1] = n->hist[i].idx;
		x->n = 2;
		return;
	}
}

static void choose_in_node(struct memfs_cut *c, u32 node)
{
	const struct mf_node *n = &c->fs->node[node];
	u32 first = c->n;
	for (u32 i = 0; i < n->nhist; i++) {
		if (!n->hist[i].is_size && !n->hist[i].is_ahead)
			add_page(piece_choice(c, first, node, n->hist[i].idx), n->hist[i].page);
	}
	choose_size(c, node);
	choose_ahead(c, node);
	bool table = node_named(c->fs, node, ".lut"), weak = node_named(c->fs, node, ".journal");
	for (u32 i = first; i < c->n; i++) {
		c->c[i].table = table;
		c->c[i].weak = weak || c->c[i].what == CHOOSE_AHEAD;
	}
}

void memfs_cut_begin(struct memfs_cut *c, const struct memfs *fs, u64 limit, u64 randoms, u64 *rng)
{
	*c = (struct memfs_cut){.fs = fs, .rng = rng, .randoms = randoms, .product = 1};
	for (u32 i = 0; i < fs->nnode; i++)
		choose_in_node(c, i);
	for (u32 i = 0; i < fs->ndir_hist; i++) {
		struct mf_choice *x = add_choice(c, 0, CHOOSE_DIR, i);
		x->n = 2;
		x->weak =
		        strstr(fs->dir_hist[i].bind, ".journal") || strstr(fs->dir_hist[i].drop, ".journal");
	}
	for (u32 i = 0; i < c->n && c->product; i++) {
		if (!c->c[i].weak)
			c->product *= c->c[i].n;
		if (c->product > limit)
			c->product = 0;
	}
	c->steps = c->product ? c->product : 4 + 2ull * c->n + randoms;
}

void memfs_cut_end(struct memfs_cut *c)
{
	for (u32 i = 0; i < c->n; i++)
		free(c->c[i].page);
	free(c->c);
}

static void set_digits(struct memfs_cut *c)
{
	u64 rest = c->step;
	u64 alone = c->step - 4, missing = alone - c->n;
	u32 weak = rng_below(c->rng, 3);
	for (u32 i = 0; i < c->n; i++) {
		struct mf_choice *x = &c->c[i];
		u32 last = x->what == CHOOSE_SIZE ? 1 : x->n - 1;
		if (x->weak) {
			x->digit = weak == 0 ? 0 : weak == 1 ? last : rng_below(c->rng, x->n);
		} else if (c->product) {
			x->digit = (u32)(rest % x->n);
			rest /= x->n;
		} else if (c->step < 2) {
			x->digit = c->step ? last : 0;
		} else if (c->step < 4) {
			x->digit = x->table == (c->step == 2) ? last : 0;
		} else if (alone < c->n) {
			x->digit = i == alone ? last : 0;
		} else if (missing < c->n) {
			x->digit = i == missing ? 0 : last;
		} else {
			x->digit = rng_below(c->rng, x->n);
		}
	}
}

/* After the size was chosen: nothing behind it, and in what has grown garbage where nothing was written. */
static void fit_to_size(struct mf_content *c, u64 old, bool garbage)
{
	while (c->n && c->v[c->n - 1].idx * MF_PIECE >= c->size)
		mf_content_set(c, c->v[c->n - 1].idx, NULL);
	for (u64 at = ALIGN_UP(old, (u64)MF_PIECE); garbage && at < c->size && at < old + 64 * MF_PIECE;
	        at += MF_PIECE) {
		if (mf_content_get(c, at / MF_PIECE))
			continue;
		struct mf_page *p = mf_page_new(0xa5);
		mf_content_set(c, at / MF_PIECE, p);
		p->ref--;
	}
	u64 tail = c->size % MF_PIECE;
	struct mf_page *p = tail ? mf_content_get(c, c->size / MF_PIECE) : NULL;
	if (!p)
		return;
	struct mf_page *cut = mf_page_new(0);
	memcpy(cut->data, p->data, tail);
	mf_content_set(c, c->size / MF_PIECE, cut);
	cut->ref--;
}

bool memfs_cut_next(struct memfs_cut *c, struct memfs *out, u8 boot)
{
	const struct memfs *fs = c->fs;
	if (c->step >= c->steps)
		return false;
	set_digits(c);
	c->step++;
	memfs_init(out, boot);
	mf_dir_copy(&out->now, &fs->durable);
	for (u32 i = 0; i < c->n; i++) {
		if (c->c[i].what != CHOOSE_DIR)
			continue;
		if (c->c[i].digit)
			mf_dir_apply(&out->now, &fs->dir_hist[c->c[i].idx]);
		else if (c->ordered)
			break;
	}
	if (fs->nnode)
		mf_node_at(out, fs->nnode - 1);
	for (u32 i = 0; i < out->now.n; i++) {
		u32 node = out->now.v[i].node;
		mf_content_copy(&out->node[node].now, &fs->node[node].durable);
	}
	for (u32 i = 0; i < c->n; i++) {
		const struct mf_choice *x = &c->c[i];
		if (x->what == CHOOSE_PIECE && x->digit)
			mf_content_set(&out->node[x->node].now, x->idx, x->page[x->digit]);
		else if (x->what == CHOOSE_SIZE)
			out->node[x->node].now.size = x->size[x->digit];
		else if (x->what == CHOOSE_AHEAD)
			out->node[x->node].now.ahead = x->size[x->digit];
	}
	for (u32 i = 0; i < out->now.n; i++) {
		u32 node = out->now.v[i].node;
		fit_to_size(&out->node[node].now, fs->node[node].durable.size, c->garbage);
	}
	return true;
}
