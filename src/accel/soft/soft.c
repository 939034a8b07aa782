/*
 * The accelerator tables of the software CPU: the reference engine, and the translator above it.
 */
#include "accel/soft/soft.h"
#include "accel/soft/engine.h"
#include "accel/soft/idle.h"
#include "accel/soft/jit/jit.h"
#include "accel/soft/mmu.h"
#include "base/log.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static struct cpu *to_cpu(struct vcpu *v)
{
	return (struct cpu *)v;
}

static int soft_vm_create(
        const struct accel_config *cfg, const struct accel_host *h, struct accel_vm **out, struct err *e)
{
	struct soft_vm *vm;

	if (cfg->ncpus < 1 || cfg->ncpus > MAX_VCPUS)
		return err_set(e, -EINVAL, "the software CPU takes 1 to %d CPUs", MAX_VCPUS);
	if (!h->mem || !h->mem->track)
		return err_set(e, -EINVAL, "the software CPU needs guest memory with code tracking");
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return err_errno(e, -ENOMEM, "cannot create the machine");
	vm->cfg = *cfg;
	for (unsigned n = 0; n < MAX_VCPUS; n++)
		vm->pin[n] = cfg->pin && n < cfg->ncpus ? cfg->pin[n] : -1;
	vm->cfg.pin = vm->pin;
	vm->host = *h;
	pthread_mutex_init(&vm->bus_lock, NULL);
	*out = (struct accel_vm *)vm;
	return 0;
}

static void soft_vm_destroy(struct accel_vm *v)
{
	struct soft_vm *vm = (struct soft_vm *)v;

	jit_destroy(vm->jit);
	pthread_mutex_destroy(&vm->bus_lock);
	free(vm);
}

/* Under the translator, interp keeps little: what is executed often is not its own. */
#define INTERP_POOL (6 * MiB)

static int jit_vm_create(
        const struct accel_config *cfg, const struct accel_host *h, struct accel_vm **out, struct err *e)
{
	int rc = soft_vm_create(cfg, h, out, e);

	if (rc < 0)
		return rc;
	struct soft_vm *vm = (struct soft_vm *)*out;
	rc = jit_create(&vm->jit, h->mem, cfg, e);
	vm->cfg.code_cache = INTERP_POOL;
	if (rc < 0)
		soft_vm_destroy(*out);
	return rc;
}

/* RAM is where struct mem says; there is nothing to map but what must agree with it. */
static int soft_mem_map(struct accel_vm *v, u64 gpa, void *hva, u64 len, bool readonly)
{
	const struct soft_vm *vm = (const struct soft_vm *)v;

	if (len == 0)
		return 0;
	return !readonly && mem_ptr(vm->host.mem, gpa, len) == hva ? 0 : -EINVAL;
}

static int soft_vcpu_create(
        struct accel_vm *v, unsigned id, const struct intc *intc, struct vcpu **out, struct err *e)
{
	struct soft_vm *vm = (struct soft_vm *)v;
	struct cpu *c;
	u64 base;

