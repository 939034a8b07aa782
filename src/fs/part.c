/*
 * MBR and GPT (UEFI 2.10, chapter 5). Positions in them count logical sectors, and an image does not always
 * say how large they were: a GPT is looked for with each size that it can have.
 */
#include "fs/part.h"

#include "fs/dev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MBR_LEN 512u
#define MBR_ENTRIES 446u
#define TYPE_PROTECTIVE 0xee
#define FIRST_LOGICAL 5u

#define GPT_HEADER_MIN 92u
#define GPT_ENTRIES_MAX 1024u
#define GPT_ENTRY_MAX 4096u

static struct part *add(struct part_list *l, u64 disk, unsigned number, u64 off, u64 len)
{
	struct part *p = &l->part[l->count];

	if (l->count == PART_MAX || len == 0 || off > disk || len > disk - off)
		return NULL;
	*p = (struct part){.number = number, .off = off, .len = len};
	l->count++;
	return p;
}

/* --- GPT --- */

/* CRC-32 as in Ethernet. */
static u32 crc32_of(const u8 *p, size_t n)
{
	u32 crc = ~0u;

	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* The header at byte at: whole and of that place? */
static bool check_header(u8 *h, u32 sector, u64 at)
{
	u32 len = get_le32(h + 12), crc = get_le32(h + 16), n = get_le32(h + 80), size = get_le32(h + 84);

	if (memcmp(h, "EFI PART", 8) != 0 || len < GPT_HEADER_MIN || len > sector ||
	        get_le64(h + 24) != at / sector)
		return false;
	put_le32(h + 16, 0);
	return crc32_of(h, len) == crc && n >= 1 && n <= GPT_ENTRIES_MAX && size >= 128 &&
	       size <= GPT_ENTRY_MAX && size % 8 == 0;
}

static void take_gpt_entry(struct part_list *l, struct block *b, const u8 *e, unsigned number, u32 sector)
{
	static const u8 unused[16];
	u64 first = get_le64(e + 32), last = get_le64(e + 40), sectors = block_size(b) / sector;
	struct part *p;

	if (memcmp(e, unused, sizeof(unused)) == 0 || last < first || last >= sectors)
		return;
	p = add(l, block_size(b), number, first * sector, (last - first + 1) * sector);
	if (!p)
		return;
	uuid_text(p->type_uuid, e, true);
	uuid_text(p->uuid, e + 16, true);
	utf16_text(p->name, sizeof(p->name), e + 56, 36, false);
}

static int read_entries(struct part_list *l, struct block *b, const u8 *h, u32 sector)
{
	u32 n = get_le32(h + 80), size = get_le32(h + 84);
	u64 lba = get_le64(h + 72), disk = block_size(b);
	u8 *entries;
	int rc;

	if (lba > disk / sector)
		return -EUCLEAN;
	entries = malloc((size_t)n * size);
	if (!entries)
		return -ENOMEM;
	rc = block_pread(b, entries, (u64)n * size, lba * sector);
	if (rc == -EINVAL || (rc == 0 && crc32_of(entries, (size_t)n * size) != get_le32(h + 88)))
		rc = -EUCLEAN;
	for (u32 i = 0; i < n && rc == 0; i++)
		take_gpt_entry(l, b, entries + (size_t)i * size, i + 1, sector);
	free(entries);
	return rc;
}

/* One copy: 0, or -EUCLEAN when it is not there or damaged. */
static int read_copy(struct part_list *l, struct block *b, u32 sector, u64 at)
{
	u8 h[4096];
	int rc;

	if (at > block_size(b) || sector > block_size(b) - at)
		return -EUCLEAN;
	rc = block_pread(b, h, sector, at);
	if (rc < 0)
		return rc;
	return check_header(h, sector, at) ? read_entries(l, b, h, sector) : -EUCLEAN;
}

static int scan_gpt(struct part_list *l, struct block *b, struct err *e)
{
	const u32 sizes[] = {b->logical, 512, 4096, 2048, 1024};
	u64 disk = block_size(b);

	l->table = PART_GPT;
	for (unsigned copy = 0; copy < 2; copy++) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			u32 sector = sizes[i];
			int rc;

			if (sector < 512 || sector > 4096)
				continue;
			rc = read_copy(l, b, sector, copy ? (disk / sector - 1) * sector : sector);
			if (rc == 0)
				return 0;
			if (rc != -EUCLEAN)
				return err_errno(e, rc, "the partition table");
		}
	}
	return err_set(e, -EUCLEAN, "the GPT is damaged, its second copy too");
}

