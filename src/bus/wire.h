/*
 * An interrupt line as a value, and the sink of message-signalled interrupts. A device is handed a
 * wire and drives its level; it never knows a number. Wires chain: a PCI pin drives a router that
 * drives an IOAPIC pin. Setting a wire to the level it has is allowed and cheap. Any thread; a
 * caller may hold its own device lock (order: device, router, interrupt chip).
 */
#pragma once

#include "base/types.h"

struct wire {
	void (*set)(void *opaque, unsigned n, bool level);
	void *opaque;
	unsigned n; /* meaning belongs to the receiver */
};

static inline void wire_set(const struct wire *w, bool level)
{
	if (w->set)
		w->set(w->opaque, w->n, level);
}

/* Low, high, low: an edge. */
static inline void wire_pulse(const struct wire *w)
{
	wire_set(w, true);
	wire_set(w, false);
}

struct msi_sink {
	void (*send)(void *opaque, u64 addr, u32 data);
	void *opaque;
};

static inline void msi_send(const struct msi_sink *s, u64 addr, u32 data)
{
	if (s->send)
		s->send(s->opaque, addr, data);
}
