/*
 * The progress bar.
 */
#include "img/progress.h"

#include <time.h>

#define BAR 40
#define REDRAW_MS 100

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const struct img_ctx *c, const char *what, u64 total)
{
	*p = (struct progress){.ctx = c, .what = what, .total = total};
}

void progress_set(struct progress *p, u64 done)
{
	char bar[BAR + 1];
	unsigned filled;
	u64 now;

	if (!p->ctx->progress)
		return;
	now = now_ms();
	if (p->drawn && now - p->last < REDRAW_MS)
		return;
	p->last = now;
	p->drawn = true;
	filled = p->total ? (unsigned)((u128)MIN(done, p->total) * BAR / p->total) : BAR;
	for (unsigned i = 0; i < BAR; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR] = 0;
	fprintf(p->ctx->err, "\r%s [%s] %3u%%", p->what, bar,
	        p->total ? (unsigned)((u128)MIN(done, p->total) * 100 / p->total) : 100);
	fflush(p->ctx->err);
}

void progress_end(struct progress *p)
{
	if (!p->drawn)
		return;
	fprintf(p->ctx->err, "\r\033[K");
	fflush(p->ctx->err);
	p->drawn = false;
}
