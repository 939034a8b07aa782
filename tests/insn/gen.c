/*
 * Cases: an instance of a form with registers such that its memory operands lie in the data area (at
 * any alignment, across pages, in the read-only page, sometimes where nothing is), branch targets
 * in the code area, and operands with the values that matter to the instruction.
 *
 * What a random register would make the host touch outside of the arena is never run: see reach_ok.
 */
#include "harness.h"

struct build {
	const struct forms *f;
	struct rng rng;
	struct insn_case *k;
	struct decoded d;
	u32 placed; /* registers that addresses depend on */
};

/* --- addresses --- */

static u64 reg_value(const struct regs *in, ZydisRegister r)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(r);
	u64 v;

	if (r == ZYDIS_REGISTER_NONE || (c != ZYDIS_REGCLASS_GPR8 && c != ZYDIS_REGCLASS_GPR16 &&
	                                        c != ZYDIS_REGCLASS_GPR32 && c != ZYDIS_REGCLASS_GPR64))
		return 0;
	if (c == ZYDIS_REGCLASS_GPR8)
		return in->gpr[RAX] & 0xff; /* XLAT: AL */
	v = in->gpr[ZydisRegisterGetId(r) & 15];
	return c == ZYDIS_REGCLASS_GPR16 ? (u16)v : c == ZYDIS_REGCLASS_GPR32 ? (u32)v : v;
}

static u64 vsib_index(const struct decoded *d, const ZydisDecodedOperand *o, const struct regs *in, u32 i)
{
	const union x86_vec *v = &in->vec[ZydisRegisterGetId(o->mem.index) & 15];

	/* VPGATHERQ*, VGATHERQ*: opcode bit 0 tells qword indices */
	if (d->zi.opcode & 1)
		return v->q[i & 3];
	return (u64)(s64)(s32)v->d[i & 7];
}

static u64 seg_base(const struct decoded *d, const struct regs *in, const ZydisDecodedOperand *o)
{
	if (o->mem.segment == ZYDIS_REGISTER_FS)
		return in->fs_base;
	return o->mem.segment == ZYDIS_REGISTER_GS ? in->gs_base : 0;
}

static u64 address_mask(const struct decoded *d)
{
	return ones(d->zi.address_width / 8);
}

/* The stack's own accesses: their width is that of the stack segment, not the address size. */
static bool is_stack(const ZydisDecodedOperand *o)
{
	return o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
	       (o->mem.base == ZYDIS_REGISTER_RSP || o->mem.base == ZYDIS_REGISTER_ESP ||
	               o->mem.base == ZYDIS_REGISTER_SP);
}

u64 operand_ea(const struct decoded *d, const ZydisDecodedOperand *o, const struct regs *in, u32 i)
{
	u64 a = o->mem.disp.has_displacement ? (u64)o->mem.disp.value : 0;

	if (is_stack(o))
		return in->gpr[RSP];
	if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP)
		a += in->rip + d->zi.length;
	else
		a += reg_value(in, o->mem.base);
	if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		a += vsib_index(d, o, in, i) * o->mem.scale;
	else
		a += reg_value(in, o->mem.index) * (o->mem.scale ? o->mem.scale : 1);
	return (a & address_mask(d)) + seg_base(d, in, o);
}

static bool canonical(u64 a)
{
	return (u64)((s64)(a << 16) >> 16) == a;
}

static bool is_memory(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.type != ZYDIS_MEMOP_TYPE_AGEN;
}

/* May the host touch memory around a? Only inside the arena, below 64K (never mapped), or not at all. */
static bool reach_ok(u64 a, bool mode64)
{
	u64 margin = 0x400000;

	if (a >= ARENA_LO + margin && a < ARENA_HI - margin)
		return true;
	if (a < 0x8000)
		return true;
	return mode64 && !canonical(a) && !canonical(a + margin) && !canonical(a - margin);
}

