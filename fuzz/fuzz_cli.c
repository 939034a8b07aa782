/*
 * Command lines made of random bytes: the input is split at zero bytes (and line ends, for readable
 * seeds) into argv. Checks that a result is whole: an accepted configuration is within its limits, a
 * refused one has a message and status 64.
 */
#include "cli/cli.h"
#include "standalone.h"
#include "vm/device_table.h"

#include <stdlib.h>

#define ARGS_MAX 64

static void check_run(const struct vm_config *c)
{
	bool good = c->boot != CONFIG_BOOT_NONE;

	if (c->boot == CONFIG_BOOT_KEXEC)
		good = c->kernel && *c->kernel && c->cmdline && (*c->cmdline || c->multiboot);
	else
		good &= !c->multiboot && (!c->entry || *c->entry);
	good &= c->nmodules <= CONFIG_MODULES_MAX;
	good &= c->ncpus >= 1 && c->ncpus <= CONFIG_CPUS_MAX;
	good &= c->mem >= CONFIG_MEM_MIN && c->mem <= CONFIG_MEM_MAX && c->mem % PAGE_SIZE == 0;
	for (unsigned i = 0; i < c->nslots; i++) {
		const struct slot_config *s = &c->slots[i];

		good &= s->slot < 32 && s->func < 8 && s->config && !(s->type->flags & DEVICE_ABSENT);
	}
	if (!good)
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const char *argv[ARGS_MAX + 2] = {"xhyve"};
	struct vm_config c;
	struct err e = {0};
	char *copy = malloc(size + 1), *end = copy + size;
	int argc = 1, r;

	memcpy(copy, data, size);
	*end = 0;
	for (size_t i = 0; i < size; i++) {
		if (copy[i] == '\n')
			copy[i] = 0;
	}
	for (char *s = copy; s < end && argc <= ARGS_MAX; s += strlen(s) + 1)
		argv[argc++] = s;
	r = cli_parse(argc, argv, &c, &e);
	free(copy); /* the configuration must not point into argv */
	if (r < 0 && (!e.text[0] || e.status != EXIT_BADUSE))
		abort();
	if (r == CLI_RUN) {
		check_run(&c);
		cli_config_free(&c);
	}
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const char *const seeds[] = {
	        "-A\n-m\n1G\n-c\n2\n-s\n0:0,hostbridge\n-s\n31,lpc\n-l\ncom1,stdio\n-s\n2,disk,hdd.img,size="
	        "20G\n"
	        "-f\nkexec,vmlinuz,initrd.gz,console=ttyS0 root=/dev/vda1\n",
	        "-s\n1,disk,a\n-f\niso,entry=1,append=a b,c\n--explain\n--on-reboot=restart\n-F\npid\n-U\n"
	        "01234567-89ab-cdef-0123-456789abcdef\n-p\n0:1\n",
	        "-f\nmultiboot,k,m;a "
	        "b:n;c,words\n-f\ndisk\n-l\ndebugexit,port=1\n--control=unix:s\n--accel=jit\n-g\n99\n",
	        "-wxHPCeuWY\n-bM\n-m\n0x400\n--sandbox=off\n--code-cache=8M\n-f\nkexec,a.iso:/k\n",
	};
	size_t len = n < ARRAY_SIZE(seeds) ? strlen(seeds[n]) : 0;

	if (len > cap)
		abort();
	memcpy(buf, len ? seeds[n] : "", len);
	return len;
}
