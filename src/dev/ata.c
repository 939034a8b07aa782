/*
 * A SATA disk: commands of ACS-2 on a disk of the block layer. Section numbers are those of ACS-2.
 *
 * A command is taken apart and checked completely before the block layer sees any of it. Data commands go
 * from the guest's buffers to the block layer as they are. A write is on the host when it is answered;
 * FLUSH CACHE, FUA, and SET FEATURES for the write cache do what the block layer's flush promises.
 */
#include "dev/ahci_int.h"

#include "block/iov.h"
#include <errno.h>
#include <stdlib.h>

#define LBA28_DEVICE 0x40 /* device register: LBA, not CHS (ATA-5) */
#define LBA48_MASK (BIT64(48) - 1)
#define FUA_DEVICE 0x80 /* 7.26: FPDMA */
#define HEADS 16u
#define SECTORS_PER_TRACK 63u
#define MULTIPLE_MAX 128u

/* SET FEATURES (7.50) */
#define SF_CACHE_ON 0x02
#define SF_XFER_MODE 0x03
#define SF_LOOKAHEAD_OFF 0x55
#define SF_NO_REVERT 0x66
#define SF_CACHE_OFF 0x82
#define SF_LOOKAHEAD_ON 0xaa
#define SF_REVERT 0xcc
#define XFER_UDMA6 0x46

#define POWER_ACTIVE 0xff
#define POWER_STANDBY 0x00

#define TRIM_FEATURE 0x01
#define VERIFY_CHUNK 32768u /* bytes that are read at a time */

/* --- answers --- */

static void end_with(struct ahci_cmd *c, u8 error, u16 count, u64 lba)
{
	const struct ata_regs r = {
	        .status = (u8)(ATA_DRDY | ATA_DSC | (error ? ATA_ERR : 0)),
	        .error = error,
	        .device = c->device,
	        .count = count,
	        .lba = lba,
	};

	ahci_end(c, &r);
}

void ata_done(struct ahci_cmd *c)
{
	end_with(c, 0, c->count, c->lba);
}

void ata_fail(struct ahci_cmd *c, u8 error)
{
	end_with(c, error, c->count, c->lba);
}

void ata_reply(struct ahci_cmd *c, const void *buf, u64 len)
{
	if (!ahci_map(c, len, true))
		return;
	ahci_give(c, buf, len);
	ata_done(c);
}

void ata_string(u8 *to, const char *s, unsigned len)
{
	size_t n = strnlen(s, len);

	for (unsigned i = 0; i < len; i++) /* 3.3.10: pairs are swapped */
		to[i ^ 1] = i < n ? (u8)s[i] : ' ';
}

static void abort_cmd(struct ahci_cmd *c)
{
	ata_fail(c, ATA_ABRT);
}

static void nothing_to_do(struct ahci_cmd *c)
{
	ata_done(c);
}

static u8 error_of(int rc)
{
	return rc == -EOPNOTSUPP || rc == -EROFS ? ATA_ABRT : ATA_UNC;
}

static void finish(struct ahci_cmd *c, int rc)
{
	if (rc < 0)
		ata_fail(c, error_of(rc));
	else
		ata_done(c);
}

/* --- sectors --- */

struct range {
	u64 lba;
	u32 sectors; /* 1 .. 65536 */
};

static struct range range48(const struct ahci_cmd *c, u16 count)
{
	return (struct range){.lba = c->lba & LBA48_MASK, .sectors = count ? count : 65536};
}

/* 28 bits of address, or cylinder, head and sector. */
static struct range range28(const struct ahci_cmd *c)
{
	struct range r = {.sectors = c->count & 0xff ? c->count & 0xff : 256};
	u32 head = c->device & 0xf, sector = c->lba & 0xff;

	if (c->device & LBA28_DEVICE)
		r.lba = (c->lba & 0xffffff) | (u64)head << 24;
	else if (sector == 0)
		r.lba = LBA48_MASK; /* there is no such sector */
	else
		r.lba = ((c->lba >> 8 & 0xffff) * HEADS + head) * SECTORS_PER_TRACK + sector - 1;
	return r;
}

static bool inside(const struct ahci_port *p, const struct range *r)
{
	return r->lba <= p->disk.sectors && r->sectors <= p->disk.sectors - r->lba;
}

static void data_done(struct ahci_cmd *c, int rc)
{
	if (rc == 0 && c->fua) {
		c->fua = false;
		ahci_submit(c, BLOCK_FLUSH, 0, 0, data_done);
		return;
	}
	finish(c, rc);
}

static void transfer(struct ahci_cmd *c, const struct range *r, bool write)
{
	struct ahci_port *p = c->port;
	u64 len = (u64)r->sectors * p->block->logical;

	if (!inside(p, r)) {
		ata_fail(c, ATA_IDNF);
		return;
	}
	if (write && p->block->ro) {
		abort_cmd(c);
		return;
	}
	if (!ahci_map(c, len, true))
		return;
	c->to_guest = !write;
	c->done = len;
	p->disk.standby = false;
	ahci_submit(c, write ? BLOCK_WRITE : BLOCK_READ, r->lba * p->block->logical, len, data_done);
}

