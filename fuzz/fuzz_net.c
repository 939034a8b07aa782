/*
 * A network card between a driver that does anything and a host that sends anything: registers, rings,
 * headers, commands, frames with any work left to do, a host that is full, a cable that comes and goes. It
 * holds that the host only gets frames of sane lengths whose work was negotiated and lies inside them, that
 * buffers are in RAM, and that after a reset frames pass both ways again.
 */
#include "virtio_board.h"

#include "dev/virtio_net.h"
#include "net/port.h"
#include "standalone.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RX 0
#define TX 1
#define ALL_OFFLOADS (NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6 | NET_OFF_ECN | NET_OFF_UFO)

struct board {
	struct virtio_board b; /* first member */
	struct net_port port;
	struct virtio_net *net;
	unsigned room, sent;
	u8 frame[NET_FRAME_MAX];
};

/* --- the host --- */

static void no_poll(struct net_port *p, struct net_poll *poll)
{
}

static int host_send(struct net_port *p, const struct net_frame *f)
{
	struct board *b = container_of(p, struct board, port);
	u64 len = 0;

	check(f->len >= NET_FRAME_MIN && f->len <= NET_FRAME_MAX && net_meta_fits(f, ALL_OFFLOADS));
	for (unsigned i = 0; i < f->niov; i++) {
		check(mem_is_ram(
		        &b->b.mem, (u64)((u8 *)f->iov[i].iov_base - b->b.mem.base), f->iov[i].iov_len));
		len += f->iov[i].iov_len;
	}
	check(len == f->len);
	if (!b->room)
		return -EAGAIN;
	b->room--;
	b->sent++;
	return 0;
}

static const struct net_ops host_ops = {.fill = no_poll, .done = no_poll, .send = host_send};

static void board_init(struct board *b, u64 how)
{
	struct virtio_net_config c = {.mem = &b->b.mem,
	        .port = &b->port,
	        .mac = {2, 0, 0, 0, 0, 1},
	        .mtu = 1500,
	        .msi_only = how & 1};

	memset(b, 0, sizeof(*b));
	board_bus(&b->b);
	b->room = 100;
	b->port = (struct net_port){.ops = &host_ops, .link = true};
	b->port.takes = b->port.gives = how & 2 ? 0 : ALL_OFFLOADS;
	b->port.wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	check(!virtio_net_create(&b->net, &c));
	net_attach(&b->port, virtio_net_client(b->net));
	board_plug(&b->b, container_of(virtio_net_pci(b->net), struct virtio, pci));
}

static void board_fini(struct board *b)
{
	virtio_net_destroy(b->net);
	close(b->port.wakefd);
	free(b->port.poll.fds);
	board_end(&b->b);
}

/* --- steps --- */

/* A frame for the guest. */
static void arrive(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	u64 wish = take(in, how & 1 ? 3 : 1) % (NET_FRAME_MAX + 1);
	u32 len = (u32)MAX(wish, (u64)NET_FRAME_MIN);
	const struct iovec iov[2] = {{b->frame, 9}, {b->frame + 9, len - 9}};
	struct net_frame f = {.iov = iov, .niov = 2, .len = len};

	for (unsigned n = 0; n < 18; n++)
		b->frame[n] = (u8)take(in, 1);
	if (how & 2)
		f.meta = (struct net_meta){.flags = (u8)take(in, 1),
		        .gso = (u8)take(in, 1),
		        .gso_size = (u16)take(in, 2),
		        .csum_start = (u16)take(in, 2),
		        .csum_offset = (u16)take(in, 2)};
	net_deliver(&b->port, &f);
}

/* A header or a command where descriptors like to point. */
static void write_header(struct board *b, struct input *in)
{
	u64 at = take(in, 1);
	u8 h[12];

	for (unsigned n = 0; n < sizeof(h); n++)
		h[n] = (u8)take(in, 1);
	mem_write(&b->b.mem, HEADER + 16 * (at & 0x7f), h, sizeof(h));
}

