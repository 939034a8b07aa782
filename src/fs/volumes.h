/*
 * What is on a disk: the file systems of its partitions, or of the disk as a whole.
 */
#pragma once

#include "block/block.h"
#include "block/image.h"
#include "fs/fs.h"
#include "fs/part.h"

struct volume {
	unsigned number; /* of the partition; 0: the disk as a whole */
	u64 off, len;
	const struct part *part; /* NULL for the disk as a whole */
	struct fs *fs;           /* NULL: none that is known, or */
	struct err why;          /* why.code: damaged, in words */
};

/*
 * The disk as a whole comes first and is in the list when it has a file system itself (a CD, which may have
 * a partition table, too) or no partitions.
 */
struct volumes {
	struct block *block;
	struct part_list parts;
	unsigned count;
	struct volume v[PART_MAX + 1];
};

/* block stays the caller's and must stay open. */
int volumes_open(struct volumes **out, struct block *block, struct err *e);
void volumes_close(struct volumes *v); /* NULL is fine */

/* "partition 2" or "the image" for messages. */
const char *volume_name(const struct volume *v, char buf[static 32]);

/*
 * Finds a file in partition number (0: the first volume that has it, follow as in fs_find). -ENOENT and
 * others have words without the name of the image: `no /boot/x in partition 1 (vfat) and 2 (ext4)`.
 */
int volumes_find(struct volumes *v, unsigned number, const char *path, bool follow, struct volume **where,
        struct fs_node *n, struct err *e);
