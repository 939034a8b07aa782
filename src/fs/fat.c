/*
 * FAT12, FAT16 and FAT32 with long names. Names are compared without regard to the case of ASCII letters.
 *
 * A chain of clusters is followed at most as many steps as there are clusters, and reading a file goes on
 * from where the last call was, so that reading it in pieces follows its chain once.
 */
#include "fs/fs_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRY 32u
#define ATTR_LABEL 0x08
#define ATTR_DIR 0x10
#define ATTR_LONG 0x0f
#define ATTR_MASK 0x3f
#define LONG_UNITS 13u /* of a name in one entry */
#define LONG_ENTRIES 20u
#define DIR_MAX (65536 * ENTRY) /* as the format has it */
#define WINDOW 4096u

struct fat {
	struct fs *f;
	unsigned bits; /* 12, 16, 32 */
	u32 cluster;   /* bytes */
	u64 table, table_len;
	u64 root, root_len; /* FAT12 and FAT16 */
	u32 root_cluster;   /* FAT32 */
	u64 data;
	u32 clusters; /* numbers are 2 .. clusters + 1 */
	u8 window[WINDOW + 1];
	u64 window_at; /* in the table; UINT64_MAX: nothing */
	/* the last place in a chain */
	u32 chain, chain_index, chain_cluster;
};

static struct fat *fat_of(const struct fs *f)
{
	return f->priv;
}

/* --- chains --- */

/* len bytes (at most 4) of the table. */
static int read_table(struct fat *t, u64 off, u8 *buf, u32 len)
{
	u64 at = ALIGN_DOWN(off, (u64)WINDOW);
	u64 n = MIN(WINDOW + 1, t->table_len - at); /* an entry of 12 bits may lie across */
	int rc;

	if (off + len > t->table_len)
		return -EUCLEAN;
	if (at != t->window_at) {
		t->window_at = UINT64_MAX;
		rc = fs_dev_read(&t->f->dev, t->window, n, t->table + at);
		if (rc < 0)
			return rc;
		t->window_at = at;
	}
	memcpy(buf, t->window + (off - at), len);
	return 0;
}

/* The cluster after c; 0: it was the last one. */
static int next_cluster(struct fat *t, u32 c, u32 *next)
{
	u8 b[4] = {0};
	u32 v, end;
	int rc;

	if (t->bits == 12) {
		rc = read_table(t, c + c / 2, b, 2);
		v = c & 1 ? get_le16(b) >> 4 : get_le16(b) & 0xfff;
		end = 0xff8;
	} else if (t->bits == 16) {
		rc = read_table(t, 2ull * c, b, 2);
		v = get_le16(b);
		end = 0xfff8;
	} else {
		rc = read_table(t, 4ull * c, b, 4);
		v = get_le32(b) & 0xfffffff;
		end = 0xffffff8;
	}
	if (rc < 0)
		return rc;
	*next = v >= end ? 0 : v;
	return v >= end || (v >= 2 && v - 2 < t->clusters) ? 0 : -EUCLEAN;
}

/* The index-th cluster of the chain that begins at first. */
static int seek_chain(struct fat *t, u32 first, u32 index, u32 *cluster)
{
	u32 at = 0, c = first;

	if (first < 2 || first - 2 >= t->clusters || index >= t->clusters)
		return -EUCLEAN;
	if (t->chain == first && t->chain_index <= index) {
		at = t->chain_index;
		c = t->chain_cluster;
	}
	for (; at < index; at++) {
		int rc = next_cluster(t, c, &c);

		if (rc < 0)
			return rc;
		if (c == 0)
			return -ERANGE;
	}
	t->chain = first;
	t->chain_index = index;
	*cluster = t->chain_cluster = c;
	return 0;
}

/* Clusters that lie one after the other from index on, at most max. */
static int chain_run(struct fat *t, u32 first, u32 index, u32 max, u32 *cluster, u32 *n)
{
	u32 last, next;
	int rc = seek_chain(t, first, index, cluster);

	for (*n = 1, last = *cluster; rc == 0 && *n < max; ++*n, last = next) {
		rc = next_cluster(t, last, &next);
		if (rc < 0 || next != last + 1)
			break;
	}
	return rc;
}

/* -ERANGE: the chain is shorter. */
static int read_chain(struct fat *t, u32 first, u8 *buf, u64 len, u64 off)
{
	while (len) {
		u64 skip = off % t->cluster, want = (skip + len + t->cluster - 1) / t->cluster, here;
		u32 cluster, n;
		int rc = chain_run(
		        t, first, (u32)(off / t->cluster), (u32)MIN(want, t->clusters), &cluster, &n);

		if (rc < 0)
			return rc;
		here = MIN(len, (u64)n * t->cluster - skip);
		rc = fs_dev_read(&t->f->dev, buf, here, t->data + (u64)(cluster - 2) * t->cluster + skip);
		if (rc < 0)
			return rc;
		buf += here;
		off += here;
		len -= here;
	}
	return 0;
}

