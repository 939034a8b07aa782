/*
 * 82093AA (data sheet 290566), with the version of later parts (0x20) whose EOI register some systems
 * use beside a LAPIC's broadcast.
 *
 * A wire says that an interrupt is asserted, not which voltage that is: the polarity bit is stored and
 * has no effect. As the data sheet says (3.2.4, interrupt mask), an edge at a masked pin is lost, and
 * a level is looked at when the mask goes.
 */
#include "dev/ioapic.h"

#include "base/log.h"
#include "dev/lapic.h"

/* Memory map (3.1) */
#define IOREGSEL 0x00
#define IOWIN 0x10
#define IOEOI 0x40
/* Registers (3.2) */
#define IOAPICID 0
#define IOAPICVER 1
#define IOAPICARB 2
#define IOREDTBL 0x10
/* IOREDTBL (3.2.4) */
#define RED_VECTOR 0xffull
#define RED_DELMOD_SHIFT 8
#define DELMOD_FIXED 0
#define DELMOD_LOWEST 1
#define RED_DESTMOD 0x800ull
#define RED_DELIVS 0x1000ull
#define RED_INTPOL 0x2000ull
#define RED_REMOTE_IRR 0x4000ull
#define RED_LEVEL 0x8000ull
#define RED_MASK 0x10000ull
#define RED_DEST_SHIFT 56
#define RED_READONLY (RED_DELIVS | RED_REMOTE_IRR)
#define RED_WRITABLE (0xff0000000001ffffull & ~RED_READONLY)

#define VERSION 0x20

/* Only these modes can be level-triggered; the others act on the edge whatever the entry says (3.2.4). */
static bool is_level(u64 e)
{
	unsigned mode = (unsigned)(e >> RED_DELMOD_SHIFT) & 7;

	return (e & RED_LEVEL) && (mode == DELMOD_FIXED || mode == DELMOD_LOWEST);
}

/* False: no LAPIC took it. */
static bool send(const struct ioapic *p, unsigned pin)
{
	u64 e = p->entry[pin];
	const struct apic_message m = {
	        .dest = (u32)(e >> RED_DEST_SHIFT),
	        .logical = e & RED_DESTMOD,
	        .mode = (u8)(e >> RED_DELMOD_SHIFT & 7),
	        .vector = (u8)e,
	        .level = is_level(e),
	        .assert = true,
	};

	return lapic_set_send(p->cfg.lapics, &m);
}

/* Sends the level of a pin unless a LAPIC still handles it. */
static void service_level(struct ioapic *p, unsigned pin)
{
	u64 e = p->entry[pin];

	if ((e & (RED_MASK | RED_REMOTE_IRR)) || !is_level(e) || !(p->lines & BIT(pin)))
		return;
	if (send(p, pin))
		p->entry[pin] |= RED_REMOTE_IRR;
}

static void set_pin(void *opaque, unsigned pin, bool level)
{
	struct ioapic *p = opaque;
	u32 bit = BIT(pin);
	bool rises;

	pthread_mutex_lock(&p->lock);
	rises = level && !(p->lines & bit);
	p->lines = level ? p->lines | bit : p->lines & ~bit;
	if (is_level(p->entry[pin]))
		service_level(p, pin);
	else if (rises && !(p->entry[pin] & RED_MASK))
		send(p, pin);
	pthread_mutex_unlock(&p->lock);
}

struct wire ioapic_input(struct ioapic *p, unsigned pin)
{
	BUG_ON(pin >= IOAPIC_NPINS);
	return (struct wire){.set = set_pin, .opaque = p, .n = pin};
}

static void end_of_interrupt(struct ioapic *p, u8 vector)
{
	for (unsigned pin = 0; pin < IOAPIC_NPINS; pin++) {
		if ((u8)p->entry[pin] != vector || !(p->entry[pin] & RED_REMOTE_IRR))
			continue;
		p->entry[pin] &= ~RED_REMOTE_IRR;
		service_level(p, pin);
	}
}

void ioapic_eoi(struct ioapic *p, u8 vector)
{
	pthread_mutex_lock(&p->lock);
	end_of_interrupt(p, vector);
	pthread_mutex_unlock(&p->lock);
}

static u32 reg_read(const struct ioapic *p)
{
	unsigned n = p->select;

	if (n == IOAPICID || n == IOAPICARB)
		return (u32)p->id << 24;
	if (n == IOAPICVER)
		return (IOAPIC_NPINS - 1) << 16 | VERSION;
	if (n >= IOREDTBL && n < IOREDTBL + 2 * IOAPIC_NPINS)
		return (u32)(p->entry[(n - IOREDTBL) / 2] >> (n & 1) * 32);
	return 0;
}

static void write_entry(struct ioapic *p, unsigned pin, bool high, u32 val)
{
	u64 old = p->entry[pin];
	u64 new = high ? (u64)val << 32 | (u32)old : (old & ~0xffffffffull) | val;

	new = (new &RED_WRITABLE) | (old & RED_READONLY);
	/* Going to edge forgets that a LAPIC still handles the level (Linux's way to clear it). */
	if (!is_level(new))
		new &= ~RED_REMOTE_IRR;
	p->entry[pin] = new;
	service_level(p, pin);
}

static void reg_write(struct ioapic *p, u32 val)
{
	unsigned n = p->select;

	if (n == IOAPICID)
		p->id = val >> 24 & 0x0f;
	else if (n >= IOREDTBL && n < IOREDTBL + 2 * IOAPIC_NPINS)
		write_entry(p, (n - IOREDTBL) / 2, n & 1, val);
}

static u64 io_read(void *opaque, u64 off, unsigned size)
{
	struct ioapic *p = opaque;

	switch (off) {
	case IOREGSEL: return p->select;
	case IOWIN: return reg_read(p);
	default: return 0;
	}
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct ioapic *p = opaque;

	switch (off) {
	case IOREGSEL: p->select = (u8)val; break;
	case IOWIN: reg_write(p, (u32)val); break;
	case IOEOI: end_of_interrupt(p, (u8)val); break;
	default: break;
	}
}

static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min = 4, .max = 4};

void ioapic_reset(struct ioapic *p)
{
	pthread_mutex_lock(&p->lock);
	p->select = 0;
	p->id = p->cfg.id;
	for (unsigned pin = 0; pin < IOAPIC_NPINS; pin++)
		p->entry[pin] = RED_MASK;
	pthread_mutex_unlock(&p->lock);
}

int ioapic_init(struct ioapic *p, const struct ioapic_config *cfg)
{
	memset(p, 0, sizeof(*p));
	p->cfg = *cfg;
	pthread_mutex_init(&p->lock, NULL);
	ioapic_reset(p);
	p->io = (struct region){
	        .base = cfg->base ? cfg->base : IOAPIC_BASE,
	        .len = 0x1000,
	        .ops = &io_ops,
	        .opaque = p,
	        .lock = &p->lock,
	        .name = "ioapic",
	};
	return space_add(cfg->memory, &p->io);
}

void ioapic_fini(struct ioapic *p)
{
	space_remove(p->cfg.memory, &p->io);
	pthread_mutex_destroy(&p->lock);
}
