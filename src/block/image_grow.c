/*
 * Split and sparse images that become longer while they are open: segments are added as for a new image, the
 * table's file is extended (by the sparse layer, which has it open), and the sidecar names the new size last.
 * What a process that was killed in between leaves is what an interrupted xhyve-img resize leaves, too: files
 * that nobody needs, and absent entries behind the end.
 */
#include "block/image_int.h"

#include "base/log.h"
#include "block/layers.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static void close_all(int *fd, u32 n, const struct host_io *io)
{
	for (u32 i = 0; fd && i < n; i++)
		if (fd[i] >= 0)
			io->ops->close(io, fd[i]);
	free(fd);
}

static int open_new(const struct image_geometry *g, u32 first, const char *path, const struct host_io *io,
        bool direct, int **out, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	u32 n = g->nseg - first;
	int *fd = calloc(n, sizeof(*fd));
	if (!fd)
		return err_set(e, -ENOMEM, "%s: out of memory", path);
	for (u32 i = 0; i < n; i++) {
		image_segment_name(name, sizeof(name), path, true, first + i);
		fd[i] = io->ops->open(io, name, O_RDWR | (direct ? O_DIRECT : 0), 0);
		if (fd[i] < 0) {
			int r = err_errno(e, fd[i], "%s", name);
			close_all(fd, i, io);
			return r;
		}
	}
	*out = fd;
	return 0;
}

/* Shared by both kinds: new files, open. */
static int add(const struct image_geometry *to, const struct image_geometry *from, const char *path,
        const struct host_io *io, bool direct, int **fd, struct err *e)
{
	int r = image_need_descriptors(path, to->nseg, io, e);
	if (r == 0)
		r = image_add_segments(to, path, from->nseg, io, e);
	if (r < 0)
		return r;
	r = open_new(to, from->nseg, path, io, direct, fd, e);
	if (r < 0)
		image_remove_segments(to, path, from->nseg, to->nseg, io);
	return r;
}

int image_grow(struct image_geometry *to, const struct image_geometry *from, u64 size, const char *path,
        const struct host_io *io, bool direct, int **fd)
{
	const struct image_spec s = {.size = size,
	        .split = from->is_split ? from->segment : 0,
	        .logical = from->logical,
	        .physical = from->physical,
	        .sparse = from->sparse};
	struct err e = {0};
	*fd = NULL;
	int r = image_geometry_make(to, &s, &e);
	to->id = from->id;
	if (r == 0 && to->nseg > from->nseg)
		r = add(to, from, path, io, direct, fd, &e);
	if (r < 0 && r != -EINVAL) /* that one is the caller's to explain */
		log_error("%s: cannot grow: %s", path, e.text);
	return r;
}

int image_grown(const struct image_geometry *to, const char *path, const struct host_io *io)
{
	struct err e = {0};
	int r = meta_store(to, path, io, &e);
	if (r < 0)
		log_error("%s: cannot grow: %s", path, e.text);
	return r;
}

void image_not_grown(const struct image_geometry *to, const struct image_geometry *from, const char *path,
        const struct host_io *io, int *fd)
{
	close_all(fd, to->nseg - from->nseg, io);
	image_remove_segments(to, path, from->nseg, to->nseg, io);
}
