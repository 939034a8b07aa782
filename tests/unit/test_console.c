/*
 * Consoles on real pipes, pseudo terminals and sockets. The loop runs on a thread of its own, as in
 * the machine; the test's thread plays the vCPU (console_write, console_rx_ready) and the user at
 * the other end. stdio is tested with descriptors 0 and 1 replaced.
 */
#include "base/log.h"
#include "console/console.h"
#include "console/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* -- a console with its loop and a guest that takes what it is told to take -- */

struct guest {
	struct loop *loop;
	struct clock_tsc clock;
	pthread_t thread;
	struct console *c;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char got[1 << 16];
	size_t got_len;
	size_t appetite; /* bytes it takes before it is full */
	unsigned ready, breaks, quits;
	unsigned came, left; /* times that somebody did */
	unsigned columns, rows;
};

static size_t receive(void *opaque, const u8 *buf, size_t len)
{
	struct guest *g = opaque;
	size_t n;

	pthread_mutex_lock(&g->lock);
	n = MIN(MIN(len, g->appetite), sizeof(g->got) - g->got_len);
	memcpy(g->got + g->got_len, buf, n);
	g->got_len += n;
	g->appetite -= n;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	return n;
}

static void count(struct guest *g, unsigned *what)
{
	pthread_mutex_lock(&g->lock);
	(*what)++;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void on_ready(void *opaque)
{
	struct guest *g = opaque;

	count(g, &g->ready);
}

static void on_break(void *opaque)
{
	struct guest *g = opaque;

	count(g, &g->breaks);
}

static void on_quit(void *opaque)
{
	struct guest *g = opaque;

	count(g, &g->quits);
}

static void on_carrier(void *opaque, bool there)
{
	struct guest *g = opaque;

	count(g, there ? &g->came : &g->left);
}

static void on_resized(void *opaque, u16 columns, u16 rows)
{
	struct guest *g = opaque;

	pthread_mutex_lock(&g->lock);
	g->columns = columns;
	g->rows = rows;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static const struct console_ops guest_ops = {.receive = receive,
        .ready = on_ready,
        .brk = on_break,
        .quit = on_quit,
        .carrier = on_carrier,
        .resized = on_resized};

static void *run_loop(void *opaque)
{
	struct guest *g = opaque;

	loop_run(g->loop);
	return NULL;
}

static int guest_open(struct guest *g, const char *spec, struct err *e)
{
	int r;

	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	g->appetite = SIZE_MAX;
	clock_tsc_init(&g->clock);
	assert_int_equal(loop_create(&g->loop, &g->clock.clock), 0);
	r = console_open(&g->c, g->loop, spec, e);
	if (r) {
		loop_destroy(g->loop);
		return r;
	}
	console_attach(g->c, &guest_ops, g);
	return 0;
}

static void guest_run(struct guest *g)
{
	assert_int_equal(pthread_create(&g->thread, NULL, run_loop, g), 0);
}

static void guest_start(struct guest *g, const char *spec)
{
	struct err e = {0};

	if (guest_open(g, spec, &e))
		fail_msg("%s: %s", spec, e.text);
	guest_run(g);
}

static void guest_stop(struct guest *g)
{
	loop_stop(g->loop);
	pthread_join(g->thread, NULL);
	console_close(g->c);
	loop_destroy(g->loop);
	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->changed);
}

/* Waits until at least n bytes came in and compares all of them. */
static void expect_input(struct guest *g, const char *text)
{
	pthread_mutex_lock(&g->lock);
	while (g->got_len < strlen(text))
		pthread_cond_wait(&g->changed, &g->lock);
	assert_int_equal(g->got_len, strlen(text));
	assert_memory_equal(g->got, text, g->got_len);
	pthread_mutex_unlock(&g->lock);
}

static void expect_count(struct guest *g, const unsigned *what, unsigned n)
{
	pthread_mutex_lock(&g->lock);
	while (*what < n)
		pthread_cond_wait(&g->changed, &g->lock);
	assert_int_equal(*what, n);
	pthread_mutex_unlock(&g->lock);
}

static void set_appetite(struct guest *g, size_t n)
{
	pthread_mutex_lock(&g->lock);
	g->appetite = n;
	pthread_mutex_unlock(&g->lock);
	console_rx_ready(g->c);
}

static void nap(void)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	nanosleep(&ms, NULL);
}

static void write_all(struct guest *g, const void *text, size_t len)
{
	const u8 *p = text;

	while (len > 0) {
		size_t n = console_write(g->c, p, len);

		p += n;
		len -= n;
		if (len)
			nap();
	}
}

static void say(struct guest *g, const char *text)
{
	write_all(g, text, strlen(text));
}

/* Reads exactly what text says from fd, waiting for it. */
static void expect_read(int fd, const char *text)
{
	char buf[4096];
	size_t len = 0, want = strlen(text);

	while (len < want) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&p, 1, 20000), 1);
		n = read(fd, buf + len, MIN(sizeof(buf) - len, want - len));
		assert_true(n > 0);
		len += (size_t)n;
	}
	assert_memory_equal(buf, text, want);
}

