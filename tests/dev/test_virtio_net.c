/*
 * virtio-net: frames both ways in every layout of headers and buffers, back-pressure on both sides, filters
 * and offloads through the control queue, the cable, and drivers that break the rules.
 */
#include "dev/virtio_net.h"

#include "virtio_rig.h"
#include "net/port.h"
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RX 0u
#define TX 1u
#define CTRL 2u
#define HDR 0x200000ull
#define BUF(n) (0x210000ull + (n)*0x1000ull)
#define CLEAN 0xee
#define W VQ_DESC_WRITE
#define N VQ_DESC_NEXT
#define ENTRIES 256u /* what legacy drivers get; modern ones take RING_SIZE */

/* Feature bits (virtio 1.2, 5.1.3) */
#define CSUM BIT64(0)
#define GUEST_CSUM BIT64(1)
#define CTRL_OFFLOADS BIT64(2)
#define GUEST_TSO4 BIT64(7)
#define HOST_TSO4 BIT64(11)
#define MRG BIT64(15)
#define STATUS BIT64(16)
#define CTRL_VQ BIT64(17)
#define CTRL_RX BIT64(18)
#define CTRL_VLAN BIT64(19)
#define CTRL_RX_EXTRA BIT64(20)
#define CTRL_MAC BIT64(23)
#define CTRL_ALL (CTRL_VQ | CTRL_RX | CTRL_VLAN | CTRL_RX_EXTRA | CTRL_MAC)

static const u8 own[6] = {2, 0, 0, 0, 0, 1};

/* A host that remembers the last frame and takes as many as it is told to. */
struct host {
	struct net_port p; /* first member */
	unsigned room, sent;
	struct net_meta meta;
	u32 len, offloads;
	u8 data[NET_FRAME_MAX];
};

struct bed {
	struct rig r;
	struct host host;
	struct virtio_net *net;
	unsigned hdr; /* length of the header that was negotiated */
};

static void no_fill(struct net_port *p, struct net_poll *poll)
{
}

static int host_send(struct net_port *p, const struct net_frame *f)
{
	struct host *h = container_of(p, struct host, p);

	if (h->room == 0)
		return -EAGAIN;
	h->room--;
	h->sent++;
	h->meta = f->meta;
	h->len = f->len;
	net_flatten(f, h->data);
	return 0;
}

static void host_offloads(struct net_port *p, u32 offloads)
{
	container_of(p, struct host, p)->offloads = offloads;
}

static const struct net_ops host_ops = {
        .fill = no_fill, .done = no_fill, .send = host_send, .offloads = host_offloads};

static struct bed *bed_make(bool legacy, enum irq_mode irq)
{
	const u32 all = NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6 | NET_OFF_ECN | NET_OFF_UFO;
	struct bed *b = calloc(1, sizeof(*b));
	struct virtio_net_config c = {.mtu = 9000, .msi_only = irq == IRQ_MSI};

	assert_non_null(b);
	rig_init(&b->r);
	b->host.p = (struct net_port){.ops = &host_ops, .takes = all, .gives = all, .link = true};
	b->host.p.wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	b->host.room = 1000;
	c.mem = &b->r.mem;
	c.port = &b->host.p;
	memcpy(c.mac, own, 6);
	assert_int_equal(virtio_net_create(&b->net, &c), 0);
	net_attach(&b->host.p, virtio_net_client(b->net));
	rig_plug(&b->r, virtio_net_pci(b->net));
	b->r.legacy = legacy;
	enable_irqs(&b->r, irq);
	return b;
}

static void bed_free(struct bed *b)
{
	virtio_net_destroy(b->net);
	close(b->host.p.wakefd);
	free(b->host.p.poll.fds);
	rig_fini(&b->r);
	free(b);
}

/* --- rings of either size --- */

static u64 avail_at(struct bed *b, unsigned q)
{
	return b->r.legacy ? RING_AT(q) + 16 * ENTRIES : AVAIL_AT(q);
}

static u64 used_at(struct bed *b, unsigned q)
{
	return b->r.legacy ? RING_AT(q) + 8192 : USED_AT(q);
}

static unsigned entries(struct bed *b)
{
	return b->r.legacy ? ENTRIES : RING_SIZE;
}

