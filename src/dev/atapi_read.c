/*
 * Reading discs: READ(10), READ(12), READ CD and READ CD MSF. Section numbers are those of MMC-6.
 *
 * User data go from the block layer to the guest's buffers without a copy. Sectors with more than that (sync
 * pattern, header, error correction) are made here, some at a time: a file of 2048 byte sectors determines
 * all of a mode 1 sector.
 */
#include "dev/ahci_int.h"

#include <errno.h>
#include <stdlib.h>

#define RAW_SECTOR 2352u
#define BLOCKS_MAX 65536u /* of one command */
#define CHUNK 16u         /* sectors that are read for one round of raw output */
#define FRAMES_PER_SECOND 75u
#define MSF_PREGAP 150u

/* READ CD, byte 9 (6.19.2.6) */
#define WANT_SYNC 0x80
#define WANT_HEADER 0x20
#define WANT_DATA 0x10
#define WANT_EDC 0x08
#define WANT_C2 0x06

/* Mode 1 sector (ECMA-130, 14) */
#define AT_HEADER 12u
#define AT_DATA 16u
#define AT_EDC 2064u
#define AT_P 2076u
#define AT_Q 2248u
#define P_VECTORS 86u
#define Q_VECTORS 52u

static void bad_address(struct ahci_cmd *c)
{
	atapi_fail(c, 5, 0x21, 0x00);
}

static void read_failed(struct ahci_cmd *c)
{
	atapi_fail(c, 3, 0x11, 0x00); /* unrecovered read error */
}

static bool inside(const struct ahci_cmd *c, u32 lba, u32 count)
{
	u64 sectors = c->port->cd.sectors;

	return lba <= sectors && count <= sectors - lba;
}

/* --- user data --- */

static void read_done(struct ahci_cmd *c, int rc)
{
	if (rc < 0)
		read_failed(c);
	else
		atapi_done(c);
}

static void read_data(struct ahci_cmd *c, u32 lba, u32 count)
{
	u64 len = (u64)count * CD_SECTOR;

	if (!ahci_map(c, len, true))
		return;
	c->to_guest = true;
	c->done = len;
	ahci_submit(c, BLOCK_READ, (u64)lba * CD_SECTOR, len, read_done);
}

/* A length of 0 is no error and reads nothing (6.15, 6.16). */
void atapi_read(struct ahci_cmd *c)
{
	u32 lba = get_be32(c->cdb + 2);
	u32 count = c->cdb[0] == 0x28 ? get_be16(c->cdb + 7) : get_be32(c->cdb + 6);

	if (count > BLOCKS_MAX)
		atapi_bad_field(c);
	else if (!inside(c, lba, count))
		bad_address(c);
	else if (count == 0)
		atapi_done(c);
	else
		read_data(c, lba, count);
}

/* --- whole sectors (ECMA-130) --- */

static u8 bcd(u32 v)
{
	return (u8)(v / 10 << 4 | v % 10);
}

/* Annex A: reflected x^32 + x^31 + x^16 + x^15 + x^4 + x^3 + x + 1 */
static u32 edc(const u8 *p, u32 len)
{
	u32 crc = 0;

	for (u32 n = 0; n < len; n++) {
		crc ^= p[n];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xd8018001u : 0);
	}
	return crc;
}

/* In GF(2^8) of x^8 + x^4 + x^3 + x^2 + 1: times a, the root. */
static u8 gf_double(u8 v)
{
	return (u8)(v << 1 ^ (v & 0x80 ? 0x1d : 0));
}

/* v / (a + 1): times 0xf4, whose product with 3 is 1 */
static u8 gf_third(u8 v)
{
	u8 sum = 0;

	for (unsigned bits = 0xf4; bits; bits >>= 1, v = gf_double(v))
		if (bits & 1)
			sum ^= v;
	return sum;
}

/*
 * The two check bytes of a vector (Annex A.6): all of its bytes add up to 0, and so they do when each is
 * multiplied with a to the power of its distance from the end.
 */
static void check_bytes(const u8 *area, u32 area_len, u32 at, u32 step, u32 len, u8 *p0, u8 *p1)
{
	u8 sum = 0, weighted = 0;

	for (u32 n = 0; n < len; n++, at = (at + step) % area_len) {
		sum ^= area[at];
		weighted = gf_double(weighted) ^ area[at];
	}
	weighted = gf_double(gf_double(weighted)); /* two more bytes follow */
	*p0 = gf_third(sum ^ weighted);
	*p1 = sum ^ *p0;
}

/* Columns, then diagonals that include what the columns got. */
static void add_parity(u8 *s)
{
	const u8 *area = s + AT_HEADER;

	for (u32 v = 0; v < P_VECTORS; v++)
		check_bytes(area, AT_P - AT_HEADER, v, P_VECTORS, 24, &s[AT_P + v], &s[AT_P + P_VECTORS + v]);
	for (u32 v = 0; v < Q_VECTORS; v++)
		check_bytes(area, AT_Q - AT_HEADER, v / 2 * P_VECTORS + v % 2, P_VECTORS + 2, 43,
		        &s[AT_Q + v], &s[AT_Q + Q_VECTORS + v]);
}

