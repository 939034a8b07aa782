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
#include "accel/cpuid.h"
#include "base/types.h"
#include "x86/state.h"
#include "x86/x86.h"
#include <pthread.h>
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
#define HF_PE 0x0001u   /* protected mode */
#define HF_LMA 0x0002u  /* EFER.LMA */
#define HF_CS64 0x0004u /* 64-bit code segment */
#define HF_CS32 0x0008u /* CS.D */
#define HF_SS32 0x0010u /* SS.B (stack width 32 when not CS64) */
#define HF_VM86 0x0020u
#define HF_CPL_SHIFT 6
#define HF_CPL 0x00c0u
#define HF_TS 0x0100u     /* CR0.TS */
#define HF_EM 0x0200u     /* CR0.EM */
#define HF_MP 0x0400u     /* CR0.MP */
#define HF_OSFXSR 0x0800u /* CR4.OSFXSR */
#define HF_AVX 0x1000u    /* CR4.OSXSAVE and XCR0 has SSE and AVX */
#define HF_OSXSAVE 0x2000u
#define HF_NE 0x4000u /* CR0.NE */
#define HF_TF 0x8000u /* RFLAGS.TF: blocks of one instruction */

/*
 * Software TLB: direct mapped by the low 20 bits of the page number, one per privilege index. A tag
 * that equals the page's address grants the access. The arrays are sparse: the host gives them memory
 * where they are touched, and its zero is a tag that fits no page of that slot, but for slot 0, which
 * has TLB_NONE_0 instead. So 8 neighbouring pages share a cache line and an index needs no masking.
 */
#define TLB_BITS 20
#define TLB_SIZE (1u << TLB_BITS)
#define TLB_NONE_0 0x1000ull /* a page of slot 1 */
enum mmu_idx {
	MMU_KERNEL,
	MMU_KERNEL_AC, /* SMAP suspended by EFLAGS.AC */
	MMU_USER,
	MMU_USER_ALIGN, /* user with alignment checks (CR0.AM and EFLAGS.AC): never filled, always slow */
	MMU_NIDX
};

struct tlb {
	/* gva of the page if reads / writes / fetches go straight to RAM, else a page of another slot */
	u64 r[TLB_SIZE], w[TLB_SIZE], x[TLB_SIZE];
	u64 host[TLB_SIZE]; /* host address of the page */
	/* For the translator: tlb_code() if fetches are granted, else 0. Which page is at an address? */
	u64 code[TLB_SIZE];
};

/* Odd, unlike addresses of pages: so a page's address less an empty slot's 0 is no page's number. */
static inline u64 tlb_code(u64 page, u64 gpa)
{
	return page + (gpa >> PAGE_SHIFT) * 2 + 1;
}

/* Which slots are not empty: a bit each, and a bit for each 64 of those, twice, so that a flush is cheap. */
struct tlb_used {
	u64 bit[TLB_SIZE / 64];
	u64 sum[TLB_SIZE / 64 / 64];
	u64 top[TLB_SIZE / 64 / 64 / 64];
};

/* Where an event comes from: decides about the saved RIP, the gate's DPL check and error codes' EXT bit. */
enum event_kind {
	EV_FAULT, /* saved RIP: the instruction */
	EV_TRAP,  /* exception after an instruction: saved RIP is the next one */
	EV_EXT,   /* external interrupt */
	EV_NMI,
	EV_INT_N, /* INT n: gate DPL checked, needs IOPL 3 in VM86 mode */
	EV_INT_3, /* INT3, INTO: gate DPL checked */
	EV_INT_1, /* INT1 (ICEBP): like a hardware #DB */
};

struct cpu_event {
	bool active;
	u8 vector, kind;
	bool has_error;
	u32 error;
	u8 advance; /* saved RIP = RIP + advance (software interrupts) */
};

struct tlb2;
struct block;
struct jit;

/*
 * The translator's part (jit/jit.h). Translated code reaches the CPU through the GS base and finds the
 * host code of an indirect branch's target by its address in jc_*, one table per privilege index.
 */
