/*
 * The handlers of options with a plain value. Of an option given twice the last one counts, as in
 * the original: start scripts append to a common line.
 */
#include "cli/parse.h"
#include "base/text.h"
#include "base/unixname.h"

#include <ctype.h>
#include <errno.h>

int opt_help(struct parse *p, char *value)
{
	return CLI_HELP;
}

int opt_version(struct parse *p, char *value)
{
	return CLI_VERSION;
}

int opt_cpus(struct parse *p, char *value)
{
	u64 n;

	if (parse_uint(value, 1, CONFIG_CPUS_MAX, &n))
		return err_usage(p->e, "-c " VAL ": number of CPUs must be 1 to %d", value, CONFIG_CPUS_MAX);
	p->c->ncpus = (unsigned)n;
	return 0;
}

/* Below this a number without suffix counts megabytes, from there on bytes. */
#define PLAIN_BYTES_FROM (1 * MiB)

int opt_mem(struct parse *p, char *value)
{
	char lo[32], hi[32];
	u64 size = 0;
	int r = parse_size(value, &size);

	if (r == -EINVAL)
		return err_usage(p->e,
		        "-m " VAL ": not a size: a number, then k, m, g, t or nothing for megabytes", value);
	/* Without suffix the last character is a digit (of base 16, too: 0x1b has no suffix b). */
	if (!r && size < PLAIN_BYTES_FROM && parse_uint(value, 0, UINT64_MAX, &(u64){0}) == 0)
		size *= MiB;
	if (r || size < CONFIG_MEM_MIN || size > CONFIG_MEM_MAX)
		return err_usage(p->e, "-m " VAL ": memory must be %s to %s%s", value,
		        format_size(CONFIG_MEM_MIN, lo, sizeof(lo)),
		        format_size(CONFIG_MEM_MAX, hi, sizeof(hi)),
		        isdigit((unsigned char)value[strlen(value) - 1])
		                ? " (a number without suffix counts megabytes, from 1048576 on bytes)"
		                : "");
	if (size % PAGE_SIZE)
		return err_usage(p->e, "-m " VAL ": memory must be a multiple of 4096 bytes", value);
	p->c->mem = size;
	return 0;
}

int opt_pidfile(struct parse *p, char *value)
{
	if (!*value)
		return err_usage(p->e, "-F: the name of the pid file is empty");
	if (*value == '-')
		return err_usage(p->e, "-F " VAL ": looks like an option; a file of that name is ./" VAL,
		        value, value);
	p->c->pidfile = value;
	return 0;
}

int opt_bvmdebug(struct parse *p, char *value)
{
	u64 port;

	if (parse_uint(value, 0, 65535, &port))
		return err_usage(p->e, "-g " VAL ": TCP port must be 1 to 65535, or 0 for none", value);
	p->c->bvmdebug_port = (u16)port;
	return 0;
}

int opt_pin(struct parse *p, char *value)
{
	char *colon = strchr(value, ':');
	u64 vcpu, host;

	if (!colon)
		return err_usage(p->e, "-p " VAL ": must be VCPU:HOSTCPU", value);
	*colon = 0;
	if (parse_uint(value, 0, CONFIG_CPUS_MAX - 1, &vcpu))
		return err_usage(p->e, "-p " VAL ":" VAL ": virtual CPU must be 0 to %d", value, colon + 1,
		        CONFIG_CPUS_MAX - 1);
	if (parse_uint(colon + 1, 0, CONFIG_HOSTCPU_MAX, &host))
		return err_usage(p->e, "-p " VAL ":" VAL ": host CPU must be 0 to %d", value, colon + 1,
		        CONFIG_HOSTCPU_MAX);
	if (p->c->pin[vcpu] >= 0 && p->c->pin[vcpu] != (int)host)
		return err_usage(p->e, "-p %s:%s: virtual CPU %s is already on host CPU %d", value, colon + 1,
		        value, p->c->pin[vcpu]);
	p->c->pin[vcpu] = (int)host;
	return 0;
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool valid_uuid(const char *s)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(form) - 1; i++) {
		if (form[i] == 'x' ? !isxdigit((unsigned char)s[i]) : s[i] != '-')
			return false;
	}
	return !s[sizeof(form) - 1];
}

int opt_uuid(struct parse *p, char *value)
{
	if (!valid_uuid(value))
		return err_usage(p->e, "-U " VAL ": not a UUID (8-4-4-4-12 hexadecimal digits)", value);
	p->c->uuid = value;
	return 0;
}

int opt_code_cache(struct parse *p, char *value)
{
	u64 size = 0;
	int r = parse_size(value, &size);

	if (!r && size < PLAIN_BYTES_FROM && parse_uint(value, 0, UINT64_MAX, &(u64){0}) == 0)
		size *= MiB;
	if (r || size < CONFIG_CODE_CACHE_MIN || size > CONFIG_CODE_CACHE_MAX)
		return err_usage(p->e, "--code-cache=" VAL ": must be a size of 8M to 2G", value);
	p->c->code_cache = size;
	return 0;
}

int opt_control(struct parse *p, char *value)
{
	struct unix_name name;

	if (strncmp(value, "unix:", 5) != 0 || !value[5])
		return err_usage(p->e, "--control=" VAL ": must be unix:PATH", value);
	if (!unix_name_set(&name, value + 5))
		return err_usage(p->e, "--control=" VAL ": the path is too long for a socket", value);
	p->c->control = value + 5;
	return 0;
}

int opt_on_reboot(struct parse *p, char *value)
{
	p->c->restart = strcmp(value, "restart") == 0;
	if (!p->c->restart && strcmp(value, "exit") != 0)
		return err_usage(p->e, "--on-reboot=" VAL ": must be exit or restart", value);
	return 0;
}

