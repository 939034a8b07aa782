/*
 * Binders of system instructions. Register operands go to r1, r2 in the order in which they are written.
 */
#include "accel/soft/interp/sys.h"

bind_fn bind_sys;

static insn_fn *const handlers[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define SYS(mnemonic, handler) [ZYDIS_MNEMONIC_##mnemonic] = handler,
#include "accel/soft/interp/sys_list.h"
#undef SYS
};

static bool is_gpr(ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return true;
	default: return false;
	}
}

static void fill_regs(const struct dec *d, struct insn *i)
{
	u8 *slot[] = {&i->r1, &i->r2};

	for (unsigned n = 0; n < d->zi.operand_count_visible && n < ARRAY_SIZE(slot); n++)
		if (d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER && is_gpr(d->op[n].reg.value))
			*slot[n] = reg_num(d->op[n].reg.value);
}

static u8 loaded_seg(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_LDS: return SEG_DS;
	case ZYDIS_MNEMONIC_LES: return SEG_ES;
	case ZYDIS_MNEMONIC_LFS: return SEG_FS;
	case ZYDIS_MNEMONIC_LGS: return SEG_GS;
	default: return SEG_SS;
	}
}

/* IN, OUT, INS, OUTS: width of the data, and whether the port is an immediate. */
static void fill_io(const struct dec *d, struct insn *i)
{
	bool out = d->zi.mnemonic == ZYDIS_MNEMONIC_OUT;
	unsigned data = out ? 1 : 0;

	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_OUTSB: i->osize = 1; break;
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_OUTSW: i->osize = 2; break;
	case ZYDIS_MNEMONIC_INSD:
	case ZYDIS_MNEMONIC_OUTSD: i->osize = 4; break;
	default:
		i->osize = (u8)(d->op[data].size / 8);
		i->aux = d->op[!data].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
		break;
	}
}

bool bind_sys(const struct dec *d, struct insn *i)
{
	i->fn = handlers[d->zi.mnemonic];
	fill_regs(d, i);
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LSS: i->aux = loaded_seg(d->zi.mnemonic); return i->flags & INSN_MEM;
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT:
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD: fill_io(d, i); break;
	case ZYDIS_MNEMONIC_IRET: i->osize = 2; break;
	case ZYDIS_MNEMONIC_IRETD: i->osize = 4; break;
	case ZYDIS_MNEMONIC_IRETQ: i->osize = 8; break;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_POPF: i->osize = 2; break;
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_POPFD: i->osize = 4; break;
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_POPFQ: i->osize = 8; break;
	/* Without 66 or REX.W the size of these in 64-bit mode is what the mode says. */
	case ZYDIS_MNEMONIC_LGDT:
	case ZYDIS_MNEMONIC_LIDT:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
		if (d->hf & HF_CS64)
			i->osize = 8;
		return i->flags & INSN_MEM;
	/* Legal inside SYSEXIT and SYSRET: REX.W. */
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSEXIT:
		i->osize = (d->zi.attributes & ZYDIS_ATTRIB_HAS_REX) && d->zi.raw.rex.W ? 8 : 4;
		break;
	default: break;
	}
	return true;
}

/* --- system forms of common mnemonics --- */

static ZydisRegisterClass op_class(const struct dec *d, unsigned n)
{
	if (n >= d->zi.operand_count || d->op[n].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return ZYDIS_REGCLASS_INVALID;
	return ZydisRegisterGetClass(d->op[n].reg.value);
}

/* Register file of operand n: number to aux, the other operand's register to r1. */
static void take_special(const struct dec *d, struct insn *i, unsigned n)
{
	const ZydisDecodedOperand *other = &d->op[!n];

	i->aux = (u8)ZydisRegisterGetId(d->op[n].reg.value);
	if (other->type == ZYDIS_OPERAND_TYPE_REGISTER)
		i->r1 = reg_num(other->reg.value);
	if (other->type == ZYDIS_OPERAND_TYPE_REGISTER && other->size)
		i->osize = (u8)(other->size / 8);
}

static bool bind_mov_cr(const struct dec *d, struct insn *i)
{
	bool to = op_class(d, 0) == ZYDIS_REGCLASS_CONTROL;

	take_special(d, i, to ? 0 : 1);
	i->fn = to ? op_mov_to_cr : op_mov_from_cr;
	i->osize = d->hf & HF_CS64 ? 8 : 4;
	return !(i->flags & INSN_LOCK) && (i->aux == 0 || (i->aux >= 2 && i->aux <= 4) || i->aux == 8);
}

static bool bind_mov_dr(const struct dec *d, struct insn *i)
{
	bool to = op_class(d, 0) == ZYDIS_REGCLASS_DEBUG;

	take_special(d, i, to ? 0 : 1);
	i->fn = to ? op_mov_to_dr : op_mov_from_dr;
	i->osize = d->hf & HF_CS64 ? 8 : 4;
	return i->aux < 8;
}

static bool bind_mov_seg(const struct dec *d, struct insn *i)
{
	bool to = op_class(d, 0) == ZYDIS_REGCLASS_SEGMENT;

	take_special(d, i, to ? 0 : 1);
	i->fn = to ? op_mov_to_seg : op_mov_from_seg;
	return !to || i->aux != SEG_CS;
}

static bool bind_push_seg(const struct dec *d, struct insn *i)
{
	i->aux = (u8)ZydisRegisterGetId(d->op[0].reg.value);
	i->fn = op_push_seg;
	return true;
}

static bool bind_pop_seg(const struct dec *d, struct insn *i)
{
	i->aux = (u8)ZydisRegisterGetId(d->op[0].reg.value);
	i->fn = op_pop_seg;
	return true;
}

static bool bind_far(const struct dec *d, struct insn *i)
{
	if (d->op[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		i->imm = d->op[0].ptr.offset;
		i->disp = d->op[0].ptr.segment;
	} else if (!(i->flags & INSN_MEM)) {
		return false;
	}
	i->fn = d->zi.mnemonic == ZYDIS_MNEMONIC_CALL ? op_call_far : op_jmp_far;
	return true;
}

static bool bind_ret_far(const struct dec *d, struct insn *i)
{
	i->imm = d->zi.raw.imm[0].size ? d->zi.raw.imm[0].value.u & 0xffff : 0;
	i->fn = op_ret_far;
	return true;
}

bind_fn *sys_form(const struct dec *d)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		if (op_class(d, 0) == ZYDIS_REGCLASS_CONTROL || op_class(d, 1) == ZYDIS_REGCLASS_CONTROL)
			return bind_mov_cr;
		if (op_class(d, 0) == ZYDIS_REGCLASS_DEBUG || op_class(d, 1) == ZYDIS_REGCLASS_DEBUG)
			return bind_mov_dr;
		if (op_class(d, 0) == ZYDIS_REGCLASS_SEGMENT || op_class(d, 1) == ZYDIS_REGCLASS_SEGMENT)
			return bind_mov_seg;
		return NULL;
	case ZYDIS_MNEMONIC_PUSH: return op_class(d, 0) == ZYDIS_REGCLASS_SEGMENT ? bind_push_seg : NULL;
	case ZYDIS_MNEMONIC_POP: return op_class(d, 0) == ZYDIS_REGCLASS_SEGMENT ? bind_pop_seg : NULL;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL: return d->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? bind_far : NULL;
	case ZYDIS_MNEMONIC_RET: return d->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? bind_ret_far : NULL;
	default: return NULL;
	}
}
