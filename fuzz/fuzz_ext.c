/*
 * The reader of ext2, ext3 and ext4, with a journal that was not replayed, on arbitrary bytes.
 */
#include "fs_tree.h"
#include "standalone.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	fuzz_tree_behind(data, len, 1024);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	if (n > 1 || cap < FI_EXT_LEN)
		return 0;
	fi_ext(buf, n == 1);
	memmove(buf, buf + 1024, FI_EXT_LEN - 1024);
	return FI_EXT_LEN - 1024;
}
