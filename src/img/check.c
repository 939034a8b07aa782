/*
 * check: what is wrong with an image.
 *
 * Of a sparse image everything is looked at that the table and the files can disagree about. Damage
 * that the original program does: entries at or behind the end of a segment (it wrote the table before
 * the data and was killed), and two entries with one slot (what it appended next). Its first run on a
 * new image left huge holes and sectors without entry, which is lost space and no damage.
 */
#include "img/check.h"
#include "img/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

const char *const finding_name[FOUND_KINDS] = {
        "table-short", "table-long", "segment-missing", "segment-long", "past-end", "shared", "leak"};

void findings_add(struct findings *f, const struct finding *one)
{
	f->count[one->kind]++;
	if (one->kind == FOUND_LEAK)
		f->leaked += one->len;
	if (f->n == FINDINGS_MAX)
		return;
	if (!f->list)
		f->list = malloc(FINDINGS_MAX * sizeof(*f->list));
	if (f->list)
		f->list[f->n++] = *one;
}

void findings_free(struct findings *f)
{
	free(f->list);
	*f = (struct findings){0};
}

u64 findings_damage(const struct findings *f)
{
	u64 n = 0;

	for (int i = 0; i < FOUND_LEAK; i++)
		n += f->count[i];
	return n;
}

void finding_text(const struct finding *x, const struct image_geometry *g, char *buf, size_t len)
{
	u64 first = x->segment * g->per_segment;

	switch (x->kind) {
	case FOUND_TABLE_SHORT:
	case FOUND_TABLE_LONG:
		snprintf(buf, len, "the table has %" PRIu64 " bytes instead of %" PRIu64, x->off, x->len);
		break;
	case FOUND_SEGMENT_MISSING:
		snprintf(buf, len, "segment %u is missing (bytes %" PRIu64 " to %" PRIu64 " of the disk)",
		        x->segment, x->segment * g->segment, (x->segment + 1) * g->segment - 1);
		break;
	case FOUND_SEGMENT_LONG:
		snprintf(buf, len, "segment %u has %" PRIu64 " bytes instead of %" PRIu64, x->segment, x->off,
		        x->len);
		break;
	case FOUND_PAST_END:
		snprintf(buf, len,
		        "sector %" PRIu64 ": slot %" PRIu64
		        " lies behind the end of segment %u, reads as zeros",
		        x->sector, x->slot, x->segment);
		break;
	case FOUND_SHARED:
		snprintf(buf, len,
		        "sector %" PRIu64 " shares slot %" PRIu64 " of segment %u with sector %" PRIu64,
		        x->sector, x->slot, x->segment, x->other);
		break;
	case FOUND_LEAK:
		snprintf(buf, len,
		        "%" PRIu64 " bytes at %" PRIu64 " of segment %u belong to none of sectors %" PRIu64
		        " to %" PRIu64,
		        x->len, x->off, x->segment, first, first + g->per_segment - 1);
		break;
	case FOUND_KINDS: break;
	}
}

static int on_past_end(struct walk *w, struct sp_segment *seg, u64 sector, u32 slot, struct err *e)
{
	findings_add(w->opaque,
	        &(struct finding){
	                .kind = FOUND_PAST_END, .segment = seg->index, .sector = sector, .slot = slot});
	return 0;
}

static int on_shared(
        struct walk *w, struct sp_segment *seg, const struct sp_shared *s, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		struct finding one = {.kind = FOUND_SHARED,
		        .segment = seg->index,
		        .sector = s[i].sector,
		        .other = s[i].first,
		        .slot = s[i].slot};

		findings_add(w->opaque, &one);
	}
	/* A table of nothing but zeros would keep us busy forever: what is not listed is only counted. */
	w->tally = ((struct findings *)w->opaque)->n == FINDINGS_MAX;
	return 0;
}

static int on_leak(struct walk *w, struct sp_segment *seg, u64 off, u64 len, struct err *e)
{
	findings_add(w->opaque,
	        &(struct finding){.kind = FOUND_LEAK, .segment = seg->index, .off = off, .len = len});
	return 0;
}

int check_sparse(struct spimage *img, const struct img_ctx *c, struct findings *f, struct err *e)
{
	struct walk w = {.img = img,
	        .ctx = c,
	        .opaque = f,
	        .past_end = on_past_end,
	        .shared = on_shared,
	        .leak = on_leak};
	u64 need = 4 * img->g.entries;
	bool absent; /* a longer table may end in absent entries: a resize was cut off */
	int r = spimage_tail_absent(img, need, &absent, e);

	if (!r && (img->table_bytes < need || !absent)) {
		enum finding_kind kind = img->table_bytes < need ? FOUND_TABLE_SHORT : FOUND_TABLE_LONG;

		findings_add(f, &(struct finding){.kind = kind, .off = img->table_bytes, .len = need});
	}
	for (u32 i = 0; !r && i < img->g.nseg; i++) {
		struct sp_segment *seg;

		r = spimage_segment(img, i, &seg, e);
		if (!r && seg->fd < 0)
			findings_add(f, &(struct finding){.kind = FOUND_SEGMENT_MISSING, .segment = i});
		if (!r)
			r = walk_segment(&w, seg, e);
		f->named += w.count.named;
	}
	f->count[FOUND_SHARED] += w.tallied;
	return r;
}

/* Raw and split: the files are there, and as long as they should be. */
static int check_plain(const struct image_spec *s, const struct image_geometry *g, struct img_ctx *c,
        struct findings *f, struct err *e)
{
	char name[IMAGE_PATH_MAX + 16];
	int r = 0;

