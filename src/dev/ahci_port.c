/*
 * A port of the SATA controller: its registers, the link to the drive and the resets. Commands are in
 * ahci_cmd.c. Section numbers are those of AHCI 1.3.
 *
 * Whoever stops a port waits for the block requests that write to the guest's buffers. The lock is free
 * meanwhile: other accesses to the port's registers wait in ahci_port_write.
 */
#include "dev/ahci_int.h"

#include <errno.h>
#include <stdlib.h>

/* Port registers (3.3) */
#define PX_CLB 0x00
#define PX_CLBU 0x04
#define PX_FB 0x08
#define PX_FBU 0x0c
#define PX_IS 0x10
#define PX_IE 0x14
#define PX_CMD 0x18
#define PX_TFD 0x20
#define PX_SIG 0x24
#define PX_SSTS 0x28
#define PX_SCTL 0x2c
#define PX_SERR 0x30
#define PX_SACT 0x34
#define PX_CI 0x38

/* PxSSTS (3.3.10), PxSCTL (3.3.11) */
#define DET_MASK 0xfu
#define DET_NONE 0u
#define DET_RESET 1u
#define DET_UP 3u
#define DET_OFFLINE 4u
#define SPD_SHIFT 4
#define SPD_MAX 3u /* 6 Gb/s */
#define SSTS_ACTIVE 0x100u
#define SCTL_WRITABLE 0xfffu

#define SERR_DIAG_X BIT(26) /* 3.3.12: COMINIT received */
#define SERR_WRITABLE 0x07ff0f03u

#define CLB_ALIGN 1024u
#define FB_ALIGN 256u

#define NO_SIGNATURE 0xffffffffu
#define NO_STATUS 0x7f

/* --- waiting --- */

static void wait_for_drain(struct ahci_port *p)
{
	while (p->draining)
		pthread_cond_wait(&p->hba->idle, &p->hba->lock);
}

void ahci_port_drain(struct ahci_port *p)
{
	p->draining++;
	while (p->inflight)
		pthread_cond_wait(&p->hba->idle, &p->hba->lock);
	p->draining--;
	pthread_cond_broadcast(&p->hba->idle);
}

/* --- the link and the drive --- */

static void link_down(struct ahci_port *p, u32 det)
{
	ahci_port_drain(p);
	p->ssts = det;
	p->ci = p->sact = 0;
	p->sig = NO_SIGNATURE;
	p->regs = (struct ata_regs){.status = NO_STATUS};
	p->announce = p->srst = false;
}

/* The drive answers COMRESET and sends its signature (10.4.2). */
static void link_up(struct ahci_port *p)
{
	u32 limit = p->sctl >> SPD_SHIFT & 0xf;

	p->ssts = SSTS_ACTIVE | (limit ? MIN(limit, SPD_MAX) : SPD_MAX) << SPD_SHIFT | DET_UP;
	p->ops->reset(p, true);
	p->ncq_error.valid = false;
	p->halted = false;
	p->serr |= SERR_DIAG_X;
	ahci_post_signature(p);
	ahci_raise(p, PXIS_PCS);
}

static void write_sctl(struct ahci_port *p, u32 val)
{
	u32 was = p->sctl & DET_MASK, now = val & DET_MASK;

	p->sctl = val & SCTL_WRITABLE;
	if (now == was)
		return;
	if (now == DET_RESET)
		link_down(p, DET_NONE);
	else if (now == DET_OFFLINE)
		link_down(p, DET_OFFLINE);
	else if (now == DET_NONE && (p->ssts & DET_MASK) != DET_UP)
		link_up(p);
}

void ahci_port_reset(struct ahci_port *p)
{
	wait_for_drain(p);
	p->cmd = PXCMD_SUD | PXCMD_POD;
	p->sctl = 0;
	p->ie = 0;
	link_down(p, DET_NONE);
	link_up(p);
	p->serr = p->is = 0;
	p->ccs = 0;
}

/* --- PxCMD (3.3.7) --- */

/* 10.3.2: what was issued is gone; the drive has nothing to do any more. */
static void stop(struct ahci_port *p)
{
	p->cmd &= ~(PXCMD_ST | PXCMD_CR);
	ahci_port_drain(p);
	p->ci = p->sact = 0;
	p->ccs = 0;
	p->halted = false;
	p->regs.status &= (u8) ~(ATA_BSY | ATA_DRQ);
}

static void start(struct ahci_port *p)
{
	p->cmd |= PXCMD_ST | PXCMD_CR;
	p->halted = false;
}

static void switch_receive(struct ahci_port *p, bool on)
{
	if (!on) {
		if (!(p->cmd & PXCMD_ST)) /* 10.3.2: never before ST */
			p->cmd &= ~(PXCMD_FRE | PXCMD_FR);
		return;
	}
	p->cmd |= PXCMD_FRE | PXCMD_FR;
	if (p->announce)
		ahci_post_signature(p);
}