#define JC_SIZE 131072u
#define JIT_STACK (64 * KiB)
#define JIT_FSAVE 108
#define JIT_WINDOWS 24
#define JC_NIDX 3 /* MMU_KERNEL, MMU_KERNEL_AC, MMU_USER */
#define RS_SIZE 512u
struct jit_cpu {
	struct jit *j;
	u64 self;             /* address of struct cpu */
	u64 vpage;            /* address of the page that executes, in the guest's view */
	u64 host_rsp;         /* stack of the C code that entered translated code */
	u64 target;           /* where to enter */
	u64 ptr, aux;         /* what an exit says: a record, a guest address */
	u64 tmp, tmp2;        /* inside one instruction */
	u64 win[JIT_WINDOWS]; /* inside one block: host - guest addresses */
	u32 ax;               /* arithmetic flags as LAHF and SETO AL leave them */
	u32 host_mxcsr;
	u32 inside;            /* atomic: executes translated code */
	u32 epoch;             /* atomic: counts exits from it */
	u64 gen;               /* of the code cache that jc_* and resumption addresses are from */
	void *stack;           /* of the handler of host faults */
	u64 insn[8];           /* struct insn of a callout */
	u32 x87;               /* x87 state is in the host's unit while translated code runs */
	bool only_known;       /* tests, --jit-check: translated code finds no targets by itself */
	bool shadowed;         /* --jit-check: accesses to RAM go to copies */
	bool broken;           /* --jit-check has found a difference */
	struct shadow *shadow; /* its copies (jit/shadow.h) */
	u8 fsave[JIT_FSAVE];
	u32 jc_key[JC_NIDX];
	/* Where CALLs will return to, by the place of the return address in the stack; its own thread's. */
	struct jit_rs {
		u64 tag[RS_SIZE]; /* guest address */
		u64 host[RS_SIZE];
	} rs[JC_NIDX];
	u32 rs_stale; /* atomic: another thread wants it to be emptied */
	/* Entries that are not empty, and words that are not: of pages that are not global; that are. */
	struct jc_used {
		u64 bit[JC_SIZE / 64];
		u64 sum[JC_SIZE / 64 / 64];
	} jc_used[JC_NIDX][2];
	struct jc {
		u64 tag; /* guest address */
		u64 host;
	} jc[JC_NIDX][JC_SIZE];
};

struct cpu {
	u64 gpr[NREG];
	const struct insn *insn; /* being executed */
	const struct insn *end; /* the run loop stops before it; a handler ends the block by end = insn + 1 */
	u64 cc_res, cc_a, cc_b;
	u32 cc_op;
	u32 eflags;  /* everything but FL_ARITH; bit 1 set */
	u32 hf;      /* HF_*; recomputed by cpu_update_mode */
	u32 mmu_idx; /* enum mmu_idx in force for data accesses */
	u32 request; /* atomic: CPU_REQ_*; checked between blocks */
	u32 masked;  /* CPU_REQ_INTR was seen while IF was clear: looked at again when IF is set */
	u32 cpl;

	struct x86_seg seg[X86_NSEG];
	struct x86_seg ldt, tr;
	struct x86_table gdt, idt;
	u64 cr0, cr2, cr3, cr4, cr8 /* without an intc */, efer, xcr0;
	u64 dr[8];

	union x86_vec vec[16];
	struct x86_fpu fpu;
	u32 mxcsr;

	u64 apic_base, pat, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip, tsc_aux, misc_enable;
	u64 tsc_offset, tsc_adjust, spec_ctrl;
	u64 tsc_base; /* guest TSC - host TSC */
	u64 mtrr_def, mtrr_fix[11], mtrr_var[16];
	u64 debugctl, bios_sign_id, mcg_status, mcg_ctl, mc_ctl[4 * 10];
	u64 pdpte[4]; /* PAE: loaded by MOV CR3 (SDM vol. 3, 4.4.1) */

	bool halted, wait_sipi, nmi_blocked, shadow; /* shadow: after STI, MOV SS */
	bool shadow_ss;                              /* the shadow is MOV SS's: it also delays debug traps */
	bool no_step;  /* this instruction's single-step trap is lost (INT n, SYSCALL) */
	bool shutdown; /* triple fault */
	u32 slow;      /* SLOW_*: reasons for the run loop to look closer */
	u32 fetch_idx; /* enum mmu_idx of instruction fetches */
	u64 code_base; /* CS.base, 0 in 64-bit mode */
	u32 db_hit;    /* DR6 bits of data breakpoints and task traps met by this instruction */
	u32 pauses;
	pthread_mutex_t own_lock;  /* bus_lock of a CPU outside of a machine */
	pthread_mutex_t *bus_lock; /* the machine's, for LOCKed accesses that are not one host access */
	bool bus_locked;           /* held by this CPU: released when a fault leaves the instruction */

