/*
 * CD drives on the SATA controller: packets, sense data, reading in every form, and discs that come and go
 * while the machine runs.
 */
#include "ahci_rig.h"

#define DONE 0x40
#define NOT_READY 0x2441
#define MEDIUM_ERROR 0x3441
#define ILLEGAL 0x5441
#define ATTENTION 0x6441
#define ABORTED 0xb441
#define DISC_SECTORS (SECTORS / 4)

static struct want packet(const u8 cdb[static 12], u32 len)
{
	struct want w = {.command = 0xa0, .features = 1, .len = len};

	memcpy(w.cdb, cdb, 12);
	return w;
}

#define CDB(...) ((const u8[12]){__VA_ARGS__})

static u16 send(struct sata *s, const u8 cdb[static 12], u32 len)
{
	struct want w = packet(cdb, len);

	memset(at(s, BUF), CANARY, 0x20000);
	return run_and_recover(s, 0, &w);
}

/* Key, code and qualifier of the last command. */
static u32 sense(struct sata *s)
{
	assert_int_equal(send(s, CDB(0x03, 0, 0, 0, 18), 18), DONE);
	assert_int_equal(at(s, BUF)[0], 0x70);
	assert_int_equal(at(s, BUF)[7], 10);
	return (u32)at(s, BUF)[2] << 16 | (u32)at(s, BUF)[12] << 8 | at(s, BUF)[13];
}

static u16 ready(struct sata *s)
{
	return send(s, CDB(0), 0);
}

static void settle(struct sata *s)
{
	for (unsigned n = 0; n < 4 && (ready(s) & 0xf001) == 0x6001; n++)
		;
}

static struct sata *cd_up(bool empty)
{
	struct sata *s = sata_make(&(struct sata_opts){.cd = {true}, .empty = {empty}, .ro = true});

	port_up(s, 0);
	settle(s);
	return s;
}

/* The event of the last question, and the state of the tray. */
static u16 event(struct sata *s)
{
	assert_int_equal(send(s, CDB(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 8), DONE);
	assert_int_equal(prdbc(s, 0, 0), 8);
	assert_memory_equal(at(s, BUF), "\0\6\4\20", 4);
	return (u16)(at(s, BUF)[4] << 8 | at(s, BUF)[5]);
}

/* --- what the drive says --- */

static void identity(void **state)
{
	struct sata *s = sata_make(&(struct sata_opts){.cd = {true}});
	u8 sum = 0;

	port_up(s, 0);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xa1, .len = 512}), DONE);
	for (unsigned n = 0; n < 512; n++)
		sum = (u8)(sum + at(s, BUF)[n]);
	assert_int_equal(sum, 0);
	assert_int_equal(get_le16(at(s, BUF)), 0x85c0);
	assert_int_equal(run_and_recover(s, 0, &(struct want){.command = 0xec, .len = 512}), 0x441);
	assert_memory_equal(at(s, FIS_AT(0) + 0x44), "\1\x14\xeb", 3); /* what it is instead */
	assert_int_equal(send(s, CDB(0x12, 0, 0, 0, 96), 96), DONE);
	assert_int_equal(prdbc(s, 0, 0), 36);
	assert_memory_equal(at(s, BUF), "\5\x80\5\2\x1f\0\0\0XHYVE   SATA DVD-ROM    1.0 ", 36);
	assert_filled(s, BUF + 36, 60, CANARY);
	assert_int_equal(send(s, CDB(0x12, 1, 0x80, 0, 96), 96), DONE);
	assert_memory_equal(at(s, BUF), "\5\x80\0\4CD-1", 8);
	assert_int_equal(send(s, CDB(0x12, 1, 0, 0, 96), 96), DONE);
	assert_memory_equal(at(s, BUF), "\5\0\0\3\0\x80\x83", 7);
	assert_int_equal(send(s, CDB(0x12, 1, 0x83, 0, 96), 96), DONE);
	assert_memory_equal(at(s, BUF), "\5\x83\0\x20\2\1\0\x1cXHYVE   SATA DVD-ROM    CD-1", 36);
	assert_int_equal(send(s, CDB(0x12, 1, 0x55, 0, 96), 96), ILLEGAL);
	assert_int_equal(send(s, CDB(0x12, 0, 0x80, 0, 96), 96), ILLEGAL);
	assert_int_equal(sense(s), 0x052400);
	assert_int_equal(ready(s), ATTENTION); /* power on, which INQUIRY did not take */
	assert_int_equal(sense(s), 0x062900);
	assert_int_equal(ready(s), DONE);
	assert_int_equal(sense(s), 0);
	sata_free(s);
}

