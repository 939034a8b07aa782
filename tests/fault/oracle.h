/*
 * What a disk may read as after a crash. For every 512-byte piece the oracle keeps all contents that
 * were ever written, each with the guest operation that did it, and when that was issued, acknowledged
 * and covered by a flush: in the order of guest operations (ticks), and as positions in the record of
 * host operations. A content is allowed at a position unless an operation that certainly counts by then
 * (acknowledged, for a kill; flushed, for a power cut) was issued after it had been acknowledged.
 */
#pragma once

#include "base/types.h"
#include <pthread.h>

#define OR_PIECE 512u

struct oracle_op {
	u64 issued, acked; /* ticks */
	u32 pos_issued, pos_acked, pos_flushed;
};

struct oracle_version {
	u32 op;
	const u8 *data;
};

struct oracle_piece {
	struct oracle_version *v;
	u32 n, cap;
	const u8 **allowed[2]; /* by enum oracle_rule, as of oracle_at */
	u32 nallowed[2];
};

enum oracle_rule { ORACLE_KILL, ORACLE_CUT };

struct oracle {
	pthread_mutex_t lock;
	u64 tick;
	struct oracle_op *op;
	u32 nop, op_cap;
	struct oracle_piece *piece;
	u32 npieces;
};

void oracle_init(struct oracle *o, u32 npieces);
void oracle_fini(struct oracle *o);

/* Pieces first.. get the contents data (NULL: zeros). Returns the operation. */
u32 oracle_issue(struct oracle *o, u32 first, u32 n, const u8 *data, u32 pos);
void oracle_ack(struct oracle *o, u32 op, u32 pos);
/* A flush is issued; returns its tick. When it has succeeded: */
u64 oracle_flush_issue(struct oracle *o);
void oracle_flush_ack(struct oracle *o, u64 tick, u32 pos);

/* Makes the sets for a position. */
void oracle_at(struct oracle *o, u32 pos);
bool oracle_allows(const struct oracle *o, enum oracle_rule rule, u32 piece, const u8 *data);
/* Was this ever written to this piece, or is it zeros? */
bool oracle_knows(const struct oracle *o, u32 piece, const u8 *data);
