/*
 * The fs room on small disks made by hand: what is found on good ones, and that damage is named and ends.
 */
#include "fs/dev.h"
#include "fs/fs.h"
#include "fs/place.h"
#include "fs_images.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static u8 disk[MiB];

static struct fs *open_fs(struct ram_disk *d, size_t len, struct err *e)
{
	struct fs_dev dev;
	struct fs *f = NULL;

	*d = ram_disk(disk, len);
	dev = (struct fs_dev){&d->b, 0, d->b.size};
	fs_open(&f, &dev, e);
	return f;
}

static void expect_text(struct fs *f, const char *path)
{
	char buf[FI_TEXT_LEN + 1] = "";
	struct fs_node n;

	assert_int_equal(fs_find(f, path, true, &n), 0);
	assert_int_equal(n.type, FS_FILE);
	assert_int_equal(fs_read(f, &n, buf, FI_TEXT_LEN, 0), 0);
	assert_string_equal(buf, FI_TEXT);
	assert_int_equal(fs_read(f, &n, buf, 2, n.size - 1), -EINVAL);
}

static int collect(void *opaque, const char *name, const struct fs_node *n)
{
	strcat(opaque, name);
	strcat(opaque, n->type == FS_DIR ? "/ " : " ");
	return 0;
}

static void expect_list(struct fs *f, const char *path, const char *want)
{
	char got[256] = "";
	struct fs_node n;

	assert_int_equal(fs_find(f, path, true, &n), 0);
	assert_int_equal(fs_list(f, &n, collect, got), 0);
	assert_string_equal(got, want);
}

static int find(struct fs *f, const char *path)
{
	struct fs_node n;

	return fs_find(f, path, true, &n);
}

/* --- good ones --- */

static void ext_is_read(void **state)
{
	struct ram_disk d;
	struct err e;

	for (int journal = 0; journal < 2; journal++) {
		struct fs *f = open_fs(&d, fi_ext(disk, journal), &e);

		assert_non_null(f);
		assert_string_equal(fs_label(f), "fi-ext");
		assert_string_equal(fs_uuid(f), "a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a5a5");
		expect_text(f, "/dir/kernel");
		expect_text(f, "link");
		expect_text(f, "/dir/../../dir/./kernel");
		expect_list(f, "/", "dir/ link ");
		assert_int_equal(find(f, "/dir/kernel/"), -ENOTDIR);
		assert_int_equal(find(f, "/dir/kernel/x"), -ENOTDIR);
		assert_int_equal(find(f, "/dir/none"), -ENOENT);
		fs_close(f);
	}
}

static void fat_is_read(void **state)
{
	struct ram_disk d;
	struct err e;
	struct fs *f = open_fs(&d, fi_fat(disk), &e);
	struct fs_node n;
	u8 buf[600];

	assert_non_null(f);
	assert_string_equal(fs_label(f), "FI-FAT");
	assert_string_equal(fs_uuid(f), "1234-ABCD");
	expect_text(f, "/DIR/Kernel");
	expect_text(f, "/dir/krnl~1");
	expect_list(f, "/dir", "kernel ");
	assert_int_equal(fs_find(f, "/dir/kernel", true, &n), 0);
	assert_int_equal(fs_read(f, &n, buf, 600, 0), 0);
	assert_int_equal(buf[512], 'x');
	assert_int_equal(fs_read(f, &n, buf, 1, 599), 0);
	fs_close(f);
}

static void iso_is_read(void **state)
{
	struct ram_disk d;
	struct err e;

	for (int rock = 0; rock < 2; rock++) {
		struct fs *f = open_fs(&d, FI_ISO_SKIP + fi_iso(disk + FI_ISO_SKIP, rock), &e);

		assert_non_null(f);
		assert_string_equal(fs_label(f), "FI-ISO");
		assert_string_equal(fs_uuid(f), "2026-01-02-03-04-05-06");
		expect_text(f, "/dir/kernel");
		if (rock)
			expect_text(f, "/link");
		expect_list(f, "/", rock ? "dir/ link " : "dir/ ");
		assert_int_equal(find(f, "/DIR"), rock ? -ENOENT : 0);
		fs_close(f);
	}
	/* neither Rock Ridge nor Joliet */
	fi_iso(disk + FI_ISO_SKIP, false);
	disk[FI_ISO_SKIP + 2048 + 88] = 0;
	struct fs *f = open_fs(&d, FI_ISO_SKIP + FI_ISO_LEN, &e);
	expect_list(f, "/dir", "kernel ");
	expect_list(f, "/", "dir/ link ");
	fs_close(f);
}

static void nothing_known(void **state)
{
	struct ram_disk d;
	struct err e;

	memset(disk, 0, sizeof(disk));
	assert_null(open_fs(&d, sizeof(disk), &e));
	assert_null(open_fs(&d, 512, &e));
	assert_null(open_fs(&d, 0, &e));
}

/* --- damage --- */

