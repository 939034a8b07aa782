/*
 * Which file systems a disk has, and where among them a file is.
 */
#include "fs/volumes.h"

#include "fs/dev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void add_volume(struct volumes *all, const struct part *p)
{
	struct volume *v = &all->v[all->count++];
	struct fs_dev dev;
	int rc;

	*v = (struct volume){.number = p ? p->number : 0,
	        .off = p ? p->off : 0,
	        .len = p ? p->len : block_size(all->block),
	        .part = p};
	dev = (struct fs_dev){all->block, v->off, v->len};
	rc = fs_open(&v->fs, &dev, &v->why);
	if (rc == 0 || rc == -ENOTSUP)
		v->why = (struct err){0};
}

int volumes_open(struct volumes **out, struct block *block, struct err *e)
{
	struct volumes *all = calloc(1, sizeof(*all));
	int rc;

	if (!all)
		return err_set(e, -ENOMEM, "out of memory");
	all->block = block;
	rc = part_scan(&all->parts, block, e);
	if (rc < 0) {
		free(all);
		return rc;
	}
	add_volume(all, NULL);
	/* A CD that has a partition table is still a CD; what else looks like a file system is a leftover. */
	if (all->parts.count && !(all->v[0].fs && strcmp(fs_kind(all->v[0].fs), "iso9660") == 0)) {
		fs_close(all->v[0].fs);
		all->count = 0;
	}
	for (unsigned i = 0; i < all->parts.count; i++)
		add_volume(all, &all->parts.part[i]);
	*out = all;
	return 0;
}

void volumes_close(struct volumes *all)
{
	for (unsigned i = 0; all && i < all->count; i++)
		fs_close(all->v[i].fs);
	free(all);
}

const char *volume_name(const struct volume *v, char buf[static 32])
{
	if (v->number)
		snprintf(buf, 32, "partition %u", v->number);
	else
		snprintf(buf, 32, "the image");
	return buf;
}

/* --- finding --- */

/* "partition 1 (vfat), partition 2 (ext4)" */
static void list_searched(const struct volumes *all, unsigned number, char *buf, size_t cap)
{
	size_t len = 0;
	char name[32];

	buf[0] = 0;
	for (unsigned i = 0; i < all->count && len < cap; i++) {
		const struct volume *v = &all->v[i];

		if (!v->fs || (number && v->number != number))
			continue;
		len += (size_t)snprintf(buf + len, cap - len, "%s%s (%s)", len ? ", " : "",
		        volume_name(v, name), fs_kind(v->fs));
	}
}

static int not_found(const struct volumes *all, unsigned number, const char *path, struct err *e)
{
	char searched[300], name[32];

	list_searched(all, number, searched, sizeof(searched));
	if (searched[0])
		return err_set(e, -ENOENT, "no %.200s in %s", path, searched);
	for (unsigned i = 0; i < all->count; i++)
		if ((!number || all->v[i].number == number) && all->v[i].why.code)
			return err_set(e, all->v[i].why.code, "%s: %s", volume_name(&all->v[i], name),
			        all->v[i].why.text);
	if (number)
		return err_set(e, -ENOTSUP,
		        "no file system that is known (ext2-4, FAT, ISO 9660) in partition %u", number);
	return err_set(e, -ENOTSUP, "no file system that is known (ext2-4, FAT, ISO 9660)");
}

static bool is_there(const struct volumes *all, unsigned number)
{
	for (unsigned i = 0; i < all->count; i++)
		if (all->v[i].number == number)
			return true;
	return false;
}

int volumes_find(struct volumes *all, unsigned number, const char *path, bool follow, struct volume **where,
        struct fs_node *n, struct err *e)
{
	char name[32];
	int failed = 0;

	if (number && !is_there(all, number))
		return err_set(e, -ENOENT, "no partition %u (%s)", number,
		        all->parts.count ? "xhyve-img ls IMAGE lists them" : "there is no partition table");
	for (unsigned i = 0; i < all->count; i++) {
		struct volume *v = &all->v[i];
		int rc;

		if (!v->fs || (number && v->number != number))
			continue;
		rc = fs_find(v->fs, path, follow, n);
		if (rc == 0) {
			*where = v;
			return 0;
		}
		if (rc != -ENOENT && rc != -ENOTDIR && !failed)
			failed = err_errno(e, rc, "%.200s in %s", path, volume_name(v, name));
	}
	return failed ? failed : not_found(all, number, path, e);
}
