/*
 * A SATA controller (AHCI 1.3, PCI 8086:2821) with disks and CD-ROM drives, one on each port.
 *
 * Requests go from the guest's buffers to the block layer without a copy, up to 32 at a time for each disk;
 * they complete on the block layer's threads in any order. Stopping a port, resets and destruction wait for
 * them.
 */
#pragma once

#include "block/block.h"
#include "bus/pci.h"
#include "mem/mem.h"

#define AHCI_PORTS_MAX 32
#define AHCI_SERIAL 20
#define AHCI_SECTOR_MAX 4096u /* logical, of a disk */
#define AHCI_DISC_MIN 2048u   /* bytes: a sector */

struct ahci_drive_config {
	bool cd;
	/*
	 * The disk, or the disc in the drive (NULL: none). Stays the caller's, and open until ahci_destroy
	 * or until ahci_insert or ahci_eject gave it back. The logical sector size of a disk is at most
	 * AHCI_SECTOR_MAX.
	 */
	struct block *block;
	const char *serial; /* first 20 bytes; NULL: the block's own, which a CD drive should not use */
};

struct ahci_config {
	struct mem *mem;
	unsigned nports; /* 1 .. AHCI_PORTS_MAX */
	struct ahci_drive_config drive[AHCI_PORTS_MAX];
};

struct ahci;

int ahci_create(struct ahci **out, const struct ahci_config *c);
/* Waits for requests in flight. No CPU runs any more. NULL is fine. */
void ahci_destroy(struct ahci *h);
void ahci_reset(struct ahci *h);
struct pci_dev *ahci_pci(struct ahci *h); /* for pci_add */

/*
 * Discs are changed while the machine runs. Both wait until what the guest has asked of the drive is done,
 * and return in *old the disc that was in it (NULL: none), which is the caller's again. One thread at a time.
 *
 * ahci_insert: -EBUSY when a disc is in the drive that the guest has locked; -EINVAL when the port has no CD
 * drive or the disc is too small; then nothing has changed. Closes the tray.
 * ahci_eject: opens the tray. -EBUSY when the guest has locked the drive: it is told that somebody pressed
 * the button, and may eject by itself. force does not ask.
 */
int ahci_insert(struct ahci *h, unsigned port, struct block *disc, struct block **old);
int ahci_eject(struct ahci *h, unsigned port, bool force, struct block **old);
