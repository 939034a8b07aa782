/*
 * The worker pool of a disk. Threads are started one by one, by others of the pool, so that one is always
 * ready; each takes the oldest request, runs it, calls done, and goes on without sleeping while there is
 * work.
 *
 * A pool that has been idle for a second after writes flushes the disk by itself: that bounds what
 * a power cut can take from guests that never flush, and lets the sparse layer free what was discarded, and
 * what it has reserved.
 */
#include "block/queue.h"

#include "base/confine.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define IDLE_S 1

struct block_queue {
	struct block *b;
	pthread_mutex_t lock;
	pthread_cond_t work;  /* a request is waiting, or stop */
	pthread_cond_t quiet; /* nothing is unfinished */
	struct block_req *head, **tail;
	unsigned waiting;  /* requests in the list */
	unsigned running;  /* requests being run */
	unsigned sleeping; /* threads in cond_wait */
	unsigned nthreads, max;
	unsigned peak;
	bool through, stop;
	bool unflushed; /* something was written since the last flush */
	bool restless;  /* ... since the disk was idle */
	bool resting;   /* a thread is at it */
	bool confined;  /* the first thread is, and so are those that come from it */
	pthread_t thread[];
};

static int run(struct block_queue *q, struct block_req *r, bool through)
{
	int res;
	switch (r->op) {
	case BLOCK_READ: return block_preadv(q->b, r->iov, r->niov, r->off);
	case BLOCK_FLUSH: return block_flush(q->b);
	case BLOCK_WRITE: res = block_pwritev(q->b, r->iov, r->niov, r->off); break;
	case BLOCK_DISCARD: res = block_discard(q->b, r->off, r->len); break;
	case BLOCK_WRITE_ZEROES: res = block_write_zeroes(q->b, r->off, r->len, r->unmap); break;
	default: return -EOPNOTSUPP;
	}
	return res == 0 && through ? block_flush(q->b) : res;
}

static struct block_req *take(struct block_queue *q)
{
	struct block_req *r = q->head;
	q->head = r->next;
	if (!q->head)
		q->tail = &q->head;
	q->waiting--;
	return r;
}

/* The lock is held, there is nothing to do, this thread has waited for IDLE_S. */
static void rest(struct block_queue *q)
{
	if (!q->restless || q->running || q->resting || q->stop)
		return;
	bool flush = q->unflushed;
	q->unflushed = q->restless = false;
	q->resting = true;
	pthread_mutex_unlock(&q->lock);
	block_idle(q->b);
	if (flush)
		block_flush(q->b); /* a failure stays in the layer: the guest's next flush hears of it */
	pthread_mutex_lock(&q->lock);
	q->resting = false;
}

static void wait_for_work(struct block_queue *q)
{
	q->sleeping++;
	if (q->restless) {
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_sec += IDLE_S;
		if (pthread_cond_timedwait(&q->work, &q->lock, &t) == ETIMEDOUT && !q->head) {
			q->sleeping--;
			rest(q);
			return;
		}
	} else {
		pthread_cond_wait(&q->work, &q->lock);
	}
	q->sleeping--;
}

static void finish(struct block_queue *q, struct block_req *r, bool through)
{
	bool writes = r->op != BLOCK_READ && r->op != BLOCK_FLUSH;
	pthread_mutex_unlock(&q->lock);
	r->result = run(q, r, through);
	r->done(r); /* r is the submitter's again */
	pthread_mutex_lock(&q->lock);
	q->unflushed |= writes && !through;
	q->restless |= writes;
	if (--q->running == 0 && !q->head)
		pthread_cond_broadcast(&q->quiet);
}

static int start_worker(struct block_queue *q);

/*
 * The worker that takes the last request for which somebody was ready starts the next worker: threads are
 * confined like the one that starts them, so whoever submits (a CPU) must not.
 */
static void *worker(void *opaque)
{
	struct block_queue *q = opaque;
	pthread_mutex_lock(&q->lock);
	if (!q->confined)
		confine_thread(CONFINE_DISK);
	q->confined = true; /* those that it starts are confined like it */
	for (;;) {
		while (!q->head && !q->stop)
			wait_for_work(q);
		if (!q->head)
			break;
		struct block_req *r = take(q);
		if (!q->sleeping && q->nthreads < q->max)
			start_worker(q);
		if (r->op == BLOCK_FLUSH)
			q->unflushed = false;
		q->running++;
		q->peak = MAX(q->peak, q->running);
		finish(q, r, q->through);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

/* Workers take no signals: those are for the threads that wait for them. */
static int start_worker(struct block_queue *q)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	int r = pthread_create(&q->thread[q->nthreads], NULL, worker, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		q->nthreads++;
	return -r;
}

int block_queue_create(struct block_queue **out, struct block *b, unsigned workers)
{
	struct block_queue *q = calloc(1, sizeof(*q) + workers * sizeof(pthread_t));
	if (!q)
		return -ENOMEM;
	q->b = b;
	q->max = workers;
	q->tail = &q->head;
	q->through = b->through;
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_t mono;
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&q->work, &mono);
	pthread_cond_init(&q->quiet, NULL);
	pthread_condattr_destroy(&mono);
	int r = start_worker(q);
	if (r < 0) {
		block_queue_destroy(q);
		return r;
	}
	*out = q;
	return 0;
}

void block_queue_destroy(struct block_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_broadcast(&q->work);
	pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; i < q->nthreads; i++)
		pthread_join(q->thread[i], NULL);
	pthread_cond_destroy(&q->work);
	pthread_cond_destroy(&q->quiet);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

void block_submit(struct block_queue *q, struct block_req *r)
{
	pthread_mutex_lock(&q->lock);
	r->next = NULL;
	*q->tail = r;
	q->tail = &r->next;
	q->waiting++;
	if (q->sleeping)
		pthread_cond_signal(&q->work);
	pthread_mutex_unlock(&q->lock);
}

void block_queue_drain(struct block_queue *q)
{
	pthread_mutex_lock(&q->lock);
	while (q->head || q->running)
		pthread_cond_wait(&q->quiet, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

void block_queue_set_through(struct block_queue *q, bool on)
{
	pthread_mutex_lock(&q->lock);
	q->through = on || q->b->through;
	pthread_mutex_unlock(&q->lock);
}

unsigned block_queue_peak(struct block_queue *q)
{
	pthread_mutex_lock(&q->lock);
	unsigned peak = q->peak;
	pthread_mutex_unlock(&q->lock);
	return peak;
}
