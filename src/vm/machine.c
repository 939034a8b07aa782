/*
 * The board, from top to bottom: every chip with its address and its wires, in the order of
 * construction, then the PCI devices of the command line, then what the firmware tables say of it all.
 *
 * Two boards differ only in who owns the interrupt chips. With the software CPU they are ours: ISA
 * interrupt n is a wire to 8259 input n and IOAPIC pin n (the timer: pin 2). With KVM they are in
 * the kernel, and the same wires end in the accelerator's irq_line.
 */
#include "vm/machine.h"

#include "base/log.h"
#include "console/console.h"
#include "dev/bvmport.h"
#include "dev/debugexit.h"
#include "dev/hpet.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/lpc.h"
#include "dev/mc146818.h"
#include "dev/pm.h"
#include "dev/ps2ctl.h"
#include "dev/uart16550.h"
#include "vm/device_table.h"
#include "vm/identity.h"
#include "vm/serial.h"
#include "vm/slots.h"
#include "vm/vm_int.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define IRQ_TIMER 0
#define IRQ_KEYBOARD 1
#define IRQ_RTC 8
#define IRQ_SCI 9
#define IOAPIC_TIMER_PIN 2
#define HPET_COMPARATORS 3

#define ECAM_BASE 0xe0000000ull
#define MMIO32_BASE 0xc0000000u
#define MMIO32_END 0xe0000000u
#define MMIO64_BASE 0xd000000000ull
#define MMIO64_LEN (192 * GiB)
#define PCI_IO_BASE 0x2000u

static const struct board_com com_table[CONFIG_LPC_PORTS] = {{0x3f8, 4}, {0x2f8, 3}};

struct machine {
	struct vm *vm;
	bool own_irqchips;         /* ours, not the accelerator's */
	pthread_rwlock_t irq_gate; /* not own_irqchips: written while the accelerator is made anew */
	struct lapic_set lapics;
	struct ioapic ioapic;
	struct i8259 pic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct hpet hpet;
	struct pm pm;
	struct ps2ctl ps2;
	struct pci_host pci;
	struct com_port com[CONFIG_LPC_PORTS];
	struct relay bvmcons, bvmdebug;
	struct debugexit debugexit;
	bool has_debugexit;
	struct slots *slots;
	struct slot_dev *lpc;
	unsigned built; /* stages of chips[] that were constructed */
	struct board_info board;
};

/* --- wires --- */

static void gsi_set(void *opaque, unsigned gsi, bool level)
{
	struct machine *m = opaque;

	pthread_rwlock_rdlock(&m->irq_gate);
	m->vm->accel->irq_line(m->vm->accel_vm, gsi, level);
	pthread_rwlock_unlock(&m->irq_gate);
}

static void isa_set(void *opaque, unsigned irq, bool level)
{
	struct machine *m = opaque;
	struct wire pic, ioapic;

	if (!m->own_irqchips) {
		gsi_set(m, irq, level);
		return;
	}
	pic = i8259_input(&m->pic, irq);
	ioapic = ioapic_input(&m->ioapic, irq == IRQ_TIMER ? IOAPIC_TIMER_PIN : irq);
	wire_set(&pic, level);
	wire_set(&ioapic, level);
}

static struct wire isa_wire(struct machine *m, unsigned irq)
{
	return (struct wire){.set = isa_set, .opaque = m, .n = irq};
}

/* IOAPIC pins that only PCI uses. */
static struct wire gsi_wire(struct machine *m, unsigned gsi)
{
	if (m->own_irqchips)
		return ioapic_input(&m->ioapic, gsi);
	return (struct wire){.set = gsi_set, .opaque = m, .n = gsi};
}

/* 8259 inputs that PIRQ links reach; with in-kernel chips the same number is the GSI. */
static struct wire pic_wire(struct machine *m, unsigned irq)
{
	if (!(LPC_LINK_IRQS >> irq & 1))
		return (struct wire){0};
	if (m->own_irqchips)
		return i8259_input(&m->pic, irq);
	return (struct wire){.set = gsi_set, .opaque = m, .n = irq};
}

