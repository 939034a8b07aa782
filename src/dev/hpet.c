/*
 * HPET. Register names and section numbers are those of the IA-PC HPET specification 1.0a.
 *
 * The main counter is a function of the clock. Each comparator knows the 64-bit count of its next
 * match ("due") whatever the width it is used with, so that wrap-around needs no special case. A
 * host timer is armed only for comparators with their interrupt enabled; what the others missed
 * (status bits, the moving comparator of the periodic mode) is made up when a register is touched.
 *
 * A periodic comparator fires no more often than MIN_FIRE_NS; periods in between become one.
 */
#include "dev/hpet.h"

/* 2.3.1 Memory map */
#define REG_CAP 0x000
#define REG_CONFIG 0x010
#define REG_STATUS 0x020
#define REG_COUNTER 0x0f0
#define REG_TIMERS 0x100
#define TIMER_STRIDE 0x20
#define TIMER_CONFIG 0x00
#define TIMER_COMPARATOR 0x08
#define TIMER_FSB 0x10

/* 2.3.4 General capabilities and id */
#define CAP_REV 1u
#define CAP_COUNT_SHIFT 8
#define CAP_64BIT BIT(13)
#define CAP_LEGACY BIT(15)
#define CAP_VENDOR (0x8086u << 16)
#define CAP_PERIOD_SHIFT 32

/* 2.3.5 General configuration */
#define CNF_ENABLE BIT(0)
#define CNF_LEGACY BIT(1)

/* 2.3.8 Timer n configuration and capabilities */
#define TN_LEVEL BIT(1)
#define TN_ENABLE BIT(2)
#define TN_PERIODIC BIT(3)
#define TN_PERIODIC_CAP BIT(4)
#define TN_64BIT_CAP BIT(5)
#define TN_VAL_SET BIT(6)
#define TN_32BIT BIT(8)
#define TN_ROUTE_SHIFT 9
#define TN_ROUTE (31u << TN_ROUTE_SHIFT)
#define TN_FSB BIT(14)
#define TN_FSB_CAP BIT(15)
#define TN_ROUTE_CAP_SHIFT 32
#define TN_WRITABLE (TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_VAL_SET | TN_32BIT | TN_ROUTE | TN_FSB)

#define TICK_NS (HPET_PERIOD_FS / 1000000u)
#define MIN_FIRE_NS (20 * NS_PER_US)
/* Matches farther away than this (a century and more) are not waited for. */
#define FAR (UINT64_MAX / 4 / TICK_NS)

static u64 now_ns(const struct hpet *h)
{
	return clock_now(h->cfg.timers->clock);
}

static u64 counter(const struct hpet *h)
{
	if (!(h->config & CNF_ENABLE))
		return h->base_count;
	return h->base_count + (now_ns(h) - h->base_ns) / TICK_NS;
}

static u64 width_mask(const struct hpet_timer *t)
{
	return t->config & TN_32BIT ? UINT32_MAX : UINT64_MAX;
}

static bool is_periodic(const struct hpet_timer *t)
{
	return t->config & TN_PERIODIC;
}

u32 hpet_id(const struct hpet *h)
{
	return CAP_VENDOR | CAP_LEGACY | CAP_64BIT | (h->cfg.count - 1) << CAP_COUNT_SHIFT | CAP_REV;
}

/* -- interrupts ------------------------------------------------------------------------------- */

/* The wire that the comparator is routed to, or NULL (2.3.8: INT_ROUTE, LEG_RT_CNF). */
static const struct wire *route(const struct hpet_timer *t)
{
	const struct hpet *h = t->hpet;
	unsigned n = (t->config & TN_ROUTE) >> TN_ROUTE_SHIFT;

	if ((h->config & CNF_LEGACY) && t->n < 2)
		return t->n ? &h->cfg.legacy8 : &h->cfg.legacy0;
	return h->cfg.route_cap & BIT(n) ? &h->cfg.route[n] : NULL;
}

