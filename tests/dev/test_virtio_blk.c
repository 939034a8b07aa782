/*
 * virtio-blk with both kinds of drivers on a disk in memory, every kind of interrupt, and drivers that
 * break the rules.
 */
#include "dev/virtio_blk.h"

#include "memory_disk.h"
#include "virtio_rig.h"
#include <errno.h>
#include <pthread.h>

#define HEADER 0x200000ull
#define STATUS 0x201000ull
#define DATA 0x210000ull
#define CANARY 0xc5

#define S_OK 0
#define S_IOERR 1
#define S_UNSUPP 2
#define NONE 0xee /* no status was written */

/* Feature bits */
#define F_RO BIT64(5)
#define F_FLUSH BIT64(9)
#define F_WCE BIT64(11)
#define F_MQ BIT64(12)
#define F_DISCARD BIT64(13)
#define F_ZEROES BIT64(14)
#define W VQ_DESC_WRITE
#define N VQ_DESC_NEXT

/* --- the bench --- */

struct bed {
	struct rig r;
	struct disk disk;
	struct virtio_blk *blk;
};

struct bed_opts {
	bool legacy, msi_only, ro, through;
	unsigned ncpus;
	enum irq_mode irq;
	u64 features;
};

static struct bed *bed_make(const struct bed_opts *o)
{
	struct bed *b = calloc(1, sizeof(*b));
	struct virtio_blk_config c = {.ncpus = o->ncpus ? o->ncpus : 1, .msi_only = o->msi_only};

	assert_non_null(b);
	rig_init(&b->r);
	b->disk.b = (struct block){.ops = &disk_ops,
	        .size = SECTORS * 512,
	        .logical = 512,
	        .physical = 4096,
	        .grain = 4096,
	        .ro = o->ro,
	        .through = o->through,
	        .serial = "XH-1234567890-ABCDEF"};
	for (unsigned n = 0; n < sizeof(b->disk.data); n++)
		b->disk.data[n] = (u8)(n / 512 * 7 + n);
	pthread_mutex_init(&b->disk.lock, NULL);
	pthread_cond_init(&b->disk.opened, NULL);
	c.mem = &b->r.mem;
	c.block = &b->disk.b;
	assert_int_equal(virtio_blk_create(&b->blk, &c), 0);
	rig_plug(&b->r, virtio_blk_pci(b->blk));
	b->r.legacy = o->legacy;
	enable_irqs(&b->r, o->irq);
	drive(&b->r, o->features, c.ncpus > 4 ? 4 : c.ncpus);
	return b;
}

static void bed_free(struct bed *b)
{
	virtio_blk_destroy(b->blk);
	pthread_mutex_destroy(&b->disk.lock);
	pthread_cond_destroy(&b->disk.opened);
	rig_fini(&b->r);
	free(b);
}

static void put_header(struct bed *b, u64 at, u32 type, u64 sector)
{
	u8 h[16] = {0};

	put_le32(h, type);
	put_le64(h + 8, sector);
	assert_int_equal(mem_write(&b->r.mem, at, h, sizeof(h)), 0);
	assert_int_equal(mem_write(&b->r.mem, STATUS, &(u8){NONE}, 1), 0);
}

static u8 get_status(struct bed *b)
{
	u8 s;

	assert_int_equal(mem_read(&b->r.mem, STATUS, &s, 1), 0);
	return s;
}

/* Header, len bytes of data (none for 0), status in three descriptors; the status; *used: used length. */
static u8 request(struct bed *b, u32 type, u64 sector, u32 len, bool to_guest, u32 *used)
{
	struct rig *r = &b->r;
	struct vq_used u;

	put_header(b, HEADER, type, sector);
	put_desc(r, RING_AT(0), 0, HEADER, 16, N, len ? 1 : 2);
	put_desc(r, RING_AT(0), 1, DATA, len, N | (to_guest ? W : 0), 2);
	put_desc(r, RING_AT(0), 2, STATUS, 1, W, 0);
	publish(r, 0, 0);
	kick_queue(r, 0);
	u = next_used(r, 0);
	assert_int_equal(u.id, 0);
	if (used)
		*used = u.len;
	return get_status(b);
}

