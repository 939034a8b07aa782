/*
 * Every host call that fails, once and from then on: with an error, short, or as a sync that loses
 * what it should have written; and a host without space. A guest creates an image, opens it, uses it,
 * closes it; the n-th call fails, for every n. Nobody crashes, errors are reported with words, a failed
 * creation leaves nothing, a failed sync is never forgotten; then the host works again and the image
 * has everything that was acknowledged, and after a power cut everything that was flushed.
 */
#include "guest.h"

#include "base/log.h"
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BOOT 1
#define STEPS 24
#ifdef __SANITIZE_ADDRESS__
#define SEEDS 2
#else
#define SEEDS 4
#endif

enum layout { SPARSE, SPLIT, RAW };

struct trial {
	const char *name;
	enum memfs_fault fault;
	int error;
	bool sticky;
	u64 n, space;
	enum layout layout;
	u64 seed;
	struct image_spec spec;
	struct original geo;
	struct memfs fs;
	struct oracle oracle;
	u64 size;
	bool created, sync_failed, eager;
	u64 failed_ops;
	u32 first_failed; /* of the operations; STEPS: none */
};

#define FAIL(t, ...) fail_at(t, __LINE__, __VA_ARGS__)

static void NORETURN fail_at(const struct trial *t, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void NORETURN fail_at(const struct trial *t, int line, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("%s%s at call %llu, space %llu, layout %d, seed %llu (line %d): %s\n", t->name,
	        t->sticky ? " from then on" : "", (unsigned long long)t->n, (unsigned long long)t->space,
	        t->layout, (unsigned long long)t->seed, line, text);
	fflush(stdout);
	fail();
	abort();
}

static void arm(struct trial *t, bool on)
{
	t->fs.fault = on ? t->fault : FAULT_NONE;
	t->fs.fault_error = t->error;
	t->fs.fault_at = t->n;
	t->fs.fault_sticky = t->sticky;
	t->fs.space = on ? t->space : 0;
}

/* Nothing may be open, and an error has words. */
static void check_refusal(struct trial *t, int r, const char *text)
{
	if (r < 0 && !text[0])
		FAIL(t, "error %d without a message", r);
	if (r < 0 && memfs_open_files(&t->fs))
		FAIL(t, "files are left open");
}

static bool create(struct trial *t)
{
	struct err e = {0};
	int r = image_create(&t->spec, &t->fs.io, &e);
	check_refusal(t, r, e.text);
	if (r < 0 && !t->sticky && memfs_names(&t->fs))
		FAIL(t, "a failed creation left %u files, the first is %s", memfs_names(&t->fs),
		        t->fs.now.v[0].name);
	return r == 0;
}

static int sync_call_failed(const struct trial *t)
{
	return t->fault == FAULT_SYNC && t->fs.faults > 0;
}

/* A sync inside any operation may fail; from a flush that failed on, none succeeds. */
static void use(struct trial *t, struct guest *g)
{
	bool flush_failed = false;
	t->first_failed = STEPS;
	for (u32 i = 0; i < STEPS; i++) {
		u64 before = t->fs.faults;
		bool flush = i % 5 == 4;
		int r = flush ? guest_flush(g) : guest_step(g);
		if (r == 0 && flush && flush_failed)
			FAIL(t, "a flush succeeds after one that failed");
		if (r == 0 && flush && sync_call_failed(t) && t->fs.faults > before)
			FAIL(t, "a flush succeeds although its sync failed");
		if (r < 0 && t->fs.faults == 0 && !t->space)
			FAIL(t, "operation %u failed (%d) without a reason", i, r);
		t->failed_ops += r < 0;
		t->first_failed = r < 0 ? MIN(t->first_failed, i) : t->first_failed;
		flush_failed |= r < 0 && flush && t->fault == FAULT_SYNC;
	}
	int r = guest_close(g);
	if (r == 0 && flush_failed)
		FAIL(t, "close succeeds after a flush that failed");
	if (memfs_open_files(&t->fs))
		FAIL(t, "files are left open");
	if (t->fs.faults == 0 && original_ahead(&t->fs, &t->geo))
		FAIL(t, "storage stays reserved");
}

static void check_content(struct trial *t, const u8 *buf, enum oracle_rule rule, const char *who)
{
	for (u32 i = 0; i < t->oracle.npieces; i++) {
		if (!oracle_allows(&t->oracle, rule, i, buf + (size_t)i * OR_PIECE))
			FAIL(t, "%s: piece %u is not what was %s", who, i,
			        rule == ORACLE_KILL ? "acknowledged" : "flushed");
	}
}

static void check_disk(struct trial *t, struct memfs *fs, enum oracle_rule rule, const char *who)
{
	struct guest g = {.fs = fs};
	u8 *buf = malloc(t->size);
	if (t->layout == SPARSE) {
		const char *bad = original_check(fs, &t->geo);
		if (bad)
			FAIL(t, "%s: %s", who, bad);
		original_read(fs, &t->geo, buf);
		check_content(t, buf, ORACLE_CUT, who);
	}
	if (guest_open(&g, &t->spec, 0) < 0)
		FAIL(t, "%s: %s", who, g.fail);
	if (block_pread(g.b, buf, t->size, 0) < 0)
		FAIL(t, "%s: read failed", who);
	check_content(t, buf, rule, who);
	if (block_close(g.b) < 0)
		FAIL(t, "%s: close failed", who);
	free(buf);
}

/* The power fails after all that. */
static void check_cuts(struct trial *t)
{
	struct memfs shadow, c;
	struct memfs_cut cut;
	u64 rng = t->seed;
	memfs_init(&shadow, BOOT);
	shadow.track = true;
	for (u32 i = 0; i < t->fs.nop; i++)
		memfs_apply(&shadow, &t->fs.op[i], i, UINT64_MAX);
	memfs_cut_begin(&cut, &shadow, 8, 4, &rng);
	cut.ordered = true;
	for (u32 i = 0; i < 6 && memfs_cut_next(&cut, &c, BOOT + 1); i++) {
		check_disk(t, &c, ORACLE_CUT, "power cut");
		memfs_fini(&c);
	}
	memfs_cut_end(&cut);
	memfs_fini(&shadow);
}

static void make_spec(struct trial *t)
{
	u64 rng = t->seed;
	do
		guest_geometry(&t->spec, &t->geo, &rng);
	while (t->layout == SPLIT && t->geo.nseg == 1);
	t->spec.sparse = t->layout == SPARSE;
	if (t->layout == RAW)
		t->spec.split = 0;
	t->size = original_size(&t->geo);
}

/* False: n lies behind the last call. */
static bool run_trial(struct trial *t)
{
	make_spec(t);
	memfs_init(&t->fs, BOOT);
	t->fs.record = true;
	oracle_init(&t->oracle, (u32)(t->size / OR_PIECE));
	struct guest g = {.fs = &t->fs,
	        .o = &t->oracle,
	        .rng = t->seed,
	        .size = t->size,
	        .sector = t->geo.sector,
	        .flushes = true,
	        .eager = t->eager};
	arm(t, true);
	bool created = create(t);
	if (created) {
		int r = guest_open(&g, &t->spec, 0);
		check_refusal(t, r, g.fail);
		if (r == 0)
			use(t, &g);
	}
	bool reached = t->fs.faults > 0;
	arm(t, false);
	if (created) {
		oracle_at(&t->oracle, memfs_pos(&t->fs));
		check_cuts(t);
		check_disk(t, &t->fs, ORACLE_KILL, "afterwards");
	}
	memfs_fini(&t->fs);
	oracle_fini(&t->oracle);
	return reached;
}

static void for_every_call(const char *name, enum memfs_fault fault, int error, bool sticky)
{
	u64 trials = 0, failed = 0;
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		for (int layout = SPARSE; layout <= RAW; layout++) {
			bool more = true;
			for (u64 n = 1; more; n++) {
				struct trial t = {.name = name,
				        .fault = fault,
				        .error = error,
				        .sticky = sticky,
				        .n = n,
				        .layout = layout,
				        .eager = seed & 1,
				        .seed = seed * 77};
				more = run_trial(&t);
				trials++;
				failed += t.failed_ops;
			}
		}
	}
	printf("%s%s: %llu trials, %llu operations failed\n", name, sticky ? " from then on" : "",
	        (unsigned long long)trials, (unsigned long long)failed);
	assert_true(trials > 80 && (failed > 0 || fault == FAULT_SHORT));
}

