/*
 * What the readers of boot configurations share, where configurations are, and the choice of an entry.
 */
#include "boot/menu_int.h"

#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* --- memory --- */

struct menu_chunk {
	struct menu_chunk *next;
	char data[];
};

char *menu_alloc(struct menu_reader *r, size_t n)
{
	struct menu_chunk *c;

	if (n >= MENU_MEMORY_MAX - r->used) {
		err_set(r->e, -E2BIG, "the boot configuration is too large");
		return NULL;
	}
	c = malloc(sizeof(*c) + n + 1);
	if (!c) {
		err_set(r->e, -ENOMEM, "out of memory");
		return NULL;
	}
	/* counted with what the allocation itself takes, so that many small ones have a limit, too */
	r->used += sizeof(*c) + n + 1 + 16;
	r->used = MIN(r->used, MENU_MEMORY_MAX);
	c->next = r->chunks;
	r->chunks = c;
	c->data[n] = 0;
	return c->data;
}

char *menu_strndup(struct menu_reader *r, const char *s, size_t n)
{
	char *copy = menu_alloc(r, n);

	return copy ? memcpy(copy, s, n) : NULL;
}

char *menu_strdup(struct menu_reader *r, const char *s)
{
	return menu_strndup(r, s, strlen(s));
}

char *menu_printf(struct menu_reader *r, const char *fmt, ...)
{
	char *text = NULL, *copy;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		err_set(r->e, -ENOMEM, "out of memory");
		return NULL;
	}
	copy = menu_strndup(r, text, (size_t)n);
	free(text);
	return copy;
}

static void free_chunks(struct menu_reader *r)
{
	while (r->chunks) {
		struct menu_chunk *c = r->chunks;

		r->chunks = c->next;
		free(c);
	}
}

/* --- files --- */

int menu_read(struct menu_reader *r, const struct menu_file *f, char **text)
{
	struct fs_node n;
	int rc;

	if (!f->volume || !f->volume->fs)
		return -ENOENT;
	rc = fs_find(f->volume->fs, f->path, true, &n);
	if (rc < 0 || n.type != FS_FILE)
		return rc < 0 ? rc : -EISDIR;
	if (n.size > MENU_TEXT_MAX || r->files == MENU_FILES_MAX)
		return err_set(r->e, -E2BIG, "the boot configuration is too large (%.200s)", f->path);
	r->files++;
	*text = menu_alloc(r, n.size);
	if (!*text)
		return r->e->code;
	rc = fs_read(f->volume->fs, &n, *text, n.size, 0);
	for (u64 i = 0; rc == 0 && i < n.size; i++)
		if (!(*text)[i])
			(*text)[i] = ' ';
	return rc;
}

bool menu_has(const struct menu_file *f, bool size)
{
	struct fs_node n;

	return f->volume && f->volume->fs && fs_find(f->volume->fs, f->path, true, &n) == 0 &&
	       (!size || (n.type == FS_FILE && n.size));
}

char *menu_join(struct menu_reader *r, const char *dir, const char *path)
{
	return path[0] == '/' ? menu_strdup(r, path) : menu_printf(r, "%s/%s", dir, path);
}

char *menu_dirname(struct menu_reader *r, const char *path)
{
	const char *slash = strrchr(path, '/');

	return menu_strndup(r, path, slash ? (size_t)(slash - path) : 0);
}

/* --- lines --- */

char *menu_line(char **text)
{
	char *line = *text, *end;

	if (!*line)
		return NULL;
	end = line + strcspn(line, "\n");
	*text = *end ? end + 1 : end;
	*end = 0;
	while (end > line && isspace((unsigned char)end[-1]))
		*--end = 0;
	while (isspace((unsigned char)*line))
		line++;
	return line;
}

char *menu_word(char *line)
{
	char *end = line + strcspn(line, " \t");

	if (!*end)
		return end;
	*end++ = 0;
	return end + strspn(end, " \t");
}

/* --- entries --- */

struct menu_entry *menu_add(struct menu_reader *r, const char *title)
{
	struct menu_entry *bigger;

	if (r->m.count == MENU_ENTRIES_MAX) {
		err_set(r->e, -E2BIG, "the boot menu has more than %u entries", MENU_ENTRIES_MAX);
		return NULL;
	}
	if (r->m.count == r->room) {
		bigger = reallocarray(r->m.entry, r->room + 32, sizeof(*bigger));
		if (!bigger) {
			err_set(r->e, -ENOMEM, "out of memory");
			return NULL;
		}
		r->m.entry = bigger;
		r->room += 32;
	}
	r->m.entry[r->m.count] = (struct menu_entry){.title = menu_strdup(r, title), .cmdline = ""};
	return r->m.entry[r->m.count].title ? &r->m.entry[r->m.count++] : NULL;
}