static void modes(void **state)
{
	struct sata *s = cd_up(false);

	assert_int_equal(send(s, CDB(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128), 128), DONE);
	assert_int_equal(prdbc(s, 0, 0), 34);
	assert_memory_equal(at(s, BUF), "\0\x20\1\0\0\0\0\0\x2a\x18\x0f\0", 12);
	assert_int_equal(at(s, BUF)[8 + 6], 0x29);
	assert_int_equal(send(s, CDB(0x1a, 0, 0x3f, 0, 128), 128), DONE);
	assert_int_equal(prdbc(s, 0, 0), 4 + 12 + 26);
	assert_int_equal(at(s, BUF)[0], 41);
	assert_int_equal(send(s, CDB(0x5a, 0, 0x6a, 0, 0, 0, 0, 0, 128), 128), DONE); /* nothing to change */
	assert_filled(s, BUF + 10, 24, 0);
	assert_int_equal(send(s, CDB(0x5a, 0, 0xea, 0, 0, 0, 0, 0, 128), 128), ILLEGAL);
	assert_int_equal(sense(s), 0x053900);
	assert_int_equal(send(s, CDB(0x5a, 0, 0x08, 0, 0, 0, 0, 0, 128), 128), ILLEGAL);
	assert_int_equal(send(s, CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, 20), 20), ILLEGAL); /* the canary's page */
	assert_int_equal(sense(s), 0x052600);
	assert_int_equal(send(s, CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff), 512), ILLEGAL);
	assert_int_equal(sense(s), 0x051a00);
	sata_free(s);
}

static void mode_select(struct sata *s, u8 page, u8 len, u16 answer)
{
	struct want w = packet(CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, len), len);

	memset(at(s, BUF), 0, 64);
	at(s, BUF)[8] = page;
	at(s, BUF)[9] = 10;
	assert_int_equal(run_and_recover(s, 0, &w), answer);
}

static void select_pages(void **state)
{
	struct sata *s = cd_up(false);

	mode_select(s, 1, 20, DONE);
	mode_select(s, 0x2a, 20, ILLEGAL);
	mode_select(s, 1, 9, ILLEGAL);
	mode_select(s, 1, 0, DONE);
	sata_free(s);
}

static void features(void **state)
{
	for (unsigned empty = 0; empty < 2; empty++) {
		struct sata *s = cd_up(empty);
		u32 len;

		assert_int_equal(send(s, CDB(0x46, 0, 0, 0, 0, 0, 0, 2, 0), 512), DONE);
		len = prdbc(s, 0, 0);
		assert_int_equal(at(s, BUF)[3], len - 4);
		assert_int_equal(at(s, BUF)[7], empty ? 0 : 8); /* profile: CD-ROM */
		assert_int_equal(send(s, CDB(0x46, 2, 0, 0x1e, 0, 0, 0, 2, 0), 512), DONE);
		assert_int_equal(prdbc(s, 0, 0), 16);
		assert_int_equal(at(s, BUF)[10] & 1, !empty);
		assert_int_equal(send(s, CDB(0x46, 2, 0, 1, 0, 0, 0, 2, 0), 512), DONE);
		assert_memory_equal(at(s, BUF) + 12, "\0\0\0\7", 4); /* Serial ATAPI */
		assert_int_equal(send(s, CDB(0x46, 1, 0, 0, 0, 0, 0, 2, 0), 512), DONE);
		assert_true(empty ? prdbc(s, 0, 0) < len : prdbc(s, 0, 0) <= len);
		assert_int_equal(send(s, CDB(0x46, 3, 0, 0, 0, 0, 0, 2, 0), 512), ILLEGAL);
		sata_free(s);
	}
}

