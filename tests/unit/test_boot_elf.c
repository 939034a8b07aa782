/*
 * ELF kernels, bare and inside a bzImage: segments, bss, every compression that the build has, and
 * headers that must be refused.
 */
#include "boot/boot.h"
#include "boot/elf_kernel.h"
#include "boot/unpack.h"

#include "boot_board.h"
#include "boot_kernels.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#if HAVE_ZLIB
#include <zlib.h>
#endif
#if HAVE_LZMA
#include <lzma.h>
#endif
#if HAVE_LZ4
#include <lz4.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif
#if HAVE_BZIP2
#include <bzlib.h>
#endif

#define RAM (32 * MiB)
#define LIMIT (RAM - 128 * KiB)

static u8 elf[TEST_ELF_LEN];
static u8 packed[1 << 16];
static u8 file[1 << 17];

/* --- headers --- */

#define EHDR(field) offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field)
#define PHDR(n, field)                                                                                       \
	(sizeof(Elf64_Ehdr) + (n) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, field)),                       \
	        sizeof(((Elf64_Phdr *)0)->field)

static void good(void **state)
{
	struct boot_image img = {0};
	struct err e;
	u64 end;

	make_elf(elf, sizeof(elf));
	assert_int_equal(elf_parse(elf, sizeof(elf), LIMIT, "k", &img, &end, &e), 0);
	assert_int_equal(img.nsegments, 2);
	assert_int_equal(img.entry, TEST_ELF_TEXT + 0x10);
	assert_int_equal(end, TEST_ELF_DATA + TEST_ELF_DATA_MEM);
	assert_ptr_equal(img.segment[1].data, elf + TEST_ELF_OFF + TEST_ELF_TEXT_LEN);
}

static void broken(void **state)
{
	const struct {
		size_t off, width;
		u64 value;
		const char *message;
	} cases[] = {
	        {0, 1, 0, "not a complete ELF"},
	        {EI_CLASS, 1, ELFCLASS32, "not for x86-64"},
	        {EI_DATA, 1, ELFDATA2MSB, "not for x86-64"},
	        {EHDR(e_machine), EM_AARCH64, "not for x86-64"},
	        {EHDR(e_type), ET_REL, "not an executable"},
	        {EHDR(e_phnum), 0, "make no sense"},
	        {EHDR(e_phnum), 0xffff, "make no sense"},
	        {EHDR(e_phnum), 64, "truncated"},
	        {EHDR(e_phentsize), 0, "make no sense"},
	        {EHDR(e_phentsize), 57, "make no sense"},
	        {EHDR(e_phoff), TEST_ELF_LEN, "truncated"},
	        {EHDR(e_phoff), ~0ull, "truncated"},
	        {EHDR(e_phoff), 0x80000000, "truncated"},
	        {EHDR(e_entry), 0, "entry"},
	        {EHDR(e_entry), TEST_ELF_TEXT - 1, "entry"},
	        {EHDR(e_entry), TEST_ELF_TEXT + TEST_ELF_TEXT_LEN, "entry"},
	        {EHDR(e_entry), 0xffffffff80200010ull, "entry"},
	        {PHDR(0, p_offset), TEST_ELF_LEN, "truncated"},
	        {PHDR(0, p_offset), ~0ull, "truncated"},
	        {PHDR(0, p_offset), TEST_ELF_LEN - TEST_ELF_TEXT_LEN + 1, "truncated"},
	        {PHDR(0, p_filesz), ~0ull, "truncated"},
	        {PHDR(0, p_filesz), TEST_ELF_TEXT_LEN + 1, "more bytes in the file"},
	        {PHDR(0, p_memsz), TEST_ELF_TEXT_LEN - 1, "more bytes in the file"},
	        {PHDR(0, p_memsz), ~0ull, "needs"},
	        {PHDR(0, p_memsz), LIMIT - TEST_ELF_TEXT + 1, "needs"},
	        {PHDR(0, p_memsz), TEST_ELF_DATA - TEST_ELF_TEXT + 1, "overlap"},
	        {PHDR(0, p_paddr), 0, "below 1 MiB"},
	        {PHDR(0, p_paddr), LIMIT, "needs"},
	        {PHDR(0, p_paddr), ~0ull, "needs"},
	        {PHDR(0, p_paddr), ~0ull - TEST_ELF_TEXT_LEN + 1, "needs"},
	        {PHDR(0, p_paddr), TEST_ELF_DATA, "overlap"},
	        {PHDR(0, p_type), PT_NULL, "entry"},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct boot_image img = {0};
		struct err e;
		u64 end;

		make_elf(elf, sizeof(elf));
		memcpy(elf + cases[n].off, &cases[n].value, cases[n].width);
		assert_true(elf_parse(elf, sizeof(elf), LIMIT, "k", &img, &end, &e) < 0);
		if (!strstr(e.text, cases[n].message))
			fail_msg("case %u: \"%s\" lacks \"%s\"", n, e.text, cases[n].message);
	}
}

