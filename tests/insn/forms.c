/*
 * The list of instruction forms under test, found by decoding every opcode of every map with every
 * mandatory prefix, W, L, ModRM.reg and a few ModRM.rm. What decodes and is accepted falls into
 * buckets by mnemonic, operand kinds and sizes; one example of each bucket is kept. Cases are drawn
 * uniformly over forms, so rare instructions are tested as often as ADD.
 */
#include "harness.h"
#include <cpuid.h>
#include <stdlib.h>

/* --- what may run --- */

struct feature_bit {
	u16 set; /* ZydisISASet */
	u32 leaf;
	u8 reg, bit; /* reg: 0..3 EAX..EDX */
};
static const struct feature_bit feature_bits[] = {
        {ZYDIS_ISA_SET_ADOX_ADCX, 7, 1, 19},
        {ZYDIS_ISA_SET_AES, 1, 2, 25},
        {ZYDIS_ISA_SET_AVX, 1, 2, 28},
        {ZYDIS_ISA_SET_AVX2, 7, 1, 5},
        {ZYDIS_ISA_SET_AVX2GATHER, 7, 1, 5},
        {ZYDIS_ISA_SET_AVXAES, 1, 2, 25},
        {ZYDIS_ISA_SET_BMI1, 7, 1, 3},
        {ZYDIS_ISA_SET_BMI2, 7, 1, 8},
        {ZYDIS_ISA_SET_CLFLUSHOPT, 7, 1, 23},
        {ZYDIS_ISA_SET_CLWB, 7, 1, 24},
        {ZYDIS_ISA_SET_CMPXCHG16B, 1, 2, 13},
        {ZYDIS_ISA_SET_F16C, 1, 2, 29},
        {ZYDIS_ISA_SET_FMA, 1, 2, 12},
        {ZYDIS_ISA_SET_LAHF, 0x80000001, 2, 0},
        {ZYDIS_ISA_SET_LZCNT, 0x80000001, 2, 5},
        {ZYDIS_ISA_SET_MOVBE, 1, 2, 22},
        {ZYDIS_ISA_SET_PCLMULQDQ, 1, 2, 1},
        {ZYDIS_ISA_SET_POPCNT, 1, 2, 23},
        {ZYDIS_ISA_SET_RDWRFSGS, 7, 1, 0},
        {ZYDIS_ISA_SET_SHA, 7, 1, 29},
        {ZYDIS_ISA_SET_SSE, 1, 3, 25},
        {ZYDIS_ISA_SET_SSE2, 1, 3, 26},
        {ZYDIS_ISA_SET_SSE2MMX, 1, 3, 26},
        {ZYDIS_ISA_SET_SSE3, 1, 2, 0},
        {ZYDIS_ISA_SET_SSE3X87, 1, 2, 0},
        {ZYDIS_ISA_SET_SSE4, 1, 2, 19},
        {ZYDIS_ISA_SET_SSE42, 1, 2, 20},
        {ZYDIS_ISA_SET_SSEMXCSR, 1, 3, 25},
        {ZYDIS_ISA_SET_SSE_PREFETCH, 1, 3, 25},
        {ZYDIS_ISA_SET_SSSE3, 1, 2, 9},
        {ZYDIS_ISA_SET_SSSE3MMX, 1, 2, 9},
        {ZYDIS_ISA_SET_PENTIUMMMX, 1, 3, 23},
        {ZYDIS_ISA_SET_X87, 1, 3, 0},
        {ZYDIS_ISA_SET_CMOV, 1, 3, 15},
        {ZYDIS_ISA_SET_FCMOV, 1, 3, 15},
        {ZYDIS_ISA_SET_FXSAVE, 1, 3, 24},
        {ZYDIS_ISA_SET_FXSAVE64, 1, 3, 24},
        {ZYDIS_ISA_SET_CLFSH, 1, 3, 19},
        {ZYDIS_ISA_SET_PREFETCH_NOP, 0x80000001, 2, 8},
        {ZYDIS_ISA_SET_XSAVE, 1, 2, 27},
        {ZYDIS_ISA_SET_XSAVEOPT, 0xd, 0, 0},
        {ZYDIS_ISA_SET_XSAVEC, 0xd, 0, 1},
};
/* Part of every x86-64 CPU. */
static const u16 base_sets[] = {ZYDIS_ISA_SET_I86, ZYDIS_ISA_SET_I186, ZYDIS_ISA_SET_I286REAL,
        ZYDIS_ISA_SET_I386, ZYDIS_ISA_SET_I486, ZYDIS_ISA_SET_I486REAL, ZYDIS_ISA_SET_PENTIUMREAL,
        ZYDIS_ISA_SET_LONGMODE, ZYDIS_ISA_SET_PPRO, ZYDIS_ISA_SET_FAT_NOP, ZYDIS_ISA_SET_PAUSE,
        ZYDIS_ISA_SET_X87};

