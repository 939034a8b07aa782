/* OP(mnemonic, binder): x87, FXSAVE and XSAVE, from x87_list.h. Included by table.c. */
#define X87(mn, reg, mem, gate, aux, flags) OP(mn, x87_bind)
#include "accel/soft/interp/x87_list.h"
#undef X87