static void accel_msi(void *opaque, u64 addr, u32 data)
{
	struct machine *m = opaque;

	pthread_rwlock_rdlock(&m->irq_gate);
	m->vm->accel->msi(m->vm->accel_vm, addr, data);
	pthread_rwlock_unlock(&m->irq_gate);
}

static struct msi_sink msi_sink(struct machine *m)
{
	if (m->own_irqchips)
		return lapic_set_msi(&m->lapics);
	return (struct msi_sink){.send = accel_msi, .opaque = m};
}

/* --- events of chips --- */

static void pm_happened(void *opaque, enum pm_event what)
{
	struct machine *m = opaque;

	if (what == PM_POWEROFF)
		vm_stop(m->vm, EXIT_POWEROFF);
	else
		vm_reset(m->vm, EXIT_RESET);
}

static void reset_line(void *opaque)
{
	struct machine *m = opaque;

	vm_reset(m->vm, EXIT_RESET);
}

static int pic_ack(void *opaque)
{
	struct machine *m = opaque;

	return i8259_ack(&m->pic);
}

static void apic_eoi(void *opaque, u8 vector)
{
	struct machine *m = opaque;

	ioapic_eoi(&m->ioapic, vector);
}

/* The HPET takes IRQ0 and IRQ8 from the PIT and the RTC, or gives them back. */
static void hpet_legacy(void *opaque, bool on)
{
	struct machine *m = opaque;

	if (m->own_irqchips)
		i8254_connect_irq(&m->pit, !on);
	mc146818_connect_irq(&m->rtc, !on);
}

static u8 cf9_read(void *opaque)
{
	struct machine *m = opaque;

	return pm_reset_read(&m->pm);
}

static void cf9_write(void *opaque, u8 val)
{
	struct machine *m = opaque;

	pm_reset_write(&m->pm, val);
}

/* Only the low byte of an exit status reaches whoever waits for us. */
static void debug_exit(void *opaque, u32 value)
{
	struct machine *m = opaque;

	vm_stop(m->vm, (int)((value << 1 | 1) & 0xff));
}

/* -e */
static void strict_hole(void *opaque, u64 port, unsigned size, bool write)
{
	struct machine *m = opaque;

	log_error("-e: %u-byte %s of port 0x%llx, which nobody has", size, write ? "write" : "read",
	        (unsigned long long)port);
	vm_stop(m->vm, EXIT_OTHER);
}

/* --- chips, in the order in which they are built --- */

static int build_lapics(struct machine *m)
{
	const struct lapic_set_config c = {.count = m->vm->config->ncpus,
	        .timers = loop_timers(m->vm->loop),
	        .clock = &m->vm->clock,
	        .x2apic = starts_in_x2apic(m->vm->config),
	        .pic_ack = pic_ack,
	        .eoi = apic_eoi,
	        .opaque = m};

	return m->own_irqchips ? lapic_set_init(&m->lapics, &c) : 0;
}

static void drop_lapics(struct machine *m)
{
	if (m->own_irqchips)
		lapic_set_fini(&m->lapics);
}

static int build_ioapic(struct machine *m)
{
	const struct ioapic_config c = {.memory = &m->vm->memory, .lapics = &m->lapics};

	return m->own_irqchips ? ioapic_init(&m->ioapic, &c) : 0;
}

static void drop_ioapic(struct machine *m)
{
	if (m->own_irqchips)
		ioapic_fini(&m->ioapic);
}

static int build_pic(struct machine *m)
{
	const struct i8259_config c = {.ports = &m->vm->ports, .intr = lapic_set_lint0(&m->lapics)};

	return m->own_irqchips ? i8259_init(&m->pic, &c) : 0;
}

static void drop_pic(struct machine *m)
{
	if (m->own_irqchips)
		i8259_fini(&m->pic);
}

static int build_pit(struct machine *m)
{
	const struct i8254_config c = {
	        .ports = &m->vm->ports, .timers = loop_timers(m->vm->loop), .irq0 = isa_wire(m, IRQ_TIMER)};

	return m->own_irqchips ? i8254_init(&m->pit, &c) : 0;
}

