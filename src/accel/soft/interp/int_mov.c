/*
 * Data movement: MOV, MOVZX, MOVSX, LEA, XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B, BSWAP, MOVBE,
 * CMOVcc, SETcc, sign extension of the accumulator, XLAT; and the atomic update that LOCK needs.
 */
#include "accel/soft/interp/int.h"

bind_fn bind_mov, bind_movx, bind_lea, bind_xchg, bind_xadd, bind_cmpxchg, bind_cmpxchg_wide, bind_bswap,
        bind_movbe, bind_cmov, bind_setcc, bind_extend, bind_xlat;

/* --- shared by all families --- */

u8 op_reg(const struct dec *d, unsigned n)
{
	ZydisRegister r = d->op[n].reg.value;

	return ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR8 ? reg8_off(r) : reg_num(r);
}

typedef u8 u8_any;

#define CAS(bits)                                                                                            \
	static bool cas##bits(void *p, u64 *old, u64 val)                                                    \
	{                                                                                                    \
		u##bits expect = (u##bits) * old;                                                            \
		bool done;                                                                                   \
		__asm__ volatile("lock cmpxchg %3, %1"                                                       \
		                 : "+a"(expect), "+m"(*(u##bits##_any *)p), "=@ccz"(done)                    \
		                 : "q"((u##bits)val)                                                         \
		                 : "memory");                                                                \
		*old = expect;                                                                               \
		return done;                                                                                 \
	}
CAS(8)
CAS(16)
CAS(32)
CAS(64)

bool locked_cas(struct cpu *c, const struct rmw *m, unsigned size, u64 *old, u64 val)
{
	if (!m->host) {
		mem_st(c, m->lin, size, val);
		return true;
	}
	switch (size) {
	case 1: return cas8(m->host, old, val);
	case 2: return cas16(m->host, old, val);
	case 4: return cas32(m->host, old, val);
	default: return cas64(m->host, old, val);
	}
}

void locked_begin(struct cpu *c, const struct rmw *m)
{
	if (!m->host)
		mmu_lock(c);
}

void locked_end(struct cpu *c, const struct rmw *m, unsigned size)
{
	if (m->host)
		mmu_wrote(c, m->host, size);
	else
		mmu_unlock(c);
}

/* --- MOV --- */

#define MOV_HANDLERS(S)                                                                                      \
	static void mov_rr##S(struct cpu *c, const struct insn *i)                                           \
	{                                                                                                    \
		reg_write(c, i->r1, S, reg_read(c, i->r2, S));                                               \
	}                                                                                                    \
	static void mov_rm##S(struct cpu *c, const struct insn *i)                                           \
	{                                                                                                    \
		reg_write(c, i->r1, S, load_mem(c, i, S));                                                   \
	}                                                                                                    \
	static void mov_mr##S(struct cpu *c, const struct insn *i)                                           \
	{                                                                                                    \
		store_mem(c, i, S, reg_read(c, i->r2, S));                                                   \
	}                                                                                                    \
	static void mov_ri##S(struct cpu *c, const struct insn *i)                                           \
	{                                                                                                    \
		reg_write(c, i->r1, S, i->imm);                                                              \
	}                                                                                                    \
	static void mov_mi##S(struct cpu *c, const struct insn *i)                                           \
	{                                                                                                    \
		store_mem(c, i, S, i->imm);                                                                  \
	}
FOR_SIZES(MOV_HANDLERS)

#define ROW(F)                                                                                               \
	{                                                                                                    \
		F##1, F##2, F##4, F##8                                                                       \
	}

bool bind_mov(const struct dec *d, struct insn *i)
{
	static insn_fn *const rr[4] = ROW(mov_rr), *const rm[4] = ROW(mov_rm), *const mr[4] = ROW(mov_mr),
	                      *const ri[4] = ROW(mov_ri), *const mi[4] = ROW(mov_mi);
	unsigned lg = lg2(op_size(d, 0));

	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	if (op_is_imm(d, 1))
		i->imm = d->op[1].imm.value.u;
	if (op_is_mem(d, 0))
		i->fn = op_is_imm(d, 1) ? mi[lg] : mr[lg];
	else
		i->fn = op_is_imm(d, 1) ? ri[lg] : op_is_mem(d, 1) ? rm[lg] : rr[lg];
	return true;
}

/* --- MOVZX, MOVSX, MOVSXD: source size S, destination size i->osize --- */

#define MOVX_HANDLERS(S)                                                                                     \
	static void movzx_r##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		reg_write(c, i->r1, i->osize, reg_read(c, i->r2, S));                                        \
	}                                                                                                    \
	static void movzx_m##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		reg_write(c, i->r1, i->osize, load_mem(c, i, S));                                            \
	}                                                                                                    \
	static void movsx_r##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		reg_write(c, i->r1, i->osize, (u64)sext(reg_read(c, i->r2, S), S));                          \
	}                                                                                                    \
	static void movsx_m##S(struct cpu *c, const struct insn *i)                                          \
	{                                                                                                    \
		reg_write(c, i->r1, i->osize, (u64)sext(load_mem(c, i, S), S));                              \
	}
MOVX_HANDLERS(1)
MOVX_HANDLERS(2)
MOVX_HANDLERS(4)

bool bind_movx(const struct dec *d, struct insn *i)
{
	static insn_fn *const zr[] = {movzx_r1, movzx_r2, movzx_r4},
	                      *const zm[] = {movzx_m1, movzx_m2, movzx_m4},
	                      *const sr[] = {movsx_r1, movsx_r2, movsx_r4},
	                      *const sm[] = {movsx_m1, movsx_m2, movsx_m4};
	unsigned size = op_size(d, 1);
	bool sign = d->zi.mnemonic != ZYDIS_MNEMONIC_MOVZX;
	unsigned lg = lg2(size);

	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	if (lg > 2)
		return false;
	if (op_is_mem(d, 1))
		i->fn = sign ? sm[lg] : zm[lg];
	else
		i->fn = sign ? sr[lg] : zr[lg];
	return true;
}

static void lea2(struct cpu *c, const struct insn *i)
{
	reg_write(c, i->r1, 2, insn_ea(c, i));
}

static void lea4(struct cpu *c, const struct insn *i)
{
	c->gpr[i->r1] = (u32)insn_ea(c, i);
}

static void lea8(struct cpu *c, const struct insn *i)
{
	c->gpr[i->r1] = insn_ea(c, i);
}

bool bind_lea(const struct dec *d, struct insn *i)
{
	unsigned size = op_size(d, 0);

	i->r1 = op_reg(d, 0);
	i->fn = size == 8 ? lea8 : size == 4 ? lea4 : lea2;
	return op_is_mem(d, 1);
}

/* --- exchanges --- */

static void xchg_rr(struct cpu *c, const struct insn *i)
{
	u64 a = reg_read(c, i->r1, i->osize), b = reg_read(c, i->r2, i->osize);

	reg_write(c, i->r1, i->osize, b);
	reg_write(c, i->r2, i->osize, a);
}

/* With memory XCHG locks the bus, prefix or not. */
static void xchg_mr(struct cpu *c, const struct insn *i)
{
	struct rmw m = rmw_begin(c, i, i->osize);
	u64 val = reg_read(c, i->r2, i->osize), old;

	locked_begin(c, &m);
	old = rmw_load(c, &m, i->osize);
	while (!locked_cas(c, &m, i->osize, &old, val))
		;
	locked_end(c, &m, i->osize);
	reg_write(c, i->r2, i->osize, old);
}

bool bind_xchg(const struct dec *d, struct insn *i)
{
	unsigned mem = op_is_mem(d, 0) ? 0 : 1;

	i->osize = (u8)op_size(d, 0);
	if (op_is_mem(d, mem)) {
		i->r2 = op_reg(d, !mem);
		i->fn = xchg_mr;
	} else {
		i->r1 = op_reg(d, 0);
		i->r2 = op_reg(d, 1);
		i->fn = xchg_rr;
	}
	return true;
}

static void xadd_rr(struct cpu *c, const struct insn *i)
{
	unsigned s = i->osize;
	u64 a = reg_read(c, i->r1, s), b = reg_read(c, i->r2, s), r = (a + b) & ones(s);

	cc_lazy(c, CC_ADD, s, r, a, b);
	reg_write(c, i->r2, s, a);
	reg_write(c, i->r1, s, r);
}

static void xadd_mr(struct cpu *c, const struct insn *i)
{
	unsigned s = i->osize;
	struct rmw m = rmw_begin(c, i, s);
	u64 b = reg_read(c, i->r2, s), old;

	locked_begin(c, &m);
	old = rmw_load(c, &m, s);
	while (!locked_cas(c, &m, s, &old, old + b))
		;
	locked_end(c, &m, s);
	old &= ones(s);
	cc_lazy(c, CC_ADD, s, (old + b) & ones(s), old, b);
	reg_write(c, i->r2, s, old);
}

bool bind_xadd(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->r2 = op_reg(d, 1);
	i->fn = op_is_mem(d, 0) ? xadd_mr : xadd_rr;
	return true;
}

/* RAX or its part as operand r1 form: byte offset 0 and number 0 are the same. */
#define ACC RAX

static void cmpxchg_rr(struct cpu *c, const struct insn *i)
{
	unsigned s = i->osize;
	u64 acc = reg_read(c, ACC, s), dest = reg_read(c, i->r1, s);

	cc_lazy(c, CC_SUB, s, (acc - dest) & ones(s), acc, dest);
	if (acc == dest)
		reg_write(c, i->r1, s, reg_read(c, i->r2, s));
	else
		reg_write(c, ACC, s, dest);
}

static void cmpxchg_mr(struct cpu *c, const struct insn *i)
{
	unsigned s = i->osize;
	struct rmw m = rmw_begin(c, i, s);
	u64 acc = reg_read(c, ACC, s), val = reg_read(c, i->r2, s), old = acc;

	locked_begin(c, &m);
	if (m.host) {
		locked_cas(c, &m, s, &old, val);
	} else {
		old = mem_ld(c, m.lin, s);
		mem_st(c, m.lin, s, old == acc ? val : old);
	}
	locked_end(c, &m, s);
	cc_lazy(c, CC_SUB, s, (acc - old) & ones(s), acc, old);
	if (old != acc)
		reg_write(c, ACC, s, old);
}

bool bind_cmpxchg(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->r2 = op_reg(d, 1);
	i->fn = op_is_mem(d, 0) ? cmpxchg_mr : cmpxchg_rr;
	return true;
}

static void cmpxchg8b(struct cpu *c, const struct insn *i)
{
	struct rmw m = rmw_begin(c, i, 8);
	u64 expect = c->gpr[RDX] << 32 | (u32)c->gpr[RAX], old = expect;
	u64 val = c->gpr[RCX] << 32 | (u32)c->gpr[RBX];

	locked_begin(c, &m);
	if (m.host) {
		locked_cas(c, &m, 8, &old, val);
	} else {
		old = mem_ld64(c, m.lin);
		mem_st64(c, m.lin, old == expect ? val : old);
	}
	locked_end(c, &m, 8);
	set_flags(c, FL_ZF, old == expect ? FL_ZF : 0);
	if (old != expect) {
		c->gpr[RAX] = (u32)old;
		c->gpr[RDX] = old >> 32;
	}
}

static bool cas128(void *p, u64 old[2], const u64 val[2])
{
	bool done;

	__asm__ volatile("lock cmpxchg16b %1"
	                 : "=@ccz"(done), "+m"(*(u128 *)p), "+a"(old[0]), "+d"(old[1])
	                 : "b"(val[0]), "c"(val[1])
	                 : "memory");
	return done;
}

static void cmpxchg16b(struct cpu *c, const struct insn *i)
{
	u64 lin = insn_lin(c, i, 16, true);
	u64 old[2] = {c->gpr[RAX], c->gpr[RDX]}, val[2] = {c->gpr[RBX], c->gpr[RCX]};
	void *p;
	bool same;

	if (lin & 15)
		cpu_raise_err(c, EXC_GP, 0);
	p = mmu_rmw(c, lin, 16);
	if (p) {
		same = cas128(p, old, val);
		mmu_wrote(c, p, 16);
	} else {
		mmu_lock(c);
		old[0] = mem_ld64(c, lin);
		old[1] = mem_ld64(c, lin + 8);
		same = old[0] == c->gpr[RAX] && old[1] == c->gpr[RDX];
		mem_st64(c, lin, same ? val[0] : old[0]);
		mem_st64(c, lin + 8, same ? val[1] : old[1]);
		mmu_unlock(c);
	}
	set_flags(c, FL_ZF, same ? FL_ZF : 0);
	if (!same) {
		c->gpr[RAX] = old[0];
		c->gpr[RDX] = old[1];
	}
}

bool bind_cmpxchg_wide(const struct dec *d, struct insn *i)
{
	i->fn = d->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B ? cmpxchg16b : cmpxchg8b;
	return op_is_mem(d, 0);
}

/* --- byte order --- */

static u64 swap(u64 v, unsigned size)
{
	return __builtin_bswap64(v) >> (64 - size * 8);
}

/* BSWAP of 16 bits is undefined; processors leave zero. */
static void bswap(struct cpu *c, const struct insn *i)
{
	reg_write(c, i->r1, i->osize, i->osize == 2 ? 0 : swap(reg_read(c, i->r1, i->osize), i->osize));
}

bool bind_bswap(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	i->fn = bswap;
	return true;
}

static void movbe_load(struct cpu *c, const struct insn *i)
{
	reg_write(c, i->r1, i->osize, swap(load_mem(c, i, i->osize), i->osize));
}

static void movbe_store(struct cpu *c, const struct insn *i)
{
	store_mem(c, i, i->osize, swap(reg_read(c, i->r1, i->osize), i->osize));
}

bool bind_movbe(const struct dec *d, struct insn *i)
{
	bool st = op_is_mem(d, 0);

	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, st);
	i->fn = st ? movbe_store : movbe_load;
	return true;
}

