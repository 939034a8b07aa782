/*
 * Debug registers: breakpoints on fetch, data and I/O, single step (SDM vol. 3, ch. 18).
 */
#pragma once

#include "accel/soft/cpu.h"

#define DR6_FIXED 0xffff0ff0u
#define DR6_BS 0x4000u
#define DR6_BD 0x2000u
#define DR6_BT 0x8000u
#define DR7_FIXED 0x400u
#define DR7_GD 0x2000u
#define DR7_ENABLED 0xffu

enum { DR_RW_EXEC, DR_RW_WRITE, DR_RW_IO, DR_RW_DATA };

/* Is there a data breakpoint in the page of lin? Such pages get no TLB tags. */
bool debug_watches_page(const struct cpu *c, u64 lin);
/* Records breakpoints that a data access meets; the trap comes after the instruction. */
void debug_watch_hit(struct cpu *c, u64 lin, unsigned size, bool write);
static inline void debug_data_access(struct cpu *c, u64 lin, unsigned size, bool write)
{
	if (unlikely(c->dr[7] & DR7_ENABLED))
		debug_watch_hit(c, lin, size, write);
}
void debug_io_access(struct cpu *c, u32 port, unsigned size);
/* Raises #DB if an execution breakpoint is at linear address lin and RF is clear. */
void debug_check_exec(struct cpu *c, u64 lin);
/* DR7 or DR0..3 changed. */
void debug_update(struct cpu *c);
/* After an instruction: raises the #DB trap for what it met. stepped: TF was set when it began. */
void debug_after(struct cpu *c, bool stepped);
