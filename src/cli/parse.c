/*
 * From words to handlers: short options alone or clustered, long options, and what does not belong.
 * Memory: all values are copied into one block as big as argv, so pieces of values never need an
 * allocation of their own.
 */
#include "cli/parse.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>

/* argv is read through this; pos is the next word. */
struct words {
	int argc;
	const char *const *argv;
	int pos;
};

static char *keep(struct parse *p, const char *value)
{
	size_t len = strlen(value) + 1;
	char *copy = p->free;

	memcpy(copy, value, len);
	p->free += len;
	return copy;
}

char *cut_comma(char *s)
{
	char *comma = s ? strchr(s, ',') : NULL;

	if (!comma)
		return NULL;
	*comma = 0;
	return comma + 1;
}

static int apply(struct parse *p, const struct option_def *o, const char *value)
{
	if (o->set)
		return o->set(p, value ? keep(p, value) : NULL);
	*((bool *)((char *)p->c + o->flag)) = true;
	return 0;
}

static const struct option_def *find_letter(char letter)
{
	for (size_t i = 0; i < option_def_count; i++) {
		if (letter && option_defs[i].view.letter == letter)
			return &option_defs[i];
	}
	return NULL;
}

/* The value of a short option: the rest of its word, else the next word. */
static int short_value(
        struct parse *p, struct words *w, const struct option_def *o, const char *rest, const char **value)
{
	*value = rest;
	if (*rest)
		return 0;
	if (w->pos >= w->argc)
		return err_usage(
		        p->e, "-%c needs a value: -%c %s", o->view.letter, o->view.letter, o->view.arg);
	*value = w->argv[w->pos++];
	return 0;
}

/* "-AHPx", "-c", "-c4", "-Ac4" */
static int parse_cluster(struct parse *p, struct words *w, const char *word)
{
	int r = 0;

	for (const char *s = word + 1; *s && !r; s++) {
		const struct option_def *o = find_letter(*s);
		const char *value = NULL;

		if (!o && s > word + 1)
			return err_usage(p->e,
			        "unknown option -%c in \"" VAL "\" (xhyve -h lists the options)", *s, word);
		if (!o)
			return err_usage(p->e, "unknown option -%c (xhyve -h lists the options)", *s);
		p->last = *s;
		if (!o->view.arg) {
			r = apply(p, o, NULL);
			continue;
		}
		r = short_value(p, w, o, s + 1, &value);
		return r ? r : apply(p, o, value);
	}
	return r;
}

static int unknown_long(struct parse *p, const char *name)
{
	const char *names[64], *near;
	size_t n = 0;

	for (size_t i = 0; i < option_def_count && n < ARRAY_SIZE(names); i++) {
		if (option_defs[i].view.name)
			names[n++] = option_defs[i].view.name;
	}
	near = suggest(name, names, n);
	if (near)
		return err_usage(p->e, "unknown option --" VAL ": did you mean --%s?", name, near);
	return err_usage(p->e, "unknown option --" VAL " (xhyve -h lists the options)", name);
}

/* "--name", "--name=value", "--name value" */
static int parse_long(struct parse *p, struct words *w, const char *word)
{
	char *name = keep(p, word + 2);
	char *value = strchr(name, '=');
	const struct option_def *o = NULL;

	if (value)
		*value++ = 0;
	for (size_t i = 0; i < option_def_count && !o; i++) {
		if (option_defs[i].view.name && strcmp(option_defs[i].view.name, name) == 0)
			o = &option_defs[i];
	}
	if (!o)
		return unknown_long(p, name);
	p->last = 0;
	if (!o->view.arg) {
		if (value)
			return err_usage(p->e, "--%s takes no value", name);
		return apply(p, o, NULL);
	}
	if (value)
		return o->set(p, value);
	if (w->pos >= w->argc)
		return err_usage(p->e, "--%s needs a value: --%s=%s", name, name, o->view.arg);
	return apply(p, o, w->argv[w->pos++]);
}

static int refuse_word(struct parse *p, const char *word)
{
	if (p->last == 'f')
		return err_usage(p->e,
		        "unexpected word \"" VAL "\" (the kernel's command line must be one word: "
		        "-f kexec,KERNEL,INITRD,\"WORDS\")",
		        word);
	return err_usage(p->e, "unexpected word \"" VAL "\" (xhyve -h lists the options)", word);
}

static int parse_words(struct parse *p, struct words *w)
{
	int r = 0;

	while (!r && w->pos < w->argc) {
		const char *word = w->argv[w->pos++];

		if (strcmp(word, "--") == 0)
			return w->pos < w->argc ? refuse_word(p, w->argv[w->pos]) : 0;
		if (word[0] != '-' || !word[1])
			return refuse_word(p, word);
		r = word[1] == '-' ? parse_long(p, w, word) : parse_cluster(p, w, word);
	}
	return r;
}

static int start(struct parse *p, int argc, const char *const *argv)
{
	size_t room = 1;

	*p->c = (struct vm_config){.name = "vm", .ncpus = 1, .mem = CONFIG_MEM_DEFAULT};
	for (int i = 0; i < CONFIG_CPUS_MAX; i++)
		p->c->pin[i] = -1;
	for (int i = 1; i < argc; i++)
		room += strlen(argv[i]) + 1;
	p->c->storage = malloc(room);
	p->free = p->c->storage;
	return p->free ? 0 : err_set(p->e, -ENOMEM, "out of memory");
}

int cli_parse(int argc, const char *const *argv, struct vm_config *out, struct err *e)
{
	struct parse p = {.c = out, .e = e};
	struct words w = {.argc = argc, .argv = argv, .pos = 1};
	int r = start(&p, argc, argv);

	if (!r)
		r = parse_words(&p, &w);
	if (!r)
		r = check_config(out, e);
	if (r)
		cli_config_free(out);
	return r;
}

void cli_config_free(struct vm_config *c)
{
	free(c->slots);
	free(c->storage);
	*c = (struct vm_config){0};
}