/* --- data commands (7.21 ff.) --- */

static void read28(struct ahci_cmd *c)
{
	struct range r = range28(c);

	transfer(c, &r, false);
}

static void read48(struct ahci_cmd *c)
{
	struct range r = range48(c, c->count);

	transfer(c, &r, false);
}

static void write28(struct ahci_cmd *c)
{
	struct range r = range28(c);

	transfer(c, &r, true);
}

static void write48(struct ahci_cmd *c)
{
	struct range r = range48(c, c->count);

	transfer(c, &r, true);
}

static void write48_fua(struct ahci_cmd *c)
{
	c->fua = true;
	write48(c);
}

static void read_pio28(struct ahci_cmd *c)
{
	c->pio = true;
	read28(c);
}

static void read_pio48(struct ahci_cmd *c)
{
	c->pio = true;
	read48(c);
}

/* READ and WRITE MULTIPLE do not work before SET MULTIPLE MODE (7.29). */
static bool multiple(struct ahci_cmd *c)
{
	if (c->port->disk.multiple)
		return true;
	abort_cmd(c);
	return false;
}

static void read_multiple28(struct ahci_cmd *c)
{
	if (multiple(c))
		read_pio28(c);
}

static void read_multiple48(struct ahci_cmd *c)
{
	if (multiple(c))
		read_pio48(c);
}

static void write_multiple28(struct ahci_cmd *c)
{
	if (multiple(c))
		write28(c);
}

static void write_multiple48(struct ahci_cmd *c)
{
	if (multiple(c))
		write48(c);
}

static void write_multiple48_fua(struct ahci_cmd *c)
{
	if (multiple(c))
		write48_fua(c);
}

/* The count is in the features register, the tag where the count was (7.26). */
static void read_queued(struct ahci_cmd *c)
{
	struct range r = range48(c, c->features);

	transfer(c, &r, false);
}

static void write_queued(struct ahci_cmd *c)
{
	struct range r = range48(c, c->features);

	c->fua = c->device & FUA_DEVICE;
	transfer(c, &r, true);
}

/* --- READ VERIFY (7.33): the same without the guest's memory --- */

static void verify_next(struct ahci_cmd *c, int rc)
{
	struct range r = c->command == 0x42 ? range48(c, c->count) : range28(c);
	u32 size = c->port->block->logical, n = MIN(r.sectors - c->at, VERIFY_CHUNK / size);
	u64 off = (r.lba + c->at) * size;

	if (rc < 0 || n == 0) {
		finish(c, rc);
		return;
	}
	c->at += n;
	c->bounce_iov = (struct iovec){.iov_base = c->bounce, .iov_len = n * size};
	ahci_submit(c, BLOCK_READ, off, n * size, verify_next);
}

static void verify(struct ahci_cmd *c)
{
	struct range r = c->command == 0x42 ? range48(c, c->count) : range28(c);

	if (!inside(c->port, &r)) {
		ata_fail(c, ATA_IDNF);
		return;
	}
	c->bounce = malloc(VERIFY_CHUNK);
	if (c->bounce)
		verify_next(c, 0);
	else
		abort_cmd(c);
}

/* --- flush and power (7.15, 7.59 ff.) --- */

static void flush(struct ahci_cmd *c)
{
	ahci_submit(c, BLOCK_FLUSH, 0, 0, finish);
}

static void stood_by(struct ahci_cmd *c, int rc)
{
	c->port->disk.standby = rc == 0;
	finish(c, rc);
}

static void standby(struct ahci_cmd *c)
{
	ahci_submit(c, BLOCK_FLUSH, 0, 0, stood_by);
}

static void idle(struct ahci_cmd *c)
{
	c->port->disk.standby = false;
	ata_done(c);
}

static void check_power(struct ahci_cmd *c)
{
	end_with(c, 0, c->port->disk.standby ? POWER_STANDBY : POWER_ACTIVE, c->lba);
}

/* --- TRIM (7.10) --- */

bool ata_can_trim(const struct ahci_port *p)
{
	return p->block->ops->discard && p->block->grain && !p->block->ro;
}

/* Every range that is not empty; all are checked before the first is discarded. */
static bool take_ranges(struct ahci_cmd *c, u32 entries)
{
	struct ahci_port *p = c->port;
	u8 list[ATA_TRIM_BLOCKS * 512];

	iov_to_buf(list, c->iov, c->niov, 0, entries * 8);
	for (u32 n = 0; n < entries; n++) {
		u64 e = get_le64(list + 8 * n);
		struct range r = {.lba = e & LBA48_MASK, .sectors = (u32)(e >> 48)};

		if (r.sectors == 0)
			continue;
		if (!inside(p, &r))
			return false;
		p->disk.trim[c->left].lba = r.lba;
		p->disk.trim[c->left++].sectors = r.sectors;
	}
	return true;
}

