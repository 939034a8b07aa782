/*
 * The life of one machine: build in order, run CPUs on threads and the event loop on this one, take
 * the first reason to stop, tear down in reverse.
 *
 * Reasons to stop come from any thread (a vCPU that wrote the reset register, the loop that got a
 * signal); vm_stop keeps the first and wakes the loop, which is the only place that joins threads. So
 * every exit path is the same path: CPUs stop, then devices and consoles drain, then memory goes.
 */
#include "vm/vm.h"

#include "base/confine.h"
#include "base/log.h"
#include "vm/choose.h"
#include "vm/control.h"
#include "vm/control_vm.h"
#include "vm/cpus.h"
#include "vm/explain.h"
#include "vm/identity.h"
#include "vm/machine.h"
#include "vm/signals.h"
#include "vm/vm_int.h"
#include "x86/state.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void stop_loop(void *opaque)
{
	struct vm *vm = opaque;

	loop_stop(vm->loop);
}

static void end_loop(struct vm *vm)
{
	if (loop_post(vm->loop, stop_loop, vm) < 0)
		loop_stop(vm->loop);
}

void vm_stop(struct vm *vm, int status)
{
	int none = VM_RUNNING;

	if (__atomic_compare_exchange_n(
	            &vm->status, &none, status, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		end_loop(vm);
}

/* A guest that resets itself all the time must not outrun it. */
void vm_quit(struct vm *vm)
{
	int old = VM_RUNNING;

	while (old == VM_RUNNING || (old & VM_RESET)) {
		if (__atomic_compare_exchange_n(
		            &vm->status, &old, EXIT_OTHER, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			end_loop(vm);
			return;
		}
	}
}

void vm_reset(struct vm *vm, int status)
{
	vm_stop(vm, vm->config->restart ? status | VM_RESET : status);
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
	        .check = c->jit_check ? JIT_CHECKS : 0,
	        .code_cache = c->code_cache,
	};
	int rc;

	vm->host = (struct accel_host){
	        .ports = &vm->ports,
	        .memory = &vm->memory,
	        .mem = &vm->mem,
	        .clock = &vm->clock,
	        .idle = vm_cpu_idle,
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

static int create_spaces(struct vm *vm, struct err *e)
{
	int rc = space_init(&vm->ports, 0xffff);

	if (rc == 0)
		rc = space_init(&vm->memory, ~0ull);
	return rc < 0 ? err_errno(e, rc, "address spaces") : 0;
}

static int boot(struct vm *vm, struct err *e)
{
	struct x86_state bsp;
	int rc = machine_boot(vm->machine, &bsp, e);

	if (rc < 0 || vm->config->explain)
		return rc;
	/* It is in the guest's memory now. */
	boot_linux_free(&vm->image);
	memset(&vm->image, 0, sizeof(vm->image));
	return cpus_set_states(vm, &bsp, e);
}

/* Files first: a bad kernel must be refused before a log file, a pty or a socket exists. */
static int build(struct vm *vm, struct err *e)
{
	struct err note = {0};
	int rc;

	clock_tsc_init(&vm->clock);
	rc = loop_create(&vm->loop, &vm->clock.clock);
	if (rc < 0)
		return err_errno(e, rc, "cannot make the event loop");
	rc = accel_choose(vm->config->accel, &vm->accel, &note, e);
	if (rc == 0)
		rc = mem_create(
		        &vm->mem, vm->config->mem, vm->config->core_has_ram, !vm->accel->owns_irqchips, e);
	if (rc == 0)
		rc = vm_load(vm, e);
	if (rc == 0 && !vm->config->explain)
		rc = control_vm_open(vm, e);
	if (rc == 0)
		rc = create_spaces(vm, e);
	if (rc == 0 && !vm->config->explain)
		rc = create_accel(vm, e);
	if (rc == 0)
		rc = machine_create(vm, &vm->machine, e);
	if (rc == 0 && !vm->config->explain)
		rc = cpus_create(vm, e);
	if (rc == 0)
		rc = boot(vm, e);
	if (rc == 0 && note.code)
		log_msg(LOG_WARN, "%s", note.text);
	return rc;
}

/* --- reset --- */

/* A back end with interrupt controllers of its own is made anew; the devices' lines are low. */
static int renew_accel(struct vm *vm, struct err *e)
{
	int rc;

	machine_hold_interrupts(vm->machine, true);
	cpus_destroy(vm);
	vm->accel->vm_destroy(vm->accel_vm);
	vm->accel_vm = NULL;
	rc = create_accel(vm, e);
	if (rc == 0)
		rc = cpus_create(vm, e);
	machine_hold_interrupts(vm->machine, false);
	return rc;
}

/*
 * What the reset line of a board does, and then what its firmware does: every chip and CPU as after power-on,
 * memory empty, kernel and initrd read again from their files. CPUs have stopped. Consoles, disks and
 * networks stay open.
 */
static int restart(struct vm *vm, struct err *e)
{
	int rc;

	machine_reset(vm->machine);
	rc = vm->accel->owns_irqchips ? renew_accel(vm, e) : cpus_power_on(vm, e);
	if (rc < 0)
		return rc;
	rc = mem_clear(&vm->mem);
	if (rc < 0)
		return err_errno(e, rc, "cannot clear the guest's memory");
	rc = vm_load(vm, e); /* the initrd goes straight to its place */
	if (rc < 0)
		return rc;
	vm->stop_requests = 0;
	vm->status = VM_RUNNING;
	return boot(vm, e);
}

/* --stats: a line for each group of counters. */
struct printer {
	struct stats_sink sink;
	char group[64];
};

static void print_counter(struct stats_sink *s, const char *group, const char *name, u64 value)
{
	struct printer *p = container_of(s, struct printer, sink);
	bool same = strcmp(p->group, group) == 0;

	if (!same)
		fprintf(stderr, "%s%s:", p->group[0] ? "\n" : "", group);
	fprintf(stderr, "%s %s %llu", same ? "," : "", name, (unsigned long long)value);
	snprintf(p->group, sizeof(p->group), "%s", group);
}

static void print_stats(struct vm *vm)
{
	struct printer p = {.sink.put = print_counter};

	vm_stats(vm, &p.sink);
	if (p.group[0])
		fputc('\n', stderr);
}

void vm_stats(struct vm *vm, struct stats_sink *out)
{
	vm->accel->stats(vm->accel_vm, out);
	machine_stats(vm->machine, out);
}

/* From power-on or reset to the end or the next reset. */
static int run_once(struct vm *vm, struct err *e)
{
	int rc = cpus_start(vm, e);

	if (rc == 0)
		rc = loop_run(vm->loop) < 0 ? err_set(e, -EIO, "the event loop failed") : 0;
	cpus_stop(vm);
	cpus_resume(vm); /* what winds up may need a clock that runs */
	return rc;
}

static int run(struct vm *vm, struct err *e)
{
	int rc = signals_watch(vm, e);

	if (rc == 0) {
		confine_thread(CONFINE_LOOP);
		rc = run_once(vm, e);
	}
	while (rc == 0 && vm->status != VM_RUNNING && (vm->status & VM_RESET)) {
		rc = restart(vm, e);
		if (rc == 0)
			rc = run_once(vm, e);
	}
	signals_unwatch(vm);
	control_close(vm->control);
	vm->control = NULL;
	if (rc == 0 && vm->config->stats)
		print_stats(vm);
	return rc;
}

static void teardown(struct vm *vm)
{
	control_close(vm->control);
	if (vm->machine)
		machine_stop(vm->machine);
	cpus_destroy(vm);
	if (vm->machine)
		machine_destroy(vm->machine);
	if (vm->accel_vm)
		vm->accel->vm_destroy(vm->accel_vm);
	boot_linux_free(&vm->image);
	boot_source_free(&vm->source);
	space_fini(&vm->memory);
	space_fini(&vm->ports);
	mem_destroy(&vm->mem);
	if (vm->loop)
		loop_destroy(vm->loop);
	cpus_fini(vm);
}

/* --sandbox: before any thread exists. */
static int confine(const struct vm_config *c, struct err *e)
{
	struct err why;
	int rc;

	if (c->explain || c->sandbox == CONFIG_SANDBOX_OFF)
		return 0;
	rc = confine_enable(&why);
	if (rc == 0 || c->sandbox == CONFIG_SANDBOX_AUTO)
		return 0;
	return err_set(e, rc, "--sandbox=on: %s", why.text);
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
	cpus_init(vm);
	if (config->explain)
		vm->status = 0;
	else
		signals_block();
	rc = confine(config, e);
	if (rc == 0)
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
