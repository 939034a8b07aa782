/*
 * A SATA controller on a bus, with disks in memory, and what a driver does with it: ports, command lists,
 * FISes, buffers.
 */
#pragma once

#include "dev/ahci.h"

#include "memory_disk.h"
#include "virtio_rig.h"
#include <errno.h>

#define SATA_PORTS 3

/* Where the driver of a port keeps things; slots have tables of 4 KiB. */
#define LIST_AT(p) (0x100000ull + (p)*0x40000ull)
#define FIS_AT(p) (LIST_AT(p) + 0x400)
#define TABLE_AT(p, slot) (LIST_AT(p) + 0x1000ull * ((slot) + 1))
#define PRDS_MAX 248
#define BUF 0x300000ull
#define CANARY 0xc5

/* Registers */
#define GHC 0x04
#define GIS 0x08
#define PXIS 0x10
#define PXIE 0x14
#define PXCMD 0x18
#define PXTFD 0x20
#define PXSIG 0x24
#define PXSSTS 0x28
#define PXSCTL 0x2c
#define PXSERR 0x30
#define PXSACT 0x34
#define PXCI 0x38

#define ST 1u
#define CLO 8u
#define FRE 0x10u
#define DHRS 1u
#define PSS 2u
#define SDBS 8u
#define DPS 0x20u
#define PCS 0x40u
#define OFS BIT(24)
#define IFS BIT(27)
#define HBFS BIT(29)
#define TFES BIT(30)
#define TROUBLE (IFS | HBFS | TFES)

struct prd {
	u64 addr;
	u32 len; /* bytes, even; 0: what the field's 0 means, 1 byte, made 2 */
};

/* What the driver wants: registers of the FIS, and a packet for CD drives. */
struct want {
	u8 command, device;
	u16 features, count;
	u64 lba;
	u8 cdb[16];
	u32 len; /* of a buffer at BUF, unless prds are given */
	const struct prd *prds;
	unsigned nprds;
	u8 control; /* with command 0: a control FIS */
};

struct sata {
	struct rig r;
	struct disk disk[SATA_PORTS + 1]; /* the last one is in no drive at first */
	struct ahci *h;
};

struct sata_opts {
	bool cd[SATA_PORTS], empty[SATA_PORTS];
	bool ro, no_discard, large; /* large: 2 * SECTORS */
	u32 logical;
	enum irq_mode irq;
	unsigned ports; /* 0: 1 */
};

static inline void sata_disk(struct disk *d, const struct sata_opts *o, unsigned n)
{
	u32 logical = o->logical ? o->logical : 512;

	d->b = (struct block){.ops = &disk_ops,
	        .size = SECTORS * 512 * (o->large ? 2 : 1),
	        .logical = logical,
	        .physical = MAX(logical, 4096u),
	        .grain = o->no_discard ? 0 : 512,
	        .ro = o->ro,
	        .serial = "XH-1234567890-ABCDEF"};
	for (unsigned i = 0; i < sizeof(d->data); i++)
		d->data[i] = (u8)(i / 512 * 7 + i + n * 31);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->opened, NULL);
}

static inline struct sata *sata_make(const struct sata_opts *o)
{
	struct sata *s = calloc(1, sizeof(*s));
	struct ahci_config c = {.nports = o->ports ? o->ports : 1};

	assert_non_null(s);
	rig_init(&s->r);
	c.mem = &s->r.mem;
	for (unsigned n = 0; n < ARRAY_SIZE(s->disk); n++)
		sata_disk(&s->disk[n], o, n);
	for (unsigned n = 0; n < c.nports; n++)
		c.drive[n] = (struct ahci_drive_config){.cd = o->cd[n],
		        .block = o->empty[n] ? NULL : &s->disk[n].b,
		        .serial = o->cd[n] ? "CD-1" : NULL};
	assert_int_equal(ahci_create(&s->h, &c), 0);
	rig_plug(&s->r, ahci_pci(s->h));
	s->r.bar = get_le32(&s->r.dev->cfg[PCI_BAR0 + 20]) & ~15u;
	enable_irqs(&s->r, o->irq);
	memset(s->r.mem.base + BUF, CANARY, 0x40000);
	return s;
}

static inline void sata_free(struct sata *s)
{
	ahci_destroy(s->h);
	for (unsigned n = 0; n < ARRAY_SIZE(s->disk); n++) {
		pthread_mutex_destroy(&s->disk[n].lock);
		pthread_cond_destroy(&s->disk[n].opened);
	}
	rig_fini(&s->r);
	free(s);
}

static inline u32 hba_rd(struct sata *s, unsigned off)
{
	return (u32)rd(&s->r, off, 4);
}

static inline void hba_wr(struct sata *s, unsigned off, u32 val)
{
	wr(&s->r, off, 4, val);
}

static inline u32 px(struct sata *s, unsigned port, unsigned off)
{
	return hba_rd(s, 0x100 + 0x80 * port + off);
}

static inline void set_px(struct sata *s, unsigned port, unsigned off, u32 val)
{
	hba_wr(s, 0x100 + 0x80 * port + off, val);
}

