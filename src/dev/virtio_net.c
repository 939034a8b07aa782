/*
 * The virtio network card (see virtio_net.h): its frames. Section numbers are those of virtio 1.2.
 *
 * The driver's side holds the device's lock for moments only: chains are taken with it, handed to the port or
 * filled without, and given back with it. A reset waits for chains that are on their way, so buffers stay
 * the driver's promise as long as they are used.
 */
#include "dev/virtio_net_int.h"

#include <errno.h>
#include <stdlib.h>

#define ID_NET 1
#define PCI_ID_NET 0x1000
#define CLASS_ETHERNET 0x020000

#define FRAME_HEAD 18 /* addresses, type, VLAN tag: what filters look at */

/* virtio_net_hdr (5.1.6): what is left to do is laid out as in the port's frames */
struct header {
	struct net_meta meta;
	u16 num_buffers;
};
static_assert(sizeof(struct header) == 12, "5.1.6");

#define HEADER_OLD 10u /* without num_buffers */

static unsigned header_len(const struct virtio_net *d)
{
	return d->v.features & (F_MRG_RXBUF | VIRTIO_F_VERSION_1) ? sizeof(struct header) : HEADER_OLD;
}

static bool link_up(const struct virtio_net *d)
{
	return d->plugged && d->host_up;
}

/* --- from the driver --- */

/* What the driver may leave to the port. */
static u32 host_offloads(u64 features)
{
	u32 off = 0;

	if (!(features & F_CSUM))
		return 0;
	off |= NET_OFF_CSUM;
	off |= features & F_HOST_TSO4 ? NET_OFF_TSO4 : 0;
	off |= features & F_HOST_TSO6 ? NET_OFF_TSO6 : 0;
	off |= features & F_HOST_ECN ? NET_OFF_ECN : 0;
	off |= features & F_HOST_UFO ? NET_OFF_UFO : 0;
	return off;
}

/* Fills a job from its chain. A frame that makes no sense is only given back. */
static void parse_tx(struct virtio_net *d, struct tx_job *job)
{
	struct vq_chain *c = job->chain;
	struct net_frame *f = &job->frame;
	struct header h = {0};

	job->drop = true;
	if (!vq_chain_pull(c, &h, header_len(d)))
		return;
	*f = (struct net_frame){.meta = h.meta, .iov = c->rd, .niov = c->nrd};
	if (c->rd_len < NET_FRAME_MIN || c->rd_len > NET_FRAME_MAX)
		return;
	f->len = (u32)c->rd_len;
	f->meta.flags &= NET_NEEDS_CSUM;
	job->drop = !link_up(d) || !net_meta_fits(f, host_offloads(d->v.features));
}

static unsigned take_jobs(struct virtio_net *d)
{
	unsigned n;

	for (n = 0; n < TX_BATCH; n++) {
		d->tx[n].chain = virtio_pop(&d->v, QUEUE_TX);
		if (!d->tx[n].chain)
			break;
		parse_tx(d, &d->tx[n]);
	}
	return n;
}

/* done of n jobs are over, the driver gets the others' chains back into its queue. */
static void finish_jobs(struct virtio_net *d, unsigned done, unsigned n)
{
	for (unsigned i = 0; i < done; i++) {
		const struct tx_job *job = &d->tx[i];

		d->chains[i] = job->chain;
		d->written[i] = 0;
		d->stats.tx_dropped += job->drop;
		d->stats.tx_frames += !job->drop;
		d->stats.tx_bytes += job->drop ? 0 : job->frame.len;
	}
	while (n > done)
		virtio_unpop(&d->v, QUEUE_TX, d->tx[--n].chain);
	if (done)
		virtio_push_all(&d->v, QUEUE_TX, d->chains, d->written, done);
}

static bool transmit(void *opaque)
{
	struct virtio_net *d = opaque;
	unsigned n, done;

	pthread_mutex_lock(&d->v.lock);
	n = take_jobs(d);
	pthread_mutex_unlock(&d->v.lock);
	for (done = 0; done < n; done++)
		if (!d->tx[done].drop && net_send(d->port, &d->tx[done].frame) == -EAGAIN)
			break;
	if (n == 0)
		return false;
	pthread_mutex_lock(&d->v.lock);
	finish_jobs(d, done, n);
	pthread_mutex_unlock(&d->v.lock);
	return done == TX_BATCH;
}

/* --- to the driver --- */

/* The first bytes of a frame, for filters; how many there are. */
static u32 frame_head(const struct net_frame *f, u8 head[FRAME_HEAD])
{
	u32 len = 0;

	for (unsigned n = 0; n < f->niov && len < FRAME_HEAD; n++) {
		u32 part = (u32)MIN((size_t)(FRAME_HEAD - len), f->iov[n].iov_len);

		memcpy(head + len, f->iov[n].iov_base, part);
		len += part;
	}
	return len;
}

