/*
 * Between the port (port.c) and its back ends. All functions run on the port's thread but open and close.
 */
#pragma once

#include "net/net.h"
#include <poll.h>

struct pcap;

/* What a turn waits for. */
struct net_poll {
	struct pollfd *fds;
	unsigned n, cap;
	int timeout_ms; /* -1: no limit */
};

struct net_ops {
	/* Adds descriptors and may lower the timeout. Called once before each wait. */
	void (*fill)(struct net_port *p, struct net_poll *poll);
	/* After the wait, with the answers in poll. */
	void (*done)(struct net_port *p, struct net_poll *poll);
	/* As net_send. */
	int (*send)(struct net_port *p, const struct net_frame *f);
	/* What deliver may leave to the client has changed. NULL: there is never anything. */
	void (*offloads)(struct net_port *p, u32 offloads);
	/* The card's cable was plugged in or pulled out. NULL: there is nobody to tell. */
	void (*plug)(struct net_port *p, bool in);
	void (*close)(struct net_port *p); /* frees the port */
};

/* A back end embeds this as its first member and fills the upper part. */
struct net_port {
	const struct net_ops *ops;
	u32 takes, gives, mtu;
	bool link; /* at first; later through net_set_link */
	bool full; /* the client had no room and has not said that it has again */
	/* port.c */
	const struct net_client *client;
	struct pcap *pcap;
	struct net_poll poll;
	int wakefd;
	u32 kicks;          /* atomic: enum kick */
	u32 want_offloads;  /* atomic */
	bool plugged;       /* atomic; means something with KICK_PLUG */
	bool blocked, more; /* transmit has frames left: waiting for the host; was interrupted */
	bool running;
	pthread_t thread;
};

int net_open_user(struct net_port **out, const struct net_spec *spec, struct err *e);
int net_open_tap(struct net_port **out, const struct net_spec *spec, struct err *e);
int net_open_socket(struct net_port **out, const struct net_spec *spec, struct err *e);

/* The index of fd in poll->fds, or -1 when there is no memory: it is then waited for next time. */
int net_poll_add(struct net_poll *poll, int fd, short events);
/* To the client; sets p->full when that has no room. */
bool net_deliver(struct net_port *p, const struct net_frame *f);
void net_set_link(struct net_port *p, bool up);
/* All bytes of a frame, one after the other; room for f->len. */
void net_flatten(const struct net_frame *f, u8 *to);
