/*
 * Host faults in translated code: a misaligned MOVAPS, a division by zero, an unmasked SIMD exception.
 *
 * The handler looks up whose instruction it was and lets the thread go on at the exit that hands the
 * instruction to interp, which finds the same fault and raises it for the guest. A fault anywhere else
 * is not ours: it goes to whoever handled the signal before.
 *
 * While a thread executes translated code, its stack pointer is the guest's RSP. So every other signal is
 * blocked, also the C library's own, and the handler has a stack of its own.
 */
#include <asm/prctl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* The C library's numbers in gregset_t; cpu.h has another REG_RIP. */
enum { GREG_RIP = REG_RIP, GREG_R11 = REG_R11 };
#undef REG_RIP

#include "accel/soft/jit/jit_int.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
static struct sigaction before[ARRAY_SIZE(signals)];
static __thread struct cpu *self __attribute__((tls_model("initial-exec")));
static __thread stack_t old_stack;
static __thread u64 old_mask;

/* The instruction of ours that faulted, NULL if there is none. */
static const struct site *site_at(struct jit *j, const u8 *pc)
{
	struct tb *b;
	place at;

	if (pc < j->rx || pc >= j->rx + j->size)
		return NULL;
	b = jit_tb_at(j, pc);
	at = jit_place(j, pc);
	for (u32 n = 0; b && n < b->nsites; n++) {
		const struct site *s = &j->sites[b->site + n];

		if (at - s->from < s->span)
			return s;
	}
	return NULL;
}

/* To the handler that was there before. If there was none, the instruction faults again and is fatal. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	unsigned n = 0;

	while (n < ARRAY_SIZE(signals) - 1 && signals[n] != sig)
		n++;
	if (!(before[n].sa_flags & SA_SIGINFO)) {
		sigaction(sig, &before[n], NULL);
		if (info->si_code <= 0)
			raise(sig); /* sent by a process: it would not come again */
		return;
	}
	if (before[n].sa_flags & (int)SA_RESETHAND)
		signal(sig, SIG_DFL);
	before[n].sa_sigaction(sig, info, context);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	greg_t *r = u->uc_mcontext.gregs;
	bool sent = info->si_code <= 0; /* by a process, not by the CPU */
	const struct site *s = self && !sent ? site_at(self->jit.j, (const u8 *)r[GREG_RIP]) : NULL;
	const struct glue *g;

	if (!s) {
		pass_on(sig, info, context);
		return;
	}
	g = &self->jit.j->glue;
	r[GREG_RIP] = (greg_t)(s->flags & FLAGS_AX ? g->site_a : g->site_h);
	r[GREG_R11] = (greg_t)s;
}

/*
 * The handler is put in when translated code is first entered, on top of those of the rest of the program,
 * and taken away with the last translator.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static bool installed;

static void install(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	pthread_mutex_lock(&lock);
	for (unsigned n = 0; n < ARRAY_SIZE(signals) && !installed; n++)
		sigaction(signals[n], &sa, &before[n]);
	__atomic_store_n(&installed, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lock);
}

void hostfault_init(void)
{
	pthread_mutex_lock(&lock);
	users++;
	pthread_mutex_unlock(&lock);
}

void hostfault_fini(void)
{
	pthread_mutex_lock(&lock);
	users--;
	for (unsigned n = 0; n < ARRAY_SIZE(signals) && installed && !users; n++)
		sigaction(signals[n], &before[n], NULL);
	installed = installed && users;
	pthread_mutex_unlock(&lock);
}

static void set_mask(u64 mask, u64 *old)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, old, sizeof(mask));
}

void hostfault_enter(struct cpu *c)
{
	u64 mask = ~0ull;
	stack_t s = {.ss_sp = c->jit.stack, .ss_size = JIT_STACK, .ss_flags = (int)SS_AUTODISARM};

	for (unsigned n = 0; n < ARRAY_SIZE(signals); n++)
		mask &= ~BIT64(signals[n] - 1);
	mask &= ~(BIT64(SIGILL - 1) | BIT64(SIGTRAP - 1) | BIT64(SIGABRT - 1));
	set_mask(mask, &old_mask);
	sigaltstack(&s, &old_stack);
	syscall(SYS_arch_prctl, ARCH_SET_GS, c);
	if (!__atomic_load_n(&installed, __ATOMIC_ACQUIRE))
		install();
	self = c;
}

void hostfault_leave(void)
{
	self = NULL;
	sigaltstack(&old_stack, NULL);
	set_mask(old_mask, NULL);
}
