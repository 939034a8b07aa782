/*
 * Decoding with Zydis and binding to handlers. The common part of struct insn is filled here for
 * every instruction; the mnemonic's binder adds the rest and picks the handler.
 */
#include "accel/soft/interp/decode.h"
#include "accel/soft/interp/sys.h"

u8 reg8_off(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
		return (u8)((r - ZYDIS_REGISTER_AH) * 8 + 1);
	if (r >= ZYDIS_REGISTER_SPL)
		return (u8)((r - ZYDIS_REGISTER_SPL + 4) * 8);
	return (u8)((r - ZYDIS_REGISTER_AL) * 8);
}

u8 reg_num(ZydisRegister r)
{
	ZyanI8 id = ZydisRegisterGetId(r);

	return id < 0 ? REG_ZERO : (u8)(id & 15);
}

void op_ud(struct cpu *c, const struct insn *i)
{
	cpu_raise(c, EXC_UD);
}

void op_nm(struct cpu *c, const struct insn *i)
{
	cpu_raise(c, EXC_NM);
}

void op_nop(struct cpu *c, const struct insn *i)
{
}

static void op_gp(struct cpu *c, const struct insn *i)
{
	cpu_raise_err(c, EXC_GP, 0);
}

/* --- decoders --- */

static unsigned mode_index(u32 hf)
{
	unsigned stack = hf & HF_SS32 ? 1 : 0;

	if (hf & HF_CS64)
		return 0;
	if (hf & HF_LMA)
		return 2 + stack + (hf & HF_CS32 ? 2 : 0);
	if ((hf & HF_PE) && !(hf & HF_VM86))
		return 6 + stack + (hf & HF_CS32 ? 2 : 0);
	/* Real mode with a 32-bit code segment (left over from protected mode) decodes as 32-bit code. */
	return hf & HF_CS32 ? 8 + stack : 10 + stack;
}

void decoders_init(struct decoders *ds, const struct cpuid_table *cpuid)
{
	static const u8 modes[DEC_MODES] = {
	        ZYDIS_MACHINE_MODE_LONG_64,
	        ZYDIS_MACHINE_MODE_LONG_64,
	        ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
	        ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
	        ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
	        ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
	        ZYDIS_MACHINE_MODE_LEGACY_16,
	        ZYDIS_MACHINE_MODE_LEGACY_16,
	        ZYDIS_MACHINE_MODE_LEGACY_32,
	        ZYDIS_MACHINE_MODE_LEGACY_32,
	        ZYDIS_MACHINE_MODE_REAL_16,
	        ZYDIS_MACHINE_MODE_REAL_16,
	};

	for (unsigned n = 0; n < DEC_MODES; n++) {
		ZydisDecoder *d = &ds->d[n];
		ZydisStackWidth w = n < 2   ? ZYDIS_STACK_WIDTH_64
		                    : n & 1 ? ZYDIS_STACK_WIDTH_32
		                            : ZYDIS_STACK_WIDTH_16;

		ZydisDecoderInit(d, (ZydisMachineMode)modes[n], w);
		/* Not advertised: their encodings are the no-operations they were before. */
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_LZCNT, cpuid_has(cpuid, CF_LZCNT));
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_TZCNT, cpuid_has(cpuid, CF_BMI1));
	}
}

/* --- features --- */

