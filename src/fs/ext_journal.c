/*
 * The journal of a file system that was not unmounted: nothing is written here, so what the kernel would copy
 * to its place is read from the log instead. Format: the Linux kernel's filesystems/ext4, "Journal (jbd2)".
 *
 * Three walks over the log, as in the kernel: how many transactions are complete, which blocks were revoked,
 * where the newest copy of each other block is. Fast commits are not used: the state is that of the last
 * whole commit.
 */
#include "fs/ext_int.h"

#include <errno.h>
#include <stdlib.h>

#define MAGIC 0xc03b3998u
#define DESCRIPTOR 1u
#define COMMIT 2u
#define REVOKE 5u
#define HEADER 12u

#define LOG_64BIT 0x2u /* incompat */
#define LOG_CSUM_V2 0x8u
#define LOG_CSUM_V3 0x10u
#define LOG_FAST_COMMIT 0x20u
#define LOG_KNOWN 0x3fu
#define FAST_COMMIT_BLOCKS 256u

#define TAG_ESCAPED 1u
#define TAG_SAME_UUID 2u
#define TAG_LAST 8u

#define LOG_BLOCKS_MAX (1u << 20)

struct revoked {
	u64 block;
	u32 sequence;
};

struct copy {
	struct ext_newer n;
	u32 order;
};

struct log {
	struct ext *x;
	u32 ino;
	u32 first, end; /* the log is a ring of [first, end) */
	u32 sequence, start, incompat;
	u32 complete; /* sequence behind the last complete transaction */
	struct revoked *revoked;
	u32 nrevoked;
	struct copy *copy;
	u32 ncopy;
	u8 *block; /* the log block at hand */
};

typedef int (*log_fn)(struct log *l, u32 sequence, u32 pos);

static u32 next_pos(const struct log *l, u32 pos)
{
	return pos + 1 < l->end ? pos + 1 : l->first;
}

/* The block of the file system that a log block is. */
static int log_place(struct log *l, u32 pos, u64 *block)
{
	u64 count;
	int rc = ext_load_inode(l->x, l->ino);

	if (rc == 0)
		rc = ext_map(l->x, pos, block, &count);
	return rc == 0 && *block == 0 ? -EUCLEAN : rc;
}

static int log_read(struct log *l, u32 pos)
{
	u64 block = 0;
	int rc = log_place(l, pos, &block);

	return rc < 0 ? rc : ext_read(l->x, l->block, l->x->block_size, block, 0);
}

/* --- descriptors --- */

static u32 tag_size(const struct log *l)
{
	if (l->incompat & LOG_CSUM_V3)
		return 16;
	return 8 + (l->incompat & LOG_64BIT ? 4 : 0) + (l->incompat & LOG_CSUM_V2 ? 2 : 0);
}

struct tag {
	u64 block;
	u32 flags;
};

/* The tag at *at of the descriptor in memory; moves *at. false: there is no more. */
static bool next_tag(const struct log *l, u32 *at, struct tag *t)
{
	u32 size = tag_size(l), room = l->x->block_size;
	const u8 *p = l->block + *at;

	if (l->incompat & (LOG_CSUM_V2 | LOG_CSUM_V3))
		room -= 4;
	if (*at + size > room)
		return false;
	t->block = get_be32(p);
	t->flags = l->incompat & LOG_CSUM_V3 ? get_be32(p + 4) : get_be16(p + 6);
	if (l->incompat & LOG_64BIT)
		t->block |= (u64)get_be32(p + 8) << 32;
	*at += size + (t->flags & TAG_SAME_UUID ? 0 : 16);
	return true;
}

static u32 count_tags(const struct log *l)
{
	u32 at = HEADER, n = 0;
	struct tag t;

	while (next_tag(l, &at, &t)) {
		n++;
		if (t.flags & TAG_LAST)
			break;
	}
	return n;
}

/* --- the walks --- */

/* Calls fn for each descriptor and revoke block, up to sequence end or, with end 0, up to where the log
 * breaks off. */
static int walk(struct log *l, u32 end, log_fn fn)
{
	u32 pos = l->start, sequence = l->sequence;

	for (u32 seen = 0; seen < l->end && !(end && sequence == end); seen++) {
		u32 type, skip = 0;
		int rc = log_read(l, pos);

		if (rc < 0)
			return rc;
		if (get_be32(l->block) != MAGIC || get_be32(l->block + 8) != sequence)
			break;
		type = get_be32(l->block + 4);
		if (type == DESCRIPTOR)
			skip = count_tags(l);
		else if (type == COMMIT)
			sequence++;
		else if (type != REVOKE)
			break;
		rc = fn && type != COMMIT ? fn(l, sequence, pos) : 0;
		if (rc < 0)
			return rc;
		for (seen += skip; skip; skip--)
			pos = next_pos(l, pos);
		pos = next_pos(l, pos);
	}
	l->complete = sequence;
	return 0;
}

/* Room for n more in an array that grows by doubling. */
static int more(void **array, size_t size, u32 have, u32 n)
{
	void *bigger;

	if (have + n > 4 * LOG_BLOCKS_MAX)
		return -EUCLEAN;
	bigger = reallocarray(*array, have + n, size);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	return 0;
}

