/*
 * What is wrong with an image, as a list.
 */
#pragma once

#include "img/walk.h"

enum finding_kind {
	FOUND_TABLE_SHORT,
	FOUND_TABLE_LONG,
	FOUND_SEGMENT_MISSING,
	FOUND_SEGMENT_LONG, /* split without table: bytes behind the segment's end */
	FOUND_PAST_END,
	FOUND_SHARED,
	FOUND_LEAK,
	FOUND_KINDS
};

struct finding {
	enum finding_kind kind;
	u32 segment;
	u64 sector; /* PAST_END, SHARED: of the disk, in units of the image's sector size */
	u64 other;  /* SHARED: the first one that has the slot */
	u64 slot;
	u64 off, len; /* LEAK: in the segment's file; TABLE, LONG: is, should be */
};

#define FINDINGS_MAX 1000 /* listed; all are counted */

struct findings {
	struct finding *list;
	size_t n;
	u64 count[FOUND_KINDS];
	u64 leaked; /* bytes */
	u64 named;  /* entries that are present */
};

extern const char *const finding_name[FOUND_KINDS];

void findings_add(struct findings *f, const struct finding *one);
void findings_free(struct findings *f);
u64 findings_damage(const struct findings *f); /* without leaks */
/* One line without newline. */
void finding_text(const struct finding *one, const struct image_geometry *g, char *buf, size_t len);

int check_sparse(struct spimage *img, const struct img_ctx *c, struct findings *f, struct err *e);
