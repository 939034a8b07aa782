/*
 * Crashes at every point. Random guests (one or several threads, small random geometries, slots that
 * are freed and used again, images closed or left behind by a kill and opened again) run on a file system in
 * memory; then the record of host operations is replayed, and after every change of a file
 *   - the process dies: between changes and inside a write, at every 512 bytes;
 *   - the power fails: what was not synced may be there or not, piece by piece, size by size; what was
 *     never written in a grown file reads as zeros or, in some runs, as garbage;
 *   - the disk is pulled out: as the power failure, but the host goes on running (same boot).
 * Each state is looked at three times: by an independent check of the files with the original
 * program's read rule, through image_open against the oracle, and again after closing. Some go on:
 * more random operations against an array, or a second crash while the first is being recovered.
 *
 * XHYVE_CRASH_STATES: how many states at least; XHYVE_CRASH_SEED: the first string's seed;
 * XHYVE_CRASH_THREADS: always so many. A failure names its string's seed, which reproduces it as the
 * first one (with several threads only sooner or later).
 */
#include "guest.h"

#include "base/log.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#define DEFAULT_STATES 20000ull
#else
#define DEFAULT_STATES 200000ull
#endif
#define BOOT 1
#define NEXT_BOOT 2
#define THREADS 4

enum crash { KILLED, POWER_CUT, PULLED };

static const char *const crash_name[] = {"kill", "power cut", "disk pulled"};

struct tally {
	u64 states[3], cut_points, strings, more, again, creating, refused, foreign, ahead;
};

struct run {
	u64 seed, rng;
	struct image_spec spec;
	struct original geo;
	struct memfs fs;
	struct oracle oracle;
	u64 size;
	u32 created; /* position from which the image must be there */
	u32 threads;
	bool garbage, ordered, thorough, eager;
	bool again;      /* the files were being recovered once already */
	bool recovering; /* this is the crash of a process that was recovering another one */
	struct tally *tally;
	u8 *a, *b; /* two disks' worth */
	u32 pos;
	char where[200];
};

#define FAIL(r, ...) fail_at(r, __LINE__, __VA_ARGS__)

static void NORETURN fail_at(const struct run *r, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void NORETURN fail_at(const struct run *r, int line, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "XHYVE_CRASH_SEED=%llu, position %u of %u, %s (line %d): %s\n",
	        (unsigned long long)r->seed, r->pos, r->fs.nop, r->where, line, text);
	fail();
	abort();
}

/* --- the guests --- */

static void *guest_thread(void *arg)
{
	struct guest *g = arg;
	for (u32 i = 0; i < 6; i++) {
		if (guest_step(g) < 0)
			snprintf(g->fail, sizeof(g->fail), "a guest's operation failed");
	}
	return NULL;
}

static void run_threads(struct run *r, struct guest *g)
{
	pthread_t t[THREADS];
	struct guest one[THREADS];
	for (u32 i = 0; i < r->threads; i++) {
		one[i] = *g;
		one[i].rng = rng_next(&r->rng);
		one[i].cur = NULL;
		pthread_create(&t[i], NULL, guest_thread, &one[i]);
	}
	for (u32 i = 0; i < r->threads; i++) {
		pthread_join(t[i], NULL);
		if (one[i].fail[0])
			FAIL(r, "%s", one[i].fail);
	}
}

/* Without closing: the life after it starts from what is in the page cache. */
static void die(struct guest *g)
{
	memfs_kill(g->fs);
	block_close(g->b);
	memfs_revive(g->fs);
}

static void open_again(struct run *r, struct guest *g)
{
	if (guest_open(g, &r->spec, 0) < 0)
		FAIL(r, "opened again: %s", g->fail);
	if (block_pread(g->b, r->a, r->size, 0) < 0 || memcmp(r->a, g->cur, r->size))
		FAIL(r, "opened again it reads something else");
}

static void run_string(struct run *r, struct guest *g)
{
	u32 n = 8 + rng_below(&r->rng, 18);
	for (u32 i = 0; i < n; i++) {
		if (guest_step(g) < 0)
			FAIL(r, "a guest's operation failed");
		if (g->fail[0])
			FAIL(r, "%s", g->fail);
		u32 end = rng_below(&r->rng, 24);
		if (end == 0 && guest_close(g) < 0)
			FAIL(r, "close failed");
		if (end == 1)
			die(g);
		if (end <= 1)
			open_again(r, g);
	}
}

