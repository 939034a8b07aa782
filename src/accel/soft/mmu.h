/*
 * Guest virtual memory for the engines: inline hits in the software TLB, everything else in mmu.c
 * (page walk, faults, device memory, page-crossing accesses, code invalidation).
 *
 * All addresses here are linear (segment base added, limits checked). Loads and stores of 1, 2, 4
 * and 8 bytes inside a page are single host accesses, so that aligned ones are atomic as on x86.
 */
#pragma once

#include "accel/soft/cpu.h"

typedef u16 u16_any __attribute__((aligned(1), may_alias));
typedef u32 u32_any __attribute__((aligned(1), may_alias));
typedef u64 u64_any __attribute__((aligned(1), may_alias));

enum access { ACC_READ, ACC_WRITE, ACC_EXEC };

u64 mmu_ld_slow(struct cpu *c, u64 lin, unsigned size);
void mmu_st_slow(struct cpu *c, u64 lin, unsigned size, u64 val);
void mmu_code_hit(struct cpu *c, u64 gpa, unsigned size); /* a store hit a line with decoded code */

static inline unsigned tlb_slot(u64 lin)
{
	return (lin >> PAGE_SHIFT) & (TLB_SIZE - 1);
}

/* Host address of [lin, lin + size) if the access goes straight to RAM inside one page, else NULL. */
static inline void *tlb_read_ptr(const struct cpu *c, u32 idx, u64 lin, unsigned size)
{
	const struct tlb *t = &c->tlb[idx];
	unsigned n = tlb_slot(lin);
	u64 off = lin - t->r[n];

	return likely(off <= PAGE_SIZE - size) ? (void *)(t->host[n] + off) : NULL;
}

static inline void *tlb_write_ptr(const struct cpu *c, u32 idx, u64 lin, unsigned size)
{
	const struct tlb *t = &c->tlb[idx];
	unsigned n = tlb_slot(lin);
	u64 off = lin - t->w[n];

	return likely(off <= PAGE_SIZE - size) ? (void *)(t->host[n] + off) : NULL;
}

/* A store of size bytes at host address p (inside RAM) has happened: keep decoded code true. */
static inline void mmu_wrote(struct cpu *c, const void *p, unsigned size)
{
	if (unlikely(c->jit.shadowed))
		return; /* p is in a copy */
	u64 gpa = (u64)((const u8 *)p - c->mem->base);
	u64 mask = __atomic_load_n(&c->mem->code[gpa >> PAGE_SHIFT], __ATOMIC_RELAXED);
	if (unlikely(mask))
		mmu_code_hit(c, gpa, size);
}

