/* The 16550A on a bus, with a host that can be made slow. */
#include "bench.h"
#include "dev/uart16550.h"

#define COM 0x3f8
#define RBR COM
#define THR COM
#define IER (COM + 1)
#define IIR (COM + 2)
#define FCR (COM + 2)
#define LCR (COM + 3)
#define MCR (COM + 4)
#define LSR (COM + 5)
#define MSR (COM + 6)
#define SCR (COM + 7)

struct fix {
	struct bench b;
	struct uart16550 u;
	struct probe irq;
	u8 sent[4096];
	size_t sent_len, room; /* of the host */
	unsigned rx_ready;
	struct serial_line line; /* what the host was told last */
	unsigned told;
};

static size_t host_tx(void *opaque, const u8 *buf, size_t len)
{
	struct fix *f = opaque;

	len = MIN(len, f->room);
	len = MIN(len, sizeof(f->sent) - f->sent_len);
	memcpy(f->sent + f->sent_len, buf, len);
	f->sent_len += len;
	f->room -= len;
	return len;
}

static void host_rx_ready(void *opaque)
{
	struct fix *f = opaque;

	f->rx_ready++;
}

static void host_line(void *opaque, const struct serial_line *line)
{
	struct fix *f = opaque;

	assert_false(serial_line_same(line, &f->line));
	f->line = *line;
	f->told++;
}

static const struct uart_host_ops host_ops = {.tx = host_tx, .rx_ready = host_rx_ready, .line = host_line};

