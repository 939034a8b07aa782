/*
 * What CPUID tells the guest of a software CPU (SDM vol. 2, CPUID). Pure: a table of words built
 * from the CPU's id and the list of instructions that are bound.
 *
 * A feature is its word and bit: word << 5 | bit.
 */
#pragma once

#include "base/types.h"

enum cpuid_word {
	CW_1_EDX,
	CW_1_ECX,
	CW_7_EBX,
	CW_7_ECX,
	CW_7_EDX,
	CW_7_2_EDX,
	CW_D1_EAX,
	CW_81_EDX,
	CW_81_ECX,
	CW_N
};

/* Physical address bits: advertised, and checked as reserved bits in page tables and MTRRs. */
#define PHYS_BITS 40
#define PHYS_MASK ((1ull << PHYS_BITS) - 1)

/* Input of the local APIC's timer, named as the crystal in leaf 0x15: Linux takes one for the other. */
#define CRYSTAL_HZ 1000000000u

#define CF(word, bit) ((u32)(CW_##word) << 5 | (bit))
#define CF_PSE CF(1_EDX, 3)
#define CF_PAT CF(1_EDX, 16)
#define CF_MTRR CF(1_EDX, 12)
#define CF_SSE3 CF(1_ECX, 0)
#define CF_PCLMULQDQ CF(1_ECX, 1)
#define CF_SSSE3 CF(1_ECX, 9)
#define CF_FMA CF(1_ECX, 12)
#define CF_CX16 CF(1_ECX, 13)
#define CF_PCID CF(1_ECX, 17)
#define CF_SSE41 CF(1_ECX, 19)
#define CF_SSE42 CF(1_ECX, 20)
#define CF_X2APIC CF(1_ECX, 21)
#define CF_MOVBE CF(1_ECX, 22)
#define CF_POPCNT CF(1_ECX, 23)
#define CF_TSC_DEADLINE CF(1_ECX, 24)
#define CF_AES CF(1_ECX, 25)
#define CF_XSAVE CF(1_ECX, 26)
#define CF_OSXSAVE CF(1_ECX, 27)
#define CF_AVX CF(1_ECX, 28)
#define CF_F16C CF(1_ECX, 29)
#define CF_RDRAND CF(1_ECX, 30)
#define CF_HYPERVISOR CF(1_ECX, 31)
#define CF_FSGSBASE CF(7_EBX, 0)
#define CF_TSC_ADJUST CF(7_EBX, 1)
#define CF_BMI1 CF(7_EBX, 3)
#define CF_AVX2 CF(7_EBX, 5)
#define CF_SMEP CF(7_EBX, 7)
#define CF_BMI2 CF(7_EBX, 8)
#define CF_ERMS CF(7_EBX, 9)
#define CF_INVPCID CF(7_EBX, 10)
#define CF_RDSEED CF(7_EBX, 18)
#define CF_ADX CF(7_EBX, 19)
#define CF_SMAP CF(7_EBX, 20)
#define CF_CLFLUSHOPT CF(7_EBX, 23)
#define CF_CLWB CF(7_EBX, 24)
#define CF_SHA CF(7_EBX, 29)
#define CF_UMIP CF(7_ECX, 2)
#define CF_RDPID CF(7_ECX, 22)
#define CF_FSRM CF(7_EDX, 4)
#define CF_SPEC_CTRL CF(7_EDX, 26)
#define CF_STIBP CF(7_EDX, 27)
#define CF_ARCH_CAPS CF(7_EDX, 29)
#define CF_SSBD CF(7_EDX, 31)
#define CF_BHI_CTRL CF(7_2_EDX, 4)
#define CF_XSAVEOPT CF(D1_EAX, 0)
#define CF_XSAVEC CF(D1_EAX, 1)
#define CF_XGETBV1 CF(D1_EAX, 2)
#define CF_SYSCALL CF(81_EDX, 11)
#define CF_NX CF(81_EDX, 20)
#define CF_PAGE1GB CF(81_EDX, 26)
#define CF_RDTSCP CF(81_EDX, 27)
#define CF_LM CF(81_EDX, 29)
#define CF_LAHF CF(81_ECX, 0)
#define CF_LZCNT CF(81_ECX, 5)
#define CF_PREFETCHW CF(81_ECX, 8)

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

struct cpuid_table {
	u32 words[CW_N];
	unsigned ncpus, id;
	u64 tsc_hz;
	char brand[48];
};

/* Is the instruction behind a feature implemented? NULL asks for everything (KVM, tests). */
typedef bool cpuid_probe_fn(u32 feature);

/* The engine's name in the brand string. */
void cpuid_set_engine(struct cpuid_table *t, const char *engine);

void cpuid_init(struct cpuid_table *t, unsigned ncpus, unsigned id, u64 tsc_hz, const char *engine,
        cpuid_probe_fn *bound);

static inline bool cpuid_has(const struct cpuid_table *t, u32 feature)
{
	return t->words[feature >> 5] >> (feature & 31) & 1;
}

/* Family, model, stepping: leaf 1 EAX, and EDX after INIT. */
u32 cpuid_signature(const struct cpuid_table *t);

/* One leaf. xcr0 and os flags are the CPU's present ones (leaf 0xD, OSXSAVE). */
void cpuid_leaf(const struct cpuid_table *t, u32 leaf, u32 sub, u64 xcr0, bool osxsave, struct cpuid_regs *r);