/* The driver is ready; the rig's own legacy rings have another size. */
static void up(struct bed *b, u64 features)
{
	struct rig *r = &b->r;

	drive(r, features, r->legacy ? 0 : 3);
	for (unsigned q = 0; r->legacy && q < 3; q++) {
		ring_clear(r, q);
		old_wr(r, 14, 2, q);
		assert_int_equal(old_rd(r, 12, 2), ENTRIES);
		if (pci_msix_enabled(r->dev))
			old_wr(r, 22, 2, q + 1);
		old_wr(r, 8, 4, RING_AT(q) >> 12);
	}
	b->hdr = !r->legacy || (features & MRG) ? 12 : 10;
	memset(r->mem.base + BUF(0), CLEAN, 0x100000);
}

static void offer_quietly(struct bed *b, unsigned q, u16 head)
{
	u8 *avail = mem_ptr(&b->r.mem, avail_at(b, q), 4 + 2 * ENTRIES);

	put_le16(avail + 4 + 2 * (b->r.published[q] % entries(b)), head);
	__atomic_store_n((u16 *)(void *)(avail + 2), ++b->r.published[q], __ATOMIC_SEQ_CST);
}

static void offer(struct bed *b, unsigned q, u16 head)
{
	offer_quietly(b, q, head);
	kick_queue(&b->r, q);
}

static unsigned answers(struct bed *b, unsigned q)
{
	return (u16)(get_le16(mem_ptr(&b->r.mem, used_at(b, q) + 2, 2)) - b->r.seen[q]);
}

static struct vq_used answer(struct bed *b, unsigned q)
{
	struct vq_used u;

	assert_true(answers(b, q) > 0);
	mem_read(&b->r.mem, used_at(b, q) + 4 + 8 * (b->r.seen[q]++ % entries(b)), &u, sizeof(u));
	return u;
}

static u8 *at(struct bed *b, u64 gpa)
{
	return b->r.mem.base + gpa;
}

static void turn(struct bed *b)
{
	net_step(&b->host.p, 0);
}

/* --- frames --- */

static void fill(u8 *frame, u32 len, const u8 *to)
{
	for (u32 n = 0; n < len; n++)
		frame[n] = (u8)(n * 7 + len);
	memcpy(frame, to, MIN(len, 6u));
	if (len >= 14)
		memcpy(frame + 12, (u8[]){8, 0}, 2);
}

/* The driver sends: a header and len bytes in pieces of the given size. */
static void transmit(struct bed *b, u16 head, const struct net_meta *meta, u32 len, u32 piece)
{
	static const u8 peer[6] = {2, 0, 0, 0, 0, 2};
	u16 n = head;

	memset(at(b, HDR), 0, 12);
	if (meta)
		memcpy(at(b, HDR), meta, sizeof(*meta));
	fill(at(b, BUF(0)), len, peer);
	put_desc(&b->r, RING_AT(TX), n, HDR, b->hdr, len ? N : 0, n + 1);
	for (u32 done = 0; done < len; done += piece) {
		u32 part = MIN(piece, len - done);

		n++;
		put_desc(&b->r, RING_AT(TX), n, BUF(0) + done, part, done + part < len ? N : 0, n + 1);
	}
	offer(b, TX, head);
}

/* A frame from the host; whether it was taken. */
static bool arrive(struct bed *b, const struct net_meta *meta, const u8 *data, u32 len)
{
	const struct iovec iov[2] = {
	        {(void *)data, MIN(len, 5u)}, {(void *)(data + 5), len > 5 ? len - 5 : 0}};
	struct net_frame f = {.iov = iov, .niov = 2, .len = len};

	if (meta)
		f.meta = *meta;
	return net_deliver(&b->host.p, &f);
}

static bool arrive_len(struct bed *b, u32 len)
{
	static u8 frame[NET_FRAME_MAX];

	fill(frame, len, own);
	return arrive(b, NULL, frame, len);
}

static void offer_rx(struct bed *b, u16 head, u64 gpa, u32 len)
{
	put_desc(&b->r, RING_AT(RX), head, gpa, len, W, 0);
	offer(b, RX, head);
}

/* --- tests --- */

