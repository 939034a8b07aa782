/*
 * The configuration of a virtio console, see console_spec.h.
 */
#include "vm/console_spec.h"

#include "console/console.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char port_word[] = "port=";

/* What udev makes a file name of without quoting. */
static bool name_fits(const char *name, size_t len)
{
	static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";

	return len > 0 && len <= VIRTIO_CONSOLE_NAME && strspn(name, good) >= len;
}

static int new_port(struct console_spec *s, const char *name, size_t len, struct err *e)
{
	struct console_port_spec *p;

	if (!name_fits(name, len))
		return err_usage(e, "port=%.*s: a name has 1 to %u letters, digits and .-_",
		        (int)MIN(len, 60u), name, VIRTIO_CONSOLE_NAME);
	for (unsigned n = 1; n < s->count; n++)
		if (strlen(s->port[n].name) == len && memcmp(s->port[n].name, name, len) == 0)
			return err_usage(e, "port=%.*s: there are two of this name", (int)len, name);
	if (s->count == VIRTIO_CONSOLE_PORTS)
		return err_usage(
		        e, "port=%.*s: more than %u ports", (int)len, name, VIRTIO_CONSOLE_PORTS - 1);
	p = &s->port[s->count++];
	*p = (struct console_port_spec){0};
	memcpy(p->name, name, len);
	return 0;
}

static int add_backend(struct console_port_spec *p, const char *word, size_t len, struct err *e)
{
	char *all;

	if (asprintf(&all, "%s%s%.*s", p->backends ? p->backends : "", p->backends ? "," : "", (int)len,
	            word) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	free(p->backends);
	p->backends = all;
	return 0;
}

static int parse_words(struct console_spec *s, const char *config, struct err *e)
{
	const size_t prefix = strlen(port_word);
	int rc = 0;

	for (const char *w = config; *w && rc == 0;) {
		size_t len = strcspn(w, ",");

		if (len >= prefix && memcmp(w, port_word, prefix) == 0)
			rc = new_port(s, w + prefix, len - prefix, e);
		else
			rc = add_backend(&s->port[s->count - 1], w, len, e);
		w += len;
		if (*w == ',' && !*++w && rc == 0)
			return err_usage(e, "a back end is missing behind the last comma");
	}
	return rc;
}

static int check_port(struct console_spec *s, const struct console_port_spec *p, struct err *e)
{
	struct err why = {0};

	if (!p->backends)
		return p->name[0] ? err_usage(e, "port=%s: a back end is missing", p->name) : 0;
	if (console_check(p->backends, &why))
		return p->name[0] ? err_usage(e, "port=%s: %s", p->name, why.text)
		                  : err_usage(e, "%s", why.text);
	if (!console_uses_stdio(p->backends))
		return 0;
	if (s->stdio)
		return err_usage(e, "port=%s: stdio is already used by another port", p->name);
	s->stdio = true;
	return 0;
}

int console_spec_parse(struct console_spec *s, const char *config, struct err *e)
{
	int rc;

	*s = (struct console_spec){.count = 1};
	rc = parse_words(s, config, e);
	for (unsigned n = 0; n < s->count && rc == 0; n++)
		rc = check_port(s, &s->port[n], e);
	if (rc < 0)
		console_spec_free(s);
	return rc;
}

void console_spec_free(struct console_spec *s)
{
	for (unsigned n = 0; n < s->count; n++)
		free(s->port[n].backends);
	s->count = 0;
}
