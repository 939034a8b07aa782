/*
 * Runs a fuzz target without libFuzzer: its seeds, then deterministic mutations of them, or the files
 * named on the command line (a crash to look at). So `make check` exercises the targets with any
 * compiler, always the same way.
 */
#include "standalone.h"

#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX (1u << 17)
#define ROUNDS 4000

struct rng {
	u64 s;
};

/* xorshift64* */
static u64 next(struct rng *r)
{
	r->s ^= r->s >> 12;
	r->s ^= r->s << 25;
	r->s ^= r->s >> 27;
	return r->s * 2685821657736338717ull;
}

/* Values that break arithmetic more often than random ones do. */
static u64 interesting(struct rng *r)
{
	static const u64 values[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x100000, 0x7fffffff,
	        0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0xfffffffffffff000, ~0ull};

	return values[next(r) % ARRAY_SIZE(values)] + (next(r) % 3 - 1);
}

static size_t mutate(struct rng *r, u8 *buf, size_t len)
{
	unsigned changes = 1 + next(r) % 4;

	while (changes-- && len) {
		/* The first KiB holds the headers. */
		size_t at = next(r) % (next(r) % 4 ? MIN(len, 1024u) : len);
		u64 v = interesting(r);

		switch (next(r) % 8) {
		case 0: buf[at] ^= BIT(next(r) % 8); break;
		case 1: buf[at] = next(r); break;
		case 2: len = at; break;
		case 3: memset(buf + at, 0, MIN(len - at, next(r) % 64)); break;
		default: memcpy(buf + at, &v, MIN(len - at, 1ull << next(r) % 4)); break;
		}
	}
	return len;
}

/* An exact heap block, so that a sanitizer sees a read beyond it. */
static void run(const u8 *data, size_t len)
{
	u8 *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, data, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static int run_file(const char *path, u8 *buf)
{
	FILE *f = fopen(path, "rb");
	size_t len;

	if (!f) {
		perror(path);
		return 1;
	}
	len = fread(buf, 1, INPUT_MAX, f);
	fclose(f);
	run(buf, len);
	return 0;
}

int main(int argc, char **argv)
{
	struct rng rng = {.s = 0x9e3779b97f4a7c15ull};
	u8 *buf = malloc(INPUT_MAX);
	unsigned seeds = 0;
	int rc = 0;

	if (!buf)
		return 1;
	for (int n = 1; n < argc; n++)
		rc |= run_file(argv[n], buf);
	if (argc == 1) {
		while (fuzz_seed(seeds, buf, INPUT_MAX))
			run(buf, fuzz_seed(seeds++, buf, INPUT_MAX));
		for (unsigned n = 0; n < ROUNDS; n++)
			run(buf, mutate(&rng, buf, fuzz_seed(n % seeds, buf, INPUT_MAX)));
		printf("%u seeds, %u mutations\n", seeds, ROUNDS);
	}
	free(buf);
	return rc;
}
