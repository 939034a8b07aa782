/*
 * Bit tests, scans and counts, BMI1 and BMI2, CRC32. Undefined flags are left as they were by BT and
 * scans, and cleared by BMI.
 */
#include "accel/soft/interp/int.h"

bind_fn bind_bt, bind_scan, bind_bmi, bind_crc32;

/* --- BT, BTS, BTR, BTC --- */

enum { BT_TEST, BT_SET, BT_RESET, BT_COMPLEMENT };

static u64 bt_apply(unsigned op, u64 v, u64 bit)
{
	switch (op) {
	case BT_SET: return v | bit;
	case BT_RESET: return v & ~bit;
	case BT_COMPLEMENT: return v ^ bit;
	default: return v;
	}
}

static void bt_flag(struct cpu *c, bool bit)
{
	set_flags(c, FL_CF, bit ? FL_CF : 0);
}

static u64 bt_offset(struct cpu *c, const struct insn *i)
{
	return i->aux2 ? i->imm : reg_read(c, i->r2, i->osize);
}

static void bt_reg(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 v = reg_read(c, i->r1, size), bit = 1ull << (bt_offset(c, i) & (size * 8 - 1));

	bt_flag(c, v & bit);
	if (i->aux != BT_TEST)
		reg_write(c, i->r1, size, bt_apply(i->aux, v, bit));
}

/* With a register offset memory is a bit string: the signed offset selects the word around the address. */
static struct insn bt_word(struct cpu *c, const struct insn *i)
{
	struct insn at = *i;

	if (!i->aux2) {
		s64 word = sext(reg_read(c, i->r2, i->osize), i->osize) >> (3 + lg2(i->osize));

		at.disp += word * i->osize;
	}
	return at;
}

static void bt_mem(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 bit = 1ull << (bt_offset(c, i) & (size * 8 - 1)), old, lin;
	struct insn at = bt_word(c, i);
	struct rmw m;

	if (i->aux == BT_TEST) {
		lin = insn_lin(c, &at, size, false);
		bt_flag(c, mem_ld(c, lin, size) & bit);
		return;
	}
	m = rmw_begin(c, &at, size);
	if (i->flags & INSN_LOCK) {
		locked_begin(c, &m);
		old = rmw_load(c, &m, size);
		while (!locked_cas(c, &m, size, &old, bt_apply(i->aux, old, bit)))
			;
		locked_end(c, &m, size);
	} else {
		old = rmw_load(c, &m, size);
		rmw_store(c, &m, size, bt_apply(i->aux, old, bit));
	}
	bt_flag(c, old & bit);
}

bool bind_bt(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->aux = d->zi.mnemonic == ZYDIS_MNEMONIC_BT    ? BT_TEST
	         : d->zi.mnemonic == ZYDIS_MNEMONIC_BTS ? BT_SET
	         : d->zi.mnemonic == ZYDIS_MNEMONIC_BTR ? BT_RESET
	                                                : BT_COMPLEMENT;
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->aux2 = op_is_imm(d, 1);
	if (i->aux2)
		i->imm = d->op[1].imm.value.u;
	else
		i->r2 = op_reg(d, 1);
	i->fn = op_is_mem(d, 0) ? bt_mem : bt_reg;
	return true;
}

/* --- scans and counts --- */

/* A zero source leaves the destination as it was. */
static void bsf(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize);

	set_flags(c, FL_ZF, v ? 0 : FL_ZF);
	if (v)
		reg_write(c, i->r1, i->osize, (u64)__builtin_ctzll(v));
}

static void bsr(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize);

	set_flags(c, FL_ZF, v ? 0 : FL_ZF);
	if (v)
		reg_write(c, i->r1, i->osize, 63 - (u64)__builtin_clzll(v));
}

static void count_zeros(struct cpu *c, const struct insn *i, u64 v, u64 n)
{
	set_flags(c, FL_CF | FL_ZF, (v ? 0 : FL_CF) | (n ? 0 : FL_ZF));
	reg_write(c, i->r1, i->osize, n);
}

static void tzcnt(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize);

	count_zeros(c, i, v, v ? (u64)__builtin_ctzll(v) : i->osize * 8u);
}

static void lzcnt(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize);

	count_zeros(c, i, v, v ? (u64)__builtin_clzll(v) - (64 - i->osize * 8u) : i->osize * 8u);
}

static void popcnt(struct cpu *c, const struct insn *i)
{
	u64 n = (u64)__builtin_popcountll(load_rm(c, i, i->r2, i->osize));

	cpu_set_arith(c, n ? 0 : FL_ZF);
	reg_write(c, i->r1, i->osize, n);
}

