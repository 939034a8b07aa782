/*
 * PCI: configuration space by CF8/CFC and ECAM, BARs, MSI, MSI-X, and the routing of INTx pins.
 *
 * A device embeds struct pci_dev, fills it with the pci_set_ and pci_add_ functions, and is put
 * into a slot. The machine then calls pci_assign once, as a BIOS would: BAR addresses, interrupt pins
 * and routing. Afterwards the guest may move every BAR anywhere at any time; one that would overlap
 * another region is left unmapped until it fits. Devices are finished before or after their host.
 *
 * Locks: host->lock guards all of this; it is taken after a device's own lock and before the locks
 * of spaces and interrupt chips. Device hooks are called without it.
 *
 * Section numbers are those of the PCI Local Bus Specification 3.0.
 */
#pragma once

#include "bus/space.h"
#include "bus/wire.h"

#define PCI_SLOTS 32
#define PCI_FUNCS 8
#define PCI_LINKS 8
#define PCI_MSIX_MAX 64
#define PCI_GSI_BASE 16 /* INTx lines are IOAPIC pins 16..23 */

/* Configuration registers (6.1) */
#define PCI_VENDOR 0x00
#define PCI_DEVICE 0x02
#define PCI_COMMAND 0x04
#define PCI_STATUS 0x06
#define PCI_REVISION 0x08
#define PCI_CLASS 0x09
#define PCI_LINE_SIZE 0x0c
#define PCI_LATENCY 0x0d
#define PCI_HEADER 0x0e
#define PCI_BAR0 0x10
#define PCI_SUBVENDOR 0x2c
#define PCI_SUBSYSTEM 0x2e
#define PCI_CAPS 0x34
#define PCI_INTLINE 0x3c
#define PCI_INTPIN 0x3d

#define PCI_CMD_IO 0x0001
#define PCI_CMD_MEM 0x0002
#define PCI_CMD_MASTER 0x0004
#define PCI_CMD_INTX_OFF 0x0400
#define PCI_STATUS_INTX 0x0008
#define PCI_STATUS_CAPS 0x0010

#define PCI_CAP_MSI 0x05
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_PCIE 0x10
#define PCI_CAP_MSIX 0x11

/* PIRQ routing registers (ICH family): not routed to the 8259s; else the low nibble is the IRQ */
#define PCI_PIRQ_OFF 0x80

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_host;
struct pci_dev;

struct pci_bar {
	enum pci_bar_kind kind;
	u64 size; /* power of two */
	struct region region;
};

struct pci_ops {
	/* After a configuration write that touched [off, off+size). No lock held. May be NULL. */
	void (*cfg_written)(struct pci_dev *d, unsigned off, unsigned size);
	/* A configuration read; *val holds what the bytes are and may be changed. No lock held. May be NULL.
	 */
	void (*cfg_read)(struct pci_dev *d, unsigned off, unsigned size, u32 *val);
};

struct pci_msix {
	u32 table[PCI_MSIX_MAX][4]; /* address low, high, data, vector control */
	u64 pending;
	u16 count;
	u8 cap;
};

struct pci_dev {
	struct pci_host *host;
	u8 bus, slot, func;
	const char *name;
	const struct pci_ops *ops;
	u8 cfg[256], wmask[256], w1c[256];
	u8 boot_cfg[256]; /* cfg as the BIOS left it, for reset */
	u16 next_cap;     /* where the next capability goes */
	u8 last_cap;      /* offset of the last one, 0 for none */
	struct pci_bar bar[6];
	u8 msi_cap; /* 0: none */
	u32 msi_pending;
	struct pci_msix *msix; /* owned; NULL for none */
	bool wants_intx;
	bool intx;          /* level the device asks for */
	bool driven;        /* level on the line: 0 while INTx is switched off or MSI on */
	u8 link;            /* 0..7: A..H, GSI 16 + link */
	const u8 *pirq_reg; /* interrupt router: offsets of the registers of links A..H; else NULL */
};

