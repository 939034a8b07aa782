/*
 * The virtio console: bytes both ways under back-pressure, the control queue's conversation, sizes and
 * carriers; legacy drivers; drivers that break the rules.
 */
#include "dev/virtio_console.h"

#include "virtio_rig.h"

#define W VQ_DESC_WRITE
#define N VQ_DESC_NEXT
#define DATA 0x210000ull
#define MULTIPORT BIT64(1)
#define SIZE BIT64(0)

enum { RX0, TX0, CTRL_IN, CTRL_OUT, RX1, TX1, QUEUES };

struct end {
	char sent[300000];
	size_t len, room;
	unsigned rx_ready;
};

struct bed {
	struct rig r;
	struct virtio_console *d;
	struct end end[2];
};

static size_t tx(void *opaque, const u8 *buf, size_t len)
{
	struct end *e = opaque;

	len = MIN(MIN(len, e->room), sizeof(e->sent) - e->len);
	memcpy(e->sent + e->len, buf, len);
	e->len += len;
	e->room -= len;
	return len;
}

static void rx_ready(void *opaque)
{
	struct end *e = opaque;

	e->rx_ready++;
}

static const struct virtio_console_host host = {.tx = tx, .rx_ready = rx_ready};

static struct bed *bed_make(bool legacy, enum irq_mode irq, bool console)
{
	struct bed *b = calloc(1, sizeof(*b));
	struct virtio_console_config c = {.nports = 2,
	        .port = {{.host = &host, .absent = !console}, {.host = &host, .name = "org.test.0"}},
	        .msi_only = irq == IRQ_MSI};

	assert_non_null(b);
	rig_init(&b->r);
	c.mem = &b->r.mem;
	for (unsigned n = 0; n < 2; n++) {
		c.port[n].opaque = &b->end[n];
		b->end[n].room = SIZE_MAX;
	}
	assert_int_equal(virtio_console_create(&b->d, &c), 0);
	rig_plug(&b->r, virtio_console_pci(b->d));
	b->r.legacy = legacy;
	enable_irqs(&b->r, irq);
	return b;
}

static void bed_free(struct bed *b)
{
	virtio_console_destroy(b->d);
	rig_fini(&b->r);
	free(b);
}

/* The rig's queues have 128 entries, this device's 64: a modern driver sets that. */
static void up(struct bed *b, u64 features)
{
	struct rig *r = &b->r;

	drive(r, features, 0);
	for (unsigned q = 0; q < QUEUES; q++) {
		ring_clear(r, q);
		if (r->legacy) {
			old_wr(r, 14, 2, q);
			assert_int_equal(old_rd(r, 12, 2), 64);
			old_wr(r, 8, 4, RING_AT(q) >> 12);
			continue;
		}
		wr(r, 0x16, 2, q);
		assert_int_equal(rd(r, 0x18, 2), 64);
		wr(r, 0x1a, 2, q + 1);
		wr(r, 0x20, 8, RING_AT(q));
		wr(r, 0x28, 8, AVAIL_AT(q));
		wr(r, 0x30, 8, USED_AT(q));
		wr(r, 0x1c, 2, 1);
	}
}

static u64 avail_at(struct bed *b, unsigned q)
{
	return b->r.legacy ? RING_AT(q) + 1024 : AVAIL_AT(q);
}

/* Makes entry head available and notifies. */
static void offer(struct bed *b, unsigned q, u16 head)
{
	u8 *avail = mem_ptr(&b->r.mem, avail_at(b, q), 6 + 2 * 64);

	put_le16(avail + 4 + 2 * (b->r.published[q] % 64), head);
	__atomic_store_n((u16 *)(void *)(avail + 2), ++b->r.published[q], __ATOMIC_SEQ_CST);
	kick_queue(&b->r, q);
}

