/*
 * Tap devices of Linux: an interface that an administrator made for the user, or, with the privilege, a new
 * one that exists as long as the machine.
 *
 * Each frame has the header of virtio-net in front, whose layout struct net_meta has: checksums and segments
 * that are left to do pass in both directions as they are. One system call moves one frame; a frame that the
 * card had no room for stays in the buffer, and all others in the interface's queue.
 *
 * Routing messages of the kernel say when the interface is set up or down, which is what the guest sees as
 * its link. The interface may also be renamed or moved to another network namespace under us.
 */
#include "net/port.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE "/dev/net/tun"
#define READS 64 /* frames in one turn, so that the other direction gets one, too */
#define IOV_FEW 64

struct tap {
	struct net_port p; /* first member */
	int fd;            /* -1: the interface is gone */
	int events;        /* routing messages */
	int fd_at, events_at;
	char name[IFNAMSIZ];
	u32 held; /* length of the frame that waits for room */
	struct net_meta meta;
	u8 in[NET_FRAME_MAX], out[NET_FRAME_MAX];
};

static struct tap *tap_of(struct net_port *p)
{
	return container_of(p, struct tap, p);
}

/* --- the interface --- */

static struct ifreq request(const struct tap *t)
{
	struct ifreq r = {0};

	memcpy(r.ifr_name, t->name, sizeof(r.ifr_name));
	return r;
}

static void gone(struct tap *t)
{
	log_warn("network: the interface %s is gone", t->name);
	close(t->fd);
	t->fd = -1;
	net_set_link(&t->p, false);
}

/* In another namespace there is nobody to ask: then it counts as up. */
static bool is_up(struct tap *t)
{
	struct ifreq r;

	if (ioctl(t->fd, TUNGETIFF, &r) == 0)
		memcpy(t->name, r.ifr_name, sizeof(t->name));
	r = request(t);
	return ioctl(t->events, SIOCGIFFLAGS, &r) < 0 || (r.ifr_flags & IFF_UP);
}

static void hear_events(struct tap *t)
{
	char message[8192];

	while (recv(t->events, message, sizeof(message), MSG_DONTWAIT) > 0)
		;
	if (t->fd >= 0)
		net_set_link(&t->p, is_up(t));
}

/* --- frames --- */

/* False: it waits in the buffer. */
static bool pass(struct tap *t, u32 len)
{
	const struct iovec iov = {t->in, len};
	const struct net_frame f = {.meta = t->meta, .iov = &iov, .niov = 1, .len = len};

	t->held = net_deliver(&t->p, &f) ? 0 : len;
	return !t->held;
}

/* False: there is nothing now. */
static bool read_frame(struct tap *t)
{
	const struct iovec iov[2] = {{&t->meta, sizeof(t->meta)}, {t->in, sizeof(t->in)}};
	ssize_t n = readv(t->fd, iov, 2);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			gone(t);
		return false;
	}
	n -= (ssize_t)sizeof(t->meta);
	return n < (ssize_t)NET_FRAME_MIN || pass(t, (u32)n);
}

static void tap_fill(struct net_port *p, struct net_poll *poll)
{
	struct tap *t = tap_of(p);
	short events = 0;

	events |= t->held ? 0 : POLLIN;
	events |= p->blocked ? POLLOUT : 0;
	t->fd_at = t->fd >= 0 && events ? net_poll_add(poll, t->fd, events) : -1;
	t->events_at = net_poll_add(poll, t->events, POLLIN);
}

static bool ready(const struct net_poll *poll, int at, short events)
{
	return at >= 0 && (poll->fds[at].revents & events);
}

static void tap_done(struct net_port *p, struct net_poll *poll)
{
	struct tap *t = tap_of(p);

	if (ready(poll, t->events_at, POLLIN | POLLERR))
		hear_events(t);
	if (t->held && !pass(t, t->held))
		return;
	if (!ready(poll, t->fd_at, POLLIN | POLLERR))
		return;
	for (unsigned n = 0; n < READS && t->fd >= 0 && read_frame(t); n++)
		;
}