/* -- descriptors 0, 1 and 2 replaced -- */

struct swap {
	int saved[3];
};

static void swap_in(struct swap *s, int in, int out, int err)
{
	const int new[3] = {in, out, err};

	fflush(NULL);
	for (int i = 0; i < 3; i++) {
		s->saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 100);
		if (new[i] >= 0)
			dup2(new[i], i);
	}
}

static void swap_back(struct swap *s)
{
	for (int i = 0; i < 3; i++) {
		dup2(s->saved[i], i);
		close(s->saved[i]);
	}
}

static char dir[64];

static const char *path_of(const char *name)
{
	static char path[2][128];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static size_t slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, buf, size - 1);
	close(fd);
	assert_true(n >= 0);
	buf[n] = 0;
	return (size_t)n;
}

/* -- specs -- */

static void test_specs(void **state)
{
	static const struct {
		const char *spec, *message; /* NULL: good */
	} cases[] = {
	        {"stdio", NULL},
	        {"null", NULL},
	        {"autopty", NULL},
	        {"autopty=/tmp/x", NULL},
	        {"autopty=a=b,log=c:d", NULL},
	        {"log=/tmp/x", NULL},
	        {"unix:/tmp/x", NULL},
	        {"/dev/ttyUSB0", NULL},
	        {"stdio,log=x", NULL},
	        {"stdio,autopty,log=a,log=b", NULL},
	        {"", "a back end is missing (-l help lists them)"},
	        {"stdio,", "a back end is missing (-l help lists them)"},
	        {",stdio", "a back end is missing (-l help lists them)"},
	        {"stdoi", "stdoi: unknown back end: did you mean stdio?"},
	        {"STDIO", "STDIO: unknown back end: did you mean stdio?"},
	        {"autopyt=/x", "autopyt: unknown back end: did you mean autopty?"},
	        {"telnet:80", "telnet: unknown back end (-l help lists them)"},
	        {"stdio=x", "stdio=x: stdio has no options"},
	        {"null:x", "null:x: null has no options"},
	        {"autopty=", "autopty=: must be autopty=PATH"},
	        {"autopty:x", "autopty:x: must be autopty=PATH"},
	        {"log", "log: must be log=PATH"},
	        {"log=", "log=: must be log=PATH"},
	        {"unix=/x", "unix=/x: must be unix:PATH"},
	        {"unix:", "unix:: must be unix:PATH"},
	        {"stdio,stdio", "stdio: named twice"},
	        {"null,null,null,null,null", "null: more than 4 back ends"},
	        {"asl", "asl: Apple's system log does not exist here; use log=PATH"},
	};
	char longer[300];
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = console_check(cases[i].spec, &e);

		if (!cases[i].message) {
			if (r)
				fail_msg("%s: %s", cases[i].spec, e.text);
			continue;
		}
		assert_int_equal(r, -EINVAL);
		assert_string_equal(e.text, cases[i].message);
	}
	snprintf(longer, sizeof(longer), "unix:/%0120d", 0);
	assert_int_equal(console_check(longer, &e), -EINVAL);
	assert_true(console_uses_stdio("log=x,stdio"));
	assert_false(console_uses_stdio("log=stdio"));
	assert_false(console_uses_stdio(""));
}

/* -- stdio with pipes and files -- */

/* A full pipe takes what it takes; the guest is told; nothing is lost and flags are not touched. */
static void test_full_pipe(void **state)
{
	enum { TOTAL = 400000 };
	struct swap swap;
	struct guest g;
	int out[2], in[2];
	u8 *sent = malloc(TOTAL), *seen = malloc(TOTAL);
	size_t done = 0, got = 0;
	unsigned stalled;

	for (int i = 0; i < TOTAL; i++)
		sent[i] = (u8)(i * 7 + i / 251);
	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(in), 0);
	swap_in(&swap, in[0], out[1], -1);
	guest_start(&g, "stdio");
	swap_back(&swap);
	/* Nobody reads: the writes end short at some time, and never block. */
	for (int refused = 0; refused < 20 && done < TOTAL;) {
		size_t n = console_write(g.c, sent + done, MIN(1000, TOTAL - done));

		done += n;
		refused = n ? 0 : refused + 1;
		if (!n)
			nap();
	}
	assert_true(done >= 64 * 1024 && done < TOTAL);
	pthread_mutex_lock(&g.lock);
	stalled = g.ready;
	pthread_mutex_unlock(&g.lock);
	assert_false(fcntl(out[1], F_GETFL) & O_NONBLOCK);
	while (got < TOTAL) {
		struct pollfd p = {.fd = out[0], .events = POLLIN};
		ssize_t n;

		done += console_write(g.c, sent + done, TOTAL - done);
		if (poll(&p, 1, 1) == 1) {
			n = read(out[0], seen + got, TOTAL - got);
			assert_true(n > 0);
			got += (size_t)n;
		}
	}
	pthread_mutex_lock(&g.lock);
	while (g.ready == stalled)
		pthread_cond_wait(&g.changed, &g.lock);
	pthread_mutex_unlock(&g.lock);
	assert_memory_equal(sent, seen, TOTAL);
	guest_stop(&g);
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
	free(sent);
	free(seen);
}