/* False: it is dropped. What the driver did not ask for can still be on its way after a change. */
static bool wanted(const struct virtio_net *d, const struct net_frame *f)
{
	u8 head[FRAME_HEAD];

	return virtio_running(&d->v) && d->v.queue[QUEUE_RX].running && link_up(d) &&
	       net_meta_fits(f, d->offloads) && virtio_net_wants(d, head, frame_head(f, head));
}

static void return_chains(struct virtio_net *d, unsigned n)
{
	while (n)
		virtio_unpop(&d->v, QUEUE_RX, d->chains[--n]);
}

enum room { ROOM, NO_ROOM, NEVER_ROOM };

/* Takes chains for need bytes. When there are not enough all of them stay with the driver. */
static enum room take_room(struct virtio_net *d, u64 need, unsigned *count)
{
	unsigned most = virtio_has(&d->v, F_MRG_RXBUF) ? d->v.queue[QUEUE_RX].num : 1;
	u64 room = 0;
	unsigned n = 0;

	for (; room < need && n < most; n++) {
		struct vq_chain *c = virtio_pop(&d->v, QUEUE_RX);

		if (!c) {
			return_chains(d, n);
			/* a driver that broke the rules gets nothing more */
			return d->v.broken ? NEVER_ROOM : NO_ROOM;
		}
		d->chains[n] = c;
		room += c->wr_len;
	}
	if (room < need) {
		return_chains(d, n);
		return NEVER_ROOM;
	}
	*count = n;
	return ROOM;
}

/* Walks through the chains; where the next byte goes. */
struct cursor {
	struct virtio_net *d;
	unsigned chain;
	u64 at; /* in this chain */
};

static void put(struct cursor *to, const void *buf, u64 len)
{
	const u8 *from = buf;

	while (len) {
		struct vq_chain *c = to->d->chains[to->chain];
		u64 part = vq_chain_write_at(c, to->at, from, len);

		to->at += part;
		from += part;
		len -= part;
		to->d->written[to->chain] = (u32)to->at;
		if (len) { /* this one is full; all of them together have room */
			to->d->written[++to->chain] = 0;
			to->at = 0;
		}
	}
}

static void fill_chains(struct virtio_net *d, const struct net_frame *f, unsigned count)
{
	struct header h = {.meta = f->meta, .num_buffers = (u16)count};
	struct cursor to = {.d = d};

	if (!(d->offloads & NET_OFF_CSUM)) /* 5.1.6.4.1: then no flag may be set */
		h.meta.flags = 0;
	memset(d->written, 0, sizeof(d->written[0]) * count);
	put(&to, &h, header_len(d));
	for (unsigned n = 0; n < f->niov; n++)
		put(&to, f->iov[n].iov_base, f->iov[n].iov_len);
}

/* False: there is no room now. */
static bool receive(struct virtio_net *d, const struct net_frame *f)
{
	unsigned count;

	if (!wanted(d, f)) {
		d->stats.rx_dropped++;
		return true;
	}
	switch (take_room(d, (u64)header_len(d) + f->len, &count)) {
	case NO_ROOM: d->starved = true; return false;
	case NEVER_ROOM: d->stats.rx_dropped++; return true;
	case ROOM: break;
	}
	fill_chains(d, f, count);
	virtio_push_all(&d->v, QUEUE_RX, d->chains, d->written, count);
	d->stats.rx_frames++;
	d->stats.rx_bytes += f->len;
	return true;
}

static bool deliver(void *opaque, const struct net_frame *f)
{
	struct virtio_net *d = opaque;
	bool taken;

	pthread_mutex_lock(&d->v.lock);
	taken = receive(d, f);
	pthread_mutex_unlock(&d->v.lock);
	return taken;
}

/* --- the cable --- */

static void link_changed(struct virtio_net *d)
{
	u8 *status = d->v.config + CFG_STATUS;
	u16 now = link_up(d) ? STATUS_LINK_UP : 0;

	if (get_le16(status) == now)
		return;
	put_le16(status, now);
	if (virtio_has(&d->v, F_STATUS))
		virtio_config_changed(&d->v);
}

static void host_link(void *opaque, bool up)
{
	struct virtio_net *d = opaque;

	pthread_mutex_lock(&d->v.lock);
	d->host_up = up;
	link_changed(d);
	pthread_mutex_unlock(&d->v.lock);
}

void virtio_net_set_link(struct virtio_net *d, bool up)
{
	pthread_mutex_lock(&d->v.lock);
	d->plugged = up;
	link_changed(d);
	net_plug(d->port, up);
	pthread_mutex_unlock(&d->v.lock);
}

bool virtio_net_link(struct virtio_net *d)
{
	bool up;

	pthread_mutex_lock(&d->v.lock);
	up = link_up(d);
	pthread_mutex_unlock(&d->v.lock);
	return up;
}

