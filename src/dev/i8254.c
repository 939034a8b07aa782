/*
 * 8254 interval timer. A channel is not simulated tick by tick: it remembers at which tick its
 * counting element was loaded and with what, and count, OUT and the next rise of OUT are functions
 * of the ticks gone by. "Operating modes" of the Intel 8254 data sheet describe each mode 0..5.
 *
 * A count of 1 is illegal in modes 2 and 3 (it has no low half); it counts as 2.
 *
 * Channel 0 may be programmed to rise every microsecond. Its interrupts are delivered no more often
 * than MIN_EDGE_NS; rises that fall between become one, and the phase is kept.
 */
#include "dev/i8254.h"

/* Control word at port 43h. */
#define CTL_PORT 3
#define CTL_BCD BIT(0)
#define CTL_MODE_SHIFT 1
#define CTL_ACCESS_SHIFT 4
#define CTL_CHANNEL_SHIFT 6
#define CTL_READ_BACK 3 /* in place of a channel */
#define RB_NO_COUNT BIT(5)
#define RB_NO_STATUS BIT(4)
#define ACCESS_LATCH 0
#define ACCESS_LOW 1
#define ACCESS_HIGH 2
#define ACCESS_BOTH 3
/* Status byte of the read-back command. */
#define STATUS_OUT BIT(7)
#define STATUS_NULL BIT(6)

/* Port 61h, "NMI Status and Control" of the south bridge. */
#define SYSCTL_GATE2 BIT(0)
/* Writable are also the speaker (1) and the enables of SERR# (2) and IOCHK# (3) NMIs, which never come. */
#define SYSCTL_WRITABLE 0x0fu
#define SYSCTL_REFRESH BIT(4)
#define SYSCTL_OUT2 BIT(5)
#define REFRESH_TICKS 18 /* channel 1 of the AT: a refresh every 15 us */

#define MIN_EDGE_NS (20 * NS_PER_US)
#define NEVER UINT64_MAX

/* -- ticks ------------------------------------------------------------------------------------ */

static u64 tick_now(const struct i8254 *p)
{
	return mul_div(clock_now(p->edge.q->clock), I8254_HZ, NS_PER_SEC);
}

