/*
 * The state of a virtio device: negotiation, status, queues, interrupts, reset; and the PCI function around
 * it (see virtio_pci.h). Registers are in virtio_regs.c. Section numbers are those of virtio 1.2.
 */
#include "dev/virtio_pci.h"

#include "base/log.h"
#include "dev/virtio_int.h"
#include <errno.h>
#include <stdlib.h>

#define VENDOR_VIRTIO 0x1af4

/* ISR status (4.1.4.5) */
#define ISR_QUEUE 0x01
#define ISR_CONFIG 0x02

/* virtio_pci_cap (4.1.4) */
#define CAP_LEN 2
#define CAP_TYPE 3
#define CAP_BAR 4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_NOTIFY_STEP 16
#define CAP_CFG_DATA 16
#define CAP_SIZE 16
#define CAP_SIZE_MORE 20

enum cap_type { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };

#define COMMON_LEN 0x38
#define LEGACY_HEADER_MAX 24 /* device configuration follows, at 20 or 24 */

/* --- interrupts --- */

static void interrupt(struct virtio *v, u8 cause, u16 vector)
{
	if (pci_msix_enabled(&v->pci)) {
		if (vector != VQ_NO_VECTOR)
			pci_msix_notify(&v->pci, vector);
		return;
	}
	v->isr |= cause;
	pci_msi_notify(&v->pci, 0);
	pci_set_intx(&v->pci, true);
}

u8 virtio_read_isr(struct virtio *v)
{
	u8 isr = v->isr;

	v->isr = 0;
	pci_set_intx(&v->pci, false);
	return isr;
}

u16 virtio_vector(const struct virtio *v, u16 vector)
{
	return v->pci.msix && vector < v->pci.msix->count ? vector : VQ_NO_VECTOR;
}

void virtio_config_changed(struct virtio *v)
{
	v->generation++;
	if (v->status & VIRTIO_DRIVER_OK)
		interrupt(v, ISR_CONFIG, v->config_vector);
}

/* --- queues --- */

bool virtio_running(const struct virtio *v)
{
	if (v->broken || v->draining)
		return false;
	/* Drivers from before virtio 1.0 may use their disk before they say that they are ready. */
	return v->status & VIRTIO_DRIVER_OK ||
	       (v->status & VIRTIO_DRIVER && !(v->status & VIRTIO_FEATURES_OK));
}

struct virtqueue *virtio_selected(struct virtio *v)
{
	return v->queue_select < v->nqueues ? &v->queue[v->queue_select] : NULL;
}

void virtio_break(struct virtio *v)
{
	if (v->broken)
		return;
	log_rate("%s: the driver broke the rules of its queues, device stopped", v->type->name);
	v->broken = true;
	for (unsigned n = 0; n < v->nqueues; n++)
		vq_stop(&v->queue[n]);
	if (!virtio_has(v, VIRTIO_F_VERSION_1))
		return;
	v->status |= VIRTIO_NEEDS_RESET;
	if (v->status & VIRTIO_DRIVER_OK)
		interrupt(v, ISR_CONFIG, v->config_vector);
}

void virtio_start_queue(struct virtio *v, struct virtqueue *q)
{
	if (v->broken || q->running)
		return;
	if (vq_start(q, virtio_has(v, VIRTIO_F_INDIRECT_DESC), virtio_has(v, VIRTIO_F_EVENT_IDX)) < 0)
		virtio_break(v);
}

static bool in_flight(const struct virtio *v, const struct virtqueue *only)
{
	for (unsigned n = 0; n < v->nqueues; n++)
		if (v->queue[n].inflight && (!only || only == &v->queue[n]))
			return true;
	return false;
}

/* Queues have stopped: waits until their chains (only: that queue's) have come back. */
static void drain(struct virtio *v, const struct virtqueue *only)
{
	v->draining++;
	while (in_flight(v, only))
		pthread_cond_wait(&v->idle, &v->lock);
	v->draining--;
}

void virtio_stop_queue(struct virtio *v, struct virtqueue *q)
{
	vq_stop(q);
	drain(v, q);
	for (unsigned n = 0; n < v->nqueues; n++) /* the other queues stood still meanwhile */
		virtio_notified(v, n);
}

void virtio_notified(struct virtio *v, u64 queue)
{
	if (queue < v->nqueues && virtio_running(v) && v->queue[queue].running)
		v->type->kick(v, (unsigned)queue);
}

struct vq_chain *virtio_pop(struct virtio *v, unsigned queue)
{
	struct vq_chain *c = NULL;
	int rc = virtio_running(v) ? vq_pop(&v->queue[queue], &c) : 0;

	if (rc < 0)
		virtio_break(v);
	return rc > 0 ? c : NULL;
}

static void pushed(struct virtio *v, struct virtqueue *q)
{
	if (vq_wants_interrupt(q))
		interrupt(v, ISR_QUEUE, q->vector);
	if (v->draining)
		pthread_cond_broadcast(&v->idle);
}

