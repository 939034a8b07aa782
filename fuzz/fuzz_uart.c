/*
 * Serial ports on PCI, two that share a line, with a guest and hosts that do anything: registers,
 * configuration cycles, bytes, breaks and carriers, time. It holds that no accepted byte is lost or doubled
 * on its way to the guest, that the host is never given more than it was asked to take, that what it is told
 * of the line makes sense and is new, and that the interrupt line's level follows from what the ports say.
 */
#include "input.h"
#include "pci_board.h"
#include "standalone.h"

#include "dev/pci_uart.h"

#define PORTS 2

struct board;

struct port {
	struct board *b;
	struct pci_uart u;
	size_t room;
	struct serial_line line; /* what the host was told */
};

struct board {
	struct clock_manual clock;
	struct timerq timers;
	struct space ports, memory;
	struct pci_host host;
	struct port port[PORTS];
	bool line[PCI_LINKS];
};

static void set_line(void *opaque, unsigned n, bool level)
{
	struct board *b = opaque;

	check(b->line[n] != level);
	b->line[n] = level;
}

static void no_msi(void *opaque, u64 addr, u32 data)
{
	check(false);
}

static size_t host_tx(void *opaque, const u8 *buf, size_t len)
{
	struct port *p = opaque;
	size_t n = MIN(len, p->room);

	check(len > 0 && len <= UART_FIFO);
	p->room -= n;
	return n;
}

static void host_rx_ready(void *opaque)
{
}

static void host_line(void *opaque, const struct serial_line *line)
{
	struct port *p = opaque;

	check(!serial_line_same(line, &p->line));
	check(line->speed <= UART_HZ / 16 && line->parity <= PARITY_SPACE);
	check(line->bits >= 5 && line->bits <= 8);
	p->line = *line;
}

static const struct uart_host_ops host_ops = {.tx = host_tx, .rx_ready = host_rx_ready, .line = host_line};

static void board_init(struct board *b)
{
	struct pci_host_config c = pci_windows(&b->ports, &b->memory, (struct msi_sink){.send = no_msi});

	memset(b, 0, sizeof(*b));
	clock_manual_init(&b->clock, 0);
	check(!timerq_init(&b->timers, &b->clock.clock));
	check(!space_init(&b->ports, 0xffff) && !space_init(&b->memory, UINT64_MAX));
	for (unsigned n = 0; n < PCI_LINKS; n++)
		c.ioapic[n] = (struct wire){.set = set_line, .opaque = b, .n = n};
	check(!pci_host_init(&b->host, &c));
	for (unsigned n = 0; n < PORTS; n++) {
		struct port *p = &b->port[n];
		const struct pci_uart_config u = {.timers = &b->timers, .host = &host_ops, .host_opaque = p};

		p->b = b;
		check(!pci_uart_init(&p->u, &u));
		check(!pci_add(&b->host, &p->u.pci, 0, 1, n * 4));
	}
	check(!pci_assign(&b->host));
}

static void board_fini(struct board *b)
{
	for (unsigned n = 0; n < PORTS; n++)
		pci_uart_fini(&b->port[n].u);
	pci_host_fini(&b->host);
	check(b->memory.count == 0 && b->ports.count == 0);
	space_fini(&b->ports);
	space_fini(&b->memory);
	timerq_fini(&b->timers);
}

/* --- steps --- */

static void access_port(struct board *b, struct port *p, struct input *in, bool write)
{
	u64 how = take(in, 1), addr = (get_le32(&p->u.pci.cfg[PCI_BAR0]) & ~3u) + (how & 7);
	unsigned size = how & 0x80 ? 1u << (how >> 4 & 3) % 3 : 1;

	if (write)
		space_write(&b->ports, addr & 0xffff, size, take(in, size));
	else
		check(space_read(&b->ports, addr & 0xffff, size) <= ones(size));
}

static void config_cycle(struct board *b, struct port *p, struct input *in)
{
	u64 how = take(in, 1), addr = ECAM + (1u << 15) + ((u64)p->u.pci.func << 12) + (how & 0x3f);
	unsigned size = 1u << (how >> 6) % 3;

	space_write(&b->memory, addr, size, take(in, size));
	check(space_read(&b->memory, addr, size) <= ones(size));
}

/* What goes in is there, and in order: nobody read in between. */
static void type(struct port *p, struct input *in)
{
	static const u8 text[32] = "thirty-one bytes from the host";
	struct uart16550 *u = &p->u.uart;
	unsigned before = u->rx.count;
	size_t n = take(in, 1) & 31, got = uart_receive(u, text, n);

	check(got <= n && u->rx.count == before + got && u->rx.count <= UART_FIFO);
	for (size_t k = 0; k < got; k++)
		check(u->rx.data[(u->rx.head + before + k) % UART_FIFO] == text[k]);
}

static void outside(struct board *b, struct port *p, struct input *in)
{
	u64 how = take(in, 1);

	switch (how & 3) {
	case 0: type(p, in); break;
	case 1: uart_break(&p->u.uart); break;
	case 2: uart_set_modem(&p->u.uart, how >> 2 & 15); break;
	default:
		p->room = how >> 2;
		uart_tx_ready(&p->u.uart);
		break;
	}
}

static void advance(struct board *b, struct input *in)
{
	b->clock.ns += 1ull << take(in, 1) % 40;
	timerq_run(&b->timers);
}

static void check_lines(struct board *b)
{
	bool want[PCI_LINKS] = {false};

	for (unsigned n = 0; n < PORTS; n++) {
		struct pci_dev *d = &b->port[n].u.pci;
		bool off = get_le16(&d->cfg[PCI_COMMAND]) & PCI_CMD_INTX_OFF;

		want[d->link] |= b->port[n].u.uart.irq_level && !off;
	}
	for (unsigned n = 0; n < PCI_LINKS; n++)
		check(b->line[n] == want[n]);
}

static void step(struct board *b, struct input *in)
{
	u64 op = take(in, 1);
	struct port *p = &b->port[op >> 7];

	switch (op & 7) {
	case 0 ... 2: access_port(b, p, in, true); break;
	case 3 ... 4: access_port(b, p, in, false); break;
	case 5: outside(b, p, in); break;
	case 6: advance(b, in); break;
	default: (op & 0x70) == 0x70 ? uart16550_reset(&p->u.uart) : config_cycle(b, p, in); break;
	}
	check_lines(b);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	struct input in = {.data = data, .left = len};
	struct board *b = malloc(sizeof(*b));

	check(b != NULL);
	board_init(b);
	while (in.left)
		step(b, &in);
	board_fini(b);
	free(b);
	return 0;
}

/* A driver that switches FIFOs and interrupts on, sends and receives; and noise. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const u8 driver[] = {0, 1, 0x0f, 0, 2, 0xc7, 0, 4, 0x0b, 5, 0x7f, 0, 0, 'a', 0, 0, 'b', 3, 2,
	        5, 0, 20, 3, 2, 3, 0, 3, 0, 6, 22, 3, 2, 3, 0, 5, 1, 3, 5, 5, 2, 3, 6, 5, 6, 3, 6, 0x80, 1,
	        0x0f, 0x85, 0, 31, 0x83, 2, 0x83, 0};
	size_t len = MIN(cap, (size_t)4096);
	u32 x = 0x12345678;

	if (n == 0) {
		memcpy(buf, driver, sizeof(driver));
		return sizeof(driver);
	}
	if (n > 8)
		return 0;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223 + n;
		buf[i] = (u8)(x >> 24);
	}
	return len;
}
