/*
 * A bus with one virtio function, RAM, and what a driver does with it: registers of both kinds, rings,
 * descriptors. Interrupts are counted.
 */
#pragma once

#include "bench.h"
#include "dev/virtio_pci.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define RAM_SIZE (4 * MiB)
#define ECAM 0xe0000000ull
#define MSI_ADDR 0xfee00000u
#define MSI_DATA 0x40 /* of vector 0; MSI-X vector n has n more */
#define RIG_QUEUES 8

/* Where the driver keeps things. */
#define RING_AT(q) (0x100000ull + (q)*0x4000ull)
#define AVAIL_AT(q) (RING_AT(q) + 2048) /* legacy layout of 128 entries, fine for modern ones too */
#define USED_AT(q) (RING_AT(q) + 4096)
#define RING_SIZE 128

enum irq_mode { IRQ_INTX, IRQ_MSI, IRQ_MSIX };

struct rig {
	struct space ports, memory;
	struct pci_host host;
	struct mem mem;
	struct pci_dev *dev;
	bool legacy, event_idx;
	u64 io, bar, msix;            /* BAR addresses */
	bool line;                    /* level of the INTx line; atomic */
	unsigned rises;               /* atomic */
	unsigned msi[RIG_QUEUES + 2]; /* messages by vector; atomic */
	u16 published[RIG_QUEUES], seen[RIG_QUEUES];
};

static inline void rig_line(void *opaque, unsigned n, bool level)
{
	struct rig *r = opaque;

	if (level)
		__atomic_add_fetch(&r->rises, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&r->line, level, __ATOMIC_SEQ_CST);
}

static inline void rig_msi(void *opaque, u64 addr, u32 data)
{
	struct rig *r = opaque;

	assert_int_equal(addr, MSI_ADDR);
	assert_in_range(data, MSI_DATA, MSI_DATA + RIG_QUEUES + 1);
	__atomic_add_fetch(&r->msi[data - MSI_DATA], 1, __ATOMIC_SEQ_CST);
}

static inline unsigned rig_msis(struct rig *r, unsigned vector)
{
	return __atomic_load_n(&r->msi[vector], __ATOMIC_SEQ_CST);
}

/* Spaces, host, RAM; then the test makes its device and calls rig_plug. */
static inline void rig_init(struct rig *r)
{
	struct pci_host_config c = {
	        .ports = &r->ports,
	        .memory = &r->memory,
	        .ecam_base = ECAM,
	        .mmio_base = 0xc0000000,
	        .mmio_end = 0xe0000000,
	        .mmio64_base = 0xd000000000,
	        .io_base = 0x2000,
	        .msi = {.send = rig_msi, .opaque = r},
	};
	struct err e;

	memset(r, 0, sizeof(*r));
	assert_int_equal(space_init(&r->ports, 0xffff), 0);
	assert_int_equal(space_init(&r->memory, UINT64_MAX), 0);
	assert_int_equal(mem_create(&r->mem, RAM_SIZE, false, false, &e), 0);
	for (unsigned n = 0; n < PCI_LINKS; n++)
		c.ioapic[n] = (struct wire){.set = rig_line, .opaque = r, .n = n};
	assert_int_equal(pci_host_init(&r->host, &c), 0);
}

static inline void rig_plug(struct rig *r, struct pci_dev *d)
{
	r->dev = d;
	assert_int_equal(pci_add(&r->host, d, 0, 4, 0), 0);
	assert_int_equal(pci_assign(&r->host), 0);
	r->io = get_le32(&d->cfg[PCI_BAR0]) & ~3u;
	r->bar = get_le64(&d->cfg[PCI_BAR0 + 16]) & ~15ull;
	r->msix = get_le32(&d->cfg[PCI_BAR0 + 4]) & ~15u;
}

/* The device is gone already. */
static inline void rig_fini(struct rig *r)
{
	pci_host_fini(&r->host);
	assert_int_equal(r->memory.count, 0);
	assert_int_equal(r->ports.count, 0);
	space_fini(&r->ports);
	space_fini(&r->memory);
	mem_destroy(&r->mem);
}

/* --- registers --- */

static inline u64 cfg_addr(unsigned off)
{
	return ECAM + (4u << 15) + off;
}

static inline u32 cfg_rd(struct rig *r, unsigned off, unsigned size)
{
	return (u32)space_read(&r->memory, cfg_addr(off), size);
}

static inline void cfg_wr(struct rig *r, unsigned off, unsigned size, u32 val)
{
	space_write(&r->memory, cfg_addr(off), size, val);
}

static inline u64 rd(struct rig *r, unsigned off, unsigned size)
{
	return space_read(&r->memory, r->bar + off, size);
}

static inline void wr(struct rig *r, unsigned off, unsigned size, u64 val)
{
	space_write(&r->memory, r->bar + off, size, val);
}

static inline u64 old_rd(struct rig *r, unsigned off, unsigned size)
{
	return space_read(&r->ports, r->io + off, size);
}

static inline void old_wr(struct rig *r, unsigned off, unsigned size, u64 val)
{
	space_write(&r->ports, r->io + off, size, val);
}

static inline u8 status(struct rig *r)
{
	return r->legacy ? (u8)old_rd(r, 18, 1) : (u8)rd(r, 0x14, 1);
}

static inline void set_status(struct rig *r, u8 val)
{
	if (r->legacy)
		old_wr(r, 18, 1, val);
	else
		wr(r, 0x14, 1, val);
}

