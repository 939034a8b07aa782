/*
 * MC146818A real-time clock with 128 bytes of battery-backed CMOS RAM, as in a PC at ports 70h/71h.
 *
 * Time is the wall clock read once at init, carried forward by the machine's clock; a guest that
 * sets the time changes only this chip. Host timers exist only while an enabled interrupt is due.
 */
#pragma once

#include "base/loop.h"
#include "bus/space.h"
#include "bus/wire.h"

#define MC146818_PORT 0x70
#define MC146818_SIZE 128
#define MC146818_CENTURY 0x32 /* index of the century byte, for the FADT */

struct mc146818_config {
	struct space *ports;
	struct timerq *timers;
	struct wire irq8;
	u64 (*wall_ns)(void); /* ns since 1970 UTC; NULL: the host's CLOCK_REALTIME */
	bool utc;             /* the clock shows UTC, else the host's local time */
	u64 low_mem;          /* bytes of RAM from 0 */
	u64 high_mem;         /* bytes of RAM from 4 GiB */
};

struct mc146818 {
	pthread_mutex_t lock;
	struct space *ports;
	struct wire irq8;
	struct timer timer; /* next enabled event */
	u8 index;
	u8 ram[MC146818_SIZE]; /* while the clock runs its time bytes are stale */
	bool running;          /* neither SET nor the divider's reset */
	s64 base_sec;          /* shown time, seconds since 1970, at base_ns */
	u64 base_ns;           /* clock: start of that second; modulo 2^64 */
	u64 synced_ns;         /* events up to here are in register C */
	u8 dow_shift;          /* what the guest wants added to the weekday, 0..6 */
	bool disconnected;     /* the HPET drives IRQ8 */
	struct region io;
};

int mc146818_init(struct mc146818 *c, const struct mc146818_config *cfg);
void mc146818_reset(struct mc146818 *c); /* RESET pin: time and RAM stay */
void mc146818_fini(struct mc146818 *c);

/* The machine's clock stood still for ns nanoseconds: this one, on its battery, went on. */
void mc146818_skip(struct mc146818 *c, u64 ns);

/* Legacy replacement of the HPET: while not connected, the chip leaves its wire alone. */
void mc146818_connect_irq(struct mc146818 *c, bool on);

/* RAM bytes as the board's set-up would write them (0x0e..0x7f). */
void mc146818_store(struct mc146818 *c, u8 index, u8 val);
