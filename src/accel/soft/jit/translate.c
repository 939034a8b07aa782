/*
 * One block: decode until control leaves or the page ends, then emit.
 *
 * A block lies in one page. The one exception is an instruction that crosses into the next page; it is a
 * block of its own, which is never linked to but found by its address.
 */
#include "accel/soft/jit/tr.h"
#include "accel/soft/mmu.h"

#include <stdlib.h>

static bool goes_on(const struct ti *i)
{
	switch (i->d.zi.meta.category) {
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_IO: return false;
	default: return true;
	}
}

static bool is_nothing(const struct ti *i)
{
	const ZydisDecodedInstruction *zi = &i->d.zi;

	return zi->mnemonic == ZYDIS_MNEMONIC_NOP || zi->mnemonic == ZYDIS_MNEMONIC_ENDBR64 ||
	       zi->mnemonic == ZYDIS_MNEMONIC_ENDBR32 || i->i.fn == op_nop;
}

/* Conditional branches that only interp knows: nothing may follow, as it leaves the block. */
static bool jumps(const struct ti *i)
{
	return i->d.zi.meta.category == ZYDIS_CATEGORY_COND_BR;
}

static u8 classify(const struct tr *t, struct ti *i)
{
	if (tr_raises(i))
		return TR_CALLOUT_END;
	if (is_nothing(i))
		return TR_NOTHING;
	if (i->d.zi.mnemonic == ZYDIS_MNEMONIC_CMC || i->d.zi.mnemonic == ZYDIS_MNEMONIC_CLC ||
	        i->d.zi.mnemonic == ZYDIS_MNEMONIC_STC)
		return TR_VERBATIM;
	if (tr_sys_ok(t, i))
		return TR_SYS;
	if (tr_string_ok(i))
		return TR_STRING;
	if (tr_special_ok(t, i))
		return TR_SPECIAL;
	if (tr_copy_ok(i))
		return TR_COPY;
	return goes_on(i) && !jumps(i) ? TR_CALLOUT : TR_CALLOUT_END;
}

/* What follows has another index of data accesses. */
static bool ends(const struct ti *i)
{
	return i->d.zi.mnemonic == ZYDIS_MNEMONIC_STAC || i->d.zi.mnemonic == ZYDIS_MNEMONIC_CLAC;
}

/* Decodes one instruction at off. False: it crosses the page, or more than the bytes we have. */
static bool decode_one(struct tr *t, const u8 *code, unsigned len, unsigned off, enum decoded *how)
{
	struct ti *i = &t->t[t->n];
	unsigned have = MIN(len - off, (unsigned)INSN_MAX);

	*how = decode_full(&t->j->decoders, &t->c->cpuid, t->key & 0xffff, code + off, have, &i->i, &i->d);
	if (*how == DEC_MORE)
		return false;
	i->off = (u16)off;
	memcpy(i->bytes, code + off, have);
	i->cls = classify(t, i);
	i->fx = i->cls >= TR_COPY && i->cls != TR_NOTHING ? (u8)tr_effects(i) : 0;
	t->n++;
	return true;
}

/* Does another block start here? Code behind a join is translated once, not for each way that leads there. */
static bool starts_block(const struct tr *t, unsigned off)
{
	u64 page = t->b->gpa & ~(PAGE_SIZE - 1);

	return t->n && t->b->page2 == TB_ONE_PAGE && jit_starts(t->j, page + off, t->key & ~KEY_NARROW);
}

/* code: the page's bytes (len of them, more than a page for a crossing instruction). */
static void decode_block(struct tr *t, const u8 *code, unsigned len, unsigned off)
{
	t->n = 0;
	while (t->n < TR_INSNS && off < PAGE_SIZE && !starts_block(t, off)) {
		enum decoded how;

		if (!decode_one(t, code, len, off, &how))
			break;
		const struct ti *i = &t->t[t->n - 1];
		off += i->i.len;
		if (how == DEC_LAST || i->cls == TR_CALLOUT_END || ends(i))
			break;
	}
	t->b->len = (u16)(off - (t->b->gpa & (PAGE_SIZE - 1)));
}

