/*
 * x87 state: initialisation, pending exceptions, instruction and data pointers, control instructions and
 * the environment in memory (SDM vol. 1, 8.1).
 */
#include "accel/soft/interp/x87.h"

const struct x86_st x87_indefinite = {.mant = 0xc000000000000000ull, .exp = 0xffff};

void fpu_init(struct cpu *c)
{
	struct x86_fpu *f = &c->fpu;

	f->fcw = FCW_RESET;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = f->fdp = 0;
	f->fcs = f->fds = 0;
}

void fpu_reset(struct cpu *c)
{
	memset(c->fpu.r, 0, sizeof(c->fpu.r));
	fpu_init(c);
	c->mxcsr = MXCSR_RESET;
}

void x87_check(struct cpu *c)
{
	if (unlikely(c->fpu.fsw & FSW_ES))
		cpu_raise(c, EXC_MF);
}

void mmx_check(struct cpu *c)
{
	x87_check(c);
}

void x87_enter(struct cpu *c, const struct insn *i)
{
	struct x86_fpu *f = &c->fpu;

	x87_check(c);
	if (i->flags & INSN_MEM)
		return; /* x87_mem does it when the operand is known to be good */
	f->fip = c->gpr[REG_RIP] - i->len;
	f->fcs = c->seg[SEG_CS].sel;
	f->fop = (u16)i->imm;
}

u64 x87_mem(struct cpu *c, const struct insn *i, unsigned size, bool write)
{
	u64 lin = insn_lin(c, i, size, write);
	struct x86_fpu *f = &c->fpu;

	vec_align(c, lin, size == 10 ? 8 : size);
	mmu_probe(c, lin, size, write ? ACC_WRITE : ACC_READ);
	f->fip = c->gpr[REG_RIP] - i->len;
	f->fcs = c->seg[SEG_CS].sel;
	f->fop = (u16)i->imm;
	f->fdp = insn_ea(c, i);
	f->fds = c->seg[i->seg].sel;
	return lin;
}

void x87_update_es(struct cpu *c)
{
	c->fpu.fsw &= (u16) ~(FSW_ES | FSW_B);
	if (c->fpu.fsw & ~c->fpu.fcw & FSW_EX)
		c->fpu.fsw |= FSW_ES | FSW_B;
}

bool x87_commit(struct cpu *c, u16 sw, unsigned stops)
{
	unsigned unmasked = sw & ~c->fpu.fcw & FSW_EX;

	c->fpu.fsw = (u16)((c->fpu.fsw & ~FSW_C1) | (sw & (FSW_EX | FSW_C1)));
	if (unmasked)
		c->fpu.fsw |= FSW_ES | FSW_B;
	return !(unmasked & stops);
}

bool x87_stack_fault(struct cpu *c, bool overflow)
{
	c->fpu.fsw |= FSW_SF;
	return x87_commit(c, (u16)(FSW_IE | (overflow ? FSW_C1 : 0)), FSW_IE);
}

/* --- control --- */

void x87_FNINIT(struct cpu *c, const struct insn *i)
{
	fpu_init(c);
}

void x87_FNCLEX(struct cpu *c, const struct insn *i)
{
	c->fpu.fsw &= (u16) ~(FSW_EX | FSW_SF | FSW_ES | FSW_B);
}

static void set_fcw(struct cpu *c, u16 cw)
{
	c->fpu.fcw = (u16)((cw & FCW_BITS) | FCW_ONE);
	x87_update_es(c);
}

void x87_FLDCW(struct cpu *c, const struct insn *i)
{
	x87_check(c);
	set_fcw(c, mem_ld16(c, insn_lin(c, i, 2, false)));
}

void x87_FNSTCW(struct cpu *c, const struct insn *i)
{
	mem_st16(c, insn_lin(c, i, 2, true), c->fpu.fcw);
}

void x87_FNSTSW(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		mem_st16(c, insn_lin(c, i, 2, true), c->fpu.fsw);
	else
		reg_write(c, RAX, 2, c->fpu.fsw);
}

void x87_FWAIT(struct cpu *c, const struct insn *i)
{
	x87_check(c);
}

void x87_EMMS(struct cpu *c, const struct insn *i)
{
	x87_check(c);
	c->fpu.ftw = 0;
	x87_set_top(c, 0);
}

/* --- environment --- */

/* A register's 2-bit tag: 0 valid, 1 zero, 2 special (NaN, infinity, denormal, unsupported), 3 empty. */
static unsigned full_tag(const struct x86_st *r)
{
	unsigned e = r->exp & 0x7fff;

	if (e == 0 && r->mant == 0)
		return 1;
	return e == 0 || e == 0x7fff || !(r->mant >> 63) ? 2 : 0;
}

static u16 full_tags(const struct cpu *c)
{
	unsigned t = 0;

	for (unsigned n = 0; n < 8; n++)
		t |= (c->fpu.ftw & BIT(n) ? full_tag(&c->fpu.r[n]) : 3) << 2 * n;
	return (u16)t;
}

