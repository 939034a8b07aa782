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

static const struct x87_def defs[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define X87(mn, reg, mem, gate, aux, flags) [ZYDIS_MNEMONIC_##mn] = {reg, mem, gate, aux, flags},
#include "accel/soft/interp/x87_list.h"
#undef X87
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
		i->imm =
		        esc << 8 | (d->zi.raw.modrm.mod << 6 | d->zi.raw.modrm.reg << 3 | d->zi.raw.modrm.rm);
		if (i->flags & INSN_MEM)
			i->aux2 = mem_kind(esc, d->zi.raw.modrm.reg);
		registers(d, i, esc);
	}
	return gate(d, i, def->gate);
}