static bool is_bit_string(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	       m == ZYDIS_MNEMONIC_BTC;
}

static u64 bit_string_offset(const struct decoded *d, const struct regs *in)
{
	u64 v;

	if (!is_bit_string(d->zi.mnemonic) || d->op[1].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return 0;
	v = in->gpr[ZydisRegisterGetId(d->op[1].reg.value) & 15];
	switch (d->zi.operand_width) {
	case 16: return (u64)((s64)(s16)v >> 3);
	case 32: return (u64)((s64)(s32)v >> 3);
	default: return (u64)((s64)v >> 3);
	}
}

static bool all_reach_ok(const struct build *b)
{
	const struct decoded *d = &b->d;
	bool mode64 = b->k->mode == MODE_64;

	for (unsigned n = 0; n < d->zi.operand_count; n++) {
		const ZydisDecodedOperand *o = &d->op[n];
		unsigned count =
		        o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.type == ZYDIS_MEMOP_TYPE_VSIB ? 8 : 1;

		if (!is_memory(o))
			continue;
		for (unsigned i = 0; i < count; i++) {
			u64 a = operand_ea(d, o, &b->k->in, i);

			if (!mode64)
				a = (u32)a;
			if (!reach_ok(a, mode64) || !reach_ok(a + bit_string_offset(d, &b->k->in), mode64))
				return false;
		}
	}
	return true;
}

/* Where a memory operand of size bytes shall be. */
static u64 pick_address(struct build *b, u32 size)
{
	struct rng *r = &b->rng;
	u32 shift = rng_pct(r, 75) ? MIN(6u, (u32)__builtin_ctz(size | 64)) : rng_below(r, 4);
	u64 around = rng_below(r, size + 1);

	switch (rng_below(r, 40)) {
	case 0:
	case 1:
	case 2: return DATA_BASE + PAGE_SIZE - around; /* across two writable pages */
	case 3: return DATA_BASE + DATA_RW - around;   /* into the read-only page */
	case 4: return DATA_BASE + DATA_RW + rng_below(r, 4000);
	case 5: return DATA_BASE + DATA_SIZE - around; /* into nothing */
	case 6: return DATA_BASE - around;
	case 7: return DATA_BASE + DATA_SIZE + rng_below(r, 0x10000); /* nothing */
	case 8:
		return b->k->mode == MODE_64 ? (rng_next(r) >> 2 | 1ull << 61)
		                             : DATA_BASE + 64; /* not canonical */
	default: return DATA_BASE + (ALIGN_DOWN((u64)rng_below(r, (u32)DATA_RW - 1024), 1ull << shift));
	}
}

static void set_reg(struct build *b, ZydisRegister r, u64 v)
{
	unsigned n = ZydisRegisterGetId(r) & 15;
	u64 *g = &b->k->in.gpr[n];

	if (b->placed & BIT(n))
		return;
	b->placed |= BIT(n);
	if (b->d.zi.address_width == 64 || ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR64)
		*g = v;
	else if (b->d.zi.address_width == 32)
		*g = (rng_pct(&b->rng, 50) ? *g & ~0xffffffffull : 0) | (u32)v;
	else
		*g = (*g & ~0xffffull) | (u16)v;
}

static void patch_disp(struct build *b, u64 disp)
{
	const struct ZydisDecodedInstructionRawDisp_ *raw = &b->d.zi.raw.disp;

	if (raw->size)
		memcpy(b->k->code + raw->offset, &disp, raw->size / 8);
}

static void place_vsib(struct build *b, const ZydisDecodedOperand *o, u64 want)
{
	union x86_vec *v = &b->k->in.vec[ZydisRegisterGetId(o->mem.index) & 15];

	for (unsigned i = 0; i < 8; i++)
		v->d[i] = rng_below(&b->rng, 1024) - 512;
	if (b->d.zi.opcode & 1)
		for (unsigned i = 0; i < 4; i++)
			v->q[i] = (u64)(s64)(s32)v->d[i];
	set_reg(b, o->mem.base, want);
}

/* base, index and displacement in registers: solves base + index * scale + disp = a */
static void place_registers(struct build *b, const ZydisDecodedOperand *o, u64 a)
{
	u64 disp = o->mem.disp.has_displacement ? (u64)o->mem.disp.value : 0;
	u64 scale = o->mem.scale ? o->mem.scale : 1;
	bool gpr_index = o->mem.index != ZYDIS_REGISTER_NONE &&
	                 ZydisRegisterGetClass(o->mem.index) != ZYDIS_REGCLASS_GPR8;
	u64 want = a - seg_base(&b->d, &b->k->in, o) - disp;

	if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
		place_vsib(b, o, want);
	} else if (!gpr_index) {
		set_reg(b, o->mem.base, want);
	} else if (o->mem.base == ZYDIS_REGISTER_NONE) {
		set_reg(b, o->mem.index, (want & address_mask(&b->d)) / scale);
	} else if (o->mem.base == o->mem.index) {
		set_reg(b, o->mem.base, (want & address_mask(&b->d)) / (scale + 1));
	} else {
		set_reg(b, o->mem.index,
		        rng_pct(&b->rng, 60) ? (u64)(s64)(s32)rng_below(&b->rng, 64) - 32
		                             : rng_next(&b->rng));
		set_reg(b, o->mem.base, want - reg_value(&b->k->in, o->mem.index) * scale);
	}
}

