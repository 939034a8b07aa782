/*
 * The virtio transport with a small device: it says how many bytes it was given. What a device of
 * one's own needs is what is written here.
 */
#include "virtio_rig.h"

#include <errno.h>

#define W VQ_DESC_WRITE
#define F_ECHO BIT64(0)
#define F_HIGH BIT64(40)
#define BUF 0x200000ull
#define CFG_LEN 12

struct echo {
	struct virtio v; /* first member */
	bool hold;       /* keeps chains of queue 1 */
	struct vq_chain *held[RING_SIZE];
	unsigned nheld, readies, resets;
	u64 ready_features;
};

static void echo_kick(struct virtio *v, unsigned queue)
{
	struct echo *e = container_of(v, struct echo, v);
	struct vq_chain *c;

	while ((c = virtio_pop(v, queue))) {
		u8 len = (u8)c->rd_len;

		if (queue == 1 && e->hold)
			e->held[e->nheld++] = c;
		else
			virtio_push(v, queue, c, vq_chain_write(c, &len, 1));
	}
}

static void echo_ready(struct virtio *v)
{
	struct echo *e = container_of(v, struct echo, v);

	e->readies++;
	e->ready_features = v->features;
}

static void echo_config(struct virtio *v, unsigned off, unsigned size, const u8 *val)
{
	assert_true(size > 0 && off + size <= CFG_LEN);
	memcpy(v->config + off, val, size);
}

static void echo_reset(struct virtio *v)
{
	struct echo *e = container_of(v, struct echo, v);

	e->resets++;
	while (e->nheld)
		virtio_push(v, 1, e->held[--e->nheld], 0);
}

static const struct virtio_type echo_type = {.name = "echo",
        .id = 9,
        .pci_device = 0x1009,
        .class_code = 0xff0000,
        .queue_size = RING_SIZE,
        .config_len = CFG_LEN,
        .kick = echo_kick,
        .ready = echo_ready,
        .config_write = echo_config,
        .reset = echo_reset};

static const struct virtio_type bare_type = {.name = "bare",
        .id = 4,
        .pci_device = 0x1005,
        .class_code = 0xff0000,
        .queue_size = RING_SIZE,
        .kick = echo_kick};

struct bed {
	struct rig r;
	struct echo e;
};

static struct bed *make_type(const struct virtio_type *type, bool msi_only)
{
	struct bed *b = calloc(1, sizeof(*b));
	struct virtio_setup s = {
	        .type = type, .features = F_ECHO | F_HIGH, .nqueues = 3, .msi_only = msi_only};

	assert_non_null(b);
	rig_init(&b->r);
	s.mem = &b->r.mem;
	assert_int_equal(virtio_init(&b->e.v, &s), 0);
	rig_plug(&b->r, &b->e.v.pci);
	return b;
}

static struct bed *make(bool msi_only)
{
	return make_type(&echo_type, msi_only);
}

static void free_bed(struct bed *b)
{
	virtio_fini(&b->e.v);
	rig_fini(&b->r);
	free(b);
}

/* Sends len bytes through queue q and gets their number. */
static void assert_echoes(struct bed *b, unsigned q, u8 len)
{
	struct rig *r = &b->r;
	u8 got = 0;

	put_desc(r, RING_AT(q), 0, BUF, len, VQ_DESC_NEXT, 1);
	put_desc(r, RING_AT(q), 1, BUF + 0x1000, 4, W, 0);
	publish(r, q, 0);
	kick_queue(r, q);
	assert_int_equal(next_used(r, q).len, 1);
	mem_read(&r->mem, BUF + 0x1000, &got, 1);
	assert_int_equal(got, len);
}

/* --- configuration space --- */

/* Offset of the n-th virtio capability of a type. */
static unsigned find_cap(struct rig *r, u8 type)
{
	for (unsigned at = cfg_rd(r, PCI_CAPS, 1); at; at = cfg_rd(r, at + 1, 1))
		if (cfg_rd(r, at, 1) == PCI_CAP_VENDOR && cfg_rd(r, at + 3, 1) == type)
			return at;
	return 0;
}

