/*
 * Split virtqueues against a driver's view of them: order, wrap-around, notification, and every way
 * to break the rules. Each broken queue stops, and no iovec ever leaves RAM.
 */
#include "dev/virtqueue.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define RAM (2 * MiB)
#define DESC 0x10000ull
#define AVAIL 0x11000ull
#define USED 0x12000ull
#define TABLE 0x20000ull
#define BUF 0x40000ull
#define ENTRIES 16
#define N VQ_DESC_NEXT
#define W VQ_DESC_WRITE
#define I VQ_DESC_INDIRECT

struct fix {
	struct mem mem;
	struct virtqueue q;
	u16 published;
};

static struct fix fix;

static struct fix *make(bool indirect, bool event_idx, bool track)
{
	struct fix *f = &fix;
	struct err e;

	memset(f, 0, sizeof(*f));
	assert_int_equal(mem_create(&f->mem, RAM, false, track, &e), 0);
	assert_int_equal(vq_init(&f->q, &f->mem, ENTRIES), 0);
	f->q.desc = DESC;
	f->q.avail = AVAIL;
	f->q.used = USED;
	assert_int_equal(vq_start(&f->q, indirect, event_idx), 0);
	return f;
}

static void done(struct fix *f)
{
	vq_fini(&f->q);
	mem_destroy(&f->mem);
}

static void put(struct fix *f, u64 table, unsigned n, u64 addr, u32 len, u16 flags, u16 next)
{
	struct vq_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};

	assert_int_equal(mem_write(&f->mem, table + 16 * n, &d, sizeof(d)), 0);
}

static void set16(struct fix *f, u64 at, u16 val)
{
	__atomic_store_n((u16 *)(void *)(f->mem.base + at), val, __ATOMIC_SEQ_CST);
}

static u16 get16(struct fix *f, u64 at)
{
	return __atomic_load_n((u16 *)(void *)(f->mem.base + at), __ATOMIC_SEQ_CST);
}

static void publish(struct fix *f, u16 head)
{
	set16(f, AVAIL + 4 + 2 * (f->published % f->q.num), head);
	set16(f, AVAIL + 2, ++f->published);
}

static struct vq_chain *pop(struct fix *f)
{
	struct vq_chain *c = NULL;

	assert_int_equal(vq_pop(&f->q, &c), 1);
	assert_non_null(c);
	return c;
}

/* Everything about the chain at 0 is published; the queue must break. */
static void assert_breaks(struct fix *f)
{
	struct vq_chain *c = NULL;

	publish(f, 0);
	assert_int_equal(vq_pop(&f->q, &c), -EINVAL);
	assert_null(c);
	assert_false(f->q.running);
	assert_int_equal(f->q.inflight, 0);
	assert_int_equal(vq_pop(&f->q, &c), 0); /* stays so */
	vq_reset(&f->q);
	f->q.desc = DESC;
	f->q.avail = AVAIL;
	f->q.used = USED;
	f->published = 0;
	mem_zero(&f->mem, DESC, 0x3000);
	assert_int_equal(vq_start(&f->q, true, false), 0);
}

/* --- what works --- */

static void chain_of_buffers(void **state)
{
	struct fix *f = make(true, false, false);
	struct vq_chain *c;
	u8 four[4];

	memcpy(f->mem.base + BUF, "abcdefgh", 8);
	put(f, DESC, 3, BUF, 3, N, 5);
	put(f, DESC, 5, BUF + 3, 3, N, 1);
	put(f, DESC, 1, BUF + 0x100, 2, N | W, 2);
	put(f, DESC, 2, BUF + 0x200, 3, W, 77);
	publish(f, 3);
	c = pop(f);
	assert_int_equal(c->head, 3);
	assert_int_equal(c->nrd, 2);
	assert_int_equal(c->nwr, 2);
	assert_int_equal(c->rd_len, 6);
	assert_int_equal(c->wr_len, 5);
	assert_false(vq_chain_pull(c, four, 7));
	assert_true(vq_chain_pull(c, four, 4));
	assert_memory_equal(four, "abcd", 4);
	assert_int_equal(c->nrd, 1);
	assert_int_equal(c->rd_len, 2);
	assert_ptr_equal(vq_chain_last(c), f->mem.base + BUF + 0x202);
	assert_int_equal(vq_chain_write(c, "wxyz!", 5), 4);
	assert_memory_equal(f->mem.base + BUF + 0x100, "wx", 3);
	assert_memory_equal(f->mem.base + BUF + 0x200, "yz", 3);
	vq_push(&f->q, c, 5);
	assert_int_equal(get16(f, USED + 2), 1);
	assert_int_equal(get_le32(f->mem.base + USED + 4), 3);
	assert_int_equal(get_le32(f->mem.base + USED + 8), 5);
	for (unsigned n = 0; n < 2; n++) {
		struct vq_chain two = {
		        .wr = &(struct iovec){.iov_base = four, .iov_len = 1}, .nwr = 1, .wr_len = 1};

		assert_ptr_equal(vq_chain_last(&two), four);
		assert_null(vq_chain_last(&two));
	}
	done(f);
}

