/*
 * What the machine boots: the files of -f kexec, or what the boot configuration on a CD (-f iso) or a disk
 * (-f disk) in one of the slots says. Read anew for each start of a machine, so that a guest that has
 * replaced its kernel starts the new one.
 *
 * Images are opened read-only and closed again before the machine opens its disks. A machine that starts
 * again has them open, and lends them.
 */
#pragma once

#include "base/err.h"
#include "boot/boot.h"
#include "vm/config.h"

#include <stdio.h>

struct boot_found;

struct boot_source {
	/* For boot_linux_load; point into the configuration or into found. */
	const char *kernel;
	const char *initrd[BOOT_INITRDS_MAX + 1]; /* ends with NULL */
	const char *cmdline;
	struct boot_found *found; /* NULL: -f kexec */
};

/* Errors name the option. On success the caller owes boot_source_free (which also takes a zeroed source). */
int boot_source_find(
        struct boot_source *s, const struct vm_config *c, const struct place_lent *lent, struct err *e);
void boot_source_free(struct boot_source *s);

/* -f iso, -f disk: where the configuration is, and its entries with a mark at the one that starts. */
const char *boot_source_config(const struct boot_source *s); /* NULL: -f kexec */
unsigned boot_source_entries(const struct boot_source *s);
const char *boot_source_entry(const struct boot_source *s, unsigned n, bool *starts);