static int setup(void **state)
{
	static struct fix f;

	memset(&f, 0, sizeof(f));
	bench_init(&f.b, 1000);
	f.room = SIZE_MAX;
	assert_int_equal(uart16550_init(&f.u, &(struct uart16550_config){.ports = &f.b.ports,
	                                              .base = COM,
	                                              .timers = &f.b.timers,
	                                              .irq = probe_wire(&f.irq),
	                                              .host = &host_ops,
	                                              .host_opaque = &f}),
	        0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	uart16550_fini(&f->u);
	bench_fini(&f->b);
	return 0;
}

static size_t receive(struct fix *f, const char *s)
{
	return uart_receive(&f->u, (const u8 *)s, strlen(s));
}

static void registers(void **state)
{
	struct fix *f = *state;

	assert_int_equal(in8(&f->b, IIR), 0x01);
	assert_int_equal(in8(&f->b, LSR), 0x60);
	assert_int_equal(in8(&f->b, MSR), 0xb0); /* CTS, DSR, DCD; no change pending */
	out8(&f->b, SCR, 0xa5);
	assert_int_equal(in8(&f->b, SCR), 0xa5);
	out8(&f->b, IER, 0xff);
	assert_int_equal(in8(&f->b, IER), 0x0f);
	out8(&f->b, MCR, 0xff);
	assert_int_equal(in8(&f->b, MCR), 0x1f);
	out8(&f->b, MCR, 0);
	out8(&f->b, LCR, 0x83);
	out8(&f->b, COM, 0x34);
	out8(&f->b, COM + 1, 0x12);
	assert_int_equal(in16(&f->b, COM), 0x1234);
	out8(&f->b, LCR, 0x03);
	assert_int_equal(in8(&f->b, IER), 0x0f);
	out8(&f->b, LSR, 0xff);
	out8(&f->b, MSR, 0xff);
	assert_int_equal(in8(&f->b, LSR), 0x60);
	/* A 16550A says so in IIR. */
	out8(&f->b, IER, 0);
	out8(&f->b, FCR, 1);
	assert_int_equal(in8(&f->b, IIR), 0xc1);
	out8(&f->b, FCR, 0);
	assert_int_equal(in8(&f->b, IIR), 0x01);
}

static void transmit(void **state)
{
	struct fix *f = *state;

	for (const char *s = "hello"; *s; s++) {
		assert_int_equal(in8(&f->b, LSR) & 0x60, 0x60);
		out8(&f->b, THR, (u8)*s);
	}
	assert_int_equal(f->sent_len, 5);
	assert_memory_equal(f->sent, "hello", 5);
	assert_int_equal(f->irq.rises, 0);
}

static void back_pressure(void **state)
{
	struct fix *f = *state;

	out8(&f->b, FCR, 1);
	f->room = 3;
	for (u8 i = 0; i < 16; i++)
		out8(&f->b, THR, i);
	assert_int_equal(f->sent_len, 3);
	assert_int_equal(in8(&f->b, LSR) & 0x60, 0);
	f->room = 5;
	uart_tx_ready(&f->u);
	assert_int_equal(f->sent_len, 8);
	assert_int_equal(in8(&f->b, LSR) & 0x60, 0);
	/* The interrupt comes when the last byte has gone. */
	out8(&f->b, IER, 2);
	assert_false(f->irq.level);
	f->room = 100;
	uart_tx_ready(&f->u);
	assert_true(f->irq.level);
	assert_int_equal(f->sent_len, 16);
	for (u8 i = 0; i < 16; i++)
		assert_int_equal(f->sent[i], i);
	assert_int_equal(in8(&f->b, LSR) & 0x60, 0x60);
	assert_int_equal(in8(&f->b, IIR) & 0x0f, 0x02);
}

/* A driver that honours THRE and a host that takes a little now and then: every byte, in order. */
static void slow_host_loses_nothing(void **state)
{
	struct fix *f = *state;
	unsigned n = 0, turn = 0;

	out8(&f->b, FCR, 1);
	f->room = 0;
	while (n < 3000) {
		if (in8(&f->b, LSR) & 0x20) {
			for (unsigned i = 0; i < 16; i++, n++)
				out8(&f->b, THR, (u8)(n * 7 + n / 256));
		} else {
			f->room = turn++ % 5;
			uart_tx_ready(&f->u);
		}
	}
	f->room = SIZE_MAX;
	uart_tx_ready(&f->u);
	assert_int_equal(f->sent_len, n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(f->sent[i], (u8)(i * 7 + i / 256));
}

/* A guest that writes although THRE is low loses its own bytes; nothing grows or blocks. */
static void ignorant_guest(void **state)
{
	struct fix *f = *state;

	out8(&f->b, FCR, 1);
	f->room = 0;
	for (unsigned i = 0; i < 100000; i++)
		out8(&f->b, THR, (u8)i);
	f->room = SIZE_MAX;
	uart_tx_ready(&f->u);
	assert_int_equal(f->sent_len, 16);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(f->sent[i], i);
	out8(&f->b, THR, 0xee);
	assert_int_equal(f->sent[16], 0xee);
}

static void thre_interrupt(void **state)
{
	struct fix *f = *state;

	out8(&f->b, IER, 2); /* enabling it asks at once */
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->b, IIR), 0x02);
	assert_false(f->irq.level); /* reading IIR answers it */
	assert_int_equal(in8(&f->b, IIR), 0x01);
	out8(&f->b, IER, 2); /* no new edge of the enable */
	assert_int_equal(in8(&f->b, IIR), 0x01);
	out8(&f->b, IER, 0);
	out8(&f->b, IER, 2);
	assert_int_equal(in8(&f->b, IIR), 0x02);
	f->irq.rises = 0;
	out8(&f->b, THR, 'x');
	assert_int_equal(f->irq.rises, 1);
	/* The data interrupt hides it and does not clear it. */
	out8(&f->b, IER, 3);
	receive(f, "a");
	assert_int_equal(in8(&f->b, IIR), 0x04);
	assert_int_equal(in8(&f->b, RBR), 'a');
	assert_int_equal(in8(&f->b, IIR), 0x02);
	assert_int_equal(in8(&f->b, IIR), 0x01);
}