/* Byte off of device configuration. */
static inline u64 config(struct rig *r, unsigned off, unsigned size)
{
	if (!r->legacy)
		return rd(r, VIRTIO_MODERN_DEVICE + off, size);
	return old_rd(r, (pci_msix_enabled(r->dev) ? 24 : 20) + off, size);
}

static inline u64 offered(struct rig *r)
{
	u64 low;

	if (r->legacy)
		return old_rd(r, 0, 4);
	wr(r, 0, 4, 0);
	low = rd(r, 4, 4);
	wr(r, 0, 4, 1);
	return low | rd(r, 4, 4) << 32;
}

/* --- a driver --- */

static inline void enable_irqs(struct rig *r, enum irq_mode mode)
{
	unsigned cap = mode == IRQ_MSI ? r->dev->msi_cap : mode == IRQ_MSIX ? r->dev->msix->cap : 0;

	if (mode == IRQ_INTX)
		return;
	if (mode == IRQ_MSI) {
		cfg_wr(r, cap + 4, 4, MSI_ADDR);
		cfg_wr(r, cap + 12, 2, MSI_DATA);
		cfg_wr(r, cap + 2, 2, 1);
		return;
	}
	for (unsigned n = 0; n < r->dev->msix->count; n++) {
		space_write(&r->memory, r->msix + 16 * n, 4, MSI_ADDR);
		space_write(&r->memory, r->msix + 16 * n + 8, 4, MSI_DATA + n);
		space_write(&r->memory, r->msix + 16 * n + 12, 4, 0);
	}
	cfg_wr(r, cap + 2, 2, 0x8000);
}

static inline void ring_clear(struct rig *r, unsigned q)
{
	assert_int_equal(mem_zero(&r->mem, RING_AT(q), 0x4000), 0);
	r->published[q] = r->seen[q] = 0;
}

static inline void modern_queue(struct rig *r, unsigned q, unsigned vector)
{
	wr(r, 0x16, 2, q);
	wr(r, 0x18, 2, RING_SIZE);
	wr(r, 0x1a, 2, vector);
	wr(r, 0x20, 8, RING_AT(q));
	wr(r, 0x28, 8, AVAIL_AT(q));
	wr(r, 0x30, 8, USED_AT(q));
	wr(r, 0x1c, 2, 1);
	assert_int_equal(rd(r, 0x1c, 2), 1);
}

static inline void legacy_queue(struct rig *r, unsigned q, unsigned vector)
{
	old_wr(r, 14, 2, q);
	assert_int_equal(old_rd(r, 12, 2), RING_SIZE);
	if (pci_msix_enabled(r->dev))
		old_wr(r, 22, 2, vector);
	old_wr(r, 8, 4, RING_AT(q) >> 12);
}

/* Resets and brings the device to DRIVER_OK; vector 0 is for configuration, n + 1 for queue n. */
static inline void drive(struct rig *r, u64 features, unsigned nqueues)
{
	r->event_idx = features & VIRTIO_F_EVENT_IDX;
	set_status(r, 0);
	assert_int_equal(status(r), 0);
	set_status(r, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	if (r->legacy) {
		old_wr(r, 4, 4, features);
		if (pci_msix_enabled(r->dev))
			old_wr(r, 20, 2, 0);
	} else {
		features |= VIRTIO_F_VERSION_1;
		wr(r, 8, 4, 0);
		wr(r, 12, 4, (u32)features);
		wr(r, 8, 4, 1);
		wr(r, 12, 4, features >> 32);
		set_status(r, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
		assert_true(status(r) & VIRTIO_FEATURES_OK);
		wr(r, 0x10, 2, 0);
	}
	for (unsigned q = 0; q < nqueues; q++) {
		ring_clear(r, q);
		if (r->legacy)
			legacy_queue(r, q, q + 1);
		else
			modern_queue(r, q, q + 1);
	}
	set_status(r, status(r) | VIRTIO_DRIVER_OK);
	assert_int_equal(status(r) & VIRTIO_NEEDS_RESET, 0);
}

static inline void put_desc(struct rig *r, u64 table, unsigned n, u64 addr, u32 len, u16 flags, u16 next)
{
	struct vq_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};

	assert_int_equal(mem_write(&r->mem, table + 16 * n, &d, sizeof(d)), 0);
}

static inline void publish(struct rig *r, unsigned q, u16 head)
{
	u8 *avail = mem_ptr(&r->mem, AVAIL_AT(q), 6 + 2 * RING_SIZE);

	put_le16(avail + 4 + 2 * (r->published[q] % RING_SIZE), head);
	__atomic_store_n((u16 *)(void *)(avail + 2), ++r->published[q], __ATOMIC_SEQ_CST);
}

static inline void kick_queue(struct rig *r, unsigned q)
{
	if (r->legacy)
		old_wr(r, 16, 2, q);
	else
		wr(r, VIRTIO_MODERN_NOTIFY + 4 * q, 2, q);
}

static inline u16 used_idx(struct rig *r, unsigned q)
{
	u8 *used = mem_ptr(&r->mem, USED_AT(q), 8);

	if (!used) /* never: the rig's rings are in RAM */
		abort();
	return __atomic_load_n((u16 *)(void *)(used + 2), __ATOMIC_ACQUIRE);
}

/* Waits for the next answer; a device that never answers fails the test. */
static inline struct vq_used next_used(struct rig *r, unsigned q)
{
	struct vq_used u;
	time_t end = time(NULL) + 20;

	while (used_idx(r, q) == r->seen[q]) {
		assert_true(time(NULL) < end);
		sched_yield();
	}
	mem_read(&r->mem, USED_AT(q) + 4 + 8 * (r->seen[q]++ % RING_SIZE), &u, sizeof(u));
	return u;
}
