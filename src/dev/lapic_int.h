/*
 * Private to the LAPIC's files: register layout (SDM vol. 3, table 11-1 and the figures of chapter 11)
 * and what the files need of each other.
 */
#pragma once

#include "dev/lapic.h"
#include "x86/x86.h"

#define SVR_ENABLE 0x100u

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

static inline u32 reg_get(const u32 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static inline void reg_put(u32 *p, u32 v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

static inline u64 base_of(const struct lapic *l)
{
	return __atomic_load_n(&l->base, __ATOMIC_SEQ_CST);
}

static inline bool hw_enabled(const struct lapic *l)
{
	return base_of(l) & APIC_BASE_ENABLE;
}

static inline bool is_x2(const struct lapic *l)
{
	return base_of(l) & APIC_BASE_X2APIC;
}

static inline bool sw_enabled(const struct lapic *l)
{
	return reg_get(&l->svr) & SVR_ENABLE;
}

static inline u32 timer_mode(const struct lapic *l)
{
	return reg_get(&l->lvt[LVT_TIMER]) & LVT_TIMER_MODE;
}

static inline unsigned lvt_delivery(u32 lvt)
{
	return lvt >> 8 & 7;
}

static inline void signal_cpu(const struct lapic *l, enum cpu_signal sig, u8 arg)
{
	if (l->cpu.signal)
		l->cpu.signal(l->cpu.opaque, sig, arg);
}

/* The 256-bit registers. */
static inline void vector_set(u32 bits[8], u8 n, bool on)
{
	if (on)
		__atomic_fetch_or(&bits[n / 32], BIT(n % 32), __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&bits[n / 32], ~BIT(n % 32), __ATOMIC_SEQ_CST);
}

static inline bool vector_test(const u32 bits[8], u8 n)
{
	return reg_get(&bits[n / 32]) & BIT(n % 32);
}

/* --- apic_bus.c; any thread --- */

void lapic_post(struct lapic *l, u8 vector, bool level); /* a fixed interrupt becomes pending */
void lapic_error(struct lapic *l, u32 bits);
bool apic_bus_send(struct lapic_set *s, const struct apic_message *m); /* any delivery mode */
bool lapic_extint_pending(const struct lapic *l);
void lapic_lint_recheck(struct lapic *l); /* a level on LINT0 may be deliverable now */

/* --- lapic_timer.c; the LAPIC's own thread --- */

void lapic_timer_init(struct lapic *l);
void lapic_timer_stop(struct lapic *l);
void lapic_timer_start(struct lapic *l, u32 count); /* TICR */
void lapic_timer_divide(struct lapic *l, u32 tdcr); /* TDCR */
void lapic_timer_set_lvt(struct lapic *l, u32 lvt);
u32 lapic_timer_count(struct lapic *l); /* TCCR */
u64 lapic_timer_deadline(struct lapic *l);
void lapic_timer_set_deadline(struct lapic *l, u64 deadline);
void lapic_timer_tsc_moved(struct lapic *l, u64 offset);
