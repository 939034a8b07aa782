/*
 * Local APIC (Intel SDM vol. 3, chapters 11 "APIC" and 11.12 "x2APIC"; offsets from table 11-1).
 *
 * Delivery sets bits in IRR and TMR and signals the CPU; the CPU, at its next instruction boundary,
 * asks pending and accept. Whatever can make an interrupt deliverable later (EOI, TPR, enabling)
 * signals the own CPU again, so the CPU need not poll.
 */
#include "dev/lapic.h"

#include "x86/x86.h"
#include <errno.h>

/* Register offsets (table 11-1); an x2APIC MSR is 0x800 + offset / 16. */
#define R_ID 0x020
#define R_VERSION 0x030
#define R_TPR 0x080
#define R_APR 0x090
#define R_PPR 0x0a0
#define R_EOI 0x0b0
#define R_RRD 0x0c0
#define R_LDR 0x0d0
#define R_DFR 0x0e0
#define R_SVR 0x0f0
#define R_ISR 0x100
#define R_TMR 0x180
#define R_IRR 0x200
#define R_ESR 0x280
#define R_ICR_LOW 0x300
#define R_ICR_HIGH 0x310
#define R_LVT 0x320 /* timer, thermal, performance, LINT0, LINT1, error */
#define R_TICR 0x380
#define R_TCCR 0x390
#define R_TDCR 0x3e0
#define R_SELF_IPI 0x3f0

#define VERSION (0x14u | (LVT_N - 1) << 16)

#define SVR_ENABLE 0x100u
#define SVR_WRITABLE 0x3ffu

#define LVT_MASKED 0x10000u
#define LVT_LEVEL 0x8000u
#define LVT_REMOTE_IRR 0x4000u
#define LVT_PENDING 0x1000u
#define LVT_TIMER_MODE 0x60000u
#define TIMER_ONESHOT 0x00000u
#define TIMER_PERIODIC 0x20000u
#define TIMER_DEADLINE 0x40000u

/* Delivery modes (11.5.1, 11.6.1) */
enum { DM_FIXED, DM_LOWEST, DM_SMI, DM_RESERVED, DM_NMI, DM_INIT, DM_SIPI, DM_EXTINT };

/* ESR (11.5.3) */
#define ESR_SEND_ILLEGAL 0x20u
#define ESR_RECV_ILLEGAL 0x40u
#define ESR_ILLEGAL_REG 0x80u

#define ICR_PENDING 0x1000u
#define ICR_LEVEL 0x8000u
#define ICR_ASSERT 0x4000u
#define ICR_LOGICAL 0x800u
#define ICR_WRITABLE 0xccfffu

#define BASE_WRITABLE (APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE | 0x000000fffffff000ull)

/* A shorter period is stretched to this: a guest must not occupy the host with one register. */
#define PERIOD_MIN_NS (20 * NS_PER_US)

/* Which LVT bits software may write (figure 11-8). */
static const u32 lvt_writable[LVT_N] = {
	[LVT_TIMER] = 0x700ff,
	[LVT_THERMAL] = 0x107ff,
	[LVT_PERF] = 0x107ff,
	[LVT_LINT0] = 0x1a7ff,
	[LVT_LINT1] = 0x1a7ff,
	[LVT_ERROR] = 0x100ff,
};

