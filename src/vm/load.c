/*
 * Reads kernel and initrd, wherever they come from, into the guest's memory.
 */
#include "vm/boot_source.h"
#include "vm/device_table.h"
#include "vm/machine.h"
#include "vm/slots.h"
#include "vm/vm_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Disks that are open: a machine that starts again reads its kernel through them. */
struct lending {
	struct place_lent *list;
	unsigned count;
};

static int lend(void *opaque, const struct slot_part *p)
{
	struct lending *l = opaque;
	struct place_lent *more;

	if (!p->disk || !p->image)
		return 0;
	more = reallocarray(l->list, l->count + 2, sizeof(*more));
	if (!more)
		return -ENOMEM;
	l->list = more;
	more[l->count].path = strdup(p->image->path);
	if (!more[l->count].path)
		return -ENOMEM;
	more[l->count++].block = p->disk;
	more[l->count] = (struct place_lent){0};
	return 0;
}

static int lend_disks(struct vm *vm, struct lending *l)
{
	const struct slots *all = vm->machine ? machine_slots(vm->machine) : NULL;
	int rc = 0;

	if (all) { /* an empty list, too, says that the machine is there */
		l->list = calloc(1, sizeof(*l->list));
		rc = l->list ? 0 : -ENOMEM;
	}
	for (unsigned n = 0; all && n < slots_count(all) && rc == 0; n++) {
		struct slot_dev *s = slots_at(all, n);

		rc = s->ops->parts ? s->ops->parts(s, lend, l) : 0;
	}
	return rc;
}

static void end_lending(struct lending *l)
{
	for (unsigned n = 0; n < l->count; n++)
		free((char *)(uintptr_t)l->list[n].path);
	free(l->list);
}

static_assert(CONFIG_MODULES_MAX <= BOOT_MODULES_MAX, "every module of a configuration can be loaded");

static int load_multiboot(struct vm *vm, const struct place_lent *lent, struct err *e)
{
	const struct vm_config *c = vm->config;
	struct boot_module_args module[CONFIG_MODULES_MAX];
	const struct boot_multiboot_args args = {.kernel = c->kernel,
	        .cmdline = c->cmdline,
	        .module = module,
	        .nmodules = c->nmodules,
	        .lent = lent};

	for (unsigned n = 0; n < c->nmodules; n++)
		module[n] = (struct boot_module_args){.path = c->module[n].path, .args = c->module[n].args};
	return boot_multiboot_load(&args, &vm->mem, &vm->image, e);
}

static int load_files(struct vm *vm, const struct place_lent *lent, struct err *e)
{
	const struct boot_source *s = &vm->source;
	struct boot_linux_args args;
	int rc = boot_source_find(&vm->source, vm->config, lent, e);

	if (rc < 0)
		return rc;
	if (vm->config->multiboot)
		return load_multiboot(vm, lent, e);
	args = (struct boot_linux_args){.kernel = s->kernel,
	        .initrd = s->initrd[0],
	        .more = s->initrd + 1,
	        .cmdline = s->cmdline,
	        .lent = lent};
	return boot_linux_load(&args, &vm->mem, &vm->image, e);
}

/* Who has no kernel yet may have it on the CD. */
static int hint_at_disc(const struct vm_config *c, int rc, struct err *e)
{
	char text[sizeof(e->text)];

	if (rc != -ENOENT || c->boot != CONFIG_BOOT_KEXEC || access(c->kernel, F_OK) == 0 ||
	        strchr(c->kernel, ':'))
		return rc;
	memcpy(text, e->text, sizeof(text));
	for (unsigned n = 0; n < c->nslots; n++) {
		const char *disc = c->slots[n].config;

		if (strcmp(c->slots[n].type->name, "ahci-cd") == 0 && *disc)
			return err_set(e, rc,
			        "%.400s; %.*s:/PATH would name one on the CD, and -f iso starts what its "
			        "boot menu "
			        "has",
			        text, (int)strcspn(disc, ","), disc);
	}
	return rc;
}

int vm_load(struct vm *vm, struct err *e)
{
	struct lending l = {0};
	int rc = lend_disks(vm, &l);

	rc = rc < 0 ? err_errno(e, rc, "disks") : load_files(vm, l.list, e);
	end_lending(&l);
	return hint_at_disc(vm->config, rc, e);
}
