/*
 * A control socket with a client that sends anything in pieces of any size, and reads now and then. It holds
 * that every reply is lines of "= NAME VALUE" and one "ok" or "error WORDS", all printable, that arguments
 * reach the machine as the protocol says, and that nothing blocks.
 */
#include "input.h"
#include "standalone.h"

#include "vm/control.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- a machine --- */

static void status(void *opaque, struct reply *r)
{
	reply_value(r, "state", "running\n\033[2J");
}

static void devices(void *opaque, struct reply *r)
{
	for (unsigned n = 0; n < 80; n++) /* more than a reply holds */
		reply_value(r, "3", "%0900u", n);
}

static void stats(void *opaque, struct stats_sink *out)
{
	stats_put(out, "CPU 0", "TLB misses", 5);
}

static int action(void *opaque, struct err *e)
{
	return 0;
}

static int refuse(void *opaque, struct err *e)
{
	return err_set(e, -EBUSY, "%0600d", 7);
}

static void check_word(const char *device)
{
	check(*device && !strpbrk(device, " \t\n"));
}

static int eject(void *opaque, const char *device, bool force, struct err *e)
{
	check_word(device);
	return force ? 0 : err_set(e, -EBUSY, "%s is locked\r\n", device);
}

static int insert(void *opaque, const char *device, const char *path, struct err *e)
{
	check_word(device);
	check(path[0] == '/' && !strchr(path, '\n') && strlen(path) < CONTROL_LINE_MAX);
	return 0;
}

static int set_link(void *opaque, const char *device, bool up, struct err *e)
{
	check_word(device);
	return 0;
}

static int resize(void *opaque, const char *device, u64 size, struct err *e)
{
	check_word(device);
	return 0;
}

static const struct control_ops ops = {
        .status = status,
        .devices = devices,
        .stats = stats,
        .pause = action,
        .resume = refuse,
        .power = action,
        .reset = action,
        .quit = action,
        .eject = eject,
        .insert = insert,
        .link = set_link,
        .resize = resize,
};

/* --- the client --- */

struct client {
	struct loop *loop;
	int fd;
	size_t len;
	char line[CONTROL_REPLY_MAX];
	unsigned replies;
};

static void check_line(struct client *k)
{
	for (size_t n = 0; n < k->len; n++)
		check((u8)k->line[n] >= ' ' && k->line[n] != 0x7f);
	k->line[k->len] = 0;
	if (strcmp(k->line, "ok") == 0 || strncmp(k->line, "error ", 6) == 0)
		k->replies++;
	else
		check(strncmp(k->line, "= ", 2) == 0 || strcmp(k->line, "xhyve-control 1") == 0);
	k->len = 0;
}

/* Reads what is there; false at the end of the connection. */
static bool read_some(struct client *k)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(k->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] == '\n')
				check_line(k);
			else
				k->line[k->len++] = buf[i];
			check(k->len < sizeof(k->line));
		}
	}
	return n < 0 && errno == EAGAIN;
}

static void stop(void *opaque)
{
	loop_stop(opaque);
}

static void let_run(struct client *k)
{
	check(loop_post(k->loop, stop, k->loop) == 0);
	check(loop_run(k->loop) == 0);
}

static void connect_client(struct client *k, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	k->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(k->fd >= 0 && connect(k->fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
	let_run(k);
}

static void drive(struct client *k, struct input in)
{
	size_t piece = 1 + take(&in, 1) * 7;
	bool reads = take(&in, 1) & 1, alive = true;

	while (in.left && alive) {
		size_t n = MIN(piece, in.left);

		/* The server closes after a line that is too long, and takes nothing while it waits for us.
		 */
		ssize_t sent = send(k->fd, in.data, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno != EAGAIN)
			break;
		if (sent > 0) {
			in.data += sent;
			in.left -= (size_t)sent;
		}
		let_run(k);
		if (reads || sent < 0)
			alive = read_some(k);
	}
	shutdown(k->fd, SHUT_WR);
	for (unsigned n = 0; alive && n < 100000; n++) {
		let_run(k);
		alive = read_some(k);
	}
	check(!alive || errno == ECONNRESET || errno == EPIPE);
}

static struct control *control;
static char path[64];

static void clean_up(void)
{
	unlink(path);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct clock_manual clock;
	static struct client k;
	struct err e;

	if (!control) {
		clock_manual_init(&clock, 0);
		snprintf(path, sizeof(path), "/tmp/xhyve-fuzz-control-%d", (int)getpid());
		check(loop_create(&k.loop, &clock.clock) == 0);
		check(control_open(&control, k.loop, path, &ops, NULL, &e) == 0);
		atexit(clean_up);
	}
	k.len = k.replies = 0;
	connect_client(&k, path);
	drive(&k, (struct input){data, size});
	close(k.fd);
	let_run(&k);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const char *const seeds[] = {
	        "\x10\x01status\nhelp\nstats\npause\nresume\n",
	        "\x03\x01 eject  3:0 force \r\neject cd\ninsert cd /a b.iso\nlink 5 down\nresize 2 20G\n",
	        "\xff\x00"
	        "devices\ndevices\ndevices\ndevices\ndevices\ndevices\nquit\n",
	        "\x01\x01nonsense\n\n\t\nhelp me\npower 1\nlink x y\nresize 2 -1\ninsert cd a\nlast line "
	        "without end",
	};
	size_t len;

	if (n > ARRAY_SIZE(seeds))
		return 0;
	if (n == ARRAY_SIZE(seeds)) { /* a line that never ends */
		len = MIN(cap, CONTROL_LINE_MAX + 100u);
		memset(buf, 'a', len);
		return len;
	}
	/* The second byte of one seed is zero. */
	len = 2 + strlen(seeds[n] + 2);
	memcpy(buf, seeds[n], len);
	return len;
}
