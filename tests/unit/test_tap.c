/*
 * Tap devices, in a network namespace of this process alone, where the kernel's side of an interface is a
 * packet socket. Status 77 (skipped) where the host permits no namespaces or has no tap devices.
 */
#include "net/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SKIPPED 77
#define ALL (NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6 | NET_OFF_ECN)
#define HEAD 54 /* Ethernet, IPv4, TCP */

struct card {
	struct net_client client;
	struct net_port *port;
	bool full, down;
	unsigned frames;
	u32 len;
	struct net_meta meta;
	u8 data[NET_FRAME_MAX];
	const u8 *out;
	u32 out_len;
	struct net_meta out_meta;
};

/* Only our frames: the kernel's IPv6 has something to say on new interfaces, too. */
static bool deliver(void *opaque, const struct net_frame *f)
{
	struct card *c = opaque;
	u8 data[NET_FRAME_MAX];

	net_flatten(f, data);
	if (get_le16(data + 12) != htons(ETH_P_IP))
		return true;
	if (c->full)
		return false;
	memcpy(c->data, data, f->len);
	c->len = f->len;
	c->meta = f->meta;
	c->frames++;
	return true;
}

static bool transmit(void *opaque)
{
	struct card *c = opaque;
	struct iovec iov[100];
	struct net_frame f = {.meta = c->out_meta, .iov = iov, .len = c->out_len};

	if (!c->out)
		return false;
	for (u32 at = 0; at < c->out_len; at += (u32)iov[f.niov++].iov_len)
		iov[f.niov] =
		        (struct iovec){(void *)(c->out + at), MIN(c->out_len - at, c->out_len / 99 + 1)};
	if (net_send(c->port, &f) == 0)
		c->out = NULL;
	return false;
}

static void link_is(void *opaque, bool up)
{
	struct card *c = opaque;

	c->down = !up;
}

static int try_open(struct net_port **p, const char *config, struct err *e)
{
	struct net_spec *spec = malloc(sizeof(*spec));
	int rc = net_parse(spec, config, e);

	if (rc == 0)
		rc = net_open(p, spec, e);
	free(spec);
	return rc;
}

static struct card *plug(const char *config)
{
	struct card *c = calloc(1, sizeof(*c));
	struct err e;

	c->client =
	        (struct net_client){.opaque = c, .deliver = deliver, .transmit = transmit, .link = link_is};
	if (try_open(&c->port, config, &e) < 0)
		fail_msg("%s", e.text);
	net_attach(c->port, &c->client);
	return c;
}

static void unplug(struct card *c)
{
	net_close(c->port);
	free(c);
}

static void step_until(struct card *c, unsigned frames)
{
	for (unsigned n = 0; n < 200 && c->frames < frames; n++)
		net_step(c->port, 50);
	assert_int_equal(c->frames, frames);
}

/* --- the kernel's side --- */

static int packet_socket(const char *name)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP)), on = 1;
	const struct timeval limit = {.tv_sec = 20};

	a.sll_ifindex = (int)if_nametoindex(name);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void set_flags(const char *name, bool up)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {0};

	strcpy(r.ifr_name, name);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &r), 0);
	r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &r), 0);
	close(fd);
}

static short flags_of(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {0};

	strcpy(r.ifr_name, name);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &r), 0);
	close(fd);
	return r.ifr_flags;
}

static bool has_carrier(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_value v = {.cmd = ETHTOOL_GLINK};
	struct ifreq r = {.ifr_data = (void *)&v};

	strcpy(r.ifr_name, name);
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &r), 0);
	close(fd);
	return v.data;
}

/* A TCP segment of so many bytes, whose checksum is left to do. */
static u32 make_segment(u8 *f, u32 payload)
{
	static const u8 head[HEAD] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 1, 0x40, 0,
	        64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0x10,
	        0};
	u32 ip = payload + 40;

	memcpy(f, head, sizeof(head));
	f[16] = (u8)(ip >> 8);
	f[17] = (u8)ip;
	for (u32 n = 0; n < payload; n++)
		f[HEAD + n] = (u8)(n * 3 + (n >> 8));
	return HEAD + payload;
}

static const struct net_meta left_to_do = {.flags = NET_NEEDS_CSUM,
        .gso = NET_GSO_TCP4,
        .hdr_len = HEAD,
        .gso_size = 1000,
        .csum_start = 34,
        .csum_offset = 16};

