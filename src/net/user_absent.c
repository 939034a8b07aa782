/*
 * The user network of a build without libslirp.
 */
#include "net/port.h"

#include <errno.h>

int net_open_user(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	return err_set(
	        e, -ENOSYS, "user: this build has no user network, libslirp was not there when it was made");
}
