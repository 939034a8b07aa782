/*
 * Bit strings in memory, and REP STOS and REP MOVS upwards inside one page, which is how kernels and C
 * libraries fill and copy. Everything else about strings is interp's.
 */
#include "accel/soft/jit/tr.h"

#define EFLAGS offsetof(struct cpu, eflags)

static bool is_bit_string(const struct ti *i)
{
	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return i->i.osize >= 4 && i->d.op[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		       i->d.op[1].type == ZYDIS_OPERAND_TYPE_REGISTER && tr_ea_ok(i);
	default: return false;
	}
}

static bool is_rep(const struct ti *i)
{
	bool string = i->d.zi.mnemonic >= ZYDIS_MNEMONIC_STOSB && i->d.zi.mnemonic <= ZYDIS_MNEMONIC_STOSW;

	string |= i->d.zi.mnemonic == ZYDIS_MNEMONIC_MOVSB || i->d.zi.mnemonic == ZYDIS_MNEMONIC_MOVSW ||
	          i->d.zi.mnemonic == ZYDIS_MNEMONIC_MOVSQ ||
	          (i->d.zi.mnemonic == ZYDIS_MNEMONIC_MOVSD && i->d.zi.opcode == 0xa5 &&
	                  i->d.zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT);
	return string && (i->i.flags & (INSN_REP | INSN_REPNE)) && i->i.asize == 8 &&
	       i->i.seg_mode == SEGM_FLAT;
}

bool tr_string_ok(const struct ti *i)
{
	return is_bit_string(i) || is_rep(i);
}

unsigned tr_string_effects(const struct ti *i)
{
	return is_rep(i) ? FX_CLOBBER : FX_CLOBBER | FX_READS | FX_WRITES;
}

/* The register is a signed bit number: its high part moves the operand, its low part is the bit. */
static void do_bit_string(struct tr *t)
{
	const struct ti *i = tr_insn(t);
	const ZydisDecodedInstruction *zi = &i->d.zi;
	unsigned g = tr_gpr_of(i->d.op[1].reg.value), wide = i->i.osize == 8;
	struct as *a = &t->a;

	tr_linear(t);
	tr_flags_clobber(t);
	tr_load_gpr(t, S2, g);
	if (!wide)
		as_rr(a, 1, 0x63, S2, S2); /* MOVSXD */
	as_rr(a, 1, 0xc1, 7, S2);          /* SAR */
	as_8(a, wide ? 6 : 5);
	as_lea(a, S1, (struct as_mem){.base = S1, .index = S2, .scale = wide ? 3 : 2});
	tr_check(t, i->i.osize, zi->mnemonic != ZYDIS_MNEMONIC_BT);
	tr_load_gpr(t, S2, g);
	as_alu_imm(a, 0, AS_AND, S2, wide ? 63 : 31);
	tr_flags_host(t); /* all but CF stay */
	if (i->i.flags & INSN_LOCK)
		as_8(a, 0xf0);
	as_8(a, (u8)(0x45 | wide << 3)); /* REX: S2 and S1 are both above R8 */
	as_8(a, 0x0f);
	as_8(a, zi->opcode);
	as_modrm_mem(a, S2, as_at(S1, 0));
	tr_flags_written(t);
}

/* S1 = address in reg -> host address if count elements are in its page, else out to interp. */
static void check_run(struct tr *t, unsigned reg, unsigned lg, bool write, struct site *s)
{
	struct as *a = &t->a;

	as_mov(a, S1, reg);
	tr_tag(t, write);
	as_st(a, as_gs(CPU_JIT(tmp)), S1);
	as_alu_imm(a, 1, 7, S1, PAGE_SIZE); /* before the sum, which could wrap */
	tr_callout_when(t, CC_A, s);
	as_lea(a, S1, (struct as_mem){.base = S1, .index = RCX, .scale = (u8)lg});
	as_alu_imm(a, 1, 7, S1, PAGE_SIZE);
	tr_callout_when(t, CC_A, s);
	as_ld(a, S1, as_gs(CPU_JIT(tmp)));
	as_rm(a, 1, 0x03, S1, as_gs_index(CPU_TLB(t->idx, host), S2, 3)); /* ADD */
}

static void do_rep(struct tr *t)
{
	const struct ti *i = tr_insn(t);
	unsigned lg = (unsigned)__builtin_ctz(i->d.zi.opcode & 1 ? i->i.osize : 1);
	bool movs = (i->d.zi.opcode & 0xfe) == 0xa4;
	struct site *s = tr_callout_site(t);
	struct as *a = &t->a;

	tr_flags_clobber(t);
	as_8(a, 0x65); /* TEST dword gs:[eflags], DF */
	as_8(a, 0xf7);
	as_modrm_mem(a, 0, as_gs(EFLAGS));
	as_32(a, FL_DF);
	tr_callout_when(t, CC_NE, s);
	as_alu_imm(a, 1, 7, RCX, (s32)(PAGE_SIZE >> lg)); /* CMP */
	tr_callout_when(t, CC_A, s);
	if (movs) {
		check_run(t, RSI, lg, false, s);
		as_st(a, as_gs(CPU_JIT(tmp2)), S1);
	}
	check_run(t, RDI, lg, true, s);
	/* Nothing can go wrong any more. S2 keeps what has to come back. */
	as_st(a, as_gs(CPU_JIT(tmp)), RDI);
	as_mov(a, RDI, S1);
	if (movs) {
		as_mov(a, S2, RSI);
		as_ld(a, RSI, as_gs(CPU_JIT(tmp2)));
	} else {
		as_mov(a, S2, RAX);
		as_mov(a, RAX, HOST_RAX);
	}
	if (i->d.zi.opcode & 1 && i->i.osize == 2)
		as_8(a, 0x66);
	as_8(a, 0xf3);
	if (i->d.zi.opcode & 1 && i->i.osize == 8)
		as_8(a, 0x48);
	as_8(a, i->d.zi.opcode);
	as_rr(a, 1, 0x2b, RDI, S1); /* SUB: bytes done */
	if (movs)
		as_lea(a, RSI, (struct as_mem){.base = S2, .index = RDI});
	else
		as_mov(a, RAX, S2);
	as_rm(a, 1, 0x03, RDI, as_gs(CPU_JIT(tmp))); /* ADD */
}

void tr_string(struct tr *t)
{
	if (is_rep(tr_insn(t)))
		do_rep(t);
	else
		do_bit_string(t);
}
