/*
 * Memory operands of vector instructions: 16 bytes in one host access if they lie in one page of RAM
 * that the TLB knows, else through mmu.c.
 */
#include "accel/soft/interp/vec.h"

static u64 lin16(struct cpu *c, const struct insn *i, bool write)
{
	u64 lin = insn_lin(c, i, 16, write);

	vec_align(c, lin, 16);
	return lin;
}

static u64 lin16a(struct cpu *c, const struct insn *i, bool write)
{
	u64 lin = insn_lin(c, i, 16, write);

	vec_aligned(c, lin, 16);
	return lin;
}

static v2di load(struct cpu *c, u64 lin)
{
	const void *p = tlb_read_ptr(c, c->mmu_idx, lin, 16);
	v2di v;

	if (likely(p))
		return *(const volatile v2di_any *)p;
	mem_ld_bytes(c, lin, &v, 16);
	return v;
}

static void store(struct cpu *c, u64 lin, v2di v)
{
	void *p = tlb_write_ptr(c, c->mmu_idx, lin, 16);

	if (likely(p)) {
		*(volatile v2di_any *)p = v;
		mmu_wrote(c, p, 16);
		return;
	}
	mem_st_bytes(c, lin, &v, 16);
}

v2di vec_ld16(struct cpu *c, const struct insn *i)
{
	return load(c, lin16(c, i, false));
}

v2di vec_ld16a(struct cpu *c, const struct insn *i)
{
	return load(c, lin16a(c, i, false));
}

void vec_st16(struct cpu *c, const struct insn *i, v2di v)
{
	store(c, lin16(c, i, true), v);
}

void vec_st16a(struct cpu *c, const struct insn *i, v2di v)
{
	store(c, lin16a(c, i, true), v);
}

v2di vec_ldn(struct cpu *c, const struct insn *i, unsigned n)
{
	return (v2di){(long long)mem_ld(c, insn_lin(c, i, n, false), n), 0};
}

void vec_stn(struct cpu *c, const struct insn *i, unsigned n, u64 v)
{
	mem_st(c, insn_lin(c, i, n, true), n, v);
}

/* --- byte masks --- */

u64 vec_di(struct cpu *c, const struct insn *i, unsigned n)
{
	struct insn m = *i;

	m.base = RDI;
	m.index = REG_ZERO;
	m.disp = 0;
	return insn_lin(c, &m, n, true);
}

void vec_mask_store(struct cpu *c, u64 lin, const void *val, const void *mask, unsigned n)
{
	const u8 *v = val;
	const u8 *m = mask;

	/* All of it, whatever the mask: allowed, and what CPUs do. */
	vec_align(c, lin, n);
	mmu_probe(c, lin, n, ACC_WRITE);
	for (unsigned k = 0; k < n; k++)
		if (m[k] & 0x80)
			mem_st8(c, lin + k, v[k]);
}
