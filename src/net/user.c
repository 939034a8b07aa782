/*
 * The user network: libslirp, which ends the guest's connections here and makes them again with the sockets
 * of an ordinary process. The guest is alone with a gateway (which is the host), a name server and a DHCP
 * server.
 *
 * libslirp cannot wait when the card has no room: it calls send_packet and forgets the frame. Such frames are
 * held here. While there are any, libslirp's sockets and timers rest, so that only frames of the guest can
 * add to them; when they are many, those have to wait, too.
 *
 * Packets of any size up to 64 KiB pass inside this process, so the MTU is large unless the user wants
 * another one, and segments that the card has not cut or summed up yet need only their checksum.
 */
#include "net/port.h"

#include "base/log.h"
#include "net/csum.h"
#include "net/reass.h"
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MTU_DEFAULT 65520u
#define HELD_MANY (256 * KiB) /* bytes that make the guest wait */
#define HELD_MOST (8 * MiB)   /* never reached by what one frame of the guest can cause */
#define NS_PER_MS 1000000

struct held {
	struct held *next;
	u32 len;
	u8 data[];
};

struct timer {
	struct timer *next;
	SlirpTimerCb cb;
	void *opaque;
	int64_t at_ms; /* TIMER_IDLE: not set */
};

#define TIMER_IDLE INT64_MAX

struct user {
	struct net_port p; /* first member */
	Slirp *slirp;
	struct held *held, **held_end;
	u64 held_len;
	struct timer *timers;
	bool asked; /* libslirp has filled this turn's poll */
	u32 offloads;
	char *sockets[NET_FWD_MAX]; /* unix sockets to remove at the end */
	unsigned nsockets;
	struct reass reass;
	u8 frame[NET_FRAME_MAX];
};

