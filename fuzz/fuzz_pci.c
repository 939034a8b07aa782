/*
 * The PCI core with bridges and devices of every kind of BAR and interrupt, under random configuration
 * cycles, BAR accesses, interrupts of the devices and resets. It holds that lines are driven exactly when
 * some device's state says so, that no message comes while no device may send, and that regions of
 * the spaces never overlap.
 */
#include "input.h"
#include "pci_board.h"

#include "dev/dummy.h"
#include "dev/hostbridge.h"
#include "dev/lpc.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

#define DUMMIES 10 /* more than links: lines are shared */
#define VECTORS 5

struct board {
	struct space ports, memory;
	struct pci_host host;
	struct pci_dev bridge, amd, msix, gone;
	struct lpc lpc;
	struct dummy dummy[DUMMIES];
	struct region chip; /* something fixed for BARs to collide with */
	bool gone_is_there;
	bool ioapic[PCI_LINKS], pic[16];
};

static void set_ioapic(void *opaque, unsigned n, bool level)
{
	struct board *b = opaque;

	check(b->ioapic[n] != level);
	b->ioapic[n] = level;
}

static void set_pic(void *opaque, unsigned n, bool level)
{
	struct board *b = opaque;

	check(b->pic[n] != level);
	b->pic[n] = level;
}

static void on_msi(void *opaque, u64 addr, u32 data)
{
	struct board *b = opaque;

	bool enabled = false;

	/* The host's lock is held: look at the registers themselves. */
	for (u32 n = 0; n < b->host.ndevs; n++) {
		const struct pci_dev *d = b->host.devs[n];

		enabled |= d->msi_cap && (d->cfg[d->msi_cap + 2] & 1);
		enabled |= d->msix && (d->cfg[d->msix->cap + 3] & 0x80);
	}
	check(enabled && (addr & 3) == 0);
}

static u64 echo_read(void *opaque, u64 off, unsigned size)
{
	check(off + size <= 4096);
	return off;
}

static void echo_write(void *opaque, u64 off, unsigned size, u64 val)
{
	check(off + size <= 4096 && val <= ones(size));
}

static const struct region_ops echo_ops = {.read = echo_read, .write = echo_write};

/* --- the board --- */

static void init_devices(struct board *b)
{
	const struct pci_identity id = {.vendor = 0x1af4, .device = 0x1041, .class_code = 0x020000};

	check(!hostbridge_init(&b->bridge, false));
	check(!hostbridge_init(&b->amd, true));
	check(!lpc_init(&b->lpc));
	for (unsigned n = 0; n < DUMMIES; n++)
		check(!dummy_init(&b->dummy[n]));
	pci_dev_init(&b->msix, "msix", &id, NULL);
	pci_add_bar(&b->msix, 4, PCI_BAR_MEM64, 4096, &echo_ops, NULL, NULL);
	check(!pci_add_msix(&b->msix, VECTORS, 1));
	check(!pci_add_msi(&b->msix, 32));
	pci_add_intx(&b->msix);
	pci_dev_init(&b->gone, "gone", &id, NULL);
	pci_add_bar(&b->gone, 0, PCI_BAR_MEM64, 4096, &echo_ops, NULL, NULL);
	pci_add_intx(&b->gone);
}

static void add_devices(struct board *b)
{
	check(!pci_add(&b->host, &b->bridge, 0, 0, 0));
	check(!pci_add(&b->host, &b->amd, 0, 1, 0));
	check(!pci_add(&b->host, &b->msix, 0, 2, 0));
	check(!pci_add(&b->host, &b->gone, 0, 2, 1));
	for (unsigned n = 0; n < DUMMIES; n++)
		check(!pci_add(&b->host, &b->dummy[n].pci, n & 1, n / 2 + 3, n & 2));
	check(!pci_add(&b->host, &b->lpc.pci, 0, 31, 0));
	b->gone_is_there = true;
}

static void board_init(struct board *b)
{
	struct pci_host_config c =
	        pci_windows(&b->ports, &b->memory, (struct msi_sink){.send = on_msi, .opaque = b});

	memset(b, 0, sizeof(*b));
	check(!space_init(&b->ports, 0xffff));
	check(!space_init(&b->memory, UINT64_MAX));
	b->chip = (struct region){.base = 0xfec00000, .len = 4096, .ops = &echo_ops, .name = "chip"};
	check(!space_add(&b->memory, &b->chip));
	for (unsigned n = 0; n < PCI_LINKS; n++)
		c.ioapic[n] = (struct wire){.set = set_ioapic, .opaque = b, .n = n};
	for (unsigned n = 0; n < 16; n++)
		if (LPC_LINK_IRQS >> n & 1)
			c.pic[n] = (struct wire){.set = set_pic, .opaque = b, .n = n};
	check(!pci_host_init(&b->host, &c));
	init_devices(b);
	add_devices(b);
	check(!pci_assign(&b->host));
	lpc_route_links(&b->lpc);
}

static void board_fini(struct board *b, bool host_first)
{
	if (host_first)
		pci_host_fini(&b->host);
	for (unsigned n = 0; n < DUMMIES; n++)
		dummy_fini(&b->dummy[n]);
	pci_dev_fini(&b->msix);
	pci_dev_fini(&b->lpc.pci);
	if (!host_first)
		pci_host_fini(&b->host);
	check(b->memory.count == 1 && b->ports.count == 0);
	space_fini(&b->ports);
	space_fini(&b->memory);
}

