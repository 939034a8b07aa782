/* The 8259A pair on a bus. */
#include "bench.h"
#include "dev/i8259.h"

struct fix {
	struct bench b;
	struct i8259 pic;
	struct probe intr;
	struct wire in[16];
};

static void program(struct bench *b, u8 icw4)
{
	static const u16 port[2] = {0x20, 0xa0};

	for (unsigned i = 0; i < 2; i++) {
		out8(b, port[i], 0x11);
		out8(b, port[i] + 1, i ? 0x28 : 0x20);
		out8(b, port[i] + 1, i ? 2 : 4);
		out8(b, port[i] + 1, icw4);
		out8(b, port[i] + 1, 0);
	}
}

static int setup(void **state)
{
	static struct fix f;

	memset(&f, 0, sizeof(f));
	bench_init(&f.b, 0);
	assert_int_equal(
	        i8259_init(&f.pic, &(struct i8259_config){.ports = &f.b.ports, .intr = probe_wire(&f.intr)}),
	        0);
	for (unsigned i = 0; i < 16; i++)
		f.in[i] = i8259_input(&f.pic, i);
	program(&f.b, 1);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	i8259_fini(&f->pic);
	bench_fini(&f->b);
	return 0;
}

static void edge_and_eoi(void **state)
{
	struct fix *f = *state;

	assert_false(f->intr.level);
	wire_set(&f->in[4], true);
	assert_true(f->intr.level);
	assert_int_equal(in8(&f->b, 0x20), 0x10); /* IRR */
	assert_int_equal(i8259_ack(&f->pic), 0x24);
	assert_false(f->intr.level);
	assert_int_equal(in8(&f->b, 0x20), 0);
	out8(&f->b, 0x20, 0x0b);
	assert_int_equal(in8(&f->b, 0x20), 0x10); /* ISR */
	wire_set(&f->in[4], true);                /* no new edge */
	out8(&f->b, 0x20, 0x20);
	assert_int_equal(in8(&f->b, 0x20), 0);
	assert_false(f->intr.level);
	/* A pulse is remembered, also while in service. */
	wire_set(&f->in[4], false);
	wire_pulse(&f->in[4]);
	assert_int_equal(i8259_ack(&f->pic), 0x24);
	wire_pulse(&f->in[4]);
	assert_false(f->intr.level);
	out8(&f->b, 0x20, 0x64); /* specific EOI */
	assert_true(f->intr.level);
}

static void priorities(void **state)
{
	struct fix *f = *state;

	wire_pulse(&f->in[6]);
	wire_pulse(&f->in[3]);
	assert_int_equal(i8259_ack(&f->pic), 0x23);
	assert_false(f->intr.level);
	wire_pulse(&f->in[0]); /* nests */
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x20);
	out8(&f->b, 0x20, 0x20);
	assert_false(f->intr.level); /* 3 still in service */
	out8(&f->b, 0x20, 0x20);
	assert_int_equal(i8259_ack(&f->pic), 0x26);
}

static void masks_and_spurious(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x21, 0x10);
	wire_pulse(&f->in[4]);
	assert_false(f->intr.level);
	assert_int_equal(in8(&f->b, 0x21), 0x10);
	out8(&f->b, 0x21, 0);
	assert_true(f->intr.level);
	out8(&f->b, 0x21, 0x10);
	assert_false(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x27);
	out8(&f->b, 0x20, 0x0b);
	assert_int_equal(in8(&f->b, 0x20), 0); /* a spurious one is not in service */
}

