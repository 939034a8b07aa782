/* ACPI registers, reset ports and the keyboard controller on a bus. */
#include "bench.h"
#include "dev/pm.h"
#include "dev/ps2ctl.h"

struct fix {
	struct bench b;
	struct pm pm;
	struct ps2ctl kbd;
	struct probe sci, irq1;
	unsigned resets, poweroffs, kbd_resets;
};

static void on_event(void *opaque, enum pm_event what)
{
	struct fix *f = opaque;

	if (what == PM_RESET)
		f->resets++;
	else
		f->poweroffs++;
}

static void on_kbd_reset(void *opaque)
{
	struct fix *f = opaque;

	f->kbd_resets++;
}

static int setup(void **state)
{
	static struct fix f;

	memset(&f, 0, sizeof(f));
	bench_init(&f.b, 0);
	assert_int_equal(pm_init(&f.pm, &(struct pm_config){.ports = &f.b.ports,
	                                        .timers = &f.b.timers,
	                                        .sci = probe_wire(&f.sci),
	                                        .event = on_event,
	                                        .opaque = &f}),
	        0);
	assert_int_equal(ps2ctl_init(&f.kbd, &(struct ps2ctl_config){.ports = &f.b.ports,
	                                             .irq1 = probe_wire(&f.irq1),
	                                             .reset = on_kbd_reset,
	                                             .opaque = &f}),
	        0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	ps2ctl_fini(&f->kbd);
	pm_fini(&f->pm);
	bench_fini(&f->b);
	return 0;
}

static void free_running_timer(void **state)
{
	struct fix *f = *state;

	assert_int_equal(in32(&f->b, 0x408), 0);
	bench_advance(&f->b, NS_PER_SEC);
	assert_int_equal(in32(&f->b, 0x408), 3579545);
	assert_int_equal(in16(&f->b, 0x40a), 3579545 >> 16);
	assert_int_equal(in8(&f->b, 0x408), 3579545 & 0xff);
	out32(&f->b, 0x408, 0);
	assert_int_equal(in32(&f->b, 0x408), 3579545);
	bench_advance(&f->b, 1199 * NS_PER_SEC);
	assert_int_equal(in32(&f->b, 0x408), (u32)(3579545ull * 1200)); /* wrapped */
	assert_true(bench_idle(&f->b));
}

static void timer_overflow(void **state)
{
	struct fix *f = *state;

	/* Bit 31 toggles after 599.93 s. Polled: no wake-ups. */
	bench_advance(&f->b, 599 * NS_PER_SEC);
	assert_int_equal(in16(&f->b, 0x400) & 1, 0);
	assert_int_equal(bench_advance(&f->b, NS_PER_SEC), 0);
	assert_int_equal(in16(&f->b, 0x400) & 1, 1);
	out16(&f->b, 0x400, 1);
	assert_int_equal(in16(&f->b, 0x400) & 1, 0);
	/* With the interrupt. */
	out16(&f->b, 0x402, 1);
	assert_true(bench_idle(&f->b)); /* SCI_EN is missing */
	out8(&f->b, 0xb2, 0xa0);
	assert_int_equal(bench_advance(&f->b, 599 * NS_PER_SEC), 0);
	assert_int_equal(bench_advance(&f->b, NS_PER_SEC), 1);
	assert_true(f->sci.level);
	assert_true(bench_idle(&f->b)); /* until it is cleared */
	out16(&f->b, 0x400, 1);
	assert_false(f->sci.level);
	assert_false(bench_idle(&f->b));
	out16(&f->b, 0x402, 0);
	assert_true(bench_idle(&f->b));
}

static void acpi_mode_and_button(void **state)
{
	struct fix *f = *state;

	assert_false(pm_acpi_enabled(&f->pm));
	out8(&f->b, 0xb2, 0xa0);
	assert_true(pm_acpi_enabled(&f->pm));
	assert_int_equal(in16(&f->b, 0x404), 1);
	assert_int_equal(in8(&f->b, 0xb2), 0xa0);
	pm_power_button(&f->pm);
	assert_false(f->sci.level);
	assert_int_equal(in16(&f->b, 0x400), 0x100);
	out16(&f->b, 0x402, 0x100);
	assert_true(f->sci.level);
	out8(&f->b, 0x400, 0xff); /* the other byte */
	assert_true(f->sci.level);
	out8(&f->b, 0x401, 0x01);
	assert_false(f->sci.level);
	pm_power_button(&f->pm);
	assert_true(f->sci.level);
	out8(&f->b, 0xb2, 0xa1);
	assert_false(f->sci.level);
	assert_false(pm_acpi_enabled(&f->pm));
	out16(&f->b, 0x402, 0xffff);
	assert_int_equal(in16(&f->b, 0x402), 0x0721);
}

static void power_off(void **state)
{
	struct fix *f = *state;

	out16(&f->b, 0x404, 0x1401); /* SLP_TYP without SLP_EN */
	assert_int_equal(f->poweroffs, 0);
	assert_int_equal(in16(&f->b, 0x404), 0x1401);
	out16(&f->b, 0x404, 0x2001); /* not S5: awake at once */
	assert_int_equal(f->poweroffs, 0);
	assert_true(in16(&f->b, 0x400) & 0x8000);
	out16(&f->b, 0x404, 0x3400);
	assert_int_equal(f->poweroffs, 1);
	assert_int_equal(in16(&f->b, 0x404) & 0x2000, 0); /* SLP_EN reads 0 */
	out8(&f->b, 0x405, 0x34);                         /* in bytes */
	assert_int_equal(f->poweroffs, 2);
	out32(&f->b, 0x404, 0x3400);
	assert_int_equal(f->poweroffs, 3);
	assert_int_equal(f->resets, 0);
}

static void reset_register(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0xcf9, 0x02);
	assert_int_equal(f->resets, 0);
	assert_int_equal(in8(&f->b, 0xcf9), 0x02);
	out8(&f->b, 0xcf9, 0x06);
	assert_int_equal(f->resets, 1);
	out8(&f->b, 0xcf9, 0x0e);
	assert_int_equal(f->resets, 2);
	pm_reset_write(&f->pm, 0x08);
	assert_int_equal(pm_reset_read(&f->pm), 0x08);
	pm_reset_write(&f->pm, 0x04);
	assert_int_equal(f->resets, 3);
}

