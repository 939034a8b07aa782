/*
 * virtio-rnd: what a driver asks for is filled, up to a limit and not a byte beyond; a source that
 * fails; drivers that break the rules.
 */
#include "dev/virtio_rnd.h"

#include "virtio_rig.h"
#include <errno.h>

#define DATA 0x210000ull
#define CLEAN 0xee
#define W VQ_DESC_WRITE
#define N VQ_DESC_NEXT

struct bed {
	struct rig r;
	struct virtio_rnd *rnd;
	u8 next; /* the source counts from 1 */
	int fail;
	size_t asked;
};

static int fill(void *opaque, void *buf, size_t len)
{
	struct bed *b = opaque;

	b->asked += len;
	for (size_t n = 0; n < len && !b->fail; n++)
		((u8 *)buf)[n] = (u8)(b->next++ % 0x80 + 1);
	return b->fail;
}

static struct bed *bed_make(bool legacy, enum irq_mode irq)
{
	struct bed *b = calloc(1, sizeof(*b));
	struct virtio_rnd_config c = {.fill = fill, .opaque = b, .msi_only = irq == IRQ_MSI};

	assert_non_null(b);
	rig_init(&b->r);
	c.mem = &b->r.mem;
	assert_int_equal(virtio_rnd_create(&b->rnd, &c), 0);
	rig_plug(&b->r, &b->rnd->v.pci);
	b->r.legacy = legacy;
	enable_irqs(&b->r, irq);
	if (legacy) /* the rig's ring is for 128 entries */
		return b;
	drive(&b->r, 0, 0);
	return b;
}

static void bed_free(struct bed *b)
{
	virtio_rnd_destroy(b->rnd);
	rig_fini(&b->r);
	free(b);
}

/* The rig's driver wants 128 entries; this device has 64. */
static void queue_up(struct bed *b, u64 features)
{
	struct rig *r = &b->r;

	drive(r, features, 0);
	ring_clear(r, 0);
	if (r->legacy) {
		old_wr(r, 14, 2, 0);
		assert_int_equal(old_rd(r, 12, 2), 64);
		old_wr(r, 8, 4, RING_AT(0) >> 12);
		return;
	}
	wr(r, 0x16, 2, 0);
	assert_int_equal(rd(r, 0x18, 2), 64);
	wr(r, 0x1a, 2, 1);
	wr(r, 0x20, 8, RING_AT(0));
	wr(r, 0x28, 8, AVAIL_AT(0));
	wr(r, 0x30, 8, USED_AT(0));
	wr(r, 0x1c, 2, 1);
}

static void offer(struct bed *b, u16 head)
{
	u8 *avail = mem_ptr(&b->r.mem, b->r.legacy ? RING_AT(0) + 1024 : AVAIL_AT(0), 6 + 2 * 64);

	put_le16(avail + 4 + 2 * (b->r.published[0] % 64), head);
	__atomic_store_n((u16 *)(void *)(avail + 2), ++b->r.published[0], __ATOMIC_SEQ_CST);
	kick_queue(&b->r, 0);
}

/* In the legacy layout of 64 entries the used ring is where it is with 128: at the next page. */
static u32 answer_len(struct bed *b)
{
	struct vq_used u = next_used(&b->r, 0);

	assert_int_equal(u.id, 0);
	return u.len;
}

static u8 *data(struct bed *b)
{
	return b->r.mem.base + DATA;
}

static void check_filled(struct bed *b, u32 len)
{
	for (u32 n = 0; n < len; n++)
		assert_in_range(data(b)[n], 1, 0x80);
	assert_int_equal(data(b)[len], CLEAN);
}

static void fills(void **state)
{
	static const struct {
		bool legacy;
		enum irq_mode irq;
	} modes[] = {{false, IRQ_MSIX}, {false, IRQ_MSI}, {false, IRQ_INTX}, {true, IRQ_INTX}};

	for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
		struct bed *b = bed_make(modes[n].legacy, modes[n].irq);

		queue_up(b, 0);
		assert_int_equal(cfg_rd(&b->r, 0, 4), 0x10051af4);
		assert_int_equal(cfg_rd(&b->r, PCI_SUBSYSTEM, 2), 4);
		memset(data(b), CLEAN, 8192);
		put_desc(&b->r, RING_AT(0), 0, DATA, 64, W, 0);
		offer(b, 0);
		assert_int_equal(answer_len(b), 64);
		check_filled(b, 64);
		if (modes[n].irq == IRQ_MSIX)
			assert_int_equal(rig_msis(&b->r, 1), 1);
		else if (modes[n].irq == IRQ_MSI)
			assert_int_equal(rig_msis(&b->r, 0), 1);
		else
			assert_true(b->r.line);
		bed_free(b);
	}
}

