/*
 * What -s knows. What the original has and this version does not is listed as absent, so that a
 * user of an old script reads the truth instead of "unknown device".
 */
#include "vm/device_table.h"

#include "block/image.h"
#include "console/console.h"
#include "net/spec.h"
#include "vm/ahci_spec.h"
#include "vm/console_spec.h"

static int check_tty(const char *config, struct err *e)
{
	return config[0] ? console_check(config, e) : 0;
}

static int check_console(const char *config, struct err *e)
{
	struct console_spec spec;
	int rc = console_spec_parse(&spec, config, e);

	if (rc == 0)
		console_spec_free(&spec);
	return rc;
}

static bool console_on_stdio(const char *config)
{
	struct console_spec spec;
	struct err e;
	bool uses;

	if (console_spec_parse(&spec, config, &e) < 0)
		return false;
	uses = spec.stdio;
	console_spec_free(&spec);
	return uses;
}

static int check_disk(const char *config, struct err *e)
{
	struct image_spec spec;
	return image_parse(&spec, config, e);
}

static int check_ahci_hd(const char *config, struct err *e)
{
	unsigned drives;

	return ahci_spec_check(AHCI_DISK, config, &drives, e);
}

static int check_ahci_cd(const char *config, struct err *e)
{
	unsigned drives;

	return ahci_spec_check(AHCI_CD, config, &drives, e);
}

static int check_ahci(const char *config, struct err *e)
{
	unsigned drives;

	return ahci_spec_check(AHCI_DRIVES, config, &drives, e);
}

static int check_net(const char *config, struct err *e)
{
	struct net_spec spec;
	return net_parse(&spec, config, e);
}

/* The original ignores whatever follows these; so do scripts. */
static int check_ignored(const char *config, struct err *e)
{
	return 0;
}

const struct device_type device_types[] = {
        {.name = "hostbridge",
                .description = "host bridge, needed at slot 0 by most guests",
                .check = check_ignored},
        {.name = "amd_hostbridge", .description = "the same with an AMD identity", .check = check_ignored},
        {.name = "lpc",
                .description = "PCI-ISA bridge that carries COM1 and COM2",
                .flags = DEVICE_ONE_ONLY | DEVICE_BUS0_ONLY | DEVICE_LPC,
                .check = check_ignored},
        {.name = "dummy",
                .description = "test device: an I/O BAR, two memory BARs, 4 MSI vectors",
                .check = check_ignored},
        {.name = "uart",
                .description = "serial port on PCI",
                .config_help = "[BACKEND]",
                .check = check_tty,
                .uses_stdio = console_uses_stdio},
        {.name = "virtio-blk",
                .description = "virtual disk",
                .config_help = "PATH[,OPTION...]",
                .check = check_disk},
        {.name = "virtio-net",
                .alias = "virtio-tap",
                .description = "virtual network card",
                .config_help = "[BACKEND][,OPTION...]",
                .check = check_net},
        {.name = "virtio-console",
                .description = "virtual console, and named ports for programs",
                .config_help = "[BACKEND...][,port=NAME,BACKEND...]...",
                .check = check_console,
                .uses_stdio = console_on_stdio},
        {.name = "virtio-rnd", .description = "source of random numbers", .check = check_ignored},
        {.name = "ahci-cd",
                .description = "SATA CD-ROM drive",
                .config_help = "[PATH]",
                .check = check_ahci_cd},
        {.name = "ahci-hd",
                .description = "SATA disk",
                .config_help = "PATH[,OPTION...]",
                .check = check_ahci_hd},
        {.name = "ahci",
                .description = "SATA controller with several drives",
                .config_help = "hd:PATH[,OPTION...][,cd:PATH]...",
                .check = check_ahci},
};

const size_t device_type_count = ARRAY_SIZE(device_types);
