/*
 * The machine behind the control socket.
 */
#include "vm/control_vm.h"

#include "base/text.h"
#include "vm/control.h"
#include "vm/cpus.h"
#include "vm/device_table.h"
#include "vm/machine.h"
#include "vm/slots.h"
#include "vm/vm_int.h"

#include <errno.h>
#include <unistd.h>

/* --- devices --- */

enum ability { CAN_EJECT, CAN_INSERT, CAN_LINK, CAN_RESIZE };

static bool can(const struct slot_dev *s, enum ability what)
{
	switch (what) {
	case CAN_EJECT: return s->ops->eject;
	case CAN_INSERT: return s->ops->insert;
	case CAN_LINK: return s->ops->link;
	case CAN_RESIZE: return s->ops->resize;
	}
	return false;
}

/* S, S:F or B:S:F */
static bool parse_slot(const char *text, u64 place[3])
{
	char copy[32], *part[3], *rest = copy;
	unsigned n = 0;

	if (strlen(text) >= sizeof(copy))
		return false;
	strcpy(copy, text);
	while (rest && n < ARRAY_SIZE(part))
		part[n++] = strsep(&rest, ":");
	place[0] = place[2] = 0;
	if (rest || (n == 3 && parse_uint(part[0], 0, 255, &place[0]) < 0))
		return false;
	if (n > 1 && parse_uint(part[n - 1], 0, 7, &place[2]) < 0)
		return false;
	return parse_uint(part[n == 3 ? 1 : 0], 0, 31, &place[1]) == 0;
}

static struct slot_dev *at(const struct slots *all, const u64 place[3])
{
	for (unsigned n = 0; n < slots_count(all); n++) {
		struct slot_dev *s = slots_at(all, n);

		if (s->config->bus == place[0] && s->config->slot == place[1] && s->config->func == place[2])
			return s;
	}
	return NULL;
}

/* "cd", "net" and "disk": the only device that can do this. */
static struct slot_dev *the_only(const struct slots *all, const char *word, enum ability what, struct err *e)
{
	struct slot_dev *found = NULL;

	for (unsigned n = 0; n < slots_count(all); n++) {
		struct slot_dev *s = slots_at(all, n);

		if (!can(s, what))
			continue;
		if (found) {
			err_set(e, -EINVAL,
			        "there are several; name one by its slot (\"devices\" lists them)");
			return NULL;
		}
		found = s;
	}
	if (!found)
		err_set(e, -ENODEV, "the machine has no such device as \"%.20s\"", word);
	return found;
}

static struct slot_dev *find(struct vm *vm, const char *device, enum ability what, struct err *e)
{
	static const char *const word[] = {
	        [CAN_EJECT] = "cd", [CAN_INSERT] = "cd", [CAN_LINK] = "net", [CAN_RESIZE] = "disk"};
	static const char *const text[] = {[CAN_EJECT] = "no disc can be taken out of it",
	        [CAN_INSERT] = "no disc can be put into it",
	        [CAN_LINK] = "it has no network cable",
	        [CAN_RESIZE] = "its size cannot change"};
	const struct slots *all = machine_slots(vm->machine);
	struct slot_dev *s;
	u64 place[3];

	if (strcmp(device, word[what]) == 0)
		return the_only(all, device, what, e);
	if (!parse_slot(device, place)) {
		err_set(e, -EINVAL, "\"%.40s\" is not a device: a slot (S, S:F or B:S:F), or \"%s\"", device,
		        word[what]);
		return NULL;
	}
	s = at(all, place);
	if (!s) {
		err_set(e, -ENODEV, "%s: there is no device in this slot", device);
	} else if (!can(s, what)) {
		err_set(e, -ENOTTY, "%s is %s: %s", device, s->config->type->name, text[what]);
		return NULL;
	}
	return s;
}

/* --- what there is --- */

static void status(void *opaque, struct reply *r)
{
	struct vm *vm = opaque;

	reply_value(r, "version", "%s", XHYVE_VERSION);
	reply_value(r, "pid", "%d", (int)getpid());
	reply_value(r, "state", "%s", vm->paused ? "paused" : "running");
	reply_value(r, "accel", "%s", vm->accel->name);
	reply_value(r, "cpus", "%u", vm->config->ncpus);
	reply_value(r, "memory", "%llu", (unsigned long long)vm->config->mem);
	reply_value(r, "clock-ms", "%llu", (unsigned long long)(clock_now(&vm->clock.clock) / NS_PER_MS));
	reply_value(r, "kernel", "%s", vm->config->kernel);
}

static void devices(void *opaque, struct reply *r)
{
	struct vm *vm = opaque;
	const struct slots *all = machine_slots(vm->machine);

	for (unsigned n = 0; n < slots_count(all); n++) {
		struct slot_dev *s = slots_at(all, n);
		char name[SLOT_NAME_MAX], text[512] = "";

		if (s->ops->describe)
			s->ops->describe(s, text, sizeof(text));
		reply_value(r, slot_name(s->config, name), "%s%s%s", s->config->type->name, *text ? " " : "",
		        text);
	}
}

static void stats(void *opaque, struct stats_sink *out)
{
	vm_stats(opaque, out);
}

/* --- what to do --- */

static int pause_vm(void *opaque, struct err *e)
{
	cpus_pause(opaque);
	return 0;
}

static int resume(void *opaque, struct err *e)
{
	cpus_resume(opaque);
	return 0;
}

static int power(void *opaque, struct err *e)
{
	struct vm *vm = opaque;

	return machine_power_button(vm->machine)
	               ? 0
	               : err_set(e, -ENOTCONN, "the guest does not listen to the power button");
}

static int reset(void *opaque, struct err *e)
{
	vm_reset(opaque, EXIT_RESET);
	return 0;
}

static int quit(void *opaque, struct err *e)
{
	vm_quit(opaque);
	return 0;
}

static int eject(void *opaque, const char *device, bool force, struct err *e)
{
	struct slot_dev *s = find(opaque, device, CAN_EJECT, e);

	return s ? s->ops->eject(s, force, e) : e->code;
}

static int insert(void *opaque, const char *device, const char *path, struct err *e)
{
	struct slot_dev *s = find(opaque, device, CAN_INSERT, e);

	return s ? s->ops->insert(s, path, e) : e->code;
}

static int set_link(void *opaque, const char *device, bool up, struct err *e)
{
	struct slot_dev *s = find(opaque, device, CAN_LINK, e);

	return s ? s->ops->link(s, up, e) : e->code;
}

static int resize(void *opaque, const char *device, u64 size, struct err *e)
{
	struct slot_dev *s = find(opaque, device, CAN_RESIZE, e);

	return s ? s->ops->resize(s, size, e) : e->code;
}

static const struct control_ops ops = {
        .status = status,
        .devices = devices,
        .stats = stats,
        .pause = pause_vm,
        .resume = resume,
        .power = power,
        .reset = reset,
        .quit = quit,
        .eject = eject,
        .insert = insert,
        .link = set_link,
        .resize = resize,
};

int control_vm_open(struct vm *vm, struct err *e)
{
	if (!vm->config->control)
		return 0;
	return control_open(&vm->control, vm->loop, vm->config->control, &ops, vm, e);
}
