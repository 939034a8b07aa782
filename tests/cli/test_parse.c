/*
 * Command lines and what they mean. A good line is compared with a one-line text of the whole
 * configuration (only what differs from the defaults), a bad one with its exact message. Words are
 * separated by blanks; '...' quotes. Parsing is pure, so the test runs in an empty directory that
 * nobody may write to, and looks that it stays empty.
 */
#include "cli/cli.h"
#include "vm/device_table.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct args {
	char text[4096];
	const char *argv[256];
	int argc;
};

static void split(struct args *a, const char *line)
{
	char *out = a->text;

	a->argc = 0;
	a->argv[a->argc++] = "xhyve";
	while (*line) {
		line += strspn(line, " ");
		if (!*line)
			break;
		a->argv[a->argc++] = out;
		for (bool quoted = false; *line && (quoted || *line != ' '); line++) {
			if (*line == '\'')
				quoted = !quoted;
			else
				*out++ = *line;
		}
		*out++ = 0;
	}
	a->argv[a->argc] = NULL;
}

/* -- a configuration as text -- */

struct text {
	char buf[4096];
	size_t len;
};

static PRINTF_LIKE(2, 3) void add(struct text *t, const char *fmt, ...)
{
	va_list ap;

	if (t->len)
		t->buf[t->len++] = ' ';
	va_start(ap, fmt);
	t->len += (size_t)vsnprintf(t->buf + t->len, sizeof(t->buf) - t->len, fmt, ap);
	va_end(ap);
	assert_true(t->len < sizeof(t->buf) - 1);
}

