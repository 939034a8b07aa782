/*
 * The capture file (see pcap.h). Each record is one write, so the file is whole up to its last frame at any
 * time and can be read while the guest runs.
 */
#include "net/pcap.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The file's header (pcap-savefile): nanoseconds, version 2.4, Ethernet */
#define MAGIC_NS 0xa1b23c4du
#define VERSION_MAJOR 2
#define VERSION_MINOR 4
#define LINKTYPE_ETHERNET 1
#define SNAPLEN 262144u

#define IOV_MOST 64

struct file_header {
	u32 magic;
	u16 major, minor;
	u32 zone, accuracy, snaplen, linktype;
};
static_assert(sizeof(struct file_header) == 24, "pcap-savefile");

struct record {
	u32 sec, nsec, captured, len;
};
static_assert(sizeof(struct record) == 16, "pcap-savefile");

struct pcap {
	int fd; /* -1: given up */
	u64 end;
	char path[];
};

int pcap_create(struct pcap **out, const char *path, struct err *e)
{
	const struct file_header h = {.magic = MAGIC_NS,
	        .major = VERSION_MAJOR,
	        .minor = VERSION_MINOR,
	        .snaplen = SNAPLEN,
	        .linktype = LINKTYPE_ETHERNET};
	struct pcap *p = calloc(1, sizeof(*p) + strlen(path) + 1);

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	strcpy(p->path, path);
	p->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (p->fd < 0 || write(p->fd, &h, sizeof(h)) != sizeof(h)) {
		int rc = err_errno(e, errno ? -errno : -ENOSPC, "pcap=%s", path);

		pcap_close(p);
		return rc;
	}
	p->end = sizeof(h);
	*out = p;
	return 0;
}

/* What did not get into the file as a whole is cut off again. */
static void give_up(struct pcap *p, int error)
{
	log_warn("pcap=%s: %s; the capture ends here", p->path, strerror(error));
	if (ftruncate(p->fd, (off_t)p->end) < 0)
		log_warn("pcap=%s: its last record is not whole", p->path);
	close(p->fd);
	p->fd = -1;
}

void pcap_write(struct pcap *p, const struct net_frame *f)
{
	struct iovec iov[IOV_MOST];
	struct record r = {.len = f->len};
	struct timespec now;
	unsigned n = 1;
	ssize_t done;

	if (p->fd < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	r.sec = (u32)now.tv_sec;
	r.nsec = (u32)now.tv_nsec;
	for (unsigned i = 0; i < f->niov && n < IOV_MOST; i++, n++) {
		iov[n] = f->iov[i];
		r.captured += (u32)f->iov[i].iov_len;
	}
	iov[0] = (struct iovec){.iov_base = &r, .iov_len = sizeof(r)};
	done = writev(p->fd, iov, (int)n);
	if (done == (ssize_t)(sizeof(r) + r.captured))
		p->end += (u64)done;
	else
		give_up(p, done < 0 ? errno : ENOSPC);
}

void pcap_close(struct pcap *p)
{
	if (!p)
		return;
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}
