/*
 * The cache of decoded blocks: straight-line runs of instructions inside one physical page, keyed by
 * guest physical address and mode flags. One per CPU.
 */
#pragma once

#include "accel/soft/interp/decode.h"

#define BLOCK_MAX 48 /* instructions */
#define BLOCK_NO_PAGE2 (~0ull)

struct block {
	u64 gpa;
	u32 hf, gen;
	/* A block whose one instruction crosses into another page: that page and its generation. */
	u64 gpa2;
	u32 gen2;
	u16 n;     /* instructions */
	u16 bytes; /* of all of them */
	struct insn insns[];
};

static inline bool page_current(const struct cpu *c, u64 gpa, u32 gen)
{
	return !mem_is_ram(c->mem, gpa, 1) || mem_code_gen(c->mem, gpa) == gen;
}

/* Has nobody written to the block's code since it was decoded? */
static inline bool block_current(const struct cpu *c, const struct block *b)
{
	return page_current(c, b->gpa, b->gen) &&
	       (b->gpa2 == BLOCK_NO_PAGE2 || page_current(c, b->gpa2, b->gen2));
}

int cache_create(struct cpu *c, u64 bytes); /* 0: the default size */
void cache_destroy(struct cpu *c);

/* The block at CS:RIP, decoded now if it must be. Raises what fetching raises. */
const struct block *cache_get(struct cpu *c);