static void slave(void **state)
{
	struct fix *f = *state;

	wire_pulse(&f->in[12]);
	assert_int_equal(i8259_ack(&f->pic), 0x2c);
	out8(&f->b, 0x20, 0x0b);
	out8(&f->b, 0xa0, 0x0b);
	assert_int_equal(in8(&f->b, 0x20), 0x04);
	assert_int_equal(in8(&f->b, 0xa0), 0x10);
	wire_pulse(&f->in[8]);
	assert_false(f->intr.level); /* the cascade is in service */
	out8(&f->b, 0xa0, 0x20);
	out8(&f->b, 0x20, 0x20);
	assert_int_equal(i8259_ack(&f->pic), 0x28);
	out8(&f->b, 0xa0, 0x20);
	out8(&f->b, 0x20, 0x20);
	/* Requests of lower master inputs lose against the slave. */
	wire_pulse(&f->in[3]);
	wire_pulse(&f->in[15]);
	assert_int_equal(i8259_ack(&f->pic), 0x2f);
	/* Wire 2 is the cascade and leads nowhere. */
	out8(&f->b, 0xa0, 0x20);
	out8(&f->b, 0x20, 0x20);
	assert_int_equal(i8259_ack(&f->pic), 0x23);
	out8(&f->b, 0x20, 0x20);
	wire_pulse(&f->in[2]);
	assert_false(f->intr.level);
}

static void nested_slave(void **state)
{
	struct fix *f = *state;

	program(&f->b, 0x11); /* SFNM */
	wire_pulse(&f->in[12]);
	assert_int_equal(i8259_ack(&f->pic), 0x2c);
	wire_pulse(&f->in[8]);
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x28);
}

static void auto_eoi_and_rotation(void **state)
{
	struct fix *f = *state;

	program(&f->b, 3);
	out8(&f->b, 0x20, 0x80); /* rotate in automatic EOI */
	wire_pulse(&f->in[1]);
	wire_pulse(&f->in[4]);
	assert_int_equal(i8259_ack(&f->pic), 0x21);
	out8(&f->b, 0x20, 0x0b);
	assert_int_equal(in8(&f->b, 0x20), 0);
	assert_true(f->intr.level);
	wire_pulse(&f->in[1]); /* lowest now */
	assert_int_equal(i8259_ack(&f->pic), 0x24);
	assert_int_equal(i8259_ack(&f->pic), 0x21);
	/* Set priority: 5 lowest, so 6 is highest. */
	out8(&f->b, 0x20, 0xc5);
	wire_pulse(&f->in[0]);
	wire_pulse(&f->in[6]);
	assert_int_equal(i8259_ack(&f->pic), 0x26);
}

static void rotate_on_eoi(void **state)
{
	struct fix *f = *state;

	wire_pulse(&f->in[3]);
	assert_int_equal(i8259_ack(&f->pic), 0x23);
	out8(&f->b, 0x20, 0xa0);
	wire_pulse(&f->in[3]);
	wire_pulse(&f->in[7]);
	assert_int_equal(i8259_ack(&f->pic), 0x27);
	out8(&f->b, 0x20, 0xe7); /* specific, 7 lowest again */
	assert_int_equal(i8259_ack(&f->pic), 0x23);
}

static void special_mask(void **state)
{
	struct fix *f = *state;

	wire_pulse(&f->in[1]);
	assert_int_equal(i8259_ack(&f->pic), 0x21);
	wire_pulse(&f->in[5]);
	assert_false(f->intr.level);
	out8(&f->b, 0x21, 0x02);
	out8(&f->b, 0x20, 0x68);
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x25);
	out8(&f->b, 0x20, 0x20); /* ends 5, not the masked 1 */
	out8(&f->b, 0x20, 0x0b);
	assert_int_equal(in8(&f->b, 0x20), 0x02);
	out8(&f->b, 0x20, 0x48);
	wire_pulse(&f->in[5]);
	assert_false(f->intr.level);
}

static void poll_mode(void **state)
{
	struct fix *f = *state;

	out8(&f->b, 0x20, 0x0c);
	assert_int_equal(in8(&f->b, 0x20) & 0x80, 0);
	wire_pulse(&f->in[5]);
	out8(&f->b, 0x20, 0x0c);
	assert_int_equal(in8(&f->b, 0x20), 0x85);
	assert_false(f->intr.level);
	out8(&f->b, 0x20, 0x0b);
	assert_int_equal(in8(&f->b, 0x20), 0x20);
}

