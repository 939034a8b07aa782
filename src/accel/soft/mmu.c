/*
 * Guest virtual memory, the slow half: TLB fill, faults, device memory, accesses that cross a page.
 *
 * Two levels of TLB. The inline one (cpu.h) is direct mapped by page number and grants an access
 * by a tag; it knows no PCIDs and is emptied when the address space changes. Behind it tlb2 keeps
 * what walks found, keyed by page number and PCID; an entry is good while its PCID's generation is
 * the one it was made in, so that flushing a PCID is one increment. Global pages live under a PCID of
 * their own. A failing permission check always walks again, as the manual allows (SDM vol. 3,
 * 4.10.2), so that stale entries never fault.
 *
 * Pages whose accesses must be seen get no tags: device memory, and pages with a data breakpoint.
 */
#include "accel/soft/debug.h"
#include "accel/soft/engine.h"
#include "accel/soft/interp/cache.h"
#include "accel/soft/interp/insn.h"
#include "accel/soft/jit/jit.h"
#include "accel/soft/mmu.h"
#include "accel/soft/walk.h"

#include <stdlib.h>

#define TLB2_SIZE 4096u
#define PCID_GLOBAL 4096u
#define BLOOM_BITS 65536u

struct tlb2_entry {
	u64 key; /* page number | pcid << 36 */
	u64 page;
	u32 flags, gen;
};

struct tlb2 {
	struct tlb2_entry e[TLB2_SIZE];
	u32 gen[PCID_GLOBAL + 1];
	/* Regions of 2 MiB (1 GiB) in which a large page was used: INVLPG must drop all its parts. */
	u64 bloom_2m[BLOOM_BITS / 64], bloom_big[BLOOM_BITS / 64];
};

/* The array gets memory where there is code. */
static void set_code(struct tlb *t, unsigned n, u64 code)
{
	if (t->code[n] != code)
		t->code[n] = code;
}

static void drop_slot(struct cpu *c, unsigned idx, unsigned n)
{
	u64 none = n ? 0 : TLB_NONE_0;

	c->tlb[idx].r[n] = c->tlb[idx].w[n] = c->tlb[idx].x[n] = none;
	set_code(&c->tlb[idx], n, 0);
}

int mmu_init(struct cpu *c)
{
	c->tlb2 = calloc(1, sizeof(*c->tlb2));
	if (!c->tlb2)
		return -1;
	for (unsigned n = 0; n <= PCID_GLOBAL; n++)
		c->tlb2->gen[n] = 1; /* zeroed entries match no generation */
	for (unsigned i = 0; i < MMU_NIDX; i++)
		drop_slot(c, i, 0);
	return 0;
}

void mmu_fini(struct cpu *c)
{
	free(c->tlb2);
	c->tlb2 = NULL;
}

/* --- flushing --- */

static u32 current_pcid(const struct cpu *c)
{
	return c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0;
}

static void drop_word(struct cpu *c, unsigned idx, struct tlb_used *used, unsigned w)
{
	for (u64 bits = used->bit[w]; bits; bits &= bits - 1)
		drop_slot(c, idx, w * 64 + (unsigned)__builtin_ctzll(bits));
	used->bit[w] = 0;
}

/* Empties the slots of pages that are global, or that are not, by way of the record of those in use. */
static void drop_used(struct cpu *c, unsigned idx, struct tlb_used *used)
{
	for (unsigned n = 0; n < ARRAY_SIZE(used->top); n++) {
		for (u64 top = used->top[n]; top; top &= top - 1) {
			unsigned s = n * 64 + (unsigned)__builtin_ctzll(top);

			for (u64 sum = used->sum[s]; sum; sum &= sum - 1)
				drop_word(c, idx, used, s * 64 + (unsigned)__builtin_ctzll(sum));
			used->sum[s] = 0;
		}
		used->top[n] = 0;
	}
}

static void drop_slots(struct cpu *c, bool global)
{
	for (unsigned i = 0; i < MMU_NIDX; i++)
		drop_used(c, i, &c->tlb_used[global][i]);
}

