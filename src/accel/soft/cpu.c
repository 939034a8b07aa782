/*
 * Life of a software CPU and its conversion to and from the architectural state (x86/state.h).
 */
#include "accel/soft/debug.h"
#include "accel/soft/engine.h"
#include "accel/soft/interp/cache.h"
#include "accel/soft/mmu.h"
#include "accel/soft/msr.h"
#include "accel/soft/seg.h"
#include "accel/soft/walk.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <x86intrin.h>

u64 cpu_tsc(const struct cpu *c)
{
	return (c->host->clock ? clock_tsc_ticks(c->host->clock) : __rdtsc()) + c->tsc_offset;
}

void cpu_tsc_base(struct cpu *c)
{
	c->tsc_base = c->tsc_offset -
	              (c->host->clock ? __atomic_load_n(&c->host->clock->tsc0, __ATOMIC_RELAXED) : 0);
}

void cpu_tsc_moved(struct cpu *c)
{
	cpu_tsc_base(c);
	if (c->intc.ops && c->intc.ops->tsc_moved)
		c->intc.ops->tsc_moved(c->intc.opaque, c->tsc_offset);
}

static u32 mode_flags(const struct cpu *c)
{
	u32 hf = c->cpl << HF_CPL_SHIFT;
	u16 cs = c->seg[SEG_CS].attr;

	if (c->cr0 & CR0_PE)
		hf |= HF_PE;
	if (c->efer & EFER_LMA)
		hf |= HF_LMA;
	if ((c->efer & EFER_LMA) && (cs & SEG_ATTR_L))
		hf |= HF_CS64;
	else if (cs & SEG_ATTR_DB)
		hf |= HF_CS32;
	/* Without meaning in 64-bit mode, where interrupts and SYSCALL leave different values. */
	if (!(hf & HF_CS64) && (c->seg[SEG_SS].attr & SEG_ATTR_DB))
		hf |= HF_SS32;
	if (c->eflags & FL_VM)
		hf |= HF_VM86;
	return hf;
}

static u32 unit_flags(const struct cpu *c)
{
	u32 hf = 0;

	if (c->cr0 & CR0_TS)
		hf |= HF_TS;
	if (c->cr0 & CR0_EM)
		hf |= HF_EM;
	if (c->cr0 & CR0_MP)
		hf |= HF_MP;
	if (c->cr0 & CR0_NE)
		hf |= HF_NE;
	if (c->cr4 & CR4_OSFXSR)
		hf |= HF_OSFXSR;
	if (c->cr4 & CR4_OSXSAVE) {
		hf |= HF_OSXSAVE;
		if ((c->xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX))
			hf |= HF_AVX;
	}
	return hf;
}

static u32 data_idx(const struct cpu *c)
{
	if (c->cpl == 3)
		return (c->cr0 & CR0_AM) && (c->eflags & FL_AC) ? MMU_USER_ALIGN : MMU_USER;
	return (c->cr4 & CR4_SMAP) && (c->eflags & FL_AC) ? MMU_KERNEL_AC : MMU_KERNEL;
}

void cpu_update_ac(struct cpu *c)
{
	c->mmu_idx = data_idx(c);
}

void cpu_update_mode(struct cpu *c)
{
	if (!(c->cr0 & CR0_PE))
		c->cpl = 0;
	else if (c->eflags & FL_VM)
		c->cpl = 3;
	c->hf = mode_flags(c) | unit_flags(c);
	if (c->eflags & FL_RF)
		c->slow |= SLOW_RF;
	if (c->eflags & FL_TF) {
		c->hf |= HF_TF;
		c->slow |= SLOW_STEP;
	}
	c->mmu_idx = data_idx(c);
	c->fetch_idx = c->cpl == 3 ? MMU_USER : MMU_KERNEL;
	c->code_base = c->hf & HF_CS64 ? 0 : c->seg[SEG_CS].base;
}