/* Lengths around the limit, in one buffer and in many. */
static void bounded(void **state)
{
	static const u32 lens[] = {1, 7, 4095, 4096, 4097, 65536};
	struct bed *b = bed_make(false, IRQ_INTX);

	for (unsigned n = 0; n < ARRAY_SIZE(lens); n++) {
		u32 want = MIN(lens[n], VIRTIO_RND_MAX);

		queue_up(b, 0);
		memset(data(b), CLEAN, 2 * 65536);
		b->asked = 0;
		put_desc(&b->r, RING_AT(0), 0, DATA, lens[n], W, 0);
		offer(b, 0);
		assert_int_equal(answer_len(b), want);
		assert_int_equal(b->asked, want);
		check_filled(b, want);
	}
	queue_up(b, 0);
	memset(data(b), CLEAN, 65536);
	for (unsigned n = 0; n < 60; n++)
		put_desc(&b->r, RING_AT(0), n, DATA + 100ull * n, 100, W | (n < 59 ? N : 0), (u16)(n + 1));
	offer(b, 0);
	assert_int_equal(answer_len(b), 4096);
	check_filled(b, 4096);
	bed_free(b);
}

/* A request with nothing to fill, or from a source that fails, gets nothing; the next one works. */
static void nothing(void **state)
{
	struct bed *b = bed_make(false, IRQ_INTX);

	queue_up(b, 0);
	memset(data(b), CLEAN, 4096);
	put_desc(&b->r, RING_AT(0), 0, DATA, 64, 0, 0);
	offer(b, 0);
	assert_int_equal(answer_len(b), 0);
	put_desc(&b->r, RING_AT(0), 0, DATA, 64, W, 0);
	b->fail = -EIO;
	offer(b, 0);
	assert_int_equal(answer_len(b), 0);
	check_filled(b, 0);
	b->fail = 0;
	offer(b, 0);
	assert_int_equal(answer_len(b), 64);
	check_filled(b, 64);
	bed_free(b);
}

/* Rings and buffers that are not RAM, descriptors that loop: the device stops, and a reset revives it. */
static void broken(void **state)
{
	struct bed *b = bed_make(false, IRQ_INTX);

	for (unsigned n = 0; n < 4; n++) {
		queue_up(b, 0);
		b->asked = 0;
		switch (n) {
		case 0: put_desc(&b->r, RING_AT(0), 0, b->r.bar, 64, W, 0); break;
		case 1: put_desc(&b->r, RING_AT(0), 0, DATA, 64, W | N, 0); break;
		case 2: put_desc(&b->r, RING_AT(0), 0, RAM_SIZE - 32, 64, W, 0); break;
		default: put_desc(&b->r, RING_AT(0), 0, DATA, 64, W | N, 64); break;
		}
		offer(b, 0);
		assert_true(status(&b->r) & VIRTIO_NEEDS_RESET);
		assert_int_equal(used_idx(&b->r, 0), 0);
		assert_int_equal(b->asked, 0);
	}
	queue_up(b, VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX);
	put_desc(&b->r, DATA + 4096, 0, DATA, 16, W, 0);
	put_desc(&b->r, RING_AT(0), 0, DATA + 4096, 16, VQ_DESC_INDIRECT, 0);
	offer(b, 0);
	assert_int_equal(answer_len(b), 16);
	bed_free(b);
}

static void register_sweep(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);

	bench_sweep(&b->r.memory, b->r.bar, 64);
	bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_ISR, 8);
	bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_DEVICE, 64);
	bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_NOTIFY, 64);
	bench_sweep(&b->r.ports, b->r.io, 64);
	queue_up(b, 0);
	put_desc(&b->r, RING_AT(0), 0, DATA, 8, W, 0);
	offer(b, 0);
	assert_int_equal(answer_len(b), 8);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(fills),
	        cmocka_unit_test(bounded),
	        cmocka_unit_test(nothing),
	        cmocka_unit_test(broken),
	        cmocka_unit_test(register_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
