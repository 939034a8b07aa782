/*
 * Moving bytes of one stream. See stream.h for who may call what.
 *
 * Output: the loop thread takes the filled part of the ring under the lock, writes without it, and
 * moves the tail under the lock again. Writers only move the head, but for a stream without reader,
 * where they drop the oldest bytes; then the loop thread does not touch the ring.
 *
 * Input is not watched while bytes of it wait for the guest. The descriptor then leaves the epoll
 * set altogether: a hung-up one would report that for ever.
 */
#include "console/stream.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define POLL_NS (250 * NS_PER_MS)

static void on_writable(void *opaque, u32 revents);
static void on_readable(void *opaque, u32 revents);

static void on_poll(void *opaque)
{
	struct stream *s = opaque;

	s->ops->poll(s);
}

struct stream *stream_new(struct console *c, size_t size, const struct stream_ops *ops)
{
	struct stream *s = calloc(1, size);

	if (!s)
		return NULL;
	s->ring = malloc(RING_SIZE);
	if (!s->ring) {
		free(s);
		return NULL;
	}
	s->console = c;
	s->ops = ops;
	s->wr = (struct loop_fd){.fd = -1, .fn = on_writable, .opaque = s};
	s->rd = (struct loop_fd){.fd = -1, .fn = on_readable, .opaque = s};
	timer_init(&s->poll, loop_timers(c->loop), NULL, on_poll, s);
	c->stream[c->count++] = s;
	return s;
}

void stream_destroy(struct stream *s)
{
	timer_cancel(&s->poll);
	stream_drop_input(s);
	stream_drop_output(s);
	if (s->ops->close)
		s->ops->close(s);
	free(s->ring);
	free(s);
}

void stream_poll_later(struct stream *s)
{
	timer_arm(&s->poll, clock_now(loop_timers(s->console->loop)->clock) + POLL_NS);
}

/* -- output ------------------------------------------------------------------------------------ */

static void set_waiting(struct stream *s, bool waiting)
{
	pthread_mutex_lock(&s->console->lock);
	s->waiting = waiting;
	pthread_mutex_unlock(&s->console->lock);
}

int stream_set_output(struct stream *s, int fd, enum write_mode mode)
{
	int r;

	s->wr.fd = fd;
	s->wr.events = 0; /* errors and hang-ups are always reported */
	s->mode = mode;
	r = loop_fd_add(s->console->loop, &s->wr);
	s->wr_polled = r == 0;
	if (r && r != -EPERM) {
		close(fd);
		s->wr.fd = -1;
		return r;
	}
	set_waiting(s, false);
	stream_set_connected(s, true);
	return 0;
}

void stream_drop_output(struct stream *s)
{
	if (s->wr.fd < 0)
		return;
	loop_fd_del(s->console->loop, &s->wr);
	close(s->wr.fd);
	s->wr.fd = -1;
}

void stream_set_connected(struct stream *s, bool connected)
{
	pthread_mutex_lock(&s->console->lock);
	s->connected = connected;
	pthread_mutex_unlock(&s->console->lock);
	console_look_carrier(s->console);
}

void stream_kill(struct stream *s, int err)
{
	stream_drop_output(s);
	pthread_mutex_lock(&s->console->lock);
	s->dead = true;
	s->head = s->tail = 0;
	pthread_mutex_unlock(&s->console->lock);
	log_warn("console %s: %s; its output is dropped from now on", s->name, strerrordesc_np(err));
	console_look_carrier(s->console);
}

/* Up to two pieces of the ring that wait to be written; 0 if there is nothing to do. */
static int take_output(struct stream *s, struct iovec iov[2])
{
	u32 from, len, first;

	pthread_mutex_lock(&s->console->lock);
	len = s->connected && !s->dead && s->wr.fd >= 0 ? s->head - s->tail : 0;
	from = s->tail % RING_SIZE;
	pthread_mutex_unlock(&s->console->lock);
	first = MIN(len, RING_SIZE - from);
	iov[0] = (struct iovec){.iov_base = s->ring + from, .iov_len = first};
	iov[1] = (struct iovec){.iov_base = s->ring, .iov_len = len - first};
	return len == 0 ? 0 : len == first ? 1 : 2;
}

/* A shared description may be blocking: write only when it is ready, and little at once. */
static ssize_t write_shared(int fd, const struct iovec *iov)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	if (poll(&p, 1, 0) <= 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, iov->iov_base, MIN(iov->iov_len, 64u));
}

static ssize_t put(struct stream *s, const struct iovec *iov, int n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};

	switch (s->mode) {
	case WRITE_SOCKET: return sendmsg(s->wr.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	case WRITE_SHARED: return write_shared(s->wr.fd, iov);
	case WRITE_PLAIN: break;
	}
	return writev(s->wr.fd, iov, n);
}

/* Bytes written, 0: nothing to write, -EAGAIN, or another error. */
static ssize_t drain_step(struct stream *s)
{
	struct iovec iov[2];
	int n = take_output(s, iov);
	ssize_t done;

	if (n == 0)
		return 0;
	do {
		done = put(s, iov, n);
	} while (done < 0 && errno == EINTR);
	if (done <= 0)
		return done < 0 ? -errno : -EIO;
	pthread_mutex_lock(&s->console->lock);
	s->tail += (u32)done;
	pthread_mutex_unlock(&s->console->lock);
	return done;
}

/* More output waits: come back when the descriptor is ready. */
static void wait_writable(struct stream *s)
{
	if (!s->wr_polled) {
		console_post_drain(s->console);
		return;
	}
	set_waiting(s, true);
	loop_fd_mod(s->console->loop, &s->wr, EPOLLOUT);
}

