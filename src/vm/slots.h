/*
 * The PCI devices of the command line: what is in each slot, and how each emulation of the device table
 * is made and taken apart. One file slot_*.c for each family of devices; slots.c has the list.
 *
 * All functions run on the loop's thread or before and after it runs.
 */
#pragma once

#include "base/err.h"
#include "base/stats.h"
#include "bus/pci.h"
#include "vm/config.h"

struct block;
struct image_spec;
struct slot_dev;
struct slots;
struct vm;

/* What a guest finds in a slot, for --explain: one for each drive, card or port. */
enum slot_part_kind { PART_VIRTIO_DISK, PART_SATA_DISK, PART_CD, PART_NET, PART_TTY, PART_HVC };

struct slot_part {
	enum slot_part_kind kind;
	struct block *disk;             /* of disks and discs; NULL: no disc */
	const struct image_spec *image; /* the same */
	const u8 *mac;                  /* of cards */
	const char *backend;            /* of ports; "": not connected */
	const char *port;               /* of a virtio console's named ports; else NULL */
};

typedef int (*slot_visit)(void *opaque, const struct slot_part *part);

/*
 * What a family supplies. build makes the chip, opens what it needs of the host and sets s->pci; when it
 * fails, end is called if s->device is set. The message of an error needs no prefix. All but build
 * and end may be NULL.
 */
struct slot_ops {
	const char *name; /* as in the device table */
	int (*build)(struct slot_dev *s, struct err *e);
	void (*stop)(struct slot_dev *s); /* CPUs have stopped: let go of the host, drain */
	/* CPUs have stopped: as after power-on, once nothing is in flight. What it is connected to stays. */
	void (*reset)(struct slot_dev *s);
	void (*end)(struct slot_dev *s);              /* frees s->device */
	void (*terminal_resized)(struct slot_dev *s); /* the terminal of this process may have another size */
	void (*disk_grown)(struct slot_dev *s);       /* the file behind the disk may have another size */
	/* For the user who is at the machine: take out a medium (force: although the guest locked it), put
	 * one in. The messages need no prefix. */
	int (*eject)(struct slot_dev *s, bool force, struct err *e);
	int (*insert)(struct slot_dev *s, const char *path, struct err *e);
	int (*link)(struct slot_dev *s, bool up, struct err *e);    /* plugs and pulls the network's cable */
	int (*resize)(struct slot_dev *s, u64 size, struct err *e); /* 0: as disk_grown, with words */
	/* What there is to say of it in a word or two: "disc /a.iso", "link up", "size 1048576". */
	void (*describe)(struct slot_dev *s, char *text, size_t len);
	void (*stats)(struct slot_dev *s, const char *group, struct stats_sink *out);
	/* Calls visit for each part, in the order in which a guest finds them, until that is not 0. */
	int (*parts)(struct slot_dev *s, slot_visit visit, void *opaque);
};

struct slot_dev {
	struct vm *vm;
	const struct slot_config *config;
	const struct slot_ops *ops;
	struct pci_dev *pci;
	void *device;       /* the chip: ops's business */
	struct block *disk; /* of disk devices; closed after end */
};

extern const struct slot_ops slot_hostbridge, slot_amd_hostbridge, slot_lpc, slot_dummy, slot_uart,
        slot_virtio_console, slot_virtio_blk;
extern const struct slot_ops slot_virtio_net, slot_virtio_rnd, slot_ahci, slot_ahci_hd, slot_ahci_cd;

/* Builds all devices of vm's configuration, in order, and puts them on the bus. -errno and e. */
int slots_create(struct slots **out, struct vm *vm, struct pci_host *host, struct err *e);
void slots_stop(struct slots *s);
void slots_reset(struct slots *s);
/* NULL is fine. Says so when a disk could not be closed well. */
void slots_destroy(struct slots *s);

/* The counters of a disk. */
void slot_block_stats(const struct block *b, const char *group, struct stats_sink *out);

/* As image_open of the block room; with --explain the image is only looked at. */
int slot_open_image(
        struct slot_dev *s, struct block **out, const struct image_spec *spec, unsigned flags, struct err *e);

/* Closes a disk that s has opened, and says so when that lost something. NULL is fine. */
void slot_close_disk(const struct slot_dev *s, struct block *disk);

unsigned slots_count(const struct slots *s);
struct slot_dev *slots_at(const struct slots *s, unsigned n);
/* The first device of this kind or NULL. */
struct slot_dev *slots_find(const struct slots *s, const struct slot_ops *ops);
