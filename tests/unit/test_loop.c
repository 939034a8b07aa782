/*
 * Timers against a model, and the event loop with real descriptors and threads. The clock is moved
 * by hand wherever an order or a deadline matters.
 */
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
	struct clock_manual clock;
	struct timerq q;
};

struct probe {
	struct timer t;
	unsigned fired;
	u64 last;
	struct fixture *f;
};

static void on_probe(void *opaque)
{
	struct probe *p = opaque;

	p->fired++;
	p->last = clock_now(p->f->q.clock);
}

static void setup(struct fixture *f)
{
	clock_manual_init(&f->clock, 1000);
	assert_int_equal(timerq_init(&f->q, &f->clock.clock), 0);
}

static void probe_init(struct probe *p, struct fixture *f, pthread_mutex_t *lock)
{
	*p = (struct probe){.f = f};
	timer_init(&p->t, &f->q, lock, on_probe, p);
}

static void test_basic(void **state)
{
	struct fixture f;
	struct probe a, b;

	setup(&f);
	probe_init(&a, &f, NULL);
	probe_init(&b, &f, NULL);
	assert_int_equal(timerq_run(&f.q), TIMER_OFF);
	timer_arm(&a.t, 2000);
	timer_arm(&b.t, 1500);
	assert_true(timer_armed(&a.t));
	assert_int_equal(timerq_next(&f.q), 1500);
	assert_int_equal(timerq_run(&f.q), 1500);
	f.clock.ns = 1500;
	assert_int_equal(timerq_run(&f.q), 2000);
	assert_int_equal(b.fired, 1);
	assert_int_equal(a.fired, 0);
	assert_false(timer_armed(&b.t));
	timer_arm(&a.t, 3000); /* replaces */
	f.clock.ns = 2500;
	assert_int_equal(timerq_run(&f.q), 3000);
	assert_int_equal(a.fired, 0);
	timer_cancel(&a.t);
	f.clock.ns = 5000;
	assert_int_equal(timerq_run(&f.q), TIMER_OFF);
	assert_int_equal(a.fired, 0);
	timer_arm(&a.t, 10); /* in the past: at once */
	timerq_run(&f.q);
	assert_int_equal(a.fired, 1);
	timer_arm(&a.t, TIMER_OFF);
	assert_false(timer_armed(&a.t));
	timerq_fini(&f.q);
}

#define NTIMERS 200

/* Random arming, cancelling and time steps against a plain array of deadlines. */
static void test_model(void **state)
{
	struct fixture f;
	struct probe *p = calloc(NTIMERS, sizeof(*p));
	u64 model[NTIMERS];
	unsigned expected[NTIMERS] = {0};
	u32 seed = 12345;

	setup(&f);
	for (int i = 0; i < NTIMERS; i++) {
		probe_init(&p[i], &f, NULL);
		model[i] = TIMER_OFF;
	}
	for (int step = 0; step < 20000; step++) {
		u32 i, what;
		u64 next = TIMER_OFF;

		seed = seed * 1664525 + 1013904223;
		i = (seed >> 8) % NTIMERS;
		what = (seed >> 20) % 8;
		if (what < 5) {
			model[i] = f.clock.ns + (seed >> 16) % 1000;
			timer_arm(&p[i].t, model[i]);
		} else if (what == 5) {
			model[i] = TIMER_OFF;
			timer_cancel(&p[i].t);
		} else {
			f.clock.ns += (seed >> 24) % 64;
		}
		for (int k = 0; k < NTIMERS; k++) {
			if (model[k] <= f.clock.ns) {
				expected[k]++;
				model[k] = TIMER_OFF;
			}
			next = MIN(next, model[k]);
		}
		assert_int_equal(timerq_run(&f.q), next);
		for (int k = 0; k < NTIMERS; k++)
			assert_int_equal(p[k].fired, expected[k]);
	}
	timerq_fini(&f.q);
	free(p);
}

static void rearm_now(void *opaque)
{
	struct probe *p = opaque;

	p->fired++;
	timer_arm(&p->t, 0);
}

/* A timer that is always due cannot keep the queue's thread for ever. */
static void test_bounded(void **state)
{
	struct fixture f;
	struct probe p = {.f = &f};

	setup(&f);
	timer_init(&p.t, &f.q, NULL, rearm_now, &p);
	timer_arm(&p.t, 0);
	assert_int_equal(timerq_run(&f.q), 0);
	assert_in_range(p.fired, 1, 100000);
	timerq_fini(&f.q);
}

/* A periodic timer catches up with every period that passed. */
static void periodic(void *opaque)
{
	struct probe *p = opaque;

	p->fired++;
	p->last += 100;
	timer_arm(&p->t, p->last);
}

static void test_periodic(void **state)
{
	struct fixture f;
	struct probe p = {.f = &f, .last = 1100};

	setup(&f);
	timer_init(&p.t, &f.q, NULL, periodic, &p);
	timer_arm(&p.t, 1100);
	f.clock.ns = 2050;
	assert_int_equal(timerq_run(&f.q), 2100);
	assert_int_equal(p.fired, 10);
	timerq_fini(&f.q);
}