/* The next answer; -1 if there is none. Its length is in *len. */
static int answer(struct bed *b, unsigned q, u32 *len)
{
	struct vq_used u;

	if (used_idx(&b->r, q) == b->r.seen[q])
		return -1;
	mem_read(&b->r.mem, USED_AT(q) + 4 + 8 * (b->r.seen[q]++ % 64), &u, sizeof(u));
	*len = u.len;
	return (int)u.id;
}

static u8 *at(struct bed *b, u64 gpa)
{
	return b->r.mem.base + gpa;
}

/* Entry n of queue q is len bytes at its own address. */
static u64 buffer(unsigned q, unsigned n)
{
	return DATA + q * 0x10000ull + n * 0x100ull;
}

static void give(struct bed *b, unsigned q, u16 n, u32 len)
{
	put_desc(&b->r, RING_AT(q), n, buffer(q, n), len, W, 0);
	offer(b, q, n);
}

static void say(struct bed *b, unsigned q, u16 n, const char *text)
{
	memcpy(at(b, buffer(q, n)), text, strlen(text));
	put_desc(&b->r, RING_AT(q), n, buffer(q, n), (u32)strlen(text), 0, 0);
	offer(b, q, n);
}

static void order(struct bed *b, u32 port, u16 event, u16 value)
{
	u8 *m = at(b, buffer(CTRL_OUT, 0));
	u32 len;

	put_le32(m, port);
	put_le16(m + 4, event);
	put_le16(m + 6, value);
	put_desc(&b->r, RING_AT(CTRL_OUT), 0, buffer(CTRL_OUT, 0), 8, 0, 0);
	offer(b, CTRL_OUT, 0);
	assert_int_equal(answer(b, CTRL_OUT, &len), 0);
	assert_int_equal(len, 0);
}

/* The next message to the driver is this one; its buffer is given again. */
static void expect(struct bed *b, u32 port, u16 event, u16 value, const void *more, u32 more_len)
{
	u32 len = 0;
	int n = answer(b, CTRL_IN, &len);
	const u8 *m = at(b, buffer(CTRL_IN, (unsigned)n));

	assert_true(n >= 0);
	assert_int_equal(get_le32(m), port);
	assert_int_equal(get_le16(m + 4), event);
	assert_int_equal(get_le16(m + 6), value);
	assert_int_equal(len, 8 + more_len);
	if (more_len)
		assert_memory_equal(m + 8, more, more_len);
	give(b, CTRL_IN, (u16)n, 64);
}

static void expect_silence(struct bed *b)
{
	u32 len;

	assert_int_equal(answer(b, CTRL_IN, &len), -1);
}

static size_t receive(struct bed *b, unsigned port, const char *text)
{
	return virtio_console_receive(b->d, port, (const u8 *)text, strlen(text));
}

static void open_all(struct bed *b)
{
	up(b, MULTIPORT | SIZE);
	for (u16 n = 0; n < 8; n++)
		give(b, CTRL_IN, n, 64);
}

/* --- tests --- */

static void identity(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX, true);

	assert_int_equal(cfg_rd(&b->r, 0, 4), 0x10031af4);
	assert_int_equal(cfg_rd(&b->r, PCI_SUBSYSTEM, 2), 3);
	assert_int_equal(cfg_rd(&b->r, PCI_REVISION, 4) >> 8, 0x078000);
	assert_int_equal(offered(&b->r) & 7, 7);
	assert_int_equal(config(&b->r, 4, 4), 2);
	bed_free(b);
}