void mmu_switch(struct cpu *c)
{
	drop_slots(c, false);
	if (c->jit.j)
		jit_forget(c, false);
}

void mmu_forget(struct cpu *c)
{
	drop_slots(c, true);
	drop_slots(c, false);
	if (c->jit.j)
		jit_forget(c, true);
}

/* Generations wrap after 2^32 flushes: then old entries could look new, so drop them all. */
static void next_gen(struct tlb2 *t, u32 pcid)
{
	if (++t->gen[pcid] == 0) {
		memset(t->e, 0, sizeof(t->e));
		t->gen[pcid] = 1;
	}
}

void mmu_flush_pcid(struct cpu *c, u32 pcid)
{
	next_gen(c->tlb2, pcid);
	if (pcid == current_pcid(c))
		mmu_switch(c);
}

void mmu_flush(struct cpu *c, bool global)
{
	struct tlb2 *t = c->tlb2;

	if (!global) {
		mmu_switch(c);
		next_gen(t, current_pcid(c));
		return;
	}
	mmu_forget(c);
	for (u32 n = 0; n <= PCID_GLOBAL; n++)
		next_gen(t, n);
	memset(t->bloom_2m, 0, sizeof(t->bloom_2m));
	memset(t->bloom_big, 0, sizeof(t->bloom_big));
}

void mmu_flush_nonglobal(struct cpu *c)
{
	mmu_switch(c);
	for (u32 n = 0; n < PCID_GLOBAL; n++)
		next_gen(c->tlb2, n);
}

static u64 key_of(u64 lin, u32 pcid)
{
	return ((lin >> PAGE_SHIFT) & 0xfffffffffull) | (u64)pcid << 36;
}

static struct tlb2_entry *tlb2_slot(struct tlb2 *t, u64 key)
{
	return &t->e[(key ^ (key >> 36) * 0x9d ^ (key >> 18)) & (TLB2_SIZE - 1)];
}

static void tlb2_drop(struct tlb2 *t, u64 lin, u32 pcid)
{
	u64 key = key_of(lin, pcid);
	struct tlb2_entry *e = tlb2_slot(t, key);

	if (e->key == key)
		e->gen = t->gen[pcid] - 1;
}

static u64 bloom_hash(u64 lin, unsigned shift)
{
	return (lin >> shift) * 0x9e3779b97f4a7c15ull >> 48;
}
static_assert(BLOOM_BITS == 1u << 16, "the hash's range");

static bool bloom_test(const u64 *bloom, u64 lin, unsigned shift)
{
	u64 n = bloom_hash(lin, shift);

	return bloom[n / 64] & BIT64(n % 64);
}

static void bloom_set(u64 *bloom, u64 lin, unsigned shift)
{
	u64 n = bloom_hash(lin, shift);

	bloom[n / 64] |= BIT64(n % 64);
}

static void drop_page(struct cpu *c, u64 lin, u32 pcid)
{
	if (c->jit.j)
		jit_unmapped(c);
	for (unsigned i = 0; i < MMU_NIDX; i++) {
		unsigned n = tlb_slot(lin);

		if (c->jit.j && i < JC_NIDX && c->tlb[i].x[n] == (lin & ~(PAGE_SIZE - 1)))
			jit_page_gone(c, i, c->tlb[i].x[n]);
		drop_slot(c, i, n);
	}
	tlb2_drop(c->tlb2, lin, pcid);
	tlb2_drop(c->tlb2, lin, PCID_GLOBAL);
}

void mmu_flush_page_pcid(struct cpu *c, u64 lin, u32 pcid)
{
	if (bloom_test(c->tlb2->bloom_big, lin, 30)) {
		mmu_flush(c, true);
		return;
	}
	if (!bloom_test(c->tlb2->bloom_2m, lin, 21)) {
		drop_page(c, lin, pcid);
		return;
	}
	lin = ALIGN_DOWN(lin, 2 * MiB);
	for (u64 end = lin + 2 * MiB; lin != end; lin += PAGE_SIZE)
		drop_page(c, lin, pcid);
}

