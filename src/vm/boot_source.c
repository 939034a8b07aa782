/*
 * -f iso and -f disk: which images are in the slots, what their boot configuration says, and the console that
 * the board has.
 */
#include "vm/boot_source.h"

#include "boot/menu.h"
#include "fs/place.h"
#include "vm/ahci_spec.h"
#include "vm/cmdline.h"
#include "vm/console_spec.h"
#include "vm/device_table.h"
#include <errno.h>
#include <stdlib.h>

#define NAME_MAX_HERE (IMAGE_PATH_MAX + 128)
#define FILE_NAME_MAX (NAME_MAX_HERE + FS_PATH_MAX)

struct source_disk {
	struct image_spec spec;
	struct place_image image;
	char name[NAME_MAX_HERE]; /* as users write it before ":/path" */
};

struct boot_found {
	const struct vm_config *c;
	struct err *e;
	const struct place_lent *lent;
	struct source_disk *disk;
	unsigned ndisks;
	struct menu_disk seen[MENU_DISKS_MAX]; /* those that are open */
	unsigned nseen;
	struct menu *menu;
	const struct menu_entry *entry;
	char *config;
	char *text[BOOT_INITRDS_MAX + 2]; /* names of files and the command line */
	unsigned ntexts;
};

static const char *option_of(const struct vm_config *c)
{
	return c->boot == CONFIG_BOOT_ISO ? "-f iso" : "-f disk";
}

/* Puts the option before a message. */
static int prefix(const struct boot_found *f, int rc)
{
	char text[sizeof(f->e->text)];
	int status = f->e->status;

	memcpy(text, f->e->text, sizeof(text));
	err_set(f->e, rc, "%s: %s", option_of(f->c), text);
	f->e->status = status;
	return rc;
}

static int no_memory(const struct boot_found *f)
{
	return err_set(f->e, -ENOMEM, "out of memory");
}

/* --- the images in the slots --- */

/* Only what PATH.meta does not tell. */
static void name_disk(struct source_disk *d)
{
	const struct image_spec *s = &d->spec;
	char meta[IMAGE_PATH_MAX + 16];
	int n = snprintf(d->name, sizeof(d->name), "%s", s->path);

	image_meta_name(meta, sizeof(meta), s->path);
	if ((!s->split && !s->sparse) || hostio_exists(&host_io, meta) > 0)
		return;
	n += snprintf(d->name + n, sizeof(d->name) - (size_t)n, ",size=%llu", (unsigned long long)s->size);
	if (s->split)
		n += snprintf(d->name + n, sizeof(d->name) - (size_t)n, ",split=%llu",
		        (unsigned long long)s->split);
	if (s->logical)
		n += snprintf(d->name + n, sizeof(d->name) - (size_t)n, ",sectorsize=%u", s->logical);
	snprintf(d->name + n, sizeof(d->name) - (size_t)n, "%s", s->sparse ? ",sparse" : "");
}

static int add_disk(struct boot_found *f, const struct image_spec *spec)
{
	struct source_disk *more;

	if (f->ndisks == MENU_DISKS_MAX)
		return 0;
	more = reallocarray(f->disk, f->ndisks + 1, sizeof(*more));
	if (!more)
		return no_memory(f);
	f->disk = more;
	more[f->ndisks] = (struct source_disk){.spec = *spec};
	name_disk(&more[f->ndisks++]);
	return 0;
}

/* A machine that starts again may have had its disc taken out. */
static bool is_in(const struct boot_found *f, const struct image_spec *spec)
{
	const struct place_lent *lent = f->lent;

	while (lent && lent->path && strcmp(lent->path, spec->path) != 0)
		lent++;
	return !lent || lent->path;
}

static int add_drives(struct boot_found *f, const struct slot_config *s, enum ahci_kind kind)
{
	const char *rest = s->config;
	bool want_cd = f->c->boot == CONFIG_BOOT_ISO;
	struct ahci_drive_spec d;
	int rc = 0;

	while (rest && rc == 0) {
		rc = ahci_spec_next(&d, kind, &rest, f->e);
		if (rc == 0 && d.cd == want_cd && !d.empty && is_in(f, &d.image))
			rc = add_disk(f, &d.image);
	}
	return rc;
}

