/*
 * The few pieces of code that all blocks share: the way in, the ways out, and the call of the TLB's
 * refill. They are emitted once, at the start of the code cache.
 *
 * Way in: C sets jit.target and calls enter() with the GS base at the CPU. The guest's registers are loaded,
 * its flags both into AX and into the flags register, so that any entry or resumption will do. Way out: a
 * stub puts a record into R11 (and a guest address into R10) and jumps to one of the exits, which stores the
 * guest's registers, takes back the stack of C and returns the kind of the exit.
 */
#include "accel/soft/jit/jit_int.h"
#include "accel/soft/mmu.h"

/* Callee-saved registers of the System V ABI, 3.2.1. */
static const u8 callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

static void push(struct as *a, unsigned r)
{
	if (r >= 8)
		as_8(a, 0x41);
	as_8(a, (u8)(0x50 | (r & 7)));
}

static void pop(struct as *a, unsigned r)
{
	if (r >= 8)
		as_8(a, 0x41);
	as_8(a, (u8)(0x58 | (r & 7)));
}

/* All guest registers that are in host registers, to or from the CPU. */
static void move_gprs(struct as *a, bool store)
{
	for (unsigned g = 0; g < 16; g++) {
		unsigned h = host_reg(g);

		if (h == IN_MEMORY)
			continue;
		if (store)
			as_st(a, as_gs(CPU_GPR(g)), h);
		else
			as_ld(a, h, as_gs(CPU_GPR(g)));
	}
}

/* VMOVDQU ymm, gs:[] / MOVUPS xmm, gs:[] */
static void move_vec(struct as *a, unsigned n, bool avx, bool store)
{
	as_8(a, 0x65);
	if (avx) {
		as_8(a, 0xc5);
		as_8(a, (u8)((n & 8 ? 0 : 0x80) | 0x78 | 4 | 2)); /* L1, F3 */
		as_8(a, store ? 0x7f : 0x6f);
	} else {
		if (n & 8)
			as_8(a, 0x44);
		as_8(a, 0x0f);
		as_8(a, store ? 0x11 : 0x10);
	}
	as_modrm_mem(a, n, as_gs(offsetof(struct cpu, vec) + n * sizeof(union x86_vec)));
}

/* LDMXCSR (/2), STMXCSR (/3) gs:[off] */
static void mxcsr(struct as *a, unsigned op, size_t off)
{
	as_8(a, 0x65);
	as_bytes(a, "\x0f\xae", 2);
	as_modrm_mem(a, op, as_gs(off));
}

/* FRSTOR (DD /4) or FNSAVE (DD /6) of jit.fsave if the state is, or shall be, in the unit. */
static void x87(struct as *a, unsigned op)
{
	as_test_gs32(a, CPU_JIT(x87));
	as_bytes(a, "\x74\x08", 2); /* JE over it */
	as_8(a, 0x65);
	as_8(a, 0xdd);
	as_modrm_mem(a, op, as_gs(CPU_JIT(fsave)));
}

static void emit_enter(struct jit *j, struct as *a)
{
	j->glue.enter = as_here(a);
	for (unsigned i = 0; i < ARRAY_SIZE(callee_saved); i++)
		push(a, callee_saved[i]);
	as_st(a, as_gs(CPU_JIT(host_rsp)), RSP);
	mxcsr(a, 3, CPU_JIT(host_mxcsr));
	mxcsr(a, 2, offsetof(struct cpu, mxcsr));
	x87(a, 4);
	for (unsigned n = 0; n < 16; n++)
		move_vec(a, n, j->host_avx, false);
	move_gprs(a, false);
	as_ld32(a, RAX, as_gs(CPU_JIT(ax)));
	as_flags_from_ax(a);
	as_ld(a, S1, as_gs(CPU_JIT(aux)));
	as_jmp_mem(a, as_gs(CPU_JIT(target)));
}

