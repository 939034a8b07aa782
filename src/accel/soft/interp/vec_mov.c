/*
 * Vector moves, legacy and VEX. No host vector instruction is needed here: values are copied.
 * Handlers ending in _st have a memory destination; then r1 is the register.
 */
#include "accel/soft/interp/vec.h"
#include "accel/soft/interp/vec_proto.h"

/* --- whole registers --- */

void sse_MOVA(struct cpu *c, const struct insn *i)
{
	set_xmm(c, i->r1, src_sse(c, i, i->r2, 16));
}

void sse_MOVA_st(struct cpu *c, const struct insn *i)
{
	vec_st16a(c, i, xmm(c, i->r1));
}

void sse_MOVU(struct cpu *c, const struct insn *i)
{
	set_xmm(c, i->r1, src_vex(c, i, i->r2, 16));
}

void sse_MOVU_st(struct cpu *c, const struct insn *i)
{
	vec_st16(c, i, xmm(c, i->r1));
}

void v128_MOVA(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, src_sse(c, i, i->r2, 16));
}

void v128_MOVU(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, src_vex(c, i, i->r2, 16));
}

static u64 lin32(struct cpu *c, const struct insn *i, bool write)
{
	u64 lin = insn_lin(c, i, 32, write);

	vec_align(c, lin, 32);
	return lin;
}

static u64 lin32a(struct cpu *c, const struct insn *i, bool write)
{
	u64 lin = insn_lin(c, i, 32, write);

	vec_aligned(c, lin, 32);
	return lin;
}

void v256_MOVA(struct cpu *c, const struct insn *i)
{
	union x86_vec v;

	if (!(i->flags & INSN_MEM)) {
		c->vec[i->r1] = c->vec[i->r2];
		return;
	}
	mem_ld_bytes(c, lin32a(c, i, false), &v, 32);
	c->vec[i->r1] = v;
}

void v256_MOVA_st(struct cpu *c, const struct insn *i)
{
	mem_st_bytes(c, lin32a(c, i, true), &c->vec[i->r1], 32);
}

void v256_MOVU(struct cpu *c, const struct insn *i)
{
	union x86_vec v;

	if (!(i->flags & INSN_MEM)) {
		c->vec[i->r1] = c->vec[i->r2];
		return;
	}
	mem_ld_bytes(c, lin32(c, i, false), &v, 32);
	c->vec[i->r1] = v;
}

void v256_MOVU_st(struct cpu *c, const struct insn *i)
{
	mem_st_bytes(c, lin32(c, i, true), &c->vec[i->r1], 32);
}

/* --- parts --- */

/* MOVSS, MOVSD: a load clears the rest, a register keeps it. */
void sse_MOVSS(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		set_xmm(c, i->r1, vec_ldn(c, i, 4));
	else
		c->vec[i->r1].d[0] = c->vec[i->r2].d[0];
}

void sse_MOVSD(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		set_xmm(c, i->r1, vec_ldn(c, i, 8));
	else
		c->vec[i->r1].q[0] = c->vec[i->r2].q[0];
}

void v128_MOVSS(struct cpu *c, const struct insn *i)
{
	union x86_vec v = c->vec[i->r2];

	if (i->flags & INSN_MEM) {
		set_xmmz(c, i->r1, vec_ldn(c, i, 4));
		return;
	}
	v.d[0] = c->vec[i->r3].d[0];
	set_xmmz(c, i->r1, *(v2di *)v.q);
}

void v128_MOVSD(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		set_xmmz(c, i->r1, vec_ldn(c, i, 8));
	else
		set_xmmz(c, i->r1, (v2di){xmm(c, i->r3)[0], xmm(c, i->r2)[1]});
}

void sse_MOVSS_st(struct cpu *c, const struct insn *i)
{
	vec_stn(c, i, 4, c->vec[i->r1].d[0]);
}