static void drop_pit(struct machine *m)
{
	if (m->own_irqchips)
		i8254_fini(&m->pit);
}

static int build_rtc(struct machine *m)
{
	const struct mc146818_config c = {.ports = &m->vm->ports,
	        .timers = loop_timers(m->vm->loop),
	        .irq8 = isa_wire(m, IRQ_RTC),
	        .utc = m->vm->config->rtc_utc,
	        .low_mem = m->vm->mem.low,
	        .high_mem = m->vm->mem.high};

	return mc146818_init(&m->rtc, &c);
}

static void drop_rtc(struct machine *m)
{
	mc146818_fini(&m->rtc);
}

static int build_hpet(struct machine *m)
{
	struct hpet_config c = {.memory = &m->vm->memory,
	        .timers = loop_timers(m->vm->loop),
	        .count = HPET_COMPARATORS,
	        .route_cap = BIT(IOAPIC_TIMER_PIN),
	        .legacy0 = isa_wire(m, IRQ_TIMER),
	        .legacy8 = isa_wire(m, IRQ_RTC),
	        .legacy_mode = hpet_legacy,
	        .opaque = m,
	        .msi = msi_sink(m)};

	c.route[IOAPIC_TIMER_PIN] = isa_wire(m, IRQ_TIMER);
	return hpet_init(&m->hpet, &c);
}

static void drop_hpet(struct machine *m)
{
	hpet_fini(&m->hpet);
}

static int build_pm(struct machine *m)
{
	const struct pm_config c = {.ports = &m->vm->ports,
	        .timers = loop_timers(m->vm->loop),
	        .sci = isa_wire(m, IRQ_SCI),
	        .event = pm_happened,
	        .opaque = m,
	        .pci_owns_cf9 = true};

	return pm_init(&m->pm, &c);
}

static void drop_pm(struct machine *m)
{
	pm_fini(&m->pm);
}

static int build_ps2(struct machine *m)
{
	const struct ps2ctl_config c = {
	        .ports = &m->vm->ports, .irq1 = isa_wire(m, IRQ_KEYBOARD), .reset = reset_line, .opaque = m};

	return ps2ctl_init(&m->ps2, &c);
}

static void drop_ps2(struct machine *m)
{
	ps2ctl_fini(&m->ps2);
}

static int build_pci(struct machine *m)
{
	struct pci_host_config c = {.ports = &m->vm->ports,
	        .memory = &m->vm->memory,
	        .ecam_base = ECAM_BASE,
	        .mmio_base = MMIO32_BASE,
	        .mmio_end = MMIO32_END,
	        .mmio64_base = MMIO64_BASE,
	        .io_base = PCI_IO_BASE,
	        .msi = msi_sink(m),
	        .cf9_read = cf9_read,
	        .cf9_write = cf9_write,
	        .opaque = m};

	for (unsigned n = 0; n < PCI_LINKS; n++)
		c.ioapic[n] = gsi_wire(m, PCI_GSI_BASE + n);
	for (unsigned irq = 0; irq < 16; irq++)
		c.pic[irq] = pic_wire(m, irq);
	return pci_host_init(&m->pci, &c);
}

static void drop_pci(struct machine *m)
{
	pci_host_fini(&m->pci);
}

static const struct {
	const char *name;
	int (*build)(struct machine *m);
	void (*drop)(struct machine *m);
} chips[] = {
        {"local APICs", build_lapics, drop_lapics},
        {"I/O APIC", build_ioapic, drop_ioapic},
        {"8259", build_pic, drop_pic},
        {"8254", build_pit, drop_pit},
        {"RTC", build_rtc, drop_rtc},
        {"HPET", build_hpet, drop_hpet},
        {"ACPI PM", build_pm, drop_pm},
        {"keyboard controller", build_ps2, drop_ps2},
        {"PCI", build_pci, drop_pci},
};