/* Expects AX stored, R10 and R11 free, EAX = kind. */
static u8 *emit_leave(struct jit *j, struct as *a)
{
	u8 *leave = as_here(a);

	move_gprs(a, true);
	x87(a, 6);
	for (unsigned n = 0; n < 16; n++)
		move_vec(a, n, j->host_avx, true);
	if (j->host_avx)
		as_bytes(a, "\xc5\xf8\x77", 3); /* VZEROUPPER */
	mxcsr(a, 3, offsetof(struct cpu, mxcsr));
	mxcsr(a, 2, CPU_JIT(host_mxcsr));
	as_ld(a, RSP, as_gs(CPU_JIT(host_rsp)));
	for (unsigned i = ARRAY_SIZE(callee_saved); i--;)
		pop(a, callee_saved[i]);
	as_8(a, 0xc3); /* RET */
	return leave;
}

static u8 *emit_exit(struct as *a, enum exit_kind kind, u8 *leave, u8 **with_host_flags)
{
	u8 *flags_in_host = as_here(a);
	u8 *flags_in_ax;

	as_flags_to_ax(a);
	flags_in_ax = as_here(a);
	as_st32(a, as_gs(CPU_JIT(ax)), RAX);
	as_st(a, as_gs(CPU_JIT(ptr)), S2);
	as_st(a, as_gs(CPU_JIT(aux)), S1);
	as_imm(a, RAX, kind);
	as_jmp(a, leave);
	if (with_host_flags)
		*with_host_flags = flags_in_host;
	return flags_in_ax;
}

/* Registers that C may destroy and that hold guest values. */
static const u8 caller_saved[] = {RCX, RDX, RSI, RDI, R8, R9};

static void reload(struct as *a)
{
	for (unsigned i = 0; i < ARRAY_SIZE(caller_saved); i++)
		as_ld(a, caller_saved[i], as_gs(CPU_GPR(caller_saved[i])));
	as_ld(a, RSP, as_gs(CPU_GPR(RSP)));
	as_ld32(a, RAX, as_gs(CPU_JIT(ax)));
	as_ld(a, S2, as_gs(CPU_JIT(ptr)));
}

/* Way to a C function that is compiled without vector registers: RDI is the CPU. Guest values go to struct
 * cpu. */
static void save(struct as *a)
{
	as_st32(a, as_gs(CPU_JIT(ax)), RAX);
	as_st(a, as_gs(CPU_JIT(ptr)), S2);
	as_st(a, as_gs(CPU_JIT(aux)), S1);
	as_st(a, as_gs(CPU_GPR(RSP)), RSP);
	for (unsigned i = 0; i < ARRAY_SIZE(caller_saved); i++)
		as_st(a, as_gs(CPU_GPR(caller_saved[i])), caller_saved[i]);
	as_ld(a, RSP, as_gs(CPU_JIT(host_rsp)));
	as_alu_imm(a, 1, 5, RSP, 8); /* SUB: aligned to 16 at the call */
	as_ld(a, RDI, as_gs(CPU_JIT(self)));
}

static void call(struct as *a, u64 function)
{
	as_imm(a, RAX, function);
	as_bytes(a, "\xff\xd0", 2); /* CALL RAX */
}

/* If the refill finds the page, the access starts again, else the instruction is interp's. */
static void emit_miss(struct jit *j, struct as *a)
{
	u8 *fail;

	j->glue.miss = as_here(a);
	save(a);
	as_mov(a, RSI, S1);
	as_8(a, 0x41); /* MOVZX EDX, byte [R11 + access] */
	as_bytes(a, "\x0f\xb6", 2);
	as_modrm_mem(a, RDX, as_at(S2, offsetof(struct site, access)));
	call(a, (u64)(uintptr_t)mmu_refill);
	as_bytes(a, "\x84\xc0", 2); /* TEST AL, AL */
	fail = as_jcc_hole(a, CC_E);
	reload(a);
	as_flags_from_ax(a);
	as_ld32(a, S1, as_at(S2, offsetof(struct site, retry)));
	as_imm(a, S2, (u64)j->rx);
	as_lea(a, S2, (struct as_mem){.base = S2, .index = S1});
	as_ld(a, S1, as_gs(CPU_JIT(aux)));
	as_bytes(a, "\x41\xff\xe3", 3); /* JMP R11 */
	as_bind(a, fail);
	reload(a);
	as_ld(a, S1, as_gs(CPU_JIT(aux)));
	as_jmp(a, j->glue.site_a);
}

