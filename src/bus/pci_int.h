/*
 * Private to the PCI core's files. The host's lock is held around all of these.
 */
#pragma once

#include "bus/pci.h"

void pci_remap(struct pci_host *h, struct pci_dev *changed);
void pci_route_intx(struct pci_host *h);        /* pins and lines of every device, once */
void pci_irq_config_changed(struct pci_dev *d); /* command, MSI, MSI-X or routing may be new */
void pci_irq_reset(struct pci_dev *d);
void pci_irq_detach(struct pci_dev *d); /* takes d's level off its line */
void pci_unmap(struct pci_host *h, struct pci_dev *d);

/* Low bits of a BAR (6.2.5.1). */
static inline u32 pci_bar_flags(enum pci_bar_kind kind)
{
	return kind == PCI_BAR_IO ? 1 : kind == PCI_BAR_MEM64 ? 4 : 0;
}
