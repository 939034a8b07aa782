/*
 * What may be wrong with a machine although it can be started: its kernel would look in vain for a console
 * or a root file system, or a disk does not hold what it should.
 */
#include "vm/explain_int.h"

#include "boot/boot.h"
#include "fs/volumes.h"
#include "vm/cmdline.h"
#include <stdlib.h>

#define SECTOR_MIN 512u
#define SECTOR_MAX 4096u

/* --- consoles --- */

static void check_consoles(struct explain *x)
{
	for (unsigned n = 0; n < x->nports; n++)
		if (cmdline_has_console(x->vm->image.cmdline, x->port[n].name))
			return;
	if (x->nports)
		explain_warn(x,
		        "%s is connected, but the kernel's command line has no console=%s: you will see "
		        "nothing",
		        x->port[0].option, x->port[0].name);
}

/* --- what is on the disks --- */

/* The disk's partitions and file systems, or NULL: there is nothing to look at, or it cannot be read. */
static struct volumes *look(struct explain_disk *d)
{
	struct err ignored;

	if (!d->looked && d->block && d->state == DRY_THERE &&
	        volumes_open(&d->volumes, d->block, &ignored) < 0)
		d->volumes = NULL;
	d->looked = true;
	return d->volumes;
}

static const struct part *find_part(const struct volumes *v, unsigned number)
{
	for (unsigned n = 0; n < v->parts.count; n++)
		if (v->parts.part[n].number == number)
			return &v->parts.part[n];
	return NULL;
}

static void list_parts(const struct volumes *v, char *buf, size_t room)
{
	size_t at = 0;

	snprintf(buf, room, "no partitions");
	for (unsigned n = 0; n < v->parts.count && at < room; n++)
		at += (size_t)snprintf(
		        buf + at, room - at, "%s%u", n ? ", " : "it has ", v->parts.part[n].number);
}

/* --- the root file system --- */

static struct explain_disk *find_disk(const struct explain *x, const char *name, size_t len)
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

	snprintf(buf, room, "no disks");
	for (unsigned n = 0; n < x->ndisks && at < room; n++)
		at += (size_t)snprintf(buf + at, room - at, "%s%s", n ? ", " : "", x->disk[n].name);
}

/* The disk that root= names is there: is the partition (0: the whole disk)? */
static void check_partition(struct explain *x, struct explain_disk *d, const char *name, unsigned number)
{
	const struct volumes *v = look(d);
	char all[128];

	if (d->state == DRY_NEW)
		explain_warn(x, "root=/dev/%.40s: %s is a new disk, nothing is on it yet", name, d->path);
	if (!v)
		return;
	list_parts(v, all, sizeof(all));
	if (number && !find_part(v, number))
		explain_warn(x, "root=/dev/%.40s: %s has no partition %u, %s", name, d->path, number, all);
	if (!number && v->parts.count && !(v->count && v->v[0].number == 0 && v->v[0].fs))
		explain_warn(
		        x, "root=/dev/%.40s: no file system, but %s has partitions: %s", name, d->path, all);
}

/* root=/dev/vda1: the disk, then the partition. */
static void check_device(struct explain *x, const char *name)
{
	size_t len = strlen(name), digits = 0;
	struct explain_disk *d = find_disk(x, name, len);
	char all[128];

	if (!is_our_kind(name))
		return;
	while (!d && digits < len && name[len - digits - 1] >= '0' && name[len - digits - 1] <= '9')
		digits++;
	if (!d)
		d = find_disk(x, name, len - digits);
	if (d) {
		check_partition(x, d, name, (unsigned)strtoul(name + len - digits, NULL, 10));
		return;
	}
	list_disks(x, all, sizeof(all));
	explain_warn(x, "root=/dev/%.40s: the machine has no such disk, it has %s", name, all);
}

enum root_name { ROOT_UUID, ROOT_LABEL, ROOT_PARTUUID, ROOT_PARTLABEL };

static bool is_named(const struct volume *v, enum root_name kind, const char *name)
{
	switch (kind) {
	case ROOT_UUID: return v->fs && strcasecmp(fs_uuid(v->fs), name) == 0;
	case ROOT_LABEL: return v->fs && strcmp(fs_label(v->fs), name) == 0;
	case ROOT_PARTUUID: return v->part && strcasecmp(v->part->uuid, name) == 0;
	case ROOT_PARTLABEL: return v->part && strcmp(v->part->name, name) == 0;
	}
	return false;
}

