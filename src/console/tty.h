/*
 * Private to console/: terminals that this process put into raw mode, and giving them back on every
 * way out.
 */
#pragma once

#include "base/serial.h"

struct tty;

/*
 * Remembers the settings of the terminal fd (a duplicate is kept) and puts it into raw mode; as a
 * background job only tty_poll will, once we are in the foreground. NULL when fd is no terminal or
 * there are too many. With marks breaks are found in its input (mark.h). From the first one on, fatal signals
 * restore all terminals before they kill.
 */
struct tty *tty_open(int fd, bool marks);
void tty_close(struct tty *t); /* restores; NULL is fine */

/*
 * Speed and format from now on; a speed that terminals do not know is left as it was. Raw mode that a signal
 * handler enters at this moment may still have the old ones.
 */
void tty_set_line(struct tty *t, const struct serial_line *l);

/* Enters raw mode if that is wanted and possible. True if the terminal is raw now. */
bool tty_poll(struct tty *t);

/* False while another process group owns the terminal (we run in the background). */
bool tty_foreground(int fd);

/* What ^Z does: restores, stops the job, and is raw again when the job goes on. */
void tty_suspend(void);