static void level_triggered(void **state)
{
	struct fix *f = *state;

	out16(&f->b, 0x4d0, 0xffff);
	assert_int_equal(in16(&f->b, 0x4d0), 0xdef8); /* fixed edge inputs stay */
	wire_set(&f->in[10], true);
	assert_int_equal(i8259_ack(&f->pic), 0x2a);
	out8(&f->b, 0xa0, 0x20);
	out8(&f->b, 0x20, 0x20);
	assert_true(f->intr.level); /* the line still asks */
	wire_set(&f->in[10], false);
	assert_false(f->intr.level);
	wire_set(&f->in[5], true);
	out8(&f->b, 0x4d0, 0);
	assert_false(f->intr.level); /* no edge was seen since */
	out8(&f->b, 0x4d0, 0x20);
	assert_true(f->intr.level);
}

static void slave_request_withdrawn(void **state)
{
	struct fix *f = *state;

	out16(&f->b, 0x4d0, 0xdef8);
	wire_set(&f->in[9], true);
	assert_true(f->intr.level);
	wire_set(&f->in[9], false);
	assert_false(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x27);
}

static void init_sequence(void **state)
{
	struct fix *f = *state;

	wire_pulse(&f->in[4]);
	out8(&f->b, 0x20, 0x13); /* single, ICW4 */
	assert_false(f->intr.level);
	out8(&f->b, 0x21, 0x60);
	wire_pulse(&f->in[4]);
	assert_false(f->intr.level); /* not initialised yet */
	out8(&f->b, 0x21, 0x01);
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x64);
	out8(&f->b, 0x20, 0x10); /* cascade, no ICW4 */
	out8(&f->b, 0x21, 0x70);
	out8(&f->b, 0x21, 0x04);
	out8(&f->b, 0x21, 0xfe);
	assert_int_equal(in8(&f->b, 0x21), 0xfe);
	wire_pulse(&f->in[0]);
	assert_int_equal(i8259_ack(&f->pic), 0x70);
}

static void reset_masks(void **state)
{
	struct fix *f = *state;

	wire_pulse(&f->in[3]);
	i8259_reset(&f->pic);
	assert_false(f->intr.level);
	wire_pulse(&f->in[3]);
	assert_false(f->intr.level);
	assert_int_equal(in8(&f->b, 0x21), 0xff);
}

static void sweep(void **state)
{
	struct fix *f = *state;

	bench_sweep(&f->b.ports, 0x20, 2);
	bench_sweep(&f->b.ports, 0xa0, 2);
	bench_sweep(&f->b.ports, 0x4d0, 2);
	/* The pair works after being brought back from whatever that left. */
	program(&f->b, 1);
	out8(&f->b, 0x20, 0x48);
	out16(&f->b, 0x4d0, 0);
	wire_pulse(&f->in[1]);
	assert_int_equal(i8259_ack(&f->pic), 0x21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(edge_and_eoi, setup, teardown),
	        cmocka_unit_test_setup_teardown(priorities, setup, teardown),
	        cmocka_unit_test_setup_teardown(masks_and_spurious, setup, teardown),
	        cmocka_unit_test_setup_teardown(slave, setup, teardown),
	        cmocka_unit_test_setup_teardown(nested_slave, setup, teardown),
	        cmocka_unit_test_setup_teardown(auto_eoi_and_rotation, setup, teardown),
	        cmocka_unit_test_setup_teardown(rotate_on_eoi, setup, teardown),
	        cmocka_unit_test_setup_teardown(special_mask, setup, teardown),
	        cmocka_unit_test_setup_teardown(poll_mode, setup, teardown),
	        cmocka_unit_test_setup_teardown(level_triggered, setup, teardown),
	        cmocka_unit_test_setup_teardown(slave_request_withdrawn, setup, teardown),
	        cmocka_unit_test_setup_teardown(init_sequence, setup, teardown),
	        cmocka_unit_test_setup_teardown(reset_masks, setup, teardown),
	        cmocka_unit_test_setup_teardown(sweep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
