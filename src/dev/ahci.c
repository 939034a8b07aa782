/*
 * The host bus adapter of the SATA controller (see ahci.h): the PCI function, the generic registers and the
 * interrupt. Section numbers are those of AHCI 1.3.
 */
#include "dev/ahci_int.h"

#include <errno.h>
#include <stdlib.h>

#define VENDOR_INTEL 0x8086
#define DEVICE_ICH8 0x2821
#define CLASS_SATA_AHCI 0x010601

/* Generic host control (3.1) */
#define REG_CAP 0x00
#define REG_GHC 0x04
#define REG_IS 0x08
#define REG_PI 0x0c
#define REG_VS 0x10

#define PORT_BASE 0x100
#define PORT_SIZE 0x80
#define BAR_MIN 1024 /* as the original's */

/* CAP (3.1.1) */
#define CAP_NCS ((AHCI_SLOTS - 1) << 8)
#define CAP_PMD BIT(15)
#define CAP_SAM BIT(18)
#define CAP_ISS_GEN3 (3u << 20)
#define CAP_SCLO BIT(24)
#define CAP_SNCQ BIT(30)
#define CAP_S64A BIT(31)

/* GHC (3.1.2) */
#define GHC_HR BIT(0)
#define GHC_IE BIT(1)
#define GHC_AE BIT(31)

#define VERSION_1_3 0x00010300

/* --- interrupts (10.6, 10.7) --- */

/* Ports whose enabled conditions are still there set their bit again. */
static void collect(struct ahci *h)
{
	for (unsigned n = 0; n < h->nports; n++)
		if (h->port[n].is & h->port[n].ie)
			h->is |= BIT(n);
}

static bool level(const struct ahci *h)
{
	return (h->ghc & GHC_IE) && h->is;
}

/* One message when IS becomes nonzero, and one when software has cleared a part of it. */
static void drive_irq(struct ahci *h, bool again)
{
	bool now = level(h);

	if (now && (!h->intx || again))
		pci_msi_notify(&h->pci, 0);
	if (now != h->intx)
		pci_set_intx(&h->pci, now);
	h->intx = now;
}

void ahci_update_irq(struct ahci *h)
{
	collect(h);
	drive_irq(h, false);
}

void ahci_raise(struct ahci_port *p, u32 bits)
{
	p->is |= bits;
	if (p->is & p->ie)
		ahci_update_irq(p->hba);
}

/* --- registers --- */

static u32 capabilities(const struct ahci *h)
{
	return (h->nports - 1) | CAP_NCS | CAP_PMD | CAP_SAM | CAP_ISS_GEN3 | CAP_SCLO | CAP_SNCQ | CAP_S64A;
}

static u32 ports_mask(const struct ahci *h)
{
	return (u32)(BIT64(h->nports) - 1);
}

static void reset_locked(struct ahci *h)
{
	h->ghc = GHC_AE;
	h->is = 0;
	drive_irq(h, false);
	for (unsigned n = 0; n < h->nports; n++)
		ahci_port_reset(&h->port[n]);
	h->ghc = GHC_AE;
	h->is = 0;
	drive_irq(h, false);
}

static void write_ghc(struct ahci *h, u32 val)
{
	if (val & GHC_HR) {
		reset_locked(h);
		return;
	}
	h->ghc = GHC_AE | (val & GHC_IE);
	ahci_update_irq(h);
}

static u32 read_generic(struct ahci *h, u64 off)
{
	switch (off) {
	case REG_CAP: return capabilities(h);
	case REG_GHC: return h->ghc;
	case REG_IS: return h->is;
	case REG_PI: return ports_mask(h);
	case REG_VS: return VERSION_1_3;
	default: return 0;
	}
}

static struct ahci_port *port_at(struct ahci *h, u64 off)
{
	u64 n = (off - PORT_BASE) / PORT_SIZE;

	return off >= PORT_BASE && n < h->nports ? &h->port[n] : NULL;
}

static u64 bar_read(void *opaque, u64 off, unsigned size)
{
	struct ahci *h = opaque;
	struct ahci_port *p = port_at(h, off);

	if (off < PORT_BASE)
		return read_generic(h, off);
	return p ? ahci_port_read(p, (off - PORT_BASE) % PORT_SIZE) : 0;
}

static void bar_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct ahci *h = opaque;
	struct ahci_port *p = port_at(h, off);

	if (p) {
		ahci_port_write(p, (off - PORT_BASE) % PORT_SIZE, (u32)val);
	} else if (off == REG_GHC) {
		write_ghc(h, (u32)val);
	} else if (off == REG_IS) {
		h->is &= ~(u32)val;
		collect(h);
		drive_irq(h, true);
	}
}

static const struct region_ops bar_ops = {.read = bar_read, .write = bar_write, .min = 4, .max = 4};

/* --- life --- */

static int build_function(struct ahci *h)
{
	const struct pci_identity id = {.vendor = VENDOR_INTEL,
	        .device = DEVICE_ICH8,
	        .class_code = CLASS_SATA_AHCI,
	        .revision = 2,
	        .subvendor = VENDOR_INTEL,
	        .subsystem = DEVICE_ICH8};
	u64 size = MAX(PORT_BASE + PORT_SIZE * h->nports, (unsigned)BAR_MIN);

	pci_dev_init(&h->pci, "ahci", &id, NULL);
	pci_add_bar(&h->pci, 5, PCI_BAR_MEM32, size, &bar_ops, h, &h->lock);
	pci_add_intx(&h->pci);
	return pci_add_msi(&h->pci, 1);
}

static int make_ports(struct ahci *h, const struct ahci_config *c)
{
	int rc = 0;

	for (unsigned n = 0; n < c->nports && rc == 0; n++) {
		rc = ahci_port_init(&h->port[n], h, n, &c->drive[n]);
		h->nports += rc == 0;
	}
	return rc;
}

static void release(struct ahci *h)
{
	for (unsigned n = 0; n < h->nports; n++)
		ahci_port_fini(&h->port[n]);
	pthread_cond_destroy(&h->idle);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int ahci_create(struct ahci **out, const struct ahci_config *c)
{
	struct ahci *h;
	int rc;

	if (c->nports == 0 || c->nports > AHCI_PORTS_MAX)
		return -EINVAL;
	h = calloc(1, sizeof(*h) + c->nports * sizeof(h->port[0]));
	if (!h)
		return -ENOMEM;
	h->mem = c->mem;
	h->ghc = GHC_AE;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->idle, NULL);
	rc = make_ports(h, c);
	if (rc == 0) {
		rc = build_function(h);
		if (rc < 0)
			pci_dev_fini(&h->pci);
	}
	if (rc < 0) {
		release(h);
		return rc;
	}
	*out = h;
	return 0;
}

void ahci_destroy(struct ahci *h)
{
	if (!h)
		return;
	ahci_reset(h);
	pci_dev_fini(&h->pci);
	release(h);
}

void ahci_reset(struct ahci *h)
{
	pthread_mutex_lock(&h->lock);
	reset_locked(h);
	pthread_mutex_unlock(&h->lock);
}

struct pci_dev *ahci_pci(struct ahci *h)
{
	return &h->pci;
}
