/*
 * Instructions with an emitter of their own: those that imply RAX, the stack, or the flow of control.
 */
#include "accel/soft/jit/tr.h"

static const ZydisDecodedOperand *operand(const struct tr *t, unsigned n)
{
	return &t->t[t->at].d.op[n];
}

static bool is_reg(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER;
}

static bool is_mem(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static bool is_imm(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static bool plain_reg(const ZydisDecodedOperand *o)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(o->reg.value);

	return is_reg(o) && c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64 &&
	       !tr_is_high(o->reg.value);
}

/* --- what we can do --- */

static bool stack_ok(const struct ti *i)
{
	return i->i.osize == 8;
}

static bool is_jcc(const struct ti *i)
{
	const ZydisDecodedInstruction *zi = &i->d.zi;

	if (zi->meta.category != ZYDIS_CATEGORY_COND_BR || i->i.osize != 8)
		return false;
	return (zi->opcode & 0xf0) == (zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? 0x70 : 0x80);
}

bool tr_special_ok(const struct tr *t, const struct ti *i)
{
	const ZydisDecodedOperand *o = &i->d.op[0];

	if ((i->i.flags & INSN_MEM) && !tr_ea_ok(i))
		return false;
	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_LEA: return i->i.osize >= 4;
	case ZYDIS_MNEMONIC_PUSH:
		return stack_ok(i) && (is_imm(o) || plain_reg(o) || (is_mem(o) && o->size == 64));
	case ZYDIS_MNEMONIC_POP: return stack_ok(i) && plain_reg(o);
	case ZYDIS_MNEMONIC_LEAVE: return stack_ok(i);
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_JMP:
		return i->i.osize == 8 && i->d.zi.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR &&
		       (is_imm(o) || plain_reg(o) || is_mem(o));
	case ZYDIS_MNEMONIC_RET: return i->i.osize == 8 && i->d.zi.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
	case ZYDIS_MNEMONIC_JRCXZ:
	case ZYDIS_MNEMONIC_JECXZ: return i->i.osize == 8;
	case ZYDIS_MNEMONIC_LOOP: return i->i.osize == 8 && i->i.asize == 8;
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		return i->d.zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
		       (i->d.zi.opcode == 0xf6 || i->d.zi.opcode == 0xf7) && (is_mem(o) || plain_reg(o));
	case ZYDIS_MNEMONIC_CDQ:
	case ZYDIS_MNEMONIC_CQO:
	case ZYDIS_MNEMONIC_CWDE:
	case ZYDIS_MNEMONIC_CDQE:
	case ZYDIS_MNEMONIC_CBW: return true;
	case ZYDIS_MNEMONIC_CMPXCHG: return (is_mem(o) || plain_reg(o)) && plain_reg(&i->d.op[1]);
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_CMPXCHG8B: return true;
	default: return is_jcc(i);
	}
}

static bool counted_shift(const struct ti *i)
{
	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD: break;
	default: return false;
	}
	/* By CL, or by an immediate of zero: the flags may stay as they are. */
	for (unsigned n = 1; n < i->d.zi.operand_count_visible; n++)
		if (is_imm(&i->d.op[n]))
			return (i->d.op[n].imm.value.u & (i->i.osize == 8 ? 63 : 31)) == 0;
	return !(i->d.zi.opcode == 0xd0 || i->d.zi.opcode == 0xd1);
}

unsigned tr_effects(const struct ti *i)
{
	const ZydisAccessedFlags *f = i->d.zi.cpu_flags;
	unsigned fx = 0;
	u32 writes;

	if (i->cls == TR_SYS)
		return tr_sys_effects(i);
	if (i->cls == TR_STRING)
		return tr_string_effects(i);
	if ((i->i.flags & INSN_MEM) && i->d.zi.mnemonic != ZYDIS_MNEMONIC_LEA)
		fx |= FX_CLOBBER;
	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET: fx |= FX_CLOBBER; break;
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV: fx |= FX_READS; break; /* a fault shows them */
	default: break;
	}
	if (!f)
		return fx;
	writes = (f->modified | f->set_0 | f->set_1 | f->undefined) & FL_ARITH;
	if ((f->tested & FL_ARITH) || (writes && writes != FL_ARITH) || counted_shift(i))
		fx |= FX_READS;
	/* A floating point exception shows them. */
	if (writes && (i->d.zi.meta.exception_class != ZYDIS_EXCEPTION_CLASS_NONE || tr_is_x87(i)))
		fx |= FX_READS;
	if (writes)
		fx |= FX_WRITES;
	return fx;
}

