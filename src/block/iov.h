/*
 * Scattered buffers: lengths, slices, copies, zeros. Positions count bytes from the first buffer's
 * start; a range must lie inside the buffers. All are pure.
 */
#pragma once

#include "base/types.h"
#include <sys/uio.h>

#define IOV_PIECE 256 /* buffers that iov_slice gives at most in one go */

/* Sum of the lengths, or UINT64_MAX when it overflows. */
u64 iov_length(const struct iovec *iov, int n);
/*
 * Buffers of [pos, pos + *len): at most max of them; *len is cut when that is not enough. Returns how many.
 */
int iov_slice(struct iovec *out, int max, const struct iovec *iov, int n, u64 pos, u64 *len);
bool iov_is_zero(const struct iovec *iov, int n, u64 pos, u64 len);
void iov_zero(const struct iovec *iov, int n, u64 pos, u64 len);
void iov_to_buf(void *buf, const struct iovec *iov, int n, u64 pos, u64 len);
void iov_from_buf(const struct iovec *iov, int n, u64 pos, const void *buf, u64 len);
bool buf_is_zero(const void *buf, u64 len);
