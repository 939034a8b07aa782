/*
 * A decoded instruction of the reference engine, and how handlers are bound to it.
 *
 * Zydis decodes; bind.c fills the common part (length, memory operand, operand size, prefixes)
 * and calls the binder of the mnemonic (ops_*.h lists), which picks the handler and its registers.
 * A binder that returns false means #UD. Decoded instructions live in blocks keyed by physical
 * address and HF_* mode bits, so a handler must not depend on the linear address of its own bytes:
 * RIP-relative operands use base = REG_RIP (already advanced), branches add imm to RIP.
 */
#pragma once

#include "accel/soft/cpu.h"
#include "accel/soft/mmu.h"
#include <Zydis/Zydis.h>

struct insn;
typedef void insn_fn(struct cpu *c, const struct insn *i);

enum seg_mode {
	SEGM_FLAT,  /* linear = offset (64-bit mode without FS/GS) */
	SEGM_BASE,  /* 64-bit mode, FS or GS: add the base */
	SEGM_CHECK, /* legacy modes: mmu_linear */
};

#define INSN_LOCK 0x01u
#define INSN_REP 0x02u   /* F3 as REP/REPE */
#define INSN_REPNE 0x04u /* F2 as REPNE */
#define INSN_MEM 0x08u   /* has a memory operand (base..seg_mode valid) */

struct insn {
	insn_fn *fn;
	u64 imm; /* immediate, sign-extended to 64 bits as the instruction says; branch displacement */
	s64 disp;
	u8 base, index, scale /* shift count */, seg;
	u8 seg_mode; /* enum seg_mode */
	u8 asize;    /* address size in bytes 2, 4, 8 */
	u8 osize;    /* operand size in bytes */
	u8 len;      /* of the encoding, 1..15 */
	u8 flags;    /* INSN_* */
	/* Meaning belongs to handler and binder. By custom a GPR number; for byte registers the byte
	 * offset into gpr[] (reg8_off); for vector registers the number. */
	u8 r1, r2, r3;
	u8 aux; /* condition code, predicate, lane width, ... */
	u8 aux2;
	u8 pad[2];
};

/* What a binder sees. */
struct dec {
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	u32 hf; /* HF_* the block is decoded for */
};

typedef bool bind_fn(const struct dec *d, struct insn *i);

/* The binder of each mnemonic, NULL for those we do not have (#UD). Built from ops_*.h. */
extern bind_fn *const insn_binders[ZYDIS_MNEMONIC_MAX_VALUE + 1];

/* Handlers shared by binders. */
insn_fn op_ud; /* raises #UD */
insn_fn op_nm; /* raises #NM */
insn_fn op_nop;

/* --- operands --- */

/* Byte offset of an 8-bit register in cpu.gpr (AH, CH, DH, BH are byte 1 of 0..3). */
u8 reg8_off(ZydisRegister r);
/* GPR number of any 16/32/64-bit general register. */
u8 reg_num(ZydisRegister r);

static inline u8 *reg8(struct cpu *c, unsigned off)
{
	return (u8 *)c->gpr + off;
}

/* Writes a register by operand size: 1 (byte offset), 2 keep the rest, 4 zero-extends. */
static inline void reg_write(struct cpu *c, unsigned r, unsigned size, u64 v)
{
	switch (size) {
	case 1: *reg8(c, r) = (u8)v; break;
	case 2: memcpy(&c->gpr[r], &v, 2); break;
	case 4: c->gpr[r] = (u32)v; break;
	default: c->gpr[r] = v; break;
	}
}

static inline u64 reg_read(struct cpu *c, unsigned r, unsigned size)
{
	return size == 1 ? *reg8(c, r) : c->gpr[r] & ones(size);
}

static inline u64 insn_ea(const struct cpu *c, const struct insn *i)
{
	u64 a = c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (u64)i->disp;
	if (unlikely(i->asize != 8))
		a &= ones(i->asize);
	return a;
}

/* Linear address of the memory operand, checked for an access of size bytes. */
static inline u64 insn_lin(struct cpu *c, const struct insn *i, unsigned size, bool write)
{
	u64 a = insn_ea(c, i);
	if (likely(i->seg_mode == SEGM_FLAT))
		return a;
	if (i->seg_mode == SEGM_BASE)
		return a + c->seg[i->seg].base;
	return mmu_linear(c, i->seg, a, size, write);
}

/* After the current instruction leave the block (modes, interrupts or code may have changed). */
static inline void cpu_end_block(struct cpu *c)
{
	c->end = c->insn + 1;
}

static inline bool insn_is64(const struct cpu *c)
{
	return c->hf & HF_CS64;
}

/* --- stack (stack.c): width by mode (8 in 64-bit, else SS.B); size is the operand size --- */
void cpu_push(struct cpu *c, unsigned size, u64 v);  /* faults before it changes RSP */
u64 cpu_pop(struct cpu *c, unsigned size);           /* changes RSP */
u64 cpu_peek(struct cpu *c, unsigned size, u64 off); /* value at RSP + off */
void cpu_sp_add(struct cpu *c, s64 delta);           /* RSP, ESP or SP by stack width */

/* Near branch target: truncates to the operand size, checks canonical / CS limit (#GP(0)), sets RIP, ends the
 * block. */
void cpu_branch(struct cpu *c, u64 target, unsigned osize);
