/*
 * The control queue of the network card (virtio 1.2, 5.1.6.5) and what it controls: which frames the driver
 * wants, its address, and the work that may be left to it.
 *
 * A command is copied and checked completely before anything changes.
 */
#include "dev/virtio_net_int.h"

#define ACK_OK 0
#define ACK_ERR 1

#define CLASS_RX 0
#define RX_PROMISC 0
#define RX_ALLMULTI 1
#define RX_ALLUNI 2
#define RX_NOMULTI 3
#define RX_NOUNI 4
#define RX_NOBCAST 5
#define CLASS_MAC 1
#define MAC_TABLE_SET 0
#define MAC_ADDR_SET 1
#define CLASS_VLAN 2
#define VLAN_ADD 0
#define VLAN_DEL 1
#define CLASS_GUEST_OFFLOADS 5
#define GUEST_OFFLOADS_SET 0

#define ETHERTYPE_VLAN 0x8100
#define VLAN_ID_MASK 0xfff
#define VLAN_HEADER_END 16

/* As for disks: see virtio_blk.c. */
#define ANSWERS_MAX (64 * QUEUE_SIZE)

struct command {
	u8 class, cmd;
};

/* --- which frames are wanted --- */

void virtio_net_filter_reset(struct virtio_net *d)
{
	memset(&d->filter, 0, sizeof(d->filter));
	d->filter.promisc = true;
	memset(d->filter.vlan, 0xff, sizeof(d->filter.vlan));
}

static bool in_table(const u8 table[][MAC_LEN], unsigned n, const u8 *mac)
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(table[i], mac, MAC_LEN) == 0)
			return true;
	return false;
}

static bool vlan_wanted(const struct virtio_net *d, const u8 *head, u32 len)
{
	u16 id;

	if (!virtio_has(&d->v, F_CTRL_VLAN) || len < VLAN_HEADER_END)
		return true;
	if (head[12] != ETHERTYPE_VLAN >> 8 || head[13] != (ETHERTYPE_VLAN & 0xff))
		return true;
	id = (u16)(head[14] << 8 | head[15]) & VLAN_ID_MASK;
	return d->filter.vlan[id / 8] >> id % 8 & 1;
}

