/*
 * Identities as in the original: 1275:1275 with the PCI Express capability of a root port, whose
 * presence tells guests that MSI works here; or an AMD one without it.
 */
#include "dev/hostbridge.h"

#define PCIE_ROOT_PORT 4

int hostbridge_init(struct pci_dev *d, bool amd)
{
	const struct pci_identity generic = {.vendor = 0x1275, .device = 0x1275, .class_code = 0x060000};
	const struct pci_identity amd_id = {.vendor = 0x1022, .device = 0x7432, .class_code = 0x060000};

	pci_dev_init(d, amd ? "amd_hostbridge" : "hostbridge", amd ? &amd_id : &generic, NULL);
	return amd ? 0 : pci_add_pcie(d, PCIE_ROOT_PORT);
}
