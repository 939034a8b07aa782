/*
 * Private to the SATA controller: the host bus adapter (ahci.c), its ports (ahci_port.c, ahci_cmd.c), and the
 * drives (ata*.c, atapi*.c). Numbers are sections of AHCI 1.3, of ACS-2 and of MMC-6.
 *
 * One lock guards everything. A command begins when the port fetches it from the guest's list, belongs to
 * the drive until the drive calls one of the functions that end it, and may wait for the block layer in
 * between. There is one struct for each slot, so their number is bounded.
 */
#pragma once

#include "block/queue.h"
#include "dev/ahci.h"

#define AHCI_SLOTS 32u

/* SCSI counts from the other end. */
static inline u32 get_be16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static inline u32 get_be24(const u8 *p)
{
	return (u32)p[0] << 16 | get_be16(p + 1);
}

static inline u32 get_be32(const u8 *p)
{
	return get_be16(p) << 16 | get_be16(p + 2);
}

static inline void put_be16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static inline void put_be32(u8 *p, u32 v)
{
	put_be16(p, v >> 16);
	put_be16(p + 2, v);
}

/* Status and error registers of a drive (ACS-2 6.1, 6.2) */
#define ATA_BSY 0x80
#define ATA_DRDY 0x40
#define ATA_DSC 0x10
#define ATA_DRQ 0x08
#define ATA_ERR 0x01

#define ATA_UNC 0x40
#define ATA_IDNF 0x10
#define ATA_ABRT 0x04

/* PxCMD (3.3.7) */
#define PXCMD_ST BIT(0)
#define PXCMD_SUD BIT(1)
#define PXCMD_POD BIT(2)
#define PXCMD_CLO BIT(3)
#define PXCMD_FRE BIT(4)
#define PXCMD_CCS_SHIFT 8
#define PXCMD_FR BIT(14)
#define PXCMD_CR BIT(15)
#define PXCMD_ATAPI BIT(24)
#define PXCMD_DLAE BIT(25)

/* PxIS and PxIE (3.3.5) */
#define PXIS_DHRS BIT(0)
#define PXIS_PSS BIT(1)
#define PXIS_SDBS BIT(3)
#define PXIS_DPS BIT(5)
#define PXIS_PCS BIT(6)
#define PXIS_OFS BIT(24)
#define PXIS_IFS BIT(27)
#define PXIS_HBFS BIT(29)
#define PXIS_TFES BIT(30)
#define PXIS_ALL 0xfdc000ffu

/* Command header, first dword (4.2.2) */
#define HEADER_PRDTL(dw) ((dw) >> 16)

struct ahci_port;

/* The registers that a drive shows and that a FIS carries (5.2 of SATA) */
struct ata_regs {
	u8 status, error, device;
	u16 count;
	u64 lba;
};

struct ahci_cmd {
	struct block_req io;
	struct ahci_port *port;
	/* Goes on after io, with the lock. Not called when the port was stopped meanwhile. */
	void (*then)(struct ahci_cmd *c, int rc);
	u8 slot;
	bool busy; /* fetched and not ended */
	/* what was fetched */
	u8 command, device, tag;
	bool ncq;
	u16 features, count;
	u64 lba;
	u8 cdb[16];
	u32 flags;         /* first dword of the header */
	u64 header, table; /* guest addresses */
	/* the drive's notes */
	bool to_guest; /* data go to the guest's buffers */
	bool pio;      /* the command's protocol is PIO data-in: it ends with a PIO Setup FIS */
	bool fua;
	u32 at, left; /* sectors, items: the drive's business */
	u8 format;    /* READ CD: which parts of a sector */
	u64 done;     /* bytes transferred */
	/* buffers: guest memory, and one of our own (freed when the command ends) */
	struct iovec *iov;
	int niov;
	u32 iov_cap;
	u64 mapped; /* bytes in iov */
	bool dps;   /* a descriptor asked for an interrupt */
	u8 *bounce;
	struct iovec bounce_iov;
};

struct drive_ops {
	bool queued;                                   /* knows READ and WRITE FPDMA QUEUED */
	struct ata_regs ready;                         /* the signature: registers after a reset */
	void (*reset)(struct ahci_port *p, bool hard); /* nothing is in flight */
	void (*start)(struct ahci_cmd *c);             /* begins, perhaps ends, a command */
	void (*abort)(struct ahci_cmd *c);             /* ends it: the buffers are too small */
};

#define ATA_TRIM_BLOCKS 8u
#define ATA_TRIM_RANGES (ATA_TRIM_BLOCKS * 64)

struct ata_disk {
	u64 sectors; /* latched: drives do not grow */
	u8 multiple, xfer_mode;
	bool cache_off, lookahead_off, smart_off, standby;
	struct {
		u64 lba;
		u32 sectors;
	} trim[ATA_TRIM_RANGES];
};

struct atapi_sense {
	u8 key, asc, ascq;
};

struct atapi {
	u64 sectors; /* of 2048 bytes; 0: no disc */
	bool open, locked;
	u8 event;                 /* of the medium, for GET EVENT STATUS NOTIFICATION */
	bool reset_seen, changed; /* unit attentions that wait */
	struct atapi_sense sense; /* of the last command */
	u8 xfer_mode;
};

