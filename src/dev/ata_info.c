/*
 * What a SATA disk says about itself: IDENTIFY DEVICE, SMART, logs. Section numbers are those of ACS-2.
 */
#include "dev/ahci_int.h"

#define MODEL "XHYVE SATA DISK"
#define FIRMWARE "1.0"

#define LBA28_MAX 0x0fffffffu
#define MULTIPLE_MAX 128u
#define QUEUE_DEPTH 32u

/* SMART (7.53) */
#define SMART_LBA 0xc24fu /* bits 23:8 of the address */
#define SMART_READ_DATA 0xd0
#define SMART_THRESHOLDS 0xd1
#define SMART_AUTOSAVE 0xd2
#define SMART_READ_LOG 0xd5
#define SMART_ENABLE 0xd8
#define SMART_DISABLE 0xd9
#define SMART_STATUS 0xda

/* Logs (A.2) */
#define LOG_DIRECTORY 0x00
#define LOG_ERRORS 0x01 /* summary, SMART only */
#define LOG_NCQ_ERROR 0x10
#define LOG_VERSION 1

void ata_sum(u8 page[static 512])
{
	u8 sum = 0;

	for (unsigned n = 0; n < 511; n++)
		sum = (u8)(sum + page[n]);
	page[511] = (u8)-sum;
}

/* --- IDENTIFY DEVICE (7.16) --- */

/* 16 heads of 63 sectors, for those who still ask. */
static void put_geometry(u8 *id, u64 sectors)
{
	u16 cylinders = (u16)MIN(sectors / (16 * 63), 16383u);

	ata_word(id, 1, cylinders);
	ata_word(id, 3, 16);
	ata_word(id, 6, 63);
	ata_word(id, 54, cylinders);
	ata_word(id, 55, 16);
	ata_word(id, 56, 63);
	put_le32(id + 57 * 2, cylinders * 16u * 63u);
	put_le32(id + 60 * 2, (u32)MIN(sectors, (u64)LBA28_MAX));
	put_le64(id + 100 * 2, sectors);
}

/* Words 106, 117 and 118; sectors are aligned to those of the medium. */
static void put_sector_size(u8 *id, const struct block *b)
{
	unsigned ratio = (unsigned)(__builtin_ctz(b->physical) - __builtin_ctz(b->logical));
	u16 word = (u16)(0x4000 | MIN(ratio, 15u));

	if (ratio)
		word |= 0x2000;
	if (b->logical > 512) {
		word |= 0x1000;
		put_le32(id + 117 * 2, b->logical / 2);
	}
	ata_word(id, 106, word);
}

/* The mode in use is marked beside those that exist. */
static void put_xfer_modes(u8 *id, u8 mode)
{
	ata_word(id, 63, (u16)(0x07 | (mode >= 0x20 && mode <= 0x22 ? BIT(8 + (mode & 7)) : 0)));
	ata_word(id, 64, 0x03);
	for (unsigned n = 65; n <= 68; n++)
		ata_word(id, n, 120); /* ns */
	ata_word(id, 88, (u16)(0x7f | (mode >= 0x40 ? BIT(8 + (mode & 7)) : 0)));
}

/* SMART, power management, write cache, look-ahead; 48 bits, FLUSH CACHE (EXT); SMART error log, logs, FUA.
 */
static void put_features(u8 *id, const struct ata_disk *d)
{
	u16 on = 0x0008;

	on |= (u16)(d->smart_off ? 0 : 0x01);
	on |= (u16)(d->cache_off ? 0 : 0x20);
	on |= (u16)(d->lookahead_off ? 0 : 0x40);
	ata_word(id, 82, 0x0069);
	ata_word(id, 83, 0x7400);
	ata_word(id, 84, 0x4061);
	ata_word(id, 85, on);
	ata_word(id, 86, 0xb400);
	ata_word(id, 87, 0x4061);
	ata_word(id, 119, 0x4008); /* READ LOG DMA EXT */
	ata_word(id, 120, 0x4008);
}

static void put_serial_ata(u8 *id, const struct ahci_port *p)
{
	ata_word(id, 75, QUEUE_DEPTH - 1);
	ata_word(id, 76, 0x010e); /* NCQ, 1.5, 3 and 6 Gb/s */
	ata_word(id, 77, (u16)((p->ssts >> 4 & 7) << 1));
	ata_word(id, 222, 0x107f); /* SATA up to 3.1 */
}

static void put_trim(u8 *id, const struct ahci_port *p)
{
	if (!ata_can_trim(p))
		return;
	ata_word(id, 69, 0x4000); /* what is read after TRIM does not change */
	ata_word(id, 105, ATA_TRIM_BLOCKS);
	ata_word(id, 169, 1);
}

