/*
 * Bytes -> struct insn.
 */
#pragma once

#include "accel/soft/interp/insn.h"

#define INSN_MAX 15

enum decoded {
	DEC_OK,
	DEC_LAST, /* nothing behind it executes next: the block ends */
	DEC_MORE, /* the bytes are not enough (and less than 15) */
};

/* One decoder per combination of code size and mode. */
#define DEC_MODES 12
struct decoders {
	ZydisDecoder d[DEC_MODES];
};
void decoders_init(struct decoders *d, const struct cpuid_table *cpuid);

/*
 * Decodes one instruction for mode flags hf. What the CPU does not have becomes #UD, what is longer
 * than 15 bytes #GP, both as instructions that raise.
 */
enum decoded decode_insn(const struct decoders *ds, const struct cpuid_table *cpuid, u32 hf, const u8 *bytes,
        unsigned len, struct insn *i);

/* As above, and leaves what Zydis made of it (if it is neither #UD nor #GP). */
enum decoded decode_full(const struct decoders *ds, const struct cpuid_table *cpuid, u32 hf, const u8 *bytes,
        unsigned len, struct insn *i, struct dec *d);

/* Is an instruction of this CPUID feature bound? */
bool feature_bound(u32 feature);
