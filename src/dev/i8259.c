/*
 * 8259A pair. Section numbers in words are headings of the Intel 8259A data sheet; the registers at
 * 4D0h are "ELCR" of the PCI south bridges.
 *
 * Deviations from the bare chip, all as in a PC chipset: LTIM of ICW1 is ignored in favour of the
 * ELCR, the cascade is fixed to IR2 whatever ICW3 says, only the 8086 mode exists. An edge stays
 * requested although the line fell again, so that a pulse on a wire is enough. IR2 of the master
 * follows the slave's request without a latch: no request of the slave, no spurious interrupt.
 */
#include "dev/i8259.h"

#define MASTER 0
#define SLAVE 1
#define CASCADE 2 /* the master's input that the slave drives */

/* ICW1, written to A0=0 with bit 4 set. */
#define ICW1_IC4 BIT(0)
#define ICW1_SNGL BIT(1)
#define ICW1_SELECT BIT(4)
/* ICW4 */
#define ICW4_AEOI BIT(1)
#define ICW4_SFNM BIT(4)
/* OCW2: bits 7..5 are R, SL, EOI; bits 2..0 a level */
#define OCW2_LEVEL 7
/* OCW3, written to A0=0 with bit 3 set */
#define OCW3_RIS BIT(0)
#define OCW3_RR BIT(1)
#define OCW3_POLL BIT(2)
#define OCW3_SELECT BIT(3)
#define OCW3_SMM BIT(5)
#define OCW3_ESMM BIT(6)
#define POLL_INT BIT(7)

/* Inputs that may be made level-triggered: not the timer, keyboard, cascade, RTC and FPU. */
static const u8 elcr_writable[2] = {0xf8, 0xde};

/* Number of the input with the highest priority in mask (not 0). */
static unsigned highest(const struct i8259_chip *c, u8 mask)
{
	unsigned n = (c->lowest + 1u) & 7;

	while (!(mask & BIT(n)))
		n = (n + 1) & 7;
	return n;
}

/* Rank in the current rotation, 0 is served first. */
static unsigned rank(const struct i8259_chip *c, unsigned n)
{
	return (n - c->lowest - 1u) & 7;
}

/* The input to serve next, or -1 ("Interrupt Sequence", "Special Mask Mode"). */
static int request(const struct i8259_chip *c)
{
	u8 want = c->irr & (u8)~c->imr, busy = c->isr;
	unsigned n;

	if (!want || c->icw)
		return -1;
	/* Special mask mode: a level in service that is masked inhibits nobody. */
	if (c->special_mask)
		busy &= (u8)~c->imr;
	/* Special fully nested mode: the slave may interrupt its own service. */
	if (c->nested && c == &c->pair->chip[MASTER])
		busy &= (u8)~BIT(CASCADE);
	n = highest(c, want);
	if (busy && rank(c, highest(c, busy)) <= rank(c, n))
		return -1;
	return (int)n;
}

/* Carries the requests forward: slave to master, master to the wire. */
static void update(struct i8259 *p)
{
	struct i8259_chip *m = &p->chip[MASTER];
	bool level;

	if (request(&p->chip[SLAVE]) >= 0 && !m->single)
		m->irr |= BIT(CASCADE);
	else
		m->irr &= (u8)~BIT(CASCADE);
	level = request(m) >= 0;
	if (level != p->intr_level) {
		p->intr_level = level;
		wire_set(&p->intr, level);
	}
}

static void chip_line(struct i8259_chip *c, unsigned n, bool level)
{
	u8 bit = (u8)BIT(n);

	if (level && (!(c->line & bit) || (c->level & bit)))
		c->irr |= bit;
	if (!level && (c->level & bit))
		c->irr &= (u8)~bit;
	c->line = level ? c->line | bit : c->line & (u8)~bit;
}

static void set_input(void *opaque, unsigned irq, bool level)
{
	struct i8259 *p = opaque;

	if (irq >= I8259_IRQS || irq == CASCADE)
		return;
	pthread_mutex_lock(&p->lock);
	chip_line(&p->chip[irq / 8], irq % 8, level);
	update(p);
	pthread_mutex_unlock(&p->lock);
}

