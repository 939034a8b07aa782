/*
 * The qcow2 reader. A disk offset is found through two levels of tables: an entry of the L1 table
 * names a cluster that is an L2 table, an entry of which names the cluster with the data. All numbers
 * in the file are big endian.
 *
 * The file is not trusted: the header is checked against the limits below, the L1 table is as long as the
 * disk's size needs and no longer, L2 tables and unpacked clusters are kept one at a time, places
 * outside the file read as an error and not as something else.
 */
#include "img/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#if HAVE_ZLIB
#include <zlib.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif

#define QCOW2_MAGIC 0x514649fbu
#define L1_BYTES_MAX (32 * MiB)
#define HEADER_V2 72u
#define HEADER_V3 104u

/* Offsets in the header. */
enum {
	H_MAGIC = 0,
	H_VERSION = 4,
	H_BACKING_OFFSET = 8,
	H_BACKING_LENGTH = 16,
	H_CLUSTER_BITS = 20,
	H_SIZE = 24,
	H_CRYPT = 32,
	H_L1_SIZE = 36,
	H_L1_OFFSET = 40,
	H_INCOMPATIBLE = 72,
	H_LENGTH = 100,
	H_COMPRESSION = 104,
};

#define INCOMPATIBLE_DIRTY BIT64(0) /* reference counts only, which we do not read */
#define INCOMPATIBLE_CORRUPT BIT64(1)
#define INCOMPATIBLE_DATA_FILE BIT64(2)
#define INCOMPATIBLE_COMPRESSION BIT64(3) /* H_COMPRESSION counts */
#define INCOMPATIBLE_EXTENDED_L2 BIT64(4)

#define ENTRY_OFFSET 0x00fffffffffffe00ull /* bits 9-55 */
#define ENTRY_COMPRESSED BIT64(62)
#define ENTRY_ZERO BIT64(0)

struct qcow2 {
	struct block block;
	const struct host_io *io;
	int fd;
	u64 file_size, size; /* size: of the disk, unrounded */
	u32 version, cluster_bits, compression;
	u64 *l1;
	u64 l1_entries;
	pthread_mutex_t lock; /* the caches below */
	u64 l2_at;            /* offset of the table in l2; 0: none */
	u64 *l2;
	u64 unpacked_entry; /* L2 entry of the cluster in unpacked; 0: none */
	u8 *unpacked, *packed;
};

static u32 be32(const u8 *p)
{
	return __builtin_bswap32(get_le32(p));
}

static u64 be64(const u8 *p)
{
	return __builtin_bswap64(get_le64(p));
}

static u64 cluster_size(const struct qcow2 *q)
{
	return BIT64(q->cluster_bits);
}

static bool inside_file(const struct qcow2 *q, u64 off, u64 len)
{
	return off <= q->file_size && len <= q->file_size - off;
}

/* --- tables --- */

/* Not in the file is damage; but the last cluster of a file may be cut short, the rest is zeros. */
static int read_place(struct qcow2 *q, u64 off, void *buf, u64 len)
{
	if (off >= q->file_size)
		return -EIO;
	return hostio_read(q->io, q->fd, buf, len, off);
}

static int load_l2(struct qcow2 *q, u64 at)
{
	int r;

	if (q->l2_at == at)
		return 0;
	q->l2_at = 0;
	if (at & (cluster_size(q) - 1) || !inside_file(q, at, cluster_size(q)))
		return -EIO;
	r = read_place(q, at, q->l2, cluster_size(q));
	if (r)
		return r;
	for (u64 i = 0; i < cluster_size(q) / 8; i++)
		q->l2[i] = __builtin_bswap64(q->l2[i]);
	q->l2_at = at;
	return 0;
}

/* The L2 entry for a disk offset, 0 when there is no table. *span: bytes for which that holds. Locked. */
static int lookup(struct qcow2 *q, u64 off, u64 *entry, u64 *span)
{
	u32 l2_bits = q->cluster_bits - 3;
	u64 cluster = off >> q->cluster_bits, l1 = cluster >> l2_bits;
	u64 reach = BIT64(q->cluster_bits + l2_bits), table = q->l1[l1] & ENTRY_OFFSET;
	int r;

	*entry = 0;
	if (!table) {
		*span = reach - (off & (reach - 1));
		return 0;
	}
	r = load_l2(q, table);
	if (r)
		return r;
	*entry = q->l2[cluster & (BIT64(l2_bits) - 1)];
	*span = cluster_size(q) - (off & (cluster_size(q) - 1));
	return 0;
}

