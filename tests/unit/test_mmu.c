/*
 * Page walks of the software CPU against the rules of the manual (SDM vol. 3, 4.6, 4.7): every combination
 * of W, U, NX on two levels with CR0.WP, SMEP, SMAP, NXE, access kind and privilege; page sizes
 * of all paging modes; reserved bits; accessed and dirty bits; the TLB's behaviour on top.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "accel/soft/engine.h"
#include "accel/soft/walk.h"

#define PML4 0x10000ull
#define PDPT 0x11000ull
#define PD 0x12000ull
#define PT 0x13000ull
#define LIN 0x40212345678ull /* indices: see map_4k */
#define FRAME 0x55000ull

struct fixture {
	struct mem mem;
	struct accel_config cfg;
	struct accel_host host;
	struct cpu *c;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	assert_non_null(f);
	assert_int_equal(mem_create(&f->mem, 4 * MiB, false, true, &e), 0);
	f->cfg.ncpus = 1;
	f->host.mem = &f->mem;
	f->c = cpu_create(&f->cfg, &f->host, 0);
	assert_non_null(f->c);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	cpu_destroy(f->c);
	mem_destroy(&f->mem);
	free(f);
	return 0;
}

static void put64(struct fixture *f, u64 gpa, u64 v)
{
	assert_int_equal(mem_write(&f->mem, gpa, &v, 8), 0);
}

static u64 get64(struct fixture *f, u64 gpa)
{
	u64 v = 0;

	assert_int_equal(mem_read(&f->mem, gpa, &v, 8), 0);
	return v;
}

static void put32(struct fixture *f, u64 gpa, u32 v)
{
	assert_int_equal(mem_write(&f->mem, gpa, &v, 4), 0);
}

static u64 slot(u64 table, u64 lin, unsigned level)
{
	return table + ((lin >> (12 + 9 * (level - 1))) & 511) * 8;
}

static void long_mode(struct cpu *c)
{
	c->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_WP;
	c->cr3 = PML4;
	c->cr4 = CR4_PAE;
	c->efer = EFER_LME | EFER_LMA | EFER_NXE;
}

static void map_4k(struct fixture *f, u64 lin, u64 pde, u64 pte)
{
	put64(f, slot(PML4, lin, 4), PDPT | PTE_P | PTE_W | PTE_U);
	put64(f, slot(PDPT, lin, 3), PD | PTE_P | PTE_W | PTE_U);
	put64(f, slot(PD, lin, 2), PT | pde);
	put64(f, slot(PT, lin, 1), FRAME | pte);
}

/* --- permissions --- */

struct perm {
	bool w, u, nx; /* of the whole path */
	bool wp, smep, smap, nxe;
};

/* The rules of SDM 4.6.1 read off one by one. */
static bool may(const struct perm *p, enum access acc, enum mmu_idx idx)
{
	bool user = idx == MMU_USER;

	if (user && !p->u)
		return false;
	switch (acc) {
	case ACC_READ: return user || !(p->u && p->smap && idx == MMU_KERNEL);
	case ACC_WRITE:
		if (user)
			return p->w;
		if (p->u && p->smap && idx == MMU_KERNEL)
			return false;
		return p->w || !p->wp;
	default:
		if (p->nx)
			return false;
		return user || !(p->u && p->smep);
	}
}

static u64 bits_of(unsigned n)
{
	return PTE_P | (n & 1 ? PTE_W : 0) | (n & 2 ? PTE_U : 0) | (n & 4 ? PTE_NX : 0);
}

static void check_one(struct fixture *f, unsigned hi, unsigned lo, unsigned ctl)
{
	struct cpu *c = f->c;
	struct perm p = {.w = hi & lo & 1,
	        .u = hi & lo & 2,
	        .nx = (hi | lo) & 4,
	        .wp = ctl & 1,
	        .smep = ctl & 2,
	        .smap = ctl & 4,
	        .nxe = true};

	long_mode(c);
	c->cr0 = (c->cr0 & ~(u64)CR0_WP) | (p.wp ? CR0_WP : 0);
	c->cr4 |= (p.smep ? CR4_SMEP : 0) | (p.smap ? CR4_SMAP : 0);
	for (unsigned acc = ACC_READ; acc <= ACC_EXEC; acc++) {
		for (unsigned idx = MMU_KERNEL; idx <= MMU_USER; idx++) {
			struct xlat x;
			u32 error = 0;
			u32 want = PF_P | (acc == ACC_WRITE ? PF_W : 0) | (idx == MMU_USER ? PF_U : 0) |
			           (acc == ACC_EXEC ? PF_I : 0);

			map_4k(f, LIN, bits_of(hi), bits_of(lo));
			int rc = mmu_walk(c, LIN, acc, idx, &x, &error);
			if (!may(&p, acc, idx)) {
				assert_int_equal(rc, -1);
				assert_int_equal(error, want);
				assert_int_equal(get64(f, slot(PT, LIN, 1)), FRAME | bits_of(lo));
				continue;
			}
			assert_int_equal(rc, 0);
			assert_int_equal(x.page, FRAME);
			assert_int_equal(get64(f, slot(PD, LIN, 2)), PT | bits_of(hi) | PTE_A);
			assert_int_equal(get64(f, slot(PT, LIN, 1)),
			        FRAME | bits_of(lo) | PTE_A | (acc == ACC_WRITE ? PTE_D : 0));
		}
	}
}

