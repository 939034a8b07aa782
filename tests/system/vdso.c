/*
 * Asks for the time while the kernel kills whoever asks it by a system call: only the vDSO can answer. Says
 * "vdso" if the clock never went back.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

static int forbid(unsigned call)
{
	struct sock_filter code[] = {
	        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(void)
{
	struct timespec was = {0}, now;

	if (forbid(SYS_clock_gettime))
		return 1;
	for (int n = 0; n < 300000; n++) {
		if (clock_gettime(CLOCK_MONOTONIC, &now) || now.tv_sec < was.tv_sec ||
		        (now.tv_sec == was.tv_sec && now.tv_nsec < was.tv_nsec))
			return 2;
		was = now;
	}
	puts("vdso");
	return 0;
}