static void too_many_segments(void **state)
{
	u8 buf[0x1000] = {0};
	Elf64_Ehdr h;
	struct boot_image img = {0};
	struct err e;
	u64 end;

	make_elf(elf, sizeof(elf));
	memcpy(&h, elf, sizeof(h));
	h.e_phnum = BOOT_MAX_SEGMENTS + 1;
	memcpy(buf, &h, sizeof(h));
	for (unsigned n = 0; n < h.e_phnum; n++) {
		const Elf64_Phdr p = {
		        .p_type = PT_LOAD, .p_paddr = TEST_ELF_TEXT + n * 64, .p_memsz = 64, .p_filesz = 64};

		memcpy(buf + sizeof(h) + n * sizeof(p), &p, sizeof(p));
	}
	assert_int_equal(elf_parse(buf, sizeof(buf), LIMIT, "k", &img, &end, &e), -EINVAL);
	assert_non_null(strstr(e.text, "segments"));
	put_le16(buf + offsetof(Elf64_Ehdr, e_phnum), BOOT_MAX_SEGMENTS);
	assert_int_equal(elf_parse(buf, sizeof(buf), LIMIT, "k", &img, &end, &e), 0);
}

static void truncated_everywhere(void **state)
{
	make_elf(elf, sizeof(elf));
	for (size_t n = 0; n <= sizeof(elf); n++) {
		struct boot_image img = {0};
		struct err e;
		u64 end;
		u8 *copy = malloc(n ? n : 1);

		memcpy(copy, elf, n);
		assert_int_equal(elf_parse(copy, n, LIMIT, "k", &img, &end, &e) == 0, n == sizeof(elf));
		assert_true(elf_extent(copy, n, n) <= n);
		free(copy);
	}
}

static void extent_skips_debug_sections(void **state)
{
	make_elf(elf, sizeof(elf));
	assert_int_equal(elf_extent(elf, sizeof(elf), GiB), TEST_ELF_LEN);
	assert_int_equal(elf_extent(elf, 10, GiB), GiB);
}

/* --- loading --- */

static struct mem m;
static struct boot_image img;
static struct x86_state cpu;
static char path[] = "/tmp/xhyve-elf-XXXXXX";

static int load(size_t len, enum boot_unpack unpack_mode)
{
	const struct boot_linux_args args = {.kernel = path, .cmdline = "", .unpack = unpack_mode};
	struct err e;
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_int_equal(write(fd, file, len), len);
	close(fd);
	boot_linux_free(&img);
	return boot_linux_load(&args, &m, &img, &e);
}

static void place(void)
{
	static struct board_info board;
	struct boot_tables_out tables;
	struct err e;

	test_board(&board, &m);
	memset(m.base + TEST_ELF_TEXT, 0xee, 0x10000);
	assert_int_equal(boot_tables(&m, &board, &tables, &e), 0);
	assert_int_equal(boot_linux_place(&img, &m, &board, &tables, &cpu, &e), 0);
}

static void check_placed(void)
{
	assert_int_equal(cpu.rip, TEST_ELF_TEXT + 0x10);
	assert_true(cpu.efer != 0);
	assert_int_equal(m.base[TEST_ELF_TEXT], 0xa5);
	assert_int_equal(m.base[TEST_ELF_TEXT + TEST_ELF_TEXT_LEN - 1], 0xa5);
	assert_int_equal(m.base[TEST_ELF_TEXT + TEST_ELF_TEXT_LEN], 0xee);
	assert_int_equal(m.base[TEST_ELF_DATA], 0x3c);
	for (u32 n = TEST_ELF_DATA_LEN; n < TEST_ELF_DATA_MEM; n++)
		assert_int_equal(m.base[TEST_ELF_DATA + n], 0);
	assert_int_equal(m.base[TEST_ELF_DATA + TEST_ELF_DATA_MEM], 0xee);
}