	if (id >= vm->cfg.ncpus)
		return err_set(e, -EINVAL, "CPU %u does not exist", id);
	c = cpu_create(&vm->cfg, &vm->host, id);
	if (!c)
		return err_errno(e, -ENOMEM, "cannot create CPU %u", id);
	if (vm->jit) {
		cpuid_set_engine(&c->cpuid, "jit");
		if (jit_attach(vm->jit, c) < 0) {
			cpu_destroy(c);
			return err_errno(e, -ENOMEM, "cannot create CPU %u", id);
		}
	}
	c->vm = vm;
	c->bus_lock = &vm->bus_lock;
	vm->cpus[id] = c;
	if (intc && intc->ops) {
		c->intc = *intc;
		if (intc->ops->msr_read(intc->opaque, MSR_APIC_BASE, &base) == 0)
			c->apic_base = base;
		if (vm->cfg.x2apic && !(base & APIC_BASE_X2APIC)) {
			intc->ops->msr_write(
			        intc->opaque, MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
			intc->ops->msr_read(intc->opaque, MSR_APIC_BASE, &c->apic_base);
		}
	}
	*out = (struct vcpu *)c;
	return 0;
}

static void soft_vcpu_destroy(struct vcpu *v)
{
	struct cpu *c = to_cpu(v);

	c->vm->cpus[c->id] = NULL;
	if (c->vm->jit)
		jit_detach(c->vm->jit, c);
	cpu_destroy(c);
}

static int soft_get_state(struct vcpu *v, struct x86_state *s)
{
	cpu_get_state(to_cpu(v), s);
	return 0;
}

static int soft_set_state(struct vcpu *v, const struct x86_state *s)
{
	if (s)
		cpu_set_state(to_cpu(v), s);
	else
		cpu_power_on(to_cpu(v));
	return 0;
}

static void pin_thread(const struct cpu *c)
{
	int host = c->cfg->pin ? c->cfg->pin[c->id] : -1;
	cpu_set_t set;

	if (host < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)host, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		log_warn("-p: CPU %u cannot be pinned to host CPU %d", c->id, host);
}

static enum run_exit soft_run(struct vcpu *v)
{
	struct cpu *c = to_cpu(v);

