/*
 * An entry of the boot loader specification and loader.conf of arbitrary text: what is found has a title and
 * places inside the disk, what is refused has words.
 */
#include "fuzz_menu.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	fuzz_menu("/loader/entries/a+1-2.conf", data, len);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const char *const seeds[] = {
	        "title A\nversion 6.1~rc1\nmachine-id 1\nsort-key s\nlinux /k\ninitrd /i /j\noptions a "
	        "b\noptions c\n",
	        "default *\nlinux k\nefi /x\n",
	};

	return n < ARRAY_SIZE(seeds) ? fuzz_text(seeds[n], buf, cap) : 0;
}
