/*
 * A virtio disk under a driver that does anything: registers of both kinds, rings and descriptors,
 * configuration cycles, in any order. The input is a list of steps; some of them do a driver's work so that
 * the rest has something to break. It holds that the disk is only asked for what lies inside it and for
 * buffers in RAM, that no queue has more in flight than entries, that nothing is in flight or
 * written after a reset, and that a reset always brings the device back to work.
 */
#include "input.h"

#include "dev/virtio_blk.h"
#include "standalone.h"

#include <stdlib.h>

#define RAM (1 * MiB)
#define SECTORS 16u
#define ECAM 0xe0000000ull
#define RING_AT(q) (0x10000ull + (q)*0x4000ull) /* legacy layout */
#define AVAIL_AT(q) (RING_AT(q) + 2048)
#define USED_AT(q) (RING_AT(q) + 4096)
#define ENTRIES 128
#define HEADER 0x40000ull
#define DATA 0x50000ull

struct board {
	struct space ports, memory;
	struct pci_host host;
	struct mem mem;
	struct block block;
	u8 data[SECTORS * 512];
	struct virtio_blk *blk;
	struct virtio *v;
	u64 bar, io;
	u16 published[VIRTIO_BLK_QUEUES_MAX];
};

/* --- the disk --- */

static struct board *board_of(struct block *b)
{
	return container_of(b, struct board, block);
}

static u64 check_buffers(struct board *b, const struct iovec *iov, int n, u64 off)
{
	u64 len = 0;

	for (int i = 0; i < n; i++) {
		check(mem_is_ram(&b->mem, (u64)((u8 *)iov[i].iov_base - b->mem.base), iov[i].iov_len));
		len += iov[i].iov_len;
	}
	check(off <= sizeof(b->data) && len <= sizeof(b->data) - off);
	return len;
}

static int disk_read(struct block *blk, const struct iovec *iov, int n, u64 off)
{
	check_buffers(board_of(blk), iov, n, off);
	for (int i = 0; i < n; off += iov[i++].iov_len)
		memset(iov[i].iov_base, (int)off, iov[i].iov_len);
	return 0;
}

static int disk_write(struct block *blk, const struct iovec *iov, int n, u64 off)
{
	check_buffers(board_of(blk), iov, n, off);
	return 0;
}

static int disk_flush(struct block *blk)
{
	return 0;
}

static int disk_discard(struct block *blk, u64 off, u64 len)
{
	check(off <= blk->size && len <= blk->size - off);
	return 0;
}

static int disk_zeroes(struct block *blk, u64 off, u64 len, bool unmap)
{
	return disk_discard(blk, off, len);
}

static const struct block_ops disk_ops = {.preadv = disk_read,
        .pwritev = disk_write,
        .flush = disk_flush,
        .discard = disk_discard,
        .write_zeroes = disk_zeroes};

/* --- the board --- */

static void ignore_msi(void *opaque, u64 addr, u32 data)
{
}

static void board_init(struct board *b, u64 how)
{
	struct pci_host_config c = {.ports = &b->ports,
	        .memory = &b->memory,
	        .ecam_base = ECAM,
	        .mmio_base = 0xc0000000,
	        .mmio_end = 0xe0000000,
	        .mmio64_base = 0xd000000000,
	        .io_base = 0x2000,
	        .msi = {.send = ignore_msi}};
	struct virtio_blk_config bc = {.mem = &b->mem,
	        .block = &b->block,
	        .serial = "fuzz",
	        .ncpus = how & 1 ? 2 : 1,
	        .msi_only = how & 2};
	struct err e;

	memset(b, 0, sizeof(*b));
	check(!space_init(&b->ports, 0xffff) && !space_init(&b->memory, UINT64_MAX));
	check(!mem_create(&b->mem, RAM, false, false, &e));
	check(!pci_host_init(&b->host, &c));
	b->block = (struct block){.ops = &disk_ops,
	        .size = SECTORS * 512,
	        .logical = 512,
	        .physical = 512,
	        .grain = 512,
	        .ro = how & 4};
	check(!virtio_blk_create(&b->blk, &bc));
	b->v = container_of(virtio_blk_pci(b->blk), struct virtio, pci);
	check(!pci_add(&b->host, &b->v->pci, 0, 1, 0) && !pci_assign(&b->host));
	b->io = get_le32(&b->v->pci.cfg[PCI_BAR0]) & ~3u;
	b->bar = get_le32(&b->v->pci.cfg[PCI_BAR0 + 16]) & ~15u;
}