static bool is_string(const struct decoded *d)
{
	return d->zi.meta.category == ZYDIS_CATEGORY_STRINGOP;
}

static void place_operand(struct build *b, const ZydisDecodedOperand *o)
{
	u32 size = MAX(o->size / 8u, 1u);
	u64 a = pick_address(b, size);

	if (is_string(&b->d) && !canonical(a))
		a = DATA_BASE + rng_below(&b->rng, 1024);
	if (is_stack(o)) {
		if (!(b->placed & BIT(RSP)))
			b->k->in.gpr[RSP] = a;
		b->placed |= BIT(RSP);
	} else if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP)
		patch_disp(b, a - seg_base(&b->d, &b->k->in, o) - b->k->in.rip - b->d.zi.length);
	else if (o->mem.base == ZYDIS_REGISTER_NONE && o->mem.index == ZYDIS_REGISTER_NONE)
		patch_disp(b, a - seg_base(&b->d, &b->k->in, o));
	else
		place_registers(b, o, a);
}

static bool decode_again(struct build *b)
{
	return forms_accept(b->f, b->k->mode, b->k->code, INSN_MAX_LEN, &b->d);
}

/* --- memory contents --- */

static void add_patch(struct build *b, u64 a, const void *bytes, u32 len)
{
	struct insn_case *k = b->k;
	struct patch *p;
	u64 skip = a < DATA_BASE ? DATA_BASE - a : 0;

	if (k->npatches == MAX_PATCHES || skip >= len || a >= DATA_BASE + DATA_SIZE)
		return;
	p = &k->patch[k->npatches++];
	p->off = (u16)(a + skip - DATA_BASE);
	p->len = (u16)MIN(MIN(len - skip, PATCH_MAX), DATA_SIZE - p->off);
	memcpy(p->bytes, (const u8 *)bytes + skip, p->len);
}

static enum fill fill_of(const struct decoded *d)
{
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_FBLD)
		return FILL_BCD;
	for (unsigned i = 0; i < d->zi.operand_count_visible; i++)
		switch (d->op[i].element_type) {
		case ZYDIS_ELEMENT_TYPE_FLOAT16: return FILL_F16;
		case ZYDIS_ELEMENT_TYPE_FLOAT32: return FILL_F32;
		case ZYDIS_ELEMENT_TYPE_FLOAT64: return FILL_F64;
		case ZYDIS_ELEMENT_TYPE_FLOAT80: return FILL_F80;
		default: break;
		}
	return rng_pct(&(struct rng){d->zi.opcode}, 50) ? FILL_INT : FILL_ANY;
}

