/*
 * struct x86_state to KVM's register structs and back. The vector and x87 state travels in the
 * standard XSAVE layout (Intel SDM vol. 1, 13.4): legacy region, header at 512, AVX at 576.
 */
#include "accel/kvm/kvm.h"

#include "x86/x86.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define XSAVE_HEADER 512
#define XSAVE_AVX 576

static const u32 msr_list[] = {MSR_TSC, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_PAT,
        MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_TSC_AUX, MSR_MISC_ENABLE};
#define NMSR ARRAY_SIZE(msr_list)

static u64 *msr_field(struct x86_state *s, u32 msr)
{
	switch (msr) {
	case MSR_TSC: return &s->tsc;
	case MSR_SYSENTER_CS: return &s->sysenter_cs;
	case MSR_SYSENTER_ESP: return &s->sysenter_esp;
	case MSR_SYSENTER_EIP: return &s->sysenter_eip;
	case MSR_PAT: return &s->pat;
	case MSR_STAR: return &s->star;
	case MSR_LSTAR: return &s->lstar;
	case MSR_CSTAR: return &s->cstar;
	case MSR_SFMASK: return &s->sfmask;
	case MSR_KERNEL_GS_BASE: return &s->kernel_gs_base;
	case MSR_TSC_AUX: return &s->tsc_aux;
	default: return &s->misc_enable;
	}
}

/* One MSR by KVM_GET_MSRS or KVM_SET_MSRS, whose argument ends in an array: the header, then one entry. */
static int one_msr(struct vcpu *v, unsigned long request, struct kvm_msr_entry *entry)
{
	_Alignas(struct kvm_msrs) u8 arg[sizeof(struct kvm_msrs) + sizeof(*entry)] = {0};
	struct kvm_msrs *m = (void *)arg;

	m->nmsrs = 1;
	memcpy(m->entries, entry, sizeof(*entry));
	if (ioctl(v->fd, request, m) < 0)
		return -errno;
	memcpy(entry, m->entries, sizeof(*entry));
	return 0;
}

static struct kvm_segment to_kvm_seg(const struct x86_seg *s)
{
	return (struct kvm_segment){
	        .base = s->base,
	        .limit = s->limit,
	        .selector = s->sel,
	        .type = s->attr & 0xf,
	        .s = s->attr >> 4 & 1,
	        .dpl = s->attr >> 5 & 3,
	        .present = s->attr >> 7 & 1,
	        .avl = s->attr >> 12 & 1,
	        .l = s->attr >> 13 & 1,
	        .db = s->attr >> 14 & 1,
	        .g = s->attr >> 15 & 1,
	        .unusable = (s->attr & SEG_ATTR_UNUSABLE) || !(s->attr & SEG_ATTR_P),
	};
}

static struct x86_seg from_kvm_seg(const struct kvm_segment *k)
{
	u32 attr = k->type | k->s << 4 | k->dpl << 5 | k->present << 7 | k->avl << 12 | k->l << 13 |
	           k->db << 14 | k->g << 15;

	if (k->unusable)
		attr |= SEG_ATTR_UNUSABLE;
	return (struct x86_seg){.sel = k->selector, .attr = (u16)attr, .limit = k->limit, .base = k->base};
}

static int set_regs(struct vcpu *v, const struct x86_state *s)
{
	const u64 *g = s->gpr;
	struct kvm_regs r = {.rax = g[RAX],
	        .rbx = g[RBX],
	        .rcx = g[RCX],
	        .rdx = g[RDX],
	        .rsi = g[RSI],
	        .rdi = g[RDI],
	        .rsp = g[RSP],
	        .rbp = g[RBP],
	        .r8 = g[R8],
	        .r9 = g[R9],
	        .r10 = g[R10],
	        .r11 = g[R11],
	        .r12 = g[R12],
	        .r13 = g[R13],
	        .r14 = g[R14],
	        .r15 = g[R15],
	        .rip = s->rip,
	        .rflags = s->rflags};

	return ioctl(v->fd, KVM_SET_REGS, &r) < 0 ? -errno : 0;
}

static int get_regs(struct vcpu *v, struct x86_state *s)
{
	struct kvm_regs r;
	u64 *g = s->gpr;

	if (ioctl(v->fd, KVM_GET_REGS, &r) < 0)
		return -errno;
	g[RAX] = r.rax, g[RBX] = r.rbx, g[RCX] = r.rcx, g[RDX] = r.rdx;
	g[RSI] = r.rsi, g[RDI] = r.rdi, g[RSP] = r.rsp, g[RBP] = r.rbp;
	g[R8] = r.r8, g[R9] = r.r9, g[R10] = r.r10, g[R11] = r.r11;
	g[R12] = r.r12, g[R13] = r.r13, g[R14] = r.r14, g[R15] = r.r15;
	s->rip = r.rip;
	s->rflags = r.rflags;
	return 0;
}

