/*
 * The block room on real files in a temporary directory: option strings, opening and refusing,
 * every layer against a plain array of bytes, the queue, locks. Crashes and failing hosts are
 * tests/fault's business.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "block/image.h"
#include "block/iov.h"
#include "block/queue.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/xhyve-block-XXXXXX";

static int setup(void **state)
{
	return mkdtemp(dir) ? chdir(dir) : -1;
}

static int teardown(void **state)
{
	char cmd[80];
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return chdir("/") || system(cmd);
}

static int clean(void **state)
{
	return system("rm -rf ./*");
}

static int try_open(struct block **b, const char *config, unsigned flags, struct err *e)
{
	struct image_spec s;
	*e = (struct err){0};
	int r = image_parse(&s, config, e);
	return r < 0 ? r : image_open(b, &s, flags | IMAGE_QUIET, &host_io, e);
}

static struct block *must_open(const char *config)
{
	struct block *b = NULL;
	struct err e;
	if (try_open(&b, config, IMAGE_CREATE, &e) < 0)
		fail_msg("%s: %s", config, e.text);
	return b;
}

static void must_fail(const char *config, unsigned flags, const char *text)
{
	struct block *b;
	struct err e;
	assert_true(try_open(&b, config, flags, &e) < 0);
	if (!strstr(e.text, text))
		fail_msg("%s: \"%s\" should contain \"%s\"", config, e.text, text);
}

static void touch(const char *name, off_t size)
{
	int fd = open(name, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static off_t file_size(const char *name)
{
	struct stat st;
	return stat(name, &st) == 0 ? st.st_size : -1;
}

static unsigned files_here(void)
{
	FILE *p = popen("ls | wc -l", "r");
	unsigned n = 0;
	assert_int_equal(fscanf(p, "%u", &n), 1);
	pclose(p);
	return n;
}

/* --- options --- */

