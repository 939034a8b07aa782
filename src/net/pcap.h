/*
 * Frames into a capture file, in the classic format of libpcap with nanoseconds, link type Ethernet.
 */
#pragma once

#include "net/net.h"

struct pcap;

int pcap_create(struct pcap **out, const char *path, struct err *e);
/* A write that fails (disk full) is said once and ends the capture; the network goes on. */
void pcap_write(struct pcap *p, const struct net_frame *f);
void pcap_close(struct pcap *p); /* NULL is fine */
