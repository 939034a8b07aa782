/*
 * Compares what the host and the reference engine made of a case, except for what the manual leaves
 * undefined and what AMD and Intel do differently in user mode; each exception is one entry below.
 */
#include "harness.h"
#include <stdarg.h>

struct cmp {
	char *text;
	u32 len;
	int differs;
};

static void PRINTF_LIKE(2, 3) differ(struct cmp *c, const char *fmt, ...)
{
	va_list ap;
	int n;

	c->differs++;
	va_start(ap, fmt);
	n = vsnprintf(c->text + c->len, DIFF_TEXT - c->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		c->len = MIN(c->len + (u32)n, (u32)DIFF_TEXT - 1);
}

/* --- exceptions --- */

struct lenient {
	u64 flags;      /* EFLAGS bits not compared */
	u16 fsw;        /* status word bits not compared */
	u32 gprs;       /* registers not compared at all */
	u32 gprs_upper; /* registers whose upper half is not compared */
	u32 lows;       /* vector registers of which only the first low_len bytes are compared; */
	u32 masks;      /* of these only the signs of elements of mask_size bytes */
	unsigned low_len, mask_size;
	u64 skip_at; /* bytes of memory that are not compared, */
	u32 skip_len;
	bool env;       /* memory image of FNSTENV and friends: pointers not compared */
	u32 mxcsr;      /* bits not compared */
	bool partial;   /* memory not compared if the instruction faulted */
	bool pf_detail; /* address and error code of #PF not compared */
	bool mmx_mode;  /* TOP and tags not compared */
	bool loaded;    /* x87 and vector state not compared */
	bool skip;      /* nothing is comparable */
};

static u32 shift_count(const struct decoded *d, const struct regs *in)
{
	u32 mask = d->zi.operand_width == 64 ? 63 : 31;

	for (unsigned i = 1; i < d->zi.operand_count_visible; i++) {
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return (u32)d->op[i].imm.value.u & mask;
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && d->op[i].reg.value == ZYDIS_REGISTER_CL)
			return (u32)in->gpr[RCX] & mask;
	}
	return 1;
}

/* SDM vol. 2, "SAL/SAR/SHL/SHR", "RCL/RCR/ROL/ROR": what the count leaves undefined */
static void shift_flags(struct lenient *l, const struct decoded *d, const struct regs *in, bool rotate)
{
	u32 n = shift_count(d, in);

	l->flags = 0;
	if (n == 0)
		return;
	if (n != 1)
		l->flags |= FL_OF;
	if (!rotate)
		l->flags |= FL_AF;
	if (!rotate && d->zi.mnemonic != ZYDIS_MNEMONIC_SAR && n >= d->zi.operand_width)
		l->flags |= FL_CF;
}

/* "SHLD", "SHRD": a count beyond the operand size leaves everything undefined */
static void double_shift(struct lenient *l, const struct decoded *d, const struct regs *in)
{
	u32 n = shift_count(d, in);

	l->flags = n == 0 ? 0 : n == 1 ? FL_AF : FL_AF | FL_OF;
	if (n > d->zi.operand_width)
		l->skip = true;
}

#define FSW_CC 0x4700 /* C0..C3 */
#define FSW_C1 0x0200
#define FSW_C2 0x0400
#define FSW_ES 0x0080
#define FSW_SF 0x0040
#define FSW_IE 0x0001

static bool is_x87_compare(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_FCOM:
	case ZYDIS_MNEMONIC_FCOMP:
	case ZYDIS_MNEMONIC_FCOMPP:
	case ZYDIS_MNEMONIC_FUCOM:
	case ZYDIS_MNEMONIC_FUCOMP:
	case ZYDIS_MNEMONIC_FUCOMPP:
	case ZYDIS_MNEMONIC_FICOM:
	case ZYDIS_MNEMONIC_FICOMP:
	case ZYDIS_MNEMONIC_FTST: return true;
	default: return false;
	}
}