static void test_options(void **state)
{
	static const struct {
		const char *config, *message;
	} bad[] = {
	        {"", "needs the path"},
	        {",ro", "needs the path"},
	        {"a,", "empty disk option"},
	        {"a,,ro", "empty disk option"},
	        {"a,sprase", "did you mean \"sparse\""},
	        {"a,size=", "size="},
	        {"a,size=12x", "size=12x"},
	        {"a,size=-1", "size=-1"},
	        {"a,size=99999999999999999999", "too large"},
	        {"a,sectorsize=1000", "powers of two"},
	        {"a,sectorsize=256", "powers of two"},
	        {"a,sectorsize=4096/512", "not above physical"},
	        {"a,sectorsize=2M", "512 to 1M"},
	        {"a,size=1M,split=3000,sparse", "not a multiple"},
	        {"a,size=3M,split=2M", "not a multiple"},
	        {"a,size=1M,split=2M", "larger than"},
	        {"a,size=1000,sectorsize=512", "not a multiple"},
	        {"a,size=10001M,split=1M", "at most 10000"},
	        {"a,serial=123456789012345678901", "20 characters"},
	        {"a,ro=1", "unknown disk option"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct image_spec s;
		struct err e = {0};
		assert_int_equal(image_parse(&s, bad[i].config, &e), -EINVAL);
		assert_int_equal(e.status, EXIT_BADUSE);
		if (!strstr(e.text, bad[i].message))
			fail_msg("%s: %s", bad[i].config, e.text);
	}
	struct image_spec s;
	struct err e = {0};
	assert_int_equal(image_parse(&s, "hdd.img,sectorsize=4096,size=20G,split=1G,sparse", &e), 0);
	struct image_geometry g;
	assert_int_equal(image_geometry_make(&g, &s, &e), 0);
	assert_int_equal(g.nseg, 20);
	assert_int_equal(g.entries * 4, 20 * MiB);
	assert_int_equal(image_parse(&s, "a,sectorsize=512/4K,nocache,direct,ro,size=0x100000", &e), 0);
	assert_true(s.nocache && s.sync && s.ro && s.size == MiB && s.logical == 512 && s.physical == 4096);
}

static void test_refused(void **state)
{
	must_fail("nothing.img", IMAGE_CREATE, "no such image (with size= it is created)");
	must_fail("nothing.img,size=1M", 0, "no such image");
	must_fail("nothing.img,size=1M,ro", IMAGE_CREATE, "no such image");
	must_fail("nothing.img,split=1M", IMAGE_CREATE, "needs size=");
	must_fail("no/dir.img,size=1M", IMAGE_CREATE, "no/dir.img");
	assert_int_equal(files_here(), 0);
	touch("empty.img", 0);
	must_fail("empty.img", IMAGE_CREATE, "is empty");
	touch("raw.img", MiB);
	must_fail("raw.img,size=2M", IMAGE_CREATE, "size=2M was given, but the file has 1M");
	block_close(must_open("s.img,size=4M,split=1M,sparse,sectorsize=4096"));
	must_fail("s.img,size=8M", 0, "size=8M was given, but the image has size=4M");
	must_fail("s.img,split=2M", 0, "split=2M was given");
	must_fail("s.img,sectorsize=512", 0, "sectorsize=512 was given");
	assert_int_equal(unlink("s.img.0002"), 0);
	must_fail("s.img", IMAGE_CREATE, "s.img.0002 is missing");
	touch("s.img.0002", 0);
	assert_int_equal(truncate("s.img.lut", 100), 0);
	must_fail("s.img", IMAGE_CREATE, "s.img.lut has 100 bytes");
	assert_int_equal(unlink("s.img.lut"), 0);
	touch("s.img.0001", 4096);
	must_fail("s.img,size=4M", IMAGE_CREATE, "s.img.lut is missing");
	touch("old.img.0000", MiB);
	must_fail("old.img", IMAGE_CREATE, "a split image without old.img.meta needs size= and split=");
	touch("m.img.meta", 3000);
	must_fail("m.img", IMAGE_CREATE, "m.img.meta");
}

static void test_damage(void **state)
{
	static const u32 twice = 0, far = 100000;
	u8 sector[4096];
	memset(sector, 7, sizeof(sector));
	struct block *b = must_open("d.img,size=1M,split=512k,sparse,sectorsize=4096");
	assert_int_equal(block_pwrite(b, sector, 4096, 0), 0);
	assert_int_equal(block_close(b), 0);
	int fd = open("d.img.lut", O_RDWR);
	assert_int_equal(pwrite(fd, &twice, 4, 5 * 4), 4);
	must_fail("d.img", 0, "segment 0 is damaged");
	/* reading is possible */
	b = must_open("d.img,ro");
	assert_int_equal(block_pread(b, sector, 4096, 4096), 0);
	assert_int_equal(block_pwrite(b, sector, 4096, 4096), -EROFS);
	block_close(b);
	assert_int_equal(pwrite(fd, &far, 4, 5 * 4), 4);
	must_fail("d.img", 0, "segment 0 is damaged");
	/* past the end but explicable by a power cut of the original: reads as zeros, is never handed out
	 * again */
	static const u32 past = 3;
	assert_int_equal(pwrite(fd, &past, 4, 5 * 4), 4);
	close(fd);
	b = must_open("d.img");
	assert_int_equal(block_pread(b, sector, 4096, 5 * 4096), 0);
	assert_true(buf_is_zero(sector, 4096));
	memset(sector, 9, sizeof(sector));
	assert_int_equal(block_pwrite(b, sector, 4096, 9 * 4096), 0);
	assert_int_equal(block_pwrite(b, sector, 4096, 10 * 4096), 0);
	assert_int_equal(block_pread(b, sector, 4096, 5 * 4096), 0);
	assert_true(buf_is_zero(sector, 4096));
	assert_int_equal(block_close(b), 0);
}

/* Images grow while they are in use; what is new is zeros. */
static void test_grow(void **state)
{
	struct block *b = must_open("g.img,size=1M");
	u8 buf[512], zero[512] = {0};
	memset(buf, 7, sizeof(buf));
	assert_int_equal(block_pwrite(b, buf, 512, MiB - 512), 0);
	assert_int_equal(block_grow(b, MiB), 0);
	assert_int_equal(block_grow(b, MiB - 512), -EINVAL);
	assert_int_equal(block_grow(b, MiB + 1), -EINVAL);
	assert_int_equal(block_grow(b, UINT64_MAX - 511), -EINVAL);
	assert_int_equal(block_grow(b, 3 * MiB), 0);
	assert_int_equal(block_size(b), 3 * MiB);
	assert_int_equal(file_size("g.img"), 3 * MiB);
	assert_int_equal(block_pread(b, buf, 512, 3 * MiB - 512), 0);
	assert_memory_equal(buf, zero, 512);
	assert_int_equal(block_pread(b, buf, 512, MiB - 512), 0);
	assert_int_equal(buf[0], 7);
	assert_int_equal(b->stats.reads, 2);
	assert_int_equal(b->stats.read_bytes, 1024);
	assert_int_equal(b->stats.writes, 1);
	assert_int_equal(block_close(b), 0);
	b = must_open("g.img,ro");
	assert_int_equal(block_grow(b, 4 * MiB), -EROFS);
	assert_int_equal(block_close(b), 0);
	/* an empty file of a growth that was cut off is in nobody's way, one with something in it is */
	b = must_open("h.img,size=1M,split=1M,sparse");
	touch("h.img.0001", 0);
	assert_int_equal(block_grow(b, 2 * MiB), 0);
	int fd = open("h.img.0003", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, buf, sizeof(buf)), sizeof(buf));
	close(fd);
	assert_int_equal(block_grow(b, 4 * MiB), -EEXIST);
	assert_int_equal(file_size("h.img.0002"), -1);
	assert_int_equal(file_size("h.img.0003"), sizeof(buf));
	assert_int_equal(block_size(b), 2 * MiB);
	assert_int_equal(block_close(b), 0);
	must_fail("h.img,size=1M,split=1M", 0, "has size=2M");
}

