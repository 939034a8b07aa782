/*
 * What the AVX files add to vec.h: 256-bit values. Include only where -mavx is in force.
 */
#pragma once

#include "accel/soft/interp/vec.h"
#include "accel/soft/interp/vec_proto.h"

typedef long long v4di __attribute__((vector_size(32), may_alias));

static inline v4di ymm(const struct cpu *c, unsigned r)
{
	return *(const v4di *)c->vec[r].q;
}

static inline void set_ymm(struct cpu *c, unsigned r, v4di v)
{
	*(v4di *)c->vec[r].q = v;
}

static inline v4di widen(v2di v)
{
	return (v4di){v[0], v[1], 0, 0};
}

static inline v4di vec_ld32(struct cpu *c, const struct insn *i)
{
	u64 lin = insn_lin(c, i, 32, false);
	v4di v;

	vec_align(c, lin, 32);
	mem_ld_bytes(c, lin, &v, 32);
	return v;
}

/* Register r, or memory of n = 32 bytes; for less the xmm part of it. */
static inline v4di src_y(struct cpu *c, const struct insn *i, unsigned r, unsigned n)
{
	if (likely(!(i->flags & INSN_MEM)))
		return ymm(c, r);
	if (n == 32)
		return vec_ld32(c, i);
	return widen(n == 16 ? vec_ld16(c, i) : vec_ldn(c, i, n));
}