static void layout(void **state)
{
	static const struct {
		u8 type, len;
		u32 off, size;
	} want[] = {{1, 16, 0, 0x38}, {2, 20, 0x3000, 12}, {3, 16, 0x1000, 1}, {4, 16, 0x2000, CFG_LEN}};
	struct bed *b = make(false);
	struct rig *r = &b->r;

	assert_int_equal(cfg_rd(r, 0, 4), 0x10091af4);
	assert_int_equal(cfg_rd(r, 0x2c, 4), 0x00091af4);
	for (unsigned n = 0; n < ARRAY_SIZE(want); n++) {
		unsigned at = find_cap(r, want[n].type);

		assert_true(at);
		assert_int_equal(cfg_rd(r, at + 2, 1), want[n].len);
		assert_int_equal(cfg_rd(r, at + 4, 1), 4);
		assert_int_equal(cfg_rd(r, at + 8, 4), want[n].off);
		assert_int_equal(cfg_rd(r, at + 12, 4), want[n].size);
	}
	assert_int_equal(cfg_rd(r, find_cap(r, 2) + 16, 4), 4);
	assert_true(find_cap(r, 5));
	assert_int_equal(b->e.v.pci.msix->count, 4);
	free_bed(b);
	b = make_type(&bare_type, true);
	assert_int_equal(find_cap(&b->r, 4), 0); /* no configuration */
	assert_null(b->e.v.pci.msix);
	assert_true(b->e.v.pci.msi_cap);
	free_bed(b);
}

/* Registers through configuration space (4.1.4.9). */
static void window(void **state)
{
	struct bed *b = make(false);
	struct rig *r = &b->r;
	unsigned at = find_cap(r, 5);

	cfg_wr(r, at + 4, 1, 4);
	cfg_wr(r, at + 8, 4, 0x12);
	cfg_wr(r, at + 12, 4, 2);
	assert_int_equal(cfg_rd(r, at + 16, 2), 3);
	assert_int_equal(cfg_rd(r, at + 16, 4), 3);
	cfg_wr(r, at + 8, 4, 0x14);
	cfg_wr(r, at + 12, 4, 1);
	cfg_wr(r, at + 16, 1, VIRTIO_ACKNOWLEDGE);
	assert_int_equal(status(r), VIRTIO_ACKNOWLEDGE);
	assert_int_equal(cfg_rd(r, at + 16, 1), VIRTIO_ACKNOWLEDGE);
	/* by CF8 too */
	space_write(&r->ports, 0xcf8, 4, 0x80000000 | 4 << 11 | (at + 16));
	assert_int_equal(space_read(&r->ports, 0xcfc, 1), VIRTIO_ACKNOWLEDGE);
	for (unsigned n = 0; n < 6; n++) { /* what is no valid access does nothing */
		static const u32 bad[6][3] = {{4, 0x14, 3}, {4, 0x14, 0}, {4, 0x15, 2}, {4, 0x4000, 1},
		        {1, 0x14, 1}, {4, 0xfffffffc, 4}};

		cfg_wr(r, at + 4, 1, bad[n][0]);
		cfg_wr(r, at + 8, 4, bad[n][1]);
		cfg_wr(r, at + 12, 4, bad[n][2]);
		cfg_wr(r, at + 16, 4, 0);
		assert_int_equal(cfg_rd(r, at + 16, 4), 0);
		assert_int_equal(status(r), VIRTIO_ACKNOWLEDGE);
	}
	free_bed(b);
}

/* --- negotiation --- */

static void write_features(struct rig *r, u64 f)
{
	wr(r, 8, 4, 0);
	wr(r, 12, 4, (u32)f);
	wr(r, 8, 4, 1);
	wr(r, 12, 4, f >> 32);
}

static void negotiation(void **state)
{
	struct bed *b = make(false);
	struct rig *r = &b->r;
	const u64 good = VIRTIO_F_VERSION_1 | F_ECHO;
	const u64 refused[] = {0, F_ECHO, VIRTIO_F_VERSION_1 | BIT64(1), VIRTIO_F_VERSION_1 | BIT64(63)};

	assert_int_equal(offered(r),
	        F_ECHO | F_HIGH | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX);
	wr(r, 0, 4, 2);
	assert_int_equal(rd(r, 4, 4), 0);
	for (unsigned n = 0; n < ARRAY_SIZE(refused); n++) {
		set_status(r, 0);
		set_status(r, 3);
		write_features(r, refused[n]);
		set_status(r, 3 | VIRTIO_FEATURES_OK);
		assert_int_equal(status(r), 3);
		set_status(r, 3 | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK); /* nor is the device used */
		assert_int_equal(status(r), 3);
	}
	set_status(r, 0);
	set_status(r, 3);
	write_features(r, good);
	set_status(r, 3 | VIRTIO_FEATURES_OK);
	assert_int_equal(status(r), 11);
	write_features(r, ~0ull); /* too late */
	set_status(r, 1);         /* bits stay */
	assert_int_equal(status(r), 11);
	assert_int_equal(b->e.readies, 0);
	set_status(r, 15);
	set_status(r, 15);
	assert_int_equal(b->e.readies, 1);
	assert_int_equal(b->e.ready_features, good);
	set_status(r, 0);
	assert_int_equal(status(r), 0);
	assert_int_equal(b->e.v.features, 0);
	r->legacy = true;
	assert_int_equal(offered(r), F_ECHO | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX);
	set_status(r, 3);
	old_wr(r, 4, 4, 0xffffffff); /* it gets what is offered */
	set_status(r, 7);
	assert_int_equal(b->e.ready_features, F_ECHO | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX);
	free_bed(b);
}

