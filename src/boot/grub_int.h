/*
 * Private to grub_*.c: the interpreter of grub.cfg. Three layers: words (grub_words.c: tokens, quotes,
 * variables), commands (grub_cmd.c, grub_test.c), control flow and the menu (grub.c).
 */
#pragma once

#include "boot/menu_int.h"

#define GRUB_VARS_MAX 512
#define GRUB_FUNCTIONS_MAX 64
#define GRUB_WORDS_MAX 128
#define GRUB_VALUE_MAX 8192
#define GRUB_NEST_MAX 32
#define GRUB_STEPS_MAX 10000 /* commands executed for one menu */
#define GRUB_LOOPS_MAX 1000  /* times that bodies of loops are executed */
#define GRUB_LOOKUPS_MAX 2000
#define GRUB_ITEMS_MAX MENU_ENTRIES_MAX

/* Text of a file or a part of one. Lives as long as the menu. */
struct grub_text {
	const char *at, *end;
};

struct grub_var {
	const char *name, *value;
};

struct grub_function {
	const char *name;
	struct grub_text body;
};

/* An entry or submenu as it was met. */
struct grub_item {
	const char *title, *id;
	int parent; /* item, -1: the top */
	unsigned depth;
	bool submenu;
	struct grub_text body;
	int entry; /* of the menu, -1: none */
};

struct grub {
	struct menu_reader *r;
	struct grub_var var[GRUB_VARS_MAX];
	unsigned nvars;
	struct grub_function function[GRUB_FUNCTIONS_MAX];
	unsigned nfunctions;
	struct grub_item *item;
	unsigned nitems;
	int parent; /* of items that are met now */
	unsigned steps, loops, lookups, nest, depth;
	bool leave;              /* exit, return, or the end of the configuration */
	int status;              /* of the last command: 0 is true */
	const char *const *args; /* of the function that runs */
	unsigned nargs;
	struct menu_entry *entry; /* whose body runs; NULL: none */
};

/* --- words --- */

enum grub_token { GRUB_END, GRUB_WORD, GRUB_NEWLINE, GRUB_OPEN, GRUB_CLOSE };

/*
 * The next token; a word is left raw, as [*word, *word + *len). The text moves behind it.
 */
enum grub_token grub_token(struct grub_text *t, const char **word, size_t *len);
/* Is a raw word this keyword, without quotes? */
bool grub_is(const char *word, size_t len, const char *keyword);

struct grub_words {
	const char *word[GRUB_WORDS_MAX];
	unsigned n;
};

/* Expands a raw word into none, one or several. 0, or -errno with words. */
int grub_expand(struct grub *g, const char *word, size_t len, struct grub_words *out);

const char *grub_get(const struct grub *g, const char *name); /* "" when it is not set */
int grub_set(struct grub *g, const char *name, const char *value);

/* --- commands --- */

/* Executes a command; sets g->status. 0, or -errno with words. */
int grub_command(struct grub *g, const struct grub_words *w);
/* test and [ (without its ]). */
int grub_test(struct grub *g, const char *const *word, unsigned n, bool *result);

/* "(hd0,gpt2)/path" or "/path": the file, volume NULL when there is no such device. */
int grub_file(struct grub *g, const char *text, struct menu_file *f);
/* The volume that a device's name means, or NULL. */
struct volume *grub_device(struct grub *g, const char *name, size_t len, unsigned *disk);
int grub_device_name(struct grub *g, unsigned disk, const struct volume *v, const char **out);

/* --- flow --- */

/* Executes a file (source, configfile); a missing one is no error: g->status. */
int grub_run_file(struct grub *g, const char *path);
int grub_add_item(struct grub *g, const struct grub_words *w, bool submenu, struct grub_text body);
