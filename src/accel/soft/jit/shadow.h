/*
 * Copies of RAM and state for --jit-check (check.c).
 */
#pragma once

#include "accel/soft/jit/jit_int.h"

#define SHADOW_PAGES 160u /* 64 instructions with two operands, some across pages */
enum side { BY_JIT, BY_INTERP };

struct shadow_page {
	u64 gpa;
	bool have[2]; /* by enum side */
};

/* The parts of struct cpu that instructions may change. */
struct arch {
	u8 a[offsetof(struct cpu, request)];
	u8 b[offsetof(struct cpu, own_lock) - offsetof(struct cpu, cpl)];
};

struct shadow {
	struct cpu view; /* to look at what a side made of the state; the rest of it is never touched */
	enum side side;
	unsigned n;
	struct shadow_page page[SHADOW_PAGES];
	struct arch before, after[2];
	u32 x87;
	u32 undefined;                       /* arithmetic flags that are not compared */
	const char *end;                     /* how interp came to its end; NULL: where the translator did */
	u8 data[SHADOW_PAGES][3][PAGE_SIZE]; /* before; by side */
};

#define ESCAPE_VECTOR 0xff /* cpu.fault.vector after jit_shadow_escape */
