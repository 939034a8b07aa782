/*
 * Breakpoints. Fetch breakpoints put the run loop on its slow path (SLOW_BREAK), where every
 * instruction is a block of its own; pages with data breakpoints have no TLB tags, so each access to
 * them comes through mmu.c and is compared here. With DR7 clear nothing costs anything.
 */
#include "accel/soft/debug.h"
#include "accel/soft/interp/insn.h"

static bool enabled(const struct cpu *c, unsigned n)
{
	return c->dr[7] >> (2 * n) & 3;
}

static unsigned kind_of(const struct cpu *c, unsigned n)
{
	return c->dr[7] >> (16 + 4 * n) & 3;
}

static unsigned len_of(const struct cpu *c, unsigned n)
{
	static const u8 len[4] = {1, 2, 8, 4}; /* DR7.LENn */

	return len[c->dr[7] >> (18 + 4 * n) & 3];
}

static u64 addr_of(const struct cpu *c, unsigned n)
{
	return c->dr[n] & ~(u64)(len_of(c, n) - 1);
}

bool debug_watches_page(const struct cpu *c, u64 lin)
{
	if (likely(!(c->dr[7] & DR7_ENABLED)))
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && (kind_of(c, n) & 1) && c->dr[n] >> PAGE_SHIFT == lin >> PAGE_SHIFT)
			return true;
	return false;
}

static void met(struct cpu *c, u32 bits)
{
	c->db_hit |= bits;
	c->slow |= SLOW_STEP;
	cpu_end_block(c);
}

void debug_watch_hit(struct cpu *c, u64 lin, unsigned size, bool write)
{
	for (unsigned n = 0; n < 4; n++) {
		unsigned kind = kind_of(c, n);
		u64 addr = addr_of(c, n);

		if (!enabled(c, n) || !(kind == DR_RW_DATA || (kind == DR_RW_WRITE && write)))
			continue;
		if (lin < addr + len_of(c, n) && addr < lin + size)
			met(c, BIT(n));
	}
}

void debug_io_access(struct cpu *c, u32 port, unsigned size)
{
	if (likely(!(c->dr[7] & DR7_ENABLED)) || !(c->cr4 & CR4_DE))
		return;
	for (unsigned n = 0; n < 4; n++) {
		u64 addr = addr_of(c, n);

		if (enabled(c, n) && kind_of(c, n) == DR_RW_IO && port < addr + len_of(c, n) &&
		        addr < (u64)port + size)
			met(c, BIT(n));
	}
}

void debug_check_exec(struct cpu *c, u64 lin)
{
	u32 hit = 0;

	if (c->eflags & FL_RF)
		return;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind_of(c, n) == DR_RW_EXEC && c->dr[n] == lin)
			hit |= BIT(n);
	if (hit) {
		c->dr[6] |= hit;
		cpu_raise(c, EXC_DB);
	}
}

void debug_update(struct cpu *c)
{
	c->slow &= ~SLOW_BREAK;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind_of(c, n) == DR_RW_EXEC)
			c->slow |= SLOW_BREAK;
	mmu_forget(c); /* tags of watched pages must go, those of others may come back */
	cpu_update_mode(c);
}

void debug_after(struct cpu *c, bool stepped)
{
	u32 bits = c->db_hit;

	if (stepped && !c->no_step)
		bits |= DR6_BS;
	c->no_step = false;
	if (c->shadow_ss && c->shadow)
		return; /* MOV SS: traps wait for the next instruction */
	c->db_hit = 0;
	if (!(c->eflags & FL_TF))
		c->slow &= ~SLOW_STEP;
	if (!bits)
		return;
	c->dr[6] |= bits;
	cpu_set_event(c, EXC_DB, EV_TRAP);
}
