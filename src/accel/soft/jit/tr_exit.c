/*
 * How a block is left.
 *
 * To a fixed place in the same page: a jump that is patched when its target has been translated. The
 * page is the same physical page however it is mapped, so the link holds for every address space. To a
 * fixed distance in another page: the same, when the TLB says that the link's page is there.
 * RET goes where the CPU's CALLs have said (jit.rs), everything else by guest address: a lookup in the CPU's
 * table of branch targets (cpu.h, jc_*), whose entries are only as old as the TLB's.
 *
 * Loops must notice requests: backward jumps and lookups look at the request word.
 */
#include "accel/soft/jit/tr.h"

#define REQUEST offsetof(struct cpu, request)

/* Code in the last bytes of a page may cross into the next one; such blocks are found by address only. */
static bool linkable(s64 off)
{
	return off >= 0 && off <= (s64)PAGE_SIZE - INSN_MAX;
}

static struct xit *new_exit(struct tr *t, s64 off)
{
	struct xit *x = jit_arena(t->j, sizeof(*x));

	if (!x) {
		t->give_up = true;
		return NULL;
	}
	assert(t->ncold < TR_EXITS);
	x->src = jit_ref(t->j, t->b);
	x->off = (u16)off;
	t->cold[t->ncold++] = (struct cold){.x = x};
	return x;
}

/* What is patched lies inside 8 bytes that are aligned. */
static void align_hole(struct tr *t, unsigned opcode)
{
	unsigned at = ((u64)as_here(&t->a) + opcode) & 7;

	as_nops(&t->a, at > 4 ? 8 - at : 0);
}

/* jmp or jcc (cc >= 0) to another block of the page, flags as they are */
static void link(struct tr *t, int cc, s64 off)
{
	struct xit *x = new_exit(t, off);

	if (!x)
		return;
	x->flags = (u8)t->flags;
	align_hole(t, cc >= 0 ? 2 : 1);
	if (cc >= 0)
		as_jcc_hole(&t->a, (unsigned)cc);
	else
		as_jmp_hole(&t->a);
	x->hole = jit_place(t->j, as_here(&t->a)) - 4;
}

void tr_lookup(struct tr *t, struct site *s)
{
	unsigned n = t->nlookup++;

	assert(n < ARRAY_SIZE(t->lookup));
	tr_flags_clobber(t);
	t->lookup[n].returns = false;
	t->lookup[n].jump = glue_jump(&t->a, t->idx);
	t->lookup[n].site = s;
}

/*
 * A CALL leaves in jit.rs where it will return to: the host's code of what follows, which is an exit of this
 * block like others, but for its hole, the displacement of a LEA.
 */
void tr_remember(struct tr *t)
{
	struct as *a = &t->a;
	s64 off = tr_next_off(tr_insn(t));
	struct xit *x = linkable(off) ? new_exit(t, off) : NULL;

	if (!x)
		return;
	tr_flags_clobber(t);
	glue_rs_slot(a, S1);
	as_st(a, as_gs_base(CPU_RS(t->idx, tag), S1), S2);
	align_hole(t, 3);
	as_bytes(a, "\x4c\x8d\x1d", 3); /* LEA R11, [RIP + disp32] */
	as_32(a, 0);
	x->hole = jit_place(t->j, as_here(a)) - 4;
	x->flags = FLAGS_AX;
	as_st(a, as_gs_base(CPU_RS(t->idx, host), S1), S2);
}

void tr_return(struct tr *t, s32 bytes, struct site *s)
{
	unsigned n = t->nlookup++;

	assert(n < ARRAY_SIZE(t->lookup));
	tr_flags_clobber(t);
	t->lookup[n].jump = glue_return(&t->a, t->idx, bytes);
	t->lookup[n].site = s;
	t->lookup[n].returns = true;
}

/* A backward jump: flags to AX, then the look at the request word, whose way out is the link's stub. */
static void poll(struct tr *t)
{
	tr_flags_clobber(t);
	as_test_gs32(&t->a, REQUEST);
}

