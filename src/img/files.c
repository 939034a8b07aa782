/*
 * ls, cat, cp: the files inside an image. Nothing is ever written to the image.
 */
#include "img/img.h"

#include "base/text.h"
#include "fs/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PIECE (1 * MiB)

/* Names come from the image: what could control a terminal is not printed. */
static void print_safe(FILE *f, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, f);
}

/* --- one file --- */

/* A file inside an image that is open. */
struct inside {
	struct place place;
	struct place_image image;
	struct volume *volume;
	struct fs_node node;
};

static int open_place(struct img_ctx *c, struct inside *i, bool follow, struct err *e)
{
	int rc = place_open(&i->image, i->place.image, NULL, c->io, e);
	struct err why;

	if (rc < 0)
		return rc;
	rc = volumes_find(
	        i->image.volumes, i->place.partition, i->place.path, follow, &i->volume, &i->node, &why);
	if (rc < 0) {
		place_close(&i->image);
		return err_set(e, rc, "%.150s: %.450s", i->place.image, why.text);
	}
	return 0;
}

static int open_file(struct img_ctx *c, struct inside *i, const char *word, struct err *e)
{
	int rc;

	if (!place_parse(&i->place, word))
		return err_usage(e, "%.200s: a file inside an image is IMAGE:/PATH or IMAGE:N:/PATH", word);
	rc = open_place(c, i, true, e);
	if (rc == 0 && i->node.type != FS_FILE) {
		rc = err_set(e, -EINVAL, "%.200s is %s", word,
		        i->node.type == FS_DIR ? "a directory" : "no file with content");
		place_close(&i->image);
	}
	return rc;
}

/* Where a file's content goes; zero: nothing but zeros, which may become a hole. */
typedef int (*sink_fn)(void *opaque, const u8 *buf, u64 len, u64 off, bool zero, struct err *e);