int opt_on_poweroff(struct parse *p, char *value)
{
	if (strcmp(value, "exit") != 0)
		return err_usage(p->e, "--on-poweroff=" VAL ": must be exit", value);
	return 0;
}

int opt_sandbox(struct parse *p, char *value)
{
	bool on = strcmp(value, "on") == 0;

	if (!on && strcmp(value, "off") != 0)
		return err_usage(p->e, "--sandbox=" VAL ": must be on or off", value);
	p->c->sandbox = on ? CONFIG_SANDBOX_ON : CONFIG_SANDBOX_OFF;
	return 0;
}

int opt_accel(struct parse *p, char *value)
{
	static const char *const names[] = {
	        [CONFIG_ACCEL_AUTO] = "auto",
	        [CONFIG_ACCEL_KVM] = "kvm",
	        [CONFIG_ACCEL_JIT] = "jit",
	        [CONFIG_ACCEL_INTERP] = "interp",
	};
	const char *near;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			p->c->accel = (enum config_accel)i;
			return 0;
		}
	}
	near = suggest(value, names, ARRAY_SIZE(names));
	return err_usage(p->e, "--accel=" VAL ": must be auto, kvm, jit or interp%s%s%s", value,
	        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

#define SYNTAX_KEXEC "-f kexec,KERNEL[,INITRD[,CMDLINE]]"
#define SYNTAX_MULTIBOOT "-f multiboot,KERNEL[,MODULE[;ARGS][:MODULE...]][,CMDLINE]"

static int refuse_firmware(struct parse *p, const char *name)
{
	static const char *const names[] = {"kexec", "iso", "disk", "multiboot", "fbsd", "bootrom"};
	static const char supported[] =
	        "this version boots kernels: " SYNTAX_KEXEC ", -f multiboot,..., -f iso, -f disk";
	const char *near;

	for (size_t i = 4; i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return err_usage(p->e, "-f %s: %s", name, supported);
	}
	near = suggest(name, names, 4);
	if (near)
		return err_usage(p->e, "-f " VAL ": unknown loader: did you mean %s?", name, near);
	return err_usage(p->e, "-f " VAL ": unknown loader; %s", name, supported);
}

/*
 * [entry=N|NAME][,append=WORDS] of -f iso and -f disk. Names of entries and words of kernels have commas: the
 * first ends at ",append=", the second with the option.
 */
static int parse_menu(struct parse *p, const char *what, char *options)
{
	char *append = NULL;

	if (options && !*options)
		options = NULL;
	if (options && strncmp(options, "append=", 7) != 0) {
		append = strstr(options, ",append=");
		if (append)
			*append++ = 0;
	} else {
		append = options;
		options = NULL;
	}
	if (options && strncmp(options, "entry=", 6) != 0)
		return err_usage(p->e,
		        "-f %s," VAL ": the options are entry=N or entry=NAME, and append=WORDS", what,
		        options);
	if (options && !options[6])
		return err_usage(p->e, "-f %s,entry=: names no entry", what);
	p->c->entry = options ? options + 6 : NULL;
	p->c->append = append ? append + 7 : NULL;
	return 0;
}

/* PATH[;ARGS] for each module, with colons between. */
static int parse_modules(struct parse *p, char *text)
{
	p->c->nmodules = 0;
	while (text) {
		char *path = strsep(&text, ":"), *args = strchr(path, ';');

		if (args)
			*args++ = 0;
		if (!*path)
			return err_usage(p->e, "-f multiboot: a module has no path: " SYNTAX_MULTIBOOT);
		if (p->c->nmodules == CONFIG_MODULES_MAX)
			return err_usage(p->e, "-f multiboot: more than %u modules", CONFIG_MODULES_MAX);
		p->c->module[p->c->nmodules++] =
		        (struct module_config){.path = path, .args = args && *args ? args : NULL};
	}
	return 0;
}

static int parse_multiboot(struct parse *p, char *kernel)
{
	char *modules = cut_comma(kernel), *cmdline = cut_comma(modules);

	if (!kernel || !*kernel)
		return err_usage(p->e, "-f multiboot: names no kernel: " SYNTAX_MULTIBOOT);
	p->c->kernel = kernel;
	p->c->initrd = NULL;
	p->c->cmdline = cmdline ? cmdline : "";
	return parse_modules(p, modules && *modules ? modules : NULL);
}

int opt_firmware(struct parse *p, char *value)
{
	char *kernel = cut_comma(value), *initrd, *cmdline;

	p->c->boot = strcmp(value, "iso") == 0    ? CONFIG_BOOT_ISO
	             : strcmp(value, "disk") == 0 ? CONFIG_BOOT_DISK
	                                          : CONFIG_BOOT_KEXEC;
	p->c->multiboot = strcmp(value, "multiboot") == 0;
	if (p->c->boot != CONFIG_BOOT_KEXEC)
		return parse_menu(p, value, kernel);
	if (p->c->multiboot)
		return parse_multiboot(p, kernel);
	if (strcmp(value, "kexec") != 0)
		return refuse_firmware(p, value);
	initrd = cut_comma(kernel);
	cmdline = cut_comma(initrd);
	if (!kernel || !*kernel)
		return err_usage(p->e, "-f kexec: names no kernel: " SYNTAX_KEXEC);
	p->c->nmodules = 0;
	p->c->kernel = kernel;
	p->c->initrd = initrd && *initrd ? initrd : NULL;
	/* The original's default; kernels ignore the word. */
	p->c->cmdline = cmdline && *cmdline ? cmdline : "auto";
	return 0;
}
