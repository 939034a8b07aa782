/*
 * info: what an image is, and what it takes on the host.
 */
#include "img/json.h"
#include "img/qcow2.h"
#include "img/spimage.h"

#include "base/text.h"
#include "block/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

struct info {
	const char *format, *from; /* from: where the geometry is known from */
	struct image_geometry g;
	u64 stored;      /* bytes on the host */
	u64 table_bytes; /* sparse */
	u64 allocated;   /* sparse: entries that are present */
	u32 missing;     /* segments */
	bool journal, in_use;
};

/* Size and storage of one file; 0, also when it is missing. */
static int add_file(struct img_ctx *c, const char *name, bool lock, struct info *i, struct host_stat *st,
        bool *there, struct err *e)
{
	int fd = c->io->ops->open(c->io, name, O_RDONLY | O_NONBLOCK, 0), r;

	*there = fd >= 0;
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_errno(e, fd, "%s", name);
	r = c->io->ops->stat(c->io, fd, st);
	if (r >= 0)
		i->stored += st->allocated;
	/* The lock is taken and dropped with the descriptor; one that writes has it exclusively. */
	if (lock && c->io->ops->lock(c->io, fd, false) == -EAGAIN)
		i->in_use = true;
	c->io->ops->close(c->io, fd);
	return r < 0 ? err_errno(e, r, "%s", name) : 0;
}

static int count_entries(struct img_ctx *c, const char *name, u64 bytes, u64 *count, struct err *e)
{
	u32 *chunk = malloc(SP_CHUNK * sizeof(*chunk));
	int r = chunk ? 0 : -ENOMEM, fd = r ? r : c->io->ops->open(c->io, name, O_RDONLY, 0);

	if (!r && fd < 0)
		r = fd;
	for (u64 at = 0; !r && at < bytes / 4; at += SP_CHUNK) {
		u64 n = MIN(bytes / 4 - at, SP_CHUNK);

		r = hostio_read(c->io, fd, chunk, n * 4, at * 4);
		for (u64 i = 0; !r && i < n; i++)
			*count += chunk[i] != SP_ABSENT;
		if (!r && img_stopped(c, e))
			r = -EINTR;
	}
	if (fd >= 0)
		c->io->ops->close(c->io, fd);
	free(chunk);
	return r ? err_errno(e, r, "%s", name) : 0;
}

static int look_at_files(struct img_ctx *c, const struct image_spec *s, struct info *i, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	struct host_stat st;
	bool there;
	int r = 0;

	for (u32 k = 0; !r && k < i->g.nseg; k++) {
		image_segment_name(name, sizeof(name), s->path, i->g.is_split, k);
		r = add_file(c, name, k == 0, i, &st, &there, e);
		i->missing += !r && !there;
	}
	if (r || !i->g.sparse)
		return r;
	image_lut_name(name, sizeof(name), s->path);
	r = add_file(c, name, true, i, &st, &there, e);
	if (!r && there) {
		i->table_bytes = st.size;
		r = count_entries(c, name, MIN(st.size, 4 * i->g.entries), &i->allocated, e);
	}
	image_journal_name(name, sizeof(name), s->path);
	i->journal = hostio_exists(c->io, name) > 0;
	return r;
}

static int look(struct img_ctx *c, const struct image_spec *s, struct info *i, struct err *e)
{
	struct image_geometry ignored;
	struct err no;
	int r;

	if (!s->split && !s->sparse && !s->size && qcow2_probe(c->io, s->path) > 0) {
		struct block *b;
		struct host_stat st;
		bool there;

		r = qcow2_open(&b, s->path, c->io, e);
		if (r)
			return r;
		i->format = "qcow2";
		i->from = "the header";
		i->g = (struct image_geometry){
		        .size = block_size(b), .nseg = 1, .logical = 512, .physical = 512};
		block_close(b);
		return add_file(c, s->path, false, i, &st, &there, e);
	}
	r = image_probe(&i->g, s, c->io, e);
	if (r)
		return r;
	i->format = i->g.sparse ? "sparse" : i->g.is_split ? "split" : "raw";
	i->from = meta_load(&ignored, s->path, c->io, &no) == 0 ? "PATH.meta"
	          : i->g.sparse || i->g.is_split                ? "the options"
	                                                        : "the file";
	return look_at_files(c, s, i, e);
}

static void print_text(const struct info *i, const char *path, FILE *f)
{
	char buf[32];

	fprintf(f, "image: %s\nformat: %s (geometry from %s)\n", path, i->format, i->from);
	fprintf(f, "virtual size: %s (%" PRIu64 " bytes)\n", format_size(i->g.size, buf, sizeof(buf)),
	        i->g.size);
	fprintf(f, "sector size: %u/%u\n", i->g.logical, i->g.physical);
	fprintf(f, "space on the host: %" PRIu64 " bytes\n", i->stored);
	if (i->g.is_split)
		fprintf(f, "segments: %u of %s%s\n", i->g.nseg, format_size(i->g.segment, buf, sizeof(buf)),
		        i->missing ? ", some are missing" : "");
	if (i->g.sparse)
		fprintf(f, "table: %" PRIu64 " bytes, %" PRIu64 " of %" PRIu64 " sectors allocated\n",
		        i->table_bytes, i->allocated, i->g.entries);
	if (i->journal)
		fprintf(f, "journal: %s\n",
		        i->in_use ? "in use" : "left by a killed xhyve, replayed at the next start");
	fprintf(f, "in use: %s\n", i->in_use ? "yes" : "no");
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
	json_u64(&j, "host-bytes", i->stored);
	json_u64(&j, "segments", i->g.nseg);
	json_u64(&j, "missing-segments", i->missing);
	if (i->g.is_split)
		json_u64(&j, "segment-size", i->g.segment);
	if (i->g.sparse) {
		json_u64(&j, "table-bytes", i->table_bytes);
		json_u64(&j, "sectors", i->g.entries);
		json_u64(&j, "allocated-sectors", i->allocated);
	}
	json_bool(&j, "journal", i->journal);
	json_bool(&j, "in-use", i->in_use);
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
