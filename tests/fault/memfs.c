/*
 * The file system in memory: contents, durability, the host_io table, the record. memfs_cut.c makes
 * the states after power cuts.
 */
#include "memfs.h"
#include "memfs_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* --- pages and contents --- */

static struct mf_page *page_ref(struct mf_page *p)
{
	if (p)
		__atomic_fetch_add(&p->ref, 1, __ATOMIC_RELAXED);
	return p;
}

static void page_put(struct mf_page *p)
{
	if (p && __atomic_fetch_sub(&p->ref, 1, __ATOMIC_ACQ_REL) == 1)
		free(p);
}

struct mf_page *mf_page_new(int fill)
{
	struct mf_page *p = malloc(sizeof(*p));
	p->ref = 1;
	memset(p->data, fill, MF_PIECE);
	return p;
}

static u32 content_find(const struct mf_content *c, u64 idx)
{
	u32 lo = 0, hi = c->n;
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		if (c->v[mid].idx < idx)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct mf_page *mf_content_get(const struct mf_content *c, u64 idx)
{
	u32 i = content_find(c, idx);
	return i < c->n && c->v[i].idx == idx ? c->v[i].page : NULL;
}

void mf_content_set(struct mf_content *c, u64 idx, struct mf_page *page)
{
	u32 i = content_find(c, idx);
	bool there = i < c->n && c->v[i].idx == idx;
	if (there && page) {
		page_ref(page);
		page_put(c->v[i].page);
		c->v[i].page = page;
	} else if (there) {
		page_put(c->v[i].page);
		memmove(c->v + i, c->v + i + 1, (c->n - i - 1) * sizeof(*c->v));
		c->n--;
	} else if (page) {
		if (c->n == c->cap) {
			c->cap = c->cap ? c->cap * 2 : 32;
			c->v = realloc(c->v, c->cap * sizeof(*c->v));
		}
		memmove(c->v + i + 1, c->v + i, (c->n - i) * sizeof(*c->v));
		c->v[i] = (struct mf_piece){idx, page_ref(page)};
		c->n++;
	}
}

static void content_clear(struct mf_content *c)
{
	for (u32 i = 0; i < c->n; i++)
		page_put(c->v[i].page);
	c->n = 0;
	c->size = c->ahead = 0;
}

static void content_fini(struct mf_content *c)
{
	content_clear(c);
	free(c->v);
}

void mf_content_copy(struct mf_content *to, const struct mf_content *from)
{
	content_clear(to);
	to->size = from->size;
	to->ahead = from->ahead;
	if (to->cap < from->n) {
		free(to->v);
		to->cap = from->cap;
		to->v = malloc(to->cap * sizeof(*to->v));
	}
	for (u32 i = 0; i < from->n; i++)
		to->v[i] = (struct mf_piece){from->v[i].idx, page_ref(from->v[i].page)};
	to->n = from->n;
}

static void content_read(const struct mf_content *c, u64 off, u8 *buf, u64 len)
{
	u32 i = content_find(c, off / MF_PIECE);
	while (len) {
		u64 in = off % MF_PIECE, here = MIN(len, MF_PIECE - in);
		if (i < c->n && c->v[i].idx == off / MF_PIECE) {
			memcpy(buf, c->v[i++].page->data + in, here);
		} else { /* up to the next piece, or all that is left */
			here = i < c->n ? MIN(len, c->v[i].idx * MF_PIECE - off) : len;
			memset(buf, 0, here);
		}
		off += here;
		buf += here;
		len -= here;
	}
}

/* --- changes of a file, with their history --- */

static void remember(struct memfs *fs, struct mf_node *n, struct mf_version v)
{
	if (!fs->track)
		return;
	if (n->nhist == n->hist_cap) {
		n->hist_cap = n->hist_cap ? n->hist_cap * 2 : 32;
		n->hist = realloc(n->hist, n->hist_cap * sizeof(*n->hist));
	}
	page_ref(v.page);
	n->hist[n->nhist++] = v;
}

static void set_piece(struct memfs *fs, struct mf_node *n, u64 idx, struct mf_page *page, u32 pos)
{
	if (!page && !mf_content_get(&n->now, idx))
		return;
	mf_content_set(&n->now, idx, page);
	remember(fs, n, (struct mf_version){.idx = idx, .page = page, .pos = pos});
}

static void set_size(struct memfs *fs, struct mf_node *n, u64 size, u32 pos)
{
	if (n->now.size == size)
		return;
	n->now.size = size;
	remember(fs, n, (struct mf_version){.is_size = true, .idx = size, .pos = pos});
}

static void set_ahead(struct memfs *fs, struct mf_node *n, u64 ahead, u32 pos)
{
	if (n->now.ahead == ahead)
		return;
	n->now.ahead = ahead;
	remember(fs, n, (struct mf_version){.is_ahead = true, .idx = ahead, .pos = pos});
}

/* data NULL: zeros */
static void change_part(struct memfs *fs, struct mf_node *n, u64 off, u64 here, const u8 *data, u32 pos)
{
	struct mf_page *old = mf_content_get(&n->now, off / MF_PIECE), *p;
	if (!data && !old)
		return;
	if (old && old->ref == 1 && !fs->track) {
		p = page_ref(old);
	} else {
		p = mf_page_new(0);
		if (old)
			memcpy(p->data, old->data, MF_PIECE);
	}
	if (data)
		memcpy(p->data + off % MF_PIECE, data, here);
	else
		memset(p->data + off % MF_PIECE, 0, here);
	if (p == old)
		page_put(p);
	else {
		set_piece(fs, n, off / MF_PIECE, p, pos);
		page_put(p);
	}
}

static void change_write(struct memfs *fs, struct mf_node *n, u64 off, const u8 *data, u64 len, u32 pos)
{
	u64 end = off + len;
	while (off < end) {
		u64 here = MIN(end - off, MF_PIECE - off % MF_PIECE);
		change_part(fs, n, off, here, data, pos);
		off += here;
		data += here;
	}
	set_size(fs, n, MAX(n->now.size, end), pos);
}

static void change_punch(struct memfs *fs, struct mf_node *n, u64 off, u64 len, u32 pos)
{
	u64 end = MIN(off + len, ALIGN_UP(n->now.size, (u64)MF_PIECE));
	while (off < end) {
		u64 here = MIN(end - off, MF_PIECE - off % MF_PIECE);
		if (here == MF_PIECE)
			set_piece(fs, n, off / MF_PIECE, NULL, pos);
		else
			change_part(fs, n, off, here, NULL, pos);
		off += here;
	}
}

static void change_truncate(struct memfs *fs, struct mf_node *n, u64 size, u32 pos)
{
	if (size < n->now.size)
		change_punch(fs, n, size, n->now.size - size, pos);
	if (size <= n->now.size)
		set_ahead(fs, n, 0, pos);
	set_size(fs, n, size, pos);
}

/* What was there when the call began is durable now; or, after a failure, never will be. */
static void change_sync(struct mf_node *n, u32 begin, bool lost)
{
	u32 keep = 0;
	for (u32 i = 0; i < n->nhist; i++) {
		struct mf_version *v = &n->hist[i];
		if (v->pos >= begin) {
			n->hist[keep++] = *v;
			continue;
		}
		if (!lost && v->is_size)
			n->durable.size = v->idx;
		else if (!lost && v->is_ahead)
			n->durable.ahead = v->idx;
		else if (!lost)
			mf_content_set(&n->durable, v->idx, v->page);
		page_put(v->page);
	}
	n->nhist = keep;
}

/* --- the directory --- */

static struct mf_entry *dir_find(const struct mf_dir *d, const char *name)
{
	for (u32 i = 0; i < d->n; i++) {
		if (strcmp(d->v[i].name, name) == 0)
			return &d->v[i];
	}
	return NULL;
}

void mf_dir_bind(struct mf_dir *d, const char *name, u32 node)
{
	struct mf_entry *e = dir_find(d, name);
	if (!e) {
		if (d->n == d->cap) {
			d->cap = d->cap ? d->cap * 2 : 16;
			d->v = realloc(d->v, d->cap * sizeof(*d->v));
		}
		e = &d->v[d->n++];
		strcpy(e->name, name);
	}
	e->node = node;
}

void mf_dir_drop(struct mf_dir *d, const char *name)
{
	struct mf_entry *e = dir_find(d, name);
	if (e)
		*e = d->v[--d->n];
}

void mf_dir_copy(struct mf_dir *to, const struct mf_dir *from)
{
	if (to->cap < from->n) {
		to->cap = from->cap;
		to->v = realloc(to->v, to->cap * sizeof(*to->v));
	}
	if (from->n)
		memcpy(to->v, from->v, from->n * sizeof(*to->v));
	to->n = from->n;
}

void mf_dir_apply(struct mf_dir *d, const struct mf_dir_change *c)
{
	if (c->drop[0])
		mf_dir_drop(d, c->drop);
	if (c->bind[0])
		mf_dir_bind(d, c->bind, c->node);
}

static void change_dir(struct memfs *fs, const char *bind, u32 node, const char *drop, u32 pos)
{
	struct mf_dir_change c = {.pos = pos, .node = node};
	strcpy(c.bind, bind);
	strcpy(c.drop, drop);
	mf_dir_apply(&fs->now, &c);
	if (!fs->track)
		return;
	if (fs->ndir_hist == fs->dir_cap) {
		fs->dir_cap = fs->dir_cap ? fs->dir_cap * 2 : 16;
		fs->dir_hist = realloc(fs->dir_hist, fs->dir_cap * sizeof(*fs->dir_hist));
	}
	fs->dir_hist[fs->ndir_hist++] = c;
}

static void change_sync_dir(struct memfs *fs, u32 begin)
{
	u32 keep = 0;
	for (u32 i = 0; i < fs->ndir_hist; i++) {
		if (fs->dir_hist[i].pos < begin)
			mf_dir_apply(&fs->durable, &fs->dir_hist[i]);
		else
			fs->dir_hist[keep++] = fs->dir_hist[i];
	}
	fs->ndir_hist = keep;
}

struct mf_node *mf_node_at(struct memfs *fs, u32 node)
{
	while (fs->nnode <= node) {
		if (fs->nnode == fs->node_cap) {
			fs->node_cap = fs->node_cap ? fs->node_cap * 2 : 16;
			fs->node = realloc(fs->node, fs->node_cap * sizeof(*fs->node));
		}
		fs->node[fs->nnode++] = (struct mf_node){0};
	}
	return &fs->node[node];
}

/* --- the record --- */

u64 memfs_op_pieces(const struct memfs_op *op)
{
	if (op->kind != MF_WRITE || op->len == 0)
		return 1;
	return (op->off + op->len - 1) / MF_PIECE - op->off / MF_PIECE + 1;
}

void memfs_apply(struct memfs *fs, const struct memfs_op *op, u32 pos, u64 pieces)
{
	struct mf_node *n = op->kind < MF_RENAME ? mf_node_at(fs, op->node) : NULL;
	u64 len = op->len;

	switch (op->kind) {
	case MF_CREATE: change_dir(fs, op->to, op->node, "", pos); break;
	case MF_WRITE:
		if (pieces < memfs_op_pieces(op))
			len = ALIGN_DOWN(op->off, (u64)MF_PIECE) + pieces * MF_PIECE - op->off;
		if (pieces)
			change_write(fs, n, op->off, op->data, len, pos);
		break;
	case MF_SYNC: change_sync(n, op->begin, false); break;
	case MF_SYNC_LOST: change_sync(n, op->begin, true); break;
	case MF_TRUNCATE: change_truncate(fs, n, op->len, pos); break;
	case MF_PUNCH:
	case MF_ZERO: change_punch(fs, n, op->off, len, pos); break;
	case MF_RESERVE: set_size(fs, n, MAX(n->now.size, op->len), pos); break;
	case MF_AHEAD: set_ahead(fs, n, MAX(n->now.ahead, op->off + op->len), pos); break;
	case MF_RENAME: {
		struct mf_entry *e = dir_find(&fs->now, op->from);
		if (e)
			change_dir(fs, op->to, e->node, op->from, pos);
		break;
	}
	case MF_UNLINK: change_dir(fs, "", 0, op->from, pos); break;
	case MF_SYNC_DIR: change_sync_dir(fs, op->begin); break;
	}
}

/* Under the lock: does and records a change. */
static void act(struct memfs *fs, struct memfs_op *op)
{
	memfs_apply(fs, op, fs->nop, UINT64_MAX);
	if (!fs->record)
		return;
	if (op->data) {
		u8 *copy = malloc(op->len);
		memcpy(copy, op->data, op->len);
		op->data = copy;
	}
	if (fs->nop == fs->op_cap) {
		fs->op_cap = fs->op_cap ? fs->op_cap * 2 : 256;
		fs->op = realloc(fs->op, fs->op_cap * sizeof(*fs->op));
	}
	fs->op[fs->nop++] = *op;
}

u32 memfs_pos(struct memfs *fs)
{
	pthread_mutex_lock(&fs->lock);
	u32 n = fs->nop;
	pthread_mutex_unlock(&fs->lock);
	return n;
}

void memfs_drop_record(struct memfs *fs)
{
	for (u32 i = 0; i < fs->nop; i++)
		free(fs->op[i].data);
	fs->nop = 0;
}

void memfs_settle(struct memfs *fs)
{
	for (u32 i = 0; i < fs->nnode; i++) {
		change_sync(&fs->node[i], UINT32_MAX, true);
		mf_content_copy(&fs->node[i].durable, &fs->node[i].now);
	}
	fs->ndir_hist = 0;
	mf_dir_copy(&fs->durable, &fs->now);
}

/* --- the table: every call is begin, maybe a fault, the deed under the lock --- */

static struct memfs *fs_of(const struct host_io *io)
{
	return io->opaque;
}

/* Takes the lock. Sets the position at which the call began. True: this call is to fail. */
static bool enter(const struct host_io *io, enum memfs_kind kind, bool transfer, u32 *begin)
{
	struct memfs *fs = fs_of(io);
	bool fits = fs->fault == FAULT_ERROR || (fs->fault == FAULT_SHORT && transfer) ||
	            (fs->fault == FAULT_SYNC && (kind == MF_SYNC || kind == MF_SYNC_DIR));
	pthread_mutex_lock(&fs->lock);
	*begin = fs->nop;
	if (fs->yield) {
		pthread_mutex_unlock(&fs->lock);
		sched_yield();
		pthread_mutex_lock(&fs->lock);
	}
	if (!fits)
		return false;
	fs->calls++;
	bool now = fs->calls == fs->fault_at || (fs->fault_sticky && fs->calls > fs->fault_at);
	fs->faults += now;
	return now;
}

static int leave(const struct host_io *io, int r)
{
	pthread_mutex_unlock(&fs_of(io)->lock);
	return r;
}

static struct mf_fd *fd_of(struct memfs *fs, int fd)
{
	return fd >= 0 && fd < (int)ARRAY_SIZE(fs->fd) && fs->fd[fd].used ? &fs->fd[fd] : NULL;
}

static int new_fd(struct memfs *fs, u32 node, bool writable)
{
	for (u32 i = 3; i < ARRAY_SIZE(fs->fd); i++) {
		if (!fs->fd[i].used) {
			fs->fd[i] = (struct mf_fd){.used = true, .writable = writable, .node = node};
			return (int)i;
		}
	}
	return -EMFILE;
}

static int fs_open(const struct host_io *io, const char *path, int flags, unsigned mode)
{
	struct memfs *fs = fs_of(io);
	struct memfs_op op = {.kind = MF_CREATE};
	if (enter(io, MF_CREATE, false, &op.begin))
		return leave(io, fs->fault_error);
	struct mf_entry *e = dir_find(&fs->now, path);
	if (e && (flags & O_CREAT) && (flags & O_EXCL))
		return leave(io, -EEXIST);
	if (!e && !(flags & O_CREAT))
		return leave(io, -ENOENT);
	if (strlen(path) >= MF_NAME)
		return leave(io, -ENAMETOOLONG);
	bool writable = (flags & O_ACCMODE) != O_RDONLY;
	op.node = e ? e->node : fs->nnode;
	int fd = new_fd(fs, op.node, writable);
	if (fd < 0)
		return leave(io, fd);
	if (!e) {
		strcpy(op.to, path);
		act(fs, &op);
	} else if ((flags & O_TRUNC) && writable) {
		op.kind = MF_TRUNCATE;
		act(fs, &op);
	}
	return leave(io, fd);
}

static int fs_close(const struct host_io *io, int fd)
{
	struct memfs *fs = fs_of(io);
	pthread_mutex_lock(&fs->lock);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f)
		return leave(io, -EBADF);
	if (f->lock)
		fs->node[f->node].lock -= f->lock;
	f->used = false;
	return leave(io, 0);
}