static void test_locks(void **state)
{
	struct block *b = must_open("l.img,size=1M,sparse");
	must_fail("l.img", 0, "l.img is in use by another process");
	must_fail("l.img,ro", 0, "in use");
	block_close(b);
	struct block *r1 = must_open("l.img,ro"), *r2 = must_open("l.img,ro");
	must_fail("l.img", 0, "in use");
	block_close(r1);
	block_close(r2);
	b = must_open("l.img");
	block_close(b);
}

static void test_many_segments(void **state)
{
	struct rlimit old, few = {200, 200};
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	if (old.rlim_max >= 10100) {
		struct block *b = must_open("m.img,size=5120000k,split=512k,sparse,sectorsize=4096");
		u8 sector[4096] = {1};
		assert_int_equal(block_pwrite(b, sector, 4096, b->size - 4096), 0);
		assert_int_equal(block_close(b), 0);
		assert_int_equal(file_size("m.img.9999"), 4096);
		assert_int_equal(file_size("m.img.10000"), -1);
	}
	/* a limit that cannot be raised is told before anything is created */
	if (fork() == 0) {
		few.rlim_max = 200;
		setrlimit(RLIMIT_NOFILE, &few);
		struct block *b;
		struct err e;
		int r = try_open(&b, "f.img,size=300M,split=1M", IMAGE_CREATE, &e);
		_exit(r == -EMFILE && strstr(e.text, "300 segments") && file_size("f.img.0000") == -1 ? 0
		                                                                                      : 1);
	}
	int status;
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
}

/* --- contents against a plain array --- */

#define DISK (256 * KiB)

static u64 next_random(u64 *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	return *x ^= *x << 17;
}

/* Cuts a buffer at random places: the pieces that guests' scattered requests have. */
static int scatter(struct iovec *v, u8 *buf, u64 len, u64 *x, int max)
{
	int n = 0;
	for (u64 pos = 0; pos < len; n++) {
		u64 cut = 1 + next_random(x) % 3000;
		u64 here = n == max - 1 ? len - pos : MIN(len - pos, cut);
		v[n] = (struct iovec){buf + pos, here};
		pos += here;
	}
	return n;
}

