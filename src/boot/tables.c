/*
 * Firmware tables: checks that the board's description makes sense, calls the writers, and tells
 * which parts of RAM they used.
 */
#include "boot/tables.h"

#include "boot/linux.h"
#include <errno.h>

u8 table_checksum(const void *p, size_t len)
{
	const u8 *b = p;
	u8 sum = 0;

	while (len--)
		sum += *b++;
	return -sum;
}

void table_text(u8 *field, size_t len, const char *text)
{
	for (size_t n = 0; n < len; n++)
		field[n] = *text ? *text++ : ' ';
}

u8 *table_room(struct table_buf *t, size_t len)
{
	u8 *p = t->base + t->len;

	if (len > t->cap - t->len) {
		t->overflow = true;
		return NULL;
	}
	memset(p, 0, len);
	t->len += len;
	return p;
}

unsigned board_routes(const struct board_info *b, struct board_route out[BOARD_ROUTES_MAX])
{
	bool seen[32][BOARD_PINS] = {{false}};
	unsigned count = 0;

	for (unsigned n = 0; n < b->nfn; n++) {
		const struct board_pci_fn *f = &b->fn[n];

		if (f->bus || !f->pin || seen[f->slot][f->pin - 1])
			continue;
		seen[f->slot][f->pin - 1] = true;
		out[count++] =
		        (struct board_route){.slot = f->slot, .pin = f->pin, .gsi = f->gsi, .link = f->link};
	}
	return count;
}

/* Mistakes of the caller, but cheap to tell, and a wrong table is hard to find from inside the guest. */
static int check_fn(const struct board_info *b, const struct board_pci_fn *f, struct err *e)
{
	if (f->slot > 31 || f->func > 7 || f->pin > BOARD_PINS)
		return err_set(e, -EINVAL, "board: no such PCI function: %u:%u:%u pin %u", f->bus, f->slot,
		        f->func, f->pin);
	if (f->pin && f->gsi >= b->ioapic_pins)
		return err_set(e, -EINVAL, "board: PCI %u:%u interrupts at %u, the IOAPIC has %u pins",
		        f->slot, f->func, f->gsi, b->ioapic_pins);
	if (f->pin && b->lpc && f->link >= b->nlinks)
		return err_set(e, -EINVAL, "board: PCI %u:%u uses link %u of %u", f->slot, f->func, f->link,
		        b->nlinks);
	if (!f->bus)
		return 0;
	if (b->mptable)
		return err_set(e, -EINVAL,
		        "the MP table describes PCI bus 0 only, but there is a device at %u:%u:%u: use -Y",
		        f->bus, f->slot, f->func);
	if (b->acpi)
		return err_set(e, -EINVAL, "-A describes PCI bus 0 only, but there is a device at %u:%u:%u",
		        f->bus, f->slot, f->func);
	return 0;
}

static int check_routes(const struct board_info *b, struct err *e)
{
	for (unsigned n = 0; n < b->nfn; n++) {
		const struct board_pci_fn *f = &b->fn[n];
		int rc = check_fn(b, f, e);

		if (rc < 0)
			return rc;
		for (unsigned k = 0; k < n; k++) {
			const struct board_pci_fn *g = &b->fn[k];

			if (g->pin && g->pin == f->pin && g->bus == f->bus && g->slot == f->slot &&
			        (g->gsi != f->gsi || g->link != f->link))
				return err_set(e, -EINVAL,
				        "board: two functions of PCI slot %u route INT%c differently",
				        f->slot, 'A' + f->pin - 1);
		}
	}
	return 0;
}

/* The route registers that the static part of the DSDT knows. */
static const u8 link_regs[BOARD_MAX_LINKS] = {0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b};

static int check_board(const struct board_info *b, struct err *e)
{
	if (b->ncpus == 0 || b->ncpus > BOARD_MAX_CPUS - 1)
		return err_set(e, -EINVAL, "board: %u CPUs cannot be described", b->ncpus);
	if (b->nfn > BOARD_MAX_PCI || b->nlinks > BOARD_MAX_LINKS)
		return err_set(
		        e, -EINVAL, "board: %u PCI functions, %u links are too many", b->nfn, b->nlinks);
	if (b->sci_irq >= BOARD_ISA_IRQS)
		return err_set(e, -EINVAL, "board: SCI %u is not an ISA interrupt", b->sci_irq);
	for (unsigned n = 0; n < BOARD_MAX_COMS; n++)
		if (b->com[n].port && b->com[n].irq >= BOARD_ISA_IRQS)
			return err_set(e, -EINVAL, "board: COM%u at IRQ %u", n + 1, b->com[n].irq);
	for (unsigned n = 0; n < b->nlinks; n++)
		if (b->link[n].reg != link_regs[n])
			return err_set(e, -EINVAL, "board: link %u must be at 0x%x, not 0x%x", n,
			        link_regs[n], b->link[n].reg);
	if (b->mmio32.base + b->mmio32.len > 4 * GiB || b->mmio32.base > 4 * GiB || b->mmio32.len > 4 * GiB)
		return err_set(e, -EINVAL, "board: the 32-bit window ends above 4 GiB");
	for (unsigned n = 0; n < BOARD_MAX_IO_WINDOWS; n++)
		if (b->io[n].base > 0xffff || b->io[n].len > 0x10000 - b->io[n].base)
			return err_set(
			        e, -EINVAL, "board: I/O window %u is not inside the 64 KiB of ports", n);
	return check_routes(b, e);
}

static int write_acpi(struct mem *m, const struct board_info *b, struct boot_tables_out *out, struct err *e)
{
	u64 base = tables_base(m);
	int rc = acpi_write(b, m->base + base, base, m->base + BOOT_RSDP_GPA, e);

	if (rc < 0)
		return rc;
	out->rsdp = BOOT_RSDP_GPA;
	out->region[0] = (struct boot_region){.gpa = base, .len = PAGE_SIZE, .type = REGION_NVS};
	out->region[1] = (struct boot_region){
	        .gpa = base + PAGE_SIZE, .len = BOOT_TABLES_SIZE - PAGE_SIZE, .type = REGION_ACPI};
	out->nregions = 2;
	return 0;
}

int boot_tables(struct mem *m, const struct board_info *b, struct boot_tables_out *out, struct err *e)
{
	int rc;

	memset(out, 0, sizeof(*out));
	if (m->low < 2 * MiB)
		return err_set(e, -ENOMEM,
		        "%llu KiB of RAM are too few for firmware tables; 2048 KiB are the least",
		        (unsigned long long)(m->low / 1024));
	rc = check_board(b, e);
	if (rc == 0 && b->mptable)
		rc = mptable_write(b, m->base + BOOT_MPTABLE_GPA, BOOT_SMBIOS_GPA - BOOT_MPTABLE_GPA,
		        BOOT_MPTABLE_GPA, e);
	if (rc == 0)
		rc = smbios_write(
		        b, m->base + BOOT_SMBIOS_GPA, BOOT_RSDP_GPA - BOOT_SMBIOS_GPA, BOOT_SMBIOS_GPA, e);
	if (rc == 0 && b->acpi)
		rc = write_acpi(m, b, out, e);
	return rc;
}
