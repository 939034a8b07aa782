/*
 * Words of a kernel's command line: which console= and root= count.
 */
#include "vm/cmdline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void consoles(void **state)
{
	static const struct {
		const char *cmdline;
		bool any, s0, hvc;
	} cases[] = {
	        {"", false, false, false},
	        {"quiet console=ttyS0", true, true, false},
	        {"console=ttyS0,115200n8 ro", true, true, false},
	        {"console=ttyS1", true, false, false},
	        {"console=ttyS01", true, false, false},
	        {"console=tty0 console=hvc0", true, false, true},
	        {"console=tty0", false, false, false},
	        {"console=tty", false, false, false},
	        {"console=tty1,9600", false, false, false},
	        {"console=", false, false, false},
	        {"console", false, false, false},
	        {"netconsole=ttyS0 x.console=ttyS0", false, false, false},
	        {"a=\"b console=ttyS0\" c", false, false, false},
	        {"a=\"b c\" console=ttyS0", true, true, false},
	        {"a\tconsole=ttyS0\n", true, true, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(cmdline_has_console(cases[i].cmdline, NULL), cases[i].any);
		assert_int_equal(cmdline_has_console(cases[i].cmdline, "ttyS0"), cases[i].s0);
		assert_int_equal(cmdline_has_console(cases[i].cmdline, "hvc0"), cases[i].hvc);
	}
}

static void expect_root(const char *cmdline, const char *want)
{
	char *got = cmdline_last(cmdline, "root");

	assert_int_equal(!got, !want);
	if (want)
		assert_string_equal(got, want);
	free(got);
}

static void roots(void **state)
{
	expect_root("", NULL);
	expect_root("root ro", NULL);
	expect_root("rootwait rootfstype=ext4", NULL);
	expect_root("root=/dev/vda1 ro root=UUID=7", "UUID=7");
	expect_root("ro root=", "");
	expect_root("root=\"LABEL=a b\" x", "\"LABEL=a b\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(consoles),
	        cmocka_unit_test(roots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
