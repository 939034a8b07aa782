/*
 * The configuration strings of SATA controllers: what is on which port.
 *
 *   ahci-hd  PATH[,OPTION...]                          one disk
 *   ahci-cd  [PATH[,OPTION...]]                        one CD drive, without PATH empty
 *   ahci     hd:PATH[,OPTION...] or cd:[PATH...], any number of them separated by commas
 */
#pragma once

#include "block/image.h"

struct ahci_drive_spec {
	bool cd;
	bool empty;              /* a CD drive without a disc */
	struct image_spec image; /* of a CD drive: read-only */
};

enum ahci_kind { AHCI_DISK, AHCI_CD, AHCI_DRIVES };

/*
 * Pure: takes the first drive off *rest, which then is what follows it, or NULL after the last one. The
 * message needs no prefix.
 */
int ahci_spec_next(struct ahci_drive_spec *d, enum ahci_kind kind, const char **rest, struct err *e);
/* Pure: checks all of it and counts the drives. */
int ahci_spec_check(enum ahci_kind kind, const char *config, unsigned *drives, struct err *e);
