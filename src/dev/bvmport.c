/*
 * BVM console and debug ports: a signature, a byte in, a byte out.
 */
#include "dev/bvmport.h"

static int take(struct bvmport *b)
{
	int byte;

	if (b->count == 0)
		return -1;
	byte = b->fifo[b->head];
	b->head = (b->head + 1) % sizeof(b->fifo);
	if (b->count-- == sizeof(b->fifo) && b->cfg.rx_ready)
		b->cfg.rx_ready(b->cfg.opaque);
	return byte;
}

static u64 bvm_read(void *opaque, u64 off, unsigned size)
{
	struct bvmport *b = opaque;

	if (off != 0)
		return ones(size);
	switch (size) {
	case 2: return b->cfg.signature;
	case 4: return (u32)take(b);
	default: return ones(size);
	}
}

static void bvm_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct bvmport *b = opaque;
	u8 byte = (u8)val;

	if (off == 0 && size == 4 && b->cfg.tx)
		b->cfg.tx(b->cfg.opaque, &byte, 1);
}

static const struct region_ops bvm_ops = {.read = bvm_read, .write = bvm_write, .min = 1, .max = 4};

int bvmport_init(struct bvmport *b, const struct bvmport_config *cfg)
{
	memset(b, 0, sizeof(*b));
	b->cfg = *cfg;
	pthread_mutex_init(&b->lock, NULL);
	b->io = (struct region){.base = cfg->port,
	        .len = 4,
	        .ops = &bvm_ops,
	        .opaque = b,
	        .lock = &b->lock,
	        .name = cfg->name};
	return space_add(cfg->ports, &b->io);
}

void bvmport_fini(struct bvmport *b)
{
	space_remove(b->cfg.ports, &b->io);
	pthread_mutex_destroy(&b->lock);
}

size_t bvmport_receive(struct bvmport *b, const u8 *buf, size_t len)
{
	size_t n = 0;

	pthread_mutex_lock(&b->lock);
	while (n < len && b->count < sizeof(b->fifo))
		b->fifo[(b->head + b->count++) % sizeof(b->fifo)] = buf[n++];
	pthread_mutex_unlock(&b->lock);
	return n;
}