static void links_end(void **state)
{
	struct ram_disk d;
	struct err e;

	fi_ext(disk, false);
	memcpy(fi_inode(disk, 13) + 0x28, "././././ln", 10);
	memcpy(disk + 6 * FI_EXT_BLOCK + 36 + 8, "ln", 2);
	disk[6 * FI_EXT_BLOCK + 36 + 6] = 2;
	struct fs *f = open_fs(&d, FI_EXT_LEN, &e);
	assert_int_equal(find(f, "/ln"), -ELOOP);
	fs_close(f);
}

static void ext_damage(void **state)
{
	static const struct {
		const char *what;
		u32 at, value;
		unsigned bytes;
	} change[] = {
	        {"more blocks than the disk", 1024 + 4, 1000, 4},
	        {"inode size", 1024 + 0x58, 100, 2},
	        {"no inodes in a group", 1024 + 0x28, 0, 4},
	        {"unknown feature", 1024 + 0x60, 0x80000042, 4},
	        {"inode table outside", 2048 + 8, 4000, 4},
	        {"root is a file", FI_EXT_INODES * 1024 + 128, 0100644, 2},
	        {"extent magic", FI_EXT_INODES * 1024 + 128 + 0x28, 0xf30b, 2},
	        {"extent outside", FI_EXT_INODES * 1024 + 128 + 0x28 + 20, 5000, 4},
	        {"depth", FI_EXT_INODES * 1024 + 128 + 0x28 + 6, 3, 2},
	        {"inline data in an inode without room", FI_EXT_INODES * 1024 + 128 + 0x20, 0x10000000, 4},
	        {"entry of no length", 6 * 1024 + 4, 0, 2},
	        {"entry too long", 6 * 1024 + 4, 2000, 2},
	        {"name longer than its entry", 6 * 1024 + 6, 200, 1},
	        {"directory of a huge size", FI_EXT_INODES * 1024 + 128 + 4, 0xfffffc00, 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(change); i++) {
		struct ram_disk d;
		struct err e = {0};

		fi_ext(disk, false);
		memcpy(disk + change[i].at, &change[i].value, change[i].bytes);
		struct fs *f = open_fs(&d, FI_EXT_LEN, &e);
		if (!f)
			assert_true(e.text[0]);
		else if (find(f, "/dir/kernel") != -EUCLEAN)
			fail_msg("%s: not found out", change[i].what);
		fs_close(f);
	}
}

static void fat_loop_ends(void **state)
{
	struct ram_disk d;
	struct err e;
	struct fs_node n;
	u8 *buf = malloc(MiB);

	fi_fat(disk);
	put_le32(disk + 3 * 512 + 96 + 28, MiB); /* the file's size */
	memcpy(disk + 512 + 4, (const u8[]){0x4f, 0x00, 0x03, 0x00}, 4);
	struct fs *f = open_fs(&d, FI_FAT_LEN, &e);
	assert_int_equal(fs_find(f, "/dir/kernel", true, &n), 0);
	assert_int_equal(fs_read(f, &n, buf, MiB, 0), -EUCLEAN);
	fs_close(f);
	/* a directory that is its own continuation */
	fi_fat(disk);
	memcpy(disk + 512 + 3, (const u8[]){0x02, 0xf0}, 2);
	memset(disk + 3 * 512, 0xe5, 512);
	f = open_fs(&d, FI_FAT_LEN, &e);
	assert_int_equal(find(f, "/dir/kernel"), -EUCLEAN);
	fs_close(f);
	free(buf);
}

static void iso_continuation_ends(void **state)
{
	static const u8 ce[] = {
	        'C', 'E', 28, 1, 22, 0, 0, 0, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0};
	struct ram_disk d;
	struct err e;

	fi_iso(disk + FI_ISO_SKIP, true);
	memcpy(disk + FI_ISO_SKIP + 6 * 2048, ce, sizeof(ce));
	put_le32(disk + FI_ISO_SKIP + 4 * 2048 + 34 + 34 + 33 + 9 + 8 + 20, 28);
	struct fs *f = open_fs(&d, FI_ISO_SKIP + FI_ISO_LEN, &e);
	assert_int_equal(find(f, "/dir/kernel"), -EUCLEAN);
	fs_close(f);
}

/* --- partitions --- */

static void scan(struct part_list *l, size_t len, int want)
{
	struct ram_disk d = ram_disk(disk, len);
	struct err e = {0};

	assert_int_equal(part_scan(l, &d.b, &e), want);
}

static void mbr(void **state)
{
	struct part_list l;

	scan(&l, fi_mbr(disk), 0);
	assert_int_equal(l.table, PART_MBR);
	assert_int_equal(l.count, 4);
	assert_int_equal(l.part[1].number, 3);
	assert_int_equal(l.part[1].off, 16 * 512);
	assert_int_equal(l.part[3].number, 6);
	assert_int_equal(l.part[3].off, 42 * 512);
	assert_string_equal(l.part[3].uuid, "cafe1234-06");
	/* the same in sectors of 4096 bytes, and a table of smaller ones on such a disk */
	struct ram_disk large = ram_disk(disk, sizeof(disk));
	large.b.logical = 4096;
	memset(disk, 0, sizeof(disk));
	fi_mbr_entry(disk, 0, 0x83, 8, 8);
	fi_mbr_entry(disk, 1, 0x05, 24, 40);
	fi_mbr_entry(disk + 24 * 4096, 0, 0x83, 2, 8);
	assert_int_equal(part_scan(&l, &large.b, &(struct err){0}), 0);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.part[0].off, 8 * 4096);
	assert_int_equal(l.part[1].off, 26 * 4096);
	memset(disk, 0, sizeof(disk));
	fi_mbr_entry(disk, 0, 0x83, 1000, 800);
	assert_int_equal(part_scan(&l, &large.b, &(struct err){0}), 0);
	assert_int_equal(l.count, 1);
	assert_int_equal(l.part[0].off, 1000 * 512);
	/* a chain that leads to itself, and an entry outside the disk */
	fi_mbr(disk);
	fi_mbr_entry(disk + 40 * 512, 1, 0x05, 16, 16);
	fi_mbr_entry(disk, 0, 0x83, 60, 1000);
	scan(&l, FI_DISK_LEN, 0);
	assert_int_equal(l.part[0].number, 3);
	assert_in_range(l.count, 3, PART_MAX);
}

