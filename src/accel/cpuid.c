/*
 * CPUID of the software CPU. The model is one for which Linux applies no mitigation that costs, and
 * IA32_ARCH_CAPABILITIES (soft/msr.c) denies the rest. What a feature needs is stated beside it: always
 * there, bound to handlers, or bound and present on the host because handlers use the host's instruction.
 */
#include "accel/cpuid.h"

#include <cpuid.h>
#include <stdio.h>

/*
 * Family 6, model 0xaf (Sierra Forest), stepping 3: a server without AVX-512. Programs that choose functions
 * by the model, as GCC's target clones do, must not find one here whose features we do not have.
 */
#define SIGNATURE 0x000a06f3u

enum need { ALWAYS, BOUND, BOUND_HOST };

static const struct {
	u32 feature;
	enum need need;
} features[] = {
        {CF(1_EDX, 0), ALWAYS}, /* FPU */
        {CF(1_EDX, 2), ALWAYS}, /* DE */
        {CF_PSE, ALWAYS},
        {CF(1_EDX, 4), ALWAYS},  /* TSC */
        {CF(1_EDX, 5), ALWAYS},  /* MSR */
        {CF(1_EDX, 6), ALWAYS},  /* PAE */
        {CF(1_EDX, 7), ALWAYS},  /* MCE */
        {CF(1_EDX, 8), ALWAYS},  /* CX8 */
        {CF(1_EDX, 9), ALWAYS},  /* APIC */
        {CF(1_EDX, 11), ALWAYS}, /* SEP */
        {CF_MTRR, ALWAYS},
        {CF(1_EDX, 13), ALWAYS}, /* PGE */
        {CF(1_EDX, 14), ALWAYS}, /* MCA */
        {CF(1_EDX, 15), ALWAYS}, /* CMOV */
        {CF_PAT, ALWAYS},
        {CF(1_EDX, 17), ALWAYS}, /* PSE-36 */
        {CF(1_EDX, 19), ALWAYS}, /* CLFSH */
        {CF(1_EDX, 23), ALWAYS}, /* MMX */
        {CF(1_EDX, 24), ALWAYS}, /* FXSR */
        {CF(1_EDX, 25), ALWAYS}, /* SSE */
        {CF(1_EDX, 26), ALWAYS}, /* SSE2 */
        {CF(1_EDX, 27), ALWAYS}, /* SS */
        {CF_SSE3, BOUND_HOST},
        {CF_PCLMULQDQ, BOUND_HOST},
        {CF_SSSE3, BOUND_HOST},
        {CF_FMA, BOUND_HOST},
        {CF_CX16, BOUND},
        {CF_PCID, ALWAYS},
        {CF_SSE41, BOUND_HOST},
        {CF_SSE42, BOUND_HOST},
        {CF_X2APIC, ALWAYS},
        {CF_MOVBE, BOUND},
        {CF_POPCNT, BOUND},
        {CF_TSC_DEADLINE, ALWAYS},
        {CF_AES, BOUND_HOST},
        {CF_XSAVE, BOUND},
        {CF_AVX, BOUND_HOST},
        {CF_F16C, BOUND_HOST},
        {CF_RDRAND, BOUND_HOST},
        {CF_HYPERVISOR, ALWAYS},
        {CF_FSGSBASE, ALWAYS},
        {CF_TSC_ADJUST, ALWAYS},
        {CF_BMI1, BOUND},
        {CF_AVX2, BOUND_HOST},
        {CF(7_EBX, 6), ALWAYS}, /* FDP_EXCPTN_ONLY: x87 data pointer updated only on exceptions */
        {CF_SMEP, ALWAYS},
        {CF_BMI2, BOUND},
        {CF_ERMS, ALWAYS},
        {CF_INVPCID, ALWAYS},
        {CF(7_EBX, 13), ALWAYS}, /* FCS and FDS deprecated */
        {CF_RDSEED, BOUND_HOST},
        {CF_ADX, BOUND},
        {CF_SMAP, ALWAYS},
        {CF_CLFLUSHOPT, ALWAYS},
        {CF_CLWB, ALWAYS},
        {CF_SHA, BOUND_HOST},
        {CF_UMIP, ALWAYS},
        {CF_RDPID, BOUND},
        {CF_FSRM, ALWAYS},
        {CF_SPEC_CTRL, ALWAYS},
        {CF_STIBP, ALWAYS},
        {CF_ARCH_CAPS, ALWAYS},
        {CF_SSBD, ALWAYS},
        {CF_BHI_CTRL, ALWAYS}, /* else Linux clears branch history by loops at each system call */
        {CF_XSAVEOPT, BOUND},
        {CF_XSAVEC, BOUND},
        {CF_XGETBV1, ALWAYS},
        {CF_SYSCALL, ALWAYS},
        {CF_NX, ALWAYS},
        {CF_PAGE1GB, ALWAYS},
        {CF_RDTSCP, ALWAYS},
        {CF_LM, ALWAYS},
        {CF_LAHF, BOUND},
        {CF_LZCNT, BOUND},
        {CF_PREFETCHW, ALWAYS},
};

