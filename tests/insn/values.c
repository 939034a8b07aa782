/*
 * Operand values: the edges of every integer and floating point format, mixed with random bits.
 */
#include "harness.h"

u64 value_int(struct rng *r)
{
	static const u64 edges[] = {0, 1, ~0ull, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000,
	        0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
	        0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0xffffffff80000000, 0xffffffffffff8000,
	        0xffffffffffffff80};

	switch (rng_below(r, 8)) {
	case 0:
	case 1: return edges[rng_below(r, ARRAY_SIZE(edges))];
	case 2: return 1ull << rng_below(r, 64);
	case 3: return rng_below(r, 256);
	case 4: return (u64)(s64)(s32)rng_next(r);
	case 5: return ~0ull << rng_below(r, 64);
	default: return rng_next(r);
	}
}

u32 value_f32(struct rng *r)
{
	static const u32 edges[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
	        0xffc00000, 0x7f800001, 0xffbfffff, 1, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000,
	        0x80800000, 0x7f7fffff, 0xff7fffff, 0x3f000000, 0x40490fdb, 0x4effffff, 0x4f000000,
	        0xcf000000, 0x4f800000, 0x5f000000, 0xdf000000, 0x5f800000, 0x3fc00000, 0x40200000,
	        0x33800000, 0x34000000};

	switch (rng_below(r, 6)) {
	case 0:
	case 1: return edges[rng_below(r, ARRAY_SIZE(edges))];
	case 2: return (u32)rng_next(r);
	case 3: return (u32)(rng_next(r) & 0x807fffff); /* denormal */
	case 4: return (u32)((rng_next(r) & 0x807fffff) | (rng_below(r, 40) + 107) << 23);
	default:
		return (u32)((rng_next(r) & 0x80000000) | (rng_below(r, 64) + 120) << 23 |
		             (rng_below(r, 16) << 19));
	}
}

u64 value_f64(struct rng *r)
{
	static const u64 edges[] = {0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
	        0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000,
	        0x7ff0000000000001, 0xfff7ffffffffffff, 1, 0x8000000000000001, 0x000fffffffffffff,
	        0x800fffffffffffff, 0x0010000000000000, 0x8010000000000000, 0x7fefffffffffffff,
	        0xffefffffffffffff, 0x3fe0000000000000, 0x400921fb54442d18, 0x41dfffffffc00000,
	        0x41e0000000000000, 0xc1e0000000000000, 0x41f0000000000000, 0x43e0000000000000,
	        0xc3e0000000000000, 0x43f0000000000000, 0x36a0000000000000, 0x3810000000000000,
	        0x47efffffe0000000, 0x47effffff0000000};

	switch (rng_below(r, 6)) {
	case 0:
	case 1: return edges[rng_below(r, ARRAY_SIZE(edges))];
	case 2: return rng_next(r);
	case 3: return rng_next(r) & 0x800fffffffffffff;
	case 4: return (rng_next(r) & 0x800fffffffffffff) | (u64)(rng_below(r, 40) + 1003) << 52;
	default:
		return (rng_next(r) & 0x8000000000000000) | (u64)(rng_below(r, 80) + 1015) << 52 |
		       (u64)rng_below(r, 16) << 48;
	}
}

void value_f80(struct rng *r, struct x86_st *st)
{
	u16 sign = (u16)(rng_next(r) & 0x8000);
	u64 top = 1ull << 63;

	memset(st, 0, sizeof(*st));
	switch (rng_below(r, 12)) {
	case 0: st->exp = sign; break; /* zero */
	case 1:
		st->exp = sign | 0x7fff;
		st->mant = top;
		break; /* infinity */
	case 2:
		st->exp = sign | 0x7fff;
		st->mant = top | rng_next(r);
		break; /* NaN, either kind */
	case 3:
		st->exp = sign;
		st->mant = rng_next(r) & ~top;
		break; /* denormal */
	case 4:
		st->exp = sign | (u16)(rng_next(r) & 0x7fff);
		st->mant = rng_next(r) | top;
		break;
	case 5:
		st->exp = (u16)rng_next(r);
		st->mant = rng_next(r);
		break; /* also unsupported encodings */
	case 6:
		st->exp = sign | 0x3fff;
		st->mant = top;
		break; /* one */
	case 7:
	case 8: /* small whole number */
		st->exp = sign | (u16)(0x3fff + rng_below(r, 8));
		st->mant = top | (u64)rng_below(r, 128) << 56;
		break;
	case 9:
		st->exp = sign | (u16)(0x3fff + rng_below(r, 70));
		st->mant = rng_next(r) | top;
		break;
	default:
		st->exp = sign | (u16)(0x3fff - 8 + rng_below(r, 16));
		st->mant = rng_next(r) | top;
		break;
	}
}