/* What the kernel does not like is dropped: a malformed header, or an interface that is down. */
static int tap_send(struct net_port *p, const struct net_frame *f)
{
	struct tap *t = tap_of(p);
	struct net_meta meta = f->meta;
	struct iovec iov[1 + IOV_FEW] = {{&meta, sizeof(meta)}};
	unsigned n = f->niov;

	if (t->fd < 0)
		return 0;
	meta.hdr_len = (u16)MIN((u32)meta.hdr_len, f->len);
	if (n <= IOV_FEW) {
		memcpy(iov + 1, f->iov, n * sizeof(*iov));
	} else {
		net_flatten(f, t->out);
		iov[1] = (struct iovec){t->out, f->len};
		n = 1;
	}
	if (writev(t->fd, iov, (int)n + 1) >= 0)
		return 0;
	if (errno == EBADFD)
		gone(t);
	return errno == EAGAIN ? -EAGAIN : 0;
}

/* Values of TUN_F_ and of enum net_offload. */
static unsigned tun_offloads(u32 offloads)
{
	unsigned v = 0;

	v |= offloads & NET_OFF_CSUM ? TUN_F_CSUM : 0;
	v |= offloads & NET_OFF_TSO4 ? TUN_F_TSO4 : 0;
	v |= offloads & NET_OFF_TSO6 ? TUN_F_TSO6 : 0;
	v |= offloads & NET_OFF_ECN ? TUN_F_TSO_ECN : 0;
	v |= offloads & NET_OFF_UFO ? TUN_F_UFO : 0;
	return v;
}

static void tap_offloads(struct net_port *p, u32 offloads)
{
	struct tap *t = tap_of(p);

	if (ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)tun_offloads(offloads)) < 0 && t->fd >= 0)
		log_rate("network: %s: offloads %#x: %s", t->name, offloads, strerrordesc_np(errno));
}

/* The host sees the other end of the cable: its carrier. A kernel before 4.20 cannot tell it. */
static void tap_plug(struct net_port *p, bool in)
{
	struct tap *t = tap_of(p);
	int carrier = in;

	if (t->fd >= 0 && ioctl(t->fd, TUNSETCARRIER, &carrier) < 0)
		log_debug("network: %s: carrier: %s", t->name, strerrordesc_np(errno));
}

static void tap_close(struct net_port *p)
{
	struct tap *t = tap_of(p);

	if (t->fd >= 0)
		close(t->fd);
	if (t->events >= 0)
		close(t->events);
	free(t);
}

static const struct net_ops tap_ops = {
        .fill = tap_fill,
        .done = tap_done,
        .send = tap_send,
        .offloads = tap_offloads,
        .plug = tap_plug,
        .close = tap_close,
};

/* --- life --- */

static int open_device(struct tap *t, struct err *e)
{
	t->fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (t->fd >= 0)
		return 0;
	switch (errno) {
	case EACCES:
	case EPERM:
		return err_set(e, -errno, "%s: no permission for %s; as root run: chmod 666 %s", t->name,
		        DEVICE, DEVICE);
	case ENOENT:
	case ENODEV:
		return err_set(
		        e, -errno, "%s: the host has no %s; as root run: modprobe tun", t->name, DEVICE);
	default: return err_errno(e, -errno, "%s: %s", t->name, DEVICE);
	}
}

/* The command that would give the user the interface. */
static int forbidden(const struct tap *t, bool existed, struct err *e)
{
	const struct passwd *pw = getpwuid(geteuid());
	char user[64];

	snprintf(user, sizeof(user), "%.32s", pw ? pw->pw_name : "");
	if (!pw)
		snprintf(user, sizeof(user), "%u", geteuid());
	if (existed)
		return err_set(e, -EPERM,
		        "%s: the interface belongs to somebody else; as root run: ip tuntap del dev %s mode "
		        "tap && "
		        "ip tuntap add dev %s mode tap user %s && ip link set %s up",
		        t->name, t->name, t->name, user, t->name);
	return err_set(e, -EPERM,
	        "%s: there is no such interface, and no permission to make it; as root run: ip tuntap add "
	        "dev %s "
	        "mode tap user %s && ip link set %s up",
	        t->name, t->name, user, t->name);
}

