/*
 * Flag instructions, NOP, BOUND, SALC, software interrupts, RDRAND, RDSEED.
 */
#include "accel/soft/interp/int.h"

bind_fn bind_flag, bind_nop, bind_bound, bind_int, bind_rdrand;

static void clc(struct cpu *c, const struct insn *i)
{
	set_flags(c, FL_CF, 0);
}

static void stc(struct cpu *c, const struct insn *i)
{
	set_flags(c, FL_CF, FL_CF);
}

static void cmc(struct cpu *c, const struct insn *i)
{
	set_flags(c, FL_CF, get_cf(c) ? 0 : FL_CF);
}

static void cld(struct cpu *c, const struct insn *i)
{
	c->eflags &= ~FL_DF;
}

static void std(struct cpu *c, const struct insn *i)
{
	c->eflags |= FL_DF;
}

static void lahf(struct cpu *c, const struct insn *i)
{
	*reg8(c, 1) = (u8)((cpu_arith_flags(c) & (FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF)) | FL_1);
}

static void sahf(struct cpu *c, const struct insn *i)
{
	set_flags(c, FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF, *reg8(c, 1));
}

static void salc(struct cpu *c, const struct insn *i)
{
	*reg8(c, RAX) = get_cf(c) ? 0xff : 0;
}

bool bind_flag(const struct dec *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_CLC: i->fn = clc; break;
	case ZYDIS_MNEMONIC_STC: i->fn = stc; break;
	case ZYDIS_MNEMONIC_CMC: i->fn = cmc; break;
	case ZYDIS_MNEMONIC_CLD: i->fn = cld; break;
	case ZYDIS_MNEMONIC_STD: i->fn = std; break;
	case ZYDIS_MNEMONIC_LAHF: i->fn = lahf; break;
	case ZYDIS_MNEMONIC_SAHF: i->fn = sahf; break;
	default: i->fn = salc; break;
	}
	return true;
}

bool bind_nop(const struct dec *d, struct insn *i)
{
	i->fn = op_nop;
	return true;
}

/* #BR when the signed index is outside of the two bounds in memory. */
static void bound(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize;
	u64 off = insn_ea(c, i);
	u64 low = mem_ld(c, lin_of(c, i, off, size * 2, false), size);
	u64 high = mem_ld(c, lin_of(c, i, (off + size) & ones(i->asize), size, false), size);
	s64 v = sext(c->gpr[i->r1], size);

	if (v < sext(low, size) || v > sext(high, size))
		cpu_raise(c, EXC_BR);
}

bool bind_bound(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	i->fn = bound;
	return !(d->hf & HF_CS64) && op_is_mem(d, 1);
}

/* --- software interrupts --- */

static void int_n(struct cpu *c, const struct insn *i)
{
	cpu_raise_soft(c, (u8)i->imm, EV_INT_N);
}

static void int3(struct cpu *c, const struct insn *i)
{
	cpu_raise_soft(c, EXC_BP, EV_INT_3);
}

static void int1(struct cpu *c, const struct insn *i)
{
	cpu_raise_soft(c, EXC_DB, EV_INT_1);
}

static void into(struct cpu *c, const struct insn *i)
{
	if (cpu_arith_flags(c) & FL_OF)
		cpu_raise_soft(c, EXC_OF, EV_INT_3);
}

bool bind_int(const struct dec *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_INT: i->fn = int_n; break;
	case ZYDIS_MNEMONIC_INT3: i->fn = int3; break;
	case ZYDIS_MNEMONIC_INT1: i->fn = int1; break;
	default: i->fn = into; break;
	}
	return true;
}

/* Advertised only where the host has them. */
static bool host_random(u64 *v, bool seed)
{
	bool ok;

	if (seed)
		__asm__ volatile("rdseed %0" : "=r"(*v), "=@ccc"(ok));
	else
		__asm__ volatile("rdrand %0" : "=r"(*v), "=@ccc"(ok));
	return ok;
}

static void rdrand(struct cpu *c, const struct insn *i)
{
	u64 v = 0;
	bool ok = host_random(&v, i->aux);

	reg_write(c, i->r1, i->osize, ok ? v : 0);
	cpu_set_arith(c, ok ? FL_CF : 0);
}

bool bind_rdrand(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	i->aux = d->zi.mnemonic == ZYDIS_MNEMONIC_RDSEED;
	i->fn = rdrand;
	return true;
}
