/*
 * The emulations that -s knows: one table that the command line (names, help, checks) and the
 * machine (construction) share. The constructor is the machine's business: it looks it up by type.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"

enum device_flags {
	DEVICE_ONE_ONLY = BIT(0),  /* a second one is refused */
	DEVICE_BUS0_ONLY = BIT(1), /* only on PCI bus 0 */
	DEVICE_LPC = BIT(2),       /* carries the ports of -l */
	/*
	 * The original has it, this version does not: named so that users get a truthful message and
	 * "did you mean" for a typo; refused, and not listed by -s help.
	 */
	DEVICE_ABSENT = BIT(3),
};

struct device_type {
	const char *name;        /* as on the command line */
	const char *alias;       /* a second name or NULL */
	const char *description; /* one line for -s help */
	const char *config_help; /* syntax of the config, e.g. "PATH[,ro]"; NULL if there is none */
	u32 flags;
	/*
	 * Pure check of the config string ("" if absent): nothing is opened. The message needs no
	 * prefix, the command line puts "-s SLOT,NAME: " before it. NULL: no config is allowed.
	 */
	int (*check)(const char *config, struct err *e);
	/* Whether a config that passed the check takes standard input and output. NULL: none does. */
	bool (*uses_stdio)(const char *config);
};

extern const struct device_type device_types[];
extern const size_t device_type_count;
