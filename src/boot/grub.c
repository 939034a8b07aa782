/*
 * grub.cfg: control flow, and the menu. The file is executed as GRUB does it, so that conditions, saved
 * entries and files that it sources count; bodies of entries are kept as text and executed once the rest is
 * done.
 *
 * A syntax error ends the text in which it is; what was understood before it stays.
 */
#include "boot/grub_int.h"

#include <errno.h>
#include <stdlib.h>

/* What ends a list of commands. */
enum stop {
	STOP_END = BIT(0),
	STOP_CLOSE = BIT(1),
	STOP_THEN = BIT(2),
	STOP_ELIF = BIT(3),
	STOP_ELSE = BIT(4),
	STOP_FI = BIT(5),
	STOP_DO = BIT(6),
	STOP_DONE = BIT(7),
};

static const struct {
	const char *word;
	enum stop stop;
} stops[] = {
        {"then", STOP_THEN},
        {"elif", STOP_ELIF},
        {"else", STOP_ELSE},
        {"fi", STOP_FI},
        {"do", STOP_DO},
        {"done", STOP_DONE},
};

static int run_list(struct grub *g, struct grub_text *t, bool run, unsigned until, unsigned *stop);

static int bad_syntax(struct grub *g)
{
	return err_set(g->r->e, -EINVAL, "grub.cfg has a syntax error");
}

static int count_step(struct grub *g)
{
	return ++g->steps <= GRUB_STEPS_MAX ? 0
	                                    : err_set(g->r->e, -E2BIG, "grub.cfg does not come to an end");
}

static int count_loop(struct grub *g)
{
	return ++g->loops <= GRUB_LOOPS_MAX ? 0
	                                    : err_set(g->r->e, -E2BIG, "grub.cfg does not come to an end");
}

/* --- compound commands --- */

static int run_if(struct grub *g, struct grub_text *t, bool run)
{
	bool done = false; /* a branch was taken */
	unsigned stop = STOP_ELIF;

	while (stop == STOP_ELIF) {
		bool take;
		int rc = run_list(g, t, run && !done, STOP_THEN, &stop);

		if (rc < 0)
			return rc;
		take = run && !done && g->status == 0;
		rc = run_list(g, t, take, STOP_ELIF | STOP_ELSE | STOP_FI, &stop);
		if (rc < 0)
			return rc;
		done |= take;
	}
	return stop == STOP_ELSE ? run_list(g, t, run && !done, STOP_FI, &stop) : 0;
}

static int run_while(struct grub *g, struct grub_text *t, bool run, bool until)
{
	const struct grub_text start = *t;
	bool again;

	do {
		unsigned stop;
		int rc = count_loop(g);

		*t = start;
		if (rc == 0)
			rc = run_list(g, t, run, STOP_DO, &stop);
		if (rc < 0)
			return rc;
		again = run && !g->leave && (g->status == 0) != until;
		rc = run_list(g, t, again, STOP_DONE, &stop);
		if (rc < 0)
			return rc;
	} while (again && !g->leave);
	g->status = 0;
	return 0;
}

/* Raw words up to what ends the command, which is left; expanded into w when they will be used. */
static int take_words(struct grub *g, struct grub_text *t, bool run, struct grub_words *w)
{
	for (;;) {
		struct grub_text before = *t;
		const char *word;
		size_t len;
		int rc;

		if (grub_token(t, &word, &len) != GRUB_WORD) {
			*t = before;
			return 0;
		}
		rc = run ? grub_expand(g, word, len, w) : 0;
		if (rc < 0)
			return rc;
	}
}

static int run_for(struct grub *g, struct grub_text *t, bool run)
{
	struct grub_words w = {.n = 0};
	struct grub_text body;
	unsigned stop;
	int rc = take_words(g, t, run, &w);

	if (rc == 0)
		rc = run_list(g, t, false, STOP_DO, &stop); /* only the end of the line */
	if (rc < 0)
		return rc;
	body = *t;
	rc = run_list(g, t, false, STOP_DONE, &stop);
	/* w: NAME in VALUE... */
	for (unsigned i = 2; run && rc == 0 && i < w.n && !g->leave; i++) {
		struct grub_text again = body;

		rc = count_loop(g);
		if (rc == 0)
			rc = grub_set(g, w.word[0], w.word[i]);
		if (rc == 0)
			rc = run_list(g, &again, true, STOP_DONE, &stop);
	}
	return rc;
}