void mmu_flush_page(struct cpu *c, u64 lin)
{
	mmu_flush_page_pcid(c, lin, current_pcid(c));
}

/* --- translation --- */

static bool tlb2_find(struct cpu *c, u64 lin, u32 pcid, struct xlat *x)
{
	u64 key = key_of(lin, pcid);
	const struct tlb2_entry *e = tlb2_slot(c->tlb2, key);

	if (e->key != key || e->gen != c->tlb2->gen[pcid])
		return false;
	x->page = e->page;
	x->flags = e->flags;
	return true;
}

static bool is_global(const struct cpu *c, const struct xlat *x)
{
	return (x->flags & PG_G) && (c->cr4 & CR4_PGE);
}

static void tlb2_store(struct cpu *c, u64 lin, const struct xlat *x)
{
	u32 pcid = is_global(c, x) ? PCID_GLOBAL : current_pcid(c);
	u64 key = key_of(lin, pcid);
	struct tlb2 *t = c->tlb2;

	*tlb2_slot(t, key) = (struct tlb2_entry){key, x->page, x->flags, t->gen[pcid]};
	if (x->flags & PG_2M)
		bloom_set(t->bloom_2m, lin, 21);
	if (x->flags & PG_BIG)
		bloom_set(t->bloom_big, lin, 30);
}

static bool is_apic_page(const struct cpu *c, u64 gpa)
{
	return c->intc.ops && (c->apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE &&
	       (c->apic_base & PTE_ADDR) == (gpa & ~(PAGE_SIZE - 1));
}

/* Host address of a RAM page, NULL for anything that must be looked at for each access. */
static u8 *ram_page(struct cpu *c, u64 page)
{
	u8 *p = is_apic_page(c, page) ? NULL : mem_ptr(c->mem, page, PAGE_SIZE);

	return unlikely(c->jit.shadowed) && p ? jit_shadow_page(c, page, p) : p;
}

/* Host address of size bytes inside a page of RAM, NULL for devices. */
static u8 *phys_ptr(struct cpu *c, u64 gpa, unsigned size)
{
	u8 *page;

	if (likely(!c->jit.shadowed))
		return mem_ptr(c->mem, gpa, size);
	page = ram_page(c, gpa & ~(PAGE_SIZE - 1));
	if (!page)
		jit_shadow_escape(c);
	return page + (gpa & (PAGE_SIZE - 1));
}

/*
 * Translated code does not look at the code map after a store: pages with code get no tag. The tag is
 * set before the map is read, and who marks a page reads tags after (jit_page_marked).
 */
static void grant_writes(struct cpu *c, enum mmu_idx idx, unsigned n, u64 page, u64 gpa)
{
	struct tlb *t = &c->tlb[idx];

	if (!c->jit.j) {
		t->w[n] = page;
		return;
	}
	if (__atomic_load_n(&c->mem->code[gpa >> PAGE_SHIFT], __ATOMIC_RELAXED))
		return;
	jit_write_tag(c, idx, n, gpa);
	__atomic_store_n(&t->w[n], page, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->mem->code[gpa >> PAGE_SHIFT], __ATOMIC_SEQ_CST))
		t->w[n] = n ? 0 : TLB_NONE_0;
}

static void tlb_fill(struct cpu *c, enum mmu_idx idx, u64 lin, const struct xlat *x)
{
	u64 page = lin & ~(PAGE_SIZE - 1);
	unsigned n = tlb_slot(lin);
	u64 none = n ? 0 : TLB_NONE_0;
	struct tlb *t = &c->tlb[idx];
	u8 *host = ram_page(c, x->page);
	bool data = !debug_watches_page(c, page);
	struct tlb_used *u;

	if (!host || idx == MMU_USER_ALIGN)
		return;
	t->r[n] = data && mmu_allowed(c, x->flags, ACC_READ, idx) ? page : none;
	if (c->jit.j && t->x[n] != none && (t->x[n] != page || t->host[n] != (u64)host))
		jit_page_gone(c, idx, t->x[n]);
	t->host[n] = (u64)host;
	t->x[n] = !c->jit.shadowed && mmu_allowed(c, x->flags, ACC_EXEC, idx) ? page : none;
	set_code(t, n, t->x[n] == page ? tlb_code(page, x->page) : 0);
	t->w[n] = none;
	if (data && (x->flags & PG_D) && mmu_allowed(c, x->flags, ACC_WRITE, idx))
		grant_writes(c, idx, n, page, x->page);
	u = &c->tlb_used[is_global(c, x)][idx];
	u->bit[n / 64] |= BIT64(n % 64);
	u->sum[n / 4096] |= BIT64(n / 64 % 64);
	u->top[n / 262144] |= BIT64(n / 4096 % 64);
}

