/*
 * Near control transfers: JMP, CALL, RET, Jcc, LOOP, JCXZ; PUSH, POP and their relatives.
 *
 * In 64-bit mode a relative branch is an addition; a target that is not canonical faults at its fetch
 * or, like every other target, in branch_target.
 */
#include "accel/soft/interp/int.h"

bind_fn bind_jmp, bind_call, bind_ret, bind_jcc, bind_loop, bind_push, bind_pop, bind_pusha, bind_enter,
        bind_leave;

/* The target as RIP will hold it; #GP(0) if it cannot. */
static u64 branch_target(struct cpu *c, u64 target, unsigned osize)
{
	if (insn_is64(c)) {
		if (unlikely(!mmu_canonical(target)))
			cpu_raise_err(c, EXC_GP, 0);
		return target;
	}
	target &= ones(MIN(osize, 4u));
	if (target > c->seg[SEG_CS].limit)
		cpu_raise_err(c, EXC_GP, 0);
	return target;
}

/* --- stack, fast where the slot is in the TLB --- */

ALWAYS void push64(struct cpu *c, u64 v)
{
	u64 sp = c->gpr[RSP] - 8;
	void *p = tlb_write_ptr(c, c->mmu_idx, sp, 8);

	if (likely(p)) {
		*(volatile u64_any *)p = v;
		mmu_wrote(c, p, 8);
		c->gpr[RSP] = sp;
	} else {
		cpu_push(c, 8, v);
	}
}

ALWAYS u64 pop64(struct cpu *c)
{
	u64 sp = c->gpr[RSP];
	const void *p = tlb_read_ptr(c, c->mmu_idx, sp, 8);

	if (likely(p)) {
		c->gpr[RSP] = sp + 8;
		return *(const volatile u64_any *)p;
	}
	return cpu_pop(c, 8);
}

/* --- jumps --- */

static void jmp_rel64(struct cpu *c, const struct insn *i)
{
	c->gpr[REG_RIP] = branch_target(c, c->gpr[REG_RIP] + i->imm, 8);
	cpu_end_block(c);
}

static void jmp_rel(struct cpu *c, const struct insn *i)
{
	cpu_branch(c, c->gpr[REG_RIP] + i->imm, i->osize);
}

static void jmp_rm(struct cpu *c, const struct insn *i)
{
	cpu_branch(c, load_rm(c, i, i->r1, i->osize), i->osize);
}

bool bind_jmp(const struct dec *d, struct insn *i)
{
	bool long64 = d->hf & HF_CS64;

	if (long64)
		i->osize = 8;
	if (op_is_imm(d, 0)) {
		i->imm = d->op[0].imm.value.u;
		i->fn = long64 ? jmp_rel64 : jmp_rel;
		return true;
	}
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->fn = jmp_rm;
	return true;
}

static void jcc64(struct cpu *c, const struct insn *i)
{
	if (cpu_cond(c, i->aux))
		jmp_rel64(c, i);
}

static void jz64(struct cpu *c, const struct insn *i)
{
	bool zero = c->cc_op >> 2 == CC_EAGER ? c->cc_res & FL_ZF : c->cc_res == 0;

	if (zero)
		jmp_rel64(c, i);
}

static void jnz64(struct cpu *c, const struct insn *i)
{
	bool zero = c->cc_op >> 2 == CC_EAGER ? c->cc_res & FL_ZF : c->cc_res == 0;

	if (!zero)
		jmp_rel64(c, i);
}

static void jb64(struct cpu *c, const struct insn *i)
{
	if (get_cf(c))
		jmp_rel64(c, i);
}

static void jnb64(struct cpu *c, const struct insn *i)
{
	if (!get_cf(c))
		jmp_rel64(c, i);
}

static void jcc(struct cpu *c, const struct insn *i)
{
	if (cpu_cond(c, i->aux))
		jmp_rel(c, i);
}

bool bind_jcc(const struct dec *d, struct insn *i)
{
	static insn_fn *const fast[16] = {[2] = jb64, [3] = jnb64, [4] = jz64, [5] = jnz64};

	i->imm = d->op[0].imm.value.u;
	i->aux = op_cond(d);
	if (!(d->hf & HF_CS64)) {
		i->fn = jcc;
		return true;
	}
	i->osize = 8;
	i->fn = fast[i->aux] ? fast[i->aux] : jcc64;
	return true;
}

/* LOOP family and JCXZ: the counter is CX, ECX or RCX by address size. */
enum { LOOP_ALWAYS, LOOP_ZERO, LOOP_NOT_ZERO, LOOP_JCXZ };

