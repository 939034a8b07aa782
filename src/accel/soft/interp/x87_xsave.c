/*
 * FXSAVE, FXRSTOR and the XSAVE family (SDM vol. 1, 10.5 and 13.4-13.12). The guest's image is built in,
 * or checked in, a private copy. Components: x87 (bytes 0-23 and 32-159), SSE (160-415; MXCSR in 24-31),
 * header (512-575), AVX (576-831) in the standard and in the compacted form alike, because AVX is the only
 * extended component.
 *
 * "In use" (XINUSE) means: not in its initial state. XSAVEOPT does not track modifications.
 */
#include "accel/soft/interp/x87.h"

#define OFF_MXCSR 24
#define OFF_ST 32
#define OFF_XMM 160
#define OFF_HEADER 512
#define OFF_AVX 576
#define XSAVE_SIZE 832
#define XCOMP_COMPACT BIT64(63)

struct xheader {
	u64 xstate_bv, xcomp_bv;
	u64 reserved[6];
};
static_assert(sizeof(struct xheader) == 64, "SDM vol. 1, 13.4.2");

static unsigned nxmm(const struct cpu *c)
{
	return insn_is64(c) ? 16 : 8;
}

/* --- components <-> image --- */

/* wide: the pointers are 64 bits, without selectors. */
static void put_x87(struct cpu *c, u8 *b, bool wide)
{
	const struct x86_fpu *f = &c->fpu;

	put_le16(b, f->fcw);
	put_le16(b + 2, f->fsw);
	put_le16(b + 4, f->ftw);
	put_le16(b + 6, f->fop);
	put_le64(b + 8, wide ? f->fip : (u32)f->fip | (u64)f->fcs << 32);
	put_le64(b + 16, wide ? f->fdp : (u32)f->fdp | (u64)f->fds << 32);
	for (unsigned n = 0; n < 8; n++) {
		memset(b + OFF_ST + 16 * n, 0, 16);
		memcpy(b + OFF_ST + 16 * n, x87_st(c, n), 10);
	}
}

static void get_x87(struct cpu *c, const u8 *b, bool wide)
{
	struct x86_fpu *f = &c->fpu;

	f->fcw = (u16)((get_le16(b) & FCW_BITS) | FCW_ONE);
	f->fsw = get_le16(b + 2);
	f->ftw = b[4];
	f->fop = get_le16(b + 6) & 0x7ff;
	f->fip = wide ? get_le64(b + 8) : get_le32(b + 8);
	f->fcs = wide ? 0 : get_le16(b + 12);
	f->fdp = wide ? get_le64(b + 16) : get_le32(b + 16);
	f->fds = wide ? 0 : get_le16(b + 20);
	for (unsigned n = 0; n < 8; n++)
		memcpy(x87_st(c, n), b + OFF_ST + 16 * n, 10);
	x87_update_es(c);
}

static void put_mxcsr(const struct cpu *c, u8 *b)
{
	put_le32(b + OFF_MXCSR, c->mxcsr);
	put_le32(b + OFF_MXCSR + 4, MXCSR_ALL);
}

static void put_xmm(const struct cpu *c, u8 *b)
{
	for (unsigned n = 0; n < nxmm(c); n++)
		memcpy(b + OFF_XMM + 16 * n, &c->vec[n], 16);
}

static void get_xmm(struct cpu *c, const u8 *b)
{
	for (unsigned n = 0; n < nxmm(c); n++)
		memcpy(&c->vec[n], b + OFF_XMM + 16 * n, 16);
}

static void put_avx(const struct cpu *c, u8 *b)
{
	for (unsigned n = 0; n < nxmm(c); n++)
		memcpy(b + OFF_AVX + 16 * n, &c->vec[n].q[2], 16);
}

static void get_avx(struct cpu *c, const u8 *b)
{
	for (unsigned n = 0; n < nxmm(c); n++)
		memcpy(&c->vec[n].q[2], b + OFF_AVX + 16 * n, 16);
}