/* What cannot be without something else. */
static const struct {
	u32 feature, needs;
} depends[] = {
        {CF_AVX, CF_XSAVE},
        {CF_AVX2, CF_AVX},
        {CF_FMA, CF_AVX},
        {CF_F16C, CF_AVX},
        {CF_XSAVEOPT, CF_XSAVE},
        {CF_XSAVEC, CF_XSAVE},
        {CF_XGETBV1, CF_XSAVE},
        {CF_BMI1, CF_AVX},
        {CF_BMI2, CF_AVX},
};

static void host_words(u32 *w)
{
	u32 a, b, c, d;

	memset(w, 0, CW_N * sizeof(*w));
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		w[CW_1_ECX] = c;
		w[CW_1_EDX] = d;
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		w[CW_7_EBX] = b;
		w[CW_7_ECX] = c;
		w[CW_7_EDX] = d;
	}
}

static void set(u32 *w, u32 feature, bool on)
{
	if (on)
		w[feature >> 5] |= BIT(feature & 31);
	else
		w[feature >> 5] &= ~BIT(feature & 31);
}

void cpuid_set_engine(struct cpuid_table *t, const char *engine)
{
	memset(t->brand, 0, sizeof(t->brand));
	snprintf(t->brand, sizeof(t->brand), "xhyve software CPU (%s)", engine);
}

void cpuid_init(struct cpuid_table *t, unsigned ncpus, unsigned id, u64 tsc_hz, const char *engine,
        cpuid_probe_fn *bound)
{
	u32 host[CW_N];

	memset(t, 0, sizeof(*t));
	t->ncpus = ncpus ? ncpus : 1;
	t->id = id;
	t->tsc_hz = tsc_hz;
	cpuid_set_engine(t, engine);
	host_words(host);
	for (unsigned n = 0; n < ARRAY_SIZE(features); n++) {
		u32 f = features[n].feature;
		bool ok = features[n].need == ALWAYS || !bound || bound(f);

		if (features[n].need == BOUND_HOST && !(host[f >> 5] >> (f & 31) & 1))
			ok = false;
		set(t->words, f, ok);
	}
	for (unsigned n = 0; n < ARRAY_SIZE(depends); n++)
		if (!cpuid_has(t, depends[n].needs))
			set(t->words, depends[n].feature, false);
	set(t->words, CF(1_EDX, 28), t->ncpus > 1); /* HTT: more than one logical CPU in the package */
}

u32 cpuid_signature(const struct cpuid_table *t)
{
	return SIGNATURE;
}

