/*
 * The option table and its text views: help, version and the lists of -s help and -l help.
 */
#include "cli/parse.h"
#include "vm/device_table.h"

#define FLAG(field) .flag = offsetof(struct vm_config, field)

/* In the order of the help text. */
const struct option_def option_defs[] = {
        {{'A', NULL, NULL, "ACPI tables: power button, power off, all interrupt routing"}, FLAG(acpi)},
        {{'b', NULL, NULL, "FreeBSD's bvmcons console at port 0x220, on stdio"}, FLAG(bvmcons)},
        {{'c', NULL, "N", "number of CPUs, 1 to 16 (default 1)"}, opt_cpus, 0},
        {{'C', NULL, NULL, "put the guest's memory into a core dump of xhyve"}, FLAG(core_has_ram)},
        {{'e', NULL, NULL, "end when the guest uses an I/O port that nothing answers"}, FLAG(strict_io)},
        {{'f', NULL, "FIRMWARE",
                 "what to boot: kexec,KERNEL[,INITRD[,CMDLINE]]\n"
                 "loads a Linux kernel; CMDLINE may contain commas, files\n"
                 "may be inside an image: disk.img:/boot/vmlinuz.\n"
                 "iso or disk [,entry=N|NAME][,append=WORDS] starts what\n"
                 "the boot menu on the CD or disk in a slot has.\n"
                 "multiboot,KERNEL[,MODULE[;ARGS][:MODULE...]][,CMDLINE]\n"
                 "loads a Multiboot kernel"},
                opt_firmware, 0},
        {{'F', NULL, "PIDFILE", "write the process id to PIDFILE while running"}, opt_pidfile, 0},
        {{'g', NULL, "PORT", "FreeBSD's bvmdebug port, served on TCP PORT of the loopback"}, opt_bvmdebug, 0},
        {{'h', "help", NULL, "this text"}, opt_help, 0},
        {{'H', NULL, NULL, "leave the CPU to the host when the guest halts (always done)"},
                FLAG(exit_on_hlt)},
        {{'l', NULL, "PORT[,BACKEND]",
                 "connect com1 or com2 of the lpc device; \"-l help\" lists\nthe back ends and other ports"},
                opt_lpc, 0},
        {{'m', NULL, "SIZE",
                 "memory, 1M to 512G (default 256M); suffix k, m, g or t;\n"
                 "without suffix megabytes"},
                opt_mem, 0},
        {{'M', NULL, NULL, "print the MAC address of the first network device and end"}, FLAG(print_mac)},
        {{'p', NULL, "VCPU:HOSTCPU", "run a virtual CPU on one CPU of the host only"}, opt_pin, 0},
        {{'P', NULL, NULL, "leave the guest on PAUSE, for spinning CPUs"}, FLAG(exit_on_pause)},
        {{'s', NULL, "SLOT,DEVICE[,CONFIG]",
                 "put a device on the PCI bus; SLOT is S, S:F or B:S:F;\n\"-s help\" lists the devices"},
                opt_slot, 0},
        {{'u', NULL, NULL, "the real-time clock keeps UTC instead of local time"}, FLAG(rtc_utc)},
        {{'U', NULL, "UUID", "the machine's UUID"}, opt_uuid, 0},
        {{'v', "version", NULL, "version, accelerators and features of this build"}, opt_version, 0},
        {{'w', NULL, NULL, "ignore accesses to unknown MSRs instead of raising #GP"}, FLAG(lax_msr)},
        {{'W', NULL, NULL, "virtio devices use one MSI instead of MSI-X"}, FLAG(msi_only)},
        {{'x', NULL, NULL, "local APICs start in x2APIC mode"}, FLAG(x2apic)},
        {{'Y', NULL, NULL, "no MP table"}, FLAG(no_mptable)},
        {{0, "accel", "ACCEL", "auto, kvm, jit or interp: what runs the CPUs (default auto)"}, opt_accel, 0},
        {{0, "code-cache", "SIZE", "limit of the memory for translated code (default 192M)"}, opt_code_cache,
                0},
        {{0, "control", "unix:PATH", "a socket for xhyve-ctl: pause, discs, cables, counters, ..."},
                opt_control, 0},
        {{0, "explain", NULL,
                 "show the machine, the guest's names for its devices, and what\n"
                 "may be wrong; start and create nothing"},
                FLAG(explain)},
        {{0, "jit-check", NULL, "compare the translator with the reference engine"}, FLAG(jit_check)},
        {{0, "on-poweroff", "exit", "what a guest that switches itself off does: it ends xhyve"},
                opt_on_poweroff, 0},
        {{0, "on-reboot", "exit|restart",
                 "what a reset does: end xhyve with status 0 (default), or\n"
                 "start the machine again, kernel and initrd from their files"},
                opt_on_reboot, 0},
        {{0, "perf-map", NULL, "write /tmp/perf-PID.map, which names translated code for perf"},
                FLAG(perf_map)},
        {{0, "sandbox", "on|off", "confine the process to what it needs (default: on)"}, opt_sandbox, 0},
        {{0, "stats", NULL, "print counters to stderr at the end"}, FLAG(stats)},
};
const size_t option_def_count = ARRAY_SIZE(option_defs);