/* --- registers --- */

static void widths(void **state)
{
	struct bed *b = make(false);
	struct rig *r = &b->r;
	const u64 addr = 0x0123456789abcde0;

	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned off = 0x20; off < 0x38; off += 8)
			for (unsigned n = 0; n < 8; n += size)
				wr(r, off + n, size, addr >> 8 * n);
		for (unsigned back = 1; back <= 8; back *= 2)
			for (unsigned n = 0; n < 24; n += back)
				assert_int_equal(rd(r, 0x20 + n, back), (addr >> 8 * (n & 7)) & ones(back));
		set_status(r, 0);
		assert_int_equal(rd(r, 0x20, 8), 0);
	}
	for (unsigned n = 0; n < 2; n++)
		wr(r, 0x18 + n, 1, 0x0040 >> 8 * n);
	assert_int_equal(rd(r, 0x18, 2), 0x40);
	wr(r, 0x14, 4, 2u << 16 | 1); /* status and queue select at once */
	assert_int_equal(status(r), 1);
	assert_int_equal(rd(r, 0x16, 2), 2);
	assert_int_equal(rd(r, 0x1e, 2), 2);
	wr(r, 0x16, 2, 3); /* no such queue */
	assert_int_equal(rd(r, 0x18, 2), 0);
	wr(r, 0x18, 2, 16);
	wr(r, 0x1c, 2, 1);
	assert_int_equal(rd(r, 0x1c, 2), 0);
	free_bed(b);
}

static void vectors(void **state)
{
	struct bed *b = make(false);
	struct rig *r = &b->r;

	assert_int_equal(rd(r, 0x10, 2), VQ_NO_VECTOR);
	for (unsigned v = 0; v < 8; v++) {
		wr(r, 0x10, 2, v);
		wr(r, 0x1a, 2, v);
		assert_int_equal(rd(r, 0x10, 2), v < 4 ? v : VQ_NO_VECTOR);
		assert_int_equal(rd(r, 0x1a, 2), v < 4 ? v : VQ_NO_VECTOR);
	}
	enable_irqs(r, IRQ_MSIX);
	drive(r, 0, 3);
	wr(r, 0x16, 2, 2);
	wr(r, 0x1a, 2, VQ_NO_VECTOR); /* also while it runs */
	assert_echoes(b, 2, 5);
	assert_echoes(b, 1, 5);
	assert_int_equal(rig_msis(r, 3), 0);
	assert_int_equal(rig_msis(r, 2), 1);
	assert_int_equal(rig_msis(r, 1), 0);
	assert_int_equal(r->rises, 0);
	free_bed(b);
}

static void device_config(void **state)
{
	for (unsigned msix = 0; msix < 2; msix++) {
		struct bed *b = make(false);
		struct rig *r = &b->r;

		if (msix)
			enable_irqs(r, IRQ_MSIX);
		wr(r, VIRTIO_MODERN_DEVICE, 8, 0x8877665544332211);
		wr(r, VIRTIO_MODERN_DEVICE + 8, 8, 0xffffffffccbbaa99); /* the end is in the middle */
		assert_int_equal(rd(r, VIRTIO_MODERN_DEVICE + 8, 8), 0xccbbaa99);
		r->legacy = true;
		for (unsigned size = 1; size <= 4; size *= 2)
			for (unsigned n = 0; n < CFG_LEN; n += size)
				assert_int_equal(config(r, n, size),
				        (u64)((0x11ull * (n + 1)) | (size > 1 ? 0x1100ull * (n + 2) : 0) |
				                (size > 2 ? 0x110000ull * (n + 3) | 0x11000000ull * (n + 4)
				                          : 0)));
		old_wr(r, (msix ? 24 : 20) + 1, 1, 0xfe);
		assert_int_equal(rd(r, VIRTIO_MODERN_DEVICE, 4), 0x4433fe11);
		free_bed(b);
	}
}

