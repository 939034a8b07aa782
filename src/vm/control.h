/*
 * The control socket: a server for lines of text on a UNIX socket (docs/control.md has the protocol), with
 * the machine behind a table of functions. Who may connect is decided by the socket's mode, 0600.
 *
 * Clients are not trusted to behave: lines, replies and the number of clients are bounded, nothing ever
 * waits for one of them. A client that does not read its replies is not read from.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "base/stats.h"

#define CONTROL_LINE_MAX 4096u /* with its newline */
#define CONTROL_REPLY_MAX (64 * 1024u)
#define CONTROL_CLIENTS_MAX 16u
#define CONTROL_GREETING "xhyve-control 1\n"

struct control;
struct reply;

/*
 * What the commands do. Everything is called on the loop's thread. Functions with e return 0, or -errno with
 * the message; device is what the client wrote.
 */
struct control_ops {
	void (*status)(void *opaque, struct reply *r);
	void (*devices)(void *opaque, struct reply *r);
	void (*stats)(void *opaque, struct stats_sink *out);
	int (*pause)(void *opaque, struct err *e);
	int (*resume)(void *opaque, struct err *e);
	int (*power)(void *opaque, struct err *e);
	int (*reset)(void *opaque, struct err *e);
	int (*quit)(void *opaque, struct err *e);
	int (*eject)(void *opaque, const char *device, bool force, struct err *e);
	int (*insert)(void *opaque, const char *device, const char *path, struct err *e);
	int (*link)(void *opaque, const char *device, bool up, struct err *e);
	int (*resize)(void *opaque, const char *device, u64 size, struct err *e); /* 0: as the file is */
};

/* Listens at path from the time the loop runs. On failure *out is NULL. */
int control_open(struct control **out, struct loop *loop, const char *path, const struct control_ops *ops,
        void *opaque, struct err *e);
/* Ends all connections; replies that were not read are lost. NULL is fine. */
void control_close(struct control *c);

/* --- replies --- */

struct reply {
	char text[CONTROL_REPLY_MAX];
	size_t len;
};

/* A line "= NAME VALUE". What does not fit is left out; control characters become "?". */
void reply_value(struct reply *r, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Runs one line (without newline; it is cut into pieces) and writes the whole reply. */
void control_run(const struct control_ops *ops, void *opaque, char *line, struct reply *r);