/*
 * To another page, whose distance is known. What is there now? TLB and link must agree about it:
 *
 *	mov  s1, gs:[vpage]
 *	lea  s1, [s1 + distance]
 *	mov  gs:[vpage], s1
 *	mov  s2d, s1d
 *	shr  s2d, 12
 *	sub  s1, gs:[code + s2*8]
 *	cmp  s1, page            ; of the target
 *	jne  elsewhere
 *	jmp  target
 *
 * A link is made in this order: the jump, then the page, which is never another one after that, because a
 * CPU may stand between the two. Where the page turns out to vary, "elsewhere" becomes a lookup.
 */
static void cross(struct tr *t, s64 off)
{
	size_t code = CPU_TLB(t->idx == MMU_USER ? MMU_USER : MMU_KERNEL, code);
	struct xit *x = new_exit(t, off & (PAGE_SIZE - 1));
	struct as *a = &t->a;
	u8 *busy = NULL;

	if (!x)
		return;
	tr_flags_clobber(t);
	tr_page_plus(t, S1, off & ~(s64)(PAGE_SIZE - 1));
	as_st(a, as_gs(CPU_JIT(vpage)), S1);
	if (off < 0) {
		as_test_gs32(a, REQUEST);
		busy = as_jcc_hole(a, CC_NE);
	}
	as_mov32(a, S2, S1);
	as_shr32(a, S2, PAGE_SHIFT);
	as_rm(a, 1, 0x2b, S1, as_gs_index(code, S2, 3)); /* SUB */
	as_nops(a, -((u64)as_here(a) + 3 + 4) & 7);
	as_rr(a, 1, 0x81, 7, S1); /* CMP */
	as_32(a, CROSS_NEVER);
	as_jcc_hole(a, CC_NE);
	as_nops(a, 1);
	as_jmp_hole(a);
	x->hole = jit_place(t->j, as_here(a)) - 4;
	x->flags = FLAGS_AX | XIT_CROSS;
	t->cold[t->ncold - 1].busy = busy;
}

static bool crossable(s64 off)
{
	return off == (s32)off && linkable(off & (PAGE_SIZE - 1));
}

static void leave_page(struct tr *t, s64 off)
{
	if (crossable(off)) {
		cross(t, off);
		return;
	}
	tr_page_plus(t, S1, off);
	tr_lookup(t, NULL);
}

void tr_goto(struct tr *t, s64 off)
{
	if (!linkable(off)) {
		leave_page(t, off);
		return;
	}
	if (off <= tr_insn(t)->off) {
		poll(t);
		u8 *busy = as_jcc_hole(&t->a, CC_NE);
		link(t, -1, off);
		if (!t->give_up)
			t->cold[t->ncold - 1].busy = busy;
		return;
	}
	link(t, -1, off);
}

void tr_goto_cond(struct tr *t, unsigned cc, s64 off)
{
	unsigned flags;
	u8 *over;

	tr_flags_host(t);
	if (linkable(off) && off > tr_insn(t)->off) {
		link(t, (int)cc, off);
		return;
	}
	over = as_jcc_hole(&t->a, cc ^ 1);
	flags = t->flags;
	tr_goto(t, off);
	t->flags = flags;
	as_bind(&t->a, over);
}

struct site *tr_callout_site(struct tr *t)
{
	struct site *s = tr_site(t);
	struct insn *copy = jit_arena(t->j, sizeof(*copy));

	if (copy)
		*copy = tr_insn(t)->i;
	else
		t->give_up = true;
	s->insn = copy ? jit_ref(t->j, copy) : 0;
	return s;
}

void tr_callout_when(struct tr *t, unsigned cc, struct site *s)
{
	assert(!(t->flags & FLAGS_HOST));
	tr_slow(t, cc, (struct slow){.site = s, .to = t->j->glue.site_a});
}

void tr_x87(struct tr *t)
{
	struct site *s;

	if (t->x87)
		return;
	tr_flags_clobber(t);
	s = tr_site(t);
	as_test_gs32(&t->a, CPU_JIT(x87));
	tr_slow(t, CC_E, (struct slow){.site = s, .to = t->j->glue.x87});
	s->retry = jit_place(t->j, as_here(&t->a));
	t->x87 = true;
}

