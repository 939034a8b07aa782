/*
 * Threads of CPUs: each runs its CPU until the machine ends it, or parks while the machine is paused.
 *
 * A pause kicks every CPU and waits until each has parked or ended. It may wait where cpus_stop waits, in the
 * loop's thread: a CPU inside a device may wait for workers, never for the loop. Then the clock stops. Device
 * threads go on meanwhile: requests that are under way complete, and their interrupts wait in the
 * interrupt controller.
 */
#include "vm/cpus.h"

#include "base/confine.h"
#include "base/log.h"
#include "vm/machine.h"
#include "vm/vm_int.h"
#include "x86/x86.h"
#include <errno.h>

/*
 * Nobody can wake the machine any more when every CPU that was started executed HLT with interrupts
 * off. CPUs that wait for their start-up IPI were never started.
 */
void vm_cpu_idle(void *opaque, unsigned id, enum cpu_idle state)
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

/* --- threads --- */

static void park(struct vm *vm)
{
	pthread_mutex_lock(&vm->park_lock);
	vm->parked++;
	pthread_cond_broadcast(&vm->park_cond);
	while (vm->paused && !__atomic_load_n(&vm->joining, __ATOMIC_SEQ_CST))
		pthread_cond_wait(&vm->park_cond, &vm->park_lock);
	vm->parked--;
	pthread_mutex_unlock(&vm->park_lock);
}

static void run_cpu(struct vm_cpu *cpu)
{
	struct vm *vm = cpu->vm;

	while (!__atomic_load_n(&vm->joining, __ATOMIC_SEQ_CST)) {
		switch (vm->accel->run(cpu->vcpu)) {
		case RUN_KICKED: park(vm); break;
		case RUN_TRIPLE_FAULT: vm_reset(vm, EXIT_TRIPLE); return;
		case RUN_ERROR: vm_stop(vm, EXIT_FAILED); return;
		}
	}
}

/* A thread that has ended counts as parked for ever. */
static void *cpu_thread(void *opaque)
{
	struct vm_cpu *cpu = opaque;
	struct vm *vm = cpu->vm;

	confine_thread(vm->accel->owns_irqchips ? CONFINE_KVM_CPU : CONFINE_CPU);
	run_cpu(cpu);
	pthread_mutex_lock(&vm->park_lock);
	vm->parked++;
	pthread_cond_broadcast(&vm->park_cond);
	pthread_mutex_unlock(&vm->park_lock);
	return NULL;
}

int cpus_start(struct vm *vm, struct err *e)
{
	vm->parked = 0;
	vm->joining = false;
	memset(vm->idle, 0, sizeof(vm->idle));
	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		int rc = pthread_create(&vm->cpu[n].thread, NULL, cpu_thread, &vm->cpu[n]);

		if (rc)
			return err_errno(e, -rc, "cannot start the thread of CPU %u", n);
		vm->cpu[n].started = true;
	}
	return 0;
}

static void kick_all(struct vm *vm)
{
	for (unsigned n = 0; n < vm->config->ncpus; n++)
		if (vm->cpu[n].started)
			vm->accel->kick(vm->cpu[n].vcpu);
}

void cpus_stop(struct vm *vm)
{
	pthread_mutex_lock(&vm->park_lock);
	__atomic_store_n(&vm->joining, true, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&vm->park_cond);
	pthread_mutex_unlock(&vm->park_lock);
	kick_all(vm);
	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		if (vm->cpu[n].started)
			pthread_join(vm->cpu[n].thread, NULL);
		vm->cpu[n].started = false;
	}
}

/* --- pause --- */

void cpus_pause(struct vm *vm)
{
	if (vm->paused)
		return;
	pthread_mutex_lock(&vm->park_lock);
	vm->paused = true;
	pthread_mutex_unlock(&vm->park_lock);
	kick_all(vm);
	pthread_mutex_lock(&vm->park_lock);
	while (vm->parked < vm->config->ncpus)
		pthread_cond_wait(&vm->park_cond, &vm->park_lock);
	pthread_mutex_unlock(&vm->park_lock);
	clock_tsc_stop(&vm->clock);
}

/* A TSC that cannot stand still takes the other clocks along: guests compare them. */
static void start_clock(struct vm *vm)
{
	u64 ticks = clock_tsc_start(&vm->clock);
	int rc = vm->accel->time_skipped ? vm->accel->time_skipped(vm->accel_vm, ticks) : 0;

	if (rc < 0) {
		clock_tsc_catch_up(&vm->clock, ticks);
		log_warn("the guest sees how long it was paused: this host cannot move its TSC");
		return;
	}
	machine_time_skipped(vm->machine, mul_div(ticks, NS_PER_SEC, vm->clock.tsc_hz));
}

void cpus_resume(struct vm *vm)
{
	if (!vm->paused)
		return;
	start_clock(vm);
	pthread_mutex_lock(&vm->park_lock);
	vm->paused = false;
	pthread_cond_broadcast(&vm->park_cond);
	pthread_mutex_unlock(&vm->park_lock);
}

/* --- CPUs --- */

int cpus_init(struct vm *vm)
{
	pthread_mutex_init(&vm->idle_lock, NULL);
	pthread_mutex_init(&vm->park_lock, NULL);
	return -pthread_cond_init(&vm->park_cond, NULL);
}

void cpus_fini(struct vm *vm)
{
	pthread_cond_destroy(&vm->park_cond);
	pthread_mutex_destroy(&vm->park_lock);
	pthread_mutex_destroy(&vm->idle_lock);
}

int cpus_create(struct vm *vm, struct err *e)
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

void cpus_destroy(struct vm *vm)
{
	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		if (vm->cpu[n].vcpu)
			vm->accel->vcpu_destroy(vm->cpu[n].vcpu);
		vm->cpu[n].vcpu = NULL;
	}
}

int cpus_power_on(struct vm *vm, struct err *e)
{
	for (unsigned n = 0; n < vm->config->ncpus; n++) {
		int rc = vm->accel->set_state(vm->cpu[n].vcpu, NULL);

		if (rc < 0)
			return err_errno(e, rc, "%s: cannot reset CPU %u", vm->accel->name, n);
	}
	return 0;
}

int cpus_set_states(struct vm *vm, const struct x86_state *bsp, struct err *e)
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
