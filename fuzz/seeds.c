/*
 * What libFuzzer starts from: `fuzz_NAME --seeds=DIRECTORY` writes the target's seeds there and ends. A
 * target without any takes numbers as they come: noise of several lengths makes it do something of
 * everything.
 */
#include "standalone.h"

#include <stdio.h>
#include <stdlib.h>

#define SEED_MAX (1u << 17)
#define NOISE_SEEDS 8

int LLVMFuzzerInitialize(int *argc, char ***argv);

size_t __attribute__((weak)) fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	size_t len = 16ull << n;
	u32 x = 0x12345678 + n;

	if (n >= NOISE_SEEDS)
		return 0;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		buf[i] = (u8)(x >> 24);
	}
	return len;
}

static bool write_file(const char *dir, unsigned n, const u8 *data, size_t len)
{
	char path[4096];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "%s/seed-%u", dir, n);
	f = fopen(path, "wb");
	ok = f && fwrite(data, 1, len, f) == len;
	if (f && fclose(f))
		ok = false;
	if (!ok)
		perror(path);
	return ok;
}

static int write_seeds(const char *dir)
{
	u8 *buf = malloc(SEED_MAX);
	bool ok = buf != NULL;
	size_t len;

	for (unsigned n = 0; ok && (len = fuzz_seed(n, buf, SEED_MAX)); n++)
		ok = write_file(dir, n, buf, len);
	free(buf);
	return ok ? 0 : 1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char option[] = "--seeds=";

	if (*argc == 2 && strncmp((*argv)[1], option, strlen(option)) == 0)
		exit(write_seeds((*argv)[1] + strlen(option)));
	return 0;
}