/* 200,000 chains: indexes wrap around, answers come in another order than requests. */
static void wraps(void **state)
{
	struct fix *f = make(false, false, false);
	struct vq_chain *a, *b;

	for (u16 n = 0; n < ENTRIES; n++)
		put(f, DESC, n, BUF + 64 * n, 64, W, 0);
	for (unsigned n = 0; n < 100000; n++) {
		u16 x = (u16)(2 * n % ENTRIES), y = (u16)(x + 1), used = (u16)(2 * n);

		publish(f, x);
		publish(f, y);
		a = pop(f);
		b = pop(f);
		assert_true(a->head == x && b->head == y);
		vq_push(&f->q, b, n);
		vq_push(&f->q, a, 1);
		assert_int_equal(get16(f, USED + 2), (u16)(used + 2));
		assert_int_equal(get_le32(f->mem.base + USED + 4 + 8 * (used % ENTRIES)), y);
		assert_int_equal(get_le32(f->mem.base + USED + 8 + 8 * (used % ENTRIES)), n);
	}
	done(f);
}

static void smaller_queue(void **state)
{
	struct fix *f = make(false, false, false);

	for (u16 size = 1; size <= ENTRIES; size *= 2) {
		vq_reset(&f->q);
		f->q.size = size;
		f->q.desc = DESC;
		f->q.avail = AVAIL;
		f->q.used = USED;
		mem_zero(&f->mem, AVAIL, 0x2000);
		f->published = 0;
		assert_int_equal(vq_start(&f->q, false, false), 0);
		f->q.size = 0xffff; /* only what was latched counts */
		f->q.used = ~0ull;
		for (unsigned n = 0; n < 40; n++) {
			put(f, DESC, n % size, BUF, 1, 0, 0);
			publish(f, (u16)(n % size));
			vq_push(&f->q, pop(f), 0);
		}
		assert_int_equal(get16(f, USED + 2), 40);
	}
	done(f);
}

static void indirect(void **state)
{
	struct fix *f = make(true, false, false);
	struct vq_chain *c;

	/* the longest chain: as many buffers as the queue has entries */
	for (u16 n = 0; n < ENTRIES; n++)
		put(f, TABLE, n, BUF + n, 1, n < ENTRIES - 1 ? N : W, (u16)(n + 1));
	put(f, DESC, 0, TABLE, 16 * ENTRIES, I | W, 0); /* W says nothing here */
	publish(f, 0);
	c = pop(f);
	assert_int_equal(c->nrd, ENTRIES - 1);
	assert_int_equal(c->nwr, 1);
	vq_push(&f->q, c, 0);
	/* a direct part before it; a table that is larger than what is used of it; any alignment */
	put(f, DESC, 0, BUF, 8, N, 1);
	put(f, DESC, 1, TABLE + 3, 16 * 100, I, 0);
	put(f, TABLE + 3, 0, BUF, 9, N, 99);
	put(f, TABLE + 3, 99, BUF, 7, W, 0);
	publish(f, 0);
	c = pop(f);
	assert_int_equal(c->rd_len, 17);
	assert_int_equal(c->wr_len, 7);
	vq_push(&f->q, c, 0);
	done(f);
}

/* --- notification --- */

static void flags(void **state)
{
	struct fix *f = make(false, false, false);

	put(f, DESC, 0, BUF, 1, W, 0);
	publish(f, 0);
	vq_push(&f->q, pop(f), 1);
	assert_true(vq_wants_interrupt(&f->q));
	set16(f, AVAIL, VQ_AVAIL_NO_INTERRUPT);
	publish(f, 0);
	vq_push(&f->q, pop(f), 1);
	assert_false(vq_wants_interrupt(&f->q));
	done(f);
}

