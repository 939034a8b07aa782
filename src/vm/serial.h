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

/* A COM port. */
struct serial {
	struct vm *vm;
	struct uart16550 uart;
	struct console *console; /* NULL: nobody listens */
	bool built;
};

struct serial_config {
	struct vm *vm;
	u16 base;
	struct wire irq;
	const char *spec; /* console spec or NULL */
};

int serial_init(struct serial *s, const struct serial_config *cfg, struct err *e);
void serial_stop(struct serial *s); /* drains and closes the console; the chip stays */
void serial_fini(struct serial *s); /* no-op if it was never built */

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
