/*
 * Split virtqueues (virtio 1.2, 2.7): rings in guest RAM through which a driver hands over chains of
 * buffers and gets them back.
 *
 * Everything in the rings is the guest's and may change at any time. Addresses and size are latched
 * and checked when the queue starts; of each ring entry and descriptor one private copy is taken,
 * checked and used. A popped chain is a private object: host iovecs that lie in RAM, readable ones
 * apart from writable ones. There is one such object for each possible head, so that a queue never has
 * more chains in flight than entries, whatever the guest publishes.
 *
 * The caller serializes all calls on a queue (the device's lock). Buffers may be read and written
 * without it until the chain is pushed.
 */
#pragma once

#include "mem/mem.h"
#include <sys/uio.h>

#define VQ_SIZE_MAX 1024
#define VQ_NO_VECTOR 0xffff

/* Descriptor flags (2.7.5) */
#define VQ_DESC_NEXT 1u
#define VQ_DESC_WRITE 2u
#define VQ_DESC_INDIRECT 4u

struct vq_desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};
static_assert(sizeof(struct vq_desc) == 16, "2.7.5");

struct vq_used {
	u32 id, len;
};
static_assert(sizeof(struct vq_used) == 8, "2.7.8");

#define VQ_AVAIL_NO_INTERRUPT 1u /* 2.7.6 */

/*
 * A device may shorten the lists (vq_chain_pull, vq_chain_last do): buffers that are left in the writable
 * one count as written when the chain is pushed.
 */
struct vq_chain {
	struct iovec *rd, *wr; /* device reads, device writes; none is empty when popped */
	u16 nrd, nwr;
	u16 head; /* < the queue's max; unique among chains in flight */
	bool busy;
	u64 rd_len, wr_len;
	struct iovec *iov; /* max of them */
};

struct virtqueue {
	struct mem *mem;
	u16 max; /* entries at most, power of two; also the longest chain */
	/* what the driver set; takes effect at vq_start */
	u16 size;
	u64 desc, avail, used;
	u16 vector; /* the transport's */
	/* latched while running */
	bool running;
	bool indirect, event_idx;
	u16 num;
	u64 used_gpa;
	u8 *desc_hva, *avail_hva, *used_hva;
	u16 avail_idx; /* next entry to take */
	u16 used_idx;  /* next entry to fill */
	u16 signalled; /* used_idx at the last answer of vq_wants_interrupt */
	bool signalled_valid;
	u32 inflight;
	struct vq_chain *chains; /* max of them, by head */
	struct iovec *iovs;
};

/* max: power of two, at most VQ_SIZE_MAX. */
int vq_init(struct virtqueue *q, struct mem *mem, u16 max);
void vq_fini(struct virtqueue *q);
/* Stopped, everything as after vq_init. No chain is in flight. */
void vq_reset(struct virtqueue *q);

/*
 * Takes size and addresses into use: -EINVAL when the size is not a power of two up to max, an
 * address is not aligned (2.7) or a ring is not in RAM; -EBUSY when running or chains are in flight.
 */
int vq_start(struct virtqueue *q, bool indirect, bool event_idx);
/* From now on nothing is taken from or put into the rings. Chains in flight still have to be pushed. */
void vq_stop(struct virtqueue *q);

/*
 * The next chain: 1. 0: there is none, and the driver was asked to notify of the next. -EINVAL: the
 * driver broke the rules of 2.7, and the queue has stopped.
 */
int vq_pop(struct virtqueue *q, struct vq_chain **out);
/* Gives a chain back; written: bytes that the device wrote, for the driver. */
void vq_push(struct virtqueue *q, struct vq_chain *c, u64 written);
/*
 * vq_push in two steps, for an answer of several chains that the driver has to find at once: any number of
 * vq_fill, then vq_publish.
 */
void vq_fill(struct virtqueue *q, struct vq_chain *c, u64 written);
void vq_publish(struct virtqueue *q);
/* Puts back what vq_pop took, the last one first: the next vq_pop finds it again. Nothing was written. */
void vq_unpop(struct virtqueue *q, struct vq_chain *c);
/* After pushes: does the driver want an interrupt (2.7.7)? */
bool vq_wants_interrupt(struct virtqueue *q);

/* Takes len bytes from the front of the readable buffers; false (nothing taken) when there are fewer. */
bool vq_chain_pull(struct vq_chain *c, void *buf, u64 len);
/* Takes the last writable byte: its address, NULL when there is none. */
u8 *vq_chain_last(struct vq_chain *c);
/* Copies to the front of the writable buffers, which stay as they are; how much fitted. */
u64 vq_chain_write(struct vq_chain *c, const void *buf, u64 len);
/* The same from byte at of the buffers on. */
u64 vq_chain_write_at(struct vq_chain *c, u64 at, const void *buf, u64 len);
/* One byte at an address from vq_chain_last. */
void vq_write_byte(struct virtqueue *q, u8 *at, u8 val);