/* With event indexes: interrupts exactly when the driver's mark is passed, through the wrap at 65536. */
static void events(void **state)
{
	struct fix *f = make(false, true, false);
	struct vq_chain *c;

	put(f, DESC, 0, BUF, 1, W, 0);
	publish(f, 0);
	vq_push(&f->q, pop(f), 1);
	assert_true(vq_wants_interrupt(&f->q)); /* nothing is known of the time before */
	set16(f, AVAIL, VQ_AVAIL_NO_INTERRUPT); /* means nothing here */
	for (unsigned n = 1; n < 70000; n++) {
		bool want = n % 3 == 0;

		set16(f, AVAIL + 4 + 2 * ENTRIES, (u16)(want ? n : n + 10));
		publish(f, 0);
		c = pop(f);
		assert_int_equal(vq_pop(&f->q, &c), 0);
		assert_int_equal(
		        get16(f, USED + 4 + 8 * ENTRIES), f->published); /* asks to be told of the next */
		vq_push(&f->q, &f->q.chains[0], 1);
		assert_int_equal(vq_wants_interrupt(&f->q), want);
		assert_false(vq_wants_interrupt(&f->q)); /* once */
	}
	done(f);
}

/* --- life --- */

static void starting(void **state)
{
	static const u16 sizes[] = {0, 3, ENTRIES + 1, ENTRIES * 2, 0x8000, 0xffff};
	struct fix *f = make(false, false, false);
	static const struct {
		u64 desc, avail, used;
	} places[] = {{DESC + 8, AVAIL, USED}, {DESC, AVAIL + 1, USED}, {DESC, AVAIL, USED + 2},
	        {RAM - 16 * ENTRIES + 16, AVAIL, USED}, {DESC, RAM - 2 * ENTRIES - 4, USED},
	        {DESC, AVAIL, RAM - 8 * ENTRIES - 4}, {~15ull, AVAIL, USED}, {DESC, ~1ull, USED},
	        {DESC, AVAIL, ~3ull}, {RAM, AVAIL, USED}};
	struct vq_chain *c;

	assert_int_equal(vq_start(&f->q, false, false), -EBUSY);
	for (unsigned n = 0; n < ARRAY_SIZE(sizes); n++) {
		vq_stop(&f->q);
		f->q.size = sizes[n];
		assert_int_equal(vq_start(&f->q, false, false), -EINVAL);
		assert_int_equal(vq_pop(&f->q, &c), 0);
	}
	f->q.size = ENTRIES;
	for (unsigned n = 0; n < ARRAY_SIZE(places); n++) {
		f->q.desc = places[n].desc;
		f->q.avail = places[n].avail;
		f->q.used = places[n].used;
		assert_int_equal(vq_start(&f->q, false, false), -EINVAL);
		assert_false(f->q.running);
	}
	f->q.desc = RAM - 16 * ENTRIES; /* the last place that fits */
	f->q.avail = AVAIL;
	f->q.used = USED;
	assert_int_equal(vq_start(&f->q, false, false), 0);
	done(f);
}

/* A stopped queue takes chains back and leaves the rings alone. */
static void disowned(void **state)
{
	struct fix *f = make(false, false, false);
	struct vq_chain *c;

	put(f, DESC, 0, BUF, 1, W, 0);
	publish(f, 0);
	c = pop(f);
	vq_stop(&f->q);
	assert_int_equal(vq_start(&f->q, false, false), -EBUSY);
	vq_push(&f->q, c, 1);
	assert_false(vq_wants_interrupt(&f->q));
	assert_int_equal(get16(f, USED + 2), 0);
	assert_int_equal(f->q.inflight, 0);
	assert_int_equal(vq_start(&f->q, false, false), 0);
	done(f);
}

/* The software CPU hears of code that DMA has changed. */
static void code_is_tracked(void **state)
{
	struct fix *f = make(false, true, true);
	u32 data, ring;
	struct vq_chain *c;
	bool first;

	put(f, DESC, 0, BUF, 64, W, 0);
	publish(f, 0);
	c = pop(f);
	data = mem_code_mark(&f->mem, BUF, 16, &first);
	ring = mem_code_mark(&f->mem, USED, 64, &first);
	vq_push(&f->q, c, 1);
	assert_int_not_equal(mem_code_gen(&f->mem, BUF), data);
	assert_int_not_equal(mem_code_gen(&f->mem, USED), ring);
	data = mem_code_mark(&f->mem, BUF, 16, &first);
	vq_write_byte(&f->q, f->mem.base + BUF + 3, 1);
	assert_int_not_equal(mem_code_gen(&f->mem, BUF), data);
	done(f);
}

/* --- drivers that break the rules --- */