static u32 subleaf_of(const struct feature_bit *b)
{
	return b->leaf == 0xd ? 1 : 0;
}

static bool host_has(const struct feature_bit *b)
{
	u32 r[4];

	if (!__get_cpuid_count(b->leaf, subleaf_of(b), &r[0], &r[1], &r[2], &r[3]))
		return false;
	return r[b->reg] >> b->bit & 1;
}

static void find_features(struct forms *f, struct ref *r)
{
	for (unsigned i = 0; i < ARRAY_SIZE(base_sets); i++)
		f->set[base_sets[i]] = true;
	for (unsigned i = 0; i < ARRAY_SIZE(feature_bits); i++) {
		const struct feature_bit *b = &feature_bits[i];
		u32 guest[4];

		ref_cpuid(r, b->leaf, subleaf_of(b), guest);
		f->set[b->set] = (guest[b->reg] >> b->bit & 1) && host_has(b);
	}
	/* Zydis knows AVX forms of these by their own sets only in part; they need both bits. */
	f->set[ZYDIS_ISA_SET_AVXAES] &= f->set[ZYDIS_ISA_SET_AVX];
}

/*
 * Not comparable: they read clocks, random numbers or the system's own state (selectors, descriptor
 * tables, CPUID), transfer control out of the process or into the kernel, or change segment registers.
 * MONITOR and friends are privileged in practice. Privileged instructions are tests/guest's business.
 */
static bool barred_mnemonic(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_INTO:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_ARPL:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_MONITOR:
	case ZYDIS_MNEMONIC_MWAIT:
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_RSM:
	case ZYDIS_MNEMONIC_SALC:
	case ZYDIS_MNEMONIC_CLZERO:
	case ZYDIS_MNEMONIC_HLT:
	/* Opcodes that only some vendors have. */
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP: return true;
	default: return false;
	}
}

static bool barred_operand(const ZydisDecodedOperand *o)
{
	ZydisRegisterClass c;

	if (o->type == ZYDIS_OPERAND_TYPE_POINTER)
		return true;
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	c = ZydisRegisterGetClass(o->reg.value);
	if (c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG || c == ZYDIS_REGCLASS_TEST)
		return true;
	return c == ZYDIS_REGCLASS_SEGMENT && (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
	       o->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN;
}

static bool barred_branch(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_UNCOND_BR: break;
	default: return false;
	}
	if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return true;
	/* Operand size 16: Intel ignores the prefix in 64-bit mode, AMD truncates RIP. */
	return zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
}

/*
 * SIB.base = 5 with ModRM.mod = 0 means a 32-bit displacement and no base whatever REX.B is (SDM vol. 2,
 * table 2-3). Zydis 4.0 names EBP or R13D as the base when the address size is 32 in 64-bit mode.
 */
static void mend_sib(struct decoded *d)
{
	const ZydisDecodedInstructionRaw *raw = &d->zi.raw;

	if (!(d->zi.attributes & ZYDIS_ATTRIB_HAS_SIB) || raw->modrm.mod != 0 || raw->sib.base != 5)
		return;
	for (unsigned i = 0; i < d->zi.operand_count; i++) {
		ZydisDecodedOperand *o = &d->op[i];

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
			continue;
		o->mem.base = ZYDIS_REGISTER_NONE;
		o->mem.disp.has_displacement = ZYAN_TRUE;
		o->mem.disp.value = raw->disp.value;
	}
}

static bool has_rep_byte(const ZydisDecodedInstruction *zi)
{
	for (unsigned i = 0; i < zi->raw.prefix_count; i++)
		if (zi->raw.prefixes[i].value == 0xf2 || zi->raw.prefixes[i].value == 0xf3)
			return true;
	return false;
}

