/*
 * The legacy chips wired as on the board, driven by a stream of random accesses, outside events and
 * steps of time. Besides the sanitizers' checks it holds that a read has no more bits than its
 * width, that the PIC answers with a vector, and that no programming makes the host wake up more
 * often than the chips' rate limits allow.
 */
#include "input.h"

#include "base/loop.h"
#include "bus/space.h"
#include "dev/hpet.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/mc146818.h"
#include "dev/pm.h"
#include "dev/ps2ctl.h"
#include "dev/uart16550.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

struct board {
	struct clock_manual clock;
	struct timerq timers;
	struct space ports, memory;
	struct i8259 pic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct hpet hpet;
	struct pm pm;
	struct ps2ctl kbd;
	struct uart16550 uart;
	size_t host_room;
	bool intr;
};

/* -- the board -------------------------------------------------------------------------------- */

static void set_intr(void *opaque, unsigned n, bool level)
{
	struct board *b = opaque;

	b->intr = level;
}

static void set_legacy(void *opaque, bool on)
{
	struct board *b = opaque;

	i8254_connect_irq(&b->pit, !on);
	mc146818_connect_irq(&b->rtc, !on);
}

static size_t host_tx(void *opaque, const u8 *buf, size_t len)
{
	struct board *b = opaque;
	size_t n = MIN(len, b->host_room);

	check(len > 0 && len <= UART_FIFO);
	b->host_room -= n;
	return n;
}

static void host_rx_ready(void *opaque)
{
}

static void on_event(void *opaque, enum pm_event what)
{
}

static void on_reset(void *opaque)
{
}

static u64 wall_ns(void)
{
	return 1700000000ull * NS_PER_SEC;
}

static const struct uart_host_ops host_ops = {.tx = host_tx, .rx_ready = host_rx_ready};

static int init_hpet(struct board *b)
{
	struct hpet_config c = {.memory = &b->memory,
	        .timers = &b->timers,
	        .count = 8,
	        .route_cap = 0xffff,
	        .legacy0 = i8259_input(&b->pic, 0),
	        .legacy8 = i8259_input(&b->pic, 8),
	        .legacy_mode = set_legacy,
	        .opaque = b};

	for (unsigned i = 0; i < I8259_IRQS; i++)
		c.route[i] = i8259_input(&b->pic, i);
	return hpet_init(&b->hpet, &c);
}

static void board_init(struct board *b)
{
	struct space *io = &b->ports;
	struct timerq *q = &b->timers;
	struct wire intr = {.set = set_intr, .opaque = b};

	memset(b, 0, sizeof(*b));
	clock_manual_init(&b->clock, 0);
	check(!timerq_init(q, &b->clock.clock));
	check(!space_init(io, 0xffff));
	check(!space_init(&b->memory, UINT64_MAX));
	check(!i8259_init(&b->pic, &(struct i8259_config){.ports = io, .intr = intr}));
	check(!i8254_init(
	        &b->pit, &(struct i8254_config){.ports = io, .timers = q, .irq0 = i8259_input(&b->pic, 0)}));
	check(!mc146818_init(&b->rtc, &(struct mc146818_config){.ports = io,
	                                      .timers = q,
	                                      .irq8 = i8259_input(&b->pic, 8),
	                                      .wall_ns = wall_ns,
	                                      .utc = true,
	                                      .low_mem = GiB}));
	check(!init_hpet(b));
	check(!pm_init(&b->pm,
	        &(struct pm_config){
	                .ports = io, .timers = q, .sci = i8259_input(&b->pic, 9), .event = on_event}));
	check(!ps2ctl_init(&b->kbd,
	        &(struct ps2ctl_config){.ports = io, .irq1 = i8259_input(&b->pic, 1), .reset = on_reset}));
	check(!uart16550_init(&b->uart, &(struct uart16550_config){.ports = io,
	                                        .base = 0x3f8,
	                                        .timers = q,
	                                        .irq = i8259_input(&b->pic, 4),
	                                        .host = &host_ops,
	                                        .host_opaque = b}));
}

static void board_fini(struct board *b)
{
	uart16550_fini(&b->uart);
	ps2ctl_fini(&b->kbd);
	pm_fini(&b->pm);
	hpet_fini(&b->hpet);
	mc146818_fini(&b->rtc);
	i8254_fini(&b->pit);
	i8259_fini(&b->pic);
	space_fini(&b->ports);
	space_fini(&b->memory);
	timerq_fini(&b->timers);
}

