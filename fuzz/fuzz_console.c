/*
 * A virtio console with two ports, under any driver and any host: registers, rings, descriptors, control
 * messages, bytes from the host, hosts that take a little or nothing, carriers and sizes. It holds that the
 * host is never handed bytes that are not in guest memory, that no chain stays in flight, and that what the
 * host typed is taken only as far as it was asked.
 */
#include "standalone.h"
#include "virtio_board.h"

#include "dev/virtio_console.h"

#define PORTS 2
#define STEP_DESC 2
#define STEP_PUBLISH 3
#define QUEUE_CTRL_OUT 3

struct port {
	struct board *b;
	size_t room;
};

struct board {
	struct virtio_board bus;
	struct virtio_console *d;
	struct port port[PORTS];
};

static size_t tx(void *opaque, const u8 *buf, size_t len)
{
	struct port *p = opaque;
	const u8 *ram = p->b->bus.mem.base;
	size_t n = MIN(len, p->room);
	bool inside = buf >= ram && buf + len <= ram + RAM;

	check(len == 1 || inside); /* one byte may come from the configuration */
	p->room -= n;
	return n;
}

static void rx_ready(void *opaque)
{
}

static const struct virtio_console_host host = {.tx = tx, .rx_ready = rx_ready};

static void board_init(struct board *b)
{
	struct virtio_console_config c = {.nports = PORTS, .port[1].name = "a.port"};

	board_bus(&b->bus);
	c.mem = &b->bus.mem;
	for (unsigned n = 0; n < PORTS; n++) {
		b->port[n] = (struct port){.b = b, .room = SIZE_MAX};
		c.port[n].host = &host;
		c.port[n].opaque = &b->port[n];
	}
	check(!virtio_console_create(&b->d, &c));
	board_plug(&b->bus, container_of(virtio_console_pci(b->d), struct virtio, pci));
}

static void board_fini(struct board *b)
{
	virtio_console_destroy(b->d);
	board_end(&b->bus);
}

static void outside(struct board *b, struct input *in)
{
	static const u8 text[32] = "thirty-one bytes from the host";
	u64 how = take(in, 1);
	unsigned port = how & 1, n = how >> 3;

	switch (how >> 1 & 3) {
	case 0: check(virtio_console_receive(b->d, port, text, n) <= n); break;
	case 1:
		b->port[port].room = n == 31 ? SIZE_MAX : n;
		virtio_console_tx_ready(b->d, port);
		break;
	case 2: virtio_console_set_carrier(b->d, port, n & 1); break;
	default: virtio_console_resize(b->d, port, (u16)(n * 9), (u16)n); break;
	}
}

/* A whole control message in a buffer of its own, offered. */
static void message(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	u8 m[8] = {how >> 4 & 3, 0, 0, 0, how & 15, 0, how >> 6 & 1, 0};

	mem_write(&b->bus.mem, HEADER, m, sizeof(m));
	put_desc(&b->bus, RING_AT(QUEUE_CTRL_OUT), HEADER, 8, 0, 0);
	put_le16(mem_ptr(&b->bus.mem,
	                 AVAIL_AT(QUEUE_CTRL_OUT) + 4 + 2 * (b->bus.published[QUEUE_CTRL_OUT] % 64), 2),
	        0);
	mem_write(&b->bus.mem, AVAIL_AT(QUEUE_CTRL_OUT) + 2, &(u16){++b->bus.published[QUEUE_CTRL_OUT]}, 2);
	wr(&b->bus, VIRTIO_MODERN_NOTIFY + 4 * QUEUE_CTRL_OUT, 2, QUEUE_CTRL_OUT);
}

static void check_flight(struct board *b)
{
	check_queues(&b->bus);
	for (unsigned n = 0; n < b->bus.v->nqueues; n++)
		check(b->bus.v->queue[n].inflight == 0);
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 15) {
	case 0: write_register(&b->bus, in, false); break;
	case 1: write_register(&b->bus, in, true); break;
	case STEP_DESC: write_desc(&b->bus, in); break;
	case STEP_PUBLISH: publish(&b->bus, in); break;
	case 4: config_cycle(&b->bus, in); break;
	case 5: write_memory(&b->bus, in); break;
	case 6: drive(&b->bus, take(in, 8)); break;
	case 7: message(b, in); break;
	default: outside(b, in); break;
	}
	check_flight(b);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));

	check(b != NULL);
	board_init(b);
	drive(&b->bus, ~0ull);
	while (in.left)
		step(b, &in);
	board_fini(b);
	free(b);
	return 0;
}

/* --- seeds --- */

static void emit_publish(struct out *o, unsigned q, u64 head)
{
	emit(o, STEP_PUBLISH, 1);
	emit(o, (q & 3) | (q & 4) << 4 | 4, 1);
	emit(o, head, 1);
}

/* Descriptors of queues 0 and 1 are those that write_desc reaches: receive and transmit of port 0. */
static size_t conversation(u8 *buf, size_t cap, bool slow)
{
	struct out o = {.buf = buf, .cap = cap};

	for (u64 m = 0; m < 2; m++) { /* DEVICE_READY, PORT_READY and PORT_OPEN */
		emit(&o, 7, 1);
		emit(&o, 0x40, 1);
		emit(&o, 7, 1);
		emit(&o, 0x43 | m << 4, 1);
		emit(&o, 7, 1);
		emit(&o, 0x46 | m << 4, 1);
	}
	for (u64 n = 0; n < 4; n++) {
		emit_desc(&o, STEP_DESC, 0x40, n, n * 64, 64, VQ_DESC_WRITE, 0);
		emit_publish(&o, 0, n);
		emit_desc(&o, STEP_DESC, 0x42, n, 4096 + n * 64, 40, 0, 0);
		emit_publish(&o, 1, n);
	}
	if (slow) {
		emit(&o, 8, 1);
		emit(&o, 2 | 5 << 3, 1); /* room for five bytes */
	}
	for (u64 n = 0; n < 4; n++) {
		emit_publish(&o, 1, n);
		emit(&o, 8, 1);
		emit(&o, 20 << 3, 1); /* typed */
		emit(&o, 8, 1);
		emit(&o, 2 | (slow ? 7 : 31) << 3, 1);
		emit(&o, 8, 1);
		emit(&o, 4 | (n & 1) << 3 | 1, 1); /* carrier */
		emit(&o, 8, 1);
		emit(&o, 6 | 9 << 3, 1); /* size */
	}
	return o.len;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	return n < 2 ? conversation(buf, cap, n) : 0;
}