#define MMU_LD(bits, type)                                                                                   \
	static inline u##bits mem_ld##bits(struct cpu *c, u64 lin)                                           \
	{                                                                                                    \
		const void *p = tlb_read_ptr(c, c->mmu_idx, lin, bits / 8);                                  \
		if (likely(p))                                                                               \
			return *(const volatile type *)p;                                                    \
		return (u##bits)mmu_ld_slow(c, lin, bits / 8);                                               \
	}
#define MMU_ST(bits, type)                                                                                   \
	static inline void mem_st##bits(struct cpu *c, u64 lin, u##bits val)                                 \
	{                                                                                                    \
		void *p = tlb_write_ptr(c, c->mmu_idx, lin, bits / 8);                                       \
		if (likely(p)) {                                                                             \
			*(volatile type *)p = val;                                                           \
			mmu_wrote(c, p, bits / 8);                                                           \
			return;                                                                              \
		}                                                                                            \
		mmu_st_slow(c, lin, bits / 8, val);                                                          \
	}
MMU_LD(8, u8)
MMU_LD(16, u16_any)
MMU_LD(32, u32_any)
MMU_LD(64, u64_any)
MMU_ST(8, u8)
MMU_ST(16, u16_any)
MMU_ST(32, u32_any)
MMU_ST(64, u64_any)
#undef MMU_LD
#undef MMU_ST

static inline u64 mem_ld(struct cpu *c, u64 lin, unsigned size)
{
	switch (size) {
	case 1: return mem_ld8(c, lin);
	case 2: return mem_ld16(c, lin);
	case 4: return mem_ld32(c, lin);
	default: return mem_ld64(c, lin);
	}
}

static inline void mem_st(struct cpu *c, u64 lin, unsigned size, u64 val)
{
	switch (size) {
	case 1: mem_st8(c, lin, (u8)val); break;
	case 2: mem_st16(c, lin, (u16)val); break;
	case 4: mem_st32(c, lin, (u32)val); break;
	default: mem_st64(c, lin, val); break;
	}
}

/* Any length (1..4096). A store checks write permission of every page before it changes a byte. */
void mem_ld_bytes(struct cpu *c, u64 lin, void *buf, unsigned len);
void mem_st_bytes(struct cpu *c, u64 lin, const void *buf, unsigned len);

/*
 * Read-modify-write: raises the fault a write would raise (#PF with W set) and changes nothing.
 * Returns the host address if [lin, lin+size) is plain RAM inside one page, else NULL (device
 * memory or page crossing: use mem_ld, then mem_st; for LOCK take mmu_lock around both). After
 * writing through the pointer call mmu_wrote.
 */
void *mmu_rmw(struct cpu *c, u64 lin, unsigned size);
/* As above for plain reads / writes of a run of bytes inside one page (string instructions). */
void *mmu_ptr(struct cpu *c, u64 lin, unsigned len, enum access acc);

/* A bus lock for LOCKed accesses without a host pointer. */
void mmu_lock(struct cpu *c);
void mmu_unlock(struct cpu *c);

/*
 * Segment: offset -> linear with limit, type and canonical checks; raises #GP(0)/#SS(0). In 64-bit
 * mode it only adds FS/GS bases and checks that the address is canonical.
 */
u64 mmu_linear(struct cpu *c, unsigned seg, u64 off, unsigned size, bool write);

/* True if lin may be used in the current mode (canonical in 64-bit mode). */
static inline bool mmu_canonical(u64 lin)
{
	return (u64)((s64)(lin << 16) >> 16) == lin;
}

/* Raises the faults that an access of len bytes (1..4096) at lin would raise, without making it. */
void mmu_probe(struct cpu *c, u64 lin, unsigned len, enum access acc);

/*
 * For the translator: the page of lin into the inline TLB, from the second level or by a walk. False if
 * the TLB does not grant the access even so; raises nothing.
 */
#define MMU_ACCESS(size, write) ((u8)((size) << 1 | (write)))
bool mmu_refill(struct cpu *c, u64 lin, u8 access);
bool mmu_walk_in(struct cpu *c, u64 lin, u8 access);

/* Device or RAM access at a guest physical address, within one page. */
u64 mmu_phys_ld(struct cpu *c, u64 gpa, unsigned size);
void mmu_phys_st(struct cpu *c, u64 gpa, unsigned size, u64 val);

static inline enum mmu_idx mmu_idx_of(unsigned cpl)
{
	return cpl == 3 ? MMU_USER : MMU_KERNEL;
}

/* With an explicit privilege: stacks of another CPL. */
u64 mem_ld_idx(struct cpu *c, enum mmu_idx idx, u64 lin, unsigned size);
void mem_st_idx(struct cpu *c, enum mmu_idx idx, u64 lin, unsigned size, u64 val);

/* Supervisor access to system structures (descriptor tables, TSS), whatever the CPL. */
u64 mem_ld_sys(struct cpu *c, u64 lin, unsigned size);
void mem_st_sys(struct cpu *c, u64 lin, unsigned size, u64 val);

/* Is the page of lin, which has an execute tag, one that stays when the address space changes? */
bool mmu_global_code(const struct cpu *c, u64 lin);

/* gva -> gpa for a fetch at the current CPL; raises #PF. */
u64 mmu_fetch_gpa(struct cpu *c, u64 lin);

/*
 * A second TLB behind the inline one keeps translations of several PCIDs, so that a CR3 switch that
 * need not flush does not.
 */
int mmu_init(struct cpu *c);
void mmu_fini(struct cpu *c);
void mmu_switch(struct cpu *c);               /* CR3 or PCID changed: only global pages stay inline */
void mmu_forget(struct cpu *c);               /* all tags were made under other conditions */
void mmu_flush_pcid(struct cpu *c, u32 pcid); /* its non-global translations */
void mmu_flush_page_pcid(struct cpu *c, u64 lin, u32 pcid);
void mmu_flush_nonglobal(struct cpu *c);     /* of every PCID */
void mmu_flush(struct cpu *c, bool global);  /* non-global entries of the current PCID, or all */
void mmu_flush_page(struct cpu *c, u64 lin); /* INVLPG */