struct pci_host_config {
	struct space *ports, *memory;
	u64 ecam_base;           /* 256 MiB window */
	u32 mmio_base, mmio_end; /* 32-bit BARs, end exclusive */
	u64 mmio64_base;         /* large 64-bit BARs */
	u16 io_base;             /* I/O BARs */
	struct msi_sink msi;
	struct wire ioapic[PCI_LINKS]; /* pins 16..23 */
	struct wire pic[16];           /* ISA IRQs for PIRQ links; .set NULL where not connectable */
	u8 (*cf9_read)(void *opaque);  /* byte CF9h lies inside our ports */
	void (*cf9_write)(void *opaque, u8 val);
	void *opaque;
};

struct pci_host {
	pthread_mutex_t lock;
	struct pci_host_config cfg;
	struct pci_dev **devs;
	u32 ndevs;
	u32 address; /* CF8 */
	struct region cf8, cfc, ecam;
	u32 link_count[PCI_LINKS];           /* devices that drive the line */
	struct pci_dev *router;              /* routes links to ISA IRQs; NULL: nobody does */
	u16 pic_level;                       /* levels on cfg.pic as driven by links */
	u64 next_io, next_mmio, next_mmio64; /* while pci_assign runs */
};

int pci_host_init(struct pci_host *h, const struct pci_host_config *cfg);
void pci_host_fini(struct pci_host *h);
/* Configuration space as the BIOS left it, lines low, no MSI pending. Devices reset themselves. */
void pci_host_reset(struct pci_host *h);

/* --- a device before it is added --- */

struct pci_identity {
	u16 vendor, device;
	u32 class_code; /* base << 16 | sub << 8 | interface */
	u8 revision;
	u16 subvendor, subsystem;
};

void pci_dev_init(
        struct pci_dev *d, const char *name, const struct pci_identity *id, const struct pci_ops *ops);
void pci_dev_fini(struct pci_dev *d);

/* Makes configuration bytes writable. */
void pci_set_wmask(struct pci_dev *d, unsigned off, unsigned len, u8 mask);
/* size is rounded up to a power of two (at least 4 for I/O, 16 for memory). A 64-bit BAR takes n and n+1. */
void pci_add_bar(struct pci_dev *d, unsigned n, enum pci_bar_kind kind, u64 size,
        const struct region_ops *ops, void *opaque, pthread_mutex_t *lock);
/* Room for a capability of len bytes (header included); returns its offset, 0 when there is none left. */
u8 pci_add_cap(struct pci_dev *d, u8 id, u8 len);
int pci_add_msi(struct pci_dev *d, unsigned vectors); /* power of two, 1..32 */
int pci_add_msix(
        struct pci_dev *d, unsigned vectors, unsigned bar); /* 1..PCI_MSIX_MAX; table at 0, PBA at 1000h */
int pci_add_pcie(struct pci_dev *d, u8 port_type);
void pci_add_intx(struct pci_dev *d);
/*
 * Makes d the router of INTx links to ISA IRQs (one a host): reg[n] is the offset of the register of
 * link n, bit 7 = not routed, low nibble = IRQ. reg stays valid as long as d.
 */
void pci_set_router(struct pci_dev *d, const u8 reg[PCI_LINKS]);

/* -EEXIST when the slot is taken, -EINVAL out of range. The caller keeps ownership of d. */
int pci_add(struct pci_host *h, struct pci_dev *d, unsigned bus, unsigned slot, unsigned func);

/* The BIOS's part. -ENOSPC when BARs do not fit their windows. */
int pci_assign(struct pci_host *h);
/* Also the BIOS's: writes the router's registers and every device's interrupt line. After pci_assign. */
void pci_route_links(struct pci_host *h, const u8 irq[PCI_LINKS]);

/* --- at run time, any thread, device lock allowed --- */

void pci_set_intx(struct pci_dev *d, bool level);
bool pci_msi_enabled(struct pci_dev *d);
void pci_msi_notify(struct pci_dev *d, unsigned vector);
bool pci_msix_enabled(struct pci_dev *d);
void pci_msix_notify(struct pci_dev *d, unsigned vector);

/* INTx routing of a device, for firmware tables; pin 0: none. */
struct pci_intx_info {
	u8 bus, slot, func, pin, link, gsi;
};
struct pci_intx_info pci_intx_info(const struct pci_dev *d);
