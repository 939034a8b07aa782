/*
 * Which accelerator runs the machine.
 */
#pragma once

#include "accel/accel.h"
#include "vm/config.h"

/*
 * --accel=auto tests what it takes: KVM where its probe passes, else the software CPU; then note says why,
 * for the user, once it is known that the machine starts. A back end named by the user is taken without a
 * probe. Returns 0 and the table, or -errno with the words.
 */
int accel_choose(enum config_accel want, const struct accel_ops **out, struct err *note, struct err *e);
