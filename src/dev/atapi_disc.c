/*
 * What a CD-ROM drive says about the disc: capacity, table of contents, disc and track information. Every
 * disc is one session of one data track; a DVD has one layer. Section numbers are those of MMC-6.
 */
#include "dev/ahci_int.h"

#define TRACK_DATA 0x14 /* ADR 1, data track, copy prohibited */
#define LEAD_OUT 0xaa
#define MSF_PREGAP 150u /* blocks before LBA 0: two seconds */
#define MSF_BIT 0x02

/* Minute, second, frame; an address beyond 99:59:74 stays there. */
static void put_msf(u8 *p, u32 lba)
{
	u32 f = (u32)MIN((u64)lba + MSF_PREGAP, 100ull * 60 * 75 - 1);

	p[0] = (u8)(f / (60 * 75));
	p[1] = (u8)(f / 75 % 60);
	p[2] = (u8)(f % 75);
}

static void put_address(u8 *p, u32 lba, bool msf)
{
	if (!msf) {
		put_be32(p, lba);
		return;
	}
	p[0] = 0;
	put_msf(p + 1, lba);
}

static u32 sectors(const struct ahci_cmd *c)
{
	return (u32)c->port->cd.sectors;
}

void atapi_read_capacity(struct ahci_cmd *c)
{
	u8 buf[8];

	put_be32(buf, sectors(c) - 1);
	put_be32(buf + 4, CD_SECTOR);
	atapi_reply(c, buf, sizeof(buf), sizeof(buf));
}

/* --- READ TOC/PMA/ATIP (6.25) --- */

static u32 toc_track(u8 *p, u8 track, u32 lba, bool msf)
{
	p[1] = TRACK_DATA;
	p[2] = track;
	put_address(p + 4, lba, msf);
	return 8;
}

/* Format 0: tracks from the one named, and the lead-out. 0: there is no such track. */
static u32 toc_tracks(const struct ahci_cmd *c, u8 *buf, bool msf)
{
	u8 from = c->cdb[6];
	u32 len = 4;

	if (from > 1 && from != LEAD_OUT)
		return 0;
	buf[2] = buf[3] = 1;
	if (from <= 1)
		len += toc_track(buf + len, 1, 0, msf);
	return len + toc_track(buf + len, LEAD_OUT, sectors(c), msf);
}

/* Format 1: the first track of the last session. */
static u32 toc_sessions(u8 *buf, bool msf)
{
	buf[2] = buf[3] = 1;
	return 4 + toc_track(buf + 4, 1, 0, msf);
}

/* Format 2: descriptors as in the lead-in; times are always MSF. */
static u32 toc_full(const struct ahci_cmd *c, u8 *buf)
{
	static const u8 points[] = {0xa0, 0xa1, 0xa2, 1};
	u32 len = 4;

	buf[2] = buf[3] = 1;
	for (unsigned n = 0; n < ARRAY_SIZE(points); n++, len += 11) {
		u8 *p = buf + len;

		p[0] = 1;
		p[1] = TRACK_DATA;
		p[3] = points[n];
		if (points[n] == 0xa0 || points[n] == 0xa1)
			p[8] = 1; /* first, last track */
		else
			put_msf(p + 8, points[n] == 1 ? 0 : sectors(c));
	}
	return len;
}

void atapi_read_toc(struct ahci_cmd *c)
{
	u8 buf[64] = {0}, format = c->cdb[2] & 0xf;
	bool msf = c->cdb[1] & MSF_BIT;
	u32 len = 0;

	if (format == 0)
		format = c->cdb[9] >> 6; /* where SFF-8020 has it, which Linux follows */
	switch (format) {
	case 0: len = toc_tracks(c, buf, msf); break;
	case 1: len = toc_sessions(buf, msf); break;
	case 2: len = toc_full(c, buf); break;
	default: break;
	}
	if (len == 0) {
		atapi_bad_field(c);
		return;
	}
	put_be16(buf, len - 2);
	atapi_reply(c, buf, len, get_be16(c->cdb + 7));
}

