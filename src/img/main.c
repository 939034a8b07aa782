/*
 * xhyve-img's main: signals, terminal, exit status. Everything else is in the library.
 */
#include "img/img.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	/* A second one, while a command winds up, ends the process at once: images stay valid. */
	if (stop)
		_exit(IMG_STOPPED);
	stop = 1;
}

/* With a standard descriptor closed, an image would take its number and our messages would go into it. */
static void fill_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) < 0)
			return;
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct img_ctx c = {.io = &host_io, .out = stdout, .err = stderr, .stop = &stop};

	fill_standard_descriptors();
	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	c.progress = isatty(STDERR_FILENO);
	return img_main(argc, (const char *const *)argv, &c);
}