static void contents(void **state)
{
	struct sata *s = cd_up(false);

	assert_int_equal(send(s, CDB(0x25), 8), DONE);
	assert_memory_equal(at(s, BUF), "\0\0\0\xf\0\0\x8\0", 8);
	assert_int_equal(send(s, CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 64), 64), DONE);
	assert_int_equal(prdbc(s, 0, 0), 20);
	assert_memory_equal(at(s, BUF), "\0\x12\1\1\0\x14\1\0\0\0\0\0\0\x14\xaa\0\0\0\0\x10", 20);
	assert_int_equal(send(s, CDB(0x43, 2, 0, 0, 0, 0, 0xaa, 0, 64), 64), DONE);
	assert_memory_equal(at(s, BUF), "\0\x0a\1\1\0\x14\xaa\0\0\0\2\x10", 12);
	assert_int_equal(send(s, CDB(0x43, 0, 0, 0, 0, 0, 2, 0, 64), 64), ILLEGAL);
	assert_int_equal(send(s, CDB(0x43, 0, 1, 0, 0, 0, 0, 0, 64), 64), DONE); /* sessions */
	assert_memory_equal(at(s, BUF), "\0\x0a\1\1\0\x14\1\0\0\0\0\0", 12);
	assert_int_equal(send(s, CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0x40), 64), DONE); /* as Linux asks */
	assert_memory_equal(at(s, BUF), "\0\x0a\1\1\0\x14\1\0\0\0\0\0", 12);
	assert_int_equal(send(s, CDB(0x43, 2, 2, 0, 0, 0, 1, 0, 64), 64), DONE); /* lead-in */
	assert_int_equal(prdbc(s, 0, 0), 48);
	assert_memory_equal(at(s, BUF), "\0\x2e\1\1\1\x14\0\xa0\0\0\0\0\1\0\0\1\x14\0\xa1\0\0\0\0\1\0\0", 26);
	assert_memory_equal(at(s, BUF + 26), "\1\x14\0\xa2\0\0\0\0\0\2\x10\1\x14\0\1\0\0\0\0\0\2\0", 22);
	assert_int_equal(send(s, CDB(0x43, 0, 5, 0, 0, 0, 0, 0, 64), 64), ILLEGAL);
	assert_int_equal(send(s, CDB(0x51, 0, 0, 0, 0, 0, 0, 0, 64), 64), DONE);
	assert_int_equal(prdbc(s, 0, 0), 34);
	assert_memory_equal(at(s, BUF), "\0\x20\x0e\1\1\1\1", 7);
	assert_int_equal(send(s, CDB(0x52, 1, 0, 0, 0, 1, 0, 0, 64), 64), DONE);
	assert_int_equal(prdbc(s, 0, 0), 36);
	assert_memory_equal(at(s, BUF) + 24, "\0\0\0\x10\0\0\0\xf", 8);
	assert_int_equal(send(s, CDB(0x52, 1, 0, 0, 0, 2, 0, 0, 64), 64), ILLEGAL);
	assert_int_equal(send(s, CDB(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8), 8), DONE);
	assert_int_equal(send(s, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16), 16), DONE);
	assert_memory_equal(at(s, BUF), "\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	sata_free(s);
}

/* A disc too large for a CD; only its first sectors are looked at. */
static void dvd(void **state)
{
	struct sata *s = cd_up(false);
	struct block *big = &s->disk[SATA_PORTS].b, *old;

	assert_int_equal(send(s, CDB(0xad, 0, 0, 0, 0, 0, 0, 0, 0, 64), 64), ILLEGAL); /* of a CD */
	assert_int_equal(sense(s), 0x053002);
	big->size = 450001ull * 2048;
	assert_int_equal(ahci_insert(s->h, 0, big, &old), 0);
	settle(s);
	assert_int_equal(send(s, CDB(0x46, 0, 0, 0, 0, 0, 0, 2, 0), 512), DONE);
	assert_int_equal(at(s, BUF)[7], 0x10);
	assert_int_equal(send(s, CDB(0xad, 0, 0, 0, 0, 0, 0, 0, 0x10, 0), 4096), DONE);
	assert_int_equal(prdbc(s, 0, 0), 2052);
	assert_memory_equal(at(s, BUF), "\10\2\0\0\1\x0f\1\0\0\3\0\0\0\x9\xdd\xd0", 16);
	assert_int_equal(send(s, CDB(0xad, 0, 0, 0, 0, 0, 0, 1, 0, 64), 64), DONE);
	assert_int_equal(prdbc(s, 0, 0), 8);
	assert_int_equal(send(s, CDB(0xad, 0, 0, 0, 0, 0, 0, 0xff, 0, 64), 64), DONE);
	assert_int_equal(prdbc(s, 0, 0), 16);
	assert_int_equal(send(s, CDB(0xad, 0, 0, 0, 0, 0, 1, 0, 0, 64), 64), ILLEGAL); /* second layer */
	assert_int_equal(send(s, CDB(0xad, 0, 0, 0, 0, 0, 0, 9, 0, 64), 64), ILLEGAL);
	sata_free(s);
}

