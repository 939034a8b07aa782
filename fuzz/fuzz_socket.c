/*
 * The socket network between a card and another side that sends any bytes in pieces of any size, reads when
 * it likes, and comes and goes. It holds that the card gets exactly the frames of the byte stream, up to the
 * first length that is none, where the connection ends; that the other side gets exactly the card's frames;
 * that a card without room and a side that does not read lose nothing; and that the port lives on.
 */
#include "input.h"

#include "base/log.h"
#include "net/port.h"
#include "standalone.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_MAX (1u << 20)
#define LENGTH 4u

/* What one direction of a connection should carry. */
struct stream {
	u8 data[STREAM_MAX];
	u32 len, at;
};

struct cable {
	struct net_client client;
	struct net_port *port;
	struct sockaddr_un addr;
	int fd;
	bool up, full;
	struct stream in, out; /* to the card; from it */
	u32 wish;              /* length of the frame to send, 0: none */
	u8 frame[NET_FRAME_MAX];
};

static u32 length_at(const struct stream *s)
{
	u32 len;

	memcpy(&len, s->data + s->at, sizeof(len));
	return ntohl(len);
}

/* Is a whole frame next, or a length that is none? */
static bool frame_next(const struct stream *s)
{
	u32 len;

	if (s->len - s->at < LENGTH)
		return false;
	len = length_at(s);
	return len >= NET_FRAME_MIN && len <= NET_FRAME_MAX && s->len - s->at >= LENGTH + len;
}

static bool ends_here(const struct stream *s)
{
	return s->len - s->at >= LENGTH && (length_at(s) < NET_FRAME_MIN || length_at(s) > NET_FRAME_MAX);
}

/* --- the card --- */

static bool deliver(void *opaque, const struct net_frame *f)
{
	struct cable *c = opaque;

	if (c->full)
		return false;
	check(frame_next(&c->in) && f->len == length_at(&c->in) && f->niov == 1 && !f->meta.flags &&
	        !f->meta.gso);
	check(memcmp(f->iov->iov_base, c->in.data + c->in.at + LENGTH, f->len) == 0);
	c->in.at += LENGTH + f->len;
	return true;
}

static bool transmit(void *opaque)
{
	struct cable *c = opaque;
	const struct iovec iov[2] = {{c->frame, 5}, {c->frame + 5, c->wish - 5}};
	const struct net_frame f = {.iov = iov, .niov = 2, .len = c->wish};
	const u32 len = htonl(c->wish);

	if (!c->wish || net_send(c->port, &f) == -EAGAIN)
		return false;
	if (c->up) {
		memcpy(c->out.data + c->out.len, &len, sizeof(len));
		memcpy(c->out.data + c->out.len + LENGTH, c->frame, c->wish);
		c->out.len += LENGTH + c->wish;
	}
	c->wish = 0;
	return false;
}

static void link_is(void *opaque, bool up)
{
	struct cable *c = opaque;

	c->up = up;
}

/* --- the other side --- */

/* What there is to read is what the card sent. False: nothing now. */
static bool read_some(struct cable *c, u32 most)
{
	static u8 buf[65536];
	ssize_t n = recv(c->fd, buf, MIN(most, (u32)sizeof(buf)), MSG_DONTWAIT);

	if (n <= 0)
		return false;
	check((u32)n <= c->out.len - c->out.at && memcmp(buf, c->out.data + c->out.at, (size_t)n) == 0);
	c->out.at += (u32)n;
	return true;
}

static void write_some(struct cable *c, const u8 *data, u32 len)
{
	ssize_t n;

	if (len > STREAM_MAX - c->in.len)
		return;
	/* First the model: the port's turn comes later, but it must know what may be delivered. */
	memcpy(c->in.data + c->in.len, data, len);
	n = send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	c->in.len += n > 0 ? (u32)n : 0;
}

static void connect_again(struct cable *c)
{
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(connect(c->fd, (const struct sockaddr *)&c->addr, sizeof(c->addr)) == 0);
	c->in.len = c->in.at = c->out.len = c->out.at = 0;
	for (unsigned n = 0; n < 100 && !c->up; n++)
		net_step(c->port, 10);
	check(c->up);
}

/* Everything arrives when both sides have room, and the end is seen. */
static void finish(struct cable *c)
{
	c->full = false;
	net_resume(c->port);
	net_step(c->port, 0);
	for (unsigned n = 0; n < 10000 && c->up &&
	                     (c->wish || frame_next(&c->in) || ends_here(&c->in) || c->out.at < c->out.len);
	        n++) {
		read_some(c, UINT32_MAX);
		net_step(c->port, c->out.at < c->out.len ? 0 : 1);
	}
	check(!frame_next(&c->in));
	check(c->up ? c->out.at == c->out.len && !ends_here(&c->in) : ends_here(&c->in));
	close(c->fd);
	for (unsigned n = 0; n < 100 && c->up; n++)
		net_step(c->port, 10);
	check(!c->up);
	c->wish = 0;
}