static int set_sregs(struct vcpu *v, const struct x86_state *s)
{
	struct kvm_sregs r;

	if (ioctl(v->fd, KVM_GET_SREGS, &r) < 0)
		return -errno;
	r.es = to_kvm_seg(&s->seg[SEG_ES]);
	r.cs = to_kvm_seg(&s->seg[SEG_CS]);
	r.ss = to_kvm_seg(&s->seg[SEG_SS]);
	r.ds = to_kvm_seg(&s->seg[SEG_DS]);
	r.fs = to_kvm_seg(&s->seg[SEG_FS]);
	r.gs = to_kvm_seg(&s->seg[SEG_GS]);
	r.ldt = to_kvm_seg(&s->ldt);
	r.tr = to_kvm_seg(&s->tr);
	r.gdt.base = s->gdt.base;
	r.gdt.limit = s->gdt.limit;
	r.idt.base = s->idt.base;
	r.idt.limit = s->idt.limit;
	r.cr0 = s->cr0;
	r.cr2 = s->cr2;
	r.cr3 = s->cr3;
	r.cr4 = s->cr4;
	r.cr8 = s->cr8;
	r.efer = s->efer;
	r.apic_base = s->apic_base;
	return ioctl(v->fd, KVM_SET_SREGS, &r) < 0 ? -errno : 0;
}

static int get_sregs(struct vcpu *v, struct x86_state *s)
{
	struct kvm_sregs r;

	if (ioctl(v->fd, KVM_GET_SREGS, &r) < 0)
		return -errno;
	s->seg[SEG_ES] = from_kvm_seg(&r.es);
	s->seg[SEG_CS] = from_kvm_seg(&r.cs);
	s->seg[SEG_SS] = from_kvm_seg(&r.ss);
	s->seg[SEG_DS] = from_kvm_seg(&r.ds);
	s->seg[SEG_FS] = from_kvm_seg(&r.fs);
	s->seg[SEG_GS] = from_kvm_seg(&r.gs);
	s->ldt = from_kvm_seg(&r.ldt);
	s->tr = from_kvm_seg(&r.tr);
	s->gdt = (struct x86_table){r.gdt.base, r.gdt.limit};
	s->idt = (struct x86_table){r.idt.base, r.idt.limit};
	s->cr0 = r.cr0;
	s->cr2 = r.cr2;
	s->cr3 = r.cr3;
	s->cr4 = r.cr4;
	s->cr8 = r.cr8;
	s->efer = r.efer;
	s->apic_base = r.apic_base;
	return 0;
}

/* KVM_SET_MSRS stops at the first MSR that the host does not know: go on behind it. */
static int set_msrs(struct vcpu *v, const struct x86_state *s)
{
	struct x86_state copy = *s;

	for (size_t n = 0; n < NMSR; n++) {
		struct kvm_msr_entry e = {.index = msr_list[n], .data = *msr_field(&copy, msr_list[n])};
		int rc = one_msr(v, KVM_SET_MSRS, &e);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int get_msrs(struct vcpu *v, struct x86_state *s)
{
	for (size_t n = 0; n < NMSR; n++) {
		struct kvm_msr_entry e = {.index = msr_list[n]};
		int rc = one_msr(v, KVM_GET_MSRS, &e);

		if (rc < 0)
			return rc;
		*msr_field(s, msr_list[n]) = e.data;
	}
	return 0;
}

static void pack_fpu(const struct x86_state *s, u8 *x)
{
	unsigned top = s->fpu.fsw >> 11 & 7;

	put_le16(x, s->fpu.fcw);
	put_le16(x + 2, s->fpu.fsw);
	x[4] = s->fpu.ftw;
	put_le16(x + 6, s->fpu.fop);
	put_le64(x + 8, s->fpu.fip);
	put_le64(x + 16, s->fpu.fdp);
	put_le32(x + 24, s->mxcsr);
	put_le32(x + 28, 0xffff);
	for (unsigned n = 0; n < 8; n++)
		memcpy(x + 32 + 16 * n, &s->fpu.r[(top + n) & 7], 10);
	for (unsigned n = 0; n < 16; n++) {
		memcpy(x + 160 + 16 * n, &s->vec[n].b[0], 16);
		memcpy(x + XSAVE_AVX + 16 * n, &s->vec[n].b[16], 16);
	}
	put_le64(x + XSAVE_HEADER, XCR0_X87 | XCR0_SSE | (s->xcr0 & XCR0_AVX));
}

static void unpack_fpu(struct x86_state *s, const u8 *x)
{
	u64 in = get_le64(x + XSAVE_HEADER);
	unsigned top;

	s->fpu.fcw = get_le16(x);
	s->fpu.fsw = get_le16(x + 2);
	s->fpu.ftw = x[4];
	s->fpu.fop = get_le16(x + 6);
	s->fpu.fip = get_le64(x + 8);
	s->fpu.fdp = get_le64(x + 16);
	s->mxcsr = get_le32(x + 24);
	top = s->fpu.fsw >> 11 & 7;
	for (unsigned n = 0; n < 8; n++)
		memcpy(&s->fpu.r[(top + n) & 7], x + 32 + 16 * n, 10);
	for (unsigned n = 0; n < 16; n++) {
		memcpy(&s->vec[n].b[0], x + 160 + 16 * n, 16);
		if (in & XCR0_AVX)
			memcpy(&s->vec[n].b[16], x + XSAVE_AVX + 16 * n, 16);
	}
}

static int set_fpu(struct vcpu *v, const struct x86_state *s)
{
	struct kvm_xsave x = {0};
	struct kvm_xcrs c = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = s->xcr0}};

	pack_fpu(s, (u8 *)x.region);
	if (ioctl(v->fd, KVM_SET_XCRS, &c) < 0 && s->xcr0 != XCR0_X87)
		return -errno;
	return ioctl(v->fd, KVM_SET_XSAVE, &x) < 0 ? -errno : 0;
}

