/*
 * Runs cases on the reference engine or on the translator: a CPU outside a machine, at CPL 3, with page
 * tables that map the areas at the addresses and with the rights that they have in the host process.
 */
#include "harness.h"
#include "accel/soft/engine.h"
#include "accel/soft/jit/jit.h"
#include <stdlib.h>

#define GPA_PML4 0x1000ull
#define GPA_PDPT 0x2000ull
#define GPA_PD 0x3000ull
#define GPA_PT 0x4000ull
#define GPA_CODE 0x10000ull
#define GPA_DATA 0x20000ull

struct ref {
	struct mem mem;
	struct space ports, memory;
	struct clock_tsc clock;
	struct accel_config cfg;
	struct accel_host host;
	struct cpu *cpu;
	struct jit *jit;
	struct x86_state base; /* everything that is the same in all 64-bit cases */
	const u8 *template;
};

static void put_pte(struct ref *r, u64 table, u64 index, u64 pte)
{
	mem_write(&r->mem, table + 8 * index, &pte, 8);
}

static void build_tables(struct ref *r)
{
	u64 all = PTE_P | PTE_W | PTE_U | PTE_A;
	u64 index = ARENA >> PAGE_SHIFT & 511;

	put_pte(r, GPA_PML4, 0, GPA_PDPT | all);
	put_pte(r, GPA_PDPT, ARENA >> 30 & 511, GPA_PD | all);
	put_pte(r, GPA_PD, ARENA >> 21 & 511, GPA_PT | all);
	for (u64 i = 0; i < CODE_SIZE >> PAGE_SHIFT; i++)
		put_pte(r, GPA_PT, index + i, (GPA_CODE + i * PAGE_SIZE) | PTE_P | PTE_U | PTE_A);
	index = DATA_BASE >> PAGE_SHIFT & 511;
	for (u64 i = 0; i < DATA_SIZE >> PAGE_SHIFT; i++) {
		u64 pte = (GPA_DATA + i * PAGE_SIZE) | PTE_P | PTE_U | PTE_A | PTE_NX;

		if (i < DATA_RW >> PAGE_SHIFT)
			pte |= PTE_W | PTE_D;
		put_pte(r, GPA_PT, index + i, pte);
	}
}

static struct x86_seg flat(u16 sel, u16 attr)
{
	return (struct x86_seg){.sel = sel, .attr = attr, .limit = 0xffffffff};
}

#define ATTR_CODE64 (0xfb | SEG_ATTR_L | SEG_ATTR_G)
#define ATTR_CODE32 (0xfb | SEG_ATTR_DB | SEG_ATTR_G)
#define ATTR_DATA (0xf3 | SEG_ATTR_DB | SEG_ATTR_G)

/* As a Linux process has it. */
static void base_state(struct x86_state *s)
{
	x86_state_reset(s, true);
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	s->cr3 = GPA_PML4;
	s->cr4 = CR4_PAE | CR4_PSE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE |
	         CR4_UMIP;
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	s->seg[SEG_CS] = flat(0x33, ATTR_CODE64);
	s->seg[SEG_SS] = flat(0x2b, ATTR_DATA);
	s->seg[SEG_DS] = flat(0x2b, ATTR_DATA);
	s->seg[SEG_ES] = flat(0x2b, ATTR_DATA);
	s->seg[SEG_FS] = flat(0, ATTR_DATA);
	s->seg[SEG_GS] = flat(0, ATTR_DATA);
}

int ref_create(struct ref **out, const u8 *data_template, bool jit)
{
	struct ref *r = calloc(1, sizeof(*r));
	struct err e = {0};
	u8 *code;

	if (!r || mem_create(&r->mem, 1 * MiB, false, true, &e) < 0 || space_init(&r->ports, 0xffff) < 0 ||
	        space_init(&r->memory, ~0ull) < 0) {
		free(r);
		return -1;
	}
	clock_tsc_init(&r->clock);
	r->cfg = (struct accel_config){.ncpus = 1, .code_cache = jit ? 8 * MiB : 0};
	r->host = (struct accel_host){
	        .ports = &r->ports, .memory = &r->memory, .mem = &r->mem, .clock = &r->clock};
	r->template = data_template;
	build_tables(r);
	base_state(&r->base);
	r->cpu = cpu_create(&r->cfg, &r->host, 0);
	code = mem_ptr(&r->mem, GPA_CODE, CODE_SIZE);
	memset(code, 0xcc, CODE_SIZE);
	*out = r;
	if (!r->cpu)
		return -1;
	if (jit && (jit_create(&r->jit, &r->mem, &r->cfg, &e) < 0 || jit_attach(r->jit, r->cpu) < 0)) {
		fprintf(stderr, "insn: %s\n", e.text);
		return -1;
	}
	if (jit) /* its handler of signals must be there before the host's */
		jit_run_range(r->cpu, 0, 0, &(struct step_result){0});
	return 0;
}