/* --- hooks; lock held --- */

static void resume(struct virtio_net *d)
{
	if (d->starved)
		net_resume(d->port);
	d->starved = false;
}

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_net *d = container_of(v, struct virtio_net, v);

	switch (queue) {
	case QUEUE_RX: resume(d); break;
	case QUEUE_TX: net_kick(d->port); break;
	default: virtio_net_control(d); break;
	}
}

static void set_offloads(struct virtio_net *d, u32 offloads)
{
	d->offloads = offloads;
	net_set_offloads(d->port, offloads);
}

static void ready(struct virtio *v)
{
	struct virtio_net *d = container_of(v, struct virtio_net, v);

	if (virtio_has(v, F_CTRL_VLAN))
		memset(d->filter.vlan, 0, sizeof(d->filter.vlan));
	set_offloads(d, virtio_net_guest_offloads(v->features));
}

/* 5.1.4.2: drivers from before the control queue could set an address so. */
static void config_write(struct virtio *v, unsigned off, unsigned size, const u8 *val)
{
	if (virtio_has(v, VIRTIO_F_VERSION_1) || off >= CFG_MAC + MAC_LEN)
		return;
	memcpy(v->config + off, val, MIN(size, CFG_MAC + MAC_LEN - off));
}

static void reset(struct virtio *v)
{
	struct virtio_net *d = container_of(v, struct virtio_net, v);

	memcpy(v->config + CFG_MAC, d->mac, MAC_LEN);
	virtio_net_filter_reset(d);
	set_offloads(d, 0);
	resume(d); /* frames that wait are dropped until there is a driver */
}

static const struct virtio_type type = {
        .name = "virtio-net",
        .id = ID_NET,
        .pci_device = PCI_ID_NET,
        .class_code = CLASS_ETHERNET,
        .queue_size = QUEUE_SIZE,
        .config_len = CFG_LEN,
        .kick = kick,
        .ready = ready,
        .config_write = config_write,
        .reset = reset,
};

/* --- life --- */

static u64 features(const struct virtio_net_config *c)
{
	u64 f = F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_RX_EXTRA | F_CTRL_VLAN |
	        F_CTRL_MAC_ADDR | F_ANY_LAYOUT;
	u32 takes = net_takes(c->port), gives = net_gives(c->port);

	f |= c->mtu ? F_MTU : 0;
	f |= takes & NET_OFF_CSUM ? F_CSUM : 0;
	f |= takes & NET_OFF_TSO4 ? F_HOST_TSO4 : 0;
	f |= takes & NET_OFF_TSO6 ? F_HOST_TSO6 : 0;
	f |= takes & NET_OFF_ECN ? F_HOST_ECN : 0;
	f |= takes & NET_OFF_UFO ? F_HOST_UFO : 0;
	f |= gives & NET_OFF_CSUM ? F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS : 0;
	f |= gives & NET_OFF_TSO4 ? F_GUEST_TSO4 : 0;
	f |= gives & NET_OFF_TSO6 ? F_GUEST_TSO6 : 0;
	f |= gives & NET_OFF_ECN ? F_GUEST_ECN : 0;
	f |= gives & NET_OFF_UFO ? F_GUEST_UFO : 0;
	return f;
}

int virtio_net_create(struct virtio_net **out, const struct virtio_net_config *c)
{
	struct virtio_setup s = {
	        .type = &type, .mem = c->mem, .features = features(c), .nqueues = 3, .msi_only = c->msi_only};
	struct virtio_net *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->port = c->port;
	d->client =
	        (struct net_client){.opaque = d, .deliver = deliver, .transmit = transmit, .link = host_link};
	memcpy(d->mac, c->mac, sizeof(d->mac));
	rc = virtio_init(&d->v, &s);
	if (rc < 0) {
		free(d);
		return rc;
	}
	d->plugged = d->host_up = true;
	put_le16(d->v.config + CFG_STATUS, STATUS_LINK_UP);
	put_le16(d->v.config + CFG_MTU, (u16)c->mtu);
	reset(&d->v);
	*out = d;
	return 0;
}

void virtio_net_destroy(struct virtio_net *d)
{
	if (!d)
		return;
	virtio_fini(&d->v);
	free(d);
}

void virtio_net_reset(struct virtio_net *d)
{
	virtio_reset(&d->v);
}

const struct net_client *virtio_net_client(struct virtio_net *d)
{
	return &d->client;
}

struct pci_dev *virtio_net_pci(struct virtio_net *d)
{
	return &d->v.pci;
}

void virtio_net_stats(struct virtio_net *d, struct virtio_net_stats *out)
{
	pthread_mutex_lock(&d->v.lock);
	*out = d->stats;
	pthread_mutex_unlock(&d->v.lock);
}
