/*
 * Connects the control socket to a machine.
 */
#pragma once

#include "base/err.h"

struct vm;

/* Opens vm->control if the configuration asks for it. */
int control_vm_open(struct vm *vm, struct err *e);
