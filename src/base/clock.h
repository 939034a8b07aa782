/*
 * Time as a value that can be injected. A clock counts nanoseconds from an arbitrary start and
 * never goes back. Chips derive all their counters from the one clock of their machine, so that
 * TSC, PM timer, HPET, PIT and LAPIC agree; tests use a clock that they move by hand.
 *
 * The machine's clock is the host's TSC scaled (clock_tsc) where the host's TSC is invariant: then
 * the guest's TSC (accel/soft) and every chip count from one oscillator.
 */
#pragma once

#include "base/types.h"

struct clock {
	u64 (*now)(const struct clock *c); /* ns; any thread */
	bool stopped;                      /* atomic: it stands still until somebody starts it again */
};

static inline u64 clock_now(const struct clock *c)
{
	return c->now(c);
}

#define NS_PER_SEC 1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

/* a * b / c without overflow of the product (c != 0); result truncated to 64 bits. */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
	return (u64)((u128)a * b / c);
}

/* Host time from the TSC. tsc_hz is measured once at init (about 10 ms) or read from CPUID. */
struct clock_tsc {
	struct clock clock;
	u64 tsc0;   /* host TSC at ns 0; moves on when the clock has stood still; atomic */
	u64 ns0;    /* the same of the host's monotonic clock, for hosts without a usable TSC; atomic */
	u64 tsc_hz; /* of the host, ticks per second */
	u64 mult;   /* ns = (tsc - tsc0) * mult >> 32 */
	u64 stop_tsc, stop_ns; /* where it stands */
};
void clock_tsc_init(struct clock_tsc *c);

/* Ticks of the TSC since ns 0; they stand still with the clock. Any thread. */
u64 clock_tsc_ticks(const struct clock_tsc *c);

/*
 * Between the two the clock stands still, and then goes on as if no time had passed. Nobody else may stop
 * or start it; no CPU runs in between. start returns how many ticks of the TSC were left out; catch_up takes
 * that back, before anybody looks.
 */
void clock_tsc_stop(struct clock_tsc *c);
u64 clock_tsc_start(struct clock_tsc *c);
void clock_tsc_catch_up(struct clock_tsc *c, u64 ticks);

/* A clock for tests. */
struct clock_manual {
	struct clock clock;
	u64 ns; /* atomic */
};
void clock_manual_init(struct clock_manual *c, u64 start_ns);
