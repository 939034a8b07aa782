/*
 * Frames through UNIX sockets, to a switch, to passt, or to another machine. As QEMU's netdevs stream and
 * dgram speak: in a stream each frame has its length in front, 32 bits in network order; a datagram is one
 * frame.
 *
 * The link is up while there is another side. Who listens has one at a time and sends further ones away; who
 * connects goes on trying, also when the other side is not there at first, so that two machines can be
 * started in any order. Datagram sockets say nothing when the other side ends: connecting again every second
 * finds out, and finds one that was started anew.
 *
 * No other work can be left to the other side than what it does for any frame, so frames that go out get
 * their checksum here. What a full socket does not take stays in a buffer that has room for a few frames;
 * further ones stay with the driver. What comes in is read in large pieces and handed on frame by frame.
 */
#include "net/port.h"

#include "base/log.h"
#include "base/unixname.h"
#include "net/csum.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 300
#define PROBE_MS 1000
#define READS 8 /* in one turn, so that the other direction gets one, too */
#define LENGTH 4u

struct cable {
	struct net_port p; /* first member; p.link: there is another side */
	enum net_role role;
	int fd;       /* to the other side; -1: none */
	int listener; /* -1: does not listen */
	int fd_at, listener_at;
	struct unix_name name;   /* what others connect to, or send datagrams to */
	struct sockaddr_un peer; /* what we connect to, or send datagrams to */
	char option[128];        /* as the user wrote it, for messages */
	bool complained;         /* since there was another side */
	s64 next_try;            /* ms; connect and dgram */
	u32 in_at, in_end, out_at, out_end;
	u8 in[256 * KiB], out[256 * KiB];
};

static struct cable *cable_of(struct net_port *p)
{
	return container_of(p, struct cable, p);
}

static s64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (s64)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- the other side comes and goes --- */

static void greet(struct cable *c)
{
	c->complained = false;
	net_set_link(&c->p, true);
}

/*
 * A datagram socket is kept with its name, and becomes free of the other side: a new one may only send to
 * it, or connect, when it is not connected to an old one.
 */
static void let_go(struct cable *c)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	if (c->role == NET_DGRAM) {
		if (connect(c->fd, &nobody, sizeof(nobody)) < 0)
			log_rate("network: %s: %s", c->option, strerrordesc_np(errno));
		return;
	}
	close(c->fd);
	c->fd = -1;
}

/* What is on its way is lost with the other side. */
static void hang_up(struct cable *c, const char *why)
{
	log_info("network: %s: %s", c->option, why);
	let_go(c);
	c->in_at = c->in_end = c->out_at = c->out_end = 0;
	c->next_try = now_ms() + RETRY_MS;
	net_set_link(&c->p, false);
}

static void hang_up_error(struct cable *c, int error)
{
	bool closed = error == EPIPE || error == ECONNRESET || error == ECONNREFUSED || error == ENOTCONN;

	hang_up(c, closed ? "the other side has gone" : strerrordesc_np(error));
}

static void accept_peer(struct cable *c)
{
	int fd = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			log_rate("network: %s: %s", c->option, strerrordesc_np(errno));
		return;
	}
	if (c->fd >= 0) {
		log_rate("network: %s: sent a second peer away", c->option);
		close(fd);
		return;
	}
	c->fd = fd;
	greet(c);
}

/* 0, or why there is no other side. */
static int try_connect(struct cable *c)
{
	const struct sockaddr *to = (const struct sockaddr *)&c->peer;

	c->next_try = now_ms() + (c->p.link ? PROBE_MS : RETRY_MS);
	if (c->fd < 0) {
		c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (c->fd < 0)
			return -errno;
	}
	if (connect(c->fd, to, sizeof(c->peer)) < 0) {
		int rc = -errno;

		if (!c->p.link)
			let_go(c);
		return rc;
	}
	return 0;
}

static void look_for_peer(struct cable *c)
{
	int rc;

	if (c->role == NET_LISTEN || (c->role == NET_CONNECT && c->p.link) || now_ms() < c->next_try)
		return;
	rc = try_connect(c);
	if (rc == 0 && !c->p.link)
		greet(c);
	if (rc < 0 && c->p.link)
		hang_up_error(c, rc == -ENOENT ? ENOTCONN : -rc);
	if (rc < 0 && !c->complained)
		log_warn("network: %s: %s; trying again until somebody answers", c->option,
		        strerrordesc_np(-rc));
	c->complained |= rc < 0;
}

/* --- frames for the guest --- */

