/*
 * --explain: what a machine is made of, before it is started. The board has been built by the same code as
 * for a start (with vm/dry.h in place of files, networks and consoles), and kernel and tables are in memory;
 * all facts are read from there.
 */
#pragma once

#include "base/err.h"

#include <stdio.h>

struct vm;

/* Prints it. -errno and e when that fails or there is no memory; warnings are a part of the text. */
int vm_explain(struct vm *vm, FILE *out, struct err *e);