/* --- what must hold --- */

static void check_space(const struct space *s)
{
	for (u32 n = 0; n < s->count; n++) {
		check(s->sorted[n]->mapped);
		check(n == 0 || s->sorted[n - 1]->base + (s->sorted[n - 1]->len - 1) < s->sorted[n]->base);
	}
}

/* A mapped BAR is where its register says, and decoding is on. */
static void check_bars(const struct pci_dev *d)
{
	for (unsigned n = 0; n < ARRAY_SIZE(d->bar); n++) {
		const struct pci_bar *bar = &d->bar[n];
		u64 addr = get_le32(&d->cfg[PCI_BAR0 + 4 * n]) & (bar->kind == PCI_BAR_IO ? ~3u : ~15u);

		if (!bar->region.mapped)
			continue;
		if (bar->kind == PCI_BAR_MEM64)
			addr |= (u64)get_le32(&d->cfg[PCI_BAR0 + 4 * n + 4]) << 32;
		check(bar->region.base == addr && addr != 0 && addr % bar->size == 0);
		check(d->cfg[PCI_COMMAND] & (bar->kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM));
	}
}

/* A device drives its line when it wants to, INTx is not disabled and no kind of MSI is on. */
static bool drives(struct pci_dev *d)
{
	return d->intx && d->cfg[PCI_INTPIN] && !(get_le16(&d->cfg[PCI_COMMAND]) & PCI_CMD_INTX_OFF) &&
	       !pci_msi_enabled(d) && !pci_msix_enabled(d);
}

static void check_lines(struct board *b)
{
	bool link[PCI_LINKS] = {false}, pic[16] = {false};

	for (u32 n = 0; n < b->host.ndevs; n++)
		if (drives(b->host.devs[n]))
			link[b->host.devs[n]->link] = true;
	for (unsigned n = 0; n < PCI_LINKS; n++) {
		u8 route = b->lpc.pci.cfg[lpc_link_reg(n)];

		check(link[n] == b->ioapic[n]);
		if (link[n] && !(route & 0x80) && (LPC_LINK_IRQS >> (route & 15) & 1))
			pic[route & 15] = true;
	}
	check(memcmp(pic, b->pic, sizeof(pic)) == 0);
}

/* --- steps --- */

static void config_cycle(struct board *b, struct input *in, bool write)
{
	struct pci_dev *d = b->host.devs[take(in, 1) % b->host.ndevs];
	u64 how = take(in, 2);
	/* mostly where something is */
	unsigned off = how & 0x8000 ? how & 0xfff : how & 0x4000 ? 0x10 + (how & 0x1c) : how & 0x7f;
	unsigned size = 1u << (how >> 12 & 3);
	u64 addr = ECAM + (u64)(d->bus << 20 | d->slot << 15 | d->func << 12) + off;

	if (how & 0x800) {
		space_write(&b->ports, 0xcf8, 4,
		        0x80000000 | (u32)(d->bus << 16 | d->slot << 11 | d->func << 8) | (off & 0xfc));
		if (write)
			space_write(&b->ports, 0xcfc + (off & 3), size, take(in, size));
		else
			check(space_read(&b->ports, 0xcfc + (off & 3), size) <= ones(size));
	} else if (write) {
		space_write(&b->memory, addr, size, take(in, size));
	} else {
		check(space_read(&b->memory, addr, size) <= ones(size));
	}
}

/* An access to some region that is mapped now, or near it. */
static void bar_access(struct board *b, struct input *in, bool write)
{
	u64 how = take(in, 2);
	struct space *s = how & 0x8000 ? &b->ports : &b->memory;
	const struct region *r = s->count ? s->sorted[(how & 0xff) % s->count] : NULL;
	unsigned size = 1u << (how >> 8 & 3);
	u64 addr = (r ? r->base : 0) + (take(in, 2) & 0x1fff) - 4;

	if (write)
		space_write(s, addr, size, take(in, size));
	else
		check(space_read(s, addr, size) <= ones(size));
}

static void interrupt(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	struct pci_dev *d = how & 0x80 ? &b->msix : &b->dummy[how % DUMMIES].pci;

	switch (how >> 5 & 3) {
	case 0: pci_set_intx(d, true); break;
	case 1: pci_set_intx(d, false); break;
	case 2: pci_msi_notify(d, (unsigned)take(in, 1)); break;
	default: pci_msix_notify(d, (unsigned)take(in, 1)); break;
	}
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 15) {
	case 0 ... 5: config_cycle(b, in, true); break;
	case 6: config_cycle(b, in, false); break;
	case 7 ... 9: bar_access(b, in, true); break;
	case 10: bar_access(b, in, false); break;
	case 11 ... 14: interrupt(b, in); break;
	default:
		if (op == 0xff)
			pci_host_reset(&b->host);
		if (op == 0xef && b->gone_is_there) {
			pci_dev_fini(&b->gone);
			b->gone_is_there = false;
		}
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));
	bool host_first;

	check(b != NULL);
	board_init(b);
	host_first = take(&in, 1) & 1;
	while (in.left) {
		step(b, &in);
		check_space(&b->memory);
		check_space(&b->ports);
		check_lines(b);
		for (u32 n = 0; n < b->host.ndevs; n++)
			check_bars(b->host.devs[n]);
	}
	board_fini(b, host_first);
	free(b);
	return 0;
}
