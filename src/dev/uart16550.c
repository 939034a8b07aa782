/*
 * 16550A. Register and bit names are those of the National PC16550D data sheet, whose section 8
 * describes the registers.
 *
 * A sent byte goes to the host within the write to THR, however slow the programmed line would be;
 * only the character timeout looks at the divisor. Deviations: OUT2 does not gate the interrupt (PCI
 * cards do not, and guests written for virtual machines forget it); bytes always have eight bits;
 * without FIFOs the transmitter nevertheless has 16 bytes behind THR, which only helps a guest that
 * does not look at THRE.
 */
#include "dev/uart16550.h"

enum { RBR_THR_DLL = 0, IER_DLM = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

/* 8.6.7 Interrupt enable */
#define IER_ERBFI BIT(0)
#define IER_ETBEI BIT(1)
#define IER_ELSI BIT(2)
#define IER_EDSSI BIT(3)
#define IER_BITS 0x0f
/* 8.6.5 Interrupt identification, by priority */
#define IIR_LINE 0x06
#define IIR_DATA 0x04
#define IIR_TIMEOUT 0x0c
#define IIR_THRE 0x02
#define IIR_MODEM 0x00
#define IIR_NONE 0x01
#define IIR_FIFOS 0xc0
/* 8.6.6 FIFO control */
#define FCR_ENABLE BIT(0)
#define FCR_RX_RESET BIT(1)
#define FCR_TX_RESET BIT(2)
#define FCR_TRIGGER_SHIFT 6
#define FCR_KEPT 0xc9
/* 8.6.1 Line control */
#define LCR_WLS 0x03
#define LCR_STB BIT(2)
#define LCR_PEN BIT(3)
#define LCR_PARITY_SHIFT 4 /* even, and stick, which means the opposite then */
#define LCR_BREAK BIT(6)
#define LCR_DLAB BIT(7)
/* 8.6.8 Modem control */
#define MCR_DTR BIT(0)
#define MCR_RTS BIT(1)
#define MCR_OUT1 BIT(2)
#define MCR_OUT2 BIT(3)
#define MCR_LOOP BIT(4)
#define MCR_BITS 0x1f
/* 8.6.4 Line status */
#define LSR_DR BIT(0)
#define LSR_OE BIT(1)
#define LSR_PE BIT(2)
#define LSR_FE BIT(3)
#define LSR_BI BIT(4)
#define LSR_THRE BIT(5)
#define LSR_TEMT BIT(6)
#define LSR_FIFO_ERROR BIT(7)
#define LSR_ERRORS (LSR_OE | LSR_PE | LSR_FE | LSR_BI)
/* 8.6.9 Modem status: four changes, four levels */
#define MSR_DCTS BIT(0)
#define MSR_DDSR BIT(1)
#define MSR_TERI BIT(2)
#define MSR_DDCD BIT(3)
#define MSR_CTS BIT(4)
#define MSR_DSR BIT(5)
#define MSR_RI BIT(6)
#define MSR_DCD BIT(7)
#define MSR_CHANGES 0x0f

/* At 50 baud four characters take most of a second; nobody at this line is as slow. */
#define TIMEOUT_MAX_NS (5 * NS_PER_MS)

/* -- FIFOs ------------------------------------------------------------------------------------ */

static bool fifos_on(const struct uart16550 *u)
{
	return u->fcr & FCR_ENABLE;
}

static void fifo_clear(struct uart_fifo *f)
{
	f->head = 0;
	f->count = 0;
}

/* The caller has checked that there is room. */
static void fifo_push(struct uart_fifo *f, u8 byte, u8 error)
{
	unsigned at = (f->head + f->count) % UART_FIFO;

	f->data[at] = byte;
	f->error[at] = error;
	f->count++;
}

static u8 fifo_pop(struct uart_fifo *f, unsigned n)
{
	u8 byte = f->data[f->head];

	f->head = (u8)((f->head + n) % UART_FIFO);
	f->count -= (u8)n;
	return byte;
}

/* Bytes that the receiver holds: 16, or the one of RBR (16450 mode). */
static unsigned rx_size(const struct uart16550 *u)
{
	return fifos_on(u) ? UART_FIFO : 1;
}

static unsigned rx_trigger(const struct uart16550 *u)
{
	static const u8 level[4] = {1, 4, 8, 14};

	return fifos_on(u) ? level[u->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* -- interrupts ------------------------------------------------------------------------------- */

/* Errors that LSR shows: the overrun, and what belongs to the byte on top. */
static u8 line_errors(const struct uart16550 *u)
{
	return u->lsr_error | (u->rx.count ? u->rx.error[u->rx.head] : 0);
}

static u8 interrupt_id(const struct uart16550 *u)
{
	if ((u->ier & IER_ELSI) && line_errors(u))
		return IIR_LINE;
	if ((u->ier & IER_ERBFI) && u->rx.count >= rx_trigger(u))
		return IIR_DATA;
	if ((u->ier & IER_ERBFI) && u->timed_out)
		return IIR_TIMEOUT;
	if ((u->ier & IER_ETBEI) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_EDSSI) && (u->msr & MSR_CHANGES))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct uart16550 *u)
{
	bool level = interrupt_id(u) != IIR_NONE;

	if (level == u->irq_level)
		return;
	u->irq_level = level;
	wire_set(&u->cfg.irq, level);
}

/* 8.4: four characters of the programmed length. A divisor of 0 counts as 1. */
static u64 timeout_ns(const struct uart16550 *u)
{
	u64 divisor = u->dll | u->dlm << 8;
	unsigned bits =
	        1 + 5 + (u->lcr & LCR_WLS) + (u->lcr & LCR_PEN ? 1 : 0) + 1 + (u->lcr & LCR_STB ? 1 : 0);
	u64 ns = mul_div(4ull * bits * 16 * MAX(divisor, 1), NS_PER_SEC, UART_HZ);

	return MIN(ns, TIMEOUT_MAX_NS);
}

/* The timeout starts anew with every byte that comes or is read. */
static void restart_timeout(struct uart16550 *u)
{
	if (fifos_on(u) && (u->ier & IER_ERBFI) && !u->timed_out && u->rx.count &&
	        u->rx.count < rx_trigger(u))
		timer_arm(&u->timeout, clock_now(u->timeout.q->clock) + timeout_ns(u));
	else
		timer_cancel(&u->timeout);
}

static void timeout_due(void *opaque)
{
	struct uart16550 *u = opaque;

	u->timed_out = u->rx.count > 0;
	update_irq(u);
}

/* -- receiver --------------------------------------------------------------------------------- */

/* A byte from the line. Only in loopback can it come without room: the host is held off. */
static void rx_byte(struct uart16550 *u, u8 byte, u8 error)
{
	if (u->rx.count < rx_size(u)) {
		fifo_push(&u->rx, byte, error);
		return;
	}
	u->lsr_error |= LSR_OE;
	if (!fifos_on(u)) {
		/* RBR is overwritten; a full FIFO stays and the new byte is lost. */
		fifo_clear(&u->rx);
		fifo_push(&u->rx, byte, error);
	}
}

/* Room was made: a break that waits goes first, then the host may send on. */
static void rx_room(struct uart16550 *u)
{
	if (u->mcr & MCR_LOOP)
		return;
	if (u->break_waiting && u->rx.count < rx_size(u)) {
		u->break_waiting = false;
		rx_byte(u, 0, LSR_BI);
	}
	/* Not for each byte: the host refills an empty FIFO at one blow. */
	if (u->rx_refused && u->rx.count == 0 && u->cfg.host && u->cfg.host->rx_ready) {
		u->rx_refused = false;
		u->cfg.host->rx_ready(u->cfg.host_opaque);
	}
}

static u8 read_rbr(struct uart16550 *u)
{
	u8 byte;

	if (!u->rx.count)
		return 0;
	byte = fifo_pop(&u->rx, 1);
	u->timed_out = false;
	rx_room(u);
	restart_timeout(u);
	return byte;
}

size_t uart_receive(struct uart16550 *u, const u8 *buf, size_t len)
{
	size_t n = 0;

	pthread_mutex_lock(&u->lock);
	/* A break that waits does so because there is no room: it cannot be overtaken here. */
	while (!(u->mcr & MCR_LOOP) && n < len && u->rx.count < rx_size(u))
		rx_byte(u, buf[n++], 0);
	if (n < len)
		u->rx_refused = true;
	restart_timeout(u);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
	return n;
}

void uart_break(struct uart16550 *u)
{
	pthread_mutex_lock(&u->lock);
	u->break_waiting = true;
	rx_room(u);
	restart_timeout(u);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

/* -- transmitter ------------------------------------------------------------------------------ */

/* Gives the host what it takes. When the last byte has gone, the transmitter interrupts. */
static void flush(struct uart16550 *u)
{
	struct uart_fifo *f = &u->tx;

	if (!f->count)
		return;
	while (f->count) {
		size_t run = MIN(f->count, UART_FIFO - f->head), taken = run;

		if (u->cfg.host && u->cfg.host->tx)
			taken = u->cfg.host->tx(u->cfg.host_opaque, f->data + f->head, run);
		fifo_pop(f, (unsigned)MIN(taken, run));
		if (taken < run)
			return;
	}
	u->thre_pending = true;
}

static void write_thr(struct uart16550 *u, u8 byte)
{
	if (u->mcr & MCR_LOOP) {
		rx_byte(u, byte, u->lcr & LCR_BREAK ? LSR_BI : 0);
		u->thre_pending = true;
		restart_timeout(u);
		return;
	}
	if (u->tx.count == UART_FIFO)
		return; /* the guest did not look at THRE: lost, as on the chip */
	fifo_push(&u->tx, byte, 0);
	u->thre_pending = false;
	flush(u);
}

void uart_tx_ready(struct uart16550 *u)
{
	pthread_mutex_lock(&u->lock);
	flush(u);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

/* -- modem lines ------------------------------------------------------------------------------ */

/* Levels of the four inputs: from MCR in loopback (8.6.8), else from the host. */
static u8 modem_levels(const struct uart16550 *u)
{
	u8 val = 0;

	if (!(u->mcr & MCR_LOOP)) {
		val |= u->modem & MODEM_CTS ? MSR_CTS : 0;
		val |= u->modem & MODEM_DSR ? MSR_DSR : 0;
		val |= u->modem & MODEM_RI ? MSR_RI : 0;
		val |= u->modem & MODEM_DCD ? MSR_DCD : 0;
		return val;
	}
	if (u->mcr & MCR_RTS)
		val |= MSR_CTS;
	if (u->mcr & MCR_DTR)
		val |= MSR_DSR;
	if (u->mcr & MCR_OUT1)
		val |= MSR_RI;
	if (u->mcr & MCR_OUT2)
		val |= MSR_DCD;
	return val;
}

static void update_modem(struct uart16550 *u)
{
	u8 now = modem_levels(u), changed = (now ^ u->msr) & (u8)~MSR_CHANGES;
	u8 changes = u->msr & MSR_CHANGES;

	if (changed & MSR_CTS)
		changes |= MSR_DCTS;
	if (changed & MSR_DSR)
		changes |= MSR_DDSR;
	if (changed & MSR_DCD)
		changes |= MSR_DDCD;
	if ((changed & MSR_RI) && !(now & MSR_RI))
		changes |= MSR_TERI; /* the trailing edge alone */
	u->msr = now | changes;
}

void uart_set_modem(struct uart16550 *u, u8 lines)
{
	pthread_mutex_lock(&u->lock);
	u->modem = lines;
	update_modem(u);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

void uart_set_carrier(struct uart16550 *u, bool on)
{
	uart_set_modem(u, on ? MODEM_CTS | MODEM_DSR | MODEM_DCD : 0);
}

/* -- what goes out beside bytes --------------------------------------------------------------- */

/* In loopback the line is at rest and the outputs are inactive (8.6.8). */
static struct serial_line line_now(const struct uart16550 *u)
{
	static const u8 parity[4] = {PARITY_ODD, PARITY_EVEN, PARITY_MARK, PARITY_SPACE};
	u32 divisor = u->dll | (u32)u->dlm << 8;
	bool out = !(u->mcr & MCR_LOOP);

	return (struct serial_line){.speed = UART_HZ / 16 / MAX(divisor, 1u),
	        .bits = 5 + (u->lcr & LCR_WLS),
	        .parity = u->lcr & LCR_PEN ? parity[u->lcr >> LCR_PARITY_SHIFT & 3] : PARITY_NONE,
	        .two_stops = u->lcr & LCR_STB,
	        .brk = out && (u->lcr & LCR_BREAK),
	        .dtr = out && (u->mcr & MCR_DTR),
	        .rts = out && (u->mcr & MCR_RTS)};
}

static void tell_line(struct uart16550 *u, const struct serial_line *now)
{
	if (serial_line_same(now, &u->line))
		return;
	u->line = *now;
	if (u->cfg.host && u->cfg.host->line)
		u->cfg.host->line(u->cfg.host_opaque, now);
}

/* The two halves of the divisor count together, when the guest is through with them. */
static void update_line(struct uart16550 *u)
{
	struct serial_line now = line_now(u);

	if (!(u->lcr & LCR_DLAB))
		tell_line(u, &now);
}

/* -- registers -------------------------------------------------------------------------------- */

static u8 read_iir(struct uart16550 *u)
{
	u8 id = interrupt_id(u);

	if (id == IIR_THRE)
		u->thre_pending = false;
	return id | (fifos_on(u) ? IIR_FIFOS : 0);
}

static u8 read_lsr(struct uart16550 *u)
{
	u8 val = line_errors(u);

	if (u->rx.count)
		val |= LSR_DR;
	if (!u->tx.count)
		val |= LSR_THRE | LSR_TEMT;
	for (unsigned i = 0; fifos_on(u) && i < u->rx.count; i++)
		if (u->rx.error[(u->rx.head + i) % UART_FIFO])
			val |= LSR_FIFO_ERROR;
	u->lsr_error = 0;
	u->rx.error[u->rx.head] = 0;
	return val;
}

static u8 read_msr(struct uart16550 *u)
{
	u8 val = u->msr;

	u->msr &= (u8)~MSR_CHANGES;
	return val;
}

/* Switching the THRE interrupt on while the transmitter is empty requests it. */
static void write_ier(struct uart16550 *u, u8 val)
{
	if ((val & IER_ETBEI) && !(u->ier & IER_ETBEI) && !u->tx.count)
		u->thre_pending = true;
	u->ier = val & IER_BITS;
	restart_timeout(u);
}

static void write_fcr(struct uart16550 *u, u8 val)
{
	bool toggles = (val ^ u->fcr) & FCR_ENABLE;

	if (!(val & FCR_ENABLE))
		val = 0; /* the other bits are not taken without it */
	if (toggles || (val & FCR_RX_RESET)) {
		fifo_clear(&u->rx);
		u->timed_out = false;
	}
	if ((toggles || (val & FCR_TX_RESET)) && u->tx.count) {
		fifo_clear(&u->tx);
		u->thre_pending = true;
	}
	u->fcr = val & FCR_KEPT;
	rx_room(u);
	restart_timeout(u);
}

static void write_lcr(struct uart16550 *u, u8 val)
{
	bool break_starts = (val & LCR_BREAK) && !(u->lcr & LCR_BREAK);

	u->lcr = val;
	if (break_starts && (u->mcr & MCR_LOOP)) {
		rx_byte(u, 0, LSR_BI);
		restart_timeout(u);
	}
	update_line(u);
}

static void write_mcr(struct uart16550 *u, u8 val)
{
	u->mcr = val & MCR_BITS;
	update_modem(u);
	update_line(u);
	rx_room(u);
	restart_timeout(u);
}

static u8 read_reg(struct uart16550 *u, unsigned reg)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case RBR_THR_DLL: return dlab ? u->dll : read_rbr(u);
	case IER_DLM: return dlab ? u->dlm : u->ier;
	case IIR_FCR: return read_iir(u);
	case LCR: return u->lcr;
	case MCR: return u->mcr;
	case LSR: return read_lsr(u);
	case MSR: return read_msr(u);
	default: return u->scr;
	}
}

static void write_reg(struct uart16550 *u, unsigned reg, u8 val)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case RBR_THR_DLL:
		if (dlab)
			u->dll = val;
		else
			write_thr(u, val);
		break;
	case IER_DLM:
		if (dlab)
			u->dlm = val;
		else
			write_ier(u, val);
		break;
	case IIR_FCR: write_fcr(u, val); break;
	case LCR: write_lcr(u, val); break;
	case MCR: write_mcr(u, val); break;
	case SCR: u->scr = val; break;
	default: break; /* LSR and MSR are for factory tests */
	}
}

static u64 io_read(void *opaque, u64 off, unsigned size)
{
	struct uart16550 *u = opaque;
	u8 val = read_reg(u, (unsigned)off & 7);

	update_irq(u);
	return val;
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct uart16550 *u = opaque;

	write_reg(u, (unsigned)off & 7, (u8)val);
	update_irq(u);
}

static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min = 1, .max = 1};

