/*
 * The virtio entropy device (see virtio_rnd.h). A request is a chain of buffers to fill, from the front;
 * the used length says how far. One that asks for nothing, or that the source fails for, gets nothing.
 */
#include "dev/virtio_rnd.h"

#include "base/log.h"
#include <errno.h>
#include <stdlib.h>

#define ID_ENTROPY 4
#define PCI_ID_ENTROPY 0x1005
#define CLASS_OTHER 0x00ff00
#define QUEUE_SIZE 64

/* As for disks: one notification answers more than the queue has entries only if CPUs race to publish. */
#define ANSWERS_MAX (64 * QUEUE_SIZE)

/* Fills the front of a chain; bytes written. */
static u64 answer(struct virtio_rnd *d, const struct vq_chain *c)
{
	u64 done = 0;

	for (unsigned n = 0; n < c->nwr && done < VIRTIO_RND_MAX; n++) {
		size_t len = (size_t)MIN((u64)c->wr[n].iov_len, VIRTIO_RND_MAX - done);
		int rc = d->cfg.fill(d->cfg.opaque, c->wr[n].iov_base, len);

		if (rc < 0) {
			log_rate("virtio-rnd: no random numbers: %s", strerrordesc_np(-rc));
			break;
		}
		done += len;
	}
	return done;
}

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_rnd *d = container_of(v, struct virtio_rnd, v);

	for (unsigned n = 0; n < ANSWERS_MAX; n++) {
		struct vq_chain *c = virtio_pop(v, queue);

		if (!c)
			return;
		virtio_push(v, queue, c, answer(d, c));
	}
	virtio_break(v);
}

static const struct virtio_type type = {
        .name = "virtio-rnd",
        .id = ID_ENTROPY,
        .pci_device = PCI_ID_ENTROPY,
        .class_code = CLASS_OTHER,
        .queue_size = QUEUE_SIZE,
        .kick = kick,
};

int virtio_rnd_create(struct virtio_rnd **out, const struct virtio_rnd_config *c)
{
	const struct virtio_setup s = {.type = &type, .mem = c->mem, .nqueues = 1, .msi_only = c->msi_only};
	struct virtio_rnd *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->cfg = *c;
	rc = virtio_init(&d->v, &s);
	if (rc < 0) {
		free(d);
		return rc;
	}
	*out = d;
	return 0;
}

void virtio_rnd_destroy(struct virtio_rnd *d)
{
	if (!d)
		return;
	virtio_fini(&d->v);
	free(d);
}
