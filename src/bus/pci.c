/*
 * The root complex: finding devices, configuration cycles, BAR mapping. Interrupts are in
 * pci_irq.c, the construction of a device's configuration space in pci_dev.c.
 *
 * A configuration write changes bytes under masks, then whatever depends on them (BAR mapping,
 * INTx and MSI state) is derived from the bytes again: configuration space is the only state.
 */
#include "bus/pci.h"

#include "bus/pci_int.h"
#include <errno.h>
#include <stdlib.h>

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u

#define IO_END 0x10000ull
#define LARGE_BAR (32 * MiB)    /* a 64-bit BAR above this goes to the high window */
#define MMIO64_END (1ull << 40) /* guests have 40 address bits */

static struct pci_dev *find(const struct pci_host *h, unsigned bus, unsigned slot, unsigned func)
{
	for (u32 n = 0; n < h->ndevs; n++) {
		struct pci_dev *d = h->devs[n];

		if (d->bus == bus && d->slot == slot && d->func == func)
			return d;
	}
	return NULL;
}

/* --- BARs --- */

static struct space *bar_space(struct pci_host *h, const struct pci_bar *b)
{
	return b->kind == PCI_BAR_IO ? h->cfg.ports : h->cfg.memory;
}

static u64 bar_address(const struct pci_dev *d, unsigned n)
{
	u64 low = get_le32(&d->cfg[PCI_BAR0 + 4 * n]);

	switch (d->bar[n].kind) {
	case PCI_BAR_IO: return low & ~3ull;
	case PCI_BAR_MEM64: return (low & ~15ull) | (u64)get_le32(&d->cfg[PCI_BAR0 + 4 * n + 4]) << 32;
	default: return low & ~15ull;
	}
}

/* Where the BAR should be mapped now; false: nowhere. Address 0 decodes nothing. */
static bool bar_wanted(const struct pci_dev *d, unsigned n, u64 *addr)
{
	const struct pci_bar *b = &d->bar[n];
	u16 cmd = get_le16(&d->cfg[PCI_COMMAND]);

	if (b->kind == PCI_BAR_NONE)
		return false;
	*addr = bar_address(d, n);
	if (*addr == 0 || *addr + (b->size - 1) < *addr)
		return false;
	return cmd & (b->kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM);
}

static void unmap_stale(struct pci_host *h, struct pci_dev *d)
{
	for (unsigned n = 0; n < ARRAY_SIZE(d->bar); n++) {
		struct pci_bar *b = &d->bar[n];
		u64 addr;

		if (b->region.mapped && (!bar_wanted(d, n, &addr) || addr != b->region.base))
			space_remove(bar_space(h, b), &b->region);
	}
}

void pci_unmap(struct pci_host *h, struct pci_dev *d)
{
	for (unsigned n = 0; n < ARRAY_SIZE(d->bar); n++)
		if (d->bar[n].region.mapped)
			space_remove(bar_space(h, &d->bar[n]), &d->bar[n].region);
}

/* A BAR that does not fit stays unmapped and is tried again at the next change of any BAR. */
static void map_wanted(struct pci_host *h, struct pci_dev *d)
{
	for (unsigned n = 0; n < ARRAY_SIZE(d->bar); n++) {
		struct pci_bar *b = &d->bar[n];
		u64 addr;

		if (b->kind == PCI_BAR_NONE || b->region.mapped || !bar_wanted(d, n, &addr))
			continue;
		b->region.base = addr;
		(void)space_add(bar_space(h, b), &b->region);
	}
}

void pci_remap(struct pci_host *h, struct pci_dev *changed)
{
	unmap_stale(h, changed);
	for (u32 n = 0; n < h->ndevs; n++)
		map_wanted(h, h->devs[n]);
}

/* --- configuration cycles --- */

static bool touches(unsigned off, unsigned size, unsigned first, unsigned last)
{
	return off <= last && off + size > first;
}

static u32 config_read(struct pci_host *h, u32 bdf, unsigned off, unsigned size)
{
	struct pci_dev *d;
	u32 val = (u32)ones(size);

	pthread_mutex_lock(&h->lock);
	d = find(h, bdf >> 8 & 0xff, bdf >> 3 & 31, bdf & 7);
	if (d) {
		val = 0; /* beyond 256 bytes: no extended capabilities */
		if (off + size <= sizeof(d->cfg))
			memcpy(&val, &d->cfg[off], size);
	}
	pthread_mutex_unlock(&h->lock);
	if (d && d->ops && d->ops->cfg_read && off + size <= sizeof(d->cfg))
		d->ops->cfg_read(d, off, size, &val);
	return val;
}

static void write_bytes(struct pci_dev *d, unsigned off, unsigned size, u32 val)
{
	for (unsigned n = 0; n < size; n++, val >>= 8) {
		u8 *byte = &d->cfg[off + n];
		u8 mask = d->wmask[off + n];

		*byte = (u8)((*byte & ~mask) | (val & mask));
		*byte &= (u8) ~(val & d->w1c[off + n]);
	}
}

