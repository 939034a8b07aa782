/*
 * xhyve-img cut off at every change: shrink, repair, resize and convert run on images that random guests
 * left behind (with leaks, zeros, slots in any order, damage as the original program makes it), on the file
 * system in memory. At every change of a file the tool is killed, and the power fails with every part of
 * what was not synced. Then the image must still read as before, be fit for use, and the same command
 * must bring it to its end.
 */
#include "guest.h"
#include "img/img.h"

#include "base/log.h"
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BOOT 1
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 4
#else
#define ROUNDS 40
#endif

enum job { SHRINK, REPAIR, GROW, GROW_OPEN, CUT_OFF, CONVERT };

struct trial {
	enum job job;
	u64 seed, rng, states, stuck;
	struct image_spec spec;
	struct original geo;
	struct memfs fs; /* as it was before the command */
	u8 *model, *buf;
	u64 size, new_size;
	char words[64];
	char said[600];
	u32 pos;
	const char *kind;
};

#define FAIL(t, ...) fail_at(t, __LINE__, __VA_ARGS__)

static void NORETURN fail_at(const struct trial *t, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void NORETURN fail_at(const struct trial *t, int line, const char *fmt, ...)
{
	char text[300];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("seed %llu, \"%s\", %s at change %u, sector %u, %u segments of %llu (line %d): %s\n%s\n",
	        (unsigned long long)t->seed, t->words, t->kind, t->pos, t->geo.sector, t->geo.nseg,
	        (unsigned long long)t->geo.per_segment, line, text, t->said);
	fflush(stdout);
	fail();
	abort();
}

/* Runs "xhyve-img WORDS" on a file system; what it said is kept. */
static int run(struct trial *t, struct memfs *fs, const char *words)
{
	const char *argv[8] = {"xhyve-img"};
	char copy[64], *rest = copy, *word, *out = NULL;
	size_t len = 0;
	int argc = 1;
	struct img_ctx c = {.io = &fs->io, .out = open_memstream(&out, &len)};
	c.err = c.out;
	snprintf(copy, sizeof(copy), "%s", words);
	while ((word = strsep(&rest, " ")) && argc < 8)
		argv[argc++] = word;
	int status = img_main(argc, argv, &c);
	fclose(c.out);
	snprintf(t->said, sizeof(t->said), "[%s: %d] %.500s", words, status, out);
	free(out);
	if (memfs_open_files(fs))
		FAIL(t, "%s left files open", words);
	return status;
}

static void expect(struct trial *t, struct memfs *fs, const char *words)
{
	if (run(t, fs, words) != IMG_OK)
		FAIL(t, "%s failed", words);
}

/* --- the image --- */

static void poke(struct memfs *fs, const char *name, u64 off, const void *data, u64 len)
{
	struct iovec v = {(void *)(uintptr_t)data, len};
	int fd = fs->io.ops->open(&fs->io, name, 2 /* O_RDWR */, 0);
	assert_true(fd >= 0);
	assert_int_equal(fs->io.ops->pwritev(&fs->io, fd, &v, 1, off), (ssize_t)len);
	fs->io.ops->close(&fs->io, fd);
}

static void segment_name(const struct trial *t, char *name, u32 i)
{
	snprintf(name, MF_NAME, t->geo.is_split ? "%s.%04u" : "%s", DISK, i);
}

/* Leaks at the end, entries past it, and two sectors in one slot: what the original leaves. */
static void damage(struct trial *t)
{
	u32 seg = rng_below(&t->rng, t->geo.nseg), table[64];
	u64 first = seg * t->geo.per_segment, n = t->geo.per_segment;
	char name[MF_NAME];
	u8 junk[4096];
	segment_name(t, name, seg);
	memset(junk, 0xdd, sizeof(junk));
	poke(&t->fs, name, (u64)memfs_size(&t->fs, name), junk, t->geo.sector);
	memfs_peek(&t->fs, DISK ".lut", first * 4, table, n * 4);
	if (t->job != REPAIR)
		return;
	u64 i = rng_below(&t->rng, n), k = rng_below(&t->rng, n);
	if (table[i] == 0xffffffff)
		table[i] = (u32)(memfs_size(&t->fs, name) / t->geo.sector);
	else if (table[k] == 0xffffffff)
		table[k] = table[i];
	poke(&t->fs, DISK ".lut", first * 4, table, n * 4);
}

static void make_image(struct trial *t)
{
	struct guest g = {.fs = &t->fs, .flushes = true};
	memfs_init(&t->fs, BOOT);
	guest_geometry(&t->spec, &t->geo, &t->rng);
	while (t->job == CUT_OFF && (!t->geo.is_split || t->geo.nseg < 2))
		guest_geometry(&t->spec, &t->geo, &t->rng);
	while (t->job == GROW && !t->geo.is_split)
		guest_geometry(&t->spec, &t->geo, &t->rng);
	t->size = g.size = original_size(&t->geo);
	g.sector = t->geo.sector;
	g.rng = rng_next(&t->rng);
	t->model = calloc(1, t->size + 64 * KiB);
	t->buf = calloc(1, t->size + 64 * KiB);
	if (guest_open(&g, &t->spec, IMAGE_CREATE) < 0)
		FAIL(t, "%s", g.fail);
	g.cur = t->model;
	for (u32 i = 0; i < 40; i++)
		assert_int_equal(guest_step(&g), 0);
	assert_int_equal(guest_close(&g), 0);
	damage(t);
	original_read(&t->fs, &t->geo, t->model);
}

static void make_words(struct trial *t)
{
	u64 segment = t->geo.per_segment * t->geo.sector;
	t->new_size = t->job == CUT_OFF ? t->size - segment : t->size + segment;
	switch (t->job) {
	case SHRINK: strcpy(t->words, "shrink " DISK); break;
	case REPAIR: strcpy(t->words, "repair " DISK); break;
	case CONVERT: strcpy(t->words, "convert " DISK " e,sparse"); break;
	default:
		snprintf(t->words, sizeof(t->words), "resize " DISK " %llu --force",
		        (unsigned long long)t->new_size);
		break;
	}
}

/* --- a state --- */

/* Opens by name and compares; returns the size. */
static u64 compare(struct trial *t, struct memfs *c, const char *path, const char *when)
{
	struct guest g = {.fs = c};
	struct image_spec s = {.sparse = true};
	strcpy(s.path, path);
	if (guest_open(&g, &s, 0) < 0)
		FAIL(t, "%s: %s", when, g.fail);
	u64 size = block_size(g.b), same = MIN(size, t->size);
	if (t->job == CUT_OFF)
		same = t->new_size;
	assert_true(size <= t->size + 64 * KiB);
	assert_int_equal(block_pread(g.b, t->buf, size, 0), 0);
	assert_int_equal(block_close(g.b), 0);
	if (memcmp(t->buf, t->model, same))
		FAIL(t, "%s: %s reads wrong", when, path);
	for (u64 i = t->size; i < size; i++) {
		if (t->buf[i])
			FAIL(t, "%s: what is new is not zeros", when);
	}
	return size;
}

static void check_same_geometry(struct trial *t, struct memfs *c, const char *when, bool sound)
{
	const char *bad = sound ? original_check(c, &t->geo) : NULL;
	if (bad)
		FAIL(t, "%s: %s", when, bad);
	original_read(c, &t->geo, t->buf);
	if (memcmp(t->buf, t->model, t->size))
		FAIL(t, "%s: reads wrong by the original's rule", when);
}

static void check_state(struct trial *t, struct memfs *c)
{
	t->states++;
	switch (t->job) {
	case SHRINK:
	case REPAIR:
		check_same_geometry(t, c, "cut off", t->job == SHRINK);
		expect(t, c, t->words);
		check_same_geometry(t, c, "finished", true);
		expect(t, c, "check " DISK);
		break;
	case GROW:
	case GROW_OPEN:
	case CUT_OFF: {
		u64 size = compare(t, c, DISK, "cut off");
		if (size != t->size && size != t->new_size)
			FAIL(t, "the size is %llu", (unsigned long long)size);
		if (run(t, c, t->words) != IMG_OK) {
			t->stuck++;
			expect(t, c, "repair " DISK);
			expect(t, c, t->words);
		}
		if (compare(t, c, DISK, "finished") != t->new_size)
			FAIL(t, "the size is not the new one");
		break;
	}
	case CONVERT:
		check_same_geometry(t, c, "source", true);
		if (memfs_size(c, "e.lut") >= 0)
			compare(t, c, "e", "cut off");
		else
			expect(t, c, "convert " DISK " f,sparse");
		break;
	}
}

/* As the control socket's resize does it, while somebody uses the disk. */
static void grow_open(struct trial *t, struct memfs *fs)
{
	struct guest g = {.fs = fs, .eager = true};
	if (guest_open(&g, &t->spec, 0) < 0)
		FAIL(t, "%s", g.fail);
	assert_int_equal(block_grow(g.b, t->new_size), 0);
	assert_int_equal(block_size(g.b), t->new_size);
	assert_int_equal(block_close(g.b), 0);
}

static void explore(struct trial *t)
{
	struct memfs log, shadow, c;
	memfs_copy(&log, &t->fs);
	log.record = true;
	t->kind = "uninterrupted";
	if (t->job == GROW_OPEN)
		grow_open(t, &log);
	else
		expect(t, &log, t->words);
	memfs_copy(&shadow, &t->fs);
	shadow.track = true;
	memfs_settle(&shadow);
	for (t->pos = 0; t->pos <= log.nop; t->pos++) {
		struct memfs_op *op = t->pos < log.nop ? &log.op[t->pos] : NULL;
		t->kind = "kill";
		memfs_copy(&c, &shadow);
		if (op)
			memfs_apply(
			        &c, op, 0, rng_below(&t->rng, memfs_op_pieces(op)) * (op->kind == MF_WRITE));
		check_state(t, &c);
		memfs_fini(&c);
		struct memfs_cut cut;
		t->kind = "power cut";
		memfs_cut_begin(&cut, &shadow, 24, 12, &t->rng);
		cut.ordered = true;
		while (memfs_cut_next(&cut, &c, BOOT + 1)) {
			check_state(t, &c);
			memfs_fini(&c);
		}
		memfs_cut_end(&cut);
		if (op)
			memfs_apply(&shadow, op, t->pos, UINT64_MAX);
	}
	memfs_fini(&shadow);
	memfs_fini(&log);
}

static void run_job(enum job job)
{
	u64 states = 0, stuck = 0;
	for (u64 seed = 1; seed <= ROUNDS; seed++) {
		struct trial t = {.job = job, .seed = seed, .rng = seed * 7919 + job, .kind = "making"};
		make_image(&t);
		make_words(&t);
		explore(&t);
		states += t.states;
		stuck += t.stuck;
		memfs_fini(&t.fs);
		free(t.model);
		free(t.buf);
	}
	printf("%llu states, %llu needed a repair\n", (unsigned long long)states, (unsigned long long)stuck);
	assert_true(states > 60);
}

static void test_shrink(void **state)
{
	run_job(SHRINK);
}

static void test_repair(void **state)
{
	run_job(REPAIR);
}

static void test_grow(void **state)
{
	run_job(GROW);
}

static void test_grow_open(void **state)
{
	run_job(GROW_OPEN);
}

static void test_cut_off(void **state)
{
	run_job(CUT_OFF);
}

static void test_convert(void **state)
{
	run_job(CONVERT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_shrink), cmocka_unit_test(test_repair),
	        cmocka_unit_test(test_grow), cmocka_unit_test(test_grow_open), cmocka_unit_test(test_cut_off),
	        cmocka_unit_test(test_convert)};
	log_set_level(LOG_ERROR);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
