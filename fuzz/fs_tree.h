/*
 * What the fuzz targets of file systems do with a disk: open it, walk through all that it shows, read
 * everything, look for files by name. Bounded, since a hostile disk may show a tree without end.
 */
#pragma once

#include "../tests/unit/fs_images.h"
#include "fs/dev.h"
#include "fs/fs.h"

#include <stdlib.h>

#define TREE_FILES 200
#define TREE_DEPTH 4

struct tree {
	struct fs *fs;
	unsigned files, depth;
};

static inline void fuzz_check(bool ok)
{
	if (!ok)
		abort();
}

static inline void read_some(struct tree *t, const struct fs_node *n)
{
	static u8 buf[8192];
	u64 at[] = {0, n->size / 2, n->size - MIN(n->size, 3ull)};

	for (size_t i = 0; i < ARRAY_SIZE(at); i++)
		fs_read(t->fs, n, buf, MIN(sizeof(buf), n->size - at[i]), at[i]);
}

static inline int visit(void *opaque, const char *name, const struct fs_node *n)
{
	struct tree *t = opaque;
	char target[FS_PATH_MAX];

	fuzz_check(name[0] && !strchr(name, '/') && strlen(name) < FS_NAME_MAX);
	if (++t->files > TREE_FILES)
		return 1;
	if (n->type == FS_FILE)
		read_some(t, n);
	if (n->type == FS_LINK && fs_readlink(t->fs, n, target) == 0)
		fuzz_check(strlen(target) < FS_PATH_MAX);
	if (n->type == FS_DIR && t->depth < TREE_DEPTH) {
		int rc;

		t->depth++;
		rc = fs_list(t->fs, n, visit, t);
		t->depth--;
		return rc > 0 ? rc : 0;
	}
	return 0;
}

static inline void fuzz_tree(const u8 *data, size_t len)
{
	struct ram_disk disk = ram_disk(data, len);
	const struct fs_dev dev = {&disk.b, 0, disk.b.size};
	struct tree t = {0};
	struct fs_node n;
	struct err e = {0};
	int rc = fs_open(&t.fs, &dev, &e);

	if (rc < 0) {
		fuzz_check(rc == -ENOTSUP || e.text[0]);
		return;
	}
	if (fs_find(t.fs, "/", true, &n) == 0)
		fs_list(t.fs, &n, visit, &t);
	fs_find(t.fs, "/link", true, &n);
	fs_find(t.fs, "/link/../dir/./kernel/", true, &n);
	fs_close(t.fs);
}

/* The input behind skip bytes of zeros, so that mutations meet headers that do not begin a disk. */
static inline void fuzz_tree_behind(const u8 *data, size_t len, size_t skip)
{
	u8 *disk = calloc(1, skip + len + 512);

	fuzz_check(disk);
	memcpy(disk + skip, data, len);
	fuzz_tree(disk, ALIGN_UP(skip + len, 512ul));
	free(disk);
}
