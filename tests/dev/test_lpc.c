/*
 * The devices that are little more than PCI functions: host bridges, the LPC bridge's interrupt
 * routing, the dummy test device.
 */
#include "bench.h"
#include "dev/dummy.h"
#include "dev/hostbridge.h"
#include "dev/lpc.h"

struct board {
	struct bench b;
	struct pci_host host;
	struct pci_dev bridge, amd;
	struct lpc lpc;
	struct dummy dummy;
	struct probe ioapic[PCI_LINKS], pic[16];
	u64 msi_addr;
	u32 msi_data;
	unsigned msis;
};

static void on_msi(void *opaque, u64 addr, u32 data)
{
	struct board *b = opaque;

	b->msis++;
	b->msi_addr = addr;
	b->msi_data = data;
}

static void board_init(struct board *b)
{
	struct pci_host_config c = {
	        .ports = &b->b.ports,
	        .memory = &b->b.memory,
	        .ecam_base = 0xe0000000,
	        .mmio_base = 0xc0000000,
	        .mmio_end = 0xe0000000,
	        .mmio64_base = 0xd000000000,
	        .io_base = 0x2000,
	        .msi = {.send = on_msi, .opaque = b},
	};

	memset(b, 0, sizeof(*b));
	bench_init(&b->b, 0);
	for (unsigned n = 0; n < PCI_LINKS; n++)
		c.ioapic[n] = probe_wire(&b->ioapic[n]);
	for (unsigned n = 0; n < 16; n++)
		if (LPC_LINK_IRQS >> n & 1)
			c.pic[n] = probe_wire(&b->pic[n]);
	assert_int_equal(pci_host_init(&b->host, &c), 0);
	assert_int_equal(hostbridge_init(&b->bridge, false), 0);
	assert_int_equal(hostbridge_init(&b->amd, true), 0);
	assert_int_equal(lpc_init(&b->lpc), 0);
	assert_int_equal(dummy_init(&b->dummy), 0);
	assert_int_equal(pci_add(&b->host, &b->bridge, 0, 0, 0), 0);
	assert_int_equal(pci_add(&b->host, &b->amd, 0, 1, 0), 0);
	assert_int_equal(pci_add(&b->host, &b->dummy.pci, 0, 4, 0), 0);
	assert_int_equal(pci_add(&b->host, &b->lpc.pci, 0, 31, 0), 0);
	assert_int_equal(pci_assign(&b->host), 0);
	lpc_route_links(&b->lpc);
}

static void board_fini(struct board *b)
{
	dummy_fini(&b->dummy);
	pci_host_fini(&b->host);
	bench_fini(&b->b);
}

static u32 cfg(struct board *b, unsigned slot, unsigned off, unsigned size)
{
	return (u32)space_read(&b->b.memory, 0xe0000000 + (slot << 15) + off, size);
}

static void set_cfg(struct board *b, unsigned slot, unsigned off, unsigned size, u32 val)
{
	space_write(&b->b.memory, 0xe0000000 + (slot << 15) + off, size, val);
}

static void identities(void **state)
{
	struct board b;

	board_init(&b);
	assert_int_equal(cfg(&b, 0, 0, 4), 0x12751275);
	assert_int_equal(cfg(&b, 0, 8, 4), 0x06000000);
	assert_int_equal(cfg(&b, 0, 0x34, 1), 0x40);
	assert_int_equal(cfg(&b, 0, 0x40, 4), 0x00420010); /* PCI Express, version 2, root port */
	assert_int_equal(cfg(&b, 1, 0, 4), 0x74321022);
	assert_int_equal(cfg(&b, 1, 8, 4), 0x06000000);
	assert_int_equal(cfg(&b, 1, PCI_STATUS, 2), 0);
	assert_int_equal(cfg(&b, 31, 0, 4), 0x70008086);
	assert_int_equal(cfg(&b, 31, 8, 4), 0x06010000);
	assert_int_equal(cfg(&b, 4, 0, 4), 0x000110dd);
	board_fini(&b);
}

