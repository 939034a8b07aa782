/*
 * Messages to stderr, "xhyve: " before each line, safe from any thread. While a terminal is in
 * raw mode (log_set_raw) lines end in CR LF. log_rate is for messages a guest can cause: each call
 * site prints at most 10 and then says once that it is silent.
 */
#pragma once

#include "base/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level max);
void log_set_raw(bool raw);
void log_msg(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

/* Our own bug: prints file, line and text, restores the terminal by way of the atexit-like hook, aborts. */
void log_bug(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4) NORETURN;
#define BUG(...) log_bug(__FILE__, __LINE__, __VA_ARGS__)
#define BUG_ON(cond)                                                                                         \
	do {                                                                                                 \
		if (unlikely(cond))                                                                          \
			BUG("%s", #cond);                                                                    \
	} while (0)

/* Called by log_bug before abort (the console restores the terminal). Async-signal-safe function. */
void log_set_abort_hook(void (*hook)(void));

struct log_limit {
	u32 count; /* atomic */
};
void log_limited(struct log_limit *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_rate(...)                                                                                        \
	do {                                                                                                 \
		static struct log_limit limit_;                                                              \
		log_limited(&limit_, __VA_ARGS__);                                                           \
	} while (0)