static NORETURN void not_canonical(struct cpu *c)
{
	const struct insn *i = c->insn;
	bool stack = (i->flags & INSN_MEM) && i->seg == SEG_SS;

	cpu_raise_err(c, stack ? EXC_SS : EXC_GP, 0);
}

/* The translation of one page for an access, cached or walked; raises #PF. */
static void translate(struct cpu *c, enum mmu_idx idx, u64 lin, enum access acc, struct xlat *x)
{
	u32 error;

	c->stat[STAT_TLB_MISS]++;
	if ((c->cr0 & CR0_PG) &&
	        (tlb2_find(c, lin, current_pcid(c), x) || tlb2_find(c, lin, PCID_GLOBAL, x)) &&
	        mmu_allowed(c, x->flags, acc, idx) && (acc != ACC_WRITE || (x->flags & PG_D))) {
		tlb_fill(c, idx, lin, x);
		return;
	}
	if (mmu_walk(c, lin, acc, idx, x, &error) < 0)
		cpu_raise_pf(c, lin, error);
	if (c->cr0 & CR0_PG)
		tlb2_store(c, lin, x);
	tlb_fill(c, idx, lin, x);
}

static bool granted(const struct cpu *c, u64 lin, u8 access)
{
	unsigned size = access >> 1;

	return access & 1 ? tlb_write_ptr(c, c->mmu_idx, lin, size) : tlb_read_ptr(c, c->mmu_idx, lin, size);
}

bool mmu_refill(struct cpu *c, u64 lin, u8 access)
{
	bool write = access & 1;
	struct xlat x;

	c->stat[STAT_TLB_MISS]++;
	if (!mmu_canonical(lin) ||
	        (!tlb2_find(c, lin, current_pcid(c), &x) && !tlb2_find(c, lin, PCID_GLOBAL, &x)) ||
	        !mmu_allowed(c, x.flags, write ? ACC_WRITE : ACC_READ, c->mmu_idx) ||
	        (write && !(x.flags & PG_D)))
		return false;
	tlb_fill(c, c->mmu_idx, lin, &x);
	return granted(c, lin, access);
}

bool mmu_walk_in(struct cpu *c, u64 lin, u8 access)
{
	struct xlat x;
	u32 error;

	if (!mmu_canonical(lin) ||
	        mmu_walk(c, lin, access & 1 ? ACC_WRITE : ACC_READ, c->mmu_idx, &x, &error) < 0)
		return false;
	tlb2_store(c, lin, &x);
	tlb_fill(c, c->mmu_idx, lin, &x);
	return granted(c, lin, access);
}

bool mmu_global_code(const struct cpu *c, u64 lin)
{
	unsigned n = tlb_slot(lin);

	return (c->tlb_used[1][c->fetch_idx].bit[n / 64] & ~c->tlb_used[0][c->fetch_idx].bit[n / 64]) >>
	               (n % 64) &
	       1;
}

/* gpa of lin; raises #GP, #SS, #PF. */
static u64 gpa_of(struct cpu *c, enum mmu_idx idx, u64 lin, enum access acc)
{
	struct xlat x;

	if (c->efer & EFER_LMA) {
		if (!mmu_canonical(lin))
			not_canonical(c);
	} else {
		lin = (u32)lin;
	}
	translate(c, idx, lin, acc, &x);
	return x.page | (lin & (PAGE_SIZE - 1));
}

