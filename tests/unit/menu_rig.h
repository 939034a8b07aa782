/*
 * For tests and fuzz targets of boot configurations: a FAT disk in memory with a few text files on it, made
 * without any tool.
 */
#pragma once

#include "boot/menu.h"
#include "fs_images.h"

#include <ctype.h>
#include <stdlib.h>

#define RIG_DISK_LEN (512 * 1024u)
#define RIG_CLUSTER 512u
#define RIG_FAT_SECTORS 6u
#define RIG_ROOT_ENTRIES 64u

struct menu_rig {
	u8 disk[RIG_DISK_LEN];
	struct ram_disk ram;
	struct menu_disk seen;
	u32 next; /* free cluster */
	u32 root_used;
};

static inline u8 *rig_cluster(struct menu_rig *r, u32 c)
{
	return r->disk + 512 + RIG_FAT_SECTORS * 512 + RIG_ROOT_ENTRIES * 32 + (u64)(c - 2) * RIG_CLUSTER;
}

static inline void rig_link(struct menu_rig *r, u32 c, u16 next)
{
	u8 *p = r->disk + 512 + c + c / 2;

	put_le16(p, (u16)(c & 1 ? (get_le16(p) & 0xf) | next << 4 : (get_le16(p) & 0xf000) | next));
}

/* Clusters for len bytes, chained; 0: the disk is full. */
static inline u32 rig_take(struct menu_rig *r, u32 len)
{
	u32 n = MAX((len + RIG_CLUSTER - 1) / RIG_CLUSTER, 1u), first = r->next;

	if (first + n >= 900)
		return 0;
	for (u32 i = 0; i < n; i++)
		rig_link(r, first + i, i + 1 < n ? (u16)(first + i + 1) : 0xfff);
	r->next += n;
	return first;
}

static inline void rig_init(struct menu_rig *r)
{
	u8 *b = r->disk;

	memset(r, 0, sizeof(*r));
	put_le16(b + 11, 512);
	b[13] = 1;
	put_le16(b + 14, 1);
	b[16] = 1;
	put_le16(b + 17, RIG_ROOT_ENTRIES);
	put_le16(b + 19, RIG_DISK_LEN / 512);
	b[21] = 0xf8;
	put_le16(b + 22, RIG_FAT_SECTORS);
	put_le32(b + 39, 0xcafe0001);
	put_le16(b + 510, 0xaa55);
	r->next = 2;
}

/* An entry with a long name of up to 26 characters and a made-up short one. */
static inline void rig_entry(
        u8 *e, const char *name, size_t len, unsigned serial, u8 attr, u32 cluster, u32 size)
{
	static const u8 spots[] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
	unsigned parts = (unsigned)(len + 12) / 13;
	char brief[16];
	u8 sum = 0;

	snprintf(brief, sizeof(brief), "F%07u   ", serial % 10000000u);
	for (unsigned i = 0; i < 11; i++)
		sum = (u8)((sum << 7 | sum >> 1) + (u8)brief[i]);
	for (unsigned p = parts; p; p--, e += 32) {
		e[0] = (u8)(p | (p == parts ? 0x40 : 0));
		e[11] = 0x0f;
		e[13] = sum;
		for (unsigned i = 0; i < 13; i++) {
			size_t at = (p - 1) * 13 + i;

			put_le16(e + spots[i], at < len ? (u8)name[at] : at == len ? 0 : 0xffff);
		}
	}
	fi_fat_entry(e, brief, attr, (u16)cluster, size);
}

/* The free place behind the entries of a directory: up to 3 of them must fit. NULL: it is full. */
static inline u8 *rig_free(u8 *entries, u32 room)
{
	for (u32 i = 0; i + 4 <= room; i++)
		if (!entries[i * 32])
			return entries + i * 32;
	return NULL;
}

/* The sub-directory, made when it is not there; entry's cluster is found through its long name's order. */
static inline u32 rig_subdir(struct menu_rig *r, u8 *entries, u32 room, const char *name, size_t len)
{
	unsigned parts = (unsigned)(len + 12) / 13;
	u8 want[32 * 4] = {0}, *e;
	u32 c;

	rig_entry(want, name, len, 0, 0x10, 0, 0);
	for (u32 i = 0; i + parts < room; i++) {
		e = entries + i * 32;
		if (e[0] == want[0] && memcmp(e + 1, want + 1, 12) == 0 &&
		        memcmp(e + 14, want + 14, 18) == 0 && e[parts * 32 + 11] == 0x10)
			return get_le16(e + parts * 32 + 26);
	}
	e = rig_free(entries, room);
	c = e ? rig_take(r, 1) : 0;
	if (c)
		rig_entry(e, name, len, c, 0x10, c, 0);
	return c;
}

/* Adds a file; false: no room. */
static inline bool rig_put_file(struct menu_rig *r, const char *path, const void *data, u32 len)
{
	u8 *entries = r->disk + 512 + RIG_FAT_SECTORS * 512, *e;
	u32 room = RIG_ROOT_ENTRIES, c;
	size_t n;

	for (path++; (n = strcspn(path, "/")) < strlen(path); path += n + 1) {
		c = rig_subdir(r, entries, room, path, n);
		if (!c)
			return false;
		entries = rig_cluster(r, c);
		room = RIG_CLUSTER / 32;
	}
	e = rig_free(entries, room);
	c = e && n <= 26 ? rig_take(r, len) : 0;
	if (!c)
		return false;
	rig_entry(e, path, n, c, 0x20, c, len);
	memcpy(rig_cluster(r, c), data, len);
	return true;
}

static inline int rig_open(struct menu_rig *r, struct menu **m, struct err *e)
{
	int rc;

	r->ram = ram_disk(r->disk, RIG_DISK_LEN);
	r->seen.name = "d.img";
	rc = volumes_open(&r->seen.volumes, &r->ram.b, e);
	return rc < 0 ? rc : menu_open(m, &r->seen, 1, e);
}

static inline void rig_close(struct menu_rig *r, struct menu *m)
{
	menu_close(m);
	volumes_close(r->seen.volumes);
	r->seen.volumes = NULL;
}
