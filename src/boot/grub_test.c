/*
 * GRUB's test command: comparisons, files, -a, -o, ! and parentheses. What it cannot read is false.
 */
#include "boot/grub_int.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

struct test {
	struct grub *g;
	const char *const *word;
	unsigned n, at, depth;
	int rc;
};

static bool any_of(struct test *t);

static const char *peek(const struct test *t, unsigned ahead)
{
	return t->at + ahead < t->n ? t->word[t->at + ahead] : NULL;
}

static bool file_test(struct test *t, char what, const char *path)
{
	struct menu_file f;
	struct fs_node n;

	if (t->g->lookups++ >= GRUB_LOOKUPS_MAX || (t->rc = grub_file(t->g, path, &f)) < 0)
		return false;
	if (!f.volume || !f.volume->fs || fs_find(f.volume->fs, f.path, true, &n) < 0)
		return false;
	switch (what) {
	case 'd': return n.type == FS_DIR;
	case 'f': return n.type == FS_FILE;
	case 's': return n.type == FS_FILE && n.size;
	default: return true;
	}
}

static int compare_numbers(const char *a, const char *b)
{
	long long x = strtoll(a, NULL, 0), y = strtoll(b, NULL, 0);

	return x < y ? -1 : x > y;
}

/* 1, 0, or -1: no such operator. */
static int compare(const char *a, const char *op, const char *b)
{
	static const struct {
		const char *op;
		bool numbers, less, equal, greater;
	} ops[] = {
	        {"=", false, false, true, false},
	        {"==", false, false, true, false},
	        {"!=", false, true, false, true},
	        {"<", false, true, false, false},
	        {"<=", false, true, true, false},
	        {">", false, false, false, true},
	        {">=", false, false, true, true},
	        {"-eq", true, false, true, false},
	        {"-ne", true, true, false, true},
	        {"-lt", true, true, false, false},
	        {"-le", true, true, true, false},
	        {"-gt", true, false, false, true},
	        {"-ge", true, false, true, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		int c;

		if (strcmp(op, ops[i].op) != 0)
			continue;
		c = ops[i].numbers ? compare_numbers(a, b) : strcmp(a, b);
		return c < 0 ? ops[i].less : c > 0 ? ops[i].greater : ops[i].equal;
	}
	return -1;
}

static bool unary(struct test *t, const char *op)
{
	const char *arg = peek(t, 1);

	t->at += 2;
	if (op[1] == 'z' || op[1] == 'n')
		return !*arg == (op[1] == 'z');
	return file_test(t, op[1], arg);
}

static bool primary(struct test *t)
{
	const char *a = peek(t, 0), *op = peek(t, 1), *b = peek(t, 2);
	int c = op && b ? compare(a, op, b) : -1;

	if (c >= 0) {
		t->at += 3;
		return c;
	}
	if (a[0] == '-' && strchr("znfdse", a[1]) && a[1] && !a[2] && op)
		return unary(t, a);
	t->at++;
	return *a;
}

static bool factor(struct test *t)
{
	const char *a = peek(t, 0);
	bool v;

	if (!a || t->depth == GRUB_NEST_MAX)
		return false;
	if (strcmp(a, "!") == 0 && peek(t, 1)) {
		t->at++;
		t->depth++;
		v = !factor(t);
		t->depth--;
		return v;
	}
	if (strcmp(a, "(") == 0) {
		t->at++;
		t->depth++;
		v = any_of(t);
		t->depth--;
		t->at += peek(t, 0) && strcmp(peek(t, 0), ")") == 0;
		return v;
	}
	return primary(t);
}

static bool all_of(struct test *t)
{
	bool v = factor(t);

	while (peek(t, 0) && strcmp(peek(t, 0), "-a") == 0) {
		t->at++;
		v &= factor(t);
	}
	return v;
}

static bool any_of(struct test *t)
{
	bool v = all_of(t);

	while (peek(t, 0) && strcmp(peek(t, 0), "-o") == 0) {
		t->at++;
		v |= all_of(t);
	}
	return v;
}

int grub_test(struct grub *g, const char *const *word, unsigned n, bool *result)
{
	struct test t = {.g = g, .word = word, .n = n};

	*result = any_of(&t);
	return t.rc;
}
