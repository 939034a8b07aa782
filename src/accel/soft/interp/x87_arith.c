/*
 * x87 arithmetic and compares. The kernels take their destination as ST(0), which is the same operation
 * whatever register the guest names.
 */
#include "accel/soft/interp/x87.h"

typedef u16 arith_fn(struct x86_st *d, const void *s);

#define KERNEL_REG(name, ins)                                                                                \
	static u16 name(struct x86_st *d, const void *s)                                                     \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile("fldt %2\n"                                                                     \
		             "fldt %1\n" ins " %%st(1), %%st\n"                                              \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "fstpt %1\n"                                                                    \
		             "fstp %%st(0)"                                                                  \
		             : "=&a"(sw), "+m"(*d)                                                           \
		             : "m"(*(const struct x86_st *)s)                                                \
		             : X87_CLOBBERS);                                                                \
		return sw;                                                                                   \
	}
#define KERNEL_MEM(name, ins, type)                                                                          \
	static u16 name(struct x86_st *d, const void *s)                                                     \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile("fldt %1\n" ins " %2\n"                                                         \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "fstpt %1"                                                                      \
		             : "=&a"(sw), "+m"(*d)                                                           \
		             : "m"(*(const type *)s)                                                         \
		             : X87_CLOBBERS);                                                                \
		return sw;                                                                                   \
	}