static void identity(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);

	assert_int_equal(cfg_rd(&b->r, 0, 4), 0x10001af4);
	assert_int_equal(cfg_rd(&b->r, PCI_SUBSYSTEM, 2), 1);
	assert_int_equal(cfg_rd(&b->r, 8, 4) >> 8, 0x020000);
	for (unsigned n = 0; n < 6; n++)
		assert_int_equal(config(&b->r, n, 1), own[n]);
	assert_int_equal(config(&b->r, 6, 2), 1);
	assert_int_equal(config(&b->r, 10, 2), 9000);
	bed_free(b);
}

/* Headers of 10 and 12 bytes, buffers cut anywhere, header and frame in one buffer or in many. */
static void sends(void **state)
{
	static const u32 lens[] = {14, 60, 1514, 9014, 65000};
	static const u64 sets[] = {0, MRG, STATUS};

	for (unsigned n = 0; n < 12; n++) {
		struct bed *b = bed_make(n & 1, n & 2 ? IRQ_MSIX : IRQ_INTX);

		up(b, sets[n % 3]);
		for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
			transmit(b, (u16)(i * 10), NULL, lens[i], i % 2 ? 13000 : 70000);
			turn(b);
			assert_int_equal(b->host.sent, i + 1);
			assert_int_equal(b->host.len, lens[i]);
			assert_memory_equal(b->host.data, at(b, BUF(0)), lens[i]);
			assert_int_equal(answer(b, TX).id, i * 10);
		}
		if (n & 2)
			assert_int_equal(rig_msis(&b->r, TX + 1), ARRAY_SIZE(lens));
		else
			assert_true(b->r.line);
		bed_free(b);
	}
}

/* Header and frame in the same buffer, as any-layout drivers do. */
static void sends_in_one_piece(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);

	up(b, 0);
	memset(at(b, BUF(0)), 0, 12);
	fill(at(b, BUF(0)) + 12, 100, own);
	put_desc(&b->r, RING_AT(TX), 3, BUF(0), 112, 0, 0);
	offer(b, TX, 3);
	turn(b);
	assert_int_equal(b->host.len, 100);
	assert_memory_equal(b->host.data, at(b, BUF(0)) + 12, 100);
	bed_free(b);
}

/* What is no frame is given back and not sent. */
static void malformed(void **state)
{
	static const u32 lens[] = {0, 1, 13, NET_FRAME_MAX + 1, 100000};

	for (unsigned legacy = 0; legacy < 2; legacy++) {
		struct bed *b = bed_make(legacy, IRQ_MSIX);
		struct virtio_net_stats st;

		up(b, 0);
		for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
			transmit(b, 0, NULL, lens[i], 200000);
			turn(b);
			assert_int_equal(answer(b, TX).id, 0);
		}
		/* shorter than its header, and a buffer that the device may only write */
		put_desc(&b->r, RING_AT(TX), 0, HDR, b->hdr - 1, 0, 0);
		offer(b, TX, 0);
		put_desc(&b->r, RING_AT(TX), 1, HDR, 100, W, 0);
		offer(b, TX, 1);
		turn(b);
		assert_int_equal(answers(b, TX), 2);
		assert_int_equal(b->host.sent, 0);
		virtio_net_stats(b->net, &st);
		assert_int_equal(st.tx_dropped, 7);
		assert_int_equal(st.tx_frames, 0);
		bed_free(b);
	}
}

/* A host without room gets the rest later, each frame once and in order. */
static void host_is_full(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);

	up(b, 0);
	b->host.room = 5;
	for (u16 n = 0; n < 60; n++) {
		fill(at(b, BUF(n)) + 12, 60 + n, own);
		memset(at(b, BUF(n)), 0, 12);
		put_desc(&b->r, RING_AT(TX), n, BUF(n), 72 + n, 0, 0);
		offer_quietly(b, TX, n);
	}
	kick_queue(&b->r, TX);
	turn(b);
	assert_int_equal(b->host.sent, 5);
	assert_int_equal(answers(b, TX), 5);
	turn(b);
	assert_int_equal(b->host.sent, 5);
	for (unsigned n = 5; n < 60; n++) {
		b->host.room = 1;
		turn(b);
		assert_int_equal(b->host.sent, n + 1);
		assert_int_equal(b->host.len, 60 + n);
	}
	for (u16 n = 0; n < 60; n++)
		assert_int_equal(answer(b, TX).id, n);
	/* many batches without another notification */
	b->host.room = 1000;
	for (u16 n = 0; n < 120; n++)
		offer_quietly(b, TX, n % 60);
	kick_queue(&b->r, TX);
	for (unsigned n = 0; n < 5; n++)
		turn(b);
	assert_int_equal(b->host.sent, 180);
	bed_free(b);
}

