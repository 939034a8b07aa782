/*
 * Page walks in all paging modes (SDM vol. 3, ch. 4). The walk reads entries with single loads,
 * checks presence and reserved bits level by level, then permissions of the whole path, and only
 * then sets accessed and dirty bits, each with a compare-and-swap on the entry it read: if another CPU
 * changed an entry meanwhile the walk starts again.
 */
#include "accel/soft/walk.h"

struct entry {
	u64 gpa;
	void *host; /* NULL: the table is not in RAM */
	u64 val;
};

struct walk {
	u64 lin;
	u64 table;              /* gpa of the next table */
	unsigned level, levels; /* 1 is the leaf table */
	unsigned esize;         /* bytes an entry: 8, or 4 with 32-bit paging */
	struct entry path[4];
	unsigned n;
	u64 page;
	u32 flags;
};

static void read_entry(const struct cpu *c, struct walk *w, u64 gpa)
{
	struct entry *e = &w->path[w->n++];

	e->gpa = gpa;
	e->host = mem_ptr(c->mem, gpa, w->esize);
	if (!e->host)
		e->val = ones(w->esize); /* a table outside of RAM reads as a hole */
	else if (w->esize == 8)
		e->val = __atomic_load_n((u64 *)e->host, __ATOMIC_RELAXED);
	else
		e->val = __atomic_load_n((u32 *)e->host, __ATOMIC_RELAXED);
}

static bool is_leaf(const struct cpu *c, const struct walk *w, u64 e)
{
	if (w->level == 1)
		return true;
	if (!(e & PTE_PS) || w->level == 4)
		return false;
	return w->esize == 8 || (c->cr4 & CR4_PSE);
}

static u64 reserved_bits(const struct cpu *c, const struct walk *w, bool leaf)
{
	u64 rsvd;

	if (w->esize == 4)
		return leaf && w->level == 2 ? BIT(21) : 0;
	rsvd = PTE_ADDR & ~PHYS_MASK;
	if (!(c->efer & EFER_LMA))
		rsvd |= 0x7ff0000000000000ull;
	if (!(c->efer & EFER_NXE))
		rsvd |= PTE_NX;
	if (w->level == 4)
		rsvd |= PTE_PS;
	if (leaf && w->level == 3)
		rsvd |= 0x3fffe000ull;
	if (leaf && w->level == 2)
		rsvd |= 0x1fe000ull;
	return rsvd;
}

/* gpa of the 4 KiB page of w->lin inside the page that leaf entry e maps. */
static u64 leaf_page(const struct walk *w, u64 e)
{
	unsigned shift = PAGE_SHIFT + (w->level - 1) * (w->esize == 8 ? 9 : 10);
	u64 inside = (1ull << shift) - 1;
	u64 addr = e & PTE_ADDR & PHYS_MASK & ~inside;

	if (w->esize == 4)
		addr = w->level == 2 ? (e & 0xffc00000ull) | (e & 0x1fe000ull) << 19 : e & 0xfffff000ull;
	return addr | (w->lin & inside & ~(PAGE_SIZE - 1));
}

static u32 leaf_flags(const struct walk *w, u64 e)
{
	u32 fl = (e & PTE_D ? PG_D : 0) | (e & PTE_G ? PG_G : 0);

	if (w->level == 2 && w->esize == 8)
		fl |= PG_2M;
	else if (w->level > 1)
		fl |= PG_BIG;
	return fl;
}

/* Goes down from w->table; false with PF_P, PF_RSVD bits in *error. */
static bool descend(const struct cpu *c, struct walk *w, u32 *error)
{
	unsigned bits = w->esize == 8 ? 9 : 10;

	w->flags = PG_W | PG_U | PG_X;
	for (w->level = w->levels;; w->level--) {
		u64 index = (w->lin >> (PAGE_SHIFT + (w->level - 1) * bits)) & ((1u << bits) - 1);
		u64 e;
		bool leaf;

		read_entry(c, w, w->table + index * w->esize);
		e = w->path[w->n - 1].val;
		if (!(e & PTE_P)) {
			*error = 0;
			return false;
		}
		leaf = is_leaf(c, w, e);
		if (e & reserved_bits(c, w, leaf)) {
			*error = PF_P | PF_RSVD;
			return false;
		}
		if (!(e & PTE_W))
			w->flags &= ~PG_W;
		if (!(e & PTE_U))
			w->flags &= ~PG_U;
		if (w->esize == 8 && (e & PTE_NX))
			w->flags &= ~PG_X;
		if (leaf) {
			w->page = leaf_page(w, e);
			w->flags |= leaf_flags(w, e);
			return true;
		}
		w->table = w->esize == 8 ? e & PTE_ADDR : e & 0xfffff000ull;
	}
}

