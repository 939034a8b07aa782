/*
 * bench: keeps a number of requests in the disk's queue and measures how long all of them take. A request
 * that is done starts the next one on the thread that finished it, as a device would. Sequential ones wrap
 * around at the disk's end; random ones start at multiples of their size. A flush covers only what is done,
 * so for --flush-interval the requests before it are waited for.
 */
#include "img/json.h"

#include "base/text.h"
#include "block/queue.h"
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define DEPTH_MAX 1024
#define BUFSIZE_MAX (64 * MiB)

struct slot {
	struct block_req req;
	struct iovec iov;
	struct bench *bench;
	struct slot *next;
};

struct bench {
	struct img_ctx *c;
	struct block *b;
	struct block_queue *q;
	bool write, random, nocache;
	u64 bufsize, depth, count, flush_interval, places, flushes;
	u64 rng;
	struct slot *slots;
	u8 *memory;
	pthread_mutex_t lock; /* what follows */
	pthread_cond_t changed;
	struct slot *idle;
	u64 issued, running;
	bool flush_due, flushing; /* before more is written; under way */
	int result;
};

static int number(const char *what, const char *text, u64 low, u64 high, u64 *out, struct err *e)
{
	if (text && parse_uint(text, low, high, out))
		return err_usage(e, "bench: --%s %s: must be %" PRIu64 " to %" PRIu64, what, text, low, high);
	return 0;
}

static int parse(struct bench *n, const struct img_options *o, struct err *e)
{
	static const char *const kind[] = {"read", "write", "randread", "randwrite"};
	const char *test = o->test ? o->test : kind[0];
	unsigned k = 0;
	int r;

	while (k < ARRAY_SIZE(kind) && strcmp(kind[k], test) != 0)
		k++;
	if (k == ARRAY_SIZE(kind))
		return err_usage(e, "bench: --test %s: must be read, write, randread or randwrite", test);
	n->write = k & 1;
	n->random = k >= 2;
	n->bufsize = 4096;
	n->depth = 64;
	n->count = 75000;
	if (o->bufsize && (parse_size(o->bufsize, &n->bufsize) || !n->bufsize || n->bufsize % 512 ||
	                          n->bufsize > BUFSIZE_MAX))
		return err_usage(e, "bench: --bufsize %s: must be a multiple of 512 up to 64M", o->bufsize);
	r = number("depth", o->depth, 1, DEPTH_MAX, &n->depth, e);
	if (!r)
		r = number("count", o->count, 1, UINT32_MAX, &n->count, e);
	if (!r)
		r = number("flush-interval", o->flush_interval, 1, UINT32_MAX, &n->flush_interval, e);
	if (!r && n->depth * n->bufsize > GiB)
		r = err_usage(e, "bench: depth times bufsize is more than 1G");
	return r;
}

static void on_done(struct block_req *r);

static u64 next_place(struct bench *n, u64 i)
{
	if (!n->random)
		return i % n->places;
	/* Marsaglia's xorshift64. */
	n->rng ^= n->rng << 13;
	n->rng ^= n->rng >> 7;
	n->rng ^= n->rng << 17;
	return n->rng % n->places;
}

/* Under lock: gives an idle slot its next request; false when there is none for now. */
static bool next_request(struct bench *n, struct slot *s)
{
	enum block_op op = n->write ? BLOCK_WRITE : BLOCK_READ;
	u64 off = 0;

	if (n->result || n->flushing || (n->flush_due && n->running))
		return false;
	if (n->flush_due) {
		op = BLOCK_FLUSH;
		n->flush_due = false;
		n->flushing = true;
		n->flushes++;
	} else if (n->issued < n->count) {
		off = next_place(n, n->issued++) * n->bufsize;
		n->flush_due = n->write && n->flush_interval && n->issued % n->flush_interval == 0;
	} else {
		return false;
	}
	n->running++;
	s->req = (struct block_req){
	        .op = op, .iov = &s->iov, .niov = 1, .off = off, .done = on_done, .opaque = s};
	return true;
}

/* Starts everything that may start. Not under lock. */
static void pump(struct bench *n)
{
	struct slot *start = NULL;

	pthread_mutex_lock(&n->lock);
	while (n->idle && next_request(n, n->idle)) {
		struct slot *s = n->idle;

		n->idle = s->next;
		s->next = start;
		start = s;
	}
	if (!n->running)
		pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->lock);
	while (start) {
		struct slot *s = start;

		start = s->next; /* once submitted, s may be idle again at any moment */
		block_submit(n->q, &s->req);
	}
}

