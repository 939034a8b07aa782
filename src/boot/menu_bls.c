/*
 * Entries of the Boot Loader Specification (UAPI.1), type 1: one file each, /loader/entries/ID.conf, with
 * lines of a key and its value. systemd-boot shows them; Fedora's GRUB does with blscfg. Which is the default
 * says loader.conf, a directory above.
 */
#include "boot/menu_int.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

struct bls_entry {
	char *id, *text;
	const char *title, *version, *machine, *sort_key;
	bool bad; /* tried too often */
};

struct bls {
	struct menu_reader *r;
	const struct menu_file *dir;
	const char *root; /* where paths begin that are not there from the top */
	menu_fill_fn fill;
	void *opaque;
	struct bls_entry *entry;
	unsigned count;
};

/* --- order --- */

/* -1, 0, 1 by the rules of the specification: numbers count as numbers, "~" comes before all. */
static int compare_versions(const char *a, const char *b)
{
	for (;;) {
		size_t n, m;
		int c;

		a += strcspn(a, "~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		b += strcspn(b, "~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		if (*a == '~' || *b == '~') {
			if (*a != *b)
				return *a == '~' ? -1 : 1;
			a++;
			b++;
			continue;
		}
		if (!*a || !*b)
			return *a ? 1 : *b ? -1 : 0;
		if (isdigit((unsigned char)*a) || isdigit((unsigned char)*b)) {
			a += strspn(a, "0");
			b += strspn(b, "0");
			n = strspn(a, "0123456789");
			m = strspn(b, "0123456789");
			c = n != m ? (n < m ? -1 : 1) : strncmp(a, b, n);
		} else {
			n = m = 1;
			c = (unsigned char)*a - (unsigned char)*b;
		}
		if (c)
			return c < 0 ? -1 : 1;
		a += n;
		b += m;
	}
}

/* Best first. */
static int compare_entries(const void *x, const void *y)
{
	const struct bls_entry *a = x, *b = y;
	int c = a->bad - b->bad;

	if (c)
		return c;
	if (!*a->sort_key != !*b->sort_key)
		return *a->sort_key ? -1 : 1;
	if (*a->sort_key) {
		c = strcmp(a->sort_key, b->sort_key);
		if (c == 0)
			c = strcmp(a->machine, b->machine);
		if (c == 0)
			c = compare_versions(b->version, a->version);
	}
	return c ? c : compare_versions(b->id, a->id);
}

/* --- reading --- */

/* Calls for each line of the text: key, value. The text is changed, so it is a copy. */
typedef int (*line_fn)(void *opaque, const char *key, char *value);

static int each_line(struct bls *b, const char *text, line_fn fn, void *opaque)
{
	char *copy = menu_strdup(b->r, text), *line;
	int rc = copy ? 0 : b->r->e->code;

	while (rc == 0 && (line = menu_line(&copy))) {
		char *value = menu_word(line);

		if (*line && *line != '#')
			rc = fn(opaque, line, value);
	}
	return rc;
}

static int take_head(void *opaque, const char *key, char *value)
{
	struct bls_entry *entry = opaque;

	if (strcmp(key, "title") == 0)
		entry->title = value;
	else if (strcmp(key, "version") == 0)
		entry->version = value;
	else if (strcmp(key, "machine-id") == 0)
		entry->machine = value;
	else if (strcmp(key, "sort-key") == 0)
		entry->sort_key = value;
	return 0;
}

/* "NAME+LEFT-DONE" of boot counting: NAME, and whether nothing is left. */
static void cut_counter(struct bls_entry *entry)
{
	char *plus = strrchr(entry->id, '+');
	size_t left = plus ? strspn(plus + 1, "0123456789") : 0, done;

	if (!left)
		return;
	done = plus[1 + left] == '-' ? 1 + strspn(plus + 2 + left, "0123456789") : 0;
	if (plus[1 + left + done])
		return;
	entry->bad = strspn(plus + 1, "0") == left;
	*plus = 0;
}

static int add_file(void *opaque, const char *name, const struct fs_node *n)
{
	struct bls *b = opaque;
	struct bls_entry *entry;
	size_t len = strlen(name);
	struct menu_file f = *b->dir;
	int rc;

	if (len <= 5 || strcmp(name + len - 5, ".conf") != 0 || name[0] == '.')
		return 0;
	if (b->count == MENU_FILES_MAX)
		return err_set(b->r->e, -E2BIG, "more than %u boot loader entries", MENU_FILES_MAX);
	f.path = menu_join(b->r, b->dir->path, name);
	entry = &b->entry[b->count];
	*entry = (struct bls_entry){.version = "", .machine = "", .sort_key = ""};
	entry->id = menu_strndup(b->r, name, len - 5);
	if (!f.path || !entry->id)
		return b->r->e->code;
	cut_counter(entry);
	rc = menu_read(b->r, &f, &entry->text);
	if (rc == -E2BIG || rc == -ENOMEM)
		return rc;
	if (rc < 0)
		return 0;
	b->count++;
	return each_line(b, entry->text, take_head, entry);
}

/* --- entries of the menu --- */

struct filling {
	struct bls *b;
	struct menu_entry *entry;
};

static struct menu_file file_at(struct bls *b, const char *path)
{
	struct menu_file f = *b->dir;

	f.path = menu_join(b->r, "", path);
	if (f.path && *b->root && !menu_has(&f, false)) {
		struct menu_file below = f;

		below.path = menu_printf(b->r, "%s%s", b->root, f.path);
		if (below.path && menu_has(&below, false))
			return below;
	}
	return f;
}

static int take_initrds(struct filling *f, char *list)
{
	int rc = 0;

	while (*list && rc == 0) {
		char *rest = menu_word(list);
		struct menu_file file = file_at(f->b, list);

		rc = menu_add_initrd(f->b->r, f->entry, &file);
		list = rest;
	}
	return rc;
}

static int take_body(void *opaque, const char *key, char *value)
{
	struct filling *f = opaque;
	struct bls *b = f->b;

	if (b->fill)
		value = b->fill(b->opaque, value);
	if (!value)
		return b->r->e->code;
	if (strcmp(key, "linux") == 0) {
		f->entry->kernel = file_at(b, value);
		return f->entry->kernel.path ? 0 : b->r->e->code;
	}
	if (strcmp(key, "initrd") == 0)
		return take_initrds(f, value);
	return strcmp(key, "options") == 0 ? menu_append(b->r, f->entry, value) : 0;
}

/* Titles may be the same; the version tells them apart then. */
static const char *title_of(struct bls *b, const struct bls_entry *entry)
{
	if (!entry->title)
		return entry->id;
	for (unsigned i = 0; i < b->count && *entry->version; i++)
		if (&b->entry[i] != entry && b->entry[i].title &&
		        strcmp(b->entry[i].title, entry->title) == 0)
			return menu_printf(b->r, "%s (%s)", entry->title, entry->version);
	return entry->title;
}

static int add_entries(struct bls *b)
{
	int rc = 0;

	qsort(b->entry, b->count, sizeof(*b->entry), compare_entries);
	for (unsigned i = 0; i < b->count && rc == 0; i++) {
		const char *title = title_of(b, &b->entry[i]);
		struct filling f = {b, title ? menu_add(b->r, title) : NULL};

		if (!f.entry)
			return b->r->e->code;
		f.entry->id = b->entry[i].id;
		rc = each_line(b, b->entry[i].text, take_body, &f);
	}
	return rc < 0 ? rc : (int)b->count;
}

int menu_add_bls(
        struct menu_reader *r, const struct menu_file *dir, const char *root, menu_fill_fn fill, void *opaque)
{
	struct bls b = {.r = r, .dir = dir, .root = root, .fill = fill, .opaque = opaque};
	struct fs_node n;
	int rc;

	if (!dir->volume || !dir->volume->fs || fs_find(dir->volume->fs, dir->path, true, &n) < 0)
		return 0;
	b.entry = calloc(MENU_FILES_MAX, sizeof(*b.entry));
	if (!b.entry)
		return err_set(r->e, -ENOMEM, "out of memory");
	r->e->code = 0;
	rc = fs_list(dir->volume->fs, &n, add_file, &b);
	if (rc < 0 && !r->e->code)
		err_errno(r->e, rc, "%.200s", dir->path);
	if (rc == 0)
		rc = add_entries(&b);
	free(b.entry);
	return rc;
}

/* --- systemd-boot --- */

static int take_default(void *opaque, const char *key, char *value)
{
	if (strcmp(key, "default") == 0)
		*(char **)opaque = value;
	return 0;
}

/* default PATTERN, of entries with or without ".conf". */
static int choose(struct menu_reader *r, const struct menu_file *loader)
{
	struct bls b = {.r = r};
	char *text, *pattern = NULL, *name;
	int rc = menu_read(r, loader, &text);

	if (rc == -E2BIG || rc == -ENOMEM)
		return rc;
	rc = rc < 0 ? 0 : each_line(&b, text, take_default, &pattern);
	for (unsigned i = 0; rc == 0 && pattern && i < r->m.count; i++) {
		name = menu_printf(r, "%s.conf", r->m.entry[i].id);
		if (!name)
			return r->e->code;
		if (fnmatch(pattern, name, 0) == 0 || fnmatch(pattern, r->m.entry[i].id, 0) == 0) {
			r->m.standard = i;
			break;
		}
	}
	return rc;
}

/* The partition of /boot (XBOOTLDR) may have more of them. */
static int add_others(struct menu_reader *r, const char *path)
{
	struct volumes *all = r->disk[r->m.config.disk].volumes;
	int rc = 0;

	for (unsigned i = 0; i < all->count && rc >= 0; i++) {
		const struct menu_file dir = {r->m.config.disk, &all->v[i], path};

		if (&all->v[i] != r->m.config.volume)
			rc = menu_add_bls(r, &dir, "", NULL, NULL);
	}
	return rc < 0 ? rc : 0;
}

int menu_read_bls(struct menu_reader *r)
{
	const char *dir = menu_dirname(r, r->m.config.path), *root = dir ? menu_dirname(r, dir) : NULL;
	struct menu_file loader = r->m.config;
	int rc;

	loader.path = root ? menu_printf(r, "%s/loader.conf", dir) : NULL;
	if (!loader.path)
		return r->e->code;
	rc = menu_add_bls(r, &r->m.config, root, NULL, NULL);
	if (rc >= 0)
		rc = add_others(r, r->m.config.path);
	return rc < 0 ? rc : choose(r, &loader);
}