/* READ DISC INFORMATION (6.21): complete, the last session is, too; nothing can be added */
void atapi_read_disc_information(struct ahci_cmd *c)
{
	u8 buf[34] = {[2] = 0x0e, [3] = 1, [4] = 1, [5] = 1, [6] = 1, [7] = 0x20};

	if (c->cdb[1] & 7) { /* of tracks and resources: for drives that write */
		atapi_bad_field(c);
		return;
	}
	put_be16(buf, sizeof(buf) - 2);
	memset(buf + 16, 0xff, 8); /* last session's lead-in, last possible lead-out: none */
	atapi_reply(c, buf, sizeof(buf), get_be16(c->cdb + 7));
}

/* READ TRACK INFORMATION (6.26) by address, track or session */
static bool names_track(const struct ahci_cmd *c)
{
	u32 n = get_be32(c->cdb + 2);

	switch (c->cdb[1] & 3) {
	case 0: return n < sectors(c);
	case 1:
	case 2: return n == 1;
	default: return false;
	}
}

void atapi_read_track_information(struct ahci_cmd *c)
{
	u8 buf[36] = {[2] = 1, [3] = 1, [5] = 0x04, [6] = 0x01};

	if (!names_track(c)) {
		atapi_bad_field(c);
		return;
	}
	put_be16(buf, sizeof(buf) - 2);
	put_be32(buf + 24, sectors(c));
	put_be32(buf + 28, sectors(c) - 1);
	buf[7] = 0x02; /* the last recorded address is valid */
	atapi_reply(c, buf, sizeof(buf), get_be16(c->cdb + 7));
}

/* --- READ DISC STRUCTURE (6.22) of DVDs --- */

#define STRUCTURE_PHYSICAL 0x00
#define STRUCTURE_COPYRIGHT 0x01
#define STRUCTURE_MANUFACTURING 0x04
#define STRUCTURE_LIST 0xff
#define STRUCTURE_READABLE 0x40
#define DVD_FIRST 0x30000u /* physical number of the first sector */
#define DVD_LAST 0xffffffu

/* A DVD-ROM of 120 mm, one embossed layer, its extent. */
static u32 dvd_physical(const struct ahci_cmd *c, u8 *p)
{
	p[0] = 0x01;
	p[1] = 0x0f; /* no minimum rate */
	p[2] = 0x01;
	put_be32(p + 4, DVD_FIRST);
	put_be32(p + 8, (u32)MIN((u64)DVD_FIRST + sectors(c) - 1, DVD_LAST));
	return 2048;
}

static u32 dvd_list(u8 *p)
{
	static const struct {
		u8 format;
		u16 len;
	} all[] = {{STRUCTURE_PHYSICAL, 2052}, {STRUCTURE_COPYRIGHT, 8}, {STRUCTURE_MANUFACTURING, 2052}};

	for (unsigned n = 0; n < ARRAY_SIZE(all); n++, p += 4) {
		p[0] = all[n].format;
		p[1] = STRUCTURE_READABLE;
		put_be16(p + 2, all[n].len);
	}
	return 4 * ARRAY_SIZE(all);
}

void atapi_read_dvd_structure(struct ahci_cmd *c)
{
	u8 buf[4 + 2048] = {0};
	u32 len;

	if (sectors(c) <= CD_SECTORS_MAX) {
		atapi_fail(c, 5, 0x30, 0x02); /* incompatible format */
		return;
	}
	switch (c->cdb[7]) {
	case STRUCTURE_PHYSICAL: len = dvd_physical(c, buf + 4); break;
	case STRUCTURE_COPYRIGHT: len = 4; break; /* no protection, all regions */
	case STRUCTURE_MANUFACTURING: len = 2048; break;
	case STRUCTURE_LIST: len = dvd_list(buf + 4); break;
	default: len = 0; break;
	}
	if (len == 0 || c->cdb[6] || c->cdb[1] & 0xf) { /* no other layer, no other kind of disc */
		atapi_bad_field(c);
		return;
	}
	put_be16(buf, len + 2);
	atapi_reply(c, buf, len + 4, get_be16(c->cdb + 8));
}
