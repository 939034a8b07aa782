/*
 * ACPI fixed hardware ("ACPI Hardware Specification", chapter 4.8.3) and the reset ports of a PCI
 * south bridge. Register and bit names are those of the ACPI specification and the ICH data sheets.
 *
 * The registers at PM_BASE are handled as one little-endian block: a write of any width becomes a
 * value and a mask for each register that it touches.
 *
 * The PM timer is the machine's clock in other units. TMR_STS, which reports a toggle of its
 * highest bit (every 10 minutes), is made up when it is read; a host timer is armed only while a guest
 * has asked for the interrupt.
 */
#include "dev/pm.h"

/* 4.8.3.1.1 PM1 status and 4.8.3.1.2 enable */
#define TMR_STS BIT(0)
#define BM_STS BIT(4)
#define GBL_STS BIT(5)
#define PWRBTN_STS BIT(8)
#define SLPBTN_STS BIT(9)
#define RTC_STS BIT(10)
#define WAK_STS BIT(15)
#define STS_BITS (TMR_STS | BM_STS | GBL_STS | PWRBTN_STS | SLPBTN_STS | RTC_STS | WAK_STS)
#define EN_BITS (TMR_STS | GBL_STS | PWRBTN_STS | SLPBTN_STS | RTC_STS)

/* 4.8.3.2.1 PM1 control. GBL_RLS (2) and SLP_EN are write-only. */
#define SCI_EN BIT(0)
#define BM_RLD BIT(1)
#define SLP_TYP_SHIFT 10
#define SLP_TYP (7u << SLP_TYP_SHIFT)
#define SLP_EN BIT(13)
#define CNT_BITS (SCI_EN | BM_RLD | SLP_TYP)

#define IO_LEN 12
#define REG_STS_EN 0 /* offsets of the three double words */
#define REG_CNT 4
#define REG_TMR 8

/* CF9h, reset control */
#define CF9_SYS_RST BIT(1)
#define CF9_RST_CPU BIT(2)
#define CF9_FULL_RST BIT(3)

/* 92h, fast A20 and init */
#define FAST_INIT BIT(0)
#define FAST_A20 BIT(1)

static u64 count_now(const struct pm *p)
{
	return mul_div(clock_now(p->cfg.timers->clock), PM_TIMER_HZ, NS_PER_SEC);
}

/* -- events ----------------------------------------------------------------------------------- */

static void sync_timer_status(struct pm *p)
{
	u64 count = count_now(p);

	if (count >> 31 != p->synced >> 31)
		p->status |= TMR_STS;
	p->synced = count;
}

