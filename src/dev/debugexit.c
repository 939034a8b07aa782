/*
 * See debugexit.h. Each of the four ports takes 1, 2 or 4 bytes, as long as they end inside.
 */
#include "dev/debugexit.h"

static u64 io_read(void *opaque, u64 off, unsigned size)
{
	return 0;
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct debugexit *d = opaque;

	d->cfg.event(d->cfg.opaque, (u32)val);
}

static const struct region_ops io_ops = {
        .read = io_read, .write = io_write, .min = 1, .max = 4, .unaligned = true};

int debugexit_init(struct debugexit *d, const struct debugexit_config *cfg)
{
	d->cfg = *cfg;
	d->region = (struct region){
	        .base = cfg->port, .len = DEBUGEXIT_PORTS, .ops = &io_ops, .opaque = d, .name = "debugexit"};
	return space_add(cfg->ports, &d->region);
}

void debugexit_fini(struct debugexit *d)
{
	space_remove(d->cfg.ports, &d->region);
}
