/*
 * Split virtqueues (see virtqueue.h). Section numbers are those of virtio 1.2.
 *
 * Memory order: the index of the available ring is read with acquire before its entries, the index of the
 * used ring is written with release after them. Each side says what it waits for (avail_event,
 * used_event) and then looks at the other's index again: between the two stands a full fence, on the
 * driver's side as on ours, or both could miss each other.
 */
#include "dev/virtqueue.h"

#include "base/log.h"
#include <errno.h>
#include <stdlib.h>

/* Offsets in the rings (2.7.6, 2.7.8) */
#define RING_FLAGS 0
#define RING_IDX 2
#define RING_ENTRIES 4

#define CHAIN_BYTES_MAX (1ull << 32) /* 2.7.5.2 */

/* --- guest memory --- */

static u16 load16(const u8 *p)
{
	return __atomic_load_n((const u16 *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void store16(struct virtqueue *q, u8 *p, u16 val)
{
	__atomic_store_n((u16 *)(void *)p, val, __ATOMIC_RELEASE);
	mem_wrote(q->mem, (u64)(p - q->mem->base), sizeof(val));
}

/* One copy; the empty statement keeps the compiler from reading guest memory again instead. */
static struct vq_desc load_desc(const u8 *p)
{
	struct vq_desc d;

	memcpy(&d, p, sizeof(d));
	__asm__ volatile("" : "+m"(d));
	return d;
}

static u8 *used_event(const struct virtqueue *q)
{
	return q->avail_hva + RING_ENTRIES + 2 * q->num;
}

static u8 *avail_event(const struct virtqueue *q)
{
	return q->used_hva + RING_ENTRIES + sizeof(struct vq_used) * q->num;
}

/* --- life --- */

int vq_init(struct virtqueue *q, struct mem *mem, u16 max)
{
	BUG_ON(max == 0 || max > VQ_SIZE_MAX || (max & (max - 1)));
	memset(q, 0, sizeof(*q));
	q->mem = mem;
	q->max = max;
	q->chains = calloc(max, sizeof(*q->chains));
	q->iovs = calloc((size_t)max * max, sizeof(*q->iovs)); /* touched as chains need them */
	if (!q->chains || !q->iovs) {
		vq_fini(q);
		return -ENOMEM;
	}
	for (unsigned n = 0; n < max; n++) {
		q->chains[n].head = (u16)n;
		q->chains[n].iov = &q->iovs[(size_t)n * max];
	}
	vq_reset(q);
	return 0;
}

void vq_fini(struct virtqueue *q)
{
	free(q->chains);
	free(q->iovs);
	q->chains = NULL;
	q->iovs = NULL;
}

void vq_reset(struct virtqueue *q)
{
	vq_stop(q);
	q->size = q->max;
	q->desc = q->avail = q->used = 0;
	q->vector = VQ_NO_VECTOR;
}

int vq_start(struct virtqueue *q, bool indirect, bool event_idx)
{
	u64 n = q->size;

	if (q->running || q->inflight)
		return -EBUSY;
	if (n == 0 || n > q->max || (n & (n - 1)))
		return -EINVAL;
	if (q->desc % 16 || q->avail % 2 || q->used % 4)
		return -EINVAL;
	/* with the event fields at the ends, which every driver leaves room for */
	q->desc_hva = mem_ptr(q->mem, q->desc, sizeof(struct vq_desc) * n);
	q->avail_hva = mem_ptr(q->mem, q->avail, RING_ENTRIES + 2 * n + 2);
	q->used_hva = mem_ptr(q->mem, q->used, RING_ENTRIES + sizeof(struct vq_used) * n + 2);
	if (!q->desc_hva || !q->avail_hva || !q->used_hva)
		return -EINVAL;
	q->used_gpa = q->used;
	q->num = (u16)n;
	q->avail_idx = q->used_idx = 0;
	q->signalled_valid = false;
	q->indirect = indirect;
	q->event_idx = event_idx;
	q->running = true;
	return 0;
}

void vq_stop(struct virtqueue *q)
{
	q->running = false;
}

/* --- taking chains --- */

/* A table of descriptors, the queue's own or an indirect one. */
struct table {
	const u8 *hva;
	u32 count;
};

/* One buffer goes to the chain's lists: readable ones come first (2.7.4.2). */
static int add_buffer(struct virtqueue *q, struct vq_chain *c, const struct vq_desc *d)
{
	bool write = d->flags & VQ_DESC_WRITE;
	void *p;

	if (!write && c->nwr)
		return -EINVAL;
	if (d->len == 0)
		return 0;
	p = mem_ptr(q->mem, d->addr, d->len);
	if (!p)
		return -EINVAL;
	c->iov[c->nrd + c->nwr] = (struct iovec){.iov_base = p, .iov_len = d->len};
	if (write) {
		c->nwr++;
		c->wr_len += d->len;
	} else {
		c->nrd++;
		c->rd_len += d->len;
	}
	return c->rd_len + c->wr_len > CHAIN_BYTES_MAX ? -EINVAL : 0;
}

/* 2.7.5.3.1: negotiated, not nested, the last of its chain; whole descriptors, at least one. */
static int enter_indirect(struct virtqueue *q, const struct vq_desc *d, bool nested, struct table *t)
{
	if (!q->indirect || nested || (d->flags & VQ_DESC_NEXT))
		return -EINVAL;
	if (d->len == 0 || d->len % sizeof(struct vq_desc))
		return -EINVAL;
	t->hva = mem_ptr(q->mem, d->addr, d->len);
	t->count = (u32)(d->len / sizeof(struct vq_desc));
	return t->hva ? 0 : -EINVAL;
}

/*
 * A chain has at most max buffers: that is also what ends a loop. Descriptors are counted, not buffers, or
 * empty ones could go round for ever.
 */
static int walk(struct virtqueue *q, struct vq_chain *c)
{
	struct table t = {.hva = q->desc_hva, .count = q->num};
	bool nested = false;
	u32 at = c->head;

	for (unsigned left = q->max; left; left--) {
		struct vq_desc d = load_desc(t.hva + sizeof(d) * at);
		int rc;

		if (d.flags & VQ_DESC_INDIRECT) {
			rc = enter_indirect(q, &d, nested, &t);
			if (rc < 0)
				return rc;
			nested = true;
			at = 0;
			left++; /* the table's own descriptor is no buffer */
			continue;
		}
		rc = add_buffer(q, c, &d);
		if (rc < 0 || !(d.flags & VQ_DESC_NEXT))
			return rc;
		if (d.next >= t.count)
			return -EINVAL;
		at = d.next;
	}
	return -EINVAL;
}

static int broken(struct virtqueue *q)
{
	vq_stop(q);
	return -EINVAL;
}

/* How many entries are published, after asking to be told of more when there are none. */
static u16 published(struct virtqueue *q)
{
	u16 n = (u16)(load16(q->avail_hva + RING_IDX) - q->avail_idx);

	if (n || !q->event_idx)
		return n;
	store16(q, avail_event(q), q->avail_idx);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (u16)(load16(q->avail_hva + RING_IDX) - q->avail_idx);
}

int vq_pop(struct virtqueue *q, struct vq_chain **out)
{
	struct vq_chain *c;
	u16 n, head;

	if (!q->running)
		return 0;
	n = published(q);
	if (n == 0)
		return 0;
	if (n > q->num)
		return broken(q);
	head = load16(q->avail_hva + RING_ENTRIES + 2 * (q->avail_idx & (q->num - 1)));
	if (head >= q->num || q->chains[head].busy)
		return broken(q);
	c = &q->chains[head];
	c->nrd = c->nwr = 0;
	c->rd_len = c->wr_len = 0;
	if (walk(q, c) < 0)
		return broken(q);
	c->rd = c->iov;
	c->wr = c->iov + c->nrd;
	c->busy = true;
	q->inflight++;
	q->avail_idx++;
	*out = c;
	return 1;
}

/* --- giving them back --- */

void vq_unpop(struct virtqueue *q, struct vq_chain *c)
{
	BUG_ON(!c->busy);
	c->busy = false;
	q->inflight--;
	if (q->running)
		q->avail_idx--;
}

void vq_fill(struct virtqueue *q, struct vq_chain *c, u64 written)
{
	struct vq_used u = {.id = c->head, .len = (u32)MIN(written, (u64)UINT32_MAX)};
	u64 off;

	BUG_ON(!c->busy);
	c->busy = false;
	q->inflight--;
	/* also of a queue that was stopped meanwhile: the data did change */
	for (unsigned n = 0; n < c->nwr; n++)
		mem_wrote(q->mem, (u64)((u8 *)c->wr[n].iov_base - q->mem->base), c->wr[n].iov_len);
	if (!q->running)
		return;
	off = RING_ENTRIES + sizeof(u) * (q->used_idx & (q->num - 1));
	memcpy(q->used_hva + off, &u, sizeof(u));
	mem_wrote(q->mem, q->used_gpa + off, sizeof(u));
	q->used_idx++;
}

void vq_publish(struct virtqueue *q)
{
	if (q->running)
		store16(q, q->used_hva + RING_IDX, q->used_idx);
}

void vq_push(struct virtqueue *q, struct vq_chain *c, u64 written)
{
	vq_fill(q, c, written);
	vq_publish(q);
}

/* 2.7.10: did the used index pass the driver's mark since it was last asked? */
bool vq_wants_interrupt(struct virtqueue *q)
{
	u16 now = q->used_idx, before = q->signalled, event;
	bool valid = q->signalled_valid;

	if (!q->running)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(load16(q->avail_hva + RING_FLAGS) & VQ_AVAIL_NO_INTERRUPT);
	event = load16(used_event(q));
	q->signalled = now;
	q->signalled_valid = true;
	return !valid || (u16)(now - event - 1) < (u16)(now - before);
}

/* --- looking into chains --- */

bool vq_chain_pull(struct vq_chain *c, void *buf, u64 len)
{
	u8 *to = buf;

	if (c->rd_len < len)
		return false;
	c->rd_len -= len;
	while (len) {
		u64 n = MIN(len, (u64)c->rd->iov_len);

		memcpy(to, c->rd->iov_base, n);
		to += n;
		len -= n;
		c->rd->iov_base = (u8 *)c->rd->iov_base + n;
		c->rd->iov_len -= n;
		if (c->rd->iov_len == 0) {
			c->rd++;
			c->nrd--;
		}
	}
	__asm__ volatile("" ::: "memory"); /* buf is the copy that gets checked: no second read */
	return true;
}

u8 *vq_chain_last(struct vq_chain *c)
{
	struct iovec *v;

	if (c->nwr == 0)
		return NULL;
	v = &c->wr[c->nwr - 1];
	c->wr_len--;
	if (--v->iov_len == 0)
		c->nwr--;
	return (u8 *)v->iov_base + v->iov_len;
}

u64 vq_chain_write_at(struct vq_chain *c, u64 at, const void *buf, u64 len)
{
	const u8 *from = buf;
	u64 done = 0;

	for (unsigned n = 0; n < c->nwr && done < len; n++) {
		u64 room = c->wr[n].iov_len, part;

		if (at >= room) {
			at -= room;
			continue;
		}
		part = MIN(len - done, room - at);
		memcpy((u8 *)c->wr[n].iov_base + at, from + done, part);
		done += part;
		at = 0;
	}
	return done;
}

u64 vq_chain_write(struct vq_chain *c, const void *buf, u64 len)
{
	return vq_chain_write_at(c, 0, buf, len);
}

void vq_write_byte(struct virtqueue *q, u8 *at, u8 val)
{
	__atomic_store_n(at, val, __ATOMIC_RELAXED);
	mem_wrote(q->mem, (u64)(at - q->mem->base), 1);
}