static bool is_x87_compare_flags(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_FCOMI || m == ZYDIS_MNEMONIC_FCOMIP || m == ZYDIS_MNEMONIC_FUCOMI ||
	       m == ZYDIS_MNEMONIC_FUCOMIP;
}

static bool is_maskmov(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_MASKMOVQ || m == ZYDIS_MNEMONIC_MASKMOVDQU ||
	       m == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

static bool st0_is_nan(const struct x86_fpu *f)
{
	const struct x86_st *st = &f->r[f->fsw >> 11 & 7];

	return (st->exp & 0x7fff) == 0x7fff;
}

static bool is_masked_store(ZydisMnemonic m)
{
	return is_maskmov(m) || m == ZYDIS_MNEMONIC_VMASKMOVPS || m == ZYDIS_MNEMONIC_VMASKMOVPD ||
	       m == ZYDIS_MNEMONIC_VPMASKMOVD || m == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

static bool is_mmx(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_MMX;
}

/* PUSH of a selector, 32 bits wide: Intel writes 16 of them (SDM "PUSH"). */
static void selector_exceptions(struct lenient *l, const struct decoded *d, const struct insn_case *k,
        const struct outcome *n, const struct outcome *r)
{
	if (d->zi.mnemonic != ZYDIS_MNEMONIC_PUSH || k->mode != MODE_32 || d->zi.operand_width != 32 ||
	        d->op[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
	        ZydisRegisterGetClass(d->op[0].reg.value) != ZYDIS_REGCLASS_SEGMENT)
		return;
	l->skip_at = (u32)n->out.gpr[RSP] + 2;
	l->skip_len = 2;
	if (r->vector == EXC_AC)
		l->skip = true;
}

/* x87 stores. */
static void x87_store_exceptions(
        struct lenient *l, const struct decoded *d, const struct outcome *n, const struct outcome *r)
{
	if (d->zi.meta.isa_ext != ZYDIS_ISA_EXT_X87 && d->zi.mnemonic != ZYDIS_MNEMONIC_FISTTP)
		return;
	/* The value raises an unmasked exception: Intel does not look at the address. */
	if (!n->faulted && (n->out.fpu.fsw & FSW_ES) && r->faulted)
		l->skip = true;
	/* Intel writes 8 bytes of 10 before the others fault. */
	for (unsigned i = 0; i < d->zi.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && d->op[i].size == 80)
			l->partial = true;
}

/* Vector stores and gathers: what is done before a fault, and where the fault is. */
static void vector_exceptions(
        struct lenient *l, const struct decoded *d, const struct outcome *n, const struct outcome *r)
{
	/* Intel names the first byte that would be written. */
	if (is_masked_store(d->zi.mnemonic))
		l->pf_detail = true;
	/* Exceptions of a conversion are Intel's before the fault of its store. */
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH && n->faulted && r->faulted &&
	        d->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		l->mxcsr |= 0x3f;
		l->skip = l->skip || (n->vector == EXC_XM && r->vector != EXC_XM);
	}
	/* Intel extends the signs of the elements that are left and clears upper halves at once (SDM
	 * "VGATHERDPS"). */
	if (d->zi.meta.category == ZYDIS_CATEGORY_AVX2GATHER && n->faulted) {
		l->masks = BIT(ZydisRegisterGetId(d->op[2].reg.value));
		l->lows = BIT(ZydisRegisterGetId(d->op[0].reg.value));
		l->low_len = d->op[2].size / 8;
		l->mask_size = d->zi.raw.vex.W ? 8 : 4;
	}
	/* Intel does not check the alignment of half-precision operands. */
	if (d->zi.meta.isa_ext == ZYDIS_ISA_EXT_F16C && r->vector == EXC_AC)
		l->skip = true;
}

/* Repeated string instructions that end early or do not begin. */
static void string_exceptions(
        struct lenient *l, const struct decoded *d, const struct insn_case *k, const struct outcome *n)
{
	if (d->zi.meta.category != ZYDIS_CATEGORY_STRINGOP)
		return;
	/* "The EFLAGS value is restored to the state prior to the execution" (SDM "REP"); AMD leaves those of
	 * the last comparison. */
	if (n->faulted)
		l->flags |= FL_ARITH;
	/* With 32-bit addresses, nothing done: AMD leaves the registers alone, Intel clears upper halves. */
	if (d->zi.address_width == 32 && (n->faulted || (u32)k->in.gpr[RCX] == 0))
		l->gprs_upper |= BIT(RCX) | BIT(RSI) | BIT(RDI);
}

/* What depends on how the case ended. */
static void outcome_exceptions(struct lenient *l, const struct decoded *d, const struct insn_case *k,
        const struct outcome *n, const struct outcome *r)
{
	bool unmasked = (n->out.fpu.fsw & FSW_ES) != 0;
	u32 size = 0;

	for (unsigned i = 0; i < d->zi.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			size = MAX(size, d->op[i].size / 8u);
	/* EFLAGS.AC and operands of more than 8 bytes: implementation specific (SDM vol. 3, 6.15, #AC);
	 * AMD checks unaligned vector operands, the others do not. */
	if ((k->in.rflags & FL_AC) && size > 8 && (n->vector == EXC_AC || r->vector == EXC_AC))
		l->skip = true;
	/* Not aligned, not canonical and through the stack segment: #GP or #SS, both are due. */
	if (n->faulted && r->faulted && n->vector == EXC_GP && r->vector == EXC_SS && size >= 16)
		l->skip = true;
	/* Condition codes after an unmasked exception: Intel leaves them, AMD sets them (SDM "FCOM"). */
	if (is_x87_compare(d->zi.mnemonic) && unmasked)
		l->fsw |= FSW_CC;
	/* So do the flags of FCOMI. */
	if (is_x87_compare_flags(d->zi.mnemonic) && unmasked)
		l->flags = FL_ARITH;
	/* C2 says that the operand of FSIN, FPREM... was out of range or the remainder partial: nothing of
	 * the kind is known of an empty register. C0, C1 and C3 are FPREM's quotient, which there is not. */
	if (d->zi.meta.isa_ext == ZYDIS_ISA_EXT_X87 && (unmasked || (n->out.fpu.fsw & FSW_SF)))
		l->fsw |= FSW_C2;
	if ((d->zi.mnemonic == ZYDIS_MNEMONIC_FPREM || d->zi.mnemonic == ZYDIS_MNEMONIC_FPREM1) &&
	        (unmasked || st0_is_nan(&n->out.fpu)))
		l->fsw |= FSW_CC;
	/* Whether a masked-off store can fault is implementation specific (SDM "MASKMOVDQU"). */
	if (is_maskmov(d->zi.mnemonic) && (n->faulted != r->faulted || n->vector != r->vector))
		l->skip = true;
	/* Which of two faulting operands is read first. */
	if (d->zi.meta.category == ZYDIS_CATEGORY_STRINGOP)
		l->pf_detail = true;
	if (d->zi.meta.category == ZYDIS_CATEGORY_STRINGOP && n->faulted && r->faulted &&
	        n->vector != r->vector)
		l->skip = true;
	/* Which registers POPA has loaded when a later one faults. */
	if ((d->zi.mnemonic == ZYDIS_MNEMONIC_POPA || d->zi.mnemonic == ZYDIS_MNEMONIC_POPAD) && n->faulted)
		l->gprs = 0xffff;
	/* Whether ENTER's check that the new top of the stack is writable is a checked access too. */
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_ENTER && (k->in.rflags & FL_AC) && n->vector == EXC_AC)
		l->skip = true;
	/* Which part of a large operand is probed first, and whether parts are written before a fault. */
	if (size > (d->zi.meta.isa_ext == ZYDIS_ISA_EXT_X87 ? 10 : 64))
		l->pf_detail = l->partial = true;
	/* Memory operands of SHA and the legacy alignment rule: AMD does not enforce it. */
	if (d->zi.meta.isa_ext == ZYDIS_ISA_EXT_SHA && r->faulted && r->vector == EXC_GP)
		l->skip = true;
	/* Unmasked overflow or underflow: whether PE is set besides is not specified. */
	if (n->faulted && n->vector == EXC_XM && (n->out.mxcsr & 0x18))
		l->mxcsr |= 0x20;
	/* AMD enters MMX mode before the fault of a conversion to MMX is known, Intel before that of a store.
	 */
	for (unsigned i = 0; i < 2 && n->faulted; i++)
		l->mmx_mode = l->mmx_mode || is_mmx(&d->op[i]);
	/* XRSTOR of a reserved bit of MXCSR: Intel has loaded the parts before it. */
	if ((d->zi.mnemonic == ZYDIS_MNEMONIC_XRSTOR || d->zi.mnemonic == ZYDIS_MNEMONIC_XRSTOR64) &&
	        n->vector == EXC_GP && r->vector == EXC_GP)
		l->loaded = true;
	/* MOVSXD to 16 bits: Intel reads as many, AMD 32. */
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_MOVSXD && d->zi.operand_width == 16 && r->faulted)
		l->skip = true;
	/* One bound is exceeded, the other cannot be read. */
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_BOUND && n->vector == EXC_BR && r->vector == EXC_PF)
		l->skip = true;
	selector_exceptions(l, d, k, n, r);
	x87_store_exceptions(l, d, n, r);
	vector_exceptions(l, d, n, r);
	string_exceptions(l, d, k, n);
}