/* CVE-2015-5154, CVE-2020-29443: every allocation length of every command, buffers shorter and longer. */
static void one_length(struct sata *s, const u8 with[static 12], unsigned at, unsigned size, u32 len)
{
	u8 cdb[12];

	if (size == 1 && len > 255)
		return;
	memcpy(cdb, with, sizeof(cdb));
	cdb[at + size - 1] = (u8)len;
	if (size > 1)
		cdb[at + size - 2] = (u8)(len >> 8);
	for (u32 room = 2; room <= 66; room += 64) {
		assert_int_equal(send(s, cdb, room), DONE);
		assert_true(prdbc(s, 0, 0) <= MIN(len, room));
		assert_filled(s, BUF + MIN(len, room), 300, CANARY);
	}
}

static void lengths(void **state)
{
	static const struct {
		u8 cdb[12], at, size;
	} commands[] = {{{0x03}, 4, 1}, {{0x12}, 3, 2}, {{0x1a, 0, 0x3f}, 4, 1}, {{0x43}, 7, 2},
	        {{0x46}, 7, 2}, {{0x4a, 1, 0, 0, 0x10}, 7, 2}, {{0x51}, 7, 2}, {{0x52, 1, 0, 0, 0, 1}, 7, 2},
	        {{0x5a, 0, 0x3f}, 7, 2}, {{0xa0}, 6, 4}, {{0xbd}, 8, 2}};
	struct sata *s = cd_up(false);

	for (unsigned n = 0; n < ARRAY_SIZE(commands); n++)
		for (u32 len = 0; len < 260; len += len < 70 ? 1 : 63)
			one_length(s, commands[n].cdb, commands[n].at, commands[n].size, len);
	sata_free(s);
}

/* --- reading --- */

static void read_data(void **state)
{
	struct sata *s = cd_up(false);
	const u8 *disc = s->disk[0].data;

	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 4096), DONE);
	assert_memory_equal(at(s, BUF), disc + 3 * 2048, 4096);
	assert_int_equal(prdbc(s, 0, 0), 4096);
	assert_int_equal(send(s, CDB(0xa8, 0, 0, 0, 0, 14, 0, 0, 0, 2), 4096), DONE);
	assert_memory_equal(at(s, BUF), disc + 14 * 2048, 4096);
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 16), 0), DONE); /* nothing */
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 15, 0, 0, 2), 4096), ILLEGAL);
	assert_int_equal(sense(s), 0x052100);
	assert_int_equal(send(s, CDB(0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1), 4096), ILLEGAL);
	assert_int_equal(send(s, CDB(0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), 4096), ILLEGAL);
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 2048), ABORTED); /* room for one */
	assert_int_equal(sense(s), 0x0b4b00);
	assert_int_equal(send(s, CDB(0x2b, 0, 0, 0, 0, 15), 0), DONE);
	assert_int_equal(send(s, CDB(0x2b, 0, 0, 0, 0, 16), 0), ILLEGAL);
	s->disk[0].fail = -EIO;
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 4096), MEDIUM_ERROR);
	assert_int_equal(sense(s), 0x031100);
	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 3, 0, 0, 2, 0xf8), 4704), MEDIUM_ERROR);
	s->disk[0].fail = 0;
	assert_int_equal(ready(s), DONE);
	sata_free(s);
}

/* --- whole sectors: checked with other means than they are made --- */

static u8 gf_mul(u8 a, u8 b)
{
	u8 sum = 0;

	for (; b; b >>= 1, a = (u8)(a << 1 ^ (a & 0x80 ? 0x1d : 0)))
		if (b & 1)
			sum ^= a;
	return sum;
}

static u8 gf_pow(unsigned n)
{
	u8 v = 1;

	while (n--)
		v = gf_mul(v, 2);
	return v;
}

