/*
 * Private to the KVM back end: the VM and vCPU structs, and what its files share.
 * All ioctls on /dev/kvm and its descendants are made in this room.
 */
#pragma once

#include "accel/accel.h"
#include <linux/kvm.h>
#include <pthread.h>

struct accel_vm {
	int kvm, fd;
	struct accel_config config;
	const struct accel_host *host;
	struct vcpu *vcpus[MAX_VCPUS];
	u32 run_size;
	u32 nslots;
	struct kvm_cpuid2 *cpuid; /* supported by the host, template of every vCPU */
	/* the watch thread: looks now and then whether CPUs halted for good */
	pthread_t watch;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool watching, stopping;
	bool quiet;               /* the probe: failures are an answer, not news */
	u64 exits_io, exits_mmio; /* atomic, --stats */
};

struct vcpu {
	struct accel_vm *vm;
	unsigned id;
	int fd;
	struct kvm_run *run;
	s32 tid;     /* atomic; thread inside run, 0 when none */
	bool kicked; /* atomic */
	bool poked;  /* atomic: the watch thread wants to know whether this CPU is halted */
	enum cpu_idle idle;
};

/* kvm_state.c */
int kvm_get_state(struct vcpu *v, struct x86_state *s);
int kvm_set_state(struct vcpu *v, const struct x86_state *s);

/* kvm_cpuid.c: CPUID as the guest sees it on this vCPU. */
int kvm_cpuid_load(struct accel_vm *vm, struct err *e);
int kvm_cpuid_apply(struct vcpu *v);

/* kvm_probe.c */
int kvm_probe(struct err *e);
