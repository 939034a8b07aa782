/*
 * What a CD-ROM drive says about itself: IDENTIFY PACKET DEVICE, INQUIRY, mode pages, features, events.
 * Section numbers are those of MMC-6 and SPC-4.
 */
#include "dev/ahci_int.h"

#include "block/iov.h"

#define MODEL "XHYVE SATA DVD-ROM"
#define FIRMWARE "1.0"
#define VENDOR_ID "XHYVE"
#define PRODUCT_ID "SATA DVD-ROM"
#define PRODUCT_REV "1.0"

#define TYPE_CD 0x05
#define VERSION_SPC3 0x05

/* Profiles (5.3.1) */
#define PROFILE_NONE 0x0000
#define PROFILE_CD_ROM 0x0008
#define PROFILE_DVD_ROM 0x0010

#define SPEED_KB 5540u /* 4x DVD */
#define BUFFER_KB 512u

/* --- IDENTIFY PACKET DEVICE (ACS-2 7.17) --- */

void atapi_identify(struct ahci_cmd *c)
{
	const struct ahci_port *p = c->port;
	u8 mode = p->cd.xfer_mode;
	char serial[AHCI_SERIAL + 1] = {0};
	u8 id[512] = {0};

	memcpy(serial, p->serial, AHCI_SERIAL);
	ata_word(id, 0, 0x85c0); /* packets of 12 bytes, a CD drive, removable medium */
	ata_string(id + 10 * 2, serial, 20);
	ata_string(id + 23 * 2, FIRMWARE, 8);
	ata_string(id + 27 * 2, MODEL, 40);
	ata_word(id, 49, 0x0f00);
	ata_word(id, 50, 0x4000);
	ata_word(id, 53, 0x0006);
	ata_word(id, 63, (u16)(0x07 | (mode >= 0x20 && mode <= 0x22 ? BIT(8 + (mode & 7)) : 0)));
	ata_word(id, 64, 0x03);
	for (unsigned n = 65; n <= 68; n++)
		ata_word(id, n, 120);
	ata_word(id, 76, 0x000e);
	ata_word(id, 77, (u16)((p->ssts >> 4 & 7) << 1));
	ata_word(id, 80, 0x03f0);
	ata_word(id, 82, 0x0218); /* DEVICE RESET, packets, power management */
	ata_word(id, 83, 0x4000);
	ata_word(id, 84, 0x4000);
	ata_word(id, 85, 0x0218);
	ata_word(id, 87, 0x4000);
	ata_word(id, 88, (u16)(0x7f | (mode >= 0x40 ? BIT(8 + (mode & 7)) : 0)));
	ata_word(id, 222, 0x107f);
	id[510] = 0xa5;
	ata_sum(id);
	c->pio = true;
	if (!ahci_map(c, sizeof(id), true))
		return;
	ahci_give(c, id, sizeof(id));
	ahci_end(c, &(struct ata_regs){.status = ATA_DRDY, .device = c->device, .count = c->count});
}

/* --- INQUIRY (SPC-4 6.4) --- */

#define VPD_PAGES 0x00
#define VPD_SERIAL 0x80
#define VPD_ID 0x83

/* Padded with blanks (SPC-4 4.4.1). */
static void put_text(u8 *to, const char *s, unsigned len)
{
	size_t n = strnlen(s, len);

	memset(to, ' ', len);
	memcpy(to, s, n);
}

static u32 vpd_page(const struct ahci_port *p, u8 page, u8 *out)
{
	u32 len = 0;

	out[0] = TYPE_CD;
	out[1] = page;
	switch (page) {
	case VPD_PAGES:
		out[4] = VPD_PAGES;
		out[5] = VPD_SERIAL;
		out[6] = VPD_ID;
		len = 3;
		break;
	case VPD_SERIAL:
		len = (u32)strnlen(p->serial, AHCI_SERIAL);
		memcpy(out + 4, p->serial, len);
		break;
	case VPD_ID: /* vendor's identification in ASCII, of the logical unit */
		out[4] = 0x02;
		out[5] = 0x01;
		put_text(out + 8, VENDOR_ID, 8);
		put_text(out + 16, PRODUCT_ID, 16);
		len = 24 + (u32)strnlen(p->serial, AHCI_SERIAL);
		memcpy(out + 32, p->serial, len - 24);
		out[7] = (u8)len;
		len += 4;
		break;
	default: return 0;
	}
	put_be16(out + 2, len);
	return len + 4;
}