/* A branch whose target the CPU's table does not have. */
static void emit_find(struct jit *j, struct as *a)
{
	u8 *leave = j->glue.lookup, *fail;

	j->glue.lookup = as_here(a);
	save(a);
	as_mov(a, RSI, S1);
	call(a, (u64)(uintptr_t)jit_find_target);
	as_bytes(a, "\x48\x85\xc0", 3); /* TEST RAX, RAX */
	fail = as_jcc_hole(a, CC_E);
	as_mov(a, S1, RAX);
	reload(a);
	as_bytes(a, "\x41\xff\xe2", 3); /* JMP R10 */
	as_bind(a, fail);
	reload(a);
	as_ld(a, S1, as_gs(CPU_JIT(aux)));
	as_jmp(a, leave);
}

/* S1 is compared with the tag; if that is it, the page becomes the one that executes. */
static struct jump jump_if(struct as *a, struct as_mem tag, struct as_mem host)
{
	struct jump out;

	as_rm(a, 1, 0x3b, S1, tag); /* CMP */
	out.unknown = as_jcc_hole(a, CC_NE);
	as_test_gs32(a, offsetof(struct cpu, request));
	out.busy = as_jcc_hole(a, CC_NE);
	as_alu_imm(a, 1, AS_AND, S1, -(s32)PAGE_SIZE);
	as_st(a, as_gs(CPU_JIT(vpage)), S1);
	as_jmp_mem(a, host);
	return out;
}

struct jump glue_jump(struct as *a, unsigned idx)
{
	size_t table = CPU_JIT(jc) + idx * sizeof(((struct jit_cpu *)0)->jc[0]);

	as_mov32(a, S2, S1);
	as_alu_imm(a, 0, AS_AND, S2, (JC_SIZE - 1) * 2);
	return jump_if(a, as_gs_index(table + offsetof(struct jc, tag), S2, 3),
	        as_gs_index(table + offsetof(struct jc, host), S2, 3));
}

void glue_rs_slot(struct as *a, unsigned reg)
{
	as_mov32(a, reg, RSP);
	as_alu_imm(a, 0, AS_AND, reg, (RS_SIZE - 1) * 8);
}

struct jump glue_return(struct as *a, unsigned idx, s32 bytes)
{
	glue_rs_slot(a, S2);
	as_lea(a, RSP, as_at(RSP, bytes));
	return jump_if(a, as_gs_base(CPU_RS(idx, tag), S2), as_gs_base(CPU_RS(idx, host), S2));
}

/* A jump that is no instruction's: nobody can be blamed for its target. */
static void emit_jump(struct jit *j, struct as *a, unsigned idx)
{
	struct jump out;

	j->glue.jump[idx] = as_here(a);
	out = glue_jump(a, idx);
	as_bind(a, out.unknown);
	as_bind(a, out.busy);
	as_imm(a, S2, 0);
	as_jmp(a, j->glue.lookup);
}

/* No CALL has been here, and RET goes to address 0. */
static void emit_nowhere(struct jit *j, struct as *a)
{
	j->glue.nowhere = as_here(a);
	as_imm(a, S1, 0);
	as_imm(a, S2, 0);
	as_jmp(a, j->glue.lookup);
}

void glue_emit(struct jit *j)
{
	struct as a = {.p = j->rw, .end = j->rw + 4096, .delta = j->rx - j->rw};
	u8 *leave;

	emit_enter(j, &a);
	leave = emit_leave(j, &a);
	j->glue.link_a = emit_exit(&a, EXIT_LINK, leave, &j->glue.link_h);
	j->glue.site_a = emit_exit(&a, EXIT_SITE, leave, &j->glue.site_h);
	j->glue.lookup = emit_exit(&a, EXIT_LOOKUP, leave, NULL);
	j->glue.x87 = emit_exit(&a, EXIT_X87, leave, NULL);
	emit_miss(j, &a);
	emit_find(j, &a);
	emit_nowhere(j, &a);
	for (unsigned idx = 0; idx < JC_NIDX; idx++)
		emit_jump(j, &a, idx);
	assert(!a.full);
	j->start = ALIGN_UP((u64)(a.p - j->rw), 64);
	j->used = j->start;
	j->far = j->size;
}
