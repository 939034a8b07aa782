/*
 * Descriptor-table registers, LDTR and TR, and the instructions that look at descriptors (SDM vol. 2).
 */
#include "accel/soft/interp/sys.h"

/* --- GDTR, IDTR --- */

static void load_table(struct cpu *c, const struct insn *i, struct x86_table *t)
{
	unsigned size = i->osize == 8 ? 8 : 4;
	u64 lin, base;
	u16 limit;

	need_cpl0(c);
	lin = insn_lin(c, i, 2 + size, false);
	limit = mem_ld16(c, lin);
	base = mem_ld(c, lin + 2, size);
	if (i->osize == 2)
		base &= 0xffffff;
	if (i->osize == 8 && !mmu_canonical(base))
		cpu_raise_err(c, EXC_GP, 0);
	t->limit = limit;
	t->base = base;
}

static void store_table(struct cpu *c, const struct insn *i, const struct x86_table *t)
{
	unsigned size = i->osize == 8 ? 8 : 4;
	u8 buf[10];

	check_umip(c);
	memcpy(buf, &t->limit, 2);
	memcpy(buf + 2, &t->base, size);
	mem_st_bytes(c, insn_lin(c, i, 2 + size, true), buf, 2 + size);
}

void op_lgdt(struct cpu *c, const struct insn *i)
{
	load_table(c, i, &c->gdt);
}

void op_lidt(struct cpu *c, const struct insn *i)
{
	load_table(c, i, &c->idt);
}

void op_sgdt(struct cpu *c, const struct insn *i)
{
	store_table(c, i, &c->gdt);
}

void op_sidt(struct cpu *c, const struct insn *i)
{
	store_table(c, i, &c->idt);
}

/* --- LDTR, TR --- */

static void store_sel(struct cpu *c, const struct insn *i, u16 sel)
{
	need_protected(c);
	check_umip(c);
	if (i->flags & INSN_MEM)
		mem_st16(c, insn_lin(c, i, 2, true), sel);
	else
		reg_write(c, i->r1, i->osize, sel);
}

void op_sldt(struct cpu *c, const struct insn *i)
{
	store_sel(c, i, c->ldt.sel);
}

void op_str(struct cpu *c, const struct insn *i)
{
	store_sel(c, i, c->tr.sel);
}

/* A system descriptor in the GDT, with its upper half in IA-32e mode. */
static void read_system(struct cpu *c, u16 sel, struct desc *d)
{
	if (sel & 4)
		cpu_raise_err(c, EXC_GP, sel & 0xfffc);
	desc_read(c, sel, d, EXC_GP, 0);
	if (cpu_long(c))
		desc_read_upper(c, sel, d, EXC_GP, 0);
}

static void need_canonical_base(struct cpu *c, const struct x86_seg *s)
{
	if (cpu_long(c) && !mmu_canonical(s->base))
		cpu_raise_err(c, EXC_GP, 0);
}

void op_lldt(struct cpu *c, const struct insn *i)
{
	struct x86_seg ldt = {.attr = SEG_ATTR_UNUSABLE};
	struct desc d;
	u16 sel;

	need_protected(c);
	need_cpl0(c);
	sel = rm16(c, i, i->r1);
	ldt.sel = sel;
	if (!sel_null(sel)) {
		read_system(c, sel, &d);
		if (desc_s(&d) || desc_type(&d) != DT_LDT)
			cpu_raise_err(c, EXC_GP, sel & 0xfffc);
		if (!desc_present(&d))
			cpu_raise_err(c, EXC_NP, sel & 0xfffc);
		seg_from_desc(&ldt, sel, &d);
		need_canonical_base(c, &ldt);
	}
	c->ldt = ldt;
}

void op_ltr(struct cpu *c, const struct insn *i)
{
	struct x86_seg tr;
	struct desc d;
	u16 sel;

	need_protected(c);
	need_cpl0(c);
	sel = rm16(c, i, i->r1);
	if (sel_null(sel))
		cpu_raise_err(c, EXC_GP, 0);
	read_system(c, sel, &d);
	if (desc_s(&d) || (desc_type(&d) != DT_TSS32 && (cpu_long(c) || desc_type(&d) != DT_TSS16)))
		cpu_raise_err(c, EXC_GP, sel & 0xfffc);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, sel & 0xfffc);
	seg_from_desc(&tr, sel, &d);
	need_canonical_base(c, &tr);
	desc_set_busy(c, sel, true);
	tr.attr |= 2;
	c->tr = tr;
}

/* --- looking at descriptors --- */