static void board_fini(struct board *b)
{
	virtio_blk_destroy(b->blk);
	pci_host_fini(&b->host);
	space_fini(&b->ports);
	space_fini(&b->memory);
	mem_destroy(&b->mem);
}

static void wr(struct board *b, unsigned off, unsigned size, u64 val)
{
	space_write(&b->memory, b->bar + off, size, val);
}

static void put_desc(struct board *b, u64 at, u64 addr, u32 len, u16 flags, u16 next)
{
	struct vq_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};

	mem_write(&b->mem, at, &d, sizeof(d));
}

/* --- steps --- */

/* The device comes up, whatever was done to it before. */
static void drive(struct board *b, u64 features)
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

static void write_register(struct board *b, struct input *in, bool legacy)
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

static void config_cycle(struct board *b, struct input *in)
{
	u64 how = take(in, 2);
	unsigned size = 1u << (how >> 14 & 3) % 3;
	u64 addr = ECAM + (1u << 15) + (how & 0xff);

	space_write(&b->memory, addr, size, take(in, size));
	check(space_read(&b->memory, addr, size) <= ones(size));
}

static void write_memory(struct board *b, struct input *in)
{
	u64 addr = take(in, 3) % RAM, val = take(in, 8);

	mem_write(&b->mem, addr, &val, 1u << (addr & 3));
}

static void write_desc(struct board *b, struct input *in)
{
	u64 how = take(in, 1), at = take(in, 1) % ENTRIES;
	u64 table = how & 1 ? DATA : RING_AT(how >> 1 & 1);
	u64 addr = how & 0x80 ? take(in, 8) : (how & 0x40 ? DATA : HEADER) + take(in, 2);
	u32 len = how & 0x20 ? (u32)take(in, 4) : (u32)take(in, 2);
	u64 link = take(in, 2);

	put_desc(b, table + 16 * at, addr, len, link >> 12 & 7, link & 0x1ff);
}

static void write_header(struct board *b, struct input *in)
{
	u8 h[16] = {0};
	u64 at = take(in, 1);

	put_le32(h, (u32)take(in, 1));
	put_le64(h + 8, at & 0x80 ? take(in, 8) : take(in, 1) % (SECTORS + 1));
	mem_write(&b->mem, HEADER + 16 * (at & 0x7f), h, sizeof(h));
}

static void publish(struct board *b, struct input *in)
{
	u64 how = take(in, 1), head = take(in, how & 0x80 ? 2 : 1) & (how & 0x80 ? 0xffff : 0x7f);
	unsigned q = how & 3;
	u8 *avail = mem_ptr(&b->mem, AVAIL_AT(q), 512);

	put_le16(avail + 4 + 2 * (b->published[q] % ENTRIES), (u16)head);
	__atomic_store_n((u16 *)(void *)(avail + 2), ++b->published[q], __ATOMIC_SEQ_CST);
	if (how & 4)
		wr(b, VIRTIO_MODERN_NOTIFY + 4 * q, 2, q);
	if (how & 8)
		space_write(&b->ports, b->io + 16, 2, q);
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 15) {
	case 0:
	case 1: write_register(b, in, false); break;
	case 2: write_register(b, in, true); break;
	case 3: config_cycle(b, in); break;
	case 4:
	case 5: write_memory(b, in); break;
	case 6:
	case 7:
	case 8: write_desc(b, in); break;
	case 9:
	case 10: write_header(b, in); break;
	case 11:
	case 12:
	case 13: publish(b, in); break;
	case 14: drive(b, take(in, 4)); break;
	default:
		if (op & 0x80)
			virtio_blk_reset(b->blk);
		else
			check(virtio_blk_resized(b->blk) == 0);
		break;
	}
}

