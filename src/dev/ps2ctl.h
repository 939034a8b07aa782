/*
 * 8042 keyboard controller without a keyboard or mouse: what guests need of it to reset the machine
 * (command FEh), to open A20, and to find out quickly that nothing is plugged in.
 */
#pragma once

#include "bus/space.h"
#include "bus/wire.h"

#define PS2CTL_DATA_PORT 0x60
#define PS2CTL_CMD_PORT 0x64

struct ps2ctl_config {
	struct space *ports;
	struct wire irq1;            /* output buffer full; may be empty */
	void (*reset)(void *opaque); /* called under the chip's lock: only note it */
	void *opaque;
};

struct ps2ctl {
	pthread_mutex_t lock;
	struct ps2ctl_config cfg;
	u8 status;  /* without the constant bits */
	u8 output;  /* output buffer: what port 60h reads */
	u8 ram[32]; /* controller RAM; byte 0 is the command byte */
	u8 port2;   /* output port: reset line, A20 */
	u8 pending; /* command that waits for its data byte, 0 for none */
	struct region data_io, cmd_io;
};

int ps2ctl_init(struct ps2ctl *k, const struct ps2ctl_config *cfg);
void ps2ctl_reset(struct ps2ctl *k);
void ps2ctl_fini(struct ps2ctl *k);