static void one_op(struct block *b, u8 *model, u8 *buf, u64 *x, bool sector_ops)
{
	struct iovec v[400];
	u64 off = next_random(x) % DISK, len = 1 + next_random(x) % 40000;
	len = MIN(len, DISK - off);
	if (next_random(x) % 2) {
		off = ALIGN_DOWN(off, 4096ull);
		len = MIN(ALIGN_UP(len, 4096ull), DISK - off);
	}
	switch (next_random(x) % (sector_ops ? 8 : 5)) {
	case 0:
	case 1:
	case 2:
		for (u64 i = 0; i < len; i++)
			buf[i] = next_random(x) % 5 ? (u8)(*x >> 20) : 0;
		if (next_random(x) % 4 == 0)
			memset(buf, 0, len);
		memcpy(model + off, buf, len);
		assert_int_equal(block_pwritev(b, v, scatter(v, buf, len, x, 400), off), 0);
		break;
	case 3:
	case 4:
		memset(buf, 0xee, len);
		assert_int_equal(block_preadv(b, v, scatter(v, buf, len, x, 400), off), 0);
		assert_memory_equal(buf, model + off, len);
		break;
	case 5:
		assert_int_equal(block_write_zeroes(b, off, len, next_random(x) % 2), 0);
		memset(model + off, 0, len);
		break;
	case 6:
		assert_int_equal(block_discard(b, off, len), 0);
		/* what a discard leaves is the disk's choice, but stays */
		assert_int_equal(block_pread(b, buf, DISK, 0), 0);
		for (u64 i = 0; i < DISK; i++)
			if (buf[i] != model[i] && (buf[i] || i < off || i >= off + len))
				fail_msg("discard of %llu+%llu changed byte %llu to %u",
				        (unsigned long long)off, (unsigned long long)len,
				        (unsigned long long)i, buf[i]);
		memcpy(model, buf, DISK);
		break;
	case 7: assert_int_equal(block_flush(b), 0); break;
	}
}

static void check_all(struct block *b, const u8 *model, u8 *buf)
{
	memset(buf, 0xee, DISK);
	assert_int_equal(block_pread(b, buf, DISK, 0), 0);
	assert_memory_equal(buf, model, DISK);
}

static void test_contents(void **state)
{
	static const char *const kinds[] = {
	        "c%u.img,size=256k",
	        "c%u.img,size=256k,split=32k",
	        "c%u.img,size=256k,split=32k,sparse,sectorsize=4096",
	        "c%u.img,size=256k,split=8k,sparse,sectorsize=512",
	        "c%u.img,size=256k,sparse,sectorsize=4096",
	        "c%u.img,size=256k,sparse,sectorsize=64k",
	        "c%u.img,size=256k,nocache",
	        "c%u.img,size=256k,split=64k,sparse,sectorsize=512,nocache",
	        "c%u.img,size=256k,split=65536,sync",
	};
	u8 *model = malloc(DISK), *buf = malloc(DISK);
	u64 x = 88172645463325252ull;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		char config[100];
		snprintf(config, sizeof(config), kinds[i], i);
		memset(model, 0, DISK);
		for (int round = 0; round < 4; round++) {
			struct block *b;
			struct err e;
			int r = try_open(&b, config, IMAGE_CREATE, &e);
			if (r == -EINVAL && strstr(e.text, "no direct I/O"))
				break;
			assert_int_equal(r, 0);
			check_all(b, model, buf);
			for (int k = 0; k < 300; k++)
				one_op(b, model, buf, &x, true);
			check_all(b, model, buf);
			assert_int_equal(block_close(b), 0);
		}
	}
	free(model);
	free(buf);
}

static void test_ranges(void **state)
{
	u8 buf[8192] = {0};
	struct block *b = must_open("r.img,size=64k,split=16k,sparse,sectorsize=4096");
	struct iovec huge[2] = {{buf, SIZE_MAX}, {buf, SIZE_MAX}};
	assert_int_equal(block_pread(b, buf, 1, 64 * KiB), -EINVAL);
	assert_int_equal(block_pread(b, buf, 8192, 60 * KiB), -EINVAL);
	assert_int_equal(block_pwrite(b, buf, 512, UINT64_MAX - 100), -EINVAL);
	assert_int_equal(block_preadv(b, huge, 2, 0), -EINVAL);
	assert_int_equal(block_discard(b, 0, UINT64_MAX), -EINVAL);
	assert_int_equal(block_write_zeroes(b, 64 * KiB, 1, true), -EINVAL);
	assert_int_equal(block_pread(b, buf, 0, 64 * KiB), 0);
	assert_int_equal(block_close(b), 0);
}