static void receive_without_fifo(void **state)
{
	struct fix *f = *state;

	out8(&f->b, IER, 1);
	assert_int_equal(receive(f, "ab"), 1);
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->b, LSR), 0x61);
	assert_int_equal(receive(f, "b"), 0);
	assert_int_equal(f->rx_ready, 0);
	assert_int_equal(in8(&f->b, RBR), 'a');
	assert_int_equal(f->rx_ready, 1);
	assert_false(f->irq.level);
	assert_int_equal(receive(f, "b"), 1);
	assert_int_equal(in8(&f->b, RBR), 'b');
	assert_int_equal(f->rx_ready, 1); /* nothing was refused */
	assert_int_equal(in8(&f->b, LSR), 0x60);
}

static void trigger_levels(void **state)
{
	static const u8 level[4] = {1, 4, 8, 14};
	struct fix *f = *state;

	out8(&f->b, IER, 1);
	for (unsigned i = 0; i < 4; i++) {
		out8(&f->b, FCR, (u8)(i << 6 | 3));
		for (unsigned n = 1; n < level[i]; n++) {
			assert_int_equal(receive(f, "x"), 1);
			assert_false(f->irq.level);
		}
		receive(f, "y");
		assert_true(f->irq.level);
		assert_int_equal(in8(&f->b, IIR), 0xc4);
		in8(&f->b, RBR);
		assert_false(f->irq.level);
	}
	out8(&f->b, FCR, 3);
	assert_int_equal(receive(f, "0123456789abcdefgh"), 16);
	for (const char *s = "0123456789abcdef"; *s; s++) {
		assert_int_equal(f->rx_ready, 0); /* one call, when all has been read */
		assert_int_equal(in8(&f->b, RBR), *s);
	}
	assert_int_equal(f->rx_ready, 1);
	assert_int_equal(in8(&f->b, LSR), 0x60);
}

static void character_timeout(void **state)
{
	struct fix *f = *state;

	out8(&f->b, LCR, 0x83);
	out8(&f->b, COM, 1); /* 115200: four characters take 347 us */
	out8(&f->b, COM + 1, 0);
	out8(&f->b, LCR, 0x03);
	out8(&f->b, FCR, 0x81);
	receive(f, "abc");
	assert_true(bench_idle(&f->b)); /* nobody asked for the interrupt */
	out8(&f->b, IER, 1);
	bench_advance(&f->b, 347 * NS_PER_US);
	assert_false(f->irq.level);
	bench_advance(&f->b, NS_PER_US);
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->b, IIR), 0xcc);
	assert_int_equal(in8(&f->b, RBR), 'a');
	assert_false(f->irq.level);
	bench_advance(&f->b, 300 * NS_PER_US);
	receive(f, "d"); /* starts it anew */
	bench_advance(&f->b, 300 * NS_PER_US);
	assert_false(f->irq.level);
	bench_advance(&f->b, 48 * NS_PER_US);
	assert_true(f->irq.level);
	in8(&f->b, RBR);
	in8(&f->b, RBR);
	in8(&f->b, RBR);
	assert_true(bench_idle(&f->b));
	assert_false(f->irq.level);
}

static void all_divisors(void **state)
{
	struct fix *f = *state;

	out8(&f->b, FCR, 0xc1);
	out8(&f->b, IER, 1);
	for (unsigned d = 0; d < 65536; d++) {
		out8(&f->b, LCR, 0x80 | (d & 0x1f));
		out16(&f->b, COM, (u16)d);
		assert_int_equal(in16(&f->b, COM), d);
		out8(&f->b, LCR, d & 0x1f);
		receive(f, "z");
		assert_int_equal(bench_advance(&f->b, 10 * NS_PER_MS), 1);
		assert_int_equal(in8(&f->b, IIR), 0xcc);
		assert_int_equal(in8(&f->b, RBR), 'z');
	}
}

