/*
 * The virtio block device (see virtio_blk.h). Section numbers are those of virtio 1.2.
 *
 * A request is a chain: a header and perhaps data to read, then perhaps room for data and always one
 * byte for the status, wherever descriptors happen to end. It is taken apart and checked completely before
 * the block layer sees any of it. Each possible head of a queue has one struct request, so their
 * number is bounded by the queues'.
 */
#include "dev/virtio_blk.h"

#include "block/queue.h"
#include <errno.h>
#include <stdlib.h>

#define ID_BLOCK 2
#define PCI_ID_BLOCK 0x1001
#define CLASS_STORAGE_SCSI 0x010000
#define QUEUE_SIZE 128
#define SEGS_MAX (QUEUE_SIZE - 2) /* header and status need a descriptor each */

/* Feature bits (5.2.3) */
#define F_SEG_MAX BIT64(2)
#define F_RO BIT64(5)
#define F_BLK_SIZE BIT64(6)
#define F_FLUSH BIT64(9)
#define F_TOPOLOGY BIT64(10)
#define F_CONFIG_WCE BIT64(11)
#define F_MQ BIT64(12)
#define F_DISCARD BIT64(13)
#define F_WRITE_ZEROES BIT64(14)

/* virtio_blk_config (5.2.4) */
#define CFG_CAPACITY 0
#define CFG_SEG_MAX 12
#define CFG_BLK_SIZE 20
#define CFG_PHYSICAL_EXP 24
#define CFG_MIN_IO 26
#define CFG_OPT_IO 28
#define CFG_WRITEBACK 32
#define CFG_NUM_QUEUES 34
#define CFG_DISCARD_SECTORS 36
#define CFG_DISCARD_SEGS 40
#define CFG_DISCARD_ALIGN 44
#define CFG_ZEROES_SECTORS 48
#define CFG_ZEROES_SEGS 52
#define CFG_ZEROES_UNMAP 56
#define CFG_LEN 60

/* Request types (5.2.6); 5 is what some old drivers send for a flush */
#define T_IN 0
#define T_OUT 1
#define T_FLUSH 4
#define T_FLUSH_OUT 5
#define T_GET_ID 8
#define T_DISCARD 11
#define T_WRITE_ZEROES 13

#define S_OK 0
#define S_IOERR 1
#define S_UNSUPP 2

#define SECTOR 512ull
#define RANGES_MAX 16            /* of a discard or write-zeroes request */
#define RANGE_SECTORS (1u << 22) /* of one range: 2 GiB */
#define RANGE_UNMAP 1u

/*
 * Requests that are refused are answered at once, so one notification can answer more of them than the
 * queue has entries if other CPUs keep publishing. No driver gets near this many.
 */
#define ANSWERS_MAX (64 * QUEUE_SIZE)

struct header {
	u32 type, ioprio;
	u64 sector;
};
static_assert(sizeof(struct header) == 16, "5.2.6");

struct range {
	u64 sector;
	u32 sectors, flags;
};
static_assert(sizeof(struct range) == 16, "5.2.6");

struct request {
	struct block_req io;
	struct virtio_blk *dev;
	struct vq_chain *chain;
	u8 *status;
	u64 written; /* bytes that the driver gets if it succeeds, without the status */
	u16 queue;
	u8 nranges, at; /* DISCARD, WRITE_ZEROES: done one after the other */
	struct range ranges[RANGES_MAX];
};

struct virtio_blk {
	struct virtio v; /* first member */
	struct block *block;
	struct block_queue *io;
	struct request *requests; /* QUEUE_SIZE for each queue */
	char serial[VIRTIO_BLK_SERIAL];
};

/* --- answers; lock held --- */

static void answer(struct request *r, u8 status)
{
	struct virtio *v = &r->dev->v;
	u64 written = status == S_OK ? r->written : 0;

	vq_write_byte(&v->queue[r->queue], r->status, status);
	virtio_push(v, r->queue, r->chain, written + 1);
}

static u8 status_of(int rc)
{
	return rc == 0 ? S_OK : rc == -EOPNOTSUPP ? S_UNSUPP : S_IOERR;
}

static void submit_range(struct request *r)
{
	const struct range *g = &r->ranges[r->at++];

	r->io.off = g->sector * SECTOR;
	r->io.len = g->sectors * SECTOR;
	r->io.unmap = g->flags & RANGE_UNMAP;
	block_submit(r->dev->io, &r->io);
}

/* On a worker, lock not held. */
static void done(struct block_req *io)
{
	struct request *r = container_of(io, struct request, io);
	struct virtio_blk *d = r->dev;

	if (io->result == 0 && r->at < r->nranges) {
		submit_range(r);
		return;
	}
	pthread_mutex_lock(&d->v.lock);
	answer(r, status_of(io->result));
	pthread_mutex_unlock(&d->v.lock);
}

/* --- requests: each returns a status to answer with, or SUBMITTED; lock held --- */

#define SUBMITTED 0xff

static bool inside(const struct virtio_blk *d, u64 sector, u64 sectors)
{
	u64 capacity = block_size(d->block) / SECTOR;

	return sector <= capacity && sectors <= capacity - sector;
}

