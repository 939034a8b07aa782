/*
 * Byte streams between a guest's serial port and the host: the front door of the console room.
 *
 * A console has two directions. Output: console_write queues bytes (bounded ring); the loop thread
 * drains it; when the ring is full write says how many bytes it took and ready is called once there is room again.
 * Nothing is lost and no vCPU ever blocks. Input: receive(opaque, byte buffer) is called on the
 * loop thread and says how many bytes it took; console_rx_ready asks for the rest.
 *
 * Spec strings (-l com1,SPEC; alternatives may be combined with commas as hyperkit does,
 * e.g. autopty=PATH,log=FILE): stdio, null, autopty[=PATH], log=PATH, unix:PATH, /dev/...
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "base/types.h"

struct console;

struct console_ops {
	size_t (*receive)(void *opaque, const u8 *buf, size_t len); /* host -> guest; returns bytes taken */
	void (*ready)(void *opaque);  /* room for output again */
	void (*brk)(void *opaque);    /* a break condition from the host */
	void (*quit)(void *opaque);   /* the user typed the escape's quit */
};

/* Pure check of a spec (syntax only, nothing is opened). */
int console_check(const char *spec, struct err *e);

/* Opens the back end and starts to watch it on loop. stdio may be opened once at a time. */
int console_open(struct console **out, struct loop *loop, const char *spec, struct err *e);

/* Who receives. Call before the loop runs, or on the loop thread. */
void console_attach(struct console *c, const struct console_ops *ops, void *opaque);

size_t console_write(struct console *c, const u8 *buf, size_t len); /* any thread; bytes taken */
void console_rx_ready(struct console *c);                           /* any thread: receive may take more */

/* Drains output (waits a bounded time for a slow reader), restores the terminal, closes. */
void console_close(struct console *c);

/* What was opened, for the user: "stdio", "/dev/pts/4". */
const char *console_name(const struct console *c);

/* Restores the terminal if this process changed it. Async-signal-safe; called on every way out. */
void console_restore_tty(void);
