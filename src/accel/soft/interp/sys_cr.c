/*
 * Control, debug and extended control registers (SDM vol. 3, 2.5, 2.6, 4.1, 18.2).
 */
#include "accel/soft/debug.h"
#include "accel/soft/interp/sys.h"
#include "accel/soft/walk.h"

#define CR0_BITS                                                                                             \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR4_BITS                                                                                             \
	(CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT |  \
	        CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)

static NORETURN void gp(struct cpu *c)
{
	cpu_raise_err(c, EXC_GP, 0);
}

static bool pae_paging(const struct cpu *c)
{
	return (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !(c->efer & EFER_LMA);
}

/* Paging goes on: into IA-32e mode if EFER.LME says so. */
static void paging_on(struct cpu *c)
{
	if (c->efer & EFER_LME) {
		if (!(c->cr4 & CR4_PAE) || (c->seg[SEG_CS].attr & SEG_ATTR_L) ||
		        (c->tr.attr & 0xd) == DT_TSS16)
			gp(c);
		c->efer |= EFER_LMA;
	} else if ((c->cr4 & CR4_PAE) && !mmu_load_pdptes(c, c->cr3)) {
		gp(c);
	}
}

static void paging_off(struct cpu *c)
{
	if ((c->hf & HF_CS64) || (c->cr4 & CR4_PCIDE))
		gp(c);
	c->efer &= ~(u64)EFER_LMA;
}

void cr0_write(struct cpu *c, u64 val)
{
	u64 changed;

	if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)))
		gp(c);
	val = (val & CR0_BITS) | CR0_ET;
	changed = val ^ c->cr0;
	if (changed & val & CR0_PG)
		paging_on(c);
	else if (changed & CR0_PG)
		paging_off(c);
	else if (pae_paging(c) && (changed & (CR0_CD | CR0_NW)) && !mmu_load_pdptes(c, c->cr3))
		gp(c);
	c->cr0 = val;
	if (changed & CR0_PG)
		mmu_flush(c, true);
	else if (changed & CR0_WP)
		mmu_forget(c); /* tags of writable pages depend on it */
	cpu_update_mode(c);
	cpu_end_block(c);
}

static void cr3_write(struct cpu *c, u64 val)
{
	bool keep = (c->cr4 & CR4_PCIDE) && val >> 63;
	u64 old = c->cr3;

	if (c->cr4 & CR4_PCIDE)
		val &= ~(1ull << 63);
	if ((c->efer & EFER_LMA) && (val & ~PHYS_MASK))
		gp(c);
	if (pae_paging(c) && !mmu_load_pdptes(c, val))
		gp(c);
	c->cr3 = val;
	if (!keep)
		mmu_flush(c, false);
	else if (old != val)
		mmu_switch(c);
	cpu_end_block(c);
}

static void cr4_write(struct cpu *c, u64 val)
{
	u64 ok = CR4_BITS | (cpuid_has(&c->cpuid, CF_XSAVE) ? CR4_OSXSAVE : 0);
	u64 changed = val ^ c->cr4;
	u64 old = c->cr4;

	if (val & ~ok)
		gp(c);
	if ((c->efer & EFER_LMA) && !(val & CR4_PAE))
		gp(c);
	if ((changed & val & CR4_PCIDE) && (!(c->efer & EFER_LMA) || (c->cr3 & 0xfff)))
		gp(c);
	c->cr4 = val;
	if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && pae_paging(c) &&
	        !mmu_load_pdptes(c, c->cr3)) {
		c->cr4 = old;
		gp(c);
	}
	if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE)) || (changed & ~val & CR4_PCIDE))
		mmu_flush(c, true);
	else if (changed & (CR4_SMEP | CR4_SMAP | CR4_PCIDE))
		mmu_switch(c);
	cpu_update_mode(c);
	cpu_end_block(c);
}

static u64 cr8_read(struct cpu *c)
{
	return c->intc.ops ? c->intc.ops->cr8_read(c->intc.opaque) : c->cr8;
}

static void cr8_write(struct cpu *c, u64 val)
{
	if (val > 15)
		gp(c);
	c->cr8 = val;
	if (!c->intc.ops)
		return;
	c->intc.ops->cr8_write(c->intc.opaque, (u8)val);
	__atomic_fetch_or(&c->request, CPU_REQ_INTR, __ATOMIC_SEQ_CST);
	cpu_end_block(c);
}

void op_mov_to_cr(struct cpu *c, const struct insn *i)
{
	u64 val = reg_read(c, i->r1, i->osize);

	need_cpl0(c);
	switch (i->aux) {
	case 0: cr0_write(c, val); break;
	case 2: c->cr2 = val; break;
	case 3: cr3_write(c, val); break;
	case 4: cr4_write(c, val); break;
	default: cr8_write(c, val); break;
	}
}

