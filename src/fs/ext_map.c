/*
 * Where the blocks of a file are: extent trees, and the older tables of indirect blocks.
 */
#include "fs/ext_int.h"

#include <errno.h>

#define EXTENT_MAGIC 0xf30au
#define EXTENT_DEPTH_MAX 5
#define EXTENT_LEN_INITIALIZED 32768u /* longer: allocated but not written, it reads as zeros */
#define ENTRY 12u

#define DIRECT 12u

static int check_run(const struct ext *x, u64 block, u64 count)
{
	return block < x->blocks && count <= x->blocks - block ? 0 : -EUCLEAN;
}

/* --- extents --- */

/* What a descent knows: the node at hand, and where the logical block behind its part of the file is. */
struct descent {
	const u8 *node;
	u32 room; /* bytes of node */
	unsigned depth;
	u64 end;
};

/* The last entry that begins at or before at; -1: none. Entries of both kinds begin with their block. */
static int find_entry(const struct descent *d, u64 at, unsigned entries)
{
	int found = -1;

	for (unsigned i = 0; i < entries && get_le32(d->node + ENTRY * (i + 1)) <= at; i++)
		found = (int)i;
	return found;
}

static int check_header(const struct descent *d, unsigned *entries)
{
	*entries = get_le16(d->node + 2);
	if (get_le16(d->node) != EXTENT_MAGIC || get_le16(d->node + 6) != d->depth)
		return -EUCLEAN;
	return ENTRY * (*entries + 1) <= d->room ? 0 : -EUCLEAN;
}

static int leaf(const struct ext *x, const u8 *extent, u64 at, u64 end, u64 *block, u64 *count)
{
	u64 first = get_le32(extent), len = get_le16(extent + 4);
	u64 start = get_le32(extent + 8) | (u64)get_le16(extent + 6) << 32;
	bool written = len <= EXTENT_LEN_INITIALIZED;

	if (!written)
		len -= EXTENT_LEN_INITIALIZED;
	*block = 0;
	if (at - first >= len) { /* behind it: a hole up to the next one */
		*count = end - at;
		return 0;
	}
	*count = MIN(len - (at - first), end - at);
	if (written)
		*block = start + (at - first);
	return written ? check_run(x, *block, *count) : 0;
}

static int hole(u64 at, u64 end, u64 *block, u64 *count)
{
	*block = 0;
	*count = end - at;
	return 0;
}

static int map_extents(struct ext *x, u64 at, u64 *block, u64 *count)
{
	struct descent d = {
	        x->inode + EXT_I_BLOCK, EXT_I_BLOCK_LEN, get_le16(x->inode + EXT_I_BLOCK + 6), 1ull << 32};

	if (at >= d.end || d.depth > EXTENT_DEPTH_MAX)
		return -EUCLEAN;
	for (;;) {
		unsigned entries;
		int rc = check_header(&d, &entries), i;
		const u8 *entry;

		if (rc < 0)
			return rc;
		i = find_entry(&d, at, entries);
		if (i + 1 < (int)entries)
			d.end = MIN(d.end, (u64)get_le32(d.node + ENTRY * ((unsigned)i + 2)));
		if (d.end <= at)
			return -EUCLEAN;
		if (i < 0)
			return hole(at, d.end, block, count);
		entry = d.node + ENTRY * ((unsigned)i + 1);
		if (d.depth == 0)
			return leaf(x, entry, at, d.end, block, count);
		rc = ext_load_block(x, &x->extent, get_le32(entry + 4) | (u64)get_le16(entry + 8) << 32);
		if (rc < 0)
			return rc;
		d = (struct descent){x->extent.data, x->block_size, d.depth - 1, d.end};
	}
}

/* --- indirect blocks --- */

/* The run that begins at entry i of n. */
static int table_run(const struct ext *x, const u8 *table, u64 i, u64 n, u64 *block, u64 *count)
{
	u32 first = get_le32(table + 4 * i);
	u64 k = 1;

	while (i + k < n && get_le32(table + 4 * (i + k)) == (first ? first + k : 0))
		k++;
	*block = first;
	*count = k;
	return first ? check_run(x, first, k) : 0;
}

static int map_indirect(struct ext *x, u64 at, u64 *block, u64 *count)
{
	const u8 *i_block = x->inode + EXT_I_BLOCK;
	u64 per = x->block_size / 4, span = per;
	unsigned level = 0;
	u32 table;

	if (at < DIRECT)
		return table_run(x, i_block, at, DIRECT, block, count);
	at -= DIRECT;
	for (; at >= span; span *= per) {
		at -= span;
		if (++level == EXT_LEVELS)
			return -EUCLEAN;
	}
	table = get_le32(i_block + 4 * (DIRECT + level));
	for (;; level--) {
		int rc;

		if (table == 0)
			return hole(at % span, span, block, count);
		rc = ext_load_block(x, &x->map[level], table);
		if (rc < 0)
			return rc;
		span /= per; /* blocks below one entry */
		if (level == 0)
			return table_run(x, x->map[0].data, at % per, per, block, count);
		table = get_le32(x->map[level].data + 4 * (at / span % per));
	}
}

int ext_map(struct ext *x, u64 at, u64 *block, u64 *count)
{
	if (get_le32(x->inode + EXT_FLAGS) & EXT_FLAG_EXTENTS)
		return map_extents(x, at, block, count);
	return map_indirect(x, at, block, count);
}
