/*
 * The command line: argv -> struct vm_config. Parsing is pure: no file is looked at, nothing is
 * printed, nothing but memory is allocated, so a command line that is refused has touched nothing.
 * One table (options.c) drives the parser, the help text and the test of the man page.
 */
#pragma once

#include "base/err.h"
#include "vm/config.h"

#include <stdio.h>

/* What a good command line asks for. */
enum cli_action {
	CLI_RUN,
	CLI_HELP,         /* -h */
	CLI_VERSION,      /* -v */
	CLI_LIST_DEVICES, /* -s help */
	CLI_LIST_PORTS,   /* -l help */
};

/*
 * Parses argv[1..argc-1]. Returns an enum cli_action, or a negative errno with the message and
 * EXIT_BADUSE (EXIT_FAILED for lack of memory) in e. out is valid only for CLI_RUN; release it with
 * cli_config_free.
 */
int cli_parse(int argc, const char *const *argv, struct vm_config *out, struct err *e);
void cli_config_free(struct vm_config *c);

/* Prints what CLI_HELP ... CLI_LIST_PORTS ask for; features as in vm/vm.h. */
void cli_print(enum cli_action what, const char *const *features, FILE *out);

/* One option, for the views of the table. */
struct cli_option {
	char letter;      /* 0: long name only */
	const char *name; /* long name or NULL */
	const char *arg;  /* what the value is called in the help; NULL: a flag */
	const char *help; /* lines separated by \n */
};

/* The i-th option, or NULL behind the last. */
const struct cli_option *cli_option(size_t i);
