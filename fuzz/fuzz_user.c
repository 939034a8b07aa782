/*
 * The user network under a guest that sends anything: frames as drivers send them, with single bytes changed,
 * cut short, without checksums or with segments, to a library that parses Ethernet, ARP, IPv4 and IPv6, ICMP,
 * UDP, TCP, DHCP, DNS and TFTP; and a card that has no room now and then. The network is restricted, so
 * nothing leaves the process. It holds that what comes back are frames of sane lengths, that a card without
 * room is left alone, and that the gateway answers after all that.
 */
#include "input.h"

#include "net/port.h"
#include "standalone.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX 2048u
#define ETH 14u
#define ETHERTYPE 12u
#define IP4 0x0800
#define IP6 0x86dd

struct cable {
	struct net_client client;
	struct net_port *port;
	bool full, refused;
	unsigned answers; /* ARP replies of the gateway */
	bool pending;     /* the frame below has not gone */
	u32 seq, ack;     /* of the TCP connection */
	struct net_meta meta;
	u32 len;
	u8 frame[FRAME_MAX];
};

/* --- the host --- */

#define SERVER_PORT 80

static struct {
	bool alone; /* in a namespace of its own */
	int listener, udp, client;
} host = {.listener = -1, .udp = -1, .client = -1};

static int serve_at(int type)
{
	const struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(SERVER_PORT)};
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	check(fd >= 0 && bind(fd, (const struct sockaddr *)&a, sizeof(a)) == 0);
	check(type == SOCK_DGRAM || listen(fd, 16) == 0);
	return fd;
}

static void leave_network(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	signal(SIGPIPE, SIG_IGN); /* as in the machine: libslirp's sockets raise it */
	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return;
	host.alone = true;
	host.listener = serve_at(SOCK_STREAM);
	host.udp = serve_at(SOCK_DGRAM);
	check(ioctl(host.udp, SIOCSIFFLAGS, &r) == 0);
}

/* Everything goes back; the newest client is the one that counts. */
static void serve(void)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	u8 buf[2048];
	ssize_t n;
	int fd;

	if (!host.alone)
		return;
	n = recvfrom(host.udp, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
	if (n >= 0)
		sendto(host.udp, buf, (size_t)n, 0, (const struct sockaddr *)&from, len);
	fd = accept4(host.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		close(host.client);
		host.client = fd;
	}
	n = recv(host.client, buf, sizeof(buf), 0);
	if (n > 0)
		send(host.client, buf, (size_t)n, MSG_NOSIGNAL);
}

/* --- the card --- */