struct slow_reader {
	int fd;
	size_t got;
};

static void *read_slowly(void *opaque)
{
	struct slow_reader *s = opaque;
	char buf[8192];
	ssize_t n;

	while ((n = read(s->fd, buf, sizeof(buf))) > 0) {
		s->got += (size_t)n;
		nap();
	}
	return NULL;
}

/* What is in the ring when the machine ends still reaches a slow reader. */
static void test_drain_at_close(void **state)
{
	struct slow_reader reader = {0};
	struct swap swap;
	struct guest g;
	pthread_t t;
	int out[2];
	u8 *block = calloc(1, 1 << 20);
	size_t done = 0;

	assert_int_equal(pipe(out), 0);
	swap_in(&swap, -1, out[1], -1);
	guest_start(&g, "stdio");
	swap_back(&swap);
	close(out[1]);
	for (int refused = 0; refused < 20;) {
		size_t n = console_write(g.c, block, 5000);

		done += n;
		refused = n ? 0 : refused + 1;
		if (!n)
			nap();
	}
	reader.fd = out[0];
	pthread_create(&t, NULL, read_slowly, &reader);
	guest_stop(&g);
	pthread_join(t, NULL);
	assert_int_equal(reader.got, done);
	close(out[0]);
	free(block);
}

/* The reader goes away: output is dropped, the guest never waits for it. */
static void test_broken_pipe(void **state)
{
	struct swap swap;
	struct guest g;
	int out[2], null = open("/dev/null", O_RDWR);
	u8 block[1000] = {0};

	assert_int_equal(pipe(out), 0);
	swap_in(&swap, null, out[1], null);
	guest_start(&g, "stdio");
	close(out[1]);
	say(&g, "x");
	expect_read(out[0], "x");
	close(out[0]);
	for (int i = 0; i < 1000; i++)
		write_all(&g, block, sizeof(block));
	guest_stop(&g);
	swap_back(&swap);
	close(null);
}

/* End of input is fine, output goes on; bytes are not touched (no escape key without a terminal). */
static void test_pipe_input(void **state)
{
	struct swap swap;
	struct guest g;
	int in[2], out[2];

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	swap_in(&swap, in[0], out[1], -1);
	guest_start(&g, "stdio");
	swap_back(&swap);
	assert_int_equal(write(in[1], "a\x1dq\x1d\x1d z", 7), 7);
	expect_input(&g, "a\x1dq\x1d\x1d z");
	close(in[1]);
	say(&g, "still here");
	expect_read(out[0], "still here");
	assert_int_equal(g.quits, 0);
	guest_stop(&g);
	close(in[0]);
	close(out[0]);
	close(out[1]);
}

/* A guest that takes nothing holds the input back, and gets all of it later. */
static void test_input_pressure(void **state)
{
	struct swap swap;
	struct guest g;
	struct err e;
	int in[2];
	char text[20001];

	for (int i = 0; i < 20000; i++)
		text[i] = (char)('a' + i % 26);
	text[20000] = 0;
	assert_int_equal(pipe(in), 0);
	swap_in(&swap, in[0], -1, -1);
	assert_int_equal(guest_open(&g, "stdio", &e), 0);
	swap_back(&swap);
	g.appetite = 3;
	guest_run(&g);
	assert_int_equal(write(in[1], text, 20000), 20000);
	close(in[1]);
	text[3] = 0;
	expect_input(&g, text);
	text[3] = 'd';
	for (size_t left = 20000 - 3; left > 0;) {
		size_t before = 20000 - left, n = MIN(left, 1111u);
		char cut;

		set_appetite(&g, n);
		cut = text[before + n];
		text[before + n] = 0;
		expect_input(&g, text);
		text[before + n] = cut;
		left -= n;
	}
	guest_stop(&g);
	close(in[0]);
}

