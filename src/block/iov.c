/*
 * Scattered buffers. Everything is built on one walk: the part of each buffer that lies in a range.
 */
#include "block/iov.h"

u64 iov_length(const struct iovec *iov, int n)
{
	u64 sum = 0;
	for (int i = 0; i < n; i++)
		if (__builtin_add_overflow(sum, iov[i].iov_len, &sum))
			return UINT64_MAX;
	return sum;
}

/* The next piece of [*pos, *pos + *left): index *i starts at byte *base. */
struct walk {
	const struct iovec *iov;
	int n, i;
	u64 skip, left;
};

static struct walk walk_start(const struct iovec *iov, int n, u64 pos, u64 len)
{
	struct walk w = {iov, n, 0, pos, len};
	while (w.i < n && w.skip >= iov[w.i].iov_len)
		w.skip -= iov[w.i++].iov_len;
	return w;
}

static bool walk_next(struct walk *w, u8 **p, u64 *len)
{
	while (w->left && w->i < w->n) {
		const struct iovec *v = &w->iov[w->i];
		u64 here = MIN(v->iov_len - w->skip, w->left);
		*p = (u8 *)v->iov_base + w->skip;
		*len = here;
		w->i++;
		w->skip = 0;
		w->left -= here;
		if (here)
			return true;
	}
	return false;
}

int iov_slice(struct iovec *out, int max, const struct iovec *iov, int n, u64 pos, u64 *len)
{
	struct walk w = walk_start(iov, n, pos, *len);
	u64 got = 0, here;
	u8 *p;
	int k = 0;
	while (k < max && walk_next(&w, &p, &here)) {
		out[k++] = (struct iovec){p, here};
		got += here;
	}
	*len = got;
	return k;
}

bool buf_is_zero(const void *buf, u64 len)
{
	const u8 *p = buf;
	u64 head = MIN(len, 16);
	for (u64 i = 0; i < head; i++)
		if (p[i])
			return false;
	return len <= 16 || memcmp(p, p + 16, len - 16) == 0;
}

bool iov_is_zero(const struct iovec *iov, int n, u64 pos, u64 len)
{
	struct walk w = walk_start(iov, n, pos, len);
	u64 here;
	u8 *p;
	while (walk_next(&w, &p, &here))
		if (!buf_is_zero(p, here))
			return false;
	return true;
}

void iov_zero(const struct iovec *iov, int n, u64 pos, u64 len)
{
	struct walk w = walk_start(iov, n, pos, len);
	u64 here;
	u8 *p;
	while (walk_next(&w, &p, &here))
		memset(p, 0, here);
}

void iov_to_buf(void *buf, const struct iovec *iov, int n, u64 pos, u64 len)
{
	struct walk w = walk_start(iov, n, pos, len);
	u64 here;
	u8 *p, *to = buf;
	for (; walk_next(&w, &p, &here); to += here)
		memcpy(to, p, here);
}

void iov_from_buf(const struct iovec *iov, int n, u64 pos, const void *buf, u64 len)
{
	struct walk w = walk_start(iov, n, pos, len);
	const u8 *from = buf;
	u64 here;
	u8 *p;
	for (; walk_next(&w, &p, &here); from += here)
		memcpy(p, from, here);
}
