/*
 * 8254 interval timer and the system control port 61h that gates and shows its channel 2.
 *
 * Everything is computed from the clock when it is read. A host timer exists only while OUT of
 * channel 0 is going to rise.
 */
#pragma once

#include "base/loop.h"
#include "bus/space.h"
#include "bus/wire.h"

#define I8254_PORT 0x40
#define I8254_SYSCTL_PORT 0x61
#define I8254_HZ 1193182ull

struct i8254_config {
	struct space *ports;
	struct timerq *timers;
	struct wire irq0; /* OUT of channel 0 */
};

/* One counter. A tick is one period of the 1.193182 MHz input, numbered from ns 0 of the clock. */
struct i8254_channel {
	u8 mode;   /* 0..5 */
	u8 access; /* 1 low byte, 2 high byte, 3 low then high */
	bool bcd;
	bool gate;
	u32 count;   /* count register: 1..65536 (BCD 1..10000), 0: none written since the control word */
	bool loaded; /* the counting element runs (or waits for its gate) from origin */
	u32 period;  /* count with which it was loaded */
	u64 origin;  /* tick at which it was loaded */
	u64 held;    /* ticks counted when the gate stopped it */
	bool stopped;
	bool null_count; /* a written count is not in the counting element yet */
	u64 reload_at;   /* null_count in modes 2 and 3: tick of the reload */
	bool write_high; /* next byte written is the high one */
	u8 write_low;    /* low byte waiting for it */
	bool read_high;  /* next byte read is the high one */
	bool latched;
	u16 latch; /* value held by the counter latch command */
	bool status_latched;
	u8 status;
};

struct i8254 {
	pthread_mutex_t lock;
	struct space *ports;
	struct wire irq0;
	struct i8254_channel ch[3];
	struct timer edge; /* next rise of OUT 0 */
	u64 last_edge_ns;  /* when one was delivered; 0: none since reset */
	bool disconnected; /* the HPET drives IRQ0 */
	u8 sysctl;         /* writable bits of port 61h */
	struct region io, port61;
};

int i8254_init(struct i8254 *p, const struct i8254_config *cfg);
void i8254_reset(struct i8254 *p);
void i8254_fini(struct i8254 *p);

/* Legacy replacement of the HPET: while not connected, channel 0 leaves its wire alone. */
void i8254_connect_irq(struct i8254 *p, bool on);