/* Instruction sets that exist only with a CPUID bit; those in no list here are always there. */
static const u32 isa_features[ZYDIS_ISA_SET_MAX_VALUE + 1] = { /* 0: none is needed */
        [ZYDIS_ISA_SET_ADOX_ADCX] = CF_ADX,
        [ZYDIS_ISA_SET_AES] = CF_AES,
        [ZYDIS_ISA_SET_AVX] = CF_AVX,
        [ZYDIS_ISA_SET_AVX2] = CF_AVX2,
        [ZYDIS_ISA_SET_AVX2GATHER] = CF_AVX2,
        [ZYDIS_ISA_SET_AVXAES] = CF_AES,
        [ZYDIS_ISA_SET_BMI1] = CF_BMI1,
        [ZYDIS_ISA_SET_BMI2] = CF_BMI2,
        [ZYDIS_ISA_SET_CLFLUSHOPT] = CF_CLFLUSHOPT,
        [ZYDIS_ISA_SET_CLWB] = CF_CLWB,
        [ZYDIS_ISA_SET_CMPXCHG16B] = CF_CX16,
        [ZYDIS_ISA_SET_F16C] = CF_F16C,
        [ZYDIS_ISA_SET_FMA] = CF_FMA,
        [ZYDIS_ISA_SET_INVPCID] = CF_INVPCID,
        [ZYDIS_ISA_SET_LAHF] = CF_LAHF,
        [ZYDIS_ISA_SET_LZCNT] = CF_LZCNT,
        [ZYDIS_ISA_SET_MOVBE] = CF_MOVBE,
        [ZYDIS_ISA_SET_PCLMULQDQ] = CF_PCLMULQDQ,
        [ZYDIS_ISA_SET_POPCNT] = CF_POPCNT,
        [ZYDIS_ISA_SET_RDPID] = CF_RDPID,
        [ZYDIS_ISA_SET_RDRAND] = CF_RDRAND,
        [ZYDIS_ISA_SET_RDSEED] = CF_RDSEED,
        [ZYDIS_ISA_SET_RDTSCP] = CF_RDTSCP,
        [ZYDIS_ISA_SET_RDWRFSGS] = CF_FSGSBASE,
        [ZYDIS_ISA_SET_SHA] = CF_SHA,
        [ZYDIS_ISA_SET_SMAP] = CF_SMAP,
        [ZYDIS_ISA_SET_SSE3] = CF_SSE3,
        [ZYDIS_ISA_SET_SSE3X87] = CF_SSE3,
        [ZYDIS_ISA_SET_SSE4] = CF_SSE41,
        [ZYDIS_ISA_SET_SSE42] = CF_SSE42,
        [ZYDIS_ISA_SET_SSSE3] = CF_SSSE3,
        [ZYDIS_ISA_SET_SSSE3MMX] = CF_SSSE3,
        [ZYDIS_ISA_SET_XSAVE] = CF_XSAVE,
        [ZYDIS_ISA_SET_XSAVEC] = CF_XSAVEC,
        [ZYDIS_ISA_SET_XSAVEOPT] = CF_XSAVEOPT,
};

/* Extensions that we never advertise, though a mnemonic of theirs may be shared with one we have. */
static bool never(const ZydisDecodedInstruction *zi)
{
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	        zi->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
	        zi->encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
	        zi->encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW)
		return true;
	switch (zi->meta.isa_ext) {
	case ZYDIS_ISA_EXT_VAES:
	case ZYDIS_ISA_EXT_VPCLMULQDQ:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_AVX_VNNI:
	case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_AVX512VEX:
	case ZYDIS_ISA_EXT_SSE4A: return true;
	default: return false;
	}
}

static bool have_insn(const struct cpuid_table *cpuid, const ZydisDecodedInstruction *zi)
{
	u32 feature = isa_features[zi->meta.isa_set];

	return !never(zi) && (!feature || cpuid_has(cpuid, feature));
}

