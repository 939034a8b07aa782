/*
 * Interrupts of PCI devices: INTx lines with their routing, MSI, MSI-X.
 *
 * Routing (compat: as the original's): a device gets the least used pin of its slot; pins are handed
 * round-robin, in bus and slot order, to eight links A..H. Link n is IOAPIC pin 16 + n and, through
 * PIRQ routing register n of the LPC bridge, an ISA IRQ of the 8259 pair. Lines are shared: a line is
 * high while any of its devices drives it.
 */
#include "bus/pci.h"

#include "bus/pci_int.h"
#include <errno.h>
#include <stdlib.h>

#define MSI_ENABLE 0x01
#define MSIX_ENABLE 0x8000
#define MSIX_MASK_ALL 0x4000
#define MSIX_PBA 0x1000ull
#define MSIX_VECTOR_MASKED 1u

/* --- INTx --- */

/* The routing register of a link. */
static u8 pirq(const struct pci_host *h, unsigned link)
{
	return h->router ? h->router->cfg[h->router->pirq_reg[link]] : PCI_PIRQ_OFF;
}

/* ISA IRQs that are high because a routed link is. */
static u16 pic_levels(const struct pci_host *h)
{
	u16 levels = 0;

	for (unsigned n = 0; n < PCI_LINKS; n++)
		if (h->link_count[n] && !(pirq(h, n) & PCI_PIRQ_OFF))
			levels |= (u16)(1u << (pirq(h, n) & 15));
	return levels;
}

static void update_pic(struct pci_host *h)
{
	u16 levels = pic_levels(h), changed = levels ^ h->pic_level;

	h->pic_level = levels;
	for (unsigned irq = 0; irq < 16; irq++)
		if (changed >> irq & 1)
			wire_set(&h->cfg.pic[irq], levels >> irq & 1);
}

static void drive(struct pci_dev *d, bool level)
{
	struct pci_host *h = d->host;

	if (level == d->driven || !d->cfg[PCI_INTPIN])
		return;
	d->driven = level;
	if (level)
		h->link_count[d->link]++;
	else
		h->link_count[d->link]--;
	if (h->link_count[d->link] == (level ? 1 : 0))
		wire_set(&h->cfg.ioapic[d->link], level);
	update_pic(h);
}

static u16 msi_control(const struct pci_dev *d)
{
	return d->msi_cap ? get_le16(&d->cfg[d->msi_cap + 2]) : 0;
}

static u16 msix_control(const struct pci_dev *d)
{
	return d->msix ? get_le16(&d->cfg[d->msix->cap + 2]) : 0;
}

/* A function with MSI or MSI-X on must not use its pin (6.8.3.3). */
static bool intx_allowed(const struct pci_dev *d)
{
	return !(get_le16(&d->cfg[PCI_COMMAND]) & PCI_CMD_INTX_OFF) && !(msi_control(d) & MSI_ENABLE) &&
	       !(msix_control(d) & MSIX_ENABLE);
}

static void update_intx(struct pci_dev *d)
{
	d->cfg[PCI_STATUS] = (u8)((d->cfg[PCI_STATUS] & ~PCI_STATUS_INTX) | (d->intx ? PCI_STATUS_INTX : 0));
	drive(d, d->intx && intx_allowed(d));
}

void pci_set_intx(struct pci_dev *d, bool level)
{
	if (!d->host) { /* not in a slot yet, or any more */
		d->intx = level;
		return;
	}
	pthread_mutex_lock(&d->host->lock);
	if (d->intx != level) {
		d->intx = level;
		update_intx(d);
	}
	pthread_mutex_unlock(&d->host->lock);
}

void pci_irq_detach(struct pci_dev *d)
{
	drive(d, false);
}

/* What the interrupt line register tells software that knows only the 8259s; 0xff: not connected. */
static void set_line_register(struct pci_dev *d)
{
	u8 route = pirq(d->host, d->link);

	if (d->cfg[PCI_INTPIN])
		d->cfg[PCI_INTLINE] = route & PCI_PIRQ_OFF ? 0xff : route & 15;
}

