/*
 * Option strings and geometry: pure functions of what the user (or PATH.meta) says.
 */
#include "block/image.h"

#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SECTOR_MAX (1 * MiB)

static const char *const words[] = {
        "nocache", "sync", "direct", "ro", "sectorsize", "size", "split", "sparse", "serial"};

static bool power_of_two(u64 v)
{
	return v && (v & (v - 1)) == 0;
}

static int parse_bytes(const char *name, const char *value, u64 *out, struct err *e)
{
	int r = parse_size(value, out);
	if (r == 0 && *out <= INT64_MAX)
		return 0;
	return err_usage(
	        e, r == -EINVAL ? "%s=%s: not a size (such as 20G)" : "%s=%s: too large", name, value);
}

static int parse_sector(struct image_spec *s, const char *value, struct err *e)
{
	char text[64];
	u64 logical, physical;
	if (snprintf(text, sizeof(text), "%s", value) >= (int)sizeof(text))
		return err_usage(e, "sectorsize=%s: too long", value);
	char *slash = strchr(text, '/');
	if (slash)
		*slash++ = 0;
	bool ok = parse_size(text, &logical) == 0;
	physical = logical;
	if (ok && slash)
		ok = parse_size(slash, &physical) == 0;
	if (!ok)
		return err_usage(e, "sectorsize=%s: not a size (such as 4096 or 512/4096)", value);
	if (logical == 0 && !slash)
		return 0; /* the original's "not given" */
	if (!power_of_two(logical) || !power_of_two(physical) || logical < 512 || logical > SECTOR_MAX ||
	        physical < logical || physical > SECTOR_MAX)
		return err_usage(e,
		        "sectorsize=%s: must be powers of two from 512 to 1M, logical not above physical",
		        value);
	s->logical = (u32)logical;
	s->physical = (u32)physical;
	return 0;
}

static int parse_serial(struct image_spec *s, const char *value, struct err *e)
{
	size_t len = strlen(value);
	if (len == 0 || len >= sizeof(s->serial))
		return err_usage(e, "serial=%s: must have 1 to 20 characters", value);
	for (size_t i = 0; i < len; i++)
		if (value[i] <= ' ' || value[i] > '~')
			return err_usage(e, "serial=%s: only printable characters without spaces", value);
	memcpy(s->serial, value, len + 1);
	return 0;
}

static int unknown(const char *word, struct err *e)
{
	const char *near = suggest(word, words, ARRAY_SIZE(words));
	if (near)
		return err_usage(e, "unknown disk option \"%s\", did you mean \"%s\"?", word, near);
	return err_usage(e, "unknown disk option \"%s\"", word);
}

static int parse_option(struct image_spec *s, char *word, struct err *e)
{
	char *value = strchr(word, '=');
	if (!value) {
		struct {
			const char *name;
			bool *flag;
		} flag[] = {{"nocache", &s->nocache}, {"sync", &s->sync}, {"direct", &s->sync},
		        {"ro", &s->ro}, {"sparse", &s->sparse}};
		for (size_t i = 0; i < ARRAY_SIZE(flag); i++) {
			if (strcmp(word, flag[i].name) == 0) {
				*flag[i].flag = true;
				return 0;
			}
		}
		return unknown(word, e);
	}
	*value++ = 0;
	if (strcmp(word, "size") == 0)
		return parse_bytes(word, value, &s->size, e);
	if (strcmp(word, "split") == 0)
		return parse_bytes(word, value, &s->split, e);
	if (strcmp(word, "sectorsize") == 0)
		return parse_sector(s, value, e);
	if (strcmp(word, "serial") == 0)
		return parse_serial(s, value, e);
	return unknown(word, e);
}

/* What does not fit together, as far as it was given here and need not come from PATH.meta. */
static int check_spec(const struct image_spec *s, struct err *e)
{
	struct image_geometry g;
	if (s->size) {
		int r = image_geometry_make(&g, s, e);
		if (r < 0)
			e->status = EXIT_BADUSE;
		return r;
	}
	if (s->split && s->sparse && s->split % (s->logical ? s->logical : 512))
		return err_usage(
		        e, "split=%llu is not a multiple of the sector size", (unsigned long long)s->split);
	return 0;
}

