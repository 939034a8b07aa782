/*
 * Intel MultiProcessor Specification 1.4: the floating pointer (4.1) and right behind it the
 * configuration table (4.2): processors, buses, IOAPIC, interrupts. It describes what ACPI's MADT and
 * _PRT describe, for guests without ACPI.
 */
#include "boot/tables.h"

#include <errno.h>

#define FLOATING_SIZE 16
#define CONFIG_SIZE 44
#define SPEC_REV 4

/* 4.3: base entry types */
enum mp_entry { MP_PROCESSOR = 0, MP_BUS = 1, MP_IOAPIC = 2, MP_IO_INT = 3, MP_LOCAL_INT = 4 };
enum mp_int_type { MP_INT = 0, MP_NMI = 1, MP_EXTINT = 3 };

#define MP_CPU_ENABLED 0x01
#define MP_CPU_BSP 0x02
#define MP_IOAPIC_ENABLED 0x01
#define LAPIC_VERSION 0x14
#define IOAPIC_VERSION 0x11
#define ALL_LAPICS 0xff

/* CPUID signature and features that a family 6 CPU with an APIC reports; guests look at CPUID itself. */
#define CPU_SIGNATURE 0x00000600
#define CPU_FEATURES 0x00000201

#define CASCADE_IRQ 2

struct mp {
	const struct board_info *b;
	struct table_buf buf;
	unsigned entries;
	u8 pci_bus, isa_bus; /* bus ids */
};

static u8 *new_entry(struct mp *t, enum mp_entry type, size_t len)
{
	u8 *p = table_room(&t->buf, len);

	if (p) {
		p[0] = type;
		t->entries++;
	}
	return p;
}

static void put_processor(struct mp *t, unsigned n)
{
	u8 *p = new_entry(t, MP_PROCESSOR, 20);

	if (!p)
		return;
	p[1] = n;
	p[2] = LAPIC_VERSION;
	p[3] = MP_CPU_ENABLED | (n == 0 ? MP_CPU_BSP : 0);
	put_le32(p + 4, CPU_SIGNATURE);
	put_le32(p + 8, CPU_FEATURES);
}

static void put_bus(struct mp *t, u8 id, const char *type)
{
	u8 *p = new_entry(t, MP_BUS, 8);

	if (!p)
		return;
	p[1] = id;
	table_text(p + 2, 6, type);
}

static void put_ioapic(struct mp *t)
{
	u8 *p = new_entry(t, MP_IOAPIC, 8);

	if (!p)
		return;
	p[1] = t->b->ioapic_id;
	p[2] = IOAPIC_VERSION;
	p[3] = MP_IOAPIC_ENABLED;
	put_le32(p + 4, t->b->ioapic_base);
}

/* Polarity and trigger 0: as usual for the bus. */
static void put_int(struct mp *t, enum mp_entry entry, enum mp_int_type type, u8 bus, u8 irq, u8 apic, u8 pin)
{
	u8 *p = new_entry(t, entry, 8);

	if (!p)
		return;
	p[1] = type;
	p[4] = bus;
	p[5] = irq;
	p[6] = apic;
	p[7] = pin;
}

static void put_interrupts(struct mp *t)
{
	struct board_route routes[BOARD_ROUTES_MAX];
	unsigned count = board_routes(t->b, routes);

	for (unsigned irq = 0; irq < BOARD_ISA_IRQS; irq++)
		if (irq != CASCADE_IRQ)
			put_int(t, MP_IO_INT, MP_INT, t->isa_bus, irq, t->b->ioapic_id,
			        irq ? irq : BOARD_PIT_GSI);
	/* D.3: the source of a PCI interrupt is slot << 2 | pin */
	for (unsigned n = 0; n < count; n++)
		put_int(t, MP_IO_INT, MP_INT, t->pci_bus, routes[n].slot << 2 | (routes[n].pin - 1),
		        t->b->ioapic_id, routes[n].gsi);
	put_int(t, MP_LOCAL_INT, MP_EXTINT, t->isa_bus, 0, ALL_LAPICS, 0);
	put_int(t, MP_LOCAL_INT, MP_NMI, t->isa_bus, 0, ALL_LAPICS, 1);
}

static void put_floating(u8 *p, u32 table)
{
	table_text(p, 4, "_MP_");
	put_le32(p + 4, table);
	p[8] = FLOATING_SIZE / 16;
	p[9] = SPEC_REV;
	p[10] = table_checksum(p, FLOATING_SIZE);
}

static void put_header(const struct mp *t, u8 *p, size_t len)
{
	table_text(p, 4, "PCMP");
	put_le16(p + 4, len);
	p[6] = SPEC_REV;
	table_text(p + 8, 8, "BHyVe"); /* as the original: some guests know it */
	table_text(p + 16, 12, "Hypervisor");
	put_le16(p + 34, t->entries);
	put_le32(p + 36, t->b->lapic_base);
	p[7] = table_checksum(p, len);
}

int mptable_write(const struct board_info *b, u8 *buf, size_t cap, u32 gpa, struct err *e)
{
	struct mp t = {.b = b, .buf = {.base = buf, .cap = cap}, .isa_bus = b->pci ? 1 : 0};
	u8 *floating = table_room(&t.buf, FLOATING_SIZE);
	u8 *config = table_room(&t.buf, CONFIG_SIZE);

	for (unsigned n = 0; n < b->ncpus; n++)
		put_processor(&t, n);
	if (b->pci)
		put_bus(&t, t.pci_bus, "PCI");
	put_bus(&t, t.isa_bus, "ISA");
	put_ioapic(&t);
	put_interrupts(&t);
	if (t.buf.overflow)
		return err_set(
		        e, -ENOSPC, "the MP table of this board needs more than %zu bytes: use -Y", cap);
	put_header(&t, config, t.buf.len - FLOATING_SIZE);
	put_floating(floating, gpa + FLOATING_SIZE);
	return 0;
}