static void receives(void **state)
{
	for (unsigned legacy = 0; legacy < 2; legacy++) {
		struct bed *b = bed_make(legacy, legacy ? IRQ_INTX : IRQ_MSIX);
		struct vq_used u;

		up(b, 0);
		put_desc(&b->r, RING_AT(RX), 0, BUF(0), b->hdr, W | N, 1);
		put_desc(&b->r, RING_AT(RX), 1, BUF(1), 100, W | N, 2);
		put_desc(&b->r, RING_AT(RX), 2, BUF(2), 1500, W, 0);
		offer(b, RX, 0);
		assert_true(arrive_len(b, 777));
		u = answer(b, RX);
		assert_int_equal(u.id, 0);
		assert_int_equal(u.len, 777 + b->hdr);
		for (unsigned n = 0; n < 10; n++)
			assert_int_equal(at(b, BUF(0))[n], 0);
		if (!legacy) /* num_buffers is 1 without MRG_RXBUF, too (5.1.6.4.1) */
			assert_int_equal(get_le16(at(b, BUF(0) + 10)), 1);
		assert_memory_equal(at(b, BUF(1)), own, 6);
		assert_int_equal(at(b, BUF(2))[0], (u8)(100 * 7 + 777));
		assert_int_equal(at(b, BUF(2))[676], (u8)(776 * 7 + 777));
		assert_int_equal(at(b, BUF(2))[677], CLEAN);
		bed_free(b);
	}
}

/* Small buffers: a frame goes over as many as it needs, and num_buffers says so. */
static void merges(void **state)
{
	static const u32 piece[] = {1, 13, 64, 500, 4096};

	for (unsigned i = 0; i < ARRAY_SIZE(piece); i++) {
		u32 len = MIN(120 * piece[i] - 12, 9000u), need = (len + 12 + piece[i] - 1) / piece[i],
		    sum = 0;
		struct bed *b = bed_make(false, IRQ_MSIX);
		u8 got[9012];

		up(b, MRG);
		for (u16 n = 0; n < need; n++) {
			put_desc(&b->r, RING_AT(RX), n, BUF(n), piece[i], W, 0);
			offer_quietly(b, RX, n);
		}
		assert_true(arrive_len(b, len));
		assert_int_equal(answers(b, RX), need);
		for (unsigned n = 0; n < need; n++) {
			struct vq_used u = answer(b, RX);

			assert_int_equal(u.id, n);
			assert_int_equal(u.len, MIN(piece[i], len + 12 - sum));
			memcpy(got + sum, at(b, BUF(n)), u.len);
			sum += u.len;
		}
		assert_int_equal(sum, len + 12);
		assert_int_equal(get_le16(got + 10), need);
		assert_memory_equal(got + 12, own, 6);
		for (unsigned n = 14; n < len; n++)
			assert_int_equal(got[12 + n], (u8)(n * 7 + len));
		assert_int_equal(rig_msis(&b->r, RX + 1), 1);
		bed_free(b);
	}
}

/* No buffers, or too few for this frame: it waits, and comes when there are more. */
static void driver_is_full(void **state)
{
	for (unsigned event = 0; event < 2; event++) {
		struct bed *b = bed_make(false, IRQ_MSIX);

		up(b, MRG | (event ? VIRTIO_F_EVENT_IDX : 0));
		assert_false(arrive_len(b, 1000));
		assert_true(b->host.p.full);
		assert_false(arrive_len(b, 1000)); /* not even tried */
		offer_rx(b, 0, BUF(0), 500);
		turn(b);
		assert_false(b->host.p.full);
		assert_false(arrive_len(b, 1000));
		assert_int_equal(answers(b, RX), 0);
		offer_rx(b, 1, BUF(1), 400);
		turn(b);
		assert_false(arrive_len(b, 1000));
		offer_rx(b, 2, BUF(2), 400);
		turn(b);
		assert_true(arrive_len(b, 1000));
		assert_int_equal(answers(b, RX), 3);
		assert_int_equal(answer(b, RX).len, 500);
		assert_int_equal(answer(b, RX).len, 400);
		assert_int_equal(answer(b, RX).len, 112);
		bed_free(b);
	}
}