u64 undefined_flags(const struct decoded *d)
{
	u64 fl = d->zi.cpu_flags ? d->zi.cpu_flags->undefined & FL_ARITH : 0;

	switch (d->zi.meta.category) {
	case ZYDIS_CATEGORY_SHIFT: return fl | FL_OF | FL_AF | FL_CF;
	case ZYDIS_CATEGORY_ROTATE: return fl | FL_OF;
	default: return fl;
	}
}

/* Exceptions of a sequence: those of its instructions together. */
static struct lenient sequence_exceptions(
        const struct forms *f, const struct insn_case *k, const struct outcome *n)
{
	struct lenient l = {0};
	struct decoded d;
	u32 at = 0;

	for (unsigned i = 0; i < k->count; i++) {
		if (!forms_accept(f, k->mode, k->code + at, INSN_MAX_LEN, &d))
			break;
		l.flags |= undefined_flags(&d);
		at += d.zi.length;
	}
	if (n->faulted && n->vector == EXC_XM && (n->out.mxcsr & 0x18))
		l.mxcsr |= 0x20;
	l.mmx_mode = n->faulted; /* a conversion to MMX may have faulted, see above */
	return l;
}

static struct lenient exceptions(const struct decoded *d, const struct insn_case *k)
{
	struct lenient l = {0};

