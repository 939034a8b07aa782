/*
 * SIMD floating-point exceptions (SDM vol. 1, 11.5): the slow half of fp_begin and fp_again, for a
 * guest that has changed rounding, DAZ or FTZ or unmasked an exception.
 *
 * The host runs the operation with everything masked. Two things differ when the guest has unmasked an
 * exception. First, one found before the operation (IE, DE, ZE) stops it, so that flags found after it
 * (OE, UE, PE) do not appear. Second, unmasked underflow is raised by any tiny result, masked only by an
 * inexact one: so if UE is unmasked the operation runs once more with FTZ, under which every tiny result
 * sets UE.
 */
#include "accel/soft/interp/vec.h"

/* st, handed from fp_begin to fp_again: the host's MXCSR control bits, and */
#define ST_SECOND 0x10000u /* second run, for UE */
#define ST_FLAGS_SHIFT 20  /* flags of the first run */
#define ST_SLOW 0x20000u   /* FP_TINY is 0x40000 */

static u32 unmasked(const struct cpu *c)
{
	return ~(c->mxcsr >> 7) & MXCSR_FLAGS;
}

u32 fp_begin_slow(struct cpu *c)
{
	u32 want = (c->mxcsr & (MXCSR_DAZ | MXCSR_RC | MXCSR_FTZ)) | MXCSR_MASKS;

	if (unmasked(c) & MXCSR_UE)
		want &= ~MXCSR_FTZ; /* has no effect then */
	host_set_mxcsr(want);
	return want | ST_SLOW;
}

bool fp_again_slow(struct cpu *c, u32 *st, u32 host)
{
	u32 flags = host & MXCSR_FLAGS;
	u32 traps = unmasked(c);

	if ((*st & FP_TINY) && (traps & MXCSR_UE))
		flags |= MXCSR_UE;
	if (*st & ST_SECOND) {
		flags = (flags & MXCSR_UE) | (*st >> ST_FLAGS_SHIFT);
	} else if ((traps & MXCSR_UE) && !(flags & traps & MXCSR_PRE)) {
		*st |= ST_SECOND | flags << ST_FLAGS_SHIFT;
		host_set_mxcsr((*st & MXCSR_ALL) | MXCSR_FTZ);
		return true;
	}
	host_set_mxcsr(MXCSR_RESET);
	if (flags & traps & MXCSR_PRE)
		flags &= MXCSR_PRE;
	c->mxcsr |= flags;
	if (flags & traps)
		cpu_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
	return false;
}
