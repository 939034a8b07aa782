/*
 * Runs a tiny bare-metal guest on an accelerator: run_guest ACCEL MODE FILE [triple|tiny|check|wrong-XX]
 *
 * MODE is the state CPU 0 starts in at 0x1000: "real" (0000:1000), "prot" (flat 32-bit, no paging) or
 * "long" (64-bit, the first 2 MiB mapped 1:1 by 4 KiB pages and the rest of 1 GiB by 2 MiB pages, all
 * for user and supervisor). The other CPUs wait for a SIPI. triple: a triple fault is success; tiny: the
 * translator's cache is as small as it can be; check: it is compared with interp all the time; wrong-XX: and
 * translates instructions with opcode XX to nothing, so it is success that the comparison ends the run.
 *
 * The guest's world, see guest.inc:
 *   port f4 out  result: 0 is success, anything else the line of the failed check; the run ends
 *   port e9 out  a character for stderr
 *   port f0 out  NMI to the CPU that writes
 *   port f1 in   counts 0, 1, 2, ...
 *   port f2 out  the external interrupt of this vector becomes pending
 *   port f3 out  after about that many ms an external interrupt 0x41 becomes pending
 *   port f5 out  INIT and SIPI (page) for CPU 1, or in 16 bits page and CPU << 8
 *   port f6 out  in 16 bits: external interrupt vector and CPU << 8
 * Exit status: 0 passed, 1 failed, 77 not possible on this host.
 */
#include "accel/accel.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GDT 0x800u
#define TSS 0x600u
#define TABLES 0x100000u
#define RESULT_NONE (-1)
#define CPUS 4

struct world {
	struct mem mem;
	struct space ports, memory;
	struct region region;
	struct clock_tsc clock;
	const struct accel_ops *accel;
	struct accel_vm *vm;
	struct vcpu *cpu[CPUS];
	int pending[CPUS]; /* atomic: external interrupt vector or -1 */
	int result;        /* atomic */
	u32 count;
	u64 apic_base[CPUS];
	struct intc intc[CPUS];
	struct world_cpu {
		struct world *w;
		unsigned id;
	} who[CPUS];
	bool triple, tiny, check;
	bool disagreed;
	u8 wrong; /* opcode */
};

static __thread unsigned this_cpu;

/* --- an interrupt controller with one line a CPU --- */

static bool intc_pending(void *opaque)
{
	const struct world_cpu *p = opaque;

	return __atomic_load_n(&p->w->pending[p->id], __ATOMIC_SEQ_CST) >= 0;
}

static int intc_accept(void *opaque)
{
	struct world_cpu *p = opaque;

	return __atomic_exchange_n(&p->w->pending[p->id], -1, __ATOMIC_SEQ_CST);
}

static u32 intc_mmio_read(void *opaque, u32 off, unsigned size)
{
	return 0xa51c0000u | off;
}

static void intc_mmio_write(void *opaque, u32 off, unsigned size, u32 val)
{
	struct world_cpu *p = opaque;

	p->w->count = val;
}

static int intc_msr_read(void *opaque, u32 msr, u64 *val)
{
	const struct world_cpu *p = opaque;

	*val = p->w->apic_base[p->id];
	return msr == 0x1b ? 0 : -1;
}

static int intc_msr_write(void *opaque, u32 msr, u64 val)
{
	struct world_cpu *p = opaque;

	if (msr != 0x1b)
		return -1;
	p->w->apic_base[p->id] = val;
	return 0;
}

static u8 intc_cr8_read(void *opaque)
{
	return 5;
}

static void intc_cr8_write(void *opaque, u8 val)
{
}

static void intc_init(void *opaque)
{
}

static const struct intc_ops intc_ops = {
        .pending = intc_pending,
        .accept = intc_accept,
        .mmio_read = intc_mmio_read,
        .mmio_write = intc_mmio_write,
        .msr_read = intc_msr_read,
        .msr_write = intc_msr_write,
        .cr8_read = intc_cr8_read,
        .cr8_write = intc_cr8_write,
        .init = intc_init,
};

/* --- ports --- */

