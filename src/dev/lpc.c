/*
 * PIRQ routing registers as in the ICH family (data sheet 313056, 13.1.15 and 13.1.17): PIRQA..D at
 * 60h..63h, PIRQE..H at 68h..6Bh; bit 7 = not routed to the 8259s, low nibble = ISA IRQ.
 */
#include "dev/lpc.h"

#define PIRQ_A 0x60
#define PIRQ_E 0x68

static unsigned pirq_reg(unsigned link)
{
	return link < 4 ? PIRQ_A + link : PIRQ_E + link - 4;
}

static void cfg_written(struct pci_dev *d, unsigned off, unsigned size)
{
	for (unsigned link = 0; link < PCI_LINKS; link++) {
		unsigned reg = pirq_reg(link);

		if (off <= reg && reg < off + size)
			pci_set_pirq(d->host, link, d->cfg[reg]);
	}
}

static const struct pci_ops ops = {.cfg_written = cfg_written};

int lpc_init(struct lpc *l)
{
	const struct pci_identity id = {.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100};

	pci_dev_init(&l->pci, "lpc", &id, &ops);
	for (unsigned link = 0; link < PCI_LINKS; link++) {
		l->pci.cfg[pirq_reg(link)] = 0x80;
		pci_set_wmask(&l->pci, pirq_reg(link), 1, 0x8f);
	}
	return 0;
}

void lpc_route_links(struct lpc *l)
{
	static const u8 irq[] = {10, 11, 5};

	for (unsigned link = 0; link < PCI_LINKS; link++) {
		u8 val = irq[link % ARRAY_SIZE(irq)];

		l->pci.cfg[pirq_reg(link)] = val;
		pci_set_pirq(l->pci.host, link, val);
	}
}
