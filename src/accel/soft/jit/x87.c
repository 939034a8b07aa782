/*
 * x87 and MMX state on its way between the CPU and the host's unit.
 *
 * Translated code loads the unit when it meets the first such instruction (glue.x87) and from then on the
 * state is in the host (jit.x87), until C takes over for good. The way in and the way out load and store it
 * with FRSTOR and FNSAVE, whose image is made and read here (SDM vol. 1, figure 8-9).
 *
 * The host notes addresses of translated code as the last instruction's; the guest keeps the old ones.
 */
#include "accel/soft/jit/jit_int.h"

#define ENV_FCW 0
#define ENV_FSW 4
#define ENV_FTW 8
#define ENV_LEN 28
static_assert(ENV_LEN + 8 * 10 == JIT_FSAVE, "FSAVE's image");

static unsigned top_of(const struct x86_fpu *f)
{
	return f->fsw >> 11 & 7;
}

void x87_to_host(struct cpu *c)
{
	const struct x86_fpu *f = &c->fpu;
	u8 *p = c->jit.fsave;
	u32 tags = 0;

	memset(p, 0, ENV_LEN);
	for (unsigned n = 0; n < 8; n++)
		tags |= (f->ftw & BIT(n) ? 0 : 3u) << 2 * n;
	put_le32(p + ENV_FCW, f->fcw);
	put_le32(p + ENV_FSW, f->fsw);
	put_le32(p + ENV_FTW, tags);
	for (unsigned n = 0; n < 8; n++)
		memcpy(p + ENV_LEN + 10 * n, &f->r[(top_of(f) + n) & 7], 10);
}

void x87_from_host(struct cpu *c)
{
	struct x86_fpu *f = &c->fpu;
	const u8 *p = c->jit.fsave;
	u16 tags = get_le16(p + ENV_FTW);

	f->fcw = get_le16(p + ENV_FCW);
	f->fsw = get_le16(p + ENV_FSW);
	f->ftw = 0;
	for (unsigned n = 0; n < 8; n++)
		if ((tags >> 2 * n & 3) != 3)
			f->ftw |= (u8)BIT(n);
	for (unsigned n = 0; n < 8; n++)
		memcpy(&f->r[(top_of(f) + n) & 7], p + ENV_LEN + 10 * n, 10);
}
