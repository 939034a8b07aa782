/*
 * What a machine is called by: its UUID and the addresses of its network cards. Pure; the same
 * configuration on the same host gives the same answers.
 */
#pragma once

#include "base/err.h"
#include "vm/config.h"

struct net_spec;

/* -U, or derived from the machine's name and the host's. */
int vm_uuid(const struct vm_config *c, u8 uuid[16], struct err *e);

/*
 * mac=, or an address derived from the UUID, the machine's name, the slot and what the card is connected to:
 * two ends of a socket, or two taps of a bridge, differ even when both machines have no -U.
 */
int vm_mac(const struct vm_config *c, const struct slot_config *s, const struct net_spec *spec, u8 mac[6],
        struct err *e);

/* -M: the address of the first network card to standard output; 0: there is none, 1: printed, or -errno. */
int vm_print_mac(const struct vm_config *c, struct err *e);
