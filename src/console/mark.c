/*
 * Marks in a terminal's input, see mark.h. They may be cut anywhere between two reads.
 */
#include "console/mark.h"

#define MARK 0xff

/* One byte; true if it belongs to the data. */
static bool keep(struct unmark *m, u8 byte, unsigned *breaks)
{
	switch (m->seen) {
	case 0: m->seen = byte == MARK; return byte != MARK;
	case 1: m->seen = byte == 0 ? 2 : 0; return byte != 0;
	default:
		m->seen = 0;
		*breaks += byte == 0;
		return byte != 0;
	}
}

size_t unmark(struct unmark *m, u8 *buf, size_t n, unsigned *breaks)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (keep(m, buf[i], breaks))
			buf[kept++] = buf[i];
	return kept;
}