struct cpu *cpu_create(const struct accel_config *cfg, const struct accel_host *host, unsigned id)
{
	/* Most of it is the sparse arrays of the TLB. */
	struct cpu *c = mmap(
	        NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct x86_state *s = calloc(1, sizeof(*s));

	if (c == MAP_FAILED || !s) {
		if (c != MAP_FAILED)
			munmap(c, sizeof(*c));
		free(s);
		return NULL;
	}
	madvise(c, sizeof(*c), MADV_NOHUGEPAGE);
	madvise(c, sizeof(*c), MADV_DONTDUMP);
	c->id = id;
	c->cfg = cfg;
	c->host = host;
	c->mem = host->mem;
	c->insn = &cpu_no_insn;
	pthread_mutex_init(&c->own_lock, NULL);
	c->bus_lock = &c->own_lock;
	cpuid_init(&c->cpuid, cfg->ncpus, id, host->clock ? host->clock->tsc_hz : 0, "interp", feature_bound);
	if (mmu_init(c) < 0 || cache_create(c, cfg->code_cache) < 0) {
		free(s);
		cpu_destroy(c);
		return NULL;
	}
	msr_init(c);
	x86_state_reset(s, id == 0);
	cpu_set_state(c, s);
	c->tsc_offset = 0;
	cpu_tsc_base(c);
	free(s);
	return c;
}

void cpu_destroy(struct cpu *c)
{
	if (!c)
		return;
	cache_destroy(c);
	mmu_fini(c);
	pthread_mutex_destroy(&c->own_lock);
	munmap(c, sizeof(*c));
}

static void tsc_set(struct cpu *c, u64 val)
{
	c->tsc_offset += val - cpu_tsc(c);
	cpu_tsc_moved(c);
}

static void get_msrs(struct cpu *c, struct x86_state *s)
{
	s->efer = c->efer;
	s->apic_base = c->apic_base;
	s->pat = c->pat;
	s->star = c->star;
	s->lstar = c->lstar;
	s->cstar = c->cstar;
	s->sfmask = c->sfmask;
	s->kernel_gs_base = c->kernel_gs_base;
	s->sysenter_cs = c->sysenter_cs;
	s->sysenter_esp = c->sysenter_esp;
	s->sysenter_eip = c->sysenter_eip;
	s->tsc_aux = c->tsc_aux;
	s->misc_enable = c->misc_enable;
	s->tsc = c->tsc_given = cpu_tsc(c);
}

static void set_msrs(struct cpu *c, const struct x86_state *s)
{
	c->efer = s->efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	c->pat = s->pat;
	c->star = s->star;
	c->lstar = s->lstar;
	c->cstar = s->cstar;
	c->sfmask = s->sfmask;
	c->kernel_gs_base = s->kernel_gs_base;
	c->sysenter_cs = s->sysenter_cs;
	c->sysenter_esp = s->sysenter_esp;
	c->sysenter_eip = s->sysenter_eip;
	c->tsc_aux = s->tsc_aux;
	c->misc_enable = s->misc_enable;
	/*
	 * The TSCs of all CPUs start with the machine and run in step. Neither a power-on state (0) nor a
	 * state that was read here and given back may shift one of them.
	 */
	if (s->tsc && s->tsc != c->tsc_given)
		tsc_set(c, s->tsc);
	c->apic_base = s->apic_base;
	if (c->intc.ops) {
		c->intc.ops->msr_write(c->intc.opaque, MSR_APIC_BASE, s->apic_base);
		c->intc.ops->msr_read(c->intc.opaque, MSR_APIC_BASE, &c->apic_base);
	}
}

void cpu_get_state(struct cpu *c, struct x86_state *s)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->gpr, c->gpr, sizeof(s->gpr));
	s->rip = c->gpr[REG_RIP];
	s->rflags = cpu_flags(c);
	memcpy(s->seg, c->seg, sizeof(s->seg));
	s->ldt = c->ldt;
	s->tr = c->tr;
	s->gdt = c->gdt;
	s->idt = c->idt;
	s->cr0 = c->cr0;
	s->cr2 = c->cr2;
	s->cr3 = c->cr3;
	s->cr4 = c->cr4;
	s->cr8 = c->intc.ops ? c->intc.ops->cr8_read(c->intc.opaque) : c->cr8;
	memcpy(s->dr, c->dr, sizeof(s->dr));
	s->xcr0 = c->xcr0;
	get_msrs(c, s);
	s->fpu = c->fpu;
	s->mxcsr = c->mxcsr;
	memcpy(s->vec, c->vec, sizeof(s->vec));
	s->nmi_blocked = c->nmi_blocked;
	s->intr_shadow = c->shadow;
	s->halted = c->halted;
	s->wait_sipi = c->wait_sipi;
	s->nmi_pending = __atomic_load_n(&c->request, __ATOMIC_RELAXED) & CPU_REQ_NMI;
}

