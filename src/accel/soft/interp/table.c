/*
 * The table mnemonic -> binder, from the four lists. A mnemonic in two lists is a compile error
 * (-Woverride-init).
 */
#include "accel/soft/interp/insn.h"

#define OP(mnemonic, binder) bind_fn binder;
#include "accel/soft/interp/ops_int.h"
#include "accel/soft/interp/ops_sys.h"
#include "accel/soft/interp/ops_vec.h"
#include "accel/soft/interp/ops_x87.h"
#undef OP

bind_fn *const insn_binders[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define OP(mnemonic, binder) [ZYDIS_MNEMONIC_##mnemonic] = binder,
#include "accel/soft/interp/ops_int.h"
#include "accel/soft/interp/ops_sys.h"
#include "accel/soft/interp/ops_vec.h"
#include "accel/soft/interp/ops_x87.h"
#undef OP
};
