/*
 * Signals from outside: SIGTERM, SIGINT and SIGHUP ask for an orderly end.
 */
#pragma once

#include "base/err.h"

struct vm;

void signals_block(void); /* before any thread exists: only the loop shall see them */
int signals_watch(struct vm *vm, struct err *e);
void signals_unwatch(struct vm *vm);

/* Somebody (a signal, the console's escape key) wants the machine to end: see signals.c. */
void vm_ask_to_stop(struct vm *vm);