void op_mov_from_cr(struct cpu *c, const struct insn *i)
{
	u64 val;

	need_cpl0(c);
	switch (i->aux) {
	case 0: val = c->cr0; break;
	case 2: val = c->cr2; break;
	case 3: val = c->cr3; break;
	case 4: val = c->cr4; break;
	default: val = cr8_read(c); break;
	}
	reg_write(c, i->r1, i->osize, val);
}

void op_clts(struct cpu *c, const struct insn *i)
{
	need_cpl0(c);
	c->cr0 &= ~(u64)CR0_TS;
	cpu_update_mode(c);
	cpu_end_block(c);
}

void op_lmsw(struct cpu *c, const struct insn *i)
{
	u64 low = rm16(c, i, i->r1) & (CR0_PE | CR0_MP | CR0_EM | CR0_TS);

	need_cpl0(c);
	/* PE can be set, not cleared. */
	cr0_write(c, (c->cr0 & ~(u64)(CR0_MP | CR0_EM | CR0_TS)) | low);
}

void op_smsw(struct cpu *c, const struct insn *i)
{
	check_umip(c);
	if (i->flags & INSN_MEM)
		mem_st16(c, insn_lin(c, i, 2, true), (u16)c->cr0);
	else
		reg_write(c, i->r1, i->osize, c->cr0);
}

/* --- debug registers --- */

/* DR4 and DR5 are aliases of 6 and 7 unless CR4.DE; DR7.GD guards all of them. */
static unsigned dr_number(struct cpu *c, const struct insn *i)
{
	unsigned n = i->aux;

	if (n == 4 || n == 5) {
		if (c->cr4 & CR4_DE)
			cpu_raise(c, EXC_UD);
		n += 2;
	}
	need_cpl0(c);
	if (c->dr[7] & DR7_GD) {
		c->dr[6] |= DR6_BD;
		cpu_raise(c, EXC_DB);
	}
	return n;
}

void op_mov_to_dr(struct cpu *c, const struct insn *i)
{
	unsigned n = dr_number(c, i);
	u64 val = reg_read(c, i->r1, i->osize);

	if (n >= 6 && val >> 32)
		gp(c);
	if (n == 6)
		val = (val & 0xe00f) | DR6_FIXED;
	else if (n == 7)
		val = (val & 0xffff23ffu) | DR7_FIXED;
	c->dr[n] = val;
	if (n != 6) {
		debug_update(c);
		cpu_end_block(c);
	}
}

void op_mov_from_dr(struct cpu *c, const struct insn *i)
{
	reg_write(c, i->r1, i->osize, c->dr[dr_number(c, i)]);
}

/* --- XCR0 --- */

static void need_osxsave(struct cpu *c)
{
	if (!(c->cr4 & CR4_OSXSAVE))
		cpu_raise(c, EXC_UD);
}

/* Which state components are not in their initial state (XGETBV with ECX = 1). */
static u64 in_use(const struct cpu *c)
{
	u64 xmm = 0, ymm = 0;

	for (unsigned n = 0; n < 16; n++) {
		xmm |= c->vec[n].q[0] | c->vec[n].q[1];
		ymm |= c->vec[n].q[2] | c->vec[n].q[3];
	}
	return XCR0_X87 | (xmm || c->mxcsr != 0x1f80 ? XCR0_SSE : 0) | (ymm ? XCR0_AVX : 0);
}

void op_xgetbv(struct cpu *c, const struct insn *i)
{
	u64 val = c->xcr0;

	need_osxsave(c);
	if ((u32)c->gpr[RCX] > 1)
		gp(c);
	if ((u32)c->gpr[RCX] == 1)
		val &= in_use(c);
	c->gpr[RAX] = (u32)val;
	c->gpr[RDX] = val >> 32;
}

void op_xsetbv(struct cpu *c, const struct insn *i)
{
	u64 val = (u32)c->gpr[RAX] | c->gpr[RDX] << 32;
	u64 ok = XCR0_X87 | XCR0_SSE | (cpuid_has(&c->cpuid, CF_AVX) ? XCR0_AVX : 0);

	need_osxsave(c);
	need_cpl0(c);
	if ((u32)c->gpr[RCX] || (val & ~ok) || !(val & XCR0_X87) || ((val & XCR0_AVX) && !(val & XCR0_SSE)))
		gp(c);
	c->xcr0 = val;
	cpu_update_mode(c);
	cpu_end_block(c);
}

/* --- SMAP --- */

static void set_ac(struct cpu *c, bool on)
{
	if (c->cpl)
		cpu_raise(c, EXC_UD);
	c->eflags = on ? c->eflags | FL_AC : c->eflags & ~FL_AC;
	cpu_update_ac(c);
}

void op_clac(struct cpu *c, const struct insn *i)
{
	set_ac(c, false);
}

void op_stac(struct cpu *c, const struct insn *i)
{
	set_ac(c, true);
}