static struct user *user_of(struct net_port *p)
{
	return container_of(p, struct user, p);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- frames for the guest --- */

static bool deliver(struct user *u, const void *data, u32 len)
{
	const struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	const struct net_frame f = {.meta.flags = u->offloads & NET_OFF_CSUM ? NET_DATA_VALID : 0,
	        .iov = &iov,
	        .niov = 1,
	        .len = len};

	return net_deliver(&u->p, &f);
}

static void hold(struct user *u, const void *data, u32 len)
{
	struct held *h = u->held_len < HELD_MOST ? malloc(sizeof(*h) + len) : NULL;

	if (!h) {
		log_rate("network: no memory for frames that wait for the guest");
		return;
	}
	h->next = NULL;
	h->len = len;
	memcpy(h->data, data, len);
	*u->held_end = h;
	u->held_end = &h->next;
	u->held_len += len;
}

static void drop_first(struct user *u)
{
	struct held *h = u->held;

	u->held = h->next;
	if (!u->held)
		u->held_end = &u->held;
	u->held_len -= h->len;
	free(h);
}

static void release(struct user *u)
{
	while (u->held && deliver(u, u->held->data, u->held->len))
		drop_first(u);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;

	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		return -1;
	if (u->held || !deliver(u, buf, (u32)len))
		hold(u, buf, (u32)len);
	return (ssize_t)len;
}

/* --- libslirp's other wishes --- */

static void guest_error(const char *msg, void *opaque)
{
	log_debug("network: %s", msg);
}

/* libslirp also complains of guests through GLib, which writes that to standard error, as often as a guest
 * likes. */
static void on_complaint(const char *domain, int level, const char *message, void *opaque)
{
	log_debug("network: %s", message);
}

/* GLib is there because libslirp needs it; nothing else here does. */
static void hear_complaints(void)
{
	typedef void *(*set_handler_fn)(void (*)(const char *, int, const char *, void *), void *);
	set_handler_fn set_handler = (set_handler_fn)dlsym(RTLD_DEFAULT, "g_log_set_default_handler");

	if (set_handler)
		set_handler(on_complaint, NULL);
}

static int64_t clock_get_ns(void *opaque)
{
	return now_ns();
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct user *u = opaque;
	struct timer *t = malloc(sizeof(*t));

	if (!t) /* libslirp has no answer to that */
		abort();
	*t = (struct timer){.next = u->timers, .cb = cb, .opaque = cb_opaque, .at_ms = TIMER_IDLE};
	u->timers = t;
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct user *u = opaque;

	for (struct timer **t = &u->timers; *t; t = &(*t)->next) {
		if (*t == timer) {
			*t = (*t)->next;
			free(timer);
			return;
		}
	}
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	((struct timer *)timer)->at_ms = expire_ms;
}

/* Descriptors are collected for each wait; what goes on is seen in the next turn, which follows at once. */
static void poll_fd(int fd, void *opaque)
{
}

static void notify(void *opaque)
{
}

static const SlirpCb callbacks = {
        .send_packet = send_packet,
        .guest_error = guest_error,
        .clock_get_ns = clock_get_ns,
        .timer_new = timer_new,
        .timer_free = timer_free,
        .timer_mod = timer_mod,
        .register_poll_fd = poll_fd,
        .unregister_poll_fd = poll_fd,
        .notify = notify,
};

/* --- turns of the thread --- */

static int add_poll(int fd, int events, void *opaque)
{
	short ev = 0;

	ev |= events & SLIRP_POLL_IN ? POLLIN : 0;
	ev |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
	ev |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
	return net_poll_add(opaque, fd, ev);
}

static int get_revents(int idx, void *opaque)
{
	const struct net_poll *poll = opaque;
	int ev = 0, got;

	if (idx < 0)
		return 0;
	got = poll->fds[idx].revents;
	ev |= got & POLLIN ? SLIRP_POLL_IN : 0;
	ev |= got & POLLOUT ? SLIRP_POLL_OUT : 0;
	ev |= got & POLLPRI ? SLIRP_POLL_PRI : 0;
	ev |= got & (POLLERR | POLLNVAL) ? SLIRP_POLL_ERR : 0;
	ev |= got & POLLHUP ? SLIRP_POLL_HUP : 0;
	return ev;
}

static void wait_at_most(struct net_poll *poll, u64 ms)
{
	int limit = (int)MIN(ms, (u64)INT32_MAX);

	if (poll->timeout_ms < 0 || poll->timeout_ms > limit)
		poll->timeout_ms = limit;
}

static void user_fill(struct net_port *p, struct net_poll *poll)
{
	struct user *u = user_of(p);
	int64_t now = now_ns() / NS_PER_MS;
	u32 timeout = UINT32_MAX;

	u->asked = !u->held;
	if (!u->asked)
		return;
	slirp_pollfds_fill(u->slirp, &timeout, add_poll, poll);
	if (timeout != UINT32_MAX)
		wait_at_most(poll, timeout);
	for (const struct timer *t = u->timers; t; t = t->next)
		if (t->at_ms != TIMER_IDLE)
			wait_at_most(poll, t->at_ms > now ? (u64)(t->at_ms - now) : 0);
}

static void run_timers(struct user *u)
{
	int64_t now = now_ns() / NS_PER_MS;

	for (struct timer *t = u->timers, *next; t; t = next) {
		next = t->next;
		if (t->at_ms > now)
			continue;
		t->at_ms = TIMER_IDLE;
		t->cb(t->opaque);
	}
}

static void user_done(struct net_port *p, struct net_poll *poll)
{
	struct user *u = user_of(p);

	release(u);
	if (!u->asked)
		return;
	slirp_pollfds_poll(u->slirp, 0, get_revents, poll);
	run_timers(u);
}

static int user_send(struct net_port *p, const struct net_frame *f)
{
	struct user *u = user_of(p);
	const u8 *whole;
	u32 len = f->len;

	if (u->held_len >= HELD_MANY)
		return -EAGAIN;
	net_flatten(f, u->frame);
	if ((f->meta.flags & NET_NEEDS_CSUM) && !net_finish_csum(u->frame, f->len, &f->meta))
		return -EINVAL;
	whole = reass_frame(&u->reass, u->frame, &len, (u64)now_ns());
	if (whole)
		slirp_input(u->slirp, whole, (int)len);
	return 0;
}

static void user_offloads(struct net_port *p, u32 offloads)
{
	user_of(p)->offloads = offloads;
}

static void user_close(struct net_port *p)
{
	struct user *u = user_of(p);

	if (u->slirp)
		slirp_cleanup(u->slirp);
	while (u->nsockets) {
		unlink(u->sockets[--u->nsockets]);
		free(u->sockets[u->nsockets]);
	}
	while (u->held)
		drop_first(u);
	reass_clear(&u->reass);
	while (u->timers)
		timer_free(u->timers, u);
	free(u);
}

static const struct net_ops user_ops = {
        .fill = user_fill,
        .done = user_done,
        .send = user_send,
        .offloads = user_offloads,
        .close = user_close,
};

/* --- forwarded ports --- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un path;
};

static socklen_t set_address(union address *a, bool v6, const u8 *addr, u16 port)
{
	memset(a, 0, sizeof(*a));
	if (v6) {
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = htons(port);
		memcpy(&a->v6.sin6_addr, addr, sizeof(a->v6.sin6_addr));
		return sizeof(a->v6);
	}
	a->v4.sin_family = AF_INET;
	a->v4.sin_port = htons(port);
	memcpy(&a->v4.sin_addr, addr, sizeof(a->v4.sin_addr));
	return sizeof(a->v4);
}

static int forward_in(struct user *u, const struct net_fwd *f)
{
	union address host, guest;
	socklen_t hlen, glen = set_address(&guest, f->v6, f->guest, f->guest_port);
	int flags = f->kind == NET_FWD_UDP ? SLIRP_HOSTFWD_UDP : 0;

	if (f->kind != NET_FWD_UNIX) {
		hlen = set_address(&host, f->v6, f->host, f->host_port);
		flags |= f->v6 ? SLIRP_HOSTFWD_V6ONLY : 0;
	} else {
		memset(&host, 0, sizeof(host));
		host.path.sun_family = AF_UNIX;
		memcpy(host.path.sun_path, f->path, strlen(f->path));
		hlen = sizeof(host.path);
		u->sockets[u->nsockets] = strdup(f->path);
		if (!u->sockets[u->nsockets])
			return -ENOMEM;
	}
	errno = EINVAL;
	if (slirp_add_hostxfwd(u->slirp, &host.any, hlen, &guest.any, glen, flags) < 0) {
		int rc = -errno;

		if (f->kind == NET_FWD_UNIX)
			free(u->sockets[u->nsockets]);
		return rc;
	}
	u->nsockets += f->kind == NET_FWD_UNIX;
	return 0;
}

static int forward_out(struct user *u, const struct net_fwd *f)
{
	struct in_addr guest;

	memcpy(&guest, f->guest, sizeof(guest));
	return slirp_add_unix(u->slirp, f->path, &guest, f->guest_port) < 0 ? -EADDRNOTAVAIL : 0;
}

/* libslirp listens for one client at a time: many that come at once would have to try again and again. */
static int widen(int fd, int events, void *opaque)
{
	int listening = 0;
	socklen_t len = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening)
		listen(fd, SOMAXCONN);
	return -1;
}

