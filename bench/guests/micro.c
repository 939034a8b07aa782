/*
 * Small loops, one per class of guest code, for bench/suite.py: natively and in guests.
 * usage: micro [NAME...]                   prints a line "RESULT NAME ns-per-iteration" for each
 *        micro --time NAME COMMAND [ARG...]  runs the command, output thrown away, and prints its time
 *
 * Each loop is repeated until it has run for at least a third of a second.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <immintrin.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define BIG (32u << 20)

static volatile uint64_t sink;
static volatile double fsink;
static char *self;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- integer --- */

static void alu(uint64_t n)
{
	uint64_t a = n | 1, b = 0x9e3779b97f4a7c15, c = 1;

	for (uint64_t i = 0; i < n * 1000; i++) {
		a = (a << 7 | a >> 57) + b;
		c ^= a & (i + b);
		b += c >> 3;
	}
	sink = a + b + c;
}

static NOINLINE uint64_t fib(unsigned n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void call(uint64_t n)
{
	while (n--)
		sink = fib(15);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Calls through a pointer, data-dependent branches. */
static void quicksort(uint64_t n)
{
	static uint32_t v[1024];

	while (n--) {
		uint32_t x = 1;
		for (unsigned i = 0; i < 1024; i++)
			v[i] = x = x * 1664525 + 1013904223;
		qsort(v, 1024, sizeof(v[0]), compare);
	}
	sink = v[17];
}

/* A dispatch loop like an interpreter's. */
static void dispatch(uint64_t n)
{
	static const void *const ops[] = {&&add, &&xor, &&shift, &&mul, &&loop};
	static const uint8_t program[] = {0, 1, 2, 3, 1, 0, 2, 0, 3, 1, 4};
	uint64_t acc = 1, left = n * 100;
	const uint8_t *pc = program;

	goto *ops[*pc++];
add:
	acc += 77;
	goto *ops[*pc++];
	xor : acc ^= acc >> 5;
	goto *ops[*pc++];
shift:
	acc = acc << 3 | acc >> 61;
	goto *ops[*pc++];
mul:
	acc *= 31;
	goto *ops[*pc++];
loop:
	pc = program;
	if (left--)
		goto *ops[*pc++];
	sink = acc;
}

/* --- floating point and vectors --- */

static void scalar_fp(uint64_t n)
{
	double x = 1.1, y = 0.7, z = 0.3;

	for (uint64_t i = 0; i < n * 100; i++) {
		x = x * y + z;
		y = y - x * 1e-3;
		z = z / (1.0 + x * x) + 0.1;
	}
	fsink = x + y + z;
}

#define DIM 64
static float ma[DIM][DIM], mb[DIM][DIM], mc[DIM][DIM];

static void matrix_sse(uint64_t n)
{
	while (n--)
		for (int i = 0; i < DIM; i++)
			for (int j = 0; j < DIM; j += 4) {
				__m128 s = _mm_setzero_ps();
				for (int k = 0; k < DIM; k++)
					s = _mm_add_ps(s,
					        _mm_mul_ps(_mm_set1_ps(ma[i][k]), _mm_loadu_ps(&mb[k][j])));
				_mm_storeu_ps(&mc[i][j], s);
			}
}

__attribute__((target("avx2,fma"))) static void matrix_avx2(uint64_t n)
{
	while (n--)
		for (int i = 0; i < DIM; i++)
			for (int j = 0; j < DIM; j += 8) {
				__m256 s = _mm256_setzero_ps();
				for (int k = 0; k < DIM; k++)
					s = _mm256_fmadd_ps(
					        _mm256_set1_ps(ma[i][k]), _mm256_loadu_ps(&mb[k][j]), s);
				_mm256_storeu_ps(&mc[i][j], s);
			}
}

static void x87(uint64_t n)
{
	volatile long double r;
	long double x = 1.1L, y = 0.7L;

	for (uint64_t i = 0; i < n * 100; i++) {
		x = x * y + 0.3L;
		y = y - x * 1e-3L;
	}
	r = x + y;
	(void)r;
}

/* --- memory --- */

static double *va, *vb, *vc;
static void **chain;

static void triad(uint64_t n)
{
	while (n--)
		for (unsigned i = 0; i < BIG / 8 / 4; i++)
			va[i] = vb[i] + 3.0 * vc[i];
}

static void copy(uint64_t n)
{
	while (n--) {
		memcpy(va, vb, BIG / 4);
		__asm__ volatile("" ::: "memory");
	}
}

static void latency(uint64_t n)
{
	void **p = chain;

	for (uint64_t i = 0; i < n * 100; i++)
		p = *p;
	sink = (uint64_t)p;
}

static void make_chain(void)
{
	unsigned slots = BIG / 64, *order = malloc(slots * sizeof(*order));
	uint64_t x = 88172645463325252u;

	for (unsigned i = 0; i < slots; i++)
		order[i] = i;
	for (unsigned i = slots - 1; i; i--) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		unsigned j = (unsigned)(x % (i + 1)), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (unsigned i = 0; i < slots; i++)
		chain[order[i] * 8] = &chain[order[(i + 1) % slots] * 8];
	free(order);
}

/* --- the kernel --- */

static void system_call(uint64_t n)
{
	while (n--)
		syscall(SYS_getppid);
}

static void on_signal(int sig)
{
	sink++;
}

static void signals(uint64_t n)
{
	signal(SIGUSR1, on_signal);
	while (n--)
		raise(SIGUSR1);
}

/* Two processes that wake each other in turn. */
static void ping_pong(uint64_t n)
{
	int a[2], b[2];
	char c = 0;

	if (pipe(a) || pipe(b))
		return;
	if (fork() == 0) {
		while (read(a[0], &c, 1) == 1 && c == 0)
			if (write(b[1], &c, 1) != 1)
				break;
		_exit(0);
	}
	while (n--)
		if (write(a[1], &c, 1) != 1 || read(b[0], &c, 1) != 1)
			break;
	c = 1;
	if (write(a[1], &c, 1) == 1)
		wait(NULL);
	close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}

/* On one CPU: each wait is a switch to the other one. */
static void context_switch(uint64_t n)
{
	cpu_set_t all, one;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	ping_pong(n);
	sched_setaffinity(0, sizeof(all), &all);
}

static void page_fault(uint64_t n)
{
	while (n) {
		size_t pages = n < 1024 ? n : 1024;
		char *p =
		        mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		madvise(p, pages * 4096, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < pages; i++)
			p[i * 4096] = 1;
		munmap(p, pages * 4096);
		n -= pages;
	}
}

static void map_unmap(uint64_t n)
{
	while (n--) {
		char *p = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p[0] = 1;
		munmap(p, 16 * 4096);
	}
}

static void fork_wait(uint64_t n)
{
	while (n--) {
		if (fork() == 0)
			_exit(0);
		wait(NULL);
	}
}

static void exec(uint64_t n)
{
	while (n--) {
		if (vfork() == 0) {
			execl(self, self, "--nothing", NULL);
			_exit(1);
		}
		wait(NULL);
	}
}

static void create_files(uint64_t n)
{
	char name[64];

	snprintf(name, sizeof(name), "/tmp/micro.%d", getpid());
	while (n--) {
		int fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (write(fd, "x", 1) != 1)
			return;
		close(fd);
		unlink(name);
	}
}

static void gettime(uint64_t n)
{
	struct timespec t;

	while (n--)
		clock_gettime(CLOCK_MONOTONIC, &t);
	sink = (uint64_t)t.tv_nsec;
}

/* --- threads --- */

static uint64_t counter;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void atomics(uint64_t n)
{
	while (n--)
		__atomic_fetch_add(&counter, n, __ATOMIC_SEQ_CST);
}

static void *take_mutex(void *arg)
{
	for (uint64_t n = *(uint64_t *)arg; n--;) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void *work(void *arg)
{
	alu(*(uint64_t *)arg);
	return NULL;
}

static void two_threads(void *(*f)(void *), uint64_t n)
{
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, f, &n);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

static void mutexes(uint64_t n)
{
	two_threads(take_mutex, n);
}

static void scaling(uint64_t n)
{
	two_threads(work, n);
}

/* --- code that changes --- */

static void rewrite(uint64_t n)
{
	static uint8_t *code;
	static const uint8_t body[] = {0xb8, 0, 0, 0, 0, 0xc3}; /* mov eax, imm32; ret */
	uint32_t (*f)(void);

	if (!code)
		code = mmap(
		        NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(code, body, sizeof(body));
	memcpy(&f, &code, sizeof(f));
	while (n--) {
		*(volatile uint32_t *)(void *)(code + 1) = (uint32_t)n;
		sink = f();
	}
}

static const struct {
	const char *name;
	void (*run)(uint64_t n);
} tests[] = {
        {"alu", alu},
        {"call", call},
        {"quicksort", quicksort},
        {"dispatch", dispatch},
        {"scalar-fp", scalar_fp},
        {"matrix-sse", matrix_sse},
        {"matrix-avx2", matrix_avx2},
        {"x87", x87},
        {"triad", triad},
        {"copy", copy},
        {"latency", latency},
        {"syscall", system_call},
        {"signal", signals},
        {"context-switch", context_switch},
        {"wake-up", ping_pong},
        {"page-fault", page_fault},
        {"mmap", map_unmap},
        {"fork", fork_wait},
        {"exec", exec},
        {"create-file", create_files},
        {"clock-gettime", gettime},
        {"atomic", atomics},
        {"mutex-2", mutexes},
        {"scaling-2", scaling},
        {"rewrite-code", rewrite},
};

static void measure(size_t k)
{
	uint64_t n = 1;

	for (;;) {
		double start = now(), spent;

		tests[k].run(n);
		spent = now() - start;
		if (spent > 0.33) {
			printf("RESULT %s %.2f\n", tests[k].name, spent * 1e9 / (double)n);
			fflush(stdout);
			return;
		}
		n = spent > 0.02 ? (uint64_t)((double)n * 0.4 / spent) + 1 : n * 4;
	}
}

static int time_command(const char *name, char **command)
{
	double start = now();
	int status;
	pid_t child = fork();

	if (child == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		execvp(command[0], command);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || status) {
		printf("RESULT %s failed\n", name);
		return 1;
	}
	printf("RESULT %s %.0f\n", name, (now() - start) * 1e9);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--nothing") == 0)
		return 0;
	if (argc > 3 && strcmp(argv[1], "--time") == 0)
		return time_command(argv[2], argv + 3);
	self = argv[0];
	va = malloc(BIG), vb = malloc(BIG), vc = malloc(BIG), chain = malloc(BIG);
	memset(va, 1, BIG), memset(vb, 1, BIG), memset(vc, 1, BIG);
	make_chain();
	for (int i = 0; i < DIM * DIM; i++)
		(&ma[0][0])[i] = (float)i * 1e-3f, (&mb[0][0])[i] = (float)(DIM - i) * 1e-3f;
	for (size_t k = 0; k < sizeof(tests) / sizeof(tests[0]); k++) {
		int wanted = argc == 1;

		for (int i = 1; i < argc; i++)
			wanted |= strcmp(argv[i], tests[k].name) == 0;
		if (wanted)
			measure(k);
	}
	return 0;
}
