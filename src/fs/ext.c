/*
 * ext2, ext3 and ext4: superblock, inodes, directories, links, inline data. Checksums are not compared: a
 * wrong byte is found where it leads to an impossible place. Directories are read in their order; an
 * index in them (htree) looks like empty entries, as it is meant to.
 */
#include "fs/ext_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SB_OFFSET 1024u
#define SB_LEN 1024u
#define SB_MAGIC 0xef53u
#define ROOT_INO 2u
#define XATTR_MAGIC 0xea020000u
#define XATTR_INDEX_SYSTEM 7

/* What this reader understands, or need not understand to read: compression, external journals are not in it.
 */
#define INCOMPAT_KNOWN                                                                                       \
	(0x2u | 0x4u | 0x10u | 0x40u | 0x80u | 0x100u | 0x200u | 0x400u | 0x2000u | 0x4000u | 0x8000u |      \
	        0x10000u | 0x20000u)

static struct ext *ext_of(const struct fs *f)
{
	return f->priv;
}

/* --- blocks --- */

/* The journal's copy of a block, or NULL. */
static const struct ext_newer *find_newer(const struct ext *x, u64 block)
{
	u32 low = 0, high = x->nnewer;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (x->newer[mid].block < block)
			low = mid + 1;
		else
			high = mid;
	}
	return low < x->nnewer && x->newer[low].block == block ? &x->newer[low] : NULL;
}

/* A part of one block. */
static int read_within(const struct ext *x, u8 *buf, u64 len, u64 block, u64 off)
{
	static const u8 magic[4] = {0xc0, 0x3b, 0x39, 0x98};
	const struct ext_newer *n = find_newer(x, block);
	int rc = fs_dev_read(&x->f->dev, buf, len, (n ? n->copy : block) * x->block_size + off);

	for (u64 i = off; rc == 0 && n && n->escaped && i < 4 && i < off + len; i++)
		buf[i - off] = magic[i];
	return rc;
}

int ext_read(const struct ext *x, void *buf, u64 len, u64 block, u64 off)
{
	u8 *to = buf;

	block += off / x->block_size;
	off %= x->block_size;
	if (block >= x->blocks)
		return -EUCLEAN;
	if (!x->nnewer)
		return fs_dev_read(&x->f->dev, buf, len, block * x->block_size + off);
	for (; len; block++, off = 0) {
		u64 here = MIN(len, x->block_size - off);
		int rc = read_within(x, to, here, block, off);

		if (rc < 0)
			return rc;
		to += here;
		len -= here;
	}
	return 0;
}

int ext_load_block(const struct ext *x, struct ext_buf *b, u64 block)
{
	int rc;

	if (block == 0)
		return -EUCLEAN;
	if (b->block == block)
		return 0;
	b->block = 0;
	if (!b->data)
		b->data = malloc(x->block_size);
	if (!b->data)
		return -ENOMEM;
	rc = ext_read(x, b->data, x->block_size, block, 0);
	if (rc == 0)
		b->block = block;
	return rc;
}

/* --- inodes --- */

static bool is_power_of(u32 v, u32 base)
{
	while (v > 1 && v % base == 0)
		v /= base;
	return v == 1;
}