static void fill_operands(struct build *b, enum fill kind)
{
	u8 buf[PATCH_MAX];

	for (unsigned i = 0; i < b->d.zi.operand_count; i++) {
		const ZydisDecodedOperand *o = &b->d.op[i];

		if (!is_memory(o) || !(o->actions & ZYDIS_OPERAND_ACTION_MASK_READ))
			continue;
		value_fill(&b->rng, kind, buf, PATCH_MAX);
		add_patch(b, operand_ea(&b->d, o, &b->k->in, 0), buf, MIN(MAX(o->size / 8u, 1u), PATCH_MAX));
	}
}

/* --- branches --- */

/* An address at which the case may end: INT3 bytes of the code area, seldom outside of it. */
static u64 pick_target(struct build *b)
{
	const struct insn_case *k = b->k;
	u64 t;

	if (rng_pct(&b->rng, 10))
		return CODE_BASE + CODE_SIZE + rng_below(&b->rng, 0x8000);
	do
		t = CODE_BASE + rng_below(&b->rng, (u32)CODE_SIZE);
	while (t + 1 >= k->in.rip && t <= k->in.rip + INSN_MAX_LEN);
	return t;
}

static void aim_relative(struct build *b)
{
	const struct ZydisDecodedInstructionRawImm_ *imm = &b->d.zi.raw.imm[0];
	u64 next = b->k->in.rip + b->d.zi.length;
	u64 rel;

	do {
		rel = imm->size == 8 ? (u64)(s64)(s8)rng_next(&b->rng) : pick_target(b) - next;
	} while (next + rel + 1 >= b->k->in.rip && next + rel <= next);
	memcpy(b->k->code + imm->offset, &rel, imm->size / 8);
}

