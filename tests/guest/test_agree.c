/*
 * The same tiny guests on every accelerator: registers, memory, and the sequence of port and device
 * accesses must be equal. usage: test_agree PROGRAM16 PROGRAM32 PROGRAM64
 *
 * KVM takes part where /dev/kvm opens. On hosts whose KVM is a software one it runs little more than
 * what these programs contain; that is how its back end is tested there. Without /dev/kvm the test
 * is skipped (status 77).
 */
#include "accel/accel.h"
#include "x86/x86.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RAM (2 * MiB)
#define PAGE_TABLES 0x1000ull
#define GDT 0x8000ull
#define CODE 0x10000ull
#define DATA 0x20000ull
#define DATA_LEN 4096
#define STACK 0x30000ull
#define DEVICE 0xd0000000ull
#define LOG_MAX 512

struct access {
	u64 addr, val;
	u8 size, write, memory;
};

struct world {
	struct space ports, memory;
	struct mem mem;
	struct clock_tsc clock;
	struct accel_host host;
	const struct accel_ops *accel;
	struct accel_vm *vm;
	struct vcpu *vcpu;
	struct region port_region, end_region, device_region;
	struct access log[LOG_MAX];
	unsigned nlog;
	u32 end;
	struct x86_state state;
};

static void note(struct world *w, u64 addr, u64 val, unsigned size, bool write, bool memory)
{
	if (w->nlog < LOG_MAX)
		w->log[w->nlog++] = (struct access){addr, val, (u8)size, write, memory};
}

/* What a device answers depends on how often it was asked, so that a repeated access shows. */
static u64 answer(struct world *w, u64 off, unsigned size)
{
	return (0x0101010101010101ull * (w->nlog + 3) + off) & ones(size);
}

static u64 port_read(void *opaque, u64 off, unsigned size)
{
	struct world *w = opaque;
	u64 val = answer(w, off, size);

	note(w, off, val, size, false, false);
	return val;
}

static void port_write(void *opaque, u64 off, unsigned size, u64 val)
{
	note(opaque, off, val, size, true, false);
}

static u64 device_read(void *opaque, u64 off, unsigned size)
{
	struct world *w = opaque;
	u64 val = answer(w, off, size);

	note(w, off, val, size, false, true);
	return val;
}

static void device_write(void *opaque, u64 off, unsigned size, u64 val)
{
	note(opaque, off, val, size, true, true);
}

static u64 end_read(void *opaque, u64 off, unsigned size)
{
	return 0;
}

static void end_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct world *w = opaque;

	w->end = (u32)val;
	w->accel->kick(w->vcpu);
}

static const struct region_ops port_ops = {
        .read = port_read, .write = port_write, .unaligned = true, .max = 4};
static const struct region_ops device_ops = {.read = device_read, .write = device_write, .unaligned = true};
static const struct region_ops end_ops = {.read = end_read, .write = end_write};

static void die(const char *what, const struct err *e)
{
	fprintf(stderr, "test_agree: %s%s%s\n", what, e ? ": " : "", e ? e->text : "");
	exit(1);
}

static void fill_tables(u8 *ram)
{
	put_le64(ram + PAGE_TABLES, (PAGE_TABLES + 0x1000) | PTE_P | PTE_W);
	put_le64(ram + PAGE_TABLES + 0x1000, (PAGE_TABLES + 0x2000) | PTE_P | PTE_W);
	put_le64(ram + PAGE_TABLES + 0x1000 + 24, (PAGE_TABLES + 0x3000) | PTE_P | PTE_W);
	put_le64(ram + PAGE_TABLES + 0x2000, PTE_P | PTE_W | PTE_PS);
	/* DEVICE lies in the fourth gigabyte. */
	put_le64(ram + PAGE_TABLES + 0x3000 + (DEVICE >> 21 & 511) * 8, DEVICE | PTE_P | PTE_W | PTE_PS);
	put_le64(ram + GDT + 0x08, 0x00cf9b000000ffffull);
	put_le64(ram + GDT + 0x10, 0x00af9b000000ffffull);
	put_le64(ram + GDT + 0x18, 0x00cf93000000ffffull);
}

static void state16(struct x86_state *s)
{
	s->seg[SEG_CS] = (struct x86_seg){.sel = CODE >> 4, .attr = 0x9b, .limit = 0xffff, .base = CODE};
	s->seg[SEG_DS] = (struct x86_seg){.sel = DATA >> 4, .attr = 0x93, .limit = 0xffff, .base = DATA};
	s->seg[SEG_SS] = (struct x86_seg){.sel = STACK >> 4, .attr = 0x93, .limit = 0xffff, .base = STACK};
	s->gpr[RSP] = 0x1000;
	s->rip = 0;
}

static void state_flat(struct x86_state *s, bool wide)
{
	const struct x86_seg data = {.sel = 0x18, .attr = 0x93 | SEG_ATTR_DB | SEG_ATTR_G, .limit = ~0u};

	s->seg[SEG_CS] = (struct x86_seg){.sel = wide ? 0x10 : 0x08,
	        .attr = (u16)(0x9b | SEG_ATTR_G | (wide ? SEG_ATTR_L : SEG_ATTR_DB)),
	        .limit = ~0u};
	s->seg[SEG_DS] = s->seg[SEG_ES] = s->seg[SEG_SS] = data;
	s->gdt = (struct x86_table){GDT, 0x1f};
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (wide) {
		s->cr0 |= CR0_PG;
		s->cr3 = PAGE_TABLES;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
	}
	s->gpr[RSP] = STACK + 0x1000;
	s->gpr[RSI] = DATA;
	s->gpr[RDI] = DEVICE;
	s->rip = CODE;
}