/* The format's test vector, bit for bit (sparse-image.md, 2.3). */
static void test_vector(void **state)
{
	u8 buf[4096], lut[64], want[64];
	struct block *b = must_open("v.img,size=64k,split=16k,sectorsize=4096,sparse");
	static const struct {
		u8 byte;
		u64 off;
	} w[] = {{0x41, 0}, {0x42, 12288}, {0x43, 16384}, {0x00, 4096}};
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		memset(buf, w[i].byte, sizeof(buf));
		assert_int_equal(block_pwrite(b, buf, 4096, w[i].off), 0);
	}
	assert_int_equal(block_close(b), 0);
	assert_int_equal(file_size("v.img.0000"), 8192);
	assert_int_equal(file_size("v.img.0001"), 4096);
	assert_int_equal(file_size("v.img.0002"), 0);
	assert_int_equal(file_size("v.img.0003"), 0);
	assert_int_equal(file_size("v.img.lut"), 64);
	assert_int_equal(file_size("v.img.journal"), -1);
	memset(want, 0xff, sizeof(want));
	put_le32(want, 0);
	put_le32(want + 12, 1);
	put_le32(want + 16, 0);
	int fd = open("v.img.lut", O_RDONLY);
	assert_int_equal(read(fd, lut, 64), 64);
	close(fd);
	assert_memory_equal(lut, want, 64);
}

/* A discard gives storage and slots back once it is flushed. */
static void test_space(void **state)
{
	static u8 buf[MiB];
	struct block *b = must_open("t.img,size=64M,sparse,sectorsize=4096");
	memset(buf, 0x5a, sizeof(buf));
	for (int round = 0; round < 8; round++) {
		for (u64 i = 0; i < 8; i++)
			assert_int_equal(block_pwrite(b, buf, sizeof(buf), (round * 8 + i) * MiB), 0);
		assert_int_equal(block_flush(b), 0);
		assert_int_equal(block_discard(b, round * 8 * MiB, 8 * MiB), 0);
		assert_int_equal(block_flush(b), 0);
	}
	struct stat st;
	assert_int_equal(stat("t.img", &st), 0);
	assert_true(st.st_size <= (off_t)(8 * MiB)); /* the same slots again and again */
	assert_true(st.st_blocks * 512 < (off_t)(MiB));
	assert_int_equal(block_close(b), 0);
}

/* Storage of a file beyond what its length needs. */
static off_t ahead_of(const char *name)
{
	struct stat st;
	assert_int_equal(stat(name, &st), 0);
	return (off_t)st.st_blocks * 512 - st.st_size;
}

static bool host_reserves(void)
{
	int fd = open("probe", O_RDWR | O_CREAT, 0600);
	struct host_stat st;
	assert_true(fd >= 0);
	bool can = host_io.ops->stat(&host_io, fd, &st) == 0 && st.ahead &&
	           host_io.ops->ahead(&host_io, fd, 0, MiB) == 0;
	assert_true(!can || ahead_of("probe") >= (off_t)MiB);
	assert_true(!can || host_io.ops->truncate(&host_io, fd, 0) == 0);
	assert_int_equal(ahead_of("probe"), 0);
	close(fd);
	return can;
}

static void append(struct block *b, u64 at, u64 len)
{
	static u8 buf[MiB];
	memset(buf, 0x77, sizeof(buf));
	for (u64 i = 0; i < len; i += MiB)
		assert_int_equal(block_pwrite(b, buf, sizeof(buf), at + i), 0);
	assert_int_equal(block_flush(b), 0); /* all that it takes is counted now */
}

