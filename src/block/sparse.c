/*
 * Sparse layer: sectors of the disk are found through the table. A request is cut into runs: of
 * sectors that lie in neighbouring slots, and of absent ones. A run of present sectors is one transfer
 * in place. An absent sector reads as zeros; zeros written to it change nothing; anything else goes to
 * a fresh slot, filled as a whole before the table names it.
 *
 * Locks, a slot's life and the commit: sparse_int.h, sparse_alloc.c, sparse_commit.c.
 */
#include "block/sparse_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define EAGER_SCAN_MAX (64 * MiB) /* tables up to this size are checked when the image is opened */
#define PAD_MAX 16u               /* pieces of zeros around the data of a partial sector */

static struct sparse *sparse_of(struct block *b)
{
	return container_of(b, struct sparse, b);
}

/* A part of a request inside one segment. */
struct piece {
	struct sparse *s;
	u32 segno;
	u64 in; /* byte in the segment */
	u64 len;
	const struct iovec *iov;
	int niov;
	u64 pos; /* byte in the buffers */
};

static struct segment *segment_of(const struct piece *p)
{
	return &p->s->seg[p->segno];
}

static u64 index_of(const struct piece *p)
{
	return p->segno * p->s->g.per_segment + p->in / p->s->g.sector;
}

/* Sectors from the current one on, at most what is left, that continue its slot (or are absent too). */
static u64 run_length(const struct piece *p, u32 first, u64 max)
{
	const struct sparse *s = p->s;
	u64 skip = p->in % s->g.sector, index = index_of(p);
	u64 n = MIN((skip + p->len + s->g.sector - 1) / s->g.sector, max), i = 1;
	if (first == LUT_ABSENT)
		while (i < n && lut_get(&s->lut, index + i) == LUT_ABSENT)
			i++;
	else
		while (i < n && lut_get(&s->lut, index + i) == first + i)
			i++;
	return i;
}

static u64 run_bytes(const struct piece *p, u64 sectors)
{
	return MIN(p->len, sectors * p->s->g.sector - p->in % p->s->g.sector);
}

static void advance(struct piece *p, u64 n)
{
	p->in += n;
	p->pos += n;
	p->len -= n;
}

typedef int (*segment_fn)(struct piece *p);

/* A full host may have a little left when nothing is reserved. fn goes on where it failed. */
static int write_part(struct piece *p, segment_fn fn)
{
	u64 before = __atomic_load_n(&p->s->given_back, __ATOMIC_ACQUIRE);
	int r = fn(p);
	return r < 0 && sparse_make_space(p->s, r, before) ? 0 : r;
}

/* Cuts [off, off + len) at segments; loads the entries; calls fn for each piece. */
static int each_segment(
        struct sparse *s, const struct iovec *iov, int n, u64 off, u64 len, bool write, segment_fn fn)
{
	u32 epoch = sparse_begin(s);
	u64 first = 0, end = 0;
	int r = 0;
	for (u64 done = 0; done < len && r == 0;) {
		u64 at = off + done;
		struct piece p = {s, (u32)(at / s->g.segment), at % s->g.segment, 0, iov, n, done};
		p.len = MIN(len - done, s->g.segment - p.in);
		done += p.len;
		u64 sectors = (p.in % s->g.sector + p.len + s->g.sector - 1) / s->g.sector;
		first = at == off ? index_of(&p) : first;
		end = index_of(&p) + sectors;
		r = lut_load(&s->lut, index_of(&p), sectors);
		if (r == 0 && write)
			r = sparse_prepare(s, p.segno);
		while (p.len && r == 0)
			r = write ? write_part(&p, fn) : fn(&p);
	}
	if (write)
		sparse_settle(s, first, end);
	sparse_end(s, epoch);
	return r;
}

/* --- reads --- */

typedef int (*transfer_fn)(struct rawfile *f, const struct iovec *iov, int n, u64 off);

/* bytes from the current position, at slot first. */
static int transfer_run(struct piece *p, u32 first, u64 bytes, transfer_fn fn)
{
	struct iovec part[IOV_PIECE];
	u64 skip = p->in % p->s->g.sector;
	u64 at = (u64)first * p->s->g.sector + skip;
	while (bytes) {
		u64 here = bytes;
		int k = iov_slice(part, IOV_PIECE, p->iov, p->niov, p->pos, &here);
		int r = fn(&segment_of(p)->file, part, k, at);
		if (r < 0)
			return r;
		advance(p, here);
		at += here;
		bytes -= here;
	}
	return 0;
}

