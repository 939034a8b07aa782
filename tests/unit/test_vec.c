/*
 * Vector and x87 instructions of the software CPU: what random comparison with the host (tests/insn) does
 * not reach or cannot show, because a user process has no say in it: unmasked exceptions, CR0 and CR4
 * conditions, alignment, state images, elements that must not be accessed.
 *
 * The CPU runs one instruction at a time in 64-bit mode at CPL 0; the first 2 MiB are identity-mapped but
 * for the page HOLE.
 */
#include "accel/soft/engine.h"
#include "accel/soft/interp/vec.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define PML4 0x1000ull
#define PDPT 0x2000ull
#define PD 0x3000ull
#define PT 0x4000ull
#define CODE 0x10000ull
#define DATA 0x20000ull
#define HOLE 0x30000ull

struct bench {
	struct mem mem;
	struct space ports, memory;
	struct clock_tsc clock;
	struct accel_config cfg;
	struct accel_host host;
	struct cpu *c;
	struct step_result r;
};

static void put64(struct bench *b, u64 gpa, u64 v)
{
	assert_int_equal(mem_write(&b->mem, gpa, &v, 8), 0);
}

static u8 *at(struct bench *b, u64 gpa)
{
	return mem_ptr(&b->mem, gpa, PAGE_SIZE);
}

static void tables(struct bench *b)
{
	put64(b, PML4, PDPT | PTE_P | PTE_W);
	put64(b, PDPT, PD | PTE_P | PTE_W);
	put64(b, PD, PT | PTE_P | PTE_W);
	for (u64 n = 0; n < 256; n++)
		put64(b, PT + 8 * n, n * PAGE_SIZE == HOLE ? 0 : n * PAGE_SIZE | PTE_P | PTE_W);
}

static void start(struct bench *b)
{
	struct x86_seg data = {.sel = 16, .attr = 0x93 | SEG_ATTR_DB | SEG_ATTR_G, .limit = 0xffffffff};
	struct x86_state s;

	x86_state_reset(&s, true);
	s.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	s.cr3 = PML4;
	s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s.efer = EFER_LME | EFER_LMA;
	s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	for (unsigned n = 0; n < X86_NSEG; n++)
		s.seg[n] = data;
	s.seg[SEG_CS] =
	        (struct x86_seg){.sel = 8, .attr = 0x9b | SEG_ATTR_L | SEG_ATTR_G, .limit = 0xffffffff};
	s.rip = CODE;
	s.rflags = FL_1;
	s.mxcsr = 0x1f80;
	s.fpu.fcw = 0x37f;
	s.fpu.fsw = 0;
	s.fpu.ftw = 0;
	s.gpr[RDI] = s.gpr[RSI] = DATA;
	cpu_set_state(b->c, &s);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct err e = {0};

	if (!b || mem_create(&b->mem, 1 * MiB, false, true, &e) < 0 || space_init(&b->ports, 0xffff) < 0 ||
	        space_init(&b->memory, ~0ull) < 0)
		return -1;
	clock_tsc_init(&b->clock);
	b->cfg = (struct accel_config){.ncpus = 1};
	b->host = (struct accel_host){
	        .ports = &b->ports, .memory = &b->memory, .mem = &b->mem, .clock = &b->clock};
	b->c = cpu_create(&b->cfg, &b->host, 0);
	if (!b->c)
		return -1;
	tables(b);
	start(b);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	cpu_destroy(b->c);
	space_fini(&b->memory);
	space_fini(&b->ports);
	mem_destroy(&b->mem);
	free(b);
	return 0;
}

/* Runs one instruction; true if it faulted. */
static bool step(struct bench *b, const char *code, unsigned len)
{
	u8 buf[16] = {0};

	memcpy(buf, code, len);
	assert_int_equal(mem_write(&b->mem, CODE, buf, sizeof(buf)), 0);
	b->c->gpr[REG_RIP] = CODE;
	interp_step(b->c, &b->r);
	assert_int_equal(b->c->gpr[REG_RIP], b->r.faulted ? CODE : CODE + len);
	return b->r.faulted;
}

