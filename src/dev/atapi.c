/*
 * A SATA CD-ROM drive: packet commands, sense data, the tray and its lock, change of discs. Section
 * numbers are those of MMC-6 (ACS-2 for the few ATA commands that such a drive has).
 *
 * The tray has three states: closed with a disc, closed without, open. A guest that ejects opens it with the
 * disc in it and may load it again; the host takes discs out and puts others in.
 */
#include "dev/ahci_int.h"

#include "block/iov.h"
#include <errno.h>

/* ATA commands */
#define ATA_NOP 0x00
#define ATA_DEVICE_RESET 0x08
#define ATA_PACKET 0xa0
#define ATA_IDENTIFY_PACKET 0xa1
#define ATA_STANDBY_NOW 0xe0
#define ATA_IDLE_NOW 0xe1
#define ATA_CHECK_POWER 0xe5
#define ATA_SLEEP 0xe6
#define ATA_IDENTIFY 0xec
#define ATA_SET_FEATURES 0xef
#define SF_XFER_MODE 0x03
#define XFER_UDMA6 0x46

/* Interrupt reason at the end of a packet command (ACS-2 6.3) */
#define REASON_DONE 0x03

/* Sense keys (SPC-4 4.5.6) */
#define KEY_NONE 0
#define KEY_NOT_READY 2
#define KEY_ILLEGAL 5
#define KEY_ATTENTION 6
#define KEY_ABORTED 0xb

/* START STOP UNIT (6.42) */
#define LOEJ 0x02
#define START 0x01
#define PREVENT 0x01

/* Media events (6.6.2.3.5) */
#define EVENT_EJECT_REQUEST 1
#define EVENT_NEW_MEDIUM 2
#define EVENT_REMOVAL 3

/* --- answers --- */

static void end_ata(struct ahci_cmd *c, u8 status, u8 error, u16 count)
{
	const struct ata_regs r = {
	        .status = status, .error = error, .device = c->device, .count = count, .lba = c->lba};

	ahci_end(c, &r);
}

void atapi_done(struct ahci_cmd *c)
{
	c->port->cd.sense = (struct atapi_sense){0};
	end_ata(c, ATA_DRDY, 0, REASON_DONE);
}

void atapi_fail(struct ahci_cmd *c, u8 key, u8 asc, u8 ascq)
{
	c->port->cd.sense = (struct atapi_sense){key, asc, ascq};
	end_ata(c, ATA_DRDY | ATA_ERR, (u8)(key << 4 | ATA_ABRT), REASON_DONE);
}

void atapi_reply(struct ahci_cmd *c, const void *buf, u64 len, u64 allowed)
{
	len = MIN(len, allowed);
	if (len && !ahci_map(c, len, false))
		return;
	ahci_give(c, buf, len);
	atapi_done(c);
}

/* --- the disc --- */

static u64 disc_sectors(const struct block *b)
{
	return b ? MIN(block_size(b) / CD_SECTOR, 0xffffffffull) : 0;
}

static void set_open(struct atapi *d, bool open)
{
	if (d->open == open)
		return;
	d->open = open;
	d->event = open ? EVENT_REMOVAL : d->sectors ? EVENT_NEW_MEDIUM : 0;
	d->changed = atapi_has_disc(d);
	if (open)
		d->locked = false;
}

static void not_ready(struct ahci_cmd *c)
{
	atapi_fail(c, KEY_NOT_READY, 0x3a,
	        c->port->cd.open ? 2 : 1); /* medium not present, tray open or closed */
}

/* --- commands of this file --- */

static void nothing_to_do(struct ahci_cmd *c)
{
	atapi_done(c);
}

static void request_sense(struct ahci_cmd *c)
{
	struct atapi *d = &c->port->cd;
	u8 s[18] = {0x70, 0, d->sense.key, [7] = 10, [12] = d->sense.asc, d->sense.ascq};

	if (d->sense.key == KEY_NONE && (d->reset_seen || d->changed)) { /* SPC-4 6.29 */
		s[2] = KEY_ATTENTION;
		s[12] = d->reset_seen ? 0x29 : 0x28;
		if (d->reset_seen)
			d->reset_seen = false;
		else
			d->changed = false;
	}
	atapi_reply(c, s, sizeof(s), c->cdb[4]);
}

static void start_stop(struct ahci_cmd *c)
{
	struct atapi *d = &c->port->cd;
	u8 how = c->cdb[4];

	if (!(how & LOEJ)) {
		atapi_done(c); /* the motor, or a power condition */
		return;
	}
	if (!(how & START) && d->locked) {
		atapi_fail(c, KEY_ILLEGAL, 0x53, 0x02); /* medium removal prevented */
		return;
	}
	set_open(d, !(how & START));
	atapi_done(c);
}

