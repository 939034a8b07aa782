/*
 * Address spaces: which handler gets which offset and width, what lies in holes and at the end, and
 * that regions may come, go and move at any time.
 */
#include "bus/space.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define LOG_MAX 16

struct call {
	u64 off, val;
	unsigned size;
	bool write;
};

/* A region of memory that keeps a record of its calls. */
struct probe {
	struct region region;
	struct region_ops ops;
	u8 mem[64];
	struct call log[LOG_MAX];
	unsigned calls;
};

static void record(struct probe *p, u64 off, unsigned size, u64 val, bool write)
{
	assert_true(off + size <= p->region.len);
	assert_true(p->ops.unaligned || off % size == 0);
	assert_true(size >= MAX(p->ops.min, 1) && size <= (p->ops.max ? p->ops.max : 8));
	if (p->calls < LOG_MAX)
		p->log[p->calls] = (struct call){off, val, size, write};
	p->calls++;
}

static u64 probe_read(void *opaque, u64 off, unsigned size)
{
	struct probe *p = opaque;
	u64 val = ~0ull; /* what is above size must not matter */

	memcpy(&val, &p->mem[off], size);
	record(p, off, size, val & ones(size), false);
	return val;
}

static void probe_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct probe *p = opaque;

	assert_true(val <= ones(size));
	record(p, off, size, val, true);
	memcpy(&p->mem[off], &val, size);
}

static void probe_init(struct probe *p, u64 base, u64 len, u8 min, u8 max, bool unaligned)
{
	memset(p, 0, sizeof(*p));
	p->ops = (struct region_ops){probe_read, probe_write, min, max, unaligned};
	p->region = (struct region){.base = base, .len = len, .ops = &p->ops, .opaque = p, .name = "probe"};
	for (unsigned n = 0; n < sizeof(p->mem); n++)
		p->mem[n] = (u8)(0x40 + n);
}

struct holes {
	u64 addr[LOG_MAX];
	unsigned size[LOG_MAX];
	bool write[LOG_MAX];
	unsigned count;
};

static void on_hole(void *opaque, u64 addr, unsigned size, bool write)
{
	struct holes *h = opaque;

	assert_true(h->count < LOG_MAX);
	h->addr[h->count] = addr;
	h->size[h->count] = size;
	h->write[h->count++] = write;
}

static void holes(void **state)
{
	struct space s;
	struct holes h = {.count = 0};

	assert_int_equal(space_init(&s, 0xffff), 0);
	for (unsigned size = 1; size <= 8; size++)
		assert_true(space_read(&s, 0x123, size) == ones(size));
	s.hole = on_hole;
	s.hole_opaque = &h;
	space_write(&s, 0x10, 4, 0);
	assert_true(space_read(&s, 0x20, 2) == 0xffff);
	assert_int_equal(h.count, 2);
	assert_true(h.addr[0] == 0x10 && h.size[0] == 4 && h.write[0]);
	assert_true(h.addr[1] == 0x20 && h.size[1] == 2 && !h.write[1]);
	space_fini(&s);
}

static void adding(void **state)
{
	struct space s;
	struct probe p[4];

	assert_int_equal(space_init(&s, 0xffff), 0);
	probe_init(&p[0], 0x100, 16, 0, 0, false);
	probe_init(&p[1], 0x110, 16, 0, 0, false);
	probe_init(&p[2], 0x10f, 1, 0, 0, false);
	probe_init(&p[3], 0x90, 64, 0, 0, false);
	assert_int_equal(space_add(&s, &p[1].region), 0);
	assert_int_equal(space_add(&s, &p[0].region), 0);
	assert_int_equal(space_add(&s, &p[0].region), -EEXIST);
	assert_int_equal(space_add(&s, &p[2].region), -EEXIST);
	p[3].region.len = 0x71; /* reaches one byte into the first */
	assert_int_equal(space_add(&s, &p[3].region), -EEXIST);
	p[3].region.len = 0x1000;
	assert_int_equal(space_add(&s, &p[3].region), -EEXIST);
	p[3].region.len = 0x70;
	assert_int_equal(space_add(&s, &p[3].region), 0);
	space_remove(&s, &p[2].region); /* was never there */
	space_remove(&s, &p[0].region);
	assert_true(space_read(&s, 0x100, 1) == 0xff);
	assert_true(space_read(&s, 0x110, 1) == 0x40);
	assert_int_equal(space_add(&s, &p[2].region), 0);
	assert_int_equal(space_add(&s, &p[0].region), -EEXIST);
	space_fini(&s);
}

