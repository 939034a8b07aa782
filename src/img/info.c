/*
 * info: what an image is, and what it takes on the host.
 */
#include "img/json.h"
#include "img/qcow2.h"
#include "img/spimage.h"

#include "base/text.h"
#include "block/meta.h"

#include <inttypes.h>

struct info {
	const char *format, *from; /* from: where the geometry is known from */
	struct image_geometry g;
	struct image_usage u;
};

static int look(struct img_ctx *c, const struct image_spec *s, struct info *i, struct err *e)
{
	struct image_geometry ignored;
	struct err no;
	int r;

	if (!s->split && !s->sparse && !s->size && qcow2_probe(c->io, s->path) > 0) {
		struct block *b;

		r = qcow2_open(&b, s->path, c->io, e);
		if (r)
			return r;
		i->format = "qcow2";
		i->from = "the header";
		i->g = (struct image_geometry){
		        .size = block_size(b), .nseg = 1, .logical = 512, .physical = 512};
		block_close(b);
		return image_usage(&i->u, s, &i->g, c->io, c->stop, e);
	}
	r = image_probe(&i->g, s, c->io, e);
	if (r)
		return r;
	i->format = i->g.sparse ? "sparse" : i->g.is_split ? "split" : "raw";
	i->from = meta_load(&ignored, s->path, c->io, &no) == 0 ? "PATH.meta"
	          : i->g.sparse || i->g.is_split                ? "the options"
	                                                        : "the file";
	return image_usage(&i->u, s, &i->g, c->io, c->stop, e);
}

static void print_text(const struct info *i, const char *path, FILE *f)
{
	char buf[32];

	fprintf(f, "image: %s\nformat: %s (geometry from %s)\n", path, i->format, i->from);
	fprintf(f, "virtual size: %s (%" PRIu64 " bytes)\n", format_size(i->g.size, buf, sizeof(buf)),
	        i->g.size);
	fprintf(f, "sector size: %u/%u\n", i->g.logical, i->g.physical);
	fprintf(f, "space on the host: %" PRIu64 " bytes\n", i->u.stored);
	if (i->g.is_split)
		fprintf(f, "segments: %u of %s%s\n", i->g.nseg, format_size(i->g.segment, buf, sizeof(buf)),
		        i->u.missing ? ", some are missing" : "");
	if (i->g.sparse)
		fprintf(f, "table: %" PRIu64 " bytes, %" PRIu64 " of %" PRIu64 " sectors allocated\n",
		        i->u.table_bytes, i->u.allocated, i->g.entries);
	if (i->u.journal)
		fprintf(f, "journal: %s\n",
		        i->u.in_use ? "in use" : "left by a killed xhyve, replayed at the next start");
	fprintf(f, "in use: %s\n", i->u.in_use ? "yes" : "no");
}

static void print_json(const struct info *i, const char *path, FILE *f)
{
	struct json j = {.f = f};

	json_begin(&j, NULL, '{');
	json_text(&j, "image", path);
	json_text(&j, "format", i->format);
	json_text(&j, "geometry-from", i->from);
	json_u64(&j, "virtual-size", i->g.size);
	json_u64(&j, "logical-sector", i->g.logical);
	json_u64(&j, "physical-sector", i->g.physical);
	json_u64(&j, "host-bytes", i->u.stored);
	json_u64(&j, "segments", i->g.nseg);
	json_u64(&j, "missing-segments", i->u.missing);
	if (i->g.is_split)
		json_u64(&j, "segment-size", i->g.segment);
	if (i->g.sparse) {
		json_u64(&j, "table-bytes", i->u.table_bytes);
		json_u64(&j, "sectors", i->g.entries);
		json_u64(&j, "allocated-sectors", i->u.allocated);
	}
	json_bool(&j, "journal", i->u.journal);
	json_bool(&j, "in-use", i->u.in_use);
	json_end(&j, '}');
}

int img_info(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct info i = {0};
	struct image_spec s;
	int r = image_parse(&s, o->arg[0], e);

	if (!r)
		r = look(c, &s, &i, e);
	if (r)
		return r;
	if (o->json)
		print_json(&i, s.path, c->out);
	else
		print_text(&i, s.path, c->out);
	return 0;
}
