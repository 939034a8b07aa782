/*
 * RDMSR and WRMSR (SDM vol. 4). Registers that are plain storage with a mask are a table; the others have
 * side effects or checks and are cases.
 */
#include "accel/soft/msr.h"
#include "accel/soft/interp/insn.h"
#include "accel/soft/walk.h"

#include <stddef.h>

#define MC_BANKS 10u
#define MTRR_VAR 8u
#define MCG_CAP (MC_BANKS | BIT(8) /* MCG_CTL_P */)
#define MTRR_CAP (MTRR_VAR | BIT(8) /* fixed ranges */ | BIT(10) /* WC */)

/* IA32_ARCH_CAPABILITIES: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO,
 * SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO */
#define ARCH_CAPS                                                                                            \
	(BIT64(0) | BIT64(1) | BIT64(3) | BIT64(4) | BIT64(5) | BIT64(6) | BIT64(8) | BIT64(13) |            \
	        BIT64(14) | BIT64(15) | BIT64(20) | BIT64(24) | BIT64(26) | BIT64(27) | BIT64(62))

#define SPEC_CTRL_MASK 0x407ull /* IBRS, STIBP, SSBD, BHI_DIS_S */
#define MISC_ENABLE_MASK 0x0000000400c51889ull
#define FEATURE_CONTROL_LOCKED 1ull

enum check { ANY, CANONICAL, LOW32 };

/* Plain storage */
static const struct {
	u32 msr;
	u32 offset; /* of a u64 in struct cpu */
	enum check check;
	u64 mask; /* bits that may be set; others #GP */
} plain[] = {
#define FIELD(f) (u32) offsetof(struct cpu, f)
        {MSR_STAR, FIELD(star), ANY, ~0ull},
        {MSR_LSTAR, FIELD(lstar), CANONICAL, ~0ull},
        {MSR_CSTAR, FIELD(cstar), CANONICAL, ~0ull},
        {MSR_SFMASK, FIELD(sfmask), LOW32, ~0ull},
        {MSR_KERNEL_GS_BASE, FIELD(kernel_gs_base), CANONICAL, ~0ull},
        {MSR_TSC_AUX, FIELD(tsc_aux), LOW32, ~0ull},
        {MSR_SYSENTER_CS, FIELD(sysenter_cs), LOW32, ~0ull},
        {MSR_SYSENTER_ESP, FIELD(sysenter_esp), CANONICAL, ~0ull},
        {MSR_SYSENTER_EIP, FIELD(sysenter_eip), CANONICAL, ~0ull},
        {MSR_SPEC_CTRL, FIELD(spec_ctrl), ANY, SPEC_CTRL_MASK},
        {MSR_MISC_ENABLE, FIELD(misc_enable), ANY, MISC_ENABLE_MASK},
        {MSR_DEBUGCTL, FIELD(debugctl), ANY, 0x3},
        {MSR_MCG_STATUS, FIELD(mcg_status), ANY, 0x7},
        {MSR_MCG_CTL, FIELD(mcg_ctl), ANY, ~0ull},
#undef FIELD
};

/* Read-only, or with writes ignored: what a kernel asks on the way up. */
static const struct {
	u32 msr;
	bool ignore_writes;
	u64 val;
} constant[] = {
        {MSR_PLATFORM_ID, false, 0},
        {0x2a, true, 0},  /* EBL_CR_POWERON */
        {0x2c, true, 0},  /* EBC_FREQUENCY_ID */
        {0x34, false, 0}, /* SMI_COUNT */
        {MSR_FEATURE_CONTROL, false, FEATURE_CONTROL_LOCKED},
        {MSR_BIOS_UPDT_TRIG, true, 0},
        {0xcd, true, 0},  /* FSB_FREQ */
        {0xce, false, 0}, /* PLATFORM_INFO: no CPUID faulting */
        {0xcf, false, 0}, /* CORE_CAPABILITIES */
        {0x140, true, 0}, /* MISC_FEATURES_ENABLES */
        {MSR_MTRRCAP, false, MTRR_CAP},
        {MSR_ARCH_CAPABILITIES, false, ARCH_CAPS},
        {MSR_MCG_CAP, false, MCG_CAP},
        {0x198, false, 0}, /* PERF_STATUS */
        {0x199, true, 0},  /* PERF_CTL */
        {0x19a, true, 0},  /* CLOCK_MODULATION */
        {0x19b, true, 0},  /* THERM_INTERRUPT */
        {0x19c, true, 0},  /* THERM_STATUS */
        {0x1a2, false, 0}, /* TEMPERATURE_TARGET */
        {0x1ad, false, 0}, /* TURBO_RATIO_LIMIT */
        {0x1b0, true, 6},  /* ENERGY_PERF_BIAS: normal */
        {0x1c9, true, 0},  /* LASTBRANCH_TOS */
        {0x1db, false, 0},
        {0x1dc, false, 0},
        {0x1dd, false, 0},
        {0x1de, false, 0}, /* LASTBRANCH, LASTINT */
        {0x345, false, 0}, /* PERF_CAPABILITIES */
        {0x606, false, 0}, /* RAPL_POWER_UNIT */
        {0xc0000108, true, 0},
};