#define OK(code) assert_false(step(b, code, sizeof(code) - 1))
#define FAULT(code, vec)                                                                                     \
	do {                                                                                                 \
		assert_true(step(b, code, sizeof(code) - 1));                                                \
		assert_int_equal(b->r.vector, vec);                                                          \
	} while (0)

#define ADDPS_0_1 "\x0f\x58\xc1"
#define MULPS_0_1 "\x0f\x59\xc1"
#define DIVPS_0_1 "\x0f\x5e\xc1"
#define MOVAPS_0_RDI "\x0f\x28\x07"
#define MOVUPS_0_RDI "\x0f\x10\x07"
#define PADDB_0_RDI "\x66\x0f\xfc\x07"
#define VPADDB_0_1_RDI "\xc5\xf1\xfc\x07"
#define VPADDB_0_1_2 "\xc5\xf1\xfc\xc2"
#define LDMXCSR_RDI "\x0f\xae\x17"

static void set_ps(struct bench *b, unsigned r, float x, float y, float z, float w)
{
	const float v[4] = {x, y, z, w};

	memcpy(b->c->vec[r].b, v, 16);
}

/* --- SIMD floating point --- */

static void test_masked_flags(void **state)
{
	struct bench *b = *state;

	set_ps(b, 0, 1, 1, 1, 1);
	set_ps(b, 1, 0, 3, 1, 1);
	OK(DIVPS_0_1);
	assert_int_equal(b->c->mxcsr, 0x1f80 | 0x04 | 0x20);
	assert_int_equal(b->c->vec[0].d[0], 0x7f800000);
	/* Sticky until the guest clears them; the host's own flags must not come back. */
	b->c->mxcsr = 0x1f80;
	set_ps(b, 0, 1, 1, 1, 1);
	set_ps(b, 1, 1, 1, 1, 1);
	OK(ADDPS_0_1);
	assert_int_equal(b->c->mxcsr, 0x1f80);
}

/* An exception found before the operation hides those found after it, and nothing is written. */
static void test_unmasked_zero_divide(void **state)
{
	struct bench *b = *state;
	u8 before[16];

	b->c->mxcsr = 0x1f80 & ~0x200u;
	set_ps(b, 0, 1, 1, 1, 1);
	set_ps(b, 1, 0, 3, 1, 1);
	memcpy(before, b->c->vec[0].b, 16);
	FAULT(DIVPS_0_1, EXC_XM);
	assert_int_equal(b->c->mxcsr, (0x1f80 & ~0x200u) | 0x04);
	assert_memory_equal(before, b->c->vec[0].b, 16);
	b->c->cr4 &= ~(u64)CR4_OSXMMEXCPT;
	FAULT(DIVPS_0_1, EXC_UD);
}

/* An exact tiny result raises no masked underflow but an unmasked one. */
static void test_unmasked_underflow(void **state)
{
	struct bench *b = *state;

	set_ps(b, 0, 0x1p-126f, 1, 1, 1);
	set_ps(b, 1, 0.5f, 1, 1, 1);
	OK(MULPS_0_1);
	assert_int_equal(b->c->mxcsr, 0x1f80);
	assert_int_equal(b->c->vec[0].d[0], 0x00400000);
	b->c->mxcsr = 0x1f80 & ~0x800u;
	set_ps(b, 0, 0x1p-126f, 1, 1, 1);
	FAULT(MULPS_0_1, EXC_XM);
	assert_int_equal(b->c->mxcsr & 0x3f, 0x10);
	set_ps(b, 0, 2, 3, 4, 5);
	OK(MULPS_0_1);
	assert_true(b->c->vec[0].f32[0] == 1.0f && b->c->vec[0].f32[3] == 5.0f);
}

static void test_unmasked_inexact(void **state)
{
	struct bench *b = *state;

	b->c->mxcsr = 0x1f80 & ~0x1000u;
	set_ps(b, 0, 1, 1, 1, 1);
	set_ps(b, 1, 3, 1, 1, 1);
	FAULT(DIVPS_0_1, EXC_XM);
	assert_int_equal(b->c->mxcsr & 0x3f, 0x20);
	assert_true(b->c->vec[0].f32[0] == 1.0f);
}