/* log2 of n, rounded up */
static unsigned log2_up(unsigned n)
{
	return n <= 1 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

static void text(u32 regs[3], const char *s)
{
	memcpy(regs, s, 12);
}

static void leaf_0(struct cpuid_regs *r)
{
	u32 v[3];

	text(v, "GenuineIntel"); /* spelt by EBX, EDX, ECX */
	r->eax = 0x16;
	r->ebx = v[0];
	r->edx = v[1];
	r->ecx = v[2];
}

static void leaf_1(const struct cpuid_table *t, bool osxsave, struct cpuid_regs *r)
{
	r->eax = SIGNATURE;
	r->ebx = 8u << 8 /* CLFLUSH line, in 8 bytes */ | BIT(log2_up(t->ncpus)) << 16 | t->id << 24;
	r->ecx = t->words[CW_1_ECX];
	if (osxsave)
		r->ecx |= BIT(CF_OSXSAVE & 31);
	r->edx = t->words[CW_1_EDX];
}

/* Deterministic cache parameters: ways, line 64, sets; L3 shared by the package. */
static void leaf_4(const struct cpuid_table *t, u32 sub, struct cpuid_regs *r)
{
	static const struct {
		u8 type, level;
		u16 ways;
		u32 sets;
	} caches[] = {
	        {1, 1, 12, 64},
	        {2, 1, 8, 64},
	        {3, 2, 16, 2048},
	        {3, 3, 16, 16384},
	};

	if (sub >= ARRAY_SIZE(caches))
		return;
	u32 sharing = caches[sub].level == 3 ? BIT(log2_up(t->ncpus)) - 1 : 0;
	r->eax = caches[sub].type | (u32)caches[sub].level << 5 | 1u << 8 | sharing << 14 |
	         (BIT(log2_up(t->ncpus)) - 1) << 26;
	r->ebx = 63 | (caches[sub].ways - 1u) << 22;
	r->ecx = caches[sub].sets - 1;
	r->edx = caches[sub].level == 3 ? 4 : 0; /* complex indexing */
}

static void leaf_b(const struct cpuid_table *t, u32 sub, struct cpuid_regs *r)
{
	r->ecx = sub & 0xff;
	r->edx = t->id;
	if (sub == 0) { /* SMT: one thread a core */
		r->ebx = 1;
		r->ecx |= 1 << 8;
	} else if (sub == 1) { /* cores */
		r->eax = log2_up(t->ncpus);
		r->ebx = t->ncpus;
		r->ecx |= 2 << 8;
	}
}

#define XSAVE_LEGACY 576u /* FXSAVE region and header */
#define XSAVE_AVX 256u

static void leaf_d(const struct cpuid_table *t, u32 sub, u64 xcr0, struct cpuid_regs *r)
{
	u32 size = XSAVE_LEGACY + (xcr0 & 4 ? XSAVE_AVX : 0);
	bool avx = cpuid_has(t, CF_AVX);

	if (!cpuid_has(t, CF_XSAVE))
		return;
	if (sub == 0) {
		r->eax = avx ? 7 : 3;
		r->ebx = size;
		r->ecx = XSAVE_LEGACY + (avx ? XSAVE_AVX : 0);
	} else if (sub == 1) {
		r->eax = t->words[CW_D1_EAX];
		r->ebx = size;
	} else if (sub == 2 && avx) {
		r->eax = XSAVE_AVX;
		r->ebx = XSAVE_LEGACY;
	}
}

/*
 * TSC = crystal * numerator / denominator. Linux multiplies the crystal in kHz by the numerator in 32
 * bits, so the numerator must stay below 4294; the best fraction within that is right to about 10^-7
 * (continued fraction of tsc_hz / crystal).
 */
#define NUMERATOR_MAX 4294u

static void leaf_15(const struct cpuid_table *t, struct cpuid_regs *r)
{
	u64 n0 = 0, n1 = 1, d0 = 1, d1 = 0;
	u64 a = t->tsc_hz, b = CRYSTAL_HZ;

	while (b) {
		u64 q = a / b, n2 = q * n1 + n0, d2 = q * d1 + d0;

		if (n2 > NUMERATOR_MAX || d2 > NUMERATOR_MAX)
			break;
		n0 = n1, n1 = n2, d0 = d1, d1 = d2;
		u64 rest = a - q * b;
		a = b, b = rest;
	}
	if (!t->tsc_hz || !d1)
		return;
	r->eax = (u32)d1;
	r->ebx = (u32)n1;
	r->ecx = CRYSTAL_HZ;
}

static void leaf_16(const struct cpuid_table *t, struct cpuid_regs *r)
{
	r->eax = r->ebx = (u32)(t->tsc_hz / 1000000);
	r->ecx = 100;
}

static void leaf_hypervisor(u32 leaf, struct cpuid_regs *r)
{
	u32 v[3];

	if (leaf != 0x40000000)
		return;
	/* With this signature Linux trusts x2APIC without interrupt remapping; no KVM feature is offered. */
	text(v, "KVMKVMKVM\0\0");
	r->eax = 0x40000001;
	r->ebx = v[0];
	r->ecx = v[1];
	r->edx = v[2];
}

static void leaf_extended(const struct cpuid_table *t, u32 leaf, struct cpuid_regs *r)
{
	switch (leaf) {
	case 0x80000000: r->eax = 0x80000008; break;
	case 0x80000001:
		r->ecx = t->words[CW_81_ECX];
		r->edx = t->words[CW_81_EDX];
		break;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004: memcpy(r, t->brand + (leaf - 0x80000002) * 16, 16); break;
	case 0x80000006: r->ecx = 2048u << 16 | 6u << 12 | 64; break; /* L2: KiB, 16 ways, line */
	case 0x80000007: r->edx = BIT(8); break;                      /* invariant TSC */
	case 0x80000008: r->eax = 48u << 8 | PHYS_BITS; break;
	default: break;
	}
}

void cpuid_leaf(const struct cpuid_table *t, u32 leaf, u32 sub, u64 xcr0, bool osxsave, struct cpuid_regs *r)
{
	memset(r, 0, sizeof(*r));
	if (leaf >= 0x80000000) {
		if (leaf > 0x80000008)
			leaf = 0x16; /* above the highest extended leaf: the highest basic one */
		else {
			leaf_extended(t, leaf, r);
			return;
		}
	} else if (leaf >= 0x40000000 && leaf < 0x40000100) {
		leaf_hypervisor(leaf, r);
		return;
	} else if (leaf > 0x16) {
		leaf = 0x16;
	}
	switch (leaf) {
	case 0: leaf_0(r); break;
	case 1: leaf_1(t, osxsave, r); break;
	case 2: *r = (struct cpuid_regs){0x00feff01, 0xf0, 0, 0}; break; /* see leaf 4 */
	case 4: leaf_4(t, sub, r); break;
	case 6: r->eax = BIT(2); break; /* ARAT: the APIC timer always runs */
	case 7:
		if (sub == 0) {
			r->eax = 2; /* highest subleaf */
			r->ebx = t->words[CW_7_EBX];
			r->ecx = t->words[CW_7_ECX];
			r->edx = t->words[CW_7_EDX];
		} else if (sub == 2) {
			r->edx = t->words[CW_7_2_EDX];
		}
		break;
	case 0xb: leaf_b(t, sub, r); break;
	case 0xd: leaf_d(t, sub, xcr0, r); break;
	case 0x15: leaf_15(t, r); break;
	case 0x16: leaf_16(t, r); break;
	default: break;
	}
}