/* --- stack --- */

static void drop(struct tr *t, s32 bytes)
{
	if (bytes)
		as_lea(&t->a, RSP, as_at(RSP, bytes));
}

static void load_mem(struct tr *t) /* the 64-bit memory operand into S1 */
{
	tr_linear(t);
	tr_check(t, 8, false);
	as_ld(&t->a, S1, as_at(S1, 0));
}

/* PUSH of memory and of RSP: all others are runs. */
static void do_push(struct tr *t)
{
	bool mem = is_mem(operand(t, 0));

	if (mem) {
		load_mem(t);
		as_st(&t->a, as_gs(CPU_JIT(tmp)), S1);
	}
	as_lea(&t->a, S1, as_at(RSP, -8));
	tr_check(t, 8, true);
	if (mem)
		as_ld(&t->a, S2, as_gs(CPU_JIT(tmp)));
	as_st(&t->a, as_at(S1, 0), mem ? S2 : RSP);
	drop(t, -8);
}

/* POP RSP: all others are runs. */
static void do_pop(struct tr *t)
{
	as_mov(&t->a, S1, RSP);
	tr_check(t, 8, false);
	as_ld(&t->a, RSP, as_at(S1, 0));
}

static void do_leave(struct tr *t)
{
	as_mov(&t->a, S1, RBP);
	tr_check(t, 8, false);
	as_ld(&t->a, S2, as_at(S1, 0));
	as_lea(&t->a, RSP, as_at(RBP, 8));
	as_mov(&t->a, RBP, S2);
}

static void go_back(struct tr *t);

/*
 * PUSHes, and POPs with a RET behind them, as functions begin and end: one check for all. If they cross a
 * page, the block's narrow twin goes on, where each has its own.
 */
#define RUN_MAX 8u

static bool narrow(const struct tr *t)
{
	return t->key & KEY_NARROW;
}

static bool in_push_run(const struct ti *i)
{
	const ZydisDecodedOperand *o = &i->d.op[0];

	return i->cls == TR_SPECIAL && i->d.zi.mnemonic == ZYDIS_MNEMONIC_PUSH &&
	       (is_imm(o) || (is_reg(o) && tr_gpr_of(o->reg.value) != RSP));
}

static bool in_pop_run(const struct ti *i)
{
	return i->cls == TR_SPECIAL && i->d.zi.mnemonic == ZYDIS_MNEMONIC_POP &&
	       tr_gpr_of(i->d.op[0].reg.value) != RSP;
}

static unsigned run_of(const struct tr *t, unsigned at, bool (*in)(const struct ti *i))
{
	unsigned n = 0, max = narrow(t) ? 1 : RUN_MAX;

	while (n < max && at + n < t->n && in(&t->t[at + n]))
		n++;
	return n;
}

bool tr_run_at(const struct tr *t, unsigned at, struct stack_run *r)
{
	const struct ti *next;

	r->n = run_of(t, at, in_push_run);
	r->push = r->n;
	r->ret = false;
	if (r->push)
		return true;
	r->n = run_of(t, at, in_pop_run);
	if (r->n && narrow(t))
		return true;
	next = &t->t[at + r->n];
	r->ret = at + r->n < t->n && next->cls == TR_SPECIAL && next->d.zi.mnemonic == ZYDIS_MNEMONIC_RET;
	return r->n + r->ret;
}

/* Checks size bytes at RSP + off. What is at RSP + off + x is then at the result's address + x. */
static struct as_mem check_stack(struct tr *t, s32 off, unsigned size, bool write)
{
	if (tr_insn(t)->win != NO_WINDOW)
		return tr_window(t, (struct window_use){.base = RSP, .index = REG_ZERO, .disp = off});
	as_lea(&t->a, S1, as_at(RSP, off));
	if (narrow(t))
		tr_check(t, size, write);
	else
		tr_check_or_narrow(t, size, write);
	return as_at(S1, 0);
}

