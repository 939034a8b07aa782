/*
 * Windows: one look into the TLB for several accesses of a block.
 *
 * Code reads and writes the fields of few objects. A window is a range of at most WIN_MAX bytes that several
 * instructions of a block access. The first of them checks the whole range (it lies in one page that the TLB
 * grants) and leaves the distance between host and guest addresses in S1 and, if S1 is needed for something
 * else before the last of them, in jit.win. The others just access [S1 + their own address]: no check, and
 * the flags stay where they are.
 *
 * Which addresses lie in one range is found by following values through the block: every register is a symbol
 * plus a constant. Copies, LEA, additions of constants, PUSH and POP keep the symbol; everything else that
 * writes the register makes a new one.
 *
 * A window is true as long as its block does not leave translated code: what takes write tags away waits for
 * that (jit_page_marked). So an exit in the middle of windows never comes back to the middle
 * (SITE_LIVE), and instructions that always exit end all windows.
 */
#include "accel/soft/jit/tr.h"

#include <stdlib.h>

#define WIN_MAX 127 /* bytes; as MMU_ACCESS can say */
#define SYM_RIP 16u
static_assert(MMU_ACCESS(WIN_MAX, 1) >> 1 == WIN_MAX, "fits");

/* --- values --- */

struct value {
	u32 sym;
	s64 off;
};

struct follow {
	struct tr *t;
	struct value v[16];
	u32 next; /* symbol */
	struct {
		u32 base, index, scale, sym;
	} sums[TR_INSNS];
	unsigned nsums;
	unsigned floor; /* windows before it have ended */
};

static struct value fresh(struct follow *f)
{
	return (struct value){.sym = f->next++};
}

static void forget_values(struct follow *f)
{
	for (unsigned r = 0; r < 16; r++)
		f->v[r] = fresh(f);
}

static u32 sum(struct follow *f, u32 base, u32 index, u32 scale)
{
	for (unsigned n = 0; n < f->nsums; n++)
		if (f->sums[n].base == base && f->sums[n].index == index && f->sums[n].scale == scale)
			return f->sums[n].sym;
	f->sums[f->nsums].base = base;
	f->sums[f->nsums].index = index;
	f->sums[f->nsums].scale = scale;
	return f->sums[f->nsums++].sym = f->next++;
}

static struct value plus(struct follow *f, struct value v, s64 off)
{
	s64 s = v.off + off;

	return s == (s32)s ? (struct value){v.sym, s} : fresh(f);
}

/* The register that a 64-bit operand names, or REG_ZERO. */
static unsigned reg64(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	                       ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_GPR64
	               ? reg_num(o->reg.value)
	               : REG_ZERO;
}

static bool plain_address(const struct insn *i)
{
	return i->asize == 8 && i->seg_mode == SEGM_FLAT;
}

/* Does the instruction write its first operand with something that is known? */
static bool known_result(struct follow *f, const struct ti *i, struct value *v)
{
	const ZydisDecodedOperand *o = i->d.op;
	unsigned src = reg64(&o[1]), dst = reg64(&o[0]);
	bool imm = o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;

	if (dst == REG_ZERO)
		return false;
	switch (i->d.zi.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		if (src == REG_ZERO)
			return false;
		*v = f->v[src];
		return true;
	case ZYDIS_MNEMONIC_LEA:
		if (i->i.asize != 8 || i->i.index != REG_ZERO || i->i.base >= 16)
			return false;
		*v = plus(f, f->v[i->i.base], i->i.disp);
		return true;
	case ZYDIS_MNEMONIC_ADD:
		if (imm)
			*v = plus(f, f->v[dst], (s32)i->i.imm);
		return imm;
	case ZYDIS_MNEMONIC_SUB:
		if (imm)
			*v = plus(f, f->v[dst], -(s64)(s32)i->i.imm);
		return imm;
	case ZYDIS_MNEMONIC_INC: *v = plus(f, f->v[dst], 1); return true;
	case ZYDIS_MNEMONIC_DEC: *v = plus(f, f->v[dst], -1); return true;
	default: return false;
	}
}

static void follow_insn(struct follow *f, const struct ti *i)
{
	static const u8 hidden[] = {RAX, RCX, RDX, RSP, RBP};
	struct value v;

	if (i->d.zi.meta.category == ZYDIS_CATEGORY_COND_BR && i->d.zi.mnemonic != ZYDIS_MNEMONIC_LOOP)
		return;
	if (known_result(f, i, &v)) {
		f->v[reg64(&i->d.op[0])] = v;
		return;
	}
	for (unsigned n = 0; n < i->d.zi.operand_count; n++) {
		const ZydisDecodedOperand *o = &i->d.op[n];
		ZydisRegisterClass c;

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		c = ZydisRegisterGetClass(o->reg.value);
		if (c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64)
			f->v[tr_gpr_of(o->reg.value)] = fresh(f);
	}
	if (i->cls != TR_SPECIAL)
		return;
	/* Their hidden operands, whatever the decoder says about them. */
	for (unsigned n = 0; n < ARRAY_SIZE(hidden); n++)
		f->v[hidden[n]] = fresh(f);
}

