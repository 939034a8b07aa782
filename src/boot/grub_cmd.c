/*
 * GRUB's commands, as far as they decide what is booted. The others (graphics, modules, terminals) succeed
 * and do nothing.
 */
#include "boot/grub_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

/* --- devices --- */

/* "hd0", "cd0", "cd", "ata0", ... : the number of a disk. */
static int disk_of(const struct grub *g, const char *name, size_t len)
{
	size_t letters = 0, n;
	unsigned v = 0;

	while (letters < len && isalpha((unsigned char)name[letters]))
		letters++;
	if (letters == 0 || len - letters > 3)
		return -1;
	for (n = letters; n < len; n++) {
		if (!isdigit((unsigned char)name[n]))
			return -1;
		v = v * 10 + (unsigned)(name[n] - '0');
	}
	if (strncmp(name, "hd", 2) != 0 && strncmp(name, "cd", 2) != 0)
		return -1;
	return v < g->r->ndisks ? (int)v : -1;
}

/* "gpt2", "msdos5", "2", also several of them ("1,a" is not known). */
static unsigned partition_of(const char *name, size_t len)
{
	unsigned v = 0;

	while (len && isalpha((unsigned char)*name)) {
		name++;
		len--;
	}
	if (len == 0 || len > 3)
		return 0;
	for (; len; name++, len--) {
		if (!isdigit((unsigned char)*name))
			return 0;
		v = v * 10 + (unsigned)(*name - '0');
	}
	return v;
}

struct volume *grub_device(struct grub *g, const char *name, size_t len, unsigned *disk)
{
	const char *comma = memchr(name, ',', len);
	int d = disk_of(g, name, comma ? (size_t)(comma - name) : len);
	unsigned number = comma ? partition_of(comma + 1, len - (size_t)(comma + 1 - name)) : 0;
	struct volumes *all;

	if (d < 0 || (comma && !number))
		return NULL;
	*disk = (unsigned)d;
	all = g->r->disk[d].volumes;
	for (unsigned i = 0; i < all->count; i++)
		if (all->v[i].number == number)
			return &all->v[i];
	return NULL;
}

int grub_device_name(struct grub *g, unsigned disk, const struct volume *v, const char **out)
{
	const char *table = g->r->disk[disk].volumes->parts.table == PART_GPT ? "gpt" : "msdos";

	*out = v->number ? menu_printf(g->r, "hd%u,%s%u", disk, table, v->number)
	                 : menu_printf(g->r, "hd%u", disk);
	return *out ? 0 : g->r->e->code;
}

int grub_file(struct grub *g, const char *text, struct menu_file *f)
{
	const char *close = text[0] == '(' ? strchr(text, ')') : NULL;
	const char *device = close ? text + 1 : grub_get(g, "root");
	size_t len = close ? (size_t)(close - device) : strlen(device);

	/* $root may also be written with parentheses */
	if (!close && len > 2 && device[0] == '(' && device[len - 1] == ')') {
		device++;
		len -= 2;
	}
	*f = (struct menu_file){0};
	f->volume = grub_device(g, device, len, &f->disk);
	f->path = menu_join(g->r, "", close ? close + 1 : text);
	return f->path ? 0 : g->r->e->code;
}

/* --- search --- */

enum search_by { BY_FILE, BY_LABEL, BY_UUID };

struct search {
	enum search_by by;
	const char *what, *var;
};

static bool matches(struct grub *g, const struct search *s, unsigned disk, struct volume *v)
{
	const struct menu_file f = {disk, v, s->what};

	if (!v->fs)
		return false;
	if (s->by == BY_LABEL)
		return strcmp(fs_label(v->fs), s->what) == 0;
	if (s->by == BY_UUID)
		return strcasecmp(fs_uuid(v->fs), s->what) == 0;
	return g->lookups++ < GRUB_LOOKUPS_MAX && menu_has(&f, false);
}

/* Sets the variable to the first volume that fits; status 1: there is none. */
static int search(struct grub *g, const struct search *s)
{
	const char *name;

	g->status = 1;
	for (unsigned d = 0; d < g->r->ndisks && s->what; d++) {
		struct volumes *all = g->r->disk[d].volumes;

		for (unsigned i = 0; i < all->count; i++) {
			int rc;

			if (!matches(g, s, d, &all->v[i]))
				continue;
			g->status = 0;
			rc = grub_device_name(g, d, &all->v[i], &name);
			return rc == 0 && s->var ? grub_set(g, s->var, name) : rc;
		}
	}
	return 0;
}

static bool is_option(const char *word, const char *brief, const char *name)
{
	return strcmp(word, brief) == 0 || strcmp(word, name) == 0;
}

static int cmd_search(struct grub *g, const struct grub_words *w)
{
	struct search s = {.by = BY_FILE};

	for (unsigned i = 1; i < w->n; i++) {
		const char *p = w->word[i];

		if (is_option(p, "-f", "--file"))
			s.by = BY_FILE;
		else if (is_option(p, "-l", "--label") || is_option(p, "-l", "--fs-label"))
			s.by = BY_LABEL;
		else if (is_option(p, "-u", "--fs-uuid"))
			s.by = BY_UUID;
		else if (is_option(p, "-s", "--set"))
			s.var = "root";
		else if (strncmp(p, "--set=", 6) == 0)
			s.var = p + 6;
		else if (is_option(p, "-h", "--hint"))
			i++;
		else if (p[0] != '-')
			s.what = p;
	}
	return search(g, &s);
}

