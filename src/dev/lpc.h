/*
 * PCI-ISA bridge (function of an Intel LPC bridge that matters here): owns the routing of PCI
 * interrupt links A..H to ISA IRQs. The ISA chips themselves are wired by the board.
 */
#pragma once

#include "bus/pci.h"

struct lpc {
	struct pci_dev pci; /* first member */
};

int lpc_init(struct lpc *l);

/* As a BIOS leaves it: links to IRQs 10, 11 and 5. After pci_assign. */
void lpc_route_links(struct lpc *l);

/* Offset of the routing register of link 0..7 (A..H), for firmware tables. */
u8 lpc_link_reg(unsigned link);

/* The ISA IRQs that links may use, as a mask, and what a link is routed to after lpc_route_links. */
#define LPC_LINK_IRQS 0x0c20u
