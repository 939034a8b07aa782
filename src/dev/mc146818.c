/*
 * MC146818A. While the clock runs, the ten time bytes are computed from the machine's clock when
 * they are read. SET (register B) or the divider's reset (register A) freeze them into RAM, where the
 * guest edits them; releasing both turns the bytes into a time again.
 *
 * The flags of register C are brought up to date when somebody looks ("sync"): what happened since
 * the last time is a question of which second, period and alarm boundaries were passed. A host
 * timer is armed only for an event that is enabled and whose flag is not yet set, so that a guest
 * which does not read register C causes no second wake-up.
 *
 * The bytes change at the end of the update cycle, and UIP is up for the 2228 us before it: the 244
 * us of warning and the 1984 us that the update takes ("Update Cycle").
 */
#include "dev/mc146818.h"

#include <time.h>

enum {
	SEC = 0,
	SEC_ALARM = 1,
	MIN = 2,
	MIN_ALARM = 3,
	HOUR = 4,
	HOUR_ALARM = 5,
	WDAY = 6,
	MDAY = 7,
	MONTH = 8,
	YEAR = 9,
	REG_A = 10,
	REG_B = 11,
	REG_C = 12,
	REG_D = 13,
	EQUIPMENT = 0x14,
	BASE_MEM = 0x15, /* KiB, up to 640 */
	EXT_MEM = 0x17,  /* KiB above 1 MiB */
	EXT_MEM2 = 0x30, /* the same as found by POST */
	CENTURY = MC146818_CENTURY,
	MEM_16M = 0x34, /* 64 KiB units above 16 MiB */
	MEM_4G = 0x5b,  /* 64 KiB units above 4 GiB, three bytes */
};

/* Register A */
#define A_RS 0x0f
#define A_DV 0x70
#define A_DV_32K 0x20 /* the divider runs; every other value holds it */
#define A_UIP BIT(7)
/* Register B */
#define B_24H BIT(1)
#define B_DM BIT(2) /* binary, not BCD */
#define B_SQWE BIT(3)
#define B_UIE BIT(4)
#define B_AIE BIT(5)
#define B_PIE BIT(6)
#define B_SET BIT(7)
/* Register C: flags stand where register B has their enables */
#define C_IRQF BIT(7)
#define C_FLAGS (B_UIE | B_AIE | B_PIE)
/* Register D */
#define D_VRT BIT(7)

#define HOUR_PM BIT(7) /* in 12-hour mode */
#define ALARM_ANY 0xc0 /* an alarm byte of 11xxxxxx matches every value */
#define UPDATE_NS (2228 * NS_PER_US)
#define RELEASE_NS (NS_PER_SEC / 2) /* from the divider's release to the first update */
#define SECS_PER_DAY 86400

/* -- calendar --------------------------------------------------------------------------------- */

struct date {
	s64 year;
	unsigned month, mday; /* from 1 */
};

