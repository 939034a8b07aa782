/*
 * The control socket with a machine that only notes what it is asked for: the protocol's words, clients that
 * are slow, silent, many or rude, and the socket's name.
 */
#include "vm/control.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

/* --- a machine --- */

static char asked[512];

static int note(struct err *e, const char *what)
{
	snprintf(asked, sizeof(asked), "%s", what);
	return strstr(what, "bad") ? err_set(e, -EBUSY, "it is bad") : 0;
}

static void status(void *opaque, struct reply *r)
{
	reply_value(r, "state", "%s", "running\tup");
}

static void devices(void *opaque, struct reply *r)
{
	for (unsigned n = 0; n < 200; n++) /* more than fits */
		reply_value(r, "3", "%0900u", n);
}

static void stats(void *opaque, struct stats_sink *out)
{
	stats_put(out, "CPU 0", "TLB misses", 5);
}

static int pause_machine(void *opaque, struct err *e)
{
	return note(e, "pause");
}

static int resume(void *opaque, struct err *e)
{
	return note(e, "resume bad");
}

static int power(void *opaque, struct err *e)
{
	return note(e, "power");
}

static int reset(void *opaque, struct err *e)
{
	return note(e, "reset");
}

static int quit(void *opaque, struct err *e)
{
	return note(e, "quit");
}

static int eject(void *opaque, const char *device, bool force, struct err *e)
{
	char text[200];

	snprintf(text, sizeof(text), "eject %s %d", device, force);
	return note(e, text);
}

static int insert(void *opaque, const char *device, const char *path, struct err *e)
{
	char text[400];

	snprintf(text, sizeof(text), "insert %s <%.200s>", device, path);
	return note(e, text);
}

static int set_link(void *opaque, const char *device, bool up, struct err *e)
{
	char text[200];

	snprintf(text, sizeof(text), "link %s %d", device, up);
	return note(e, text);
}

static int resize(void *opaque, const char *device, u64 size, struct err *e)
{
	char text[200];

	snprintf(text, sizeof(text), "resize %s %llu", device, (unsigned long long)size);
	return note(e, text);
}

static const struct control_ops ops = {
        .status = status,
        .devices = devices,
        .stats = stats,
        .pause = pause_machine,
        .resume = resume,
        .power = power,
        .reset = reset,
        .quit = quit,
        .eject = eject,
        .insert = insert,
        .link = set_link,
        .resize = resize,
};

/* --- the protocol --- */

static void test_commands(void **state)
{
	static struct reply r;
	static const struct {
		const char *line, *asked, *reply;
	} cases[] = {
	        {"pause", "pause", "ok\n"},
	        {"  pause \t\r", "pause", "ok\n"},
	        {"resume", "resume bad", "error it is bad\n"},
	        {"power", "power", "ok\n"},
	        {"reset", "reset", "ok\n"},
	        {"quit", "quit", "ok\n"},
	        {"quit now", "", "error \"now\" is too much\n"},
	        {"status", "", "= state running?up\nok\n"},
	        {"stats", "", "= CPU-0.TLB-misses 5\nok\n"},
	        {"eject 3:1", "eject 3:1 0", "ok\n"},
	        {"eject cd force", "eject cd 1", "ok\n"},
	        {"eject cd hard", "", "error \"hard\": only \"force\" can follow the device\n"},
	        {"eject cd force 2", "", "error \"2\" is too much\n"},
	        {"eject", "", "error which device? (\"devices\" lists them)\n"},
	        {"insert cd  /a b  c.iso ", "insert cd </a b  c.iso>", "ok\n"},
	        {"insert cd a.iso", "", "error the disc needs an absolute path\n"},
	        {"insert cd", "", "error the disc needs an absolute path\n"},
	        {"link 4 up", "link 4 1", "ok\n"},
	        {"link 4 down", "link 4 0", "ok\n"},
	        {"link 4", "", "error a link is \"up\" or \"down\"\n"},
	        {"link 4 upwards", "", "error a link is \"up\" or \"down\"\n"},
	        {"link 4 up 1", "", "error \"1\" is too much\n"},
	        {"resize 2", "resize 2 0", "ok\n"},
	        {"resize 2 20G", "resize 2 21474836480", "ok\n"},
	        {"resize 2 0", "", "error \"0\" is not a size\n"},
	        {"resize 2 -1", "", "error \"-1\" is not a size\n"},
	        {"resize bad 1k", "resize bad 1024", "error it is bad\n"},
	        {"", "", "error \"\": unknown command (\"help\" lists them)\n"},
	        {"stauts", "", "error \"stauts\": unknown command: did you mean status?\n"},
	        {"a\nb", "", "error \"a?b\": unknown command (\"help\" lists them)\n"},
	};

	for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
		char line[CONTROL_LINE_MAX];

		asked[0] = 0;
		snprintf(line, sizeof(line), "%s", cases[n].line);
		control_run(&ops, NULL, line, &r);
		r.text[r.len] = 0;
		assert_string_equal(asked, cases[n].asked);
		assert_string_equal(r.text, cases[n].reply);
	}
}

