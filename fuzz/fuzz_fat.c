/*
 * The reader of FAT on arbitrary bytes.
 */
#include "fs_tree.h"
#include "standalone.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	fuzz_tree_behind(data, len, 0);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	return n == 0 && cap >= FI_FAT_LEN ? fi_fat(buf) : 0;
}
