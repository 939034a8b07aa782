/*
 * The front door: one console with its streams. Callbacks of the guest's side are called on the loop
 * thread without the lock; what other threads want done there is posted, at most one callback of
 * each sort at a time. Every posted callback holds a reference, so that a console can be closed
 * while one is under way.
 */
#include "base/log.h"
#include "console/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void unref(struct console *c)
{
	bool last;

	pthread_mutex_lock(&c->lock);
	last = --c->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Posts fn unless *flag says that it is posted already. */
static void post(struct console *c, bool *flag, void (*fn)(void *))
{
	bool already;

	pthread_mutex_lock(&c->lock);
	already = *flag || c->closed;
	if (!already) {
		*flag = true;
		c->refs++;
	}
	pthread_mutex_unlock(&c->lock);
	if (already || loop_post(c->loop, fn, c) == 0)
		return;
	/* No memory at this moment: the next write or read asks again. */
	pthread_mutex_lock(&c->lock);
	*flag = false;
	pthread_mutex_unlock(&c->lock);
	unref(c);
}

/* Takes the request; false if the console was closed meanwhile. */
static bool begin_posted(struct console *c, bool *flag)
{
	bool open;

	pthread_mutex_lock(&c->lock);
	*flag = false;
	open = !c->closed;
	pthread_mutex_unlock(&c->lock);
	return open;
}

/* -- output ------------------------------------------------------------------------------------ */

/* Room that every reader has; the ring of a stream without reader always has room. Lock held. */
static size_t room(const struct console *c)
{
	size_t least = RING_SIZE;

	for (unsigned i = 0; i < c->count; i++) {
		const struct stream *s = c->stream[i];

		if (s->connected && !s->dead)
			least = MIN(least, (size_t)(RING_SIZE - (s->head - s->tail)));
	}
	return least;
}

void console_drain(struct console *c)
{
	bool tell;

	for (unsigned i = 0; i < c->count; i++)
		stream_drain(c->stream[i]);
	pthread_mutex_lock(&c->lock);
	tell = c->starved && room(c) >= RING_SIZE / 2;
	if (tell)
		c->starved = false;
	pthread_mutex_unlock(&c->lock);
	if (tell && c->ops && c->ops->ready)
		c->ops->ready(c->opaque);
}

static void on_drain(void *opaque)
{
	struct console *c = opaque;

	if (begin_posted(c, &c->drain_posted))
		console_drain(c);
	unref(c);
}

void console_post_drain(struct console *c)
{
	post(c, &c->drain_posted, on_drain);
}

static void ring_put(struct stream *s, const u8 *buf, size_t len)
{
	if (len > RING_SIZE) {
		buf += len - RING_SIZE;
		len = RING_SIZE;
	}
	for (size_t done = 0; done < len;) {
		u32 at = s->head % RING_SIZE;
		size_t n = MIN(len - done, (size_t)(RING_SIZE - at));

		memcpy(s->ring + at, buf + done, n);
		s->head += (u32)n;
		done += n;
	}
	if (s->head - s->tail > RING_SIZE) /* only without reader: the oldest bytes go */
		s->tail = s->head - RING_SIZE;
}

/* Lock held. True if the loop thread must be told. */
static bool put_all(struct console *c, const u8 *buf, size_t len)
{
	bool tell = false;

	for (unsigned i = 0; i < c->count; i++) {
		struct stream *s = c->stream[i];

		if (s->dead)
			continue;
		ring_put(s, buf, len);
		tell |= s->connected && !s->waiting;
	}
	return tell;
}

size_t console_write(struct console *c, const u8 *buf, size_t len)
{
	size_t take = len;
	bool tell, limited = false;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->count; i++)
		limited |= c->stream[i]->connected && !c->stream[i]->dead;
	if (limited)
		take = MIN(len, room(c));
	tell = put_all(c, buf, take);
	if (take < len)
		c->starved = true;
	pthread_mutex_unlock(&c->lock);
	if (tell)
		console_post_drain(c);
	return take;
}

/* -- input ------------------------------------------------------------------------------------- */

static void on_rx(void *opaque)
{
	struct console *c = opaque;

	if (begin_posted(c, &c->rx_posted)) {
		bool left = false;

		for (unsigned i = 0; i < c->count; i++) {
			stream_pull(c->stream[i]);
			left |= c->stream[i]->in_len > 0;
		}
		if (!left)
			__atomic_store_n(&c->stuck, false, __ATOMIC_SEQ_CST);
	}
	unref(c);
}

void console_post_rx(struct console *c)
{
	post(c, &c->rx_posted, on_rx);
}

void console_rx_ready(struct console *c)
{
	if (__atomic_load_n(&c->stuck, __ATOMIC_SEQ_CST))
		console_post_rx(c);
}

/* -- who is there ------------------------------------------------------------------------------ */

static bool nobody(struct console *c)
{
	bool lines = false, there = false;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->count; i++) {
		const struct stream *s = c->stream[i];

		lines |= s->line;
		there |= s->line && s->connected && !s->dead;
	}
	pthread_mutex_unlock(&c->lock);
	return lines && !there;
}

void console_look_carrier(struct console *c)
{
	bool alone = nobody(c);

	if (!c->ops || alone == c->alone)
		return;
	c->alone = alone;
	if (c->ops->carrier)
		c->ops->carrier(c->opaque, !alone);
}