	if (d->zi.cpu_flags)
		l.flags = d->zi.cpu_flags->undefined & FL_ARITH;
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR: shift_flags(&l, d, &k->in, false); break;
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR: shift_flags(&l, d, &k->in, true); break;
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD: double_shift(&l, d, &k->in); break;
	/* Instruction and data pointers: AMD keeps them only with a pending exception, Intel always;
	 * FXSAVE also stores MXCSR_MASK, where AMD has bit 17. */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64: l.env = true; break;
	/* C1: Intel clears it, AMD leaves it (SDM "FCOMI": C1 set to 0) */
	case ZYDIS_MNEMONIC_FCOMI:
	case ZYDIS_MNEMONIC_FCOMIP:
	case ZYDIS_MNEMONIC_FUCOMI:
	case ZYDIS_MNEMONIC_FUCOMIP:
	case ZYDIS_MNEMONIC_FCMOVB:
	case ZYDIS_MNEMONIC_FCMOVBE:
	case ZYDIS_MNEMONIC_FCMOVE:
	case ZYDIS_MNEMONIC_FCMOVNB:
	case ZYDIS_MNEMONIC_FCMOVNBE:
	case ZYDIS_MNEMONIC_FCMOVNE:
	case ZYDIS_MNEMONIC_FCMOVNU:
	case ZYDIS_MNEMONIC_FCMOVU: l.fsw = FSW_C1; break;
	/* "C0, C1, C2, C3 undefined" */
	case ZYDIS_MNEMONIC_FFREE:
	case ZYDIS_MNEMONIC_FFREEP: l.fsw = FSW_CC; break;
	default: break;
	}
	return l;
}

