/*
 * Pid files: created, refused while their process lives, replaced when it is gone, and never at the
 * cost of somebody's file.
 */
#include "cli/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64];

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void expect(const char *path, const char *text)
{
	char buf[64];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_true(n >= 0);
	close(fd);
	buf[n] = 0;
	assert_string_equal(buf, text);
}

static void expect_own(const char *path)
{
	char own[32];

	snprintf(own, sizeof(own), "%d\n", (int)getpid());
	expect(path, own);
}

static void expect_refused(const char *path, const char *message)
{
	struct pidfile p;
	struct err e = {0};

	assert_int_equal(pidfile_create(&p, path, &e), -EEXIST);
	assert_string_equal(e.text, message);
	assert_int_equal(p.fd, -1);
	pidfile_remove(&p); /* harmless */
}

/* A process id that nobody has. */
static pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

static void test_create_remove(void **state)
{
	struct pidfile p;
	struct err e = {0};
	struct stat st;

	assert_int_equal(pidfile_create(&p, "pid", &e), 0);
	expect_own("pid");
	assert_int_equal(stat("pid", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	pidfile_remove(&p);
	assert_int_equal(access("pid", F_OK), -1);
	pidfile_remove(&p);
}

static void test_stale(void **state)
{
	struct pidfile p;
	struct err e = {0};
	char text[32];

	snprintf(text, sizeof(text), "%d\n", (int)dead_pid());
	put("pid", text);
	assert_int_equal(pidfile_create(&p, "pid", &e), 0);
	expect_own("pid");
	pidfile_remove(&p);
	/* Its writer died before it wrote; and our own number from before a restart of a container. */
	put("pid", "");
	assert_int_equal(pidfile_create(&p, "pid", &e), 0);
	pidfile_remove(&p);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	put("pid", text);
	assert_int_equal(pidfile_create(&p, "pid", &e), 0);
	expect_own("pid");
	pidfile_remove(&p);
}

static void test_refused(void **state)
{
	char text[32], message[128];

	snprintf(text, sizeof(text), "%d\n", (int)getppid());
	put("pid", text);
	snprintf(message, sizeof(message), "-F pid: names process %d, which is alive", (int)getppid());
	expect_refused("pid", message);
	expect("pid", text);
	put("pid", "my notes\n");
	expect_refused("pid", "-F pid: exists and is not a pid file");
	expect("pid", "my notes\n");
	put("pid", "-1\n");
	expect_refused("pid", "-F pid: exists and is not a pid file");
	put("pid", "99999999999999999999\n");
	expect_refused("pid", "-F pid: exists and is not a pid file");
	unlink("pid");
	expect_refused(".", "-F .: exists and is not a regular file");
}

/* While one process has the file, another is refused by the lock. */
static void test_in_use(void **state)
{
	struct pidfile p;
	struct err e = {0};
	char message[128];
	int status;
	pid_t pid;

	assert_int_equal(pidfile_create(&p, "pid", &e), 0);
	snprintf(message, sizeof(message), "-F pid: in use by process %d", (int)getpid());
	pid = fork();
	if (pid == 0) {
		struct pidfile q;

		if (pidfile_create(&q, "pid", &e) != -EEXIST || strcmp(e.text, message) != 0)
			_exit(1);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	expect_own("pid");
	pidfile_remove(&p);
}

/* Of many that start at once with a stale file, one gets it. */
static void test_race(void **state)
{
	enum { STARTERS = 16 };
	pid_t child[STARTERS];
	char text[32];
	int go[2], done[2], winners = 0;

	snprintf(text, sizeof(text), "%d\n", (int)dead_pid());
	put("pid", text);
	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(done), 0);
	for (int i = 0; i < STARTERS; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			struct pidfile p;
			struct err e;
			char c;

			close(go[1]);
			close(done[0]);
			if (read(go[0], &c, 1) != 0)
				_exit(2);
			c = pidfile_create(&p, "pid", &e) == 0 ? 'w' : 'l';
			if (write(done[1], &c, 1) != 1)
				_exit(3);
			pause(); /* a winner stays until all have tried */
		}
	}
	close(go[0]);
	close(go[1]);
	for (int i = 0; i < STARTERS; i++) {
		char c;

		assert_int_equal(read(done[0], &c, 1), 1);
		winners += c == 'w';
	}
	assert_int_equal(winners, 1);
	for (int i = 0; i < STARTERS; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
	unlink("pid");
	close(done[0]);
	close(done[1]);
}

/* The file was replaced under us: it is not ours to remove. */
static void test_replaced(void **state)
{
	struct pidfile p;
	struct err e = {0};

	assert_int_equal(pidfile_create(&p, "pid", &e), 0);
	unlink("pid");
	put("pid", "1\n");
	pidfile_remove(&p);
	expect("pid", "1\n");
	unlink("pid");
}

static void test_impossible(void **state)
{
	struct pidfile p;
	struct err e = {0};

	assert_int_equal(pidfile_create(&p, "no/such/dir/pid", &e), -ENOENT);
	assert_string_equal(
	        e.text, "-F no/such/dir/pid: cannot create the pid file: No such file or directory");
	assert_int_equal(e.status, EXIT_FAILED);
}

static int enter_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/xhyve-pid-XXXXXX");
	return !mkdtemp(dir) || chdir(dir) < 0 ? -1 : 0;
}

static int leave_dir(void **state)
{
	return chdir("/") || rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_create_remove),
	        cmocka_unit_test(test_stale),
	        cmocka_unit_test(test_refused),
	        cmocka_unit_test(test_in_use),
	        cmocka_unit_test(test_race),
	        cmocka_unit_test(test_replaced),
	        cmocka_unit_test(test_impossible),
	};

	return cmocka_run_group_tests(tests, enter_dir, leave_dir);
}
