/*
 * ISO 9660 (ECMA-119) with Rock Ridge (IEEE P1282, on SUSP P1281) or Joliet: the first of them that the disc
 * has, so names are those that Linux shows. Without either, names are in lower case and without version.
 *
 * A file is named by where its directory record is; a file of several extents has several records there, one
 * behind the other.
 */
#include "fs/fs_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SECTOR 2048u
#define FIRST_DESCRIPTOR 16u
#define DESCRIPTORS_MAX 64u
#define RECORD_MIN 34u
#define EXTENTS_MAX 4096u
#define CONTINUATIONS_MAX 32u /* of a record's system use field */

#define FLAG_DIR 0x02
#define FLAG_MULTI 0x80

struct iso {
	struct fs *f;
	bool rock, joliet;
	u8 skip;       /* bytes of each system use field that are not SUSP's */
	u32 root, len; /* the root directory's extent */
};

/* A directory record, and what Rock Ridge adds to it. */
struct record {
	u64 at; /* byte on the disc */
	u32 extent, size;
	u8 flags;
	bool interleaved;
	char name[FS_NAME_MAX];
	char target[FS_PATH_MAX];
	u32 mode;       /* 0: not told */
	u32 child;      /* CL: the directory was moved there */
	bool moved;     /* RE: an entry that only carries moved directories */
	bool packed;    /* ZF: content is compressed */
	bool truncated; /* a name or target that is too long */
};

static struct iso *iso_of(const struct fs *f)
{
	return f->priv;
}

/* --- Rock Ridge --- */

/* State over the entries of one record. */
struct susp {
	struct record *r;
	size_t name_len, target_len;
	bool named, part; /* part: the last component of the target goes on */
	u32 next_block, next_off, next_len;
};

static void append(struct susp *s, char *text, size_t *len, size_t cap, const void *in, size_t n)
{
	if (n >= cap - *len) {
		s->r->truncated = true;
		return;
	}
	memcpy(text + *len, in, n);
	*len += n;
	text[*len] = 0;
}

static void take_name(struct susp *s, const u8 *p, u8 len)
{
	if (len < 5 || p[4] & 0x06) /* of the directory itself, or its parent */
		return;
	if (!s->named)
		s->name_len = 0;
	s->named = true;
	append(s, s->r->name, &s->name_len, sizeof(s->r->name), p + 5, len - 5u);
}

static void take_component(struct susp *s, u8 flags, const u8 *text, u8 len)
{
	char *target = s->r->target;

	if (!s->part && s->target_len && target[s->target_len - 1] != '/')
		append(s, target, &s->target_len, sizeof(s->r->target), "/", 1);
	s->part = flags & 0x01;
	if (flags & 0x08)
		append(s, target, &s->target_len, sizeof(s->r->target), "/", 1);
	else if (flags & 0x04)
		append(s, target, &s->target_len, sizeof(s->r->target), "..", 2);
	else if (flags & 0x02)
		append(s, target, &s->target_len, sizeof(s->r->target), ".", 1);
	else
		append(s, target, &s->target_len, sizeof(s->r->target), text, len);
}

static void take_target(struct susp *s, const u8 *p, u8 len)
{
	for (u32 at = 5; at + 2 <= len; at += 2u + p[at + 1]) {
		if (p[at + 1] > len - at - 2)
			return;
		take_component(s, p[at], p + at + 2, p[at + 1]);
	}
}

static bool is(const u8 *p, const char *signature)
{
	return p[0] == (u8)signature[0] && p[1] == (u8)signature[1];
}

static void take_entry(struct susp *s, const u8 *p, u8 len)
{
	if (is(p, "NM"))
		take_name(s, p, len);
	else if (is(p, "SL"))
		take_target(s, p, len);
	else if (is(p, "PX") && len >= 12)
		s->r->mode = get_le32(p + 4);
	else if (is(p, "CL") && len >= 12)
		s->r->child = get_le32(p + 4);
	else if (is(p, "RE"))
		s->r->moved = true;
	else if (is(p, "ZF"))
		s->r->packed = true;
	if (is(p, "CE") && len >= 28) {
		s->next_block = get_le32(p + 4);
		s->next_off = get_le32(p + 12);
		s->next_len = get_le32(p + 20);
	}
}

