/*
 * A SATA controller with a disk, a CD drive and an empty one under a driver that does anything: registers,
 * command lists, FISes, buffer descriptors and packets, in any order, while the host changes discs. The input
 * is a list of steps; some of them do a driver's work so that the rest has something to break. It holds that
 * drives are only asked for what lies inside them and for buffers in RAM, that a port never has more in
 * flight than slots and nothing at all after a reset, and that a reset always brings the drives back to work.
 */
#include "virtio_board.h"

#include "dev/ahci_int.h"
#include "standalone.h"

#include <sched.h>

#define SECTORS 64u
#define PORTS 3u
#define LIST_AT(p) (0x10000ull + (p)*0x10000ull)
#define FIS_AT(p) (LIST_AT(p) + 0x400)
#define TABLE_SIZE 0x400ull
#define TABLE_AT(p, slot) (LIST_AT(p) + 0x1000 + TABLE_SIZE * (slot))
#define PRDT 0x80u
#define PRDS 56u

#define REG_GHC 0x04
#define PX(p, reg) (0x100u + 0x80u * (p) + (reg))
#define PX_CLB 0x00
#define PX_CLBU 0x04
#define PX_FB 0x08
#define PX_FBU 0x0c
#define PX_IS 0x10
#define PX_CMD 0x18
#define PX_TFD 0x20
#define PX_SACT 0x34
#define PX_CI 0x38

struct board;

struct disc {
	struct block block;
	struct board *board;
};

struct board {
	struct virtio_board b; /* the bus and RAM; first member */
	struct disc disc[3];   /* the first one is the disk; the others are in CD drives, or nowhere */
	struct ahci *h;
};

/* --- disks --- */

/* Guest memory, or, for whole sectors of a disc and what is only verified, one buffer of the controller's. */
static void check_buffers(struct block *blk, const struct iovec *iov, int n, u64 off, bool own)
{
	struct disc *d = container_of(blk, struct disc, block);
	struct mem *mem = &d->board->b.mem;
	u64 len = 0;

	for (int i = 0; i < n; len += iov[i++].iov_len) {
		u64 at = (u64)((u8 *)iov[i].iov_base - mem->base);

		check(mem_is_ram(mem, at, iov[i].iov_len) || (own && n == 1));
	}
	check(off <= blk->size && len <= blk->size - off);
}

static int disk_read(struct block *blk, const struct iovec *iov, int n, u64 off)
{
	check_buffers(blk, iov, n, off, true);
	for (int i = 0; i < n; off += iov[i++].iov_len)
		memset(iov[i].iov_base, (int)off, iov[i].iov_len);
	return 0;
}

static int disk_write(struct block *blk, const struct iovec *iov, int n, u64 off)
{
	check(!blk->ro);
	check_buffers(blk, iov, n, off, false);
	return 0;
}

static int disk_flush(struct block *blk)
{
	return 0;
}

static int disk_discard(struct block *blk, u64 off, u64 len)
{
	check(!blk->ro && off <= blk->size && len <= blk->size - off);
	return 0;
}

static const struct block_ops disk_ops = {
        .preadv = disk_read, .pwritev = disk_write, .flush = disk_flush, .discard = disk_discard};

/* --- the board --- */

static u32 rd(struct board *b, unsigned off)
{
	return (u32)space_read(&b->b.memory, b->b.bar + off, 4);
}

static void set(struct board *b, unsigned off, u32 val)
{
	wr(&b->b, off, 4, val);
}

static void board_init(struct board *b, u64 how)
{
	struct ahci_config c = {.nports = PORTS};

	memset(b, 0, sizeof(*b));
	board_bus(&b->b);
	c.mem = &b->b.mem;
	for (unsigned n = 0; n < ARRAY_SIZE(b->disc); n++) {
		b->disc[n].board = b;
		b->disc[n].block = (struct block){.ops = &disk_ops,
		        .size = SECTORS * 2048 / (n + 1),
		        .logical = n == 0 && how & 1 ? 4096 : 512,
		        .physical = 4096,
		        .grain = how & 2 ? 0 : 512,
		        .ro = n || how & 4,
		        .serial = "fuzz"};
	}
	for (unsigned n = 0; n < PORTS; n++)
		c.drive[n] = (struct ahci_drive_config){
		        .cd = n > 0, .block = n < 2 ? &b->disc[n].block : NULL, .serial = "fuzz"};
	check(!ahci_create(&b->h, &c));
	check(!pci_add(&b->b.host, ahci_pci(b->h), 0, 1, 0) && !pci_assign(&b->b.host));
	b->b.bar = get_le32(&ahci_pci(b->h)->cfg[PCI_BAR0 + 20]) & ~15u;
}