static void follow_run(struct follow *f, const struct stack_run *r, unsigned at)
{
	struct value sp = plus(f, f->v[RSP], r->push ? -8 * (s64)r->n : 8 * (s64)r->n);

	for (unsigned k = 0; k < r->n && !r->push; k++)
		f->v[tr_gpr_of(f->t->t[at + k].d.op[0].reg.value)] = fresh(f);
	f->v[RSP] = sp;
}

/* --- windows --- */

/* Makes access [v, v + size) of instruction at part of a window that is open, or of a new one. */
static void add(struct follow *f, unsigned at, struct value v, unsigned size, bool write)
{
	struct tr *t = f->t;
	struct window *w = NULL;

	for (unsigned n = t->nwin; n-- > f->floor;) {
		s64 lo = MIN(t->win[n].lo, v.off), hi = MAX(t->win[n].hi, v.off + size);

		if (t->win[n].sym != v.sym || (write && !t->win[n].write) || hi - lo > WIN_MAX)
			continue;
		w = &t->win[n];
		w->lo = lo;
		w->hi = hi;
		break;
	}
	if (!w) {
		if (t->nwin == TR_WINDOWS || size > WIN_MAX)
			return;
		w = &t->win[t->nwin++];
		*w = (struct window){
		        .sym = v.sym, .lo = v.off, .hi = v.off + size, .first = (u8)at, .write = write};
	}
	w->last = (u8)at;
	w->uses++;
	t->t[at].win = (u8)(w - t->win);
	t->t[at].at = v.off;
}

/* The memory operand of an instruction that is copied. */
static void add_copy(struct follow *f, unsigned at)
{
	const struct ti *i = &f->t->t[at];
	const struct insn *n = &i->i;
	struct value v;
	unsigned size;
	bool write;

	if (!plain_address(n) || !tr_copy_memory(i, &size, &write))
		return;
	if (n->base == REG_RIP)
		v = (struct value){.sym = SYM_RIP, .off = (s64)tr_next_off(i)};
	else if (n->base < 16)
		v = f->v[n->base];
	else
		return;
	if (n->index != REG_ZERO) {
		struct value x = f->v[n->index];

		if (n->base == REG_RIP || host_reg(n->base) == IN_MEMORY)
			return;
		v = (struct value){sum(f, v.sym, x.sym, n->scale), v.off + (x.off << n->scale)};
	}
	v.off += n->disp;
	if (v.off == (s32)v.off)
		add(f, at, v, size, write);
}

/* Nothing of what was known about registers and windows holds behind it. */
static bool always_exits(const struct ti *i)
{
	return i->cls == TR_CALLOUT || i->cls == TR_CALLOUT_END || i->cls == TR_SYS || i->cls == TR_STRING;
}

