/*
 * x87 loads, stores, exchanges and conditional moves.
 */
#include "accel/soft/interp/x87.h"

/* --- loads --- */

/* An unmasked invalid operand (IE and ES) is not pushed, so that there is nothing to store. */
#define LOAD(name, ins, type)                                                                                \
	static u16 name(const void *s, struct x86_st *d)                                                     \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile(ins " %2\n"                                                                     \
		                 "fnstsw %0\n"                                                               \
		                 "fnclex\n"                                                                  \
		                 "movb %%al, %%dl\n"                                                         \
		                 "andb $0x81, %%dl\n"                                                        \
		                 "cmpb $0x81, %%dl\n"                                                        \
		                 "je 1f\n"                                                                   \
		                 "fstpt %1\n"                                                                \
		                 "1:"                                                                        \
		             : "=&a"(sw), "+m"(*d)                                                           \
		             : "m"(*(const type *)s)                                                         \
		             : X87_CLOBBERS, "cc", "dl");                                                    \
		return sw;                                                                                   \
	}
LOAD(load_f32, "flds", u32)
LOAD(load_f64, "fldl", u64)
LOAD(load_i16, "filds", u16)
LOAD(load_i32, "fildl", u32)
LOAD(load_i64, "fildll", u64)
LOAD(load_bcd, "fbld", struct x86_st)

static const u8 sizes[SRC_N] = {0, 4, 8, 2, 4, 8, 10, 10};

static u16 load(const struct insn *i, const void *s, struct x86_st *d)
{
	switch (i->aux2) {
	case SRC_F32: return load_f32(s, d);
	case SRC_F64: return load_f64(s, d);
	case SRC_I16: return load_i16(s, d);
	case SRC_I32: return load_i32(s, d);
	case SRC_I64: return load_i64(s, d);
	case SRC_BCD: return load_bcd(s, d);
	default: memcpy(d, s, 10); return 0;
	}
}

/* Pushes v unless the stack is full. */
static void push_checked(struct cpu *c, const struct x86_st *v)
{
	if (unlikely(!x87_empty(c, 7))) {
		if (x87_stack_fault(c, true))
			x87_push(c, &x87_indefinite);
		return;
	}
	x87_push(c, v);
}

void x87_fld_mem(struct cpu *c, const struct insn *i)
{
	unsigned n = sizes[i->aux2];
	struct x86_st s = {0}, d = {0};
	u16 sw;

	x87_enter(c, i);
	mem_ld_bytes(c, x87_mem(c, i, n, false), &s, n);
	if (unlikely(!x87_empty(c, 7))) {
		push_checked(c, &d);
		return;
	}
	x87_host_begin(c);
	sw = load(i, &s, &d);
	x87_host_end(c);
	if (x87_commit(c, sw & (u16)~FSW_C1, FSW_IE))
		x87_push(c, &d);
}

void x87_fld_reg(struct cpu *c, const struct insn *i)
{
	struct x86_st v;

	x87_enter(c, i);
	v = *x87_st(c, i->r2);
	if (unlikely(x87_empty(c, i->r2))) {
		if (x87_stack_fault(c, false))
			x87_push(c, &x87_indefinite);
		return;
	}
	c->fpu.fsw &= (u16)~FSW_C1;
	push_checked(c, &v);
}

#define CONSTANT(name, ins)                                                                                  \
	static void name(struct x86_st *d)                                                                   \
	{                                                                                                    \
		asm volatile(ins "\n"                                                                        \
		                 "fstpt %0"                                                                  \
		             : "+m"(*d)                                                                      \
		             :                                                                               \
		             : X87_CLOBBERS);                                                                \
	}
CONSTANT(c_1, "fld1")
CONSTANT(c_l2t, "fldl2t")
CONSTANT(c_l2e, "fldl2e")
CONSTANT(c_pi, "fldpi")
CONSTANT(c_lg2, "fldlg2")
CONSTANT(c_ln2, "fldln2")
CONSTANT(c_z, "fldz")

/* The irrational constants are rounded as the control word says. */
void x87_const(struct cpu *c, const struct insn *i)
{
	static void (*const constants[CONST_N])(struct x86_st *) = {
	        c_1, c_l2t, c_l2e, c_pi, c_lg2, c_ln2, c_z};
	struct x86_st v = {0};

	x87_enter(c, i);
	x87_host_begin(c);
	constants[i->aux](&v);
	x87_host_end(c);
	c->fpu.fsw &= (u16)~FSW_C1;
	push_checked(c, &v);
}

/* --- stores --- */

/*
 * Some instructions exist only with a pop, which does not happen on an unmasked exception: FFREE empties
 * the register in that case and does nothing in the other.
 */
#define STORE(name, ins, type)                                                                               \
	static u16 name(const struct x86_st *s, void *d)                                                     \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile("fldt %2\n" ins " %1\n"                                                         \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "ffree %%st(0)"                                                                 \
		             : "=&a"(sw), "+m"(*(type *)d)                                                   \
		             : "m"(*s)                                                                       \
		             : X87_CLOBBERS);                                                                \
		return sw;                                                                                   \
	}
STORE(store_f32, "fstps", u32)
STORE(store_f64, "fstpl", u64)
STORE(store_i16, "fistps", u16)
STORE(store_i32, "fistpl", u32)
STORE(store_i64, "fistpll", u64)
STORE(trunc_i16, "fisttps", u16)
STORE(trunc_i32, "fisttpl", u32)
STORE(trunc_i64, "fisttpll", u64)
STORE(store_bcd, "fbstp", struct x86_st)