static int add_forwards(struct user *u, const struct net_spec *spec, struct err *e)
{
	u32 timeout = UINT32_MAX;

	for (unsigned n = 0; n < spec->nfwd; n++) {
		const struct net_fwd *f = &spec->fwd[n];
		int rc = f->kind == NET_FWD_GUEST ? forward_out(u, f) : forward_in(u, f);

		if (rc < 0)
			return err_errno(e, rc, "%s", f->text);
	}
	slirp_pollfds_fill(u->slirp, &timeout, widen, u);
	return 0;
}

/* --- life --- */

static struct in_addr host_number(const struct net_spec *spec, u32 n)
{
	return (struct in_addr){.s_addr = htonl(spec->net | n)};
}

/* The addresses are those that users of QEMU know: gateway .2, name server .3, guest .15. */
static void configure(SlirpConfig *c, const struct net_spec *spec, u32 mtu)
{
	static const struct in6_addr prefix = {.s6_addr = {0xfe, 0xc0}};

	*c = (SlirpConfig){
	        .version = 1,
	        .restricted = spec->restricted,
	        .in_enabled = true,
	        .vnetwork = host_number(spec, 0),
	        .vnetmask.s_addr = htonl(spec->netmask),
	        .vhost = host_number(spec, 2),
	        .vnameserver = host_number(spec, 3),
	        .vdhcp_start = host_number(spec, 15),
	        .in6_enabled = true,
	        .vprefix_addr6 = prefix,
	        .vprefix_len = 64,
	        .vhost6 = prefix,
	        .vnameserver6 = prefix,
	        .if_mtu = mtu,
	        .if_mru = mtu,
	};
	c->vhost6.s6_addr[15] = 2;
	c->vnameserver6.s6_addr[15] = 3;
}

int net_open_user(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	struct user *u = calloc(1, sizeof(*u));
	SlirpConfig config;
	int rc;

	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	u->held_end = &u->held;
	u->p = (struct net_port){.ops = &user_ops,
	        .takes = NET_OFF_CSUM | NET_OFF_TSO4 | NET_OFF_TSO6 | NET_OFF_ECN | NET_OFF_UFO,
	        .gives = NET_OFF_CSUM,
	        .mtu = spec->mtu ? spec->mtu : MTU_DEFAULT,
	        .link = true,
	        .wakefd = -1};
	hear_complaints();
	configure(&config, spec, u->p.mtu);
	u->slirp = slirp_new(&config, &callbacks, u);
	if (!u->slirp) {
		user_close(&u->p);
		return err_set(e, -ENOMEM, "user: libslirp could not start");
	}
	rc = add_forwards(u, spec, e);
	if (rc < 0) {
		user_close(&u->p);
		return rc;
	}
	*out = &u->p;
	return 0;
}
