/*
 * Address spaces. Regions are kept sorted by base without overlaps, so a look-up is a binary search
 * under a reader lock that is dropped before the region's handler runs.
 *
 * Widths. An access is cut into pieces that lie in one region (or one hole), and each piece into the
 * largest power of two that the region takes and, unless it says unaligned, that is aligned. A
 * piece smaller than the region's smallest width becomes one access of that width around it: a read
 * extracts the bytes; a write puts its bytes where they belong and zeros beside them, because reading
 * a register to merge could have side effects (a FIFO, a clear-on-read status). This is what a bus
 * without byte enables does, and no guest that follows the data sheet sees it.
 */
#include "bus/space.h"

#include <errno.h>
#include <stdlib.h>

int space_init(struct space *s, u64 limit)
{
	memset(s, 0, sizeof(*s));
	s->limit = limit;
	return -pthread_rwlock_init(&s->lock, NULL);
}

void space_fini(struct space *s)
{
	free(s->sorted);
	pthread_rwlock_destroy(&s->lock);
	memset(s, 0, sizeof(*s));
}

/* Index of the first region whose last byte is at or above addr; s->count if none. Lock held. */
static u32 first_reaching(const struct space *s, u64 addr)
{
	u32 lo = 0, hi = s->count;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;
		const struct region *r = s->sorted[mid];

		if (r->base + (r->len - 1) >= addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static int grow(struct space *s)
{
	u32 cap = s->cap ? s->cap * 2 : 32;
	struct region **p;

	if (s->count < s->cap)
		return 0;
	p = realloc(s->sorted, cap * sizeof(struct region *));
	if (!p)
		return -ENOMEM;
	s->sorted = p;
	s->cap = cap;
	return 0;
}

static int insert(struct space *s, struct region *r)
{
	u64 last = r->base + (r->len - 1);
	u32 at;
	int rc;

	if (r->len == 0 || last < r->base || last > s->limit)
		return -ERANGE;
	if (r->mapped)
		return -EEXIST;
	at = first_reaching(s, r->base);
	if (at < s->count && s->sorted[at]->base <= last)
		return -EEXIST;
	rc = grow(s);
	if (rc < 0)
		return rc;
	memmove(&s->sorted[at + 1], &s->sorted[at], (s->count - at) * sizeof(struct region *));
	s->sorted[at] = r;
	s->count++;
	r->mapped = true;
	return 0;
}

int space_add(struct space *s, struct region *r)
{
	int rc;

	pthread_rwlock_wrlock(&s->lock);
	rc = insert(s, r);
	pthread_rwlock_unlock(&s->lock);
	return rc;
}

void space_remove(struct space *s, struct region *r)
{
	u32 at;

	pthread_rwlock_wrlock(&s->lock);
	if (r->mapped) {
		at = first_reaching(s, r->base);
		s->count--;
		memmove(&s->sorted[at], &s->sorted[at + 1], (s->count - at) * sizeof(struct region *));
		r->mapped = false;
	}
	pthread_rwlock_unlock(&s->lock);
}

/* A piece of an access: size bytes at off of region r, or of a hole (r NULL). */
struct piece {
	struct region *r;
	u64 off;
	unsigned size;
};

/*
 * What lies at byte done of an access of size bytes at start, and how many of its bytes belong to it.
 * Nothing lies beyond the limit, nor does an access come out again at address 0.
 */
static struct piece find(struct space *s, u64 start, unsigned done, unsigned size)
{
	u64 addr = start + done;
	unsigned left = size - done;
	struct piece p = {.size = left};
	u32 at;

	if (addr > s->limit || addr < start)
		return p;
	if (left - 1 > s->limit - addr)
		p.size = (unsigned)(s->limit - addr) + 1;
	pthread_rwlock_rdlock(&s->lock);
	at = first_reaching(s, addr);
	if (at < s->count) {
		struct region *r = s->sorted[at];

		if (r->base <= addr) {
			p.r = r;
			p.off = addr - r->base;
			p.size = (unsigned)MIN((u64)p.size, r->len - p.off);
		} else {
			p.size = (unsigned)MIN((u64)p.size, r->base - addr);
		}
	}
	pthread_rwlock_unlock(&s->lock);
	return p;
}

static u64 call_read(const struct region *r, u64 off, unsigned size)
{
	u64 val;

	if (!r->ops->read)
		return ones(size);
	if (r->lock)
		pthread_mutex_lock(r->lock);
	val = r->ops->read(r->opaque, off, size);
	if (r->lock)
		pthread_mutex_unlock(r->lock);
	return val & ones(size);
}

static void call_write(const struct region *r, u64 off, unsigned size, u64 val)
{
	if (!r->ops->write)
		return;
	if (r->lock)
		pthread_mutex_lock(r->lock);
	r->ops->write(r->opaque, off, size, val & ones(size));
	if (r->lock)
		pthread_mutex_unlock(r->lock);
}

/* The width of the next access at off with left bytes to go. */
static unsigned width(const struct region *r, u64 off, unsigned left)
{
	unsigned max = r->ops->max ? r->ops->max : 8;
	unsigned w = 1;

	while (w * 2 <= left && w * 2 <= max && (r->ops->unaligned || (off & (w * 2 - 1)) == 0))
		w *= 2;
	return w;
}

/*
 * One access of at most p->size bytes at p->off; returns how many bytes it covered. For writes *val
 * holds the bytes, for reads it receives them.
 */
static unsigned step(const struct piece *p, u64 *val, bool write)
{
	const struct region *r = p->r;
	unsigned w = width(r, p->off, p->size);
	unsigned min = r->ops->min ? r->ops->min : 1;
	unsigned skip, covered;
	u64 off;

	if (w >= min) {
		if (write)
			call_write(r, p->off, w, *val);
		else
			*val = call_read(r, p->off, w);
		return w;
	}
	off = ALIGN_DOWN(p->off, (u64)min);
	if (off + min > r->len) { /* a region that ends inside its own smallest width */
		*val = ones(1);
		return 1;
	}
	skip = (unsigned)(p->off - off);
	covered = MIN(p->size, min - skip);
	if (write)
		call_write(r, off, min, (*val & ones(covered)) << (skip * 8));
	else
		*val = call_read(r, off, min) >> (skip * 8) & ones(covered);
	return covered;
}

u64 space_read(struct space *s, u64 addr, unsigned size)
{
	u64 out = 0;
	unsigned done = 0;

	while (done < size) {
		struct piece p = find(s, addr, done, size);
		u64 val = ones(p.size);

		if (p.r)
			p.size = step(&p, &val, false);
		else if (s->hole)
			s->hole(s->hole_opaque, addr + done, p.size, false);
		out |= val << (done * 8);
		done += p.size;
	}
	return out;
}

void space_write(struct space *s, u64 addr, unsigned size, u64 val)
{
	unsigned done = 0;

	while (done < size) {
		struct piece p = find(s, addr, done, size);
		u64 part = val >> (done * 8);

		if (p.r)
			p.size = step(&p, &part, true);
		else if (s->hole)
			s->hole(s->hole_opaque, addr + done, p.size, true);
		done += p.size;
	}
}
