/*
 * Intel 82093AA I/O APIC: 24 input pins, a redirection table, messages to the local APICs.
 *
 * Locks: its own mutex around everything; messages are sent with it held (a LAPIC takes no lock).
 */
#pragma once

#include "bus/space.h"
#include "bus/wire.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_NPINS 24

struct lapic_set;

struct ioapic_config {
	struct space *memory;
	u64 base; /* 0 means IOAPIC_BASE */
	u8 id;
	struct lapic_set *lapics;
};

struct ioapic {
	pthread_mutex_t lock;
	struct ioapic_config cfg;
	struct region io;
	u8 select; /* IOREGSEL */
	u8 id;
	u32 lines; /* level of each input */
	u64 entry[IOAPIC_NPINS];
};

int ioapic_init(struct ioapic *p, const struct ioapic_config *cfg);
void ioapic_reset(struct ioapic *p); /* the inputs keep their levels */
void ioapic_fini(struct ioapic *p);

/* The wire into pin 0..23. */
struct wire ioapic_input(struct ioapic *p, unsigned pin);

/* A LAPIC finished a level-triggered vector. Any thread, no LAPIC lock exists. */
void ioapic_eoi(struct ioapic *p, u8 vector);
