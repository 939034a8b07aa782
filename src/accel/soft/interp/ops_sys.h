/*
 * OP(mnemonic, binder): system instructions. Included by table.c. Forms of MOV, PUSH, POP, JMP, CALL and
 * RET that name control, debug or segment registers or go far are taken by sys_form before the
 * integer binders see them.
 */
#define SYS(mnemonic, handler) OP(mnemonic, bind_sys)
#include "accel/soft/interp/sys_list.h"
#undef SYS