static void take_area(struct susp *s, const u8 *p, u32 len)
{
	s->next_len = 0;
	for (u32 at = 0; at + 4 <= len && p[at + 2] >= 4 && p[at + 2] <= len - at; at += p[at + 2]) {
		if (is(p + at, "ST"))
			break;
		take_entry(s, p + at, p[at + 2]);
	}
}

static int take_system_use(struct iso *v, struct record *r, const u8 *p, u32 len)
{
	struct susp s = {.r = r};
	u8 more[SECTOR];

	if (len <= v->skip)
		return 0;
	take_area(&s, p + v->skip, len - v->skip);
	for (unsigned n = 0; s.next_len; n++) {
		u32 size = s.next_len;
		int rc;

		if (n == CONTINUATIONS_MAX || size > sizeof(more))
			return -EUCLEAN;
		rc = fs_dev_read(&v->f->dev, more, size, (u64)s.next_block * SECTOR + s.next_off);
		if (rc < 0)
			return rc;
		take_area(&s, more, size);
	}
	return 0;
}

/* --- records --- */

/* "KERNEL.IMG;1" is kernel.img, "README.;1" is readme. */
static void plain_name(char *out, const u8 *in, u8 len)
{
	u8 n = 0;

	while (n < len && in[n] != ';')
		n++;
	while (n && in[n - 1] == '.')
		n--;
	for (u8 i = 0; i < n; i++)
		out[i] = in[i] && in[i] != '/' ? (char)tolower(in[i]) : '_';
	out[n] = 0;
}

static void joliet_name(char *out, const u8 *in, u8 len)
{
	char *version;

	utf16_text(out, FS_NAME_MAX, in, len / 2, true);
	version = strrchr(out, ';');
	if (version && strcmp(version, ";1") == 0)
		*version = 0;
}

/* The record at p, which has room bytes; at is its place on the disc. */
static int parse_record(struct iso *v, struct record *r, const u8 *p, u32 room, u64 at)
{
	u32 len = p[0], name_len;
	u32 use;

	if (len < RECORD_MIN || len > room || RECORD_MIN - 1 + p[32] > len)
		return -EUCLEAN;
	name_len = p[32];
	r->at = at;
	r->extent = get_le32(p + 2) + p[1];
	r->size = get_le32(p + 10);
	r->flags = p[25];
	r->interleaved = p[26] || p[27];
	r->mode = r->child = 0;
	r->moved = r->packed = r->truncated = false;
	r->target[0] = r->name[0] = 0;
	if (name_len == 1 && p[33] <= 1)
		; /* . and .. */
	else if (v->joliet)
		joliet_name(r->name, p + 33, (u8)name_len);
	else
		plain_name(r->name, p + 33, (u8)name_len);
	use = RECORD_MIN - 1 + name_len + (name_len % 2 == 0);
	return v->rock && use < len ? take_system_use(v, r, p + use, len - use) : 0;
}

/* Reads the record at a place that fs_node has. */
static int load_record(struct iso *v, struct record *r, u64 at)
{
	u32 room = SECTOR - at % SECTOR;
	u8 buf[256];
	int rc = fs_dev_read(&v->f->dev, buf, MIN(room, sizeof(buf)), at);

	return rc < 0 ? rc : parse_record(v, r, buf, MIN(room, sizeof(buf)), at);
}

/* A file's records: at is that of the first one, then of the next. */
static int next_extent(struct iso *v, struct record *r, u64 *at)
{
	u8 len;
	int rc = fs_dev_read(&v->f->dev, &len, 1, *at);

	if (rc == 0 && len == 0) { /* it did not fit into the last sector */
		*at = ALIGN_UP(*at + 1, (u64)SECTOR);
		rc = fs_dev_read(&v->f->dev, &len, 1, *at);
	}
	if (rc == 0)
		rc = load_record(v, r, *at);
	*at += len;
	return rc;
}

/* --- directories --- */

static bool is_multi(const struct record *r)
{
	return r->flags & FLAG_MULTI && !(r->flags & FLAG_DIR);
}

static int child_size(struct iso *v, u32 block, u32 *size)
{
	u8 self[RECORD_MIN];
	int rc = fs_dev_read(&v->f->dev, self, sizeof(self), (u64)block * SECTOR);

	*size = get_le32(self + 10);
	return rc;
}

