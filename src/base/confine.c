/*
 * The lists. Threads share their memory, so the lists bound what an attacker who has taken over one thread
 * can ask of the kernel, not what he can do to the other threads: what none of them may do is out of reach.
 *
 * No list has exec, ptrace, or a way to executable memory: memory that is executable exists before the first
 * filter, and mmap and mprotect are allowed without PROT_EXEC only. clone is for threads: its flags must have
 * CLONE_THREAD. clone3 hides its flags from filters and says ENOSYS, which makes the C library take clone.
 */
#include "base/confine.h"

#include "base/log.h"

#include <errno.h>

static bool enabled; /* atomic */

#if HAVE_SECCOMP

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Memory, locks, time, signals, the end: what the C library does on its own. */
static const int common[] = {
        SCMP_SYS(brk),
        SCMP_SYS(clock_getres),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(futex),
        SCMP_SYS(getpid),
        SCMP_SYS(gettid),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(madvise),
        SCMP_SYS(membarrier),
        SCMP_SYS(mremap),
        SCMP_SYS(munmap),
        SCMP_SYS(nanosleep),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(rseq),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sched_getaffinity),
        SCMP_SYS(sched_yield),
        SCMP_SYS(set_robust_list),
        SCMP_SYS(sigaltstack),
        SCMP_SYS(sysinfo), /* qsort */
        SCMP_SYS(time),
        SCMP_SYS(write), /* eventfds, messages */
        SCMP_SYS(writev),
};

/* Random numbers for virtio-rnd, -p, the GS base of translated code. */
static const int cpu[] = {
        SCMP_SYS(arch_prctl),
        SCMP_SYS(getrandom),
        SCMP_SYS(sched_setaffinity),
};

static const int kvm_cpu[] = {
        SCMP_SYS(ioctl),
};

static const int disk[] = {
        SCMP_SYS(fallocate),
        SCMP_SYS(fcntl),
        SCMP_SYS(fdatasync),
        SCMP_SYS(fstat),
        SCMP_SYS(fstatfs),
        SCMP_SYS(fsync),
        SCMP_SYS(ftruncate),
        SCMP_SYS(ioctl),
        SCMP_SYS(lseek),
        SCMP_SYS(newfstatat),
        SCMP_SYS(pread64),
        SCMP_SYS(preadv),
        SCMP_SYS(preadv2),
        SCMP_SYS(pwrite64),
        SCMP_SYS(pwritev),
        SCMP_SYS(pwritev2),
        SCMP_SYS(sync_file_range),
};

static const int net[] = {
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(bind),
        SCMP_SYS(close),
        SCMP_SYS(connect),
        SCMP_SYS(dup),
        SCMP_SYS(fcntl),
        SCMP_SYS(fstat),
        SCMP_SYS(getpeername),
        SCMP_SYS(getrandom),
        SCMP_SYS(getsockname),
        SCMP_SYS(getsockopt),
        SCMP_SYS(ioctl),
        SCMP_SYS(listen),
        SCMP_SYS(lseek),
        SCMP_SYS(newfstatat),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(prctl),
        SCMP_SYS(pread64),
        SCMP_SYS(read),
        SCMP_SYS(readv),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmmsg),
        SCMP_SYS(recvmsg),
        SCMP_SYS(select),
        SCMP_SYS(sendmmsg),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(setsockopt),
        SCMP_SYS(shutdown),
        SCMP_SYS(stat),
};

/* Consoles, the control socket, discs, a restart with its files, and winding up. */
static const int loop[] = {
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(access),
        SCMP_SYS(close),
        SCMP_SYS(connect),
        SCMP_SYS(dup),
        SCMP_SYS(dup3),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_pwait),
        SCMP_SYS(epoll_pwait2),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(eventfd2),
        SCMP_SYS(faccessat),
        SCMP_SYS(faccessat2),
        SCMP_SYS(fchmod),
        SCMP_SYS(flock),
        SCMP_SYS(fstatfs),
        SCMP_SYS(getcwd),
        SCMP_SYS(getdents64),
        SCMP_SYS(getegid),
        SCMP_SYS(geteuid),
        SCMP_SYS(getgid),
        SCMP_SYS(getpeername),
        SCMP_SYS(getpgid),
        SCMP_SYS(getpgrp),
        SCMP_SYS(getppid),
        SCMP_SYS(getrusage),
        SCMP_SYS(getsid),
        SCMP_SYS(getsockname),
        SCMP_SYS(getsockopt),
        SCMP_SYS(getuid),
        SCMP_SYS(lstat),
        SCMP_SYS(open),
        SCMP_SYS(openat),
        SCMP_SYS(pipe2),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(prctl),
        SCMP_SYS(prlimit64),
        SCMP_SYS(read),
        SCMP_SYS(readlink),
        SCMP_SYS(readlinkat),
        SCMP_SYS(readv),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),
        SCMP_SYS(rename),
        SCMP_SYS(renameat),
        SCMP_SYS(renameat2),
        SCMP_SYS(rt_sigpending),
        SCMP_SYS(rt_sigsuspend),
        SCMP_SYS(rt_sigtimedwait),
        SCMP_SYS(seccomp), /* filters only narrow */
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(setsockopt),
        SCMP_SYS(shutdown),
        SCMP_SYS(stat),
        SCMP_SYS(statfs),
        SCMP_SYS(statx),
        SCMP_SYS(uname),
        SCMP_SYS(unlink),
        SCMP_SYS(unlinkat),
};