static void breaks(void **state)
{
	struct fix *f = *state;

	out8(&f->b, FCR, 1);
	out8(&f->b, IER, 4);
	receive(f, "a");
	uart_break(&f->u);
	receive(f, "b");
	assert_false(f->irq.level); /* the error belongs to the second byte */
	assert_int_equal(in8(&f->b, LSR), 0xe1);
	assert_int_equal(in8(&f->b, RBR), 'a');
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->b, IIR), 0xc6);
	assert_int_equal(in8(&f->b, LSR), 0xf1);
	assert_false(f->irq.level);
	assert_int_equal(in8(&f->b, LSR), 0x61);
	assert_int_equal(in8(&f->b, RBR), 0);
	assert_int_equal(in8(&f->b, RBR), 'b');
	/* Into a full FIFO: it waits, and what comes later comes after it. */
	receive(f, "0123456789abcdef");
	uart_break(&f->u);
	assert_int_equal(in8(&f->b, RBR), '0');
	assert_int_equal(receive(f, "x"), 0);
	for (unsigned i = 0; i < 15; i++)
		assert_in_range(in8(&f->b, RBR), 0x31, 0x66);
	assert_int_equal(in8(&f->b, LSR) & 0x10, 0x10);
	assert_int_equal(in8(&f->b, RBR), 0);
	assert_int_equal(f->rx_ready, 1);
	assert_int_equal(receive(f, "x"), 1);
}

static void loopback(void **state)
{
	struct fix *f = *state;

	out8(&f->b, FCR, 1);
	out8(&f->b, MCR, 0x10);
	assert_int_equal(in8(&f->b, MSR), 0x0b); /* all low now: three changes */
	for (unsigned m = 0; m < 16; m++) {
		u8 want = (m & 2 ? 0x10 : 0) | (m & 1 ? 0x20 : 0) | (m & 4 ? 0x40 : 0) | (m & 8 ? 0x80 : 0);

		out8(&f->b, MCR, (u8)(0x10 | m));
		assert_int_equal(in8(&f->b, MSR) & 0xf0, want);
		assert_int_equal(in8(&f->b, MSR) & 0x0f, 0);
	}
	/* RI reports its trailing edge alone. */
	out8(&f->b, MCR, 0x10);
	in8(&f->b, MSR);
	out8(&f->b, MCR, 0x14);
	assert_int_equal(in8(&f->b, MSR), 0x40);
	out8(&f->b, IER, 8);
	out8(&f->b, MCR, 0x10);
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->b, IIR), 0xc0);
	assert_int_equal(in8(&f->b, MSR), 0x04);
	assert_false(f->irq.level);
	out8(&f->b, IER, 0);
	/* Bytes come back, the host neither sees nor sends any. */
	for (u8 i = 0; i < 17; i++)
		out8(&f->b, THR, i);
	assert_int_equal(f->sent_len, 0);
	assert_int_equal(receive(f, "no"), 0);
	assert_int_equal(in8(&f->b, LSR), 0x63); /* overrun */
	assert_int_equal(in8(&f->b, LSR), 0x61);
	for (u8 i = 0; i < 16; i++)
		assert_int_equal(in8(&f->b, RBR), i);
	assert_int_equal(f->rx_ready, 0);
	out8(&f->b, LCR, 0x43); /* a break loops back too */
	assert_int_equal(in8(&f->b, LSR) & 0x91, 0x91);
	assert_int_equal(in8(&f->b, RBR), 0);
	out8(&f->b, LCR, 0x03);
	out8(&f->b, MCR, 0x03);
	assert_int_equal(f->rx_ready, 1);
	assert_int_equal(in8(&f->b, MSR) & 0xf0, 0xb0);
	/* Without FIFO the new byte replaces the old one. */
	out8(&f->b, FCR, 0);
	out8(&f->b, MCR, 0x10);
	out8(&f->b, THR, 1);
	out8(&f->b, THR, 2);
	assert_int_equal(in8(&f->b, LSR) & 0x03, 0x03);
	assert_int_equal(in8(&f->b, RBR), 2);
}