static void broken_chains(void **state)
{
	struct fix *f = make(true, false, false);

	put(f, DESC, 0, BUF, 8, N, 0); /* loops: to itself, of two, of empty buffers */
	assert_breaks(f);
	put(f, DESC, 0, BUF, 8, N, 1);
	put(f, DESC, 1, BUF, 8, N, 0);
	assert_breaks(f);
	put(f, DESC, 0, BUF, 0, N, 1);
	put(f, DESC, 1, BUF, 0, N, 0);
	assert_breaks(f);
	put(f, DESC, 0, BUF, 8, N, ENTRIES); /* next outside */
	assert_breaks(f);
	put(f, DESC, 0, BUF, 8, N, 0xffff);
	assert_breaks(f);
	put(f, DESC, 0, BUF, 8, N | W, 1); /* writable before readable */
	put(f, DESC, 1, BUF, 8, 0, 0);
	assert_breaks(f);
	put(f, DESC, 0, RAM, 1, 0, 0); /* not RAM */
	assert_breaks(f);
	put(f, DESC, 0, RAM - 1, 2, W, 0);
	assert_breaks(f);
	put(f, DESC, 0, ~0ull, 1, W, 0);
	assert_breaks(f);
	put(f, DESC, 0, ~0ull - 1, 0xffffffff, W, 0);
	assert_breaks(f);
	put(f, DESC, 0, 0, 0xffffffff, W, 0);
	assert_breaks(f);
	done(f);
}

static void broken_tables(void **state)
{
	static const u32 lens[] = {0, 1, 8, 15, 17, 31, 65535, 65537, 0xffffffff, 0xfffffff0};
	struct fix *f = make(true, false, false);

	for (unsigned n = 0; n < ARRAY_SIZE(lens); n++) {
		put(f, TABLE, 0, BUF, 1, 0, 0);
		put(f, DESC, 0, TABLE, lens[n], I, 0);
		assert_breaks(f);
	}
	put(f, DESC, 0, TABLE, 16, I | N, 1); /* not the last */
	put(f, DESC, 1, BUF, 1, 0, 0);
	assert_breaks(f);
	put(f, DESC, 0, TABLE, 32, I, 0); /* nested */
	put(f, TABLE, 0, TABLE, 32, I, 0);
	assert_breaks(f);
	put(f, DESC, 0, TABLE, 32, I, 0); /* next outside the table, inside the queue */
	put(f, TABLE, 0, BUF, 1, N, 2);
	assert_breaks(f);
	put(f, DESC, 0, RAM - 16, 32, I, 0);
	assert_breaks(f);
	put(f, DESC, 0, ~0ull - 15, 16, I, 0);
	assert_breaks(f);
	for (u16 n = 0; n <= ENTRIES; n++) /* one buffer too many */
		put(f, TABLE, n, BUF, 1, n < ENTRIES ? N : 0, (u16)(n + 1));
	put(f, DESC, 0, TABLE, 16 * (ENTRIES + 1), I, 0);
	assert_breaks(f);
	vq_stop(&f->q); /* not negotiated */
	assert_int_equal(vq_start(&f->q, false, false), 0);
	put(f, TABLE, 0, BUF, 1, 0, 0);
	put(f, DESC, 0, TABLE, 16, I, 0);
	assert_breaks(f);
	done(f);
}

static void broken_rings(void **state)
{
	struct fix *f = make(false, false, false);
	struct vq_chain *c = NULL;

	put(f, DESC, 0, BUF, 1, 0, 0);
	set16(f, AVAIL + 4, ENTRIES); /* head outside */
	set16(f, AVAIL + 2, 1);
	assert_int_equal(vq_pop(&f->q, &c), -EINVAL);
	for (unsigned jump = ENTRIES + 1; jump < 65536; jump += 997) {
		vq_stop(&f->q);
		assert_int_equal(vq_start(&f->q, false, false), 0);
		set16(f, AVAIL + 4, 0);
		set16(f, AVAIL + 2, (u16)jump); /* more entries than there are */
		assert_int_equal(vq_pop(&f->q, &c), -EINVAL);
	}
	/* the same chain again while it is in flight */
	assert_int_equal(vq_start(&f->q, false, false), 0);
	f->published = 0;
	publish(f, 0);
	publish(f, 0);
	c = pop(f);
	assert_int_equal(vq_pop(&f->q, &c), -EINVAL);
	assert_int_equal(f->q.inflight, 1);
	vq_push(&f->q, &f->q.chains[0], 0);
	done(f);
}

/* --- a driver on another thread that changes what it published --- */

static bool stop;