/* Holds the right wire high for a level interrupt in force, and no other. */
static void update_level(struct hpet_timer *t)
{
	const struct hpet *h = t->hpet;
	const struct wire *want = NULL;

	if ((h->status & BIT64(t->n)) && (t->config & TN_ENABLE) && !(t->config & TN_FSB) &&
	        (h->config & CNF_ENABLE))
		want = route(t);
	if (t->held == want)
		return;
	if (t->held)
		wire_set(t->held, false);
	t->held = want;
	if (want)
		wire_set(want, true);
}

static void deliver(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	const struct wire *w;

	t->last_ns = now_ns(h);
	if (t->config & TN_LEVEL) {
		h->status |= BIT64(t->n);
		update_level(t);
	}
	if (!(t->config & TN_ENABLE))
		return;
	if (t->config & TN_FSB) {
		msi_send(&h->cfg.msi, t->fsb >> 32, (u32)t->fsb);
	} else if (!(t->config & TN_LEVEL)) {
		w = route(t);
		if (w)
			wire_pulse(w);
	}
}

/* -- matches ---------------------------------------------------------------------------------- */

/* Finds the next match of the comparator with a counter that stands at count. */
static void find_due(struct hpet_timer *t, u64 count)
{
	u64 left = (t->comparator - count) & width_mask(t);

	t->pending = left <= FAR;
	t->due = count + left;
}

/* If a match is past: fires (once for any number), moves on to the next, and says so. */
static bool catch_up(struct hpet_timer *t, u64 count)
{
	u64 steps;

	if (!t->pending || (s64)(count - t->due) < 0)
		return false;
	if (is_periodic(t) && t->period) {
		steps = (count - t->due) / t->period + 1;
		t->due += steps * t->period;
		t->comparator = (t->comparator + steps * t->period) & width_mask(t);
		t->pending = t->due - count <= FAR;
	} else if (t->config & TN_32BIT) {
		/* Every wrap of the counter matches again (2.3.9.2.1). */
		t->due += ALIGN_DOWN(count - t->due, BIT64(32)) + BIT64(32);
	} else {
		t->pending = false;
	}
	deliver(t);
	return true;
}

static void arm(struct hpet_timer *t)
{
	const struct hpet *h = t->hpet;
	u64 at;

	if (!(h->config & CNF_ENABLE) || !(t->config & TN_ENABLE) || !t->pending) {
		timer_cancel(&t->timer);
		return;
	}
	/* From base_ns, not from now: the tick begins at a whole number of ticks after it. */
	at = h->base_ns + (t->due - h->base_count) * TICK_NS;
	if (is_periodic(t) && t->last_ns)
		at = MAX(at, t->last_ns + MIN_FIRE_NS);
	timer_arm(&t->timer, at);
}

static void match_due(void *opaque)
{
	struct hpet_timer *t = opaque;

	catch_up(t, counter(t->hpet));
	arm(t);
}

static void catch_up_all(struct hpet *h)
{
	u64 count = counter(h);

	if (!(h->config & CNF_ENABLE))
		return;
	for (unsigned i = 0; i < h->cfg.count; i++)
		if (catch_up(&h->timer[i], count))
			arm(&h->timer[i]);
}

/* After the counter was started, stopped or moved. */
static void restart_all(struct hpet *h)
{
	u64 count = counter(h);

	for (unsigned i = 0; i < h->cfg.count; i++) {
		find_due(&h->timer[i], count);
		arm(&h->timer[i]);
		update_level(&h->timer[i]);
	}
}

/* -- registers -------------------------------------------------------------------------------- */

/* A write of the bits in mask; val has no others. */
static u64 merge(u64 old, u64 val, u64 mask)
{
	return (old & ~mask) | val;
}