static void bare(void **state)
{
	const u8 *zp;

	make_elf(file, sizeof(file));
	assert_int_equal(load(TEST_ELF_LEN, BOOT_UNPACK_AUTO), 0);
	place();
	check_placed();
	zp = m.base + cpu.gpr[RSI];
	assert_memory_equal(zp + HDR_MAGIC, "HdrS", 4);
	assert_int_equal(get_le16(zp + HDR_BOOT_FLAG), 0xaa55);
}

/* --- compression --- */

typedef size_t (*packer)(const u8 *in, size_t len, u8 *out, size_t max);

#if HAVE_ZLIB
static size_t pack_gzip(const u8 *in, size_t len, u8 *out, size_t max)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)in, .avail_in = len, .next_out = out, .avail_out = max};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}
#endif
#if HAVE_LZMA
static size_t pack_xz(const u8 *in, size_t len, u8 *out, size_t max)
{
	size_t got = 0;

	assert_int_equal(
	        lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, in, len, out, &got, max), LZMA_OK);
	return got;
}

static size_t pack_lzma(const u8 *in, size_t len, u8 *out, size_t max)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_options_lzma o;
	size_t got;

	lzma_lzma_preset(&o, 6);
	assert_int_equal(lzma_alone_encoder(&s, &o), LZMA_OK);
	s.next_in = in;
	s.avail_in = len;
	s.next_out = out;
	s.avail_out = max;
	assert_int_equal(lzma_code(&s, LZMA_FINISH), LZMA_STREAM_END);
	got = s.total_out;
	lzma_end(&s);
	return got;
}
#endif
#if HAVE_LZ4
static size_t pack_lz4(const u8 *in, size_t len, u8 *out, size_t max)
{
	size_t half = len / 2, pos = 4;

	put_le32(out, 0x184c2102);
	for (unsigned n = 0; n < 2; n++) { /* two blocks */
		size_t part = n ? len - half : half;
		int got = LZ4_compress_default(
		        (const char *)in + n * half, (char *)out + pos + 4, part, max - pos - 4);

		assert_true(got > 0);
		put_le32(out + pos, got);
		pos += 4 + got;
	}
	return pos;
}
#endif
#if HAVE_ZSTD
static size_t pack_zstd(const u8 *in, size_t len, u8 *out, size_t max)
{
	size_t got = ZSTD_compress(out, max, in, len, 3);

	assert_false(ZSTD_isError(got));
	return got;
}
#endif
#if HAVE_BZIP2
static size_t pack_bzip2(const u8 *in, size_t len, u8 *out, size_t max)
{
	unsigned got = max;

	assert_int_equal(
	        BZ2_bzBuffToBuffCompress((char *)out, &got, (char *)(uintptr_t)in, len, 9, 0, 0), BZ_OK);
	return got;
}
#endif

static const struct {
	const char *name;
	enum unpack_format format;
	packer pack;
} packers[] = {
#if HAVE_ZLIB
        {"gzip", UNPACK_GZIP, pack_gzip},
#endif
#if HAVE_LZMA
        {"xz", UNPACK_XZ, pack_xz},
        {"lzma", UNPACK_LZMA, pack_lzma},
#endif
#if HAVE_LZ4
        {"lz4", UNPACK_LZ4, pack_lz4},
#endif
#if HAVE_ZSTD
        {"zstd", UNPACK_ZSTD, pack_zstd},
#endif
#if HAVE_BZIP2
        {"bzip2", UNPACK_BZIP2, pack_bzip2},
#endif
        {NULL, UNPACK_NONE, NULL},
};

/* As the kernel's build does: the unpacked size behind the stream. */
static size_t pack_elf(unsigned n)
{
	size_t len;

	make_elf(elf, sizeof(elf));
	len = packers[n].pack(elf, sizeof(elf), packed, sizeof(packed) - 4);
	put_le32(packed + len, sizeof(elf));
	return len + 4;
}