static unsigned get_be16(const u8 *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static void put_be16(u8 *at, unsigned v)
{
	at[0] = (u8)(v >> 8);
	at[1] = (u8)v;
}

static u32 get_be32(const u8 *at)
{
	return (u32)get_be16(at) << 16 | get_be16(at + 2);
}

static void put_be32(u8 *at, u32 v)
{
	put_be16(at, v >> 16);
	put_be16(at + 2, v);
}

/* What the next segment has to say, if all that was heard until now is taken. */
static void hear_tcp(struct cable *c, const u8 *head)
{
	const u8 *tcp = head + ETH + 20;
	u32 len = get_be16(head + ETH + 2) - 20 - (tcp[12] >> 4) * 4u;

	c->ack = get_be32(tcp + 4) + len + (tcp[13] & 3 ? 1 : 0);
	c->seq = get_be32(tcp + 8);
}

static bool deliver(void *opaque, const struct net_frame *f)
{
	struct cable *c = opaque;
	u8 head[54] = {0};
	u32 len = 0, have = 0;

	check(!c->refused);
	c->refused = c->full;
	if (c->full)
		return false;
	for (unsigned n = 0; n < f->niov; n++) {
		size_t take = MIN(f->iov[n].iov_len, sizeof(head) - have);

		memcpy(head + have, f->iov[n].iov_base, take);
		have += (u32)take;
		len += (u32)f->iov[n].iov_len;
	}
	check(len == f->len && len >= NET_FRAME_MIN && len <= NET_FRAME_MAX);
	check(!f->meta.gso && !(f->meta.flags & NET_NEEDS_CSUM));
	c->answers += head[12] == 8 && head[13] == 6 && head[21] == 2;
	if (head[12] == 8 && head[13] == 0 && head[23] == 6 && len >= sizeof(head))
		hear_tcp(c, head);
	return true;
}

static bool transmit(void *opaque)
{
	struct cable *c = opaque;
	const struct iovec iov[2] = {{c->frame, 7}, {c->frame + 7, c->len - 7}};
	const struct net_frame f = {.meta = c->meta, .iov = iov, .niov = 2, .len = c->len};

	if (c->pending && net_send(c->port, &f) == 0)
		c->pending = false;
	return false;
}

static void link_is(void *opaque, bool up)
{
}

/* --- frames as drivers send them --- */

static const u8 guest_mac[6] = {2, 0, 0, 0, 0, 1}, any_mac[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const u8 guest_ip[4] = {10, 0, 2, 15}, gateway_ip[4] = {10, 0, 2, 2}, dns_ip[4] = {10, 0, 2, 3};

static u8 *start(struct cable *c, unsigned type, unsigned len)
{
	memset(c->frame, 0, sizeof(c->frame));
	memcpy(c->frame, any_mac, 6);
	memcpy(c->frame + 6, guest_mac, 6);
	put_be16(c->frame + ETHERTYPE, type);
	c->len = MIN(ETH + len, FRAME_MAX);
	c->meta = (struct net_meta){0};
	return c->frame + ETH;
}

static void make_arp(struct cable *c)
{
	u8 *p = start(c, 0x0806, 28);
	static const u8 head[8] = {0, 1, 8, 0, 6, 4, 0, 1};

	memcpy(p, head, 8);
	memcpy(p + 8, guest_mac, 6);
	memcpy(p + 14, guest_ip, 4);
	memcpy(p + 24, gateway_ip, 4);
}

static u8 *make_ip4(struct cable *c, u8 protocol, const u8 *to, unsigned len)
{
	u8 *p = start(c, IP4, 20 + len);

	p[0] = 0x45;
	put_be16(p + 2, 20 + len);
	p[8] = 64;
	p[9] = protocol;
	memcpy(p + 12, guest_ip, 4);
	memcpy(p + 16, to, 4);
	return p + 20;
}

static u8 *make_udp(struct cable *c, const u8 *to, unsigned port, unsigned len)
{
	u8 *p = make_ip4(c, 17, to, 8 + len);

	put_be16(p, 1000);
	put_be16(p + 2, port);
	put_be16(p + 4, 8 + len);
	return p + 8;
}

static void make_dhcp(struct cable *c, u8 kind)
{
	static const u8 options[] = {99, 130, 83, 99, 53, 1, 1, 61, 7, 1, 2, 0, 0, 0, 0, 1, 50, 4, 10, 0, 2,
	        15, 12, 5, 'g', 'u', 'e', 's', 't', 55, 4, 1, 3, 6, 26, 255};
	u8 *p = make_udp(c, any_mac, 67, 236 + sizeof(options));

	put_be16(p - 8, 68);
	memset(p - 16, 0, 4);
	p[0] = p[1] = 1;
	p[2] = 6;
	memcpy(p + 28, guest_mac, 6);
	memcpy(p + 236, options, sizeof(options));
	p[236 + 6] = kind;
}

static void make_dns(struct cable *c)
{
	static const u8 query[] = {
	        0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1};

	memcpy(make_udp(c, dns_ip, 53, sizeof(query)), query, sizeof(query));
}

static void make_tftp(struct cable *c)
{
	static const char request[] = "\0\1file\0octet\0blksize\0001400\0tsize\0000";

	memcpy(make_udp(c, gateway_ip, 69, sizeof(request)), request, sizeof(request));
}

static void make_ping(struct cable *c)
{
	u8 *p = make_ip4(c, 1, gateway_ip, 56);

	p[0] = 8;
}

/* Of one connection, as far as it got. */
static void make_tcp(struct cable *c, u8 flags)
{
	static const u8 options[] = {2, 4, 5, 0xb4, 1, 3, 3, 7};
	u8 *p = make_ip4(c, 6, gateway_ip, 28 + 100);

	put_be16(p, 2000);
	put_be16(p + 2, SERVER_PORT);
	put_be32(p + 4, flags & 2 ? 1 : c->seq);
	put_be32(p + 8, flags & 2 ? 0 : c->ack);
	p[12] = 7 << 4;
	p[13] = flags;
	put_be16(p + 14, 65535);
	memcpy(p + 20, options, sizeof(options));
}

static void make_fragment(struct cable *c)
{
	make_ping(c);
	put_be16(c->frame + ETH + 6, 0x2000); /* more follow */
}

/* Neighbour and router solicitation, echo: to the gateway's or to all routers' address. */
static void make_icmp6(struct cable *c, u8 type)
{
	static const u8 from[16] = {0xfe, 0x80, [8] = 0, 0, 0, 0xff, 0xfe, 0, 0, 1};
	static const u8 routers[16] = {0xff, 2, [15] = 2}, gateway[16] = {0xfe, 0xc0, [15] = 2};
	u8 *p = start(c, IP6, 40 + 32);

	p[0] = 0x60;
	put_be16(p + 4, 32);
	p[6] = 58;
	p[7] = 255;
	memcpy(p + 8, from, 16);
	memcpy(p + 24, type == 133 ? routers : gateway, 16);
	p[40] = type;
	memcpy(p + 48, gateway, 16);
	p[64] = p[65] = 1; /* source's link address */
	memcpy(p + 66, guest_mac, 6);
}

static void make_udp6(struct cable *c, unsigned port)
{
	make_icmp6(c, 135);
	c->frame[ETH + 6] = 17;
	put_be16(c->frame + ETH + 40, 546);
	put_be16(c->frame + ETH + 42, port);
	put_be16(c->frame + ETH + 44, 32);
}

static void make(struct cable *c, u64 what)
{
	switch (what % 16) {
	case 0: make_arp(c); break;
	case 1: make_dhcp(c, 1); break;
	case 2: make_dhcp(c, 3); break;
	case 3: make_dns(c); break;
	case 4: make_tftp(c); break;
	case 5: make_ping(c); break;
	case 6: make_tcp(c, 2); break;
	case 7: make_tcp(c, 0x10); break;
	case 8: make_tcp(c, 0x18); break;
	case 9: make_fragment(c); break;
	case 10: make_icmp6(c, 135); break;
	case 11: make_icmp6(c, 133); break;
	case 12: make_icmp6(c, 128); break;
	case 13: make_udp6(c, 547); break;
	case 14: make_udp(c, gateway_ip, SERVER_PORT, 30); break;
	default: start(c, IP4, 60); break;
	}
}

/* --- steps --- */

static unsigned sum(const u8 *p, size_t len, unsigned s)
{
	for (size_t n = 0; n < len; n++)
		s += n & 1 ? p[n] : (unsigned)p[n] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

/* Right sums, without which nothing would get deep: IPv4's header, and what it or IPv6 carries. */
static void put_sums(struct cable *c)
{
	u8 *ip = c->frame + ETH, *p;
	bool v6 = get_be16(c->frame + ETHERTYPE) == IP6;
	unsigned head = v6 ? 40 : (ip[0] & 15) * 4, len, at, pseudo;
	u8 protocol = v6 ? ip[6] : ip[9];

	if (c->len < ETH + head + 8 || head < 20)
		return;
	if (!v6) {
		put_be16(ip + 10, 0);
		put_be16(ip + 10, ~sum(ip, head, 0));
	}
	p = ip + head;
	len = MIN(v6 ? get_be16(ip + 4) : get_be16(ip + 2) - head, c->len - ETH - head);
	at = protocol == 6 ? 16 : protocol == 17 ? 6 : 2;
	if (len < at + 2)
		return;
	pseudo = protocol == 1 ? 0 : sum(v6 ? ip + 8 : ip + 12, v6 ? 32 : 8, protocol + len);
	put_be16(p + at, 0);
	put_be16(p + at, ~sum(p, len, pseudo));
}

static void mutate(struct cable *c, struct input *in)
{
	u64 how = take(in, 1);

	for (unsigned n = how & 7; n; n--) {
		u64 at = take(in, 1), width = at >> 7 ? 2 : 1, val = take(in, (unsigned)width);

		at = ETH + (at & 0x7f) * (how & 8 ? 3 : 1);
		if (at + width <= c->len)
			memcpy(c->frame + at, &val, width);
	}
	if (how & 16)
		c->len = NET_FRAME_MIN + (u32)take(in, 2) % (FRAME_MAX - NET_FRAME_MIN);
	if (!(how & 32))
		put_sums(c);
	if (how & 64)
		c->meta = (struct net_meta){.flags = (u8)take(in, 1) & 3,
		        .csum_start = (u16)take(in, 1),
		        .csum_offset = (u16)take(in, 1)};
}

static void turn(struct cable *c)
{
	serve();
	net_kick(c->port);
	net_step(c->port, 0);
}

static void set_room(struct cable *c, bool room)
{
	c->full = !room;
	if (!room)
		return;
	c->refused = false;
	net_resume(c->port);
}

static void step(struct cable *c, struct input *in)
{
	u64 op = take(in, 1);

	if (op >> 4 == 15) {
		set_room(c, op & 1);
	} else if (!c->pending) {
		turn(c); /* what there is to be heard goes into the next segment */
		make(c, op);
		mutate(c, in);
		c->pending = true;
	}
	turn(c);
}

static void check_alive(struct cable *c)
{
	unsigned before;

	set_room(c, true);
	for (unsigned n = 0; n < 1000 && c->pending; n++)
		turn(c);
	check(!c->pending);
	before = c->answers;
	make_arp(c);
	c->pending = true;
	for (unsigned n = 0; n < 1000 && c->answers == before; n++)
		turn(c);
	check(c->answers > before);
}

const char *__lsan_default_suppressions(void);

/* A closed library forgets a packet or four that waited for an address: not more, however many there were. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libglib"; /* which it allocates with */
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct cable *c = calloc(1, sizeof(*c));
	static bool ready;
	struct net_spec spec;
	struct err e;

	if (!ready)
		leave_network();
	ready = true;
	check(c != NULL);
	c->client =
	        (struct net_client){.opaque = c, .deliver = deliver, .transmit = transmit, .link = link_is};
	check(net_parse(&spec, take(&in, 1) & 1 ? "user,mtu=1500" : "user", &e) == 0);
	spec.restricted = !host.alone;
	check(net_open(&c->port, &spec, &e) == 0);
	net_attach(c->port, &c->client);
	for (unsigned n = 0; in.left && n < 500; n++)
		step(c, &in);
	check_alive(c);
	net_stop(c->port);
	net_close(c->port);
	close(host.client);
	host.client = -1;
	free(c);
	return 0;
}

/* Every kind of frame once as it should be, a TCP connection, and noise. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const u8 talk[] = {
	        0, 0, 0, 6, 0, 7, 0, 7, 0, 8, 0, 8, 0, 7, 0, 0xf0, 8, 0, 8, 0, 0xf1, 7, 0, 8, 0, 7, 0};
	size_t len = 0;
	u32 x = n;

	if (n >= 7)
		return 0;
	if (n == 6) {
		memcpy(buf, talk, sizeof(talk));
		return sizeof(talk);
	}
	buf[len++] = n & 1;
	for (unsigned k = 0; n < 2 && k < 16; k++) {
		buf[len++] = (u8)k;
		buf[len++] = 0;
	}
	for (; n >= 2 && len < 400; len++) {
		x = x * 1664525 + 1013904223;
		buf[len] = (u8)(x >> 24);
	}
	return len;
}
