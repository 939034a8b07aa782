/*
 * Timers and the event loop.
 *
 * The timer queue is a binary heap of pointers to the owners' timers. Locks: an owner's lock is
 * always taken before the queue's. timerq_run therefore cannot hold the queue's lock while it takes
 * the owner's; it takes the due timer off the heap, remembers its sequence number, drops the queue's
 * lock, takes the owner's lock and looks again. A cancel or re-arm in between was done under the
 * owner's lock and has changed the number: then the old firing is dropped.
 *
 * Nothing may free a timer or its owner while the queue's thread is inside timerq_run: machines stop
 * their loop before they destroy chips, or destroy on the loop thread itself.
 *
 * The loop waits in epoll_pwait2 for at most the time to the next deadline; where the kernel lacks it,
 * in ppoll on the epoll descriptor, which has nanoseconds everywhere. loop_post and an earlier deadline
 * from another thread wake it through an eventfd; one pending wake-up is enough for any number of them.
 */
#include "base/loop.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* -- timer queue ------------------------------------------------------------------------------ */

#define HEAP_MIN 64

/* Firings of one timerq_run: a timer that keeps re-arming itself in the past must not hold the loop. */
#define ROUND_MAX 1024

int timerq_init(struct timerq *q, const struct clock *clock)
{
	int r;

	memset(q, 0, sizeof(*q));
	q->clock = clock;
	q->heap = calloc(HEAP_MIN, sizeof(struct timer *));
	if (!q->heap)
		return -ENOMEM;
	q->cap = HEAP_MIN;
	r = pthread_mutex_init(&q->lock, NULL);
	if (r)
		free(q->heap);
	return -r;
}

void timerq_fini(struct timerq *q)
{
	free(q->heap);
	q->heap = NULL;
	pthread_mutex_destroy(&q->lock);
}

static void heap_set(struct timerq *q, u32 i, struct timer *t)
{
	q->heap[i] = t;
	t->slot = (s32)i;
}

static void heap_up(struct timerq *q, u32 i, struct timer *t)
{
	while (i > 0) {
		u32 parent = (i - 1) / 2;

		if (q->heap[parent]->deadline <= t->deadline)
			break;
		heap_set(q, i, q->heap[parent]);
		i = parent;
	}
	heap_set(q, i, t);
}

static void heap_down(struct timerq *q, u32 i, struct timer *t)
{
	for (;;) {
		u32 child = 2 * i + 1;

		if (child >= q->count)
			break;
		if (child + 1 < q->count && q->heap[child + 1]->deadline < q->heap[child]->deadline)
			child++;
		if (q->heap[child]->deadline >= t->deadline)
			break;
		heap_set(q, i, q->heap[child]);
		i = child;
	}
	heap_set(q, i, t);
}

static void heap_remove(struct timerq *q, struct timer *t)
{
	u32 i = (u32)t->slot;
	struct timer *last = q->heap[--q->count];

	t->slot = -1;
	if (last == t)
		return;
	if (i > 0 && q->heap[(i - 1) / 2]->deadline > last->deadline)
		heap_up(q, i, last);
	else
		heap_down(q, i, last);
}

static u64 next_deadline(const struct timerq *q)
{
	return q->count ? q->heap[0]->deadline : TIMER_OFF;
}

u64 timerq_next(struct timerq *q)
{
	u64 next;

	pthread_mutex_lock(&q->lock);
	next = next_deadline(q);
	pthread_mutex_unlock(&q->lock);
	return next;
}

/* Runs one timer that was due when it was popped with sequence number seq. */
static void fire(struct timerq *q, struct timer *t, pthread_mutex_t *owner, u32 seq)
{
	bool stale;

	if (owner)
		pthread_mutex_lock(owner);
	pthread_mutex_lock(&q->lock);
	stale = t->seq != seq;
	pthread_mutex_unlock(&q->lock);
	if (!stale)
		t->fn(t->opaque);
	if (owner)
		pthread_mutex_unlock(owner);
}

u64 timerq_run(struct timerq *q)
{
	u64 now = clock_now(q->clock), next;

	for (unsigned fired = 0;; fired++) {
		struct timer *t;
		pthread_mutex_t *owner;
		u32 seq;

		pthread_mutex_lock(&q->lock);
		next = next_deadline(q);
		if (next > now || fired == ROUND_MAX) {
			pthread_mutex_unlock(&q->lock);
			return next;
		}
		t = q->heap[0];
		heap_remove(q, t);
		t->deadline = TIMER_OFF;
		seq = t->seq;
		owner = t->lock;
		pthread_mutex_unlock(&q->lock);
		fire(q, t, owner, seq);
	}
}