static int build_chips(struct machine *m, struct err *e)
{
	for (; m->built < ARRAY_SIZE(chips); m->built++) {
		int rc = chips[m->built].build(m);

		if (rc < 0)
			return err_errno(e, rc, "cannot build the %s", chips[m->built].name);
	}
	return 0;
}

/* --- -l debugexit --- */

/* Ports that are built later, and after files have been opened, must not find theirs taken. */
static bool port_taken(const struct machine *m, u16 port, u16 len)
{
	const struct vm_config *c = m->vm->config;
	const u16 later[][2] = {{com_table[0].port, UART_PORTS}, {com_table[1].port, UART_PORTS},
	        {c->bvmcons ? BVMCONS_PORT : 0, 4}, {c->bvmdebug_port ? BVMDEBUG_PORT : 0, 4}};

	for (unsigned n = 0; n < ARRAY_SIZE(later); n++)
		if (later[n][0] && port < later[n][0] + later[n][1] && later[n][0] < port + len)
			return true;
	return false;
}

static int build_debugexit(struct machine *m, struct err *e)
{
	const struct debugexit_config c = {.ports = &m->vm->ports,
	        .port = m->vm->config->debugexit_port,
	        .event = debug_exit,
	        .opaque = m};
	int rc;

	if (!c.port)
		return 0;
	rc = port_taken(m, c.port, DEBUGEXIT_PORTS) ? -EEXIST : debugexit_init(&m->debugexit, &c);
	if (rc == -EEXIST)
		return err_usage(
		        e, "-l debugexit,port=0x%x: another device of the board has these ports", c.port);
	if (rc < 0)
		return err_errno(e, rc, "-l debugexit");
	m->has_debugexit = true;
	return 0;
}

/* --- PCI devices --- */

static int build_slots(struct machine *m, struct err *e)
{
	int rc = slots_create(&m->slots, m->vm, &m->pci, e);

	if (rc < 0)
		return rc;
	m->lpc = slots_find(m->slots, &slot_lpc);
	if (m->lpc)
		lpc_route_links(m->lpc->device);
	return 0;
}

/* --- serial ports --- */

static int build_ports(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->vm->config;
	int rc = 0;

	for (unsigned n = 0; m->lpc && n < CONFIG_LPC_PORTS && rc == 0; n++) {
		const struct com_config s = {.vm = m->vm,
		        .base = com_table[n].port,
		        .irq = isa_wire(m, com_table[n].irq),
		        .spec = c->com[n]};

		rc = com_init(&m->com[n], &s, e);
	}
	if (rc < 0 || c->explain)
		return rc;
	if (rc == 0 && c->bvmcons)
		rc = relay_init(&m->bvmcons, m->vm, RELAY_BVMCONS, e);
	if (rc == 0 && c->bvmdebug_port)
		rc = relay_init(&m->bvmdebug, m->vm, RELAY_BVMDEBUG, e);
	return rc;
}

/* Level-triggered ISA interrupts, as a BIOS leaves ELCR: SCI and the PIRQ links. */
static void set_elcr(struct machine *m)
{
	u16 level = LPC_LINK_IRQS | 1u << IRQ_SCI;

	if (!m->own_irqchips)
		return;
	space_write(&m->vm->ports, I8259_ELCR_PORT, 1, level & 0xff);
	space_write(&m->vm->ports, I8259_ELCR_PORT + 1, 1, level >> 8);
}

int machine_create(struct vm *vm, struct machine **out, struct err *e)
{
	struct machine *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_errno(e, -ENOMEM, "xhyve");
	*out = m;
	m->vm = vm;
	pthread_rwlock_init(&m->irq_gate, NULL);
	m->own_irqchips = !vm->accel->owns_irqchips || vm->config->explain; /* there is no accelerator then */
	rc = build_chips(m, e);
	if (rc == 0)
		rc = build_debugexit(m, e);
	if (rc == 0)
		rc = build_slots(m, e);
	if (rc == 0)
		rc = build_ports(m, e);
	if (rc < 0)
		return rc;
	set_elcr(m);
	if (vm->config->strict_io) {
		vm->ports.hole = strict_hole;
		vm->ports.hole_opaque = m;
	}
	return 0;
}

