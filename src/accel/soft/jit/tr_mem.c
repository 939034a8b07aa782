/*
 * Flags and memory.
 *
 * Flags: translated code compares addresses, which destroys the host's flags. Before it does, the
 * guest's are saved in AX (LAHF, SETO); they are put back when an instruction needs them and were not
 * rewritten meanwhile. So they are exact at every instruction that may fault.
 *
 * Memory: the linear address is put into S1; then
 *
 *	mov  s2d, s1d
 *	shr  s2d, 12
 *	sub  s1, gs:[tag + s2*8]     ; the TLB's array for reads or writes; leaves the offset in the page
 *	cmp  s1, 4096 - size
 *	ja   slow                    ; another page, or the access crosses
 *	add  s1, gs:[host + s2*8]
 *
 * leaves the host address in S1. An offset that is too large means a miss, because an empty slot holds
 * the address of a page of another slot.
 */
#include "accel/soft/jit/tr.h"

void tr_flags_host(struct tr *t)
{
	if (!(t->flags & FLAGS_HOST)) {
		as_flags_from_ax(&t->a);
		t->flags |= FLAGS_HOST;
	}
}

void tr_flags_ax(struct tr *t)
{
	if (!(t->flags & FLAGS_AX)) {
		as_flags_to_ax(&t->a);
		t->flags |= FLAGS_AX;
	}
}

void tr_flags_clobber(struct tr *t)
{
	if (t->flags)
		tr_flags_ax(t);
	t->flags &= ~FLAGS_HOST;
}

void tr_flags_written(struct tr *t)
{
	t->flags = FLAGS_HOST;
}

/* --- registers --- */

void tr_load_gpr(struct tr *t, unsigned host, unsigned guest)
{
	if (host_reg(guest) == IN_MEMORY)
		as_ld(&t->a, host, as_gs(CPU_GPR(guest)));
	else
		as_mov(&t->a, host, host_reg(guest));
}

unsigned tr_gpr(struct tr *t, unsigned guest, unsigned scratch)
{
	unsigned h = host_reg(guest);

	if (h != IN_MEMORY)
		return h;
	as_ld(&t->a, scratch, as_gs(CPU_GPR(guest)));
	return scratch;
}

void tr_page_plus(struct tr *t, unsigned host, s64 off)
{
	as_ld(&t->a, host, as_gs(CPU_JIT(vpage)));
	if (off == (s32)off) {
		if (off)
			as_lea(&t->a, host, as_at(host, (s32)off));
		return;
	}
	as_st(&t->a, as_gs(CPU_JIT(tmp)), host);
	as_imm(&t->a, host, (u64)off);
	tr_flags_clobber(t);
	as_rm(&t->a, 1, 0x03, host, as_gs(CPU_JIT(tmp))); /* ADD */
}

/* --- addresses --- */

static s64 rip_disp(const struct ti *i)
{
	return (s64)tr_next_off(i) + i->i.disp;
}

bool tr_ea_ok(const struct ti *i)
{
	s64 disp = i->i.base == REG_RIP ? rip_disp(i) : i->i.disp;

	return disp == (s32)disp && i->i.asize >= 4 && i->i.seg_mode != SEGM_CHECK;
}

void tr_ea(struct tr *t, unsigned dst)
{
	const struct insn *i = &tr_insn(t)->i;
	struct as_mem m = {.base = NOREG, .index = NOREG, .disp = (s32)i->disp};

	if (i->base == REG_RIP) {
		as_ld(&t->a, S1, as_gs(CPU_JIT(vpage)));
		m.base = S1;
		m.disp = (s32)rip_disp(tr_insn(t));
	} else if (i->base != REG_ZERO) {
		m.base = (u8)tr_gpr(t, i->base, S1);
	}
	if (i->index != REG_ZERO) {
		m.index = (u8)tr_gpr(t, i->index, S2);
		m.scale = i->scale;
	}
	if (m.base == NOREG && m.index == NOREG && i->asize == 8)
		as_imm(&t->a, dst, (u64)(s64)m.disp);
	else if (i->asize == 8 && m.index == NOREG && m.disp == 0)
		as_mov(&t->a, dst, m.base);
	else if (i->asize == 8)
		as_lea(&t->a, dst, m);
	else
		as_lea32(&t->a, dst, m);
}

void tr_linear(struct tr *t)
{
	const struct insn *i = &tr_insn(t)->i;

	tr_ea(t, S1);
	if (i->seg_mode == SEGM_BASE) {
		tr_flags_clobber(t);
		/* ADD S1, gs:[seg.base] */
		as_rm(&t->a, 1, 0x03, S1,
		        as_gs(offsetof(struct cpu, seg) + i->seg * sizeof(struct x86_seg) +
		                offsetof(struct x86_seg, base)));
	}
}

struct site *tr_site(struct tr *t)
{
	struct ti *i = tr_insn(t);
	struct site *s = jit_site(t->j);

	if (!s) {
		t->give_up = true;
		s = &t->no_site;
	}
	s->tb = jit_ref(t->j, t->b);
	s->off = i->off;
	s->len = i->i.len;
	return s;
}

void tr_fault_from(struct tr *t, struct site *s)
{
	s->from = jit_place(t->j, as_here(&t->a));
	s->flags = (u8)t->flags;
}

void tr_fault_to(struct tr *t, struct site *s)
{
	s->span = (u16)(jit_place(t->j, as_here(&t->a)) - s->from);
}

void tr_slow(struct tr *t, unsigned cc, struct slow s)
{
	assert(t->nslow < TR_SLOWS);
	s.hole = as_jcc_hole(&t->a, cc);
	t->slow[t->nslow++] = s;
}

size_t tr_tag(struct tr *t, bool write)
{
	size_t tag = write ? CPU_TLB(t->idx, w) : CPU_TLB(t->idx, r);

	as_mov32(&t->a, S2, S1);
	as_shr32(&t->a, S2, PAGE_SHIFT);
	as_rm(&t->a, 1, 0x2b, S1, as_gs_index(tag, S2, 3)); /* SUB */
	return tag;
}

static void check(struct tr *t, unsigned size, bool write, bool window)
{
	struct slow s = {.site = tr_site(t), .to = t->j->glue.miss, .window = (u16)(window ? size : 0)};

	tr_flags_clobber(t);
	s.site->retry = jit_place(t->j, as_here(&t->a));
	s.site->access = MMU_ACCESS(size, write);
	s.tag = tr_tag(t, write);
	as_alu_imm(&t->a, 1, 7, S1, (s32)(PAGE_SIZE - size)); /* CMP */
	tr_slow(t, CC_A, s);
}

void tr_check_window(struct tr *t, unsigned size, bool write)
{
	check(t, size, write, true);
}

static void add_host(struct tr *t)
{
	as_rm(&t->a, 1, 0x03, S1, as_gs_index(CPU_TLB(t->idx, host), S2, 3)); /* ADD */
}

void tr_check(struct tr *t, unsigned size, bool write)
{
	check(t, size, write, false);
	add_host(t);
}

void tr_check_or_narrow(struct tr *t, unsigned size, bool write)
{
	check(t, size, write, true);
	add_host(t);
}