static void other(struct board *b, struct input *in, u64 op)
{
	switch (op >> 4 & 3) {
	case 0: b->room = (unsigned)take(in, 1); break;
	case 1: virtio_net_set_link(b->net, take(in, 1) & 1); break;
	case 2: net_set_link(&b->port, take(in, 1) & 1); break;
	default: virtio_reset(b->b.v); break;
	}
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 15) {
	case 0:
	case 1: write_register(&b->b, in, false); break;
	case 2: write_register(&b->b, in, true); break;
	case 3: config_cycle(&b->b, in); break;
	case 4: write_memory(&b->b, in); break;
	case 5:
	case 6:
	case 7: write_desc(&b->b, in); break;
	case 8:
	case 9: write_header(b, in); break;
	case 10:
	case 11: publish(&b->b, in); break;
	case 12:
	case 13: arrive(b, in); break;
	case 14: drive(&b->b, take(in, 4)); break;
	default: other(b, in, op); break;
	}
	net_step(&b->port, 0);
}

/* After all that it still works. */
static void check_alive(struct board *b)
{
	const struct iovec iov = {b->frame, 60};
	const struct net_frame f = {.iov = &iov, .niov = 1, .len = 60};
	struct input rx = {0}, tx = {.data = (const u8[]){TX, 0}, .left = 2};
	unsigned before;

	drive(&b->b, 0);
	virtio_net_set_link(b->net, true);
	net_set_link(&b->port, true);
	b->room = 1;
	before = b->sent;
	net_step(&b->port, 0);
	put_desc(&b->b, RING_AT(RX), DATA, 200, VQ_DESC_WRITE, 0);
	publish(&b->b, &rx);
	net_step(&b->port, 0);
	check(net_deliver(&b->port, &f));
	check(get_le16(mem_ptr(&b->b.mem, USED_AT(RX) + 2, 2)) == 1);
	mem_zero(&b->b.mem, HEADER, 12);
	put_desc(&b->b, RING_AT(TX), HEADER, 72, 0, 0);
	publish(&b->b, &tx);
	wr(&b->b, VIRTIO_MODERN_NOTIFY + 4 * TX, 2, TX);
	net_step(&b->port, 0);
	check(b->sent == before + 1);
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

#define STEP_DESC 5
#define STEP_HEADER 8
#define STEP_PUBLISH 10
#define STEP_ARRIVE 12
#define NOTIFY 4

/* Table of the queue (rings of queues 0 and 1 are what write_desc reaches), one readable buffer and one
 * frame. */
static void emit_send(struct out *o, u64 len)
{
	emit(o, STEP_HEADER, 1);
	emit(o, 0, 1);
	emit(o, len > 1000 ? 0x0101 : 0, 6); /* flags, GSO */
	emit(o, 34, 2);
	emit(o, 16, 4);
	emit_desc(o, STEP_DESC, 2, 0, 0, 12, VQ_DESC_NEXT, 1);
	emit_desc(o, STEP_DESC, 0x42, 1, 0x100, len, 0, 0);
	emit(o, STEP_PUBLISH, 1);
	emit(o, NOTIFY | TX, 1);
	emit(o, 0, 1);
}

static void emit_receive(struct out *o, u64 len)
{
	emit_desc(o, STEP_DESC, 0x40, 0, 0x1000, 0x600, VQ_DESC_WRITE, 0);
	emit(o, STEP_PUBLISH, 1);
	emit(o, NOTIFY | RX, 1);
	emit(o, 0, 1);
	emit(o, STEP_ARRIVE, 1);
	emit(o, 1, 1);
	emit(o, len, 3);
	emit(o, ~0ull, 6);
	emit(o, 0, 12);
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const u32 features[] = {0, 0xffffffff, 0x8000, 0x1, 0x00ff0000, 0x10000000};
	struct out o = {.buf = buf, .cap = cap};

	if (n >= 2 * ARRAY_SIZE(features))
		return 0;
	emit(&o, n & 3, 1);
	emit(&o, 14, 1);
	emit(&o, features[n / 2], 4);
	for (unsigned i = 0; i < 3; i++) {
		emit_send(&o, i ? 4000 : 60);
		emit_receive(&o, i ? 1500 : 5000);
	}
	emit(&o, 0x2f, 1);
	emit(&o, 0, 1);
	emit_send(&o, 60);
	return o.len;
}