bool forms_accept(const struct forms *f, enum insn_mode mode, const u8 *bytes, u32 len, struct decoded *d)
{
	const ZydisDecodedInstruction *zi = &d->zi;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&f->dec[mode], bytes, len, &d->zi, d->op)))
		return false;
	mend_sib(d);
	if (!f->set[zi->meta.isa_set] || (zi->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED))
		return false;
	if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	        zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	switch (zi->meta.category) {
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP:
	case ZYDIS_CATEGORY_SYSTEM: return zi->mnemonic == ZYDIS_MNEMONIC_NOP;
	default: break;
	}
	/* 0F 0D with a register: reserved, a no-operation on Intel and #UD on AMD. */
	if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F && zi->opcode == 0x0d && zi->raw.modrm.mod == 3)
		return false;
	/* F2 or F3 before LOOPE, LOOPNE: AMD lets the prefix choose the condition, Intel ignores it. */
	if ((zi->opcode & 0xfe) == 0xe0 && zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && has_rep_byte(zi))
		return false;
	/* F3 before XCHG R8, rAX: AMD ignores it, Intel ignores REX.B and has PAUSE. */
	if (zi->mnemonic == ZYDIS_MNEMONIC_PAUSE && zi->raw.rex.B)
		return false;
	if (barred_mnemonic(zi->mnemonic) || barred_branch(zi))
		return false;
	for (unsigned i = 0; i < zi->operand_count; i++)
		if (barred_operand(&d->op[i]))
			return false;
	return true;
}

/* --- buckets --- */

static enum family family_of(const struct decoded *d)
{
	if (d->zi.meta.isa_ext == ZYDIS_ISA_EXT_X87)
		return FAM_X87;
	if (d->zi.meta.category == ZYDIS_CATEGORY_XSAVE || d->zi.meta.category == ZYDIS_CATEGORY_XSAVEOPT)
		return FAM_X87;
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_FXSAVE || d->zi.mnemonic == ZYDIS_MNEMONIC_FXRSTOR ||
	        d->zi.mnemonic == ZYDIS_MNEMONIC_FXSAVE64 || d->zi.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64)
		return FAM_X87;
	for (unsigned i = 0; i < d->zi.operand_count_visible; i++) {
		if (d->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		switch (ZydisRegisterGetClass(d->op[i].reg.value)) {
		case ZYDIS_REGCLASS_MMX:
		case ZYDIS_REGCLASS_XMM:
		case ZYDIS_REGCLASS_YMM: return FAM_VEC;
		default: break;
		}
	}
	switch (d->zi.meta.isa_ext) {
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_MMX: return FAM_VEC;
	default: return FAM_INT;
	}
}

static u32 mix(u32 h, u32 v)
{
	h = (h ^ v) * 0x9e3779b1u;
	return h ^ h >> 15;
}

