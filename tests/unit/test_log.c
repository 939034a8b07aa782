/* Messages and errors: what really leaves on stderr, by way of a pipe. */
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static int saved_stderr, pipe_out;

static void capture_start(void)
{
	int p[2];

	assert_int_equal(pipe2(p, O_NONBLOCK), 0);
	fcntl(p[0], F_SETPIPE_SZ, 1 << 20);
	saved_stderr = dup(STDERR_FILENO);
	dup2(p[1], STDERR_FILENO);
	close(p[1]);
	pipe_out = p[0];
}

/* Ends the capture; the text since its start. */
static char *capture_end(void)
{
	size_t cap = 1 << 20;
	char *text = malloc(cap);
	size_t len = 0;
	ssize_t n;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	while ((n = read(pipe_out, text + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	close(pipe_out);
	text[len] = 0;
	return text;
}

static void test_lines(void **state)
{
	char *text;

	capture_start();
	errno = ENOENT;
	log_warn("disk %d: %s", 3, "slow");
	assert_int_equal(errno, ENOENT);
	log_debug("not at this level");
	log_set_raw(true);
	log_error("raw");
	log_set_raw(false);
	log_set_level(LOG_ERROR);
	log_warn("no");
	log_error("yes");
	log_set_level(LOG_INFO);
	text = capture_end();
	assert_string_equal(text, "xhyve: disk 3: slow\nxhyve: raw\r\nxhyve: yes\n");
	free(text);
}

static void test_long_line(void **state)
{
	char big[5000], *text;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	capture_start();
	log_info("%s", big);
	text = capture_end();
	assert_true(strlen(text) > 900 && strlen(text) < 1100);
	assert_int_equal(text[strlen(text) - 1], '\n');
	free(text);
}

static void test_limited(void **state)
{
	struct log_limit limit = {0};
	char *text, *p;
	unsigned lines = 0;

	capture_start();
	for (int i = 0; i < 1000; i++)
		log_limited(&limit, "guest does it again");
	text = capture_end();
	for (p = text; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 11);
	assert_non_null(strstr(text, "(no more messages of this kind)\n"));
	free(text);
}

static void *talk(void *opaque)
{
	for (int i = 0; i < 300; i++)
		log_info("%s", (const char *)opaque);
	return NULL;
}

/* Lines of four threads do not mix. */
static void test_threads(void **state)
{
	static const char *const words[] = {
	        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccccccccccccccc", "d"};
	pthread_t t[4];
	unsigned count[4] = {0};
	char *text, *line, *save;

	capture_start();
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, talk, (void *)(uintptr_t)words[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	text = capture_end();
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int i = 0;

		assert_memory_equal(line, "xhyve: ", 7);
		while (i < 4 && strcmp(line + 7, words[i]) != 0)
			i++;
		assert_in_range(i, 0, 3);
		count[i]++;
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(count[i], 300);
	free(text);
}

static void hook(void)
{
	if (write(STDERR_FILENO, "[restored]", 10) < 0)
		_exit(9);
}

static void test_bug(void **state)
{
	char *text;
	int status;
	pid_t pid;

	capture_start();
	pid = fork();
	if (pid == 0) {
		log_set_abort_hook(hook);
		BUG_ON(pid == 0);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	text = capture_end();
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_memory_equal(text, "[restored]xhyve: bug at ", 24);
	assert_non_null(strstr(text, "test_log.c:"));
	assert_non_null(strstr(text, ": pid == 0\n"));
	free(text);
}

static void test_err(void **state)
{
	struct err e = {0};
	char big[2000];

	assert_int_equal(err_set(&e, -EIO, "part %d of %s", 2, "a\x1b[1mb\n"), -EIO);
	assert_int_equal(e.code, -EIO);
	assert_int_equal(e.status, EXIT_FAILED);
	assert_string_equal(e.text, "part 2 of a?[1mb?");
	assert_int_equal(err_errno(&e, -ENOENT, "kernel %s", "x"), -ENOENT);
	assert_string_equal(e.text, "kernel x: No such file or directory");
	assert_int_equal(err_usage(&e, "-c %d", 0), -EINVAL);
	assert_int_equal(e.status, EXIT_BADUSE);
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	err_errno(&e, -ENOENT, "%s", big);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_lines),
	        cmocka_unit_test(test_long_line),
	        cmocka_unit_test(test_limited),
	        cmocka_unit_test(test_threads),
	        cmocka_unit_test(test_bug),
	        cmocka_unit_test(test_err),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