/* search.fs_uuid WHAT [VARIABLE [HINT]...] */
static int cmd_search_by(struct grub *g, const struct grub_words *w)
{
	struct search s = {.what = w->n > 1 ? w->word[1] : NULL, .var = w->n > 2 ? w->word[2] : "root"};

	s.by = strcmp(w->word[0], "search.fs_uuid") == 0 ? BY_UUID
	       : strcmp(w->word[0], "search.file") == 0  ? BY_FILE
	                                                 : BY_LABEL;
	return search(g, &s);
}

/* --- variables --- */

static int cmd_set(struct grub *g, const struct grub_words *w)
{
	char name[128];
	int rc = 0;

	for (unsigned i = 1; i < w->n && rc == 0; i++) {
		const char *eq = strchr(w->word[i], '=');
		size_t len = eq ? (size_t)(eq - w->word[i]) : 0;

		if (!eq || len == 0 || len >= sizeof(name))
			continue;
		memcpy(name, w->word[i], len);
		name[len] = 0;
		rc = grub_set(g, name, eq + 1);
	}
	return rc;
}

static int cmd_unset(struct grub *g, const struct grub_words *w)
{
	int rc = 0;

	for (unsigned i = 1; i < w->n && rc == 0; i++)
		rc = grub_set(g, w->word[i], "");
	return rc;
}

static bool wanted(const struct grub_words *w, unsigned first, const char *name)
{
	for (unsigned i = first; i < w->n; i++)
		if (strcmp(w->word[i], name) == 0)
			return true;
	return first >= w->n;
}

/* A line of an environment block: NAME=VALUE, in which \ escapes. */
static int take_env(struct grub *g, const struct grub_words *w, unsigned first, char *line)
{
	char *value = strchr(line, '='), *to;

	/*
	 * next_entry is for one start, after which GRUB removes it from the block; nothing is written here,
	 * so it would be for ever.
	 */
	if (*line == '#' || !value)
		return 0;
	*value++ = 0;
	to = value;
	for (const char *p = value; *p; p++) {
		if (*p == '\\' && p[1])
			p++;
		*to++ = *p;
	}
	*to = 0;
	return strcmp(line, "next_entry") != 0 && wanted(w, first, line) ? grub_set(g, line, value) : 0;
}

static int cmd_load_env(struct grub *g, const struct grub_words *w)
{
	const char *path = NULL;
	unsigned first = 1;
	struct menu_file f;
	char *text, *line;
	int rc;

	for (; first < w->n && w->word[first][0] == '-'; first++) {
		if (is_option(w->word[first], "-f", "--file") && first + 1 < w->n)
			path = w->word[++first];
		else if (strncmp(w->word[first], "--file=", 7) == 0)
			path = w->word[first] + 7;
	}
	if (!path)
		path = menu_printf(g->r, "%s/grubenv", grub_get(g, "prefix"));
	rc = path ? grub_file(g, path, &f) : g->r->e->code;
	if (rc < 0)
		return rc;
	rc = menu_read(g->r, &f, &text);
	g->status = rc < 0;
	if (rc < 0)
		return rc == -E2BIG || rc == -ENOMEM ? rc : 0;
	while (rc == 0 && (line = menu_line(&text)))
		rc = take_env(g, w, first, line);
	return rc;
}

/* probe --set=VAR --fs-uuid|--label|--fs|--partmap DEVICE */
static int cmd_probe(struct grub *g, const struct grub_words *w)
{
	const char *var = NULL, *device = "", *value;
	char what = 0;
	struct volume *v;
	unsigned disk;
	size_t len;

	for (unsigned i = 1; i < w->n; i++) {
		const char *p = w->word[i];

		if (strncmp(p, "--set=", 6) == 0)
			var = p + 6;
		else if (is_option(p, "-s", "--set") && i + 1 < w->n)
			var = w->word[++i];
		else if (strncmp(p, "--", 2) == 0)
			what = p[2] == 'f' && p[3] == 's' && p[4] ? 'u' : p[2];
		else if (p[0] == '-')
			what = p[1];
		else
			device = p;
	}
	len = strlen(device);
	if (len > 2 && device[0] == '(' && device[len - 1] == ')') {
		device++;
		len -= 2;
	}
	v = grub_device(g, device, len, &disk);
	g->status = !v || !v->fs;
	if (g->status || !var)
		return 0;
	value = what == 'u'   ? fs_uuid(v->fs)
	        : what == 'l' ? fs_label(v->fs)
	        : what == 'p' ? (v->part && v->part->type ? "msdos" : "gpt")
	                      : fs_kind(v->fs);
	return grub_set(g, var, value);
}

/* --- what is started --- */

