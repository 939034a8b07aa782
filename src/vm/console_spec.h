/*
 * What follows virtio-console on the command line: back ends of the console, then further ports, each a
 * word port=NAME and its back ends. Pure: nothing is opened.
 */
#pragma once

#include "base/err.h"
#include "dev/virtio_console.h"

struct console_port_spec {
	char name[VIRTIO_CONSOLE_NAME + 1]; /* "": the console */
	char *backends;                     /* NULL: none */
};

struct console_spec {
	struct console_port_spec
	        port[VIRTIO_CONSOLE_PORTS]; /* the first is the console, with or without back end */
	unsigned count;
	bool stdio; /* one of them is on standard input and output */
};

/* 0 and a spec to be freed, or a negative errno with the message. */
int console_spec_parse(struct console_spec *out, const char *config, struct err *e);
void console_spec_free(struct console_spec *s);