void ata_identify(struct ahci_cmd *c)
{
	const struct ahci_port *p = c->port;
	const struct ata_disk *d = &p->disk;
	char serial[AHCI_SERIAL + 1] = {0};
	u8 id[512] = {0};

	memcpy(serial, p->serial, AHCI_SERIAL);
	ata_word(id, 0, 0x0040);
	ata_string(id + 10 * 2, serial, 20);
	ata_string(id + 23 * 2, FIRMWARE, 8);
	ata_string(id + 27 * 2, MODEL, 40);
	ata_word(id, 47, 0x8000 | MULTIPLE_MAX);
	ata_word(id, 49, 0x2f00); /* DMA, LBA, IORDY, standby timer as in the standard */
	ata_word(id, 50, 0x4000);
	ata_word(id, 53, 0x0007);
	ata_word(id, 59, (u16)(d->multiple ? 0x0100 | d->multiple : 0));
	ata_word(id, 80, 0x03f0); /* up to ACS-2 */
	ata_word(id, 217, 1);     /* does not rotate */
	put_geometry(id, d->sectors);
	put_sector_size(id, p->block);
	put_xfer_modes(id, d->xfer_mode);
	put_features(id, d);
	put_serial_ata(id, p);
	put_trim(id, p);
	id[510] = 0xa5;
	ata_sum(id);
	c->pio = true;
	ata_reply(c, id, sizeof(id));
}

/* --- SMART: a disk that never fails, because its host tells of errors in another way --- */

static void smart_data(struct ahci_cmd *c, bool thresholds)
{
	u8 page[512] = {0};

	put_le16(page, 0x0010); /* structure revision */
	if (!thresholds) {
		page[367] = 0x00;           /* no off-line collection, no self-test */
		put_le16(page + 368, 0x02); /* saves attributes by itself */
		page[370] = 0x01;           /* logs errors */
	}
	ata_sum(page);
	c->pio = true;
	ata_reply(c, page, sizeof(page));
}

/* SMART READ LOG: the directory, and a summary (A.11) of no errors; the host logs what goes wrong. */
static void smart_log(struct ahci_cmd *c)
{
	u8 page[512] = {0};
	u8 log = (u8)c->lba;

	if ((c->count & 0xff) != 1 || log > LOG_ERRORS) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	page[0] = LOG_VERSION;
	if (log == LOG_DIRECTORY)
		page[2 * LOG_ERRORS] = 1;
	else
		ata_sum(page);
	c->pio = true;
	ata_reply(c, page, sizeof(page));
}

void ata_smart(struct ahci_cmd *c)
{
	struct ata_disk *d = &c->port->disk;
	u8 what = (u8)c->features;

	if ((c->lba >> 8 & 0xffff) != SMART_LBA || (d->smart_off && what != SMART_ENABLE)) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	switch (what) {
	case SMART_READ_DATA: smart_data(c, false); return;
	case SMART_THRESHOLDS: smart_data(c, true); return;
	case SMART_READ_LOG: smart_log(c); return;
	case SMART_ENABLE: d->smart_off = false; break;
	case SMART_DISABLE: d->smart_off = true; break;
	case SMART_AUTOSAVE:
	case SMART_STATUS: break; /* the address says that all is well: it comes back as it is */
	default: ata_fail(c, ATA_ABRT); return;
	}
	ata_done(c);
}

/* --- READ LOG (DMA) EXT (7.28) --- */

static void log_directory(u8 page[static 512])
{
	put_le16(page, LOG_VERSION);
	put_le16(page + 2 * LOG_NCQ_ERROR, 1);
}

/* A.14: of the command that failed. Reading it clears it. */
static void log_ncq_error(struct ahci_port *p, u8 page[static 512])
{
	const struct ata_regs *r = &p->ncq_error.regs;

	if (!p->ncq_error.valid) {
		page[0] = 0x80; /* no queued command */
	} else {
		page[0] = p->ncq_error.tag;
		page[2] = r->status;
		page[3] = r->error;
		page[7] = r->device;
		for (unsigned n = 0; n < 3; n++) {
			page[4 + n] = (u8)(r->lba >> 8 * n);
			page[8 + n] = (u8)(r->lba >> (24 + 8 * n));
		}
		put_le16(page + 12, r->count);
	}
	p->ncq_error.valid = false;
	ata_sum(page);
}

void ata_read_log(struct ahci_cmd *c)
{
	u8 log = (u8)c->lba;
	u16 first = (u16)((c->lba >> 8 & 0xff) | (c->lba >> 24 & 0xff00));
	u8 page[512] = {0};

	if (first || c->count != 1 || (log != LOG_DIRECTORY && log != LOG_NCQ_ERROR)) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	if (log == LOG_DIRECTORY)
		log_directory(page);
	else
		log_ncq_error(c->port, page);
	c->pio = c->command == 0x2f;
	ata_reply(c, page, sizeof(page));
}
