/*
 * Servers that busybox does not have, for the guest: every datagram to port 7 goes back to where it came
 * from; each of many TCP clients of port 7 that come at once gets 20000 bytes after its first one.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN 20000

static void serve_datagrams(int fd)
{
	static char buf[65536];

	for (;;) {
		struct sockaddr_in a;
		socklen_t len = sizeof(a);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&a, &len);

		if (n >= 0)
			sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&a, len);
	}
}

static void serve_client(int fd)
{
	static unsigned char buf[LEN];
	size_t done = 0;
	char first;

	if (read(fd, &first, 1) != 1)
		return;
	for (unsigned n = 0; n < LEN; n++)
		buf[n] = (unsigned char)(n * 7 + (n >> 8) + (unsigned char)first);
	while (done < LEN) {
		ssize_t n = write(fd, buf + done, LEN - done);

		if (n <= 0)
			return;
		done += (size_t)n;
	}
}

int main(void)
{
	const struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7)};
	const struct sockaddr_in6 both = {.sin6_family = AF_INET6, .sin6_port = htons(7)}; /* IPv4, too */
	int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET6, SOCK_STREAM, 0);

	signal(SIGCHLD, SIG_IGN);
	if (bind(udp, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	        bind(tcp, (const struct sockaddr *)&both, sizeof(both)) < 0 || listen(tcp, 128) < 0)
		return 1;
	if (fork() == 0)
		serve_datagrams(udp);
	for (;;) {
		int fd = accept(tcp, NULL, NULL);

		if (fork() == 0) {
			serve_client(fd);
			return 0;
		}
		close(fd);
	}
}