static void test_rounding_and_host(void **state)
{
	struct bench *b = *state;

	b->c->mxcsr = 0x1f80 | 0x4000; /* up */
	set_ps(b, 0, 1, 1, 1, 1);
	set_ps(b, 1, 0x1p-40f, 0, 0, 0);
	OK(ADDPS_0_1);
	assert_int_equal(b->c->vec[0].d[0], 0x3f800001);
	assert_int_equal(host_mxcsr() & ~MXCSR_FLAGS, 0x1f80);
	b->c->mxcsr = 0x1f80 | 0x40; /* denormals are zeros */
	b->c->vec[0].d[0] = 1;
	b->c->vec[1].d[0] = 1;
	OK(ADDPS_0_1);
	assert_int_equal(b->c->vec[0].d[0], 0);
	assert_int_equal(b->c->mxcsr & 2, 0);
	assert_int_equal(host_mxcsr() & ~MXCSR_FLAGS, 0x1f80);
}

static void test_ldmxcsr(void **state)
{
	struct bench *b = *state;

	put_le32(at(b, DATA), 0x10000);
	FAULT(LDMXCSR_RDI, EXC_GP);
	assert_int_equal(b->c->mxcsr, 0x1f80);
	put_le32(at(b, DATA), 0xffff);
	OK(LDMXCSR_RDI);
	assert_int_equal(b->c->mxcsr, 0xffff);
}

/* --- conditions --- */

static void test_alignment(void **state)
{
	struct bench *b = *state;

	b->c->gpr[RDI] = DATA + 8;
	FAULT(MOVAPS_0_RDI, EXC_GP);
	FAULT(PADDB_0_RDI, EXC_GP);
	FAULT("\x0f\x29\x07", EXC_GP);     /* MOVAPS [RDI], XMM0 */
	FAULT("\x66\x0f\xe7\x07", EXC_GP); /* MOVNTDQ */
	OK(MOVUPS_0_RDI);
	OK("\xf2\x0f\xf0\x07");         /* LDDQU */
	OK("\x66\x0f\x3a\x63\x07\x00"); /* PCMPISTRI */
	if (!__builtin_cpu_supports("avx2"))
		return;
	OK(VPADDB_0_1_RDI);
	FAULT("\xc5\xf8\x28\x07", EXC_GP); /* VMOVAPS xmm */
	b->c->gpr[RDI] = DATA + 16;
	OK("\xc5\xf8\x28\x07");
	FAULT("\xc5\xfc\x28\x07", EXC_GP); /* VMOVAPS ymm */
	OK("\xc5\xfc\x10\x07");            /* VMOVUPS ymm */
}

static void test_cr_conditions(void **state)
{
	struct bench *b = *state;

	b->c->cr0 |= CR0_TS;
	cpu_update_mode(b->c);
	FAULT(ADDPS_0_1, EXC_NM);
	FAULT("\xd9\xe8", EXC_NM);     /* FLD1 */
	FAULT("\x9b", EXC_NM);         /* WAIT, with MP */
	FAULT("\x0f\xfc\xc1", EXC_NM); /* PADDB mm */
	FAULT("\x0f\xae\x07", EXC_NM); /* FXSAVE */
	b->c->cr0 &= ~(u64)CR0_MP;
	cpu_update_mode(b->c);
	OK("\x9b");
	OK("\x0f\xc3\x07"); /* MOVNTI uses no vector state */
	b->c->cr0 = (b->c->cr0 & ~(u64)CR0_TS) | CR0_EM;
	cpu_update_mode(b->c);
	FAULT(ADDPS_0_1, EXC_UD);
	FAULT("\x0f\xfc\xc1", EXC_UD);
	FAULT("\xd9\xe8", EXC_NM);
	b->c->cr0 &= ~(u64)CR0_EM;
	b->c->cr4 &= ~(u64)CR4_OSFXSR;
	cpu_update_mode(b->c);
	FAULT(ADDPS_0_1, EXC_UD);
	OK("\x0f\xfc\xc1");
	b->c->cr4 &= ~(u64)CR4_OSXSAVE;
	cpu_update_mode(b->c);
	FAULT(VPADDB_0_1_2, EXC_UD);
	FAULT("\x0f\xae\x27", EXC_UD); /* XSAVE */
}