static u64 iov_total(const struct iovec *iov, int n)
{
	u64 total = 0;
	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	return total;
}

static ssize_t fs_preadv(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	struct memfs *fs = fs_of(io);
	u32 begin;
	bool fail = enter(io, MF_CREATE, true, &begin);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f)
		return leave(io, -EBADF);
	if (fail && fs->fault == FAULT_ERROR)
		return leave(io, fs->fault_error);
	const struct mf_content *c = &fs->node[f->node].now;
	u64 total = iov_total(iov, n), want = off < c->size ? MIN(total, c->size - off) : 0;
	if (fail)
		want = (want + 1) / 2;
	u64 left = want;
	for (int i = 0; i < n && left; i++) {
		u64 here = MIN(left, iov[i].iov_len);
		content_read(c, off, iov[i].iov_base, here);
		off += here;
		left -= here;
	}
	leave(io, 0);
	return (ssize_t)want;
}

static u64 bytes_ahead(const struct mf_content *c)
{
	u64 end = ALIGN_UP(c->size, (u64)MF_PIECE);
	return c->ahead > end ? c->ahead - end : 0;
}

static bool has_storage(const struct mf_content *c, u64 idx)
{
	return mf_content_get(c, idx) || (idx * MF_PIECE >= c->size && idx * MF_PIECE < c->ahead);
}