/* Where should the flags be when the body starts? 0: nobody looks before they are rewritten. */
static unsigned wanted_flags(const struct tr *t)
{
	for (unsigned n = 0; n < t->n; n++) {
		const struct ti *i = &t->t[n];

		if (i->cls == TR_CALLOUT || i->cls == TR_CALLOUT_END || (i->fx & FX_CLOBBER))
			return FLAGS_AX;
		if (i->fx & FX_READS)
			return FLAGS_HOST;
		if (i->fx & FX_WRITES)
			return 0;
		if (i->d.zi.meta.category == ZYDIS_CATEGORY_COND_BR ||
		        i->d.zi.meta.isa_ext != ZYDIS_ISA_EXT_BASE)
			return FLAGS_HOST;
	}
	return FLAGS_HOST;
}

static void emit_entries(struct tr *t)
{
	struct tb *b = t->b;
	struct as *a = &t->a;

	t->flags = wanted_flags(t);
	b->prefers = t->flags == FLAGS_AX ? FLAGS_AX : FLAGS_HOST;
	b->entry_h = b->entry_a = 0;
	if (t->flags == FLAGS_AX) {
		as_flags_to_ax(a);
		b->entry_a = (u8)(jit_place(t->j, as_here(a)) - b->code);
	} else if (t->flags == FLAGS_HOST) {
		as_flags_from_ax(a);
		b->entry_h = (u8)(jit_place(t->j, as_here(a)) - b->code);
	}
}

/* False: nothing follows. */
static bool emit_insn(struct tr *t)
{
	struct ti *i = tr_insn(t);

	if (unlikely(t->j->leave_out) && i->d.zi.opcode == t->j->leave_out)
		return true;
	switch (i->cls) {
	case TR_NOTHING: return true;
	case TR_COPY: tr_copy(t); return true;
	case TR_SPECIAL: return tr_special(t);
	case TR_SYS: return tr_sys(t);
	case TR_STRING: tr_string(t); return true;
	case TR_VERBATIM:
		if (i->fx & FX_READS)
			tr_flags_host(t);
		as_8(&t->a, i->d.zi.opcode);
		tr_flags_written(t);
		return true;
	case TR_CALLOUT: tr_callout(t); return true;
	default: tr_callout(t); return false;
	}
}

/* Where does a block go on behind an instruction of interp's? Not in the middle of windows. */
static void finish_sites(struct tr *t, u32 first, bool open)
{
	bool live = tr_insn(t)->live;

	for (u32 n = first; n < t->j->nsites; n++) {
		struct site *s = &t->j->sites[n];

		s->after = open && !live ? jit_place(t->j, as_here(&t->a)) : 0;
		s->flags |= live ? SITE_LIVE : 0;
	}
}

/* The way out of the block, then its stubs, which are far away: code that is executed lies dense. */
static void finish(struct tr *t)
{
	struct jit *j = t->j;
	bool full = t->a.full;

	t->b->code_len = jit_place(j, as_here(&t->a)) - t->b->code;
	t->a = (struct as){
	        .p = j->rw + j->far, .end = j->rw + 2 * j->size, .delta = j->rx - j->rw, .full = full};
	tr_finish(t);
}

static void emit_block(struct tr *t)
{
	bool open = true;

	for (t->at = 0; t->at < t->n && !t->give_up && !t->a.full; t->at++) {
		const struct ti *i = tr_insn(t);
		u32 first = t->j->nsites;
		unsigned run = tr_stack_run(t, &open);

		if (!run)
			open = emit_insn(t);
		/* A run's records lead nowhere: it is over, or interp breaks it up. */
		finish_sites(t, first, open && run < 2);
		if (!i->keeps_s1)
			t->in_s1 = NO_WINDOW;
		t->at += run ? run - 1 : 0;
	}
	t->at = t->n - 1;
	if (open)
		tr_goto(t, (s32)tr_next_off(&t->t[t->n - 1]));
	finish(t);
}