static void finish(struct world *w, int result)
{
	int none = RESULT_NONE;

	__atomic_compare_exchange_n(&w->result, &none, result, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	for (unsigned n = 0; n < CPUS; n++)
		w->accel->kick(w->cpu[n]);
}

static void raise_vector(struct world *w, unsigned cpu, int vector)
{
	__atomic_store_n(&w->pending[cpu], vector, __ATOMIC_SEQ_CST);
	w->accel->signal(w->cpu[cpu], CPU_SIG_INTR, 0);
}

struct delayed {
	struct world *w;
	u64 ms;
};

static void *raise_later(void *opaque)
{
	struct delayed *d = opaque;

	usleep((useconds_t)d->ms * 1000);
	raise_vector(d->w, 0, 0x41);
	free(d);
	return NULL;
}

static void start_timer(struct world *w, u64 ms)
{
	struct delayed *d = malloc(sizeof(*d));
	pthread_t t;

	if (!d)
		abort();
	*d = (struct delayed){w, ms};
	if (pthread_create(&t, NULL, raise_later, d))
		abort();
	pthread_detach(t);
}

static u64 port_read(void *opaque, u64 off, unsigned size)
{
	struct world *w = opaque;

	return off == 0x11 ? w->count++ : ones(size);
}

static void port_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct world *w = opaque;
	u64 cpu;

	switch (off) {
	case 0x09: fputc((int)val, stderr); break;
	case 0x10: w->accel->signal(w->cpu[this_cpu], CPU_SIG_NMI, 0); break;
	case 0x12: raise_vector(w, 0, (int)(val & 0xff)); break;
	case 0x13: start_timer(w, val); break;
	case 0x14: finish(w, (int)val); break;
	case 0x15:
		cpu = size == 1 ? 1 : val >> 8 & (CPUS - 1);
		w->accel->signal(w->cpu[cpu], CPU_SIG_INIT, 0);
		w->accel->signal(w->cpu[cpu], CPU_SIG_SIPI, (u8)val);
		break;
	case 0x16: raise_vector(w, (unsigned)(val >> 8) & (CPUS - 1), (int)(val & 0xff)); break;
	default: break;
	}
}

static const struct region_ops port_ops = {
        .read = port_read, .write = port_write, .min = 1, .max = 4, .unaligned = true};

/* --- start state --- */

static void put(struct world *w, u64 gpa, u64 val)
{
	if (mem_write(&w->mem, gpa, &val, 8) < 0)
		abort();
}

/* The selectors are named in guest.inc. */
static void write_gdt(struct world *w)
{
	static const u64 gdt[] = {
	        0, 0x00af9b000000ffffull, /* 08: 64-bit code, ring 0 */
	        0x00cf93000000ffffull,    /* 10: data, ring 0 */
	        0x00cf9b000000ffffull,    /* 18: 32-bit code, ring 0 */
	        0x00cffb000000ffffull,    /* 20: 32-bit code, ring 3 (SYSRET base) */
	        0x00cff3000000ffffull,    /* 28: data, ring 3 */
	        0x00affb000000ffffull,    /* 30: 64-bit code, ring 3 */
	        0x00008b00060001ffull,    /* 38: TSS at 600, busy */
	        0, 0x00009b000000ffffull, /* 48: 16-bit code */
	        0x000093000000ffffull,    /* 50: 16-bit data */
	};

	for (unsigned n = 0; n < ARRAY_SIZE(gdt); n++)
		put(w, GDT + n * 8, gdt[n]);
}

static void write_tables(struct world *w)
{
	put(w, TABLES, TABLES + 0x1007);
	put(w, TABLES + 0x1000, TABLES + 0x2007);
	put(w, TABLES + 0x2000, TABLES + 0x3007);
	for (u64 n = 1; n < 512; n++)
		put(w, TABLES + 0x2000 + n * 8, n * 2 * MiB | 0x87);
	for (u64 n = 0; n < 512; n++)
		put(w, TABLES + 0x3000 + n * 8, n * 4096 | 7);
}

static struct x86_seg flat(u16 sel, u16 attr)
{
	return (struct x86_seg){.sel = sel, .attr = attr, .limit = 0xffffffff};
}

static void start_state(struct world *w, const char *mode, struct x86_state *s)
{
	w->accel->get_state(w->cpu[0], s);
	x86_state_reset(s, true);
	s->rip = 0x1000;
	s->gpr[RSP] = 0x9000;
	s->seg[SEG_CS] = (struct x86_seg){.attr = 0x9b, .limit = 0xffff};
	s->cr0 = 0x10;
	s->idt.limit = 0x3ff;
	write_gdt(w);
	if (strcmp(mode, "real") == 0)
		return;
	s->cr0 |= 1;
	s->gdt = (struct x86_table){.base = GDT, .limit = 0x57};
	s->idt.limit = 0;
	for (unsigned n = 0; n < X86_NSEG; n++)
		s->seg[n] = flat(0x10, 0xc093);
	s->seg[SEG_CS] = flat(0x18, 0xc09b);
	s->tr = (struct x86_seg){.sel = 0x38, .attr = 0x8b, .base = TSS, .limit = 0x1ff};
	s->ldt = (struct x86_seg){.attr = SEG_ATTR_UNUSABLE};
	if (strcmp(mode, "long"))
		return;
	write_tables(w);
	s->seg[SEG_CS] = flat(0x08, 0xa09b);
	s->cr0 |= 0x80000000u;
	s->cr3 = TABLES;
	s->cr4 = 0x20 | 0x600; /* PAE, OSFXSR, OSXMMEXCPT */
	s->efer = 0xd01;       /* SCE, LME, LMA, NXE */
}