/* Files and /dev/null as standard input: epoll refuses them. */
static void test_file_input(void **state)
{
	const char *path = path_of("input");
	char text[10001], out[16];
	struct swap swap;
	struct guest g;
	struct err e;
	int fd = open(path, O_RDWR | O_CREAT, 0600), null = open("/dev/null", O_RDONLY), file;

	for (int i = 0; i < 10000; i++)
		text[i] = (char)('A' + i % 26);
	text[10000] = 0;
	assert_int_equal(write(fd, text, 10000), 10000);
	lseek(fd, 0, SEEK_SET);
	file = open(path_of("output"), O_RDWR | O_CREAT | O_APPEND, 0600);
	swap_in(&swap, fd, file, -1);
	assert_int_equal(guest_open(&g, "stdio", &e), 0);
	swap_back(&swap);
	g.appetite = 100;
	guest_run(&g);
	set_appetite(&g, 5000);
	set_appetite(&g, SIZE_MAX);
	expect_input(&g, text);
	say(&g, "to a file");
	guest_stop(&g);
	slurp(path_of("output"), out, sizeof(out));
	assert_string_equal(out, "to a file");

	swap_in(&swap, null, file, -1);
	guest_start(&g, "stdio");
	swap_back(&swap);
	say(&g, ", more");
	guest_stop(&g);
	slurp(path_of("output"), out, sizeof(out));
	assert_string_equal(out, "to a file, more");
	close(fd);
	close(file);
	close(null);
}