static void test_eio(void **state)
{
	for_every_call("EIO", FAULT_ERROR, -EIO, false);
	for_every_call("EIO", FAULT_ERROR, -EIO, true);
}

static void test_enospc(void **state)
{
	for_every_call("ENOSPC", FAULT_ERROR, -ENOSPC, false);
	for_every_call("ENOSPC", FAULT_ERROR, -ENOSPC, true);
}

static void test_eintr(void **state)
{
	for_every_call("EINTR", FAULT_ERROR, -EINTR, false);
}

static void test_short(void **state)
{
	for_every_call("short transfer", FAULT_SHORT, 0, false);
	for_every_call("short transfer", FAULT_SHORT, 0, true);
}

static void test_sync(void **state)
{
	for_every_call("failed sync", FAULT_SYNC, -EIO, false);
	for_every_call("failed sync", FAULT_SYNC, -EIO, true);
}

static void test_no_space(void **state)
{
	u64 failed = 0;
	for (u64 seed = 1; seed <= 20; seed++) {
		for (u64 space = 1; space < 60; space++) {
			struct trial t = {.name = "no space", .space = space, .seed = seed * 131};
			run_trial(&t);
			failed += t.failed_ops;
			/* what is reserved is there for everyone who needs it */
			struct trial eager = {
			        .name = "no space", .space = space, .seed = t.seed, .eager = true};
			run_trial(&eager);
			if (eager.first_failed < t.first_failed)
				FAIL(&eager, "operation %u fails, without reserving number %u was the first",
				        eager.first_failed, t.first_failed);
		}
	}
	assert_true(failed > 100);
}

