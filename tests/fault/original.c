/*
 * See original.h.
 */
#include "original.h"

#include <stdio.h>
#include <string.h>

static const char *segment_name(const struct original *g, u32 i)
{
	static _Thread_local char name[MF_NAME];
	if (g->is_split)
		snprintf(name, sizeof(name), "%s.%04u", g->path, i);
	else
		snprintf(name, sizeof(name), "%s", g->path);
	return name;
}

static const char *table_name(const struct original *g)
{
	static _Thread_local char name[MF_NAME];
	snprintf(name, sizeof(name), "%s.lut", g->path);
	return name;
}

static u32 entry_at(const struct memfs *fs, const struct original *g, u64 i)
{
	u8 b[4];
	memfs_peek(fs, table_name(g), i * 4, b, 4);
	return b[0] | (u32)b[1] << 8 | (u32)b[2] << 16 | (u32)b[3] << 24;
}

u64 original_size(const struct original *g)
{
	return g->nseg * g->per_segment * g->sector;
}

u64 original_ahead(const struct memfs *fs, const struct original *g)
{
	u64 n = 0;
	for (u32 i = 0; i < g->nseg; i++)
		n += memfs_ahead(fs, segment_name(g, i));
	return n;
}

bool original_exists(const struct memfs *fs, const struct original *g)
{
	return memfs_size(fs, table_name(g)) >= 0;
}

static const char *check_segment(const struct memfs *fs, const struct original *g, u32 s)
{
	static _Thread_local char text[160];
	s64 size = memfs_size(fs, segment_name(g, s));
	u64 first = s * g->per_segment;
	if (size < 0)
		return "I5: a segment is missing";
	for (u64 i = 0; i < g->per_segment; i++) {
		u32 v = entry_at(fs, g, first + i);
		if (v == 0xffffffff)
			continue;
		if (v >= (u64)size / g->sector) {
			snprintf(text, sizeof(text),
			        "I1: entry %u of segment %u is %u, the file has %lld bytes", (unsigned)i, s,
			        v, (long long)size);
			return text;
		}
		for (u64 k = 0; k < i; k++) {
			if (entry_at(fs, g, first + k) == v) {
				snprintf(text, sizeof(text),
				        "I2: entries %u and %u of segment %u are both %u", (unsigned)k,
				        (unsigned)i, s, v);
				return text;
			}
		}
	}
	return NULL;
}

const char *original_check(const struct memfs *fs, const struct original *g)
{
	if (memfs_size(fs, table_name(g)) != (s64)(4 * g->nseg * g->per_segment))
		return "I5: the table's length is wrong";
	for (u32 s = 0; s < g->nseg; s++) {
		const char *bad = check_segment(fs, g, s);
		if (bad)
			return bad;
	}
	return NULL;
}

void original_read(const struct memfs *fs, const struct original *g, u8 *buf)
{
	for (u64 i = 0; i < g->nseg * g->per_segment; i++) {
		u32 v = entry_at(fs, g, i);
		u8 *to = buf + i * g->sector;
		if (v == 0xffffffff)
			memset(to, 0, g->sector);
		else
			memfs_peek(fs, segment_name(g, (u32)(i / g->per_segment)), (u64)v * g->sector, to,
			        g->sector);
	}
}