static struct as_mem moved(struct as_mem m, unsigned by)
{
	m.disp += (s32)by;
	return m;
}

static void push_run(struct tr *t, unsigned n)
{
	struct as_mem m = check_stack(t, -8 * (s32)n, 8 * n, true);

	for (unsigned k = 0; k < n; k++) {
		const struct ti *i = &t->t[t->at + k];
		const ZydisDecodedOperand *o = &i->d.op[0];
		struct as_mem at = moved(m, 8 * (n - 1 - k));

		if (is_imm(o)) {
			as_rm(&t->a, 1, 0xc7, 0, at); /* MOV */
			as_32(&t->a, (u32)i->i.imm);
		} else {
			as_st(&t->a, at, tr_gpr(t, tr_gpr_of(o->reg.value), S2));
		}
	}
	drop(t, -8 * (s32)n);
}

static void pop_run(struct tr *t, unsigned n, bool ret)
{
	struct as_mem m = check_stack(t, 0, 8 * (n + ret), false);

	for (unsigned k = 0; k < n; k++) {
		unsigned g = tr_gpr_of(t->t[t->at + k].d.op[0].reg.value), h = host_reg(g);

		as_ld(&t->a, h == IN_MEMORY ? S2 : h, moved(m, 8 * k));
		if (h == IN_MEMORY)
			as_st(&t->a, as_gs(CPU_GPR(g)), S2);
	}
	if (ret)
		as_ld(&t->a, S1, moved(m, 8 * n));
	drop(t, 8 * (s32)n);
}

unsigned tr_stack_run(struct tr *t, bool *open)
{
	struct stack_run r;

	*open = true;
	if (!tr_run_at(t, t->at, &r))
		return 0;
	if (r.push) {
		push_run(t, r.n);
		return r.n;
	}
	pop_run(t, r.n, r.ret);
	if (r.ret) {
		t->at += r.n;
		go_back(t);
		t->at -= r.n;
		*open = false;
	}
	return r.n + r.ret;
}

/* --- control --- */

static s64 target_off(struct tr *t)
{
	return (s64)tr_next_off(tr_insn(t)) + (s64)tr_insn(t)->i.imm;
}

/* The branch's own record: a target that is not canonical is interp's fault to raise. */
static struct site *branch_site(struct tr *t, s32 undo)
{
	struct site *s = tr_site(t);

	s->undo = undo;
	return s;
}

static void do_call(struct tr *t)
{
	const ZydisDecodedOperand *o = operand(t, 0);
	struct as_mem m;

	if (is_mem(o)) {
		load_mem(t);
		as_st(&t->a, as_gs(CPU_JIT(tmp)), S1);
	} else if (is_reg(o)) {
		as_st(&t->a, as_gs(CPU_JIT(tmp)), tr_gpr(t, tr_gpr_of(o->reg.value), S1));
	}
	m = check_stack(t, -8, 8, true);
	tr_page_plus(t, S2, (s32)tr_next_off(tr_insn(t)));
	as_st(&t->a, m, S2);
	drop(t, -8);
	tr_remember(t);
	if (is_imm(o)) {
		tr_goto(t, target_off(t));
	} else {
		as_ld(&t->a, S1, as_gs(CPU_JIT(tmp)));
		tr_lookup(t, branch_site(t, 8));
	}
}

static void do_jmp(struct tr *t)
{
	const ZydisDecodedOperand *o = operand(t, 0);

	if (is_imm(o)) {
		tr_goto(t, target_off(t));
		return;
	}
	if (is_mem(o))
		load_mem(t);
	else
		tr_load_gpr(t, S1, tr_gpr_of(o->reg.value));
	tr_lookup(t, branch_site(t, 0));
}

/* RET with its target in S1. */
static void go_back(struct tr *t)
{
	s32 bytes = 8 + (is_imm(operand(t, 0)) ? (s32)(tr_insn(t)->i.imm & 0xffff) : 0);

	tr_return(t, bytes, branch_site(t, -bytes));
}