/* One queue of the interface becomes ours. An interface that was made for many wants to hear that. */
static int attach(struct tap *t, bool existed, struct err *e)
{
	static const short flags[] = {
	        IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
	int error = EINVAL;

	for (unsigned n = 0; n < ARRAY_SIZE(flags) && error == EINVAL; n++) {
		struct ifreq r = request(t);

		r.ifr_flags = flags[n];
		error = ioctl(t->fd, TUNSETIFF, &r) < 0 ? errno : 0;
	}
	if (error == EPERM)
		return forbidden(t, existed, e);
	if (error == EBUSY)
		return err_set(e, -error, "%s: in use by another process", t->name);
	if (error == EINVAL && existed)
		return err_set(e, -error, "%s: the interface is no tap device", t->name);
	return error ? err_errno(e, -error, "%s", t->name) : 0;
}

/* A new interface is set up at once; one that somebody made is left as it is. */
static int set_up(struct tap *t, const struct net_spec *spec, struct err *e)
{
	struct ifreq r = request(t);

	if (spec->mtu) {
		r.ifr_mtu = (int)spec->mtu;
		if (ioctl(t->events, SIOCSIFMTU, &r) < 0)
			return err_errno(e, -errno, "%s: mtu=%u", t->name, spec->mtu);
	}
	r = request(t);
	if (ioctl(t->events, SIOCGIFFLAGS, &r) < 0)
		return err_errno(e, -errno, "%s", t->name);
	r.ifr_flags |= IFF_UP;
	if (ioctl(t->events, SIOCSIFFLAGS, &r) < 0)
		return err_errno(e, -errno, "%s: setting it up", t->name);
	return 0;
}

static int open_events(struct tap *t, struct err *e)
{
	const struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};

	t->events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (t->events < 0 || bind(t->events, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return err_errno(e, -errno, "%s: routing messages", t->name);
	return 0;
}

/* What this kernel can leave to the card. */
static u32 find_gives(const struct tap *t)
{
	static const u32 sets[] = {NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6 | NET_OFF_ECN | NET_OFF_UFO,
	        NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6 | NET_OFF_ECN, NET_OFF_CSUM};
	u32 gives = 0;

	for (unsigned n = 0; n < ARRAY_SIZE(sets) && !gives; n++)
		if (ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)tun_offloads(sets[n])) == 0)
			gives = sets[n];
	ioctl(t->fd, TUNSETOFFLOAD, 0ul);
	return gives;
}

static int open_interface(struct tap *t, const struct net_spec *spec, struct err *e)
{
	const int header = sizeof(struct net_meta);
	bool existed = if_nametoindex(t->name) != 0;
	struct ifreq r;
	int rc = open_device(t, e);

	if (rc == 0)
		rc = open_events(t, e);
	if (rc == 0)
		rc = attach(t, existed, e);
	if (rc == 0 && !existed)
		rc = set_up(t, spec, e);
	if (rc < 0)
		return rc;
	if (ioctl(t->fd, TUNSETVNETHDRSZ, &header) < 0)
		return err_errno(e, -errno, "%s: frame headers", t->name);
	t->p.gives = find_gives(t);
	r = request(t);
	t->p.mtu = ioctl(t->events, SIOCGIFMTU, &r) == 0 ? (u32)r.ifr_mtu : 0;
	t->p.link = is_up(t);
	if (!t->p.link)
		log_warn("network: %s is down, and so is the guest's link until: ip link set %s up", t->name,
		        t->name);
	return 0;
}

int net_open_tap(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	struct tap *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	t->p = (struct net_port){.ops = &tap_ops,
	        .takes = NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6 | NET_OFF_ECN | NET_OFF_UFO,
	        .wakefd = -1};
	t->fd = t->events = -1;
	memcpy(t->name, spec->ifname, sizeof(t->name));
	rc = open_interface(t, spec, e);
	if (rc < 0) {
		tap_close(&t->p);
		return rc;
	}
	*out = &t->p;
	return 0;
}
