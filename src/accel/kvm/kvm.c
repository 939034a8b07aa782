/*
 * The KVM back end: interrupt controllers and PIT in the kernel, one KVM_RUN loop per vCPU.
 *
 * Kicks: KVM_RUN is left by a signal. Because a signal that arrives just before the ioctl would be
 * lost, every kick also sets immediate_exit in the shared run page; the loop clears it before it
 * looks at the flags that say why.
 *
 * With the interrupt controllers in the kernel a halted vCPU does not return, so a machine in which
 * every CPU executed HLT with interrupts off would sleep forever. A watch thread asks each vCPU twice
 * a second; that is all an idle guest costs.
 */
#include "accel/kvm/kvm.h"

#include "base/confine.h"
#include "base/log.h"
#include "x86/x86.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WATCH_MS 500
/* Three pages below the BIOS area that VMX without unrestricted guest needs (KVM api.rst, 4.35). */
#define TSS_ADDR 0xfffbd000ul
#define IDENTITY_MAP_ADDR 0xfffbc000ull
#define IOAPIC_PINS 24

static int kick_signal(void)
{
	return SIGRTMIN;
}

static void on_kick(int sig)
{
}

/* The signal only has to interrupt the ioctl; its handler is empty. Installing it twice is harmless. */
static void install_kick_handler(void)
{
	struct sigaction sa = {.sa_handler = on_kick};

	sigemptyset(&sa.sa_mask);
	sigaction(kick_signal(), &sa, NULL);
}

static int open_kvm(struct err *e)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		if (ioctl(fd, KVM_GET_API_VERSION, 0) == KVM_API_VERSION)
			return fd;
		close(fd);
		return err_set(e, -ENOTSUP, "/dev/kvm speaks another version of the KVM interface");
	}
	if (errno == ENOENT)
		return err_set(e, -ENOENT,
		        "/dev/kvm does not exist (no hardware virtualization here, or its module is not "
		        "loaded)");
	if (errno == EACCES || errno == EPERM)
		return err_set(e, -errno,
		        "no permission to open /dev/kvm; join its group with: sudo usermod -aG kvm $USER "
		        "(then log in again)");
	return err_errno(e, -errno, "cannot open /dev/kvm");
}

static int need(int fd, int cap, const char *what, struct err *e)
{
	if (ioctl(fd, KVM_CHECK_EXTENSION, cap) > 0)
		return 0;
	return err_set(e, -ENOTSUP, "this host's KVM lacks %s", what);
}