/* A frame that can never fit is dropped and does not stop the ones behind it. */
static void too_large(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);
	struct virtio_net_stats st;

	up(b, 0);
	offer_rx(b, 0, BUF(0), 1526);
	assert_true(arrive_len(b, 1515));
	assert_int_equal(answers(b, RX), 0);
	assert_true(arrive_len(b, 1514));
	assert_int_equal(answer(b, RX).len, 1526);
	up(b, MRG);
	for (u16 n = 0; n < RING_SIZE; n++) {
		put_desc(&b->r, RING_AT(RX), n, BUF(0), 10, W, 0);
		offer_quietly(b, RX, n);
	}
	assert_true(arrive_len(b, RING_SIZE * 10)); /* with its header more than the whole ring has */
	assert_int_equal(answers(b, RX), 0);
	assert_true(arrive_len(b, RING_SIZE * 10 - 12));
	assert_int_equal(answers(b, RX), RING_SIZE);
	virtio_net_stats(b->net, &st);
	assert_int_equal(st.rx_dropped, 2);
	assert_int_equal(st.rx_frames, 2);
	bed_free(b);
}

/* Buffers of no length, and chains that only the device may read. */
static void useless_buffers(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);

	up(b, MRG);
	for (u16 n = 0; n < RING_SIZE; n++) {
		put_desc(&b->r, RING_AT(RX), n, BUF(0), n % 2 ? 0 : 64, n % 2 ? W : 0, 0);
		offer_quietly(b, RX, n);
	}
	assert_true(arrive_len(b, 60));
	assert_int_equal(answers(b, RX), 0);
	assert_true(arrive_len(b, 60)); /* nothing is stuck */
	bed_free(b);
}

/* Without a driver, after a reset, with a broken one: frames vanish and nobody waits. */
static void nobody_there(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);

	assert_true(arrive_len(b, 60));
	up(b, MRG);
	assert_false(arrive_len(b, 60));
	set_status(&b->r, 0);
	turn(b);
	assert_false(b->host.p.full);
	assert_true(arrive_len(b, 60));
	up(b, MRG);
	offer(b, RX, 9999 % RING_SIZE);
	put_desc(&b->r, RING_AT(RX), 15, 0x10000000, 64, W, 0); /* not RAM */
	assert_true(arrive_len(b, 60));
	put_desc(&b->r, RING_AT(RX), 16, 0x10000000, 64, W, 0);
	offer(b, RX, 16);
	assert_true(arrive_len(b, 60));
	assert_true(status(&b->r) & VIRTIO_NEEDS_RESET);
	transmit(b, 0, NULL, 60, 60);
	turn(b);
	assert_int_equal(b->host.sent, 0);
	up(b, MRG);
	offer_rx(b, 0, BUF(0), 100);
	assert_true(arrive_len(b, 60));
	assert_int_equal(answer(b, RX).len, 72);
	bed_free(b);
}

/* --- offloads --- */

