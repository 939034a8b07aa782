/*
 * The PC's pair of 8259A interrupt controllers with the edge/level registers of a PCI chipset.
 * Sixteen input wires (2 is the cascade and not connectable), one output: INTR of the master.
 *
 * Locks: the chip holds its own lock while it drives intr, so whoever answers INTR with i8259_ack
 * must not hold a lock that the receiver of intr takes.
 */
#pragma once

#include "bus/space.h"
#include "bus/wire.h"

#define I8259_MASTER_PORT 0x20
#define I8259_SLAVE_PORT 0xa0
#define I8259_ELCR_PORT 0x4d0
#define I8259_IRQS 16

struct i8259_config {
	struct space *ports;
	struct wire intr; /* INTR of the master */
};

/* One 8259A. Bit n of each mask is input IRn. */
struct i8259_chip {
	u8 line;     /* levels of the inputs */
	u8 irr;      /* requests: latched edges, and lines that are level-triggered */
	u8 isr;      /* in service */
	u8 imr;      /* masked */
	u8 level;    /* ELCR: level-triggered */
	u8 base;     /* vector of IR0 (ICW2) */
	u8 lowest;   /* input of lowest priority; 7 unless rotated */
	u8 icw;      /* next ICW expected (2, 3, 4), 0 when initialised */
	bool single; /* ICW1 SNGL: no ICW3 and no cascade */
	bool need_icw4;
	bool auto_eoi, rotate_aeoi;
	bool nested; /* ICW4 SFNM */
	bool special_mask, read_isr, poll;
	struct i8259 *pair;
};

struct i8259 {
	pthread_mutex_t lock;
	struct space *ports;
	struct wire intr;
	bool intr_level;
	struct i8259_chip chip[2]; /* master, slave */
	struct region io[2], elcr;
};

int i8259_init(struct i8259 *p, const struct i8259_config *cfg);
void i8259_reset(struct i8259 *p);
void i8259_fini(struct i8259 *p);

/* The wire into input irq (0..15). Edge inputs latch a request at the rise and keep it. */
struct wire i8259_input(struct i8259 *p, unsigned irq);

/* INTA cycle: the vector to take (that of IR7 if the request went away). Any thread. */
int i8259_ack(struct i8259 *p);
