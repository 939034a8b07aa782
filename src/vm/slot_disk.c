/*
 * Disks: an image of the block room behind a controller.
 */
#include "base/text.h"
#include "block/image.h"
#include "dev/virtio_blk.h"
#include "vm/slots.h"
#include "vm/vm_int.h"
#include <errno.h>
#include <stdio.h>

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

static void reset(struct slot_dev *s)
{
	virtio_blk_reset(s->device);
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

static int resize(struct slot_dev *s, u64 size, struct err *e)
{
	char now[32];
	int rc = size ? block_grow(s->disk, size) : 0;

	format_size(block_size(s->disk), now, sizeof(now));
	if (rc == -EOPNOTSUPP)
		return err_set(e, rc, "a block device has the size that it has");
	if (rc == -EINVAL)
		return err_set(e, rc,
		        "a disk of a running machine only grows, by whole sectors, or segments up to %u; it "
		        "has %s now",
		        IMAGE_SEGMENTS_MAX, now);
	if (rc == 0)
		rc = virtio_blk_resized(s->device);
	return rc < 0 ? err_errno(e, rc, "the disk cannot be resized") : 0;
}

static void describe(struct slot_dev *s, char *text, size_t len)
{
	snprintf(text, len, "disk %llu%s", (unsigned long long)block_size(s->disk), s->disk->ro ? " ro" : "");
}

void slot_block_stats(const struct block *b, const char *group, struct stats_sink *out)
{
	const struct block_stats *s = &b->stats;
	const struct {
		const char *name;
		const u64 *value;
	} list[] = {{"reads", &s->reads}, {"bytes read", &s->read_bytes}, {"writes", &s->writes},
	        {"bytes written", &s->written_bytes}, {"flushes", &s->flushes}, {"discards", &s->discards},
	        {"failed", &s->failed}};

	for (size_t n = 0; n < ARRAY_SIZE(list); n++)
		stats_put(out, group, list[n].name, __atomic_load_n(list[n].value, __ATOMIC_RELAXED));
}

static void stats(struct slot_dev *s, const char *group, struct stats_sink *out)
{
	slot_block_stats(s->disk, group, out);
}

const struct slot_ops slot_virtio_blk = {.name = "virtio-blk",
        .build = build_virtio_blk,
        .end = end_virtio_blk,
        .reset = reset,
        .disk_grown = virtio_blk_grown,
        .resize = resize,
        .describe = describe,
        .stats = stats,

        .parts = visit_disk};