static u8 *guest(struct bed *b, u64 at)
{
	return b->r.mem.base + at;
}

/* --- what works --- */

static void io_with(struct bed_opts o)
{
	struct bed *b = bed_make(&o);
	u32 used;

	assert_int_equal(config(&b->r, 0, 8), SECTORS);
	assert_int_equal(config(&b->r, 20, 4), 512);
	assert_int_equal(request(b, 0, 3, 2048, true, &used), S_OK);
	assert_int_equal(used, 2049);
	assert_memory_equal(guest(b, DATA), b->disk.data + 3 * 512, 2048);
	memset(guest(b, DATA), 0x77, 1024);
	assert_int_equal(request(b, 1, 62, 1024, false, &used), S_OK);
	assert_int_equal(used, 1);
	assert_memory_equal(guest(b, DATA), b->disk.data + 62 * 512, 1024);
	assert_int_equal(b->disk.data[62 * 512 - 1], (u8)(61 * 7 + 62 * 512 - 1));
	assert_int_equal(request(b, 4, 0, 0, false, &used), S_OK);
	assert_int_equal(used, 1);
	bed_free(b);
}

static void io(void **state)
{
	const u64 features[] = {0, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, F_FLUSH | VIRTIO_F_EVENT_IDX};

	for (unsigned n = 0; n < ARRAY_SIZE(features); n++) {
		for (unsigned legacy = 0; legacy < 2; legacy++) {
			io_with((struct bed_opts){.legacy = legacy, .features = features[n]});
			io_with((struct bed_opts){
			        .legacy = legacy, .features = features[n], .irq = IRQ_MSIX, .ncpus = 3});
			io_with((struct bed_opts){
			        .legacy = legacy, .features = features[n], .irq = IRQ_MSI, .msi_only = true});
		}
	}
}

static void interrupts(void **state)
{
	for (unsigned legacy = 0; legacy < 2; legacy++) {
		struct bed *b = bed_make(&(struct bed_opts){.legacy = legacy});
		struct rig *r = &b->r;
		u64 isr = legacy ? 19 : VIRTIO_MODERN_ISR;

		assert_false(r->line);
		assert_int_equal(request(b, 8, 0, 64, true, NULL), S_OK);
		assert_true(r->line);
		assert_int_equal(legacy ? old_rd(r, (unsigned)isr, 1) : rd(r, (unsigned)isr, 1), 1);
		assert_false(r->line);
		put_le16(guest(b, AVAIL_AT(0)), VQ_AVAIL_NO_INTERRUPT);
		assert_int_equal(request(b, 8, 0, 64, true, NULL), S_OK);
		assert_false(r->line);
		bed_free(b);

		b = bed_make(&(struct bed_opts){.legacy = legacy, .irq = IRQ_MSIX});
		assert_int_equal(request(b, 8, 0, 64, true, NULL), S_OK);
		assert_int_equal(rig_msis(&b->r, 1), 1);
		assert_int_equal(rig_msis(&b->r, 0), 0);
		assert_int_equal(b->r.rises, 0);
		bed_free(b);

		b = bed_make(&(struct bed_opts){.legacy = legacy, .irq = IRQ_MSI, .msi_only = true});
		assert_null(b->r.dev->msix);
		assert_int_equal(request(b, 8, 0, 64, true, NULL), S_OK);
		assert_int_equal(request(b, 8, 0, 64, true, NULL), S_OK);
		assert_int_equal(rig_msis(&b->r, 0), 2);
		assert_int_equal(b->r.rises, 0);
		bed_free(b);
	}
}