static void record(struct run *r)
{
	struct err e = {0};
	struct guest g = {.fs = &r->fs,
	        .o = &r->oracle,
	        .rng = rng_next(&r->rng),
	        .size = r->size,
	        .sector = r->geo.sector,
	        .flushes = true,
	        .eager = r->eager};
	snprintf(r->where, sizeof(r->where), "recording");
	r->fs.record = true;
	if (rng_below(&r->rng, 2) && image_create(&r->spec, &r->fs.io, &e) < 0)
		FAIL(r, "create: %s", e.text);
	if (guest_open(&g, &r->spec, IMAGE_CREATE) < 0)
		FAIL(r, "%s", g.fail);
	r->created = memfs_pos(&r->fs);
	if (r->threads > 1) {
		r->fs.yield = true;
		run_threads(r, &g);
		r->fs.yield = false;
	} else {
		g.cur = calloc(1, r->size);
		run_string(r, &g);
		free(g.cur);
		g.cur = NULL;
	}
	if (guest_close(&g) < 0)
		FAIL(r, "close failed");
}

/* --- a state --- */

static void check_files(struct run *r, const struct memfs *c, const char *when)
{
	const char *bad = original_check(c, &r->geo);
	if (bad)
		FAIL(r, "%s: %s", when, bad);
}

/* What the oracle knows about a piece; the line with the star is what was read. */
static void print_piece(const struct run *r, u32 piece, const u8 *data)
{
	const struct oracle_piece *p = &r->oracle.piece[piece];
	for (u32 i = 0; i < p->n; i++) {
		const struct oracle_op *op = &r->oracle.op[p->v[i].op];
		fprintf(stderr,
		        "%c operation %u: issued %llu at %d, acknowledged %lld at %d, flushed at %d\n",
		        memcmp(p->v[i].data, data, OR_PIECE) ? ' ' : '*', p->v[i].op,
		        (unsigned long long)op->issued, (int)op->pos_issued, (long long)op->acked,
		        (int)op->pos_acked, (int)op->pos_flushed);
	}
}

static void compare_allowed(struct run *r, const u8 *buf, enum oracle_rule rule, const char *who)
{
	for (u32 i = 0; i < r->oracle.npieces; i++) {
		const u8 *data = buf + (size_t)i * OR_PIECE;
		if (oracle_allows(&r->oracle, rule, i, data))
			continue;
		print_piece(r, i, data);
		FAIL(r, "%s: piece %u of %u reads as something that is not allowed", who, i,
		        r->oracle.npieces);
	}
}

/*
 * The journal is believed although the disk was pulled out: which sectors it names is right, but what is
 * in their slots may not have reached the disk. Counted, not judged.
 */
static void count_foreign(struct run *r, const u8 *buf)
{
	for (u32 i = 0; i < r->oracle.npieces; i++)
		r->tally->foreign += !oracle_knows(&r->oracle, i, buf + (size_t)i * OR_PIECE);
}

static void go_on(struct run *r, struct guest *g)
{
	g->cur = r->a;
	g->flushes = true;
	u32 n = 50 + rng_below(&r->rng, 150);
	for (u32 i = 0; i < n; i++) {
		if (guest_step(g) < 0)
			FAIL(r, "an operation after the crash failed");
		if (g->fail[0])
			FAIL(r, "after the crash, operation %u: %s", i, g->fail);
	}
	if (block_pread(g->b, r->b, r->size, 0) < 0 || memcmp(r->a, r->b, r->size))
		FAIL(r, "after %u more operations the disk reads wrong", n);
}

/*
 * While the image was being made: it is there in full, or can be made now. Only where the file system
 * mixed up the order of names may it be refused, with a message: some segments are there, others not.
 */
static void check_creating(struct run *r, struct memfs *c, enum crash kind)
{
	struct guest g = {.fs = c};
	r->tally->creating++;
	if (original_exists(c, &r->geo))
		check_files(r, c, "an image that exists");
	if (guest_open(&g, &r->spec, IMAGE_CREATE) < 0) {
		if (kind == KILLED || r->ordered)
			FAIL(r, "%s", g.fail);
		r->tally->refused++;
		return;
	}
	memset(r->b, 1, r->size);
	if (block_pread(g.b, r->b, r->size, 0) < 0)
		FAIL(r, "read failed");
	memset(r->a, 0, r->size);
	if (memcmp(r->a, r->b, r->size))
		FAIL(r, "a new image does not read as zeros");
	if (block_close(g.b) < 0)
		FAIL(r, "close failed");
	check_files(r, c, "after closing");
}