int menu_add_initrd(struct menu_reader *r, struct menu_entry *entry, const struct menu_file *f)
{
	if (entry->ninitrds == MENU_INITRDS_MAX)
		return err_set(r->e, -E2BIG, "a boot entry has more than %u initrds", MENU_INITRDS_MAX);
	if (f->path)
		entry->initrd[entry->ninitrds++] = *f;
	return f->path ? 0 : r->e->code;
}

int menu_append(struct menu_reader *r, struct menu_entry *entry, const char *words)
{
	const char *have = entry->cmdline;

	words += strspn(words, " \t");
	if (strlen(have) + strlen(words) >= MENU_CMDLINE_MAX)
		return err_set(r->e, -E2BIG, "the command line of a boot entry is too long");
	entry->cmdline = menu_printf(r, "%s%s%s", have, *have && *words ? " " : "", words);
	return entry->cmdline ? 0 : r->e->code;
}

/* --- finding the configuration --- */

struct place_of_config {
	const char *path;
	const char *kind;
	int (*read)(struct menu_reader *r);
};

#define ISOLINUX "isolinux.cfg", menu_read_syslinux
#define SYSLINUX "syslinux.cfg", menu_read_syslinux
#define EXTLINUX "extlinux.conf", menu_read_syslinux
#define GRUB "grub.cfg", menu_read_grub
#define BLS "boot loader entries", menu_read_bls

/*
 * In the order of preference. The GRUB configuration of a file system for EFI often only leads to the real
 * one, so it comes behind all others.
 */
static const struct place_of_config places[] = {
        {"/boot/grub/grub.cfg", GRUB},
        {"/boot/grub2/grub.cfg", GRUB},
        {"/grub/grub.cfg", GRUB},
        {"/grub2/grub.cfg", GRUB},
        {"/loader/entries", BLS},
        {"/boot/loader/entries", BLS},
        {"/isolinux/isolinux.cfg", ISOLINUX},
        {"/boot/isolinux/isolinux.cfg", ISOLINUX},
        {"/isolinux.cfg", ISOLINUX},
        {"/boot/extlinux/extlinux.conf", EXTLINUX},
        {"/extlinux/extlinux.conf", EXTLINUX},
        {"/boot/extlinux.conf", EXTLINUX},
        {"/extlinux.conf", EXTLINUX},
        {"/boot/syslinux/syslinux.cfg", SYSLINUX},
        {"/syslinux/syslinux.cfg", SYSLINUX},
        {"/boot/syslinux/extlinux.conf", EXTLINUX},
        {"/syslinux.cfg", SYSLINUX},
        {"/EFI/BOOT/grub.cfg", GRUB},
        {"/EFI/debian/grub.cfg", GRUB},
        {"/EFI/ubuntu/grub.cfg", GRUB},
        {"/EFI/fedora/grub.cfg", GRUB},
};

static bool bootable(const struct menu *m)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->entry[i].kernel.path)
			return true;
	return false;
}

static void forget(struct menu_reader *r)
{
	free_chunks(r);
	free(r->m.entry);
}

/* 1: this is it. 0: there is none, or one that starts no Linux. */
static int try_place(struct menu_reader *r, unsigned disk, struct volume *v, const struct place_of_config *p)
{
	const struct menu_file config = {disk, v, p->path};
	int rc;

	if (!v->fs || !menu_has(&config, false))
		return 0;
	*r = (struct menu_reader){
	        .disk = r->disk, .ndisks = r->ndisks, .e = r->e, .m = {.kind = p->kind, .config = config}};
	rc = p->read(r);
	if (rc == 0 && bootable(&r->m))
		return 1;
	forget(r);
	return rc;
}

/* The first that has a kernel to start; else the first error. */
static int try_disk(struct menu_reader *r, unsigned disk, struct err *first)
{
	struct volumes *all = r->disk[disk].volumes;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		for (unsigned n = 0; n < all->count; n++) {
			int rc = try_place(r, disk, &all->v[n], &places[i]);

			if (rc > 0)
				return 1;
			if (rc < 0 && !first->code)
				err_set(first, rc, "%.120s in %s: %.300s", places[i].path,
				        volume_name(&all->v[n], (char[32]){0}), r->e->text);
		}
	}
	return 0;
}

