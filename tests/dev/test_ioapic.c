/*
 * I/O APIC in front of real LAPICs: register window, edges, levels with remote IRR and EOI, masks, modes,
 * and entries that no LAPIC accepts.
 */
#include "apics.h"

#include "dev/ioapic.h"

#define MASK 0x10000u
#define LEVEL 0x8000u
#define REMOTE_IRR 0x4000u

struct board {
	struct apics a;
	struct ioapic io;
};

static void to_ioapic(void *opaque, u8 vector)
{
	struct board *b = opaque;

	on_eoi(&b->a, vector);
	ioapic_eoi(&b->io, vector);
}

static void board_init(struct board *b)
{
	struct ioapic_config c = {.id = 4};

	apics_init(&b->a, 2, false);
	apics_enable(&b->a);
	b->a.set.cfg.eoi = to_ioapic;
	b->a.set.cfg.opaque = b;
	c.memory = &b->a.b.memory;
	c.lapics = &b->a.set;
	assert_int_equal(ioapic_init(&b->io, &c), 0);
}

static void board_fini(struct board *b)
{
	ioapic_fini(&b->io);
	apics_fini(&b->a);
}

static u32 reg(struct board *b, u8 n)
{
	space_write(&b->a.b.memory, IOAPIC_BASE, 4, n);
	return (u32)space_read(&b->a.b.memory, IOAPIC_BASE + 0x10, 4);
}

static void set_reg(struct board *b, u8 n, u32 val)
{
	space_write(&b->a.b.memory, IOAPIC_BASE, 4, n);
	space_write(&b->a.b.memory, IOAPIC_BASE + 0x10, 4, val);
}

static void entry(struct board *b, unsigned pin, u8 dest, u32 low)
{
	set_reg(b, (u8)(0x11 + 2 * pin), (u32)dest << 24);
	set_reg(b, (u8)(0x10 + 2 * pin), low);
}

static u32 low(struct board *b, unsigned pin)
{
	return reg(b, (u8)(0x10 + 2 * pin));
}

static void pin_set(struct board *b, unsigned pin, bool level)
{
	struct wire w = ioapic_input(&b->io, pin);

	wire_set(&w, level);
}

static void end(struct board *b, unsigned cpu)
{
	wr(&b->a, cpu, EOI, 0);
}

static void registers(void **state)
{
	struct board b;
	struct space *m = &b.a.b.memory;

	board_init(&b);
	assert_int_equal(reg(&b, 0), 4u << 24);
	assert_int_equal(reg(&b, 1), 0x170020);
	for (unsigned pin = 0; pin < 24; pin++) {
		assert_int_equal(low(&b, pin), MASK);
		entry(&b, pin, 0x5a, 0xffffffff);
		assert_int_equal(low(&b, pin), 0x1afff); /* status bits and reserved ones are not writable */
		assert_int_equal(reg(&b, (u8)(0x11 + 2 * pin)), 0x5a000000);
	}
	set_reg(&b, 0x11, 0xffffffff);
	assert_int_equal(reg(&b, 0x11), 0xff000000);
	set_reg(&b, 0, 0xffffffff);
	assert_int_equal(reg(&b, 0), 0x0f000000);
	set_reg(&b, 1, 0);
	assert_int_equal(reg(&b, 1), 0x170020);
	assert_int_equal(reg(&b, 0x40), 0);
	assert_int_equal(reg(&b, 0xff), 0);
	set_reg(&b, 0x40, 0xffffffff);
	/* byte access to the index, as some firmware does */
	space_write(m, IOAPIC_BASE, 1, 1);
	assert_int_equal(space_read(m, IOAPIC_BASE + 0x10, 1), 0x20);
	assert_int_equal(space_read(m, IOAPIC_BASE + 0x12, 1), 0x17);
	assert_int_equal(space_read(m, IOAPIC_BASE + 0x20, 4), 0);
	ioapic_reset(&b.io);
	assert_int_equal(reg(&b, 0), 4u << 24);
	assert_int_equal(low(&b, 7), MASK);
	board_fini(&b);
}

static void sweep(void **state)
{
	struct board b;

	board_init(&b);
	bench_sweep(&b.a.b.memory, IOAPIC_BASE, 0x60);
	bench_sweep(&b.a.b.memory, IOAPIC_BASE + 0xff0, 0x10);
	for (unsigned n = 0; n < 256; n++) {
		set_reg(&b, (u8)n, 0xffffffff);
		set_reg(&b, (u8)n, 0);
		pin_set(&b, n % 24, n & 1);
	}
	board_fini(&b);
}

