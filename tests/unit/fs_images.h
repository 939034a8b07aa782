/*
 * The smallest disks with a file system or a partition table, made by hand, for tests and as seeds of fuzz
 * targets; callers break single fields. And a disk in memory to read them from.
 *
 * Each file system has /dir/kernel with FI_TEXT in it; ext and ISO 9660 also /link, which leads there.
 */
#pragma once

#include "base/types.h"
#include "block/block.h"

#include <errno.h>
#include <stdio.h>

#define FI_TEXT "the kernel of the image\n"
#define FI_TEXT_LEN (sizeof(FI_TEXT) - 1)

/* --- a disk in memory --- */

struct ram_disk {
	struct block b;
	const u8 *data;
};

static inline int ram_disk_read(struct block *b, const struct iovec *iov, int n, u64 off)
{
	const struct ram_disk *d = container_of(b, struct ram_disk, b);

	for (int i = 0; i < n; off += iov[i++].iov_len)
		memcpy(iov[i].iov_base, d->data + off, iov[i].iov_len);
	return 0;
}

static inline struct ram_disk ram_disk(const u8 *data, u64 len)
{
	static const struct block_ops ops = {.preadv = ram_disk_read};

	return (struct ram_disk){.b = {.ops = &ops,
	                                 .size = ALIGN_DOWN(len, 512ull),
	                                 .logical = 512,
	                                 .physical = 512,
	                                 .ro = true},
	        .data = data};
}

static inline void fi_be32(u8 *p, u32 v)
{
	put_le32(p, __builtin_bswap32(v));
}

/* --- ext: blocks of 1 KiB --- */

#define FI_EXT_BLOCK 1024u
#define FI_EXT_BLOCKS 32u
#define FI_EXT_LEN (FI_EXT_BLOCKS * FI_EXT_BLOCK)
#define FI_EXT_INODES 3u /* block of the inode table */
#define FI_EXT_JOURNAL 16u
#define FI_EXT_JOURNAL_LEN 8u

static inline u8 *fi_inode(u8 *buf, u32 ino)
{
	return buf + FI_EXT_INODES * FI_EXT_BLOCK + (ino - 1) * 128;
}

static inline void fi_extent(u8 *inode, u16 mode, u32 size, u32 block, u16 count)
{
	u8 *h = inode + 0x28;

	put_le16(inode, mode);
	put_le32(inode + 4, size);
	put_le32(inode + 0x20, 0x80000);
	put_le16(h, 0xf30a);
	put_le16(h + 2, 1);
	put_le16(h + 4, 4);
	put_le16(h + 16, count);
	put_le32(h + 20, block);
}

static inline u8 *fi_dirent(u8 *p, u32 ino, u16 len, const char *name)
{
	put_le32(p, ino);
	put_le16(p + 4, len);
	p[6] = (u8)strlen(name);
	memcpy(p + 8, name, strlen(name));
	return p + len;
}

/*
 * With journal: /dir/kernel as its blocks have it is "old", and a transaction in the log has FI_TEXT and, as
 * the next one, a revoked copy of the directory with nonsense in it.
 */
