/*
 * The front door of the machine: builds it, runs it, says how it ended.
 */
#pragma once

#include "base/err.h"
#include "vm/config.h"

/*
 * Runs one machine from power-on to its end. Returns the exit status (enum exit_status). When our
 * own side failed before or while the guest ran, e->code is not 0 and e has the words; main prints
 * them.
 */
int vm_main(const struct vm_config *config, struct err *e);

/* What this build contains, one line each for --version ("accelerator kvm: ..."); ends with NULL. */
extern const char *const vm_features[];