static u64 pieces_used(const struct memfs *fs)
{
	u64 n = 0;
	for (u32 i = 0; i < fs->nnode; i++)
		n += fs->node[i].now.n + bytes_ahead(&fs->node[i].now) / MF_PIECE;
	return n;
}

/* How much of the range can be stored. */
static u64 room_for(const struct memfs *fs, const struct mf_content *c, u64 off, u64 len)
{
	u64 used = pieces_used(fs), end = off + len, at = off;
	while (at < end) {
		used += !has_storage(c, at / MF_PIECE);
		if (used > fs->space)
			return at - off;
		at = MIN(end, ALIGN_DOWN(at, (u64)MF_PIECE) + MF_PIECE);
	}
	return len;
}

static ssize_t fs_pwritev(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	struct memfs *fs = fs_of(io);
	struct memfs_op op = {.kind = MF_WRITE, .off = off, .len = iov_total(iov, n)};
	u8 small[8192];
	bool fail = enter(io, MF_WRITE, true, &op.begin);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f || !f->writable)
		return leave(io, -EBADF);
	if (fail && fs->fault == FAULT_ERROR)
		return leave(io, fs->fault_error);
	op.node = f->node;
	u8 *buf = op.len > sizeof(small) ? malloc(op.len) : small, *at = buf;
	for (int i = 0; i < n; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	if (fail)
		op.len = (op.len + 1) / 2;
	if (fs->space)
		op.len = room_for(fs, &fs->node[op.node].now, off, op.len);
	op.data = buf;
	u64 done = op.len;
	if (done)
		act(fs, &op);
	if (buf != small)
		free(buf);
	leave(io, 0);
	return done ? (ssize_t)done : -ENOSPC;
}