void timer_init(struct timer *t, struct timerq *q, pthread_mutex_t *lock, void (*fn)(void *), void *opaque)
{
	*t = (struct timer){
	        .fn = fn, .opaque = opaque, .lock = lock, .q = q, .deadline = TIMER_OFF, .slot = -1};
}

/* The heap never holds more than the timers that exist, so this grows a few times in a process' life. */
static void heap_reserve(struct timerq *q)
{
	struct timer **heap;

	if (q->count < q->cap)
		return;
	heap = reallocarray(q->heap, q->cap * 2, sizeof(*heap));
	if (!heap)
		BUG("no memory for %u timers", q->cap * 2);
	q->heap = heap;
	q->cap *= 2;
}

static void heap_insert(struct timerq *q, struct timer *t)
{
	heap_reserve(q);
	q->count++;
	heap_up(q, q->count - 1, t);
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
	struct timerq *q = t->q;
	u64 before;
	bool sooner;

	pthread_mutex_lock(&q->lock);
	before = next_deadline(q);
	t->seq++;
	if (t->slot >= 0)
		heap_remove(q, t);
	t->deadline = deadline_ns;
	if (deadline_ns != TIMER_OFF)
		heap_insert(q, t);
	sooner = next_deadline(q) < before;
	pthread_mutex_unlock(&q->lock);
	if (sooner && q->wake)
		q->wake(q->wake_opaque);
}

void timer_cancel(struct timer *t)
{
	struct timerq *q = t->q;

	pthread_mutex_lock(&q->lock);
	t->seq++;
	if (t->slot >= 0)
		heap_remove(q, t);
	t->deadline = TIMER_OFF;
	pthread_mutex_unlock(&q->lock);
}

bool timer_armed(struct timer *t)
{
	bool armed;

	pthread_mutex_lock(&t->q->lock);
	armed = t->slot >= 0;
	pthread_mutex_unlock(&t->q->lock);
	return armed;
}

/* -- event loop ------------------------------------------------------------------------------- */

#define BATCH 32

struct work {
	struct work *next;
	void (*fn)(void *);
	void *opaque;
};

struct loop {
	int epfd, wakefd;
	struct timerq timers;
	bool stop;    /* atomic */
	bool running; /* atomic: loop_run is active on thread */
	bool woken;   /* atomic: wakefd is (about to be) readable */
	bool no_pwait2;
	pthread_t thread;
	pthread_mutex_t lock; /* guards the list of posted work */
	struct work *work, **work_tail;
	/* The events being handed out; loop_fd_del takes its own out of here. */
	struct epoll_event batch[BATCH];
	int batch_len;
};

static void wake(struct loop *l)
{
	const u64 one = 1;

	if (__atomic_exchange_n(&l->woken, true, __ATOMIC_SEQ_CST))
		return;
	/* Cannot fail but for an overflowing counter, and then it is readable anyway. */
	if (write(l->wakefd, &one, sizeof(one)) < 0)
		return;
}

static void on_timer_wake(void *opaque)
{
	struct loop *l = opaque;

	/* The loop's own thread looks at the deadlines before it sleeps. */
	if (__atomic_load_n(&l->running, __ATOMIC_ACQUIRE) && pthread_equal(l->thread, pthread_self()))
		return;
	wake(l);
}

static int open_fds(struct loop *l)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = l};

	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wakefd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->wakefd, &ev) < 0) {
		int r = -errno;

		if (l->wakefd >= 0)
			close(l->wakefd);
		close(l->epfd);
		return r;
	}
	return 0;
}

int loop_create(struct loop **out, const struct clock *clock)
{
	struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->work_tail = &l->work;
	r = timerq_init(&l->timers, clock);
	if (r)
		goto no_timers;
	l->timers.wake = on_timer_wake;
	l->timers.wake_opaque = l;
	r = -pthread_mutex_init(&l->lock, NULL);
	if (r)
		goto no_lock;
	r = open_fds(l);
	if (r)
		goto no_fds;
	*out = l;
	return 0;
no_fds:
	pthread_mutex_destroy(&l->lock);
no_lock:
	timerq_fini(&l->timers);
no_timers:
	free(l);
	return r;
}

/* Runs what is posted by now, oldest first; says whether there was anything. */
static bool run_work(struct loop *l)
{
	struct work *w;
	bool any;

	pthread_mutex_lock(&l->lock);
	w = l->work;
	l->work = NULL;
	l->work_tail = &l->work;
	pthread_mutex_unlock(&l->lock);
	any = w != NULL;
	while (w) {
		struct work *next = w->next;

		w->fn(w->opaque);
		free(w);
		w = next;
	}
	return any;
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	while (run_work(l))
		;
	close(l->wakefd);
	close(l->epfd);
	pthread_mutex_destroy(&l->lock);
	timerq_fini(&l->timers);
	free(l);
}

