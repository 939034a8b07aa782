/*
 * An error with words: filled where the trouble is understood (option name, value, path), printed
 * once by main. Set-up functions take a struct err * as the last parameter, return 0 or negative
 * errno, and on failure have filled it. Code that runs while the guest runs returns -errno only.
 */
#pragma once

#include "base/types.h"
#include <errno.h>

/* Exit statuses: part of the command line's interface (man page, EXIT STATUS). */
enum exit_status {
	EXIT_RESET = 0,    /* the guest asked for a reset */
	EXIT_POWEROFF = 1, /* the guest switched itself off */
	EXIT_HALT = 2,     /* every CPU halted with interrupts off */
	EXIT_TRIPLE = 3,   /* triple fault */
	EXIT_FAILED = 4,   /* our own failure: host resource, file, accelerator */
	EXIT_BADUSE = 64,  /* command line refused; nothing was touched */
	EXIT_OTHER = 100,  /* anything else that ended the guest */
};

struct err {
	int code;       /* negative errno */
	int status;     /* enum exit_status; 0 means EXIT_FAILED */
	char text[640]; /* one line without prefix and newline */
};

/* Stores the message (truncated to fit) and returns code, so that `return err_set(e, -EINVAL, ...)` works. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Like err_set, and appends ": " and the errno text of code. */
int err_errno(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As err_set with status EXIT_BADUSE: the command line is wrong. */
int err_usage(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * The same, in a form that shows compilers and analyzers what is returned: code, and so not 0 where code
 * is not.
 */
#define err_set(e, code, ...)                                                                                \
	({                                                                                                   \
		const int code_ = (code);                                                                    \
		err_set(e, code_, __VA_ARGS__);                                                              \
		code_;                                                                                       \
	})
#define err_errno(e, code, ...)                                                                              \
	({                                                                                                   \
		const int code_ = (code);                                                                    \
		err_errno(e, code_, __VA_ARGS__);                                                            \
		code_;                                                                                       \
	})
#define err_usage(e, ...)                                                                                    \
	({                                                                                                   \
		err_usage(e, __VA_ARGS__);                                                                   \
		-EINVAL;                                                                                     \
	})
