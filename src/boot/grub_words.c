/*
 * GRUB's script language below the commands: tokens, quotes, variables.
 */
#include "boot/grub_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

/* --- tokens --- */

static bool ends_word(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ';' || c == '|' || c == '&';
}

static void skip_blanks(struct grub_text *t)
{
	for (;;) {
		if (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\r'))
			t->at++;
		else if (t->end - t->at >= 2 && t->at[0] == '\\' && t->at[1] == '\n')
			t->at += 2;
		else if (t->at < t->end && *t->at == '#')
			while (t->at < t->end && *t->at != '\n')
				t->at++;
		else
			return;
	}
}

/* Behind a quoted part that begins at p. */
static const char *skip_quoted(const char *p, const char *end)
{
	char quote = *p++;

	for (; p < end && *p != quote; p++)
		if (quote == '"' && *p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : end;
}

static const char *skip_word(const char *p, const char *end)
{
	while (p < end && !ends_word(*p)) {
		if (*p == '\\' && p + 1 < end)
			p += 2;
		else if (*p == '\'' || *p == '"')
			p = skip_quoted(p, end);
		else
			p++;
	}
	return p;
}

enum grub_token grub_token(struct grub_text *t, const char **word, size_t *len)
{
	skip_blanks(t);
	*word = t->at;
	*len = 0;
	if (t->at >= t->end)
		return GRUB_END;
	if (ends_word(*t->at)) {
		t->at++;
		return GRUB_NEWLINE;
	}
	if (*t->at == '{' || *t->at == '}')
		return *t->at++ == '{' ? GRUB_OPEN : GRUB_CLOSE;
	t->at = skip_word(t->at, t->end);
	*len = (size_t)(t->at - *word);
	return GRUB_WORD;
}

bool grub_is(const char *word, size_t len, const char *keyword)
{
	return len == strlen(keyword) && memcmp(word, keyword, len) == 0;
}

/* --- variables --- */

static struct grub_var *find_var(const struct grub *g, const char *name, size_t len)
{
	for (unsigned i = 0; i < g->nvars; i++)
		if (strncmp(g->var[i].name, name, len) == 0 && !g->var[i].name[len])
			return (struct grub_var *)&g->var[i];
	return NULL;
}

const char *grub_get(const struct grub *g, const char *name)
{
	const struct grub_var *v = find_var(g, name, strlen(name));

	return v ? v->value : "";
}

int grub_set(struct grub *g, const char *name, const char *value)
{
	struct grub_var *v = find_var(g, name, strlen(name));

	if (v && strcmp(v->value, value) == 0)
		return 0;
	if (!v) {
		if (g->nvars == GRUB_VARS_MAX)
			return err_set(g->r->e, -E2BIG, "grub.cfg sets too many variables");
		v = &g->var[g->nvars];
		v->name = menu_strdup(g->r, name);
		if (!v->name)
			return g->r->e->code;
		v->value = "";
		g->nvars++;
	}
	v->value = menu_strdup(g->r, value);
	if (v->value)
		return 0;
	v->value = "";
	return g->r->e->code;
}

/* --- expansion --- */

/* A word on its way. */
struct expansion {
	struct grub *g;
	struct grub_words *out;
	char *text;
	size_t len;
	bool some; /* there is a word, maybe an empty one */
};

static int too_long(struct expansion *x)
{
	return err_set(x->g->r->e, -E2BIG, "a word or line of grub.cfg is too long");
}

static int put(struct expansion *x, char c)
{
	if (x->len + 1 >= GRUB_VALUE_MAX)
		return too_long(x);
	x->text[x->len++] = c;
	x->some = true;
	return 0;
}

static int end_word(struct expansion *x)
{
	if (!x->some)
		return 0;
	if (x->out->n == GRUB_WORDS_MAX)
		return too_long(x);
	x->out->word[x->out->n] = menu_strndup(x->g->r, x->text, x->len);
	if (!x->out->word[x->out->n])
		return x->g->r->e->code;
	x->out->n++;
	x->len = 0;
	x->some = false;
	return 0;
}

/* A value: outside of quotes it falls apart at blanks. */
static int put_value(struct expansion *x, const char *value, bool quoted)
{
	int rc = 0;

	for (; *value && rc == 0; value++) {
		if (!quoted && (*value == ' ' || *value == '\t' || *value == '\n'))
			rc = end_word(x);
		else
			rc = put(x, *value);
	}
	return rc;
}

static int put_args(struct expansion *x, bool quoted)
{
	int rc = 0;

	for (unsigned i = 0; i < x->g->nargs && rc == 0; i++) {
		rc = i == 0 ? 0 : quoted ? put(x, ' ') : end_word(x);
		if (rc == 0)
			rc = put_value(x, x->g->args[i], quoted);
	}
	return rc;
}

static int put_variable(struct expansion *x, const char *name, size_t len, bool quoted)
{
	const struct grub_var *v;

	if (len == 1 && isdigit((unsigned char)*name)) {
		unsigned i = (unsigned)(*name - '0');

		return i && i <= x->g->nargs ? put_value(x, x->g->args[i - 1], quoted) : 0;
	}
	if (len == 1 && (*name == '@' || *name == '*'))
		return put_args(x, quoted);
	if (len == 1 && *name == '?')
		return put(x, x->g->status ? '1' : '0');
	v = find_var(x->g, name, len);
	return v ? put_value(x, v->value, quoted) : 0;
}

/* At the character behind a $. Moves *p behind the name. */
static int take_variable(struct expansion *x, const char **p, const char *end, bool quoted)
{
	const char *name = *p;
	size_t len = 0;

	if (name < end && *name == '{') {
		const char *close = memchr(name, '}', (size_t)(end - name));

		if (close) {
			*p = close + 1;
			return put_variable(x, name + 1, (size_t)(close - name - 1), quoted);
		}
	}
	if (name < end && (isdigit((unsigned char)*name) || strchr("@*?#", *name)))
		len = *name ? 1 : 0;
	else
		while (name + len < end && (isalnum((unsigned char)name[len]) || name[len] == '_'))
			len++;
	if (!len)
		return put(x, '$');
	*p = name + len;
	return put_variable(x, name, len, quoted);
}

/* Between quotes; p is behind the first one. Returns through *p what follows the second. */
static int take_quoted(struct expansion *x, const char **p, const char *end, char quote)
{
	int rc = 0;

	x->some = true;
	while (*p < end && **p != quote && rc == 0) {
		if (quote == '"' && **p == '$') {
			++*p;
			rc = take_variable(x, p, end, true);
		} else {
			if (quote == '"' && **p == '\\' && *p + 1 < end && strchr("$\"\\\n", (*p)[1]))
				++*p;
			rc = put(x, **p);
			++*p;
		}
	}
	*p += *p < end;
	return rc;
}

static int take_word(struct expansion *x, const char *p, const char *end)
{
	int rc = 0;

	while (p < end && rc == 0) {
		char c = *p++;

		if (c == '\'' || c == '"')
			rc = take_quoted(x, &p, end, c);
		else if (c == '$')
			rc = take_variable(x, &p, end, false);
		else if (c == '\\' && p < end)
			rc = *p == '\n' ? 0 : put(x, *p), p++;
		else
			rc = put(x, c);
	}
	return rc < 0 ? rc : end_word(x);
}

int grub_expand(struct grub *g, const char *word, size_t len, struct grub_words *out)
{
	struct expansion x = {.g = g, .out = out, .text = malloc(GRUB_VALUE_MAX)};
	int rc = x.text ? take_word(&x, word, word + len) : err_set(g->r->e, -ENOMEM, "out of memory");

	free(x.text);
	return rc;
}
