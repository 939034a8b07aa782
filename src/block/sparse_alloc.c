/*
 * Sparse layer: slots and the live table. See sparse_int.h for a slot's life.
 */
#include "block/sparse_int.h"

#include "base/log.h"
#include <errno.h>
#include <stdlib.h>

#define SCAN_ENTRIES 65536u

u32 sparse_begin(struct sparse *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->growing)
		pthread_cond_wait(&s->changed, &s->lock);
	u32 e = s->epoch;
	s->active[e]++;
	pthread_mutex_unlock(&s->lock);
	return e;
}

void sparse_end(struct sparse *s, u32 epoch)
{
	pthread_mutex_lock(&s->lock);
	if (--s->active[epoch] == 0)
		sparse_reap(s);
	if (s->growing)
		pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* --- quarantine --- */

int slot_list_room(struct slot_list *l, u32 n)
{
	if (l->cap - l->n >= n)
		return 0;
	u32 cap = MAX(l->n + n, l->cap * 2);
	struct slot_ref *p = realloc(l->ref, cap * sizeof(*p));
	if (!p)
		return -ENOMEM;
	l->ref = p;
	l->cap = cap;
	return 0;
}

static int compare_refs(const void *a, const void *b)
{
	const struct slot_ref *x = a, *y = b;
	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/* Frees the storage of neighbouring slots in one go. No lock: nobody else knows them. */
static void free_storage(struct sparse *s, struct slot_list *l)
{
	qsort(l->ref, l->n, sizeof(*l->ref), compare_refs);
	for (u32 i = 0, k; i < l->n; i = k) {
		struct slot_ref first = l->ref[i];
		for (k = i + 1; k < l->n; k++)
			if (l->ref[k].segment != first.segment || l->ref[k].slot != first.slot + (k - i))
				break;
		rawfile_free(&s->seg[first.segment].file, (u64)first.slot * s->g.sector,
		        (u64)(k - i) * s->g.sector);
	}
}

static void release_grace(struct sparse *s)
{
	struct slot_list l = s->grace;
	s->grace = (struct slot_list){0};
	pthread_mutex_unlock(&s->lock);
	free_storage(s, &l);
	pthread_mutex_lock(&s->lock);
	for (u32 i = 0; i < l.n; i++)
		slots_give(&s->seg[l.ref[i].segment].slots, l.ref[i].slot);
	free(l.ref);
}

/*
 * What is in grace was out of the table before the current epoch began: once no request of the
 * other epoch is left, nobody can reach it. A new epoch begins only when that is so.
 */
void sparse_reap(struct sparse *s)
{
	if (s->reaping)
		return;
	s->reaping = true;
	while (s->active[!s->epoch] == 0 && (s->grace.n || s->wait.n)) {
		if (s->grace.n) {
			release_grace(s);
			continue;
		}
		free(s->grace.ref);
		s->grace = s->wait;
		s->wait = (struct slot_list){0};
		s->epoch = !s->epoch;
	}
	s->reaping = false;
}

/* --- the scan of a segment's table --- */

struct scan {
	struct slots *slots;
	u64 limit; /* entries at or above point nowhere that a crash can explain */
	u64 largest;
};

/* 0, or -EUCLEAN / -ENOMEM at entry *at. */
static int scan_entries(struct scan *c, const u32 *entry, u64 n, u64 *at)
{
	for (u64 i = 0; i < n; i++) {
		if (entry[i] == LUT_ABSENT)
			continue;
		int r = entry[i] >= c->limit ? -EUCLEAN : slots_take(c->slots, entry[i]);
		if (r < 0) {
			*at = i;
			return r == -EEXIST ? -EUCLEAN : r;
		}
		c->largest = MAX(c->largest, (u64)entry[i] + 1);
	}
	return 0;
}

int sparse_scan(struct sparse *s, u32 segment, struct slots *slots, u64 *largest, u64 *sector)
{
	struct host_stat st;
	int r = s->io->ops->stat(s->io, s->seg[segment].file.fd, &st);
	u32 *buf = malloc(SCAN_ENTRIES * sizeof(u32));
	if (r == 0 && !buf)
		r = -ENOMEM;
	struct scan c = {.slots = slots};
	if (r == 0) {
		c.limit = MIN((st.size + s->g.sector - 1) / s->g.sector + s->g.per_segment, SLOTS_LIMIT);
		c.slots->end = (st.size + s->g.sector - 1) / s->g.sector;
	}
	u64 base = segment * s->g.per_segment;
	for (u64 i = 0, n, at = 0; i < s->g.per_segment && r == 0; i += n) {
		n = MIN(SCAN_ENTRIES, s->g.per_segment - i);
		r = lut_peek(&s->lut, base + i, n, buf);
		if (r == 0)
			r = scan_entries(&c, buf, n, &at);
		if (r == -EUCLEAN)
			*sector = base + i + at;
	}
	free(buf);
	*largest = c.largest;
	return r;
}

int sparse_cover(struct sparse *s, u32 segment, u64 largest)
{
	const struct segment *seg = &s->seg[segment];
	struct host_stat st;
	int r = s->io->ops->stat(s->io, seg->file.fd, &st);
	/* what the dead process had reserved is given back, too */
	if (r == 0 && (largest * s->g.sector > st.size || s->unclean))
		r = s->io->ops->truncate(s->io, seg->file.fd, MAX(largest * s->g.sector, st.size));
	return r;
}

/*
 * A process that died had slots in quarantine, or filled and not yet named: nobody needs what is in
 * them. The table on the host does not name them either, so their storage can go.
 */
static void free_leftovers(struct sparse *s, struct segment *seg, const struct slots *slots)
{
	u64 at = 0, n;
	for (; (n = slots_free_run(slots, &at)) != 0; at += n)
		rawfile_free(&seg->file, at * s->g.sector, n * s->g.sector);
}

static int prepare(struct sparse *s, u32 segment)
{
	struct segment *seg = &s->seg[segment];
	struct slots slots;
	u64 largest, sector = 0;
	slots_init(&slots, s->g.per_segment);
	int r = sparse_scan(s, segment, &slots, &largest, &sector);
	if (r == 0)
		r = sparse_cover(s, segment, largest);
	if (r < 0) {
		slots_fini(&slots);
		if (r == -EUCLEAN) {
			log_error("%s: sector %llu of the table is damaged, segment %u is read-only "
			          "(xhyve-img repair)",
			        s->path, (unsigned long long)sector, segment);
			__atomic_store_n(&seg->state, SEGMENT_BAD, __ATOMIC_RELEASE);
		}
		return r;
	}
	if (s->unclean)
		free_leftovers(s, seg, &slots);
	seg->slots = slots;
	__atomic_store_n(&seg->state, SEGMENT_READY, __ATOMIC_RELEASE);
	return 0;
}

int sparse_prepare(struct sparse *s, u32 segment)
{
	struct segment *seg = &s->seg[segment];
	u32 state = __atomic_load_n(&seg->state, __ATOMIC_ACQUIRE);
	if (likely(state == SEGMENT_READY))
		return 0;
	if (state == SEGMENT_BAD)
		return -EUCLEAN;
	pthread_mutex_lock(&s->prepare);
	state = __atomic_load_n(&seg->state, __ATOMIC_ACQUIRE);
	int r = state == SEGMENT_BAD ? -EUCLEAN : 0;
	if (state == SEGMENT_NEW)
		r = prepare(s, segment);
	pthread_mutex_unlock(&s->prepare);
	return r;
}

/* --- slots and entries --- */

int sparse_alloc(struct sparse *s, u32 segment, u32 want, u64 *slot, u32 *got, bool *due)
{
	struct segment *seg = &s->seg[segment];
	pthread_mutex_lock(&s->lock);
	while (seg->trimming)
		pthread_cond_wait(&s->changed, &s->lock);
	u64 end = seg->slots.end;
	int r = slots_alloc(&seg->slots, want, slot, got);
	if (r == 0)
		seg->filling++;
	seg->appended += (seg->slots.end - end) * s->g.sector;
	*due = sparse_ahead_due(s, seg);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Under lock: a write has filled its slots, or given up. */
static void end_filling(struct sparse *s, struct segment *seg)
{
	if (--seg->filling == 0 && seg->trimming)
		pthread_cond_broadcast(&s->changed);
}

static void give_run(struct sparse *s, u32 segment, u64 slot, u32 n)
{
	for (u32 i = 0; i < n; i++)
		slots_give(&s->seg[segment].slots, slot + i);
}

void sparse_unalloc(struct sparse *s, u32 segment, u64 slot, u32 n)
{
	pthread_mutex_lock(&s->lock);
	give_run(s, segment, slot, n);
	pthread_mutex_unlock(&s->lock);
}

void sparse_unalloc_all(struct sparse *s, u32 segment, u64 slot, u32 n)
{
	pthread_mutex_lock(&s->lock);
	give_run(s, segment, slot, n);
	end_filling(s, &s->seg[segment]);
	pthread_mutex_unlock(&s->lock);
}

/* Under lock: the collecting generation has room for n changes, or the layer has failed. */
static int make_room(struct sparse *s, u32 n)
{
	while (!s->failed && s->gen[s->collecting & 1].count + n > JOURNAL_RECORDS)
		sparse_commit_locked(s);
	return s->failed;
}

/* n entries, inside one page, change: they were what before begins and become what after begins. */
static void note_change(struct sparse *s, struct journal_change *c, u64 index, u32 before, u32 after, u32 n)
{
	struct generation *g = &s->gen[s->collecting & 1];
	*c = (struct journal_change){index, before, after, n};
	for (u32 i = 0; i < n; i++)
		lut_set(&s->lut, index + i, lut_run(after, i));
	g->change[g->count] = (struct lut_change){index, after, n, g->count};
	g->count++;
}

/* How many of n live entries from index on are the run that the first of them begins; inside one page. */
static u32 live_run(const struct sparse *s, u64 index, u32 n)
{
	u32 first = lut_get(&s->lut, index), i = 1;
	n = (u32)MIN(n, LUT_PAGE - index % LUT_PAGE);
	while (i < n && lut_get(&s->lut, index + i) == lut_run(first, i))
		i++;
	return i;
}

static void add_pending(struct sparse *s, struct pending *p, const struct journal_change *c, u32 n)
{
	p->ticket = ++s->tickets;
	p->first = c[0].index;
	p->end = c[n - 1].index + c[n - 1].n;
	p->next = s->pending;
	s->pending = p;
}

static void remove_pending(struct sparse *s, struct pending *p)
{
	struct pending **at = &s->pending;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	pthread_cond_broadcast(&s->changed);
}

static bool is_pending(const struct sparse *s, u64 ticket, u64 first, u64 end)
{
	for (const struct pending *p = s->pending; p; p = p->next)
		if (p->ticket <= ticket && p->first < end && first < p->end)
			return true;
	return false;
}

void sparse_settle(struct sparse *s, u64 first, u64 end)
{
	pthread_mutex_lock(&s->lock);
	u64 ticket = s->tickets;
	while (is_pending(s, ticket, first, end))
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* Under lock, which it lets go of meanwhile: the changes go to the generation's area of the journal. */
static int append(struct sparse *s, u64 gen, u32 pos, const struct journal_change *c, u32 n)
{
	struct generation *g = &s->gen[gen & 1];
	g->appending++;
	pthread_mutex_unlock(&s->lock);
	int r = journal_append(&s->journal, gen, pos, c, n);
	pthread_mutex_lock(&s->lock);
	if (--g->appending == 0)
		pthread_cond_broadcast(&s->changed);
	if (r < 0)
		__atomic_store_n(&s->journaled, false, __ATOMIC_RELAXED);
	return r;
}

/*
 * The changes were noted in generation gen from position pos on; before anyone is told, they go to
 * the journal. Without one, a commit does as well. Called under lock; returns without it.
 */
static int record_changes(struct sparse *s, u64 gen, u32 pos, const struct journal_change *c, u32 n)
{
	struct pending p;
	int r = 0;
	if (n) {
		add_pending(s, &p, c, n);
		bool journaled = __atomic_load_n(&s->journaled, __ATOMIC_RELAXED);
		if (!journaled || append(s, gen, pos, c, n) < 0)
			r = sparse_commit_locked(s);
		remove_pending(s, &p);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int sparse_publish(struct sparse *s, u32 segment, u64 index, u64 slot, u32 n, u32 *leading)
{
	struct journal_change change[CHANGE_MAX];
	u32 k = 0;
	*leading = n;
	pthread_mutex_lock(&s->lock);
	end_filling(s, &s->seg[segment]);
	int r = make_room(s, n);
	if (r < 0) {
		give_run(s, segment, slot, n);
		pthread_mutex_unlock(&s->lock);
		return r;
	}
	u64 gen = s->collecting;
	u32 pos = s->gen[gen & 1].count;
	for (u32 i = 0, run; i < n; i += run) {
		run = live_run(s, index + i, n - i);
		if (lut_get(&s->lut, index + i) == LUT_ABSENT) {
			note_change(s, &change[k++], index + i, LUT_ABSENT, (u32)(slot + i), run);
			continue;
		}
		*leading = MIN(*leading, i);
		give_run(s, segment, slot + i, run);
	}
	return record_changes(s, gen, pos, change, k);
}

int sparse_clear(struct sparse *s, u32 segment, u64 index, u32 n)
{
	struct journal_change change[CHANGE_MAX];
	u32 k = 0;
	pthread_mutex_lock(&s->lock);
	int r = make_room(s, n);
	u64 gen = s->collecting;
	struct generation *g = &s->gen[gen & 1];
	if (r == 0)
		r = slot_list_room(&g->freed, n);
	if (r < 0) {
		pthread_mutex_unlock(&s->lock);
		return r;
	}
	u32 pos = g->count;
	for (u32 i = 0, run; i < n; i += run) {
		u32 v = lut_get(&s->lut, index + i);
		run = live_run(s, index + i, n - i);
		if (v == LUT_ABSENT)
			continue;
		for (u32 m = 0; m < run; m++)
			g->freed.ref[g->freed.n++] = (struct slot_ref){segment, v + m};
		note_change(s, &change[k++], index + i, v, LUT_ABSENT, run);
	}
	return record_changes(s, gen, pos, change, k);
}
