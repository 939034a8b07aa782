/*
 * The LAPIC's timer (SDM vol. 3, 11.5.4): one-shot and periodic counts of a divided bus clock, and the
 * TSC deadline. Counters are computed from the clock when they are read; a host timer is armed only
 * while a count runs, and its callback (loop thread, timer_lock held) posts the interrupt.
 */
#include "dev/lapic_int.h"

/* A shorter period is stretched to this: a guest must not occupy the host with one register. */
#define PERIOD_MIN_NS (100 * NS_PER_US)
/* Longer than any machine lives, and far from the end of 64 bits. */
#define FOREVER_NS (UINT64_MAX / 4)

static u64 now(const struct lapic *l)
{
	return clock_now(l->set->cfg.timers->clock);
}

/* --- counts --- */

static u32 divisor(const struct lapic *l)
{
	u32 code = (l->tdcr & 3) | (l->tdcr >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static u64 count_to_ns(const struct lapic *l, u32 count)
{
	return mul_div((u64)count * divisor(l), NS_PER_SEC, LAPIC_BUS_HZ);
}

/* Length of a whole count of TICR. */
static u64 whole_ns(const struct lapic *l)
{
	u64 ns = count_to_ns(l, l->ticr);

	return timer_mode(l) == TIMER_PERIODIC ? MAX(ns, PERIOD_MIN_NS) : ns;
}

/* Under timer_lock: ticks left of the running count, rounded up so that it is 0 only at the end. */
static u32 count_left(const struct lapic *l)
{
	u64 spent = now(l) - l->start_ns, left;

	if (!l->period_ns)
		return 0;
	if (timer_mode(l) == TIMER_PERIODIC)
		spent %= l->period_ns;
	if (spent >= l->period_ns)
		return 0;
	left = mul_div(l->period_ns - spent, LAPIC_BUS_HZ, NS_PER_SEC);
	return (u32)MIN((left + divisor(l) - 1) / divisor(l), (u64)l->ticr);
}

void lapic_timer_start(struct lapic *l, u32 count)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		return;
	pthread_mutex_lock(&l->timer_lock);
	l->ticr = count;
	l->start_ns = now(l);
	l->period_ns = count ? whole_ns(l) : 0;
	timer_arm(&l->timer, count ? l->start_ns + l->period_ns : TIMER_OFF);
	pthread_mutex_unlock(&l->timer_lock);
}

/* The count goes on from where it is, at the new speed. */
void lapic_timer_divide(struct lapic *l, u32 tdcr)
{
	u32 left;

	pthread_mutex_lock(&l->timer_lock);
	left = count_left(l);
	l->tdcr = tdcr;
	if (left && timer_mode(l) != TIMER_DEADLINE) {
		l->period_ns = whole_ns(l);
		/* May lie before time 0; only differences to it count. */
		l->start_ns = now(l) + MIN(count_to_ns(l, left), l->period_ns) - l->period_ns;
		timer_arm(&l->timer, l->start_ns + l->period_ns);
	}
	pthread_mutex_unlock(&l->timer_lock);
}

u32 lapic_timer_count(struct lapic *l)
{
	u32 left;

	pthread_mutex_lock(&l->timer_lock);
	left = timer_mode(l) == TIMER_DEADLINE ? 0 : count_left(l);
	pthread_mutex_unlock(&l->timer_lock);
	return left;
}

/* --- TSC deadline (11.5.4.1) --- */

static u64 tsc_hz(const struct lapic *l)
{
	return l->set->cfg.clock ? l->set->cfg.clock->tsc_hz : NS_PER_SEC;
}

static u64 guest_tsc(const struct lapic *l)
{
	const struct clock_tsc *c = l->set->cfg.clock;

	return (c ? clock_tsc_ticks(c) : now(l)) + l->tsc_offset;
}

static void fire(struct lapic *l)
{
	u32 lvt = reg_get(&l->lvt[LVT_TIMER]);

	if (!(lvt & LVT_MASKED) && sw_enabled(l))
		lapic_post(l, (u8)lvt, false);
}

/* Under timer_lock: waits for the deadline, or fires when it has passed. */
static void await_deadline(struct lapic *l)
{
	u64 tsc = guest_tsc(l), left = l->deadline - tsc;
	u128 ns;

	if (!l->deadline) {
		timer_cancel(&l->timer);
	} else if (l->deadline <= tsc) {
		timer_cancel(&l->timer);
		l->deadline = 0;
		fire(l);
	} else {
		ns = (u128)left * NS_PER_SEC / tsc_hz(l) + 1;
		timer_arm(&l->timer, now(l) + (u64)MIN(ns, (u128)FOREVER_NS));
	}
}

u64 lapic_timer_deadline(struct lapic *l)
{
	u64 deadline;

	pthread_mutex_lock(&l->timer_lock);
	deadline = l->deadline;
	pthread_mutex_unlock(&l->timer_lock);
	return deadline;
}

/* In the other modes the MSR reads 0 and ignores writes. */
void lapic_timer_set_deadline(struct lapic *l, u64 deadline)
{
	if (timer_mode(l) != TIMER_DEADLINE)
		return;
	pthread_mutex_lock(&l->timer_lock);
	l->deadline = deadline;
	await_deadline(l);
	pthread_mutex_unlock(&l->timer_lock);
}

void lapic_timer_tsc_moved(struct lapic *l, u64 offset)
{
	pthread_mutex_lock(&l->timer_lock);
	l->tsc_offset = offset;
	if (l->deadline)
		await_deadline(l);
	pthread_mutex_unlock(&l->timer_lock);
}

/* --- both --- */

/*
 * The next tick after now. Ticks that nobody could take are not made up for: one interrupt stands for
 * all. A one-shot count that became periodic on its way may have a period that is too short.
 */
static void next_period(struct lapic *l)
{
	u64 t = now(l);

	l->start_ns += (t - l->start_ns) / l->period_ns * l->period_ns;
	l->period_ns = MAX(l->period_ns, PERIOD_MIN_NS);
	timer_arm(&l->timer, l->start_ns + l->period_ns);
}

static void timer_fired(void *opaque)
{
	struct lapic *l = opaque;

	if (timer_mode(l) == TIMER_DEADLINE) {
		/* The host's timer may be early by the rounding of two clocks. */
		await_deadline(l);
		return;
	}
	if (!l->period_ns)
		return;
	if (timer_mode(l) == TIMER_PERIODIC)
		next_period(l);
	else
		l->period_ns = 0;
	fire(l);
}

void lapic_timer_stop(struct lapic *l)
{
	pthread_mutex_lock(&l->timer_lock);
	timer_cancel(&l->timer);
	l->period_ns = 0;
	l->deadline = 0;
	pthread_mutex_unlock(&l->timer_lock);
}

/* Into and out of deadline mode the timer stops; between one-shot and periodic it goes on. */
void lapic_timer_set_lvt(struct lapic *l, u32 lvt)
{
	u32 old = timer_mode(l);

	reg_put(&l->lvt[LVT_TIMER], lvt);
	if (old != timer_mode(l) && (old == TIMER_DEADLINE || timer_mode(l) == TIMER_DEADLINE))
		lapic_timer_stop(l);
}

void lapic_timer_init(struct lapic *l)
{
	pthread_mutex_init(&l->timer_lock, NULL);
	timer_init(&l->timer, l->set->cfg.timers, &l->timer_lock, timer_fired, l);
}