/* c is used up. more: goes on with random operations. */
static void check_state(struct run *r, struct memfs *c, enum crash kind, bool more)
{
	struct guest g = {.fs = c,
	        .rng = rng_next(&r->rng),
	        .size = r->size,
	        .sector = r->geo.sector,
	        .eager = r->eager};
	/* without a journal nobody knows that storage was reserved; file systems keep the order, memfs does
	 * not */
	bool journal = memfs_size(c, DISK ".journal") >= 0;
	r->tally->states[kind]++;
	if (r->pos < r->created) {
		check_creating(r, c, kind);
		return;
	}
	check_files(r, c, "before opening");
	r->tally->ahead += original_ahead(c, &r->geo) != 0;
	if (kind == KILLED && !journal && original_ahead(c, &r->geo))
		FAIL(r, "storage is reserved, and no journal tells of it");
	original_read(c, &r->geo, r->a);
	/* a recovery that was cut off may have believed the journal of a disk that was pulled out */
	if (kind == PULLED && r->recovering)
		count_foreign(r, r->a);
	else if (kind != PULLED || !r->again)
		compare_allowed(r, r->a, ORACLE_CUT, "original's rule");
	if (guest_open(&g, &r->spec, 0) < 0)
		FAIL(r, "%s", g.fail);
	if (block_pread(g.b, r->a, r->size, 0) < 0)
		FAIL(r, "read failed");
	if (kind == PULLED)
		count_foreign(r, r->a);
	else
		compare_allowed(r, r->a, kind == KILLED ? ORACLE_KILL : ORACLE_CUT, "opened");
	if (more) {
		r->tally->more++;
		go_on(r, &g);
	}
	if (block_close(g.b) < 0)
		FAIL(r, "close failed");
	check_files(r, c, "after closing");
	if (journal && original_ahead(c, &r->geo))
		FAIL(r, "storage stays reserved");
	original_read(c, &r->geo, r->b);
	if (memcmp(r->a, r->b, r->size))
		FAIL(r, "after closing the original's rule reads something else");
	if (memfs_open_files(c))
		FAIL(r, "files are left open");
}

static void label(struct run *r, enum crash kind, u64 a, const char *extra)
{
	snprintf(r->where, sizeof(r->where), "%s %llu%s%s", crash_name[kind], (unsigned long long)a,
	        r->garbage ? " with garbage" : "", extra);
}

/* --- the states at one position --- */

/* A second crash, while the first one is being recovered. */
static void crash_again(struct run *r, const struct memfs *state, enum crash first)
{
	struct memfs log, shadow, c;
	struct guest g = {.fs = &log};
	memfs_copy(&log, state);
	log.record = true;
	if (guest_open(&g, &r->spec, 0) < 0)
		FAIL(r, "%s", g.fail);
	block_close(g.b);
	memfs_copy(&shadow, state);
	shadow.track = true;
	memfs_settle(&shadow);
	r->recovering = true;
	for (u32 i = 0; i < log.nop; i++) {
		r->tally->again++;
		u64 n = memfs_op_pieces(&log.op[i]);
		memfs_copy(&c, &shadow);
		memfs_apply(&c, &log.op[i], 0, rng_below(&r->rng, n));
		label(r, first, i, ", killed while recovering");
		r->again = true;
		check_state(r, &c, first, false);
		r->again = false;
		memfs_fini(&c);
		memfs_apply(&shadow, &log.op[i], i, UINT64_MAX);
	}
	r->recovering = false;
	memfs_fini(&shadow);
	memfs_fini(&log);
}

static void kill_states(struct run *r, const struct memfs *shadow)
{
	const struct memfs_op *op = r->pos < r->fs.nop ? &r->fs.op[r->pos] : NULL;
	u64 n = op ? memfs_op_pieces(op) : 1;
	struct memfs c;
	for (u64 i = 0; i < n; i++) {
		memfs_copy(&c, shadow);
		/* other threads were in the middle of something, too */
		for (u32 k = r->pos + 1; k < r->fs.nop && k < r->pos + THREADS && r->threads > 1; k++) {
			if (r->fs.op[k].begin <= r->pos && r->fs.op[k].kind == MF_WRITE &&
			        rng_below(&r->rng, 2))
				memfs_apply(&c, &r->fs.op[k], 0,
				        rng_below(&r->rng, memfs_op_pieces(&r->fs.op[k]) + 1));
		}
		if (i)
			memfs_apply(&c, op, 0, i);
		label(r, KILLED, i, "");
		if (r->pos >= r->created && rng_below(&r->rng, 128) == 0)
			crash_again(r, &c, KILLED);
		label(r, KILLED, i, "");
		check_state(r, &c, KILLED, rng_below(&r->rng, 16) == 0);
		memfs_fini(&c);
	}
}

