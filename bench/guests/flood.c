/*
 * A TCP flood for bench/net.py, in the guest and on the host:
 *
 *     flood send ADDRESS PORT SECONDS     connects and sends as fast as it can
 *     flood receive ADDRESS PORT SECONDS  connects and receives
 *     flood serve ADDRESS PORT            does what each client asks for, one after the other
 *
 * A client says what it will do with one byte and for how long with another. The receiver counts, from the
 * first byte on, and the serving side prints a line for each client: direction, bytes, nanoseconds. A client
 * that received says how much that was in the end.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buf[1 << 18];

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct count {
	uint64_t bytes, ns;
};

/* Until the other side has said all. */
static struct count receive(int fd)
{
	struct count c = {0};
	uint64_t start = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (!start)
			start = now();
		else
			c.bytes += (uint64_t)n;
		c.ns = now() - start;
	}
	return c;
}

static void send_for(int fd, unsigned seconds)
{
	uint64_t end = now() + seconds * 1000000000ull;

	while (now() < end)
		if (write(fd, buf, sizeof(buf)) < 0)
			break;
	shutdown(fd, SHUT_WR);
}

static struct sockaddr_in address(char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};

	inet_pton(AF_INET, argv[0], &a.sin_addr);
	return a;
}

static int client(char way, char **argv)
{
	struct sockaddr_in a = address(argv);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	unsigned seconds = (unsigned)atoi(argv[2]);
	char head[2] = {way, (char)seconds};
	struct count c;

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		perror("flood: connect");
		return 1;
	}
	if (write(fd, head, 2) != 2)
		return 1;
	if (way == 's') {
		send_for(fd, seconds);
		return read(fd, buf, 1) < 0;
	}
	c = receive(fd);
	return write(fd, &c, sizeof(c)) != sizeof(c);
}

static void serve_one(int fd)
{
	char head[2];
	struct count c = {0};

	if (recv(fd, head, 2, MSG_WAITALL) != 2)
		return;
	if (head[0] == 's') {
		c = receive(fd);
	} else {
		send_for(fd, (unsigned char)head[1]);
		if (recv(fd, &c, sizeof(c), MSG_WAITALL) != sizeof(c))
			return;
	}
	printf("%s %llu %llu\n", head[0] == 's' ? "up" : "down", (unsigned long long)c.bytes,
	        (unsigned long long)c.ns);
	fflush(stdout);
}

static int serve(char **argv)
{
	struct sockaddr_in a = address(argv);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0) {
		perror("flood: listen");
		return 1;
	}
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		serve_one(peer);
		close(peer);
	}
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "send") == 0)
		return client('s', argv + 2);
	if (argc == 5 && strcmp(argv[1], "receive") == 0)
		return client('r', argv + 2);
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		return serve(argv + 2);
	fprintf(stderr, "usage: flood send|receive ADDRESS PORT SECONDS, or serve ADDRESS PORT\n");
	return 64;
}
