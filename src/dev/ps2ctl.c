/*
 * 8042 keyboard controller with nothing plugged in. Every command that has an answer gets it at
 * once, so that a guest's probe never waits for a time-out: the self-test passes, the auxiliary
 * port's test fails, and a byte for the keyboard comes back as "no acknowledge" (FEh with the
 * time-out bit), as the chip itself reports a device that is not there.
 *
 * Linux looks at the ports only when the FADT does not say that there is no 8042. It then finds a
 * controller with a keyboard port and no auxiliary port and prints no warning: the keyboard lock is
 * open, the command byte reads back, and the loop test (D3h) is answered from the wrong port.
 */
#include "dev/ps2ctl.h"

/* Status, port 64h */
#define ST_OBF BIT(0)
#define ST_SYS BIT(2)
#define ST_CMD BIT(3)      /* the last write was to 64h */
#define ST_UNLOCKED BIT(4) /* keyboard lock switch open */
#define ST_TIMEOUT BIT(6)
/* Command byte */
#define CB_INT BIT(0)
#define CB_SYS BIT(2)
#define CB_KBD_OFF BIT(4)
#define CB_AUX_OFF BIT(5)
#define CB_XLATE BIT(6)
/* Output port */
#define P2_RUN BIT(0) /* low: reset */
#define P2_A20 BIT(1)
#define P2_OBF BIT(4)

#define TEST_PASSED 0x55
#define KBD_TEST_OK 0x00
#define AUX_TEST_CLOCK_LOW 0x01
#define INPUT_PORT 0x80 /* P1: keyboard not locked */
#define NO_ACK 0xfe

static void update_irq(struct ps2ctl *k)
{
	wire_set(&k->cfg.irq1, (k->status & ST_OBF) && (k->ram[0] & CB_INT));
}

static void put(struct ps2ctl *k, u8 byte)
{
	k->output = byte;
	k->status = (k->status & (u8)~ST_TIMEOUT) | ST_OBF;
}

static void put_no_device(struct ps2ctl *k)
{
	put(k, NO_ACK);
	k->status |= ST_TIMEOUT;
}

static void do_reset(struct ps2ctl *k)
{
	if (k->cfg.reset)
		k->cfg.reset(k->cfg.opaque);
}

/* F0h..FFh: lines whose bit is 0 are pulsed low; the lowest is the reset line. */
static void pulse(struct ps2ctl *k, u8 cmd)
{
	if (!(cmd & P2_RUN))
		do_reset(k);
}

static void command(struct ps2ctl *k, u8 cmd)
{
	k->pending = 0;
	switch (cmd) {
	case 0x20 ... 0x3f: put(k, k->ram[cmd & 31]); break;
	case 0x60 ... 0x7f: k->pending = cmd; break;
	case 0xa7: k->ram[0] |= CB_AUX_OFF; break;
	case 0xa8: k->ram[0] &= (u8)~CB_AUX_OFF; break;
	case 0xa9: put(k, AUX_TEST_CLOCK_LOW); break;
	case 0xaa: put(k, TEST_PASSED); break;
	case 0xab: put(k, KBD_TEST_OK); break;
	case 0xad: k->ram[0] |= CB_KBD_OFF; break;
	case 0xae: k->ram[0] &= (u8)~CB_KBD_OFF; break;
	case 0xc0: put(k, INPUT_PORT); break;
	case 0xd0: put(k, k->port2 | (k->status & ST_OBF ? P2_OBF : 0)); break;
	case 0xd1 ... 0xd4: k->pending = cmd; break;
	case 0xdd: k->port2 &= (u8)~P2_A20; break;
	case 0xdf: k->port2 |= P2_A20; break;
	case 0xe0: put(k, 0); break; /* test inputs */
	case 0xf0 ... 0xff: pulse(k, cmd); break;
	default: break;
	}
}

/* The data byte of a command, or a byte for the keyboard. */
static void data(struct ps2ctl *k, u8 val)
{
	u8 cmd = k->pending;

	k->pending = 0;
	switch (cmd) {
	case 0x60 ... 0x7f: k->ram[cmd & 31] = val; break;
	case 0xd1:
		k->port2 = val & (P2_RUN | P2_A20);
		if (!(val & P2_RUN))
			do_reset(k);
		k->port2 |= P2_RUN;
		break;
	case 0xd2: /* as if from the keyboard */
	case 0xd3: put(k, val); break;
	default: put_no_device(k); break; /* D4h: the mouse; none: the keyboard */
	}
}

static u64 data_read(void *opaque, u64 off, unsigned size)
{
	struct ps2ctl *k = opaque;

	k->status &= (u8) ~(ST_OBF | ST_TIMEOUT);
	update_irq(k);
	return k->output;
}

static void data_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct ps2ctl *k = opaque;

	k->status &= (u8)~ST_CMD;
	data(k, (u8)val);
	update_irq(k);
}

static u64 status_read(void *opaque, u64 off, unsigned size)
{
	struct ps2ctl *k = opaque;

	return k->status | ST_UNLOCKED | (k->ram[0] & CB_SYS ? ST_SYS : 0);
}

static void command_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct ps2ctl *k = opaque;

	k->status |= ST_CMD;
	command(k, (u8)val);
	update_irq(k);
}

static const struct region_ops data_ops = {.read = data_read, .write = data_write, .min = 1, .max = 1};
static const struct region_ops cmd_ops = {.read = status_read, .write = command_write, .min = 1, .max = 1};

/* As firmware leaves it: tested, interrupt off. */
static void reset_state(struct ps2ctl *k)
{
	memset(k->ram, 0, sizeof(k->ram));
	k->ram[0] = CB_XLATE | CB_AUX_OFF | CB_SYS;
	k->status = 0;
	k->output = 0;
	k->pending = 0;
	k->port2 = P2_RUN | P2_A20;
	update_irq(k);
}

void ps2ctl_reset(struct ps2ctl *k)
{
	pthread_mutex_lock(&k->lock);
	reset_state(k);
	pthread_mutex_unlock(&k->lock);
}

static struct region port(struct ps2ctl *k, u64 base, const struct region_ops *ops, const char *name)
{
	return (struct region){
	        .base = base, .len = 1, .ops = ops, .opaque = k, .lock = &k->lock, .name = name};
}

int ps2ctl_init(struct ps2ctl *k, const struct ps2ctl_config *cfg)
{
	int r;

	*k = (struct ps2ctl){.cfg = *cfg};
	r = -pthread_mutex_init(&k->lock, NULL);
	if (r)
		return r;
	reset_state(k);
	k->data_io = port(k, PS2CTL_DATA_PORT, &data_ops, "8042 data");
	k->cmd_io = port(k, PS2CTL_CMD_PORT, &cmd_ops, "8042 command");
	r = space_add(k->cfg.ports, &k->data_io);
	if (!r)
		r = space_add(k->cfg.ports, &k->cmd_io);
	if (r)
		ps2ctl_fini(k);
	return r;
}

void ps2ctl_fini(struct ps2ctl *k)
{
	space_remove(k->cfg.ports, &k->data_io);
	space_remove(k->cfg.ports, &k->cmd_io);
	pthread_mutex_destroy(&k->lock);
}