static void test_reply_bounds(void **state)
{
	static struct reply r;
	char line[] = "devices";

	control_run(&ops, NULL, line, &r);
	assert_true(r.len < sizeof(r.text) && r.len > sizeof(r.text) - 2000);
	assert_memory_equal(r.text + r.len - 4, "\nok\n", 4);
}

/* --- the server --- */

struct server {
	struct loop *loop;
	struct clock_tsc clock;
	struct control *control;
	pthread_t thread;
	char path[64];
};

static void *run_loop(void *opaque)
{
	struct server *s = opaque;

	loop_run(s->loop);
	return NULL;
}

static void start(struct server *s)
{
	struct err e = {0};
	mode_t old = umask(0);

	clock_tsc_init(&s->clock);
	snprintf(s->path, sizeof(s->path), "/tmp/xhyve-control-%d", (int)getpid());
	assert_int_equal(loop_create(&s->loop, &s->clock.clock), 0);
	assert_int_equal(control_open(&s->control, s->loop, s->path, &ops, NULL, &e), 0);
	umask(old);
	pthread_create(&s->thread, NULL, run_loop, s);
}

static void end(struct server *s)
{
	loop_stop(s->loop);
	pthread_join(s->thread, NULL);
	control_close(s->control);
	loop_destroy(s->loop);
	assert_int_equal(access(s->path, F_OK), -1);
}