static void add_flags(struct text *t, const struct vm_config *c)
{
	const struct {
		bool on;
		const char *name;
	} flags[] = {
	        {c->acpi, "acpi"},
	        {c->bvmcons, "bvmcons"},
	        {c->core_has_ram, "core"},
	        {c->strict_io, "strict"},
	        {c->exit_on_hlt, "hlt"},
	        {c->exit_on_pause, "pause"},
	        {c->print_mac, "mac"},
	        {c->rtc_utc, "utc"},
	        {c->lax_msr, "lax"},
	        {c->msi_only, "msi"},
	        {c->x2apic, "x2apic"},
	        {c->no_mptable, "nomp"},
	        {c->stats, "stats"},
	        {c->perf_map, "perfmap"},
	        {c->jit_check, "jitcheck"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (flags[i].on)
			add(t, "%s", flags[i].name);
	}
}

static void add_board(struct text *t, const struct vm_config *c)
{
	for (unsigned i = 0; i < c->nslots; i++) {
		const struct slot_config *s = &c->slots[i];

		add(t, "%u:%u:%u=%s", s->bus, s->slot, s->func, s->type->name);
		if (*s->config)
			add(t, "(%s)", s->config);
	}
	for (unsigned i = 0; i < CONFIG_LPC_PORTS; i++) {
		if (c->com[i])
			add(t, "com%u=%s", i + 1, c->com[i]);
	}
}

static void describe(struct text *t, const struct vm_config *c)
{
	static const char *const accels[] = {"auto", "kvm", "jit", "interp"};
	char size[32];

	*t = (struct text){.len = 0};
	add_flags(t, c);
	if (c->ncpus != 1)
		add(t, "cpus=%u", c->ncpus);
	if (c->mem != CONFIG_MEM_DEFAULT)
		add(t, "mem=%s", format_size(c->mem, size, sizeof(size)));
	if (c->accel != CONFIG_ACCEL_AUTO)
		add(t, "accel=%s", accels[c->accel]);
	if (c->control)
		add(t, "control=%s", c->control);
	if (c->sandbox)
		add(t, "sandbox=%d", (int)c->sandbox);
	if (c->restart)
		add(t, "restart");
	if (c->code_cache)
		add(t, "cache=%llu", (unsigned long long)c->code_cache);
	for (unsigned i = 0; i < CONFIG_CPUS_MAX; i++) {
		if (c->pin[i] >= 0)
			add(t, "pin%u=%d", i, c->pin[i]);
	}
	add_board(t, c);
	if (c->uuid)
		add(t, "uuid=%s", c->uuid);
	if (c->pidfile)
		add(t, "pidfile=%s", c->pidfile);
	if (c->bvmdebug_port)
		add(t, "gdb=%u", c->bvmdebug_port);
	if (c->debugexit_port)
		add(t, "exit=0x%x", c->debugexit_port);
	if (c->boot != CONFIG_BOOT_KEXEC) {
		add(t, "%s", c->boot == CONFIG_BOOT_ISO ? "<iso>" : "<disk>");
		if (c->entry)
			add(t, "entry<%s>", c->entry);
		if (c->append)
			add(t, "append<%s>", c->append);
		if (c->multiboot)
			add(t, "multiboot");
		return;
	}
	add(t, "%s", c->kernel);
	if (c->initrd)
		add(t, "+%s", c->initrd);
	if (c->multiboot)
		add(t, "multiboot");
	for (unsigned i = 0; i < c->nmodules; i++)
		add(t, "[%s]%s", c->module[i].path, c->module[i].args ? c->module[i].args : "");
	if (strcmp(c->cmdline, c->multiboot ? "" : "auto") != 0)
		add(t, "\"%s\"", c->cmdline);
}

#define K " -f kexec,k"

static const struct good {
	const char *line, *config;
} good[] = {
        {"-f kexec,k", "k"},
        {"-fkexec,k", "k"},
        /* -f */
        {"-f kexec,k,", "k"},
        {"-f kexec,k,,", "k"},
        {"-f kexec,k,i", "k +i"},
        {"-f kexec,k,i,", "k +i"},
        {"-f kexec,k,,c", "k \"c\""},
        {"-f 'kexec,k,i,earlyprintk console=ttyS0'", "k +i \"earlyprintk console=ttyS0\""},
        {"-f 'kexec,k,i,a=1,b=2,,c'", "k +i \"a=1,b=2,,c\""},
        {"-f kexec,k,i,auto", "k +i"},
        {"-f kexec,k,i,,", "k +i \",\""},
        {"-f 'kexec,a b,c d,e'", "a b +c d \"e\""},
        {"-f kexec,k -f kexec,l", "l"},
        {"-f kexec,a.iso:/k,d.img:2:/i,c", "a.iso:/k +d.img:2:/i \"c\""},
        {"-f iso", "<iso>"},
        {"-f disk,", "<disk>"},
        {"-f iso,entry=2", "<iso> entry<2>"},
        {"-f 'disk,entry=Debian GNU/Linux, with 6.1,append=a=b,c d'",
                "<disk> entry<Debian GNU/Linux, with 6.1> append<a=b,c d>"},
        {"-f iso,append=a,entry=2", "<iso> append<a,entry=2>"},
        {"-f iso,entry=1 -f disk", "<disk>"},
        {"-f multiboot,k", "k multiboot"},
        {"-f multiboot,k,,", "k multiboot"},
        {"-f multiboot,k,m", "k multiboot [m]"},
        {"-f 'multiboot,k,m;a b=c:n:o;,x y,z'", "k multiboot [m]a b=c [n] [o] \"x y,z\""},
        {"-f multiboot,k,,auto", "k multiboot \"auto\""},
        {"-f multiboot,k,m -f kexec,l", "l"},
        {"-f multiboot,k,m -f disk", "<disk>"},
        {"-f kexec,l,i,c -f multiboot,k", "k multiboot"},
        /* flags alone and clustered */
        {"-A" K, "acpi k"},
        {"-b" K, "bvmcons k"},
        {"-C" K, "core k"},
        {"-e" K, "strict k"},
        {"-H" K, "hlt k"},
        {"-P" K, "pause k"},
        {"-M" K, "mac k"},
        {"-u" K, "utc k"},
        {"-w" K, "lax k"},
        {"-W" K, "msi k"},
        {"-x" K, "x2apic k"},
        {"-Y" K, "nomp k"},
        {"-Y -A" K, "acpi nomp k"},
        {"-AHPx" K, "acpi hlt pause x2apic k"},
        {"-bCeMuwWY" K, "bvmcons core strict mac utc lax msi nomp k"},
        {"-A -A -AA" K, "acpi k"},
        {"-Afkexec,k", "acpi k"},
        {"-Af kexec,k", "acpi k"},
        {"-Ac2" K, "acpi cpus=2 k"},
        {"-AHc 2 -xm 1G" K, "acpi hlt x2apic cpus=2 mem=1G k"},
        {"--stats" K, "stats k"},
        {"--perf-map" K, "perfmap k"},
        {"--jit-check" K, "jitcheck k"},
        {"--control=unix:/a/b" K, "control=/a/b k"},
        {"--sandbox=on" K, "sandbox=1 k"},
        {"--sandbox=off" K, "sandbox=2 k"},
        {"--on-reboot=restart" K, "restart k"},
        {"--on-reboot=restart --on-reboot=exit --on-poweroff=exit" K, "k"},
        {"--code-cache=64M" K, "cache=67108864 k"},
        {"--code-cache=64" K, "cache=67108864 k"},
        {"-f kexec,k --", "k"},
        /* -c */
        {"-c 1" K, "k"},
        {"-c 16" K, "cpus=16 k"},
        {"-c16" K, "cpus=16 k"},
        {"-c 08" K, "cpus=8 k"},
        {"-c 0x4" K, "cpus=4 k"},
        {"-c 2 -c 3" K, "cpus=3 k"},
        /* -m */
        {"-m 256" K, "k"},
        {"-m 1" K, "mem=1M k"},
        {"-m 512" K, "mem=512M k"},
        {"-m 1048576" K, "mem=1M k"},
        {"-m 2097152" K, "mem=2M k"},
        {"-m 268435456" K, "k"},
        {"-m 0x400" K, "mem=1G k"},
        {"-m 010" K, "mem=8M k"},
        {"-m 1G" K, "mem=1G k"},
        {"-m 1g" K, "mem=1G k"},
        {"-m1G" K, "mem=1G k"},
        {"-m 512m" K, "mem=512M k"},
        {"-m 512M" K, "mem=512M k"},
        {"-m 65536k" K, "mem=64M k"},
        {"-m 1048576b" K, "mem=1M k"},
        {"-m 0x10000k" K, "mem=64M k"},
        {"-m 4G" K, "mem=4G k"},
        {"-m 512G" K, "mem=512G k"},
        {"-m 524288" K, "mem=512G k"},
        {"-m 1028k" K, "mem=1028K k"},
        /* -s: forms, aliases, configs */
        {"-s 0,hostbridge" K, "0:0:0=hostbridge k"},
        {"-s 0:0,hostbridge" K, "0:0:0=hostbridge k"},
        {"-s 0:0:0,hostbridge" K, "0:0:0=hostbridge k"},
        {"-s0,hostbridge" K, "0:0:0=hostbridge k"},
        {"-s 31,lpc" K, "0:31:0=lpc k"},
        {"-s 31:0,lpc" K, "0:31:0=lpc k"},
        {"-s 08,amd_hostbridge" K, "0:8:0=amd_hostbridge k"},
        {"-s 5,disk,a -s 5:7,disk,b" K, "0:5:0=disk (a) 0:5:7=disk (b) k"},
        {"-s 5:7,disk,b -s 5,disk,a" K, "0:5:7=disk (b) 0:5:0=disk (a) k"},
        {"-Y -s 255:31:0,disk,a" K, "nomp 255:31:0=disk (a) k"},
        {"-s 1:2:0,disk,a -Y" K, "nomp 1:2:0=disk (a) k"},
        {"-Y -s 3,disk,a -s 1:3:0,disk,b" K, "nomp 0:3:0=disk (a) 1:3:0=disk (b) k"},
        {"-s 2,disc,hdd.img,size=20G,sparse" K, "0:2:0=disk (hdd.img,size=20G,sparse) k"},
        {"-s 2,disk,,x" K, "0:2:0=disk (,x) k"},
        {"-s 2,hostbridge," K, "0:2:0=hostbridge k"},
        {"-s 2,uart" K, "0:2:0=uart k"},
        {"-s 2,uart,stdio" K, "0:2:0=uart (stdio) k"},
        {"-s 2,uart,/dev/ttyS1 -s 3,uart,null" K, "0:2:0=uart (/dev/ttyS1) 0:3:0=uart (null) k"},
        /* -l */
        {"-s 31,lpc -l com1,stdio" K, "0:31:0=lpc com1=stdio k"},
        {"-l com1,stdio -s 31,lpc" K, "0:31:0=lpc com1=stdio k"},
        {"-s 31,lpc -l COM1,stdio" K, "0:31:0=lpc com1=stdio k"},
        {"-s 31,lpc -lcom2,stdio" K, "0:31:0=lpc com2=stdio k"},
        {"-s 31,lpc -l com1,stdio -l com2,autopty" K, "0:31:0=lpc com1=stdio com2=autopty k"},
        {"-s 31,lpc -l com1,autopty=/a,log=/b" K, "0:31:0=lpc com1=autopty=/a,log=/b k"},
        {"-s 31,lpc -l com2,unix:/a/b" K, "0:31:0=lpc com2=unix:/a/b k"},
        {"-s 31,lpc -l com2,/dev/ttyUSB0" K, "0:31:0=lpc com2=/dev/ttyUSB0 k"},
        {"-s 31,lpc -l com1,stdio -l com1,null" K, "0:31:0=lpc com1=null k"},
        {"-s 31,lpc -l com2,stdio -l com2,null -l com1,stdio" K, "0:31:0=lpc com1=stdio com2=null k"},
        {"-s 31,lpc -l com1,stdio -l com1" K, "0:31:0=lpc k"},
        {"-s 31,lpc -l com1" K, "0:31:0=lpc k"},
        {"-l com1" K, "k"},
        {"-l debugexit" K, "exit=0xf4 k"},
        {"-l debugexit,port=0x501" K, "exit=0x501 k"},
        {"-l debugexit,port=8188" K, "exit=0x1ffc k"},
        /* -p -g -F -U --accel */
        {"-p 0:3" K, "pin0=3 k"},
        {"-c 2 -p 1:1023 -p 0:0" K, "cpus=2 pin0=0 pin1=1023 k"},
        {"-p 1:0 -c 2" K, "cpus=2 pin1=0 k"},
        {"-p 0:3 -p 0:3" K, "pin0=3 k"},
        {"-g 1234" K, "gdb=1234 k"},
        {"-g 0" K, "k"},
        {"-g 65535" K, "gdb=65535 k"},
        {"-F /run/x.pid" K, "pidfile=/run/x.pid k"},
        {"-F ./-x" K, "pidfile=./-x k"},
        {"-U 01234567-89ab-cdef-ABCD-EF0123456789" K, "uuid=01234567-89ab-cdef-ABCD-EF0123456789 k"},
        {"--accel=kvm" K, "accel=kvm k"},
        {"--accel kvm" K, "accel=kvm k"},
        {"--accel=jit" K, "accel=jit k"},
        {"--accel=interp" K, "accel=interp k"},
        {"--accel=kvm --accel=auto" K, "k"},
        /* Whole lines from the wild */
        {"-A -m 1G -s 0:0,hostbridge -s 31,lpc -l com1,stdio -s 3,disk,hdd.img "
         "-f 'kexec,vmlinuz,initrd.gz,earlyprintk=serial console=ttyS0'",
                "acpi mem=1G 0:0:0=hostbridge 0:31:0=lpc 0:3:0=disk (hdd.img) com1=stdio vmlinuz +initrd.gz "
                "\"earlyprintk=serial console=ttyS0\""},
        {"-A -u -F d/pid -c 2 -m 2048M -s 0:0,hostbridge -s 31,lpc "
         "-U edbb4e9c-1217-4507-82a4-174e5e2bd17f -l com1,autopty=d/tty,log=d/ring -f kexec,k,i,c",
                "acpi utc cpus=2 mem=2G 0:0:0=hostbridge 0:31:0=lpc com1=autopty=d/tty,log=d/ring "
                "uuid=edbb4e9c-1217-4507-82a4-174e5e2bd17f pidfile=d/pid k +i \"c\""},
};

static const struct bad {
	const char *line, *message;
} bad[] = {
        {"", "no kernel: give -f kexec,KERNEL[,INITRD[,CMDLINE]], -f iso or -f disk (xhyve -h lists the "
             "options)"},
        {"-A", "no kernel: give -f kexec,KERNEL[,INITRD[,CMDLINE]], -f iso or -f disk (xhyve -h lists the "
               "options)"},
        /* unknown options and words */
        {"-q" K, "unknown option -q (xhyve -h lists the options)"},
        {"-Aq" K, "unknown option -q in \"-Aq\" (xhyve -h lists the options)"},
        {"-A-" K, "unknown option -- in \"-A-\" (xhyve -h lists the options)"},
        {"--acel=kvm" K, "unknown option --acel: did you mean --accel?"},
        {"--statistics" K, "unknown option --statistics (xhyve -h lists the options)"},
        {"--=x" K, "unknown option -- (xhyve -h lists the options)"},
        {"--stats=1" K, "--stats takes no value"},
        {"--control=/a" K, "--control=/a: must be unix:PATH"},
        {"--control=unix:" K, "--control=unix:: must be unix:PATH"},
        {"--sandbox=yes" K, "--sandbox=yes: must be on or off"},
        {"--on-reboot=again" K, "--on-reboot=again: must be exit or restart"},
        {"--on-poweroff=restart" K, "--on-poweroff=restart: must be exit"},
        {"--code-cache=1M" K, "--code-cache=1M: must be a size of 8M to 2G"},
        {"--code-cache=3G" K, "--code-cache=3G: must be a size of 8M to 2G"},
        {"--code-cache=big" K, "--code-cache=big: must be a size of 8M to 2G"},
        {"--accel", "--accel needs a value: --accel=ACCEL"},
        {"--stat" K, "unknown option --stat: did you mean --stats?"},
        {"foo" K, "unexpected word \"foo\" (xhyve -h lists the options)"},
        {"'' -A" K, "unexpected word \"\" (xhyve -h lists the options)"},
        {"-" K, "unexpected word \"-\" (xhyve -h lists the options)"},
        {"-A foo" K, "unexpected word \"foo\" (xhyve -h lists the options)"},
        {"-f kexec,k,i,a b=1", "unexpected word \"b=1\" (the kernel's command line must be one word: "
                               "-f kexec,KERNEL,INITRD,\"WORDS\")"},
        {"-A -- x" K, "unexpected word \"x\" (xhyve -h lists the options)"},
        {"-c", "-c needs a value: -c N"},
        {"-A -m", "-m needs a value: -m SIZE"},
        {"-f", "-f needs a value: -f FIRMWARE"},
        {"-AF", "-F needs a value: -F PIDFILE"},
        /* -f */
        {"-f kexec", "-f kexec: names no kernel: -f kexec,KERNEL[,INITRD[,CMDLINE]]"},
        {"-f kexec,", "-f kexec: names no kernel: -f kexec,KERNEL[,INITRD[,CMDLINE]]"},
        {"-f kexec,,i", "-f kexec: names no kernel: -f kexec,KERNEL[,INITRD[,CMDLINE]]"},
        {"-f kexecX,k", "-f kexecX: unknown loader: did you mean kexec?"},
        {"-f kexc,k", "-f kexc: unknown loader: did you mean kexec?"},
        {"-f fbsd,a,b,c", "-f fbsd: this version boots kernels: -f kexec,KERNEL[,INITRD[,CMDLINE]], -f "
                          "multiboot,..., -f iso, -f disk"},
        {"-f bootrom,a,,", "-f bootrom: this version boots kernels: -f kexec,KERNEL[,INITRD[,CMDLINE]], -f "
                           "multiboot,..., -f iso, -f disk"},
        {"-f vmlinuz", "-f vmlinuz: unknown loader; this version boots kernels: -f "
                       "kexec,KERNEL[,INITRD[,CMDLINE]], -f multiboot,..., -f iso, -f disk"},
        {"-f ''", "-f : unknown loader; this version boots kernels: -f kexec,KERNEL[,INITRD[,CMDLINE]], -f "
                  "multiboot,..., -f iso, -f disk"},
        {"-f iso,entry", "-f iso,entry: the options are entry=N or entry=NAME, and append=WORDS"},
        {"-f disk,entyr=1,append=x",
                "-f disk,entyr=1: the options are entry=N or entry=NAME, and append=WORDS"},
        {"-f iso,entry=", "-f iso,entry=: names no entry"},
        {"-f dsik", "-f dsik: unknown loader: did you mean disk?"},
        {"-f multibot,k", "-f multibot: unknown loader: did you mean multiboot?"},
        {"-f multiboot,,m", "-f multiboot: names no kernel: "
                            "-f multiboot,KERNEL[,MODULE[;ARGS][:MODULE...]][,CMDLINE]"},
        {"-f multiboot,k,m::n", "-f multiboot: a module has no path: "
                                "-f multiboot,KERNEL[,MODULE[;ARGS][:MODULE...]][,CMDLINE]"},
        {"-f 'multiboot,k,;a'", "-f multiboot: a module has no path: "
                                "-f multiboot,KERNEL[,MODULE[;ARGS][:MODULE...]][,CMDLINE]"},
        /* -c */
        {"-c 0" K, "-c 0: number of CPUs must be 1 to 16"},
        {"-c 17" K, "-c 17: number of CPUs must be 1 to 16"},
        {"-c -1" K, "-c -1: number of CPUs must be 1 to 16"},
        {"-c abc" K, "-c abc: number of CPUs must be 1 to 16"},
        {"-c 2x" K, "-c 2x: number of CPUs must be 1 to 16"},
        {"-c ''" K, "-c : number of CPUs must be 1 to 16"},
        {"-c 99999999999999999999" K, "-c 99999999999999999999: number of CPUs must be 1 to 16"},
        {"-c2A" K, "-c 2A: number of CPUs must be 1 to 16"},
        /* -m */
        {"-m 1x" K, "-m 1x: not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m ''" K, "-m : not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m 1KB" K, "-m 1KB: not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m 1.5G" K, "-m 1.5G: not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m -1k" K, "-m -1k: not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m 20Gfoo" K, "-m 20Gfoo: not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m G" K, "-m G: not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m 08" K, "-m 08: not a size: a number, then k, m, g, t or nothing for megabytes"},
        {"-m 0" K, "-m 0: memory must be 1M to 512G (a number without suffix counts megabytes, from 1048576 "
                   "on bytes)"},
        {"-m 600000" K, "-m 600000: memory must be 1M to 512G (a number without suffix counts megabytes, "
                        "from 1048576 on "
                        "bytes)"},
        {"-m 0k" K, "-m 0k: memory must be 1M to 512G"},
        {"-m 1023k" K, "-m 1023k: memory must be 1M to 512G"},
        {"-m 513G" K, "-m 513G: memory must be 1M to 512G"},
        {"-m 1t" K, "-m 1t: memory must be 1M to 512G"},
        {"-m 1048575" K, "-m 1048575: memory must be 1M to 512G (a number without suffix counts megabytes, "
                         "from 1048576 on "
                         "bytes)"},
        {"-Ac2xm1G" K, "-c 2xm1G: number of CPUs must be 1 to 16"},
        {"-m 16e" K, "-m 16e: memory must be 1M to 512G"},
        {"-m 99999999999999999999g" K, "-m 99999999999999999999g: memory must be 1M to 512G"},
        {"-m 1025k" K, "-m 1025k: memory must be a multiple of 4096 bytes"},
        {"-m 1048577" K, "-m 1048577: memory must be a multiple of 4096 bytes"},
        /* -s */
        {"-s 0" K, "-s 0: names no device: -s SLOT,DEVICE[,CONFIG]"},
        {"-s 0," K, "-s 0: names no device: -s SLOT,DEVICE[,CONFIG]"},
        {"-s ''" K, "-s : names no device: -s SLOT,DEVICE[,CONFIG]"},
        {"-s ,lpc" K, "-s : \"\" is not a slot number; slots are S, S:F or B:S:F"},
        {"-s 3x,lpc" K, "-s 3x: \"3x\" is not a slot number; slots are S, S:F or B:S:F"},
        {"-s -1,lpc" K, "-s -1: \"-1\" is not a slot number; slots are S, S:F or B:S:F"},
        {"-s lpc,3" K, "-s lpc: \"lpc\" is not a slot number; slots are S, S:F or B:S:F"},
        {"-s 32,lpc" K, "-s 32: slot must be 0 to 31"},
        {"-s 3:8,lpc" K, "-s 3:8: function must be 0 to 7"},
        {"-s 3:,lpc" K, "-s 3:: \"\" is not a function number; slots are S, S:F or B:S:F"},
        {"-s :3,lpc" K, "-s :3: \"\" is not a slot number; slots are S, S:F or B:S:F"},
        {"-s 256:0:0,disk,x" K, "-s 256:0:0: bus must be 0 to 255"},
        {"-s 0:32:0,lpc" K, "-s 0:32:0: slot must be 0 to 31"},
        {"-s 0:0:9,lpc" K, "-s 0:0:9: function must be 0 to 7"},
        {"-s x:0:0,lpc" K, "-s x:0:0: \"x\" is not a bus number; slots are S, S:F or B:S:F"},
        {"-s 0:0:0:0,lpc" K, "-s 0:0:0:0: too many numbers; slots are S, S:F or B:S:F"},
        {"-s 3,virito-net,vmnet0" K,
                "-s 3,virito-net: unknown device: did you mean virtio-net? (-s help lists them)"},
        {"-s 3,LPC" K, "-s 3,LPC: unknown device: did you mean lpc? (-s help lists them)"},
        {"-s 3,passthru,1/2/3" K, "-s 3,passthru: unknown device (-s help lists them)"},
        {"-s 3,virtio-net,vmnet0" K,
                "-s 3,virtio-net: this version has no virtio-net (-s help lists what it has)"},
        {"-s 3,virtio-tap,tap0" K,
                "-s 3,virtio-tap: this version has no virtio-tap (-s help lists what it has)"},
        {"-s 3,disk" K, "-s 3,disk: no path"},
        {"-s 3,disk," K, "-s 3,disk: no path"},
        {"-s 3,hostbridge,x" K, "-s 3,hostbridge,x: hostbridge takes no configuration"},
        {"-s 3,uart,stdoi" K, "-s 3,uart: stdoi: unknown back end: did you mean stdio?"},
        {"-s 3,disk,a -s 3,disk,b" K, "-s 3,disk: slot 3 is already taken by disk"},
        {"-s 3,hostbridge -s 3:0,disk,b" K, "-s 3:0,disk: slot 3 is already taken by hostbridge"},
        {"-s 0:3:1,hostbridge -s 3:1,disk,b" K, "-s 3:1,disk: slot 3:1 is already taken by hostbridge"},
        {"-Y -s 1:3:0,disk,a -s 1:3:0,disk,b" K, "-s 1:3:0,disk: slot 1:3:0 is already taken by disk"},
        {"-s 31,lpc -s 30,lpc" K, "-s 30,lpc: there can be only one, and slot 31 has it"},
        {"-Y -s 1:31:0,lpc" K, "-s 1:31:0,lpc: must be on bus 0"},
        {"-s 1:3:0,disk,a" K, "-s 1:3:0,disk: the MP table describes bus 0 only; other buses need -Y"},
        {"-s 3:1,disk,a" K,
                "-s 3:1,disk: slot 3 has no function 0; without it guests do not look for others"},
        /* -l */
        {"-l com3,stdio" K, "-l com3: the lpc device has com1 and com2 only"},
        {"-l COM4" K, "-l COM4: the lpc device has com1 and com2 only"},
        {"-l con1,stdio" K, "-l con1: unknown port: did you mean com1? (-l help lists them)"},
        {"-l tty,stdio" K, "-l tty: unknown port (-l help lists them)"},
        {"-l ''" K, "-l : unknown port (-l help lists them)"},
        {"-l bootrom,x" K, "-l bootrom: this version has no firmware images; it boots Linux kernels: "
                           "-f kexec,KERNEL[,INITRD[,CMDLINE]]"},
        {"-l debugexit,port=0x1ffd" K, "-l debugexit,port=0x1ffd: the port must be 1 to 0x1ffc"},
        {"-l debugexit,port=0" K, "-l debugexit,port=0: the port must be 1 to 0x1ffc"},
        {"-l debugexit,port=" K, "-l debugexit,port=: the port must be 1 to 0x1ffc"},
        {"-l debugexit,0xf4" K, "-l debugexit,0xf4: the only option is port=N"},
        {"-l debugexi" K, "-l debugexi: unknown port: did you mean debugexit? (-l help lists them)"},
        {"-l com1," K, "-l com1,a back end is missing (-l help lists them)"},
        {"-l com1,stdoi" K, "-l com1,stdoi: unknown back end: did you mean stdio?"},
        {"-l com1,stdio,stdio" K, "-l com1,stdio: named twice"},
        {"-l com1,asl" K, "-l com1,asl: Apple's system log does not exist here; use log=PATH"},
        {"-l com1,stdio" K, "-l com1,stdio: the ports belong to the lpc device: add -s 31,lpc"},
        {"-s 31,lpc -l com1,stdio -l com2,stdio" K, "-l com2: stdio is already used by -l com1"},
        {"-s 31,lpc -l com1,stdio -s 2,uart,log=x,stdio" K, "-s 2,uart: stdio is already used by -l com1"},
        {"-s 31,lpc -l com1,stdio -b" K, "-l com1: stdio is already used by -b"},
        {"-b -s 2,uart,stdio" K, "-s 2,uart: stdio is already used by -b"},
        {"-s 2,uart,stdio -s 3,uart,stdio" K, "-s 3,uart: stdio is already used by -s 2,uart"},
        /* -p */
        {"-p 0" K, "-p 0: must be VCPU:HOSTCPU"},
        {"-p ''" K, "-p : must be VCPU:HOSTCPU"},
        {"-p 16:0" K, "-p 16:0: virtual CPU must be 0 to 15"},
        {"-p x:0" K, "-p x:0: virtual CPU must be 0 to 15"},
        {"-p 0:" K, "-p 0:: host CPU must be 0 to 1023"},
        {"-p 0:1024" K, "-p 0:1024: host CPU must be 0 to 1023"},
        {"-p 0:1x" K, "-p 0:1x: host CPU must be 0 to 1023"},
        {"-p 0:1:2" K, "-p 0:1:2: host CPU must be 0 to 1023"},
        {"-p 0:1 -p 0:2" K, "-p 0:2: virtual CPU 0 is already on host CPU 1"},
        {"-p 1:0" K, "-p 1:0: there is no virtual CPU 1 with -c 1"},
        {"-c 4 -p 3:0 -c 2" K, "-p 3:0: there is no virtual CPU 3 with -c 2"},
        /* -g -F -U --accel */
        {"-g 65536" K, "-g 65536: TCP port must be 1 to 65535, or 0 for none"},
        {"-g x" K, "-g x: TCP port must be 1 to 65535, or 0 for none"},
        {"-F ''" K, "-F: the name of the pid file is empty"},
        {"-F -A" K, "-F -A: looks like an option; a file of that name is ./-A"},
        {"-U 1" K, "-U 1: not a UUID (8-4-4-4-12 hexadecimal digits)"},
        {"-U ''" K, "-U : not a UUID (8-4-4-4-12 hexadecimal digits)"},
        {"-U 01234567-89ab-cdef-ABCD-EF012345678g" K,
                "-U 01234567-89ab-cdef-ABCD-EF012345678g: not a UUID (8-4-4-4-12 hexadecimal digits)"},
        {"-U 01234567-89ab-cdef-ABCD-EF01234567890" K,
                "-U 01234567-89ab-cdef-ABCD-EF01234567890: not a UUID (8-4-4-4-12 hexadecimal digits)"},
        {"-U 0123456789ab-cdef-ABCD-EF0123456789-" K,
                "-U 0123456789ab-cdef-ABCD-EF0123456789-: not a UUID (8-4-4-4-12 hexadecimal digits)"},
        {"--accel=kvmm" K, "--accel=kvmm: must be auto, kvm, jit or interp; did you mean kvm?"},
        {"--accel=tcg9999" K, "--accel=tcg9999: must be auto, kvm, jit or interp"},
        {"--accel=" K, "--accel=: must be auto, kvm, jit or interp"},
        {"--accel KVM" K, "--accel=KVM: must be auto, kvm, jit or interp; did you mean kvm?"},
        /* the first mistake counts */
        {"-c 0 -m 0 -q", "-c 0: number of CPUs must be 1 to 16"},
        {"-c 0 -h", "-c 0: number of CPUs must be 1 to 16"},
        {"-A '\x1b[31m'" K, "unexpected word \"?[31m\" (xhyve -h lists the options)"},
};

static const struct {
	const char *line;
	enum cli_action action;
} actions[] = {
        {"-h", CLI_HELP},
        {"--help", CLI_HELP},
        {"-Ah", CLI_HELP},
        {"-c 2 -h -q", CLI_HELP},
        {"-v", CLI_VERSION},
        {"--version", CLI_VERSION},
        {"-s help", CLI_LIST_DEVICES},
        {"-s 0,hostbridge -s help", CLI_LIST_DEVICES},
        {"-l help", CLI_LIST_PORTS},
};

/* -- the tests -- */

static void test_good(void **state)
{
	struct args *a = malloc(sizeof(*a));
	struct text *t = malloc(sizeof(*t));

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct vm_config c;
		struct err e = {0};
		int r;

		split(a, good[i].line);
		r = cli_parse(a->argc, a->argv, &c, &e);
		if (r)
			fail_msg("%s: refused: %d %s", good[i].line, r, e.text);
		memset(a->text, 'Z', sizeof(a->text)); /* the configuration has copies */
		describe(t, &c);
		if (strcmp(t->buf, good[i].config) != 0)
			fail_msg("%s:\n  is     %s\n  not    %s", good[i].line, t->buf, good[i].config);
		cli_config_free(&c);
	}
	free(a);
	free(t);
}

