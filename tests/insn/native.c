/*
 * Runs cases on the host CPU.
 *
 * Registers are loaded from a control page at a fixed low address, which needs no free register to
 * address it; IRETQ then enters the code: it sets RIP, CS (so 32-bit compatibility mode too), RFLAGS
 * and RSP at once and serializes, so that freshly written code is fetched. Every case ends in a
 * signal, by its own fault or by the INT3 behind it. The handler, on its own stack, takes all
 * registers from the signal frame and has the kernel return to native_exit.
 *
 * FS holds the C library's thread pointer: the handler's first instructions put it back before any
 * C code runs.
 */
#include "harness.h"
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define CTRL 0x10000000
#define CTRL_SIZE 0x1000
#define XSAVE_LEN 832 /* legacy area, header, upper halves of YMM: the standard format without holes */
#define SEL_USER_CS64 0x33
#define SEL_USER_CS32 0x23
#define SEL_USER_DS 0x2b
#define HWCAP2_FSGSBASE_BIT 2

struct ctrl {
	u64 gpr[16];                    /* 0x000 */
	u64 rip, cs, rflags, rsp, ss;   /* 0x080: IRETQ frame */
	u64 fs_base, gs_base;           /* 0x0a8 */
	u64 host_rsp, host_fs, host_gs; /* 0x0b8 */
	u64 out_fs, out_gs;             /* 0x0d0 */
	u32 host_mxcsr;                 /* 0x0e0 */
	u16 host_fcw, pad;              /* 0x0e4 */
	u64 active;                     /* 0x0e8: a case runs */
	struct native *n;               /* 0x0f0 */
	u64 pad2;
	u8 xsave[XSAVE_LEN]; /* 0x100 */
};
static_assert(offsetof(struct ctrl, rip) == 0x80, "assembly below");
static_assert(offsetof(struct ctrl, fs_base) == 0xa8, "assembly below");
static_assert(offsetof(struct ctrl, host_rsp) == 0xb8, "assembly below");
static_assert(offsetof(struct ctrl, out_fs) == 0xd0, "assembly below");
static_assert(offsetof(struct ctrl, host_mxcsr) == 0xe0, "assembly below");
static_assert(offsetof(struct ctrl, xsave) == 0x100, "assembly below");

static struct ctrl *ctrl(void)
{
	return (struct ctrl *)(uintptr_t)CTRL;
}

static const int signals[] = {SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS};

struct native {
	int code_fd, data_fd;
	u8 *code; /* writable alias */
	u8 *data; /* writable alias */
	u8 *arena;
	void *altstack;
	const u8 *template;
	struct sigaction old[ARRAY_SIZE(signals)];
	stack_t old_stack;
	struct outcome *out;
	const struct insn_case *k;
};

void native_enter(void);
void native_exit(void);
void native_trap(int sig, siginfo_t *si, void *uc);
void native_on_signal(int sig, siginfo_t *si, void *uc);

