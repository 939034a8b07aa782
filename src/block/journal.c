/*
 * The journal's file: a header page and two areas of 32-byte records. Records never cross a page,
 * so that a process killed inside a write leaves whole ones; the check is for everything else.
 */
#include "block/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define AREA_LEN (JOURNAL_RECORDS * sizeof(struct record))
#define HEADER_LEN 4096u
#define APPEND_MAX 128u
#define RUN_SHIFT 48 /* of a record's run: more sectors than 10 000 segments can have */

static const char magic[16] = "xhyve journal 1\n";

struct header {
	char magic[16];
	u8 boot_id[16];
	u64 nonce;     /* of this session's records */
	u64 committed; /* newest generation that is in the table's file */
};
static_assert(sizeof(struct header) == 48, "file format");

struct record {
	u64 run; /* the first sector, and from bit RUN_SHIFT on how many follow it */
	u32 before, after;
	u64 gen;
	u64 check;
};
static_assert(sizeof(struct record) == 32, "file format");

static u64 record_check(const struct record *r, u64 nonce)
{
	u64 h = nonce ^ 0x9e3779b97f4a7c15ull;
	const u64 word[3] = {r->run, (u64)r->before << 32 | r->after, r->gen};
	for (int i = 0; i < 3; i++) {
		h = (h ^ word[i]) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return h;
}

static u64 area_offset(u64 gen)
{
	return HEADER_LEN + (gen & 1) * AREA_LEN;
}

static int write_header(struct journal *j, u64 committed)
{
	struct header h = {.nonce = j->nonce, .committed = committed};
	memcpy(h.magic, magic, sizeof(magic));
	memcpy(h.boot_id, j->boot_id, sizeof(h.boot_id));
	return hostio_write(j->io, j->fd, &h, sizeof(h), 0);
}

/* Different for every session of a machine's life: records of an older one do not match. */
static u64 make_nonce(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return ((u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec) * 0x9e3779b97f4a7c15ull ^ (u64)getpid();
}

int journal_create(struct journal *j, const struct host_io *io, const char *path, u64 committed)
{
	*j = (struct journal){.io = io, .nonce = make_nonce()};
	snprintf(j->path, sizeof(j->path), "%s", path);
	j->fd = io->ops->open(io, path, O_RDWR | O_CREAT, 0660);
	if (j->fd < 0)
		return j->fd;
	/* the header first: it ends the validity of whatever records are there */
	int r = io->ops->boot_id(io, j->boot_id);
	if (r == 0)
		r = write_header(j, committed);
	if (r == 0) {
		r = io->ops->reserve(io, j->fd, HEADER_LEN + 2 * AREA_LEN);
		if (r == -EOPNOTSUPP)
			r = io->ops->truncate(io, j->fd, HEADER_LEN + 2 * AREA_LEN);
	}
	if (r < 0) {
		io->ops->close(io, j->fd);
		io->ops->unlink(io, path);
	}
	return r;
}

int journal_append(struct journal *j, u64 gen, u32 pos, const struct journal_change *c, u32 n)
{
	struct record rec[APPEND_MAX];
	int r = 0;
	while (n && r == 0) {
		u32 here = MIN(n, APPEND_MAX);
		for (u32 i = 0; i < here; i++) {
			u64 run = c[i].index | (u64)(c[i].n - 1) << RUN_SHIFT;
			rec[i] = (struct record){run, c[i].before, c[i].after, gen, 0};
			rec[i].check = record_check(&rec[i], j->nonce);
		}
		r = hostio_write(
		        j->io, j->fd, rec, here * sizeof(rec[0]), area_offset(gen) + pos * sizeof(rec[0]));
		c += here;
		pos += here;
		n -= here;
	}
	return r;
}

int journal_committed(struct journal *j, u64 gen)
{
	return hostio_write(j->io, j->fd, &gen, sizeof(gen), offsetof(struct header, committed));
}

void journal_close(struct journal *j, bool clean)
{
	if (clean)
		j->io->ops->unlink(j->io, j->path);
	j->io->ops->close(j->io, j->fd);
}

/* Records of one area that count, as many as there are before the first of another generation. */
static int replay_area(const struct header *h, u64 gen, const struct record *rec,
        int (*fn)(void *opaque, const struct journal_change *c), void *opaque)
{
	for (u32 i = 0; i < JOURNAL_RECORDS; i++) {
		if (rec[i].gen != gen || rec[i].check != record_check(&rec[i], h->nonce))
			continue;
		struct journal_change c = {rec[i].run & (BIT64(RUN_SHIFT) - 1), rec[i].before, rec[i].after,
		        (u32)(rec[i].run >> RUN_SHIFT) + 1};
		int r = fn(opaque, &c);
		if (r < 0)
			return r;
	}
	return 0;
}

static int replay_file(const struct host_io *io, int fd,
        int (*fn)(void *opaque, const struct journal_change *c), void *opaque)
{
	struct header h;
	u8 boot[16];
	int r = hostio_read(io, fd, &h, sizeof(h), 0);
	if (r < 0)
		return r;
	if (memcmp(h.magic, magic, sizeof(magic)) != 0 || io->ops->boot_id(io, boot) < 0 ||
	        memcmp(boot, h.boot_id, sizeof(boot)) != 0)
		return 0;
	struct record *rec = malloc(AREA_LEN);
	if (!rec)
		return -ENOMEM;
	for (u64 gen = h.committed + 1; gen <= h.committed + 2 && r == 0; gen++) {
		r = hostio_read(io, fd, rec, AREA_LEN, area_offset(gen));
		if (r == 0)
			r = replay_area(&h, gen, rec, fn, opaque);
	}
	free(rec);
	return r;
}

int journal_replay(const struct host_io *io, const char *path,
        int (*fn)(void *opaque, const struct journal_change *c), void *opaque)
{
	int fd = io->ops->open(io, path, O_RDONLY, 0);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	int r = replay_file(io, fd, fn, opaque);
	io->ops->close(io, fd);
	return r < 0 ? r : 1;
}
