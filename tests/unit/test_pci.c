/*
 * PCI core: configuration mechanisms, BARs wherever a guest puts them, INTx lines and routing, MSI, MSI-X.
 */
#include "bus/pci.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ECAM 0xe0000000ull
#define MSI_MAX 64

struct bench {
	struct space ports, memory;
	struct pci_host host;
	bool ioapic[PCI_LINKS], pic[16];
	u64 msi_addr[MSI_MAX];
	u32 msi_data[MSI_MAX];
	unsigned msis;
	u8 cf9;
};

static void set_ioapic(void *opaque, unsigned n, bool level)
{
	struct bench *b = opaque;

	assert_int_not_equal(b->ioapic[n], level); /* a shared line changes once */
	b->ioapic[n] = level;
}

static void set_pic(void *opaque, unsigned n, bool level)
{
	struct bench *b = opaque;

	assert_int_not_equal(b->pic[n], level);
	b->pic[n] = level;
}

static void on_msi(void *opaque, u64 addr, u32 data)
{
	struct bench *b = opaque;

	assert_true(b->msis < MSI_MAX);
	b->msi_addr[b->msis] = addr;
	b->msi_data[b->msis++] = data;
}

static u8 cf9_read(void *opaque)
{
	return ((struct bench *)opaque)->cf9;
}

static void cf9_write(void *opaque, u8 val)
{
	((struct bench *)opaque)->cf9 = val;
}

static void bench_init(struct bench *b)
{
	struct pci_host_config c = {
	        .ports = &b->ports,
	        .memory = &b->memory,
	        .ecam_base = ECAM,
	        .mmio_base = 0xc0000000,
	        .mmio_end = 0xe0000000,
	        .mmio64_base = 0xd000000000,
	        .io_base = 0x2000,
	        .msi = {.send = on_msi, .opaque = b},
	        .cf9_read = cf9_read,
	        .cf9_write = cf9_write,
	        .opaque = b,
	};

	memset(b, 0, sizeof(*b));
	assert_int_equal(space_init(&b->ports, 0xffff), 0);
	assert_int_equal(space_init(&b->memory, UINT64_MAX), 0);
	for (unsigned n = 0; n < PCI_LINKS; n++)
		c.ioapic[n] = (struct wire){.set = set_ioapic, .opaque = b, .n = n};
	for (unsigned n = 3; n < 16; n++)
		c.pic[n] = (struct wire){.set = set_pic, .opaque = b, .n = n};
	assert_int_equal(pci_host_init(&b->host, &c), 0);
}

static void bench_fini(struct bench *b)
{
	pci_host_fini(&b->host);
	space_fini(&b->ports);
	space_fini(&b->memory);
}

static u64 ecam(unsigned bus, unsigned slot, unsigned func, unsigned off)
{
	return ECAM + (bus << 20 | slot << 15 | func << 12 | off);
}

static u32 cfg_read(struct bench *b, const struct pci_dev *d, unsigned off, unsigned size)
{
	return (u32)space_read(&b->memory, ecam(d->bus, d->slot, d->func, off), size);
}

static void cfg_write(struct bench *b, const struct pci_dev *d, unsigned off, unsigned size, u32 val)
{
	space_write(&b->memory, ecam(d->bus, d->slot, d->func, off), size, val);
}

/* --- devices --- */

static u64 tag_read(void *opaque, u64 off, unsigned size)
{
	return (u64)(uintptr_t)opaque + off;
}

static const struct region_ops tag_ops = {.read = tag_read, .max = 4};

/* Reads of a BAR's region give tag + offset. */
static void add_bar(struct pci_dev *d, unsigned n, enum pci_bar_kind kind, u64 size, uintptr_t tag)
{
	pci_add_bar(d, n, kind, size, &tag_ops, (void *)tag, NULL);
}

static void plain(struct pci_dev *d)
{
	const struct pci_identity id = {.vendor = 0x1af4,
	        .device = 0x1234,
	        .class_code = 0x020180,
	        .revision = 7,
	        .subvendor = 0xaaaa,
	        .subsystem = 0xbbbb};

	pci_dev_init(d, "plain", &id, NULL);
}

/* --- configuration space --- */

static u32 cf8_read(struct bench *b, u32 address, unsigned off, unsigned size)
{
	space_write(&b->ports, 0xcf8, 4, address);
	return (u32)space_read(&b->ports, 0xcfc + off, size);
}