/* First ns at which tick has come. */
static u64 tick_ns(u64 tick)
{
	return (u64)(((u128)tick * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ);
}

/* Ticks counted since the load. The load itself takes one tick: until then 0. */
static u64 elapsed(const struct i8254_channel *c, u64 tick)
{
	if (c->stopped)
		return c->held;
	return (s64)(tick - c->origin) < 0 ? 0 : tick - c->origin;
}

/* -- modes ------------------------------------------------------------------------------------ */

static bool is_periodic(const struct i8254_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

/* Modes whose counting the gate starts; in 0 and 4 it only pauses. */
static bool is_triggered(const struct i8254_channel *c)
{
	return c->mode == 1 || c->mode == 5;
}

static void load(struct i8254_channel *c, u64 origin)
{
	c->loaded = true;
	c->period = is_periodic(c) ? MAX(c->count, 2u) : c->count;
	c->origin = origin;
	c->held = 0;
	c->stopped = !c->gate && !is_triggered(c);
	c->null_count = false;
}

/* Ticks of the high half in mode 3. */
static u32 high_half(const struct i8254_channel *c)
{
	return (c->period + 1) / 2;
}

/*
 * A count written to a periodic channel that runs comes into force at the end of the period
 * (mode 2) or of the half (mode 3): this carries out a reload whose time has come.
 */
static void catch_up(struct i8254_channel *c, u64 tick)
{
	u64 at = c->reload_at;
	bool low;

	if (!c->null_count || !c->loaded || !is_periodic(c) || c->stopped || (s64)(tick - at) < 0)
		return;
	low = c->mode == 3 && (at - c->origin) % c->period != 0;
	load(c, at);
	if (low)
		c->origin -= high_half(c);
}

/* The tick at which the period (or half) that runs at tick ends. */
static u64 boundary(const struct i8254_channel *c, u64 tick)
{
	u64 n = elapsed(c, tick) % c->period;
	u64 start = ((s64)(tick - c->origin) < 0 ? c->origin : tick) - n;

	if (c->mode == 3 && n < high_half(c))
		return start + high_half(c);
	return start + c->period;
}

static bool out(const struct i8254_channel *c, u64 tick)
{
	u64 n = elapsed(c, tick);

	if (!c->loaded)
		return c->mode != 0;
	switch (c->mode) {
	case 0:
	case 1: return n >= c->period;
	case 2: return c->stopped || n % c->period != c->period - 1;
	case 3: return c->stopped || n % c->period < high_half(c);
	default: return n != c->period;
	}
}

/* What the counting element shows, as the two bytes that a read returns. */
static u16 current(const struct i8254_channel *c, u64 tick)
{
	u32 modulus = c->bcd ? 10000 : 0x10000;
	u64 n = elapsed(c, tick);
	u32 v;

	if (!c->loaded)
		v = c->count % modulus;
	else if (c->mode == 2)
		v = c->period - (u32)(n % c->period);
	else if (c->mode == 3) {
		u32 k = (u32)(n % c->period);

		if (k >= high_half(c))
			k -= high_half(c);
		v = (c->period & ~1u) - 2 * k;
	} else
		v = (u32)((c->period + modulus - n % modulus) % modulus);
	v %= modulus;
	if (c->bcd)
		v = v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12;
	return (u16)v;
}

/* The next rise of a periodic channel; a reload that waits ends a period, or a high half. */
static u64 next_period(struct i8254_channel c, u64 after)
{
	u64 n;

	catch_up(&c, after);
	if (c.null_count && (c.reload_at - c.origin) % c.period != 0)
		return c.reload_at + MAX(c.count, 2u) / 2;
	n = elapsed(&c, after) % c.period;
	return ((s64)(after - c.origin) < 0 ? c.origin : after) - n + c.period;
}

/* The next tick after `after` at which OUT goes from low to high, or NEVER. */
static u64 next_rise(const struct i8254_channel *c, u64 after)
{
	u64 end;

	if (!c->loaded || c->stopped)
		return NEVER;
	if (is_periodic(c))
		return next_period(*c, after);
	end = c->origin + c->period;
	if (c->mode >= 4)
		end++; /* the strobe is low for the tick of the terminal count */
	return (s64)(end - after) > 0 ? end : NEVER;
}

/* -- channel 0's interrupt -------------------------------------------------------------------- */

/* Arms the host timer for the first rise after tick that may be delivered. */
static void arm_edge(struct i8254 *p, u64 tick)
{
	u64 floor = mul_div(p->last_edge_ns + MIN_EDGE_NS, I8254_HZ, NS_PER_SEC), rise;

	timer_cancel(&p->edge);
	if (p->disconnected)
		return;
	if (p->last_edge_ns && is_periodic(&p->ch[0]) && floor > tick)
		tick = floor;
	rise = next_rise(&p->ch[0], tick);
	if (rise != NEVER)
		timer_arm(&p->edge, tick_ns(rise));
}

/* Brings the wire to OUT after the channel was programmed, and starts over with its timer. */
static void restart_edge(struct i8254 *p, u64 tick)
{
	if (!p->disconnected)
		wire_set(&p->irq0, out(&p->ch[0], tick));
	arm_edge(p, tick);
}

/*
 * OUT 0 rose, once or more often. The wire stays high until the next time: nobody but the guest can
 * tell when OUT falls, and the guest asks the channel, not the wire.
 */
static void edge_due(void *opaque)
{
	struct i8254 *p = opaque;
	u64 tick = tick_now(p);

	catch_up(&p->ch[0], tick);
	p->last_edge_ns = clock_now(p->edge.q->clock);
	wire_set(&p->irq0, false);
	wire_set(&p->irq0, true);
	arm_edge(p, tick);
}

void i8254_connect_irq(struct i8254 *p, bool on)
{
	pthread_mutex_lock(&p->lock);
	if (p->disconnected == on) {
		p->disconnected = !on;
		if (!on)
			wire_set(&p->irq0, false);
		restart_edge(p, tick_now(p));
	}
	pthread_mutex_unlock(&p->lock);
}

/* -- programming ------------------------------------------------------------------------------ */

static void set_gate(struct i8254_channel *c, bool level, u64 tick)
{
	if (c->gate == level)
		return;
	catch_up(c, tick);
	c->gate = level;
	if (level && (is_triggered(c) || is_periodic(c))) {
		if (c->count)
			load(c, tick + 1);
	} else if (level && c->loaded && c->stopped) {
		c->origin = tick - c->held;
		c->stopped = false;
	} else if (!level && c->loaded && !is_triggered(c)) {
		c->held = elapsed(c, tick);
		c->stopped = true;
	}
}

static u32 from_bcd(u16 v)
{
	return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15u);
}

/* A whole count has been written ("Write Operations"). */
static void write_count(struct i8254_channel *c, u16 val, u64 tick)
{
	catch_up(c, tick);
	c->count = c->bcd ? from_bcd(val) : val;
	if (!c->count)
		c->count = c->bcd ? 10000 : 0x10000;
	if (is_triggered(c)) {
		c->null_count = true;
	} else if (is_periodic(c) && c->loaded) {
		c->null_count = true;
		c->reload_at = boundary(c, tick);
	} else {
		load(c, tick + 1);
	}
}

static void write_channel(struct i8254_channel *c, u8 val, u64 tick)
{
	switch (c->access) {
	case ACCESS_LOW: write_count(c, val, tick); break;
	case ACCESS_HIGH: write_count(c, (u16)(val << 8), tick); break;
	default:
		c->write_high = !c->write_high;
		if (!c->write_high) {
			write_count(c, (u16)(val << 8 | c->write_low), tick);
			break;
		}
		c->write_low = val;
		if (c->mode == 0)
			c->loaded = false; /* the first byte stops the count and lowers OUT */
		break;
	}
}

static u8 read_channel(struct i8254_channel *c, u64 tick)
{
	bool high;
	u16 val;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	catch_up(c, tick);
	val = c->latched ? c->latch : current(c, tick);
	if (c->access == ACCESS_BOTH) {
		high = c->read_high;
		c->read_high = !high;
		if (high)
			c->latched = false;
	} else {
		high = c->access == ACCESS_HIGH;
		c->latched = false;
	}
	return (u8)(high ? val >> 8 : val);
}

/* A second latch before the first was read is ignored. */
static void latch_count(struct i8254_channel *c, u64 tick)
{
	if (c->latched)
		return;
	catch_up(c, tick);
	c->latch = current(c, tick);
	c->latched = true;
}

static void latch_status(struct i8254_channel *c, u64 tick)
{
	if (c->status_latched)
		return;
	catch_up(c, tick);
	c->status = (u8)(c->access << CTL_ACCESS_SHIFT | c->mode << CTL_MODE_SHIFT | c->bcd);
	if (out(c, tick))
		c->status |= STATUS_OUT;
	if (c->null_count)
		c->status |= STATUS_NULL;
	c->status_latched = true;
}

static void read_back(struct i8254 *p, u8 val, u64 tick)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!(val & BIT(i + 1)))
			continue;
		if (!(val & RB_NO_COUNT))
			latch_count(&p->ch[i], tick);
		if (!(val & RB_NO_STATUS))
			latch_status(&p->ch[i], tick);
	}
}

