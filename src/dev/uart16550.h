/*
 * 16550A UART. The line leads to a host through three calls outward and four inward; nothing on the
 * way blocks, loses a byte that was accepted, or grows: when the host takes nothing, bytes wait in
 * the 16-byte FIFO and the guest sees a transmitter that is busy; when the guest reads nothing,
 * uart_receive takes nothing and the host keeps its bytes.
 *
 * Locks: tx, rx_ready and line are called under the chip's lock and must not call back into it. The
 * inward calls take that lock, so the host must not hold one that they take.
 */
#pragma once

#include "base/loop.h"
#include "base/serial.h"
#include "bus/space.h"
#include "bus/wire.h"

#define UART_PORTS 8
#define UART_FIFO 16
#define UART_HZ 1843200u /* the crystal; a bit lasts 16 * divisor periods */

struct uart_host_ops {
	/* Takes up to len bytes at once and returns how many; fewer means: wait for uart_tx_ready. */
	size_t (*tx)(void *opaque, const u8 *buf, size_t len);
	/* Bytes that uart_receive refused would find room now. May be NULL. */
	void (*rx_ready)(void *opaque);
	/* The guest has set speed and format, a break or modem lines to something else. May be NULL. */
	void (*line)(void *opaque, const struct serial_line *line);
};

struct uart16550_config {
	struct space *ports; /* NULL: the owner maps .region itself (a PCI BAR) */
	u64 base;
	struct timerq *timers;
	struct wire irq;                  /* level */
	const struct uart_host_ops *host; /* NULL: nobody at the other end */
	void *host_opaque;
};

struct uart_fifo {
	u8 data[UART_FIFO];
	u8 error[UART_FIFO]; /* LSR bits that came with the byte */
	u8 head, count;
};

struct uart16550 {
	pthread_mutex_t lock;
	struct uart16550_config cfg;
	struct timer timeout; /* character timeout */
	u8 ier, fcr, lcr, mcr, lsr_error, msr, scr, dll, dlm;
	struct uart_fifo rx, tx;
	bool thre_pending;       /* THRE interrupt: set when the transmitter empties, cleared by IIR */
	bool timed_out;          /* characters lie below the trigger level for too long */
	u8 modem;                /* what the host asserts, enum serial_modem */
	struct serial_line line; /* what the host was told */
	bool rx_refused;         /* uart_receive had to refuse bytes */
	bool break_waiting;      /* a break came while the FIFO was full */
	bool irq_level;
	struct region region;
};

int uart16550_init(struct uart16550 *u, const struct uart16550_config *cfg);
void uart16550_reset(struct uart16550 *u);
void uart16550_fini(struct uart16550 *u);

/* From the host, any thread. */
size_t uart_receive(struct uart16550 *u, const u8 *buf, size_t len); /* bytes taken */
void uart_tx_ready(struct uart16550 *u);                             /* the host has room again */
void uart_break(struct uart16550 *u);
/* All lines of somebody who is there, or none. */
void uart_set_carrier(struct uart16550 *u, bool on);
void uart_set_modem(struct uart16550 *u, u8 lines); /* enum serial_modem */