static void make_sector(u8 *s, u32 lba, const u8 *data)
{
	u32 frame = lba + MSF_PREGAP;

	memset(s, 0, RAW_SECTOR);
	memset(s + 1, 0xff, 10);
	s[AT_HEADER] = bcd(frame / FRAMES_PER_SECOND / 60 % 100);
	s[AT_HEADER + 1] = bcd(frame / FRAMES_PER_SECOND % 60);
	s[AT_HEADER + 2] = bcd(frame % FRAMES_PER_SECOND);
	s[AT_HEADER + 3] = 1; /* mode */
	memcpy(s + AT_DATA, data, CD_SECTOR);
	put_le32(s + AT_EDC, edc(s, AT_EDC));
	add_parity(s);
}

/* The parts that were asked for, which lie one after the other. */
static u32 sector_part(u8 format, u32 *at)
{
	u32 from = RAW_SECTOR, to = 0;
	static const struct {
		u8 flag;
		u16 from, to;
	} parts[] = {{WANT_SYNC, 0, AT_HEADER}, {WANT_HEADER, AT_HEADER, AT_DATA},
	        {WANT_DATA, AT_DATA, AT_EDC}, {WANT_EDC, AT_EDC, RAW_SECTOR}};

	for (unsigned n = 0; n < ARRAY_SIZE(parts); n++) {
		if (format & parts[n].flag) {
			from = MIN(from, (u32)parts[n].from);
			to = parts[n].to;
		}
	}
	*at = from;
	return to > from ? to - from : 0;
}

/* --- READ CD (6.19, 6.20) --- */

static void next_chunk(struct ahci_cmd *c);

static void chunk_done(struct ahci_cmd *c, int rc)
{
	u32 at, len = sector_part(c->format, &at);
	u32 n = MIN(c->left, CHUNK);
	u8 sector[RAW_SECTOR];

	if (rc < 0) {
		read_failed(c);
		return;
	}
	for (u32 i = 0; i < n; i++, c->at++, c->left--) {
		make_sector(sector, c->at, c->bounce + i * CD_SECTOR);
		ahci_give(c, sector + at, len);
	}
	if (c->left)
		next_chunk(c);
	else
		atapi_done(c);
}

static void next_chunk(struct ahci_cmd *c)
{
	u64 len = (u64)MIN(c->left, CHUNK) * CD_SECTOR;

	c->bounce_iov = (struct iovec){.iov_base = c->bounce, .iov_len = len};
	ahci_submit(c, BLOCK_READ, (u64)c->at * CD_SECTOR, len, chunk_done);
}

static void read_raw(struct ahci_cmd *c, u32 lba, u32 count)
{
	u32 at, len = sector_part(c->format, &at);

	if (!ahci_map(c, (u64)count * len, true))
		return;
	c->bounce = malloc(CHUNK * CD_SECTOR);
	if (!c->bounce) {
		read_failed(c);
		return;
	}
	c->to_guest = true;
	c->at = lba;
	c->left = count;
	next_chunk(c);
}

static bool msf_to_lba(const u8 *msf, u32 *lba)
{
	u32 frame = (msf[0] * 60u + msf[1]) * FRAMES_PER_SECOND + msf[2];

	if (msf[1] > 59 || msf[2] > 74 || frame < MSF_PREGAP)
		return false;
	*lba = frame - MSF_PREGAP;
	return true;
}

static bool cd_range(const struct ahci_cmd *c, u32 *lba, u32 *count)
{
	u32 end;

	if (c->cdb[0] == 0xbe) {
		*lba = get_be32(c->cdb + 2);
		*count = get_be24(c->cdb + 6);
		return true;
	}
	if (!msf_to_lba(c->cdb + 3, lba) || !msf_to_lba(c->cdb + 6, &end) || end < *lba)
		return false;
	*count = end - *lba;
	return true;
}

/*
 * Mode 1 or any kind of sector. Parts must lie one after the other; there are no subheaders, and no C2
 * errors and subchannels to report.
 */
static bool good_format(const struct ahci_cmd *c)
{
	u8 type = c->cdb[1] >> 2 & 7, f = c->cdb[9];

	if ((type != 0 && type != 2) || f & WANT_C2 || c->cdb[10] & 7)
		return false;
	switch (f & (WANT_SYNC | WANT_HEADER | WANT_DATA | WANT_EDC)) {
	case WANT_SYNC | WANT_DATA:
	case WANT_SYNC | WANT_EDC:
	case WANT_SYNC | WANT_DATA | WANT_EDC:
	case WANT_SYNC | WANT_HEADER | WANT_EDC:
	case WANT_HEADER | WANT_EDC: return false;
	default: return true;
	}
}

void atapi_read_cd(struct ahci_cmd *c)
{
	u32 lba, count, at, len;

	c->format = c->cdb[9];
	len = sector_part(c->format, &at);
	if (!good_format(c) || !cd_range(c, &lba, &count) || count > BLOCKS_MAX)
		atapi_bad_field(c);
	else if (!inside(c, lba, count))
		bad_address(c);
	else if (count == 0 || len == 0)
		atapi_done(c);
	else if (len == CD_SECTOR)
		read_data(c, lba, count);
	else
		read_raw(c, lba, count);
}