	for (u32 i = 0; r >= 0 && i < g->nseg; i++) {
		struct host_stat st;
		int fd;

		image_segment_name(name, sizeof(name), s->path, g->is_split, i);
		fd = c->io->ops->open(c->io, name, O_RDONLY | O_NONBLOCK, 0);
		if (fd == -ENOENT) {
			findings_add(f, &(struct finding){.kind = FOUND_SEGMENT_MISSING, .segment = i});
			continue;
		}
		r = fd < 0 ? fd : c->io->ops->stat(c->io, fd, &st);
		if (r >= 0 && i == 0 && c->io->ops->lock(c->io, fd, false) == -EAGAIN)
			r = err_set(e, -EBUSY, "%s is in use by another process", name);
		else if (r < 0)
			err_errno(e, r, "%s", name);
		else if (g->is_split && st.size > g->segment)
			findings_add(f, &(struct finding){.kind = FOUND_SEGMENT_LONG,
			                        .segment = i,
			                        .off = st.size,
			                        .len = g->segment});
		if (fd >= 0)
			c->io->ops->close(c->io, fd);
	}
	return r < 0 ? r : 0;
}

static void print_text(const struct findings *f, const struct image_geometry *g, const char *path, FILE *out)
{
	u64 total = findings_damage(f) + f->count[FOUND_LEAK];
	char line[256];

	for (size_t i = 0; i < f->n; i++) {
		finding_text(&f->list[i], g, line, sizeof(line));
		fprintf(out, "%s: %s\n", f->list[i].kind == FOUND_LEAK ? "leak" : "damage", line);
	}
	if (total > f->n)
		fprintf(out, "... and %" PRIu64 " more\n", total - f->n);
	if (g->sparse)
		fprintf(out, "%" PRIu64 " of %" PRIu64 " sectors are allocated\n", f->named, g->entries);
	if (!total)
		fprintf(out, "%s: no damage\n", path);
	else
		fprintf(out, "%s: %" PRIu64 " damaged places, %" PRIu64 " bytes lost\n", path,
		        findings_damage(f), f->leaked);
}

static void print_finding(struct json *j, const struct finding *x, const struct image_geometry *g)
{
	char line[256];

	json_begin(j, NULL, '{');
	json_text(j, "kind", finding_name[x->kind]);
	if (x->kind != FOUND_TABLE_SHORT && x->kind != FOUND_TABLE_LONG)
		json_u64(j, "segment", x->segment);
	if (x->kind == FOUND_PAST_END || x->kind == FOUND_SHARED) {
		json_u64(j, "sector", x->sector);
		json_u64(j, "offset", x->sector * g->sector);
		json_u64(j, "slot", x->slot);
	}
	if (x->kind == FOUND_SHARED)
		json_u64(j, "other", x->other);
	if (x->kind == FOUND_LEAK) {
		json_u64(j, "file-offset", x->off);
		json_u64(j, "length", x->len);
	}
	finding_text(x, g, line, sizeof(line));
	json_text(j, "text", line);
	json_end(j, '}');
}

static void print_json(
        const struct findings *f, const struct image_geometry *g, const char *path, bool replayed, FILE *out)
{
	struct json j = {.f = out};

	json_begin(&j, NULL, '{');
	json_text(&j, "image", path);
	json_bool(&j, "journal-replayed", replayed);
	json_u64(&j, "damage", findings_damage(f));
	json_u64(&j, "leaked-bytes", f->leaked);
	if (g->sparse) {
		json_u64(&j, "sectors", g->entries);
		json_u64(&j, "allocated-sectors", f->named);
	}
	json_begin(&j, "counts", '{');
	for (int i = 0; i < FOUND_KINDS; i++)
		json_u64(&j, finding_name[i], f->count[i]);
	json_end(&j, '}');
	json_begin(&j, "findings", '[');
	for (size_t i = 0; i < f->n; i++)
		print_finding(&j, &f->list[i], g);
	json_end(&j, ']');
	json_end(&j, '}');
}

/* The state after a journal's replay is what counts; damage may stand in its way. */
static int replay_first(struct img_ctx *c, const struct image_spec *s, bool *replayed, struct err *e)
{
	struct err own = {0};
	int r = img_replay(c, s, replayed, &own);

	if (r == -EBUSY) {
		*e = own;
		return r;
	}
	if (r < 0)
		img_note(c, "the journal of %s cannot be replayed, the image is checked as it is: %s",
		        s->path, own.text);
	else if (*replayed)
		img_note(c, "replayed the journal that a killed xhyve left");
	return 0;
}

int img_check(struct img_ctx *c, const struct img_options *o, struct err *e)
{
	struct image_spec s;
	struct image_geometry g;
	struct findings f = {0};
	struct spimage *img = NULL;
	bool replayed = false;
	int r = img_target(c, o->arg[0], &s, &g, e);

	if (!r && g.sparse)
		r = replay_first(c, &s, &replayed, e);
	if (!r && g.sparse)
		r = spimage_open(&img, s.path, &g, false, c->io, e);
	if (!r)
		r = g.sparse ? check_sparse(img, c, &f, e) : check_plain(&s, &g, c, &f, e);
	if (!r && o->json)
		print_json(&f, &g, s.path, replayed, c->out);
	else if (!r)
		print_text(&f, &g, s.path, c->out);
	if (!r)
		r = findings_damage(&f) ? IMG_CORRUPT : f.count[FOUND_LEAK] ? IMG_LEAKS : IMG_OK;
	findings_free(&f);
	spimage_close(img);
	return r;
}