/* The conversation of a driver with control queues, and what changes say later. */
static void control(void **state)
{
	static const u8 size[] = {132, 0, 43, 0}, other[] = {90, 0, 30, 0};
	struct bed *b = bed_make(false, IRQ_MSIX, true);

	virtio_console_resize(b->d, 0, 132, 43);
	virtio_console_set_carrier(b->d, 1, false);
	open_all(b);
	expect_silence(b);
	order(b, 0, 0, 1); /* DEVICE_READY */
	expect(b, 0, 1, 1, NULL, 0);
	expect(b, 1, 1, 1, NULL, 0);
	expect_silence(b);
	virtio_console_set_carrier(b->d, 1, true); /* nobody knows the port yet */
	virtio_console_set_carrier(b->d, 1, false);
	expect_silence(b);
	order(b, 0, 3, 1); /* PORT_READY */
	expect(b, 0, 4, 1, NULL, 0);
	expect(b, 0, 6, 1, NULL, 0);
	expect(b, 0, 5, 0, size, 4);
	order(b, 1, 3, 1);
	expect(b, 1, 7, 1, "org.test.0", 10);
	expect(b, 1, 6, 0, NULL, 0);
	expect_silence(b);
	virtio_console_set_carrier(b->d, 1, true);
	expect(b, 1, 6, 1, NULL, 0);
	virtio_console_resize(b->d, 0, 90, 30);
	expect(b, 0, 5, 0, other, 4);
	assert_int_equal(config(&b->r, 0, 4), 90 | 30 << 16);
	assert_true(rig_msis(&b->r, 0) > 0);
	assert_true(rig_msis(&b->r, CTRL_IN + 1) > 0);
	virtio_console_resize(b->d, 1, 90, 30); /* no console */
	expect_silence(b);
	bed_free(b);
}

/* Without buffers messages wait, one of a kind, and say what is true when they go. */
static void messages_wait(void **state)
{
	struct bed *b = bed_make(false, IRQ_INTX, true);

	up(b, MULTIPORT);
	order(b, 0, 0, 1);
	order(b, 1, 3, 1);
	for (unsigned n = 0; n < 1001; n++)
		virtio_console_set_carrier(b->d, 1, n & 1);
	expect_silence(b);
	for (u16 n = 0; n < 4; n++)
		give(b, CTRL_IN, n, 64);
	expect(b, 0, 1, 1, NULL, 0);
	expect(b, 1, 1, 1, NULL, 0);
	expect(b, 1, 7, 1, "org.test.0", 10);
	expect(b, 1, 6, 0, NULL, 0);
	expect_silence(b);
	assert_true(b->r.line);
	bed_free(b);
}

/* A console that is not there is not announced; port 1 works. */
static void no_console(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSI, false);

	open_all(b);
	order(b, 0, 0, 1);
	expect(b, 1, 1, 1, NULL, 0);
	expect_silence(b);
	order(b, 0, 3, 1);
	expect_silence(b);
	assert_true(rig_msis(&b->r, 0) > 0);
	bed_free(b);
}

static void sends(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX, true);
	u32 len;

	open_all(b);
	say(b, TX0, 0, "hello ");
	say(b, TX1, 0, "other");
	put_desc(&b->r, RING_AT(TX0), 1, DATA, 3, N, 2);
	put_desc(&b->r, RING_AT(TX0), 2, DATA + 64, 2, 0, 0);
	memcpy(at(b, DATA), "wor", 3);
	memcpy(at(b, DATA + 64), "ld", 2);
	offer(b, TX0, 1);
	assert_int_equal(answer(b, TX0, &len), 0);
	assert_int_equal(answer(b, TX0, &len), 1);
	assert_int_equal(answer(b, TX1, &len), 0);
	assert_int_equal(b->end[0].len, 11);
	assert_memory_equal(b->end[0].sent, "hello world", 11);
	assert_memory_equal(b->end[1].sent, "other", 5);
	assert_int_equal(rig_msis(&b->r, TX0 + 1), 2);
	bed_free(b);
}

