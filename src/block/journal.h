/*
 * PATH.journal: what makes acknowledged writes to a sparse image survive the death of the process.
 *
 * A write into a fresh slot is acknowledged long before the table on the host names that slot: the
 * table may only be written after the slot's data is durable, which is a flush's business. When the
 * process dies in between, the data is safe in the host's page cache, but nobody knows where. So every
 * change of the live table is appended here before it is acknowledged. Nothing in this file is ever
 * synced: like the data it lives in the page cache of a running kernel. The header names the boot of that
 * kernel; a journal of another boot (after a power cut) says nothing about what reached the disk and is
 * ignored, and so the strict order of data and table is untouched.
 *
 * A record is a run of neighbouring sectors that were changed alike: absent ones that got neighbouring slots,
 * or the other way round. Records belong to generations of the sparse layer's commits. Two areas take turns:
 * generation g uses area g & 1. The header says which generation is in the table's file already. A record
 * counts when its check matches, and its generation is newer than that.
 *
 * Private to the block room. append: any thread; everything else: one at a time.
 */
#pragma once

#include "block/hostio.h"

#define JOURNAL_RECORDS 32768u /* in one area: the most that a generation can hold */
#define JOURNAL_RUN 65536u     /* sectors of a record */

struct journal {
	const struct host_io *io;
	int fd;
	u64 nonce;
	u8 boot_id[16]; /* does not change while we run, and workers may open no file */
	char path[3104];
};

/*
 * Sectors index.. up to n of them, n <= JOURNAL_RUN. before, after: the first one's entry, absent for all or
 * slots that follow each other.
 */
struct journal_change {
	u64 index;
	u32 before, after;
	u32 n;
};

/* Starts an empty journal: generations > committed may be appended. -errno leaves no file. */
int journal_create(struct journal *j, const struct host_io *io, const char *path, u64 committed);
/* n records at positions pos.. of the generation's area. */
int journal_append(struct journal *j, u64 gen, u32 pos, const struct journal_change *c, u32 n);
int journal_committed(struct journal *j, u64 gen);
/* Closes; removes the file when the table has everything. */
void journal_close(struct journal *j, bool clean);

/*
 * Calls fn for each valid record of the journal at path, in order, if it is of this boot of the host; fn < 0
 * ends it. 1 when there is a journal, whether it counted or not; 0 when there is none; -errno.
 */
int journal_replay(const struct host_io *io, const char *path,
        int (*fn)(void *opaque, const struct journal_change *c), void *opaque);
