/*
 * A small assembler for the host: just the instructions that translated code is made of besides the
 * guest's own. Bytes go to the writable alias of the code cache; relative displacements are computed
 * with the address where they will execute.
 *
 * Register arguments are hardware numbers 0..15 (RAX..R15). A memory operand is
 * [base + index * 2^scale + disp], or gs:[...] for the CPU's state, where base may be NOREG.
 */
#pragma once

#include "base/types.h"
#include "x86/x86.h"

#define NOREG 0xffu

struct as {
	u8 *p;     /* next byte, writable alias */
	u8 *end;   /* nothing is written from here on */
	s64 delta; /* executable address - writable address */
	bool full; /* something did not fit */
};

struct as_mem {
	u8 base, index, scale; /* NOREG for none */
	bool gs;
	s32 disp;
};

static inline u8 *as_here(const struct as *a) /* executable address of the next byte */
{
	return a->p + a->delta;
}

static inline void as_8(struct as *a, u8 v)
{
	if (unlikely(a->p >= a->end)) {
		a->full = true;
		return;
	}
	*a->p++ = v;
}

static inline void as_bytes(struct as *a, const void *b, unsigned n)
{
	if (unlikely(n > (size_t)(a->end - a->p))) {
		a->full = true;
		return;
	}
	memcpy(a->p, b, n);
	a->p += n;
}

static inline void as_32(struct as *a, u32 v)
{
	as_bytes(a, &v, 4);
}

static inline void as_64(struct as *a, u64 v)
{
	as_bytes(a, &v, 8);
}

static inline struct as_mem as_at(unsigned base, s32 disp)
{
	return (struct as_mem){.base = (u8)base, .index = NOREG, .disp = disp};
}

static inline struct as_mem as_gs(size_t off) /* gs:[off] */
{
	return (struct as_mem){.base = NOREG, .index = NOREG, .gs = true, .disp = (s32)off};
}

static inline struct as_mem as_gs_index(size_t off, unsigned index, unsigned scale)
{
	return (struct as_mem){
	        .base = NOREG, .index = (u8)index, .scale = (u8)scale, .gs = true, .disp = (s32)off};
}

static inline struct as_mem as_gs_base(size_t off, unsigned base)
{
	return (struct as_mem){.base = (u8)base, .index = NOREG, .gs = true, .disp = (s32)off};
}

/* ModRM, SIB and displacement of a memory operand (SDM vol. 2, 2.1.5). */
static inline void as_modrm_mem(struct as *a, unsigned reg, struct as_mem m)
{
	unsigned r = (reg & 7) << 3;

	if (m.base == NOREG) { /* SIB without base: disp32 */
		as_8(a, (u8)(r | 4));
		as_8(a, (u8)(m.scale << 6 | (m.index == NOREG ? 4 : m.index & 7) << 3 | 5));
		as_32(a, (u32)m.disp);
		return;
	}
	unsigned sib = m.index != NOREG || (m.base & 7) == 4;
	unsigned mod = m.disp == 0 && (m.base & 7) != 5 ? 0 : m.disp == (s8)m.disp ? 1 : 2;

	as_8(a, (u8)(mod << 6 | r | (sib ? 4 : m.base & 7)));
	if (sib)
		as_8(a, (u8)(m.scale << 6 | (m.index == NOREG ? 4 : m.index & 7) << 3 | (m.base & 7)));
	if (mod == 1)
		as_8(a, (u8)m.disp);
	else if (mod == 2)
		as_32(a, (u32)m.disp);
}

/* REX with W, R from reg, X and B from the operand. Zero means none is needed. */
static inline u8 as_rex_mem(unsigned w, unsigned reg, struct as_mem m)
{
	u8 rex = (u8)(w << 3 | (reg >> 3 & 1) << 2);

	if (m.index != NOREG)
		rex |= (u8)((m.index >> 3 & 1) << 1);
	if (m.base != NOREG)
		rex |= (u8)(m.base >> 3 & 1);
	return rex;
}

