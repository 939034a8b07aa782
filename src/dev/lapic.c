/*
 * Local APIC (Intel SDM vol. 3, chapter 11 "APIC", with 11.12 "x2APIC"; offsets from table 11-1): the
 * registers, and the CPU's side of interrupts.
 *
 * Delivery sets bits in IRR and TMR and signals the CPU; the CPU, at its next instruction boundary,
 * asks pending and accept. Whatever can make an interrupt deliverable later (EOI, TPR, enabling)
 * signals the own CPU again, so the CPU need not poll. Priority check and acknowledge are one step, so
 * the spurious vector never occurs; it is stored as software wrote it.
 */
#include "dev/lapic_int.h"

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
#define R_LVT_LAST (R_LVT + (LVT_N - 1) * 0x10)
#define R_TICR 0x380
#define R_TCCR 0x390
#define R_TDCR 0x3e0
#define R_SELF_IPI 0x3f0

#define VERSION (0x14u | (LVT_N - 1) << 16)

#define SVR_WRITABLE 0x3ffu
#define SVR_RESET 0xffu
#define TDCR_WRITABLE 0xbu
#define DFR_FLAT 0xffffffffu

/* ICR (figure 11-12) */
#define ICR_LEVEL 0x8000u
#define ICR_ASSERT 0x4000u
#define ICR_PENDING 0x1000u
#define ICR_LOGICAL 0x800u
#define ICR_WRITABLE 0xccfffu

/* Addresses have 40 bits here (CPUID 80000008H). */
#define BASE_WRITABLE (APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE | 0xfffffff000ull)

/* Which LVT bits software may write (figure 11-8). */
static const u32 lvt_writable[LVT_N] = {
        [LVT_TIMER] = 0x700ff,
        [LVT_THERMAL] = 0x107ff,
        [LVT_PERF] = 0x107ff,
        [LVT_LINT0] = 0x1a7ff,
        [LVT_LINT1] = 0x1a7ff,
        [LVT_ERROR] = 0x100ff,
};

static bool is_lvt(u32 off)
{
	return off >= R_LVT && off <= R_LVT_LAST;
}

/* --- priorities (11.8.3) --- */

static int highest(const u32 bits[8])
{
	for (int n = 7; n >= 0; n--) {
		u32 v = reg_get(&bits[n]);

		if (v)
			return n * 32 + 31 - __builtin_clz(v);
	}
	return -1;
}

static u32 ppr(const struct lapic *l)
{
	int isr = highest(l->isr);
	u32 tpr = reg_get(&l->tpr);
	u32 isrv = isr < 0 ? 0 : (u32)isr & 0xf0;

	return (tpr & 0xf0) >= isrv ? tpr : isrv;
}

static bool irr_deliverable(const struct lapic *l)
{
	int irr = highest(l->irr);

	return irr >= 0 && ((u32)irr & 0xf0) > (ppr(l) & 0xf0);
}

static bool lapic_pending(void *opaque)
{
	struct lapic *l = opaque;

	return lapic_extint_pending(l) || (hw_enabled(l) && irr_deliverable(l));
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

	if (lapic_extint_pending(l)) {
		__atomic_store_n(&l->extint, false, __ATOMIC_SEQ_CST);
		return l->set->cfg.pic_ack ? l->set->cfg.pic_ack(l->set->cfg.opaque) : -1;
	}
	if (!hw_enabled(l) || !irr_deliverable(l))
		return -1;
	vector = highest(l->irr);
	vector_set(l->irr, (u8)vector, false);
	vector_set(l->isr, (u8)vector, true);
	return vector;
}

/* --- register writes --- */

