/*
 * The list of emulations, and the life of all devices in slots: built in the order of the command line,
 * taken apart in the opposite one.
 */
#include "vm/slots.h"

#include "base/log.h"
#include "block/block.h"
#include "vm/device_table.h"
#include "vm/dry.h"
#include "vm/vm_int.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct slot_ops *const emulations[] = {
        &slot_hostbridge,
        &slot_amd_hostbridge,
        &slot_lpc,
        &slot_dummy,
        &slot_uart,
        &slot_virtio_console,
        &slot_virtio_blk,
        &slot_virtio_net,
        &slot_virtio_rnd,
        &slot_ahci,
        &slot_ahci_hd,
        &slot_ahci_cd,
};

struct slots {
	unsigned count; /* whose build was called */
	struct slot_dev dev[];
};

static const struct slot_ops *ops_of(const struct device_type *type)
{
	for (size_t n = 0; n < ARRAY_SIZE(emulations); n++)
		if (strcmp(emulations[n]->name, type->name) == 0)
			return emulations[n];
	BUG("no constructor for %s", type->name);
}

int slot_open_image(
        struct slot_dev *s, struct block **out, const struct image_spec *spec, unsigned flags, struct err *e)
{
	if (s->vm->config->explain)
		return dry_image_open(out, spec, flags, e);
	return image_open(out, spec, flags, &host_io, e);
}

/* A disk that cannot be closed well has lost data: that is said, whatever else happens. */
void slot_close_disk(const struct slot_dev *s, struct block *disk)
{
	int rc = block_close(disk);

	if (rc < 0)
		log_error("-s %u:%u,%s: not everything that was written is safe: %s", s->config->slot,
		        s->config->func, s->config->config, strerror(-rc));
}

static void destruct(struct slot_dev *s)
{
	if (s->device)
		s->ops->end(s);
	slot_close_disk(s, s->disk);
}

/* Puts the option before a message that does not name it. */
static int slot_error(const struct slot_dev *s, int rc, struct err *e)
{
	char text[sizeof(e->text)];
	int status = e->status;

	memcpy(text, e->text, sizeof(text));
	err_set(e, rc, "-s %u:%u,%s: %s", s->config->slot, s->config->func, s->config->type->name, text);
	e->status = status;
	return rc;
}

static int build_one(struct slot_dev *s, struct pci_host *host, struct err *e)
{
	int rc = s->ops->build(s, e);

	if (rc == 0) {
		rc = pci_add(host, s->pci, s->config->bus, s->config->slot, s->config->func);
		if (rc < 0)
			err_errno(e, rc, "cannot be made");
	}
	return rc < 0 ? slot_error(s, rc, e) : 0;
}

int slots_create(struct slots **out, struct vm *vm, struct pci_host *host, struct err *e)
{
	const struct vm_config *c = vm->config;
	struct slots *all = calloc(1, sizeof(*all) + c->nslots * sizeof(all->dev[0]));

	if (!all)
		return err_errno(e, -ENOMEM, "PCI slots");
	*out = all;
	for (unsigned n = 0; n < c->nslots; n++) {
		struct slot_dev *s = &all->dev[n];
		int rc;

		*s = (struct slot_dev){.vm = vm, .config = &c->slots[n], .ops = ops_of(c->slots[n].type)};
		all->count++;
		rc = build_one(s, host, e);
		if (rc < 0)
			return rc;
	}
	if (pci_assign(host) < 0)
		return err_set(e, -ENOSPC, "-s: the devices' registers do not fit their address windows");
	return 0;
}

void slots_stop(struct slots *all)
{
	for (unsigned n = 0; all && n < all->count; n++)
		if (all->dev[n].device && all->dev[n].ops->stop)
			all->dev[n].ops->stop(&all->dev[n]);
}

void slots_reset(struct slots *all)
{
	for (unsigned n = 0; n < all->count; n++)
		if (all->dev[n].ops->reset)
			all->dev[n].ops->reset(&all->dev[n]);
}

void slots_destroy(struct slots *all)
{
	while (all && all->count)
		destruct(&all->dev[--all->count]);
	free(all);
}

unsigned slots_count(const struct slots *all)
{
	return all->count;
}

struct slot_dev *slots_at(const struct slots *all, unsigned n)
{
	return (struct slot_dev *)&all->dev[n];
}

struct slot_dev *slots_find(const struct slots *all, const struct slot_ops *ops)
{
	for (unsigned n = 0; n < all->count; n++)
		if (all->dev[n].ops == ops)
			return slots_at(all, n);
	return NULL;
}
