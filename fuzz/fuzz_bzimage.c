/*
 * Kernel files as a whole: the input becomes a file, is loaded with and without unpacking, and placed.
 * Besides the sanitizers' checks it holds that a refusal has words, that everything placed lies in
 * RAM between the low megabyte and the firmware tables, and that initrd and kernel do not meet.
 */
#include "boot/boot.h"

#include "../tests/unit/boot_kernels.h"
#include "standalone.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#if HAVE_ZLIB
#include <zlib.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif

#define RAM (16 * MiB)

struct bench {
	struct mem m;
	int fd, initrd_fd;
	char path[32], initrd[32];
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Once for a whole run: the address space of a machine is expensive under a sanitizer. */
static struct bench *bench(void)
{
	static struct bench b;
	struct err e;

	if (b.m.base)
		return &b;
	check(mem_create(&b.m, RAM, false, false, &e) == 0);
	b.fd = memfd_create("kernel", 0);
	b.initrd_fd = memfd_create("initrd", 0);
	check(b.fd >= 0 && b.initrd_fd >= 0);
	check(write(b.initrd_fd, "initrd", 6) == 6);
	snprintf(b.path, sizeof(b.path), "/proc/self/fd/%d", b.fd);
	snprintf(b.initrd, sizeof(b.initrd), "/proc/self/fd/%d", b.initrd_fd);
	return &b;
}

static void check_image(const struct bench *b, const struct boot_image *img)
{
	bool entered = false;

	for (unsigned n = 0; n < img->nsegments; n++) {
		const struct boot_segment *s = &img->segment[n];

		check(s->gpa >= MiB && s->gpa < img->page_tables && s->memsz <= img->page_tables - s->gpa);
		check(s->gpa + s->memsz <= img->kernel_end);
		entered |= img->entry >= s->gpa && img->entry < s->gpa + s->filesz;
	}
	check(entered);
	check(img->initrd >= img->kernel_end && img->initrd + img->initrd_len <= img->page_tables);
	check(img->page_tables + img->page_tables_len <= b->m.low - BOOT_TABLES_SIZE);
}

static void try(struct bench *b, enum boot_unpack mode)
{
	const struct boot_linux_args args = {
	        .kernel = b->path, .initrd = b->initrd, .cmdline = "", .unpack = mode};
	static const struct boot_tables_out tables;
	static const struct board_info board;
	struct boot_image img;
	struct x86_state cpu;
	struct err e = {0};

	if (boot_linux_load(&args, &b->m, &img, &e) < 0) {
		check(e.text[0] && e.code < 0);
		return;
	}
	check_image(b, &img);
	check(boot_linux_place(&img, &b->m, &board, &tables, &cpu, &e) == 0);
	boot_linux_free(&img);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct bench *b = bench();

	check(ftruncate(b->fd, 0) == 0 && pwrite(b->fd, data, len, 0) == (ssize_t)len);
	try(b, BOOT_UNPACK_AUTO);
	try(b, BOOT_UNPACK_NEVER);
	return 0;
}

/* --- seeds --- */

/* A compressed ELF kernel; which compression matters to fuzz_elf. */
static size_t pack(u8 *out, size_t cap)
{
	u8 elf[TEST_ELF_LEN];
	size_t len = make_elf(elf, sizeof(elf));

#if HAVE_ZSTD
	return ZSTD_compress(out, cap, elf, len, 3);
#elif HAVE_ZLIB
	uLongf got = cap;

	return compress2(out, &got, elf, len, 6) == Z_OK ? got
	                                                 : 0; /* no gzip header: not entered, but parsed */
#else
	memcpy(out, elf, MIN(cap, len));
	return MIN(cap, len);
#endif
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	u8 packed[4096];

	switch (n) {
	case 0: return make_bzimage(buf, cap, 0x400);
	case 1: return make_bzimage_payload(buf, cap, packed, pack(packed, sizeof(packed)));
	case 2: return make_elf(buf, cap);
	default: return 0;
	}
}