static void count_wake(void *opaque)
{
	(*(unsigned *)opaque)++;
}

static void test_wake(void **state)
{
	struct fixture f;
	struct probe a, b;
	unsigned wakes = 0;

	setup(&f);
	f.q.wake = count_wake;
	f.q.wake_opaque = &wakes;
	probe_init(&a, &f, NULL);
	probe_init(&b, &f, NULL);
	timer_arm(&a.t, 5000);
	assert_int_equal(wakes, 1);
	timer_arm(&b.t, 6000);
	assert_int_equal(wakes, 1);
	timer_arm(&b.t, 4000);
	assert_int_equal(wakes, 2);
	timer_arm(&b.t, 4500); /* later is no reason to wake */
	timer_cancel(&a.t);
	assert_int_equal(wakes, 2);
	timerq_fini(&f.q);
}

/*
 * The stale firing: a thread holds the owner's lock while the queue pops the due timer and waits for
 * that lock; then it cancels (or re-arms). The old deadline must not fire.
 */
struct stale {
	struct fixture f;
	pthread_mutex_t lock;
	struct probe p;
};

static void *run_queue(void *opaque)
{
	struct stale *s = opaque;

	timerq_run(&s->f.q);
	return NULL;
}

static void wait_popped(struct timer *t)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	while (timer_armed(t))
		nanosleep(&ms, NULL);
}

static void test_stale(void **state)
{
	struct stale s;
	pthread_t thread;

	for (int rearm = 0; rearm < 2; rearm++) {
		setup(&s.f);
		pthread_mutex_init(&s.lock, NULL);
		probe_init(&s.p, &s.f, &s.lock);
		timer_arm(&s.p.t, 1000);
		pthread_mutex_lock(&s.lock);
		pthread_create(&thread, NULL, run_queue, &s);
		wait_popped(&s.p.t);
		if (rearm)
			timer_arm(&s.p.t, 9000);
		else
			timer_cancel(&s.p.t);
		pthread_mutex_unlock(&s.lock);
		pthread_join(thread, NULL);
		assert_int_equal(s.p.fired, 0);
		assert_int_equal(timerq_next(&s.f.q), rearm ? 9000 : TIMER_OFF);
		timerq_fini(&s.f.q);
		pthread_mutex_destroy(&s.lock);
	}
}

/* -- the loop -- */

struct world {
	struct loop *l;
	struct clock_tsc clock;
	pthread_t thread;
	unsigned count;
	unsigned order[8];
};

static void *loop_thread(void *opaque)
{
	struct world *w = opaque;

	assert_int_equal(loop_run(w->l), 0);
	return NULL;
}

static void world_start(struct world *w)
{
	*w = (struct world){0};
	clock_tsc_init(&w->clock);
	assert_int_equal(loop_create(&w->l, &w->clock.clock), 0);
}

static void bump(void *opaque)
{
	struct world *w = opaque;

	w->count++;
}

static void bump_and_stop(void *opaque)
{
	struct world *w = opaque;

	w->count++;
	loop_stop(w->l);
}

static void *poster(void *opaque)
{
	struct world *w = opaque;

	for (int i = 0; i < 5000; i++)
		assert_int_equal(loop_post(w->l, bump, w), 0);
	return NULL;
}

static void test_post(void **state)
{
	struct world w;
	pthread_t t[3];

	world_start(&w);
	pthread_create(&w.thread, NULL, loop_thread, &w);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, poster, &w);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	loop_post(w.l, bump_and_stop, &w);
	pthread_join(w.thread, NULL);
	assert_int_equal(w.count, 15001);
	/* Work posted after the loop stopped is done by destroy. */
	loop_post(w.l, bump, &w);
	loop_destroy(w.l);
	assert_int_equal(w.count, 15002);
}

static void test_stop_before_run(void **state)
{
	struct world w;

	world_start(&w);
	loop_stop(w.l);
	assert_int_equal(loop_run(w.l), 0);
	loop_destroy(w.l);
}

/* A timer armed by another thread while the loop sleeps without any deadline. */
static void test_timer_wakes(void **state)
{
	struct world w;
	struct timer t;

	world_start(&w);
	timer_init(&t, loop_timers(w.l), NULL, bump_and_stop, &w);
	pthread_create(&w.thread, NULL, loop_thread, &w);
	timer_arm(&t, clock_now(&w.clock.clock) + 2 * NS_PER_MS);
	pthread_join(w.thread, NULL);
	assert_int_equal(w.count, 1);
	loop_destroy(w.l);
}

struct pair {
	struct world *w;
	struct loop_fd f[2];
	unsigned called;
};

static void on_first(void *opaque, u32 revents)
{
	struct pair *p = opaque;

	/* Whichever comes first deletes both: the other must not be called from the same batch. */
	p->called++;
	assert_true(revents & EPOLLIN);
	loop_fd_del(p->w->l, &p->f[0]);
	loop_fd_del(p->w->l, &p->f[1]);
	loop_stop(p->w->l);
}