static int join(const struct server *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", s->path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Reads exactly this. */
static void expect(int fd, const char *text)
{
	char buf[256];
	size_t len = strlen(text), got = 0;

	while (got < len) {
		ssize_t n = recv(fd, buf + got, len - got, 0);

		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_memory_equal(buf, text, len);
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void expect_end(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
}

static void test_clients(void **state)
{
	struct server s;
	struct stat st;
	int a, b;

	start(&s);
	assert_int_equal(stat(s.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	a = join(&s);
	b = join(&s);
	expect(a, CONTROL_GREETING);
	expect(b, CONTROL_GREETING);
	say(a, "pau");
	say(b, "stats\npower\n");
	expect(b, "= CPU-0.TLB-misses 5\nok\nok\n");
	say(a, "se\n");
	expect(a, "ok\n");
	/* The rest of what it sent is still answered when a client has closed its side. */
	say(b, "eject x\nlink y up");
	shutdown(b, SHUT_WR);
	expect(b, "ok\n");
	expect_end(b);
	close(a);
	end(&s);
}

static void test_long_line(void **state)
{
	char line[CONTROL_LINE_MAX];
	struct server s;
	int fd;

	start(&s);
	fd = join(&s);
	expect(fd, CONTROL_GREETING);
	memset(line, 'x', sizeof(line));
	assert_int_equal(send(fd, line, sizeof(line), MSG_NOSIGNAL), sizeof(line));
	expect(fd, "error the line is too long\n");
	expect_end(fd);
	end(&s);
}

/* The longest line that is allowed. */
static void test_longest_line(void **state)
{
	char line[CONTROL_LINE_MAX];
	struct server s;
	int fd;

	start(&s);
	fd = join(&s);
	expect(fd, CONTROL_GREETING);
	memset(line, ' ', sizeof(line));
	memcpy(line, "pause", 5);
	line[sizeof(line) - 1] = '\n';
	assert_int_equal(send(fd, line, sizeof(line), MSG_NOSIGNAL), sizeof(line));
	expect(fd, "ok\n");
	close(fd);
	end(&s);
}

/* One asks without reading: it is not served any more, another one is. */
static void test_slow_client(void **state)
{
	struct server s;
	int slow, other;
	unsigned sent = 0;
	char last[CONTROL_REPLY_MAX];
	ssize_t n;
	size_t total = 0;

	start(&s);
	slow = join(&s);
	other = join(&s);
	while (send(slow, "devices\n", 8, MSG_NOSIGNAL | MSG_DONTWAIT) == 8 && sent < 100000)
		sent++;
	assert_true(sent < 100000);
	expect(other, CONTROL_GREETING);
	say(other, "power\n");
	expect(other, "ok\n");
	close(other);
	/* Every whole question has its reply in the end. */
	shutdown(slow, SHUT_WR);
	while ((n = recv(slow, last, sizeof(last), 0)) > 0)
		total += (size_t)n;
	assert_int_equal(n, 0);
	assert_true(total > (size_t)sent * (CONTROL_REPLY_MAX - 3000));
	close(slow);
	end(&s);
}

static void test_many_clients(void **state)
{
	int fd[CONTROL_CLIENTS_MAX + 1];
	struct server s;

	start(&s);
	for (unsigned n = 0; n < CONTROL_CLIENTS_MAX; n++) {
		fd[n] = join(&s);
		expect(fd[n], CONTROL_GREETING);
	}
	fd[CONTROL_CLIENTS_MAX] = join(&s);
	expect(fd[CONTROL_CLIENTS_MAX], CONTROL_GREETING "error too many clients\n");
	expect_end(fd[CONTROL_CLIENTS_MAX]);
	say(fd[0], "power\n");
	expect(fd[0], "ok\n");
	for (unsigned n = 0; n < CONTROL_CLIENTS_MAX; n++)
		close(fd[n]);
	end(&s);
}

/* A living socket is refused, and so are files that are none. */
static void test_name(void **state)
{
	struct control *second;
	struct server s;
	struct err e = {0};

	start(&s);
	assert_true(control_open(&second, s.loop, s.path, &ops, NULL, &e) < 0);
	assert_null(second);
	assert_non_null(strstr(e.text, "in use"));
	assert_non_null(strstr(e.text, "--control=unix:"));
	assert_int_equal(access(s.path, F_OK), 0);
	end(&s);
	fclose(fopen(s.path, "w"));
	assert_int_equal(loop_create(&s.loop, &s.clock.clock), 0);
	assert_true(control_open(&second, s.loop, s.path, &ops, NULL, &e) < 0);
	assert_non_null(strstr(e.text, "not a socket"));
	loop_destroy(s.loop);
	assert_int_equal(unlink(s.path), 0);
}

/* What a dead process left behind, under the name that the parent takes. */
static void leave_socket(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
}

static void test_stale(void **state)
{
	struct server s;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/xhyve-control-%d", (int)getpid());
	leave_socket(path);
	start(&s);
	fd = join(&s);
	expect(fd, CONTROL_GREETING);
	close(fd);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_commands),
	        cmocka_unit_test(test_reply_bounds),
	        cmocka_unit_test(test_clients),
	        cmocka_unit_test(test_long_line),
	        cmocka_unit_test(test_longest_line),
	        cmocka_unit_test(test_slow_client),
	        cmocka_unit_test(test_many_clients),
	        cmocka_unit_test(test_name),
	        cmocka_unit_test(test_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
