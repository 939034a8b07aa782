/*
 * Port instructions: IN, OUT, INS, OUTS with the I/O permission bitmap (SDM vol. 1, 19.5). A repeated
 * string instruction gives way to requests between iterations: RIP goes back, the registers
 * tell how far it got.
 */
#include "accel/soft/debug.h"
#include "accel/soft/interp/sys.h"

#define TSS_IOMAP 102u

static void check_bitmap(struct cpu *c, u16 port, unsigned size)
{
	u32 off;
	u64 bits;

	if (!(c->tr.attr & 8) || c->tr.limit < TSS_IOMAP + 1)
		cpu_raise_err(c, EXC_GP, 0);
	off = (u32)mem_ld_sys(c, c->tr.base + TSS_IOMAP, 2) + port / 8u;
	/* Always two bytes, so that a port at the end of one needs no special case. */
	if (off + 1 > c->tr.limit)
		cpu_raise_err(c, EXC_GP, 0);
	bits = mem_ld_sys(c, c->tr.base + off, 2) >> (port & 7);
	if (bits & ((1u << size) - 1))
		cpu_raise_err(c, EXC_GP, 0);
}

static void check_io(struct cpu *c, u16 port, unsigned size)
{
	if ((c->cr0 & CR0_PE) && (c->cpl > cpu_iopl(c) || (c->eflags & FL_VM)))
		check_bitmap(c, port, size);
}

static u32 port_in(struct cpu *c, u16 port, unsigned size)
{
	debug_io_access(c, port, size);
	return (u32)(c->host->ports ? space_read(c->host->ports, port, size) : ones(size));
}

static void port_out(struct cpu *c, u16 port, unsigned size, u32 val)
{
	debug_io_access(c, port, size);
	if (c->host->ports)
		space_write(c->host->ports, port, size, val);
}

static u16 port_of(const struct cpu *c, const struct insn *i)
{
	return (u16)(i->aux ? i->imm & 0xff : c->gpr[RDX]);
}

void op_in(struct cpu *c, const struct insn *i)
{
	u16 port = port_of(c, i);
	u32 val;

	check_io(c, port, i->osize);
	val = port_in(c, port, i->osize);
	reg_write(c, RAX * (i->osize == 1 ? 8 : 1), i->osize, val);
}

void op_out(struct cpu *c, const struct insn *i)
{
	u16 port = port_of(c, i);

	check_io(c, port, i->osize);
	port_out(c, port, i->osize, (u32)(c->gpr[RAX] & ones(i->osize)));
	/* A device may have raised an interrupt or asked the machine to stop. */
	if (__atomic_load_n(&c->request, __ATOMIC_RELAXED))
		cpu_end_block(c);
}

/* --- strings --- */

static void advance(struct cpu *c, const struct insn *i, unsigned reg)
{
	u64 step = c->eflags & FL_DF ? -(u64)i->osize : i->osize;
	u64 mask = ones(i->asize);
	u64 val = (c->gpr[reg] + step) & mask;

	c->gpr[reg] = i->asize == 2 ? (c->gpr[reg] & ~mask) | val : val;
}

static u64 string_lin(struct cpu *c, const struct insn *i, unsigned seg, unsigned reg, bool write)
{
	u64 off = c->gpr[reg] & ones(i->asize);

	if (!(c->hf & HF_CS64))
		return mmu_linear(c, seg, off, i->osize, write);
	return seg >= SEG_FS ? off + c->seg[seg].base : off;
}

static void ins_once(struct cpu *c, const struct insn *i)
{
	u64 lin = string_lin(c, i, SEG_ES, RDI, true);

	mmu_probe(c, lin, i->osize, ACC_WRITE); /* before the port's side effects */
	mem_st(c, lin, i->osize, port_in(c, (u16)c->gpr[RDX], i->osize));
	advance(c, i, RDI);
}

static void outs_once(struct cpu *c, const struct insn *i)
{
	u64 val = mem_ld(c, string_lin(c, i, i->seg, RSI, false), i->osize);

	port_out(c, (u16)c->gpr[RDX], i->osize, (u32)val);
	advance(c, i, RSI);
}

static void repeat(struct cpu *c, const struct insn *i, void (*once)(struct cpu *c, const struct insn *i))
{
	u64 mask = ones(i->asize);

	check_io(c, (u16)c->gpr[RDX], i->osize);
	if (!(i->flags & (INSN_REP | INSN_REPNE))) {
		once(c, i);
		return;
	}
	while (c->gpr[RCX] & mask) {
		once(c, i);
		u64 left = (c->gpr[RCX] - 1) & mask;
		c->gpr[RCX] = i->asize == 2 ? (c->gpr[RCX] & ~mask) | left : left;
		if (left && (__atomic_load_n(&c->request, __ATOMIC_RELAXED) || c->slow)) {
			c->gpr[REG_RIP] -= i->len;
			cpu_end_block(c);
			return;
		}
	}
}

void op_ins(struct cpu *c, const struct insn *i)
{
	repeat(c, i, ins_once);
}

void op_outs(struct cpu *c, const struct insn *i)
{
	repeat(c, i, outs_once);
}