static bool has_super(const struct ext *x, u32 group)
{
	if (x->compat & EXT_FEATURE_SPARSE_SUPER2)
		return group == 0 || group == x->backup_bg[0] || group == x->backup_bg[1];
	if (group <= 1 || !(x->ro_compat & EXT_FEATURE_SPARSE_SUPER))
		return true;
	return is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

/* The block that has the descriptor of a group. Blocks of 1 KiB: the superblock is in block 1, whatever the
 * first is. */
static u64 desc_block(const struct ext *x, u32 group)
{
	u32 per = x->block_size / x->desc_size, meta = group / per, super = x->block_size == SB_OFFSET;

	if (!(x->incompat & EXT_FEATURE_META_BG) || meta < x->first_meta_bg)
		return super + 1ull + meta;
	return (meta ? x->first_data_block : super) + (u64)meta * per * x->blocks_per_group +
	       has_super(x, meta * per);
}

static int inode_table(struct ext *x, u32 group, u64 *block)
{
	int rc = ext_load_block(x, &x->desc, desc_block(x, group));
	const u8 *d;

	if (rc < 0)
		return rc;
	d = x->desc.data + (u64)(group % (x->block_size / x->desc_size)) * x->desc_size;
	*block = get_le32(d + 8);
	if (x->desc_size >= 64)
		*block |= (u64)get_le32(d + 0x28) << 32;
	return *block && *block < x->blocks ? 0 : -EUCLEAN;
}

int ext_load_inode(struct ext *x, u32 ino)
{
	u64 table, off;
	int rc;

	if (ino == x->ino)
		return 0;
	if (ino == 0 || ino > x->inodes)
		return -EUCLEAN;
	x->ino = 0;
	rc = inode_table(x, (ino - 1) / x->inodes_per_group, &table);
	if (rc < 0)
		return rc;
	off = (u64)((ino - 1) % x->inodes_per_group) * x->inode_size;
	rc = ext_read(x, x->inode, x->inode_size, table, off);
	if (rc == 0)
		x->ino = ino;
	return rc;
}

static u32 inode_flags(const struct ext *x)
{
	return get_le32(x->inode + EXT_FLAGS);
}

static int ext_node(struct fs *f, struct fs_node *n)
{
	struct ext *x = ext_of(f);
	int rc = ext_load_inode(x, (u32)n->id);

	if (rc < 0)
		return rc;
	n->size = get_le32(x->inode + EXT_SIZE_LO) | (u64)get_le32(x->inode + EXT_SIZE_HIGH) << 32;
	switch (get_le16(x->inode + EXT_MODE) & S_IFMT) {
	case S_IFREG: n->type = FS_FILE; break;
	case S_IFDIR: n->type = FS_DIR; break;
	case S_IFLNK: n->type = FS_LINK; break;
	default: n->type = FS_OTHER;
	}
	return n->size > INT64_MAX ? -EUCLEAN : 0;
}

static int ext_root(struct fs *f, struct fs_node *out)
{
	*out = (struct fs_node){.id = ROOT_INO};
	return ext_node(f, out);
}

/* --- inline data: the inode has the first 60 bytes, an attribute behind it the rest --- */

/* The value of the attribute system.data, of the inode in memory; *len 0: there is none. */
static int inline_rest(const struct ext *x, const u8 **value, u32 *len)
{
	u32 start;

	*len = 0;
	if (x->inode_size < 132)
		return 0;
	start = 128 + get_le16(x->inode + 128) + 4; /* behind i_extra_isize's part and the magic */
	if (start > x->inode_size || get_le32(x->inode + start - 4) != XATTR_MAGIC)
		return 0;
	for (u32 at = start; at + 16 <= x->inode_size && get_le32(x->inode + at);) {
		const u8 *entry = x->inode + at;
		u32 off = get_le16(entry + 2), size = get_le32(entry + 8);

		at += ALIGN_UP(16u + entry[0], 4u);
		if (at > x->inode_size)
			return -EUCLEAN;
		if (entry[1] != XATTR_INDEX_SYSTEM || entry[0] != 4 || memcmp(entry + 16, "data", 4) != 0)
			continue;
		if (get_le32(entry + 4) || off > x->inode_size - start || size > x->inode_size - start - off)
			return -EUCLEAN;
		*value = x->inode + start + off;
		*len = size;
		return 0;
	}
	return 0;
}

static int read_inline(const struct ext *x, u8 *buf, u64 len, u64 off)
{
	const u8 *rest = NULL;
	u32 have;
	int rc = inline_rest(x, &rest, &have);

	if (rc < 0)
		return rc;
	for (u64 i = 0; i < len; i++, off++) {
		if (off < EXT_I_BLOCK_LEN)
			buf[i] = x->inode[EXT_I_BLOCK + off];
		else
			buf[i] = off - EXT_I_BLOCK_LEN < have ? rest[off - EXT_I_BLOCK_LEN] : 0;
	}
	return 0;
}

/* --- content --- */

/* Of the inode in memory. */
static int read_content(struct ext *x, u8 *buf, u64 len, u64 off)
{
	if (inode_flags(x) & EXT_FLAG_ENCRYPT)
		return -EOPNOTSUPP;
	if (inode_flags(x) & EXT_FLAG_INLINE)
		return read_inline(x, buf, len, off);
	while (len) {
		u64 skip = off % x->block_size, block, count, here;
		int rc = ext_map(x, off / x->block_size, &block, &count);

		if (rc < 0)
			return rc;
		here = MIN(len, count * x->block_size - skip);
		if (block)
			rc = ext_read(x, buf, here, block, skip);
		else
			memset(buf, 0, here);
		if (rc < 0)
			return rc;
		buf += here;
		off += here;
		len -= here;
	}
	return 0;
}

static int ext_file_read(struct fs *f, const struct fs_node *n, void *buf, u64 len, u64 off)
{
	int rc = ext_load_inode(ext_of(f), (u32)n->id);

	return rc < 0 ? rc : read_content(ext_of(f), buf, len, off);
}

/* A short target is in the inode itself. */
static int ext_readlink(struct fs *f, const struct fs_node *n, char target[FS_PATH_MAX])
{
	struct ext *x = ext_of(f);
	int rc = ext_load_inode(x, (u32)n->id);

	if (rc < 0)
		return rc;
	if (n->size == 0 || n->size >= FS_PATH_MAX)
		return -EUCLEAN;
	if (n->size < EXT_I_BLOCK_LEN && !(inode_flags(x) & EXT_FLAG_ENCRYPT))
		memcpy(target, x->inode + EXT_I_BLOCK, n->size);
	else
		rc = read_content(x, (u8 *)target, n->size, 0);
	target[n->size] = 0;
	return rc;
}

/* --- directories --- */

/* Entries in one block (or in one part of inline data): inode, length, length of the name, type, name. */
static int each_in_block(const u8 *data, u32 len, fs_entry_fn fn, void *opaque)
{
	char name[256];

	for (u32 at = 0; at + 8 <= len;) {
		u32 ino = get_le32(data + at), rec = get_le16(data + at + 4), n = data[at + 6];
		struct fs_entry ent = {.name = name, .node = {.id = ino}};
		int rc;

		if (len == 65536 &&
		        (rec == 0 || rec == 65535)) /* one entry that is a whole block of 64 KiB */
			rec = 65536;
		if (rec < 8 || rec % 4 || rec > len - at || 8 + n > rec)
			return -EUCLEAN;
		memcpy(name, data + at + 8, n);
		name[n] = 0;
		at += rec;
		if (ino == 0 || n == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (memchr(name, 0, n) || memchr(name, '/', n))
			return -EUCLEAN;
		rc = fn(opaque, &ent);
		if (rc)
			return rc;
	}
	return 0;
}

/* The number of the parent comes first, then entries; those of the attribute are for themselves. */
static int each_inline(struct ext *x, fs_entry_fn fn, void *opaque)
{
	u8 head[EXT_I_BLOCK_LEN - 4], *copy;
	const u8 *rest = NULL;
	u32 have;
	int rc = inline_rest(x, &rest, &have);

	if (rc < 0)
		return rc;
	memcpy(head, x->inode + EXT_I_BLOCK + 4, sizeof(head));
	copy = malloc(have + 1);
	if (!copy)
		return -ENOMEM;
	if (have)
		memcpy(copy, rest, have);
	rc = each_in_block(head, sizeof(head), fn, opaque);
	if (rc == 0)
		rc = each_in_block(copy, have, fn, opaque);
	free(copy);
	return rc;
}

static int each_block(struct ext *x, const struct fs_node *dir, u8 *data, fs_entry_fn fn, void *opaque)
{
	int rc = 0;

	for (u64 off = 0; off < dir->size && rc == 0; off += x->block_size) {
		u64 block, count;

		/* fn may have looked at other inodes */
		rc = ext_load_inode(x, (u32)dir->id);
		if (rc == 0)
			rc = fs_charge(x->f, x->block_size);
		if (rc == 0)
			rc = ext_map(x, off / x->block_size, &block, &count);
		if (rc == 0)
			rc = block ? ext_read(x, data, x->block_size, block, 0) : -EUCLEAN;
		if (rc == 0)
			rc = each_in_block(data, x->block_size, fn, opaque);
	}
	return rc;
}

static int ext_each(struct fs *f, const struct fs_node *dir, fs_entry_fn fn, void *opaque)
{
	struct ext *x = ext_of(f);
	int rc = ext_load_inode(x, (u32)dir->id);
	u8 *data;

	if (rc < 0)
		return rc;
	if (inode_flags(x) & EXT_FLAG_ENCRYPT)
		return -EOPNOTSUPP;
	if (inode_flags(x) & EXT_FLAG_INLINE)
		return each_inline(x, fn, opaque);
	if (dir->size > FS_DIR_MAX || dir->size % x->block_size)
		return -EUCLEAN;
	data = malloc(x->block_size);
	if (!data)
		return -ENOMEM;
	rc = each_block(x, dir, data, fn, opaque);
	free(data);
	return rc;
}

/* --- the superblock --- */

static void parse_super(struct ext *x, const u8 *sb)
{
	bool old = get_le32(sb + 0x4c) == 0; /* revision 0 has no features */

	x->compat = old ? 0 : get_le32(sb + 0x5c);
	x->incompat = old ? 0 : get_le32(sb + 0x60);
	x->ro_compat = old ? 0 : get_le32(sb + 0x64);
	x->inode_size = old ? 128 : get_le16(sb + 0x58);
	x->block_size = get_le32(sb + 0x18) <= 6 ? 1024u << get_le32(sb + 0x18) : 0;
	x->inodes = get_le32(sb);
	x->blocks = get_le32(sb + 4);
	x->first_data_block = get_le32(sb + 0x14);
	x->blocks_per_group = get_le32(sb + 0x20);
	x->inodes_per_group = get_le32(sb + 0x28);
	x->first_meta_bg = get_le32(sb + 0x104);
	x->backup_bg[0] = get_le32(sb + 0x24c);
	x->backup_bg[1] = get_le32(sb + 0x250);
	x->desc_size = 32;
	if (x->incompat & EXT_FEATURE_64BIT) {
		x->blocks |= (u64)get_le32(sb + 0x150) << 32;
		x->desc_size = get_le16(sb + 0xfe);
	}
}

static bool sane(const struct ext *x)
{
	return x->block_size && is_power_of_two(x->inode_size) && x->inode_size >= 128 &&
	       x->inode_size <= x->block_size && is_power_of_two(x->desc_size) && x->desc_size >= 32 &&
	       x->desc_size <= 1024 && x->blocks_per_group && x->inodes_per_group &&
	       x->inodes_per_group <= 8 * x->block_size && x->first_data_block <= 1 &&
	       x->blocks > x->first_data_block && x->blocks <= UINT64_MAX / EXT_BLOCK_MAX;
}

static int check_super(struct ext *x, struct err *e)
{
	u32 unknown = x->incompat & ~INCOMPAT_KNOWN;

	if (unknown)
		return err_set(e, -EPROTONOSUPPORT,
		        "ext4 with features that are not known here (incompat 0x%x)", unknown);
	if (!sane(x))
		return err_set(e, -EUCLEAN, "damaged ext superblock");
	if (x->blocks > x->f->dev.len / x->block_size)
		return err_set(e, -EUCLEAN,
		        "the ext file system has %llu blocks of %u bytes, its partition only %llu",
		        (unsigned long long)x->blocks, x->block_size,
		        (unsigned long long)(x->f->dev.len / x->block_size));
	if ((u64)x->inodes > (x->blocks / x->blocks_per_group + 1) * x->inodes_per_group)
		return err_set(e, -EUCLEAN, "damaged ext superblock");
	return 0;
}

static const char *kind_of(const struct ext *x)
{
	if (x->incompat & (EXT_FEATURE_EXTENTS | EXT_FEATURE_64BIT | EXT_FEATURE_INLINE_DATA))
		return "ext4";
	return x->compat & EXT_FEATURE_JOURNAL ? "ext3" : "ext2";
}

static void ext_close(struct fs *f)
{
	struct ext *x = ext_of(f);

	for (unsigned i = 0; i < EXT_LEVELS; i++)
		free(x->map[i].data);
	free(x->extent.data);
	free(x->desc.data);
	free(x->inode);
	free(x->newer);
	free(x);
}

static int start(struct ext *x, const u8 *sb, struct err *e)
{
	struct fs_node root;
	int rc = check_super(x, e);

	if (rc < 0)
		return rc;
	x->inode = malloc(x->inode_size);
	if (!x->inode)
		return err_set(e, -ENOMEM, "out of memory");
	if (x->incompat & EXT_FEATURE_RECOVER) {
		rc = ext_journal(x, sb);
		if (rc < 0)
			return err_errno(e, rc, "the journal of the %s file system", kind_of(x));
	}
	rc = ext_root(x->f, &root);
	if (rc == 0 && root.type != FS_DIR)
		rc = -EUCLEAN;
	return rc < 0 ? err_errno(e, rc, "the root directory of the %s file system", kind_of(x)) : 0;
}

static int ext_open(struct fs *f, struct err *e)
{
	u8 sb[SB_LEN];
	struct ext *x;
	int rc = fs_dev_read(&f->dev, sb, sizeof(sb), SB_OFFSET);

	if (rc == -EUCLEAN || (rc == 0 && get_le16(sb + 0x38) != SB_MAGIC))
		return -ENOTSUP;
	if (rc < 0)
		return err_errno(e, rc, "superblock");
	if (get_le32(sb + 0x60) & 8)
		return -ENOTSUP; /* a journal device */
	f->priv = x = calloc(1, sizeof(*x));
	if (!x)
		return err_set(e, -ENOMEM, "out of memory");
	x->f = f;
	parse_super(x, sb);
	f->kind = kind_of(x);
	field_text(f->label, sizeof(f->label), sb + 0x78, 16);
	uuid_text(f->uuid, sb + 0x68, false);
	rc = start(x, sb, e);
	if (rc < 0)
		ext_close(f);
	return rc;
}

const struct fs_ops fs_ext = {
        .name = "ext",
        .open = ext_open,
        .close = ext_close,
        .root = ext_root,
        .each = ext_each,
        .load = ext_node,
        .read = ext_file_read,
        .readlink = ext_readlink,
};