static inline size_t fi_ext(u8 *buf, bool journal)
{
	u8 *sb = buf + 1024, *d;

	memset(buf, 0, FI_EXT_LEN);
	put_le32(sb, 16);
	put_le32(sb + 4, FI_EXT_BLOCKS);
	put_le32(sb + 0x14, 1);
	put_le32(sb + 0x20, 8192);
	put_le32(sb + 0x28, 16);
	put_le16(sb + 0x38, 0xef53);
	put_le32(sb + 0x4c, 1);
	put_le16(sb + 0x58, 128);
	put_le32(sb + 0x5c, journal ? 4 : 0);
	put_le32(sb + 0x60, 0x42 | (journal ? 4 : 0));
	put_le32(sb + 0xe0, journal ? 8 : 0);
	memcpy(sb + 0x78, "fi-ext", 6);
	memset(sb + 0x68, 0xa5, 16);
	put_le32(buf + 2 * FI_EXT_BLOCK + 8, FI_EXT_INODES);
	fi_extent(fi_inode(buf, 2), 040755, FI_EXT_BLOCK, 6, 1);
	fi_extent(fi_inode(buf, 11), 040755, FI_EXT_BLOCK, 7, 1);
	fi_extent(fi_inode(buf, 12), 0100644, FI_TEXT_LEN, 8, 1);
	d = fi_inode(buf, 13);
	put_le16(d, 0120777);
	put_le32(d + 4, 10);
	memcpy(d + 0x28, "dir/kernel", 10);
	d = fi_dirent(buf + 6 * FI_EXT_BLOCK, 2, 12, ".");
	d = fi_dirent(d, 2, 12, "..");
	d = fi_dirent(d, 11, 12, "dir");
	fi_dirent(d, 13, FI_EXT_BLOCK - 36, "link");
	d = fi_dirent(buf + 7 * FI_EXT_BLOCK, 11, 12, ".");
	d = fi_dirent(d, 2, 12, "..");
	fi_dirent(d, 12, FI_EXT_BLOCK - 24, "kernel");
	memcpy(buf + 8 * FI_EXT_BLOCK, journal ? "old" : FI_TEXT, journal ? 3 : FI_TEXT_LEN);
	if (journal) {
		u8 *j = buf + FI_EXT_JOURNAL * FI_EXT_BLOCK;

		fi_extent(fi_inode(buf, 8), 0100600, FI_EXT_JOURNAL_LEN * FI_EXT_BLOCK, FI_EXT_JOURNAL,
		        FI_EXT_JOURNAL_LEN);
		static const u32 head[][3] = {{0, 4, 0}, {1, 1, 7}, {4, 2, 7}, {5, 5, 8}, {6, 2, 8}};
		for (size_t i = 0; i < ARRAY_SIZE(head); i++) {
			u8 *b = j + head[i][0] * FI_EXT_BLOCK;

			fi_be32(b, 0xc03b3998);
			fi_be32(b + 4, head[i][1]);
			fi_be32(b + 8, head[i][2]);
		}
		fi_be32(j + 12, FI_EXT_BLOCK);
		fi_be32(j + 16, FI_EXT_JOURNAL_LEN);
		fi_be32(j + 20, 1);
		fi_be32(j + 24, 7);
		fi_be32(j + 28, 1);
		fi_be32(j + 40, 1); /* revoke blocks */
		fi_be32(j + FI_EXT_BLOCK + 12, 8);
		fi_be32(j + FI_EXT_BLOCK + 16, 0);
		fi_be32(j + FI_EXT_BLOCK + 20 + 16, 7);
		fi_be32(j + FI_EXT_BLOCK + 20 + 20, 2 | 8);
		memcpy(j + 2 * FI_EXT_BLOCK, FI_TEXT, FI_TEXT_LEN);
		memset(j + 3 * FI_EXT_BLOCK, 0xff, FI_EXT_BLOCK);
		fi_be32(j + 5 * FI_EXT_BLOCK + 12, 20);
		fi_be32(j + 5 * FI_EXT_BLOCK + 16, 7);
	}
	return FI_EXT_LEN;
}

/* --- FAT12 --- */

#define FI_FAT_LEN (40 * 512u)

static inline void fi_fat_entry(u8 *p, const char *name, u8 attr, u16 cluster, u32 size)
{
	memcpy(p, name, 11);
	p[11] = attr;
	put_le16(p + 26, cluster);
	put_le32(p + 28, size);
}

static inline size_t fi_fat(u8 *buf)
{
	static const u8 long_name[] = {
	        0x41, 'k', 0, 'e', 0, 'r', 0, 'n', 0, 'e', 0, 0x0f, 0, 0, 'l', 0, 0, 0};
	u8 *table = buf + 512, *root = table + 512, *data = root + 512, *dir = data, sum = 0;

	memset(buf, 0, FI_FAT_LEN);
	put_le16(buf + 11, 512);
	buf[13] = 1;
	put_le16(buf + 14, 1);
	buf[16] = 1;
	put_le16(buf + 17, 16);
	put_le16(buf + 19, FI_FAT_LEN / 512);
	buf[21] = 0xf8;
	put_le16(buf + 22, 1);
	put_le32(buf + 39, 0x1234abcd);
	put_le16(buf + 510, 0xaa55);
	/* cluster 2: end; 3 -> 4 -> end */
	memcpy(table, (const u8[]){0xf8, 0xff, 0xff, 0xff, 0x4f, 0x00, 0xff, 0x0f}, 8);
	fi_fat_entry(root, "FI-FAT     ", 0x08, 0, 0);
	fi_fat_entry(root + 32, "DIR        ", 0x10, 2, 0);
	fi_fat_entry(dir, ".          ", 0x10, 2, 0);
	fi_fat_entry(dir + 32, "..         ", 0x10, 0, 0);
	memcpy(dir + 64, long_name, sizeof(long_name));
	fi_fat_entry(dir + 96, "KRNL~1     ", 0x20, 3, 600);
	for (unsigned i = 0; i < 11; i++)
		sum = (u8)((sum << 7 | sum >> 1) + dir[96 + i]);
	dir[64 + 13] = sum;
	memcpy(data + 512, FI_TEXT, FI_TEXT_LEN);
	memset(data + 1024, 'x', 88);
	return FI_FAT_LEN;
}

