/*
 * AML encoding. A package length counts itself, so it is inserted when its object is closed and its
 * size is known; what was written meanwhile moves up by its one to four bytes.
 */
#include "boot/aml.h"

#include "base/log.h"

/* ACPI 6.5, 20.2 and table 20.1 */
#define OP_NAME 0x08
#define OP_BYTE 0x0a
#define OP_WORD 0x0b
#define OP_DWORD 0x0c
#define OP_STRING 0x0d
#define OP_QWORD 0x0e
#define OP_SCOPE 0x10
#define OP_BUFFER 0x11
#define OP_PACKAGE 0x12
#define OP_METHOD 0x14
#define OP_DUAL_NAME 0x2e
#define OP_MULTI_NAME 0x2f
#define OP_EXT 0x5b
#define OP_EXT_DEVICE 0x82
#define OP_IF 0xa0
#define OP_ELSE 0xa1
#define OP_RETURN 0xa4

#define PATH_SEGS_MAX 8

void aml_init(struct aml *a, u8 *buf, size_t cap)
{
	*a = (struct aml){.buf = buf, .cap = cap};
}

static void put(struct aml *a, const void *bytes, size_t n)
{
	if (n > a->cap - a->len) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, bytes, n);
	a->len += n;
}

static void put8(struct aml *a, u8 v)
{
	put(a, &v, 1);
}

static void put16(struct aml *a, u16 v)
{
	put(a, &v, 2);
}

static void put32(struct aml *a, u32 v)
{
	put(a, &v, 4);
}

static void put64(struct aml *a, u64 v)
{
	put(a, &v, 8);
}

/* --- names --- */

static const char *put_segment(struct aml *a, const char *s)
{
	char seg[4] = {'_', '_', '_', '_'};
	unsigned n = 0;

	for (; *s && *s != '.'; s++)
		if (n < 4)
			seg[n++] = *s;
	put(a, seg, 4);
	return *s ? s + 1 : s;
}

void aml_ref(struct aml *a, const char *path)
{
	unsigned segs = 1;

	if (*path == '\\')
		put8(a, *path++);
	for (const char *s = path; *s; s++)
		segs += *s == '.';
	BUG_ON(segs > PATH_SEGS_MAX);
	if (segs == 2) {
		put8(a, OP_DUAL_NAME);
	} else if (segs > 2) {
		put8(a, OP_MULTI_NAME);
		put8(a, segs);
	}
	while (*path)
		path = put_segment(a, path);
}

/* --- objects with a length --- */

static void open_object(struct aml *a)
{
	BUG_ON(a->depth == AML_DEPTH_MAX);
	a->open[a->depth++] = a->len;
}

void aml_scope(struct aml *a, const char *path)
{
	put8(a, OP_SCOPE);
	open_object(a);
	aml_ref(a, path);
}