static void out_of_range(void **state)
{
	static const struct {
		u64 limit, base, len;
		int rc;
	} cases[] = {
	        {0xffff, 0xfff8, 8, 0},
	        {0xffff, 0xfff9, 8, -ERANGE},
	        {0xffff, 0x10000, 1, -ERANGE},
	        {0xffff, 0, 0x10000, 0},
	        {0xffff, 0, 0, -ERANGE},
	        {0xffff, 8, UINT64_MAX - 2, -ERANGE},
	        {UINT64_MAX, UINT64_MAX, 1, 0},
	        {UINT64_MAX, UINT64_MAX, 2, -ERANGE},
	        {UINT64_MAX, 0, UINT64_MAX, 0},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct space s;
		struct probe p;

		assert_int_equal(space_init(&s, cases[n].limit), 0);
		probe_init(&p, cases[n].base, cases[n].len, 0, 0, false);
		assert_int_equal(space_add(&s, &p.region), cases[n].rc);
		space_fini(&s);
	}
}

/* One access and the calls it becomes: sizes and offsets in order. */
static const struct {
	u8 min, max;
	bool unaligned;
	u64 off;
	unsigned size;
	struct {
		u8 off, size;
	} call[8];
} splits[] = {
        {0, 0, false, 8, 8, {{8, 8}}},
        {0, 0, false, 4, 8, {{4, 4}, {8, 4}}},
        {0, 0, false, 1, 8, {{1, 1}, {2, 2}, {4, 4}, {8, 1}}},
        {0, 0, false, 3, 2, {{3, 1}, {4, 1}}},
        {0, 0, true, 1, 8, {{1, 8}}},
        {0, 0, true, 1, 7, {{1, 4}, {5, 2}, {7, 1}}},
        {1, 1, false, 4, 4, {{4, 1}, {5, 1}, {6, 1}, {7, 1}}},
        {1, 2, false, 5, 4, {{5, 1}, {6, 2}, {8, 1}}},
        {1, 4, false, 0, 8, {{0, 4}, {4, 4}}},
        {4, 4, false, 0x10, 1, {{0x10, 4}}},
        {4, 4, false, 0x13, 1, {{0x10, 4}}},
        {4, 4, false, 0x13, 2, {{0x10, 4}, {0x14, 4}}},
        {4, 4, false, 0x12, 4, {{0x10, 4}, {0x14, 4}}},
        {4, 8, false, 0x14, 8, {{0x14, 4}, {0x18, 4}}},
        {4, 8, false, 0x18, 8, {{0x18, 8}}},
        {4, 8, false, 0x11, 8, {{0x10, 4}, {0x14, 4}, {0x18, 4}}},
        {8, 8, false, 0x11, 2, {{0x10, 8}}},
        {2, 2, false, 0x21, 3, {{0x20, 2}, {0x22, 2}}},
        {4, 4, true, 0x13, 4, {{0x13, 4}}},
};

static void check_calls(const struct probe *p, unsigned n, bool write)
{
	unsigned expected = 0;

	while (expected < 8 && splits[n].call[expected].size)
		expected++;
	if (p->calls != expected)
		print_error("case %u\n", n);
	assert_int_equal(p->calls, expected);
	for (unsigned i = 0; i < expected; i++) {
		assert_int_equal(p->log[i].off, splits[n].call[i].off);
		assert_int_equal(p->log[i].size, splits[n].call[i].size);
		assert_int_equal(p->log[i].write, write);
	}
}

static void widths(void **state)
{
	for (unsigned n = 0; n < ARRAY_SIZE(splits); n++) {
		struct space s;
		struct probe p;
		u64 val = 0, off = splits[n].off;

		assert_int_equal(space_init(&s, UINT64_MAX), 0);
		probe_init(&p, 0xfec00000, 64, splits[n].min, splits[n].max, splits[n].unaligned);
		assert_int_equal(space_add(&s, &p.region), 0);
		memcpy(&val, &p.mem[off], splits[n].size);
		assert_true(space_read(&s, 0xfec00000 + off, splits[n].size) == val);
		check_calls(&p, n, false);
		p.calls = 0;
		val = 0x8877665544332211ull & ones(splits[n].size);
		space_write(&s, 0xfec00000 + off, splits[n].size, val | ~ones(splits[n].size));
		check_calls(&p, n, true);
		assert_memory_equal(&p.mem[off], &val, splits[n].size);
		space_fini(&s);
	}
}

