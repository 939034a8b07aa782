/*
 * The virtio console (see virtio_console.h). Section numbers are those of virtio 1.2.
 *
 * A chain that the host takes only a part of goes back to the front of its queue, and the port remembers how
 * much has gone: no chain is in flight while the lock is free. Messages to the driver wait as bits, one for
 * each kind and port, until it gives buffers for them; what they say is looked up when they are written.
 */
#include "dev/virtio_console.h"

#include <errno.h>
#include <stdlib.h>

#define ID_CONSOLE 3
#define PCI_ID_CONSOLE 0x1003
#define CLASS_COMMUNICATION 0x078000
#define QUEUE_SIZE 64

/* Feature bits (5.3.3) */
#define F_SIZE BIT64(0)
#define F_MULTIPORT BIT64(1)
#define F_EMERG_WRITE BIT64(2)

/* virtio_console_config (5.3.4) */
#define CFG_COLS 0
#define CFG_ROWS 2
#define CFG_NPORTS 4
#define CFG_EMERG 8
#define CFG_LEN 12

/* 5.3.2: receive and transmit queues of port 0, control queues, then those of ports 1.. */
#define QUEUE_CTRL_IN 2 /* to the driver */
#define QUEUE_CTRL_OUT 3

/* Control messages (5.3.6.2) */
enum message {
	DEVICE_READY = 0,
	PORT_ADD = 1,
	PORT_READY = 3,
	CONSOLE_PORT = 4,
	RESIZE = 5,
	PORT_OPEN = 6,
	PORT_NAME = 7,
};

struct control {
	u32 port;
	u16 event, value;
};
static_assert(sizeof(struct control) == 8, "5.3.6.2");

struct resize {
	u16 columns, rows;
};
static_assert(sizeof(struct resize) == 4, "5.3.6.2");

/* In the order in which a driver has to hear them. */
static const u8 messages[] = {PORT_ADD, CONSOLE_PORT, PORT_NAME, PORT_OPEN, RESIZE};

/* As for disks: one notification answers more than the queue has entries only if CPUs race to publish. */
#define ANSWERS_MAX (64 * QUEUE_SIZE)

struct port {
	const struct virtio_console_host *host;
	void *opaque;
	char name[VIRTIO_CONSOLE_NAME + 1]; /* "": the console */
	bool absent;
	bool there;      /* somebody is at the host's end */
	bool ready;      /* the driver knows the port */
	bool guest_open; /* somebody is at the guest's end */
	bool refused;    /* virtio_console_receive had to refuse bytes */
	u8 owed;         /* messages that the driver has not got, by bit */
	struct resize size;
	u64 gone; /* bytes of the first chain in the transmit queue that the host has */
};

struct virtio_console {
	struct virtio v; /* first member */
	unsigned nports;
	struct port port[VIRTIO_CONSOLE_PORTS];
};

static struct virtio_console *console_of(struct virtio *v)
{
	return container_of(v, struct virtio_console, v);
}

static unsigned rx_queue(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

static bool multiport(const struct virtio_console *d)
{
	return virtio_has(&d->v, F_MULTIPORT);
}

/* --- messages to the driver --- */

static u16 value_of(const struct port *p, enum message event)
{
	return event == PORT_OPEN ? p->there : event != RESIZE;
}

/* The message with what follows it; its length. */
static size_t compose(const struct virtio_console *d, unsigned n, enum message event,
        u8 buf[sizeof(struct control) + VIRTIO_CONSOLE_NAME])
{
	const struct port *p = &d->port[n];
	const struct control head = {.port = n, .event = (u16)event, .value = value_of(p, event)};
	size_t len = sizeof(head);

	memcpy(buf, &head, sizeof(head));
	if (event == RESIZE) {
		memcpy(buf + len, &p->size, sizeof(p->size));
		len += sizeof(p->size);
	} else if (event == PORT_NAME) {
		memcpy(buf + len, p->name, strlen(p->name));
		len += strlen(p->name);
	}
	return len;
}

/* Writes messages that a port is owed; false if the driver has no buffers left. */
static bool tell_port(struct virtio_console *d, unsigned n)
{
	struct port *p = &d->port[n];
	u8 buf[sizeof(struct control) + VIRTIO_CONSOLE_NAME];

	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		struct vq_chain *c;

		if (!(p->owed & BIT(messages[i])))
			continue;
		c = virtio_pop(&d->v, QUEUE_CTRL_IN);
		if (!c)
			return false;
		p->owed &= (u8)~BIT(messages[i]);
		virtio_push(&d->v, QUEUE_CTRL_IN, c,
		        vq_chain_write(c, buf, compose(d, n, (enum message)messages[i], buf)));
	}
	return true;
}