static u64 operand(struct cpu *c, const struct insn *i, unsigned size, unsigned align, bool write)
{
	u64 lin = insn_lin(c, i, size, write);

	if (unlikely((lin & (align - 1)) && insn_is64(c) && !mmu_canonical(lin)))
		mmu_probe(c, lin, 1, ACC_READ); /* raises, #SS(0) for a stack address */
	vec_align(c, lin, align);
	vec_aligned(c, lin, align);
	return lin;
}

static void check_mxcsr(struct cpu *c, const u8 *b)
{
	if (get_le32(b + OFF_MXCSR) & ~MXCSR_ALL)
		cpu_raise_err(c, EXC_GP, 0);
}

/* --- FXSAVE --- */

void x87_FXSAVE(struct cpu *c, const struct insn *i)
{
	u64 lin = operand(c, i, 512, 16, true);
	u8 b[OFF_HEADER];

	put_x87(c, b, i->r3 & X87_WIDE);
	put_mxcsr(c, b);
	put_xmm(c, b);
	/* What follows the registers in use belongs to the guest, but must be writable. */
	mmu_probe(c, lin, sizeof(b), ACC_WRITE);
	mem_st_bytes(c, lin, b, OFF_XMM + 16 * nxmm(c));
}

void x87_FXRSTOR(struct cpu *c, const struct insn *i)
{
	u64 lin = operand(c, i, 512, 16, false);
	u8 b[OFF_HEADER];

	mem_ld_bytes(c, lin, b, sizeof(b));
	check_mxcsr(c, b);
	get_x87(c, b, i->r3 & X87_WIDE);
	c->mxcsr = get_le32(b + OFF_MXCSR);
	get_xmm(c, b);
}

/* --- XSAVE --- */

static u64 requested(const struct cpu *c)
{
	return c->xcr0 & ((c->gpr[RAX] & 0xffffffff) | c->gpr[RDX] << 32);
}

static bool x87_in_use(const struct cpu *c)
{
	const struct x86_fpu *f = &c->fpu;
	u64 any = 0;

	if (f->fcw != FCW_RESET || f->fsw || f->ftw || f->fop || f->fip || f->fdp || f->fcs || f->fds)
		return true;
	for (unsigned n = 0; n < 8; n++)
		any |= f->r[n].mant | f->r[n].exp;
	return any;
}

static u64 in_use(const struct cpu *c)
{
	u64 lo = 0, hi = 0;

	for (unsigned n = 0; n < nxmm(c); n++) {
		lo |= c->vec[n].q[0] | c->vec[n].q[1];
		hi |= c->vec[n].q[2] | c->vec[n].q[3];
	}
	return (x87_in_use(c) ? XCR0_X87 : 0) | (lo ? XCR0_SSE : 0) | (hi ? XCR0_AVX : 0);
}

/* Stores the components in `what`, and MXCSR if told to. */
static void save_components(struct cpu *c, const struct insn *i, u64 lin, u64 what, bool mxcsr)
{
	unsigned regs = 16 * nxmm(c);
	u8 b[XSAVE_SIZE];

	if (what & XCR0_X87) {
		put_x87(c, b, i->r3 & X87_WIDE);
		mem_st_bytes(c, lin, b, OFF_MXCSR);
		mem_st_bytes(c, lin + OFF_ST, b + OFF_ST, OFF_XMM - OFF_ST);
	}
	if (mxcsr) {
		put_mxcsr(c, b);
		mem_st_bytes(c, lin + OFF_MXCSR, b + OFF_MXCSR, 8);
	}
	if (what & XCR0_SSE) {
		put_xmm(c, b);
		mem_st_bytes(c, lin + OFF_XMM, b + OFF_XMM, regs);
	}
	if (what & XCR0_AVX) {
		put_avx(c, b);
		mem_st_bytes(c, lin + OFF_AVX, b + OFF_AVX, regs);
	}
}

static void xsave(struct cpu *c, const struct insn *i, bool optimise)
{
	u64 lin = operand(c, i, XSAVE_SIZE, 64, true);
	u64 rfbm = requested(c), used = in_use(c);
	u64 bv = mem_ld64(c, lin + OFF_HEADER);

	save_components(c, i, lin, optimise ? rfbm & used : rfbm, rfbm & (XCR0_SSE | XCR0_AVX));
	mem_st64(c, lin + OFF_HEADER, (bv & ~rfbm) | (rfbm & used));
}