static void config_change(void **state)
{
	struct bed *b = make(false);
	struct rig *r = &b->r;
	u64 generation = rd(r, 0x15, 1);

	pthread_mutex_lock(&b->e.v.lock);
	virtio_config_changed(&b->e.v); /* no driver yet: no interrupt */
	pthread_mutex_unlock(&b->e.v.lock);
	assert_false(r->line);
	assert_int_equal(rd(r, 0x15, 1), (generation + 1) & 0xff);
	drive(r, 0, 1);
	pthread_mutex_lock(&b->e.v.lock);
	virtio_config_changed(&b->e.v);
	pthread_mutex_unlock(&b->e.v.lock);
	assert_true(r->line);
	assert_int_equal(rd(r, VIRTIO_MODERN_ISR, 1), 2);
	assert_false(r->line);
	assert_echoes(b, 0, 3);
	pthread_mutex_lock(&b->e.v.lock);
	virtio_config_changed(&b->e.v);
	pthread_mutex_unlock(&b->e.v.lock);
	assert_int_equal(rd(r, VIRTIO_MODERN_ISR, 1), 3);
	assert_int_equal(rd(r, VIRTIO_MODERN_ISR, 1), 0);
	free_bed(b);
}

/* --- queues --- */

/* A running queue uses what was latched, whatever is written then. */
static void latched(void **state)
{
	static const u64 junk[] = {0, ~0ull, 1, 0x8000, 0x5555555555555555};
	struct bed *b = make(false);
	struct rig *r = &b->r;

	drive(r, 0, 1);
	for (unsigned n = 0; n < ARRAY_SIZE(junk); n++) {
		wr(r, 0x16, 2, 0);
		wr(r, 0x18, 2, junk[n]);
		for (unsigned off = 0x20; off < 0x38; off += 8)
			wr(r, off, 8, junk[n]);
		wr(r, 0x1c, 2, 0);
		wr(r, 0x1c, 2, 1);
		assert_int_equal(rd(r, 0x18, 2), RING_SIZE);
		assert_int_equal(rd(r, 0x20, 8), RING_AT(0));
		assert_echoes(b, 0, (u8)(n + 1));
	}
	free_bed(b);
}

static void bad_queues(void **state)
{
	static const u16 sizes[] = {0, 3, RING_SIZE + 1, RING_SIZE * 2, 0xffff};
	struct bed *b = make(false);
	struct rig *r = &b->r;

	for (unsigned n = 0; n < ARRAY_SIZE(sizes) + 2; n++) {
		set_status(r, 0);
		set_status(r, 3);
		wr(r, 0x1c, 2, 1); /* before features: not now */
		assert_int_equal(rd(r, 0x1c, 2), 0);
		write_features(r, VIRTIO_F_VERSION_1);
		set_status(r, 11);
		wr(r, 0x18, 2, n < ARRAY_SIZE(sizes) ? sizes[n] : RING_SIZE);
		wr(r, 0x20, 8, n == ARRAY_SIZE(sizes) ? r->bar : RING_AT(0));
		wr(r, 0x28, 8, AVAIL_AT(0));
		wr(r, 0x30, 8, n == ARRAY_SIZE(sizes) + 1 ? ~3ull : USED_AT(0));
		wr(r, 0x1c, 2, 1);
		assert_int_equal(rd(r, 0x1c, 2), 0);
		assert_int_equal(status(r), 11 | VIRTIO_NEEDS_RESET);
		set_status(r, 15);
		kick_queue(r, 0);
	}
	drive(r, 0, 3);
	assert_echoes(b, 2, 9);
	r->legacy = true;
	for (unsigned n = 0; n < 3; n++) {
		static const u32 pfns[] = {RAM_SIZE >> 12, 0xffffffff, 0xc0000};

		set_status(r, 0);
		set_status(r, 3);
		old_wr(r, 8, 4, pfns[n]);
		set_status(r, 7);
		kick_queue(r, 0);
		assert_int_equal(status(r), 7);
	}
	drive(r, 0, 3);
	assert_echoes(b, 2, 9);
	free_bed(b);
}