static void aim_indirect(struct build *b)
{
	u64 t = pick_target(b);

	for (unsigned i = 0; i < b->d.zi.operand_count; i++) {
		const ZydisDecodedOperand *o = &b->d.op[i];

		if (i == 0 && o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		        o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			b->k->in.gpr[ZydisRegisterGetId(o->reg.value) & 15] = t;
		if (is_memory(o) && (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ))
			add_patch(b, operand_ea(&b->d, o, &b->k->in, 0), &t, b->k->mode == MODE_64 ? 8 : 4);
	}
}

static void aim_branch(struct build *b)
{
	switch (b->d.zi.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_UNCOND_BR:
		if (b->d.zi.raw.imm[0].is_relative)
			aim_relative(b);
		else
			aim_indirect(b);
		break;
	default: break;
	}
}

/* --- what single instructions want --- */

static u64 low_bits(u64 v, u32 bits, u64 with)
{
	u64 mask = bits >= 64 ? ~0ull : (1ull << bits) - 1;

	return (v & ~mask) | (with & mask);
}

static void set_free(struct build *b, unsigned n, u64 v)
{
	if (!(b->placed & BIT(n)))
		b->k->in.gpr[n] = v;
}

static void tune_divide(struct build *b)
{
	struct regs *in = &b->k->in;
	u32 w = b->d.zi.operand_width;

	if (w == 8)
		set_free(b, RAX, low_bits(in->gpr[RAX], 16, rng_below(&b->rng, 256)));
	else
		set_free(b, RDX,
		        low_bits(in->gpr[RDX], w, rng_pct(&b->rng, 50) ? rng_below(&b->rng, 3) : ~0ull));
}

/* Half of the exchanges shall happen. */
static void tune_cmpxchg(struct build *b)
{
	struct insn_case *k = b->k;
	u8 *bytes = k->npatches ? k->patch[k->npatches - 1].bytes : NULL;
	bool wide = b->d.zi.mnemonic != ZYDIS_MNEMONIC_CMPXCHG;
	u64 lo = k->in.gpr[RAX], hi = k->in.gpr[RDX];

	if (b->d.op[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		set_free(b, RAX, k->in.gpr[ZydisRegisterGetId(b->d.op[0].reg.value) & 15]);
	} else if (bytes) {
		if (b->d.zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B)
			hi = lo = (u64)get_le32(bytes) | (u64)get_le32(bytes + 4) << 32, hi >>= 32;
		else
			lo = get_le64(bytes), hi = get_le64(bytes + 8);
		set_free(b, RAX, lo);
		if (wide)
			set_free(b, RDX, hi);
	}
}

static void tune_count(struct build *b)
{
	u64 n = rng_pct(&b->rng, 4) ? rng_below(&b->rng, 600) : rng_below(&b->rng, 12);

	if (!(b->d.zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)))
		return;
	b->k->in.gpr[RCX] =
	        b->d.zi.address_width == 64 ? n : low_bits(b->k->in.gpr[RCX], b->d.zi.address_width, n);
}

/* A control word in memory: valid, seldom with reserved bits. Bit 17 is AMD's and not Intel's. */
static void tune_mxcsr(struct build *b, u64 off)
{
	u32 v = (u32)(rng_next(&b->rng) & 0xffff) | (rng_pct(&b->rng, 50) ? 0x1f80 : 0);

	if (rng_pct(&b->rng, 10))
		v |= 1u << (18 + rng_below(&b->rng, 14));
	add_patch(b, operand_ea(&b->d, &b->d.op[0], &b->k->in, 0) + off, &v, 4);
}

/*
 * XSAVE and XRSTOR: components 0 to 2, because the host may have more of them enabled. The header is
 * mostly valid.
 */
static void tune_xsave(struct build *b)
{
	struct regs *in = &b->k->in;
	u64 ea = operand_ea(&b->d, &b->d.op[0], in, 0);
	u64 header[8] = {rng_below(&b->rng, 8)};

	if (rng_pct(&b->rng, 20))
		header[1] = 1ull << 63 | header[0] | rng_below(&b->rng, 8);
	if (rng_pct(&b->rng, 10))
		header[rng_below(&b->rng, 8)] ^=
		        1ull << (rng_pct(&b->rng, 50) ? rng_below(&b->rng, 3) : 10 + rng_below(&b->rng, 54));
	set_free(b, RAX, (in->gpr[RAX] & ~0xfffull) | rng_below(&b->rng, 8));
	set_free(b, RDX, 0);
	tune_mxcsr(b, 24);
	add_patch(b, ea + 512, header, sizeof(header));
}

/* Do the registers that select components say only what host and guest both have? */
static bool xsave_ok(const struct build *b)
{
	switch (b->d.zi.meta.category) {
	case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_XSAVEOPT: return !(b->k->in.gpr[RAX] & 0xff8) && !(u32)b->k->in.gpr[RDX];
	default: return true;
	}
}

static void tune_popf(struct build *b)
{
	u64 fl = rng_next(&b->rng) & ~(u64)(FL_TF | FL_NT);

	add_patch(b, b->k->in.gpr[RSP], &fl, 8);
}

static void tune(struct build *b)
{
	struct regs *in = &b->k->in;
	struct rng *r = &b->rng;

	switch (b->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		if (rng_pct(r, 70))
			tune_divide(b);
		break;
	case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		if (rng_pct(r, 50))
			tune_cmpxchg(b);
		break;
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		if (rng_pct(r, 50))
			in->gpr[RCX] = rng_below(r, 3) | (rng_pct(r, 30) ? 1ull << 32 : 0);
		break;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR: tune_mxcsr(b, 0); break;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64: tune_mxcsr(b, 24); break;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ: tune_popf(b); break;
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_VPCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRM:
		if (rng_pct(r, 70)) {
			set_free(b, RAX, (u64)rng_below(r, 40) - 20);
			set_free(b, RDX, (u64)rng_below(r, 40) - 20);
		}
		break;
	default: break;
	}
	if (is_bit_string(b->d.zi.mnemonic) && b->d.op[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		set_free(b, ZydisRegisterGetId(b->d.op[1].reg.value) & 15, (u64)rng_below(r, 16384) - 8192);
	if (is_string(&b->d))
		tune_count(b);
	if (b->d.zi.meta.category == ZYDIS_CATEGORY_XSAVE || b->d.zi.meta.category == ZYDIS_CATEGORY_XSAVEOPT)
		tune_xsave(b);
}

/* ENTER and LEAVE reach memory through both pointers. */
static void place_frames(struct build *b)
{
	if (b->d.zi.mnemonic != ZYDIS_MNEMONIC_ENTER && b->d.zi.mnemonic != ZYDIS_MNEMONIC_LEAVE)
		return;
	b->k->in.gpr[RBP] = DATA_BASE + 512 + rng_below(&b->rng, (u32)DATA_RW - 512);
	b->k->in.gpr[RSP] = DATA_BASE + 512 + rng_below(&b->rng, (u32)DATA_RW - 512);
	b->placed |= BIT(RBP) | BIT(RSP);
}

/* --- a case --- */

static void to_32bit(struct regs *in)
{
	in->fs_base = in->gs_base = 0;
	for (unsigned i = 0; i < 8; i++)
		in->gpr[i] = (u32)in->gpr[i];
}

/* Completes the case around k->code; false if it may not run. */
static bool complete(struct build *b)
{
	struct insn_case *k = b->k;
	enum fill kind;

	if (!decode_again(b))
		return false;
	kind = fill_of(&b->d);
	value_regs(&b->rng, kind, &k->in);
	k->npatches = 0;
	k->in.rip = CODE_BASE + 0x800 + rng_below(&b->rng, 0x1000);
	if (rng_pct(&b->rng, 3))
		k->in.rip = CODE_BASE + PAGE_SIZE - rng_below(&b->rng, INSN_MAX_LEN);
	b->placed = 0;
	if (k->mode == MODE_32)
		to_32bit(&k->in);
	place_frames(b);
	for (unsigned i = 0; i < b->d.zi.operand_count; i++)
		if (is_memory(&b->d.op[i]))
			place_operand(b, &b->d.op[i]);
	if (!decode_again(b))
		return false;
	fill_operands(b, kind);
	tune(b);
	aim_branch(b);
	if (!decode_again(b) || !all_reach_ok(b) || !xsave_ok(b))
		return false;
	k->len = b->d.zi.length;
	k->count = 1;
	return true;
}

static u64 case_seed(u64 seed, u64 index)
{
	struct rng r = {seed * 0x2545f4914f6cdd1dull + index};

	return rng_next(&r);
}

static const struct form *pick_form(struct build *b, u32 percent_int, u32 percent_vec)
{
	u32 pick = rng_below(&b->rng, 100);
	enum family fam = pick < percent_int ? FAM_INT : pick < percent_int + percent_vec ? FAM_VEC : FAM_X87;

	return &b->f->f[b->f->pick[fam][rng_below(&b->rng, b->f->npick[fam])]];
}

static void gen_single(struct build *b)
{
	struct insn_case *k = b->k;

	for (;;) {
		const struct form *t = pick_form(b, 40, 45);

		memset(k, 0, sizeof(*k));
		k->mode = (enum insn_mode)t->mode;
		for (unsigned attempt = 0; attempt < 16; attempt++) {
			encode_form(&b->rng, t, attempt, k->code);
			if (complete(b) && b->d.zi.mnemonic == (ZydisMnemonic)t->mnemonic)
				return;
		}
	}
}

/* --- sequences: instructions that work on registers only, the last may be a conditional jump ---
 *
 * What one instruction leaves to the next (above all flags, which the engine computes late) is not
 * seen by single instructions, whose inputs are plain values.
 */

static bool fits_sequence(const struct build *b, u64 undefined)
{
	const struct decoded *d = &b->d;
	u64 tested = d->zi.cpu_flags ? d->zi.cpu_flags->tested : 0;

	if (tested & undefined)
		return false;
	for (unsigned i = 0; i < d->zi.operand_count; i++) {
		if (is_memory(&d->op[i]))
			return false;
		/* RIP is no operand to compute with, RFLAGS as a whole holds undefined bits */
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		        d->op[i].reg.value == ZYDIS_REGISTER_RIP && !d->zi.raw.imm[0].is_relative)
			return false;
	}
	switch (d->zi.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_UNCOND_BR: return false;
	default: break;
	}
	/* their results, not only flags, may be undefined */
	return d->zi.mnemonic != ZYDIS_MNEMONIC_SHLD && d->zi.mnemonic != ZYDIS_MNEMONIC_SHRD &&
	       d->zi.meta.isa_ext != ZYDIS_ISA_EXT_X87;
}

static void aim_in_sequence(struct build *b, u8 *code)
{
	const struct ZydisDecodedInstructionRawImm_ *imm = &b->d.zi.raw.imm[0];
	u64 rel = 16 + rng_below(&b->rng, 100); /* forward, behind the sequence's end */

	memcpy(code + imm->offset, &rel, imm->size / 8);
}

/* Appends one instruction; true when it ends the sequence. */
static bool append(struct build *b, u64 *undefined)
{
	struct insn_case *k = b->k;
	u8 *code = k->code + k->len;

	for (;;) {
		const struct form *t = pick_form(b, 80, 20);
		unsigned attempt = rng_below(&b->rng, 10);

		if (t->mode != (u8)k->mode)
			continue;
		encode_form(&b->rng, t, attempt, code);
		if (!forms_accept(b->f, k->mode, code, INSN_MAX_LEN, &b->d) || !fits_sequence(b, *undefined))
			continue;
		if (b->d.zi.raw.imm[0].is_relative)
			aim_in_sequence(b, code);
		*undefined |= undefined_flags(&b->d);
		k->len = (u8)(k->len + b->d.zi.length);
		k->count++;
		return b->d.zi.raw.imm[0].is_relative;
	}
}

static void gen_sequence(struct build *b)
{
	struct insn_case *k = b->k;
	u32 count = 2 + rng_below(&b->rng, SEQ_MAX - 1);
	u64 undefined = 0;

	memset(k, 0, sizeof(*k));
	k->mode = b->f->with32 && rng_pct(&b->rng, 30) ? MODE_32 : MODE_64;
	value_regs(&b->rng, FILL_ANY, &k->in);
	k->in.rip = CODE_BASE + 0x800 + rng_below(&b->rng, 0x1000);
	if (k->mode == MODE_32)
		to_32bit(&k->in);
	while (k->count < count && !append(b, &undefined))
		;
	memset(k->code + k->len, 0xcc, sizeof(k->code) - k->len);
}

void gen_case(const struct forms *f, u64 seed, u64 index, struct insn_case *k)
{
	struct build b = {.f = f, .k = k, .rng = {case_seed(seed, index)}};

	if (rng_pct(&b.rng, 15))
		gen_sequence(&b);
	else
		gen_single(&b);
}

bool gen_from_bytes(
        const struct forms *f, enum insn_mode mode, const u8 *bytes, u32 len, u64 seed, struct insn_case *k)
{
	struct build b = {.f = f, .k = k, .rng = {case_seed(seed, 0)}};

	memset(k, 0, sizeof(*k));
	k->mode = mode;
	memcpy(k->code, bytes, MIN(len, INSN_MAX_LEN));
	return complete(&b);
}

void gen_data_template(u64 seed, u8 *data)
{
	struct rng r = {seed};

	for (u32 i = 0; i < DATA_SIZE; i += 8)
		put_le64(data + i, rng_pct(&r, 50) ? rng_next(&r) : value_int(&r));
}