/* Days from 1970-01-01 to the given day of the Gregorian calendar; mday may exceed the month. */
static s64 days_from_date(const struct date *d)
{
	/* Years from March, so that the leap day is the last. 400 years have 146097 days. */
	s64 y = d->year - (d->month <= 2);
	s64 era = y / 400, yoe = y % 400;
	s64 doy = (153 * (d->month + (d->month > 2 ? -3 : 9)) + 2) / 5 + d->mday - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static struct date date_from_days(s64 days)
{
	struct date d;
	s64 z = days + 719468, era = z / 146097, doe = z % 146097;
	s64 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	s64 doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	s64 mp = (5 * doy + 2) / 153;

	d.mday = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
	d.month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
	d.year = yoe + era * 400 + (d.month <= 2);
	return d;
}

/* -- bytes of the current format -------------------------------------------------------------- */

static u8 encode(const struct mc146818 *c, unsigned v)
{
	return (u8)(c->ram[REG_B] & B_DM ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(const struct mc146818 *c, u8 v)
{
	return c->ram[REG_B] & B_DM ? v : (v >> 4) * 10u + (v & 15u);
}

static u8 encode_hour(const struct mc146818 *c, unsigned hour)
{
	if (c->ram[REG_B] & B_24H)
		return encode(c, hour);
	return encode(c, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct mc146818 *c, u8 v)
{
	unsigned h;

	if (c->ram[REG_B] & B_24H)
		return decode(c, v);
	h = decode(c, v & (u8)~HOUR_PM) % 12;
	return v & HOUR_PM ? h + 12 : h;
}

/* -- time ------------------------------------------------------------------------------------- */

static u64 now_ns(const struct mc146818 *c)
{
	return clock_now(c->timer.q->clock);
}

/* The shown second at a time of the clock, at or after base_ns. */
static s64 second_at(const struct mc146818 *c, u64 ns)
{
	return c->base_sec + (s64)((ns - c->base_ns) / NS_PER_SEC);
}

/* When the shown second sec begins. */
static u64 second_ns(const struct mc146818 *c, s64 sec)
{
	return c->base_ns + (u64)(sec - c->base_sec) * NS_PER_SEC;
}

/* The weekday register without the guest's shift: Sunday is 1, as 0..6 here. */
static unsigned weekday(s64 days)
{
	return (unsigned)((days + 4) % 7);
}

/* Writes the shown time into the time bytes. */
static void store_time(struct mc146818 *c, s64 sec)
{
	s64 days = sec / SECS_PER_DAY;
	unsigned rest = (unsigned)(sec % SECS_PER_DAY);
	struct date d = date_from_days(days);

	c->ram[SEC] = encode(c, rest % 60);
	c->ram[MIN] = encode(c, rest / 60 % 60);
	c->ram[HOUR] = encode_hour(c, rest / 3600);
	c->ram[WDAY] = encode(c, (weekday(days) + c->dow_shift) % 7 + 1);
	c->ram[MDAY] = encode(c, d.mday);
	c->ram[MONTH] = encode(c, d.month);
	c->ram[YEAR] = encode(c, (unsigned)(d.year % 100));
	c->ram[CENTURY] = encode(c, (unsigned)(d.year / 100 % 100));
}

/* The time that the time bytes say; nonsense is bent into range, dates before 1970 become 1970. */
static s64 load_time(struct mc146818 *c)
{
	unsigned wday = decode(c, c->ram[WDAY]);
	struct date d = {
	        .year = decode(c, c->ram[CENTURY]) % 100 * 100 + decode(c, c->ram[YEAR]) % 100,
	        .month = decode(c, c->ram[MONTH]),
	        .mday = decode(c, c->ram[MDAY]),
	};
	s64 days, hour, min, sec;

	d.month = MAX(1u, MIN(d.month, 12u));
	d.mday = MAX(1u, MIN(d.mday, 31u));
	days = MAX(days_from_date(&d), 0);
	c->dow_shift = wday >= 1 && wday <= 7 ? (u8)((wday - 1 + 7 - weekday(days)) % 7) : 0;
	hour = decode_hour(c, c->ram[HOUR]) % 24;
	min = decode(c, c->ram[MIN]) % 60;
	sec = decode(c, c->ram[SEC]) % 60;
	return ((days * 24 + hour) * 60 + min) * 60 + sec;
}

static bool is_time(u8 index)
{
	return index == CENTURY ||
	       (index <= YEAR && index != SEC_ALARM && index != MIN_ALARM && index != HOUR_ALARM);
}

static bool divider_runs(const struct mc146818 *c)
{
	return (c->ram[REG_A] & A_DV) == A_DV_32K;
}

/* -- events ----------------------------------------------------------------------------------- */

static bool has_period(const struct mc146818 *c)
{
	return (c->ram[REG_A] & A_RS) && divider_runs(c);
}

/* "Periodic Interrupt Rate": a period is 2^n/32768 s; 1 and 2 repeat 8 and 9. */
static unsigned period_shift(const struct mc146818 *c)
{
	unsigned rs = c->ram[REG_A] & A_RS;

	return rs <= 2 ? rs + 6 : rs - 1;
}

/* Periods begun between base_ns and ns. */
static u64 periods_at(const struct mc146818 *c, u64 ns)
{
	return mul_div(ns - c->base_ns, 32768, NS_PER_SEC) >> period_shift(c);
}

static u64 next_period_ns(const struct mc146818 *c, u64 ns)
{
	u128 units = (u128)(periods_at(c, ns) + 1) << period_shift(c);

	return c->base_ns + (u64)((units * NS_PER_SEC + 32767) / 32768);
}

static bool alarm_byte_matches(u8 alarm, u8 val)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == val;
}

/* Does an alarm byte match any of 0..59? */
static bool alarm_byte_possible(const struct mc146818 *c, u8 alarm)
{
	unsigned v = decode(c, alarm);

	return (alarm & ALARM_ANY) == ALARM_ANY || (v < 60 && encode(c, v) == alarm);
}

/*
 * The first second after sec at which the alarm bytes match, or -1. Skips whole hours and minutes
 * that cannot match; a day without a match means that the bytes never will.
 */
static s64 next_alarm(const struct mc146818 *c, s64 sec)
{
	s64 t = sec + 1, end = t + SECS_PER_DAY;

	/* Bytes that never match must not make this walk through a day second by second. */
	if (!alarm_byte_possible(c, c->ram[SEC_ALARM]) || !alarm_byte_possible(c, c->ram[MIN_ALARM]))
		return -1;
	while (t < end) {
		unsigned rest = (unsigned)(t % SECS_PER_DAY);

		if (!alarm_byte_matches(c->ram[HOUR_ALARM], encode_hour(c, rest / 3600)))
			t += 3600 - rest % 3600;
		else if (!alarm_byte_matches(c->ram[MIN_ALARM], encode(c, rest / 60 % 60)))
			t += 60 - rest % 60;
		else if (!alarm_byte_matches(c->ram[SEC_ALARM], encode(c, rest % 60)))
			t++;
		else
			return t;
	}
	return -1;
}

/* Puts everything that happened up to now into the flags. */
static void sync_flags(struct mc146818 *c)
{
	u64 now = now_ns(c), was = c->synced_ns;
	s64 sec, alarm;

	c->synced_ns = now;
	if (has_period(c) && !(c->ram[REG_C] & B_PIE) && periods_at(c, now) != periods_at(c, was))
		c->ram[REG_C] |= B_PIE;
	if (!c->running)
		return;
	sec = second_at(c, was);
	if (second_at(c, now) == sec)
		return;
	c->ram[REG_C] |= B_UIE;
	if (c->ram[REG_C] & B_AIE)
		return;
	alarm = next_alarm(c, sec);
	if (alarm >= 0 && alarm <= second_at(c, now))
		c->ram[REG_C] |= B_AIE;
}

/* When the next enabled event comes whose flag is still down. */
static u64 next_event(const struct mc146818 *c)
{
	u8 want = c->ram[REG_B] & (u8)~c->ram[REG_C];
	u64 at = TIMER_OFF;

	if ((want & B_PIE) && has_period(c))
		at = next_period_ns(c, c->synced_ns);
	if (!c->running)
		return at;
	if (want & B_UIE)
		at = MIN(at, second_ns(c, second_at(c, c->synced_ns) + 1));
	if (want & B_AIE) {
		s64 alarm = next_alarm(c, second_at(c, c->synced_ns));

		if (alarm >= 0)
			at = MIN(at, second_ns(c, alarm));
	}
	return at;
}

/* After a change of flags, enables or time: the wire and the timer. */
static void update(struct mc146818 *c)
{
	if (c->ram[REG_B] & c->ram[REG_C] & C_FLAGS)
		c->ram[REG_C] |= C_IRQF;
	else
		c->ram[REG_C] &= (u8)~C_IRQF;
	if (c->disconnected) {
		timer_cancel(&c->timer);
		return;
	}
	wire_set(&c->irq8, c->ram[REG_C] & C_IRQF);
	timer_arm(&c->timer, next_event(c));
}

static void event_due(void *opaque)
{
	struct mc146818 *c = opaque;

	sync_flags(c);
	update(c);
}

void mc146818_connect_irq(struct mc146818 *c, bool on)
{
	pthread_mutex_lock(&c->lock);
	if (c->disconnected == on) {
		c->disconnected = !on;
		if (!on)
			wire_set(&c->irq8, false);
		sync_flags(c);
		update(c);
	}
	pthread_mutex_unlock(&c->lock);
}

void mc146818_skip(struct mc146818 *c, u64 ns)
{
	pthread_mutex_lock(&c->lock);
	c->base_ns -= ns;
	c->synced_ns -= ns;
	sync_flags(c);
	update(c);
	pthread_mutex_unlock(&c->lock);
}

/* -- registers -------------------------------------------------------------------------------- */

static void freeze(struct mc146818 *c)
{
	if (c->running)
		store_time(c, second_at(c, now_ns(c)));
	c->running = false;
}

/* Starts the clock from the time bytes; the divider keeps its phase. */
static void run(struct mc146818 *c)
{
	u64 now = now_ns(c);

	c->base_ns = now - (now - c->base_ns) % NS_PER_SEC;
	c->base_sec = load_time(c);
	c->synced_ns = now; /* never before base_ns */
	c->running = true;
}

static void check_running(struct mc146818 *c)
{
	bool want = divider_runs(c) && !(c->ram[REG_B] & B_SET);

	if (want && !c->running)
		run(c);
	else if (!want)
		freeze(c);
}

static void write_a(struct mc146818 *c, u8 val)
{
	bool ran = divider_runs(c), runs = (val & A_DV) == A_DV_32K;

	if (!runs)
		freeze(c);
	c->ram[REG_A] = val & (u8)~A_UIP;
	if (runs && !ran) {
		c->synced_ns = now_ns(c);
		c->base_ns = c->synced_ns - RELEASE_NS;
	}
	check_running(c);
}

/* Setting SET takes back UIE ("Register B"). */
static void write_b(struct mc146818 *c, u8 val)
{
	if (val & B_SET) {
		freeze(c);
		val &= (u8)~B_UIE;
	}
	/* Bytes that are computed change their format by themselves; frozen ones are the guest's. */
	c->ram[REG_B] = val;
	check_running(c);
}

/* A time byte written while the clock runs: the second goes on. */
static void write_time(struct mc146818 *c, u8 index, u8 val)
{
	bool ran = c->running;

	freeze(c);
	c->ram[index] = val;
	if (ran)
		run(c);
}

static void write_reg(struct mc146818 *c, u8 index, u8 val)
{
	sync_flags(c);
	if (is_time(index))
		write_time(c, index, val);
	else if (index == REG_A)
		write_a(c, val);
	else if (index == REG_B)
		write_b(c, val);
	else if (index != REG_C && index != REG_D)
		c->ram[index] = val;
	update(c);
}

static u8 read_a(const struct mc146818 *c)
{
	u8 val = c->ram[REG_A];

	if (c->running && (now_ns(c) - c->base_ns) % NS_PER_SEC >= NS_PER_SEC - UPDATE_NS)
		val |= A_UIP;
	return val;
}

/* Reading the flags clears them and lets the wire fall. */
static u8 read_c(struct mc146818 *c)
{
	u8 val;

	sync_flags(c);
	update(c);
	val = c->ram[REG_C];
	c->ram[REG_C] = 0;
	update(c);
	return val;
}

static u8 read_reg(struct mc146818 *c, u8 index)
{
	if (index == REG_A)
		return read_a(c);
	if (index == REG_C)
		return read_c(c);
	if (index == REG_D)
		return D_VRT;
	if (c->running && is_time(index))
		store_time(c, second_at(c, now_ns(c)));
	return c->ram[index];
}

/* Port 70h is write-only; its bit 7 masks NMIs, of which this machine's board has none. */
static u64 io_read(void *opaque, u64 off, unsigned size)
{
	struct mc146818 *c = opaque;

	return off == 0 ? 0xff : read_reg(c, c->index);
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct mc146818 *c = opaque;

	if (off == 0)
		c->index = val & (MC146818_SIZE - 1);
	else
		write_reg(c, c->index, (u8)val);
}

static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min = 1, .max = 1};

void mc146818_store(struct mc146818 *c, u8 index, u8 val)
{
	if (index <= REG_D || index >= MC146818_SIZE || is_time(index))
		return;
	pthread_mutex_lock(&c->lock);
	c->ram[index] = val;
	pthread_mutex_unlock(&c->lock);
}

/* -- life ------------------------------------------------------------------------------------- */

static void store_mem(struct mc146818 *c, u8 index, unsigned bytes, u64 val)
{
	u64 max = ones(bytes);

	val = MIN(val, max);
	for (unsigned i = 0; i < bytes; i++)
		c->ram[index + i] = (u8)(val >> 8 * i);
}

/* Memory sizes where firmware and old kernels look for them. */
static void store_mem_sizes(struct mc146818 *c, u64 low, u64 high)
{
	u64 above_1m = low > MiB ? (low - MiB) / KiB : 0;
	u64 above_16m = low > 16 * MiB ? (low - 16 * MiB) / (64 * KiB) : 0;

	store_mem(c, BASE_MEM, 2, MIN(low / KiB, 640));
	store_mem(c, EXT_MEM, 2, above_1m);
	store_mem(c, EXT_MEM2, 2, above_1m);
	store_mem(c, MEM_16M, 2, above_16m);
	store_mem(c, MEM_4G, 3, high / (64 * KiB));
	c->ram[EQUIPMENT] = 0x02; /* FPU present, no diskette, no display adapter */
}

static u64 host_wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

/* Sets the clock; local time is UTC plus the offset in force now. */
static void set_time(struct mc146818 *c, u64 wall, bool utc)
{
	time_t t = (time_t)(wall / NS_PER_SEC);
	struct tm tm;

	c->base_sec = t;
	if (!utc && localtime_r(&t, &tm))
		c->base_sec += tm.tm_gmtoff;
	c->base_sec = MAX(c->base_sec, 0);
	c->base_ns = now_ns(c) - wall % NS_PER_SEC;
	c->synced_ns = now_ns(c);
	c->running = true;
}

static void reset_state(struct mc146818 *c)
{
	c->ram[REG_B] &= (u8) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	c->ram[REG_C] = 0;
	c->synced_ns = now_ns(c);
	c->index = 0;
	c->disconnected = false;
	update(c);
}

void mc146818_reset(struct mc146818 *c)
{
	pthread_mutex_lock(&c->lock);
	reset_state(c);
	pthread_mutex_unlock(&c->lock);
}

int mc146818_init(struct mc146818 *c, const struct mc146818_config *cfg)
{
	int r;

	*c = (struct mc146818){.ports = cfg->ports, .irq8 = cfg->irq8};
	r = -pthread_mutex_init(&c->lock, NULL);
	if (r)
		return r;
	timer_init(&c->timer, cfg->timers, &c->lock, event_due, c);
	c->ram[REG_A] = A_DV_32K | 6; /* 1024 Hz, as a BIOS leaves it */
	c->ram[REG_B] = B_24H;
	store_mem_sizes(c, cfg->low_mem, cfg->high_mem);
	set_time(c, cfg->wall_ns ? cfg->wall_ns() : host_wall_ns(), cfg->utc);
	reset_state(c);
	c->io = (struct region){.base = MC146818_PORT,
	        .len = 2,
	        .ops = &io_ops,
	        .opaque = c,
	        .lock = &c->lock,
	        .name = "mc146818"};
	r = space_add(c->ports, &c->io);
	if (r)
		mc146818_fini(c);
	return r;
}

void mc146818_fini(struct mc146818 *c)
{
	timer_cancel(&c->timer);
	space_remove(c->ports, &c->io);
	pthread_mutex_destroy(&c->lock);
}