static void edges(void **state)
{
	struct board b;

	board_init(&b);
	entry(&b, 4, 1, 0x34);
	pin_set(&b, 4, true);
	pin_set(&b, 4, true);
	assert_int_equal(takers(&b.a, 0x34), 2);
	pin_set(&b, 4, false);
	assert_int_equal(takers(&b.a, 0x34), 0);
	pin_set(&b, 4, true);
	assert_int_equal(takers(&b.a, 0x34), 2);
	assert_int_equal(b.a.eois, 0);
	assert_int_equal(low(&b, 4), 0x34);
	/* an edge at a masked pin is lost (82093AA, 3.2.4) */
	entry(&b, 4, 1, MASK | 0x34);
	pin_set(&b, 4, false);
	pin_set(&b, 4, true);
	entry(&b, 4, 1, 0x34);
	assert_int_equal(takers(&b.a, 0x34), 0);
	board_fini(&b);
}

static void levels(void **state)
{
	struct board b;

	board_init(&b);
	entry(&b, 16, 0, LEVEL | 0x60);
	pin_set(&b, 16, true);
	assert_int_equal(low(&b, 16), LEVEL | REMOTE_IRR | 0x60);
	assert_int_equal(accept(&b.a, 0), 0x60);
	pin_set(&b, 16, false);
	pin_set(&b, 16, true);
	assert_false(pending(&b.a, 0)); /* being handled */
	end(&b, 0);
	assert_int_equal(accept(&b.a, 0), 0x60); /* still asserted: again */
	pin_set(&b, 16, false);
	end(&b, 0);
	assert_int_equal(low(&b, 16), LEVEL | 0x60);
	assert_false(pending(&b.a, 0));
	assert_int_equal(b.a.eois, 2);
	/* a masked level is seen when the mask goes */
	entry(&b, 16, 0, MASK | LEVEL | 0x60);
	pin_set(&b, 16, true);
	assert_false(pending(&b.a, 0));
	set_reg(&b, 0x10 + 2 * 16, LEVEL | 0x60);
	assert_int_equal(accept(&b.a, 0), 0x60);
	/* masked while handled: EOI clears remote IRR, nothing is sent until the mask goes */
	set_reg(&b, 0x10 + 2 * 16, MASK | LEVEL | 0x60);
	end(&b, 0);
	assert_int_equal(low(&b, 16), MASK | LEVEL | 0x60);
	assert_false(pending(&b.a, 0));
	set_reg(&b, 0x10 + 2 * 16, LEVEL | 0x60);
	assert_int_equal(accept(&b.a, 0), 0x60);
	board_fini(&b);
}

/* Two pins with one vector, and the other ways to end an interrupt. */
static void shared_vector(void **state)
{
	struct board b;

	board_init(&b);
	entry(&b, 17, 0, LEVEL | 0x61);
	entry(&b, 18, 0, LEVEL | 0x61);
	pin_set(&b, 17, true);
	pin_set(&b, 18, true);
	assert_int_equal(accept(&b.a, 0), 0x61);
	pin_set(&b, 17, false);
	end(&b, 0);
	assert_int_equal(low(&b, 17), LEVEL | 0x61);
	assert_int_equal(low(&b, 18), LEVEL | REMOTE_IRR | 0x61);
	assert_int_equal(accept(&b.a, 0), 0x61);
	pin_set(&b, 18, false);
	/* the EOI register of version 0x20 */
	space_write(&b.a.b.memory, IOAPIC_BASE + 0x40, 4, 0x60);
	assert_int_equal(low(&b, 18), LEVEL | REMOTE_IRR | 0x61);
	space_write(&b.a.b.memory, IOAPIC_BASE + 0x40, 4, 0x61);
	assert_int_equal(low(&b, 18), LEVEL | 0x61);
	end(&b, 0);
	/* and to edge and back */
	pin_set(&b, 17, true);
	assert_int_equal(accept(&b.a, 0), 0x61);
	set_reg(&b, 0x10 + 2 * 17, MASK | 0x61);
	assert_int_equal(low(&b, 17), MASK | 0x61);
	set_reg(&b, 0x10 + 2 * 17, MASK | LEVEL | 0x61);
	assert_int_equal(low(&b, 17), MASK | LEVEL | 0x61);
	board_fini(&b);
}

