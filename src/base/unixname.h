/*
 * Names of UNIX domain sockets that we listen on. They are ours alone (mode 0600). What an earlier run left
 * behind is replaced, but only if it is a socket and nobody answers on it; the name is removed at the end,
 * but only if it still is ours.
 */
#pragma once

#include "base/err.h"
#include <sys/stat.h>
#include <sys/un.h>

struct unix_name {
	struct sockaddr_un addr;
	bool bound; /* dev and ino tell whether the name still is ours at the end */
	dev_t dev;
	ino_t ino;
};

/* False: too long. Sets addr. */
bool unix_name_set(struct unix_name *n, const char *path);
/* Gives fd the name. option, such as "unix:/tmp/a", begins messages. */
int unix_name_bind(struct unix_name *n, int fd, const char *option, struct err *e);
/* Harmless when it was never bound. */
void unix_name_remove(struct unix_name *n);
