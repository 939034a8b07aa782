/*
 * What each kind of thread can no longer do: the real threads of a disk, a network card and the CPUs, and the
 * main thread, try what somebody would who has taken them over. Each case is a process of its own, because
 * there is no way back.
 */
#include "base/confine.h"

#include "block/queue.h"
#include "net/port.h"
#include "vm/cpus.h"
#include "vm/vm_int.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* --- attempts --- */

static bool refused(long result)
{
	return result < 0 && errno == EPERM;
}

static bool map_code(void)
{
	void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED && errno == EPERM;
}

static bool make_code(void)
{
	void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok = p != MAP_FAILED && refused(mprotect(p, PAGE_SIZE, PROT_READ | PROT_EXEC)) &&
	          refused(mprotect(p, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC)) &&
	          refused(syscall(SYS_pkey_mprotect, p, PAGE_SIZE, PROT_READ | PROT_EXEC, -1));

	munmap(p, PAGE_SIZE);
	return ok;
}

static bool exec_shell(void)
{
	char *const argv[] = {(char[]){"/bin/true"}, NULL};

	return refused(execve(argv[0], argv, argv + 1)) &&
	       refused(syscall(SYS_execveat, AT_FDCWD, argv[0], argv, argv + 1, 0));
}

static bool trace_parent(void)
{
	return refused(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL)) &&
	       refused(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0));
}

static bool signal_others(void)
{
	return refused(kill(getpid(), 0)) && refused(syscall(SYS_tgkill, 1, 1, 0)) &&
	       syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), 0) == 0;
}

/* clone without CLONE_THREAD; the number is made by hand, fork would leave us a child. */
static bool new_process(void)
{
	return refused(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0)) && refused(syscall(SYS_fork)) &&
	       refused(syscall(SYS_unshare, CLONE_NEWUSER));
}

static bool open_socket(void)
{
	return refused(socket(AF_INET, SOCK_STREAM, 0)) && refused(socket(AF_UNIX, SOCK_STREAM, 0));
}

static bool open_raw_socket(void)
{
	return refused(socket(AF_NETLINK, SOCK_RAW, 0)) && refused(socket(AF_PACKET, SOCK_RAW, 0));
}

static bool read_file(void)
{
	return refused(open("/dev/null", O_RDONLY));
}

static bool write_file(void)
{
	return refused(open("/dev/null", O_RDWR)) && refused(open("/tmp/x", O_WRONLY | O_CREAT, 0600)) &&
	       refused(open("/tmp", O_TMPFILE | O_RDWR, 0600)) && refused(unlink("/tmp/x"));
}

static bool load_kernel_code(void)
{
	return refused(syscall(SYS_bpf, 0, NULL, 0)) && refused(syscall(SYS_io_uring_setup, 1, NULL)) &&
	       refused(syscall(SYS_init_module, NULL, 0, NULL)) && refused(syscall(SYS_userfaultfd, 0)) &&
	       refused(syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
}

static int wakeup; /* an eventfd */

/* What all of them need goes on: memory, locks, wake-ups, messages. */
static bool work(void)
{
	char *p = malloc(10 * MiB), *q;

	if (!p)
		return false;
	memset(p, 1, 10 * MiB);
	q = realloc(p, 20 * MiB);
	free(q ? q : p);
	return q != NULL && write(wakeup, &(u64){1}, 8) == 8;
}

/* 0, or the number of the line that should not have been possible. */
#define TRY(what)                                                                                            \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			return __LINE__ % 250;                                                               \
	} while (0)

static int probe(enum confine_kind kind)
{
	TRY(map_code());
	TRY(make_code());
	TRY(exec_shell());
	TRY(trace_parent());
	TRY(signal_others());
	TRY(new_process());
	TRY(load_kernel_code());
	TRY(open_raw_socket());
	TRY(kind == CONFINE_NET || open_socket());
	TRY(kind == CONFINE_NET || kind == CONFINE_LOOP || read_file());
	TRY(kind == CONFINE_LOOP || write_file());
	TRY(work());
	return 0;
}

/* --- the threads --- */

static int result = -1; /* atomic */

static void note(enum confine_kind kind)
{
	__atomic_store_n(&result, probe(kind), __ATOMIC_SEQ_CST);
}

