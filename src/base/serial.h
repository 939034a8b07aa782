/*
 * What a serial port puts on its line and finds there, for chips and back ends, which do not know each other.
 */
#pragma once

#include "base/types.h"

enum serial_parity { PARITY_NONE, PARITY_ODD, PARITY_EVEN, PARITY_MARK, PARITY_SPACE };

struct serial_line {
	u32 speed; /* bits in a second */
	u8 bits;   /* 5..8 in a character */
	u8 parity; /* enum serial_parity */
	bool two_stops;
	bool brk;      /* a break condition */
	bool dtr, rts; /* asserted */
};

static inline bool serial_line_same(const struct serial_line *a, const struct serial_line *b)
{
	return a->speed == b->speed && a->bits == b->bits && a->parity == b->parity &&
	       a->two_stops == b->two_stops && a->brk == b->brk && a->dtr == b->dtr && a->rts == b->rts;
}

/* Lines from the other end that are asserted. */
enum serial_modem {
	MODEM_CTS = BIT(0),
	MODEM_DSR = BIT(1),
	MODEM_RI = BIT(2),
	MODEM_DCD = BIT(3),
};
