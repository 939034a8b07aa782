/*
 * Private to cli/: the state of one parse and the option handlers.
 *
 * A handler gets its value as a private, writable copy that lives as long as the configuration, so
 * it may cut the copy into pieces and keep them. It returns 0, an enum cli_action > 0 that ends the
 * parse, or a negative errno after it filled p->e.
 */
#pragma once

#include "cli/cli.h"

struct parse {
	struct vm_config *c;
	struct err *e;
	char *free; /* next unused byte of c->storage */
	char last;  /* letter of the option before this word, 0 if none: for hints */
};

int opt_cpus(struct parse *p, char *value);
int opt_firmware(struct parse *p, char *value);
int opt_pidfile(struct parse *p, char *value);
int opt_bvmdebug(struct parse *p, char *value);
int opt_help(struct parse *p, char *value);
int opt_lpc(struct parse *p, char *value);
int opt_mem(struct parse *p, char *value);
int opt_pin(struct parse *p, char *value);
int opt_slot(struct parse *p, char *value);
int opt_uuid(struct parse *p, char *value);
int opt_version(struct parse *p, char *value);
int opt_accel(struct parse *p, char *value);
int opt_code_cache(struct parse *p, char *value);
int opt_on_poweroff(struct parse *p, char *value);
int opt_on_reboot(struct parse *p, char *value);
int opt_sandbox(struct parse *p, char *value);
int opt_control(struct parse *p, char *value);

/* Rules between options, once all are read. */
int check_config(const struct vm_config *c, struct err *e);

/* Cuts s at its first comma: terminates the part before it and returns the rest, or NULL. */
char *cut_comma(char *s);

/* The option table's entry: the public view and what it does. */
struct option_def {
	struct cli_option view;
	int (*set)(struct parse *p, char *value); /* NULL: a flag that sets the bool at offset flag */
	size_t flag;
};
extern const struct option_def option_defs[];
extern const size_t option_def_count;

/* User text in messages is cut so that the words after it fit. */
#define VAL "%.120s"