/* Remote IRR is not software's, and another thread may set it meanwhile (a wire). */
static void put_lint(u32 *reg, u32 val)
{
	bool level = (val & LVT_LEVEL) && lvt_delivery(val) == DM_FIXED;
	u32 old = reg_get(reg), new;

	do
		new = val | (level ? old & LVT_REMOTE_IRR : 0);
	while (!__atomic_compare_exchange_n(reg, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

static void write_lvt(struct lapic *l, unsigned n, u32 val)
{
	val &= lvt_writable[n];
	if (!sw_enabled(l))
		val |= LVT_MASKED;
	if (n == LVT_TIMER) {
		lapic_timer_set_lvt(l, val);
	} else if (n == LVT_LINT0) {
		put_lint(&l->lvt[n], val);
		lapic_lint_recheck(l);
		look_again(l);
	} else {
		reg_put(&l->lvt[n], val);
	}
}

static void write_svr(struct lapic *l, u32 val)
{
	reg_put(&l->svr, val & SVR_WRITABLE);
	if (!(val & SVR_ENABLE))
		for (unsigned n = 0; n < LVT_N; n++)
			__atomic_fetch_or(&l->lvt[n], LVT_MASKED, __ATOMIC_SEQ_CST);
}

static void end_lint0(struct lapic *l, u8 vector)
{
	u32 lvt = reg_get(&l->lvt[LVT_LINT0]);

	if (!(lvt & LVT_REMOTE_IRR) || (u8)lvt != vector)
		return;
	__atomic_fetch_and(&l->lvt[LVT_LINT0], ~LVT_REMOTE_IRR, __ATOMIC_SEQ_CST);
	lapic_lint_recheck(l);
}

static void write_eoi(struct lapic *l)
{
	int vector = highest(l->isr);

	if (vector < 0)
		return;
	vector_set(l->isr, (u8)vector, false);
	if (vector_test(l->tmr, (u8)vector)) {
		end_lint0(l, (u8)vector);
		if (l->set->cfg.eoi)
			l->set->cfg.eoi(l->set->cfg.opaque, (u8)vector);
	}
	look_again(l);
}

static void write_icr(struct lapic *l, u64 val)
{
	const struct apic_message m = {
	        .dest = (u32)(is_x2(l) ? val >> 32 : val >> 56),
	        .wide = is_x2(l),
	        .logical = val & ICR_LOGICAL,
	        .mode = (u8)(val >> 8 & 7),
	        .vector = (u8)val,
	        .level = val & ICR_LEVEL,
	        .assert = val & ICR_ASSERT,
	        .from = l,
	        .shorthand = (u8)(val >> 18 & 3),
	};

	l->icr = val & (0xffffffff00000000ull | ICR_WRITABLE);
	if (m.mode == DM_FIXED || m.mode == DM_LOWEST) {
		if (m.vector < 16) {
			lapic_error(l, ESR_SEND_ILLEGAL);
			return;
		}
	}
	if (m.mode != DM_EXTINT)
		apic_bus_send(l->set, &m);
}

static void self_ipi(struct lapic *l, u8 vector)
{
	if (vector < 16)
		lapic_error(l, ESR_SEND_ILLEGAL);
	else if (sw_enabled(l))
		lapic_post(l, vector, false);
}

static void write_tpr(struct lapic *l, u32 val)
{
	reg_put(&l->tpr, val & 0xff);
	look_again(l);
}

/* Registers that both modes have; false: no such register to write. */
static bool reg_write(struct lapic *l, u32 off, u32 val)
{
	if (is_lvt(off)) {
		write_lvt(l, (off - R_LVT) / 0x10, val);
		return true;
	}
	switch (off) {
	case R_TPR: write_tpr(l, val); return true;
	case R_EOI: write_eoi(l); return true;
	case R_SVR: write_svr(l, val); return true;
	case R_ESR: l->esr_latched = __atomic_exchange_n(&l->esr, 0, __ATOMIC_SEQ_CST); return true;
	case R_TICR: lapic_timer_start(l, val); return true;
	case R_TDCR: lapic_timer_divide(l, val & TDCR_WRITABLE); return true;
	default: return false;
	}
}

/* False: no such register. */
static bool reg_read(struct lapic *l, u32 off, u32 *val)
{
	if (off >= R_ISR && off < R_ESR) {
		const u32 *bits = off < R_TMR ? l->isr : off < R_IRR ? l->tmr : l->irr;

		*val = reg_get(&bits[off >> 4 & 7]);
		return true;
	}
	if (is_lvt(off)) {
		*val = reg_get(&l->lvt[(off - R_LVT) / 0x10]);
		return true;
	}
	switch (off) {
	case R_ID: *val = is_x2(l) ? l->id : l->id << 24; return true;
	case R_VERSION: *val = VERSION; return true;
	case R_TPR: *val = reg_get(&l->tpr); return true;
	case R_PPR: *val = ppr(l); return true;
	case R_LDR: *val = reg_get(&l->ldr); return true;
	case R_SVR: *val = reg_get(&l->svr); return true;
	case R_ESR: *val = l->esr_latched; return true;
	case R_ICR_LOW: *val = (u32)l->icr; return true;
	case R_TICR: *val = l->ticr; return true;
	case R_TCCR: *val = lapic_timer_count(l); return true;
	case R_TDCR: *val = l->tdcr; return true;
	default: return false;
	}
}

/* --- xAPIC: memory (11.4.1) --- */

static bool in_xapic_mode(const struct lapic *l)
{
	return hw_enabled(l) && !is_x2(l);
}

/* Only aligned 32-bit accesses are architectural; parts of a register read as such. */
static u32 lapic_mmio_read(void *opaque, u32 off, unsigned size)
{
	struct lapic *l = opaque;
	u32 reg = off & 0xff0, val = 0;

	if (!in_xapic_mode(l) || (off & 15) + size > 4)
		return 0;
	switch (reg) {
	case R_ICR_HIGH: val = (u32)(l->icr >> 32); break;
	case R_DFR: val = reg_get(&l->dfr); break;
	case R_APR: /* of no meaning since the Pentium 4 */
	case R_RRD: break;
	default:
		if (!reg_read(l, reg, &val))
			lapic_error(l, ESR_ILLEGAL_REG);
		break;
	}
	return val >> (off & 3) * 8 & (u32)ones(size);
}

static void lapic_mmio_write(void *opaque, u32 off, unsigned size, u32 val)
{
	struct lapic *l = opaque;

	if (!in_xapic_mode(l) || (off & 15) || size != 4)
		return;
	switch (off) {
	case R_ICR_HIGH: l->icr = (u32)l->icr | (u64)(val & 0xff000000) << 32; break;
	case R_ICR_LOW: write_icr(l, (l->icr & 0xff00000000000000ull) | val); break;
	case R_LDR: reg_put(&l->ldr, val & 0xff000000); break;
	case R_DFR: reg_put(&l->dfr, val | 0x0fffffff); break;
	case R_ID: break; /* read-only, as in current processors */
	default:
		if (!reg_write(l, off, val))
			lapic_error(l, ESR_ILLEGAL_REG);
		break;
	}
}

/* --- x2APIC: MSRs (table 11-6) --- */

/*
 * Which bits a write of the register may have set; others give #GP. Bits that are read-only but not
 * reserved may come back as they were read. 0 for the write-only-zero and the read-only registers:
 * the latter are then refused by reg_write.
 */
static u64 x2_writable(u32 off)
{
	if (is_lvt(off))
		return lvt_writable[(off - R_LVT) / 0x10] | LVT_PENDING |
		       (off == R_LVT + LVT_LINT0 * 0x10 || off == R_LVT + LVT_LINT1 * 0x10 ? LVT_REMOTE_IRR
		                                                                           : 0);
	switch (off) {
	case R_TPR: return 0xff;
	case R_SVR: return SVR_WRITABLE;
	case R_TICR: return 0xffffffff;
	case R_TDCR: return TDCR_WRITABLE;
	case R_SELF_IPI: return 0xff;
	case R_ICR_LOW: return 0xffffffff00000000ull | ICR_WRITABLE | ICR_PENDING;
	default: return 0;
	}
}

static int x2_read(struct lapic *l, u32 off, u64 *val)
{
	u32 low;

	if (off == R_EOI) /* write-only */
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
	case R_SELF_IPI: self_ipi(l, (u8)val); return 0;
	default: return reg_write(l, off, (u32)val) ? 0 : -1;
	}
}

/* --- mode (11.12.5) and state --- */

/* 11.12.10.2 */
static u32 x2_ldr(const struct lapic *l)
{
	return (l->id >> 4) << 16 | BIT(l->id & 15);
}

/* State after INIT (11.4.7.3): everything but the id and IA32_APIC_BASE. */
static void lapic_init(void *opaque)
{
	struct lapic *l = opaque;

	lapic_timer_stop(l);
	for (unsigned n = 0; n < LVT_N; n++)
		reg_put(&l->lvt[n], LVT_MASKED);
	for (unsigned n = 0; n < 8; n++) {
		reg_put(&l->irr[n], 0);
		reg_put(&l->tmr[n], 0);
		reg_put(&l->isr[n], 0);
	}
	reg_put(&l->tpr, 0);
	reg_put(&l->ldr, is_x2(l) ? x2_ldr(l) : 0);
	reg_put(&l->dfr, DFR_FLAT);
	reg_put(&l->svr, SVR_RESET);
	reg_put(&l->esr, 0);
	l->esr_latched = 0;
	l->icr = 0;
	l->tdcr = 0;
	l->ticr = 0;
	__atomic_store_n(&l->extint, false, __ATOMIC_SEQ_CST);
}

/* The legal transitions of figure 11-25. Switching off loses the state. */
static int write_base(struct lapic *l, u64 val)
{
	u64 old = base_of(l);
	bool was_on = old & APIC_BASE_ENABLE, on = val & APIC_BASE_ENABLE;
	bool was_x2 = old & APIC_BASE_X2APIC, x2 = val & APIC_BASE_X2APIC;

	if ((val & ~BASE_WRITABLE) || (x2 && !on))
		return -1;
	if (on && was_on ? was_x2 && !x2 : x2)
		return -1;
	__atomic_store_n(&l->base, val, __ATOMIC_SEQ_CST);
	if (was_on && !on)
		lapic_init(l);
	else if (x2 && !was_x2)
		reg_put(&l->ldr, x2_ldr(l));
	look_again(l);
	return 0;
}

static bool is_x2_msr(const struct lapic *l, u32 msr)
{
	return is_x2(l) && msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST;
}

static int lapic_msr_read(void *opaque, u32 msr, u64 *val)
{
	struct lapic *l = opaque;

	if (msr == MSR_APIC_BASE)
		*val = base_of(l);
	else if (msr == MSR_TSC_DEADLINE)
		*val = lapic_timer_deadline(l);
	else if (is_x2_msr(l, msr))
		return x2_read(l, (msr - MSR_X2APIC_FIRST) << 4, val);
	else
		return -1;
	return 0;
}

static int lapic_msr_write(void *opaque, u32 msr, u64 val)
{
	struct lapic *l = opaque;

	if (msr == MSR_APIC_BASE)
		return write_base(l, val);
	if (msr == MSR_TSC_DEADLINE) {
		lapic_timer_set_deadline(l, val);
		return 0;
	}
	return is_x2_msr(l, msr) ? x2_write(l, (msr - MSR_X2APIC_FIRST) << 4, val) : -1;
}

static u8 lapic_cr8_read(void *opaque)
{
	const struct lapic *l = opaque;

	return (u8)(reg_get(&l->tpr) >> 4);
}

static void lapic_cr8_write(void *opaque, u8 val)
{
	write_tpr(opaque, (u32)(val & 15) << 4);
}

static void lapic_tsc_moved(void *opaque, u64 offset)
{
	lapic_timer_tsc_moved(opaque, offset);
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
	struct lapic *bsp = &s->lapic[0];

	for (unsigned n = 0; n < s->cfg.count; n++) {
		struct lapic *l = &s->lapic[n];

		l->base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (s->cfg.x2apic ? APIC_BASE_X2APIC : 0) |
		          (n == 0 ? APIC_BASE_BSP : 0);
		lapic_init(l);
	}
	/* Virtual wire mode (MP specification 3.6.2.2) */
	reg_put(&bsp->svr, SVR_RESET | SVR_ENABLE);
	reg_put(&bsp->lvt[LVT_LINT0], DM_EXTINT << 8);
	reg_put(&bsp->lvt[LVT_LINT1], DM_NMI << 8);
	look_again(bsp);
}

int lapic_set_init(struct lapic_set *s, const struct lapic_set_config *cfg)
{
	if (cfg->count == 0 || cfg->count > LAPIC_MAX)
		return -EINVAL;
	memset(s, 0, sizeof(*s));
	s->cfg = *cfg;
	for (unsigned n = 0; n < cfg->count; n++) {
		s->lapic[n].set = s;
		s->lapic[n].id = n;
		lapic_timer_init(&s->lapic[n]);
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
