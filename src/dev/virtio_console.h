/*
 * A virtio console (virtio 1.2, 5.3): 1af4:1003, legacy and modern drivers. Port 0 is the console, Linux's
 * hvc0; further ports have names and are byte streams for programs (/dev/virtio-ports/NAME). A driver
 * without control queues has port 0 only, and finds the terminal's size in the device's configuration.
 *
 * Every port leads to a host through two calls outward and four inward, as a UART does: nothing blocks, loses
 * a byte that was accepted, or grows. When the host takes nothing, the driver's buffers stay in its queue;
 * when the driver has no buffers, or nobody there has the port open, virtio_console_receive takes nothing.
 *
 * Locks: tx and rx_ready are called under the device's lock and must not call back into it. The inward
 * calls take that lock, so the host must not hold one that tx or rx_ready takes.
 */
#pragma once

#include "dev/virtio_pci.h"

#define VIRTIO_CONSOLE_PORTS 16
#define VIRTIO_CONSOLE_NAME 32 /* characters of a port's name at most */

struct virtio_console_host {
	/* Takes up to len bytes at once and returns how many; fewer means: wait for virtio_console_tx_ready.
	 */
	size_t (*tx)(void *opaque, const u8 *buf, size_t len);
	/* Bytes that virtio_console_receive refused may find room now. */
	void (*rx_ready)(void *opaque);
};

struct virtio_console_port {
	bool absent;                            /* port 0 only: there is no console */
	const char *name;                       /* copied; NULL for the console */
	const struct virtio_console_host *host; /* NULL: nobody at the other end, what is sent is dropped */
	void *opaque;
};

struct virtio_console_config {
	struct mem *mem;
	unsigned nports; /* 1..VIRTIO_CONSOLE_PORTS */
	struct virtio_console_port port[VIRTIO_CONSOLE_PORTS];
	bool msi_only; /* one MSI instead of MSI-X (-W) */
};

struct virtio_console;

int virtio_console_create(struct virtio_console **out, const struct virtio_console_config *c);
/* NULL is fine. */
void virtio_console_destroy(struct virtio_console *d);
void virtio_console_reset(struct virtio_console *d);
struct pci_dev *virtio_console_pci(struct virtio_console *d);

/* --- from the host, any thread; port < nports --- */

size_t virtio_console_receive(struct virtio_console *d, unsigned port, const u8 *buf, size_t len);
void virtio_console_tx_ready(struct virtio_console *d, unsigned port); /* the host has room again */
/* Somebody came to the other end or left it. At first somebody is there if the port has a host. */
void virtio_console_set_carrier(struct virtio_console *d, unsigned port, bool there);
void virtio_console_resize(struct virtio_console *d, unsigned port, u16 columns, u16 rows);
