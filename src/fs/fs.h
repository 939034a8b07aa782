/*
 * Guest file systems, read only: ISO 9660 (Rock Ridge, Joliet), FAT (12, 16, 32, long names), ext2, ext3
 * and ext4.
 *
 * Whatever the disk says, a call ends: loops are bounded by the number of things that the disk can hold or
 * by the limits here, and memory does not grow with what the disk claims. Damage is -EUCLEAN. One thread at a
 * time.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define FS_NAME_MAX 1024 /* bytes of a name: 255 characters, at most 4 bytes each */
#define FS_PATH_MAX 4096
#define FS_LABEL_MAX 128
#define FS_DIR_MAX (16 * MiB) /* a directory that claims to be larger is damaged */

struct fs;
struct fs_dev;

enum fs_type { FS_FILE, FS_DIR, FS_LINK, FS_OTHER };

/* A file, directory or link. Plain data, good as long as its file system is open. */
struct fs_node {
	enum fs_type type;
	u64 size;  /* bytes; of a link those of its target */
	u64 id;    /* the reader's: how it finds the file again */
	u64 place; /* the reader's */
};

/* -ENOTSUP without words: no file system that is known; other errors: damaged, or with unknown features. */
int fs_open(struct fs **out, const struct fs_dev *dev, struct err *e);
void fs_close(struct fs *f); /* NULL is fine */

const char *fs_kind(const struct fs *f);  /* "iso9660", "vfat", "ext2", "ext3" or "ext4" */
const char *fs_label(const struct fs *f); /* "" for none */
const char *fs_uuid(const struct fs *f);  /* as blkid prints it; "" for none */

/*
 * Finds a file by its path from the root, through symbolic links (the last one only with follow).
 * -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EUCLEAN, or an error of the host.
 */
int fs_find(struct fs *f, const char *path, bool follow, struct fs_node *out);

/* Reads [off, off + len), which must be inside the file. */
int fs_read(struct fs *f, const struct fs_node *n, void *buf, u64 len, u64 off);

/* A link's target, terminated. */
int fs_readlink(struct fs *f, const struct fs_node *n, char target[FS_PATH_MAX]);

/* Calls fn for each entry but . and ..; a result that is not 0 ends the list and is returned. */
typedef int (*fs_list_fn)(void *opaque, const char *name, const struct fs_node *n);
int fs_list(struct fs *f, const struct fs_node *dir, fs_list_fn fn, void *opaque);