static void cut_states(struct run *r, const struct memfs *shadow)
{
	struct memfs_cut cut;
	struct memfs c;
	r->tally->cut_points++;
	memfs_cut_begin(&cut, shadow, r->thorough ? 4096 : 128, r->thorough ? 64 : 24, &r->rng);
	cut.garbage = r->garbage;
	cut.ordered = r->ordered;
	for (u64 i = 0;; i++) {
		enum crash kind = !r->garbage && r->pos >= r->created && rng_below(&r->rng, 8) == 0
		                          ? PULLED
		                          : POWER_CUT;
		if (!memfs_cut_next(&cut, &c, kind == PULLED ? BOOT : NEXT_BOOT))
			break;
		label(r, kind, i, "");
		if (r->pos >= r->created && rng_below(&r->rng, 2048) == 0)
			crash_again(r, &c, kind);
		label(r, kind, i, "");
		check_state(r, &c, kind, rng_below(&r->rng, 64) == 0);
		memfs_fini(&c);
	}
	memfs_cut_end(&cut);
}

static void explore(struct run *r)
{
	struct memfs shadow;
	memfs_init(&shadow, BOOT);
	shadow.track = true;
	for (r->pos = 0; r->pos <= r->fs.nop; r->pos++) {
		oracle_at(&r->oracle, r->pos);
		kill_states(r, &shadow);
		cut_states(r, &shadow);
		if (r->pos < r->fs.nop)
			memfs_apply(&shadow, &r->fs.op[r->pos], r->pos, UINT64_MAX);
	}
	memfs_fini(&shadow);
}

static u64 number(const char *name, u64 otherwise)
{
	const char *s = getenv(name);
	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

static void one_string(struct tally *t, u64 seed, bool thorough)
{
	struct run r = {.seed = seed, .rng = seed * 0x9e3779b9 + 1, .tally = t, .thorough = thorough};
	guest_geometry(&r.spec, &r.geo, &r.rng);
	r.size = original_size(&r.geo);
	r.ordered = rng_below(&r.rng, 4);
	r.garbage = rng_below(&r.rng, 2);
	r.eager = rng_below(&r.rng, 2);
	r.threads = rng_below(&r.rng, 4) ? 1 : 2 + rng_below(&r.rng, THREADS - 1);
	r.threads = MIN((u32)number("XHYVE_CRASH_THREADS", r.threads), THREADS);
	r.a = malloc(r.size);
	r.b = malloc(r.size);
	memfs_init(&r.fs, BOOT);
	oracle_init(&r.oracle, (u32)(r.size / OR_PIECE));
	record(&r);
	explore(&r);
	t->strings++;
	memfs_fini(&r.fs);
	oracle_fini(&r.oracle);
	free(r.a);
	free(r.b);
}

static void test_crash(void **state)
{
	struct tally t = {0};
	u64 want = number("XHYVE_CRASH_STATES", DEFAULT_STATES), seed = number("XHYVE_CRASH_SEED", 1),
	    total = 0;
	log_set_level(LOG_ERROR);            /* a journal that is refused is what many states are about */
	mallopt(M_MMAP_THRESHOLD, 64 << 20); /* the layer's tables come and go 200,000 times */
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	while (total < want) {
		one_string(&t, seed++, getenv("XHYVE_CRASH_STATES") != NULL);
		total = t.states[KILLED] + t.states[POWER_CUT] + t.states[PULLED];
	}
	printf("%llu crash states: %llu kills, %llu power cuts at %llu points, %llu disks pulled (%llu "
	       "pieces foreign); %llu strings; "
	       "%llu while creating (%llu refused), %llu with storage reserved, %llu went on, %llu crashed "
	       "again\n",
	        (unsigned long long)total, (unsigned long long)t.states[KILLED],
	        (unsigned long long)t.states[POWER_CUT], (unsigned long long)t.cut_points,
	        (unsigned long long)t.states[PULLED], (unsigned long long)t.foreign,
	        (unsigned long long)t.strings, (unsigned long long)t.creating, (unsigned long long)t.refused,
	        (unsigned long long)t.ahead, (unsigned long long)t.more, (unsigned long long)t.again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_crash)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
