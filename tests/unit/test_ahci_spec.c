/*
 * What -s says about SATA controllers: drives in their order, and strings that are refused with the reason.
 */
#include "vm/ahci_spec.h"

#include "dev/ahci.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* "h PATH" or "c PATH" for each drive, and its size, with blanks between. */
static void assert_drives(enum ahci_kind kind, const char *config, const char *want)
{
	char got[512] = "";
	const char *rest = config;
	struct ahci_drive_spec d;
	unsigned drives, n = 0;
	struct err e;

	assert_int_equal(ahci_spec_check(kind, config, &drives, &e), 0);
	for (; rest; n++) {
		size_t len = strlen(got);

		assert_int_equal(ahci_spec_next(&d, kind, &rest, &e), 0);
		assert_int_equal(d.empty, d.image.path[0] == 0);
		assert_true(d.image.ro || d.empty || !d.cd);
		snprintf(got + len, sizeof(got) - len, "%s%c:%.40s:%llu", len ? " " : "", d.cd ? 'c' : 'h',
		        d.image.path, (unsigned long long)d.image.size);
	}
	assert_int_equal(n, drives);
	assert_string_equal(got, want);
}

static void drives(void **state)
{
	assert_drives(AHCI_DISK, "a.img", "h:a.img:0");
	assert_drives(AHCI_DISK, "a.img,size=1M,sparse", "h:a.img:1048576");
	assert_drives(AHCI_DISK, "cd:x", "h:cd:x:0");
	assert_drives(AHCI_CD, "", "c::0");
	assert_drives(AHCI_CD, "a.iso,serial=x", "c:a.iso:0");
	assert_drives(AHCI_DRIVES, "hd:a", "h:a:0");
	assert_drives(AHCI_DRIVES, "cd:", "c::0");
	assert_drives(AHCI_DRIVES,
	        "hd:/a/b.img,size=4k,ro,cd:,cd:c d.iso,hd:hd:", "h:/a/b.img:4096 c::0 c:c d.iso:0 h:hd::0");
}

static void assert_refused(enum ahci_kind kind, const char *config, const char *why)
{
	unsigned drives;
	struct err e = {0};

	assert_int_equal(ahci_spec_check(kind, config, &drives, &e), -EINVAL);
	assert_int_equal(e.status, EXIT_BADUSE);
	assert_non_null(strstr(e.text, why));
}

static void mistakes(void **state)
{
	char many[512] = "cd:";

	assert_refused(AHCI_DISK, "", "needs the path");
	assert_refused(AHCI_DISK, "a,sectorsize=8192", "up to 4096 bytes");
	assert_refused(AHCI_DISK, "a,szie=1M", "did you mean \"size\"");
	assert_refused(AHCI_CD, "a.iso,", "empty disk option");
	assert_refused(AHCI_DRIVES, "", "hd:PATH or cd:PATH");
	assert_refused(AHCI_DRIVES, "a.img", "hd:PATH or cd:PATH");
	assert_refused(AHCI_DRIVES, "hd:", "needs the path");
	assert_refused(AHCI_DRIVES, "cd:a,hd:,cd:b", "needs the path");
	assert_refused(AHCI_DRIVES, "hd:a,xd:b", "xd:b");
	assert_refused(AHCI_DRIVES, "cd:a,", "empty disk option");
	for (unsigned n = 1; n < AHCI_PORTS_MAX; n++)
		strcat(many, ",cd:");
	assert_drives(AHCI_DRIVES, "cd:,cd:", "c::0 c::0");
	assert_int_equal(ahci_spec_check(AHCI_DRIVES, many, &(unsigned){0}, &(struct err){0}), 0);
	strcat(many, ",cd:");
	assert_refused(AHCI_DRIVES, many, "at most 32 ports");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(drives), cmocka_unit_test(mistakes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