static void identity(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){0});
	u32 used;

	assert_int_equal(cfg_rd(&b->r, 0, 4), 0x10011af4);
	assert_int_equal(cfg_rd(&b->r, 0x2c, 4), 0x00021af4);
	assert_int_equal(cfg_rd(&b->r, 8, 4), 0x01000000);
	memset(guest(b, DATA), 0x11, 64);
	assert_int_equal(request(b, 8, 0, 64, true, &used), S_OK);
	assert_int_equal(used, 21);
	assert_memory_equal(guest(b, DATA), "XH-1234567890-ABCDEF\x11", 21);
	assert_int_equal(request(b, 8, 0, 4, true, &used), S_OK);
	assert_int_equal(used, 5);
	assert_int_equal(request(b, 2, 0, 512, true, &used), S_UNSUPP); /* SCSI */
	assert_int_equal(used, 1);
	assert_int_equal(request(b, 0xffffffff, 0, 0, true, NULL), S_UNSUPP);
	bed_free(b);
}

static void errors(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){0});
	u32 used;

	b->disk.fail = -EIO;
	assert_int_equal(request(b, 0, 0, 512, true, &used), S_IOERR);
	assert_int_equal(used, 1);
	b->disk.fail = -ENOSPC;
	assert_int_equal(request(b, 1, 0, 512, false, NULL), S_IOERR);
	b->disk.fail = -EOPNOTSUPP;
	assert_int_equal(request(b, 4, 0, 0, false, NULL), S_UNSUPP);
	b->disk.fail = 0;
	assert_int_equal(request(b, 0, 0, 512, true, NULL), S_OK);
	bed_free(b);
}

static void read_only(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.ro = true});

	assert_true(offered(&b->r) & F_RO);
	assert_false(offered(&b->r) & (F_DISCARD | F_ZEROES));
	assert_int_equal(request(b, 1, 0, 512, false, NULL), S_IOERR);
	assert_int_equal(b->disk.writes, 0);
	assert_int_equal(request(b, 0, 0, 512, true, NULL), S_OK);
	bed_free(b);
}

/* --- the write cache (5.2.6.2) --- */

/* Is a write answered only after a flush? */
static bool writes_through(struct bed *b)
{
	unsigned was = count(&b->disk, &b->disk.flushes);

	assert_int_equal(request(b, 1, 0, 512, false, NULL), S_OK);
	return count(&b->disk, &b->disk.flushes) > was;
}

/* A write is answered while no flush can finish. */
static void assert_write_back(struct bed *b)
{
	hold_flushes(&b->disk, true);
	assert_int_equal(request(b, 1, 0, 512, false, NULL), S_OK);
	hold_flushes(&b->disk, false);
}

static void write_cache(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.features = 0});

	assert_true(writes_through(b)); /* it cannot flush */
	drive(&b->r, F_FLUSH, 1);
	assert_write_back(b);
	drive(&b->r, F_FLUSH | F_WCE, 1);
	assert_int_equal(config(&b->r, 32, 1), 1);
	assert_write_back(b);
	wr(&b->r, VIRTIO_MODERN_DEVICE + 32, 1, 0);
	assert_int_equal(config(&b->r, 32, 1), 0);
	assert_true(writes_through(b));
	wr(&b->r, VIRTIO_MODERN_DEVICE + 32, 1, 0xff);
	assert_int_equal(config(&b->r, 32, 1), 1);
	assert_write_back(b);
	bed_free(b);

	b = bed_make(&(struct bed_opts){.features = F_FLUSH, .through = true});
	assert_int_equal(config(&b->r, 32, 1), 0);
	assert_true(writes_through(b)); /* as the user asked */
	bed_free(b);
}

/* --- discard and write zeroes --- */

static void put_range(struct bed *b, unsigned n, u64 sector, u32 sectors, u32 flags)
{
	u8 *p = guest(b, DATA + 16 * n);

	put_le64(p, sector);
	put_le32(p + 8, sectors);
	put_le32(p + 12, flags);
}