void msr_init(struct cpu *c)
{
	const u64 wb = 0x0606060606060606ull;

	c->mtrr_def = BIT(11) | BIT(10) | 6; /* enabled, with fixed ranges, default write-back */
	for (unsigned n = 0; n < ARRAY_SIZE(c->mtrr_fix); n++)
		c->mtrr_fix[n] = wb;
	c->mtrr_fix[2] = 0;       /* A0000-BFFFF uncached */
	c->mtrr_var[0] = 3 * GiB; /* 3-4 GiB uncached */
	c->mtrr_var[1] = (PHYS_MASK & ~(GiB - 1)) | BIT(11);
	c->mcg_ctl = ~0ull;
}

static NORETURN void gp(struct cpu *c)
{
	cpu_raise_err(c, EXC_GP, 0);
}

/* --- MTRRs (SDM vol. 3, 11.11) --- */

static bool type_ok(u8 type)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static int fixed_index(u32 msr)
{
	if (msr == MSR_MTRR_FIX64K)
		return 0;
	if (msr == 0x258 || msr == 0x259)
		return (int)(msr - 0x258 + 1);
	if (msr >= 0x268 && msr <= 0x26f)
		return (int)(msr - 0x268 + 3);
	return -1;
}

static bool mtrr_slot(struct cpu *c, u32 msr, u64 **slot)
{
	int n = fixed_index(msr);

	if (n >= 0)
		*slot = &c->mtrr_fix[n];
	else if (msr >= MSR_MTRR_PHYSBASE0 && msr < MSR_MTRR_PHYSBASE0 + 2 * MTRR_VAR)
		*slot = &c->mtrr_var[msr - MSR_MTRR_PHYSBASE0];
	else if (msr == MSR_MTRR_DEF_TYPE)
		*slot = &c->mtrr_def;
	else
		return false;
	return true;
}

static bool mtrr_ok(u32 msr, u64 val)
{
	if (msr == MSR_MTRR_DEF_TYPE)
		return type_ok((u8)val) && !(val & ~0xcffull);
	if (fixed_index(msr) >= 0) {
		for (unsigned n = 0; n < 8; n++)
			if (!type_ok((u8)(val >> (n * 8))))
				return false;
		return true;
	}
	if (msr & 1) /* mask */
		return !(val & (~PHYS_MASK | 0x7ff));
	return type_ok((u8)val) && !(val & (~PHYS_MASK | 0xf00));
}

static bool pat_ok(u64 val)
{
	for (unsigned n = 0; n < 8; n++) {
		u8 t = (u8)(val >> (n * 8));
		if (t > 7 || t == 2 || t == 3)
			return false;
	}
	return true;
}

/* --- EFER --- */

static void write_efer(struct cpu *c, u64 val)
{
	u64 ok = EFER_SCE | EFER_LME | EFER_NXE | EFER_LMA;

	if (val & ~ok)
		gp(c);
	if ((c->cr0 & CR0_PG) && ((c->efer ^ val) & EFER_LME))
		gp(c);
	val = (val & ~(u64)EFER_LMA) | (c->efer & EFER_LMA);
	if ((c->efer ^ val) & EFER_NXE)
		mmu_flush(c, true);
	c->efer = val;
	cpu_update_mode(c);
	cpu_end_block(c);
}

/* --- TSC --- */

static void write_tsc(struct cpu *c, u64 val)
{
	u64 delta = val - cpu_tsc(c);

	c->tsc_offset += delta;
	c->tsc_adjust += delta;
	cpu_tsc_moved(c);
}

static void write_tsc_adjust(struct cpu *c, u64 val)
{
	c->tsc_offset += val - c->tsc_adjust;
	c->tsc_adjust = val;
	cpu_tsc_moved(c);
}

/* --- interrupt controller --- */