static int read_run(struct piece *p)
{
	u32 v = lut_get(&p->s->lut, index_of(p));
	u64 bytes = run_bytes(p, run_length(p, v, UINT64_MAX));
	if (v != LUT_ABSENT)
		return transfer_run(p, v, bytes, rawfile_readv);
	iov_zero(p->iov, p->niov, p->pos, bytes);
	advance(p, bytes);
	return 0;
}

static int sparse_preadv(struct block *b, const struct iovec *iov, int n, u64 off)
{
	return each_segment(sparse_of(b), iov, n, off, iov_length(iov, n), false, read_run);
}

/* --- writes --- */

static void mark_dirty(struct segment *seg)
{
	__atomic_store_n(&seg->dirty, true, __ATOMIC_RELEASE);
}

static int write_present(struct piece *p, u32 v)
{
	struct segment *seg = segment_of(p);
	int r = transfer_run(p, v, run_bytes(p, run_length(p, v, UINT64_MAX)), rawfile_writev);
	mark_dirty(seg); /* after the write: a sync that ran meanwhile has not covered it */
	return r;
}

static int add_zeros(struct iovec *out, int k, u64 n)
{
	while (n) {
		u64 here = MIN(n, sizeof(zero_page));
		out[k++] = (struct iovec){(void *)(uintptr_t)zero_page, here};
		n -= here;
	}
	return k;
}

/* Copies one sector together when its buffers are too many for one transfer. */
static int fill_scattered(struct piece *p, u64 slot)
{
	u32 ss = p->s->g.sector;
	u64 skip = p->in % ss;
	u8 *buf = aligned_alloc(4096, ALIGN_UP((u64)ss, 4096ull));
	if (!buf)
		return -ENOMEM;
	memset(buf, 0, ss);
	iov_to_buf(buf + skip, p->iov, p->niov, p->pos, MIN(p->len, ss - skip));
	struct iovec v = {buf, ss};
	int r = rawfile_writev(&segment_of(p)->file, &v, 1, slot * ss);
	free(buf);
	return r;
}

/*
 * Fills slots from slot on with whole sectors: the data of the request and zeros around it. *n: sectors
 * wanted, and how many were done (at least one on success).
 */
static int fill_slots(struct piece *p, u64 slot, u32 *n)
{
	struct iovec part[IOV_PIECE + 2 * PAD_MAX];
	u32 ss = p->s->g.sector;
	u64 skip = p->in % ss, want = run_bytes(p, *n), have = want;
	int k = add_zeros(part, 0, skip);
	k += iov_slice(part + k, IOV_PIECE, p->iov, p->niov, p->pos, &have);
	if (have < want) { /* too many buffers: whole sectors of it */
		u64 whole = (skip + have) / ss;
		if (whole == 0) {
			*n = 1;
			return fill_scattered(p, slot);
		}
		*n = (u32)whole;
		have = whole * ss - skip;
		k = add_zeros(part, 0, skip);
		k += iov_slice(part + k, IOV_PIECE, p->iov, p->niov, p->pos, &have);
	}
	u64 tail = (skip + have) % ss;
	if (tail)
		k = add_zeros(part, k, ss - tail);
	return rawfile_writev(&segment_of(p)->file, part, k, slot * ss);
}

/* Bytes of sector i (counted from the current one) that the request has: where they begin and how many. */
static u64 sector_part(const struct piece *p, u64 i, u64 *start)
{
	u64 ss = p->s->g.sector, skip = p->in % ss;
	*start = i ? i * ss - skip : 0;
	return MIN(p->len, (i + 1) * ss - skip) - *start;
}

static bool sector_is_zero(const struct piece *p, u64 i)
{
	u64 start, n = sector_part(p, i, &start);
	return iov_is_zero(p->iov, p->niov, p->pos + start, n);
}

static int write_fresh(struct piece *p, u32 n)
{
	struct sparse *s = p->s;
	u64 slot;
	u32 got, filled, leading;
	bool due;
	int r = sparse_alloc(s, p->segno, n, &slot, &got, &due);
	if (r < 0)
		return r;
	filled = got;
	r = fill_slots(p, slot, &filled);
	mark_dirty(segment_of(p));
	if (r < 0) {
		sparse_unalloc_all(s, p->segno, slot, got);
		return r;
	}
	if (filled < got)
		sparse_unalloc(s, p->segno, slot + filled, got - filled);
	r = sparse_publish(s, p->segno, index_of(p), slot, filled, &leading);
	/* a sector that another write published first is written again, in place this time */
	if (r == 0 && leading)
		advance(p, run_bytes(p, leading));
	if (r == 0 && due)
		sparse_reserve(s, p->segno);
	return r;
}

