/*
 * Random instances of a form. The first attempts vary everything that the encoding leaves open; later
 * ones keep more of the example, because some forms (opcode extensions, x87) own their ModRM byte.
 */
#include "harness.h"

static void put_tail(struct rng *r, u8 *b, u32 n)
{
	while (n < 40)
		b[n++] = (u8)rng_next(r);
}

/* Displacements are small more often than chance would have it. */
static void small_disp(struct rng *r, u8 *b)
{
	s32 v = (s32)rng_below(r, 256) - 128;

	if (rng_pct(r, 70))
		memcpy(b, &v, 4);
}

static u8 vary_modrm(struct rng *r, const struct form *t, unsigned attempt)
{
	u8 m = t->modrm;

	if (attempt < 6)
		m = (u8)((m & ~0x38) | rng_below(r, 8) << 3);
	if (m >= 0xc0)
		return attempt < 9 ? (u8)((m & ~7) | rng_below(r, 8)) : m;
	return (u8)((m & 0x38) | rng_below(r, 3) << 6 | rng_below(r, 8));
}

static u32 put_prefixes(struct rng *r, const struct form *t, unsigned attempt, u8 *b)
{
	static const u8 odd[] = {0x2e, 0x36, 0x3e, 0x26, 0x66, 0xf2, 0xf3};
	u32 n = 0;

	if (t->lock)
		b[n++] = 0xf0;
	if (attempt < 4 && rng_pct(r, 10))
		b[n++] = rng_pct(r, 50) ? 0x64 : 0x65;
	if (attempt < 4 && rng_pct(r, 10))
		b[n++] = 0x67;
	if (attempt < 4 && rng_pct(r, 4))
		b[n++] = odd[rng_below(r, t->vex ? 4 : ARRAY_SIZE(odd))];
	if (t->prefix && !t->vex)
		b[n++] = t->prefix;
	return n;
}

static u32 put_vex(struct rng *r, const struct form *t, unsigned attempt, u8 *b)
{
	static const u8 pp[256] = {[0x66] = 1, [0xf3] = 2, [0xf2] = 3};
	u8 rxb = (u8)(t->mode == MODE_64 ? rng_below(r, 8) << 5 : 0xe0);
	u8 vvvv = (u8)(attempt & 1 ? 15 : rng_below(r, 16));
	u8 low;

	if (t->mode == MODE_32)
		vvvv |= 8;
	low = (u8)(vvvv << 3 | t->l << 2 | pp[t->prefix]);
	if (t->map == 1 && !t->w && rng_pct(r, 40)) {
		b[0] = 0xc5;
		b[1] = (u8)((rxb & 0x80) | low);
		return 2;
	}
	b[0] = 0xc4;
	b[1] = rxb | t->map;
	b[2] = (u8)(t->w << 7 | low);
	return 3;
}

static u32 put_legacy(struct rng *r, const struct form *t, unsigned attempt, u8 *b)
{
	u32 n = 0;

	if (t->mode == MODE_64 && (t->w || (attempt < 8 && rng_pct(r, 50))))
		b[n++] = (u8)(0x40 | t->w << 3 | (attempt < 8 ? rng_below(r, 8) : 0));
	if (t->map)
		b[n++] = 0x0f;
	if (t->map >= 2)
		b[n++] = t->map == 2 ? 0x38 : 0x3a;
	return n;
}

void encode_form(struct rng *r, const struct form *t, unsigned attempt, u8 *b)
{
	u8 buf[48];
	u32 n = put_prefixes(r, t, attempt, buf);

	n += t->vex ? put_vex(r, t, attempt, buf + n) : put_legacy(r, t, attempt, buf + n);
	buf[n++] = t->op;
	if (t->has_modrm) {
		u8 m = vary_modrm(r, t, attempt);

		buf[n++] = m;
		put_tail(r, buf, n);
		if (m < 0xc0)
			small_disp(r, buf + n + ((m & 7) == 4));
	} else {
		put_tail(r, buf, n);
	}
	memcpy(b, buf, INSN_MAX_LEN);
}
