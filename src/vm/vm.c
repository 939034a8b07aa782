/*
 * The life of one machine: build in order, run CPUs on threads and the event loop on this one, take
 * the first reason to stop, tear down in reverse.
 *
 * Reasons to stop come from any thread (a vCPU that wrote the reset register, the loop that got a
 * signal); vm_stop keeps the first and wakes the loop, which is the only place that joins threads. So
 * every exit path is the same path: CPUs stop, then devices and consoles drain, then memory goes.
 */
#include "vm/vm.h"

#include "base/log.h"
#include "vm/choose.h"
#include "vm/explain.h"
#include "vm/identity.h"
#include "vm/machine.h"
#include "vm/signals.h"
#include "vm/vm_int.h"
#include "x86/state.h"
#include "x86/x86.h"
#include <errno.h>
#include <stdlib.h>

static void stop_loop(void *opaque)
{
	struct vm *vm = opaque;

	loop_stop(vm->loop);
}

void vm_stop(struct vm *vm, int status)
{
	int none = VM_RUNNING;

	if (__atomic_compare_exchange_n(
	            &vm->status, &none, status, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		if (loop_post(vm->loop, stop_loop, vm) < 0)
			loop_stop(vm->loop);
	}
}

/* --- CPUs --- */

/*
 * Nobody can wake the machine any more when every CPU that was started executed HLT with interrupts
 * off. CPUs that wait for their start-up IPI were never started.
 */
static void cpu_idle_changed(void *opaque, unsigned id, enum cpu_idle state)
{
	struct vm *vm = opaque;
	unsigned dead = 0, waiting = 0;

	pthread_mutex_lock(&vm->idle_lock);
	vm->idle[id] = state;
	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		dead += vm->idle[n] == CPU_HALTED_DEAD;
		waiting += vm->idle[n] == CPU_WAIT_SIPI;
	}
	pthread_mutex_unlock(&vm->idle_lock);
	if (dead && dead + waiting == vm->config->ncpus)
		vm_stop(vm, EXIT_HALT);
}

static void *cpu_thread(void *opaque)
{
	struct vm_cpu *cpu = opaque;
	struct vm *vm = cpu->vm;

	while (!__atomic_load_n(&vm->joining, __ATOMIC_SEQ_CST)) {
		switch (vm->accel->run(cpu->vcpu)) {
		case RUN_KICKED: break;
		case RUN_TRIPLE_FAULT: vm_stop(vm, EXIT_TRIPLE); return NULL;
		case RUN_ERROR: vm_stop(vm, EXIT_FAILED); return NULL;
		}
	}
	return NULL;
}

static int create_cpus(struct vm *vm, struct err *e)
{
	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		struct vm_cpu *cpu = &vm->cpu[n];
		struct intc intc;
		bool have = machine_intc(vm->machine, n, &intc);
		int rc;

		cpu->vm = vm;
		rc = vm->accel->vcpu_create(vm->accel_vm, n, have ? &intc : NULL, &cpu->vcpu, e);
		if (rc < 0)
			return rc;
		machine_set_cpu(vm->machine, n, cpu->vcpu);
	}
	return 0;
}

/* The first CPU starts in the kernel, the others wait for their start-up IPI. */
static int set_states(struct vm *vm, const struct x86_state *bsp, struct err *e)
{
	struct x86_state s = *bsp;

	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		int rc;

		if (n)
			x86_state_reset(&s, false);
		if (starts_in_x2apic(vm->config))
			s.apic_base |= APIC_BASE_X2APIC;
		rc = vm->accel->set_state(vm->cpu[n].vcpu, &s);
		if (rc < 0)
			return err_errno(e, rc, "%s: cannot set the state of CPU %u", vm->accel->name, n);
	}
	return 0;
}

static int start_cpus(struct vm *vm, struct err *e)
{
	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		int rc = pthread_create(&vm->cpu[n].thread, NULL, cpu_thread, &vm->cpu[n]);

		if (rc)
			return err_errno(e, -rc, "cannot start the thread of CPU %u", n);
		vm->cpu[n].started = true;
	}
	return 0;
}

static void stop_cpus(struct vm *vm)
{
	__atomic_store_n(&vm->joining, true, __ATOMIC_SEQ_CST);
	for (unsigned n = 0; n < vm->config->ncpus; n++)
		if (vm->cpu[n].started)
			vm->accel->kick(vm->cpu[n].vcpu);
	for (unsigned n = 0; n < vm->config->ncpus; n++)
		if (vm->cpu[n].started)
			pthread_join(vm->cpu[n].thread, NULL);
}

/* --- set-up --- */