static bool reads_zero(const struct qcow2 *q, u64 entry)
{
	if (entry & ENTRY_COMPRESSED)
		return false;
	return !(entry & ENTRY_OFFSET) || (q->version >= 3 && entry & ENTRY_ZERO);
}

/* --- compressed clusters --- */

#if HAVE_ZLIB
/* A raw deflate stream; it fills the cluster, what follows it in the last sector does not matter. */
static int unpack_deflate(u8 *out, size_t out_len, u8 *in, size_t in_len)
{
	z_stream z = {.next_in = in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)out_len};
	int r;

	if (inflateInit2(&z, -15) != Z_OK)
		return -ENOMEM;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return z.avail_out == 0 && (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK) ? 0 : -EIO;
}
#endif

#if HAVE_ZSTD
static int unpack_zstd(u8 *out, size_t out_len, u8 *in, size_t in_len)
{
	ZSTD_inBuffer i = {in, in_len, 0};
	ZSTD_outBuffer o = {out, out_len, 0};
	ZSTD_DStream *z = ZSTD_createDStream();
	int r = z ? 0 : -ENOMEM;

	while (!r && o.pos < o.size) {
		size_t in_before = i.pos, out_before = o.pos;

		if (ZSTD_isError(ZSTD_decompressStream(z, &o, &i)) ||
		        (i.pos == in_before && o.pos == out_before))
			r = -EIO;
	}
	ZSTD_freeDStream(z);
	return r;
}
#endif

static int unpack(struct qcow2 *q, size_t packed_len)
{
	switch (q->compression) {
#if HAVE_ZLIB
	case 0: return unpack_deflate(q->unpacked, cluster_size(q), q->packed, packed_len);
#endif
#if HAVE_ZSTD
	case 1: return unpack_zstd(q->unpacked, cluster_size(q), q->packed, packed_len);
#endif
	default: return -EOPNOTSUPP;
	}
}

/*
 * A compressed entry: the low x bits are the byte offset of the stream, the bits up to 61 the number
 * of sectors of 512 bytes that it takes in addition to the one it starts in; x = 62 - (cluster_bits - 8).
 */
static int load_compressed(struct qcow2 *q, u64 entry)
{
	u32 x = 62 - (q->cluster_bits - 8);
	u64 off = entry & (BIT64(x) - 1);
	u64 sectors = ((entry & (ENTRY_COMPRESSED - 1)) >> x) + 1;
	u64 len = sectors * 512 - (off & 511);
	int r;

	if (q->unpacked_entry == entry)
		return 0;
	q->unpacked_entry = 0;
	if (off >= q->file_size)
		return -EIO;
	len = MIN(len, q->file_size - off);
	r = read_place(q, off, q->packed, len);
	if (!r)
		r = unpack(q, len);
	if (!r)
		q->unpacked_entry = entry;
	return r;
}

/* --- layer --- */

/* Inside one cluster. */
static int read_piece(struct qcow2 *q, u8 *buf, u64 len, u64 off, u64 entry)
{
	u64 in = off & (cluster_size(q) - 1);
	int r;

	if (reads_zero(q, entry)) {
		memset(buf, 0, len);
		return 0;
	}
	if (entry & ENTRY_COMPRESSED) {
		r = load_compressed(q, entry);
		if (!r)
			memcpy(buf, q->unpacked + in, len);
		return r;
	}
	if (entry & ENTRY_OFFSET & (cluster_size(q) - 1))
		return -EIO;
	return read_place(q, (entry & ENTRY_OFFSET) + in, buf, len);
}

static int read_bytes(struct qcow2 *q, u8 *buf, u64 len, u64 off)
{
	int r = 0;

	while (!r && len) {
		u64 entry, span, n;

		if (off >= q->size) { /* the disk's last sector, when the size is no multiple of it */
			memset(buf, 0, len);
			return 0;
		}
		r = lookup(q, off, &entry, &span);
		if (r)
			return r;
		n = MIN(MIN(len, span), q->size - off);
		r = read_piece(q, buf, n, off, entry);
		buf += n;
		off += n;
		len -= n;
	}
	return r;
}