static int fat_read(struct fs *f, const struct fs_node *n, void *buf, u64 len, u64 off)
{
	int rc = read_chain(fat_of(f), (u32)n->id, buf, len, off);

	return rc == -ERANGE ? -EUCLEAN : rc;
}

/* --- names --- */

/* A long name on its way: its entries come last part first. */
struct long_name {
	u8 units[2 * LONG_UNITS * LONG_ENTRIES];
	unsigned total, left; /* entries; left: still to come */
	u8 sum;
};

static void take_long(struct long_name *l, const u8 *d)
{
	unsigned n = d[0] & 0x1f;
	u8 *to;

	if (d[0] & 0x40) {
		l->total = l->left = n <= LONG_ENTRIES ? n : 0;
		l->sum = d[13];
	}
	if (n == 0 || n != l->left || d[13] != l->sum) {
		l->total = 0;
		return;
	}
	l->left--;
	to = l->units + 2 * LONG_UNITS * (n - 1);
	memcpy(to, d + 1, 10);
	memcpy(to + 10, d + 14, 12);
	memcpy(to + 22, d + 28, 4);
}

static u8 short_sum(const u8 *d)
{
	u8 sum = 0;

	for (unsigned i = 0; i < 11; i++)
		sum = (u8)((sum << 7 | sum >> 1) + d[i]);
	return sum;
}

static void short_part(char **out, const u8 *d, unsigned n, bool lower)
{
	while (n && d[n - 1] == ' ')
		n--;
	for (unsigned i = 0; i < n; i++) {
		u8 c = i == 0 && d[0] == 0x05 ? 0xe5 : d[i];

		*(*out)++ = c < 0x20 || c >= 0x7f || c == '/' ? '_' : lower ? (char)tolower(c) : (char)c;
	}
}

/* 8.3, with the bits that Windows NT keeps for names in lower case. */
static void short_name(char out[13], const u8 *d)
{
	char *dot;

	short_part(&out, d, 8, d[12] & 0x08);
	dot = out++;
	short_part(&out, d + 8, 3, d[12] & 0x10);
	*dot = '.';
	if (out == dot + 1)
		out = dot;
	*out = 0;
}