static void reset_register_of_pci(void **state)
{
	static struct bench b;
	static struct pm pm;

	bench_init(&b, 0);
	assert_int_equal(
	        pm_init(&pm,
	                &(struct pm_config){.ports = &b.ports, .timers = &b.timers, .pci_owns_cf9 = true}),
	        0);
	assert_int_equal(in8(&b, 0xcf9), 0xff);
	pm_reset_write(&pm, 0x06); /* without anybody to tell */
	pm_fini(&pm);
	bench_fini(&b);
}

static void port92(void **state)
{
	struct fix *f = *state;

	assert_int_equal(in8(&f->b, 0x92), 0x02);
	out8(&f->b, 0x92, 0x00);
	assert_int_equal(in8(&f->b, 0x92), 0x00);
	out8(&f->b, 0x92, 0x02);
	assert_int_equal(f->resets, 0);
	out8(&f->b, 0x92, 0x03);
	assert_int_equal(f->resets, 1);
	out8(&f->b, 0x92, 0x03); /* the bit must rise */
	assert_int_equal(f->resets, 1);
}

static void chip_reset(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0xb2, 0xa0);
	out16(&f->b, 0x402, 0x101);
	pm_power_button(&f->pm);
	assert_true(f->sci.level);
	pm_reset(&f->pm);
	assert_false(f->sci.level);
	assert_true(bench_idle(&f->b));
	assert_int_equal(in32(&f->b, 0x400), 0);
	assert_false(pm_acpi_enabled(&f->pm));
}

static void post_code(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x80, 0x42);
	out8(&f->b, 0x84, 0x43);
	assert_int_equal(in8(&f->b, 0x80), 0x42);
	assert_int_equal(in8(&f->b, 0x84), 0x43);
}

static u8 kbd_ask(struct fix *f, u8 cmd)
{
	out8(&f->b, 0x64, cmd);
	assert_true(in8(&f->b, 0x64) & 1);
	return in8(&f->b, 0x60);
}