static void tell(struct virtio_console *d)
{
	if (!multiport(d))
		return;
	for (unsigned n = 0; n < d->nports; n++)
		if (!tell_port(d, n))
			return;
}

/* A driver that knows the port hears of it; others will when they do. */
static void owe(struct port *p, enum message event)
{
	if (p->ready)
		p->owed |= BIT(event);
}

/* --- messages from the driver --- */

/* Everything about a port, for a driver that has just got to know it. */
static void introduce(struct port *p)
{
	p->ready = true;
	owe(p, p->name[0] ? PORT_NAME : CONSOLE_PORT);
	owe(p, PORT_OPEN);
	if (!p->name[0] && p->size.columns)
		owe(p, RESIZE);
}

static void resume(struct port *p)
{
	if (p->refused && p->host)
		p->host->rx_ready(p->opaque);
	p->refused = false;
}

static void obey_port(struct port *p, const struct control *m)
{
	switch (m->event) {
	case PORT_READY:
		if (m->value)
			introduce(p);
		break;
	case PORT_OPEN:
		p->guest_open = m->value != 0;
		if (p->guest_open)
			resume(p);
		break;
	default: break; /* 5.3.6.2 has no others from a driver */
	}
}

static void obey(struct virtio_console *d, struct vq_chain *c)
{
	struct control m;

	if (!vq_chain_pull(c, &m, sizeof(m)))
		return;
	if (m.event == DEVICE_READY) {
		for (unsigned n = 0; m.value && n < d->nports; n++)
			d->port[n].owed |= d->port[n].absent ? 0 : BIT(PORT_ADD);
		return;
	}
	if (m.port < d->nports && !d->port[m.port].absent)
		obey_port(&d->port[m.port], &m);
}

static void control(struct virtio_console *d)
{
	for (unsigned n = 0; n < ANSWERS_MAX; n++) {
		struct vq_chain *c = virtio_pop(&d->v, QUEUE_CTRL_OUT);

		if (!c) {
			tell(d);
			return;
		}
		if (multiport(d))
			obey(d, c);
		virtio_push(&d->v, QUEUE_CTRL_OUT, c, 0);
	}
	virtio_break(&d->v);
}

/* --- from the driver to the host --- */

/* Takes n bytes from the front of the readable buffers. */
static void skip(struct vq_chain *c, u64 n)
{
	while (n && c->nrd) {
		size_t part = (size_t)MIN(n, (u64)c->rd->iov_len);

		c->rd->iov_base = (u8 *)c->rd->iov_base + part;
		c->rd->iov_len -= part;
		c->rd_len -= part;
		n -= part;
		if (c->rd->iov_len == 0) {
			c->rd++;
			c->nrd--;
		}
	}
}

/* False: the host took only a part. */
static bool send_chain(struct port *p, struct vq_chain *c)
{
	skip(c, p->gone);
	while (c->nrd && p->host) {
		size_t len = c->rd->iov_len, taken = p->host->tx(p->opaque, c->rd->iov_base, len);

		p->gone += MIN(taken, len);
		if (taken < len)
			return false;
		skip(c, len);
	}
	p->gone = 0;
	return true;
}

static void transmit(struct virtio_console *d, unsigned port)
{
	unsigned queue = rx_queue(port) + 1;

	for (unsigned n = 0; n < ANSWERS_MAX; n++) {
		struct vq_chain *c = virtio_pop(&d->v, queue);

		if (!c)
			return;
		if (!send_chain(&d->port[port], c)) {
			virtio_unpop(&d->v, queue, c);
			return;
		}
		virtio_push(&d->v, queue, c, 0);
	}
	virtio_break(&d->v);
}

void virtio_console_tx_ready(struct virtio_console *d, unsigned port)
{
	pthread_mutex_lock(&d->v.lock);
	if (virtio_running(&d->v) && d->v.queue[rx_queue(port) + 1].running)
		transmit(d, port);
	pthread_mutex_unlock(&d->v.lock);
}

/* --- from the host to the driver --- */

static bool listens(const struct virtio_console *d, unsigned port)
{
	if (!virtio_running(&d->v) || !d->v.queue[rx_queue(port)].running)
		return false;
	return multiport(d) ? d->port[port].guest_open : port == 0;
}

