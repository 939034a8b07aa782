/*
 * Devices that need nothing of the host: bridges and the test device.
 */
#include "dev/dummy.h"
#include "dev/hostbridge.h"
#include "dev/lpc.h"
#include "vm/slots.h"
#include <errno.h>
#include <stdlib.h>

/* Memory for the chip; end frees it, also after init failed. */
static void *new_chip(struct slot_dev *s, size_t size)
{
	s->device = calloc(1, size);
	return s->device;
}

static int made(int rc, struct err *e)
{
	return rc < 0 ? err_errno(e, rc, "cannot be made") : 0;
}

static int build_bridge(struct slot_dev *s, bool amd, struct err *e)
{
	s->pci = new_chip(s, sizeof(struct pci_dev));
	return made(s->pci ? hostbridge_init(s->pci, amd) : -ENOMEM, e);
}

static int build_hostbridge(struct slot_dev *s, struct err *e)
{
	return build_bridge(s, false, e);
}

static int build_amd_hostbridge(struct slot_dev *s, struct err *e)
{
	return build_bridge(s, true, e);
}

static int build_lpc(struct slot_dev *s, struct err *e)
{
	struct lpc *lpc = new_chip(s, sizeof(*lpc));

	if (!lpc)
		return made(-ENOMEM, e);
	s->pci = &lpc->pci;
	return made(lpc_init(lpc), e);
}

static int build_dummy(struct slot_dev *s, struct err *e)
{
	struct dummy *dummy = new_chip(s, sizeof(*dummy));

	if (!dummy)
		return made(-ENOMEM, e);
	s->pci = &dummy->pci;
	return made(dummy_init(dummy), e);
}

static void end_plain(struct slot_dev *s)
{
	pci_dev_fini(s->pci);
	free(s->device);
}

static void end_dummy(struct slot_dev *s)
{
	dummy_fini(s->device);
	free(s->device);
}

const struct slot_ops slot_hostbridge = {.name = "hostbridge", .build = build_hostbridge, .end = end_plain};
const struct slot_ops slot_amd_hostbridge = {
        .name = "amd_hostbridge", .build = build_amd_hostbridge, .end = end_plain};
const struct slot_ops slot_lpc = {.name = "lpc", .build = build_lpc, .end = end_plain};
static void reset_dummy(struct slot_dev *s)
{
	dummy_reset(s->device);
}

const struct slot_ops slot_dummy = {
        .name = "dummy", .build = build_dummy, .end = end_dummy, .reset = reset_dummy};
