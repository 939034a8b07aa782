/*
 * Disks: an image of the block room behind a controller.
 */
#include "block/image.h"
#include "dev/virtio_blk.h"
#include "vm/slots.h"
#include "vm/vm_int.h"

static int open_disk(struct slot_dev *s, struct err *e)
{
	struct image_spec spec;
	int rc = image_parse(&spec, s->config->config, e);

	return rc < 0 ? rc : slot_open_image(s, &s->disk, &spec, IMAGE_CREATE, e);
}

static int build_virtio_blk(struct slot_dev *s, struct err *e)
{
	struct virtio_blk *blk;
	int rc = open_disk(s, e);

	if (rc < 0)
		return rc;
	const struct virtio_blk_config c = {.mem = &s->vm->mem,
	        .block = s->disk,
	        .ncpus = s->vm->config->ncpus,
	        .msi_only = s->vm->config->msi_only};
	rc = virtio_blk_create(&blk, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot be made");
	s->device = blk;
	s->pci = virtio_blk_pci(blk);
	return 0;
}

static void end_virtio_blk(struct slot_dev *s)
{
	virtio_blk_destroy(s->device);
}

static void virtio_blk_grown(struct slot_dev *s)
{
	virtio_blk_resized(s->device);
}

static int visit_disk(struct slot_dev *s, slot_visit visit, void *opaque)
{
	struct image_spec spec;
	struct err e;
	const struct slot_part part = {.kind = PART_VIRTIO_DISK, .disk = s->disk, .image = &spec};
	int rc = image_parse(&spec, s->config->config, &e);

	return rc < 0 ? rc : visit(opaque, &part);
}

const struct slot_ops slot_virtio_blk = {.name = "virtio-blk",
        .build = build_virtio_blk,
        .end = end_virtio_blk,
        .disk_grown = virtio_blk_grown,
        .parts = visit_disk};
