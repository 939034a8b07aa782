/*
 * Private to ext*.c: an open ext2, ext3 or ext4. Numbers and names are those of the Linux kernel's
 * documentation, filesystems/ext4.
 */
#pragma once

#include "fs/fs_int.h"

#define EXT_BLOCK_MAX 65536u
#define EXT_LEVELS 3 /* of indirect blocks */

/* One block in memory; 0: nothing. */
struct ext_buf {
	u64 block;
	u8 *data;
};

/* A block of the file system of which the journal has a newer copy. */
struct ext_newer {
	u64 block, copy; /* both block numbers of the file system */
	bool escaped;    /* the copy's first four bytes are zeros instead of the journal's magic */
};

struct ext {
	struct fs *f;
	u32 block_size, inode_size, desc_size;
	u32 inodes_per_group, blocks_per_group, first_data_block, groups, first_meta_bg;
	u32 compat, incompat, ro_compat, backup_bg[2];
	u64 blocks;
	u32 inodes;
	u32 ino;   /* whose inode is in memory, 0: none */
	u8 *inode; /* inode_size bytes */
	struct ext_buf map[EXT_LEVELS], extent, desc;
	struct ext_newer *newer; /* sorted by block */
	u32 nnewer;
};

#define EXT_FEATURE_JOURNAL 0x4u /* compat */
#define EXT_FEATURE_SPARSE_SUPER2 0x200u
#define EXT_FEATURE_SPARSE_SUPER 0x1u /* ro_compat */
#define EXT_FEATURE_RECOVER 0x4u      /* incompat */
#define EXT_FEATURE_META_BG 0x10u
#define EXT_FEATURE_EXTENTS 0x40u
#define EXT_FEATURE_64BIT 0x80u
#define EXT_FEATURE_INLINE_DATA 0x8000u

#define EXT_FLAG_ENCRYPT 0x800u
#define EXT_FLAG_EXTENTS 0x80000u
#define EXT_FLAG_INLINE 0x10000000u

#define EXT_MODE 0x0
#define EXT_SIZE_LO 0x4
#define EXT_FLAGS 0x20
#define EXT_I_BLOCK 0x28
#define EXT_I_BLOCK_LEN 60u
#define EXT_SIZE_HIGH 0x6c

/* Bytes of the file system, as they are after the journal's replay. */
int ext_read(const struct ext *x, void *buf, u64 len, u64 block, u64 off);
/* Block in b; not read again when it is there. */
int ext_load_block(const struct ext *x, struct ext_buf *b, u64 block);

/* Makes x->inode the inode ino. */
int ext_load_inode(struct ext *x, u32 ino);

/* Of the inode in memory: logical block at is *block, 0: a hole; so are the *count ones from there on, at
 * least 1. */
int ext_map(struct ext *x, u64 at, u64 *block, u64 *count);

/* Finds what a journal that was not replayed has. Needs no more than the number of blocks it names. */
int ext_journal(struct ext *x, const u8 sb[1024]);