void virtio_push(struct virtio *v, unsigned queue, struct vq_chain *c, u64 written)
{
	struct virtqueue *q = &v->queue[queue];

	vq_push(q, c, written);
	pushed(v, q);
}

void virtio_push_all(
        struct virtio *v, unsigned queue, struct vq_chain *const *c, const u32 *written, unsigned n)
{
	struct virtqueue *q = &v->queue[queue];

	for (unsigned i = 0; i < n; i++)
		vq_fill(q, c[i], written[i]);
	vq_publish(q);
	pushed(v, q);
}

void virtio_unpop(struct virtio *v, unsigned queue, struct vq_chain *c)
{
	vq_unpop(&v->queue[queue], c);
	if (v->draining)
		pthread_cond_broadcast(&v->idle);
}

/* --- status (3.1) --- */

static void reset_locked(struct virtio *v)
{
	for (unsigned n = 0; n < v->nqueues; n++)
		vq_stop(&v->queue[n]);
	if (v->type->reset)
		v->type->reset(v);
	drain(v, NULL);
	for (unsigned n = 0; n < v->nqueues; n++)
		vq_reset(&v->queue[n]);
	v->driver = v->features = 0;
	v->offer_select = v->driver_select = 0;
	v->queue_select = 0;
	v->config_vector = VQ_NO_VECTOR;
	v->broken = false;
	v->status = 0;
	virtio_read_isr(v);
}

/* 3.1.1: a modern driver takes VERSION_1 and nothing that was not offered. */
static bool features_fine(const struct virtio *v)
{
	return (v->driver & ~v->offered) == 0 && (v->driver & VIRTIO_F_VERSION_1);
}

static void now_ready(struct virtio *v)
{
	if (v->type->ready)
		v->type->ready(v);
	for (unsigned n = 0; n < v->nqueues; n++)
		virtio_notified(v, n);
}

/* Bits are only ever added, by writing 0 they all go. */
void virtio_set_status(struct virtio *v, u8 val, bool legacy)
{
	u8 fresh = (u8)(val & ~v->status & ~VIRTIO_NEEDS_RESET);

	if (val == 0) {
		reset_locked(v);
		return;
	}
	if (fresh & VIRTIO_FEATURES_OK) {
		if (legacy || !features_fine(v) || (v->status & VIRTIO_DRIVER_OK))
			fresh &= (u8)~VIRTIO_FEATURES_OK;
		else
			v->features = v->driver;
	}
	v->status |= fresh & (u8)~VIRTIO_DRIVER_OK;
	if (!(fresh & VIRTIO_DRIVER_OK) || (!legacy && !(v->status & VIRTIO_FEATURES_OK)))
		return;
	v->status |= VIRTIO_DRIVER_OK;
	now_ready(v);
}

void virtio_reset(struct virtio *v)
{
	pthread_mutex_lock(&v->lock);
	reset_locked(v);
	pthread_mutex_unlock(&v->lock);
}

/* --- the window in configuration space (4.1.4.9) --- */

struct window {
	u32 off, size;
};

/* False: the driver has not set up a valid access. */
static bool get_window(struct virtio *v, struct window *w)
{
	const u8 *cap = &v->pci.cfg[v->cfg_cap];
	u8 bar;

	pthread_mutex_lock(&v->pci.host->lock);
	bar = cap[CAP_BAR];
	w->off = get_le32(cap + CAP_OFFSET);
	w->size = get_le32(cap + CAP_LENGTH);
	pthread_mutex_unlock(&v->pci.host->lock);
	return bar == VIRTIO_BAR_MODERN && (w->size == 1 || w->size == 2 || w->size == 4) &&
	       w->off % w->size == 0 && w->off < VIRTIO_MODERN_SIZE;
}

static bool hits_window(const struct virtio *v, unsigned off, unsigned size)
{
	unsigned data = v->cfg_cap + CAP_CFG_DATA;

	return off < data + 4 && off + size > data;
}

static void config_read(struct pci_dev *d, unsigned off, unsigned size, u32 *val)
{
	struct virtio *v = container_of(d, struct virtio, pci);
	unsigned data = v->cfg_cap + CAP_CFG_DATA;
	struct window w;
	u8 bytes[4];
	u32 got;

	if (!hits_window(v, off, size) || !get_window(v, &w))
		return;
	pthread_mutex_lock(&v->lock);
	got = (u32)virtio_modern_read(v, w.off, w.size);
	pthread_mutex_unlock(&v->lock);
	put_le32(bytes, *val);
	for (unsigned n = 0; n < size && n < 4; n++)
		if (off + n >= data && off + n < data + 4)
			bytes[n] = (u8)(got >> 8 * (off + n - data));
	*val = get_le32(bytes);
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct virtio *v = container_of(d, struct virtio, pci);
	struct window w;
	u32 val;

	if (!hits_window(v, off, size) || !get_window(v, &w))
		return;
	pthread_mutex_lock(&d->host->lock);
	val = get_le32(&d->cfg[v->cfg_cap + CAP_CFG_DATA]);
	pthread_mutex_unlock(&d->host->lock);
	pthread_mutex_lock(&v->lock);
	virtio_modern_write(v, w.off, w.size, val & ones(w.size));
	pthread_mutex_unlock(&v->lock);
}