static bool is_zero(const u8 *p, u64 len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int pour(const struct img_ctx *c, struct inside *i, sink_fn fn, void *opaque, struct err *e)
{
	u8 *buf = malloc(PIECE);
	int rc = buf ? 0 : err_set(e, -ENOMEM, "out of memory");

	for (u64 off = 0; off < i->node.size && rc == 0; off += PIECE) {
		u64 len = MIN(PIECE, i->node.size - off);

		rc = img_stopped(c, e);
		if (rc < 0)
			break;
		rc = fs_read(i->volume->fs, &i->node, buf, len, off);
		if (rc < 0)
			rc = err_errno(e, rc, "%.150s: %.400s", i->place.image, i->place.path);
		else
			rc = fn(opaque, buf, len, off, is_zero(buf, len), e);
	}
	free(buf);
	return rc;
}

/* --- cat --- */

static int to_stream(void *opaque, const u8 *buf, u64 len, u64 off, bool zero, struct err *e)
{
	FILE *f = opaque;

	return fwrite(buf, 1, len, f) == len ? 0 : err_errno(e, -errno, "standard output");
}

int img_cat(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct inside i = {0};
	int rc = open_file(c, &i, o->arg[0], e);

	if (rc < 0)
		return rc;
	rc = pour(c, &i, to_stream, c->out, e);
	place_close(&i.image);
	return rc;
}

/* --- cp --- */

struct target {
	const struct img_ctx *c;
	const char *name;
	int fd;
};

static int to_file(void *opaque, const u8 *buf, u64 len, u64 off, bool zero, struct err *e)
{
	struct target *t = opaque;
	int rc = zero ? t->c->io->ops->truncate(t->c->io, t->fd, off + len)
	              : hostio_write(t->c->io, t->fd, buf, len, off);

	return rc < 0 ? err_errno(e, rc, "%.300s", t->name) : 0;
}

/* The name of the copy: in a directory the one that it has in the image. */
static int name_target(const struct inside *i, const char *word, char name[IMAGE_PATH_MAX], struct err *e)
{
	char copy[FS_PATH_MAX];
	struct stat st;
	int n;

	snprintf(copy, sizeof(copy), "%s", i->place.path);
	if (stat(word, &st) == 0 && S_ISDIR(st.st_mode))
		n = snprintf(name, IMAGE_PATH_MAX, "%s/%s", word, basename(copy));
	else
		n = snprintf(name, IMAGE_PATH_MAX, "%s", word);
	return n < IMAGE_PATH_MAX ? 0 : err_usage(e, "cp: the name of the file is too long");
}

/* Under a temporary name first: a copy that has its name is complete. */
static int copy_to(struct img_ctx *c, struct inside *i, const char *name, struct err *e)
{
	char partial[IMAGE_PATH_MAX + 16];
	struct target t = {.c = c, .name = name};
	int rc, closed;

	snprintf(partial, sizeof(partial), "%s.partial", name);
	t.fd = c->io->ops->open(c->io, partial, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0666);
	if (t.fd < 0)
		return err_errno(e, t.fd, "%.300s", partial);
	rc = pour(c, i, to_file, &t, e);
	closed = c->io->ops->close(c->io, t.fd);
	if (rc == 0 && closed < 0)
		rc = err_errno(e, closed, "%.300s", partial);
	if (rc == 0) {
		rc = c->io->ops->rename(c->io, partial, name);
		if (rc < 0)
			rc = err_errno(e, rc, "%.300s", name);
	}
	if (rc < 0)
		c->io->ops->unlink(c->io, partial);
	return rc;
}

int img_cp(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	char name[IMAGE_PATH_MAX];
	struct inside i = {0};
	int rc = open_file(c, &i, o->arg[0], e);

	if (rc < 0)
		return rc;
	rc = name_target(&i, o->arg[1], name, e);
	if (rc == 0)
		rc = copy_to(c, &i, name, e);
	place_close(&i.image);
	return rc;
}

/* --- ls --- */

struct printing {
	struct img_ctx *c;
	const struct img_options *o;
	struct fs *fs;
	struct err *e;
};

static void print_file(struct printing *p, const char *name, const struct fs_node *n)
{
	static const char kinds[] = {[FS_FILE] = '-', [FS_DIR] = 'd', [FS_LINK] = 'l', [FS_OTHER] = '?'};
	char target[FS_PATH_MAX];
	FILE *f = p->c->out;

	if (p->o->details)
		fprintf(f, "%c %12" PRIu64 " ", kinds[n->type], n->type == FS_DIR ? 0 : n->size);
	print_safe(f, name);
	if (p->o->details && n->type == FS_LINK && fs_readlink(p->fs, n, target) == 0) {
		fputs(" -> ", f);
		print_safe(f, target);
	}
	fputc('\n', f);
}

static int print_entry(void *opaque, const char *name, const struct fs_node *n)
{
	struct printing *p = opaque;
	int rc = img_stopped(p->c, p->e);

	if (rc == 0)
		print_file(p, name, n);
	return rc;
}

static int list_files(struct img_ctx *c, const struct img_options *o, struct inside *i, struct err *e)
{
	struct printing p = {.c = c, .o = o, .e = e};
	int rc = open_place(c, i, true, e);

	if (rc == -ENOENT) { /* a link that leads nowhere is still there */
		rc = open_place(c, i, false, e);
	}
	if (rc < 0)
		return rc;
	p.fs = i->volume->fs;
	if (i->node.type != FS_DIR) {
		print_file(&p, i->place.path, &i->node);
	} else {
		rc = fs_list(p.fs, &i->node, print_entry, &p);
		if (rc < 0 && rc != -EINTR)
			rc = err_errno(e, rc, "%.150s: %.400s", i->place.image, i->place.path);
	}
	place_close(&i->image);
	return rc;
}

static void print_volume(FILE *f, const struct volume *v)
{
	char size[32];

	if (v->number)
		fprintf(f, "%-4u", v->number);
	else
		fputs("-   ", f);
	fprintf(f, "%10s  %-8s", format_size(v->len, size, sizeof(size)),
	        v->fs         ? fs_kind(v->fs)
	        : v->why.code ? "damaged"
	                      : "-");
	if (v->fs) {
		fprintf(f, "  %-36s  ", fs_uuid(v->fs));
		print_safe(f, fs_label(v->fs));
	} else if (v->why.code) {
		fprintf(f, "  %s", v->why.text);
	}
	fputc('\n', f);
}

static int list_volumes(struct img_ctx *c, const char *image, struct err *e)
{
	struct place_image p;
	int rc = place_open(&p, image, NULL, c->io, e);

	if (rc < 0)
		return rc;
	fprintf(c->out, "%-4s%10s  %-8s  %-36s  %s\n", "N", "size", "system", "uuid", "label");
	for (unsigned i = 0; i < p.volumes->count; i++)
		print_volume(c->out, &p.volumes->v[i]);
	place_close(&p);
	return 0;
}

int img_ls(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct inside i = {0};

	return place_parse(&i.place, o->arg[0]) ? list_files(c, o, &i, e) : list_volumes(c, o->arg[0], e);
}
