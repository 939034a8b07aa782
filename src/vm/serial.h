/*
 * Glue between serial chips (dev) and consoles (console), which do not know each other.
 */
#pragma once

#include "base/err.h"
#include "bus/wire.h"
#include "console/console.h"
#include "dev/bvmport.h"
#include "dev/uart16550.h"

struct vm;

/* A console and the UART that it belongs to. */
struct serial {
	struct vm *vm;
	struct uart16550 *uart;
	struct console *console; /* NULL: nobody listens */
};

/* Opens the console, spec NULL or "": none. Then the UART is made with serial_host as its other end. */
int serial_open(struct serial *s, struct vm *vm, const char *spec, struct err *e);
const struct uart_host_ops *serial_host(const struct serial *s);
void serial_attach(struct serial *s, struct uart16550 *uart);
void serial_stop(struct serial *s); /* drains and closes the console; the chip stays */

/* A COM port. */
struct com_port {
	struct serial line;
	struct uart16550 uart;
	bool built;
};

struct com_config {
	struct vm *vm;
	u16 base;
	struct wire irq;
	const char *spec; /* console spec or NULL */
};

int com_init(struct com_port *p, const struct com_config *cfg, struct err *e);
void com_reset(struct com_port *p); /* the chip; the console goes on */
void com_fini(struct com_port *p);  /* no-op if it was never built */

/* -b and -g: a BVM port with its console. */
enum relay_kind { RELAY_BVMCONS, RELAY_BVMDEBUG };

struct relay {
	struct vm *vm;
	struct bvmport port;
	struct console *console;
	bool built;
};

int relay_init(struct relay *r, struct vm *vm, enum relay_kind kind, struct err *e);
void relay_stop(struct relay *r);
void relay_fini(struct relay *r);
