/*
 * Console specs: words separated by commas, some with a path. Pure: nothing is opened here.
 */
#include "console/spec.h"
#include "base/text.h"
#include "console/console.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/un.h>

enum path_rule { PATH_NONE, PATH_OPTIONAL, PATH_REQUIRED };

static const struct {
	const char *word;
	char separator; /* between word and path */
	enum path_rule path;
	enum spec_kind kind;
} words[] = {
        {"stdio", '=', PATH_NONE, SPEC_STDIO},
        {"null", '=', PATH_NONE, SPEC_NULL},
        {"autopty", '=', PATH_OPTIONAL, SPEC_AUTOPTY},
        {"log", '=', PATH_REQUIRED, SPEC_LOG},
        {"unix", ':', PATH_REQUIRED, SPEC_UNIX},
};

static int refuse_word(const char *word, struct err *e)
{
	const char *names[ARRAY_SIZE(words)], *near;

	if (!*word)
		return err_usage(e, "a back end is missing (-l help lists them)");
	if (strcmp(word, "asl") == 0)
		return err_usage(e, "asl: Apple's system log does not exist here; use log=PATH");
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		names[i] = words[i].word;
	near = suggest(word, names, ARRAY_SIZE(names));
	if (near)
		return err_usage(e, "%.80s: unknown back end: did you mean %s?", word, near);
	return err_usage(e, "%.80s: unknown back end (-l help lists them)", word);
}

static int check_path(enum spec_kind kind, const char *path, struct err *e)
{
	size_t max = kind == SPEC_UNIX ? sizeof(((struct sockaddr_un *)0)->sun_path) - 1 : PATH_MAX - 1;

	if (strlen(path) > max)
		return err_usage(e, "%.40s...: the path is longer than %zu characters", path, max);
	return 0;
}

/* One word, already cut off at its comma. It is cut once more between name and path. */
static int parse_item(char *word, struct spec_item *item, struct err *e)
{
	size_t len = strcspn(word, "=:");
	char separator = word[len];

	if (word[0] == '/') {
		*item = (struct spec_item){.kind = SPEC_DEVICE, .path = word};
		return check_path(SPEC_DEVICE, word, e);
	}
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strlen(words[i].word) != len || memcmp(word, words[i].word, len) != 0)
			continue;
		*item = (struct spec_item){.kind = words[i].kind};
		if (!separator && words[i].path != PATH_REQUIRED)
			return 0;
		if (words[i].path == PATH_NONE)
			return err_usage(e, "%.80s: %s has no options", word, words[i].word);
		if (separator != words[i].separator || !word[len + 1])
			return err_usage(
			        e, "%.80s: must be %s%cPATH", word, words[i].word, words[i].separator);
		item->path = word + len + 1;
		return check_path(item->kind, item->path, e);
	}
	word[len] = 0;
	return refuse_word(word, e);
}

static int parse_items(struct spec *s, struct err *e)
{
	char *rest = s->text;
	unsigned stdio = 0;

	while (rest) {
		char *word = strsep(&rest, ",");
		int r;

		if (s->count == SPEC_ITEMS_MAX)
			return err_usage(e, "%.80s: more than %d back ends", word, SPEC_ITEMS_MAX);
		r = parse_item(word, &s->item[s->count], e);
		if (r)
			return r;
		stdio += s->item[s->count++].kind == SPEC_STDIO;
	}
	return stdio > 1 ? err_usage(e, "stdio: named twice") : 0;
}

int spec_parse(const char *text, struct spec *out, struct err *e)
{
	int r;

	*out = (struct spec){.text = strdup(text)};
	if (!out->text)
		return err_set(e, -ENOMEM, "out of memory");
	r = parse_items(out, e);
	if (r)
		spec_free(out);
	return r;
}

void spec_free(struct spec *s)
{
	free(s->text);
	s->text = NULL;
}

int console_check(const char *spec, struct err *e)
{
	struct spec s;
	int r = spec_parse(spec, &s, e);

	if (!r)
		spec_free(&s);
	return r;
}

bool console_uses_stdio(const char *spec)
{
	struct err e;
	struct spec s;
	bool found = false;

	if (spec_parse(spec, &s, &e))
		return false;
	for (unsigned i = 0; i < s.count; i++)
		found |= s.item[i].kind == SPEC_STDIO;
	spec_free(&s);
	return found;
}