static bool pass(struct cable *c, u8 *data, u32 len)
{
	const struct iovec iov = {data, len};
	const struct net_frame f = {.iov = &iov, .niov = 1, .len = len};

	return net_deliver(&c->p, &f);
}

/* Hands on the frames of a stream that are whole. False: the other side does not speak our protocol. */
static bool pass_whole(struct cable *c)
{
	while (c->in_end - c->in_at >= LENGTH) {
		u8 *at = c->in + c->in_at;
		u32 len;

		memcpy(&len, at, sizeof(len));
		len = ntohl(len);
		if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
			return false;
		if (c->in_end - c->in_at < LENGTH + len || !pass(c, at + LENGTH, len))
			break;
		c->in_at += LENGTH + len;
	}
	return true;
}

static bool pass_or_hang_up(struct cable *c)
{
	if (pass_whole(c))
		return true;
	log_rate("network: %s: the other side sent what is no frame", c->option);
	hang_up(c, "disconnected");
	return false;
}

/* False: nothing more can be read now. */
static bool read_stream(struct cable *c)
{
	ssize_t n;

	if (c->in_at) {
		memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
		c->in_end -= c->in_at;
		c->in_at = 0;
	}
	n = recv(c->fd, c->in + c->in_end, sizeof(c->in) - c->in_end, MSG_DONTWAIT);
	if (n == 0)
		hang_up(c, "the other side has gone");
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		hang_up_error(c, errno);
	if (n <= 0)
		return false;
	c->in_end += (u32)n;
	return pass_or_hang_up(c) && !c->p.full;
}

/* The same for datagrams; one that there is no room for waits in the buffer. */
static bool read_datagram(struct cable *c)
{
	ssize_t n = recv(c->fd, c->in, sizeof(c->in), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			hang_up_error(c, errno);
		return false;
	}
	if (n < (ssize_t)NET_FRAME_MIN || n > (ssize_t)NET_FRAME_MAX) {
		log_rate("network: %s: a datagram of %zd bytes is no frame", c->option, n);
		return true;
	}
	c->in_end = pass(c, c->in, (u32)n) ? 0 : (u32)n;
	return c->in_end == 0;
}

static void read_frames(struct cable *c)
{
	bool (*const one)(struct cable *) = c->role == NET_DGRAM ? read_datagram : read_stream;

	for (unsigned n = 0; n < READS && one(c); n++)
		;
}

/* What waited for room. */
static void pass_held(struct cable *c)
{
	if (c->p.full || !c->in_end)
		return;
	if (c->role != NET_DGRAM)
		pass_or_hang_up(c);
	else if (pass(c, c->in, c->in_end))
		c->in_end = 0;
}

/* --- frames of the guest --- */

static void flush(struct cable *c)
{
	while (c->out_at < c->out_end) {
		ssize_t n =
		        send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				hang_up_error(c, errno);
			return;
		}
		c->out_at += (u32)n;
	}
	c->out_at = c->out_end = 0;
}

static bool has_room(const struct cable *c, u32 len)
{
	return sizeof(c->out) - c->out_end >= LENGTH + len;
}

/* A frame as others expect it. False: it makes no sense. */
static bool flatten(const struct net_frame *f, u8 *to)
{
	net_flatten(f, to);
	return !(f->meta.flags & NET_NEEDS_CSUM) || net_finish_csum(to, f->len, &f->meta);
}

/* Frames gather in the buffer until the thread has no more of them (cable_fill) or it is full. */
static int send_stream(struct cable *c, const struct net_frame *f)
{
	const u32 len = htonl(f->len);

	if (!has_room(c, f->len))
		flush(c);
	if (!has_room(c, f->len))
		return -EAGAIN;
	if (c->fd < 0 || !flatten(f, c->out + c->out_end + LENGTH))
		return 0;
	memcpy(c->out + c->out_end, &len, sizeof(len));
	c->out_end += LENGTH + f->len;
	return 0;
}

