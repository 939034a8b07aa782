/*
 * A character device of the host: a terminal, or a serial port with a line of its own.
 *
 * What the guest's port puts on its line goes to the device's: speed and format, breaks, DTR and RTS. That is
 * done when all that was written before has gone, which a poll a few times a second sees; not for ever, since
 * somebody may hold the line. Linux has no way to wait for a change of modem lines without a thread for it,
 * so the same poll looks at them, too.
 */
#include "console/mark.h"
#include "console/stream.h"
#include "console/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PATIENCE 20 /* looks, for output that does not go out */

struct device {
	struct stream s;
	struct tty *tty; /* NULL: no terminal */
	struct unmark marks;
	bool modem;              /* it has modem lines */
	struct serial_line want; /* what the guest wants on the line, */
	struct serial_line have; /* and what is there */
	bool known;              /* something is: we put it there */
	unsigned patience;       /* 0: nothing to be done */
	bool pulse;              /* a break that the guest has ended before it began here */
	bool sending;            /* a break */
};

static struct device *device_of(struct stream *s)
{
	return container_of(s, struct device, s);
}

/* A break comes before the bytes that were read with it. */
static size_t filter(struct stream *s, u8 *buf, size_t n)
{
	struct device *d = device_of(s);
	struct console *c = s->console;
	unsigned breaks = 0;

	if (!d->tty)
		return n;
	n = unmark(&d->marks, buf, n, &breaks);
	if (breaks && c->ops && c->ops->brk)
		c->ops->brk(c->opaque);
	console_look_size(c);
	return n;
}

static bool size(struct stream *s, struct winsize *size)
{
	return s->rd.fd >= 0 && stream_winsize(s->rd.fd, size);
}

/* -- the line ---------------------------------------------------------------------------------- */

static bool modem(struct stream *s, u8 *lines)
{
	int bits;

	if (s->wr.fd < 0 || ioctl(s->wr.fd, TIOCMGET, &bits) < 0)
		return false;
	*lines = 0;
	*lines |= bits & TIOCM_CTS ? MODEM_CTS : 0;
	*lines |= bits & TIOCM_DSR ? MODEM_DSR : 0;
	*lines |= bits & TIOCM_RI ? MODEM_RI : 0;
	*lines |= bits & TIOCM_CD ? MODEM_DCD : 0;
	return true;
}

static bool output_waits(struct stream *s)
{
	int queued = 0;
	bool waits;

	pthread_mutex_lock(&s->console->lock);
	waits = s->head != s->tail;
	pthread_mutex_unlock(&s->console->lock);
	return waits || (ioctl(s->wr.fd, TIOCOUTQ, &queued) == 0 && queued > 0);
}

static void put_modem(struct device *d, int bit, bool on, bool was)
{
	if (d->modem && (on != was || !d->known))
		ioctl(d->s.wr.fd, on ? TIOCMBIS : TIOCMBIC, &bit);
}

static void put_break(struct device *d, bool on)
{
	if (on != d->sending)
		ioctl(d->s.wr.fd, on ? TIOCSBRK : TIOCCBRK);
	d->sending = on;
}

static void put_line(struct device *d)
{
	if (d->tty)
		tty_set_line(d->tty, &d->want);
	put_modem(d, TIOCM_DTR, d->want.dtr, d->have.dtr);
	put_modem(d, TIOCM_RTS, d->want.rts, d->have.rts);
	put_break(d, d->want.brk || d->pulse);
	d->have = d->want;
	d->known = true;
	d->patience = 0;
}

/* Puts it there now, or looks again soon. */
static void try_line(struct device *d)
{
	if (d->s.wr.fd < 0 || !d->patience)
		return;
	if (--d->patience && output_waits(&d->s))
		stream_poll_later(&d->s);
	else
		put_line(d);
	if (d->pulse && !d->patience)
		stream_poll_later(&d->s); /* its end */
}

static void line(struct stream *s, const struct serial_line *line, bool broke)
{
	struct device *d = device_of(s);

	d->pulse |= !line->brk && (broke || (d->want.brk && !d->sending));
	d->want = *line;
	d->patience = PATIENCE;
	try_line(d);
}

static void look(struct stream *s)
{
	struct device *d = device_of(s);

	if (s->wr.fd < 0)
		return;
	if (d->pulse && d->sending && !d->patience) {
		d->pulse = false;
		put_break(d, d->want.brk);
	}
	try_line(d);
	if (d->modem) {
		console_look_modem(s->console);
		stream_poll_later(s);
	}
}

/* -- life -------------------------------------------------------------------------------------- */

static void close_device(struct stream *s)
{
	tty_close(device_of(s)->tty);
}

static const struct stream_ops device_ops = {.hangup = stream_hangup,
        .filter = filter,
        .poll = look,
        .size = size,
        .modem = modem,
        .line = line,
        .close = close_device};

static int open_device(struct device *d, const char *path, struct err *e)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), wr, r;
	struct stat st;
	u8 lines;

	if (fd < 0)
		return err_errno(e, -errno, "%s", path);
	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode)) {
		close(fd);
		return err_set(e, -ENOTTY, "%s: not a character device (for a file: log=%s)", path, path);
	}
	wr = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (wr < 0) {
		r = err_errno(e, -errno, "%s", path);
		close(fd);
		return r;
	}
	stream_set_input(&d->s, fd);
	r = stream_set_output(&d->s, wr, WRITE_PLAIN);
	if (r)
		return err_errno(e, r, "%s", path);
	d->tty = tty_open(fd, true);
	d->modem = modem(&d->s, &lines);
	if (d->modem)
		stream_poll_later(&d->s);
	return 0;
}

int device_open(struct console *c, const char *path, struct err *e)
{
	struct device *d = (struct device *)stream_new(c, sizeof(*d), &device_ops);

	if (!d)
		return err_set(e, -ENOMEM, "out of memory");
	snprintf(d->s.name, sizeof(d->s.name), "%s", path);
	d->s.line = true;
	return open_device(d, path, e);
}
