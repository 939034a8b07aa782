/*
 * A cable that goes nowhere: what a card is built with when its network must not be opened.
 */
#include "net/port.h"

#include <errno.h>
#include <stdlib.h>

static void wait_for_nothing(struct net_port *p, struct net_poll *poll)
{
}

static int drop(struct net_port *p, const struct net_frame *f)
{
	return 0;
}

static void end(struct net_port *p)
{
	free(p);
}

static const struct net_ops nowhere_ops = {
        .fill = wait_for_nothing, .done = wait_for_nothing, .send = drop, .close = end};

int net_open_nowhere(struct net_port **out, struct err *e)
{
	struct net_port *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->ops = &nowhere_ops;
	p->wakefd = -1;
	*out = p;
	return 0;
}
