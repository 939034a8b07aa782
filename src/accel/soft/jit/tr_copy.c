/*
 * Instructions that the host executes itself: the encoding is taken apart and put together again with
 * the host's registers in the place of the guest's, and [S1] as the memory operand.
 *
 * Registers that live in struct cpu are loaded into scratch registers before and stored after. The high
 * byte registers AH..BH cannot be named beside REX: the register is rotated by 8 (RORX leaves the flags
 * alone), its low byte is used, and it is rotated back.
 */
#include "accel/soft/jit/tr.h"

/* Integer instructions without hidden operands in RAX, and with no effects but on operands and flags. */
static bool base_ok(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
	case ZYDIS_MNEMONIC_BSWAP:
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTC:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_CMOVB:
	case ZYDIS_MNEMONIC_CMOVBE:
	case ZYDIS_MNEMONIC_CMOVL:
	case ZYDIS_MNEMONIC_CMOVLE:
	case ZYDIS_MNEMONIC_CMOVNB:
	case ZYDIS_MNEMONIC_CMOVNBE:
	case ZYDIS_MNEMONIC_CMOVNL:
	case ZYDIS_MNEMONIC_CMOVNLE:
	case ZYDIS_MNEMONIC_CMOVNO:
	case ZYDIS_MNEMONIC_CMOVNP:
	case ZYDIS_MNEMONIC_CMOVNS:
	case ZYDIS_MNEMONIC_CMOVNZ:
	case ZYDIS_MNEMONIC_CMOVO:
	case ZYDIS_MNEMONIC_CMOVP:
	case ZYDIS_MNEMONIC_CMOVS:
	case ZYDIS_MNEMONIC_CMOVZ:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_SETB:
	case ZYDIS_MNEMONIC_SETBE:
	case ZYDIS_MNEMONIC_SETL:
	case ZYDIS_MNEMONIC_SETLE:
	case ZYDIS_MNEMONIC_SETNB:
	case ZYDIS_MNEMONIC_SETNBE:
	case ZYDIS_MNEMONIC_SETNL:
	case ZYDIS_MNEMONIC_SETNLE:
	case ZYDIS_MNEMONIC_SETNO:
	case ZYDIS_MNEMONIC_SETNP:
	case ZYDIS_MNEMONIC_SETNS:
	case ZYDIS_MNEMONIC_SETNZ:
	case ZYDIS_MNEMONIC_SETO:
	case ZYDIS_MNEMONIC_SETP:
	case ZYDIS_MNEMONIC_SETS:
	case ZYDIS_MNEMONIC_SETZ:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SHRD:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_XADD:
	case ZYDIS_MNEMONIC_XCHG:
	case ZYDIS_MNEMONIC_XOR: return true;
	default: return false;
	}
}

/* Extensions whose instructions are copied, with exceptions by mnemonic. */
static bool extension_ok(const ZydisDecodedInstruction *zi)
{
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_FLDENV: /* pointers, which the host has of its own */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_LDMXCSR: /* changes what may fault: interp looks at the value */
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ: return false;
	default: break;
	}
	switch (zi->meta.isa_ext) {
	case ZYDIS_ISA_EXT_BASE:
	case ZYDIS_ISA_EXT_LONGMODE: return base_ok(zi->mnemonic);
	case ZYDIS_ISA_EXT_ADOX_ADCX:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVXAES:
	case ZYDIS_ISA_EXT_BMI1:
	case ZYDIS_ISA_EXT_BMI2:
	case ZYDIS_ISA_EXT_F16C:
	case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_LZCNT:
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_MOVBE:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_X87: return zi->meta.category != ZYDIS_CATEGORY_PREFETCH;
	default: return false;
	}
}

static bool is_gpr(ZydisRegister r)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(r);

	return c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64;
}

static bool vector_ok(ZydisRegisterClass c)
{
	return c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM || c == ZYDIS_REGCLASS_X87 ||
	       c == ZYDIS_REGCLASS_MMX;
}

