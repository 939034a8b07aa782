/*
 * A register that ends the machine, as QEMU's isa-debug-exit does: whatever value a guest writes, the
 * machine ends with the exit status (value << 1) | 1. For kernels under test, which say how their tests
 * went. Reads give 0.
 */
#pragma once

#include "bus/space.h"

#define DEBUGEXIT_PORTS 4

struct debugexit_config {
	struct space *ports;
	u16 port;
	/* On the CPU's thread, no lock held. A write that wins against another one counts. */
	void (*event)(void *opaque, u32 value);
	void *opaque;
};

struct debugexit {
	struct debugexit_config cfg;
	struct region region;
};

int debugexit_init(struct debugexit *d, const struct debugexit_config *cfg);
void debugexit_fini(struct debugexit *d);
