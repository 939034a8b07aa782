/*
 * The table's two views. The live one is an anonymous mapping as long as the table, filled page by
 * page from the file. It is not a mapping of the file: a host that cannot read the file, or a file that
 * someone cut off, is an error of one request then and not a signal.
 */
#include "block/lut.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define WRITE_PAGES 64u /* pages of one write */

int lut_init(struct lut *l, const struct host_io *io, int fd, u64 entries)
{
	*l = (struct lut){.io = io, .fd = fd, .entries = entries};
	u64 pages = lut_pages(l);
	l->map_len = pages * LUT_PAGE * sizeof(u32);
	void *p = mmap(
	        NULL, l->map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	l->live = p;
	l->loaded = calloc((pages + 63) / 64, sizeof(u64));
	if (!l->loaded) {
		munmap(p, l->map_len);
		return -ENOMEM;
	}
	pthread_mutex_init(&l->lock, NULL);
	return 0;
}

/* The last page may be loaded, and have room. */
int lut_grow(struct lut *l, u64 entries)
{
	u64 old = lut_pages(l), pages = (entries + LUT_PAGE - 1) / LUT_PAGE;
	u64 words = (old + 63) / 64, need = (pages + 63) / 64;
	u64 *loaded = realloc(l->loaded, need * sizeof(u64));
	if (!loaded)
		return -ENOMEM;
	l->loaded = loaded;
	memset(loaded + words, 0, (need - words) * sizeof(u64));
	void *p = mremap(l->live, l->map_len, pages * LUT_PAGE * sizeof(u32), MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return -errno;
	l->live = p;
	l->map_len = pages * LUT_PAGE * sizeof(u32);
	for (u64 i = l->entries; i < MIN(entries, old * LUT_PAGE); i++)
		l->live[i] = LUT_ABSENT;
	l->entries = entries;
	return 0;
}

void lut_fini(struct lut *l)
{
	munmap(l->live, l->map_len);
	free(l->loaded);
	pthread_mutex_destroy(&l->lock);
	l->io->ops->close(l->io, l->fd);
}

static bool is_loaded(const struct lut *l, u64 page)
{
	return __atomic_load_n(&l->loaded[page / 64], __ATOMIC_ACQUIRE) >> (page % 64) & 1;
}

static int load_page(struct lut *l, u64 page)
{
	int r = 0;
	pthread_mutex_lock(&l->lock);
	if (!is_loaded(l, page)) {
		u64 n = MIN(LUT_PAGE, l->entries - page * LUT_PAGE);
		r = hostio_read(l->io, l->fd, l->live + page * LUT_PAGE, n * sizeof(u32),
		        page * LUT_PAGE * sizeof(u32));
		if (r == 0)
			__atomic_fetch_or(&l->loaded[page / 64], BIT64(page % 64), __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

int lut_load(struct lut *l, u64 first, u64 n)
{
	for (u64 p = first / LUT_PAGE; p <= (first + n - 1) / LUT_PAGE; p++) {
		if (is_loaded(l, p))
			continue;
		int r = load_page(l, p);
		if (r < 0)
			return r;
	}
	return 0;
}

void lut_forget(struct lut *l)
{
	memset(l->loaded, 0, (lut_pages(l) + 63) / 64 * sizeof(u64));
}

int lut_peek(struct lut *l, u64 first, u64 n, u32 *out)
{
	while (n) {
		u64 page = first / LUT_PAGE, here = MIN(n, LUT_PAGE - first % LUT_PAGE);
		if (is_loaded(l, page)) {
			for (u64 i = 0; i < here; i++)
				out[i] = lut_get(l, first + i);
		} else {
			/* as many pages as are not loaded in one read */
			while (here < n && !is_loaded(l, (first + here) / LUT_PAGE))
				here += MIN(n - here, LUT_PAGE);
			int r = hostio_read(l->io, l->fd, out, here * sizeof(u32), first * sizeof(u32));
			if (r < 0)
				return r;
		}
		first += here;
		out += here;
		n -= here;
	}
	return 0;
}

static int compare_changes(const void *a, const void *b)
{
	const struct lut_change *x = a, *y = b;
	if (x->index != y->index)
		return x->index < y->index ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int compare_seq(const void *a, const void *b)
{
	const struct lut_change *x = a, *y = b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/*
 * Writes the changes of neighbouring pages: the file's content between the first and the last of them,
 * read back and patched. Unchanged entries in between are written as they are.
 */
static int write_group(struct lut *l, struct lut_change *c, u32 n, u32 *buf)
{
	u64 first = c[0].index, end = first;
	bool gaps = false, twice = false;
	for (u32 i = 0; i < n; i++) {
		gaps |= c[i].index > end;
		twice |= c[i].index < end;
		end = MAX(end, c[i].index + c[i].n);
	}
	if (twice)
		qsort(c, n, sizeof(*c), compare_seq);
	int r = 0;
	if (gaps)
		r = hostio_read(l->io, l->fd, buf, (end - first) * sizeof(u32), first * sizeof(u32));
	if (r < 0)
		return r;
	for (u32 i = 0; i < n; i++)
		for (u32 k = 0; k < c[i].n; k++)
			buf[c[i].index - first + k] = lut_run(c[i].value, k);
	return hostio_write(l->io, l->fd, buf, (end - first) * sizeof(u32), first * sizeof(u32));
}

int lut_write(struct lut *l, struct lut_change *c, u32 n)
{
	if (n == 0)
		return 0;
	qsort(c, n, sizeof(*c), compare_changes);
	u32 *buf = malloc(WRITE_PAGES * LUT_PAGE * sizeof(u32));
	if (!buf)
		return -ENOMEM;
	int r = 0;
	for (u32 i = 0, k; i < n && r == 0; i = k) {
		u64 start = ALIGN_DOWN(c[i].index, (u64)LUT_PAGE);
		for (k = i + 1; k < n; k++)
			if (c[k].index / LUT_PAGE > c[k - 1].index / LUT_PAGE + 1 ||
			        c[k].index >= start + WRITE_PAGES * LUT_PAGE)
				break;
		r = write_group(l, c + i, k - i, buf);
	}
	free(buf);
	return r;
}

int lut_store(struct lut *l, u64 first, u64 n)
{
	u64 start = first * LUT_PAGE, end = MIN((first + n) * LUT_PAGE, l->entries);
	return hostio_write(l->io, l->fd, l->live + start, (end - start) * sizeof(u32), start * sizeof(u32));
}