int image_parse(struct image_spec *s, const char *config, struct err *e)
{
	memset(s, 0, sizeof(*s));
	const char *comma = strchrnul(config, ',');
	size_t len = (size_t)(comma - config);
	if (len == 0)
		return err_usage(e, "a disk needs the path of its image");
	if (len + 16 > sizeof(s->path))
		return err_usage(e, "the image's path is too long");
	memcpy(s->path, config, len);
	if (*comma == 0)
		return 0;
	char *copy = strdup(comma + 1), *rest = copy, *word;
	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	int r = 0;
	while (r == 0 && (word = strsep(&rest, ",")))
		r = *word ? parse_option(s, word, e) : err_usage(e, "empty disk option in \"%s\"", config);
	free(copy);
	return r < 0 ? r : check_spec(s, e);
}

static int bad_multiple(struct err *e, const char *what, u64 v, const char *of, u64 unit)
{
	char a[32], b[32];
	return err_set(e, -EINVAL, "%s=%s is not a multiple of %s=%s", what, format_size(v, a, sizeof(a)), of,
	        format_size(unit, b, sizeof(b)));
}

int image_geometry_make(struct image_geometry *g, const struct image_spec *s, struct err *e)
{
	u32 logical = s->logical ? s->logical : 512;
	*g = (struct image_geometry){.is_split = s->split != 0,
	        .sparse = s->sparse,
	        .size = s->size,
	        .segment = s->split ? s->split : s->size,
	        .sector = logical,
	        .logical = logical,
	        .physical = s->physical ? s->physical : logical};
	if (s->size == 0)
		return err_set(e, -EINVAL, "size=0: a disk has a size");
	if (s->size > INT64_MAX)
		return err_set(e, -EINVAL, "the size is too large");
	if (!power_of_two(logical) || logical < 512 || logical > SECTOR_MAX || !power_of_two(g->physical) ||
	        g->physical < logical || g->physical > SECTOR_MAX)
		return err_set(e, -EINVAL, "sectorsize=%u/%u is impossible", logical, g->physical);
	if (s->size % logical)
		return bad_multiple(e, "size", s->size, "sectorsize", logical);
	if (s->split && s->split % logical)
		return bad_multiple(e, "split", s->split, "sectorsize", logical);
	if (s->split > s->size)
		return err_set(e, -EINVAL, "split=%llu is larger than size=%llu",
		        (unsigned long long)s->split, (unsigned long long)s->size);
	if (s->split && s->size % s->split)
		return bad_multiple(e, "size", s->size, "split", s->split);
	if (s->size / g->segment > IMAGE_SEGMENTS_MAX)
		return err_set(e, -EINVAL,
		        "size=%llu with split=%llu makes %llu segments, at most %u are possible",
		        (unsigned long long)s->size, (unsigned long long)s->split,
		        (unsigned long long)(s->size / g->segment), IMAGE_SEGMENTS_MAX);
	g->nseg = (u32)(s->size / g->segment);
	g->per_segment = g->segment / logical;
	g->entries = g->sparse ? g->per_segment * g->nseg : 0;
	if (g->sparse && g->per_segment >= 0xffffffffull)
		return err_set(e, -EINVAL,
		        "a segment has too many sectors for the table: use split= or a larger sectorsize=");
	return 0;
}

void image_segment_name(char *buf, size_t len, const char *path, bool is_split, u32 i)
{
	if (is_split)
		snprintf(buf, len, "%s.%04u", path, i);
	else
		snprintf(buf, len, "%s", path);
}

void image_lut_name(char *buf, size_t len, const char *path)
{
	snprintf(buf, len, "%s.lut", path);
}

void image_meta_name(char *buf, size_t len, const char *path)
{
	snprintf(buf, len, "%s.meta", path);
}

void image_journal_name(char *buf, size_t len, const char *path)
{
	snprintf(buf, len, "%s.journal", path);
}