static int on_file(const struct host_io *io, int fd, enum memfs_kind kind, u64 off, u64 len)
{
	struct memfs *fs = fs_of(io);
	struct memfs_op op = {.kind = kind, .off = off, .len = len};
	bool fail = enter(io, kind, false, &op.begin);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f || (!f->writable && kind != MF_SYNC))
		return leave(io, -EBADF);
	op.node = f->node;
	if (fail && kind == MF_SYNC && !fs->dead) {
		op.kind = MF_SYNC_LOST;
		act(fs, &op);
	}
	if (fail)
		return leave(io, fs->fault_error);
	act(fs, &op);
	return leave(io, 0);
}

static int fs_datasync(const struct host_io *io, int fd)
{
	return on_file(io, fd, MF_SYNC, 0, 0);
}

static int fs_truncate(const struct host_io *io, int fd, u64 size)
{
	return on_file(io, fd, MF_TRUNCATE, 0, size);
}

static int fs_punch(const struct host_io *io, int fd, u64 off, u64 len)
{
	return on_file(io, fd, MF_PUNCH, off, len);
}

static int fs_zero(const struct host_io *io, int fd, u64 off, u64 len)
{
	return on_file(io, fd, MF_ZERO, off, len);
}

static int fs_reserve(const struct host_io *io, int fd, u64 size)
{
	return on_file(io, fd, MF_RESERVE, 0, size);
}