static u8 submit_data(struct request *r, enum block_op op, u64 sector, u64 len)
{
	struct virtio_blk *d = r->dev;

	if (len % SECTOR || !inside(d, sector, len / SECTOR))
		return S_IOERR;
	if (op == BLOCK_WRITE && d->block->ro)
		return S_IOERR;
	if (len == 0)
		return S_OK;
	r->io.op = op;
	r->io.iov = op == BLOCK_READ ? r->chain->wr : r->chain->rd;
	r->io.niov = op == BLOCK_READ ? r->chain->nwr : r->chain->nrd;
	r->io.off = sector * SECTOR;
	r->io.len = len;
	r->written = op == BLOCK_READ ? len : 0;
	block_submit(d->io, &r->io);
	return SUBMITTED;
}

/* 5.2.6.2: unknown flags, and unmap in a discard, are not supported. */
static u8 check_range(const struct virtio_blk *d, const struct range *g, u32 type)
{
	u32 flags = type == T_WRITE_ZEROES ? RANGE_UNMAP : 0;

	if (g->flags & ~flags)
		return S_UNSUPP;
	return g->sectors <= RANGE_SECTORS && inside(d, g->sector, g->sectors) ? S_OK : S_IOERR;
}

static u8 submit_ranges(struct request *r, u32 type)
{
	struct virtio_blk *d = r->dev;
	u64 len = r->chain->rd_len;
	u8 bad = S_OK;

	if (!virtio_has(&d->v, type == T_DISCARD ? F_DISCARD : F_WRITE_ZEROES))
		return S_UNSUPP;
	if (len == 0 || len % sizeof(struct range) || len > sizeof(r->ranges))
		return S_IOERR;
	vq_chain_pull(r->chain, r->ranges, len);
	r->nranges = (u8)(len / sizeof(struct range));
	for (unsigned n = 0; n < r->nranges && bad == S_OK; n++)
		bad = check_range(d, &r->ranges[n], type);
	if (bad != S_OK)
		return bad;
	r->io.op = type == T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	submit_range(r);
	return SUBMITTED;
}

static u8 submit_flush(struct request *r)
{
	r->io.op = BLOCK_FLUSH;
	block_submit(r->dev->io, &r->io);
	return SUBMITTED;
}

static u8 get_id(struct request *r)
{
	r->written = vq_chain_write(r->chain, r->dev->serial, sizeof(r->dev->serial));
	return S_OK;
}

static u8 start(struct request *r)
{
	struct header h;

	if (!vq_chain_pull(r->chain, &h, sizeof(h)))
		return S_IOERR;
	switch (h.type) {
	case T_IN: return submit_data(r, BLOCK_READ, h.sector, r->chain->wr_len);
	case T_OUT: return submit_data(r, BLOCK_WRITE, h.sector, r->chain->rd_len);
	case T_FLUSH:
	case T_FLUSH_OUT: return submit_flush(r);
	case T_GET_ID: return get_id(r);
	case T_DISCARD:
	case T_WRITE_ZEROES: return submit_ranges(r, h.type);
	default: return S_UNSUPP;
	}
}

static void begin(struct virtio_blk *d, unsigned queue, struct vq_chain *c)
{
	struct request *r = &d->requests[queue * QUEUE_SIZE + c->head];
	u8 status;

	r->chain = c;
	r->queue = (u16)queue;
	r->written = 0;
	r->nranges = r->at = 0;
	r->status = vq_chain_last(c);
	if (!r->status) { /* nowhere to put an answer */
		virtio_push(&d->v, queue, c, 0);
		virtio_break(&d->v);
		return;
	}
	status = start(r);
	if (status != SUBMITTED)
		answer(r, status);
}

/* --- hooks --- */

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_blk *d = container_of(v, struct virtio_blk, v);
	struct vq_chain *c;

	for (unsigned n = 0; n < ANSWERS_MAX; n++) {
		c = virtio_pop(v, queue);
		if (!c)
			return;
		begin(d, queue, c);
	}
	virtio_break(v);
}

/* 5.2.6.2: a driver that cannot flush must find its writes on the disk once they are done. */
static void choose_cache(struct virtio_blk *d)
{
	bool back = virtio_has(&d->v, F_CONFIG_WCE) ? d->v.config[CFG_WRITEBACK] : virtio_has(&d->v, F_FLUSH);

	block_queue_set_through(d->io, !back);
}

static void ready(struct virtio *v)
{
	choose_cache(container_of(v, struct virtio_blk, v));
}

static void config_write(struct virtio *v, unsigned off, unsigned size, const u8 *val)
{
	if (off > CFG_WRITEBACK || off + size <= CFG_WRITEBACK || !virtio_has(v, F_CONFIG_WCE))
		return;
	v->config[CFG_WRITEBACK] = val[CFG_WRITEBACK - off] & 1;
	choose_cache(container_of(v, struct virtio_blk, v));
}

