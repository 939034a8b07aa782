/*
 * PIRQ routing registers as in the ICH family (data sheet 313056, 13.1.15 and 13.1.17): PIRQA..D at
 * 60h..63h, PIRQE..H at 68h..6Bh; bit 7 = not routed to the 8259s, low nibble = ISA IRQ. The PCI core
 * reads them where it routes.
 */
#include "dev/lpc.h"

static const u8 pirq_reg[PCI_LINKS] = {0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b};

int lpc_init(struct lpc *l)
{
	const struct pci_identity id = {.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100};

	pci_dev_init(&l->pci, "lpc", &id, NULL);
	pci_set_router(&l->pci, pirq_reg);
	return 0;
}

u8 lpc_link_reg(unsigned link)
{
	return pirq_reg[link];
}

void lpc_route_links(struct lpc *l)
{
	static const u8 irq[PCI_LINKS] = {10, 11, 5, 10, 11, 5, 10, 11};

	if (l->pci.host)
		pci_route_links(l->pci.host, irq);
}
