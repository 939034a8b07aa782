/*
 * Confinement of the process: what each kind of thread may ask of the kernel (seccomp). A process that
 * handles what a hostile guest does needs few system calls; what is not on a thread's list fails with EPERM.
 *
 * Filters belong to threads and are inherited by the threads that they start, so each thread confines itself
 * as its first act, and a thread that must not be confined like its maker must be started by another one. The
 * switch is the process's, because the kernel's is (no_new_privs): there is one, and it only goes on.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"

enum confine_kind {
	/* The main thread once the machine is built: no exec, no debugging, no sockets, no executable memory.
	 */
	CONFINE_LOOP,
	/* A virtual CPU: memory, locks, writes to descriptors that are open. No files, no sockets. */
	CONFINE_CPU,
	CONFINE_KVM_CPU, /* the same with ioctl */
	/* A worker of a disk: reads and writes descriptors that are open, starts more of its kind. */
	CONFINE_DISK,
	/* A network card: sockets, and reading files (/etc/resolv.conf). */
	CONFINE_NET,
};

/* Was libseccomp there when this was built? */
bool confine_available(void);

/*
 * From now on confine_thread works, and no program that is started gains privileges. -ENOTSUP when the build
 * or the kernel cannot: then nothing has changed.
 */
int confine_enable(struct err *e);

/* Narrows what the calling thread may do. Does nothing before confine_enable. Failure is our bug. */
void confine_thread(enum confine_kind kind);