static int write_run(struct piece *p)
{
	u32 v = lut_get(&p->s->lut, index_of(p));
	if (v != LUT_ABSENT)
		return write_present(p, v);
	u64 n = run_length(p, v, CHANGE_MAX), k = 1;
	bool zero = sector_is_zero(p, 0);
	while (k < n && sector_is_zero(p, k) == zero)
		k++;
	if (!zero)
		return write_fresh(p, (u32)k);
	advance(p, run_bytes(p, k));
	return 0;
}

static int sparse_pwritev(struct block *b, const struct iovec *iov, int n, u64 off)
{
	return each_segment(sparse_of(b), iov, n, off, iov_length(iov, n), true, write_run);
}

static int sparse_flush(struct block *b)
{
	return sparse_commit(sparse_of(b));
}

static void sparse_idle(struct block *b)
{
	sparse_ahead_give_back(sparse_of(b));
}

/* --- zeros and discards --- */

/* Zeros in place for the bytes of one run of present sectors. */
static int zero_present(struct piece *p, u32 v, u64 bytes)
{
	struct segment *seg = segment_of(p);
	u64 at = (u64)v * p->s->g.sector + p->in % p->s->g.sector;
	int r = rawfile_zero(&seg->file, at, bytes, false);
	mark_dirty(seg);
	if (r == 0)
		advance(p, bytes);
	return r;
}

static int zero_run(struct piece *p)
{
	u32 v = lut_get(&p->s->lut, index_of(p));
	u64 bytes = run_bytes(p, run_length(p, v, UINT64_MAX));
	if (v != LUT_ABSENT)
		return zero_present(p, v, bytes);
	advance(p, bytes);
	return 0;
}

/* Whole sectors are cleared; the rest of the first and last one is zeroed in place. */
static int unmap_run(struct piece *p)
{
	u64 ss = p->s->g.sector;
	if (p->in % ss || p->len < ss) {
		struct piece edge = *p;
		u64 len = edge.len = MIN(p->len, ss - p->in % ss);
		int r = zero_run(&edge);
		if (r == 0)
			advance(p, len);
		return r;
	}
	u64 n = MIN(p->len / ss, CHANGE_MAX);
	int r = sparse_clear(p->s, p->segno, index_of(p), (u32)n);
	if (r == 0)
		advance(p, n * ss);
	return r;
}

static int sparse_write_zeroes(struct block *b, u64 off, u64 len, bool unmap)
{
	return each_segment(sparse_of(b), NULL, 0, off, len, true, unmap ? unmap_run : zero_run);
}

static int sparse_discard(struct block *b, u64 off, u64 len)
{
	struct sparse *s = sparse_of(b);
	u64 end = ALIGN_DOWN(off + len, (u64)s->g.sector);
	off = ALIGN_UP(off, (u64)s->g.sector);
	return off < end ? each_segment(s, NULL, 0, off, end - off, true, unmap_run) : 0;
}

/* Looks at up to a megabyte of entries at once, without keeping their pages. */
static int find_extent(struct sparse *s, u64 off, u64 *len, bool *data)
{
	u32 entry[1024];
	u64 index = off / s->g.sector, skip = off % s->g.sector, run = 0;
	u64 n = MIN((skip + *len + s->g.sector - 1) / s->g.sector, 262144ull);
	while (run < n) {
		u64 here = MIN(n - run, ARRAY_SIZE(entry)), i;
		int r = lut_peek(&s->lut, index + run, here, entry);
		if (r < 0)
			return r;
		if (run == 0)
			*data = entry[0] != LUT_ABSENT;
		for (i = 0; i < here && (entry[i] != LUT_ABSENT) == *data; i++)
			;
		run += i;
		if (i < here)
			break;
	}
	*len = MIN(*len, run * s->g.sector - skip);
	return 0;
}

static int sparse_extent(struct block *b, u64 off, u64 *len, bool *data)
{
	struct sparse *s = sparse_of(b);
	u32 epoch = sparse_begin(s);
	int r = find_extent(s, off, len, data);
	sparse_end(s, epoch);
	return r;
}

/* --- life --- */

static void sparse_free(struct sparse *s)
{
	for (int i = 0; i < 2; i++) {
		free(s->gen[i].change);
		free(s->gen[i].freed.ref);
	}
	free(s->wait.ref);
	free(s->grace.ref);
	pthread_mutex_destroy(&s->prepare);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s->seg);
	free(s);
}