static void test_bad(void **state)
{
	struct args *a = malloc(sizeof(*a));

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vm_config c;
		struct err e = {0};
		int r;

		split(a, bad[i].line);
		r = cli_parse(a->argc, a->argv, &c, &e);
		if (r >= 0)
			fail_msg("%s: accepted", bad[i].line);
		if (strcmp(e.text, bad[i].message) != 0)
			fail_msg("%s:\n  says   %s\n  not    %s", bad[i].line, e.text, bad[i].message);
		assert_int_equal(e.status, EXIT_BADUSE);
		assert_int_equal(e.code, r);
		assert_null(c.storage); /* nothing is left behind */
		assert_null(c.slots);
	}
	free(a);
}

static void test_actions(void **state)
{
	struct args *a = malloc(sizeof(*a));

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		struct vm_config c;
		struct err e = {0};

		split(a, actions[i].line);
		assert_int_equal(cli_parse(a->argc, a->argv, &c, &e), actions[i].action);
		assert_null(c.storage);
	}
	free(a);
}

/* Very long values are cut in messages, and never break anything. */
static void test_long(void **state)
{
	static const char *const options[] = {
	        "-c", "-m", "-s", "-l", "-f", "-p", "-g", "-U", "--accel", "-q"};
	char *word = malloc(100001);
	const char *argv[] = {"xhyve", NULL, word, NULL};
	struct vm_config c;
	struct err e = {0};

	memset(word, '7', 100000);
	word[100000] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		argv[1] = options[i];
		assert_true(cli_parse(3, argv, &c, &e) < 0);
		assert_int_equal(e.status, EXIT_BADUSE);
	}
	argv[1] = "-c";
	cli_parse(3, argv, &c, &e);
	assert_non_null(strstr(e.text, "must be 1 to 16"));
	free(word);
}

