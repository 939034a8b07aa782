/*
 * main: command line, pid file, machine, exit status. The only place that ends the process.
 */
#include "base/log.h"
#include "cli/cli.h"
#include "cli/pidfile.h"
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int report(const struct err *e)
{
	log_error("%s", e->text);
	return e->status ? e->status : EXIT_FAILED;
}

static int print(enum cli_action what)
{
	cli_print(what, vm_features, stdout);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	log_error("cannot write to standard output: %s", strerror(errno));
	return EXIT_FAILED;
}

/* A closed standard descriptor would be taken by the next file that is opened: "<&-" means /dev/null. */
static void fill_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) < 0)
			return;
	}
}

static int run(const struct vm_config *c)
{
	struct pidfile pidfile = {.fd = -1};
	struct err e = {0};
	int status;

	if (c->pidfile && !c->explain && pidfile_create(&pidfile, c->pidfile, &e))
		return report(&e);
	status = vm_main(c, &e);
	pidfile_remove(&pidfile);
	return e.code ? report(&e) : status;
}

int main(int argc, char **argv)
{
	struct vm_config c;
	struct err e = {0};
	int r = cli_parse(argc, (const char *const *)argv, &c, &e);

	if (r < 0)
		return report(&e);
	if (r != CLI_RUN)
		return print((enum cli_action)r);
	fill_standard_descriptors();
	r = run(&c);
	cli_config_free(&c);
	return r;
}