static int send_datagram(struct cable *c, const struct net_frame *f)
{
	if (!flatten(f, c->out) || send(c->fd, c->out, f->len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == EAGAIN)
		return -EAGAIN;
	if (errno != EMSGSIZE && errno != ENOBUFS && errno != ENOMEM && errno != EINTR)
		hang_up_error(c, errno);
	return 0;
}

static int cable_send(struct net_port *p, const struct net_frame *f)
{
	struct cable *c = cable_of(p);

	if (!p->link)
		return 0;
	return c->role == NET_DGRAM ? send_datagram(c, f) : send_stream(c, f);
}

/* --- turns of the thread --- */

static void wait_until(struct net_poll *poll, s64 at)
{
	int ms = (int)MAX(at - now_ms(), (s64)0);

	if (poll->timeout_ms < 0 || poll->timeout_ms > ms)
		poll->timeout_ms = ms;
}

static void cable_fill(struct net_port *p, struct net_poll *poll)
{
	struct cable *c = cable_of(p);
	short events = 0;

	if (p->link)
		flush(c);
	events |= p->full ? 0 : POLLIN;
	events |= p->blocked || c->out_end ? POLLOUT : 0;
	/* Without a wish it is left out: an end that nobody reads yet would wake us again and again. */
	c->fd_at = p->link && events ? net_poll_add(poll, c->fd, events) : -1;
	c->listener_at = c->listener >= 0 ? net_poll_add(poll, c->listener, POLLIN) : -1;
	if (c->role == NET_DGRAM || (c->role == NET_CONNECT && !p->link))
		wait_until(poll, c->next_try);
}

static bool ready(const struct net_poll *poll, int at, short events)
{
	return at >= 0 && (poll->fds[at].revents & events);
}

static void cable_done(struct net_port *p, struct net_poll *poll)
{
	struct cable *c = cable_of(p);

	pass_held(c);
	if (p->link && !p->full && ready(poll, c->fd_at, POLLIN | POLLHUP | POLLERR))
		read_frames(c);
	if (ready(poll, c->listener_at, POLLIN))
		accept_peer(c);
	look_for_peer(c);
}

static void cable_close(struct net_port *p)
{
	struct cable *c = cable_of(p);

	if (c->fd >= 0)
		close(c->fd);
	if (c->listener >= 0)
		close(c->listener);
	unix_name_remove(&c->name);
	free(c);
}

static const struct net_ops cable_ops = {
        .fill = cable_fill, .done = cable_done, .send = cable_send, .close = cable_close};

/* --- life --- */

static int open_name(struct cable *c, const struct net_spec *spec, int type, int *fd, struct err *e)
{
	if (!unix_name_set(&c->name, spec->path))
		return err_set(e, -ENAMETOOLONG, "%s: the path is too long", c->option);
	*fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return err_errno(e, -errno, "%s", c->option);
	return unix_name_bind(&c->name, *fd, c->option, e);
}

static int open_listener(struct cable *c, const struct net_spec *spec, struct err *e)
{
	int rc = open_name(c, spec, SOCK_STREAM, &c->listener, e);

	if (rc == 0 && listen(c->listener, 4) < 0)
		rc = err_errno(e, -errno, "%s", c->option);
	return rc;
}

/* Nobody there yet is no error: the thread goes on looking. */
static int open_peer(struct cable *c, const char *path, struct err *e)
{
	int rc;

	c->peer.sun_family = AF_UNIX;
	memcpy(c->peer.sun_path, path, strlen(path) + 1);
	rc = try_connect(c);
	c->p.link = rc == 0;
	if (rc == 0 || rc == -EAGAIN || rc == -EPERM) /* busy with somebody else */
		return 0;
	if (rc != -ENOENT && rc != -ECONNREFUSED)
		return err_errno(e, rc, "%s", c->option);
	log_warn("network: %s: %s; trying again until somebody answers", c->option, strerrordesc_np(-rc));
	c->complained = true;
	return 0;
}

static int open_role(struct cable *c, const struct net_spec *spec, struct err *e)
{
	static const char *const names[] = {
	        [NET_LISTEN] = "listen", [NET_CONNECT] = "connect", [NET_DGRAM] = "dgram"};
	int rc;

	snprintf(c->option, sizeof(c->option), "%s=%s", names[spec->role], spec->path);
	switch (spec->role) {
	case NET_LISTEN: return open_listener(c, spec, e);
	case NET_CONNECT: return open_peer(c, spec->path, e);
	default: break;
	}
	rc = open_name(c, spec, SOCK_DGRAM, &c->fd, e);
	if (rc < 0)
		return rc;
	snprintf(c->option, sizeof(c->option), "peer=%s", spec->peer);
	return open_peer(c, spec->peer, e);
}

int net_open_socket(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	struct cable *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->p = (struct net_port){.ops = &cable_ops, .takes = NET_OFF_CSUM, .wakefd = -1};
	c->role = spec->role;
	c->fd = c->listener = -1;
	rc = open_role(c, spec, e);
	if (rc < 0) {
		cable_close(&c->p);
		return rc;
	}
	*out = &c->p;
	return 0;
}