u64 mmu_fetch_gpa(struct cpu *c, u64 lin)
{
	const struct tlb *t = &c->tlb[c->fetch_idx];
	unsigned n = tlb_slot(lin);

	if (likely(t->x[n] == (lin & ~(PAGE_SIZE - 1))))
		return t->host[n] - (u64)c->mem->base + (lin & (PAGE_SIZE - 1));
	return gpa_of(c, c->fetch_idx, lin, ACC_EXEC);
}

/* --- physical accesses --- */

u64 mmu_phys_ld(struct cpu *c, u64 gpa, unsigned size)
{
	u64 v = 0;

	if (is_apic_page(c, gpa)) {
		if (c->jit.shadowed)
			jit_shadow_escape(c);
		u32 off = gpa & (PAGE_SIZE - 1);
		v = c->intc.ops->mmio_read(c->intc.opaque, off, MIN(size, 4));
		if (size > 4)
			v |= (u64)c->intc.ops->mmio_read(c->intc.opaque, off + 4, size - 4) << 32;
		return v;
	}
	const void *p = phys_ptr(c, gpa, size);
	if (!p)
		return c->host->memory ? space_read(c->host->memory, gpa, size) : ones(size);
	switch (size) {
	case 1: return *(const volatile u8 *)p;
	case 2: return *(const volatile u16_any *)p;
	case 4: return *(const volatile u32_any *)p;
	case 8: return *(const volatile u64_any *)p;
	default: memcpy(&v, p, size); return v;
	}
}

static void apic_st(struct cpu *c, u32 off, unsigned size, u64 val)
{
	c->intc.ops->mmio_write(c->intc.opaque, off, MIN(size, 4), (u32)(val & ones(MIN(size, 4))));
	if (size > 4)
		c->intc.ops->mmio_write(c->intc.opaque, off + 4, size - 4, (u32)(val >> 32));
	/* EOI, TPR: something that waited may be deliverable now. */
	__atomic_fetch_or(&c->request, CPU_REQ_INTR, __ATOMIC_SEQ_CST);
}

void mmu_phys_st(struct cpu *c, u64 gpa, unsigned size, u64 val)
{
	if (is_apic_page(c, gpa)) {
		if (c->jit.shadowed)
			jit_shadow_escape(c);
		apic_st(c, gpa & (PAGE_SIZE - 1), size, val);
		return;
	}
	void *p = phys_ptr(c, gpa, size);
	if (!p) {
		if (c->host->memory)
			space_write(c->host->memory, gpa, size, val);
		return;
	}
	switch (size) {
	case 1: *(volatile u8 *)p = (u8)val; break;
	case 2: *(volatile u16_any *)p = (u16)val; break;
	case 4: *(volatile u32_any *)p = (u32)val; break;
	case 8: *(volatile u64_any *)p = val; break;
	default: memcpy(p, &val, size); break;
	}
	mmu_wrote(c, p, size);
}

void mmu_code_hit(struct cpu *c, u64 gpa, unsigned size)
{
	u32 before = mem_code_gen(c->mem, gpa);

	mem_wrote(c->mem, gpa, size);
	c->stat[STAT_SMC] += mem_code_gen(c->mem, gpa) != before;
	if (!c->block || !block_current(c, c->block)) /* else it was other lines, or another page */
		cpu_end_block(c);
}

/* --- slow loads and stores --- */

/* #AC at CPL 3 with CR0.AM and EFLAGS.AC (SDM vol. 3, 6.15, interrupt 17); returns the index to use. */
static enum mmu_idx check_align(struct cpu *c, enum mmu_idx idx, u64 lin, unsigned size)
{
	if (idx != MMU_USER_ALIGN)
		return idx;
	if (size <= 8 && (lin & (size - 1))) {
		if ((c->efer & EFER_LMA) && !mmu_canonical(lin))
			not_canonical(c); /* comes first */
		cpu_raise_err(c, EXC_AC, 0);
	}
	return MMU_USER;
}

