/*
 * The architectural state of one x86-64 CPU as plain data: what boot code sets, a debugger reads,
 * and differential tests compare. Units and layouts are the manual's (Intel SDM vol. 1 ch. 3, vol. 3
 * ch. 2); general registers are in encoding order.
 */
#pragma once

#include "base/types.h"

enum x86_gpr {
	RAX,
	RCX,
	RDX,
	RBX,
	RSP,
	RBP,
	RSI,
	RDI,
	R8,
	R9,
	R10,
	R11,
	R12,
	R13,
	R14,
	R15, /* ORDER GPR: ModRM */
	X86_NGPR
};

enum x86_seg_id { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, X86_NSEG /* ORDER SEG: Sreg */ };

/* Attributes as in a descriptor's bits 40..55, i.e. type:4 S:1 DPL:2 P:1 | (limit 19:16 left 0) | AVL L D/B G
 * at bits 12..15. */
struct x86_seg {
	u16 sel;
	u16 attr;
	u32 limit; /* in bytes, after scaling by G */
	u64 base;
};

#define SEG_ATTR_TYPE 0x000f
#define SEG_ATTR_S 0x0010
#define SEG_ATTR_DPL_SHIFT 5
#define SEG_ATTR_DPL 0x0060
#define SEG_ATTR_P 0x0080
#define SEG_ATTR_AVL 0x1000
#define SEG_ATTR_L 0x2000
#define SEG_ATTR_DB 0x4000
#define SEG_ATTR_G 0x8000
#define SEG_ATTR_UNUSABLE 0x0100 /* null selector loaded; not in any descriptor */

struct x86_table {
	u64 base;
	u16 limit;
};

/* A vector register; the low 16 bytes are xmm. */
union x86_vec {
	u8 b[32];
	u16 w[16];
	u32 d[8];
	u64 q[4];
	float f32[8];
	double f64[4];
} __attribute__((aligned(32)));

/* x87 register: 80 bits of the extended format, stored in 16 bytes. */
struct x86_st {
	u64 mant;
	u16 exp; /* sign in bit 15 */
	u16 pad[3];
};

/* x87 and MMX. st[] is physical (R0..R7); TOP is in fsw. MMX register n is st[n].mant. */
struct x86_fpu {
	struct x86_st r[8];
	u16 fcw, fsw;
	u8 ftw; /* abridged: bit n set = R(n) not empty (FXSAVE form) */
	u16 fop;
	u64 fip, fdp;
	u16 fcs, fds;
};

struct x86_state {
	u64 gpr[X86_NGPR];
	u64 rip, rflags;
	struct x86_seg seg[X86_NSEG], ldt, tr;
	struct x86_table gdt, idt;
	u64 cr0, cr2, cr3, cr4, cr8;
	u64 dr[8]; /* 0..3, 6, 7 used */
	u64 xcr0;
	u64 efer, apic_base, pat, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip, tsc_aux, misc_enable, tsc;
	struct x86_fpu fpu;
	u32 mxcsr;
	union x86_vec vec[16];
	bool nmi_blocked, intr_shadow, halted, wait_sipi;
	bool nmi_pending;
};

/* Power-on state (SDM vol. 3, table 10-1): real mode at f000:fff0. bsp: else waits for SIPI. */
void x86_state_reset(struct x86_state *s, bool bsp);
