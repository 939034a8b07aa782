/*
 * A PCI bus with RAM and one virtio function, and a driver for it that does anything: registers of both
 * kinds, rings and descriptors, configuration cycles. Shared by the targets of virtio devices.
 */
#pragma once

#include "input.h"
#include "pci_board.h"

#include "dev/virtio_pci.h"

#define RAM (1 * MiB)
#define RING_AT(q) (0x10000ull + (q)*0x4000ull)
#define AVAIL_AT(q) (RING_AT(q) + 2048)
#define USED_AT(q) (RING_AT(q) + 4096)
#define BOARD_QUEUES 8
#define HEADER 0x40000ull
#define DATA 0x50000ull

struct virtio_board {
	struct space ports, memory;
	struct pci_host host;
	struct mem mem;
	struct virtio *v;
	u64 bar, io;
	u16 published[BOARD_QUEUES];
};

static inline void ignore_msi(void *opaque, u64 addr, u32 data)
{
}

/* RAM and bus; then the target makes its device and calls board_plug. */
static inline void board_bus(struct virtio_board *b)
{
	const struct pci_host_config c =
	        pci_windows(&b->ports, &b->memory, (struct msi_sink){.send = ignore_msi});
	struct err e;

	memset(b, 0, sizeof(*b));
	check(!space_init(&b->ports, 0xffff) && !space_init(&b->memory, UINT64_MAX));
	check(!mem_create(&b->mem, RAM, false, false, &e));
	check(!pci_host_init(&b->host, &c));
}

static inline void board_plug(struct virtio_board *b, struct virtio *v)
{
	b->v = v;
	check(!pci_add(&b->host, &v->pci, 0, 1, 0) && !pci_assign(&b->host));
	b->io = get_le32(&v->pci.cfg[PCI_BAR0]) & ~3u;
	b->bar = get_le32(&v->pci.cfg[PCI_BAR0 + 16]) & ~15u;
}

/* The device is gone already. */
static inline void board_end(struct virtio_board *b)
{
	pci_host_fini(&b->host);
	space_fini(&b->ports);
	space_fini(&b->memory);
	mem_destroy(&b->mem);
}

static inline void wr(struct virtio_board *b, unsigned off, unsigned size, u64 val)
{
	space_write(&b->memory, b->bar + off, size, val);
}

static inline void put_desc(struct virtio_board *b, u64 at, u64 addr, u32 len, u16 flags, u16 next)
{
	struct vq_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};

	mem_write(&b->mem, at, &d, sizeof(d));
}

/* Entries of a queue: all that the device allows. */
static inline u16 entries(const struct virtio_board *b)
{
	return b->v->type->queue_size;
}

