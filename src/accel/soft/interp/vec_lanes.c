/*
 * AVX and AVX2 data movement that needs no host AVX: broadcasts, 128-bit halves, byte shifts, masked
 * moves and gathers. Masked and gathered elements are accessed one by one; elements that are not selected
 * are not accessed and cannot fault. None of these instructions checks alignment.
 */
#include "accel/soft/interp/vec.h"
#include "accel/soft/interp/vec_proto.h"

static void zero_upper(union x86_vec *v)
{
	v->q[2] = v->q[3] = 0;
}

void v128_ZEROUPPER(struct cpu *c, const struct insn *i)
{
	unsigned n = insn_is64(c) ? 16 : 8;

	for (unsigned r = 0; r < n; r++)
		zero_upper(&c->vec[r]);
}

void v256_ZEROALL(struct cpu *c, const struct insn *i)
{
	memset(c->vec, 0, (insn_is64(c) ? 16 : 8) * sizeof(c->vec[0]));
}

/* --- byte shifts, in each half --- */

static void byte_shift(struct cpu *c, const struct insn *i, unsigned bytes, bool left)
{
	unsigned n = MIN((u8)i->imm, 16);
	union x86_vec r = {.q = {0}};

	for (unsigned half = 0; half < bytes; half += 16) {
		u8 t[48] = {0};
		memcpy(t + 16, &c->vec[i->r2].b[half], 16);
		memcpy(&r.b[half], left ? t + 16 - n : t + 16 + n, 16);
	}
	c->vec[i->r1] = r;
}

void v128_PSLLDQ(struct cpu *c, const struct insn *i)
{
	byte_shift(c, i, 16, true);
}

void v256_PSLLDQ(struct cpu *c, const struct insn *i)
{
	byte_shift(c, i, 32, true);
}

void v128_PSRLDQ(struct cpu *c, const struct insn *i)
{
	byte_shift(c, i, 16, false);
}

void v256_PSRLDQ(struct cpu *c, const struct insn *i)
{
	byte_shift(c, i, 32, false);
}

/* --- halves --- */

void v256_INSERT128(struct cpu *c, const struct insn *i)
{
	v2di s = src_vex(c, i, i->r3, 16);

	c->vec[i->r1] = c->vec[i->r2];
	memcpy(&c->vec[i->r1].q[i->imm & 1 ? 2 : 0], &s, 16);
}

static v2di half(const struct cpu *c, const struct insn *i, unsigned r)
{
	v2di v;

	memcpy(&v, &c->vec[r].q[i->imm & 1 ? 2 : 0], 16);
	return v;
}

void v256_EXTRACT128(struct cpu *c, const struct insn *i)
{
	set_xmmz(c, i->r1, half(c, i, i->r2));
}

void v256_EXTRACT128_st(struct cpu *c, const struct insn *i)
{
	vec_st16(c, i, half(c, i, i->r1));
}

/* --- broadcasts --- */

void v256_BROADCAST128(struct cpu *c, const struct insn *i)
{
	v2di s = vec_ld16(c, i);

	set_xmm(c, i->r1, s);
	memcpy(&c->vec[i->r1].q[2], &s, 16);
}

#define BROADCAST(mn, n, times)                                                                              \
	static void bcast_##mn(struct cpu *c, const struct insn *i, unsigned bytes)                          \
	{                                                                                                    \
		u64 v = ((u64)src_vex(c, i, i->r2, n)[0] & ones(n)) * (times);                               \
		for (unsigned k = 0; k < 4; k++)                                                             \
			c->vec[i->r1].q[k] = k < bytes / 8 ? v : 0;                                          \
	}                                                                                                    \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		bcast_##mn(c, i, 16);                                                                        \
	}                                                                                                    \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		bcast_##mn(c, i, 32);                                                                        \
	}
BROADCAST(PBROADCASTB, 1, 0x0101010101010101ull)
BROADCAST(PBROADCASTW, 2, 0x0001000100010001ull)
BROADCAST(PBROADCASTD, 4, 0x0000000100000001ull)
BROADCAST(PBROADCASTQ, 8, 1)

