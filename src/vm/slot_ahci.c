/*
 * SATA controllers: images of the block room as disks, and as discs that are changed while the machine runs.
 */
#include "base/log.h"
#include "dev/ahci.h"
#include "vm/ahci_spec.h"
#include "vm/slots.h"
#include "vm/vm_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct drive {
	bool cd;
	struct block *block; /* NULL: no disc */
	char serial[AHCI_SERIAL + 1];
};

struct controller {
	enum ahci_kind kind;
	struct ahci *chip;
	unsigned count;
	struct drive drive[];
};

/* --- images --- */

static int check_sectors(const struct drive *d, const char *path, struct err *e)
{
	if (d->cd && block_size(d->block) < AHCI_DISC_MIN)
		return err_set(e, -EINVAL, "%s: too small for a disc", path);
	if (!d->cd && d->block->logical > AHCI_SECTOR_MAX)
		return err_set(e, -EINVAL, "%s: a SATA disk has sectors of up to %u bytes, this image has %u",
		        path, AHCI_SECTOR_MAX, d->block->logical);
	return 0;
}

/* What was opened stays with the drive, also when it turns out to be unusable. */
static int open_drive(struct slot_dev *s, struct drive *d, const struct ahci_drive_spec *spec, struct err *e)
{
	int rc;

	if (spec->empty)
		return 0;
	rc = slot_open_image(s, &d->block, &spec->image, spec->cd ? 0 : IMAGE_CREATE, e);
	return rc < 0 ? rc : check_sectors(d, spec->image.path, e);
}

/* A drive's number does not depend on the disc in it. */
static void name_cd(
        struct drive *d, const struct ahci_drive_spec *spec, const struct slot_config *c, unsigned port)
{
	if (spec->image.serial[0])
		memcpy(d->serial, spec->image.serial, sizeof(d->serial));
	else
		snprintf(d->serial, sizeof(d->serial), "XH-CD-%02x%02x%x-%u", c->bus, c->slot, c->func,
		        (u8)port);
}

static int open_drives(struct slot_dev *s, enum ahci_kind kind, struct err *e)
{
	struct controller *a = s->device;
	const char *rest = s->config->config;
	struct ahci_drive_spec spec;
	int rc = 0;

	for (unsigned n = 0; n < a->count && rc == 0; n++) {
		struct drive *d = &a->drive[n];

		rc = ahci_spec_next(&spec, kind, &rest, e);
		if (rc < 0)
			break;
		d->cd = spec.cd;
		if (d->cd)
			name_cd(d, &spec, s->config, n);
		rc = open_drive(s, d, &spec, e);
	}
	return rc;
}

/* --- the controller --- */

