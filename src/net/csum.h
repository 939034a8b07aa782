/*
 * What a card leaves to us: the Internet checksum (RFC 1071).
 */
#pragma once

#include "net/net.h"

/*
 * Does what meta says is left to do with the checksum of a flat frame. False: csum_start and csum_offset do
 * not lie in it (nothing was changed).
 */
bool net_finish_csum(u8 *frame, u32 len, const struct net_meta *meta);