/* --- parts --- */

static void compare_end(
        struct cmp *c, const struct lenient *l, const struct outcome *n, const struct outcome *r)
{
	if (n->faulted != r->faulted || (n->faulted && n->vector != r->vector)) {
		differ(c, "  end: host %s", n->faulted ? "vector " : "completed");
		if (n->faulted)
			differ(c, "%u error %x addr %llx", n->vector, n->error, (unsigned long long)n->addr);
		differ(c, ", interp %s", r->faulted ? "vector " : "completed");
		if (r->faulted)
			differ(c, "%u error %x addr %llx", r->vector, r->error, (unsigned long long)r->addr);
		differ(c, "\n");
		return;
	}
	if (n->faulted && n->error != r->error && !l->pf_detail)
		differ(c, "  error code: host %x interp %x\n", n->error, r->error);
	if (n->faulted && n->vector == EXC_PF && n->addr != r->addr && !l->pf_detail)
		differ(c, "  CR2: host %llx interp %llx\n", (unsigned long long)n->addr,
		        (unsigned long long)r->addr);
	if (n->out.rip != r->out.rip)
		differ(c, "  rip: host %llx interp %llx\n", (unsigned long long)n->out.rip,
		        (unsigned long long)r->out.rip);
}

static const char *const gpr_names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9",
        "r10", "r11", "r12", "r13", "r14", "r15"};

static void compare_gprs(struct cmp *c, const struct insn_case *k, const struct lenient *l,
        const struct regs *n, const struct regs *r)
{
	unsigned count = k->mode == MODE_64 ? 16 : 8;

	for (unsigned i = 0; i < count; i++) {
		u64 mask = k->mode == MODE_32 || (l->gprs_upper >> i & 1) ? 0xffffffff : ~0ull;

		if (!(l->gprs >> i & 1) && ((n->gpr[i] ^ r->gpr[i]) & mask))
			differ(c, "  %s: host %016llx interp %016llx\n", gpr_names[i],
			        (unsigned long long)n->gpr[i], (unsigned long long)r->gpr[i]);
	}
	if ((n->rflags ^ r->rflags) & FL_USER & ~l->flags)
		differ(c, "  flags: host %06llx interp %06llx differ %06llx\n",
		        (unsigned long long)n->rflags & FL_USER, (unsigned long long)r->rflags & FL_USER,
		        (unsigned long long)((n->rflags ^ r->rflags) & FL_USER & ~l->flags));
	if (k->mode == MODE_64 && (n->fs_base != r->fs_base || n->gs_base != r->gs_base))
		differ(c, "  fs/gs: host %llx %llx interp %llx %llx\n", (unsigned long long)n->fs_base,
		        (unsigned long long)n->gs_base, (unsigned long long)r->fs_base,
		        (unsigned long long)r->gs_base);
}

static void compare_x87(
        struct cmp *c, const struct lenient *l, const struct x86_fpu *n, const struct x86_fpu *r)
{
	if (n->fcw != r->fcw)
		differ(c, "  fcw: host %04x interp %04x\n", n->fcw, r->fcw);
	if (((n->fsw ^ r->fsw) & ~l->fsw) && !l->mmx_mode)
		differ(c, "  fsw: host %04x interp %04x\n", n->fsw, r->fsw);
	if (n->ftw != r->ftw && !l->mmx_mode)
		differ(c, "  ftw: host %02x interp %02x\n", n->ftw, r->ftw);
	for (unsigned i = 0; i < 8; i++)
		if (n->r[i].mant != r->r[i].mant || n->r[i].exp != r->r[i].exp)
			differ(c, "  R%u: host %04x %016llx interp %04x %016llx\n", i, n->r[i].exp,
			        (unsigned long long)n->r[i].mant, r->r[i].exp,
			        (unsigned long long)r->r[i].mant);
}