/* JRCXZ, JECXZ, LOOP: their displacement has 8 bits, so they jump around a jump. */
static void do_jrcxz(struct tr *t)
{
	unsigned flags = t->flags;
	u8 *no;

	if (tr_insn(t)->d.zi.mnemonic == ZYDIS_MNEMONIC_JECXZ)
		as_8(&t->a, 0x67);
	as_bytes(&t->a, "\xe3\x05", 2);
	no = as_jmp_hole(&t->a);
	tr_goto(t, target_off(t));
	t->flags = flags;
	as_bind(&t->a, no);
}

static void do_loop(struct tr *t)
{
	unsigned flags = t->flags;
	u8 *no;

	as_lea(&t->a, RCX, as_at(RCX, -1));
	as_bytes(&t->a, "\xe3\x02\xeb\x05", 4); /* jrcxz no; jmp over it */
	no = as_jmp_hole(&t->a);
	tr_goto(t, target_off(t));
	t->flags = flags;
	as_bind(&t->a, no);
}

/* --- RAX --- */

/* F6, F7 with /4../7: the operand is in register rm or at [S1]; guest RAX goes through the host's. */
static void do_mul_div(struct tr *t)
{
	const struct ti *i = tr_insn(t);
	const ZydisDecodedOperand *o = operand(t, 0);
	bool div = i->d.zi.mnemonic == ZYDIS_MNEMONIC_DIV || i->d.zi.mnemonic == ZYDIS_MNEMONIC_IDIV;
	unsigned rm = S1;
	struct site *fault = NULL;
	u8 rex;

	if (is_mem(o)) {
		tr_linear(t);
		tr_check(t, o->size / 8u, false);
	} else {
		rm = tr_gpr(t, tr_gpr_of(o->reg.value), S1);
	}
	if (div) {
		/* A divide error shows the flags as they were. */
		tr_flags_host(t);
		fault = tr_site(t);
		tr_fault_from(t, fault);
		fault->flags = FLAGS_HOST;
	}
	as_mov(&t->a, RAX, HOST_RAX);
	if (i->i.osize == 2)
		as_8(&t->a, 0x66);
	rex = (u8)(0x40 | (i->i.osize == 8) << 3 | rm >> 3);
	as_8(&t->a, rex);
	as_8(&t->a, i->d.zi.opcode);
	if (is_mem(o))
		as_modrm_mem(&t->a, i->d.zi.raw.modrm.reg, as_at(S1, 0));
	else
		as_8(&t->a, (u8)(0xc0 | i->d.zi.raw.modrm.reg << 3 | (rm & 7)));
	if (div)
		tr_fault_to(t, fault);
	as_mov(&t->a, HOST_RAX, RAX);
	tr_flags_written(t);
}

static void widen(struct tr *t)
{
	struct as *a = &t->a;

	switch (tr_insn(t)->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_CDQ:
		as_imm(a, S2, 31);
		as_sarx(a, 0, RDX, HOST_RAX, S2);
		break;
	case ZYDIS_MNEMONIC_CQO:
		as_imm(a, S2, 63);
		as_sarx(a, 1, RDX, HOST_RAX, S2);
		break;
	case ZYDIS_MNEMONIC_CDQE: as_rr(a, 1, 0x63, HOST_RAX, HOST_RAX); break; /* MOVSXD */
	case ZYDIS_MNEMONIC_CWDE: as_bytes(a, "\x45\x0f\xbf\xff", 4); break;    /* MOVSX R15D, R15W */
	default: as_bytes(a, "\x66\x45\x0f\xbe\xff", 5); break;                 /* CBW: MOVSX R15W, R15B */
	}
}

