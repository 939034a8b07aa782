/*
 * Block cache. A block is found through the instruction TLB (linear -> physical) and a direct-mapped
 * hash on (gpa, mode flags). It is valid while its page's generation (mem/mem.h) is the one that was
 * current before its bytes were read. Blocks come from one pool; when it is full everything is forgotten
 * and the pool starts again, which bounds memory whatever the guest does.
 *
 * An instruction that crosses a page is a block of its own with two pages, both looked up and
 * compared each time. Code outside of RAM (device memory) is decoded anew each time.
 */
#include "accel/soft/interp/cache.h"
#include "accel/soft/engine.h"
#include "accel/soft/jit/jit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HASH_BITS 16
#define HASH_SIZE (1u << HASH_BITS)
#define POOL_DEFAULT (24 * MiB)
#define POOL_MIN (256 * KiB)

struct cache {
	struct decoders decoders;
	u8 *pool;
	u64 size, used;
	struct block *hash[HASH_SIZE];
};

static u64 block_size(unsigned n)
{
	return ALIGN_UP(sizeof(struct block) + n * sizeof(struct insn), 64);
}

int cache_create(struct cpu *c, u64 bytes)
{
	struct cache *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	c->engine = k;
	k->size = bytes ? MIN(MAX(ALIGN_UP(bytes, PAGE_SIZE), POOL_MIN), POOL_DEFAULT) : POOL_DEFAULT;
	k->pool = mmap(
	        NULL, k->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (k->pool == MAP_FAILED) {
		k->pool = NULL;
		return -ENOMEM;
	}
	decoders_init(&k->decoders, &c->cpuid);
	return 0;
}

void cache_destroy(struct cpu *c)
{
	struct cache *k = c->engine;

	if (!k)
		return;
	if (k->pool)
		munmap(k->pool, k->size);
	free(k);
	c->engine = NULL;
}

static unsigned hash_of(u64 gpa, u32 hf)
{
	return (unsigned)(gpa ^ gpa >> HASH_BITS ^ (u64)hf << 4) & (HASH_SIZE - 1);
}

/* Room for the largest block. Nothing executes while we decode, so all may be dropped. */
static struct block *pool_take(struct cache *k)
{
	if (k->used + block_size(BLOCK_MAX) > k->size) {
		k->used = 0;
		memset(k->hash, 0, sizeof(k->hash));
	}
	return (struct block *)(void *)(k->pool + k->used);
}

/* Copies up to 15 bytes of code at gpa that lie in its page; marks RAM as code. */
static unsigned read_code(struct cpu *c, u64 gpa, u8 *buf, u32 *gen)
{
	unsigned n = MIN(INSN_MAX, (unsigned)(PAGE_SIZE - (gpa & (PAGE_SIZE - 1))));
	const u8 *p = mem_ptr(c->mem, gpa, n);

	if (p) {
		bool first;

		*gen = mem_code_mark(c->mem, gpa, n, &first);
		if (first && c->jit.j)
			jit_page_marked(c->jit.j, c, gpa);
		memcpy(buf, p, n);
	} else {
		for (unsigned i = 0; i < n; i++)
			buf[i] = (u8)mmu_phys_ld(c, gpa + i, 1);
	}
	return n;
}

static u64 second_page(struct cpu *c, u64 lin)
{
	lin = (lin | (PAGE_SIZE - 1)) + 1;
	return mmu_fetch_gpa(c, c->hf & HF_CS64 ? lin : (u32)lin);
}

/* b's first instruction needs bytes of the next page; buf holds have of them. */
static void decode_crossing(struct cpu *c, struct block *b, u64 lin, u8 *buf, unsigned have)
{
	struct cache *k = c->engine;
	u8 next[INSN_MAX];

	if (!(c->hf & HF_CS64) && c->gpr[REG_RIP] + have > c->seg[SEG_CS].limit)
		cpu_raise_err(c, EXC_GP, 0);
	b->gpa2 = second_page(c, lin);
	read_code(c, b->gpa2, next, &b->gen2);
	memcpy(buf + have, next, INSN_MAX - have);
	decode_insn(&k->decoders, &c->cpuid, c->hf, buf, INSN_MAX, &b->insns[0]);
	b->n = 1;
	b->bytes = b->insns[0].len;
}

static void decode_block(struct cpu *c, struct block *b, u64 lin)
{
	struct cache *k = c->engine;
	u64 gpa = b->gpa;
	u32 gen = 0;

	b->n = 0;
	b->bytes = 0;
	b->gen = 0;
	while (b->n < BLOCK_MAX) {
		u8 buf[2 * INSN_MAX];
		unsigned len = read_code(c, gpa, buf, &gen);
		struct insn *i = &b->insns[b->n];
		enum decoded r = decode_insn(&k->decoders, &c->cpuid, c->hf, buf, len, i);

		if (b->n == 0)
			b->gen = gen;
		if (r == DEC_MORE) {
			if (b->n == 0)
				decode_crossing(c, b, lin, buf, len);
			break;
		}
		b->n++;
		b->bytes = (u16)(b->bytes + i->len);
		gpa += i->len;
		if (r == DEC_LAST || !((gpa ^ b->gpa) >> PAGE_SHIFT == 0))
			break;
	}
	c->stat[STAT_DECODES] += b->n;
}

static const struct block *make_block(struct cpu *c, u64 gpa, u64 lin)
{
	struct cache *k = c->engine;
	struct block *b = pool_take(k);

	b->gpa = gpa;
	b->hf = c->hf;
	b->gpa2 = BLOCK_NO_PAGE2;
	decode_block(c, b, lin);
	if (!mem_is_ram(c->mem, gpa, 1) || (b->gpa2 != BLOCK_NO_PAGE2 && !mem_is_ram(c->mem, b->gpa2, 1)))
		return b; /* not entered: used once, its place is taken by the next */
	k->used += block_size(b->n);
	k->hash[hash_of(gpa, c->hf)] = b;
	return b;
}

/* The second page of a crossing instruction may have been remapped or written. */
static bool second_ok(struct cpu *c, const struct block *b, u64 lin)
{
	return second_page(c, lin) == b->gpa2 && mem_code_gen(c->mem, b->gpa2) == b->gen2;
}

const struct block *cache_get(struct cpu *c)
{
	struct cache *k = c->engine;
	u64 lin = c->gpr[REG_RIP] + c->code_base;
	const struct block *b;
	u64 gpa;

	if (!(c->hf & HF_CS64))
		lin = (u32)lin;
	gpa = mmu_fetch_gpa(c, lin);
	b = k->hash[hash_of(gpa, c->hf)];
	if (likely(b && b->gpa == gpa && b->hf == c->hf && mem_code_gen(c->mem, gpa) == b->gen &&
	            (b->gpa2 == BLOCK_NO_PAGE2 || second_ok(c, b, lin))))
		return b;
	return make_block(c, gpa, lin);
}