void aml_device(struct aml *a, const char *name)
{
	put8(a, OP_EXT);
	put8(a, OP_EXT_DEVICE);
	open_object(a);
	aml_ref(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned nargs)
{
	put8(a, OP_METHOD);
	open_object(a);
	aml_ref(a, name);
	put8(a, nargs); /* not serialized, sync level 0 */
}

void aml_package(struct aml *a, u8 count)
{
	put8(a, OP_PACKAGE);
	open_object(a);
	put8(a, count);
}

void aml_if(struct aml *a)
{
	put8(a, OP_IF);
	open_object(a);
}

void aml_else(struct aml *a)
{
	put8(a, OP_ELSE);
	open_object(a);
}

/* 20.2.4: bits 7:6 of the first byte count the bytes that follow it. */
static unsigned encode_length(size_t body, u8 out[4])
{
	unsigned n = 1;
	size_t total;

	while (n < 4 && body + n >= (n == 1 ? 64 : (size_t)1 << (4 + 8 * (n - 1))))
		n++;
	total = body + n;
	if (n == 1) {
		out[0] = total;
		return 1;
	}
	out[0] = (n - 1) << 6 | (total & 0xf);
	for (unsigned i = 1; i < n; i++)
		out[i] = total >> (4 + 8 * (i - 1));
	return n;
}

void aml_close(struct aml *a)
{
	u8 length[4];
	size_t at, body;
	unsigned n;

	BUG_ON(a->depth == 0);
	at = a->open[--a->depth];
	body = a->len - at;
	n = encode_length(body, length);
	if (a->overflow || n > a->cap - a->len) {
		a->overflow = true;
		return;
	}
	memmove(a->buf + at + n, a->buf + at, body);
	memcpy(a->buf + at, length, n);
	a->len += n;
}

/* --- values --- */

void aml_name(struct aml *a, const char *name)
{
	put8(a, OP_NAME);
	aml_ref(a, name);
}

void aml_return(struct aml *a)
{
	put8(a, OP_RETURN);
}

void aml_int(struct aml *a, u64 val)
{
	if (val <= 1) { /* ZeroOp and OneOp are the values themselves */
		put8(a, val);
	} else if (val <= UINT8_MAX) {
		put8(a, OP_BYTE);
		put8(a, val);
	} else if (val <= UINT16_MAX) {
		put8(a, OP_WORD);
		put16(a, val);
	} else if (val <= UINT32_MAX) {
		put8(a, OP_DWORD);
		put32(a, val);
	} else {
		put8(a, OP_QWORD);
		put64(a, val);
	}
}

void aml_string(struct aml *a, const char *s)
{
	put8(a, OP_STRING);
	put(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Three letters of five bits and four hexadecimal digits, as a big-endian number. */
void aml_eisaid(struct aml *a, const char *id)
{
	u32 v = 0;

	BUG_ON(strlen(id) != 7);
	for (unsigned n = 0; n < 3; n++)
		v = v << 5 | (id[n] - 0x40);
	for (unsigned n = 3; n < 7; n++)
		v = v << 4 | hex_digit(id[n]);
	put8(a, OP_DWORD);
	put32(a, __builtin_bswap32(v));
}

/* --- resource descriptors --- */

#define TEMPLATE_HEAD 3 /* WordPrefix and the size, behind the package length */

#define RES_IRQ_NOFLAGS 0x22
#define RES_IRQ_FLAGS 0x23
#define RES_IO 0x47
#define RES_END 0x79
#define RES_MEMORY32_FIXED 0x86
#define RES_DWORD_SPACE 0x87
#define RES_WORD_SPACE 0x88
#define RES_QWORD_SPACE 0x8a

#define SPACE_MEMORY 0
#define SPACE_IO 1
#define SPACE_BUS 2
#define SPACE_FIXED 0x0c     /* minimum and maximum are fixed; producer, positive decode */
#define SPACE_IO_ENTIRE 0x03 /* both ISA and non-ISA addresses */
#define SPACE_MEM_WRITABLE 0x01

void aml_template(struct aml *a)
{
	put8(a, OP_BUFFER);
	open_object(a);
	put8(a, OP_WORD);
	put16(a, 0);
}

void aml_template_close(struct aml *a)
{
	size_t at = a->open[a->depth - 1];

	put8(a, RES_END);
	put8(a, 0); /* checksum not used */
	if (!a->overflow)
		put_le16(a->buf + at + 1, a->len - at - TEMPLATE_HEAD);
	aml_close(a);
}

void aml_res_io(struct aml *a, u16 port, u8 len)
{
	put8(a, RES_IO);
	put8(a, 1); /* decodes 16 bits */
	put16(a, port);
	put16(a, port);
	put8(a, 1);
	put8(a, len);
}

void aml_res_irq(struct aml *a, u8 irq)
{
	put8(a, RES_IRQ_NOFLAGS);
	put16(a, BIT(irq));
}

void aml_res_irq_shared(struct aml *a, u16 mask)
{
	put8(a, RES_IRQ_FLAGS);
	put16(a, mask);
	put8(a, 0x18);
}

void aml_res_memory32(struct aml *a, u32 base, u32 len, bool writable)
{
	put8(a, RES_MEMORY32_FIXED);
	put16(a, 9);
	put8(a, writable);
	put32(a, base);
	put32(a, len);
}

static void put_space(struct aml *a, u8 tag, u8 width, u8 type, u8 flags, u64 first, u64 len)
{
	const u64 field[5] = {
	        0, first, first + len - 1, 0, len}; /* granularity, min, max, translation, length */

	put8(a, tag);
	put16(a, 3 + 5 * width);
	put8(a, type);
	put8(a, SPACE_FIXED);
	put8(a, flags);
	for (unsigned n = 0; n < 5; n++)
		put(a, &field[n], width);
}

void aml_res_bus(struct aml *a, u8 first, u8 last)
{
	put_space(a, RES_WORD_SPACE, 2, SPACE_BUS, 0, first, last - first + 1);
}

/* A double word, because a window may be all 64 Ki ports. */
void aml_res_io_window(struct aml *a, u16 base, u32 len)
{
	put_space(a, RES_DWORD_SPACE, 4, SPACE_IO, SPACE_IO_ENTIRE, base, len);
}

void aml_res_memory32_window(struct aml *a, u32 base, u32 len)
{
	put_space(a, RES_DWORD_SPACE, 4, SPACE_MEMORY, SPACE_MEM_WRITABLE, base, len);
}

void aml_res_memory64_window(struct aml *a, u64 base, u64 len)
{
	put_space(a, RES_QWORD_SPACE, 8, SPACE_MEMORY, SPACE_MEM_WRITABLE, base, len);
}