static void fifo_resets(void **state)
{
	struct fix *f = *state;

	out8(&f->b, FCR, 1);
	receive(f, "abc");
	out8(&f->b, FCR, 3);
	assert_int_equal(in8(&f->b, LSR), 0x60);
	receive(f, "abc");
	out8(&f->b, FCR, 1); /* no reset bit */
	assert_int_equal(in8(&f->b, RBR), 'a');
	out8(&f->b, FCR, 0); /* switching clears */
	assert_int_equal(in8(&f->b, LSR), 0x60);
	f->room = 0;
	out8(&f->b, FCR, 1);
	out8(&f->b, THR, 'x');
	out8(&f->b, IER, 2);
	assert_false(f->irq.level);
	out8(&f->b, FCR, 5);
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->b, LSR), 0x60);
	f->room = 10;
	uart_tx_ready(&f->u);
	assert_int_equal(f->sent_len, 0);
	/* Refused bytes may come after a reset of the receiver. */
	receive(f, "0123456789abcdefg");
	assert_int_equal(f->rx_ready, 0);
	out8(&f->b, FCR, 3);
	assert_int_equal(f->rx_ready, 1);
}

static void carrier(void **state)
{
	struct fix *f = *state;

	out8(&f->b, IER, 8);
	uart_set_carrier(&f->u, false);
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->b, MSR), 0x0b);
	assert_false(f->irq.level);
	uart_set_carrier(&f->u, true);
	assert_int_equal(in8(&f->b, MSR), 0xbb);
}

/* Each line alone, and the edge of RI that counts. */
static void modem_lines(void **state)
{
	static const u8 bit[4][2] = {
	        {MODEM_CTS, 0x11}, {MODEM_DSR, 0x22}, {MODEM_RI, 0x40}, {MODEM_DCD, 0x88}};
	struct fix *f = *state;

	uart_set_modem(&f->u, 0);
	in8(&f->b, MSR);
	for (unsigned n = 0; n < 4; n++) {
		uart_set_modem(&f->u, bit[n][0]);
		assert_int_equal(in8(&f->b, MSR), bit[n][1]);
		uart_set_modem(&f->u, 0);
		assert_int_equal(in8(&f->b, MSR), bit[n][0] == MODEM_RI ? 0x04 : bit[n][1] & 0x0f);
	}
	uart16550_reset(&f->u);
	assert_int_equal(in8(&f->b, MSR), 0);
}

static void line_to_host(void **state)
{
	static const u8 parities[8] = {PARITY_NONE, PARITY_ODD, PARITY_NONE, PARITY_EVEN, PARITY_NONE,
	        PARITY_MARK, PARITY_NONE, PARITY_SPACE};
	struct fix *f = *state;

	assert_int_equal(f->told, 0); /* nothing before the guest says something */
	out8(&f->b, LCR, 0x83);
	out8(&f->b, COM, 12);
	out8(&f->b, COM + 1, 0);
	assert_int_equal(f->told, 0); /* not half a divisor */
	out8(&f->b, LCR, 0x03);
	assert_int_equal(f->told, 1);
	assert_int_equal(f->line.speed, 9600);
	assert_int_equal(f->line.bits, 8);
	assert_false(f->line.two_stops || f->line.brk || f->line.dtr || f->line.rts);
	for (unsigned n = 0; n < 8; n++) {
		out8(&f->b, LCR, (u8)(n << 3 | (n & 3)));
		assert_int_equal(f->line.parity, parities[n]);
		assert_int_equal(f->line.bits, 5 + (n & 3));
	}
	out8(&f->b, LCR, 0x47);
	assert_true(f->line.brk && f->line.two_stops);
	out8(&f->b, MCR, 0x03);
	assert_true(f->line.dtr && f->line.rts);
	/* In loopback the line is at rest. */
	out8(&f->b, MCR, 0x13);
	assert_false(f->line.dtr || f->line.rts || f->line.brk);
	out8(&f->b, MCR, 0x02);
	assert_true(f->line.rts && f->line.brk && !f->line.dtr);
	uart16550_reset(&f->u);
	assert_false(f->line.rts || f->line.brk);
	assert_int_equal(f->line.speed, 9600);
	f->told = 0;
	uart16550_reset(&f->u);
	out8(&f->b, MCR, 0x08); /* OUT2 does not lead to the line, but speed and format are known now */
	assert_int_equal(f->told, 1);
	assert_int_equal(f->line.speed, 115200);
}