static void test_permissions(void **state)
{
	for (unsigned hi = 0; hi < 8; hi++)
		for (unsigned lo = 0; lo < 8; lo++)
			for (unsigned ctl = 0; ctl < 8; ctl++)
				check_one(*state, hi, lo, ctl);
}

/* --- sizes --- */

static u64 walk_ok(struct fixture *f, u64 lin)
{
	struct xlat x;
	u32 error;

	assert_int_equal(mmu_walk(f->c, lin, ACC_WRITE, MMU_KERNEL, &x, &error), 0);
	assert_true(x.flags & PG_D);
	return x.page;
}

static u32 walk_bad(struct fixture *f, u64 lin, enum access acc)
{
	struct xlat x;
	u32 error = ~0u;

	assert_int_equal(mmu_walk(f->c, lin, acc, MMU_KERNEL, &x, &error), -1);
	return error;
}

static void test_sizes_long(void **state)
{
	struct fixture *f = *state;

	long_mode(f->c);
	map_4k(f, LIN, PTE_P | PTE_W, PTE_P | PTE_W);
	assert_int_equal(walk_ok(f, LIN), FRAME);
	put64(f, slot(PD, LIN, 2), 0x8a00000ull | PTE_P | PTE_W | PTE_PS);
	assert_int_equal(walk_ok(f, LIN), 0x8a00000ull | (LIN & 0x1ff000));
	assert_int_equal(get64(f, slot(PD, LIN, 2)), 0x8a00000ull | PTE_P | PTE_W | PTE_PS | PTE_A | PTE_D);
	put64(f, slot(PDPT, LIN, 3), 0x3c0000000ull | PTE_P | PTE_W | PTE_PS);
	assert_int_equal(walk_ok(f, LIN), 0x3c0000000ull | (LIN & 0x3ffff000));
}

static void test_reserved_long(void **state)
{
	struct fixture *f = *state;
	const u64 ok = PTE_P | PTE_W;

	long_mode(f->c);
	map_4k(f, LIN, ok, ok | 1ull << 40); /* above the physical width */
	assert_int_equal(walk_bad(f, LIN, ACC_READ), PF_P | PF_RSVD);
	map_4k(f, LIN, ok, ok | 1ull << 52); /* ignored */
	walk_ok(f, LIN);
	map_4k(f, LIN, ok | PTE_PS | 1ull << 13, ok);
	assert_int_equal(walk_bad(f, LIN, ACC_WRITE), PF_P | PF_RSVD | PF_W);
	map_4k(f, LIN, ok, ok | PTE_NX);
	f->c->efer &= ~(u64)EFER_NXE;
	assert_int_equal(walk_bad(f, LIN, ACC_EXEC), PF_P | PF_RSVD); /* without NXE no I bit */
	f->c->efer |= EFER_NXE;
	put64(f, slot(PML4, LIN, 4), PDPT | ok | PTE_PS);
	assert_int_equal(walk_bad(f, LIN, ACC_READ), PF_P | PF_RSVD);
	put64(f, slot(PML4, LIN, 4), 0);
	assert_int_equal(walk_bad(f, LIN, ACC_EXEC), PF_I);
	f->c->cr3 = 0x7ff000000ull; /* a table that is not RAM reads as ones */
	assert_int_equal(walk_bad(f, LIN, ACC_READ), PF_P | PF_RSVD);
}

static void test_legacy_32(void **state)
{
	struct fixture *f = *state;
	const u32 lin = 0xc1234567u;

	f->c->cr0 = CR0_PE | CR0_PG | CR0_WP;
	f->c->cr3 = PD;
	f->c->cr4 = CR4_PSE;
	f->c->efer = 0;
	put32(f, PD + (lin >> 22) * 4, PT | 3);
	put32(f, PT + (lin >> 12 & 0x3ff) * 4, 0x77000 | 3);
	assert_int_equal(walk_ok(f, lin), 0x77000);
	put32(f, PD + (lin >> 22) * 4, 0x00800083 | 1u << 13); /* PSE-36: bit 13 is address bit 32 */
	assert_int_equal(walk_ok(f, lin), 0x100800000ull | (lin & 0x3ff000));
	put32(f, PD + (lin >> 22) * 4, 0x00800083 | 1u << 21);
	assert_int_equal(walk_bad(f, lin, ACC_READ), PF_P | PF_RSVD);
	f->c->cr4 = 0; /* PS is ignored: a table at 0x00800000, which is a hole */
	put32(f, PD + (lin >> 22) * 4, PT | 0x83);
	assert_int_equal(walk_ok(f, lin), 0x77000);
}

