/*
 * Pid files. The living owner holds a lock (flock) on its file, which vanishes with the process, so
 * two starts at once cannot both replace a stale file: a stale file is removed only under its own
 * lock, after looking that the name still leads to it, and the new one is created with O_EXCL.
 * Where the file system has no locks, the process id alone decides.
 */
#include "cli/pidfile.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_ours(int fd, const char *path)
{
	struct stat by_fd, by_name;

	return fstat(fd, &by_fd) == 0 && lstat(path, &by_name) == 0 && by_fd.st_dev == by_name.st_dev &&
	       by_fd.st_ino == by_name.st_ino;
}

/* The process id in an existing file; 0 for an empty file (its writer died), -EINVAL for other text. */
static pid_t read_pid(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	u64 pid;

	if (n < 0)
		return -EINVAL;
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		n--;
	text[n] = 0;
	if (n == 0)
		return 0;
	return parse_uint(text, 1, INT_MAX, &pid) ? -EINVAL : (pid_t)pid;
}

/* Decides about the file that is in the way and removes it if it is stale. */
static int judge(int fd, const char *path, struct err *e)
{
	struct stat st;
	pid_t pid;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, -EEXIST, "-F %s: exists and is not a regular file", path);
	pid = read_pid(fd);
	if (pid < 0)
		return err_set(e, -EEXIST, "-F %s: exists and is not a pid file", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return err_set(e, -EEXIST, "-F %s: in use by process %d", path, (int)pid);
	if (pid && pid != getpid() && (kill(pid, 0) == 0 || errno == EPERM))
		return err_set(e, -EEXIST, "-F %s: names process %d, which is alive", path, (int)pid);
	if (is_ours(fd, path) && unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "-F %s: cannot replace the stale pid file", path);
	return 0;
}

static int remove_stale(const char *path, struct err *e)
{
	int r, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_errno(e, -errno, "-F %s: exists and cannot be read", path);
	r = judge(fd, path, e);
	close(fd);
	return r;
}

static int write_pid(int fd, const char *path, struct err *e)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	ssize_t n = write(fd, text, (size_t)len);

	if (n == len)
		return 0;
	return err_errno(e, n < 0 ? -errno : -ENOSPC, "-F %s: cannot write", path);
}

#define ATTEMPTS 5

/*
 * Creates and locks the file. -EAGAIN: between the two another start took it for stale and removed
 * it. A lock that cannot be had at all (no locks on this file system) leaves the id as the proof.
 */
static int create_locked(struct pidfile *p, struct err *e)
{
	p->fd = open(p->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (p->fd < 0)
		return errno == EEXIST ? -EEXIST
		                       : err_errno(e, -errno, "-F %s: cannot create the pid file", p->path);
	if ((flock(p->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) || !is_ours(p->fd, p->path)) {
		close(p->fd);
		p->fd = -1;
		return -EAGAIN;
	}
	return 0;
}

int pidfile_create(struct pidfile *p, const char *path, struct err *e)
{
	int r = -EAGAIN;

	*p = (struct pidfile){.path = path, .fd = -1};
	for (int i = 0; i < ATTEMPTS && (r == -EAGAIN || r == -EEXIST); i++) {
		r = create_locked(p, e);
		if (r == -EEXIST) {
			int stale = remove_stale(path, e);

			if (stale)
				return stale;
		}
	}
	if (r == -EAGAIN || r == -EEXIST)
		return err_set(e, -EEXIST, "-F %s: other starts use it at this moment", path);
	if (!r)
		r = write_pid(p->fd, path, e);
	if (r)
		pidfile_remove(p);
	return r;
}

void pidfile_remove(struct pidfile *p)
{
	if (p->fd < 0)
		return;
	if (is_ours(p->fd, p->path))
		unlink(p->path);
	close(p->fd);
	p->fd = -1;
}