/* Sockets cannot be opened again: they are used as they are, with their flags untouched. */
static void test_socket(void **state)
{
	struct swap swap;
	struct guest g;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	swap_in(&swap, pair[0], pair[0], -1);
	guest_start(&g, "stdio");
	swap_back(&swap);
	assert_int_equal(write(pair[1], "hello", 5), 5);
	expect_input(&g, "hello");
	say(&g, "world");
	expect_read(pair[1], "world");
	assert_false(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	guest_stop(&g);
	close(pair[0]);
	close(pair[1]);
}

/* -- stdio on a terminal -- */

struct terminal {
	int master, slave;
	struct termios before;
};

static void terminal_open(struct terminal *t)
{
	t->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->master >= 0);
	assert_int_equal(grantpt(t->master), 0);
	assert_int_equal(unlockpt(t->master), 0);
	t->slave = open(ptsname(t->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->slave >= 0);
	assert_int_equal(tcgetattr(t->slave, &t->before), 0);
}

static void terminal_close(struct terminal *t)
{
	close(t->master);
	close(t->slave);
}

static bool is_raw(const struct terminal *t)
{
	struct termios now;

	assert_int_equal(tcgetattr(t->slave, &now), 0);
	return !(now.c_lflag & (ICANON | ECHO | ISIG)) && !(now.c_oflag & OPOST);
}

static void expect_restored(const struct terminal *t)
{
	struct termios now;

	assert_int_equal(tcgetattr(t->slave, &now), 0);
	assert_int_equal(now.c_iflag, t->before.c_iflag);
	assert_int_equal(now.c_oflag, t->before.c_oflag);
	assert_int_equal(now.c_lflag, t->before.c_lflag);
	assert_int_equal(now.c_cflag, t->before.c_cflag);
	assert_memory_equal(now.c_cc, t->before.c_cc, sizeof(now.c_cc));
	assert_false(fcntl(t->slave, F_GETFL) & O_NONBLOCK);
}

#define GREETING "xhyve: Ctrl-] ? for help\r\n"

static void look_size(void *opaque)
{
	struct guest *g = opaque;

	console_look_size(g->c);
}

static void set_size(int fd, u16 columns, u16 rows)
{
	const struct winsize size = {.ws_col = columns, .ws_row = rows};

	assert_int_equal(ioctl(fd, TIOCSWINSZ, &size), 0);
}

static void test_terminal(void **state)
{
	struct terminal t;
	struct swap swap;
	struct guest g;

	terminal_open(&t);
	set_size(t.slave, 132, 43);
	swap_in(&swap, t.slave, t.slave, t.slave);
	guest_start(&g, "stdio");
	assert_true(is_raw(&t));
	expect_read(t.master, GREETING);
	assert_int_equal(write(t.master, "\x03ls\r", 4), 4);
	expect_input(&g, "\x03ls\r");
	say(&g, "a\nb\r\n");
	expect_read(t.master, "a\nb\r\n");
	/* Escape: break, itself, unknown, help, quit. */
	assert_int_equal(write(t.master,
	                         "\x1d"
	                         "b\x1d\x1dx\x1d"
	                         "h",
	                         7),
	        7);
	expect_count(&g, &g.breaks, 1);
	expect_input(&g, "\x03ls\r\x1dx");
	expect_read(t.master, "xhyve: Ctrl-] then: q quit, b send a break, z suspend");
	assert_int_equal(write(t.master, "\x1d", 1), 1);
	assert_int_equal(write(t.master, "q", 1), 1);
	expect_count(&g, &g.quits, 1);
	expect_count(&g, &g.columns, 132);
	expect_count(&g, &g.rows, 43);
	set_size(t.slave, 200, 60);
	assert_int_equal(loop_post(g.loop, look_size, &g), 0);
	expect_count(&g, &g.columns, 200);
	expect_count(&g, &g.rows, 60);
	assert_int_equal(g.left, 0);
	guest_stop(&g);
	swap_back(&swap);
	expect_restored(&t);
	terminal_close(&t);
}

/* The escape key works though the guest takes no input, however much was typed before. */
static void test_escape_of_hung_guest(void **state)
{
	struct terminal t;
	struct swap swap;
	struct guest g;
	struct err e;
	char junk[1000];

	memset(junk, 'j', sizeof(junk));
	terminal_open(&t);
	swap_in(&swap, t.slave, t.slave, t.slave);
	assert_int_equal(guest_open(&g, "stdio", &e), 0);
	g.appetite = 0;
	guest_run(&g);
	for (int i = 0; i < 20; i++)
		assert_int_equal(write(t.master, junk, sizeof(junk)), sizeof(junk));
	assert_int_equal(write(t.master, "\x1dq", 2), 2);
	expect_count(&g, &g.quits, 1);
	guest_stop(&g);
	swap_back(&swap);
	expect_restored(&t);
	terminal_close(&t);
}

static void test_stdio_once(void **state)
{
	struct guest g;
	struct err e = {0};
	struct console *second;
	struct swap swap;
	int null = open("/dev/null", O_RDWR);

	swap_in(&swap, null, null, -1);
	guest_start(&g, "stdio");
	assert_int_equal(console_open(&second, g.loop, "stdio", &e), -EBUSY);
	assert_string_equal(e.text, "stdio is already used by another console");
	guest_stop(&g);
	guest_start(&g, "stdio"); /* free again */
	guest_stop(&g);
	swap_back(&swap);
	close(null);
}

/*
 * What needs a process of its own (fresh signal handlers, a death) is this program started again
 * with an argument; see main. Descriptors 0 to 2 are the terminal; UP is a pipe to say "ready".
 */
#define UP 60

static void start_self(const struct terminal *t, int up, const char *what, const char *arg)
{
	static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

	dup2(t->slave, 0);
	dup2(t->slave, 1);
	dup2(t->slave, 2);
	dup2(up, UP);
	/* Jobs in the background of a script, or under nohup, ignore some of them. */
	for (size_t n = 0; n < ARRAY_SIZE(deadly); n++)
		signal(deadly[n], SIG_DFL);
	execl("/proc/self/exe", "test_console", what, arg, NULL);
	_exit(97);
}

static void self_open(struct guest *g)
{
	struct err e;

	signal(SIGPIPE, SIG_IGN);
	if (guest_open(g, "stdio", &e))
		_exit(99);
	guest_run(g);
	if (write(UP, "r", 1) != 1)
		_exit(98);
}

static void pause_for_key(struct guest *g)
{
	pthread_mutex_lock(&g->lock);
	while (!g->got_len)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

/* Ways to die with a raw terminal. The terminal must be as before. */
enum death { DIE_EXIT, DIE_ABORT, DIE_BUG, DIE_SEGV, DIE_TERM, DIE_HUP, DIE_QUIT, DEATHS };

static int die(enum death how)
{
	static struct guest g; /* its thread runs on while this one exits */

	/* The child's parent waits until the terminal was seen raw. */
	self_open(&g);
	pause_for_key(&g);
	switch (how) {
	case DIE_EXIT: return 7;
	case DIE_ABORT: abort();
	case DIE_BUG: BUG("on purpose");
	case DIE_SEGV: kill(getpid(), SIGSEGV); break;
	case DIE_TERM: kill(getpid(), SIGTERM); break;
	case DIE_HUP: kill(getpid(), SIGHUP); break;
	case DIE_QUIT: kill(getpid(), SIGQUIT); break;
	case DEATHS: break;
	}
	pause();
	return 96;
}

static void check_death(enum death how, int sig)
{
	struct terminal t;
	char arg[8], c;
	int status, up[2];
	pid_t pid;

	terminal_open(&t);
	snprintf(arg, sizeof(arg), "%d", (int)how);
	assert_int_equal(pipe(up), 0);
	pid = fork();
	if (pid == 0)
		start_self(&t, up[1], "die", arg);
	close(up[1]);
	assert_int_equal(read(up[0], &c, 1), 1);
	assert_true(is_raw(&t));
	assert_int_equal(write(t.master, "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (sig) {
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), sig);
	} else {
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 7);
	}
	expect_restored(&t);
	close(up[0]);
	terminal_close(&t);
}

static void test_restored_on_death(void **state)
{
	check_death(DIE_EXIT, 0);
	check_death(DIE_ABORT, SIGABRT);
	check_death(DIE_BUG, SIGABRT);
	check_death(DIE_TERM, SIGTERM);
	check_death(DIE_HUP, SIGHUP);
	check_death(DIE_QUIT, SIGQUIT);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	check_death(DIE_SEGV, SIGSEGV); /* sanitizers catch it themselves, and exit */
#endif
}

/*
 * Job control, with a shell's part played by the test: a child owns the terminal as its session;
 * a grandchild in a process group of its own has the console.
 */
