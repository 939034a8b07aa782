/*
 * A virtio disk under a driver that does anything: registers of both kinds, rings and descriptors,
 * configuration cycles, in any order. The input is a list of steps; some of them do a driver's work so that
 * the rest has something to break. It holds that the disk is only asked for what lies inside it and for
 * buffers in RAM, that no queue has more in flight than entries, that nothing is in flight or
 * written after a reset, and that a reset always brings the device back to work.
 */
#include "virtio_board.h"

#include "dev/virtio_blk.h"
#include "standalone.h"

#include <stdlib.h>

#define SECTORS 16u

struct board {
	struct virtio_board b; /* first member */
	struct block block;
	u8 data[SECTORS * 512];
	struct virtio_blk *blk;
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
		check(mem_is_ram(&b->b.mem, (u64)((u8 *)iov[i].iov_base - b->b.mem.base), iov[i].iov_len));
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

static void board_init(struct board *b, u64 how)
{
	struct virtio_blk_config bc = {.mem = &b->b.mem,
	        .block = &b->block,
	        .serial = "fuzz",
	        .ncpus = how & 1 ? 2 : 1,
	        .msi_only = how & 2};

	memset(b, 0, sizeof(*b));
	board_bus(&b->b);
	b->block = (struct block){.ops = &disk_ops,
	        .size = SECTORS * 512,
	        .logical = 512,
	        .physical = 512,
	        .grain = 512,
	        .ro = how & 4};
	check(!virtio_blk_create(&b->blk, &bc));
	board_plug(&b->b, container_of(virtio_blk_pci(b->blk), struct virtio, pci));
}

static void board_fini(struct board *b)
{
	virtio_blk_destroy(b->blk);
	board_end(&b->b);
}

/* --- steps --- */

static void write_header(struct board *b, struct input *in)
{
	u8 h[16] = {0};
	u64 at = take(in, 1);

	put_le32(h, (u32)take(in, 1));
	put_le64(h + 8, at & 0x80 ? take(in, 8) : take(in, 1) % (SECTORS + 1));
	mem_write(&b->b.mem, HEADER + 16 * (at & 0x7f), h, sizeof(h));
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 15) {
	case 0:
	case 1: write_register(&b->b, in, false); break;
	case 2: write_register(&b->b, in, true); break;
	case 3: config_cycle(&b->b, in); break;
	case 4:
	case 5: write_memory(&b->b, in); break;
	case 6:
	case 7:
	case 8: write_desc(&b->b, in); break;
	case 9:
	case 10: write_header(b, in); break;
	case 11:
	case 12:
	case 13: publish(&b->b, in); break;
	case 14: drive(&b->b, take(in, 4)); break;
	default:
		if (op & 0x80)
			virtio_blk_reset(b->blk);
		else
			check(virtio_blk_resized(b->blk) == 0);
		break;
	}
}

/* After all that it still works. */
static void check_alive(struct board *b)
{
	struct input none = {0};

	drive(&b->b, 0);
	put_desc(&b->b, RING_AT(0), HEADER, 16, VQ_DESC_NEXT, 1);
	put_desc(&b->b, RING_AT(0) + 16, DATA, 21, VQ_DESC_WRITE, 0);
	mem_write(&b->b.mem, HEADER, &(u64[2]){8, 0}, 16); /* GET_ID */
	publish(&b->b, &none);
	wr(&b->b, VIRTIO_MODERN_NOTIFY, 2, 0);
	check(get_le16(mem_ptr(&b->b.mem, USED_AT(0) + 2, 2)) == 1);
	check(memcmp(mem_ptr(&b->b.mem, DATA, 5), "fuzz", 5) == 0);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));

	check(b != NULL);
	board_init(b, take(&in, 1));
	while (in.left) {
		step(b, &in);
		check_queues(&b->b);
	}
	check_alive(b);
	board_fini(b);
	free(b);
	return 0;
}

/* --- seeds --- */

#define STEP_DESC 6

/* A request of a type with len bytes of data, and its notification. */
static void emit_request(struct out *o, u64 type, u64 len, bool to_guest)
{
	emit(o, 9, 1);
	emit(o, 0, 1);
	emit(o, type, 1);
	emit(o, 1, 1);
	emit_desc(o, STEP_DESC, 0, 0, 0, 16, VQ_DESC_NEXT, 1);
	emit_desc(o, STEP_DESC, 0x40, 1, 0x100, len, VQ_DESC_NEXT | (to_guest ? VQ_DESC_WRITE : 0), 2);
	emit_desc(o, STEP_DESC, 0, 2, 0x800, 1, VQ_DESC_WRITE, 0);
	emit(o, 11, 1);
	emit(o, 4, 1);
	emit(o, 0, 1);
}

static void emit_indirect(struct out *o)
{
	emit_desc(o, STEP_DESC, 0x40, 0, 0, 48, VQ_DESC_INDIRECT, 0);
	emit_desc(o, STEP_DESC, 1, 0, 0, 16, VQ_DESC_NEXT, 1);
	emit_desc(o, STEP_DESC, 0x41, 1, 0x1000, 512, VQ_DESC_NEXT | VQ_DESC_WRITE, 2);
	emit_desc(o, STEP_DESC, 1, 2, 0x800, 1, VQ_DESC_WRITE, 0);
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