static void board_fini(struct board *b)
{
	ahci_destroy(b->h);
	board_end(&b->b);
}

static void port_up(struct board *b, unsigned p)
{
	set(b, PX(p, PX_CMD), 0);
	set(b, PX(p, PX_CLB), (u32)LIST_AT(p));
	set(b, PX(p, PX_CLBU), 0);
	set(b, PX(p, PX_FB), (u32)FIS_AT(p));
	set(b, PX(p, PX_FBU), 0);
	set(b, PX(p, PX_IS), ~0u);
	set(b, PX(p, PX_CMD), 0x10);
	set(b, PX(p, PX_CMD), 0x11);
	set(b, REG_GHC, 2);
}

static void put_prd(struct board *b, unsigned p, unsigned slot, unsigned n, u64 addr, u32 count)
{
	u8 d[16] = {0};

	put_le64(d, addr);
	put_le32(d + 12, count);
	mem_write(&b->b.mem, TABLE_AT(p, slot) + PRDT + 16ull * n, d, sizeof(d));
}

static void put_header(struct board *b, unsigned p, unsigned slot, u32 flags, u64 table)
{
	u8 h[16] = {0};

	put_le32(h, flags);
	put_le64(h + 8, table);
	mem_write(&b->b.mem, LIST_AT(p) + 32ull * slot, h, sizeof(h));
}

/* --- steps --- */

static void step_register(struct board *b, struct input *in)
{
	u64 how = take(in, 2);
	unsigned off = (how & 0x1ff) * 4 % 0x300, size = 1u << (how >> 14);

	wr(&b->b, off + (how >> 12 & 3), size, take(in, size));
	check(space_read(&b->b.memory, b->b.bar + off, size) <= ones(size));
}

static void step_header(struct board *b, struct input *in)
{
	u64 how = take(in, 1), prds = take(in, 1);
	unsigned p = (how & 3) % PORTS, slot = how >> 2 & 31;

	if (how & 0x80)
		put_header(b, p, slot, (u32)take(in, 4), take(in, 8));
	else
		put_header(b, p, slot, 5 | (u32)(prds % (PRDS + 1)) << 16, TABLE_AT(p, slot));
}

/* Most disks' commands by number, others by chance. */
static u8 pick_command(struct input *in)
{
	static const u8 known[] = {0x06, 0x20, 0x24, 0x25, 0x29, 0x2f, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40,
	        0x42, 0x47, 0x60, 0x61, 0x91, 0xa0, 0xa0, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca,
	        0xce, 0xe0, 0xe5, 0xe7, 0xea, 0xec, 0xef};
	u64 v = take(in, 1);

	return v & 0x80 ? (u8)take(in, 1) : known[v % ARRAY_SIZE(known)];
}

static void step_fis(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	unsigned p = (how & 3) % PORTS, slot = how >> 2 & 31;
	u8 fis[16] = {0x27, 0x80, pick_command(in)};

	if (how & 0x80) { /* what the rest is made of is the input's business */
		for (unsigned n = 3; n < sizeof(fis); n++)
			fis[n] = (u8)take(in, 1);
	} else {
		fis[7] = 0x40;
		fis[4] = (u8)take(in, 1) % SECTORS;
		fis[3] = fis[12] = (u8)take(in, 1) % 16;
		if ((fis[2] & 0xfe) == 0x60)
			fis[12] = (u8)(slot << 3);
	}
	if (take(in, 1) == 0xff)
		fis[1] = 0;
	mem_write(&b->b.mem, TABLE_AT(p, slot), fis, sizeof(fis));
}