/* A host that takes some bytes now and then gets each of them once, however chains are cut. */
static void back_pressure(void **state)
{
	struct bed *b = bed_make(false, IRQ_INTX, true);
	u64 table = DATA + 0x80000;
	char want[1000];
	u32 len, total = 0;
	int last = -1;

	open_all(b);
	for (unsigned n = 0; n < sizeof(want); n++)
		want[n] = (char)(n * 7 + n / 256);
	memcpy(at(b, DATA), want, sizeof(want));
	b->end[0].room = 0;
	for (u16 n = 0; n < 20; n++) { /* 20 chains of two buffers, 17 and 33 bytes */
		put_desc(&b->r, RING_AT(TX0), 2u * n, DATA + 50u * n, 17, N, (u16)(2 * n + 1));
		put_desc(&b->r, RING_AT(TX0), 2u * n + 1, DATA + 50u * n + 17, 33, 0, 0);
		offer(b, TX0, (u16)(2 * n));
	}
	assert_int_equal(answer(b, TX0, &len), -1);
	for (unsigned turn = 1; total < sizeof(want); turn++) {
		unsigned room = turn % 41;

		b->end[0].room = room;
		virtio_console_tx_ready(b->d, 0);
		total = MIN(total + room, (u32)sizeof(want));
		assert_int_equal(b->end[0].len, total);
		while (last < (int)(total / 50) - 1)
			assert_int_equal(answer(b, TX0, &len), 2 * ++last);
		assert_int_equal(answer(b, TX0, &len), -1);
	}
	assert_memory_equal(b->end[0].sent, want, sizeof(want));
	/* A reset forgets a chain that was begun. */
	b->end[0].room = 5;
	say(b, TX0, 0, "0123456789");
	up(b, 0);
	b->end[0].room = SIZE_MAX;
	virtio_console_tx_ready(b->d, 0);
	put_desc(&b->r, table, 0, DATA, 4, 0, 0);
	say(b, TX0, 0, "abc");
	assert_int_equal(b->end[0].len, sizeof(want) + 8);
	assert_memory_equal(b->end[0].sent + sizeof(want), "01234abc", 8);
	bed_free(b);
}

/* Input: to whom it may go, how much fits, and who is told when more does. */
static void receives(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX, true);
	u32 len;

	assert_int_equal(receive(b, 0, "early"), 0);
	open_all(b);
	order(b, 0, 0, 1);
	order(b, 1, 3, 1);
	give(b, RX1, 0, 4);
	assert_int_equal(receive(b, 1, "abcdefgh"), 0); /* not open there */
	b->end[1].rx_ready = 0;
	order(b, 1, 6, 1);
	assert_int_equal(b->end[1].rx_ready, 1);
	assert_int_equal(receive(b, 1, "abcdefgh"), 4);
	assert_int_equal(answer(b, RX1, &len), 0);
	assert_int_equal(len, 4);
	assert_memory_equal(at(b, buffer(RX1, 0)), "abcd", 4);
	put_desc(&b->r, RING_AT(RX1), 1, DATA, 2, W | N, 2);
	put_desc(&b->r, RING_AT(RX1), 2, DATA + 8, 9, W, 0);
	offer(b, RX1, 1);
	assert_int_equal(b->end[1].rx_ready, 2);
	assert_int_equal(receive(b, 1, "efgh"), 4);
	assert_int_equal(answer(b, RX1, &len), 1);
	assert_int_equal(len, 4);
	assert_memory_equal(at(b, DATA), "ef", 2);
	assert_memory_equal(at(b, DATA + 8), "gh", 2);
	offer(b, RX1, 1);
	assert_int_equal(b->end[1].rx_ready, 2); /* nobody waits */
	order(b, 1, 6, 0);
	assert_int_equal(receive(b, 1, "x"), 0);
	bed_free(b);
}

/* Drivers without control queues: port 0 works at once, the size is in the configuration. */
static void plain_drivers(void **state)
{
	for (unsigned legacy = 0; legacy < 2; legacy++) {
		struct bed *b = bed_make(legacy, IRQ_INTX, true);
		u32 len;

		virtio_console_resize(b->d, 0, 80, 25);
		up(b, SIZE);
		assert_int_equal(config(&b->r, 0, 4), 80 | 25 << 16);
		say(b, TX0, 0, "text");
		assert_int_equal(answer(b, TX0, &len), 0);
		assert_memory_equal(b->end[0].sent, "text", 4);
		give(b, RX0, 3, 16);
		assert_int_equal(receive(b, 0, "typed"), 5);
		assert_int_equal(answer(b, RX0, &len), 3);
		assert_int_equal(len, 5);
		assert_true(b->r.line);
		/* Its control queues do nothing, and nothing is told there. */
		give(b, CTRL_IN, 0, 64);
		order(b, 0, 0, 1);
		expect_silence(b);
		assert_int_equal(receive(b, 1, "typed"), 0);
		bed_free(b);
	}
}