static void set_activity(struct cpu *c, const struct x86_state *s)
{
	c->nmi_blocked = s->nmi_blocked;
	c->shadow = s->intr_shadow;
	c->shadow_ss = false;
	c->halted = s->halted;
	c->wait_sipi = s->wait_sipi;
	c->shutdown = false;
	c->event.active = false;
	c->db_hit = 0;
	c->slow = (c->halted || c->wait_sipi ? SLOW_IDLE : 0) | (c->shadow ? SLOW_SHADOW : 0);
	if (s->nmi_pending)
		__atomic_fetch_or(&c->request, CPU_REQ_NMI, __ATOMIC_SEQ_CST);
}

void cpu_set_state(struct cpu *c, const struct x86_state *s)
{
	memcpy(c->gpr, s->gpr, sizeof(s->gpr));
	c->gpr[REG_ZERO] = 0;
	c->gpr[REG_RIP] = s->rip;
	c->eflags = ((u32)s->rflags & ~FL_ARITH) | FL_1;
	cpu_set_arith(c, (u32)s->rflags);
	memcpy(c->seg, s->seg, sizeof(s->seg));
	c->ldt = s->ldt;
	c->tr = s->tr;
	c->gdt = s->gdt;
	c->idt = s->idt;
	c->cr0 = s->cr0;
	c->cr2 = s->cr2;
	c->cr3 = s->cr3;
	c->cr4 = s->cr4;
	c->cr8 = s->cr8 & 15;
	memcpy(c->dr, s->dr, sizeof(s->dr));
	c->xcr0 = s->xcr0 | XCR0_X87;
	set_msrs(c, s);
	if (c->intc.ops)
		c->intc.ops->cr8_write(c->intc.opaque, s->cr8 & 15);
	c->fpu = s->fpu;
	c->mxcsr = s->mxcsr & 0xffff;
	memcpy(c->vec, s->vec, sizeof(s->vec));
	set_activity(c, s);
	c->cpl = (c->seg[SEG_SS].attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
	c->insn = &cpu_no_insn;
	if ((c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !(c->efer & EFER_LMA))
		mmu_load_pdptes(c, c->cr3);
	mmu_flush(c, true);
	debug_update(c);
}

void cpu_power_on(struct cpu *c)
{
	struct x86_state s;

	__atomic_store_n(&c->request, 0, __ATOMIC_SEQ_CST);
	c->masked = 0;
	msr_init(c);
	memset(&c->mtrr_var[2], 0, sizeof(c->mtrr_var) - 2 * sizeof(c->mtrr_var[0]));
	c->spec_ctrl = c->debugctl = c->bios_sign_id = c->mcg_status = 0;
	memset(c->mc_ctl, 0, sizeof(c->mc_ctl));
	c->no_step = false;
	c->tsc_offset = c->tsc_adjust = 0;
	cpu_tsc_moved(c);
	x86_state_reset(&s, c->id == 0);
	cpu_set_state(c, &s);
}

/* INIT leaves FPU, vector registers, caches, MSRs but EFER alone (SDM vol. 3, table 10-1). */
void cpu_init_state(struct cpu *c)
{
	struct x86_state s, old;

	cpu_get_state(c, &old);
	x86_state_reset(&s, true);
	s.gpr[RDX] = cpuid_signature(&c->cpuid);
	memcpy(s.vec, old.vec, sizeof(s.vec));
	s.fpu = old.fpu;
	s.mxcsr = old.mxcsr;
	s.cr0 = (old.cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	s.xcr0 = old.xcr0;
	s.apic_base = old.apic_base;
	s.pat = old.pat;
	s.star = old.star;
	s.lstar = old.lstar;
	s.cstar = old.cstar;
	s.sfmask = old.sfmask;
	s.kernel_gs_base = old.kernel_gs_base;
	s.sysenter_cs = old.sysenter_cs;
	s.sysenter_esp = old.sysenter_esp;
	s.sysenter_eip = old.sysenter_eip;
	s.tsc_aux = old.tsc_aux;
	s.misc_enable = old.misc_enable;
	s.wait_sipi = c->id != 0;
	cpu_set_state(c, &s);
	if (c->intc.ops)
		c->intc.ops->init(c->intc.opaque);
}