void pci_route_links(struct pci_host *h, const u8 irq[PCI_LINKS])
{
	pthread_mutex_lock(&h->lock);
	if (h->router) {
		struct pci_dev *r = h->router;

		for (unsigned n = 0; n < PCI_LINKS; n++)
			r->boot_cfg[r->pirq_reg[n]] = r->cfg[r->pirq_reg[n]] = irq[n];
		for (u32 n = 0; n < h->ndevs; n++) {
			set_line_register(h->devs[n]);
			h->devs[n]->boot_cfg[PCI_INTLINE] = h->devs[n]->cfg[PCI_INTLINE];
		}
		update_pic(h);
	}
	pthread_mutex_unlock(&h->lock);
}

/* The pin that fewest functions of the slot use already: 1 (INTA) to 4. */
static u8 least_used_pin(const struct pci_host *h, const struct pci_dev *d)
{
	unsigned used[5] = {0}, best = 1;

	for (u32 n = 0; n < h->ndevs; n++)
		if (h->devs[n]->bus == d->bus && h->devs[n]->slot == d->slot)
			used[h->devs[n]->cfg[PCI_INTPIN]]++;
	for (unsigned pin = 2; pin <= 4; pin++)
		if (used[pin] < used[best])
			best = pin;
	return (u8)best;
}

/* Functions of a slot with the same pin share its line. */
static bool line_of_pin(const struct pci_host *h, const struct pci_dev *d, u8 pin, u8 *link)
{
	for (u32 n = 0; n < h->ndevs; n++) {
		const struct pci_dev *o = h->devs[n];

		if (o != d && o->bus == d->bus && o->slot == d->slot && o->cfg[PCI_INTPIN] == pin) {
			*link = o->link;
			return true;
		}
	}
	return false;
}

void pci_route_intx(struct pci_host *h)
{
	u8 next = 0;

	for (u32 n = 0; n < h->ndevs; n++) {
		struct pci_dev *d = h->devs[n];
		u8 pin;

		if (!d->wants_intx)
			continue;
		pin = least_used_pin(h, d);
		if (!line_of_pin(h, d, pin, &d->link))
			d->link = next++ % PCI_LINKS;
		d->cfg[PCI_INTPIN] = pin;
		set_line_register(d);
	}
}

struct pci_intx_info pci_intx_info(const struct pci_dev *d)
{
	return (struct pci_intx_info){.bus = d->bus,
	        .slot = d->slot,
	        .func = d->func,
	        .pin = d->cfg[PCI_INTPIN],
	        .link = d->link,
	        .gsi = (u8)(PCI_GSI_BASE + d->link)};
}

/* --- MSI --- */

/* Vectors that the guest enabled (6.8.1.3): never more than were offered. */
static unsigned msi_count(const struct pci_dev *d)
{
	u16 c = msi_control(d);

	return 1u << MIN(c >> 4 & 7, c >> 1 & 7);
}

static void msi_fire(struct pci_dev *d)
{
	u32 mask = get_le32(&d->cfg[d->msi_cap + 16]);
	u32 ready = d->msi_pending & ~mask;
	u64 addr = get_le64(&d->cfg[d->msi_cap + 4]);
	u16 data = get_le16(&d->cfg[d->msi_cap + 12]);

	if (!(msi_control(d) & MSI_ENABLE))
		return;
	d->msi_pending &= ~ready;
	put_le32(&d->cfg[d->msi_cap + 20], d->msi_pending);
	while (ready) {
		unsigned v = (unsigned)__builtin_ctz(ready);

		ready &= ready - 1;
		msi_send(&d->host->cfg.msi, addr, (data & ~(msi_count(d) - 1)) | v);
	}
}

bool pci_msi_enabled(struct pci_dev *d)
{
	bool on;

	if (!d->host)
		return false;
	pthread_mutex_lock(&d->host->lock);
	on = msi_control(d) & MSI_ENABLE;
	pthread_mutex_unlock(&d->host->lock);
	return on;
}

void pci_msi_notify(struct pci_dev *d, unsigned vector)
{
	if (!d->host)
		return;
	pthread_mutex_lock(&d->host->lock);
	if (msi_control(d) & MSI_ENABLE) {
		/* A guest that granted fewer vectors gets the rest on the last one it granted. */
		d->msi_pending |= BIT(MIN(vector, msi_count(d) - 1));
		msi_fire(d);
	}
	pthread_mutex_unlock(&d->host->lock);
}

/* --- MSI-X (6.8.2) --- */

