/*
 * The search for damage in a sparse image, one segment after the other, in bounded memory: who names
 * which slot, which slots nobody names. check prints what is found, repair also acts on it.
 */
#pragma once

#include "img/spimage.h"

struct sp_shared {
	u32 slot;
	u64 sector; /* entry that names it, too */
	u64 first;  /* lowest entry that names it */
};

/* What a segment holds; filled by walk_segment before the first of the calls below. */
struct sp_count {
	u64 named;    /* entries that are present, past the end or not */
	u64 past_end; /* of them: slots at or behind the end of the file */
	u64 top;      /* 1 + highest slot inside the file that is named; 0: none */
};

struct walk {
	struct spimage *img;
	const struct img_ctx *ctx; /* for its stop */
	void *opaque;
	/* Each 0 or -errno with e filled, which ends the walk; NULL: not wanted. */
	int (*past_end)(struct walk *w, struct sp_segment *seg, u64 sector, u32 slot, struct err *e);
	/* In the order of the table, in groups. The callee may change the entries that are listed. */
	int (*shared)(
	        struct walk *w, struct sp_segment *seg, const struct sp_shared *s, size_t n, struct err *e);
	/* Storage in [off, off + len) of the file that no entry names. */
	int (*leak)(struct walk *w, struct sp_segment *seg, u64 off, u64 len, struct err *e);
	bool tally; /* shared entries are only counted (below), not looked up */
	struct sp_count count;
	u64 tallied;
};

int walk_segment(struct walk *w, struct sp_segment *seg, struct err *e);

/* Entries of the segment only: the first part of walk_segment. */
int walk_count(struct walk *w, struct sp_segment *seg, struct err *e);
