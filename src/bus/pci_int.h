/*
 * Private to the PCI core's files. The host's lock is held around all of these.
 */
#pragma once

#include "bus/pci.h"

void pci_remap(struct pci_host *h, struct pci_dev *changed);
void pci_route_intx(struct pci_host *h);          /* pins and lines of every device, once */
void pci_irq_config_changed(struct pci_dev *d);   /* command, MSI or MSI-X control may be new */