/* Bytes beside a narrow write become zero: nothing is read to merge. */
static void narrow_write(void **state)
{
	struct space s;
	struct probe p;

	assert_int_equal(space_init(&s, UINT64_MAX), 0);
	probe_init(&p, 0x1000, 64, 4, 4, false);
	assert_int_equal(space_add(&s, &p.region), 0);
	space_write(&s, 0x1002, 1, 0xab);
	assert_int_equal(p.calls, 1);
	assert_true(p.log[0].write && p.log[0].val == 0xab0000);
	space_fini(&s);
}

/* Two regions with a hole of two bytes between. */
static void straddling(void **state)
{
	struct space s;
	struct probe a, b;
	struct holes h = {.count = 0};

	assert_int_equal(space_init(&s, 0xffff), 0);
	s.hole = on_hole;
	s.hole_opaque = &h;
	probe_init(&a, 0x100, 3, 0, 0, true);
	probe_init(&b, 0x105, 8, 4, 4, true);
	assert_int_equal(space_add(&s, &a.region), 0);
	assert_int_equal(space_add(&s, &b.region), 0);
	assert_true(space_read(&s, 0x101, 8) == 0x43424140ffff4241ull);
	assert_int_equal(h.count, 1);
	assert_true(h.addr[0] == 0x103 && h.size[0] == 2);
	space_write(&s, 0x102, 4, 0xdeadbeef);
	assert_int_equal(a.mem[2], 0xef);
	assert_int_equal(b.mem[0], 0xde);
	assert_true(space_read(&s, 0xfe, 4) == 0x4140ffff);
	space_fini(&s);
}

/* The region ends within its own smallest width: its tail is like a hole. */
static void odd_length(void **state)
{
	struct space s;
	struct probe p;

	assert_int_equal(space_init(&s, 0xffff), 0);
	probe_init(&p, 0x100, 6, 4, 4, false);
	assert_int_equal(space_add(&s, &p.region), 0);
	assert_true(space_read(&s, 0x104, 2) == 0xffff);
	space_write(&s, 0x105, 1, 0);
	assert_int_equal(p.calls, 0);
	assert_true(space_read(&s, 0x102, 4) == 0xffff4342);
	space_fini(&s);
}

static void end_of_space(void **state)
{
	struct space ports, memory;
	struct probe first, last, mem_first, mem_last;

	assert_int_equal(space_init(&ports, 0xffff), 0);
	assert_int_equal(space_init(&memory, UINT64_MAX), 0);
	probe_init(&first, 0, 8, 0, 0, true);
	probe_init(&last, 0xffff, 1, 0, 0, true);
	probe_init(&mem_first, 0, 8, 0, 0, true);
	probe_init(&mem_last, UINT64_MAX, 1, 0, 0, true);
	assert_int_equal(space_add(&ports, &first.region), 0);
	assert_int_equal(space_add(&ports, &last.region), 0);
	assert_int_equal(space_add(&memory, &mem_first.region), 0);
	assert_int_equal(space_add(&memory, &mem_last.region), 0);
	assert_true(space_read(&ports, 0xffff, 4) == 0xffffff40);
	assert_true(space_read(&ports, 0x10000, 4) == 0xffffffff);
	space_write(&ports, 0xfffe, 4, 0);
	assert_int_equal(last.mem[0], 0);
	assert_true(space_read(&memory, UINT64_MAX, 8) == 0xffffffffffffff40ull);
	space_write(&memory, UINT64_MAX, 8, 0);
	assert_int_equal(first.calls, 0);
	assert_int_equal(mem_first.calls, 0);
	space_fini(&ports);
	space_fini(&memory);
}

/* --- locks and moves --- */

struct mover {
	struct space space;
	struct region region;
	pthread_mutex_t lock;
	bool was_locked;
};

static u64 mover_read(void *opaque, u64 off, unsigned size)
{
	struct mover *m = opaque;

	m->was_locked = pthread_mutex_trylock(&m->lock) == EBUSY;
	return 0x55;
}

static void mover_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct mover *m = opaque;

	space_remove(&m->space, &m->region);
	m->region.base = val;
	(void)space_add(&m->space, &m->region);
}

static const struct region_ops mover_ops = {.read = mover_read, .write = mover_write};

