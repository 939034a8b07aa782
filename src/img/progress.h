/*
 * The progress bar: one line on a terminal, at most ten times a second; nothing elsewhere.
 */
#pragma once

#include "img/img.h"

struct progress {
	const struct img_ctx *ctx;
	const char *what;
	u64 total;
	u64 last; /* clock at the last drawing, ms */
	bool drawn;
};

void progress_begin(struct progress *p, const struct img_ctx *c, const char *what, u64 total);
void progress_set(struct progress *p, u64 done);
void progress_end(struct progress *p); /* clears the line */