/* A host that cannot do all of it has done a part. */
static int fs_ahead(const struct host_io *io, int fd, u64 off, u64 len)
{
	struct memfs *fs = fs_of(io);
	struct memfs_op op = {.kind = MF_AHEAD, .off = off, .len = len};
	bool fail = enter(io, MF_AHEAD, false, &op.begin);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f || !f->writable)
		return leave(io, -EBADF);
	op.node = f->node;
	if (fail)
		op.len /= 2;
	if (fs->space)
		op.len = MIN(op.len, room_for(fs, &fs->node[op.node].now, off, len));
	if (op.len && !fs->dead)
		act(fs, &op);
	return leave(io, fail ? fs->fault_error : op.len < len ? -ENOSPC : 0);
}

static int fs_stat(const struct host_io *io, int fd, struct host_stat *st)
{
	struct memfs *fs = fs_of(io);
	u32 begin;
	bool fail = enter(io, MF_CREATE, false, &begin);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f || fail)
		return leave(io, f ? fs->fault_error : -EBADF);
	const struct mf_content *c = &fs->node[f->node].now;
	*st = (struct host_stat){.size = c->size,
	        .allocated = (u64)c->n * MF_PIECE + bytes_ahead(c),
	        .align = MF_PIECE,
	        .dev = 1,
	        .ino = f->node + 1,
	        .regular = true,
	        .ahead = true};
	return leave(io, 0);
}

