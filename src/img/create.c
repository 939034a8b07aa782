/*
 * create: a new image. What can be said as options of IMAGE can also be said as options of the command.
 */
#include "img/img.h"

#include "base/text.h"

#include <errno.h>

int img_create(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	char word[IMAGE_PATH_MAX + 512];
	struct image_spec s;
	char size[32];
	int n, r;

	n = snprintf(word, sizeof(word), "%s%s%s%s%s%s%s%s", o->arg[0], o->arg[1] ? ",size=" : "",
	        o->arg[1] ? o->arg[1] : "", o->split ? ",split=" : "", o->split ? o->split : "",
	        o->sectorsize ? ",sectorsize=" : "", o->sectorsize ? o->sectorsize : "",
	        o->sparse ? ",sparse" : "");
	if (n < 0 || (size_t)n >= sizeof(word))
		return err_usage(e, "create: the image's path and options are too long");
	r = image_parse(&s, word, e);
	if (r < 0)
		return r;
	if (!s.size)
		return err_usage(e, "create: %s needs a size", s.path);
	r = image_create(&s, c->io, e);
	if (r < 0)
		return r;
	fprintf(c->out, "%s: created, %s\n", s.path, format_size(s.size, size, sizeof(size)));
	return 0;
}