static void offloads_out(void **state)
{
	struct net_meta m = {.flags = NET_NEEDS_CSUM,
	        .gso = NET_GSO_TCP4,
	        .hdr_len = 54,
	        .gso_size = 1448,
	        .csum_start = 34,
	        .csum_offset = 16};
	struct bed *b = bed_make(false, IRQ_MSIX);

	up(b, CSUM | HOST_TSO4);
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	assert_int_equal(b->host.sent, 1);
	assert_memory_equal(&b->host.meta, &m, sizeof(m));
	m.gso = NET_GSO_TCP6; /* not negotiated */
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	m.gso = NET_GSO_TCP4 | NET_GSO_ECN;
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	m.gso = 2;
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	m.gso = NET_GSO_TCP4;
	m.gso_size = 0;
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	m.gso_size = 1000;
	m.csum_start = 0xffff; /* beyond the frame, and their sum beyond 16 bits */
	m.csum_offset = 0xffff;
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	m.csum_start = 4983;
	m.csum_offset = 16;
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	m = (struct net_meta){.gso = NET_GSO_TCP4, .gso_size = 1000};
	transmit(b, 0, &m, 5000, 5000);
	turn(b);
	assert_int_equal(b->host.sent, 1);
	assert_int_equal(answers(b, TX), 8);
	m = (struct net_meta){
	        .flags = 0xff & ~NET_NEEDS_CSUM, .hdr_len = 0xffff}; /* hints and unknown flags */
	transmit(b, 0, &m, 60, 60);
	turn(b);
	assert_int_equal(b->host.sent, 2);
	assert_int_equal(b->host.meta.flags, 0);
	up(b, 0); /* nothing negotiated */
	m = (struct net_meta){.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
	transmit(b, 0, &m, 60, 60);
	turn(b);
	assert_int_equal(b->host.sent, 2);
	bed_free(b);
}

/* Every subset of the offload features, both ways: only what was negotiated passes. */
static void feature_subsets(void **state)
{
	const u64 bits[] = {CSUM, GUEST_CSUM, HOST_TSO4, GUEST_TSO4, MRG, STATUS};
	const struct net_meta gso = {.flags = NET_NEEDS_CSUM,
	        .gso = NET_GSO_TCP4,
	        .gso_size = 100,
	        .csum_start = 34,
	        .csum_offset = 16};
	struct bed *b = bed_make(false, IRQ_MSIX);
	u8 frame[600];

	fill(frame, sizeof(frame), own);
	for (unsigned set = 0; set < BIT(ARRAY_SIZE(bits)); set++) {
		unsigned before = b->host.sent;
		u64 f = 0;

		for (unsigned n = 0; n < ARRAY_SIZE(bits); n++)
			f |= set & BIT(n) ? bits[n] : 0;
		up(b, f);
		turn(b);
		assert_int_equal(b->host.offloads & NET_OFF_CSUM, f & GUEST_CSUM ? NET_OFF_CSUM : 0);
		transmit(b, 0, &gso, 600, 600);
		turn(b);
		assert_int_equal(b->host.sent - before, (f & CSUM) && (f & HOST_TSO4));
		offer_rx(b, 0, BUF(4), 2000);
		assert_true(arrive(b, &gso, frame, sizeof(frame)));
		assert_int_equal(answers(b, RX), (f & GUEST_CSUM) && (f & GUEST_TSO4));
		if (answers(b, RX) == 0) {
			assert_true(arrive(b, &(struct net_meta){.flags = NET_DATA_VALID}, frame, 60));
			assert_int_equal(at(b, BUF(4))[0], f & GUEST_CSUM ? NET_DATA_VALID : 0);
		} else {
			assert_memory_equal(at(b, BUF(4)), &gso, sizeof(gso));
		}
		assert_int_equal(answers(b, RX), 1);
	}
	bed_free(b);
}

/* --- the control queue --- */

static u8 command(struct bed *b, u8 class, u8 cmd, const void *data, u32 len)
{
	u8 *p = at(b, HDR + 0x1000);

	p[0] = class;
	p[1] = cmd;
	memcpy(p + 2, data, len);
	p[0x800] = CLEAN;
	put_desc(&b->r, RING_AT(CTRL), 0, HDR + 0x1000, 2 + len, N, 1);
	put_desc(&b->r, RING_AT(CTRL), 1, HDR + 0x1800, 1, W, 0);
	offer(b, CTRL, 0);
	assert_int_equal(answer(b, CTRL).len, 1);
	return p[0x800];
}

/* Is a frame for this address received? */
static bool hears(struct bed *b, const u8 *to, unsigned vlan)
{
	unsigned before = answers(b, RX);
	u8 frame[64];

	fill(frame, sizeof(frame), to);
	if (vlan < 4096)
		memcpy(frame + 12, (u8[]){0x81, 0, (u8)(vlan >> 8 | 0xe0), (u8)vlan}, 4);
	offer_rx(b, (u16)(b->r.published[RX] % RING_SIZE), BUF(9), 100);
	assert_true(arrive(b, NULL, frame, sizeof(frame)));
	return answers(b, RX) != before;
}

#define NO_VLAN 4096

static void filters(void **state)
{
	static const u8 other[6] = {2, 9, 9, 9, 9, 9}, group[6] = {1, 0, 0x5e, 0, 0, 1},
	                group2[6] = {0x33, 0x33};
	static const u8 all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct bed *b = bed_make(false, IRQ_MSIX);
	const u8 on = 1, off = 0;
	u8 tables[4 + 12 + 4 + 6] = {2};

	up(b, CTRL_ALL);
	assert_true(hears(b, other, NO_VLAN) && hears(b, other, 5)); /* as long as nobody says otherwise */
	assert_int_equal(command(b, 0, 0, &off, 1), 0);
	assert_true(hears(b, own, NO_VLAN) && hears(b, all, NO_VLAN));
	assert_false(hears(b, other, NO_VLAN) || hears(b, group, NO_VLAN) || hears(b, own, 5));
	assert_int_equal(command(b, 0, 1, &on, 1), 0); /* all multicast */
	assert_true(hears(b, group, NO_VLAN));
	assert_int_equal(command(b, 0, 3, &on, 1), 0); /* none */
	assert_false(hears(b, group, NO_VLAN));
	command(b, 0, 3, &off, 1);
	command(b, 0, 1, &off, 1);
	assert_int_equal(command(b, 0, 2, &on, 1), 0); /* all unicast */
	assert_true(hears(b, other, NO_VLAN));
	command(b, 0, 2, &off, 1);
	command(b, 0, 4, &on, 1); /* no unicast */
	assert_false(hears(b, own, NO_VLAN));
	command(b, 0, 4, &off, 1);
	command(b, 0, 5, &on, 1); /* no broadcast */
	assert_false(hears(b, all, NO_VLAN));
	command(b, 0, 5, &off, 1);
	memcpy(tables + 4, other, 6); /* two stations, one group */
	tables[16] = 1;
	memcpy(tables + 20, group, 6);
	assert_int_equal(command(b, 1, 0, tables, sizeof(tables)), 0);
	assert_true(hears(b, other, NO_VLAN) && hears(b, group, NO_VLAN));
	assert_false(hears(b, group2, NO_VLAN));
	assert_int_equal(command(b, 1, 0, tables, sizeof(tables) - 1), 1); /* cut off: nothing changes */
	assert_true(hears(b, group, NO_VLAN));
	assert_int_equal(command(b, 2, 0, (u8[]){5, 0}, 2), 0);
	assert_true(hears(b, own, 5));
	assert_false(hears(b, own, 6));
	assert_int_equal(command(b, 2, 1, (u8[]){5, 0}, 2), 0);
	assert_false(hears(b, own, 5));
	assert_int_equal(command(b, 2, 0, (u8[]){0, 0x10}, 2), 1); /* no such VLAN */
	assert_int_equal(command(b, 1, 1, other, 6), 0);           /* another address */
	assert_int_equal(command(b, 1, 0, (u8[8]){0}, 8), 0);
	assert_true(hears(b, other, NO_VLAN));
	assert_false(hears(b, own, NO_VLAN));
	assert_int_equal(config(&b->r, 1, 1), 9);
	up(b, CTRL_ALL); /* a reset brings it back */
	assert_int_equal(config(&b->r, 1, 1), 0);
	bed_free(b);
}

/* More addresses than fit: all of that kind pass. A count that is a lie is refused. */
static void long_tables(void **state)
{
	static const u8 other[6] = {2, 9, 9, 9, 9, 9}, group[6] = {1, 0, 0x5e, 0, 0, 1};
	struct bed *b = bed_make(false, IRQ_MSIX);
	u8 tables[4 + 65 * 6 + 4] = {65};

	up(b, CTRL_ALL);
	command(b, 0, 0, (u8[]){0}, 1);
	assert_false(hears(b, other, NO_VLAN));
	assert_int_equal(command(b, 1, 0, tables, sizeof(tables)), 0);
	assert_true(hears(b, other, NO_VLAN));
	assert_false(hears(b, group, NO_VLAN));
	memcpy(tables, (u8[]){0xff, 0xff, 0xff, 0xff}, 4);
	assert_int_equal(command(b, 1, 0, tables, sizeof(tables)), 1);
	memcpy(tables, (u8[]){0xab, 0xaa, 0xaa, 0x2a}, 4); /* times 6 it would wrap to 2 */
	assert_int_equal(command(b, 1, 0, tables, sizeof(tables)), 1);
	bed_free(b);
}

static void commands_refused(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);
	const u64 csum = GUEST_CSUM, more = GUEST_CSUM | GUEST_TSO4;

	up(b, CTRL_VQ | GUEST_CSUM | CTRL_OFFLOADS);
	for (unsigned class = 0; class < 8; class ++)
		for (unsigned cmd = 0; cmd < 8; cmd++)
			assert_int_equal(command(b, (u8) class, (u8)cmd, "", 0), 1);
	assert_int_equal(command(b, 0, 0, (u8[]){1}, 1), 1); /* not negotiated */
	assert_int_equal(command(b, 1, 1, own, 6), 1);
	assert_int_equal(command(b, 2, 0, (u8[]){5, 0}, 2), 1);
	assert_int_equal(command(b, 5, 0, &more, 8), 1);
	assert_int_equal(command(b, 5, 0, &csum, 8), 0);
	turn(b);
	assert_int_equal(b->host.offloads, NET_OFF_CSUM);
	assert_int_equal(command(b, 5, 0, &(u64){0}, 8), 0);
	turn(b);
	assert_int_equal(b->host.offloads, 0);
	put_desc(&b->r, RING_AT(CTRL), 0, HDR, 3, 0, 0); /* nowhere to answer */
	offer(b, CTRL, 0);
	assert_true(status(&b->r) & VIRTIO_NEEDS_RESET);
	bed_free(b);
}