static u32 form_key(const struct decoded *d, enum insn_mode mode)
{
	const ZydisDecodedInstruction *zi = &d->zi;
	u32 h = mix(0x1234567, zi->mnemonic);

	h = mix(h, mode);
	h = mix(h, zi->encoding);
	h = mix(h, zi->opcode_map << 8 | zi->opcode);
	h = mix(h, zi->operand_width);
	h = mix(h, (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0);
	h = mix(h, (zi->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) != 0);
	h = mix(h, (zi->attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0);
	for (unsigned i = 0; i < zi->operand_count_visible; i++) {
		const ZydisDecodedOperand *o = &d->op[i];

		h = mix(h, (u32)o->type << 16 | o->size);
		h = mix(h, (u32)o->encoding);
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER)
			h = mix(h, (u32)ZydisRegisterGetClass(o->reg.value) + 100);
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
			h = mix(h, (u32)o->mem.type + 200);
	}
	return h | 1;
}

/* Returns false on lack of memory only. */
static bool grow(struct forms *f)
{
	u32 cap = f->cap ? f->cap * 2 : 4096, size = cap * 4;
	struct form *p = realloc(f->f, cap * sizeof(*p));
	u32 *h = calloc(size, sizeof(*h));

	if (p)
		f->f = p;
	if (!p || !h) {
		free(h);
		return false;
	}
	free(f->hash);
	f->hash = h;
	f->hash_size = size;
	f->cap = cap;
	for (u32 i = 0; i < f->n; i++) {
		u32 slot = f->f[i].key & (size - 1);

		while (h[slot])
			slot = (slot + 1) & (size - 1);
		h[slot] = i + 1;
	}
	return true;
}

static bool add_form(struct forms *f, const struct form *form)
{
	u32 slot;

	if (f->n == f->cap && !grow(f))
		return false;
	slot = form->key & (f->hash_size - 1);
	while (f->hash[slot]) {
		if (f->f[f->hash[slot] - 1].key == form->key)
			return true;
		slot = (slot + 1) & (f->hash_size - 1);
	}
	f->f[f->n++] = *form;
	f->hash[slot] = f->n;
	return true;
}

/* --- enumeration --- */

static u32 encode_example(const struct form *t, u8 *b)
{
	static const u8 pp[256] = {[0x66] = 1, [0xf3] = 2, [0xf2] = 3};
	u32 n = 0;

	if (t->lock)
		b[n++] = 0xf0;
	if (t->vex) {
		b[n++] = 0xc4;
		b[n++] = 0xe0 | t->map;
		b[n++] = (u8)(t->w << 7 | 0x78 | t->l << 2 | pp[t->prefix]);
	} else {
		if (t->prefix)
			b[n++] = t->prefix;
		if (t->w)
			b[n++] = 0x48;
		if (t->map)
			b[n++] = 0x0f;
		if (t->map >= 2)
			b[n++] = t->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = t->op;
	b[n++] = t->modrm;
	memset(b + n, 0, 15);
	if ((t->modrm & 0xc7) == 0x04)
		b[n] = 0x10; /* SIB: index 2, so that gathers (destination 1.., mask 0) have three registers
		              */
	return n + 10;
}

static bool try_form(struct forms *f, struct form *t)
{
	struct decoded d;
	u8 b[40];
	u32 len = encode_example(t, b);

	if (!forms_accept(f, t->mode, b, MIN(len, 15), &d))
		return true;
	t->mnemonic = (u16)d.zi.mnemonic;
	t->has_modrm = (d.zi.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
	t->family = (u8)family_of(&d);
	t->key = form_key(&d, t->mode);
	return add_form(f, t);
}

static bool is_prefix_byte(const struct form *t)
{
	if (t->vex || t->map)
		return false;
	switch (t->op) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0x0f:
	case 0xf0:
	case 0xf2:
	case 0xf3: return true;
	default: return t->mode == MODE_64 && (t->op & 0xf0) == 0x40;
	}
}

static bool enum_modrm(struct forms *f, struct form *t)
{
	static const u8 few[] = {0x00, 0x04, 0xc0, 0xc1};
	bool all = !t->vex && t->map == 0 && (t->op & 0xf8) == 0xd8; /* x87: every byte is an instruction */

	all |= !t->vex && t->map == 1 && (t->op == 0x01 || t->op == 0xae);
	if (all) {
		for (unsigned m = 0; m < 256; m++) {
			t->modrm = (u8)m;
			if ((m < 0xc0 && (m & 7)) || (m >= 0x40 && m < 0xc0))
				continue;
			if (!try_form(f, t))
				return false;
		}
		return true;
	}
	for (unsigned reg = 0; reg < 8; reg++)
		for (unsigned i = 0; i < ARRAY_SIZE(few); i++) {
			t->modrm = (u8)(few[i] | reg << 3);
			if (!try_form(f, t))
				return false;
		}
	return true;
}

static bool enum_all(struct forms *f, enum insn_mode mode)
{
	static const u8 prefixes[] = {0, 0x66, 0xf2, 0xf3};
	unsigned first_w = 0, last_w = mode == MODE_64 ? 1 : 0;

	for (unsigned map = 0; map < 4; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned p = 0; p < 5; p++)
				for (unsigned w = first_w; w <= last_w; w++) {
					struct form t = {.mode = (u8)mode,
					        .map = (u8)map,
					        .op = (u8)op,
					        .prefix = p < 4 ? prefixes[p] : 0,
					        .lock = p == 4,
					        .w = (u8)w};

					if (!is_prefix_byte(&t) && !enum_modrm(f, &t))
						return false;
				}
	for (unsigned map = 1; map < 4; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned p = 0; p < 16; p++) {
				struct form t = {.mode = (u8)mode,
				        .vex = 1,
				        .map = (u8)map,
				        .op = (u8)op,
				        .prefix = prefixes[p & 3],
				        .w = p >> 2 & 1,
				        .l = (u8)(p >> 3)};

				if (!enum_modrm(f, &t))
					return false;
			}
	return true;
}

int forms_create(struct forms *f, struct ref *r, bool with32)
{
	memset(f, 0, sizeof(*f));
	ZydisDecoderInit(&f->dec[MODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderInit(&f->dec[MODE_32], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	for (unsigned m = 0; m < 2; m++) {
		ZydisDecoderEnableMode(&f->dec[m], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&f->dec[m], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&f->dec[m], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	}
	f->with32 = with32;
	find_features(f, r);
	if (!enum_all(f, MODE_64) || (with32 && !enum_all(f, MODE_32)))
		return -1;
	for (unsigned fam = 0; fam < FAM_N; fam++) {
		f->pick[fam] = calloc(f->n + 1, sizeof(u32));
		if (!f->pick[fam])
			return -1;
	}
	for (u32 i = 0; i < f->n; i++)
		f->pick[f->f[i].family][f->npick[f->f[i].family]++] = i;
	return 0;
}

void forms_destroy(struct forms *f)
{
	for (unsigned fam = 0; fam < FAM_N; fam++)
		free(f->pick[fam]);
	free(f->hash);
	free(f->f);
}
