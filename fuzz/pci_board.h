/*
 * Where boards of fuzz targets have their PCI windows: those of the machine.
 */
#pragma once

#include "bus/pci.h"

#define ECAM 0xe0000000ull

/* Interrupt lines and bridges are the target's business. */
static inline struct pci_host_config pci_windows(
        struct space *ports, struct space *memory, struct msi_sink msi)
{
	return (struct pci_host_config){.ports = ports,
	        .memory = memory,
	        .ecam_base = ECAM,
	        .mmio_base = 0xc0000000,
	        .mmio_end = 0xe0000000,
	        .mmio64_base = 0xd000000000,
	        .io_base = 0x2000,
	        .msi = msi};
}