static void identity(void **state)
{
	struct bench b;
	struct pci_dev d, far;

	bench_init(&b);
	plain(&d);
	plain(&far);
	assert_int_equal(pci_add(&b.host, &d, 0, 3, 0), 0);
	assert_int_equal(pci_add(&b.host, &far, 255, 31, 7), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	assert_int_equal(cfg_read(&b, &d, 0, 4), 0x12341af4);
	assert_int_equal(cfg_read(&b, &d, 8, 4), 0x02018007);
	assert_int_equal(cfg_read(&b, &d, 0x2c, 4), 0xbbbbaaaa);
	assert_int_equal(cfg_read(&b, &d, PCI_COMMAND, 2), PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
	assert_int_equal(cfg_read(&b, &d, PCI_STATUS, 2), 0);
	assert_int_equal(cfg_read(&b, &far, 2, 2), 0x1234);
	/* Through the ports: every width; only slots that are there. */
	assert_int_equal(cf8_read(&b, 0x80001800, 0, 4), 0x12341af4);
	assert_int_equal(cf8_read(&b, 0x80001800, 1, 1), 0x1a);
	assert_int_equal(cf8_read(&b, 0x80001800, 2, 2), 0x1234);
	assert_int_equal(cf8_read(&b, 0x80001808, 3, 1), 0x02);
	assert_int_equal(cf8_read(&b, 0x80ffff00, 0, 4), 0x12341af4);
	assert_int_equal(cf8_read(&b, 0x80001900, 0, 4), 0xffffffff);
	assert_int_equal(cf8_read(&b, 0x00001800, 0, 4), 0xffffffff); /* enable bit off */
	bench_fini(&b);
}

static void read_only_bytes(void **state)
{
	struct bench b;
	struct pci_dev d;

	bench_init(&b);
	plain(&d);
	assert_int_equal(pci_add(&b.host, &d, 0, 3, 0), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	for (unsigned off = 0; off < 256; off++)
		if (off / 4 != PCI_COMMAND / 4)
			cfg_write(&b, &d, off, 1, 0xff);
	assert_int_equal(cfg_read(&b, &d, 0, 4), 0x12341af4);
	assert_int_equal(cfg_read(&b, &d, 8, 4), 0x02018007);
	assert_int_equal(cfg_read(&b, &d, 0x0c, 4), 0x0000ffff); /* line size and latency */
	for (unsigned off = 0x10; off < 0x28; off += 4)
		assert_int_equal(cfg_read(&b, &d, off, 4), 0); /* no BARs */
	assert_int_equal(cfg_read(&b, &d, PCI_INTLINE, 4), 0xff);
	for (unsigned off = 0x40; off < 0x1000; off += 4)
		assert_int_equal(cfg_read(&b, &d, off, 4), 0);
	cfg_write(&b, &d, PCI_COMMAND, 4, 0xffffffff);
	assert_int_equal(cfg_read(&b, &d, PCI_COMMAND, 4), 0x0547);
	bench_fini(&b);
}

static void config_address(void **state)
{
	struct bench b;

	bench_init(&b);
	space_write(&b.ports, 0xcf8, 4, 0xffffffff);
	assert_int_equal(space_read(&b.ports, 0xcf8, 4), 0x80fffffc);
	/* Narrow writes are not for this register; CF9 is the reset control. */
	space_write(&b.ports, 0xcf8, 1, 0);
	space_write(&b.ports, 0xcf8, 2, 0);
	space_write(&b.ports, 0xcfa, 2, 0);
	assert_int_equal(b.cf9, 0);
	space_write(&b.ports, 0xcf9, 1, 6);
	assert_int_equal(b.cf9, 6);
	assert_int_equal(space_read(&b.ports, 0xcf9, 1), 6);
	assert_int_equal(space_read(&b.ports, 0xcf8, 4), 0x80fffffc);
	assert_int_equal(space_read(&b.ports, 0xcf8, 1), 0xff);
	bench_fini(&b);
}

static void slots(void **state)
{
	struct bench b;
	struct pci_dev d[3];

	bench_init(&b);
	for (unsigned n = 0; n < 3; n++)
		plain(&d[n]);
	assert_int_equal(pci_add(&b.host, &d[0], 256, 0, 0), -EINVAL);
	assert_int_equal(pci_add(&b.host, &d[0], 0, 32, 0), -EINVAL);
	assert_int_equal(pci_add(&b.host, &d[0], 0, 0, 8), -EINVAL);
	assert_int_equal(pci_add(&b.host, &d[0], 0, 5, 0), 0);
	assert_int_equal(pci_add(&b.host, &d[1], 0, 5, 0), -EEXIST);
	assert_int_equal(pci_add(&b.host, &d[1], 0, 5, 2), 0);
	assert_int_equal(pci_add(&b.host, &d[2], 0, 6, 0), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	assert_int_equal(cfg_read(&b, &d[0], PCI_HEADER, 1), 0x80); /* multi-function */
	assert_int_equal(cfg_read(&b, &d[2], PCI_HEADER, 1), 0);
	/* A device may go before its host. */
	pci_dev_fini(&d[0]);
	assert_int_equal(space_read(&b.memory, ecam(0, 5, 0, 0), 4), 0xffffffff);
	assert_int_equal(cfg_read(&b, &d[1], 0, 2), 0x1af4);
	bench_fini(&b);
	pci_dev_fini(&d[1]);
	pci_set_intx(&d[1], true);
	pci_msi_notify(&d[1], 0);
	assert_false(pci_msi_enabled(&d[1]) || pci_msix_enabled(&d[1]));
}

/* --- BARs --- */

static void bar_sizing(void **state)
{
	struct bench b;
	struct pci_dev d;

	bench_init(&b);
	plain(&d);
	add_bar(&d, 0, PCI_BAR_IO, 5, 0x100);
	add_bar(&d, 1, PCI_BAR_MEM32, 4097, 0x200);
	add_bar(&d, 2, PCI_BAR_MEM64, 64 * MiB, 0x300);
	add_bar(&d, 4, PCI_BAR_MEM64, 8 * GiB, 0x400);
	assert_int_equal(pci_add(&b.host, &d, 0, 1, 0), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	/* The BIOS's choice, and it works. */
	assert_int_equal(cfg_read(&b, &d, 0x10, 4), 0x2001);
	assert_int_equal(cfg_read(&b, &d, 0x14, 4), 0xc0000000);
	assert_int_equal(cfg_read(&b, &d, 0x18, 4), 0x00000004);
	assert_int_equal(cfg_read(&b, &d, 0x1c, 4), 0xd0);
	assert_int_equal(cfg_read(&b, &d, 0x20, 4), 0x00000004);
	assert_int_equal(cfg_read(&b, &d, 0x24, 4), 0xd2); /* aligned to its 8 GiB */
	assert_int_equal(space_read(&b.ports, 0x2006, 2), 0x106);
	assert_int_equal(space_read(&b.memory, 0xc0001ffc, 4), 0x21fc);
	assert_int_equal(space_read(&b.memory, 0xd000000010, 4), 0x310);
	assert_int_equal(space_read(&b.memory, 0xd200000010, 4), 0x410);
	/* Sizing with decoding off, as software does. */
	cfg_write(&b, &d, PCI_COMMAND, 2, 0);
	assert_int_equal(space_read(&b.ports, 0x2006, 2), 0xffff);
	assert_int_equal(space_read(&b.memory, 0xc0000000, 4), 0xffffffff);
	for (unsigned off = 0x10; off < 0x28; off += 4)
		cfg_write(&b, &d, off, 4, 0xffffffff);
	assert_int_equal(cfg_read(&b, &d, 0x10, 4), 0xfffffff9);
	assert_int_equal(cfg_read(&b, &d, 0x14, 4), 0xffffe000);
	assert_int_equal(cfg_read(&b, &d, 0x18, 4), 0xfc000004);
	assert_int_equal(cfg_read(&b, &d, 0x1c, 4), 0xffffffff);
	assert_int_equal(cfg_read(&b, &d, 0x20, 4), 0x00000004);
	assert_int_equal(cfg_read(&b, &d, 0x24, 4), 0xfffffffe);
	bench_fini(&b);
	pci_dev_fini(&d);
}

static void bar_moves(void **state)
{
	struct bench b;
	struct pci_dev d, e;
	struct region fixed = {.base = 0xfec00000, .len = 4096, .ops = &tag_ops, .opaque = (void *)0x700};

	bench_init(&b);
	assert_int_equal(space_add(&b.memory, &fixed), 0);
	plain(&d);
	plain(&e);
	add_bar(&d, 0, PCI_BAR_MEM32, 4096, 0x100);
	add_bar(&e, 0, PCI_BAR_MEM64, 4096, 0x200);
	assert_int_equal(pci_add(&b.host, &d, 0, 1, 0), 0);
	assert_int_equal(pci_add(&b.host, &e, 0, 2, 0), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	assert_int_equal(space_read(&b.memory, 0xc0001000, 4), 0x200);
	/* Anywhere, also high and byte by byte. */
	cfg_write(&b, &e, 0x14, 4, 0x12345678);
	assert_int_equal(space_read(&b.memory, 0x12345678c0001000, 4), 0x200);
	assert_int_equal(space_read(&b.memory, 0xc0001000, 4), 0xffffffff);
	cfg_write(&b, &d, 0x12, 1, 0x77);
	assert_int_equal(space_read(&b.memory, 0xc0770000, 4), 0x100);
	/* Over another BAR: not mapped, and mapped as soon as the other one goes. */
	cfg_write(&b, &e, 0x14, 4, 0);
	cfg_write(&b, &d, 0x10, 4, 0xc0001000);
	assert_int_equal(space_read(&b.memory, 0xc0001000, 4), 0x200);
	assert_int_equal(space_read(&b.memory, 0xc0770000, 4), 0xffffffff);
	cfg_write(&b, &e, 0x10, 4, 0xc0009000);
	assert_int_equal(space_read(&b.memory, 0xc0001000, 4), 0x100);
	assert_int_equal(space_read(&b.memory, 0xc0009000, 4), 0x200);
	/* Over a chip: the chip stays. To 0 and to the end: nothing breaks. */
	cfg_write(&b, &d, 0x10, 4, 0xfec00000);
	assert_int_equal(space_read(&b.memory, 0xfec00000, 4), 0x700);
	cfg_write(&b, &d, 0x10, 4, 0);
	assert_int_equal(space_read(&b.memory, 0, 4), 0xffffffff);
	cfg_write(&b, &e, 0x10, 4, 0xffffffff);
	cfg_write(&b, &e, 0x14, 4, 0xffffffff);
	assert_int_equal(space_read(&b.memory, 0xfffffffffffff000, 4), 0x200);
	/* Decoding off and on again. */
	cfg_write(&b, &d, 0x10, 4, 0xc0000000);
	cfg_write(&b, &d, PCI_COMMAND, 1, PCI_CMD_IO);
	assert_int_equal(space_read(&b.memory, 0xc0000000, 4), 0xffffffff);
	cfg_write(&b, &d, PCI_COMMAND, 1, PCI_CMD_MEM);
	assert_int_equal(space_read(&b.memory, 0xc0000000, 4), 0x100);
	bench_fini(&b);
}

static void windows_full(void **state)
{
	struct bench b;
	struct pci_dev d[3];

	bench_init(&b);
	for (unsigned n = 0; n < 3; n++) {
		plain(&d[n]);
		add_bar(&d[n], 0, PCI_BAR_MEM32, 256 * MiB, 0x100 * (n + 1));
		assert_int_equal(pci_add(&b.host, &d[n], 0, n, 0), 0);
	}
	assert_int_equal(pci_assign(&b.host), -ENOSPC);
	pci_dev_fini(&d[2]);
	assert_int_equal(pci_assign(&b.host), 0);
	assert_int_equal(space_read(&b.memory, 0xd0000000, 4), 0x200);
	bench_fini(&b);
}

/* --- INTx --- */

static const u8 router_reg[PCI_LINKS] = {0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b};

static void routing_facts(void **state)
{
	static const struct {
		u8 bus, slot, func, intx, pin, link;
	} fn[] = {
	        /* in the order of the bus, not of the command line */
	        {0, 1, 0, 1, 1, 0},
	        {0, 2, 0, 0, 0, 0},
	        {0, 3, 0, 1, 1, 1},
	        {0, 3, 1, 1, 2, 2},
	        {0, 3, 2, 1, 3, 3},
	        {0, 3, 3, 1, 4, 4},
	        {0, 3, 4, 1, 1, 1},
	        {0, 9, 0, 1, 1, 5},
	        {1, 0, 0, 1, 1, 6},
	        {2, 0, 0, 1, 1, 7},
	        {2, 1, 0, 1, 1, 0},
	};
	struct bench b;
	struct pci_dev d[ARRAY_SIZE(fn)];

	bench_init(&b);
	for (unsigned i = ARRAY_SIZE(fn); i-- > 0;) {
		plain(&d[i]);
		if (fn[i].intx)
			pci_add_intx(&d[i]);
		assert_int_equal(pci_add(&b.host, &d[i], fn[i].bus, fn[i].slot, fn[i].func), 0);
	}
	assert_int_equal(pci_assign(&b.host), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fn); i++) {
		struct pci_intx_info info = pci_intx_info(&d[i]);

		assert_int_equal(info.pin, fn[i].pin);
		assert_int_equal(cfg_read(&b, &d[i], PCI_INTPIN, 1), fn[i].pin);
		if (!fn[i].intx)
			continue;
		assert_int_equal(info.link, fn[i].link);
		assert_int_equal(info.gsi, 16 + fn[i].link);
		assert_int_equal(cfg_read(&b, &d[i], PCI_INTLINE, 1), 0xff); /* nobody routes to the PIC */
	}
	bench_fini(&b);
}

struct intx_bench {
	struct bench b;
	struct pci_dev router, d[9];
};

/* Nine devices in slots 1..9: the ninth shares link A with the first. */
static void intx_init(struct intx_bench *t)
{
	static const u8 irq[PCI_LINKS] = {10, 11, 5, 10, 11, 5, 10, 11};

	bench_init(&t->b);
	plain(&t->router);
	pci_set_router(&t->router, router_reg);
	assert_int_equal(pci_add(&t->b.host, &t->router, 0, 31, 0), 0);
	for (unsigned n = 0; n < 9; n++) {
		plain(&t->d[n]);
		pci_add_intx(&t->d[n]);
		assert_int_equal(pci_add(&t->b.host, &t->d[n], 0, n + 1, 0), 0);
	}
	assert_int_equal(pci_assign(&t->b.host), 0);
	pci_route_links(&t->b.host, irq);
}

static void intx_levels(void **state)
{
	struct intx_bench t;
	struct bench *b = &t.b;

	intx_init(&t);
	assert_int_equal(cfg_read(b, &t.d[0], PCI_INTLINE, 1), 10);
	assert_int_equal(cfg_read(b, &t.d[1], PCI_INTLINE, 1), 11);
	pci_set_intx(&t.d[0], true);
	assert_true(b->ioapic[0] && b->pic[10] && !b->pic[11]);
	assert_int_equal(cfg_read(b, &t.d[0], PCI_STATUS, 2), PCI_STATUS_INTX);
	assert_int_equal(cfg_read(b, &t.d[8], PCI_STATUS, 2), 0);
	/* Shared line, and a shared ISA IRQ (links A and D). */
	pci_set_intx(&t.d[8], true);
	pci_set_intx(&t.d[3], true);
	pci_set_intx(&t.d[0], true);
	assert_true(b->ioapic[0] && b->ioapic[3] && b->pic[10]);
	pci_set_intx(&t.d[0], false);
	assert_true(b->ioapic[0]);
	pci_set_intx(&t.d[8], false);
	assert_true(!b->ioapic[0] && b->pic[10]);
	pci_set_intx(&t.d[3], false);
	assert_true(!b->ioapic[3] && !b->pic[10]);
	/* The disable bit of the command register. */
	pci_set_intx(&t.d[1], true);
	cfg_write(b, &t.d[1], PCI_COMMAND, 2, PCI_CMD_INTX_OFF);
	assert_true(!b->ioapic[1] && !b->pic[11]);
	assert_int_equal(cfg_read(b, &t.d[1], PCI_STATUS, 2), PCI_STATUS_INTX);
	cfg_write(b, &t.d[1], PCI_COMMAND, 2, 0);
	assert_true(b->ioapic[1] && b->pic[11]);
	pci_dev_fini(&t.d[1]); /* takes its level along */
	assert_true(!b->ioapic[1] && !b->pic[11]);
	bench_fini(b);
}

static void intx_rerouted(void **state)
{
	struct intx_bench t;
	struct bench *b = &t.b;

	intx_init(&t);
	assert_int_equal(cfg_read(b, &t.router, 0x60, 4), 0x0a050b0a);
	assert_int_equal(cfg_read(b, &t.router, 0x68, 4), 0x0b0a050b);
	pci_set_intx(&t.d[2], true);
	assert_true(b->pic[5]);
	cfg_write(b, &t.router, 0x62, 1, 0x80);
	assert_true(!b->pic[5] && b->ioapic[2]);
	cfg_write(b, &t.router, 0x62, 1, 0x7b); /* bits 6:4 are reserved */
	assert_int_equal(cfg_read(b, &t.router, 0x62, 1), 0x0b);
	assert_true(b->pic[11]);
	cfg_write(b, &t.router, 0x60, 4, 0x00000000); /* IRQ 0 is no wire here: lost, not crashed */
	assert_true(!b->pic[11]);
	/* A reset restores what the BIOS did, and lines are low. */
	pci_host_reset(&b->host);
	assert_int_equal(cfg_read(b, &t.router, 0x60, 4), 0x0a050b0a);
	assert_false(b->ioapic[2] || b->pic[5]);
	assert_int_equal(cfg_read(b, &t.d[2], PCI_INTLINE, 1), 5);
	bench_fini(b);
}

static void one_router(void **state)
{
	struct bench b;
	struct pci_dev d[2];

	bench_init(&b);
	for (unsigned n = 0; n < 2; n++) {
		plain(&d[n]);
		pci_set_router(&d[n], router_reg);
	}
	assert_int_equal(pci_add(&b.host, &d[0], 0, 1, 0), 0);
	assert_int_equal(pci_add(&b.host, &d[1], 0, 2, 0), -EEXIST);
	bench_fini(&b);
}

/* --- capabilities and MSI --- */

static unsigned find_cap(struct bench *b, const struct pci_dev *d, u8 id)
{
	unsigned at = cfg_read(b, d, PCI_CAPS, 1);

	if (!(cfg_read(b, d, PCI_STATUS, 2) & PCI_STATUS_CAPS))
		return 0;
	for (unsigned n = 0; at && n < 48; n++) {
		if (cfg_read(b, d, at, 1) == id)
			return at;
		at = cfg_read(b, d, at + 1, 1);
	}
	return 0;
}

static void capabilities(void **state)
{
	struct bench b;
	struct pci_dev d;
	unsigned room = 0, msi, pcie;

	bench_init(&b);
	plain(&d);
	assert_int_equal(pci_add_msi(&d, 3), -EINVAL);
	assert_int_equal(pci_add_msi(&d, 64), -EINVAL);
	assert_int_equal(pci_add_msi(&d, 4), 0);
	assert_int_equal(pci_add_pcie(&d, 4), 0);
	while (pci_add_cap(&d, PCI_CAP_VENDOR, 4))
		room++;
	assert_int_equal(room, (256 - 0x40 - 24 - 0x3c) / 4);
	assert_int_equal(pci_add_msix(&d, 4, 1), -ENOSPC);
	assert_int_equal(pci_add(&b.host, &d, 0, 1, 0), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	msi = find_cap(&b, &d, PCI_CAP_MSI);
	pcie = find_cap(&b, &d, PCI_CAP_PCIE);
	assert_int_equal(msi, 0x40);
	assert_int_equal(pcie, 0x58);
	assert_int_equal(cfg_read(&b, &d, msi + 2, 2), 0x184); /* 64-bit, masks, 4 vectors */
	assert_int_equal(cfg_read(&b, &d, pcie + 2, 2), 0x42);
	assert_int_equal(find_cap(&b, &d, PCI_CAP_MSIX), 0);
	bench_fini(&b);
	pci_dev_fini(&d);
}

static void msi(void **state)
{
	struct bench b;
	struct pci_dev d;
	unsigned cap = 0x40;

	bench_init(&b);
	plain(&d);
	pci_add_intx(&d);
	assert_int_equal(pci_add_msi(&d, 8), 0);
	assert_int_equal(pci_add(&b.host, &d, 0, 1, 0), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	pci_msi_notify(&d, 0);
	assert_int_equal(b.msis, 0);
	pci_set_intx(&d, true);
	cfg_write(&b, &d, cap + 4, 4, 0xfee01007);
	cfg_write(&b, &d, cap + 8, 4, 0x12);
	cfg_write(&b, &d, cap + 12, 4, 0xffff4041);
	assert_int_equal(cfg_read(&b, &d, cap + 4, 4), 0xfee01004);
	assert_int_equal(cfg_read(&b, &d, cap + 12, 4), 0x4041);
	assert_true(b.ioapic[0]);
	cfg_write(&b, &d, cap + 2, 2, 0xffff);
	assert_int_equal(cfg_read(&b, &d, cap + 2, 2), 0x1f7);
	assert_false(b.ioapic[0]); /* with MSI on the pin is silent */
	assert_true(pci_msi_enabled(&d));
	/* 2^7 vectors asked, 8 offered */
	pci_msi_notify(&d, 5);
	pci_msi_notify(&d, 200);
	assert_int_equal(b.msis, 2);
	assert_true(b.msi_addr[0] == 0x12fee01004ull);
	assert_int_equal(b.msi_data[0], 0x4045);
	assert_int_equal(b.msi_data[1], 0x4047);
	/* 2 granted: the rest share the last */
	cfg_write(&b, &d, cap + 2, 2, 0x11);
	pci_msi_notify(&d, 0);
	pci_msi_notify(&d, 6);
	assert_int_equal(b.msi_data[2], 0x4040);
	assert_int_equal(b.msi_data[3], 0x4041);
	/* masked, pending, unmasked */
	cfg_write(&b, &d, cap + 16, 4, 2);
	pci_msi_notify(&d, 1);
	pci_msi_notify(&d, 1);
	assert_int_equal(b.msis, 4);
	assert_int_equal(cfg_read(&b, &d, cap + 20, 4), 2);
	cfg_write(&b, &d, cap + 20, 4, 0); /* read-only */
	cfg_write(&b, &d, cap + 16, 1, 0);
	assert_int_equal(b.msis, 5);
	assert_int_equal(cfg_read(&b, &d, cap + 20, 4), 0);
	cfg_write(&b, &d, cap + 2, 2, 0);
	assert_true(b.ioapic[0]);
	pci_msi_notify(&d, 0);
	assert_int_equal(b.msis, 5);
	bench_fini(&b);
	pci_dev_fini(&d);
}

struct msix_bench {
	struct bench b;
	struct pci_dev d;
	u64 table, pba;
	unsigned cap;
};

static void msix_init(struct msix_bench *t, unsigned vectors)
{
	bench_init(&t->b);
	plain(&t->d);
	pci_add_intx(&t->d);
	assert_int_equal(pci_add_msix(&t->d, vectors, 1), 0);
	assert_int_equal(pci_add(&t->b.host, &t->d, 0, 1, 0), 0);
	assert_int_equal(pci_assign(&t->b.host), 0);
	t->cap = find_cap(&t->b, &t->d, PCI_CAP_MSIX);
	t->table = cfg_read(&t->b, &t->d, 0x14, 4);
	t->pba = t->table + 0x1000;
	assert_int_equal(cfg_read(&t->b, &t->d, t->cap + 2, 2), vectors - 1);
	assert_int_equal(cfg_read(&t->b, &t->d, t->cap + 4, 4), 1);
	assert_int_equal(cfg_read(&t->b, &t->d, t->cap + 8, 4), 0x1001);
}

static void msix_fini(struct msix_bench *t)
{
	bench_fini(&t->b);
	pci_dev_fini(&t->d);
}

static void msix_limits(void **state)
{
	struct pci_dev d;

	plain(&d);
	assert_int_equal(pci_add_msix(&d, 0, 1), -EINVAL);
	assert_int_equal(pci_add_msix(&d, PCI_MSIX_MAX + 1, 1), -EINVAL);
	assert_int_equal(pci_add_msix(&d, 1, 6), -EINVAL);
	assert_int_equal(pci_add_msix(&d, 1, 1), 0);
	assert_int_equal(pci_add_msix(&d, 1, 2), -EINVAL);
	pci_dev_fini(&d);
}

static void msix(void **state)
{
	struct msix_bench t;
	struct space *m = &t.b.memory;

	msix_init(&t, 3);
	assert_int_equal(space_read(m, t.table + 12, 4), 1); /* masked at reset */
	space_write(m, t.table + 16, 8, 0xfffffffffee00ffeull);
	space_write(m, t.table + 24, 4, 0x55);
	space_write(m, t.table + 28, 4, 0xffffffff);
	assert_true(space_read(m, t.table + 16, 8) == 0xfffffffffee00ffcull);
	assert_int_equal(space_read(m, t.table + 28, 4), 1);
	pci_msix_notify(&t.d, 1); /* off: nothing remains */
	cfg_write(&t.b, &t.d, t.cap + 2, 2, 0x8000);
	assert_true(pci_msix_enabled(&t.d));
	assert_int_equal(space_read(m, t.pba, 8), 0);
	pci_msix_notify(&t.d, 1);
	pci_msix_notify(&t.d, 3); /* there is none */
	assert_int_equal(t.b.msis, 0);
	assert_int_equal(space_read(m, t.pba, 8), 2);
	space_write(m, t.pba, 8, 0); /* read-only */
	space_write(m, t.table + 28, 4, 0);
	assert_int_equal(t.b.msis, 1);
	assert_true(t.b.msi_addr[0] == 0xfffffffffee00ffcull);
	assert_int_equal(t.b.msi_data[0], 0x55);
	assert_int_equal(space_read(m, t.pba, 4), 0);
	/* function mask */
	cfg_write(&t.b, &t.d, t.cap + 2, 2, 0xc000);
	pci_msix_notify(&t.d, 1);
	assert_int_equal(t.b.msis, 1);
	cfg_write(&t.b, &t.d, t.cap + 2, 2, 0x8000);
	assert_int_equal(t.b.msis, 2);
	/* the pin is silent */
	pci_set_intx(&t.d, true);
	assert_false(t.b.ioapic[0]);
	cfg_write(&t.b, &t.d, t.cap + 2, 2, 0);
	assert_true(t.b.ioapic[0]);
	pci_host_reset(&t.b.host);
	assert_int_equal(space_read(m, t.table + 28, 4), 1);
	assert_int_equal(space_read(m, t.table + 24, 4), 0);
	msix_fini(&t);
}

/* Every offset of the BAR with every width, for the smallest and the largest table. */
static void msix_sweep(void **state)
{
	static const unsigned vectors[] = {1, PCI_MSIX_MAX};

	for (unsigned n = 0; n < ARRAY_SIZE(vectors); n++) {
		struct msix_bench t;

		msix_init(&t, vectors[n]);
		cfg_write(&t.b, &t.d, t.cap + 2, 2, 0x8000);
		for (u64 off = 0; off < 0x2000; off++) {
			for (unsigned size = 1; size <= 8; size *= 2) {
				space_write(&t.b.memory, t.table + off, size, UINT64_MAX);
				space_read(&t.b.memory, t.table + off, size);
			}
		}
		for (unsigned v = 0; v < vectors[n]; v++)
			space_write(&t.b.memory, t.table + v * 16 + 12, 4, 1);
		for (unsigned v = 0; v <= PCI_MSIX_MAX; v++)
			pci_msix_notify(&t.d, v);
		assert_int_equal(t.b.msis, 0);
		assert_true(space_read(&t.b.memory, t.pba, 8) == (vectors[n] == 64 ? UINT64_MAX : 1));
		assert_int_equal(space_read(&t.b.memory, t.table + vectors[n] * 16, 4), 0);
		msix_fini(&t);
	}
}

/* --- the hook --- */

struct hooked {
	struct pci_dev pci;
	unsigned calls, off, size;
};

static void on_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct hooked *k = container_of(d, struct hooked, pci);

	/* No lock is held: the core may be called. */
	pci_set_intx(d, k->calls & 1);
	k->calls++;
	k->off = off;
	k->size = size;
}

static void hook(void **state)
{
	static const struct pci_ops ops = {.cfg_written = on_written};
	const struct pci_identity id = {.vendor = 1, .device = 2};
	struct bench b;
	struct hooked k = {.calls = 0};

	bench_init(&b);
	pci_dev_init(&k.pci, "hooked", &id, &ops);
	pci_set_wmask(&k.pci, 0xf8, 100, 0xf0); /* cut at the end */
	assert_int_equal(pci_add(&b.host, &k.pci, 0, 0, 0), 0);
	assert_int_equal(pci_assign(&b.host), 0);
	cfg_write(&b, &k.pci, 0xfc, 4, 0xffffffff);
	assert_true(k.calls == 1 && k.off == 0xfc && k.size == 4);
	assert_int_equal(cfg_read(&b, &k.pci, 0xfc, 4), 0xf0f0f0f0);
	cfg_write(&b, &k.pci, 0x100, 4, 0xffffffff); /* no extended space */
	assert_int_equal(k.calls, 1);
	bench_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(identity),
	        cmocka_unit_test(read_only_bytes),
	        cmocka_unit_test(config_address),
	        cmocka_unit_test(slots),
	        cmocka_unit_test(bar_sizing),
	        cmocka_unit_test(bar_moves),
	        cmocka_unit_test(windows_full),
	        cmocka_unit_test(routing_facts),
	        cmocka_unit_test(intx_levels),
	        cmocka_unit_test(intx_rerouted),
	        cmocka_unit_test(one_router),
	        cmocka_unit_test(capabilities),
	        cmocka_unit_test(msi),
	        cmocka_unit_test(msix_limits),
	        cmocka_unit_test(msix),
	        cmocka_unit_test(msix_sweep),
	        cmocka_unit_test(hook),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