static void chip_reset(void **state)
{
	struct fix *f = *state;

	out8(&f->b, FCR, 1);
	out8(&f->b, IER, 3);
	out8(&f->b, MCR, 0x10);
	out8(&f->b, THR, 1);
	receive(f, "x");
	assert_true(f->irq.level);
	uart16550_reset(&f->u);
	assert_false(f->irq.level);
	assert_true(bench_idle(&f->b));
	assert_int_equal(in8(&f->b, MSR), 0xb0);
	assert_int_equal(in8(&f->b, LSR), 0x60);
	assert_int_equal(f->rx_ready, 1);
}

static void nobody_there(void **state)
{
	static struct fix g;

	memset(&g, 0, sizeof(g));
	bench_init(&g.b, 0);
	assert_int_equal(uart16550_init(&g.u, &(struct uart16550_config){.timers = &g.b.timers}), 0);
	g.u.region.base = 0x2000; /* as a PCI card's BAR */
	assert_int_equal(space_add(&g.b.ports, &g.u.region), 0);
	assert_int_equal(in8(&g.b, 0x2006), 0);
	for (unsigned i = 0; i < 100; i++)
		out8(&g.b, 0x2000, 'x');
	assert_int_equal(in8(&g.b, 0x2005), 0x60);
	uart_receive(&g.u, (const u8 *)"ab", 2);
	assert_int_equal(in8(&g.b, 0x2000), 'a');
	bench_sweep(&g.b.ports, 0x2000, 8);
	space_remove(&g.b.ports, &g.u.region);
	uart16550_fini(&g.u);
	bench_fini(&g.b);
}

static void sweep(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < 64; i++) {
		f->room = i & 1 ? 4 : 0;
		receive(f, "some input that is longer than a FIFO");
		uart_break(&f->u);
		bench_sweep(&f->b.ports, COM, 8);
		uart_tx_ready(&f->u);
		bench_advance(&f->b, i * NS_PER_MS);
		f->sent_len = 0;
	}
	uart16550_reset(&f->u);
	f->room = SIZE_MAX;
	f->sent_len = 0;
	out8(&f->b, THR, 'k');
	assert_int_equal(f->sent_len, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(registers, setup, teardown),
	        cmocka_unit_test_setup_teardown(transmit, setup, teardown),
	        cmocka_unit_test_setup_teardown(back_pressure, setup, teardown),
	        cmocka_unit_test_setup_teardown(slow_host_loses_nothing, setup, teardown),
	        cmocka_unit_test_setup_teardown(ignorant_guest, setup, teardown),
	        cmocka_unit_test_setup_teardown(thre_interrupt, setup, teardown),
	        cmocka_unit_test_setup_teardown(receive_without_fifo, setup, teardown),
	        cmocka_unit_test_setup_teardown(trigger_levels, setup, teardown),
	        cmocka_unit_test_setup_teardown(character_timeout, setup, teardown),
	        cmocka_unit_test_setup_teardown(all_divisors, setup, teardown),
	        cmocka_unit_test_setup_teardown(breaks, setup, teardown),
	        cmocka_unit_test_setup_teardown(loopback, setup, teardown),
	        cmocka_unit_test_setup_teardown(fifo_resets, setup, teardown),
	        cmocka_unit_test_setup_teardown(carrier, setup, teardown),
	        cmocka_unit_test_setup_teardown(modem_lines, setup, teardown),
	        cmocka_unit_test_setup_teardown(line_to_host, setup, teardown),
	        cmocka_unit_test_setup_teardown(chip_reset, setup, teardown),
	        cmocka_unit_test_setup_teardown(nobody_there, setup, teardown),
	        cmocka_unit_test_setup_teardown(sweep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