static int add_slot(struct boot_found *f, const struct slot_config *s)
{
	const char *type = s->type->name;
	struct image_spec spec;
	int rc;

	if (strcmp(type, "ahci-cd") == 0)
		return add_drives(f, s, AHCI_CD);
	if (strcmp(type, "ahci-hd") == 0)
		return add_drives(f, s, AHCI_DISK);
	if (strcmp(type, "ahci") == 0)
		return add_drives(f, s, AHCI_DRIVES);
	if (strcmp(type, "virtio-blk") != 0 || f->c->boot != CONFIG_BOOT_DISK)
		return 0;
	rc = image_parse(&spec, s->config, f->e);
	return rc < 0 ? rc : add_disk(f, &spec);
}

/* The slot behind this one, in the order in which the guest finds them; NULL begins, and is the end. */
static const struct slot_config *next_slot(const struct vm_config *c, const struct slot_config *last)
{
	const struct slot_config *next = NULL;

	for (unsigned i = 0; i < c->nslots; i++) {
		const struct slot_config *s = &c->slots[i];

		if ((!last || slot_address(s) > slot_address(last)) &&
		        (!next || slot_address(s) < slot_address(next)))
			next = s;
	}
	return next;
}

static int collect_disks(struct boot_found *f)
{
	const struct vm_config *c = f->c;
	const struct slot_config *s = NULL;
	int rc = 0;

	while (rc == 0 && (s = next_slot(c, s)))
		rc = add_slot(f, s);
	if (rc < 0 || f->ndisks)
		return rc;
	if (c->boot == CONFIG_BOOT_ISO && f->lent)
		return err_set(f->e, -ENOMEDIUM, "no drive has a disc any more");
	if (c->boot == CONFIG_BOOT_ISO)
		return err_usage(f->e, "no slot has a CD: add -s 3,ahci-cd,PATH");
	return err_usage(f->e, "no slot has a disk: add -s 4,virtio-blk,PATH");
}

/* An image that is not there yet (size= creates it) has nothing to boot; the others may. */
static int open_disks(struct boot_found *f)
{
	struct err first = {0};

	for (unsigned i = 0; i < f->ndisks; i++) {
		struct source_disk *d = &f->disk[i];
		int rc = place_open_spec(&d->image, &d->spec, f->lent, &host_io, f->e);

		if (rc == 0) {
			f->seen[f->nseen++] = (struct menu_disk){d->name, d->image.volumes};
			continue;
		}
		if (rc == -EBUSY || rc == -ENOMEM)
			return rc;
		if (!first.code)
			first = *f->e;
	}
	if (f->nseen)
		return 0;
	*f->e = first;
	return first.code;
}

static void close_disks(struct boot_found *f)
{
	for (unsigned i = 0; i < f->ndisks; i++)
		place_close(&f->disk[i].image);
	f->nseen = 0;
}

/* --- the command line --- */

/* Is something connected to this device that Linux has as a console? number: how many of its kind came
 * before. */
static bool is_console(const struct slot_config *s, const char *type, unsigned *number, bool *connected)
{
	struct console_spec spec;
	struct err ignored;

	if (strcmp(s->type->name, type) != 0)
		return false;
	*connected = s->config[0] != 0;
	if (strcmp(type, "virtio-console") == 0 && console_spec_parse(&spec, s->config, &ignored) == 0) {
		*connected = spec.port[0].backends != NULL;
		console_spec_free(&spec);
	}
	++*number;
	return *connected;
}

/* console= of what is connected: a port of the board, or the first virtio-console, or the first uart. */
static char *console_of(const struct vm_config *c)
{
	static const struct {
		const char *type, *tty;
		unsigned first;
	} kinds[] = {{"virtio-console", "hvc", 0}, {"uart", "ttyS", CONFIG_LPC_PORTS}};
	char *text = NULL;
	bool connected;

	for (unsigned n = 0; n < CONFIG_LPC_PORTS; n++)
		if (c->com[n])
			return asprintf(&text, "console=ttyS%u", n) < 0 ? NULL : text;
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		const struct slot_config *s = NULL;
		unsigned number = 0;

		while ((s = next_slot(c, s)))
			if (is_console(s, kinds[k].type, &number, &connected))
				return asprintf(&text, "console=%s%u", kinds[k].tty,
				               kinds[k].first + number - 1) < 0
				               ? NULL
				               : text;
	}
	return strdup("");
}