static int check_caps(int fd, struct err *e)
{
	static const struct {
		int cap;
		const char *what;
	} wanted[] = {
	        {KVM_CAP_USER_MEMORY, "user memory slots"},
	        {KVM_CAP_IRQCHIP, "in-kernel interrupt controllers"},
	        {KVM_CAP_PIT2, "the in-kernel timer"},
	        {KVM_CAP_SIGNAL_MSI, "MSI injection"},
	        {KVM_CAP_IMMEDIATE_EXIT, "immediate exits"},
	        {KVM_CAP_EXT_CPUID, "CPUID control"},
	        {KVM_CAP_MP_STATE, "multiprocessor states"},
	};

	for (size_t n = 0; n < ARRAY_SIZE(wanted); n++) {
		int rc = need(fd, wanted[n].cap, wanted[n].what, e);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/*
 * GSI n goes to IOAPIC pin n and, below 16, to the 8259 pair; but the timer (GSI 0) arrives at IOAPIC
 * pin 2, as the MADT and the MP table say, and the cascade (2) nowhere.
 */
static void add_route(struct kvm_irq_routing *r, u32 gsi, u32 chip, u32 pin)
{
	r->entries[r->nr++] = (struct kvm_irq_routing_entry){
	        .gsi = gsi,
	        .type = KVM_IRQ_ROUTING_IRQCHIP,
	        .u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

static int set_routing(struct accel_vm *vm)
{
	struct kvm_irq_routing *r = calloc(1, sizeof(*r) + (16 + IOAPIC_PINS) * sizeof(r->entries[0]));
	int rc;

	if (!r)
		return -ENOMEM;
	for (u32 gsi = 0; gsi < 16; gsi++)
		if (gsi != 2)
			add_route(r, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
	for (u32 gsi = 0; gsi < IOAPIC_PINS; gsi++)
		if (gsi != 2)
			add_route(r, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi);
	rc = ioctl(vm->fd, KVM_SET_GSI_ROUTING, r) < 0 ? -errno : 0;
	free(r);
	return rc;
}

static int create_chips(struct accel_vm *vm, struct err *e)
{
	u64 identity = IDENTITY_MAP_ADDR;
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int rc;

	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	        ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDR) < 0)
		return err_errno(e, -errno, "KVM refused its private pages");
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_errno(e, -errno, "KVM cannot make interrupt controllers");
	if (ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0)
		return err_errno(e, -errno, "KVM cannot make a timer");
	rc = set_routing(vm);
	return rc < 0 ? err_errno(e, rc, "KVM refused the interrupt routing") : 0;
}

/* -w: MSRs that KVM does not know come to us instead of raising #GP. */
static int route_unknown_msrs(struct accel_vm *vm, struct err *e)
{
	struct kvm_enable_cap cap = {
	        .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = {KVM_MSR_EXIT_REASON_UNKNOWN}};

	if (!vm->config.lax_msr)
		return 0;
	if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0)
		return err_errno(e, -errno, "-w: this host's KVM cannot hand over unknown MSRs");
	return 0;
}

static void kvm_vm_destroy(struct accel_vm *vm)
{
	if (vm->watching) {
		pthread_mutex_lock(&vm->lock);
		vm->stopping = true;
		pthread_cond_signal(&vm->cond);
		pthread_mutex_unlock(&vm->lock);
		pthread_join(vm->watch, NULL);
	}
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm >= 0)
		close(vm->kvm);
	pthread_cond_destroy(&vm->cond);
	pthread_mutex_destroy(&vm->lock);
	free(vm->cpuid);
	free(vm);
}

static int setup_vm(struct accel_vm *vm, struct err *e)
{
	int rc;

	vm->kvm = open_kvm(e);
	if (vm->kvm < 0)
		return vm->kvm;
	rc = check_caps(vm->kvm, e);
	if (rc < 0)
		return rc;
	vm->run_size = (u32)ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return err_errno(e, -errno, "KVM cannot make a machine");
	rc = create_chips(vm, e);
	if (rc == 0)
		rc = route_unknown_msrs(vm, e);
	return rc < 0 ? rc : kvm_cpuid_load(vm, e);
}

static int kvm_vm_create(
        const struct accel_config *c, const struct accel_host *h, struct accel_vm **out, struct err *e)
{
	struct accel_vm *vm = calloc(1, sizeof(*vm));
	pthread_condattr_t attr;
	int rc;

	if (!vm)
		return err_errno(e, -ENOMEM, "KVM");
	vm->config = *c;
	vm->host = h;
	vm->kvm = vm->fd = -1;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->cond, &attr);
	pthread_condattr_destroy(&attr);
	install_kick_handler();
	rc = setup_vm(vm, e);
	if (rc < 0) {
		kvm_vm_destroy(vm);
		return rc;
	}
	*out = vm;
	return 0;
}

static int kvm_mem_map(struct accel_vm *vm, u64 gpa, void *hva, u64 len, bool readonly)
{
	struct kvm_userspace_memory_region r = {
	        .slot = vm->nslots,
	        .flags = readonly ? KVM_MEM_READONLY : 0,
	        .guest_phys_addr = gpa,
	        .memory_size = len,
	        .userspace_addr = (u64)(uintptr_t)hva,
	};

	if (len == 0)
		return -EINVAL; /* memory is mapped once, for the machine's life */
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return -errno;
	vm->nslots++;
	return 0;
}

static void kvm_vcpu_destroy(struct vcpu *v)
{
	if (v->run)
		munmap(v->run, v->vm->run_size);
	if (v->fd >= 0)
		close(v->fd);
	pthread_mutex_lock(&v->vm->lock);
	v->vm->vcpus[v->id] = NULL;
	pthread_mutex_unlock(&v->vm->lock);
	free(v);
}

/* Makes KVM_RUN return now, or at once when it is next called. Async-signal-safe. */
static void interrupt_run(struct vcpu *v)
{
	s32 tid;

	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	tid = __atomic_load_n(&v->tid, __ATOMIC_SEQ_CST);
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, kick_signal());
}

/* --- the watch thread --- */

static void poke_all(struct accel_vm *vm)
{
	for (unsigned n = 0; n < MAX_VCPUS; n++) {
		if (!vm->vcpus[n])
			continue;
		__atomic_store_n(&vm->vcpus[n]->poked, true, __ATOMIC_SEQ_CST);
		interrupt_run(vm->vcpus[n]);
	}
}

