/*
 * Frames through UNIX sockets: not in this version.
 */
#include "net/port.h"

#include <errno.h>

int net_open_socket(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	return err_set(e, -ENOSYS, "socket: this version has no such network");
}