/* -- life ------------------------------------------------------------------------------------- */

/*
 * 8.1 Master reset. Bytes on their way to the host go as far as it takes them. A break ends; speed and format
 * stay on the line until the guest sets them: what they are after a reset is no wish of anybody.
 */
static void reset_state(struct uart16550 *u)
{
	struct serial_line rest = u->line;

	rest.brk = rest.dtr = rest.rts = false;
	flush(u);
	tell_line(u, &rest);
	fifo_clear(&u->tx);
	fifo_clear(&u->rx);
	u->ier = u->fcr = u->lcr = u->mcr = u->lsr_error = u->scr = u->dlm = 0;
	u->dll = 1;
	u->thre_pending = false;
	u->timed_out = false;
	u->break_waiting = false;
	update_modem(u);
	u->msr &= (u8)~MSR_CHANGES;
	rx_room(u);
	restart_timeout(u);
	update_irq(u);
}

void uart16550_reset(struct uart16550 *u)
{
	pthread_mutex_lock(&u->lock);
	reset_state(u);
	pthread_mutex_unlock(&u->lock);
}

int uart16550_init(struct uart16550 *u, const struct uart16550_config *cfg)
{
	int r;

	*u = (struct uart16550){.cfg = *cfg};
	if (cfg->host)
		u->modem = MODEM_CTS | MODEM_DSR | MODEM_DCD; /* until the host says otherwise */
	r = -pthread_mutex_init(&u->lock, NULL);
	if (r)
		return r;
	timer_init(&u->timeout, cfg->timers, &u->lock, timeout_due, u);
	reset_state(u);
	u->region = (struct region){.base = cfg->base,
	        .len = UART_PORTS,
	        .ops = &io_ops,
	        .opaque = u,
	        .lock = &u->lock,
	        .name = "16550A"};
	r = cfg->ports ? space_add(cfg->ports, &u->region) : 0;
	if (r)
		uart16550_fini(u);
	return r;
}

void uart16550_fini(struct uart16550 *u)
{
	timer_cancel(&u->timeout);
	if (u->cfg.ports)
		space_remove(u->cfg.ports, &u->region);
	pthread_mutex_destroy(&u->lock);
}