/* A code word of ECMA-130: its sum, and its sum weighted with powers of the root, are 0. */
static void check_word(const u8 *word, unsigned len)
{
	u8 plain = 0, weighted = 0;

	for (unsigned n = 0; n < len; n++) {
		plain ^= word[n];
		weighted ^= gf_mul(word[n], gf_pow(len - 1 - n));
	}
	assert_int_equal(plain, 0);
	assert_int_equal(weighted, 0);
}

static void check_parity(const u8 *sector)
{
	const u8 *area = sector + 12;
	u8 word[45];

	for (unsigned v = 0; v < 86; v++) {
		for (unsigned n = 0; n < 26; n++)
			word[n] = area[v + 86 * n];
		check_word(word, 26);
	}
	for (unsigned v = 0; v < 26; v++) {
		for (unsigned odd = 0; odd < 2; odd++) {
			for (unsigned n = 0; n < 43; n++)
				word[n] = area[2 * ((44 * n + 43 * v) % 1118) + odd];
			word[43] = area[2236 + 2 * v + odd];
			word[44] = area[2288 + 2 * v + odd];
			check_word(word, 45);
		}
	}
}

/* The remainder of the sector, its bits in reverse order, with the check bytes behind: 0. */
static void check_edc(const u8 *sector)
{
	u32 rest = 0;

	for (unsigned bit = 0; bit < 8 * 2068; bit++) {
		u32 in = sector[bit / 8] >> bit % 8 & 1, top = rest >> 31;

		rest = rest << 1 | in;
		if (top)
			rest ^= 0x8001801b;
	}
	assert_int_equal(rest, 0);
}

static void read_whole(void **state)
{
	struct sata *s = cd_up(false);

	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 1, 0, 0, 3, 0xf8), 3 * 2352), DONE);
	assert_int_equal(prdbc(s, 0, 0), 3 * 2352);
	assert_filled(s, BUF + 3 * 2352, 64, CANARY);
	for (unsigned n = 0; n < 3; n++) {
		const u8 *sector = at(s, BUF) + n * 2352;

		assert_memory_equal(sector, "\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\2", 14);
		assert_int_equal(sector[14], n + 1);
		assert_int_equal(sector[15], 1);
		assert_memory_equal(sector + 16, s->disk[0].data + (n + 1) * 2048, 2048);
		check_edc(sector);
		check_parity(sector);
	}
	sata_free(s);
}

static void read_parts(void **state)
{
	static const struct {
		u8 format;
		u16 from, len;
	} parts[] = {{0x10, 16, 2048}, {0x20, 12, 4}, {0x30, 12, 2052}, {0x38, 12, 2340}, {0x18, 16, 2336},
	        {0x80, 0, 12}, {0xa0, 0, 16}, {0xb0, 0, 2064}, {0xf8, 0, 2352}, {0x00, 0, 0}};
	struct sata *s = cd_up(false);
	u8 whole[2 * 2352];

	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 4, 0, 0, 2, 0xf8), sizeof(whole)), DONE);
	memcpy(whole, at(s, BUF), sizeof(whole));
	for (unsigned n = 0; n < ARRAY_SIZE(parts); n++) {
		assert_int_equal(send(s, CDB(0xbe, 8, 0, 0, 0, 4, 0, 0, 2, parts[n].format), 2 * 2352), DONE);
		assert_int_equal(prdbc(s, 0, 0), 2u * parts[n].len);
		assert_memory_equal(at(s, BUF), whole + parts[n].from, parts[n].len);
		assert_memory_equal(at(s, BUF) + parts[n].len, whole + 2352 + parts[n].from, parts[n].len);
		assert_filled(s, BUF + 2 * parts[n].len, 64, CANARY);
	}
	/* the same by minute, second, frame: 00:02:04 is block 4 */
	assert_int_equal(send(s, CDB(0xb9, 0, 0, 0, 2, 4, 0, 2, 6, 0xf8), sizeof(whole)), DONE);
	assert_memory_equal(at(s, BUF), whole, sizeof(whole));
	assert_int_equal(send(s, CDB(0xb9, 0, 0, 0, 1, 74, 0, 2, 6, 0xf8), sizeof(whole)), ILLEGAL);
	assert_int_equal(send(s, CDB(0xb9, 0, 0, 0, 2, 6, 0, 2, 4, 0xf8), sizeof(whole)), ILLEGAL);
	assert_int_equal(send(s, CDB(0xbe, 4, 0, 0, 0, 4, 0, 0, 2, 0xf8), 4704), ILLEGAL); /* audio */
	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 4, 0, 0, 2, 0x90), 4704), ILLEGAL); /* with a hole */
	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 4, 0, 0, 2, 0xf8, 1), 4704), ILLEGAL); /* subchannel */
	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 15, 0, 0, 2, 0xf8), 4704), ILLEGAL);
	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xf8), 4704), ILLEGAL);
	assert_int_equal(send(s, CDB(0xbe, 0, 0, 0, 0, 4, 0, 0, 2, 0xf8), 4702), ABORTED);
	sata_free(s);
}

