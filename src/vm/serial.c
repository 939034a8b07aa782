/*
 * Bytes from chips to consoles and back. The chip calls out under its own lock, the console calls in
 * with no lock held (console.h, uart16550.h), so neither waits for the other.
 */
#include "vm/serial.h"

#include "vm/vm_int.h"

/* --- UARTs --- */

static size_t uart_tx(void *opaque, const u8 *buf, size_t len)
{
	struct serial *s = opaque;

	return console_write(s->console, buf, len);
}

static void uart_rx_ready(void *opaque)
{
	struct serial *s = opaque;

	console_rx_ready(s->console);
}

static void uart_line(void *opaque, const struct serial_line *line)
{
	struct serial *s = opaque;

	console_set_line(s->console, line);
}

static const struct uart_host_ops uart_ops = {.tx = uart_tx, .rx_ready = uart_rx_ready, .line = uart_line};

static size_t serial_receive(void *opaque, const u8 *buf, size_t len)
{
	struct serial *s = opaque;

	return uart_receive(s->uart, buf, len);
}

static void serial_ready(void *opaque)
{
	struct serial *s = opaque;

	uart_tx_ready(s->uart);
}

static void serial_break(void *opaque)
{
	struct serial *s = opaque;

	uart_break(s->uart);
}

static void serial_quit(void *opaque)
{
	struct serial *s = opaque;

	vm_quit(s->vm);
}

static void serial_carrier(void *opaque, bool there)
{
	struct serial *s = opaque;

	uart_set_carrier(s->uart, there);
}

static void serial_modem(void *opaque, u8 lines)
{
	struct serial *s = opaque;

	uart_set_modem(s->uart, lines);
}

static const struct console_ops serial_ops = {.receive = serial_receive,
        .ready = serial_ready,
        .brk = serial_break,
        .quit = serial_quit,
        .carrier = serial_carrier,
        .modem = serial_modem};

int serial_open(struct serial *s, struct vm *vm, const char *spec, struct err *e)
{
	s->vm = vm;
	if (!spec || !*spec || vm->config->explain)
		return 0;
	return console_open(&s->console, vm->loop, spec, e);
}

const struct uart_host_ops *serial_host(const struct serial *s)
{
	return s->console ? &uart_ops : NULL;
}

void serial_attach(struct serial *s, struct uart16550 *uart)
{
	s->uart = uart;
	if (s->console)
		console_attach(s->console, &serial_ops, s);
}

void serial_stop(struct serial *s)
{
	if (s->console)
		console_close(s->console);
	s->console = NULL;
}

int com_init(struct com_port *p, const struct com_config *cfg, struct err *e)
{
	struct uart16550_config c = {.ports = &cfg->vm->ports,
	        .base = cfg->base,
	        .timers = loop_timers(cfg->vm->loop),
	        .irq = cfg->irq,
	        .host_opaque = &p->line};
	int rc = serial_open(&p->line, cfg->vm, cfg->spec, e);

	if (rc < 0)
		return rc;
	c.host = serial_host(&p->line);
	rc = uart16550_init(&p->uart, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot build the serial port at 0x%x", cfg->base);
	p->built = true;
	serial_attach(&p->line, &p->uart);
	return 0;
}

void com_reset(struct com_port *p)
{
	if (p->built)
		uart16550_reset(&p->uart);
}

void com_fini(struct com_port *p)
{
	if (p->built)
		uart16550_fini(&p->uart);
	p->built = false;
}

/* --- BVM relays --- */

static size_t relay_tx(void *opaque, const u8 *buf, size_t len)
{
	struct relay *r = opaque;

	return console_write(r->console, buf, len);
}

static void relay_rx_ready(void *opaque)
{
	struct relay *r = opaque;

	console_rx_ready(r->console);
}

static size_t relay_receive(void *opaque, const u8 *buf, size_t len)
{
	struct relay *r = opaque;

	return bvmport_receive(&r->port, buf, len);
}

/* The port has no way to say "busy": there is nothing to wake. */
static void relay_ready(void *opaque)
{
}

static void relay_break(void *opaque)
{
}

static void relay_quit(void *opaque)
{
	struct relay *r = opaque;

	vm_quit(r->vm);
}

static const struct console_ops relay_ops = {
        .receive = relay_receive, .ready = relay_ready, .brk = relay_break, .quit = relay_quit};

int relay_init(struct relay *r, struct vm *vm, enum relay_kind kind, struct err *e)
{
	bool cons = kind == RELAY_BVMCONS;
	const struct bvmport_config c = {
	        .ports = &vm->ports,
	        .port = cons ? BVMCONS_PORT : BVMDEBUG_PORT,
	        .signature = cons ? BVMCONS_SIG : BVMDEBUG_SIG,
	        .name = cons ? "bvmcons" : "bvmdebug",
	        .tx = relay_tx,
	        .rx_ready = relay_rx_ready,
	        .opaque = r,
	};
	int rc;

	r->vm = vm;
	if (cons)
		rc = console_open(&r->console, vm->loop, "stdio", e);
	else
		rc = console_open_tcp(&r->console, vm->loop, vm->config->bvmdebug_port, e);
	if (rc < 0)
		return rc;
	rc = bvmport_init(&r->port, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot build the %s port", c.name);
	r->built = true;
	console_attach(r->console, &relay_ops, r);
	return 0;
}

void relay_stop(struct relay *r)
{
	if (r->console)
		console_close(r->console);
	r->console = NULL;
}

void relay_fini(struct relay *r)
{
	if (r->built)
		bvmport_fini(&r->port);
	r->built = false;
}