/* "{ ... }": what is between the braces. */
static int take_body(struct grub *g, struct grub_text *t, struct grub_text *body)
{
	const char *word;
	unsigned stop;
	size_t len;
	int rc;

	for (;;) {
		enum grub_token token = grub_token(t, &word, &len);

		if (token == GRUB_OPEN)
			break;
		if (token != GRUB_NEWLINE)
			return bad_syntax(g);
	}
	body->at = t->at;
	rc = run_list(g, t, false, STOP_CLOSE, &stop);
	body->end = t->at - 1;
	return rc;
}

static int run_function(struct grub *g, struct grub_text *t, bool run)
{
	struct grub_words w = {.n = 0};
	struct grub_text body;
	int rc = take_words(g, t, run, &w);

	if (rc == 0)
		rc = take_body(g, t, &body);
	if (rc < 0 || !run || w.n == 0)
		return rc;
	for (unsigned i = 0; i < g->nfunctions; i++) {
		if (strcmp(g->function[i].name, w.word[0]) == 0) {
			g->function[i].body = body;
			return 0;
		}
	}
	if (g->nfunctions == GRUB_FUNCTIONS_MAX)
		return err_set(g->r->e, -E2BIG, "grub.cfg has too many functions");
	g->function[g->nfunctions++] = (struct grub_function){w.word[0], body};
	return 0;
}

static int run_entry(struct grub *g, struct grub_text *t, bool run, bool submenu)
{
	struct grub_words w = {.n = 0};
	struct grub_text body;
	int rc = take_words(g, t, run, &w);

	if (rc == 0)
		rc = take_body(g, t, &body);
	return rc < 0 || !run ? rc : grub_add_item(g, &w, submenu, body);
}

/* --- simple commands --- */

static int call(struct grub *g, const struct grub_function *f, const struct grub_words *w)
{
	const char *const *args = g->args;
	struct grub_text body = f->body;
	unsigned nargs = g->nargs, stop;
	int rc;

	g->args = w->word + 1;
	g->nargs = w->n - 1;
	rc = run_list(g, &body, true, STOP_END, &stop);
	g->args = args;
	g->nargs = nargs;
	g->leave = false;
	return rc;
}

static int run_words(struct grub *g, const struct grub_words *w)
{
	int rc = count_step(g);

	if (rc < 0 || w->n == 0)
		return rc;
	if (strcmp(w->word[0], "!") == 0) {
		struct grub_words rest = {.n = w->n - 1};

		memcpy(rest.word, w->word + 1, rest.n * sizeof(rest.word[0]));
		rc = run_words(g, &rest);
		g->status = !g->status;
		return rc;
	}
	for (unsigned i = 0; i < g->nfunctions; i++)
		if (strcmp(g->function[i].name, w->word[0]) == 0)
			return call(g, &g->function[i], w);
	return grub_command(g, w);
}

static int run_simple(struct grub *g, struct grub_text *t, bool run)
{
	struct grub_words w = {.n = 0};
	int rc = take_words(g, t, run, &w);

	return rc < 0 || !run ? rc : run_words(g, &w);
}

/* --- lists --- */

static unsigned stop_of(const char *word, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(stops); i++)
		if (grub_is(word, len, stops[i].word))
			return stops[i].stop;
	return 0;
}

/* A command that begins with this word; the text is behind it. */
static int run_one(struct grub *g, struct grub_text *t, const char *word, size_t len, bool run)
{
	if (grub_is(word, len, "if"))
		return run_if(g, t, run);
	if (grub_is(word, len, "while") || grub_is(word, len, "until"))
		return run_while(g, t, run, word[0] == 'u');
	if (grub_is(word, len, "for"))
		return run_for(g, t, run);
	if (grub_is(word, len, "function"))
		return run_function(g, t, run);
	if (grub_is(word, len, "menuentry") || grub_is(word, len, "submenu"))
		return run_entry(g, t, run, word[0] == 's');
	t->at = word;
	return run_simple(g, t, run);
}

static int step_list(struct grub *g, struct grub_text *t, bool run, unsigned until, unsigned *stop)
{
	const char *word;
	unsigned inner;
	size_t len;

	*stop = 0;
	switch (grub_token(t, &word, &len)) {
	case GRUB_NEWLINE: return 0;
	case GRUB_END: *stop = STOP_END; break;
	case GRUB_CLOSE: *stop = STOP_CLOSE; break;
	case GRUB_OPEN: return run_list(g, t, run, STOP_CLOSE, &inner);
	case GRUB_WORD:
		*stop = stop_of(word, len);
		if (!*stop)
			return run_one(g, t, word, len, run);
		break;
	}
	return *stop & until ? 0 : bad_syntax(g);
}

