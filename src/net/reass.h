/*
 * IPv4 fragments of a guest, put together before the user network sees them.
 *
 * libslirp could do that itself, but version 4.7.0 as Debian 12 has it takes a last fragment that comes first
 * for a whole packet and follows a pointer that is none: its list of fragments is changed through one type
 * and read through another, and the compiler moves the read before the change. So it never gets to see a
 * fragment.
 */
#pragma once

#include "net/net.h"

#define REASS_DATAGRAMS 8 /* that are incomplete at a time; the oldest makes room */
#define REASS_NS 30000000000ull

struct datagram;

struct reass {
	struct datagram *open[REASS_DATAGRAMS];
	u8 out[NET_FRAME_MAX];
};

/*
 * The frame itself if it is no fragment, the whole datagram (until the next call) if it was the missing one,
 * NULL if it is kept, or makes no sense. *len is that of what is returned.
 */
const u8 *reass_frame(struct reass *r, const u8 *frame, u32 *len, u64 now_ns);
/* Forgets everything. */
void reass_clear(struct reass *r);
