/*
 * A stack frame under construction: pushes go to memory, registers change only when the caller
 * commits. For event delivery and far calls.
 */
#pragma once

#include "accel/soft/mmu.h"
#include "accel/soft/seg.h"

struct frame {
	struct x86_seg ss;
	u64 sp;
	unsigned width; /* bytes of a push; 8 means a 64-bit stack */
	enum mmu_idx idx;
	u32 ext;   /* EXT bit of error codes */
	u32 error; /* selector in #SS when the stack is a new one, else 0 */
};

void frame_push(struct cpu *c, struct frame *f, u64 v);
/* Takes the stack of privilege level cpl from the TSS, 16- or 32-bit modes. */
void frame_inner(struct cpu *c, struct frame *f, unsigned cpl);
