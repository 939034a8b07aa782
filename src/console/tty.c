/*
 * Raw terminals. The table of terminals is process-wide, as are signals and the terminal itself:
 * handlers can reach nothing else. Entries are published with atomic stores, so that a handler sees
 * an entry completely or not at all.
 *
 * Job control: SIGTTIN and SIGTTOU are ignored, so that the machine goes on in the background;
 * therefore we must look ourselves whether the terminal is ours before its settings are changed.
 * SIGTSTP restores before the process stops, SIGCONT enters raw mode again. A shell may continue a
 * background job without any signal, so the owner also calls tty_poll from a timer.
 */
#include "console/tty.h"
#include "base/log.h"
#include "console/console.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define TTY_MAX 8

struct tty {
	int fd;
	struct termios saved, raw;
	bool used;   /* atomic: the fields above are valid */
	bool is_raw; /* atomic: we changed the settings and have not restored them */
};

static struct tty table[TTY_MAX];

bool tty_foreground(int fd)
{
	pid_t owner = tcgetpgrp(fd);

	/* Not our controlling terminal: nobody else's job control either. */
	return owner < 0 || owner == getpgrp();
}

/* Async-signal-safe, as all that handlers call. */
static bool enter_raw(struct tty *t)
{
	if (__atomic_load_n(&t->is_raw, __ATOMIC_ACQUIRE))
		return true;
	if (!tty_foreground(t->fd))
		return false;
	/* First the flag: a handler that comes in between restores once too often, not too rarely. */
	__atomic_store_n(&t->is_raw, true, __ATOMIC_RELEASE);
	if (tcsetattr(t->fd, TCSANOW, &t->raw) == 0) {
		if (isatty(STDERR_FILENO))
			log_set_raw(true);
		return true;
	}
	__atomic_store_n(&t->is_raw, false, __ATOMIC_RELEASE);
	return false;
}

static void restore(struct tty *t)
{
	if (!__atomic_exchange_n(&t->is_raw, false, __ATOMIC_ACQ_REL))
		return;
	/* In the background the settings are the shell's business already. */
	if (tty_foreground(t->fd))
		tcsetattr(t->fd, TCSANOW, &t->saved);
	log_set_raw(false);
}

void console_restore_tty(void)
{
	int saved_errno = errno;

	for (size_t i = 0; i < TTY_MAX; i++) {
		if (__atomic_load_n(&table[i].used, __ATOMIC_ACQUIRE))
			restore(&table[i]);
	}
	errno = saved_errno;
}

static void enter_all(void)
{
	int saved_errno = errno;

	for (size_t i = 0; i < TTY_MAX; i++) {
		if (__atomic_load_n(&table[i].used, __ATOMIC_ACQUIRE))
			enter_raw(&table[i]);
	}
	errno = saved_errno;
}

/* The disposition is reset already (SA_RESETHAND): a fault repeats itself, others are sent again. */
static void on_fatal(int sig, siginfo_t *info, void *context)
{
	bool fault = sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL;

	console_restore_tty();
	if (!fault || info->si_code <= 0)
		raise(sig);
}

static void on_stop(int sig);

static void catch_stop(void)
{
	struct sigaction sa = {.sa_handler = on_stop, .sa_flags = SA_RESTART};

	sigemptyset(&sa.sa_mask);
	sigaction(SIGTSTP, &sa, NULL);
}

/*
 * Stops with the default action, so that the kernel's rule for orphaned process groups (nobody could
 * continue us: do not stop) holds. Execution goes on behind the unblocking when we are continued.
 */
static void on_stop(int sig)
{
	int saved_errno = errno;
	sigset_t set, old;

	console_restore_tty();
	signal(SIGTSTP, SIG_DFL);
	raise(SIGTSTP);
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	pthread_sigmask(SIG_UNBLOCK, &set, &old);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	catch_stop();
	enter_all();
	errno = saved_errno;
}

static void on_continue(int sig)
{
	enter_all();
}

