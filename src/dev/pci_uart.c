/*
 * The serial port on PCI (see pci_uart.h): the 16550A behind a BAR and an interrupt pin.
 */
#include "dev/pci_uart.h"

#define SIIG 0x131f
#define SIIG_1S_20X_550 0x2000
#define CLASS_SERIAL 0x070000

static void set_intx(void *opaque, unsigned n, bool level)
{
	struct pci_uart *d = opaque;

	pci_set_intx(&d->pci, level);
}

int pci_uart_init(struct pci_uart *d, const struct pci_uart_config *c)
{
	const struct pci_identity id = {
	        .vendor = SIIG, .device = SIIG_1S_20X_550, .class_code = CLASS_SERIAL};
	const struct uart16550_config u = {.timers = c->timers,
	        .irq = {.set = set_intx, .opaque = d},
	        .host = c->host,
	        .host_opaque = c->host_opaque};
	const struct region *regs = &d->uart.region;
	int rc;

	pci_dev_init(&d->pci, "uart", &id, NULL);
	pci_add_intx(&d->pci);
	rc = uart16550_init(&d->uart, &u);
	if (rc < 0) {
		pci_dev_fini(&d->pci);
		return rc;
	}
	pci_add_bar(&d->pci, 0, PCI_BAR_IO, regs->len, regs->ops, regs->opaque, regs->lock);
	return 0;
}

void pci_uart_fini(struct pci_uart *d)
{
	pci_dev_fini(&d->pci);
	uart16550_fini(&d->uart);
}