static void from_kernel(int fd, const u8 *frame, u32 len, const struct net_meta *meta)
{
	const struct iovec iov[2] = {{(void *)meta, sizeof(*meta)}, {(void *)frame, len}};

	assert_int_equal(writev(fd, iov, 2), sizeof(*meta) + len);
}

static u32 at_kernel(int fd, struct net_meta *meta, u8 *frame)
{
	const struct iovec iov[2] = {{meta, sizeof(*meta)}, {frame, NET_FRAME_MAX}};
	ssize_t n = readv(fd, iov, 2);

	assert_true(n > (ssize_t)sizeof(*meta));
	return (u32)n - (u32)sizeof(*meta);
}

/* --- tests --- */

/* A new interface is up, has the wanted MTU, and goes with the port. */
static void made(void **state)
{
	struct card *c = plug("tap3,mtu=4000");

	assert_true(if_nametoindex("tap3") != 0);
	assert_true(flags_of("tap3") & IFF_UP);
	assert_false(c->down);
	assert_int_equal(net_mtu(c->port), 4000);
	assert_int_equal(net_gives(c->port) & ALL, ALL);
	assert_int_equal(net_takes(c->port) & ALL, ALL);
	for (unsigned n = 0; n < 4; n++) { /* the host sees whether the cable is in the card */
		net_plug(c->port, n % 2);
		net_step(c->port, 1000);
		assert_int_equal(has_carrier("tap3"), n % 2);
	}
	assert_false(c->down);
	unplug(c);
	assert_int_equal(if_nametoindex("tap3"), 0);
}

/* Work that is left to do passes both ways when it was agreed on, and is done by the kernel when not. */
static void offloads(void **state)
{
	struct card *c = plug("tap=left");
	static u8 frame[NET_FRAME_MAX], got[NET_FRAME_MAX];
	u32 len = make_segment(frame, 8000);
	int fd = packet_socket("left");
	struct net_meta meta;

	c->out = frame;
	c->out_len = len;
	c->out_meta = left_to_do;
	net_kick(c->port);
	net_step(c->port, 1000);
	assert_int_equal(at_kernel(fd, &meta, got), len);
	assert_memory_equal(got, frame, len);
	assert_int_equal(meta.flags, NET_NEEDS_CSUM);
	assert_int_equal(meta.gso, NET_GSO_TCP4);
	assert_int_equal(meta.gso_size, 1000);

	net_set_offloads(c->port, ALL);
	net_step(c->port, 0);
	from_kernel(fd, frame, len, &left_to_do);
	step_until(c, 1);
	assert_int_equal(c->len, len);
	assert_memory_equal(c->data, frame, len);
	assert_int_equal(c->meta.gso, NET_GSO_TCP4);
	assert_int_equal(c->meta.flags & NET_NEEDS_CSUM, NET_NEEDS_CSUM);
	net_set_offloads(c->port, 0);
	net_step(c->port, 0);
	from_kernel(fd, frame, len, &left_to_do);
	step_until(c, 9);
	assert_int_equal(c->len, HEAD + 1000);
	assert_memory_equal(c->data + HEAD, frame + HEAD + 7000, 1000);
	assert_int_equal(c->meta.flags & NET_NEEDS_CSUM, 0);
	assert_int_equal(c->meta.gso, 0);
	close(fd);
	unplug(c);
}

/* The largest segments; a card that is full gets all of them later, in order. */
static void waits(void **state)
{
	struct card *c = plug("tap0");
	static u8 frame[NET_FRAME_MAX];
	struct net_meta meta = left_to_do;
	u32 len = make_segment(frame, 65000);
	int fd = packet_socket("tap0");

	net_set_offloads(c->port, ALL);
	net_step(c->port, 0);
	c->full = true;
	for (unsigned n = 0; n < 50; n++) {
		frame[HEAD] = (u8)n;
		from_kernel(fd, frame, len, &meta);
		net_step(c->port, 0);
	}
	assert_int_equal(c->frames, 0);
	c->full = false;
	net_resume(c->port);
	step_until(c, 50);
	assert_int_equal(c->len, len);
	assert_int_equal(c->data[HEAD], 49);
	close(fd);
	unplug(c);
}

static void wait_link(struct card *c, bool up)
{
	for (unsigned n = 0; n < 200 && c->down == up; n++)
		net_step(c->port, 50);
	assert_int_equal(c->down, !up);
}

static void make_persistent(const char *name, uid_t owner, short more_flags)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq r = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | more_flags)};

	strcpy(r.ifr_name, name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &r), 0);
	assert_int_equal(ioctl(fd, TUNSETOWNER, (unsigned long)owner), 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1ul), 0);
	close(fd);
}