static void keyboard_probe(void **state)
{
	struct fix *f = *state;
	u8 ctr;

	assert_int_equal(in8(&f->b, 0x60), 0);
	assert_int_equal(in8(&f->b, 0x64), 0x14); /* system flag, not locked, nothing to read */
	assert_int_equal(kbd_ask(f, 0xaa), 0x55);
	assert_int_equal(kbd_ask(f, 0xab), 0x00);
	assert_int_equal(kbd_ask(f, 0xa9), 0x01);
	ctr = kbd_ask(f, 0x20);
	out8(&f->b, 0x64, 0x60);
	out8(&f->b, 0x60, (ctr & 0xbf) | 0x11);
	assert_int_equal(kbd_ask(f, 0x20), (ctr & 0xbf) | 0x11);
	assert_int_equal(f->irq1.rises, 1); /* the answer, with interrupts now on */
	assert_false(f->irq1.level);
	/* The auxiliary loop is answered, but not from the auxiliary port. */
	out8(&f->b, 0x64, 0xd3);
	out8(&f->b, 0x60, 0x5a);
	assert_int_equal(in8(&f->b, 0x64) & 0x21, 0x01);
	assert_int_equal(in8(&f->b, 0x60), 0x5a);
	/* Nobody acknowledges. */
	out8(&f->b, 0x60, 0xf2);
	assert_true(f->irq1.level);
	assert_int_equal(in8(&f->b, 0x64) & 0x41, 0x41);
	assert_int_equal(in8(&f->b, 0x60), 0xfe);
	assert_false(f->irq1.level);
	assert_int_equal(in8(&f->b, 0x64) & 0x41, 0);
}

static void keyboard_reset_and_a20(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x64, 0xff);
	assert_int_equal(f->kbd_resets, 0);
	out8(&f->b, 0x64, 0xfe);
	assert_int_equal(f->kbd_resets, 1);
	assert_int_equal(kbd_ask(f, 0xd0), 0x03);
	out8(&f->b, 0x64, 0xdd);
	assert_int_equal(kbd_ask(f, 0xd0), 0x01);
	out8(&f->b, 0x64, 0xd1);
	out8(&f->b, 0x60, 0xdf);
	assert_int_equal(kbd_ask(f, 0xd0), 0x03);
	assert_int_equal(f->kbd_resets, 1);
	out8(&f->b, 0x64, 0xd1);
	out8(&f->b, 0x60, 0x02); /* reset line low */
	assert_int_equal(f->kbd_resets, 2);
	/* A command takes back one that still waits for its byte. */
	out8(&f->b, 0x64, 0xd1);
	out8(&f->b, 0x64, 0xae);
	out8(&f->b, 0x60, 0x00);
	assert_int_equal(f->kbd_resets, 2);
}

static void sweep(void **state)
{
	struct fix *f = *state;

	for (unsigned cmd = 0; cmd < 256; cmd++) {
		out8(&f->b, 0x64, (u8)cmd);
		bench_sweep(&f->b.ports, 0x60, 1);
		bench_sweep(&f->b.ports, 0x64, 1);
	}
	bench_sweep(&f->b.ports, 0x400, 12);
	bench_sweep(&f->b.ports, 0xb2, 2);
	bench_sweep(&f->b.ports, 0xcf9, 1);
	bench_sweep(&f->b.ports, 0x80, 19);
	bench_advance(&f->b, 5000 * NS_PER_SEC);
	pm_reset(&f->pm);
	ps2ctl_reset(&f->kbd);
	assert_int_equal(in8(&f->b, 0x64), 0x14);
	assert_int_equal(in32(&f->b, 0x400), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(free_running_timer, setup, teardown),
	        cmocka_unit_test_setup_teardown(timer_overflow, setup, teardown),
	        cmocka_unit_test_setup_teardown(acpi_mode_and_button, setup, teardown),
	        cmocka_unit_test_setup_teardown(power_off, setup, teardown),
	        cmocka_unit_test_setup_teardown(reset_register, setup, teardown),
	        cmocka_unit_test(reset_register_of_pci),
	        cmocka_unit_test_setup_teardown(port92, setup, teardown),
	        cmocka_unit_test_setup_teardown(chip_reset, setup, teardown),
	        cmocka_unit_test_setup_teardown(post_code, setup, teardown),
	        cmocka_unit_test_setup_teardown(keyboard_probe, setup, teardown),
	        cmocka_unit_test_setup_teardown(keyboard_reset_and_a20, setup, teardown),
	        cmocka_unit_test_setup_teardown(sweep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
