/*
 * The software CPU's state, shared by its engines (interp, later jit). One struct cpu per vCPU,
 * touched only by its own thread but for the atomic request word.
 *
 * Control flow of faults: an instruction handler that must fault calls cpu_raise*, which does not
 * return (longjmp to the run loop). So a handler makes every access that can fault before it
 * changes architectural state.
 *
 * rip is kept as gpr[REG_RIP] and has already been advanced past the current instruction when its
 * handler runs; faults step it back by insn->len. gpr[REG_ZERO] is always 0. So every address is
 * gpr[base] + (gpr[index] << scale) + disp without a branch.
 */
#pragma once

#include "accel/accel.h"
#include "base/types.h"
#include "x86/state.h"
#include "x86/x86.h"
#include <setjmp.h>

#define REG_ZERO 16
#define REG_RIP 17
#define NREG 18

struct insn;
struct soft_vm;

/*
 * Arithmetic flags are lazy: the last flag-writing instruction leaves what it did and its operands,
 * cpu_flags computes the bits. res, a, b are zero-extended to 64 bits from the operation's size.
 */
enum cc_kind {
	CC_EAGER, /* cc_res holds the FL_ARITH bits themselves */
	CC_ADD,   /* res = a + b (+ carry) */
	CC_SUB,   /* res = a - b (- borrow) */
	CC_LOGIC, /* CF = OF = AF = 0, rest from res */
	CC_INC,   /* res = a + 1, CF = b */
	CC_DEC,   /* res = a - 1, CF = b */
};
/* cc_op = kind << 2 | log2(size in bytes) */
#define CC_OP(kind, lg) ((u32)(kind) << 2 | (lg))

/* Mode bits that select how bytes are decoded and bound; part of a block's key. */
#define HF_PE 0x0001u     /* protected mode */
#define HF_LMA 0x0002u    /* EFER.LMA */
#define HF_CS64 0x0004u   /* 64-bit code segment */
#define HF_CS32 0x0008u   /* CS.D */
#define HF_SS32 0x0010u   /* SS.B (stack width 32 when not CS64) */
#define HF_VM86 0x0020u
#define HF_CPL_SHIFT 6
#define HF_CPL 0x00c0u
#define HF_TS 0x0100u     /* CR0.TS */
#define HF_EM 0x0200u     /* CR0.EM */
#define HF_MP 0x0400u     /* CR0.MP */
#define HF_OSFXSR 0x0800u /* CR4.OSFXSR */
#define HF_AVX 0x1000u    /* CR4.OSXSAVE and XCR0 has SSE and AVX */
#define HF_OSXSAVE 0x2000u
#define HF_NE 0x4000u     /* CR0.NE */
#define HF_TF 0x8000u     /* RFLAGS.TF: blocks of one instruction */

/* Software TLB: direct mapped, one table per privilege index. A tag that matches grants the access. */
#define TLB_BITS 10
#define TLB_SIZE (1u << TLB_BITS)
#define TLB_INVALID 1ull /* no page address has bit 0 set */
enum mmu_idx { MMU_KERNEL, MMU_KERNEL_AC /* SMAP suspended by EFLAGS.AC */, MMU_USER, MMU_NIDX };

struct tlb_entry {
	u64 r, w, x;   /* gva of the page if reads / writes / fetches go straight to RAM, else TLB_INVALID */
	u64 addend;    /* host address = gva + addend */
};
static_assert(sizeof(struct tlb_entry) == 32, "indexed by shift");

struct cpu {
	u64 gpr[NREG];
	const struct insn *insn; /* being executed */
	const struct insn *end;  /* the run loop stops before it; a handler ends the block by end = insn + 1 */
	u64 cc_res, cc_a, cc_b;
	u32 cc_op;
	u32 eflags;              /* everything but FL_ARITH; bit 1 set */
	u32 hf;                  /* HF_*; recomputed by cpu_update_mode */
	u32 mmu_idx;             /* enum mmu_idx in force for data accesses */
	u32 request;             /* atomic: CPU_REQ_*; checked between blocks */
	u32 cpl;

	struct x86_seg seg[X86_NSEG];
	struct x86_seg ldt, tr;
	struct x86_table gdt, idt;
	u64 cr0, cr2, cr3, cr4, efer, xcr0;
	u64 dr[8];

	union x86_vec vec[16];
	struct x86_fpu fpu;
	u32 mxcsr;

	u64 apic_base, pat, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip, tsc_aux, misc_enable;
	u64 tsc_offset, tsc_adjust, spec_ctrl;
	u64 mtrr_def, mtrr_fix[11], mtrr_var[16];
	u64 mcg_status, mc_ctl[4 * 10];

	bool halted, wait_sipi, nmi_blocked, shadow; /* shadow: after STI, MOV SS */

	/* fault being raised (between cpu_raise and the run loop) */
	jmp_buf fault_jmp;
	struct {
		u8 vector;
		bool has_error, soft; /* soft: INT n, INT3, INTO */
		u32 error;
		u64 addr; /* CR2 for #PF */
	} fault;

	struct tlb_entry tlb[MMU_NIDX][TLB_SIZE];

	unsigned id;
	struct soft_vm *vm;
	const struct accel_host *host;
	struct mem *mem;
	struct intc intc;
	void *engine; /* the engine's own per-CPU data */
	u64 stat[16]; /* --stats, see enum in engine.h */
};

#define CPU_REQ_INTR 0x01u
#define CPU_REQ_NMI 0x02u
#define CPU_REQ_INIT 0x04u
#define CPU_REQ_SIPI 0x08u /* vector in bits 31:24 of the word */
#define CPU_REQ_KICK 0x10u
#define CPU_REQ_TLB 0x20u

static inline u64 cpu_rip(const struct cpu *c)
{
	return c->gpr[REG_RIP];
}

/* --- flags (flags.c) --- */
u32 cpu_arith_flags(const struct cpu *c);           /* FL_ARITH bits */
static inline u32 cpu_flags(const struct cpu *c)    /* all of EFLAGS */
{
	return c->eflags | cpu_arith_flags(c);
}
static inline void cpu_set_arith(struct cpu *c, u32 fl) /* eager: only FL_ARITH bits are taken */
{
	c->cc_op = CC_OP(CC_EAGER, 0);
	c->cc_res = fl & FL_ARITH;
}
bool cpu_cond(const struct cpu *c, unsigned cc); /* condition code 0..15 as in Jcc */

/* --- faults: do not return --- */
NORETURN void cpu_raise(struct cpu *c, unsigned vector);
NORETURN void cpu_raise_err(struct cpu *c, unsigned vector, u32 error);
NORETURN void cpu_raise_pf(struct cpu *c, u64 addr, u32 error);

/* After the current instruction leave the block (modes, interrupts or code may have changed). */
static inline void cpu_end_block(struct cpu *c)
{
	c->end = c->insn + 1;
}

void cpu_update_mode(struct cpu *c); /* hf, mmu_idx, cpl-dependent state from CRs, EFER, CS, SS, EFLAGS */