static void modes(void **state)
{
	struct board b;

	board_init(&b);
	b.a.pic_vector = 0x21;
	wr(&b.a, 0, LVT(3), MASK);
	/* Even programmed as levels these never wait for an EOI. */
	entry(&b, 0, 0, LEVEL | 0x700);
	pin_set(&b, 0, true);
	assert_int_equal(accept(&b.a, 0), 0x21);
	assert_int_equal(low(&b, 0), LEVEL | 0x700);
	entry(&b, 1, 1, LEVEL | 0x400);
	pin_set(&b, 1, true);
	pin_set(&b, 1, false);
	pin_set(&b, 1, true);
	assert_int_equal(b.a.cpu[1].signals[CPU_SIG_NMI], 2);
	assert_int_equal(low(&b, 1), LEVEL | 0x400);
	entry(&b, 2, 1, 0x200);
	pin_set(&b, 2, true);
	assert_int_equal(b.a.cpu[1].signals[CPU_SIG_SMI], 1);
	entry(&b, 3, 1, 0x500);
	pin_set(&b, 3, true);
	assert_int_equal(b.a.cpu[1].signals[CPU_SIG_INIT], 1);
	entry(&b, 5, 1, 0x600); /* reserved: not a start-up IPI */
	pin_set(&b, 5, true);
	assert_int_equal(b.a.cpu[1].signals[CPU_SIG_SIPI], 0);
	entry(&b, 6, 0xff, 0x150); /* lowest priority among all */
	wr(&b.a, 0, TPR, 0x20);
	pin_set(&b, 6, true);
	assert_int_equal(takers(&b.a, 0x50), 2);
	/* logical */
	wr(&b.a, 0, TPR, 0);
	wr(&b.a, 0, 0xd0, 0x01000000);
	wr(&b.a, 1, 0xd0, 0x02000000);
	entry(&b, 7, 3, 0x851);
	pin_set(&b, 7, true);
	assert_int_equal(takers(&b.a, 0x51), 3);
	board_fini(&b);
}

/* Not accepted: remote IRR stays clear, so that the level comes when there is somebody. */
static void nobody_there(void **state)
{
	struct board b;

	board_init(&b);
	entry(&b, 20, 9, LEVEL | 0x70);
	pin_set(&b, 20, true);
	assert_int_equal(low(&b, 20), LEVEL | 0x70);
	set_reg(&b, 0x11 + 2 * 20, 1u << 24);
	assert_int_equal(low(&b, 20), LEVEL | REMOTE_IRR | 0x70);
	assert_int_equal(takers(&b.a, 0x70), 2);
	board_fini(&b);
}

/* What the polarity bit says does not matter: a wire carries "asserted". */
static void polarity(void **state)
{
	struct board b;

	board_init(&b);
	entry(&b, 9, 0, LEVEL | 0x2000 | 0x39);
	assert_false(pending(&b.a, 0));
	pin_set(&b, 9, true);
	assert_int_equal(accept(&b.a, 0), 0x39);
	assert_int_equal(low(&b, 9), LEVEL | REMOTE_IRR | 0x2000 | 0x39);
	board_fini(&b);
}

/* --- a level line that two threads work on --- */

#define TURNS 5000

struct source {
	struct board *b;
	u32 raised, served; /* atomic */
};

static void *keep_raising(void *opaque)
{
	struct source *s = opaque;

	for (u32 n = 1; n <= TURNS; n++) {
		pin_set(s->b, 22, true);
		__atomic_store_n(&s->raised, n, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&s->served, __ATOMIC_SEQ_CST) != n)
			sched_yield();
	}
	return NULL;
}

/* The handler lowers the line and ends the interrupt; each of the source's requests is served. */
static void level_across_threads(void **state)
{
	struct board b;
	struct source s = {.b = &b};
	pthread_t thread;

	board_init(&b);
	entry(&b, 22, 0, LEVEL | 0x62);
	assert_int_equal(pthread_create(&thread, NULL, keep_raising, &s), 0);
	while (__atomic_load_n(&s.served, __ATOMIC_SEQ_CST) < TURNS) {
		u32 raised;

		if (accept(&b.a, 0) < 0) {
			sched_yield();
			continue;
		}
		raised = __atomic_load_n(&s.raised, __ATOMIC_SEQ_CST);
		if (raised != s.served)
			pin_set(&b, 22, false);
		end(&b, 0);
		__atomic_store_n(&s.served, raised, __ATOMIC_SEQ_CST);
	}
	pthread_join(thread, NULL);
	assert_int_equal(low(&b, 22), LEVEL | 0x62);
	board_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(registers),
	        cmocka_unit_test(sweep),
	        cmocka_unit_test(edges),
	        cmocka_unit_test(levels),
	        cmocka_unit_test(shared_vector),
	        cmocka_unit_test(modes),
	        cmocka_unit_test(nobody_there),
	        cmocka_unit_test(polarity),
	        cmocka_unit_test(level_across_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