/* A register operand that no field names: only what is in the same register on the host. */
static bool hidden_ok(ZydisRegister r)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(r);

	if (is_gpr(r))
		return host_reg(tr_gpr_of(r)) == tr_gpr_of(r) && !tr_is_high(r);
	return vector_ok(c) || c == ZYDIS_REGCLASS_FLAGS || r == ZYDIS_REGISTER_MXCSR ||
	       (r >= ZYDIS_REGISTER_X87CONTROL && r <= ZYDIS_REGISTER_X87TAG);
}

/* ADD AL/eAX, imm and friends; TEST AL/eAX, imm; XCHG eAX, r: RAX is implied. */
static bool short_form(const ZydisDecodedInstruction *zi)
{
	if (zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return false;
	return (zi->opcode < 0x40 && (zi->opcode & 6) == 4) || zi->opcode == 0xa8 || zi->opcode == 0xa9 ||
	       (zi->opcode >= 0x90 && zi->opcode <= 0x97);
}

static bool operand_ok(const struct ti *i, const ZydisDecodedOperand *o)
{
	switch (o->type) {
	case ZYDIS_OPERAND_TYPE_IMMEDIATE: return true;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM &&
		       o->mem.type == ZYDIS_MEMOP_TYPE_MEM && o->size >= 8 && o->size <= 256 && tr_ea_ok(i);
	case ZYDIS_OPERAND_TYPE_REGISTER:
		switch (o->encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG:
		case ZYDIS_OPERAND_ENCODING_MODRM_RM:
		case ZYDIS_OPERAND_ENCODING_NDSNDD:
		case ZYDIS_OPERAND_ENCODING_OPCODE:
			return is_gpr(o->reg.value) || vector_ok(ZydisRegisterGetClass(o->reg.value));
		case ZYDIS_OPERAND_ENCODING_IS4: return vector_ok(ZydisRegisterGetClass(o->reg.value));
		case ZYDIS_OPERAND_ENCODING_NONE:
			return hidden_ok(o->reg.value) ||
			       (short_form(&i->d.zi) && tr_gpr_of(o->reg.value) == RAX);
		default: return false;
		}
	default: return false;
	}
}

/* Bit strings: the register is an offset that may lead out of the operand. */
static bool bit_string(const struct ti *i)
{
	ZydisMnemonic m = i->d.zi.mnemonic;

	return (m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	               m == ZYDIS_MNEMONIC_BTC) &&
	       i->d.op[0].type == ZYDIS_OPERAND_TYPE_MEMORY && i->d.op[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

bool tr_is_x87(const struct ti *i)
{
	ZydisMnemonic m = i->d.zi.mnemonic;

	if (i->d.zi.meta.isa_ext == ZYDIS_ISA_EXT_X87 || i->d.zi.meta.isa_ext == ZYDIS_ISA_EXT_MMX ||
	        m == ZYDIS_MNEMONIC_CVTPI2PS || m == ZYDIS_MNEMONIC_CVTPI2PD || m == ZYDIS_MNEMONIC_FISTTP)
		return true;
	for (unsigned n = 0; n < i->d.zi.operand_count; n++)
		if (i->d.op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		        ZydisRegisterGetClass(i->d.op[n].reg.value) == ZYDIS_REGCLASS_MMX)
			return true;
	return false;
}

/* Can the host's instruction fault, though its memory operand is there? */
static bool may_fault(const struct ti *i)
{
	return i->d.zi.meta.exception_class != ZYDIS_EXCEPTION_CLASS_NONE || tr_is_x87(i);
}

/* --- which host register stands for which operand --- */

static struct operand *planned(struct plan *p, unsigned guest)
{
	for (unsigned n = 0; n < ARRAY_SIZE(p->o) && n < p->n; n++)
		if (p->o[n].guest == guest)
			return &p->o[n];
	return NULL;
}

static void plan_reg(struct plan *p, const ZydisDecodedOperand *o, bool keeps)
{
	unsigned g = tr_gpr_of(o->reg.value);
	struct operand *r = planned(p, g);

	if (!r) {
		assert(p->n < ARRAY_SIZE(p->o));
		r = &p->o[p->n++];
		r->guest = (u8)g;
	}
	r->high |= tr_is_high(o->reg.value);
	r->low |= !tr_is_high(o->reg.value);
	r->write |= (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
	/* 8 and 16 bits leave the rest of the register, conditional moves perhaps all of it. */
	r->read |= keeps || (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ) || o->size < 32 ||
	           (o->actions & ZYDIS_OPERAND_ACTION_CONDWRITE);
}

/*
 * Scratch registers for those that live in struct cpu. What is read needs one of its own, and with a memory
 * operand S1 is the address. What is only written may take any that nothing else is written to: addresses and
 * sources have been used by then.
 */
static bool assign(struct plan *p)
{
	static const u8 scratch[2] = {S2, S1};
	unsigned reads = 0, written = 0;

	for (unsigned n = 0; n < p->n; n++) {
		struct operand *r = &p->o[n];

		r->host = (u8)host_reg(r->guest);
		if (r->host != IN_MEMORY || !r->read)
			continue;
		if (reads == (p->mem ? 1u : 2u))
			return false;
		if (r->write)
			written |= BIT(reads);
		r->host = scratch[reads++];
	}
	for (unsigned n = 0; n < p->n; n++) {
		struct operand *r = &p->o[n];

		if (r->host != IN_MEMORY)
			continue;
		unsigned k = written & 1 ? 1 : 0;
		if (written & BIT(k))
			return false;
		written |= BIT(k);
		r->host = scratch[k];
	}
	return true;
}

static bool make_plan(const struct ti *i, struct plan *p)
{
	/* Without a bit set in the source they leave the destination. */
	bool keeps = i->d.zi.mnemonic == ZYDIS_MNEMONIC_BSF || i->d.zi.mnemonic == ZYDIS_MNEMONIC_BSR;

	for (unsigned n = 0; n < i->d.zi.operand_count; n++) {
		const ZydisDecodedOperand *o = &i->d.op[n];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			p->mem = o;
			p->mem_write = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		} else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && is_gpr(o->reg.value)) {
			plan_reg(p, o, keeps);
		}
	}
	for (unsigned n = 0; n < p->n; n++)
		if (p->o[n].high && p->o[n].low)
			return false; /* it can only be rotated as a whole */
	return assign(p);
}

bool tr_copy_ok(struct ti *i)
{
	const ZydisDecodedInstruction *zi = &i->d.zi;

	if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	        zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	if (zi->opcode_map > ZYDIS_OPCODE_MAP_0F3A || !extension_ok(zi) || bit_string(i))
		return false;
	for (unsigned n = 0; n < zi->operand_count; n++)
		if (!operand_ok(i, &i->d.op[n]))
			return false;
	i->plan = (struct plan){0};
	return make_plan(i, &i->plan);
}

/* --- putting together --- */

struct enc {
	u8 map, opcode;
	u8 reg, rm, vvvv; /* hardware numbers; reg may be an opcode extension */
	bool has_modrm, mem;
	struct as_mem m;
	bool in_opcode; /* rm is the opcode's low bits */
	bool rex;       /* a byte register that needs a REX prefix to be named */
	unsigned imm_at, imm_len;
};

static unsigned number(struct plan *p, const ZydisDecodedOperand *o)
{
	const struct operand *r;

	if (!is_gpr(o->reg.value))
		return (unsigned)ZydisRegisterGetId(o->reg.value);
	r = planned(p, tr_gpr_of(o->reg.value));
	return r ? r->host : tr_gpr_of(o->reg.value);
}

/* Fields of the encoding from the operands. */
static void fill_fields(const struct ti *i, struct plan *p, struct enc *e)
{
	const ZydisDecodedInstruction *zi = &i->d.zi;

	e->map = (u8)zi->opcode_map;
	e->opcode = zi->opcode;
	e->has_modrm = zi->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	e->mem = p->mem != NULL;
	e->reg = (u8)(zi->raw.modrm.reg);
	e->m = as_at(S1, 0);
	e->rm = zi->raw.modrm.rm;
	e->imm_at = zi->raw.imm[0].size ? zi->raw.imm[0].offset : 0;
	e->imm_len = (zi->raw.imm[0].size + zi->raw.imm[1].size) / 8u;
	for (unsigned n = 0; n < zi->operand_count; n++) {
		const ZydisDecodedOperand *o = &i->d.op[n];
		unsigned h;

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		h = number(p, o);
		if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_GPR8 && h >= 4)
			e->rex = true;
		switch (o->encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG: e->reg = (u8)h; break;
		case ZYDIS_OPERAND_ENCODING_OPCODE:
			e->in_opcode = true;
			e->rm = (u8)h;
			break;
		case ZYDIS_OPERAND_ENCODING_MODRM_RM: e->rm = (u8)h; break;
		case ZYDIS_OPERAND_ENCODING_NDSNDD: e->vvvv = (u8)h; break;
		default: break;
		}
	}
}

/* The forms that imply RAX become those that name a register. */
static void lengthen(const struct ti *i, struct enc *e)
{
	u8 op = i->d.zi.opcode;

	if (!short_form(&i->d.zi))
		return;
	e->has_modrm = true;
	if (op >= 0x90 && op <= 0x97) {
		e->opcode = 0x87; /* XCHG r/m, r; the register of the opcode is rm already */
		e->reg = HOST_RAX;
	} else if (op >= 0xa8) {
		e->opcode = op == 0xa8 ? 0xf6 : 0xf7;
		e->reg = 0;
		e->rm = HOST_RAX;
	} else {
		e->opcode = op & 1 ? 0x81 : 0x80;
		e->reg = op >> 3;
		e->rm = HOST_RAX;
	}
}

static void put_prefixes(struct as *a, const ZydisDecodedInstruction *zi)
{
	bool hint = zi->attributes & (ZYDIS_ATTRIB_HAS_XACQUIRE | ZYDIS_ATTRIB_HAS_XRELEASE);

	for (unsigned n = 0; n < zi->raw.prefix_count; n++) {
		u8 v = zi->raw.prefixes[n].value;

		if (zi->raw.prefixes[n].type == ZYDIS_PREFIX_TYPE_IGNORED)
			continue;
		if (v == 0x66 || v == 0xf0 || ((v == 0xf2 || v == 0xf3) && !hint))
			as_8(a, v);
	}
}

static void put_legacy(struct as *a, const ZydisDecodedInstruction *zi, const struct enc *e)
{
	static const u8 escapes[4][3] = {{0}, {1, 0x0f}, {2, 0x0f, 0x38}, {2, 0x0f, 0x3a}};
	u8 rex = e->mem ? as_rex_mem(zi->raw.rex.W, e->reg, e->m)
	                : (u8)(zi->raw.rex.W << 3 | (e->has_modrm ? e->reg >> 3 << 2 : 0) | e->rm >> 3);

	put_prefixes(a, zi);
	if (rex || e->rex)
		as_8(a, 0x40 | rex);
	as_bytes(a, escapes[e->map] + 1, escapes[e->map][0]);
	as_8(a, e->in_opcode && !e->has_modrm ? (u8)((e->opcode & ~7) | (e->rm & 7)) : e->opcode);
}

static void put_vex(struct as *a, const ZydisDecodedInstruction *zi, const struct enc *e)
{
	u8 last = (u8)((~e->vvvv & 15) << 3 | zi->raw.vex.L << 2 | zi->raw.vex.pp);
	u8 r = e->reg >= 8 ? 0 : 0x80;
	u8 xb = e->mem ? as_rex_mem(0, 0, e->m) : e->rm >> 3; /* REX.X and REX.B */

	if (!xb && e->map == 1 && !zi->raw.vex.W) {
		as_8(a, 0xc5);
		as_8(a, r | last);
	} else {
		as_8(a, 0xc4);
		as_8(a, (u8)(r | (xb & 2 ? 0 : 0x40) | (xb & 1 ? 0 : 0x20) | e->map));
		as_8(a, (u8)(zi->raw.vex.W << 7 | last));
	}
	as_8(a, e->opcode);
}

static void put(struct tr *t, const struct enc *e)
{
	const struct ti *i = tr_insn(t);

	if (i->d.zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		put_vex(&t->a, &i->d.zi, e);
	else
		put_legacy(&t->a, &i->d.zi, e);
	if (e->has_modrm && e->mem)
		as_modrm_mem(&t->a, e->reg, e->m);
	else if (e->has_modrm)
		as_8(&t->a, (u8)(0xc0 | (e->reg & 7) << 3 | (e->rm & 7)));
	as_bytes(&t->a, i->bytes + e->imm_at, e->imm_len);
}

static void rotate(struct tr *t, const struct plan *p, u8 n)
{
	for (unsigned k = 0; k < p->n; k++)
		if (p->o[k].high)
			as_rorx(&t->a, p->o[k].host, p->o[k].host, n);
}

bool tr_copy_memory(const struct ti *i, unsigned *size, bool *write)
{
	const struct plan *p = &i->plan;

	if (!(i->i.flags & INSN_MEM) || !p->mem)
		return false;
	*size = p->mem->size / 8u;
	*write = p->mem_write;
	return true;
}

static bool needs_s2(const struct plan *p)
{
	for (unsigned n = 0; n < p->n; n++)
		if (p->o[n].host == S2 && p->o[n].read)
			return true;
	return false;
}

static bool is_rotated(const struct plan *p)
{
	for (unsigned n = 0; n < p->n; n++)
		if (p->o[n].high)
			return true;
	return false;
}

static struct window_use window_use(const struct ti *i)
{
	return (struct window_use){.base = i->i.base,
	        .index = i->i.index,
	        .scale = i->i.scale,
	        .disp = (s32)(i->i.disp + (i->i.base == REG_RIP ? tr_next_off(i) : 0)),
	        .s2_taken = needs_s2(&i->plan),
	        .moved = is_rotated(&i->plan)};
}

bool tr_copy_keeps_s1(const struct ti *i)
{
	const struct plan *p = &i->plan;

	for (unsigned n = 0; n < p->n; n++)
		if (p->o[n].host == S1)
			return false;
	if (!p->mem)
		return true;
	/* Otherwise the address goes into S1. */
	return i->win != NO_WINDOW && !is_rotated(p) &&
	       !(needs_s2(p) &&
	               (i->i.index != REG_ZERO || i->i.base == REG_RIP || host_reg(i->i.base) == IN_MEMORY));
}

void tr_copy(struct tr *t)
{
	struct ti *i = tr_insn(t);
	struct site *fault = NULL;
	struct plan *p = &i->plan;
	struct enc e = {0};

	fill_fields(i, p, &e);
	lengthen(i, &e);
	/* First: who comes back behind an access that failed relies on it. */
	if (tr_is_x87(i))
		tr_x87(t);
	if (p->mem && i->win != NO_WINDOW) {
		e.m = tr_window(t, window_use(i));
	} else if (p->mem) {
		tr_linear(t);
		tr_check(t, p->mem->size / 8u, p->mem_write);
	}
	if (i->fx & FX_READS)
		tr_flags_host(t);
	for (unsigned n = 0; n < p->n; n++)
		if (host_reg(p->o[n].guest) == IN_MEMORY && p->o[n].read)
			as_ld(&t->a, p->o[n].host, as_gs(CPU_GPR(p->o[n].guest)));
	rotate(t, p, 8);
	if (may_fault(i)) {
		fault = tr_site(t);
		tr_fault_from(t, fault);
	}
	put(t, &e);
	if (fault)
		tr_fault_to(t, fault);
	rotate(t, p, 56);
	for (unsigned n = 0; n < p->n; n++)
		if (host_reg(p->o[n].guest) == IN_MEMORY && p->o[n].write)
			as_st(&t->a, as_gs(CPU_GPR(p->o[n].guest)), p->o[n].host);
	if (i->fx & FX_WRITES)
		tr_flags_written(t);
}