/* As many slots as the words of the command line say. */
static void test_many_slots(void **state)
{
	enum { N = 2000 };
	const char **argv = calloc(2 * N + 4, sizeof(*argv));
	char(*specs)[32] = calloc(N, sizeof(*specs));
	struct vm_config c;
	struct err e = {0};
	int argc = 0;

	argv[argc++] = "xhyve";
	argv[argc++] = "-Yfkexec,k";
	for (unsigned i = 0; i < N; i++) {
		snprintf(specs[i], sizeof(specs[i]), "%u:%u:%u,disk,%u", i / 256, i / 8 % 32, i % 8, i);
		argv[argc++] = "-s";
		argv[argc++] = specs[i];
	}
	assert_int_equal(cli_parse(argc, argv, &c, &e), CLI_RUN);
	assert_int_equal(c.nslots, N);
	assert_string_equal(c.slots[N - 1].config, "1999");
	cli_config_free(&c);
	free(argv);
	free(specs);
}

static char *print(enum cli_action what)
{
	static const char *const features[] = {"accelerator interp", NULL};
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	cli_print(what, features, f);
	fclose(f);
	return text;
}

/* Help names every option; nothing is wider than a terminal. */
static void test_help(void **state)
{
	char *text = print(CLI_HELP);

	for (size_t i = 0; cli_option(i); i++) {
		const struct cli_option *o = cli_option(i);
		char want[64];

		if (o->letter)
			snprintf(want, sizeof(want), "\n  -%c", o->letter);
		else
			snprintf(want, sizeof(want), "\n  --%s", o->name);
		if (!strstr(text, want))
			fail_msg("help lacks%s", want);
		assert_true(o->letter || o->name);
		for (size_t k = 0; k < i; k++)
			assert_false(o->letter && o->letter == cli_option(k)->letter);
	}
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") <= 90);
	free(text);
}