/* --- steps --- */

/* A length and as many bytes of the frame as wanted. */
static void write_frame(struct cable *c, struct input *in)
{
	static u8 buf[LENGTH + NET_FRAME_MAX];
	u64 how = take(in, 1);
	u32 claim = (u32)take(in, how & 1 ? 4 : 1);
	u32 len = MIN(claim, NET_FRAME_MAX) / (how & 2 ? 2 : 1);
	u32 wire = htonl(claim);

	memcpy(buf, &wire, sizeof(wire));
	memset(buf + LENGTH, (int)(how >> 2), len);
	write_some(c, buf, LENGTH + len);
}

static void write_bytes(struct cable *c, struct input *in)
{
	u8 buf[16];
	u32 len = (u32)take(in, 1) % (sizeof(buf) + 1);

	for (u32 n = 0; n < len; n++)
		buf[n] = (u8)take(in, 1);
	write_some(c, buf, len);
}

static void wish(struct cable *c, struct input *in)
{
	u64 how = take(in, 1), len = take(in, 2) << (how & 1);

	if (c->wish || c->out.len > STREAM_MAX - LENGTH - NET_FRAME_MAX)
		return;
	c->wish = MIN(MAX((u32)len, NET_FRAME_MIN), NET_FRAME_MAX);
	memset(c->frame, (int)how, c->wish);
	net_kick(c->port);
}

static void step(struct cable *c, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 7) {
	case 0:
	case 1: write_frame(c, in); break;
	case 2: write_bytes(c, in); break;
	case 3: wish(c, in); break;
	case 4: c->full = true; break;
	case 5:
		c->full = false;
		net_resume(c->port);
		break;
	case 6: read_some(c, (u32)take(in, 2)); break;
	default:
		if (op & 0x80) {
			finish(c);
			connect_again(c);
		}
	}
	if (op & 8)
		net_step(c->port, 0);
}

/* One port for all inputs. */
static struct cable *cable(void)
{
	static struct cable *c;
	struct net_spec *spec;
	char config[200];
	struct err e;

	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	spec = malloc(sizeof(*spec));
	check(c && spec);
	c->client =
	        (struct net_client){.opaque = c, .deliver = deliver, .transmit = transmit, .link = link_is};
	c->addr.sun_family = AF_UNIX;
	snprintf(c->addr.sun_path, sizeof(c->addr.sun_path), "/tmp/xhyve-fuzz-%d", getpid());
	snprintf(config, sizeof(config), "socket,listen=%s", c->addr.sun_path);
	check(net_parse(spec, config, &e) == 0 && net_open(&c->port, spec, &e) == 0);
	free(spec);
	net_attach(c->port, &c->client);
	return c;
}

static void end(void)
{
	struct cable *c = cable();

	net_close(c->port);
	free(c);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	static bool ready;
	struct input in = {.data = data, .left = len};
	struct cable *c = cable();

	if (!ready) {
		log_set_level(LOG_ERROR);
		atexit(end);
		ready = true;
	}
	connect_again(c);
	while (in.left)
		step(c, &in);
	finish(c);
	return 0;
}

/* --- seeds --- */

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const u8 seeds[][40] = {
	        {8, 4, 60, 9, 1, 100, 0, 0, 0, 11, 1, 200, 0, 14, 0xff, 0xff, 12, 8, 4, 20, 13},
	        {10, 4, 0, 0, 0, 20, 10, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 10, 4, 17,
	                18, 19, 20},
	        {8, 1, 0xf1, 0xff, 0, 0, 8, 1, 0x11, 0, 1, 0, 12, 8, 4, 60, 13},
	        {10, 4, 0xff, 0xff, 0xff, 0xff, 0x8f, 8, 4, 100, 0x8f, 10, 4, 0, 0, 0, 13},
	        {12, 8, 1, 0, 0x80, 0, 0, 8, 1, 0, 0x80, 0, 0, 8, 1, 0, 0x80, 0, 0, 13, 11, 1, 0, 0xff, 11, 1,
	                0, 0xff},
	};

	if (n >= ARRAY_SIZE(seeds) || cap < sizeof(seeds[0]))
		return 0;
	memcpy(buf, seeds[n], sizeof(seeds[0]));
	return sizeof(seeds[0]);
}
