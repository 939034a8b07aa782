/*
 * JSON output.
 */
#include "img/json.h"

#include <inttypes.h>

/* Length of the UTF-8 sequence at s, 0 if it is none. */
static unsigned utf8_length(const unsigned char *s)
{
	unsigned n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 0;

	if (s[0] >= 0xf0 && s[0] < 0xf5)
		n = 4;
	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	/* Overlong forms, surrogates, and what is above U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

static void put_string(struct json *j, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	fputc('"', j->f);
	while (*s) {
		unsigned n = utf8_length(s);

		if (*s == '"' || *s == '\\')
			fprintf(j->f, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f || n == 0)
			fprintf(j->f, "\\u%04x", *s);
		else
			fwrite(s, 1, n, j->f);
		s += n ? n : 1;
	}
	fputc('"', j->f);
}

static void start(struct json *j, const char *key)
{
	if (j->filled & BIT64(j->depth))
		fputc(',', j->f);
	j->filled |= BIT64(j->depth);
	if (j->depth)
		fprintf(j->f, "\n%*s", (int)(2 * j->depth), "");
	if (key) {
		put_string(j, key);
		fputs(": ", j->f);
	}
}

void json_begin(struct json *j, const char *key, char bracket)
{
	start(j, key);
	fputc(bracket, j->f);
	j->depth++;
	j->filled &= ~BIT64(j->depth);
}

void json_end(struct json *j, char bracket)
{
	bool filled = j->filled & BIT64(j->depth);

	j->depth--;
	if (filled)
		fprintf(j->f, "\n%*s", (int)(2 * j->depth), "");
	fputc(bracket, j->f);
	if (!j->depth)
		fputc('\n', j->f);
}

void json_u64(struct json *j, const char *key, u64 v)
{
	start(j, key);
	fprintf(j->f, "%" PRIu64, v);
}

void json_double(struct json *j, const char *key, double v)
{
	start(j, key);
	fprintf(j->f, "%.6f", v);
}

void json_bool(struct json *j, const char *key, bool v)
{
	start(j, key);
	fputs(v ? "true" : "false", j->f);
}

void json_text(struct json *j, const char *key, const char *s)
{
	start(j, key);
	if (s)
		put_string(j, s);
	else
		fputs("null", j->f);
}