void atapi_inquiry(struct ahci_cmd *c)
{
	u8 buf[96] = {TYPE_CD, 0x80, VERSION_SPC3, 0x02, 31};
	u32 len = 36;

	if (c->cdb[1] & 1) {
		memset(buf, 0, sizeof(buf));
		len = vpd_page(c->port, c->cdb[2], buf);
	} else {
		put_text(buf + 8, VENDOR_ID, 8);
		put_text(buf + 16, PRODUCT_ID, 16);
		put_text(buf + 32, PRODUCT_REV, 4);
	}
	if (len == 0 || (!(c->cdb[1] & 1) && c->cdb[2]))
		atapi_bad_field(c);
	else
		atapi_reply(c, buf, len, get_be16(c->cdb + 3));
}

/* --- mode pages (7) --- */

#define PAGE_RECOVERY 0x01
#define PAGE_CAPABILITIES 0x2a
#define PAGE_ALL 0x3f
#define CONTROL_CHANGEABLE 1
#define CONTROL_SAVED 3

static u32 page_recovery(u8 *p, bool values)
{
	p[0] = PAGE_RECOVERY;
	p[1] = 10;
	if (values)
		p[3] = 5; /* retries */
	return 12;
}

static u32 page_capabilities(const struct atapi *d, u8 *p, bool values)
{
	p[0] = PAGE_CAPABILITIES;
	p[1] = 24;
	if (!values)
		return 26;
	p[2] = 0x0f;                                /* reads CD-R, CD-RW, method 2, DVD-ROM */
	p[4] = 0x70;                                /* mode 2 forms 1 and 2, several sessions */
	p[6] = (u8)(0x29 | (d->locked ? 0x02 : 0)); /* can lock and eject, has a tray */
	put_be16(p + 8, SPEED_KB);
	put_be16(p + 12, BUFFER_KB);
	put_be16(p + 14, SPEED_KB);
	return 26;
}

static u8 medium_type(const struct atapi *d)
{
	return d->open ? 0x71 : d->sectors ? 0x01 : 0x70; /* SFF-8020: door open, data disc, no disc */
}

void atapi_mode_sense(struct ahci_cmd *c)
{
	const struct atapi *d = &c->port->cd;
	bool ten = c->cdb[0] == 0x5a;
	u8 page = c->cdb[2] & 0x3f, control = c->cdb[2] >> 6;
	u32 header = ten ? 8 : 4, len = header;
	u8 buf[64] = {0};

	if (control == CONTROL_SAVED) {
		atapi_fail(c, 5, 0x39, 0); /* saving is not supported */
		return;
	}
	if (page == PAGE_RECOVERY || page == PAGE_ALL)
		len += page_recovery(buf + len, control != CONTROL_CHANGEABLE);
	if (page == PAGE_CAPABILITIES || page == PAGE_ALL)
		len += page_capabilities(d, buf + len, control != CONTROL_CHANGEABLE);
	if (len == header) {
		atapi_bad_field(c);
		return;
	}
	if (ten)
		put_be16(buf, len - 2);
	else
		buf[0] = (u8)(len - 1);
	buf[ten ? 2 : 1] = medium_type(d);
	atapi_reply(c, buf, len, ten ? get_be16(c->cdb + 7) : c->cdb[4]);
}

/* Nothing can be changed: pages that exist with the values they have, or any of recovery, are taken. */
void atapi_mode_select(struct ahci_cmd *c)
{
	bool ten = c->cdb[0] == 0x55;
	u32 len = ten ? get_be16(c->cdb + 7) : c->cdb[4], header = ten ? 8 : 4;
	u8 buf[64] = {0};

	if (len == 0) {
		atapi_done(c);
		return;
	}
	if (len < header + 2 || len > sizeof(buf)) {
		atapi_fail(c, 5, 0x1a, 0); /* parameter list length error */
		return;
	}
	if (!ahci_map(c, len, true))
		return;
	iov_to_buf(buf, c->iov, c->niov, 0, len);
	c->done = len;
	header += ten ? get_be16(buf + 6) : buf[3]; /* block descriptors */
	if (header + 2 > len || (buf[header] & 0x3f) != PAGE_RECOVERY)
		atapi_fail(c, 5, 0x26, 0); /* invalid field in parameter list */
	else
		atapi_done(c);
}

/* --- GET CONFIGURATION (6.5) --- */

#define RT_CURRENT 1u
#define RT_ONE 2u

static u16 current_profile(const struct atapi *d)
{
	return !atapi_has_disc(d)            ? PROFILE_NONE
	       : d->sectors > CD_SECTORS_MAX ? PROFILE_DVD_ROM
	                                     : PROFILE_CD_ROM;
}