/* Something that cannot be looked into may have any name. */
static bool may_be_named(struct explain_disk *d, enum root_name kind, const char *name)
{
	const struct volumes *v = look(d);

	if (!d->block)
		return false;
	if (!v)
		return d->state != DRY_NEW;
	for (unsigned n = 0; n < v->count; n++)
		if (is_named(&v->v[n], kind, name) ||
		        (!v->v[n].fs && (kind == ROOT_UUID || kind == ROOT_LABEL)))
			return true;
	return false;
}

static void check_name(struct explain *x, const char *root, const char *name, enum root_name kind)
{
	for (unsigned n = 0; n < x->ndisks; n++)
		if (may_be_named(&x->disk[n], kind, name))
			return;
	explain_warn(x, "root=%.80s: no disk of the machine has it", root);
}

static void check_root(struct explain *x)
{
	static const struct {
		const char *prefix;
		enum root_name kind;
	} names[] = {{"UUID=", ROOT_UUID}, {"LABEL=", ROOT_LABEL}, {"PARTUUID=", ROOT_PARTUUID},
	        {"PARTLABEL=", ROOT_PARTLABEL}, {"/dev/disk/by-uuid/", ROOT_UUID},
	        {"/dev/disk/by-label/", ROOT_LABEL}, {"/dev/disk/by-partuuid/", ROOT_PARTUUID}};
	char *root = cmdline_last(x->vm->image.cmdline, "root");

	if (root && strncmp(root, "/dev/", 5) == 0)
		check_device(x, root + 5);
	for (size_t n = 0; root && n < ARRAY_SIZE(names); n++)
		if (strncmp(root, names[n].prefix, strlen(names[n].prefix)) == 0)
			check_name(x, root, root + strlen(names[n].prefix), names[n].kind);
	free(root);
}

/* --- geometry --- */

/* A GPT that was written for sectors of another size is none to the guest: its header is elsewhere. */
static void check_gpt(struct explain *x, const struct explain_disk *d)
{
	for (u32 sector = SECTOR_MIN; sector <= SECTOR_MAX; sector *= 2) {
		u8 magic[8];

		if (sector == d->block->logical || block_pread(d->block, magic, sizeof(magic), sector) < 0 ||
		        memcmp(magic, "EFI PART", sizeof(magic)) != 0)
			continue;
		explain_warn(x,
		        "%s was partitioned with sectors of %u bytes, /dev/%s has %u: the guest finds no "
		        "partitions (sectorsize=%u)",
		        d->path, sector, d->name, d->block->logical, sector);
		return;
	}
}

/* Entries of an MBR that leave the disk: it was larger once, or its sectors were. */
static void check_mbr(struct explain *x, const struct explain_disk *d)
{
	u64 sectors = block_size(d->block) / d->block->logical;
	u8 mbr[SECTOR_MIN];

	if (block_pread(d->block, mbr, sizeof(mbr), 0) < 0 || get_le16(mbr + 510) != 0xaa55)
		return;
	for (unsigned n = 0; n < 4; n++) {
		const u8 *p = mbr + 446 + 16 * n;
		u64 first = get_le32(p + 8), len = get_le32(p + 12);

		if (!p[4] || p[4] == 0xee || p[0] & 0x7f || first + len <= sectors)
			continue;
		explain_warn(x,
		        "%s: partition %u ends behind the disk (/dev/%s has %llu sectors of %u bytes)",
		        d->path, n + 1, d->name, (unsigned long long)sectors, d->block->logical);
	}
}

/* --- discs --- */

static void check_disc(struct explain *x, struct explain_disk *d)
{
	const struct volumes *v = look(d);

	for (unsigned n = 0; v && n < v->count; n++)
		if (v->v[n].fs && v->v[n].number == 0)
			return;
	if (d->block && d->state == DRY_THERE)
		explain_warn(x, "%s in /dev/%s holds no file system of a disc (ISO 9660)", d->path, d->name);
}

int explain_check(struct explain *x)
{
	if (!x->vm->image.multiboot) { /* others have words of their own */
		check_consoles(x);
		check_root(x);
	}
	for (unsigned n = 0; n < x->ndisks; n++) {
		struct explain_disk *d = &x->disk[n];

		if (d->kind == PART_CD)
			check_disc(x, d);
		if (d->kind != PART_CD && d->state == DRY_THERE) {
			check_gpt(x, d);
			check_mbr(x, d);
		}
		if (d->state == DRY_BUSY)
			explain_warn(
			        x, "%s is in use by another process: the machine cannot start now", d->path);
	}
	for (unsigned n = 0; n < x->ndisks; n++)
		volumes_close(x->disk[n].volumes);
	return 0;
}
