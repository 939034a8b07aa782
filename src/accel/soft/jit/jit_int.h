/*
 * What the translator's files share: the code cache, its records, and the registers' roles.
 *
 * A block (struct tb) is the translation of guest code that starts at one guest physical address, for
 * one combination of mode bits (its key). Its code has two entries: entry_h expects the guest's
 * arithmetic flags in the host's flags register, entry_a in AX (asm.h). Everything else is where it
 * always is (host_reg below), and jit.vpage is the guest address of the page, so that a block may be
 * used wherever its page is mapped.
 *
 * Ownership: records live in the arena of struct jit and die together with all code when the cache is
 * full. All fields are guarded by jit.lock, except those that emitted code and lookups read, which are
 * written with a single store.
 */
#pragma once

#include "accel/soft/cpu.h"
#include "accel/soft/interp/decode.h"
#include "accel/soft/jit/asm.h"
#include "accel/soft/jit/jit.h"
#include <stdio.h>

/* --- registers --- */

/*
 * Guest registers stay in the host register of the same name, but: the guest's RAX is in R15, because
 * AX holds the saved flags; R10, R11 and R15 are in struct cpu, because R10 and R11 are scratch.
 */
#define S1 R10
#define S2 R11
#define IN_MEMORY 0xffu
#define HOST_RAX R15

static inline unsigned host_reg(unsigned guest)
{
	switch (guest) {
	case RAX: return HOST_RAX;
	case R10:
	case R11:
	case R15: return IN_MEMORY;
	default: return guest;
	}
}

#define CPU_GPR(n) (offsetof(struct cpu, gpr) + (size_t)(n)*8)
#define CPU_JIT(field) (offsetof(struct cpu, jit) + offsetof(struct jit_cpu, field))
#define CPU_TLB(idx, field)                                                                                  \
	(offsetof(struct cpu, tlb) + (size_t)(idx) * sizeof(struct tlb) + offsetof(struct tlb, field))

#define CPU_RS(idx, field)                                                                                   \
	(CPU_JIT(rs) + (size_t)(idx) * sizeof(struct jit_rs) + offsetof(struct jit_rs, field))

static_assert(offsetof(struct cpu, tlb) + sizeof(struct tlb) * MMU_NIDX < 0x7fffffff, "disp32 reaches");
static_assert(REG_ZERO == 16, "guest numbers 0..15 are registers");

/* --- records --- */

#define FLAGS_HOST 1u /* bits: where the guest's arithmetic flags are */
#define FLAGS_AX 2u
#define XIT_NARROW 8u /* in xit.flags: to the narrow block that starts with this very instruction */
#define XIT_CROSS 16u /* to another page, which has become jit.vpage: see cross in tr_exit.c */
#define SITE_LIVE 4u  /* windows are in use: who leaves here does not come back into the block */

struct tb;

/*
 * There are millions of records, so they are small: they name each other by references into the arena and
 * host code by its place in the cache. 0 is nobody: the arena begins with an empty record, the cache with
 * the glue.
 */
typedef u32 ref;   /* of a record in the arena: jit_tb, jit_xit */
typedef u32 place; /* executable address - jit.rx */

/* A place where a block is left for another one at a known distance. Emitted code names it. */
struct xit {
	ref src, target; /* blocks */
	ref next_in;     /* exit to the same target */
	place hole;      /* its displacement; inside 8 bytes that are aligned */
	place stub;      /* where it points while it has no target */
	u16 off;         /* of the target in its page */
	u8 flags;        /* FLAGS_HOST or FLAGS_AX: which entry it takes; XIT_* */
	u8 elsewhere;    /* XIT_CROSS: distance from stub to where a lookup is */
};

/* Of an exit to another page, by their distance from its hole. All can be written with one store. */
#define CROSS_PAGE 12 /* before it: 32 bits, what the address of the page less tlb.code must be */
#define CROSS_ELSE 6  /* before it: displacement of the jump for any other page */
#define CROSS_NEVER 2 /* fits no page */
static inline s32 cross_page(u64 gpa)
{
	return -(s32)tlb_code(0, gpa);
}

/* A place where one guest instruction may need C code. Emitted code names it. */
struct site {
	ref tb;
	ref insn; /* struct insn of a callout */
	union {
		place retry; /* translate the address again */
		s32 undo;    /* of a branch: add it to RSP if the branch faults */
	};
	place after; /* behind the instruction */
	place from;  /* a host fault in the next span bytes is this instruction's */
	u16 span;
	u16 off; /* of the instruction in the page */
	u8 len;
	u8 flags;  /* where they are in [from, from + span); SITE_LIVE */
	u8 access; /* the one that missed: MMU_ACCESS(size, write) */
};
static_assert(sizeof(struct xit) == 24 && sizeof(struct site) == 28, "as small as it can be");