bool virtio_net_wants(const struct virtio_net *d, const u8 *head, u32 len)
{
	static const u8 broadcast[MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const struct rx_filter *f = &d->filter;

	if (f->promisc)
		return true;
	if (!vlan_wanted(d, head, len))
		return false;
	if (memcmp(head, broadcast, MAC_LEN) == 0)
		return !f->nobcast;
	if (head[0] & 1) {
		if (f->nomulti)
			return false;
		return f->allmulti || f->multi_overflow || in_table(f->multi, f->nmulti, head);
	}
	if (f->nouni)
		return false;
	return f->alluni || f->uni_overflow || memcmp(d->v.config + CFG_MAC, head, MAC_LEN) == 0 ||
	       in_table(f->uni, f->nuni, head);
}

/* --- commands: true when it was obeyed --- */

static bool set_rx_mode(struct virtio_net *d, u8 cmd, struct vq_chain *c)
{
	struct rx_filter *f = &d->filter;
	bool *const flag[] = {[RX_PROMISC] = &f->promisc,
	        [RX_ALLMULTI] = &f->allmulti,
	        [RX_ALLUNI] = &f->alluni,
	        [RX_NOMULTI] = &f->nomulti,
	        [RX_NOUNI] = &f->nouni,
	        [RX_NOBCAST] = &f->nobcast};
	u64 feature = cmd <= RX_ALLMULTI ? F_CTRL_RX : F_CTRL_RX_EXTRA;
	u8 on;

	if (cmd >= ARRAY_SIZE(flag) || !virtio_has(&d->v, feature) || !vq_chain_pull(c, &on, 1))
		return false;
	*flag[cmd] = on != 0;
	return true;
}

/* One table of the two; of a longer one than we keep only the length matters. */
static bool pull_table(struct vq_chain *c, u8 table[MAC_TABLE][MAC_LEN], u16 *n, bool *overflow)
{
	u8 skipped[MAC_LEN];
	u32 count;

	if (!vq_chain_pull(c, &count, sizeof(count)) || count > c->rd_len / MAC_LEN)
		return false;
	*overflow = count > MAC_TABLE;
	*n = *overflow ? 0 : (u16)count;
	for (u32 i = 0; i < count; i++)
		if (!vq_chain_pull(c, *overflow ? skipped : table[i], MAC_LEN))
			return false;
	return true;
}

static bool set_tables(struct virtio_net *d, struct vq_chain *c)
{
	struct rx_filter f = d->filter;

	if (!pull_table(c, f.uni, &f.nuni, &f.uni_overflow) ||
	        !pull_table(c, f.multi, &f.nmulti, &f.multi_overflow))
		return false;
	d->filter = f;
	return true;
}

static bool set_mac(struct virtio_net *d, u8 cmd, struct vq_chain *c)
{
	u8 mac[MAC_LEN];

	if (cmd == MAC_TABLE_SET && virtio_has(&d->v, F_CTRL_RX))
		return set_tables(d, c);
	if (cmd != MAC_ADDR_SET || !virtio_has(&d->v, F_CTRL_MAC_ADDR) || c->rd_len != MAC_LEN)
		return false;
	if (!vq_chain_pull(c, mac, sizeof(mac)))
		return false;
	memcpy(d->v.config + CFG_MAC, mac, sizeof(mac));
	return true;
}

static bool set_vlan(struct virtio_net *d, u8 cmd, struct vq_chain *c)
{
	u16 id;

	if (cmd > VLAN_DEL || !virtio_has(&d->v, F_CTRL_VLAN) || !vq_chain_pull(c, &id, sizeof(id)))
		return false;
	if (id >= VLANS)
		return false;
	if (cmd == VLAN_ADD)
		d->filter.vlan[id / 8] |= (u8)BIT(id % 8);
	else
		d->filter.vlan[id / 8] &= (u8)~BIT(id % 8);
	return true;
}

#define GUEST_OFFLOADS (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN | F_GUEST_UFO)

u32 virtio_net_guest_offloads(u64 features)
{
	u32 off = 0;

	if (!(features & F_GUEST_CSUM)) /* 5.1.3.1: the others need it */
		return 0;
	off |= NET_OFF_CSUM;
	off |= features & F_GUEST_TSO4 ? NET_OFF_TSO4 : 0;
	off |= features & F_GUEST_TSO6 ? NET_OFF_TSO6 : 0;
	off |= features & F_GUEST_ECN ? NET_OFF_ECN : 0;
	off |= features & F_GUEST_UFO ? NET_OFF_UFO : 0;
	return off;
}

/* 5.1.6.5.6: a subset of what was negotiated. */
static bool set_offloads(struct virtio_net *d, u8 cmd, struct vq_chain *c)
{
	u64 want;

	if (cmd != GUEST_OFFLOADS_SET || !virtio_has(&d->v, F_CTRL_GUEST_OFFLOADS))
		return false;
	if (!vq_chain_pull(c, &want, sizeof(want)) || (want & ~(d->v.features & GUEST_OFFLOADS)))
		return false;
	d->offloads = virtio_net_guest_offloads(want);
	net_set_offloads(d->port, d->offloads);
	return true;
}

static bool obey(struct virtio_net *d, struct vq_chain *c)
{
	struct command h;

	if (!vq_chain_pull(c, &h, sizeof(h)))
		return false;
	switch (h.class) {
	case CLASS_RX: return set_rx_mode(d, h.cmd, c);
	case CLASS_MAC: return set_mac(d, h.cmd, c);
	case CLASS_VLAN: return set_vlan(d, h.cmd, c);
	case CLASS_GUEST_OFFLOADS: return set_offloads(d, h.cmd, c);
	default: return false;
	}
}

void virtio_net_control(struct virtio_net *d)
{
	for (unsigned n = 0; n < ANSWERS_MAX; n++) {
		struct vq_chain *c = virtio_pop(&d->v, QUEUE_CTRL);
		u8 *ack;

		if (!c)
			return;
		ack = vq_chain_last(c);
		if (!ack) { /* nowhere to put an answer */
			virtio_push(&d->v, QUEUE_CTRL, c, 0);
			break;
		}
		vq_write_byte(&d->v.queue[QUEUE_CTRL], ack, obey(d, c) ? ACK_OK : ACK_ERR);
		virtio_push(&d->v, QUEUE_CTRL, c, 1);
	}
	virtio_break(&d->v);
}
