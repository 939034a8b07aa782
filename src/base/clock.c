/*
 * Host clocks. The TSC clock converts with one multiplication: ns = delta * mult >> 32 in 128 bits,
 * where mult = 2^32 * 10^9 / tsc_hz; its rounding error is below 1 ns per 4 seconds times the
 * ratio, that is below 1e-9 relative.
 *
 * The TSC's frequency comes from the hypervisor's timing leaf or from CPUID 15H where it is given,
 * else it is measured against CLOCK_MONOTONIC. Every sample of the pair (TSC, ns) reads the TSC
 * before and after clock_gettime and the sample with the least distance of many is kept, so that an
 * interrupt between the two reads does not spoil it.
 */
#include "base/clock.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#define MEASURE_NS (10 * NS_PER_MS)
#define SAMPLES 32

static u64 monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

static bool is_stopped(const struct clock_tsc *c)
{
	return __atomic_load_n(&c->clock.stopped, __ATOMIC_ACQUIRE);
}

u64 clock_tsc_ticks(const struct clock_tsc *c)
{
	u64 tsc = unlikely(is_stopped(c)) ? c->stop_tsc : __rdtsc();

	return tsc - __atomic_load_n(&c->tsc0, __ATOMIC_RELAXED);
}

static u64 tsc_now(const struct clock *clock)
{
	const struct clock_tsc *c = container_of(clock, const struct clock_tsc, clock);
	u64 delta = clock_tsc_ticks(c);

	/*
	 * Two CPUs' TSCs may differ by a few ticks, so right after init the difference may be
	 * negative on another CPU.
	 */
	if (unlikely((s64)delta < 0))
		return 0;
	return (u64)((u128)delta * c->mult >> 32);
}

/* Where the host's TSC is not invariant. */
static u64 fallback_now(const struct clock *clock)
{
	const struct clock_tsc *c = container_of(clock, const struct clock_tsc, clock);

	return is_stopped(c) ? c->stop_ns : monotonic_ns() - __atomic_load_n(&c->ns0, __ATOMIC_RELAXED);
}

void clock_tsc_stop(struct clock_tsc *c)
{
	c->stop_ns = monotonic_ns() - c->ns0;
	c->stop_tsc = __rdtsc();
	__atomic_store_n(&c->clock.stopped, true, __ATOMIC_RELEASE);
}

u64 clock_tsc_start(struct clock_tsc *c)
{
	u64 ticks = __rdtsc() - c->stop_tsc;

	__atomic_store_n(&c->ns0, monotonic_ns() - c->stop_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&c->tsc0, c->tsc0 + ticks, __ATOMIC_RELAXED);
	__atomic_store_n(&c->clock.stopped, false, __ATOMIC_RELEASE);
	return ticks;
}

void clock_tsc_catch_up(struct clock_tsc *c, u64 ticks)
{
	__atomic_store_n(&c->ns0, c->ns0 - mul_div(ticks, NS_PER_SEC, c->tsc_hz), __ATOMIC_RELAXED);
	__atomic_store_n(&c->tsc0, c->tsc0 - ticks, __ATOMIC_RELAXED);
}

/* CPUID 80000007H EDX bit 8: the TSC runs at a constant rate in all states. */
static bool tsc_invariant(void)
{
	u32 a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & BIT(8));
}

/* The frequency as the hypervisor (leaf 40000010H, kHz) or the CPU (leaf 15H) states it; 0 if neither. */
static u64 tsc_hz_from_cpuid(void)
{
	u32 a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (c & BIT(31)) {
		__cpuid(0x40000000, a, b, c, d);
		if (a >= 0x40000010 && a < 0x40010000) {
			__cpuid(0x40000010, a, b, c, d);
			/* Some hypervisors fill missing leaves with another leaf: accept only sane values. */
			if (a >= 200000 && a <= 20000000)
				return (u64)a * 1000;
		}
		return 0;
	}
	/* EBX/EAX is the ratio of TSC to crystal clock, ECX the crystal's frequency in Hz. */
	if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c)
		return mul_div(c, b, a);
	return 0;
}

struct sample {
	u64 tsc, ns;
};

static struct sample take_sample(void)
{
	struct sample best = {0};
	u64 best_width = UINT64_MAX;

	for (int i = 0; i < SAMPLES; i++) {
		u64 t0, t1, ns;

		t0 = __rdtsc();
		_mm_lfence();
		ns = monotonic_ns();
		_mm_lfence();
		t1 = __rdtsc();
		if (t1 - t0 < best_width) {
			best_width = t1 - t0;
			best = (struct sample){.tsc = t0 + (t1 - t0) / 2, .ns = ns};
		}
	}
	return best;
}

static u64 measure_tsc_hz(void)
{
	struct sample a = take_sample(), b;
	const struct timespec pause = {.tv_nsec = MEASURE_NS};

	do {
		nanosleep(&pause, NULL);
		b = take_sample();
	} while (b.ns < a.ns + MEASURE_NS);
	return mul_div(b.tsc - a.tsc, NS_PER_SEC, b.ns - a.ns);
}

void clock_tsc_init(struct clock_tsc *c)
{
	c->tsc_hz = tsc_hz_from_cpuid();
	if (!c->tsc_hz)
		c->tsc_hz = measure_tsc_hz();
	if (!c->tsc_hz) /* a host whose TSC stands still */
		c->tsc_hz = NS_PER_SEC;
	c->mult = (u64)(((u128)NS_PER_SEC << 32) / c->tsc_hz);
	c->clock.stopped = false;
	c->clock.now = tsc_invariant() ? tsc_now : fallback_now;
	c->ns0 = monotonic_ns();
	c->tsc0 = __rdtsc();
}

static u64 manual_now(const struct clock *clock)
{
	const struct clock_manual *c = container_of(clock, const struct clock_manual, clock);

	return __atomic_load_n(&c->ns, __ATOMIC_ACQUIRE);
}

void clock_manual_init(struct clock_manual *c, u64 start_ns)
{
	c->clock = (struct clock){.now = manual_now};
	c->ns = start_ns;
}