static void prevent_allow(struct ahci_cmd *c)
{
	c->port->cd.locked = c->cdb[4] & PREVENT;
	atapi_done(c);
}

static void report_luns(struct ahci_cmd *c)
{
	static const u8 one[16] = {[3] = 8};

	atapi_reply(c, one, sizeof(one), get_be32(c->cdb + 6));
}

static void seek(struct ahci_cmd *c)
{
	u32 lba = get_be32(c->cdb + 2);

	if (lba < c->port->cd.sectors)
		atapi_done(c);
	else
		atapi_fail(c, KEY_ILLEGAL, 0x21, 0); /* LBA out of range */
}

/* --- packets --- */

#define NEEDS_DISC 1u
#define IN_ATTENTION 2u /* also while a unit attention waits (SPC-4 5.14) */

static const struct packet_command {
	void (*run)(struct ahci_cmd *c);
	u8 flags;
} packets[256] = {
        [0x00] = {nothing_to_do, NEEDS_DISC}, /* TEST UNIT READY */
        [0x03] = {request_sense, IN_ATTENTION},
        [0x12] = {atapi_inquiry, IN_ATTENTION},
        [0x1b] = {start_stop, 0},
        [0x1e] = {prevent_allow, 0},
        [0x25] = {atapi_read_capacity, NEEDS_DISC},
        [0x28] = {atapi_read, NEEDS_DISC},
        [0x2b] = {seek, NEEDS_DISC},
        [0x35] = {nothing_to_do, 0}, /* SYNCHRONIZE CACHE */
        [0x43] = {atapi_read_toc, NEEDS_DISC},
        [0x46] = {atapi_get_configuration, IN_ATTENTION},
        [0x4a] = {atapi_event_status, IN_ATTENTION},
        [0x51] = {atapi_read_disc_information, NEEDS_DISC},
        [0x52] = {atapi_read_track_information, NEEDS_DISC},
        [0x55] = {atapi_mode_select, 0},
        [0x15] = {atapi_mode_select, 0},
        [0x1a] = {atapi_mode_sense, 0},
        [0x5a] = {atapi_mode_sense, 0},
        [0xa0] = {report_luns, IN_ATTENTION},
        [0xa8] = {atapi_read, NEEDS_DISC},
        [0xad] = {atapi_read_dvd_structure, NEEDS_DISC},
        [0xb9] = {atapi_read_cd, NEEDS_DISC},
        [0xbb] = {nothing_to_do, 0}, /* SET CD SPEED */
        [0xbd] = {atapi_mechanism_status, 0},
        [0xbe] = {atapi_read_cd, NEEDS_DISC},
};

/* True: reported instead of doing what was asked. */
static bool attention(struct ahci_cmd *c)
{
	struct atapi *d = &c->port->cd;

	if (d->reset_seen) {
		d->reset_seen = false;
		atapi_fail(c, KEY_ATTENTION, 0x29, 0x00); /* power on or reset */
		return true;
	}
	if (d->changed) {
		d->changed = false;
		atapi_fail(c, KEY_ATTENTION, 0x28, 0x00); /* medium may have changed */
		return true;
	}
	return false;
}

static void packet(struct ahci_cmd *c)
{
	const struct packet_command *p = &packets[c->cdb[0]];

	if (!(p->flags & IN_ATTENTION) && attention(c))
		return;
	if (!p->run)
		atapi_fail(c, KEY_ILLEGAL, 0x20, 0x00); /* invalid command operation code */
	else if (p->flags & NEEDS_DISC && !atapi_has_disc(&c->port->cd))
		not_ready(c);
	else
		p->run(c);
}

/* --- ATA commands --- */

static void set_features(struct ahci_cmd *c)
{
	bool ok = (c->features & 0xff) == SF_XFER_MODE && ata_valid_xfer_mode((u8)c->count);

	if (ok)
		c->port->cd.xfer_mode = (u8)c->count;
	end_ata(c, ATA_DRDY | (ok ? 0 : ATA_ERR), ok ? 0 : ATA_ABRT, c->count);
}

static void reset(struct ahci_port *p, bool hard)
{
	struct atapi *d = &p->cd;

	d->reset_seen = true;
	d->sense = (struct atapi_sense){0};
	d->locked = false;
	if (hard)
		d->xfer_mode = XFER_UDMA6;
}

