/*
 * Opening images: sidecar, table, segments and a dead process's journal of arbitrary content, on the file
 * system in memory. What opens is used; after it was closed it must open again, and read as it did before.
 *
 * Input: a byte of flags, lengths of sidecar (1 byte), table, and segments 0 and 1 (2 bytes each), then
 * these; the rest are changes of 16 bytes each for the journal, which are recorded as the layer does it, and,
 * when there is a part of one left, bytes that are written over the journal's header.
 */
#include "block/image.h"
#include "block/journal.h"

#include "../tests/fault/memfs.h"
#include "base/log.h"
#include "standalone.h"

#include <fcntl.h>
#include <stdlib.h>

#define DISK "d"
#define READ_MAX (256 * KiB)

struct input {
	const u8 *p;
	size_t n;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static const u8 *take(struct input *in, size_t n)
{
	const u8 *p = in->p;
	in->p += n;
	in->n -= n;
	return p;
}

static size_t take_length(struct input *in, size_t bytes)
{
	size_t v = 0;
	if (in->n < bytes)
		return 0;
	for (size_t i = 0; i < bytes; i++)
		v |= (size_t)in->p[i] << 8 * i;
	take(in, bytes);
	return v;
}

static void put_file(struct memfs *fs, const char *name, struct input *in, size_t len)
{
	len = MIN(len, in->n);
	int fd = fs->io.ops->open(&fs->io, name, O_RDWR | O_CREAT, 0600);
	check(fd >= 0 && hostio_write(&fs->io, fd, take(in, len), len, 0) == 0);
	fs->io.ops->close(&fs->io, fd);
}

static void put_journal(struct memfs *fs, struct input *in)
{
	struct journal j;
	u64 gen = 1;
	u32 pos = 0;
	check(journal_create(&j, &fs->io, DISK ".journal", 0) == 0);
	for (; in->n >= 16 && pos < 64; pos++) {
		const u8 *p = take(in, 16);
		struct journal_change c = {get_le32(p), get_le32(p + 4), get_le32(p + 8), get_le16(p + 12)};
		c.n = c.n % JOURNAL_RUN + 1;
		gen += p[15] == 0xff && gen == 1;
		check(journal_append(&j, gen, pos, &c, 1) == 0);
	}
	if (in->n)
		check(hostio_write(&fs->io, j.fd, in->p, MIN(in->n, 15), 40) == 0);
	journal_close(&j, false);
}

static void use(struct block *b)
{
	static u8 buf[8192];
	u64 size = block_size(b), rng = size;
	memset(buf, 0x5a, sizeof(buf));
	for (int i = 0; i < 16; i++) {
		u64 off = rng_next(&rng) % size, len = MIN(size - off, 1 + rng_below(&rng, sizeof(buf)));
		switch (i % 4) {
		case 0: block_pwrite(b, buf, len, off); break;
		case 1: block_discard(b, off, len); break;
		case 2: block_write_zeroes(b, off, len, i & 4); break;
		default: block_flush(b); break;
		}
	}
}

static struct block *open_disk(struct memfs *fs, const struct image_spec *s)
{
	struct err e = {0};
	struct block *b = NULL;
	if (image_open(&b, s, IMAGE_QUIET | IMAGE_EAGER, &fs->io, &e) < 0)
		check(e.text[0] != 0);
	return b;
}

static void try_disk(struct memfs *fs, const struct image_spec *s)
{
	static u8 before[READ_MAX], after[READ_MAX];
	struct block *b = open_disk(fs, s);
	if (!b)
		return;
	use(b);
	u64 len = MIN(block_size(b), READ_MAX);
	bool good = block_pread(b, before, len, 0) == 0;
	good = block_close(b) == 0 && good;
	check(memfs_open_files(fs) == 0);
	b = open_disk(fs, s);
	check(b != NULL);
	check(!good || (block_pread(b, after, len, 0) == 0 && memcmp(before, after, len) == 0));
	block_close(b);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	static const char *const name[] = {DISK ".meta", DISK ".lut", DISK ".0000", DISK ".0001"};
	struct input in = {data, len};
	struct image_spec s = {.path = DISK};
	struct memfs fs;
	log_set_level(LOG_ERROR); /* of warnings there would be many */
	u8 flags = (u8)take_length(&in, 1);
	size_t part[4] = {take_length(&in, 1), take_length(&in, 2), take_length(&in, 2), take_length(&in, 2)};
	memfs_init(&fs, 1);
	for (u32 i = 0; i < ARRAY_SIZE(name); i++)
		if (!(flags & BIT(i)))
			put_file(&fs, i == 2 && flags & 0x20 ? DISK : name[i], &in, part[i]);
	if (flags & 0x10) /* an image of the original, which has no sidecar */
		s = (struct image_spec){
		        .path = DISK, .size = 64 * KiB, .split = 32 * KiB, .logical = 4096, .sparse = true};
	s.ro = flags & 0x40;
	if (!(flags & 0x80))
		put_journal(&fs, &in);
	try_disk(&fs, &s);
	memfs_fini(&fs);
	return 0;
}

static size_t put(u8 *buf, size_t at, const void *p, size_t n)
{
	memcpy(buf + at, p, n);
	return at + n;
}

/* Two segments of 8 sectors, three of which are there; one of the changes is as the layer makes it. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const char meta[] =
	        "xhyve-image 1\nid 1f2e3d4c5b6a79\nsize 65536\nsplit 32768\nsectorsize 4096/4096\n"
	        "sparse 1\n";
	static const u8 flags[] = {0, 0x11, 0x40, 0x80};
	u8 lut[64], change[16] = {2};
	size_t text = sizeof(meta) - 1, at = 8;
	if (n >= ARRAY_SIZE(flags) || cap < 16384)
		return 0;
	memset(lut, 0xff, sizeof(lut));
	put_le32(lut, 0);
	put_le32(lut + 12, 1);
	put_le32(lut + 32, 0);
	buf[0] = flags[n];
	buf[1] = (u8)text;
	put_le16(buf + 2, sizeof(lut));
	put_le16(buf + 4, 8192);
	put_le16(buf + 6, 4096);
	if (!(flags[n] & 1))
		at = put(buf, at, meta, text);
	at = put(buf, at, lut, sizeof(lut));
	memset(buf + at, 0x41, 12288);
	at += 12288;
	put_le32(change + 4, 0xffffffff);
	put_le32(change + 8, 2);
	return put(buf, at, change, sizeof(change));
}