/* --- discs come and go --- */

static void guest_ejects(void **state)
{
	struct sata *s = cd_up(false);

	event(s);
	assert_int_equal(event(s), 0x0002);
	assert_int_equal(send(s, CDB(0x1e, 0, 0, 0, 1), 0), DONE);
	assert_int_equal(send(s, CDB(0x1b, 0, 0, 0, 2), 0), ILLEGAL); /* locked */
	assert_int_equal(sense(s), 0x055302);
	assert_int_equal(send(s, CDB(0x1e), 0), DONE);
	assert_int_equal(send(s, CDB(0x1b, 0, 0, 0, 1), 0), DONE); /* the motor only */
	assert_int_equal(send(s, CDB(0x1b, 0, 0, 0, 2), 0), DONE);
	assert_int_equal(event(s), 0x0301);
	assert_int_equal(event(s), 0x0001);
	assert_int_equal(ready(s), NOT_READY);
	assert_int_equal(sense(s), 0x023a02);
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 4096), NOT_READY);
	assert_int_equal(send(s, CDB(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8), 8), DONE);
	assert_int_equal(at(s, BUF)[1], 0x10);
	assert_int_equal(send(s, CDB(0x1b, 0, 0, 0, 3), 0), DONE);
	assert_int_equal(event(s), 0x0202);
	assert_int_equal(ready(s), ATTENTION);
	assert_int_equal(sense(s), 0x062800);
	assert_int_equal(ready(s), DONE);
	sata_free(s);
}

static void host_changes(void **state)
{
	struct sata *s = cd_up(false);
	struct block *first = &s->disk[0].b, *second = &s->disk[SATA_PORTS].b, *old = NULL;

	event(s);
	assert_int_equal(ahci_eject(s->h, 0, false, &old), 0);
	assert_ptr_equal(old, first);
	assert_int_equal(event(s), 0x0301);
	assert_int_equal(ready(s), NOT_READY);
	assert_int_equal(ahci_eject(s->h, 0, false, &old), 0); /* there is nothing in it any more */
	assert_null(old);
	assert_int_equal(send(s, CDB(0x1b, 0, 0, 0, 3), 0), DONE); /* the guest closes the tray */
	assert_int_equal(ready(s), NOT_READY);
	assert_int_equal(sense(s), 0x023a01);
	second->size = 8 * 2048 + 100; /* the rest is no sector */
	assert_int_equal(ahci_insert(s->h, 0, second, &old), 0);
	assert_null(old);
	assert_int_equal(event(s), 0x0202);
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 4096), ATTENTION);
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 4096), DONE);
	assert_memory_equal(at(s, BUF), s->disk[SATA_PORTS].data + 3 * 2048, 4096);
	assert_int_equal(send(s, CDB(0x25), 8), DONE);
	assert_int_equal(at(s, BUF)[3], 7);
	assert_int_equal(ahci_insert(s->h, 0, first, &old), 0); /* over the other one */
	assert_ptr_equal(old, second);
	settle(s);
	assert_int_equal(send(s, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 4096), DONE);
	assert_memory_equal(at(s, BUF), s->disk[0].data + 3 * 2048, 4096);
	sata_free(s);
}

