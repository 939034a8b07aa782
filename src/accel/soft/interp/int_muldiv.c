/*
 * MUL, IMUL, DIV, IDIV, MULX, ADCX, ADOX, and the decimal adjustments. Where the manual calls flags
 * undefined, multiplication leaves SF, ZF, AF and PF alone and division leaves all.
 */
#include "accel/soft/interp/int.h"

bind_fn bind_mul, bind_imul, bind_div, bind_mulx, bind_adx, bind_bcd;

/* AX or RDX:RAX by operand size: the double-width accumulator. */
static void write_double(struct cpu *c, unsigned size, u64 low, u64 high)
{
	if (size == 1) {
		reg_write(c, RAX, 2, (high & 0xff) << 8 | (low & 0xff));
		return;
	}
	reg_write(c, RAX, size, low);
	reg_write(c, RDX, size, high);
}

static void overflow_flags(struct cpu *c, bool over)
{
	set_flags(c, FL_CF | FL_OF, over ? FL_CF | FL_OF : 0);
}

static void mul(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u128 p = (u128)load_rm(c, i, i->r1, size) * reg_read(c, RAX, size);
	u64 low = (u64)p & ones(size), high = (u64)(p >> (size * 8)) & ones(size);

	write_double(c, size, low, high);
	overflow_flags(c, high != 0);
}

static void imul1(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	__int128 p = (__int128)sext(load_rm(c, i, i->r1, size), size) * sext(c->gpr[RAX], size);

	write_double(c, size, (u64)p & ones(size), (u64)((u128)p >> (size * 8)) & ones(size));
	overflow_flags(c, p != (__int128)sext((u64)p, size));
}

/* IMUL r, r/m and IMUL r, r/m, imm (aux: there is an immediate). */
static void imul23(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 v = load_rm(c, i, i->r2, size);
	__int128 p = (__int128)sext(v, size) * (i->aux ? sext(i->imm, size) : sext(c->gpr[i->r1], size));

	reg_write(c, i->r1, size, (u64)p);
	overflow_flags(c, p != (__int128)sext((u64)p, size));
}

bool bind_mul(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->fn = mul;
	return true;
}

bool bind_imul(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	if (d->zi.operand_count_visible == 1) {
		i->fn = imul1;
		return true;
	}
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	i->aux = d->zi.operand_count_visible == 3;
	if (i->aux)
		i->imm = d->op[2].imm.value.u;
	i->fn = imul23;
	return true;
}

/* --- division: #DE when the divisor is 0 or the quotient does not fit --- */

static void div64(struct cpu *c, u64 by)
{
	u64 low = c->gpr[RAX], high = c->gpr[RDX];

	if (by == 0 || high >= by)
		cpu_raise(c, EXC_DE);
	__asm__("divq %2" : "+a"(low), "+d"(high) : "r"(by) : "cc");
	c->gpr[RAX] = low;
	c->gpr[RDX] = high;
}

static void divide(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize, bits = size * 8;
	u64 by = load_rm(c, i, i->r1, size), n, q;

	if (size == 8) {
		div64(c, by);
		return;
	}
	n = size == 1 ? (u16)c->gpr[RAX] : reg_read(c, RDX, size) << bits | reg_read(c, RAX, size);
	if (by == 0)
		cpu_raise(c, EXC_DE);
	q = n / by;
	if (q > ones(size))
		cpu_raise(c, EXC_DE);
	write_double(c, size, q, n % by);
}

static void idivide(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize, bits = size * 8;
	__int128 by = sext(load_rm(c, i, i->r1, size), size), n, q;

	if (size == 1)
		n = (s16)c->gpr[RAX];
	else if (size == 8)
		n = (__int128)((u128)c->gpr[RDX] << 64 | c->gpr[RAX]);
	else
		n = sext(reg_read(c, RDX, size) << bits | reg_read(c, RAX, size), size * 2);
	/* The one quotient that does not even fit 128 bits: -2^127 / -1. */
	if (by == 0 || (by == -1 && (u128)n == (u128)1 << 127))
		cpu_raise(c, EXC_DE);
	q = n / by;
	if (q != (__int128)sext((u64)q, size))
		cpu_raise(c, EXC_DE);
	write_double(c, size, (u64)q, (u64)(n % by));
}

