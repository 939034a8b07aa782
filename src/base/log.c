/*
 * Messages. Every line is formatted into a buffer on the stack and leaves in one write(2), so that
 * lines of several threads do not mix and nothing is buffered when the process dies. The level, the
 * raw flag and the hook are the only process-wide state: stderr is process-wide, too.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PREFIX "xhyve: "
#define LINE_MAX_LEN 1024
#define LIMIT_LINES 10

static enum log_level max_level = LOG_INFO;
static bool raw_mode;
static void (*abort_hook)(void);

void log_set_level(enum log_level max)
{
	__atomic_store_n(&max_level, max, __ATOMIC_RELAXED);
}

void log_set_raw(bool raw)
{
	__atomic_store_n(&raw_mode, raw, __ATOMIC_RELAXED);
}

void log_set_abort_hook(void (*hook)(void))
{
	__atomic_store_n(&abort_hook, hook, __ATOMIC_RELEASE);
}

/* stderr may be non-blocking because somebody else made it so: wait a little, then give up the line. */
static void write_stderr(const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, buf, len);
		struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			if (poll(&p, 1, 1000) <= 0)
				return;
		} else if (n == 0 || errno != EINTR) {
			return;
		}
	}
}

static void emit(const char *fmt, va_list ap)
{
	char line[LINE_MAX_LEN + 2] = PREFIX;
	size_t len = sizeof(PREFIX) - 1;
	int saved = errno;
	int n = vsnprintf(line + len, LINE_MAX_LEN - len, fmt, ap);

	if (n > 0)
		len = MIN(len + (size_t)n, (size_t)LINE_MAX_LEN - 1);
	if (__atomic_load_n(&raw_mode, __ATOMIC_RELAXED))
		line[len++] = '\r';
	line[len++] = '\n';
	write_stderr(line, len);
	errno = saved;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > __atomic_load_n(&max_level, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	emit(fmt, ap);
	va_end(ap);
}

static PRINTF_LIKE(1, 2) void emit_text(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(fmt, ap);
	va_end(ap);
}

void log_bug(const char *file, int line, const char *fmt, ...)
{
	void (*hook)(void) = __atomic_load_n(&abort_hook, __ATOMIC_ACQUIRE);
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (hook)
		hook();
	emit_text("bug at %s:%d: %s", file, line, text);
	abort();
}

void log_limited(struct log_limit *l, const char *fmt, ...)
{
	va_list ap;
	u32 n;

	/* The load keeps the counter from wrapping when a guest causes the message for hours. */
	if (__atomic_load_n(&l->count, __ATOMIC_RELAXED) >= LIMIT_LINES)
		return;
	n = __atomic_fetch_add(&l->count, 1, __ATOMIC_RELAXED);
	if (n >= LIMIT_LINES)
		return;
	va_start(ap, fmt);
	emit(fmt, ap);
	va_end(ap);
	if (n == LIMIT_LINES - 1)
		emit_text("(no more messages of this kind)");
}
