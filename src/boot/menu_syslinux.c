/*
 * isolinux.cfg, syslinux.cfg, extlinux.conf: lines of a keyword and its value, keywords in any case. LABEL
 * begins an entry; what comes before the first one holds for those that do not say it themselves. Between
 * MENU BEGIN and MENU END is a submenu, whose entries have its title before their own.
 */
#include "boot/menu_int.h"

#include <errno.h>
#include <strings.h>

struct syslinux {
	struct menu_reader *r;
	const char *dir;                     /* of the first configuration file: relative paths begin there */
	const char *standard;                /* DEFAULT's value */
	const char *global;                  /* APPEND before the first LABEL */
	int marked;                          /* entry with MENU DEFAULT, -1: none */
	const char *submenu[MENU_DEPTH_MAX]; /* titles, each with those above it; "" while there is none */
	unsigned nsubmenus;
	bool in_text; /* between TEXT and ENDTEXT: words for the screen */
	/* the entry at hand */
	bool in_entry, own_append, foreign, way_back;
	char *append, *kernel, *initrds;
	unsigned depth;
};

static int read_file(struct syslinux *s, const char *path);

/* From the configuration's directory; some discs mean the root by that. */
static struct menu_file file_at(struct syslinux *s, const char *path)
{
	struct menu_file f = s->r->m.config;

	f.path = menu_join(s->r, s->dir, path);
	if (f.path && *s->dir && path[0] != '/' && !menu_has(&f, false)) {
		struct menu_file top = f;

		top.path = menu_join(s->r, "", path);
		if (top.path && menu_has(&top, false))
			return top;
	}
	return f;
}

static int take_initrds(struct syslinux *s, struct menu_entry *entry, const char *list)
{
	int rc = 0;

	while (*list && rc == 0) {
		size_t n = strcspn(list, ",");
		char *path = menu_strndup(s->r, list, n);
		struct menu_file f;

		if (!path)
			return s->r->e->code;
		f = file_at(s, path);
		rc = n ? menu_add_initrd(s->r, entry, &f) : 0;
		list += n + (list[n] == ',');
	}
	return rc;
}

/* initrd= in the options names initrds, and stays for the kernel to see, as syslinux does it. */
static int take_append(struct syslinux *s, struct menu_entry *entry, const char *options)
{
	const char *initrd = NULL;
	int rc = 0;

	for (const char *p = options; *p; p += strspn(p, " \t")) {
		if (strncmp(p, "initrd=", 7) == 0)
			initrd = p + 7;
		p += strcspn(p, " \t");
	}
	if (initrd && !s->initrds) {
		char *list = menu_strndup(s->r, initrd, strcspn(initrd, " \t"));

		rc = list ? take_initrds(s, entry, list) : s->r->e->code;
	}
	return rc < 0 ? rc : menu_append(s->r, entry, options);
}

/* A Linux kernel, or a module of syslinux or the boot sector of something else? */
static bool is_linux(const char *path)
{
	static const char *const others[] = {".c32", ".com", ".cbt", ".bs", ".bin", ".bss", ".0", ".img"};
	size_t len = strlen(path);

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		size_t n = strlen(others[i]);

		if (len >= n && strcasecmp(path + len - n, others[i]) == 0)
			return false;
	}
	return true;
}

/* LABEL's entry is complete. */
static int finish_entry(struct syslinux *s)
{
	struct menu_entry *entry = s->in_entry ? &s->r->m.entry[s->r->m.count - 1] : NULL;
	const char *options = s->own_append ? s->append : s->global;
	int rc = 0;

	s->in_entry = false;
	if (s->way_back && entry) {
		s->r->m.count--;
		if (s->marked == (int)s->r->m.count)
			s->marked = -1;
	}
	if (!entry || !s->kernel || s->foreign || s->way_back)
		return 0;
	entry->kernel = file_at(s, s->kernel);
	if (!entry->kernel.path)
		return s->r->e->code;
	if (s->initrds)
		rc = take_initrds(s, entry, s->initrds);
	if (rc == 0 && options)
		rc = take_append(s, entry, options);
	return rc;
}

/* "Install ^Debian" marks a letter. */
static char *plain_label(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++)
		if (*p != '^')
			*to++ = *p;
	*to = 0;
	return text;
}

/* A title with those of the submenus that it is in, as in GRUB's menus: "Advanced>Expert". */
static const char *full_title(struct syslinux *s, unsigned nsubmenus, char *text)
{
	const char *above = nsubmenus ? s->submenu[nsubmenus - 1] : "";

	plain_label(text);
	return *above ? menu_printf(s->r, "%s>%s", above, text) : menu_strdup(s->r, text);
}

static int begin_entry(struct syslinux *s, char *label)
{
	const char *title;

	struct menu_entry *entry;
	int rc = finish_entry(s);

	if (rc < 0)
		return rc;
	menu_word(label);
	entry = menu_add(s->r, label);
	if (!entry)
		return s->r->e->code;
	entry->id = entry->title;
	title = s->nsubmenus ? full_title(s, s->nsubmenus, label) : entry->title;
	if (!title)
		return s->r->e->code;
	entry->title = title;
	s->in_entry = true;
	s->own_append = s->foreign = s->way_back = false;
	s->append = s->kernel = s->initrds = NULL;
	return 0;
}

/* MENU LABEL or, if it has none, MENU TITLE of a submenu. */
static int name_submenu(struct syslinux *s, char *text)
{
	const char *title = full_title(s, s->nsubmenus - 1, text);

	if (title)
		s->submenu[s->nsubmenus - 1] = title;
	return title ? 0 : s->r->e->code;
}

