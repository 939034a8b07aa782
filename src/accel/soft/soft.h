/*
 * A machine's software CPUs.
 */
#pragma once

#include "accel/soft/cpu.h"

struct soft_vm {
	struct accel_config cfg;
	int pin[MAX_VCPUS];
	struct accel_host host;
	pthread_mutex_t bus_lock;
	struct jit *jit; /* NULL: the reference engine alone */
	struct cpu *cpus[MAX_VCPUS];
};
