/*
 * The net room: configuration strings, checksums, captures, frames through sockets, and the user network with
 * hand-made frames.
 */
#include "base/unixname.h"
#include "net/csum.h"
#include "net/pcap.h"
#include "net/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* --- configuration strings --- */

static void backends(void **state)
{
	static const struct {
		const char *text;
		enum net_backend backend;
		const char *ifname;
	} good[] = {
	        {"", NET_USER, ""},
	        {"user", NET_USER, ""},
	        {"vmnet0", NET_USER, ""},
	        {"vmnet12", NET_USER, ""},
	        {"vmnet", NET_USER, ""},
	        {"mac=02:00:00:00:00:01", NET_USER, ""},
	        {"tap0", NET_TAP, "tap0"},
	        {"tap31,mac=2:0:0:0:0:1", NET_TAP, "tap31"},
	        {"tap=vm-bridge", NET_TAP, "vm-bridge"},
	        {"socket,listen=/tmp/a", NET_SOCKET, ""},
	};
	struct net_spec s;
	struct err e;

	for (unsigned n = 0; n < ARRAY_SIZE(good); n++) {
		assert_int_equal(net_parse(&s, good[n].text, &e), 0);
		assert_int_equal(s.backend, good[n].backend);
		assert_string_equal(s.ifname, good[n].ifname);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
	        {"usr", "unknown network back end \"usr\": did you mean user? (user, tapN, tap=INTERFACE, "
	                "socket)"},
	        {"vmnetx", "unknown network back end \"vmnetx\": did you mean vmnet0? "
	                   "(user, tapN, tap=INTERFACE, socket)"},
	        {"tap", "tap: names no interface: tap0 or tap=INTERFACE"},
	        {"tap=", "tap=: an interface has a name of 1 to 15 characters"},
	        {"tap=a/b", "tap=a/b: not the name of an interface"},
	        {"tap=tap%d", "tap=tap%d: not the name of an interface"},
	        {"tap=interface-with-a-long-name",
	                "tap=interface-with-a-long-name: an interface has a name of 1 to 15 characters"},
	        {"user,mac=1:0:0:0:0:1", "mac=1:0:0:0:0:1: a multicast address; the first byte must be even"},
	        {"user,mac=0:0:0:0:0:0", "mac=0:0:0:0:0:0: all zeros is no address"},
	        {"user,mac=02:00:00:00:00",
	                "mac=02:00:00:00:00: not a MAC address (such as 02:00:00:12:34:56)"},
	        {"user,mac=02:00:00:00:00:01:02",
	                "mac=02:00:00:00:00:01:02: not a MAC address (such as 02:00:00:12:34:56)"},
	        {"user,mac=02:00:00:00:00:123",
	                "mac=02:00:00:00:00:123: not a MAC address (such as 02:00:00:12:34:56)"},
	        {"user,mca=02:00:00:00:00:01", "unknown network option \"mca\": did you mean mac?"},
	        {"user,mac", "mac: needs a value: mac=..."},
	        {"user,", "empty network option"},
	        {"user,mtu=500", "mtu=500: must be 1280 to 65520"},
	        {"user,mtu=1500x", "mtu=1500x: must be 1280 to 65520"},
	        {"user,pcap=", "pcap=: names no path"},
	        {"tap0,fwd=1:2", "fwd: the back end tap has no such option"},
	        {"user,listen=/x", "listen: the back end user has no such option"},
	        {"user,fwd=2222", "fwd=2222: must be [tcp:|udp:]PORT:GUESTPORT"},
	        {"user,fwd=0:22", "fwd=0:22: \"0\" is not a port number (1 to 65535)"},
	        {"user,fwd=22:65536", "fwd=22:65536: \"65536\" is not a port number (1 to 65535)"},
	        {"user,hostfwd=icmp::1-:2",
	                "hostfwd=icmp::1-:2: \"icmp\" is no protocol, only tcp, udp and unix are"},
	        {"user,hostfwd=tcp::1",
	                "hostfwd=tcp::1: must be [tcp|udp]:[ADDR]:PORT-[GUESTADDR]:GUESTPORT"},
	        {"user,hostfwd=tcp:1.2.3:1-:2", "hostfwd=tcp:1.2.3:1-:2: \"1.2.3\" is not an IP address"},
	        {"user,hostfwd=tcp:[::1:1-:2",
	                "hostfwd=tcp:[::1:1-:2: must be [tcp|udp]:[ADDR]:PORT-[GUESTADDR]:GUESTPORT"},
	        {"user,hostfwd=tcp:[::1]:1-:2",
	                "hostfwd=tcp:[::1]:1-:2: an IPv6 port needs the guest's address in brackets, too"},
	        {"user,hostfwd=tcp:127.0.0.1:1-[fec0::1]:2",
	                "hostfwd=tcp:127.0.0.1:1-[fec0::1]:2: both addresses must be IPv4 or both IPv6"},
	        {"user,hostfwd=unix:-:2", "hostfwd=unix:-:2: names no socket"},
	        {"user,guestfwd=tcp:10.0.2.9:80",
	                "guestfwd=tcp:10.0.2.9:80: must be [tcp]:[ADDR]:PORT-unix:PATH"},
	        {"user,restrict=maybe", "restrict=maybe: must be on or off"},
	        {"user,net=10.0.2.0", "net=10.0.2.0: must be ADDRESS/LENGTH (such as 10.0.2.0/24)"},
	        {"user,net=10.0.2.1/24", "net=10.0.2.1/24: the address has bits beyond its length"},
	        {"user,net=10.0.2.0/28", "net=10.0.2.0/28: the length must be 8 to 27"},
	        {"socket", "socket: needs listen=PATH, connect=PATH, or dgram=PATH and peer=PATH"},
	        {"socket,listen=/a,connect=/b", "connect=/b: only one of listen, connect and dgram"},
	        {"socket,dgram=/a", "dgram=/a: needs the other side's peer=PATH"},
	        {"socket,listen=/a,peer=/b", "peer=/b: only with dgram="},
	};
	struct net_spec s;
	struct err e;

	for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
		assert_int_equal(net_parse(&s, bad[n].text, &e), -EINVAL);
		assert_string_equal(e.text, bad[n].message);
		assert_int_equal(e.status, EXIT_BADUSE);
	}
}

