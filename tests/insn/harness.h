/*
 * Differential tests of instructions: the same machine state and bytes on the host CPU in user mode and on
 * the reference engine or the translator, compared bit for bit.
 *
 * A case is registers, up to 15 bytes of code at some address of the code area, and patches over a
 * fixed template of the data area. Both executors see the same addresses:
 *
 *   ARENA        code area: 2 pages of INT3, the instruction somewhere in them; r-x
 *   ARENA + 64K  data area: 2 pages rw, 1 page read-only, unmapped pages before and after
 *
 * Everything from ARENA_LO to ARENA_HI is reserved in the host process, so a guest address inside
 * is the test's or nobody's. The generator sees to it that no other address is touched natively.
 */
#pragma once

#include "base/types.h"
#include "x86/state.h"
#include "x86/x86.h"
#include <Zydis/Zydis.h>
#include <stdio.h>

#define ARENA_LO 0x18000000ull
#define ARENA_HI 0x28000000ull
#define ARENA 0x20000000ull
#define CODE_BASE ARENA
#define CODE_SIZE 0x2000ull
#define DATA_BASE (ARENA + 0x10000)
#define DATA_RW 0x2000ull /* writable part */
#define DATA_SIZE 0x3000ull
#define INSN_MAX_LEN 15

/* Flags of EFLAGS that user code can change, minus those that the harness needs (TF, NT, VIF...). */
#define FL_USER (FL_ARITH | FL_DF | FL_AC | FL_ID)

enum insn_mode { MODE_64, MODE_32 };

struct regs {
	u64 gpr[X86_NGPR];
	u64 rip, rflags;
	u64 fs_base, gs_base;
	u32 mxcsr;
	struct x86_fpu fpu; /* fop, fip, fdp are not compared: CPUs differ in when they keep them */
	union x86_vec vec[16];
};

#define PATCH_MAX 64
struct patch {
	u16 off, len; /* from DATA_BASE; inside the area */
	u8 bytes[PATCH_MAX];
};

#define MAX_PATCHES 4
#define SEQ_MAX 8
struct insn_case {
	enum insn_mode mode;
	struct regs in;
	u8 code[SEQ_MAX * INSN_MAX_LEN + 1];
	u8 len;   /* of all instructions together */
	u8 count; /* instructions */
	u8 npatches;
	struct patch patch[MAX_PATCHES];
};

/* What happened. The data area afterwards is the executor's own (see native_data, interp_data). */
struct outcome {
	struct regs out;
	bool faulted; /* rip and registers are those that the handler would see */
	u8 vector;
	u32 error;
	u64 addr; /* #PF */
};

/* --- random numbers (splitmix64) --- */
struct rng {
	u64 s;
};
static inline u64 rng_next(struct rng *r)
{
	u64 z = (r->s += 0x9e3779b97f4a7c15ull);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}
static inline u32 rng_below(struct rng *r, u32 n)
{
	return (u32)((rng_next(r) >> 32) * n >> 32);
}
static inline bool rng_pct(struct rng *r, u32 percent)
{
	return rng_below(r, 100) < percent;
}

/* --- native.c --- */
struct native;
/* 0, -ENOTSUP with a reason in *why (host without FSGSBASE, AVX2), or -errno. One at a time in a process. */
int native_create(struct native **out, const u8 *data_template, const char **why);
void native_destroy(struct native *n);
void native_run(struct native *n, const struct insn_case *k, struct outcome *o);
const u8 *native_data(const struct native *n); /* DATA_SIZE bytes as the last case left them */

/* --- ref.c --- */
struct ref;
/* jit: 64-bit cases run on the translator. */
int ref_create(struct ref **out, const u8 *data_template, bool jit);
void ref_destroy(struct ref *r);
void ref_run(struct ref *r, const struct insn_case *k, struct outcome *o);
const u8 *ref_data(const struct ref *r);
/* CPUID as guests see it. */
void ref_cpuid(struct ref *r, u32 leaf, u32 subleaf, u32 out[4]);

/* --- forms.c: every instruction form that is tested --- */
struct form {
	u16 mnemonic;
	u8 family; /* enum family */
	u8 mode;   /* enum insn_mode */
	u8 vex;    /* else legacy */
	u8 map;    /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
	u8 op;
	u8 prefix; /* mandatory or operand prefix: 0, 66, F2, F3 */
	u8 lock;
	u8 w, l;
	u8 modrm; /* example; mod 3 or not is part of the form */
	u8 has_modrm;
	u32 key;
};

enum family { FAM_INT, FAM_VEC, FAM_X87, FAM_N };

struct forms {
	struct form *f;
	u32 n, cap;
	u32 *hash; /* index + 1 */
	u32 hash_size;
	u32 *pick[FAM_N]; /* indices by family */
	u32 npick[FAM_N];
	ZydisDecoder dec[2];
	bool with32;
	bool feature[ZYDIS_ISA_EXT_MAX_VALUE + 1]; /* by extension: host has it and guest sees it */
	bool set[ZYDIS_ISA_SET_MAX_VALUE + 1];
};

struct decoded {
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

int forms_create(struct forms *f, struct ref *r, bool with32);
void forms_destroy(struct forms *f);
/* Decodes and says whether this instruction may run natively and is comparable. */
bool forms_accept(const struct forms *f, enum insn_mode mode, const u8 *bytes, u32 len, struct decoded *d);

/* --- values.c: operands worth testing --- */
enum fill { FILL_ANY, FILL_INT, FILL_F16, FILL_F32, FILL_F64, FILL_F80, FILL_BCD };
u64 value_int(struct rng *r);
u64 value_f64(struct rng *r);
u32 value_f32(struct rng *r);
void value_f80(struct rng *r, struct x86_st *st);
void value_fill(struct rng *r, enum fill kind, u8 *buf, u32 len);
void value_regs(struct rng *r, enum fill kind, struct regs *s);

/* --- encode.c --- */
/* A random instance of a form: registers, addressing, immediates. Always leaves 15 bytes in b. */
void encode_form(struct rng *r, const struct form *t, unsigned attempt, u8 *b);

/* --- gen.c --- */
/* Address of a memory operand under these registers; element i for vector indices. */
u64 operand_ea(const struct decoded *d, const ZydisDecodedOperand *o, const struct regs *in, u32 i);
/* Case number index of seed; deterministic. */
void gen_case(const struct forms *f, u64 seed, u64 index, struct insn_case *k);
/* A case around given bytes; false when they are not accepted. */
bool gen_from_bytes(
        const struct forms *f, enum insn_mode mode, const u8 *bytes, u32 len, u64 seed, struct insn_case *k);
void gen_data_template(u64 seed, u8 *data);

/* --- compare.c --- */
#define DIFF_TEXT 2048
/* EFLAGS bits that an instruction may leave undefined, whatever its operands are. */
u64 undefined_flags(const struct decoded *d);
/* Number of differences; text lists them. COMPARE_EXCEPTED: the outcome is implementation specific as a
 * whole. */
#define COMPARE_EXCEPTED (-1)
int compare(const struct forms *f, const struct insn_case *k, const struct outcome *nat,
        const struct outcome *ref, const u8 *nat_data, const u8 *ref_data, char text[DIFF_TEXT]);

/* --- report.c --- */
void report_case(FILE *out, const struct forms *f, const struct insn_case *k);