/* Stops waiting, unless bytes came in at this moment: their writer saw us waiting and called nobody. */
static bool end_wait(struct stream *s)
{
	bool empty;

	pthread_mutex_lock(&s->console->lock);
	empty = s->head == s->tail || !s->connected || s->dead;
	if (empty)
		s->waiting = false;
	pthread_mutex_unlock(&s->console->lock);
	if (empty && s->wr_polled && s->wr.fd >= 0)
		loop_fd_mod(s->console->loop, &s->wr, 0);
	return empty;
}

void stream_drain(struct stream *s)
{
	u32 total = 0;
	ssize_t n = 0;

	/* A ring's worth at a time: a guest that writes fast must not keep the loop here. */
	while (total < RING_SIZE) {
		n = drain_step(s);
		if (n < 0 || (n == 0 && end_wait(s)))
			break;
		total += (u32)n;
	}
	if (n == -EAGAIN || n > 0)
		wait_writable(s);
	else if (n < 0)
		s->ops->hangup(s, (int)-n);
}

static void on_writable(void *opaque, u32 revents)
{
	struct stream *s = opaque;

	if (revents & (EPOLLERR | EPOLLHUP))
		s->ops->hangup(s, revents & EPOLLERR ? EPIPE : EIO);
	console_drain(s->console);
}

/* Waiting at the end: as long as bytes move, but only so long for a reader that does not read. */
#define STALL_MS 3000
#define STEPS_MAX 100000

void stream_drain_wait(struct stream *s)
{
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		struct pollfd p = {.fd = s->wr.fd, .events = POLLOUT};
		ssize_t n = drain_step(s);

		if (n == 0)
			return;
		if (n > 0)
			continue;
		if (n != -EAGAIN || poll(&p, 1, STALL_MS) <= 0 || (p.revents & (POLLERR | POLLHUP)))
			break;
	}
	log_warn("console %s: %u bytes of output were not read", s->name, s->head - s->tail);
}

/* -- input ------------------------------------------------------------------------------------- */

int stream_set_input(struct stream *s, int fd)
{
	s->rd.fd = fd;
	s->rd.events = EPOLLIN;
	s->rd_paused = true;
	s->rd_polled = true;
	if (s->console->ops)
		stream_start_input(s);
	return 0;
}

void stream_drop_input(struct stream *s)
{
	if (s->rd.fd < 0)
		return;
	loop_fd_del(s->console->loop, &s->rd);
	close(s->rd.fd);
	s->rd.fd = -1;
}

void stream_hangup(struct stream *s, int err)
{
	stream_drop_input(s);
	stream_kill(s, err);
}

void stream_pause_input(struct stream *s)
{
	if (s->rd_paused)
		return;
	loop_fd_del(s->console->loop, &s->rd);
	s->rd_paused = true;
}

void stream_start_input(struct stream *s)
{
	int r;

	if (s->rd.fd < 0 || !s->rd_paused)
		return;
	s->rd_paused = false;
	r = s->rd_polled ? loop_fd_add(s->console->loop, &s->rd) : 0;
	if (r == -EPERM) {
		/* A regular file or the like: always readable, so it is read when the guest has room. */
		s->rd_polled = false;
	} else if (r) {
		log_warn("console %s: no input: %s", s->name, strerrordesc_np(-r));
		stream_drop_input(s);
		return;
	}
	if (!s->rd_polled)
		console_post_rx(s->console);
}

void stream_deliver(struct stream *s)
{
	struct console *c = s->console;

	if (!c->ops)
		return;
	while (s->in_off < s->in_len) {
		size_t n;

		/* Before the call: room that appears right after it must find us waiting. */
		__atomic_store_n(&c->stuck, true, __ATOMIC_SEQ_CST);
		n = c->ops->receive(c->opaque, s->input + s->in_off, s->in_len - s->in_off);
		if (n == 0)
			break;
		s->in_off += n;
	}
	if (s->in_off == s->in_len) {
		s->in_off = s->in_len = 0;
		stream_start_input(s);
	} else if (!s->keep_reading) {
		stream_pause_input(s);
	}
}

static void read_error(struct stream *s, int err)
{
	if (err == EAGAIN || err == EINTR)
		return;
	if (s->ops->read_failed && s->ops->read_failed(s, err))
		return;
	stream_drop_input(s);
}

/* One read; false when there is nothing (more) to read now. */
static bool read_some(struct stream *s)
{
	u8 spill[64], *to = s->input + s->in_len;
	size_t room = INPUT_SIZE - s->in_len;
	ssize_t n;

	/* What is typed beyond a full buffer is lost, but for the escape key. */
	if (room == 0) {
		to = spill;
		room = sizeof(spill);
	}
	n = read(s->rd.fd, to, room);
	if (n <= 0) {
		if (n == 0)
			stream_drop_input(s); /* end of input; output goes on */
		else
			read_error(s, errno);
		return false;
	}
	if (s->ops->filter)
		n = (ssize_t)s->ops->filter(s, to, (size_t)n);
	if (to != spill)
		s->in_len += (size_t)n;
	return true;
}

static void on_readable(void *opaque, u32 revents)
{
	struct stream *s = opaque;

	if (s->in_off > 0) {
		memmove(s->input, s->input + s->in_off, s->in_len - s->in_off);
		s->in_len -= s->in_off;
		s->in_off = 0;
	}
	read_some(s);
	stream_deliver(s);
}

/* For input that epoll does not take: reads until the guest's side is full, a bounded amount. */
void stream_pull(struct stream *s)
{
	for (unsigned i = 0; i < 16; i++) {
		stream_deliver(s);
		if (s->rd.fd < 0 || s->rd_polled || s->rd_paused || s->in_len > 0)
			return;
		if (!read_some(s))
			return;
	}
	console_post_rx(s->console);
}