static void forwards(void **state)
{
	struct net_spec s;
	struct err e;

	assert_int_equal(net_parse(&s,
	                         "user,fwd=2222:22,fwd=udp:53:5353,hostfwd=tcp::80-:8080,"
	                         "hostfwd=udp:127.0.0.2:1-10.0.2.20:2,hostfwd=tcp:[::1]:3-[fec0::9]:4,"
	                         "hostfwd=unix:/tmp/a-b-:5,guestfwd=tcp:10.0.2.100:6-unix:/tmp/c,restrict",
	                         &e),
	        0);
	assert_int_equal(s.nfwd, 7);
	assert_true(s.restricted);
	assert_int_equal(s.fwd[0].kind, NET_FWD_TCP);
	assert_memory_equal(s.fwd[0].host, ((u8[]){127, 0, 0, 1}), 4);
	assert_int_equal(s.fwd[0].host_port, 2222);
	assert_int_equal(s.fwd[0].guest_port, 22);
	assert_int_equal(s.fwd[1].kind, NET_FWD_UDP);
	assert_int_equal(s.fwd[1].guest_port, 5353);
	assert_memory_equal(s.fwd[2].host, ((u8[4]){0}), 4);
	assert_int_equal(s.fwd[2].host_port, 80);
	assert_int_equal(s.fwd[3].kind, NET_FWD_UDP);
	assert_memory_equal(s.fwd[3].host, ((u8[]){127, 0, 0, 2}), 4);
	assert_memory_equal(s.fwd[3].guest, ((u8[]){10, 0, 2, 20}), 4);
	assert_true(s.fwd[4].v6 && s.fwd[4].host[15] == 1 && s.fwd[4].guest[0] == 0xfe);
	assert_int_equal(s.fwd[5].kind, NET_FWD_UNIX);
	assert_string_equal(s.fwd[5].path, "/tmp/a-b");
	assert_int_equal(s.fwd[5].guest_port, 5);
	assert_int_equal(s.fwd[6].kind, NET_FWD_GUEST);
	assert_string_equal(s.fwd[6].path, "/tmp/c");
	assert_int_equal(s.fwd[6].guest_port, 6);
}

/* 64 forwarded ports, not one more. */
static void many_forwards(void **state)
{
	char text[2000] = "user";
	struct net_spec s;
	struct err e;

	for (unsigned n = 0; n < NET_FWD_MAX; n++)
		sprintf(text + strlen(text), ",fwd=%u:%u", 1000 + n, n + 1);
	assert_int_equal(net_parse(&s, text, &e), 0);
	assert_int_equal(s.nfwd, NET_FWD_MAX);
	strcat(text, ",fwd=1:1");
	assert_int_equal(net_parse(&s, text, &e), -EINVAL);
}