static void host_and_lock(void **state)
{
	struct sata *s = cd_up(false);
	struct block *second = &s->disk[SATA_PORTS].b, *old = NULL;
	struct block tiny = {.ops = &disk_ops, .size = 2047, .logical = 1};

	event(s);
	assert_int_equal(ahci_insert(s->h, 0, &tiny, &old), -EINVAL);
	assert_int_equal(ahci_insert(s->h, 1, second, &old), -EINVAL);
	assert_int_equal(ahci_eject(s->h, 9, true, &old), -EINVAL);
	assert_int_equal(send(s, CDB(0x1e, 0, 0, 0, 1), 0), DONE);
	assert_int_equal(ahci_insert(s->h, 0, second, &old), -EBUSY);
	assert_int_equal(ahci_eject(s->h, 0, false, &old), -EBUSY);
	assert_int_equal(event(s), 0x0102); /* somebody pressed the button */
	assert_int_equal(ready(s), DONE);
	assert_int_equal(ahci_eject(s->h, 0, true, &old), 0);
	assert_ptr_equal(old, &s->disk[0].b);
	assert_int_equal(event(s), 0x0301);
	assert_int_equal(ahci_insert(s->h, 0, second, &old), 0);
	settle(s);
	assert_int_equal(ready(s), DONE);
	sata_free(s);

	s = sata_make(&(struct sata_opts){0});
	assert_int_equal(ahci_eject(s->h, 0, true, &old), -EINVAL); /* a disk */
	sata_free(s);
}

struct changer {
	struct sata *s;
	struct block *old;
	int rc;
};

static void *change(void *opaque)
{
	struct changer *c = opaque;

	c->rc = ahci_insert(c->s->h, 0, &c->s->disk[SATA_PORTS].b, &c->old);
	return NULL;
}

/* A disc is not taken away from under a read; the next command gets the new one. */
static void change_waits(void **state)
{
	struct sata *s = cd_up(false);
	struct changer c = {.s = s, .rc = 1};
	struct want w = packet(CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 4096);
	pthread_t thread;

	gate(&s->disk[0], true);
	prepare(s, 0, 0, &w);
	set_px(s, 0, PXCI, 1);
	wait_at_gate(&s->disk[0], 1);
	assert_int_equal(pthread_create(&thread, NULL, change, &c), 0);
	assert_int_equal(px(s, 0, PXCI), 1);
	gate(&s->disk[0], false);
	pthread_join(thread, NULL);
	wait_for(s, 0, 1);
	assert_int_equal(c.rc, 0);
	assert_ptr_equal(c.old, &s->disk[0].b);
	assert_memory_equal(at(s, BUF), s->disk[0].data + 3 * 2048, 4096);
	settle(s);
	assert_int_equal(run(s, 0, &w), DONE);
	assert_memory_equal(at(s, BUF), s->disk[SATA_PORTS].data + 3 * 2048, 4096);
	sata_free(s);
}

/* --- whatever a driver sends --- */

/* CVE-2021-3735 and friends: every packet, filled with ones and zeros, with a disc, without, open. */
static void every_packet(void **state)
{
	static const u32 rooms[] = {0, 2, 36, 0x20000};

	for (unsigned n = 0; n < 3 * ARRAY_SIZE(rooms); n++) {
		struct sata *s = cd_up(n % 3 == 1);

		if (n % 3 == 2)
			assert_int_equal(send(s, CDB(0x1b, 0, 0, 0, 2), 0), DONE);
		for (unsigned op = 0; op < 3 * 256; op++) {
			u8 cdb[12] = {(u8)op};

			memset(cdb + 1, op < 256 ? 0 : op < 512 ? 0xff : 1, 11);
			send(s, cdb, rooms[n / 3]);
			assert_filled(s, BUF + rooms[n / 3], 64, CANARY);
		}
		prepare(s, 0, 0, &(struct want){.control = 4});
		set_px(s, 0, PXCI, 1);
		prepare(s, 0, 0, &(struct want){.control = 0});
		set_px(s, 0, PXCI, 1);
		assert_int_equal(px(s, 0, PXTFD), 0x100);
		assert_int_equal(send(s, CDB(0x12, 0, 0, 0, 36), 36), DONE);
		sata_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(identity),
	        cmocka_unit_test(modes),
	        cmocka_unit_test(select_pages),
	        cmocka_unit_test(features),
	        cmocka_unit_test(contents),
	        cmocka_unit_test(dvd),
	        cmocka_unit_test(lengths),
	        cmocka_unit_test(read_data),
	        cmocka_unit_test(read_whole),
	        cmocka_unit_test(read_parts),
	        cmocka_unit_test(guest_ejects),
	        cmocka_unit_test(host_changes),
	        cmocka_unit_test(host_and_lock),
	        cmocka_unit_test(change_waits),
	        cmocka_unit_test(every_packet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