static int job(void)
{
	struct guest g;

	self_open(&g);
	pthread_mutex_lock(&g.lock);
	while (!g.quits)
		pthread_cond_wait(&g.changed, &g.lock);
	pthread_mutex_unlock(&g.lock);
	guest_stop(&g);
	return 5;
}

static void wait_raw(const struct terminal *t, bool raw)
{
	for (int i = 0; i < 20000 && is_raw(t) != raw; i++)
		nap();
	if (is_raw(t) != raw)
		_exit(raw ? 21 : 22);
}

#define CHECK(cond)                                                                                          \
	do {                                                                                                 \
		if (!(cond))                                                                                 \
			_exit(__LINE__ % 200 + 30);                                                          \
	} while (0)

static void shell(struct terminal *t)
{
	int up[2], status;
	pid_t pid;
	char c;

	setsid();
	CHECK(ioctl(t->slave, TIOCSCTTY, 0) == 0);
	signal(SIGTTOU, SIG_IGN);
	CHECK(pipe(up) == 0);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		signal(SIGTTOU, SIG_DFL);
		start_self(t, up[1], "job", "");
	}
	close(up[1]);
	setpgid(pid, pid);
	/* Started in the background: the terminal stays as it is. */
	CHECK(read(up[0], &c, 1) == 1);
	CHECK(!is_raw(t));
	/* fg without a signal: a timer sees it. */
	CHECK(tcsetpgrp(t->slave, pid) == 0);
	wait_raw(t, true);
	/* Ctrl-] z stops the job with a usable terminal. */
	CHECK(write(t->master, "\x1dz", 2) == 2);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	CHECK(!is_raw(t));
	/* fg with SIGCONT. */
	CHECK(kill(-pid, SIGCONT) == 0);
	wait_raw(t, true);
	/* A stop from outside. */
	CHECK(kill(pid, SIGTSTP) == 0);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	CHECK(!is_raw(t));
	CHECK(kill(pid, SIGCONT) == 0);
	wait_raw(t, true);
	CHECK(write(t->master, "\x1dq", 2) == 2);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 5);
	CHECK(!is_raw(t));
	_exit(0);
}

static void test_job_control(void **state)
{
	struct terminal t;
	int status;
	pid_t pid;

	terminal_open(&t);
	pid = fork();
	if (pid == 0)
		shell(&t);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	expect_restored(&t);
	terminal_close(&t);
}

/* -- the other back ends -- */

static void test_null(void **state)
{
	struct guest g;
	u8 block[100000] = {0};

	guest_start(&g, "null");
	assert_string_equal(console_name(g.c), "null");
	assert_int_equal(console_write(g.c, block, sizeof(block)), sizeof(block));
	guest_stop(&g);
}

static void test_log(void **state)
{
	const char *path = path_of("log");
	char spec[256], text[64];
	struct guest g;
	struct err e = {0};

	snprintf(spec, sizeof(spec), "log=%s", path);
	guest_start(&g, spec);
	say(&g, "first run\n");
	guest_stop(&g);
	guest_start(&g, spec);
	say(&g, "second run\n");
	guest_stop(&g);
	slurp(path, text, sizeof(text));
	assert_string_equal(text, "first run\nsecond run\n");
	snprintf(spec, sizeof(spec), "log=%s", dir);
	assert_int_equal(guest_open(&g, spec, &e), -EISDIR);
	assert_non_null(strstr(e.text, "Is a directory"));
}

static struct termios pty_settings(int fd)
{
	struct termios t;

	assert_int_equal(tcgetattr(fd, &t), 0);
	return t;
}