static void write_config(struct hpet *h, u64 val)
{
	u64 changed;

	val &= CNF_ENABLE | CNF_LEGACY;
	changed = h->config ^ val;
	if (changed & CNF_ENABLE) {
		h->base_count = counter(h);
		h->base_ns = now_ns(h);
	}
	if (changed & CNF_LEGACY) {
		/* Whoever owns IRQ0 and IRQ8 leaves them low before the other takes them. */
		for (unsigned i = 0; i < 2; i++) {
			if (h->timer[i].held)
				wire_set(h->timer[i].held, false);
			h->timer[i].held = NULL;
		}
		if (h->cfg.legacy_mode)
			h->cfg.legacy_mode(h->cfg.opaque, val & CNF_LEGACY);
	}
	h->config = val;
	if (changed & CNF_ENABLE)
		restart_all(h);
	for (unsigned i = 0; i < h->cfg.count; i++)
		update_level(&h->timer[i]);
}

/* Level interrupts end when their bit is written as 1. */
static void write_status(struct hpet *h, u64 val)
{
	h->status &= ~val;
	for (unsigned i = 0; i < h->cfg.count; i++)
		update_level(&h->timer[i]);
}

static void write_counter(struct hpet *h, u64 val)
{
	h->base_count = val;
	h->base_ns = now_ns(h);
	restart_all(h);
}

static void write_timer_config(struct hpet_timer *t, u64 val)
{
	struct hpet *h = t->hpet;
	u32 old = t->config, now = (u32)val & TN_WRITABLE;

	/* A route that the board does not have is not taken: software reads back to find out. */
	if (!(h->cfg.route_cap & BIT((now & TN_ROUTE) >> TN_ROUTE_SHIFT)))
		now = (now & ~TN_ROUTE) | (old & TN_ROUTE);
	if (!h->cfg.msi.send)
		now &= ~TN_FSB;
	t->config = now;
	if (!(now & TN_LEVEL))
		h->status &= ~BIT64(t->n);
	if ((old ^ now) & (TN_32BIT | TN_PERIODIC)) {
		t->comparator &= width_mask(t);
		t->period &= width_mask(t);
		find_due(t, counter(h));
	}
	update_level(t);
	arm(t);
}

/*
 * 2.3.9.2.2: in periodic mode a write is the new period; with VAL_SET (which it takes back) it is
 * the next match as well. The guest may follow with a second write that gives the period apart.
 */
static void write_comparator(struct hpet_timer *t, u64 val, u64 mask)
{
	if (is_periodic(t))
		t->period = merge(t->period, val, mask) & width_mask(t);
	if (!is_periodic(t) || (t->config & TN_VAL_SET)) {
		t->comparator = merge(t->comparator, val, mask) & width_mask(t);
		t->last_ns = 0;
		find_due(t, counter(t->hpet));
	}
	t->config &= ~TN_VAL_SET;
	arm(t);
}

static u64 read_timer(const struct hpet_timer *t, unsigned reg)
{
	const struct hpet *h = t->hpet;

	switch (reg) {
	case TIMER_CONFIG:
		return (u64)h->cfg.route_cap << TN_ROUTE_CAP_SHIFT | t->config | TN_PERIODIC_CAP |
		       TN_64BIT_CAP | (h->cfg.msi.send ? TN_FSB_CAP : 0);
	case TIMER_COMPARATOR: return t->comparator;
	case TIMER_FSB: return t->fsb;
	default: return 0;
	}
}

/* The register as 64 bits; reg is a multiple of 8. Reserved ones read 0. */
static u64 read_reg(struct hpet *h, unsigned reg)
{
	if (reg >= REG_TIMERS) {
		unsigned n = (reg - REG_TIMERS) / TIMER_STRIDE;

		return n < h->cfg.count ? read_timer(&h->timer[n], reg % TIMER_STRIDE) : 0;
	}
	switch (reg) {
	case REG_CAP: return (u64)HPET_PERIOD_FS << CAP_PERIOD_SHIFT | hpet_id(h);
	case REG_CONFIG: return h->config;
	case REG_STATUS: return h->status;
	case REG_COUNTER: return counter(h);
	default: return 0;
	}
}