/* --- masked moves: r2 (load) or r1 (store) is the mask --- */

static bool selected(const union x86_vec *mask, unsigned esz, unsigned k)
{
	return mask->b[(k + 1) * esz - 1] & 0x80;
}

static void mask_load(struct cpu *c, const struct insn *i, unsigned esz, unsigned bytes)
{
	const union x86_vec *mask = &c->vec[i->r2];
	union x86_vec r = {.q = {0}};

	for (unsigned k = 0; k < bytes / esz; k++) {
		struct insn e = *i;
		if (!selected(mask, esz, k))
			continue;
		e.disp += (s64)(k * esz);
		mem_ld_bytes(c, insn_lin(c, &e, esz, false), &r.b[k * esz], esz);
	}
	c->vec[i->r1] = r;
}

static void mask_store(struct cpu *c, const struct insn *i, unsigned esz, unsigned bytes)
{
	const union x86_vec *mask = &c->vec[i->r1];
	u64 lin[8];

	for (unsigned k = 0; k < bytes / esz; k++) {
		struct insn e = *i;
		if (!selected(mask, esz, k))
			continue;
		e.disp += (s64)(k * esz);
		lin[k] = insn_lin(c, &e, esz, true);
		mmu_probe(c, lin[k], esz, ACC_WRITE);
	}
	for (unsigned k = 0; k < bytes / esz; k++) {
		if (selected(mask, esz, k))
			mem_st_bytes(c, lin[k], &c->vec[i->r2].b[k * esz], esz);
	}
}

#define MASKMOV(mn, esz)                                                                                     \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		mask_load(c, i, esz, 16);                                                                    \
	}                                                                                                    \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		mask_load(c, i, esz, 32);                                                                    \
	}                                                                                                    \
	void v128_##mn##_st(struct cpu *c, const struct insn *i)                                             \
	{                                                                                                    \
		mask_store(c, i, esz, 16);                                                                   \
	}                                                                                                    \
	void v256_##mn##_st(struct cpu *c, const struct insn *i)                                             \
	{                                                                                                    \
		mask_store(c, i, esz, 32);                                                                   \
	}
MASKMOV(MASKMOVD, 4)
MASKMOV(MASKMOVQ, 8)

/* --- gathers: destination r1, mask r2, index register r3 --- */

/*
 * Elements are done in order; each clears its mask, so that after a fault the instruction goes on where
 * it stopped. isz, esz: sizes of indices and elements; n elements.
 */
static void gather(struct cpu *c, const struct insn *i, unsigned isz, unsigned esz, unsigned n)
{
	union x86_vec *dst = &c->vec[i->r1], *mask = &c->vec[i->r2];
	const union x86_vec *idx = &c->vec[i->r3];

	for (unsigned k = 0; k < n; k++) {
		struct insn e = *i;
		u64 off;
		if (!selected(mask, esz, k)) {
			memset(&mask->b[k * esz], 0, esz);
			continue;
		}
		off = isz == 4 ? (u64)(s32)idx->d[k] : idx->q[k];
		e.disp += (s64)(off << i->scale);
		mem_ld_bytes(c, insn_lin(c, &e, esz, false), &dst->b[k * esz], esz);
		memset(&mask->b[k * esz], 0, esz);
	}
	memset(&dst->b[n * esz], 0, 32 - n * esz);
	memset(mask, 0, 32);
}

#define GATHER(mn, isz, esz)                                                                                 \
	void v128_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		gather(c, i, isz, esz, 16 / MAX(isz, esz));                                                  \
	}                                                                                                    \
	void v256_##mn(struct cpu *c, const struct insn *i)                                                  \
	{                                                                                                    \
		gather(c, i, isz, esz, 32 / MAX(isz, esz));                                                  \
	}
GATHER(GATHERDD, 4, 4)
GATHER(GATHERDQ, 4, 8)
GATHER(GATHERQD, 8, 4)
GATHER(GATHERQQ, 8, 8)
