/*
 * The command line of xhyve-img: a table of commands and their options, the parser, the help texts
 * that are made from the table.
 */
#include "img/img.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>

struct option_def {
	char letter;
	const char *name;
	const char *arg; /* what the value is called; NULL: a flag */
	const char *help;
	size_t offset; /* of a bool or a const char * in struct img_options */
};

#define FIELD(name) offsetof(struct img_options, name)
#define OPTIONS_MAX 7

static const struct command {
	const char *name, *words, *summary, *more;
	unsigned min, max; /* number of words */
	int (*run)(struct img_ctx *c, const struct img_options *o, struct err *e);
	struct option_def option[OPTIONS_MAX];
} commands[] = {
        {"create", "IMAGE [SIZE]", "make a new image", "The size is given as a word or as size= of IMAGE.", 1,
                2, img_create,
                {{0, "split", "SIZE", "files of SIZE bytes each: PATH.0000, PATH.0001, ...", FIELD(split)},
                        {0, "sectorsize", "L[/P]", "logical and physical sector size", FIELD(sectorsize)},
                        {0, "sparse", NULL, "sectors take space when they are written first",
                                FIELD(sparse)}}},
        {"info", "IMAGE", "say what an image is", NULL, 1, 1, img_info,
                {{0, "json", NULL, "machine-readable output", FIELD(json)}}},
        {"check", "IMAGE", "look for damage and lost space",
                "exit status: 0 clean, 1 could not check, 2 damaged, 3 only lost space", 1, 1, img_check,
                {{0, "json", NULL, "machine-readable output", FIELD(json)}}},
        {"repair", "IMAGE", "remove damage and free lost space",
                "Sectors that shared their place get one each; what they should hold is not known.", 1, 1,
                img_repair,
                {{0, "force", NULL, "also when a segment is missing: its sectors read as zeros then",
                        FIELD(force)}}},
        {"convert", "SOURCE IMAGE", "copy a raw, split, sparse or qcow2 image into a new one", NULL, 2, 2,
                img_convert,
                {{'f', "from", "FORMAT",
                        "raw (also split and sparse) or qcow2 (default: by the file's start)", FIELD(from)}}},
        {"shrink", "IMAGE", "give back space that is not needed", NULL, 1, 1, img_shrink, {{0}}},
        {"resize", "IMAGE [+|-]SIZE", "change the size of the disk", NULL, 2, 2, img_resize,
                {{0, "force", NULL, "cut off sectors that hold data", FIELD(force)}}},
        {"map", "IMAGE", "list where the data is", NULL, 1, 1, img_map,
                {{0, "json", NULL, "machine-readable output", FIELD(json)}}},
        {"ls", "IMAGE[:[N:]/PATH]", "list partitions, or files inside an image",
                "N is a partition's number; without it the first one that has PATH is taken.", 1, 1, img_ls,
                {{'l', "long", NULL, "kind, size and target of each file", FIELD(details)}}},
        {"cat", "IMAGE:[N:]/PATH", "write a file inside an image to standard output", NULL, 1, 1, img_cat,
                {{0}}},
        {"cp", "IMAGE:[N:]/PATH FILE", "copy a file out of an image",
                "FILE may be a directory. A file of that name is replaced.", 2, 2, img_cp, {{0}}},
        {"bench", "IMAGE", "measure the speed of requests", NULL, 1, 1, img_bench,
                {{'t', "test", "KIND", "read, write, randread or randwrite (default read)", FIELD(test)},
                        {'s', "bufsize", "SIZE", "bytes of a request (default 4k)", FIELD(bufsize)},
                        {'d', "depth", "N", "requests at a time, 1 to 1024 (default 64)", FIELD(depth)},
                        {'c', "count", "N", "number of requests (default 75000)", FIELD(count)},
                        {0, "flush-interval", "N", "flush after N writes (default never)",
                                FIELD(flush_interval)},
                        {0, "no-cache", NULL, "bypass the host's page cache", FIELD(nocache)},
                        {0, "json", NULL, "machine-readable output", FIELD(json)}}},
};

static const struct option_def *option_at(const struct command *cmd, unsigned i)
{
	return cmd->option[i].name ? &cmd->option[i] : NULL;
}

/* --- help --- */

static void print_option(FILE *f, const struct option_def *d)
{
	char left[64];
	int n = d->letter ? snprintf(left, sizeof(left), "-%c, ", d->letter) : 0;

	snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", d->name, d->arg ? " " : "",
	        d->arg ? d->arg : "");
	fprintf(f, "  %-24s %s\n", left, d->help);
}

static void print_command(FILE *f, const struct command *cmd)
{
	fprintf(f, "usage: xhyve-img %s [options] %s\n\n%s\n", cmd->name, cmd->words, cmd->summary);
	if (cmd->more)
		fprintf(f, "%s\n", cmd->more);
	fprintf(f, "\noptions:\n");
	for (unsigned i = 0; i < OPTIONS_MAX; i++) {
		if (option_at(cmd, i))
			print_option(f, option_at(cmd, i));
	}
	fprintf(f, "  %-24s this text\n", "-h, --help");
}

static void print_help(FILE *f)
{
	fprintf(f, "usage: xhyve-img COMMAND [options] IMAGE ...\n\ncommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "\nIMAGE is PATH[,size=N][,split=N][,sectorsize=L[/P]][,sparse][,nocache][,ro][,sync], as "
	           "in\n"
	           "xhyve -s N,virtio-blk,IMAGE. What PATH.meta tells need not be repeated.\n"
	           "\"xhyve-img COMMAND --help\" tells more.\n"
	           "exit status: 0 done, 1 failed, 64 bad command line, 130 interrupted\n");
}