struct wire i8259_input(struct i8259 *p, unsigned irq)
{
	return (struct wire){.set = set_input, .opaque = p, .n = irq};
}

/* -- acknowledge ------------------------------------------------------------------------------ */

/* Puts input n into service. */
static void serve(struct i8259_chip *c, unsigned n)
{
	u8 bit = (u8)BIT(n);

	if (!(c->level & bit))
		c->irr &= (u8)~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->lowest = (u8)n;
}

/* First and second INTA pulse of one chip. Without a request it answers as IR7 and serves nothing. */
static unsigned acknowledge(struct i8259_chip *c)
{
	int n = request(c);

	if (n < 0)
		return 7;
	serve(c, (unsigned)n);
	return (unsigned)n;
}

int i8259_ack(struct i8259 *p)
{
	struct i8259_chip *m = &p->chip[MASTER], *s = &p->chip[SLAVE];
	unsigned n;
	int vector;

	pthread_mutex_lock(&p->lock);
	n = acknowledge(m);
	if (n == CASCADE && !m->single)
		vector = s->base + (int)acknowledge(s);
	else
		vector = m->base + (int)n;
	/* INT falls with every acknowledge: a receiver that looks for edges sees the next request. */
	if (p->intr_level) {
		p->intr_level = false;
		wire_set(&p->intr, false);
	}
	update(p);
	pthread_mutex_unlock(&p->lock);
	return vector;
}

/* "Poll Command": a read takes the place of INTA, on this chip alone. */
static u8 poll_read(struct i8259_chip *c)
{
	int n = request(c);

	c->poll = false;
	if (n < 0)
		return 0;
	serve(c, (unsigned)n);
	return (u8)(POLL_INT | (unsigned)n);
}

/* -- registers -------------------------------------------------------------------------------- */

/* "Initialization Command Word 1": what it clears by itself. */
static void write_icw1(struct i8259_chip *c, u8 val)
{
	c->irr = c->line & c->level;
	c->isr = 0;
	c->imr = 0;
	c->lowest = 7;
	c->special_mask = false;
	c->read_isr = false;
	c->poll = false;
	c->auto_eoi = false;
	c->rotate_aeoi = false;
	c->nested = false;
	c->single = val & ICW1_SNGL;
	c->need_icw4 = val & ICW1_IC4;
	c->icw = 2;
}

/* ICW2..ICW4, in order, at A0=1. */
static void write_icw(struct i8259_chip *c, u8 val)
{
	switch (c->icw) {
	case 2:
		c->base = val & 0xf8;
		c->icw = c->single ? 4 : 3;
		break;
	case 3:
		c->icw = 4; /* the cascade is wired */
		break;
	default:
		c->auto_eoi = val & ICW4_AEOI;
		c->nested = val & ICW4_SFNM;
		c->icw = 0;
		break;
	}
	if (c->icw == 4 && !c->need_icw4)
		c->icw = 0;
}

/* The in-service bit that a non-specific EOI ends, or -1. */
static int eoi_target(const struct i8259_chip *c)
{
	u8 isr = c->isr;

	if (c->special_mask)
		isr &= (u8)~c->imr;
	return isr ? (int)highest(c, isr) : -1;
}

/* "Operation Control Word 2" */
static void write_ocw2(struct i8259_chip *c, u8 val)
{
	int n = val & OCW2_LEVEL;

	switch (val >> 5) {
	case 0: c->rotate_aeoi = false; break;
	case 4: c->rotate_aeoi = true; break;
	case 1: /* non-specific EOI */
	case 5: /* the same and rotate */
		n = eoi_target(c);
		if (n < 0)
			break;
		c->isr &= (u8)~BIT(n);
		if (val >> 5 == 5)
			c->lowest = (u8)n;
		break;
	case 3: c->isr &= (u8)~BIT(n); break;
	case 7:
		c->isr &= (u8)~BIT(n);
		c->lowest = (u8)n;
		break;
	case 6: c->lowest = (u8)n; break;
	default: break; /* 2: no operation */
	}
}

