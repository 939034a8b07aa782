/*
 * What --version lists.
 */
#include "vm/vm.h"

const char *const vm_features[] = {
        "accelerator kvm: Linux KVM with in-kernel interrupt controllers",
        "accelerator jit: software CPU, translator (hosts with BMI2)",
        "accelerator interp: software CPU, reference interpreter (x86-64-v3 where the host has it)",
        "kernels: bzImage and ELF vmlinux; unpacked on the host:" XHYVE_UNPACKERS,
#if HAVE_SLIRP
        "network: user (libslirp), tap, socket",
#else
        "network: tap, socket (built without libslirp: no user network)",
#endif
#if HAVE_SECCOMP
        "sandbox: no_new_privs, seccomp (libseccomp)",
#else
        "sandbox: none (built without libseccomp)",
#endif
        NULL,
};