static void step_packet(struct board *b, struct input *in)
{
	static const u8 known[] = {0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2b, 0x43, 0x46, 0x4a,
	        0x51, 0x52, 0x55, 0x5a, 0xa0, 0xa8, 0xad, 0xb9, 0xbd, 0xbe};
	u64 how = take(in, 1), op = take(in, 1);
	unsigned p = (how & 3) % PORTS, slot = how >> 2 & 31;
	u8 cdb[16] = {op & 0x80 ? (u8)take(in, 1) : known[op % ARRAY_SIZE(known)]};

	for (unsigned n = 1; n < 12; n++)
		cdb[n] = (u8)(how & 0x80 ? take(in, 1) : n == 8 || n == 5 ? take(in, 1) & 0x1f : 0);
	if (cdb[0] == 0xbe)
		cdb[9] = (u8)take(in, 1);
	mem_write(&b->b.mem, TABLE_AT(p, slot) + 0x40, cdb, sizeof(cdb));
}

static void step_prd(struct board *b, struct input *in)
{
	u64 how = take(in, 1), n = take(in, 1) % PRDS;
	unsigned p = (how & 3) % PORTS, slot = how >> 2 & 31;
	u64 addr = how & 0x80 ? take(in, 8) : DATA + take(in, 2);

	put_prd(b, p, slot, (unsigned)n, addr, (u32)take(in, how & 0x80 ? 4 : 2));
}

static void step_issue(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	unsigned p = (how & 3) % PORTS;
	u32 slots = how & 0x80 ? (u32)take(in, 4) : BIT(how >> 2 & 31);

	if (take(in, 1) & 1)
		set(b, PX(p, PX_SACT), slots);
	set(b, PX(p, PX_CI), slots);
}

/* The host's side of the tray; a disc is in one drive at a time. */
static void step_media(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	unsigned p = 1 + (how & 1);
	struct disc *d = &b->disc[1 + (how >> 1 & 1)];
	struct block *old = NULL;

	if (how & 4)
		ahci_eject(b->h, p, how & 8, &old);
	else if (d->block.size && b->h->port[3 - p].block != &d->block && b->h->port[p].block != &d->block)
		ahci_insert(b->h, p, &d->block, &old);
	check(!old || old == &b->disc[1].block || old == &b->disc[2].block);
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 15) {
	case 0: step_register(b, in); break;
	case 1: config_cycle(&b->b, in); break;
	case 2: write_memory(&b->b, in); break;
	case 3:
	case 4: step_header(b, in); break;
	case 5:
	case 6: step_fis(b, in); break;
	case 7:
	case 8: step_packet(b, in); break;
	case 9:
	case 10: step_prd(b, in); break;
	case 11:
	case 12: step_issue(b, in); break;
	case 13: port_up(b, (op >> 4) % PORTS); break;
	case 14: step_media(b, in); break;
	default:
		if (op & 0x80)
			ahci_reset(b->h);
		break;
	}
}

static void check_ports(struct board *b)
{
	pthread_mutex_lock(&b->h->lock);
	for (unsigned n = 0; n < PORTS; n++) {
		const struct ahci_port *p = &b->h->port[n];

		check(p->inflight <= AHCI_SLOTS && p->inflight >= (unsigned)__builtin_popcount(p->tags));
		check(!p->exclusive || p->exclusive->busy);
		check(p->draining == 0 && p->paused == 0);
	}
	pthread_mutex_unlock(&b->h->lock);
}

/* --- after all that it still works --- */

static void identify(struct board *b, unsigned p)
{
	u8 fis[20] = {0x27, 0x80, p ? 0xa1 : 0xec};

	port_up(b, p);
	put_header(b, p, 0, 5 | 1 << 16, TABLE_AT(p, 0));
	mem_write(&b->b.mem, TABLE_AT(p, 0), fis, sizeof(fis));
	put_prd(b, p, 0, 0, DATA, 511);
	set(b, PX(p, PX_CI), 1);
	while (rd(b, PX(p, PX_CI)) & 1)
		sched_yield();
	check(memcmp(mem_ptr(&b->b.mem, DATA + 54, 6), "HXVY E", 6) == 0);
}

