/*
 * What targets that drive a board share: the input as a stream of numbers, and a check that ends the run.
 */
#pragma once

#include "base/types.h"
#include <stdlib.h>

struct input {
	const u8 *data;
	size_t left;
};

static inline void check(bool ok)
{
	if (!ok)
		abort();
}

/* Bytes of the input, zeros after its end. */
static inline u64 take(struct input *in, unsigned n)
{
	u64 val = 0;

	for (unsigned i = 0; i < n && in->left; i++, in->left--)
		val |= (u64)*in->data++ << (8 * i);
	return val;
}
