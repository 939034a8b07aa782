/*
 * Private to console/: one back end of a console. A console has up to SPEC_ITEMS_MAX streams, which
 * all get its output and whose input all goes to the one receiver.
 *
 * A stream owns up to two descriptors, one to read and one to write (two even where it is one file:
 * epoll wants it so). Everything here runs on the loop thread but what says "lock": the ring and the
 * flags above it are guarded by the console's lock.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "base/types.h"
#include "console/console.h"
#include "console/spec.h"

#include <sys/ioctl.h>
#include <sys/uio.h>

#define RING_SIZE (64 * 1024u)
#define INPUT_SIZE 4096u

struct stream;

struct stream_ops {
	/* Nobody reads any more, or the file failed with errno err: give up, or wait for the next reader. */
	void (*hangup)(struct stream *s, int err);
	/* Looks at n fresh bytes of input; returns how many remain (escape key). May be NULL. */
	size_t (*filter)(struct stream *s, u8 *buf, size_t n);
	/* Reading failed with err; true: it was dealt with. May be NULL. */
	bool (*read_failed)(struct stream *s, int err);
	/* Periodic look, started with stream_poll_later. May be NULL. */
	void (*poll)(struct stream *s);
	/* Size of the terminal; false if there is none or it does not say. May be NULL. */
	bool (*size)(struct stream *s, struct winsize *size);
	/* The modem lines of a serial device; false if there are none. May be NULL. */
	bool (*modem)(struct stream *s, u8 *lines);
	/* Puts on the line what the guest wants there; broke: with a break in between. May be NULL. */
	void (*line)(struct stream *s, const struct serial_line *line, bool broke);
	/* Releases what the back end has beyond the stream. The stream is freed by the caller. */
	void (*close)(struct stream *s);
};

/* How bytes leave, see stream_set_output. */
enum write_mode {
	WRITE_PLAIN,  /* our own non-blocking description, or a file that never blocks */
	WRITE_SOCKET, /* send with MSG_DONTWAIT */
	WRITE_SHARED, /* a description that others share: we must not make it non-blocking */
};

struct stream {
	struct console *console;
	const struct stream_ops *ops;
	char name[128];

	/* lock: */
	u8 *ring;
	u32 head, tail; /* free-running */
	bool connected; /* there is a reader: the ring pushes back. Else it keeps the newest bytes */
	bool dead;      /* output is dropped for good */
	bool waiting;   /* for EPOLLOUT */

	/* loop thread: */
	bool line; /* somebody can be there or not: it counts for the carrier */
	struct loop_fd wr;
	enum write_mode mode;
	bool wr_polled; /* epoll takes it; else it is a file that is always ready */
	struct loop_fd rd;
	bool rd_polled;
	bool rd_paused;    /* the guest must take what is in input first */
	bool keep_reading; /* read on although the guest takes nothing: the escape key must work */
	struct timer poll;
	size_t in_off, in_len;
	u8 input[INPUT_SIZE];
};

struct console {
	struct loop *loop;
	pthread_mutex_t lock;
	unsigned refs;           /* lock: the owner and every posted callback */
	bool closed;             /* lock */
	bool drain_posted;       /* lock */
	bool rx_posted;          /* lock */
	bool line_posted;        /* lock */
	bool broke;              /* lock: a break began since line was looked at */
	struct serial_line line; /* lock: what the guest wants on the line */
	bool starved;            /* lock: a write was cut short, ready is owed */
	bool stuck;              /* atomic: a stream has input that the receiver did not take */
	const struct console_ops *ops;
	void *opaque;
	struct stream *stream[SPEC_ITEMS_MAX];
	unsigned count;
	bool alone;          /* loop thread: what the receiver was told of the carrier */
	struct winsize size; /* loop thread: what the receiver was told of the terminal */
	int modem;           /* loop thread: what it was told of modem lines, or -1 */
	char name[256];
};

/* A zeroed stream of size bytes (a back end's struct starts with it) added to the console. */
struct stream *stream_new(struct console *c, size_t size, const struct stream_ops *ops);
void stream_destroy(struct stream *s);

/*
 * Gives descriptors to the stream, which closes them in any case. Output starts to flow. Input is
 * watched once the console is attached.
 */
int stream_set_output(struct stream *s, int fd, enum write_mode mode);
int stream_set_input(struct stream *s, int fd);
void stream_drop_output(struct stream *s);
void stream_drop_input(struct stream *s);

void stream_set_connected(struct stream *s, bool connected);
void stream_kill(struct stream *s, int err);   /* output is dropped from now on; says so once */
void stream_hangup(struct stream *s, int err); /* ops->hangup of what does not come back: both ways end */

void stream_drain(struct stream *s);       /* writes what can be written now */
void stream_drain_wait(struct stream *s);  /* before closing: waits for a slow reader */
void stream_start_input(struct stream *s); /* begins or goes on reading */
void stream_pause_input(struct stream *s); /* stops watching it, until stream_start_input */
void stream_deliver(struct stream *s);     /* hands the input over */
void stream_pull(struct stream *s);        /* the same, and reads on what epoll does not watch */
void stream_poll_later(struct stream *s);  /* ops->poll in a while */

/* Back ends. Each adds one stream to c, also when it fails: the caller closes the console then. */
int stdio_open(struct console *c, struct err *e);
int pty_open(struct console *c, const char *path, struct err *e);
int log_open(struct console *c, const char *path, struct err *e);
int unix_open(struct console *c, const char *path, struct err *e);
int tcp_open(struct console *c, u16 port, struct err *e);
int device_open(struct console *c, const char *path, struct err *e);

/* console.c: output or input is looked at on the loop thread soon. Any thread, lock not held. */
void console_post_drain(struct console *c);
void console_post_rx(struct console *c);

/* console.c: writes what can be written and tells the guest about room. Loop thread. */
void console_drain(struct console *c);

/* console.c: tells the guest when the last reader left or the first one came. Loop thread. */
void console_look_carrier(struct console *c);

/* console.c: tells the guest of modem lines that have changed. Loop thread. */
void console_look_modem(struct console *c);

/* The size of the terminal fd, for ops->size. */
bool stream_winsize(int fd, struct winsize *size);