const struct cli_option *cli_option(size_t i)
{
	return i < option_def_count ? &option_defs[i].view : NULL;
}

#define HELP_COLUMN 27

static void print_option(const struct cli_option *o, FILE *out)
{
	char left[64] = "";
	size_t len = 0;
	const char *line = o->help;

	if (o->letter)
		len = (size_t)snprintf(left, sizeof(left), "-%c", o->letter);
	if (o->name)
		len += (size_t)snprintf(left + len, sizeof(left) - len, "%s--%s", len ? ", " : "", o->name);
	if (o->arg)
		snprintf(left + len, sizeof(left) - len, "%c%s", o->letter ? ' ' : '=', o->arg);
	fprintf(out, "  %-*s", HELP_COLUMN - 2, left);
	if (strlen(left) >= HELP_COLUMN - 2)
		fprintf(out, "\n%*s", HELP_COLUMN, "");
	for (;;) {
		size_t n = strcspn(line, "\n");

		fprintf(out, "%.*s\n", (int)n, line);
		if (!line[n])
			break;
		line += n + 1;
		fprintf(out, "%*s", HELP_COLUMN, "");
	}
}

static void print_help(FILE *out)
{
	fputs("usage: xhyve [options] -f kexec,KERNEL[,INITRD[,CMDLINE]] | -f iso | -f disk\n\n"
	      "Runs one virtual machine in this terminal.\n\n",
	        out);
	for (size_t i = 0; i < option_def_count; i++)
		print_option(&option_defs[i].view, out);
	fputs("\na kernel:     xhyve -A -m 1G -s 0,hostbridge -s 31,lpc -l com1,stdio \\\n"
	      "                  -f kexec,vmlinuz,initrd.gz,\"console=ttyS0\"\n"
	      "an installer: xhyve -A -m 1G -s 0,hostbridge -s 31,lpc -l com1,stdio -s 3,virtio-net \\\n"
	      "                  -s 1,ahci-cd,install.iso \\\n"
	      "                  -s 2,virtio-blk,hdd.img,size=20G,split=1G,sparse,sectorsize=4096 -f iso\n"
	      "from then on: the same without the CD, and -f disk\n\n"
	      "exit status: 0 reset, 1 power off, 2 halt, 3 triple fault, 4 failure of xhyve,\n"
	      "             64 bad command line, 100 any other end of the guest\n",
	        out);
}

static void print_devices(FILE *out)
{
	fputs("-s SLOT,DEVICE[,CONFIG] with SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION;\n"
	      "bus 0 to 255, slot 0 to 31, function 0 to 7. Devices:\n",
	        out);
	for (size_t i = 0; i < device_type_count; i++) {
		const struct device_type *t = &device_types[i];

		if (t->flags & DEVICE_ABSENT)
			continue;
		fprintf(out, "  %-16s %s%s%s%s\n", t->name, t->description, t->alias ? " (also " : "",
		        t->alias ? t->alias : "", t->alias ? ")" : "");
		if (t->config_help)
			fprintf(out, "  %-16s CONFIG: %s\n", "", t->config_help);
	}
	fputs("\nDisks: size=N creates the image; split=N, in parts; sparse, which take what is used; "
	      "sectorsize=N;\n"
	      "ro, sync, nocache, serial=TEXT. Networks: user, or nothing, needs no root (the guest gets an "
	      "address\n"
	      "by DHCP, the host is 10.0.2.2 there, fwd=2222:22 leads from a port of the host to one of the "
	      "guest);\n"
	      "tapN; socket,... ; and mac=ADDRESS. All of it: man xhyve, \"Slots and devices\".\n",
	        out);
}

static void print_ports(FILE *out)
{
	fputs("-l PORT[,BACKEND] with PORT com1 or com2. Back ends:\n"
	      "  stdio            standard input and output; Ctrl-] ? shows the escape keys\n"
	      "  null             output is dropped, there is no input\n"
	      "  autopty[=PATH]   a new pseudo terminal; its name is printed, or written to PATH\n"
	      "  log=PATH         output is appended to the file PATH\n"
	      "  unix:PATH        a UNIX socket at PATH, one client at a time\n"
	      "  /dev/...         a terminal or another character device\n"
	      "Several back ends, separated by commas, all get the output.\n"
	      "-l debugexit[,port=N]: a guest that writes V to I/O port N (0xf4) ends the machine with\n"
	      "status V * 2 + 1 (modulo 256).\n",
	        out);
}

void cli_print(enum cli_action what, const char *const *features, FILE *out)
{
	switch (what) {
	case CLI_HELP: print_help(out); break;
	case CLI_VERSION:
		fputs("xhyve " XHYVE_VERSION "\n", out);
		for (; *features; features++)
			fprintf(out, "  %s\n", *features);
		break;
	case CLI_LIST_DEVICES: print_devices(out); break;
	case CLI_LIST_PORTS: print_ports(out); break;
	case CLI_RUN: break;
	}
}
