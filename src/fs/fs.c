/*
 * The front door: which file system it is, and the walk along a path.
 */
#include "fs/fs_int.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define DEPTH_MAX 64  /* directories in each other */
#define LINKS_MAX 40  /* followed in one walk: as many as Linux does */
#define STEPS_MAX 256 /* directories searched in one walk */

/* --- opening --- */

static const struct fs_ops *const kinds[] = {&fs_iso, &fs_ext, &fs_fat};

int fs_open(struct fs **out, const struct fs_dev *dev, struct err *e)
{
	struct fs *f = calloc(1, sizeof(*f));
	int rc = -ENOTSUP;

	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && rc == -ENOTSUP; i++) {
		*f = (struct fs){.ops = kinds[i], .dev = *dev};
		rc = f->ops->open(f, e);
	}
	if (rc < 0)
		free(f);
	else
		*out = f;
	return rc;
}

void fs_close(struct fs *f)
{
	if (!f)
		return;
	f->ops->close(f);
	free(f);
}

const char *fs_kind(const struct fs *f)
{
	return f->kind;
}

const char *fs_label(const struct fs *f)
{
	return f->label;
}

const char *fs_uuid(const struct fs *f)
{
	return f->uuid;
}

/* --- one directory --- */

struct search {
	const struct fs *f;
	const char *name;
	struct fs_node *out;
};

static bool same_name(const struct fs *f, const char *a, const char *b)
{
	return f->fold ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

static int compare_entry(void *opaque, const struct fs_entry *ent)
{
	struct search *s = opaque;

	if (!same_name(s->f, ent->name, s->name) && !(ent->alias && same_name(s->f, ent->alias, s->name)))
		return 0;
	*s->out = ent->node;
	return 1;
}

static int lookup(struct fs *f, const struct fs_node *dir, const char *name, struct fs_node *out)
{
	struct search s = {f, name, out};
	int rc = f->ops->each(f, dir, compare_entry, &s);

	if (rc == 0)
		return -ENOENT;
	return rc < 0 ? rc : f->ops->load ? f->ops->load(f, out) : 0;
}

struct listing {
	struct fs *f;
	fs_list_fn fn;
	void *opaque;
};

static int pass_on(void *opaque, const struct fs_entry *ent)
{
	struct listing *l = opaque;
	struct fs_node n = ent->node;
	int rc = l->f->ops->load ? l->f->ops->load(l->f, &n) : 0;

	return rc < 0 ? rc : l->fn(l->opaque, ent->name, &n);
}

int fs_list(struct fs *f, const struct fs_node *dir, fs_list_fn fn, void *opaque)
{
	struct listing l = {f, fn, opaque};

	return dir->type == FS_DIR ? f->ops->each(f, dir, pass_on, &l) : -ENOTDIR;
}

/* --- files --- */

int fs_read(struct fs *f, const struct fs_node *n, void *buf, u64 len, u64 off)
{
	if (n->type == FS_DIR)
		return -EISDIR;
	if (n->type != FS_FILE || off > n->size || len > n->size - off)
		return -EINVAL;
	return len ? f->ops->read(f, n, buf, len, off) : 0;
}

int fs_readlink(struct fs *f, const struct fs_node *n, char target[FS_PATH_MAX])
{
	return n->type == FS_LINK && f->ops->readlink ? f->ops->readlink(f, n, target) : -EINVAL;
}

/* --- paths --- */

/* A walk: the directories from the root to where it is, and what is still to go. */
struct walk {
	struct fs_node at[DEPTH_MAX];
	unsigned depth, links, steps;
	char todo[2 * FS_PATH_MAX];
	char *rest;
};

/* Takes the next name off w->rest, or NULL. */
static char *next_name(struct walk *w)
{
	char *name = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(name, "/");

	if (!*name)
		return NULL;
	w->rest = name + len;
	if (*w->rest)
		*w->rest++ = 0;
	return name;
}

/* The target takes the place of the link in the path. */
static int enter_link(struct fs *f, struct walk *w, const struct fs_node *link)
{
	char target[FS_PATH_MAX], rest[sizeof(w->todo)];
	int rc;

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	rc = fs_readlink(f, link, target);
	if (rc < 0)
		return rc;
	strcpy(rest, w->rest);
	if (strlen(target) + 1 + strlen(rest) >= sizeof(w->todo))
		return -ENAMETOOLONG;
	w->rest = w->todo;
	strcpy(stpcpy(stpcpy(w->todo, target), "/"), rest);
	if (target[0] == '/')
		w->depth = 0;
	return 0;
}

static int step(struct fs *f, struct walk *w, const char *name, bool follow)
{
	struct fs_node n;
	int rc;

	if (w->at[w->depth].type != FS_DIR)
		return -ENOTDIR;
	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		w->depth -= w->depth > 0;
		return 0;
	}
	if (++w->steps > STEPS_MAX)
		return -ELOOP;
	rc = lookup(f, &w->at[w->depth], name, &n);
	if (rc < 0)
		return rc;
	if (n.type == FS_LINK && (follow || w->rest[strspn(w->rest, "/")]))
		return enter_link(f, w, &n);
	if (w->depth + 1 == DEPTH_MAX)
		return -ENAMETOOLONG;
	w->at[++w->depth] = n;
	return 0;
}

static int walk(struct fs *f, struct walk *w, const char *path, bool follow)
{
	char *name;
	int rc;

	if (strlen(path) >= FS_PATH_MAX)
		return -ENAMETOOLONG;
	w->rest = strcpy(w->todo, path);
	rc = f->ops->root(f, &w->at[0]);
	while (rc == 0 && (name = next_name(w)))
		rc = step(f, w, name, follow);
	if (rc == 0 && *path && path[strlen(path) - 1] == '/' && w->at[w->depth].type != FS_DIR)
		rc = -ENOTDIR;
	return rc;
}

int fs_find(struct fs *f, const char *path, bool follow, struct fs_node *out)
{
	struct walk *w = calloc(1, sizeof(*w));
	int rc = w ? walk(f, w, path, follow) : -ENOMEM;

	if (rc == 0)
		*out = w->at[w->depth];
	free(w);
	return rc;
}
