/*
 * Command lines made of random bytes: the input is split at zero bytes (and line ends, for readable
 * seeds) into argv. Checks that a result is whole: an accepted configuration is within its limits, a
 * refused one has a message and status 64.
 */
#include "cli/cli.h"
#include "vm/device_table.h"

#include <stdlib.h>

#define ARGS_MAX 64

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

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