asm(".text\n"
    ".p2align 4\n"
    ".globl native_enter\n.hidden native_enter\n.type native_enter,@function\n"
    "native_enter:\n"
    "	pushq %rbx\n	pushq %rbp\n	pushq %r12\n	pushq %r13\n	pushq %r14\n	pushq %r15\n"
    "	movq %rsp, 0x100000b8\n"
    "	rdfsbase %rax\n	movq %rax, 0x100000c0\n"
    "	rdgsbase %rax\n	movq %rax, 0x100000c8\n"
    "	stmxcsr 0x100000e0\n"
    "	fnstcw 0x100000e4\n"
    "	movl $7, %eax\n	xorl %edx, %edx\n"
    "	xrstor64 0x10000100\n"
    "	movq 0x100000a8, %rax\n	wrfsbase %rax\n"
    "	movq 0x100000b0, %rax\n	wrgsbase %rax\n"
    "	movq $1, 0x100000e8\n"
    "	movq 0x10000000, %rax\n"
    "	movq 0x10000008, %rcx\n"
    "	movq 0x10000010, %rdx\n"
    "	movq 0x10000018, %rbx\n"
    "	movq 0x10000028, %rbp\n"
    "	movq 0x10000030, %rsi\n"
    "	movq 0x10000038, %rdi\n"
    "	movq 0x10000040, %r8\n"
    "	movq 0x10000048, %r9\n"
    "	movq 0x10000050, %r10\n"
    "	movq 0x10000058, %r11\n"
    "	movq 0x10000060, %r12\n"
    "	movq 0x10000068, %r13\n"
    "	movq 0x10000070, %r14\n"
    "	movq 0x10000078, %r15\n"
    "	movq $0x10000080, %rsp\n"
    "	iretq\n"
    ".size native_enter,.-native_enter\n"
    ".globl native_exit\n.hidden native_exit\n.type native_exit,@function\n"
    "native_exit:\n"
    "	fninit\n"
    "	fldcw 0x100000e4\n"
    "	vzeroupper\n"
    "	ldmxcsr 0x100000e0\n"
    "	popq %r15\n	popq %r14\n	popq %r13\n	popq %r12\n	popq %rbp\n	popq %rbx\n"
    "	ret\n"
    ".size native_exit,.-native_exit\n"
    /* The kernel enters here with the case's FS base, AC and NT still in force. */
    ".globl native_trap\n.hidden native_trap\n.type native_trap,@function\n"
    "native_trap:\n"
    "	pushfq\n	andl $~0x44400, (%rsp)\n	popfq\n"
    "	cmpq $0, 0x100000e8\n"
    "	je native_on_signal\n"
    "	rdfsbase %rax\n	movq %rax, 0x100000d0\n"
    "	rdgsbase %rax\n	movq %rax, 0x100000d8\n"
    "	movq 0x100000c0, %rax\n	wrfsbase %rax\n"
    "	movq 0x100000c8, %rax\n	wrgsbase %rax\n"
    "	jmp native_on_signal\n"
    ".size native_trap,.-native_trap\n");

/* --- state in and out --- */

static void put_fpu(u8 *x, const struct regs *r)
{
	unsigned top = r->fpu.fsw >> 11 & 7;

	memset(x, 0, XSAVE_LEN);
	memcpy(x, &r->fpu.fcw, 2);
	memcpy(x + 2, &r->fpu.fsw, 2);
	x[4] = r->fpu.ftw;
	memcpy(x + 24, &r->mxcsr, 4);
	for (unsigned i = 0; i < 8; i++)
		memcpy(x + 32 + 16 * i, &r->fpu.r[(top + i) & 7], 10);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(x + 160 + 16 * i, r->vec[i].b, 16);
		memcpy(x + 576 + 16 * i, r->vec[i].b + 16, 16);
	}
	x[512] = XCR0_X87 | XCR0_SSE | XCR0_AVX;
}

static void get_fpu(const u8 *x, struct regs *r)
{
	u64 bv;
	unsigned top;

	memcpy(&bv, x + 512, 8);
	memset(&r->fpu, 0, sizeof(r->fpu));
	memset(r->vec, 0, sizeof(r->vec));
	memcpy(&r->mxcsr, x + 24, 4);
	r->fpu.fcw = 0x37f;
	if (bv & XCR0_X87) {
		memcpy(&r->fpu.fcw, x, 2);
		memcpy(&r->fpu.fsw, x + 2, 2);
		r->fpu.ftw = x[4];
		top = r->fpu.fsw >> 11 & 7;
		for (unsigned i = 0; i < 8; i++)
			memcpy(&r->fpu.r[(top + i) & 7], x + 32 + 16 * i, 10);
	}
	for (unsigned i = 0; i < 16; i++) {
		if (bv & XCR0_SSE)
			memcpy(r->vec[i].b, x + 160 + 16 * i, 16);
		if (bv & XCR0_AVX)
			memcpy(r->vec[i].b + 16, x + 576 + 16 * i, 16);
	}
}