struct tb {
	u64 gpa;
	u32 page2; /* page number of the last bytes of a block that crosses, or TB_ONE_PAGE */
	u32 key;
	ref hash_next, page_next, page2_next;
	ref in; /* exits that lead here */
	place code;
	u32 code_len;
	u32 site; /* index of its first one */
	u16 nsites;
	u16 len;             /* guest bytes */
	u8 entry_a, entry_h; /* distances from code */
	u16 checked;         /* --jit-check: how often; racy */
	u8 prefers;          /* FLAGS_HOST or FLAGS_AX: the entry that leads straight into the body */
	u8 ninsns;
	bool dead;
};
#define TB_ONE_PAGE (~0u)

/* --- the cache --- */

#define TB_HASH_BITS 19
#define TB_HASH (1u << TB_HASH_BITS)
#define STARTS_BITS 20
#define STARTS (1u << STARTS_BITS)

struct glue {
	u8 *enter;           /* int enter(void): to jit.target; returns enum exit_kind */
	u8 *link_h, *link_a; /* r11: struct xit */
	u8 *site_h, *site_a; /* r11: struct site */
	u8 *x87;           /* r11: struct site: load the unit, then go on at its retry address; flags in AX */
	u8 *lookup;        /* r10: guest address; r11: struct site of the branch, or 0 */
	u8 *nowhere;       /* what rs[].host leads to that has not been set; its tag is 0 */
	u8 *jump[JC_NIDX]; /* r10: guest address: by the table of branch targets; flags in AX */
	u8 *miss;          /* r10: guest address, r11: struct site; flags in AX */
};

enum exit_kind { EXIT_LINK, EXIT_SITE, EXIT_LOOKUP, EXIT_X87 };

enum tr_why { TR_FULL, TR_CROSSES }; /* why there is no translation */

struct jit {
	pthread_mutex_t lock;
	struct mem *mem;
	u8 *rw, *rx;     /* the same memory, writable and executable */
	u64 size;        /* of each half of the code, of arena and sites; also what they may use together */
	u64 start, used; /* behind the glue; next free byte of the near half, what is executed */
	u64 far;         /* next free byte of the far half: stubs, what is executed once in a while */
	u8 *arena;
	u64 arena_used;
	struct site *sites;
	u32 nsites;
	ref hash[TB_HASH];
	u64 starts[STARTS / 64]; /* a bit for each hash of a block's address: most code is no block's start */
	ref *page;  /* blocks by guest page, sparse */
	u32 *whint; /* by guest page: which TLB slot of which CPU may write there; sparse */
	u64 pages;
	ref *order; /* blocks by address of code */
	u32 norder, order_size;
	struct glue glue;
	u64 gen;  /* atomic: counts emptyings */
	u32 stop; /* atomic: nobody may enter translated code */
	bool host_avx;
	u64 stat[JIT_NSTAT];
	struct decoders decoders;
	struct cpu *cpus[MAX_VCPUS];
	unsigned ncpus;
	struct tr *tr; /* the translation in progress */
	enum tr_why why;
	FILE *perf_map; /* NULL: none */
	unsigned check; /* --jit-check: how often a block is compared with interp before it is linked */
	u8 leave_out;   /* tests: instructions that are translated to nothing */
	unsigned hot;   /* times that interp runs a block before it is translated */
	u8 *heat;       /* how often a block was met, by a hash of its address; racy */
};

static inline void *jit_record(const struct jit *j, ref r)
{
	return j->arena + (u64)r * 8;
}
static inline struct tb *jit_tb(const struct jit *j, ref r) /* NULL for 0 */
{
	return r ? jit_record(j, r) : NULL;
}
static inline struct xit *jit_xit(const struct jit *j, ref r)
{
	return r ? jit_record(j, r) : NULL;
}
static inline ref jit_ref(const struct jit *j, const void *record)
{
	return (ref)(((const u8 *)record - j->arena) / 8);
}
static inline place jit_place(const struct jit *j, const u8 *p)
{
	return (place)(p - j->rx);
}
static inline u64 jit_address(const struct jit *j, place p)
{
	return (u64)(j->rx + p);
}
static inline u64 tb_entry_a(const struct jit *j, const struct tb *b)
{
	return jit_address(j, b->code + b->entry_a);
}