/* --- parser --- */

static int unknown_option(const struct command *cmd, const char *word, struct err *e)
{
	const char *names[OPTIONS_MAX + 1], *near;
	size_t n = 0, len = strcspn(word, "=");
	char plain[64];

	for (unsigned i = 0; i < OPTIONS_MAX; i++) {
		if (option_at(cmd, i))
			names[n++] = option_at(cmd, i)->name;
	}
	names[n++] = "help";
	snprintf(plain, sizeof(plain), "%.*s", (int)MIN(len, sizeof(plain)), word);
	near = strncmp(plain, "--", 2) == 0 ? suggest(plain + 2, names, n) : NULL;
	if (near)
		return err_usage(e, "%s: unknown option %s, did you mean --%s?", cmd->name, plain, near);
	return err_usage(e, "%s: unknown option %s", cmd->name, plain);
}

/* "--name", "--name=value", "-x": the definition, and the value if it is in the same word. */
static const struct option_def *find_option(const struct command *cmd, const char *word, const char **value)
{
	size_t len = strcspn(word, "=");

	*value = NULL;
	for (unsigned i = 0; i < OPTIONS_MAX; i++) {
		const struct option_def *d = option_at(cmd, i);

		if (!d)
			continue;
		if (d->letter && word[1] == d->letter && (d->arg || !word[2])) {
			*value = word[2] ? word + 2 : NULL;
			return d;
		}
		if (word[1] == '-' && strlen(d->name) == len - 2 &&
		        strncmp(word + 2, d->name, len - 2) == 0) {
			*value = word[len] ? word + len + 1 : NULL;
			return d;
		}
	}
	return NULL;
}

static int take_option(const struct command *cmd, struct img_options *o, int argc, const char *const *argv,
        int *at, struct err *e)
{
	const char *word = argv[*at], *value;
	const struct option_def *d = find_option(cmd, word, &value);

	if (!d)
		return unknown_option(cmd, word, e);
	if (!d->arg) {
		if (value)
			return err_usage(e, "%s: --%s takes no value", cmd->name, d->name);
		*(bool *)((char *)o + d->offset) = true;
		return 0;
	}
	if (!value && *at + 1 < argc)
		value = argv[++*at];
	if (!value)
		return err_usage(e, "%s: --%s needs a value (%s)", cmd->name, d->name, d->arg);
	*(const char **)((char *)o + d->offset) = value;
	return 0;
}

/* "-5G" after resize's image is a size and no option. */
static bool is_size_change(const struct command *cmd, const char *word, unsigned words)
{
	return cmd->run == img_resize && words == 1 && word[1] >= '0' && word[1] <= '9';
}

/* 1: help is wanted. */
static int parse(
        const struct command *cmd, struct img_options *o, int argc, const char *const *argv, struct err *e)
{
	bool only_words = false;
	unsigned words = 0;

	for (int i = 2; i < argc; i++) {
		const char *word = argv[i];
		int r = 0;

		if (!only_words && strcmp(word, "--") == 0) {
			only_words = true;
			continue;
		}
		if (only_words || word[0] != '-' || !word[1] || is_size_change(cmd, word, words)) {
			if (words == cmd->max)
				return err_usage(e, "%s: \"%s\" is one word too much", cmd->name, word);
			o->arg[words++] = word;
			continue;
		}
		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
			return 1;
		r = take_option(cmd, o, argc, argv, &i, e);
		if (r)
			return r;
	}
	if (words < cmd->min)
		return err_usage(e, "usage: xhyve-img %s [options] %s", cmd->name, cmd->words);
	return 0;
}

static const struct command *find_command(const char *name, struct err *e)
{
	const char *names[ARRAY_SIZE(commands)], *near;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
		names[i] = commands[i].name;
	}
	near = suggest(name, names, ARRAY_SIZE(names));
	if (near)
		err_usage(e, "unknown command \"%s\", did you mean \"%s\"?", name, near);
	else
		err_usage(e, "unknown command \"%s\" (xhyve-img --help lists them)", name);
	return NULL;
}

static int report(const struct img_ctx *c, const struct err *e)
{
	fflush(c->out);
	fprintf(c->err, "xhyve-img: %s\n", e->text);
	if (e->code == -EINTR)
		return IMG_STOPPED;
	return e->status == EXIT_BADUSE ? IMG_BADUSE : IMG_FAILED;
}

static int finish(const struct img_ctx *c, int status)
{
	if (fflush(c->out) == 0 && !ferror(c->out))
		return status;
	fprintf(c->err, "xhyve-img: cannot write to standard output: %s\n", strerror(errno));
	return IMG_FAILED;
}

int img_main(int argc, const char *const *argv, struct img_ctx *c)
{
	struct img_options o = {0};
	struct err e = {0};
	const struct command *cmd;
	int r;

	if (argc < 2) {
		print_help(c->err);
		return IMG_BADUSE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_help(c->out);
		return finish(c, IMG_OK);
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
		fprintf(c->out, "xhyve-img " XHYVE_VERSION "\n");
		return finish(c, IMG_OK);
	}
	cmd = find_command(argv[1], &e);
	if (!cmd)
		return report(c, &e);
	r = parse(cmd, &o, argc, argv, &e);
	if (r > 0) {
		print_command(c->out, cmd);
		return finish(c, IMG_OK);
	}
	if (r == 0)
		r = cmd->run(c, &o, &e);
	return r < 0 ? report(c, &e) : finish(c, r);
}
