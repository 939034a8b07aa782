/*
 * Timers on an injectable clock, and the event loop of the host side.
 *
 * struct timerq holds timers by deadline. Any thread may arm and cancel. Callbacks run on the
 * thread that calls timerq_run (the loop thread; a test), with the timer's owner lock held, so chip
 * code never sees a callback beside a register access. A timer cancelled or re-armed under its
 * owner's lock never fires for the old deadline: the queue checks again after it got the lock.
 *
 * struct loop is one epoll instance with a wake-up eventfd. All loop_* functions but loop_post,
 * loop_stop are for the loop's own thread (or before it runs). While the clock is stopped the loop
 * waits for events only; whoever starts the clock does so on the loop's thread.
 */
#pragma once

#include "base/clock.h"
#include "base/types.h"
#include <pthread.h>

struct timerq;

struct timer {
	void (*fn)(void *opaque);
	void *opaque;
	pthread_mutex_t *lock; /* owner's lock, taken around fn; NULL for none */
	struct timerq *q;
	/* private to loop.c, under q->lock */
	u64 deadline; /* ns; TIMER_OFF when not armed */
	s32 slot;     /* index in the heap or -1 */
	u32 seq;      /* counts arm/cancel, to see a stale firing */
};

#define TIMER_OFF UINT64_MAX

struct timerq {
	const struct clock *clock;
	pthread_mutex_t lock;
	struct timer **heap;
	u32 count, cap;
	void (*wake)(void *opaque); /* the earliest deadline moved forward; may be NULL */
	void *wake_opaque;
};

int timerq_init(struct timerq *q, const struct clock *clock);
void timerq_fini(struct timerq *q);

/*
 * Fires everything due at clock_now, by deadline; returns the next deadline or TIMER_OFF. A callback
 * may re-arm its timer, also for a past deadline (a periodic timer that catches up); after 1024
 * firings the round ends and the deadline returned may be in the past.
 */
u64 timerq_run(struct timerq *q);
u64 timerq_next(struct timerq *q);

void timer_init(struct timer *t, struct timerq *q, pthread_mutex_t *lock, void (*fn)(void *), void *opaque);
void timer_arm(struct timer *t, u64 deadline_ns); /* absolute, of q->clock; replaces an earlier one */
void timer_cancel(struct timer *t);
bool timer_armed(struct timer *t);

/* --- the loop --- */

struct loop;

/* Watches fd for events (EPOLLIN, EPOLLOUT, ...); fn runs on the loop thread. The caller owns both. */
struct loop_fd {
	int fd;
	u32 events;
	void (*fn)(void *opaque, u32 revents);
	void *opaque;
	/* private */
	bool added;
};

int loop_create(struct loop **out, const struct clock *clock);
void loop_destroy(struct loop *l); /* runs posted work first */
struct timerq *loop_timers(struct loop *l);

int loop_fd_add(struct loop *l, struct loop_fd *f);
int loop_fd_mod(struct loop *l, struct loop_fd *f, u32 events);
void loop_fd_del(struct loop *l, struct loop_fd *f); /* no callback after return */

/* Any thread: run fn(opaque) soon on the loop thread. 0 or -ENOMEM. */
int loop_post(struct loop *l, void (*fn)(void *), void *opaque);

int loop_run(struct loop *l); /* until loop_stop */
void loop_stop(struct loop *l);
