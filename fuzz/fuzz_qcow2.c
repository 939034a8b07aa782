/*
 * The qcow2 reader on a file of arbitrary bytes: whatever opens is read and asked for its extents.
 */
#include "img/qcow2.h"

#include "../tests/unit/qcow2_image.h"
#include "standalone.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void try_reads(struct block *b)
{
	static u8 buf[65536];
	u64 size = block_size(b), at = 0;

	check(size && size % 512 == 0);
	for (int i = 0; i < 64 && at < size; i++) {
		u64 len = size - at;
		bool data = true;

		if (block_extent(b, at, &len, &data) == 0)
			check(len && len <= size - at);
		else
			len = MIN(size - at, 4096);
		block_pread(b, buf, MIN(len, sizeof(buf)), at);
		at += len;
	}
	block_pread(b, buf, MIN(size, 1000), size - MIN(size, 1000));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	char name[64];
	struct block *b;
	struct err e = {0};
	int fd = memfd_create("qcow2", 0);

	check(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (qcow2_open(&b, name, &host_io, &e) == 0) {
		try_reads(b);
		block_close(b);
	} else {
		check(e.text[0]);
	}
	close(fd);
	return 0;
}

/* Two images; the stream in them is "stored" deflate, and bytes that are no zstd frame. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const u8 stream[16] = {0x01, 0x0b, 0x00, 0xf4, 0xff, 'x', 'h', 'y', 'v', 'e'};

	if (n > 2 || cap < QI_LEN)
		return 0;
	qi_make(buf, n ? 3 : 2, n == 2, stream, sizeof(stream));
	return QI_LEN;
}
