/*
 * The two byte relays of BVM guests (FreeBSD's bvmcons and bvmdebug drivers): a port whose 16-bit
 * read is a signature, whose 32-bit read takes the next input byte (all ones: none) and whose 32-bit
 * write sends one. Console: -b, port 0x220; debugger: -g, port 0x224.
 */
#pragma once

#include "bus/space.h"
#include "bus/wire.h"

#define BVMCONS_PORT 0x220
#define BVMCONS_SIG 0x6276 /* "bv" */
#define BVMDEBUG_PORT 0x224
#define BVMDEBUG_SIG 0x4256 /* "BV" */

struct bvmport_config {
	struct space *ports;
	u16 port, signature;
	const char *name;
	size_t (*tx)(void *opaque, const u8 *buf, size_t len); /* bytes taken; the rest is dropped */
	void (*rx_ready)(void *opaque);                        /* there is room for input again */
	void *opaque;
};

struct bvmport {
	pthread_mutex_t lock;
	struct bvmport_config cfg;
	struct region io;
	u8 fifo[256];
	u32 head, count;
};

int bvmport_init(struct bvmport *b, const struct bvmport_config *cfg);
void bvmport_fini(struct bvmport *b);
size_t bvmport_receive(struct bvmport *b, const u8 *buf, size_t len); /* any thread; bytes taken */