/* Output before anybody attached is kept, the newest of it; input works; detach and attach again. */
static void test_autopty(void **state)
{
	const char *path = path_of("tty");
	char spec[300], name[64], text[64];
	struct guest g;
	int fd;

	snprintf(spec, sizeof(spec), "autopty=%s,log=%s/ptylog", path, dir);
	guest_start(&g, spec);
	slurp(path, name, sizeof(name));
	assert_memory_equal(name, "/dev/pts/", 9);
	assert_memory_equal(console_name(g.c), name, strlen(name));
	say(&g, "boot messages\r\n");
	expect_count(&g, &g.left, 1); /* a log keeps nobody on the line */
	fd = open(name, O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	expect_count(&g, &g.came, 1);
	set_size(fd, 100, 25);
	assert_false(pty_settings(fd).c_lflag & ECHO);
	expect_read(fd, "boot messages\r\n");
	assert_int_equal(write(fd, "root\r", 5), 5);
	expect_input(&g, "root\r");
	expect_count(&g, &g.columns, 100);
	close(fd);
	expect_count(&g, &g.left, 2);
	say(&g, "while away\r\n");
	fd = open(name, O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	expect_read(fd, "while away\r\n");
	close(fd);
	guest_stop(&g);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(spec, sizeof(spec), "%s/ptylog", dir);
	slurp(spec, text, sizeof(text));
	assert_string_equal(text, "boot messages\r\nwhile away\r\n");
}

/* Nobody ever attaches: output never stops, and the file in the way is not destroyed. */
static void test_autopty_alone(void **state)
{
	const char *path = path_of("precious");
	char spec[200], text[64], name[64], *all;
	u8 block[1000];
	struct guest g;
	struct err e = {0};
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_int_equal(write(fd, "my data\n", 8), 8);
	close(fd);
	snprintf(spec, sizeof(spec), "autopty=%s", path);
	assert_int_equal(guest_open(&g, spec, &e), -EEXIST);
	slurp(path, text, sizeof(text));
	assert_string_equal(text, "my data\n");

	guest_start(&g, "autopty");
	memset(block, 'o', sizeof(block));
	for (int i = 0; i < 200; i++)
		assert_int_equal(console_write(g.c, block, sizeof(block)), sizeof(block));
	assert_int_equal(console_write(g.c, (const u8 *)"the end", 7), 7);
	snprintf(name, sizeof(name), "%s", console_name(g.c));
	fd = open(name, O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	all = malloc(65536);
	for (size_t seen = 0; seen < 65536;) {
		ssize_t n = read(fd, all + seen, 65536 - seen);

		assert_true(n > 0);
		seen += (size_t)n;
	}
	assert_memory_equal(all, block, sizeof(block));
	assert_memory_equal(all + 65536 - 7, "the end", 7);
	free(all);
	close(fd);
	guest_stop(&g);
}

static int dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void test_unix(void **state)
{
	const char *path = path_of("sock");
	char spec[200], rest[64];
	struct stat st;
	struct guest g;
	int a, b;

	snprintf(spec, sizeof(spec), "unix:%s", path);
	guest_start(&g, spec);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	say(&g, "early\n");
	expect_count(&g, &g.left, 1);
	a = dial(path);
	assert_true(a >= 0);
	expect_read(a, "early\n");
	expect_count(&g, &g.came, 1);
	assert_int_equal(write(a, "one", 3), 3);
	expect_input(&g, "one");
	/* A second client is sent away, the first goes on. */
	b = dial(path);
	assert_true(b >= 0);
	expect_read(b, "xhyve: this console has a client already\r\n");
	assert_int_equal(read(b, rest, sizeof(rest)), 0);
	close(b);
	/* Half-closed: no more input, but output. */
	shutdown(a, SHUT_WR);
	say(&g, "late\n");
	expect_read(a, "late\n");
	assert_int_equal(g.left, 1);
	close(a);
	expect_count(&g, &g.left, 2);
	/* Until the loop has seen the hang-up a new client is refused; then it is served. */
	for (;;) {
		b = dial(path);
		assert_true(b >= 0);
		say(&g, "+");
		assert_int_equal(read(b, rest, 1), 1);
		if (rest[0] == '+')
			break;
		close(b);
	}
	assert_int_equal(write(b, "two", 3), 3);
	expect_input(&g, "onetwo");
	guest_stop(&g);
	close(b);
	assert_int_equal(stat(path, &st), -1);
}

static void test_unix_stale(void **state)
{
	const char *path = path_of("stale");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char spec[200], text[32];
	struct guest g, h;
	struct err e = {0};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	/* A socket that nobody answers on is replaced. */
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	snprintf(spec, sizeof(spec), "unix:%s", path);
	guest_start(&g, spec);
	/* One that is alive is not. */
	assert_int_equal(guest_open(&h, spec, &e), -EADDRINUSE);
	guest_stop(&g);
	/* A file is never removed. */
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "file", 4), 4);
	close(fd);
	assert_int_equal(guest_open(&h, spec, &e), -EEXIST);
	slurp(path, text, sizeof(text));
	assert_string_equal(text, "file");
}

/* A client that does not read: the guest is held back, then gets going when it reads or leaves. */
static void test_unix_stalled_client(void **state)
{
	const char *path = path_of("stall");
	char spec[200], c;
	u8 block[4096] = {0};
	struct guest g;
	int fd;

	snprintf(spec, sizeof(spec), "unix:%s", path);
	guest_start(&g, spec);
	fd = dial(path);
	say(&g, "x");
	assert_int_equal(read(fd, &c, 1), 1);
	for (int refused = 0; refused < 20;) {
		size_t n = console_write(g.c, block, sizeof(block));

		refused = n ? 0 : refused + 1;
		if (!n)
			nap();
	}
	pthread_mutex_lock(&g.lock);
	g.ready = 0;
	pthread_mutex_unlock(&g.lock);
	close(fd);
	expect_count(&g, &g.ready, 1);
	write_all(&g, block, sizeof(block));
	guest_stop(&g);
}

static void test_tcp(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	struct guest g;
	struct err e = {0};
	struct console *second;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	/* A port that is free at this moment. */
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	close(fd);
	assert_int_equal(guest_open(&g, "null", &e), 0);
	console_close(g.c);
	assert_int_equal(console_open_tcp(&g.c, g.loop, ntohs(a.sin_port), &e), 0);
	assert_int_equal(console_open_tcp(&second, g.loop, ntohs(a.sin_port), &e), -EADDRINUSE);
	console_attach(g.c, &guest_ops, &g);
	guest_run(&g);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	say(&g, "from the guest");
	expect_read(fd, "from the guest");
	assert_int_equal(write(fd, "to it", 5), 5);
	expect_input(&g, "to it");
	guest_stop(&g);
	close(fd);
}

static void test_device(void **state)
{
	struct terminal t;
	struct guest g;
	struct err e = {0};
	char text[8];

	terminal_open(&t);
	guest_start(&g, ptsname(t.master));
	assert_true(is_raw(&t));
	say(&g, "to\n");
	expect_read(t.master, "to\n");
	/* No escape key; and a byte that the terminal uses for its marks is whole. */
	assert_int_equal(write(t.master, "from\x1dq\xff!", 8), 8);
	expect_input(&g, "from\x1dq\xff!");
	assert_int_equal(g.breaks, 0);
	guest_stop(&g);
	expect_restored(&t);
	terminal_close(&t);

	guest_start(&g, "/dev/null");
	say(&g, "gone");
	guest_stop(&g);
	assert_int_equal(guest_open(&g, "/dev/no-such-device", &e), -ENOENT);
	assert_string_equal(e.text, "/dev/no-such-device: No such file or directory");
	assert_int_equal(guest_open(&g, path_of("log"), &e), -ENOTTY);
	assert_true(slurp(path_of("log"), text, sizeof(text)) > 0);
}

/* Marks of a terminal's input, whole and cut anywhere: breaks, wrong bytes, the byte that marks itself. */
static void test_marks(void **state)
{
	static const u8 marked[] = "a\xff\xff"
	                           "b\xff\0\0"
	                           "c\xff\0\xff"
	                           "d\xff\0\0\xff\0\0\xff\0!";
	const size_t len = sizeof(marked) - 1;

	for (size_t cut = 0; cut <= len; cut++) {
		struct unmark m = {0};
		unsigned breaks = 0;
		u8 buf[sizeof(marked)];
		size_t n;

		memcpy(buf, marked, len);
		n = unmark(&m, buf, cut, &breaks);
		memmove(buf + n, buf + cut, len - cut);
		n += unmark(&m, buf + n, len - cut, &breaks);
		assert_int_equal(n, 7);
		assert_memory_equal(buf,
		        "a\xff"
		        "bc\xff"
		        "d!",
		        7);
		assert_int_equal(breaks, 3);
		assert_int_equal(m.seen, 0);
	}
}

/* Closing while callbacks are posted must not touch freed memory (run under ASan). */
static void test_close_with_work_posted(void **state)
{
	struct guest g;
	struct err e;
	struct swap swap;
	int null = open("/dev/null", O_RDWR);

	swap_in(&swap, null, null, -1);
	assert_int_equal(guest_open(&g, "stdio,autopty", &e), 0);
	say(&g, "posted");
	console_rx_ready(g.c);
	console_close(g.c);
	loop_destroy(g.loop);
	swap_back(&swap);
	close(null);
}

static int group_setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_INFO);
	snprintf(dir, sizeof(dir), "/tmp/xhyve-console-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int group_teardown(void **state)
{
	static const char *const names[] = {"input", "output", "log", "ptylog", "precious", "stale"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(path_of(names[i]));
	return rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_specs),
	        cmocka_unit_test(test_full_pipe),
	        cmocka_unit_test(test_drain_at_close),
	        cmocka_unit_test(test_broken_pipe),
	        cmocka_unit_test(test_pipe_input),
	        cmocka_unit_test(test_input_pressure),
	        cmocka_unit_test(test_file_input),
	        cmocka_unit_test(test_socket),
	        cmocka_unit_test(test_terminal),
	        cmocka_unit_test(test_escape_of_hung_guest),
	        cmocka_unit_test(test_stdio_once),
	        cmocka_unit_test(test_restored_on_death),
	        cmocka_unit_test(test_job_control),
	        cmocka_unit_test(test_null),
	        cmocka_unit_test(test_log),
	        cmocka_unit_test(test_autopty),
	        cmocka_unit_test(test_autopty_alone),
	        cmocka_unit_test(test_unix),
	        cmocka_unit_test(test_unix_stale),
	        cmocka_unit_test(test_unix_stalled_client),
	        cmocka_unit_test(test_tcp),
	        cmocka_unit_test(test_device),
	        cmocka_unit_test(test_marks),
	        cmocka_unit_test(test_close_with_work_posted),
	};

	if (argc > 2 && strcmp(argv[1], "die") == 0)
		return die((enum death)atoi(argv[2]));
	if (argc > 2 && strcmp(argv[1], "job") == 0)
		return job();
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
