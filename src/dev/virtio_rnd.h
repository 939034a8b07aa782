/*
 * A virtio entropy source (virtio 1.2, 5.4): 1af4:1005, legacy and modern drivers.
 *
 * A request is answered at once on the thread that notified, so the source must not block; how much one
 * request gets is bounded, drivers ask again for more.
 */
#pragma once

#include "dev/virtio_pci.h"

#define VIRTIO_RND_MAX 4096u /* bytes that one request gets at most */

struct virtio_rnd_config {
	struct mem *mem;
	/* Fills buf, any thread; 0 or -errno. Must not block and must not call the device. */
	int (*fill)(void *opaque, void *buf, size_t len);
	void *opaque;
	bool msi_only; /* one MSI instead of MSI-X (-W) */
};

struct virtio_rnd {
	struct virtio v; /* first member */
	struct virtio_rnd_config cfg;
};

int virtio_rnd_create(struct virtio_rnd **out, const struct virtio_rnd_config *c);
/* NULL is fine. */
void virtio_rnd_destroy(struct virtio_rnd *d);