/* Like IDENTIFY DEVICE here: refused, but the registers say what kind of drive this is. */
static void refuse_with_signature(struct ahci_cmd *c, u8 error)
{
	struct ata_regs r = atapi_drive.ready;

	r.status = error ? ATA_DRDY | ATA_ERR : 0;
	r.error = error ? error : 1;
	ahci_end(c, &r);
}

static void start(struct ahci_cmd *c)
{
	switch (c->command) {
	case ATA_PACKET: packet(c); break;
	case ATA_IDENTIFY_PACKET: atapi_identify(c); break;
	case ATA_IDENTIFY: refuse_with_signature(c, ATA_ABRT); break;
	case ATA_SET_FEATURES: set_features(c); break;
	case ATA_DEVICE_RESET:
		reset(c->port, false);
		refuse_with_signature(c, 0);
		break;
	case ATA_STANDBY_NOW:
	case ATA_IDLE_NOW:
	case ATA_SLEEP: end_ata(c, ATA_DRDY, 0, c->count); break;
	case ATA_CHECK_POWER: end_ata(c, ATA_DRDY, 0, 0xff); break;
	case ATA_NOP:
	default: end_ata(c, ATA_DRDY | ATA_ERR, ATA_ABRT, c->count); break;
	}
}

void atapi_init(struct ahci_port *p)
{
	p->cd.sectors = disc_sectors(p->block);
}

static void abort_cmd(struct ahci_cmd *c)
{
	if (c->command == ATA_PACKET)
		atapi_fail(c, KEY_ABORTED, 0x4b, 0x00); /* data phase error */
	else
		end_ata(c, ATA_DRDY | ATA_ERR, ATA_ABRT, c->count);
}

const struct drive_ops atapi_drive = {
        .ready = {.status = 0, .error = 1, .count = 1, .lba = 0xeb1401},
        .reset = reset,
        .start = start,
        .abort = abort_cmd,
};

/* --- the host's side of the tray --- */

/* Nothing is in flight on the port while the disc is exchanged. */
static void quiesce(struct ahci_port *p)
{
	p->paused++;
	while (p->inflight)
		pthread_cond_wait(&p->hba->idle, &p->hba->lock);
}

static void go_on(struct ahci_port *p)
{
	p->paused--;
	ahci_port_run(p);
}

struct medium {
	struct block *block;
	struct block_queue *io;
};

/* Puts m in and gives back in m what was there. */
static void exchange(struct ahci_port *p, struct medium *m)
{
	struct medium old = {p->block, p->io};

	p->block = m->block;
	p->io = m->io;
	p->cd.sectors = disc_sectors(p->block);
	*m = old;
}

static struct ahci_port *cd_port(struct ahci *h, unsigned port)
{
	return port < h->nports && h->port[port].ops == &atapi_drive ? &h->port[port] : NULL;
}

/* The old disc's queue has nothing to do any more. */
static void hand_back(struct medium *m, struct block **old)
{
	if (m->io)
		block_queue_destroy(m->io);
	*old = m->block;
}

int ahci_insert(struct ahci *h, unsigned port, struct block *disc, struct block **old)
{
	struct ahci_port *p = cd_port(h, port);
	struct medium m = {.block = disc};
	int rc;

	if (!p || disc_sectors(disc) == 0)
		return -EINVAL;
	rc = block_queue_create(&m.io, disc, BLOCK_WORKERS);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&h->lock);
	quiesce(p);
	if (p->cd.locked && atapi_has_disc(&p->cd)) {
		rc = -EBUSY;
	} else {
		exchange(p, &m);
		p->cd.open = false;
		p->cd.event = EVENT_NEW_MEDIUM;
		p->cd.changed = true;
	}
	go_on(p);
	pthread_mutex_unlock(&h->lock);
	if (rc == 0)
		hand_back(&m, old);
	else
		block_queue_destroy(m.io);
	return rc;
}

int ahci_eject(struct ahci *h, unsigned port, bool force, struct block **old)
{
	struct ahci_port *p = cd_port(h, port);
	struct medium m = {0};
	int rc = 0;

	if (!p)
		return -EINVAL;
	pthread_mutex_lock(&h->lock);
	quiesce(p);
	if (p->cd.locked && !force) {
		p->cd.event = EVENT_EJECT_REQUEST;
		rc = -EBUSY;
	} else {
		exchange(p, &m);
		set_open(&p->cd, true);
	}
	go_on(p);
	pthread_mutex_unlock(&h->lock);
	if (rc == 0)
		hand_back(&m, old);
	return rc;
}