static void loop(struct cpu *c, const struct insn *i)
{
	u64 count = reg_read(c, RCX, i->asize) - (i->aux != LOOP_JCXZ);
	bool zf = cpu_arith_flags(c) & FL_ZF;
	bool taken;

	count &= ones(i->asize);
	taken = i->aux == LOOP_JCXZ ? count == 0 : count != 0;
	if (i->aux == LOOP_ZERO)
		taken = taken && zf;
	else if (i->aux == LOOP_NOT_ZERO)
		taken = taken && !zf;
	if (taken)
		cpu_branch(c, c->gpr[REG_RIP] + i->imm, i->osize);
	if (i->aux != LOOP_JCXZ)
		reg_write(c, RCX, i->asize, count);
}

bool bind_loop(const struct dec *d, struct insn *i)
{
	i->imm = d->op[0].imm.value.u;
	if (d->hf & HF_CS64)
		i->osize = 8;
	i->aux = LOOP_JCXZ;
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_LOOP: i->aux = LOOP_ALWAYS; break;
	case ZYDIS_MNEMONIC_LOOPE: i->aux = LOOP_ZERO; break;
	case ZYDIS_MNEMONIC_LOOPNE: i->aux = LOOP_NOT_ZERO; break;
	case ZYDIS_MNEMONIC_JCXZ: i->asize = 2; break;
	case ZYDIS_MNEMONIC_JECXZ: i->asize = 4; break;
	default: i->asize = 8; break;
	}
	i->fn = loop;
	return true;
}

/* --- calls and returns --- */

static void call_to(struct cpu *c, u64 target, unsigned osize)
{
	target = branch_target(c, target, osize);
	if (insn_is64(c))
		push64(c, c->gpr[REG_RIP]);
	else
		cpu_push(c, osize, c->gpr[REG_RIP] & ones(osize));
	c->gpr[REG_RIP] = target;
	cpu_end_block(c);
}

static void call_rel(struct cpu *c, const struct insn *i)
{
	call_to(c, c->gpr[REG_RIP] + i->imm, i->osize);
}

static void call_rm(struct cpu *c, const struct insn *i)
{
	call_to(c, load_rm(c, i, i->r1, i->osize), i->osize);
}

bool bind_call(const struct dec *d, struct insn *i)
{
	if (d->hf & HF_CS64)
		i->osize = 8;
	if (op_is_imm(d, 0)) {
		i->imm = d->op[0].imm.value.u;
		i->fn = call_rel;
		return true;
	}
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->fn = call_rm;
	return true;
}

static void ret64(struct cpu *c, const struct insn *i)
{
	u64 sp = c->gpr[RSP];
	u64 target = pop64(c);

	if (unlikely(!mmu_canonical(target))) {
		c->gpr[RSP] = sp;
		cpu_raise_err(c, EXC_GP, 0);
	}
	c->gpr[RSP] += i->imm;
	c->gpr[REG_RIP] = target;
	cpu_end_block(c);
}

static void ret(struct cpu *c, const struct insn *i)
{
	u64 target = branch_target(c, cpu_peek(c, i->osize, 0), i->osize);

	cpu_sp_add(c, (s64)(i->osize + i->imm));
	c->gpr[REG_RIP] = target;
	cpu_end_block(c);
}

bool bind_ret(const struct dec *d, struct insn *i)
{
	i->imm = d->zi.operand_count_visible && op_is_imm(d, 0) ? d->op[0].imm.value.u & 0xffff : 0;
	i->fn = d->hf & HF_CS64 ? ret64 : ret;
	return true;
}

/* --- PUSH, POP --- */

static void push_r64(struct cpu *c, const struct insn *i)
{
	push64(c, c->gpr[i->r1]);
}

static void push_r(struct cpu *c, const struct insn *i)
{
	cpu_push(c, i->osize, reg_read(c, i->r1, i->osize));
}

static void push_i(struct cpu *c, const struct insn *i)
{
	cpu_push(c, i->osize, i->imm & ones(i->osize));
}

static void push_m(struct cpu *c, const struct insn *i)
{
	cpu_push(c, i->osize, load_mem(c, i, i->osize));
}

/* The width of a stack operation: in 64-bit mode 8 bytes unless there is a 66 prefix. */
static u8 stack_osize(const struct dec *d)
{
	if (d->hf & HF_CS64)
		return d->zi.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE ? 2 : 8;
	return d->zi.operand_width / 8;
}

bool bind_push(const struct dec *d, struct insn *i)
{
	i->osize = stack_osize(d);
	if (op_is_reg(d, 0)) {
		i->r1 = op_reg(d, 0);
		i->fn = i->osize == 8 ? push_r64 : push_r;
	} else if (op_is_imm(d, 0)) {
		i->imm = d->op[0].imm.value.u;
		i->fn = push_i;
	} else {
		i->fn = push_m;
	}
	return true;
}

static void pop_r64(struct cpu *c, const struct insn *i)
{
	u64 v = pop64(c);

	c->gpr[i->r1] = v;
}

static void pop_r(struct cpu *c, const struct insn *i)
{
	u64 v = cpu_pop(c, i->osize);

	reg_write(c, i->r1, i->osize, v);
}

