/*
 * Guest memory: RAM as one host reservation, bounded translation of guest physical addresses, and
 * the record of which lines hold decoded or translated code.
 *
 * Layout: gpa g lives at base + g. [0, low) and [4 GiB, 4 GiB + high) are RAM, everything else in
 * the reservation is PROT_NONE, and so are guards before and after it. low is at most 3 GiB.
 *
 * Code tracking: code[page] is a mask of 64-byte lines from which a CPU has decoded instructions,
 * gen[page] counts writes that hit such a line. The software CPU (accel/soft) sets masks and
 * compares generations before it runs a decoded block; everyone who writes RAM in another way
 * than through a CPU (device DMA) uses mem_write or calls mem_wrote after the write.
 * All functions: any thread.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define MEM_LOW_MAX (3 * GiB)
#define MEM_HIGH_BASE (4 * GiB)

struct mem {
	u8 *base;  /* host address of gpa 0 */
	u64 low;   /* bytes of RAM at 0, page multiple */
	u64 high;  /* bytes of RAM at 4 GiB, page multiple */
	u64 span;  /* bytes from gpa 0 to the end of the last RAM byte */
	u64 *code; /* one mask a page, span / 4096 of them; atomic access */
	u32 *gen;  /* one counter a page; atomic access */
	void *map; /* the reservation, for munmap */
	u64 map_len;
	bool track; /* code tracking is on (software CPU) */
	/*
	 * Called after a write hit code of a page (its number), by the thread that wrote. Forgets what was
	 * made of the page's code, then calls mem_code_clear: who finds no marks relies on that. May be NULL.
	 */
	void (*code_written)(void *opaque, u64 page);
	void *code_opaque;
};

/* size: bytes of RAM, a multiple of 4096, at least 1 MiB. dump: let core files contain it (-C). */
int mem_create(struct mem *m, u64 size, bool dump, bool track, struct err *e);
void mem_destroy(struct mem *m);

/* Is all of [gpa, gpa+len) RAM (without a hole)? len 0 is not. */
static inline bool mem_is_ram(const struct mem *m, u64 gpa, u64 len)
{
	if (len == 0 || len > m->span)
		return false;
	if (gpa < m->low)
		return len <= m->low - gpa;
	return gpa >= MEM_HIGH_BASE && gpa - MEM_HIGH_BASE < m->high &&
	       len <= m->high - (gpa - MEM_HIGH_BASE);
}

/* Host address of [gpa, gpa+len) or NULL when any part is not RAM. */
static inline void *mem_ptr(const struct mem *m, u64 gpa, u64 len)
{
	return mem_is_ram(m, gpa, len) ? m->base + gpa : NULL;
}

/* Tell CPUs that RAM changed: invalidates decoded code there. Range must be RAM. */
void mem_wrote(struct mem *m, u64 gpa, u64 len);

/* For code_written: the page has no marks any more, and a new generation. */
void mem_code_clear(struct mem *m, u64 page);

/* Copies; 0 or -EFAULT with nothing copied. */
int mem_read(const struct mem *m, u64 gpa, void *buf, u64 len);
int mem_write(struct mem *m, u64 gpa, const void *buf, u64 len);
int mem_zero(struct mem *m, u64 gpa, u64 len);

/* All of RAM reads as zeros, and its storage goes back to the host. No CPU runs. */
int mem_clear(struct mem *m);

/* The mask bit of the line that holds gpa. */
static inline u64 mem_line_bit(u64 gpa)
{
	return BIT64((gpa >> 6) & 63);
}

/*
 * Software CPU, about to decode bytes [gpa, gpa+len) inside one page: marks their lines as code
 * and makes sure (membarrier) that every store that did not see the mark is visible. Returns the
 * page's generation; a block made from bytes read after this call is valid while it stays the same.
 * *first: the page had no marks before.
 */
u32 mem_code_mark(struct mem *m, u64 gpa, u64 len, bool *first);

static inline u32 mem_code_gen(const struct mem *m, u64 gpa)
{
	return __atomic_load_n(&m->gen[gpa >> PAGE_SHIFT], __ATOMIC_ACQUIRE);
}
