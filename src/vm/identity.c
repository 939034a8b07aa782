/*
 * Identities of a machine (see identity.h): version 5 UUIDs of texts that say what is meant.
 */
#include "vm/identity.h"

#include "boot/boot.h"
#include "net/spec.h"
#include "vm/device_table.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define MAC_LOCAL 0x02 /* of the first byte: not bought from the IEEE */
#define MAC_GROUP 0x01

int vm_uuid(const struct vm_config *c, u8 uuid[16], struct err *e)
{
	char host[256] = "", name[600];

	if (c->uuid)
		return parse_uuid(c->uuid, uuid) < 0 ? err_usage(e, "-U %s: not a UUID", c->uuid) : 0;
	gethostname(host, sizeof(host) - 1);
	snprintf(name, sizeof(name), "%s/%.300s", host, c->name ? c->name : "");
	uuid_derive(name, uuid);
	return 0;
}

int vm_mac(const struct vm_config *c, const struct slot_config *s, const struct net_spec *spec, u8 mac[6],
        struct err *e)
{
	u8 uuid[16], hash[16];
	char text[37], name[800];
	int rc = vm_uuid(c, uuid, e);

	if (rc < 0)
		return rc;
	if (spec->has_mac) {
		memcpy(mac, spec->mac, sizeof(spec->mac));
		return 0;
	}
	format_uuid(uuid, text);
	snprintf(name, sizeof(name), "mac/%s/%.300s/%u:%u.%u/%s/%u/%s", text, c->name ? c->name : "", s->bus,
	        s->slot, s->func, spec->ifname, spec->role, spec->path);
	uuid_derive(name, hash);
	memcpy(mac, hash, 6);
	mac[0] = (u8)((mac[0] | MAC_LOCAL) & ~MAC_GROUP);
	return 0;
}

int vm_print_mac(const struct vm_config *c, struct err *e)
{
	for (unsigned n = 0; n < c->nslots; n++) {
		const struct slot_config *s = &c->slots[n];
		struct net_spec spec;
		char text[NET_MAC_TEXT];
		u8 mac[6];
		int rc;

		if (strcmp(s->type->name, "virtio-net") != 0)
			continue;
		rc = net_parse(&spec, s->config, e);
		if (rc == 0)
			rc = vm_mac(c, s, &spec, mac, e);
		if (rc < 0)
			return rc;
		if (printf("MAC: %s\n", net_format_mac(mac, text)) < 0 || fflush(stdout) != 0)
			return err_errno(e, -errno, "cannot write to standard output");
		return 1;
	}
	return 0;
}
