/*
 * Private to console/: a spec string taken apart.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"

enum spec_kind { SPEC_STDIO, SPEC_NULL, SPEC_AUTOPTY, SPEC_LOG, SPEC_UNIX, SPEC_DEVICE };

#define SPEC_ITEMS_MAX 4

struct spec_item {
	enum spec_kind kind;
	const char *path; /* NULL: none given */
};

struct spec {
	struct spec_item item[SPEC_ITEMS_MAX];
	unsigned count;
	char *text; /* what the paths point into */
};

/* Pure. 0 and a spec to be freed, or a negative errno with the message. */
int spec_parse(const char *text, struct spec *out, struct err *e);
void spec_free(struct spec *s);