static void routing(void **state)
{
	struct board b;

	board_init(&b);
	for (unsigned link = 0; link < PCI_LINKS; link++) {
		unsigned irq = cfg(&b, 31, lpc_link_reg(link), 1);

		assert_true(irq < 16 && (LPC_LINK_IRQS >> irq & 1));
	}
	/* The dummy has link A, routed to IRQ 10 by the BIOS and then elsewhere by the guest. */
	assert_int_equal(cfg(&b, 4, PCI_INTLINE, 2), 0x010a);
	space_write(&b.b.ports, 0x2004, 1, 0);
	assert_true(b.pic[10].level && b.ioapic[0].level);
	set_cfg(&b, 31, 0x60, 1, 11);
	assert_true(!b.pic[10].level && b.pic[11].level);
	set_cfg(&b, 31, 0x60, 1, 0xff);
	assert_int_equal(cfg(&b, 31, 0x60, 1), 0x8f);
	assert_true(!b.pic[11].level && b.ioapic[0].level);
	for (unsigned irq = 0; irq < 16; irq++)
		set_cfg(&b, 31, 0x60, 1, irq); /* also to IRQs that no link may have */
	assert_int_equal(cfg(&b, 31, 0x64, 4), 0);
	board_fini(&b);
}

static void dummy_storage(void **state)
{
	struct board b;
	struct space *m = &b.b.memory;

	board_init(&b);
	assert_int_equal(cfg(&b, 4, 0x10, 4), 0x2001);
	assert_int_equal(cfg(&b, 4, 0x14, 4), 0xc0000000);
	assert_int_equal(cfg(&b, 4, 0x18, 4), 0xc0001000);
	space_write(m, 0xc0000ffc, 8, 0x1122334455667788);
	assert_true(space_read(m, 0xc0000ffc, 4) == 0x55667788);
	assert_true(space_read(m, 0xc0001000, 4) == 0x11223344);
	space_write(&b.b.ports, 0x2000, 4, 0xcafebabe);
	assert_int_equal(space_read(&b.b.ports, 0x2001, 2), 0xfeba);
	bench_sweep(&b.b.ports, 0x2000, 8);
	bench_sweep(m, 0xc0000000, 16);
	bench_sweep(m, 0xc0001ff0, 16);
	board_fini(&b);
}

static void dummy_interrupts(void **state)
{
	struct board b;

	board_init(&b);
	space_write(&b.b.ports, 0x2004, 1, 3);
	assert_true(b.ioapic[0].level);
	assert_int_equal(space_read(&b.b.ports, 0x2004, 1), 3);
	assert_false(b.ioapic[0].level);
	/* MSI: 4 vectors */
	assert_int_equal(cfg(&b, 4, 0x42, 2), 0x184);
	set_cfg(&b, 4, 0x44, 4, 0xfee02000);
	set_cfg(&b, 4, 0x4c, 2, 0x60);
	set_cfg(&b, 4, 0x42, 2, 0x21);
	space_write(&b.b.ports, 0x2004, 1, 2);
	assert_int_equal(b.msis, 1);
	assert_true(b.msi_addr == 0xfee02000);
	assert_int_equal(b.msi_data, 0x62);
	assert_int_equal(b.ioapic[0].rises, 1);
	board_fini(&b);
}

/* Every byte of every configuration space with every width, then the board still works. */
static void config_sweep(void **state)
{
	static const u8 slots[] = {0, 1, 2, 4, 31};
	struct board b;

	board_init(&b);
	for (unsigned n = 0; n < ARRAY_SIZE(slots); n++)
		bench_sweep(&b.b.memory, 0xe0000000 + ((u64)slots[n] << 15), 0x110);
	pci_host_reset(&b.host);
	assert_int_equal(cfg(&b, 4, 0x14, 4), 0xc0000000);
	space_write(&b.b.memory, 0xc0000000, 4, 0x1234);
	assert_int_equal(space_read(&b.b.memory, 0xc0000000, 4), 0x1234);
	board_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(identities),
	        cmocka_unit_test(routing),
	        cmocka_unit_test(dummy_storage),
	        cmocka_unit_test(dummy_interrupts),
	        cmocka_unit_test(config_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
