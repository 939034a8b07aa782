/*
 * A translation in progress, and the pieces of the translator.
 */
#pragma once

#include "accel/soft/jit/jit_int.h"

#define TR_INSNS 64 /* a block's length */
#define TR_SLOWS (6 * TR_INSNS)
#define TR_EXITS (2 * TR_INSNS + JIT_WINDOWS)
#define TR_WINDOWS JIT_WINDOWS
#define NO_WINDOW 0xffu

/* What the translator does with an instruction. */
enum tr_class {
	TR_CALLOUT,     /* interp executes it, then the block goes on */
	TR_CALLOUT_END, /* interp executes it, nothing follows */
	TR_COPY,        /* the host's own instruction, registers and memory operand replaced */
	TR_NOTHING,     /* no-operation */
	TR_VERBATIM,    /* copied byte by byte: no operands */
	TR_SPECIAL,     /* its own emitter */
	TR_SYS,
	TR_STRING,
};

/* Bits: what an instruction does to the arithmetic flags. */
#define FX_READS 1u   /* reads them, or writes only some */
#define FX_WRITES 2u  /* writes some or all */
#define FX_CLOBBER 4u /* its translation destroys the host's flags before it executes */

/* How an instruction is copied (tr_copy.c): which host register stands for which of the guest's. */
struct operand {
	u8 guest, host;
	bool high, low, read, write;
};

struct plan {
	struct operand o[6];
	unsigned n;
	const ZydisDecodedOperand *mem; /* of the same instruction; NULL: none */
	bool mem_write;
};

struct ti {
	struct dec d;
	struct insn i;
	u8 bytes[INSN_MAX];
	u16 off; /* in the page */
	u8 cls, fx;
	u8 win;           /* the window of its access, or NO_WINDOW */
	bool live;        /* windows are in use behind it */
	bool keeps_s1;    /* S1 still has the window that is in it */
	s64 at;           /* of the access, as window.lo */
	struct plan plan; /* of TR_COPY */
};

/* A range of guest addresses with one check for all accesses (tr_window.c). */
struct window {
	u32 sym;        /* what the addresses are relative to */
	s64 lo, hi;     /* the range: lo..hi - 1 */
	u8 first, last; /* instructions */
	u8 uses;
	bool write;
	bool stored; /* is in jit.win, not only in S1 */
};

/* An access through a window: the registers and the displacement of its address. */
struct window_use {
	unsigned base, index, scale; /* guest's; REG_RIP: the page that executes */
	s32 disp;
	bool s2_taken; /* the instruction needs S2 for a register, */
	bool moved;    /* or moves registers before it accesses */
};

/* Instructions that move the stack pointer together: PUSHes, or POPs with a RET behind them. */
struct stack_run {
	unsigned n; /* PUSHes or POPs */
	bool push, ret;
};

struct slow { /* a check failed: glue deals with it */
	u8 *hole;
	struct site *site;
	const u8 *to;
	u16 window; /* length of the range that was checked, if it is a window */
	size_t tag; /* S1 is an offset from what this array of the TLB has in slot S2; 0: it is not */
};

struct cold { /* an exit's stub */
	struct xit *x;
	u8 *busy; /* a jump for requests that goes there, too; NULL if none */
};

struct tr {
	struct as a;
	struct jit *j;
	struct cpu *c;
	struct tb *b;
	u32 key;
	unsigned idx;   /* enum mmu_idx of data accesses */
	unsigned flags; /* FLAGS_*: where the guest's arithmetic flags are now; 0: dead */
	unsigned n, at; /* instructions; the current one */
	u8 code[PAGE_SIZE + INSN_MAX],
	        again[PAGE_SIZE + INSN_MAX]; /* guest bytes at their places in the page */
	struct ti t[TR_INSNS];
	struct slow slow[TR_SLOWS];
	unsigned nslow;
	struct cold cold[TR_EXITS];
	unsigned ncold;
	struct {
		struct jump jump;
		struct site *site;
		bool returns;
	} lookup[TR_EXITS];
	unsigned nlookup;
	struct site no_site; /* stands for one that does not fit */
	struct window win[TR_WINDOWS];
	unsigned nwin, in_s1; /* how many; the one whose distance is in S1 */
	bool x87;             /* the unit holds the guest's state */
	bool give_up;         /* the arena is full */
};

static inline struct ti *tr_insn(struct tr *t)
{
	return &t->t[t->at];
}

/* Its only effect is an exception. */
static inline bool tr_raises(const struct ti *i)
{
	return i->i.osize == 0 || i->i.fn == op_ud || i->i.fn == op_nm;
}