/* Control words other than latch commands: the channel stops and waits for a count. */
static void program(struct i8254_channel *c, u8 val)
{
	u8 mode = val >> CTL_MODE_SHIFT & 7;

	*c = (struct i8254_channel){
	        .mode = mode > 5 ? mode & 3 : mode, /* 6 and 7 are 2 and 3 */
	        .access = val >> CTL_ACCESS_SHIFT & 3,
	        .bcd = val & CTL_BCD,
	        .gate = c->gate,
	        .null_count = true,
	};
}

static void write_control(struct i8254 *p, u8 val, u64 tick)
{
	unsigned n = val >> CTL_CHANNEL_SHIFT;

	if (n == CTL_READ_BACK) {
		read_back(p, val, tick);
	} else if ((val >> CTL_ACCESS_SHIFT & 3) == ACCESS_LATCH) {
		latch_count(&p->ch[n], tick);
	} else {
		program(&p->ch[n], val);
		if (n == 0)
			restart_edge(p, tick);
	}
}

/* -- ports ------------------------------------------------------------------------------------ */

static u64 io_read(void *opaque, u64 off, unsigned size)
{
	struct i8254 *p = opaque;

	return off == CTL_PORT ? 0xff : read_channel(&p->ch[off], tick_now(p));
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct i8254 *p = opaque;
	u64 tick = tick_now(p);

	if (off == CTL_PORT) {
		write_control(p, (u8)val, tick);
		return;
	}
	write_channel(&p->ch[off], (u8)val, tick);
	if (off == 0)
		restart_edge(p, tick);
}