void ref_destroy(struct ref *r)
{
	if (r->jit)
		jit_detach(r->jit, r->cpu);
	cpu_destroy(r->cpu);
	jit_destroy(r->jit);
	space_fini(&r->memory);
	space_fini(&r->ports);
	mem_destroy(&r->mem);
	free(r);
}

const u8 *ref_data(const struct ref *r)
{
	return mem_ptr(&r->mem, GPA_DATA, DATA_SIZE);
}

static void load(struct ref *r, const struct insn_case *k)
{
	struct x86_state s = r->base;

	memcpy(s.gpr, k->in.gpr, sizeof(s.gpr));
	s.rip = k->in.rip;
	s.rflags = k->in.rflags;
	s.seg[SEG_FS].base = k->in.fs_base;
	s.seg[SEG_GS].base = k->in.gs_base;
	s.fpu = k->in.fpu;
	s.mxcsr = k->in.mxcsr;
	memcpy(s.vec, k->in.vec, sizeof(s.vec));
	if (k->mode == MODE_32) {
		s.seg[SEG_CS] = flat(0x23, ATTR_CODE32);
		/* null selectors, which outside of 64-bit mode cannot be used */
		s.seg[SEG_FS] = s.seg[SEG_GS] = (struct x86_seg){.attr = SEG_ATTR_UNUSABLE};
	}
	cpu_set_state(r->cpu, &s);
}

static void save(struct ref *r, struct regs *out)
{
	struct x86_state s;

	cpu_get_state(r->cpu, &s);
	memcpy(out->gpr, s.gpr, sizeof(s.gpr));
	out->rip = s.rip;
	out->rflags = s.rflags;
	out->fs_base = s.seg[SEG_FS].base;
	out->gs_base = s.seg[SEG_GS].base;
	out->fpu = s.fpu;
	out->mxcsr = s.mxcsr;
	memcpy(out->vec, s.vec, sizeof(s.vec));
}

static void step_through(struct ref *r, const struct insn_case *k, struct step_result *st)
{
	for (unsigned i = 0; i < k->count && !st->faulted; i++) {
		u64 rip = cpu_rip(r->cpu);

		if (i && (rip < k->in.rip || rip >= k->in.rip + k->len))
			break; /* branched out of the sequence: the host met INT3 there */
		interp_step(r->cpu, st);
	}
}

void ref_run(struct ref *r, const struct insn_case *k, struct outcome *o)
{
	u8 *data = mem_ptr(&r->mem, GPA_DATA, DATA_SIZE);
	u64 code = GPA_CODE + (k->in.rip - CODE_BASE);
	struct step_result st = {0};
	u8 fill[sizeof(k->code)];

	memcpy(data, r->template, DATA_SIZE);
	for (unsigned i = 0; i < k->npatches; i++)
		memcpy(data + k->patch[i].off, k->patch[i].bytes, k->patch[i].len);
	mem_write(&r->mem, code, k->code, k->len);
	load(r, k);
	if (r->jit && k->mode == MODE_64)
		jit_run_range(r->cpu, k->in.rip, k->in.rip + k->len, &st);
	else
		step_through(r, k, &st);
	save(r, &o->out);
	o->faulted = st.faulted;
	o->vector = st.vector;
	o->error = st.has_error ? st.error : 0;
	o->addr = st.addr;
	memset(fill, 0xcc, sizeof(fill));
	mem_write(&r->mem, code, fill, k->len);
}

void ref_cpuid(struct ref *r, u32 leaf, u32 subleaf, u32 out[4])
{
	struct insn_case k = {.mode = MODE_64, .code = {0x0f, 0xa2}, .len = 2, .count = 1};
	struct outcome o;

	k.in.rip = CODE_BASE + 0x100;
	k.in.rflags = FL_1 | FL_IF;
	k.in.mxcsr = 0x1f80;
	k.in.fpu.fcw = 0x37f;
	k.in.gpr[RAX] = leaf;
	k.in.gpr[RCX] = subleaf;
	ref_run(r, &k, &o);
	out[0] = (u32)o.out.gpr[RAX];
	out[1] = (u32)o.out.gpr[RBX];
	out[2] = (u32)o.out.gpr[RCX];
	out[3] = (u32)o.out.gpr[RDX];
	if (o.faulted)
		memset(out, 0, 4 * sizeof(out[0]));
}