static void test_upper_halves(void **state)
{
	struct bench *b = *state;

	memset(b->c->vec, 0x11, sizeof(b->c->vec));
	OK("\x66\x0f\xfc\xc1"); /* PADDB */
	assert_int_equal(b->c->vec[0].q[0], 0x2222222222222222);
	assert_int_equal(b->c->vec[0].q[2], 0x1111111111111111);
	if (!__builtin_cpu_supports("avx2"))
		return;
	OK(VPADDB_0_1_2);
	assert_int_equal(b->c->vec[0].q[1], 0x2222222222222222);
	assert_int_equal(b->c->vec[0].q[2], 0);
	OK("\xc5\xf8\x77"); /* VZEROUPPER */
	assert_int_equal(b->c->vec[15].q[1], 0x1111111111111111);
	assert_int_equal(b->c->vec[15].q[3], 0);
	OK("\xc5\xfc\x77"); /* VZEROALL */
	assert_int_equal(b->c->vec[15].q[1], 0);
}

/* --- elements that are not selected --- */

static void test_masked_moves(void **state)
{
	struct bench *b = *state;

	if (!__builtin_cpu_supports("avx2"))
		return;
	/* VMASKMOVPS xmm0, xmm1, [rdi]: two elements in the page, two in the hole. */
	b->c->gpr[RDI] = HOLE - 8;
	put64(b, HOLE - 8, 0x0000000200000001);
	b->c->vec[1].q[0] = 0x8000000080000000;
	b->c->vec[1].q[1] = 0;
	OK("\xc4\xe2\x71\x2c\x07");
	assert_int_equal(b->c->vec[0].q[0], 0x0000000200000001);
	assert_int_equal(b->c->vec[0].q[1], 0);
	/* The store with one element in the hole writes nothing. */
	b->c->vec[1].d[2] = 0x80000000;
	b->c->vec[0].q[0] = 0;
	FAULT("\xc4\xe2\x71\x2e\x07", EXC_PF);
	assert_int_equal(b->r.addr, HOLE);
	assert_int_equal(get_le64(at(b, HOLE - PAGE_SIZE) + PAGE_SIZE - 8), 0x0000000200000001);
}

/* A gather that faults keeps what it has loaded and clears those masks. */
static void test_gather_fault(void **state)
{
	struct bench *b = *state;

	if (!__builtin_cpu_supports("avx2"))
		return;
	b->c->gpr[RDI] = DATA;
	put_le32(at(b, DATA), 0x1234);
	b->c->vec[0].q[0] = b->c->vec[0].q[1] = ~0ull; /* destination */
	b->c->vec[1].q[0] = b->c->vec[1].q[1] = ~0ull; /* mask */
	b->c->vec[2].q[0] = (u64)(HOLE - DATA) << 32;  /* indices 0, hole, 0, 0 */
	b->c->vec[2].q[1] = 0;
	FAULT("\xc4\xe2\x71\x90\x04\x17", EXC_PF); /* VPGATHERDD xmm0, [rdi + xmm2], xmm1 */
	assert_int_equal(b->r.addr, HOLE);
	assert_int_equal(b->c->vec[0].d[0], 0x1234);
	assert_int_equal(b->c->vec[0].d[1], 0xffffffff);
	assert_int_equal(b->c->vec[1].d[0], 0);
	assert_int_equal(b->c->vec[1].d[1], 0xffffffff);
	b->c->vec[1].d[1] = 0;
	OK("\xc4\xe2\x71\x90\x04\x17");
	assert_int_equal(b->c->vec[0].d[1], 0xffffffff);
	assert_int_equal(b->c->vec[0].d[3], 0x1234);
	assert_int_equal(b->c->vec[1].q[1], 0);
	FAULT("\xc4\xe2\x79\x90\x04\x17", EXC_UD); /* destination is the mask */
}