/* "Operation Control Word 3" */
static void write_ocw3(struct i8259_chip *c, u8 val)
{
	if (val & OCW3_ESMM)
		c->special_mask = val & OCW3_SMM;
	if (val & OCW3_POLL)
		c->poll = true;
	else if (val & OCW3_RR)
		c->read_isr = val & OCW3_RIS;
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val64)
{
	struct i8259_chip *c = opaque;
	u8 val = (u8)val64;

	if (off == 0 && (val & ICW1_SELECT))
		write_icw1(c, val);
	else if (off == 0 && (val & OCW3_SELECT))
		write_ocw3(c, val);
	else if (off == 0)
		write_ocw2(c, val);
	else if (c->icw)
		write_icw(c, val);
	else
		c->imr = val;
	update(c->pair);
}

static u64 io_read(void *opaque, u64 off, unsigned size)
{
	struct i8259_chip *c = opaque;
	u8 val;

	if (c->poll) {
		val = poll_read(c);
		update(c->pair);
		return val;
	}
	if (off == 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static u64 elcr_read(void *opaque, u64 off, unsigned size)
{
	struct i8259 *p = opaque;

	return p->chip[off & 1].level;
}

static void elcr_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct i8259 *p = opaque;
	struct i8259_chip *c = &p->chip[off & 1];
	u8 changed;

	val &= elcr_writable[off & 1];
	changed = c->level ^ (u8)val;
	c->level = (u8)val;
	/* An input that became level-triggered requests what its line says; an edge was not seen. */
	c->irr = (c->irr & (u8)~changed) | (c->line & c->level);
	update(p);
}

static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min = 1, .max = 1};
static const struct region_ops elcr_ops = {.read = elcr_read, .write = elcr_write, .min = 1, .max = 1};

/* -- life ------------------------------------------------------------------------------------- */

/*
 * The data sheet leaves the state at power-on undefined. Here every input is masked, so that a
 * guest which never touches the 8259 gets no vector it does not expect.
 */
static void chip_reset(struct i8259 *p, struct i8259_chip *c)
{
	u8 line = c->line;

	*c = (struct i8259_chip){.line = line, .imr = 0xff, .lowest = 7, .pair = p};
}

void i8259_reset(struct i8259 *p)
{
	pthread_mutex_lock(&p->lock);
	chip_reset(p, &p->chip[MASTER]);
	chip_reset(p, &p->chip[SLAVE]);
	update(p);
	pthread_mutex_unlock(&p->lock);
}

static void init_regions(struct i8259 *p)
{
	p->io[MASTER] = (struct region){.base = I8259_MASTER_PORT, .name = "8259 master"};
	p->io[SLAVE] = (struct region){.base = I8259_SLAVE_PORT, .name = "8259 slave"};
	for (unsigned i = 0; i < 2; i++) {
		p->io[i].len = 2;
		p->io[i].ops = &io_ops;
		p->io[i].opaque = &p->chip[i];
		p->io[i].lock = &p->lock;
	}
	p->elcr = (struct region){.base = I8259_ELCR_PORT,
	        .len = 2,
	        .ops = &elcr_ops,
	        .opaque = p,
	        .lock = &p->lock,
	        .name = "8259 elcr"};
}

static void remove_regions(struct i8259 *p)
{
	space_remove(p->ports, &p->io[MASTER]);
	space_remove(p->ports, &p->io[SLAVE]);
	space_remove(p->ports, &p->elcr);
}

int i8259_init(struct i8259 *p, const struct i8259_config *cfg)
{
	int r;

	*p = (struct i8259){.ports = cfg->ports, .intr = cfg->intr};
	r = -pthread_mutex_init(&p->lock, NULL);
	if (r)
		return r;
	chip_reset(p, &p->chip[MASTER]);
	chip_reset(p, &p->chip[SLAVE]);
	init_regions(p);
	r = space_add(p->ports, &p->io[MASTER]);
	if (!r)
		r = space_add(p->ports, &p->io[SLAVE]);
	if (!r)
		r = space_add(p->ports, &p->elcr);
	if (r)
		i8259_fini(p);
	return r;
}

void i8259_fini(struct i8259 *p)
{
	remove_regions(p);
	pthread_mutex_destroy(&p->lock);
}