static bool same_vec(const struct lenient *l, unsigned i, const union x86_vec *a, const union x86_vec *b)
{
	if (l->lows >> i & 1)
		return memcmp(a, b, l->low_len) == 0;
	if (!(l->masks >> i & 1))
		return memcmp(a, b, sizeof(*a)) == 0;
	for (unsigned n = l->mask_size - 1; n < l->low_len; n += l->mask_size)
		if ((a->b[n] ^ b->b[n]) & 0x80)
			return false;
	return true;
}

static void compare_vec(struct cmp *c, const struct lenient *l, const struct regs *n, const struct regs *r)
{
	if ((n->mxcsr ^ r->mxcsr) & ~l->mxcsr)
		differ(c, "  mxcsr: host %04x interp %04x\n", n->mxcsr, r->mxcsr);
	for (unsigned i = 0; i < 16; i++) {
		if (same_vec(l, i, &n->vec[i], &r->vec[i]))
			continue;
		differ(c, "  ymm%u: host  ", i);
		for (int q = 3; q >= 0; q--)
			differ(c, " %016llx", (unsigned long long)n->vec[i].q[q]);
		differ(c, "\n        interp");
		for (int q = 3; q >= 0; q--)
			differ(c, " %016llx", (unsigned long long)r->vec[i].q[q]);
		differ(c, "\n");
	}
}

/* Is byte off of the operand's memory image a pointer field (or, for FXSAVE, MXCSR_MASK)? */
static bool env_pointer(const struct decoded *d, s64 off)
{
	bool wide = d->zi.operand_width != 16;

	if (d->zi.mnemonic != ZYDIS_MNEMONIC_FNSTENV && d->zi.mnemonic != ZYDIS_MNEMONIC_FNSAVE)
		return (off >= 6 && off < 24) || (off >= 28 && off < 32);
	return wide ? off >= 12 && off < 28 : off >= 6 && off < 14;
}

static void compare_memory(struct cmp *c, const struct decoded *d, const struct insn_case *k,
        const struct lenient *l, const u8 *n, const u8 *r)
{
	u64 ea = l->env ? operand_ea(d, &d->op[0], &k->in, 0) : 0;
	unsigned shown = 0;

	if (!memcmp(n, r, DATA_SIZE))
		return;
	for (u32 i = 0; i < DATA_SIZE; i++) {
		if (n[i] == r[i] || (l->env && env_pointer(d, (s64)(DATA_BASE + i - ea))))
			continue;
		if (DATA_BASE + i - l->skip_at < l->skip_len)
			continue;
		if (shown++ < 16)
			differ(c, "  [%llx]: host %02x interp %02x\n", (unsigned long long)(DATA_BASE + i),
			        n[i], r[i]);
	}
}

int compare(const struct forms *f, const struct insn_case *k, const struct outcome *nat,
        const struct outcome *ref, const u8 *nat_data, const u8 *ref_data, char text[DIFF_TEXT])
{
	struct cmp c = {.text = text};
	struct decoded d;
	struct lenient l = {0};

	text[0] = 0;
	if (!forms_accept(f, k->mode, k->code, INSN_MAX_LEN, &d)) {
		differ(&c, "  the case does not decode\n");
		return c.differs;
	}
	l = k->count > 1 ? sequence_exceptions(f, k, nat) : exceptions(&d, k);
	if (k->count == 1) {
		if (nat->faulted)
			l.flags = 0; /* nothing was done, so nothing is undefined */
		outcome_exceptions(&l, &d, k, nat, ref);
	}
	if (l.skip)
		return COMPARE_EXCEPTED;
	compare_end(&c, &l, nat, ref);
	compare_gprs(&c, k, &l, &nat->out, &ref->out);
	if (!l.loaded) {
		compare_x87(&c, &l, &nat->out.fpu, &ref->out.fpu);
		compare_vec(&c, &l, &nat->out, &ref->out);
	}
	if (!(l.partial && nat->faulted))
		compare_memory(&c, &d, k, &l, nat_data, ref_data);
	return c.differs;
}