static int fs_extent(const struct host_io *io, int fd, u64 off, u64 *len, bool *data)
{
	struct memfs *fs = fs_of(io);
	u32 begin;
	bool fail = enter(io, MF_CREATE, false, &begin);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f || fail)
		return leave(io, f ? fs->fault_error : -EBADF);
	const struct mf_content *c = &fs->node[f->node].now;
	u64 idx = off / MF_PIECE, end = idx;
	*data = mf_content_get(c, idx) != NULL;
	while (end * MF_PIECE < off + *len && (mf_content_get(c, end) != NULL) == *data)
		end++;
	*len = MIN(*len, end * MF_PIECE - off);
	return leave(io, 0);
}

static int fs_rename(const struct host_io *io, const char *from, const char *to)
{
	struct memfs *fs = fs_of(io);
	struct memfs_op op = {.kind = MF_RENAME};
	if (enter(io, MF_RENAME, false, &op.begin))
		return leave(io, fs->fault_error);
	if (!dir_find(&fs->now, from))
		return leave(io, -ENOENT);
	strcpy(op.from, from);
	strcpy(op.to, to);
	act(fs, &op);
	return leave(io, 0);
}

static int fs_unlink(const struct host_io *io, const char *path)
{
	struct memfs *fs = fs_of(io);
	struct memfs_op op = {.kind = MF_UNLINK};
	if (enter(io, MF_UNLINK, false, &op.begin))
		return leave(io, fs->fault_error);
	if (!dir_find(&fs->now, path))
		return leave(io, -ENOENT);
	strcpy(op.from, path);
	act(fs, &op);
	return leave(io, 0);
}

static int fs_sync_dir(const struct host_io *io, const char *path)
{
	struct memfs_op op = {.kind = MF_SYNC_DIR};
	if (enter(io, MF_SYNC_DIR, false, &op.begin))
		return leave(io, fs_of(io)->fault_error);
	act(fs_of(io), &op);
	return leave(io, 0);
}