static int disk_read(struct block *b, const struct iovec *iov, int n, u64 off)
{
	note(CONFINE_DISK);
	return 0;
}

static void disk_done(struct block_req *r)
{
}

static int disk_thread(void)
{
	static const struct block_ops ops = {.preadv = disk_read};
	struct block b = {.ops = &ops, .size = MiB, .logical = 512, .physical = 512};
	char buf[512];
	const struct iovec v = {buf, sizeof(buf)};
	struct block_req r[8];
	struct block_queue *q;

	if (block_queue_create(&q, &b, 4) < 0)
		return -1;
	for (unsigned n = 0; n < ARRAY_SIZE(r); n++) { /* also on workers that workers have started */
		r[n] = (struct block_req){.op = BLOCK_READ, .iov = &v, .niov = 1, .done = disk_done};
		block_submit(q, &r[n]);
		block_queue_drain(q);
		if (result)
			return result;
	}
	return result;
}

static void net_fill(struct net_port *p, struct net_poll *poll)
{
	if (result < 0)
		note(CONFINE_NET);
}

static void net_done(struct net_port *p, struct net_poll *poll)
{
}

static void net_link(void *opaque, bool up)
{
}

static bool net_nothing(void *opaque)
{
	return false;
}

static int net_thread(void)
{
	static const struct net_ops ops = {.fill = net_fill, .done = net_done};
	static const struct net_client client = {.link = net_link, .transmit = net_nothing};
	struct net_port p = {.ops = &ops, .wakefd = eventfd(0, EFD_NONBLOCK), .link = true};

	if (net_start(&p, &client) < 0)
		return -1;
	net_stop(&p);
	return result;
}

static bool kvm;

static enum run_exit cpu_run(struct vcpu *v)
{
	if (result < 0)
		note(kvm ? CONFINE_KVM_CPU : CONFINE_CPU);
	return RUN_KICKED;
}

static void cpu_kick(struct vcpu *v)
{
}

static int cpu_thread(void)
{
	const struct accel_ops ops = {.name = "fake", .owns_irqchips = kvm, .run = cpu_run, .kick = cpu_kick};
	const struct vm_config config = {.ncpus = 1};
	static struct vm vm;
	struct err e;

	vm = (struct vm){.accel = &ops, .config = &config};
	vm.cpu[0].vm = &vm;
	if (cpus_init(&vm) < 0 || cpus_start(&vm, &e) < 0)
		return -1;
	while (__atomic_load_n(&result, __ATOMIC_SEQ_CST) < 0)
		sched_yield();
	cpus_stop(&vm);
	return result;
}

static int kvm_thread(void)
{
	kvm = true;
	return cpu_thread();
}

static void *ask(void *opaque)
{
	return opaque;
}

/* The main thread can still make threads, and CPU threads from it are narrower than itself. */
static int main_thread(void)
{
	pthread_t t;
	void *back;
	int rc;

	confine_thread(CONFINE_LOOP);
	rc = probe(CONFINE_LOOP);
	if (rc)
		return rc;
	if (pthread_create(&t, NULL, ask, &rc) != 0 || pthread_join(t, &back) != 0 || back != &rc)
		return -1;
	return cpu_thread();
}

/* --- cases --- */

static void in_process(int (*fn)(void))
{
	struct err e = {0};
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pid == 0)
		_exit(confine_enable(&e) < 0 ? 251 : fn());
	close(wakeup);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_disk(void **state)
{
	in_process(disk_thread);
}

static void test_net(void **state)
{
	in_process(net_thread);
}

static void test_cpu(void **state)
{
	in_process(cpu_thread);
}

static void test_kvm_cpu(void **state)
{
	in_process(kvm_thread);
}

static void test_main(void **state)
{
	in_process(main_thread);
}

/* Without confine_enable nothing happens. */
static void test_off(void **state)
{
	int fd;

	confine_thread(CONFINE_CPU);
	fd = open("/dev/null", O_RDONLY);
	assert_true(fd >= 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_off),
	        cmocka_unit_test(test_disk),
	        cmocka_unit_test(test_net),
	        cmocka_unit_test(test_cpu),
	        cmocka_unit_test(test_kvm_cpu),
	        cmocka_unit_test(test_main),
	};

	/* A strict build ends the process at the first attempt. */
	return CONFINE_STRICT || !confine_available() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
