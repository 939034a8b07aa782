/*
 * --jit-check: translated code compared with interp while a guest runs.
 *
 * Before a block is entered from C, it is executed twice from the same state: by the translator, up to
 * where control leaves it or an instruction is left to interp, and by interp up to the same place. Then
 * everything is as it was before, and the block is entered in earnest. Registers, flags, vector and x87
 * state and all pages of RAM that either touched must agree.
 *
 * Neither of the two executions touches RAM: while jit.shadowed is set, the TLB gives out copies (mmu.c).
 * Both see each page as it was when the first of them touched it, so what other CPUs and devices write
 * meanwhile makes no difference; but what they do to page tables and code may, so a difference counts
 * only if it stays: who has written to code forgets its blocks an instant later.
 *
 * A block is compared the first jit.check times that it is entered; until then it is neither linked to nor
 * found by translated code itself, and does not go on behind an instruction of interp's. What interp executes
 * anyway is not compared, nor are flags that the manual leaves undefined, x87 instruction pointers, and the
 * shadow of STI, which the translator leaves to interp when an interrupt is pending.
 */
#include "accel/soft/interp/cache.h"
#include "accel/soft/interp/insn.h"
#include "accel/soft/engine.h"
#include "accel/soft/jit/shadow.h"
#include "accel/soft/mmu.h"
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRIES 20
#define TRY_AGAIN_US 500

int check_attach(struct cpu *c)
{
	c->jit.shadow = mmap(NULL, sizeof(struct shadow), PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->jit.shadow != MAP_FAILED)
		return 0;
	c->jit.shadow = NULL;
	return -ENOMEM;
}

void check_detach(struct cpu *c)
{
	if (c->jit.shadow)
		munmap(c->jit.shadow, sizeof(struct shadow));
	c->jit.shadow = NULL;
}

static const u8 *image(const struct shadow *s, unsigned n, enum side side)
{
	return s->data[n][s->page[n].have[side] ? 1 + side : 0];
}

/* --- state --- */

static void save(const struct cpu *c, struct arch *a)
{
	memcpy(a->a, c, sizeof(a->a));
	memcpy(a->b, &c->cpl, sizeof(a->b));
}

static void load(struct cpu *c, const struct arch *a)
{
	memcpy(c, a->a, sizeof(a->a));
	memcpy(&c->cpl, a->b, sizeof(a->b));
}

/* All executions begin with an empty TLB, and no branch target is known. */
static void begin(struct cpu *c, enum side side)
{
	struct shadow *s = c->jit.shadow;

	load(c, &s->before);
	c->jit.x87 = s->x87;
	s->side = side;
	mmu_forget(c);
	c->jit.shadowed = c->jit.only_known = true;
}

static void end(struct cpu *c)
{
	struct shadow *s = c->jit.shadow;

	mmu_forget(c);
	c->jit.shadowed = c->jit.only_known = false;
	load(c, &s->before);
	c->jit.x87 = s->x87;
	c->jit.vpage = cpu_rip(c) & ~(PAGE_SIZE - 1);
}

/* --- interp's part --- */

static u32 undefined_by(const struct dec *d)
{
	const ZydisAccessedFlags *f = d->zi.cpu_flags;
	u32 u = f ? f->undefined & FL_ARITH : 0;

	switch (d->zi.meta.category) {
	case ZYDIS_CATEGORY_SHIFT: return u | FL_OF | FL_AF | FL_CF;
	case ZYDIS_CATEGORY_ROTATE: return u | FL_OF;
	default: return u;
	}
}

/* Flags that are undefined after an instruction, given those that were before. */
static u32 undefined_after(const struct dec *d, u32 undefined)
{
	const ZydisAccessedFlags *f = d->zi.cpu_flags;
	bool counted =
	        d->zi.meta.category == ZYDIS_CATEGORY_SHIFT || d->zi.meta.category == ZYDIS_CATEGORY_ROTATE ||
	        (d->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));

	if (f && !counted) /* with a count of 0 nothing is written */
		undefined &= ~(f->modified | f->set_0 | f->set_1);
	return undefined | undefined_by(d);
}

/* Bytes of the instruction at RIP; how many there are. */
static unsigned code_at(struct cpu *c, u64 rip, u8 buf[INSN_MAX])
{
	for (unsigned n = 0; n < INSN_MAX; n++) {
		const u8 *p = mem_ptr(c->mem, mmu_fetch_gpa(c, rip + n), 1);

		if (!p)
			return n;
		buf[n] = *p;
		if (((rip + n + 1) & (PAGE_SIZE - 1)) == 0)
			return n + 1; /* an instruction that crosses has no flags of interest */
	}
	return INSN_MAX;
}

