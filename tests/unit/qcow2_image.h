/*
 * A small qcow2 image made by hand, for the test and the fuzz target of img/qcow2.c: clusters of
 * 512 bytes, a disk of 8 clusters and 100 bytes.
 *
 *   cluster 0 header, 1 L1, 2 L2, 3 data of disk cluster 0, 4 compressed streams, 5 data of disk cluster 8
 *   disk cluster 1: absent, 2: zero flag (with a place, version 3), 3: compressed
 */
#pragma once

#include "base/types.h"

#define QI_CLUSTER 512u
#define QI_LEN (6 * QI_CLUSTER)
#define QI_DISK (8 * QI_CLUSTER + 100)

static inline void qi_32(u8 *p, u32 v)
{
	put_le32(p, __builtin_bswap32(v));
}

static inline void qi_64(u8 *p, u64 v)
{
	put_le64(p, __builtin_bswap64(v));
}

/* stream: a compressed cluster of len bytes (at most 512). buf has QI_LEN bytes. */
static inline void qi_make(u8 *buf, u32 version, u8 compression, const u8 *stream, size_t len)
{
	u8 *l2 = buf + 2 * QI_CLUSTER;

	memset(buf, 0, QI_LEN);
	qi_32(buf + 0, 0x514649fb);
	qi_32(buf + 4, version);
	qi_32(buf + 20, 9);
	qi_64(buf + 24, QI_DISK);
	qi_32(buf + 36, 1);
	qi_64(buf + 40, QI_CLUSTER);
	if (version == 3) {
		qi_64(buf + 72, compression ? BIT64(3) : 0);
		qi_32(buf + 96, 4);
		qi_32(buf + 100, 112);
		buf[104] = compression;
	}
	qi_64(buf + QI_CLUSTER, BIT64(63) | 2 * QI_CLUSTER);
	qi_64(l2 + 0, BIT64(63) | 3 * QI_CLUSTER);
	if (version == 3)
		qi_64(l2 + 2 * 8, 3 * QI_CLUSTER | 1);
	/* 7 bytes in, to have an offset that is not aligned; x is 61 for clusters of 2^9 */
	qi_64(l2 + 3 * 8, BIT64(62) | (u64)(len > 505) << 61 | (4 * QI_CLUSTER + 7));
	qi_64(l2 + 8 * 8, BIT64(63) | 5 * QI_CLUSTER);
	memset(buf + 3 * QI_CLUSTER, 0xa1, QI_CLUSTER);
	memcpy(buf + 4 * QI_CLUSTER + 7, stream, len);
	memset(buf + 5 * QI_CLUSTER, 0xa8, QI_CLUSTER);
}
