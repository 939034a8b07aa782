/*
 * A virtio network card (virtio 1.2, 5.1): 1af4:1000, legacy and modern drivers.
 *
 * One pair of queues and a control queue. All frames move on the port's thread (net/net.h): it reads
 * frames out of the driver's buffers and writes them into these without a copy in between. What has no room
 * on the other side stays where it is: in the driver's queue, or in the host's socket.
 */
#pragma once

#include "dev/virtio_pci.h"
#include "net/net.h"

struct virtio_net;

struct virtio_net_config {
	struct mem *mem;
	struct net_port *port; /* open, not started; stays the caller's; closed after virtio_net_destroy */
	u8 mac[6];
	u32 mtu;       /* what the driver is told, 0: nothing, it takes 1500 */
	bool msi_only; /* one MSI instead of MSI-X (-W) */
};

struct virtio_net_stats {
	u64 tx_frames, tx_bytes, rx_frames, rx_bytes;
	u64 tx_dropped; /* malformed, or the cable was out */
	u64 rx_dropped; /* filtered, too large for the driver's buffers, or the cable was out */
};

int virtio_net_create(struct virtio_net **out, const struct virtio_net_config *c);
/* The port has been stopped. NULL is fine. */
void virtio_net_destroy(struct virtio_net *d);
void virtio_net_reset(struct virtio_net *d);
/* What the port calls: for net_start (or net_attach). */
const struct net_client *virtio_net_client(struct virtio_net *d);
struct pci_dev *virtio_net_pci(struct virtio_net *d); /* for pci_add */
/* Plugs the cable in or pulls it out. It carries frames while the host's side is up, too. Any thread. */
void virtio_net_set_link(struct virtio_net *d, bool up);
/* What the driver sees of the two. */
bool virtio_net_link(struct virtio_net *d);
void virtio_net_stats(struct virtio_net *d, struct virtio_net_stats *out);