static int cmd_linux(struct grub *g, const struct grub_words *w)
{
	int rc;

	if (!g->entry || w->n < 2)
		return 0;
	g->entry->cmdline = "";
	g->entry->ninitrds = 0;
	rc = grub_file(g, w->word[1], &g->entry->kernel);
	for (unsigned i = 2; i < w->n && rc == 0; i++)
		rc = menu_append(g->r, g->entry, w->word[i]);
	return rc;
}

static int cmd_initrd(struct grub *g, const struct grub_words *w)
{
	int rc = 0;

	for (unsigned i = 1; g->entry && i < w->n && rc == 0; i++) {
		struct menu_file f;

		if (strncmp(w->word[i], "--", 2) == 0 || strncmp(w->word[i], "newc:", 5) == 0)
			continue;
		rc = grub_file(g, w->word[i], &f);
		if (rc == 0)
			rc = menu_add_initrd(g->r, g->entry, &f);
	}
	return rc;
}

/* Variables in the options of entries that blscfg reads. */
static char *fill(void *opaque, const char *text)
{
	struct grub *g = opaque;
	struct grub_words w = {.n = 0};
	const char *quoted = menu_printf(g->r, "\"%s\"", text);

	if (!quoted || grub_expand(g, quoted, strlen(quoted), &w) < 0)
		return NULL;
	return w.n ? (char *)(uintptr_t)w.word[0] : menu_strdup(g->r, "");
}

static int cmd_blscfg(struct grub *g, const struct grub_words *w)
{
	static const char *const dirs[][2] = {{"/loader/entries", ""}, {"/boot/loader/entries", "/boot"}};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && rc == 0 && g->nitems < GRUB_ITEMS_MAX; i++) {
		unsigned first = g->r->m.count;
		struct menu_file f;

		rc = grub_file(g, dirs[i][0], &f);
		if (rc == 0)
			rc = menu_add_bls(g->r, &f, dirs[i][1], fill, g);
		for (unsigned n = first; n < g->r->m.count && g->nitems < GRUB_ITEMS_MAX; n++)
			g->item[g->nitems++] = (struct grub_item){.title = g->r->m.entry[n].title,
			        .id = g->r->m.entry[n].id,
			        .parent = g->parent,
			        .entry = (int)n};
	}
	return rc < 0 ? rc : 0;
}

/* --- the table --- */

static int cmd_false(struct grub *g, const struct grub_words *w)
{
	g->status = 1;
	return 0;
}

static int cmd_test(struct grub *g, const struct grub_words *w)
{
	bool bracket = strcmp(w->word[0], "[") == 0, result = false;
	unsigned n = w->n - 1;
	int rc;

	if (bracket && n && strcmp(w->word[n], "]") == 0)
		n--;
	rc = grub_test(g, w->word + 1, n, &result);
	g->status = !result;
	return rc;
}

static int cmd_source(struct grub *g, const struct grub_words *w)
{
	return w->n > 1 ? grub_run_file(g, w->word[1]) : 0;
}

/* The new configuration has a menu of its own; the old one is not returned to. */
static int cmd_configfile(struct grub *g, const struct grub_words *w)
{
	int rc = w->n > 1 ? grub_run_file(g, w->word[1]) : 0;

	g->leave |= g->status == 0;
	return rc;
}

static int cmd_leave(struct grub *g, const struct grub_words *w)
{
	g->leave = true;
	return 0;
}

static const struct command {
	const char *name;
	int (*run)(struct grub *g, const struct grub_words *w);
} commands[] = {
        {"set", cmd_set},
        {"unset", cmd_unset},
        {"[", cmd_test},
        {"test", cmd_test},
        {"false", cmd_false},
        {"search", cmd_search},
        {"search.fs_uuid", cmd_search_by},
        {"search.fs_label", cmd_search_by},
        {"search.file", cmd_search_by},
        {"load_env", cmd_load_env},
        {"probe", cmd_probe},
        {"linux", cmd_linux},
        {"linux16", cmd_linux},
        {"linuxefi", cmd_linux},
        {"initrd", cmd_initrd},
        {"initrd16", cmd_initrd},
        {"initrdefi", cmd_initrd},
        {"source", cmd_source},
        {".", cmd_source},
        {"extract_entries_source", cmd_source},
        {"configfile", cmd_configfile},
        {"normal", cmd_configfile},
        {"blscfg", cmd_blscfg},
        {"exit", cmd_leave},
        {"return", cmd_leave},
        /* keys that nobody presses, a board without their firmware, files that a loader would show */
        {"keystatus", cmd_false},
        {"background_image", cmd_false},
        {"loopback", cmd_false},
        {"cryptomount", cmd_false},
};

int grub_command(struct grub *g, const struct grub_words *w)
{
	const char *eq = strchr(w->word[0], '=');

	g->status = 0;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(w->word[0], commands[i].name) == 0)
			return commands[i].run(g, w);
	if (eq && eq > w->word[0]) { /* NAME=VALUE alone */
		const struct grub_words set = {.word = {"set", w->word[0]}, .n = 2};

		return cmd_set(g, &set);
	}
	return 0;
}
