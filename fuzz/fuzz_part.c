/*
 * Partition tables of arbitrary bytes: what is found is inside the disk and has a number of its own. The sums
 * of a GPT are made right first, else hardly any change of it would be looked at.
 */
#include "fs/volumes.h"

#include "../tests/unit/fs_images.h"
#include "standalone.h"

#include <stdlib.h>

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	u8 *copy = malloc(len + 1);
	struct volumes *v;
	struct ram_disk disk;
	struct err e = {0};

	check(copy);
	memcpy(copy, data, len);
	fi_gpt_sums(copy, len, 512);
	disk = ram_disk(copy, len);
	if (volumes_open(&v, &disk.b, &e) == 0) {
		for (unsigned i = 0; i < v->count; i++)
			check(v->v[i].off <= disk.b.size && v->v[i].len <= disk.b.size - v->v[i].off);
		for (unsigned i = 1; i < v->parts.count; i++)
			check(v->parts.part[i].len && v->parts.part[i].number > 0);
		volumes_close(v);
	} else {
		check(e.text[0]);
	}
	free(copy);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	if (n > 1 || cap < FI_DISK_LEN)
		return 0;
	return n ? fi_mbr(buf) : fi_gpt(buf);
}
