/*
 * Building a device's configuration space: identity, BARs, capabilities.
 */
#include "bus/pci.h"

#include "base/log.h"
#include "bus/pci_int.h"
#include <errno.h>

#define CAPS_START 0x40

void pci_dev_init(
        struct pci_dev *d, const char *name, const struct pci_identity *id, const struct pci_ops *ops)
{
	memset(d, 0, sizeof(*d));
	d->name = name;
	d->ops = ops;
	d->next_cap = CAPS_START;
	put_le16(&d->cfg[PCI_VENDOR], id->vendor);
	put_le16(&d->cfg[PCI_DEVICE], id->device);
	d->cfg[PCI_REVISION] = id->revision;
	d->cfg[PCI_CLASS] = (u8)id->class_code;
	d->cfg[PCI_CLASS + 1] = (u8)(id->class_code >> 8);
	d->cfg[PCI_CLASS + 2] = (u8)(id->class_code >> 16);
	put_le16(&d->cfg[PCI_SUBVENDOR], id->subvendor);
	put_le16(&d->cfg[PCI_SUBSYSTEM], id->subsystem);
	put_le16(
	        &d->wmask[PCI_COMMAND], PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_INTX_OFF | 0x140);
	put_le16(&d->w1c[PCI_STATUS], 0xf900);
	d->wmask[PCI_LINE_SIZE] = 0xff;
	d->wmask[PCI_LATENCY] = 0xff;
	d->wmask[PCI_INTLINE] = 0xff;
}

void pci_set_wmask(struct pci_dev *d, unsigned off, unsigned len, u8 mask)
{
	for (unsigned n = off; n < off + len && n < sizeof(d->wmask); n++)
		d->wmask[n] = mask;
}

static u64 pow2_at_least(u64 size, u64 min)
{
	u64 p = min;

	while (p < size)
		p *= 2;
	return p;
}

void pci_add_bar(struct pci_dev *d, unsigned n, enum pci_bar_kind kind, u64 size,
        const struct region_ops *ops, void *opaque, pthread_mutex_t *lock)
{
	struct pci_bar *b = &d->bar[n];
	u8 *reg = &d->cfg[PCI_BAR0 + 4 * n], *mask = &d->wmask[PCI_BAR0 + 4 * n];

	BUG_ON(n > (kind == PCI_BAR_MEM64 ? 4 : 5) || b->kind != PCI_BAR_NONE);
	b->kind = kind;
	b->size = pow2_at_least(size, kind == PCI_BAR_IO ? 4 : 16);
	b->region =
	        (struct region){.len = b->size, .ops = ops, .opaque = opaque, .lock = lock, .name = d->name};
	put_le32(reg, pci_bar_flags(kind));
	put_le32(mask, (u32) ~(b->size - 1) & (kind == PCI_BAR_IO ? ~3u : ~15u));
	if (kind == PCI_BAR_MEM64)
		put_le32(mask + 4, (u32)(~(b->size - 1) >> 32));
}

u8 pci_add_cap(struct pci_dev *d, u8 id, u8 len)
{
	u8 at = (u8)d->next_cap;
	unsigned end = ALIGN_UP(d->next_cap + (unsigned)len, 4u);

	if (end > sizeof(d->cfg))
		return 0;
	d->cfg[at] = id;
	d->cfg[d->last_cap ? d->last_cap + 1 : PCI_CAPS] = at;
	d->cfg[PCI_STATUS] |= PCI_STATUS_CAPS;
	d->last_cap = at;
	d->next_cap = (u16)end;
	return at;
}

/* MSI capability with 64-bit address and per-vector masks (6.8.1). */
int pci_add_msi(struct pci_dev *d, unsigned vectors)
{
	u8 cap;

	if (vectors == 0 || vectors > 32 || (vectors & (vectors - 1)))
		return -EINVAL;
	cap = pci_add_cap(d, PCI_CAP_MSI, 24);
	if (!cap)
		return -ENOSPC;
	put_le16(&d->cfg[cap + 2], (u16)(0x180 | __builtin_ctz(vectors) << 1));
	put_le16(&d->wmask[cap + 2], 0x71);
	put_le32(&d->wmask[cap + 4], 0xfffffffc);
	put_le32(&d->wmask[cap + 8], 0xffffffff);
	put_le16(&d->wmask[cap + 12], 0xffff);
	put_le32(&d->wmask[cap + 16], vectors == 32 ? 0xffffffff : BIT(vectors) - 1);
	d->msi_cap = cap;
	return 0;
}

/* PCI Express capability, version 2: link and slot of a x1 2.5 GT/s port (PCIe base spec 7.5.3). */
int pci_add_pcie(struct pci_dev *d, u8 port_type)
{
	u8 cap = pci_add_cap(d, PCI_CAP_PCIE, 0x3c);

	if (!cap)
		return -ENOSPC;
	put_le16(&d->cfg[cap + 2], (u16)(2 | port_type << 4));
	put_le32(&d->cfg[cap + 4], 0x8000);   /* role-based error reporting */
	put_le16(&d->wmask[cap + 8], 0x7fff); /* device control */
	put_le32(&d->cfg[cap + 0x0c], 0x11);
	put_le16(&d->cfg[cap + 0x12], 0x11);
	return 0;
}

void pci_add_intx(struct pci_dev *d)
{
	d->wants_intx = true;
}

void pci_set_router(struct pci_dev *d, const u8 reg[PCI_LINKS])
{
	d->pirq_reg = reg;
	for (unsigned n = 0; n < PCI_LINKS; n++) {
		d->cfg[reg[n]] = PCI_PIRQ_OFF;
		d->wmask[reg[n]] = PCI_PIRQ_OFF | 0x0f;
	}
}