static int begin_submenu(struct syslinux *s)
{
	int rc = finish_entry(s);

	if (rc == 0 && s->nsubmenus == MENU_DEPTH_MAX)
		rc = err_set(s->r->e, -E2BIG, "submenus are nested too deeply");
	if (rc == 0)
		s->submenu[s->nsubmenus++] = "";
	return rc;
}

static int end_submenu(struct syslinux *s)
{
	s->nsubmenus -= s->nsubmenus > 0;
	return finish_entry(s);
}

/* MENU words that are about the menu at hand and not about an entry. */
static int take_submenu(struct syslinux *s, const char *key, char *value)
{
	if (strcasecmp(key, "begin") == 0)
		return begin_submenu(s);
	if (strcasecmp(key, "end") == 0)
		return end_submenu(s);
	if (s->in_entry || !s->nsubmenus || !*value)
		return 0;
	if (strcasecmp(key, "label") == 0 ||
	        (strcasecmp(key, "title") == 0 && !*s->submenu[s->nsubmenus - 1]))
		return name_submenu(s, value);
	return 0;
}

static int take_menu(struct syslinux *s, char *key)
{
	char *value = menu_word(key);

	if (strcasecmp(key, "include") == 0) {
		menu_word(value);
		return read_file(s, value);
	}
	if (!s->in_entry || strcasecmp(key, "begin") == 0 || strcasecmp(key, "end") == 0)
		return take_submenu(s, key, value);
	if (strcasecmp(key, "label") == 0 && *value) {
		const char *title = full_title(s, s->nsubmenus, value);

		if (!title)
			return s->r->e->code;
		s->r->m.entry[s->r->m.count - 1].title = title;
	} else if (strcasecmp(key, "default") == 0 && !s->nsubmenus) { /* else: when that one is opened */
		s->marked = (int)s->r->m.count - 1;
	} else if (strcasecmp(key, "exit") == 0) {
		s->way_back = true;
	}
	return 0;
}

static int keep(struct syslinux *s, char **where, const char *value)
{
	*where = menu_strdup(s->r, value);
	return *where ? 0 : s->r->e->code;
}

static int take_options(struct syslinux *s, const char *value)
{
	const char *text =
	        strcmp(value, "-") == 0 ? "" : value; /* a hyphen: none, not the global ones either */

	if (s->in_entry) {
		s->own_append = true;
		return keep(s, &s->append, text);
	}
	s->global = menu_strdup(s->r, text);
	return s->global ? 0 : s->r->e->code;
}

static int take_line(struct syslinux *s, char *line)
{
	char *value = menu_word(line);

	if (s->in_text || strcasecmp(line, "text") == 0) {
		s->in_text = strcasecmp(line, "endtext") != 0;
		return 0;
	}
	if (strcasecmp(line, "label") == 0)
		return begin_entry(s, value);
	if (strcasecmp(line, "include") == 0) {
		menu_word(value);
		return read_file(s, value);
	}
	if (strcasecmp(line, "menu") == 0)
		return take_menu(s, value);
	if (strcasecmp(line, "append") == 0)
		return take_options(s, value);
	if (strcasecmp(line, "default") == 0) {
		s->standard = menu_strdup(s->r, value);
		return s->standard ? 0 : s->r->e->code;
	}
	if (!s->in_entry)
		return 0;
	if (strcasecmp(line, "initrd") == 0)
		return keep(s, &s->initrds, value);
	if (strcasecmp(line, "linux") == 0 || strcasecmp(line, "kernel") == 0) {
		/* KERNEL guesses by the name, LINUX does not */
		s->foreign = *value == 0 || (strcasecmp(line, "kernel") == 0 && !is_linux(value));
		return keep(s, &s->kernel, value);
	}
	if (strcasecmp(line, "localboot") == 0 || strcasecmp(line, "com32") == 0 ||
	        strcasecmp(line, "boot") == 0)
		s->foreign = true;
	return 0;
}

/* What is missing or names no file is left out, as syslinux does it. */
static int read_file(struct syslinux *s, const char *path)
{
	struct menu_file f = file_at(s, path);
	char *text, *line;
	int rc;

	if (!f.path)
		return s->r->e->code;
	if (s->depth == MENU_DEPTH_MAX)
		return err_set(s->r->e, -ELOOP, "files include each other (%.200s)", path);
	rc = menu_read(s->r, &f, &text);
	if (rc == -E2BIG || rc == -ENOMEM)
		return rc;
	if (rc < 0)
		return 0;
	s->depth++;
	for (rc = 0; rc == 0 && (line = menu_line(&text));)
		rc = *line == '#' ? 0 : take_line(s, line);
	s->depth--;
	return rc;
}

/* MENU DEFAULT, else the label that DEFAULT names (it may name a menu program instead), else the first. */
static void choose(struct syslinux *s)
{
	struct menu *m = &s->r->m;

	m->standard = s->marked >= 0 ? (unsigned)s->marked : 0;
	for (unsigned i = 0; s->standard && i < m->count; i++) {
		size_t n = strcspn(s->standard, " \t");

		if (strncasecmp(m->entry[i].id, s->standard, n) == 0 && !m->entry[i].id[n]) {
			m->standard = i;
			return;
		}
	}
}

int menu_read_syslinux(struct menu_reader *r)
{
	struct syslinux s = {.r = r, .marked = -1, .dir = menu_dirname(r, r->m.config.path)};
	int rc;

	if (!s.dir)
		return r->e->code;
	rc = read_file(&s, r->m.config.path);
	if (rc == 0)
		rc = finish_entry(&s);
	choose(&s);
	return rc;
}
