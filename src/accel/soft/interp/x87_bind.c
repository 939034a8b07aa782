/*
 * Binding of x87, FXSAVE and XSAVE instructions, with the conditions on CR0 and CR4 (SDM vol. 3, 2.5).
 */
#include "accel/soft/interp/x87.h"

/* When an instruction may execute. */
enum x87_gate {
	GATE_FPU,   /* EM or TS: #NM */
	GATE_WAIT,  /* MP and TS: #NM */
	GATE_EMMS,  /* EM: #UD, TS: #NM */
	GATE_XSAVE, /* no CR4.OSXSAVE: #UD, TS: #NM */
};

struct x87_def {
	insn_fn *reg, *mem;
	u8 gate;
	u8 aux, flags;
};

#define D(mn, ...) [ZYDIS_MNEMONIC_##mn] = {__VA_ARGS__}
#define ARITH(mn, op, fl) D(mn, x87_arith, x87_arith, GATE_FPU, op, fl)

static const struct x87_def defs[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	ARITH(FADD, ARITH_ADD, 0),
	ARITH(FADDP, ARITH_ADD, X87_POP),
	ARITH(FIADD, ARITH_ADD, 0),
	ARITH(FMUL, ARITH_MUL, 0),
	ARITH(FMULP, ARITH_MUL, X87_POP),
	ARITH(FIMUL, ARITH_MUL, 0),
	ARITH(FSUB, ARITH_SUB, 0),
	ARITH(FSUBP, ARITH_SUB, X87_POP),
	ARITH(FISUB, ARITH_SUB, 0),
	ARITH(FSUBR, ARITH_SUBR, 0),
	ARITH(FSUBRP, ARITH_SUBR, X87_POP),
	ARITH(FISUBR, ARITH_SUBR, 0),
	ARITH(FDIV, ARITH_DIV, 0),
	ARITH(FDIVP, ARITH_DIV, X87_POP),
	ARITH(FIDIV, ARITH_DIV, 0),
	ARITH(FDIVR, ARITH_DIVR, 0),
	ARITH(FDIVRP, ARITH_DIVR, X87_POP),
	ARITH(FIDIVR, ARITH_DIVR, 0),

	D(FCOM, x87_compare, x87_compare, GATE_FPU, 0, 0),
	D(FCOMP, x87_compare, x87_compare, GATE_FPU, 0, X87_POP),
	D(FCOMPP, x87_compare, NULL, GATE_FPU, 0, X87_POP2),
	D(FICOM, NULL, x87_compare, GATE_FPU, 0, 0),
	D(FICOMP, NULL, x87_compare, GATE_FPU, 0, X87_POP),
	D(FUCOM, x87_compare, NULL, GATE_FPU, 0, X87_UNORDERED),
	D(FUCOMP, x87_compare, NULL, GATE_FPU, 0, X87_UNORDERED | X87_POP),
	D(FUCOMPP, x87_compare, NULL, GATE_FPU, 0, X87_UNORDERED | X87_POP2),
	D(FCOMI, x87_compare_flags, NULL, GATE_FPU, 0, 0),
	D(FCOMIP, x87_compare_flags, NULL, GATE_FPU, 0, X87_POP),
	D(FUCOMI, x87_compare_flags, NULL, GATE_FPU, 0, X87_UNORDERED),
	D(FUCOMIP, x87_compare_flags, NULL, GATE_FPU, 0, X87_UNORDERED | X87_POP),
	D(FTST, x87_FTST, NULL, GATE_FPU, 0, 0),
	D(FXAM, x87_FXAM, NULL, GATE_FPU, 0, 0),

	D(FLD, x87_fld_reg, x87_fld_mem, GATE_FPU, 0, 0),
	D(FILD, NULL, x87_fld_mem, GATE_FPU, 0, 0),
	D(FBLD, NULL, x87_fld_mem, GATE_FPU, 0, 0),
	D(FST, x87_fst_reg, x87_fst_mem, GATE_FPU, 0, 0),
	D(FSTP, x87_fst_reg, x87_fst_mem, GATE_FPU, 0, X87_POP),
	D(FSTPNCE, x87_FSTPNCE, NULL, GATE_FPU, 0, X87_POP),
	D(FIST, NULL, x87_fst_mem, GATE_FPU, 0, 0),
	D(FISTP, NULL, x87_fst_mem, GATE_FPU, 0, X87_POP),
	D(FISTTP, NULL, x87_fst_mem, GATE_FPU, 0, X87_POP | X87_TRUNC),
	D(FBSTP, NULL, x87_fst_mem, GATE_FPU, 0, X87_POP),
	D(FXCH, x87_fxch, NULL, GATE_FPU, 0, 0),
	D(FFREE, x87_ffree, NULL, GATE_FPU, 0, 0),
	D(FFREEP, x87_ffree, NULL, GATE_FPU, 0, X87_POP),
	D(FCMOVB, x87_fcmov, NULL, GATE_FPU, 0x2, 0),
	D(FCMOVNB, x87_fcmov, NULL, GATE_FPU, 0x3, 0),
	D(FCMOVE, x87_fcmov, NULL, GATE_FPU, 0x4, 0),
	D(FCMOVNE, x87_fcmov, NULL, GATE_FPU, 0x5, 0),
	D(FCMOVBE, x87_fcmov, NULL, GATE_FPU, 0x6, 0),
	D(FCMOVNBE, x87_fcmov, NULL, GATE_FPU, 0x7, 0),
	D(FCMOVU, x87_fcmov, NULL, GATE_FPU, 0xa, 0),
	D(FCMOVNU, x87_fcmov, NULL, GATE_FPU, 0xb, 0),
	D(FINCSTP, x87_FINCSTP, NULL, GATE_FPU, 0, 0),
	D(FDECSTP, x87_FDECSTP, NULL, GATE_FPU, 0, 0),
	D(FNOP, x87_FNOP, NULL, GATE_FPU, 0, 0),
	D(FCHS, x87_fchs_fabs, NULL, GATE_FPU, 0, 0),
	D(FABS, x87_fchs_fabs, NULL, GATE_FPU, 1, 0),

	D(FLD1, x87_const, NULL, GATE_FPU, CONST_1, 0),
	D(FLDL2T, x87_const, NULL, GATE_FPU, CONST_L2T, 0),
	D(FLDL2E, x87_const, NULL, GATE_FPU, CONST_L2E, 0),
	D(FLDPI, x87_const, NULL, GATE_FPU, CONST_PI, 0),
	D(FLDLG2, x87_const, NULL, GATE_FPU, CONST_LG2, 0),
	D(FLDLN2, x87_const, NULL, GATE_FPU, CONST_LN2, 0),
	D(FLDZ, x87_const, NULL, GATE_FPU, CONST_Z, 0),

	D(FSQRT, x87_unary, NULL, GATE_FPU, UN_SQRT, 0),
	D(FRNDINT, x87_unary, NULL, GATE_FPU, UN_RNDINT, 0),
	D(F2XM1, x87_unary, NULL, GATE_FPU, UN_2XM1, 0),
	D(FSIN, x87_unary, NULL, GATE_FPU, UN_SIN, 0),
	D(FCOS, x87_unary, NULL, GATE_FPU, UN_COS, 0),
	D(FSCALE, x87_binary, NULL, GATE_FPU, BIN_SCALE, 0),
	D(FPREM, x87_binary, NULL, GATE_FPU, BIN_PREM, 0),
	D(FPREM1, x87_binary, NULL, GATE_FPU, BIN_PREM1, 0),
	D(FYL2X, x87_binary, NULL, GATE_FPU, BIN_YL2X, 0),
	D(FYL2XP1, x87_binary, NULL, GATE_FPU, BIN_YL2XP1, 0),
	D(FPATAN, x87_binary, NULL, GATE_FPU, BIN_PATAN, 0),
	D(FSINCOS, x87_two, NULL, GATE_FPU, TWO_SINCOS, 0),
	D(FPTAN, x87_two, NULL, GATE_FPU, TWO_PTAN, 0),
	D(FXTRACT, x87_two, NULL, GATE_FPU, TWO_XTRACT, 0),

	D(FNINIT, x87_FNINIT, NULL, GATE_FPU, 0, 0),
	D(FNCLEX, x87_FNCLEX, NULL, GATE_FPU, 0, 0),
	D(FNSTCW, NULL, x87_FNSTCW, GATE_FPU, 0, 0),
	D(FLDCW, NULL, x87_FLDCW, GATE_FPU, 0, 0),
	D(FNSTSW, x87_FNSTSW, x87_FNSTSW, GATE_FPU, 0, 0),
	D(FNSTENV, NULL, x87_FNSTENV, GATE_FPU, 0, 0),
	D(FLDENV, NULL, x87_FLDENV, GATE_FPU, 0, 0),
	D(FNSAVE, NULL, x87_FNSAVE, GATE_FPU, 0, 0),
	D(FRSTOR, NULL, x87_FRSTOR, GATE_FPU, 0, 0),
	D(FWAIT, x87_FWAIT, NULL, GATE_WAIT, 0, 0),
	D(EMMS, x87_EMMS, NULL, GATE_EMMS, 0, 0),
	/* 8087 and 287 leftovers that later units ignore */
	D(FENI8087_NOP, op_nop, NULL, GATE_FPU, 0, 0),
	D(FDISI8087_NOP, op_nop, NULL, GATE_FPU, 0, 0),
	D(FSETPM287_NOP, op_nop, NULL, GATE_FPU, 0, 0),

	D(FXSAVE, NULL, x87_FXSAVE, GATE_FPU, 0, 0),
	D(FXSAVE64, NULL, x87_FXSAVE, GATE_FPU, 0, X87_WIDE),
	D(FXRSTOR, NULL, x87_FXRSTOR, GATE_FPU, 0, 0),
	D(FXRSTOR64, NULL, x87_FXRSTOR, GATE_FPU, 0, X87_WIDE),
	D(XSAVE, NULL, x87_XSAVE, GATE_XSAVE, 0, 0),
	D(XSAVE64, NULL, x87_XSAVE, GATE_XSAVE, 0, X87_WIDE),
	D(XSAVEOPT, NULL, x87_XSAVEOPT, GATE_XSAVE, 0, 0),
	D(XSAVEOPT64, NULL, x87_XSAVEOPT, GATE_XSAVE, 0, X87_WIDE),
	D(XSAVEC, NULL, x87_XSAVEC, GATE_XSAVE, 0, 0),
	D(XSAVEC64, NULL, x87_XSAVEC, GATE_XSAVE, 0, X87_WIDE),
	D(XRSTOR, NULL, x87_XRSTOR, GATE_XSAVE, 0, 0),
	D(XRSTOR64, NULL, x87_XRSTOR, GATE_XSAVE, 0, X87_WIDE),
};