static u32 get(const u32 *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void put(u32 *p, u32 v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static u64 base_of(const struct lapic *l)
{
	return __atomic_load_n(&l->base, __ATOMIC_ACQUIRE);
}

static bool hw_enabled(const struct lapic *l)
{
	return base_of(l) & APIC_BASE_ENABLE;
}

static bool is_x2(const struct lapic *l)
{
	return base_of(l) & APIC_BASE_X2APIC;
}

static bool sw_enabled(const struct lapic *l)
{
	return get(&l->svr) & SVR_ENABLE;
}

static void signal_cpu(struct lapic *l, enum cpu_signal sig, u8 arg)
{
	if (l->cpu.signal)
		l->cpu.signal(l->cpu.opaque, sig, arg);
}

/* --- the 256-bit registers --- */

static int highest(const u32 bits[8])
{
	for (int n = 7; n >= 0; n--) {
		u32 v = get(&bits[n]);

		if (v)
			return n * 32 + 31 - __builtin_clz(v);
	}
	return -1;
}

static void set_bit(u32 bits[8], u8 n, bool on)
{
	if (on)
		__atomic_fetch_or(&bits[n / 32], BIT(n % 32), __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&bits[n / 32], ~BIT(n % 32), __ATOMIC_SEQ_CST);
}

static bool test_bit(const u32 bits[8], u8 n)
{
	return get(&bits[n / 32]) & BIT(n % 32);
}

/* --- priorities (11.8.3) --- */

static u32 ppr(const struct lapic *l)
{
	int isr = highest(l->isr);
	u32 tpr = get(&l->tpr);
	u32 isrv = isr < 0 ? 0 : (u32)isr & 0xf0;

	return (tpr & 0xf0) >= isrv ? tpr : isrv;
}

static bool irr_deliverable(const struct lapic *l)
{
	int irr = highest(l->irr);

	return irr >= 0 && ((u32)irr & 0xf0) > (ppr(l) & 0xf0);
}

/* The 8259 pair's INTR reaches the CPU through LINT0 as ExtINT, or directly when the LAPIC is off. */
static bool extint_pending(const struct lapic *l)
{
	u32 lint0 = get(&l->lvt[LVT_LINT0]);

	if (__atomic_load_n(&l->extint, __ATOMIC_SEQ_CST))
		return true;
	if (!__atomic_load_n(&l->lint0, __ATOMIC_SEQ_CST))
		return false;
	if (!hw_enabled(l))
		return l->id == 0;
	return !(lint0 & LVT_MASKED) && (lint0 >> 8 & 7) == DM_EXTINT;
}

static bool lapic_pending(void *opaque)
{
	struct lapic *l = opaque;

	return extint_pending(l) || (hw_enabled(l) && irr_deliverable(l));
}

/* Something that held interrupts back is gone. */
static void look_again(struct lapic *l)
{
	if (lapic_pending(l))
		signal_cpu(l, CPU_SIG_INTR, 0);
}

static int lapic_accept(void *opaque)
{
	struct lapic *l = opaque;
	int vector;

	if (extint_pending(l)) {
		__atomic_store_n(&l->extint, false, __ATOMIC_SEQ_CST);
		return l->set->cfg.pic_ack ? l->set->cfg.pic_ack(l->set->cfg.opaque) : -1;
	}
	if (!hw_enabled(l) || !irr_deliverable(l))
		return -1;
	vector = highest(l->irr);
	set_bit(l->irr, (u8)vector, false);
	set_bit(l->isr, (u8)vector, true);
	look_again(l);
	return vector;
}

/* --- errors and reception --- */

static void post(struct lapic *l, u8 vector, bool level);

static void error(struct lapic *l, u32 bits)
{
	u32 lvt = l->lvt[LVT_ERROR];
	u32 before = __atomic_fetch_or(&l->esr, bits, __ATOMIC_SEQ_CST);

	if ((before & bits) != bits && !(lvt & LVT_MASKED) && sw_enabled(l) && (u8)lvt >= 16)
		post(l, (u8)lvt, false);
}

static void post(struct lapic *l, u8 vector, bool level)
{
	if (vector < 16) {
		error(l, ESR_RECV_ILLEGAL);
		return;
	}
	set_bit(l->tmr, vector, level);
	set_bit(l->irr, vector, true);
	signal_cpu(l, CPU_SIG_INTR, 0);
}

static void receive(struct lapic *l, const struct apic_message *m)
{
	if (!hw_enabled(l) && m->mode != DM_INIT && m->mode != DM_SIPI && m->mode != DM_NMI)
		return;
	switch (m->mode) {
	case DM_FIXED:
	case DM_LOWEST:
		if (sw_enabled(l))
			post(l, m->vector, m->level);
		break;
	case DM_SMI: signal_cpu(l, CPU_SIG_SMI, 0); break;
	case DM_NMI: signal_cpu(l, CPU_SIG_NMI, 0); break;
	case DM_INIT:
		if (m->assert || !m->level)
			signal_cpu(l, CPU_SIG_INIT, 0);
		break;
	case DM_SIPI: signal_cpu(l, CPU_SIG_SIPI, m->vector); break;
	case DM_EXTINT:
		__atomic_store_n(&l->extint, true, __ATOMIC_SEQ_CST);
		signal_cpu(l, CPU_SIG_INTR, 0);
		break;
	default: break;
	}
}

/* --- destinations (11.6.2, 11.12.10) --- */

static bool physical_match(const struct lapic *l, const struct apic_message *m)
{
	return m->dest == (m->wide ? 0xffffffffu : 0xffu) || m->dest == l->id;
}

static bool logical_match(const struct lapic *l, const struct apic_message *m)
{
	u32 ldr = get(&l->ldr);
	u32 dest = m->dest;

	if (dest == (m->wide ? 0xffffffffu : 0xffu))
		return true;
	if (is_x2(l)) /* cluster in the high half, one bit a CPU in the low half */
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	ldr >>= 24;
	if (get(&l->dfr) >> 28 == 0xf)
		return dest & ldr & 0xff;
	return (dest >> 4 == ldr >> 4 || dest >> 4 == 0xf) && (dest & ldr & 0xf);
}

static bool matches(const struct lapic *l, const struct apic_message *m)
{
	return m->logical ? logical_match(l, m) : physical_match(l, m);
}

/* The matching CPU with the lowest task priority; the search starts one further each time. */
static struct lapic *lowest(struct lapic_set *s, const struct apic_message *m)
{
	u32 first = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED);
	struct lapic *best = NULL;

	for (u32 n = 0; n < s->cfg.count; n++) {
		struct lapic *l = &s->lapic[(first + n) % s->cfg.count];

		if (!matches(l, m) || !hw_enabled(l) || !sw_enabled(l))
			continue;
		if (!best || get(&l->tpr) < get(&best->tpr))
			best = l;
	}
	return best;
}

void lapic_set_send(struct lapic_set *s, const struct apic_message *m)
{
	if (m->mode == DM_LOWEST) {
		struct lapic *l = lowest(s, m);

		if (l)
			receive(l, m);
		return;
	}
	for (unsigned n = 0; n < s->cfg.count; n++)
		if (matches(&s->lapic[n], m))
			receive(&s->lapic[n], m);
}

/* MSI (11.11): address FEExxxxx carries the destination, data the vector and mode. */
static void msi_message(void *opaque, u64 addr, u32 data)
{
	const struct apic_message m = {
		.dest = (u32)(addr >> 12 & 0xff),
		.logical = addr & 4,
		.mode = (u8)(data >> 8 & 7),
		.vector = (u8)data,
		.level = data & 0x8000,
		.assert = true,
	};

	if (addr >> 20 == 0xfee)
		lapic_set_send(opaque, &m);
}

struct msi_sink lapic_set_msi(struct lapic_set *s)
{
	return (struct msi_sink){.send = msi_message, .opaque = s};
}

static void set_lint0(void *opaque, unsigned n, bool level)
{
	struct lapic_set *s = opaque;

	for (unsigned i = 0; i < s->cfg.count; i++) {
		struct lapic *l = &s->lapic[i];

		__atomic_store_n(&l->lint0, level, __ATOMIC_SEQ_CST);
		if (level && extint_pending(l))
			signal_cpu(l, CPU_SIG_INTR, 0);
	}
}

struct wire lapic_set_lint0(struct lapic_set *s)
{
	return (struct wire){.set = set_lint0, .opaque = s};
}

/* --- timer (11.5.4) --- */

static u64 now(const struct lapic *l)
{
	return clock_now(l->set->cfg.timers->clock);
}

static u64 tsc_hz(const struct lapic *l)
{
	return l->set->cfg.clock ? l->set->cfg.clock->tsc_hz : NS_PER_SEC;
}

static u64 guest_tsc(const struct lapic *l)
{
	const struct clock_tsc *c = l->set->cfg.clock;

	return (c ? __builtin_ia32_rdtsc() - c->tsc0 : now(l)) + l->tsc_offset;
}

static u32 divisor(const struct lapic *l)
{
	u32 code = (l->tdcr & 3) | (l->tdcr >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static u64 count_to_ns(const struct lapic *l, u64 count)
{
	return mul_div(count * divisor(l), NS_PER_SEC, LAPIC_BUS_HZ);
}

static u32 timer_mode(const struct lapic *l)
{
	return get(&l->lvt[LVT_TIMER]) & LVT_TIMER_MODE;
}

/* On the loop thread, timer_lock held. */
static void timer_fired(void *opaque)
{
	struct lapic *l = opaque;
	u32 lvt = get(&l->lvt[LVT_TIMER]);

	if (timer_mode(l) == TIMER_DEADLINE) {
		__atomic_store_n(&l->deadline, 0, __ATOMIC_SEQ_CST);
	} else if (timer_mode(l) == TIMER_PERIODIC && l->period_ns) {
		u64 t = now(l);

		/* Ticks that nobody could take are not made up for: one interrupt stands for all. */
		l->start_ns += (t - l->start_ns) / l->period_ns * l->period_ns;
		timer_arm(&l->timer, l->start_ns + l->period_ns);
	}
	if (!(lvt & LVT_MASKED) && sw_enabled(l))
		post(l, (u8)lvt, false);
}

static void start_count(struct lapic *l)
{
	pthread_mutex_lock(&l->timer_lock);
	timer_cancel(&l->timer);
	l->start_ns = now(l);
	l->period_ns = l->ticr ? MAX(count_to_ns(l, l->ticr), 1) : 0;
	if (timer_mode(l) == TIMER_PERIODIC && l->ticr)
		l->period_ns = MAX(l->period_ns, PERIOD_MIN_NS);
	if (l->period_ns && timer_mode(l) != TIMER_DEADLINE)
		timer_arm(&l->timer, l->start_ns + l->period_ns);
	pthread_mutex_unlock(&l->timer_lock);
}

static u32 current_count(struct lapic *l)
{
	u64 spent, period, left;

	if (timer_mode(l) == TIMER_DEADLINE)
		return 0;
	pthread_mutex_lock(&l->timer_lock);
	period = l->period_ns;
	spent = now(l) - l->start_ns;
	pthread_mutex_unlock(&l->timer_lock);
	if (!period)
		return 0;
	if (timer_mode(l) == TIMER_PERIODIC)
		spent %= period;
	left = spent >= period ? 0 : period - spent;
	return (u32)MIN(mul_div(left, LAPIC_BUS_HZ, NS_PER_SEC) / divisor(l), (u64)l->ticr);
}

static void arm_deadline(struct lapic *l)
{
	u64 tsc = guest_tsc(l), deadline = __atomic_load_n(&l->deadline, __ATOMIC_SEQ_CST);

	pthread_mutex_lock(&l->timer_lock);
	timer_cancel(&l->timer);
	if (deadline)
		timer_arm(&l->timer, now(l) + (deadline > tsc ? mul_div(deadline - tsc, NS_PER_SEC, tsc_hz(l)) : 0));
	pthread_mutex_unlock(&l->timer_lock);
}

static void write_deadline(struct lapic *l, u64 val)
{
	if (timer_mode(l) != TIMER_DEADLINE)
		return;
	__atomic_store_n(&l->deadline, val, __ATOMIC_SEQ_CST);
	arm_deadline(l);
}

static void lapic_tsc_moved(void *opaque, u64 offset)
{
	struct lapic *l = opaque;

	l->tsc_offset = offset;
	if (timer_mode(l) == TIMER_DEADLINE)
		arm_deadline(l);
}

/* A change of mode stops the timer (11.5.4.1). */
static void write_lvt_timer(struct lapic *l, u32 val)
{
	u32 old = timer_mode(l);

	put(&l->lvt[LVT_TIMER], val);
	if (timer_mode(l) == old)
		return;
	pthread_mutex_lock(&l->timer_lock);
	timer_cancel(&l->timer);
	l->period_ns = 0;
	__atomic_store_n(&l->deadline, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&l->timer_lock);
}

/* --- register writes --- */

static void write_lvt(struct lapic *l, unsigned n, u32 val)
{
	val &= lvt_writable[n];
	if (!sw_enabled(l))
		val |= LVT_MASKED;
	if (n == LVT_TIMER)
		write_lvt_timer(l, val);
	else
		put(&l->lvt[n], val);
	look_again(l);
}

static void write_svr(struct lapic *l, u32 val)
{
	put(&l->svr, val & SVR_WRITABLE);
	if (!(val & SVR_ENABLE))
		for (unsigned n = 0; n < LVT_N; n++)
			put(&l->lvt[n], l->lvt[n] | LVT_MASKED);
	look_again(l);
}

static void write_eoi(struct lapic *l)
{
	int vector = highest(l->isr);

	if (vector < 0)
		return;
	set_bit(l->isr, (u8)vector, false);
	if (test_bit(l->tmr, (u8)vector) && l->set->cfg.eoi)
		l->set->cfg.eoi(l->set->cfg.opaque, (u8)vector);
	look_again(l);
}

/* Sends to everybody that the shorthand names (11.6.1): 1 self, 2 all, 3 all but self. */
static void send_shorthand(struct lapic *l, unsigned shorthand, const struct apic_message *m)
{
	for (unsigned n = 0; n < l->set->cfg.count; n++) {
		struct lapic *to = &l->set->lapic[n];

		if (to == l ? shorthand != 3 : shorthand != 1)
			receive(to, m);
	}
}

static void write_icr(struct lapic *l, u64 val)
{
	const struct apic_message m = {
		.dest = is_x2(l) ? (u32)(val >> 32) : (u32)(val >> 56),
		.wide = is_x2(l),
		.logical = val & ICR_LOGICAL,
		.mode = (u8)(val >> 8 & 7),
		.vector = (u8)val,
		.level = val & ICR_LEVEL,
		.assert = val & ICR_ASSERT,
	};
	unsigned shorthand = (unsigned)(val >> 18 & 3);

	l->icr = val & (0xffffffff00000000ull | ICR_WRITABLE);
	if ((m.mode == DM_FIXED || m.mode == DM_LOWEST) && m.vector < 16) {
		error(l, ESR_SEND_ILLEGAL);
		return;
	}
	if (m.mode == DM_RESERVED || m.mode == DM_EXTINT)
		return;
	if (shorthand)
		send_shorthand(l, shorthand, &m);
	else
		lapic_set_send(l->set, &m);
}

static void write_tpr(struct lapic *l, u32 val)
{
	put(&l->tpr, val & 0xff);
	look_again(l);
}

static void write_esr(struct lapic *l)
{
	l->esr_latched = __atomic_exchange_n(&l->esr, 0, __ATOMIC_SEQ_CST);
}

/* Registers that both modes have; false: no such register to write. */
static bool reg_write(struct lapic *l, u32 off, u32 val)
{
	switch (off) {
	case R_TPR: write_tpr(l, val); return true;
	case R_EOI: write_eoi(l); return true;
	case R_SVR: write_svr(l, val); return true;
	case R_ESR: write_esr(l); return true;
	case R_TICR:
		if (timer_mode(l) != TIMER_DEADLINE) {
			l->ticr = val;
			start_count(l);
		}
		return true;
	case R_TDCR:
		l->tdcr = val & 0xb;
		return true;
	default: break;
	}
	if (off >= R_LVT && off < R_LVT + LVT_N * 16 && (off & 15) == 0) {
		write_lvt(l, (off - R_LVT) / 16, val);
		return true;
	}
	return false;
}

/* False: no such register. */
static bool reg_read(struct lapic *l, u32 off, u32 *val)
{
	if (off >= R_ISR && off < R_ESR) {
		const u32 *bits = off < R_TMR ? l->isr : off < R_IRR ? l->tmr : l->irr;

		*val = get(&bits[off >> 4 & 7]);
		return true;
	}
	if (off >= R_LVT && off < R_LVT + LVT_N * 16) {
		*val = get(&l->lvt[(off - R_LVT) / 16]);
		return true;
	}
	switch (off) {
	case R_ID: *val = is_x2(l) ? l->id : l->id << 24; return true;
	case R_VERSION: *val = VERSION; return true;
	case R_TPR: *val = get(&l->tpr); return true;
	case R_PPR: *val = ppr(l); return true;
	case R_LDR: *val = get(&l->ldr); return true;
	case R_SVR: *val = get(&l->svr); return true;
	case R_ESR: *val = l->esr_latched; return true;
	case R_ICR_LOW: *val = (u32)l->icr; return true;
	case R_TICR: *val = l->ticr; return true;
	case R_TCCR: *val = current_count(l); return true;
	case R_TDCR: *val = l->tdcr; return true;
	default: return false;
	}
}

/* --- xAPIC: memory --- */

/* Only aligned 32-bit accesses are architectural (11.4.1); parts of a register read as such. */
static u32 lapic_mmio_read(void *opaque, u32 off, unsigned size)
{
	struct lapic *l = opaque;
	u32 reg = off & 0xff0, val = 0;

	if ((off & 15) + size > 4)
		return 0;
	switch (reg) {
	case R_ICR_HIGH: val = (u32)(l->icr >> 32); break;
	case R_DFR: val = get(&l->dfr); break;
	case R_APR:
	case R_RRD: break;
	default:
		if (!reg_read(l, reg, &val))
			error(l, ESR_ILLEGAL_REG);
		break;
	}
	return val >> (off & 3) * 8 & (u32)ones(size);
}

static void lapic_mmio_write(void *opaque, u32 off, unsigned size, u32 val)
{
	struct lapic *l = opaque;

	if ((off & 15) || size != 4)
		return;
	switch (off) {
	case R_ICR_HIGH: l->icr = (l->icr & 0xffffffff) | (u64)(val & 0xff000000) << 32; break;
	case R_ICR_LOW: write_icr(l, (l->icr & ~0xffffffffull) | val); break;
	case R_LDR: put(&l->ldr, val & 0xff000000); break;
	case R_DFR: put(&l->dfr, val | 0x0fffffff); break;
	case R_ID:
		break; /* read-only, as in current processors */
	default:
		if (!reg_write(l, off, val))
			error(l, ESR_ILLEGAL_REG);
		break;
	}
}

/* --- x2APIC: MSRs (table 11-6) --- */

/* Which bits each MSR may have set in a write; reserved ones give #GP. 0: not writable at all. */
static u64 x2_writable(u32 off)
{
	switch (off) {
	case R_TPR: return 0xff;
	case R_EOI:
	case R_ESR: return 0;
	case R_SVR: return SVR_WRITABLE;
	case R_TICR: return 0xffffffff;
	case R_TDCR: return 0xb;
	case R_SELF_IPI: return 0xff;
	case R_ICR_LOW: return 0xffffffff00000000ull | ICR_WRITABLE;
	default: break;
	}
	return off >= R_LVT && off < R_LVT + LVT_N * 16 ? lvt_writable[(off - R_LVT) / 16] | LVT_PENDING : 0;
}

static int x2_read(struct lapic *l, u32 off, u64 *val)
{
	u32 low;

	if (off == R_EOI || off == R_SELF_IPI || off == R_DFR || off == R_ICR_HIGH || off == R_APR)
		return -1;
	if (off == R_ICR_LOW) {
		*val = l->icr;
		return 0;
	}
	if (!reg_read(l, off, &low))
		return -1;
	*val = low;
	return 0;
}

static int x2_write(struct lapic *l, u32 off, u64 val)
{
	if (val & ~x2_writable(off))
		return -1;
	switch (off) {
	case R_ICR_LOW: write_icr(l, val); return 0;
	case R_SELF_IPI:
		if ((u8)val < 16)
			error(l, ESR_SEND_ILLEGAL);
		else
			post(l, (u8)val, false);
		return 0;
	default: return reg_write(l, off, (u32)val) ? 0 : -1;
	}
}

/* Legal transitions (figure 11-25). */
static int write_base(struct lapic *l, u64 val)
{
	const u64 mode = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	u64 old = base_of(l);
	bool was_x2 = old & APIC_BASE_X2APIC, to_x2 = val & APIC_BASE_X2APIC;

	if (val & ~BASE_WRITABLE)
		return -1;
	if ((val & mode) == APIC_BASE_X2APIC)
		return -1;
	if (was_x2 && !to_x2 && (val & APIC_BASE_ENABLE))
		return -1;
	if (to_x2 && !(old & APIC_BASE_ENABLE))
		return -1;
	__atomic_store_n(&l->base, val, __ATOMIC_SEQ_CST);
	if (to_x2 && !was_x2)
		put(&l->ldr, (l->id >> 4) << 16 | BIT(l->id & 15));
	else if (was_x2 && !to_x2)
		put(&l->ldr, 0);
	look_again(l);
	return 0;
}

static int lapic_msr_read(void *opaque, u32 msr, u64 *val)
{
	struct lapic *l = opaque;

	if (msr == MSR_APIC_BASE) {
		*val = base_of(l);
		return 0;
	}
	if (msr == MSR_TSC_DEADLINE) {
		*val = timer_mode(l) == TIMER_DEADLINE ? __atomic_load_n(&l->deadline, __ATOMIC_SEQ_CST) : 0;
		return 0;
	}
	if (!is_x2(l) || msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST)
		return -1;
	return x2_read(l, (msr - MSR_X2APIC_FIRST) << 4, val);
}

static int lapic_msr_write(void *opaque, u32 msr, u64 val)
{
	struct lapic *l = opaque;

	if (msr == MSR_APIC_BASE)
		return write_base(l, val);
	if (msr == MSR_TSC_DEADLINE) {
		write_deadline(l, val);
		return 0;
	}
	if (!is_x2(l) || msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST)
		return -1;
	return x2_write(l, (msr - MSR_X2APIC_FIRST) << 4, val);
}

static u8 lapic_cr8_read(void *opaque)
{
	const struct lapic *l = opaque;

	return (u8)(get(&l->tpr) >> 4);
}

static void lapic_cr8_write(void *opaque, u8 val)
{
	write_tpr(opaque, (u32)(val & 15) << 4);
}

/* State after INIT (11.4.7.3): everything but the id and IA32_APIC_BASE. */
static void lapic_init(void *opaque)
{
	struct lapic *l = opaque;

	pthread_mutex_lock(&l->timer_lock);
	timer_cancel(&l->timer);
	l->period_ns = 0;
	__atomic_store_n(&l->deadline, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&l->timer_lock);
	for (unsigned n = 0; n < 8; n++) {
		put(&l->irr[n], 0);
		put(&l->tmr[n], 0);
		put(&l->isr[n], 0);
	}
	for (unsigned n = 0; n < LVT_N; n++)
		put(&l->lvt[n], LVT_MASKED);
	put(&l->tpr, 0);
	put(&l->ldr, is_x2(l) ? (l->id >> 4) << 16 | BIT(l->id & 15) : 0);
	put(&l->dfr, 0xffffffff);
	put(&l->svr, 0xff);
	put(&l->esr, 0);
	l->esr_latched = 0;
	l->icr = 0;
	l->tdcr = l->ticr = 0;
	__atomic_store_n(&l->extint, false, __ATOMIC_SEQ_CST);
}

const struct intc_ops lapic_intc_ops = {
	.pending = lapic_pending,
	.accept = lapic_accept,
	.mmio_read = lapic_mmio_read,
	.mmio_write = lapic_mmio_write,
	.msr_read = lapic_msr_read,
	.msr_write = lapic_msr_write,
	.cr8_read = lapic_cr8_read,
	.cr8_write = lapic_cr8_write,
	.tsc_moved = lapic_tsc_moved,
	.init = lapic_init,
};

/* --- the set --- */

void lapic_set_reset(struct lapic_set *s)
{
	for (unsigned n = 0; n < s->cfg.count; n++) {
		struct lapic *l = &s->lapic[n];

		l->base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (s->cfg.x2apic ? APIC_BASE_X2APIC : 0) |
			  (n == 0 ? APIC_BASE_BSP : 0);
		lapic_init(l);
	}
}

int lapic_set_init(struct lapic_set *s, const struct lapic_set_config *cfg)
{
	if (cfg->count == 0 || cfg->count > LAPIC_MAX)
		return -EINVAL;
	memset(s, 0, sizeof(*s));
	s->cfg = *cfg;
	for (unsigned n = 0; n < cfg->count; n++) {
		struct lapic *l = &s->lapic[n];

		l->set = s;
		l->id = n;
		pthread_mutex_init(&l->timer_lock, NULL);
		timer_init(&l->timer, cfg->timers, &l->timer_lock, timer_fired, l);
	}
	lapic_set_reset(s);
	return 0;
}

void lapic_set_fini(struct lapic_set *s)
{
	for (unsigned n = 0; n < s->cfg.count; n++) {
		timer_cancel(&s->lapic[n].timer);
		pthread_mutex_destroy(&s->lapic[n].timer_lock);
	}
}

void lapic_connect(struct lapic_set *s, unsigned n, const struct cpu_line *cpu)
{
	s->lapic[n].cpu = *cpu;
}
