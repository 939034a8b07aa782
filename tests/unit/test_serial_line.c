/*
 * A serial device of the host as the other end of a guest's port: speed and format, breaks and modem lines,
 * in both directions. The device is a pseudo terminal, which has no lines: ioctl(2) is wrapped, and what a
 * terminal does not know is answered here. Time is the test's.
 */
#include "console/console.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#define POLL_NS (250 * NS_PER_MS)

/* --- the device --- */

static struct {
	int lines;  /* what it finds on its line; 0: it has no lines */
	int queued; /* bytes that have not gone out */
	char did[64];
} device;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static int did(const char *what)
{
	strncat(device.did, what, sizeof(device.did) - strlen(device.did) - 1);
	return 0;
}

static int set_lines(int bits, const char *dtr, const char *rts)
{
	return did(bits == TIOCM_DTR ? dtr : bits == TIOCM_RTS ? rts : "?");
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (request) {
	case TIOCMGET:
		*(int *)arg = device.lines;
		errno = ENOTTY;
		return device.lines ? 0 : -1;
	case TIOCMBIS: return set_lines(*(int *)arg, "D", "R");
	case TIOCMBIC: return set_lines(*(int *)arg, "d", "r");
	case TIOCSBRK: return did("B");
	case TIOCCBRK: return did("b");
	case TIOCOUTQ: *(int *)arg = device.queued; return 0;
	default: return __real_ioctl(fd, request, arg);
	}
}

static void expect_done(const char *what)
{
	assert_string_equal(device.did, what);
	device.did[0] = 0;
}

/* --- the guest's side --- */

struct port {
	struct clock_manual clock;
	struct loop *loop;
	struct console *c;
	int master;
	int lines; /* what it was told last; -1: nothing */
	unsigned told;
	struct serial_line line;
};

static size_t receive(void *opaque, const u8 *buf, size_t len)
{
	return len;
}

static void nothing(void *opaque)
{
}

static void on_modem(void *opaque, u8 lines)
{
	struct port *p = opaque;

	p->lines = lines;
	p->told++;
}

static const struct console_ops ops = {
        .receive = receive, .ready = nothing, .brk = nothing, .quit = nothing, .modem = on_modem};

static void stop(void *opaque)
{
	loop_stop(opaque);
}

static void turn(struct port *p)
{
	assert_int_equal(loop_post(p->loop, stop, p->loop), 0);
	assert_int_equal(loop_run(p->loop), 0);
}

/* A poll's time goes by. */
static void later(struct port *p)
{
	p->clock.ns += POLL_NS;
	turn(p);
	turn(p);
}

static void setup_port(struct port *p, int lines)
{
	struct err e;

	memset(&device, 0, sizeof(device));
	device.lines = lines;
	*p = (struct port){.lines = -1, .line = {.speed = 9600, .bits = 8, .dtr = true, .rts = true}};
	clock_manual_init(&p->clock, 0);
	assert_int_equal(loop_create(&p->loop, &p->clock.clock), 0);
	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(p->master >= 0 && grantpt(p->master) == 0 && unlockpt(p->master) == 0);
	assert_int_equal(console_open(&p->c, p->loop, ptsname(p->master), &e), 0);
	console_attach(p->c, &ops, p);
	turn(p);
}

static void teardown_port(struct port *p)
{
	device.queued = 0;
	console_close(p->c);
	loop_destroy(p->loop);
	close(p->master);
}

static void put(struct port *p)
{
	console_set_line(p->c, &p->line);
	turn(p);
}

static void put_break(struct port *p, bool on)
{
	p->line.brk = on;
	put(p);
}

/* --- tests --- */

