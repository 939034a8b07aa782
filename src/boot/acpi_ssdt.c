/*
 * The part of the ACPI namespace that depends on the board, as an SSDT beside the DSDT of dsdt.asl:
 * the constants that the DSDT refers to, windows and interrupt routing of the root bridge, CPUs, COM
 * ports, HPET, and the resources of the motherboard.
 */
#include "boot/tables.h"

#include "base/log.h"
#include <stdio.h>

#define ISA_IRQS_NEVER_PCI                                                                                   \
	(BIT(0) | BIT(1) | BIT(2) | BIT(8) | BIT(13)) /* timer, keyboard, cascade, RTC, FPU */

static const char link_letter[] = "ABCDEFGH";
static_assert(sizeof(link_letter) - 1 == BOARD_MAX_LINKS, "one letter a link");

/* --- what the DSDT asks for --- */

static void put_constants(struct aml *a, const struct board_info *b)
{
	char name[8];

	aml_name(a, "PCIP");
	aml_int(a, b->pci);
	aml_name(a, "LPCP");
	aml_int(a, b->pci && b->lpc);
	aml_name(a, "LPCA");
	aml_int(a, (u32)b->lpc_slot << 16 | b->lpc_func);
	for (unsigned n = 0; n < BOARD_MAX_LINKS; n++) {
		u16 irqs = n < b->nlinks ? b->link[n].irqs & ~ISA_IRQS_NEVER_PCI : 0;

		snprintf(name, sizeof(name), "PRS%c", link_letter[n]);
		aml_name(a, name);
		aml_template(a);
		aml_res_irq_shared(a, irqs);
		aml_template_close(a);
	}
}

/* --- devices of the system bus --- */

static void put_device_head(struct aml *a, const char *name, const char *hid, u64 uid)
{
	aml_device(a, name);
	aml_name(a, "_HID");
	aml_eisaid(a, hid);
	aml_name(a, "_UID");
	aml_int(a, uid);
	aml_name(a, "_CRS");
	aml_template(a);
}

static void put_device_tail(struct aml *a)
{
	aml_template_close(a);
	aml_close(a);
}

static void put_cpus(struct aml *a, const struct board_info *b)
{
	char name[8];

	for (unsigned n = 0; n < b->ncpus; n++) {
		snprintf(name, sizeof(name), "C%03X", n & 0xfff);
		aml_device(a, name);
		aml_name(a, "_HID");
		aml_string(a, "ACPI0007");
		aml_name(a, "_UID"); /* the same number as in the MADT */
		aml_int(a, n);
		aml_close(a);
	}
}

static void put_coms(struct aml *a, const struct board_info *b)
{
	char name[8];

	for (unsigned n = 0; n < BOARD_MAX_COMS; n++) {
		if (!b->com[n].port)
			continue;
		snprintf(name, sizeof(name), "COM%u", (n + 1) % 10);
		put_device_head(a, name, "PNP0501", n + 1);
		aml_res_io(a, b->com[n].port, 8);
		aml_res_irq(a, b->com[n].irq);
		put_device_tail(a);
	}
}

static void put_hpet(struct aml *a, const struct board_info *b)
{
	if (!b->hpet_base)
		return;
	put_device_head(a, "HPET", "PNP0103", 0);
	aml_res_memory32(a, b->hpet_base, KiB, false);
	put_device_tail(a);
}

/*
 * What no driver announces itself but nobody may use. Linux believes in the ECAM window of MCFG only
 * if it is here. CF8h..CFFh are the root bridge's, the ports of PIC, PIT and RTC their devices'; the
 * IOAPIC is the MADT's, and Linux would complain that it has it already.
 */
static void put_motherboard(struct aml *a, const struct board_info *b)
{
	put_device_head(a, "MBRD", "PNP0C02", 0);
	aml_res_io(a, 0x61, 1); /* NMI status, speaker */
	aml_res_io(a, 0x92, 1); /* fast A20 and init */
	if (b->smi_cmd)
		aml_res_io(a, b->smi_cmd, 2);
	aml_res_io(a, 0x4d0, 2); /* ELCR */
	aml_res_io(a, b->pm1a_evt, 4);
	aml_res_io(a, b->pm1a_cnt, 2);
	aml_res_io(a, b->pm_tmr, 4);
	aml_res_memory32(a, b->lapic_base, PAGE_SIZE, true);
	if (b->pci && b->ecam.len)
		aml_res_memory32(a, b->ecam.base, b->ecam.len, true);
	put_device_tail(a);
}

/* --- root bridge --- */

static void put_windows(struct aml *a, const struct board_info *b)
{
	aml_name(a, "_CRS");
	aml_template(a);
	aml_res_bus(a, b->bus_first, b->bus_last);
	aml_res_io(a, 0xcf8, 8);
	for (unsigned n = 0; n < BOARD_MAX_IO_WINDOWS && b->io[n].len; n++)
		aml_res_io_window(a, b->io[n].base, b->io[n].len);
	if (b->mmio32.len)
		aml_res_memory32_window(a, b->mmio32.base, b->mmio32.len);
	if (b->mmio64.len)
		aml_res_memory64_window(a, b->mmio64.base, b->mmio64.len);
	aml_template_close(a);
}

/* ACPI 6.5, 6.2.13: {address, pin, source, index}; source 0 means that index is a global interrupt. */
static void put_routes(struct aml *a, const struct board_route *r, unsigned count, bool links)
{
	char link[16];

	aml_package(a, count);
	for (unsigned n = 0; n < count; n++) {
		aml_package(a, 4);
		aml_int(a, (u32)r[n].slot << 16 | 0xffff);
		aml_int(a, r[n].pin - 1);
		if (links) {
			snprintf(link, sizeof(link), "\\_SB.LNK%c", link_letter[r[n].link]);
			aml_ref(a, link);
			aml_int(a, 0);
		} else {
			aml_int(a, 0);
			aml_int(a, r[n].gsi);
		}
		aml_close(a);
	}
	aml_close(a);
}

static void put_prt(struct aml *a, const struct board_info *b)
{
	struct board_route routes[BOARD_ROUTES_MAX];
	unsigned count = board_routes(b, routes);

	aml_method(a, "_PRT", 0);
	aml_if(a);
	aml_ref(a, "\\PICM");
	aml_return(a);
	put_routes(a, routes, count, false);
	aml_close(a);
	aml_return(a);
	put_routes(a, routes, b->lpc ? count : 0, true); /* without the bridge nothing reaches the 8259s */
	aml_close(a);
}

void acpi_ssdt_body(struct aml *a, const struct board_info *b)
{
	put_constants(a, b);
	aml_scope(a, "\\_SB");
	put_cpus(a, b);
	put_coms(a, b);
	put_hpet(a, b);
	put_motherboard(a, b);
	aml_close(a);
	if (b->pci) {
		aml_scope(a, "\\_SB.PCI0");
		put_windows(a, b);
		put_prt(a, b);
		aml_close(a);
	}
	BUG_ON(a->depth != 0);
}
