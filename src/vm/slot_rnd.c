/*
 * The entropy device on the host's random number generator.
 *
 * The generator may block until the host has seeded it, which matters only in the first moments of a host's
 * life. Building the device waits for that; from then on getrandom never blocks.
 */
#include "dev/virtio_rnd.h"
#include "vm/slots.h"
#include "vm/vm_int.h"
#include <errno.h>
#include <sys/random.h>

static int fill(void *opaque, void *buf, size_t len)
{
	for (u8 *p = buf; len;) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int build(struct slot_dev *s, struct err *e)
{
	const struct virtio_rnd_config c = {
	        .mem = &s->vm->mem, .fill = fill, .msi_only = s->vm->config->msi_only};
	struct virtio_rnd *rnd;
	u8 first;
	int rc = fill(NULL, &first, 1);

	if (rc < 0)
		return err_errno(e, rc, "the host has no random numbers");
	rc = virtio_rnd_create(&rnd, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot be made");
	s->device = rnd;
	s->pci = &rnd->v.pci;
	return 0;
}

static void end(struct slot_dev *s)
{
	virtio_rnd_destroy(s->device);
}

static void reset(struct slot_dev *s)
{
	struct virtio_rnd *rnd = s->device;

	virtio_reset(&rnd->v);
}

const struct slot_ops slot_virtio_rnd = {.name = "virtio-rnd", .build = build, .end = end, .reset = reset};