/* The device comes up, whatever was done to it before. */
static inline void drive(struct virtio_board *b, u64 features)
{
	u16 cmd = PCI_CMD_IO | PCI_CMD_MEM;
	u64 cfg = ECAM + (1u << 15);

	space_write(&b->memory, cfg + PCI_COMMAND, 2, 0); /* BARs back to where they were */
	space_write(&b->memory, cfg + PCI_BAR0, 4, b->io);
	space_write(&b->memory, cfg + PCI_BAR0 + 4, 4, 0);
	space_write(&b->memory, cfg + PCI_BAR0 + 16, 8, b->bar);
	space_write(&b->memory, cfg + PCI_COMMAND, 2, cmd);
	wr(b, 0x14, 1, 0);
	check(space_read(&b->memory, b->bar + 0x14, 1) == 0);
	for (unsigned n = 0; n < b->v->nqueues; n++)
		check(!b->v->queue[n].running && !b->v->queue[n].inflight);
	wr(b, 0x14, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	features = (features & b->v->offered) | VIRTIO_F_VERSION_1;
	for (unsigned half = 0; half < 2; half++) {
		wr(b, 8, 4, half);
		wr(b, 12, 4, (u32)(features >> 32 * half));
	}
	wr(b, 0x14, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	for (unsigned q = 0; q < b->v->nqueues; q++) {
		mem_zero(&b->mem, AVAIL_AT(q), 2048 + 4096);
		b->published[q] = 0;
		wr(b, 0x16, 2, q);
		wr(b, 0x20, 8, RING_AT(q));
		wr(b, 0x28, 8, AVAIL_AT(q));
		wr(b, 0x30, 8, USED_AT(q));
		wr(b, 0x1c, 2, 1);
	}
	wr(b, 0x14, 1, 0xf);
	check(space_read(&b->memory, b->bar + 0x14, 1) == 0xf);
}

static inline void write_register(struct virtio_board *b, struct input *in, bool legacy)
{
	u64 how = take(in, 2);
	unsigned size = 1u << (how >> 14);
	/* each structure of BAR 4 and some bytes around */
	unsigned off = legacy ? how & 0x7f : (how >> 8 & 3) << 12 | (how & 0x7f);
	u64 val = take(in, size);

	if (legacy)
		space_write(&b->ports, b->io + off, size, val);
	else
		wr(b, off, size, val);
	check(space_read(legacy ? &b->ports : &b->memory, (legacy ? b->io : b->bar) + off, size) <=
	        ones(size));
}

static inline void config_cycle(struct virtio_board *b, struct input *in)
{
	u64 how = take(in, 2);
	unsigned size = 1u << (how >> 14 & 3) % 3;
	u64 addr = ECAM + (1u << 15) + (how & 0xff);

	space_write(&b->memory, addr, size, take(in, size));
	check(space_read(&b->memory, addr, size) <= ones(size));
}

static inline void write_memory(struct virtio_board *b, struct input *in)
{
	u64 addr = take(in, 3) % RAM, val = take(in, 8);

	mem_write(&b->mem, addr, &val, 1u << (addr & 3));
}

static inline void write_desc(struct virtio_board *b, struct input *in)
{
	u64 how = take(in, 1), at = take(in, 1) % entries(b);
	u64 table = how & 1 ? DATA : RING_AT(how >> 1 & 1);
	u64 addr = how & 0x80 ? take(in, 8) : (how & 0x40 ? DATA : HEADER) + take(in, 2);
	u32 len = how & 0x20 ? (u32)take(in, 4) : (u32)take(in, 2);
	u64 link = take(in, 2);

	put_desc(b, table + 16 * at, addr, len, link >> 12 & 7, link & 0x1ff);
}

static inline void publish(struct virtio_board *b, struct input *in)
{
	u64 how = take(in, 1), head = take(in, how & 0x80 ? 2 : 1) & (how & 0x80 ? 0xffff : 0x7f);
	unsigned q = (how >> 4 & 4) | (how & 3);
	u8 *avail = mem_ptr(&b->mem, AVAIL_AT(q), 512);

	if (q >= b->v->nqueues)
		return;
	put_le16(avail + 4 + 2 * (b->published[q] % entries(b)), (u16)head);
	__atomic_store_n((u16 *)(void *)(avail + 2), ++b->published[q], __ATOMIC_SEQ_CST);
	if (how & 4)
		wr(b, VIRTIO_MODERN_NOTIFY + 4 * q, 2, q);
	if (how & 8)
		space_write(&b->ports, b->io + 16, 2, q);
}

static inline void check_queues(struct virtio_board *b)
{
	pthread_mutex_lock(&b->v->lock);
	for (unsigned n = 0; n < b->v->nqueues; n++) {
		const struct virtqueue *q = &b->v->queue[n];

		check(q->inflight <= q->max);
		check(!q->running || (q->num && q->num <= q->max && !(q->num & (q->num - 1))));
		check(!q->running || !b->v->broken);
	}
	pthread_mutex_unlock(&b->v->lock);
}

/* --- seeds --- */

struct out {
	u8 *buf;
	size_t len, cap;
};

static inline void emit(struct out *o, u64 val, unsigned n)
{
	for (; n && o->len < o->cap; n--, val >>= 8)
		o->buf[o->len++] = (u8)val;
}

/* A step write_desc, whose number the target knows. */
static inline void emit_desc(struct out *o, u8 step, u64 how, u64 at, u64 addr, u64 len, u64 flags, u64 next)
{
	emit(o, step, 1);
	emit(o, how, 1);
	emit(o, at, 1);
	emit(o, addr, how & 0x80 ? 8 : 2);
	emit(o, len, how & 0x20 ? 4 : 2);
	emit(o, flags << 12 | next, 2);
}