/* --- conditions --- */

#define COND_FAMILY(FAM)                                                                                     \
	case ZYDIS_MNEMONIC_##FAM##O: return 0;                                                              \
	case ZYDIS_MNEMONIC_##FAM##NO: return 1;                                                             \
	case ZYDIS_MNEMONIC_##FAM##B: return 2;                                                              \
	case ZYDIS_MNEMONIC_##FAM##NB: return 3;                                                             \
	case ZYDIS_MNEMONIC_##FAM##Z: return 4;                                                              \
	case ZYDIS_MNEMONIC_##FAM##NZ: return 5;                                                             \
	case ZYDIS_MNEMONIC_##FAM##BE: return 6;                                                             \
	case ZYDIS_MNEMONIC_##FAM##NBE: return 7;                                                            \
	case ZYDIS_MNEMONIC_##FAM##S: return 8;                                                              \
	case ZYDIS_MNEMONIC_##FAM##NS: return 9;                                                             \
	case ZYDIS_MNEMONIC_##FAM##P: return 10;                                                             \
	case ZYDIS_MNEMONIC_##FAM##NP: return 11;                                                            \
	case ZYDIS_MNEMONIC_##FAM##L: return 12;                                                             \
	case ZYDIS_MNEMONIC_##FAM##NL: return 13;                                                            \
	case ZYDIS_MNEMONIC_##FAM##LE: return 14;                                                            \
	case ZYDIS_MNEMONIC_##FAM##NLE: return 15;

