/*
 * High precision event timers (IA-PC HPET 1.0a): a 10 MHz 64-bit counter and up to eight
 * comparators, each with wires into the interrupt controller or message-signalled delivery.
 *
 * Locks: legacy_mode is called under the HPET's lock, and may take those of PIT and RTC.
 */
#pragma once

#include "base/loop.h"
#include "bus/space.h"
#include "bus/wire.h"

#define HPET_BASE 0xfed00000ull
#define HPET_SIZE 0x400
#define HPET_PERIOD_FS 100000000u /* 100 ns */
#define HPET_MIN_TICK 0x80u       /* for the ACPI table: smallest sensible period */
#define HPET_TIMERS_MAX 8
#define HPET_ROUTES 32

struct hpet_config {
	struct space *memory;
	u64 base; /* 0 means HPET_BASE */
	struct timerq *timers;
	unsigned count; /* comparators, bent into 3..8 */
	u32 route_cap;  /* bit n: a comparator may use route[n] */
	struct wire route[HPET_ROUTES];
	struct wire legacy0, legacy8;               /* IRQ0 and IRQ8 in legacy replacement mode */
	void (*legacy_mode)(void *opaque, bool on); /* on: PIT and RTC leave IRQ0 and IRQ8; may be NULL */
	void *opaque;
	struct msi_sink msi; /* without send: no message-signalled delivery */
};

struct hpet;

struct hpet_timer {
	struct hpet *hpet;
	unsigned n;
	struct timer timer;      /* next match that somebody wants */
	u32 config;              /* low half of the configuration register, without capabilities */
	u64 comparator;          /* as the guest reads it: the next match */
	u64 period;              /* of the periodic mode, in ticks */
	u64 fsb;                 /* FSB route: value below, address above */
	bool pending;            /* due is valid */
	u64 due;                 /* 64-bit count of the next match */
	u64 last_ns;             /* when a match was delivered last; 0 never */
	const struct wire *held; /* wire held high by a level interrupt */
};

struct hpet {
	pthread_mutex_t lock;
	struct hpet_config cfg;
	u64 config;     /* general configuration */
	u64 status;     /* general interrupt status: level interrupts */
	u64 base_count; /* main counter at base_ns, or where it stands */
	u64 base_ns;
	struct hpet_timer timer[HPET_TIMERS_MAX];
	struct region region;
};

int hpet_init(struct hpet *h, const struct hpet_config *cfg);
void hpet_reset(struct hpet *h);
void hpet_fini(struct hpet *h);

/* Low half of the capabilities register: the event timer block id of the ACPI table. */
u32 hpet_id(const struct hpet *h);