/* Somebody else's handler (a sanitizer, an accelerator that catches faults) is left alone. */
static bool is_default(int sig)
{
	struct sigaction old;

	return sigaction(sig, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL;
}

static void install_handlers(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP, SIGXCPU,
	        SIGXFSZ, SIGQUIT, SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGUSR1, SIGUSR2};
	struct sigaction die = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK};
	struct sigaction cont = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
	static bool done;

	if (__atomic_exchange_n(&done, true, __ATOMIC_ACQ_REL))
		return;
	sigemptyset(&die.sa_mask);
	sigemptyset(&cont.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++) {
		if (is_default(fatal[i]))
			sigaction(fatal[i], &die, NULL);
	}
	if (is_default(SIGCONT))
		sigaction(SIGCONT, &cont, NULL);
	if (is_default(SIGTSTP))
		catch_stop();
	if (is_default(SIGTTIN))
		signal(SIGTTIN, SIG_IGN);
	if (is_default(SIGTTOU))
		signal(SIGTTOU, SIG_IGN);
	log_set_abort_hook(console_restore_tty);
	atexit(console_restore_tty);
}

struct tty *tty_open(int fd, bool marks)
{
	struct tty *t = NULL;

	for (size_t i = 0; i < TTY_MAX && !t; i++) {
		if (!table[i].used)
			t = &table[i];
	}
	if (!t || tcgetattr(fd, &t->saved) < 0)
		return NULL;
	t->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (t->fd < 0)
		return NULL;
	t->raw = t->saved;
	cfmakeraw(&t->raw);
	if (marks)
		t->raw.c_iflag |= PARMRK;
	t->raw.c_cc[VMIN] = 1;
	t->raw.c_cc[VTIME] = 0;
	t->is_raw = false;
	install_handlers();
	__atomic_store_n(&t->used, true, __ATOMIC_RELEASE);
	enter_raw(t);
	return t;
}

static speed_t speed_code(u32 speed)
{
	static const struct {
		u32 speed;
		speed_t code;
	} speeds[] = {{50, B50}, {75, B75}, {110, B110}, {134, B134}, {150, B150}, {200, B200}, {300, B300},
	        {600, B600}, {1200, B1200}, {1800, B1800}, {2400, B2400}, {4800, B4800}, {9600, B9600},
	        {19200, B19200}, {38400, B38400}, {57600, B57600}, {115200, B115200}};

	for (size_t i = 0; i < ARRAY_SIZE(speeds); i++)
		if (speeds[i].speed == speed)
			return speeds[i].code;
	return B0;
}

static tcflag_t format_flags(const struct serial_line *l)
{
	static const tcflag_t sizes[] = {CS5, CS6, CS7, CS8};
	tcflag_t v = sizes[(l->bits - 5) & 3];

	v |= l->two_stops ? CSTOPB : 0;
	v |= l->parity != PARITY_NONE ? PARENB : 0;
	v |= l->parity == PARITY_ODD || l->parity == PARITY_MARK ? PARODD : 0;
	v |= l->parity == PARITY_MARK || l->parity == PARITY_SPACE ? CMSPAR : 0;
	return v;
}

void tty_set_line(struct tty *t, const struct serial_line *l)
{
	speed_t speed = speed_code(l->speed);

	t->raw.c_cflag &= ~(CSIZE | CSTOPB | PARENB | PARODD | CMSPAR);
	t->raw.c_cflag |= format_flags(l);
	if (speed != B0)
		cfsetspeed(&t->raw, speed);
	if (__atomic_load_n(&t->is_raw, __ATOMIC_ACQUIRE))
		tcsetattr(t->fd, TCSANOW, &t->raw);
}

bool tty_poll(struct tty *t)
{
	return enter_raw(t);
}

void tty_close(struct tty *t)
{
	if (!t)
		return;
	restore(t);
	__atomic_store_n(&t->used, false, __ATOMIC_RELEASE);
	close(t->fd);
}

void tty_suspend(void)
{
	console_restore_tty();
	/* The whole job, as the terminal would do: a script that started us stops, too. */
	kill(0, SIGTSTP);
}