/* One broken queue stops the device; the driver is told, and a reset heals. */
static void breaking(void **state)
{
	for (unsigned mode = 0; mode < 3; mode++) {
		struct bed *b = make(mode == IRQ_MSI);
		struct rig *r = &b->r;

		enable_irqs(r, mode);
		drive(r, 0, 3);
		assert_echoes(b, 0, 1);
		(void)rd(r, VIRTIO_MODERN_ISR, 1);
		publish(r, 0, 0xffff);
		kick_queue(r, 0);
		assert_int_equal(status(r), 15 | VIRTIO_NEEDS_RESET);
		if (mode == IRQ_INTX)
			assert_true(r->line);
		else
			assert_int_equal(rig_msis(r, 0), mode == IRQ_MSI ? 2 : 1);
		publish(r, 1, 0);
		kick_queue(r, 1);
		assert_int_equal(used_idx(r, 1), 0);
		set_status(r, 15 | VIRTIO_NEEDS_RESET);
		set_status(r, 15);
		assert_int_equal(status(r), 15 | VIRTIO_NEEDS_RESET);
		drive(r, 0, 3);
		assert_echoes(b, 1, 1);
		free_bed(b);
	}
}

/* Chains that a device holds go back to it in a reset, not to the driver. */
static void held_back(void **state)
{
	struct bed *b = make(false);
	struct rig *r = &b->r;

	b->e.hold = true;
	for (unsigned round = 0; round < 3; round++) {
		drive(r, 0, 3);
		for (u16 n = 0; n < RING_SIZE; n++) {
			put_desc(r, RING_AT(1), n, BUF, 4, W, 0);
			publish(r, 1, n);
		}
		kick_queue(r, 1);
		assert_int_equal(b->e.nheld, RING_SIZE);
		if (round == 1)
			virtio_reset(&b->e.v);
		else
			set_status(r, 0);
		assert_int_equal(b->e.nheld, 0);
		assert_int_equal(used_idx(r, 1), 0);
	}
	drive(r, 0, 3);
	for (unsigned n = 0; n <= RING_SIZE; n++) /* more than there are: the same again */
		publish(r, 1, (u16)(n % RING_SIZE));
	kick_queue(r, 1);
	assert_true(status(r) & VIRTIO_NEEDS_RESET);
	assert_true(b->e.nheld <= RING_SIZE);
	free_bed(b);
}

/* What was published before the driver was ready is done when it is. */
static void ready_kicks(void **state)
{
	struct bed *b = make(false);
	struct rig *r = &b->r;

	set_status(r, 3);
	write_features(r, VIRTIO_F_VERSION_1);
	set_status(r, 11);
	ring_clear(r, 0);
	modern_queue(r, 0, 0);
	put_desc(r, RING_AT(0), 0, BUF, 4, W, 0);
	publish(r, 0, 0);
	kick_queue(r, 0);
	assert_int_equal(used_idx(r, 0), 0);
	set_status(r, 15);
	assert_int_equal(used_idx(r, 0), 1);
	free_bed(b);
}

/* Every access to every register of every BAR, with and without hooks, in every state. */
static void sweep(void **state)
{
	for (unsigned n = 0; n < 4; n++) {
		struct bed *b = make_type(n & 1 ? &bare_type : &echo_type, n & 2);

		for (unsigned on = 0; on < 2; on++) {
			if (on)
				drive(&b->r, 0, 3);
			bench_sweep(&b->r.ports, b->r.io, b->r.dev->bar[0].size);
			bench_sweep(&b->r.memory, b->r.bar, 0x48);
			bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_ISR - 16, 32);
			bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_DEVICE - 8, 40);
			bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_NOTIFY - 8, 40);
			bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_SIZE - 8, 8);
			if (!(n & 2))
				bench_sweep(&b->r.memory, b->r.msix, 80);
		}
		drive(&b->r, 0, 3);
		free_bed(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(layout),
	        cmocka_unit_test(window),
	        cmocka_unit_test(negotiation),
	        cmocka_unit_test(widths),
	        cmocka_unit_test(vectors),
	        cmocka_unit_test(device_config),
	        cmocka_unit_test(config_change),
	        cmocka_unit_test(latched),
	        cmocka_unit_test(bad_queues),
	        cmocka_unit_test(breaking),
	        cmocka_unit_test(held_back),
	        cmocka_unit_test(ready_kicks),
	        cmocka_unit_test(sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