static void build(struct world *w, const struct accel_ops *accel)
{
	const struct accel_config config = {.ncpus = 1, .hot = 1};
	struct err e = {0};

	w->accel = accel;
	clock_tsc_init(&w->clock);
	space_init(&w->ports, 0xffff);
	space_init(&w->memory, ~0ull);
	w->port_region = (struct region){.base = 0x100, .len = 16, .ops = &port_ops, .opaque = w};
	w->end_region = (struct region){.base = 0xf4, .len = 1, .ops = &end_ops, .opaque = w};
	w->device_region = (struct region){.base = DEVICE, .len = 4096, .ops = &device_ops, .opaque = w};
	space_add(&w->ports, &w->port_region);
	space_add(&w->ports, &w->end_region);
	space_add(&w->memory, &w->device_region);
	if (mem_create(&w->mem, RAM, false, true, &e) < 0)
		die("memory", &e);
	w->host = (struct accel_host){
	        .ports = &w->ports, .memory = &w->memory, .mem = &w->mem, .clock = &w->clock};
	if (accel->vm_create(&config, &w->host, &w->vm, &e) < 0)
		die(accel->name, &e);
	if (accel->mem_map(w->vm, 0, w->mem.base, w->mem.low, false) < 0)
		die("mem_map", NULL);
	if (accel->vcpu_create(w->vm, 0, NULL, &w->vcpu, &e) < 0)
		die(accel->name, &e);
}

static void run(struct world *w, unsigned bits, const u8 *code, size_t len)
{
	struct x86_state s;
	enum run_exit exit;

	x86_state_reset(&s, true);
	fill_tables(w->mem.base);
	memcpy(w->mem.base + CODE, code, len);
	if (bits == 16)
		state16(&s);
	else
		state_flat(&s, bits == 64);
	if (w->accel->set_state(w->vcpu, &s) < 0)
		die("set_state", NULL);
	exit = w->accel->run(w->vcpu);
	if (exit != RUN_KICKED || w->end != 0x5a) {
		fprintf(stderr, "test_agree: %u-bit program on %s: exit %d, end 0x%x\n", bits, w->accel->name,
		        exit, w->end);
		_exit(1);
	}
	if (w->accel->get_state(w->vcpu, &w->state) < 0)
		die("get_state", NULL);
}

static void drop(struct world *w)
{
	w->accel->vcpu_destroy(w->vcpu);
	w->accel->vm_destroy(w->vm);
	mem_destroy(&w->mem);
	space_fini(&w->memory);
	space_fini(&w->ports);
}

static unsigned compare(const struct world *a, const struct world *b, unsigned bits)
{
	unsigned bad = 0;

	for (unsigned n = 0; n < X86_NGPR; n++) {
		if (a->state.gpr[n] == b->state.gpr[n])
			continue;
		printf("%u-bit: register %u: %s 0x%llx, %s 0x%llx\n", bits, n, a->accel->name,
		        (unsigned long long)a->state.gpr[n], b->accel->name,
		        (unsigned long long)b->state.gpr[n]);
		bad++;
	}
	for (unsigned n = 0; n < DATA_LEN; n += 8) {
		u64 x = get_le64(a->mem.base + DATA + n), y = get_le64(b->mem.base + DATA + n);

		if (x == y)
			continue;
		printf("%u-bit: data +%u: 0x%llx, 0x%llx\n", bits, n, (unsigned long long)x,
		        (unsigned long long)y);
		bad++;
	}
	if (a->nlog != b->nlog || memcmp(a->log, b->log, a->nlog * sizeof(a->log[0]))) {
		printf("%u-bit: device accesses differ: %u and %u\n", bits, a->nlog, b->nlog);
		bad++;
	}
	return bad;
}

static size_t read_file(const char *path, u8 *buf, size_t cap)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		die(path, NULL);
	n = fread(buf, 1, cap, f);
	fclose(f);
	return n;
}

/* The program on two accelerators. */
static unsigned agree(
        const struct accel_ops *a, const struct accel_ops *b, unsigned bits, const u8 *code, size_t len)
{
	static struct world wa, wb;
	unsigned bad;

	memset(&wa, 0, sizeof(wa));
	memset(&wb, 0, sizeof(wb));
	build(&wa, a);
	run(&wa, bits, code, len);
	build(&wb, b);
	run(&wb, bits, code, len);
	bad = compare(&wa, &wb, bits);
	printf("%u-bit program on %s and %s: %u device accesses, %u differences\n", bits, a->name, b->name,
	        wb.nlog, bad);
	drop(&wb);
	drop(&wa);
	return bad;
}

int main(int argc, char **argv)
{
	static u8 code[4096];
	unsigned bad = 0;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (argc != 4)
		die("usage: test_agree PROGRAM16 PROGRAM32 PROGRAM64", NULL);
	if (fd < 0)
		puts("test_agree: /dev/kvm does not open: only the software CPU's engines are compared");
	else
		close(fd);
	for (int n = 1; n < argc; n++) {
		size_t len = read_file(argv[n], code, sizeof(code));

		bad += agree(&accel_interp, &accel_jit, 8u << n, code, len);
		if (fd >= 0)
			bad += agree(&accel_interp, &accel_kvm, 8u << n, code, len);
	}
	return bad != 0;
}
