/*
 * Small text tools of the command line: numbers with limits and suffixes, and "did you mean".
 * All are pure.
 */
#pragma once

#include "base/types.h"

/*
 * "20G", "512", "0x100k": base as strtoul 0, one suffix letter b k m g t p e in either case, powers
 * of 1024. 0, -EINVAL (not a number, trailing text, sign, empty) or -ERANGE (does not fit 64 bits).
 */
int parse_size(const char *s, u64 *out);

/*
 * A plain number without suffix, min..max inclusive: 0, -EINVAL, -ERANGE. Decimal (also with leading
 * zeros: a slot "08" is 8) or hexadecimal after 0x.
 */
int parse_uint(const char *s, u64 min, u64 max, u64 *out);

/* The entry of names (n of them) nearest to word by edit distance, or NULL if none is near. */
const char *suggest(const char *word, const char *const *names, size_t n);

/* Bytes as "20G", "1536M", "512": the largest unit that divides exactly. Returns buf. */
char *format_size(u64 bytes, char *buf, size_t len);