static const struct {
	u32 feature;
	u16 mnemonic;
} representatives[] = {
        {CF_SSE3, ZYDIS_MNEMONIC_ADDSUBPS},
        {CF_PCLMULQDQ, ZYDIS_MNEMONIC_PCLMULQDQ},
        {CF_SSSE3, ZYDIS_MNEMONIC_PSHUFB},
        {CF_FMA, ZYDIS_MNEMONIC_VFMADD132PS},
        {CF_CX16, ZYDIS_MNEMONIC_CMPXCHG16B},
        {CF_SSE41, ZYDIS_MNEMONIC_PMULLD},
        {CF_SSE42, ZYDIS_MNEMONIC_PCMPISTRI},
        {CF_MOVBE, ZYDIS_MNEMONIC_MOVBE},
        {CF_POPCNT, ZYDIS_MNEMONIC_POPCNT},
        {CF_AES, ZYDIS_MNEMONIC_AESENC},
        {CF_XSAVE, ZYDIS_MNEMONIC_XSAVE},
        {CF_AVX, ZYDIS_MNEMONIC_VADDPS},
        {CF_F16C, ZYDIS_MNEMONIC_VCVTPH2PS},
        {CF_RDRAND, ZYDIS_MNEMONIC_RDRAND},
        {CF_BMI1, ZYDIS_MNEMONIC_ANDN},
        {CF_AVX2, ZYDIS_MNEMONIC_VPERMQ},
        {CF_BMI2, ZYDIS_MNEMONIC_PDEP},
        {CF_RDSEED, ZYDIS_MNEMONIC_RDSEED},
        {CF_ADX, ZYDIS_MNEMONIC_ADCX},
        {CF_SHA, ZYDIS_MNEMONIC_SHA1MSG1},
        {CF_RDPID, ZYDIS_MNEMONIC_RDPID},
        {CF_XSAVEOPT, ZYDIS_MNEMONIC_XSAVEOPT},
        {CF_XSAVEC, ZYDIS_MNEMONIC_XSAVEC},
        {CF_LAHF, ZYDIS_MNEMONIC_LAHF},
        {CF_LZCNT, ZYDIS_MNEMONIC_LZCNT},
};

bool feature_bound(u32 feature)
{
	for (unsigned n = 0; n < ARRAY_SIZE(representatives); n++)
		if (representatives[n].feature == feature)
			return insn_binders[representatives[n].mnemonic] != NULL;
	return true;
}

/* --- the common part --- */

static u8 seg_override(const ZydisDecodedInstruction *zi, u8 def)
{
	if (zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return SEG_FS;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return SEG_GS;
	if (zi->machine_mode == ZYDIS_MACHINE_MODE_LONG_64)
		return def; /* the other four are ignored */
	if (zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS)
		return SEG_CS;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS)
		return SEG_SS;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_DS)
		return SEG_DS;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES)
		return SEG_ES;
	return def;
}

static u8 base_reg(ZydisRegister r)
{
	if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP)
		return REG_RIP;
	return r == ZYDIS_REGISTER_NONE ? REG_ZERO : reg_num(r);
}

static u8 index_reg(ZydisRegister r)
{
	ZydisRegisterClass cls = ZydisRegisterGetClass(r);

	return cls == ZYDIS_REGCLASS_GPR16 || cls == ZYDIS_REGCLASS_GPR32 || cls == ZYDIS_REGCLASS_GPR64
	               ? reg_num(r)
	               : REG_ZERO; /* none, or VSIB: its binder's business */
}

/* The memory operand of ModRM or of MOV's moffs forms; hidden ones (stack, strings) are handlers'. */
static const ZydisDecodedOperand *mem_operand(const struct dec *d)
{
	for (unsigned n = 0; n < d->zi.operand_count; n++) {
		const ZydisDecodedOperand *o = &d->op[n];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		        (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
		                o->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64))
			return o;
	}
	return NULL;
}

/*
 * SIB.base = 5 with ModRM.mod = 0 is a displacement without a base, whatever REX.B says (SDM vol. 2,
 * table 2-3). Zydis 4.0 gets this wrong with 32-bit addresses in 64-bit mode: it names EBP or R13D as
 * the base, or drops the displacement.
 */
static bool sib_without_base(const ZydisDecodedInstruction *zi)
{
	return (zi->attributes & ZYDIS_ATTRIB_HAS_SIB) && zi->raw.modrm.mod == 0 && zi->raw.sib.base == 5;
}

