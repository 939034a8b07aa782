/*
 * A virtio disk (virtio 1.2, 5.2): 1af4:1001, legacy and modern drivers.
 *
 * Requests go from the guest's buffers to the block layer without a copy, many at a time; they complete
 * on the block layer's threads in any order. Reset, a queue's removal and destruction wait for them.
 */
#pragma once

#include "block/block.h"
#include "dev/virtio_pci.h"

#define VIRTIO_BLK_QUEUES_MAX 4
#define VIRTIO_BLK_SERIAL 20

struct virtio_blk_config {
	struct mem *mem;
	struct block *block; /* stays the caller's; closed after virtio_blk_destroy */
	const char *serial;  /* first 20 bytes are what GET_ID answers; NULL: the block's own */
	unsigned ncpus;      /* queues: one a CPU, at most VIRTIO_BLK_QUEUES_MAX */
	bool msi_only;       /* one MSI instead of MSI-X (-W) */
};

struct virtio_blk;

int virtio_blk_create(struct virtio_blk **out, const struct virtio_blk_config *c);
/* Waits for requests in flight. No CPU runs any more. NULL is fine. */
void virtio_blk_destroy(struct virtio_blk *d);
void virtio_blk_reset(struct virtio_blk *d);
struct pci_dev *virtio_blk_pci(struct virtio_blk *d); /* for pci_add */
/* Looks at the disk's size again and tells the driver when it has changed. Any thread. 0 or -errno. */
int virtio_blk_resized(struct virtio_blk *d);
