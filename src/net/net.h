/*
 * A frame port: Ethernet frames between one network card and something of the host. The card never sees a
 * file descriptor, the back end never sees a card.
 *
 *     card -> host    net_kick says that there are frames; the port's thread calls client.transmit, which
 *                     hands them over one by one with net_send
 *     host -> card    the port's thread calls client.deliver
 *
 * Either side may say "not now" (-EAGAIN; false): the frame then stays where it is, in the driver's queue
 * or in the host's socket, and the side that had no room says when it has (the port calls transmit again;
 * the card calls net_resume). Nothing is lost between the two, and nothing is queued without bound.
 *
 * Threads: each port has one thread that does all work with the host, woken through one eventfd however
 * many kicks there are. net_kick, net_resume, net_set_offloads and net_plug are for any thread, with any
 * lock held; client functions are called on the port's thread without locks, and net_send is only for there.
 */
#pragma once

#include "base/err.h"
#include "net/spec.h"
#include <sys/uio.h>

#define NET_FRAME_MIN 14u               /* an Ethernet header */
#define NET_FRAME_MAX (65535u + 14 + 4) /* the largest IP packet with its header and a VLAN tag */

/* Values of net_meta.flags and .gso are those of Linux's virtio-net header, which tap devices use too. */
#define NET_NEEDS_CSUM 1u /* sum from csum_start to the end goes to csum_start + csum_offset */
#define NET_DATA_VALID 2u /* checksums are known to be right */
#define NET_GSO_NONE 0u
#define NET_GSO_TCP4 1u
#define NET_GSO_UDP 3u
#define NET_GSO_TCP6 4u
#define NET_GSO_ECN 0x80u

/* What is left to do with a frame; host byte order. The layout is that of a tap device's header. */
struct net_meta {
	u8 flags, gso;
	u16 hdr_len;  /* a hint */
	u16 gso_size; /* payload of each segment */
	u16 csum_start, csum_offset;
};
static_assert(sizeof(struct net_meta) == 10, "as virtio_net_hdr");

struct net_frame {
	struct net_meta meta;
	const struct iovec *iov;
	unsigned niov;
	u32 len; /* of all of iov; NET_FRAME_MIN..NET_FRAME_MAX */
};

/* Work that may be left to the receiver of a frame. */
enum net_offload {
	NET_OFF_CSUM = BIT(0), /* NET_NEEDS_CSUM; everything else needs this */
	NET_OFF_TSO4 = BIT(1),
	NET_OFF_TSO6 = BIT(2),
	NET_OFF_ECN = BIT(3), /* with TSO */
	NET_OFF_UFO = BIT(4),
};

/*
 * Does the frame leave only such work to its receiver, and does that make sense? hdr_len, a hint, may still
 * be any number.
 */
bool net_meta_fits(const struct net_frame *f, u32 offloads);

struct net_client {
	void *opaque;
	/* False: no room now; net_resume will be called. A frame that the card does not want counts as taken.
	 */
	bool (*deliver)(void *opaque, const struct net_frame *f);
	/* Sends what there is, with net_send, until that says -EAGAIN. True: there is more, call again soon.
	 */
	bool (*transmit)(void *opaque);
	/* The host's side of the cable is there (or not). */
	void (*link)(void *opaque, bool up);
};

struct net_port;

/*
 * Opens the back end: devices, sockets and files exist, forwarded ports are bound, nothing runs yet.
 * -errno and a message without prefix.
 */
int net_open(struct net_port **out, const struct net_spec *spec, struct err *e);
/* A port that nothing comes out of, and that opens nothing of the host. For net_attach only. */
int net_open_nowhere(struct net_port **out, struct err *e);
/* Starts the thread. The client stays until net_stop. Its link function is called first if the link is down.
 */
int net_start(struct net_port *p, const struct net_client *client);
/* Ends the thread; no client function is running afterwards. Harmless when it was never started. */
void net_stop(struct net_port *p);
/* After net_stop. NULL is fine. */
void net_close(struct net_port *p);

/* What net_send takes, and what the port can make use of in deliver (enum net_offload). */
u32 net_takes(const struct net_port *p);
u32 net_gives(const struct net_port *p);
/* The largest packet without Ethernet header that the network carries; 0: not known. */
u32 net_mtu(const struct net_port *p);

/* --- for the card --- */

void net_kick(struct net_port *p);
void net_resume(struct net_port *p);
/* What may be left to do in frames that are delivered, a subset of net_gives; none at first. */
void net_set_offloads(struct net_port *p, u32 offloads);
/* Is the cable in the card? A back end that has somebody to tell does so; frames are the card's affair. */
void net_plug(struct net_port *p, bool in);
/* 0, also for a frame that the back end has to drop; -EAGAIN: not now. */
int net_send(struct net_port *p, const struct net_frame *f);

/* One turn of the thread, for tests without it: waits at most timeout_ms (-1: for ever). */
void net_step(struct net_port *p, int timeout_ms);
/* As net_start without a thread. */
void net_attach(struct net_port *p, const struct net_client *client);