void tr_callout(struct tr *t)
{
	as_imm(&t->a, S2, (u64)(uintptr_t)tr_callout_site(t));
	as_jmp(&t->a, t->flags & FLAGS_AX || !t->flags ? t->j->glue.site_a : t->j->glue.site_h);
	t->flags = FLAGS_HOST | FLAGS_AX;
}

/* S1: where a window starts. If it crosses a page, its block's narrow twin goes on. */
static void leave_crossing(struct tr *t, const struct slow *s)
{
	struct xit *x = linkable(s->site->off) ? new_exit(t, s->site->off) : NULL;
	u8 *inside;

	if (!x)
		return;
	x->flags = FLAGS_AX | XIT_NARROW;
	as_mov32(&t->a, S2, S1);
	as_alu_imm(&t->a, 0, AS_AND, S2, PAGE_SIZE - 1);
	as_alu_imm(&t->a, 0, 7, S2, PAGE_SIZE - s->window); /* CMP */
	inside = as_jcc_hole(&t->a, CC_BE);
	align_hole(t, 1);
	as_jmp_hole(&t->a);
	x->hole = jit_place(t->j, as_here(&t->a)) - 4;
	as_bind(&t->a, inside);
}

static void emit_slow(struct tr *t, const struct slow *s)
{
	as_bind(&t->a, s->hole);
	if (s->tag)
		as_rm(&t->a, 1, 0x03, S1, as_gs_index(s->tag, S2, 3)); /* ADD: the address again */
	if (s->window)
		leave_crossing(t, s);
	as_imm(&t->a, S2, (u64)(uintptr_t)s->site);
	as_jmp(&t->a, s->to);
}

static void point_at_stub(struct tr *t, u32 hole, const struct xit *x)
{
	if (!t->a.full)
		put_le32(t->j->rw + hole, x->stub - (hole + 4));
}

/* An exit to another page: elsewhere than where the link leads, or an interruption. */
static void emit_elsewhere(struct tr *t, const struct cold *k)
{
	point_at_stub(t, k->x->hole - CROSS_ELSE, k->x);
	k->x->elsewhere = (u8)(jit_place(t->j, as_here(&t->a)) - k->x->stub);
	if (k->busy)
		as_bind(&t->a, k->busy);
	as_ld(&t->a, S1, as_gs(CPU_JIT(vpage)));
	if (k->x->off)
		as_lea(&t->a, S1, as_at(S1, k->x->off));
	as_jmp(&t->a, t->j->glue.jump[t->idx]);
}

static void emit_cold(struct tr *t, const struct cold *k)
{
	struct xit *x = k->x;

	x->stub = jit_place(t->j, as_here(&t->a));
	if (k->busy && !(x->flags & XIT_CROSS))
		as_bind(&t->a, k->busy);
	point_at_stub(t, x->hole, x);
	as_imm(&t->a, S2, (u64)(uintptr_t)x);
	as_jmp(&t->a, x->flags & FLAGS_AX ? t->j->glue.link_a : t->j->glue.link_h);
	if (x->flags & XIT_CROSS)
		emit_elsewhere(t, k);
}

static void bind_both(struct tr *t, struct jump j)
{
	as_bind(&t->a, j.unknown);
	as_bind(&t->a, j.busy);
}

/* A RET that finds nothing in jit.rs looks into the table of branch targets before C does. */
static void emit_unknown(struct tr *t, unsigned n)
{
	bind_both(t, t->lookup[n].jump);
	if (t->lookup[n].returns)
		bind_both(t, glue_jump(&t->a, t->idx));
	as_imm(&t->a, S2, (u64)(uintptr_t)t->lookup[n].site);
	as_jmp(&t->a, t->j->glue.lookup);
}

void tr_finish(struct tr *t)
{
	for (unsigned n = 0; n < t->nslow; n++)
		emit_slow(t, &t->slow[n]);
	for (unsigned n = 0; n < t->ncold; n++)
		emit_cold(t, &t->cold[n]);
	for (unsigned n = 0; n < t->nlookup; n++)
		emit_unknown(t, n);
}
