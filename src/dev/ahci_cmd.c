/*
 * Commands of the SATA controller: fetched from the guest's list, their buffers mapped, handed to the drive,
 * answered with FISes. Section numbers are those of AHCI 1.3.
 *
 * Header, command FIS and each buffer descriptor are read once and used from the copy. What leads out of
 * RAM, the controller's own registers included, is a host bus error.
 */
#include "dev/ahci_int.h"

#include "block/iov.h"
#include <errno.h>
#include <stdlib.h>

/* Command list and table (4.2.2, 4.2.3) */
#define HEADER_SIZE 32u
#define HEADER_READ 16u
#define HEADER_PRDBC 4u
#define HEADER_CTBA 8u
#define CTBA_ALIGN 128u
#define TABLE_ACMD 0x40u
#define TABLE_READ 0x50u
#define TABLE_PRDT 0x80u

#define PRD_SIZE 16u
#define PRD_DBC 0x3fffffu
#define PRD_I BIT(31)

/* FISes (SATA 10.3) and where they are received (4.2.1) */
#define FIS_H2D 0x27
#define FIS_D2H 0x34
#define FIS_SDB 0xa1
#define FIS_PIO_SETUP 0x5f
#define FIS_C 0x80 /* update of the command register */
#define FIS_I 0x40
#define FIS_D 0x20 /* PIO Setup: to the host */
#define CONTROL_SRST 0x04
#define RFIS_AT 0x40
#define PSFIS_AT 0x20
#define SDBFIS_AT 0x58

#define READ_FPDMA 0x60
#define WRITE_FPDMA 0x61

#define DET_MASK 0xfu
#define DET_UP 3u

#define IOV_KEEP 512u /* entries that a slot keeps between commands */

/* --- errors of the transport (6.1.2) --- */

/* The port stands still until software clears PxCMD.ST. */
static void fatal(struct ahci_port *p, u32 bit)
{
	p->halted = true;
	ahci_raise(p, bit);
}

/* --- FISes to the guest --- */

static void post(struct ahci_port *p, unsigned at, const void *fis, unsigned len)
{
	if (!(p->cmd & PXCMD_FRE))
		return;
	if (mem_write(p->hba->mem, p->fb + at, fis, len) < 0)
		fatal(p, PXIS_HBFS);
}

static void put_regs(u8 fis[static 20], const struct ata_regs *r)
{
	fis[2] = r->status;
	fis[3] = r->error;
	fis[7] = r->device;
	for (unsigned n = 0; n < 3; n++) {
		fis[4 + n] = (u8)(r->lba >> 8 * n);
		fis[8 + n] = (u8)(r->lba >> (24 + 8 * n));
	}
	put_le16(fis + 12, r->count);
}

static void post_d2h(struct ahci_port *p, const struct ata_regs *r, bool interrupt)
{
	u8 fis[20] = {FIS_D2H, interrupt ? FIS_I : 0};

	put_regs(fis, r);
	post(p, RFIS_AT, fis, sizeof(fis));
	if (interrupt)
		ahci_raise(p, PXIS_DHRS);
}

/* The status at the end of the transfer comes in E_STATUS. */
static void post_pio_setup(struct ahci_port *p, const struct ata_regs *r, u64 len)
{
	u8 fis[20] = {FIS_PIO_SETUP, FIS_I | FIS_D};

	put_regs(fis, r);
	fis[2] = (u8)(r->status | ATA_DRQ);
	fis[15] = r->status;
	put_le16(fis + 16, (u16)MIN(len, 0x2000u));
	post(p, PSFIS_AT, fis, sizeof(fis));
	ahci_raise(p, PXIS_PSS);
}

static void post_sdb(struct ahci_port *p, const struct ata_regs *r, u32 tags)
{
	u8 fis[8] = {FIS_SDB, FIS_I, r->status & 0x77, r->error};

	put_le32(fis + 4, tags);
	post(p, SDBFIS_AT, fis, sizeof(fis));
	ahci_raise(p, PXIS_SDBS);
}

void ahci_post_signature(struct ahci_port *p)
{
	const struct ata_regs *r = &p->ops->ready;

	p->regs = *r;
	p->sig = (u32)r->lba << 8 | (r->count & 0xff);
	p->announce = !(p->cmd & PXCMD_FRE);
	if (!p->announce)
		post_d2h(p, r, false);
}

/* --- buffers (4.2.3.3) --- */

static bool grow(struct ahci_cmd *c)
{
	u32 cap = c->iov_cap ? c->iov_cap * 2 : 32;
	struct iovec *v = reallocarray(c->iov, cap, sizeof(*v));

	if (!v)
		return false;
	c->iov = v;
	c->iov_cap = cap;
	return true;
}

