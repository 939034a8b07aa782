/*
 * Binding of vector instructions: the table mnemonic -> handlers from the lists, the operands' registers,
 * and the conditions on CR0, CR4 and XCR0 (SDM vol. 2, 2.4 and 2.5; vol. 3, table 2-2). All of them are
 * mode bits of the block, so they cost nothing at run time.
 */
#include "accel/soft/interp/vec.h"
#include "accel/soft/interp/vec_proto.h"

#define LEGACY(mn, f0, f1) [ZYDIS_MNEMONIC_##mn] = {{f0, f1}, {NULL, NULL}},
#define VEX(mn, f0, f1) [ZYDIS_MNEMONIC_V##mn] = {{f0, f1}, {NULL, NULL}},
#define L_MS(mn) LEGACY(mn, mmx_##mn, sse_##mn)
#define L_S(mn) LEGACY(mn, NULL, sse_##mn)
#define V_VY(mn) VEX(mn, v128_##mn, v256_##mn)
#define V_V(mn) VEX(mn, v128_##mn, NULL)
#define V_SCALAR(mn) VEX(mn, v128_##mn, v128_##mn) /* VEX.L is ignored */
#define V_Y(mn) VEX(mn, NULL, v256_##mn)

const struct vec_def vec_defs[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define MS3(mn, op) L_MS(mn) V_VY(mn)
#define MS3N(mn, op, n) L_MS(mn) V_VY(mn)
#define S3(mn, op) L_S(mn) V_VY(mn)
#define S3X(mn, op) L_S(mn) V_V(mn)
#define S3L(mn, op) L_S(mn)
#define MS2(mn, op) L_MS(mn) V_VY(mn)
#define S2(mn, op, n, n256) L_S(mn) V_VY(mn)
#define S2X(mn, op, n) L_S(mn) V_V(mn)
#define S2W(mn, op, n, n256) L_S(mn) V_VY(mn)
#define SHIFT(mn, op) L_MS(mn) V_VY(mn)
#define SI2(mn, op, k) L_S(mn) V_VY(mn)
#define SI2X(mn, op, k) L_S(mn) V_V(mn)
#define SI3(mn, op, k) L_S(mn) V_VY(mn)
#define MSI3(mn, op, k) L_MS(mn) V_VY(mn)
#define SI3X(mn, op, k) L_S(mn) V_V(mn)
#define SI3V(mn, op, k) V_VY(mn)
#define F3(mn, op) L_S(mn) V_VY(mn)
#define F3S(mn, op, n) L_S(mn) V_SCALAR(mn)
#define F2(mn, op) L_S(mn) V_VY(mn)
#define F2W(mn, op, n, n256) L_S(mn) V_VY(mn)
#define F2N(mn, op) L_S(mn) V_VY(mn)
#define FI2(mn, op, k, kv) L_S(mn) V_VY(mn)
#define FI3(mn, op, k, kv) L_S(mn) V_VY(mn)
#define FDP(mn, op, k, mul, n) L_S(mn) V_VY(mn)
#define FDPX(mn, op, k, mul, n) L_S(mn) V_V(mn)
#define FI3S(mn, op, k, kv, n) L_S(mn) V_SCALAR(mn)
#define FMA3(mn, op) V_VY(mn)
#define FMA3S(mn, op, n) V_SCALAR(mn)
#define V3(mn, op) V_VY(mn)
#define VI2Y(mn, op, k) V_Y(mn)
#define VI3Y(mn, op, k) V_Y(mn)
#include "accel/soft/interp/vec_list.h"
#define ROW(mn, fn0, fn1, st0, st1) [ZYDIS_MNEMONIC_##mn] = {{fn0, fn1}, {st0, st1}},
#define ROW_SHARED ROW
#include "accel/soft/interp/vec_rows.h"
};

/* What the operands of an instruction are. */
struct shape {
	bool mmx, sse, store, gather;
};

static void add_reg(struct insn *i, unsigned n, u8 r)
{
	u8 *const slot[] = {&i->r1, &i->r2, &i->r3, &i->aux};

	if (n < ARRAY_SIZE(slot))
		*slot[n] = r;
}

/* A general register: its size, and for MOVD and MOVQ its place. */
static void add_gpr(struct insn *i, const ZydisDecodedOperand *o, unsigned place)
{
	i->aux2 = (u8)(o->size / 8);
	i->aux |= place == 0 ? 1 : 2;
}

static void operands(const struct dec *d, struct insn *i, struct shape *s)
{
	unsigned n = 0;

	for (unsigned k = 0; k < d->zi.operand_count_visible; k++) {
		const ZydisDecodedOperand *o = &d->op[k];
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			ZydisRegisterClass cls = ZydisRegisterGetClass(o->reg.value);
			if (cls == ZYDIS_REGCLASS_MMX)
				s->mmx = true;
			else if (cls == ZYDIS_REGCLASS_XMM || cls == ZYDIS_REGCLASS_YMM)
				s->sse = true;
			else
				add_gpr(i, o, k);
			add_reg(i, n++, reg_num(o->reg.value));
		} else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
				s->store = true;
			if (k == 2)
				n++; /* keeps the place of a fourth operand */
			if (!i->aux2)
				i->aux2 = (u8)(o->size / 8);
			if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
				s->gather = true;
				i->r3 = (u8)ZydisRegisterGetId(o->mem.index);
			}
		} else if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && n < 4) {
			i->aux |= 4;
		}
	}
}

/* PCMPESTRx takes its lengths from 64-bit registers with REX.W or VEX.W. */
static void string_lengths(const struct dec *d, struct insn *i)
{
	for (unsigned k = 0; k < d->zi.operand_count; k++)
		if (d->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER && d->op[k].reg.value == ZYDIS_REGISTER_RAX)
			i->aux2 = 8;
}

static bool allowed(const struct dec *d, const struct shape *s, bool vex)
{
	if (vex)
		return (d->hf & HF_AVX) && (d->hf & HF_PE) && !(d->hf & HF_VM86);
	if (d->hf & HF_EM)
		return false;
	return (s->mmx && !s->sse) || (d->hf & HF_OSFXSR);
}

bool vec_bind(const struct dec *d, struct insn *i)
{
	const struct vec_def *def = &vec_defs[d->zi.mnemonic];
	bool vex = d->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	struct shape s = {0};
	unsigned form;

	if (!vex && d->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return false;
	operands(d, i, &s);
	string_lengths(d, i);
	form = vex ? d->zi.avx.vector_length == 256 : !s.mmx;
	i->fn = s.store ? def->store[form] : def->fn[form];
	if (!i->fn || i->fn == op_ud)
		return false;
	if (s.gather && (i->r1 == i->r2 || i->r1 == i->r3 || i->r2 == i->r3))
		return false;
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_MOVNTI)
		return true; /* uses no vector state */
	if (!allowed(d, &s, vex))
		return false;
	if (d->hf & HF_TS)
		i->fn = op_nm;
	return true;
}