/* --- ISO 9660 with Rock Ridge, or Joliet; without its first 16 sectors --- */

#define FI_ISO_SKIP (16 * 2048u)
#define FI_ISO_LEN (9 * 2048u)

static inline u8 *fi_record(
        u8 *p, u32 extent, u32 size, u8 flags, const void *name, u8 name_len, const void *use, u8 use_len)
{
	u8 len = (u8)ALIGN_UP(33u + name_len + (name_len % 2 == 0) + use_len, 2u);

	p[0] = len;
	put_le32(p + 2, extent);
	put_le32(p + 10, size);
	p[25] = flags;
	p[32] = name_len;
	memcpy(p + 33, name, name_len);
	if (use_len)
		memcpy(p + 33 + name_len + (name_len % 2 == 0), use, use_len);
	return p + len;
}

static inline void fi_volume(u8 *d, u8 type, u32 root)
{
	d[0] = type;
	memcpy(d + 1, "CD001\1", 6);
	put_le16(d + 128, 2048);
	fi_record(d + 156, root, 2048, 2, "", 1, NULL, 0);
	memcpy(d + 830, "2026010203040506", 16);
	memset(d + 40, ' ', 32);
	memcpy(d + 40, "FI-ISO", 6);
}

/* Sectors: 16 primary, 17 Joliet, 18 end, 19 root, 20 dir, 21 kernel, 22 continuation, 23 and 24 Joliet's. */
static inline size_t fi_iso(u8 *buf, bool rock)
{
	static const u8 sp[] = {'S', 'P', 7, 1, 0xbe, 0xef, 0};
	static const u8 nm_dir[] = {'N', 'M', 8, 1, 0, 'd', 'i', 'r'};
	static const u8 nm_ce[] = {'N', 'M', 8, 1, 1, 'k', 'e', 'r', 'C', 'E', 28, 1, 22, 0, 0, 0, 0, 0, 0,
	        22, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 8};
	static const u8 nm_rest[] = {'N', 'M', 8, 1, 0, 'n', 'e', 'l'};
	static const u8 link[] = {'P', 'X', 12, 1, 0xff, 0xa1, 0, 0, 0, 0, 0, 0, 'N', 'M', 9, 1, 0, 'l', 'i',
	        'n', 'k', 'S', 'L', 18, 1, 0, 0, 3, 'd', 'i', 'r', 0, 6, 'k', 'e', 'r', 'n', 'e', 'l'};
	static const u8 wide_dir[] = {0, 'd', 0, 'i', 0, 'r'},
	                wide[] = {0, 'k', 0, 'e', 0, 'r', 0, 'n', 0, 'e', 0, 'l'};
	u8 *p;

	memset(buf, 0, FI_ISO_LEN);
	fi_volume(buf, 1, 19);
	fi_volume(buf + 2048, 2, 23);
	memcpy(buf + 2048 + 88, "%/E", 3);
	buf[2 * 2048] = 255;
	memcpy(buf + 2 * 2048 + 1, "CD001", 5);
	p = fi_record(buf + 3 * 2048, 19, 2048, 2, "", 1, sp, rock ? sizeof(sp) : 0);
	p = fi_record(p, 19, 2048, 2, "\1", 1, NULL, 0);
	p = fi_record(p, 20, 2048, 2, "DIR", 3, nm_dir, sizeof(nm_dir));
	fi_record(p, 0, 0, 0, "LINK.;1", 7, link, sizeof(link));
	p = fi_record(buf + 4 * 2048, 20, 2048, 2, "", 1, NULL, 0);
	p = fi_record(p, 19, 2048, 2, "\1", 1, NULL, 0);
	fi_record(p, 21, FI_TEXT_LEN, 0, "KERNEL.;1", 9, nm_ce, sizeof(nm_ce));
	memcpy(buf + 5 * 2048, FI_TEXT, FI_TEXT_LEN);
	memcpy(buf + 6 * 2048, nm_rest, sizeof(nm_rest));
	p = fi_record(buf + 7 * 2048, 23, 2048, 2, "", 1, NULL, 0);
	p = fi_record(p, 23, 2048, 2, "\1", 1, NULL, 0);
	fi_record(p, 24, 2048, 2, wide_dir, sizeof(wide_dir), NULL, 0);
	p = fi_record(buf + 8 * 2048, 24, 2048, 2, "", 1, NULL, 0);
	fi_record(p, 21, FI_TEXT_LEN, 0, wide, sizeof(wide), NULL, 0);
	return FI_ISO_LEN;
}