static inline unsigned tr_next_off(const struct ti *i) /* of the following instruction; may exceed the page */
{
	return i->off + i->i.len;
}

static inline bool tr_is_high(ZydisRegister r) /* AH, CH, DH, BH */
{
	return r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
}

static inline unsigned tr_gpr_of(ZydisRegister r) /* of any width */
{
	return ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR8 ? reg8_off(r) / 8 : reg_num(r);
}

/* --- flags (tr_mem.c) --- */
void tr_flags_host(struct tr *t);    /* make them be in the flags register */
void tr_flags_ax(struct tr *t);      /* make them be in AX */
void tr_flags_clobber(struct tr *t); /* before the flags register is destroyed: only AX is left */
void tr_flags_written(struct tr *t); /* an instruction has written them */

/* --- memory (tr_mem.c) --- */
bool tr_ea_ok(const struct ti *i);      /* tr_ea can do it */
void tr_ea(struct tr *t, unsigned dst); /* offset of the memory operand; segment base not added */
void tr_linear(struct tr *t);           /* linear address of the memory operand into S1 */
void tr_check(struct tr *t, unsigned size, bool write); /* S1: linear -> host address; destroys S2, flags */
void tr_check_or_narrow(struct tr *t, unsigned size, bool write); /* the same; across pages: narrow block */
void tr_check_window(struct tr *t, unsigned size, bool write);    /* leaves the TLB's slot in S2 */
size_t tr_tag(
        struct tr *t, bool write); /* S1: linear -> offset in its page if the TLB knows that; S2: its slot */
void tr_slow(struct tr *t, unsigned cc, struct slow s); /* a jump to glue, with S2 = the site */
struct site *tr_site(struct tr *t);                     /* a record for the current instruction */
void tr_fault_from(struct tr *t, struct site *s);       /* host faults from here on are the instruction's */
void tr_fault_to(struct tr *t, struct site *s);
void tr_load_gpr(struct tr *t, unsigned host, unsigned guest);   /* 64 bits */
unsigned tr_gpr(struct tr *t, unsigned guest, unsigned scratch); /* a host register with its value */
void tr_page_plus(struct tr *t, unsigned host, s64 off);         /* guest address, relative to the page */

/* --- windows (tr_window.c) --- */
void tr_windows(struct tr *t);                              /* finds them; once for a block */
struct as_mem tr_window(struct tr *t, struct window_use u); /* may destroy S2, and flags where it opens */

/* --- plain instructions (tr_copy.c) --- */
bool tr_copy_ok(struct ti *i);      /* makes its plan */
bool tr_is_x87(const struct ti *i); /* uses x87 or MMX state */
void tr_copy(struct tr *t);
bool tr_copy_memory(const struct ti *i, unsigned *size, bool *write); /* its operand; false: none */
bool tr_copy_keeps_s1(const struct ti *i);

/* --- special ones (tr_special.c) --- */
bool tr_special_ok(const struct tr *t, const struct ti *i);
bool tr_special(struct tr *t); /* false: nothing follows in this block */
bool tr_run_at(const struct tr *t, unsigned at, struct stack_run *r);
/* The run from the current instruction on: how many, 0 if it is none; open: something follows. */
unsigned tr_stack_run(struct tr *t, bool *open);
unsigned tr_effects(const struct ti *i); /* FX_* of any class */

/* --- system instructions (tr_sys.c), strings (tr_string.c) --- */
bool tr_sys_ok(const struct tr *t, const struct ti *i);
unsigned tr_sys_effects(const struct ti *i);
bool tr_sys(struct tr *t); /* false: nothing follows in this block */
bool tr_string_ok(const struct ti *i);
unsigned tr_string_effects(const struct ti *i);
void tr_string(struct tr *t);

/* --- exits (tr_exit.c) --- */
void tr_goto(struct tr *t, s64 off); /* to an offset in the page or outside of it */
void tr_goto_cond(struct tr *t, unsigned cc, s64 off);
void tr_lookup(struct tr *t, struct site *s); /* to the guest address in S1 */
void tr_remember(struct tr *t); /* a CALL has put its return address, which is in S2, on the stack */
void tr_return(struct tr *t, s32 bytes, struct site *s); /* to S1, read from the stack; drops so many bytes */
void tr_x87(struct tr *t); /* the unit is to hold the guest's state; destroys flags unless it is known to */
void tr_callout(struct tr *t);
struct site *tr_callout_site(struct tr *t);                      /* for tr_callout_when */
void tr_callout_when(struct tr *t, unsigned cc, struct site *s); /* flags are in AX alone */
void tr_finish(struct tr *t);                                    /* stubs */
