/*
 * Sparse layer: commits. One takes a generation of changes to the table's file in strict order: the
 * data of every segment written so far is synced, then the entries are written, then the table is
 * synced. Flushes that arrive while a commit runs share the next one.
 *
 * The layer never tries again after a failed sync: the host may have dropped what it could not
 * write, and a second sync would say that all is well.
 */
#include "block/sparse_int.h"

#include "base/log.h"
#include <errno.h>
#include <stdlib.h>

static int sync_segments(struct sparse *s)
{
	for (u32 i = 0; i < s->g.nseg; i++) {
		struct segment *seg = &s->seg[i];
		if (!__atomic_load_n(&seg->dirty, __ATOMIC_RELAXED) ||
		        !__atomic_exchange_n(&seg->dirty, false, __ATOMIC_ACQ_REL))
			continue;
		int r = s->io->ops->datasync(s->io, seg->file.fd);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_table(struct sparse *s, struct lut_change *c, u32 n)
{
	int r = lut_write(&s->lut, c, n);
	return r < 0 ? r : s->io->ops->datasync(s->io, s->lut.fd);
}

static void note_committed(struct sparse *s, u64 gen)
{
	if (s->journal_open && journal_committed(&s->journal, gen) < 0)
		__atomic_store_n(&s->journaled, false, __ATOMIC_RELAXED);
}

/* The slots that a generation cleared have left the table's file. */
static void quarantine(struct sparse *s, const struct slot_list *freed)
{
	if (freed->n == 0 || slot_list_room(&s->wait, freed->n) < 0)
		return; /* without room they stay taken: a leak until the next start */
	memcpy(s->wait.ref + s->wait.n, freed->ref, freed->n * sizeof(*freed->ref));
	s->wait.n += freed->n;
}

/* Under lock, with no commit running: runs one for the collecting generation. */
static void run_commit(struct sparse *s)
{
	u64 gen = s->collecting;
	struct generation *g = &s->gen[gen & 1], *next = &s->gen[(gen + 1) & 1];
	s->committing = true;
	/* the generation before the last one may still be writing to the area that becomes next's */
	while (next->appending)
		pthread_cond_wait(&s->changed, &s->lock);
	next->count = 0;
	s->collecting = gen + 1;
	struct slot_list freed = g->freed;
	g->freed = (struct slot_list){0};
	pthread_mutex_unlock(&s->lock);
	int r = sync_segments(s);
	if (r == 0 && g->count)
		r = write_table(s, g->change, g->count);
	if (r == 0)
		note_committed(s, gen);
	pthread_mutex_lock(&s->lock);
	s->committing = false;
	if (r < 0) { /* the freed slots stay taken */
		s->failed = r;
		log_error("%s: cannot make data durable: %s; the disk takes no more flushes", s->path,
		        strerror(-r));
	} else {
		s->done = gen;
		quarantine(s, &freed);
	}
	free(freed.ref);
	pthread_cond_broadcast(&s->changed);
}

int sparse_commit_locked(struct sparse *s)
{
	u64 target = s->collecting;
	while (!s->failed && s->done < target) {
		if (s->committing)
			pthread_cond_wait(&s->changed, &s->lock);
		else
			run_commit(s);
	}
	return s->failed;
}

int sparse_commit(struct sparse *s)
{
	pthread_mutex_lock(&s->lock);
	int r = sparse_commit_locked(s);
	sparse_reap(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* --- a dead process's journal --- */

struct replay {
	struct sparse *s;
	u64 *page;     /* one bit each: the live view has changes */
	bool *touched; /* segments */
	bool any;
};

/* The live entry takes over what a change made of it, if it is what the change found. */
static int replay_entry(struct replay *p, u64 index, u32 before, u32 after)
{
	struct lut *l = &p->s->lut;
	int r = lut_load(l, index, 1);
	if (r < 0 || lut_get(l, index) != before)
		return r;
	lut_set(l, index, after);
	p->page[index / LUT_PAGE / 64] |= BIT64(index / LUT_PAGE % 64);
	p->touched[index / p->s->g.per_segment] = true;
	p->any = true;
	return 0;
}

/*
 * Applies where the table has what the change found: it skips what the file has already, and what
 * somebody else has changed since.
 */
static int replay_change(void *opaque, const struct journal_change *c)
{
	struct replay *p = opaque;
	int r = 0;
	for (u32 i = 0; i < c->n && c->index + i < p->s->lut.entries && r == 0; i++)
		r = replay_entry(p, c->index + i, lut_run(c->before, i), lut_run(c->after, i));
	return r;
}

/* Writes the pages that have changes: beside these they hold what the file holds. */
static int store_replay(struct replay *p)
{
	struct sparse *s = p->s;
	u64 pages = lut_pages(&s->lut);
	int r = 0;
	for (u64 i = 0, k; i < pages && r == 0; i = k + 1) {
		for (k = i; k < pages && p->page[k / 64] >> (k % 64) & 1; k++)
			;
		if (k > i)
			r = lut_store(&s->lut, i, k - i);
	}
	return r < 0 ? r : s->io->ops->datasync(s->io, s->lut.fd);
}

/* The segments with changes are whole: no slot is named twice. Their data is synced if the table will be. */
static int check_replay(struct replay *p)
{
	struct sparse *s = p->s;
	int r = 0;
	for (u32 i = 0; i < s->g.nseg && r == 0; i++) {
		if (!p->touched[i])
			continue;
		struct slots slots;
		u64 largest, sector;
		slots_init(&slots, 0);
		r = sparse_scan(s, i, &slots, &largest, &sector);
		slots_fini(&slots);
		if (r == 0 && !s->b.ro)
			r = sparse_cover(s, i, largest);
		if (r == 0 && !s->b.ro)
			r = s->io->ops->datasync(s->io, s->seg[i].file.fd);
	}
	return r;
}

/*
 * The process may have died after it wrote the table and before it synced it. What the table no longer
 * names is free from now on, so the table must be durable first.
 */
static int sync_leftover_table(struct sparse *s, struct err *e)
{
	if (!s->unclean || s->b.ro)
		return 0;
	int r = s->io->ops->datasync(s->io, s->lut.fd);
	return r < 0 ? err_errno(e, r, "%s.lut", s->path) : 0;
}

static int finish_replay(struct replay *p, struct err *e)
{
	struct sparse *s = p->s;
	int r = check_replay(p);
	if (r == -EUCLEAN) {
		log_warn("%s: the journal does not fit the table and is not used", s->path);
		lut_forget(&s->lut);
		return sync_leftover_table(s, e);
	}
	if (r == 0 && !s->b.ro)
		r = store_replay(p);
	return r < 0 ? err_errno(e, r, "%s: cannot take over the journal", s->path) : 0;
}

int sparse_recover(struct sparse *s, struct err *e)
{
	char name[sizeof(s->journal.path)];
	struct replay p = {.s = s};
	image_journal_name(name, sizeof(name), s->path);
	p.touched = calloc(s->g.nseg, sizeof(bool));
	p.page = calloc((lut_pages(&s->lut) + 63) / 64, sizeof(u64));
	int r = p.touched && p.page ? journal_replay(s->io, name, replay_change, &p) : -ENOMEM;
	s->unclean = r > 0;
	if (r < 0)
		err_errno(e, r, "%s", name);
	else
		r = p.any ? finish_replay(&p, e) : sync_leftover_table(s, e);
	free(p.page);
	free(p.touched);
	return r;
}
