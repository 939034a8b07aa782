/*
 * Network cards: a port of the net room behind a virtio card.
 */
#include "dev/virtio_net.h"
#include "vm/identity.h"
#include "vm/slots.h"
#include "vm/vm_int.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct nic {
	u8 mac[6];
	struct net_port *port;
	struct virtio_net *card;
};

static int make_card(struct slot_dev *s, const struct net_spec *spec, struct nic *nic, struct err *e)
{
	struct virtio_net_config c = {.mem = &s->vm->mem,
	        .port = nic->port,
	        .mtu = spec->mtu ? spec->mtu : net_mtu(nic->port),
	        .msi_only = s->vm->config->msi_only};
	int rc = vm_mac(s->vm->config, s->config, spec, c.mac, e);

	if (rc < 0)
		return rc;
	rc = virtio_net_create(&nic->card, &c);
	if (rc < 0)
		return err_errno(e, rc, "cannot be made");
	s->pci = virtio_net_pci(nic->card);
	memcpy(nic->mac, c.mac, sizeof(nic->mac));
	if (s->vm->config->explain)
		return 0;
	rc = net_start(nic->port, virtio_net_client(nic->card));
	return rc < 0 ? err_errno(e, rc, "cannot start its thread") : 0;
}

static int build(struct slot_dev *s, struct err *e)
{
	struct nic *nic = calloc(1, sizeof(*nic));
	struct net_spec spec;
	int rc;

	if (!nic)
		return err_errno(e, -ENOMEM, "cannot be made");
	s->device = nic;
	rc = net_parse(&spec, s->config->config, e);
	if (rc == 0)
		rc = s->vm->config->explain ? net_open_nowhere(&nic->port, e)
		                            : net_open(&nic->port, &spec, e);
	return rc < 0 ? rc : make_card(s, &spec, nic, e);
}

static void stop(struct slot_dev *s)
{
	struct nic *nic = s->device;

	if (nic->port)
		net_stop(nic->port);
}

static void end(struct slot_dev *s)
{
	struct nic *nic = s->device;

	stop(s);
	virtio_net_destroy(nic->card);
	net_close(nic->port);
	free(nic);
}

static void reset(struct slot_dev *s)
{
	struct nic *nic = s->device;

	virtio_net_reset(nic->card);
}

static int set_link(struct slot_dev *s, bool up, struct err *e)
{
	struct nic *nic = s->device;

	virtio_net_set_link(nic->card, up);
	return 0;
}

static int visit_card(struct slot_dev *s, slot_visit visit, void *opaque)
{
	const struct nic *nic = s->device;
	const struct slot_part part = {.kind = PART_NET, .mac = nic->mac};

	return visit(opaque, &part);
}

static void describe(struct slot_dev *s, char *text, size_t len)
{
	struct nic *nic = s->device;

	snprintf(text, len, "net link %s", virtio_net_link(nic->card) ? "up" : "down");
}

static void stats(struct slot_dev *s, const char *group, struct stats_sink *out)
{
	struct nic *nic = s->device;
	struct virtio_net_stats v;

	virtio_net_stats(nic->card, &v);
	stats_put(out, group, "frames sent", v.tx_frames);
	stats_put(out, group, "bytes sent", v.tx_bytes);
	stats_put(out, group, "frames received", v.rx_frames);
	stats_put(out, group, "bytes received", v.rx_bytes);
	stats_put(out, group, "dropped sending", v.tx_dropped);
	stats_put(out, group, "dropped receiving", v.rx_dropped);
}

const struct slot_ops slot_virtio_net = {.name = "virtio-net",
        .build = build,
        .stop = stop,
        .end = end,
        .reset = reset,
        .link = set_link,
        .describe = describe,
        .stats = stats,

        .parts = visit_card};