static void test_maskmov(void **state)
{
	struct bench *b = *state;

	b->c->gpr[RDI] = DATA + 3;
	memset(b->c->vec[0].b, 0xaa, 16);
	b->c->vec[1].q[0] = 0x8000000000000080;
	b->c->vec[1].q[1] = 0;
	memset(at(b, DATA), 0, 32);
	OK("\x66\x0f\xf7\xc1");
	assert_int_equal(get_le64(at(b, DATA) + 3), 0xaa000000000000aa);
	b->c->gpr[RDI] = HOLE - 8; /* nothing is stored if any of the 16 bytes cannot be */
	put64(b, HOLE - 8, 0);
	FAULT("\x66\x0f\xf7\xc1", EXC_PF);
	assert_int_equal(get_le64(at(b, HOLE - PAGE_SIZE) + PAGE_SIZE - 8), 0);
}

/* --- x87 --- */

#define FLD1 "\xd9\xe8"
#define FLDZ "\xd9\xee"
#define FADDP "\xde\xc1"
#define FDIVP "\xde\xf9"
#define FNSTSW_AX "\xdf\xe0"

static u16 fsw(struct bench *b)
{
	return b->c->fpu.fsw;
}

static void test_stack_underflow(void **state)
{
	struct bench *b = *state;

	OK("\xd8\xc1"); /* FADD ST(1), all empty, masked */
	assert_int_equal(fsw(b) & 0x3ff, 0x41);
	assert_int_equal(b->c->fpu.r[0].exp, 0xffff);
	assert_true(b->c->fpu.r[0].mant == 0xc000000000000000);
	assert_int_equal(b->c->fpu.ftw, 1);
	OK("\xdb\xe3"); /* FNINIT */
	b->c->fpu.fcw = 0x37e;
	OK("\xd8\xc1");
	assert_int_equal(fsw(b), 0x80c1);
	assert_int_equal(b->c->fpu.ftw, 0);
	FAULT(FLD1, EXC_MF);
	FAULT("\x9b", EXC_MF);
	FAULT("\x0f\xfc\xc1", EXC_MF); /* PADDB mm0, mm1 */
	FAULT("\x0f\x77", EXC_MF);     /* EMMS */
	OK(FNSTSW_AX);
	assert_int_equal(b->c->gpr[RAX] & 0xffff, 0x80c1);
	OK("\xdb\xe2"); /* FNCLEX */
	assert_int_equal(fsw(b), 0);
	OK(FLD1);
}

static void test_stack_overflow(void **state)
{
	struct bench *b = *state;

	for (unsigned n = 0; n < 8; n++)
		OK(FLD1);
	assert_int_equal(b->c->fpu.ftw, 0xff);
	b->c->fpu.fcw = 0x37e;
	OK(FLDZ);
	assert_int_equal(fsw(b), 0x82c1);
	assert_int_equal(b->c->fpu.r[0].exp, 0x3fff);
	OK("\xdb\xe2");
	b->c->fpu.fcw = 0x37f;
	OK(FLDZ);
	assert_int_equal(fsw(b) & 0x3a41, 7 << 11 | 0x241);
	assert_int_equal(b->c->fpu.r[7].exp, 0xffff);
}

static void test_x87_zero_divide(void **state)
{
	struct bench *b = *state;

	OK(FLD1);
	OK(FLDZ);
	b->c->fpu.fcw = 0x37b;
	OK(FDIVP); /* unmasked: no pop, no result */
	assert_int_equal(fsw(b), 0x8084 | 6 << 11);
	assert_int_equal(b->c->fpu.ftw, 0xc0);
	assert_int_equal(b->c->fpu.r[7].exp, 0x3fff);
	OK("\xdb\xe2");
	b->c->fpu.fcw = 0x37f;
	OK(FDIVP);
	assert_int_equal(fsw(b) & 0x38ff, 7 << 11 | 4);
	assert_int_equal(b->c->fpu.r[7].exp, 0x7fff);
	assert_int_equal(b->c->fpu.ftw, 0x80);
}

/* FSTP m32 of a number that does not fit. */
static void test_x87_store_overflow(void **state)
{
	struct bench *b = *state;
	struct x86_st big = {.mant = 0x8000000000000000, .exp = 0x3fff + 1000};

	OK(FLD1);
	b->c->fpu.r[7] = big;
	b->c->fpu.fcw = 0x377; /* overflow unmasked */
	put_le32(at(b, DATA), 0x55555555);
	OK("\xd9\x1f");
	assert_int_equal(get_le32(at(b, DATA)), 0x55555555);
	assert_int_equal(b->c->fpu.ftw, 0x80);
	assert_int_equal(fsw(b) & 0x8088, 0x8088);
	OK("\xdb\xe2");
	b->c->fpu.fcw = 0x37f;
	OK("\xd9\x1f");
	assert_int_equal(get_le32(at(b, DATA)), 0x7f800000);
	assert_int_equal(b->c->fpu.ftw, 0);
}

