/*
 * The registers of a virtio function: common configuration, ISR, device configuration and notification in
 * BAR 4 (virtio 1.2, 4.1.4), and the legacy header in I/O BAR 0 (4.1.4.10).
 *
 * An access of any width touches one or more registers. A write merges its bytes into the value that a
 * register has and stores that; a driver that writes 32 bits at once or four bytes gets the same.
 */
#include "dev/virtio_int.h"

/* One register: where, how long, what. */
struct reg {
	u8 off, len, id;
};

enum reg_id {
	OFFER_SELECT,
	OFFER,
	DRIVER_SELECT,
	DRIVER,
	CONFIG_VECTOR,
	NUM_QUEUES,
	STATUS,
	GENERATION,
	QUEUE_SELECT,
	QUEUE_SIZE,
	QUEUE_VECTOR,
	QUEUE_ENABLE,
	QUEUE_NOTIFY_OFF,
	DESC_LOW,
	DESC_HIGH,
	AVAIL_LOW,
	AVAIL_HIGH,
	USED_LOW,
	USED_HIGH,
	/* legacy only */
	OLD_OFFER,
	OLD_DRIVER,
	OLD_PFN,
	OLD_SIZE,
	OLD_NOTIFY,
	OLD_STATUS,
	OLD_ISR,
};

/* virtio_pci_common_cfg (4.1.4.3) */
static const struct reg common[] = {
        {0x00, 4, OFFER_SELECT},
        {0x04, 4, OFFER},
        {0x08, 4, DRIVER_SELECT},
        {0x0c, 4, DRIVER},
        {0x10, 2, CONFIG_VECTOR},
        {0x12, 2, NUM_QUEUES},
        {0x14, 1, STATUS},
        {0x15, 1, GENERATION},
        {0x16, 2, QUEUE_SELECT},
        {0x18, 2, QUEUE_SIZE},
        {0x1a, 2, QUEUE_VECTOR},
        {0x1c, 2, QUEUE_ENABLE},
        {0x1e, 2, QUEUE_NOTIFY_OFF},
        {0x20, 4, DESC_LOW},
        {0x24, 4, DESC_HIGH},
        {0x28, 4, AVAIL_LOW},
        {0x2c, 4, AVAIL_HIGH},
        {0x30, 4, USED_LOW},
        {0x34, 4, USED_HIGH},
};

/* 4.1.4.10; the vectors are there only while MSI-X is on */
static const struct reg legacy[] = {
        {0, 4, OLD_OFFER},
        {4, 4, OLD_DRIVER},
        {8, 4, OLD_PFN},
        {12, 2, OLD_SIZE},
        {14, 2, QUEUE_SELECT},
        {16, 2, OLD_NOTIFY},
        {18, 1, OLD_STATUS},
        {19, 1, OLD_ISR},
        {20, 2, CONFIG_VECTOR},
        {22, 2, QUEUE_VECTOR},
};

#define LEGACY_HEADER 20u
#define LEGACY_HEADER_MSIX 24u
#define LEGACY_PAGE_SHIFT 12

/* --- values --- */

static u32 half(u64 val, u32 select)
{
	return select == 0 ? (u32)val : select == 1 ? (u32)(val >> 32) : 0;
}

static void set_half(u64 *val, u32 select, u32 new)
{
	if (select == 0)
		*val = (*val & ~0xffffffffull) | new;
	else if (select == 1)
		*val = (u32)*val | (u64) new << 32;
}

static u32 read_queue(struct virtio *v, const struct virtqueue *q, enum reg_id id)
{
	if (!q)
		return id == QUEUE_VECTOR ? VQ_NO_VECTOR : 0;
	switch (id) {
	case QUEUE_SIZE: return q->size;
	case QUEUE_VECTOR: return q->vector;
	case QUEUE_ENABLE: return q->running;
	case QUEUE_NOTIFY_OFF: return v->queue_select;
	case DESC_LOW: return (u32)q->desc;
	case DESC_HIGH: return (u32)(q->desc >> 32);
	case AVAIL_LOW: return (u32)q->avail;
	case AVAIL_HIGH: return (u32)(q->avail >> 32);
	case USED_LOW: return (u32)q->used;
	case USED_HIGH: return (u32)(q->used >> 32);
	case OLD_PFN: return (u32)(q->desc >> LEGACY_PAGE_SHIFT);
	case OLD_SIZE: return q->max;
	default: return 0;
	}
}