/* Commands up to one of until. run: they are executed, not only skipped. */
static int run_list(struct grub *g, struct grub_text *t, bool run, unsigned until, unsigned *stop)
{
	int rc = 0;

	if (g->nest == GRUB_NEST_MAX)
		return err_set(g->r->e, -E2BIG, "grub.cfg is nested too deeply");
	g->nest++;
	for (*stop = 0; rc == 0 && !*stop;)
		rc = step_list(g, t, run && !g->leave, until, stop);
	g->nest--;
	return rc;
}

/* A whole text; a syntax error ends it and no more. */
static int run_text(struct grub *g, struct grub_text t)
{
	unsigned stop;
	int rc = run_list(g, &t, true, STOP_END, &stop);

	g->leave = false;
	return rc == -EINVAL ? 0 : rc;
}

int grub_run_file(struct grub *g, const char *path)
{
	struct menu_file f;
	char *text;
	int rc = grub_file(g, path, &f);

	if (rc < 0)
		return rc;
	if (g->depth == MENU_DEPTH_MAX)
		return err_set(g->r->e, -ELOOP, "files include each other (%.200s)", path);
	rc = menu_read(g->r, &f, &text);
	g->status = rc < 0;
	if (rc < 0)
		return rc == -E2BIG || rc == -ENOMEM ? rc : 0;
	g->depth++;
	rc = run_text(g, (struct grub_text){text, text + strlen(text)});
	g->depth--;
	return rc;
}

/* --- the menu --- */

static bool takes_value(const char *option)
{
	static const char *const names[] = {"--class", "--users", "--hotkey", "--source"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(option, names[i]) == 0)
			return true;
	return false;
}

int grub_add_item(struct grub *g, const struct grub_words *w, bool submenu, struct grub_text body)
{
	struct grub_item item = {.parent = g->parent, .submenu = submenu, .body = body, .entry = -1};

	item.depth = g->parent < 0 ? 0 : g->item[g->parent].depth + 1;
	for (unsigned i = 0; i < w->n; i++) {
		const char *p = w->word[i];

		if (strcmp(p, "--id") == 0 && i + 1 < w->n)
			item.id = w->word[++i];
		else if (strncmp(p, "--id=", 5) == 0)
			item.id = p + 5;
		else if (takes_value(p))
			i++;
		else if (p[0] != '-' && !item.title)
			item.title = p;
	}
	if (!item.title)
		item.title = item.id ? item.id : "";
	if (g->nitems == GRUB_ITEMS_MAX)
		return err_set(g->r->e, -E2BIG, "grub.cfg has more than %u entries", GRUB_ITEMS_MAX);
	g->item[g->nitems++] = item;
	return 0;
}

/* Executes a body; what it sets is forgotten afterwards. */
static int run_body(struct grub *g, struct grub_text body)
{
	struct grub_var *saved = malloc(sizeof(g->var));
	unsigned nvars = g->nvars;
	int rc;

	if (!saved)
		return err_set(g->r->e, -ENOMEM, "out of memory");
	memcpy(saved, g->var, sizeof(g->var));
	rc = run_text(g, body);
	memcpy(g->var, saved, sizeof(g->var));
	g->nvars = nvars;
	free(saved);
	return rc;
}

/* Items that submenus have inside follow at the end of the list, and so are opened, too. */
static int open_submenus(struct grub *g)
{
	int rc = 0;

	for (unsigned i = 0; i < g->nitems && rc == 0; i++) {
		if (!g->item[i].submenu || g->item[i].depth == MENU_DEPTH_MAX)
			continue;
		g->parent = (int)i;
		rc = run_body(g, g->item[i].body);
	}
	g->parent = -1;
	return rc;
}

static const char *full_title(struct grub *g, const struct grub_item *item)
{
	const char *title = item->title;

	for (int p = item->parent; p >= 0 && title; p = g->item[p].parent)
		title = menu_printf(g->r, "%s>%s", g->item[p].title, title);
	return title;
}

/* The entry of an item, made by its body, or by blscfg. */
static int fill_entry(struct grub *g, struct grub_item *item, struct menu_entry *entry)
{
	int rc;

	if (item->entry >= 0) {
		*entry = g->r->m.entry[item->entry];
	} else {
		*entry = (struct menu_entry){.cmdline = ""};
		g->entry = entry;
		rc = run_body(g, item->body);
		g->entry = NULL;
		if (rc < 0)
			return rc;
	}
	entry->title = full_title(g, item);
	entry->id = item->id;
	return entry->title ? 0 : g->r->e->code;
}

