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

static u8 classify(const struct tr *t, const struct ti *i)
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
	if (tr_copy_ok(t, i))
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

/* code: the page's bytes (len of them, more than a page for a crossing instruction). */
static void decode_block(struct tr *t, const u8 *code, unsigned len, unsigned off)
{
	t->n = 0;
	while (t->n < TR_INSNS && off < PAGE_SIZE) {
		enum decoded how;

		if (!decode_one(t, code, len, off, &how))
			break;
		const struct ti *i = &t->t[t->n - 1];
		off += i->i.len;
		if (how == DEC_LAST || i->cls == TR_CALLOUT_END || ends(i))
			break;
	}
	t->b->len = off - (u32)(t->b->gpa & (PAGE_SIZE - 1));
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
	b->entry_h = b->entry_a = as_here(a);
	if (t->flags == FLAGS_AX) {
		as_flags_to_ax(a);
		b->entry_a = as_here(a);
	} else if (t->flags == FLAGS_HOST) {
		as_flags_from_ax(a);
		b->entry_h = as_here(a);
	}
}

/* False: nothing follows. */
static bool emit_insn(struct tr *t)
{
	struct ti *i = tr_insn(t);

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

static void emit_block(struct tr *t)
{
	bool open = true;

	for (t->at = 0; t->at < t->n && !t->give_up && !t->a.full; t->at++) {
		unsigned first = t->nsites, run = tr_stack_run(t, &open);

		if (run) { /* its records lead nowhere: the run is over or interp breaks it up */
			t->at += run - 1;
			continue;
		}
		open = emit_insn(t);
		for (unsigned n = first; n < t->nsites; n++)
			t->b->sites[n].after = open ? (u64)as_here(&t->a) : 0;
	}
	t->at = t->n - 1;
	if (open)
		tr_goto(t, (s32)tr_next_off(&t->t[t->n - 1]));
	tr_finish(t);
}

/* How many records the block's instructions may need. */
static unsigned count_sites(const struct tr *t)
{
	unsigned n = 0;

	for (unsigned k = 0; k < t->n; k++) {
		switch (t->t[k].cls) {
		case TR_CALLOUT:
		case TR_CALLOUT_END: n++; break;
		case TR_COPY: n += tr_copy_sites(&t->t[k]); break;
		case TR_SYS:
		case TR_STRING:
		case TR_SPECIAL: n += 3; break;
		default: break;
		}
	}
	return n;
}

/* Emits into the cache's free part; nothing is kept unless it fits. */
static bool emit_all(struct jit *j, struct tr *t)
{
	struct tb *b = t->b;

	b->sites = jit_arena(j, count_sites(t) * sizeof(*b->sites));
	if (!b->sites)
		return false;
	t->a = (struct as){.p = j->rw + j->used, .end = j->rw + j->size, .delta = j->rx - j->rw};
	b->code = as_here(&t->a);
	t->nsites = t->nslow = t->ncold = t->nlookup = 0;
	t->give_up = t->x87 = false;
	emit_entries(t);
	emit_block(t);
	b->nsites = t->nsites;
	b->ninsns = (u16)t->n;
	b->code_len = (u32)(as_here(&t->a) - b->code);
	return !t->a.full && !t->give_up;
}

struct tr *jit_tr_create(void)
{
	return calloc(1, sizeof(struct tr));
}

/* Copies the bytes that the block may be made of. */
static unsigned fetch(struct jit *j, struct cpu *c, struct tb *b, u8 *code)
{
	u64 page = b->gpa & ~(PAGE_SIZE - 1);
	unsigned off = (unsigned)(b->gpa - page);

	memcpy(code + off, mem_ptr(j->mem, b->gpa, PAGE_SIZE - off), PAGE_SIZE - off);
	if (b->gpa2 == TB_ONE_PAGE)
		return PAGE_SIZE;
	memcpy(code + PAGE_SIZE, mem_ptr(j->mem, b->gpa2, INSN_MAX), INSN_MAX);
	return PAGE_SIZE + INSN_MAX;
}

static u32 mark(struct jit *j, struct cpu *c, u64 gpa, u64 len)
{
	bool first;
	u32 gen = mem_code_mark(j->mem, gpa, len, &first);

	if (first)
		jit_page_marked(j, c, gpa);
	return gen;
}

/*
 * Bytes are read twice: once to learn how many there are, and again after they were marked as code. From
 * then on a write to them is seen.
 */
static bool decode_stable(struct jit *j, struct cpu *c, struct tr *t, u8 *code)
{
	struct tb *b = t->b;
	unsigned off = (unsigned)(b->gpa & (PAGE_SIZE - 1));
	unsigned len = fetch(j, c, b, code);
	u64 in_first;
	u32 was;

	decode_block(t, code, len, off);
	if (!t->n) {
		j->why = TR_CROSSES;
		return false;
	}
	do {
		was = b->len;
		in_first = MIN(was, PAGE_SIZE - off);
		mark(j, c, b->gpa, in_first);
		if (was > in_first)
			mark(j, c, b->gpa2, was - in_first);
		len = fetch(j, c, b, code);
		decode_block(t, code, len, off);
	} while (b->len > was);
	return t->n;
}

struct tb *jit_translate(struct jit *j, struct cpu *c, u64 gpa, u64 gpa2, u32 key)
{
	u8 code[PAGE_SIZE + INSN_MAX];
	u64 arena = j->arena_used;
	struct tr *t = j->tr;
	struct tb *b = jit_arena(j, sizeof(*b));

	j->why = TR_FULL;
	if (!b)
		return NULL;
	b->gpa = gpa;
	b->gpa2 = gpa2;
	b->key = key;
	t->j = j;
	t->c = c;
	t->b = b;
	t->key = key;
	t->idx = key >> 16;
	if (!decode_stable(j, c, t, code) || !emit_all(j, t)) {
		memset(j->arena + arena, 0, j->arena_used - arena);
		j->arena_used = arena;
		return NULL;
	}
	j->used = ALIGN_UP(j->used + b->code_len, 16);
	j->stat[JIT_BLOCKS]++;
	j->stat[JIT_TRANSLATED] += b->ninsns;
	j->stat[JIT_CODE_BYTES] += b->code_len;
	jit_insert(j, b);
	if (j->perf_map)
		perf_map_add(j, c, b);
	return b;
}
