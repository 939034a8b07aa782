/*
 * Back ends that are a name in the file system: a log file and a character device.
 */
#include "base/log.h"
#include "console/mark.h"
#include "console/stream.h"
#include "console/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void hangup(struct stream *s, int err)
{
	stream_drop_input(s);
	stream_kill(s, err);
}

/* -- log=PATH ---------------------------------------------------------------------------------- */

static const struct stream_ops log_ops = {.hangup = hangup};

int log_open(struct console *c, const char *path, struct err *e)
{
	struct stream *s = stream_new(c, sizeof(*s), &log_ops);
	int fd, r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	snprintf(s->name, sizeof(s->name), "log=%s", path);
	/* Appended: the log of a machine that just died is what one wants to read. */
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
	if (fd < 0 && errno == ENXIO)
		return err_set(e, -ENXIO, "log=%s: nobody reads this pipe", path);
	if (fd < 0)
		return err_errno(e, -errno, "log=%s", path);
	r = stream_set_output(s, fd, WRITE_PLAIN);
	return r ? err_errno(e, r, "log=%s", path) : 0;
}

/* -- /dev/... ---------------------------------------------------------------------------------- */

struct device {
	struct stream s;
	struct tty *tty; /* NULL: no terminal */
	struct unmark marks;
};

/* A break comes before the bytes that were read with it. */
static size_t filter(struct stream *s, u8 *buf, size_t n)
{
	struct device *d = container_of(s, struct device, s);
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

static void close_device(struct stream *s)
{
	tty_close(container_of(s, struct device, s)->tty);
}

static const struct stream_ops device_ops = {
        .hangup = hangup, .filter = filter, .size = size, .close = close_device};

static int open_device(struct device *d, const char *path, struct err *e)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), wr, r;
	struct stat st;

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