static void msix_fire(struct pci_dev *d)
{
	struct pci_msix *x = d->msix;
	u64 left = x->pending;

	if ((msix_control(d) & (MSIX_ENABLE | MSIX_MASK_ALL)) != MSIX_ENABLE)
		return;
	while (left) {
		unsigned v = (unsigned)__builtin_ctzll(left);

		left &= left - 1;
		if (x->table[v][3] & MSIX_VECTOR_MASKED)
			continue;
		x->pending &= ~BIT64(v);
		msi_send(&d->host->cfg.msi, (u64)x->table[v][1] << 32 | x->table[v][0], x->table[v][2]);
	}
}

bool pci_msix_enabled(struct pci_dev *d)
{
	bool on;

	if (!d->host)
		return false;
	pthread_mutex_lock(&d->host->lock);
	on = msix_control(d) & MSIX_ENABLE;
	pthread_mutex_unlock(&d->host->lock);
	return on;
}

void pci_msix_notify(struct pci_dev *d, unsigned vector)
{
	if (!d->host)
		return;
	pthread_mutex_lock(&d->host->lock);
	if (d->msix && vector < d->msix->count && (msix_control(d) & MSIX_ENABLE)) {
		d->msix->pending |= BIT64(vector);
		msix_fire(d);
	}
	pthread_mutex_unlock(&d->host->lock);
}

static u64 msix_read(void *opaque, u64 off, unsigned size)
{
	struct pci_dev *d = opaque;
	const struct pci_msix *x = d->msix;
	u64 val = 0;

	pthread_mutex_lock(&d->host->lock);
	if (off < x->count * 16ull)
		val = x->table[off / 16][off / 4 % 4];
	else if (off >= MSIX_PBA && off < MSIX_PBA + 8)
		val = x->pending >> (off - MSIX_PBA) * 8;
	pthread_mutex_unlock(&d->host->lock);
	return val;
}

/* Reserved bits read as zero (6.8.2.6 to 6.8.2.9). */
static const u32 table_writable[4] = {0xfffffffc, 0xffffffff, 0xffffffff, MSIX_VECTOR_MASKED};

static void msix_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct pci_dev *d = opaque;
	struct pci_msix *x = d->msix;

	pthread_mutex_lock(&d->host->lock);
	if (off < x->count * 16ull) {
		x->table[off / 16][off / 4 % 4] = (u32)val & table_writable[off / 4 % 4];
		msix_fire(d);
	}
	pthread_mutex_unlock(&d->host->lock);
}

static const struct region_ops msix_ops = {.read = msix_read, .write = msix_write, .min = 4, .max = 4};

static void msix_clear(struct pci_msix *x)
{
	x->pending = 0;
	memset(x->table, 0, sizeof(x->table));
	for (unsigned n = 0; n < x->count; n++)
		x->table[n][3] = MSIX_VECTOR_MASKED;
}

int pci_add_msix(struct pci_dev *d, unsigned vectors, unsigned bar)
{
	u8 cap;

	if (vectors == 0 || vectors > PCI_MSIX_MAX || bar > 5 || d->msix)
		return -EINVAL;
	cap = pci_add_cap(d, PCI_CAP_MSIX, 12);
	if (!cap)
		return -ENOSPC;
	d->msix = calloc(1, sizeof(*d->msix));
	if (!d->msix)
		return -ENOMEM;
	d->msix->cap = cap;
	d->msix->count = (u16)vectors;
	msix_clear(d->msix);
	put_le16(&d->cfg[cap + 2], (u16)(vectors - 1));
	put_le16(&d->wmask[cap + 2], MSIX_ENABLE | MSIX_MASK_ALL);
	put_le32(&d->cfg[cap + 4], bar);
	put_le32(&d->cfg[cap + 8], (u32)MSIX_PBA | bar);
	pci_add_bar(d, bar, PCI_BAR_MEM32, 2 * MSIX_PBA, &msix_ops, d, NULL);
	return 0;
}

void pci_irq_config_changed(struct pci_dev *d)
{
	update_intx(d);
	if (d == d->host->router)
		update_pic(d->host);
	if (d->msi_cap)
		msi_fire(d);
	if (d->msix)
		msix_fire(d);
}

void pci_irq_reset(struct pci_dev *d)
{
	d->intx = false;
	d->msi_pending = 0;
	if (d->msix)
		msix_clear(d->msix);
	pci_irq_config_changed(d);
}