/* A store that page-faults changes nothing. */
static void test_x87_store_fault(void **state)
{
	struct bench *b = *state;

	OK("\xd9\xeb"); /* FLDPI */
	b->c->gpr[RDI] = HOLE;
	FAULT("\xd9\x1f", EXC_PF);
	assert_int_equal(b->c->fpu.ftw, 0x80);
	assert_int_equal(fsw(b), 7 << 11);
}

/* FNSTENV and FNSAVE in the 32-bit protected layout, then back. */
static void test_x87_environment(void **state)
{
	struct bench *b = *state;
	u8 *m = at(b, DATA);

	OK(FLD1);
	OK(FLDZ);
	OK("\xdd\x37"); /* FNSAVE [rdi] */
	assert_int_equal(get_le32(m), 0xffff037f);
	assert_int_equal(get_le32(m + 4), 0xffff0000 | 6 << 11);
	assert_int_equal(get_le32(m + 8), 0xffff1fff); /* R7 valid, R6 zero, rest empty */
	assert_int_equal(get_le16(m + 28 + 8), 0);     /* ST(0) = 0 */
	assert_int_equal(get_le16(m + 38 + 8), 0x3fff);
	assert_int_equal(b->c->fpu.ftw, 0);
	assert_int_equal(fsw(b), 0);
	OK("\xdd\x27"); /* FRSTOR */
	assert_int_equal(fsw(b), 6 << 11);
	assert_int_equal(b->c->fpu.ftw, 0xc0);
	assert_int_equal(b->c->fpu.r[7].exp, 0x3fff);
	OK("\xd9\x37"); /* FNSTENV masks everything */
	b->c->fpu.fcw = 0x360;
	OK("\xd9\x37");
	assert_int_equal(get_le16(m), 0x360);
	assert_int_equal(b->c->fpu.fcw, 0x37f);
	put_le16(m + 4, 0x0001); /* IE set and unmasked: pending after FLDENV */
	OK("\xd9\x27");
	assert_int_equal(fsw(b), 0x8081);
	FAULT(FLD1, EXC_MF);
}

/* Real mode: 14 bytes, with 20-bit linear pointers and the opcode. */
static void test_x87_environment_real(void **state)
{
	struct bench *b = *state;
	u8 *m = at(b, DATA);
	struct x86_state s;

	x86_state_reset(&s, true);
	s.seg[SEG_CS].sel = CODE >> 4;
	s.seg[SEG_CS].base = CODE;
	s.seg[SEG_DS].sel = DATA >> 4;
	s.seg[SEG_DS].base = DATA;
	s.rip = 0;
	s.gpr[RDI] = 8;
	cpu_set_state(b->c, &s);
	put_le16(m + 8, 3);
	/* FNINIT; FILD word [di]; FNSTENV [di] */
	assert_int_equal(mem_write(&b->mem, CODE, "\xdb\xe3\xdf\x05\xd9\x35", 6), 0);
	for (unsigned n = 0; n < 3; n++) {
		interp_step(b->c, &b->r);
		assert_false(b->r.faulted);
	}
	assert_int_equal(get_le16(m + 8), 0x37f);
	assert_int_equal(get_le16(m + 10), 7 << 11);
	assert_int_equal(get_le16(m + 12), 0x3fff);
	assert_int_equal(get_le16(m + 14), 2);               /* low half of CODE + 2 */
	assert_int_equal(get_le16(m + 16), 1 << 12 | 0x705); /* high part and DF 05 */
	assert_int_equal(get_le16(m + 18), 8);
	assert_int_equal(get_le16(m + 20), 2 << 12);
}