static void *flip(void *opaque)
{
	struct fix *f = opaque;
	u64 *addr = (u64 *)(void *)(f->mem.base + DESC), *rest = addr + 1;
	u64 good = 64 | (u64)W << 32, bad = 0xffffffff | (u64)(W | N) << 32 | 0xffffull << 48;

	for (unsigned n = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
		__atomic_store_n(rest, n & 1 ? bad : good, __ATOMIC_RELAXED);
		__atomic_store_n(addr, n & 2 ? ~0ull - 100 : BUF, __ATOMIC_RELAXED);
		set16(f, AVAIL + 4, n & 4 ? 0xffff : 0);
	}
	return NULL;
}

static void read_once(void **state)
{
	struct fix *f = make(false, false, false);
	unsigned popped = 0;
	pthread_t t;

	stop = false;
	put(f, DESC, 0, BUF, 64, W, 0);
	assert_int_equal(pthread_create(&t, NULL, flip, f), 0);
	for (unsigned n = 0; n < 100000 || !popped; n++) {
		struct vq_chain *c;

		if (!f->q.running) {
			set16(f, AVAIL + 2, 0);
			assert_int_equal(vq_start(&f->q, false, false), 0);
		}
		set16(f, AVAIL + 2, 1);
		if (vq_pop(&f->q, &c) == 1) {
			popped++;
			for (unsigned i = 0; i < c->nwr; i++)
				assert_true(mem_is_ram(&f->mem, (u64)((u8 *)c->wr[i].iov_base - f->mem.base),
				        c->wr[i].iov_len));
			assert_int_equal(c->wr_len, 64);
			vq_push(&f->q, c, 0);
		}
		vq_stop(&f->q);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	done(f);
}

/* --- a driver on another thread that plays by the rules: nothing gets lost, everybody is woken --- */

#define TRIPS 20000

struct stress {
	struct fix *f;
	unsigned kicks, irqs; /* what each side was told; atomic */
};

static void *device(void *opaque)
{
	struct stress *s = opaque;
	struct virtqueue *q = &s->f->q;

	for (unsigned n = 0; n < TRIPS;) {
		unsigned seen = __atomic_load_n(&s->kicks, __ATOMIC_SEQ_CST);
		struct vq_chain *c;

		while (n < TRIPS && vq_pop(q, &c) == 1) {
			n++;
			vq_push(q, c, n);
			if (vq_wants_interrupt(q))
				__atomic_add_fetch(&s->irqs, 1, __ATOMIC_SEQ_CST);
		}
		while (n < TRIPS && __atomic_load_n(&s->kicks, __ATOMIC_SEQ_CST) == seen)
			sched_yield();
	}
	return NULL;
}

static void two_sides(void **state)
{
	struct fix *f = make(false, true, false);
	struct stress s = {.f = f};
	u16 used = 0;
	pthread_t t;

	for (u16 n = 0; n < ENTRIES; n++)
		put(f, DESC, n, BUF, 1, W, 0);
	assert_int_equal(pthread_create(&t, NULL, device, &s), 0);
	for (unsigned sent = 0, got = 0; got < TRIPS;) {
		unsigned irqs = __atomic_load_n(&s.irqs, __ATOMIC_SEQ_CST);

		while (sent < TRIPS && sent - got < ENTRIES) {
			publish(f, (u16)(sent++ % ENTRIES));
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (get16(f, USED + 4 + 8 * ENTRIES) == (u16)(sent - 1))
				__atomic_add_fetch(&s.kicks, 1, __ATOMIC_SEQ_CST);
		}
		set16(f, AVAIL + 4 + 2 * ENTRIES, used); /* tell me of the next */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (get16(f, USED + 2) == used) /* else: only an interrupt may end the wait */
			while (__atomic_load_n(&s.irqs, __ATOMIC_SEQ_CST) == irqs)
				sched_yield();
		for (; used != get16(f, USED + 2); used++) {
			got++;
			assert_int_equal(get_le32(f->mem.base + USED + 8 + 8 * (used % ENTRIES)), got);
		}
	}
	pthread_join(t, NULL);
	done(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(chain_of_buffers),
	        cmocka_unit_test(wraps),
	        cmocka_unit_test(smaller_queue),
	        cmocka_unit_test(indirect),
	        cmocka_unit_test(flags),
	        cmocka_unit_test(events),
	        cmocka_unit_test(starting),
	        cmocka_unit_test(disowned),
	        cmocka_unit_test(code_is_tracked),
	        cmocka_unit_test(broken_chains),
	        cmocka_unit_test(broken_tables),
	        cmocka_unit_test(broken_rings),
	        cmocka_unit_test(read_once),
	        cmocka_unit_test(two_sides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