static int take_revokes(struct log *l, u32 sequence, u32 pos)
{
	u32 width = l->incompat & LOG_64BIT ? 8 : 4, used = get_be32(l->block + HEADER);
	int rc;

	if (get_be32(l->block + 4) != REVOKE)
		return 0;
	if (used < HEADER + 4 || used > l->x->block_size)
		return -EUCLEAN;
	rc = more((void **)&l->revoked, sizeof(*l->revoked), l->nrevoked, (used - HEADER - 4) / width);
	for (u32 at = HEADER + 4; rc == 0 && at + width <= used; at += width) {
		u64 block = get_be32(l->block + at);

		if (width == 8)
			block = block << 32 | get_be32(l->block + at + 4);
		l->revoked[l->nrevoked++] = (struct revoked){block, sequence};
	}
	return rc;
}

/* Is block revoked in this transaction or a later one? The list is sorted: by block, then the latest first.
 */
static bool is_revoked(const struct log *l, u64 block, u32 sequence)
{
	u32 low = 0, high = l->nrevoked;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (l->revoked[mid].block < block)
			low = mid + 1;
		else
			high = mid;
	}
	return low < l->nrevoked && l->revoked[low].block == block &&
	       (s32)(l->revoked[low].sequence - sequence) >= 0;
}

static int take_copies(struct log *l, u32 sequence, u32 pos)
{
	u32 at = HEADER, n = count_tags(l);
	struct tag t;
	int rc;

	if (get_be32(l->block + 4) != DESCRIPTOR)
		return 0;
	rc = more((void **)&l->copy, sizeof(*l->copy), l->ncopy, n);
	for (; rc == 0 && n && next_tag(l, &at, &t); n--) {
		struct copy c = {
		        .n = {.block = t.block, .escaped = t.flags & TAG_ESCAPED}, .order = l->ncopy};

		pos = next_pos(l, pos);
		if (t.block >= l->x->blocks)
			return -EUCLEAN;
		if (is_revoked(l, t.block, sequence))
			continue;
		rc = log_place(l, pos, &c.n.copy);
		if (rc == 0)
			l->copy[l->ncopy++] = c;
	}
	return rc;
}

static int compare_revoked(const void *a, const void *b)
{
	const struct revoked *x = a, *y = b;

	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return (s32)(y->sequence - x->sequence) > 0 ? 1 : x->sequence == y->sequence ? 0 : -1;
}

static int compare_copy(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;

	if (x->n.block != y->n.block)
		return x->n.block < y->n.block ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int replay(struct log *l)
{
	int rc = walk(l, 0, NULL);
	u32 end = l->complete;

	if (rc < 0 || end == l->sequence)
		return rc;
	rc = walk(l, end, take_revokes);
	if (rc < 0)
		return rc;
	if (l->nrevoked)
		qsort(l->revoked, l->nrevoked, sizeof(*l->revoked), compare_revoked);
	rc = walk(l, end, take_copies);
	if (rc == 0 && l->ncopy)
		qsort(l->copy, l->ncopy, sizeof(*l->copy), compare_copy);
	return rc;
}

/* Of several copies of a block the last one counts. */
static int publish(struct log *l)
{
	struct ext *x = l->x;
	u32 n = 0;

	if (!l->ncopy)
		return 0;
	x->newer = calloc(l->ncopy, sizeof(*x->newer));
	if (!x->newer)
		return -ENOMEM;
	for (u32 i = 0; i < l->ncopy; i++) {
		if (i + 1 == l->ncopy || l->copy[i + 1].n.block != l->copy[i].n.block)
			x->newer[n++] = l->copy[i].n;
	}
	x->nnewer = n;
	/* what was read so far is old */
	x->ino = 0;
	x->extent.block = x->desc.block = 0;
	for (unsigned i = 0; i < EXT_LEVELS; i++)
		x->map[i].block = 0;
	return 0;
}

static int parse_log_super(struct log *l)
{
	const u8 *sb = l->block;
	u32 type = get_be32(sb + 4), fast = 0;

	if (get_be32(sb) != MAGIC || (type != 3 && type != 4) || get_be32(sb + 12) != l->x->block_size)
		return -EUCLEAN;
	l->incompat = type == 4 ? get_be32(sb + 40) : 0;
	if (l->incompat & ~LOG_KNOWN)
		return -EPROTONOSUPPORT;
	if (l->incompat & LOG_FAST_COMMIT)
		fast = get_be32(sb + 0x54) ? get_be32(sb + 0x54) : FAST_COMMIT_BLOCKS;
	l->end = get_be32(sb + 16);
	l->first = get_be32(sb + 20);
	l->sequence = get_be32(sb + 24);
	l->start = get_be32(sb + 28);
	if (l->end > LOG_BLOCKS_MAX || l->first == 0 || fast >= l->end || l->first >= l->end - fast)
		return -EUCLEAN;
	l->end -= fast;
	return l->start == 0 || (l->start >= l->first && l->start < l->end) ? 0 : -EUCLEAN;
}

int ext_journal(struct ext *x, const u8 sb[1024])
{
	struct log l = {.x = x, .ino = get_le32(sb + 0xe0)};
	int rc;

	if (l.ino == 0) /* on another device: what it has is out of reach */
		return 0;
	l.block = malloc(x->block_size);
	if (!l.block)
		return -ENOMEM;
	rc = log_read(&l, 0);
	if (rc == 0)
		rc = parse_log_super(&l);
	if (rc == 0 && l.start)
		rc = replay(&l);
	if (rc == 0)
		rc = publish(&l);
	free(l.block);
	free(l.revoked);
	free(l.copy);
	return rc;
}
