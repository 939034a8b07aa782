/*
 * Segment registers and descriptors (SDM vol. 3, 3.4, 5.2 to 5.7).
 */
#include "accel/soft/seg.h"
#include "accel/soft/interp/insn.h"

/* --- addresses --- */

static NORETURN void seg_fault(struct cpu *c, unsigned seg)
{
	cpu_raise_err(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

static bool type_allows(const struct x86_seg *s, bool write)
{
	if (!(s->attr & SEG_ATTR_P) || (s->attr & SEG_ATTR_UNUSABLE))
		return false;
	if (s->attr & 8) /* code: R */
		return !write && (s->attr & 2);
	return !write || (s->attr & 2);
}

static bool limit_allows(const struct x86_seg *s, u64 off, unsigned size)
{
	u64 last = off + size - 1;

	if ((s->attr & 0xc) == 4) /* expand-down data */
		return off > s->limit && last <= (s->attr & SEG_ATTR_DB ? 0xffffffffu : 0xffffu);
	return last <= s->limit;
}

bool seg_allows(const struct x86_seg *s, u64 off, unsigned size, bool write)
{
	return type_allows(s, write) && limit_allows(s, off, size);
}

u64 mmu_linear(struct cpu *c, unsigned seg, u64 off, unsigned size, bool write)
{
	const struct x86_seg *s = &c->seg[seg];

	if (c->hf & HF_CS64) {
		u64 lin = off + (seg >= SEG_FS ? s->base : 0);
		if (!mmu_canonical(lin) || !mmu_canonical(lin + size - 1))
			seg_fault(c, seg);
		return lin;
	}
	/* Real mode checks limits only: code segments are written through CS there. */
	if (((c->cr0 & CR0_PE) && !type_allows(s, write)) || !limit_allows(s, (u32)off, size))
		seg_fault(c, seg);
	return (u32)(s->base + off);
}

/* --- descriptors --- */

bool desc_try(struct cpu *c, u16 sel, struct desc *d)
{
	u64 base = c->gdt.base;
	u32 limit = c->gdt.limit;

	if (sel & 4) {
		if (c->ldt.attr & SEG_ATTR_UNUSABLE || !(c->ldt.attr & SEG_ATTR_P))
			return false;
		base = c->ldt.base;
		limit = c->ldt.limit;
	}
	if ((u32)(sel | 7) > limit)
		return false;
	d->lin = base + (sel & 0xfff8u);
	d->lo = mem_ld_sys(c, d->lin, 8);
	d->hi2 = 0;
	return true;
}

void desc_read(struct cpu *c, u16 sel, struct desc *d, unsigned vector, u32 ext)
{
	if (sel_null(sel))
		cpu_raise_err(c, vector, ext);
	if (!desc_try(c, sel, d))
		cpu_raise_err(c, vector, (sel & 0xfffc) | ext);
}

void desc_read_upper(struct cpu *c, u16 sel, struct desc *d, unsigned vector, u32 ext)
{
	u32 limit = sel & 4 ? c->ldt.limit : c->gdt.limit;

	if ((u32)(sel | 7) + 8 > limit)
		cpu_raise_err(c, vector, (sel & 0xfffc) | ext);
	d->hi2 = mem_ld_sys(c, d->lin + 8, 8);
	if (d->hi2 >> 40 & 0x1f) /* type of the upper half must be 0 */
		cpu_raise_err(c, vector, (sel & 0xfffc) | ext);
}

void desc_set_accessed(struct cpu *c, struct desc *d)
{
	if (d->lo >> 40 & 1)
		return;
	d->lo |= 1ull << 40;
	mem_st_sys(c, d->lin + 5, 1, d->lo >> 40 & 0xff);
}

void desc_set_busy(struct cpu *c, u16 sel, bool busy)
{
	u64 lin = c->gdt.base + (sel & 0xfff8u) + 5;
	u64 b = mem_ld_sys(c, lin, 1);

	mem_st_sys(c, lin, 1, busy ? b | 2 : b & ~2ull);
}

void seg_from_desc(struct x86_seg *s, u16 sel, const struct desc *d)
{
	u32 limit = (u32)(d->lo & 0xffff) | (u32)(d->lo >> 32 & 0xf0000);

	s->sel = sel;
	s->attr = d->lo >> 40 & 0xf0ff;
	s->limit = s->attr & SEG_ATTR_G ? limit << 12 | 0xfff : limit;
	s->base = (d->lo >> 16 & 0xffffff) | (d->lo >> 32 & 0xff000000) | (d->hi2 & 0xffffffff) << 32;
}

void seg_real(struct x86_seg *s, u16 sel)
{
	s->sel = sel;
	s->base = (u32)sel << 4;
}

void seg_vm86(struct x86_seg *s, u16 sel)
{
	*s = (struct x86_seg){.sel = sel, .base = (u32)sel << 4, .limit = 0xffff, .attr = 0xf3};
}

void seg_null(struct x86_seg *s, u16 sel)
{
	s->sel = sel;
	s->attr = SEG_ATTR_UNUSABLE;
	s->limit = 0;
	s->base = 0;
}

void seg_null_ss(struct cpu *c, unsigned cpl)
{
	seg_null(&c->seg[SEG_SS], (u16)cpl);
	/* The DPL of a null SS is its RPL, so that the CPL can be read there. */
	c->seg[SEG_SS].attr |= (u16)(cpl << SEG_ATTR_DPL_SHIFT);
}

/* --- loads --- */

void seg_check_stack(struct cpu *c, u16 sel, unsigned cpl, unsigned vector, u32 ext, struct desc *d)
{
	u32 error = (sel & 0xfffc) | ext;

	desc_read(c, sel, d, vector, ext);
	if ((sel & 3u) != cpl || desc_dpl(d) != cpl || !desc_writable(d))
		cpu_raise_err(c, vector, error);
	if (!desc_present(d))
		cpu_raise_err(c, EXC_SS, error);
}

static void load_ss(struct cpu *c, u16 sel)
{
	struct desc d;

	if (sel_null(sel)) {
		if (!(c->hf & HF_CS64) || c->cpl == 3 || (sel & 3) != c->cpl)
			cpu_raise_err(c, EXC_GP, 0);
		seg_null_ss(c, c->cpl);
	} else {
		seg_check_stack(c, sel, c->cpl, EXC_GP, 0, &d);
		desc_set_accessed(c, &d);
		seg_from_desc(&c->seg[SEG_SS], sel, &d);
	}
	cpu_update_mode(c);
	cpu_end_block(c);
}

static void load_data(struct cpu *c, unsigned seg, u16 sel)
{
	struct desc d;

	if (sel_null(sel)) {
		seg_null(&c->seg[seg], sel);
		return;
	}
	desc_read(c, sel, &d, EXC_GP, 0);
	if (!desc_s(&d) || (desc_code(&d) && !(d.lo >> 41 & 1)))
		cpu_raise_err(c, EXC_GP, sel & 0xfffc);
	if (!desc_conforming(&d) && ((sel & 3u) > desc_dpl(&d) || c->cpl > desc_dpl(&d)))
		cpu_raise_err(c, EXC_GP, sel & 0xfffc);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, sel & 0xfffc);
	desc_set_accessed(c, &d);
	seg_from_desc(&c->seg[seg], sel, &d);
}

void seg_load(struct cpu *c, unsigned seg, u16 sel)
{
	if (cpu_real_or_vm86(c)) {
		if (c->eflags & FL_VM)
			seg_vm86(&c->seg[seg], sel);
		else
			seg_real(&c->seg[seg], sel);
		if (seg == SEG_SS)
			cpu_update_mode(c);
	} else if (seg == SEG_SS) {
		load_ss(c, sel);
	} else {
		load_data(c, seg, sel);
	}
}

void seg_set_cs(struct cpu *c, u16 sel, struct desc *d, unsigned cpl)
{
	desc_set_accessed(c, d);
	seg_from_desc(&c->seg[SEG_CS], (u16)((sel & ~3u) | cpl), d);
	c->cpl = cpl;
	cpu_update_mode(c);
	cpu_end_block(c);
}

void seg_drop_inner(struct cpu *c, unsigned cpl)
{
	static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned n = 0; n < ARRAY_SIZE(data); n++) {
		struct x86_seg *s = &c->seg[data[n]];
		bool conforming = (s->attr & 0x1c) == 0x1c;

		if (!(s->attr & SEG_ATTR_UNUSABLE) && !conforming &&
		        (unsigned)(s->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT < cpl)
			seg_null(s, 0);
	}
}
