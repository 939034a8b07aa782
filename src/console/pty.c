/*
 * A new pseudo terminal. The kernel reports a hang-up on our side as long as nobody has the other
 * side open, but not when somebody opens it; so a timer looks four times a second until then. While
 * nobody is there the ring keeps the newest output, and whoever attaches sees it first.
 *
 * autopty=PATH writes the terminal's name to the file PATH (no newline: scripts and programs read it
 * as a name). A file that holds anything but a terminal's name is not overwritten.
 */
#include "base/log.h"
#include "console/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

struct pty {
	struct stream s;
	int master;
	char *path; /* of the name's file, or NULL */
	dev_t dev;  /* of that file, to remove only our own */
	ino_t ino;
};

static void hangup(struct stream *s, int err)
{
	stream_set_connected(s, false);
	stream_drop_input(s);
	stream_drop_output(s);
	stream_poll_later(s);
}

static bool read_failed(struct stream *s, int err)
{
	hangup(s, err);
	return true;
}

/* Somebody opened the other side. */
static int connect_reader(struct pty *p)
{
	int rd = fcntl(p->master, F_DUPFD_CLOEXEC, 3), wr = fcntl(p->master, F_DUPFD_CLOEXEC, 3);
	int r;

	if (rd < 0 || wr < 0) {
		r = -errno;
		if (rd >= 0)
			close(rd);
		if (wr >= 0)
			close(wr);
		return r;
	}
	stream_set_input(&p->s, rd);
	return stream_set_output(&p->s, wr, WRITE_PLAIN);
}

/* The kernel tells nobody of a size that was set on the other side: whoever types there has set it. */
static size_t look_size(struct stream *s, u8 *buf, size_t n)
{
	console_look_size(s->console);
	return n;
}

static bool size(struct stream *s, struct winsize *size)
{
	return s->connected && stream_winsize(container_of(s, struct pty, s)->master, size);
}

static void look(struct stream *s)
{
	struct pty *p = container_of(s, struct pty, s);
	struct pollfd pf = {.fd = p->master, .events = POLLIN};

	if (poll(&pf, 1, 0) < 0 || (pf.revents & POLLHUP) || connect_reader(p)) {
		stream_poll_later(s);
		return;
	}
	console_look_size(s->console);
	console_drain(s->console);
}

static void close_pty(struct stream *s)
{
	struct pty *p = container_of(s, struct pty, s);
	struct stat st;

	if (p->path && lstat(p->path, &st) == 0 && st.st_dev == p->dev && st.st_ino == p->ino)
		unlink(p->path);
	free(p->path);
	if (p->master >= 0)
		close(p->master);
}

static const struct stream_ops pty_ops = {
        .hangup = hangup,
        .read_failed = read_failed,
        .filter = look_size,
        .poll = look,
        .size = size,
        .close = close_pty,
};

/* Raw from the start, so that nothing is echoed back into the guest before somebody attaches. */
static int make_raw(const char *name)
{
	int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;
	int r = 0;

	if (slave < 0)
		return -errno;
	if (tcgetattr(slave, &t) < 0) {
		r = -errno;
	} else {
		cfmakeraw(&t);
		if (tcsetattr(slave, TCSANOW, &t) < 0)
			r = -errno;
	}
	close(slave); /* from here on the master reports a hang-up */
	return r;
}

static int open_master(struct pty *p, struct err *e)
{
	int r;

	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (p->master < 0)
		return err_errno(e, -errno, "autopty: cannot get a pseudo terminal");
	if (grantpt(p->master) < 0 || unlockpt(p->master) < 0)
		return err_errno(e, -errno, "autopty: cannot unlock the pseudo terminal");
	r = ptsname_r(p->master, p->s.name, sizeof(p->s.name));
	if (r)
		return err_errno(e, -r, "autopty: the pseudo terminal has no name");
	r = make_raw(p->s.name);
	if (r)
		return err_errno(e, r, "autopty: %s", p->s.name);
	return 0;
}

/* The file in the way may go if it is empty or an earlier run's. */
static bool replaceable(int fd)
{
	char text[64];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size >= (off_t)sizeof(text))
		return false;
	n = pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return n == 0;
	text[n] = 0;
	return strncmp(text, "/dev/", 5) == 0 && !strchr(text, ' ');
}

static int write_name(struct pty *p, const char *path, struct err *e)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0644);
	size_t len = strlen(p->s.name);
	struct stat st;
	int r = 0;

	if (fd < 0)
		return err_errno(e, -errno, "autopty=%s", path);
	if (!replaceable(fd)) {
		r = err_set(e, -EEXIST, "autopty=%s: exists and does not hold the name of a terminal", path);
	} else if (ftruncate(fd, 0) < 0 || pwrite(fd, p->s.name, len, 0) != (ssize_t)len ||
	           fstat(fd, &st) < 0) {
		r = err_errno(e, -errno, "autopty=%s", path);
	} else {
		p->dev = st.st_dev;
		p->ino = st.st_ino;
		p->path = strdup(path);
	}
	close(fd);
	return r;
}

int pty_open(struct console *c, const char *path, struct err *e)
{
	struct pty *p = (struct pty *)stream_new(c, sizeof(*p), &pty_ops);
	int r;

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->master = -1;
	p->s.line = true;
	r = open_master(p, e);
	if (!r && path)
		r = write_name(p, path, e);
	if (r)
		return r;
	log_info("console on %s", p->s.name);
	stream_poll_later(&p->s);
	return 0;
}