static int add_buffer(struct ahci_cmd *c, u64 addr, u64 len)
{
	u8 *p = mem_ptr(c->port->hba->mem, addr, len);
	struct iovec *last = c->niov ? &c->iov[c->niov - 1] : NULL;

	if (!p)
		return -EFAULT;
	c->mapped += len;
	if (last && (u8 *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
		return 0;
	}
	if ((u32)c->niov == c->iov_cap && !grow(c))
		return -ENOMEM;
	c->iov[c->niov++] = (struct iovec){.iov_base = p, .iov_len = len};
	return 0;
}

static int add_descriptor(struct ahci_cmd *c, u32 n, u64 want)
{
	u8 d[PRD_SIZE];
	u32 dw3;

	if (mem_read(c->port->hba->mem, c->table + TABLE_PRDT + (u64)n * PRD_SIZE, d, sizeof(d)) < 0)
		return -EFAULT;
	dw3 = get_le32(d + 12);
	c->dps |= (dw3 & PRD_I) != 0;
	return add_buffer(c, get_le64(d) & ~1ull, MIN(((u64)(dw3 & PRD_DBC) | 1) + 1, want - c->mapped));
}

static void release(struct ahci_cmd *c);

bool ahci_map(struct ahci_cmd *c, u64 want, bool all)
{
	struct ahci_port *p = c->port;
	int rc = 0;

	c->niov = 0;
	c->mapped = 0;
	for (u32 n = 0; n < HEADER_PRDTL(c->flags) && c->mapped < want && rc == 0; n++)
		rc = add_descriptor(c, n, want);
	if (rc == -EFAULT) {
		fatal(p, PXIS_HBFS);
		release(c);
		return false;
	}
	if (rc == 0 && all && c->mapped < want) {
		ahci_raise(p, PXIS_OFS);
		rc = -EINVAL;
	}
	if (rc < 0)
		p->ops->abort(c);
	return rc == 0;
}

void ahci_give(struct ahci_cmd *c, const void *buf, u64 len)
{
	u64 n = MIN(len, c->mapped - c->done);

	c->to_guest = true;
	iov_from_buf(c->iov, c->niov, c->done, buf, n);
	c->done += n;
}

/* --- the end of a command --- */

static void release(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;

	for (int n = 0; n < c->niov && c->to_guest; n++)
		mem_wrote(
		        p->hba->mem, (u64)((u8 *)c->iov[n].iov_base - p->hba->mem->base), c->iov[n].iov_len);
	free(c->bounce);
	c->bounce = NULL;
	if (c->iov_cap > IOV_KEEP) {
		free(c->iov);
		c->iov = NULL;
		c->iov_cap = 0;
	}
	c->busy = false;
	p->inflight--;
	if (c->ncq)
		p->tags &= ~BIT(c->tag);
	if (p->exclusive == c)
		p->exclusive = NULL;
	if (p->draining || p->paused)
		pthread_cond_broadcast(&p->hba->idle);
}

static void end_queued(struct ahci_cmd *c, const struct ata_regs *r)
{
	struct ahci_port *p = c->port;

	if (r->status & ATA_ERR) {
		p->ncq_error.valid = true;
		p->ncq_error.tag = c->tag;
		p->ncq_error.regs = *r;
		post_sdb(p, r, 0);
		return;
	}
	p->sact &= ~BIT(c->tag);
	post_sdb(p, r, BIT(c->tag));
}

static void end_exclusive(struct ahci_cmd *c, const struct ata_regs *r)
{
	struct ahci_port *p = c->port;
	u8 prdbc[4];

	put_le32(prdbc, (u32)c->done);
	if (mem_write(p->hba->mem, c->header + HEADER_PRDBC, prdbc, sizeof(prdbc)) < 0)
		fatal(p, PXIS_HBFS);
	if (!(r->status & ATA_ERR))
		p->ci &= ~BIT(c->slot);
	if (c->pio && !(r->status & ATA_ERR))
		post_pio_setup(p, r, c->done);
	else
		post_d2h(p, r, true);
}

/* Buffers are released before the guest can hear of the end: it may use them at once. */
void ahci_end(struct ahci_cmd *c, const struct ata_regs *r)
{
	struct ahci_port *p = c->port;

	release(c);
	if (p->halted)
		return;
	p->regs = *r;
	if (c->ncq)
		end_queued(c, r);
	else
		end_exclusive(c, r);
	if (c->dps)
		ahci_raise(p, PXIS_DPS);
	if (r->status & ATA_ERR)
		fatal(p, PXIS_TFES);
	else
		ahci_port_run(p);
}

/* --- the block layer --- */

/* On a worker, lock not held. */
static void io_done(struct block_req *io)
{
	struct ahci_cmd *c = container_of(io, struct ahci_cmd, io);
	struct ahci *h = c->port->hba;

	pthread_mutex_lock(&h->lock);
	if (c->port->draining)
		release(c);
	else
		c->then(c, io->result);
	pthread_mutex_unlock(&h->lock);
}

void ahci_submit(struct ahci_cmd *c, enum block_op op, u64 off, u64 len, void (*then)(struct ahci_cmd *, int))
{
	c->then = then;
	c->io = (struct block_req){.op = op,
	        .iov = c->bounce ? &c->bounce_iov : c->iov,
	        .niov = c->bounce ? 1 : c->niov,
	        .off = off,
	        .len = len,
	        .done = io_done};
	block_submit(c->port->io, &c->io);
}

/* --- the beginning of a command --- */

static void decode(struct ahci_cmd *c, const u8 table[static TABLE_READ])
{
	c->command = table[2];
	c->features = (u16)(table[3] | table[11] << 8);
	c->device = table[7];
	c->lba = (get_le32(table + 4) & 0xffffff) | (u64)(get_le32(table + 8) & 0xffffff) << 24;
	c->count = get_le16(table + 12);
	memcpy(c->cdb, table + TABLE_ACMD, sizeof(c->cdb));
	c->to_guest = c->pio = c->fua = c->dps = false;
	c->niov = 0;
	c->mapped = c->done = 0;
	c->at = c->left = 0;
	c->tag = (u8)(c->count >> 3 & 31);
}

/* A drive that has accepted a queued command is ready for the next (SATA 13.6). */
static void accept_queued(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;

	p->tags |= BIT(c->tag);
	p->ci &= ~BIT(c->slot);
	p->regs = (struct ata_regs){.status = ATA_DRDY | ATA_DSC};
	post_d2h(p, &p->regs, false);
}

/* False: not yet, because others are in flight that it cannot join. */
static bool begin(struct ahci_cmd *c, const u8 table[static TABLE_READ])
{
	struct ahci_port *p = c->port;
	bool queued = p->ops->queued && (table[2] == READ_FPDMA || table[2] == WRITE_FPDMA);

	if (p->inflight && (!queued || p->tags & BIT(table[12] >> 3)))
		return false;
	decode(c, table);
	c->ncq = queued;
	c->busy = true;
	p->inflight++;
	if (queued) {
		accept_queued(c);
	} else {
		p->exclusive = c;
		p->regs.status = ATA_BSY;
	}
	p->ops->start(c);
	return true;
}

/*
 * Software reset (10.4.1): a FIS sets SRST, another one clears it and starts the drive again. False: not yet.
 * It comes after what is in flight, whose buffers are in use; nobody waits for that here, because this may
 * run on a thread of the block layer.
 */
static bool control(struct ahci_port *p, unsigned slot, u8 val)
{
	bool srst = val & CONTROL_SRST;

	if (p->inflight)
		return false;
	p->ci &= ~BIT(slot);
	if (srst) {
		p->regs.status = ATA_BSY;
	} else if (p->srst) {
		p->ops->reset(p, false);
		p->ncq_error.valid = false;
		ahci_post_signature(p);
	}
	p->srst = srst;
	return true;
}

static bool fetch(struct ahci_port *p, unsigned slot)
{
	struct ahci_cmd *c = &p->slot[slot];
	u8 header[HEADER_READ], table[TABLE_READ], before = p->ccs;

	p->ccs = (u8)slot;
	c->header = p->clb + HEADER_SIZE * slot;
	if (mem_read(p->hba->mem, c->header, header, sizeof(header)) < 0) {
		fatal(p, PXIS_HBFS);
		return false;
	}
	c->flags = get_le32(header);
	c->table = ALIGN_DOWN(get_le64(header + HEADER_CTBA), (u64)CTBA_ALIGN);
	if (mem_read(p->hba->mem, c->table, table, sizeof(table)) < 0) {
		fatal(p, PXIS_HBFS);
		return false;
	}
	if (table[0] != FIS_H2D) { /* no drive takes it */
		fatal(p, PXIS_IFS);
		return false;
	}
	if (table[1] & FIS_C ? begin(c, table) : control(p, slot, table[15]))
		return true;
	p->ccs = before; /* it stays the next one */
	return false;
}

static bool may_fetch(const struct ahci_port *p)
{
	return (p->cmd & PXCMD_ST) && !p->halted && !p->draining && !p->paused && !p->exclusive &&
	       (p->ssts & DET_MASK) == DET_UP;
}

/* The next slot after the last one that was fetched; -1: none. */
static int next_slot(const struct ahci_port *p)
{
	for (unsigned n = 1; n <= AHCI_SLOTS; n++) {
		unsigned slot = (p->ccs + n) % AHCI_SLOTS;

		if (p->ci & BIT(slot) && !p->slot[slot].busy)
			return (int)slot;
	}
	return -1;
}

/* Commands that end at once come back here by way of ahci_end: the loop is the outermost one's. */
void ahci_port_run(struct ahci_port *p)
{
	int slot;

	if (p->running)
		return;
	p->running = true;
	while (may_fetch(p) && (slot = next_slot(p)) >= 0)
		if (!fetch(p, (unsigned)slot))
			break;
	p->running = false;
}