/* Emits into the cache's free part; nothing is kept unless it fits. */
static bool emit_all(struct jit *j, struct tr *t)
{
	struct tb *b = t->b;

	t->a = (struct as){.p = j->rw + j->used, .end = j->rw + j->size, .delta = j->rx - j->rw};
	b->code = (place)j->used;
	b->site = j->nsites;
	t->nslow = t->ncold = t->nlookup = 0;
	t->give_up = t->x87 = false;
	tr_windows(t);
	emit_entries(t);
	emit_block(t);
	b->nsites = (u16)(j->nsites - b->site);
	b->ninsns = (u8)t->n;
	return !t->a.full && !t->give_up;
}

struct tr *jit_tr_create(void)
{
	return calloc(1, sizeof(struct tr));
}

/* Copies the bytes that the block may be made of. */
static unsigned fetch(const struct jit *j, const struct tb *b, u8 *code)
{
	u64 page = b->gpa & ~(PAGE_SIZE - 1);
	unsigned off = (unsigned)(b->gpa - page);

	unsigned len = MIN((unsigned)PAGE_SIZE - off, TR_INSNS * INSN_MAX);

	memcpy(code + off, mem_ptr(j->mem, b->gpa, len), len);
	if (b->page2 == TB_ONE_PAGE)
		return off + len;
	memcpy(code + PAGE_SIZE, mem_ptr(j->mem, (u64)b->page2 << PAGE_SHIFT, INSN_MAX), INSN_MAX);
	return PAGE_SIZE + INSN_MAX;
}

static void mark(struct jit *j, struct cpu *c, u64 gpa, u64 len)
{
	bool first;

	mem_code_mark(j->mem, gpa, len, &first);
	if (first)
		jit_page_marked(j, c, gpa);
}

/*
 * Bytes are read twice: once to learn how many there are, and again after they were marked as code. From
 * then on a write to them is seen. Should they have changed meanwhile, they are decoded again.
 */
static bool decode_stable(struct jit *j, struct cpu *c, struct tr *t)
{
	struct tb *b = t->b;
	unsigned off = (unsigned)(b->gpa & (PAGE_SIZE - 1));
	unsigned len = fetch(j, b, t->code), in_first, was;

	decode_block(t, t->code, len, off);
	do {
		if (!t->n) {
			j->why = TR_CROSSES;
			return false;
		}
		was = b->len;
		in_first = MIN(was, (unsigned)PAGE_SIZE - off);
		mark(j, c, b->gpa, in_first);
		if (was > in_first)
			mark(j, c, (u64)b->page2 << PAGE_SHIFT, was - in_first);
		len = fetch(j, b, t->again);
		if (memcmp(t->code + off, t->again + off, was) == 0)
			return true;
		memcpy(t->code, t->again, sizeof(t->code));
		decode_block(t, t->code, len, off);
	} while (b->len > was);
	return t->n;
}

struct tb *jit_translate(struct jit *j, struct cpu *c, u64 gpa, u64 gpa2, u32 key)
{
	u64 arena = j->arena_used, far = j->far;
	u32 sites = j->nsites;
	struct tr *t = j->tr;
	struct tb *b = jit_arena(j, sizeof(*b));

	j->why = TR_FULL;
	if (!b)
		return NULL;
	b->gpa = gpa;
	b->page2 = gpa2 == JIT_ONE_PAGE ? TB_ONE_PAGE : (u32)(gpa2 >> PAGE_SHIFT);
	b->key = key;
	t->j = j;
	t->c = c;
	t->b = b;
	t->key = key;
	t->idx = key >> 16 & 3;
	if (!decode_stable(j, c, t) || !emit_all(j, t)) {
		memset(j->arena + arena, 0, j->arena_used - arena);
		j->arena_used = arena;
		j->nsites = sites;
		return NULL;
	}
	j->used = ALIGN_UP(j->used + b->code_len, 16);
	j->far = (u64)(t->a.p - j->rw);
	j->stat[JIT_BLOCKS]++;
	j->stat[JIT_TRANSLATED] += b->ninsns;
	j->stat[JIT_CODE_BYTES] += b->code_len + (j->far - far);
	jit_insert(j, b);
	if (j->perf_map)
		perf_map_add(j, c, b);
	return b;
}