static void ranges(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.features = F_DISCARD | F_ZEROES});
	static const u8 zeros[1024];
	u8 kept = b->disk.data[10 * 512];

	assert_int_equal(config(&b->r, 40, 4), 16);
	put_range(b, 0, 8, 2, 0);
	put_range(b, 1, 20, 1, 0);
	assert_int_equal(request(b, 11, 0, 32, false, NULL), S_OK);
	assert_int_equal(b->disk.discards, 2);
	assert_memory_equal(b->disk.data + 8 * 512, zeros, 1024);
	assert_int_equal(b->disk.data[10 * 512], kept);
	put_range(b, 0, 30, 2, 1);
	put_range(b, 1, 34, 2, 0);
	assert_int_equal(request(b, 13, 0, 32, false, NULL), S_OK);
	assert_int_equal(b->disk.unmaps, 1);
	assert_int_equal(b->disk.zeroes, 1);
	assert_memory_equal(b->disk.data + 34 * 512, zeros, 1024);
	bed_free(b);
}

static void bad_ranges(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.features = F_DISCARD | F_ZEROES});

	put_range(b, 0, 0, 1, 1);
	assert_int_equal(request(b, 11, 0, 16, false, NULL), S_UNSUPP); /* unmap in a discard */
	put_range(b, 0, 0, 1, 2);
	assert_int_equal(request(b, 13, 0, 16, false, NULL), S_UNSUPP);
	put_range(b, 0, 0, 1, 0);
	put_range(b, 1, SECTORS - 1, 2, 0); /* nothing happens when the second is bad */
	assert_int_equal(request(b, 13, 0, 32, false, NULL), S_IOERR);
	put_range(b, 0, ~0ull, 1, 0);
	assert_int_equal(request(b, 11, 0, 16, false, NULL), S_IOERR);
	put_range(b, 0, 1ull << 55, 1, 0);
	assert_int_equal(request(b, 11, 0, 16, false, NULL), S_IOERR);
	put_range(b, 0, 0, ~0u, 0);
	assert_int_equal(request(b, 11, 0, 16, false, NULL), S_IOERR);
	for (unsigned len = 0; len <= 17 * 16; len++) {
		memset(guest(b, DATA), 0, 17 * 16);
		if (len == 0 || len % 16 || len > 256)
			assert_int_equal(request(b, 11, 0, len, false, NULL), S_IOERR);
	}
	assert_int_equal(b->disk.discards + b->disk.zeroes + b->disk.unmaps, 0);
	drive(&b->r, 0, 1);
	put_range(b, 0, 0, 1, 0);
	assert_int_equal(request(b, 11, 0, 16, false, NULL), S_UNSUPP); /* not negotiated */
	assert_int_equal(request(b, 13, 0, 16, false, NULL), S_UNSUPP);
	bed_free(b);
}

/* --- lengths, places, shapes --- */

static void lengths(void **state)
{
	for (unsigned legacy = 0; legacy < 2; legacy++) {
		struct bed *b = bed_make(&(struct bed_opts){.legacy = legacy, .features = F_FLUSH});

		for (u32 len = 0; len <= 1025; len++) {
			u8 want = len % 512 ? S_IOERR : S_OK;
			u32 used;

			assert_int_equal(request(b, 0, 1, len, true, &used), want);
			assert_int_equal(used, want == S_OK ? len + 1 : 1);
			assert_int_equal(request(b, 1, 1, len, false, &used), want);
			assert_int_equal(used, 1);
		}
		assert_int_equal(b->disk.writes, 2);
		bed_free(b);
	}
}

