/*
 * Byte streams between a guest's serial port and the host: the front door of the console room.
 *
 * A console has two directions. Output: console_write queues bytes (bounded ring); the loop thread
 * drains it; when the ring is full write says how many bytes it took and ready is called once there
 * is room again. Nothing is lost and no vCPU ever blocks. Where nobody can read (a pseudo terminal
 * that nobody opened, a socket without client) the ring keeps the newest 64 KiB for whoever comes.
 * Input: receive(opaque, byte buffer) is called on the loop thread and says how many bytes it took;
 * console_rx_ready asks for the rest.
 *
 * Somebody is at the other end as long as a terminal, a client or a device is: a pseudo terminal has to be
 * opened, a socket connected. Where there is only a log file, or nothing, nobody can leave either.
 *
 * A serial device of the host has a line of its own: what the guest's port puts on its line (speed and
 * format, a break, DTR and RTS) goes there with console_set_line, and its modem lines come back. Other back
 * ends have no way for either.
 *
 * Spec strings (-l com1,SPEC; several may be combined with commas, e.g. autopty=PATH,log=FILE; all
 * get the output): stdio, null, autopty[=PATH], log=PATH, unix:PATH, /dev/...
 *
 * Locks: a caller may hold its own lock in console_write, console_rx_ready and console_set_line; the
 * callbacks are called with no lock held. The process must ignore SIGPIPE.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "base/serial.h"
#include "base/types.h"

struct console;

struct console_ops {
	size_t (*receive)(void *opaque, const u8 *buf, size_t len); /* host -> guest; returns bytes taken */
	void (*ready)(void *opaque);                                /* room for output again */
	void (*brk)(void *opaque);                                  /* a break condition from the host */
	void (*quit)(void *opaque);                                 /* the user typed the escape's quit */
	/*
	 * May be NULL. carrier: somebody came or left; at first it is taken that somebody is there, and
	 * attaching corrects that. modem: the lines of a device that has them (enum serial_modem), when it is
	 * attached and when they change. resized: the terminal's size, when it is known and when it changes.
	 */
	void (*carrier)(void *opaque, bool there);
	void (*modem)(void *opaque, u8 lines);
	void (*resized)(void *opaque, u16 columns, u16 rows);
};

/* Pure check of a spec (syntax only, nothing is opened). */
int console_check(const char *spec, struct err *e);

/* Whether a well-formed spec names stdio, which only one console of the process can have. */
bool console_uses_stdio(const char *spec);

/* Opens the back end and starts to watch it on loop. stdio may be opened once at a time. */
int console_open(struct console **out, struct loop *loop, const char *spec, struct err *e);

/* A console on a TCP port of the loopback, one client at a time (-g). */
int console_open_tcp(struct console **out, struct loop *loop, u16 port, struct err *e);

/*
 * Who receives. Call before the loop runs, or on the loop thread; input is not read before. The
 * callbacks must not close the console.
 */
void console_attach(struct console *c, const struct console_ops *ops, void *opaque);

/* On the loop thread: the terminal may have another size now (SIGWINCH). */
void console_look_size(struct console *c);

size_t console_write(struct console *c, const u8 *buf, size_t len); /* any thread; bytes taken */
void console_rx_ready(struct console *c);                           /* any thread: receive may take more */

/*
 * Any thread: the guest's port puts this on its line. What was written before goes out before that, if it
 * does so within a few seconds; a break that has ended by then is sent all the same.
 */
void console_set_line(struct console *c, const struct serial_line *line);

/*
 * Drains output (waits a bounded time for a slow reader), restores the terminal, closes. On the loop
 * thread, or when the loop has stopped; before loop_destroy. Nobody may call console_write any more.
 */
void console_close(struct console *c);

/* What was opened, for the user: "stdio", "/dev/pts/4". */
const char *console_name(const struct console *c);

/* Restores the terminal if this process changed it. Async-signal-safe; called on every way out. */
void console_restore_tty(void);