bool stream_winsize(int fd, struct winsize *size)
{
	return ioctl(fd, TIOCGWINSZ, size) == 0 && size->ws_col && size->ws_row;
}

void console_look_size(struct console *c)
{
	struct winsize now = c->size;
	bool known = false;

	for (unsigned i = 0; i < c->count && !known; i++)
		known = c->stream[i]->ops->size && c->stream[i]->ops->size(c->stream[i], &now);
	if (!known || !c->ops || (now.ws_col == c->size.ws_col && now.ws_row == c->size.ws_row))
		return;
	c->size = now;
	if (c->ops->resized)
		c->ops->resized(c->opaque, now.ws_col, now.ws_row);
}

void console_look_modem(struct console *c)
{
	u8 lines;

	for (unsigned i = 0; i < c->count; i++) {
		struct stream *s = c->stream[i];

		if (!s->ops->modem || !s->ops->modem(s, &lines))
			continue;
		if (c->ops && c->ops->modem && c->modem != lines)
			c->ops->modem(c->opaque, lines);
		c->modem = lines;
		return;
	}
}

/* -- what the guest puts on the line ------------------------------------------------------------ */

static void on_line(void *opaque)
{
	struct console *c = opaque;

	if (begin_posted(c, &c->line_posted)) {
		struct serial_line line;
		bool broke;

		pthread_mutex_lock(&c->lock);
		line = c->line;
		broke = c->broke;
		c->broke = false;
		pthread_mutex_unlock(&c->lock);
		for (unsigned i = 0; i < c->count; i++)
			if (c->stream[i]->ops->line)
				c->stream[i]->ops->line(c->stream[i], &line, broke);
	}
	unref(c);
}

void console_set_line(struct console *c, const struct serial_line *line)
{
	pthread_mutex_lock(&c->lock);
	c->broke |= line->brk && !c->line.brk;
	c->line = *line;
	pthread_mutex_unlock(&c->lock);
	post(c, &c->line_posted, on_line);
}

/* -- attaching ---------------------------------------------------------------------------------- */

void console_attach(struct console *c, const struct console_ops *ops, void *opaque)
{
	c->ops = ops;
	c->opaque = opaque;
	c->modem = -1;
	console_look_carrier(c);
	console_look_modem(c);
	console_look_size(c);
	for (unsigned i = 0; i < c->count; i++)
		stream_start_input(c->stream[i]);
}

/* -- open and close ---------------------------------------------------------------------------- */

static int open_item(struct console *c, const struct spec_item *item, struct err *e)
{
	switch (item->kind) {
	case SPEC_STDIO: return stdio_open(c, e);
	case SPEC_NULL: return 0;
	case SPEC_AUTOPTY: return pty_open(c, item->path, e);
	case SPEC_LOG: return log_open(c, item->path, e);
	case SPEC_UNIX: return unix_open(c, item->path, e);
	case SPEC_DEVICE: return device_open(c, item->path, e);
	}
	return err_set(e, -EINVAL, "console: back end %d", (int)item->kind);
}

static void make_name(struct console *c)
{
	size_t len = 0;

	if (c->count == 0)
		snprintf(c->name, sizeof(c->name), "null");
	for (unsigned i = 0; i < c->count && len < sizeof(c->name); i++)
		len += (size_t)snprintf(
		        c->name + len, sizeof(c->name) - len, "%s%s", i ? "," : "", c->stream[i]->name);
}

static void destroy_streams(struct console *c)
{
	while (c->count > 0)
		stream_destroy(c->stream[--c->count]);
}

static int open_items(struct console *c, const struct spec *spec, struct err *e)
{
	for (unsigned i = 0; i < spec->count; i++) {
		int r = open_item(c, &spec->item[i], e);

		if (r)
			return r;
	}
	return 0;
}

static struct console *console_new(struct loop *loop, struct err *e)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c) {
		err_set(e, -ENOMEM, "out of memory");
		return NULL;
	}
	c->loop = loop;
	c->refs = 1;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

/* Hands the console out, or closes it when r says that a back end failed. */
static int console_finish(struct console **out, struct console *c, int r)
{
	if (r) {
		console_close(c);
		return r;
	}
	make_name(c);
	*out = c;
	return 0;
}

int console_open(struct console **out, struct loop *loop, const char *text, struct err *e)
{
	struct console *c;
	struct spec spec;
	int r = spec_parse(text, &spec, e);

	if (r)
		return r;
	c = console_new(loop, e);
	r = c ? console_finish(out, c, open_items(c, &spec, e)) : -ENOMEM;
	spec_free(&spec);
	return r;
}

int console_open_tcp(struct console **out, struct loop *loop, u16 port, struct err *e)
{
	struct console *c = console_new(loop, e);

	return c ? console_finish(out, c, tcp_open(c, port, e)) : -ENOMEM;
}

void console_close(struct console *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->count; i++)
		stream_drain_wait(c->stream[i]);
	destroy_streams(c);
	pthread_mutex_lock(&c->lock);
	c->closed = true;
	pthread_mutex_unlock(&c->lock);
	unref(c);
}

const char *console_name(const struct console *c)
{
	return c->name;
}
