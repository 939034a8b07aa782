/*
 * The program as a whole, with a machine that ends at once (fake_vm.c): what is printed where, the
 * exit status, and the pid file. usage: test_main PROGRAM
 */
#include "base/types.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char program[4096], dir[64];

struct result {
	int status;
	char out[8192], err[8192];
};

static void slurp(FILE *f, char *buf, size_t size)
{
	rewind(f);
	buf[fread(buf, 1, size - 1, f)] = 0;
	fclose(f);
}

/* Runs sh -c "PROGRAM ARGS"; args may redirect. */
static void run(struct result *r, const char *args)
{
	FILE *out = tmpfile(), *err = tmpfile();
	char command[8192];
	int status;
	pid_t pid;

	snprintf(command, sizeof(command), "'%s' %s", program, args);
	pid = fork();
	if (pid == 0) {
		dup2(fileno(out), 1);
		dup2(fileno(err), 2);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	r->status = WEXITSTATUS(status);
	slurp(out, r->out, sizeof(r->out));
	slurp(err, r->err, sizeof(r->err));
}

static void expect(const char *args, int status, const char *out, const char *err)
{
	struct result r;

	run(&r, args);
	if (r.status != status || (out && strcmp(r.out, out) != 0) || (err && strcmp(r.err, err) != 0))
		fail_msg("%s: status %d\nout: %s\nerr: %s", args, r.status, r.out, r.err);
}

static void test_status(void **state)
{
	expect("-f kexec,status-0", 0, "", "");
	expect("-f kexec,status-1", 1, "", "");
	expect("-f kexec,status-2", 2, "", "");
	expect("-f kexec,status-3", 3, "", "");
	expect("-f kexec,status-4", 4, "", "");
	expect("-f kexec,status-100", 100, "", "");
	expect("-f kexec,fails", 4, "", "xhyve: kernel fails: No such file or directory\n");
}

static void test_bad_use(void **state)
{
	expect("-c 0 -F pid -f kexec,status-0", 64, "", "xhyve: -c 0: number of CPUs must be 1 to 16\n");
	expect("-F pid", 64, "",
	        "xhyve: no kernel: give -f kexec,KERNEL[,INITRD[,CMDLINE]], -f iso or -f disk (xhyve -h "
	        "lists the options)\n");
	expect("-s 2,virito-net -f kexec,k", 64, "",
	        "xhyve: -s 2,virito-net: unknown device: did you mean virtio-net? (-s help lists them)\n");
}

static void test_prints(void **state)
{
	struct result r;

	run(&r, "--help");
	assert_int_equal(r.status, 0);
	assert_memory_equal(r.out, "usage: xhyve ", 13);
	assert_string_equal(r.err, "");
	expect("-v", 0, "xhyve " XHYVE_VERSION "\n  accelerator fake\n", "");
	run(&r, "-s help");
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "hostbridge"));
	run(&r, "-l help");
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "stdio"));
	/* A full disk is no success. */
	run(&r, "--help >/dev/full");
	assert_int_equal(r.status, 4);
	assert_non_null(strstr(r.err, "cannot write to standard output"));
}

static void test_pidfile(void **state)
{
	expect("-F pid -f kexec,pidfile", 0, "", "");
	expect("-F pid -f kexec,fails", 4, "", "xhyve: kernel fails: No such file or directory\n");
	expect("-F no/pid -f kexec,status-0", 4, "",
	        "xhyve: -F no/pid: cannot create the pid file: No such file or directory\n");
}

static void test_closed_descriptors(void **state)
{
	expect("-f kexec,fds <&-", 0, "", "");
	expect("-f kexec,fds <&- >&- 2>&-", 0, "", "");
}

/* Whatever happened above, nothing is left in the directory. */
static void test_nothing_left(void **state)
{
	DIR *d = opendir(".");
	struct dirent *entry;

	while ((entry = readdir(d)) != NULL)
		assert_int_equal(entry->d_name[0], '.');
	closedir(d);
}

static int enter_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/xhyve-main-XXXXXX");
	return !mkdtemp(dir) || chdir(dir) < 0 ? -1 : 0;
}

static int leave_dir(void **state)
{
	return chdir("/") || rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_status),
	        cmocka_unit_test(test_bad_use),
	        cmocka_unit_test(test_prints),
	        cmocka_unit_test(test_pidfile),
	        cmocka_unit_test(test_closed_descriptors),
	        cmocka_unit_test(test_nothing_left),
	};

	if (argc != 2 || !realpath(argv[1], program)) {
		fprintf(stderr, "usage: test_main PROGRAM\n");
		return 2;
	}
	return cmocka_run_group_tests(tests, enter_dir, leave_dir);
}