static void sectors(void **state)
{
	static const u64 outside[] = {SECTORS, SECTORS + 1, 1ull << 32, 1ull << 54, 1ull << 55,
	        (1ull << 55) + 1, (1ull << 63), ~0ull, ~0ull - 1, (~0ull >> 9), (~0ull >> 9) + 1};
	struct bed *b = bed_make(&(struct bed_opts){0});

	for (unsigned n = 0; n < ARRAY_SIZE(outside); n++) {
		assert_int_equal(request(b, 0, outside[n], 512, true, NULL), S_IOERR);
		assert_int_equal(request(b, 1, outside[n], 512, false, NULL), S_IOERR);
	}
	assert_int_equal(request(b, 0, SECTORS - 1, 1024, true, NULL), S_IOERR);
	assert_int_equal(request(b, 1, SECTORS - 1, 1024, false, NULL), S_IOERR);
	assert_int_equal(request(b, 0, SECTORS - 1, 512, true, NULL), S_OK);
	assert_int_equal(request(b, 0, 0, SECTORS * 512 + 512, true, NULL), S_IOERR);
	assert_int_equal(b->disk.writes, 0);
	bed_free(b);
}

/* Descriptors end anywhere (2.7.4.3): a header in bytes, data and status in one buffer. */
static void any_layout(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.features = VIRTIO_F_INDIRECT_DESC});
	struct rig *r = &b->r;
	struct vq_used u;

	put_header(b, HEADER, 0, 5);
	for (u16 n = 0; n < 16; n++)
		put_desc(r, RING_AT(0), n, HEADER + n, 1, N, (u16)(n + 1));
	put_desc(r, RING_AT(0), 16, DATA, 100, N | W, 17);
	put_desc(r, RING_AT(0), 17, DATA + 100, 413, W, 0);
	publish(r, 0, 0);
	kick_queue(r, 0);
	u = next_used(r, 0);
	assert_int_equal(u.len, 513);
	assert_memory_equal(guest(b, DATA), b->disk.data + 5 * 512, 512);
	assert_int_equal(*guest(b, DATA + 512), S_OK);

	/* header and data to write in one buffer, the rest in an indirect table; empty buffers between */
	put_header(b, DATA, 1, 9);
	memset(guest(b, DATA + 16), 0x3c, 512);
	put_desc(r, RING_AT(0), 7, DATA, 528, N, 8);
	put_desc(r, RING_AT(0), 8, HEADER, 48, VQ_DESC_INDIRECT, 0);
	put_desc(r, HEADER, 0, 0, 0, N, 1);
	put_desc(r, HEADER, 1, ~0ull, 0, N | W, 2);
	put_desc(r, HEADER, 2, STATUS, 1, W, 0);
	publish(r, 0, 7);
	kick_queue(r, 0);
	u = next_used(r, 0);
	assert_int_equal(u.id, 7);
	assert_int_equal(get_status(b), S_OK);
	assert_int_equal(b->disk.data[9 * 512], 0x3c);
	assert_int_equal(b->disk.data[10 * 512 - 1], 0x3c);
	bed_free(b);
}

static void short_header(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){0});
	struct rig *r = &b->r;

	for (u32 len = 0; len < 16; len++) {
		put_header(b, HEADER, 0, 0);
		put_desc(r, RING_AT(0), 0, HEADER, len, N, 1);
		put_desc(r, RING_AT(0), 1, STATUS, 1, W, 0);
		publish(r, 0, 0);
		kick_queue(r, 0);
		assert_int_equal(next_used(r, 0).len, 1);
		assert_int_equal(get_status(b), S_IOERR);
	}
	bed_free(b);
}