static void note_flags(struct cpu *c, u64 rip)
{
	struct shadow *s = c->jit.shadow;
	u8 buf[INSN_MAX];
	unsigned n = code_at(c, rip, buf);
	struct insn i;
	struct dec d;

	if (decode_full(&c->jit.j->decoders, &c->cpuid, c->hf, buf, n, &i, &d) == DEC_MORE)
		s->undefined = FL_ARITH;
	else
		s->undefined = undefined_after(&d, s->undefined);
}

/* Executes like the block until where the translator stopped. Apart from setjmp's frame. */
static __attribute__((noinline)) void follow(struct cpu *c, const struct tb *b, const struct stop *to)
{
	for (unsigned n = 0; n < b->ninsns; n++) {
		u64 rip = cpu_rip(c);
		const struct insn *i;

		if (to->before && rip == to->rip)
			return;
		note_flags(c, rip);
		i = cache_get(c)->insns;
		u64 next = rip + i->len;
		bool repeats = i->flags & (INSN_REP | INSN_REPNE);

		do
			interp_insn(c);
		while (repeats && cpu_rip(c) == rip);
		if (cpu_rip(c) != next)
			return; /* a branch */
	}
}

static void by_interp(struct cpu *c, const struct tb *b, const struct stop *to)
{
	struct shadow *s = c->jit.shadow;
	jmp_buf outer;

	memcpy(&outer, &c->fault_jmp, sizeof(outer));
	s->undefined = 0;
	s->end = NULL;
	if (setjmp(c->fault_jmp) == 0) {
		follow(c, b, to);
	} else {
		if (c->bus_locked)
			mmu_unlock(c);
		c->gpr[REG_RIP] -= c->insn->len;
		c->insn = &cpu_no_insn;
		s->end = c->fault.vector == ESCAPE_VECTOR ? "reached a device" : "had a fault";
	}
	memcpy(&c->fault_jmp, &outer, sizeof(outer));
}

/* --- comparing --- */

struct out {
	FILE *f; /* NULL: only count */
	unsigned n;
};

static void PRINTF_LIKE(2, 3) differ(struct out *o, const char *format, ...)
{
	va_list ap;

	if (++o->n > 64 || !o->f)
		return;
	va_start(ap, format);
	vfprintf(o->f, format, ap);
	va_end(ap);
}

static void compare_bytes(struct out *o, const char *what, const void *jit, const void *interp, size_t len)
{
	const u8 *a = jit, *b = interp;

	if (memcmp(a, b, len) == 0)
		return;
	differ(o, "  %s: jit", what);
	for (size_t n = len; n--;)
		differ(o, "%s%02x", n + 1 == len || (n & 7) == 7 ? " " : "", a[n]);
	differ(o, " interp");
	for (size_t n = len; n--;)
		differ(o, "%s%02x", n + 1 == len || (n & 7) == 7 ? " " : "", b[n]);
	differ(o, "\n");
	o->n = 1;
}

static void compare_word(struct out *o, const char *what, u64 jit, u64 interp)
{
	if (jit != interp)
		differ(o, "  %s: jit %llx interp %llx\n", what, (unsigned long long)jit,
		        (unsigned long long)interp);
}

static const char *const gpr_names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9",
        "r10", "r11", "r12", "r13", "r14", "r15"};

static void compare_registers(struct out *o, const struct cpu *jit, const struct cpu *interp, u32 undefined)
{
	compare_word(o, "rip", cpu_rip(jit), cpu_rip(interp));
	for (unsigned n = 0; n < 16; n++)
		compare_word(o, gpr_names[n], jit->gpr[n], interp->gpr[n]);
	compare_word(o, "flags", cpu_flags(jit) & ~undefined, cpu_flags(interp) & ~undefined);
	compare_word(o, "mode", jit->hf, interp->hf);
	compare_word(o, "index", jit->mmu_idx, interp->mmu_idx);
	compare_word(o, "gs base", jit->seg[SEG_GS].base, interp->seg[SEG_GS].base);
	compare_word(o, "fs base", jit->seg[SEG_FS].base, interp->seg[SEG_FS].base);
	compare_word(o, "kernel gs base", jit->kernel_gs_base, interp->kernel_gs_base);
	for (unsigned n = 0; n < X86_NSEG; n++)
		compare_word(o, "selector", jit->seg[n].sel, interp->seg[n].sel);
}

static void compare_units(struct out *o, const struct cpu *jit, const struct cpu *interp)
{
	char name[8];

	compare_word(o, "mxcsr", jit->mxcsr, interp->mxcsr);
	for (unsigned n = 0; n < 16; n++) {
		snprintf(name, sizeof(name), "ymm%u", n);
		compare_bytes(o, name, &jit->vec[n], &interp->vec[n], sizeof(jit->vec[n]));
	}
	compare_word(o, "fcw", jit->fpu.fcw, interp->fpu.fcw);
	compare_word(o, "fsw", jit->fpu.fsw, interp->fpu.fsw);
	compare_word(o, "ftw", jit->fpu.ftw, interp->fpu.ftw);
	for (unsigned n = 0; n < 8; n++) {
		compare_word(o, "r mantissa", jit->fpu.r[n].mant, interp->fpu.r[n].mant);
		compare_word(o, "r exponent", jit->fpu.r[n].exp, interp->fpu.r[n].exp);
	}
}