static int sparse_close(struct block *b)
{
	struct sparse *s = sparse_of(b);
	sparse_ahead_give_back(s);
	/* no request is left: this also frees what is in quarantine */
	int r = b->ro ? 0 : sparse_commit(s);
	if (s->journal_open)
		journal_close(&s->journal, r == 0);
	for (u32 i = 0; i < s->g.nseg; i++) {
		if (s->seg[i].state == SEGMENT_READY)
			slots_fini(&s->seg[i].slots);
		rawfile_fini(&s->seg[i].file);
	}
	lut_fini(&s->lut);
	sparse_free(s);
	return r;
}

static const struct block_ops sparse_ops = {
        .preadv = sparse_preadv,
        .pwritev = sparse_pwritev,
        .flush = sparse_flush,
        .discard = sparse_discard,
        .write_zeroes = sparse_write_zeroes,
        .extent = sparse_extent,
        .grow = sparse_grow,
        .idle = sparse_idle,
        .close = sparse_close,
};

static struct sparse *sparse_alloc_state(const struct sparse_config *c)
{
	struct sparse *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	pthread_mutex_init(&s->prepare, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	/* with room for all that it can grow by; untouched memory costs nothing */
	s->seg = calloc(c->g->is_split && !c->ro ? IMAGE_SEGMENTS_MAX : c->g->nseg, sizeof(*s->seg));
	bool ok = s->seg;
	for (int i = 0; i < 2 && !c->ro; i++) {
		s->gen[i].change = malloc(JOURNAL_RECORDS * sizeof(struct lut_change));
		ok = ok && s->gen[i].change;
	}
	if (ok)
		return s;
	sparse_free(s);
	return NULL;
}

/*
 * Checks what can be checked quickly; a larger table is looked at segment by segment when it is written,
 * unless the last process was killed: then its leftovers are looked for everywhere.
 */
static int check_tables(struct sparse *s, struct err *e)
{
	if (s->b.ro || (s->g.entries * sizeof(u32) > EAGER_SCAN_MAX && !s->unclean))
		return 0;
	for (u32 i = 0; i < s->g.nseg; i++) {
		int r = sparse_prepare(s, i);
		if (r == -EUCLEAN)
			return err_set(e, r,
			        "%s: segment %u is damaged (see above); xhyve-img repair mends it, "
			        "option ro reads what is there",
			        s->path, i);
		if (r < 0)
			return err_errno(e, r, "%s: segment %u", s->path, i);
	}
	return 0;
}

static int start(struct sparse *s, struct err *e)
{
	char name[sizeof(s->journal.path)];
	int r = sparse_recover(s, e);
	if (r == 0)
		r = check_tables(s, e);
	if (r < 0 || s->b.ro)
		return r;
	image_journal_name(name, sizeof(name), s->path);
	r = journal_create(&s->journal, s->io, name, 0);
	s->journal_open = s->journaled = r == 0;
	return r < 0 ? err_errno(e, r, "%s: cannot be created", name) : 0;
}

static void close_files(const struct sparse_config *c)
{
	for (u32 i = 0; i < c->g->nseg; i++)
		c->io->ops->close(c->io, c->fd[i]);
	c->io->ops->close(c->io, c->lut_fd);
}

int sparse_create(struct block **out, const struct sparse_config *c, struct err *e)
{
	struct sparse *s = sparse_alloc_state(c);
	if (!s) {
		close_files(c);
		return err_set(e, -ENOMEM, "%s: out of memory", c->path);
	}
	s->io = c->io;
	s->g = *c->g;
	s->align = c->align;
	s->collecting = 1;
	snprintf(s->path, sizeof(s->path), "%s", c->path);
	s->b = (struct block){.ops = &sparse_ops,
	        .size = s->g.size,
	        .logical = s->g.logical,
	        .physical = s->g.physical,
	        .grain = s->g.sector,
	        .ro = c->ro};
	int r = lut_init(&s->lut, c->io, c->lut_fd, s->g.entries);
	if (r < 0) {
		sparse_free(s);
		close_files(c);
		return err_errno(
		        e, r, "%s: table of %llu entries", c->path, (unsigned long long)c->g->entries);
	}
	sparse_add_segments(s, 0, s->g.nseg, c->fd);
	sparse_ahead_init(s, c->eager);
	r = start(s, e);
	if (r == 0) {
		*out = &s->b;
		return 0;
	}
	s->b.ro = true; /* nothing is dirty: only let go */
	sparse_close(&s->b);
	return r;
}