#define KERNELS(op)                                                                                          \
	KERNEL_REG(k_##op, "f" #op)                                                                          \
	KERNEL_MEM(k_##op##_f32, "f" #op "s", u32)                                                           \
	KERNEL_MEM(k_##op##_f64, "f" #op "l", u64)                                                           \
	KERNEL_MEM(k_##op##_i16, "fi" #op "s", u16)                                                          \
	KERNEL_MEM(k_##op##_i32, "fi" #op "l", u32)
KERNELS(add)
KERNELS(mul)
KERNELS(sub)
KERNELS(subr)
KERNELS(div)
KERNELS(divr)

#define KERNEL_ROW(op)                                                                                       \
	{                                                                                                    \
		k_##op, k_##op##_f32, k_##op##_f64, k_##op##_i16, k_##op##_i32                               \
	}
static arith_fn *const arith[ARITH_N][SRC_I32 + 1] = {
        [ARITH_ADD] = KERNEL_ROW(add),
        [ARITH_MUL] = KERNEL_ROW(mul),
        [ARITH_SUB] = KERNEL_ROW(sub),
        [ARITH_SUBR] = KERNEL_ROW(subr),
        [ARITH_DIV] = KERNEL_ROW(div),
        [ARITH_DIVR] = KERNEL_ROW(divr),
};

static const u8 src_size[SRC_N] = {0, 4, 8, 2, 4, 8, 10, 10};

/* The source: a register, or memory copied to buf. */
static const void *source(struct cpu *c, const struct insn *i, u64 *buf)
{
	unsigned n = src_size[i->aux2];

	if (!(i->flags & INSN_MEM))
		return x87_st(c, i->r2);
	*buf = mem_ld(c, x87_mem(c, i, n, false), n);
	return buf;
}

static bool sources_empty(const struct cpu *c, const struct insn *i)
{
	return x87_empty(c, i->r1) || (!(i->flags & INSN_MEM) && x87_empty(c, i->r2));
}

static void pop(struct cpu *c, const struct insn *i)
{
	if (i->r3 & (X87_POP | X87_POP2))
		x87_pop(c);
	if (i->r3 & X87_POP2)
		x87_pop(c);
}

void x87_arith(struct cpu *c, const struct insn *i)
{
	struct x86_st d;
	const void *s;
	u64 buf;
	u16 sw;

	x87_enter(c, i);
	s = source(c, i, &buf);
	if (unlikely(sources_empty(c, i))) {
		if (!x87_stack_fault(c, false))
			return;
		d = x87_indefinite;
	} else {
		d = *x87_st(c, i->r1);
		x87_host_begin(c);
		sw = arith[i->aux][i->aux2](&d, s);
		x87_host_end(c);
		if (!x87_commit(c, sw, FSW_PRE))
			return;
	}
	x87_write(c, i->r1, &d);
	pop(c, i);
}

/* --- compares --- */

typedef u16 compare_fn(const struct x86_st *d, const void *s);

#define COMPARE_REG(name, ins)                                                                               \
	static u16 name(const struct x86_st *d, const void *s)                                               \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile("fldt %2\n"                                                                     \
		             "fldt %1\n" ins " %%st(1)\n"                                                    \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "fstp %%st(0)\n"                                                                \
		             "fstp %%st(0)"                                                                  \
		             : "=&a"(sw)                                                                     \
		             : "m"(*d), "m"(*(const struct x86_st *)s)                                       \
		             : X87_CLOBBERS);                                                                \
		return sw;                                                                                   \
	}
#define COMPARE_MEM(name, ins, type)                                                                         \
	static u16 name(const struct x86_st *d, const void *s)                                               \
	{                                                                                                    \
		u16 sw;                                                                                      \
		asm volatile("fldt %1\n" ins " %2\n"                                                         \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "fstp %%st(0)"                                                                  \
		             : "=&a"(sw)                                                                     \
		             : "m"(*d), "m"(*(const type *)s)                                                \
		             : X87_CLOBBERS);                                                                \
		return sw;                                                                                   \
	}
COMPARE_REG(com, "fcom")
COMPARE_REG(ucom, "fucom")
COMPARE_MEM(com_f32, "fcoms", u32)
COMPARE_MEM(com_f64, "fcoml", u64)
COMPARE_MEM(com_i16, "ficoms", u16)
COMPARE_MEM(com_i32, "ficoml", u32)
static compare_fn *const compare[] = {com, com_f32, com_f64, com_i16, com_i32};

#define CC_COMPARE (FSW_C0 | FSW_C2 | FSW_C3)

void x87_compare(struct cpu *c, const struct insn *i)
{
	const void *s;
	u64 buf;
	u16 sw;

	x87_enter(c, i);
	s = source(c, i, &buf);
	if (unlikely(sources_empty(c, i))) {
		/* Unordered, even if unmasked: only the pop depends on that. */
		x87_cc(c, CC_COMPARE, CC_COMPARE);
		if (!x87_stack_fault(c, false))
			return;
		sw = CC_COMPARE;
	} else {
		x87_host_begin(c);
		sw = (i->r3 & X87_UNORDERED ? ucom : compare[i->aux2])(x87_st(c, 0), s);
		x87_host_end(c);
		if (!x87_commit(c, sw, FSW_PRE))
			return;
	}
	x87_cc(c, sw, CC_COMPARE);
	pop(c, i);
}

/* Kernels with flag results: ZF, PF, CF. */
#define COMPARE_FLAGS(name, ins)                                                                             \
	static u16 name(const struct x86_st *d, const struct x86_st *s, u32 *fl)                             \
	{                                                                                                    \
		bool z, p, cf;                                                                               \
		u16 sw;                                                                                      \
		asm volatile("fldt %5\n"                                                                     \
		             "fldt %4\n" ins " %%st(1), %%st\n"                                              \
		             "fnstsw %0\n"                                                                   \
		             "fnclex\n"                                                                      \
		             "fstp %%st(0)\n"                                                                \
		             "fstp %%st(0)"                                                                  \
		             : "=&a"(sw), "=@ccz"(z), "=@ccp"(p), "=@ccc"(cf)                                \
		             : "m"(*d), "m"(*s)                                                              \
		             : X87_CLOBBERS);                                                                \
		*fl = (z ? FL_ZF : 0) | (p ? FL_PF : 0) | (cf ? FL_CF : 0);                                  \
		return sw;                                                                                   \
	}
COMPARE_FLAGS(comi, "fcomi")
COMPARE_FLAGS(ucomi, "fucomi")

void x87_compare_flags(struct cpu *c, const struct insn *i)
{
	u32 fl;
	u16 sw;

	x87_enter(c, i);
	if (unlikely(sources_empty(c, i))) {
		fl = FL_ZF | FL_PF | FL_CF;
		cpu_set_arith(c, fl);
		if (!x87_stack_fault(c, false))
			return;
	} else {
		x87_host_begin(c);
		sw = (i->r3 & X87_UNORDERED ? ucomi : comi)(x87_st(c, 0), x87_st(c, i->r2), &fl);
		x87_host_end(c);
		if (!x87_commit(c, sw, FSW_PRE))
			return;
	}
	cpu_set_arith(c, fl);
	pop(c, i);
}

void x87_FTST(struct cpu *c, const struct insn *i)
{
	static const struct x86_st zero;
	u16 sw = CC_COMPARE;

	x87_enter(c, i);
	if (unlikely(x87_empty(c, 0))) {
		x87_stack_fault(c, false);
	} else {
		x87_host_begin(c);
		sw = com(x87_st(c, 0), &zero);
		x87_host_end(c);
		if (!x87_commit(c, sw, FSW_PRE))
			return;
	}
	x87_cc(c, sw, CC_COMPARE);
}

/* Never faults; an empty register is a class of its own. */
void x87_FXAM(struct cpu *c, const struct insn *i)
{
	u16 sw;

	x87_enter(c, i);
	asm volatile("fldt %1\n"
	             "fxam\n"
	             "fnstsw %0\n"
	             "fstp %%st(0)"
	             : "=&a"(sw)
	             : "m"(*x87_st(c, 0))
	             : X87_CLOBBERS);
	if (x87_empty(c, 0))
		sw = (u16)((sw & FSW_C1) | FSW_C0 | FSW_C3);
	x87_cc(c, sw, FSW_CC);
}
