/*
 * What several commands share.
 */
#include "img/img.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

int img_stopped(const struct img_ctx *c, struct err *e)
{
	return c->stop && *c->stop ? err_set(e, -EINTR, "interrupted") : 0;
}

void img_note(const struct img_ctx *c, const char *fmt, ...)
{
	struct err line;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line.text, sizeof(line.text), fmt, ap);
	va_end(ap);
	fprintf(c->err, "xhyve-img: %s\n", line.text);
}

int img_target(const struct img_ctx *c, const char *word, struct image_spec *s, struct image_geometry *g,
        struct err *e)
{
	int r = image_parse(s, word, e);

	return r < 0 ? r : image_probe(g, s, c->io, e);
}

int img_replay(const struct img_ctx *c, const struct image_spec *s, bool *replayed, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	struct image_spec own = *s;
	struct block *b;
	int r;

	*replayed = false;
	image_journal_name(name, sizeof(name), s->path);
	r = hostio_exists(c->io, name);
	if (r == 0)
		return 0;
	if (r < 0)
		return err_errno(e, r, "%s", name);
	own.ro = own.nocache = false;
	r = image_open(&b, &own, IMAGE_QUIET, c->io, e);
	if (r < 0)
		return r;
	*replayed = true;
	r = block_close(b);
	return r < 0 ? err_errno(e, r, "%s", s->path) : 0;
}