struct ahci_port {
	struct ahci *hba;
	unsigned index;
	const struct drive_ops *ops;
	struct block *block;
	struct block_queue *io;
	char serial[AHCI_SERIAL];
	/* registers (3.3) */
	u64 clb, fb;
	u32 is, ie, cmd, ssts, sctl, serr, sig, sact, ci;
	u8 ccs;
	struct ata_regs regs;
	/* state */
	bool announce; /* the signature's FIS waits for PxCMD.FRE */
	bool srst;
	bool halted;  /* an error: nothing is fetched or answered until PxCMD.ST is cleared */
	bool running; /* ahci_port_run is on the stack */
	unsigned draining, paused;
	unsigned inflight;
	u32 tags;                   /* of queued commands in flight */
	struct ahci_cmd *exclusive; /* the one that is not queued */
	struct {
		bool valid;
		u8 tag;
		struct ata_regs regs;
	} ncq_error;
	union {
		struct ata_disk disk;
		struct atapi cd;
	};
	struct ahci_cmd slot[AHCI_SLOTS];
};

struct ahci {
	struct pci_dev pci;
	pthread_mutex_t lock;
	pthread_cond_t idle; /* a command ended while somebody waits for that, or the waiting is over */
	struct mem *mem;
	u32 ghc, is;
	bool intx; /* what was last asked of the pin */
	unsigned nports;
	struct ahci_port port[];
};

/* --- ahci.c --- */

void ahci_raise(struct ahci_port *p, u32 bits); /* PxIS */
void ahci_update_irq(struct ahci *h);

/* --- ahci_port.c --- */

int ahci_port_init(struct ahci_port *p, struct ahci *h, unsigned index, const struct ahci_drive_config *c);
void ahci_port_fini(struct ahci_port *p); /* nothing is in flight */
u32 ahci_port_read(struct ahci_port *p, unsigned off);
void ahci_port_write(struct ahci_port *p, unsigned off, u32 val);
void ahci_port_reset(struct ahci_port *p); /* as HBA reset does (10.4.3) */
/* Stops fetching and throws away what was fetched; waits for it. */
void ahci_port_drain(struct ahci_port *p);

/* --- ahci_cmd.c --- */

/* Fetches and starts what is to be done. */
void ahci_port_run(struct ahci_port *p);
void ahci_post_signature(struct ahci_port *p);

/*
 * Guest buffers for up to want bytes. False: the command has ended already, because a buffer is not in RAM
 * or, with all set, because there are fewer bytes.
 */
bool ahci_map(struct ahci_cmd *c, u64 want, bool all);
/* Passes io to the block layer: op, and off and len as in struct block_req. */
void ahci_submit(
        struct ahci_cmd *c, enum block_op op, u64 off, u64 len, void (*then)(struct ahci_cmd *, int));
/* Copies into mapped buffers at byte c->done, as far as they reach, and counts. */
void ahci_give(struct ahci_cmd *c, const void *buf, u64 len);

/* Ends of a command; it must not be touched after. */
void ahci_end(struct ahci_cmd *c, const struct ata_regs *r);

/* --- drives --- */

extern const struct drive_ops ata_drive, atapi_drive;

/* --- ata.c --- */

void ata_init(struct ahci_port *p);
void ata_done(struct ahci_cmd *c);
void ata_fail(struct ahci_cmd *c, u8 error);
/* A reply of len bytes by PIO or DMA; ends the command. */
void ata_reply(struct ahci_cmd *c, const void *buf, u64 len);
void ata_string(u8 *to, const char *s, unsigned len);
/* One of the 256 words of IDENTIFY data. */
static inline void ata_word(u8 *id, unsigned word, u16 val)
{
	put_le16(id + 2 * word, val);
}

/* --- ata_info.c: what a disk says about itself --- */

void ata_identify(struct ahci_cmd *c);
void ata_smart(struct ahci_cmd *c);
void ata_read_log(struct ahci_cmd *c);
void ata_sum(u8 page[static 512]); /* byte 511 makes the sum 0 */
bool ata_can_trim(const struct ahci_port *p);
bool ata_valid_xfer_mode(u8 mode);

/* --- atapi.c --- */

#define CD_SECTOR 2048u
#define CD_SECTORS_MAX 450000u /* 100 minutes; larger images are DVDs */

void atapi_init(struct ahci_port *p);
void atapi_done(struct ahci_cmd *c);
void atapi_fail(struct ahci_cmd *c, u8 key, u8 asc, u8 ascq);
/* A reply, cut to what the command allows; ends the command. */
void atapi_reply(struct ahci_cmd *c, const void *buf, u64 len, u64 allowed);
static inline void atapi_bad_field(struct ahci_cmd *c)
{
	atapi_fail(c, 5, 0x24, 0x00);
}

static inline bool atapi_has_disc(const struct atapi *d)
{
	return d->sectors && !d->open;
}

/* --- atapi_info.c, atapi_disc.c, atapi_read.c: commands --- */

void atapi_identify(struct ahci_cmd *c);
void atapi_inquiry(struct ahci_cmd *c);
void atapi_mode_sense(struct ahci_cmd *c);
void atapi_mode_select(struct ahci_cmd *c);
void atapi_get_configuration(struct ahci_cmd *c);
void atapi_event_status(struct ahci_cmd *c);
void atapi_mechanism_status(struct ahci_cmd *c);

void atapi_read_capacity(struct ahci_cmd *c);
void atapi_read_toc(struct ahci_cmd *c);
void atapi_read_disc_information(struct ahci_cmd *c);
void atapi_read_track_information(struct ahci_cmd *c);
void atapi_read_dvd_structure(struct ahci_cmd *c);

void atapi_read(struct ahci_cmd *c);
void atapi_read_cd(struct ahci_cmd *c);