static int qcow2_preadv(struct block *b, const struct iovec *iov, int n, u64 off)
{
	struct qcow2 *q = container_of(b, struct qcow2, block);
	int r = 0;

	pthread_mutex_lock(&q->lock);
	for (int i = 0; !r && i < n; i++) {
		r = read_bytes(q, iov[i].iov_base, iov[i].iov_len, off);
		off += iov[i].iov_len;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

static int qcow2_pwritev(struct block *b, const struct iovec *iov, int n, u64 off)
{
	return -EROFS;
}

static int qcow2_flush(struct block *b)
{
	return 0;
}

/* Goes on over clusters of one kind up to the end of an L2 table, which bounds the time. */
static int qcow2_extent(struct block *b, u64 off, u64 *len, bool *data)
{
	struct qcow2 *q = container_of(b, struct qcow2, block);
	u64 reach = BIT64(q->cluster_bits * 2 - 3), limit = MIN(*len, reach - (off & (reach - 1))), at = 0;
	int r = 0;

	pthread_mutex_lock(&q->lock);
	while (at < limit) {
		u64 entry = 0, span = limit - at;
		bool zero = true;

		if (off + at < q->size) {
			r = lookup(q, off + at, &entry, &span);
			zero = reads_zero(q, entry);
		}
		if (r || (at && zero == *data))
			break;
		*data = !zero;
		at += span;
	}
	pthread_mutex_unlock(&q->lock);
	*len = MIN(at, limit);
	return r && !at ? r : 0;
}

static int qcow2_close(struct block *b)
{
	struct qcow2 *q = container_of(b, struct qcow2, block);

	q->io->ops->close(q->io, q->fd);
	pthread_mutex_destroy(&q->lock);
	free(q->l1);
	free(q->l2);
	free(q->packed);
	free(q->unpacked);
	free(q);
	return 0;
}

static const struct block_ops qcow2_ops = {.preadv = qcow2_preadv,
        .pwritev = qcow2_pwritev,
        .flush = qcow2_flush,
        .extent = qcow2_extent,
        .close = qcow2_close};

/* --- opening --- */

static int refuse_backing(struct qcow2 *q, const u8 *h, const char *path, struct err *e)
{
	char name[256] = "";
	u64 off = be64(h + H_BACKING_OFFSET);
	u32 len = be32(h + H_BACKING_LENGTH);

	if (!off)
		return 0;
	if (inside_file(q, off, len))
		hostio_read(q->io, q->fd, name, MIN(len, sizeof(name) - 1), off);
	return err_set(e, -EOPNOTSUPP, "%s: has the backing file \"%s\": flatten it first (qemu-img convert)",
	        path, name);
}

static int check_features(struct qcow2 *q, const u8 *h, const char *path, struct err *e)
{
	u64 bits = be64(h + H_INCOMPATIBLE);
	u32 length = be32(h + H_LENGTH);

	if (length < HEADER_V3 || length % 8 || length > cluster_size(q))
		return err_set(e, -EINVAL, "%s: damaged qcow2 header (length %u)", path, length);
	if (bits & INCOMPATIBLE_CORRUPT)
		return err_set(e, -EUCLEAN, "%s: is marked as damaged (qemu-img check)", path);
	if (bits & INCOMPATIBLE_DATA_FILE)
		return err_set(e, -EOPNOTSUPP, "%s: has an external data file, which is not supported", path);
	if (bits & INCOMPATIBLE_EXTENDED_L2)
		return err_set(e, -EOPNOTSUPP, "%s: has extended L2 entries, which are not supported", path);
	if (bits & ~(INCOMPATIBLE_DIRTY | INCOMPATIBLE_COMPRESSION))
		return err_set(e, -EOPNOTSUPP, "%s: needs features that are not supported (%#" PRIx64 ")",
		        path, bits);
	if (bits & INCOMPATIBLE_COMPRESSION && length > H_COMPRESSION)
		q->compression = h[H_COMPRESSION];
	if (q->compression > 1)
		return err_set(e, -EOPNOTSUPP, "%s: unknown compression type %u", path, q->compression);
	return 0;
}

static int check_header(struct qcow2 *q, const u8 *h, const char *path, struct err *e)
{
	u32 bits = be32(h + H_CLUSTER_BITS);
	int r;

	q->version = be32(h + H_VERSION);
	q->size = be64(h + H_SIZE);
	if (be32(h + H_MAGIC) != QCOW2_MAGIC || q->file_size < HEADER_V2)
		return err_set(e, -EINVAL, "%s: not a qcow2 image", path);
	if (q->version != 2 && q->version != 3)
		return err_set(e, -EOPNOTSUPP, "%s: qcow2 version %u is not supported", path, q->version);
	if (bits < 9 || bits > 21)
		return err_set(e, -EINVAL, "%s: damaged qcow2 header (clusters of 2^%u bytes)", path, bits);
	q->cluster_bits = bits;
	r = refuse_backing(q, h, path, e);
	if (r)
		return r;
	if (be32(h + H_CRYPT))
		return err_set(e, -EOPNOTSUPP, "%s: is encrypted, which is not supported", path);
	if (q->size == 0 || q->size > INT64_MAX - 511)
		return err_set(e, -EINVAL, "%s: impossible disk size %" PRIu64, path, q->size);
	return q->version == 3 ? check_features(q, h, path, e) : 0;
}

static int load_l1(struct qcow2 *q, const u8 *h, const char *path, struct err *e)
{
	u32 reach = q->cluster_bits * 2 - 3;
	u64 off = be64(h + H_L1_OFFSET), n = ((q->size - 1) >> reach) + 1;
	int r;

	if (n > be32(h + H_L1_SIZE) || n * 8 > L1_BYTES_MAX || off % cluster_size(q) ||
	        !inside_file(q, off, n * 8))
		return err_set(e, -EINVAL,
		        "%s: damaged qcow2 header (L1 table of %u entries at %#" PRIx64 ")", path,
		        be32(h + H_L1_SIZE), off);
	q->l1_entries = n;
	q->l1 = malloc(n * 8);
	q->l2 = malloc(cluster_size(q));
	q->unpacked = malloc(cluster_size(q));
	/* A compressed entry can name 2^(cluster_bits - 8) sectors: twice a cluster. */
	q->packed = malloc(2 * cluster_size(q));
	if (!q->l1 || !q->l2 || !q->unpacked || !q->packed)
		return err_errno(e, -ENOMEM, "%s", path);
	r = hostio_read(q->io, q->fd, q->l1, n * 8, off);
	if (r)
		return err_errno(e, r, "%s", path);
	for (u64 i = 0; i < n; i++)
		q->l1[i] = __builtin_bswap64(q->l1[i]);
	return 0;
}

static int load_image(struct qcow2 *q, const char *path, struct err *e)
{
	u8 h[HEADER_V3 + 8];
	struct host_stat st;
	int r = q->io->ops->stat(q->io, q->fd, &st);

	if (r >= 0) {
		q->file_size = st.size;
		r = q->io->ops->lock(q->io, q->fd, false);
	}
	if (r == -EAGAIN)
		return err_set(e, -EBUSY, "%s is in use by another process", path);
	if (r >= 0)
		r = hostio_read(q->io, q->fd, h, sizeof(h), 0);
	if (r < 0)
		return err_errno(e, r, "%s", path);
	r = check_header(q, h, path, e);
	return r ? r : load_l1(q, h, path, e);
}

int qcow2_open(struct block **out, const char *path, const struct host_io *io, struct err *e)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return err_errno(e, -ENOMEM, "%s", path);
	q->io = io;
	pthread_mutex_init(&q->lock, NULL);
	q->fd = io->ops->open(io, path, O_RDONLY | O_NONBLOCK, 0);
	if (q->fd < 0) {
		r = err_errno(e, q->fd, "%s", path);
		pthread_mutex_destroy(&q->lock);
		free(q);
		return r;
	}
	r = load_image(q, path, e);
	if (r) {
		qcow2_close(&q->block);
		return r;
	}
	q->block.ops = &qcow2_ops;
	q->block.size = ALIGN_UP(q->size, 512ull);
	q->block.logical = q->block.physical = 512;
	q->block.ro = true;
	*out = &q->block;
	return 0;
}

int qcow2_probe(const struct host_io *io, const char *path)
{
	u8 magic[4] = {0};
	int fd = io->ops->open(io, path, O_RDONLY | O_NONBLOCK, 0), r;

	if (fd < 0)
		return fd;
	r = hostio_read(io, fd, magic, sizeof(magic), 0);
	io->ops->close(io, fd);
	return r ? r : be32(magic) == QCOW2_MAGIC;
}