static bool crosses(u64 lin, unsigned size)
{
	return (lin & (PAGE_SIZE - 1)) + size > PAGE_SIZE;
}

static u64 next_page(const struct cpu *c, u64 lin)
{
	lin = (lin | (PAGE_SIZE - 1)) + 1;
	return c->efer & EFER_LMA ? lin : (u32)lin;
}

static u64 ld_idx(struct cpu *c, enum mmu_idx idx, u64 lin, unsigned size)
{
	unsigned first = (unsigned)(PAGE_SIZE - (lin & (PAGE_SIZE - 1)));
	u64 gpa = gpa_of(c, idx, lin, ACC_READ);

	debug_data_access(c, lin, size, false);
	if (!crosses(lin, size))
		return mmu_phys_ld(c, gpa, size);
	u64 gpa2 = gpa_of(c, idx, next_page(c, lin), ACC_READ);
	u64 v = 0;
	for (unsigned n = 0; n < size; n++)
		v |= mmu_phys_ld(c, n < first ? gpa + n : gpa2 + (n - first), 1) << (8 * n);
	return v;
}

static void st_idx(struct cpu *c, enum mmu_idx idx, u64 lin, unsigned size, u64 val)
{
	unsigned first = (unsigned)(PAGE_SIZE - (lin & (PAGE_SIZE - 1)));
	u64 gpa = gpa_of(c, idx, lin, ACC_WRITE);

	if (!crosses(lin, size)) {
		debug_data_access(c, lin, size, true);
		mmu_phys_st(c, gpa, size, val);
		return;
	}
	u64 gpa2 = gpa_of(c, idx, next_page(c, lin), ACC_WRITE);
	debug_data_access(c, lin, size, true);
	for (unsigned n = 0; n < size; n++)
		mmu_phys_st(c, n < first ? gpa + n : gpa2 + (n - first), 1, (u8)(val >> (8 * n)));
}

u64 mmu_ld_slow(struct cpu *c, u64 lin, unsigned size)
{
	return ld_idx(c, check_align(c, c->mmu_idx, lin, size), lin, size);
}

void mmu_st_slow(struct cpu *c, u64 lin, unsigned size, u64 val)
{
	st_idx(c, check_align(c, c->mmu_idx, lin, size), lin, size, val);
}

u64 mem_ld_idx(struct cpu *c, enum mmu_idx idx, u64 lin, unsigned size)
{
	const void *p = tlb_read_ptr(c, idx, lin, size);

	if (likely(p))
		return size == 8   ? *(const volatile u64_any *)p
		       : size == 4 ? *(const volatile u32_any *)p
		       : size == 2 ? *(const volatile u16_any *)p
		                   : *(const volatile u8 *)p;
	return ld_idx(c, idx, lin, size);
}

void mem_st_idx(struct cpu *c, enum mmu_idx idx, u64 lin, unsigned size, u64 val)
{
	void *p = size == 8 ? tlb_write_ptr(c, idx, lin, 8) : NULL;

	if (likely(p)) {
		*(volatile u64_any *)p = val;
		mmu_wrote(c, p, 8);
		return;
	}
	st_idx(c, idx, lin, size, val);
}

u64 mem_ld_sys(struct cpu *c, u64 lin, unsigned size)
{
	return mem_ld_idx(c, MMU_KERNEL, lin, size);
}

void mem_st_sys(struct cpu *c, u64 lin, unsigned size, u64 val)
{
	mem_st_idx(c, MMU_KERNEL, lin, size, val);
}

static enum mmu_idx data_idx(const struct cpu *c)
{
	return c->mmu_idx == MMU_USER_ALIGN ? MMU_USER : c->mmu_idx;
}

void mmu_probe(struct cpu *c, u64 lin, unsigned len, enum access acc)
{
	gpa_of(c, data_idx(c), lin, acc);
	if (crosses(lin, len))
		gpa_of(c, data_idx(c), next_page(c, lin), acc);
}