/* --- the cable --- */

static void cable(void **state)
{
	struct bed *b = bed_make(false, IRQ_MSIX);

	up(b, STATUS | MRG);
	assert_true(virtio_net_link(b->net));
	virtio_net_set_link(b->net, false);
	assert_int_equal(config(&b->r, 6, 2), 0);
	assert_int_equal(rig_msis(&b->r, 0), 1);
	virtio_net_set_link(b->net, false);
	assert_int_equal(rig_msis(&b->r, 0), 1); /* nothing new */
	transmit(b, 0, NULL, 60, 60);
	turn(b);
	assert_int_equal(answers(b, TX), 1);
	assert_int_equal(b->host.sent, 0);
	offer_rx(b, 0, BUF(0), 100);
	assert_true(arrive_len(b, 60));
	assert_int_equal(answers(b, RX), 0);
	net_set_link(&b->host.p, false); /* the other end */
	virtio_net_set_link(b->net, true);
	assert_int_equal(config(&b->r, 6, 2), 0);
	net_set_link(&b->host.p, true);
	assert_int_equal(config(&b->r, 6, 2), 1);
	assert_int_equal(rig_msis(&b->r, 0), 2);
	assert_true(arrive_len(b, 60));
	assert_int_equal(answers(b, RX), 1);
	up(b, MRG); /* no STATUS: the driver is not told */
	virtio_net_set_link(b->net, false);
	assert_int_equal(rig_msis(&b->r, 0), 2);
	bed_free(b);
}

