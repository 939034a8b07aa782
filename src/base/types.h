/*
 * Short integer names, array and bit helpers, and unaligned little-endian access. The whole
 * program includes this header first; it has no state and no dependencies but the C library.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef unsigned __int128 u128;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "host and guest are little endian");

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define ALIGN_UP(x, a) (((x) + (__typeof__(x))(a)-1) & ~((__typeof__(x))(a)-1))
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define MUST_CHECK __attribute__((warn_unused_result))

#define KiB 1024ull
#define MiB (1024ull * KiB)
#define GiB (1024ull * MiB)
#define PAGE_SIZE 4096ull
#define PAGE_SHIFT 12

static inline u16 get_le16(const void *p)
{
	u16 v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline u32 get_le32(const void *p)
{
	u32 v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline u64 get_le64(const void *p)
{
	u64 v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void put_le16(void *p, u16 v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void put_le32(void *p, u32 v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void put_le64(void *p, u64 v)
{
	memcpy(p, &v, sizeof(v));
}

/* All ones in the low size bytes (size 1..8): what a read of nothing returns. */
static inline u64 ones(unsigned size)
{
	return size >= 8 ? ~0ull : (1ull << (size * 8)) - 1;
}