static void no_status(void **state)
{
	for (unsigned legacy = 0; legacy < 2; legacy++) {
		struct bed *b = bed_make(&(struct bed_opts){.legacy = legacy, .irq = IRQ_MSIX});
		struct rig *r = &b->r;

		put_header(b, HEADER, 1, 0);
		put_desc(r, RING_AT(0), 0, HEADER, 16 + 512, 0, 0);
		publish(r, 0, 0);
		kick_queue(r, 0);
		assert_int_equal(!!(status(r) & VIRTIO_NEEDS_RESET), !legacy);
		assert_int_equal(rig_msis(r, 0), !legacy); /* configuration interrupt */
		assert_int_equal(b->disk.writes, 0);
		publish(r, 0, 0);
		kick_queue(r, 0); /* stays stopped */
		drive(r, 0, 1);
		assert_int_equal(request(b, 0, 0, 512, true, NULL), S_OK);
		bed_free(b);
	}
}

/* --- many at once, and resets among them --- */

/* n reads of one sector each, of queue q. */
static void submit_reads(struct bed *b, unsigned q, unsigned n)
{
	struct rig *r = &b->r;

	for (unsigned i = 0; i < n; i++) {
		u64 h = HEADER + 32 * i + 0x2000 * q, at = DATA + 1024 * i + 0x10000 * q;

		put_header(b, h, 0, (i + 5 * q) % SECTORS);
		memset(guest(b, at), 0, 513);
		put_desc(r, RING_AT(q), 2 * i, h, 16, N, (u16)(2 * i + 1));
		put_desc(r, RING_AT(q), 2 * i + 1, at, 513, W, 0);
		publish(r, q, (u16)(2 * i));
	}
	kick_queue(r, q);
}

static void in_flight(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.ncpus = 8, .irq = IRQ_MSIX, .features = F_MQ});
	u64 seen = 0;

	assert_int_equal(config(&b->r, 34, 2), 4);
	gate(&b->disk, true);
	for (unsigned q = 0; q < 4; q++)
		submit_reads(b, q, 40);
	while (count(&b->disk, &b->disk.most) < 8)
		sched_yield();
	assert_int_equal(used_idx(&b->r, 0), 0);
	gate(&b->disk, false);
	for (unsigned q = 0; q < 4; q++) {
		seen = 0;
		for (unsigned n = 0; n < 40; n++) {
			struct vq_used u = next_used(&b->r, q);

			assert_int_equal(u.len, 513);
			assert_false(seen >> (u.id / 2) & 1);
			seen |= BIT64(u.id / 2);
		}
		for (unsigned n = 0; n < 40; n++)
			assert_memory_equal(guest(b, DATA + 1024 * n + 0x10000 * q),
			        b->disk.data + 512 * ((n + 5 * q) % SECTORS), 512);
		assert_true(rig_msis(&b->r, q + 1) > 0);
	}
	bed_free(b);
}

static void *open_later(void *opaque)
{
	struct bed *b = opaque;

	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	gate(&b->disk, false);
	return NULL;
}

/* After a reset nothing is written: not by requests that were in flight, not to the used ring. */
static void reset_waits(void **state)
{
	for (unsigned legacy = 0; legacy < 2; legacy++) {
		struct bed *b = bed_make(&(struct bed_opts){.legacy = legacy});
		pthread_t t;

		gate(&b->disk, true);
		submit_reads(b, 0, 40);
		assert_int_equal(pthread_create(&t, NULL, open_later, b), 0);
		set_status(&b->r, 0);
		assert_int_equal(count(&b->disk, &b->disk.at_gate), 0);
		assert_int_equal(status(&b->r), 0);
		assert_false(b->r.line);
		assert_int_equal(used_idx(&b->r, 0), 0);
		pthread_join(t, NULL);
		drive(&b->r, 0, 1);
		assert_int_equal(request(b, 0, 0, 512, true, NULL), S_OK);
		gate(&b->disk, true);
		submit_reads(b, 0, 20);
		assert_int_equal(pthread_create(&t, NULL, open_later, b), 0);
		if (legacy) { /* the queue goes away */
			old_wr(&b->r, 14, 2, 0);
			old_wr(&b->r, 8, 4, 0);
			assert_int_equal(old_rd(&b->r, 8, 4), 0);
			assert_int_equal(count(&b->disk, &b->disk.at_gate), 0);
		}
		virtio_blk_reset(b->blk);
		assert_int_equal(count(&b->disk, &b->disk.at_gate), 0);
		pthread_join(t, NULL);
		bed_free(b);
	}
}