static void compare_memory(struct out *o, const struct shadow *s)
{
	for (unsigned n = 0; n < s->n; n++) {
		const u8 *a = image(s, n, BY_JIT), *b = image(s, n, BY_INTERP), *was = s->data[n][0];

		if (memcmp(a, b, PAGE_SIZE) == 0)
			continue;
		for (u64 i = 0; i < PAGE_SIZE; i++)
			if (a[i] != b[i])
				differ(o, "  [%llx]: jit %02x interp %02x before %02x\n",
				        (unsigned long long)(s->page[n].gpa + i), a[i], b[i], was[i]);
	}
}

/* Number of differences between the two executions; f: tell them. */
static unsigned compare(struct cpu *c, FILE *f)
{
	struct shadow *s = c->jit.shadow;
	struct out o = {.f = f};

	load(&s->view, &s->after[BY_JIT]);
	load(c, &s->after[BY_INTERP]);
	if (s->end)
		differ(&o, "  interp %s, vector %u\n", s->end, c->fault.vector);
	compare_registers(&o, &s->view, c, s->undefined);
	compare_units(&o, &s->view, c);
	compare_memory(&o, s);
	return o.n;
}

/* --- telling --- */

static void tell_guest_code(struct cpu *c, const struct tb *b)
{
	u64 rip = cpu_rip(c);
	ZydisDisassembledInstruction z;

	for (unsigned n = 0; n < b->ninsns; n++) {
		u64 off = b->gpa + (rip - cpu_rip(c));
		const u8 *p = mem_ptr(c->mem, off, INSN_MAX);

		if (!p || !ZYAN_SUCCESS(
		                  ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, rip, p, INSN_MAX, &z)))
			return;
		fprintf(stderr, "  %llx:", (unsigned long long)rip);
		for (unsigned k = 0; k < z.info.length; k++)
			fprintf(stderr, " %02x", p[k]);
		fprintf(stderr, "   %s\n", z.text);
		rip += z.info.length;
	}
}

static void tell_host_code(const struct jit *j, const struct tb *b)
{
	const u8 *p = j->rx + b->code;

	fprintf(stderr, "host code at %p:", (const void *)p);
	for (u32 n = 0; n < b->code_len; n++)
		fprintf(stderr, "%s%02x", n % 32 ? " " : "\n  ", p[n]);
	fprintf(stderr, "\n");
}

static void tell(struct cpu *c, const struct tb *b, const struct stop *to)
{
	load(c, &c->jit.shadow->before);
	log_error(
	        "--jit-check: CPU %u: the translator disagrees with interp about the %u instructions at %llx "
	        "(physical %llx, key %x)",
	        c->id, b->ninsns, (unsigned long long)cpu_rip(c), (unsigned long long)b->gpa, b->key);
	tell_guest_code(c, b);
	fprintf(stderr, "before, flags %x:", cpu_flags(c));
	for (unsigned n = 0; n < 16; n++)
		fprintf(stderr, " %s %llx", gpr_names[n], (unsigned long long)c->gpr[n]);
	fprintf(stderr, "\nafter, %s %llx:\n", to->before ? "in front of" : "gone to",
	        (unsigned long long)to->rip);
	compare(c, stderr);
	tell_host_code(c->jit.j, b);
}

/* --- */

/* Both executions. False: the block is gone. */
static bool run_both(struct cpu *c, const struct target *p, struct stop *to)
{
	struct shadow *s = c->jit.shadow;

	s->n = 0;
	begin(c, BY_JIT);
	if (!jit_run_one(c, p, to))
		return false;
	c->gpr[REG_RIP] = to->rip;
	save(c, &s->after[BY_JIT]);
	begin(c, BY_INTERP);
	by_interp(c, p->tb, to);
	save(c, &s->after[BY_INTERP]);
	return true;
}

bool check_block(struct cpu *c, const struct target *p)
{
	struct shadow *s = c->jit.shadow;
	struct stop to;
	bool same = false;

	save(c, &s->before);
	s->x87 = c->jit.x87;
	for (unsigned n = 0; n < TRIES && !same; n++) {
		if (n)
			usleep(TRY_AGAIN_US);
		same = !run_both(c, p, &to) || compare(c, NULL) == 0 ||
		       __atomic_load_n(&p->tb->dead, __ATOMIC_SEQ_CST) ||
		       tb_checked(c->jit.j, p->tb); /* by others: it may have been linked already */
	}
	if (!same)
		tell(c, p->tb, &to);
	end(c);
	if (p->tb->checked < UINT16_MAX)
		p->tb->checked++;
	return same;
}