/* An interface that somebody made stays as it is; its state is the link; it may have several queues. */
static void existing(void **state)
{
	static u8 frame[NET_FRAME_MAX];
	u32 len = make_segment(frame, 100);
	struct net_port *second;
	struct card *c;
	struct err e;

	make_persistent("theirs", 0, IFF_MULTI_QUEUE);
	c = plug("tap=theirs");
	assert_true(c->down);
	assert_false(flags_of("theirs") & IFF_UP);
	c->out = frame; /* nowhere to go: dropped */
	c->out_len = len;
	net_kick(c->port);
	net_step(c->port, 1000);
	assert_null(c->out);
	set_flags("theirs", true);
	wait_link(c, true);
	set_flags("theirs", false);
	wait_link(c, false);
	unplug(c);
	assert_true(if_nametoindex("theirs") != 0);
	make_persistent("single", 0, 0);
	c = plug("tap=single");
	assert_int_equal(try_open(&second, "tap=single", &e), -EBUSY);
	assert_string_equal(e.text, "single: in use by another process");
	unplug(c);
	assert_int_equal(try_open(&second, "tap=lo", &e), -EINVAL);
	assert_string_equal(e.text, "lo: the interface is no tap device");
}

/* An interface that is removed under us takes the link with it, and nothing else. */
static void removed(void **state)
{
	static u8 frame[NET_FRAME_MAX];
	struct card *c = plug("tap5");
	int status = system("ip link del tap5");

	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	wait_link(c, false);
	c->out = frame;
	c->out_len = make_segment(frame, 100);
	net_kick(c->port);
	net_step(c->port, 1000);
	assert_null(c->out);
	net_set_offloads(c->port, 0);
	net_step(c->port, 0);
	unplug(c);
}

/* The effective and permitted sets without CAP_NET_ADMIN, then back. */
static void administrate(bool on)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	assert_int_equal(syscall(SYS_capget, &h, d), 0);
	d[0].effective = on ? d[0].permitted : d[0].effective & ~BIT(CAP_NET_ADMIN);
	assert_int_equal(syscall(SYS_capset, &h, d), 0);
}

/* Without the privilege a message says what would help; an interface that was given to the user works. */
static void permission(void **state)
{
	struct net_port *p;
	struct err e;

	make_persistent("mine", geteuid(), 0);
	make_persistent("other", geteuid() + 1, 0);
	administrate(false);
	assert_int_equal(try_open(&p, "tap7", &e), -EPERM);
	assert_string_equal(e.text, "tap7: there is no such interface, and no permission to make it; as root "
	                            "run: ip tuntap add dev tap7 mode "
	                            "tap user root && ip link set tap7 up");
	if (try_open(&p, "tap=mine", &e) < 0)
		fail_msg("%s", e.text);
	net_close(p);
	administrate(true);
}

static void permission_other(void **state)
{
	struct net_port *p;
	struct err e;
	int rc;

	administrate(false);
	rc = try_open(&p, "tap=other", &e);
	administrate(true);
	assert_int_equal(rc, -EPERM);
	assert_non_null(strstr(e.text, "other: the interface belongs to somebody else; as root run: ip "
	                               "tuntap del dev other mode tap && ip tuntap "
	                               "add dev other mode tap user root && ip link set other up"));
}

/* A namespace of our own, as root of a user namespace if we are nobody. */
static bool isolate(void)
{
	uid_t uid = geteuid();
	char map[32];
	int fd;

	if (uid == 0)
		return unshare(CLONE_NEWNET) == 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	snprintf(map, sizeof(map), "0 %u 1", uid);
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, map, strlen(map)) < 0)
		return false;
	close(fd);
	return true;
}

static bool usable(void)
{
	int fd = isolate() ? open("/dev/net/tun", O_RDWR | O_CLOEXEC) : -1;
	struct ifreq r = {.ifr_name = "probe", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	bool works = fd >= 0 && ioctl(fd, TUNSETIFF, &r) == 0;

	if (fd >= 0)
		close(fd);
	return works;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(made),
	        cmocka_unit_test(offloads),
	        cmocka_unit_test(waits),
	        cmocka_unit_test(existing),
	        cmocka_unit_test(removed),
	        cmocka_unit_test(permission),
	        cmocka_unit_test(permission_other),
	};

	if (!usable()) {
		printf("skipped: this host permits no network namespaces, or no tap devices in them\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