/*
 * What a memory operand is, from the escape opcode's low three bits and ModRM.reg: rows D8 to DF (SDM vol.
 * 2, tables ).
 */
static u8 mem_kind(unsigned esc, unsigned reg)
{
	static const u8 kind[8] = {SRC_F32, SRC_F32, SRC_I32, SRC_I32, SRC_F64, SRC_F64, SRC_I16, SRC_I16};

	if (esc == 3 && (reg == 5 || reg == 7))
		return SRC_F80;
	if (esc == 5 && reg == 1)
		return SRC_I64; /* FISTTP m64 */
	if (esc == 7 && (reg == 4 || reg == 6))
		return SRC_BCD;
	if (esc == 7 && (reg == 5 || reg == 7))
		return SRC_I64;
	return kind[esc];
}

/* Registers from the encoding. D8-DB operate on ST(0); DC-DF on ST(i), with ST(0) as the source. */
static void registers(const struct dec *d, struct insn *i, unsigned esc)
{
	unsigned rm = d->zi.raw.modrm.rm;

	i->r1 = 0;
	i->r2 = (u8)rm;
	if (i->fn == x87_arith && esc >= 4 && !(i->flags & INSN_MEM)) {
		i->r1 = (u8)rm;
		i->r2 = 0;
	}
	if (i->fn == x87_fst_reg || i->fn == x87_FSTPNCE || i->fn == x87_fxch || i->fn == x87_ffree)
		i->r1 = (u8)rm;
}