static void test_mmx_aliasing(void **state)
{
	struct bench *b = *state;

	OK(FLD1);
	b->c->fpu.r[1].mant = 0x0102030405060708;
	OK("\x0f\x6f\xc1"); /* MOVQ mm0, mm1 */
	assert_int_equal(b->c->fpu.r[0].mant, 0x0102030405060708);
	assert_int_equal(b->c->fpu.r[0].exp, 0xffff);
	assert_int_equal(fsw(b) & 0x3800, 0);
	assert_int_equal(b->c->fpu.ftw, 0xff);
	OK("\x0f\xfc\xc1"); /* PADDB */
	assert_int_equal(b->c->fpu.r[0].mant, 0x020406080a0c0e10);
	OK("\x0f\x77"); /* EMMS */
	assert_int_equal(b->c->fpu.ftw, 0);
}

/* --- images --- */

static void test_fxsave(void **state)
{
	struct bench *b = *state;
	u8 *m = at(b, DATA);

	OK(FLD1);
	b->c->vec[15].q[1] = 0x1122334455667788;
	b->c->mxcsr = 0x1fa0;
	memset(m, 0xee, 512);
	OK("\x48\x0f\xae\x07"); /* FXSAVE64 */
	assert_int_equal(get_le16(m), 0x37f);
	assert_int_equal(get_le16(m + 2), 7 << 11);
	assert_int_equal(m[4], 0x80);
	assert_int_equal(get_le32(m + 24), 0x1fa0);
	assert_int_equal(get_le32(m + 28), 0xffff);
	assert_int_equal(get_le16(m + 32 + 8), 0x3fff);
	assert_int_equal(get_le64(m + 160 + 15 * 16 + 8), 0x1122334455667788);
	assert_int_equal(m[416], 0xee);
	OK("\xdb\xe3");
	b->c->vec[15].q[1] = 0;
	b->c->mxcsr = 0x1f80;
	OK("\x48\x0f\xae\x0f"); /* FXRSTOR64 */
	assert_int_equal(fsw(b), 7 << 11);
	assert_int_equal(b->c->fpu.r[7].exp, 0x3fff);
	assert_int_equal(b->c->vec[15].q[1], 0x1122334455667788);
	assert_int_equal(b->c->mxcsr, 0x1fa0);
	put_le32(m + 24, 0x80000000);
	FAULT("\x48\x0f\xae\x0f", EXC_GP);
	b->c->gpr[RDI] = DATA + 8;
	FAULT("\x48\x0f\xae\x07", EXC_GP);
	FAULT("\x48\x0f\xae\x0f", EXC_GP);
}

#define XSAVE64 "\x48\x0f\xae\x27"
#define XSAVEOPT64 "\x48\x0f\xae\x37"
#define XSAVEC64 "\x48\x0f\xc7\x27"
#define XRSTOR64 "\x48\x0f\xae\x2f"
#define XSAVES64 "\x48\x0f\xc7\x2f"

static void want(struct bench *b, u32 mask)
{
	b->c->gpr[RAX] = mask;
	b->c->gpr[RDX] = 0;
}

static void test_xsave(void **state)
{
	struct bench *b = *state;
	u8 *m = at(b, DATA);

	if (!__builtin_cpu_supports("avx"))
		return;
	memset(m, 0xee, 1024);
	memset(m + 512, 0, 64);
	put_le64(m + 512, 1); /* keeps what is not requested */
	b->c->vec[3].q[2] = 0x33;
	want(b, 6);
	OK(XSAVE64);
	assert_int_equal(get_le64(m + 512), 1 | 4); /* SSE is in its initial state */
	assert_int_equal(get_le64(m + 160), 0);     /* but XSAVE writes it */
	assert_int_equal(get_le64(m + 576 + 3 * 16), 0x33);
	assert_int_equal(get_le32(m + 24), 0x1f80);
	assert_int_equal(m[0], 0xee); /* x87 was not requested */
	assert_int_equal(m[832], 0xee);
	b->c->gpr[RDI] = DATA + 16;
	FAULT(XSAVE64, EXC_GP);
	FAULT(XRSTOR64, EXC_GP);
	FAULT(XSAVES64, EXC_UD);
}

