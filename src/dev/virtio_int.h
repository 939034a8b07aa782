/*
 * Between the state machine (virtio_pci.c) and the registers (virtio_regs.c). Lock held for all.
 */
#pragma once

#include "dev/virtio_pci.h"

/* registers */
extern const struct region_ops virtio_legacy_ops, virtio_modern_ops;
u64 virtio_modern_read(void *opaque, u64 off, unsigned size);
void virtio_modern_write(void *opaque, u64 off, unsigned size, u64 val);

/* state machine */
void virtio_set_status(struct virtio *v, u8 status, bool legacy);
void virtio_start_queue(struct virtio *v, struct virtqueue *q);
void virtio_stop_queue(struct virtio *v, struct virtqueue *q); /* waits for its chains */
void virtio_notified(struct virtio *v, u64 queue);
u8 virtio_read_isr(struct virtio *v);
/* The vector, or VQ_NO_VECTOR when there is no such one (4.1.5.1.2.1). */
u16 virtio_vector(const struct virtio *v, u16 vector);
struct virtqueue *virtio_selected(struct virtio *v); /* NULL: no such queue */
