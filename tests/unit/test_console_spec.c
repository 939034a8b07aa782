/* What follows virtio-console on the command line. */
#include "vm/console_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* "BACKENDS|NAME:BACKENDS|..." of a config, or the message. */
static const char *parse(const char *config)
{
	static char text[4096];
	struct console_spec s;
	struct err e = {0};
	size_t len = 0;

	if (console_spec_parse(&s, config, &e) < 0) {
		snprintf(text, sizeof(text), "%s", e.text);
		return text;
	}
	text[0] = 0;
	for (unsigned n = 0; n < s.count; n++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s%s",
		        n         ? "|"
		        : s.stdio ? "(stdio)"
		                  : "",
		        s.port[n].name, n ? ":" : "", s.port[n].backends ? s.port[n].backends : "-");
	console_spec_free(&s);
	return text;
}

static void good(void **state)
{
	assert_string_equal(parse(""), "-");
	assert_string_equal(parse("stdio"), "(stdio)stdio");
	assert_string_equal(parse("autopty=a,log=b"), "autopty=a,log=b");
	assert_string_equal(parse("port=x,null"), "-|x:null");
	assert_string_equal(parse("log=l,port=org.qemu.guest_agent.0,unix:/s,log=t,port=B-2,stdio"),
	        "(stdio)log=l|org.qemu.guest_agent.0:unix:/s,log=t|B-2:stdio");
}

static void bad(void **state)
{
	static const char *const table[][2] = {
	        {"stido", "stido: unknown back end: did you mean stdio?"},
	        {"stdio,", "a back end is missing behind the last comma"},
	        {",stdio", "a back end is missing (-l help lists them)"},
	        {"port=", "port=: a name has 1 to 32 letters, digits and .-_"},
	        {"port=a/b,null", "port=a/b: a name has 1 to 32 letters, digits and .-_"},
	        {"port=a b,null", "port=a b: a name has 1 to 32 letters, digits and .-_"},
	        {"port=x", "port=x: a back end is missing"},
	        {"port=x,port=y,null", "port=x: a back end is missing"},
	        {"port=x,null,port=x,null", "port=x: there are two of this name"},
	        {"port=x,nul", "port=x: nul: unknown back end: did you mean null?"},
	        {"stdio,port=x,log=a,stdio", "port=x: stdio is already used by another port"},
	        {"null,null,null,null,null", "null: more than 4 back ends"},
	};
	char many[400] = "";

	for (size_t n = 0; n < ARRAY_SIZE(table); n++)
		assert_string_equal(parse(table[n][0]), table[n][1]);
	for (unsigned n = 0; n < 16; n++) {
		char word[24];

		assert_int_equal(parse(many)[0], '-'); /* as many as this are fine */
		snprintf(word, sizeof(word), "%sport=p%u,null", n ? "," : "", n);
		strcat(many, word);
	}
	assert_string_equal(parse(many), "port=p15: more than 15 ports");
	assert_string_equal(parse("port=0123456789012345678901234567890123,null"),
	        "port=0123456789012345678901234567890123: a name has 1 to 32 letters, digits and .-_");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(bad)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
