/*
 * Frames on old and new stacks.
 */
#include "accel/soft/frame.h"
#include "accel/soft/task.h"

static u64 sp_mask(const struct frame *f)
{
	if (f->width == 8)
		return ~0ull;
	return f->ss.attr & SEG_ATTR_DB ? 0xffffffffull : 0xffffull;
}

static bool allows(const struct cpu *c, const struct frame *f, u64 off)
{
	if (c->cr0 & CR0_PE)
		return seg_allows(&f->ss, off, f->width, true);
	return off + f->width - 1 <= f->ss.limit;
}

void frame_push(struct cpu *c, struct frame *f, u64 v)
{
	u64 mask = sp_mask(f);
	u64 lin;

	f->sp = (f->sp & ~mask) | ((f->sp - f->width) & mask);
	if (f->width == 8) {
		lin = f->sp;
		if (!mmu_canonical(lin))
			cpu_raise_err(c, EXC_SS, f->ext);
	} else {
		if (!allows(c, f, f->sp & mask))
			cpu_raise_err(c, EXC_SS, f->error | f->ext);
		lin = (u32)(f->ss.base + (f->sp & mask));
	}
	mem_st_idx(c, f->idx, lin, f->width, v & ones(f->width));
}

void frame_inner(struct cpu *c, struct frame *f, unsigned cpl)
{
	struct desc d;
	u16 ss;
	u32 esp;

	tss_stack(c, cpl, f->ext, &ss, &esp);
	seg_check_stack(c, ss, cpl, EXC_TS, f->ext, &d);
	desc_set_accessed(c, &d);
	seg_from_desc(&f->ss, ss, &d);
	f->sp = esp;
	f->idx = mmu_idx_of(cpl);
	f->error = ss & 0xfffc;
}