static bool is_direct_call(const struct ti *i)
{
	return i->cls == TR_SPECIAL && i->d.zi.mnemonic == ZYDIS_MNEMONIC_CALL &&
	       i->d.op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static void collect(struct follow *f)
{
	struct tr *t = f->t;
	bool x87 = false;

	for (unsigned n = 0; n < t->n;) {
		struct ti *i = &t->t[n];
		struct stack_run r;

		if (always_exits(i) || (!x87 && tr_is_x87(i))) {
			x87 |= tr_is_x87(i);
			f->floor = t->nwin;
		}
		if (tr_run_at(t, n, &r)) {
			add(f, n, plus(f, f->v[RSP], r.push ? -8 * (s64)r.n : 0), 8 * (r.n + r.ret), r.push);
			follow_run(f, &r, n);
			n += r.n + r.ret;
			continue;
		}
		if (i->cls == TR_COPY)
			add_copy(f, n);
		else if (is_direct_call(i))
			add(f, n, plus(f, f->v[RSP], -8), 8, true);
		if (always_exits(i))
			forget_values(f);
		else
			follow_insn(f, i);
		n++;
	}
}

/* Leaves S1 alone, apart from what a window puts there. */
static bool keeps_s1(const struct tr *t, unsigned at)
{
	const struct ti *i = &t->t[at];
	struct stack_run r;

	switch (i->cls) {
	case TR_NOTHING:
	case TR_VERBATIM: return true;
	case TR_COPY: return tr_copy_keeps_s1(i);
	case TR_SPECIAL: break;
	default: return false;
	}
	if (tr_run_at(t, at, &r))
		return i->win != NO_WINDOW && !r.ret;
	if (i->d.zi.mnemonic == ZYDIS_MNEMONIC_LEA)
		return host_reg(tr_gpr_of(i->d.op[0].reg.value)) != IN_MEMORY && i->i.base < 16 &&
		       host_reg(i->i.base) != IN_MEMORY;
	return i->d.zi.meta.category == ZYDIS_CATEGORY_COND_BR;
}

/* What is accessed once is accessed in the ordinary way. Which windows have to be in jit.win? */
static void settle(struct tr *t)
{
	unsigned in_s1 = NO_WINDOW;
	struct stack_run r;

	for (unsigned n = 0; n < t->n; n++)
		if (t->t[n].win != NO_WINDOW && t->win[t->t[n].win].uses < 2)
			t->t[n].win = NO_WINDOW;
	for (unsigned n = 0; n < t->n; n += tr_run_at(t, n, &r) ? r.n + r.ret : 1) {
		struct ti *i = &t->t[n];

		i->keeps_s1 = keeps_s1(t, n);
		if (i->win != NO_WINDOW) {
			struct window *w = &t->win[i->win];

			w->stored |= w->first != n && in_s1 != i->win;
			in_s1 = i->win;
			for (unsigned k = w->first; n == w->last && k < n; k++)
				t->t[k].live = true;
		}
		if (!i->keeps_s1)
			in_s1 = NO_WINDOW;
	}
}

void tr_windows(struct tr *t)
{
	struct follow f = {.t = t, .next = SYM_RIP + 1};

	t->nwin = 0;
	t->in_s1 = NO_WINDOW;
	for (unsigned n = 0; n < t->n; n++) {
		t->t[n].win = NO_WINDOW;
		t->t[n].live = false;
	}
	for (unsigned r = 0; r < 16; r++)
		f.v[r].sym = r;
	if (!(t->key & KEY_NARROW) &&
	        !t->j->leave_out) /* a window must not lose the instruction that opens it */
		collect(&f);
	settle(t);
}

/* --- use --- */

static void address(struct tr *t, struct window_use u, unsigned dst, s32 disp)
{
	struct as_mem m = {.base = NOREG, .index = NOREG, .disp = disp};

	if (u.base == REG_RIP) {
		as_ld(&t->a, dst, as_gs(CPU_JIT(vpage)));
		m.base = (u8)dst;
	} else {
		m.base = (u8)tr_gpr(t, u.base, dst);
	}
	if (u.index != REG_ZERO) {
		m.index = (u8)tr_gpr(t, u.index, S2);
		m.scale = u.scale;
	}
	if (m.index != NOREG || m.disp)
		as_lea(&t->a, dst, m);
	else if (m.base != dst)
		as_mov(&t->a, dst, m.base);
}

/*
 * S1 = host - guest addresses. The tag for reads is that for writes where the latter is there, and no other
 * thread takes it away.
 */
static void open_window(struct tr *t, const struct window *w, struct window_use u)
{
	struct ti *i = tr_insn(t);

	address(t, u, S1, (s32)(u.disp + (w->lo - i->at)));
	tr_check_window(t, (unsigned)(w->hi - w->lo), w->write);
	as_ld(&t->a, S1, as_gs_index(CPU_TLB(t->idx, host), S2, 3));
	as_rm(&t->a, 1, 0x2b, S1, as_gs_index(CPU_TLB(t->idx, r), S2, 3)); /* SUB */
	if (w->stored)
		as_st(&t->a, as_gs(CPU_JIT(win) + 8 * (size_t)(w - t->win)), S1);
}

struct as_mem tr_window(struct tr *t, struct window_use u)
{
	unsigned n = tr_insn(t)->win;
	const struct window *w = &t->win[n];
	struct as_mem m = {.base = S2, .index = S1};

	if (w->first == t->at)
		open_window(t, w, u);
	else if (t->in_s1 != n && !w->stored)
		abort(); /* settle has seen to it */
	else if (t->in_s1 != n)
		as_ld(&t->a, S1, as_gs(CPU_JIT(win) + 8 * (size_t)n));
	t->in_s1 = n;
	if (u.index != REG_ZERO) {
		address(t, u, S2, u.disp);
	} else if (u.base == REG_RIP) {
		as_ld(&t->a, S2, as_gs(CPU_JIT(vpage)));
		m.disp = u.disp;
	} else {
		m.base = (u8)tr_gpr(t, u.base, S2);
		m.disp = u.disp;
	}
	if ((m.base == S2 && u.s2_taken) || u.moved) {
		as_lea(&t->a, S1, m);
		return as_at(S1, 0);
	}
	return m;
}
