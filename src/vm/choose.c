/*
 * The choice of the accelerator. Order of preference: KVM, then the software CPU's fastest engine.
 */
#include "vm/choose.h"

#include "base/log.h"
#include <errno.h>

int accel_choose(enum config_accel want, const struct accel_ops **out, struct err *e)
{
	struct err why;
	int rc;

	switch (want) {
	case CONFIG_ACCEL_KVM: *out = &accel_kvm; return 0;
	case CONFIG_ACCEL_INTERP: *out = &accel_interp; return 0;
	case CONFIG_ACCEL_JIT:
		rc = accel_jit.probe(&why);
		if (rc < 0)
			return err_set(e, rc, "--accel=jit: %s", why.text);
		*out = &accel_jit;
		return 0;
	case CONFIG_ACCEL_AUTO: break;
	}
	rc = accel_kvm.probe(&why);
	if (rc == 0) {
		*out = &accel_kvm;
		return 0;
	}
	log_msg(LOG_WARN, "using the software CPU (interp) instead of KVM: %s", why.text);
	*out = &accel_interp;
	return 0;
}
