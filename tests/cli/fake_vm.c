/*
 * A machine that ends at once, for tests of main: the kernel's name says how.
 *   status-N   ends with status N
 *   fails      our own failure, with a message
 *   pidfile    status 0 if the pid file holds our process id
 *   fds        status 0 if descriptors 0, 1 and 2 are open
 */
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *const vm_features[] = {"accelerator fake", NULL};

static bool pidfile_is_ours(const char *path)
{
	FILE *f = fopen(path, "r");
	int pid = 0;

	if (!f)
		return false;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid == getpid();
}

int vm_main(const struct vm_config *config, struct err *e)
{
	if (strncmp(config->kernel, "status-", 7) == 0)
		return atoi(config->kernel + 7);
	if (strcmp(config->kernel, "fails") == 0) {
		err_errno(e, -ENOENT, "kernel %s", config->kernel);
		return EXIT_FAILED;
	}
	if (strcmp(config->kernel, "pidfile") == 0)
		return pidfile_is_ours(config->pidfile) ? 0 : 99;
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			return 98;
	}
	return 0;
}
