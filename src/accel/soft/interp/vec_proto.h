/*
 * Prototypes of the handlers, from the lists.
 */
#pragma once

#include "accel/soft/interp/insn.h"

/* rows that exist as MMX, legacy SSE, VEX.128, VEX.256 */
#define P_M(mn) insn_fn mmx_##mn;
#define P_S(mn) insn_fn sse_##mn;
#define P_V(mn) insn_fn v128_##mn;
#define P_Y(mn) insn_fn v256_##mn;

#define MS3(mn, op) P_M(mn) P_S(mn) P_V(mn) P_Y(mn)
#define MS3N(mn, op, n) P_M(mn) P_S(mn) P_V(mn) P_Y(mn)
#define S3(mn, op) P_S(mn) P_V(mn) P_Y(mn)
#define S3X(mn, op) P_S(mn) P_V(mn)
#define S3L(mn, op) P_S(mn)
#define MS2(mn, op) P_M(mn) P_S(mn) P_V(mn) P_Y(mn)
#define S2(mn, op, n, n256) P_S(mn) P_V(mn) P_Y(mn)
#define S2X(mn, op, n) P_S(mn) P_V(mn)
#define S2W(mn, op, n, n256) P_S(mn) P_V(mn) P_Y(mn)
#define SHIFT(mn, op) P_M(mn) P_S(mn) P_V(mn) P_Y(mn)
#define SI2(mn, op, k) P_S(mn) P_V(mn) P_Y(mn)
#define SI2X(mn, op, k) P_S(mn) P_V(mn)
#define SI3(mn, op, k) P_S(mn) P_V(mn) P_Y(mn)
#define MSI3(mn, op, k) P_M(mn) P_S(mn) P_V(mn) P_Y(mn)
#define SI3X(mn, op, k) P_S(mn) P_V(mn)
#define SI3V(mn, op, k) P_V(mn) P_Y(mn)
#define F3(mn, op) P_S(mn) P_V(mn) P_Y(mn)
#define F3S(mn, op, n) P_S(mn) P_V(mn)
#define F2(mn, op) P_S(mn) P_V(mn) P_Y(mn)
#define F2W(mn, op, n, n256) P_S(mn) P_V(mn) P_Y(mn)
#define F2N(mn, op) P_S(mn) P_V(mn) P_Y(mn)
#define FI2(mn, op, k, kv) P_S(mn) P_V(mn) P_Y(mn)
#define FI3(mn, op, k, kv) P_S(mn) P_V(mn) P_Y(mn)
#define FDP(mn, op, k, mul, n) P_S(mn) P_V(mn) P_Y(mn)
#define FDPX(mn, op, k, mul, n) P_S(mn) P_V(mn)
#define FI3S(mn, op, k, kv, n) P_S(mn) P_V(mn)
#define FMA3(mn, op) P_V(mn) P_Y(mn)
#define FMA3S(mn, op, n) P_V(mn)
#define V3(mn, op) P_V(mn) P_Y(mn)
#define VI2Y(mn, op, k) P_Y(mn)
#define VI3Y(mn, op, k) P_Y(mn)
#include "accel/soft/interp/vec_list.h"

#define ROW(mn, fn0, fn1, st0, st1) insn_fn fn0, fn1, st0, st1;
#define ROW_SHARED ROW
#include "accel/soft/interp/vec_rows.h"
#undef ROW
#undef ROW_SHARED