static void gpt(void **state)
{
	struct part_list l;

	scan(&l, fi_gpt(disk), 0);
	assert_int_equal(l.table, PART_GPT);
	assert_int_equal(l.count, 2);
	assert_string_equal(l.part[0].name, "root");
	assert_string_equal(l.part[0].uuid, "11111111-1111-1111-1111-111111111111");
	assert_int_equal(l.part[1].number, 3);
	assert_int_equal(l.part[1].len, 16 * 512);
	disk[512 + 60] ^= 1; /* the second copy */
	disk[1024] ^= 1;
	scan(&l, FI_DISK_LEN, 0);
	assert_int_equal(l.count, 2);
	disk[62 * 512] ^= 1;
	scan(&l, FI_DISK_LEN, -EUCLEAN);
}

static void volumes_of_a_disk(void **state)
{
	struct ram_disk d;
	struct volumes *v;
	struct volume *where;
	struct fs_node n;
	struct err e;

	fi_mbr(disk);
	fi_mbr_entry(disk, 0, 0x83, 64, FI_EXT_LEN / 512);
	fi_mbr_entry(disk, 2, 0x83, 64 + FI_EXT_LEN / 512, FI_FAT_LEN / 512);
	fi_ext(disk + 64 * 512, false);
	memset(disk + 64 * 512 + 6 * FI_EXT_BLOCK + 24 + 8, 'x', 3); /* no /dir there */
	fi_fat(disk + 64 * 512 + FI_EXT_LEN);
	d = ram_disk(disk, sizeof(disk));
	assert_int_equal(volumes_open(&v, &d.b, &e), 0);
	assert_int_equal(volumes_find(v, 0, "/dir/kernel", true, &where, &n, &e), 0);
	assert_int_equal(where->number, 3);
	assert_int_equal(volumes_find(v, 1, "/dir/kernel", true, &where, &n, &e), -ENOENT);
	assert_string_equal(e.text, "no /dir/kernel in partition 1 (ext4)");
	assert_int_equal(volumes_find(v, 4, "/dir/kernel", true, &where, &n, &e), -ENOENT);
	assert_int_equal(volumes_find(v, 5, "/dir/kernel", true, &where, &n, &e), -ENOTSUP);
	volumes_close(v);
}

static void places(void **state)
{
	static const struct {
		const char *text, *image, *path;
		unsigned partition;
	} good[] = {
	        {"disk.img:/boot/vmlinuz", "disk.img", "/boot/vmlinuz", 0},
	        {"disk.img:2:/boot/vmlinuz", "disk.img", "/boot/vmlinuz", 2},
	        {"a:b.img:/x:/y", "a:b.img", "/x:/y", 0},
	        {"d,size=1G:128:/", "d,size=1G", "/", 128},
	        {"d:129:/x", "d:129", "/x", 0},
	};
	static const char *const bad[] = {
	        "/boot/vmlinuz", "disk.img", "disk.img:", "disk.img:2", "disk.img:2:x", ":/x", ""};
	struct place p;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(place_parse(&p, good[i].text));
		assert_string_equal(p.image, good[i].image);
		assert_string_equal(p.path, good[i].path);
		assert_int_equal(p.partition, good[i].partition);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(place_parse(&p, bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ext_is_read),
	        cmocka_unit_test(fat_is_read),
	        cmocka_unit_test(iso_is_read),
	        cmocka_unit_test(nothing_known),
	        cmocka_unit_test(links_end),
	        cmocka_unit_test(ext_damage),
	        cmocka_unit_test(fat_loop_ends),
	        cmocka_unit_test(iso_continuation_ends),
	        cmocka_unit_test(mbr),
	        cmocka_unit_test(gpt),
	        cmocka_unit_test(volumes_of_a_disk),
	        cmocka_unit_test(places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