static const struct pci_ops pci_ops = {.cfg_written = config_written, .cfg_read = config_read};

/* --- construction --- */

static u8 add_cap(struct virtio *v, enum cap_type type, u32 off, u32 len)
{
	u8 size = type == CAP_NOTIFY || type == CAP_PCI ? CAP_SIZE_MORE : CAP_SIZE;
	u8 at = pci_add_cap(&v->pci, PCI_CAP_VENDOR, size);
	u8 *cap = &v->pci.cfg[at];

	BUG_ON(at == 0); /* all of ours fit */
	cap[CAP_LEN] = size;
	cap[CAP_TYPE] = (u8)type;
	cap[CAP_BAR] = type == CAP_PCI ? 0 : VIRTIO_BAR_MODERN;
	put_le32(cap + CAP_OFFSET, off);
	put_le32(cap + CAP_LENGTH, len);
	return at;
}

static void add_caps(struct virtio *v)
{
	u8 at;

	add_cap(v, CAP_COMMON, VIRTIO_MODERN_COMMON, COMMON_LEN);
	add_cap(v, CAP_ISR, VIRTIO_MODERN_ISR, 1);
	if (v->type->config_len)
		add_cap(v, CAP_DEVICE, VIRTIO_MODERN_DEVICE, v->type->config_len);
	at = add_cap(v, CAP_NOTIFY, VIRTIO_MODERN_NOTIFY, v->nqueues * VIRTIO_NOTIFY_STEP);
	put_le32(&v->pci.cfg[at + CAP_NOTIFY_STEP], VIRTIO_NOTIFY_STEP);
	v->cfg_cap = add_cap(v, CAP_PCI, 0, 0);
	pci_set_wmask(&v->pci, v->cfg_cap + CAP_BAR, 1, 0xff);
	pci_set_wmask(&v->pci, v->cfg_cap + CAP_OFFSET, 12, 0xff);
}

static int build_function(struct virtio *v, bool msi_only)
{
	const struct pci_identity id = {.vendor = VENDOR_VIRTIO,
	        .device = v->type->pci_device,
	        .class_code = v->type->class_code,
	        .subvendor = VENDOR_VIRTIO,
	        .subsystem = v->type->id};
	int rc;

	pci_dev_init(&v->pci, v->type->name, &id, &pci_ops);
	pci_add_bar(&v->pci, VIRTIO_BAR_LEGACY, PCI_BAR_IO, LEGACY_HEADER_MAX + v->type->config_len,
	        &virtio_legacy_ops, v, &v->lock);
	pci_add_bar(&v->pci, VIRTIO_BAR_MODERN, PCI_BAR_MEM64, VIRTIO_MODERN_SIZE, &virtio_modern_ops, v,
	        &v->lock);
	if (msi_only)
		rc = pci_add_msi(&v->pci, 1);
	else
		rc = pci_add_msix(&v->pci, v->nqueues + 1u, VIRTIO_BAR_MSIX);
	pci_add_intx(&v->pci);
	add_caps(v);
	return rc;
}

static void free_queues(struct virtio *v)
{
	for (unsigned n = 0; n < v->nqueues; n++)
		vq_fini(&v->queue[n]);
	free(v->queue);
}

static int make_queues(struct virtio *v)
{
	int rc = 0;

	v->queue = calloc(v->nqueues, sizeof(*v->queue));
	if (!v->queue)
		return -ENOMEM;
	for (unsigned n = 0; n < v->nqueues && rc == 0; n++)
		rc = vq_init(&v->queue[n], v->mem, v->type->queue_size);
	if (rc < 0)
		free_queues(v);
	return rc;
}

static void release(struct virtio *v)
{
	pci_dev_fini(&v->pci);
	free_queues(v);
	pthread_cond_destroy(&v->idle);
	pthread_mutex_destroy(&v->lock);
}

int virtio_init(struct virtio *v, const struct virtio_setup *s)
{
	int rc;

	BUG_ON(s->nqueues == 0 || s->nqueues >= PCI_MSIX_MAX || s->type->config_len > VIRTIO_CONFIG_MAX);
	memset(v, 0, sizeof(*v));
	v->type = s->type;
	v->mem = s->mem;
	v->nqueues = s->nqueues;
	v->offered = s->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
	v->config_vector = VQ_NO_VECTOR;
	rc = make_queues(v);
	if (rc < 0)
		return rc;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->idle, NULL);
	rc = build_function(v, s->msi_only);
	if (rc < 0)
		release(v);
	return rc;
}

void virtio_fini(struct virtio *v)
{
	virtio_reset(v);
	release(v);
}
