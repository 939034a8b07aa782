/*
 * A log file.
 */
#include "base/log.h"
#include "console/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static const struct stream_ops log_ops = {.hangup = stream_hangup};

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