static void check_alive(struct board *b)
{
	u64 cfg = ECAM + (1u << 15);

	space_write(&b->b.memory, cfg + PCI_COMMAND, 2, 0); /* the BAR back to where it was */
	space_write(&b->b.memory, cfg + PCI_BAR0 + 20, 4, b->b.bar);
	space_write(&b->b.memory, cfg + PCI_COMMAND, 2, PCI_CMD_MEM);
	set(b, REG_GHC, 1);
	for (unsigned p = 0; p < PORTS; p++) {
		check(b->h->port[p].inflight == 0);
		identify(b, p);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));

	check(b != NULL);
	board_init(b, take(&in, 1));
	while (in.left) {
		step(b, &in);
		check_ports(b);
	}
	check_alive(b);
	board_fini(b);
	free(b);
	return 0;
}

/* --- seeds --- */

/* A command in a slot of a port: header, FIS, buffers of 4 KiB in two pieces, issue. */
static void emit_command(struct out *o, unsigned p, unsigned slot, u8 pick, const u8 *cdb)
{
	u64 where = p | slot << 2;

	emit(o, 3 | where << 8 | 2 << 16, 3);
	emit(o, 5 | where << 8 | (u64)pick << 16 | 3 << 24, 4);
	emit(o, 4, 2); /* four sectors */
	if (cdb) {
		emit(o, 7 | (where | 0x80) << 8 | 0x80 << 16, 3);
		for (unsigned n = 0; n < 12; n++)
			emit(o, cdb[n], 1);
		if (cdb[0] == 0xbe)
			emit(o, cdb[9], 1);
	}
	emit(o, 9 | where << 8, 3);
	emit(o, 0x100, 2);
	emit(o, 1021, 2);
	emit(o, 9 | where << 8 | 1 << 16, 3);
	emit(o, 0x1000, 2);
	emit(o, 0x7fff, 2);
	emit(o, 11 | where << 8 | (u64)(pick == 14 || pick == 15) << 16, 3);
}

static const u8 cdbs[][12] = {{0x28, 0, 0, 0, 0, 3, 0, 0, 4}, {0xbe, 0, 0, 0, 0, 1, 0, 0, 4, 0xf8},
        {0x43, 2, 0, 0, 0, 0, 0, 0, 64}, {0x43, 0, 2, 0, 0, 0, 0, 0, 64}, {0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0},
        {0x46, 0, 0, 0, 0, 0, 0, 1, 0}, {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8}, {0x1b, 0, 0, 0, 2},
        {0x1b, 0, 0, 0, 3}, {0x12, 1, 0x83, 0, 96}, {0x51, 0, 0, 0, 0, 0, 0, 0, 64},
        {0x55, 0x10, 0, 0, 0, 0, 0, 0, 20}, {0xb9, 0, 0, 0, 2, 4, 0, 2, 6, 0x10},
        {0xad, 0, 0, 0, 0, 0, 0, 0, 8, 0}, {0x03, 0, 0, 0, 18}};

/* Seed n: board n & 7; a port's worth of commands, disks' or packets, a change of discs, a reset. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	struct out o = {.buf = buf, .cap = cap};
	unsigned p = n % PORTS;

	if (n >= 24)
		return 0;
	emit(&o, n & 7, 1);
	emit(&o, 13 | p << 4, 1);
	for (unsigned i = 0; i < 12; i++) {
		if (p)
			emit_command(&o, p, i, 17, cdbs[(n * 5 + i) % ARRAY_SIZE(cdbs)]);
		else
			emit_command(&o, p, i, (u8)((n * 7 + i) % 34), NULL);
		if (i == 6)
			emit(&o, 14 | (n & 15) << 8, 2);
	}
	emit(&o, 0, 1); /* PxCMD := 0 */
	emit(&o, (0x100 + 0x80 * p + 0x18) / 4 | 2 << 14, 2);
	emit(&o, 0, 4);
	emit(&o, 0x8f, 1);
	return o.len;
}
