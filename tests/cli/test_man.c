/*
 * The man page and the option table say the same: every option of the table has its entry in the
 * list of options, with the right sort of argument, and every entry is an option. usage: test_man PAGE
 */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char *page;

/* The list of options: from its heading to the next one. */
static char *options_section(void)
{
	char *start = strstr(page, "\n.Ss Options\n"), *end;

	assert_non_null(start);
	end = strstr(start + 1, "\n.Ss ");
	assert_non_null(end);
	return strndup(start, (size_t)(end + 1 - start));
}

/* "-A", "--accel" as they stand behind .It Fl: the words "A" and "-accel". */
static bool entry_names(const char *entry, const struct cli_option *o)
{
	char word[64];
	const char *rest = entry;

	for (int n; sscanf(rest, " %63[^ ,]%n", word, &n) == 1; rest += n + strspn(rest + n, " ,")) {
		if (o->letter && word[0] == o->letter && !word[1])
			return true;
		if (o->name && word[0] == '-' && strcmp(word + 1, o->name) == 0)
			return true;
		if (strcmp(word, "Ar") == 0 || strcmp(word, "No") == 0 || strcmp(word, "Ns") == 0)
			break;
	}
	return false;
}

static bool has_argument(const char *entry)
{
	return strstr(entry, " Ar ") != NULL;
}

typedef void (*visit)(const char *entry, void *opaque);

static void for_each_entry(visit fn, void *opaque)
{
	char *text = options_section(), *save, *line;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, ".It Fl ", 7) == 0)
			fn(line + 7, opaque);
	}
	free(text);
}

struct search {
	const struct cli_option *o;
	unsigned found;
};

static void count_matches(const char *entry, void *opaque)
{
	struct search *s = opaque;

	if (!entry_names(entry, s->o))
		return;
	s->found++;
	if (has_argument(entry) != (s->o->arg != NULL))
		fail_msg("man page: %s: argument: the option table says %s", entry, s->o->arg ? "yes" : "no");
}

static void test_table_in_page(void **state)
{
	for (size_t i = 0; cli_option(i); i++) {
		struct search s = {.o = cli_option(i)};

		for_each_entry(count_matches, &s);
		if (s.found != 1)
			fail_msg("man page: %u entries for -%c %s", s.found, s.o->letter ? s.o->letter : '-',
			        s.o->name ? s.o->name : "");
	}
}

static void must_be_option(const char *entry, void *opaque)
{
	for (size_t i = 0; cli_option(i); i++) {
		if (entry_names(entry, cli_option(i)))
			return;
	}
	fail_msg("man page: \"%s\" is no option", entry);
}

static void test_page_in_table(void **state)
{
	for_each_entry(must_be_option, NULL);
}

/* Both names of an option that has two. */
static void check_both(const char *entry, void *opaque)
{
	for (size_t i = 0; cli_option(i); i++) {
		const struct cli_option *o = cli_option(i);
		const struct cli_option letter = {.letter = o->letter}, name = {.name = o->name};

		if (!o->letter || !o->name || !entry_names(entry, o))
			continue;
		assert_true(entry_names(entry, &letter));
		assert_true(entry_names(entry, &name));
	}
}

static void test_both_names(void **state)
{
	for_each_entry(check_both, NULL);
}

static char *read_page(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 18);

	if (!f || !text || fread(text, 1, (1 << 18) - 1, f) == 0) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	fclose(f);
	return text;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_table_in_page),
	        cmocka_unit_test(test_page_in_table),
	        cmocka_unit_test(test_both_names),
	};
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: test_man PAGE\n");
		return 2;
	}
	page = read_page(argv[1]);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	free(page);
	return r;
}