static void get_gregs(const gregset_t g, struct regs *r)
{
	static const u8 order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

	for (unsigned i = 0; i < 16; i++)
		r->gpr[i] = (u64)g[order[i]];
	r->rip = (u64)g[REG_RIP];
	r->rflags = (u64)g[REG_EFL];
}

/* The INT3 behind the instruction, or a fetch from a branch's target: it has completed. */
static void classify(const struct native *n, const gregset_t g, struct outcome *o)
{
	u64 start = n->k->in.rip;

	o->vector = (u8)g[REG_TRAPNO];
	o->error = (u32)g[REG_ERR];
	o->addr = (u64)g[REG_CR2];
	o->faulted = true;
	if (o->vector == EXC_BP) {
		o->out.rip--;
		o->faulted = false;
	} else if (o->vector == EXC_PF && (o->error & PF_I) && o->out.rip == o->addr &&
	           (o->addr < start || o->addr >= start + n->k->len)) {
		o->faulted = false;
	}
	if (o->vector != EXC_PF)
		o->addr = 0;
}

/* Not ours: the translator's, or let it happen again with the disposition of before. */
static void foreign_signal(int sig, siginfo_t *si, void *uc)
{
	struct native *n = ctrl()->n;
	unsigned i = 0;

	while (i < ARRAY_SIZE(signals) - 1 && signals[i] != sig)
		i++;
	if (n->old[i].sa_flags & SA_SIGINFO)
		n->old[i].sa_sigaction(sig, si, uc);
	else
		sigaction(sig, &n->old[i], NULL);
}

void native_on_signal(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;
	struct ctrl *c = ctrl();
	struct native *n = c->n;
	struct outcome *o = n->out;
	greg_t *g = uc->uc_mcontext.gregs;

	if (!c->active) {
		foreign_signal(sig, si, ucv);
		return;
	}
	c->active = 0;
	get_gregs(g, &o->out);
	o->out.fs_base = c->out_fs;
	o->out.gs_base = c->out_gs;
	get_fpu((const u8 *)uc->uc_mcontext.fpregs, &o->out);
	classify(n, g, o);
	g[REG_RIP] = (greg_t)(uintptr_t)native_exit;
	g[REG_RSP] = (greg_t)c->host_rsp;
	g[REG_EFL] = FL_1 | FL_IF;
	g[REG_CSGSFS] = (greg_t)((u64)SEL_USER_DS << 48 | SEL_USER_CS64);
	uc->uc_mcontext.fpregs = NULL; /* the kernel returns with a clean FPU */
}

void native_run(struct native *n, const struct insn_case *k, struct outcome *o)
{
	struct ctrl *c = ctrl();
	u8 *code = n->code + (k->in.rip - CODE_BASE);

	memcpy(n->data, n->template, DATA_SIZE);
	for (unsigned i = 0; i < k->npatches; i++)
		memcpy(n->data + k->patch[i].off, k->patch[i].bytes, k->patch[i].len);
	memcpy(code, k->code, k->len);
	memcpy(c->gpr, k->in.gpr, sizeof(c->gpr));
	c->rip = k->in.rip;
	c->cs = k->mode == MODE_64 ? SEL_USER_CS64 : SEL_USER_CS32;
	c->ss = SEL_USER_DS;
	c->rflags = k->in.rflags;
	c->rsp = k->in.gpr[RSP];
	c->fs_base = k->in.fs_base;
	c->gs_base = k->in.gs_base;
	put_fpu(c->xsave, &k->in);
	n->out = o;
	n->k = k;
	native_enter();
	memset(code, 0xcc, k->len);
}

const u8 *native_data(const struct native *n)
{
	return n->data;
}

/* --- set-up --- */

