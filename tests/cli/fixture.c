/*
 * A device table for tests of the command line: what the parser does with flags and checks must not
 * depend on what the machine of the day contains.
 */
#include "console/console.h"
#include "vm/device_table.h"

#include <stdio.h>

static int check_disk(const char *config, struct err *e)
{
	return config[0] ? 0 : err_usage(e, "no path");
}

static int check_console(const char *config, struct err *e)
{
	return config[0] ? console_check(config, e) : 0;
}

const struct device_type device_types[] = {
        {.name = "hostbridge", .description = "host bridge"},
        {.name = "amd_hostbridge", .description = "host bridge of another maker"},
        {.name = "lpc",
                .description = "ISA bridge",
                .flags = DEVICE_ONE_ONLY | DEVICE_BUS0_ONLY | DEVICE_LPC},
        {.name = "uart",
                .description = "serial port",
                .config_help = "BACKEND",
                .check = check_console,
                .uses_stdio = console_uses_stdio},
        {.name = "disk",
                .alias = "disc",
                .description = "disk",
                .config_help = "PATH[,OPTIONS]",
                .check = check_disk},
        {.name = "virtio-net", .alias = "virtio-tap", .description = "network", .flags = DEVICE_ABSENT},
};
const size_t device_type_count = ARRAY_SIZE(device_types);