/* One page's part of a block copy; at most 8 bytes at a time to devices. */
static void copy_part(struct cpu *c, u64 gpa, u8 *buf, unsigned len, bool write)
{
	u8 *p = ram_page(c, gpa & ~(PAGE_SIZE - 1));

	if (p) {
		p += gpa & (PAGE_SIZE - 1);
		memcpy(write ? p : buf, write ? buf : p, len);
		if (write)
			mmu_wrote(c, p, len);
		return;
	}
	while (len) {
		unsigned n = len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
		u64 v = 0;
		if (write) {
			memcpy(&v, buf, n);
			mmu_phys_st(c, gpa, n, v);
		} else {
			v = mmu_phys_ld(c, gpa, n);
			memcpy(buf, &v, n);
		}
		gpa += n;
		buf += n;
		len -= n;
	}
}

static void copy_bytes(struct cpu *c, u64 lin, u8 *buf, unsigned len, enum access acc)
{
	enum mmu_idx idx = data_idx(c);
	unsigned first = MIN(len, (unsigned)(PAGE_SIZE - (lin & (PAGE_SIZE - 1))));
	u64 gpa = gpa_of(c, idx, lin, acc);
	u64 gpa2 = first < len ? gpa_of(c, idx, next_page(c, lin), acc) : 0;

	debug_data_access(c, lin, len, acc == ACC_WRITE);
	copy_part(c, gpa, buf, first, acc == ACC_WRITE);
	if (first < len)
		copy_part(c, gpa2, buf + first, len - first, acc == ACC_WRITE);
}

void mem_ld_bytes(struct cpu *c, u64 lin, void *buf, unsigned len)
{
	const void *p = tlb_read_ptr(c, c->mmu_idx, lin, len);

	if (likely(p))
		memcpy(buf, p, len);
	else
		copy_bytes(c, lin, buf, len, ACC_READ);
}

void mem_st_bytes(struct cpu *c, u64 lin, const void *buf, unsigned len)
{
	void *p = tlb_write_ptr(c, c->mmu_idx, lin, len);

	if (likely(p)) {
		memcpy(p, buf, len);
		mmu_wrote(c, p, len);
		return;
	}
	copy_bytes(c, lin, (u8 *)(u64)buf, len, ACC_WRITE);
}

void *mmu_rmw(struct cpu *c, u64 lin, unsigned size)
{
	u8 *p = tlb_write_ptr(c, c->mmu_idx, lin, size);
	enum mmu_idx idx;
	u64 gpa;

	if (likely(p))
		return p;
	idx = check_align(c, c->mmu_idx, lin, size);
	gpa = gpa_of(c, idx, lin, ACC_WRITE);
	if (crosses(lin, size)) {
		gpa_of(c, idx, next_page(c, lin), ACC_WRITE);
		return NULL;
	}
	p = ram_page(c, gpa & ~(PAGE_SIZE - 1));
	if (!p)
		return NULL;
	debug_data_access(c, lin, size, true);
	return p + (gpa & (PAGE_SIZE - 1));
}

void *mmu_ptr(struct cpu *c, u64 lin, unsigned len, enum access acc)
{
	u8 *p = acc == ACC_WRITE ? tlb_write_ptr(c, c->mmu_idx, lin, len)
	                         : tlb_read_ptr(c, c->mmu_idx, lin, len);
	u64 gpa;

	if (likely(p))
		return p;
	if (crosses(lin, len))
		return NULL;
	if (c->mmu_idx == MMU_USER_ALIGN)
		return NULL; /* alignment depends on the element, which only loads and stores know */
	gpa = gpa_of(c, c->mmu_idx, lin, acc);
	p = ram_page(c, gpa & ~(PAGE_SIZE - 1));
	if (!p)
		return NULL;
	debug_data_access(c, lin, len, acc == ACC_WRITE);
	return p + (gpa & (PAGE_SIZE - 1));
}

void mmu_lock(struct cpu *c)
{
	pthread_mutex_lock(c->bus_lock);
	c->bus_locked = true;
}

void mmu_unlock(struct cpu *c)
{
	c->bus_locked = false;
	pthread_mutex_unlock(c->bus_lock);
}
