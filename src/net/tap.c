/* placeholder during build-up */
#include "net/port.h"
int net_open_tap(struct net_port **out, const struct net_spec *spec, struct err *e)
{
	return err_set(e, -ENOSYS, "tap: not yet");
}
