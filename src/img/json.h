/*
 * Writes one JSON value to a stream, with the commas in the right places. Text that is not UTF-8 is
 * written byte by byte as \u00XX, so that the result is always valid JSON.
 */
#pragma once

#include "base/types.h"
#include <stdio.h>

struct json {
	FILE *f;
	unsigned depth;
	u64 filled; /* bit per depth: something was written there */
};

/* key is NULL inside an array and at the top. */
void json_begin(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_end(struct json *j, char bracket);                    /* '}' or ']'; a newline after the last */
void json_u64(struct json *j, const char *key, u64 v);
void json_double(struct json *j, const char *key, double v);
void json_bool(struct json *j, const char *key, bool v);
void json_text(struct json *j, const char *key, const char *s); /* NULL: null */