static int fill_node(struct iso *v, const struct record *r, struct fs_node *n)
{
	u32 size = 0;
	int rc;

	*n = (struct fs_node){.type = FS_FILE, .size = r->size, .id = r->at};
	if (r->child) {
		rc = child_size(v, r->child, &size);
		*n = (struct fs_node){.type = FS_DIR, .id = r->child, .size = size};
		return rc;
	}
	if (r->flags & FLAG_DIR) {
		n->type = FS_DIR;
		n->id = r->extent;
	} else if (v->rock && r->mode && S_ISLNK(r->mode)) {
		n->type = FS_LINK;
		n->size = strlen(r->target);
	} else if (v->rock && r->mode && !S_ISREG(r->mode)) {
		n->type = FS_OTHER;
	}
	return 0;
}

/* What goes from record to record: the file that several of them make. */
struct dir_walk {
	struct iso *v;
	fs_entry_fn fn;
	void *opaque;
	struct record r;
	struct fs_entry ent;
	char name[FS_NAME_MAX]; /* of the file so far */
	unsigned extents;       /* that it has; 0: none begun */
};

static int take_record(struct dir_walk *w, const u8 *p, u32 room, u64 at)
{
	int rc = parse_record(w->v, &w->r, p, room, at);

	if (rc < 0)
		return rc;
	if (!w->r.name[0] || w->r.moved || w->r.truncated || strcmp(w->r.name, ".") == 0 ||
	        strcmp(w->r.name, "..") == 0 || strchr(w->r.name, '/'))
		return 0;
	if (w->extents && strcmp(w->r.name, w->name) == 0) {
		w->ent.node.size += w->r.size;
		if (++w->extents > EXTENTS_MAX)
			return -EUCLEAN;
	} else {
		strcpy(w->name, w->r.name);
		rc = fill_node(w->v, &w->r, &w->ent.node);
		w->extents = 1;
	}
	if (rc < 0 || is_multi(&w->r))
		return rc;
	w->extents = 0;
	w->ent.name = w->name;
	return w->fn(w->opaque, &w->ent);
}

static int each_in_sector(struct dir_walk *w, const u8 *sector, u64 at)
{
	int rc = 0;

	for (u32 off = 0; off + RECORD_MIN <= SECTOR && sector[off] && rc == 0; off += sector[off])
		rc = take_record(w, sector + off, SECTOR - off, at + off);
	return rc;
}

static int iso_each(struct fs *f, const struct fs_node *dir, fs_entry_fn fn, void *opaque)
{
	struct dir_walk *w;
	u8 sector[SECTOR];
	int rc = 0;

	if (dir->size > FS_DIR_MAX)
		return -EUCLEAN;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->v = iso_of(f);
	w->fn = fn;
	w->opaque = opaque;
	for (u64 off = 0; off < dir->size && rc == 0; off += SECTOR) {
		u64 at = dir->id * SECTOR + off;

		rc = fs_charge(f, SECTOR);
		if (rc == 0)
			rc = fs_dev_read(&f->dev, sector, SECTOR, at);
		if (rc == 0)
			rc = each_in_sector(w, sector, at);
	}
	free(w);
	return rc;
}

static int iso_root(struct fs *f, struct fs_node *out)
{
	*out = (struct fs_node){.type = FS_DIR, .id = iso_of(f)->root, .size = iso_of(f)->len};
	return 0;
}

/* --- content --- */

static int read_extents(struct iso *v, struct record *r, const struct fs_node *n, u8 *buf, u64 len, u64 off)
{
	u64 at = n->id, first = 0; /* byte of the file that the extent begins with */

	for (unsigned i = 0; len && i < EXTENTS_MAX; i++) {
		int rc = next_extent(v, r, &at);
		u64 here;

		if (rc < 0)
			return rc;
		if (r->interleaved || r->packed)
			return -EOPNOTSUPP;
		here = off - first < r->size ? MIN(len, r->size - (off - first)) : 0;
		rc = fs_dev_read(&v->f->dev, buf, here, (u64)r->extent * SECTOR + (off - first));
		if (rc < 0)
			return rc;
		buf += here;
		off += here;
		len -= here;
		first += r->size;
		if (len && !is_multi(r))
			return -EUCLEAN;
	}
	return len ? -EUCLEAN : 0;
}

static int iso_read(struct fs *f, const struct fs_node *n, void *buf, u64 len, u64 off)
{
	struct record *r = calloc(1, sizeof(*r));
	int rc = r ? read_extents(iso_of(f), r, n, buf, len, off) : -ENOMEM;

	free(r);
	return rc;
}

