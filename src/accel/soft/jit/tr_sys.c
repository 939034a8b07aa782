/*
 * System instructions that kernels execute all the time: the interrupt flag, PUSHF and POPF, SWAPGS, STAC and
 * CLAC, the time stamp counter, segment selectors. What is not the common case is interp's.
 *
 * Interrupts become deliverable by STI or POPF: whoever finds a request waiting leaves it to interp, which
 * also knows the shadow; one that comes later is seen at the next backward jump or lookup, as all are.
 */
#include "accel/soft/jit/tr.h"

#include "base/clock.h"

#define EFLAGS offsetof(struct cpu, eflags)
#define REQUESTS offsetof(struct cpu, request)
static_assert(offsetof(struct cpu, masked) == REQUESTS + 4, "both are looked at together");
#define SEG(n, field)                                                                                        \
	(offsetof(struct cpu, seg) + (n) * sizeof(struct x86_seg) + offsetof(struct x86_seg, field))

static bool kernel(const struct tr *t)
{
	return (t->key & HF_CPL) == 0;
}

bool tr_sys_ok(const struct tr *t, const struct ti *i)
{
	const ZydisDecodedOperand *o = i->d.op;

	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_STI:
	case ZYDIS_MNEMONIC_SWAPGS: return kernel(t);
	case ZYDIS_MNEMONIC_CLAC:
	case ZYDIS_MNEMONIC_STAC: return kernel(t) && (t->c->cr4 & CR4_SMAP);
	case ZYDIS_MNEMONIC_PUSHFQ: return true;
	case ZYDIS_MNEMONIC_POPFQ: return kernel(t);
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP: return t->c->host->clock && !t->j->check; /* never the same twice */
	case ZYDIS_MNEMONIC_MOV:
		return i->i.osize >= 4 && o[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		       o[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		       ZydisRegisterGetClass(o[1].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
		       ZydisRegisterGetClass(o[0].reg.value) != ZYDIS_REGCLASS_SEGMENT;
	default: return false;
	}
}

unsigned tr_sys_effects(const struct ti *i)
{
	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_SWAPGS:
	case ZYDIS_MNEMONIC_MOV: return 0;
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP: return FX_READS; /* AX is needed */
	default: return FX_CLOBBER;
	}
}

static void do_sti(struct tr *t)
{
	struct site *s = tr_callout_site(t);

	tr_flags_clobber(t);
	as_test_gs64(&t->a, REQUESTS);
	tr_callout_when(t, CC_NE, s);
	as_gs32_imm(&t->a, AS_OR, EFLAGS, FL_IF);
}

static void do_cli(struct tr *t)
{
	tr_flags_clobber(t);
	as_gs32_imm(&t->a, AS_AND, EFLAGS, ~FL_IF);
}

static void do_pushf(struct tr *t)
{
	struct as *a = &t->a;

	tr_flags_ax(t);
	as_lea(a, S1, as_at(RSP, -8));
	tr_check(t, 8, true);
	as_rorx(a, S2, RAX, 8); /* AH */
	as_alu_imm(a, 0, AS_AND, S2, FL_ARITH & 0xff);
	as_rm(a, 0, 0x0b, S2, as_gs(EFLAGS)); /* OR */
	as_bytes(a, "\x84\xc0\x74\x07", 4);   /* TEST AL, AL; JZ over the next instruction */
	as_rr(a, 0, 0x81, AS_OR, S2);
	as_32(a, FL_OF);
	as_st(a, as_at(S1, 0), S2);
	as_lea(a, RSP, as_at(RSP, -8));
}

static void do_popf(struct tr *t)
{
	struct site *s = tr_callout_site(t);
	struct as *a = &t->a;

	tr_flags_ax(t);
	as_mov(a, S1, RSP);
	tr_check(t, 8, false);
	as_ld(a, S1, as_at(S1, 0));
	as_mov32(a, S2, S1);
	as_rm(a, 0, 0x33, S2, as_gs(EFLAGS)); /* XOR: what changes */
	as_rr(a, 0, 0xf7, 0, S2);             /* TEST */
	as_32(a, ~(FL_ARITH | FL_IF | FL_1));
	tr_callout_when(t, CC_NE, s);
	as_test_gs64(a, REQUESTS);
	tr_callout_when(t, CC_NE, s);
	as_alu_imm(a, 0, AS_AND, S2, FL_IF);
	as_rm(a, 0, 0x31, S2, as_gs(EFLAGS)); /* XOR gs:[], S2 */
	as_mov32(a, RAX, S1);
	as_bytes(a, "\x24\xd5", 2);     /* AND AL: the bits that SAHF takes */
	as_bytes(a, "\xc1\xe0\x08", 3); /* SHL EAX, 8 */
	as_rr(a, 0, 0xf7, 0, S1);       /* TEST */
	as_32(a, FL_OF);
	as_bytes(a, "\x0f\x95\xc0", 3); /* SETNE AL */
	as_lea(a, RSP, as_at(RSP, 8));
	t->flags = FLAGS_AX;
}

static void do_swapgs(struct tr *t)
{
	const size_t kernel_base = offsetof(struct cpu, kernel_gs_base);

	as_ld(&t->a, S1, as_gs(SEG(SEG_GS, base)));
	as_ld(&t->a, S2, as_gs(kernel_base));
	as_st(&t->a, as_gs(SEG(SEG_GS, base)), S2);
	as_st(&t->a, as_gs(kernel_base), S1);
}

/* The data accesses that follow have another index, so another block follows. */
static void do_ac(struct tr *t, bool set)
{
	u32 idx = set ? MMU_KERNEL_AC : MMU_KERNEL;

	tr_flags_clobber(t);
	if (set)
		as_gs32_imm(&t->a, AS_OR, EFLAGS, FL_AC);
	else
		as_gs32_imm(&t->a, AS_AND, EFLAGS, ~FL_AC);
	as_rm(&t->a, 0, 0xc7, 0, as_gs(offsetof(struct cpu, mmu_idx))); /* MOV */
	as_32(&t->a, idx);
	tr_page_plus(t, S1, tr_next_off(tr_insn(t)));
	t->idx = idx;
	tr_lookup(t, NULL);
}

static void do_rdtsc(struct tr *t)
{
	struct as *a = &t->a;
	struct site *s = tr_callout_site(t);

	if (!kernel(t)) { /* CR4.TSD is no part of the key */
		tr_flags_clobber(t);
		as_8(a, 0x65); /* TEST dword gs:[cr4], TSD */
		as_8(a, 0xf7);
		as_modrm_mem(a, 0, as_gs(offsetof(struct cpu, cr4)));
		as_32(a, CR4_TSD);
		tr_callout_when(t, CC_NE, s);
	}
	if (t->flags)
		tr_flags_host(t);
	t->flags &= ~FLAGS_AX;
	if (tr_insn(t)->d.zi.mnemonic == ZYDIS_MNEMONIC_RDTSCP) {
		as_bytes(a, "\x0f\x01\xf9", 3);
		as_ld32(a, RCX, as_gs(offsetof(struct cpu, tsc_aux)));
	} else {
		as_bytes(a, "\x0f\x31", 2);
	}
	as_rorx(a, RDX, RDX, 32);
	as_lea(a, S1, (struct as_mem){.base = RAX, .index = RDX});
	as_ld(a, S2, as_gs(offsetof(struct cpu, tsc_base)));
	as_lea(a, S1, (struct as_mem){.base = S1, .index = S2});
	as_mov32(a, HOST_RAX, S1);
	as_rorx(a, RDX, S1, 32);
	as_mov32(a, RDX, RDX);
}

static void do_mov_seg(struct tr *t)
{
	const ZydisDecodedOperand *o = tr_insn(t)->d.op;
	unsigned g = tr_gpr_of(o[0].reg.value), n = (unsigned)ZydisRegisterGetId(o[1].reg.value);
	unsigned h = host_reg(g) == IN_MEMORY ? S1 : host_reg(g);
	struct as_mem m = as_gs(SEG(n, sel));

	as_8(&t->a, 0x65); /* MOVZX r32, word gs:[] */
	if (h >= 8)
		as_8(&t->a, 0x44);
	as_bytes(&t->a, "\x0f\xb7", 2);
	as_modrm_mem(&t->a, h, m);
	if (host_reg(g) == IN_MEMORY)
		as_st(&t->a, as_gs(CPU_GPR(g)), S1);
}

bool tr_sys(struct tr *t)
{
	switch (tr_insn(t)->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_CLI: do_cli(t); return true;
	case ZYDIS_MNEMONIC_STI: do_sti(t); return true;
	case ZYDIS_MNEMONIC_PUSHFQ: do_pushf(t); return true;
	case ZYDIS_MNEMONIC_POPFQ: do_popf(t); return true;
	case ZYDIS_MNEMONIC_SWAPGS: do_swapgs(t); return true;
	case ZYDIS_MNEMONIC_STAC: do_ac(t, true); return false;
	case ZYDIS_MNEMONIC_CLAC: do_ac(t, false); return false;
	case ZYDIS_MNEMONIC_MOV: do_mov_seg(t); return true;
	default: do_rdtsc(t); return true;
	}
}
