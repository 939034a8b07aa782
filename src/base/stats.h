/*
 * Counters on their way to whoever wants to see them (--stats, the control socket).
 */
#pragma once

#include "base/types.h"

struct stats_sink {
	/* group: whose counter it is, such as "CPU 0"; all of one group come one after the other. */
	void (*put)(struct stats_sink *s, const char *group, const char *name, u64 value);
};

static inline void stats_put(struct stats_sink *s, const char *group, const char *name, u64 value)
{
	s->put(s, group, name, value);
}
