/*
 * A host file system in memory behind the table of block/hostio.h, for tests of what survives.
 *
 * Files are sparse arrays of 512-byte pieces that are shared between copies until one is written, so
 * that a copy of a whole file system costs a few microseconds. Every change is recorded with the
 * position in the record at which its call began (calls of several threads overlap).
 *
 * A file system that tracks durability also knows what a power cut would leave: of each file the
 * content at the last datasync and every version of every piece, and every size, since then; of the
 * (only) directory the entries at the last sync_dir and the changes since. memfs_apply replays a
 * record, change by change, into such a file system; memfs_copy then gives what a kill leaves, and
 * struct memfs_cut all or many of the states that a power cut leaves.
 */
#pragma once

#include "block/hostio.h"
#include <pthread.h>

#define MF_PIECE 512u
#define MF_NAME 64

struct mf_page {
	u32 ref;
	u8 data[MF_PIECE];
};

struct mf_piece {
	u64 idx;
	struct mf_page *page;
};

struct mf_content {
	u64 size;
	u64 ahead;          /* behind the size there is storage up to here */
	struct mf_piece *v; /* sorted; what is not here is a hole */
	u32 n, cap;
};

struct mf_version { /* of a piece (a hole: page NULL), or of the size, or of ahead */
	bool is_size, is_ahead;
	u32 pos;
	u64 idx; /* or the size, or ahead */
	struct mf_page *page;
};

struct mf_node {
	struct mf_content now, durable;
	struct mf_version *hist; /* since the last sync */
	u32 nhist, hist_cap;
	int lock; /* 0, -1 exclusive, or how many share it */
};

struct mf_entry {
	char name[MF_NAME];
	u32 node;
};

struct mf_dir {
	struct mf_entry *v;
	u32 n, cap;
};

struct mf_dir_change { /* one name gets bound, another one goes */
	u32 pos, node;
	char bind[MF_NAME], drop[MF_NAME];
};

struct mf_fd {
	bool used, writable;
	int lock; /* as mf_node.lock, this one's part */
	u32 node;
};

enum memfs_kind {
	MF_CREATE,
	MF_WRITE,
	MF_SYNC,
	MF_SYNC_LOST, /* failed: what it should have written never reaches the disk */
	MF_TRUNCATE,
	MF_PUNCH,
	MF_ZERO,
	MF_RESERVE,
	MF_AHEAD,
	MF_RENAME,
	MF_UNLINK,
	MF_SYNC_DIR,
};

struct memfs_op {
	enum memfs_kind kind;
	u32 begin; /* operations that were recorded when the call began */
	u32 node;
	u64 off, len;
	u8 *data;
	char from[MF_NAME], to[MF_NAME];
};

enum memfs_fault { FAULT_NONE, FAULT_ERROR, FAULT_SHORT, FAULT_SYNC };

struct memfs {
	struct host_io io;
	pthread_mutex_t lock;
	u8 boot[16];
	struct mf_node *node;
	u32 nnode, node_cap;
	struct mf_dir now, durable;
	struct mf_dir_change *dir_hist;
	u32 ndir_hist, dir_cap;
	struct mf_fd fd[64];
	bool track, record, yield;
	struct memfs_op *op;
	u32 nop, op_cap;
	/* failures: of the fault_at-th call (from 1) that the kind fits, and of all that follow if sticky */
	enum memfs_fault fault;
	int fault_error;
	bool fault_sticky;
	u64 fault_at, calls, faults;
	bool dead; /* the process was killed: its calls fail and leave no trace */
	u64 space; /* pieces that may be stored; 0: no limit */
};

void memfs_init(struct memfs *fs, u8 boot);
void memfs_fini(struct memfs *fs);
/* What a kill leaves: files and names as they are now, all descriptors gone, same boot. */
void memfs_copy(struct memfs *to, const struct memfs *from);

/* Number of changes recorded so far. */
u32 memfs_pos(struct memfs *fs);
/* Replays a change, of a write only the first pieces. pos: its number in the record. */
void memfs_apply(struct memfs *fs, const struct memfs_op *op, u32 pos, u64 pieces);
/* Pieces of a write that a kill can separate; 1 for anything else. */
u64 memfs_op_pieces(const struct memfs_op *op);
void memfs_drop_record(struct memfs *fs);
/* Forgets what is not durable yet, as if all of it were. */
void memfs_settle(struct memfs *fs);

/*
 * The process that has files open dies, or is gone then: whatever it still calls fails. What it wrote
 * stays in the page cache, as far from durable as before.
 */
void memfs_kill(struct memfs *fs);
void memfs_revive(struct memfs *fs);

/* Direct looks at files. -1: no such file. */
s64 memfs_size(const struct memfs *fs, const char *name);
u64 memfs_ahead(const struct memfs *fs, const char *name); /* bytes of storage behind the end */
void memfs_peek(const struct memfs *fs, const char *name, u64 off, void *buf, u64 len);
u32 memfs_names(const struct memfs *fs);
u32 memfs_open_files(const struct memfs *fs);

/* Deterministic random numbers. */
static inline u64 rng_next(u64 *s)
{
	u64 z = (*s += 0x9e3779b97f4a7c15ull);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline u32 rng_below(u64 *s, u64 n)
{
	return (u32)(rng_next(s) % n);
}

#define CUT_SLOTS 4096

struct mf_choice {
	u32 node, n, cap; /* n possible values */
	enum { CHOOSE_PIECE, CHOOSE_SIZE, CHOOSE_AHEAD, CHOOSE_DIR } what;
	bool table, weak;
	u64 idx;
	struct mf_page **page;
	u64 size[3];
	u32 digit;
};

/* All the states after a power cut, or many of them. */
struct memfs_cut {
	const struct memfs *fs;
	u64 *rng;
	u64 product, step, steps; /* product 0: too many */
	u32 n;
	struct mf_choice *c;
	u64 randoms;
	bool ordered; /* changes of the directory reach the disk in order, as file systems with a journal do
	                 it */
	bool garbage; /* what was never written reads as garbage where a file has grown */
};

/* limit: up to so many states all are given; else the marked ones and randoms more. */
void memfs_cut_begin(struct memfs_cut *c, const struct memfs *fs, u64 limit, u64 randoms, u64 *rng);
bool memfs_cut_next(struct memfs_cut *c, struct memfs *out, u8 boot);
void memfs_cut_end(struct memfs_cut *c);
