/*
 * Can this host's KVM run a stock kernel? A /dev/kvm that opens proves nothing: on some hosts it is a
 * software implementation that emulates one instruction at a time, lacks many, and is a thousand
 * times slower than the CPU. So a real program runs under it: long mode, SSE, XRSTOR, CMPXCHG16B and
 * a loop, which is timed and compared with the same loop run natively. A watchdog ends it.
 */
#include "accel/kvm/kvm.h"

#include "x86/x86.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define RAM_SIZE (2 * MiB)
#define PAGE_TABLES 0x1000ull /* PML4, PDPT, PD */
#define GDT 0x8000ull
#define DATA 0x9000ull /* 64-byte aligned scratch of the program */
#define CODE 0x10000ull
#define RESULT_PORT 0xf4
#define RESULT_OK 0x5a
#define LIMIT_MS 400
#define LOOPS 100000
#define FLOOR_NS (10 * NS_PER_MS)
#define SLOWER_MAX 20

/*
 * The program: RDI = scratch, RSI = loop count. Position independent; it is copied to the guest. The
 * loop is a function of its own, so that the host can run it too.
 */
__asm__(".section .rodata\n"
        ".balign 16\n"
        "kvm_probe_start:\n"
        "	movdqu 64(%rdi), %xmm0\n"
        "	paddd %xmm0, %xmm0\n"
        "	movdqu %xmm0, 80(%rdi)\n"
        "	mov $3, %eax\n"
        "	xor %edx, %edx\n"
        "	xor %ecx, %ecx\n"
        "	xsetbv\n"
        "	xsave 1024(%rdi)\n"
        "	xrstor 1024(%rdi)\n"
        "	xor %eax, %eax\n"
        "	xor %edx, %edx\n"
        "	mov $1, %ebx\n"
        "	mov $2, %ecx\n"
        "	lock cmpxchg16b (%rdi)\n"
        "	jnz 1f\n"
        "	mov %rsi, %rcx\n"
        "	call kvm_probe_loop\n"
        "	mov $0x5a, %al\n"
        "	out %al, $0xf4\n"
        "1:	hlt\n"
        "	jmp 1b\n"
        "kvm_probe_loop:\n"
        "2:	mov %rcx, 128(%rdi)\n"
        "	add 128(%rdi), %rax\n"
        "	ror $5, %rax\n"
        "	dec %rcx\n"
        "	jnz 2b\n"
        "	ret\n"
        "kvm_probe_end:\n"
        ".previous\n");
extern const u8 kvm_probe_start[], kvm_probe_end[];

struct probe {
	u8 *ram;
	struct space ports, memory;
	struct mem mem;
	struct region result;
	struct accel_host host;
	struct accel_vm *vm;
	struct vcpu *vcpu;
	u32 answer; /* atomic */
	pthread_t watchdog;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec;
}

static void result_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct probe *p = opaque;

	__atomic_store_n(&p->answer, (u32)val, __ATOMIC_SEQ_CST);
	accel_kvm.kick(p->vcpu);
}

static u64 result_read(void *opaque, u64 off, unsigned size)
{
	return 0;
}

static const struct region_ops result_ops = {.read = result_read, .write = result_write};

static void fill_ram(u8 *ram)
{
	put_le64(ram + PAGE_TABLES, (PAGE_TABLES + 0x1000) | PTE_P | PTE_W);
	put_le64(ram + PAGE_TABLES + 0x1000, (PAGE_TABLES + 0x2000) | PTE_P | PTE_W);
	put_le64(ram + PAGE_TABLES + 0x2000, PTE_P | PTE_W | PTE_PS);
	put_le64(ram + GDT + 0x10, 0x00af9b000000ffffull);
	put_le64(ram + GDT + 0x18, 0x00cf93000000ffffull);
	memcpy(ram + CODE, kvm_probe_start, (size_t)(kvm_probe_end - kvm_probe_start));
}

static void long_mode(struct x86_state *s)
{
	const struct x86_seg code = {
	        .sel = 0x10, .attr = 0x9b | SEG_ATTR_L | SEG_ATTR_G | SEG_ATTR_P, .limit = ~0u};
	const struct x86_seg data = {.sel = 0x18, .attr = 0x93 | SEG_ATTR_DB | SEG_ATTR_G, .limit = ~0u};

	x86_state_reset(s, true);
	s->seg[SEG_CS] = code;
	s->seg[SEG_DS] = s->seg[SEG_ES] = s->seg[SEG_SS] = data;
	s->gdt = (struct x86_table){GDT, 0x1f};
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG;
	s->cr3 = PAGE_TABLES;
	s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s->efer = EFER_LME | EFER_LMA;
	s->rip = CODE;
	s->gpr[RSP] = CODE;
	s->gpr[RDI] = DATA;
	s->gpr[RSI] = LOOPS;
	s->fpu.fcw = 0x37f;
}