static void config_write(struct pci_host *h, u32 bdf, unsigned off, unsigned size, u32 val)
{
	struct pci_dev *d;

	if (off + size > sizeof(d->cfg))
		return;
	pthread_mutex_lock(&h->lock);
	d = find(h, bdf >> 8 & 0xff, bdf >> 3 & 31, bdf & 7);
	if (d) {
		write_bytes(d, off, size, val);
		if (touches(off, size, PCI_COMMAND, PCI_COMMAND + 1) ||
		        touches(off, size, PCI_BAR0, PCI_BAR0 + 23))
			pci_remap(h, d);
		pci_irq_config_changed(d);
	}
	pthread_mutex_unlock(&h->lock);
	if (d && d->ops && d->ops->cfg_written)
		d->ops->cfg_written(d, off, size);
}

/* CONFIG_ADDRESS is written as a dword only (3.2.2.3.2); byte CF9h is somebody else's. */
static u64 address_read(void *opaque, u64 off, unsigned size)
{
	struct pci_host *h = opaque;
	u32 address = __atomic_load_n(&h->address, __ATOMIC_RELAXED);

	if (off == 1 && size == 1 && h->cfg.cf9_read)
		return h->cfg.cf9_read(h->cfg.opaque);
	return off == 0 && size == 4 ? address : ones(size);
}

static void address_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct pci_host *h = opaque;

	if (off == 0 && size == 4)
		__atomic_store_n(&h->address, (u32)val & (CONFIG_ENABLE | 0xfffffc), __ATOMIC_RELAXED);
	else if (off == 1 && size == 1 && h->cfg.cf9_write)
		h->cfg.cf9_write(h->cfg.opaque, (u8)val);
}

static u64 data_read(void *opaque, u64 off, unsigned size)
{
	struct pci_host *h = opaque;
	u32 a = __atomic_load_n(&h->address, __ATOMIC_RELAXED);

	return a & CONFIG_ENABLE ? config_read(h, a >> 8 & 0xffff, (a & 0xfc) + (unsigned)off, size)
	                         : ones(size);
}

static void data_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct pci_host *h = opaque;
	u32 a = __atomic_load_n(&h->address, __ATOMIC_RELAXED);

	if (a & CONFIG_ENABLE)
		config_write(h, a >> 8 & 0xffff, (a & 0xfc) + (unsigned)off, size, (u32)val);
}

static u64 ecam_read(void *opaque, u64 off, unsigned size)
{
	return config_read(opaque, (u32)(off >> 12), (unsigned)off & 0xfff, size);
}

static void ecam_write(void *opaque, u64 off, unsigned size, u64 val)
{
	config_write(opaque, (u32)(off >> 12), (unsigned)off & 0xfff, size, (u32)val);
}

static const struct region_ops address_ops = {
        .read = address_read, .write = address_write, .min = 1, .max = 4};
static const struct region_ops data_ops = {.read = data_read, .write = data_write, .min = 1, .max = 4};
static const struct region_ops ecam_ops = {.read = ecam_read, .write = ecam_write, .min = 1, .max = 4};

/* --- life --- */

static int add_regions(struct pci_host *h)
{
	int rc;

	h->cf8 = (struct region){
	        .base = CONFIG_ADDRESS, .len = 4, .ops = &address_ops, .opaque = h, .name = "pci-address"};
	h->cfc = (struct region){
	        .base = CONFIG_DATA, .len = 4, .ops = &data_ops, .opaque = h, .name = "pci-data"};
	h->ecam = (struct region){.base = h->cfg.ecam_base,
	        .len = 256 * MiB,
	        .ops = &ecam_ops,
	        .opaque = h,
	        .name = "pci-ecam"};
	rc = space_add(h->cfg.ports, &h->cf8);
	if (rc == 0)
		rc = space_add(h->cfg.ports, &h->cfc);
	return rc < 0 ? rc : space_add(h->cfg.memory, &h->ecam);
}

int pci_host_init(struct pci_host *h, const struct pci_host_config *cfg)
{
	memset(h, 0, sizeof(*h));
	h->cfg = *cfg;
	pthread_mutex_init(&h->lock, NULL);
	return add_regions(h);
}

void pci_host_fini(struct pci_host *h)
{
	space_remove(h->cfg.ports, &h->cf8);
	space_remove(h->cfg.ports, &h->cfc);
	space_remove(h->cfg.memory, &h->ecam);
	for (u32 n = 0; n < h->ndevs; n++) {
		pci_unmap(h, h->devs[n]);
		h->devs[n]->host = NULL;
	}
	free(h->devs);
	pthread_mutex_destroy(&h->lock);
}

static int add(struct pci_host *h, struct pci_dev *d, unsigned bus, unsigned slot, unsigned func)
{
	struct pci_dev **p;

	if (find(h, bus, slot, func) || (d->pirq_reg && h->router))
		return -EEXIST;
	p = realloc(h->devs, (h->ndevs + 1) * sizeof(struct pci_dev *));
	if (!p)
		return -ENOMEM;
	h->devs = p;
	d->host = h;
	d->bus = (u8)bus;
	d->slot = (u8)slot;
	d->func = (u8)func;
	h->devs[h->ndevs++] = d;
	if (d->pirq_reg)
		h->router = d;
	return 0;
}