static int fs_lock(const struct host_io *io, int fd, bool exclusive)
{
	struct memfs *fs = fs_of(io);
	u32 begin;
	bool fail = enter(io, MF_CREATE, false, &begin);
	struct mf_fd *f = fd_of(fs, fd);
	if (!f || fail)
		return leave(io, f ? fs->fault_error : -EBADF);
	struct mf_node *n = &fs->node[f->node];
	int others = n->lock - f->lock;
	if (others < 0 || (exclusive && others))
		return leave(io, -EAGAIN);
	f->lock = exclusive ? -1 : 1;
	n->lock = others + f->lock;
	return leave(io, 0);
}

static int fs_boot_id(const struct host_io *io, u8 id[16])
{
	u32 begin;
	if (enter(io, MF_CREATE, false, &begin))
		return leave(io, fs_of(io)->fault_error);
	memcpy(id, fs_of(io)->boot, 16);
	return leave(io, 0);
}

static const struct host_io_ops memfs_ops = {
        .open = fs_open,
        .close = fs_close,
        .preadv = fs_preadv,
        .pwritev = fs_pwritev,
        .datasync = fs_datasync,
        .truncate = fs_truncate,
        .punch = fs_punch,
        .zero = fs_zero,
        .reserve = fs_reserve,
        .ahead = fs_ahead,
        .stat = fs_stat,
        .extent = fs_extent,
        .rename = fs_rename,
        .unlink = fs_unlink,
        .sync_dir = fs_sync_dir,
        .lock = fs_lock,
        .boot_id = fs_boot_id,
};

/* --- whole file systems --- */

void memfs_init(struct memfs *fs, u8 boot)
{
	memset(fs, 0, sizeof(*fs));
	fs->io = (struct host_io){.ops = &memfs_ops, .opaque = fs};
	pthread_mutex_init(&fs->lock, NULL);
	memset(fs->boot, boot, sizeof(fs->boot));
}

void memfs_fini(struct memfs *fs)
{
	memfs_drop_record(fs);
	for (u32 i = 0; i < fs->nnode; i++) {
		struct mf_node *n = &fs->node[i];
		change_sync(n, UINT32_MAX, true);
		content_fini(&n->now);
		content_fini(&n->durable);
		free(n->hist);
	}
	free(fs->node);
	free(fs->now.v);
	free(fs->durable.v);
	free(fs->dir_hist);
	free(fs->op);
	pthread_mutex_destroy(&fs->lock);
}

void memfs_copy(struct memfs *to, const struct memfs *from)
{
	memfs_init(to, from->boot[0]);
	if (from->nnode)
		mf_node_at(to, from->nnode - 1);
	for (u32 i = 0; i < from->now.n; i++) {
		u32 node = from->now.v[i].node;
		mf_content_copy(&to->node[node].now, &from->node[node].now);
	}
	mf_dir_copy(&to->now, &from->now);
}

void memfs_kill(struct memfs *fs)
{
	fs->dead = true;
	fs->fault = FAULT_ERROR;
	fs->fault_error = -EIO;
	fs->fault_at = fs->calls + 1;
	fs->fault_sticky = true;
}

void memfs_revive(struct memfs *fs)
{
	fs->dead = false;
	fs->fault = FAULT_NONE;
	for (u32 i = 0; i < ARRAY_SIZE(fs->fd); i++)
		fs->fd[i].used = false;
	for (u32 i = 0; i < fs->nnode; i++)
		fs->node[i].lock = 0;
}

s64 memfs_size(const struct memfs *fs, const char *name)
{
	struct mf_entry *e = dir_find(&fs->now, name);
	return e ? (s64)fs->node[e->node].now.size : -1;
}

u64 memfs_ahead(const struct memfs *fs, const char *name)
{
	struct mf_entry *e = dir_find(&fs->now, name);
	return e ? bytes_ahead(&fs->node[e->node].now) : 0;
}

void memfs_peek(const struct memfs *fs, const char *name, u64 off, void *buf, u64 len)
{
	struct mf_entry *e = dir_find(&fs->now, name);
	if (e)
		content_read(&fs->node[e->node].now, off, buf, len);
	else
		memset(buf, 0, len);
}

u32 memfs_names(const struct memfs *fs)
{
	return fs->now.n;
}

u32 memfs_open_files(const struct memfs *fs)
{
	u32 n = 0;
	for (u32 i = 0; i < ARRAY_SIZE(fs->fd); i++)
		n += fs->fd[i].used;
	return n;
}
