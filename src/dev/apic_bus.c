/*
 * What reaches LAPICs from outside: messages (IPIs, I/O APIC, MSI) to those that they name, and the
 * LINT pins. Any thread calls this, with other chips' locks held: it sets atomic bits and signals CPUs,
 * no more. Section numbers are those of SDM vol. 3, chapter 11.
 */
#include "dev/lapic_int.h"

#define MSI_WINDOW 0xfeeull /* address bits 31:20 */
#define MSI_LOGICAL 0x4u
#define MSI_REDIRECT 0x8u
#define MSI_LEVEL 0x8000u
#define MSI_ASSERT 0x4000u

enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };

/* --- acceptance --- */

void lapic_error(struct lapic *l, u32 bits)
{
	u32 lvt = reg_get(&l->lvt[LVT_ERROR]);
	u32 before = __atomic_fetch_or(&l->esr, bits, __ATOMIC_SEQ_CST);

	/* A vector below 16 would be the next error. */
	if ((before & bits) != bits && !(lvt & LVT_MASKED) && sw_enabled(l) && (u8)lvt >= 16)
		lapic_post(l, (u8)lvt, false);
}

void lapic_post(struct lapic *l, u8 vector, bool level)
{
	if (vector < 16) {
		lapic_error(l, ESR_RECV_ILLEGAL);
		return;
	}
	/* TMR first: who sees the request also sees whether its EOI goes to the I/O APICs. */
	vector_set(l->tmr, vector, level);
	vector_set(l->irr, vector, true);
	signal_cpu(l, CPU_SIG_INTR, 0);
}

/* Software-disabled LAPICs still take NMI, SMI, INIT and SIPI (11.4.7.2). */
static bool receive(struct lapic *l, const struct apic_message *m)
{
	if (!hw_enabled(l))
		return false;
	switch (m->mode) {
	case DM_FIXED:
	case DM_LOWEST:
		if (!sw_enabled(l))
			return false;
		lapic_post(l, m->vector, m->level);
		return true;
	case DM_SMI: signal_cpu(l, CPU_SIG_SMI, 0); return true;
	case DM_NMI: signal_cpu(l, CPU_SIG_NMI, 0); return true;
	case DM_INIT:
		/* The level de-assert of the MP protocol only synchronizes arbitration ids of old parts. */
		if (m->assert || !m->level)
			signal_cpu(l, CPU_SIG_INIT, 0);
		return true;
	case DM_SIPI: signal_cpu(l, CPU_SIG_SIPI, m->vector); return true;
	case DM_EXTINT:
		if (!sw_enabled(l))
			return false;
		__atomic_store_n(&l->extint, true, __ATOMIC_SEQ_CST);
		signal_cpu(l, CPU_SIG_INTR, 0);
		return true;
	default: return false;
	}
}

/* --- destinations (11.6.2, 11.12.10) --- */

static bool is_broadcast(const struct apic_message *m)
{
	return m->dest == (m->wide ? 0xffffffffu : 0xffu);
}

static bool logical_match(const struct lapic *l, const struct apic_message *m)
{
	u32 ldr = reg_get(&l->ldr), dest = m->dest;

	if (is_x2(l)) /* cluster in the high half, one bit a CPU in the low half */
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	if (dest > 0xff)
		return false;
	ldr >>= 24;
	if (reg_get(&l->dfr) >> 28 == 0xf) /* flat model */
		return dest & ldr;
	return (dest >> 4 == ldr >> 4 || dest >> 4 == 0xf) && (dest & ldr & 0xf);
}

static bool matches(const struct lapic *l, const struct apic_message *m)
{
	switch (m->shorthand) {
	case SHORT_NONE:
		if (is_broadcast(m))
			return true;
		return m->logical ? logical_match(l, m) : m->dest == l->id;
	case SHORT_SELF: return l == m->from;
	case SHORT_ALL: return true;
	default: return l != m->from;
	}
}

/*
 * The matching CPU with the lowest task priority (11.6.2.4; what is in service counts on hardware too,
 * but belongs to the CPU's thread). The search starts one further each time, so that equals take turns.
 */
static struct lapic *lowest(struct lapic_set *s, const struct apic_message *m)
{
	u32 first = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED);
	struct lapic *best = NULL;

	for (u32 n = 0; n < s->cfg.count; n++) {
		struct lapic *l = &s->lapic[(first + n) % s->cfg.count];

		if (!matches(l, m) || !hw_enabled(l) || !sw_enabled(l))
			continue;
		if (!best || reg_get(&l->tpr) < reg_get(&best->tpr))
			best = l;
	}
	return best;
}

bool apic_bus_send(struct lapic_set *s, const struct apic_message *m)
{
	bool accepted = false;

	if (m->mode == DM_LOWEST) {
		struct lapic *l = lowest(s, m);

		return l && receive(l, m);
	}
	for (unsigned n = 0; n < s->cfg.count; n++)
		if (matches(&s->lapic[n], m))
			accepted |= receive(&s->lapic[n], m);
	return accepted;
}

