/*
 * Virtio over PCI (virtio 1.2, 4.1): what all virtio devices share. The function is transitional: modern
 * drivers find their registers through capabilities in BAR 4, legacy ones in I/O BAR 0 as in virtio 0.9.5;
 * MSI-X is in BAR 1.
 *
 * A device embeds struct virtio, fills a struct virtio_type (features, queues, hooks) and keeps its
 * configuration space up to date in v->config. Everything else (negotiation, status, queues, interrupts,
 * resets) happens here.
 *
 * Locks: v->lock guards the device; hooks are called with it held. A device's worker takes it to push
 * a chain. A reset stops the queues first and then waits until every chain that was popped has been
 * pushed (the lock is released while it waits): nothing is written to guest memory after a reset.
 *
 * A driver that breaks the rules of a queue stops the device: all queues stop and, for a modern driver,
 * DEVICE_NEEDS_RESET tells it so (2.1.2).
 */
#pragma once

#include "bus/pci.h"
#include "dev/virtqueue.h"

/* Device status (2.1) */
#define VIRTIO_ACKNOWLEDGE 0x01
#define VIRTIO_DRIVER 0x02
#define VIRTIO_DRIVER_OK 0x04
#define VIRTIO_FEATURES_OK 0x08
#define VIRTIO_NEEDS_RESET 0x40
#define VIRTIO_FAILED 0x80

/* Feature bits of all devices (6) */
#define VIRTIO_F_INDIRECT_DESC BIT64(28)
#define VIRTIO_F_EVENT_IDX BIT64(29)
#define VIRTIO_F_VERSION_1 BIT64(32)

/* Register layout of BAR 4 */
#define VIRTIO_BAR_LEGACY 0
#define VIRTIO_BAR_MSIX 1
#define VIRTIO_BAR_MODERN 4
#define VIRTIO_MODERN_COMMON 0x0000
#define VIRTIO_MODERN_ISR 0x1000
#define VIRTIO_MODERN_DEVICE 0x2000
#define VIRTIO_MODERN_NOTIFY 0x3000
#define VIRTIO_MODERN_SIZE 0x4000
#define VIRTIO_NOTIFY_STEP 4 /* bytes from one queue's notify register to the next one's */

#define VIRTIO_CONFIG_MAX 128

struct virtio;

struct virtio_type {
	const char *name;
	u16 id;         /* 5: 1 net, 2 block, 3 console, 4 entropy ... */
	u16 pci_device; /* transitional id, 4.1.2.1 */
	u32 class_code;
	u16 queue_size; /* of every queue, at most */
	u16 config_len; /* bytes of device configuration */
	/*
	 * Hooks, lock held; all but kick may be NULL. kick: a queue may have new chains (virtio_pop). It
	 * runs as soon as the driver notifies, and once for each queue when the driver is ready.
	 */
	void (*kick)(struct virtio *v, unsigned queue);
	/* The driver is ready: v->features is final. Before the first kick that follows from it. */
	void (*ready)(struct virtio *v);
	/* The driver wrote [off, off+size) of v->config, which has not changed yet; take what is allowed. */
	void (*config_write)(struct virtio *v, unsigned off, unsigned size, const u8 *val);
	/* Queues have stopped: push chains that are held back, then forget the driver's settings. */
	void (*reset)(struct virtio *v);
};

struct virtio {
	struct pci_dev pci; /* first member */
	pthread_mutex_t lock;
	pthread_cond_t idle; /* a chain was pushed to a queue that has stopped */
	const struct virtio_type *type;
	struct mem *mem;
	u64 offered;  /* feature bits */
	u64 driver;   /* as the driver wrote them */
	u64 features; /* negotiated */
	u32 offer_select, driver_select;
	u8 status;
	u8 isr;
	u8 generation;
	u16 config_vector;
	u16 queue_select;
	u16 nqueues;
	bool broken;       /* the driver has to reset us */
	unsigned draining; /* threads that wait for chains: writes are ignored meanwhile */
	u8 cfg_cap;        /* VIRTIO_PCI_CAP_PCI_CFG */
	struct virtqueue *queue;
	u8 config[VIRTIO_CONFIG_MAX];
};

struct virtio_setup {
	const struct virtio_type *type;
	struct mem *mem;
	u64 features; /* without those that the core adds: VERSION_1, INDIRECT_DESC, EVENT_IDX */
	u16 nqueues;
	bool msi_only; /* one MSI instead of MSI-X */
};

/* Makes the PCI function; the caller puts v->pci into a slot. -errno. */
int virtio_init(struct virtio *v, const struct virtio_setup *setup);
/* Stops the queues and waits for what is in flight; lock not held. The device is as after power-on. */
void virtio_reset(struct virtio *v);
/* virtio_reset and free. Nobody uses the device any more. */
void virtio_fini(struct virtio *v);

/* --- for devices, lock held --- */

/* May the device use its queues? */
bool virtio_running(const struct virtio *v);
static inline bool virtio_has(const struct virtio *v, u64 feature)
{
	return v->features & feature;
}
/* Next chain of a queue; NULL: none, or the device broke just now. */
struct vq_chain *virtio_pop(struct virtio *v, unsigned queue);
/* Gives a chain back and interrupts the driver if it wants that. */
void virtio_push(struct virtio *v, unsigned queue, struct vq_chain *c, u64 written);
/* The same for chains that the driver has to find at once: written[n] bytes in c[n]. */
void virtio_push_all(
        struct virtio *v, unsigned queue, struct vq_chain *const *c, const u32 *written, unsigned n);
/* Puts back what virtio_pop took, the last one first; nothing was written to it. */
void virtio_unpop(struct virtio *v, unsigned queue, struct vq_chain *c);
/* Sets DEVICE_NEEDS_RESET: the driver did something that has no answer. */
void virtio_break(struct virtio *v);
/* v->config was changed by the device. */
void virtio_config_changed(struct virtio *v);