static void do_cmpxchg(struct tr *t)
{
	const struct ti *i = tr_insn(t);
	const ZydisDecodedOperand *o = operand(t, 0);
	unsigned src = tr_gpr_of(operand(t, 1)->reg.value);
	unsigned size = o->size / 8u, dst = 0;
	bool in_memory = false;

	if (is_mem(o)) {
		tr_linear(t);
		tr_check(t, size, true);
	} else {
		dst = tr_gpr_of(o->reg.value);
		in_memory = host_reg(dst) == IN_MEMORY;
		dst = dst == RAX ? (unsigned)RAX : tr_gpr(t, dst, S1);
	}
	/* The old flags are overwritten: AX is free. */
	as_mov(&t->a, RAX, HOST_RAX);
	src = src == RAX ? (unsigned)RAX : tr_gpr(t, src, S2);
	if (i->i.flags & INSN_LOCK)
		as_8(&t->a, 0xf0);
	if (size == 2)
		as_8(&t->a, 0x66);
	as_8(&t->a, (u8)(0x40 | (size == 8) << 3 | src >> 3 << 2 | (is_mem(o) ? S1 >> 3 : dst >> 3)));
	as_bytes(&t->a, size == 1 ? "\x0f\xb0" : "\x0f\xb1", 2);
	if (is_mem(o))
		as_modrm_mem(&t->a, src, as_at(S1, 0));
	else
		as_8(&t->a, (u8)(0xc0 | (src & 7) << 3 | (dst & 7)));
	as_mov(&t->a, HOST_RAX, RAX);
	if (in_memory)
		as_st(&t->a, as_gs(CPU_GPR(tr_gpr_of(o->reg.value))), dst);
	tr_flags_written(t);
}

static void do_cmpxchg16b(struct tr *t)
{
	const struct ti *i = tr_insn(t);
	bool wide = i->d.zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B;
	struct site *fault;

	tr_linear(t);
	tr_check(t, wide ? 16 : 8, true);
	tr_flags_host(t); /* all but ZF stay */
	fault = tr_site(t);
	tr_fault_from(t, fault);
	fault->flags = FLAGS_HOST;
	as_mov(&t->a, RAX, HOST_RAX);
	if (i->i.flags & INSN_LOCK)
		as_8(&t->a, 0xf0);
	as_8(&t->a, wide ? 0x49 : 0x41);
	as_bytes(&t->a, "\x0f\xc7", 2);
	as_modrm_mem(&t->a, 1, as_at(S1, 0));
	tr_fault_to(t, fault);
	as_mov(&t->a, HOST_RAX, RAX);
	tr_flags_written(t);
}

static void do_lea(struct tr *t)
{
	const struct ti *i = tr_insn(t);
	unsigned g = tr_gpr_of(operand(t, 0)->reg.value);
	unsigned h = host_reg(g) == IN_MEMORY ? S1 : host_reg(g);

	tr_ea(t, h);
	if (i->i.osize == 4 && i->i.asize == 8)
		as_mov32(&t->a, h, h);
	if (host_reg(g) == IN_MEMORY)
		as_st(&t->a, as_gs(CPU_GPR(g)), h);
}

bool tr_special(struct tr *t)
{
	const struct ti *i = tr_insn(t);

	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_LEA: do_lea(t); return true;
	case ZYDIS_MNEMONIC_PUSH: do_push(t); return true;
	case ZYDIS_MNEMONIC_POP: do_pop(t); return true;
	case ZYDIS_MNEMONIC_LEAVE: do_leave(t); return true;
	case ZYDIS_MNEMONIC_CALL: do_call(t); return false;
	case ZYDIS_MNEMONIC_JMP: do_jmp(t); return false;
	case ZYDIS_MNEMONIC_JRCXZ:
	case ZYDIS_MNEMONIC_JECXZ: do_jrcxz(t); return true;
	case ZYDIS_MNEMONIC_LOOP: do_loop(t); return true;
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV: do_mul_div(t); return true;
	case ZYDIS_MNEMONIC_CDQ:
	case ZYDIS_MNEMONIC_CQO:
	case ZYDIS_MNEMONIC_CWDE:
	case ZYDIS_MNEMONIC_CDQE:
	case ZYDIS_MNEMONIC_CBW: widen(t); return true;
	case ZYDIS_MNEMONIC_CMPXCHG: do_cmpxchg(t); return true;
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_CMPXCHG8B: do_cmpxchg16b(t); return true;
	default: tr_goto_cond(t, i->d.zi.opcode & 15u, target_off(t)); return true;
	}
}
