/*
 * The port's thread (see net.h): waits for its back end's descriptors and for kicks, and moves frames.
 *
 * The descriptors are collected anew for each wait and handed to poll(2). A port has one or two, the user
 * network one for each connection, which appear and vanish inside libslirp: there is no registration that
 * could go stale.
 */
#include "net/port.h"

#include "base/confine.h"
#include "base/log.h"
#include "net/pcap.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum kick {
	KICK_SEND = BIT(0),
	KICK_RESUME = BIT(1),
	KICK_OFFLOADS = BIT(2),
	KICK_STOP = BIT(3),
	KICK_PLUG = BIT(4),
};

/* --- for back ends --- */

int net_poll_add(struct net_poll *poll, int fd, short events)
{
	if (poll->n == poll->cap) {
		unsigned cap = poll->cap ? poll->cap * 2 : 16;
		struct pollfd *fds = reallocarray(poll->fds, cap, sizeof(*fds));

		if (!fds) {
			poll->timeout_ms = 1;
			return -1;
		}
		poll->fds = fds;
		poll->cap = cap;
	}
	poll->fds[poll->n] = (struct pollfd){.fd = fd, .events = events};
	return (int)poll->n++;
}

bool net_deliver(struct net_port *p, const struct net_frame *f)
{
	if (p->full || !p->client->deliver(p->client->opaque, f)) {
		p->full = true;
		return false;
	}
	if (p->pcap)
		pcap_write(p->pcap, f);
	return true;
}

void net_set_link(struct net_port *p, bool up)
{
	if (p->link == up)
		return;
	p->link = up;
	if (p->client)
		p->client->link(p->client->opaque, up);
}

void net_flatten(const struct net_frame *f, u8 *to)
{
	for (unsigned n = 0; n < f->niov; n++) {
		memcpy(to, f->iov[n].iov_base, f->iov[n].iov_len);
		to += f->iov[n].iov_len;
	}
}

/* --- for the card --- */

static void kick(struct net_port *p, u32 what)
{
	const u64 one = 1;

	/* Whoever sets the first bit wakes the thread, which takes all of them. */
	if (__atomic_fetch_or(&p->kicks, what, __ATOMIC_SEQ_CST))
		return;
	if (write(p->wakefd, &one, sizeof(one)) < 0)
		return; /* cannot be: the counter is at most 1 */
}

void net_kick(struct net_port *p)
{
	kick(p, KICK_SEND);
}

void net_resume(struct net_port *p)
{
	kick(p, KICK_RESUME);
}

void net_set_offloads(struct net_port *p, u32 offloads)
{
	__atomic_store_n(&p->want_offloads, offloads & p->gives, __ATOMIC_SEQ_CST);
	kick(p, KICK_OFFLOADS);
}

void net_plug(struct net_port *p, bool in)
{
	__atomic_store_n(&p->plugged, in, __ATOMIC_SEQ_CST);
	kick(p, KICK_PLUG);
}

int net_send(struct net_port *p, const struct net_frame *f)
{
	int rc = p->ops->send(p, f);

	if (rc == -EAGAIN)
		p->blocked = true;
	else if (p->pcap)
		pcap_write(p->pcap, f);
	return rc == -EAGAIN ? rc : 0;
}

u32 net_takes(const struct net_port *p)
{
	return p->takes;
}

u32 net_gives(const struct net_port *p)
{
	return p->gives;
}

u32 net_mtu(const struct net_port *p)
{
	return p->mtu;
}

/* --- the thread --- */

static u32 take_kicks(struct net_port *p)
{
	u64 count;

	/* Empty the counter first: a kick after the exchange writes again. */
	if (p->poll.fds[0].revents && read(p->wakefd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_rate("network: reading a wake-up descriptor: %s", strerrordesc_np(errno));
	return __atomic_exchange_n(&p->kicks, 0, __ATOMIC_SEQ_CST);
}

static void serve(struct net_port *p, u32 kicks)
{
	bool send = (kicks & KICK_SEND) || p->blocked || p->more;

	if (kicks & KICK_RESUME)
		p->full = false;
	if ((kicks & KICK_OFFLOADS) && p->ops->offloads)
		p->ops->offloads(p, __atomic_load_n(&p->want_offloads, __ATOMIC_SEQ_CST));
	if ((kicks & KICK_PLUG) && p->ops->plug)
		p->ops->plug(p, __atomic_load_n(&p->plugged, __ATOMIC_SEQ_CST));
	p->ops->done(p, &p->poll);
	if (!send)
		return;
	p->blocked = false;
	p->more = p->client->transmit(p->client->opaque);
}

static bool step(struct net_port *p, int timeout_ms)
{
	u32 kicks;

	p->poll.n = 0;
	p->poll.timeout_ms = p->more ? 0 : timeout_ms;
	if (net_poll_add(&p->poll, p->wakefd, POLLIN) < 0)
		return true;
	p->ops->fill(p, &p->poll);
	if (poll(p->poll.fds, p->poll.n, p->poll.timeout_ms) < 0) {
		for (unsigned n = 0; n < p->poll.n; n++)
			p->poll.fds[n].revents = 0;
	}
	kicks = take_kicks(p);
	serve(p, kicks);
	return !(kicks & KICK_STOP);
}

void net_step(struct net_port *p, int timeout_ms)
{
	step(p, timeout_ms);
}

static void *thread(void *opaque)
{
	struct net_port *p = opaque;

	confine_thread(CONFINE_NET);
	prctl(PR_SET_NAME, "net", 0ul, 0ul, 0ul);
	while (step(p, -1))
		;
	return NULL;
}

/* --- life --- */

int net_open(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	static int (*const open[])(struct net_port **, const struct net_spec *, struct err *) = {
	        [NET_USER] = net_open_user, [NET_TAP] = net_open_tap, [NET_SOCKET] = net_open_socket};
	struct pcap *pcap = NULL;
	int rc = spec->pcap[0] ? pcap_create(&pcap, spec->pcap, e) : 0;

	if (rc < 0)
		return rc;
	rc = open[spec->backend](out, spec, e);
	if (rc < 0) {
		pcap_close(pcap);
		return rc;
	}
	(*out)->pcap = pcap;
	(*out)->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if ((*out)->wakefd < 0) {
		rc = -errno;
		net_close(*out);
		return err_errno(e, rc, "the network's thread");
	}
	return 0;
}

void net_attach(struct net_port *p, const struct net_client *client)
{
	p->client = client;
	if (!p->link)
		client->link(client->opaque, false);
}

int net_start(struct net_port *p, const struct net_client *client)
{
	sigset_t all, old;
	int rc;

	net_attach(p, client);
	/* Signals are for the loop's thread; SIGPIPE, which libslirp's sockets raise, is for nobody. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&p->thread, NULL, thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->running = rc == 0;
	return -rc;
}

void net_stop(struct net_port *p)
{
	if (!p->running)
		return;
	kick(p, KICK_STOP);
	pthread_join(p->thread, NULL);
	p->running = false;
}

void net_close(struct net_port *p)
{
	if (!p)
		return;
	pcap_close(p->pcap);
	if (p->wakefd >= 0)
		close(p->wakefd);
	free(p->poll.fds);
	p->ops->close(p);
}