/* Where the walk starts; false if a PAE PDPTE register is not present. */
static bool start(const struct cpu *c, struct walk *w)
{
	w->n = 0;
	w->esize = c->cr4 & CR4_PAE ? 8 : 4;
	w->levels = 2;
	if (c->efer & EFER_LMA) {
		w->levels = 4;
		w->table = c->cr3 & PTE_ADDR;
	} else if (c->cr4 & CR4_PAE) {
		u64 e = c->pdpte[(w->lin >> 30) & 3];
		w->table = e & PTE_ADDR;
		return e & PTE_P;
	} else {
		w->table = c->cr3 & 0xfffff000ull;
	}
	return true;
}

static bool swap_entry(struct walk *w, struct entry *e, u64 want)
{
	if (w->esize == 8) {
		u64 old = e->val;
		return __atomic_compare_exchange_n(
		        (u64 *)e->host, &old, want, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	u32 old = (u32)e->val;
	return __atomic_compare_exchange_n(
	        (u32 *)e->host, &old, (u32)want, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* Sets A on the path and D on the leaf of a store; false if an entry changed under us. */
static bool set_accessed(struct cpu *c, struct walk *w, bool write)
{
	for (unsigned n = 0; n < w->n; n++) {
		struct entry *e = &w->path[n];
		u64 want = e->val | PTE_A | (write && n == w->n - 1 ? PTE_D : 0);

		if (want == e->val || !e->host)
			continue;
		if (!swap_entry(w, e, want))
			return false;
		e->val = want;
		mmu_wrote(c, e->host, w->esize);
	}
	if (write)
		w->flags |= PG_D;
	return true;
}

bool mmu_allowed(const struct cpu *c, u32 flags, enum access acc, enum mmu_idx idx)
{
	if (idx >= MMU_USER) {
		if (!(flags & PG_U))
			return false;
		return acc == ACC_READ || (acc == ACC_WRITE ? flags & PG_W : flags & PG_X);
	}
	if (acc == ACC_EXEC)
		return (flags & PG_X) && !((flags & PG_U) && (c->cr4 & CR4_SMEP));
	if (idx == MMU_KERNEL && (flags & PG_U) && (c->cr4 & CR4_SMAP))
		return false;
	return acc == ACC_READ || (flags & PG_W) || !(c->cr0 & CR0_WP);
}

static u32 error_code(const struct cpu *c, u32 cause, enum access acc, enum mmu_idx idx)
{
	if (acc == ACC_WRITE)
		cause |= PF_W;
	if (idx >= MMU_USER)
		cause |= PF_U;
	if (acc == ACC_EXEC && ((c->cr4 & CR4_SMEP) || ((c->cr4 & CR4_PAE) && (c->efer & EFER_NXE))))
		cause |= PF_I;
	return cause;
}

int mmu_walk(struct cpu *c, u64 lin, enum access acc, enum mmu_idx idx, struct xlat *x, u32 *error)
{
	struct walk w = {.lin = lin};
	u32 cause = 0;

	if (!(c->cr0 & CR0_PG)) {
		x->page = lin & ~(PAGE_SIZE - 1);
		/* Without paging nothing is checked: not U for the kernel, or SMAP would. */
		x->flags = PG_W | PG_X | PG_D | (idx >= MMU_USER ? PG_U : 0);
		return 0;
	}
	do {
		if (!start(c, &w) || !descend(c, &w, &cause)) {
			*error = error_code(c, cause, acc, idx);
			return -1;
		}
		if (!mmu_allowed(c, w.flags, acc, idx)) {
			*error = error_code(c, PF_P, acc, idx);
			return -1;
		}
	} while (!set_accessed(c, &w, acc == ACC_WRITE));
	x->page = w.page;
	x->flags = w.flags;
	return 0;
}

bool mmu_load_pdptes(struct cpu *c, u64 cr3)
{
	u64 gpa = cr3 & 0xffffffe0ull;
	u64 e[4];

	for (unsigned n = 0; n < 4; n++) {
		if (mem_read(c->mem, gpa + n * 8, &e[n], 8) < 0)
			e[n] = ~0ull;
		if ((e[n] & PTE_P) && (e[n] & (0x1e6ull | ~PHYS_MASK)))
			return false;
	}
	memcpy(c->pdpte, e, sizeof(c->pdpte));
	return true;
}