/* --- checksums --- */

/* One word after the other, as RFC 1071 describes it. */
static u16 slow_sum(const u8 *p, u32 len)
{
	u32 sum = 0;

	for (u32 n = 0; n < len; n++) {
		sum += (u32)p[n] << (n % 2 ? 0 : 8);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (u16)~sum;
}

static void checksums(void **state)
{
	static u8 frame[70000];

	for (u32 len = 20; len < sizeof(frame); len += len < 200 ? 1 : len / 3) {
		for (u32 start = 0; start < 19; start++) {
			struct net_meta m = {.flags = NET_NEEDS_CSUM,
			        .csum_start = (u16)start,
			        .csum_offset = (u16)(len % 2)};
			u16 want;

			for (u32 n = 0; n < len; n++)
				frame[n] = (u8)(n * n + len + (start & 8 ? 0xff : n));
			want = slow_sum(frame + start, len - start);
			assert_true(net_finish_csum(frame, len, &m));
			assert_int_equal(frame[start + len % 2] << 8 | frame[start + len % 2 + 1],
			        want ? want : 0xffff);
		}
	}
}

static void checksum_bounds(void **state)
{
	u8 frame[64] = {0}, copy[64] = {0};
	struct net_meta m = {.flags = NET_NEEDS_CSUM};

	for (u32 start = 0; start <= 0xffff; start += 13) {
		for (u32 off = 0; off <= 0xffff; off += off < 70 ? 1 : 997) {
			bool fits = start + off + 2 <= sizeof(frame);
			struct net_frame f = {.len = sizeof(frame)};

			m.csum_start = (u16)start;
			m.csum_offset = (u16)off;
			f.meta = m;
			assert_int_equal(net_meta_fits(&f, NET_OFF_CSUM), fits);
			assert_int_equal(net_finish_csum(frame, sizeof(frame), &m), fits);
			if (!fits)
				assert_memory_equal(frame, copy, sizeof(frame));
			memset(frame, 0, sizeof(frame));
		}
	}
}

/* --- a card --- */

struct card {
	struct net_client client;
	struct net_port *port;
	bool full, down;
	unsigned frames;
	u32 len;
	struct net_meta meta;
	u8 data[NET_FRAME_MAX];
	const u8 *out; /* to be sent */
	u32 out_len;
	struct net_meta out_meta;
};

static bool deliver(void *opaque, const struct net_frame *f)
{
	struct card *c = opaque;

	if (c->full)
		return false;
	assert_in_range(f->len, NET_FRAME_MIN, NET_FRAME_MAX);
	net_flatten(f, c->data);
	c->len = f->len;
	c->meta = f->meta;
	c->frames++;
	return true;
}

static bool transmit(void *opaque)
{
	struct card *c = opaque;
	const struct iovec iov = {(void *)c->out, c->out_len};
	const struct net_frame f = {.meta = c->out_meta, .iov = &iov, .niov = 1, .len = c->out_len};

	if (c->out && net_send(c->port, &f) == 0)
		c->out = NULL;
	return false;
}

static void link_is(void *opaque, bool up)
{
	struct card *c = opaque;

	c->down = !up;
}

static void plug(struct card *c, const char *config)
{
	struct net_spec *spec = malloc(sizeof(*spec));
	struct err e;
	int rc;

	memset(c, 0, sizeof(*c));
	c->client =
	        (struct net_client){.opaque = c, .deliver = deliver, .transmit = transmit, .link = link_is};
	assert_int_equal(net_parse(spec, config, &e), 0);
	rc = net_open(&c->port, spec, &e);
	if (rc < 0)
		fail_msg("%s", e.text);
	net_attach(c->port, &c->client);
	free(spec);
}

/* Sends a frame and turns until it is gone. */
static void put(struct card *c, const u8 *frame, u32 len)
{
	c->out = frame;
	c->out_len = len;
	net_kick(c->port);
	net_step(c->port, 1000);
}

static void wait_frames(struct card *c, unsigned n)
{
	for (unsigned i = 0; i < 200 && c->frames < n; i++)
		net_step(c->port, 100);
	assert_true(c->frames >= n);
}

/* --- the user network --- */

#if HAVE_SLIRP

static const u8 guest_mac[6] = {2, 0, 0, 0, 0, 1};

static u32 arp_request(u8 *f, u8 last)
{
	static const u8 fixed[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};

	memset(f, 0, 60);
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	memcpy(f + 12, fixed, sizeof(fixed));
	memcpy(f + 22, guest_mac, 6);
	memcpy(f + 28, (u8[]){10, 0, 2, 15}, 4);
	memcpy(f + 38, (u8[]){10, 0, 2, last}, 4);
	return 60;
}

static void put_be16(u8 *p, u32 val)
{
	p[0] = (u8)(val >> 8);
	p[1] = (u8)val;
}

/* An IPv4 header; the payload is there already. */
static void ip_header(u8 *f, u8 protocol, u32 payload, const u8 from[4], const u8 to[4])
{
	memset(f + 12, 0, 22);
	put_be16(f + 12, 0x0800);
	f[14] = 0x45;
	put_be16(f + 16, 20 + payload);
	f[22] = 64;
	f[23] = protocol;
	memcpy(f + 26, from, 4);
	memcpy(f + 30, to, 4);
	put_be16(f + 24, slow_sum(f + 14, 20));
}

/* DHCPDISCOVER (RFC 2131) */
static u32 dhcp_discover(u8 *f)
{
	static const u8 options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
	u32 len = 8 + 236 + 64;

	memset(f, 0, 34 + len);
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	ip_header(f, 17, len, (u8[4]){0}, (u8[]){255, 255, 255, 255});
	put_be16(f + 34, 68);
	put_be16(f + 36, 67);
	put_be16(f + 38, len);
	f[42] = 1; /* BOOTREQUEST, Ethernet */
	f[43] = 1;
	f[44] = 6;
	memcpy(f + 46, "\x12\x34\x56\x78", 4);
	memcpy(f + 70, guest_mac, 6);
	memcpy(f + 278, options, sizeof(options));
	return 34 + len;
}

static void user_arp_and_dhcp(void **state)
{
	struct card *c = malloc(sizeof(*c));
	u8 frame[400];

	plug(c, "user");
	assert_int_equal(net_mtu(c->port), 65520);
	put(c, frame, arp_request(frame, 2));
	wait_frames(c, 1);
	assert_memory_equal(c->data, guest_mac, 6);
	assert_memory_equal(c->data + 12, ((u8[]){8, 6, 0, 1, 8, 0, 6, 4, 0, 2}), 10);
	assert_memory_equal(c->data + 28, ((u8[]){10, 0, 2, 2}), 4);
	put(c, frame, dhcp_discover(frame));
	wait_frames(c, 2);
	assert_int_equal(c->data[42], 2); /* BOOTREPLY */
	assert_memory_equal(c->data + 46, "\x12\x34\x56\x78", 4);
	assert_memory_equal(c->data + 58, ((u8[]){10, 0, 2, 15}), 4); /* yiaddr */
	assert_int_equal(c->meta.flags, 0);                           /* nothing was negotiated */
	net_close(c->port);
	free(c);
}

/* A card that is full gets its answer later; nothing is lost. */
static void user_waits(void **state)
{
	struct card *c = malloc(sizeof(*c));
	u8 frame[60];

	plug(c, "user,net=10.0.2.0/24");
	net_set_offloads(c->port, NET_OFF_CSUM | NET_OFF_TSO4);
	c->full = true;
	for (unsigned n = 0; n < 10; n++)
		put(c, frame, arp_request(frame, 2 + n % 2));
	net_step(c->port, 0);
	assert_int_equal(c->frames, 0);
	c->full = false;
	net_step(c->port, 0);
	assert_int_equal(c->frames, 0); /* it has not said so */
	net_resume(c->port);
	net_step(c->port, 0);
	assert_int_equal(c->frames, 10);
	assert_int_equal(c->data[31], 3);
	assert_int_equal(c->meta.flags, NET_DATA_VALID);
	net_close(c->port);
	free(c);
}

/* A guest that only sends and never receives is made to wait; memory does not grow. */
static void user_bounded(void **state)
{
	struct card *c = malloc(sizeof(*c));
	u8 frame[60];
	unsigned sent = 0;

	plug(c, "user");
	c->full = true;
	for (; sent < 100000; sent++) {
		put(c, frame, arp_request(frame, 2));
		if (c->out)
			break;
	}
	assert_in_range(sent, 100, 99999);
	c->full = false;
	net_resume(c->port);
	net_step(c->port, 0);
	assert_null(c->out); /* the last one went, too */
	wait_frames(c, sent + 1);
	net_close(c->port);
	free(c);
}

/* A large datagram with a checksum that is left to do, as a card with offloads sends it. */
static void user_offload(void **state)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct card *c = malloc(sizeof(*c));
	socklen_t len = sizeof(to);
	static u8 frame[9042], got[10000];
	u32 sum;

	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &len), 0);
	plug(c, "user");
	put(c, frame, arp_request(frame, 2));
	wait_frames(c, 1);
	memcpy(frame, c->data + 6, 6);
	memcpy(frame + 6, guest_mac, 6);
	ip_header(frame, 17, 9008, (u8[]){10, 0, 2, 15}, (u8[]){10, 0, 2, 2});
	put_be16(frame + 34, 5000);
	memcpy(frame + 36, &to.sin_port, 2);
	put_be16(frame + 38, 9008);
	for (unsigned n = 0; n < 9000; n++)
		frame[42 + n] = (u8)(n * 11);
	sum = (u16)~slow_sum(frame + 26, 8) + 17u + 9008u; /* of the pseudo header */
	put_be16(frame + 40, (sum & 0xffff) + (sum >> 16));
	c->out_meta = (struct net_meta){.flags = NET_NEEDS_CSUM,
	        .gso = NET_GSO_UDP,
	        .gso_size = 1480,
	        .csum_start = 34,
	        .csum_offset = 6};
	put(c, frame, sizeof(frame));
	assert_int_equal(recv(fd, got, sizeof(got), 0), 9000);
	assert_memory_equal(got, frame + 42, 9000);
	net_close(c->port);
	close(fd);
	free(c);
}