static char *keep(struct boot_found *f, char *text)
{
	if (text)
		f->text[f->ntexts++] = text;
	else
		no_memory(f);
	return text;
}

static int make_cmdline(struct boot_found *f, const char **out)
{
	const char *append = f->c->append ? f->c->append : "", *own = f->entry->cmdline;
	bool given = cmdline_has_console(own, NULL) || cmdline_has_console(append, NULL);
	char *console = given ? strdup("") : console_of(f->c), *text = NULL;

	if (console && asprintf(&text, "%s%s%s%s%s", own, *own && *console ? " " : "", console,
	                       *append && (*own || *console) ? " " : "", append) < 0)
		text = NULL;
	free(console);
	*out = keep(f, text);
	return *out ? 0 : f->e->code;
}

/* --- files --- */

static int name_file(struct boot_found *f, const struct menu_file *file, const char **out)
{
	char *name = malloc(FILE_NAME_MAX);

	if (!keep(f, name))
		return f->e->code;
	if (!file->volume)
		return err_set(f->e, -ENOENT, "boot entry \"%.200s\": its disk is not there for %.200s",
		        f->entry->title, file->path);
	if (!menu_file_name(f->seen, file, name, FILE_NAME_MAX))
		return err_set(f->e, -ENAMETOOLONG, "%.200s: too long a name", file->path);
	*out = name;
	return 0;
}

static int name_files(struct boot_found *f, struct boot_source *s)
{
	int rc = name_file(f, &f->entry->kernel, &s->kernel);

	for (unsigned i = 0; i < f->entry->ninitrds && rc == 0; i++)
		rc = name_file(f, &f->entry->initrd[i], &s->initrd[i]);
	return rc == 0 ? make_cmdline(f, &s->cmdline) : rc;
}

static int name_config(struct boot_found *f)
{
	f->config = malloc(FILE_NAME_MAX);
	if (!f->config)
		return no_memory(f);
	if (!menu_file_name(f->seen, &f->menu->config, f->config, FILE_NAME_MAX))
		f->config[0] = 0;
	return 0;
}

static int find(struct boot_found *f, struct boot_source *s)
{
	int rc = collect_disks(f);

	if (rc == 0)
		rc = open_disks(f);
	if (rc == 0)
		rc = menu_open(&f->menu, f->seen, f->nseen, f->e);
	if (rc == 0)
		rc = menu_choose(f->menu, f->c->entry, &f->entry, f->e);
	if (rc == 0)
		rc = name_files(f, s);
	if (rc == 0)
		rc = name_config(f);
	close_disks(f);
	return rc;
}

int boot_source_find(
        struct boot_source *s, const struct vm_config *c, const struct place_lent *lent, struct err *e)
{
	struct boot_found *f;
	int rc;

	boot_source_free(s);
	*s = (struct boot_source){.kernel = c->kernel, .initrd = {c->initrd}, .cmdline = c->cmdline};
	if (c->boot == CONFIG_BOOT_KEXEC)
		return 0;
	s->found = f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	f->c = c;
	f->e = e;
	f->lent = lent;
	rc = find(f, s);
	if (rc < 0) {
		rc = prefix(f, rc);
		boot_source_free(s);
	}
	return rc;
}

void boot_source_free(struct boot_source *s)
{
	struct boot_found *f = s->found;

	if (f) {
		menu_close(f->menu);
		for (unsigned i = 0; i < f->ntexts; i++)
			free(f->text[i]);
		free(f->config);
		free(f->disk);
		free(f);
	}
	*s = (struct boot_source){0};
}

const char *boot_source_config(const struct boot_source *s)
{
	return s->found ? s->found->config : NULL;
}

unsigned boot_source_entries(const struct boot_source *s)
{
	return s->found ? s->found->menu->count : 0;
}

const char *boot_source_entry(const struct boot_source *s, unsigned n, bool *starts)
{
	const struct menu_entry *entry = &s->found->menu->entry[n];

	*starts = entry == s->found->entry;
	return entry->title;
}
