/*
 * Reading and writing of PATH.meta:
 *
 *   xhyve-image 1
 *   id 1f2e3d4c5b6a79
 *   size 21474836480
 *   split 1073741824       0: not split
 *   sectorsize 4096/4096   logical/physical
 *   sparse 1
 *
 * Every key is there once. The file is no more trusted than a command line: what it says goes through the
 * same checks.
 */
#include "block/meta.h"

#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define META_MAX 1024

struct fields {
	u64 id, size, split, logical, physical, sparse;
	u32 seen;
};

static bool parse_line(struct fields *f, char *line)
{
	static const char *const key[] = {"id", "size", "split", "sectorsize", "sparse"};
	u64 *const value[] = {&f->id, &f->size, &f->split, &f->logical, &f->sparse};
	char *space = strchr(line, ' ');
	if (!space)
		return false;
	*space = 0;
	char *text = space + 1;
	for (u32 i = 0; i < ARRAY_SIZE(key); i++) {
		if (strcmp(line, key[i]) != 0)
			continue;
		char *slash = i == 3 ? strchr(text, '/') : NULL;
		if (slash)
			*slash++ = 0;
		if (f->seen & BIT(i) || (i == 3 && !slash))
			return false;
		f->seen |= BIT(i);
		if (slash && parse_uint(slash, 0, UINT32_MAX, &f->physical) < 0)
			return false;
		char hex[24];
		snprintf(hex, sizeof(hex), "%s%.20s", i == 0 ? "0x" : "", text);
		return parse_uint(hex, 0, INT64_MAX, value[i]) == 0;
	}
	return false;
}

static int from_fields(struct image_geometry *g, const struct fields *f, const char *path, struct err *e)
{
	struct image_spec s = {.size = f->size,
	        .split = f->split,
	        .logical = (u32)MIN(f->logical, (u64)UINT32_MAX),
	        .physical = (u32)f->physical,
	        .sparse = f->sparse == 1};
	if (f->sparse > 1 || snprintf(s.path, sizeof(s.path), "%s", path) >= (int)sizeof(s.path))
		return err_set(e, -EINVAL, "%s.meta: damaged", path);
	int r = image_geometry_make(g, &s, e);
	g->id = f->id;
	return r;
}

static int parse(struct image_geometry *g, char *text, const char *path, struct err *e)
{
	struct fields f = {0};
	char *save, *line = strtok_r(text, "\n", &save);
	if (!line || strcmp(line, "xhyve-image 1") != 0)
		return err_set(e, -EINVAL, "%s.meta: does not begin with \"xhyve-image 1\"", path);
	for (int n = 2; (line = strtok_r(NULL, "\n", &save)); n++)
		if (!parse_line(&f, line))
			return err_set(e, -EINVAL, "%s.meta: line %d makes no sense", path, n);
	if (f.seen != 0x1f)
		return err_set(e, -EINVAL, "%s.meta: incomplete", path);
	return from_fields(g, &f, path, e);
}

int meta_load(struct image_geometry *g, const char *path, const struct host_io *io, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16], text[META_MAX + 1] = "";
	struct host_stat st;
	image_meta_name(name, sizeof(name), path);
	int fd = io->ops->open(io, name, O_RDONLY, 0);
	if (fd == -ENOENT)
		return fd;
	if (fd < 0)
		return err_errno(e, fd, "%s", name);
	int r = io->ops->stat(io, fd, &st);
	if (r == 0 && (!st.regular || st.size > META_MAX))
		r = -EFBIG;
	if (r == 0)
		r = hostio_read(io, fd, text, st.size, 0);
	io->ops->close(io, fd);
	return r < 0 ? err_errno(e, r, "%s", name) : parse(g, text, path, e);
}

static int write_file(const char *name, const char *text, const struct host_io *io)
{
	int fd = io->ops->open(io, name, O_RDWR | O_CREAT | O_TRUNC, 0660);
	if (fd < 0)
		return fd;
	int r = hostio_write(io, fd, text, strlen(text), 0);
	if (r == 0)
		r = io->ops->datasync(io, fd);
	io->ops->close(io, fd);
	return r;
}

int meta_store(const struct image_geometry *g, const char *path, const struct host_io *io, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16], temp[IMAGE_PATH_MAX + 24], text[META_MAX];
	image_meta_name(name, sizeof(name), path);
	snprintf(temp, sizeof(temp), "%s.new", name);
	snprintf(text, sizeof(text),
	        "xhyve-image 1\nid %014" PRIx64 "\nsize %" PRIu64 "\nsplit %" PRIu64
	        "\nsectorsize %u/%u\nsparse %d\n",
	        g->id, g->size, g->is_split ? g->segment : 0, g->logical, g->physical, g->sparse);
	int r = write_file(temp, text, io);
	if (r == 0)
		r = io->ops->rename(io, temp, name);
	if (r == 0)
		r = io->ops->sync_dir(io, name);
	if (r < 0) {
		io->ops->unlink(io, temp);
		return err_errno(e, r, "%s", name);
	}
	return 0;
}
