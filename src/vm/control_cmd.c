/*
 * One line in, one reply out: words, the table of commands, and what their arguments must look like. Knows
 * no socket and no machine.
 */
#include "base/text.h"
#include "vm/control.h"
#include "vm/control_list.h"

#include <stdarg.h>
#include <stdio.h>

/* --- replies --- */

/* The last line must always fit: it has an error's text and a little more. */
#define LAST_LINE_MAX 700u

static void put(struct reply *r, size_t limit, const char *text)
{
	size_t len = strlen(text);

	if (len > limit - r->len)
		return;
	for (size_t n = 0; n < len; n++)
		r->text[r->len++] = (unsigned char)text[n] < ' ' || text[n] == 0x7f ? '?' : text[n];
	r->text[r->len++] = '\n';
}

void reply_value(struct reply *r, const char *name, const char *fmt, ...)
{
	char line[1024];
	int used = snprintf(line, sizeof(line), "= %.200s ", name);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + used, sizeof(line) - (size_t)used, fmt, ap);
	va_end(ap);
	put(r, sizeof(r->text) - LAST_LINE_MAX - 1, line);
}

static void finish(struct reply *r, int rc, const struct err *e)
{
	char line[LAST_LINE_MAX];

	snprintf(line, sizeof(line), rc < 0 ? "error %s" : "ok", e->text);
	put(r, sizeof(r->text) - 1, line);
}

/* --- commands --- */

struct request {
	const struct control_ops *ops;
	void *opaque;
	char *rest; /* of the line, without blanks around it */
	struct reply *reply;
	struct err *e;
};

static char *skip_blanks(char *s)
{
	return s + strspn(s, " \t");
}

/* Takes the first word off the rest: "" if there is none. */
static char *next_word(struct request *q)
{
	char *word = q->rest, *end = word + strcspn(word, " \t");

	q->rest = skip_blanks(end);
	*end = 0;
	return word;
}

static int no_more(struct request *q)
{
	return *q->rest ? err_set(q->e, -EINVAL, "\"%.100s\" is too much", q->rest) : 0;
}

static int need_device(struct request *q, char **out)
{
	*out = next_word(q);
	return **out ? 0 : err_set(q->e, -EINVAL, "which device? (\"devices\" lists them)");
}

static int do_help(struct request *q)
{
#define HELP(name, arguments, text)                                                                          \
	reply_value(q->reply, #name, "%s%s%s", arguments, *arguments ? ": " : "", text);
	CONTROL_COMMANDS(HELP)
#undef HELP
	return no_more(q);
}

static int do_status(struct request *q)
{
	q->ops->status(q->opaque, q->reply);
	return no_more(q);
}

static int do_devices(struct request *q)
{
	q->ops->devices(q->opaque, q->reply);
	return no_more(q);
}

struct counters {
	struct stats_sink sink;
	struct reply *reply;
};

/* "CPU 0", "TLB misses" become one name, "CPU-0.TLB-misses". */
static void put_counter(struct stats_sink *s, const char *group, const char *name, u64 value)
{
	struct counters *c = container_of(s, struct counters, sink);
	char key[160];

	snprintf(key, sizeof(key), "%.70s.%.70s", group, name);
	for (char *p = key; *p; p++)
		if (*p == ' ')
			*p = '-';
	reply_value(c->reply, key, "%llu", (unsigned long long)value);
}

static int do_stats(struct request *q)
{
	struct counters c = {.sink.put = put_counter, .reply = q->reply};

	q->ops->stats(q->opaque, &c.sink);
	return no_more(q);
}

/* Commands without arguments do nothing when they got one. */
static int plain(struct request *q, int (*fn)(void *opaque, struct err *e))
{
	int rc = no_more(q);

	return rc < 0 ? rc : fn(q->opaque, q->e);
}

static int do_pause(struct request *q)
{
	return plain(q, q->ops->pause);
}

static int do_resume(struct request *q)
{
	return plain(q, q->ops->resume);
}

static int do_power(struct request *q)
{
	return plain(q, q->ops->power);
}

static int do_reset(struct request *q)
{
	return plain(q, q->ops->reset);
}

static int do_quit(struct request *q)
{
	return plain(q, q->ops->quit);
}

static int do_eject(struct request *q)
{
	char *device, *force;
	int rc = need_device(q, &device);

	if (rc < 0)
		return rc;
	force = next_word(q);
	if (*force && strcmp(force, "force") != 0)
		return err_set(q->e, -EINVAL, "\"%.100s\": only \"force\" can follow the device", force);
	rc = no_more(q);
	return rc < 0 ? rc : q->ops->eject(q->opaque, device, *force != 0, q->e);
}

/* The path is all that follows, with the blanks in it. */
static int do_insert(struct request *q)
{
	char *device;
	int rc = need_device(q, &device);

	if (rc < 0)
		return rc;
	if (q->rest[0] != '/')
		return err_set(q->e, -EINVAL, "the disc needs an absolute path");
	return q->ops->insert(q->opaque, device, q->rest, q->e);
}

static int do_link(struct request *q)
{
	char *device, *state;
	int rc = need_device(q, &device);

	if (rc < 0)
		return rc;
	state = next_word(q);
	if (strcmp(state, "up") != 0 && strcmp(state, "down") != 0)
		return err_set(q->e, -EINVAL, "a link is \"up\" or \"down\"");
	rc = no_more(q);
	return rc < 0 ? rc : q->ops->link(q->opaque, device, state[0] == 'u', q->e);
}

static int do_resize(struct request *q)
{
	char *device, *text;
	u64 size = 0;
	int rc = need_device(q, &device);

	if (rc < 0)
		return rc;
	text = next_word(q);
	if (*text && (parse_size(text, &size) < 0 || size == 0))
		return err_set(q->e, -EINVAL, "\"%.100s\" is not a size", text);
	rc = no_more(q);
	return rc < 0 ? rc : q->ops->resize(q->opaque, device, size, q->e);
}

static const struct {
	const char *name;
	int (*run)(struct request *q);
} commands[] = {
#define ENTRY(name, arguments, text) {#name, do_##name},
        CONTROL_COMMANDS(ENTRY)
#undef ENTRY
};

static int dispatch(struct request *q)
{
	const char *word = next_word(q), *names[ARRAY_SIZE(commands)], *near;

	for (size_t n = 0; n < ARRAY_SIZE(commands); n++) {
		names[n] = commands[n].name;
		if (strcmp(word, commands[n].name) == 0)
			return commands[n].run(q);
	}
	near = suggest(word, names, ARRAY_SIZE(names));
	if (near)
		return err_set(q->e, -EINVAL, "\"%.100s\": unknown command: did you mean %s?", word, near);
	return err_set(q->e, -EINVAL, "\"%.100s\": unknown command (\"help\" lists them)", word);
}

void control_run(const struct control_ops *ops, void *opaque, char *line, struct reply *r)
{
	struct err e = {0};
	struct request q = {.ops = ops, .opaque = opaque, .reply = r, .e = &e};

	for (size_t len = strlen(line); len && strchr(" \t\r", line[len - 1]);)
		line[--len] = 0;
	q.rest = skip_blanks(line);
	r->len = 0;
	finish(r, dispatch(&q), &e);
}
