/*
 * A real process on real files, killed (SIGKILL) at random moments. It keeps many requests going
 * through a queue of workers, each on its own 512-byte pieces: writes of stamped pieces (number,
 * sequence, check), zeros that give space back, flushes now and then. In memory that it shares with its
 * parent it notes what it is about to do with a piece and what was acknowledged. After the kill the
 * parent opens the image and finds in each piece one of these two.
 *
 * XHYVE_KILL_ROUNDS: how many kills.
 */
#include "base/log.h"
#include "block/image.h"
#include "block/queue.h"
#include "memfs.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define ROUNDS 30
#define PIECES 512u
#define SLOTS 32u /* requests under way */
#define WORKERS 6
#define PIECE 512u

/* (sequence << 1) | 1 for zeros; 0: never touched */
struct shared {
	u64 issued[PIECES], acked[PIECES];
	u64 acks;
	bool ready;
};

struct stamp {
	u64 piece, value, check;
	u64 fill[61];
};
static_assert(sizeof(struct stamp) == PIECE, "one piece");

struct slot {
	struct block_req req;
	struct iovec iov;
	struct stamp stamp;
	struct writer *w;
	u64 rng, piece;
	u32 number;
};

struct writer {
	struct block_queue *q;
	struct shared *sh;
	u64 seq;
	struct slot slot[SLOTS];
};

static u64 mix(u64 x)
{
	return rng_next(&x);
}

static void make_stamp(struct stamp *s, u64 piece, u64 value)
{
	memset(s, 0, sizeof(*s));
	if (value == 0 || value & 1)
		return;
	*s = (struct stamp){.piece = piece, .value = value, .check = mix(piece ^ value << 20)};
	for (u32 i = 0; i < ARRAY_SIZE(s->fill); i++)
		s->fill[i] = s->check + i;
}

static void submit_next(struct slot *s);

static void on_done(struct block_req *r)
{
	struct slot *s = r->opaque;
	if (r->result < 0)
		_exit(3);
	if (r->op != BLOCK_FLUSH) {
		u64 issued = s->w->sh->issued[s->piece];
		__atomic_store_n(&s->w->sh->acked[s->piece], issued, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&s->w->sh->acks, 1, __ATOMIC_RELAXED);
	}
	submit_next(s);
}

static void submit_next(struct slot *s)
{
	u64 seq = __atomic_add_fetch(&s->w->seq, 1, __ATOMIC_RELAXED);
	u32 what = rng_below(&s->rng, 40);
	s->req = (struct block_req){.done = on_done, .opaque = s};
	if (what == 0) {
		s->req.op = BLOCK_FLUSH;
		block_submit(s->w->q, &s->req);
		return;
	}
	bool zero = what < 10;
	s->piece = s->number + SLOTS * rng_below(&s->rng, PIECES / SLOTS);
	s->req.off = s->piece * PIECE;
	if (zero) {
		s->req.op = BLOCK_WRITE_ZEROES;
		s->req.len = PIECE;
		s->req.unmap = true;
	} else {
		make_stamp(&s->stamp, s->piece, seq << 1);
		s->iov = (struct iovec){&s->stamp, PIECE};
		s->req.op = BLOCK_WRITE;
		s->req.iov = &s->iov;
		s->req.niov = 1;
	}
	__atomic_store_n(&s->w->sh->issued[s->piece], seq << 1 | zero, __ATOMIC_SEQ_CST);
	block_submit(s->w->q, &s->req);
}

/* The child: writes until it dies. first_seq: sequences grow over all lives. */
static void NORETURN run_writer(const struct image_spec *spec, struct shared *sh, u64 first_seq, u64 seed)
{
	struct writer *w = calloc(1, sizeof(*w));
	struct block *b;
	struct err e = {0};
	if (image_open(&b, spec, IMAGE_QUIET, &host_io, &e) < 0) {
		fprintf(stderr, "child: %s\n", e.text);
		_exit(2);
	}
	if (block_queue_create(&w->q, b, WORKERS) < 0)
		_exit(2);
	w->sh = sh;
	w->seq = first_seq;
	for (u32 i = 0; i < SLOTS; i++) {
		w->slot[i] = (struct slot){.w = w, .number = i, .rng = mix(seed + i)};
		submit_next(&w->slot[i]);
	}
	__atomic_store_n(&sh->ready, true, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

static void verify(const struct image_spec *spec, struct shared *sh, u32 round)
{
	static struct stamp disk[PIECES];
	struct stamp a, b;
	struct block *d;
	struct err e = {0};
	if (image_open(&d, spec, IMAGE_QUIET, &host_io, &e) < 0)
		fail_msg("round %u: %s", round, e.text);
	assert_int_equal(block_pread(d, disk, sizeof(disk), 0), 0);
	assert_int_equal(block_close(d), 0);
	for (u32 i = 0; i < PIECES; i++) {
		make_stamp(&a, i, sh->acked[i]);
		make_stamp(&b, i, sh->issued[i]);
		if (memcmp(&disk[i], &a, PIECE) && memcmp(&disk[i], &b, PIECE))
			fail_msg("round %u: piece %u has %llu of piece %llu; acknowledged was %llu, under "
			         "way %llu",
			        round, i, (unsigned long long)disk[i].value,
			        (unsigned long long)disk[i].piece, (unsigned long long)sh->acked[i],
			        (unsigned long long)sh->issued[i]);
		/* what it is now is what the next life starts from */
		sh->acked[i] = sh->issued[i] = disk[i].value ? disk[i].value : 1;
	}
}

static u64 kill_once(const struct image_spec *spec, struct shared *sh, u32 round, u64 *rng)
{
	int status;
	u64 before = sh->acks;
	sh->ready = false;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		run_writer(spec, sh, (u64)(round + 1) << 32, rng_next(rng));
	while (!__atomic_load_n(&sh->ready, __ATOMIC_ACQUIRE) && waitpid(pid, &status, WNOHANG) == 0)
		usleep(200);
	usleep(rng_below(rng, 25000));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("round %u: the child ended with status 0x%x before it was killed", round, status);
	verify(spec, sh, round);
	return sh->acks - before;
}

/* Pieces of one sector belong to different requests where sectors are larger than pieces. */
static void run_rounds(u32 sector, u64 split)
{
	char dir[] = "/tmp/xhyve-kill-XXXXXX", cmd[64];
	const char *n = getenv("XHYVE_KILL_ROUNDS");
	struct image_spec spec = {
	        .size = PIECES * PIECE, .split = split, .logical = sector, .physical = sector};
	struct err e = {0};
	u64 rng = sector, acks = 0;
	u32 rounds = n ? (u32)atoi(n) : ROUNDS / 2;
	struct shared *sh =
	        mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_equal(sh == MAP_FAILED ? NULL : sh, sh);
	assert_non_null(mkdtemp(dir));
	snprintf(spec.path, sizeof(spec.path), "%s/d", dir);
	spec.sparse = true;
	if (image_create(&spec, &host_io, &e) < 0)
		fail_msg("%s", e.text);
	for (u32 i = 0; i < rounds; i++)
		acks += kill_once(&spec, sh, i, &rng);
	printf("%u kills, %llu acknowledged requests\n", rounds, (unsigned long long)acks);
	assert_true(acks > 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
	munmap(sh, sizeof(*sh));
}

static void test_kill_small(void **state)
{
	run_rounds(512, 64 * KiB);
}

static void test_kill_large(void **state)
{
	run_rounds(4096, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_kill_small), cmocka_unit_test(test_kill_large)};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
