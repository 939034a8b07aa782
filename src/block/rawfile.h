/*
 * One open host file as the layers use it: positional transfers of any alignment, also when the file
 * is open for direct I/O (nocache), which itself takes only aligned memory, offsets and lengths.
 * Private to the block room. Any thread.
 */
#pragma once

#include "block/hostio.h"
#include <pthread.h>

struct rawfile {
	const struct host_io *io;
	int fd;
	u32 align; /* of direct I/O; 0: through the page cache */
	/* direct I/O: aligned writers share it, a read-modify-write of a partial block excludes them */
	pthread_rwlock_t rmw;
	bool no_punch, no_zero; /* the host said that it cannot */
};

/* Takes over fd. */
int rawfile_init(struct rawfile *f, const struct host_io *io, int fd, u32 align);
void rawfile_fini(struct rawfile *f); /* closes fd */

/* 0 or -errno; reads past the end give zeros, writes past it extend the file. */
int rawfile_readv(struct rawfile *f, const struct iovec *iov, int n, u64 off);
int rawfile_writev(struct rawfile *f, const struct iovec *iov, int n, u64 off);
/* The range reads as zeros; with punch its storage is freed where the host can. Stays inside the file. */
int rawfile_zero(struct rawfile *f, u64 off, u64 len, bool punch);
/* Frees the storage of a range whose content no longer matters. Best effort. */
void rawfile_free(struct rawfile *f, u64 off, u64 len);

extern const u8 zero_page[65536];
