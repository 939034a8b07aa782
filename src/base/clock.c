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

static u64 tsc_now(const struct clock *clock)
{
	const struct clock_tsc *c = container_of(clock, const struct clock_tsc, clock);
	u64 delta = __rdtsc() - c->tsc0;

	/*
	 * Two CPUs' TSCs may differ by a few ticks, so right after init the difference may be
	 * negative on another CPU.
	 */
	if (unlikely((s64)delta < 0))
		return 0;
	return (u64)((u128)delta * c->mult >> 32);
}

/* Where the host's TSC is not invariant: tsc0 then holds the start in ns. */
static u64 fallback_now(const struct clock *clock)
{
	const struct clock_tsc *c = container_of(clock, const struct clock_tsc, clock);

	return monotonic_ns() - c->tsc0;
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
	if (tsc_invariant()) {
		c->tsc0 = __rdtsc();
		c->clock.now = tsc_now;
	} else {
		c->tsc0 = monotonic_ns();
		c->clock.now = fallback_now;
	}
}

static u64 manual_now(const struct clock *clock)
{
	const struct clock_manual *c = container_of(clock, const struct clock_manual, clock);

	return __atomic_load_n(&c->ns, __ATOMIC_ACQUIRE);
}

void clock_manual_init(struct clock_manual *c, u64 start_ns)
{
	c->clock.now = manual_now;
	c->ns = start_ns;
}