static int make_chip(struct slot_dev *s, struct err *e)
{
	struct controller *a = s->device;
	struct ahci_config c = {.mem = &s->vm->mem, .nports = a->count};
	int rc;

	for (unsigned n = 0; n < a->count; n++) {
		struct drive *d = &a->drive[n];

		c.drive[n] = (struct ahci_drive_config){
		        .cd = d->cd, .block = d->block, .serial = d->cd ? d->serial : NULL};
	}
	rc = ahci_create(&a->chip, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot be made");
	s->pci = ahci_pci(a->chip);
	return 0;
}

static int build(struct slot_dev *s, enum ahci_kind kind, struct err *e)
{
	struct controller *a;
	unsigned count;
	int rc = ahci_spec_check(kind, s->config->config, &count, e);

	if (rc < 0)
		return rc;
	a = calloc(1, sizeof(*a) + count * sizeof(a->drive[0]));
	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	a->kind = kind;
	a->count = count;
	s->device = a;
	rc = open_drives(s, kind, e);
	return rc < 0 ? rc : make_chip(s, e);
}

static int build_hd(struct slot_dev *s, struct err *e)
{
	return build(s, AHCI_DISK, e);
}

static int build_cd(struct slot_dev *s, struct err *e)
{
	return build(s, AHCI_CD, e);
}

static int build_drives(struct slot_dev *s, struct err *e)
{
	return build(s, AHCI_DRIVES, e);
}

static void end(struct slot_dev *s)
{
	struct controller *a = s->device;

	ahci_destroy(a->chip);
	for (unsigned n = 0; n < a->count; n++)
		slot_close_disk(s, a->drive[n].block);
	free(a);
}

static void reset(struct slot_dev *s)
{
	const struct controller *a = s->device;

	ahci_reset(a->chip);
}

/* --- changing discs --- */

/* The controller's CD drive, or NULL and e. */
static struct drive *find_cd(struct controller *a, struct err *e)
{
	struct drive *found = NULL;

	for (unsigned n = 0; n < a->count; n++) {
		if (!a->drive[n].cd)
			continue;
		if (found) {
			err_set(e, -EINVAL,
			        "has several CD drives; give each a slot as ahci-cd to change discs");
			return NULL;
		}
		found = &a->drive[n];
	}
	if (!found)
		err_set(e, -ENOTTY, "has no CD drive");
	return found;
}

static unsigned port_of(const struct controller *a, const struct drive *d)
{
	return (unsigned)(d - a->drive);
}

/* What the chip said about a change of discs. */
static int changed(
        struct slot_dev *s, struct drive *d, int rc, struct block *now, struct block *old, struct err *e)
{
	if (rc == -EBUSY)
		return err_set(e, rc, "the guest has locked the drive");
	if (rc < 0)
		return err_errno(e, rc, "the disc cannot be changed");
	d->block = now;
	slot_close_disk(s, old);
	return 0;
}

/* Who asks must not be able to make the loop wait, as opening a FIFO would. */
static int check_kind(const char *path, struct err *e)
{
	struct stat st;

	if (strlen(path) == 0 || strlen(path) >= IMAGE_PATH_MAX)
		return err_set(e, -EINVAL, "\"%.100s\" is no path of a disc", path);
	if (stat(path, &st) < 0)
		return err_errno(e, -errno, "%s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, -EINVAL, "%s: neither a file nor a block device", path);
	return 0;
}

static int insert(struct slot_dev *s, const char *path, struct err *e)
{
	struct controller *a = s->device;
	struct drive new = {.cd = true}, *d = find_cd(a, e);
	struct ahci_drive_spec spec = {.cd = true, .image.ro = true};
	struct block *old = NULL;
	int rc;

	if (!d)
		return e->code;
	rc = check_kind(path, e);
	if (rc < 0)
		return rc;
	memcpy(spec.image.path, path, strlen(path));
	rc = open_drive(s, &new, &spec, e);
	if (rc == 0) {
		rc = ahci_insert(a->chip, port_of(a, d), new.block, &old);
		rc = changed(s, d, rc, new.block, old, e);
	}
	if (rc < 0)
		slot_close_disk(s, new.block);
	return rc;
}

static int eject(struct slot_dev *s, bool force, struct err *e)
{
	struct controller *a = s->device;
	struct drive *d = find_cd(a, e);
	struct block *old = NULL;
	int rc;

	if (!d)
		return e->code;
	rc = ahci_eject(a->chip, port_of(a, d), force, &old);
	return changed(s, d, rc, NULL, old, e);
}

/* --- for --explain --- */

static int visit_drives(struct slot_dev *s, slot_visit visit, void *opaque)
{
	struct controller *a = s->device;
	const char *rest = s->config->config;
	struct ahci_drive_spec spec;
	struct err e;
	int rc = 0;

	for (unsigned n = 0; n < a->count && rc == 0; n++) {
		struct slot_part part = {.image = &spec.image, .disk = a->drive[n].block};

		rc = ahci_spec_next(&spec, a->kind, &rest, &e);
		part.kind = spec.cd ? PART_CD : PART_SATA_DISK;
		if (rc == 0)
			rc = visit(opaque, &part);
	}
	return rc;
}

/* --- what there is to say --- */

static void describe(struct slot_dev *s, char *text, size_t len)
{
	const struct controller *a = s->device;

	*text = 0;
	for (unsigned n = 0; n < a->count; n++) {
		const struct drive *d = &a->drive[n];
		size_t used = strlen(text);
		const char *sep = n ? ", " : "";

		if (d->block)
			snprintf(text + used, len - used, "%s%s %llu", sep, d->cd ? "cd" : "disk",
			        (unsigned long long)block_size(d->block));
		else
			snprintf(text + used, len - used, "%scd empty", sep);
	}
}

static void stats(struct slot_dev *s, const char *group, struct stats_sink *out)
{
	const struct controller *a = s->device;
	char name[80];

	for (unsigned n = 0; n < a->count; n++) {
		if (!a->drive[n].block)
			continue;
		snprintf(name, sizeof(name), "%s port %u", group, n);
		slot_block_stats(a->drive[n].block, name, out);
	}
}

#define COMMON .end = end, .reset = reset, .describe = describe, .stats = stats, .parts = visit_drives

const struct slot_ops slot_ahci_hd = {.name = "ahci-hd", .build = build_hd, COMMON};
const struct slot_ops slot_ahci_cd = {
        .name = "ahci-cd", .build = build_cd, .eject = eject, .insert = insert, COMMON};
const struct slot_ops slot_ahci = {
        .name = "ahci", .build = build_drives, .eject = eject, .insert = insert, COMMON};
