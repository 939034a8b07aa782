/*
 * A virtio console in a slot: a console of the host for each of its ports.
 */
#include "console/console.h"
#include "dev/virtio_console.h"
#include "vm/console_spec.h"
#include "vm/slots.h"
#include "vm/vm_int.h"

#include <errno.h>
#include <stdlib.h>

struct board;

struct end {
	struct board *board;
	unsigned n;              /* of the port */
	struct console *console; /* NULL: nobody there */
};

struct board {
	struct vm *vm;
	struct virtio_console *chip;
	unsigned count;
	struct end end[VIRTIO_CONSOLE_PORTS];
};

/* --- the chip calls out --- */

static size_t tx(void *opaque, const u8 *buf, size_t len)
{
	struct end *p = opaque;

	return console_write(p->console, buf, len);
}

static void rx_ready(void *opaque)
{
	struct end *p = opaque;

	console_rx_ready(p->console);
}

static const struct virtio_console_host host = {.tx = tx, .rx_ready = rx_ready};

/* --- the console calls in --- */

static size_t receive(void *opaque, const u8 *buf, size_t len)
{
	struct end *p = opaque;

	return virtio_console_receive(p->board->chip, p->n, buf, len);
}

static void ready(void *opaque)
{
	struct end *p = opaque;

	virtio_console_tx_ready(p->board->chip, p->n);
}

/* Virtio has no breaks. */
static void ignore_break(void *opaque)
{
}

static void quit(void *opaque)
{
	struct end *p = opaque;

	vm_quit(p->board->vm);
}

static void carrier(void *opaque, bool there)
{
	struct end *p = opaque;

	virtio_console_set_carrier(p->board->chip, p->n, there);
}

static void resized(void *opaque, u16 columns, u16 rows)
{
	struct end *p = opaque;

	virtio_console_resize(p->board->chip, p->n, columns, rows);
}

static const struct console_ops ops = {.receive = receive,
        .ready = ready,
        .brk = ignore_break,
        .quit = quit,
        .carrier = carrier,
        .resized = resized};

/* --- life --- */

static int open_end(
        struct board *b, const struct console_port_spec *p, struct virtio_console_port *c, struct err *e)
{
	struct end *end = &b->end[b->count];

	*end = (struct end){.board = b, .n = b->count++};
	*c = (struct virtio_console_port){.name = p->name[0] ? p->name : NULL, .opaque = end};
	if (!p->backends || b->vm->config->explain)
		return 0;
	c->host = &host;
	return console_open(&end->console, b->vm->loop, p->backends, e);
}

static int make_chip(struct slot_dev *s, const struct console_spec *spec, struct err *e)
{
	struct board *b = s->device;
	struct virtio_console_config c = {
	        .mem = &s->vm->mem, .nports = spec->count, .msi_only = s->vm->config->msi_only};
	int rc = 0;

	for (unsigned n = 0; n < spec->count && rc == 0; n++)
		rc = open_end(b, &spec->port[n], &c.port[n], e);
	if (rc < 0)
		return rc;
	/* Who asks for named ports only has no use for a console that leads nowhere. */
	c.port[0].absent = spec->count > 1 && !spec->port[0].backends;
	rc = virtio_console_create(&b->chip, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot be made");
	s->pci = virtio_console_pci(b->chip);
	for (unsigned n = 0; n < b->count; n++)
		if (b->end[n].console)
			console_attach(b->end[n].console, &ops, &b->end[n]);
	return 0;
}

static int build(struct slot_dev *s, struct err *e)
{
	struct board *b = calloc(1, sizeof(*b));
	struct console_spec spec;
	int rc;

	if (!b)
		return err_set(e, -ENOMEM, "out of memory");
	b->vm = s->vm;
	s->device = b;
	rc = console_spec_parse(&spec, s->config->config, e);
	if (rc < 0)
		return rc;
	rc = make_chip(s, &spec, e);
	console_spec_free(&spec);
	return rc;
}

static void stop(struct slot_dev *s)
{
	struct board *b = s->device;

	for (unsigned n = 0; n < b->count; n++) {
		console_close(b->end[n].console);
		b->end[n].console = NULL;
	}
}

static void reset(struct slot_dev *s)
{
	struct board *b = s->device;

	virtio_console_reset(b->chip);
}

static void end(struct slot_dev *s)
{
	struct board *b = s->device;

	stop(s);
	virtio_console_destroy(b->chip);
	free(b);
}

static void terminal_resized(struct slot_dev *s)
{
	struct board *b = s->device;

	for (unsigned n = 0; n < b->count; n++)
		if (b->end[n].console)
			console_look_size(b->end[n].console);
}

static int visit_ports(struct slot_dev *s, slot_visit visit, void *opaque)
{
	struct console_spec spec;
	struct err e;
	int rc = console_spec_parse(&spec, s->config->config, &e);

	if (rc < 0)
		return rc;
	for (unsigned n = 0; n < spec.count && rc == 0; n++) {
		const struct console_port_spec *p = &spec.port[n];
		const struct slot_part part = {.kind = PART_HVC,
		        .backend = p->backends ? p->backends : "",
		        .port = p->name[0] ? p->name : NULL};

		if (p->name[0] || p->backends || spec.count == 1)
			rc = visit(opaque, &part);
	}
	console_spec_free(&spec);
	return rc;
}

const struct slot_ops slot_virtio_console = {.name = "virtio-console",
        .build = build,
        .stop = stop,
        .end = end,
        .reset = reset,
        .terminal_resized = terminal_resized,
        .parts = visit_ports};