int pci_add(struct pci_host *h, struct pci_dev *d, unsigned bus, unsigned slot, unsigned func)
{
	int rc;

	if (bus > 255 || slot >= PCI_SLOTS || func >= PCI_FUNCS)
		return -EINVAL;
	pthread_mutex_lock(&h->lock);
	rc = add(h, d, bus, slot, func);
	pthread_mutex_unlock(&h->lock);
	return rc;
}

static void detach(struct pci_host *h, struct pci_dev *d)
{
	u32 kept = 0;

	pci_unmap(h, d);
	pci_irq_detach(d);
	for (u32 n = 0; n < h->ndevs; n++)
		if (h->devs[n] != d)
			h->devs[kept++] = h->devs[n];
	h->ndevs = kept;
	if (h->router == d)
		h->router = NULL;
	d->host = NULL;
}

void pci_dev_fini(struct pci_dev *d)
{
	struct pci_host *h = d->host;

	if (h) {
		pthread_mutex_lock(&h->lock);
		detach(h, d);
		pthread_mutex_unlock(&h->lock);
	}
	free(d->msix);
	d->msix = NULL;
}

/* --- the BIOS's part --- */

static int by_address(const void *a, const void *b)
{
	const struct pci_dev *x = *(struct pci_dev *const *)a, *y = *(struct pci_dev *const *)b;

	return (x->bus << 8 | x->slot << 3 | x->func) - (y->bus << 8 | y->slot << 3 | y->func);
}

/* The next aligned place of size bytes in [*next, end), or 0. */
static u64 take(u64 *next, u64 end, u64 size)
{
	u64 at = ALIGN_UP(*next, size);

	if (at < *next || at > end || end - at < size)
		return 0;
	*next = at + size;
	return at;
}

static int assign_bar(struct pci_host *h, struct pci_dev *d, unsigned n)
{
	struct pci_bar *b = &d->bar[n];
	u8 *reg = &d->cfg[PCI_BAR0 + 4 * n];
	u64 at;

	if (b->kind == PCI_BAR_NONE)
		return 0;
	if (b->kind == PCI_BAR_IO)
		at = take(&h->next_io, IO_END, b->size);
	else if (b->kind == PCI_BAR_MEM64 && b->size > LARGE_BAR)
		at = take(&h->next_mmio64, MMIO64_END, b->size);
	else
		at = take(&h->next_mmio, h->cfg.mmio_end, b->size);
	if (!at)
		return -ENOSPC;
	put_le32(reg, (u32)at | pci_bar_flags(b->kind));
	if (b->kind == PCI_BAR_MEM64)
		put_le32(reg + 4, (u32)(at >> 32));
	return 0;
}

static int assign_device(struct pci_host *h, struct pci_dev *d)
{
	for (unsigned n = 0; n < ARRAY_SIZE(d->bar); n++) {
		int rc = assign_bar(h, d, n);

		if (rc < 0)
			return rc;
	}
	if (d->func != 0 || find(h, d->bus, d->slot, 0) != d)
		return 0;
	for (unsigned func = 1; func < PCI_FUNCS; func++)
		if (find(h, d->bus, d->slot, func))
			d->cfg[PCI_HEADER] |= 0x80;
	return 0;
}

int pci_assign(struct pci_host *h)
{
	int rc = 0;

	pthread_mutex_lock(&h->lock);
	h->next_io = h->cfg.io_base;
	h->next_mmio = h->cfg.mmio_base;
	h->next_mmio64 = h->cfg.mmio64_base;
	if (h->ndevs)
		qsort(h->devs, h->ndevs, sizeof(struct pci_dev *), by_address);
	for (u32 n = 0; n < h->ndevs && rc == 0; n++)
		rc = assign_device(h, h->devs[n]);
	if (rc == 0)
		pci_route_intx(h);
	for (u32 n = 0; n < h->ndevs && rc == 0; n++) {
		put_le16(&h->devs[n]->cfg[PCI_COMMAND], PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
		pci_remap(h, h->devs[n]);
		pci_irq_config_changed(h->devs[n]);
		memcpy(h->devs[n]->boot_cfg, h->devs[n]->cfg, sizeof(h->devs[n]->cfg));
	}
	pthread_mutex_unlock(&h->lock);
	return rc;
}

void pci_host_reset(struct pci_host *h)
{
	pthread_mutex_lock(&h->lock);
	h->address = 0;
	for (u32 n = 0; n < h->ndevs; n++) {
		struct pci_dev *d = h->devs[n];

		pci_unmap(h, d);
		memcpy(d->cfg, d->boot_cfg, sizeof(d->cfg));
		pci_irq_reset(d);
	}
	for (u32 n = 0; n < h->ndevs; n++)
		map_wanted(h, h->devs[n]);
	pthread_mutex_unlock(&h->lock);
}
