/*
 * A serial port in a slot, with any back end of the console room.
 */
#include "dev/pci_uart.h"
#include "vm/serial.h"
#include "vm/slots.h"
#include "vm/vm_int.h"

#include <errno.h>
#include <stdlib.h>

struct port {
	struct serial line;
	struct pci_uart chip;
	bool built;
};

static int build(struct slot_dev *s, struct err *e)
{
	struct port *p = calloc(1, sizeof(*p));
	struct pci_uart_config c = {.timers = loop_timers(s->vm->loop)};
	int rc;

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	s->device = p;
	rc = serial_open(&p->line, s->vm, s->config->config, e);
	if (rc < 0)
		return rc;
	c.host = serial_host(&p->line);
	c.host_opaque = &p->line;
	rc = pci_uart_init(&p->chip, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot be made");
	p->built = true;
	s->pci = &p->chip.pci;
	serial_attach(&p->line, &p->chip.uart);
	return 0;
}

static void stop(struct slot_dev *s)
{
	struct port *p = s->device;

	serial_stop(&p->line);
}

static void end(struct slot_dev *s)
{
	struct port *p = s->device;

	serial_stop(&p->line);
	if (p->built)
		pci_uart_fini(&p->chip);
	free(p);
}

static int visit_port(struct slot_dev *s, slot_visit visit, void *opaque)
{
	const struct slot_part part = {.kind = PART_TTY, .backend = s->config->config};

	return visit(opaque, &part);
}

static void reset(struct slot_dev *s)
{
	struct port *p = s->device;

	uart16550_reset(&p->chip.uart);
}

const struct slot_ops slot_uart = {
        .name = "uart", .build = build, .stop = stop, .end = end, .reset = reset, .parts = visit_port};