static void *watchdog(void *opaque)
{
	struct probe *p = opaque;
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += LIMIT_MS * 1000000l;
	t.tv_sec += t.tv_nsec / 1000000000l;
	t.tv_nsec %= 1000000000l;
	pthread_mutex_lock(&p->lock);
	while (!p->done && pthread_cond_timedwait(&p->cond, &p->lock, &t) != ETIMEDOUT)
		;
	if (!p->done)
		accel_kvm.kick(p->vcpu);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int run_watched(struct probe *p, enum run_exit *out)
{
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	if (pthread_create(&p->watchdog, NULL, watchdog, p) != 0)
		return -EAGAIN;
	*out = accel_kvm.run(p->vcpu);
	pthread_mutex_lock(&p->lock);
	p->done = true;
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->watchdog, NULL);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	return 0;
}

/* The guest's loop, by the host itself. */
static u64 native_ns(void)
{
	u64 scratch[32] = {0}, count = LOOPS, acc = 0;
	u64 start = now_ns();

	__asm__ volatile("1: mov %1, 128(%2)\n"
	                 "add 128(%2), %0\n"
	                 "ror $5, %0\n"
	                 "dec %1\n"
	                 "jnz 1b\n"
	                 : "+r"(acc), "+r"(count)
	                 : "r"(scratch)
	                 : "cc", "memory");
	return now_ns() - start;
}

static int judge(struct probe *p, struct err *e)
{
	enum run_exit exit = RUN_ERROR;
	u64 native = native_ns();
	u64 start = now_ns();
	u64 spent;
	int rc = run_watched(p, &exit);

	spent = now_ns() - start;
	if (rc < 0)
		return err_errno(e, rc, "cannot test KVM");
	if (exit != RUN_KICKED)
		return err_set(e, -ENOTSUP, "this host's KVM cannot run a test program (a software KVM?)");
	if (__atomic_load_n(&p->answer, __ATOMIC_SEQ_CST) != RESULT_OK)
		return err_set(
		        e, -ENOTSUP, "this host's KVM did not finish a test program (a software KVM?)");
	if (spent > FLOOR_NS && spent > native * SLOWER_MAX)
		return err_set(e, -ENOTSUP,
		        "this host's KVM runs code %llu times slower than the CPU (a software KVM)",
		        (unsigned long long)(spent / MAX(native, 1)));
	return 0;
}

static int build(struct probe *p, struct err *e)
{
	const struct accel_config config = {.ncpus = 1};
	struct x86_state s;
	int rc;

	fill_ram(p->ram);
	p->result = (struct region){.base = RESULT_PORT, .len = 1, .ops = &result_ops, .opaque = p};
	p->host = (struct accel_host){.ports = &p->ports, .memory = &p->memory, .mem = &p->mem};
	rc = space_add(&p->ports, &p->result);
	if (rc == 0)
		rc = accel_kvm.vm_create(&config, &p->host, &p->vm, e);
	if (rc < 0)
		return rc;
	p->vm->quiet = true;
	rc = accel_kvm.mem_map(p->vm, 0, p->ram, RAM_SIZE, false);
	if (rc < 0)
		return err_errno(e, rc, "KVM refused memory");
	rc = accel_kvm.vcpu_create(p->vm, 0, NULL, &p->vcpu, e);
	if (rc < 0)
		return rc;
	long_mode(&s);
	rc = accel_kvm.set_state(p->vcpu, &s);
	return rc < 0 ? err_errno(e, rc, "KVM refused a 64-bit CPU state") : judge(p, e);
}

int kvm_probe(struct err *e)
{
	struct probe p = {0};
	int rc;

	p.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p.ram == MAP_FAILED)
		return err_errno(e, -errno, "cannot test KVM");
	rc = space_init(&p.ports, 0xffff);
	if (rc == 0)
		rc = space_init(&p.memory, ~0ull);
	if (rc == 0)
		rc = build(&p, e);
	if (p.vcpu)
		accel_kvm.vcpu_destroy(p.vcpu);
	if (p.vm)
		accel_kvm.vm_destroy(p.vm);
	space_fini(&p.memory);
	space_fini(&p.ports);
	munmap(p.ram, RAM_SIZE);
	return rc;
}