#define TYPES_LAR 0x1a3eu  /* TSS, LDT, gates: 1-5, 9, 11, 12 */
#define TYPES_LSL 0x0a0eu  /* TSS, LDT: 1-3, 9, 11 */
#define TYPES_LONG 0x1a04u /* of these in IA-32e mode: LDT, 64-bit TSS and call gate */

/* Is the descriptor of sel visible at CPL and RPL, with a system type of the mask? */
static bool visible(struct cpu *c, u16 sel, struct desc *d, u32 types)
{
	if (sel_null(sel) || !desc_try(c, sel, d))
		return false;
	if (!desc_s(d)) {
		if (cpu_long(c))
			types &= TYPES_LONG;
		if (!(types >> desc_type(d) & 1))
			return false;
	}
	return desc_conforming(d) || (desc_dpl(d) >= c->cpl && desc_dpl(d) >= (sel & 3u));
}

void op_lar(struct cpu *c, const struct insn *i)
{
	struct desc d;
	bool ok;

	need_protected(c);
	ok = visible(c, rm16(c, i, i->r2), &d, TYPES_LAR);
	if (ok)
		reg_write(c, i->r1, i->osize, d.lo >> 32 & 0x00ffff00);
	set_zf(c, ok);
}

void op_lsl(struct cpu *c, const struct insn *i)
{
	struct desc d;
	struct x86_seg s;
	bool ok;

	need_protected(c);
	ok = visible(c, rm16(c, i, i->r2), &d, TYPES_LSL);
	if (ok) {
		seg_from_desc(&s, 0, &d);
		reg_write(c, i->r1, i->osize, s.limit);
	}
	set_zf(c, ok);
}

void op_verr(struct cpu *c, const struct insn *i)
{
	struct desc d;

	need_protected(c);
	bool ok = visible(c, rm16(c, i, i->r1), &d, 0);
	set_zf(c, ok && (!desc_code(&d) || (d.lo >> 41 & 1)));
}

void op_verw(struct cpu *c, const struct insn *i)
{
	struct desc d;

	need_protected(c);
	bool ok = visible(c, rm16(c, i, i->r1), &d, 0);
	set_zf(c, ok && desc_writable(&d));
}

void op_arpl(struct cpu *c, const struct insn *i)
{
	u16 rpl = (u16)c->gpr[i->r2] & 3;
	u64 lin = 0;
	u16 sel;
	bool raised;

	need_protected(c);
	if (i->flags & INSN_MEM) {
		lin = insn_lin(c, i, 2, true);
		mmu_probe(c, lin, 2, ACC_WRITE);
		sel = mem_ld16(c, lin);
	} else {
		sel = (u16)c->gpr[i->r1];
	}
	raised = (sel & 3) < rpl;
	if (raised) {
		sel = (u16)((sel & ~3) | rpl);
		if (i->flags & INSN_MEM)
			mem_st16(c, lin, sel);
		else
			reg_write(c, i->r1, 2, sel);
	}
	set_zf(c, raised);
}

/* --- translations --- */

void op_invlpg(struct cpu *c, const struct insn *i)
{
	u64 lin = insn_ea(c, i);

	need_cpl0(c);
	if (i->seg_mode != SEGM_FLAT)
		lin += c->seg[i->seg].base;
	if (!(c->hf & HF_CS64))
		lin = (u32)lin;
	else if (!mmu_canonical(lin))
		return;
	mmu_flush_page(c, lin);
	cpu_end_block(c);
}

enum { INVPCID_ADDR, INVPCID_ONE, INVPCID_ALL_GLOBAL, INVPCID_ALL };

void op_invpcid(struct cpu *c, const struct insn *i)
{
	u64 lin, pcid, addr, type;

	if (c->eflags & FL_VM)
		cpu_raise_err(c, EXC_GP, 0);
	need_cpl0(c);
	lin = insn_lin(c, i, 16, false);
	pcid = mem_ld64(c, lin);
	addr = mem_ld64(c, lin + 8);
	type = c->hf & HF_CS64 ? c->gpr[i->r1] : (u32)c->gpr[i->r1];
	if (type > INVPCID_ALL || pcid >> 12 || (type <= INVPCID_ONE && pcid && !(c->cr4 & CR4_PCIDE)) ||
	        (type == INVPCID_ADDR && !mmu_canonical(addr)))
		cpu_raise_err(c, EXC_GP, 0);
	switch (type) {
	case INVPCID_ADDR: mmu_flush_page_pcid(c, addr, (u32)pcid); break;
	case INVPCID_ONE: mmu_flush_pcid(c, (u32)pcid); break;
	case INVPCID_ALL: mmu_flush_nonglobal(c); break;
	default: mmu_flush(c, true); break;
	}
	cpu_end_block(c);
}