bool bind_scan(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_BSF: i->fn = bsf; break;
	case ZYDIS_MNEMONIC_BSR: i->fn = bsr; break;
	case ZYDIS_MNEMONIC_TZCNT: i->fn = tzcnt; break;
	case ZYDIS_MNEMONIC_LZCNT: i->fn = lzcnt; break;
	default: i->fn = popcnt; break;
	}
	return true;
}

/* --- BMI --- */

/* ANDN: r1 = ~r2 & r/m(r3) */
static void andn(struct cpu *c, const struct insn *i)
{
	u64 r = ~reg_read(c, i->r2, i->osize) & load_rm(c, i, i->r3, i->osize);

	cpu_set_arith(c, szp(r, i->osize) & ~FL_PF);
	reg_write(c, i->r1, i->osize, r);
}

/* BEXTR: r1 = bits of r/m(r2) from start r3[7:0], length r3[15:8] */
static void bextr(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize);
	unsigned start = (u8)c->gpr[i->r3], len = (u8)(c->gpr[i->r3] >> 8);

	v = start < 64 ? v >> start : 0;
	if (len < 64)
		v &= (1ull << len) - 1;
	cpu_set_arith(c, v ? 0 : FL_ZF);
	reg_write(c, i->r1, i->osize, v);
}

/* BZHI: zero the bits of r/m(r2) from r3[7:0] upwards */
static void bzhi(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize);
	unsigned n = (u8)c->gpr[i->r3], bits = i->osize * 8u;

	if (n < bits)
		v &= (1ull << n) - 1;
	cpu_set_arith(c, (szp(v, i->osize) & ~FL_PF) | (n >= bits ? FL_CF : 0));
	reg_write(c, i->r1, i->osize, v);
}

/* BLSI, BLSMSK, BLSR: r1 from r/m(r2); aux selects. */
static void bls(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize), r;
	bool cf = v == 0;

	switch (i->aux) {
	case 0:
		r = v & (0 - v);
		cf = v != 0;
		break;
	case 1: r = v ^ (v - 1); break;
	default: r = v & (v - 1); break;
	}
	r &= ones(i->osize);
	cpu_set_arith(c, (szp(r, i->osize) & ~FL_PF) | (cf ? FL_CF : 0));
	reg_write(c, i->r1, i->osize, r);
}

/* PDEP, PEXT: r1 from source r2 and mask r/m(r3) */
static void pdep(struct cpu *c, const struct insn *i)
{
	u64 mask = load_rm(c, i, i->r3, i->osize), src = reg_read(c, i->r2, i->osize), r = 0;

	for (; mask; mask &= mask - 1, src >>= 1)
		if (src & 1)
			r |= mask & (0 - mask);
	reg_write(c, i->r1, i->osize, r);
}

static void pext(struct cpu *c, const struct insn *i)
{
	u64 mask = load_rm(c, i, i->r3, i->osize), src = reg_read(c, i->r2, i->osize), r = 0;

	for (unsigned n = 0; mask; mask &= mask - 1, n++)
		if (src & mask & (0 - mask))
			r |= 1ull << n;
	reg_write(c, i->r1, i->osize, r);
}

static insn_fn *bmi_handler(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ANDN: return andn;
	case ZYDIS_MNEMONIC_BEXTR: return bextr;
	case ZYDIS_MNEMONIC_BZHI: return bzhi;
	case ZYDIS_MNEMONIC_PDEP: return pdep;
	case ZYDIS_MNEMONIC_PEXT: return pext;
	default: return bls;
	}
}

bool bind_bmi(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	if (d->zi.operand_count_visible > 2 && op_is_reg(d, 2))
		i->r3 = op_reg(d, 2);
	i->aux = d->zi.mnemonic == ZYDIS_MNEMONIC_BLSI ? 0 : d->zi.mnemonic == ZYDIS_MNEMONIC_BLSMSK ? 1 : 2;
	i->fn = bmi_handler(d->zi.mnemonic);
	return true;
}

/* --- CRC32: polynomial 11EDC6F41h, bit-reflected --- */

static u32 crc32c(u32 crc, u64 v, unsigned size)
{
	for (unsigned n = 0; n < size * 8; n++, v >>= 1) {
		bool bit = (crc ^ v) & 1;

		crc = crc >> 1 ^ (bit ? 0x82f63b78u : 0);
	}
	return crc;
}

static void crc32(struct cpu *c, const struct insn *i)
{
	c->gpr[i->r1] = crc32c((u32)c->gpr[i->r1], load_rm(c, i, i->r2, i->osize), i->osize);
}

bool bind_crc32(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 1);
	i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	i->fn = crc32;
	return true;
}