static void modem_lines(void **state)
{
	struct port p;

	setup_port(&p, TIOCM_CTS | TIOCM_CD | TIOCM_DTR);
	assert_int_equal(p.lines, MODEM_CTS | MODEM_DCD);
	later(&p);
	assert_int_equal(p.told, 1); /* nothing new */
	device.lines = TIOCM_DSR | TIOCM_RI;
	later(&p);
	assert_int_equal(p.lines, MODEM_DSR | MODEM_RI);
	expect_done("");
	put(&p);
	expect_done("DR"); /* the first time whatever the device had */
	put(&p);
	expect_done("");
	p.line.dtr = false;
	put(&p);
	expect_done("d");
	p.line.rts = false;
	p.line.dtr = true;
	put(&p);
	expect_done("Dr");
	teardown_port(&p);
}

static void no_modem_lines(void **state)
{
	struct port p;

	setup_port(&p, 0);
	put(&p);
	later(&p);
	expect_done("");
	assert_int_equal(p.told, 0);
	teardown_port(&p);
}

static void breaks(void **state)
{
	struct port p;

	setup_port(&p, 0);
	put_break(&p, true);
	expect_done("B");
	later(&p);
	expect_done("");
	put_break(&p, false);
	expect_done("b");
	/* One that is over before anybody looks */
	p.line.brk = true;
	console_set_line(p.c, &p.line);
	put_break(&p, false);
	expect_done("B");
	later(&p);
	expect_done("b");
	later(&p);
	expect_done("");
	teardown_port(&p);
}

/* What was written before goes out before; but not for ever. */
static void order(void **state)
{
	struct port p;

	setup_port(&p, 0);
	put(&p);
	device.queued = 7;
	put_break(&p, true);
	later(&p);
	put_break(&p, false);
	later(&p);
	expect_done("");
	device.queued = 0;
	later(&p);
	expect_done("B");
	later(&p);
	expect_done("b");
	device.queued = 7;
	put_break(&p, true);
	for (unsigned n = 0; n < 40; n++)
		later(&p);
	expect_done("B");
	teardown_port(&p);
}

/* A pseudo terminal always has eight bits and no parity; the rest of the format it keeps. */
static void format(void **state)
{
	struct port p;
	struct termios t;

	setup_port(&p, 0);
	put(&p);
	assert_int_equal(tcgetattr(p.master, &t), 0);
	assert_int_equal(cfgetospeed(&t), B9600);
	assert_false(t.c_cflag & CSTOPB);
	p.line = (struct serial_line){.speed = 57600, .bits = 7, .parity = PARITY_MARK, .two_stops = true};
	put(&p);
	assert_int_equal(tcgetattr(p.master, &t), 0);
	assert_int_equal(cfgetospeed(&t), B57600);
	assert_int_equal(t.c_cflag & (CSTOPB | PARODD | CMSPAR), CSTOPB | PARODD | CMSPAR);
	p.line.speed = 12345; /* nothing that a terminal knows */
	p.line.two_stops = false;
	put(&p);
	assert_int_equal(tcgetattr(p.master, &t), 0);
	assert_int_equal(cfgetospeed(&t), B57600);
	assert_false(t.c_cflag & CSTOPB);
	teardown_port(&p);
}

/* Others have no way for any of it. */
static void elsewhere(void **state)
{
	struct port p = {.line = {.speed = 300, .brk = true, .dtr = true}};
	struct err e;

	memset(&device, 0, sizeof(device));
	device.lines = TIOCM_CTS;
	clock_manual_init(&p.clock, 0);
	assert_int_equal(loop_create(&p.loop, &p.clock.clock), 0);
	assert_int_equal(console_open(&p.c, p.loop, "autopty", &e), 0);
	console_attach(p.c, &ops, &p);
	put(&p);
	expect_done("");
	assert_int_equal(p.told, 0);
	console_close(p.c);
	loop_destroy(p.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(modem_lines),
	        cmocka_unit_test(no_modem_lines),
	        cmocka_unit_test(breaks),
	        cmocka_unit_test(order),
	        cmocka_unit_test(format),
	        cmocka_unit_test(elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