/* -- steps ------------------------------------------------------------------------------------ */

static const u16 ranges[][2] = {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}, {0x40, 4}, {0x61, 1}, {0x70, 2}, {0x71, 1},
        {0x400, 12}, {0xb2, 2}, {0xcf9, 1}, {0x92, 1}, {0x80, 16}, {0x60, 1}, {0x64, 1}, {0x3f8, 8}};

static void access_port(struct board *b, struct input *in, bool write)
{
	const u16 *range = ranges[take(in, 1) % ARRAY_SIZE(ranges)];
	u64 how = take(in, 1);
	u64 addr = range[0] + (how & 15) % range[1];
	/* Mostly bytes, as chips expect. */
	unsigned size = how & 0x80 ? 1u << (how >> 4 & 3) : 1;

	if (write)
		space_write(&b->ports, addr, size, take(in, size));
	else
		check(space_read(&b->ports, addr, size) <= ones(size));
}

static void access_hpet(struct board *b, struct input *in, bool write)
{
	u64 how = take(in, 2);
	u64 off = how & 0x4000 ? how & 0x3ff : (how & 0x7f) << 2;
	unsigned size = how & 0x8000 ? 1u << (how >> 12 & 3) : 4;

	if (write)
		space_write(&b->memory, HPET_BASE + off, size, take(in, size));
	else
		check(space_read(&b->memory, HPET_BASE + off, size) <= ones(size));
}

/*
 * PIT and each HPET comparator at most every 20 us, the RTC's 8192 Hz until register C is read, the
 * UART and the PM timer once.
 */
static void advance(struct board *b, struct input *in)
{
	u64 how = take(in, 1);
	u64 ns = how & 0x80 ? (how & 0x7f) * 100 : 1ull << (how % 48);
	u64 end = b->clock.ns + ns, next, wakes = 0, limit;

	/* Long jumps come at once, as after a suspend: the chips have to catch up. */
	if (ns > 20 * NS_PER_MS) {
		b->clock.ns = end;
		timerq_run(&b->timers);
		return;
	}
	limit = 9 * (ns / (20 * NS_PER_US) + 2) + 16;
	while ((next = timerq_next(&b->timers)) <= end) {
		b->clock.ns = MAX(next, b->clock.ns);
		timerq_run(&b->timers);
		check(++wakes <= limit);
	}
	b->clock.ns = end;
}

static void outside(struct board *b, struct input *in)
{
	static const u8 text[32] = "thirty-one bytes from the host";
	u64 how = take(in, 1), n = how >> 3;
	struct wire w;

	switch (how & 7) {
	case 0: check(uart_receive(&b->uart, text, n) <= n); break;
	case 1: uart_break(&b->uart); break;
	case 2: uart_set_modem(&b->uart, n & 15); break;
	case 3:
		b->host_room = n;
		uart_tx_ready(&b->uart);
		break;
	case 4: pm_power_button(&b->pm); break;
	case 5:
		w = i8259_input(&b->pic, n & 15);
		wire_set(&w, n & 16);
		break;
	case 6:
		pm_reset_write(&b->pm, (u8)n);
		mc146818_store(&b->rtc, (u8)n, (u8)how);
		break;
	default: check(pm_reset_read(&b->pm) <= 0x0e); break;
	}
}

static void acknowledge(struct board *b)
{
	int vector = i8259_ack(&b->pic);

	check(vector >= 0 && vector <= 255);
}

static void reset(struct board *b)
{
	i8259_reset(&b->pic);
	i8254_reset(&b->pit);
	mc146818_reset(&b->rtc);
	hpet_reset(&b->hpet);
	pm_reset(&b->pm);
	ps2ctl_reset(&b->kbd);
	uart16550_reset(&b->uart);
	check(!b->intr || b->pic.chip[0].imr != 0xff);
	check(timerq_next(&b->timers) == TIMER_OFF);
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);

	switch (op & 15) {
	case 0 ... 4: access_port(b, in, true); break;
	case 5 ... 7: access_port(b, in, false); break;
	case 8 ... 9: access_hpet(b, in, true); break;
	case 10: access_hpet(b, in, false); break;
	case 11 ... 12: advance(b, in); break;
	case 13: outside(b, in); break;
	case 14: acknowledge(b); break;
	default:
		if (op == 0xff)
			reset(b);
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));

	check(b != NULL);
	board_init(b);
	while (in.left)
		step(b, &in);
	reset(b);
	board_fini(b);
	free(b);
	return 0;
}