static int nothing_found(const struct menu_reader *r, const struct err *first, struct err *e)
{
	const struct volumes *v = r->disk[0].volumes;
	char name[32];

	if (first->code) {
		*e = *first;
		return first->code;
	}
	for (unsigned i = 0; r->ndisks == 1 && i < v->count; i++)
		if (v->v[i].why.code)
			return err_set(e, v->v[i].why.code, "%s: %s: %s", r->disk[0].name,
			        volume_name(&v->v[i], name), v->v[i].why.text);
	return err_set(e, -ENOENT,
	        "%s%s: no boot configuration that starts Linux (grub.cfg, loader/entries, isolinux.cfg, "
	        "syslinux.cfg, extlinux.conf); a kernel in it can be named: -f kexec,%s:/PATH",
	        r->disk[0].name, r->ndisks > 1 ? " and the other disks" : "", r->disk[0].name);
}

int menu_open(struct menu **out, const struct menu_disk *disk, unsigned ndisks, struct err *e)
{
	struct menu_reader r = {.disk = disk, .ndisks = ndisks, .e = e}, *kept;
	struct err first = {0};

	for (unsigned i = 0; i < ndisks; i++) {
		if (try_disk(&r, i, &first) <= 0)
			continue;
		kept = malloc(sizeof(*kept));
		if (!kept) {
			forget(&r);
			return err_set(e, -ENOMEM, "out of memory");
		}
		*kept = r;
		*out = &kept->m;
		return 0;
	}
	return nothing_found(&r, &first, e);
}

void menu_close(struct menu *m)
{
	struct menu_reader *r = m ? container_of(m, struct menu_reader, m) : NULL;

	if (r)
		forget(r);
	free(r);
}

/* --- choosing --- */

static int list_entries(const struct menu *m, const char *which, struct err *e)
{
	char list[420];
	size_t len = 0;

	for (unsigned i = 0; i < m->count && len < sizeof(list) - 80; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%u \"%.60s\"", i ? ", " : "", i,
		        m->entry[i].title);
	return err_set(e, -ENOENT, "no boot entry \"%.80s\"; there are %.*s%s", which,
	        (int)MIN(len, sizeof(list)), list, len < sizeof(list) - 80 ? "" : ", ...");
}

static bool names(const struct menu_entry *entry, const char *which)
{
	const char *leaf = strrchr(entry->title, '>');

	return strcmp(entry->title, which) == 0 || (entry->id && strcmp(entry->id, which) == 0) ||
	       (leaf && strcmp(leaf + 1, which) == 0);
}

/* -1: none, -2: several. */
static int find_part(const struct menu *m, const char *which)
{
	int found = -1;

	for (unsigned i = 0; i < m->count; i++) {
		if (!strcasestr(m->entry[i].title, which))
			continue;
		if (found >= 0)
			return -2;
		found = (int)i;
	}
	return found;
}

static int find_entry(const struct menu *m, const char *which)
{
	u64 n;

	for (unsigned i = 0; i < m->count; i++)
		if (names(&m->entry[i], which))
			return (int)i;
	if (parse_uint(which, 0, MENU_ENTRIES_MAX, &n) == 0)
		return n < m->count ? (int)n : -1;
	return find_part(m, which);
}

int menu_choose(const struct menu *m, const char *which, const struct menu_entry **out, struct err *e)
{
	int i = which ? find_entry(m, which) : (int)m->standard;

	if (i == -2)
		return err_set(e, -ENOENT, "several boot entries have \"%.80s\" in their title", which);
	if (i < 0 || (unsigned)i >= m->count)
		return list_entries(m, which ? which : "default", e);
	*out = &m->entry[i];
	if (!(*out)->kernel.path)
		return err_set(e, -ENOEXEC, "boot entry %d \"%.200s\" starts no Linux kernel%s", i,
		        (*out)->title, which ? "" : "; entry= chooses another one");
	return 0;
}

bool menu_file_name(const struct menu_disk *disks, const struct menu_file *f, char *buf, size_t cap)
{
	const char *name = disks[f->disk].name;
	int n;

	if (f->volume && f->volume->number)
		n = snprintf(buf, cap, "%s:%u:%s", name, f->volume->number, f->path);
	else
		n = snprintf(buf, cap, "%s:%s", name, f->path);
	return n >= 0 && (size_t)n < cap;
}