/* peek: without side effects, for the bytes that a write leaves alone. */
static u32 read_reg(struct virtio *v, enum reg_id id, bool peek)
{
	switch (id) {
	case OFFER_SELECT: return v->offer_select;
	case OFFER: return half(v->offered, v->offer_select);
	case DRIVER_SELECT: return v->driver_select;
	case DRIVER: return half(v->driver, v->driver_select);
	case CONFIG_VECTOR: return v->config_vector;
	case NUM_QUEUES: return v->nqueues;
	case STATUS:
	case OLD_STATUS: return v->status;
	case GENERATION: return v->generation;
	case QUEUE_SELECT: return v->queue_select;
	case OLD_OFFER: return (u32)v->offered;
	case OLD_DRIVER: return (u32)v->driver;
	case OLD_ISR: return peek ? 0 : virtio_read_isr(v);
	default: return read_queue(v, virtio_selected(v), id);
	}
}

/* Legacy queues are one piece: descriptors, available ring, and on the next page the used ring (2.7.2). */
static void set_pfn(struct virtio *v, struct virtqueue *q, u32 pfn)
{
	if (pfn == 0) {
		virtio_stop_queue(v, q);
		if (!q->inflight)
			q->desc = q->avail = q->used = 0;
		return;
	}
	if (q->running)
		return;
	q->size = q->max;
	q->desc = (u64)pfn << LEGACY_PAGE_SHIFT;
	q->avail = q->desc + sizeof(struct vq_desc) * q->size;
	q->used = ALIGN_UP(q->avail + 6 + 2ull * q->size, BIT64(LEGACY_PAGE_SHIFT));
	virtio_start_queue(v, q);
}

/* Settings of a running queue stay: it uses what was latched, but they would read as lies. */
static void write_queue(struct virtio *v, struct virtqueue *q, enum reg_id id, u32 val)
{
	if (id == QUEUE_VECTOR)
		q->vector = virtio_vector(v, (u16)val);
	else if (id == OLD_PFN)
		set_pfn(v, q, val);
	if (q->running)
		return;
	switch (id) {
	case QUEUE_SIZE: q->size = (u16)val; break;
	case QUEUE_ENABLE:
		if (val == 1 && (v->status & VIRTIO_FEATURES_OK))
			virtio_start_queue(v, q);
		break;
	case DESC_LOW: set_half(&q->desc, 0, val); break;
	case DESC_HIGH: set_half(&q->desc, 1, val); break;
	case AVAIL_LOW: set_half(&q->avail, 0, val); break;
	case AVAIL_HIGH: set_half(&q->avail, 1, val); break;
	case USED_LOW: set_half(&q->used, 0, val); break;
	case USED_HIGH: set_half(&q->used, 1, val); break;
	default: break;
	}
}

static void write_driver_features(struct virtio *v, enum reg_id id, u32 val)
{
	if (v->status & (VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK))
		return;
	if (id == DRIVER) {
		set_half(&v->driver, v->driver_select, val);
		return;
	}
	/* There is no FEATURES_OK in legacy drivers: they have what they wrote. */
	v->driver = v->features = val & v->offered;
}

static void write_reg(struct virtio *v, enum reg_id id, u32 val)
{
	struct virtqueue *q = virtio_selected(v);

	if (v->draining && !((id == STATUS || id == OLD_STATUS) && val == 0))
		return;
	switch (id) {
	case OFFER_SELECT: v->offer_select = val; break;
	case DRIVER_SELECT: v->driver_select = val; break;
	case DRIVER:
	case OLD_DRIVER: write_driver_features(v, id, val); break;
	case CONFIG_VECTOR: v->config_vector = virtio_vector(v, (u16)val); break;
	case STATUS: virtio_set_status(v, (u8)val, false); break;
	case OLD_STATUS: virtio_set_status(v, (u8)val, true); break;
	case QUEUE_SELECT: v->queue_select = (u16)val; break;
	case OLD_NOTIFY: virtio_notified(v, val); break;
	case OFFER:
	case OLD_OFFER:
	case NUM_QUEUES:
	case GENERATION:
	case QUEUE_NOTIFY_OFF:
	case OLD_SIZE:
	case OLD_ISR: break;
	default:
		if (q)
			write_queue(v, q, id, val);
	}
}