/* --- CPUs --- */

bool machine_intc(struct machine *m, unsigned n, struct intc *out)
{
	if (!m->own_irqchips)
		return false;
	*out = (struct intc){.ops = &lapic_intc_ops, .opaque = &m->lapics.lapic[n]};
	return true;
}

static void cpu_signal(void *opaque, enum cpu_signal sig, u8 arg)
{
	struct vm_cpu *cpu = opaque;

	cpu->vm->accel->signal(cpu->vcpu, sig, arg);
}

void machine_set_cpu(struct machine *m, unsigned n, struct vcpu *v)
{
	const struct cpu_line line = {.signal = cpu_signal, .opaque = &m->vm->cpu[n]};

	if (m->own_irqchips)
		lapic_connect(&m->lapics, n, &line);
}

/* --- firmware's view --- */

static void describe_pci(struct machine *m, struct board_info *b)
{
	b->pci = slots_count(m->slots) > 0;
	b->ecam = (struct board_range){ECAM_BASE, 256 * MiB};
	b->bus_last = 0;
	b->mmio32 = (struct board_range){MMIO32_BASE, MMIO32_END - MMIO32_BASE};
	b->mmio64 = (struct board_range){MMIO64_BASE, MMIO64_LEN};
	b->io[0] = (struct board_range){0, 0xcf8};
	b->io[1] = (struct board_range){0xd00, 0x10000 - 0xd00};
	for (unsigned n = 0; n < slots_count(m->slots) && b->nfn < BOARD_MAX_PCI; n++) {
		struct pci_intx_info i = pci_intx_info(slots_at(m->slots, n)->pci);

		b->fn[b->nfn++] = (struct board_pci_fn){.bus = i.bus,
		        .slot = i.slot,
		        .func = i.func,
		        .pin = i.pin,
		        .gsi = i.gsi,
		        .link = i.link};
		b->bus_last = MAX(b->bus_last, i.bus);
	}
}

static void describe_lpc(struct machine *m, struct board_info *b)
{
	if (!m->lpc)
		return;
	b->lpc = true;
	b->lpc_slot = m->lpc->config->slot;
	b->lpc_func = m->lpc->config->func;
	b->nlinks = PCI_LINKS;
	for (unsigned n = 0; n < PCI_LINKS; n++)
		b->link[n] = (struct board_link){
		        .reg = (u8)(n < 4 ? 0x60 + n : 0x68 + n - 4), .irqs = LPC_LINK_IRQS};
	for (unsigned n = 0; n < CONFIG_LPC_PORTS; n++)
		b->com[n] = com_table[n];
}

static void describe_chips(struct machine *m, struct board_info *b)
{
	b->lapic_base = 0xfee00000;
	b->ioapic_base = IOAPIC_BASE;
	b->ioapic_pins = IOAPIC_NPINS;
	b->hpet_base = HPET_BASE;
	b->hpet_id = hpet_id(&m->hpet);
	b->hpet_min_tick = HPET_MIN_TICK;
	b->sci_irq = IRQ_SCI;
	b->pm1a_evt = PM_BASE;
	b->pm1a_cnt = PM_CNT_PORT;
	b->pm_tmr = PM_TMR_PORT;
	b->smi_cmd = PM_SMI_CMD;
	b->acpi_enable = PM_ACPI_ENABLE;
	b->acpi_disable = PM_ACPI_DISABLE;
	b->reset_port = PM_RESET_PORT;
	b->reset_value = PM_RESET_VALUE;
}

static int describe(struct machine *m, struct err *e)
{
	const struct vm_config *c = m->vm->config;
	struct board_info *b = &m->board;
	int rc;

	*b = (struct board_info){0};
	b->ncpus = c->ncpus;
	b->mem = &m->vm->mem;
	b->acpi = c->acpi;
	b->mptable = !c->no_mptable;
	b->x2apic = starts_in_x2apic(c);
	rc = vm_uuid(c, b->uuid, e);
	if (rc < 0)
		return rc;
	describe_chips(m, b);
	describe_pci(m, b);
	describe_lpc(m, b);
	return 0;
}