static void fill_mem(const struct dec *d, struct insn *i)
{
	const ZydisDecodedOperand *o = mem_operand(d);

	i->base = i->index = REG_ZERO;
	i->seg = SEG_DS;
	if (o) {
		i->flags |= INSN_MEM;
		i->base = base_reg(o->mem.base);
		i->index = index_reg(o->mem.index);
		i->scale = o->mem.scale ? (u8)__builtin_ctz(o->mem.scale) : 0;
		i->disp = o->mem.disp.has_displacement ? o->mem.disp.value : 0;
		if (sib_without_base(&d->zi)) {
			i->base = REG_ZERO;
			i->disp = d->zi.raw.disp.value;
		}
		i->seg = i->base == RSP || i->base == RBP ? SEG_SS : SEG_DS;
	}
	i->seg = seg_override(&d->zi, i->seg);
	if (!(d->hf & HF_CS64))
		i->seg_mode = SEGM_CHECK;
	else
		i->seg_mode = i->seg >= SEG_FS ? SEGM_BASE : SEGM_FLAT;
}

static void fill(const struct dec *d, struct insn *i)
{
	const ZydisDecodedInstruction *zi = &d->zi;

	i->len = zi->length;
	i->asize = zi->address_width / 8;
	i->osize = zi->operand_width / 8;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		i->flags |= INSN_LOCK;
	if (zi->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		i->flags |= INSN_REP;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_REPNE)
		i->flags |= INSN_REPNE;
	fill_mem(d, i);
	if (zi->raw.imm[0].size)
		i->imm = zi->raw.imm[0].value.u;
}

static bool ends_block(const struct dec *d, const struct insn *i)
{
	if (i->fn == op_ud || i->fn == op_nm)
		return true;
	switch (d->zi.meta.category) {
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET: return true;
	default: return false;
	}
}

static enum decoded fixed(struct insn *i, insn_fn *fn)
{
	memset(i, 0, sizeof(*i));
	i->fn = fn;
	i->len = 1; /* any: a fault steps it back */
	return DEC_LAST;
}

/*
 * F3 90 is PAUSE, but with REX.B it is XCHG R8, rAX as without F3. Zydis 4.0 calls both PAUSE: decode
 * again without the prefix.
 */
static ZyanStatus decode_zydis(const ZydisDecoder *z, const u8 *bytes, unsigned len, struct dec *d)
{
	ZyanStatus st = ZydisDecoderDecodeFull(z, bytes, len, &d->zi, d->op);
	u8 copy[INSN_MAX];
	unsigned n = 0, all;

	if (!ZYAN_SUCCESS(st) || d->zi.mnemonic != ZYDIS_MNEMONIC_PAUSE || !d->zi.raw.rex.B)
		return st;
	all = d->zi.length;
	for (unsigned i = 0; i < all; i++)
		if (bytes[i] != 0xf3)
			copy[n++] = bytes[i];
	st = ZydisDecoderDecodeFull(z, copy, n, &d->zi, d->op);
	d->zi.length = (ZyanU8)all;
	return st;
}

enum decoded decode_full(const struct decoders *ds, const struct cpuid_table *cpuid, u32 hf, const u8 *bytes,
        unsigned len, struct insn *i, struct dec *d)
{
	ZyanStatus st = decode_zydis(&ds->d[mode_index(hf)], bytes, len, d);
	bind_fn *bind;

	if (st == ZYDIS_STATUS_NO_MORE_DATA && len < INSN_MAX)
		return DEC_MORE;
	if (st == ZYDIS_STATUS_NO_MORE_DATA || st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return fixed(i, op_gp);
	if (!ZYAN_SUCCESS(st))
		return fixed(i, op_ud);
	bind = sys_form(d);
	if (!bind)
		bind = insn_binders[d->zi.mnemonic];
	if (!bind || !have_insn(cpuid, &d->zi))
		return fixed(i, op_ud);
	memset(i, 0, sizeof(*i));
	d->hf = hf;
	fill(d, i);
	if (!bind(d, i))
		return fixed(i, op_ud);
	return ends_block(d, i) ? DEC_LAST : DEC_OK;
}

enum decoded decode_insn(const struct decoders *ds, const struct cpuid_table *cpuid, u32 hf, const u8 *bytes,
        unsigned len, struct insn *i)
{
	struct dec d;

	return decode_full(ds, cpuid, hf, bytes, len, i, &d);
}
