/*
 * A 16550A on a PCI card: SIIG's CyberSerial with one port, 131f:2000, as in the original. Its registers are
 * I/O BAR 0; it has one level-triggered interrupt and neither MSI nor MSI-X, like the card.
 */
#pragma once

#include "bus/pci.h"
#include "dev/uart16550.h"

struct pci_uart {
	struct pci_dev pci; /* first member */
	struct uart16550 uart;
};

struct pci_uart_config {
	struct timerq *timers;
	const struct uart_host_ops *host; /* NULL: nobody at the other end */
	void *host_opaque;
};

int pci_uart_init(struct pci_uart *d, const struct pci_uart_config *c);
void pci_uart_fini(struct pci_uart *d);