static u64 sysctl_read(void *opaque, u64 off, unsigned size)
{
	struct i8254 *p = opaque;
	u64 tick = tick_now(p);
	u8 val = p->sysctl;

	catch_up(&p->ch[2], tick);
	if (tick / REFRESH_TICKS & 1)
		val |= SYSCTL_REFRESH;
	if (out(&p->ch[2], tick))
		val |= SYSCTL_OUT2;
	return val;
}

static void sysctl_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct i8254 *p = opaque;

	p->sysctl = val & SYSCTL_WRITABLE;
	set_gate(&p->ch[2], val & SYSCTL_GATE2, tick_now(p));
}

static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min = 1, .max = 1};
static const struct region_ops sysctl_ops = {.read = sysctl_read, .write = sysctl_write, .min = 1, .max = 1};

/* -- life ------------------------------------------------------------------------------------- */

static void reset_state(struct i8254 *p)
{
	for (unsigned i = 0; i < 3; i++)
		p->ch[i] = (struct i8254_channel){.access = ACCESS_BOTH, .gate = i != 2, .null_count = true};
	p->sysctl = 0;
	p->last_edge_ns = 0;
	p->disconnected = false;
	timer_cancel(&p->edge);
	wire_set(&p->irq0, false);
}

void i8254_reset(struct i8254 *p)
{
	pthread_mutex_lock(&p->lock);
	reset_state(p);
	pthread_mutex_unlock(&p->lock);
}

int i8254_init(struct i8254 *p, const struct i8254_config *cfg)
{
	int r;

	*p = (struct i8254){.ports = cfg->ports, .irq0 = cfg->irq0};
	r = -pthread_mutex_init(&p->lock, NULL);
	if (r)
		return r;
	timer_init(&p->edge, cfg->timers, &p->lock, edge_due, p);
	reset_state(p);
	p->io = (struct region){
	        .base = I8254_PORT, .len = 4, .ops = &io_ops, .opaque = p, .lock = &p->lock, .name = "8254"};
	p->port61 = (struct region){.base = I8254_SYSCTL_PORT,
	        .len = 1,
	        .ops = &sysctl_ops,
	        .opaque = p,
	        .lock = &p->lock,
	        .name = "port 61h"};
	r = space_add(p->ports, &p->io);
	if (!r)
		r = space_add(p->ports, &p->port61);
	if (r)
		i8254_fini(p);
	return r;
}

void i8254_fini(struct i8254 *p)
{
	timer_cancel(&p->edge);
	space_remove(p->ports, &p->io);
	space_remove(p->ports, &p->port61);
	pthread_mutex_destroy(&p->lock);
}