static void every_compression(void **state)
{
	for (unsigned n = 0; packers[n].name; n++) {
		size_t len = pack_elf(n);
		u8 *out = malloc(sizeof(elf));

		assert_non_null(strstr(boot_features(), packers[n].name));
		assert_int_equal(unpack_probe(packed, len), packers[n].format);
		assert_int_equal(unpack(packers[n].format, packed, len, out, sizeof(elf)), sizeof(elf));
		assert_memory_equal(out, elf, sizeof(elf));
		free(out);
	}
}

/* Output never beyond the buffer; a heap block of exactly max bytes lets a sanitizer look. */
static void bounded(void **state)
{
	for (unsigned n = 0; packers[n].name; n++) {
		size_t len = pack_elf(n);

		for (size_t max = 1; max < sizeof(elf); max += 97) {
			u8 *out = malloc(max);

			assert_true(unpack(packers[n].format, packed, len, out, max) < 0);
			free(out);
		}
	}
}

static void damaged(void **state)
{
	u8 *out = malloc(sizeof(elf));

	for (unsigned n = 0; packers[n].name; n++) {
		size_t len = pack_elf(n);

		for (size_t cut = 0; cut < len - 20; cut++) {
			u8 *copy = malloc(cut ? cut : 1);

			memcpy(copy, packed, cut);
			assert_true(
			        unpack(packers[n].format, copy, cut, out, sizeof(elf)) != (s64)sizeof(elf));
			free(copy);
		}
	}
	free(out);
}

static void inside_bzimage(void **state)
{
	for (unsigned n = 0; packers[n].name; n++) {
		size_t len = make_bzimage_payload(file, sizeof(file), packed, pack_elf(n));

		assert_int_equal(load(len, BOOT_UNPACK_AUTO), 0);
		assert_non_null(img.unpacked);
		place();
		check_placed();
		/* Its own memory stays free even if the ELF is smaller. */
		assert_int_equal(img.kernel_end, TEST_LOAD + TEST_INIT_SIZE);

		assert_int_equal(load(len, BOOT_UNPACK_NEVER), 0);
		assert_null(img.unpacked);
		assert_int_equal(img.entry, TEST_LOAD + 0x200);
	}
}

/* What cannot be unpacked here is left to the kernel's own decompressor. */
static void falls_back(void **state)
{
	for (unsigned n = 0; packers[n].name; n++) {
		size_t plen = pack_elf(n), len;

		len = make_bzimage_payload(file, sizeof(file), packed, plen);
		put_le32(file + HDR_INIT_SIZE, ALIGN_UP(TEST_PAYLOAD_OFF + plen, 16u));
		if (ALIGN_UP(TEST_PAYLOAD_OFF + plen, 16u) < sizeof(elf)) { /* a bomb: more than init_size */
			assert_int_equal(load(len, BOOT_UNPACK_AUTO), 0);
			assert_null(img.unpacked);
		}
		packed[plen / 2] ^= 0x55;
		packed[plen / 2 + 1] ^= 0xaa;
		len = make_bzimage_payload(file, sizeof(file), packed, plen);
		assert_int_equal(load(len, BOOT_UNPACK_AUTO), 0);
		if (!img.unpacked)
			assert_int_equal(img.entry, TEST_LOAD + 0x200);
		/* Something else inside. */
		memset(elf, 0, sizeof(elf));
		plen = packers[n].pack(elf, sizeof(elf), packed, sizeof(packed));
		len = make_bzimage_payload(file, sizeof(file), packed, plen);
		assert_int_equal(load(len, BOOT_UNPACK_AUTO), 0);
		assert_null(img.unpacked);
		assert_int_equal(img.entry, TEST_LOAD + 0x200);
		place();
	}
}

static int start(void **state)
{
	struct err e;
	int fd = mkstemp(path);

	if (fd < 0)
		return -1;
	close(fd);
	return mem_create(&m, RAM, false, false, &e);
}

static int stop(void **state)
{
	boot_linux_free(&img);
	mem_destroy(&m);
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(good),
	        cmocka_unit_test(broken),
	        cmocka_unit_test(too_many_segments),
	        cmocka_unit_test(truncated_everywhere),
	        cmocka_unit_test(extent_skips_debug_sections),
	        cmocka_unit_test(bare),
	        cmocka_unit_test(every_compression),
	        cmocka_unit_test(bounded),
	        cmocka_unit_test(damaged),
	        cmocka_unit_test(inside_bzimage),
	        cmocka_unit_test(falls_back),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