/* --- MBR --- */

static bool is_extended(u8 type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

/* Four entries, at least one in use, that could be true: code and text at their place hardly ever could. */
static bool is_mbr(const u8 *s)
{
	unsigned used = 0;

	if (get_le16(s + 510) != 0xaa55)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		const u8 *p = s + MBR_ENTRIES + 16 * i;

		if (p[0] & 0x7f)
			return false;
		used += p[4] && get_le32(p + 12);
	}
	return used > 0;
}

/* An MBR on its way: unit is what its positions count. */
struct mbr {
	struct part_list *l;
	struct block *b;
	u32 unit, disk_id;
};

static void add_mbr(const struct mbr *m, const u8 *entry, unsigned number, u64 base)
{
	struct part *p = add(m->l, block_size(m->b), number, (base + get_le32(entry + 8)) * m->unit,
	        (u64)get_le32(entry + 12) * m->unit);

	if (!p)
		return;
	p->type = entry[4];
	snprintf(p->uuid, sizeof(p->uuid), "%08x-%02x", m->disk_id, number);
}

/* A chain of tables with one logical partition each, and the place of the next. */
static int scan_logical(const struct mbr *m, u64 start)
{
	u64 at = start;

	for (unsigned n = 0; n < PART_MAX; n++) {
		u8 s[MBR_LEN];
		const u8 *next = s + MBR_ENTRIES + 16;
		int rc = block_pread(m->b, s, sizeof(s), at * m->unit);

		if (rc == -EINVAL || (rc == 0 && get_le16(s + 510) != 0xaa55))
			return 0; /* the chain is broken: what came before counts */
		if (rc < 0)
			return rc;
		if (s[MBR_ENTRIES + 4])
			add_mbr(m, s + MBR_ENTRIES, FIRST_LOGICAL + n, at);
		if (!is_extended(next[4]) || get_le32(next + 8) == 0)
			return 0;
		at = start + get_le32(next + 8);
	}
	return 0;
}

static int scan_with(const struct mbr *m, const u8 *s)
{
	int rc = 0;

	for (unsigned i = 0; i < 4; i++) {
		const u8 *p = s + MBR_ENTRIES + 16 * i;

		if (p[4] && !is_extended(p[4]))
			add_mbr(m, p, i + 1, 0);
	}
	for (unsigned i = 0; i < 4 && rc == 0; i++) {
		const u8 *p = s + MBR_ENTRIES + 16 * i;

		if (is_extended(p[4]))
			rc = scan_logical(m, get_le32(p + 8));
	}
	return rc;
}

/* In sectors as the guest sees them; in those of 512 bytes, if nothing fits then: the table is older than the
 * image. */
static int scan_mbr(struct part_list *l, struct block *b, const u8 *s)
{
	struct mbr m = {.l = l, .b = b, .unit = b->logical, .disk_id = get_le32(s + 440)};
	int rc = scan_with(&m, s);

	l->table = PART_MBR;
	if (rc == 0 && l->count == 0 && m.unit != MBR_LEN) {
		m.unit = MBR_LEN;
		rc = scan_with(&m, s);
	}
	return rc;
}

static bool is_protective(const u8 *s)
{
	for (unsigned i = 0; i < 4; i++)
		if (s[MBR_ENTRIES + 16 * i + 4] == TYPE_PROTECTIVE)
			return true;
	return false;
}

int part_scan(struct part_list *l, struct block *b, struct err *e)
{
	u8 s[MBR_LEN];
	int rc;

	memset(l, 0, sizeof(*l));
	if (block_size(b) < sizeof(s))
		return 0;
	rc = block_pread(b, s, sizeof(s), 0);
	if (rc < 0)
		return err_errno(e, rc, "the partition table");
	if (!is_mbr(s))
		return 0;
	if (is_protective(s))
		return scan_gpt(l, b, e);
	rc = scan_mbr(l, b, s);
	return rc < 0 ? err_errno(e, rc, "the partition table") : 0;
}