/* --- partition tables --- */

#define FI_DISK_LEN (64 * 512u)

static inline u32 fi_crc(const u8 *p, size_t n)
{
	u32 crc = ~0u;

	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static inline void fi_mbr_entry(u8 *sector, unsigned i, u8 type, u32 first, u32 count)
{
	u8 *p = sector + 446 + 16 * i;

	p[4] = type;
	put_le32(p + 8, first);
	put_le32(p + 12, count);
	put_le16(sector + 510, 0xaa55);
}

/* Partitions 1 and 3, and the logical ones 5 and 6. */
static inline size_t fi_mbr(u8 *buf)
{
	memset(buf, 0, FI_DISK_LEN);
	put_le32(buf + 440, 0xcafe1234);
	fi_mbr_entry(buf, 0, 0x83, 8, 8);
	fi_mbr_entry(buf, 1, 0x05, 24, 40);
	fi_mbr_entry(buf, 2, 0x0c, 16, 8);
	fi_mbr_entry(buf + 24 * 512, 0, 0x83, 2, 8);
	fi_mbr_entry(buf + 24 * 512, 1, 0x05, 16, 16);
	fi_mbr_entry(buf + 40 * 512, 0, 0x83, 2, 8);
	return FI_DISK_LEN;
}

/* Makes the sums of a GPT's header and entries right, if they are inside the disk. */
static inline void fi_gpt_sums(u8 *buf, size_t len, u64 at)
{
	u8 *h = buf + at;

	if (at + 512 > len || memcmp(h, "EFI PART", 8) != 0)
		return;
	u64 entries = get_le64(h + 72) * 512, bytes = (u64)get_le32(h + 80) * get_le32(h + 84);
	if (entries <= len && bytes <= len - entries)
		put_le32(h + 88, fi_crc(buf + entries, bytes));
	put_le32(h + 16, 0);
	if (get_le32(h + 12) <= 512)
		put_le32(h + 16, fi_crc(h, get_le32(h + 12)));
}

static inline void fi_gpt_header(u8 *buf, u64 lba, u64 entries)
{
	u8 *h = buf + lba * 512;

	memcpy(h, "EFI PART", 8);
	put_le32(h + 8, 0x10000);
	put_le32(h + 12, 92);
	put_le64(h + 24, lba);
	put_le64(h + 72, entries);
	put_le32(h + 80, 4);
	put_le32(h + 84, 128);
	fi_gpt_sums(buf, FI_DISK_LEN, lba * 512);
}

/* Partitions 1 ("root") and 3. */
static inline size_t fi_gpt(u8 *buf)
{
	memset(buf, 0, FI_DISK_LEN);
	fi_mbr_entry(buf, 0, 0xee, 1, FI_DISK_LEN / 512 - 1);
	for (unsigned copy = 0; copy < 2; copy++) {
		u8 *e = buf + (copy ? 62 : 2) * 512;

		memset(e, 0x11, 32);
		put_le64(e + 32, 8);
		put_le64(e + 40, 15);
		memcpy(e + 56, "r\0o\0o\0t", 8);
		memset(e + 256, 0x33, 32);
		put_le64(e + 256 + 32, 16);
		put_le64(e + 256 + 40, 31);
	}
	fi_gpt_header(buf, 1, 2);
	fi_gpt_header(buf, 63, 62);
	return FI_DISK_LEN;
}