static bool usable(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* --- directories --- */

static int emit(struct fat *t, struct long_name *l, const u8 *d, fs_entry_fn fn, void *opaque)
{
	char name[FS_NAME_MAX], brief[13];
	struct fs_entry ent = {.name = brief};
	bool has_long = l->total && l->left == 0 && l->sum == short_sum(d);

	short_name(brief, d);
	if (has_long) {
		utf16_text(name, sizeof(name), l->units, (size_t)l->total * LONG_UNITS, false);
		if (usable(name)) {
			ent.name = name;
			ent.alias = brief;
		}
	}
	if (d[0] == '.' || !usable(brief))
		return 0;
	ent.node.type = d[11] & ATTR_DIR ? FS_DIR : FS_FILE;
	ent.node.size = ent.node.type == FS_DIR ? 0 : get_le32(d + 28);
	ent.node.id = get_le16(d + 26) | (t->bits == 32 ? (u32)get_le16(d + 20) << 16 : 0);
	return fn(opaque, &ent);
}

/* One entry; -ENODATA: it marks the end. */
static int take_entry(struct fat *t, struct long_name *l, const u8 *d, fs_entry_fn fn, void *opaque)
{
	int rc;

	if (d[0] == 0)
		return -ENODATA;
	if (d[0] != 0xe5 && (d[11] & ATTR_MASK) == ATTR_LONG) {
		take_long(l, d);
		return 0;
	}
	rc = d[0] == 0xe5 || d[11] & ATTR_LABEL ? 0 : emit(t, l, d, fn, opaque);
	l->total = 0;
	return rc;
}

/* 512 bytes of a directory, -ERANGE behind its end. id 0 is the root. */
static int read_dir(struct fat *t, u64 id, u8 *buf, u64 off)
{
	if (off >= DIR_MAX)
		return -EUCLEAN;
	if (id || t->bits == 32)
		return read_chain(t, id ? (u32)id : t->root_cluster, buf, 512, off);
	if (off + 512 > t->root_len)
		return -ERANGE;
	return fs_dev_read(&t->f->dev, buf, 512, t->root + off);
}

static int fat_each(struct fs *f, const struct fs_node *dir, fs_entry_fn fn, void *opaque)
{
	struct fat *t = fat_of(f);
	struct long_name l = {.total = 0};
	u8 buf[512];
	int rc = 0;

	for (u64 off = 0; rc == 0; off += sizeof(buf)) {
		rc = fs_charge(f, sizeof(buf));
		if (rc == 0)
			rc = read_dir(t, dir->id, buf, off);
		for (u32 at = 0; at < sizeof(buf) && rc == 0; at += ENTRY)
			rc = take_entry(t, &l, buf + at, fn, opaque);
	}
	return rc == -ENODATA || rc == -ERANGE ? 0 : rc;
}

static int fat_root(struct fs *f, struct fs_node *out)
{
	*out = (struct fs_node){.type = FS_DIR};
	return 0;
}

/* --- opening --- */

/* The label is an entry of the root directory; what the boot sector says may be old. */
static int find_label(struct fat *t)
{
	u8 buf[512];
	int rc = 0;

	for (u64 off = 0; rc == 0; off += sizeof(buf)) {
		rc = read_dir(t, 0, buf, off);
		for (u32 at = 0; at < sizeof(buf) && rc == 0; at += ENTRY) {
			const u8 *d = buf + at;

			if (d[0] == 0)
				return 0;
			if (d[0] == 0xe5 || (d[11] & ATTR_MASK) == ATTR_LONG || !(d[11] & ATTR_LABEL))
				continue;
			field_text(t->f->label, sizeof(t->f->label), d, 11);
			return 0;
		}
	}
	return rc == -ERANGE ? 0 : rc;
}

static bool is_boot_sector(const u8 *b)
{
	u32 sector = get_le16(b + 11), cluster = b[13], fats = b[16];

	return get_le16(b + 510) == 0xaa55 && is_power_of_two(sector) && sector >= 512 && sector <= 4096 &&
	       is_power_of_two(cluster) && get_le16(b + 14) && fats >= 1 && fats <= 2 &&
	       (b[21] == 0xf0 || b[21] >= 0xf8) && (get_le16(b + 22) || get_le32(b + 36));
}

/* Where everything is, from the boot sector. -ENOTSUP: it is none of FAT. */
static int parse_boot_sector(struct fat *t, const u8 *b)
{
	u64 sector = get_le16(b + 11), reserved = get_le16(b + 14), fats = b[16], rest;
	u64 total = get_le16(b + 19) ? get_le16(b + 19) : get_le32(b + 32);
	u64 table = get_le16(b + 22) ? get_le16(b + 22) : get_le32(b + 36);

	t->cluster = (u32)sector * b[13];
	t->root_len = ALIGN_UP(get_le16(b + 17) * ENTRY, sector);
	t->table = reserved * sector;
	t->table_len = table * sector;
	t->root = t->table + fats * t->table_len;
	t->data = t->root + t->root_len;
	if (total * sector <= t->data || total * sector > t->f->dev.len)
		return -ENOTSUP;
	rest = (total * sector - t->data) / t->cluster;
	t->bits = get_le16(b + 22) == 0 ? 32 : rest >= 4085 ? 16 : 12;
	if (t->bits == 32)
		t->root_cluster = get_le32(b + 44);
	/* what the table has no entry for does not exist */
	rest = MIN(rest, t->table_len * 8 / t->bits - 2);
	t->clusters = (u32)MIN(rest, 0xffffff0ull);
	return t->clusters && t->table_len >= 3 ? 0 : -ENOTSUP;
}

static void fat_close(struct fs *f)
{
	free(f->priv);
}

static int fat_open(struct fs *f, struct err *e)
{
	const u8 *serial;
	struct fat *t;
	u8 b[512];
	int rc = fs_dev_read(&f->dev, b, sizeof(b), 0);

	if (rc == -EUCLEAN || (rc == 0 && !is_boot_sector(b)))
		return -ENOTSUP;
	if (rc < 0)
		return err_errno(e, rc, "boot sector");
	f->priv = t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	*t = (struct fat){.f = f, .window_at = UINT64_MAX};
	rc = parse_boot_sector(t, b);
	if (rc == 0) {
		f->kind = "vfat";
		f->fold = true;
		serial = b + (t->bits == 32 ? 67 : 39);
		snprintf(f->uuid, sizeof(f->uuid), "%04X-%04X", get_le16(serial + 2), get_le16(serial));
		rc = find_label(t);
		if (rc < 0)
			rc = err_errno(e, rc, "the root directory of the FAT file system");
	}
	if (rc < 0)
		fat_close(f);
	return rc;
}

const struct fs_ops fs_fat = {
        .name = "fat",
        .open = fat_open,
        .close = fat_close,
        .root = fat_root,
        .each = fat_each,
        .read = fat_read,
};