static bool is_intc(const struct cpu *c, u32 msr)
{
	return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
	       (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

static u64 read_intc(struct cpu *c, u32 msr)
{
	u64 val;

	if (!c->intc.ops) {
		if (msr == MSR_APIC_BASE)
			return c->apic_base;
		gp(c);
	}
	if (c->intc.ops->msr_read(c->intc.opaque, msr, &val) < 0)
		gp(c);
	return val;
}

static void write_intc(struct cpu *c, u32 msr, u64 val)
{
	if (!c->intc.ops || c->intc.ops->msr_write(c->intc.opaque, msr, val) < 0)
		gp(c);
	if (msr == MSR_APIC_BASE) {
		c->intc.ops->msr_read(c->intc.opaque, msr, &c->apic_base);
		mmu_flush(c, true); /* the register page moved or went */
	}
	__atomic_fetch_or(&c->request, CPU_REQ_INTR, __ATOMIC_SEQ_CST);
	cpu_end_block(c);
}

/* --- machine check banks: MCi_CTL, STATUS, ADDR, MISC --- */

static bool mc_slot(struct cpu *c, u32 msr, u64 **slot)
{
	if (msr < MSR_MC0_CTL || msr >= MSR_MC0_CTL + 4 * MC_BANKS)
		return false;
	*slot = &c->mc_ctl[msr - MSR_MC0_CTL];
	return true;
}

static void write_mc(struct cpu *c, u32 msr, u64 *slot, u64 val)
{
	unsigned kind = (msr - MSR_MC0_CTL) & 3;

	if (kind == 0 ? val != 0 && val != ~0ull : val != 0)
		gp(c); /* status, address and misc can only be cleared */
	*slot = val;
}

/* --- dispatch --- */

static u64 *plain_slot(struct cpu *c, unsigned n)
{
	return (u64 *)(void *)((u8 *)c + plain[n].offset);
}

static bool read_table(struct cpu *c, u32 msr, u64 *val)
{
	for (unsigned n = 0; n < ARRAY_SIZE(plain); n++) {
		if (plain[n].msr == msr) {
			*val = *plain_slot(c, n);
			return true;
		}
	}
	for (unsigned n = 0; n < ARRAY_SIZE(constant); n++) {
		if (constant[n].msr == msr) {
			*val = constant[n].val;
			return true;
		}
	}
	return false;
}

u64 msr_read(struct cpu *c, u32 msr)
{
	u64 val;
	u64 *slot;

	switch (msr) {
	case MSR_TSC: return cpu_tsc(c);
	case MSR_TSC_ADJUST: return c->tsc_adjust;
	case MSR_EFER: return c->efer;
	case MSR_PAT: return c->pat;
	case MSR_FS_BASE: return c->seg[SEG_FS].base;
	case MSR_GS_BASE: return c->seg[SEG_GS].base;
	case MSR_BIOS_SIGN_ID: return c->bios_sign_id;
	default: break;
	}
	if (is_intc(c, msr))
		return read_intc(c, msr);
	if (mtrr_slot(c, msr, &slot) || mc_slot(c, msr, &slot))
		return *slot;
	if (read_table(c, msr, &val))
		return val;
	if (!c->cfg->lax_msr)
		gp(c);
	return 0;
}

static bool write_table(struct cpu *c, u32 msr, u64 val)
{
	for (unsigned n = 0; n < ARRAY_SIZE(plain); n++) {
		if (plain[n].msr != msr)
			continue;
		if ((val & ~plain[n].mask) || (plain[n].check == CANONICAL && !mmu_canonical(val)) ||
		        (plain[n].check == LOW32 && val >> 32))
			gp(c);
		*plain_slot(c, n) = val;
		return true;
	}
	for (unsigned n = 0; n < ARRAY_SIZE(constant); n++) {
		if (constant[n].msr != msr)
			continue;
		if (!constant[n].ignore_writes)
			gp(c);
		return true;
	}
	return false;
}

static void write_seg_base(struct cpu *c, unsigned seg, u64 val)
{
	if (!mmu_canonical(val))
		gp(c);
	c->seg[seg].base = val;
}

/* Registers whose write does something; false if msr is none of them. */
static bool write_special(struct cpu *c, u32 msr, u64 val)
{
	switch (msr) {
	case MSR_TSC: write_tsc(c, val); return true;
	case MSR_TSC_ADJUST: write_tsc_adjust(c, val); return true;
	case MSR_EFER: write_efer(c, val); return true;
	case MSR_FS_BASE: write_seg_base(c, SEG_FS, val); return true;
	case MSR_GS_BASE: write_seg_base(c, SEG_GS, val); return true;
	case MSR_BIOS_SIGN_ID: c->bios_sign_id = 0; return true; /* loaded by CPUID: there is no microcode */
	case MSR_PRED_CMD:
		if (val & ~1ull)
			gp(c);
		return true;
	case MSR_FLUSH_CMD: gp(c);
	case MSR_PAT:
		if (!pat_ok(val))
			gp(c);
		c->pat = val;
		return true;
	default: return false;
	}
}

void msr_write(struct cpu *c, u32 msr, u64 val)
{
	u64 *slot;

	if (write_special(c, msr, val))
		return;
	if (is_intc(c, msr)) {
		write_intc(c, msr, val);
		return;
	}
	if (mtrr_slot(c, msr, &slot)) {
		if (!mtrr_ok(msr, val))
			gp(c);
		*slot = val;
		return;
	}
	if (mc_slot(c, msr, &slot))
		write_mc(c, msr, slot, val);
	else if (!write_table(c, msr, val) && !c->cfg->lax_msr)
		gp(c);
}