static void test_xsaveopt(void **state)
{
	struct bench *b = *state;
	u8 *m = at(b, DATA);

	if (!__builtin_cpu_supports("avx"))
		return;
	memset(m, 0xee, 1024);
	memset(m + 512, 0, 64);
	b->c->vec[0].q[0] = 5;
	want(b, 7);
	OK(XSAVEOPT64);
	assert_int_equal(get_le64(m + 512) & 6, 2);
	assert_int_equal(m[576], 0xee); /* AVX in its initial state is not written */
	assert_int_equal(get_le64(m + 160), 5);
}

static void test_xsavec(void **state)
{
	struct bench *b = *state;
	u8 *m = at(b, DATA);

	if (!__builtin_cpu_supports("avx"))
		return;
	memset(m, 0xee, 1024);
	memset(m + 512, 0, 64);
	b->c->vec[2].q[3] = 7;
	want(b, 7);
	OK(XSAVEC64);
	assert_int_equal(get_le64(m + 520), 0x8000000000000007);
	assert_int_equal(get_le64(m + 512) & 6, 4);
	assert_int_equal(m[24], 0xee);
	assert_int_equal(get_le64(m + 576 + 2 * 16 + 8), 7);
	/* MXCSR that differs makes SSE worth saving. */
	b->c->mxcsr = 0x1fbf;
	OK(XSAVEC64);
	assert_int_equal(get_le64(m + 512) & 6, 6);
	assert_int_equal(get_le32(m + 24), 0x1fbf);
	b->c->mxcsr = 0x1f80;
	b->c->vec[2].q[3] = 0;
	OK(XRSTOR64);
	assert_int_equal(b->c->mxcsr, 0x1fbf);
	assert_int_equal(b->c->vec[2].q[3], 7);
	put_le64(m + 520, 0x8000000000000003); /* AVX in XSTATE_BV but not in XCOMP_BV */
	FAULT(XRSTOR64, EXC_GP);
	put_le64(m + 520, 0x8000000000000007);
	put_le64(m + 568, 1);
	FAULT(XRSTOR64, EXC_GP);
}

static void test_xrstor(void **state)
{
	struct bench *b = *state;
	u8 *m = at(b, DATA);

	if (!__builtin_cpu_supports("avx"))
		return;
	memset(m, 0, 1024);
	memset(b->c->vec, 0x77, sizeof(b->c->vec));
	OK(FLD1);
	put_le32(m + 24, 0x1f80);
	want(b, 7);
	OK(XRSTOR64); /* XSTATE_BV = 0: everything requested is reset */
	assert_int_equal(b->c->vec[15].q[0] | b->c->vec[15].q[3], 0);
	assert_int_equal(fsw(b), 0);
	assert_int_equal(b->c->fpu.ftw, 0);
	assert_int_equal(b->c->fpu.fcw, 0x37f);
	memset(b->c->vec, 0x77, sizeof(b->c->vec));
	want(b, 2);
	OK(XRSTOR64);
	assert_int_equal(b->c->vec[1].q[1], 0);
	assert_int_equal(b->c->vec[1].q[2], 0x7777777777777777);
	put_le64(m + 512, 8); /* a component that XCR0 does not have */
	FAULT(XRSTOR64, EXC_GP);
	put_le64(m + 512, 0);
	put_le64(m + 528, 1); /* reserved */
	FAULT(XRSTOR64, EXC_GP);
	put_le64(m + 528, 0);
	put_le32(m + 24, 0x10000);
	FAULT(XRSTOR64, EXC_GP); /* MXCSR is loaded whatever XSTATE_BV says */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_masked_flags),
	        T(test_unmasked_zero_divide),
	        T(test_unmasked_underflow),
	        T(test_unmasked_inexact),
	        T(test_rounding_and_host),
	        T(test_ldmxcsr),
	        T(test_alignment),
	        T(test_cr_conditions),
	        T(test_upper_halves),
	        T(test_masked_moves),
	        T(test_gather_fault),
	        T(test_maskmov),
	        T(test_stack_underflow),
	        T(test_stack_overflow),
	        T(test_x87_zero_divide),
	        T(test_x87_store_overflow),
	        T(test_x87_store_fault),
	        T(test_x87_environment),
	        T(test_x87_environment_real),
	        T(test_mmx_aliasing),
	        T(test_fxsave),
	        T(test_xsave),
	        T(test_xsaveopt),
	        T(test_xsavec),
	        T(test_xrstor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