static void next_range(struct ahci_cmd *c, int rc)
{
	struct ahci_port *p = c->port;
	u32 n = c->at++;

	if (rc < 0 || n == c->left)
		finish(c, rc);
	else
		ahci_submit(c, BLOCK_DISCARD, p->disk.trim[n].lba * p->block->logical,
		        (u64)p->disk.trim[n].sectors * p->block->logical, next_range);
}

static void data_set_management(struct ahci_cmd *c)
{
	u32 len = c->count * 512u;

	if (c->features != TRIM_FEATURE || !ata_can_trim(c->port) || c->count == 0 ||
	        c->count > ATA_TRIM_BLOCKS) {
		abort_cmd(c);
		return;
	}
	if (!ahci_map(c, len, true))
		return;
	c->done = len;
	if (take_ranges(c, len / 8))
		next_range(c, 0);
	else
		ata_fail(c, ATA_IDNF);
}

/* --- settings --- */

static void set_cache(struct ahci_port *p, bool off)
{
	p->disk.cache_off = off || p->block->through;
	block_queue_set_through(p->io, off);
}

bool ata_valid_xfer_mode(u8 mode)
{
	return mode <= 0x01 || (mode >= 0x08 && mode <= 0x0c) || (mode >= 0x20 && mode <= 0x22) ||
	       (mode >= 0x40 && mode <= XFER_UDMA6);
}

static void set_features(struct ahci_cmd *c)
{
	struct ata_disk *d = &c->port->disk;
	u8 mode = (u8)c->count;

	switch (c->features & 0xff) {
	case SF_CACHE_ON: set_cache(c->port, false); break;
	case SF_CACHE_OFF: set_cache(c->port, true); break;
	case SF_LOOKAHEAD_ON: d->lookahead_off = false; break;
	case SF_LOOKAHEAD_OFF: d->lookahead_off = true; break;
	case SF_REVERT:
	case SF_NO_REVERT: break;
	case SF_XFER_MODE:
		if (!ata_valid_xfer_mode(mode)) {
			abort_cmd(c);
			return;
		}
		d->xfer_mode = mode;
		break;
	default: abort_cmd(c); return;
	}
	ata_done(c);
}

static void set_multiple(struct ahci_cmd *c)
{
	u8 n = (u8)c->count;

	if (n > MULTIPLE_MAX || (n & (n - 1))) {
		abort_cmd(c);
		return;
	}
	c->port->disk.multiple = n;
	ata_done(c);
}

/* For a disk these name the wrong kind of drive: its signature says which one it is (7.12, 7.18). */
static void not_a_packet_drive(struct ahci_cmd *c)
{
	end_with(c, ATA_ABRT, ata_drive.ready.count, ata_drive.ready.lba);
}

/* --- the table --- */

static void (*const commands[256])(struct ahci_cmd *) = {
        [0x06] = data_set_management,
        [0x20] = read_pio28,
        [0x21] = read_pio28,
        [0x24] = read_pio48,
        [0x25] = read48,
        [0x29] = read_multiple48,
        [0x2f] = ata_read_log,
        [0x30] = write28,
        [0x31] = write28,
        [0x34] = write48,
        [0x35] = write48,
        [0x39] = write_multiple48,
        [0x3d] = write48_fua,
        [0x40] = verify,
        [0x41] = verify,
        [0x42] = verify,
        [0x47] = ata_read_log,
        [0x60] = read_queued,
        [0x61] = write_queued,
        [0x91] = nothing_to_do, /* INITIALIZE DEVICE PARAMETERS of old drivers */
        [0xa0] = not_a_packet_drive,
        [0xa1] = not_a_packet_drive,
        [0xb0] = ata_smart,
        [0xc4] = read_multiple28,
        [0xc5] = write_multiple28,
        [0xc6] = set_multiple,
        [0xc8] = read28,
        [0xca] = write28,
        [0xce] = write_multiple48_fua,
        [0xe0] = standby,
        [0xe1] = idle,
        [0xe2] = standby,
        [0xe3] = idle,
        [0xe5] = check_power,
        [0xe6] = standby,
        [0xe7] = flush,
        [0xea] = flush,
        [0xec] = ata_identify,
        [0xef] = set_features,
};

static void start(struct ahci_cmd *c)
{
	if (commands[c->command])
		commands[c->command](c);
	else
		abort_cmd(c);
}

static void reset(struct ahci_port *p, bool hard)
{
	p->disk.standby = false;
	if (!hard)
		return;
	p->disk.multiple = 0;
	p->disk.lookahead_off = false;
	p->disk.xfer_mode = XFER_UDMA6;
	set_cache(p, false);
}

void ata_init(struct ahci_port *p)
{
	p->disk.sectors = MIN(block_size(p->block) / p->block->logical, LBA48_MASK);
}

const struct drive_ops ata_drive = {
        .queued = true,
        .ready = {.status = ATA_DRDY | ATA_DSC, .error = 1, .count = 1, .lba = 1},
        .reset = reset,
        .start = start,
        .abort = abort_cmd,
};
