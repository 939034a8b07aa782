/*
 * Segments: descriptors in tables, their checks, and the cached registers (SDM vol. 3, ch. 3 and 5).
 */
#pragma once

#include "accel/soft/cpu.h"

/* A descriptor as read from a table; hi2 is the upper half of 16-byte system descriptors. */
struct desc {
	u64 lo;
	u64 hi2;
	u64 lin; /* of the descriptor itself, to set the accessed or busy bit */
};

/* descriptor types, S=0 (SDM vol. 3, table 3-2) */
enum {
	DT_TSS16 = 1,
	DT_LDT = 2,
	DT_TSS16_BUSY = 3,
	DT_CALL16 = 4,
	DT_TASK = 5,
	DT_INT16 = 6,
	DT_TRAP16 = 7,
	DT_TSS32 = 9,
	DT_TSS32_BUSY = 11,
	DT_CALL32 = 12,
	DT_INT32 = 14,
	DT_TRAP32 = 15,
};

static inline unsigned desc_type(const struct desc *d)
{
	return d->lo >> 40 & 0xf;
}
static inline bool desc_s(const struct desc *d) /* code or data */
{
	return d->lo >> 44 & 1;
}
static inline unsigned desc_dpl(const struct desc *d)
{
	return d->lo >> 45 & 3;
}
static inline bool desc_present(const struct desc *d)
{
	return d->lo >> 47 & 1;
}
static inline bool desc_code(const struct desc *d)
{
	return desc_s(d) && (d->lo >> 43 & 1);
}
static inline bool desc_conforming(const struct desc *d)
{
	return desc_code(d) && (d->lo >> 42 & 1);
}
static inline bool desc_writable(const struct desc *d) /* data only */
{
	return desc_s(d) && !(d->lo >> 43 & 1) && (d->lo >> 41 & 1);
}
static inline bool desc_l(const struct desc *d)
{
	return d->lo >> 53 & 1;
}
static inline bool desc_db(const struct desc *d)
{
	return d->lo >> 54 & 1;
}

/* Gates */
static inline u16 gate_sel(u64 lo)
{
	return (u16)(lo >> 16);
}
static inline u64 gate_off32(u64 lo)
{
	return (lo & 0xffff) | (lo >> 32 & 0xffff0000);
}

static inline bool sel_null(u16 sel)
{
	return !(sel & 0xfffc);
}

static inline bool cpu_long(const struct cpu *c) /* IA-32e mode active */
{
	return c->efer & EFER_LMA;
}

static inline unsigned cpu_iopl(const struct cpu *c)
{
	return c->eflags >> FL_IOPL_SHIFT & 3;
}

static inline bool cpu_real_or_vm86(const struct cpu *c)
{
	return !(c->cr0 & CR0_PE) || (c->eflags & FL_VM);
}

/* Reads a descriptor; false if the selector is outside of its table. May #PF. */
bool desc_try(struct cpu *c, u16 sel, struct desc *d);
/* As above, raising vector(selector) when outside; null is outside too. */
void desc_read(struct cpu *c, u16 sel, struct desc *d, unsigned vector, u32 ext);
/* Completes a system descriptor of 16 bytes (LDT, TSS, call gate in long mode); #vector(sel). */
void desc_read_upper(struct cpu *c, u16 sel, struct desc *d, unsigned vector, u32 ext);
void desc_set_accessed(struct cpu *c, struct desc *d);
void desc_set_busy(struct cpu *c, u16 sel, bool busy);

void seg_from_desc(struct x86_seg *s, u16 sel, const struct desc *d);
void seg_real(struct x86_seg *s, u16 sel); /* real and VM86 mode: base from selector, rest kept */
void seg_vm86(struct x86_seg *s, u16 sel); /* all fixed */
void seg_null(struct x86_seg *s, u16 sel);
void seg_null_ss(struct cpu *c, unsigned cpl); /* the null SS of 64-bit mode at privilege cpl */

/* May [off, off+size) of s be accessed (legacy modes)? */
bool seg_allows(const struct x86_seg *s, u64 off, unsigned size, bool write);

/* MOV/POP to ES, SS, DS, FS, GS with all checks of the mode. */
void seg_load(struct cpu *c, unsigned seg, u16 sel);
/* Checks sel as the stack of privilege level cpl; vector is #GP, #SS or #TS as the caller's rules say. */
void seg_check_stack(struct cpu *c, u16 sel, unsigned cpl, unsigned vector, u32 ext, struct desc *d);
/* Commits a code segment (privileges checked by the caller) and the mode that follows. */
void seg_set_cs(struct cpu *c, u16 sel, struct desc *d, unsigned cpl);
/* Data segments that the outer level cl may not keep become null (RET, IRET to outer level). */
void seg_drop_inner(struct cpu *c, unsigned cpl);
