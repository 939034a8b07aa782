/*
 * The pid file of -F: created before the machine starts, removed when it ended.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"

struct pidfile {
	const char *path;
	int fd; /* open and locked while we live; -1: none */
};

/*
 * Creates path and writes our process id. A file that names a process that is gone is replaced; one
 * that names a living process, or that is no pid file, is left alone and refused.
 */
int pidfile_create(struct pidfile *p, const char *path, struct err *e);

/* Removes the file if it is still ours. */
void pidfile_remove(struct pidfile *p);