static void write_timer(struct hpet_timer *t, unsigned reg, u64 val, u64 mask)
{
	switch (reg) {
	case TIMER_CONFIG: write_timer_config(t, merge(t->config, val, mask)); break;
	case TIMER_COMPARATOR: write_comparator(t, val, mask); break;
	case TIMER_FSB: t->fsb = merge(t->fsb, val, mask); break;
	default: break;
	}
}

static void write_reg(struct hpet *h, unsigned reg, u64 val, u64 mask)
{
	if (reg >= REG_TIMERS) {
		unsigned n = (reg - REG_TIMERS) / TIMER_STRIDE;

		if (n < h->cfg.count)
			write_timer(&h->timer[n], reg % TIMER_STRIDE, val, mask);
		return;
	}
	switch (reg) {
	case REG_CONFIG: write_config(h, merge(h->config, val, mask)); break;
	case REG_STATUS: write_status(h, val); break;
	case REG_COUNTER: write_counter(h, merge(counter(h), val, mask)); break;
	default: break;
	}
}

static u64 mmio_read(void *opaque, u64 off, unsigned size)
{
	struct hpet *h = opaque;

	/* Not for the main counter, which guests read all the time. */
	if (off == REG_STATUS || off >= REG_TIMERS)
		catch_up_all(h);
	return read_reg(h, (unsigned)ALIGN_DOWN(off, 8)) >> (off & 7) * 8 & ones(size);
}

static void mmio_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct hpet *h = opaque;
	unsigned shift = (unsigned)(off & 7) * 8;
	u64 mask = ones(size) << shift;

	catch_up_all(h);
	write_reg(h, (unsigned)ALIGN_DOWN(off, 8), val << shift & mask, mask);
}

static const struct region_ops mmio_ops = {.read = mmio_read, .write = mmio_write, .min = 4, .max = 8};

/* -- life ------------------------------------------------------------------------------------- */

static void timer_reset(struct hpet_timer *t)
{
	timer_cancel(&t->timer);
	t->config = 0;
	t->comparator = UINT64_MAX; /* 2.3.9: the reset value never matches */
	t->period = 0;
	t->fsb = 0;
	t->last_ns = 0;
	t->pending = false;
	update_level(t);
}

static void reset_state(struct hpet *h)
{
	write_config(h, 0);
	h->status = 0;
	h->base_count = 0;
	h->base_ns = now_ns(h);
	for (unsigned i = 0; i < HPET_TIMERS_MAX; i++)
		timer_reset(&h->timer[i]);
}

void hpet_reset(struct hpet *h)
{
	pthread_mutex_lock(&h->lock);
	reset_state(h);
	pthread_mutex_unlock(&h->lock);
}

int hpet_init(struct hpet *h, const struct hpet_config *cfg)
{
	int r;

	*h = (struct hpet){.cfg = *cfg};
	h->cfg.count = MAX(3u, MIN(cfg->count, (unsigned)HPET_TIMERS_MAX));
	r = -pthread_mutex_init(&h->lock, NULL);
	if (r)
		return r;
	for (unsigned i = 0; i < HPET_TIMERS_MAX; i++) {
		h->timer[i].hpet = h;
		h->timer[i].n = i;
		timer_init(&h->timer[i].timer, cfg->timers, &h->lock, match_due, &h->timer[i]);
	}
	reset_state(h);
	h->region = (struct region){.base = cfg->base ? cfg->base : HPET_BASE,
	        .len = HPET_SIZE,
	        .ops = &mmio_ops,
	        .opaque = h,
	        .lock = &h->lock,
	        .name = "hpet"};
	r = space_add(cfg->memory, &h->region);
	if (r)
		hpet_fini(h);
	return r;
}

void hpet_fini(struct hpet *h)
{
	for (unsigned i = 0; i < HPET_TIMERS_MAX; i++)
		timer_cancel(&h->timer[i].timer);
	space_remove(h->cfg.memory, &h->region);
	pthread_mutex_destroy(&h->lock);
}