/* 5.3.5: a character through the configuration, whatever the driver is up to. */
static void emergency(void **state)
{
	struct bed *b = bed_make(false, IRQ_INTX, true);

	for (const char *s = "oops"; *s; s++)
		wr(&b->r, VIRTIO_MODERN_DEVICE + 8, 4, (u8)*s);
	assert_int_equal(b->end[0].len, 4);
	assert_memory_equal(b->end[0].sent, "oops", 4);
	b->end[0].room = 0;
	wr(&b->r, VIRTIO_MODERN_DEVICE + 8, 4, 'x'); /* lost, not kept */
	wr(&b->r, VIRTIO_MODERN_DEVICE, 4, 0x12345678);
	assert_int_equal(config(&b->r, 0, 4), 0);
	assert_int_equal(b->end[0].len, 4);
	bed_free(b);
}

/* Messages that are none, ports that are none, buffers that are too small or no RAM. */
static void broken(void **state)
{
	struct bed *b = bed_make(false, IRQ_INTX, true);
	u32 len;

	open_all(b);
	for (u32 port = 0; port < 70000; port += port < 4 ? 1 : 9973)
		for (u16 event = 1; event < 10; event++)
			order(b, port + (event & 1 ? 0x80000000u : 2), event, 1);
	expect_silence(b);
	for (u32 cut = 0; cut < 8; cut++) {
		put_desc(&b->r, RING_AT(CTRL_OUT), 0, DATA, MAX(cut, 1u), 0, 0);
		offer(b, CTRL_OUT, 0);
		assert_int_equal(answer(b, CTRL_OUT, &len), 0);
	}
	expect_silence(b);
	up(b, MULTIPORT);
	give(b, CTRL_IN, 0, 3); /* cut to what fits */
	order(b, 0, 0, 1);
	assert_int_equal(answer(b, CTRL_IN, &len), 0);
	assert_int_equal(len, 3);
	put_desc(&b->r, RING_AT(TX0), 0, b->r.bar, 64, 0, 0);
	offer(b, TX0, 0);
	assert_true(status(&b->r) & VIRTIO_NEEDS_RESET);
	assert_int_equal(receive(b, 0, "x"), 0);
	virtio_console_tx_ready(b->d, 0);
	/* A receive buffer with no room at all. */
	up(b, 0);
	put_desc(&b->r, RING_AT(RX0), 0, DATA, 64, 0, 0);
	offer(b, RX0, 0);
	assert_int_equal(receive(b, 0, "x"), 0);
	assert_true(status(&b->r) & VIRTIO_NEEDS_RESET);
	up(b, 0);
	say(b, TX0, 0, "well again");
	assert_memory_equal(b->end[0].sent + b->end[0].len - 10, "well again", 10);
	bed_free(b);
}

static void register_sweep(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX, true);

	bench_sweep(&b->r.memory, b->r.bar, 64);
	bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_ISR, 8);
	bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_DEVICE, 64);
	bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_NOTIFY, 64);
	bench_sweep(&b->r.ports, b->r.io, 64);
	b->end[0].len = 0;
	up(b, 0);
	say(b, TX0, 0, "fine");
	assert_memory_equal(b->end[0].sent, "fine", 4);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(identity),
	        cmocka_unit_test(control),
	        cmocka_unit_test(messages_wait),
	        cmocka_unit_test(no_console),
	        cmocka_unit_test(sends),
	        cmocka_unit_test(back_pressure),
	        cmocka_unit_test(receives),
	        cmocka_unit_test(plain_drivers),
	        cmocka_unit_test(emergency),
	        cmocka_unit_test(broken),
	        cmocka_unit_test(register_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