static int create_accel(struct vm *vm, struct err *e)
{
	const struct vm_config *c = vm->config;
	struct accel_config ac = {
	        .ncpus = c->ncpus,
	        .x2apic = starts_in_x2apic(c),
	        .lax_msr = c->lax_msr,
	        .exit_on_hlt = c->exit_on_hlt,
	        .exit_on_pause = c->exit_on_pause,
	        .pin = c->pin,
	        .stats = c->stats,
	        .perf_map = c->perf_map,
	        .code_cache = c->code_cache,
	};
	int rc;

	vm->host = (struct accel_host){
	        .ports = &vm->ports,
	        .memory = &vm->memory,
	        .mem = &vm->mem,
	        .clock = &vm->clock,
	        .idle = cpu_idle_changed,
	        .opaque = vm,
	};
	rc = vm->accel->vm_create(&ac, &vm->host, &vm->accel_vm, e);
	if (rc < 0)
		return rc;
	rc = vm->accel->mem_map(vm->accel_vm, 0, vm->mem.base, vm->mem.low, false);
	if (rc == 0 && vm->mem.high)
		rc = vm->accel->mem_map(
		        vm->accel_vm, MEM_HIGH_BASE, vm->mem.base + MEM_HIGH_BASE, vm->mem.high, false);
	return rc < 0 ? err_errno(e, rc, "%s: cannot map guest memory", vm->accel->name) : 0;
}

static int load_guest(struct vm *vm, struct err *e)
{
	const struct vm_config *c = vm->config;
	const struct boot_linux_args args = {
	        .kernel = c->kernel,
	        .initrd = c->initrd,
	        .cmdline = c->cmdline,
	};

	return boot_linux_load(&args, &vm->mem, &vm->image, e);
}

static int create_spaces(struct vm *vm, struct err *e)
{
	int rc = space_init(&vm->ports, 0xffff);

	if (rc == 0)
		rc = space_init(&vm->memory, ~0ull);
	return rc < 0 ? err_errno(e, rc, "address spaces") : 0;
}

/* Files first: a bad kernel must be refused before a log file, a pty or a socket exists. */
static int build(struct vm *vm, struct err *e)
{
	struct x86_state bsp;
	int rc;

	clock_tsc_init(&vm->clock);
	rc = loop_create(&vm->loop, &vm->clock.clock);
	if (rc < 0)
		return err_errno(e, rc, "cannot make the event loop");
	rc = accel_choose(vm->config->accel, &vm->accel, e);
	if (rc == 0)
		rc = mem_create(
		        &vm->mem, vm->config->mem, vm->config->core_has_ram, !vm->accel->owns_irqchips, e);
	if (rc == 0)
		rc = load_guest(vm, e);
	if (rc == 0)
		rc = create_spaces(vm, e);
	if (rc == 0 && !vm->config->explain)
		rc = create_accel(vm, e);
	if (rc == 0)
		rc = machine_create(vm, &vm->machine, e);
	if (rc == 0 && !vm->config->explain)
		rc = create_cpus(vm, e);
	if (rc == 0)
		rc = machine_boot(vm->machine, &bsp, e);
	if (rc < 0 || vm->config->explain)
		return rc;
	/* It is in the guest's memory now. */
	boot_linux_free(&vm->image);
	memset(&vm->image, 0, sizeof(vm->image));
	return set_states(vm, &bsp, e);
}

static int run(struct vm *vm, struct err *e)
{
	int rc = signals_watch(vm, e);

	if (rc == 0)
		rc = start_cpus(vm, e);
	if (rc == 0)
		rc = loop_run(vm->loop) < 0 ? err_set(e, -EIO, "the event loop failed") : 0;
	stop_cpus(vm);
	signals_unwatch(vm);
	if (rc == 0 && vm->config->stats && vm->accel->stats)
		vm->accel->stats(vm->accel_vm);
	return rc;
}

static void teardown(struct vm *vm)
{
	if (vm->machine)
		machine_stop(vm->machine);
	for (unsigned n = 0; n < vm->config->ncpus; n++)
		if (vm->cpu[n].vcpu)
			vm->accel->vcpu_destroy(vm->cpu[n].vcpu);
	if (vm->machine)
		machine_destroy(vm->machine);
	if (vm->accel_vm)
		vm->accel->vm_destroy(vm->accel_vm);
	boot_linux_free(&vm->image);
	space_fini(&vm->memory);
	space_fini(&vm->ports);
	mem_destroy(&vm->mem);
	if (vm->loop)
		loop_destroy(vm->loop);
	pthread_mutex_destroy(&vm->idle_lock);
}

int vm_main(const struct vm_config *config, struct err *e)
{
	int rc = config->print_mac ? vm_print_mac(config, e) : 0, status;
	struct vm *vm;

	if (rc)
		return rc > 0 ? 0 : e->status ? e->status : EXIT_FAILED;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return err_errno(e, -ENOMEM, "xhyve"), EXIT_FAILED;
	vm->config = config;
	vm->status = VM_RUNNING;
	pthread_mutex_init(&vm->idle_lock, NULL);
	if (config->explain)
		vm->status = 0;
	else
		signals_block();
	rc = build(vm, e);
	if (rc == 0)
		rc = config->explain ? vm_explain(vm, stdout, e) : run(vm, e);
	teardown(vm);
	status = vm->status;
	free(vm);
	if (rc < 0)
		return e->status ? e->status : EXIT_FAILED;
	e->code = 0;
	return status;
}
