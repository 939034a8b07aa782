/*
 * A device to test PCI with: BARs of both kinds, MSI and INTx (see dummy.h).
 */
#include "dev/dummy.h"

#define DOORBELL 4

static u64 io_read(void *opaque, u64 off, unsigned size)
{
	struct dummy *d = opaque;
	u64 val = 0;

	memcpy(&val, &d->io[off], size);
	if (off == DOORBELL)
		pci_set_intx(&d->pci, false);
	return val;
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct dummy *d = opaque;

	memcpy(&d->io[off], &val, size);
	if (off != DOORBELL)
		return;
	if (pci_msi_enabled(&d->pci))
		pci_msi_notify(&d->pci, (unsigned)val & 3);
	else
		pci_set_intx(&d->pci, true);
}

static u64 mem0_read(void *opaque, u64 off, unsigned size)
{
	struct dummy *d = opaque;
	u64 val = 0;

	memcpy(&val, &d->mem[0][off], size);
	return val;
}

static void mem0_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct dummy *d = opaque;

	memcpy(&d->mem[0][off], &val, size);
}

static u64 mem1_read(void *opaque, u64 off, unsigned size)
{
	struct dummy *d = opaque;
	u64 val = 0;

	memcpy(&val, &d->mem[1][off], size);
	return val;
}

static void mem1_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct dummy *d = opaque;

	memcpy(&d->mem[1][off], &val, size);
}

static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min = 1, .max = 4};
static const struct region_ops mem0_ops = {.read = mem0_read, .write = mem0_write};
static const struct region_ops mem1_ops = {.read = mem1_read, .write = mem1_write};

int dummy_init(struct dummy *d)
{
	const struct pci_identity id = {.vendor = 0x10dd, .device = 0x0001, .class_code = 0xff0000};
	int rc;

	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
	pci_dev_init(&d->pci, "dummy", &id, NULL);
	pci_add_bar(&d->pci, 0, PCI_BAR_IO, sizeof(d->io), &io_ops, d, &d->lock);
	pci_add_bar(&d->pci, 1, PCI_BAR_MEM32, sizeof(d->mem[0]), &mem0_ops, d, &d->lock);
	pci_add_bar(&d->pci, 2, PCI_BAR_MEM32, sizeof(d->mem[1]), &mem1_ops, d, &d->lock);
	rc = pci_add_msi(&d->pci, 4);
	pci_add_intx(&d->pci);
	return rc;
}

void dummy_reset(struct dummy *d)
{
	pthread_mutex_lock(&d->lock);
	memset(d->io, 0, sizeof(d->io));
	memset(d->mem, 0, sizeof(d->mem));
	pci_set_intx(&d->pci, false);
	pthread_mutex_unlock(&d->lock);
}

void dummy_fini(struct dummy *d)
{
	pci_dev_fini(&d->pci);
	pthread_mutex_destroy(&d->lock);
}