	if (!c->pinned) {
		c->pinned = true;
		pin_thread(c);
	}
	cpu_tsc_base(c);
	return c->vm->jit ? jit_run(c) : interp_run(c);
}

static void soft_kick(struct vcpu *v)
{
	cpu_kick(to_cpu(v));
}

static void soft_signal(struct vcpu *v, enum cpu_signal sig, u8 arg)
{
	cpu_signal(to_cpu(v), sig, arg);
}

static void jit_stats(const struct jit *j, struct stats_sink *out)
{
	static const char *const names[JIT_NSTAT] = {
	        "instructions translated",
	        "blocks",
	        "bytes of code",
	        "blocks rewritten by the guest",
	        "flushes",
	        "bytes of cache in use",
	};

	for (unsigned s = 0; s < JIT_NSTAT; s++)
		stats_put(out, "translator", names[s], jit_stat(j, s));
}

static void soft_stats(struct accel_vm *v, struct stats_sink *out)
{
	static const char *const names[STAT_N] = {
	        "instructions",
	        "blocks",
	        "decoded",
	        "TLB misses",
	        "code writes",
	        "interrupts",
	        "faults",
	        "halts",
	        "links",
	        "lookups",
	        "callouts",
	        "accesses",
	};
	const struct soft_vm *vm = (const struct soft_vm *)v;

	for (unsigned n = 0; n < vm->cfg.ncpus; n++) {
		char group[16];

		if (!vm->cpus[n])
			continue;
		snprintf(group, sizeof(group), "CPU %u", n);
		for (unsigned s = 0; s < STAT_N; s++)
			stats_put(out, group, names[s],
			        __atomic_load_n(&vm->cpus[n]->stat[s], __ATOMIC_RELAXED));
	}
	if (vm->jit)
		jit_stats(vm->jit, out);
}

/* --- probe --- */

/* 3 + 5 * 7 in real mode. */
static const u8 snippet[] = {
        0xb8, 0x03, 0x00, /* mov ax, 3 */
        0xb9, 0x07, 0x00, /* mov cx, 7 */
        0x83, 0xc0, 0x05, /* l: add ax, 5 */
        0xe2, 0xfb,       /* loop l */
};

static bool run_snippet(struct cpu *c)
{
	struct x86_state s;
	struct step_result r = {0};

	x86_state_reset(&s, true);
	s.seg[SEG_CS].sel = 0;
	s.seg[SEG_CS].base = 0;
	s.rip = 0x1000;
	cpu_set_state(c, &s);
	for (unsigned n = 0; n < 2 + 2 * 7 && !r.faulted; n++)
		interp_step(c, &r);
	cpu_get_state(c, &s);
	return !r.faulted && s.gpr[RAX] == 38 && s.rip == 0x1000 + sizeof(snippet);
}

static int soft_probe(struct err *e)
{
	struct mem mem;
	struct accel_config cfg = {.ncpus = 1, .code_cache = MiB};
	struct accel_host host = {.mem = &mem};
	struct cpu *c;
	bool ok = false;
	int rc = mem_create(&mem, MiB, false, true, e);

	if (rc < 0)
		return rc;
	c = cpu_create(&cfg, &host, 0);
	if (c && mem_write(&mem, 0x1000, snippet, sizeof(snippet)) == 0)
		ok = run_snippet(c);
	cpu_destroy(c);
	mem_destroy(&mem);
	return ok ? 0 : err_set(e, -ENODEV, "the software CPU fails its self-test");
}

/* The same in 64-bit mode with a paged stack, an address space of 2 MiB. */
static const u8 snippet64[] = {
        0x50,                         /* push rax */
        0xb8, 0x03, 0x00, 0x00, 0x00, /* mov eax, 3 */
        0xb9, 0x07, 0x00, 0x00, 0x00, /* mov ecx, 7 */
        0x83, 0xc0, 0x05,             /* l: add eax, 5 */
        0xff, 0xc9,                   /* dec ecx */
        0x75, 0xf9,                   /* jne l */
        0x01, 0x04, 0x24,             /* add [rsp], eax */
        0x59,                         /* pop rcx */
};

static bool run_snippet64(struct cpu *c)
{
	static const u64 tables[][2] = {{0x2000, 0x3007}, {0x3000, 0x4007}, {0x4000, 0x87}};
	const u64 start = 0x1000, end = start + sizeof(snippet64);
	struct x86_state s;
	struct step_result r;

	for (unsigned n = 0; n < ARRAY_SIZE(tables); n++)
		mem_write(c->mem, tables[n][0], &tables[n][1], 8);
	x86_state_reset(&s, true);
	s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	s.cr3 = 0x2000;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	s.seg[SEG_CS] = (struct x86_seg){.sel = 8, .attr = 0x9b | SEG_ATTR_L | SEG_ATTR_G, .limit = ~0u};
	s.seg[SEG_SS] = (struct x86_seg){.sel = 16, .attr = 0x93 | SEG_ATTR_DB | SEG_ATTR_G, .limit = ~0u};
	s.rip = start;
	s.gpr[RAX] = 4;
	s.gpr[RSP] = 0x8000;
	cpu_set_state(c, &s);
	jit_run_range(c, start, end, &r);
	cpu_get_state(c, &s);
	return !r.faulted && s.gpr[RCX] == 42 && s.gpr[RSP] == 0x8000 && s.rip == end;
}

static int jit_probe(struct err *e)
{
	struct mem mem;
	struct accel_config cfg = {.ncpus = 1, .code_cache = 2 * MiB};
	struct accel_host host = {.mem = &mem};
	struct jit *j = NULL;
	struct cpu *c;
	bool ok = false;
	int rc = mem_create(&mem, MiB, false, true, e);

	if (rc < 0)
		return rc;
	c = cpu_create(&cfg, &host, 0);
	rc = jit_create(&j, &mem, &cfg, e);
	if (c && rc == 0 && jit_attach(j, c) == 0) {
		ok = mem_write(&mem, 0x1000, snippet64, sizeof(snippet64)) == 0 && run_snippet64(c);
		jit_detach(j, c);
	}
	cpu_destroy(c);
	jit_destroy(j);
	mem_destroy(&mem);
	if (rc < 0)
		return rc;
	return ok ? 0 : err_set(e, -ENODEV, "the translator fails its self-test");
}

#define SOFT_OPS                                                                                             \
	.vm_destroy = soft_vm_destroy, .mem_map = soft_mem_map, .vcpu_create = soft_vcpu_create,             \
	.vcpu_destroy = soft_vcpu_destroy, .get_state = soft_get_state, .set_state = soft_set_state,         \
	.run = soft_run, .kick = soft_kick, .signal = soft_signal, .stats = soft_stats

const struct accel_ops accel_interp = {
        .name = "interp",
        .probe = soft_probe,
        .vm_create = soft_vm_create,
        SOFT_OPS,
};

const struct accel_ops accel_jit = {
        .name = "jit",
        .probe = jit_probe,
        .vm_create = jit_vm_create,
        SOFT_OPS,
};