static void destroy_waits(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){0});
	pthread_t t;

	gate(&b->disk, true);
	submit_reads(b, 0, 40);
	assert_int_equal(pthread_create(&t, NULL, open_later, b), 0);
	virtio_blk_destroy(b->blk);
	assert_int_equal(b->disk.at_gate, 0);
	pthread_join(t, NULL);
	b->blk = NULL;
	bed_free(b);
}

/* Old drivers read the partition table before they are ready. */
static void before_ready(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.legacy = true});

	set_status(&b->r, 0);
	set_status(&b->r, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	ring_clear(&b->r, 0);
	legacy_queue(&b->r, 0, 0);
	assert_int_equal(request(b, 0, 0, 512, true, NULL), S_OK);
	assert_true(writes_through(b));
	bed_free(b);
}

static void resized(void **state)
{
	struct bed *b = bed_make(&(struct bed_opts){.irq = IRQ_MSIX});
	u64 generation = rd(&b->r, 0x15, 1);

	assert_int_equal(virtio_blk_resized(b->blk), 0);
	assert_int_equal(rig_msis(&b->r, 0), 0);
	b->disk.grown = 2 * SECTORS * 512;
	assert_int_equal(request(b, 0, SECTORS, 512, true, NULL), S_IOERR);
	assert_int_equal(virtio_blk_resized(b->blk), 0);
	assert_int_equal(rig_msis(&b->r, 0), 1);
	assert_int_equal(config(&b->r, 0, 8), 2 * SECTORS);
	assert_int_not_equal(rd(&b->r, 0x15, 1), generation);
	assert_int_equal(request(b, 0, 2 * SECTORS - 1, 512, true, NULL), S_OK);
	b->disk.fail = -EIO;
	assert_int_equal(virtio_blk_resized(b->blk), -EIO);
	bed_free(b);
}

/* --- hostile drivers --- */

/* DMA reaches RAM only: a device that is told to use its own registers stops, and does not hang. */
static void own_registers(void **state)
{
	for (unsigned part = 0; part < 3; part++) {
		struct bed *b = bed_make(&(struct bed_opts){.features = VIRTIO_F_INDIRECT_DESC});
		struct rig *r = &b->r;
		u64 bad[] = {r->bar, r->bar + VIRTIO_MODERN_NOTIFY, r->msix, ECAM, RAM_SIZE - 8, RAM_SIZE,
		        ~0ull, ~0ull - 15};

		for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
			drive(r, VIRTIO_F_INDIRECT_DESC, 1);
			put_header(b, HEADER, 0, 0);
			put_desc(r, RING_AT(0), 0, part == 0 ? bad[n] : HEADER, 16, N, 1);
			put_desc(r, RING_AT(0), 1, part == 1 ? bad[n] : DATA, 513, W, 0);
			if (part == 2)
				put_desc(r, RING_AT(0), 0, bad[n], 32, VQ_DESC_INDIRECT, 0);
			publish(r, 0, 0);
			kick_queue(r, 0);
			assert_true(status(r) & VIRTIO_NEEDS_RESET);
			assert_int_equal(used_idx(r, 0), 0);
		}
		bed_free(b);
	}
}

static u64 random_u64(u64 *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 2685821657736338717ull;
}

static void fill_heap(void)
{
	void *p[64];

	for (unsigned n = 0; n < ARRAY_SIZE(p); n++) {
		p[n] = malloc(64u << n % 10);
		if (p[n])
			memset(p[n], CANARY, 64u << n % 10);
	}
	for (unsigned n = 0; n < ARRAY_SIZE(p); n++)
		free(p[n]);
}