/* The entries below a parent, in the order of the menu. */
static int collect(struct grub *g, int parent, struct menu_entry *list, unsigned *n)
{
	int rc = 0;

	for (unsigned i = 0, known = g->nitems; i < known && rc == 0; i++) {
		struct grub_item *item = &g->item[i];

		if (item->parent != parent)
			continue;
		if (item->submenu) {
			rc = collect(g, (int)i, list, n);
			continue;
		}
		rc = fill_entry(g, item, &list[*n]);
		item->entry = (int)*n;
		*n += rc == 0;
	}
	return rc;
}

/* --- the default --- */

/* The item below parent that a number, id or title names; -1: none. */
static int find_item(const struct grub *g, int parent, const char *name, size_t len)
{
	unsigned n = 0;
	char *end;
	unsigned long number = strtoul(name, &end, 10);
	bool numeric = len && end == name + len;

	for (unsigned i = 0; i < g->nitems; i++) {
		const struct grub_item *item = &g->item[i];

		if (item->parent != parent)
			continue;
		if (numeric ? n == number
		            : grub_is(name, len, item->title) || (item->id && grub_is(name, len, item->id)))
			return (int)i;
		n++;
	}
	return -1;
}

/* "1>2", "Advanced options>with Linux 6": of a submenu without more, the first entry in it. */
static unsigned find_default(const struct grub *g)
{
	const char *path = grub_get(g, "default");
	int at = -1;

	for (;;) {
		size_t len = strcspn(path, ">");
		int found = find_item(g, at, path, len);

		if (found < 0)
			found = find_item(g, at, "0", 1);
		if (found < 0)
			return 0;
		if (!g->item[found].submenu)
			return (unsigned)MAX(g->item[found].entry, 0);
		at = found;
		path += len + (path[len] == '>');
	}
}

static int build_menu(struct grub *g)
{
	struct menu_entry *list = calloc(GRUB_ITEMS_MAX, sizeof(*list));
	unsigned n = 0;
	int rc = list ? open_submenus(g) : err_set(g->r->e, -ENOMEM, "out of memory");

	if (rc == 0)
		rc = collect(g, -1, list, &n);
	if (rc < 0) {
		free(list);
		return rc;
	}
	free(g->r->m.entry);
	g->r->m.entry = list;
	g->r->m.count = n;
	g->r->m.standard = find_default(g);
	return 0;
}

/* What GRUB sets before it reads its configuration: as the version for BIOS does, with all of today's
 * features. */
static int preset(struct grub *g)
{
	static const char *const vars[][2] = {
	        {"grub_platform", "pc"},
	        {"grub_cpu", "i386"},
	        {"default", "0"},
	        {"feature_menuentry_id", "y"},
	        {"feature_menuentry_options", "y"},
	        {"feature_timeout_style", "y"},
	        {"feature_default_font_path", "y"},
	        {"feature_all_video_module", "y"},
	        {"feature_platform_search_hint", "y"},
	        {"feature_nativedisk_cmd", "y"},
	        {"feature_200_final", "y"},
	        {"feature_chainloader_bpb", "y"},
	        {"feature_ntldr", "y"},
	};
	const struct menu_file *c = &g->r->m.config;
	const char *root = "", *dir = menu_dirname(g->r, c->path), *prefix;
	int rc = dir ? grub_device_name(g, c->disk, c->volume, &root) : g->r->e->code;

	for (size_t i = 0; i < ARRAY_SIZE(vars) && rc == 0; i++)
		rc = grub_set(g, vars[i][0], vars[i][1]);
	if (rc < 0)
		return rc;
	prefix = menu_printf(g->r, "(%s)%s", root, dir);
	rc = prefix ? grub_set(g, "prefix", prefix) : g->r->e->code;
	if (rc == 0)
		rc = grub_set(g, "config_directory", prefix);
	return rc < 0 ? rc : grub_set(g, "root", root);
}

int menu_read_grub(struct menu_reader *r)
{
	struct grub *g = calloc(1, sizeof(*g));
	int rc = g ? 0 : err_set(r->e, -ENOMEM, "out of memory");

	if (rc < 0)
		return rc;
	g->r = r;
	g->parent = -1;
	g->item = calloc(GRUB_ITEMS_MAX, sizeof(*g->item));
	rc = g->item ? preset(g) : err_set(r->e, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = grub_run_file(g, r->m.config.path);
	if (rc == 0)
		rc = build_menu(g);
	free(g->item);
	free(g);
	return rc;
}
