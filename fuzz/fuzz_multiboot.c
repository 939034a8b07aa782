/*
 * Multiboot headers and the ELF headers behind them, on bytes of exact length. It holds that what is accepted
 * lies in the file and in memory, that its parts do not overlap, and that the kernel is entered in one of
 * them.
 */
#include "boot/multiboot.h"

#include "../tests/unit/multiboot_kernels.h"
#include "input.h"
#include "standalone.h"

#define LIMIT (64 * MiB)

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct boot_image img = {0};
	struct err e = {0};
	bool entered = false;

	if (mb_parse(data, len, LIMIT, "fuzz", &img, &e) < 0) {
		check(e.text[0]);
		return 0;
	}
	check(img.nsegments >= 1 && img.nsegments <= BOOT_MAX_SEGMENTS && img.kernel_end <= LIMIT);
	for (unsigned n = 0; n < img.nsegments; n++) {
		const struct boot_segment *s = &img.segment[n];

		check(s->data >= data && s->filesz <= len && s->data + s->filesz <= data + len);
		check(s->filesz <= s->memsz && s->gpa >= MiB && s->gpa + s->memsz <= img.kernel_end);
		for (unsigned i = 0; i < n; i++)
			check(img.segment[i].gpa + img.segment[i].memsz <= s->gpa ||
			        s->gpa + s->memsz <= img.segment[i].gpa);
		entered |= img.entry >= s->gpa && img.entry < s->gpa + s->filesz;
	}
	check(entered && !img.entry64);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	switch (n) {
	case 0: return make_flat(buf, cap);
	case 1: return make_elf_mb(buf, cap, false);
	case 2: return make_elf_mb(buf, cap, true);
	default: return 0;
	}
}