/* The address is computed with RSP already incremented; a fault must leave it as it was. */
static void pop_m(struct cpu *c, const struct insn *i)
{
	u64 v = cpu_peek(c, i->osize, 0), sp = c->gpr[RSP], off;

	cpu_sp_add(c, i->osize);
	off = insn_ea(c, i);
	c->gpr[RSP] = sp;
	store(c, lin_of(c, i, off, i->osize, true), i->osize, v);
	cpu_sp_add(c, i->osize);
}

bool bind_pop(const struct dec *d, struct insn *i)
{
	i->osize = stack_osize(d);
	if (op_is_reg(d, 0)) {
		i->r1 = op_reg(d, 0);
		i->fn = i->osize == 8 ? pop_r64 : pop_r;
	} else {
		i->fn = pop_m;
	}
	return true;
}

/* --- PUSHA, POPA (not in 64-bit mode): lowest address first DI SI BP SP BX DX CX AX --- */

static void pusha(struct cpu *c, const struct insn *i)
{
	u64 sp = c->gpr[RSP];

	for (unsigned n = 0; n < 8; n++) {
		/* A fault on the way must leave the stack pointer alone. */
		u64 off = (c->gpr[RSP] - (n + 1) * i->osize) & (c->hf & HF_SS32 ? 0xffffffffull : 0xffffull);

		mem_st(c, mmu_linear(c, SEG_SS, off, i->osize, true), i->osize, n == RSP ? sp : c->gpr[n]);
	}
	cpu_sp_add(c, -8 * (s64)i->osize);
}

static void popa(struct cpu *c, const struct insn *i)
{
	u64 v[8];

	for (unsigned n = 0; n < 8; n++)
		v[7 - n] = cpu_peek(c, i->osize, n * i->osize);
	for (unsigned n = 0; n < 8; n++)
		if (n != RSP)
			reg_write(c, n, i->osize, v[n]);
	cpu_sp_add(c, 8 * (s64)i->osize);
}

bool bind_pusha(const struct dec *d, struct insn *i)
{
	bool wide = d->zi.mnemonic == ZYDIS_MNEMONIC_PUSHAD || d->zi.mnemonic == ZYDIS_MNEMONIC_POPAD;

	i->osize = wide ? 4 : 2;
	i->fn = d->zi.mnemonic == ZYDIS_MNEMONIC_PUSHA || d->zi.mnemonic == ZYDIS_MNEMONIC_PUSHAD ? pusha
	                                                                                          : popa;
	return !(d->hf & HF_CS64);
}

/* --- ENTER, LEAVE --- */

static u64 sp_mask(const struct cpu *c)
{
	return insn_is64(c) ? ~0ull : c->hf & HF_SS32 ? 0xffffffffull : 0xffffull;
}

static u64 stack_lin(struct cpu *c, u64 off, unsigned size, bool write)
{
	off &= sp_mask(c);
	if (!insn_is64(c))
		return mmu_linear(c, SEG_SS, off, size, write);
	if (!mmu_canonical(off))
		cpu_raise_err(c, EXC_SS, 0);
	return off;
}

/* SDM vol. 2, ENTER: imm = bytes of locals, aux = nesting level 0..31. */
static void enter(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osize, level = i->aux;
	u64 sp = c->gpr[RSP], bp = c->gpr[RBP], frame;

	sp -= size;
	mem_st(c, stack_lin(c, sp, size, true), size, bp);
	frame = sp;
	for (unsigned n = 1; n < level; n++) {
		u64 v = mem_ld(c, stack_lin(c, bp - n * size, size, false), size);

		sp -= size;
		mem_st(c, stack_lin(c, sp, size, true), size, v);
	}
	if (level) {
		sp -= size;
		mem_st(c, stack_lin(c, sp, size, true), size, frame & sp_mask(c));
	}
	sp -= i->imm;
	/* The stack must be writable where it will be. */
	mmu_probe(c, stack_lin(c, sp, size, true), size, ACC_WRITE);
	reg_write(c, RBP, size, frame & sp_mask(c));
	cpu_sp_add(c, (s64)(sp - c->gpr[RSP]));
}

bool bind_enter(const struct dec *d, struct insn *i)
{
	i->osize = stack_osize(d);
	i->imm = d->op[0].imm.value.u & 0xffff;
	i->aux = (u8)(d->op[1].imm.value.u & 31);
	i->fn = enter;
	return true;
}

static void leave(struct cpu *c, const struct insn *i)
{
	u64 bp = c->gpr[RBP] & sp_mask(c);
	u64 v = mem_ld(c, stack_lin(c, bp, i->osize, false), i->osize);

	cpu_sp_add(c, (s64)(bp + i->osize - c->gpr[RSP]));
	reg_write(c, RBP, i->osize, v);
}

bool bind_leave(const struct dec *d, struct insn *i)
{
	i->osize = stack_osize(d);
	i->fn = leave;
	return true;
}