struct timerq *loop_timers(struct loop *l)
{
	return &l->timers;
}

int loop_fd_add(struct loop *l, struct loop_fd *f)
{
	struct epoll_event ev = {.events = f->events, .data.ptr = f};

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, f->fd, &ev) < 0)
		return -errno;
	f->added = true;
	return 0;
}

int loop_fd_mod(struct loop *l, struct loop_fd *f, u32 events)
{
	struct epoll_event ev = {.events = events, .data.ptr = f};

	if (f->events == events)
		return 0;
	if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, f->fd, &ev) < 0)
		return -errno;
	f->events = events;
	return 0;
}

void loop_fd_del(struct loop *l, struct loop_fd *f)
{
	if (!f->added)
		return;
	f->added = false;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, f->fd, NULL);
	for (int i = 0; i < l->batch_len; i++) {
		if (l->batch[i].data.ptr == f)
			l->batch[i].data.ptr = NULL;
	}
}

int loop_post(struct loop *l, void (*fn)(void *), void *opaque)
{
	struct work *w = malloc(sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = (struct work){.fn = fn, .opaque = opaque};
	pthread_mutex_lock(&l->lock);
	*l->work_tail = w;
	l->work_tail = &w->next;
	pthread_mutex_unlock(&l->lock);
	wake(l);
	return 0;
}

/* epoll_pwait2 by hand: seccomp filters and old kernels answer ENOSYS or EPERM. */
static int wait_for(struct loop *l, const struct timespec *ts)
{
	struct pollfd p = {.fd = l->epfd, .events = POLLIN};

	if (!l->no_pwait2) {
		int n = epoll_pwait2(l->epfd, l->batch, BATCH, ts, NULL);

		if (n >= 0 || (errno != ENOSYS && errno != EPERM))
			return n;
		l->no_pwait2 = true;
	}
	if (ppoll(&p, 1, ts, NULL) < 0)
		return -1;
	return epoll_wait(l->epfd, l->batch, BATCH, 0);
}

static int wait_events(struct loop *l, u64 next)
{
	struct timespec ts = {0};
	u64 now, ns;

	if (next == TIMER_OFF || __atomic_load_n(&l->timers.clock->stopped, __ATOMIC_ACQUIRE))
		return wait_for(l, NULL);
	now = clock_now(l->timers.clock);
	if (next > now) {
		/* An hour at most, so that no conversion can overflow. */
		ns = MIN(next - now, 3600 * NS_PER_SEC);
		ts.tv_sec = (time_t)(ns / NS_PER_SEC);
		ts.tv_nsec = (long)(ns % NS_PER_SEC);
	}
	return wait_for(l, &ts);
}

static void on_wakefd(struct loop *l)
{
	u64 count;

	/*
	 * Read first, then clear the flag, then look at work and timers: a wake after the flag is
	 * cleared writes again, one before it comes with work that this round sees.
	 */
	if (read(l->wakefd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_rate("event loop: reading its wake-up descriptor: %s", strerrordesc_np(errno));
	__atomic_store_n(&l->woken, false, __ATOMIC_SEQ_CST);
}

static void dispatch(struct loop *l, int n)
{
	l->batch_len = n;
	for (int i = 0; i < n; i++) {
		struct loop_fd *f = l->batch[i].data.ptr;

		if ((void *)f == (void *)l)
			on_wakefd(l);
		else if (f)
			f->fn(f->opaque, l->batch[i].events);
	}
	l->batch_len = 0;
}

int loop_run(struct loop *l)
{
	int r = 0;

	/* Guest timers are as precise as the host lets them be; the default slack is 50 us. */
	prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
	l->thread = pthread_self();
	__atomic_store_n(&l->running, true, __ATOMIC_RELEASE);
	while (!__atomic_exchange_n(&l->stop, false, __ATOMIC_SEQ_CST)) {
		int n;

		run_work(l);
		n = wait_events(l, timerq_run(&l->timers));
		if (n >= 0) {
			dispatch(l, n);
		} else if (errno != EINTR) {
			r = -errno;
			break;
		}
	}
	__atomic_store_n(&l->running, false, __ATOMIC_RELEASE);
	return r;
}

void loop_stop(struct loop *l)
{
	const u64 one = 1;

	__atomic_store_n(&l->stop, true, __ATOMIC_SEQ_CST);
	/* Not by way of wake(): this one must arrive even between on_wakefd's read and its store. */
	if (write(l->wakefd, &one, sizeof(one)) < 0)
		return;
}