static void on_done(struct block_req *r)
{
	struct slot *s = r->opaque;
	struct bench *n = s->bench;

	pthread_mutex_lock(&n->lock);
	if (r->result && !n->result)
		n->result = r->result;
	if (r->op == BLOCK_FLUSH)
		n->flushing = false;
	s->next = n->idle;
	n->idle = s;
	n->running--;
	pthread_mutex_unlock(&n->lock);
	pump(n);
}

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

static int run(struct bench *n, u64 *ns, struct err *e)
{
	u64 start = now_ns();
	int r = 0;

	pump(n);
	pthread_mutex_lock(&n->lock);
	while (n->running) {
		struct timespec t;

		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_sec++;
		pthread_cond_timedwait(&n->changed, &n->lock, &t);
		if (!r && img_stopped(n->c, e)) {
			r = -EINTR;
			n->result = r; /* nothing more is started */
		}
	}
	pthread_mutex_unlock(&n->lock);
	block_queue_drain(n->q);
	*ns = MAX(now_ns() - start, 1ull);
	if (!r && n->result)
		r = err_errno(e, n->result, "bench");
	return r;
}

static int prepare(struct bench *n, const struct image_spec *s, struct err *e)
{
	n->places = block_size(n->b) / n->bufsize;
	if (!n->places)
		return err_usage(e, "bench: %s is smaller than one request", s->path);
	n->rng = 0x9e3779b97f4a7c15ull;
	n->slots = calloc(n->depth, sizeof(*n->slots));
	if (!n->slots || posix_memalign((void **)&n->memory, PAGE_SIZE, n->depth * n->bufsize))
		return err_errno(e, -ENOMEM, "bench");
	memset(n->memory, 0x5a, n->depth * n->bufsize);
	for (u64 i = 0; i < n->depth; i++) {
		n->slots[i].bench = n;
		n->slots[i].iov = (struct iovec){n->memory + i * n->bufsize, n->bufsize};
		n->slots[i].next = n->idle;
		n->idle = &n->slots[i];
	}
	return 0;
}

static void print(const struct bench *n, const struct img_options *o, u64 ns)
{
	double seconds = (double)ns / 1e9, bytes = (double)n->count * (double)n->bufsize;
	struct json j = {.f = n->c->out};

	if (!o->json) {
		fprintf(n->c->out, "%.3f seconds, %.1f MiB/s, %.0f IO/s\n", seconds,
		        bytes / (double)MiB / seconds, (double)n->count / seconds);
		return;
	}
	json_begin(&j, NULL, '{');
	json_text(&j, "test", o->test ? o->test : "read");
	json_u64(&j, "requests", n->count);
	json_u64(&j, "bufsize", n->bufsize);
	json_u64(&j, "depth", n->depth);
	json_u64(&j, "flushes", n->flushes);
	json_double(&j, "seconds", seconds);
	json_double(&j, "mib-per-second", bytes / (double)MiB / seconds);
	json_double(&j, "requests-per-second", (double)n->count / seconds);
	json_end(&j, '}');
}

static int measure(struct bench *n, const struct img_options *o, const struct image_spec *s, struct err *e)
{
	u64 ns = 0;
	int r = prepare(n, s, e);

	if (!r) {
		r = block_queue_create(&n->q, n->b, (unsigned)MIN(n->depth, BLOCK_WORKERS));
		if (r)
			err_errno(e, r, "bench");
	}
	if (!r) {
		r = run(n, &ns, e);
		block_queue_destroy(n->q);
	}
	if (!r)
		print(n, o, ns);
	free(n->slots);
	free(n->memory);
	return r;
}

int img_bench(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct bench n = {.c = c};
	struct image_spec s;
	int closed, r = parse(&n, o, e);

	if (!r)
		r = image_parse(&s, o->arg[0], e);
	if (r)
		return r;
	s.ro = s.ro || !n.write;
	s.nocache = s.nocache || o->nocache;
	r = image_open(&n.b, &s, IMAGE_QUIET, c->io, e);
	if (r)
		return r;
	pthread_mutex_init(&n.lock, NULL);
	pthread_cond_init(&n.changed, NULL);
	r = measure(&n, o, &s, e);
	pthread_cond_destroy(&n.changed);
	pthread_mutex_destroy(&n.lock);
	closed = block_close(n.b);
	return !r && closed ? err_errno(e, closed, "%s", s.path) : r;
}
