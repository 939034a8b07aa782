/*
 * map: which parts of the disk hold data, and in which file at which offset.
 */
#include "img/json.h"
#include "img/spimage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct extent {
	u64 off, len;
	bool data;
	bool placed; /* the file is known */
	u32 segment;
	u64 at; /* in the file */
};

struct map {
	struct img_ctx *c;
	const char *path;
	const struct image_geometry *g;
	struct json *json; /* NULL: text */
	struct extent last;
};

static void print_extent(struct map *m)
{
	const struct extent *x = &m->last;
	char name[IMAGE_PATH_MAX + 16];

	if (!x->len)
		return;
	image_segment_name(name, sizeof(name), m->path, m->g->is_split, x->segment);
	if (!m->json) {
		fprintf(m->c->out, "%#16" PRIx64 " %#16" PRIx64 " %s", x->off, x->len,
		        x->data ? "data" : "zero");
		if (x->placed)
			fprintf(m->c->out, " %#14" PRIx64 " %s", x->at, name);
		fputc('\n', m->c->out);
		return;
	}
	json_begin(m->json, NULL, '{');
	json_u64(m->json, "start", x->off);
	json_u64(m->json, "length", x->len);
	json_bool(m->json, "data", x->data);
	if (x->placed) {
		json_u64(m->json, "offset", x->at);
		json_text(m->json, "file", name);
	}
	json_end(m->json, '}');
}

static void add(struct map *m, const struct extent *x)
{
	struct extent *l = &m->last;

	if (l->len && l->data == x->data && l->placed == x->placed &&
	        (!x->placed || (l->segment == x->segment && l->at + l->len == x->at))) {
		l->len += x->len;
		return;
	}
	print_extent(m);
	*l = *x;
}

static int map_sparse(struct map *m, struct spimage *img, struct err *e)
{
	u32 *chunk = malloc(SP_CHUNK * sizeof(*chunk)), n;
	u64 sector = m->g->sector;
	int r = chunk ? 0 : err_errno(e, -ENOMEM, "%s", m->path);

	for (u64 at = 0; !r && at < m->g->entries; at += n) {
		n = (u32)MIN(m->g->entries - at, SP_CHUNK);
		r = img_stopped(m->c, e);
		if (!r)
			r = spimage_read(img, at, n, chunk, e);
		for (u32 i = 0; !r && i < n; i++) {
			struct extent x = {.off = (at + i) * sector, .len = sector};

			x.data = x.placed = chunk[i] != SP_ABSENT;
			x.segment = (u32)((at + i) / m->g->per_segment);
			x.at = x.placed ? chunk[i] * sector : 0;
			add(m, &x);
		}
	}
	free(chunk);
	return r;
}

static int map_plain(struct map *m, struct block *b, struct err *e)
{
	u64 size = block_size(b), segment = m->g->is_split ? m->g->segment : size;

	for (u64 at = 0; at < size;) {
		struct extent x = {.off = at, .len = MIN(size - at, segment - at % segment), .data = true};
		int r = img_stopped(m->c, e);

		if (r)
			return r;
		r = block_extent(b, at, &x.len, &x.data);
		if (r)
			return err_errno(e, r, "%s", m->path);
		x.placed = x.data;
		x.segment = (u32)(at / segment);
		x.at = x.data ? at % segment : 0;
		add(m, &x);
		at += x.len;
	}
	return 0;
}

static int map_image(struct map *m, struct image_spec *s, struct err *e)
{
	struct spimage *img;
	struct block *b;
	int r;

	if (m->g->sparse) {
		r = spimage_open(&img, s->path, m->g, false, m->c->io, e);
		if (r)
			return r;
		r = map_sparse(m, img, e);
		spimage_close(img);
		return r;
	}
	s->ro = true;
	r = image_open(&b, s, IMAGE_QUIET, m->c->io, e);
	if (r)
		return r;
	r = map_plain(m, b, e);
	block_close(b);
	return r;
}

int img_map(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct image_spec s;
	struct image_geometry g;
	struct json json = {.f = c->out};
	struct map m = {.c = c, .path = s.path, .g = &g, .json = o->json ? &json : NULL};
	int r = img_target(c, o->arg[0], &s, &g, e);

	if (r)
		return r;
	if (o->json)
		json_begin(&json, NULL, '[');
	else
		fprintf(c->out, "%16s %16s %s %14s %s\n", "start", "length", "what", "offset", "file");
	r = map_image(&m, &s, e);
	print_extent(&m);
	if (o->json)
		json_end(&json, ']');
	return r;
}