/* An old driver may write its address. */
static void legacy_mac(void **state)
{
	struct bed *b = bed_make(true, IRQ_INTX);

	up(b, 0);
	for (unsigned n = 0; n < 8; n++) /* two bytes too many */
		old_wr(&b->r, 20 + n, 1, 0x40 + n);
	for (unsigned n = 0; n < 6; n++)
		assert_int_equal(config(&b->r, n, 1), 0x40 + n);
	assert_int_equal(config(&b->r, 6, 2), 1);
	b->r.legacy = false;
	up(b, 0);
	wr(&b->r, VIRTIO_MODERN_DEVICE, 4, 0x55555555);
	assert_int_equal(config(&b->r, 0, 1), own[0]);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(identity),
	        cmocka_unit_test(sends),
	        cmocka_unit_test(sends_in_one_piece),
	        cmocka_unit_test(malformed),
	        cmocka_unit_test(host_is_full),
	        cmocka_unit_test(receives),
	        cmocka_unit_test(merges),
	        cmocka_unit_test(driver_is_full),
	        cmocka_unit_test(too_large),
	        cmocka_unit_test(useless_buffers),
	        cmocka_unit_test(nobody_there),
	        cmocka_unit_test(offloads_out),
	        cmocka_unit_test(feature_subsets),
	        cmocka_unit_test(filters),
	        cmocka_unit_test(long_tables),
	        cmocka_unit_test(commands_refused),
	        cmocka_unit_test(cable),
	        cmocka_unit_test(legacy_mac),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