bool bind_div(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->fn = d->zi.mnemonic == ZYDIS_MNEMONIC_IDIV ? idivide : divide;
	return true;
}

/* --- BMI2, ADX --- */

static void mulx(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u128 p = (u128)load_rm(c, i, i->r3, size) * reg_read(c, RDX, size);

	reg_write(c, i->r2, size, (u64)p & ones(size));
	reg_write(c, i->r1, size, (u64)(p >> (size * 8)) & ones(size)); /* the same register: high wins */
}

bool bind_mulx(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	i->r2 = op_reg(d, 1);
	if (op_is_reg(d, 2))
		i->r3 = op_reg(d, 2);
	i->fn = mulx;
	return true;
}

/* aux: the flag that is carry in and out. */
static void adx(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u32 flag = i->aux ? FL_OF : FL_CF;
	u128 sum =
	        (u128)reg_read(c, i->r1, size) + load_rm(c, i, i->r2, size) + !!(cpu_arith_flags(c) & flag);

	reg_write(c, i->r1, size, (u64)sum & ones(size));
	set_flags(c, flag, sum >> (size * 8) ? flag : 0);
}

bool bind_adx(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	i->aux = d->zi.mnemonic == ZYDIS_MNEMONIC_ADOX;
	i->fn = adx;
	return true;
}

/* --- decimal adjustments (SDM vol. 2; not in 64-bit mode) --- */

static void aaa_aas(struct cpu *c, bool sub)
{
	u32 fl = cpu_arith_flags(c);
	u16 ax = (u16)c->gpr[RAX];
	bool adjust = (ax & 15) > 9 || (fl & FL_AF);

	if (adjust)
		ax = sub ? (u16)(ax - 0x106) : (u16)(ax + 0x106);
	ax &= 0xff0f;
	reg_write(c, RAX, 2, ax);
	cpu_set_arith(c, szp(ax & 0xff, 1) | (adjust ? FL_AF | FL_CF : 0));
}

static void aaa(struct cpu *c, const struct insn *i)
{
	aaa_aas(c, false);
}

static void aas(struct cpu *c, const struct insn *i)
{
	aaa_aas(c, true);
}

static void aam(struct cpu *c, const struct insn *i)
{
	u8 al = (u8)c->gpr[RAX], by = (u8)i->imm;

	if (by == 0)
		cpu_raise(c, EXC_DE);
	reg_write(c, RAX, 2, (u64)(al / by) << 8 | al % by);
	cpu_set_arith(c, szp(al % by, 1));
}

static void aad(struct cpu *c, const struct insn *i)
{
	u8 al = (u8)(c->gpr[RAX] + (u8)(c->gpr[RAX] >> 8) * (u8)i->imm);

	reg_write(c, RAX, 2, al);
	cpu_set_arith(c, szp(al, 1));
}

static void daa_das(struct cpu *c, bool sub)
{
	u32 fl = cpu_arith_flags(c), out = 0;
	u8 old = (u8)c->gpr[RAX], al = old;

	if ((al & 15) > 9 || (fl & FL_AF)) {
		u8 next = sub ? (u8)(al - 6) : (u8)(al + 6);

		if ((fl & FL_CF) || (sub ? al < 6 : al > 0xf9))
			out |= FL_CF;
		al = next;
		out |= FL_AF;
	}
	if (old > 0x99 || (fl & FL_CF)) {
		al = sub ? (u8)(al - 0x60) : (u8)(al + 0x60);
		out |= FL_CF;
	} else if (!sub) {
		out &= ~FL_CF;
	}
	*reg8(c, RAX) = al;
	cpu_set_arith(c, szp(al, 1) | out);
}

static void daa(struct cpu *c, const struct insn *i)
{
	daa_das(c, false);
}

static void das(struct cpu *c, const struct insn *i)
{
	daa_das(c, true);
}

bool bind_bcd(const struct dec *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_AAA: i->fn = aaa; break;
	case ZYDIS_MNEMONIC_AAS: i->fn = aas; break;
	case ZYDIS_MNEMONIC_AAM: i->fn = aam; break;
	case ZYDIS_MNEMONIC_AAD: i->fn = aad; break;
	case ZYDIS_MNEMONIC_DAA: i->fn = daa; break;
	default: i->fn = das; break;
	}
	return true;
}
