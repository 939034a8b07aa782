/*
 * The sets of allowed contents. See oracle.h.
 */
#include "oracle.h"

#include <stdlib.h>
#include <string.h>

static const u8 zeros[OR_PIECE];

static u32 add_op(struct oracle *o, struct oracle_op op)
{
	if (o->nop == o->op_cap) {
		o->op_cap = o->op_cap ? o->op_cap * 2 : 64;
		o->op = realloc(o->op, o->op_cap * sizeof(*o->op));
	}
	o->op[o->nop] = op;
	return o->nop++;
}

static void add_version(struct oracle_piece *p, u32 op, const u8 *data)
{
	u8 *copy = NULL;
	if (data) {
		copy = malloc(OR_PIECE);
		memcpy(copy, data, OR_PIECE);
	}
	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 4;
		p->v = realloc(p->v, p->cap * sizeof(*p->v));
		for (u32 i = 0; i < 2; i++)
			p->allowed[i] = realloc(p->allowed[i], p->cap * sizeof(*p->allowed[i]));
	}
	p->v[p->n++] = (struct oracle_version){op, copy ? copy : zeros};
}

void oracle_init(struct oracle *o, u32 npieces)
{
	memset(o, 0, sizeof(*o));
	pthread_mutex_init(&o->lock, NULL);
	o->piece = calloc(npieces, sizeof(*o->piece));
	o->npieces = npieces;
	u32 op = add_op(o, (struct oracle_op){0});
	for (u32 i = 0; i < npieces; i++)
		add_version(&o->piece[i], op, NULL);
}

void oracle_fini(struct oracle *o)
{
	for (u32 i = 0; i < o->npieces; i++) {
		struct oracle_piece *p = &o->piece[i];
		for (u32 k = 0; k < p->n; k++) {
			if (p->v[k].data != zeros)
				free((void *)(uintptr_t)p->v[k].data);
		}
		free(p->v);
		free(p->allowed[0]);
		free(p->allowed[1]);
	}
	free(o->piece);
	free(o->op);
	pthread_mutex_destroy(&o->lock);
}

u32 oracle_issue(struct oracle *o, u32 first, u32 n, const u8 *data, u32 pos)
{
	pthread_mutex_lock(&o->lock);
	u32 op = add_op(o, (struct oracle_op){.issued = ++o->tick,
	                           .acked = UINT64_MAX,
	                           .pos_issued = pos,
	                           .pos_acked = UINT32_MAX,
	                           .pos_flushed = UINT32_MAX});
	for (u32 i = 0; i < n; i++)
		add_version(&o->piece[first + i], op, data ? data + (size_t)i * OR_PIECE : NULL);
	pthread_mutex_unlock(&o->lock);
	return op;
}

void oracle_ack(struct oracle *o, u32 op, u32 pos)
{
	pthread_mutex_lock(&o->lock);
	o->op[op].acked = ++o->tick;
	o->op[op].pos_acked = pos;
	pthread_mutex_unlock(&o->lock);
}

u64 oracle_flush_issue(struct oracle *o)
{
	pthread_mutex_lock(&o->lock);
	u64 tick = ++o->tick;
	pthread_mutex_unlock(&o->lock);
	return tick;
}

void oracle_flush_ack(struct oracle *o, u64 tick, u32 pos)
{
	pthread_mutex_lock(&o->lock);
	for (u32 i = 1; i < o->nop; i++) {
		if (o->op[i].acked < tick)
			o->op[i].pos_flushed = MIN(o->op[i].pos_flushed, pos);
	}
	pthread_mutex_unlock(&o->lock);
}

static void make_set(struct oracle *o, struct oracle_piece *p, enum oracle_rule rule, u32 pos)
{
	u64 superseded = 0;
	for (u32 i = 0; i < p->n; i++) {
		const struct oracle_op *op = &o->op[p->v[i].op];
		if ((rule == ORACLE_KILL ? op->pos_acked : op->pos_flushed) <= pos)
			superseded = MAX(superseded, op->issued);
	}
	p->nallowed[rule] = 0;
	for (u32 i = 0; i < p->n; i++) {
		const struct oracle_op *op = &o->op[p->v[i].op];
		if (op->pos_issued <= pos && op->acked >= superseded)
			p->allowed[rule][p->nallowed[rule]++] = p->v[i].data;
	}
}

void oracle_at(struct oracle *o, u32 pos)
{
	for (u32 i = 0; i < o->npieces; i++) {
		make_set(o, &o->piece[i], ORACLE_KILL, pos);
		make_set(o, &o->piece[i], ORACLE_CUT, pos);
	}
}

bool oracle_allows(const struct oracle *o, enum oracle_rule rule, u32 piece, const u8 *data)
{
	const struct oracle_piece *p = &o->piece[piece];
	for (u32 i = p->nallowed[rule]; i-- > 0;) {
		if (memcmp(p->allowed[rule][i], data, OR_PIECE) == 0)
			return true;
	}
	return false;
}

bool oracle_knows(const struct oracle *o, u32 piece, const u8 *data)
{
	const struct oracle_piece *p = &o->piece[piece];
	for (u32 i = p->n; i-- > 0;) {
		if (memcmp(p->v[i].data, data, OR_PIECE) == 0)
			return true;
	}
	return false;
}