static void reset(struct virtio *v)
{
	struct virtio_blk *d = container_of(v, struct virtio_blk, v);

	v->config[CFG_WRITEBACK] = !d->block->through;
	if (d->io)
		block_queue_set_through(d->io, true); /* until the driver has said what it can */
}

static const struct virtio_type type = {
        .name = "virtio-blk",
        .id = ID_BLOCK,
        .pci_device = PCI_ID_BLOCK,
        .class_code = CLASS_STORAGE_SCSI,
        .queue_size = QUEUE_SIZE,
        .config_len = CFG_LEN,
        .kick = kick,
        .ready = ready,
        .config_write = config_write,
        .reset = reset,
};

/* --- life --- */

static u64 features(const struct block *b, unsigned nqueues)
{
	u64 f = F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH | F_CONFIG_WCE;

	if (nqueues > 1)
		f |= F_MQ;
	if (b->ro)
		return f | F_RO;
	if (b->ops->discard && b->grain)
		f |= F_DISCARD;
	if (b->ops->write_zeroes)
		f |= F_WRITE_ZEROES;
	return f;
}

static void fill_config(struct virtio_blk *d)
{
	const struct block *b = d->block;
	u8 *c = d->v.config;
	u32 grain = MAX(b->grain, b->logical);

	put_le64(c + CFG_CAPACITY, block_size(b) / SECTOR);
	put_le32(c + CFG_SEG_MAX, SEGS_MAX);
	put_le32(c + CFG_BLK_SIZE, b->logical);
	c[CFG_PHYSICAL_EXP] = (u8)(__builtin_ctz(b->physical) - __builtin_ctz(b->logical));
	put_le16(c + CFG_MIN_IO, (u16)MIN(b->physical / b->logical, 0xffffu));
	put_le32(c + CFG_OPT_IO, 0);
	put_le16(c + CFG_NUM_QUEUES, d->v.nqueues);
	if (d->v.offered & F_DISCARD) {
		put_le32(c + CFG_DISCARD_SECTORS, RANGE_SECTORS);
		put_le32(c + CFG_DISCARD_SEGS, RANGES_MAX);
		put_le32(c + CFG_DISCARD_ALIGN, (u32)(grain / SECTOR));
	}
	if (d->v.offered & F_WRITE_ZEROES) {
		put_le32(c + CFG_ZEROES_SECTORS, RANGE_SECTORS);
		put_le32(c + CFG_ZEROES_SEGS, RANGES_MAX);
		c[CFG_ZEROES_UNMAP] = b->grain != 0;
	}
}

static int make_requests(struct virtio_blk *d, unsigned count)
{
	d->requests = calloc(count, sizeof(*d->requests));
	if (!d->requests)
		return -ENOMEM;
	for (unsigned n = 0; n < count; n++) {
		d->requests[n].dev = d;
		d->requests[n].io.done = done;
	}
	return 0;
}

static void set_serial(struct virtio_blk *d, const char *serial)
{
	const char *s = serial ? serial : d->block->serial;

	memcpy(d->serial, s, strnlen(s, sizeof(d->serial)));
}

static int construct(struct virtio_blk *d, const struct virtio_blk_config *c)
{
	unsigned nqueues = MAX(1u, MIN(c->ncpus, (unsigned)VIRTIO_BLK_QUEUES_MAX));
	struct virtio_setup s = {.type = &type,
	        .mem = c->mem,
	        .features = features(c->block, nqueues),
	        .nqueues = (u16)nqueues,
	        .msi_only = c->msi_only};
	int rc;

	d->block = c->block;
	set_serial(d, c->serial);
	rc = make_requests(d, nqueues * QUEUE_SIZE);
	if (rc == 0)
		rc = block_queue_create(&d->io, d->block, BLOCK_WORKERS);
	if (rc == 0)
		rc = virtio_init(&d->v, &s);
	return rc;
}

int virtio_blk_create(struct virtio_blk **out, const struct virtio_blk_config *c)
{
	struct virtio_blk *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	rc = construct(d, c);
	if (rc < 0) {
		if (d->io)
			block_queue_destroy(d->io);
		free(d->requests);
		free(d);
		return rc;
	}
	fill_config(d);
	reset(&d->v);
	*out = d;
	return 0;
}

void virtio_blk_destroy(struct virtio_blk *d)
{
	if (!d)
		return;
	virtio_reset(&d->v);
	block_queue_destroy(d->io); /* its threads have left the device's lock now */
	d->io = NULL;
	virtio_fini(&d->v);
	free(d->requests);
	free(d);
}

void virtio_blk_reset(struct virtio_blk *d)
{
	virtio_reset(&d->v);
}

struct pci_dev *virtio_blk_pci(struct virtio_blk *d)
{
	return &d->v.pci;
}

int virtio_blk_resized(struct virtio_blk *d)
{
	int rc = block_refresh(d->block);
	u64 capacity = block_size(d->block) / SECTOR;

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&d->v.lock);
	if (get_le64(d->v.config + CFG_CAPACITY) != capacity) {
		put_le64(d->v.config + CFG_CAPACITY, capacity);
		virtio_config_changed(&d->v);
	}
	pthread_mutex_unlock(&d->v.lock);
	return 0;
}