static void test_pae(void **state)
{
	struct fixture *f = *state;
	const u32 lin = 0x80a05123u;

	f->c->cr0 = CR0_PE | CR0_PG | CR0_WP;
	f->c->cr4 = CR4_PAE;
	f->c->efer = EFER_NXE;
	put64(f, PDPT + 16, PD | PTE_P);
	assert_true(mmu_load_pdptes(f->c, PDPT));
	put64(f, slot(PD, lin & 0x3fffffff, 2), PT | 3);
	put64(f, slot(PT, lin & 0x1fffff, 1), 0x99000 | 3);
	assert_int_equal(walk_ok(f, lin), 0x99000);
	put64(f, slot(PT, lin & 0x1fffff, 1), 0x99000 | 3 | 1ull << 52); /* reserved outside of long mode */
	assert_int_equal(walk_bad(f, lin, ACC_READ), PF_P | PF_RSVD);
	assert_int_equal(walk_bad(f, 0x40000000, ACC_READ), 0);
	put64(f, PDPT + 16, PD | PTE_P | PTE_W); /* reserved in a PDPTE */
	assert_false(mmu_load_pdptes(f->c, PDPT));
}

/* --- the TLB --- */

/* Loads a byte; true if it faulted. */
static bool load_faults(struct fixture *f, u64 lin, u8 *v)
{
	struct cpu *volatile c = f->c;

	if (setjmp(c->fault_jmp))
		return true;
	*v = mem_ld8(c, lin);
	return false;
}

static void test_tlb(void **state)
{
	struct fixture *f = *state;
	const u64 ok = PTE_P | PTE_W;
	u8 v, *frame = mem_ptr(&f->mem, FRAME, 2 * PAGE_SIZE);

	long_mode(f->c);
	cpu_update_mode(f->c);
	map_4k(f, LIN, ok, ok);
	frame[LIN & 0xfff] = 1;
	frame[PAGE_SIZE + (LIN & 0xfff)] = 2;
	assert_false(load_faults(f, LIN, &v));
	assert_int_equal(v, 1);
	put64(f, slot(PT, LIN, 1), (FRAME + PAGE_SIZE) | ok);
	assert_false(load_faults(f, LIN, &v));
	assert_int_equal(v, 1); /* cached until it is flushed */
	mmu_flush_page(f->c, LIN);
	assert_false(load_faults(f, LIN, &v));
	assert_int_equal(v, 2);
	put64(f, slot(PT, LIN, 1), 0);
	mmu_flush(f->c, false);
	assert_true(load_faults(f, LIN, &v));
	assert_int_equal(f->c->fault.vector, EXC_PF);
	assert_true(f->c->fault.addr == LIN);
	assert_true(load_faults(f, 1ull << 48, &v));
	assert_int_equal(f->c->fault.vector, EXC_GP);
}

/* A page of PCID 1 survives a visit to PCID 2, a global one everything but a full flush. */
static void test_pcid(void **state)
{
	struct fixture *f = *state;
	struct cpu *c = f->c;
	const u64 ok = PTE_P | PTE_W;
	u8 v;

	long_mode(c);
	c->cr4 |= CR4_PCIDE | CR4_PGE;
	c->cr3 = PML4 | 1;
	cpu_update_mode(c);
	map_4k(f, LIN, ok, ok);
	assert_false(load_faults(f, LIN, &v));
	put64(f, slot(PT, LIN, 1), 0);
	c->cr3 = PML4 | 2;
	mmu_switch(c);
	assert_true(load_faults(f, LIN, &v));
	c->cr3 = PML4 | 1;
	mmu_switch(c);
	assert_false(load_faults(f, LIN, &v));
	mmu_flush_pcid(c, 1);
	assert_true(load_faults(f, LIN, &v));
	put64(f, slot(PT, LIN, 1), FRAME | ok | PTE_G);
	assert_false(load_faults(f, LIN, &v));
	put64(f, slot(PT, LIN, 1), 0);
	c->cr3 = PML4 | 2;
	mmu_flush(c, false);
	assert_false(load_faults(f, LIN, &v));
	mmu_flush(c, true);
	assert_true(load_faults(f, LIN, &v));
}

/* INVLPG of any address in a large page drops the whole page. */
static void test_large_invlpg(void **state)
{
	struct fixture *f = *state;
	const u64 base = LIN & ~0x1fffffull;
	u8 v;

	long_mode(f->c);
	cpu_update_mode(f->c);
	map_4k(f, LIN, 0, 0);
	put64(f, slot(PD, LIN, 2), 0x200000ull | PTE_P | PTE_W | PTE_PS);
	assert_false(load_faults(f, base + 0x5000, &v));
	assert_false(load_faults(f, base + 0x1ff000, &v));
	put64(f, slot(PD, LIN, 2), 0);
	mmu_flush_page(f->c, base + 0x9000);
	assert_true(load_faults(f, base + 0x5000, &v));
	assert_true(load_faults(f, base + 0x1ff000, &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_permissions, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_sizes_long, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_reserved_long, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_legacy_32, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_pae, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_tlb, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_pcid, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_large_invlpg, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