static u16 free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	close(fd);
	return ntohs(a.sin_port);
}

/* A client of the host's port: the guest hears a SYN for its own. A port that is taken is an error. */
static void user_forward(void **state)
{
	struct net_spec *spec = malloc(sizeof(*spec));
	struct card *c = malloc(sizeof(*c));
	u16 port = free_port();
	struct sockaddr_in to = {
	        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char config[64], message[128];
	struct net_port *second;
	u8 frame[60];
	struct err e;

	snprintf(config, sizeof(config), "user,fwd=%u:22", port);
	plug(c, config);
	put(c, frame, arp_request(frame, 2)); /* so that it knows where the guest is */
	wait_frames(c, 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
	wait_frames(c, 2);
	if (c->data[12] == 8 && c->data[13] == 6) { /* it asks first */
		arp_request(frame, 2);
		frame[21] = 2;
		memcpy(frame + 32, c->data + 22, 6);
		put(c, frame, 60);
		wait_frames(c, 3);
	}
	assert_int_equal(c->data[23], 6);
	assert_int_equal(c->data[36] << 8 | c->data[37], 22);
	assert_int_equal(c->data[47] & 0x12, 0x02);
	assert_int_equal(net_parse(spec, config, &e), 0);
	assert_int_equal(net_open(&second, spec, &e), -EADDRINUSE);
	snprintf(message, sizeof(message), "fwd=%u:22: Address already in use", port);
	assert_string_equal(e.text, message);
	net_close(c->port);
	close(fd);
	free(spec);
	free(c);
}

#endif

/* --- sockets --- */

struct names {
	char dir[32], a[48], b[48];
};

static void make_names(struct names *n)
{
	strcpy(n->dir, "/tmp/xhyve-net-XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	snprintf(n->a, sizeof(n->a), "%s/a", n->dir);
	snprintf(n->b, sizeof(n->b), "%s/b", n->dir);
}

/* Every name was removed. */
static void drop_names(struct names *n)
{
	assert_int_equal(rmdir(n->dir), 0);
}

static struct card *plug_socket(const char *role, const char *path, const char *peer)
{
	struct card *c = malloc(sizeof(*c));
	char config[200];

	snprintf(config, sizeof(config), "socket,%s=%s%s%s", role, path, peer ? ",peer=" : "",
	        peer ? peer : "");
	plug(c, config);
	return c;
}

static void unplug(struct card *c)
{
	net_close(c->port);
	free(c);
}

/* Turns until the link is as wanted. */
static void wait_link(struct card *c, bool up)
{
	for (unsigned n = 0; n < 400 && c->down == up; n++)
		net_step(c->port, 50);
	assert_int_equal(c->down, !up);
}

static void fill_frame(u8 *frame, u32 len, u32 seed)
{
	for (u32 n = 0; n < len; n++)
		frame[n] = (u8)(n * 7 + (n >> 8) + seed);
}

static void expect_frame(const struct card *c, u32 len, u32 seed)
{
	u8 *want = malloc(NET_FRAME_MAX);

	fill_frame(want, len, seed);
	assert_int_equal(c->len, len);
	assert_memory_equal(c->data, want, len);
	free(want);
}

static int connect_to(const char *path, int type)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* Frames of many sizes each way between two ports, the last one as large as they come. */
static void swap_frames(struct card *a, struct card *b)
{
	static u8 frame[NET_FRAME_MAX];
	unsigned n = 0;

	a->frames = b->frames = 0;
	for (u32 len = NET_FRAME_MIN; len <= NET_FRAME_MAX;
	        len = len * 3 > NET_FRAME_MAX && len < NET_FRAME_MAX ? NET_FRAME_MAX : len * 3) {
		fill_frame(frame, len, n);
		put(a, frame, len);
		net_step(a->port, 0);
		wait_frames(b, ++n);
		expect_frame(b, len, n - 1);
		put(b, frame, len);
		net_step(b->port, 0);
		wait_frames(a, n);
		expect_frame(a, len, n - 1);
	}
}

static void socket_joins(void **state)
{
	struct names n;
	struct card *a, *b;

	make_names(&n);
	b = plug_socket("connect", n.a, NULL); /* in any order */
	assert_true(b->down);
	a = plug_socket("listen", n.a, NULL);
	assert_true(a->down);
	wait_link(b, true);
	wait_link(a, true);
	swap_frames(a, b);
	unplug(a); /* death, and a new life under the same name */
	wait_link(b, false);
	a = plug_socket("listen", n.a, NULL);
	wait_link(b, true);
	wait_link(a, true);
	swap_frames(a, b);
	unplug(b);
	wait_link(a, false);
	unplug(a);
	drop_names(&n);
}

static void socket_datagrams(void **state)
{
	struct names n;
	struct card *a, *b;

	make_names(&n);
	a = plug_socket("dgram", n.a, n.b);
	assert_true(a->down);
	b = plug_socket("dgram", n.b, n.a);
	assert_false(b->down);
	wait_link(a, true);
	swap_frames(a, b);
	unplug(b);
	wait_link(a, false);
	b = plug_socket("dgram", n.b, n.a);
	wait_link(a, true);
	swap_frames(a, b);
	unplug(a);
	unplug(b);
	drop_names(&n);
}

/* A stream that comes byte by byte, and one with many frames at once. */
static void socket_partial(void **state)
{
	struct names n;
	struct card *c;
	u8 stream[4 + 100] = {0, 0, 0, 100}, many[50 * (4 + 60)];
	int fd;

	make_names(&n);
	c = plug_socket("listen", n.a, NULL);
	fd = connect_to(n.a, SOCK_STREAM);
	wait_link(c, true);
	fill_frame(stream + 4, 100, 5);
	for (unsigned i = 0; i < sizeof(stream); i++) {
		assert_int_equal(c->frames, 0);
		assert_int_equal(write(fd, stream + i, 1), 1);
		net_step(c->port, 1000);
	}
	assert_int_equal(c->frames, 1);
	expect_frame(c, 100, 5);
	for (unsigned i = 0; i < 50; i++) {
		memcpy(many + i * 64, (u8[]){0, 0, 0, 60}, 4);
		fill_frame(many + i * 64 + 4, 60, i);
	}
	assert_int_equal(write(fd, many, sizeof(many)), sizeof(many));
	wait_frames(c, 51);
	expect_frame(c, 60, 49);
	/* the end in the middle of a frame */
	assert_int_equal(write(fd, stream, 50), 50);
	close(fd);
	wait_link(c, false);
	assert_int_equal(c->frames, 51);
	/* nothing of it is left for the next one */
	fd = connect_to(n.a, SOCK_STREAM);
	wait_link(c, true);
	assert_int_equal(write(fd, stream, sizeof(stream)), sizeof(stream));
	wait_frames(c, 52);
	expect_frame(c, 100, 5);
	close(fd);
	unplug(c);
	drop_names(&n);
}

/* Lengths that no frame has end the connection, but not the port. */
static void socket_lengths(void **state)
{
	static const u32 bad[] = {
	        0, 1, NET_FRAME_MIN - 1, NET_FRAME_MAX + 1, 0x10000000, 0x7fffffff, 0xffffffff};
	struct names n;
	struct card *c;
	u8 byte;

	make_names(&n);
	c = plug_socket("listen", n.a, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		u32 len = htonl(bad[i]);
		int fd = connect_to(n.a, SOCK_STREAM);

		wait_link(c, true);
		assert_int_equal(write(fd, &len, 4), 4);
		wait_link(c, false);
		assert_int_equal(read(fd, &byte, 1), 0);
		close(fd);
	}
	assert_int_equal(c->frames, 0);
	unplug(c);
	drop_names(&n);
}

/* The same for datagrams: they are dropped. */
static void socket_datagram_lengths(void **state)
{
	static u8 frame[NET_FRAME_MAX + 1];
	struct names n;
	struct unix_name me;
	struct card *c;
	struct err e;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	make_names(&n);
	assert_true(unix_name_set(&me, n.b));
	assert_int_equal(unix_name_bind(&me, fd, "test", &e), 0);
	c = plug_socket("dgram", n.a, n.b);
	assert_false(c->down);
	assert_int_equal(connect(fd, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX}, 2), -1);
	close(fd);
	unix_name_remove(&me);
	wait_link(c, false);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(unix_name_bind(&me, fd, "test", &e), 0);
	wait_link(c, true);
	strcpy(me.addr.sun_path, n.a);
	assert_int_equal(connect(fd, (struct sockaddr *)&me.addr, sizeof(me.addr)), 0);
	for (u32 len = 0; len < NET_FRAME_MIN; len++)
		assert_int_equal(send(fd, frame, len, 0), len);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	fill_frame(frame, 60, 9);
	assert_int_equal(send(fd, frame, 60, 0), 60);
	wait_frames(c, 1);
	expect_frame(c, 60, 9);
	assert_false(c->down);
	strcpy(me.addr.sun_path, n.b);
	close(fd);
	unix_name_remove(&me);
	unplug(c);
	drop_names(&n);
}

/*
 * A card that is full, then a peer that reads nothing: both make the other side wait, in bounded memory, and
 * every frame arrives once, in order.
 */
static void check_waits(struct card *from, struct card *to)
{
	static u8 frame[9000];
	unsigned sent = 0;

	to->full = true;
	for (; sent < 1000; sent++) {
		fill_frame(frame, sizeof(frame), sent);
		put(from, frame, sizeof(frame));
		net_step(to->port, 0);
		if (from->out)
			break;
	}
	assert_in_range(sent, 1, 999);
	assert_int_equal(to->frames, 0);
	to->full = false;
	net_resume(to->port);
	for (unsigned got = 0; got <= sent; got++) {
		while (to->frames == got) {
			to->full = to->frames > got; /* one at a time */
			net_step(to->port, 10);
			net_step(from->port, 0);
		}
		net_resume(to->port);
	}
	assert_null(from->out);
	expect_frame(to, sizeof(frame), sent);
}

static void socket_waits(void **state)
{
	struct names n;
	struct card *a, *b;

	make_names(&n);
	a = plug_socket("listen", n.a, NULL);
	b = plug_socket("connect", n.a, NULL);
	wait_link(a, true);
	check_waits(a, b);
	unplug(a);
	unplug(b);
	a = plug_socket("dgram", n.a, n.b);
	b = plug_socket("dgram", n.b, n.a);
	wait_link(a, true);
	check_waits(a, b);
	unplug(a);
	unplug(b);
	drop_names(&n);
}

/* Only one other side at a time; and a checksum that the guest left to do is done. */
static void socket_second_and_sums(void **state)
{
	struct names n;
	struct card *c;
	u8 frame[60] = {0}, got[64], byte;
	int first, second;

	make_names(&n);
	c = plug_socket("listen", n.a, NULL);
	first = connect_to(n.a, SOCK_STREAM);
	wait_link(c, true);
	second = connect_to(n.a, SOCK_STREAM);
	net_step(c->port, 1000);
	assert_int_equal(read(second, &byte, 1), 0);
	close(second);
	assert_int_equal(net_takes(c->port), NET_OFF_CSUM);
	frame[20] = 0x12;
	frame[21] = 0x34;
	c->out_meta = (struct net_meta){.flags = NET_NEEDS_CSUM, .csum_start = 20, .csum_offset = 6};
	put(c, frame, sizeof(frame));
	net_step(c->port, 0);
	assert_int_equal(read(first, got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, ((u8[]){0, 0, 0, 60}), 4);
	assert_memory_equal(got + 4 + 26, ((u8[]){0xed, 0xcb}), 2);
	close(first);
	unplug(c);
	drop_names(&n);
}

static void refuse(const char *config, int code, const char *message)
{
	struct net_spec *spec = malloc(sizeof(*spec));
	struct net_port *p;
	struct err e;

	assert_int_equal(net_parse(spec, config, &e), 0);
	assert_int_equal(net_open(&p, spec, &e), code);
	assert_string_equal(e.text, message);
	free(spec);
}

/* A name in use stays as it is, one of an earlier run is replaced, and what is no socket is not touched. */
static void socket_names(void **state)
{
	char config[200], message[200];
	struct unix_name stale;
	struct names n;
	struct card *c;
	struct err e;
	int fd;

	make_names(&n);
	c = plug_socket("listen", n.a, NULL);
	snprintf(config, sizeof(config), "socket,listen=%s", n.a);
	snprintf(message, sizeof(message), "listen=%s: in use by another process", n.a);
	refuse(config, -EADDRINUSE, message);
	unplug(c);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(unix_name_set(&stale, n.a));
	assert_int_equal(unix_name_bind(&stale, fd, "test", &e), 0);
	refuse(config, -EADDRINUSE, message);
	close(fd); /* nobody answers any more */
	c = plug_socket("listen", n.a, NULL);
	unplug(c);
	fd = open(n.a, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	snprintf(message, sizeof(message), "listen=%s: exists and is not a socket", n.a);
	refuse(config, -EEXIST, message);
	unlink(n.a);
	refuse("socket,listen=/nonexistent/a", -ENOENT, "listen=/nonexistent/a: No such file or directory");
	snprintf(config, sizeof(config), "socket,connect=%s", n.a);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(unix_name_bind(&stale, fd, "test", &e), 0);
	snprintf(message, sizeof(message), "connect=%s: Protocol wrong type for socket", n.a);
	refuse(config, -EPROTOTYPE, message);
	close(fd);
	unix_name_remove(&stale);
	drop_names(&n);
}

/* --- captures --- */

static void capture(void **state)
{
	char path[] = "/tmp/xhyve-pcap-XXXXXX";
	const struct iovec iov[2] = {{(void *)"0123456789", 10}, {(void *)"abcdefgh", 8}};
	const struct net_frame f = {.iov = iov, .niov = 2, .len = 18};
	int fd = mkstemp(path);
	struct pcap *p;
	struct err e;
	u8 file[200];

	assert_true(fd >= 0);
	assert_int_equal(pcap_create(&p, path, &e), 0);
	pcap_write(p, &f);
	pcap_write(p, &f);
	assert_int_equal(read(fd, file, sizeof(file)), 24 + 2 * (16 + 18));
	assert_int_equal(get_le32(file), 0xa1b23c4d);
	assert_int_equal(get_le32(file + 20), 1);
	assert_int_equal(get_le32(file + 24 + 8), 18);
	assert_int_equal(get_le32(file + 24 + 12), 18);
	assert_memory_equal(file + 40, "0123456789abcdefgh", 18);
	assert_memory_equal(file + 40 + 18 + 16, "0123456789abcdefgh", 18);
	pcap_close(p);
	close(fd);
	unlink(path);
	assert_int_equal(pcap_create(&p, "/nonexistent/a", &e), -ENOENT);
	assert_string_equal(e.text, "pcap=/nonexistent/a: No such file or directory");
	assert_int_equal(pcap_create(&p, "/dev/full", &e), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backends),
		cmocka_unit_test(refused),
		cmocka_unit_test(forwards),
		cmocka_unit_test(many_forwards),
		cmocka_unit_test(checksums),
		cmocka_unit_test(checksum_bounds),
#if HAVE_SLIRP
		cmocka_unit_test(user_arp_and_dhcp),
		cmocka_unit_test(user_waits),
		cmocka_unit_test(user_bounded),
		cmocka_unit_test(user_offload),
		cmocka_unit_test(user_forward),
#endif
		cmocka_unit_test(socket_joins),
		cmocka_unit_test(socket_datagrams),
		cmocka_unit_test(socket_partial),
		cmocka_unit_test(socket_lengths),
		cmocka_unit_test(socket_datagram_lengths),
		cmocka_unit_test(socket_waits),
		cmocka_unit_test(socket_second_and_sums),
		cmocka_unit_test(socket_names),
		cmocka_unit_test(capture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