static inline u8 *at(struct sata *s, u64 gpa)
{
	return s->r.mem.base + gpa;
}

/* --- a driver --- */

static inline void port_up(struct sata *s, unsigned p)
{
	memset(at(s, LIST_AT(p)), 0, 0x800);
	set_px(s, p, 0x00, (u32)LIST_AT(p));
	set_px(s, p, 0x08, (u32)FIS_AT(p));
	set_px(s, p, PXSERR, ~0u);
	set_px(s, p, PXIS, ~0u);
	set_px(s, p, PXIE, 0xfdc000ff);
	set_px(s, p, PXCMD, FRE);
	set_px(s, p, PXCMD, FRE | ST);
	hba_wr(s, GHC, 2);
}

/* As drivers do after an error. */
static inline void port_recover(struct sata *s, unsigned p)
{
	set_px(s, p, PXCMD, FRE);
	assert_int_equal(px(s, p, PXCI), 0);
	assert_int_equal(px(s, p, PXSACT), 0);
	set_px(s, p, PXSERR, ~0u);
	set_px(s, p, PXIS, ~0u);
	hba_wr(s, GIS, ~0u);
	set_px(s, p, PXCMD, FRE | ST);
}

static inline void put_prd(struct sata *s, unsigned p, unsigned slot, unsigned n, u64 addr, u32 dw3)
{
	u8 *d = at(s, TABLE_AT(p, slot) + 0x80 + 16 * n);

	put_le64(d, addr);
	put_le32(d + 8, 0);
	put_le32(d + 12, dw3);
}

static inline void put_fis(u8 *t, const struct want *w)
{
	memset(t, 0, 0x80);
	t[0] = 0x27;
	t[1] = w->command ? 0x80 : 0;
	t[2] = w->command;
	t[3] = (u8)w->features;
	for (unsigned n = 0; n < 3; n++) {
		t[4 + n] = (u8)(w->lba >> 8 * n);
		t[8 + n] = (u8)(w->lba >> (24 + 8 * n));
	}
	t[7] = w->device;
	t[11] = (u8)(w->features >> 8);
	put_le16(t + 12, w->count);
	t[15] = w->control;
	memcpy(t + 0x40, w->cdb, 16);
}

static inline void prepare(struct sata *s, unsigned p, unsigned slot, const struct want *w)
{
	u8 *h = at(s, LIST_AT(p) + 32 * slot);
	unsigned n = w->prds ? w->nprds : w->len ? 1 : 0;

	assert_true(n <= PRDS_MAX);
	put_fis(at(s, TABLE_AT(p, slot)), w);
	for (unsigned i = 0; w->prds && i < n; i++)
		put_prd(s, p, slot, i, w->prds[i].addr, w->prds[i].len ? w->prds[i].len - 1 : 0);
	if (!w->prds && n)
		put_prd(s, p, slot, 0, BUF, w->len - 1);
	memset(h, 0, 32);
	put_le32(h, 5 | (w->cdb[0] || w->command == 0xa0 ? 0x20 : 0) | n << 16);
	put_le64(h + 8, TABLE_AT(p, slot));
}

static inline u32 prdbc(struct sata *s, unsigned p, unsigned slot)
{
	return get_le32(at(s, LIST_AT(p) + 32 * slot + 4));
}

/* Until the slots and tags are done, or the port has stopped for an error; its PxIS. */
static inline u32 wait_for(struct sata *s, unsigned p, u32 slots)
{
	time_t end = time(NULL) + 20;
	u32 is;

	for (;;) {
		is = px(s, p, PXIS);
		if (is & TROUBLE)
			return is;
		if (!((px(s, p, PXCI) | px(s, p, PXSACT)) & slots))
			return px(s, p, PXIS);
		assert_true(time(NULL) < end);
		sched_yield();
	}
}

/* In slot 0; the status and error registers at the end. */
static inline u16 run(struct sata *s, unsigned p, const struct want *w)
{
	set_px(s, p, PXIS, ~0u);
	prepare(s, p, 0, w);
	if (w->command == 0x60 || w->command == 0x61)
		set_px(s, p, PXSACT, 1);
	set_px(s, p, PXCI, 1);
	wait_for(s, p, 1);
	return (u16)px(s, p, PXTFD);
}

static inline u16 run_and_recover(struct sata *s, unsigned p, const struct want *w)
{
	u16 tfd = run(s, p, w);

	if (px(s, p, PXIS) & TROUBLE)
		port_recover(s, p);
	return tfd;
}

/* Bytes of len at addr are all val. */
static inline void assert_filled(struct sata *s, u64 addr, u32 len, u8 val)
{
	for (u32 n = 0; n < len; n++)
		assert_int_equal(at(s, addr)[n], val);
}

static inline void wait_at_gate(struct disk *d, unsigned n)
{
	time_t end = time(NULL) + 20;

	while (count(d, &d->at_gate) < n) {
		assert_true(time(NULL) < end);
		sched_yield();
	}
}
