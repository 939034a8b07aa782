/*
 * The reader of ISO 9660, Rock Ridge and Joliet on arbitrary bytes.
 */
#include "fs_tree.h"
#include "standalone.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	fuzz_tree_behind(data, len, FI_ISO_SKIP);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	return n <= 1 && cap >= FI_ISO_LEN ? fi_iso(buf, n == 0) : 0;
}