	/* fault being raised (between cpu_raise and the run loop) */
	jmp_buf fault_jmp;
	struct {
		u8 vector;
		bool has_error;
		u8 kind; /* enum event_kind */
		u32 error;
		u64 addr; /* CR2 for #PF */
	} fault;
	/* event being delivered: a fault while it is active combines with it (#DF, shutdown) */
	struct cpu_event event;

	struct tlb2 *tlb2;         /* second level, keyed by PCID (mmu.c) */
	const struct block *block; /* being executed (interp) */

	unsigned id;
	u32 sleeping;  /* atomic: the thread waits on the request word */
	bool pinned;   /* the thread's affinity has been set */
	u64 tsc_given; /* what get_state last said */
	const struct accel_config *cfg;
	struct cpuid_table cpuid;
	struct soft_vm *vm;
	const struct accel_host *host;
	struct mem *mem;
	struct intc intc;
	void *engine; /* the engine's own per-CPU data */
	u64 stat[16]; /* --stats, see enum in engine.h */
	struct jit_cpu jit;

	struct tlb_used tlb_used[2][MMU_NIDX]; /* slots of pages that are not global; that are */
	struct tlb tlb[MMU_NIDX] __attribute__((aligned(4096)));
};

#define CPU_REQ_INTR 0x01u
#define CPU_REQ_NMI 0x02u
#define CPU_REQ_INIT 0x04u
#define CPU_REQ_SIPI 0x08u /* vector in bits 31:24 of the word */
#define CPU_REQ_KICK 0x10u
#define CPU_REQ_TLB 0x20u
#define CPU_REQ_SYNC 0x40u /* somebody waits until this CPU leaves translated code */

/* reasons for the run loop to look closer before or after a block */
#define SLOW_EVENT 0x01u  /* event.active: deliver it */
#define SLOW_IDLE 0x02u   /* halted or wait_sipi */
#define SLOW_SHADOW 0x04u /* shadow: one instruction without interrupts */
#define SLOW_STEP 0x08u   /* RFLAGS.TF, or a debug trap is due */
#define SLOW_RF 0x20u     /* RFLAGS.RF: cleared by the next instruction */
#define SLOW_BREAK 0x10u  /* an execution breakpoint is armed in DR7 */

/* Has anybody asked for something that the CPU can do now? Its own thread. */
static inline bool cpu_asked(const struct cpu *c)
{
	return __atomic_load_n(&c->request, __ATOMIC_RELAXED) || unlikely(c->masked && (c->eflags & FL_IF));
}

static inline u64 cpu_rip(const struct cpu *c)
{
	return c->gpr[REG_RIP];
}

/* --- flags (flags.c) --- */
u32 cpu_arith_flags(const struct cpu *c);        /* FL_ARITH bits */
static inline u32 cpu_flags(const struct cpu *c) /* all of EFLAGS */
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
/* INT n, INT3, INTO, INT1: RIP is past the instruction; the gate is entered from the next one. */
NORETURN void cpu_raise_soft(struct cpu *c, unsigned vector, enum event_kind kind);

/*
 * After a longjmp to fault_jmp: what was raised becomes the event to deliver, RIP is the faulting
 * instruction's; a fault during a delivery combines with it (#DF, shutdown).
 */
void cpu_fault_taken(struct cpu *c);
/* Delivers c->event through the IDT. May raise. */
void cpu_deliver(struct cpu *c);
/* Starts the delivery of an event that no instruction raised. */
void cpu_set_event(struct cpu *c, unsigned vector, enum event_kind kind);

extern const struct insn cpu_no_insn; /* c->insn while no instruction executes: length 0 */

void cpu_init_state(struct cpu *c);  /* INIT: everything that INIT resets (SDM vol. 3, table 10-1) */
u64 cpu_tsc(const struct cpu *c);    /* guest TSC now */
void cpu_power_on(struct cpu *c);    /* everything but the TSC, which runs in step with the others */
void cpu_tsc_base(struct cpu *c);    /* the clock may have been stopped since */
void cpu_tsc_moved(struct cpu *c);   /* tsc_offset changed: the deadline timer counts it too */
void cpu_update_ac(struct cpu *c);   /* after EFLAGS.AC changed alone: mmu_idx */
void cpu_update_mode(struct cpu *c); /* hf, mmu_idx, cpl-dependent state from CRs, EFER, CS, SS, EFLAGS */