/* cache.c */
int jit_cache_create(struct jit *j, u64 bytes, struct err *e);
void jit_cache_destroy(struct jit *j);
bool jit_cache_full(const struct jit *j);
void jit_code_written(void *opaque, u64 page);
u64 jit_cache_used(const struct jit *j);   /* bytes of code and records */
void *jit_arena(struct jit *j, u64 bytes); /* zeroed, aligned to 8; NULL when full */
struct site *jit_site(struct jit *j);      /* the next one, zeroed; NULL when full */
struct tb *jit_find(struct jit *j, u64 gpa, u32 key);
void jit_insert(struct jit *j, struct tb *b);
bool jit_starts(struct jit *j, u64 gpa, u32 key); /* is there a block? as jit_find, faster where there is none */
void jit_link(struct jit *j, struct xit *x, struct tb *target);
void jit_flush(struct jit *j, struct cpu *self); /* lock held */
struct tb *jit_tb_at(struct jit *j, const u8 *pc);
void jit_drop(struct jit *j, struct tb *b); /* lock held */
void jc_clear(struct cpu *c, unsigned idx);
void rs_clear(struct cpu *c, unsigned idx);
void jc_learn(struct cpu *c, u64 va, const struct tb *b); /* execute tags for its code are there */
u64 jit_find_target(struct cpu *c, u64 va);

static_assert(sizeof(struct jc) == 16, "tr_lookup's index");
static_assert(sizeof(struct insn) <= sizeof(((struct jit_cpu *)0)->insn), "fits");

#define HEAT_SIZE 65536u
static inline u8 *jit_heat(const struct jit *j, u64 gpa)
{
	return &j->heat[(gpa ^ gpa >> 16) & (HEAT_SIZE - 1)];
}

static inline unsigned jc_hash(u64 va)
{
	return (unsigned)(va >> 1) & (JC_SIZE - 1); /* as tr_lookup: no shift, no mixing */
}

/* Has the block been compared often enough? Until then it is entered from C alone. */
static inline bool tb_checked(const struct jit *j, const struct tb *b)
{
	return b->checked >= j->check;
}

/* Where execution may go on: host code, good while the cache's generation is gen. */
struct target {
	u64 code, gen;
	struct tb *tb; /* if code is its beginning */
};

/* run.c, for --jit-check: one block by itself. False: it is gone. */
struct stop {
	u64 rip;
	bool before; /* the instruction there was left to interp; else control has left the block */
};
bool jit_run_one(struct cpu *c, const struct target *p, struct stop *s);

/* check.c */
int check_attach(struct cpu *c);
void check_detach(struct cpu *c);
bool check_block(
        struct cpu *c, const struct target *p); /* false: the engines disagree, which has been told */

/* x87.c: between cpu.fpu and jit.fsave */
void x87_to_host(struct cpu *c);
void x87_from_host(struct cpu *c);

/* glue.c */
void glue_emit(struct jit *j);

/* To the guest address in S1, by the table of branch targets; flags are in AX. */
struct jump {
	u8 *unknown, *busy; /* holes: the table does not have it; there is a request */
};
struct jump glue_jump(struct as *a, unsigned idx);
/* RET to S1, which has been read from RSP, and drops so many bytes: by what its CALL has left. */
struct jump glue_return(struct as *a, unsigned idx, s32 bytes);
void glue_rs_slot(struct as *a, unsigned reg); /* offset in rs[].tag and .host for RSP; destroys flags */

/* translate.c: lock held. NULL: see jit.why. gpa2: the page that the first instruction crosses into. */
#define JIT_ONE_PAGE (~0ull)
struct tr *jit_tr_create(void);
struct tb *jit_translate(struct jit *j, struct cpu *c, u64 gpa, u64 gpa2, u32 key);

/* perf.c */
void perf_map_open(struct jit *j);
void perf_map_close(struct jit *j);
void perf_map_add(struct jit *j, const struct cpu *c, const struct tb *b); /* lock held */

/* hostfault.c */
void hostfault_init(void); /* one more translator */
void hostfault_fini(void);
void hostfault_enter(struct cpu *c); /* this thread executes c's code from now on */
void hostfault_leave(void);

/* The mode bits that a block depends on. */
static inline u32 jit_key(const struct cpu *c)
{
	return c->hf | c->mmu_idx << 16;
}

/* A narrow block has no windows: it stands in for one whose window crosses a page this time (tr_window.c). */
#define KEY_NARROW BIT(31)

#define JIT_HF_MASK (HF_PE | HF_LMA | HF_CS64 | HF_VM86 | HF_TF)
#define JIT_HF_WANT (HF_PE | HF_LMA | HF_CS64)
static inline bool jit_mode(const struct cpu *c)
{
	return (c->hf & JIT_HF_MASK) == JIT_HF_WANT && c->mmu_idx != MMU_USER_ALIGN;
}