static void random_desc(struct bed *b, u64 *s, u64 table, unsigned n)
{
	static const u64 places[] = {HEADER, DATA, STATUS, RAM_SIZE - 512, RING_AT(0), USED_AT(0), ECAM};
	static const u32 lens[] = {0, 1, 15, 16, 17, 32, 512, 513, 528, 1024, 0x10000};
	u64 addr = places[random_u64(s) % 400 ? random_u64(s) % 3 : random_u64(s) % ARRAY_SIZE(places)];

	put_desc(&b->r, table, n, addr + (random_u64(s) % 8 ? 0 : random_u64(s) % 600),
	        lens[random_u64(s) % ARRAY_SIZE(lens)],
	        random_u64(s) % 50 ? random_u64(s) & 3 : random_u64(s) & 7, (u16)(random_u64(s) % 12));
}

/* Nothing of ours gets into guest memory, whatever chains look like. */
static void canary(void **state)
{
	struct bed *b;
	u64 s = 88172645463325252ull;
	static const u32 types[] = {0, 0, 0, 1, 4, 8, 8, 11, 13, 99};

	fill_heap();
	b = bed_make(&(struct bed_opts){.features = VIRTIO_F_INDIRECT_DESC | F_DISCARD | F_ZEROES});
	memset(b->disk.data, 0, sizeof(b->disk.data));
	for (unsigned round = 0; round < 3000; round++) {
		drive(&b->r, VIRTIO_F_INDIRECT_DESC | F_DISCARD | F_ZEROES, 1);
		put_header(
		        b, HEADER, types[random_u64(&s) % ARRAY_SIZE(types)], random_u64(&s) % (SECTORS + 2));
		for (unsigned n = 0; n < 12; n++)
			random_desc(b, &s, RING_AT(0), n);
		publish(&b->r, 0, 0);
		publish(&b->r, 0, random_u64(&s) % 3);
		kick_queue(&b->r, 0);
	}
	set_status(&b->r, 0);
	for (u64 at = 0; at + 8 <= RAM_SIZE; at++)
		assert_false(get_le64(guest(b, at)) == 0x0101010101010101ull * CANARY);
	bed_free(b);
}

static void register_sweep(void **state)
{
	for (unsigned msi = 0; msi < 2; msi++) {
		struct bed *b =
		        bed_make(&(struct bed_opts){.msi_only = msi, .irq = msi ? IRQ_MSI : IRQ_MSIX});

		bench_sweep(&b->r.memory, b->r.bar, 64);
		bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_ISR, 8);
		bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_DEVICE, 64);
		bench_sweep(&b->r.memory, b->r.bar + VIRTIO_MODERN_NOTIFY, 64);
		bench_sweep(&b->r.ports, b->r.io, 128);
		drive(&b->r, 0, 1);
		assert_int_equal(request(b, 0, 0, 512, true, NULL), S_OK);
		b->r.legacy = true;
		drive(&b->r, 0, 1);
		assert_int_equal(request(b, 0, 0, 512, true, NULL), S_OK);
		bed_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(io),
	        cmocka_unit_test(interrupts),
	        cmocka_unit_test(identity),
	        cmocka_unit_test(errors),
	        cmocka_unit_test(read_only),
	        cmocka_unit_test(write_cache),
	        cmocka_unit_test(ranges),
	        cmocka_unit_test(bad_ranges),
	        cmocka_unit_test(lengths),
	        cmocka_unit_test(sectors),
	        cmocka_unit_test(any_layout),
	        cmocka_unit_test(short_header),
	        cmocka_unit_test(no_status),
	        cmocka_unit_test(in_flight),
	        cmocka_unit_test(reset_waits),
	        cmocka_unit_test(destroy_waits),
	        cmocka_unit_test(before_ready),
	        cmocka_unit_test(resized),
	        cmocka_unit_test(own_registers),
	        cmocka_unit_test(canary),
	        cmocka_unit_test(register_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