/* What is reserved behind the end is little, cannot be seen, and goes when nobody needs it. */
static void test_ahead(void **state)
{
	const off_t little = 48 * KiB; /* of the host's own book-keeping */
	bool can = host_reserves();
	struct block *b = must_open("h.img,size=16M,sparse,sectorsize=4096");
	append(b, 0, 4 * MiB);
	assert_int_equal(file_size("h.img"), 4 * MiB);
	assert_true(!can || ahead_of("h.img") >= (off_t)(64 * KiB));
	assert_true(ahead_of("h.img") <= (off_t)(4 * MiB / 32) + little);
	block_idle(b);
	assert_true(ahead_of("h.img") < little);
	append(b, 4 * MiB, 4 * MiB);
	assert_true(!can || ahead_of("h.img") >= (off_t)(64 * KiB));
	assert_int_equal(block_close(b), 0);
	assert_true(ahead_of("h.img") < little);
	assert_int_equal(file_size("h.img"), 8 * MiB);
	pid_t pid = fork();
	if (pid == 0) {
		append(must_open("h.img"), 8 * MiB, 4 * MiB);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(!can || ahead_of("h.img") >= (off_t)(64 * KiB));
	b = must_open("h.img");
	assert_true(ahead_of("h.img") < little);
	append(b, 12 * MiB, 4 * MiB); /* the last one: the segment is full */
	assert_true(ahead_of("h.img") < little);
	assert_int_equal(block_close(b), 0);
	assert_int_equal(file_size("h.img"), 16 * MiB);
}

struct appender {
	struct block *b;
	pthread_t thread;
	u8 fill;
	bool failed;
};

#define APPENDERS 4u
#define APPENDS 500u

static void *append_sectors(void *opaque)
{
	struct appender *a = opaque;
	u8 buf[4096];
	memset(buf, a->fill, sizeof(buf));
	for (u64 i = 0; i < APPENDS; i++)
		a->failed |= block_pwrite(a->b, buf, sizeof(buf), (i * APPENDERS + a->fill - 1) * 4096) != 0;
	return NULL;
}

/* Segments and table become longer beside writers, up to 16 times as long; nothing is lost. */
static void test_grow_at_once(void **state)
{
	static const char *const kind[] = {"split=8M,sparse", "sparse", "split=8M"};
	for (u32 k = 0; k < ARRAY_SIZE(kind); k++) {
		struct appender a[APPENDERS];
		char config[80];
		u8 buf[4096];
		snprintf(config, sizeof(config), "g%u.img,size=8M,sectorsize=4096,%s", k, kind[k]);
		struct block *b = must_open(config);
		for (u32 i = 0; i < APPENDERS; i++) {
			a[i] = (struct appender){.b = b, .fill = (u8)(i + 1)};
			assert_int_equal(pthread_create(&a[i].thread, NULL, append_sectors, &a[i]), 0);
		}
		for (u64 size = 16 * MiB; size <= 128 * MiB; size *= 2) {
			assert_int_equal(block_grow(b, size), 0);
			assert_int_equal(block_size(b), size);
			memset(buf, (int)(size / MiB), sizeof(buf));
			assert_int_equal(block_pwrite(b, buf, sizeof(buf), size - sizeof(buf)), 0);
			assert_int_equal(block_flush(b), 0);
		}
		assert_int_equal(block_grow(b, 128 * MiB + 512), -EINVAL);
		assert_int_equal(block_grow(b, 64 * MiB), -EINVAL);
		if (strstr(kind[k], "split"))
			assert_int_equal(block_grow(b, 129 * MiB), -EINVAL); /* not whole segments */
		for (u32 i = 0; i < APPENDERS; i++) {
			pthread_join(a[i].thread, NULL);
			assert_false(a[i].failed);
		}
		assert_int_equal(block_close(b), 0);
		*strchr(config, ',') = 0; /* its size is recorded */
		b = must_open(config);
		assert_int_equal(b->size, 128 * MiB);
		for (u64 i = 0; i < APPENDERS * APPENDS; i++) {
			assert_int_equal(block_pread(b, buf, sizeof(buf), i * 4096), 0);
			assert_int_equal(buf[4095], i % APPENDERS + 1);
		}
		for (u64 size = 16 * MiB; size <= 128 * MiB; size *= 2) {
			assert_int_equal(block_pread(b, buf, sizeof(buf), size - sizeof(buf)), 0);
			assert_int_equal(buf[0], size / MiB);
		}
		assert_int_equal(block_close(b), 0);
	}
}

/* Time for others, between a look at a file's size and what follows from it. */
static int slow_stat(const struct host_io *io, int fd, struct host_stat *st)
{
	int r = host_io.ops->stat(&host_io, fd, st);
	usleep(300);
	return r;
}

static ssize_t slow_pwritev(const struct host_io *io, int fd, const struct iovec *iov, int n, u64 off)
{
	usleep(50);
	return host_io.ops->pwritev(&host_io, fd, iov, n, off);
}

/* Giving back cuts a file at its end, while others want to append: nothing is lost. */
static void test_ahead_at_once(void **state)
{
	struct block *b = NULL;
	struct err e = {0};
	struct appender a[APPENDERS];
	struct host_io_ops ops = *host_io.ops;
	const struct host_io io = {.ops = &ops};
	struct image_spec s;
	u8 buf[4096];
	ops.stat = slow_stat;
	ops.pwritev = slow_pwritev;
	if (image_parse(&s, "r.img,size=64M,sparse,sectorsize=4096", &e) < 0 ||
	        image_open(&b, &s, IMAGE_CREATE | IMAGE_EAGER | IMAGE_QUIET, &io, &e) < 0)
		fail_msg("%s", e.text);
	for (u32 i = 0; i < APPENDERS; i++) {
		a[i] = (struct appender){.b = b, .fill = (u8)(i + 1)};
		assert_int_equal(pthread_create(&a[i].thread, NULL, append_sectors, &a[i]), 0);
	}
	while (__atomic_load_n(&b->stats.writes, __ATOMIC_RELAXED) < APPENDERS * APPENDS)
		block_idle(b);
	for (u32 i = 0; i < APPENDERS; i++) {
		pthread_join(a[i].thread, NULL);
		assert_false(a[i].failed);
	}
	for (u64 i = 0; i < APPENDERS * APPENDS; i++) {
		u8 fill = (u8)(i % APPENDERS + 1);
		assert_int_equal(block_pread(b, buf, sizeof(buf), i * 4096), 0);
		for (u32 k = 0; k < sizeof(buf); k++)
			assert_int_equal(buf[k], fill);
	}
	assert_int_equal(block_close(b), 0);
}

/* --- the queue --- */

struct counter {
	pthread_mutex_t lock;
	unsigned done, failed;
};

static void count_done(struct block_req *r)
{
	struct counter *c = r->opaque;
	pthread_mutex_lock(&c->lock);
	c->done++;
	c->failed += r->result != 0;
	pthread_mutex_unlock(&c->lock);
}

/* A disk whose reads wait for each other: all workers must be inside at once. */
struct gate {
	struct block b;
	pthread_barrier_t barrier;
};

static int gate_read(struct block *b, const struct iovec *iov, int n, u64 off)
{
	pthread_barrier_wait(&container_of(b, struct gate, b)->barrier);
	return 0;
}

static void test_depth(void **state)
{
	static const struct block_ops ops = {.preadv = gate_read};
	struct gate g = {.b = {.ops = &ops, .size = MiB, .ro = true}};
	struct counter c = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct block_queue *q;
	struct block_req r[BLOCK_WORKERS];
	u8 buf[512];
	struct iovec v = {buf, sizeof(buf)};
	pthread_barrier_init(&g.barrier, NULL, BLOCK_WORKERS);
	assert_int_equal(block_queue_create(&q, &g.b, BLOCK_WORKERS), 0);
	for (int i = 0; i < BLOCK_WORKERS; i++) {
		r[i] = (struct block_req){
		        .op = BLOCK_READ, .iov = &v, .niov = 1, .done = count_done, .opaque = &c};
		block_submit(q, &r[i]);
	}
	block_queue_drain(q);
	assert_int_equal(c.done, BLOCK_WORKERS);
	assert_int_equal(block_queue_peak(q), BLOCK_WORKERS);
	assert_true(BLOCK_WORKERS >= 16);
	block_queue_destroy(q);
	pthread_barrier_destroy(&g.barrier);
}

/* A disk that tells when it is idle. */
struct sleeper {
	struct block b;
	sem_t idle;
};

static int sleeper_write(struct block *b, const struct iovec *iov, int n, u64 off)
{
	return 0;
}

static int sleeper_flush(struct block *b)
{
	return 0;
}

static void sleeper_idle(struct block *b)
{
	sem_post(&container_of(b, struct sleeper, b)->idle);
}

/* Some time after writes the disk hears that nothing is going on, and is flushed if nobody did that. */
static void test_rest(void **state)
{
	static const struct block_ops ops = {
	        .pwritev = sleeper_write, .flush = sleeper_flush, .idle = sleeper_idle};
	struct sleeper s = {.b = {.ops = &ops, .size = MiB}};
	struct counter c = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct block_queue *q;
	u8 buf[512];
	struct iovec v = {buf, sizeof(buf)};
	struct block_req w = {.op = BLOCK_WRITE, .iov = &v, .niov = 1, .done = count_done, .opaque = &c};
	struct block_req f = {.op = BLOCK_FLUSH, .done = count_done, .opaque = &c};
	sem_init(&s.idle, 0, 0);
	assert_int_equal(block_queue_create(&q, &s.b, 4), 0);
	block_submit(q, &w);
	block_queue_drain(q);
	block_submit(q, &f);
	assert_int_equal(sem_wait(&s.idle), 0);
	assert_int_equal(__atomic_load_n(&s.b.stats.flushes, __ATOMIC_RELAXED), 1);
	block_submit(q, &w);
	assert_int_equal(sem_wait(&s.idle), 0);
	block_queue_destroy(q);
	assert_int_equal(s.b.stats.flushes, 2);
	assert_int_equal(c.done, 3);
	sem_destroy(&s.idle);
}

static void test_queue(void **state)
{
	struct block *b = must_open("q.img,size=8M,split=1M,sparse,sectorsize=4096,sync");
	struct counter c = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct block_queue *q;
	static u8 buf[256][4096];
	static struct block_req r[256];
	static struct iovec v[256];
	assert_int_equal(block_queue_create(&q, b, 8), 0);
	for (unsigned i = 0; i < 256; i++) {
		memset(buf[i], (int)i, 4096);
		v[i] = (struct iovec){buf[i], 4096};
		r[i] = (struct block_req){.op = BLOCK_WRITE,
		        .iov = &v[i],
		        .niov = 1,
		        .off = i * 7 % 256 * 32768ull,
		        .done = count_done,
		        .opaque = &c};
		block_submit(q, &r[i]);
	}
	struct block_req bad = {
	        .op = BLOCK_DISCARD, .off = b->size, .len = 1, .done = count_done, .opaque = &c};
	block_submit(q, &bad);
	block_queue_drain(q);
	assert_int_equal(c.done, 257);
	assert_int_equal(c.failed, 1);
	assert_int_equal(bad.result, -EINVAL);
	block_queue_destroy(q);
	for (unsigned i = 0; i < 256; i++) {
		u8 got[4096];
		assert_int_equal(block_pread(b, got, 4096, i * 7 % 256 * 32768ull), 0);
		assert_memory_equal(got, buf[i], 4096);
	}
	assert_int_equal(block_close(b), 0);
}

/* Memory follows what is touched, not the size of the disk. */
static void test_terabyte(void **state)
{
	u8 sector[4096] = {1};
	struct block *b = must_open("big.img,size=64G,split=8G,sparse,sectorsize=4096");
	struct rusage before, after;
	getrusage(RUSAGE_SELF, &before);
	for (u64 i = 0; i < 64; i++)
		assert_int_equal(block_pwrite(b, sector, 4096, i * GiB), 0);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 4096); /* KiB; the table has 64 MiB */
	assert_int_equal(block_close(b), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_options),
	        cmocka_unit_test_teardown(test_refused, clean),
	        cmocka_unit_test_teardown(test_damage, clean),
	        cmocka_unit_test_teardown(test_grow, clean),
	        cmocka_unit_test_teardown(test_locks, clean),
	        cmocka_unit_test_teardown(test_contents, clean),
	        cmocka_unit_test_teardown(test_ranges, clean),
	        cmocka_unit_test_teardown(test_vector, clean),
	        cmocka_unit_test_teardown(test_space, clean),
	        cmocka_unit_test_teardown(test_ahead, clean),
	        cmocka_unit_test_teardown(test_ahead_at_once, clean),
	        cmocka_unit_test_teardown(test_grow_at_once, clean),
	        cmocka_unit_test(test_depth),
	        cmocka_unit_test(test_rest),
	        cmocka_unit_test_teardown(test_queue, clean),
	        cmocka_unit_test_teardown(test_terabyte, clean),
	        cmocka_unit_test_teardown(test_many_segments, clean),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
