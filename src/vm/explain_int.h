/*
 * Private to --explain: the facts that are shown and then judged.
 */
#pragma once

#include "block/image.h"
#include "vm/dry.h"
#include "vm/explain.h"
#include "vm/slots.h"
#include "vm/vm_int.h"

#define EXPLAIN_NAME 16

struct volumes;

/* A drive as the guest will name it. */
struct explain_disk {
	char name[EXPLAIN_NAME]; /* "vda" */
	enum slot_part_kind kind;
	struct block *block; /* NULL: no disc */
	const struct slot_dev *slot;
	char path[IMAGE_PATH_MAX];
	enum dry_state state;
	bool looked;
	struct volumes *volumes; /* once looked: what is on it, NULL: nothing that can be read */
};

/* A serial port that is connected. */
struct explain_port {
	char name[EXPLAIN_NAME]; /* "ttyS0" */
	char option[40];         /* "-l com1" */
};

struct explain {
	struct vm *vm;
	FILE *out;
	struct err *e;
	struct slot_dev **order; /* as a guest finds them */
	unsigned count;
	const struct slot_dev *now; /* the one whose parts are visited */
	struct explain_disk *disk;
	unsigned ndisks, nvirtio, nsata, ncds, ncards, nttys, nhvcs;
	struct explain_port *port;
	unsigned nports;
	unsigned warnings;
};

/* One line below "warnings"; the heading comes with the first. */
void explain_warn(struct explain *x, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What may be wrong: all warnings. */
int explain_check(struct explain *x);
