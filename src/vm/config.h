/*
 * What the user asked for, as plain data: the command line fills it (cli/), the machine is built
 * from it (vm/). It is complete and consistent when cli_parse returned CLI_RUN: names are known,
 * numbers are in range, slots do not collide, console specs are well-formed. Nothing in it says that
 * a file exists; files are opened by the machine.
 *
 * Every string lives as long as the struct (see cli_config_free). "" is never stored for "absent":
 * absent strings are NULL, except slot configs and the kernel's command line, which are never NULL.
 */
#pragma once

#include "base/types.h"

#include <stdio.h>

#define CONFIG_CPUS_MAX 16
#define CONFIG_MEM_MIN (1 * MiB)
#define CONFIG_MEM_MAX (512 * GiB) /* high RAM must end below the window of the 64-bit BARs */
#define CONFIG_CODE_CACHE_MIN (8 * MiB)
#define CONFIG_CODE_CACHE_MAX (2 * GiB)
#define CONFIG_MEM_DEFAULT (256 * MiB)
#define CONFIG_LPC_PORTS 2
#define CONFIG_MODULES_MAX 64u
#define CONFIG_DEBUGEXIT_PORT 0xf4
#define CONFIG_DEBUGEXIT_PORT_MAX 0x1ffc /* PCI devices have the ports behind */
#define CONFIG_HOSTCPU_MAX 1023          /* what a cpu_set_t of the C library holds */

enum config_sandbox { CONFIG_SANDBOX_AUTO, CONFIG_SANDBOX_ON, CONFIG_SANDBOX_OFF };

enum config_accel { CONFIG_ACCEL_AUTO, CONFIG_ACCEL_KVM, CONFIG_ACCEL_JIT, CONFIG_ACCEL_INTERP };

/* What -f names: files, or a slot with a CD or a disk on which the boot configuration is. */
enum config_boot { CONFIG_BOOT_NONE, CONFIG_BOOT_KEXEC, CONFIG_BOOT_ISO, CONFIG_BOOT_DISK };

struct device_type;

/* One -s. */
struct slot_config {
	u8 bus, slot, func;
	const struct device_type *type;
	const char *config; /* what follows the emulation's comma; "" if nothing */
};

/* In the order of these a guest finds its devices. */
static inline u32 slot_address(const struct slot_config *s)
{
	return (u32)s->bus << 16 | (u32)s->slot << 8 | s->func;
}

/* Where it is, as the user writes it: S, S:F or B:S:F. Returns buf. */
#define SLOT_NAME_MAX 16
static inline const char *slot_name(const struct slot_config *s, char buf[static SLOT_NAME_MAX])
{
	if (s->bus)
		snprintf(buf, SLOT_NAME_MAX, "%u:%u:%u", s->bus, s->slot, s->func);
	else if (s->func)
		snprintf(buf, SLOT_NAME_MAX, "%u:%u", s->slot, s->func);
	else
		snprintf(buf, SLOT_NAME_MAX, "%u", s->slot);
	return buf;
}

/* One module of -f multiboot. */
struct module_config {
	const char *path;
	const char *args; /* NULL: none */
};

struct vm_config {
	const char *name; /* of the machine, enters derived identities (UUID, MAC) */

	unsigned ncpus;           /* -c */
	u64 mem;                  /* -m, bytes, multiple of 4096 */
	enum config_accel accel;  /* --accel */
	int pin[CONFIG_CPUS_MAX]; /* -p: host CPU of each vCPU or -1 */

	enum config_boot boot; /* -f */
	/* -f kexec and -f multiboot, which has boot == CONFIG_BOOT_KEXEC */
	const char *kernel;
	const char *initrd;  /* NULL for none */
	const char *cmdline; /* if none was given: "auto", and "" with multiboot */
	/* -f iso, -f disk */
	const char *entry;  /* NULL: the default of the boot configuration */
	const char *append; /* NULL: nothing */
	/* -f multiboot */
	bool multiboot;
	struct module_config module[CONFIG_MODULES_MAX];
	unsigned nmodules;

	struct slot_config *slots; /* -s, in the order of the command line */
	unsigned nslots;
	const char *com[CONFIG_LPC_PORTS]; /* -l: console spec, NULL: nobody listens */

	const char *uuid;    /* -U as 8-4-4-4-12 hex digits; NULL: derived */
	const char *pidfile; /* -F */
	u16 bvmdebug_port;   /* -g: TCP port of the loopback (console_open_tcp), 0 = off */
	u16 debugexit_port;  /* -l debugexit: first of its I/O ports, 0 = off */

	bool acpi;                   /* -A */
	bool bvmcons;                /* -b: on stdio, which no other console has then */
	bool core_has_ram;           /* -C: guest memory is part of a core dump */
	bool strict_io;              /* -e: an access to a port nobody has ends the machine */
	bool exit_on_hlt;            /* -H */
	bool exit_on_pause;          /* -P */
	bool print_mac;              /* -M */
	bool rtc_utc;                /* -u */
	bool lax_msr;                /* -w */
	bool msi_only;               /* -W: virtio with one MSI instead of MSI-X */
	bool x2apic;                 /* -x */
	bool no_mptable;             /* -Y */
	bool explain;                /* --explain */
	bool stats;                  /* --stats */
	bool perf_map;               /* --perf-map */
	bool jit_check;              /* --jit-check */
	bool restart;                /* --on-reboot=restart */
	u64 code_cache;              /* --code-cache, bytes; 0: the accelerator's default */
	enum config_sandbox sandbox; /* --sandbox */
	const char *control;         /* --control: path of the socket, NULL: none */

	void *storage; /* of the strings; private to the command line */
};