static void test_fd_del_in_batch(void **state)
{
	struct world w;
	struct pair p = {.w = &w};
	int a[2], b[2];

	world_start(&w);
	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	p.f[0] = (struct loop_fd){.fd = a[0], .events = EPOLLIN, .fn = on_first, .opaque = &p};
	p.f[1] = (struct loop_fd){.fd = b[0], .events = EPOLLIN, .fn = on_first, .opaque = &p};
	assert_int_equal(loop_fd_add(w.l, &p.f[0]), 0);
	assert_int_equal(loop_fd_add(w.l, &p.f[1]), 0);
	assert_int_equal(write(a[1], "x", 1), 1);
	assert_int_equal(write(b[1], "x", 1), 1);
	assert_int_equal(loop_run(w.l), 0);
	assert_int_equal(p.called, 1);
	loop_destroy(w.l);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

static void test_fd_regular_file(void **state)
{
	struct world w;
	struct loop_fd f = {.fd = open("/proc/self/exe", O_RDONLY), .events = EPOLLIN};

	world_start(&w);
	assert_int_equal(loop_fd_add(w.l, &f), -EPERM);
	loop_fd_del(w.l, &f); /* never added: nothing happens */
	close(f.fd);
	loop_destroy(w.l);
}

/* The clocks: the manual one, and that the host's TSC clock runs forward beside CLOCK_MONOTONIC. */
static void test_clock(void **state)
{
	struct clock_tsc c;
	u64 before, now;

	clock_tsc_init(&c);
	assert_true(c.tsc_hz > 100000000ull && c.tsc_hz < 20000000000ull);
	before = clock_now(&c.clock);
	for (int i = 0; i < 1000; i++) {
		now = clock_now(&c.clock);
		assert_true(now >= before);
		before = now;
	}
	assert_true(mul_div(UINT64_MAX, 1000, 1000) == UINT64_MAX);
	assert_int_equal(mul_div(3 * NS_PER_SEC, 1193182, NS_PER_SEC), 3 * 1193182);
}

/* What the clock leaves out is in the ticks that start returns; without it, it goes on where it stood. */
static void test_clock_stops(void **state)
{
	struct clock_tsc c;
	u64 ns, ticks, left_out;

	clock_tsc_init(&c);
	clock_tsc_stop(&c);
	assert_true(c.clock.stopped);
	ns = clock_now(&c.clock);
	ticks = clock_tsc_ticks(&c);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(clock_now(&c.clock), ns);
		assert_int_equal(clock_tsc_ticks(&c), ticks);
	}
	c.stop_tsc -= 3 * c.tsc_hz; /* as if it had stood there for three seconds */
	c.tsc0 -= 3 * c.tsc_hz;
	assert_int_equal(clock_tsc_ticks(&c), ticks);
	left_out = clock_tsc_start(&c);
	assert_false(c.clock.stopped);
	assert_true(left_out >= 3 * c.tsc_hz);
	assert_true(clock_tsc_ticks(&c) >= ticks);
	assert_true(clock_now(&c.clock) >= ns);
	assert_true(clock_tsc_ticks(&c) + left_out >= ticks + 3 * c.tsc_hz);
	clock_tsc_catch_up(&c, left_out);
	assert_true(clock_tsc_ticks(&c) >= ticks + 3 * c.tsc_hz);
}

static void start_clock(void *opaque)
{
	struct world *w = opaque;

	w->order[0] = w->count; /* nothing has fired */
	clock_tsc_start(&w->clock);
}

/* A loop whose clock stands still fires no timers, and fires them once it goes on. */
static void test_stopped_loop(void **state)
{
	struct world w;
	struct timer t;

	world_start(&w);
	w.order[0] = 1;
	clock_tsc_stop(&w.clock);
	timer_init(&t, loop_timers(w.l), NULL, bump_and_stop, &w);
	timer_arm(&t, clock_now(&w.clock.clock) + 1);
	pthread_create(&w.thread, NULL, loop_thread, &w);
	usleep(2000); /* gives it a chance to do it wrong */
	loop_post(w.l, start_clock, &w);
	pthread_join(w.thread, NULL);
	assert_int_equal(w.order[0], 0);
	assert_int_equal(w.count, 1);
	loop_destroy(w.l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_basic),
	        cmocka_unit_test(test_model),
	        cmocka_unit_test(test_bounded),
	        cmocka_unit_test(test_periodic),
	        cmocka_unit_test(test_wake),
	        cmocka_unit_test(test_stale),
	        cmocka_unit_test(test_post),
	        cmocka_unit_test(test_stop_before_run),
	        cmocka_unit_test(test_timer_wakes),
	        cmocka_unit_test(test_fd_del_in_batch),
	        cmocka_unit_test(test_fd_regular_file),
	        cmocka_unit_test(test_clock),
	        cmocka_unit_test(test_clock_stops),
	        cmocka_unit_test(test_stopped_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