/* A one-byte opcode with register and memory operand; w: 64-bit. */
static inline void as_rm(struct as *a, unsigned w, u8 op, unsigned reg, struct as_mem m)
{
	u8 rex = as_rex_mem(w, reg, m);

	if (m.gs)
		as_8(a, 0x65);
	if (rex)
		as_8(a, 0x40 | rex);
	as_8(a, op);
	as_modrm_mem(a, reg, m);
}

static inline void as_rr(struct as *a, unsigned w, u8 op, unsigned reg, unsigned rm)
{
	u8 rex = (u8)(w << 3 | (reg >> 3 & 1) << 2 | (rm >> 3 & 1));

	if (rex)
		as_8(a, 0x40 | rex);
	as_8(a, op);
	as_8(a, (u8)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

static inline void as_mov(struct as *a, unsigned dst, unsigned src)
{
	as_rr(a, 1, 0x8b, dst, src);
}

static inline void as_mov32(struct as *a, unsigned dst, unsigned src)
{
	as_rr(a, 0, 0x8b, dst, src);
}

static inline void as_ld(struct as *a, unsigned dst, struct as_mem m) /* 64 bits */
{
	as_rm(a, 1, 0x8b, dst, m);
}

static inline void as_ld32(struct as *a, unsigned dst, struct as_mem m)
{
	as_rm(a, 0, 0x8b, dst, m);
}

static inline void as_st(struct as *a, struct as_mem m, unsigned src)
{
	as_rm(a, 1, 0x89, src, m);
}

static inline void as_st32(struct as *a, struct as_mem m, unsigned src)
{
	as_rm(a, 0, 0x89, src, m);
}

static inline void as_lea(struct as *a, unsigned dst, struct as_mem m)
{
	as_rm(a, 1, 0x8d, dst, m);
}

static inline void as_lea32(struct as *a, unsigned dst, struct as_mem m)
{
	as_rm(a, 0, 0x8d, dst, m);
}

/* The shortest move of a constant that leaves the flags alone. */
static inline void as_imm(struct as *a, unsigned dst, u64 v)
{
	if (v == (u32)v) {
		if (dst >= 8)
			as_8(a, 0x41);
		as_8(a, (u8)(0xb8 | (dst & 7)));
		as_32(a, (u32)v);
	} else if (v == (u64)(s64)(s32)v) {
		as_rr(a, 1, 0xc7, 0, dst);
		as_32(a, (u32)v);
	} else {
		as_8(a, (u8)(0x48 | dst >> 3));
		as_8(a, (u8)(0xb8 | (dst & 7)));
		as_64(a, v);
	}
}

/* op: 0 ADD, 1 OR, 4 AND, 5 SUB, 6 XOR, 7 CMP with an immediate */
static inline void as_alu_imm(struct as *a, unsigned w, unsigned op, unsigned reg, s32 imm)
{
	bool small = imm == (s8)imm;

	as_rr(a, w, small ? 0x83 : 0x81, op, reg);
	if (small)
		as_8(a, (u8)imm);
	else
		as_32(a, (u32)imm);
}

static inline void as_shr32(struct as *a, unsigned reg, u8 count)
{
	as_rr(a, 0, 0xc1, 5, reg);
	as_8(a, count);
}

/* op dword gs:[off], imm */
static inline void as_gs32_imm(struct as *a, unsigned op, size_t off, u32 imm)
{
	as_8(a, 0x65);
	as_8(a, 0x81);
	as_modrm_mem(a, op, as_gs(off));
	as_32(a, imm);
}

/* cmp dword gs:[off], 0 */
static inline void as_test_gs32(struct as *a, size_t off)
{
	as_8(a, 0x65);
	as_8(a, 0x83);
	as_modrm_mem(a, 7, as_gs(off));
	as_8(a, 0);
}

/* cmp qword gs:[off], 0 */
static inline void as_test_gs64(struct as *a, size_t off)
{
	as_bytes(a, "\x65\x48\x83", 3);
	as_modrm_mem(a, 7, as_gs(off));
	as_8(a, 0);
}

/* RORX dst, src, n: a rotation that leaves the flags alone (BMI2, VEX.LZ.F2.0F3A.W1 F0 /r ib). */
static inline void as_rorx(struct as *a, unsigned dst, unsigned src, u8 n)
{
	as_8(a, 0xc4);
	as_8(a, (u8)((dst & 8 ? 0 : 0x80) | 0x40 | (src & 8 ? 0 : 0x20) | 3));
	as_8(a, 0x80 | 0x78 | 3);
	as_8(a, 0xf0);
	as_8(a, (u8)(0xc0 | (dst & 7) << 3 | (src & 7)));
	as_8(a, n);
}

/* SARX dst, src, count (VEX.LZ.F3.0F38 F7 /r). */
static inline void as_sarx(struct as *a, unsigned w, unsigned dst, unsigned src, unsigned count)
{
	as_8(a, 0xc4);
	as_8(a, (u8)((dst & 8 ? 0 : 0x80) | 0x40 | (src & 8 ? 0 : 0x20) | 2));
	as_8(a, (u8)(w << 7 | (~count & 15) << 3 | 2));
	as_8(a, 0xf7);
	as_8(a, (u8)(0xc0 | (dst & 7) << 3 | (src & 7)));
}

/* --- flags <-> AX: SF ZF AF PF CF in AH, OF in AL --- */

static inline void as_flags_to_ax(struct as *a)
{
	as_8(a, 0x9f);                  /* LAHF */
	as_bytes(a, "\x0f\x90\xc0", 3); /* SETO AL */
}

static inline void as_flags_from_ax(struct as *a)
{
	as_bytes(a, "\x3c\x81", 2); /* CMP AL, 81h: overflows for 1 and not for 0 */
	as_8(a, 0x9e);              /* SAHF: all but OF */
}

/* --- jumps. Displacements are 32 bits. --- */

static inline void as_rel(struct as *a, const u8 *target)
{
	as_32(a, (u32)(target - (as_here(a) + 4)));
}

static inline void as_jmp(struct as *a, const u8 *target)
{
	as_8(a, 0xe9);
	as_rel(a, target);
}

static inline void as_jcc(struct as *a, unsigned cc, const u8 *target)
{
	as_8(a, 0x0f);
	as_8(a, (u8)(0x80 | cc));
	as_rel(a, target);
}

/* Forward jumps: emit with a hole, bind later. Returns the hole's place. */
static inline u8 *as_jmp_hole(struct as *a)
{
	as_8(a, 0xe9);
	as_32(a, 0);
	return a->p - 4;
}

static inline u8 *as_jcc_hole(struct as *a, unsigned cc)
{
	as_8(a, 0x0f);
	as_8(a, (u8)(0x80 | cc));
	as_32(a, 0);
	return a->p - 4;
}

static inline void as_bind(struct as *a, u8 *hole) /* to here */
{
	if (!a->full)
		put_le32(hole, (u32)(a->p - (hole + 4)));
}

static inline void as_jmp_mem(struct as *a, struct as_mem m) /* jmp qword [m] */
{
	as_rm(a, 0, 0xff, 4, m);
}

/* One no-operation of 0 to 7 bytes (SDM vol. 2, NOP, table 4-12). */
static inline void as_nops(struct as *a, unsigned n)
{
	static const u8 nops[8][7] = {{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}, {0x0f, 0x1f, 0x40, 0},
	        {0x0f, 0x1f, 0x44, 0, 0}, {0x66, 0x0f, 0x1f, 0x44, 0, 0}, {0x0f, 0x1f, 0x80, 0, 0, 0, 0}};

	as_bytes(a, nops[n], n);
}

#define AS_OR 1u
#define AS_AND 4u
#define CC_O 0u
#define CC_B 2u
#define CC_E 4u
#define CC_NE 5u
#define CC_BE 6u
#define CC_A 7u