/* MOVSD, MOVLPS, MOVLPD, MOVQ to memory */
void sse_low_st(struct cpu *c, const struct insn *i)
{
	vec_stn(c, i, 8, c->vec[i->r1].q[0]);
}

void sse_high_st(struct cpu *c, const struct insn *i)
{
	vec_stn(c, i, 8, c->vec[i->r1].q[1]);
}

void sse_MOVL(struct cpu *c, const struct insn *i)
{
	c->vec[i->r1].q[0] = mem_ld64(c, insn_lin(c, i, 8, false));
}

void sse_MOVH(struct cpu *c, const struct insn *i)
{
	c->vec[i->r1].q[1] = mem_ld64(c, insn_lin(c, i, 8, false));
}

void v128_MOVL(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, (v2di){vec_ldn(c, i, 8)[0], xmm(c, i->r2)[1]});
}

void v128_MOVH(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, (v2di){xmm(c, i->r2)[0], vec_ldn(c, i, 8)[0]});
}

void sse_MOVHLPS(struct cpu *c, const struct insn *i)
{
	c->vec[i->r1].q[0] = c->vec[i->r2].q[1];
}

void sse_MOVLHPS(struct cpu *c, const struct insn *i)
{
	c->vec[i->r1].q[1] = c->vec[i->r2].q[0];
}

void v128_MOVHLPS(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, (v2di){xmm(c, i->r3)[1], xmm(c, i->r2)[1]});
}

void v128_MOVLHPS(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, (v2di){xmm(c, i->r2)[0], xmm(c, i->r3)[0]});
}

/* --- to and from general registers. aux: 1 the destination is one, 2 the source is --- */

static v2di movd_source(struct cpu *c, const struct insn *i, unsigned n)
{
	if (i->flags & INSN_MEM)
		return vec_ldn(c, i, n);
	return (v2di){(long long)(i->aux & 2 ? c->gpr[i->r2] & ones(n) : c->vec[i->r2].q[0]), 0};
}

void sse_MOVD(struct cpu *c, const struct insn *i)
{
	if (i->aux & 1)
		c->gpr[i->r1] = c->vec[i->r2].d[0];
	else
		set_xmm(c, i->r1, movd_source(c, i, 4));
}

void sse_MOVQ(struct cpu *c, const struct insn *i)
{
	if (i->aux & 1)
		c->gpr[i->r1] = c->vec[i->r2].q[0];
	else
		set_xmm(c, i->r1, movd_source(c, i, 8));
}

void v128_MOVD(struct cpu *c, const struct insn *i)
{
	if (i->aux & 1)
		c->gpr[i->r1] = c->vec[i->r2].d[0];
	else
		set_xmmz(c, i->r1, movd_source(c, i, 4));
}

void v128_MOVQ(struct cpu *c, const struct insn *i)
{
	if (i->aux & 1)
		c->gpr[i->r1] = c->vec[i->r2].q[0];
	else
		set_xmmz(c, i->r1, movd_source(c, i, 8));
}

/* --- masked --- */

void sse_MASKMOVDQU(struct cpu *c, const struct insn *i)
{
	vec_mask_store(c, vec_di(c, i, 16), c->vec[i->r1].b, c->vec[i->r2].b, 16);
}

/* --- MXCSR --- */

void sse_LDMXCSR(struct cpu *c, const struct insn *i)
{
	u32 v = mem_ld32(c, insn_lin(c, i, 4, false));

	if (v & ~MXCSR_ALL)
		cpu_raise_err(c, EXC_GP, 0);
	c->mxcsr = v;
}

void sse_STMXCSR(struct cpu *c, const struct insn *i)
{
	vec_stn(c, i, 4, c->mxcsr);
}

void sse_MOVNTI_st(struct cpu *c, const struct insn *i)
{
	mem_st(c, insn_lin(c, i, i->aux2, true), i->aux2, c->gpr[i->r1]);
}
