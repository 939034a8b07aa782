/*
 * What follows "virtio-net," on the command line: which back end, and its options. Parsing is pure.
 *
 *     [BACKEND][,OPTION...]
 *
 * BACKEND: user (also vmnetN, or nothing at all), tapN or tap=INTERFACE, socket.
 */
#pragma once

#include "base/err.h"
#include <net/if.h>
#include <sys/un.h>

#define NET_FWD_MAX 64
#define NET_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)
#define NET_MTU_MIN 1280 /* what IPv6 needs */
#define NET_MTU_MAX 65520

enum net_backend { NET_USER, NET_TAP, NET_SOCKET };

enum net_role {
	NET_NO_ROLE,
	NET_LISTEN,  /* stream: waits for a peer, one at a time */
	NET_CONNECT, /* stream */
	NET_DGRAM,   /* datagrams from path to peer */
};

enum net_fwd_kind {
	NET_FWD_TCP,
	NET_FWD_UDP,
	NET_FWD_UNIX, /* a unix socket of the host, into the guest */
	NET_FWD_GUEST /* an address in the guest's network, to a unix socket of the host */
};

/* One port that is forwarded. Addresses in network order, IPv4 in the first four bytes; 0: any, the guest. */
struct net_fwd {
	enum net_fwd_kind kind;
	bool v6;
	u8 host[16], guest[16];
	u16 host_port, guest_port;
	char path[NET_PATH_MAX]; /* of the unix socket */
	char text[200];          /* as the user wrote it, for messages; cut off when it is longer */
};

struct net_spec {
	enum net_backend backend;
	bool has_mac;
	u8 mac[6];
	u32 mtu;         /* 0: not given */
	char pcap[4096]; /* "": none */
	char ifname[IFNAMSIZ];

	bool restricted;
	u32 net, netmask; /* IPv4 network of user, host order */
	unsigned nfwd;
	struct net_fwd fwd[NET_FWD_MAX];

	enum net_role role;
	char path[NET_PATH_MAX], peer[NET_PATH_MAX];
};

/* 0, or -errno and a message that needs no prefix. */
int net_parse(struct net_spec *s, const char *config, struct err *e);

/* Six bytes in hexadecimal with colons (or dashes), of one station: -EINVAL and the message. */
int net_parse_mac(const char *text, u8 mac[6], struct err *e);

/* The value of hostfwd=, fwd= and guestfwd= (option says which). */
int net_parse_fwd(struct net_fwd *f, const char *option, const char *value, struct err *e);

#define NET_MAC_TEXT 18
char *net_format_mac(const u8 mac[6], char buf[NET_MAC_TEXT]);
