/*
 * The options that build the board, -s and -l, and the rules between options.
 */
#include "cli/parse.h"
#include "base/text.h"
#include "console/console.h"
#include "vm/device_table.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

/* -- -l ---------------------------------------------------------------------------------------- */

static int refuse_port(struct parse *p, const char *name)
{
	static const char *const names[] = {"com1", "com2", "debugexit"};
	const char *near;

	if (strcasecmp(name, "com3") == 0 || strcasecmp(name, "com4") == 0)
		return err_usage(p->e, "-l %s: the lpc device has com1 and com2 only", name);
	if (strcmp(name, "bootrom") == 0)
		return err_usage(p->e,
		        "-l bootrom: this version has no firmware images; it boots Linux kernels: "
		        "-f kexec,KERNEL[,INITRD[,CMDLINE]]");
	near = suggest(name, names, ARRAY_SIZE(names));
	return err_usage(p->e, "-l " VAL ": unknown port%s%s%s (-l help lists them)", name,
	        near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
}

/* debugexit[,port=N]: needs no lpc device, it is an ISA card of its own. */
static int add_debugexit(struct parse *p, const char *config)
{
	u64 port = CONFIG_DEBUGEXIT_PORT;

	if (config && strncmp(config, "port=", 5) != 0)
		return err_usage(p->e, "-l debugexit," VAL ": the only option is port=N", config);
	if (config && parse_uint(config + 5, 1, CONFIG_DEBUGEXIT_PORT_MAX, &port))
		return err_usage(p->e, "-l debugexit," VAL ": the port must be 1 to 0x%x", config,
		        CONFIG_DEBUGEXIT_PORT_MAX);
	p->c->debugexit_port = (u16)port;
	return 0;
}

int opt_lpc(struct parse *p, char *value)
{
	char *backend = cut_comma(value);
	unsigned port;
	struct err why = {0};

	if (strcmp(value, "help") == 0 && !backend)
		return CLI_LIST_PORTS;
	if (strcasecmp(value, "debugexit") == 0)
		return add_debugexit(p, backend);
	if (strcasecmp(value, "com1") == 0)
		port = 0;
	else if (strcasecmp(value, "com2") == 0)
		port = 1;
	else
		return refuse_port(p, value);
	if (backend && console_check(backend, &why))
		return err_usage(p->e, "-l %s,%s", value, why.text);
	p->c->com[port] = backend;
	return 0;
}

/* -- -s ---------------------------------------------------------------------------------------- */

static int slot_number(
        struct parse *p, const char *spec, const char *text, const char *what, u64 max, u8 *out)
{
	u64 v;
	int r = parse_uint(text, 0, max, &v);

	if (r == -EINVAL)
		return err_usage(p->e,
		        "-s " VAL ": \"" VAL "\" is not a %s number; slots are S, S:F or B:S:F", spec, text,
		        what);
	if (r)
		return err_usage(p->e, "-s " VAL ": %s must be 0 to %u", spec, what, (unsigned)max);
	*out = (u8)v;
	return 0;
}

/* S, S:F, B:S:F */
static int parse_slot_spec(struct parse *p, const char *spec, struct slot_config *s)
{
	char copy[64], *part[3], *rest = copy;
	unsigned n = 0;
	int r = 0;

	if (strlen(spec) >= sizeof(copy))
		return err_usage(p->e, "-s " VAL ": not a slot; slots are S, S:F or B:S:F", spec);
	strcpy(copy, spec);
	while (rest && n < ARRAY_SIZE(part))
		part[n++] = strsep(&rest, ":");
	if (rest)
		return err_usage(p->e, "-s " VAL ": too many numbers; slots are S, S:F or B:S:F", spec);
	if (n == 3)
		r = slot_number(p, spec, part[0], "bus", 255, &s->bus);
	if (!r)
		r = slot_number(p, spec, part[n == 3 ? 1 : 0], "slot", 31, &s->slot);
	if (!r && n > 1)
		r = slot_number(p, spec, part[n - 1], "function", 7, &s->func);
	return r;
}

static const struct device_type *find_type(const char *name)
{
	for (size_t i = 0; i < device_type_count; i++) {
		const struct device_type *t = &device_types[i];

		if (strcmp(name, t->name) == 0 || (t->alias && strcmp(name, t->alias) == 0))
			return t;
	}
	return NULL;
}

static int refuse_device(struct parse *p, const char *spec, const char *name)
{
	const char *names[128], *near;
	size_t n = 0;

	for (size_t i = 0; i < device_type_count && n + 2 <= ARRAY_SIZE(names); i++) {
		names[n++] = device_types[i].name;
		if (device_types[i].alias)
			names[n++] = device_types[i].alias;
	}
	near = suggest(name, names, n);
	return err_usage(p->e, "-s %s," VAL ": unknown device%s%s%s (-s help lists them)", spec, name,
	        near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
}

/* The new slot beside those that are there. */
static int check_neighbours(struct parse *p, const struct slot_config *s, const char *spec)
{
	for (unsigned i = 0; i < p->c->nslots; i++) {
		const struct slot_config *o = &p->c->slots[i];
		char name[SLOT_NAME_MAX];

		if (o->bus == s->bus && o->slot == s->slot && o->func == s->func)
			return err_usage(p->e, "-s %s,%s: slot %s is already taken by %s", spec,
			        s->type->name, slot_name(s, name), o->type->name);
		if (o->type == s->type && (s->type->flags & DEVICE_ONE_ONLY))
			return err_usage(p->e, "-s %s,%s: there can be only one, and slot %s has it", spec,
			        s->type->name, slot_name(o, name));
	}
	return 0;
}

static int check_device(struct parse *p, const struct slot_config *s, const char *spec, const char *name)
{
	struct err why = {0};

	if (s->type->flags & DEVICE_ABSENT)
		return err_usage(p->e, "-s %s,%s: this version has no %s (-s help lists what it has)", spec,
		        name, name);
	if (s->bus && (s->type->flags & DEVICE_BUS0_ONLY))
		return err_usage(p->e, "-s %s,%s: must be on bus 0", spec, s->type->name);
	if (!s->type->check && *s->config)
		return err_usage(p->e, "-s %s,%s," VAL ": %s takes no configuration", spec, s->type->name,
		        s->config, s->type->name);
	if (s->type->check && s->type->check(s->config, &why))
		return err_usage(p->e, "-s %s,%s: %s", spec, s->type->name, why.text);
	return 0;
}

static int add_slot(struct parse *p, const struct slot_config *s)
{
	struct slot_config *slots = reallocarray(p->c->slots, p->c->nslots + 1, sizeof(*slots));

	if (!slots)
		return err_set(p->e, -ENOMEM, "out of memory");
	p->c->slots = slots;
	slots[p->c->nslots++] = *s;
	return 0;
}

int opt_slot(struct parse *p, char *value)
{
	char *name = cut_comma(value), *config = cut_comma(name);
	struct slot_config s = {.config = config ? config : ""};
	int r;

	if (!name && strcmp(value, "help") == 0)
		return CLI_LIST_DEVICES;
	if (!name || !*name)
		return err_usage(p->e, "-s " VAL ": names no device: -s SLOT,DEVICE[,CONFIG]", value);
	r = parse_slot_spec(p, value, &s);
	if (r)
		return r;
	s.type = find_type(name);
	if (!s.type)
		return refuse_device(p, value, name);
	r = check_device(p, &s, value, name);
	if (!r)
		r = check_neighbours(p, &s, value);
	return r ? r : add_slot(p, &s);
}

/* -- rules between options --------------------------------------------------------------------- */

static const struct slot_config *find_slot(const struct vm_config *c, u8 bus, u8 slot, u8 func)
{
	for (unsigned i = 0; i < c->nslots; i++) {
		const struct slot_config *s = &c->slots[i];

		if (s->bus == bus && s->slot == slot && s->func == func)
			return s;
	}
	return NULL;
}

static int check_slots(const struct vm_config *c, struct err *e)
{
	char name[SLOT_NAME_MAX];

	for (unsigned i = 0; i < c->nslots; i++) {
		const struct slot_config *s = &c->slots[i];

		if (s->bus && !c->no_mptable)
			return err_usage(e,
			        "-s %s,%s: the MP table describes bus 0 only; other buses need -Y",
			        slot_name(s, name), s->type->name);
		if (s->func && !find_slot(c, s->bus, s->slot, 0))
			return err_usage(e,
			        "-s %s,%s: slot %u has no function 0; without it guests do not "
			        "look for others",
			        slot_name(s, name), s->type->name, s->slot);
	}
	return 0;
}

/* Serial ports: they need their bridge, and standard input and output have one user. */
static int check_consoles(const struct vm_config *c, struct err *e)
{
	char name[SLOT_NAME_MAX], user[64] = "";
	bool lpc = false;

	if (c->bvmcons)
		snprintf(user, sizeof(user), "-b");
	for (unsigned i = 0; i < c->nslots; i++)
		lpc |= (c->slots[i].type->flags & DEVICE_LPC) != 0;
	for (unsigned i = 0; i < CONFIG_LPC_PORTS; i++) {
		if (!c->com[i])
			continue;
		if (!lpc)
			return err_usage(e,
			        "-l com%u,%.120s: the ports belong to the lpc device: add -s 31,lpc", i + 1,
			        c->com[i]);
		if (!console_uses_stdio(c->com[i]))
			continue;
		if (*user)
			return err_usage(e, "-l com%u: stdio is already used by %s", i + 1, user);
		snprintf(user, sizeof(user), "-l com%u", i + 1);
	}
	for (unsigned i = 0; i < c->nslots; i++) {
		const struct slot_config *s = &c->slots[i];

		if (!s->type->uses_stdio || !s->type->uses_stdio(s->config))
			continue;
		slot_name(s, name);
		if (*user)
			return err_usage(
			        e, "-s %s,%s: stdio is already used by %s", name, s->type->name, user);
		snprintf(user, sizeof(user), "-s %s,%s", name, s->type->name);
	}
	return 0;
}

int check_config(const struct vm_config *c, struct err *e)
{
	int r;

	if (c->boot == CONFIG_BOOT_NONE)
		return err_usage(e, "no kernel: give -f kexec,KERNEL[,INITRD[,CMDLINE]], -f iso or -f disk "
		                    "(xhyve -h lists "
		                    "the options)");
	for (unsigned i = c->ncpus; i < CONFIG_CPUS_MAX; i++) {
		if (c->pin[i] >= 0)
			return err_usage(e, "-p %u:%d: there is no virtual CPU %u with -c %u", i, c->pin[i],
			        i, c->ncpus);
	}
	r = check_slots(c, e);
	return r ? r : check_consoles(c, e);
}
