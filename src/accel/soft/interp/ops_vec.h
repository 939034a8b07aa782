/*
 * OP(mnemonic, binder): MMX, SSE, AVX, FMA, AES, SHA. Included by table.c; the rows come from vec_list.h
 * and vec_rows.h. MOVSD and CMPSD belong to the string instructions, whose binder calls vec_bind for
 * operands in XMM registers.
 */
#define OP_L(mn) OP(mn, vec_bind)
#define OP_V(mn) OP(V##mn, vec_bind)
#define OP_LV(mn) OP_L(mn) OP_V(mn)
#define MS3(mn, op) OP_LV(mn)
#define MS3N(mn, op, n) OP_LV(mn)
#define S3(mn, op) OP_LV(mn)
#define S3X(mn, op) OP_LV(mn)
#define S3L(mn, op) OP_L(mn)
#define MS2(mn, op) OP_LV(mn)
#define S2(mn, op, n, n256) OP_LV(mn)
#define S2X(mn, op, n) OP_LV(mn)
#define S2W(mn, op, n, n256) OP_LV(mn)
#define SHIFT(mn, op) OP_LV(mn)
#define SI2(mn, op, k) OP_LV(mn)
#define SI2X(mn, op, k) OP_LV(mn)
#define SI3(mn, op, k) OP_LV(mn)
#define MSI3(mn, op, k) OP_LV(mn)
#define SI3X(mn, op, k) OP_LV(mn)
#define SI3V(mn, op, k) OP_V(mn)
#define F3(mn, op) OP_LV(mn)
#define F3S(mn, op, n) OP_LV(mn)
#define F2(mn, op) OP_LV(mn)
#define F2W(mn, op, n, n256) OP_LV(mn)
#define F2N(mn, op) OP_LV(mn)
#define FI2(mn, op, k, kv) OP_LV(mn)
#define FI3(mn, op, k, kv) OP_LV(mn)
#define FDP(mn, op, k, mul, n) OP_LV(mn)
#define FDPX(mn, op, k, mul, n) OP_LV(mn)
#define FI3S(mn, op, k, kv, n) OP_V(mn)
#define FMA3(mn, op) OP_V(mn)
#define FMA3S(mn, op, n) OP_V(mn)
#define V3(mn, op) OP_V(mn)
#define VI2Y(mn, op, k) OP_V(mn)
#define VI3Y(mn, op, k) OP_V(mn)
#include "accel/soft/interp/vec_list.h"
OP_L(CMPSS)
OP_L(ROUNDSS)
OP_L(ROUNDSD)
#define ROW(mn, fn0, fn1, st0, st1) OP_L(mn)
#define ROW_SHARED(mn, fn0, fn1, st0, st1)
#include "accel/soft/interp/vec_rows.h"
#undef ROW
#undef ROW_SHARED
#undef OP_L
#undef OP_V
#undef OP_LV