struct filter {
	scmp_filter_ctx ctx;
	int rc;
};

static void allow(struct filter *f, const int *calls, size_t count)
{
	for (size_t n = 0; n < count && f->rc == 0; n++)
		f->rc = seccomp_rule_add(f->ctx, SCMP_ACT_ALLOW, calls[n], 0);
}

/* Allowed when the bits of mask in argument arg are want. */
static void allow_when(struct filter *f, int call, unsigned arg, u64 mask, u64 want)
{
	if (f->rc == 0)
		f->rc = seccomp_rule_add(
		        f->ctx, SCMP_ACT_ALLOW, call, 1, SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, want));
}

static void allow_memory(struct filter *f)
{
	allow_when(f, SCMP_SYS(mmap), 2, PROT_EXEC, 0);
	allow_when(f, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
}

static void allow_threads(struct filter *f)
{
	allow_when(f, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD);
	if (f->rc == 0)
		f->rc = seccomp_rule_add(f->ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* A thread may signal its own process only (kicks, abort). */
static void allow_signals(struct filter *f)
{
	if (f->rc == 0)
		f->rc = seccomp_rule_add(f->ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
		        SCMP_CMP(0, SCMP_CMP_EQ, (u64)getpid(), 0));
}

/* Sockets of networks, not those with which the kernel is configured. */
static void allow_sockets(struct filter *f)
{
	static const int families[] = {AF_INET, AF_INET6, AF_UNIX};

	for (size_t n = 0; n < sizeof(families) / sizeof(families[0]); n++)
		allow_when(f, SCMP_SYS(socket), 0, ~0ull, (u64)families[n]);
}

static void allow_reading(struct filter *f)
{
	const u64 writes = O_ACCMODE | O_CREAT | O_TRUNC;

	allow_when(f, SCMP_SYS(open), 1, writes, O_RDONLY);
	allow_when(f, SCMP_SYS(openat), 2, writes, O_RDONLY);
}

#define ALLOW(f, list) allow(f, list, sizeof(list) / sizeof((list)[0]))

static void fill(struct filter *f, enum confine_kind kind)
{
	ALLOW(f, common);
	allow_memory(f);
	allow_signals(f);
	switch (kind) {
	case CONFINE_LOOP:
		ALLOW(f, loop);
		ALLOW(f, disk);
		ALLOW(f, cpu);
		allow_threads(f);
		break;
	case CONFINE_CPU: ALLOW(f, cpu); break;
	case CONFINE_KVM_CPU:
		ALLOW(f, cpu);
		ALLOW(f, kvm_cpu);
		break;
	case CONFINE_DISK:
		ALLOW(f, disk);
		allow_threads(f);
		break;
	case CONFINE_NET:
		ALLOW(f, net);
		allow_sockets(f);
		allow_reading(f);
		break;
	}
}

#if CONFINE_STRICT
#define OTHERWISE SCMP_ACT_KILL_PROCESS /* tests: what a list lacks must be noticed */
#else
#define OTHERWISE SCMP_ACT_ERRNO(EPERM)
#endif

void confine_thread(enum confine_kind kind)
{
	struct filter f = {0};

	if (!__atomic_load_n(&enabled, __ATOMIC_ACQUIRE))
		return;
	f.ctx = seccomp_init(OTHERWISE);
	if (!f.ctx)
		BUG("no memory for a seccomp filter");
	f.rc = seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_NNP, 0); /* is set */
	/* Threads ask for little but often for the same: a search tree. */
	if (f.rc == 0)
		f.rc = seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	fill(&f, kind);
	if (f.rc == 0)
		f.rc = seccomp_load(f.ctx);
	seccomp_release(f.ctx);
	if (f.rc < 0)
		BUG("seccomp filter %d: %s", (int)kind, strerror(-f.rc));
}

bool confine_available(void)
{
	return true;
}

int confine_enable(struct err *e)
{
	if (prctl(PR_GET_SECCOMP, 0ul, 0ul, 0ul, 0ul) < 0)
		return err_set(e, -ENOTSUP, "the host's kernel has no seccomp");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1ul, 0ul, 0ul, 0ul) < 0)
		return err_errno(e, -errno, "no_new_privs");
	__atomic_store_n(&enabled, true, __ATOMIC_RELEASE);
	return 0;
}

#else

bool confine_available(void)
{
	return false;
}

int confine_enable(struct err *e)
{
	return err_set(e, -ENOTSUP, "this xhyve was built without libseccomp");
}

void confine_thread(enum confine_kind kind)
{
	if (__atomic_load_n(&enabled, __ATOMIC_ACQUIRE))
		BUG("not built in");
}

#endif