static u16 store(const struct insn *i, const struct x86_st *s, void *d)
{
	bool trunc = i->r3 & X87_TRUNC;

	switch (i->aux2) {
	case SRC_F32: return store_f32(s, d);
	case SRC_F64: return store_f64(s, d);
	case SRC_I16: return (trunc ? trunc_i16 : store_i16)(s, d);
	case SRC_I32: return (trunc ? trunc_i32 : store_i32)(s, d);
	case SRC_I64: return (trunc ? trunc_i64 : store_i64)(s, d);
	case SRC_BCD: return store_bcd(s, d);
	default: memcpy(d, s, 10); return 0;
	}
}

/* What a store of an empty register writes when invalid operations are masked. */
static void indefinite(const struct insn *i, void *d)
{
	static const u64 ints[SRC_N] = {
	        [SRC_F32] = 0xffc00000,
	        [SRC_F64] = 0xfff8000000000000ull,
	        [SRC_I16] = 0x8000,
	        [SRC_I32] = 0x80000000,
	        [SRC_I64] = 0x8000000000000000ull,
	};

	if (i->aux2 == SRC_F80)
		memcpy(d, &x87_indefinite, 10);
	else if (i->aux2 == SRC_BCD)
		memcpy(d, "\0\0\0\0\0\0\0\xc0\xff\xff", 10);
	else
		memcpy(d, &ints[i->aux2], 8);
}

static void pop_if(struct cpu *c, const struct insn *i)
{
	if (i->r3 & X87_POP)
		x87_pop(c);
}

void x87_fst_mem(struct cpu *c, const struct insn *i)
{
	unsigned n = sizes[i->aux2];
	struct x86_st d = {0};
	u64 lin;
	u16 sw;

	x87_enter(c, i);
	lin = x87_mem(c, i, n, true);
	if (unlikely(x87_empty(c, 0))) {
		if (!x87_stack_fault(c, false))
			return;
		indefinite(i, &d);
	} else {
		x87_host_begin(c);
		sw = store(i, x87_st(c, 0), &d);
		x87_host_end(c);
		if (!x87_commit(c, sw, FSW_NOSTORE))
			return;
	}
	mem_st_bytes(c, lin, &d, n);
	pop_if(c, i);
}

void x87_fst_reg(struct cpu *c, const struct insn *i)
{
	struct x86_st v;

	x87_enter(c, i);
	v = *x87_st(c, 0);
	if (unlikely(x87_empty(c, 0))) {
		if (!x87_stack_fault(c, false))
			return;
		v = x87_indefinite;
	} else {
		c->fpu.fsw &= (u16)~FSW_C1;
	}
	x87_write(c, i->r1, &v);
	pop_if(c, i);
}

/* An undocumented alias of FSTP ST(i) (D9 /3 with a register) that does not mind an empty ST(0). */
void x87_FSTPNCE(struct cpu *c, const struct insn *i)
{
	x87_check(c);
	if (!x87_empty(c, 0)) {
		x87_fst_reg(c, i);
		return;
	}
	x87_enter(c, i);
	c->fpu.fsw &= (u16)~FSW_C1;
	x87_pop(c);
}

/* --- between registers --- */

void x87_fxch(struct cpu *c, const struct insn *i)
{
	struct x86_st a, b;

	x87_enter(c, i);
	a = *x87_st(c, 0);
	b = *x87_st(c, i->r1);
	if (unlikely(x87_empty(c, 0) || x87_empty(c, i->r1))) {
		if (!x87_stack_fault(c, false))
			return;
		if (x87_empty(c, 0))
			a = x87_indefinite;
		if (x87_empty(c, i->r1))
			b = x87_indefinite;
	} else {
		c->fpu.fsw &= (u16)~FSW_C1;
	}
	x87_write(c, 0, &b);
	x87_write(c, i->r1, &a);
}

/* aux is the condition code as in CMOVcc. */
void x87_fcmov(struct cpu *c, const struct insn *i)
{
	struct x86_st v;

	x87_enter(c, i);
	v = *x87_st(c, i->r2);
	if (unlikely(x87_empty(c, 0) || x87_empty(c, i->r2))) {
		if (!x87_stack_fault(c, false))
			return;
		v = x87_indefinite;
	} else if (!cpu_cond(c, i->aux)) {
		return;
	}
	x87_write(c, 0, &v);
}

void x87_ffree(struct cpu *c, const struct insn *i)
{
	x87_enter(c, i);
	c->fpu.ftw &= (u8)~BIT(x87_phys(c, i->r1));
	c->fpu.fsw &= (u16)~FSW_C1;
	if (i->r3 & X87_POP)
		x87_pop(c);
}

void x87_FINCSTP(struct cpu *c, const struct insn *i)
{
	x87_enter(c, i);
	x87_set_top(c, x87_top(c) + 1);
	c->fpu.fsw &= (u16)~FSW_C1;
}

void x87_FDECSTP(struct cpu *c, const struct insn *i)
{
	x87_enter(c, i);
	x87_set_top(c, x87_top(c) - 1);
	c->fpu.fsw &= (u16)~FSW_C1;
}

void x87_FNOP(struct cpu *c, const struct insn *i)
{
	x87_enter(c, i);
}

/* FCHS (aux 0), FABS (aux 1): sign only, no exception but the stack's. */
void x87_fchs_fabs(struct cpu *c, const struct insn *i)
{
	x87_enter(c, i);
	if (unlikely(x87_empty(c, 0))) {
		if (x87_stack_fault(c, false))
			x87_write(c, 0, &x87_indefinite);
		return;
	}
	c->fpu.fsw &= (u16)~FSW_C1;
	if (i->aux)
		x87_st(c, 0)->exp &= 0x7fff;
	else
		x87_st(c, 0)->exp ^= 0x8000;
}