static void fill_ints(struct rng *r, u8 *buf, u32 len)
{
	u32 width = 1u << rng_below(r, 4);

	for (u32 i = 0; i < len; i += width) {
		u64 v = value_int(r);

		memcpy(buf + i, &v, MIN(width, len - i));
	}
}

static void fill_bcd(struct rng *r, u8 *buf, u32 len)
{
	for (u32 i = 0; i < len; i++)
		buf[i] = (u8)(rng_below(r, 10) | rng_below(r, 10) << 4);
	if (len == 10)
		buf[9] = (u8)(rng_next(r) & 0x80);
}

void value_fill(struct rng *r, enum fill kind, u8 *buf, u32 len)
{
	struct x86_st st;

	if (kind == FILL_ANY || rng_pct(r, 10))
		kind = (enum fill)(FILL_INT + rng_below(r, 4));
	for (u32 i = 0; i < len; i += 8) {
		u32 n = MIN(8u, len - i);
		u64 v;

		switch (kind) {
		case FILL_F16: v = rng_next(r) & (rng_pct(r, 50) ? ~0ull : 0x83ff83ff83ff83ff); break;
		case FILL_F32:
			v = (u64)value_f32(r) << 32;
			v |= value_f32(r);
			break;
		case FILL_F64: v = value_f64(r); break;
		default: v = rng_next(r); break;
		}
		memcpy(buf + i, &v, n);
	}
	if (kind == FILL_INT && !rng_pct(r, 20))
		fill_ints(r, buf, len);
	if (kind == FILL_BCD)
		fill_bcd(r, buf, len);
	if (kind == FILL_F80) {
		value_f80(r, &st);
		memcpy(buf, &st, MIN(len, 10u));
	}
}

static void fill_x87(struct rng *r, struct regs *s)
{
	struct x86_fpu *f = &s->fpu;
	static const u16 precision[] = {0x300, 0x300, 0x300, 0x200, 0x000};
	u16 masks = rng_pct(r, 80) ? 0x3f : (u16)(rng_next(r) & 0x3f);

	memset(f, 0, sizeof(*f));
	f->fcw = (u16)(0x40 | masks | precision[rng_below(r, 5)] | rng_below(r, 4) << 10);
	f->fsw = (u16)(rng_next(r) & 0x4700);
	if (rng_pct(r, 60))
		f->fsw |= (u16)(rng_below(r, 8) << 11);
	if (rng_pct(r, 30))
		f->fsw |= (u16)(rng_next(r) & 0x7f);
	if (rng_pct(r, 70) && (f->fsw & ~f->fcw & 0x3f))
		f->fsw &= (u16)~0x3f; /* mostly nothing pending */
	if (f->fsw & ~f->fcw & 0x3f)
		f->fsw |= 0x8080;
	f->ftw = rng_pct(r, 50) ? 0xff : (u8)(rng_next(r) | (rng_pct(r, 50) ? rng_next(r) : 0));
	for (unsigned i = 0; i < 8; i++) {
		if (rng_pct(r, 25)) {
			value_fill(r, FILL_ANY, (u8 *)&f->r[i].mant, 8);
			f->r[i].exp = 0xffff; /* as MMX leaves it */
		} else {
			value_f80(r, &f->r[i]);
		}
	}
}

void value_regs(struct rng *r, enum fill kind, struct regs *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < X86_NGPR; i++)
		s->gpr[i] = value_int(r);
	s->rflags = FL_1 | FL_IF | (rng_next(r) & FL_ARITH);
	if (rng_pct(r, 25))
		s->rflags |= FL_DF;
	if (rng_pct(r, 3))
		s->rflags |= FL_AC;
	s->fs_base = (u64)((s64)(value_int(r) << 17) >> 17);
	s->gs_base = (u64)((s64)(value_int(r) << 17) >> 17);
	s->mxcsr = (u32)(rng_next(r) & 0x603f) | 0x1f80;
	if (rng_pct(r, 25))
		s->mxcsr &= ~(u32)(rng_next(r) & 0x1f80);
	if (rng_pct(r, 20))
		s->mxcsr |= 0x8000;
	if (rng_pct(r, 20))
		s->mxcsr |= 0x0040;
	fill_x87(r, s);
	for (unsigned i = 0; i < 16; i++)
		value_fill(r, kind, s->vec[i].b, 32);
}
