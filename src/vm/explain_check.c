/*
 * What may be wrong with a machine although it can be started: its kernel would look in vain for a console
 * or a root file system, or a disk does not hold what it should.
 */
#include "vm/explain_int.h"

#include "boot/boot.h"
#include <stdlib.h>

#define ISO_MAGIC_AT (16 * 2048 + 1) /* of the first volume descriptor (ECMA-119, 8.1.2) */

/* --- the command line's words --- */

/* The next word of a kernel's command line, or NULL; words end at blanks, quotes protect them. */
static const char *next_word(const char **rest, size_t *len)
{
	const char *s = *rest + strspn(*rest, " \t\n"), *p;
	bool quoted = false;

	for (p = s; *p && (quoted || !strchr(" \t\n", *p)); p++)
		quoted ^= *p == '"';
	*rest = p;
	*len = (size_t)(p - s);
	return *len ? s : NULL;
}

/* The value of the last word NAME=value that has this name, as in the kernel; NULL: none. */
static char *last_value(const char *cmdline, const char *name)
{
	size_t len, skip = strlen(name);
	char *found = NULL;

	for (const char *w; (w = next_word(&cmdline, &len));) {
		if (len <= skip || strncmp(w, name, skip) != 0 || w[skip] != '=')
			continue;
		free(found);
		found = strndup(w + skip + 1, len - skip - 1);
	}
	return found;
}

/* Is there a word console=DEVICE or console=DEVICE,...? */
static bool has_console(const char *cmdline, const char *device)
{
	size_t len, n = strlen(device);

	for (const char *w; (w = next_word(&cmdline, &len));) {
		if (len < 8 + n || strncmp(w, "console=", 8) != 0 || strncmp(w + 8, device, n) != 0)
			continue;
		if (len == 8 + n || w[8 + n] == ',')
			return true;
	}
	return false;
}

/* --- consoles --- */

static void check_consoles(struct explain *x)
{
	for (unsigned n = 0; n < x->nports; n++)
		if (has_console(x->vm->image.cmdline, x->port[n].name))
			return;
	if (x->nports)
		explain_warn(x,
		        "%s is connected, but the kernel's command line has no console=%s: you will see "
		        "nothing",
		        x->port[0].option, x->port[0].name);
}

/* --- the root file system --- */

static const struct explain_disk *find_disk(const struct explain *x, const char *name, size_t len)
{
	for (unsigned n = 0; n < x->ndisks; n++)
		if (strlen(x->disk[n].name) == len && strncmp(x->disk[n].name, name, len) == 0)
			return &x->disk[n];
	return NULL;
}

/* Names of disks that --explain knows all of; others (dm-0, nvme0n1) may come from anywhere. */
static bool is_our_kind(const char *name)
{
	return strncmp(name, "vd", 2) == 0 || strncmp(name, "sd", 2) == 0 || strncmp(name, "sr", 2) == 0;
}

static void list_disks(const struct explain *x, char *buf, size_t room)
{
	size_t at = 0;

	buf[0] = 0;
	for (unsigned n = 0; n < x->ndisks && at < room; n++)
		at += (size_t)snprintf(buf + at, room - at, "%s%s", n ? ", " : "", x->disk[n].name);
	if (!x->ndisks)
		snprintf(buf, room, "no disks");
}

/* root=/dev/vda1: the disk, then the partition. */
static void check_device(struct explain *x, const char *name)
{
	size_t len = strlen(name);
	const struct explain_disk *d = find_disk(x, name, len);
	char all[128];

	if (d || !is_our_kind(name))
		return;
	while (len && name[len - 1] >= '0' && name[len - 1] <= '9')
		len--;
	d = find_disk(x, name, len);
	if (!d) {
		list_disks(x, all, sizeof(all));
		explain_warn(x, "root=/dev/%.40s: the machine has no such disk, it has %s", name, all);
		return;
	}
	if (d->state == DRY_NEW)
		explain_warn(x, "root=/dev/%.40s: %s is a new disk, nothing is on it yet", name, d->path);
}

static void check_root(struct explain *x)
{
	char *root = last_value(x->vm->image.cmdline, "root");

	if (root && strncmp(root, "/dev/", 5) == 0)
		check_device(x, root + 5);
	free(root);
}

/* --- discs --- */

static void check_disc(struct explain *x, const struct explain_disk *d)
{
	u8 magic[5];

	if (!d->block || d->state != DRY_THERE)
		return;
	if (block_pread(d->block, magic, sizeof(magic), ISO_MAGIC_AT) < 0 || memcmp(magic, "CD001", 5) != 0)
		explain_warn(x, "%s in /dev/%s is no ISO 9660 image", d->path, d->name);
}

int explain_check(struct explain *x)
{
	check_consoles(x);
	check_root(x);
	for (unsigned n = 0; n < x->ndisks; n++) {
		if (x->disk[n].kind == PART_CD)
			check_disc(x, &x->disk[n]);
		if (x->disk[n].state == DRY_BUSY)
			explain_warn(x, "%s is in use by another process: the machine cannot start now",
			        x->disk[n].path);
	}
	return 0;
}