static void *watch_thread(void *opaque)
{
	struct accel_vm *vm = opaque;

	confine_thread(CONFINE_KVM_CPU);
	pthread_mutex_lock(&vm->lock);
	while (!vm->stopping) {
		struct timespec t;

		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_nsec += WATCH_MS * 1000000l;
		t.tv_sec += t.tv_nsec / 1000000000l;
		t.tv_nsec %= 1000000000l;
		if (pthread_cond_timedwait(&vm->cond, &vm->lock, &t) == ETIMEDOUT)
			poke_all(vm);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

static void start_watch(struct accel_vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (!vm->watching && vm->host->idle)
		vm->watching = pthread_create(&vm->watch, NULL, watch_thread, vm) == 0;
	pthread_mutex_unlock(&vm->lock);
}

/* --- vCPUs --- */

static int setup_vcpu(struct vcpu *v, struct err *e)
{
	int rc;

	v->fd = ioctl(v->vm->fd, KVM_CREATE_VCPU, (unsigned long)v->id);
	if (v->fd < 0)
		return err_errno(e, -errno, "KVM cannot make CPU %u", v->id);
	v->run = mmap(NULL, v->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return err_errno(e, -errno, "KVM: CPU %u", v->id);
	}
	rc = kvm_cpuid_apply(v);
	return rc < 0 ? err_errno(e, rc, "KVM refused the CPUID of CPU %u", v->id) : 0;
}

static int kvm_vcpu_create(
        struct accel_vm *vm, unsigned id, const struct intc *intc, struct vcpu **out, struct err *e)
{
	struct vcpu *v;
	int rc;

	if (id >= MAX_VCPUS || vm->vcpus[id])
		return err_set(e, -EINVAL, "KVM: CPU %u exists", id);
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_errno(e, -ENOMEM, "KVM");
	v->vm = vm;
	v->id = id;
	v->fd = -1;
	rc = setup_vcpu(v, e);
	if (rc < 0) {
		kvm_vcpu_destroy(v);
		return rc;
	}
	pthread_mutex_lock(&vm->lock);
	vm->vcpus[id] = v;
	pthread_mutex_unlock(&vm->lock);
	start_watch(vm); /* not by a CPU's thread, which may not start any */
	*out = v;
	return 0;
}

static void kvm_kick(struct vcpu *v)
{
	__atomic_store_n(&v->kicked, true, __ATOMIC_SEQ_CST);
	interrupt_run(v);
}

/* On the vCPU's thread, outside KVM_RUN. */
static void report_idle(struct vcpu *v)
{
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	enum cpu_idle idle = CPU_RUNNING;

	if (!v->vm->host->idle || ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0 ||
	        ioctl(v->fd, KVM_GET_REGS, &regs) < 0)
		return;
	if (mp.mp_state == KVM_MP_STATE_HALTED)
		idle = regs.rflags & FL_IF ? CPU_HALTED_IF : CPU_HALTED_DEAD;
	else if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		idle = CPU_WAIT_SIPI;
	if (idle != v->idle)
		v->vm->host->idle(v->vm->host->opaque, v->id, idle);
	v->idle = idle;
}

/* --- exits --- */

static void do_io(struct vcpu *v)
{
	struct kvm_run *r = v->run;
	u8 *data = (u8 *)r + r->io.data_offset;
	unsigned size = r->io.size;

	__atomic_fetch_add(&v->vm->exits_io, 1, __ATOMIC_RELAXED);
	for (u32 n = 0; n < r->io.count; n++, data += size) {
		u64 val = 0;

		if (r->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&val, data, size);
			space_write(v->vm->host->ports, r->io.port, size, val);
		} else {
			val = space_read(v->vm->host->ports, r->io.port, size);
			memcpy(data, &val, size);
		}
	}
}

static void do_mmio(struct vcpu *v)
{
	struct kvm_run *r = v->run;
	unsigned size = r->mmio.len;
	u64 val = 0;

	__atomic_fetch_add(&v->vm->exits_mmio, 1, __ATOMIC_RELAXED);
	if (size == 0 || size > sizeof(val))
		return;
	if (r->mmio.is_write) {
		memcpy(&val, r->mmio.data, size);
		space_write(v->vm->host->memory, r->mmio.phys_addr, size, val);
	} else {
		val = space_read(v->vm->host->memory, r->mmio.phys_addr, size);
		memcpy(r->mmio.data, &val, size);
	}
}

static enum run_exit fail(struct vcpu *v, const char *what, u64 detail)
{
	struct kvm_regs regs = {0};

	ioctl(v->fd, KVM_GET_REGS, &regs);
	if (!v->vm->quiet)
		log_error("KVM: CPU %u: %s (0x%llx) at rip 0x%llx", v->id, what, (unsigned long long)detail,
		        (unsigned long long)regs.rip);
	return RUN_ERROR;
}

/* Returns true when run must return *out. */
static bool handle_exit(struct vcpu *v, enum run_exit *out)
{
	struct kvm_run *r = v->run;

	switch (r->exit_reason) {
	case KVM_EXIT_IO: do_io(v); return false;
	case KVM_EXIT_MMIO: do_mmio(v); return false;
	case KVM_EXIT_X86_RDMSR:
		r->msr.data = 0;
		r->msr.error = 0;
		return false;
	case KVM_EXIT_X86_WRMSR: r->msr.error = 0; return false;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR: return false;
	case KVM_EXIT_SHUTDOWN: *out = RUN_TRIPLE_FAULT; return true;
	case KVM_EXIT_INTERNAL_ERROR:
		*out = fail(v, "cannot emulate an instruction; internal error", r->internal.suberror);
		return true;
	case KVM_EXIT_FAIL_ENTRY:
		*out = fail(v, "the hardware refused to enter the guest",
		        r->fail_entry.hardware_entry_failure_reason);
		return true;
	default: *out = fail(v, "unexpected exit", r->exit_reason); return true;
	}
}

static void pin_thread(struct vcpu *v)
{
	cpu_set_t set;

	if (!v->vm->config.pin || v->vm->config.pin[v->id] < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)v->vm->config.pin[v->id], &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		log_warn("-p: cannot pin CPU %u to host CPU %d", v->id, v->vm->config.pin[v->id]);
}

static enum run_exit kvm_run_loop(struct vcpu *v)
{
	enum run_exit out;

	for (;;) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (__atomic_exchange_n(&v->kicked, false, __ATOMIC_SEQ_CST))
			return RUN_KICKED;
		if (__atomic_exchange_n(&v->poked, false, __ATOMIC_SEQ_CST))
			report_idle(v);
		if (ioctl(v->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			log_error("KVM: CPU %u: KVM_RUN: %s", v->id, strerror(errno));
			return RUN_ERROR;
		}
		if (handle_exit(v, &out))
			return out;
	}
}

static enum run_exit kvm_run(struct vcpu *v)
{
	enum run_exit out;

	pin_thread(v);
	__atomic_store_n(&v->tid, (s32)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	out = kvm_run_loop(v);
	__atomic_store_n(&v->tid, 0, __ATOMIC_SEQ_CST);
	return out;
}

static void kvm_signal(struct vcpu *v, enum cpu_signal sig, u8 arg)
{
	/* The LAPICs are in the kernel; nobody outside has a signal for a CPU. */
}

static void kvm_irq_line(struct accel_vm *vm, unsigned gsi, bool level)
{
	struct kvm_irq_level irq = {.irq = gsi, .level = level};

	ioctl(vm->fd, KVM_IRQ_LINE, &irq);
}

static void kvm_msi(struct accel_vm *vm, u64 addr, u32 data)
{
	struct kvm_msi msi = {.address_lo = (u32)addr, .address_hi = (u32)(addr >> 32), .data = data};

	ioctl(vm->fd, KVM_SIGNAL_MSI, &msi);
}

static void kvm_stats(struct accel_vm *vm, struct stats_sink *out)
{
	stats_put(out, "kvm", "port exits", __atomic_load_n(&vm->exits_io, __ATOMIC_RELAXED));
	stats_put(out, "kvm", "memory exits", __atomic_load_n(&vm->exits_mmio, __ATOMIC_RELAXED));
}

/* --- time that stood still --- */

/* By its offset where the kernel has that (5.16): writing the TSC itself is taken for a synchronization. */
static int move_offset(struct vcpu *v, u64 ticks)
{
	u64 was, now;
	struct kvm_device_attr attr = {
	        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (u64)(uintptr_t)&was};

	if (ioctl(v->fd, KVM_GET_DEVICE_ATTR, &attr) < 0)
		return -errno;
	now = was - ticks;
	attr.addr = (u64)(uintptr_t)&now;
	if (ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr) < 0)
		return -errno;
	/* Some hosts accept it and do nothing. */
	if (ioctl(v->fd, KVM_GET_DEVICE_ATTR, &attr) < 0 || now != was - ticks)
		return -ENOTSUP;
	return 0;
}

/* The kernel's PIT and LAPIC timers have gone on: what was due meanwhile has fired once. */
static int kvm_time_skipped(struct accel_vm *vm, u64 ticks)
{
	int rc = 0;

	for (unsigned n = 0; n < MAX_VCPUS && rc == 0; n++)
		if (vm->vcpus[n])
			rc = move_offset(vm->vcpus[n], ticks);
	return rc;
}

const struct accel_ops accel_kvm = {
        .name = "kvm",
        .owns_irqchips = true,
        .probe = kvm_probe,
        .vm_create = kvm_vm_create,
        .vm_destroy = kvm_vm_destroy,
        .mem_map = kvm_mem_map,
        .vcpu_create = kvm_vcpu_create,
        .vcpu_destroy = kvm_vcpu_destroy,
        .get_state = kvm_get_state,
        .set_state = kvm_set_state,
        .run = kvm_run,
        .kick = kvm_kick,
        .signal = kvm_signal,
        .irq_line = kvm_irq_line,
        .msi = kvm_msi,
        .stats = kvm_stats,
        .time_skipped = kvm_time_skipped,
};