/* --- accesses --- */

static u64 read_regs(struct virtio *v, const struct reg *r, size_t count, u64 off, unsigned size)
{
	u64 val = 0;

	for (; count; count--, r++) {
		u64 reg;

		if (r->off >= off + size || r->off + r->len <= off)
			continue;
		reg = read_reg(v, r->id, false);
		val |= r->off >= off ? reg << 8 * (r->off - off) : reg >> 8 * (off - r->off);
	}
	return val & ones(size);
}

/* Registers in ascending order, as a driver would write them one by one. */
static void write_regs(struct virtio *v, const struct reg *r, size_t count, u64 off, unsigned size, u64 val)
{
	for (; count; count--, r++) {
		u64 old, new, mask;

		if (r->off >= off + size || r->off + r->len <= off)
			continue;
		old = read_reg(v, r->id, true);
		mask = r->off >= off ? ones(size) >> 8 * (r->off - off) : ones(size) << 8 * (off - r->off);
		new = r->off >= off ? val >> 8 * (r->off - off) : val << 8 * (off - r->off);
		mask &= ones(r->len);
		write_reg(v, r->id, (u32)((old & ~mask) | (new &mask)));
	}
}

static u64 read_config(const struct virtio *v, u64 off, unsigned size)
{
	u64 val = 0;

	for (unsigned n = 0; n < size; n++)
		if (off + n < v->type->config_len)
			val |= (u64)v->config[off + n] << 8 * n;
	return val;
}

static void write_config(struct virtio *v, u64 off, unsigned size, u64 val)
{
	u8 bytes[8];

	if (off >= v->type->config_len || !v->type->config_write || v->draining)
		return;
	put_le64(bytes, val);
	v->type->config_write(v, (unsigned)off, (unsigned)MIN((u64)size, v->type->config_len - off), bytes);
}

u64 virtio_modern_read(void *opaque, u64 off, unsigned size)
{
	struct virtio *v = opaque;

	if (off >= VIRTIO_MODERN_NOTIFY)
		return 0;
	if (off >= VIRTIO_MODERN_DEVICE)
		return read_config(v, off - VIRTIO_MODERN_DEVICE, size);
	if (off >= VIRTIO_MODERN_ISR)
		return off == VIRTIO_MODERN_ISR ? virtio_read_isr(v) : 0;
	return read_regs(v, common, ARRAY_SIZE(common), off, size);
}

void virtio_modern_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct virtio *v = opaque;

	if (off >= VIRTIO_MODERN_NOTIFY)
		virtio_notified(v, (off - VIRTIO_MODERN_NOTIFY) / VIRTIO_NOTIFY_STEP);
	else if (off >= VIRTIO_MODERN_DEVICE)
		write_config(v, off - VIRTIO_MODERN_DEVICE, size, val);
	else if (off < VIRTIO_MODERN_ISR)
		write_regs(v, common, ARRAY_SIZE(common), off, size, val);
}

/* Where device configuration starts: it moves when MSI-X is switched on. */
static unsigned legacy_header(struct virtio *v)
{
	return pci_msix_enabled(&v->pci) ? LEGACY_HEADER_MSIX : LEGACY_HEADER;
}

static size_t legacy_regs(unsigned header)
{
	return header == LEGACY_HEADER ? ARRAY_SIZE(legacy) - 2 : ARRAY_SIZE(legacy);
}

static u64 legacy_read(void *opaque, u64 off, unsigned size)
{
	struct virtio *v = opaque;
	unsigned header = legacy_header(v);

	if (off >= header)
		return read_config(v, off - header, size);
	return read_regs(v, legacy, legacy_regs(header), off, size);
}

static void legacy_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct virtio *v = opaque;
	unsigned header = legacy_header(v);

	if (off >= header)
		write_config(v, off - header, size, val);
	else
		write_regs(v, legacy, legacy_regs(header), off, size, val);
}

/* Headers end at multiples of 4: no access straddles their end. */
const struct region_ops virtio_legacy_ops = {.read = legacy_read, .write = legacy_write, .min = 1, .max = 4};
const struct region_ops virtio_modern_ops = {
        .read = virtio_modern_read, .write = virtio_modern_write, .min = 1, .max = 4};
