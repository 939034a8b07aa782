/*
 * Connections of the control socket. A client is read only while it has no reply to take, one line is run
 * at a time, and its reply waits in the client's buffer until the socket takes it: memory for a client is
 * fixed, and a client that stops reading stops itself.
 */
#include "vm/control.h"

#include "base/log.h"
#include "base/unixname.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 8

struct client {
	struct control *control;
	struct client *next;
	struct loop_fd io;
	bool ending; /* closed once the reply is gone */
	size_t len;  /* bytes in line */
	char line[CONTROL_LINE_MAX];
	struct reply reply;
	size_t sent; /* of reply */
};

struct control {
	struct loop *loop;
	struct unix_name name;
	struct loop_fd listener;
	const struct control_ops *ops;
	void *opaque;
	struct client *clients;
	unsigned count;
};

static void drop(struct client *k)
{
	struct client **p = &k->control->clients;

	while (*p != k)
		p = &(*p)->next;
	*p = k->next;
	k->control->count--;
	loop_fd_del(k->control->loop, &k->io);
	close(k->io.fd);
	free(k);
}

/* Gives the socket what it takes. False: the client is gone. */
static bool flush(struct client *k)
{
	while (k->sent < k->reply.len) {
		ssize_t n = send(k->io.fd, k->reply.text + k->sent, k->reply.len - k->sent,
		        MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		k->sent += (size_t)n;
	}
	return true;
}

static void set_reply(struct client *k, const char *text)
{
	k->reply.len = strlen(text);
	k->sent = 0;
	memcpy(k->reply.text, text, k->reply.len);
}

/* Runs the first whole line of the buffer, if there is one. */
static bool run_line(struct client *k)
{
	char line[CONTROL_LINE_MAX];
	const char *end = memchr(k->line, '\n', k->len);
	size_t len;

	if (!end && k->len < sizeof(k->line))
		return false;
	if (!end) {
		set_reply(k, "error the line is too long\n");
		k->ending = true;
		return true;
	}
	len = (size_t)(end - k->line);
	for (size_t n = 0; n < len; n++)
		line[n] = k->line[n] ? k->line[n] : '?';
	line[len] = 0;
	k->len -= len + 1;
	memmove(k->line, end + 1, k->len);
	k->sent = 0;
	control_run(k->control->ops, k->control->opaque, line, &k->reply);
	return true;
}

/* Replies go out and lines are run until one of them must wait. False: the client is gone. */
static bool work(struct client *k)
{
	do {
		if (!flush(k))
			return false;
		if (k->sent < k->reply.len)
			return loop_fd_mod(k->control->loop, &k->io, EPOLLOUT) == 0;
		if (k->ending)
			return false;
	} while (run_line(k));
	return loop_fd_mod(k->control->loop, &k->io, EPOLLIN) == 0;
}

/* False: the client has ended, or broke the rules. */
static bool receive(struct client *k)
{
	ssize_t n = recv(k->io.fd, k->line + k->len, sizeof(k->line) - k->len, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	k->len += (size_t)n;
	return n > 0;
}

static void on_event(void *opaque, u32 revents)
{
	struct client *k = opaque;
	bool alive = true;

	if (k->io.events == EPOLLIN && k->len < sizeof(k->line))
		alive = receive(k);
	else if (revents & EPOLLERR)
		alive = false;
	if (!alive || !work(k))
		drop(k);
}

static int add_client(struct control *c, int fd)
{
	struct client *k = calloc(1, sizeof(*k));
	int rc;

	if (!k)
		return -ENOMEM;
	k->control = c;
	k->io = (struct loop_fd){.fd = fd, .events = EPOLLIN, .fn = on_event, .opaque = k};
	rc = loop_fd_add(c->loop, &k->io);
	if (rc < 0) {
		free(k);
		return rc;
	}
	k->next = c->clients;
	c->clients = k;
	c->count++;
	set_reply(k, CONTROL_GREETING);
	if (!work(k))
		drop(k);
	return 0;
}

static void on_connect(void *opaque, u32 revents)
{
	static const char full[] = CONTROL_GREETING "error too many clients\n";
	struct control *c = opaque;
	int fd = accept4(c->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* Out of descriptors, or of memory: the listener would be ready for ever. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_warn("--control: no new clients from now on: %s", strerrordesc_np(errno));
			loop_fd_del(c->loop, &c->listener);
		}
		return;
	}
	if (c->count < CONTROL_CLIENTS_MAX && add_client(c, fd) == 0)
		return;
	send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static int listen_at(struct control *c, const char *path, struct err *e)
{
	char option[160];
	int fd, rc;

	snprintf(option, sizeof(option), "--control=unix:%.120s", path);
	if (!unix_name_set(&c->name, path))
		return err_set(e, -ENAMETOOLONG, "%s: the path is too long", option);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, -errno, "%s", option);
	c->listener = (struct loop_fd){.fd = fd, .events = EPOLLIN, .fn = on_connect, .opaque = c};
	rc = unix_name_bind(&c->name, fd, option, e);
	if (rc < 0)
		return rc;
	rc = listen(fd, BACKLOG) < 0 ? -errno : loop_fd_add(c->loop, &c->listener);
	return rc < 0 ? err_errno(e, rc, "%s", option) : 0;
}

int control_open(struct control **out, struct loop *loop, const char *path, const struct control_ops *ops,
        void *opaque, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	int rc;

	*out = NULL;
	if (!c)
		return err_errno(e, -ENOMEM, "--control");
	c->loop = loop;
	c->listener.fd = -1;
	c->ops = ops;
	c->opaque = opaque;
	rc = listen_at(c, path, e);
	if (rc < 0)
		control_close(c);
	else
		*out = c;
	return rc;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	while (c->clients)
		drop(c->clients);
	loop_fd_del(c->loop, &c->listener);
	if (c->listener.fd >= 0)
		close(c->listener.fd);
	unix_name_remove(&c->name);
	free(c);
}