static bool real_layout(const struct cpu *c)
{
	return !(c->hf & HF_PE) || (c->hf & HF_VM86);
}

static u32 real_linear(u64 off, u16 sel)
{
	return (u32)(((u32)sel << 4) + (u32)off);
}

/* The four layouts of SDM vol. 1, figures 8-9 to 8-12. Returns the size, 14 or 28. */
static unsigned put_env(const struct cpu *c, unsigned osize, u8 *b)
{
	const struct x86_fpu *f = &c->fpu;
	bool real = real_layout(c);
	u32 ip = real ? real_linear(f->fip, f->fcs) : (u32)f->fip;
	u32 dp = real ? real_linear(f->fdp, f->fds) : (u32)f->fdp;

	if (osize == 2) {
		put_le16(b, f->fcw);
		put_le16(b + 2, f->fsw);
		put_le16(b + 4, full_tags(c));
		put_le16(b + 6, (u16)ip);
		put_le16(b + 8, real ? (u16)((ip >> 16 & 0xf) << 12 | f->fop) : f->fcs);
		put_le16(b + 10, (u16)dp);
		put_le16(b + 12, real ? (u16)((dp >> 16 & 0xf) << 12) : f->fds);
		return 14;
	}
	put_le32(b, 0xffff0000 | f->fcw);
	put_le32(b + 4, 0xffff0000 | f->fsw);
	put_le32(b + 8, 0xffff0000 | full_tags(c));
	put_le32(b + 12, real ? ip & 0xffff : ip);
	put_le32(b + 16, real ? (ip >> 16) << 12 | f->fop : (u32)f->fop << 16 | f->fcs);
	put_le32(b + 20, real ? dp & 0xffff : dp);
	put_le32(b + 24, real ? (dp >> 16) << 12 : 0xffff0000 | f->fds);
	return 28;
}

static void get_tags(struct cpu *c, u16 full)
{
	c->fpu.ftw = 0;
	for (unsigned n = 0; n < 8; n++)
		if ((full >> 2 * n & 3) != 3)
			c->fpu.ftw |= (u8)BIT(n);
}

static void get_env(struct cpu *c, unsigned osize, const u8 *b)
{
	struct x86_fpu *f = &c->fpu;
	unsigned w = osize == 2 ? 2 : 4;
	u32 hi_ip = w == 2 ? get_le16(b + 8) : get_le32(b + 16);
	u32 hi_dp = w == 2 ? get_le16(b + 12) : get_le32(b + 24);

	f->fsw = get_le16(b + w);
	get_tags(c, get_le16(b + 2 * w));
	f->fip = w == 2 ? get_le16(b + 6) : get_le32(b + 12);
	f->fdp = w == 2 ? get_le16(b + 10) : get_le32(b + 20);
	if (real_layout(c)) {
		f->fop = hi_ip & 0x7ff;
		f->fip = (f->fip & 0xffff) | (u64)(hi_ip >> 12) << 16;
		f->fdp = (f->fdp & 0xffff) | (u64)(hi_dp >> 12) << 16;
		f->fcs = f->fds = 0;
	} else {
		f->fcs = (u16)hi_ip;
		f->fds = (u16)hi_dp;
		if (w == 4)
			f->fop = hi_ip >> 16 & 0x7ff;
	}
	set_fcw(c, get_le16(b));
}

static u64 env_lin(struct cpu *c, const struct insn *i, unsigned size, bool write)
{
	u64 lin = insn_lin(c, i, size, write);

	vec_align(c, lin, i->osize == 2 ? 2 : 4);
	return lin;
}

void x87_FNSTENV(struct cpu *c, const struct insn *i)
{
	u8 b[28];
	unsigned n = put_env(c, i->osize, b);

	mem_st_bytes(c, env_lin(c, i, n, true), b, n);
	c->fpu.fcw |= FSW_EX;
	x87_update_es(c);
}

void x87_FLDENV(struct cpu *c, const struct insn *i)
{
	unsigned n = i->osize == 2 ? 14 : 28;
	u8 b[28];

	x87_check(c);
	mem_ld_bytes(c, env_lin(c, i, n, false), b, n);
	get_env(c, i->osize, b);
}

void x87_FNSAVE(struct cpu *c, const struct insn *i)
{
	u8 b[108];
	unsigned n = put_env(c, i->osize, b);

	for (unsigned k = 0; k < 8; k++, n += 10)
		memcpy(b + n, x87_st(c, k), 10);
	mem_st_bytes(c, env_lin(c, i, n, true), b, n);
	fpu_init(c);
}

void x87_FRSTOR(struct cpu *c, const struct insn *i)
{
	unsigned env = i->osize == 2 ? 14 : 28;
	u8 b[108];

	x87_check(c);
	mem_ld_bytes(c, env_lin(c, i, env + 80, false), b, env + 80);
	get_env(c, i->osize, b);
	for (unsigned k = 0; k < 8; k++)
		memcpy(x87_st(c, k), b + env + 10 * k, 10);
}
