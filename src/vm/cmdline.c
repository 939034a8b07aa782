/*
 * The words of a Linux kernel's command line.
 */
#include "vm/cmdline.h"

#include <string.h>

const char *cmdline_word(const char **rest, size_t *len)
{
	const char *s = *rest + strspn(*rest, " \t\n"), *p;
	bool quoted = false;

	for (p = s; *p && (quoted || !strchr(" \t\n", *p)); p++)
		quoted ^= *p == '"';
	*rest = p;
	*len = (size_t)(p - s);
	return *len ? s : NULL;
}

char *cmdline_last(const char *cmdline, const char *name)
{
	size_t len, skip = strlen(name), found_len = 0;
	const char *found = NULL;

	for (const char *w; (w = cmdline_word(&cmdline, &len));) {
		if (len <= skip || strncmp(w, name, skip) != 0 || w[skip] != '=')
			continue;
		found = w + skip + 1;
		found_len = len - skip - 1;
	}
	return found ? strndup(found, found_len) : NULL;
}

/* tty, tty0 to tty63 */
static bool is_screen(const char *device, size_t len)
{
	return len >= 3 && strncmp(device, "tty", 3) == 0 &&
	       (len == 3 || (device[3] >= '0' && device[3] <= '9'));
}

bool cmdline_has_console(const char *cmdline, const char *device)
{
	size_t len;

	for (const char *w; (w = cmdline_word(&cmdline, &len));) {
		const char *name = w + 8;
		size_t n;

		if (len < 8 || strncmp(w, "console=", 8) != 0)
			continue;
		for (n = 0; n < len - 8 && name[n] != ','; n++)
			;
		if (device ? n == strlen(device) && strncmp(name, device, n) == 0 : n && !is_screen(name, n))
			return true;
	}
	return false;
}