static void test_lists(void **state)
{
	char *text = print(CLI_LIST_DEVICES);

	assert_non_null(strstr(text, "\n  hostbridge "));
	assert_non_null(strstr(text, "\n  disk             disk (also disc)\n"));
	assert_non_null(strstr(text, "CONFIG: PATH[,OPTIONS]\n"));
	assert_null(strstr(text, "virtio-net")); /* absent */
	free(text);
	text = print(CLI_LIST_PORTS);
	assert_non_null(strstr(text, "autopty"));
	free(text);
	text = print(CLI_VERSION);
	assert_string_equal(text, "xhyve " XHYVE_VERSION "\n  accelerator interp\n");
	free(text);
}

/* -- nothing on disk -- */

static char dir[64];

static int enter_empty_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/xhyve-cli-XXXXXX");
	if (!mkdtemp(dir) || chdir(dir) < 0)
		return -1;
	return chmod(dir, 0500);
}

static void test_touched_nothing(void **state)
{
	DIR *d = opendir(".");
	struct dirent *entry;
	struct stat st;

	while ((entry = readdir(d)) != NULL)
		assert_int_equal(entry->d_name[0], '.');
	closedir(d);
	assert_int_equal(stat(".", &st), 0);
	assert_int_equal(st.st_nlink, 2);
}

static int leave_dir(void **state)
{
	return chdir("/") || rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_good),
	        cmocka_unit_test(test_bad),
	        cmocka_unit_test(test_actions),
	        cmocka_unit_test(test_long),
	        cmocka_unit_test(test_many_slots),
	        cmocka_unit_test(test_help),
	        cmocka_unit_test(test_lists),
	        cmocka_unit_test(test_touched_nothing),
	};

	print_message("%zu command lines\n", ARRAY_SIZE(good) + ARRAY_SIZE(bad) + ARRAY_SIZE(actions));
	return cmocka_run_group_tests(tests, enter_empty_dir, leave_dir);
}
