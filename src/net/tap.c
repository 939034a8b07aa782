/*
 * Tap devices: not in this version.
 */
#include "net/port.h"

#include <errno.h>

int net_open_tap(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	return err_set(e, -ENOSYS, "tap: this version has no tap devices");
}