static int get_fpu(struct vcpu *v, struct x86_state *s)
{
	struct kvm_xsave x;
	struct kvm_xcrs c;

	if (ioctl(v->fd, KVM_GET_XSAVE, &x) < 0)
		return -errno;
	unpack_fpu(s, (const u8 *)x.region);
	s->xcr0 = XCR0_X87;
	if (ioctl(v->fd, KVM_GET_XCRS, &c) == 0 && c.nr_xcrs)
		s->xcr0 = c.xcrs[0].value;
	return 0;
}

static int set_misc(struct vcpu *v, const struct x86_state *s)
{
	struct kvm_debugregs d = {
	        .db = {s->dr[0], s->dr[1], s->dr[2], s->dr[3]}, .dr6 = s->dr[6], .dr7 = s->dr[7]};
	struct kvm_vcpu_events ev;
	struct kvm_mp_state mp = {.mp_state = s->wait_sipi ? KVM_MP_STATE_UNINITIALIZED
	                                      : s->halted  ? KVM_MP_STATE_HALTED
	                                                   : KVM_MP_STATE_RUNNABLE};

	if (ioctl(v->fd, KVM_SET_DEBUGREGS, &d) < 0 || ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return -errno;
	ev.nmi.masked = s->nmi_blocked;
	ev.nmi.pending = s->nmi_pending;
	ev.interrupt.shadow = s->intr_shadow ? KVM_X86_SHADOW_INT_STI : 0;
	ev.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		return -errno;
	return ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0 ? -errno : 0;
}

static int get_misc(struct vcpu *v, struct x86_state *s)
{
	struct kvm_debugregs d;
	struct kvm_vcpu_events ev;
	struct kvm_mp_state mp;

	if (ioctl(v->fd, KVM_GET_DEBUGREGS, &d) < 0 || ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0 ||
	        ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return -errno;
	for (unsigned n = 0; n < 4; n++)
		s->dr[n] = d.db[n];
	s->dr[6] = d.dr6;
	s->dr[7] = d.dr7;
	s->nmi_blocked = ev.nmi.masked;
	s->nmi_pending = ev.nmi.pending;
	s->intr_shadow = ev.interrupt.shadow;
	s->halted = mp.mp_state == KVM_MP_STATE_HALTED;
	s->wait_sipi = mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
	return 0;
}

int kvm_set_state(struct vcpu *v, const struct x86_state *s)
{
	int rc = set_sregs(v, s);

	if (rc == 0)
		rc = set_regs(v, s);
	if (rc == 0)
		rc = set_msrs(v, s);
	if (rc == 0)
		rc = set_fpu(v, s);
	return rc < 0 ? rc : set_misc(v, s);
}

int kvm_get_state(struct vcpu *v, struct x86_state *s)
{
	int rc;

	memset(s, 0, sizeof(*s));
	rc = get_sregs(v, s);
	if (rc == 0)
		rc = get_regs(v, s);
	if (rc == 0)
		rc = get_msrs(v, s);
	if (rc == 0)
		rc = get_fpu(v, s);
	return rc < 0 ? rc : get_misc(v, s);
}