static void mover_init(struct mover *m, u64 base)
{
	memset(m, 0, sizeof(*m));
	assert_int_equal(space_init(&m->space, UINT64_MAX), 0);
	pthread_mutex_init(&m->lock, NULL);
	m->region = (struct region){
	        .base = base, .len = 4096, .ops = &mover_ops, .opaque = m, .lock = &m->lock, .name = "mover"};
	assert_int_equal(space_add(&m->space, &m->region), 0);
}

static void mover_fini(struct mover *m)
{
	space_fini(&m->space);
	pthread_mutex_destroy(&m->lock);
}

static void handler_moves_region(void **state)
{
	struct mover m;

	mover_init(&m, 0x1000);
	assert_true(space_read(&m.space, 0x1004, 1) == 0x55);
	assert_true(m.was_locked);
	space_write(&m.space, 0x1000, 8, 0x8000);
	assert_true(space_read(&m.space, 0x1000, 1) == 0xff);
	assert_true(space_read(&m.space, 0x8000, 1) == 0x55);
	space_write(&m.space, 0x8000, 8, UINT64_MAX); /* does not fit: gone */
	assert_true(space_read(&m.space, 0x8000, 1) == 0xff);
	mover_fini(&m);
}

static void *keep_moving(void *opaque)
{
	struct mover *m = opaque;

	for (unsigned n = 0; n < 20000; n++) {
		space_remove(&m->space, &m->region);
		m->region.base = n & 1 ? 0x1000 : 0x2000;
		(void)space_add(&m->space, &m->region);
	}
	return NULL;
}

/* While a region moves, a reader sees it or a hole, nothing else. */
static void moving_beside_readers(void **state)
{
	struct mover m;
	pthread_t thread;

	mover_init(&m, 0x1000);
	assert_int_equal(pthread_create(&thread, NULL, keep_moving, &m), 0);
	for (unsigned n = 0; n < 20000; n++) {
		u64 val = space_read(&m.space, 0x1ff8, 1);

		assert_true(val == 0x55 || val == 0xff);
	}
	pthread_join(thread, NULL);
	assert_true(space_read(&m.space, 0x1000, 1) == 0x55);
	mover_fini(&m);
}

/* --- a model: for each address, the region that has it --- */

#define MODEL 512
#define REGIONS 24

static u32 rnd(u32 *x)
{
	*x = *x * 1664525 + 1013904223;
	return *x >> 8;
}

static u64 id_read(void *opaque, u64 off, unsigned size)
{
	return *(u8 *)opaque;
}

static const struct region_ops id_ops = {.read = id_read, .min = 1, .max = 1};

static bool is_free(const u8 *model, const struct region *r)
{
	for (u64 a = r->base; a < r->base + r->len; a++)
		if (model[a] != 0xff)
			return false;
	return true;
}

static void against_model(void **state)
{
	struct space s;
	struct region r[REGIONS] = {0};
	u8 id[REGIONS], model[MODEL];
	u32 x = 1;

	assert_int_equal(space_init(&s, MODEL - 1), 0);
	memset(model, 0xff, sizeof(model));
	for (unsigned step = 0; step < 4000; step++) {
		unsigned n = rnd(&x) % REGIONS;
		u64 a = rnd(&x) % MODEL;

		if (r[n].mapped) {
			space_remove(&s, &r[n]);
			memset(&model[r[n].base], 0xff, r[n].len);
		} else {
			id[n] = (u8)n;
			r[n] = (struct region){
			        .base = a, .len = 1 + rnd(&x) % 40, .ops = &id_ops, .opaque = &id[n]};
			if (a + r[n].len > MODEL) {
				assert_int_equal(space_add(&s, &r[n]), -ERANGE);
			} else if (!is_free(model, &r[n])) {
				assert_int_equal(space_add(&s, &r[n]), -EEXIST);
			} else {
				assert_int_equal(space_add(&s, &r[n]), 0);
				memset(&model[a], (int)n, r[n].len);
			}
		}
		a = rnd(&x) % (MODEL - 8);
		assert_true(space_read(&s, a, 8) == get_le64(&model[a]));
	}
	space_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(holes),
	        cmocka_unit_test(adding),
	        cmocka_unit_test(out_of_range),
	        cmocka_unit_test(widths),
	        cmocka_unit_test(narrow_write),
	        cmocka_unit_test(straddling),
	        cmocka_unit_test(odd_length),
	        cmocka_unit_test(end_of_space),
	        cmocka_unit_test(handler_moves_region),
	        cmocka_unit_test(moving_beside_readers),
	        cmocka_unit_test(against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
