/*
 * The choice of the accelerator. Order of preference: KVM, then the software CPU's fastest engine.
 */
#include "vm/choose.h"

#include <errno.h>

/* Neither may be usable in the end: interp always is. */
static const struct accel_ops *choose_soft(const struct err *no_kvm, struct err *note)
{
	struct err why;
	bool jit = accel_jit.probe(&why) == 0;

	err_set(note, no_kvm->code, "using the software CPU (%s) instead of KVM: %.300s%s%.300s",
	        jit ? "jit" : "interp", no_kvm->text, jit ? "" : "; instead of jit: ", jit ? "" : why.text);
	return jit ? &accel_jit : &accel_interp;
}

int accel_choose(enum config_accel want, const struct accel_ops **out, struct err *note, struct err *e)
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
	*out = choose_soft(&why, note);
	return 0;
}
