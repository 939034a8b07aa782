/* The serial port on PCI: its identity, registers behind a BAR that moves, its interrupt pin. */
#include "virtio_rig.h"

#include "dev/pci_uart.h"

enum { RBR = 0, THR = 0, IER = 1, IIR = 2, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

struct bed {
	struct rig r;
	struct timerq timers;
	struct clock_manual clock;
	struct pci_uart u;
	char sent[64];
	size_t len;
};

static size_t tx(void *opaque, const u8 *buf, size_t len)
{
	struct bed *b = opaque;

	len = MIN(len, sizeof(b->sent) - b->len);
	memcpy(b->sent + b->len, buf, len);
	b->len += len;
	return len;
}

static const struct uart_host_ops host = {.tx = tx};

static struct bed *bed_make(const struct uart_host_ops *ops)
{
	struct bed *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	rig_init(&b->r);
	clock_manual_init(&b->clock, 1000);
	assert_int_equal(timerq_init(&b->timers, &b->clock.clock), 0);
	assert_int_equal(
	        pci_uart_init(&b->u,
	                &(struct pci_uart_config){.timers = &b->timers, .host = ops, .host_opaque = b}),
	        0);
	rig_plug(&b->r, &b->u.pci);
	return b;
}

static void bed_free(struct bed *b)
{
	pci_uart_fini(&b->u);
	rig_fini(&b->r);
	timerq_fini(&b->timers);
	free(b);
}

static void identity(void **state)
{
	struct bed *b = bed_make(NULL);

	assert_int_equal(cfg_rd(&b->r, 0, 4), 0x2000131f);
	assert_int_equal(cfg_rd(&b->r, PCI_REVISION, 4), 0x07000000);
	assert_int_equal(cfg_rd(&b->r, PCI_STATUS, 2) & PCI_STATUS_CAPS, 0);
	assert_int_equal(cfg_rd(&b->r, PCI_INTPIN, 1), 1);
	cfg_wr(&b->r, PCI_BAR0, 4, 0xffffffff);
	assert_int_equal(cfg_rd(&b->r, PCI_BAR0, 4), 0xfffffff9); /* 8 ports */
	for (unsigned n = 1; n < 6; n++) {
		cfg_wr(&b->r, PCI_BAR0 + 4 * n, 4, 0xffffffff);
		assert_int_equal(cfg_rd(&b->r, PCI_BAR0 + 4 * n, 4), 0);
	}
	/* Linux looks at the card's clock selection. */
	cfg_wr(&b->r, 0x6f, 1, 0xef);
	assert_int_equal(cfg_rd(&b->r, 0x6f, 1), 0);
	bed_free(b);
}

static void moves(void **state)
{
	struct bed *b = bed_make(&host);

	for (unsigned n = 0; n < 3; n++) {
		u16 base = (u16)(0x6000 + 0x48 * n);

		cfg_wr(&b->r, PCI_BAR0, 4, base);
		b->r.io = base;
		old_wr(&b->r, SCR, 1, 0x50 + n);
		assert_int_equal(old_rd(&b->r, SCR, 1), 0x50 + n);
		assert_int_equal(old_rd(&b->r, LSR, 1), 0x60);
		assert_int_equal(old_rd(&b->r, 8, 1), 0xff);
		old_wr(&b->r, THR, 1, 'a' + n);
	}
	assert_int_equal(b->len, 3);
	assert_memory_equal(b->sent, "abc", 3);
	cfg_wr(&b->r, PCI_COMMAND, 2, 0);
	assert_int_equal(old_rd(&b->r, SCR, 1), 0xff);
	bed_free(b);
}

/* The line is up as long as there is a reason, and not while INTx is switched off. */
static void interrupts(void **state)
{
	struct bed *b = bed_make(&host);

	assert_false(b->r.line);
	old_wr(&b->r, IER, 1, 1);
	assert_int_equal(uart_receive(&b->u.uart, (const u8 *)"x", 1), 1);
	assert_true(b->r.line);
	cfg_wr(&b->r, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_INTX_OFF);
	assert_false(b->r.line);
	assert_true(cfg_rd(&b->r, PCI_STATUS, 2) & PCI_STATUS_INTX);
	cfg_wr(&b->r, PCI_COMMAND, 2, PCI_CMD_IO);
	assert_true(b->r.line);
	assert_int_equal(old_rd(&b->r, IIR, 1), 4);
	assert_int_equal(old_rd(&b->r, RBR, 1), 'x');
	assert_false(b->r.line);
	assert_int_equal(old_rd(&b->r, IIR, 1), 1);
	/* Modem lines and breaks interrupt, too. */
	old_wr(&b->r, IER, 1, 0x0c);
	uart_set_carrier(&b->u.uart, false);
	assert_true(b->r.line);
	assert_int_equal(old_rd(&b->r, MSR, 1), 0x0b);
	assert_false(b->r.line);
	uart_break(&b->u.uart);
	assert_true(b->r.line);
	assert_int_equal(old_rd(&b->r, LSR, 1) & 0x11, 0x11);
	assert_false(b->r.line);
	bed_free(b);
}

static void sweep(void **state)
{
	struct bed *b = bed_make(NULL);

	bench_sweep(&b->r.ports, b->r.io, 16);
	old_wr(&b->r, 3, 1, 3);
	old_wr(&b->r, MCR, 1, 0);
	assert_int_equal(old_rd(&b->r, MSR, 1) & 0xf0, 0); /* nobody at the other end */
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(identity),
	        cmocka_unit_test(moves),
	        cmocka_unit_test(interrupts),
	        cmocka_unit_test(sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
