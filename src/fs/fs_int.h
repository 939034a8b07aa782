/*
 * What a file system supplies. Private to the fs room.
 */
#pragma once

#include "fs/dev.h"
#include "fs/fs.h"

#include <errno.h>

/* An entry as a directory has it. */
struct fs_entry {
	const char *name;
	const char *alias; /* a second name that also finds it, or NULL */
	struct fs_node node;
};

typedef int (*fs_entry_fn)(void *opaque, const struct fs_entry *ent);

struct fs_ops {
	const char *name;
	/* Sets f's kind, label, uuid and priv. -ENOTSUP: something else; no words then. */
	int (*open)(struct fs *f, struct err *e);
	void (*close)(struct fs *f);
	int (*root)(struct fs *f, struct fs_node *out);
	/* All entries but . and ..; ends when fn returns not 0, with that. */
	int (*each)(struct fs *f, const struct fs_node *dir, fs_entry_fn fn, void *opaque);
	/* Completes the node of an entry. NULL: they are complete. */
	int (*load)(struct fs *f, struct fs_node *n);
	/* The range is inside the file. */
	int (*read)(struct fs *f, const struct fs_node *n, void *buf, u64 len, u64 off);
	int (*readlink)(struct fs *f, const struct fs_node *n, char target[FS_PATH_MAX]); /* NULL: no links */
};

struct fs {
	const struct fs_ops *ops;
	struct fs_dev dev;
	void *priv;
	const char *kind;
	bool fold;    /* names are compared without regard to case */
	u64 searched; /* bytes of directories that were read */
	char label[FS_LABEL_MAX], uuid[UUID_TEXT];
};

/*
 * A disk may be made so that each look-up is long. All of them together end after this much: a boot menu and
 * its files need less than a thousandth of it.
 */
#define FS_SEARCH_MAX (1 * GiB)

static inline int fs_charge(struct fs *f, u64 bytes)
{
	f->searched += bytes;
	return f->searched <= FS_SEARCH_MAX ? 0 : -EUCLEAN;
}

extern const struct fs_ops fs_iso, fs_fat, fs_ext;