size_t virtio_console_receive(struct virtio_console *d, unsigned port, const u8 *buf, size_t len)
{
	unsigned queue = rx_queue(port);
	size_t done = 0;

	pthread_mutex_lock(&d->v.lock);
	while (done < len && listens(d, port)) {
		struct vq_chain *c = virtio_pop(&d->v, queue);
		u64 n;

		if (!c)
			break;
		n = vq_chain_write(c, buf + done, len - done);
		virtio_push(&d->v, queue, c, n);
		done += (size_t)n;
		if (!n) { /* a chain with no room at all: the driver may not go on like this */
			virtio_break(&d->v);
			break;
		}
	}
	d->port[port].refused = done < len;
	pthread_mutex_unlock(&d->v.lock);
	return done;
}

/* --- the host's end --- */

void virtio_console_set_carrier(struct virtio_console *d, unsigned port, bool there)
{
	pthread_mutex_lock(&d->v.lock);
	d->port[port].there = there;
	owe(&d->port[port], PORT_OPEN);
	tell(d);
	pthread_mutex_unlock(&d->v.lock);
}

void virtio_console_resize(struct virtio_console *d, unsigned port, u16 columns, u16 rows)
{
	struct port *p = &d->port[port];

	pthread_mutex_lock(&d->v.lock);
	p->size = (struct resize){.columns = columns, .rows = rows};
	if (!p->name[0]) {
		put_le16(d->v.config + CFG_COLS, columns);
		put_le16(d->v.config + CFG_ROWS, rows);
		if (virtio_has(&d->v, F_SIZE))
			virtio_config_changed(&d->v);
		owe(p, RESIZE);
		tell(d);
	}
	pthread_mutex_unlock(&d->v.lock);
}

/* --- hooks; lock held --- */

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_console *d = console_of(v);
	unsigned port = queue < QUEUE_CTRL_IN ? 0 : (queue - 2) / 2;

	switch (queue) {
	case QUEUE_CTRL_IN: tell(d); break;
	case QUEUE_CTRL_OUT: control(d); break;
	default:
		if (queue & 1)
			transmit(d, port);
		else
			resume(&d->port[port]);
		break;
	}
}

/* 5.3.5: a character for the console, before anything else works. What does not fit is lost. */
static void config_write(struct virtio *v, unsigned off, unsigned size, const u8 *val)
{
	const struct port *p = &console_of(v)->port[0];

	if (off == CFG_EMERG && p->host)
		p->host->tx(p->opaque, val, 1);
}

static void reset(struct virtio *v)
{
	struct virtio_console *d = console_of(v);

	for (unsigned n = 0; n < d->nports; n++) {
		struct port *p = &d->port[n];

		p->ready = p->guest_open = false;
		p->owed = 0;
		p->gone = 0;
	}
}

static const struct virtio_type type = {
        .name = "virtio-console",
        .id = ID_CONSOLE,
        .pci_device = PCI_ID_CONSOLE,
        .class_code = CLASS_COMMUNICATION,
        .queue_size = QUEUE_SIZE,
        .config_len = CFG_LEN,
        .kick = kick,
        .config_write = config_write,
        .reset = reset,
};

/* --- life --- */

static void init_port(struct port *p, const struct virtio_console_port *c)
{
	*p = (struct port){
	        .host = c->host, .opaque = c->opaque, .absent = c->absent, .there = c->host != NULL};
	if (c->name)
		strncpy(p->name, c->name, VIRTIO_CONSOLE_NAME);
}

int virtio_console_create(struct virtio_console **out, const struct virtio_console_config *c)
{
	const struct virtio_setup s = {.type = &type,
	        .mem = c->mem,
	        .features = F_SIZE | F_EMERG_WRITE | F_MULTIPORT,
	        .nqueues = (u16)(2 * c->nports + 2),
	        .msi_only = c->msi_only};
	struct virtio_console *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->nports = c->nports;
	for (unsigned n = 0; n < c->nports; n++)
		init_port(&d->port[n], &c->port[n]);
	rc = virtio_init(&d->v, &s);
	if (rc < 0) {
		free(d);
		return rc;
	}
	put_le32(d->v.config + CFG_NPORTS, c->nports);
	*out = d;
	return 0;
}

void virtio_console_destroy(struct virtio_console *d)
{
	if (!d)
		return;
	virtio_fini(&d->v);
	free(d);
}

void virtio_console_reset(struct virtio_console *d)
{
	virtio_reset(&d->v);
}

struct pci_dev *virtio_console_pci(struct virtio_console *d)
{
	return &d->v.pci;
}
