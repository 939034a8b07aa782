/*
 * Names of files inside images.
 */
#include "fs/place.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>

/* The number between colon and the next ":/", or 0. */
static unsigned partition_at(const char *colon, const char **path)
{
	size_t digits = strspn(colon + 1, "0123456789");
	char text[8];
	u64 n;

	*path = colon + 1 + digits + 1;
	if (digits == 0 || digits >= sizeof(text) || strncmp(colon + 1 + digits, ":/", 2) != 0)
		return 0;
	memcpy(text, colon + 1, digits);
	text[digits] = 0;
	return parse_uint(text, 1, PART_MAX, &n) == 0 ? (unsigned)n : 0;
}

bool place_parse(struct place *p, const char *text)
{
	for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':')) {
		size_t len = (size_t)(colon - text);

		p->partition = 0;
		p->path = colon + 1;
		if (colon[1] != '/')
			p->partition = partition_at(colon, &p->path);
		if ((colon[1] != '/' && !p->partition) || len == 0 || len >= sizeof(p->image))
			continue;
		memcpy(p->image, text, len);
		p->image[len] = 0;
		return true;
	}
	return false;
}

/* The caller's own block of this image, or NULL. */
static struct block *borrow(const struct place_lent *lent, const char *path)
{
	for (; lent && lent->path; lent++)
		if (strcmp(lent->path, path) == 0)
			return lent->block;
	return NULL;
}

int place_open_spec(struct place_image *p, const struct image_spec *spec, const struct place_lent *lent,
        const struct host_io *io, struct err *e)
{
	struct image_spec own = *spec;
	struct err why;
	int rc = 0;

	*p = (struct place_image){.block = borrow(lent, spec->path)};
	p->lent = p->block;
	own.ro = true;
	own.nocache = false;
	if (!p->lent)
		rc = image_open(&p->block, &own, IMAGE_QUIET, io, e);
	if (rc < 0)
		return rc;
	rc = volumes_open(&p->volumes, p->block, &why);
	if (rc < 0) {
		place_close(p);
		return err_set(e, rc, "%s: %.400s", spec->path, why.text);
	}
	return 0;
}

int place_open(struct place_image *p, const char *image, const struct place_lent *lent,
        const struct host_io *io, struct err *e)
{
	struct image_spec spec;
	int rc = image_parse(&spec, image, e);

	*p = (struct place_image){0};
	return rc < 0 ? rc : place_open_spec(p, &spec, lent, io, e);
}

void place_close(struct place_image *p)
{
	volumes_close(p->volumes);
	if (!p->lent)
		block_close(p->block);
	*p = (struct place_image){0};
}