static void check_queues(struct board *b)
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

/* After all that it still works. */
static void check_alive(struct board *b)
{
	struct input none = {0};

	drive(b, 0);
	put_desc(b, RING_AT(0), HEADER, 16, VQ_DESC_NEXT, 1);
	put_desc(b, RING_AT(0) + 16, DATA, 21, VQ_DESC_WRITE, 0);
	mem_write(&b->mem, HEADER, &(u64[2]){8, 0}, 16); /* GET_ID */
	publish(b, &none);
	wr(b, VIRTIO_MODERN_NOTIFY, 2, 0);
	check(get_le16(mem_ptr(&b->mem, USED_AT(0) + 2, 2)) == 1);
	check(memcmp(mem_ptr(&b->mem, DATA, 5), "fuzz", 5) == 0);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));

	check(b != NULL);
	board_init(b, take(&in, 1));
	while (in.left) {
		step(b, &in);
		check_queues(b);
	}
	check_alive(b);
	board_fini(b);
	free(b);
	return 0;
}

/* --- seeds --- */

struct out {
	u8 *buf;
	size_t len, cap;
};

static void emit(struct out *o, u64 val, unsigned n)
{
	for (; n && o->len < o->cap; n--, val >>= 8)
		o->buf[o->len++] = (u8)val;
}

static void emit_desc(struct out *o, u64 how, u64 at, u64 addr, u64 len, u64 flags, u64 next)
{
	emit(o, 6, 1);
	emit(o, how, 1);
	emit(o, at, 1);
	emit(o, addr, how & 0x80 ? 8 : 2);
	emit(o, len, how & 0x20 ? 4 : 2);
	emit(o, flags << 12 | next, 2);
}

/* A request of a type with len bytes of data, and its notification. */
static void emit_request(struct out *o, u64 type, u64 len, bool to_guest)
{
	emit(o, 9, 1);
	emit(o, 0, 1);
	emit(o, type, 1);
	emit(o, 1, 1);
	emit_desc(o, 0, 0, 0, 16, VQ_DESC_NEXT, 1);
	emit_desc(o, 0x40, 1, 0x100, len, VQ_DESC_NEXT | (to_guest ? VQ_DESC_WRITE : 0), 2);
	emit_desc(o, 0, 2, 0x800, 1, VQ_DESC_WRITE, 0);
	emit(o, 11, 1);
	emit(o, 4, 1);
	emit(o, 0, 1);
}

static void emit_indirect(struct out *o)
{
	emit_desc(o, 0x40, 0, 0, 48, VQ_DESC_INDIRECT, 0);
	emit_desc(o, 1, 0, 0, 16, VQ_DESC_NEXT, 1);
	emit_desc(o, 0x41, 1, 0x1000, 512, VQ_DESC_NEXT | VQ_DESC_WRITE, 2);
	emit_desc(o, 1, 2, 0x800, 1, VQ_DESC_WRITE, 0);
	emit(o, 11, 1);
	emit(o, 4, 1);
	emit(o, 0, 1);
}

/* Seed n: board n & 7; all features, then requests of every type, plain and indirect, and a reset. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const u8 types[] = {0, 1, 4, 8, 11, 13, 99};
	struct out o = {.buf = buf, .cap = cap};

	if (n >= 2 * ARRAY_SIZE(types))
		return 0;
	emit(&o, n, 1);
	emit(&o, 14, 1);
	emit(&o, n & 1 ? ~0ull : 0x10000000, 4);
	for (unsigned i = 0; i < 3; i++) {
		emit_request(&o, types[(n + i) % ARRAY_SIZE(types)], i ? 512 : 32, (n + i) % 2 == 0);
		emit_indirect(&o);
	}
	emit(&o, 0, 1); /* status 0 */
	emit(&o, 0x14, 2);
	emit(&o, 0, 1);
	return o.len;
}