struct features {
	u8 buf[160];
	u32 len;
	u16 from;
	u8 rt;
};

/* version in bits 5:2, persistent, current (5.2.2) */
static void feature(
        struct features *f, u16 code, u8 version, bool persistent, bool current, const void *data, u8 len)
{
	u8 *p = f->buf + f->len;

	if (f->rt == RT_ONE ? code != f->from : code < f->from)
		return;
	if (f->rt == RT_CURRENT && !current)
		return;
	put_be16(p, code);
	p[2] = (u8)(version << 2 | (persistent ? 2 : 0) | (current ? 1 : 0));
	p[3] = len;
	if (len)
		memcpy(p + 4, data, len);
	f->len += 4u + len;
}

static void add_features(struct features *f, const struct ahci_port *p)
{
	u16 profile = current_profile(&p->cd);
	bool disc = profile != PROFILE_NONE, cd = profile == PROFILE_CD_ROM;
	const u8 profiles[8] = {0, PROFILE_DVD_ROM, disc && !cd, 0, 0, PROFILE_CD_ROM, cd, 0};
	u8 serial[AHCI_SERIAL];

	memset(serial, ' ', sizeof(serial));
	memcpy(serial, p->serial, strnlen(p->serial, AHCI_SERIAL));
	feature(f, 0x0000, 0, true, true, profiles, sizeof(profiles));
	feature(f, 0x0001, 2, true, true, (const u8[8]){0, 0, 0, 7, 1}, 8); /* core: Serial ATAPI, DBE */
	feature(f, 0x0002, 1, true, true, (const u8[4]){2}, 4);    /* morphing: operational changes */
	feature(f, 0x0003, 0, true, true, (const u8[4]){0x29}, 4); /* removable: tray, eject, lock */
	feature(f, 0x0010, 0, false, disc, (const u8[8]){0, 0, 8, 0, 0, 1}, 8); /* 2048 bytes are readable */
	feature(f, 0x001d, 0, false, cd, NULL, 0);                              /* multi-read */
	feature(f, 0x001e, 2, false, cd, (const u8[4]){0}, 4);                  /* reads CDs */
	feature(f, 0x001f, 0, false, disc && !cd, NULL, 0);                     /* reads DVDs */
	feature(f, 0x0100, 0, true, true, NULL, 0);                             /* power management */
	feature(f, 0x0105, 0, true, true, NULL, 0);                             /* timeouts */
	feature(f, 0x0108, 0, true, true, serial, sizeof(serial));              /* serial number */
}

void atapi_get_configuration(struct ahci_cmd *c)
{
	struct features f = {.len = 8, .from = (u16)get_be16(c->cdb + 2), .rt = c->cdb[1] & 3};

	if (f.rt == 3) {
		atapi_bad_field(c);
		return;
	}
	add_features(&f, c->port);
	put_be32(f.buf, f.len - 4);
	put_be16(f.buf + 6, current_profile(&c->port->cd));
	atapi_reply(c, f.buf, f.len, get_be16(c->cdb + 7));
}

/* --- GET EVENT STATUS NOTIFICATION (6.6) --- */

#define POLLED 1u
#define CLASS_MEDIA 4u
#define NO_EVENTS 0x80u

void atapi_event_status(struct ahci_cmd *c)
{
	struct atapi *d = &c->port->cd;
	u8 buf[8] = {0, 0, NO_EVENTS, BIT(CLASS_MEDIA)};
	u32 len = 4, allowed = get_be16(c->cdb + 7);

	if (!(c->cdb[1] & POLLED)) { /* asynchronous operation is not supported */
		atapi_bad_field(c);
		return;
	}
	if (c->cdb[4] & BIT(CLASS_MEDIA)) {
		buf[2] = CLASS_MEDIA;
		buf[4] = d->event;
		buf[5] = (u8)((d->open ? 1 : 0) | (atapi_has_disc(d) ? 2 : 0));
		len = 8;
		if (allowed > 4)
			d->event = 0;
	}
	put_be16(buf, len - 2);
	atapi_reply(c, buf, len, allowed);
}

/* MECHANISM STATUS (6.10): one disc, no changer */
void atapi_mechanism_status(struct ahci_cmd *c)
{
	u8 buf[8] = {0, c->port->cd.open ? 0x10 : 0, [5] = 0};

	atapi_reply(c, buf, sizeof(buf), get_be16(c->cdb + 8));
}
