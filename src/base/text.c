/*
 * Numbers and names of the command line.
 */
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/*
 * Like strtoul, but without its white space and signs; *end is set behind the digits. A leading 0x
 * means hexadecimal, a leading 0 means base zero_base (8 as in C, or 10).
 */
static int parse_number(const char *s, unsigned zero_base, u64 *out, const char **end)
{
	unsigned base = 10, digits = 0;
	u64 v = 0;

	if (s[0] == '0' && (s[1] | 0x20) == 'x') {
		base = 16;
		s += 2;
	} else if (s[0] == '0') {
		base = zero_base;
	}
	for (;; s++, digits++) {
		unsigned d;

		if (*s >= '0' && *s <= '9')
			d = (unsigned)(*s - '0');
		else if ((*s | 0x20) >= 'a' && (*s | 0x20) <= 'f')
			d = (unsigned)((*s | 0x20) - 'a' + 10);
		else
			break;
		if (d >= base)
			break;
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
			return -ERANGE;
	}
	*end = s;
	*out = v;
	return digits ? 0 : -EINVAL;
}

static int suffix_shift(char c)
{
	switch (c | 0x20) {
	case 'b': return 0;
	case 'k': return 10;
	case 'm': return 20;
	case 'g': return 30;
	case 't': return 40;
	case 'p': return 50;
	case 'e': return 60;
	default: return -1;
	}
}

int parse_size(const char *s, u64 *out)
{
	const char *end;
	u64 v;
	int shift = 0, r = parse_number(s, 8, &v, &end);

	if (r)
		return r;
	if (*end) {
		shift = suffix_shift(*end++);
		if (shift < 0 || *end)
			return -EINVAL;
	}
	if (v > UINT64_MAX >> shift)
		return -ERANGE;
	*out = v << shift;
	return 0;
}

int parse_uint(const char *s, u64 min, u64 max, u64 *out)
{
	const char *end;
	u64 v;
	int r = parse_number(s, 10, &v, &end);

	if (r)
		return r;
	if (*end)
		return -EINVAL;
	if (v < min || v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

#define WORD_MAX 64

/* Edit distance with swapped neighbours counted once (optimal string alignment), case ignored. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1];
	unsigned *before = rows[0], *prev = rows[1], *cur = rows[2];
	size_t la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return UINT32_MAX;
	for (size_t j = 0; j <= lb; j++)
		prev[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *spare = before;

		cur[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned cost = (a[i - 1] | 0x20) != (b[j - 1] | 0x20);
			unsigned best = MIN(prev[j], cur[j - 1]) + 1;

			best = MIN(best, prev[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, before[j - 2] + 1);
			cur[j] = best;
		}
		before = prev;
		prev = cur;
		cur = spare;
	}
	return prev[lb];
}

const char *suggest(const char *word, const char *const *names, size_t n)
{
	unsigned limit = strlen(word) <= 3 ? 1 : strlen(word) <= 6 ? 2 : 3;
	unsigned best = limit + 1;
	const char *found = NULL;

	for (size_t i = 0; i < n; i++) {
		unsigned d = distance(word, names[i]);

		/* A word that shares nothing with the name (all letters replaced) is no near miss. */
		if (d < best && d < strlen(names[i])) {
			best = d;
			found = names[i];
		}
	}
	return found;
}

char *format_size(u64 bytes, char *buf, size_t len)
{
	static const char units[] = {'\0', 'K', 'M', 'G', 'T', 'P', 'E'};
	unsigned u = 0;

	while (bytes && bytes % 1024 == 0 && u < ARRAY_SIZE(units) - 1) {
		bytes /= 1024;
		u++;
	}
	snprintf(buf, len, units[u] ? "%" PRIu64 "%c" : "%" PRIu64, bytes, units[u]);
	return buf;
}