static const char *unsupported(void)
{
	u32 a, b, c, d;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT))
		return "the kernel does not allow FSGSBASE";
	if (!__builtin_cpu_supports("avx2"))
		return "the host has no AVX2";
	if (!__get_cpuid_count(0xd, 2, &a, &b, &c, &d) || a != 256 || b != 576)
		return "XSAVE layout is not the usual one";
	return NULL;
}

static int memfd(u64 size)
{
	int fd = memfd_create("insn", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

static void *map_at(u64 addr, u64 len, int prot, int flags, int fd, u64 off)
{
	void *p = mmap((void *)(uintptr_t)addr, len, prot, flags, fd, (off_t)off);

	return p == MAP_FAILED ? NULL : p;
}

static int map_all(struct native *n)
{
	int shared = MAP_SHARED | MAP_POPULATE, fixed = shared | MAP_FIXED;

	n->code_fd = memfd(CODE_SIZE);
	n->data_fd = memfd(DATA_SIZE);
	if (n->code_fd < 0 || n->data_fd < 0)
		return -ENOMEM;
	n->arena = map_at(ARENA_LO, ARENA_HI - ARENA_LO, PROT_NONE,
	        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	n->code = map_at(0, CODE_SIZE, PROT_READ | PROT_WRITE, shared, n->code_fd, 0);
	n->data = map_at(0, DATA_SIZE, PROT_READ | PROT_WRITE, shared, n->data_fd, 0);
	if (!n->arena || !n->code || !n->data)
		return -ENOMEM;
	memset(n->code, 0xcc, CODE_SIZE);
	if (!map_at(CTRL, CTRL_SIZE, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ||
	        !map_at(CODE_BASE, CODE_SIZE, PROT_READ | PROT_EXEC, fixed, n->code_fd, 0) ||
	        !map_at(DATA_BASE, DATA_RW, PROT_READ | PROT_WRITE, fixed, n->data_fd, 0) ||
	        !map_at(DATA_BASE + DATA_RW, DATA_SIZE - DATA_RW, PROT_READ, fixed, n->data_fd, DATA_RW))
		return -ENOMEM;
	if (mlock((void *)(uintptr_t)DATA_BASE, DATA_SIZE) < 0)
		return -errno;
	ctrl()->n = n;
	return 0;
}

#define ALT_SIZE 0x20000ul

static int take_signals(struct native *n)
{
	stack_t ss = {.ss_size = ALT_SIZE};
	struct sigaction sa = {.sa_sigaction = native_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	ss.ss_sp = n->altstack = malloc(ALT_SIZE);
	if (!n->altstack || sigaltstack(&ss, &n->old_stack) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, &n->old[i]);
	return 0;
}

int native_create(struct native **out, const u8 *data_template, const char **why)
{
	struct native *n;
	int rc;

	*why = unsupported();
	if (*why)
		return -ENOTSUP;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->template = data_template;
	rc = map_all(n);
	if (rc == 0)
		rc = take_signals(n);
	if (rc < 0) {
		*why = "mapping failed";
		native_destroy(n);
		return rc;
	}
	/* Compatibility mode needs data segments; 64-bit mode does not care. */
	asm volatile("movl %0, %%ds\n\tmovl %0, %%es" ::"r"(SEL_USER_DS));
	*out = n;
	return 0;
}

void native_destroy(struct native *n)
{
	if (n->altstack) {
		for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
			sigaction(signals[i], &n->old[i], NULL);
		sigaltstack(&n->old_stack, NULL);
		free(n->altstack);
	}
	if (n->code)
		munmap(n->code, CODE_SIZE);
	if (n->data)
		munmap(n->data, DATA_SIZE);
	if (n->arena)
		munmap(n->arena, ARENA_HI - ARENA_LO);
	if (n->code_fd > 0)
		close(n->code_fd);
	if (n->data_fd > 0)
		close(n->data_fd);
	free(n);
}