void x87_XSAVE(struct cpu *c, const struct insn *i)
{
	xsave(c, i, false);
}

void x87_XSAVEOPT(struct cpu *c, const struct insn *i)
{
	xsave(c, i, true);
}

/* MXCSR belongs to the SSE component here, which is saved if it differs from its initial value. */
void x87_XSAVEC(struct cpu *c, const struct insn *i)
{
	u64 lin = operand(c, i, XSAVE_SIZE, 64, true);
	u64 rfbm = requested(c), bv = rfbm & in_use(c);
	u64 head[2];

	if ((rfbm & XCR0_SSE) && c->mxcsr != MXCSR_RESET)
		bv |= XCR0_SSE;
	save_components(c, i, lin, bv, bv & XCR0_SSE);
	head[0] = bv;
	head[1] = rfbm | XCOMP_COMPACT;
	mem_st_bytes(c, lin + OFF_HEADER, head, sizeof(head));
}

/* --- XRSTOR --- */

static void check_header(struct cpu *c, const struct xheader *h)
{
	bool bad = h->reserved[0] != 0 || (h->xstate_bv & ~c->xcr0);

	if (h->xcomp_bv & XCOMP_COMPACT) {
		bad |= (h->xcomp_bv & ~XCOMP_COMPACT & ~c->xcr0) || (h->xstate_bv & ~h->xcomp_bv);
		for (unsigned n = 1; n < ARRAY_SIZE(h->reserved); n++)
			bad |= h->reserved[n] != 0;
	} else {
		bad |= h->xcomp_bv != 0;
	}
	if (bad)
		cpu_raise_err(c, EXC_GP, 0);
}

static void init_xmm(struct cpu *c)
{
	for (unsigned n = 0; n < nxmm(c); n++)
		c->vec[n].q[0] = c->vec[n].q[1] = 0;
}

static void init_avx(struct cpu *c)
{
	for (unsigned n = 0; n < nxmm(c); n++)
		c->vec[n].q[2] = c->vec[n].q[3] = 0;
}

/* Nothing here faults. Of what is asked for (rfbm) the components in load come from b, the rest is reset. */
static void restore(struct cpu *c, const u8 *b, u64 rfbm, u64 load, bool wide)
{
	if (rfbm & load & XCR0_X87) {
		get_x87(c, b, wide);
	} else if (rfbm & XCR0_X87) {
		memset(c->fpu.r, 0, sizeof(c->fpu.r));
		fpu_init(c);
	}
	if (rfbm & load & XCR0_SSE)
		get_xmm(c, b);
	else if (rfbm & XCR0_SSE)
		init_xmm(c);
	if (rfbm & load & XCR0_AVX)
		get_avx(c, b);
	else if (rfbm & XCR0_AVX)
		init_avx(c);
}

void x87_XRSTOR(struct cpu *c, const struct insn *i)
{
	u64 lin = operand(c, i, XSAVE_SIZE, 64, false);
	u64 rfbm = requested(c), load;
	u8 b[XSAVE_SIZE];
	struct xheader h;
	bool compact, mxcsr;

	mem_ld_bytes(c, lin, b, OFF_AVX);
	memcpy(&h, b + OFF_HEADER, sizeof(h));
	check_header(c, &h);
	load = h.xstate_bv;
	compact = h.xcomp_bv & XCOMP_COMPACT;
	if (rfbm & load & XCR0_AVX)
		mem_ld_bytes(c, lin + OFF_AVX, b + OFF_AVX, 16 * nxmm(c));
	/* The standard form loads MXCSR with SSE or AVX whatever XSTATE_BV says, the other as part of SSE. */
	mxcsr = compact ? rfbm & load & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);
	if (mxcsr) {
		check_mxcsr(c, b);
		c->mxcsr = get_le32(b + OFF_MXCSR);
	} else if (compact && (rfbm & XCR0_SSE)) {
		c->mxcsr = MXCSR_RESET;
	}
	restore(c, b, rfbm, load, i->r3 & X87_WIDE);
}
