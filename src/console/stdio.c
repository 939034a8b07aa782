/*
 * Standard input and output.
 *
 * O_NONBLOCK belongs to the open file description, which we share with the shell and everybody else
 * on the terminal, so it is never set there: terminals and pipes are opened once more by way of
 * /proc/self/fd, which gives a description of our own; sockets are written with MSG_DONTWAIT; regular
 * files do not block. Where opening again is refused, the shared descriptor is used with care.
 *
 * A terminal on standard input is put into raw mode, and Ctrl-] is looked for in what is typed. While
 * we are a background job the terminal is not read, until a timer sees us in the foreground again.
 */
#include "base/log.h"
#include "console/stream.h"
#include "console/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ESCAPE 0x1d /* Ctrl-] */

struct stdio {
	struct stream s;
	struct tty *tty; /* NULL: standard input is no terminal */
	bool escaped;    /* the last byte was the escape key */
};

/* One owner of descriptors 0 and 1 in this process. */
static bool taken;

/* -- escape key -------------------------------------------------------------------------------- */

static void help(void)
{
	log_info("Ctrl-] then: q quit, b send a break, z suspend, ? this help, Ctrl-] sends itself");
}

static void suspend(struct stdio *o)
{
	tty_suspend();
	/* If nothing stopped us (nobody could continue us) or before SIGCONT came: look again later. */
	stream_poll_later(&o->s);
}

/* The key after the escape. True if a byte goes to the guest. */
static bool command(struct stdio *o, u8 key)
{
	struct console *c = o->s.console;

	switch (key) {
	case ESCAPE: return true;
	case 'q':
	case 'Q':
		if (c->ops->quit)
			c->ops->quit(c->opaque);
		break;
	case 'b':
	case 'B':
		if (c->ops->brk)
			c->ops->brk(c->opaque);
		break;
	case 'z':
	case 'Z': suspend(o); break;
	default: help();
	}
	return false;
}

static size_t filter(struct stream *s, u8 *buf, size_t n)
{
	struct stdio *o = container_of(s, struct stdio, s);
	size_t kept = 0;

	if (!o->tty)
		return n;
	for (size_t i = 0; i < n; i++) {
		bool keep = true;

		if (o->escaped) {
			o->escaped = false;
			keep = command(o, buf[i]);
		} else if (buf[i] == ESCAPE) {
			o->escaped = true;
			keep = false;
		}
		if (keep)
			buf[kept++] = buf[i];
	}
	return kept;
}

/* -- job control ------------------------------------------------------------------------------- */

static void look_again(struct stream *s)
{
	struct stdio *o = container_of(s, struct stdio, s);

	if (!tty_poll(o->tty))
		stream_poll_later(s);
	else if (s->console->ops)
		stream_start_input(s);
}

static bool read_failed(struct stream *s, int err)
{
	struct stdio *o = container_of(s, struct stdio, s);

	/* With SIGTTIN ignored, reading as a background job fails with EIO. */
	if (!o->tty || err != EIO || tty_foreground(STDIN_FILENO))
		return false;
	stream_pause_input(s);
	stream_poll_later(s);
	return true;
}

/* -- open and close ---------------------------------------------------------------------------- */

static void hangup(struct stream *s, int err)
{
	stream_kill(s, err);
}

static bool size(struct stream *s, struct winsize *size)
{
	return stream_winsize(STDIN_FILENO, size) || stream_winsize(STDOUT_FILENO, size);
}

static void close_stdio(struct stream *s)
{
	struct stdio *o = container_of(s, struct stdio, s);

	tty_close(o->tty);
	__atomic_store_n(&taken, false, __ATOMIC_RELEASE);
}

static const struct stream_ops stdio_ops = {
        .hangup = hangup,
        .filter = filter,
        .read_failed = read_failed,
        .poll = look_again,
        .size = size,
        .close = close_stdio,
};

/* Opening the master of a pseudo terminal again would make a new terminal. */
static bool reopens(int fd, mode_t mode)
{
	unsigned number;

	if (S_ISFIFO(mode))
		return true;
	return S_ISCHR(mode) && isatty(fd) && ioctl(fd, TIOCGPTN, &number) < 0;
}

/* A descriptor of our own for fd; -1 if there is no such file. */
static int own_descriptor(int fd, int flags, enum write_mode *mode)
{
	char path[32];
	struct stat st;
	int own;

	if (fstat(fd, &st) < 0)
		return -1;
	*mode = S_ISREG(st.st_mode) ? WRITE_PLAIN : S_ISSOCK(st.st_mode) ? WRITE_SOCKET : WRITE_SHARED;
	if (reopens(fd, st.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (own >= 0) {
			*mode = WRITE_PLAIN;
			return own;
		}
	}
	return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static int open_descriptors(struct stream *s)
{
	enum write_mode mode;
	int fd = own_descriptor(STDOUT_FILENO, O_WRONLY, &mode), r = 0;

	/* A closed descriptor is like /dev/null: ">&-" is a way to say so. */
	s->line = fd >= 0;
	if (fd >= 0)
		r = stream_set_output(s, fd, mode);
	if (r)
		return r;
	fd = own_descriptor(STDIN_FILENO, O_RDONLY, &mode);
	return fd >= 0 ? stream_set_input(s, fd) : 0;
}

int stdio_open(struct console *c, struct err *e)
{
	struct stdio *o;
	int r;

	if (__atomic_exchange_n(&taken, true, __ATOMIC_ACQ_REL))
		return err_set(e, -EBUSY, "stdio is already used by another console");
	o = (struct stdio *)stream_new(c, sizeof(*o), &stdio_ops);
	if (!o) {
		__atomic_store_n(&taken, false, __ATOMIC_RELEASE);
		return err_set(e, -ENOMEM, "out of memory");
	}
	snprintf(o->s.name, sizeof(o->s.name), "stdio");
	r = open_descriptors(&o->s);
	if (r)
		return err_errno(e, r, "stdio");
	o->tty = tty_open(STDIN_FILENO, false);
	o->s.keep_reading = o->tty != NULL;
	if (!o->tty)
		return 0;
	if (tty_foreground(STDIN_FILENO))
		log_info("Ctrl-] ? for help");
	else
		stream_poll_later(&o->s);
	return 0;
}
