/*
 * Checked reading of kernel and initrd. O_NONBLOCK keeps open(2) from waiting for a FIFO's writer in
 * the moment between stat and open; on regular files it has no effect.
 */
#include "boot/file.h"

#include "base/text.h"
#include "block/hostio.h"
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

static int check_size(const struct boot_file *f, u64 size, struct err *e)
{
	char buf[32];

	if (size == 0)
		return err_set(e, -EINVAL, "%s %s is empty", f->what, f->path);
	if (size > BOOT_FILE_MAX)
		return err_set(e, -EFBIG, "%s %s has %s, more than 4G", f->what, f->path,
		        format_size(size, buf, sizeof(buf)));
	return 0;
}

static int check_stat(const struct boot_file *f, const struct stat *st, struct err *e)
{
	if (!S_ISREG(st->st_mode))
		return err_set(e, -EINVAL, "%s %s is %s", f->what, f->path, kind_of(st->st_mode));
	return check_size(f, (u64)st->st_size, e);
}

static int find_inside(struct boot_file *f, const struct place *p, struct err *e)
{
	struct err why;
	int rc = volumes_find(f->image.volumes, p->partition, p->path, true, &f->volume, &f->node, &why);

	if (rc < 0)
		return err_set(e, rc, "%s %.150s: %.400s", f->what, p->image, why.text);
	if (f->node.type != FS_FILE)
		return err_set(e, -EINVAL, "%s %s is %s", f->what, f->path,
		        f->node.type == FS_DIR ? "a directory" : "not a regular file");
	f->size = f->node.size;
	return check_size(f, f->size, e);
}

static int open_inside(
        struct boot_file *f, const struct place *p, const struct place_lent *lent, struct err *e)
{
	struct err why;
	int rc = place_open(&f->image, p->image, lent, &host_io, &why);

	if (rc < 0) {
		err_set(e, rc, "%s %.500s", f->what, why.text);
		e->status = why.status;
		return rc;
	}
	rc = find_inside(f, p, e);
	if (rc < 0)
		boot_file_close(f);
	return rc;
}

static int open_outside(struct boot_file *f, struct err *e)
{
	struct stat st;
	int rc;

	f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0)
		return err_errno(e, -errno, "%s %s", f->what, f->path);
	rc = fstat(f->fd, &st) < 0 ? err_errno(e, -errno, "%s %s", f->what, f->path) : check_stat(f, &st, e);
	if (rc < 0)
		boot_file_close(f);
	f->size = st.st_size;
	return rc;
}

/* "cd.iso:install/vmlinuz": what is before the first colon, when there is such a file. */
static bool lacks_slash(const char *path, int *before)
{
	const char *colon = strchr(path, ':');
	char image[IMAGE_PATH_MAX];
	struct stat st;

	if (!colon || colon == path || !colon[1] || colon - path >= (s64)sizeof(image))
		return false;
	*before = (int)(colon - path);
	memcpy(image, path, (size_t)*before);
	image[*before] = 0;
	return stat(image, &st) == 0 && S_ISREG(st.st_mode);
}

static int not_there(const struct boot_file *f, int error, const struct place_lent *lent, struct err *e)
{
	int before;

	if (error == -ENOENT && lacks_slash(f->path, &before))
		return err_set(e, error, "%s %s: a path inside an image begins with a slash: %.*s:/%s",
		        f->what, f->path, before, f->path, f->path + before + 1);
	if (error == -ENOENT && boot_file_is_image(f->what, f->path, lent, e) < 0)
		return e->code;
	return err_errno(e, error, "%s %s", f->what, f->path);
}

int boot_file_open(
        struct boot_file *f, const char *what, const char *path, const struct place_lent *lent, struct err *e)
{
	struct place inside;
	struct stat st;
	int rc;

	*f = (struct boot_file){.what = what, .path = path, .fd = -1};
	if (stat(path, &st) < 0) {
		if ((errno == ENOENT || errno == ENOTDIR) && place_parse(&inside, path))
			return open_inside(f, &inside, lent, e);
		return not_there(f, -errno, lent, e);
	}
	rc = check_stat(f, &st, e);
	if (rc == -EFBIG && boot_file_is_image(what, path, lent, e) < 0)
		return e->code;
	return rc < 0 ? rc : open_outside(f, e);
}

int boot_file_is_image(const char *what, const char *path, const struct place_lent *lent, struct err *e)
{
	struct place_image image;
	const struct volumes *all;
	bool known, cd = false;
	struct err ignored;

	if (place_open(&image, path, lent, &host_io, &ignored) < 0)
		return 0;
	all = image.volumes;
	known = all->parts.count;
	for (unsigned i = 0; i < all->count; i++) {
		known |= all->v[i].fs != NULL;
		cd |= all->v[i].fs && strcmp(fs_kind(all->v[i].fs), "iso9660") == 0;
	}
	place_close(&image);
	if (!known)
		return 0;
	return err_set(e, -ENOEXEC,
	        "%s %s is the image of a %s: %s:/PATH names a file in it, and -f %s starts what the boot "
	        "menu of "
	        "the %s in a slot has",
	        what, path, cd ? "CD" : "disk", path, cd ? "iso" : "disk", cd ? "CD" : "disk");
}

void boot_file_close(struct boot_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	place_close(&f->image);
}

static int read_inside(struct boot_file *f, void *buf, u64 len, struct err *e)
{
	int rc = fs_read(f->volume->fs, &f->node, buf, len, 0);

	return rc < 0 ? err_errno(e, rc, "%s %s", f->what, f->path) : 0;
}

int boot_file_peek(struct boot_file *f, void *buf, u64 len, u64 *got, struct err *e)
{
	u64 done = 0;

	len = MIN(len, f->size);
	*got = len;
	if (f->fd < 0)
		return read_inside(f, buf, len, e);
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

	if (rc < 0 || f->fd < 0)
		return rc;
	if (fstat(f->fd, &st) < 0)
		return err_errno(e, -errno, "%s %s", f->what, f->path);
	if (got != len || (u64)st.st_size != f->size)
		return err_set(e, -EIO, "%s %s changed while it was read", f->what, f->path);
	return 0;
}