/* Start-up IPIs come from CPUs only; what encodes one elsewhere is reserved (11.11.2; 82093AA 3.2.4). */
bool lapic_set_send(struct lapic_set *s, const struct apic_message *m)
{
	return m->mode != DM_SIPI && m->mode != DM_RESERVED && apic_bus_send(s, m);
}

/* MSI (11.11): the address carries the destination, the data vector and mode. */
static void msi_message(void *opaque, u64 addr, u32 data)
{
	struct apic_message m = {
	        .dest = (u32)(addr >> 12 & 0xff),
	        .logical = addr & MSI_LOGICAL,
	        .mode = (u8)(data >> 8 & 7),
	        .vector = (u8)data,
	        .level = data & MSI_LEVEL,
	        .assert = true,
	};

	if (addr >> 20 != MSI_WINDOW)
		return;
	if (m.level && !(data & MSI_ASSERT)) /* the end of a level: nothing to deliver */
		return;
	if (m.mode == DM_FIXED && m.logical && (addr & MSI_REDIRECT))
		m.mode = DM_LOWEST;
	lapic_set_send(opaque, &m);
}

struct msi_sink lapic_set_msi(struct lapic_set *s)
{
	return (struct msi_sink){.send = msi_message, .opaque = s};
}

/* --- LINT pins (11.5.1) --- */

/* The 8259 pair's INTR reaches the CPU through LINT0 as ExtINT, or directly when the LAPIC is off. */
bool lapic_extint_pending(const struct lapic *l)
{
	u32 lvt = reg_get(&l->lvt[LVT_LINT0]);

	if (__atomic_load_n(&l->extint, __ATOMIC_SEQ_CST))
		return true;
	if (!__atomic_load_n(&l->lint[0], __ATOMIC_SEQ_CST))
		return false;
	if (!hw_enabled(l))
		return l->id == 0;
	return !(lvt & LVT_MASKED) && lvt_delivery(lvt) == DM_EXTINT;
}

/* Level-triggered fixed delivery, which only LINT0 has: once, then again when EOI cleared remote IRR. */
void lapic_lint_recheck(struct lapic *l)
{
	u32 *reg = &l->lvt[LVT_LINT0], lvt = reg_get(reg);

	if (!__atomic_load_n(&l->lint[0], __ATOMIC_SEQ_CST) || !hw_enabled(l) ||
	        lvt_delivery(lvt) != DM_FIXED)
		return;
	if ((lvt & (LVT_LEVEL | LVT_MASKED | LVT_REMOTE_IRR)) != LVT_LEVEL)
		return;
	if (!(__atomic_fetch_or(reg, LVT_REMOTE_IRR, __ATOMIC_SEQ_CST) & LVT_REMOTE_IRR))
		lapic_post(l, (u8)lvt, true);
}

static void lint_edge(struct lapic *l, unsigned pin)
{
	u32 lvt = reg_get(&l->lvt[LVT_LINT0 + pin]);

	if (!hw_enabled(l)) { /* the pins are INTR and NMI again; the boot CPU has them */
		if (pin == 1 && l->id == 0)
			signal_cpu(l, CPU_SIG_NMI, 0);
		return;
	}
	if (lvt & LVT_MASKED)
		return;
	switch (lvt_delivery(lvt)) {
	case DM_FIXED:
		if (pin == 0 && (lvt & LVT_LEVEL))
			lapic_lint_recheck(l);
		else
			lapic_post(l, (u8)lvt, false);
		break;
	case DM_SMI: signal_cpu(l, CPU_SIG_SMI, 0); break;
	case DM_NMI: signal_cpu(l, CPU_SIG_NMI, 0); break;
	case DM_INIT: signal_cpu(l, CPU_SIG_INIT, 0); break;
	default: break; /* ExtINT is a level: lapic_extint_pending */
	}
}

static void set_lint(void *opaque, unsigned pin, bool level)
{
	struct lapic_set *s = opaque;

	for (unsigned n = 0; n < s->cfg.count; n++) {
		struct lapic *l = &s->lapic[n];
		bool was = __atomic_exchange_n(&l->lint[pin], level, __ATOMIC_SEQ_CST);

		if (level && !was)
			lint_edge(l, pin);
		if (level && pin == 0 && lapic_extint_pending(l))
			signal_cpu(l, CPU_SIG_INTR, 0);
	}
}

struct wire lapic_set_lint0(struct lapic_set *s)
{
	return (struct wire){.set = set_lint, .opaque = s, .n = 0};
}

struct wire lapic_set_lint1(struct lapic_set *s)
{
	return (struct wire){.set = set_lint, .opaque = s, .n = 1};
}