u8 op_cond(const struct dec *d)
{
	switch (d->zi.mnemonic) {
		COND_FAMILY(J)
		COND_FAMILY(SET)
		COND_FAMILY(CMOV)
	default: return 0;
	}
}

/* The source is read, and a 32-bit destination zero-extended, whatever the condition. */
static void cmov(struct cpu *c, const struct insn *i)
{
	u64 v = load_rm(c, i, i->r2, i->osize);

	if (!cpu_cond(c, i->aux))
		v = reg_read(c, i->r1, i->osize);
	reg_write(c, i->r1, i->osize, v);
}

bool bind_cmov(const struct dec *d, struct insn *i)
{
	i->osize = (u8)op_size(d, 0);
	i->r1 = op_reg(d, 0);
	if (op_is_reg(d, 1))
		i->r2 = op_reg(d, 1);
	i->aux = op_cond(d);
	i->fn = cmov;
	return true;
}

static void setcc_r(struct cpu *c, const struct insn *i)
{
	*reg8(c, i->r1) = cpu_cond(c, i->aux);
}

static void setcc_m(struct cpu *c, const struct insn *i)
{
	store_mem(c, i, 1, cpu_cond(c, i->aux));
}

bool bind_setcc(const struct dec *d, struct insn *i)
{
	if (op_is_reg(d, 0))
		i->r1 = op_reg(d, 0);
	i->aux = op_cond(d);
	i->fn = op_is_mem(d, 0) ? setcc_m : setcc_r;
	return true;
}