static void arm_carry(struct pm *p)
{
	u64 next = ((p->synced >> 31) + 1) << 31;

	if (!(p->enable & TMR_STS) || !(p->control & SCI_EN) || (p->status & TMR_STS)) {
		timer_cancel(&p->carry);
		return;
	}
	timer_arm(&p->carry, (u64)(((u128)next * NS_PER_SEC + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
}

/* After a change of status, enable or control: the SCI and the timer. */
static void update(struct pm *p)
{
	sync_timer_status(p);
	wire_set(&p->cfg.sci, (p->control & SCI_EN) && (p->status & p->enable));
	arm_carry(p);
}

static void carry_due(void *opaque)
{
	update(opaque);
}

void pm_power_button(struct pm *p)
{
	pthread_mutex_lock(&p->lock);
	p->status |= PWRBTN_STS;
	update(p);
	pthread_mutex_unlock(&p->lock);
}

bool pm_acpi_enabled(struct pm *p)
{
	bool on;

	pthread_mutex_lock(&p->lock);
	on = p->control & SCI_EN;
	pthread_mutex_unlock(&p->lock);
	return on;
}

static void tell(struct pm *p, enum pm_event what)
{
	if (p->cfg.event)
		p->cfg.event(p->cfg.opaque, what);
}

/* -- PM1 and the timer ------------------------------------------------------------------------ */

static u32 read_dword(struct pm *p, unsigned reg)
{
	switch (reg) {
	case REG_STS_EN: sync_timer_status(p); return p->status | (u32)p->enable << 16;
	case REG_CNT: return p->control;
	default: return (u32)count_now(p);
	}
}

static void write_control(struct pm *p, u32 val)
{
	p->control = val & CNT_BITS;
	update(p);
	if (!(val & SLP_EN))
		return;
	/* Only S5 exists. From any other state the machine wakes at once. */
	if ((val & SLP_TYP) >> SLP_TYP_SHIFT == PM_SLP_TYP_S5)
		tell(p, PM_POWEROFF);
	else
		p->status |= WAK_STS;
}

static void write_dword(struct pm *p, unsigned reg, u32 val, u32 mask)
{
	u32 old;

	if (reg == REG_STS_EN) {
		sync_timer_status(p);
		p->status &= (u16) ~(val & mask & STS_BITS); /* write 1 to clear */
		old = (u32)p->enable << 16;
		p->enable = ((old & ~mask) | (val & mask)) >> 16 & EN_BITS;
		update(p);
	} else if (reg == REG_CNT && (mask & 0xffff)) {
		write_control(p, (p->control & ~mask) | (val & mask));
	}
}

static u64 io_read(void *opaque, u64 off, unsigned size)
{
	return read_dword(opaque, (unsigned)ALIGN_DOWN(off, 4)) >> (off & 3) * 8 & ones(size);
}

static void io_write(void *opaque, u64 off, unsigned size, u64 val)
{
	unsigned shift = (unsigned)(off & 3) * 8;

	write_dword(opaque, (unsigned)ALIGN_DOWN(off, 4), (u32)(val << shift), (u32)(ones(size) << shift));
}

/* -- SMI command ------------------------------------------------------------------------------ */

static u64 smi_read(void *opaque, u64 off, unsigned size)
{
	struct pm *p = opaque;

	return p->smi[off & 1];
}

/* What firmware's SMI handler would do for the two commands of the FADT. */
static void smi_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct pm *p = opaque;

	p->smi[off & 1] = (u8)val;
	if (off != 0)
		return;
	if (val == PM_ACPI_ENABLE)
		p->control |= SCI_EN;
	else if (val == PM_ACPI_DISABLE)
		p->control &= (u16)~SCI_EN;
	update(p);
}

/* -- resets ----------------------------------------------------------------------------------- */

/*
 * RST_CPU starts a reset when it rises; SYS_RST and FULL_RST say of which kind, which is all one
 * here. The bit falls by the reset itself.
 */
static void write_cf9(struct pm *p, u8 val)
{
	p->reset_control = val & (CF9_SYS_RST | CF9_FULL_RST);
	if (val & CF9_RST_CPU)
		tell(p, PM_RESET);
}

u8 pm_reset_read(struct pm *p)
{
	u8 val;

	pthread_mutex_lock(&p->lock);
	val = p->reset_control;
	pthread_mutex_unlock(&p->lock);
	return val;
}

void pm_reset_write(struct pm *p, u8 val)
{
	pthread_mutex_lock(&p->lock);
	write_cf9(p, val);
	pthread_mutex_unlock(&p->lock);
}

static u64 cf9_read(void *opaque, u64 off, unsigned size)
{
	struct pm *p = opaque;

	return p->reset_control;
}

static void cf9_write(void *opaque, u64 off, unsigned size, u64 val)
{
	write_cf9(opaque, (u8)val);
}

static u64 fast_read(void *opaque, u64 off, unsigned size)
{
	struct pm *p = opaque;

	return p->port92;
}

/* A20 can be switched off only for the eye: the machine's CPUs have no such pin. */
static void fast_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct pm *p = opaque;
	bool rises = (val & FAST_INIT) && !(p->port92 & FAST_INIT);

	p->port92 = val & (FAST_INIT | FAST_A20);
	if (rises)
		tell(p, PM_RESET);
}

static u64 scratch_read(void *opaque, u64 off, unsigned size)
{
	struct pm *p = opaque;

	return p->page[off & 15];
}

static void scratch_write(void *opaque, u64 off, unsigned size, u64 val)
{
	struct pm *p = opaque;

	p->page[off & 15] = (u8)val;
}

/* -- life ------------------------------------------------------------------------------------- */

static const struct region_ops io_ops = {.read = io_read, .write = io_write, .min = 1, .max = 4};
static const struct region_ops smi_ops = {.read = smi_read, .write = smi_write, .min = 1, .max = 1};
static const struct region_ops cf9_ops = {.read = cf9_read, .write = cf9_write, .min = 1, .max = 1};
static const struct region_ops fast_ops = {.read = fast_read, .write = fast_write, .min = 1, .max = 1};
static const struct region_ops scratch_ops = {
        .read = scratch_read, .write = scratch_write, .min = 1, .max = 1};

static void reset_state(struct pm *p)
{
	p->status = 0;
	p->enable = 0;
	p->control = 0;
	p->synced = count_now(p);
	p->reset_control = 0;
	p->port92 = FAST_A20;
	memset(p->smi, 0, sizeof(p->smi));
	memset(p->page, 0, sizeof(p->page));
	update(p);
}

void pm_reset(struct pm *p)
{
	pthread_mutex_lock(&p->lock);
	reset_state(p);
	pthread_mutex_unlock(&p->lock);
}

static int add(
        struct pm *p, struct region *r, u64 base, u64 len, const struct region_ops *ops, const char *name)
{
	*r = (struct region){
	        .base = base, .len = len, .ops = ops, .opaque = p, .lock = &p->lock, .name = name};
	return space_add(p->cfg.ports, r);
}

static int add_regions(struct pm *p)
{
	int r = add(p, &p->io, PM_BASE, IO_LEN, &io_ops, "pm");

	if (!r)
		r = add(p, &p->smi_io, PM_SMI_CMD, 2, &smi_ops, "smi command");
	if (!r)
		r = add(p, &p->fast, 0x92, 1, &fast_ops, "port 92h");
	if (!r)
		r = add(p, &p->scratch, 0x80, sizeof(p->page), &scratch_ops, "dma pages");
	if (!r && !p->cfg.pci_owns_cf9)
		r = add(p, &p->cf9, PM_RESET_PORT, 1, &cf9_ops, "reset control");
	return r;
}

int pm_init(struct pm *p, const struct pm_config *cfg)
{
	int r;

	*p = (struct pm){.cfg = *cfg};
	r = -pthread_mutex_init(&p->lock, NULL);
	if (r)
		return r;
	timer_init(&p->carry, cfg->timers, &p->lock, carry_due, p);
	reset_state(p);
	r = add_regions(p);
	if (r)
		pm_fini(p);
	return r;
}

void pm_fini(struct pm *p)
{
	timer_cancel(&p->carry);
	space_remove(p->cfg.ports, &p->io);
	space_remove(p->cfg.ports, &p->smi_io);
	space_remove(p->cfg.ports, &p->fast);
	space_remove(p->cfg.ports, &p->scratch);
	space_remove(p->cfg.ports, &p->cf9);
	pthread_mutex_destroy(&p->lock);
}
