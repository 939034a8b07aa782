/*
 * Listening sockets, UNIX and TCP, with one client at a time; a second one is told so and sent away.
 * While nobody is connected the ring keeps the newest output for the next client.
 *
 * A UNIX socket is ours alone (mode 0600, see unixname.h): who may connect may type into the guest.
 * TCP listens on the loopback only, for the same reason.
 */
#include "base/log.h"
#include "base/unixname.h"
#include "console/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
	struct stream s;
	struct loop_fd listener;
	struct unix_name name; /* never bound: TCP */
};

static void hangup(struct stream *s, int err)
{
	stream_set_connected(s, false);
	stream_drop_input(s);
	stream_drop_output(s);
}

static bool read_failed(struct stream *s, int err)
{
	hangup(s, err);
	return true;
}

static void serve(struct server *u, int fd)
{
	int wr = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (wr < 0) {
		close(fd);
		return;
	}
	stream_set_input(&u->s, fd);
	if (stream_set_output(&u->s, wr, WRITE_SOCKET))
		stream_drop_input(&u->s);
	else
		console_drain(u->s.console);
}

static void on_client(void *opaque, u32 revents)
{
	static const char busy[] = "xhyve: this console has a client already\r\n";
	struct server *u = opaque;
	int fd = accept4(u->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_warn("console %s: no clients from now on: %s", u->s.name, strerrordesc_np(errno));
			loop_fd_del(u->s.console->loop, &u->listener);
		}
		return;
	}
	if (u->s.wr.fd < 0) {
		stream_drop_input(&u->s);
		serve(u, fd);
		return;
	}
	send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void close_server(struct stream *s)
{
	struct server *u = container_of(s, struct server, s);

	if (u->listener.fd >= 0) {
		loop_fd_del(s->console->loop, &u->listener);
		close(u->listener.fd);
	}
	unix_name_remove(&u->name);
}

static const struct stream_ops server_ops = {
        .hangup = hangup,
        .read_failed = read_failed,
        .close = close_server,
};

static int listen_on(struct server *u, struct err *e)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return err_errno(e, -errno, "%s", u->s.name);
	u->listener.fd = fd;
	r = unix_name_bind(&u->name, fd, u->s.name, e);
	if (r == 0 && listen(fd, 4) < 0)
		r = err_errno(e, -errno, "%s", u->s.name);
	return r;
}

static struct server *server_new(struct console *c)
{
	struct server *u = (struct server *)stream_new(c, sizeof(*u), &server_ops);

	if (!u)
		return NULL;
	u->s.line = true;
	u->listener = (struct loop_fd){.fd = -1, .events = EPOLLIN, .fn = on_client, .opaque = u};
	return u;
}

int unix_open(struct console *c, const char *path, struct err *e)
{
	struct server *u = server_new(c);
	int r;

	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	snprintf(u->s.name, sizeof(u->s.name), "unix:%s", path);
	if (!unix_name_set(&u->name, path))
		return err_set(e, -ENAMETOOLONG, "%s: the path is too long", u->s.name);
	r = listen_on(u, e);
	if (r)
		return r;
	r = loop_fd_add(c->loop, &u->listener);
	return r ? err_errno(e, r, "%s", u->s.name) : 0;
}

int tcp_open(struct console *c, u16 port, struct err *e)
{
	const struct sockaddr_in addr = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct server *u = server_new(c);
	const int on = 1;
	int r;

	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	snprintf(u->s.name, sizeof(u->s.name), "127.0.0.1:%u", port);
	u->listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (u->listener.fd < 0)
		return err_errno(e, -errno, "%s", u->s.name);
	/* Connections of an earlier run that linger do not keep the port from us. */
	setsockopt(u->listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(u->listener.fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	        listen(u->listener.fd, 4) < 0)
		return err_errno(e, -errno, "%s", u->s.name);
	r = loop_fd_add(c->loop, &u->listener);
	return r ? err_errno(e, r, "%s", u->s.name) : 0;
}