static void write_cmd(struct ahci_port *p, u32 val)
{
	if ((p->cmd & PXCMD_ST) && !(val & PXCMD_ST))
		stop(p);
	if ((val & PXCMD_CLO) && !(p->cmd & PXCMD_ST))
		p->regs.status &= (u8) ~(ATA_BSY | ATA_DRQ);
	switch_receive(p, val & PXCMD_FRE);
	p->cmd = (p->cmd & ~(PXCMD_ATAPI | PXCMD_DLAE)) | (val & (PXCMD_ATAPI | PXCMD_DLAE));
	if ((val & PXCMD_ST) && !(p->cmd & PXCMD_ST))
		start(p);
}

/* --- registers --- */

/* PxIS.PCS is PxSERR.DIAG.X (3.3.5). */
static void write_serr(struct ahci_port *p, u32 val)
{
	p->serr &= ~(val & SERR_WRITABLE);
	if (!(p->serr & SERR_DIAG_X))
		p->is &= ~PXIS_PCS;
}

static void write_is(struct ahci_port *p, u32 val)
{
	p->is &= ~(val & PXIS_ALL & ~PXIS_PCS);
}

static u64 with_low(u64 was, u32 val, u32 align)
{
	return (was & ~0xffffffffull) | (val & ~(align - 1));
}

static u64 with_high(u64 was, u32 val)
{
	return (u64)val << 32 | (u32)was;
}

u32 ahci_port_read(struct ahci_port *p, unsigned off)
{
	switch (off) {
	case PX_CLB: return (u32)p->clb;
	case PX_CLBU: return (u32)(p->clb >> 32);
	case PX_FB: return (u32)p->fb;
	case PX_FBU: return (u32)(p->fb >> 32);
	case PX_IS: return p->is;
	case PX_IE: return p->ie;
	case PX_CMD: return p->cmd | (u32)p->ccs << PXCMD_CCS_SHIFT;
	case PX_TFD: return (u32)p->regs.error << 8 | p->regs.status;
	case PX_SIG: return p->sig;
	case PX_SSTS: return p->ssts;
	case PX_SCTL: return p->sctl;
	case PX_SERR: return p->serr;
	case PX_SACT: return p->sact;
	case PX_CI: return p->ci;
	default: return 0;
	}
}

void ahci_port_write(struct ahci_port *p, unsigned off, u32 val)
{
	wait_for_drain(p);
	switch (off) {
	case PX_CLB: p->clb = with_low(p->clb, val, CLB_ALIGN); break;
	case PX_CLBU: p->clb = with_high(p->clb, val); break;
	case PX_FB: p->fb = with_low(p->fb, val, FB_ALIGN); break;
	case PX_FBU: p->fb = with_high(p->fb, val); break;
	case PX_IS: write_is(p, val); break;
	case PX_IE:
		p->ie = val & PXIS_ALL;
		ahci_update_irq(p->hba);
		break;
	case PX_CMD: write_cmd(p, val); break;
	case PX_SCTL: write_sctl(p, val); break;
	case PX_SERR: write_serr(p, val); break;
	case PX_SACT:
		if (p->cmd & PXCMD_ST)
			p->sact |= val;
		break;
	case PX_CI:
		if (p->cmd & PXCMD_ST)
			p->ci |= val;
		break;
	default: break;
	}
	ahci_port_run(p);
}

/* --- life --- */

static int make_queue(struct ahci_port *p)
{
	return p->block ? block_queue_create(&p->io, p->block, BLOCK_WORKERS) : 0;
}

int ahci_port_init(struct ahci_port *p, struct ahci *h, unsigned index, const struct ahci_drive_config *c)
{
	const char *serial = c->serial ? c->serial : c->block ? c->block->serial : "";
	int rc;

	p->hba = h;
	p->index = index;
	p->block = c->block;
	p->ops = c->cd ? &atapi_drive : &ata_drive;
	if (!c->cd && (!c->block || c->block->logical > AHCI_SECTOR_MAX))
		return -EINVAL;
	memcpy(p->serial, serial, strnlen(serial, sizeof(p->serial)));
	rc = make_queue(p);
	if (rc < 0)
		return rc;
	for (unsigned n = 0; n < AHCI_SLOTS; n++) {
		p->slot[n].port = p;
		p->slot[n].slot = (u8)n;
	}
	if (c->cd)
		atapi_init(p);
	else
		ata_init(p);
	ahci_port_reset(p);
	return 0;
}

void ahci_port_fini(struct ahci_port *p)
{
	if (p->io)
		block_queue_destroy(p->io); /* its threads have left the lock then */
	for (unsigned n = 0; n < AHCI_SLOTS; n++)
		free(p->slot[n].iov);
}