/* --- running --- */

static void *run_cpu(void *opaque)
{
	struct world_cpu *p = opaque;
	struct world *w = p->w;

	this_cpu = p->id;
	while (__atomic_load_n(&w->result, __ATOMIC_SEQ_CST) == RESULT_NONE) {
		switch (w->accel->run(w->cpu[p->id])) {
		case RUN_KICKED: break;
		case RUN_TRIPLE_FAULT: finish(w, w->triple ? 0 : 30000); break;
		default:
			w->disagreed = true;
			finish(w, w->wrong ? 0 : 30001);
			break;
		}
	}
	return NULL;
}

static int load(struct world *w, const char *path)
{
	u8 buf[0x6000];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		return -1;
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	return n && n < sizeof(buf) ? mem_write(&w->mem, 0x1000, buf, n) : -1;
}

static int create(struct world *w, const char *mode, const char *file, struct err *e)
{
	struct accel_config cfg = {.ncpus = CPUS,
	        .hot = 1,
	        .code_cache = w->tiny ? 1 : 0,
	        .check = w->check ? 8 : 0,
	        .leave_out = w->wrong};
	struct accel_host host = {
	        .ports = &w->ports, .memory = &w->memory, .mem = &w->mem, .clock = &w->clock};
	struct x86_state s;

	w->result = RESULT_NONE;
	w->region = (struct region){.base = 0xe0, .len = 0x20, .ops = &port_ops, .opaque = w, .name = "test"};
	clock_tsc_init(&w->clock);
	if (space_init(&w->ports, 0xffff) < 0 || space_init(&w->memory, ~0ull) < 0 ||
	        space_add(&w->ports, &w->region) < 0 || mem_create(&w->mem, 4 * MiB, false, true, e) < 0 ||
	        w->accel->vm_create(&cfg, &host, &w->vm, e) < 0 ||
	        w->accel->mem_map(w->vm, 0, w->mem.base, w->mem.low, false) < 0)
		return -1;
	for (unsigned n = 0; n < CPUS; n++) {
		w->pending[n] = -1;
		w->who[n] = (struct world_cpu){w, n};
		w->apic_base[n] = 0xfee00800ull | (n == 0) << 8;
		w->intc[n] = (struct intc){&intc_ops, &w->who[n]};
		if (w->accel->vcpu_create(w->vm, n, &w->intc[n], &w->cpu[n], e) < 0)
			return -1;
	}
	if (load(w, file) < 0)
		return err_set(e, -1, "cannot load %s", file);
	start_state(w, mode, &s);
	return w->accel->set_state(w->cpu[0], &s);
}

static void run(struct world *w)
{
	pthread_t t[CPUS];

	for (unsigned n = 0; n < CPUS; n++)
		if (pthread_create(&t[n], NULL, run_cpu, &w->who[n]))
			abort();
	for (unsigned n = 0; n < CPUS; n++)
		pthread_join(t[n], NULL);
}

static void destroy(struct world *w)
{
	for (unsigned n = 0; n < CPUS; n++)
		w->accel->vcpu_destroy(w->cpu[n]);
	w->accel->vm_destroy(w->vm);
	mem_destroy(&w->mem);
	space_fini(&w->ports);
	space_fini(&w->memory);
}

int main(int argc, char **argv)
{
	static struct world w;
	struct err e = {0};

	if (argc < 4 || (strcmp(argv[1], "interp") && strcmp(argv[1], "jit"))) {
		fprintf(stderr,
		        "usage: run_guest interp|jit real|prot|long FILE [triple|tiny|check|wrong-XX]\n");
		return 1;
	}
	w.accel = strcmp(argv[1], "jit") ? &accel_interp : &accel_jit;
	w.triple = argc > 4 && strcmp(argv[4], "triple") == 0;
	w.tiny = argc > 4 && strcmp(argv[4], "tiny") == 0;
	if (argc > 4 && strncmp(argv[4], "wrong-", 6) == 0)
		w.wrong = (u8)strtoul(argv[4] + 6, NULL, 16);
	w.check = w.wrong || (argc > 4 && strcmp(argv[4], "check") == 0);
	alarm(60); /* a guest that hangs has failed */
	if (create(&w, argv[2], argv[3], &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	run(&w);
	if (w.wrong && w.result == 0 && !w.disagreed)
		w.result = 30002;
	if (w.result)
		fprintf(stderr, "%s: check in line %d failed\n", argv[3], w.result);
	destroy(&w);
	return w.result != 0;
}