int machine_boot(struct machine *m, struct x86_state *bsp, struct err *e)
{
	struct boot_tables_out tables = {0};
	int rc = describe(m, e);

	if (rc == 0)
		rc = boot_tables(&m->vm->mem, &m->board, &tables, e);
	if (rc < 0)
		return rc;
	if (m->vm->image.multiboot)
		return boot_multiboot_place(&m->vm->image, &m->vm->mem, &m->board, &tables, bsp, e);
	return boot_linux_place(&m->vm->image, &m->vm->mem, &m->board, &tables, bsp, e);
}

const struct board_info *machine_board(const struct machine *m)
{
	return &m->board;
}

const struct slots *machine_slots(const struct machine *m)
{
	return m->slots;
}

bool machine_power_button(struct machine *m)
{
	if (!m->vm->config->acpi || !pm_acpi_enabled(&m->pm))
		return false;
	pm_power_button(&m->pm);
	return true;
}

void machine_disks_changed(struct machine *m)
{
	for (unsigned n = 0; n < slots_count(m->slots); n++) {
		struct slot_dev *s = slots_at(m->slots, n);

		if (s->ops->disk_grown)
			s->ops->disk_grown(s);
	}
}

void machine_time_skipped(struct machine *m, u64 ns)
{
	mc146818_skip(&m->rtc, ns);
}

void machine_stats(struct machine *m, struct stats_sink *out)
{
	for (unsigned n = 0; n < slots_count(m->slots); n++) {
		struct slot_dev *s = slots_at(m->slots, n);
		char group[48];

		if (!s->ops->stats)
			continue;
		slot_name(s->config, group);
		snprintf(group + strlen(group), sizeof(group) - strlen(group), " %s", s->config->type->name);
		s->ops->stats(s, group, out);
	}
}

void machine_terminal_resized(struct machine *m)
{
	for (unsigned n = 0; n < slots_count(m->slots); n++) {
		struct slot_dev *s = slots_at(m->slots, n);

		if (s->ops->terminal_resized)
			s->ops->terminal_resized(s);
	}
}

void machine_hold_interrupts(struct machine *m, bool hold)
{
	if (hold)
		pthread_rwlock_wrlock(&m->irq_gate);
	else
		pthread_rwlock_unlock(&m->irq_gate);
}

static void reset_irqchips(struct machine *m)
{
	if (!m->own_irqchips)
		return;
	i8254_reset(&m->pit);
	i8259_reset(&m->pic);
	ioapic_reset(&m->ioapic);
	lapic_set_reset(&m->lapics);
	set_elcr(m);
}

/* From the outside in: interrupt controllers come last, when nobody has anything to say to them. */
void machine_reset(struct machine *m)
{
	slots_reset(m->slots);
	for (unsigned n = 0; n < CONFIG_LPC_PORTS; n++)
		com_reset(&m->com[n]);
	ps2ctl_reset(&m->ps2);
	pm_reset(&m->pm);
	hpet_reset(&m->hpet);
	mc146818_reset(&m->rtc);
	pci_host_reset(&m->pci);
	if (m->lpc)
		lpc_route_links(m->lpc->device);
	reset_irqchips(m);
}

void machine_stop(struct machine *m)
{
	slots_stop(m->slots);
	relay_stop(&m->bvmdebug);
	relay_stop(&m->bvmcons);
	for (unsigned n = 0; n < CONFIG_LPC_PORTS; n++)
		serial_stop(&m->com[n].line);
}

void machine_destroy(struct machine *m)
{
	relay_fini(&m->bvmdebug);
	relay_fini(&m->bvmcons);
	for (unsigned n = 0; n < CONFIG_LPC_PORTS; n++)
		com_fini(&m->com[n]);
	slots_destroy(m->slots);
	if (m->has_debugexit)
		debugexit_fini(&m->debugexit);
	while (m->built)
		chips[--m->built].drop(m);
	pthread_rwlock_destroy(&m->irq_gate);
	free(m);
}
