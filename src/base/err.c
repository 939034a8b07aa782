/*
 * Errors with words. The text is one line: control characters that came in with a path or a value
 * are shown as '?', so that a strange file name cannot garble the terminal.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void make_printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
	}
}

static void set_text(struct err *e, const char *fmt, va_list ap)
{
	if (vsnprintf(e->text, sizeof(e->text), fmt, ap) < 0)
		e->text[0] = 0;
	make_printable(e->text);
}

int(err_set)(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_text(e, fmt, ap);
	va_end(ap);
	e->code = code;
	e->status = EXIT_FAILED;
	return code;
}

int(err_errno)(struct err *e, int code, const char *fmt, ...)
{
	char buf[128];
	size_t used;
	va_list ap;

	va_start(ap, fmt);
	set_text(e, fmt, ap);
	va_end(ap);
	used = strlen(e->text);
	/* GNU strerror_r: thread-safe, may return a constant instead of buf. */
	snprintf(e->text + used, sizeof(e->text) - used, ": %s", strerror_r(-code, buf, sizeof(buf)));
	e->code = code;
	e->status = EXIT_FAILED;
	return code;
}

int(err_usage)(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_text(e, fmt, ap);
	va_end(ap);
	e->code = -EINVAL;
	e->status = EXIT_BADUSE;
	return -EINVAL;
}
