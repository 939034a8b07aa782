/*
 * Between the card's queues of frames (virtio_net.c) and its control queue (virtio_net_ctrl.c). All
 * functions with the device's lock held.
 */
#pragma once

#include "dev/virtio_net.h"

/* Feature bits (5.1.3) */
#define F_CSUM BIT64(0)
#define F_GUEST_CSUM BIT64(1)
#define F_CTRL_GUEST_OFFLOADS BIT64(2)
#define F_MTU BIT64(3)
#define F_MAC BIT64(5)
#define F_GUEST_TSO4 BIT64(7)
#define F_GUEST_TSO6 BIT64(8)
#define F_GUEST_ECN BIT64(9)
#define F_GUEST_UFO BIT64(10)
#define F_HOST_TSO4 BIT64(11)
#define F_HOST_TSO6 BIT64(12)
#define F_HOST_ECN BIT64(13)
#define F_HOST_UFO BIT64(14)
#define F_MRG_RXBUF BIT64(15)
#define F_STATUS BIT64(16)
#define F_CTRL_VQ BIT64(17)
#define F_CTRL_RX BIT64(18)
#define F_CTRL_VLAN BIT64(19)
#define F_CTRL_RX_EXTRA BIT64(20)
#define F_CTRL_MAC_ADDR BIT64(23)
#define F_ANY_LAYOUT BIT64(27) /* legacy drivers (6.3): any layout of buffers is understood */

/* virtio_net_config (5.1.4) */
#define CFG_MAC 0
#define CFG_STATUS 6
#define CFG_MTU 10
#define CFG_LEN 12
#define STATUS_LINK_UP 1u

#define QUEUE_RX 0
#define QUEUE_TX 1
#define QUEUE_CTRL 2
#define QUEUE_SIZE 256

#define MAC_LEN 6
#define MAC_TABLE 64 /* addresses of one kind; with more, all of the kind pass */
#define VLANS 4096

/* What the driver wants to hear (5.1.6.5.1 to 5.1.6.5.3) */
struct rx_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool uni_overflow, multi_overflow;
	u16 nuni, nmulti;
	u8 uni[MAC_TABLE][MAC_LEN], multi[MAC_TABLE][MAC_LEN];
	u8 vlan[VLANS / 8];
};

#define TX_BATCH 32

/* A frame of the driver on its way to the host. */
struct tx_job {
	struct vq_chain *chain;
	struct net_frame frame;
	bool drop;
};

struct virtio_net {
	struct virtio v; /* first member */
	struct net_port *port;
	struct net_client client;
	u8 mac[MAC_LEN];
	bool plugged, host_up; /* the cable has two ends */
	bool starved;          /* the port waits for receive buffers */
	u32 offloads;          /* work that may be left to the driver (enum net_offload) */
	struct rx_filter filter;
	struct virtio_net_stats stats;
	struct tx_job tx[TX_BATCH];          /* the port's thread only */
	struct vq_chain *chains[QUEUE_SIZE]; /* the port's thread only, both directions in turn */
	u32 written[QUEUE_SIZE];
};

/* The driver's settings are forgotten: everything passes until it says otherwise. */
void virtio_net_filter_reset(struct virtio_net *d);
/* Does the driver want a frame that begins so? len: at least NET_FRAME_MIN. */
bool virtio_net_wants(const struct virtio_net *d, const u8 *head, u32 len);
/* Answers what is in the control queue. */
void virtio_net_control(struct virtio_net *d);
/* Offloads as the port names them, of features of received frames. */
u32 virtio_net_guest_offloads(u64 features);
