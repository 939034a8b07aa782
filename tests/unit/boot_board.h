/*
 * A board as the machine would describe it, for tests of firmware tables: host bridge, LPC bridge in
 * slot 31, a multi-function slot 2, and a lonely INTx device in slot 17, where the original's fixed
 * tables left devices dead.
 */
#pragma once

#include "boot/boot.h"

static inline void test_board(struct board_info *b, const struct mem *m)
{
	static const u8 link_regs[] = {0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b};

	memset(b, 0, sizeof(*b));
	b->ncpus = 2;
	b->mem = m;
	uuid_derive("test", b->uuid);
	b->acpi = b->mptable = true;
	b->lapic_base = 0xfee00000;
	b->ioapic_base = 0xfec00000;
	b->ioapic_pins = 24;
	b->hpet_base = 0xfed00000;
	b->hpet_id = 0x8086a701;
	b->hpet_min_tick = 0x80;
	b->sci_irq = 9;
	b->pm1a_evt = 0x400;
	b->pm1a_cnt = 0x404;
	b->pm_tmr = 0x408;
	b->smi_cmd = 0xb2;
	b->acpi_enable = 0xa0;
	b->acpi_disable = 0xa1;
	b->reset_port = 0xcf9;
	b->reset_value = 6;
	b->pci = true;
	b->ecam = (struct board_range){0xe0000000, 0x10000000};
	b->bus_last = 255;
	b->mmio32 = (struct board_range){0xc0000000, 0x20000000};
	b->mmio64 = (struct board_range){0xd000000000, 0x1000000000};
	b->io[0] = (struct board_range){0, 0xcf8};
	b->io[1] = (struct board_range){0xd00, 0xf300};
	b->lpc = true;
	b->lpc_slot = 31;
	b->nlinks = BOARD_MAX_LINKS;
	for (unsigned n = 0; n < BOARD_MAX_LINKS; n++)
		b->link[n] = (struct board_link){.reg = link_regs[n], .irqs = 0x0c20};
	b->com[0] = (struct board_com){0x3f8, 4};
	b->com[1] = (struct board_com){0x2f8, 3};
	b->fn[b->nfn++] = (struct board_pci_fn){.slot = 0};
	b->fn[b->nfn++] = (struct board_pci_fn){.slot = 2, .func = 0, .pin = 1, .gsi = 16, .link = 0};
	b->fn[b->nfn++] = (struct board_pci_fn){.slot = 2, .func = 1, .pin = 2, .gsi = 17, .link = 1};
	b->fn[b->nfn++] = (struct board_pci_fn){.slot = 2, .func = 4, .pin = 1, .gsi = 16, .link = 0};
	b->fn[b->nfn++] = (struct board_pci_fn){.slot = 17, .func = 0, .pin = 1, .gsi = 22, .link = 6};
	b->fn[b->nfn++] = (struct board_pci_fn){.slot = 31, .func = 0};
}