/* --- growing while the disk is used --- */

static void check_grown(struct trial *t, struct block *b, const u8 *model, u64 size)
{
	u8 *buf = malloc(size);
	assert_int_equal(block_size(b), size);
	assert_int_equal(block_pread(b, buf, size, 0), 0);
	if (memcmp(buf, model, size))
		FAIL(t, "a disk of %llu bytes reads wrong", (unsigned long long)size);
	free(buf);
}

/* The n-th call fails: the disk is as before, grows when it is asked again, and what is new can be used. */
static bool run_growth(struct trial *t)
{
	make_spec(t);
	u64 size = t->size + (t->layout == SPARSE && !t->geo.is_split ? 3 * t->geo.sector : t->size);
	u8 *model = calloc(1, size);
	struct guest g = {.fs = &t->fs,
	        .rng = t->seed,
	        .size = t->size,
	        .sector = t->geo.sector,
	        .cur = model,
	        .flushes = true};
	memfs_init(&t->fs, BOOT);
	if (!create(t) || guest_open(&g, &t->spec, 0) < 0)
		FAIL(t, "%s", g.fail);
	for (u32 i = 0; i < STEPS; i++)
		assert_int_equal(guest_step(&g), 0);
	arm(t, true);
	int r = block_grow(g.b, size);
	bool reached = t->fs.faults > 0;
	t->failed_ops = r < 0;
	arm(t, false);
	check_grown(t, g.b, model, r < 0 ? t->size : size);
	if (block_grow(g.b, size) < 0)
		FAIL(t, "it does not grow after it could not once");
	check_grown(t, g.b, model, size);
	g.size = size;
	for (u32 i = 0; i < STEPS; i++)
		assert_int_equal(guest_step(&g), 0);
	check_grown(t, g.b, model, size);
	assert_int_equal(guest_close(&g), 0);
	t->spec.size = size;
	if (guest_open(&g, &t->spec, 0) < 0)
		FAIL(t, "%s", g.fail);
	check_grown(t, g.b, model, size);
	assert_int_equal(guest_close(&g), 0);
	assert_int_equal(memfs_open_files(&t->fs), 0);
	memfs_fini(&t->fs);
	free(model);
	return reached;
}

static void test_growth(void **state)
{
	u64 trials = 0, failed = 0;
	for (u64 seed = 1; seed <= 3 * SEEDS; seed++) {
		for (int layout = SPARSE; layout <= SPLIT; layout++) {
			bool more = true;
			for (u64 n = 1; more; n++) {
				struct trial t = {.name = "growth",
				        .fault = FAULT_ERROR,
				        .error = seed & 1 ? -EIO : -ENOSPC,
				        .n = n,
				        .layout = layout,
				        .seed = seed * 57};
				more = run_growth(&t);
				trials++;
				failed += t.failed_ops;
			}
		}
	}
	printf("growth: %llu trials, %llu failed\n", (unsigned long long)trials, (unsigned long long)failed);
	assert_true(failed > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_eio), cmocka_unit_test(test_enospc),
	        cmocka_unit_test(test_eintr), cmocka_unit_test(test_short), cmocka_unit_test(test_sync),
	        cmocka_unit_test(test_no_space), cmocka_unit_test(test_growth)};
	log_set_level(LOG_ERROR);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	if (!freopen("/dev/null", "w", stderr)) /* the disk complains of thousands of failed syncs */
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