/* --- accumulator --- */

/* CBW, CWDE, CDQE: osize is the destination's. */
static void extend_low(struct cpu *c, const struct insn *i)
{
	reg_write(c, RAX, i->osize, (u64)sext(c->gpr[RAX], i->osize / 2));
}

/* CWD, CDQ, CQO */
static void extend_high(struct cpu *c, const struct insn *i)
{
	reg_write(c, RDX, i->osize, reg_read(c, RAX, i->osize) & sign_bit(i->osize) ? ~0ull : 0);
}

bool bind_extend(const struct dec *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_CBW:
		i->osize = 2;
		i->fn = extend_low;
		break;
	case ZYDIS_MNEMONIC_CWDE:
		i->osize = 4;
		i->fn = extend_low;
		break;
	case ZYDIS_MNEMONIC_CDQE:
		i->osize = 8;
		i->fn = extend_low;
		break;
	case ZYDIS_MNEMONIC_CWD:
		i->osize = 2;
		i->fn = extend_high;
		break;
	case ZYDIS_MNEMONIC_CDQ:
		i->osize = 4;
		i->fn = extend_high;
		break;
	default:
		i->osize = 8;
		i->fn = extend_high;
		break;
	}
	return true;
}

static void xlat(struct cpu *c, const struct insn *i)
{
	u64 off = (c->gpr[RBX] + (u8)c->gpr[RAX]) & ones(i->asize);

	*reg8(c, RAX) = mem_ld8(c, lin_of(c, i, off, 1, false));
}

bool bind_xlat(const struct dec *d, struct insn *i)
{
	i->fn = xlat;
	return true;
}
