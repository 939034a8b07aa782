/*
 * Partition tables: MBR with extended partitions, and GPT. Numbers are those of Linux: entries of a GPT from
 * 1, primary partitions 1 to 4, logical ones from 5 on.
 */
#pragma once

#include "base/err.h"
#include "block/block.h"

#define PART_MAX 128

enum part_table { PART_NONE, PART_MBR, PART_GPT };

struct part {
	unsigned number;
	u64 off, len;       /* bytes */
	u8 type;            /* MBR */
	char type_uuid[37]; /* GPT */
	char uuid[37];      /* as in PARTUUID= */
	char name[112];     /* GPT; "" for none */
};

struct part_list {
	enum part_table table;
	unsigned count;
	struct part part[PART_MAX]; /* in the order of their numbers */
};

/*
 * Reads the partition table. A disk without one is PART_NONE and no error, nor is a table in which no entry
 * is usable: entries that leave the disk are left out. -EUCLEAN: a GPT of which neither copy is whole.
 */
int part_scan(struct part_list *l, struct block *b, struct err *e);
