/*
 * The original's test device: an 8-byte I/O BAR, two 4 KiB memory BARs, four MSI vectors. Everything
 * written reads back; a write to I/O offset 4 raises MSI vector (value & 3), or INTx while MSI is off,
 * and a read of offset 4 lowers it.
 */
#pragma once

#include "bus/pci.h"

struct dummy {
	struct pci_dev pci; /* first member */
	pthread_mutex_t lock;
	u8 io[8];
	u8 mem[2][4096];
};

int dummy_init(struct dummy *d);
void dummy_reset(struct dummy *d);
void dummy_fini(struct dummy *d);