static bool gate(const struct dec *d, struct insn *i, enum x87_gate g)
{
	u32 hf = d->hf;
	bool nm = hf & HF_TS;

	switch (g) {
	case GATE_FPU: nm |= (hf & HF_EM) != 0; break;
	case GATE_WAIT: nm &= (hf & HF_MP) != 0; break;
	case GATE_EMMS:
		if (hf & HF_EM)
			return false;
		break;
	case GATE_XSAVE:
		if (!(hf & HF_OSXSAVE))
			return false;
		break;
	}
	if (nm)
		i->fn = op_nm;
	return true;
}

bool x87_bind(const struct dec *d, struct insn *i)
{
	const struct x87_def *def = &defs[d->zi.mnemonic];
	unsigned esc = d->zi.opcode & 7;
	bool escape = d->zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (d->zi.opcode & 0xf8) == 0xd8;

	i->fn = i->flags & INSN_MEM ? def->mem : def->reg;
	if (!i->fn)
		return false;
	i->aux = def->aux;
	i->r3 = def->flags;
	if (escape) {
		i->imm = esc << 8 | (d->zi.raw.modrm.mod << 6 | d->zi.raw.modrm.reg << 3 | d->zi.raw.modrm.rm);
		if (i->flags & INSN_MEM)
			i->aux2 = mem_kind(esc, d->zi.raw.modrm.reg);
		registers(d, i, esc);
	}
	return gate(d, i, def->gate);
}
