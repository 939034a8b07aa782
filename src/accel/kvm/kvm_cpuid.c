/*
 * CPUID under KVM: what the host's KVM supports, with the identity of each vCPU and the topology of
 * this machine (one package, one thread a core) put in. Intel SDM vol. 2 CPUID; AMD APM vol. 3 E.
 */
#include "accel/kvm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define CPUID_MAX 256

int kvm_cpuid_load(struct accel_vm *vm, struct err *e)
{
	vm->cpuid = calloc(1, sizeof(*vm->cpuid) + CPUID_MAX * sizeof(vm->cpuid->entries[0]));
	if (!vm->cpuid)
		return err_errno(e, -ENOMEM, "KVM");
	vm->cpuid->nent = CPUID_MAX;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, vm->cpuid) < 0)
		return err_errno(e, -errno, "KVM does not tell what CPU it offers");
	return 0;
}

/* Bits needed to number n cores. */
static u32 id_bits(u32 n)
{
	u32 bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

static void leaf_1(const struct vcpu *v, struct kvm_cpuid_entry2 *l)
{
	bool deadline = ioctl(v->vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	l->ebx = (l->ebx & 0xff00) | v->vm->config.ncpus << 16 | v->id << 24;
	l->ecx |= BIT(31);             /* hypervisor */
	l->ecx |= BIT(21);             /* x2APIC: always in the kernel's LAPIC */
	l->ecx &= ~(BIT(3) | BIT(24)); /* MONITOR; TSC-deadline only below */
	if (deadline)
		l->ecx |= BIT(24);
	if (v->vm->config.ncpus > 1)
		l->edx |= BIT(28); /* HTT: EBX[23:16] is valid */
}

/* 0xB and 0x1F: extended topology. */
static void leaf_topology(const struct vcpu *v, struct kvm_cpuid_entry2 *l)
{
	u32 n = v->vm->config.ncpus;

	l->edx = v->id;
	switch (l->index) {
	case 0: /* SMT: one thread a core */
		l->eax = 0;
		l->ebx = 1;
		l->ecx = 1 << 8;
		break;
	case 1: /* core */
		l->eax = id_bits(n);
		l->ebx = n;
		l->ecx = 2 << 8 | 1;
		break;
	default:
		l->eax = l->ebx = 0;
		l->ecx = l->index;
		break;
	}
}

static void adjust(const struct vcpu *v, struct kvm_cpuid_entry2 *l)
{
	u32 n = v->vm->config.ncpus;

	switch (l->function) {
	case 0x1: leaf_1(v, l); break;
	case 0x4: /* deterministic caches: L1, L2 private, L3 shared by the package */
		if ((l->eax & 0x1f) == 0)
			break;
		l->eax &= ~0xffffc000u;
		l->eax |= (n - 1) << 26;
		if ((l->eax >> 5 & 7) >= 3)
			l->eax |= (n - 1) << 14;
		break;
	case 0xb:
	case 0x1f: leaf_topology(v, l); break;
	case 0x80000008: l->ecx = id_bits(n) << 12 | (n - 1); break;
	case 0x8000001d:
		if ((l->eax & 0x1f) == 0)
			break;
		l->eax &= ~0x03ffc000u;
		if ((l->eax >> 5 & 7) >= 3)
			l->eax |= (n - 1) << 14;
		break;
	case 0x8000001e:
		l->eax = v->id;
		l->ebx = (l->ebx & ~0xffffu) | v->id;
		l->ecx = 0;
		break;
	default: break;
	}
}

int kvm_cpuid_apply(struct vcpu *v)
{
	size_t size = sizeof(struct kvm_cpuid2) + v->vm->cpuid->nent * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *c = malloc(size);
	int rc;

	if (!c)
		return -ENOMEM;
	memcpy(c, v->vm->cpuid, size);
	for (u32 n = 0; n < c->nent; n++)
		adjust(v, &c->entries[n]);
	rc = ioctl(v->fd, KVM_SET_CPUID2, c) < 0 ? -errno : 0;
	free(c);
	return rc;
}
