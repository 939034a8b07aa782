/*
 * xhyve-ctl: one command to a running machine's control socket, its reply to standard output.
 */
#include "base/unixname.h"
#include "vm/control_list.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING "xhyve-control 1\n"
#define LINE_MAX_BYTES 4096

enum { CTL_OK, CTL_REFUSED = 1, CTL_FAILED = 4, CTL_BADUSE = 64 };

static const struct {
	const char *name, *arguments, *text;
} commands[] = {
#define ENTRY(name, arguments, text) {#name, arguments, text},
        CONTROL_COMMANDS(ENTRY)
#undef ENTRY
};

static int help(void)
{
	fputs("usage: xhyve-ctl SOCKET COMMAND [ARGUMENT...]\n\n"
	      "Sends a command to the machine that xhyve --control=unix:SOCKET runs.\n\n",
	        stdout);
	for (size_t n = 0; n < ARRAY_SIZE(commands); n++)
		printf("  %-6s %-15s %s\n", commands[n].name, commands[n].arguments, commands[n].text);
	fputs("\nDEVICE is a slot as in -s (S, S:F or B:S:F), or cd, net or disk where there is only one.\n"
	      "exit status: 0 done, 1 the machine refused, 4 no connection, 64 bad command line\n",
	        stdout);
	return fflush(stdout) == 0 ? CTL_OK : CTL_FAILED;
}

static int usage(const char *fmt, const char *word)
{
	fputs("xhyve-ctl: ", stderr);
	fprintf(stderr, fmt, word);
	fputs("; xhyve-ctl --help says more\n", stderr);
	return CTL_BADUSE;
}

static int failed(const char *what, const char *why)
{
	fprintf(stderr, "xhyve-ctl: %s: %s\n", what, why);
	return CTL_FAILED;
}

/* --- the line --- */

static bool append(char *line, const char *word)
{
	size_t used = strlen(line);

	if (used + strlen(word) + 2 > LINE_MAX_BYTES)
		return false;
	strcpy(line + used, word);
	return true;
}

/* The machine may run in another directory. */
static bool append_path(char *line, const char *path)
{
	char *here;
	bool ok;

	if (path[0] == '/')
		return append(line, path);
	here = getcwd(NULL, 0);
	ok = here && append(line, here) && append(line, "/") && append(line, path);
	free(here);
	return ok;
}

static int make_line(char *line, int argc, char **argv)
{
	*line = 0;
	for (int n = 0; n < argc; n++) {
		bool path = n == 2 && strcmp(argv[0], "insert") == 0;

		if (strchr(argv[n], '\n'))
			return usage("an argument of %s holds a line break", argv[0]);
		if ((n && !append(line, " ")) || !(path ? append_path(line, argv[n]) : append(line, argv[n])))
			return usage("the arguments of %s are too long", argv[0]);
	}
	append(line, "\n");
	return CTL_OK;
}

/* --- the connection --- */

static FILE *connect_to(const char *path)
{
	struct unix_name name = {0};
	int fd;

	if (strncmp(path, "unix:", 5) == 0)
		path += 5;
	if (!unix_name_set(&name, path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	if (connect(fd, (const struct sockaddr *)&name.addr, sizeof(name.addr)) < 0) {
		int why = errno;

		close(fd);
		errno = why;
		return NULL;
	}
	return fdopen(fd, "r+");
}

/* Data lines go to standard output; the last line says how it went. */
static int print_reply(FILE *f, const char *socket)
{
	char *line = NULL;
	size_t room = 0;
	int status = -1;

	while (status < 0 && getline(&line, &room, f) > 0) {
		if (strncmp(line, "= ", 2) == 0)
			fputs(line + 2, stdout);
		else if (strcmp(line, "ok\n") == 0)
			status = CTL_OK;
		else if (strncmp(line, "error ", 6) == 0)
			status = CTL_REFUSED;
		else
			status = CTL_FAILED;
	}
	if (status == CTL_REFUSED)
		fprintf(stderr, "xhyve-ctl: %s", line + 6);
	free(line);
	if (status < 0 || status == CTL_FAILED)
		return failed(socket, "the connection ended before the reply");
	return fflush(stdout) == 0 ? status : failed("standard output", strerror(errno));
}

static int talk(const char *socket, const char *line)
{
	char greeting[64];
	FILE *f = connect_to(socket);
	int status;

	if (!f)
		return failed(socket, strerror(errno));
	if (!fgets(greeting, sizeof(greeting), f) || strcmp(greeting, GREETING) != 0) {
		fclose(f);
		return failed(socket, "this is not the control socket of an xhyve that this program knows");
	}
	/* A stream that was read must be told before it is written. */
	fseek(f, 0, SEEK_CUR);
	if (fputs(line, f) < 0 || fflush(f) < 0)
		status = failed(socket, strerror(errno));
	else
		status = print_reply(f, socket);
	fclose(f);
	return status;
}

int main(int argc, char **argv)
{
	char line[LINE_MAX_BYTES];
	int status;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return help();
	if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0))
		return printf("xhyve-ctl %s\n", XHYVE_VERSION) > 0 ? CTL_OK : CTL_FAILED;
	if (argc > 1 && argv[1][0] == '-')
		return usage("%s: unknown option", argv[1]);
	if (argc < 2)
		return usage("names no %s", "socket");
	if (argc < 3)
		return usage("names no command for %s", argv[1]);
	signal(SIGPIPE, SIG_IGN);
	status = make_line(line, argc - 2, argv + 2);
	return status ? status : talk(argv[1], line);
}
