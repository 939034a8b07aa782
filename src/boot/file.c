/*
 * Checked reading of kernel and initrd. O_NONBLOCK keeps open(2) from waiting for a FIFO's writer in
 * the moment between stat and open; on regular files it has no effect.
 */
#include "boot/file.h"

#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR: return "a directory";
	case S_IFIFO: return "a FIFO";
	case S_IFSOCK: return "a socket";
	case S_IFBLK:
	case S_IFCHR: return "a device";
	default: return "not a regular file";
	}
}

static int check_stat(const struct boot_file *f, const struct stat *st, struct err *e)
{
	char buf[32];

	if (!S_ISREG(st->st_mode))
		return err_set(e, -EINVAL, "%s %s is %s", f->what, f->path, kind_of(st->st_mode));
	if (st->st_size == 0)
		return err_set(e, -EINVAL, "%s %s is empty", f->what, f->path);
	if ((u64)st->st_size > BOOT_FILE_MAX)
		return err_set(e, -EFBIG, "%s %s has %s, more than 4G", f->what, f->path,
		        format_size(st->st_size, buf, sizeof(buf)));
	return 0;
}

int boot_file_open(struct boot_file *f, const char *what, const char *path, struct err *e)
{
	struct stat st;
	int rc;

	*f = (struct boot_file){.what = what, .path = path, .fd = -1};
	if (stat(path, &st) < 0)
		return err_errno(e, -errno, "%s %s", what, path);
	rc = check_stat(f, &st, e);
	if (rc < 0)
		return rc;
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0)
		return err_errno(e, -errno, "%s %s", what, path);
	rc = fstat(f->fd, &st) < 0 ? err_errno(e, -errno, "%s %s", what, path) : check_stat(f, &st, e);
	if (rc < 0)
		boot_file_close(f);
	f->size = st.st_size;
	return rc;
}

void boot_file_close(struct boot_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

int boot_file_peek(struct boot_file *f, void *buf, u64 len, u64 *got, struct err *e)
{
	u64 done = 0;

	len = MIN(len, f->size);
	while (done < len) {
		ssize_t n = pread(f->fd, (u8 *)buf + done, MIN(len - done, GiB), done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, -errno, "%s %s", f->what, f->path);
		if (n == 0)
			break;
		done += n;
	}
	*got = done;
	return 0;
}

int boot_file_read(struct boot_file *f, void *buf, u64 len, struct err *e)
{
	struct stat st;
	u64 got = 0;
	int rc = boot_file_peek(f, buf, len, &got, e);

	if (rc < 0)
		return rc;
	if (fstat(f->fd, &st) < 0)
		return err_errno(e, -errno, "%s %s", f->what, f->path);
	if (got != len || (u64)st.st_size != f->size)
		return err_set(e, -EIO, "%s %s changed while it was read", f->what, f->path);
	return 0;
}
