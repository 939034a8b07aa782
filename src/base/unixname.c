/*
 * Names of UNIX domain sockets (see unixname.h).
 */
#include "base/unixname.h"

#include <sys/socket.h>
#include <unistd.h>

bool unix_name_set(struct unix_name *n, const char *path)
{
	size_t len = strlen(path);

	*n = (struct unix_name){.addr.sun_family = AF_UNIX};
	if (len >= sizeof(n->addr.sun_path))
		return false;
	memcpy(n->addr.sun_path, path, len);
	return true;
}

/* Does anybody answer? 0, or why not. The kind of socket does not matter: a wrong one is answered, too. */
static int probe(const struct unix_name *n)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)&n->addr, sizeof(n->addr)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/* Removes the socket of an earlier run. 0 if the name is free now. */
static int remove_stale(const struct unix_name *n, const char *option, struct err *e)
{
	const char *path = n->addr.sun_path;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(e, -errno, "%s", option);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "%s: exists and is not a socket", option);
	if (probe(n) != -ECONNREFUSED)
		return err_set(e, -EADDRINUSE, "%s: in use by another process", option);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "%s: cannot replace the stale socket", option);
	return 0;
}

int unix_name_bind(struct unix_name *n, int fd, const char *option, struct err *e)
{
	struct stat st;
	int rc = remove_stale(n, option, e);

	if (rc < 0)
		return rc;
	/* Linux gives the name the mode that the socket has when it is bound. */
	fchmod(fd, 0600);
	if (bind(fd, (const struct sockaddr *)&n->addr, sizeof(n->addr)) < 0 ||
	        lstat(n->addr.sun_path, &st) < 0)
		return err_errno(e, -errno, "%s", option);
	n->bound = true;
	n->dev = st.st_dev;
	n->ino = st.st_ino;
	return 0;
}

void unix_name_remove(struct unix_name *n)
{
	struct stat st;

	if (n->bound && lstat(n->addr.sun_path, &st) == 0 && st.st_dev == n->dev && st.st_ino == n->ino)
		unlink(n->addr.sun_path);
	n->bound = false;
}