static int iso_readlink(struct fs *f, const struct fs_node *n, char target[FS_PATH_MAX])
{
	struct record *r = calloc(1, sizeof(*r));
	int rc = r ? load_record(iso_of(f), r, n->id) : -ENOMEM;

	if (rc == 0 && (r->truncated || !r->target[0]))
		rc = -EUCLEAN;
	if (rc == 0)
		strcpy(target, r->target);
	free(r);
	return rc;
}

/* --- opening --- */

static bool is_joliet(const u8 *d)
{
	const u8 *escape = d + 88;

	return escape[0] == '%' && escape[1] == '/' &&
	       (escape[2] == '@' || escape[2] == 'C' || escape[2] == 'E');
}

/* The time of the last change stands for a UUID, as in blkid and GRUB. */
static void take_uuid(struct fs *f, const u8 *d)
{
	const u8 *t = d + 830;

	if (t[0] == '0' || t[0] == 0)
		t = d + 813;
	for (unsigned i = 0; i < 16; i++)
		if (!isdigit(t[i]))
			return;
	snprintf(f->uuid, sizeof(f->uuid), "%.4s-%.2s-%.2s-%.2s-%.2s-%.2s-%.2s", t, t + 4, t + 6, t + 8,
	        t + 10, t + 12, t + 14);
}

static void take_root(struct iso *v, const u8 *d)
{
	v->root = get_le32(d + 156 + 2) + d[156 + 1];
	v->len = get_le32(d + 156 + 10);
}

/* The first record of the root directory says whether there is Rock Ridge. */
static int find_rock(struct iso *v)
{
	u8 s[SECTOR];
	int rc = fs_dev_read(&v->f->dev, s, sizeof(s), (u64)v->root * SECTOR);

	if (rc < 0)
		return rc;
	if (s[0] < RECORD_MIN + 7 || s[32] != 1)
		return 0;
	if (is(s + 34, "SP") && s[36] == 7 && s[38] == 0xbe && s[39] == 0xef) {
		v->rock = true;
		v->skip = s[40];
	}
	return 0;
}

static int read_descriptors(struct iso *v)
{
	u8 d[SECTOR], joliet[SECTOR];
	bool primary = false, has_joliet = false;
	int rc = 0;

	for (u32 n = 0; n < DESCRIPTORS_MAX; n++) {
		rc = fs_dev_read(&v->f->dev, d, sizeof(d), (u64)(FIRST_DESCRIPTOR + n) * SECTOR);
		if (rc < 0 || memcmp(d + 1, "CD001", 5) != 0 || d[0] == 255)
			break;
		if (d[0] == 1 && !primary) {
			primary = true;
			take_root(v, d);
			take_uuid(v->f, d);
			field_text(v->f->label, sizeof(v->f->label), d + 40, 32);
			if (get_le16(d + 128) != SECTOR)
				return -EPROTONOSUPPORT;
		}
		if (d[0] == 2 && is_joliet(d) && !has_joliet) {
			has_joliet = true;
			memcpy(joliet, d, sizeof(d));
		}
	}
	if (!primary)
		return rc < 0 && rc != -EUCLEAN ? rc : -ENOTSUP;
	rc = find_rock(v);
	if (rc == 0 && !v->rock && has_joliet) {
		v->joliet = true;
		take_root(v, joliet);
	}
	v->f->fold = !v->rock;
	return rc;
}

static void iso_close(struct fs *f)
{
	free(f->priv);
}

static int iso_open(struct fs *f, struct err *e)
{
	struct iso *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	f->priv = v;
	f->kind = "iso9660";
	v->f = f;
	rc = read_descriptors(v);
	if (rc == -EPROTONOSUPPORT)
		err_set(e, rc, "an ISO 9660 file system with blocks that are not of 2048 bytes");
	else if (rc < 0 && rc != -ENOTSUP)
		err_errno(e, rc, "the ISO 9660 file system");
	if (rc < 0)
		iso_close(f);
	return rc;
}

const struct fs_ops fs_iso = {
        .name = "iso",
        .open = iso_open,
        .close = iso_close,
        .root = iso_root,
        .each = iso_each,
        .read = iso_read,
        .readlink = iso_readlink,
};
