/*
 * Host bridges: a function at slot 0 that most guests want to see before they believe in a PCI bus.
 */
#pragma once

#include "bus/pci.h"

/* amd: the identity that some guests need to enable MSI. */
int hostbridge_init(struct pci_dev *d, bool amd);
