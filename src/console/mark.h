/*
 * Private to console/: input of a terminal that marks breaks (PARMRK of termios): a break arrives as the
 * bytes 377 0 0, a byte with a wrong parity or stop bit as 377 0 and the byte, the byte 377 itself twice.
 */
#pragma once

#include "base/types.h"

struct unmark {
	u8 seen; /* bytes of a mark so far */
};

/* Takes marks out of n bytes; returns how many remain and adds to *breaks. */
size_t unmark(struct unmark *m, u8 *buf, size_t n, unsigned *breaks);
