/*
 * A test bench for chips: port and memory space, a clock moved by hand, and probes on wires.
 * Timers fire at their own deadlines while the clock moves, as they would in a machine.
 */
#pragma once

#include "base/loop.h"
#include "bus/space.h"
#include "bus/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct bench {
	struct clock_manual clock;
	struct timerq timers;
	struct space ports, memory;
};

static inline void bench_init(struct bench *b, u64 start_ns)
{
	clock_manual_init(&b->clock, start_ns);
	assert_int_equal(timerq_init(&b->timers, &b->clock.clock), 0);
	assert_int_equal(space_init(&b->ports, 0xffff), 0);
	assert_int_equal(space_init(&b->memory, UINT64_MAX), 0);
}

static inline void bench_fini(struct bench *b)
{
	space_fini(&b->ports);
	space_fini(&b->memory);
	timerq_fini(&b->timers);
}

static inline u64 bench_now(const struct bench *b)
{
	return clock_now(&b->clock.clock);
}

/* Moves the clock by ns; returns the number of wake-ups that a host would have had. */
static inline unsigned bench_advance(struct bench *b, u64 ns)
{
	u64 end = bench_now(b) + ns, next;
	unsigned wakes = 0;

	while ((next = timerq_next(&b->timers)) <= end) {
		__atomic_store_n(&b->clock.ns, MAX(next, bench_now(b)), __ATOMIC_SEQ_CST);
		timerq_run(&b->timers);
		wakes++;
	}
	__atomic_store_n(&b->clock.ns, end, __ATOMIC_SEQ_CST);
	return wakes;
}

static inline bool bench_idle(struct bench *b)
{
	return timerq_next(&b->timers) == TIMER_OFF;
}

static inline u8 in8(struct bench *b, u16 port)
{
	return (u8)space_read(&b->ports, port, 1);
}

static inline u16 in16(struct bench *b, u16 port)
{
	return (u16)space_read(&b->ports, port, 2);
}

static inline u32 in32(struct bench *b, u16 port)
{
	return (u32)space_read(&b->ports, port, 4);
}

static inline void out8(struct bench *b, u16 port, u8 val)
{
	space_write(&b->ports, port, 1, val);
}

static inline void out16(struct bench *b, u16 port, u16 val)
{
	space_write(&b->ports, port, 2, val);
}

static inline void out32(struct bench *b, u16 port, u32 val)
{
	space_write(&b->ports, port, 4, val);
}

/* What a wire did. */
struct probe {
	bool level;
	unsigned rises, falls;
};

static inline void probe_set(void *opaque, unsigned n, bool level)
{
	struct probe *p = opaque;

	if (level && !p->level)
		p->rises++;
	if (!level && p->level)
		p->falls++;
	p->level = level;
}

static inline struct wire probe_wire(struct probe *p)
{
	return (struct wire){.set = probe_set, .opaque = p};
}

/*
 * Every register, every width, around the edges too: nothing may crash, and a read never has more
 * bits than its width.
 */
static inline void bench_sweep(struct space *s, u64 base, u64 len)
{
	static const u64 patterns[] = {0, ~0ull, 0x5aa55aa55aa55aa5, 0x0123456789abcdef};

	for (u64 at = base >= 8 ? base - 8 : 0; at < base + len + 8 && at <= s->limit; at++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			assert_true(space_read(s, at, size) <= ones(size));
			for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
				space_write(s, at, size, patterns[i]);
				assert_true(space_read(s, at, size) <= ones(size));
			}
		}
	}
}
